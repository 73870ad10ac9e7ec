r"""The joint model of the predictors against the patients that it was fitted to, trial by trial.

Every draw of the posterior makes the patients anew, from their trial's means and rates and the
common law within trials, one person at a time (:mod:`ketpredict.simulated_patients`, which shares
no formula with the fit). What is missing in a patient is deleted again. Means and rates are fitted
to the very trial, so that they agree nearly always; standard deviations and correlations, which the
trials share, are where a wrong law shows.

These two are *deleted*: a trial's :math:`y_t`, the logarithm of an SD (sampling variance near
:math:`1/(2(n_t - 1))`, Bartlett and Kendall 1946, Suppl J R Stat Soc 8:128) or Fisher's z of a
correlation (near :math:`1/(n_t - 3)`), is compared with the same of all other trials,

.. math:: y_t - \frac{\sum_{j \ne t} w_j y_j}{\sum_{j \ne t} w_j}, \qquad
          w_j = n_j - 1 \ \text{or} \ n_j - 3 .

The common law cancels in the difference. A faulty trial widens the fitted law, and with it the
replicates of a plain SD; it cannot widen those of the difference. What all trials have in common,
:math:`\sum_j w_j y_j / \sum_j w_j`, is judged beside them: a law that is wrong in every trial alike
shows there.
"""

from __future__ import annotations

import dataclasses
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
from ketpredict.workers import check_seed

