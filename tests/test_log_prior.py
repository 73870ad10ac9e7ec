"""The log prior against PyMC and SciPy, and power-scaling by it against refits."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytest
from scipy import stats
from scipy.special import gammaln

import ketpredict as kp
from ketpredict.chain_statistics import chain_statistics
from ketpredict.errors import ConvergenceWarning
from ketpredict.fitting import SamplerSettings, fit, prepare
from ketpredict.graph import build
from ketpredict.log_prior import BLOCKS, log_prior_blocks, log_priors
from ketpredict.parameter_dims import coordinates
from ketpredict.power_scaling import power_scaled, sensitivity
from ketpredict.prior import draw_prior
from ketpredict.prior_families import PRIOR_KINDS, Prior
from ketpredict.spec import load_spec
from ketpredict.stored_design import design_of
from monte_carlo import above, agrees

GRAPH = {
    "study_term": "study_term_effect",
    "binary_association": "binary_log_odds_ratio",
}
"""Names of variables of the graph that are not those of their priors."""


@pytest.fixture(scope="module")
def published():
    """Return the published design, draws of its prior, and their log priors."""
    design = design_of(kp.load("published").fit_)
    draws = draw_prior(design, 3, np.random.default_rng(5))
    return design, draws, log_priors(draws, design.spec, design.predictors, coordinates(design))


def test_every_prior_of_a_model_file_is_in_one_block():
    named = list(itertools.chain(*BLOCKS.values()))
    assert sorted(named) == sorted(PRIOR_KINDS)


def test_log_priors_equal_the_graph(published):
    design, draws, ours = published
    model = build(design)
    graph = {variable.name: variable for variable in model.free_RVs}
    outputs, expected = [], []
    for name, values in ours.items():
        variable = graph.get(GRAPH.get(name, name))
        if variable is None:
            continue
        taken = draws[GRAPH.get(name, name)]
        for i in range(3):
            outputs.append(pm.logp(variable, taken[i]).sum())
            expected.append(values[i])
            if name == "predictor_between_scale":  # a density per unit of the ratio, not the scale
                reference = np.exp(variable.owner.inputs[-2].eval())
                expected[-1] -= np.log(reference).sum()
    found = pytensor.function([], outputs, mode="FAST_COMPILE")()
    found, expected = np.array(found).reshape(-1, 3), np.array(expected).reshape(-1, 3)
    # PyMC rounds some constants to single precision, the same in every draw.
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(np.diff(found), np.diff(expected), rtol=1e-9, atol=1e-9)
    apart = {"active_class_mean", "control_class_mean", "predictor_sd", "predictor_correlation"}
    assert set(ours) == {n for n in ours if GRAPH.get(n, n) in graph} | apart
    assert set(PRIOR_KINDS) - set(ours) == {"across_scale"}  # too few trials report a predictor


def test_class_means_equal_the_graph(published):
    design, draws, ours = published
    means = draws["arm_class_mean"]
    spec = design.spec.priors
    both = ours["active_class_mean"] + ours["control_class_mean"]
    expected = stats.norm(*spec["active_class_mean"].values).logpdf(means[:, 0])
    expected += stats.norm(*spec["control_class_mean"].values).logpdf(means[:, 1:]).sum(axis=1)
    np.testing.assert_allclose(both, expected, rtol=1e-12)


def test_covariances_equal_the_graph_but_for_the_step_to_a_cholesky_factor(published):
    """Standard deviations and correlations have a density; the graph's is that of their factor."""
    design, draws, ours = published
    size = len(design.continuous_idx)
    below = np.tril_indices(size, -1)
    variable = build(design)["predictor_cholesky"]

    def factor(chosen):
        sd, correlation = chosen[:size], np.eye(size)
        correlation[below] = correlation[below[::-1]] = chosen[size:]
        covariance = sd[:, None] * sd * correlation
        return np.linalg.cholesky(covariance)[np.tril_indices(size)]

    for i in range(2):
        covariance = draws["predictor_covariance"][i]
        sd = np.sqrt(np.diag(covariance))
        chosen = np.concatenate([sd, (covariance / np.outer(sd, sd))[below]])
        step = 1e-6
        jacobian = [
            (factor(chosen + step * unit) - factor(chosen - step * unit)) / (2.0 * step)
            for unit in np.eye(len(chosen))
        ]
        theirs = pm.logp(variable, draws["predictor_cholesky"][i]).eval(mode="FAST_COMPILE")
        expected = float(theirs) + np.linalg.slogdet(np.array(jacobian))[1]
        mine = ours["predictor_sd"][i] + ours["predictor_correlation"][i]
        assert mine == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("size", [2, 3])
