"""Draws for a reader to compute with: probabilities of response, and responses themselves.

Outcomes are the posterior predictive of each patient, and jointly of all: given one posterior draw,

* patients of a trial that the fit knows share its effects, which are part of the draw (an assay
  mean that the fit does not know is averaged over for each patient);
* rows that name the same unseen trial share that trial's level, treatment deviation and slopes. Its
  predictor means and rates are made of the same numbers too, for each row given what is known of
  that patient alone: what the other patients of the trial tell of them is not used, as in every
  prediction. Where nothing is known of the patients they are the same for all, and the joint
  distribution is exact; the distribution of each single row always is;
* rows that name different unseen trials share none of this; if they name the same unseen
  population they share its effect and slopes;
* a row that names no trial is in a trial of its own, and with no population named in a population
  of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ketpredict.patients import Rows
from ketpredict.posterior import Posterior
from ketpredict.predict import check_interval, response_draws, trial_draws
from ketpredict.unseen_trials import (
    TRIALS_PER_DRAW,
    UnseenTrials,
    numbers_of_population,
    numbers_of_trial,
    trial_probability,
)
from ketpredict.workers import check_seed

Names = Sequence[Any] | np.ndarray
_ROWS_AT_ONCE = 500


def probability_draws(posterior: Posterior, rows: Rows, kind: str = "average") -> np.ndarray:
    """Return draws of the probability of response, without the chance of the outcome itself.

    Parameters
    ----------
    kind : {"average", "trial"}
        Averaged over unseen trials, (draw, row); or in one of four unseen trials of each draw,
        (4 * draw, row). In a known trial the second repeats the first.

    Returns
    -------
    ndarray of shape (draw, row) or (4 * draw, row)
        Probability scale.

    Raises
    ------
    DataError
        `kind` is none of these.
    """
    check_interval(0.5, kind)
    return (response_draws if kind == "average" else trial_draws)(posterior, rows)


def draws_table(posterior: Posterior, rows: Rows, kind: str = "average") -> pd.DataFrame:
    """Return draws of the probability of response as a long table.

    Returns
    -------
    DataFrame
        ``row`` and ``draw`` (both from 0), ``trial`` (which of the unseen trials of the draw; 0
        where `kind` is "average") and ``probability``; sorted by row, then draw.
    """
    draws = probability_draws(posterior, rows, kind)
    trials = len(draws) // posterior.n_draws
    table = _long(draws, "probability")
    table.insert(2, "trial", table["draw"] % trials)
    table["draw"] //= trials
    return table


def sample_outcomes(
    posterior: Posterior,
    rows: Rows,
    *,
    trial: Names | None = None,
    population: Names | None = None,
    kind: str = "trial",
    seed: int = 0,
) -> np.ndarray:
    """Return draws of responses: the posterior predictive of every patient, jointly.

    Parameters
    ----------
    posterior : Posterior
    rows : Rows
    trial, population : sequence of length n_rows, optional
        Names, None or NaN where a row has none: rows of unseen trials do not carry them. See above
        for what rows of one name share.
    kind : {"trial", "average"}
        ``"trial"``: patients of one unseen trial are in it together. ``"average"``: each patient
        is in a trial of his or her own, so that given a draw all are independent.
    seed : int
        The numbers of a row depend on its place and on the names of its trial and population, not
        on the other rows.

    Returns
    -------
    ndarray of int8, shape (draw, row)
        1 response, 0 none.

    Raises
    ------
    DataError
        `kind` is none of these.
    """
    check_interval(0.5, kind)
    check_seed("seed", seed)
    probability = np.empty((len(rows), posterior.n_draws))
    together = _together(rows, trial, population) if kind == "trial" else {}
    apart = np.setdiff1d(np.arange(len(rows)), [i for index in together.values() for i in index])
    for start in range(0, len(apart), _ROWS_AT_ONCE):
        some = apart[start : start + _ROWS_AT_ONCE]
        probability[some] = response_draws(posterior, rows.take(some)).T
    for (trial_name, population_name), members in together.items():
        unseen = _unseen(posterior, trial_name, population_name, seed)
        own = np.array(members)

        def take(index: np.ndarray, found: np.ndarray, own: np.ndarray = own) -> None:
            probability[own[index]] = found[:, ::TRIALS_PER_DRAW]

        trial_probability(posterior.draws, rows.take(own), take, unseen=unseen)
    # Rows first: the numbers of a row stay the same whatever follows it.
    chance = np.random.default_rng(seed).random(probability.shape)
    return np.ascontiguousarray((chance < probability).T.astype(np.int8))


def outcomes_table(outcomes: np.ndarray) -> pd.DataFrame:
    """Return draws of responses as a long table.

    Parameters
    ----------
    outcomes : ndarray of shape (draw, row)
        From :func:`sample_outcomes`.

    Returns
    -------
    DataFrame
        ``row`` and ``draw`` (both from 0) and ``response`` (0 or 1); sorted by row, then draw.
    """
    return _long(outcomes, "response")


def _long(values: np.ndarray, name: str) -> pd.DataFrame:
    draws, rows = values.shape
    return pd.DataFrame(
        {
            "row": np.repeat(np.arange(rows), draws),
            "draw": np.tile(np.arange(draws), rows),
            name: values.T.ravel(),
        }
    )


def _together(
    rows: Rows, trial: Names | None, population: Names | None
) -> dict[tuple[str, str], list[int]]:
    """Return the rows that share an unseen trial or population, by the names of both.

    A row that shares neither is not among them: given the draw its outcome has the average
    probability. A known trial and a known population have an empty name.
    """
    found: dict[tuple[str, str], list[int]] = {}
    for i in np.flatnonzero(rows.new_trial | rows.new_population).tolist():
        of_trial, of_population = _name(trial, i), _name(population, i)
        named = bool(rows.new_trial[i] and of_trial), bool(rows.new_population[i] and of_population)
        if not any(named):
            continue
        own = f"trial {of_trial}" if named[0] else f"row {i}"
        where = f"population {of_population}" if named[1] else f"population of {own}"
        key = own if rows.new_trial[i] else "", where if rows.new_population[i] else ""
        found.setdefault(key, []).append(i)
    return found


def _name(names: Names | None, row: int) -> str:
    value = None if names is None else names[row]
    return "" if value is None or value != value else str(value)


def _unseen(posterior: Posterior, trial: str, population: str, seed: int) -> UnseenTrials:
    """Return the unseen trial of a name, in the population of a name."""
    draws = posterior.draws
    shape = len(draws) * TRIALS_PER_DRAW, numbers_of_trial(draws)
    uniform, of_population = (
        np.random.default_rng([seed, *name.encode()]).random(shape) for name in (trial, population)
    )
    shared = numbers_of_population(draws)
    uniform[:, shared] = of_population[:, shared]
    return UnseenTrials(draws, uniform)
