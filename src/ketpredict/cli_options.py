"""What the commands share: their options, the checks of these, and the console."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ketpredict.errors import DataError
from ketpredict.writing import check_target

if TYPE_CHECKING:
    from rich.console import Console

FAILED, BAD_INPUT = 1, 2
TABLE_SUFFIXES = (".csv", ".parquet")

Patients = Annotated[
    Path, typer.Argument(help="Table of patients, .csv or .parquet; - for standard input.")
]
FitFile = Annotated[str, typer.Argument(metavar="FIT", help="A saved fit, fit.nc, or 'published'.")]
Draws = Annotated[int, typer.Option(min=1, help="Kept draws of each chain.")]
Tune = Annotated[int, typer.Option(min=1, help="Tuning steps of each chain.")]
Chains = Annotated[int, typer.Option(min=1, help="Number of chains.")]
Seed = Annotated[
    int, typer.Option(min=0, max=2**32 - 1, help="Same seed, data and machine: same result.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Fail where the chains did not converge.")]
Prob = Annotated[float, typer.Option(help="Probability content of the intervals.")]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def console() -> Console:
    """Return the console of standard output."""
    from ketpredict.terminal import PlainConsole

    return PlainConsole()


def on_terminal() -> bool:
    """Return whether a person watches."""
    return sys.stderr is not None and sys.stderr.isatty()


def say_wait() -> None:
    """Say that a fit takes its time."""
    if on_terminal():
        typer.echo("Compiling the model (half a minute), then sampling ...", err=True)


def names(text: str) -> list[str]:
    """Return names that were separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def check_prob(prob: float) -> None:
    """Refuse what is no probability content."""
    if not 0 < prob < 1:
        raise DataError(f"--prob is {prob:g}; expected a number between 0 and 1, such as 0.9.")


def check_file(path: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse a file that cannot be written, before any work is done."""
    if path.suffix.lower() not in suffixes:
        raise DataError(f"--output is '{path}'; expected a name ending in {' or '.join(suffixes)}.")
    if not path.parent.is_dir():
        raise DataError(f"There is no folder '{path.parent}' to write to.")
    check_target(path)
    _try_to_write(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder, and refuse one that cannot be written to, before any work is done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"Folder '{path}' cannot be made: {error.strerror or error}.") from None
    _try_to_write(path)


def _try_to_write(folder: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(
            f"Folder '{folder}' cannot be written to: {error.strerror or error}."
        ) from None


def print_json(table: Any) -> None:
    """Print plain lists, texts and numbers as JSON."""
    typer.echo(json.dumps(table, indent=2, allow_nan=False))
