r"""Calibration curves by group: observed response against predicted, with consistency bands.

The curve is the isotonic (pool-adjacent-violators) regression of the responses on the predicted
probabilities, which needs no bins and no bandwidth (the CORP reliability diagram of Dimitriadis,
Gneiting and Jordan 2021, PNAS 118:e2016191118). The band is the same regression of what the model
replicates: where the model is right, the curve lies in it. Replicates of one draw share its
parameters, so that the band holds what they have in common (a trial's level) too.

*Miscalibration* is how much the isotonic regression improves the Brier score,
:math:`\sum_i n_i[(\bar y_i - p_i)^2 - (\bar y_i - c_i)^2] / \sum_i n_i`; its p-value is the share
of replicates with at least as much. ArviZ draws such curves for all data at once
(``plot_ppc_pava``); groups are what is added here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from ketpredict.discrepancies import family_of_statistics
from ketpredict.errors import DataError
from ketpredict.posterior import Posterior
from ketpredict.replicates import KNOWN_TRIAL, NEW_TRIAL, probability_draws, unit_labels
from ketpredict.short_form import ShortForm
from ketpredict.stored_design import design_of
from ketpredict.tables import records
from ketpredict.workers import check_seed

BY = ("population",)
_MOST_REPLICATES = 20_000_000
_FEWEST_DRAWS, _MOST_DRAWS = 200, 2000


@dataclasses.dataclass(frozen=True, repr=False)
class Calibration(ShortForm):
    """Calibration curves of groups.

    Parameters
    ----------
    curves : DataFrame
        One row for each distinct predicted probability of a group: the columns that it was grouped
        by, ``probability``, ``observed`` (isotonic), ``lower`` and ``upper`` (of replicates,
        pointwise) and ``n``.
    table : DataFrame
        One row per group: ``n``, ``responders``, ``expected`` (responders), ``miscalibration``
        (Brier score) and ``p_value``.
    p_value : float
        Family-wise over groups: how often a replicated data set has a group as far off.
    by : tuple of str
    setting : str
    """

    curves: pd.DataFrame
    table: pd.DataFrame
    p_value: float
    by: tuple[str, ...]
    setting: str

    def as_table(self) -> dict[str, Any]:
        """Return plain lists, texts and numbers, for JSON."""
        return {
            "setting": self.setting,
            "p_value": self.p_value,
            "groups": records(self.table),
            "curves": records(self.curves),
        }


def calibration(
    posterior: Posterior,
    by: Sequence[str] = BY,
    setting: str = KNOWN_TRIAL,
    kind: str = "patients",
    prob: float = 0.9,
    seed: int = 0,
) -> Calibration:
    """Return calibration curves of patients, of arms or of both, by group.

    Parameters
    ----------
    by : sequence of str
        Columns of :func:`ketpredict.replicates.unit_labels`; ``("kind",)`` gives one curve for all
        patients.
    setting : {"known_trial", "new_trial"}
        Predicted in the trial as fitted, or as a new trial.
    kind : {"patients", "arm", "both"}
        An arm is a point of weight `n`; it knows no single patient.
    prob : float
        Probability content of the bands.
    seed : int

    Raises
    ------
    DataError
        There is nobody of that kind, or see :func:`ketpredict.replicates.replicate`.
    """
    design = design_of(posterior)
    labels = unit_labels(design)
    wanted = np.ones(len(labels), dtype=bool) if kind == "both" else labels["kind"] == kind
    index = np.flatnonzero(wanted)
    if not len(index):
        raise DataError(f"There are no {kind} in this fit, so there is nothing to calibrate.")
    check_seed("seed", seed)
    rng = np.random.default_rng([seed, int(setting == NEW_TRIAL)])
    most = int(np.clip(_MOST_REPLICATES // len(index), _FEWEST_DRAWS, _MOST_DRAWS))
    probability = probability_draws(posterior, index, setting, rng, by=by, most=most)
    n, responders = design.units.n[index], design.units.responders[index]
    counts = np.vstack([responders, rng.binomial(n.astype(int), probability)])
    mean = probability.mean(axis=0)
    part = labels.iloc[index].reset_index(drop=True)
    keys = part[list(by)].agg(tuple, axis=1)
    curves, rows, scores = [], [], {}
    for key, place in part.groupby(keys, sort=True).indices.items():
        named = dict(zip(by, cast("tuple[Any, ...]", key), strict=True))
        curve, off = calibration_curve(mean[place], counts[:, place], n[place], prob)
        curves.append(curve.assign(**named)[[*by, *curve.columns]])
        scores[str(key)] = off
        rows.append(
            named
            | {"n": n[place].sum(), "responders": responders[place].sum()}
            | {"expected": float(mean[place] @ n[place]), "miscalibration": float(off[0])}
            | {"p_value": float((off >= off[0]).mean())}
        )
    p_value, _ = family_of_statistics(pd.DataFrame(scores), upper_only=True)
    return Calibration(
        pd.concat(curves, ignore_index=True), pd.DataFrame(rows), p_value, tuple(by), setting
    )


def calibration_curve(
    probability: np.ndarray, counts: np.ndarray, n: np.ndarray, prob: float = 0.9
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return one calibration curve with its band, and the miscalibration of every data set.

    Parameters
    ----------
    probability : ndarray of shape (row,)
    counts : ndarray of shape (1 + draw, row)
        Responders observed (first) and replicated.
    n : ndarray of shape (row,)

    Returns
    -------
    curve : DataFrame
        ``probability``, ``observed``, ``lower``, ``upper``, ``n``.
    miscalibration : ndarray of shape (1 + draw,)
    """
    # Predictions equal but for rounding are one point: the order within them would be a choice.
    point, place = np.unique(probability.round(12), return_inverse=True)
    people = np.bincount(place, n)
    responders = np.stack([np.bincount(place, row) for row in counts])
    rate = responders / people
    fitted = np.stack([isotonic_regression(row, weights=people).x for row in rate])
    gain = people * ((rate - point) ** 2 - (rate - fitted) ** 2)
    tails = [(1.0 - prob) / 2.0, (1.0 + prob) / 2.0]
    lower, upper = np.quantile(fitted[1:], tails, axis=0)
    curve = pd.DataFrame(
        {"probability": point, "observed": fitted[0], "lower": lower, "upper": upper, "n": people}
    )
    return curve, gain.sum(axis=1) / people.sum()
