"""Pictures of a fit. Each function returns a Figure of its own; none touches pyplot's state.

Colours are of the Okabe-Ito palette, and no meaning rests on colour alone. ArviZ draws everything
else from ``posterior_``; what is here needs columns of numbers beside the picture, which its forest
plots do not have.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ketpredict.figure_names import show_names_as_they_are
from ketpredict.wording import (
    arm_words,
    percent,
    percent_range,
    population_words,
    trial_words,
)
from ketpredict.writing import write_whole

ACTIVE, CONTROL, QUIET = "#0072B2", "#D55E00", "#6E6E6E"
_ROW_INCHES = 0.27
_FOREST_COLUMNS = (1.03, 1.235, 1.445, 1.56, 1.695)
_CHECK_COLUMNS = (1.03, 1.32, 1.52)
_LITERATURE_COLUMNS = (1.06, 1.22, 1.42, 1.76)
_DOTS_PER_INCH = 130


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG, all of it or nothing, and return the path."""
    stream = io.BytesIO()
    show_names_as_they_are(figure)
    with mpl.rc_context({"text.parse_math": False}):  # what is made while it is drawn
        figure.savefig(stream, dpi=_DOTS_PER_INCH, format="png", metadata={"Software": None})
    return write_whole(path, stream.getvalue())


def forest_plot(table: pd.DataFrame, prob: float = 0.9) -> Figure:
    """Return the probability of response by population and arm, intervals and evidence beside it.

    Parameters
    ----------
    table : DataFrame
        From :func:`ketpredict.summary.population_table`.
    prob : float
        Probability content of the table's intervals, for the caption.
    """
    sections = _sections(table)
    height = _ROW_INCHES * (len(table) + 1.6 * len(sections)) + 2.4
    figure = Figure(figsize=(11.0, height))
    axes = figure.add_axes((0.265, 1.25 / height, 0.38, (height - 2.1) / height))
    position, extent = 0.0, 0.0
    for title, rows in sections:
        position += 0.7
        _text(axes, -0.645, position, title, weight="bold")
        for row in rows.to_dict("records"):
            position += 1.0
            _forest_row(axes, position, row)
        position += 0.9
        extent = position
    headings = ("Probability", "in one trial", "Trials", "People", "Overlap")
    _columns(axes, dict(zip(headings, _FOREST_COLUMNS, strict=True)))
    _finish_axes(axes, extent, "Probability of response, in the outcome named above")
    figure.suptitle(
        "Response by population and arm", x=0.02, y=1 - 0.25 / height, ha="left", weight="bold"
    )
    _caption(figure, height, _forest_caption(prob))
    return figure


def predictive_plot(table: pd.DataFrame, prob: float = 0.9) -> Figure:
    """Return the posterior predictive check by trial: observed response over replicated.

    Parameters
    ----------
    table : DataFrame
        From :func:`ketpredict.checks.predictive_table`, one row per trial, population and arm.
    prob : float
        Probability content of the replicated intervals, for the caption.
    """
    people = table.groupby("population")["n"].sum().sort_values(ascending=False)
    groups = [(name, table[table["population"] == name]) for name in people.index]
    height = _ROW_INCHES * (len(table) + 1.6 * len(groups)) + 2.5
    figure = Figure(figsize=(11.0, height))
    axes = figure.add_axes((0.36, 1.3 / height, 0.39, (height - 2.1) / height))
    position, extent = 0.0, 0.0
    for population, rows in groups:
        position += 0.7
        _text(axes, -0.872, position, population_words(str(population)), weight="bold")
        for row in rows.sort_values(["trial", "arm"]).to_dict("records"):
            position += 1.0
            _predictive_row(axes, position, row)
        position += 0.9
        extent = position
    _columns(axes, dict(zip(("Observed", "Replicated", "Mid-p"), _CHECK_COLUMNS, strict=True)))
    _finish_axes(axes, extent, "Responders, in the trial's own outcome")
    figure.suptitle(
        "Posterior predictive check by trial",
        x=0.02,
        y=1 - 0.25 / height,
        ha="left",
        weight="bold",
    )
    _caption(figure, height, _predictive_caption(prob))
    return figure


