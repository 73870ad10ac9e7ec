"""The option ``--shift-seeds``: every sampler draws anew, and nothing else changes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import nutpie
import pymc as pm
import pytest

import ketpredict as kp
from ketpredict import approximations, compiled, fitting
from ketpredict.fitting import SamplerSettings, fit, prepare
from ketpredict.predictors import load_predictors
from ketpredict.sampling import draw
from samplers import Samplers

pytestmark = [
    pytest.mark.draws,
    pytest.mark.filterwarnings("ignore::ketpredict.errors.ConvergenceWarning"),
]
DOORS = (
    (compiled, "sample"),
    (nutpie, "sample"),
    (pm, "sample"),
    (approximations, "draw_approximately"),
    (fitting, "draw_prior"),
    (fitting, "_with_pointwise"),
)


@pytest.fixture
def shifted(monkeypatch):
    """Return a function that calls another with the seeds shifted, and says how many there were."""

    def run(shift, function):
        with monkeypatch.context() as here:
            for module, name in DOORS:
                here.setattr(module, name, getattr(module, name))  # what is put back
            samplers = Samplers(shift)
            samplers.wrap()
            return function(), samplers.calls

    return run


@pytest.fixture(scope="module")
def work():
    table = {"trial": ["A", "B"], "arm": "ketamine", "n": [20, 30], "responders": [9, 12]}
    table |= {"population": "unipolar_depression", "hours": 24.0}
    spec = kp.load_spec("published").with_predictors(())
    return prepare(spec, kp.make_evidence(arms=table, predictors=()), load_predictors())


@pytest.mark.parametrize("inference", ["nuts", "laplace", "pathfinder"])
def test_a_fit_draws_anew_and_keeps_the_seed_that_it_was_given(work, shifted, inference):
    settings = SamplerSettings(inference=inference, draws=20, tune=50, chains=2, cores=1, seed=4)
    first, again, other = (
        shifted(shift, lambda: fit(*work, settings))[0].groups for shift in (0, 0, 2026365)
    )
    for group, name in (
        ("posterior", "intercept"),
        ("prior", "intercept"),
        ("posterior_predictive", "responders"),
    ):
        assert np.array_equal(first[group][name], again[group][name]), group
        assert not np.array_equal(first[group][name], other[group][name]), group
    fitted, calls = shifted(1, lambda: fit(*work, settings))
    assert fitted.facts["provenance"]["sampler"]["seed"] == 4
    assert calls == 3  # posterior, prior, replicates


@pytest.mark.parametrize("inference", ["nutpie", "pymc"])
def test_the_samplers_of_a_graph_draw_anew(shifted, inference):
    with pm.Model() as model:
        pm.Normal("x")
    settings = {"draws": 10, "tune": 20, "chains": 2, "cores": 1, "target_accept": 0.8, "seed": 4}

    def sampled():
        tree = draw(model, inference=inference, progressbar=False, **settings)
        return tree["posterior"]["x"].to_numpy()

    first, again, other = (shifted(shift, sampled)[0] for shift in (0, 0, 2026365))
    assert np.array_equal(first, again)
    assert not np.isin(first, other).any()


UNMARKED = """
import pymc as pm


def test_unmarked():
    with pm.Model():
        pm.Normal("x")
        pm.sample(draws=4, tune=4, chains=1, progressbar=False, compute_convergence_checks=False)
"""


def test_a_test_in_which_a_sampler_runs_without_the_mark_fails(tmp_path):
    here = Path(__file__).parent
    (tmp_path / "conftest.py").write_text((here / "conftest.py").read_text())
    (tmp_path / "test_one.py").write_text(UNMARKED)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull,
               "--rootdir", str(tmp_path), str(tmp_path)]  # fmt: skip
    told = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(here)}
    )
    assert told.returncode == 1
    assert "mark the test with pytest.mark.draws" in told.stdout
