"""Errors and warnings for programs: records beside prose, and one text for one kind."""

from __future__ import annotations

import dataclasses
import json
import pickle
import warnings

import numpy as np
import pytest

import ketpredict as kp
from ketpredict.evidence import make_evidence
from tiny_fit import handmade_posterior


def of_rows(error):
    return [(problem.code, problem.row, problem.column) for problem in error.problems]


def test_every_problem_of_a_table_is_a_record_with_its_row_counted_from_1():
    table = {"bmi": [25.0, 500.0, "31,5"], "trial": ["a", "b", "c"]}
    with pytest.raises(kp.DataError) as caught:
        kp.response_probability(table, handmade_posterior())
    error = caught.value
    assert of_rows(error) == [("cell", 2, "bmi"), ("cell", 3, "bmi")]
    assert all(problem.text in str(error) for problem in error.problems)
    # Also those that the message only counts.
    with pytest.raises(kp.DataError) as caught:
        kp.response_probability({"bmi": [500.0] * 60}, handmade_posterior())
    assert len(caught.value.problems) == 60
    assert "and 40 more" in str(caught.value)


def test_tables_to_fit_say_the_same_and_columns_have_no_row():
    arms = {
        "trial": ["a"], "population": ["ptsd"], "arm": ["ketamine"], "hours": [24.0],
        "n": [10], "responders": [12], "bmi_mean ": [30.0],
    }  # fmt: skip
    with pytest.raises(kp.DataError) as caught:
        make_evidence(arms=arms)
    codes = {problem.code for problem in caught.value.problems}
    assert codes <= {"cell", "row", "column", "table"}
    assert all((p.row is None) == (p.code in ("column", "table")) for p in caught.value.problems)
    assert caught.value.problems


def test_a_row_that_the_fit_cannot_place_is_a_record_too():
    with pytest.raises(kp.DataError) as caught:
        kp.response_probability({"arm": ["ketamine", "ketamin"]}, handmade_posterior())
    assert caught.value.problems == () or caught.value.problems[0].row == 2
    with pytest.raises(kp.DataError) as caught:
        kp.response_probability({"trial": ["T1", "t1"]}, handmade_posterior())
    assert of_rows(caught.value) == [("row", 2, None)]


def test_errors_keep_their_records_through_pickle():
    error = kp.DataError("two", [kp.TableProblem("one", "cell", 1, "bmi")])
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (str(again), again.problems) == ("two", error.problems)


def test_fifty_requests_of_one_kind_give_one_warning_whose_text_holds_no_value():
    fit = handmade_posterior()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        found = [kp.response_probability({"bmi": [41.0 + i / 10]}, fit) for i in range(50)]
    (warning,) = caught
    assert str(warning.message) == (
        "Rows are extrapolations: bmi is outside the evidence (18 to 40)."
    )
    assert warning.message.notes == ("bmi 41 is outside the evidence (18 to 40)",)
    assert (warning.message.n_concerned, warning.message.n_rows) == (1, 1)
    # The call's own result says it whatever a filter does.
    assert found[49].notes == ("bmi 45.9 is outside the evidence (18 to 40)",)


def test_what_holds_for_a_whole_call_stands_in_its_result():
    fit = handmade_posterior()
    diagnostics = {"problems": ["R-hat above 1.01: intercept (1.2)"], "rhat": 1.2}
    bad = dataclasses.replace(fit, facts={**fit.facts, "diagnostics": diagnostics})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(2):  # also where the warning was given before
            found = kp.response_probability({"bmi": [30.0], "colour": ["blue"]}, bad)
    assert found.messages[0].startswith("NOT converged: worst R-hat 1.2")
    assert "colour" in found.messages[1]
    assert json.loads(json.dumps(found.to_dict()))["messages"] == list(found.messages)


def test_the_verdict_on_convergence_is_a_list_too():
    fit = handmade_posterior()
    problems = ["R-hat above 1.01: intercept (1.2)", "3 divergent transitions"]
    bad = dataclasses.replace(fit, facts={**fit.facts, "diagnostics": {"problems": problems}})
    with pytest.warns(kp.ConvergenceWarning) as caught:
        kp.response_probability({"bmi": np.array([30.0])}, bad)
    assert caught[0].message.problems == tuple(problems)
    with pytest.raises(kp.ConvergenceError) as raised:
        kp.response_probability({"bmi": np.array([30.0])}, bad, strict=True)
    assert raised.value.problems == tuple(problems)
