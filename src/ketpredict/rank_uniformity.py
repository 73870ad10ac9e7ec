r"""Are ranks uniform? Exact p-values and simultaneous bands for calibration by simulation.

Where parameters are drawn from the prior and data from the likelihood, the rank of the true value
among :math:`L` independent posterior draws is uniform on :math:`0, \ldots, L` (Cook, Gelman and
Rubin 2006, J Comput Graph Stat 15:675; Talts et al. 2018, arXiv:1804.06788). Of :math:`n` ranks let
:math:`N_k` be how many are below :math:`k`. The statistic is that of Säilynoja, Bürkner and Vehtari
(2022, Stat Comput 32:32): with :math:`z_k = k/(L + 1)`,

.. math:: \gamma = \min\{1,\; 2 \min_k \min\{ P(B_k \le N_k),\; P(B_k \ge N_k) \}\}, \qquad
          B_k \sim \text{Binomial}(n, z_k).

Its law is worked out exactly: given :math:`N_k = m`, the next :math:`N_{k+1} - m` is
:math:`\text{Binomial}(n - m, 1/(L + 1 - k))`, so that the probability of staying inside limits is a
product of matrices. ArviZ simulates it, which says nothing of the small probabilities that a family
of many quantities needs.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import binom

_HALVINGS = 40


def uniformity_p_value(ranks: np.ndarray, highest: int) -> float:
    """Return the probability that uniform ranks lie as far from uniform as these, or farther.

    Parameters
    ----------
    ranks : ndarray of int, shape (n,)
        From 0 to `highest`, both included; ties broken at random.
    highest : int
        Number of posterior draws that each rank is among.
    """
    ranks = np.asarray(ranks)
    n, places = len(ranks), np.arange(1, highest + 1)
    below = (ranks[:, None] < places).sum(axis=0)
    smallest = _tails(below, n, highest).min()
    if smallest >= 1.0:
        return 1.0  # every count is at its median
    return float(1.0 - _inside(*_limits(smallest, n, highest), n, highest))


def simultaneous_band(n: int, highest: int, content: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the band in which the empirical distribution of uniform ranks stays as a whole.

    Parameters
    ----------
    n : int
        Number of ranks.
    highest : int
    content : float
        Probability of staying inside everywhere; at least that.

    Returns
    -------
    lowest, highest : ndarray of int, shape (highest,)
        Fewest and most ranks below 1, 2, ..., `highest`.
    """
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if _inside(*_limits(middle, n, highest), n, highest) >= content:
            low = middle
        else:
            high = middle
    return _limits(low, n, highest)


def family_p_values(p_values: np.ndarray) -> np.ndarray:
    """Return p-values adjusted for the size of their family (Holm 1979, Scand J Stat 6:65)."""
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values)
    factor = len(p_values) - np.arange(len(p_values))
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factor * p_values[order]))
    return adjusted


def _tails(below: np.ndarray, n: int, highest: int) -> np.ndarray:
    """Return twice the smaller tail probability of each count."""
    z = np.arange(1, highest + 1) / (highest + 1.0)
    return 2.0 * np.minimum(binom.cdf(below, n, z), binom.sf(below - 1, n, z))


def _limits(tail: float, n: int, highest: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the fewest and most counts at each place whose tails are both above a value."""
    z = np.arange(1, highest + 1) / (highest + 1.0)
    counts = np.arange(n + 1)[:, None]
    # A value that is the tail of a count itself must be outside, whatever its last digit.
    inside = 2.0 * np.minimum(binom.cdf(counts, n, z), binom.sf(counts - 1, n, z)) > (
        tail * (1.0 + 1e-9)
    )
    return inside.argmax(axis=0), n - inside[::-1].argmax(axis=0)


def _inside(lowest: np.ndarray, most: np.ndarray, n: int, highest: int) -> float:
    """Return the probability that all counts lie within their limits."""
    if (lowest > most).any():
        return 0.0
    start, chance = 0, np.ones(1)
    for k in range(highest):
        there = np.arange(lowest[k], most[k] + 1)
        here = start + np.arange(len(chance))
        step = there[None, :] - here[:, None]
        moves = binom.pmf(step, (n - here)[:, None], 1.0 / (highest + 1.0 - k))
        chance, start = chance @ moves, int(lowest[k])
    return float(np.minimum(1.0, chance.sum()))