FEWEST_PEOPLE = 8
"""People of a trial who must know a predictor, or both of a pair, before it is checked."""
_DRAWS = 400
_MOST_AT_ONCE = 4_000_000


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
        ``trial`` (``all``: together), ``predictor`` (or a pair, ``A and B``), ``what`` (mean, SD,
        rate or correlation), ``n``, ``observed``, ``lower``, ``median``, ``upper`` (reference
        scale), ``others`` (what the other trials have in common, of SDs and correlations; NaN
        elsewhere) and ``p_value`` (two-sided; of SDs and correlations that of the difference from
        `others`).
        Empty where no trial has eight patients who know a predictor.
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
    check_seed("seed", seed)
    rng = np.random.default_rng(seed)
    some = np.linspace(0, posterior.n_draws - 1, min(_DRAWS, posterior.n_draws)).astype(int)
    cell = design.mean_cell[law]
    found = [_statistics(observed[None], asked)]
    size = max(1, _MOST_AT_ONCE // observed.size)
    for start in range(0, len(some), size):
        made = np.empty((len(some[start : start + size]), *observed.shape))
        for place, draw in enumerate(some[start : start + size]):
            parameters = {name: array[draw] for name, array in posterior.parameters.items()}
            mean = np.pad(parameters["trial_mean"], (0, 1))[cell]
            made[place], _ = draw_values(mean, parameters, posterior.predictors, rng)
        found.append(_statistics(made, asked))
    return _table(design, asked, np.concatenate(found), prob)


@dataclasses.dataclass(frozen=True)
class _Asked:
    """A statistic of one or two predictors of a trial, and the people who tell them."""

    trial: int
    what: str
    columns: tuple[int, ...]
    people: np.ndarray


def _asked(design: Design, trial: np.ndarray, value: np.ndarray) -> list[_Asked]:
    """Return every statistic that enough people tell."""
    asked = []
    told = ~np.isnan(value)
    for t in range(len(design.trials)):
        wanted: list[tuple[str, tuple[int, ...]]] = [
            (what, (k,))
            for k, predictor in enumerate(design.predictors)
            for what in (("rate",) if predictor.kind == "binary" else ("mean", "SD"))
        ]
        pairs = combinations(range(len(design.predictors)), 2)
        wanted += [("correlation", pair) for pair in pairs]
        for what, columns in wanted:
            people = np.flatnonzero((trial == t) & told[:, columns].all(axis=1))
            if len(people) >= FEWEST_PEOPLE:
                asked.append(_Asked(t, what, columns, people))
    return asked


def _statistics(value: np.ndarray, asked: list[_Asked]) -> np.ndarray:
    """Return (data set, statistic) of values of shape (data set, person, predictor)."""
    result = np.zeros((len(value), len(asked)))
    for place, one in enumerate(asked):
        own = [value[:, one.people, k] for k in one.columns]
        if one.what == "SD":
            result[:, place] = own[0].std(axis=1, ddof=1)
        elif one.what == "correlation":
            first, second = (x - x.mean(axis=1, keepdims=True) for x in own)
            size = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
            both = (first * second).sum(axis=1)
            # Of a binary predictor that everybody or nobody has there is no correlation.
            result[:, place] = np.divide(both, size, out=np.zeros_like(both), where=size > 1e-12)
        else:
            result[:, place] = own[0].mean(axis=1)
    return result


@dataclasses.dataclass(frozen=True)
class _Judged:
    """What is judged: a statistic of a trial (or of all), its score, and what others have.

    Parameters
    ----------
    value, score : ndarray of shape (data set,)
        As people read it, and on the scale where it is nearly normal, less the other trials'.
    """

    trial: str
    of: _Asked
    n: int
    value: np.ndarray
    score: np.ndarray
    others: float


def _judged(design: Design, asked: list[_Asked], found: np.ndarray) -> list[_Judged]:
    """Return each trial's statistics beside the other trials', and those of all trials together."""
    alike: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for place, one in enumerate(asked):
        alike.setdefault((one.what, one.columns), []).append(place)
    result = []
    for (what, _), places in alike.items():
        value, people = found[:, places], np.array([len(asked[i].people) for i in places])
        forth, back, lost = _SCALES.get(what, (np.asarray, np.asarray, 0.0))
        score, weight = forth(value), people - lost
        pooled = score @ weight / weight.sum()
        for column, place in enumerate(places):
            own, others = score[:, column], float("nan")
            if what in _SCALES and len(places) > 1:
                rest = (pooled * weight.sum() - own * weight[column]) / (
                    weight.sum() - weight[column]
                )
                own, others = own - rest, float(back(rest[0]))
            one = asked[place]
            name, n = design.trials[one.trial], int(people[column])
            result.append(_Judged(name, one, n, value[:, column], own, others))
        if what in _SCALES and len(places) > 1:
            common = back(pooled)
            result.append(_Judged("all", one, int(people.sum()), common, pooled, float("nan")))
    return result


def _log(value: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(np.maximum(value, 1e-12)))


def _fisher(value: np.ndarray) -> np.ndarray:
    return np.asarray(np.arctanh(np.clip(value, -0.999, 0.999)))


_SCALES: dict[str, tuple[Any, Any, float]] = {
    "SD": (_log, np.exp, 1.0),
    "correlation": (_fisher, np.tanh, 3.0),
}
"""Statistics that trials share: the scale where they are nearly normal, back, and what their
weight lacks to the number of people."""


def _table(
    design: Design, asked: list[_Asked], found: np.ndarray, prob: float
) -> tuple[pd.DataFrame, float]:
    tails = [(1.0 - prob) / 2.0, 0.5, (1.0 + prob) / 2.0]
    judged = _judged(design, asked, found)
    rows: list[dict[str, Any]] = []
    for one in judged:
        limits = np.quantile(one.value[1:], tails)
        rows.append(
            {
                "trial": one.trial,
                "predictor": " and ".join(design.predictor_names[k] for k in one.of.columns),
                "what": one.of.what,
                "n": one.n,
                "observed": one.value[0],
                **dict(zip(("lower", "median", "upper"), limits, strict=True)),
                "others": one.others,
                "p_value": mid_p_value(one.score[1:], one.score[0]),
            }
        )
    scores = np.column_stack([one.score for one in judged])
    return pd.DataFrame(rows), family_of_scores(scores)[0]
