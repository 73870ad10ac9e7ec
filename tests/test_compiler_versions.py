"""A nutpie or numba with other internals: the graph's road, and a warning that names versions."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pandas as pd
import pytest

import ketpredict as kp
from ketpredict import fitting
from ketpredict.design import encode
from ketpredict.evidence import make_evidence
from ketpredict.spec import load_spec

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def designed_patients():
    table = pd.DataFrame({"trial": ["a", "a", "b", "b"], "response": [1, 0, 0, 1]})
    return encode(load_spec("published").with_predictors(()), make_evidence(participants=table), {})


def missing(*_args, **_options):
    raise AttributeError("module 'nutpie._lib' has no attribute 'LogpFunc'")


def another_signature(*_args, **_options):
    raise TypeError("from_pymc() takes 5 positional arguments but 7 were given")


def unsupported(*_args, **_options):
    raise NotImplementedError("cfunc is gone")


@pytest.fixture
def by_the_graph(monkeypatch):
    """Return what the graph's sampler was asked for, in the place of minutes of compiling."""
    asked = {}
    monkeypatch.setattr(fitting, "build", lambda design: design)
    monkeypatch.setattr(fitting, "draw", lambda model, **options: asked.update(options) or model)
    return asked


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        ("ketpredict.compiled.compile_missing", unsupported),
        ("ketpredict.compiled.compiled", missing),
        ("ketpredict.compiled._lib.PyMcModel", another_signature),
        pytest.param("ketpredict.compiled._lib.PySampler", object, marks=pytest.mark.draws),
    ],
)
def test_other_internals_are_said_with_their_versions(monkeypatch, by_the_graph, place, wrong):
    monkeypatch.setattr(place, wrong)
    design = designed_patients()
    found = {name: importlib.metadata.version(name) for name in fitting.TESTED}
    with pytest.warns(kp.KetpredictWarning) as caught:
        assert fitting._sampled(design, fitting.SamplerSettings(draws=7)) is design
    text = str(caught[0].message)
    assert f"nutpie {found['nutpie']} and numba {found['numba']}" in text
    assert f"tested with nutpie {fitting.TESTED['nutpie']} and numba" in text
    assert "a minute longer" in text
    assert (by_the_graph["inference"], by_the_graph["draws"]) == ("nuts", 7)


def test_an_approximation_has_no_other_road(monkeypatch, by_the_graph):
    monkeypatch.setattr("ketpredict.compiled.compile_missing", missing)
    with pytest.raises(kp.KetpredictError, match=r"LogpFunc.*use inference='nuts'.*nutpie 0"):
        fitting._sampled(designed_patients(), fitting.SamplerSettings(inference="laplace"))
    assert by_the_graph == {}


def test_the_versions_that_are_named_are_those_of_the_pins():
    pins = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["uv"]
    pinned = dict(re.split("==", pin) for pin in pins["constraint-dependencies"])
    assert {name: pinned[name] for name in fitting.TESTED} == fitting.TESTED
