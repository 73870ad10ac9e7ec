"""The chain of binary predictors against a root finder, against counting and against simulation."""

import itertools

import numpy as np
import pytensor.tensor as pt
import pytest
from scipy.optimize import brentq

from ketpredict.association import pair_probability, pattern_probability

RATES = [0.02, 0.3, 0.5, 0.94]
LOG_ODDS = [-4.0, -0.5, 0.0, 0.7, 3.0]


@pytest.mark.parametrize(("p", "q"), list(itertools.product(RATES, RATES)))
@pytest.mark.parametrize("log_odds", LOG_ODDS)
def test_the_odds_ratio_is_what_was_asked_for(p, q, log_odds):
    def excess(both):
        return np.log(both * (1 - p - q + both)) - np.log((p - both) * (q - both)) - log_odds

    low, high = max(0.0, p + q - 1.0), min(p, q)
    width = high - low
    exact = brentq(excess, low + 1e-12 * width, high - 1e-12 * width, xtol=1e-16)
    assert pair_probability(p, q, log_odds) == pytest.approx(exact, rel=1e-8)


def all_patterns(count):
    return np.array(list(itertools.product((0.0, 1.0), repeat=count)))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_margins_are_the_rates_and_everything_adds_up(count):
    rate, odds = np.array([0.2, 0.55, 0.8, 0.1])[:count], np.array([1.2, -2.0, 0.4])[: count - 1]
    patterns = all_patterns(count)
    probability = pattern_probability(np.tile(rate, (len(patterns), 1)), patterns, odds)
    assert probability.min() > 0
    assert probability.sum() == pytest.approx(1.0, abs=1e-14)
    assert probability @ patterns == pytest.approx(rate, abs=1e-14)


def test_leaving_out_the_last_binary_leaves_the_others_alone():
    rate, odds = np.array([0.2, 0.55, 0.8]), np.array([1.2, -2.0])
    three = pattern_probability(np.tile(rate, (8, 1)), all_patterns(3), odds)
    two = pattern_probability(np.tile(rate[:2], (4, 1)), all_patterns(2), odds[:1])
    assert three.reshape(4, 2).sum(axis=1) == pytest.approx(two, abs=1e-14)


def test_a_rate_of_0_or_1_is_independent_of_everything():
    patterns = all_patterns(3)[[2, 3, 6, 7]]  # the middle one is 1 for everybody
    rate = np.tile([0.3, 1.0, 0.6], (4, 1))
    probability = pattern_probability(rate, patterns, np.array([2.0, 2.0]))
    assert probability == pytest.approx([0.7 * 0.4, 0.7 * 0.6, 0.3 * 0.4, 0.3 * 0.6])


def test_tensors_and_arrays_give_the_same():
    rate, patterns, odds = np.tile([0.3, 0.6], (4, 1)), all_patterns(2), np.array([0.8])
    tensor = pattern_probability(pt.as_tensor(rate), patterns, pt.as_tensor(odds))
    value = tensor.eval(mode="FAST_COMPILE")
    assert value == pytest.approx(pattern_probability(rate, patterns, odds), rel=1e-14)
