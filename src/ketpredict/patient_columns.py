"""Columns of patients to predict, checked by the rules of :mod:`ketpredict.contracts`.

The light twin of :func:`ketpredict.contracts.validate_participants`: the same fields, names and
words, read with NumPy alone, and the only road into a prediction. A prediction reads no outcome, so
that cells of outcome columns are checked here but not whether several outcomes agree.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ketpredict.categories import category_fields, category_levels, indicators
from ketpredict.cell_values import Problem, read_label, read_number, show, tell
from ketpredict.column_names import near_miss, participant_vocabulary
from ketpredict.errors import DataError
from ketpredict.fields import PARTICIPANT_FIELDS, Field, predictor_field, range_field, range_words
from ketpredict.predictors import Predictor
from ketpredict.tables import as_table

_NAME = "rows to predict"
_IDENTIFYING = ("participant", "trial", "population", "arm", "hours")
_NUMERIC = "fiub"
_PLAIN_LABELS = {str, float, type(None)}


@dataclasses.dataclass(frozen=True)
class PatientColumns:
    """Patients to predict, checked.

    Parameters
    ----------
    columns : dict of str to ndarray of shape (n_rows,)
        Under their canonical names; numbers and yes/no as float64, labels as text, NaN where
        missing. Every predictor of the fit is there.
    n_rows : int
    left_alone : tuple of str
        Columns that mean nothing to the fit.
    told : tuple of str
        Labels, and predictors that are known of some row.
    """

    columns: dict[str, np.ndarray]
    n_rows: int
    left_alone: tuple[str, ...]
    told: tuple[str, ...]

    def left_alone_words(self) -> str:
        """Return a sentence on the columns left alone; empty if there are none."""
        return f"Columns left alone: {', '.join(self.left_alone)}." if self.left_alone else ""


def read_patients(
    table: Any,
    references: Mapping[str, Predictor],
    column_names: Mapping[str, str] | None = None,
    first_row: int | None = None,
) -> PatientColumns:
    """Return patients to predict, checked.

    Parameters
    ----------
    table : mapping of str to array_like, or table
        A mapping holds one array or one value for each column; one value stands for all rows.
        pandas, polars and PyArrow tables are read through pandas.
    references : mapping of str to Predictor
        Predictors of the fit.
    column_names : mapping of str to str, optional
        The caller's own names of columns, ``{"trial": "study"}``.
    first_row : int, optional
        Where the rows begin in the table that they are a part of; errors count from there. None
        for a whole table, in which some column must tell something.

    Raises
    ------
    DataError
        Lists all problems of the table: row, column, what was found and what was expected.
    """
    reader = _Reader(list(_columns(table)), column_names or {}, first_row or 0)
    levels = category_levels(references.values())
    fields = {field.name: field for field in (*_fields(references), *category_fields(levels))}
    reader.recognise(tuple(fields), references)
    columns = reader.read(fields)
    left_alone = tuple(name for name in reader.raw if name not in fields)
    for name, known in levels.items():
        if name in columns:
            columns |= indicators(name, columns[name], known)
    for name in references:
        columns.setdefault(name, np.full(reader.n_rows, np.nan))
    told = tuple(
        name
        for name in reader.raw
        if name in fields and (name not in references or not np.isnan(columns[name]).all())
    )
    patients = PatientColumns(columns, reader.n_rows, left_alone, told)
    if first_row is None:
        refuse_untold(left_alone, told, references)
    return patients


def refuse_untold(
    left_alone: Sequence[str], told: Sequence[str], references: Mapping[str, Predictor]
) -> None:
    """Refuse a table whose columns all mean nothing to the fit."""
    listed = [name for name in references if not references[name].category]
    listed += list(category_levels(references.values()))
    if left_alone and not told:
        raise DataError(
            f"None of the columns ({', '.join(left_alone[:5])}) is a predictor of this fit "
            f"({', '.join(listed)}) or a label such as population. An array has no names: give "
            "a table with named columns."
        )


def _fields(references: Mapping[str, Predictor]) -> Iterator[Field]:
    yield from PARTICIPANT_FIELDS
    for predictor in references.values():
        if predictor.category:
            continue
        yield predictor_field(predictor)
        if predictor.assay_dependent:
            name, expected = f"{predictor.name}_assay_mean", range_words(predictor)
            yield range_field(name, expected, predictor.low, predictor.high)


def _columns(table: Any) -> Iterator[tuple[str, Any]]:
    """Yield names and values; a pandas table may have a name twice."""
    if isinstance(table, Mapping):
        yield from ((str(name), values) for name, values in table.items())
        return
    frame = as_table(table)
    for place, name in enumerate(frame.columns):
        column = frame.iloc[:, place]
        if isinstance(column.dtype, np.dtype) and column.dtype.kind in _NUMERIC:
            yield name, column.to_numpy()
        elif getattr(column.dtype, "kind", "O") in "fiu":  # nullable numbers
            yield name, column.to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            yield name, column.to_numpy(dtype=object)


def _is_single(values: Any) -> bool:
    """Return whether a mapping's value is one cell rather than a column."""
    return isinstance(values, (str, bytes)) or _dimensions(values) == 0


