"""Predictions of a fold by draws that have not seen it: patients and arms, as of a new trial.

Units stand in an unseen trial of their population. A population and an arm that no other trial has
are those of the draws: without data their effects are draws from the prior, given what published
effects say. Draws may carry weights.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.special import xlog1py, xlogy
from scipy.stats import binom

from ketpredict.chain_statistics import chain_statistics
from ketpredict.design import Design
from ketpredict.left_out import Fold
from ketpredict.posterior import Posterior
from ketpredict.predict import response_draws, trial_draws
from ketpredict.unit_outcome import patient_rows
from ketpredict.unseen_arms import unseen_arm_probability

_TAILS = (0.05, 0.95)
_SMALLEST = 1e-300


@dataclasses.dataclass(frozen=True)
class Held:
    """What was predicted of a fold. Units are in the order of the fold.

    Parameters
    ----------
    probability : ndarray of shape (unit,)
        Posterior mean prediction, averaged over unseen trials.
    error : ndarray of shape (unit,)
        Its Monte Carlo standard error.
    draws : ndarray of shape (draw, unit)
        Draws of the probability averaged over unseen trials, all of equal weight.
    lower, upper : ndarray of shape (unit,)
        Interval of the probability in the one unseen trial.
    log_score : ndarray of shape (unit,)
        Logarithm of the predictive probability of the unit's responders, each unit by itself.
    pit : ndarray of shape (unit,)
        Predictive probability of fewer responders plus half that of as many; NaN for a patient.
    mean, mean_error : float
        Predicted share of responders of the whole fold, and its Monte Carlo standard error.
    """

    probability: np.ndarray
    error: np.ndarray
    draws: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    log_score: np.ndarray
    pit: np.ndarray
    mean: float
    mean_error: float


def predict_fold(
    posterior: Posterior, design: Design, fold: Fold, prob: float, weight: np.ndarray | None = None
) -> Held:
    """Return the predictions of a fold.

    Parameters
    ----------
    posterior : Posterior
        Draws that have not seen the fold, or that `weight` makes such.
    design : Design
        The whole, with the units of the fold.
    prob : float
        Probability content of the intervals.
    weight : ndarray of shape (draw,), optional
        Weights of the draws, summing to 1.
    """
    # An unseen trial has the index one past the last trial of the draws.
    design = dataclasses.replace(design, trials=tuple(posterior.coords["trial"]))
    units, count = design.units, posterior.n_draws
    chosen = np.arange(count) if weight is None else _resampled(weight)
    share = np.full(count, 1.0 / count) if weight is None else weight
    size = len(fold.units)
    average, limits = np.empty((count, size)), np.empty((2, size))
    log_score, pit = np.empty(size), np.full(size, np.nan)
    tails = [(1.0 - prob) / 2.0, (1.0 + prob) / 2.0]
    is_arm = units.is_arm[fold.units] > 0
    patients = np.flatnonzero(~is_arm)
    if len(patients):
        rows = patient_rows(design, fold.units[patients], unseen=True)
        average[:, patients] = response_draws(posterior, rows)
        in_trial = trial_draws(posterior, rows).reshape(count, -1, len(patients))[chosen]
        limits[:, patients] = np.quantile(in_trial, tails, axis=(0, 1))
        mean = share @ average[:, patients]
        responders, n = (getattr(units, name)[fold.units[patients]] for name in ("responders", "n"))
        log_score[patients] = xlogy(responders, mean) + xlog1py(n - responders, -mean)
    for place in np.flatnonzero(is_arm):
        unit = int(fold.units[place])
        probability, of_points = unseen_arm_probability(posterior.draws, design, unit)
        average[:, place] = (of_points * probability).sum(axis=1)
        whole = share[:, None] * of_points
        limits[:, place] = _weighted_quantiles(probability.ravel(), whole.ravel(), tails)
        n, responders = units.n[unit], units.responders[unit]
        here = float((whole * binom.pmf(responders, n, probability)).sum())
        below = float((whole * binom.cdf(responders - 1.0, n, probability)).sum())
        log_score[place], pit[place] = np.log(max(here, _SMALLEST)), below + 0.5 * here
    people = units.n[fold.units] / units.n[fold.units].sum()
    together = np.column_stack([average, average @ people])
    mean = share @ together
    error = monte_carlo_error(posterior, (together - mean) * (share * count)[:, None])
    return Held(
        probability=mean[:-1],
        error=error[:-1],
        draws=average[chosen],
        lower=limits[0],
        upper=limits[1],
        log_score=log_score,
        pit=pit,
        mean=float(mean[-1]),
        mean_error=float(error[-1]),
    )


def monte_carlo_error(posterior: Posterior, values: np.ndarray) -> np.ndarray:
    """Return the Monte Carlo standard error of the mean of each column of draws.

    Parameters
    ----------
    values : ndarray of shape (draw, quantity)
        For a weighted mean, weights times number of draws times distances from the mean.
    """
    chains, draws = posterior.groups["posterior"]["intercept"].shape[:2]
    by_chain = values.reshape(chains, draws, -1)
    deviation, size = values.std(axis=0, ddof=1), np.full(values.shape[1], float(len(values)))
    varies = deviation > 0
    if varies.any():
        size[varies] = chain_statistics(by_chain[..., varies], _TAILS).ess_bulk
    return np.asarray(deviation / np.sqrt(np.where(np.isfinite(size), size, len(values))))


def _resampled(weight: np.ndarray) -> np.ndarray:
    """Return draws as often as their weights ask for, by systematic resampling."""
    count = len(weight)
    place = (np.arange(count) + 0.5) / count
    return np.minimum(np.searchsorted(np.cumsum(weight), place), count - 1)


def _weighted_quantiles(value: np.ndarray, weight: np.ndarray, tails: list[float]) -> np.ndarray:
    order = np.argsort(value)
    below = np.cumsum(weight[order])
    place = np.searchsorted(below, np.array(tails) * below[-1])
    return np.asarray(value[order][np.minimum(place, len(value) - 1)])
