r"""Power-scaling: what a prior, or another part of the posterior, does to a quantity.

A component of density :math:`p(\theta)` is raised to a power :math:`\alpha` and the draws are
weighed by :math:`p(\theta)^{\alpha-1}`, without a refit (Kallioinen, Paananen, Bürkner and Vehtari
2024, Stat Comput 34:57). A normal prior to the power 2 has its SD divided by :math:`\sqrt2`; at
1/2 it is wider by the same factor.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ketpredict.importance import smoothed_weights

LIMIT = 0.05
"""Sensitivity from which on a quantity leans on a component (Kallioinen and others)."""
WEAKER, STRONGER = 0.5, 2.0
_NEAR = (0.99, 1.01)
_SHUFFLES, _SURE = 3, 0.95


@dataclasses.dataclass(frozen=True)
class PowerScaled:
    """What scaling one component does to quantities.

    Parameters
    ----------
    sensitivity : ndarray of shape (quantity,)
        Cumulative Jensen-Shannon distance that the quantity's distribution moves for a doubling of
        the power, as a rate at 1.
    shift : ndarray of shape (quantity,)
        SDs that its mean moves for a doubling of the power, as a rate at 1.
    error : ndarray of shape (quantity,)
        Monte Carlo standard error of `shift`.
    noise : float
        Sensitivity that 95 in 100 quantities stay below which have nothing to do with the
        component, for want of draws.
    weaker, stronger : ndarray of shape (quantity,)
        Its mean at powers 1/2 and 2.
    k_weaker, k_stronger : float
        Pareto shape of the weights that give these.
    """

    sensitivity: np.ndarray
    shift: np.ndarray
    error: np.ndarray
    noise: float
    weaker: np.ndarray
    stronger: np.ndarray
    k_weaker: float
    k_stronger: float


def power_scaled(
    draws: np.ndarray, log_density: np.ndarray, effective_draws: float | None = None
) -> PowerScaled:
    """Return what scaling a component does to quantities.

    Parameters
    ----------
    draws : ndarray of shape (draw, quantity)
    log_density : ndarray of shape (draw,)
        Of the component, up to a constant.
    effective_draws : float, optional
        How many independent draws these are worth; all of them by default.
    """
    effective = len(draws) if effective_draws is None else min(effective_draws, len(draws))
    distance, centred = draws - draws.mean(axis=0), log_density - log_density.mean()
    sd = distance.std(axis=0)
    product = distance * centred[:, None]
    # The derivative of a mean by log2 of the power is log 2 times the covariance.
    rate = math.log(2.0) / np.where(sd > 0, sd, 1.0)
    weaker, k_weaker = _means(draws, log_density, WEAKER)
    stronger, k_stronger = _means(draws, log_density, STRONGER)
    return PowerScaled(
        sensitivity=sensitivity(draws, log_density),
        shift=rate * product.mean(axis=0),
        error=rate * product.std(axis=0) / math.sqrt(max(effective, 1.0)),
        noise=_noise(draws, log_density, effective),
        weaker=weaker,
        stronger=stronger,
        k_weaker=k_weaker,
        k_stronger=k_stronger,
    )


def sensitivity(draws: np.ndarray, log_density: np.ndarray) -> np.ndarray:
    """Return the sensitivity of quantities to scaling a component, as ArviZ's ``psense`` has it.

    Returns
    -------
    ndarray of shape (quantity,)
        0 for a quantity or a component that does not vary.
    """
    from arviz_stats.base.array import array_stats

    result = np.zeros(draws.shape[1])
    varies = np.ptp(draws, axis=0) > 0
    if not varies.any() or not _varies(log_density):
        return result
    taken = draws[:, varies].T[:, None, :]
    below, above = (np.broadcast_to(_weights(log_density, p)[0], taken.shape) for p in _NEAR)
    result[varies] = array_stats.power_scale_sense(taken, below, above, *_NEAR)
    return result


def _noise(draws: np.ndarray, log_density: np.ndarray, effective: float) -> float:
    """Return the sensitivity that chance alone reaches: to the component's values in other order.

    It falls with the root of the number of independent draws.
    """
    rng = np.random.default_rng(0)
    found = [sensitivity(draws, rng.permutation(log_density)) for _ in range(_SHUFFLES)]
    more = math.sqrt(len(draws) / max(effective, 1.0))
    return float(np.quantile(found, _SURE)) * more


def _means(draws: np.ndarray, log_density: np.ndarray, power: float) -> tuple[np.ndarray, float]:
    """Return the means at a power, and the Pareto shape of the weights that give them."""
    weight, shape = _weights(log_density, power)
    return weight @ draws, shape


def _weights(log_density: np.ndarray, power: float) -> tuple[np.ndarray, float]:
    if not _varies(log_density):
        return np.full(len(log_density), 1.0 / len(log_density)), -np.inf
    found = smoothed_weights((power - 1.0) * log_density)
    return found.weight, found.pareto_k


def _varies(log_density: np.ndarray) -> bool:
    """Return whether a component can be scaled at all: a flat prior, or power 0, cannot."""
    finite = log_density[np.isfinite(log_density)]
    return bool(finite.size) and float(np.ptp(finite)) > 1e-12
