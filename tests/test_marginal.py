"""Averages over what is not known, against numerical integration, grids and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit, ndtr
from scipy.stats import norm, qmc

import handmade
from ketpredict.link import components
from ketpredict.marginal import normal_average, normal_slope, product_average, rate_location
from ketpredict.unseen_rates import RateLaw

SLOPE_SDS = (0.05, 0.2, 0.5)
LINKS = {"probit": ndtr, "logit": expit}
PROBIT = components("probit")


def one_normal(link, mean, sd):
    """Return the link averaged over a normal linear predictor."""
    if link == "probit":
        return ndtr(mean / np.sqrt(1.0 + sd**2))
    nodes = np.linspace(-8.5, 8.5, 341)
    weights = np.exp(-0.5 * nodes**2)
    return expit(mean + sd * nodes) @ weights / weights.sum()


def one_product(mean, variance, slope, slope_sd, value, value_sd, link="probit", covariance=0.0):
    """Return E G(A + B X) by adaptive quadrature over B, given which all else is normal.

    The normal part A has this mean and variance, and this covariance with X.
    """

    def integrand(b):
        spread = variance + (b * value_sd) ** 2 + 2.0 * b * covariance
        return one_normal(link, mean + b * value, np.sqrt(spread)) * norm.pdf(b, slope, slope_sd)

    ends = slope - 9.0 * slope_sd, slope + 9.0 * slope_sd
    return quad(integrand, *ends, epsabs=1e-11, epsrel=1e-11, limit=400)[0]


def with_products(mean, variance, products, link="probit", **more):
    """Return the package's value for one draw and row."""
    here = np.array([[mean]]), np.array([[variance]])
    return float(product_average(*here, products, components(link), **more)[0, 0])


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


@pytest.mark.parametrize("link", list(LINKS))
def test_the_normal_average_equals_numerical_integration(link):
    for mean, variance in itertools.product((-3.0, -0.4, 0.0, 1.7), (0.0, 0.3, 4.0)):
        brute = quad(
            lambda e, m=mean, v=variance: LINKS[link](m + np.sqrt(v) * e) * norm.pdf(e),
            -12,
            12,
            epsabs=1e-13,
            limit=200,
        )[0]
        ours = normal_average(mean, variance, components(link))
        assert ours == pytest.approx(brute, abs=1e-11 if link == "probit" else 1.2e-8)


@pytest.mark.parametrize("link", list(LINKS))
def test_the_slope_of_the_normal_average_is_its_derivative(link):
    parts, step = components(link), 1e-5
    for mean, variance in itertools.product((-2.0, 0.3), (0.0, 1.5)):
        ends = [normal_average(mean + h, variance, parts) for h in (-step, step)]
        expected = (ends[1] - ends[0]) / (2.0 * step)
        assert normal_slope(mean, variance, parts) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("link", list(LINKS))
@pytest.mark.parametrize("slope_sd", SLOPE_SDS)
def test_one_product_equals_adaptive_quadrature(slope_sd, link):
    variances = (0.0, 0.6) if link == "probit" else (0.0,)
    settings = itertools.product(
        (-2.0, 1.5), variances, (-1.5, 0.0, 0.4), (-2.5, 0.7), (0.6, np.sqrt(5.0))
    )
    for mean, variance, slope, value, value_sd in settings:
        product = (slope, slope_sd**2, value, value_sd**2)
        ours = with_products(mean, variance, [product], link)
        brute = one_product(mean, variance, slope, slope_sd, value, value_sd, link)
        assert ours == pytest.approx(brute, abs=1e-8 if link == "probit" else 1.5e-8)


@pytest.mark.parametrize("slope_sd", SLOPE_SDS)
def test_a_correlated_normal_part_moves_slope_mean_and_variance(slope_sd):
    """The move that the docstring of product_average derives, against quadrature without it."""
    settings = itertools.product(
        (-0.7, 0.4), (0.3, 2.0), (-0.6, 0.5), (0.8,), (1.0, np.sqrt(5.0)), (-0.8, 0.9)
    )
    for mean, variance, slope, value, value_sd, correlation in settings:
        covariance = correlation * np.sqrt(variance) * value_sd
        moved = covariance / value_sd**2
        product = (slope + moved, slope_sd**2, value, value_sd**2)
        rest = variance - covariance * moved
        ours = with_products(mean - moved * value, rest, [product])
        brute = one_product(mean, variance, slope, slope_sd, value, value_sd, covariance=covariance)
        assert ours == pytest.approx(brute, abs=1e-8)


def test_moment_matching_would_fail_the_same_comparison():
    """The tolerance means something: matched moments are wrong by 0.01 where ours is exact."""
    slope, slope_sd, value, value_sd = 0.4, 0.5, -2.0, np.sqrt(5.0)
    brute = one_product(0.3, 0.2, slope, slope_sd, value, value_sd)
    variance = 0.2 + (value * slope_sd) ** 2 + (slope * value_sd) ** 2 + (slope_sd * value_sd) ** 2
    assert abs(normal_average(0.3 + slope * value, variance, PROBIT) - brute) > 0.01


@pytest.mark.parametrize("slope_sd", SLOPE_SDS)
def test_two_and_three_products_equal_gauss_hermite(slope_sd):
    products = [
        (0.4, slope_sd**2, 0.7, 1.25),
        (-0.6, slope_sd**2, -0.5, 5.0),
        (0.2, 0.09, 0.0, 1.0),
    ]
    for count, nodes in ((2, 61), (3, 31)):
        ours = with_products(0.3, 0.4, products[:count])
        brute = several_products(0.3, 0.4, products[:count], nodes)
        assert ours == pytest.approx(brute, abs=1e-6)


