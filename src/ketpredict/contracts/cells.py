"""Reading columns of a pandas table: text, booleans and nullable types to numbers and labels."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from ketpredict.cell_values import read_label, read_number


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
    labels = [read_label(cell) for cell in column.to_numpy(dtype=object)]
    return pd.Series(labels, index=column.index, dtype=object)


def is_mostly_readable(column: pd.Series) -> bool:
    """Return whether most cells hold numbers, booleans or texts of these.

    A few that do not are typing errors, to be told by row: the column must not vanish for them.
    """
    values, wrong = read_numbers(column, words=True)
    return int(values.notna().sum()) > len(wrong)
