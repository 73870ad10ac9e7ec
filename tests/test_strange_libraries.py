"""A nutpie or numba that the compiled likelihood does not know: the slower road, and said why."""

from __future__ import annotations

import importlib.metadata
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pymc as pm
import pytest
import xarray as xr
from numba.core.errors import TypingError
from packaging.requirements import Requirement

import ketpredict as kp
from ketpredict import compiled, fitting, sampling
from ketpredict.fitting import SamplerSettings, prepare
from ketpredict.predictors import load_predictors
from ketpredict.spec import load_spec
from ketpredict.tested_versions import TESTED

GRAPH = object()


@pytest.fixture(scope="module")
def design():
    table = pd.DataFrame({"age": [30.0, 50, 70, 41], "response": [1, 0, 0, 1]})
    evidence = kp.make_evidence(participants=table, predictors=("age",))
    spec = load_spec("published").with_predictors(("age",))
    return prepare(spec, evidence, load_predictors())[0]


@pytest.fixture
def strangers(monkeypatch):
    """Let nutpie say that it is another, and the graph's road be known by its mark."""
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "9.9.9" if name == "nutpie" else version(name)
    )
    monkeypatch.setattr(fitting, "build", lambda design: None)
    monkeypatch.setattr(fitting, "draw", lambda model, **options: GRAPH)
    return monkeypatch


def raising(error):
    def stranger(*_, **__):
        raise error

    return stranger


def no_keywords(model, draws):
    """Stand for a ``sample`` of other arguments."""


def returning(value):
    def sample(
        model, *, draws, tune, chains, cores, seed, target_accept, progress_bar, save_warmup
    ):
        return value

    return sample


def tree(name, shape):
    points = xr.Dataset({name: (("chain", "draw", "place")[: len(shape)], np.zeros(shape))})
    return xr.DataTree.from_dict({"posterior": points, "sample_stats": xr.Dataset()})


STRANGE = {
    "no LogpFunc": lambda m: m.delattr("nutpie._lib.LogpFunc"),
    "no PyMcModel": lambda m: m.delattr("nutpie._lib.PyMcModel"),
    "PyMcModel takes nothing": lambda m: m.setattr("nutpie._lib.PyMcModel", lambda: None),
    "PyVariable raises": lambda m: m.setattr(
        "nutpie._lib.PyVariable.new_variables", raising(ValueError("shape")), raising=False
    ),
    "sample of other arguments": lambda m: m.setattr(compiled, "sample", no_keywords),
    "sample fails inside": lambda m: m.setattr(
        "nutpie._lib.PySampler.from_pymc", raising(TypeError("8 arguments")), raising=False
    ),
    "sample returns a mapping": lambda m: m.setattr(compiled, "sample", returning({})),
    "sample returns nothing": lambda m: m.setattr(compiled, "sample", returning(None)),
    "draws of another name": lambda m: m.setattr(
        compiled, "sample", returning(tree("theta", (2, 5, 3)))
    ),
    "draws of another shape": lambda m: m.setattr(
        compiled, "sample", returning(tree("point", (2, 5, 1)))
    ),
    "numba does not type": lambda m: m.setattr(
        compiled, "compile_missing", raising(TypingError("cannot determine type"))
    ),
    "LLVM fails": lambda m: m.setattr(compiled, "addresses", raising(RuntimeError("symbol"))),
    "numba of other internals": lambda m: m.setattr(
        compiled, "compiled", raising(AttributeError("cfunc"))
    ),
    "no nutpie": lambda m: (
        m.setitem(sys.modules, "nutpie", None),
        m.delitem(sys.modules, "ketpredict.compiled"),
    ),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_stranger_costs_time_and_says_so(design, strangers, kind):
    STRANGE[kind](strangers)
    settings = SamplerSettings(draws=5, tune=5, chains=2)
    with pytest.warns(kp.CompilationWarning) as told:
        assert fitting._draw(design, settings) is GRAPH
    assert len(told) == 1
    warning = told[0].message
    assert "nutpie 9.9.9 (tested: 0.16.11), numba 0.68.0 (as tested)" in str(warning)
    assert "40 seconds more" in str(warning)
    assert "pip install nutpie==0.16.11 numba==0.68.0" in str(warning)
    assert (warning.found["nutpie"], warning.tested) == ("9.9.9", TESTED)


def test_an_approximation_has_no_other_road(design, strangers):
    strangers.delattr("nutpie._lib.LogpFunc")
    with pytest.raises(kp.KetpredictError, match=r"'laplace' needs .* nutpie 9\.9\.9 .*'nuts'"):
        fitting._draw(design, SamplerSettings(inference="laplace"))


@pytest.mark.parametrize("error", [MemoryError(), kp.DataError("ours")])
def test_what_is_no_sign_of_a_stranger_passes(design, strangers, error):
    strangers.setattr(compiled, "compile_missing", raising(error))
    with pytest.raises(type(error)):
        fitting._draw(design, SamplerSettings())


def test_an_error_of_the_sampling_itself_passes(design, strangers):
    strangers.setattr(compiled, "sample", raising(RuntimeError("All initial points failed")))
    strangers.setattr(compiled.inspect, "signature", lambda of: compiled.inspect.Signature())
    strangers.setattr(compiled.inspect.Signature, "bind", lambda self, *_, **__: None)
    with pytest.raises(RuntimeError, match="initial points"):
        fitting._draw(design, SamplerSettings())


SETTINGS = {
    "draws": 4, "tune": 4, "chains": 1, "cores": 1, "target_accept": 0.9, "seed": 1,
    "progressbar": False,
}  # fmt: skip


@pytest.mark.parametrize("change", [
    lambda m: m.setattr("nutpie.sample", no_keywords),
    lambda m: m.delattr("nutpie.compile_pymc_model"),
    lambda m: m.setitem(sys.modules, "nutpie", None),
])  # fmt: skip
def test_the_graph_without_a_nutpie_that_fits_names_the_way_out(monkeypatch, change):
    with pm.Model() as model:
        pm.Normal("x")
    change(monkeypatch)
    with pytest.raises(kp.KetpredictError, match=r"nutpie 0\.16\.11 cannot be used .*'pymc'"):
        sampling.draw(model, inference="nuts", **SETTINGS)


def test_the_versions_are_those_of_the_pins_and_the_bounds_lie_not_above_them():
    project = tomllib.loads(
        (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    )
    pins = dict(pin.split("==") for pin in project["tool"]["uv"]["constraint-dependencies"])
    assert {name: pins[name] for name in TESTED} == TESTED
    needed = map(Requirement, project["project"]["dependencies"])
    bounded = {one.name: one.specifier for one in needed if one.specifier}
    assert {"nutpie", "numba", "llvmlite", "pymc"} <= set(bounded)
    for name, specifier in bounded.items():
        assert specifier.contains(pins[name]), name
        assert all(one.operator == ">=" for one in specifier), name
