"""Pictures of posterior predictive checks: counts, statistics, PIT values, predictors, Pareto k.

Each returns a Figure of its own and says in its caption what a good one looks like. Prior
predictive checks are the same pictures of the prior's replicates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from arviz_stats.ecdf_utils import ecdf_pit
from matplotlib.figure import Figure

from ketpredict.discrepancies import STATISTICS
from ketpredict.errors import DataError
from ketpredict.importance import PARETO_LIMIT
from ketpredict.loo import LeaveOneOut
from ketpredict.panels import (
    BLUE,
    GREEN,
    ORANGE,
    QUIET,
    interval_rows,
    legend,
    line,
    panels,
    room_for_labels,
)
from ketpredict.wording import arm_words, plain_words, population_words, trial_words

_KINDS = {"patients": ("Single patients", BLUE, "o"), "arm": ("Published arms", ORANGE, "s")}
_ROW = 0.24
_IN_SDS = ("largest residual", "largest contrast in a trial")
_SIMULATIONS = 1000
FEWEST_PIT = 8
"""Patients, or arms, that a picture of PIT values takes: of fewer nothing can be seen."""


def settings_plot(
    known: pd.DataFrame, new: pd.DataFrame, by: Sequence[str], prob: float = 0.9
) -> Figure:
    """Return observed response beside what is replicated in known trials and as new trials.

    Parameters
    ----------
    known, new : DataFrame
        From :func:`ketpredict.checks.predictive_table`, in the two settings.
    by : sequence of str
        What both were added up by.
    prob : float
        Probability content of the intervals, for the caption.
    """
    caption = (
        f"Thick blue: {100 * prob:g} % of what the fitted model replicates in the same, known "
        "trial; thin orange: as a new trial, whose effects are drawn anew and shared by all its "
        "patients and arms. Black: observed; a cross lies outside the blue. A good one: about "
        f"{100 * prob:g} % of points or more within blue, and within orange, not all to one side. "
        "Blue says that the model can reproduce its data, orange that it could have foreseen "
        "them."
    )
    title = f"Responders by {_grouped_by(by)}: observed and replicated"
    figure, (axes,) = panels(1, title, caption, row_inches=_ROW * len(known) + 1.2)
    n = known["n"].to_numpy()
    limits = [
        (table["lower"].to_numpy() / n, table["upper"].to_numpy() / n, colour, width)
        for table, colour, width in ((known, BLUE, 6.0), (new, ORANGE, 1.6))
    ]
    labels = [f"{_words(row, by)} (n = {row['n']})" for row in known.to_dict("records")]
    room_for_labels(figure, labels)
    interval_rows(axes, labels, limits, (known["observed"] / n).to_list())
    axes.set_xlim(-0.01, 1.01)
    axes.set_xlabel("Share of people who responded")
    handles = [
        line("known trial", BLUE, linewidth=6, alpha=0.75),
        line("as a new trial", ORANGE, linewidth=1.6),
        line("observed", "black", marker="o", linestyle="none", markersize=4.5),
    ]
    legend(axes, handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3)
    return figure


def prior_plot(prior: pd.DataFrame, by: Sequence[str], prob: float = 0.9) -> Figure:
    """Return observed response beside what the prior alone replicates.

    Parameters
    ----------
    prior : DataFrame
        :func:`ketpredict.checks.predictive_table` of
        :func:`ketpredict.summary.prior_of` as new trials.
    by : sequence of str
    prob : float
        Probability content of the intervals, for the caption.
    """
    caption = (
        f"Green: {100 * prob:g} % of what the prior alone replicates, before any data, each trial "
        "with effects of its own. Black: observed; a cross lies outside. A good one: wide "
        "intervals that hold the data and reach neither 0 nor 1 everywhere: the prior allows "
        "what happened, and has not decided it. It is no reason to change a prior until it fits."
    )
    title = f"Responders by {_grouped_by(by)}: observed and replicated by the prior"
    figure, (axes,) = panels(1, title, caption, row_inches=_ROW * len(prior) + 1.2)
    n = prior["n"].to_numpy()
    limits = [(prior["lower"].to_numpy() / n, prior["upper"].to_numpy() / n, GREEN, 6.0)]
    labels = [f"{_words(row, by)} (n = {row['n']})" for row in prior.to_dict("records")]
    room_for_labels(figure, labels)
    interval_rows(axes, labels, limits, (prior["observed"] / n).to_list())
    axes.set_xlim(-0.01, 1.01)
    axes.set_xlabel("Share of people who responded")
    return figure


def _words(row: dict[Any, Any], by: Sequence[str]) -> str:
    """Return the labels of a row in words."""
    words: dict[str, Callable[[Any], str]] = {
        "trial": trial_words,
        "population": population_words,
        "arm": arm_words,
        "hours": lambda value: f"{value:g} h",
        "threshold": lambda value: f"improved by {value:g} %",
        "kind": lambda value: _KINDS[value][0],
        "active": lambda value: "Active arms" if value else "Control arms",
        "known": lambda value: (
            "No predictor known" if value == "none" else f"Known: {plain_words(value)}"
        ),
    }
    named = [words[name](row[name]) if name in words else str(row[name]) for name in by]
    # Arms are no names: within a line they have no capital.
    return ", ".join(
        text if not place or by[place] != "arm" else text[:1].lower() + text[1:]
        for place, text in enumerate(named)
    )


def _grouped_by(by: Sequence[str]) -> str:
    """Return in words what a picture groups by."""
    words = {"known": "known predictors", "kind": "kind of data", "active": "class of arm"}
    return ", ".join(words.get(name, name) for name in by)


def statistics_plot(draws: pd.DataFrame, table: pd.DataFrame) -> Figure:
    """Return each test statistic, observed among replicated.

    Parameters
    ----------
    draws, table : DataFrame
        From :func:`ketpredict.discrepancies.statistic_draws` and
        :func:`ketpredict.discrepancies.statistics_table`.
    """
    caption = (
        "Bars: the statistic in data sets replicated by the model; black line: in the data. A "
        "good one: every black line among the bars. A p-value (two-sided, mid-p) near 0 says "
        "that the model does not make data like these in that respect. Rates and their "
        "differences are shares of people; residual and contrast count binomial SDs."
    )
    there = table[np.isfinite(table["observed"])]
    figure, axes = panels(len(there), "Test statistics", caption, columns=5, row_inches=2.9)
    for place, row in zip(axes, there.to_dict("records"), strict=True):
        values = draws[row["statistic"]].to_numpy()[1:]
        place.hist(values[np.isfinite(values)], bins=30, color=BLUE, alpha=0.6)
        place.axvline(row["observed"], color="black", linewidth=2)
        place.set_title(f"p = {row['p_value']:.2f}", fontsize=9.5, loc="right")
        unit = "binomial SDs" if str(row["statistic"]) in _IN_SDS else "share"
        own = str(row["statistic"]) in STATISTICS
        place.set_xlabel(f"{row['statistic']}{f'\n({unit})' if own else ''}", fontsize=9.5)
    axes[0].set_ylabel("Replicated data sets")
    return figure


def pit_plot(pit: pd.DataFrame, prob: float = 0.95) -> Figure:
    """Return leave-one-out PIT values: their distribution less the uniform one, with its band.

    Parameters
    ----------
    pit : DataFrame
        From :func:`ketpredict.loo.pit_values`.
    prob : float
        Simultaneous probability content of the band (ArviZ).

    Raises
    ------
    DataError
        There are fewer than eight patients and fewer than eight arms.
    """
    caption = (
        "Black: empirical distribution of the PIT values less the uniform one; band: "
        f"{100 * prob:g} % of uniform samples stay inside as a whole. A good one: the line "
        "inside. A slope up then down: the data lie in the middle of predictions that are too "
        "wide; down then up: in the tails of predictions too narrow; all above or below: "
        "predictions too high or too low. PIT values of single yes/no outcomes are mostly random "
        "numbers: calibration curves see more. Arms with a large Pareto k are only roughly left "
        "out."
    )
    kinds = [kind for kind in _KINDS if (pit["kind"] == kind).sum() >= FEWEST_PIT]
    if not kinds:
        raise DataError(f"There are fewer than {FEWEST_PIT} patients and arms: too few to draw.")
    title = "Leave-one-out PIT values (randomised)"
    figure, axes = panels(len(kinds), title, caption, columns=2, row_inches=3.6)
    for place, kind in zip(axes, kinds, strict=True):
        words, colour, _ = _KINDS[kind]
        values = np.sort(pit.loc[pit["kind"] == kind, "pit"].to_numpy())
        x, ecdf, lower, upper = ecdf_pit(values, prob, _SIMULATIONS)
        place.fill_between(x, lower - x, upper - x, color=colour, alpha=0.25, step="mid")
        place.step(x, ecdf - x, color="black", linewidth=1.5, where="mid")
        place.axhline(0.0, color=QUIET, linewidth=0.8)
        place.set_title(f"{words} (n = {len(values)})", fontsize=10, loc="left")
        place.set_xlabel("PIT value")
        place.set_xlim(0, 1)
    axes[0].set_ylabel("Empirical less uniform probability")
    return figure


def predictors_plot(table: pd.DataFrame, prob: float = 0.9) -> Figure:
    """Return what predictors look like in each trial, observed over replicated.

    Parameters
    ----------
    table : DataFrame
        From :func:`ketpredict.predictor_checks.predictor_table`.
    prob : float
        Probability content of the intervals, for the caption.
    """
    caption = (
        f"Bars: {100 * prob:g} % of what the joint model of the predictors replicates for the "
        "patients of a trial, with the same values missing; black: observed, a cross outside. A "
        f"good one: about {100 * prob:g} % or more of points on their bars. Means and rates are "
        "fitted to the very trial; SDs and correlations, which trials share, are the test: each "
        "trial beside the others, and all together. In "
        "reference steps of the predictor (log scale where it has one); rates and correlations "
        "have no unit."
    )
    groups = list(table.groupby(["what", "predictor"], sort=False))
    most = max(len(rows) for _, rows in groups)
    figure, axes = panels(
        len(groups),
        "Predictors within trials: observed and replicated",
        caption,
        row_inches=1.6 + 0.22 * most,
    )
    figure.subplots_adjust(left=0.09, wspace=0.42)
    units = {"mean": "Mean, reference steps", "SD": "SD, reference steps", "rate": "Rate"}
    for place, ((what, predictor), rows) in zip(axes, groups, strict=True):
        limits = [(rows["lower"].to_numpy(), rows["upper"].to_numpy(), BLUE, 6.0)]
        labels = [f"{trial_words(row['trial'])}" for row in rows.to_dict("records")]
        interval_rows(place, labels, limits, rows["observed"].to_list())
        place.set_title(plain_words(predictor), fontsize=9, loc="left")
        place.set_xlabel(units.get(str(what), "Correlation"), fontsize=9.5)
    return figure


def pareto_plot(found: LeaveOneOut) -> Figure:
    """Return the Pareto k of every patient and arm."""
    caption = (
        "Each point: one patient or published arm left out by importance sampling. A good one: "
        f"points below {PARETO_LIMIT}. Above it (dashed) the left-out prediction is rough, above "
        "1 (solid) unusable. Arms that are all of their trial are often above: their trial's own "
        "effects follow them; leave the trial out instead."
    )
    figure, (axes,) = panels(1, "How far each left out moves the fit", caption, row_inches=3.6)
    for kind, (words, colour, marker) in _KINDS.items():
        part = found.events[found.events["kind"] == kind]
        if len(part):
            axes.plot(
                part["unit"], part["pareto_k"], marker, color=colour, markersize=4, label=words
            )
    for limit, style, words in ((PARETO_LIMIT, "--", "rough above"), (1.0, "-", "unusable above")):
        axes.axhline(limit, color="black", linewidth=0.9, linestyle=style)
        axes.text(
            1.005, limit, f"{limit:g}: {words}", transform=axes.get_yaxis_transform(),
            va="center", fontsize=9,
        )  # fmt: skip
    figure.subplots_adjust(right=0.86)
    axes.set_xlabel("Patient or arm, in the order of the design")
    axes.set_ylabel("Pareto k (no unit)")
    legend(
        axes, axes.get_legend_handles_labels()[0], loc="lower right", bbox_to_anchor=(1, 1), ncols=2
    )
    return figure
