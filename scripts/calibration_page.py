"""Tables and pictures of ``docs/calibration.md``, from the ranks of ``calibration_study.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import binom

from calibration_study import (
    FACT_COLUMNS,
    GENERATORS,
    KEPT,
    LEVEL,
    NEW_PATIENTS,
    REFERENCES,
    SIMULATIONS,
    model,
    quantity_groups,
    template,
)
from ketpredict.fitting import prepare
from ketpredict.prior import draw_prior
from ketpredict.rank_uniformity import simultaneous_band
from validate_pooling import rewrite_between

_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "0.6"
_PREDICTIONS = "predictions and log likelihood"
_BINS = 17  # three of the 51 ranks in each
_SHOWN = (
    "intercept",
    "population scale",
    "trial scale",
    "treatment scale",
    "arm class mean: inert_control",
    "horizon offset: active at 72 h",
    "improvement sd: CAPS",
    "explained variance",
    "slope: bmi",
    "slope: bdnf",
    "slope: family_history_aud",
    "slope: suicide_attempt_history",
    "across slope: bmi",
    "predictor between scale: bmi",
    "correlation within trials: bmi, bdnf",
    "effect scale: bmi",
    *(f"probability, {name.replace('_', ' ')}" for name in NEW_PATIENTS),
    "responders of a new trial, ketamine",
    "responders of a new trial, saline",
    "log likelihood of outcomes",
    "binary log odds ratio",
)


def write_page(page: Path, ranks: pd.DataFrame, table: pd.DataFrame, facts: dict[str, Any]) -> None:
    """Write the pictures, and the tables between the marks of the page."""
    images = page.parent / "images"
    for name, figure in {
        "calibration_ecdf": ecdf_figure(ranks, table),
        "calibration_wrong": wrong_figure(ranks, table),
        "calibration_ranks": ranks_figure(ranks),
    }.items():
        figure.savefig(images / f"{name}.png", dpi=110, metadata={"Software": None})
        plt.close(figure)
    rewrite_between(page, "calibration run", run_words(ranks, facts))
    rewrite_between(page, "calibration generators", generator_table(table))
    rewrite_between(page, "calibration quantities", quantity_table(table))


def run_words(ranks: pd.DataFrame, facts: dict[str, Any]) -> str:
    """Return what was run, when, and how long it took."""
    right = ranks[ranks["generator"] == "right"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return (
        f"Run on {facts['date']}: {len(right)} simulations of the model (seeds 0 to "
        f"{right['seed'].max()}) and {len(ranks) - len(right)} of wrong generators, each fitted by "
        f"{facts['settings']['chains']} chains of {facts['settings']['tune']} + "
        f"{facts['settings']['draws']} draws, target_accept {facts['settings']['target_accept']}, "
        f"of which {facts['draws_ranked_among']} are kept. {facts['seconds_of_all_fits']} s of "
        f"fits in all, a median of {facts['median_seconds_of_a_fit']} s each, "
        f"{facts['processes']} at a time, with other work on the machine. {versions}. "
        f"Of the {len(right)} fits, {(right['divergences'] > 0).sum()} had a divergence and "
        f"{(right['rhat'] > 1.05).sum()} an R-hat above 1.05; all count."
    )


def generator_table(table: pd.DataFrame) -> str:
    """Return one row for each generator: what it does, and whether the ranks can tell."""
    lines = [
        "| generator | simulations | smallest p, adjusted | quantities below 5 %, adjusted | "
        "quantity with the smallest | as it should be |",
        "|---|---|---|---|---|---|",
    ]
    for name, function in GENERATORS.items():
        own = table[table["generator"] == name]
        worst = own.loc[own["p_value"].idxmin()]
        low = bool(worst["adjusted"] < LEVEL)
        words = (function.__doc__ or "").strip().rstrip(".")
        lines.append(
            f"| **{name}**: {words} | {worst['simulations']} | {p_words(worst['adjusted'])} | "
            f"{(own['adjusted'] < LEVEL).sum()} of {len(own)} | {worst['quantity']} | "
            f"{'yes' if low == (name != 'right') else '**no**'} |"
        )
    return "\n".join(lines)


def p_words(value: float) -> str:
    """Return a p-value in words; one less a probability has no digits below 1e-12."""
    return "below 1e-12" if value < 1e-12 else f"{value:.2g}"


def quantity_table(table: pd.DataFrame) -> str:
    """Return one row for each quantity under the right generator."""
    lines = [
        "| quantity | mean rank (0.5 if calibrated) | p | p, adjusted |",
        "|---|---|---|---|",
    ]
    own = table[table["generator"] == "right"]
    error = np.sqrt(1.0 / 12.0 / own["simulations"].iloc[0])
    lines += [
        f"| {row['quantity']} | {row['mean_rank']:.3f} ± {error:.3f} | {row['p_value']:.3f} | "
        f"{row['adjusted']:.2f} |"
        for row in own.to_dict("records")
    ]
    return "\n".join(lines)


def groups(ranks: pd.DataFrame) -> dict[str, list[str]]:
    """Return the quantities by what they are about."""
    design, _ = prepare(model(), template(), REFERENCES)
    parameters = draw_prior(design, 1, np.random.default_rng(0))
    found = {name: list(own) for name, own in quantity_groups(parameters, design).items()}
    known = {name for own in found.values() for name in own} | set(FACT_COLUMNS)
    return found | {_PREDICTIONS: [name for name in ranks if name not in known]}


def ecdf_figure(ranks: pd.DataFrame, table: pd.DataFrame) -> Figure:
    """Return the empirical distributions of all ranks of the right generator, in their band."""
    own = ranks[ranks["generator"] == "right"]
    parts = groups(ranks)
    total = sum(len(names) for names in parts.values())
    figure, axes = plt.subplots(2, 3, figsize=(11, 6.4), sharex=True, sharey=True)
    for axis, (group, names) in zip(axes.ravel(), parts.items(), strict=True):
        _band(axis, len(own), 1.0 - LEVEL / total)
        for name in names:
            _ecdf(axis, own[name], _BLUE, 0.45)
        axis.set_title(f"{group} ({len(names)})", fontsize=10)
    _label(axes)
    low, high = np.quantile(table.loc[table["generator"] == "right", "p_value"], [0.0, 1.0])
    figure.suptitle(
        f"Ranks of {total} quantities in {len(own)} simulations: calibrated if every line stays in "
        f"the band\n(band: 95 % for all lines together; p from {low:.3f} to {high:.2f})",
        fontsize=11,
    )
    figure.tight_layout()
    return figure


def wrong_figure(ranks: pd.DataFrame, table: pd.DataFrame) -> Figure:
    """Return the same for each wrong generator, the three worst quantities named."""
    names = [name for name in GENERATORS if name != "right"]
    figure, axes = plt.subplots(2, 2, figsize=(11, 7.6), sharex=True, sharey=True)
    for axis, generator in zip(axes.ravel(), names, strict=True):
        own = ranks[ranks["generator"] == generator]
        quantities = table[table["generator"] == generator].sort_values("p_value")
        _band(axis, len(own), 1.0 - LEVEL / len(quantities))
        for name in quantities["quantity"]:
            _ecdf(axis, own[name], _GREY, 0.4)
        for style, name in zip(("-", "--", ":"), quantities["quantity"].head(3), strict=True):
            _ecdf(axis, own[name], _ORANGE, 1.0, style, name)
        axis.set_title(f"{generator} ({SIMULATIONS[generator]} simulations)", fontsize=10)
        axis.legend(fontsize=8, loc="lower left", frameon=False, title="farthest out")
    _label(axes)
    figure.suptitle(
        "Generators that are wrong on purpose: seen where lines leave the band",
        fontsize=11,
    )
    figure.tight_layout()
    return figure


def ranks_figure(ranks: pd.DataFrame) -> Figure:
    """Return histograms of the ranks of some quantities under the right generator."""
    own = ranks[ranks["generator"] == "right"]
    figure, axes = plt.subplots(6, 4, figsize=(11, 11), sharex=True, sharey=True)
    edges = np.linspace(0.0, 1.0, _BINS + 1)
    low, high = binom.interval(0.99, len(own), 1.0 / _BINS)
    for axis, name in zip(axes.ravel(), _SHOWN, strict=False):
        place = (own[name].to_numpy() + 0.5) / (KEPT + 1)
        axis.axhspan(low, high, color="0.85", lw=0)
        axis.hist(place, bins=edges, histtype="step", color=_BLUE, lw=1.2)
        axis.set_title(name, fontsize=8.5)
    for axis in axes.ravel()[len(_SHOWN) :]:
        axis.set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel("rank of the truth / draws", fontsize=9)
    for axis in axes[:, 0]:
        axis.set_ylabel("simulations", fontsize=9)
    figure.suptitle(
        f"Rank histograms, {len(own)} simulations: flat if calibrated "
        "(grey: 99 % of single bins), U-shaped if too narrow, arched if too wide",
        fontsize=11,
    )
    figure.tight_layout()
    return figure


def _band(axis: Axes, count: int, content: float) -> None:
    place = np.arange(1, KEPT + 1) / (KEPT + 1.0)
    low, high = simultaneous_band(count, KEPT, content)
    axis.fill_between(place, low / count - place, high / count - place, color="0.88", lw=0)
    axis.axhline(0.0, color="0.5", lw=0.6)


def _ecdf(
    axis: Axes, ranks: pd.Series, color: str, alpha: float, style: str = "-", label: str = ""
) -> None:
    place = np.arange(1, KEPT + 1)
    below = (ranks.to_numpy()[:, None] < place).mean(axis=0)
    z = place / (KEPT + 1.0)
    axis.plot(z, below - z, style, color=color, alpha=alpha, lw=1.0, label=label or None)


def _label(axes: np.ndarray) -> None:
    for axis in axes[-1]:
        axis.set_xlabel("rank of the truth / number of draws")
    for axis in axes[:, 0]:
        axis.set_ylabel("share below, minus expected", fontsize=9)
