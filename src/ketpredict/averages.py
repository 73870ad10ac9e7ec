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
import functools
from collections.abc import Callable, Iterator

import numpy as np
from scipy.special import ndtr

from ketpredict.blocks import ROWS, Average, Blocks, Products
from ketpredict.patients import (
    Rows,
    Setting,
    alike,
    entering_values,
    fold,
    intercept_classes,
    intercepts,
    setting_of,
)
from ketpredict.predictor_law import (
    Draws,
    known_pattern_probability,
    pattern_evidence,
    pattern_shift,
)
from ketpredict.workers import work_off

_ROWS_OF_PIECE = 8 * ROWS
_SMALL = 1e-300
# Keeps the square root of a covariance of no spread invertible; far below what it adds to.
_RIDGE = 1e-12


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
    draws: Draws,
    rows: Rows,
    take: Callable[[np.ndarray, np.ndarray], None],
    cores: int | None = None,
    moved: Moved | None = None,
) -> None:
    """Work out the probabilities of rows, whatever is unseen averaged over.

    Parameters
    ----------
    take : callable
        Is given the index of a few rows and their (row, draw) probabilities; called from several
        threads, for different rows.
    cores : int, optional
        All that the process may use by default.
    moved : Moved, optional
        For rows of which no predictor is known.
    """
    work_off(_pieces(draws, rows, take, moved), cores)


def _pieces(
    draws: Draws,
    rows: Rows,
    take: Callable[[np.ndarray, np.ndarray], None],
    moved: Moved | None,
) -> Iterator[Callable[[], None]]:
    for index, part in alike(draws, rows):
        setting = setting_of(draws, part)
        blocks = Blocks(average_of(draws, setting, moved), draws.components)
        values = entering_values(draws, setting, part)
        for of_class in intercept_classes(part):
            one = part.take(of_class[:1])
            for start in range(0, len(of_class), _ROWS_OF_PIECE):
                some = of_class[start : start + _ROWS_OF_PIECE]
                yield functools.partial(_piece, draws, one, blocks, values[some], index[some], take)


def _piece(
    draws: Draws,
    one: Rows,
    blocks: Blocks,
    values: np.ndarray,
    index: np.ndarray,
    take: Callable[[np.ndarray, np.ndarray], None],
) -> None:
    here = blocks.at(intercepts(draws, one)[:, 0])
    for start in range(0, len(index), ROWS):
        some = slice(start, start + ROWS)
        take(index[some], here.probability(values[some]))


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


def average_of(draws: Draws, setting: Setting, moved: Moved | None = None) -> Average:
    """Return what rows that are alike share of their average."""
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
    return Average(
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
) -> tuple[Products, np.ndarray]:
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
    products = Products(
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
