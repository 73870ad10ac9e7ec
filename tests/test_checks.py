"""Checks of a fit: the mid-p by hand, sums over patients, and what makes a gate fail."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import monte_carlo
from ketpredict.checks import check_fit, convergence_table, predictive_table
from ketpredict.discrepancies import mid_p_value
from ketpredict.stored_design import design_of


def with_draws(posterior, responders):
    """Return the posterior with other replicated responders, (draw, unit)."""
    groups = {**posterior.groups, "posterior_predictive": {"responders": responders[None]}}
    return dataclasses.replace(posterior, groups=groups)


def with_diagnostics(posterior, **changes):
    facts = {**posterior.facts, "diagnostics": {**posterior.facts["diagnostics"], **changes}}
    return dataclasses.replace(posterior, facts=facts)


@pytest.mark.parametrize(
    ("replicated", "observed", "expected"),
    [
        ([0, 1, 2, 3], 3, 0.25),  # 2 x (0 above + half of 1/4)
        ([0, 1, 2, 3], 0, 0.25),
        ([0, 1, 1, 2], 1, 1.0),  # 1/4 + half of 2/4 on either side
        ([5, 5, 5, 5], 5, 1.0),
        ([5, 5, 5, 5], 6, 0.0),
        ([0, 0, 0, 0, 1], 0, 1.2 / 2),  # below 0, half of 4/5 = 0.4; above 0.2 + 0.4 = 0.6
    ],
)
def test_mid_p_equals_the_hand_calculation(replicated, observed, expected):
    below = np.mean(np.array(replicated) < observed) + np.mean(np.array(replicated) == observed) / 2
    by_hand = min(1.0, 2 * min(below, 1 - below))
    assert mid_p_value(np.array(replicated), observed) == pytest.approx(by_hand)
    if expected != 1.2 / 2:
        assert by_hand == pytest.approx(expected)


def test_mid_p_of_a_calibrated_model_is_uniform_on_average():
    rng = np.random.default_rng(1)
    values = [
        mid_p_value(rng.binomial(20, 0.4, 2000), float(rng.binomial(20, 0.4))) for _ in range(400)
    ]
    assert np.mean(values) == pytest.approx(0.5, abs=0.05)


def test_patients_of_a_trial_and_arm_are_added_up(published_fit):
    posterior = published_fit.fit_
    labels = design_of(posterior).labels()
    ours = (labels["trial"] == "nimh_ds005917") & (labels["arm"] == "ketamine")
    ours &= labels["population"] == "unipolar_depression"
    draws = np.zeros((4, len(labels)), dtype=int)
    draws[:, np.flatnonzero(ours)[:3]] = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]
    table = predictive_table(with_draws(posterior, draws), prob=0.5)
    row = table[
        (table["trial"] == "nimh_ds005917")
        & (table["arm"] == "ketamine")
        & (table["population"] == "unipolar_depression")
    ].iloc[0]
    assert row["n"] == labels.loc[ours, "n"].sum()
    assert row["observed"] == labels.loc[ours, "responders"].sum()
    assert (row["lower"], row["median"], row["upper"]) == (0.75, 1.5, 2.25)
    assert row["kind"] == "patients"


def test_rows_add_up_to_every_person_however_they_are_grouped(published_fit):
    posterior = published_fit.fit_
    n = design_of(posterior).units.n.sum()
    for by in (("trial", "population", "arm"), ("population",), ("arm", "hours")):
        assert predictive_table(posterior, by=by)["n"].sum() == n


def test_a_fit_reproduces_its_own_data(published_fit):
    table = predictive_table(published_fit.fit_)
    inside = table["observed"].between(table["lower"], table["upper"])
    assert inside.mean() > 0.9
    draws = published_fit.fit_.n_draws
    surprising = table["p_value"].to_numpy()
    monte_carlo.above(surprising, 0.05, monte_carlo.of_p_value(surprising, draws))
    assert set(table["trial"]) == set(published_fit.fit_.coords["trial"])


def test_a_fit_that_did_not_converge_fails_its_gate(published_fit):
    good = with_diagnostics(
        published_fit.fit_, problems=[], rhat=1.001, ess_bulk=900.0, ess_tail=800.0
    )
    sound = check_fit(good)
    assert sound.passed
    monte_carlo.verdicts(sound.gates, good.n_draws)
    bad = with_diagnostics(good, problems=["R-hat above 1.01: intercept (1.2)"], rhat=1.2)
    result = check_fit(bad)
    assert not result.passed
    assert [gate.name for gate in result.gates if not gate.passed] == ["convergence"]
    assert "intercept" in result.gates[0].detail
    assert not convergence_table(bad).set_index("measure").loc["R-hat", "holds"]


def test_chains_that_stand_still_hold_nothing(published_fit):
    nothing = dict.fromkeys(("rhat", "ess_bulk", "ess_tail", "bfmi"))
    still = with_diagnostics(published_fit.fit_, **nothing, divergences=100, problems=["all same"])
    table = convergence_table(still).set_index("measure")
    assert not table.loc[["R-hat", "bulk ESS", "tail ESS", "divergent transitions"], "holds"].any()


def test_an_impossible_count_fails_the_predictive_gate(published_fit):
    posterior = with_diagnostics(published_fit.fit_, problems=[])
    never = np.zeros((2000, len(design_of(posterior).units)), dtype=int)
    result = check_fit(with_draws(posterior, never))
    assert not result.passed
    assert not result.gates[1].passed
    assert "0.05 % of replicated" in result.gates[1].detail  # 1 of 2001, the data themselves


def test_the_verdict_is_json(published_fit):
    result = check_fit(published_fit.fit_)
    back = json.loads(json.dumps(result.as_table(), allow_nan=False))
    assert back["passed"] is result.passed
    assert len(back["posterior_predictive"]) == len(result.predictive)


def test_a_fit_without_replicates_is_checked_all_the_same(published_fit):
    kept = published_fit.fit_
    groups = {name: v for name, v in kept.groups.items() if name != "posterior_predictive"}
    table = predictive_table(dataclasses.replace(kept, groups=groups))
    before = predictive_table(kept)
    np.testing.assert_array_equal(table["observed"], before["observed"])
    # 400 draws each: the medians differ by no more than their Monte Carlo error.
    error = (before["upper"] - before["lower"]) / 3.29 * 1.25 * np.sqrt(2 / 100)
    monte_carlo.agrees(table["median"], before["median"], error, beyond=1)
