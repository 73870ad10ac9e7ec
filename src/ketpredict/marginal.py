r"""Averages of the response probability over what is not known, exact or by one-dimensional sums.

With the probit link every average over normal variation is a normal integral,

.. math:: E\,\Phi(a + \textstyle\sum_k b_k x_k) = \Phi\{(a + b'm)/\sqrt{1 + b'Sb}\},
          \quad x \sim N(m, S).

Where a slope is unknown too (an unseen trial) and meets a missing predictor, their product is not
normal. Its characteristic function is known, and Gil-Pelaez inversion (1951, Biometrika 38:481)
gives the probability as one sum for any number of missing predictors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from ketpredict.equations import pattern_weight, unit_intercept, unit_slope
from ketpredict.predictors import Predictor

# In units of the normal part's own standard deviation the characteristic function is below 4e-10
# beyond the last node, and the sum aliases only values more than pi / 0.15 = 21 units from zero.
_STEP = 0.15
_NODES = (np.arange(44) + 0.5) * _STEP
_FARTHEST = 9.0
ASSUMED_BETWEEN_TRIAL_SD = 0.5
"""Where no reference is known: trial means vary half as much as patients within a trial."""


def normal_average(mean: Any, variance: Any) -> np.ndarray:
    """Return the probability of response when the linear predictor is normal.

    Parameters
    ----------
    mean, variance : array_like
        Of the linear predictor, without the patient's own unit variance.
    """
    return ndtr(mean / np.sqrt(1.0 + variance))


def product_average(
    mean: np.ndarray, variance: np.ndarray, products: Sequence[tuple[Any, Any, Any, Any]]
) -> np.ndarray:
    r"""Return the probability of response when products of two normals join the linear predictor.

    Parameters
    ----------
    mean, variance : ndarray
        Of the normal part of the linear predictor.
    products : sequence of (slope mean, slope variance, predictor mean, predictor variance)
        Each :math:`BX` with independent :math:`B \sim N(b, T)` and :math:`X \sim N(m, S)`.

    Returns
    -------
    ndarray of the shape of `mean`
        The midpoint rule on 44 nodes; against adaptive quadrature the error is below 1e-8 for
        slope standard deviations up to 0.5 (see ``tests/test_marginal.py``).

    Notes
    -----
    For one product, integrating :math:`X` given :math:`B` and then :math:`B`,

    .. math:: E\,e^{i\omega BX} = (1 + \omega^2 T S)^{-1/2} \exp\frac{i\omega m b
              - \omega^2 (m^2 T + b^2 S)/2}{1 + \omega^2 T S}.
    """
    if not products:
        return normal_average(mean, variance)
    total, middle = 1.0 + variance, np.array(mean, dtype=float)
    terms = []
    for slope, slope_variance, value, value_variance in products:
        centre = slope * value
        spread = value**2 * slope_variance + slope**2 * value_variance
        joint = slope_variance * value_variance
        middle = middle + centre
        total = total + spread + joint
        terms.append((centre, spread, joint))
    unit = np.sqrt(1.0 + variance)
    beyond = np.abs(middle) > _FARTHEST * unit
    result = np.zeros(np.broadcast(middle, unit).shape)
    for node in _NODES:
        omega = node / unit
        square = omega**2
        phase, spread_here, shrink = mean, 0.0, 1.0
        for centre, spread, joint in terms:
            factor = 1.0 + square * joint
            phase = phase + centre / factor
            spread_here = spread_here + spread / factor
            shrink = shrink * factor
        decay = np.exp(-0.5 * (node**2 + square * spread_here))
        result += decay / np.sqrt(shrink) * np.sin(omega * phase) * (_STEP / node)
    probability = np.clip(0.5 + result / np.pi, 0.0, 1.0)
    return np.where(beyond, ndtr(middle / np.sqrt(total)), probability)


def unreported_rate(predictor: Predictor, position: Any) -> np.ndarray:
    """Return a trial's rate of a binary predictor from its standard normal position.

    Probit-normal around the reference with the reference rate as its mean.
    """
    spread = between_trial_sd(predictor)
    return ndtr(rate_location(predictor) + spread * position)


def between_trial_sd(predictor: Predictor) -> float:
    """Return the spread of trial means (or probit rates), assumed where nothing is known."""
    known = predictor.between_trial_sd
    return ASSUMED_BETWEEN_TRIAL_SD if known is None else known


def reference_rate(predictor: Predictor) -> float:
    """Return the reference rate of a binary predictor, kept off 0 and 1 for constant columns."""
    return float(np.clip(predictor.centre, 0.01, 0.99))


def rate_location(predictor: Predictor) -> float:
    """Return the probit location at which the mean rate over trials is the reference rate.

    ``E Phi(q sqrt(1 + s^2) + s e) = Phi(q)`` for standard normal ``e``.
    """
    return float(ndtri(reference_rate(predictor)) * np.sqrt(1.0 + between_trial_sd(predictor) ** 2))


def reference_variance(predictor: Predictor) -> float:
    """Return the variance that slopes are scaled by: 1, or ``p (1 - p)`` of a binary predictor."""
    if predictor.kind == "continuous":
        return 1.0
    rate = reference_rate(predictor)
    return rate * (1.0 - rate)


def unit_probability(
    parameters: Mapping[str, np.ndarray],
    units: Any,
    predictors: Sequence[Predictor],
    pattern_unit: np.ndarray,
    pattern_value: np.ndarray,
) -> np.ndarray:
    """Return the response probability of every unit of a design in every draw.

    The NumPy twin of the graph's likelihood, for posterior predictive checks.

    Returns
    -------
    ndarray of shape (draw, unit)
    """
    linear = unit_intercept(parameters, units)
    slope = unit_slope(parameters, units)
    position = parameters["unreported_position"][..., units.unreported_idx]
    n_unreported = parameters["unreported_position"].shape[-1] - 1
    variance = np.zeros_like(linear)
    binary = [k for k, predictor in enumerate(predictors) if predictor.kind == "binary"]
    for k, predictor in enumerate(predictors):
        if predictor.kind == "continuous":
            mean = units.value[:, k] + between_trial_sd(predictor) * position[..., k]
            linear = linear + slope[..., k] * mean
            variance = variance + slope[..., k] ** 2 * units.variance[:, k]
    if not binary:
        return normal_average(linear, variance)
    rate = np.stack(
        [
            np.where(
                units.unreported_idx[:, k] < n_unreported,
                unreported_rate(predictors[k], position[..., k]),
                units.value[:, k],
            )
            for k in binary
        ],
        axis=-1,
    )
    centre = np.array([predictors[k].centre for k in binary])
    shift = (slope[..., pattern_unit, :][..., binary] * (pattern_value - centre)).sum(axis=-1)
    weight = pattern_weight(rate[..., pattern_unit, :], pattern_value)
    by_pattern = weight * normal_average(
        linear[..., pattern_unit] + shift, variance[..., pattern_unit]
    )
    starts = np.flatnonzero(np.diff(pattern_unit, prepend=-1))
    return np.add.reduceat(by_pattern, starts, axis=-1)
