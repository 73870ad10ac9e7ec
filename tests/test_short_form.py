"""What a prompt and a notebook show of values that hold tables and arrays."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

import ketpredict as kp
from ketpredict.short_form import ShortForm, in_short
from ketpredict.stored_design import design_of
from tiny_fit import handmade_posterior

MOST_LINES = 26
WIDEST = 130


@dataclasses.dataclass(frozen=True, repr=False)
class Held(ShortForm):
    table: object
    text: str


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (np.zeros((3, 1500)), "array of 3 x 1,500 (float64)"),
        (np.array([0.123456, 2.0]), "[0.1235 2. ]"),
        (pd.DataFrame({"bmi": [1.0], "trial": ["a"]}), "table of 1 row: bmi, trial"),
        (dict.fromkeys("abcdefgh", 0), "8 by name: a, b, c, d, e, f and 2 more"),
        ({}, "{}"),
        (("a", "b"), "('a', 'b')"),
        ([1.0] * 500, "500 of float"),
        ("one\ntwo", "one two"),
        (None, "None"),
    ],
)
def test_a_value_takes_one_line(value, shown):
    assert in_short(value) == shown


def test_a_long_text_is_cut_and_marked():
    shown = in_short("word " * 100)
    assert len(shown) <= 72
    assert shown.endswith("…")


def test_names_from_data_are_escaped_in_notebooks():
    held = Held(pd.DataFrame({"<b>": [1]}), "<script>")
    assert "<script>" not in held._repr_html_()
    assert "&lt;b&gt;" in held._repr_html_()
    assert repr(held).splitlines()[0] == "Held"


def test_what_users_meet_is_short(published_fit):
    shown = [
        published_fit.fit_,
        design_of(published_fit.fit_),
        kp.load_evidence(),
        kp.load_spec("published"),
        kp.response_probability({"bmi": np.full(500, 30.0)}, handmade_posterior()),
    ]
    for value in shown:
        lines = repr(value).splitlines()
        assert len(lines) <= MOST_LINES, type(value)
        assert max(map(len, lines)) <= WIDEST, max(lines, key=len)
        assert value._repr_html_().count("<tr>") == len(lines) - 1


def test_the_headline_of_a_fit_says_what_it_rests_on_and_whether_it_converged():
    fit = handmade_posterior()
    assert repr(fit).startswith(
        "Fit of model 'published': 2 populations, 2 trials, 2 arms, 2 predictors; 32 draws, no "
    )
    bad = dataclasses.replace(fit, facts={**fit.facts, "diagnostics": {"problems": ["R-hat"]}})
    assert "NOT converged" in repr(bad).splitlines()[0]
