"""CSV and Parquet files read and written a batch of rows at a time, for tables beyond memory."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import numbers
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketpredict.errors import DataError
from ketpredict.tables import (
    PARQUET_REFUSALS,
    check_source,
    check_suffix,
    csv_errors,
    csv_options,
    csv_shape,
    file_state,
    parquet_errors,
    refuse_changed,
    refused_by_parquet,
)
from ketpredict.writing import write_atomically

if TYPE_CHECKING:
    import pandas as pd

_ROWS_OF_PIECE = 65_536


@dataclasses.dataclass(frozen=True)
class Batch:
    """Some rows of a file.

    Parameters
    ----------
    first_row : int
        Rows of the file before these.
    frame : DataFrame
        Rows numbered from 0.
    arrow : pyarrow.Table or None
        The same as the file holds them; None of a CSV file.
    """

    first_row: int
    frame: pd.DataFrame
    arrow: Any


class Batches:
    """The rows of a file, batch by batch.

    Parameters
    ----------
    path : Path
    rows_at_once : int

    Attributes
    ----------
    n_rows : int
        Rows of the whole file.
    """

    def __init__(self, path: Path, rows_at_once: int) -> None:
        self._path, self._rows_at_once = path, rows_at_once
        self._is_csv = check_source(path) == ".csv"
        self._names: list[str] = []
        self._state = file_state(path)
        try:
            self.n_rows = self._count()
        except OSError as error:
            raise DataError(f"'{path}' cannot be read: {error.strerror or error}.") from None
        if not self.n_rows:
            raise DataError(f"'{path}' has column names but no rows.")

    def _count(self) -> int:
        if self._is_csv:
            with csv_errors(self._path):
                self._names, count = csv_shape(self._path)
            return count
        import pyarrow.parquet as pq

        with parquet_errors(self._path), pq.ParquetFile(self._path) as file:
            return int(file.metadata.num_rows)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches.

        Raises
        ------
        DataError
            The file cannot be read, or changes meanwhile: also after the last batch.
        """
        try:
            for batch in self._of_csv() if self._is_csv else self._of_parquet():
                refuse_changed(self._path, self._state)
                yield batch
        except (DataError, OSError) as error:
            refuse_changed(self._path, self._state)  # which explains whatever else is wrong
            if isinstance(error, DataError):
                raise
            raise DataError(f"'{self._path}' cannot be read: {error.strerror or error}.") from None
        refuse_changed(self._path, self._state)

    def _of_csv(self) -> Iterator[Batch]:
        import pandas as pd

        first_row = 0
        with (
            csv_errors(self._path),
            pd.read_csv(
                self._path, chunksize=self._rows_at_once, **csv_options(self._names)
            ) as frames,
        ):
            for frame in frames:
                frame.columns = pd.Index(self._names, dtype=object)
                yield Batch(first_row, frame.reset_index(drop=True), None)
                first_row += len(frame)

    def _of_parquet(self) -> Iterator[Batch]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        first_row = 0
        with parquet_errors(self._path), pq.ParquetFile(self._path) as file:
            waiting: list[Any] = []
            pieces = file.iter_batches(min(self._rows_at_once, _ROWS_OF_PIECE))
            for piece in pieces:
                waiting.append(piece)
                count = sum(len(one) for one in waiting)
                # Row groups may be small: rows that wait together make a batch.
                if count < self._rows_at_once and first_row + count < self.n_rows:
                    continue
                table = pa.Table.from_batches(waiting)
                waiting = []
                frame = table.to_pandas().reset_index(drop=True)
                yield Batch(first_row, frame, table.drop_columns(_index_columns(table)))
                first_row += count


def open_batches(path: str | os.PathLike[str], rows_at_once: int) -> Batches:
    """Return the rows of a CSV or Parquet file, to be read batch by batch.

    Parameters
    ----------
    rows_at_once : int
        Rows of a batch, at least one.

    Raises
    ------
    DataError
        As :func:`ketpredict.tables.read_table`; for what stands farther on in a file, while it is
        read.
    """
    if not isinstance(rows_at_once, numbers.Integral) or rows_at_once < 1:
        raise DataError(f"rows_at_once is {rows_at_once}; expected a whole number from 1 up.")
    return Batches(Path(path), rows_at_once)


@contextlib.contextmanager
def write_batches(
    path: str | os.PathLike[str],
) -> Iterator[Callable[[Batch, pd.DataFrame], None]]:
    """Yield a function that writes a batch with further columns beside it.

    The file is there when the block ends; if the block fails, ``path`` is as it was.

    Raises
    ------
    DataError
        Unknown suffix, missing folder, a file that cannot be written, or columns that Parquet
        cannot hold.
    """
    target = Path(path)
    make = _CsvWriter if check_suffix(target) == ".csv" else _ParquetWriter
    with write_atomically(target) as temporary, contextlib.closing(make(temporary, target)) as file:
        yield file.write


class _CsvWriter:
    def __init__(self, temporary: Path, target: Path) -> None:
        del target
        self._path, self._begun = temporary, False

    def write(self, batch: Batch, more: pd.DataFrame) -> None:
        frame = batch.frame
        if batch.arrow is not None:
            # Whole numbers stay whole where some are missing: as in every other batch.
            frame = batch.arrow.to_pandas(types_mapper=_nullable().get)
        table = frame.join(more)
        table.to_csv(self._path, mode="a", header=not self._begun, index=False, lineterminator="\n")
        self._begun = True

    def close(self) -> None:
        """Nothing is held open between batches."""


class _ParquetWriter:
    def __init__(self, temporary: Path, target: Path) -> None:
        self._path, self._target = temporary, target
        self._file: Any = None

    def write(self, batch: Batch, more: pd.DataFrame) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = batch.arrow
            if table is None:
                table = pa.Table.from_pandas(batch.frame, preserve_index=False)
            beside = pa.Table.from_pandas(more, preserve_index=False)
            for name in beside.column_names:
                table = table.append_column(name, beside[name])
            table = table.replace_schema_metadata(None)
            if self._file is None:
                self._file = pq.ParquetWriter(self._path, table.schema)
            self._file.write_table(table)
        except PARQUET_REFUSALS as error:
            raise refused_by_parquet(self._target, error) from None

    def close(self) -> None:
        """Write the end of the file."""
        if self._file is not None:
            self._file.close()


def _index_columns(table: Any) -> list[str]:
    """Return the columns that are the index of a pandas table: they are no columns of it."""
    about = json.loads((table.schema.metadata or {}).get(b"pandas", b"{}"))
    index = about.get("index_columns", [])
    return [name for name in index if isinstance(name, str) and name in table.column_names]


def _nullable() -> dict[Any, Any]:
    """Return the pandas types of whole numbers and yes/no that may be missing."""
    import pandas as pd
    import pyarrow as pa

    sizes = (8, 16, 32, 64)
    whole = {getattr(pa, f"int{n}")(): getattr(pd, f"Int{n}Dtype")() for n in sizes}
    positive = {getattr(pa, f"uint{n}")(): getattr(pd, f"UInt{n}Dtype")() for n in sizes}
    return {**whole, **positive, pa.bool_(): pd.BooleanDtype()}
