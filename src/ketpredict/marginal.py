r"""Averages of the response probability over what is not known, exact or by one-dimensional sums.

A link is a weighted sum of normal distribution functions (:mod:`ketpredict.link`), so that every
average over normal variation is closed,

.. math:: E\,G(a + \textstyle\sum_k b_k x_k) = \sum_i \rho_i
          \Phi\big\{s_i (a + b'm)/\sqrt{1 + s_i^2\, b'Sb}\big\}, \quad x \sim N(m, S).

Where a slope is unknown too (an unseen trial) and meets an uncertain predictor, their product is
not normal. Its characteristic function is known, and Gil-Pelaez inversion (1951, Biometrika 38:481)
gives the probability as one sum for any number of products.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from ketpredict.predictors import Predictor

Components = tuple[np.ndarray, np.ndarray]
"""Weights and scales of the normals that a link is made of."""
Product = tuple[Any, ...]
Atoms = tuple[np.ndarray, ...]

# In units of the normal part's own standard deviation the characteristic function is below 4e-10
# beyond the last node. The midpoint rule is a square wave: it takes values between 0 and
# 2 pi / step units for positive and errs only by what lies farther out. The step is halved until
# the mean with its tails lies within: seven standard deviations, or four and sixteen times the
# scale of what falls off like an exponential, products and the logistic distribution. Where six
# times do not suffice, a normal tail is all that is left.
_STEP = 0.3
_NODES = 22
_NORMAL_TAIL = 7.0
_MIDDLE, _EXPONENTIAL_TAIL = 4.0, 16.0
_MOST_HALVINGS = 6
# Entries that share a step with at least this part of all are worked out with all.
_MOST_ALONE = 4
ASSUMED_BETWEEN_TRIAL_SD = 0.5
"""Where no reference is known: trial means vary half as much as patients within a trial."""


def normal_average(mean: Any, variance: Any, components: Components) -> np.ndarray:
    """Return the probability of response when the linear predictor is normal.

    Parameters
    ----------
    mean, variance : array_like
        Of the linear predictor, without the patient's own deviation.
    components : tuple of ndarray
        Weight and scale of the link's normals, from :func:`ketpredict.link.components`.
    """
    total: Any = 0.0
    for weight, scale in zip(*components, strict=True):
        total = total + weight * ndtr(mean / np.sqrt(1.0 / scale**2 + variance))
    return np.asarray(total)


def normal_slope(mean: Any, variance: Any, components: Components) -> np.ndarray:
    """Return the derivative of :func:`normal_average` with respect to the mean."""
    total: Any = 0.0
    for weight, scale in zip(*components, strict=True):
        unit = np.sqrt(1.0 / scale**2 + variance)
        total = total + weight * np.exp(-0.5 * (mean / unit) ** 2) / (unit * np.sqrt(2.0 * np.pi))
    return np.asarray(total)


def product_average(
    mean: np.ndarray,
    variance: np.ndarray,
    products: Sequence[Product],
    components: Components,
    *,
    further: Any = 0.0,
    atoms: Atoms | None = None,
) -> np.ndarray:
    r"""Return the probability of response when products of two normals join the linear predictor.

    Parameters
    ----------
    mean : ndarray of shape (draw, row)
        Of the normal part of the linear predictor.
    variance : ndarray of shape (draw, 1)
        Of the normal part, as far as rows share it: what depends on it alone is worked out once.
    products : sequence of (slope mean, slope variance, predictor mean, predictor variance)
        Each :math:`BX` with independent :math:`B \sim N(b, T)` and :math:`X \sim N(m, S)`; arrays
        of shape (draw, 1), and of the shape of `mean` for the predictor's mean.
    components : tuple of ndarray
        Weight and scale of the link's normals.
    further : array_like of the shape of `mean`
        Variance of the normal part that rows do not share.
    atoms : tuple of ndarray of shape (draw, atom), optional
        Values and weights (summing to 1) of an independent summand that has few values.

    Returns
    -------
    ndarray of shape (draw, row)
        The midpoint rule on 22 nodes, on more where the linear predictor may lie far out; against
        adaptive quadrature the error is below 1.3e-8 for slope standard deviations up to 0.5,
        predictor variances up to 5 and both links (see ``tests/test_marginal.py``).

    Notes
    -----
    For one product, integrating :math:`X` given :math:`B` and then :math:`B`,

    .. math:: E\,e^{i\omega BX} = (1 + \omega^2 T S)^{-1/2} \exp\frac{i\omega m b
              - \omega^2 (m^2 T + b^2 S)/2}{1 + \omega^2 T S},

    and the patient's own deviation has :math:`\sum_i \rho_i \exp\{-\omega^2/(2 s_i^2)\}`.

    A normal part :math:`A` with covariance :math:`\kappa` with :math:`X` (the effect of trial means
    that are themselves uncertain) adds :math:`-\omega^2 \kappa B` to the exponent given
    :math:`B`. Completing the square, :math:`B^2 S + 2 B \kappa = S (B + \kappa/S)^2 -
    \kappa^2/S`: it is the same average with the slope's mean moved to :math:`b + \kappa/S`, the
    normal part's mean to :math:`E A - \kappa m / S` and its variance to :math:`V A - \kappa^2/S`.
    So callers move these three numbers, and no further term is needed here.
    """
    mean, variance, further = (np.asarray(one, dtype=float) for one in (mean, variance, further))
    terms = [tuple(np.asarray(part, dtype=float) for part in product) for product in products]
    middle, total = mean, variance + further
    if atoms is not None:
        middle = middle + (atoms[0] * atoms[1]).sum(axis=1, keepdims=True)
    for slope, slope_variance, value, value_variance in terms:
        middle = middle + slope * value
        total = total + value**2 * slope_variance + (slope**2 + slope_variance) * value_variance
    # Each entry takes the widest step that has its tails within reach.
    sd, exponential = np.sqrt(1.0 + total), 1.0 * (len(components[0]) > 1)
    for _, slope_variance, _, value_variance in terms:
        exponential = np.maximum(exponential, np.sqrt(slope_variance * value_variance))
    tails = np.maximum(_NORMAL_TAIL * sd, _MIDDLE * sd + _EXPONENTIAL_TAIL * exponential)
    reach = (np.abs(middle) + tails) / np.sqrt(1.0 + variance)
    halvings = np.ceil(np.log2(np.maximum(reach * _STEP / (2.0 * np.pi), 1.0))).astype(int)
    result = normal_average(middle, total, components) * np.ones(halvings.shape)
    for level in range(min(int(halvings.max(initial=0)), _MOST_HALVINGS) + 1):
        here = np.nonzero(halvings == level)
        if _MOST_ALONE * len(here[0]) > halvings.size:
            every = _inverted(mean, variance, further, terms, components, atoms, level)
            result[here] = every[here]
        elif len(here[0]):
            m, v, f, own, own_atoms = _alone(
                here, halvings.shape, mean, variance, further, terms, atoms
            )
            result[here] = _inverted(m, v, f, own, components, own_atoms, level)[:, 0]
    return result


def _alone(
    here: tuple[np.ndarray, ...],
    shape: tuple[int, ...],
    mean: np.ndarray,
    variance: np.ndarray,
    further: np.ndarray,
    products: Sequence[Product],
    atoms: Atoms | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[Product], Atoms | None]:
    """Return the numbers of some entries, each as a draw of its own with one row."""

    def some(array: np.ndarray) -> np.ndarray:
        return np.broadcast_to(array, shape)[here][:, None]

    own_atoms = None
    if atoms is not None:
        own_atoms = tuple(np.broadcast_to(a, (shape[0], a.shape[1]))[here[0]] for a in atoms)
    own = [tuple(some(part) for part in product) for product in products]
    return some(mean), some(variance), some(further), own, own_atoms


def _inverted(
    mean: np.ndarray,
    variance: np.ndarray,
    further: np.ndarray,
    products: Sequence[Product],
    components: Components,
    atoms: Atoms | None,
    halvings: int,
) -> np.ndarray:
    """Return the probability by the sum over nodes, their distance halved a number of times."""
    step, unit = _STEP / 2**halvings, np.sqrt(1.0 + variance)
    centres = [slope * value for slope, _, value, _ in products]
    own = [value**2 * slope_variance for _, slope_variance, value, _ in products]
    shape = np.broadcast_shapes(mean.shape, further.shape, *(one.shape for one in (*centres, *own)))
    result, phase, spread, part = (np.zeros(shape) for _ in range(4))
    for node in (np.arange(_NODES * 2**halvings) + 0.5) * step:
        omega = node / unit
        square = omega**2
        shared_spread, shrink = variance, np.ones_like(variance)
        np.copyto(phase, mean)
        np.copyto(spread, further)
        for product, centre, own_spread in zip(products, centres, own, strict=True):
            slope, slope_variance, _, value_variance = product
            factor = 1.0 / (1.0 + square * (slope_variance * value_variance))
            phase += np.multiply(centre, factor, out=part)
            spread += np.multiply(own_spread, factor, out=part)
            shared_spread = shared_spread + slope**2 * value_variance * factor
            shrink = shrink * factor
        size = np.sqrt(shrink) * (step / node)
        size = size * sum(
            weight * np.exp(-0.5 * square * (1.0 / scale**2 + shared_spread))
            for weight, scale in zip(*components, strict=True)
        )
        phase *= omega
        if atoms is not None:
            angle = omega * atoms[0]
            real = (atoms[1] * np.cos(angle)).sum(axis=1, keepdims=True)
            imaginary = (atoms[1] * np.sin(angle)).sum(axis=1, keepdims=True)
            size = size * np.hypot(real, imaginary)
            phase += np.arctan2(imaginary, real)
        spread *= -0.5 * square
        np.exp(spread, out=spread)
        np.sin(phase, out=phase)
        spread *= phase
        spread *= size
        result += spread
    return np.asarray(np.clip(0.5 + result / np.pi, 0.0, 1.0))


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
