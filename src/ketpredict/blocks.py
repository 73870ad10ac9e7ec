"""Probabilities of rows that are alike, block by block in the cache.

Everything that rows share is prepared once, draws last in memory. A block is a few rows and draws;
what it needs of the known values are products of a row with the draws' coefficients. Each row is
multiplied by itself (a stack of vectors, never one matrix), so that its rounding does not depend on
the rows beside it, and products are too small for BLAS to split over threads.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from scipy.special import ndtr

from ketpredict.inversion import Inversion, ProductPattern, monomials, spread_of
from ketpredict.marginal import Components

ROWS = 32
_MOST_DRAWS, _FEWEST_DRAWS = 512, 64
_MOST_COEFFICIENTS = 9_000


@dataclasses.dataclass(frozen=True)
class Products:
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
class Average:
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
    products : Products or None
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
    products: Products | None


class Blocks:
    """Rows that are alike, ready to be averaged.

    Parameters
    ----------
    average : Average
    components : tuple of ndarray
        Weight and scale of the link's normals.
    """

    def __init__(self, average: Average, components: Components) -> None:
        self._count, observed = average.coefficient.shape
        self._order = None
        if average.products is not None:
            # Draws with far tails ask for near nodes: they come last, in blocks of their own.
            self._order = np.argsort(_width(average, average.products), kind="stable")
            average = _ordered(average, self._order)
        widest = (observed + 1) * (observed + 2) // 2
        size = np.clip(_MOST_COEFFICIENTS // widest, _FEWEST_DRAWS, _MOST_DRAWS)
        self._slices = [
            slice(start, min(start + int(size), self._count))
            for start in range(0, self._count, int(size))
        ]
        self._patterns = [
            _pattern(average, p, components) for p in range(average.constant.shape[1])
        ]
        # Of the first pattern: what all have in common cancels.
        weight = average.weight[:, 1:] - average.weight[:, :1]
        self._weight = np.ascontiguousarray(weight.T)
        coefficient = average.weight_coefficient[:, 1:] - average.weight_coefficient[:, :1]
        self._weight_coefficient = np.ascontiguousarray(np.moveaxis(coefficient, 0, -1))
        self._alike = observed == 0

    def at(self, intercept: np.ndarray) -> BlocksAt:
        """Return the rows of one intercept, (draw,), ready to be averaged."""
        return BlocksAt(self, intercept)


class BlocksAt:
    """Rows that are alike and have one intercept.

    Parameters
    ----------
    blocks : Blocks
    intercept : ndarray of shape (draw,)
    """

    def __init__(self, blocks: Blocks, intercept: np.ndarray) -> None:
        self._blocks = blocks
        ordered = intercept if blocks._order is None else intercept[blocks._order]
        self._patterns = [pattern.at(ordered) for pattern in blocks._patterns]

    def probability(self, values: np.ndarray) -> np.ndarray:
        """Return the (row, draw) probabilities of rows.

        Parameters
        ----------
        values : ndarray of shape (row, observed)
            What is known of each row.
        """
        if self._blocks._alike:
            one = self._some(values[:1])
            return np.broadcast_to(one, (len(values), one.shape[1]))
        return self._some(values)

    def _some(self, values: np.ndarray) -> np.ndarray:
        result = np.empty((len(values), self._blocks._count))
        for draws in self._blocks._slices:
            result[:, draws] = self._block(values, draws)
        if self._blocks._order is None:
            return result
        own = np.empty_like(result)
        own[:, self._blocks._order] = result
        return own

    def _block(self, values: np.ndarray, draws: slice) -> np.ndarray:
        total = self._patterns[0].probability(values, draws)
        if len(self._patterns) == 1:
            return total
        blocks, rows = self._blocks, values[:, None]
        of_weights = np.ones_like(total)
        weights, by_pattern = [], [total.copy()]
        with np.errstate(over="ignore"):
            for p, pattern in enumerate(self._patterns[1:]):
                weight = np.matmul(rows, blocks._weight_coefficient[p][:, draws])[:, 0]
                weight += blocks._weight[p, draws]
                weights.append(weight.copy())
                np.exp(weight, out=weight)
                of_weights += weight
                by_pattern.append(pattern.probability(values, draws))
                weight *= by_pattern[-1]
                total += weight
        # A first pattern that is all but impossible is no measure for the others.
        out = ~(of_weights.max(axis=1) < np.inf)
        total[~out] /= of_weights[~out]
        if out.any():
            logs = np.stack([np.zeros_like(total), *weights])[:, out]
            shares = np.exp(logs - logs.max(axis=0))
            found = (shares * np.stack(by_pattern)[:, out]).sum(axis=0)
            total[out] = found / shares.sum(axis=0)
        return total


def _width(average: Average, products: Products) -> np.ndarray:
    """Return how wide products make the first pattern where known values are 0, (draw,)."""
    value = products.constant[:, 0]
    spread = products.slope**2 + products.slope_variance * (1.0 + value**2)
    return np.asarray(spread.sum(axis=1) / (1.0 + average.variance[:, 0]))


def _ordered(average: Average, order: np.ndarray) -> Average:
    """Return the same with draws in another order."""
    arrays = {
        field.name: getattr(average, field.name)[order]
        for field in dataclasses.fields(average)
        if field.name != "products"
    }
    products = average.products
    if products is not None:
        names = [field.name for field in dataclasses.fields(products)]
        products = Products(**{name: getattr(products, name)[order] for name in names})
    return Average(**arrays, products=products)


def _pattern(average: Average, p: int, components: Components) -> Any:
    products = average.products
    if products is None:
        return _Normal(average, p, components)
    return Inversion(
        ProductPattern(
            constant=average.constant[:, p],
            variance=average.variance[:, p],
            coefficient=average.coefficient,
            known_slope_variance=average.known_slope_variance,
            origin=average.origin,
            slope=products.slope,
            slope_variance=products.slope_variance,
            value_constant=products.constant[:, p],
            value_coefficient=products.coefficient,
            atom=average.atom[:, p],
            atom_weight=average.atom_weight[:, p],
            components=components,
        )
    )


class _Normal:
    """One pattern whose linear predictor is normal, or a mixture of a few normals."""

    def __init__(self, average: Average, p: int, components: Components) -> None:
        self.constant, self.variance = average.constant[:, p], average.variance[:, p]
        self.atom, self.atom_weight = average.atom[:, p].T, average.atom_weight[:, p].T
        self.components = components
        self.coefficient = np.ascontiguousarray(average.coefficient.T)
        self.spread = None
        if average.known_slope_variance.any():
            self.spread = spread_of(average.known_slope_variance, average.origin)
            self.spread[0] += self.variance
        # Without a variance of the row's own, means are counted in its units from the start.
        self.scaled = [
            np.ascontiguousarray(self.coefficient / unit) for unit in self.units(self.variance)
        ]

    def units(self, variance: Any) -> list[Any]:
        """Return what the mean is measured in, for each normal of the link."""
        return [np.sqrt(1.0 / scale**2 + variance) for scale in self.components[1]]

    def at(self, intercept: np.ndarray) -> _NormalAt:
        return _NormalAt(self, intercept)


class _NormalAt:
    """The same at one intercept."""

    def __init__(self, normal: _Normal, intercept: np.ndarray) -> None:
        self._normal = normal
        self._constants = [normal.constant + intercept + atom for atom in normal.atom]

    def probability(self, values: np.ndarray, draws: slice) -> np.ndarray:
        """Return the (row, draw) probabilities of rows for some draws."""
        normal, rows = self._normal, values[:, None]
        if normal.spread is None:
            units: list[Any] = [unit[draws] for unit in normal.units(normal.variance)]
            linear = [np.matmul(rows, scaled[:, draws])[:, 0] for scaled in normal.scaled]
        else:
            spread = np.matmul(monomials(values)[:, None], normal.spread[:, draws])[:, 0]
            units = normal.units(spread)
            mean = np.matmul(rows, normal.coefficient[:, draws])[:, 0]
            linear = [mean / unit for unit in units]
        total: Any = None
        for constant, atom_weight in zip(self._constants, normal.atom_weight, strict=True):
            for i, weight in enumerate(normal.components[0]):
                position = linear[i] + constant[draws] / units[i]
                share = ndtr(position, out=position)
                if len(normal.components[0]) * len(self._constants) == 1:
                    return share
                share *= weight * atom_weight[draws]
                total = share if total is None else total + share
        return np.asarray(total)