def test_three_products_equal_a_sobol_average():
    products = [(0.4, 0.25, 0.7, 1.25), (-0.6, 0.25, -0.5, 5.0), (0.2, 0.09, 0.0, 1.0)]
    z = norm.ppf(qmc.Sobol(6, rng=3).random_base2(18))
    linear = np.full(len(z), 0.3)
    for i, (slope, slope_variance, value, value_variance) in enumerate(products):
        b = slope + np.sqrt(slope_variance) * z[:, 2 * i]
        linear += b * (value + np.sqrt(value_variance) * z[:, 2 * i + 1])
    ours = with_products(0.3, 0.4, products)
    assert ours == pytest.approx(ndtr(linear / np.sqrt(1.4)).mean(), abs=1e-4)


def test_no_products_and_certain_slopes_are_the_normal_average():
    mean, variance = np.array([[-1.2], [0.0], [2.0]]), np.array([[0.1], [0.5], [2.0]])
    assert product_average(mean, variance, [], PROBIT) == pytest.approx(
        normal_average(mean, variance, PROBIT), abs=1e-9
    )
    certain = product_average(mean, variance, [(0.7, 0.0, 0.5, 1.5)], PROBIT)
    expected = normal_average(mean + 0.35, variance + 0.49 * 1.5, PROBIT)
    assert certain == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("link", list(LINKS))
@pytest.mark.parametrize("mean", [-50.0, -23.0, -9.5, 8.9, 20.9, 21.5, 50.0])
def test_far_from_the_threshold_the_average_stays_a_probability(mean, link):
    for value_sd in (np.sqrt(1.25), np.sqrt(5.0)):
        product = (0.2, 0.04, 0.3, value_sd**2)
        ours = with_products(mean, 0.1, [product], link)
        assert 0.0 <= ours <= 1.0
        brute = one_product(mean, 0.1, 0.2, 0.2, 0.3, value_sd, link)
        assert ours == pytest.approx(brute, abs=1.5e-8)


@pytest.mark.parametrize("value", [-40.0, 0.3, 12.0])
@pytest.mark.parametrize("further", [0.0, 30.0, 900.0])
def test_wide_linear_predictors_are_as_exact(further, value):
    """Far values ask for smaller steps: one step for all would be wrong by more than 0.01."""
    for mean in (-30.0, 0.5, 8.0):
        product = (0.4, 0.09, value, 1.5)
        ours = with_products(mean, 0.2, [product], further=further)
        brute = one_product(mean, 0.2 + further, 0.4, 0.3, value, np.sqrt(1.5))
        assert ours == pytest.approx(brute, abs=1e-7)


def test_entries_are_worked_out_alone():
    """Variance that rows do not share, and the step of a far entry, change no other entry."""
    mean, further = np.array([[0.3, -25.0, 1.0]]), np.array([[0.0, 0.4, 500.0]])
    product = (0.4, 0.09, np.array([[0.5, 0.7, 9.0]]), 1.5)
    ours = product_average(mean, np.array([[0.2]]), [product], PROBIT, further=further)
    for i in range(3):
        alone = (0.4, 0.09, product[2][:, i : i + 1], 1.5)
        one = with_products(mean[0, i], 0.2, [alone], further=further[:, i : i + 1])
        assert one == ours[0, i]
        shared = with_products(mean[0, i], 0.2 + further[0, i], [alone])
        assert shared == pytest.approx(one, abs=1e-9)


@pytest.mark.parametrize("link", list(LINKS))
def test_atoms_are_a_mixture(link):
    atoms = np.array([[-0.6, 0.1, 1.3]]), np.array([[0.2, 0.5, 0.3]])
    for mean in (-1.0, 0.4, 30.0):
        ours = with_products(mean, 0.4, [(0.4, 0.09, 0.5, 1.5)], link, atoms=atoms)
        each = [with_products(mean + z, 0.4, [(0.4, 0.09, 0.5, 1.5)], link) for z in atoms[0][0]]
        assert ours == pytest.approx(np.dot(each, atoms[1][0]), abs=1e-8)


@pytest.mark.parametrize("centre", [0.02, 0.365, 0.9])
def test_the_rates_of_unseen_trials_average_to_the_reference(centre):
    binary = handmade.predictor("flag", "binary", centre=centre, between_trial_sd=0.7)
    at = np.array([[rate_location(binary)]])
    law = RateLaw(at, np.array([[0.7]]), np.zeros((1, 0)), np.zeros((1, 1)), np.zeros(1))
    assert law.probability(np.array([[1.0]]))[0, 0] == pytest.approx(centre, abs=1e-10)
    assert ndtr(rate_location(binary)) != pytest.approx(centre, abs=1e-3)


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
            a + b * x.mean(axis=1), b**2, PROBIT
        )
    h = a / np.sqrt(1.0 + b**2)
    p, g = ndtr(h), b * norm.pdf(h) / np.sqrt(1.0 + b**2)
    factor = 1.0 - g**2 / (p * (1.0 - p))
    ratio = residual.var() / (n * p * (1.0 - p))
    assert ratio == pytest.approx(factor, abs=4 * factor * np.sqrt(2.0 / arms) + 0.2 / n)
    assert ratio < 1.0
