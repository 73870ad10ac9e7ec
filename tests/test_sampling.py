"""Samplers by name, and a convergence verdict that can see."""

import numpy as np
import pymc as pm
import pytest
import xarray as xr

import ketpredict as kp
import monte_carlo
from ketpredict.diagnostics import diagnose, report_convergence
from ketpredict.sampling import draw

SETTINGS = {
    "draws": 300,
    "tune": 300,
    "chains": 2,
    "cores": 2,
    "target_accept": 0.9,
    "seed": 5,
    "progressbar": False,
}


@pytest.fixture(scope="module")
def model():
    """Seven responders of ten under a flat prior: the posterior is Beta(8, 4)."""
    with pm.Model() as model:
        pm.Binomial("responders", n=10, p=pm.Beta("probability", 1, 1), observed=7)
    return model


@pytest.mark.draws
@pytest.mark.parametrize("inference", ["nuts", "nutpie", "pymc", "Slice"])
def test_each_sampler_reaches_the_posterior(model, inference):
    tree = draw(model, inference=inference, **SETTINGS)
    values = tree["posterior"]["probability"].to_numpy()
    assert values.shape == (2, 300)
    error = monte_carlo.of_mean(values)
    assert error < 0.02  # of 0.13, which is the posterior's SD
    monte_carlo.agrees(values.mean(), 8 / 12, error)
    assert set(tree.children) == {"posterior", "sample_stats"}


@pytest.mark.draws
def test_the_same_seed_gives_the_same_draws(model):
    first, second = (draw(model, inference="nutpie", **SETTINGS) for _ in range(2))
    other = draw(model, inference="nutpie", **{**SETTINGS, "seed": 6})
    values = [tree["posterior"]["probability"].to_numpy() for tree in (first, second, other)]
    assert np.array_equal(values[0], values[1])
    assert not np.array_equal(values[0], values[2])


def test_an_unknown_sampler(model):
    with pytest.raises(
        kp.KetpredictError, match=r"inference is 'gibbs'; expected one of nuts, laplace"
    ):
        draw(model, inference="gibbs", **SETTINGS)


def tree_of(slope, divergences=0, energy=None):
    chains, draws = slope.shape[:2]
    rng = np.random.default_rng(0)
    diverging = np.zeros((chains, draws), dtype=bool)
    diverging.ravel()[:divergences] = True
    stats = {
        "diverging": (("chain", "draw"), diverging),
        "energy": (
            ("chain", "draw"),
            rng.normal(size=(chains, draws)) if energy is None else energy,
        ),
    }
    coords = {"predictor": ["bmi", "bdnf"]}
    posterior = xr.Dataset({"slope": (("chain", "draw", "predictor"), slope)}, coords=coords)
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": xr.Dataset(stats)})


def test_good_chains_pass():
    result = diagnose(tree_of(np.random.default_rng(1).normal(size=(4, 1000, 2))))
    assert result.converged
    assert result.rhat < 1.01
    assert result.ess_bulk > 3000


def test_a_chain_that_went_elsewhere_is_named():
    slope = np.random.default_rng(1).normal(size=(4, 1000, 2))
    slope[0, :, 1] += 3
    result = diagnose(tree_of(slope))
    assert not result.converged
    assert any(p.startswith("R-hat above 1.01: slope[bdnf]") for p in result.problems)
    assert not any("slope[bmi]" in p for p in result.problems)


def test_sticky_chains_have_a_small_effective_sample():
    rng = np.random.default_rng(1)
    slope = rng.normal(size=(4, 1000, 2))
    slope[:, :, 0] = np.repeat(rng.normal(size=(4, 50)), 20, axis=1)
    result = diagnose(tree_of(slope))
    assert result.ess_bulk < 400
    assert any("bulk ESS below 400: slope[bmi]" in p for p in result.problems)


def test_divergences_and_energy():
    slope = np.random.default_rng(1).normal(size=(4, 1000, 2))
    energy = np.cumsum(np.random.default_rng(2).normal(size=(4, 1000)), axis=1)
    result = diagnose(tree_of(slope, divergences=3, energy=energy))
    assert "3 divergent transitions" in result.problems
    assert any(p.startswith("E-BFMI") for p in result.problems)


def test_a_constant_has_no_diagnostic():
    slope = np.random.default_rng(1).normal(size=(4, 1000, 2))
    slope[..., 0] = 0.0
    assert diagnose(tree_of(slope)).converged


def test_chains_that_stand_still_are_a_verdict_and_no_crash():
    result = diagnose(tree_of(np.full((2, 50, 2), 0.3), divergences=100))
    assert not result.converged
    assert result.problems == ("every draw is the same (100 divergent transitions)",)
    assert (result.rhat, result.ess_bulk, result.bfmi) == (None, None, None)


def test_the_verdict_warns_or_raises():
    problems = ("R-hat above 1.01: slope[bmi] (1.2)",)
    with pytest.warns(kp.ConvergenceWarning, match=r"slope\[bmi\]"):
        report_convergence(problems, strict=False)
    with pytest.raises(kp.ConvergenceError, match=r"slope\[bmi\]"):
        report_convergence(problems, strict=True)
    report_convergence((), strict=True)
