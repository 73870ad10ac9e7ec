"""The caller's ``y``: any two labels, which of them is response, and what is missing."""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from ketpredict.cell_values import is_missing, read_number, show
from ketpredict.errors import DataError
from ketpredict.tables import MISSING_TEXT


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What ``y`` says.

    Parameters
    ----------
    values : ndarray of shape (row,)
        1 response, 0 none, NaN where missing.
    classes : ndarray of shape (2,)
        Both labels, sorted, as scikit-learn keeps them.
    response : object
        The label that means response.
    message : str
        What was assumed about the labels; empty where they say it themselves.
    """

    values: np.ndarray
    classes: np.ndarray
    response: Any
    message: str = ""


def read_outcome(y: Any, response_label: Any = None) -> Outcome:
    """Return the outcome of each row.

    0 and 1, False and True, no and yes (or n, y) say themselves which is response. Of any other two
    labels ``response_label`` says it; without it the larger one is taken, as scikit-learn's
    metrics do, and the outcome's message says so.

    Parameters
    ----------
    y : array_like of shape (row,)
        Missing cells (None, NaN, NA) are unknown outcomes.
    response_label : object, optional

    Raises
    ------
    DataError
        No outcome is known, more than two labels, numbers that are no labels, one label that does
        not say what it means, or a `response_label` that is none of them.
    """
    # pandas' own missing values survive only as objects.
    listed = y.astype(object) if hasattr(y, "isna") else y
    cells = column_or_1d(listed, warn=True)
    missing = np.array([_is_unknown(cell) for cell in cells.tolist()], dtype=bool)
    known = np.array(cells[~missing].tolist())
    if not len(cells):
        raise DataError("y is empty; expected one label for each row (0 samples were given).")
    if not len(known):
        raise DataError("y holds no outcome: every value is missing (Input y contains NaN).")
    if known.dtype.kind == "f" and np.isinf(known).any():
        raise DataError("Input y contains infinity; expected two labels, such as 0 and 1.")
    check_classification_targets(known)
    found, place = np.unique(known, return_inverse=True)
    if len(found) > 2:
        listing = ", ".join(show(label) for label in found[:5].tolist())
        raise DataError(
            "Only binary classification is supported. The type of the target is "
            f"{type_of_target(known)}: y holds {len(found)} labels ({listing}"
            f"{', ...' if len(found) > 5 else ''}); expected two, response and none."
        )
    classes, response, message = _meaning(found, response_label)
    values = np.full(len(cells), np.nan)
    values[~missing] = (found == response)[place]
    return Outcome(values, classes, response, message)


def _is_unknown(cell: Any) -> bool:
    if isinstance(cell, str):
        return cell.strip().casefold() in MISSING_TEXT
    return is_missing(cell) or (isinstance(cell, float) and math.isnan(cell))


def _meaning(found: np.ndarray, response_label: Any) -> tuple[np.ndarray, Any, str]:
    """Return both labels, the one of response, and what was assumed."""
    labels = found.tolist()
    # Numbers that are not 0 or 1 are labels, not words.
    meant = [
        float(label) if isinstance(label, numbers.Real) else read_number(label, words=True)
        for label in labels
    ]
    speaks = set(meant) <= {0.0, 1.0}
    if speaks and len(set(meant)) < len(meant):
        listing = " and ".join(show(label) for label in labels)
        raise DataError(f"y holds {listing}, which mean the same; write one of them throughout.")
    classes = _with_absent(found, meant) if speaks else found
    if len(classes) < 2:
        raise DataError(
            f"y holds 1 class only, {show(labels[0])}; expected two labels, response and none. "
            "With 0 and 1 either may be absent."
        )
    both = classes.tolist()
    if response_label is not None:
        if response_label not in both:
            listing = " and ".join(show(label) for label in both)
            raise DataError(
                f"response_label is {show(response_label)}, and y holds {listing}; expected one "
                "of the two."
            )
        return classes, both[both.index(response_label)], ""
    if speaks:
        words = [
            float(label) if isinstance(label, numbers.Real) else read_number(label, words=True)
            for label in both
        ]
        return classes, both[words.index(1.0)], ""
    return (
        classes,
        both[1],
        f"y holds {show(both[0])} and {show(both[1])}, which do not say what they mean; "
        f"{show(both[1])} is taken as response (the larger, as scikit-learn's metrics do). Say "
        "it with response_label=...",
    )


def _with_absent(found: np.ndarray, meant: list[float | None]) -> np.ndarray:
    """Return both labels where they mean no and yes; one that is absent is filled in."""
    if len(found) == 2:
        return found
    if found.dtype.kind in "biuf":
        return np.array([0, 1]).astype(found.dtype)
    other = "no" if meant[0] == 1.0 else "yes"
    return np.array(sorted([found[0].item(), other]))
