r"""The joint model of the predictors against the patients that it was fitted to, trial by trial.

Every draw of the posterior makes the patients anew, from their trial's means and rates and the
common law within trials, one person at a time (:mod:`ketpredict.simulated_patients`, which shares
no formula with the fit). What is missing in a patient is deleted again. Means and rates are fitted
to the very trial, so that they agree nearly always; standard deviations and correlations, which the
trials share, are where a wrong law shows.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from ketpredict.design import Design
from ketpredict.discrepancies import family_of_scores, mid_p_value
from ketpredict.errors import DataError
from ketpredict.posterior import Posterior
from ketpredict.simulated_patients import draw_values
from ketpredict.stored_design import design_of

FEWEST_PEOPLE = 8
"""People of a trial who must know a predictor, or both of a pair, before it is checked."""
_DRAWS = 400


def predictor_table(
    posterior: Posterior, prob: float = 0.9, seed: int = 0
) -> tuple[pd.DataFrame, float]:
    """Return what patients' predictors look like in each trial, observed and replicated.

    Parameters
    ----------
    prob : float
        Probability content of the replicated interval.
    seed : int

    Returns
    -------
    table : DataFrame
        ``trial``, ``predictor`` (or a pair, ``A and B``), ``what`` (mean, SD, rate or
        correlation), ``n``, ``observed``, ``lower``, ``median``, ``upper`` (reference scale) and
        ``p_value`` (two-sided). Empty where no trial has eight patients who know a predictor.
    p_value : float
        Family-wise over all rows.

    Raises
    ------
    DataError
        The patients have weights that are not whole numbers.
    """
    design = design_of(posterior)
    weight = design.people.weight
    if not np.allclose(weight, weight.round()):
        raise DataError("Patients with weights that are not whole cannot be replicated one by one.")
    index = np.repeat(np.arange(len(weight)), weight.round().astype(int))
    law, observed = design.people.law_idx[index], design.people.value[index]
    trial = design.people.trial_idx[index]
    asked = _asked(design, trial, observed)
    if not asked:
        return pd.DataFrame(columns=["trial", "predictor", "what", "n", "observed"]), 1.0
    rng = np.random.default_rng(seed)
    some = np.linspace(0, posterior.n_draws - 1, min(_DRAWS, posterior.n_draws)).astype(int)
    cell = design.mean_cell[law]
    values = [_statistics(observed, trial, asked)]
    for draw in some:
        parameters = {name: array[draw] for name, array in posterior.parameters.items()}
        mean = np.pad(parameters["trial_mean"], (0, 1))[cell]
        made, _ = draw_values(mean, parameters, posterior.predictors, rng)
        values.append(_statistics(np.where(np.isnan(observed), np.nan, made), trial, asked))
    return _table(design, trial, observed, asked, np.array(values), prob)


def _asked(
    design: Design, trial: np.ndarray, value: np.ndarray
) -> list[tuple[int, str, tuple[int, ...]]]:
    """Return trial, statistic and predictors of everything that enough people tell."""
    asked: list[tuple[int, str, tuple[int, ...]]] = []
    for t in range(len(design.trials)):
        told = ~np.isnan(value[trial == t])
        for k, predictor in enumerate(design.predictors):
            if told[:, k].sum() >= FEWEST_PEOPLE:
                kinds = ("rate",) if predictor.kind == "binary" else ("mean", "SD")
                asked += [(t, kind, (k,)) for kind in kinds]
        for pair in combinations(range(len(design.predictors)), 2):
            if told[:, pair].all(axis=1).sum() >= FEWEST_PEOPLE:
                asked.append((t, "correlation", pair))
    return asked


def _statistics(
    value: np.ndarray, trial: np.ndarray, asked: list[tuple[int, str, tuple[int, ...]]]
) -> np.ndarray:
    result = np.zeros(len(asked))
    for place, (t, what, columns) in enumerate(asked):
        own = value[trial == t][:, columns]
        own = own[~np.isnan(own).any(axis=1)]
        if what == "SD":
            result[place] = own.std(ddof=1)
        elif what == "correlation":
            spread = own.std(axis=0)
            # Of a binary predictor that everybody or nobody has there is no correlation.
            if spread.all():
                result[place] = np.corrcoef(own.T)[0, 1]
        else:
            result[place] = own.mean()
    return result


def _table(
    design: Design,
    trial: np.ndarray,
    value: np.ndarray,
    asked: list[tuple[int, str, tuple[int, ...]]],
    found: np.ndarray,
    prob: float,
) -> tuple[pd.DataFrame, float]:
    tails = [(1.0 - prob) / 2.0, 0.5, (1.0 + prob) / 2.0]
    limits = np.quantile(found[1:], tails, axis=0).T
    rows: list[dict[str, Any]] = []
    for place, (t, what, columns) in enumerate(asked):
        told = ~np.isnan(value[trial == t][:, columns]).any(axis=1)
        rows.append(
            {
                "trial": design.trials[t],
                "predictor": " and ".join(design.predictor_names[k] for k in columns),
                "what": what,
                "n": int(told.sum()),
                "observed": found[0, place],
                **dict(zip(("lower", "median", "upper"), limits[place], strict=True)),
                "p_value": mid_p_value(found[1:, place], found[0, place]),
            }
        )
    scores = found.copy()
    # SDs and correlations on the scales where they are nearly normal.
    for place, (_, what, _) in enumerate(asked):
        if what == "SD":
            scores[:, place] = np.log(np.maximum(found[:, place], 1e-12))
        elif what == "correlation":
            scores[:, place] = np.arctanh(np.clip(found[:, place], -0.999, 0.999))
    return pd.DataFrame(rows), family_of_scores(scores)[0]
