"""Tables in and out: what callers pass as a table, CSV and Parquet files."""

from __future__ import annotations

import contextlib
import csv
import difflib
import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketpredict.errors import DataError
from ketpredict.writing import write_whole

if TYPE_CHECKING:
    import pandas as pd

MISSING_TEXT = frozenset({"", "na", "n/a", "nan", "null", "#n/a", "<na>", "."})
"""Texts, in lower case and without outer spaces, that stand for a missing value."""

_NA_VALUES = sorted({form for t in MISSING_TEXT for form in (t, t.upper(), t.capitalize(), "NaN")})
_SUFFIXES = (".csv", ".parquet")


def as_table(table: Any) -> pd.DataFrame:
    """Return any table as a new pandas DataFrame; the caller's own is never changed.

    Parameters
    ----------
    table : pandas, polars or PyArrow table, mapping, or array of shape (n_rows, n_columns)
        A mapping holds one array for each column, or one value for each column (one row). The
        columns of a plain array are called ``x0``, ``x1`` and so on.

    Returns
    -------
    DataFrame
        Column names are strings, rows are numbered from 0.

    Raises
    ------
    DataError
        The object is no table, or its columns differ in length.
    """
    import numpy as np
    import pandas as pd

    frame: pd.DataFrame | pd.Series
    if isinstance(table, pd.DataFrame):
        frame = table.copy(deep=False)
    elif isinstance(table, pd.Series):
        frame = table
    elif hasattr(table, "to_pandas"):
        frame = table.to_pandas()
    elif hasattr(table, "__arrow_c_stream__"):
        frame = pd.DataFrame.from_arrow(table)
    elif isinstance(table, Mapping):
        frame = _from_mapping(table)
    elif isinstance(table, np.ndarray) and table.ndim == 2:
        frame = pd.DataFrame(table.copy(), columns=[f"x{i}" for i in range(table.shape[1])])
    else:
        raise DataError(
            f"A {type(table).__name__} is not a table; expected a pandas, polars or PyArrow "
            "table, a mapping of column names to arrays, or an array of rows and columns."
        )
    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"A {type(table).__name__} is one column; expected a table of columns.")
    frame.columns = pd.Index([str(name) for name in frame.columns], dtype=object)
    return frame.reset_index(drop=True)


def _from_mapping(table: Mapping[Any, Any]) -> pd.DataFrame:
    import pandas as pd

    scalars = [pd.api.types.is_scalar(value) for value in table.values()]
    # By position, as everywhere: pandas would align columns that have an index of their own.
    columns = {
        name: value.reset_index(drop=True) if isinstance(value, pd.Series) else value
        for name, value in table.items()
    }
    lengths = {len(value) for value in columns.values() if isinstance(value, pd.Series)}
    if len(lengths) > 1:
        listed = " and ".join(map(str, sorted(lengths)))
        raise DataError(f"The mapping is not a table: its columns have {listed} values.")
    try:
        return pd.DataFrame(columns, index=[0] if scalars and all(scalars) else None)
    except ValueError as error:
        raise DataError(f"The mapping is not a table: {error}.") from None


