"""Pooled response and heterogeneity against direct quadrature of the same posterior.

``scripts/validate_pooling.py`` does the same with a finer grid and more draws, and explains it.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr
from scipy.stats import binom, norm

import handmade
import monte_carlo
from ketpredict.prior_families import Prior
from ketpredict.resources import data_path

validate = handmade.load_script("validate_pooling")
GRID = validate.Grid((-2.0, 2.0, 18), (-2.8, 1.2, 22), (2.5, 18), 5)
DRAWS = 8000


@pytest.fixture(scope="module")
def arms():
    """Return the recoded published arms."""
    return validate.validation_arms(pd.read_csv(data_path("arms.csv")))


@pytest.fixture(scope="module")
def exact(arms):
    """Return posterior moments by quadrature on a coarser grid than the script's."""
    return validate.quadrature(validate.counts_by_trial(arms), grid=GRID)


def test_the_arms_are_seven_trials_and_one_has_no_control(arms):
    counts = validate.counts_by_trial(arms)
    assert counts.shape == (7, 4)
    assert (counts[:, 3] == 0).sum() == 1
    assert counts[:, [1, 3]].sum() == arms["n"].sum()


@pytest.mark.parametrize(
    "point", [(0.2, -0.8, 0.5, 0.4), (-0.5, 0.3, 1.5, 0.05), (0.0, -2.0, 0.01, 2.0)]
)
def test_the_integral_of_one_trial_equals_a_fine_grid(point):
    counts = np.array([[30.0, 47.0, 7.0, 25.0], [8.0, 18.0, 1.0, 18.0], [12.0, 17.0, 0.0, 0.0]])
    alpha, theta, s, tau = point
    nodes = np.linspace(-9.0, 9.0, 901)
    e, f = np.meshgrid(nodes, nodes, indexing="ij")
    ketamine = ndtr(alpha + s * e + tau * f / 2)
    control = ndtr(alpha + theta + s * e - tau * f / 2)
    for row in counts:
        likelihood = binom.pmf(row[0], row[1], ketamine) * binom.pmf(row[2], row[3], control)
        brute = (likelihood * norm.pdf(e) * norm.pdf(f)).sum() * (nodes[1] - nodes[0]) ** 2
        ours = validate.log_marginal_likelihood(np.array([point]), row[None], 12)[0]
        assert ours == pytest.approx(math.log(brute), abs=1e-4)


def test_the_quadrature_and_the_shipped_model_have_the_same_priors():
    """Thirteen arms hardly feel the intercept's prior: doubled, no moment shows it."""
    found, written = validate.reduced_spec().priors, validate.Priors()
    assert found["intercept"] == Prior("normal", (0.0, written.intercept_sd))
    assert found["control_class_mean"] == Prior(
        "normal", (written.control_mean, written.control_sd)
    )
    assert found["trial_scale"] == Prior("half_normal", (written.trial_scale,))
    assert found["treatment_scale"] == Prior("half_normal", (written.treatment_scale,))


def test_the_coarse_grid_is_fine_enough(arms, exact):
    finer = validate.Grid((-2.3, 2.3, 24), (-3.2, 1.6, 28), (2.8, 24), 6)
    other = validate.quadrature(validate.counts_by_trial(arms), grid=finer)
    assert ((other["mean"] - exact["mean"]) / exact["sd"]).abs().max() < 0.005
    assert (other["sd"] / exact["sd"] - 1.0).abs().max() < 0.005


@pytest.mark.draws
def test_pooled_rates_and_heterogeneity_agree_with_quadrature(arms, exact):
    fitted = validate.package_fit(arms, draws=DRAWS).loc[exact.index]
    for name in ("mean", "sd"):
        error = fitted[f"{name}_error"]
        assert (error < 0.03 * exact["sd"]).all(), "Monte Carlo error leaves nothing to test"
        # The grid is right to half a hundredth of an SD, see above.
        monte_carlo.agrees(fitted[name], exact[name], error, beyond=0.005 * exact["sd"])


@pytest.mark.draws
def test_without_heterogeneity_the_fit_is_complete_pooling(arms):
    zero = Prior("fixed", (0.0,))
    spec = validate.reduced_spec().with_priors(trial_scale=zero, treatment_scale=zero)
    fitted = validate.package_fit(arms, spec=spec, draws=3000, tune=800)
    assert fitted.loc["trial_scale", ["mean", "sd"]].eq(0.0).all()
    totals = arms.groupby("arm")[["responders", "n"]].sum().loc[["ketamine", "saline"]]
    responders, n = totals["responders"].to_numpy(), totals["n"].to_numpy()
    alpha, theta = np.meshgrid(np.linspace(-2, 1, 400), np.linspace(-2, 1, 400), indexing="ij")
    log_density = (
        norm.logpdf(alpha)
        + norm.logpdf(theta, -1.0, 0.7)
        + binom.logpmf(responders[0], n[0], ndtr(alpha))
        + binom.logpmf(responders[1], n[1], ndtr(alpha + theta))
    )
    mass = np.exp(log_density - log_density.max())
    mass /= mass.sum()
    for name, value in (
        ("ketamine_average", ndtr(alpha)),
        ("control_average", ndtr(alpha + theta)),
        ("control_effect", theta),
    ):
        mean = (mass * value).sum()
        sd = np.sqrt((mass * (value - mean) ** 2).sum())
        found = fitted.loc[name]
        monte_carlo.agrees(found["mean"], mean, found["mean_error"])
        monte_carlo.agrees(found["sd"], sd, found["sd_error"])
