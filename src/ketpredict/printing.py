"""Tables of print for the command line and the demo, readable at 80 columns and wider."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from ketpredict.importance import PARETO_LIMIT
from ketpredict.wording import (
    DASH,
    arm_words,
    pareto_words,
    percent,
    percent_range,
    plain_words,
    population_words,
    setting_words,
    signed,
    trial_words,
)

if TYPE_CHECKING:
    import pandas as pd

_LABELS = ("participant", "population", "arm")
_MOST_ROWS = 40
_LONGEST_PREDICTOR = 18
_SECTION_COLUMNS = {
    "\nArm": 24,
    "\nResponse": 8,
    "in one\ntrial": 7,
    "average\nof trials": 9,
    "\nTrials": 6,
    "Single\npatients": 8,
    "In\narms": 4,
    "Overlap\nwith prior": 10,
}


def new_table(*headings: str, numbers_from: int = 1) -> Table:
    """Return an empty table; columns from `numbers_from` on are aligned to the right."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for place, heading in enumerate(headings):
        if place < numbers_from:
            table.add_column(heading, justify="left", overflow="fold")
        else:
            table.add_column(heading, justify="right", no_wrap=True)
    return table


@contextlib.contextmanager
def progress_of_rows(shown: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Yield what draws a bar on standard error when it is told the rows done and in all."""
    if not shown:
        yield None
        return
    columns = (
        TextColumn("{task.completed:,} of {task.total:,} patients"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        show(0, 0)
        yield show


def left_aligned(column: Column) -> None:
    """Make a column one of words: aligned to the left, and broken where it is too long."""
    column.justify, column.no_wrap = "left", False


def population_print(table: pd.DataFrame) -> Group:
    """Return what to print of :func:`ketpredict.summary.population_table`."""
    parts: list[Any] = [_section_table(show_header=True)]
    for (population, outcome), rows in table.groupby(["population", "outcome"], sort=False):
        title = Text(population_words(str(population)), style="bold")
        parts.append(title.append(f": {outcome}", style="not bold"))
        section = _section_table(show_header=False)
        for row in rows.to_dict("records"):
            section.add_row(*_population_cells(row))
        parts += [section, Text()]
    return Group(*parts)


def _section_table(*, show_header: bool) -> Table:
    """Return an empty table whose columns line up with those of the next section."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, show_header=show_header)
    for heading, width in _SECTION_COLUMNS.items():
        table.add_column(heading, width=width, justify="right" if table.columns else "left")
    return table


def _population_cells(row: dict[Any, Any]) -> tuple[str, ...]:
    mark = " †" if row["extrapolated"] else ""
    return (
        f"  {arm_words(row['arm'])}{mark}",
        *probability_cells(row),
        f"{row['trials']}",
        f"{row['patients']}",
        f"{row['patients_in_arms']}",
        percent(row["prior_overlap"]),
    )


def prediction_print(predictions: pd.DataFrame, patients: pd.DataFrame | None = None) -> Table:
    """Return a table for print of :func:`ketpredict.summary.prediction_table`.

    Parameters
    ----------
    patients : DataFrame, optional
        The patients' own table; participant, population and arm name the rows.
    """
    labels = [] if patients is None else [name for name in _LABELS if name in patients]
    first = [] if "participant" in labels else ["Row"]
    printed = new_table(
        *first,
        *(name.capitalize() for name in labels),
        "Response",
        "in one\ntrial",
        "average\nof trials",
        "Setting",
        numbers_from=len(first) + len(labels),
    )
    left_aligned(printed.columns[-1])
    printed.columns[-1].min_width = 12
    for place, row in enumerate(predictions.head(_MOST_ROWS).to_dict("records")):
        own = [str(place + 1)] if first else []
        if patients is not None:
            own += [_cell(name, patients[name].iloc[place]) for name in labels]
        mark = " †" if row["extrapolation"] else ""
        printed.add_row(*own, *probability_cells(row), f"{setting_words(row['setting'])}{mark}")
    if len(predictions) > _MOST_ROWS:
        printed.caption = f"and {len(predictions) - _MOST_ROWS} more rows; --output writes all"
    return printed


def _cell(name: str, value: Any) -> str:
    """Return a label of a patient for print."""
    if value is None or value != value:  # NaN differs from itself
        return DASH
    words = {"population": population_words, "arm": arm_words}.get(name)
    return words(str(value)) if words else str(value)


def probability_cells(row: dict[Any, Any]) -> tuple[str, str, str]:
    """Return a probability, its interval in one trial, and its interval averaged over trials."""
    return (
        percent(row["probability"]),
        percent_range(row["trial_lower"], row["trial_upper"]),
        percent_range(row["average_lower"], row["average_upper"]),
    )


def predictive_print(table: pd.DataFrame) -> Table:
    """Return a table for print of :func:`ketpredict.checks.predictive_table`."""
    printed = new_table(
        "Trial", "Population", "Arm", "Observed", "Replicated", "Mid-p", numbers_from=3
    )
    for row in table.to_dict("records"):
        printed.add_row(
            trial_words(row["trial"]),
            population_words(row["population"]),
            arm_words(row["arm"]),
            f"{row['observed']} of {row['n']}",
            f"{row['lower']:.0f} to {row['upper']:.0f}",
            f"{row['p_value']:.2f}",
        )
    return printed


def literature_print(table: pd.DataFrame) -> Table:
    """Return a table for print of the slopes of :func:`ketpredict.literature.literature`."""
    printed = new_table(
        "Predictor", "Effects,\npatients", "Slope with", "without", "Worth in\npatients",
        "Sensi-\ntivity",
    )  # fmt: skip
    printed.columns[0].min_width = _LONGEST_PREDICTOR
    for row in table.to_dict("records"):
        slopes = [
            f"{signed(row[f'slope{ending}'])}\n({signed(row[f'lower{ending}'])}, "
            f"{signed(row[f'upper{ending}'])})"
            for ending in ("", "_without")
        ]
        worth = f"{row['effective_lower']:.0f}{DASH}{row['effective_upper']:.0f}"
        printed.add_row(
            plain_words(row["predictor"]),
            f"{row['effects']},  {row['patients']:3d}",
            *slopes,
            f"{row['effective_patients']:.0f}\n({worth})",
            f"{row['sensitivity']:.3f}",
        )
    return printed


def effects_print(table: pd.DataFrame) -> Table:
    """Return a table for print of the effects, the one that matters most first."""
    printed = new_table(
        "Published effect", "Counts\nto the\npower", "moves its slope\n(SDs)", "Pareto k",
    )  # fmt: skip
    for row in table.sort_values("shift", key=abs, ascending=False).to_dict("records"):
        mark = "" if row["pareto_k"] <= PARETO_LIMIT else " †"
        printed.add_row(
            plain_words(row["effect"]),
            f"{row['power']:g}",
            signed(row["shift"]),
            f"{pareto_words(row['pareto_k'])}{mark}",
        )
    return printed


def convergence_print(table: pd.DataFrame) -> Table:
    """Return a table for print of :func:`ketpredict.checks.convergence_table`."""
    printed = new_table("Convergence", "worst", "limit", "holds")
    for row in table.to_dict("records"):
        holds = "yes" if row["holds"] else "NO"
        printed.add_row(str(row["measure"]), f"{row['worst']:.5g}", str(row["limit"]), holds)
    return printed


def gate_print(gate: Any) -> Text:
    """Return a gate for print; brackets in its words are no markup."""
    mark = "passed" if gate.passed else "FAILED"
    return Text.assemble((f"{gate.name}: {mark}.", "bold"), f" {gate.detail}")


def extrapolation_notes_print(notes: dict[str, str]) -> list[str]:
    """Return one line for each different reason behind a dagger."""
    by_reason: dict[str, list[str]] = {}
    for who, reason in notes.items():
        by_reason.setdefault(reason, []).append(who)
    return [f"† {'; '.join(who)}: {reason}." for reason, who in by_reason.items()]
