r"""Averages over products of normals for many rows at once, in single precision.

:func:`ketpredict.marginal.product_average` states the sum that is worked out here. What the rows of
a group have in common is prepared once for each draw: with known values :math:`x` the phase of each
node :math:`\omega_k` is affine in :math:`x` and the exponent of its size is quadratic,

.. math:: \text{phase}_k = \omega_k\Big(E A + \sum_j \frac{b_j m_j(x)}{1 + \omega_k^2 q_j}\Big) +
          \arg_k, \quad
          \log \text{size}_k = s_k - \tfrac12 \omega_k^2 \Big(\sum_i T_i (x_i - o_i)^2
          + \sum_j \frac{q_j m_j(x)^2}{1 + \omega_k^2 q_j}\Big),

for products :math:`B_j X_j` with :math:`B_j \sim N(b_j, q_j)` and :math:`X_j \sim N(m_j(x), 1)`,
:math:`m_j` affine. A node then costs one product of the row's monomials with the coefficients of
the draws, an exponential and a sine, however many products there are.

Eight nodes, 0.6 units apart, stand for rows whose linear predictor keeps, with its tails, within
10.5 units of the threshold (a unit: the normal part with the patient's own deviation), up to 24
nodes for 31 units; whoever lies farther out in some draw is left to
:func:`~ketpredict.marginal.product_average` for that block of draws. Against it and against
adaptive quadrature the error is below 6e-7 (``tests/test_inversion.py``): nodes left out count for
less than 1.5e-7, tails left out for less than 1e-7, and a sum of sines of single precision errs by
a few units of 6e-8.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ketpredict.marginal import Components, product_average
from ketpredict.workers import Scratch

# Steps in units of the normal part, and nodes: the last stands at 4.5 to 4.7 units.
_STEPS = ((0.6, 8), (0.45, 11), (0.3, 16), (0.2, 24))
_REACH = np.array([2.0 * np.pi / step for step, _ in _STEPS])
_NORMAL_TAIL, _MIDDLE, _EXPONENTIAL_TAIL = 5.5, 4.0, 15.0
_SMALL = 1e-300
_SCRATCH = Scratch()


@dataclasses.dataclass(frozen=True)
class ProductPattern:
    """Linear predictor of one pattern of rows that are alike; products join its normal part.

    Parameters
    ----------
    constant, variance : ndarray of shape (draw,)
        Of the normal part.
    coefficient, known_slope_variance, origin : ndarray of shape (draw, observed)
        The normal part's mean is affine in the known values, and its variance grows by the second
        times their squared distance from the third.
    slope, slope_variance, value_constant : ndarray of shape (draw, product)
    value_coefficient : ndarray of shape (draw, product, observed)
        The products, their predictors' means affine in the known values and of variance 1.
    atom, atom_weight : ndarray of shape (draw, atom)
        An independent summand of few values; weights sum to 1.
    components : tuple of ndarray
        Weight and scale of the link's normals.
    """

    constant: np.ndarray
    variance: np.ndarray
    coefficient: np.ndarray
    known_slope_variance: np.ndarray
    origin: np.ndarray
    slope: np.ndarray
    slope_variance: np.ndarray
    value_constant: np.ndarray
    value_coefficient: np.ndarray
    atom: np.ndarray
    atom_weight: np.ndarray
    components: Components


@dataclasses.dataclass(frozen=True)
class _Nodes:
    """Coefficients of the nodes of one step, node first and draws last, in single precision.

    Parameters
    ----------
    omega, constant : ndarray of shape (node, draw)
        The phase's constant, without the row's intercept.
    phase : ndarray of shape (node, observed, draw)
    size : ndarray of shape (node, monomial, draw)
        Of the logarithm.
    """

    omega: np.ndarray
    constant: np.ndarray
    phase: np.ndarray
    size: np.ndarray


def monomials(values: np.ndarray) -> np.ndarray:
    """Return 1, the values and their products by twos, (row, monomial)."""
    first, second = np.triu_indices(values.shape[1])
    one = np.ones((len(values), 1))
    return np.hstack([one, values, values[:, first] * values[:, second]])


class Inversion:
    """The inversion sums of one pattern, ready for any rows.

    Parameters
    ----------
    pattern : ProductPattern
    """

    def __init__(self, pattern: ProductPattern) -> None:
        self.pattern = pattern
        self.unit = unit = np.sqrt(1.0 + pattern.variance)
        # Draws last: sums over products run along contiguous draws.
        self._slope, self._slope_variance = pattern.slope.T.copy(), pattern.slope_variance.T.copy()
        self._value = pattern.value_constant.T.copy()
        self._of_value = np.ascontiguousarray(pattern.value_coefficient.transpose(1, 2, 0))
        self._coefficient = pattern.coefficient.T.copy()
        self._atom, self._atom_weight = pattern.atom.T.copy(), pattern.atom_weight.T.copy()
        spread = spread_of(pattern.known_slope_variance, pattern.origin)
        squares = [_of_square(*one) for one in zip(self._value, self._of_value, strict=True)]
        middle = pattern.constant + (self._slope * self._value).sum(axis=0)
        self.middle_constant = middle + (self._atom * self._atom_weight).sum(axis=0)
        coefficient = self._coefficient + (self._slope[:, None] * self._of_value).sum(axis=0)
        self.middle = (coefficient / unit).astype(np.float32)
        least = 1.0 + pattern.variance + (self._slope**2 + self._slope_variance).sum(axis=0)
        total = sum(
            (q * square for q, square in zip(self._slope_variance, squares, strict=True)), spread
        )
        total[0] += least
        self.total = (_NORMAL_TAIL**2 * total / unit**2).astype(np.float32)
        logistic = 1.0 * (len(pattern.components[0]) > 1)
        widest = np.maximum(logistic, np.sqrt(self._slope_variance).max(axis=0))
        beyond = _EXPONENTIAL_TAIL * widest - (_NORMAL_TAIL - _MIDDLE) * np.sqrt(least)
        self.beyond = (np.maximum(beyond, 0.0) / unit).astype(np.float32)
        self._spread = spread.astype(np.float32)
        self._squares = [square.astype(np.float32) for square in squares]
        self._made: dict[int, _Nodes] = {}

    def at(self, intercept: np.ndarray) -> InversionAt:
        """Return the sums at an intercept, (draw,)."""
        return InversionAt(self, intercept)

    def nodes(self, level: int) -> _Nodes:
        """Return the nodes of a step, made when first asked for."""
        if level not in self._made:
            self._made[level] = self._nodes(level)
        return self._made[level]

    def _nodes(self, level: int) -> _Nodes:
        pattern, (step, count) = self.pattern, _STEPS[level]
        observed, draws = len(self._coefficient), len(self.unit)
        nodes = _Nodes(
            omega=np.empty((count, draws)),
            constant=np.empty((count, draws)),
            phase=np.empty((count, observed, draws), np.float32),
            size=np.empty((count, len(self._spread), draws), np.float32),
        )
        for k in range(count):
            node = (k + 0.5) * step
            omega = node / self.unit
            square = omega**2
            factor = 1.0 / (1.0 + square * self._slope_variance)
            centre = self._slope * factor
            size, angle = self._shared(omega)
            size += np.log(step / (node * np.pi) * np.sqrt(factor.prod(axis=0)))
            size -= 0.5 * square * (pattern.variance + (self._slope * centre).sum(axis=0))
            weight = (-0.5 * square * self._slope_variance * factor).astype(np.float32)
            np.multiply(self._spread, (-0.5 * square).astype(np.float32), out=nodes.size[k])
            for own, monomial in zip(weight, self._squares, strict=True):
                nodes.size[k] += own * monomial
            nodes.size[k, 0] += size
            nodes.omega[k] = omega
            constant = pattern.constant + (centre * self._value).sum(axis=0)
            nodes.constant[k] = omega * constant + angle
            coefficient = self._coefficient + (centre[:, None] * self._of_value).sum(axis=0)
            nodes.phase[k] = omega * coefficient
        return nodes

    def _shared(self, omega: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return logarithm of the size and angle of the link's deviation times the atoms."""
        weights, scales = self.pattern.components
        if len(weights) == 1:
            size = -0.5 * (omega / scales[0]) ** 2
        else:
            parts = zip(weights, scales, strict=True)
            size = np.log(sum(w * np.exp(-0.5 * (omega / scale) ** 2) for w, scale in parts))
        if len(self._atom) == 1:
            return size, omega * self._atom[0]
        angle = omega * self._atom
        real = (self._atom_weight * np.cos(angle)).sum(axis=0)
        imaginary = (self._atom_weight * np.sin(angle)).sum(axis=0)
        size += np.log(np.maximum(np.hypot(real, imaginary), _SMALL))
        return size, np.arctan2(imaginary, real)


