r"""Rates of binary predictors in a trial that the fit has not seen, and what patients say of them.

The probit of a rate is :math:`t_b = L_b + \omega_b e_b` with standard normal :math:`e_b`. Given the
rates the binaries of a patient are a chain (:mod:`ketpredict.association`), so that every average
over the rates is a sum along the chain: over the nodes of one rate at a time, never over all rates
together. The nodes are equally spaced; for these analytic integrands that rule converges faster
than any Gauss rule (Trefethen and Weideman 2014, SIAM Rev 56:385).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
from scipy.special import ndtr, ndtri

from ketpredict.association import pair_probability

_FINE_STEP = 0.1
_FINE = np.arange(-75, 76) * _FINE_STEP
_NEAR = 0.6
_MOST_AT_ONCE = 200_000
_ATOMS = 5
_SMALL = 1e-300


@dataclasses.dataclass(frozen=True)
class RateLaw:
    """Law of the rates in an unseen trial, and what they add to the linear predictor.

    Parameters
    ----------
    location, scale : ndarray of shape (draw, binary)
        Of the probits of the rates; a scale of 0 where a rate is known.
    log_odds_ratio : ndarray of shape (draw, pair)
    across : ndarray of shape (draw, binary)
        Slopes of trial rates.
    centre : ndarray of shape (binary,)
        Rates that add nothing.
    """

    location: np.ndarray
    scale: np.ndarray
    log_odds_ratio: np.ndarray
    across: np.ndarray
    centre: np.ndarray
    _found: dict[tuple[float, ...], tuple[np.ndarray, ...]] = dataclasses.field(
        default_factory=dict, repr=False, compare=False
    )

    def probability(self, values: np.ndarray) -> np.ndarray:
        """Return the probability of patterns, averaged over the rates.

        Parameters
        ----------
        values : ndarray of shape (pattern, binary)

        Returns
        -------
        ndarray of shape (draw, pattern)
        """
        return np.stack([one[0] for one in self._of_patterns(values)], axis=1)

    def shift_atoms(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r"""Return the effect of a trial's rates on the linear predictor, as a few weighted atoms.

        The scalar :math:`Z = \sum_b \alpha_b (\text{rate}_b - c_b)`, given a patient's pattern,
        enters a smooth function. Five atoms have its first ten moments (a Gauss rule), which come
        from one pass along the chain.

        Parameters
        ----------
        values : ndarray of shape (pattern, binary)

        Returns
        -------
        atom, weight : ndarray of shape (draw, pattern, atom)
            Weights sum to 1 in each draw and pattern.
        """
        found = self._of_patterns(values)
        return np.stack([one[1] for one in found], 1), np.stack([one[2] for one in found], 1)

    def _of_patterns(self, values: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        """Return probability, atoms and their weights of each pattern, worked out once."""
        rows = [tuple(row) for row in values.tolist()]
        new = np.array([row for row in dict.fromkeys(rows) if row not in self._found])
        if len(new):
            self._found.update(self._worked_out(new.reshape(len(new), -1)))
        return [self._found[row] for row in rows]

    def _worked_out(self, values: np.ndarray) -> dict[tuple[float, ...], tuple[np.ndarray, ...]]:
        middle = ndtr(self.location / np.sqrt(1.0 + self.scale**2))
        # Distances from the middle in units that keep all moments near 1.
        rough = 0.3 * self.scale / (1.0 + self.scale)
        unit = np.maximum(np.sqrt((self.across**2 * rough**2).sum(axis=1)), 1e-9)
        most = 2 * _ATOMS - 1 if self.across.any() else 0
        moments = self._moments(values, self.across / unit[:, None], middle, most)
        offset = (self.across * (middle - self.centre)).sum(axis=1)
        shape = (*moments.shape[:2], 1)
        node, weight = np.zeros(shape), np.ones(shape)
        if most:
            node, weight = _gauss_rule(moments / np.maximum(moments[..., :1], _SMALL))
        atom = offset[:, None, None] + unit[:, None, None] * node
        return {
            tuple(row): (moments[:, p, 0], atom[:, p], weight[:, p])
            for p, row in enumerate(values.tolist())
        }

    def rates_given(
        self, values: np.ndarray, normal: np.ndarray, wanted: np.ndarray | None = None
    ) -> np.ndarray:
        """Return rates of trials that have a patient with a given pattern.

        The rates' law given the pattern is sampled one rate after the other along the chain, each
        by inverting its distribution function at the given standard normal value.

        Parameters
        ----------
        values : ndarray of shape (binary,)
        normal : ndarray of shape (draw, trial, binary)
        wanted : ndarray of bool, shape (draw, trial), optional
            Which to work out; the others are 0. All by default.

        Returns
        -------
        ndarray of shape (draw, trial, binary)
        """
        rates = np.zeros_like(normal)
        wanted = np.ones(normal.shape[:2], dtype=bool) if wanted is None else wanted
        for part, stride in self._parts():
            draw, trial = np.nonzero(wanted[part])
            rates[part[draw], trial] = self._part(part)._sampled(
                values, normal[part[draw], trial], draw, _FINE[::stride]
            )
        return rates

    def _parts(self) -> Iterator[tuple[np.ndarray, int]]:
        """Yield draws, and every how many of the fine nodes make a grid near enough for averages.

        Narrow features of the integrand ask for near nodes: their width falls with the scale. Each
        draw has the grid that it needs, a few wide ones do not make all of them dear.
        """
        widest = np.max(self.scale, axis=1, initial=0.0)
        strides = np.maximum((_NEAR / np.sqrt(1.0 + widest**2) / _FINE_STEP).astype(int), 1)
        for stride in np.unique(strides):
            index = np.flatnonzero(strides == stride)
            size = max(1, _MOST_AT_ONCE // len(_FINE[::stride]) ** 2)
            for start in range(0, len(index), size):
                yield index[start : start + size], int(stride)

    def _sampled(
        self, values: np.ndarray, normal: np.ndarray, draw: np.ndarray, near: np.ndarray
    ) -> np.ndarray:
        """Return rates, (case, binary), at standard normal values of that shape and their draws."""
        rate = ndtr(self.location[:, :, None] + self.scale[:, :, None] * near)
        density = np.exp(-0.5 * near**2)
        # What later binaries say about each rate, from the last to the first: smooth functions.
        message = np.ones((len(rate), len(near)))
        to_fine = _spline_of(len(near), round((near[1] - near[0]) / _FINE_STEP)).T
        ahead = [np.ones((len(rate), len(_FINE)))]
        for j in range(len(values) - 1, 0, -1):
            pair = _pair(
                rate[:, j - 1, :, None], rate[:, j, None, :], self.log_odds_ratio[:, j - 1]
            )
            step = _given(pair, values[j - 1], values[j])
            message = (step * (density * message)[:, None, :]).sum(axis=-1)
            message = message / message.max(axis=1, keepdims=True)
            # Draw by draw: one product for all would wake BLAS threads for a millisecond of work.
            ahead.insert(0, np.maximum((message[:, None, :] @ to_fine)[:, 0], 0.0))
        rate = ndtr(self.location[:, :, None] + self.scale[:, :, None] * _FINE)
        result = np.empty_like(normal)
        for j, value in enumerate(values):
            if j == 0:  # the same for all trials of a draw
                likelihood = (rate[:, 0] if value > 0 else 1.0 - rate[:, 0]) * ahead[0]
                row = draw
            else:
                ratio = self.log_odds_ratio[draw, j - 1]
                pair = _pair(result[:, j - 1, None], rate[:, j].take(draw, axis=0), ratio)
                likelihood = _given(pair, values[j - 1], value) * ahead[j].take(draw, axis=0)
                row = np.arange(len(draw))
            position = _inverted(likelihood, normal[:, j], row)
            result[:, j] = ndtr(self.location[draw, j] + self.scale[draw, j] * position)
        return result

    def _moments(
        self, values: np.ndarray, slope: np.ndarray, middle: np.ndarray, most: int
    ) -> np.ndarray:
        """Return (draw, pattern, power): averages of pattern probability times powers of Z."""
        result = np.empty((len(self.location), len(values), most + 1))
        for part, stride in self._parts():
            result[part] = self._part(part)._chain(
                values, slope[part], middle[part], most, _FINE[::stride]
            )
        return result

    def _chain(
        self, values: np.ndarray, slope: np.ndarray, middle: np.ndarray, most: int, node: np.ndarray
    ) -> np.ndarray:
        weight = np.exp(-0.5 * node**2)
        weight = weight / weight.sum()
        rate = ndtr(self.location[:, :, None] + self.scale[:, :, None] * node)
        distance = slope[:, :, None] * (rate - middle[:, :, None])
        # Patterns with a common beginning share their sums so far.
        so_far: dict[tuple[float, ...], np.ndarray] = {}
        for value in sorted(set(values[:, 0])):
            own = (rate[:, 0] if value > 0 else 1.0 - rate[:, 0]) * weight
            so_far[(value,)] = _with_step(
                own[:, None, :] * _first_power(most), distance[:, 0], most
            )
        for j in range(1, values.shape[1]):
            longer = {}
            grid = _pair(
                rate[:, j - 1, :, None], rate[:, j, None, :], self.log_odds_ratio[:, j - 1]
            )
            for beginning in sorted({tuple(row[: j + 1]) for row in values.tolist()}):
                moved = (so_far[beginning[:j]] @ _given(grid, *beginning[j - 1 :])) * weight
                longer[beginning] = _with_step(moved, distance[:, j], most)
            so_far = longer
        return np.stack([so_far[tuple(row)].sum(axis=-1) for row in values.tolist()], axis=1)

    def _part(self, part: np.ndarray) -> RateLaw:
        return dataclasses.replace(
            self,
            location=self.location[part],
            scale=self.scale[part],
            log_odds_ratio=self.log_odds_ratio[part],
            across=self.across[part],
            _found={},
        )


def _pair(
    before: np.ndarray, rate: np.ndarray, log_odds_ratio: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rates of two binaries, and the probability that both are 1."""
    ratio = log_odds_ratio.reshape(-1, *(1,) * (np.ndim(before) - 1))
    first, second = np.clip(before, 1e-15, 1.0 - 1e-15), np.clip(rate, 1e-15, 1.0 - 1e-15)
    return first, second, np.asarray(pair_probability(first, second, ratio))


