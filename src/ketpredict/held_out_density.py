r"""Density of a fold's data with everything of its own integrated out, given the shared parameters.

All units of a trial share its effects, slopes, predictor means and rates, so that the product over
its patients and arms stands inside one integral,

.. math:: p(y, x \mid \theta) = \int \prod_i p(y_i \mid x_i, \psi, \theta)
          \prod_j p(x_j \mid \psi, \theta)\; p(\psi \mid \theta)\, d\psi ,

with :math:`\psi` the trial effect, treatment deviation, slopes and cells of each trial of the fold,
the deviations of arms that no other trial has, and the effects of a population that no other trial
has (its slopes stay shared where published effects speak of that population). The integrand is
the compiled kernel on the design of the fold alone, less the prior of what is shared, which is the
kernel on a design without data: no likelihood is written twice.

For each draw of :math:`\theta` the mode :math:`\hat\psi` is found by Newton's method, with the
curvature :math:`H` by differences of the kernel's gradient, and the integral is an average over
scrambled Sobol points of importance ratios against :math:`N(\hat\psi, 1.05^2 H^{-1})`: Laplace's
approximation, corrected (Kuk 1999, J Stat Comput Simul 63:353). Coordinates are those that the
sampler uses, in which the integrand is nearly normal.
"""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import gammaln, ndtri
from scipy.stats import qmc

from ketpredict.compiled import CompiledDensity, compile_design
from ketpredict.design import Design
from ketpredict.layout import Layout
from ketpredict.left_out import Fold, nothing, only
from ketpredict.marginal import rate_location
from ketpredict.pieces import compiled
from ketpredict.stopping import check_stop
from ketpredict.unconstrained import to_points

POINTS = (16, 64)
"""Sobol points for each draw, of one trial and of many own parameters at once."""
_MANY = 24
_SEED = 20_240_613
_WIDER = 1.05
_STEP = 1e-5
_MOST_STEPS = 25
_NEAR_ENOUGH = 1e-3
_LEAST_CURVATURE = 0.2
_LONGEST = 3.0
_OF_TRIALS = ("trial_effect", "treatment_deviation", "trial_slope", "trial_mean")
_HALF_LOG_TWO_PI = 0.5 * np.log(2.0 * np.pi)
_POINTER = ctypes.POINTER(ctypes.c_double)


@dataclasses.dataclass(frozen=True)
class FoldDensity:
    """Log density of a fold's data for each draw.

    Parameters
    ----------
    value : ndarray of shape (draw,)
    error : ndarray of shape (draw,)
        Standard error, as if the points were random: for evenly spread ones it is an upper bound.
    """

    value: np.ndarray
    error: np.ndarray


def fold_log_density(
    design: Design,
    fold: Fold,
    parameters: Mapping[str, np.ndarray],
    *,
    outcomes: bool = True,
    points: int | None = None,
) -> FoldDensity:
    """Return the log density of a fold's data, its own parameters integrated out.

    Parameters
    ----------
    design : Design
        The whole.
    parameters : mapping of str to ndarray
        Draws of the shared parameters, (draw, ...); what else it holds plays no part.
    outcomes : bool
        Of outcomes and predictors; else of the predictors alone.
    points : int, optional
        Sobol points for each draw; a power of 2. By default 16, or 64 with more than 24 own
        parameters: errors of the log density of about 0.01.
    """
    data = only(design, fold, outcomes=outcomes)
    if not len(data.units) and not len(data.people):
        count = len(parameters["intercept"])
        return FoldDensity(np.zeros(count), np.zeros(count))
    whole = _Evaluator(compile_design(data))
    bare = _Evaluator(compile_design(nothing(design)))
    shared = {name: values for name, values in parameters.items() if name not in _OF_TRIALS}
    at = to_points(data, whole.layout, shared)
    own = _own_places(design, whole.layout, fold, outcomes=outcomes)
    centre, spread = _own_prior(design, own, at, parameters)
    normal = _normal_points(points or POINTS[len(own.place) > _MANY], len(own.place))
    start = _first_guess(design, own)
    merged = _merged(data)
    found = np.empty((2, len(at)))
    curvature = None
    for s, point in enumerate(at):
        check_stop()
        point[own.place] = start
        prior = _normal_log_density(start, centre[s], spread[s])
        shared_part = bare(point) - prior
        start, curvature = _mode(whole, point, own.place, start, curvature)
        found[:, s] = _corrected(whole, point, own.place, start, curvature, normal)
        found[0, s] -= shared_part + merged
    return FoldDensity(*found)


