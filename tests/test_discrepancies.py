"""p-values of families and statistics: their error rates, and the statistics by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from ketpredict.discrepancies import (
    active_minus_control,
    anscombe,
    between_trial_sd,
    family_of_statistics,
    family_p_value,
    largest_contrast,
    largest_residual,
    pooled_rate,
    statistic_draws,
    statistics_table,
)
from ketpredict.errors import DataError
from ketpredict.replicates import Replicates

LABELS = pd.DataFrame(
    {
        "trial": ["A", "A", "B", "B", "C"],
        "arm": ["ketamine", "saline", "ketamine", "saline", "ketamine"],
        "active": [True, False, True, False, True],
    }
)
N = np.array([20, 20, 40, 40, 10])


def drawn(rng, draws, shift=0.0):
    """Return replicates of a model with a common, uncertain level, and one data set of it."""
    level = np.clip(rng.normal(0.4, 0.1, draws + 1), 0.02, 0.98)
    counts = rng.binomial(N, np.clip(level[:, None] + 0 * N, 0, 1))
    counts[0, 2] = rng.binomial(N[2], np.clip(level[0] + shift, 0.0, 1.0))
    return Replicates(LABELS, counts[0], N, counts[1:], "new_trial")


def test_families_fail_at_their_nominal_rate_and_see_an_outlier():
    rng = np.random.default_rng(1)
    null = np.array([family_p_value(drawn(rng, 199))[0] for _ in range(600)])
    assert binom.cdf((null <= 0.05).sum(), 600, 0.05) < 0.999
    assert null.mean() == pytest.approx(0.5, abs=0.05)
    far = [family_p_value(drawn(rng, 199, shift=0.5)) for _ in range(50)]
    assert np.mean([p <= 0.05 for p, _ in far]) > 0.8
    assert np.mean([place == 2 for _, place in far]) > 0.8


def test_statistics_fail_at_their_nominal_rate():
    rng = np.random.default_rng(2)
    null = np.array([family_of_statistics(statistic_draws(drawn(rng, 59)))[0] for _ in range(100)])
    assert binom.cdf((null <= 0.05).sum(), 100, 0.05) < 0.999
    assert null.mean() == pytest.approx(0.5, abs=0.1)


def test_the_scale_makes_binomial_variances_alike():
    for n, p in ((20, 0.3), (50, 0.1), (200, 0.5)):
        r = np.arange(n + 1)
        mass = binom.pmf(r, n, p)
        scale = anscombe(r, n)
        variance = mass @ scale**2 - (mass @ scale) ** 2
        assert variance == pytest.approx(1.0, abs=0.06)


def test_statistics_by_hand():
    r = np.array([10, 5, 20, 4, 1])
    assert pooled_rate(r, N, LABELS) == pytest.approx(40 / 130)
    assert between_trial_sd(r, N, LABELS) == pytest.approx(np.std([0.5, 0.5, 0.1], ddof=1))
    assert active_minus_control(r, N, LABELS) == pytest.approx(31 / 70 - 9 / 60)
    worst = (10 * 31 / 70 - 1) / np.sqrt(10 * 31 / 70 * 39 / 70)
    assert largest_residual(r, N, LABELS) == pytest.approx(worst)
    assert np.isnan(largest_contrast(r, N, LABELS))  # two trials with both kinds of arms
    nobody = LABELS.assign(active=True)
    assert np.isnan(active_minus_control(r, N, nobody))
    assert np.isnan(between_trial_sd(r, N, LABELS.assign(trial="A")))


def test_a_statistic_of_the_users_own_and_its_p_value():
    found = Replicates(LABELS, N // 2, N, np.array([N // 4, N // 2, N, N]), "known_trial")
    draws = statistic_draws(found, {"largest rate": lambda r, n, labels: (r / n).max()})
    row = statistics_table(draws, prob=0.5).iloc[0]
    assert row["observed"] == 0.5
    assert row["p_value"] == pytest.approx(2 * (0.25 + 0.125))
    with pytest.raises(DataError, match=r"needs the label 'site'"):
        statistic_draws(found, {"by site": lambda r, n, labels: labels["site"].size})
    with pytest.raises(DataError, match="does not give a number"):
        statistic_draws(found, {"text": lambda r, n, labels: "many"})


def test_the_largest_contrast_is_that_of_the_odd_trial():
    trials = np.repeat(["A", "B", "C", "D"], 2)
    labels = pd.DataFrame({"trial": trials, "active": [True, False] * 4})
    n = np.full(8, 50)
    angle = lambda r: 2 * np.arcsin(np.sqrt((r + 0.375) / 50.75))  # noqa: E731
    usual = angle(25) - angle(10)
    # Levels differ from trial to trial; the contrast does so in the last one alone.
    r = np.array([25, 10, 25, 10, 25, 10, 5, 10])
    expected = abs(angle(5) - angle(10) - usual) / np.sqrt(2 / 50)
    assert largest_contrast(r, n, labels) == pytest.approx(expected)
    lifted = np.array([25, 10, 25, 10, 25, 10, 45, 32])
    assert largest_contrast(lifted, n, labels) < 1.0
