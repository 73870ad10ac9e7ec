r"""How far a posterior still lies where its prior does: the overlap of the two densities.

The overlap :math:`\int \min(f, g)` is 1 where the two agree and 0 where they share nothing; it does
not change when a quantity is transformed. Where the densities cross at most twice, as a prior and a
posterior that is narrower, wider or elsewhere do, it is :math:`1 - V`, :math:`V` the largest
difference of the distribution functions upwards plus the largest downwards (Kuiper 1960, Indag
Math 63:38); where they cross more often :math:`1 - V` is larger than the overlap.

An overlap near 1 says that the posterior is the prior. It cannot tell data that say nothing from
data that agree with the prior; and a parameter that nobody reports can move by what others say.
"""

from __future__ import annotations

import numpy as np

_NOISE = 2.75
"""Mean square of Kuiper's statistic, times the number of draws, of two samples of one law."""


def density_overlap(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return the overlap of posterior and prior, quantity by quantity.

    Parameters
    ----------
    after, before : ndarray of shape (draw, ...)
        Any numbers of draws.

    Returns
    -------
    ndarray of the quantities' own shape
        Between 0 and 1; NaN where the prior does not vary. What two samples of one law differ by
        is taken off for independent draws: of autocorrelated ones an overlap of 1 comes out a
        few hundredths lower.
    """
    shape = after.shape[1:]
    one, other = (draws.reshape(len(draws), -1) for draws in (after, before))
    found = [_overlap(one[:, k], other[:, k]) for k in range(one.shape[1])]
    return np.array(found, dtype=float).reshape(shape)


def _overlap(after: np.ndarray, before: np.ndarray) -> float:
    if not np.ptp(before) > 0:
        return float("nan")
    points = np.unique(np.concatenate([after, before]))
    gap = _distribution(after, points) - _distribution(before, points)
    distance = max(float(gap.max()), 0.0) + max(float(-gap.min()), 0.0)
    noise = _NOISE * (1.0 / len(after) + 1.0 / len(before))
    return float(1.0 - np.sqrt(np.clip(distance**2 - noise, 0.0, 1.0)))


def _distribution(draws: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the share of draws up to each point."""
    return np.asarray(np.searchsorted(np.sort(draws), points, side="right") / len(draws))
