"""What a column must hold: kind, range and the words of its message, as data.

A :class:`Field` says it for one column; tests work on arrays and on pandas columns alike, so that
a table of patients has the same rules whether it is fitted (:mod:`ketpredict.contracts`) or
predicted (:mod:`ketpredict.patient_columns`). NumPy and the standard library only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

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
        Takes a column without missing cells, array or Series, and returns whether each value is
        possible.
    required : bool
        Whether the table must have the column.
    optional_cell : bool
        Whether a cell may be missing.
    """

    name: str
    kind: Literal["label", "number", "binary", "either"]
    expected: str
    test: Callable[[Any], Any] | None = None
    required: bool = False
    optional_cell: bool = True


def label_field(name: str, *, needed: bool = False) -> Field:
    """Return a field for labels."""
    return Field(name, "label", "a name", required=needed, optional_cell=not needed)


def range_field(
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

    def possible(values: Any) -> Any:
        inside = (values >= low) & (values <= high) & (values > above) & (values < below)
        inside &= abs(values) < math.inf
        return inside & (values == values.round()) if whole else inside

    empty = not needed if optional_cell is None else optional_cell
    return Field(name, "number", expected, possible, required=needed, optional_cell=empty)


def yes_no_field(name: str) -> Field:
    """Return a field for yes and no, 1 and 0."""
    return Field(
        name, "binary", "0 or 1 (no or yes)", lambda values: (values == 0.0) | (values == 1.0)
    )


def hours_field(*, needed: bool = False, optional_cell: bool = True) -> Field:
    """Return the field for hours after dosing."""
    expected = "a number of hours after the (first) dose, above 0"
    return range_field("hours", expected, above=0, needed=needed, optional_cell=optional_cell)


def _blinding(values: Any) -> Any:
    """Return which labels are kinds of blinding; works on arrays and on pandas columns."""
    known = values == BLINDINGS[0]
    for name in BLINDINGS[1:]:
        known = known | (values == name)
    return known


BLINDINGS = ("double_blind", "single_blind", "open_label")
STUDY_FIELDS = (
    label_field("design"),
    Field("blinding", "label", f"one of {', '.join(BLINDINGS)}", _blinding),
    range_field("threshold", "a percentage from 1 to below 100, such as 50", 1, below=100),
    label_field("scale"),
    yes_no_field("repeated"),
    yes_no_field("enriched"),
    yes_no_field("added_antidepressant"),
    label_field("arm_class"),
)

PARTICIPANT_FIELDS = (
    label_field("trial"),
    label_field("population"),
    label_field("arm"),
    hours_field(),
    label_field("participant"),
    label_field("period"),
    label_field("assay"),
    yes_no_field("response"),
    range_field("improvement", "a percentage, 100 at most", high=100),
    range_field("baseline_score", "a score above 0", above=0),
    range_field("endpoint_score", "a score of 0 or more", 0),
    range_field("sample_weight", "a weight of 0 or more", 0, optional_cell=False),
    *STUDY_FIELDS,
)


def predictor_field(predictor: Predictor) -> Field:
    """Return the field of a known predictor: its plausible range, or yes and no."""
    if predictor.kind == "binary":
        return yes_no_field(predictor.name)
    return range_field(predictor.name, range_words(predictor), predictor.low, predictor.high)


def column_field(name: str) -> Field:
    """Return the field of a column that is used as a predictor but not known: finite numbers."""
    return dataclasses.replace(range_field(name, "a number, or yes or no"), kind="either")


def range_words(predictor: Predictor) -> str:
    """Return the plausible range of a predictor in words."""
    unit = f" {predictor.unit}" if predictor.unit else ""
    low, high = predictor.low, predictor.high
    if math.isfinite(low) and math.isfinite(high):
        return f"a number from {low:g} to {high:g}{unit}"
    if math.isfinite(low):
        return f"a number of {low:g}{unit} or more"
    return f"a number of {high:g}{unit} or less" if math.isfinite(high) else "a number"
