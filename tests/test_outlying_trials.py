"""Deleted residuals against a refit written out, and the gate on data whose law is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, norm

import monte_carlo
from ketpredict.deleted_residuals import deleted_residuals
from ketpredict.outlying_trials import latent_residuals, outlying_gate, outlying_trials
from ketpredict.replicates import NEW_TRIAL, Replicates, replicate


def refitted(residual, variance, t):
    """Return squared distance and contrast of one trial from the others' fit, matrix by matrix."""
    has = ~np.isnan(variance)
    others = [j for j in range(len(variance)) if j != t]
    freedom = [has[others, s].sum() - 1 for s in range(2)]
    excess = sum(
        freedom[s]
        * (
            np.var([residual[j, s] for j in others if has[j, s]], ddof=1)
            - np.mean([variance[j, s] for j in others if has[j, s]])
        )
        for s in range(2)
        if freedom[s] > 0
    )
    a = excess / sum(f for f in freedom if f > 0)
    both = [j for j in others if has[j].all()]
    b = np.cov(residual[both].T)[0, 1] if len(both) > 1 else 0.0
    level, deviation = max(0.0, (a + b) / 2.0), 2.0 * max(0.0, a - b)
    between = np.array([[level + deviation / 4.0, level - deviation / 4.0]] * 2)
    between[1] = between[1][::-1]
    top, precision = np.zeros(2), np.zeros((2, 2))
    for j in others:
        sides = np.flatnonzero(has[j])
        block = np.ix_(sides, sides)
        inverse = np.linalg.inv(np.diag(variance[j, sides]) + between[block])
        precision[block] += inverse
        top[sides] += inverse @ residual[j, sides]
    asked = np.flatnonzero(np.diag(precision) > 0)
    spread = np.linalg.inv(precision[np.ix_(asked, asked)])
    mean = np.zeros(2)
    mean[asked] = spread @ top[asked]
    whole = np.full((2, 2), np.nan)
    whole[np.ix_(asked, asked)] = spread
    sides = np.flatnonzero(has[t])
    block = np.ix_(sides, sides)
    omega = np.diag(variance[t, sides]) + between[block] + whole[block]
    apart = residual[t, sides] - mean[sides]
    contrast = 0.0
    if len(sides) == 2:
        contrast = (apart[0] - apart[1]) / np.sqrt(omega[0, 0] + omega[1, 1] - 2.0 * omega[0, 1])
    return apart @ np.linalg.solve(omega, apart), contrast


@pytest.mark.parametrize("lacking", [(), ((1, 1), (4, 0)), tuple((t, 1) for t in range(9))])
def test_deleted_residuals_are_those_of_a_refit_without_the_trial(lacking):
    rng = np.random.default_rng(1)
    variance = rng.uniform(0.02, 0.2, (9, 2))
    for place in lacking:
        variance[place] = np.nan
    residual = rng.normal(size=(6, 9, 2)) * np.array([0.1, 0.3, 0.5, 1.0, 2.0, 3.0])[:, None, None]
    residual += rng.normal(size=(6, 9, 1)) * 0.4
    found = deleted_residuals(residual, variance)
    for i in range(6):
        for t in range(9):
            distance, contrast = refitted(residual[i], variance, t)
            assert found.distance[i, t] == pytest.approx(distance, rel=1e-6)
            assert found.contrast[i, t] == pytest.approx(contrast, rel=1e-6, abs=1e-12)


def test_without_sampling_error_the_scale_cancels():
    """What makes the statistic one for replicates whose scale the outlier has inflated."""
    residual = np.random.default_rng(2).normal(size=(4, 7, 2))
    variance = np.full((7, 2), 1e-12)
    one = deleted_residuals(residual, variance).distance
    assert deleted_residuals(5.0 * residual, variance).distance == pytest.approx(one, rel=1e-6)


def test_an_outlier_does_not_widen_the_spread_that_it_is_judged_by():
    residual = np.random.default_rng(3).normal(size=(1, 8, 2))
    moved = residual.copy()
    moved[0, 2] += 100.0
    variance = np.full((8, 2), 0.1)
    near, far = (deleted_residuals(r, variance).distance[0] for r in (residual, moved))
    assert far[2] > 1000.0 * near[2]
    assert (far[np.arange(8) != 2] < 10.0).all()


def test_a_side_of_few_trials_is_refused():
    variance = np.full((6, 2), 0.1)
    variance[:3, 1] = np.nan
    with pytest.raises(ValueError, match="fewer than four"):
        deleted_residuals(np.zeros((2, 6, 2)), variance)


