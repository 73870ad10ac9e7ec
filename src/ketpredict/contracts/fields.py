"""What the columns of published tables must hold, and a field as a pandera column."""

from __future__ import annotations

import dataclasses

import pandera.pandas as pa

from ketpredict.conversions import SIGN_CONVENTIONS, STATISTICS
from ketpredict.fields import STUDY_FIELDS as _STUDY_FIELDS
from ketpredict.fields import Field, range_words
from ketpredict.fields import hours_field as _hours
from ketpredict.fields import label_field as _label
from ketpredict.fields import range_field as _range
from ketpredict.predictors import Predictor


def _one_of(name: str, allowed: tuple[str, ...], *, needed: bool = False) -> Field:
    expected = f"one of {', '.join(allowed)}"
    return Field(
        name, "label", expected, lambda values: values.isin(allowed), required=needed,
        optional_cell=not needed,
    )  # fmt: skip


def _written_as(name: str, pattern: str, expected: str) -> Field:
    return Field(name, "label", expected, lambda values: values.astype(str).str.fullmatch(pattern))


def _mix(name: str) -> Field:
    share = r"\s*[^;:]+:\s*(?:0?\.\d+|[01](?:\.\d+)?)\s*"
    expected = "populations with their shares, as in unipolar_depression:0.7;bipolar_depression:0.3"
    return _written_as(name, f"{share}(?:;{share})*", expected)


def _counts(name: str) -> Field:
    group = r"\s*\d+(?:/\d+)?\s*"
    expected = "two groups, responders of patients (29/43;47/92) or sizes (64;30)"
    return _written_as(name, f"{group};{group}", expected)


ARM_FIELDS = (
    _label("trial", needed=True),
    _label("population", needed=True),
    _label("arm", needed=True),
    _hours(needed=True, optional_cell=False),
    _range("n", "a whole number of people, 1 or more", 1, whole=True, needed=True),
    _range("responders", "a whole number of people, 0 or more", 0, whole=True, needed=True),
    _range("improvement_mean", "a percentage, 100 at most", high=100),
    _range("improvement_sd", "a standard deviation of 0 or more", 0),
    *_STUDY_FIELDS,
)

ASSOCIATION_FIELDS = (
    _label("cohort", needed=True),
    _label("predictor", needed=True),
    dataclasses.replace(_label("population", needed=True), optional_cell=True),
    _hours(needed=True),
    _one_of("statistic", STATISTICS, needed=True),
    _range("estimate", "a number", needed=True, optional_cell=True),
    _range(
        "n", "a whole number of people, 1 or more", 1, whole=True, needed=True, optional_cell=True
    ),
    _range("se", "a standard error above 0", above=0),
    _range("ci_low", "a number"),
    _range("ci_high", "a number"),
    _range("p_value", "a number from 0 to 1 (its < or > goes into a column p_relation)", 0, 1),
    _label("p_relation"),
    _label("trial"),
    _label("adjusted_for"),
    _label("adjusted_set"),
    _mix("population_mix"),
    _one_of("outcome_kind", ("improvement", "response")),
    _one_of("contrast", ("continuous", "split")),
    _one_of("sign_convention", SIGN_CONVENTIONS),
    _one_of("direction_for_better_response", ("1", "-1", "0", "unclear")),
    _range("probability_positive", "a probability from 0 to 1", 0, 1),
    _range("response_rate", "a share of responders between 0 and 1", above=0, below=1),
    _range("sd", "a standard deviation above 0", above=0),
    _range("df1", "a number of degrees of freedom, 1 or more", 1),
    _range("per_units", "the step of a ratio, above 0", above=0),
    _counts("counts"),
    _label("overlapping_trials"),
    _one_of("use", ("candidate", "carry")),
)


def pandera_column(field: Field) -> pa.Column:
    """Return a field as a pandera column."""
    checks = [] if field.test is None else [pa.Check(field.test, error=field.expected)]
    return pa.Column(checks=checks, nullable=field.optional_cell, required=field.required)


def summary_field(name: str, ending: str, predictor: Predictor | None) -> Field:
    """Return the field of a summary of a predictor in an arm (``bmi_mean``)."""
    column = f"{name}_{ending}"
    if ending == "pct":
        return _range(column, "a percentage from 0 to 100", 0, 100)
    if ending == "sd":
        return _range(column, "a standard deviation of 0 or more", 0)
    if predictor is None:
        return _range(column, "a number")
    return _range(column, range_words(predictor), predictor.low, predictor.high)
