"""Products inverted in single precision, against sums over fine grids of every uncertain slope."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.special import expit, ndtr

from ketpredict import inversion
from ketpredict.inversion import Inversion, ProductPattern
from ketpredict.link import components

TOLERANCE = 6e-7
# Equally spaced nodes on both sides: for these smooth integrands far finer than needed.
NODES = {1: 801, 2: 121, 3: 45}


def random_pattern(rng, products, observed, link="probit", draws=24, atoms=1, wide=1.0):
    """Return a pattern whose slopes and predictors reach as far as the prior does."""
    weight = rng.dirichlet(np.ones(atoms), draws)
    return ProductPattern(
        constant=rng.normal(0.0, 1.0, draws),
        variance=rng.uniform(0.0, 1.0, draws),
        coefficient=rng.normal(0.0, 0.4, (draws, observed)),
        known_slope_variance=rng.uniform(0.0, 0.25, (draws, observed)),
        origin=rng.normal(0.0, 0.5, (draws, observed)),
        slope=rng.normal(0.0, 0.5, (draws, products)),
        slope_variance=wide * rng.uniform(0.0, 1.1, (draws, products)) ** 2,
        value_constant=rng.normal(0.0, 0.7, (draws, products)),
        value_coefficient=rng.normal(0.0, 0.5, (draws, products, observed)),
        atom=rng.normal(0.0, 0.5, (draws, atoms)),
        atom_weight=weight,
        components=components(link),
    )


def link_average(link, mean, variance):
    """Return the link averaged over a normal linear predictor."""
    if link == "probit":
        return ndtr(mean / np.sqrt(1.0 + variance))
    nodes = np.linspace(-8.0, 8.0, 81)
    weights = np.exp(-0.5 * nodes**2)
    at = mean[..., None] + np.sqrt(variance)[..., None] * nodes
    return expit(at) @ weights / weights.sum()


def brute_force(pattern, draw, values, intercept, link="probit"):
    """Return one probability: the sum over a grid of slopes and over atoms of normal averages."""
    products = pattern.slope.shape[1]
    axis = np.linspace(-8.5, 8.5, NODES[products])
    grid = np.array(list(itertools.product(axis, repeat=products)))
    weight = np.exp(-0.5 * (grid**2).sum(axis=1))
    slope = pattern.slope[draw] + np.sqrt(pattern.slope_variance[draw]) * grid
    at = pattern.value_constant[draw] + pattern.value_coefficient[draw] @ values
    mean = pattern.constant[draw] + intercept + pattern.coefficient[draw] @ values + slope @ at
    distance = values - pattern.origin[draw]
    variance = pattern.variance[draw] + pattern.known_slope_variance[draw] @ distance**2
    variance = variance + (slope**2).sum(axis=1)
    total = 0.0
    for atom, share in zip(pattern.atom[draw], pattern.atom_weight[draw], strict=True):
        total += share * (weight @ link_average(link, mean + atom, variance)) / weight.sum()
    return total


def errors(pattern, values, intercept, link="probit", draws=range(0, 24, 4)):
    count = len(pattern.constant)
    out = np.empty((len(values), count))
    ours = Inversion(pattern).at(intercept).probability(values, slice(0, count), out)
    return np.array(
        [
            [ours[i, d] - brute_force(pattern, d, row, intercept[d], link) for d in draws]
            for i, row in enumerate(values)
        ]
    )


@pytest.mark.parametrize(("products", "observed"), [(1, 0), (1, 3), (2, 1), (2, 4), (3, 2)])
def test_probabilities_equal_grids_of_slopes(products, observed):
    rng = np.random.default_rng([products, observed])
    pattern = random_pattern(rng, products, observed)
    values = rng.normal(0.0, 1.5, (6, observed))
    assert np.abs(errors(pattern, values, rng.normal(0.0, 0.7, 24))).max() < TOLERANCE


@pytest.mark.parametrize("link", ["probit", "logit"])
def test_both_links_and_atoms_equal_grids_of_slopes(link):
    rng = np.random.default_rng(7)
    pattern = random_pattern(rng, 1, 2, link, atoms=5)
    values = rng.normal(0.0, 1.5, (4, 2))
    assert np.abs(errors(pattern, values, rng.normal(0.0, 0.7, 24), link)).max() < TOLERANCE


def levels(pattern, values, intercept):
    at = Inversion(pattern).at(intercept)
    with_monomials = inversion.monomials(values).astype(np.float32)[:, None]
    single = values.astype(np.float32)[:, None]
    return at._levels(single, with_monomials, slice(0, len(intercept)))


def test_every_step_is_as_exact():
    """One draw at a time, so that rows near and far meet each step, and the way of far ones."""
    found, worst = set(), 0.0
    for seed, scale in enumerate((0.3, 1.0, 2.0, 4.0, 8.0, 20.0) * 4):
        rng = np.random.default_rng([11, seed])
        pattern = random_pattern(rng, 2, 2, draws=1, wide=0.1)
        values, intercept = rng.normal(0.0, scale, (3, 2)), np.zeros(1)
        found |= set(levels(pattern, values, intercept).tolist())
        worst = max(worst, np.abs(errors(pattern, values, intercept, draws=[0])).max())
    assert found == set(range(len(inversion._STEPS) + 1))
    assert worst < TOLERANCE


def test_the_widest_step_alone_would_be_seen(monkeypatch):
    rng = np.random.default_rng(12)
    pattern = random_pattern(rng, 2, 2)
    values, intercept = rng.normal(0.0, 4.0, (6, 2)), np.zeros(24)
    assert np.abs(errors(pattern, values, intercept)).max() < TOLERANCE
    monkeypatch.setattr(inversion, "_REACH", np.full(len(inversion._STEPS), np.inf))
    assert np.abs(errors(pattern, values, intercept)).max() > 1e-3


def test_a_row_is_the_same_alone_and_among_others():
    rng = np.random.default_rng(13)
    pattern = random_pattern(rng, 3, 3, draws=150)
    values = rng.normal(0.0, 1.0, (20, 3)) * rng.choice([0.5, 2.0, 9.0], 20)[:, None]
    at, draws = Inversion(pattern).at(rng.normal(size=150)), slice(32, 100)
    together = at.probability(values, draws, np.empty((20, 68)))
    assert ((together >= 0.0) & (together <= 1.0)).all()
    for i in range(20):
        alone = at.probability(values[i : i + 1], draws, np.empty((1, 68)))
        assert np.array_equal(alone[0], together[i])
