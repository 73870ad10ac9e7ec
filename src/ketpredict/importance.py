"""Importance sampling from a normal approximation: weights, how far they can be trusted, draws."""

from __future__ import annotations

import dataclasses

import numpy as np

PARETO_LIMIT = 0.7
"""Shape of importance weights above which they are not to be trusted."""


@dataclasses.dataclass(frozen=True)
class Weights:
    """What importance weights say of an approximation.

    Parameters
    ----------
    weight : ndarray of shape (draw,)
        Smoothed weights, which add up to 1.
    pareto_k : float
        Shape of the largest ratios' generalised Pareto distribution; infinite where it cannot be
        estimated. Above 0.7 the weights do not repair the approximation with any number of draws
        that can be afforded.
    effective_draws : float
        1 / sum of squared weights: how many draws of the posterior the weighted ones are worth.
    """

    weight: np.ndarray
    pareto_k: float
    effective_draws: float

    @property
    def usable(self) -> bool:
        """Whether weighted draws stand for the posterior."""
        return self.pareto_k <= PARETO_LIMIT


def smoothed_weights(log_ratio: np.ndarray) -> Weights:
    """Return Pareto-smoothed importance weights (Vehtari et al. 2024, J Mach Learn Res 25:72).

    Parameters
    ----------
    log_ratio : ndarray of shape (draw,)
        Log density of the posterior less that of the approximation, up to a constant. Draws where
        it is not finite (the density there is all but 0) have no weight.
    """
    from arviz_stats.base.array import array_stats

    weight = np.zeros(len(log_ratio))
    finite = np.isfinite(log_ratio)
    if not finite.any():
        return Weights(weight, float("inf"), 0.0)
    # ArviZ takes log likelihoods to leave out, whose ratios are their inverses.
    log_weight, shape = array_stats.psislw(-log_ratio[finite])
    weight[finite] = np.exp(log_weight - np.max(log_weight))
    weight /= weight.sum()
    k = float(shape)
    return Weights(weight, k if np.isfinite(k) else float("inf"), 1.0 / float((weight**2).sum()))


def resample(weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return indices of as many draws as there are weights, in random order.

    Systematic resampling: a draw of weight w is taken floor(w n) or ceil(w n) times.
    """
    count = len(weight)
    steps = (np.arange(count) + rng.random()) / count
    index = np.searchsorted(np.cumsum(weight), steps)
    return rng.permutation(np.minimum(index, count - 1))
