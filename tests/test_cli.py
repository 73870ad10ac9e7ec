"""The command line: what it writes, what it refuses before any work, and how it ends."""

from __future__ import annotations

import dataclasses
import json
import shlex
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import ketpredict
import ketpredict as kp
from ketpredict.classifier import KetamineResponseClassifier
from ketpredict.cli import app
from ketpredict.errors import ConvergenceError
from ketpredict.report_origin import commands, tables_of

PATIENTS = (
    "participant,population,bmi,arm\na,unipolar_depression,30,ketamine\nb,elsewhere,,saline\n"
)


@pytest.fixture
def run():
    runner = CliRunner()

    def invoke(*words):
        return runner.invoke(app, [str(word) for word in words])

    return invoke


@pytest.fixture(scope="session")
def fit_file(published_fit, tmp_path_factory):
    """Return a saved fit that says of itself that it converged."""
    posterior = published_fit.fit_
    diagnostics = {**posterior.facts["diagnostics"], "problems": [], "rhat": 1.0}
    diagnostics |= {"ess_bulk": 900.0, "ess_tail": 900.0, "divergences": 0}
    facts = {**posterior.facts, "diagnostics": diagnostics}
    path = tmp_path_factory.mktemp("fit") / "fit.nc"
    return dataclasses.replace(posterior, facts=facts).save(path)


@pytest.fixture(scope="session")
def bad_fit_file(published_fit, tmp_path_factory):
    posterior = published_fit.fit_
    diagnostics = {**posterior.facts["diagnostics"], "problems": ["R-hat above 1.01: intercept"]}
    facts = {**posterior.facts, "diagnostics": diagnostics}
    path = tmp_path_factory.mktemp("bad") / "bad.nc"
    return dataclasses.replace(posterior, facts=facts).save(path)


@pytest.fixture
def patients(tmp_path):
    path = tmp_path / "patients.csv"
    path.write_text(PATIENTS)
    return path


@pytest.fixture
def no_sampling(monkeypatch, published_fit):
    """Make ``fit`` return at once with a fit made before, and keep what it was asked for."""
    asked = {}

    def fit(self, X=None, y=None):
        asked.update(self.get_params(), X=X, self=self)
        self.fit_ = published_fit.fit_
        return self

    monkeypatch.setattr(KetamineResponseClassifier, "fit", fit)
    return asked


@pytest.fixture
def never_fit(monkeypatch):
    def fit(self, X=None, y=None):
        raise AssertionError("the fit started")

    monkeypatch.setattr(KetamineResponseClassifier, "fit", fit)


def one_line(result, status=2):
    """Return the only line on standard error; the command must have ended with `status`."""
    assert result.exit_code == status, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("ketpredict: error: ")
    assert "Traceback" not in result.output
    return lines[0]


def test_version_and_help(run):
    assert run("--version").stdout == f"ketpredict {ketpredict.__version__}\n"
    text = run("--help").stdout
    for command in ("fit", "predict", "check", "demo"):
        assert command in text
    assert "not for treatment" in text
    assert run().exit_code == 0


def test_predict_prints_both_intervals(run, patients, fit_file):
    result = run("predict", patients, "--fit", fit_file)
    assert result.exit_code == 0
    for words in ("in one", "average", "new trial", "Elsewhere", "not for treatment"):
        assert words in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_predict_writes_what_the_estimator_says(run, patients, fit_file, tmp_path, suffix):
    output = tmp_path / f"out.{suffix}"
    result = run("predict", patients, "--fit", fit_file, "--output", output, "--prob", "0.8")
    assert result.exit_code == 0
    assert str(output) in result.stdout
    found = pd.read_csv(output) if suffix == "csv" else pd.read_parquet(output)
    assert list(found["participant"]) == ["a", "b"]
    classifier = ketpredict.load(fit_file)
    table = pd.read_csv(patients)
    assert found["probability"].to_numpy() == pytest.approx(classifier.predict_proba(table)[:, 1])
    limits = found[["trial_lower", "trial_upper"]].to_numpy()
    assert limits == pytest.approx(classifier.predict_interval(table, prob=0.8))


