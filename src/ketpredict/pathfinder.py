"""Pathfinder: normal approximations along the path of an optimiser, the best of them kept.

Zhang, Carpenter, Gelman and Vehtari (2022), J Mach Learn Res 23:306. L-BFGS climbs from a random
start; at every point of its path the inverse Hessian that it has learnt so far defines a normal,
and the one with the largest evidence lower bound wins. Algorithm numbers are those of the paper.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from ketpredict.errors import KetpredictError
from ketpredict.laplace import Density

_HISTORY = 6
_BOUND_DRAWS = 10
_MOST_STEPS = 1000
_LEAST_CURVATURE = 1e-12


@dataclasses.dataclass(frozen=True)
class LowRankNormal:
    """A normal with covariance ``diag(spread**2)`` changed in a few directions.

    A draw is ``mean + spread * (z + basis @ (change - 1) @ basis.T @ z)`` for standard normal
    ``z``: a root of the covariance, since the columns of `basis` are orthonormal (algorithm 4).
    """

    mean: np.ndarray
    spread: np.ndarray
    basis: np.ndarray
    change: np.ndarray

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return draws (count, place) and their log density under the normal."""
        standard = rng.standard_normal((count, len(self.mean)))
        inside = standard @ self.basis
        moved = standard + (inside @ self.change.T - inside) @ self.basis.T
        log_root = np.log(self.spread).sum() + np.linalg.slogdet(self.change)[1]
        constant = log_root + 0.5 * len(self.mean) * np.log(2.0 * np.pi)
        return self.mean + self.spread * moved, -0.5 * (standard**2).sum(axis=1) - constant


def pathfinder(density: Density, start: np.ndarray, rng: np.random.Generator) -> LowRankNormal:
    """Return the best normal approximation on one path (algorithm 1).

    Raises
    ------
    KetpredictError
        No point of the path had a finite bound.
    """
    best, best_bound = None, -np.inf
    for normal in _normals(*_path(density, start)):
        points, log_normal = normal.draw(_BOUND_DRAWS, rng)
        bound = np.mean([density(point)[0] for point in points] - log_normal)
        if np.isfinite(bound) and bound > best_bound:
            best, best_bound = normal, bound
    if best is None:
        raise KetpredictError(
            "inference='pathfinder' found no normal approximation; use inference='nuts'."
        )
    return best


def _path(density: Density, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of the optimiser's path and the gradients there, (step, place)."""
    points, gradients = [np.array(start)], [density(start)[1]]

    def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = density(point)
        return (-value, -gradient) if np.isfinite(value) else (np.inf, np.zeros_like(point))

    def keep(intermediate_result: OptimizeResult) -> None:
        points.append(np.array(intermediate_result.x))
        gradients.append(density(points[-1])[1])

    minimize(
        objective, points[0], jac=True, method="L-BFGS-B", callback=keep,
        options={"maxcor": _HISTORY, "maxiter": _MOST_STEPS, "ftol": 1e-10, "gtol": 1e-5},
    )  # fmt: skip
    return np.array(points), np.array(gradients)


def _normals(points: np.ndarray, gradients: np.ndarray) -> Iterator[LowRankNormal]:
    """Yield the normal of every point of the path after the first (algorithm 3)."""
    diagonal = np.ones(points.shape[1])
    moves: list[np.ndarray] = []
    changes: list[np.ndarray] = []
    for step in range(1, len(points)):
        move = points[step] - points[step - 1]
        change = gradients[step - 1] - gradients[step]
        if move @ change > _LEAST_CURVATURE * (change @ change):
            diagonal = _updated(diagonal, move, change)
            moves, changes = [*moves, move][-_HISTORY:], [*changes, change][-_HISTORY:]
        if moves:
            with np.errstate(over="ignore", invalid="ignore"):
                normal = _normal(
                    diagonal, np.array(moves).T, np.array(changes).T, points[step], gradients[step]
                )
            if normal is not None:
                yield normal


def _updated(diagonal: np.ndarray, move: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Return the diagonal of the first inverse Hessian (Gilbert and Lemarechal 1989)."""
    along = change @ (diagonal * change)
    both = change @ move
    across = move @ (move / diagonal)
    inverse = along / (both * diagonal) + change**2 / both
    inverse -= along * move**2 / (both * across * diagonal**2)
    return 1.0 / inverse


def _normal(
    diagonal: np.ndarray,
    moves: np.ndarray,
    changes: np.ndarray,
    point: np.ndarray,
    gradient: np.ndarray,
) -> LowRankNormal | None:
    """Return the normal with the L-BFGS inverse Hessian as covariance (Byrd et al. 1994)."""
    upper = np.triu(moves.T @ changes)
    try:
        inverse = np.linalg.inv(upper)
        weighted = diagonal[:, None] * changes
        outer = np.hstack([weighted, moves])
        count = moves.shape[1]
        middle = np.zeros((2 * count, 2 * count))
        middle[:count, count:] = -inverse
        middle[count:, :count] = -inverse.T
        square = np.diag(np.diag(upper)) + changes.T @ weighted
        middle[count:, count:] = inverse.T @ square @ inverse
        spread = np.sqrt(diagonal)
        basis, triangle = np.linalg.qr(outer / spread[:, None])
        root = np.linalg.cholesky(np.eye(len(triangle)) + triangle @ middle @ triangle.T)
    except np.linalg.LinAlgError:
        return None
    mean = point + diagonal * gradient + outer @ (middle @ (outer.T @ gradient))
    return LowRankNormal(mean, spread, basis, root)
