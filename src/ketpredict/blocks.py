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
from ketpredict.workers import Scratch

ROWS = 64
_MOST_DRAWS, _FEWEST_DRAWS = 512, 64
_MOST_COEFFICIENTS = 9_000
_SCRATCH = Scratch()


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
        """Return the (row, draw) probabilities of rows, until the thread asks for others.

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
        shape, order = (len(values), self._blocks._count), self._blocks._order
        result = _SCRATCH.array("result", shape)
        for draws in self._blocks._slices:
            some = values.shape[0], draws.stop - draws.start
            block = self._block(values, draws, _SCRATCH.array("block", some))
            if order is None:
                result[:, draws] = block
            else:
                result[:, order[draws]] = block
        return result

    def _block(self, values: np.ndarray, draws: slice, total: np.ndarray) -> np.ndarray:
        self._patterns[0].probability(values, draws, total)
        if len(self._patterns) == 1:
            return total
        blocks, rows = self._blocks, values[:, None]
        here, of_weights = (_SCRATCH.array(name, total.shape) for name in ("here", "weights"))
        weight = _SCRATCH.array("weight", (len(values), 1, total.shape[1]))
        of_weights[...] = 1.0
        with np.errstate(over="ignore", invalid="ignore"):
            for p, pattern in enumerate(self._patterns[1:]):
                np.matmul(rows, blocks._weight_coefficient[p][:, draws], out=weight)
                weight += blocks._weight[p, draws]
                np.exp(weight, out=weight)
                of_weights += weight[:, 0]
                pattern.probability(values, draws, here)
                here *= weight[:, 0]
                total += here
            total /= of_weights
        out = ~(of_weights.max(axis=1) < np.inf)
        if out.any():
            total[out] = self._far_apart(values[out], draws)
        return total

    def _far_apart(self, values: np.ndarray, draws: slice) -> np.ndarray:
        """Return probabilities where the first pattern is no measure: all but impossible."""
        blocks, shape = self._blocks, (len(values), draws.stop - draws.start)
        logs, found = [np.zeros(shape)], []
        for p in range(len(self._patterns) - 1):
            weight = np.matmul(values[:, None], blocks._weight_coefficient[p][:, draws])[:, 0]
            logs.append(weight + blocks._weight[p, draws])
        for pattern in self._patterns:
            found.append(pattern.probability(values, draws, np.empty(shape)))
        shares = np.exp(np.stack(logs) - np.max(logs, axis=0))
        return np.asarray((shares * np.stack(found)).sum(axis=0) / shares.sum(axis=0))


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
        self.units = [np.sqrt(1.0 / scale**2 + self.variance) for scale in components[1]]
        self.scaled = [np.ascontiguousarray(self.coefficient / unit) for unit in self.units]

    def at(self, intercept: np.ndarray) -> _NormalAt:
        return _NormalAt(self, intercept)


class _NormalAt:
    """The same at one intercept."""

    def __init__(self, normal: _Normal, intercept: np.ndarray) -> None:
        self._normal = normal
        self._constants = [normal.constant + intercept + atom for atom in normal.atom]

    def probability(self, values: np.ndarray, draws: slice, out: np.ndarray) -> np.ndarray:
        """Return the (row, draw) probabilities of rows for some draws, in `out`."""
        normal, rows = self._normal, values[:, None]
        unit, shape = _SCRATCH.array("unit", out.shape), (len(values), 1, out.shape[1])
        spread, position = (_SCRATCH.array(name, shape) for name in ("spread", "position"))
        if normal.spread is not None:
            np.matmul(monomials(values)[:, None], normal.spread[:, draws], out=spread)
        weights, scales = normal.components
        several = len(weights) * len(self._constants) > 1
        share = _SCRATCH.array("share", out.shape) if several else out
        if several:
            out[...] = 0.0
        for i, (weight, scale) in enumerate(zip(weights, scales, strict=True)):
            if normal.spread is None:
                of_draw = normal.units[i][draws]
            else:
                np.sqrt(np.add(spread[:, 0], 1.0 / scale**2, out=unit), out=unit)
            for constant, atom_weight in zip(self._constants, normal.atom_weight, strict=True):
                if normal.spread is None:
                    np.matmul(rows, normal.scaled[i][:, draws], out=position)
                    position += constant[draws] / of_draw
                else:
                    np.matmul(rows, normal.coefficient[:, draws], out=position)
                    position += constant[draws]
                    position[:, 0] /= unit
                ndtr(position[:, 0], out=share)
                if several:
                    share *= weight * atom_weight[draws]
                    out += share
        return out
