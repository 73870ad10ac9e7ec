"""Averages over what is not known, against numerical integration, grids and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import norm, qmc

import handmade
from ketpredict.marginal import normal_average, product_average, rate_location, unreported_rate

SLOPE_SDS = (0.05, 0.2, 0.5)


def one_product(mean, variance, slope, slope_sd, value, value_sd):
    """Return E Phi(mean + sqrt(variance) e + B X) by integrating X in closed form over B."""

    def integrand(b):
        spread = np.sqrt(1.0 + variance + (b * value_sd) ** 2)
        return ndtr((mean + b * value) / spread) * norm.pdf(b, slope, slope_sd)

    ends = slope - 9.0 * slope_sd, slope + 9.0 * slope_sd
    return quad(integrand, *ends, epsabs=1e-12, epsrel=1e-12, limit=400)[0]


def several_products(mean, variance, products, count=41):
    """Return the same for several products by Gauss-Hermite over every slope."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    weights = weights / weights.sum()
    total = 0.0
    for index in itertools.product(range(count), repeat=len(products)):
        middle, spread, weight = mean, 1.0 + variance, 1.0
        for i, (slope, slope_variance, value, value_variance) in zip(index, products, strict=True):
            b = slope + np.sqrt(slope_variance) * nodes[i]
            middle, spread = middle + b * value, spread + b**2 * value_variance
            weight *= weights[i]
        total += weight * ndtr(middle / np.sqrt(spread))
    return total


def test_the_normal_average_equals_numerical_integration():
    for mean, variance in itertools.product((-3.0, -0.4, 0.0, 1.7), (0.0, 0.3, 4.0)):
        brute = quad(
            lambda e, m=mean, v=variance: ndtr(m + np.sqrt(v) * e) * norm.pdf(e),
            -12,
            12,
            epsabs=1e-13,
            limit=200,
        )[0]
        assert normal_average(mean, variance) == pytest.approx(brute, abs=1e-11)


@pytest.mark.parametrize("slope_sd", SLOPE_SDS)
def test_one_product_equals_adaptive_quadrature(slope_sd):
    settings = itertools.product(
        (-2.0, -0.3, 1.5), (0.0, 0.6), (-1.5, 0.0, 0.4), (-2.5, 0.0, 0.7), (0.6, 1.0, np.sqrt(5.0))
    )
    for mean, variance, slope, value, value_sd in settings:
        product = (slope, slope_sd**2, value, value_sd**2)
        ours = product_average(np.array([mean]), np.array([variance]), [product])[0]
        brute = one_product(mean, variance, slope, slope_sd, value, value_sd)
        assert ours == pytest.approx(brute, abs=1e-8)


def test_moment_matching_would_fail_the_same_comparison():
    """The tolerance means something: matched moments are wrong by 0.01 where ours is exact."""
    slope, slope_sd, value, value_sd = 0.4, 0.5, -2.0, np.sqrt(5.0)
    brute = one_product(0.3, 0.2, slope, slope_sd, value, value_sd)
    variance = 0.2 + (value * slope_sd) ** 2 + (slope * value_sd) ** 2 + (slope_sd * value_sd) ** 2
    assert abs(normal_average(0.3 + slope * value, variance) - brute) > 0.01


@pytest.mark.parametrize("slope_sd", SLOPE_SDS)
def test_two_and_three_products_equal_gauss_hermite(slope_sd):
    products = [
        (0.4, slope_sd**2, 0.7, 1.25),
        (-0.6, slope_sd**2, -0.5, 5.0),
        (0.2, 0.09, 0.0, 1.0),
    ]
    for count, nodes in ((2, 61), (3, 31)):
        ours = product_average(np.array([0.3]), np.array([0.4]), products[:count])[0]
        brute = several_products(0.3, 0.4, products[:count], nodes)
        assert ours == pytest.approx(brute, abs=1e-6)