def _merged(design: Design) -> float:
    """Return the log number of orders in which patients with equal rows may have responded.

    Patients are single events, however many stand in one row; only an arm is a count.
    """
    units = design.units
    n, responders = (part[units.is_arm == 0] for part in (units.n, units.responders))
    orders = gammaln(n + 1.0) - gammaln(responders + 1.0) - gammaln(n - responders + 1.0)
    return float(orders.sum())


class _Evaluator:
    """A compiled log density, called without new arrays."""

    def __init__(self, density: CompiledDensity) -> None:
        self.layout: Layout = density.model.layout
        size = density.model.n_dim
        self.point, self.gradient, self._value = np.empty(size), np.empty(size), np.empty(1)
        arrays = (self.point, self.gradient, self._value)
        places = [array.ctypes.data_as(_POINTER) for array in arrays]
        self._kept = density
        self._arguments = (size, *places, density.model.memory.ctypes.data_as(_POINTER))
        self._function: Any = compiled("whole_density").ctypes

    def __call__(self, point: np.ndarray) -> float:
        """Return the log density at a point; ``gradient`` then is that of this point."""
        self.point[:] = point
        return self.again()

    def again(self) -> float:
        """Return the log density at ``point`` as it stands."""
        self._function(*self._arguments)
        return float(self._value[0])


@dataclasses.dataclass(frozen=True)
class _Own:
    """Places of a fold's own coordinates in the point; of cells, which of the design's they are."""

    place: np.ndarray
    cell: np.ndarray


def _own_places(design: Design, layout: Layout, fold: Fold, *, outcomes: bool) -> _Own:
    count, trials = len(design.predictors), np.flatnonzero(fold.trials)
    wanted: list[tuple[str, np.ndarray]] = []
    if outcomes:
        others = list(design.other_arms)
        own_arms = np.array([others.index(arm) for arm in fold.arms if arm in others], dtype=int)
        wanted += [
            ("trial_effect_raw", trials),
            ("treatment_deviation_raw", trials),
            ("trial_slope_raw", _rows(trials, count)),
            ("arm_effect_raw", own_arms),
        ]
        if fold.population is not None:
            population = np.array([fold.population])
            wanted.append(("population_effect_raw", population))
            if not slopes_stay(design, fold.population):
                wanted.append(("population_slope_raw", _rows(population, count)))
    places = [layout.start[name] + index for name, index in wanted if name in layout.start]
    cell = np.full(sum(len(place) for place in places), -1)
    cells = np.flatnonzero(fold.trials[design.law_trial[design.cells[:, 0]]])
    for name, index, before in (
        ("trial_mean_reported", cells[cells < design.n_reported], 0),
        ("trial_mean_unreported_raw", cells[cells >= design.n_reported], design.n_reported),
    ):
        if name in layout.start and len(index):
            places.append(layout.start[name] + index - before)
            cell = np.append(cell, index if not before else np.full(len(index), -1))
    return _Own(np.concatenate([*places, np.zeros(0, dtype=int)]).astype(int), cell)


def slopes_stay(design: Design, population: int) -> bool:
    """Return whether published effects speak of a population's slopes: they then stay shared."""
    return bool(len(design.effects) and design.effects.population_weight[:, population].any())


def _rows(index: np.ndarray, width: int) -> np.ndarray:
    """Return the places of some rows of a matrix that is stored row after row."""
    return (index[:, None] * width + np.arange(width)).ravel()


