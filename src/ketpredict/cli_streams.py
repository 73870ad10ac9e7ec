"""Standard input and output of the command line: ``-`` as a table, encodings, closed pipes.

A table from standard input is Parquet where it begins as Parquet does, else CSV. A table to
standard output is CSV, written when all of it is there, and nothing else is written there then.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ketpredict import leaving
from ketpredict.errors import DataError, KetpredictError

STANDARD = "-"
CLOSED_PIPE = 141
"""Exit status where nobody reads the output to its end: that of a process that SIGPIPE ends."""
_PARQUET = b"PAR1"
_REPLACE = "ketpredict-plain"
_PLAIN = {
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{DAGGER}": "+",
    "\N{SUPERSCRIPT TWO}": "2",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{MICRO SIGN}": "u",
    "\N{GREEK SMALL LETTER MU}": "u",
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{LESS-THAN OR EQUAL TO}": "<=",
    "\N{GREATER-THAN OR EQUAL TO}": ">=",
}
"""What is written where an encoding lacks a sign: a minus must not become a question mark."""


def prepare_streams() -> None:
    """Let this process write to any terminal, and go on where a stream is closed."""
    codecs.register_error(_REPLACE, _replaced)
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115
        elif name != "stdin" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_REPLACE)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(_PLAIN.get(sign, "?") for sign in missing), error.end


def flush_output() -> None:
    """Write what still waits, so that an error of it can be told.

    Raises
    ------
    OSError
        The output cannot be written.
    """
    try:
        sys.stdout.flush()
    except OSError:
        # What waits would be tried again when the interpreter ends.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, sys.stdout.fileno())
            os.close(nothing)
        raise


@contextlib.contextmanager
def table_in(path: Path) -> Iterator[Path]:
    """Yield the file of a table: the one named, or a temporary one of standard input for ``-``.

    Errors of the block call it standard input.
    """
    if str(path) != STANDARD:
        yield path
        return
    with _folder() as folder:
        spooled = _spooled(folder)
        try:
            yield spooled
        except KetpredictError as error:
            words = [str(part).replace(str(spooled), "standard input") for part in error.args]
            error.args = tuple(words)
            raise


def _spooled(folder: Path) -> Path:
    stream = sys.stdin.buffer
    begin = stream.read(len(_PARQUET))
    spooled = folder / f"table.{'parquet' if begin == _PARQUET else 'csv'}"
    try:
        with spooled.open("wb") as file:
            file.write(begin)
            shutil.copyfileobj(stream, file)
    except OSError as error:
        raise DataError(
            f"Standard input cannot be kept in '{folder}': {error.strerror or error}."
        ) from None
    return spooled


@contextlib.contextmanager
def table_out(path: Path) -> Iterator[Path]:
    """Yield the file to write a table to; for ``-`` it goes to standard output at the end."""
    if str(path) != STANDARD:
        yield path
        return
    with _folder() as folder:
        written = folder / "table.csv"
        yield written
        with written.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    try:
        folder = Path(tempfile.mkdtemp(prefix="ketpredict-"))
    except OSError as error:
        raise DataError(f"There is no place for a temporary file: {error}.") from None
    with leaving.temporary(folder):
        yield folder


def told(error: OSError) -> Any:
    """Return in words what could not be read or written, where no command has said it."""
    what = f"'{error.filename}'" if error.filename else "Output"
    return f"{what} cannot be read or written: {error.strerror or error}."
