"""Ranks: their exact test and band against simulation, enumeration and ArviZ."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from arviz_stats.ecdf_utils import ecdf_pit
from scipy.stats import binom, binomtest, kstest

from ketpredict.rank_uniformity import family_p_values, simultaneous_band, uniformity_p_value


def statistic(ranks: np.ndarray, highest: int) -> float:
    """The definition, place by place."""
    found = 1.0
    for k in range(1, highest + 1):
        below, z = int((ranks < k).sum()), k / (highest + 1)
        tail = min(binom.cdf(below, len(ranks), z), binom.sf(below - 1, len(ranks), z))
        found = min(found, 2.0 * tail)
    return found


@pytest.mark.parametrize(("count", "highest"), [(4, 3), (6, 2)])
def test_p_values_are_those_of_every_possible_outcome(count: int, highest: int) -> None:
    outcomes = [np.array(o) for o in product(range(highest + 1), repeat=count)]
    values = np.array([statistic(o, highest) for o in outcomes])
    for outcome in outcomes[:: len(outcomes) // 37]:
        expected = (values <= statistic(outcome, highest) * (1 + 1e-12)).mean()
        assert uniformity_p_value(outcome, highest) == pytest.approx(expected, abs=1e-9)


def test_p_values_of_uniform_ranks_are_uniform_and_small_ones_exact() -> None:
    rng = np.random.default_rng(4)
    p = [uniformity_p_value(rng.integers(0, 21, 60), 20) for _ in range(200)]
    assert kstest(p, "uniform").pvalue > 0.001
    skewed = np.minimum(rng.integers(0, 21, 60), rng.integers(0, 21, 60))
    assert uniformity_p_value(skewed, 20) < 1e-3


def test_band_holds_what_it_says() -> None:
    rng, count, highest = np.random.default_rng(5), 80, 30
    low, high = simultaneous_band(count, highest, 0.9)
    ranks = rng.integers(0, highest + 1, (4000, count))
    below = (ranks[:, :, None] < np.arange(1, highest + 1)).sum(axis=1)
    inside = ((below >= low) & (below <= high)).all(axis=1)
    assert binomtest(int(inside.sum()), 4000, 0.9, alternative="less").pvalue > 0.001
    assert inside.mean() < 0.94
    # The band and the p-value are one thing.
    p = np.array([uniformity_p_value(r, highest) for r in ranks[:60]])
    assert ((p > 0.1) == inside[:60]).all()


def test_band_is_that_of_arviz() -> None:
    count = 50
    place, _, low, high = ecdf_pit(
        np.linspace(0.01, 0.99, count), 0.9, 4000, rng=np.random.default_rng(6)
    )
    ours = simultaneous_band(count, count - 1, 0.9)
    assert np.allclose(place[1:-1], np.arange(1, count) / count)
    # ArviZ simulates the limits: a count to either side.
    assert np.abs(np.array([low, high])[:, 1:-1] * count - np.array(ours)).max() <= 1


def test_adjustment_of_a_family_by_hand() -> None:
    adjusted = family_p_values(np.array([0.04, 0.01, 0.03, 0.5]))
    assert adjusted == pytest.approx([0.09, 0.04, 0.09, 0.5])