def read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Return the table in a CSV or Parquet file.

    Cells of a CSV file stay text, so that 'yes' and '001' survive; blank cells, NA, n/a, NaN,
    null and '.' are missing. Column names are kept as they stand, outer spaces included.

    Parameters
    ----------
    path : str or path
        Ends in ``.csv`` (comma-separated, UTF-8, names in the first line) or ``.parquet``.

    Raises
    ------
    DataError
        The file is missing, empty, damaged or of another kind; the message says which, and for a
        CSV file in which line.
    """
    source = Path(path)
    suffix = check_source(source)
    state = file_state(source)
    try:
        frame = _read_csv(source) if suffix == ".csv" else _read_parquet(source)
    except OSError as error:
        raise DataError(f"'{source}' cannot be read: {error.strerror or error}.") from None
    refuse_changed(source, state)
    if frame.empty:
        raise DataError(f"'{source}' has column names but no rows.")
    return frame


def write_table(frame: pd.DataFrame, path: str | os.PathLike[str]) -> Path:
    """Write a table to a CSV or Parquet file, all of it or nothing, and return the path.

    Parameters
    ----------
    frame : DataFrame
        Its index is not written.
    path : str or path
        Ends in ``.csv`` or ``.parquet``. An existing file is replaced only by a whole new one.

    Raises
    ------
    DataError
        Unknown suffix, missing folder, a file that cannot be written, or columns that Parquet
        cannot hold.
    """
    target = Path(path)
    suffix = check_suffix(target)
    if suffix == ".csv":
        content = frame.to_csv(index=False, lineterminator="\n").encode("utf-8", "surrogateescape")
    else:
        content = _as_parquet(frame, target)
    return write_whole(target, content)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as dictionaries that JSON can hold: no NumPy numbers, no infinities."""
    rows = frame.astype(object).to_dict(orient="records")
    return [{str(name): _plain(value) for name, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def file_state(path: Path) -> tuple[int, ...]:
    """Return what tells whether a file has changed: which one it is, its size, when it was written.

    Raises
    ------
    DataError
        It is not there any more.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror or error}.") from None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def refuse_changed(path: Path, before: tuple[int, ...]) -> None:
    """Refuse a file that is not what it was when reading began.

    Raises
    ------
    DataError
        It has changed: what was read is half of one table and half of another.
    """
    if file_state(path) != before:
        raise DataError(f"'{path}' changed while it was read; read it again when it is complete.")


def check_source(path: Path) -> str:
    """Return the suffix of a table's file that is there and not empty.

    Raises
    ------
    DataError
        Another suffix, no such file, or an empty one.
    """
    suffix = check_suffix(path)
    if not os.path.isfile(path):  # also false of names that no file can have
        raise DataError(_missing_file(path))
    if path.stat().st_size == 0:
        raise DataError(f"'{path}' is empty; expected column names and at least one row.")
    return suffix


def check_suffix(path: Path) -> str:
    """Return the suffix of a table's file in lower case, or refuse another one."""
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        found = f"ends in '{path.suffix}'" if path.suffix else "has no suffix"
        raise DataError(f"'{path}' {found}; expected a file that ends in .csv or .parquet.")
    return suffix


def _missing_file(path: Path) -> str:
    if os.path.isdir(path):
        return f"'{path}' is a folder; expected a .csv or .parquet file."
    if not os.path.isdir(path.parent):
        return f"There is no folder '{path.parent}'."
    there = [entry.name for entry in path.parent.iterdir() if entry.suffix.lower() in _SUFFIXES]
    close = difflib.get_close_matches(path.name, there, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"There is no file '{path}'.{hint}"


def _read_csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    with csv_errors(path):
        names, n_rows = csv_shape(path)
        if not n_rows:
            return pd.DataFrame(columns=pd.Index(names, dtype=object))
        frame = pd.read_csv(path, **csv_options(names))
    frame.columns = pd.Index(names, dtype=object)
    return frame


def csv_options(names: Sequence[str]) -> dict[str, Any]:
    """Return how pandas is asked to read a CSV file: cells stay text, columns are numbered."""
    return {
        "dtype": str,
        "header": 0,
        "names": range(len(names)),  # duplicate names stay visible to the data contracts
        "keep_default_na": False,
        "na_values": _NA_VALUES,
        "encoding": "utf-8-sig",
    }


@contextlib.contextmanager
def csv_errors(path: Path) -> Iterator[None]:
    """Say in words what is wrong with a CSV file that is read inside."""
    import pandas as pd

    try:
        yield
    except UnicodeDecodeError:
        raise DataError(f"'{path}' is not UTF-8 text; save it as CSV UTF-8.") from None
    except (csv.Error, pd.errors.ParserError) as error:
        raise DataError(f"'{path}' is not a readable CSV file: {error}.") from None


@contextlib.contextmanager
def parquet_errors(path: Path) -> Iterator[None]:
    """Say in words what is wrong with a Parquet file that is read inside."""
    try:
        yield
    except (ValueError, NotImplementedError) as error:  # what PyArrow's own errors derive from
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"'{path}' is not a readable Parquet file: {reason}.") from None


def csv_shape(path: Path) -> tuple[list[str], int]:
    """Return the column names and the number of rows, all as long as there are names.

    pandas fills a short row with missing values, which are legal here: a damaged file would pass.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, strict=True)
        names = next(rows, [])
        if len(names) < 2:
            _refuse_other_separator(path, names)
        count = 0
        for row in rows:
            count += bool(row)
            if row and len(row) != len(names):
                raise DataError(
                    f"'{path}', line {rows.line_num}: {_cells(row)}, but the first line names "
                    f"{_columns(names)}. Look for a missing comma, or quote text with commas."
                )
    return names, count


def _refuse_other_separator(path: Path, names: Sequence[str]) -> None:
    header = names[0] if names else ""
    if not header.strip():
        raise DataError(f"'{path}' has no column names in its first line.")
    for character, word in ((";", "semicolons"), ("\t", "tabs")):
        if character in header:
            raise DataError(f"'{path}' is separated by {word}; save it separated by commas.")
    if "\0" in header:
        raise DataError(f"'{path}' is not a readable CSV file: it is not text.")


def _cells(row: Sequence[str]) -> str:
    return f"{len(row)} cell" + ("" if len(row) == 1 else "s")


def _columns(names: Sequence[str]) -> str:
    return f"{len(names)} column" + ("" if len(names) == 1 else "s")


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    with parquet_errors(path):
        return pd.read_parquet(path, engine="pyarrow")


def _as_parquet(frame: pd.DataFrame, target: Path) -> bytes:
    stream = io.BytesIO()
    try:
        frame.to_parquet(stream, index=False, engine="pyarrow")
    except PARQUET_REFUSALS as error:
        raise refused_by_parquet(target, error) from None
    return stream.getvalue()


PARQUET_REFUSALS = (ValueError, TypeError, NotImplementedError)
"""What PyArrow raises, or its errors derive from, where Parquet cannot hold a table."""


def refused_by_parquet(target: Path, error: Exception) -> DataError:
    """Return the error that says why a table cannot be written."""
    reason = str(error).splitlines()[0].rstrip(".")
    return DataError(f"'{target}' cannot be written as Parquet: {reason}.")