@pytest.mark.parametrize(("share", "n"), [(0.5, 30), (0.2, 40), (0.85, 60)])
def test_latent_residuals_have_mean_0_the_variance_and_the_unit_of_the_latent_scale(share, n):
    """Against the whole binomial distribution, counted out."""
    counts = np.arange(n + 1.0)[:, None]
    residual, variance = latent_residuals(counts, np.array([n]), np.array([share]))
    own = binom.pmf(counts[:, 0], n, share)
    mean = own @ residual[:, 0]
    assert mean == pytest.approx(0.0, abs=0.12 * np.sqrt(variance[0]))
    assert own @ (residual[:, 0] - mean) ** 2 == pytest.approx(variance[0], rel=0.12)
    higher = binom.pmf(counts[:, 0], n, norm.cdf(norm.ppf(share) + 0.2))
    assert higher @ residual[:, 0] - mean == pytest.approx(0.2, abs=0.03)


def alike(rng, draws, trials=8, n=20, level=0.3, deviation=0.2):
    """Return responders of exchangeable data sets, the first of them observed, by trial and arm."""
    v = level * rng.normal(size=(draws, trials, 1))
    d = deviation * rng.normal(size=(draws, trials, 1)) * np.array([0.5, -0.5])
    return rng.binomial(n, norm.cdf(np.array([0.1, -0.9]) + v + d)).reshape(draws, -1)


def replicates_of(counts, n=20):
    trials = counts.shape[1] // 2
    labels = pd.DataFrame(
        [
            {"trial": f"trial_{t + 1}", "arm": arm, "active": arm == "ketamine"}
            for t in range(trials)
            for arm in ("ketamine", "saline")
        ]
    )
    people = np.full(len(labels), n)
    return Replicates(labels, counts[0], people, counts[1:], NEW_TRIAL)


def test_the_gate_fails_at_its_nominal_rate_and_sees_what_is_planted():
    rng = np.random.default_rng(4)
    sound = [outlying_trials(replicates_of(alike(rng, 200)))[1] for _ in range(400)]
    failed = sum(p < 0.05 for p in sound)
    assert 0.001 < binom.cdf(failed, 400, 0.05) < 0.999
    seen = 0
    for _ in range(50):
        counts = alike(rng, 200)
        counts[0, 5] = 19  # control arm of the third trial
        table, p_value = outlying_trials(replicates_of(counts))
        gate = outlying_gate(table, p_value)
        seen += not gate.passed
        if not gate.passed:
            assert table.loc[table["distance"].idxmax(), "trial"] == "trial_3"
    assert seen > 35
    assert "Trial 3" in gate.detail
    assert "(19 of 20 responded" in gate.detail or "active minus control" in gate.detail


def test_trials_of_one_side_and_few_trials():
    rng = np.random.default_rng(5)
    found = replicates_of(alike(rng, 100))
    active = found.labels["active"].to_numpy(bool)
    some = active | (np.arange(16) > 5)

    def part(chosen):
        return Replicates(
            found.labels[chosen].reset_index(drop=True),
            found.observed[chosen],
            found.n[chosen],
            found.replicated[:, chosen],
            NEW_TRIAL,
        )

    table, p_value = outlying_trials(part(some))
    assert table["control_n"].isna().sum() == 3
    assert table["contrast_residual"].isna().sum() == 3
    assert table["active_residual"].notna().all()
    assert 0.0 < p_value <= 1.0
    # Two trials with control arms say nothing of controls; all trials are judged by their active.
    few, _ = outlying_trials(part(active | (np.arange(16) > 11)))
    assert few["control_n"].isna().all()
    none, p_value = outlying_trials(part(np.arange(16) < 6))
    assert none.empty
    assert p_value == 1.0
    assert outlying_gate(none, p_value) is None


def test_on_a_fit(simulated_fits):
    fit = simulated_fits["full"]
    found = replicate(fit, setting=NEW_TRIAL)
    table, p_value = outlying_trials(found)
    assert len(table) == 5
    monte_carlo.above(p_value, 0.05, monte_carlo.of_p_value(p_value, fit.n_draws))
    active = found.labels["active"].to_numpy(bool)
    here = active & (found.labels["trial"] == "trial_2").to_numpy(bool)
    row = table.set_index("trial").loc["trial_2"]
    assert row["active_responders"] == found.observed[here].sum()
    assert row["active_expected"] == pytest.approx(found.replicated[:, here].sum(axis=1).mean())
