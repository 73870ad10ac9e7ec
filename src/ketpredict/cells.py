"""Cells: what is known of each predictor in each unit, filled from the rest of the trial.

A level of an **assay-dependent** biomarker means something only beside others of the same assay. It
is centred on its trial's mean, so that its slope compares patients of one trial and the trial's
level, which is mostly the assay's, says nothing about response.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ketpredict.predictors import Predictor


@dataclasses.dataclass(frozen=True)
class FilledCells:
    """Cells of all units.

    Parameters
    ----------
    value, variance : ndarray of shape (unit, predictor)
    unreported_idx : ndarray of int, shape (unit, predictor)
        Index into `unreported`; its length where the cell needs no parameter.
    unreported : ndarray of int, shape (unreported, 2)
        Trial and predictor of each mean or rate that is a parameter.
    trial_values : ndarray of shape (trial, predictor)
        Mean (reference scale, not centred) or rate of what each trial reports, else NaN.
    """

    value: np.ndarray
    variance: np.ndarray
    unreported_idx: np.ndarray
    unreported: np.ndarray
    trial_values: np.ndarray


def arm_summary(arms: pd.DataFrame, predictor: Predictor) -> tuple[np.ndarray, np.ndarray]:
    """Return mean (or rate) and individual variance of one predictor in every arm."""
    nothing = np.full(len(arms), np.nan)

    def column(suffix: str) -> np.ndarray:
        name = f"{predictor.name}_{suffix}"
        return arms[name].to_numpy(float) if name in arms else nothing

    if predictor.kind == "binary":
        rate = column("pct") / 100.0
        return rate, np.where(np.isnan(rate), np.nan, 0.0)
    mean, sd = column("mean"), column("sd")
    if predictor.transform == "log":
        # Moments of a log-normal: the arm publishes them on the original scale. Without an SD the
        # reference's stands in, here as in the variance below.
        log_variance = np.where(np.isnan(sd), predictor.scale**2, np.log1p((sd / mean) ** 2))
        mean, sd = mean * np.exp(-log_variance / 2.0), np.sqrt(log_variance)
    on_scale = predictor.to_scale(mean)
    variance = np.where(np.isnan(sd), 1.0, (sd / predictor.scale) ** 2)
    return on_scale, np.where(np.isnan(on_scale), np.nan, variance)


def fill_cells(
    rows: pd.DataFrame, trials: Sequence[str], predictors: Sequence[Predictor]
) -> FilledCells:
    """Return all cells: known ones as they are, missing ones from their trial or as parameters.

    Parameters
    ----------
    rows : DataFrame
        With columns ``trial``, ``n``, and ``value:NAME`` and ``variance:NAME`` of each predictor,
        missing where unknown.
    """
    trial_idx = rows["trial"].map({name: i for i, name in enumerate(trials)}).to_numpy(int)
    weights = rows["n"].to_numpy(float)
    shape = (len(rows), len(predictors))
    value, variance, own = np.empty(shape), np.empty(shape), np.full(shape, -1)
    trial_values = np.full((len(trials), len(predictors)), np.nan)
    unreported: list[tuple[int, int]] = []
    for k, predictor in enumerate(predictors):
        value[:, k] = rows[f"value:{predictor.name}"].to_numpy(float)
        variance[:, k] = rows[f"variance:{predictor.name}"].to_numpy(float)
        missing = np.isnan(value[:, k])
        variance[missing, k] = 1.0 if predictor.kind == "continuous" else 0.0
        for trial in range(len(trials)):
            here = trial_idx == trial
            known = here & ~missing
            if known.any():
                trial_values[trial, k] = np.average(value[known, k], weights=weights[known])
                value[here & missing, k] = trial_values[trial, k]
            else:
                value[here, k] = 0.0
        if predictor.assay_dependent:
            value[:, k] -= np.nan_to_num(trial_values[trial_idx, k])
            continue
        for t in np.flatnonzero(np.isnan(trial_values[:, k])):
            own[trial_idx == t, k] = len(unreported)
            unreported.append((int(t), k))
    own[own < 0] = len(unreported)
    return FilledCells(
        value, variance, own, np.array(unreported, dtype=int).reshape(-1, 2), trial_values
    )