def test_the_density_of_correlations_adds_up_to_one(size):
    """Uniform points of the cube of correlations; those that are no matrix have density 0."""
    spec = load_spec("published").with_predictors(("bmi", "bdnf", "shank3")[:size])
    points = stats.qmc.Sobol(size * (size - 1) // 2, seed=1).random(2**14) * 2.0 - 1.0
    matrix = np.tile(np.eye(size), (len(points), 1, 1))
    rows, columns = np.tril_indices(size, -1)
    matrix[:, rows, columns] = matrix[:, columns, rows] = points
    possible = np.linalg.eigvalsh(matrix)[:, 0] > 0
    found = log_priors({"predictor_covariance": matrix[possible]}, spec, (), {})
    total = np.exp(found["predictor_correlation"]).sum() / len(points) * 2.0 ** points.shape[1]
    assert total == pytest.approx(1.0, abs=0.01)


def test_families_equal_scipy():
    rng = np.random.default_rng(2)
    spec = load_spec("published").with_priors(slope_share=Prior("dirichlet", (6.0, 2.0, 1.0, 3.0)))
    shares = rng.dirichlet((6.0, 2.0, 1.0), 4)
    draws = {
        "across_scale": np.abs(rng.normal(size=4)),
        "improvement_sd": rng.lognormal(3.4, 0.2, (4, 2)),
        "explained_variance": rng.beta(2, 8, 4),
        "slope_share": shares,
        "predictor_share": rng.dirichlet(np.ones(5), 4),
    }
    coords = {"slope_part": ["prognostic", "predictive", "population"], "arm_class": []}
    found = log_priors(draws, spec, (), coords)
    (middle, spread) = spec.priors["improvement_sd"].values
    expected = {
        "across_scale": stats.halfnorm(scale=0.5).logpdf(draws["across_scale"]),
        "improvement_sd": stats.lognorm(spread, scale=np.exp(middle))
        .logpdf(draws["improvement_sd"])
        .sum(axis=1),
        "explained_variance": stats.beta(2, 8).logpdf(draws["explained_variance"]),
        "slope_share": stats.dirichlet((6.0, 2.0, 1.0)).logpdf(shares.T),
        "predictor_share": np.full(4, gammaln(5.0)),
    }
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-9, err_msg=name)


def test_what_a_model_leaves_out_has_no_prior():
    spec = load_spec("published").with_priors(trial_scale=Prior("fixed", (0.3,)))
    draws = {
        "trial_scale": np.full(5, 0.3),
        "population_scale": np.zeros(5),
        "effect_scale": np.zeros((5, 0)),
    }
    assert log_prior_blocks(draws, spec, (), {}) == {}


# ------------------------------------------------------------------------------- power-scaling


def test_scaling_a_normal_prior_is_exact():
    """Prior N(1, 1) and posterior N(0, 1): to the power 2 it is N(1/2, 1/2), to 1/2 N(-1, 2).

    The rate for a doubling is log 2 times the covariance with the log prior, which is 1.
    """
    normal = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    other = np.random.default_rng(1).permutation(normal)
    found = power_scaled(np.column_stack([normal, other]), -0.5 * (normal - 1.0) ** 2)
    assert found.stronger[0] == pytest.approx(0.5, abs=0.001)
    assert found.weaker[0] == pytest.approx(-1.0, abs=0.05)
    assert found.shift[0] == pytest.approx(np.log(2.0), abs=0.001)
    # What has nothing to do with the prior stays: its error is that of 20 000 draws.
    assert abs(found.shift[1]) < 5.0 * found.error[1]
    assert found.error[1] == pytest.approx(np.log(2.0) * np.sqrt(1.5 / 20_000), rel=0.1)
    assert found.noise < 0.01 < 0.15 < found.sensitivity[0]
    assert max(found.k_weaker, found.k_stronger) < 0.7


def test_what_cannot_be_scaled_leaves_all_as_it_is():
    draws = np.random.default_rng(1).normal(size=(200, 2))
    draws[:, 1] = 3.0
    flat = power_scaled(draws, np.full(200, -1.3))
    assert (flat.sensitivity == 0).all()
    np.testing.assert_allclose(flat.shift, 0.0, atol=1e-12)
    np.testing.assert_allclose([flat.weaker, flat.stronger], [draws.mean(axis=0)] * 2)
    assert sensitivity(draws, draws[:, 0])[1] == 0


@pytest.fixture(scope="module")
def arms_only():
    """Return fits of three trials with a control arm: its prior as it is, and to the power 2."""
    rows = [
        {"trial": f"T{i}", "population": "unipolar_depression", "arm": arm, "hours": 24, "n": 20,
         "responders": responders}
        for i, pair in enumerate(((13, 11), (11, 12), (14, 13)))
        for arm, responders in zip(("ketamine", "saline"), pair, strict=True)
    ]  # fmt: skip
    evidence = kp.make_evidence(arms=pd.DataFrame(rows))
    fixed = {
        name: Prior("fixed", (value,))
        for name, value in {
            "population_scale": 0.0, "horizon_scale": 0.0, "trial_scale": 0.2,
            "treatment_scale": 0.2, "arm_scale": 0.2,
        }.items()
    }  # fmt: skip
    spec = load_spec("published").with_predictors(()).with_priors(**fixed)

    def drawn(sd, seed):
        own = spec.with_priors(control_class_mean=Prior("normal", (-2.0, sd)))
        settings = SamplerSettings(draws=1000, tune=500, chains=2, target_accept=0.8, seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return fit(*prepare(own, evidence, {}), settings)

    return drawn(0.5, 1), drawn(0.5 / np.sqrt(2.0), 2)


def test_weighting_equals_a_refit_with_the_prior_to_a_power(arms_only):
    """N(m, s) to the power 2 is N(m, s / root 2). Both means have a Monte Carlo error of their own.

    Some 25 such errors lie between the two posteriors, so that five tell them apart.
    """
    before, refit = arms_only
    blocks = log_prior_blocks(before.parameters, before.spec, before.predictors, before.coords)
    draws = before.parameters["arm_effect"][:, [1]]
    found = power_scaled(draws, blocks["arms"])
    other = refit.parameters["arm_effect"][:, 1]
    squared = []
    for posterior in (before, refit):
        chains = posterior.groups["posterior"]["arm_effect"][..., 1:]
        effective = chain_statistics(chains, (0.05, 0.95)).ess_bulk[0]
        squared.append(chains.var() / effective)
    # Weighted draws are worth somewhat fewer than unweighted ones.
    error = np.sqrt(1.3 * squared[0] + squared[1])
    agrees(found.stronger[0], other.mean(), error)
    above(draws.mean() - other.mean(), 10.0 * error, error)
    assert found.stronger[0] < draws.mean() < found.weaker[0]
    assert found.sensitivity[0] > 0.05 > found.noise
