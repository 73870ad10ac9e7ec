"""A nutpie or numba with other internals: the graph's road, and a warning that names versions."""

from __future__ import annotations

import importlib.metadata
import re
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
from ketpredict.design import encode
from ketpredict.errors import CompiledRoadError
from ketpredict.evidence import make_evidence
from ketpredict.spec import load_spec
from ketpredict.tested_versions import TESTED

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def designed_patients():
    table = pd.DataFrame({"trial": ["a", "a", "b", "b"], "response": [1, 0, 0, 1]})
    return encode(load_spec("published").with_predictors(()), make_evidence(participants=table), {})


def raising(error):
    def stranger(*_args, **_options):
        raise error

    return stranger


def returning(value):
    """Return what stands for a sampler that nutpie started."""

    def sample(_model, **_options):
        return value

    return sample


def draws_of(name, shape):
    points = xr.Dataset({name: (("chain", "draw", "place")[: len(shape)], np.zeros(shape))})
    return xr.DataTree.from_dict({"posterior": points, "sample_stats": xr.Dataset()})


def without_nutpie(monkeypatch):
    monkeypatch.setitem(sys.modules, "nutpie", None)
    monkeypatch.delitem(sys.modules, "ketpredict.compiled")


def internals(place, wrong):
    return lambda monkeypatch: monkeypatch.setattr(place, wrong)


ARGUMENTS = TypeError("from_pymc() takes 5 positional arguments but 7 were given")
STRANGE = {
    "no nutpie": without_nutpie,
    "no LogpFunc": lambda monkeypatch: monkeypatch.delattr("nutpie._lib.LogpFunc"),
    "no PyMcModel": lambda monkeypatch: monkeypatch.delattr("nutpie._lib.PyMcModel"),
    "PyMcModel takes something else": internals("nutpie._lib.PyMcModel", raising(ARGUMENTS)),
    "ExpandFunc takes nothing": internals("nutpie._lib.ExpandFunc", lambda: None),
    "PyVariable means something else": internals("nutpie._lib.PyVariable", raising(ValueError())),
    "no PySampler": lambda monkeypatch: monkeypatch.delattr("nutpie._lib.PySampler"),
    "sample takes something else": internals("nutpie.sample", lambda model, draws: None),
    "sample returns draws, no sampler": internals("nutpie.sample", returning({})),
    "draws are a mapping": internals("ketpredict.compiled.sample_with_nutpie", returning({})),
    "draws are nothing": internals("ketpredict.compiled.sample_with_nutpie", returning(None)),
    "draws of another name": internals(
        "ketpredict.compiled.sample_with_nutpie", returning(draws_of("theta", (2, 7, 3)))
    ),
    "draws of another shape": internals(
        "ketpredict.compiled.sample_with_nutpie", returning(draws_of("point", (2, 7, 1)))
    ),
    "numba has no cfunc": internals(
        "ketpredict.compiled.compiled", raising(AttributeError("cfunc"))
    ),
    "numba gives up": internals(
        "ketpredict.compiled.compile_missing", raising(NotImplementedError())
    ),
    "numba finds no type": internals(
        "ketpredict.compiled.compile_missing", raising(TypingError("cannot determine the type"))
    ),
    "LLVM finds no symbol": internals(
        "ketpredict.compiled.addresses", raising(RuntimeError("symbol"))
    ),
}


@pytest.fixture
def by_the_graph(monkeypatch):
    """Return what the graph's sampler was asked for, in the place of minutes of compiling."""
    asked = {}
    monkeypatch.setattr(fitting, "build", lambda design: design)
    monkeypatch.setattr(fitting, "draw", lambda model, **options: asked.update(options) or model)
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "9.9.9" if name == "nutpie" else version(name)
    )
    return asked


@pytest.mark.draws  # some are met only once sampling has begun
@pytest.mark.parametrize("kind", STRANGE)
def test_other_internals_are_said_with_their_versions(monkeypatch, by_the_graph, kind):
    design = designed_patients()
    STRANGE[kind](monkeypatch)
    with pytest.warns(kp.KetpredictWarning) as caught:
        assert fitting._sampled(design, fitting.SamplerSettings(draws=7)) is design
    assert len(caught) == 1
    text = str(caught[0].message)
    assert f"nutpie 9.9.9 and numba {importlib.metadata.version('numba')}" in text
    assert f"tested with nutpie {TESTED['nutpie']} and numba {TESTED['numba']}" in text
    assert "a minute longer" in text
    assert (by_the_graph["inference"], by_the_graph["draws"]) == ("nuts", 7)


def test_an_approximation_has_no_other_road(monkeypatch, by_the_graph):
    monkeypatch.delattr("nutpie._lib.LogpFunc")
    with pytest.raises(kp.KetpredictError, match=r"9\.9\.9.*LogpFunc.*nutpie 0.*inference='nuts'"):
        fitting._sampled(designed_patients(), fitting.SamplerSettings(inference="laplace"))
    assert by_the_graph == {}


def test_validation_without_nutpie_names_it_too(monkeypatch):
    monkeypatch.delitem(sys.modules, "ketpredict.held_out_density", raising=False)
    without_nutpie(monkeypatch)
    with pytest.raises(CompiledRoadError, match="cannot be used with nutpie"):
        import ketpredict.held_out_density  # noqa: F401


@pytest.mark.parametrize("error", [MemoryError(), kp.DataError("ours"), KeyboardInterrupt()])
def test_what_is_no_sign_of_a_stranger_passes(monkeypatch, by_the_graph, error):
    monkeypatch.setattr(compiled, "compile_missing", raising(error))
    with pytest.raises(type(error)):
        fitting._sampled(designed_patients(), fitting.SamplerSettings())
    assert by_the_graph == {}


def test_an_error_of_the_sampling_itself_passes(monkeypatch, by_the_graph):
    monkeypatch.setattr(compiled, "sample_with_nutpie", raising(RuntimeError("no start was found")))
    with pytest.raises(RuntimeError, match="no start"):
        fitting._sampled(designed_patients(), fitting.SamplerSettings())
    assert by_the_graph == {}


SETTINGS = {
    "draws": 4, "tune": 4, "chains": 1, "cores": 1, "target_accept": 0.9, "seed": 1,
    "progressbar": False,
}  # fmt: skip


@pytest.mark.parametrize("change", [
    lambda monkeypatch: monkeypatch.setattr("nutpie.compile_pymc_model", lambda model: None),
    lambda monkeypatch: monkeypatch.delattr("nutpie.compile_pymc_model"),
    lambda monkeypatch: monkeypatch.setitem(sys.modules, "nutpie", None),
])  # fmt: skip
def test_where_the_graph_cannot_be_compiled_either_the_way_out_is_named(monkeypatch, change):
    with pm.Model() as model:
        pm.Normal("x")
    change(monkeypatch)
    with pytest.raises(kp.KetpredictError, match=r"with nutpie 0.* Install nutpie 0.*'pymc'"):
        sampling.draw(model, inference="nuts", **SETTINGS)


def test_the_versions_that_are_named_are_those_of_the_pins():
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    pinned = dict(re.split("==", pin) for pin in project["tool"]["uv"]["constraint-dependencies"])
    assert {name: pinned[name] for name in TESTED} == TESTED
    needed = map(Requirement, project["project"]["dependencies"])
    bounded = {one.name: one.specifier for one in needed if one.specifier}
    assert {"nutpie", "numba", "llvmlite", "pymc"} <= set(bounded)
    for name, bounds in bounded.items():
        assert bounds.contains(pinned[name]), name
        assert all(bound.operator == ">=" for bound in bounds), name
