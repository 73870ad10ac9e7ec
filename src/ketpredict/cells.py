"""Cells: which means and rates the trials have, and who reports them.

A *law* is a trial with one assay. Assay-dependent biomarkers have a mean for each law, since levels
of different assays cannot be compared; all other predictors have one mean (or rate) for each trial.
Each mean or rate is one *cell*, a parameter of the predictor model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ketpredict.predictors import Predictor


@dataclasses.dataclass(frozen=True)
class Cells:
    """Means and rates of all laws.

    Parameters
    ----------
    mean_cell : ndarray of int, shape (law, predictor)
        Index into `cells`; -1 for an assay-dependent biomarker that the law does not measure.
    cells : ndarray of int, shape (cell, 2)
        Law (the first of its trial, where they share the cell) and predictor; those that somebody
        reports stand first.
    n_reported : int
    """

    mean_cell: np.ndarray
    cells: np.ndarray
    n_reported: int


def arm_summary(arms: pd.DataFrame, predictor: Predictor) -> tuple[np.ndarray, np.ndarray]:
    """Return mean (or proportion) and standard deviation of one predictor in every arm.

    Returns
    -------
    mean, sd : ndarray of shape (arm,)
        Reference scale; NaN where the arm does not publish it, and for the SD of a binary one.
    """
    nothing = np.full(len(arms), np.nan)

    def column(suffix: str) -> np.ndarray:
        name = f"{predictor.name}_{suffix}"
        return arms[name].to_numpy(float) if name in arms else nothing

    if predictor.kind == "binary":
        return column("pct") / 100.0, nothing
    mean, sd = column("mean"), column("sd")
    if predictor.transform == "log":
        # Moments of a log-normal: the arm publishes them on the original scale. Without an SD the
        # reference's stands in to find the mean.
        log_variance = np.where(np.isnan(sd), predictor.scale**2, np.log1p((sd / mean) ** 2))
        on_scale = predictor.to_scale(mean * np.exp(-log_variance / 2.0))
        return on_scale, np.where(np.isnan(sd), np.nan, np.sqrt(log_variance) / predictor.scale)
    return predictor.to_scale(mean), sd / predictor.scale


def find_cells(
    law_trial: np.ndarray,
    predictors: Sequence[Predictor],
    law_idx: np.ndarray,
    known: np.ndarray,
) -> Cells:
    """Return the cells of all laws.

    Parameters
    ----------
    law_trial : ndarray of int, shape (law,)
        Trial of each law.
    law_idx : ndarray of int, shape (row,)
    known : ndarray of bool, shape (row, predictor)
        Whether the row, of people or an arm, tells the predictor's value or summary.
    """
    laws = len(law_trial)
    first_of_trial = np.array([int(np.argmax(law_trial == trial)) for trial in law_trial])
    found: list[tuple[bool, int, int]] = []
    owner = np.full((laws, len(predictors)), -1)
    for k, predictor in enumerate(predictors):
        shared = np.arange(laws) if predictor.assay_dependent else first_of_trial
        reported = np.zeros(laws, dtype=bool)
        reported[shared[law_idx[known[:, k]]]] = True
        for law in sorted(set(shared.tolist())):
            if reported[law] or not predictor.assay_dependent:
                found.append((not reported[law], law, k))
        owner[:, k] = shared
    found.sort()
    place = {(law, k): i for i, (_, law, k) in enumerate(found)}
    mean_cell = np.array(
        [[place.get((int(law), k), -1) for k, law in enumerate(row)] for row in owner], dtype=int
    ).reshape(laws, len(predictors))
    return Cells(
        mean_cell=mean_cell,
        cells=np.array([(law, k) for _, law, k in found], dtype=int).reshape(-1, 2),
        n_reported=sum(not silent for silent, _, _ in found),
    )


def trial_values(
    trials: int, trial_idx: np.ndarray, value: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Return the mean (or rate) that each trial reports, (trial, predictor); NaN where none."""
    result = np.full((trials, value.shape[1]), np.nan)
    for k in range(value.shape[1]):
        known = ~np.isnan(value[:, k])
        size = np.bincount(trial_idx[known], weight[known], trials)
        total = np.bincount(trial_idx[known], weight[known] * value[known, k], trials)
        with np.errstate(invalid="ignore", divide="ignore"):
            result[:, k] = total / size
    return result
