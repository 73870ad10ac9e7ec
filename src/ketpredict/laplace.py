r"""Laplace approximation of a hierarchical density, scales apart from what they scale.

The joint mode of a hierarchical model is no guide: with effects written as scale times standard
normal, it inflates every scale, since the volume that the effects lose is not counted. So the
effects :math:`u` are integrated out first, by a Laplace approximation at every value of the scales
:math:`\theta` (Tierney and Kadane 1986, J Am Stat Assoc 81:82; Rue, Martino and Chopin 2009,
J R Stat Soc B 71:319):

.. math::
   m(\theta) = \log p(\hat u, \theta) - \tfrac12 \log|H|, \qquad
   H = -\nabla^2_{uu} \log p(\hat u, \theta), \quad \hat u = \hat u(\theta).

Only gradients of :math:`\log p` are needed. With :math:`C = H^{-1} = LL'` and its columns
:math:`l_j`, differences of gradients along the columns give both :math:`H` and the vector
:math:`t = \nabla \sum_j l_j' (\nabla^2 \log p)\, l_j`, so that the gradient of :math:`m` is

.. math::
   \nabla_\theta m = \partial_\theta \log p + \tfrac12 (t_\theta + J' t_u), \qquad
   J = \mathrm d\hat u/\mathrm d\theta = C\, \nabla^2_{u\theta} \log p,

since :math:`-\tfrac12 \mathrm d \log|H| = -\tfrac12 \mathrm{tr}(C\, \mathrm dH)`. The approximation
is :math:`\theta \sim N(\hat\theta, -(\nabla^2 m)^{-1})`,
:math:`u \mid \theta \sim N(\hat u + J(\theta - \hat\theta), C)`: one joint normal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.optimize import minimize

from ketpredict.errors import KetpredictError
from ketpredict.workers import thread_pool

Density = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""Log density and gradient at a point."""
_STEP = 0.01
"""Of a finite difference, in standard deviations of the effects given the scales."""
_ROUGH_STEP = 1e-4
_SCALE_STEP = 0.02
"""Of a finite difference of the marginal gradient, on the log scale."""
_LEAST_PRECISION = 0.25
"""Of a scale: twice a factor of e is as uncertain as a scale is allowed to be."""
_PARTS = 16
"""In how many parts differences are taken at once."""
_FAILED = 1e12


