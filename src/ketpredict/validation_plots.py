"""Pictures of leave-one-out: calibration by trial, and a forest of measures with the next trial."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import betaincinv

from ketpredict.leave_out import LeftOut
from ketpredict.plots import ACTIVE, CONTROL, QUIET, arm_style
from ketpredict.validation_measures import isotonic_calibration
from ketpredict.wording import percent, trial_words

MEASURES = {
    "c_statistic": ("c-statistic (0.5 is chance)", 0.5),
    "calibration_in_the_large": ("Calibration in the large (log odds)", 0.0),
    "calibration_slope": ("Calibration slope", 1.0),
}
"""Measures of the forest: what stands on the axis, and the value to compare with."""
_ACROSS = 4
_RESAMPLES = 400
_SEED = 20_240_613
_ROW_INCHES = 0.3
_LETTERS_AN_INCH = 15.5


def calibration_by_trial(found: LeftOut) -> Figure:
    """Return the calibration curve of each left-out trial, and all published arms in one panel.

    Parameters
    ----------
    found : LeftOut
        From :func:`ketpredict.leave_out.leave_one_trial_out`.

    Returns
    -------
    Figure
        For patients the isotonic regression of response on prediction, over the band in which it
        would lie if the predictions were the true probabilities; ticks show the predictions of
        responders (above) and of others (below). For arms the observed share with its interval
        against the prediction with its interval for one new trial.
    """
    units = found.units
    patients = units[units["kind"] == "patients"]
    panels = [(name, rows) for name, rows in patients.groupby("trial", sort=True)]
    arms = units[units["kind"] == "arm"]
    if len(arms):
        panels.append(("", arms))
    across = min(_ACROSS, len(panels))
    down = math.ceil(len(panels) / across)
    height = 2.6 * down + 1.8
    width = 2.6 * max(across, 2) + 1.2
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
    rng = np.random.default_rng(_SEED)
    for place, (name, rows) in zip(axes, panels, strict=False):
        place.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, linestyle="--")
        if name:
            _patients(place, rows, found.prob, rng)
        else:
            _arms(place, rows, found.prob)
        place.set_title(trial_words(name) if name else "Published arms", fontsize=9, loc="left")
        place.set_xlim(0, 1)
        place.set_ylim(0, 1)
        place.set_xticks([0.2, 0.4, 0.6, 0.8])
        place.tick_params(labelsize=8)
    for place in axes[len(panels) :]:
        place.set_visible(False)
    for place in axes[len(panels) - across : len(panels)]:
        place.tick_params(labelbottom=True)  # the lowest of each column, though not of the grid
    figure.supxlabel(
        "Predicted probability of response, trial left out", fontsize=10, y=0.95 / height
    )
    figure.supylabel("Observed share of responders", fontsize=10, x=0.15 / width)
    title = f"Calibration of each {found.by} predicted without its own data"
    _finish(
        figure,
        height,
        title,
        "Good: each line stays in its grey band, which is where it would lie "
        f"({percent(found.prob)} of the time) if the predictions were true; arms lie about the "
        "diagonal, and their horizontal intervals, of one new trial, cross it. Above the "
        "diagonal more responded than predicted; a line all to one side is a trial at another "
        "level than an average one. Ticks: responders above, others below.",
    )
    figure.subplots_adjust(
        left=0.8 / width, right=0.98, top=1 - 0.75 / height, bottom=1.5 / height, hspace=0.3,
        wspace=0.1,
    )  # fmt: skip
    return figure


def _patients(axes: Any, rows: pd.DataFrame, prob: float, rng: np.random.Generator) -> None:
    size = rows["n"].round().astype(int).to_numpy()
    yes = rows["responders"].round().astype(int).to_numpy()
    each = rows["probability"].to_numpy(float)
    prediction = np.concatenate([np.repeat(each, yes), np.repeat(each, size - yes)])
    response = np.repeat([1.0, 0.0], [yes.sum(), (size - yes).sum()])
    order = np.argsort(prediction, kind="stable")
    prediction, response = prediction[order], response[order]
    again = [
        isotonic_calibration((rng.random(len(prediction)) < prediction).astype(float), prediction)
        for _ in range(_RESAMPLES)
    ]
    tail = (1.0 - prob) / 2.0
    lower, upper = np.quantile(again, [tail, 1.0 - tail], axis=0)
    axes.fill_between(prediction, lower, upper, color=QUIET, alpha=0.25, linewidth=0)
    fitted = isotonic_calibration(response, prediction)
    axes.plot(prediction, fitted, color=ACTIVE, linewidth=1.6)
    for value, edge, way in ((1.0, 1.0, -1.0), (0.0, 0.0, 1.0)):
        mine = prediction[response == value]
        axes.vlines(mine, edge, edge + way * 0.04, color=ACTIVE, linewidth=0.7)
    axes.text(0.97, 0.07, f"{yes.sum()} of {size.sum()}", ha="right", fontsize=8, color=QUIET)


def _arms(axes: Any, rows: pd.DataFrame, prob: float) -> None:
    tail = (1.0 - prob) / 2.0
    for row in rows.to_dict("records"):
        share = row["responders"] / row["n"]
        # Clopper and Pearson's exact interval.
        low, high = (
            float(np.nan_to_num(betaincinv(a, b, place), nan=edge))
            for a, b, place, edge in (
                (row["responders"], row["n"] - row["responders"] + 1.0, tail, 0.0),
                (row["responders"] + 1.0, row["n"] - row["responders"], 1.0 - tail, 1.0),
            )
        )
        colour, marker = arm_style(row)
        style = {"color": colour}
        axes.plot([row["lower"], row["upper"]], [share, share], linewidth=0.6, alpha=0.6, **style)
        axes.plot([row["probability"]] * 2, [low, high], linewidth=0.6, alpha=0.6, **style)
        axes.plot(row["probability"], share, marker=marker, markersize=4, **style)
    axes.text(0.97, 0.07, "circles: active\nsquares: control", ha="right", fontsize=7, color=QUIET)


def measures_forest(found: LeftOut) -> Figure:
    """Return c-statistic, calibration in the large and slope of every trial, and pooled.

    Parameters
    ----------
    found : LeftOut

    Returns
    -------
    Figure
        Thick bars are intervals of the pooled average, thin ones below them of the next trial.
    """
    table = found.trials[found.trials["measure"].isin(list(MEASURES))]
    shown = [
        name for name in MEASURES if table.loc[table["measure"] == name, "estimate"].notna().any()
    ]
    labels = list(dict.fromkeys(zip(table["trial"], table["kind"], strict=True)))
    labels.sort(key=lambda label: (label[1] == "arm", label[0]))
    averages = found.pooled[found.pooled["estimate"].notna()]
    kinds = list(dict.fromkeys(averages.loc[averages["measure"].isin(shown), "kind"]))
    names = [f"{trial_words(trial)}{' (arms)' * (kind == 'arm')}" for trial, kind in labels]
    margin = 0.5 + 0.075 * max(len(name) for name in [*names, "Pooled, published arms"])
    height = _ROW_INCHES * (len(labels) + 1.6 * len(kinds)) + 2.1
    width = margin + 3.0 * max(len(shown), 2)
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(1, max(len(shown), 1), squeeze=False, sharey=True)[0]
    place_of = {label: float(i) for i, label in enumerate(labels)}
    last = len(labels) + 1.6 * len(kinds)
    for place, name in zip(axes, shown, strict=False):
        words, ideal = MEASURES[name]
        place.axvline(ideal, color=QUIET, linewidth=0.8, linestyle="--")
        here = table[table["measure"] == name]
        for row in here.to_dict("records"):
            _trial_row(place, place_of[row["trial"], row["kind"]], row)
        for i, kind in enumerate(kinds):
            mine = averages[(averages["measure"] == name) & (averages["kind"] == kind)]
            for row in mine.to_dict("records"):
                _pooled_row(place, len(labels) + 0.5 + 1.6 * i, row)
        place.set_xlabel(words, fontsize=9)
        place.set_ylim(last, -0.7)
        place.spines[["top", "right", "left"]].set_visible(False)
        place.tick_params(left=False, labelsize=8)
    words_of = {"patients": "Pooled, patients", "arm": "Pooled, published arms"}
    ticks = [*place_of.values(), *(len(labels) + 0.5 + 1.6 * i for i in range(len(kinds)))]
    axes[0].set_yticks(ticks, [*names, *(words_of[kind] for kind in kinds)])
    _finish(
        figure,
        height,
        f"Each {found.by} predicted without its own data",
        "Good: c-statistics well right of 0.5 and alike; calibration in the large about 0 and "
        "slopes about 1, within their intervals. "
        f"Lines: {percent(found.prob)} intervals of a trial's patients. Thick: pooled average; "
        "thin below it: the next trial. Too few responders: no line.",
    )
    figure.subplots_adjust(
        left=margin / width, right=0.98, top=1 - 0.6 / height,
        bottom=1.2 / height, wspace=0.12,
    )  # fmt: skip
    return figure


def _trial_row(axes: Any, place: float, row: dict[str, Any]) -> None:
    if not np.isfinite(row["estimate"]):
        return
    colour = CONTROL if row["kind"] == "arm" else ACTIVE
    axes.plot([row["lower"], row["upper"]], [place, place], color=colour, linewidth=1.2)
    axes.plot(row["estimate"], place, marker="o", markersize=4, color=colour)


def _pooled_row(axes: Any, place: float, row: dict[str, Any]) -> None:
    next_trial = [row["prediction_lower"], row["prediction_upper"]]
    axes.plot(next_trial, [place + 0.4, place + 0.4], color="black", linewidth=1.0)
    axes.plot([row["lower"], row["upper"]], [place, place], color="black", linewidth=3.5)
    axes.plot(row["estimate"], place, marker="D", markersize=7, color="black")


def _finish(figure: Figure, height: float, title: str, caption: str) -> None:
    figure.suptitle(title, x=0.02, y=1 - 0.15 / height, ha="left", weight="bold", va="top")
    wrapped = textwrap.fill(caption, int(figure.get_figwidth() * _LETTERS_AN_INCH))
    figure.text(0.02, 0.12 / height, wrapped, fontsize=8, color=QUIET, va="bottom")
