"""Tables of leave-one-out: every unit's prediction, measures by trial, measures pooled."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from ketpredict.design import Design
from ketpredict.held_out import Held
from ketpredict.left_out import Fold
from ketpredict.pooled_measures import pool
from ketpredict.validation_measures import LOG_ODDS, large_measure, missing, patient_measures

POOLED = ("c_statistic", "calibration_in_the_large", "calibration_slope", "brier", "log_score")
_ONE_BY_ONE = ("c_statistic", "calibration_slope", "brier", "log_score")
_MOST_DRAWS = 400


def unit_table(design: Design, folds: Sequence[Fold], held: Sequence[Held]) -> pd.DataFrame:
    """Return one row for each unit that was predicted.

    Returns
    -------
    DataFrame
        ``fold``, the columns of :meth:`ketpredict.design.Design.labels`, ``control`` (whether the
        arm is one), ``probability``
        (posterior mean), ``error`` (Monte Carlo), ``lower`` and ``upper`` (of the probability in
        one new trial), ``log_score``, and ``pit`` of arms (the predictive probability of fewer
        responders plus half that of as many).
    """
    labels = design.labels().assign(control=design.units.active == 0)
    parts = [
        labels.iloc[fold.units].assign(
            fold=fold.name,
            probability=one.probability,
            error=one.error,
            lower=one.lower,
            upper=one.upper,
            log_score=one.log_score,
            pit=one.pit,
        )
        for fold, one in zip(folds, held, strict=True)
    ]
    table = pd.concat(parts, ignore_index=True)
    return table[["fold", *[name for name in table if name != "fold"]]]


def trial_table(
    design: Design, folds: Sequence[Fold], held: Sequence[Held], prob: float
) -> pd.DataFrame:
    """Return every measure of every trial.

    Returns
    -------
    DataFrame
        ``fold``, ``trial``, ``population``, ``kind`` (patients or arm), ``n``, ``responders``,
        ``measure``, ``estimate``, ``standard_error``, ``lower`` and ``upper`` (sampling of
        patients), ``posterior_lower`` and ``posterior_upper`` (over draws), and ``reason`` where a
        measure cannot be had. See :mod:`ketpredict.validation_measures` for each.
    """
    labels, rows = design.labels(), []
    for fold, one in zip(folds, held, strict=True):
        units = labels.iloc[fold.units].reset_index(drop=True)
        few = one.draws[np.linspace(0, len(one.draws) - 1, _MOST_DRAWS).astype(int)]
        for (trial, kind), index in units.groupby(["trial", "kind"]).indices.items():
            here, mean, draws = units.iloc[index], one.probability[index], few[:, index]
            n, responders = here["n"].to_numpy(float), here["responders"].to_numpy(float)
            if kind == "arm":
                found = [large_measure(responders, n, mean, draws, prob)]
            elif not np.array_equal(n, np.round(n)):
                found = [
                    large_measure(responders, n, mean, draws, prob),
                    *[
                        missing(name, "Rows have weights that are not whole")
                        for name in _ONE_BY_ONE
                    ],
                ]
            else:
                place, response = _one_by_one(responders, n)
                found = patient_measures(response, mean[place], draws[:, place], prob)
            about = {
                "fold": fold.name,
                "trial": trial,
                "population": " and ".join(sorted(set(here["population"]))),
                "kind": kind,
                "n": float(n.sum()),
                "responders": float(responders.sum()),
            }
            for measure in found:
                columns = dataclasses.asdict(measure)
                rows.append({**about, "measure": columns.pop("name"), **columns})
    return pd.DataFrame(rows)


def _one_by_one(responders: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return unit and response of each patient, where equal patients stand in one unit."""
    yes, no = responders.astype(int), (n - responders).astype(int)
    place = np.concatenate([np.repeat(np.arange(len(n)), yes), np.repeat(np.arange(len(n)), no)])
    return place, np.repeat([1.0, 0.0], [yes.sum(), no.sum()])


def pooled_table(trials: pd.DataFrame, prob: float) -> pd.DataFrame:
    """Return each measure pooled over trials, on its own scale.

    Returns
    -------
    DataFrame
        ``measure``, ``kind``, ``trials``, ``estimate``, ``lower``, ``upper``,
        ``prediction_lower``, ``prediction_upper`` (the next trial) and ``tau`` (between trials; of
        the c-statistic on the log odds). NaN with fewer than three trials.
    """
    rows = []
    for kind in sorted(set(trials["kind"]), reverse=True):
        for name in POOLED:
            here = trials[(trials["measure"] == name) & (trials["kind"] == kind)]
            if not len(here):
                continue
            estimate = here["estimate"].to_numpy(float)
            error = here["standard_error"].to_numpy(float)
            if name in LOG_ODDS:
                inside = np.where((estimate > 0) & (estimate < 1), estimate, np.nan)
                error, estimate = error / (inside * (1.0 - inside)), logit(inside)
            columns = dataclasses.asdict(pool(estimate, error, prob))
            if name in LOG_ODDS:
                scale = ("estimate", "lower", "upper", "prediction_lower", "prediction_upper")
                columns |= {key: float(expit(columns[key])) for key in scale}
            rows.append({"measure": name, "kind": kind, **columns})
    return pd.DataFrame(rows)


def comparison_table(
    refit: tuple[pd.DataFrame, pd.DataFrame], importance: tuple[pd.DataFrame, pd.DataFrame]
) -> pd.DataFrame:
    """Return what refits and importance sampling say of the same folds.

    Parameters
    ----------
    refit, importance : tuple of DataFrame
        Folds and units of each way.

    Returns
    -------
    DataFrame
        ``fold``, ``pareto_k``, ``quantity``, ``refit``, ``refit_error``, ``importance``,
        ``importance_error``, ``difference`` and ``standardised`` (by both Monte Carlo errors). The
        quantities are the predicted share of responders, the joint log score, and the probability
        of the unit whose standardised difference is the largest.
    """
    rows = []
    for place, name in enumerate(refit[0]["fold"]):
        folds = [folds.iloc[place] for folds, _ in (refit, importance)]
        units = [units[units["fold"] == name] for _, units in (refit, importance)]
        found = {
            "share of responders": [(one["share"], one["share_error"]) for one in folds],
            "joint log score": [(one["joint_log_score"], one["joint_error"]) for one in folds],
        }
        both = [one[["probability", "error"]].to_numpy(float) for one in units]
        apart = np.abs(both[1][:, 0] - both[0][:, 0]) / np.hypot(both[0][:, 1], both[1][:, 1])
        worst = int(np.argmax(apart))
        words = f"probability, most different of {len(apart)}"
        found[words] = [(one[worst, 0], one[worst, 1]) for one in both]
        for quantity, ((first, error), (second, other)) in found.items():
            rows.append(
                {
                    "fold": name,
                    "pareto_k": folds[1]["pareto_k"],
                    "quantity": quantity,
                    "refit": first,
                    "refit_error": error,
                    "importance": second,
                    "importance_error": other,
                    "difference": second - first,
                    "standardised": (second - first) / np.hypot(error, other),
                }
            )
    return pd.DataFrame(rows)