def test_predict_and_check_take_the_published_fit_by_name(run, patients, fit_file, monkeypatch):
    monkeypatch.setattr("ketpredict.published.models_path", lambda _name: fit_file)
    expected = run("predict", patients, "--fit", fit_file).stdout
    assert run("predict", patients).stdout == expected
    assert run("predict", patients, "--fit", "published").stdout == expected
    assert run("check", "published").stdout == run("check", fit_file).stdout


def test_predict_reads_parquet(run, patients, fit_file, tmp_path):
    source = tmp_path / "patients.parquet"
    pd.read_csv(patients).to_parquet(source)
    assert run("predict", source, "--fit", fit_file).exit_code == 0


def test_predict_repeats_that_a_fit_did_not_converge(run, patients, bad_fit_file):
    result = run("predict", patients, "--fit", bad_fit_file)
    assert result.exit_code == 0
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("ketpredict: warning: This saved fit did not converge")
    strict = run("predict", patients, "--fit", bad_fit_file, "--strict")
    assert "did not converge" in one_line(strict, status=1)


def test_predict_says_where_it_extrapolates(run, fit_file, tmp_path):
    source = tmp_path / "ocd.csv"
    source.write_text("population,bmi\nocd,30\n")
    result = run("predict", source, "--fit", fit_file)
    assert "†" in result.stdout
    assert "reported only at 168 h" in " ".join(result.stdout.split())
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["predict", "{here}/nowhere.csv", "--fit", "{fit}"], "There is no file"),
        (["predict", "{here}/patients.csv", "--fit", "{here}/no.nc"], "cannot be read"),
        (["predict", "{here}/patients.csv", "--fit", "{here}/patients.csv"], "not a whole"),
        (["predict", "{here}/patients.csv", "--fit", "{fit}", "--prob", "1.5"], "--prob is 1.5"),
        (["predict", "{here}/patients.csv", "--fit", "{fit}", "--output", "a.xlsx"], ".parquet"),
        (["predict", "{here}/typo.csv", "--fit", "{fit}"], "BMI "),
        (["check", "{here}/no.nc"], "cannot be read"),
        (["fit", "--output", "{here}/no/fit.nc"], "no folder"),
        (["fit", "--output", "{here}/fit.pkl"], "expected a name ending in .nc"),
        (["fit", "--output", "{here}"], "expected a name ending in .nc"),
        (["fit", "--output", "{here}/f.nc", "--evidence", "mine"], "'published' or 'none'"),
        (["fit", "{here}/gone.csv", "--output", "{here}/f.nc"], "There is no file"),
        (["fit"], "--output"),
        (["fit", "--output", "{here}/f.nc", "--draws", "many"], "--draws"),
        (["demo", "--output", "{here}/patients.csv"], "cannot be made"),
        (["dance"], "No such command"),
    ],
)
def test_bad_input_is_one_line_before_any_fit(run, patients, fit_file, never_fit, words, expected):
    (patients.parent / "typo.csv").write_text("population,BMI \nocd,30\n")
    filled = [word.format(here=patients.parent, fit=fit_file) for word in words]
    assert expected in one_line(run(*filled))
    assert not (patients.parent / "f.nc").exists()


@pytest.mark.parametrize(
    "option", [["--draws", "0"], ["--model", "nonesuch"], ["--target-accept", "2"]]
)
def test_bad_settings_are_refused_before_compiling(run, tmp_path, option):
    one_line(run("fit", "--output", tmp_path / "fit.nc", *option))


def test_bad_patients_are_refused_before_compiling(run, tmp_path):
    source = tmp_path / "patients.csv"
    source.write_text("population,bmi,response\nocd,30,7\n")
    assert "response" in one_line(run("fit", source, "--output", tmp_path / "fit.nc"))


