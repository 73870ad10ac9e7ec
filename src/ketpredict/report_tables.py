"""Tables of a report: plain texts in rows and columns, ready for a page."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from ketpredict.wording import DASH, MINUS

FOLDED_FROM = 13
"""Rows from which on a table is folded: it opens at a click, and in print."""
_BETWEEN_NUMBERS = re.compile(r"\b(to|of|none|infinite|no upper end)\b")

Row = Mapping[Any, Any]
Column = tuple[str, Callable[[Row], str]]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of texts.

    Parameters
    ----------
    name : str
        Anchor of the table, without the prefix that the page adds.
    caption : str
        What the table shows, with its units.
    headings : tuple of str
    rows : tuple of tuple of str
        The first cell names the row.
    note : str
        What a reader must know of the numbers; may be empty.
    """

    name: str
    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    @property
    def folded(self) -> bool:
        """Whether the table is so long that it is folded."""
        return len(self.rows) >= FOLDED_FROM

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Whether each column holds numbers, which are aligned to the right."""
        columns = zip(*self.rows, strict=True) if self.rows else ((),) * len(self.headings)
        return tuple(
            place > 0 and any(map(_has_digit, cells)) and not any(map(_has_words, cells))
            for place, cells in enumerate(columns)
        )


def table_of(
    frame: pd.DataFrame, name: str, caption: str, columns: Sequence[Column], note: str = ""
) -> Table:
    """Return a table of texts from a table of values.

    Parameters
    ----------
    columns : sequence of tuple
        Heading of each column, and what writes its cell from a row of `frame`.
    """
    rows = frame.to_dict("records")
    return Table(
        name=name,
        caption=caption,
        headings=tuple(heading for heading, _ in columns),
        rows=tuple(tuple(write(row) for _, write in columns) for row in rows),
        note=note,
    )


def number(value: Any, digits: int = 2) -> str:
    """Return a number with so many decimals, a true minus sign, and a dash where there is none."""
    if value is None or not math.isfinite(value):
        return DASH if value is None or math.isnan(value) else "infinite"
    words = f"{value:.{digits}f}"
    return (words[1:] if words.startswith("-") and float(words) == 0 else words).replace("-", MINUS)


def interval(low: Any, high: Any, digits: int = 2) -> str:
    """Return the ends of an interval in words."""
    if low is None or high is None or math.isnan(low):
        return DASH
    return f"{number(low, digits)} to {number(high, digits)}"


def whole(value: Any) -> str:
    """Return a number of people, without decimals where it is whole."""
    return f"{round(float(value), 2):,.10g}"


def p_words(value: Any) -> str:
    """Return a p-value with two significant digits at least."""
    if value is None or math.isnan(value):
        return DASH
    return f"{value:.2f}" if value >= 0.01 else "<0.001" if value < 0.001 else f"{value:.3f}"


def _has_digit(cell: str) -> bool:
    return any(letter.isdigit() for letter in cell)


def _has_words(cell: str) -> bool:
    return any(letter.isalpha() for letter in _BETWEEN_NUMBERS.sub("", cell))
