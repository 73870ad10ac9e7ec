"""What each column of the three tables must hold: the contracts as data.

A :class:`Field` is one column, with the words of its error message, and becomes a pandera column.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

import pandas as pd
import pandera.pandas as pa

from ketpredict.conversions import SIGN_CONVENTIONS, STATISTICS
from ketpredict.predictors import Predictor


@dataclasses.dataclass(frozen=True)
class Field:
    """One column: its kind, whether it may be absent or have empty cells, and what it holds.

    Parameters
    ----------
    name : str
    kind : {"label", "number", "binary", "either"}
        Yes and no are read as 1 and 0 in a binary column, and in one that may be either.
    expected : str
        Completes "expected ...".
    test : callable, optional
        Takes a column without missing cells and returns whether each value is possible.
    required : bool
        Whether the table must have the column.
    optional_cell : bool
        Whether a cell may be missing.
    """

    name: str
    kind: Literal["label", "number", "binary", "either"]
    expected: str
    test: Callable[[pd.Series], pd.Series] | None = None
    required: bool = False
    optional_cell: bool = True

    def column(self) -> pa.Column:
        """Return the pandera column."""
        checks = [] if self.test is None else [pa.Check(self.test, error=self.expected)]
        return pa.Column(checks=checks, nullable=self.optional_cell, required=self.required)


def _label(name: str, *, needed: bool = False) -> Field:
    return Field(name, "label", "a name", required=needed, optional_cell=not needed)


def _range(
    name: str,
    expected: str,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: float = -math.inf,
    below: float = math.inf,
    whole: bool = False,
    needed: bool = False,
    optional_cell: bool | None = None,
) -> Field:
    """Return a field for finite numbers, low <= x <= high and above < x < below."""

    def possible(values: pd.Series) -> pd.Series:
        inside = values.between(low, high) & (values > above) & (values < below)
        inside &= values.abs() < math.inf
        return inside & (values == values.round()) if whole else inside

    empty = not needed if optional_cell is None else optional_cell
    return Field(name, "number", expected, possible, required=needed, optional_cell=empty)


def _yes_no(name: str) -> Field:
    return Field(name, "binary", "0 or 1 (no or yes)", lambda values: values.isin((0.0, 1.0)))


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


def _hours(*, needed: bool = False, optional_cell: bool = True) -> Field:
    expected = "a number of hours after the (first) dose, above 0"
    return _range("hours", expected, above=0, needed=needed, optional_cell=optional_cell)


_STUDY_FIELDS = (
    _label("design"),
    _label("blinding"),
    _range("threshold", "a percentage from 1 to below 100, such as 50", 1, below=100),
    _label("scale"),
    _yes_no("repeated"),
    _yes_no("enriched"),
    _yes_no("added_antidepressant"),
    _label("arm_class"),
)

PARTICIPANT_FIELDS = (
    _label("trial"),
    _label("population"),
    _label("arm"),
    _hours(),
    _label("participant"),
    _label("period"),
    _label("assay"),
    _yes_no("response"),
    _range("improvement", "a percentage, 100 at most", high=100),
    _range("baseline_score", "a score above 0", above=0),
    _range("endpoint_score", "a score of 0 or more", 0),
    *_STUDY_FIELDS,
)

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


def predictor_field(predictor: Predictor) -> Field:
    """Return the field of a known predictor: its plausible range, or yes and no."""
    if predictor.kind == "binary":
        return _yes_no(predictor.name)
    return _range(predictor.name, _range_words(predictor), predictor.low, predictor.high)


def column_field(name: str) -> Field:
    """Return the field of a column that is used as a predictor but not known: finite numbers."""
    return dataclasses.replace(_range(name, "a number, or yes or no"), kind="either")


def summary_field(name: str, ending: str, predictor: Predictor | None) -> Field:
    """Return the field of a summary of a predictor in an arm (``bmi_mean``)."""
    column = f"{name}_{ending}"
    if ending == "pct":
        return _range(column, "a percentage from 0 to 100", 0, 100)
    if ending == "sd":
        return _range(column, "a standard deviation of 0 or more", 0)
    if predictor is None:
        return _range(column, "a number")
    return _range(column, _range_words(predictor), predictor.low, predictor.high)


def _range_words(predictor: Predictor) -> str:
    unit = f" {predictor.unit}" if predictor.unit else ""
    low, high = predictor.low, predictor.high
    if math.isfinite(low) and math.isfinite(high):
        return f"a number from {low:g} to {high:g}{unit}"
    if math.isfinite(low):
        return f"a number of {low:g}{unit} or more"
    return f"a number of {high:g}{unit} or less" if math.isfinite(high) else "a number"
