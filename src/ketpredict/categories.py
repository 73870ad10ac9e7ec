"""Columns of labels as predictors: one yes/no predictor for each label but the first.

A column ``stage`` with the labels I, II and III becomes ``stage=II`` and ``stage=III``; I is what
they are compared with. A missing label leaves all of them unknown. NumPy only, since saved fits
read such columns too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ketpredict.fields import Field
from ketpredict.predictors import Predictor

MOST_LEVELS = 10
"""Labels that one column may have: each but one costs a slope."""


def indicator_name(column: str, level: str) -> str:
    """Return the name of the predictor that stands for one label of a column."""
    return f"{column}={level}"


def indicators(column: str, labels: Any, levels: Sequence[str]) -> dict[str, np.ndarray]:
    """Return a yes/no column for each label but the first.

    Parameters
    ----------
    labels : array_like of str or NaN, of shape (n_rows,)
        NaN where missing.
    levels : sequence of str
        All labels, that of reference first.

    Returns
    -------
    dict of str to ndarray of shape (n_rows,)
        0, 1, or NaN where the label is missing.
    """
    array = np.asarray(labels, dtype=object)
    missing = np.array([label != label for label in array], dtype=bool)
    return {
        indicator_name(column, level): np.where(missing, np.nan, (array == level).astype(float))
        for level in levels[1:]
    }


def category_levels(predictors: Iterable[Predictor]) -> dict[str, tuple[str, ...]]:
    """Return the columns of labels that a fit knows, each with its labels, reference first."""
    levels: dict[str, tuple[str, ...]] = {}
    for predictor in predictors:
        if predictor.category:
            so_far = levels.get(predictor.category, (predictor.reference_level,))
            levels[predictor.category] = (*so_far, predictor.level)
    return levels


def exclusive_places(predictors: Iterable[Predictor]) -> tuple[tuple[int, ...], ...]:
    """Return the labels of each column, as positions among the binary predictors.

    One person has one label, so that at most one of them is 1.
    """
    places: dict[str, list[int]] = {}
    binary = [predictor for predictor in predictors if predictor.kind == "binary"]
    for place, predictor in enumerate(binary):
        if predictor.category:
            places.setdefault(predictor.category, []).append(place)
    return tuple(tuple(together) for together in places.values() if len(together) > 1)


def of_one_column(predictors: Sequence[Predictor]) -> tuple[tuple[int, ...], ...]:
    """Return the positions of the predictors, those that are labels of one column together."""
    columns: dict[str, list[int]] = {}
    for place, predictor in enumerate(predictors):
        columns.setdefault(predictor.category or f"{place}", []).append(place)
    return tuple(tuple(together) for together in columns.values())


def category_fields(levels: Mapping[str, Sequence[str]]) -> list[Field]:
    """Return what columns of labels must hold."""

    def one_of(known: Sequence[str]) -> Any:
        return lambda values: np.isin(values.astype(str), list(known))

    return [
        Field(column, "label", f"one of {', '.join(known)}", one_of(known))
        for column, known in levels.items()
    ]