def test_fit_hands_its_options_over_and_saves(run, patients, tmp_path, no_sampling):
    output = tmp_path / "fit.nc"
    result = run(
        "fit", patients, "--output", output, "--evidence", "none", "--predictors", "bmi, age",
        "--trial", "study", "--seed", 7, "--draws", 20, "--tune", 30, "--chains", 2,
        "--target-accept", "0.9", "--inference", "pymc", "--strict",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert list(no_sampling["X"]["participant"]) == ["a", "b"]
    expected = {
        "evidence": None, "predictors": ["bmi", "age"], "trial": "study", "arm": "arm",
        "random_state": 7, "draws": 20, "tune": 30, "chains": 2, "target_accept": 0.9,
        "inference": "pymc", "strict": True, "progressbar": False,
    }  # fmt: skip
    assert {name: no_sampling[name] for name in expected} == expected
    loaded = ketpredict.load(output)
    assert loaded.fit_.n_draws == 400
    assert dict(loaded.posterior_["constant_data"].sizes) == dict(
        no_sampling["self"].posterior_["constant_data"].sizes
    )
    assert "not for treatment" in result.stdout


def test_a_strict_fit_that_did_not_converge_ends_with_1(run, tmp_path, monkeypatch):
    def fit(self, X=None, y=None):
        raise ConvergenceError("This fit did not converge.")

    monkeypatch.setattr(KetamineResponseClassifier, "fit", fit)
    one_line(run("fit", "--output", tmp_path / "fit.nc", "--strict"), status=1)
    assert not (tmp_path / "fit.nc").exists()


def test_check_passes_and_fails(run, fit_file, bad_fit_file, tmp_path):
    good = run("check", fit_file, "--output", tmp_path / "pictures")
    assert good.exit_code == 0, good.output
    assert "known trial" in good.stdout
    pictures = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert {"responders_by_arm.png", "test_statistics.png", "decision_curves.png"} <= pictures
    bad = run("check", bad_fit_file)
    assert bad.exit_code == 1
    assert "convergence: FAILED" in bad.stdout


def test_check_as_json(run, fit_file, bad_fit_file):
    assert json.loads(run("check", fit_file, "--json").stdout)["passed"] is True
    result = run("check", bad_fit_file, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["gates"][0]["passed"] is False


def test_demo_prints_its_report_and_writes_its_files(run, tmp_path, no_sampling):
    folder = tmp_path / "new" / "demo"
    result = run("demo", "--output", folder, "--draws", 20, "--seed", 3)
    assert result.exit_code == 0, result.output
    assert no_sampling["draws"] == 20
    assert no_sampling["random_state"] == 3
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "demo.nc",
        "forest.png",
        "posterior_predictive_check.png",
    ]
    words = " ".join(result.stdout.split())
    assert "17 trials: 28 published arms with 1111 people, and 31 patients" in words
    assert "19 of 128 published predictor effects enter too" in words
    assert "What this version leaves out" in words
    assert words.endswith("For research; not for treatment decisions.")
    assert max(len(line) for line in result.stdout.splitlines() if "Written" not in line) <= 80


def test_a_real_process_ends_with_its_status_and_no_traceback(patients, fit_file, tmp_path):
    output = tmp_path / "out.csv"
    command = [sys.executable, "-m", "ketpredict", "predict", str(patients), "--fit", str(fit_file)]
    done = subprocess.run(
        [*command, "--output", str(output)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(pd.read_csv(output)["participant"]) == ["a", "b"]
    failed = subprocess.run(
        [*command, "--output", str(tmp_path / "no" / "out.csv")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert failed.returncode == 2
    assert failed.stderr.startswith("ketpredict: error: There is no folder")
    assert failed.stderr.count("\n") == 1


def test_help_loads_no_heavy_library():
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from ketpredict.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "print(sorted({'numpy', 'pandas', 'pymc', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_explain_one_patient(run, fit_file, patients):
    found = run("explain", patients, "--fit", fit_file, "--json")
    assert found.exit_code == 0, found.stderr
    table = json.loads(found.stdout)
    assert [row["predictor"] for row in table["known"]] == ["bmi"]
    moved = sum(row["moved"] for row in table["known"])
    assert moved == pytest.approx(table["probability"] - table["nothing_known"])
    words = run("explain", patients, "--fit", fit_file).stdout
    assert "Body mass index" in words
    assert "not for treatment decisions" in words
    beyond = run("explain", patients, "--fit", fit_file, "--row", 3)
    assert beyond.exit_code == 2
    assert "--row is 3" in beyond.stderr
    assert "rows 1 to 2" in beyond.stderr


def test_effects_with_their_pictures(run, fit_file, tmp_path):
    found = run("effects", fit_file, "--output", tmp_path / "effects", "--json")
    assert found.exit_code == 0, found.stderr
    table = json.loads(found.stdout)
    written = pd.read_csv(tmp_path / "effects" / "effects.csv")
    assert len(table) == len(written)
    assert table[0]["difference"] == pytest.approx(written["difference"][0])
    pictures = sorted(path.name for path in (tmp_path / "effects").glob("*.png"))
    assert len(pictures) == written["predictor"].nunique()
    assert "Associations, not causes" in run("effects", fit_file).stdout


def test_update_by_the_counts_of_a_site(run, fit_file, tmp_path):
    counts = tmp_path / "counts.csv"
    counts.write_text(
        "trial,population,arm,hours,n,responders\nours,unipolar_depression,ketamine,24,15,9\n"
    )
    target = tmp_path / "updated.nc"
    found = run("update", counts, "--fit", fit_file, "--output", target)
    assert found.exit_code == 0, found.stderr
    assert "9 of 15" in found.stdout
    assert "ours" in ketpredict.load(target).fit_.coords["trial"]
    counts.write_text("trial,population,arm,hours,n,responders\nours,ptsd,ketamine,24,5,9\n")
    wrong = run("update", counts, "--fit", fit_file, "--output", tmp_path / "none.nc")
    assert wrong.exit_code == 2
    assert "responders is 9" in wrong.stderr
    assert not (tmp_path / "none.nc").exists()


OWN_ARMS = """trial,population,arm,hours,n,responders
ours_1,ptsd,ketamine,24,30,15
ours_1,ptsd,saline,24,28,5
ours_2,ptsd,ketamine,24,18,7
"""


@pytest.mark.draws
@pytest.mark.filterwarnings("ignore::ketpredict.errors.ConvergenceWarning")
@pytest.mark.parametrize("beside", ["none", "published"])
def test_own_arms_enter_and_the_command_of_the_report_makes_the_same_fit(run, tmp_path, beside):
    arms, fits = tmp_path / "my arms.csv", []
    arms.write_text(OWN_ARMS)
    words = ["ketpredict", "fit", "--arms", "ARMS.csv", "--evidence", beside, "--output", "fit.nc"]
    words += ["--model", "rates", "--inference", "laplace", "--draws", "60", "--seed", "4"]
    for number in range(2):
        path = tmp_path / f"fit_{number}.nc"
        given = {"ARMS.csv": arms, "fit.nc": path}
        done = run(*(given.get(word, word) for word in words[1:]))
        assert done.exit_code == 0, done.output
        fits.append(kp.load(path).fit_)
        ((_, command), *_) = commands(fits[-1])
        assert tables_of(fits[-1]) == ("ARMS.csv",)
        words = shlex.split(command)
    assert "ours_2" in fits[0].coords["trial"]
    assert ("zarate_2006" in fits[0].coords["trial"]) == (beside == "published")
    one, other = (fit.facts["provenance"]["evidence"] for fit in fits)
    assert one == other
    np.testing.assert_array_equal(*(fit.groups["posterior"]["arm_effect"] for fit in fits))
