"""Importance weights of draws: smoothed, how far they can be trusted, and draws by them.

Every weight of the package is made here, since Pareto smoothing as libraries have it fails where a
question is trivial: ratios that do not vary, or hardly a tail.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.special import logsumexp

PARETO_LIMIT = 0.7
"""Shape of importance weights above which they are not to be trusted."""
_FEWEST = 25
"""Draws of which a tail of a fifth has the five that its shape can be estimated from."""
_HARDLY = 1.0
"""Log ratios within this range of each other leave four fifths of the draws' worth, whatever their
tail: weights w1 and w2 in equal parts are worth (w1 + w2)^2 / 2 (w1^2 + w2^2) of the draws."""


@dataclasses.dataclass(frozen=True)
class Weights:
    """What importance weights say of an approximation.

    Parameters
    ----------
    log_weight : ndarray of shape (draw,)
        Logarithms of the smoothed weights, which add up to 1; -inf for a draw without weight.
    pareto_k : float
        Shape of the largest ratios' generalised Pareto distribution. Above 0.7 the weights do not
        repair the approximation with any number of draws that can be afforded. Infinite where it
        cannot be estimated; -inf where there is nothing to estimate, because the ratios do not
        vary, or by less than a factor of e.
    """

    log_weight: np.ndarray
    pareto_k: float

    @property
    def weight(self) -> np.ndarray:
        """The weights themselves; all 0 where no draw has any."""
        return np.asarray(np.exp(self.log_weight))

    @property
    def effective_draws(self) -> float:
        """1 / sum of squared weights: how many draws the weighted ones are worth."""
        squared = float((self.weight**2).sum())
        return 1.0 / squared if squared > 0 else 0.0

    @property
    def usable(self) -> bool:
        """Whether weighted draws stand for what they are weighted to."""
        return self.pareto_k <= PARETO_LIMIT


def smoothed_weights(log_ratio: np.ndarray) -> Weights:
    """Return Pareto-smoothed importance weights (Vehtari et al. 2024, J Mach Learn Res 25:72).

    Parameters
    ----------
    log_ratio : ndarray of shape (draw,)
        Log density of what is asked for less that of what the draws are from, up to a constant;
        of data left out, their negative log likelihood. Draws where it is -inf or NaN (the
        density there is all but 0) have no weight. Where it is +inf, those draws have it all.

    Returns
    -------
    Weights
        For any number of draws, also for too few or too equal ones to have a tail.
    """
    from arviz_stats.base.array import array_stats

    ratio = np.asarray(log_ratio, dtype=float)
    log_weight = np.full(ratio.shape, -np.inf)
    if np.isposinf(ratio).any():
        infinite = np.isposinf(ratio)
        log_weight[infinite] = -np.log(infinite.sum())
        return Weights(log_weight, np.inf)
    finite = np.isfinite(ratio)
    if not finite.any():
        return Weights(log_weight, np.inf)
    given = ratio[finite] - ratio[finite].max()
    log_weight[finite] = given - logsumexp(given)
    untold = -np.inf if np.ptp(given) <= _HARDLY else np.inf
    if len(given) < _FEWEST:
        return Weights(log_weight, untold)
    try:
        # Where nearly all weight is on one draw, the smoothed tail passes every number.
        with np.errstate(all="ignore"):
            # ArviZ takes log likelihoods to leave out, whose ratios are their inverses.
            smoothed, shape = array_stats.psislw(-given)
    except ValueError:  # all draws of the tail are equal
        return Weights(log_weight, untold)
    if not (np.isfinite(shape) and np.isfinite(smoothed).all()):
        return Weights(log_weight, untold)
    log_weight[finite] = smoothed - logsumexp(smoothed)
    return Weights(log_weight, float(shape))


def resample(weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return indices of as many draws as there are weights, in random order.

    Systematic resampling: a draw of weight w is taken floor(w n) or ceil(w n) times.
    """
    count = len(weight)
    steps = (np.arange(count) + rng.random()) / count
    index = np.searchsorted(np.cumsum(weight), steps)
    return rng.permutation(np.minimum(index, count - 1))
