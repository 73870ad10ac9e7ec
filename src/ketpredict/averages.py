r"""Response probability of patients averaged over everything that is unseen.

With certain slopes the linear predictor is normal given the pattern of binaries. An uncertain slope
(an unseen trial) that meets an uncertain predictor makes a product. With :math:`e_u \sim N(m, CC')`
and slopes :math:`\beta_u \sim N(\bar\beta, T)` let :math:`C'TC = Q\Lambda Q'`; then
:math:`\beta_u'e_u = \sum_j B_j X_j` with independent :math:`B \sim N(Q'C'\bar\beta, \Lambda)` and
:math:`X \sim N(Q'C^{-1}m, I)`, which :func:`ketpredict.marginal.product_average` takes.

The trial's own means add :math:`A = \alpha'\mu`, normal given the known values and correlated with
:math:`e_u`, :math:`\kappa = C(A, X) = Q'C^{-1}C(e_u, A)`. As shown there, that moves the slopes'
means by :math:`\kappa`, the mean of the normal part by :math:`E A - \kappa'E X` and its variance by
:math:`V A - \kappa'\kappa`. The rates of binaries add a scalar with a few atoms
(:meth:`ketpredict.unseen_rates.RateLaw.shift_atoms`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.special import ndtr

from ketpredict.marginal import normal_average, product_average
from ketpredict.patients import (
    Rows,
    Setting,
    affine,
    alike,
    entering_values,
    fold,
    intercepts,
    mixture,
    pieces,
    setting_of,
)
from ketpredict.predictor_law import (
    Draws,
    known_pattern_probability,
    pattern_evidence,
    pattern_shift,
)

_SMALL = 1e-300
# Keeps the square root of a covariance of no spread invertible; far below what it adds to.
_RIDGE = 1e-12


@dataclasses.dataclass(frozen=True)
class _Products:
    """Uncertain slopes times uncertain predictors, rotated to be independent.

    Parameters
    ----------
    slope, slope_variance : ndarray of shape (draw, product)
    constant : ndarray of shape (draw, pattern, product)
    coefficient : ndarray of shape (draw, product, observed)
        The predictors' means are affine in the known values.
    """

    slope: np.ndarray
    slope_variance: np.ndarray
    constant: np.ndarray
    coefficient: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Average:
    """What rows that are alike share: everything of their average but the values they know.

    Parameters
    ----------
    coefficient, constant : ndarray of shape (draw, observed), (draw, pattern)
        Of the mean of the linear predictor's normal part.
    variance : ndarray of shape (draw, pattern)
    known_slope_variance : ndarray of shape (draw, observed)
        Variance of the slopes of values that are known: it counts by their square.
    origin : ndarray of shape (draw, observed)
        What known values enter from: the trial's mean of assay-dependent ones, else 0.
    weight, weight_coefficient : ndarray of shape (draw, pattern), (draw, pattern, observed)
        Log weights of the patterns.
    atom, atom_weight : ndarray of shape (draw, pattern, atom)
        Effect of the unseen trial's rates; one atom where there is none.
    products : _Products or None
    """

    coefficient: np.ndarray
    constant: np.ndarray
    variance: np.ndarray
    known_slope_variance: np.ndarray
    origin: np.ndarray
    weight: np.ndarray
    weight_coefficient: np.ndarray
    atom: np.ndarray
    atom_weight: np.ndarray
    products: _Products | None


@dataclasses.dataclass(frozen=True)
class Moved:
    """One predictor of everybody changed, all else of them as it is.

    Parameters
    ----------
    predictor : int
        Its position among the predictors.
    amount : float
        Added to a continuous one, reference scale; the 0 or 1 that a binary one is set to. Of a
        column of labels everybody is set to the label if 1, to the reference if 0.
    """

    predictor: int
    amount: float


def average_probability(
    draws: Draws, rows: Rows, moved: Moved | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows' index and their (draw, row) probabilities, whatever is unseen averaged over.

    Parameters
    ----------
    moved : Moved, optional
        For rows of which no predictor is known.
    """
    for index, part in alike(draws, rows):
        setting = setting_of(draws, part)
        average = _average(draws, setting, moved)
        for piece in pieces(len(part), len(draws) * len(setting.values)):
            some = part.take(np.arange(len(part))[piece])
            yield index[piece], _probability(draws, setting, average, some)