@dataclasses.dataclass(frozen=True)
class Normal:
    """A multivariate normal: ``mean + factor @ z`` for standard normal ``z``."""

    mean: np.ndarray
    factor: np.ndarray

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return draws (count, place) and their log density under the normal."""
        standard = rng.standard_normal((count, len(self.mean)))
        constant = np.linalg.slogdet(self.factor)[1] + 0.5 * len(self.mean) * np.log(2.0 * np.pi)
        log_density = -0.5 * (standard**2).sum(axis=1) - constant
        return self.mean + standard @ self.factor.T, log_density


@dataclasses.dataclass(frozen=True)
class _Inner:
    """The effects integrated out at one value of the scales."""

    value: float
    gradient: np.ndarray
    point: np.ndarray
    root: np.ndarray
    response: np.ndarray


def laplace(
    density: Density, start: np.ndarray, is_scale: np.ndarray, cores: int | None = None
) -> Normal:
    """Return the nested Laplace approximation of a density.

    Parameters
    ----------
    density : callable
        Log density and gradient at a point; called from several threads.
    start : ndarray of shape (place,)
    is_scale : ndarray of bool, shape (place,)
        What is not integrated out first: scales and shares, unconstrained.

    Raises
    ------
    KetpredictError
        No mode was found.
    """
    with thread_pool(cores) as pool:
        return _Search(density, is_scale, pool).run(start)


class _Search:
    """The search for the mode of the marginal density, and what it learnt last."""

    def __init__(self, density: Density, is_scale: np.ndarray, pool: ThreadPoolExecutor) -> None:
        self._density = density
        self._scale, self._effect = np.flatnonzero(is_scale), np.flatnonzero(~is_scale)
        self._pool = pool
        self._best: _Inner | None = None

    def run(self, start: np.ndarray) -> Normal:
        point = np.array(start, dtype=float)
        if len(self._scale):
            # Only `_best` is read afterwards: a line search that ends early has still moved it.
            minimize(
                self._objective, point[self._scale], args=(point,), jac=True, method="BFGS",
                options={"gtol": 0.05, "maxiter": 200},
            )  # fmt: skip
        else:
            self._best = self._integrated(point, None)
        if self._best is None:
            raise KetpredictError(
                "inference='laplace' found no mode of this posterior; use inference='nuts'."
            )
        return self._joint(self._best)

    def _objective(self, scales: np.ndarray, start: np.ndarray) -> tuple[float, np.ndarray]:
        found = self._at(scales, start)
        if found is None:
            return _FAILED, np.zeros(len(scales))
        if self._best is None or found.value > self._best.value:
            self._best = found
        return -found.value, -found.gradient

    def _at(self, scales: np.ndarray, start: np.ndarray) -> _Inner | None:
        """Return the effects integrated out, from where the best point so far would move to."""
        if self._best is None:
            point, root = start.copy(), None
        else:
            point, root = self._best.point.copy(), self._best.root
            point[self._effect] += self._best.response @ (scales - point[self._scale])
        point[self._scale] = scales
        return self._integrated(point, root)

    def _integrated(self, point: np.ndarray, root: np.ndarray | None) -> _Inner | None:
        effect = self._effect
        if root is None:
            root = np.eye(len(effect))
        point, value = self._inner_mode(point, root)
        try:
            # The contraction wants the root of this point's own inverse, which a first, cheaper
            # round finds.
            root = _inverse_root(self._curvature(point, root))
            curvature, cross, third, gradient = self._differences(point, root)
            lower = np.linalg.cholesky(curvature)
        except np.linalg.LinAlgError:
            return None
        root = np.linalg.inv(lower).T
        # What the optimiser left of the gradient: one Newton step.
        left = root.T @ gradient[effect]
        point[effect] += root @ left
        value += 0.5 * float(left @ left)
        response = root @ (root.T @ cross.T)
        slope = gradient[self._scale] + 0.5 * (third[self._scale] + response.T @ third[effect])
        log_determinant = 2.0 * np.log(np.diag(lower)).sum()
        found = value - 0.5 * log_determinant
        if not (np.isfinite(found) and np.isfinite(slope).all()):
            return None
        return _Inner(found, slope, point, root, response)

    def _inner_mode(self, point: np.ndarray, root: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the point with its effects at their mode, and the log density there."""
        moved, centre = point.copy(), point[self._effect].copy()

        def objective(standard: np.ndarray) -> tuple[float, np.ndarray]:
            moved[self._effect] = centre + root @ standard
            value, gradient = self._density(moved)
            if not np.isfinite(value):
                return _FAILED, np.zeros(len(standard))
            return -value, -(root.T @ gradient[self._effect])

        found = minimize(
            objective, np.zeros(len(centre)), jac=True, method="L-BFGS-B",
            options={"maxcor": 30, "maxiter": 1000, "ftol": 1e-14, "gtol": 1e-4},
        )  # fmt: skip
        moved[self._effect] = centre + root @ found.x
        return moved, -float(found.fun)

    def _curvature(self, point: np.ndarray, root: np.ndarray) -> np.ndarray:
        """Return H by one-sided differences along the columns of a root."""
        effect = self._effect
        middle = self._density(point)[1][effect]
        first = np.empty((len(effect), len(effect)))

        def along(columns: np.ndarray) -> None:
            for column in columns:
                aside = point.copy()
                aside[effect] += _ROUGH_STEP * root[:, column]
                first[:, column] = (self._density(aside)[1][effect] - middle) / _ROUGH_STEP

        self._in_parts(along)
        return -np.linalg.solve(root.T, first.T).T

    def _differences(
        self, point: np.ndarray, root: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return H, the mixed second derivatives, the third ones contracted, and the gradient."""
        middle = self._density(point)[1]
        first = np.empty((len(point), len(self._effect)))
        second = np.empty_like(first)

        def along(columns: np.ndarray) -> None:
            for column in columns:
                step = np.zeros(len(point))
                step[self._effect] = _STEP * root[:, column]
                ahead, behind = self._density(point + step)[1], self._density(point - step)[1]
                first[:, column] = (ahead - behind) / (2.0 * _STEP)
                second[:, column] = (ahead + behind - 2.0 * middle) / _STEP**2

        self._in_parts(along)
        hessian = np.linalg.solve(root.T, first.T).T  # from along the columns to along the axes
        curvature = -hessian[self._effect]
        curvature = 0.5 * (curvature + curvature.T)
        return curvature, hessian[self._scale], second.sum(axis=1), middle

    def _in_parts(self, work: Callable[[np.ndarray], None]) -> None:
        """Let several threads do the work on the columns of the effects."""
        list(self._pool.map(work, np.array_split(np.arange(len(self._effect)), _PARTS)))

    def _joint(self, best: _Inner) -> Normal:
        """Return the joint normal of scales and effects."""
        size, count = len(best.point), len(self._scale)
        factor, mean = np.zeros((size, size)), best.point.copy()
        if count:
            root = self._scale_root(best)
            left = root.T @ best.gradient
            step = root @ left / max(1.0, float(np.linalg.norm(left)))
            mean[self._scale] += step
            mean[self._effect] += best.response @ step
            factor[np.ix_(self._scale, np.arange(count))] = root
            factor[np.ix_(self._effect, np.arange(count))] = best.response @ root
        factor[np.ix_(self._effect, np.arange(count, size))] = best.root
        return Normal(mean, factor)

    def _scale_root(self, best: _Inner) -> np.ndarray:
        """Return a root of the inverse of the marginal's curvature at its mode."""
        scales = best.point[self._scale]
        precision = np.zeros((len(scales), len(scales)))
        for k in range(len(scales)):
            step = np.zeros(len(scales))
            step[k] = _SCALE_STEP
            for sign in (1.0, -1.0):
                aside = self._at(scales + sign * step, best.point)
                if aside is not None:
                    precision[k] = -sign * (aside.gradient - best.gradient) / _SCALE_STEP
                    break
        value, vector = np.linalg.eigh(0.5 * (precision + precision.T))
        return vector / np.sqrt(np.maximum(value, _LEAST_PRECISION))


def _inverse_root(curvature: np.ndarray) -> np.ndarray:
    """Return a root of the inverse."""
    return np.linalg.inv(np.linalg.cholesky(0.5 * (curvature + curvature.T))).T