def _own_prior(
    design: Design, own: _Own, at: np.ndarray, parameters: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and SD of each own coordinate given what is shared, (draw, coordinate)."""
    centre, spread = np.zeros((len(at), len(own.place))), np.ones((len(at), len(own.place)))
    is_cell = own.cell >= 0
    predictor = design.cells[own.cell[is_cell], 1]
    middle = np.array([rate_location(p) if p.kind == "binary" else 0.0 for p in design.predictors])
    if is_cell.any():
        centre[:, is_cell] = (parameters["predictor_location"] + middle)[:, predictor]
        spread[:, is_cell] = parameters["predictor_between_scale"][:, predictor]
    return centre, spread


def _first_guess(design: Design, own: _Own) -> np.ndarray:
    """Return a start: the means and rates that the trials report, else the middle of the prior."""
    guess = np.zeros(len(own.place))
    for i in np.flatnonzero(own.cell >= 0):
        law, k = design.cells[own.cell[i]]
        value = np.nan_to_num(design.trial_values[design.law_trial[law], k])
        binary = design.predictors[k].kind == "binary"
        guess[i] = ndtri(np.clip(value, 0.02, 0.98)) if binary else value
    return guess


def _normal_log_density(value: np.ndarray, centre: np.ndarray, spread: np.ndarray) -> float:
    each = -0.5 * ((value - centre) / spread) ** 2 - np.log(spread) - _HALF_LOG_TWO_PI
    return float(each.sum())


def _normal_points(points: int, dimensions: int) -> np.ndarray:
    """Return evenly spread standard normal points, the same for every draw."""
    sobol = qmc.Sobol(max(dimensions, 1), rng=np.random.default_rng(_SEED))
    return np.asarray(ndtri(np.clip(sobol.random(points), 1e-12, 1.0 - 1e-12)))[:, :dimensions]


def _mode(
    density: _Evaluator,
    point: np.ndarray,
    place: np.ndarray,
    start: np.ndarray,
    curvature: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mode of the integrand, and the curvature there.

    The curvature of the draw before is good enough to walk with; a full step that leads down is
    halved.
    """
    at = start.copy()
    if curvature is None:
        curvature = _curvature(density, point, place, at)
    fresh = False
    for _ in range(_MOST_STEPS):
        point[place] = at
        height = density(point)
        gradient = density.gradient[place].copy()
        step = np.linalg.solve(curvature, gradient)
        gain = float(gradient @ step)
        if gain < _NEAR_ENOUGH:
            break
        step *= min(1.0, _LONGEST / np.sqrt(gain))
        for _ in range(_MOST_STEPS):
            density.point[place] = at + step
            if density.again() > height:
                break
            step = step / 2.0
            if not fresh:
                curvature, fresh = _curvature(density, point, place, at), True
                step = np.linalg.solve(curvature, gradient)
        at = at + step
        fresh = False
    return at, _curvature(density, point, place, at)


def _curvature(
    density: _Evaluator, point: np.ndarray, place: np.ndarray, at: np.ndarray
) -> np.ndarray:
    """Return the negative Hessian, made positive where it is not."""
    point[place] = at
    density(point)
    here = density.gradient[place].copy()
    matrix = np.empty((len(place), len(place)))
    for i, where in enumerate(place):
        density.point[where] = at[i] + _STEP
        density.again()
        matrix[i] = (here - density.gradient[place]) / _STEP
        density.point[where] = at[i]
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    return np.asarray((vectors * np.maximum(values, _LEAST_CURVATURE)) @ vectors.T)


def _corrected(
    density: _Evaluator,
    point: np.ndarray,
    place: np.ndarray,
    mode: np.ndarray,
    curvature: np.ndarray,
    normal: np.ndarray,
) -> tuple[float, float]:
    """Return the log of the integral by importance sampling around the mode, and its error."""
    factor = np.linalg.cholesky(curvature)
    # With H = LL', L'^-1 z has the covariance H^-1.
    moved = mode + _WIDER * np.linalg.solve(factor.T, normal.T).T
    log_width = len(place) * np.log(_WIDER) - np.log(np.diag(factor)).sum()
    proposal = -0.5 * (normal**2).sum(axis=1) - len(place) * _HALF_LOG_TWO_PI - log_width
    density.point[:] = point
    ratio = np.empty(len(normal))
    for j, one in enumerate(moved):
        density.point[place] = one
        ratio[j] = density.again()
    ratio -= proposal
    highest = ratio.max()
    relative = np.exp(ratio - highest)
    mean = relative.mean()
    error = relative.std(ddof=1) / (mean * np.sqrt(len(ratio)))
    return float(highest + np.log(mean)), float(error)