def _dimensions(values: Any) -> int | None:
    """Return the number of dimensions; None for lists of lists of different lengths."""
    try:
        return np.ndim(values)
    except ValueError:
        return None


def _cells(values: Any) -> np.ndarray:
    """Return a column as numbers, or as Python objects one by one."""
    if isinstance(values, np.ma.MaskedArray):  # its array would show what the mask hides
        cells = np.array(values.data, dtype=object)
        cells[np.ma.getmaskarray(values)] = None
        return cells
    array = np.asarray(values)
    if array.dtype.kind in _NUMERIC:
        return array
    if array.dtype.kind in "mM":  # a time is no number, though NumPy would make it one
        return array.astype(str).astype(object)
    if array.dtype.kind == "U" and not isinstance(values, np.ndarray):
        array = np.asarray(values, dtype=object)  # True and 2 beside a text stay what they are
    return array.astype(object)


class _Reader:
    """One table on its way in: its columns, the caller's names, and the problems found so far."""

    def __init__(
        self, pairs: list[tuple[str, Any]], column_names: Mapping[str, str], first_row: int
    ) -> None:
        self.first_row = first_row
        self.problems: list[Problem] = []
        self.written: dict[str, str] = {}  # canonical name: the caller's
        self.raw: dict[str, np.ndarray] = {}
        self.n_rows = _length(pairs)
        if not self.n_rows or not pairs:
            count = len({name for name, _ in pairs})
            self._add(f"the table has {self.n_rows} rows and {count} columns; expected some.")
        counts: dict[str, int] = {}
        for name, values in pairs:
            counts[name] = counts.get(name, 0) + 1
            self.raw.setdefault(
                name, np.repeat(_one(values), self.n_rows) if _is_single(values) else _cells(values)
            )
        for name in (name for name, count in counts.items() if count > 1):
            self._add(
                f"column '{name}' stands there {counts[name]} times; keep one and rename others."
            )
        self._rename(column_names)

    def _add(self, text: str, row: int | None = None, column: str | None = None) -> None:
        self.problems.append(Problem(text, row, column))

    def _rename(self, column_names: Mapping[str, str]) -> None:
        for canonical, column in column_names.items():
            if column is None or column == canonical:
                continue
            if column not in self.raw:
                # Left out it is unknown, like any other; nearly there it is a typing error.
                close = difflib.get_close_matches(column, self.raw, n=1, cutoff=0.75)
                if close and close[0] != canonical:
                    self._add(
                        f"column '{column}' (for {canonical}) is not in the table. Did you mean "
                        f"'{close[0]}'?"
                    )
            elif canonical in self.raw:
                self._add(
                    f"column_names takes {canonical} from '{column}', but the table has a column "
                    f"'{canonical}' too; keep one."
                )
            else:
                self.written[canonical] = column
        canonical_of = {column: canonical for canonical, column in self.written.items()}
        self.raw = {canonical_of.get(name, name): values for name, values in self.raw.items()}

    def recognise(self, known: tuple[str, ...], references: Mapping[str, Predictor]) -> None:
        """Note columns that nearly have a known name."""
        names = [field.name for field in PARTICIPANT_FIELDS]
        labels = [field.name for field in PARTICIPANT_FIELDS if field.kind == "label"]
        numbers = {name: item for name, item in references.items() if not item.category}
        of_labels = category_levels(references.values())
        vocabulary = participant_vocabulary([*names, *of_labels], [*labels, *of_labels], numbers)
        for column in self.raw:
            match = None if column in known else near_miss(column, vocabulary, self.raw)
            if match is not None:
                advice = f"keep one of them, as '{match}'" if match in self.raw else "rename it"
                self._add(f"column '{column}' looks like '{match}'; {advice}.", column=match)

    def read(self, fields: Mapping[str, Field]) -> dict[str, np.ndarray]:
        """Return the known columns as numbers and labels, or raise with all problems."""
        columns = {
            name: self._read_column(fields[name], cells)
            for name, cells in self.raw.items()
            if name in fields
        }
        for field in fields.values():
            if field.name in columns:
                self._check(field, columns[field.name])
        if self.problems:
            raise tell(_NAME, self.problems, self._labels, self.first_row)
        return columns

    def _read_column(self, field: Field, cells: np.ndarray) -> np.ndarray:
        if field.kind == "label":
            return _labels(cells)
        values, wrong = _numbers(cells, words=field.kind != "number")
        for row in wrong:
            comma = isinstance(cells[row], str) and "," in cells[row]
            advice = "Write decimals with a point and leave out thousands." if comma else ""
            self._add_cell(field, row, advice)
        return values

    def _check(self, field: Field, values: np.ndarray) -> None:
        """Note values that are numbers and cannot be right."""
        if field.test is not None:
            present = np.flatnonzero(values == values)  # labels may be NaN, too
            for row in present[~field.test(values[present])]:
                self._add_cell(field, int(row))

    def _add_cell(self, field: Field, row: int, advice: str = "") -> None:
        advice = advice or "Correct it, or leave it empty if unknown."
        found = show(self.raw[field.name][row])
        self._add(
            f"{self._own(field.name)} is {found}; expected {field.expected}. {advice}",
            row,
            field.name,
        )

    def _own(self, column: str) -> str:
        own = self.written.get(column, column)
        return own if own.isidentifier() else f"'{own}'"

    def _labels(self, row: int) -> dict[str, str]:
        shown = {self._own(n): show(self.raw[n][row]) for n in _IDENTIFYING if n in self.raw}
        return {name: value for name, value in shown.items() if value != "missing"}


