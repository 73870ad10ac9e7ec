"""From runs to medians, tables on the screen, CSV and Markdown."""

from __future__ import annotations

import csv
import datetime
import importlib.metadata
import os
import platform
import statistics
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from processes import HERE, Run
from rich.console import Console
from rich.table import Table

PACKAGES = ("ketpredict", "numpy", "numba", "pymc", "pytensor", "nutpie", "arviz", "jax", "bambi")


def median(runs: Iterable[Run], figure: Callable[[Run], float | None]) -> float | None:
    """Return the median of a figure over the runs that have it."""
    values = [value for value in map(figure, runs) if value is not None]
    return statistics.median(values) if values else None


def smallest_ess(kind: str) -> Callable[[Run], float | None]:
    """Return a function that gives a run's smallest ESS of ``"slope"`` or ``"scale"``."""

    def figure(run: Run) -> float | None:
        sizes = run.report.get(f"{kind}_ess")
        return min(sizes.values()) if sizes else None

    return figure


def ess_per_second(kind: str, stage: str) -> Callable[[Run], float | None]:
    """Return a function that gives a run's smallest ESS by second of a stage or of the fit."""

    def figure(run: Run) -> float | None:
        size, seconds = smallest_ess(kind)(run), run.seconds(stage)
        return size / seconds if size and seconds else None

    return figure


def milliseconds_per_gradient(run: Run) -> float | None:
    """Return the core time of one gradient, tuning and kept draws together."""
    gradients, seconds = run.report.get("gradients"), run.seconds("sample")
    if not gradients or not seconds:
        return None
    sampling = run.report["sampling"]
    busy = min(sampling["cores"], sampling["chains"])
    return 1000.0 * seconds * busy / gradients


def reported(name: str) -> Callable[[Run], float | None]:
    """Return a function that gives a figure of the run's report."""
    return lambda run: run.report.get(name)


def diagnosed(name: str) -> Callable[[Run], float | None]:
    """Return a function that gives a figure of the run's convergence diagnostics."""
    return lambda run: run.report.get("diagnostics", {}).get(name)


def machine() -> dict[str, str]:
    """Return what the figures were taken on."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [
            line.partition(":")[2].strip()
            for line in information.read_text().splitlines()
            if line.startswith("model name")
        ]
        model = names[0] if names else model
    load = os.getloadavg()
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{model}, {os.cpu_count()} cores",
        "load before the run": f"{load[0]:.2f} (1 minute), {load[1]:.2f} (5 minutes)",
        "Python": platform.python_version(),
        "versions": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def default_folder(*, quick: bool) -> Path:
    """Return where results go: a smoke test's figures mean nothing and stay out of the checkout."""
    return Path(tempfile.gettempdir()) / "ketpredict-benchmarks" if quick else HERE / "results"


def words(value: Any) -> str:
    """Return a cell of a table: three significant digits, thousands apart, or a dash."""
    if value is None:
        return "–"
    if isinstance(value, float):
        if value == 0 or abs(value) >= 100:
            return f"{value:,.0f}"
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def show(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print some columns of a table."""
    table = Table(title=title, title_justify="left")
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(words(row.get(column)) for column in columns))
    Console(width=max(100, 14 * len(columns))).print(table)


def markdown(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return some columns of a table as Markdown."""
    lines = ["| " + " | ".join(columns) + " |", "|---" + "|---:" * (len(columns) - 1) + "|"]
    lines += ["| " + " | ".join(words(row.get(c)) for c in columns) + " |" for row in rows]
    return "\n".join(lines)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table with every column that any of its rows has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows
        )