def test_three_products_equal_a_sobol_average():
    products = [(0.4, 0.25, 0.7, 1.25), (-0.6, 0.25, -0.5, 5.0), (0.2, 0.09, 0.0, 1.0)]
    z = norm.ppf(qmc.Sobol(6, rng=3).random_base2(18))
    linear = np.full(len(z), 0.3)
    for i, (slope, slope_variance, value, value_variance) in enumerate(products):
        b = slope + np.sqrt(slope_variance) * z[:, 2 * i]
        linear += b * (value + np.sqrt(value_variance) * z[:, 2 * i + 1])
    ours = product_average(np.array([0.3]), np.array([0.4]), products)[0]
    assert ours == pytest.approx(ndtr(linear / np.sqrt(1.4)).mean(), abs=1e-4)


def test_no_products_and_certain_slopes_are_the_normal_average():
    mean, variance = np.array([-1.2, 0.0, 2.0]), np.array([0.1, 0.5, 2.0])
    assert product_average(mean, variance, []) == pytest.approx(
        normal_average(mean, variance), abs=1e-9
    )
    certain = product_average(mean, variance, [(0.7, 0.0, 0.5, 1.5)])
    expected = normal_average(mean + 0.35, variance + 0.49 * 1.5)
    assert certain == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("mean", [-30.0, -9.5, -8.9, 8.9, 9.5, 30.0])
def test_far_from_the_threshold_the_average_stays_a_probability(mean):
    product = (0.2, 0.04, 0.3, 1.25)
    ours = product_average(np.array([mean]), np.array([0.1]), [product])[0]
    assert 0.0 <= ours <= 1.0
    assert ours == pytest.approx(one_product(mean, 0.1, 0.2, 0.2, 0.3, np.sqrt(1.25)), abs=1e-8)


@pytest.mark.parametrize("centre", [0.02, 0.365, 0.9])
def test_the_rates_of_unseen_trials_average_to_the_reference(centre):
    binary = handmade.predictor("flag", "binary", centre=centre, between_trial_sd=0.7)
    mean = quad(lambda e: unreported_rate(binary, e) * norm.pdf(e), -10, 10, epsabs=1e-12)[0]
    assert mean == pytest.approx(centre, abs=1e-10)
    assert ndtr(rate_location(binary)) != pytest.approx(centre, abs=1e-3)


def test_the_closed_form_variance_is_over_people_and_not_over_arms():
    """An arm's n patients are independent: the binomial is exact, not overdispersed."""
    rng = np.random.default_rng(5)
    a, b, n, arms = 0.3, 0.9, 30, 40_000
    x = rng.standard_normal((arms, n))
    responders = (rng.uniform(size=x.shape) < ndtr(a + b * x)).sum(axis=1)
    p = normal_average(a, b**2)
    error = np.sqrt(p * (1 - p) / n / arms)
    assert abs(responders.mean() / n - p) < 4 * error
    assert responders.var() / (n * p * (1 - p)) == pytest.approx(1.0, abs=4 * np.sqrt(2 / arms))


@pytest.mark.parametrize(("a", "b"), [(0.0, 0.8), (-0.7, 0.5), (0.4, 1.5)])
def test_plugging_in_a_sample_mean_is_conservative_by_the_known_factor(a, b):
    """The residual variance is binomial times 1 - g'Sg / (p (1 - p)), design section 3."""
    rng = np.random.default_rng(11)
    n, arms = 60, 60_000
    residual = np.empty(arms)
    for start in range(0, arms, 10_000):
        x = rng.standard_normal((10_000, n))
        responders = (rng.uniform(size=x.shape) < ndtr(a + b * x)).sum(axis=1)
        residual[start : start + 10_000] = responders - n * normal_average(
            a + b * x.mean(axis=1), b**2
        )
    h = a / np.sqrt(1.0 + b**2)
    p, g = ndtr(h), b * norm.pdf(h) / np.sqrt(1.0 + b**2)
    factor = 1.0 - g**2 / (p * (1.0 - p))
    ratio = residual.var() / (n * p * (1.0 - p))
    assert ratio == pytest.approx(factor, abs=4 * factor * np.sqrt(2.0 / arms) + 0.2 / n)
    assert ratio < 1.0
