"""Reading cells: text, booleans and nullable types to numbers and labels, and telling problems.

Whatever a cell holds, what is wrong with it is told in the words of the caller's own table: the
row counted from 1, the labels of the row, the column as the caller calls it, the value as it is.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ketpredict.errors import DataError
from ketpredict.tables import MISSING_TEXT

MOST_TOLD = 20
"""How many problems a message lists before it only counts them."""

_WORDS = {"yes": 1.0, "y": 1.0, "true": 1.0, "no": 0.0, "n": 0.0, "false": 0.0}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a table.

    Parameters
    ----------
    text : str
        What was found, what was expected, what to do.
    row : int or None
        Row counted from 0; None for a problem of the whole table.
    column : str or None
        Canonical name.
    """

    text: str
    row: int | None = None
    column: str | None = None


def read_number(value: Any, *, words: bool) -> float | None:
    """Return the number in a cell, NaN if it is missing, None if it is no number.

    Parameters
    ----------
    value : object
    words : bool
        Whether yes, no, true and false count as 1 and 0.
    """
    if isinstance(value, str):
        text = value.strip().casefold()
        if text in MISSING_TEXT:
            return math.nan
        if words and text in _WORDS:
            return _WORDS[text]
        return float(text) if _NUMBER.fullmatch(text) else None
    if value is None or value is pd.NA or value is pd.NaT:
        return math.nan
    if isinstance(value, (numbers.Real, np.bool_)) or type(value).__name__ == "Decimal":
        return float(value)
    return None


def read_numbers(column: pd.Series, *, words: bool) -> tuple[pd.Series, list[int]]:
    """Return a column as float64 with NaN where missing, and the rows that hold no number."""
    dtype = column.dtype
    if pd.api.types.is_bool_dtype(dtype) or (
        pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype)
    ):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return pd.Series(values, index=column.index), []
    texts: dict[str, float | None] = {}  # columns of text repeat themselves: read each text once
    read = []
    for cell in column.to_numpy(dtype=object):
        if not isinstance(cell, str):
            read.append(read_number(cell, words=words))
            continue
        if cell not in texts:
            texts[cell] = read_number(cell, words=words)
        read.append(texts[cell])
    wrong = [row for row, value in enumerate(read) if value is None]
    values = np.array([math.nan if value is None else value for value in read], dtype=np.float64)
    return pd.Series(values, index=column.index), wrong


def read_labels(column: pd.Series) -> pd.Series:
    """Return a column of labels as text without outer spaces; missing cells are NaN.

    Whole numbers lose their decimals: trial 7 is ``"7"`` whether the column held 7 or 7.0.
    """
    labels = [_label(cell) for cell in column.to_numpy(dtype=object)]
    return pd.Series(labels, index=column.index, dtype=object)


def _label(value: Any) -> Any:
    if isinstance(value, str):
        text = value.strip()
        return math.nan if text.casefold() in MISSING_TEXT else text
    if value is None or value is pd.NA or value is pd.NaT:
        return math.nan
    if isinstance(value, (float, np.floating)):
        if math.isnan(value):
            return math.nan
        return str(int(value)) if float(value).is_integer() else str(float(value))
    return str(value)


def is_readable(column: pd.Series) -> bool:
    """Return whether a column holds numbers, booleans or texts of these, and not only nothing."""
    values, wrong = read_numbers(column, words=True)
    return not wrong and bool(values.notna().any())


def show(value: Any) -> str:
    """Return a cell as a message quotes it: numbers plain, text in quotes, long text cut."""
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value)).lower()
    if isinstance(value, numbers.Real):
        return "missing" if math.isnan(value) else f"{float(value):.10g}"
    if value is None or value is pd.NA or value is pd.NaT:
        return "missing"
    text = str(value)
    return f"'{text[:37]}...'" if len(text) > 40 else f"'{text}'"


def tell(
    name: str, problems: Sequence[Problem], labels: Callable[[int], Mapping[str, str]]
) -> DataError:
    """Return the error that lists the problems of a table, those of the whole table first.

    Parameters
    ----------
    name : str
        What the table is called, such as ``"participants"``.
    problems : sequence of Problem
    labels : callable
        Returns what identifies a row, as ``{"trial": "'T07'"}``.
    """
    ordered = sorted(problems, key=lambda problem: -1 if problem.row is None else problem.row)
    lines = [_line(problem, labels) for problem in ordered[:MOST_TOLD]]
    if len(ordered) == 1:
        return DataError(f"Table '{name}', {lines[0]}")
    if len(ordered) > MOST_TOLD:
        lines.append(f"and {len(ordered) - MOST_TOLD} more")
    listing = "\n".join(f"  - {line}" for line in lines)
    return DataError(f"Table '{name}' has {len(ordered)} problems:\n{listing}")


def _line(problem: Problem, labels: Callable[[int], Mapping[str, str]]) -> str:
    if problem.row is None:
        return problem.text
    where = ", ".join(f"{key} {value}" for key, value in labels(problem.row).items())
    return f"row {problem.row + 1}{f' ({where})' if where else ''}: {problem.text}"
