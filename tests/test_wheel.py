"""The wheel, built from the sdist, installed and used away from the checkout, offline."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import ketpredict
from tiny_fit import handmade_posterior

ROOT = Path(__file__).resolve().parents[1]

USING = """
import json, sys
import ketpredict
from ketpredict.evidence import load_evidence
from ketpredict.posterior import load_posterior
from ketpredict.predict import response_draws
from ketpredict.resources import data_folder, models_folder
from ketpredict.rows import encode_rows
from ketpredict.spec import load_spec

evidence = load_evidence("published")
posterior = load_posterior(sys.argv[1])
rows = encode_rows(posterior, {"bmi": [31.0, None]}, 2)
print(json.dumps({
    "package": ketpredict.__file__,
    "models": str(models_folder()),
    "data": str(data_folder()),
    "digest": evidence.digest(),
    "fingerprint": load_spec("published").fingerprint(),
    "probability": response_draws(posterior, rows).mean(axis=0).tolist(),
    "by the shipped fit": ketpredict.response_probability({"bmi": [31.0]}).to_dict(),
}))
"""


def run(*command: str, cwd: Path) -> str:
    """Return what a command prints; its environment knows nothing of this one's packages."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, env=environment, timeout=300
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def uv() -> list[str]:
    """Return the command for uv: the one that runs these tests, one on the path, or the module."""
    found = os.environ.get("UV") or shutil.which("uv")
    return [found] if found else [sys.executable, "-m", "uv"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return the folder with the sdist and the wheel."""
    folder = tmp_path_factory.mktemp("dist")
    options = ("--no-build-isolation", "--offline", "--python", sys.executable)
    run(*uv(), "build", *options, "--out-dir", str(folder), str(ROOT), cwd=folder)
    return folder


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """Return the scripts folder of an environment outside the checkout with the wheel in it.

    Its dependencies are this environment's, read through a .pth file. Such a file adds one folder;
    the editable install that this folder points to is not followed.
    """
    home = tmp_path_factory.mktemp("elsewhere")
    environment = home / "venv"
    assert ROOT not in home.parents
    run(*uv(), "venv", "--offline", "--python", sys.executable, str(environment), cwd=home)
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    (wheel,) = built.glob("*.whl")
    options = ("--no-deps", "--offline", "--python", str(scripts / "python"))
    run(*uv(), "pip", "install", *options, str(wheel), cwd=home)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(run(str(scripts / "python"), "-c", where, cwd=home).strip())
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return scripts


def test_wheel_carries_models_and_data_and_no_facts(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder in ("models", "data"):
        files = {path.name for path in (ROOT / folder).iterdir() if path.is_file()}
        start = f"ketpredict/_{folder}/"
        assert {name.removeprefix(start) for name in names if name.startswith(start)} == files
        assert not any(name.endswith(".py") for name in files)
    assert {"ketpredict/py.typed", "ketpredict/report_template.html"} <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"ketpredict"}


def test_sdist_carries_what_its_tests_need(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"ARCHITECTURE.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "README.md"}
    wanted |= {"data/facts/README.md", "scripts/build_data.py", "tests/test_wheel.py"}
    assert wanted <= names
    assert not any(part in name for name in names for part in (".venv", "uv.lock", "__pycache__"))


def test_installed_wheel_is_used_away_from_the_checkout(installed, tmp_path):
    saved = handmade_posterior().save(tmp_path / "tiny.nc")
    result = json.loads(run(str(installed / "python"), "-c", USING, str(saved), cwd=tmp_path))
    package = Path(result["package"]).parent
    assert installed.parent in package.parents
    assert Path(result["models"]) == package / "_models"
    assert Path(result["data"]) == package / "_data"
    assert result["digest"] == ketpredict.load_evidence("published").digest()
    assert result["fingerprint"] == ketpredict.load_spec("published").fingerprint()
    assert all(0 < value < 1 for value in result["probability"])
    ((low, high),) = result["by the shipped fit"]["trial_interval"]
    assert 0 < low < result["by the shipped fit"]["probability"][0] < high < 1


def test_installed_command_answers(installed, tmp_path):
    text = run(str(installed / "ketpredict"), "--help", cwd=tmp_path)
    assert all(command in text for command in ("fit", "predict", "check", "report", "demo"))