class InversionAt:
    """The inversion sums of one pattern at one intercept.

    Parameters
    ----------
    prepared : Inversion
    intercept : ndarray of shape (draw,)
        Added to the mean of the normal part.
    """

    def __init__(self, prepared: Inversion, intercept: np.ndarray) -> None:
        self._prepared, self._intercept = prepared, intercept
        middle = (prepared.middle_constant + intercept) / prepared.unit
        self._middle = middle.astype(np.float32)
        self._constants: dict[int, np.ndarray] = {}

    def probability(self, values: np.ndarray, draws: slice, out: np.ndarray) -> np.ndarray:
        """Return the (row, draw) probabilities of rows for some draws.

        Parameters
        ----------
        values : ndarray of shape (row, observed)
            What is known of each row.
        out : ndarray of shape (row, draw)
            What is returned.
        """
        values_single = values.astype(np.float32)[:, None]
        by_monomial = monomials(values).astype(np.float32)[:, None]
        level = self._levels(values_single, by_monomial, draws)
        if (level == level[0]).all() and level[0] < len(_STEPS):
            out[...] = self._sums(int(level[0]), values_single, by_monomial, draws)
            return out
        for here in np.unique(level):
            rows = np.flatnonzero(level == here)
            if here < len(_STEPS):
                out[rows] = self._sums(int(here), values_single[rows], by_monomial[rows], draws)
            else:
                out[rows] = self._far(values[rows], draws)
        return out

    def _levels(self, values: np.ndarray, by_monomial: np.ndarray, draws: slice) -> np.ndarray:
        """Return which step each row takes, (row,); the draws share it."""
        prepared = self._prepared
        shape = (len(values), 1, draws.stop - draws.start)
        reach = _SCRATCH.array("phase", shape, np.float32)
        tail = _SCRATCH.array("size", shape, np.float32)
        np.matmul(values, prepared.middle[:, draws], out=reach)
        reach += self._middle[draws]
        np.abs(reach, out=reach)
        np.matmul(by_monomial, prepared.total[:, draws], out=tail)
        np.maximum(tail, 0.0, out=tail)
        reach += np.sqrt(tail, out=tail)
        reach += prepared.beyond[draws]
        worst = reach.max(axis=(1, 2))
        return np.searchsorted(_REACH, worst)

    def _sums(
        self, level: int, values: np.ndarray, by_monomial: np.ndarray, draws: slice
    ) -> np.ndarray:
        nodes = self._prepared.nodes(level)
        if level not in self._constants:
            constant = nodes.constant + nodes.omega * self._intercept
            # Whole turns are taken off in double precision.
            turns = np.rint(constant / (2.0 * np.pi))
            self._constants[level] = (constant - 2.0 * np.pi * turns).astype(np.float32)
        constants = self._constants[level][:, draws]
        shape = (len(values), 1, constants.shape[1])
        phase = _SCRATCH.array("phase", shape, np.float32)
        size = _SCRATCH.array("size", shape, np.float32)
        total = _SCRATCH.array("total", shape, np.float32)
        total[...] = 0.5
        for k, constant in enumerate(constants):
            np.matmul(values, nodes.phase[k][:, draws], out=phase)
            phase += constant
            np.sin(phase, out=phase)
            np.matmul(by_monomial, nodes.size[k][:, draws], out=size)
            np.exp(size, out=size)
            size *= phase
            total += size
        return np.clip(total[:, 0], 0.0, 1.0, out=total[:, 0])

    def _far(self, values: np.ndarray, draws: slice) -> np.ndarray:
        pattern = self._prepared.pattern

        def affine(constant: np.ndarray, coefficient: np.ndarray) -> np.ndarray:
            total = constant[draws, None] + np.zeros(len(values))
            for k in range(values.shape[1]):
                total = total + coefficient[draws, k, None] * values[:, k]
            return total

        further = np.zeros((1, 1))
        for k in range(values.shape[1]):
            distance = values[:, k] - pattern.origin[draws, k, None]
            further = further + pattern.known_slope_variance[draws, k, None] * distance**2
        terms = [
            (
                pattern.slope[draws, j, None],
                pattern.slope_variance[draws, j, None],
                affine(pattern.value_constant[:, j], pattern.value_coefficient[:, j]),
                1.0,
            )
            for j in range(pattern.slope.shape[1])
        ]
        found = product_average(
            affine(pattern.constant + self._intercept, pattern.coefficient),
            pattern.variance[draws, None],
            terms,
            pattern.components,
            further=further,
            atoms=(pattern.atom[draws], pattern.atom_weight[draws]),
        )
        return found.T


def _of_square(constant: np.ndarray, coefficient: np.ndarray) -> np.ndarray:
    """Return the monomials' coefficients of a squared affine function, all draws last."""
    first, second = np.triu_indices(len(coefficient))
    twice = np.where(first == second, 1.0, 2.0)[:, None]
    products = coefficient[first] * coefficient[second] * twice
    return np.vstack([constant**2, 2.0 * constant * coefficient, products])


def spread_of(known_slope_variance: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Return the monomials' coefficients of the variance of known values' slopes."""
    count = origin.shape[1]
    first, second = np.triu_indices(count)
    products = np.zeros((len(first), len(origin)))
    products[first == second] = known_slope_variance.T
    constant = (known_slope_variance * origin**2).sum(axis=1)
    linear = -2.0 * known_slope_variance * origin
    return np.vstack([constant, linear.T, products])
