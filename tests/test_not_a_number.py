"""A gate that gets no number does not pass: too few draws, NaN draws, NaN weights, NaN p-values."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import ketpredict as kp
from ketpredict import checks
from ketpredict.checks import convergence_table, held_out_gate
from ketpredict.diagnostics import diagnose, report_convergence
from ketpredict.discrepancies import family_of_scores, family_of_statistics, mid_p_value
from ketpredict.gates import as_often, bonferroni
from ketpredict.loo import LeaveOneOut
from ketpredict.wording import verdict_words

NAN = float("nan")


def tree_of(slope, energy=None):
    shape = slope.shape[:2]
    rng = np.random.default_rng(0)
    stats = {
        "diverging": (("chain", "draw"), np.zeros(shape, dtype=bool)),
        "energy": (("chain", "draw"), rng.normal(size=shape) if energy is None else energy),
    }
    posterior = xr.Dataset(
        {"slope": (("chain", "draw", "predictor"), slope)}, coords={"predictor": ["bmi", "bdnf"]}
    )
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": xr.Dataset(stats)})


def normal(chains, draws):
    return np.random.default_rng(1).normal(size=(chains, draws, 2))


@pytest.mark.parametrize("draws", [1, 2, 3])
@pytest.mark.parametrize("chains", [1, 4])
def test_too_few_draws_are_no_convergence(chains, draws):
    found = diagnose(tree_of(normal(chains, draws)))
    assert found.problems == (
        f"too few draws to judge, {draws} a chain: R-hat and effective sample sizes take 4 or more",
    )
    with pytest.raises(kp.ConvergenceError, match="too few draws"):
        report_convergence(found.problems, strict=True)


@pytest.mark.parametrize("draws", [4, 5, 9])
def test_few_draws_are_judged_and_fail(draws):
    problems = diagnose(tree_of(normal(4, draws))).problems
    assert any(problem.startswith("bulk ESS below 400") for problem in problems)


@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf])
def test_a_draw_that_is_not_finite_is_a_problem(value):
    slope = normal(4, 1000)
    assert diagnose(tree_of(slope)).converged
    slope[2, 17, 1] = value
    found = diagnose(tree_of(slope))
    assert found.problems == ("draws that are not finite numbers: slope",)


def test_an_energy_that_does_not_vary_is_a_problem_and_none_at_all_is_not():
    still = diagnose(tree_of(normal(4, 1000), energy=np.ones((4, 1000))))
    assert [p[:28] for p in still.problems] == ["E-BFMI cannot be computed: t"]
    broken = diagnose(tree_of(normal(4, 1000), energy=np.full((4, 1000), NAN)))
    assert not broken.converged
    tree = tree_of(normal(4, 1000))
    without = xr.Dataset({"diverging": tree["sample_stats"]["diverging"]})
    tree = xr.DataTree.from_dict({"posterior": tree["posterior"].ds, "sample_stats": without})
    assert diagnose(tree).converged


def test_the_fraction_of_missing_information_by_hand():
    energy = np.random.default_rng(3).normal(size=(3, 50)).cumsum(axis=1)
    by_hand = [(np.diff(e) ** 2).mean() / e.var() for e in energy]
    found = diagnose(tree_of(normal(3, 50), energy=energy))
    assert found.bfmi == pytest.approx(min(by_hand))


def weighted(k, effective):
    stats = xr.Dataset(attrs={"pareto_k": k, "effective_draws": effective})
    return xr.DataTree.from_dict({"sample_stats": stats})


@pytest.mark.parametrize(("k", "effective"), [(NAN, 900.0), (0.2, NAN), (NAN, NAN)])
def test_weights_without_a_number_are_rough(k, effective):
    assert diagnose(weighted(0.2, 900.0), "laplace").converged
    assert not diagnose(weighted(k, effective), "laplace").converged


def told(fit, **changes):
    facts = {**fit.facts, "diagnostics": {**fit.facts["diagnostics"], **changes}}
    return dataclasses.replace(fit, facts=facts)


def test_the_table_of_a_fit_of_two_draws_holds_nothing(simulated_fits):
    found = diagnose(tree_of(normal(2, 2)))
    few = told(
        simulated_fits["full"], problems=list(found.problems), divergences=0,
        **dict.fromkeys(("rhat", "ess_bulk", "ess_tail", "bfmi")),
    )  # fmt: skip
    table = convergence_table(few).set_index("measure")["holds"]
    assert table.to_dict() == {
        "R-hat": False, "bulk ESS": False, "tail ESS": False, "divergent transitions": True,
        "E-BFMI": False,
    }  # fmt: skip
    assert verdict_words(few.facts["diagnostics"]).startswith("NOT converged: too few draws")
    rough = told(few, method="laplace", pareto_k=0.1, effective_draws=None)
    assert convergence_table(rough)["holds"].tolist() == [True, False]


def test_a_p_value_that_is_no_number_is_no_pass():
    assert math.isnan(bonferroni(NAN, 3))
    assert bonferroni(0.5, 3) == 1.0
    assert bonferroni(0.01, 3) == pytest.approx(0.03)
    assert "cannot be computed" in as_often(NAN)
    assert math.isnan(mid_p_value(np.arange(4), NAN))
    assert math.isnan(mid_p_value(np.array([1.0, NAN]), 1.0))


@pytest.mark.parametrize(("row", "column"), [(0, 1), (7, 2)])
def test_a_score_that_is_no_number_fails_its_family(row, column):
    scores = np.random.default_rng(1).normal(size=(100, 3))
    scores[row, column] = NAN
    p_value, worst = family_of_scores(scores)
    assert math.isnan(p_value)
    assert worst == column
    table = pd.DataFrame(scores, columns=["a", "b", "c"])
    p_value, name = family_of_statistics(table)
    assert math.isnan(p_value)
    assert name == "abc"[column]
    # A statistic that the data do not have at all is another thing.
    there = family_of_statistics(table.drop(columns=name))
    assert family_of_statistics(table.assign(**{name: NAN})) == there


def test_a_held_out_arm_without_a_prediction_does_not_vanish():
    arms = pd.DataFrame(
        {"kind": "arm", "trial": ["trial_1", "trial_2"], "arm": "ketamine", "responders": 4.0,
         "n": 10.0, "pit": [0.5, 0.4]}
    )  # fmt: skip
    patients = arms.assign(kind="patients", pit=NAN)
    assert held_out_gate(pd.concat([arms, patients], ignore_index=True)).passed
    arms.loc[1, "pit"] = NAN
    gate = held_out_gate(pd.concat([arms, patients], ignore_index=True))
    assert not gate.passed
    assert "Trial 2" in gate.detail


def left_out(k):
    n = len(k)
    return LeaveOneOut(
        pd.DataFrame({"kind": "patients", "times": 1.0, "elpd": np.linspace(-1, -0.5, n),
                      "lppd": np.linspace(-0.9, -0.4, n), "pareto_k": k})
    )  # fmt: skip


def test_a_patient_whose_weights_have_no_shape_counts_as_above():
    assert checks._pareto_gate(left_out([0.1, 0.2, -math.inf, 0.3])).passed
    for bad in (NAN, math.inf, 0.9):
        found = left_out([0.1, 0.2, bad, 0.3])
        assert found.summary()["share_above"].tolist() == [0.25]
        assert not checks._pareto_gate(found).passed


def test_gates_on_data_without_a_chance_do_not_pass():
    twice = pd.DataFrame({"trial": ["a", "b"], "patients": 9, "pairs": [1, 0],
                          "expected": [NAN, 0.1], "p_value": [NAN, 1.0]})  # fmt: skip
    assert not checks._duplicates_gate(twice).passed
    assert checks._duplicates_gate(twice.assign(p_value=[0.5, 1.0])).passed
    apart = pd.DataFrame({"predictor": ["bmi"], "trial": "all", "responders": 5.0, "others": 5.0,
                          "separated": True, "chance": [NAN]})  # fmt: skip
    assert not checks._separation_gate(apart).passed
    assert checks._separation_gate(apart.assign(chance=0.5)).passed
