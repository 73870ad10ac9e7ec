r"""Patients of a simulation: predictors and response drawn one at a time from the joint model.

Written again from the model's definition: binary predictors one after the other, each from its rate
given the one before; continuous ones given the binary ones; then the linear predictor of that one
patient. No averaged probability, no formula for missing cells and no closed form of a 2 by 2 table
is shared with the rest of the package, so that a fit to simulated data checks these too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import ndtr

from ketpredict.marginal import rate_location
from ketpredict.predictors import Predictor

_HALVINGS = 60


def trial_location(
    parameters: Mapping[str, np.ndarray], predictors: Sequence[Predictor]
) -> np.ndarray:
    """Return where trial means lie on average: reference scale, or probit of a rate."""
    shift = [rate_location(p) if p.kind == "binary" else 0.0 for p in predictors]
    return np.asarray(parameters["predictor_location"] + np.array(shift))


def draw_trial_means(
    parameters: Mapping[str, np.ndarray],
    predictors: Sequence[Predictor],
    trials: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return means (probits of rates) of new trials, of shape (trial, predictor)."""
    position = rng.normal(size=(trials, len(predictors)))
    location = trial_location(parameters, predictors)
    return np.asarray(location + parameters["predictor_between_scale"] * position)


def rate_given_neighbour(
    neighbour: np.ndarray, rate: np.ndarray, log_odds_ratio: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rate of a binary predictor where its neighbour is 0, and where it is 1.

    Parameters
    ----------
    neighbour, rate : ndarray of one shape
        The two margins, between 0 and 1.
    log_odds_ratio : float

    Notes
    -----
    The odds ratio of a 2 by 2 table with these margins rises with the share that has both; that
    share is found by halving its range.
    """
    low, high = np.maximum(0.0, neighbour + rate - 1.0), np.minimum(neighbour, rate)
    for _ in range(_HALVINGS):
        both = (low + high) / 2.0
        neither = 1.0 - neighbour - rate + both
        too_few = both * neither < np.exp(log_odds_ratio) * (neighbour - both) * (rate - both)
        low, high = np.where(too_few, both, low), np.where(too_few, high, both)
    tiny = np.finfo(float).tiny
    # Clipped, since the last digit may fall outside where a margin is all but 0 or 1.
    return (
        np.clip((rate - both) / np.maximum(1.0 - neighbour, tiny), 0.0, 1.0),
        np.clip(both / np.maximum(neighbour, tiny), 0.0, 1.0),
    )


def draw_values(
    trial_mean: np.ndarray,
    parameters: Mapping[str, np.ndarray],
    predictors: Sequence[Predictor],
    rng: np.random.Generator,
    known: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the predictors of one patient for each row, and the weight of each row.

    Parameters
    ----------
    trial_mean : ndarray of shape (row, predictor)
        Mean on the reference scale, or probit of the rate, in the trial of each row.
    known : ndarray of shape (predictor,), optional
        Values that every row has: reference scale, or 0 and 1; NaN where not known.

    Returns
    -------
    values : ndarray of shape (row, predictor)
        Reference scale; 0 and 1 for binary predictors.
    weight : ndarray of shape (row,)
        How likely the known values are in the row's trial, given what was drawn before them: with
        these weights the rows are patients who have them. Ones where nothing is known.
    """
    values = np.full(trial_mean.shape, np.nan)
    fixed = np.full(len(predictors), np.nan) if known is None else np.asarray(known, dtype=float)
    binary = [k for k, predictor in enumerate(predictors) if predictor.kind == "binary"]
    continuous = [k for k, predictor in enumerate(predictors) if predictor.kind == "continuous"]
    weight = np.ones(len(trial_mean))
    rate = ndtr(trial_mean[:, binary])
    for j, k in enumerate(binary):
        probability = rate[:, j]
        if j:
            where_zero, where_one = rate_given_neighbour(
                rate[:, j - 1], probability, float(parameters["binary_log_odds_ratio"][j - 1])
            )
            probability = np.where(values[:, binary[j - 1]] == 1.0, where_one, where_zero)
        if np.isnan(fixed[k]):
            values[:, k] = rng.random(len(values)) < probability
        else:
            values[:, k] = fixed[k]
            weight *= probability if fixed[k] == 1.0 else 1.0 - probability
    if continuous:
        mean = trial_mean[:, continuous].copy()
        if binary:
            centre = np.array([predictors[k].centre for k in binary])
            mean += (values[:, binary] - centre) @ np.asarray(parameters["binary_shift"]).T
        drawn, density = _continuous_given(
            mean, np.asarray(parameters["predictor_covariance"]), fixed[continuous], rng
        )
        values[:, continuous] = drawn
        weight *= density
    return values, weight


def _continuous_given(
    mean: np.ndarray, covariance: np.ndarray, known: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return normal draws that have the known values, and the density of these in each row.

    A draw without conditions is moved by what its known part lacks, so that no conditional mean or
    covariance is worked out.
    """
    drawn = mean + rng.normal(size=mean.shape) @ np.linalg.cholesky(covariance).T
    at = np.flatnonzero(~np.isnan(known))
    if not len(at):
        return drawn, np.ones(len(mean))
    among = covariance[np.ix_(at, at)]
    lacking = np.linalg.solve(among, (known[at] - drawn[:, at]).T)
    distance = known[at] - mean[:, at]
    quadratic = (distance * np.linalg.solve(among, distance.T).T).sum(axis=1)
    density = np.exp(-quadratic / 2.0) / np.sqrt(np.linalg.det(2.0 * np.pi * among))
    moved = drawn + (covariance[:, at] @ lacking).T
    moved[:, at] = known[at]  # exactly, not up to rounding
    return moved, density


def linear_predictor(
    values: np.ndarray,
    trial_mean: np.ndarray,
    level: np.ndarray,
    slope: np.ndarray,
    across_slope: np.ndarray,
    predictors: Sequence[Predictor],
) -> np.ndarray:
    """Return each row's linear predictor, term by term.

    Parameters
    ----------
    values, trial_mean : ndarray of shape (row, predictor)
        As in :func:`draw_values`.
    level : ndarray of shape (row,)
        Everything that is not a predictor's.
    slope : ndarray of shape (row, predictor)
        Slope within the trial.
    across_slope : ndarray of shape (predictor,)
        What a trial's mean (or rate) adds beside the slope within the trial.
    """
    linear = np.array(level, dtype=float)
    for k, predictor in enumerate(predictors):
        if predictor.kind == "binary":
            entering = values[:, k] - predictor.centre
            position = ndtr(trial_mean[:, k]) - predictor.centre
        else:
            entering = values[:, k] - predictor.assay_dependent * trial_mean[:, k]
            position = trial_mean[:, k]
        linear += slope[:, k] * entering + across_slope[k] * position
    return linear


def draw_noise(link: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the part of each patient's latent response that nothing predicts."""
    return rng.logistic(size=count) if link == "logit" else rng.normal(size=count)
