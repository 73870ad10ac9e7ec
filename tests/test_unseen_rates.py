"""Rates of binary predictors in unseen trials, against integrals over all rates at once."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.special import ndtr

import handmade
from ketpredict.unseen_rates import _FINE, RateLaw, _spline_of

LOCATION = np.array([[-0.3, 0.4, -0.8], [0.2, -1.1, 0.1]])
SCALE = np.array([[0.3, 0.6, 0.5], [1.2, 0.2, 0.7]])
LOG_ODDS_RATIO = np.array([[1.2, -0.7], [-1.5, 2.0]])
PATTERNS = np.array(list(itertools.product((0.0, 1.0), repeat=3)))
ACROSS = np.array([[0.8, -0.5, 0.3], [-0.4, 1.0, 0.6]])
CENTRE = np.array([0.4, 0.6, 0.3])


def every_rate(draw, steps=33):
    """Return rates on a grid of all three positions, their weights, and their patterns' chances."""
    axis = np.linspace(-7.0, 7.0, steps)
    e = np.array(list(itertools.product(axis, repeat=3)))
    rate = ndtr(LOCATION[draw] + SCALE[draw] * e)
    weight = np.exp(-0.5 * (e**2).sum(axis=1))
    both = handmade.shares(rate, LOG_ODDS_RATIO[draw])
    chance = [handmade.pattern_probability(pattern, rate, both) for pattern in PATTERNS]
    return rate, weight / weight.sum(), np.array(chance)


@pytest.fixture(scope="module")
def law():
    return RateLaw(LOCATION, SCALE, LOG_ODDS_RATIO, ACROSS, CENTRE)


@pytest.mark.parametrize("draw", [0, 1])
def test_a_pattern_has_its_probability_averaged_over_trials(law, draw):
    _, weight, chance = every_rate(draw)
    ours = law.probability(PATTERNS)[draw]
    assert ours == pytest.approx((weight * chance).sum(axis=1), abs=1e-7)
    assert ours.sum() == pytest.approx(1.0, abs=1e-12)
    # Associations that are left out are seen.
    independent = dataclasses.replace(law, log_odds_ratio=0.0 * LOG_ODDS_RATIO, _found={})
    independent = independent.probability(PATTERNS)[draw]
    assert np.abs(independent - ours).max() > 0.02


@pytest.mark.parametrize("draw", [0, 1])
def test_atoms_stand_for_the_effect_of_the_rates(law, draw):
    rate, weight, chance = every_rate(draw)
    atom, share = law.shift_atoms(PATTERNS)
    effect = (rate - CENTRE) @ ACROSS[draw]
    assert share.sum(axis=-1) == pytest.approx(1.0)
    for p in range(len(PATTERNS)):
        here = weight * chance[p] / (weight * chance[p]).sum()
        for mean in (-1.5, 0.0, 0.7):
            exact = (here * ndtr(mean + effect)).sum()
            ours = (share[draw, p] * ndtr(mean + atom[draw, p])).sum()
            assert ours == pytest.approx(exact, abs=1e-6)
            one_atom = ndtr(mean + (here * effect).sum())
            if mean == 0.7 and p == 3:
                assert abs(one_atom - exact) > 1e-3


def test_rates_that_do_not_vary_are_one_atom():
    fixed = RateLaw(LOCATION, 0.0 * SCALE, LOG_ODDS_RATIO, ACROSS, CENTRE)
    atom, share = fixed.shift_atoms(PATTERNS)
    expected = (ACROSS * (ndtr(LOCATION) - CENTRE)).sum(axis=1)
    assert (share * atom).sum(axis=-1) == pytest.approx(np.tile(expected[:, None], (1, 8)))
    atom, share = RateLaw(LOCATION, SCALE, LOG_ODDS_RATIO, 0.0 * ACROSS, CENTRE).shift_atoms(
        PATTERNS
    )
    assert (atom == 0.0).all()
    assert (share == 1.0).all()


def test_patterns_may_be_asked_for_in_any_order(law):
    again = RateLaw(LOCATION, SCALE, LOG_ODDS_RATIO, ACROSS, CENTRE)
    assert again.probability(PATTERNS[[6, 1]]) == pytest.approx(
        law.probability(PATTERNS)[:, [6, 1]]
    )
    assert again.probability(PATTERNS) == pytest.approx(law.probability(PATTERNS))


@pytest.mark.parametrize("pattern", [(0.0, 1.0, 1.0), (1.0, 0.0, 1.0)])
def test_sampled_rates_have_their_law_given_a_pattern(law, pattern):
    rng = np.random.default_rng(3)
    size = 40_000
    ours = law.rates_given(np.array(pattern), rng.standard_normal((2, size, 3)))
    for draw in (0, 1):
        rate, weight, chance = every_rate(draw)
        here = weight * chance[PATTERNS.tolist().index(list(pattern))]
        here = here / here.sum()
        for j in range(3):
            mean = (here * rate[:, j]).sum()
            sd = np.sqrt((here * (rate[:, j] - mean) ** 2).sum())
            assert abs(ours[draw, :, j].mean() - mean) < 4.0 * sd / np.sqrt(size)
            prior = (weight * rate[:, j]).sum()
            if SCALE[draw, j] > 0.4:
                assert abs(mean - prior) > 20.0 * sd / np.sqrt(size)
        # Rates that were independent are not so given the pattern: their chain is kept.
        product = (here * rate[:, 0] * rate[:, 1]).sum()
        found = ours[draw, :, 0] * ours[draw, :, 1]
        assert abs(found.mean() - product) < 4.0 * found.std() / np.sqrt(size)


def test_sampling_is_exact_for_one_rate_by_quadrature():
    """Equally spaced quantiles of the sampled law integrate as the law itself."""
    one = RateLaw(
        np.array([[0.3]]), np.array([[0.9]]), np.zeros((1, 0)), np.zeros((1, 1)), CENTRE[:1]
    )
    normal = np.linspace(-8.0, 8.0, 2001)
    rates = one.rates_given(np.array([1.0]), normal[None, :, None])[0, :, 0]
    weight = np.exp(-0.5 * normal**2)
    mean = (weight * rates).sum() / weight.sum()
    e = np.linspace(-8.0, 8.0, 2001)
    rate = ndtr(0.3 + 0.9 * e)
    density = np.exp(-0.5 * e**2) * rate
    assert mean == pytest.approx((density * rate).sum() / density.sum(), abs=1e-4)


@pytest.mark.parametrize("stride", [1, 3, 6])
def test_the_spline_is_scipy_s(stride):
    near = _FINE[::stride]
    expected = CubicSpline(near, np.eye(len(near)))(_FINE)
    assert _spline_of(len(near), stride) == pytest.approx(expected, abs=1e-12)


def test_asking_for_few_trials_gives_the_same_rates(law):
    normal = np.random.default_rng(4).standard_normal((2, 50, 3))
    wanted = np.random.default_rng(5).random((2, 50)) < 0.2
    every = law.rates_given(PATTERNS[3], normal)
    few = law.rates_given(PATTERNS[3], normal, wanted)
    assert np.array_equal(few[wanted], every[wanted])
    assert (few[~wanted] == 0.0).all()
