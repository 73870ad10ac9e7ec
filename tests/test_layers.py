"""The architecture, held to its page: layers, libraries, light prediction, sizes, one version."""

from __future__ import annotations

import ast
import graphlib
import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ketpredict
from tiny_fit import handmade_posterior

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "ketpredict"
FILES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("pymc", "pytensor", "nutpie", "numba", "pandas", "sklearn", "arviz", "xarray")
MOST_LINES = 600


def tables() -> list[list[list[str]]]:
    """Return the cells of every table of ARCHITECTURE.md, heading and rule left out."""
    found: list[list[list[str]]] = []
    inside = False
    for line in (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            if not inside:
                found.append([])
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        inside = line.startswith("|")
    return [rows[2:] for rows in found]


def layers() -> list[str]:
    """Return the modules of the layer table, the highest first."""
    return [row[1].strip("`") for row in tables()[0]]


def libraries() -> dict[str, set[str]]:
    """Return, for each library of the second table, the modules that may import it."""
    return {
        name: set(re.findall(r"`(\w+)`", modules))
        for library, modules in tables()[1]
        for name in re.findall(r"`(\w+)`", library)
    }


def module_of(path: Path) -> str:
    """Return the row of the layer table that a file belongs to; a package is one row."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def full_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Yield the full name of everything that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def own_target(name: str) -> str | None:
    """Return the module of the package that an import loads, or None if it loads none of it."""
    if name.split(".")[0] != "ketpredict" or name in ("ketpredict", "ketpredict.__version__"):
        return None
    public = name.removeprefix("ketpredict.")
    return ketpredict._HOMES.get(public, public.split(".")[0])


def test_every_module_stands_in_the_table_once():
    rows = layers()
    assert len(rows) == len(set(rows))
    assert set(rows) == {module_of(path) for path in FILES} - {"__init__", "__main__"}
    assert all(row[2].endswith(".") for row in tables()[0]), "each purpose is a sentence"


def test_imports_go_downward_only():
    rank = {name: place for place, name in enumerate(layers())}
    upward = [
        f"{module_of(path)} imports {target}"
        for path in FILES
        if module_of(path) in rank
        for target in map(own_target, imports(path))
        if target not in (None, module_of(path)) and rank.get(target, -1) < rank[module_of(path)]
    ]
    assert upward == []


def test_no_import_goes_in_a_circle():
    names = {full_name(path) for path in FILES}
    graph = {}
    for path in FILES:
        targets = set()
        for name in imports(path):
            # `from a.b import c` loads a.b, and a.b.c where that is a module.
            targets.add(name if name in names else name.rpartition(".")[0])
        graph[full_name(path)] = (targets & names) - {full_name(path), "ketpredict"}
    list(graphlib.TopologicalSorter(graph).static_order())


def test_libraries_stand_where_the_table_says():
    allowed = libraries()
    assert {"pymc", "sklearn", "pandas", "xarray"} <= set(allowed)
    assert set().union(*allowed.values()) <= set(layers())
    astray = sorted(
        {
            f"{module_of(path)} imports {library}"
            for path in FILES
            for library in (name.split(".")[0] for name in imports(path))
            if library in allowed and module_of(path) not in allowed[library]
            if not only_for_types(path, library)
        }
    )
    assert astray == []


def only_for_types(path: Path, library: str) -> bool:
    """Return whether a file imports a library under ``if TYPE_CHECKING`` and nowhere else."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    here = [
        node
        for node in ast.walk(tree)
        if (isinstance(node, ast.Import) and any(library in a.name.split(".") for a in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == library)
    ]
    return bool(here) and all(id(node) in guarded for node in here)


def run_python(code: str, *arguments: str) -> dict[str, object]:
    """Return what code prints as JSON in a fresh process; warnings are errors there too."""
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_importing_the_package_loads_nothing_heavy():
    loaded = run_python(
        "import sys, json, ketpredict\n"
        "print(json.dumps({'loaded': sorted({name.split('.')[0] for name in sys.modules})}))"
    )["loaded"]
    assert {*HEAVY, "numpy", "scipy", "matplotlib"}.isdisjoint(loaded)


@pytest.fixture(scope="module")
def saved_fit(tmp_path_factory):
    return handmade_posterior().save(tmp_path_factory.mktemp("fit") / "tiny.nc")


PREDICTING = """
import json, sys, warnings
from ketpredict.extrapolation import extrapolation_notes
from ketpredict.posterior import load_posterior
from ketpredict.predict import interval, response_draws
from ketpredict.rows import encode_rows

posterior = load_posterior(sys.argv[1])
rows = encode_rows(posterior, {"bmi": [31.0, None, 25.0], "trial": ["T1", "T2", None]}, 3)
print(json.dumps({
    "probability": response_draws(posterior, rows).mean(axis=0).tolist(),
    "interval": interval(posterior, rows, 0.9).tolist(),
    "notes": extrapolation_notes(posterior, rows),
    "loaded": sorted({name.split(".")[0] for name in sys.modules}),
}))
"""


def test_predicting_from_a_saved_fit_is_light(saved_fit):
    result = run_python(PREDICTING, str(saved_fit))
    assert {*HEAVY, "matplotlib", "pyarrow", "pandera"}.isdisjoint(result["loaded"])
    assert all(0 < value < 1 for value in result["probability"])
    assert all(low < high for low, high in result["interval"])


LIGHT_ROAD = """
import json, sys
import numpy as np
import ketpredict as kp

found = kp.response_probability(
    {"bmi": np.array([31.0, np.nan]), "family_history_aud": ["yes", None], "trial": ["T9", "T1"]},
    sys.argv[1],
)
print(json.dumps({
    **found.to_dict(), "loaded": sorted({".".join(n.split(".")[:2]) for n in sys.modules}),
}))
"""
# Parts of SciPy that take longer to import than a prediction takes.
HEAVY_SCIPY = {"scipy.stats", "scipy.interpolate", "scipy.optimize", "scipy.integrate"}


def test_the_light_road_loads_numpy_scipy_special_and_h5py(saved_fit):
    result = run_python(LIGHT_ROAD, str(saved_fit))
    loaded = {name.split(".")[0] for name in result["loaded"]}
    assert {"numpy", "scipy", "h5py"} <= loaded
    assert {*HEAVY, "matplotlib", "pyarrow", "pandera", "arviz_stats", "typer"}.isdisjoint(loaded)
    assert HEAVY_SCIPY.isdisjoint(result["loaded"])
    for low, high in (*result["trial_interval"], *result["average_interval"]):
        assert 0 < low < high < 1


CLASSIFIER = """
import json, sys
import pandas as pd
import ketpredict as kp

classifier = kp.load(sys.argv[1])
table = pd.DataFrame({"bmi": [31.0, None], "trial": ["T9", "T1"]})
print(json.dumps({
    "probability": classifier.predict_proba(table)[:, 1].tolist(),
    "interval": classifier.predict_interval(table).tolist(),
    "loaded": sorted({name.split(".")[0] for name in sys.modules}),
}))
"""


def test_a_loaded_classifier_predicts_without_what_only_a_fit_needs(saved_fit):
    result = run_python(CLASSIFIER, str(saved_fit))
    assert {"pandas", "sklearn"} <= set(result["loaded"])
    only_for_fits = {*HEAVY, "pandera", "matplotlib", "llvmlite"} - {"pandas", "sklearn"}
    assert only_for_fits.isdisjoint(result["loaded"])
    assert all(0 < value < 1 for value in result["probability"])


@pytest.mark.parametrize("path", FILES, ids=full_name)
def test_no_file_is_too_long(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("name", ketpredict.__all__)
def test_every_public_name_is_there(name):
    assert getattr(ketpredict, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'predikt'"):
        _ = ketpredict.predikt
    assert "load_evidence" in dir(ketpredict)


def test_package_changelog_and_citation_agree_on_the_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.search(r"^## (\d+\.\d+\.\d+)", changelog, flags=re.MULTILINE)
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    cited = re.search(r"^version: (\S+)$", citation, flags=re.MULTILINE)
    assert released is not None
    assert cited is not None
    assert released[1] == ketpredict.__version__ == cited[1].strip("\"'")
    assert importlib.metadata.version("ketpredict") == ketpredict.__version__


def test_changelog_says_what_moves_results():
    sections = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.M)
    assert all("### Changes in results" in section for section in sections[1:])
