"""Reading single cells, and telling what is wrong with them; NumPy and the standard library only.

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

from ketpredict.errors import DataError, TableProblem
from ketpredict.tables import MISSING_TEXT
from ketpredict.visible import one_line

MOST_TOLD = 20
"""How many problems a message lists before it only counts them."""

_WORDS = {"yes": 1.0, "y": 1.0, "true": 1.0, "no": 0.0, "n": 0.0, "false": 0.0}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)
# What pandas writes for missing, known by the names of its types: a cell may be one of these though
# nothing here needs pandas.
_MISSING_TYPES = frozenset({"NAType", "NaTType"})


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
    if is_missing(value):
        return math.nan
    if isinstance(value, (numbers.Real, np.bool_)) or type(value).__name__ == "Decimal":
        return float(value)
    return None


def is_missing(value: Any) -> bool:
    """Return whether a cell is None or what pandas writes for missing; NaN is a number here."""
    return value is None or type(value).__name__ in _MISSING_TYPES


def read_label(value: Any) -> Any:
    """Return a label as text without outer spaces, NaN if it is missing.

    Whole numbers lose their decimals: trial 7 is ``"7"`` whether the cell holds 7 or 7.0.
    """
    if isinstance(value, str):
        text = value.strip()
        return math.nan if text.casefold() in MISSING_TEXT else text
    if is_missing(value):
        return math.nan
    if isinstance(value, (float, np.floating)):
        if math.isnan(value):
            return math.nan
        return str(int(value)) if float(value).is_integer() else str(float(value))
    return str(value)


def show(value: Any) -> str:
    """Return a cell as a message quotes it: numbers plain, text in quotes, long text cut."""
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value)).lower()
    if isinstance(value, numbers.Real):
        return "missing" if math.isnan(value) else f"{float(value):.10g}"
    if is_missing(value):
        return "missing"
    text = one_line(str(value))
    return f"'{text[:37]}...'" if len(text) > 40 else f"'{text}'"


def tell(
    name: str,
    problems: Sequence[Problem],
    labels: Callable[[int], Mapping[str, str]],
    first_row: int = 0,
) -> DataError:
    """Return the error that lists the problems of a table, those of the whole table first.

    Parameters
    ----------
    name : str
        What the table is called, such as ``"participants"``.
    problems : sequence of Problem
    labels : callable
        Returns what identifies a row, as ``{"trial": "'T07'"}``.
    first_row : int
        Where the rows begin in the table that the message speaks of.
    """
    ordered = sorted(problems, key=lambda problem: -1 if problem.row is None else problem.row)
    # A line break in a name must not look like one of ours.
    lines = [one_line(_line(problem, labels, first_row)) for problem in ordered[:MOST_TOLD]]
    told = [_record(problem, first_row) for problem in ordered]
    if len(ordered) == 1:
        return DataError(f"Table '{name}', {lines[0]}", told)
    if len(ordered) > MOST_TOLD:
        lines.append(f"and {len(ordered) - MOST_TOLD} more")
    listing = "\n".join(f"  - {line}" for line in lines)
    return DataError(f"Table '{name}' has {len(ordered)} problems:\n{listing}", told)


def _record(problem: Problem, first_row: int) -> TableProblem:
    """Return a problem as programs read it."""
    row = None if problem.row is None else problem.row + 1 + first_row
    of_row = "row" if problem.column is None else "cell"
    of_all = "table" if problem.column is None else "column"
    return TableProblem(problem.text, of_all if row is None else of_row, row, problem.column)


def _line(problem: Problem, labels: Callable[[int], Mapping[str, str]], first_row: int) -> str:
    if problem.row is None:
        return problem.text
    where = ", ".join(f"{key} {value}" for key, value in labels(problem.row).items())
    row = problem.row + 1 + first_row
    return f"row {row}{f' ({where})' if where else ''}: {problem.text}"