def pattern_weights(draws: Draws, setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Return the log weights of patterns given known values, trial means and rates averaged over.

    Returns
    -------
    constant : ndarray of shape (draw, pattern)
    coefficient : ndarray of shape (draw, pattern, observed)
    """
    rates = setting.rates
    if setting.rates_known:
        rate = ndtr(rates.location)
        probability = known_pattern_probability(rate, setting.values, rates.log_odds_ratio)
    else:
        probability = rates.probability(setting.values)
    evidence, coefficient = pattern_evidence(setting.law, pattern_shift(draws, setting.values))
    at = setting.location[:, None, setting.law.observed]
    constant = np.log(np.maximum(probability, _SMALL)) + evidence - (coefficient * at).sum(axis=-1)
    return constant, coefficient


def _entering(draws: Draws, setting: Setting, moved: Moved | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the binaries and the shifts of the continuous ones as the linear predictor has them.

    Returns
    -------
    values : ndarray of shape (pattern, binary)
    shift : ndarray of shape (draw, pattern, continuous)
    """
    values, shift = setting.values, pattern_shift(draws, setting.values)
    if moved is None:
        return values, shift
    column = draws.predictors[moved.predictor].category
    if column:
        others = [draws.predictors[k].category == column for k in draws.binary]
        values = np.where(others, 0.0, values)
    values = np.where(draws.binary == moved.predictor, moved.amount, values)
    return values, shift + np.where(draws.continuous == moved.predictor, moved.amount, 0.0)


def _average(draws: Draws, setting: Setting, moved: Moved | None) -> _Average:
    law = setting.law
    values, shift = _entering(draws, setting, moved)
    across = draws.parameters["across_slope"]
    binary, continuous = draws.binary, draws.continuous
    # Continuous trial means: their mean given the known values, and their variance.
    of_means = across[:, continuous]
    coefficient = np.einsum("dk,dko->do", of_means, law.mean_gain)
    at, shift_at = setting.location[:, law.observed], shift[..., law.observed]
    constant = (of_means * setting.location).sum(axis=1) - (coefficient * at).sum(axis=1)
    constant = constant[:, None] - np.einsum("do,dpo->dp", coefficient, shift_at)
    variance = np.einsum("dk,dkl,dl->d", of_means, law.mean_spread, of_means)
    slope, products = setting.slope, None
    with_means = np.einsum("dk,dku->du", of_means, law.mean_cross)
    uncertain = continuous[law.uncertain]
    if setting.slope_variance[:, uncertain].any():
        products, carried = _products(draws, setting, shift, with_means)
        coefficient = coefficient - np.einsum("du,duo->do", carried, products.coefficient)
        constant = constant - np.einsum("du,dpu->dp", carried, products.constant)
        variance = variance - (carried**2).sum(axis=1)
        slope = slope.copy()
        slope[:, uncertain] = 0.0
    folded = fold(draws, law, slope, values, shift)
    constant = constant + folded.constant + (folded.by_mean * setting.location).sum(axis=1)[:, None]
    variance = variance + folded.variance + 2.0 * (with_means * slope[:, uncertain]).sum(axis=1)
    variance = variance + setting.intercept_variance
    of_patterns = setting.slope_variance[:, binary] @ ((values - draws.binary_centre) ** 2).T
    certain = ~np.isin(law.observed, law.uncertain)
    place = continuous[law.observed]
    atom, atom_weight = _rate_effect(draws, setting)
    weight, weight_coefficient = pattern_weights(draws, setting)
    return _Average(
        coefficient=coefficient + folded.coefficient,
        constant=constant,
        variance=variance[:, None] + of_patterns,
        known_slope_variance=setting.slope_variance[:, place] * certain,
        origin=at * draws.assay_dependent[law.observed],
        weight=weight,
        weight_coefficient=weight_coefficient,
        atom=atom,
        atom_weight=atom_weight,
        products=products,
    )


def _products(
    draws: Draws, setting: Setting, shift: np.ndarray, with_means: np.ndarray
) -> tuple[_Products, np.ndarray]:
    """Return independent products, and the covariance of their predictors with trial means' effect.

    Parameters
    ----------
    shift : ndarray of shape (draw, pattern, continuous)
        Of the continuous predictors by pattern.
    with_means : ndarray of shape (draw, uncertain)
        Covariance of the uncertain predictors with the effect of the trial's means.
    """
    law, uncertain = setting.law, draws.continuous[setting.law.uncertain]
    identity = np.eye(len(uncertain))
    root = np.linalg.cholesky(law.spread + _RIDGE * identity)
    turned = np.swapaxes(root, 1, 2)
    slope_variance = setting.slope_variance[:, uncertain, None] * identity
    variance, vectors = np.linalg.eigh(turned @ slope_variance @ root)
    rotation = np.swapaxes(vectors, 1, 2)
    whiten = rotation @ np.linalg.inv(root)
    moved = np.einsum("duv,dv->du", whiten, with_means)
    comparable = ~draws.assay_dependent[law.uncertain]
    at = setting.location[:, None, law.observed] + shift[..., law.observed]
    constant = setting.location[:, None, law.uncertain] * comparable + shift[..., law.uncertain]
    constant = constant - np.einsum("duo,dpo->dpu", law.gain, at)
    products = _Products(
        slope=np.einsum("duv,dv->du", rotation @ turned, setting.slope[:, uncertain]) + moved,
        slope_variance=np.maximum(variance, 0.0),
        constant=np.einsum("duv,dpv->dpu", whiten, constant),
        coefficient=whiten @ law.gain,
    )
    return products, moved


def _rate_effect(draws: Draws, setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Return atoms and weights of what the trial's rates add, (draw, pattern, atom)."""
    rates = setting.rates
    if not setting.rates_known:
        return rates.shift_atoms(setting.values)
    shape = (len(draws), len(setting.values), 1)
    known = (rates.across * (ndtr(rates.location) - rates.centre)).sum(axis=1)
    return np.broadcast_to(known[:, None, None], shape), np.ones(shape)


def _probability(draws: Draws, setting: Setting, average: _Average, rows: Rows) -> np.ndarray:
    """Return (draw, row) probabilities of rows alike."""
    known = entering_values(draws, setting, rows)
    linear = intercepts(draws, rows) + affine(average.coefficient, known)
    spread: Any = 0.0
    for k in range(known.shape[1]):
        if average.known_slope_variance[:, k].any():
            distance = known[None, :, k] - average.origin[:, k, None]
            spread = spread + average.known_slope_variance[:, k, None] * distance**2
    products = average.products
    if products is not None:
        moved = [affine(one, known) for one in np.moveaxis(products.coefficient, 1, 0)]
    weights, probabilities = [], []
    for p in range(len(setting.values)):
        mean, variance = linear + average.constant[:, p, None], average.variance[:, p, None]
        atoms = average.atom[:, p], average.atom_weight[:, p]
        if products is None:
            probability: Any = 0.0
            for atom, weight in zip(*(one.T[..., None] for one in atoms), strict=True):
                here = normal_average(mean + atom, variance + spread, draws.components)
                probability = probability + weight * here
        else:
            terms = [
                (
                    products.slope[:, j, None],
                    products.slope_variance[:, j, None],
                    products.constant[:, p, j, None] + moved[j],
                    1.0,
                )
                for j in range(len(moved))
            ]
            probability = product_average(
                mean, variance, terms, draws.components, further=spread, atoms=atoms
            )
        probabilities.append(probability)
        weights.append(average.weight[:, p, None] + affine(average.weight_coefficient[:, p], known))
    return mixture(weights, probabilities)