def _sections(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the rows of each population and outcome under their heading."""
    groups = table.groupby(["population", "outcome"], sort=False)
    return [
        (f"{population_words(str(population))}: {outcome}", rows)
        for (population, outcome), rows in groups
    ]


def _forest_row(axes: Any, y: float, row: dict[str, Any]) -> None:
    colour, marker = arm_style(row)
    style: dict[str, Any] = {"color": colour, "solid_capstyle": "butt"}
    axes.plot([row["trial_lower"], row["trial_upper"]], [y, y], linewidth=1.2, **style)
    axes.plot([row["average_lower"], row["average_upper"]], [y, y], linewidth=4.5, **style)
    filled = "white" if row["extrapolated"] else colour
    axes.plot(
        row["probability"],
        y,
        color=colour,
        marker=marker,
        markersize=8,
        markerfacecolor=filled,
        markeredgecolor=colour,
        markeredgewidth=1.6,
        linestyle="none",
    )
    mark = " †" if row["extrapolated"] else ""
    _text(axes, -0.615, y, arm_words(row["arm"]) + mark)
    cells = (
        percent(row["probability"]),
        percent_range(row["trial_lower"], row["trial_upper"]),
        f"{row['trials'] or 'none'}",
        f"{row['patients'] + row['patients_in_arms']}",
        percent(row["prior_overlap"]),
    )
    for x, words in zip(_FOREST_COLUMNS, cells, strict=True):
        _text(axes, x, y, words)


def _predictive_row(axes: Any, y: float, row: dict[str, Any]) -> None:
    (colour, _), n = arm_style(row), row["n"]
    axes.plot(
        [row["lower"] / n, row["upper"] / n],
        [y, y],
        color=colour,
        linewidth=5.5,
        alpha=0.35,
        solid_capstyle="butt",
    )
    axes.plot(
        row["median"] / n,
        y,
        marker="|",
        markersize=11,
        color=colour,
        linestyle="none",
        markeredgewidth=1.6,
    )
    inside = row["lower"] <= row["observed"] <= row["upper"]
    axes.plot(
        row["observed"] / n,
        y,
        marker="o" if inside else "X",
        markersize=6.5 if inside else 9,
        color="black",
        linestyle="none",
    )
    _text(axes, -0.845, y, f"{trial_words(row['trial'])}, {arm_words(row['arm']).lower()}")
    cells = (
        f"{row['observed']}/{n} = {percent(row['observed'] / n)}",
        percent_range(row["lower"] / n, row["upper"] / n),
        f"{row['p_value']:.2f}",
    )
    for x, words in zip(_CHECK_COLUMNS, cells, strict=True):
        _text(axes, x, y, words)


def _columns(axes: Any, headings: dict[str, float]) -> None:
    for words, x in headings.items():
        _text(axes, x, -0.4, words, weight="bold")


def _finish_axes(axes: Any, extent: float, label: str) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(extent, 0.0)
    axes.set_yticks([])
    axes.set_xticks(np.arange(0, 1.01, 0.1))
    axes.set_xticklabels([f"{value:.1f}" for value in np.arange(0, 1.01, 0.1)], fontsize=9)
    axes.set_xlabel(label, fontsize=10)
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)


def _forest_caption(prob: float) -> list[Any]:
    words = (
        f"Thick: {100 * prob:g} % interval of the probability averaged over trials. Thin: of the "
        "probability in one new trial, which also varies from trial to trial. † and hollow: an "
        "extrapolation, no trial reports this arm and outcome in this population near that time. "
        "A good one: active arms (blue circles) clear of their controls (orange squares), the "
        "overlap of posterior and prior small, and wide thin lines where trials disagree. For "
        "research; not for treatment decisions."
    )
    return [words, [("o", ACTIVE, "active arm"), ("s", CONTROL, "control arm")]]


def _predictive_caption(prob: float) -> list[Any]:
    words = (
        f"Bar: {100 * prob:g} % of responders replicated by the fitted model in this same, known "
        "trial; tick: their median. Black: what the trial saw; a cross lies outside its bar. A "
        f"good one: about {100 * prob:g} % of black points or more on their bars, with no "
        "population or arm off to one side. It says that the model can reproduce its data, not "
        "how well it predicts a new trial."
    )
    return [words, []]


def _caption(figure: Figure, height: float, content: Sequence[Any]) -> None:
    words, marks = content
    wrapped = "\n".join(textwrap.wrap(words, 165))
    figure.text(0.02, 0.12 / height, wrapped, fontsize=9, color="#333333", va="bottom")
    handles = list(_handles(marks))
    if handles:
        figure.legend(
            handles=handles,
            loc="upper right",
            bbox_to_anchor=(0.99, 1 - 0.1 / height),
            ncols=len(handles),
            frameon=False,
            fontsize=9,
        )


def _handles(marks: Sequence[tuple[str, str, str]]) -> Iterator[Line2D]:
    for marker, colour, label in marks:
        yield Line2D([], [], color=colour, marker=marker, linewidth=2, label=label)


def _text(axes: Any, x: float, y: float, words: str, weight: str = "normal") -> None:
    axes.text(
        x,
        y,
        words,
        transform=axes.get_yaxis_transform(),
        va="center",
        fontsize=9,
        weight=weight,
        clip_on=False,
    )


def arm_style(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return colour and marker of a row of a table, by its ``control``: what class its arm has."""
    return (CONTROL, "s") if row["control"] else (ACTIVE, "o")


def literature_plot(table: pd.DataFrame, prob: float = 0.9) -> Figure:
    """Return each slope with and without the published effects, and what these are worth.

    Parameters
    ----------
    table : DataFrame
        ``slopes`` of :func:`ketpredict.literature.literature`.
    prob : float
        Probability content of the table's intervals, for the caption.
    """
    height = 0.62 * len(table) + 2.6
    figure = Figure(figsize=(11.0, height))
    axes = figure.add_axes((0.3, 1.45 / height, 0.33, (height - 2.35) / height))
    for position, row in enumerate(table.to_dict("records"), start=1):
        _text(axes, -0.88, position, "\n".join(textwrap.wrap(str(row["label"]), 40)))
        for ending, offset, colour, marker in (
            ("_without", 0.17, CONTROL, "s"),
            ("", -0.17, ACTIVE, "o"),
        ):
            y = position + offset
            axes.hlines(y, row[f"lower{ending}"], row[f"upper{ending}"], color=colour, linewidth=2)
            axes.plot(row[f"slope{ending}"], y, marker, color=colour, markersize=6)
        low, high = row["effective_lower"], row["effective_upper"]
        patients = f"{row['effective_patients']:.0f} ({low:.0f} to {high:.0f})"
        cells = (
            f"{row['effects']}",
            f"{row['patients']}",
            patients,
            f"{row['sensitivity']:.2f}",
        )
        for x, words in zip(_LITERATURE_COLUMNS, cells, strict=True):
            _text(axes, x, position, words)
    headings = ("Effects", "Patients\nbehind", "Worth\n(patients)", "Sensi-\ntivity")
    for x, words in zip(_LITERATURE_COLUMNS, headings, strict=True):
        _text(axes, x, 0.15, words, weight="bold")
    axes.axvline(0.0, color=QUIET, linewidth=0.8)
    axes.set_ylim(len(table) + 0.6, 0.45)
    axes.set_yticks([])
    axes.set_xlabel("Slope under ketamine (latent SDs for one reference step)", fontsize=10)
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    figure.suptitle(
        "What the literature did", x=0.02, y=1 - 0.25 / height, ha="left", weight="bold"
    )
    _caption(figure, height, _literature_caption(prob))
    return figure


def _literature_caption(prob: float) -> list[Any]:
    words = (
        f"Lines: {100 * prob:g} % intervals. Patients behind: of each cohort once. Worth: how many "
        "patients with every predictor known carry as much information on the slope (and its "
        "interval). Sensitivity: power-scaling, above "
        "0.05 the literature matters. A good one: blue inside orange, and no slope that many small "
        "unreplicated reports push far from zero. For research; not for treatment decisions."
    )
    marks = [("o", ACTIVE, "with published effects"), ("s", CONTROL, "without")]
    return [words, marks]
