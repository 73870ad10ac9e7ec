"""Pictures of what one predictor does to the probability of response."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ketpredict.plots import ACTIVE, CONTROL, QUIET
from ketpredict.predictors import Predictor
from ketpredict.wording import (
    RESEARCH_ONLY,
    arm_words,
    plain_words,
    population_words,
    unit_words,
    value_words,
)

_COLUMNS = 2
_PANEL_INCHES = (4.6, 2.9)
_CAPTION_INCHES = 1.25
_TITLE_INCHES = 0.55


def partial_effect_plot(
    table: pd.DataFrame,
    evidence: pd.DataFrame,
    predictor: Predictor,
    probs: tuple[float, float] = (0.5, 0.9),
) -> Figure:
    """Return the probability of response against a predictor's value, a panel per population.

    Parameters
    ----------
    table : DataFrame
        From :func:`ketpredict.marginal_effects.partial_effect_table`.
    evidence : DataFrame
        From :func:`ketpredict.marginal_effects.evidence_values`: ticks below are patients,
        triangles arms' means.
    predictor : Predictor
        Whose label and unit stand on the axis.
    probs : tuple of float
        Probability contents of the table's intervals, for the caption.
    """
    populations = list(dict.fromkeys(table["population"]))
    lines = -(-len(populations) // _COLUMNS)
    wide = _PANEL_INCHES[0] * _COLUMNS
    height = _PANEL_INCHES[1] * lines + _CAPTION_INCHES + _TITLE_INCHES
    figure = Figure(figsize=(wide, height))
    grid = figure.add_gridspec(
        lines,
        _COLUMNS,
        left=0.085,
        right=0.98,
        bottom=(_CAPTION_INCHES + 0.5) / height,
        top=1.0 - (_TITLE_INCHES + 0.25) / height,
        hspace=0.42,
        wspace=0.16,
    )
    for place, population in enumerate(populations):
        axes = figure.add_subplot(grid[place // _COLUMNS, place % _COLUMNS])
        rows = table[table["population"] == population]
        own = evidence[evidence["population"] == population]
        _panel(axes, rows, own, predictor)
        mark = " †" if rows["extrapolated"].any() else ""
        axes.set_title(population_words(population) + mark, loc="left", fontsize=10)
        if place % _COLUMNS == 0:
            axes.set_ylabel("Probability of response", fontsize=9)
        if place + _COLUMNS >= len(populations) and predictor.kind == "continuous":
            axes.set_xlabel(_axis_words(predictor), fontsize=9)
    figure.suptitle(
        "\n".join(textwrap.wrap(f"Response at 24 h by {_lower(predictor.label)}", 95)),
        x=0.02,
        y=1.0 - 0.12 / height,
        ha="left",
        va="top",
        weight="bold",
    )
    words = "\n".join(textwrap.wrap(_caption(table, evidence, predictor, probs), 138))
    figure.text(0.02, 0.1 / height, words, fontsize=8.5, color="#333333", va="bottom")
    return figure


def _panel(axes: Any, rows: pd.DataFrame, own: pd.DataFrame, predictor: Predictor) -> None:
    value = rows["value"].to_numpy()
    if predictor.kind == "binary":
        axes.vlines(value, rows["outer_lower"], rows["outer_upper"], color=ACTIVE, linewidth=1.5)
        axes.vlines(value, rows["inner_lower"], rows["inner_upper"], color=ACTIVE, linewidth=6)
        axes.plot(value, rows["probability"], "o", color=ACTIVE, markerfacecolor="white")
        axes.set_xticks([0.0, 1.0], [value_words(predictor, one) for one in (0.0, 1.0)])
        axes.set_xlim(-0.5, 1.5)
    else:
        bands = {"color": ACTIVE, "linewidth": 0}
        axes.fill_between(value, rows["outer_lower"], rows["outer_upper"], alpha=0.18, **bands)
        axes.fill_between(value, rows["inner_lower"], rows["inner_upper"], alpha=0.35, **bands)
        inside = rows["in_evidence"].to_numpy(bool)
        # Solid where the evidence reaches, dashed beyond.
        axes.plot(value, rows["probability"], color=ACTIVE, linewidth=1.3, linestyle="--")
        axes.plot(value[inside], rows["probability"][inside], color=ACTIVE, linewidth=2.2)
        if predictor.transform == "log":
            axes.set_xscale("log")
            _plain_ticks(axes, value)
        axes.set_xlim(value.min(), value.max())
    patients, arms = own[own["kind"] == "patients"], own[own["kind"] == "arm"]
    ticks = axes.get_xaxis_transform()
    axes.plot(
        patients["value"],
        np.full(len(patients), 0.03),
        "|",
        color=QUIET,
        markersize=7,
        transform=ticks,
    )
    axes.plot(
        arms["value"], np.full(len(arms), 0.04), "^", color=CONTROL, markersize=6, transform=ticks
    )
    axes.set_ylim(0.0, 1.0)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.tick_params(labelsize=8.5)
    axes.grid(color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("right", "top"):
        axes.spines[side].set_visible(False)


def _plain_ticks(axes: Any, value: np.ndarray) -> None:
    """Put plain numbers 1, 2 and 5 times powers of ten on a log axis."""
    steps = np.outer(10.0 ** np.arange(-6, 7), [1.0, 2.0, 5.0]).ravel()
    shown = steps[(steps >= value.min()) & (steps <= value.max())]
    axes.set_xticks(shown, [f"{one:g}" for one in shown])
    axes.set_xticks([], minor=True)


def _axis_words(predictor: Predictor) -> str:
    words = plain_words(predictor.name)
    words = words.upper() if len(words) <= 4 else words[:1].upper() + words[1:]
    return f"{words} ({unit_words(predictor.unit)})" if predictor.unit else words


def _lower(label: str) -> str:
    """Return a label inside a sentence: abbreviations and names with digits keep their letters."""
    first = label.split(" ", 1)[0]
    plain = first.replace("-", "").isalpha() and first[1:].upper() != first[1:]
    return label[:1].lower() + label[1:] if plain else label


def _caption(
    table: pd.DataFrame, evidence: pd.DataFrame, predictor: Predictor, probs: tuple[float, float]
) -> str:
    inner, outer = (f"{100 * prob:g} %" for prob in probs)
    binary = predictor.kind == "binary"
    marks = "Thick and thin" if binary else "Dark and light"
    words = (
        f"{arm_words(table['arm'].iloc[0])}, 24 h, 50 % improvement, a new trial; of the patient "
        f"only this is known. {marks}: {inner} and {outer} intervals of the probability averaged "
        "over trials. "
    )
    if len(evidence) == 0:
        words += "No trial reports this predictor: only published effects and the prior speak. "
    else:
        if not binary:
            words += "Solid: values that the evidence (all populations) reaches; dashed: beyond. "
        shown = "shares" if binary else "means"
        words += (
            f"Ticks: patients of the population; triangles: {shown} of its published arms. A good "
            "one narrows where the ticks are. "
        )
    if table["extrapolated"].any():
        words += "†: this population's 24 h prediction is an extrapolation. "
    return words + f"An association, not what changing the predictor would do. {RESEARCH_ONLY}"
