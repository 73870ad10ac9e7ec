r"""Convergence of chains for many quantities at once: R-hat, bulk and tail effective sample sizes.

Vehtari et al. 2021, Bayesian Anal 16:667. Every chain is split in two. R-hat is the larger of two
square roots of total over within-chain variance, that of normal scores of the ranks and that of the
scores of distances from the median. The effective sample size is :math:`S / \tau` with

.. math:: \tau = -1 + 2\sum_{k<J} \min_{i \le k} P_i + \rho_{2J}, \qquad
          P_k = \rho_{2k} + \rho_{2k+1},

where the autocorrelation :math:`\rho_t` is :math:`1 - (W - \bar\gamma_t) / V` and :math:`J` the
first pair that is not positive (Geyer 1992): of the scores for the bulk, and for the tails of the
indicators of being below a quantile. ArviZ does the same for one quantity at a time;
``tests/test_chain_statistics.py`` holds the two together.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import ndtri

from ketpredict.workers import thread_pool

FEWEST_DRAWS = 4
"""Draws of a chain, below which nothing can be said."""
# Quantities in one block: their draws stay in a core's cache, and blocks are shared among threads.
_BLOCK = 12


@dataclasses.dataclass(frozen=True)
class ChainStatistics:
    """Statistics of each quantity; NaN where there are too few draws or chains.

    Parameters
    ----------
    rhat, ess_bulk, ess_tail : ndarray of shape (quantity,)
    """

    rhat: np.ndarray
    ess_bulk: np.ndarray
    ess_tail: np.ndarray


def chain_statistics(values: np.ndarray, tails: tuple[float, float]) -> ChainStatistics:
    """Return the convergence statistics of draws.

    Parameters
    ----------
    values : ndarray of shape (chain, draw, quantity)
        Finite.
    tails : tuple of float
        Probabilities of the quantiles that the tail ESS is of.
    """
    chains, draws, count = values.shape
    if draws < FEWEST_DRAWS or count == 0:
        return ChainStatistics(*np.full((3, count), np.nan))
    by_quantity = np.moveaxis(values, -1, 0)
    blocks = [by_quantity[start : start + _BLOCK] for start in range(0, count, _BLOCK)]
    with thread_pool() as pool:
        # Sorting and transforms leave the interpreter.
        found = list(pool.map(lambda block: _statistics(block, tails), blocks))
    rhat, bulk, tail = np.concatenate(found, axis=1)
    return ChainStatistics(rhat if chains > 1 else np.full(count, np.nan), bulk, tail)


def _statistics(values: np.ndarray, tails: tuple[float, float]) -> np.ndarray:
    """Return R-hat, bulk and tail ESS of values (quantity, chain, draw), (3, quantity)."""
    values = np.ascontiguousarray(values, dtype=float)
    split = _split(values)
    scores = _normal_scores(split)
    centre = np.median(split, axis=(1, 2), keepdims=True)
    bulk, folded = _rhat(scores), _rhat(_normal_scores(np.abs(split - centre)))
    quantiles = np.quantile(values, tails, axis=(1, 2), keepdims=True)
    low, high = (_ess(_split((values <= quantile).astype(float))) for quantile in quantiles)
    # Distances from the median may be all alike, and their R-hat then is not a number.
    rhat = np.where(folded > bulk, folded, bulk)
    return np.stack([rhat, _ess(scores), np.minimum(low, high)])


def _split(values: np.ndarray) -> np.ndarray:
    """Return each chain as two; the middle one of an odd number of draws is left out."""
    half = values.shape[2] // 2
    return np.concatenate([values[..., :half], values[..., -half:]], axis=1)


def _normal_scores(values: np.ndarray) -> np.ndarray:
    """Return normal quantiles of the ranks over all chains; equal values share their mean rank."""
    flat = values.reshape(len(values), -1)
    size = flat.shape[1]
    order = np.argsort(flat, axis=1)
    ordered = np.take_along_axis(flat, order, axis=1)
    place = np.broadcast_to(np.arange(size), flat.shape)
    differs = ordered[:, 1:] != ordered[:, :-1]
    if differs.all():
        first_and_last = 2 * place
    else:
        edge = np.ones((len(flat), 1), dtype=bool)
        first = np.where(np.hstack([edge, differs]), place, 0)
        last = np.where(np.hstack([differs, edge]), place, size - 1)
        first = np.maximum.accumulate(first, axis=1)
        last = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]
        first_and_last = first + last
    # Mean ranks, from 1, are multiples of a half: each quantile is worked out once.
    rank = 1.0 + np.arange(2 * size - 1) / 2.0
    quantile = ndtri((rank - 0.375) / (size + 0.25))
    scores = np.empty_like(flat)
    np.put_along_axis(scores, order, quantile[first_and_last], axis=1)
    return scores.reshape(values.shape)


def _rhat(values: np.ndarray) -> np.ndarray:
    draws = values.shape[2]
    within = values.var(axis=2, ddof=1).mean(axis=1)
    between = draws * values.mean(axis=2).var(axis=1, ddof=1)
    # Chains that stand still have no variance within: infinite, or not a number if all are alike.
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.sqrt((between / within + draws - 1.0) / draws))


def _ess(values: np.ndarray) -> np.ndarray:
    """Return the effective sample size of the mean of each quantity."""
    count, chains, draws = values.shape
    size = chains * draws
    means = values.mean(axis=2, keepdims=True)
    length = next_fast_len(2 * draws)
    transform = rfft(values - means, n=length, axis=2)
    power = (transform.real**2 + transform.imag**2).mean(axis=1)
    covariance = irfft(power, n=length, axis=1)[:, :draws] / draws
    within = covariance[:, :1] * draws / (draws - 1.0)
    total = covariance[:, :1] + means.var(axis=1, ddof=1) if chains > 1 else covariance[:, :1]
    constant = np.ptp(values, axis=(1, 2)) < np.finfo(float).resolution
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = 1.0 - (within - covariance) / total
    correlation[:, 0] = 1.0
    last = max(0, (draws - 3) // 2)
    even, odd = correlation[:, : 2 * last + 1 : 2], correlation[:, 1 : 2 * last + 2 : 2]
    pairs = even + odd
    ends = ~(pairs > 0.0)
    ends[:, last] = True
    end = ends.argmax(axis=1)
    row = np.arange(count)
    falling = np.minimum.accumulate(pairs, axis=1)
    falling[np.arange(last + 1) >= end[:, None]] = 0.0
    rest, pair = even[row, end], pairs[row, end]
    rest = np.where((pair >= 0.0) | (rest > 0.0), rest, 0.0)
    # Antithetic chains are worth more than their draws, but only so much.
    time = np.maximum(-1.0 + 2.0 * falling.sum(axis=1) + rest, 1.0 / np.log10(size))
    return np.where(constant, float(size), size / time)