def _length(pairs: list[tuple[str, Any]]) -> int:
    """Return the number of rows, or refuse columns that differ in it."""
    lengths: dict[str, int] = {}
    for name, values in pairs:
        if _is_single(values):
            continue
        if _dimensions(values) != 1:
            raise DataError(
                f"The mapping is not a table: column '{name}' is no plain list of values; expected "
                "one value for each row."
            )
        lengths[name] = len(values)
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"'{name}' has {count}" for name, count in lengths.items())
        raise DataError(
            f"The mapping is not a table: its columns differ in length ({listed}); expected one "
            "value for each row in every column."
        )
    return next(iter(lengths.values()), 1 if pairs else 0)


def _one(value: Any) -> np.ndarray:
    """Return one cell as an array that can be repeated."""
    cell = np.empty(1, dtype=object)
    cell[0] = value.item() if isinstance(value, np.ndarray) else value
    return cell


def _numbers(cells: np.ndarray, *, words: bool) -> tuple[np.ndarray, list[int]]:
    """Return a column as float64 with NaN where missing, and the rows that hold no number."""
    if cells.dtype.kind in _NUMERIC:
        return cells.astype(np.float64), []
    texts: dict[str, float | None] = {}  # columns of text repeat themselves: read each text once
    read: list[float | None] = []
    for cell in cells:
        if not isinstance(cell, str):
            read.append(read_number(cell, words=words))
            continue
        if cell not in texts:
            texts[cell] = read_number(cell, words=words)
        read.append(texts[cell])
    wrong = [row for row, value in enumerate(read) if value is None]
    return np.array([math.nan if v is None else v for v in read], dtype=np.float64), wrong


def _labels(cells: np.ndarray) -> np.ndarray:
    """Return a column of labels as text, NaN where missing."""
    labels = np.empty(len(cells), dtype=object)
    values = cells.tolist()
    if set(map(type, values)) <= _PLAIN_LABELS:  # labels repeat themselves: read each once
        texts = {value: read_label(value) for value in dict.fromkeys(values)}
        labels[:] = [texts[value] for value in values]
    else:  # 1, 1.0 and True are the same key, and not the same label
        labels[:] = [read_label(value) for value in values]
    return labels
