"""Prediction: the only path from posterior draws and rows of patients to probabilities.

Nothing is drawn at random for a row: missing predictors and unseen trials and populations are
integrated out, so that a result does not depend on the other rows or on their order. NumPy and
``scipy.special`` are all it needs.

Two distributions are offered for a trial that the fit has not seen. The *average* probability is
averaged over trials in every draw; its interval is parameter uncertainty. The probability *in one
trial* also varies between trials; its interval is the wider. In a trial that the fit knows the two
are the same.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ketpredict.averages import average_probability
from ketpredict.errors import DataError
from ketpredict.patients import Rows
from ketpredict.posterior import Posterior
from ketpredict.unseen_trials import TRIALS_PER_DRAW, trial_probability

INTERVAL_KINDS = ("trial", "average")
_ROWS_AT_ONCE = 500


def response_draws(posterior: Posterior, rows: Rows) -> np.ndarray:
    """Return draws of the probability of response, averaged over unseen trials.

    Returns
    -------
    ndarray of shape (draw, row)
        Probability scale; no outcome noise.
    """
    # Rows first in memory: a mean over draws then adds in one order, however many rows there are.
    result = np.empty((len(rows), posterior.n_draws))
    for index, probability in average_probability(posterior.draws, rows):
        result[index] = probability.T
    return result.T


def trial_draws(posterior: Posterior, rows: Rows) -> np.ndarray:
    """Return draws of the probability of response in one trial, unseen ones included.

    Every posterior draw meets four unseen trials, made of the same numbers for all rows (a shifted
    lattice with a fixed seed). What is known of a patient says something about the
    trial that the patient is in, so that its means and rates follow their law given that; over many
    trials the average of these probabilities is that of :func:`response_draws`.

    Returns
    -------
    ndarray of shape (4 * draw, row)
    """
    result = np.empty((len(rows), posterior.n_draws * TRIALS_PER_DRAW))
    seen = np.flatnonzero(~rows.new_trial & ~rows.new_population)
    for index, probability in average_probability(posterior.draws, rows.take(seen)):
        result[seen[index]] = np.repeat(probability.T, TRIALS_PER_DRAW, axis=1)
    other = np.flatnonzero(rows.new_trial | rows.new_population)
    for index, probability in trial_probability(posterior.draws, rows.take(other)):
        result[other[index]] = probability.T
    return result.T


def interval(posterior: Posterior, rows: Rows, prob: float, kind: str = "trial") -> np.ndarray:
    """Return equal-tailed intervals of the probability of response.

    Parameters
    ----------
    prob : float
        Probability content, between 0 and 1.
    kind : {"trial", "average"}
        In one trial (the default, wider for unseen trials), or averaged over trials.

    Returns
    -------
    ndarray of shape (row, 2)
        Lower and upper limit.

    Raises
    ------
    DataError
        `prob` or `kind` is none of these.
    """
    check_interval(prob, kind)
    tails = _tails(prob)
    # In a known trial there is no other trial to vary over: both kinds are the same numbers.
    in_unseen = (rows.new_trial | rows.new_population) & (kind == "trial")
    limits = np.empty((len(rows), 2))
    for of, draws in ((~in_unseen, response_draws), (in_unseen, trial_draws)):
        index = np.flatnonzero(of)
        for start in range(0, len(index), _ROWS_AT_ONCE):
            part = index[start : start + _ROWS_AT_ONCE]
            limits[part] = np.quantile(draws(posterior, rows.take(part)), tails, axis=0).T
    return limits


def check_interval(prob: float, kind: str = "trial") -> None:
    """Refuse a probability content or a kind of interval that there is not."""
    if kind not in INTERVAL_KINDS:
        raise DataError(f"kind is {kind!r}; expected 'trial' or 'average'.")
    if not isinstance(prob, (int, float)) or not 0 < prob < 1:
        raise DataError(f"prob is {prob!r}; expected a number between 0 and 1, such as 0.9.")


def _tails(prob: float) -> list[float]:
    return [(1.0 - prob) / 2.0, (1.0 + prob) / 2.0]


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Probability of response of each row and both intervals.

    Parameters
    ----------
    probability : ndarray of shape (row,)
        Mean over draws, averaged over unseen trials.
    average_interval, trial_interval : ndarray of shape (row, 2)
        As :func:`interval` returns them.
    """

    probability: np.ndarray
    average_interval: np.ndarray
    trial_interval: np.ndarray


def predictions(posterior: Posterior, rows: Rows, prob: float) -> Predictions:
    """Return probabilities and both intervals; draws that they share are worked out once."""
    check_interval(prob)
    tails = _tails(prob)
    found = Predictions(np.empty(len(rows)), np.empty((len(rows), 2)), np.empty((len(rows), 2)))
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = np.arange(start, min(start + _ROWS_AT_ONCE, len(rows)))
        some = rows.take(part)
        average = response_draws(posterior, some)
        found.probability[part] = average.mean(axis=0)
        found.average_interval[part] = np.quantile(average, tails, axis=0).T
        found.trial_interval[part] = found.average_interval[part]
        unseen = np.flatnonzero(some.new_trial | some.new_population)
        if len(unseen):
            in_trial = trial_draws(posterior, some.take(unseen))
            found.trial_interval[part[unseen]] = np.quantile(in_trial, tails, axis=0).T
    return found


@dataclasses.dataclass(frozen=True)
class UncertaintyParts:
    """Why the probability of each row is uncertain: variances on the probability scale.

    Parameters
    ----------
    parameters : ndarray of shape (row,)
        Variance over draws of the probability averaged over trials: what more evidence of the same
        kind would remove.
    between_trials : ndarray of shape (row,)
        Variance over unseen trials (and populations), averaged over draws: what only evidence from
        the patient's own trial would remove. 0 in a known trial.
    """

    parameters: np.ndarray
    between_trials: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """Variance of the probability in the one trial that the patient is in."""
        return self.parameters + self.between_trials

    @property
    def parameters_sd(self) -> np.ndarray:
        """Standard deviation due to parameters."""
        return np.asarray(np.sqrt(self.parameters))

    @property
    def between_trials_sd(self) -> np.ndarray:
        """Standard deviation between trials."""
        return np.asarray(np.sqrt(self.between_trials))

    @property
    def total_sd(self) -> np.ndarray:
        """Standard deviation of the probability in the one trial that the patient is in."""
        return np.asarray(np.sqrt(self.total))


def uncertainty_parts(posterior: Posterior, rows: Rows) -> UncertaintyParts:
    """Return the uncertainty of each row's probability, that about parameters and that of trials.

    The variance of a probability in one trial is the variance over draws of its average over
    trials, plus the average over draws of its variance over trials. The second is the mean squared
    distance of the probabilities in unseen trials from the exact average of their draw, which four
    trials for each draw estimate without bias.

    Returns
    -------
    UncertaintyParts
    """
    parameters, between = np.zeros(len(rows)), np.zeros(len(rows))
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = np.arange(start, min(start + _ROWS_AT_ONCE, len(rows)))
        some = rows.take(part)
        average = response_draws(posterior, some)
        parameters[part] = average.var(axis=0)
        integrated = np.flatnonzero(some.new_trial | some.new_population)
        in_trial = trial_draws(posterior, some.take(integrated))
        distance = in_trial - np.repeat(average[:, integrated], TRIALS_PER_DRAW, axis=0)
        between[part[integrated]] = (distance**2).mean(axis=0)
    return UncertaintyParts(parameters=parameters, between_trials=between)