def _given(
    pair: tuple[np.ndarray, np.ndarray, np.ndarray], before: float, value: float
) -> np.ndarray:
    """Return the probability of a binary's value given that of the one before it."""
    first, second, both = pair
    given = both / first if before > 0 else (second - both) / (1.0 - first)
    return np.asarray(given if value > 0 else 1.0 - given)


@functools.cache
def _spline_of(count: int, stride: int) -> np.ndarray:
    """Return the matrix from values at every so many fine nodes to all fine nodes.

    The cubic spline through equally spaced nodes whose first two and last two pieces are one cubic
    each. Written out here: SciPy's takes half a second to import.
    """
    step = stride * _FINE_STEP
    value = np.eye(count)
    # Curvatures solve a tridiagonal system (1, 4, 1); one cubic over two pieces gives both ends.
    right = 6.0 * (value[:-2] - 2.0 * value[1:-1] + value[2:]) / step**2
    curvature, share = np.zeros((count, count)), np.zeros(count)
    curvature[1], curvature[-2] = right[0] / 6.0, right[-1] / 6.0
    for i in range(2, count - 2):
        share[i] = 1.0 / (4.0 - share[i - 1])
        curvature[i] = (right[i - 1] - curvature[i - 1]) * share[i]
    for i in range(count - 3, 1, -1):
        curvature[i] -= share[i] * curvature[i + 1]
    curvature[0] = 2.0 * curvature[1] - curvature[2]
    curvature[-1] = 2.0 * curvature[-2] - curvature[-3]
    piece = np.minimum(np.arange(len(_FINE)) // stride, count - 2)
    part = (np.arange(len(_FINE)) / stride - piece)[:, None]
    bend = (1.0 - part) ** 3 - (1.0 - part), part**3 - part
    return np.asarray(
        (1.0 - part) * value[piece]
        + part * value[piece + 1]
        + step**2 / 6.0 * (bend[0] * curvature[piece] + bend[1] * curvature[piece + 1])
    )


def _first_power(most: int) -> np.ndarray:
    """Return 1 for power 0 and 0 for the others, (power, 1)."""
    return np.eye(most + 1)[:, :1]


def _with_step(moments: np.ndarray, distance: np.ndarray, most: int) -> np.ndarray:
    """Return (draw, power, node) moments after a step is added, by the binomial theorem."""
    if most == 0:
        return moments
    result = moments.copy()
    # Horner's scheme in Pascal's triangle: (Z + d)^n = (Z + d)^(n-1) Z + (Z + d)^(n-1) d.
    for row in range(1, most + 1):
        for power in range(most, row - 1, -1):
            result[:, power] += result[:, power - 1] * distance
    return result


def _gauss_rule(moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of the Gauss rules with given moments, (..., node).

    Chebyshev's algorithm for the recurrence, then the eigenvalues of its tridiagonal matrix (Golub
    and Welsch 1969, Math Comput 23:221).
    """
    lead, count = moments.shape[:-1], moments.shape[-1] // 2
    diagonal, beside = np.zeros((*lead, count)), np.zeros((*lead, count))
    before, now = np.zeros_like(moments), moments.copy()
    diagonal[..., 0] = moments[..., 1]
    fixed = np.zeros(lead, dtype=bool)
    for k in range(1, count):
        after = np.zeros_like(moments)
        for m in range(k, 2 * count - k):
            after[..., m] = (
                now[..., m + 1]
                - diagonal[..., k - 1] * now[..., m]
                - beside[..., k - 1] * before[..., m]
            )
        # A rate that hardly varies has fewer atoms than asked for: the rest get no weight.
        fixed = fixed | ~(after[..., k] > 1e-12 * now[..., k - 1])
        safe = np.where(fixed, 1.0, after[..., k])
        last = np.where(now[..., k - 1] > 0, now[..., k - 1], 1.0)
        beside[..., k] = np.where(fixed, 0.0, safe / last)
        diagonal[..., k] = np.where(fixed, 0.0, after[..., k + 1] / safe - now[..., k] / last)
        before, now = now, after
    matrix = np.zeros((*lead, count, count))
    place = np.arange(count)
    matrix[..., place, place] = diagonal
    root = np.sqrt(beside[..., 1:])
    matrix[..., place[1:], place[:-1]] = root
    matrix[..., place[:-1], place[1:]] = root
    node, vector = np.linalg.eigh(matrix)
    return node, vector[..., 0, :] ** 2


def _inverted(likelihood: np.ndarray, normal: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return where a standard normal position, weighted by a likelihood, has given quantiles.

    Between nodes the likelihood is linear, and its product with the normal density is integrated
    exactly. Positions are interpolated against the probit of their distribution function, which is
    nearly a straight line.

    Parameters
    ----------
    likelihood : ndarray of shape (row, node)
    normal : ndarray of shape (case,)
        Probits of the quantiles.
    row : ndarray of int, shape (case,)
        Which likelihood is a case's.
    """
    mass = np.diff(ndtr(_FINE))
    first = -np.diff(np.exp(-0.5 * _FINE**2) / np.sqrt(2.0 * np.pi))
    rise = (first - _FINE[:-1] * mass) / _FINE_STEP
    below = likelihood[:, :-1] * (mass - rise)
    below += likelihood[:, 1:] * rise
    np.cumsum(below, axis=1, out=below)
    whole = below[row, -1]
    reached = below.take(row, axis=0) < (ndtr(normal) * whole)[:, None]
    place = np.clip(np.count_nonzero(reached, axis=1), 1, len(_FINE) - 2)
    low, high = (
        ndtri(np.clip(below[row, at] / whole, 1e-14, 1.0 - 1e-14)) for at in (place - 1, place)
    )
    # Where the distribution function no longer rises in double precision, stay at the node.
    part = np.clip((normal - low) / np.where(high > low, high - low, 1.0), 0.0, 1.0)
    return _FINE[place] + part * _FINE_STEP
