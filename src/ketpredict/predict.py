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
from collections.abc import Callable

import numpy as np

from ketpredict.averages import average_probability
from ketpredict.errors import DataError
from ketpredict.patients import Rows
from ketpredict.posterior import Posterior
from ketpredict.short_form import ShortForm
from ketpredict.unseen_trials import TRIALS_PER_DRAW, trial_probability

Take = Callable[[np.ndarray, np.ndarray], None]
"""What is given the index of rows and their (row, draw) probabilities."""

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

    def take(index: np.ndarray, probability: np.ndarray) -> None:
        result[index] = probability

    average_probability(posterior.draws, rows, take)
    return result.T


def mean_probability(posterior: Posterior, rows: Rows, cores: int | None = None) -> np.ndarray:
    """Return the posterior mean of the probability of response, averaged over unseen trials.

    The numbers are those of ``response_draws(...).mean(axis=0)``, without holding the draws.

    Parameters
    ----------
    cores : int, optional
        Threads to use; all that the process may use by default. It changes no number.

    Returns
    -------
    ndarray of shape (row,)
    """
    result = np.empty(len(rows))

    def take(index: np.ndarray, probability: np.ndarray) -> None:
        result[index] = probability.mean(axis=1)

    average_probability(posterior.draws, rows, take, cores)
    return result


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

    def take(index: np.ndarray, probability: np.ndarray) -> None:
        result[index] = probability

    def take_average(index: np.ndarray, probability: np.ndarray) -> None:
        result[index] = np.repeat(probability, TRIALS_PER_DRAW, axis=1)

    unseen = _in_unseen(rows)
    average_probability(posterior.draws, *_of(rows, ~unseen, take_average))
    trial_probability(posterior.draws, *_of(rows, unseen, take))
    return result.T


def _in_unseen(rows: Rows) -> np.ndarray:
    """Return which rows are in a trial or population that the fit does not know."""
    return np.asarray(rows.new_trial | rows.new_population)


def _of(rows: Rows, which: np.ndarray, take: Take) -> tuple[Rows, Take]:
    """Return some of the rows, and a taker of theirs that knows them by their place among all."""
    place = np.flatnonzero(which)

    def of_all(index: np.ndarray, probability: np.ndarray) -> None:
        take(place[index], probability)

    return rows.take(place), of_all


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
    tails, limits = _tails(prob), np.empty((len(rows), 2))

    def take(index: np.ndarray, probability: np.ndarray) -> None:
        limits[index] = np.quantile(probability, tails, axis=1).T

    # In a known trial there is no other trial to vary over: both kinds are the same numbers.
    varied = _in_unseen(rows) & (kind == "trial")
    average_probability(posterior.draws, *_of(rows, ~varied, take))
    trial_probability(posterior.draws, *_of(rows, varied, take))
    return limits


def check_interval(prob: float, kind: str = "trial") -> None:
    """Refuse a probability content or a kind of interval that there is not."""
    if kind not in INTERVAL_KINDS:
        raise DataError(f"kind is {kind!r}; expected 'trial' or 'average'.")
    if not isinstance(prob, (int, float)) or not 0 < prob < 1:
        raise DataError(f"prob is {prob!r}; expected a number between 0 and 1, such as 0.9.")


def _tails(prob: float) -> list[float]:
    return [(1.0 - prob) / 2.0, (1.0 + prob) / 2.0]


@dataclasses.dataclass(frozen=True, repr=False)
class Predictions(ShortForm):
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


def predictions(
    posterior: Posterior, rows: Rows, prob: float, cores: int | None = None
) -> Predictions:
    """Return probabilities and both intervals; draws that they share are worked out once.

    Parameters
    ----------
    prob : float
        Probability content of the intervals, between 0 and 1.
    cores : int, optional
        Threads to use; all that the process may use by default. It changes no number.
    """
    check_interval(prob)
    tails = _tails(prob)
    found = Predictions(np.empty(len(rows)), np.empty((len(rows), 2)), np.empty((len(rows), 2)))

    def take(index: np.ndarray, probability: np.ndarray) -> None:
        found.probability[index] = probability.mean(axis=1)
        found.average_interval[index] = np.quantile(probability, tails, axis=1).T

    def take_trial(index: np.ndarray, probability: np.ndarray) -> None:
        found.trial_interval[index] = np.quantile(probability, tails, axis=1).T

    average_probability(posterior.draws, rows, take, cores)
    unseen = _in_unseen(rows)
    found.trial_interval[~unseen] = found.average_interval[~unseen]
    trial_probability(posterior.draws, *_of(rows, unseen, take_trial), cores)
    return found


@dataclasses.dataclass(frozen=True, repr=False)
class UncertaintyParts(ShortForm):
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
        integrated = np.flatnonzero(_in_unseen(some))
        in_trial = trial_draws(posterior, some.take(integrated))
        distance = in_trial - np.repeat(average[:, integrated], TRIALS_PER_DRAW, axis=0)
        between[part[integrated]] = (distance**2).mean(axis=0)
    return UncertaintyParts(parameters=parameters, between_trials=between)
