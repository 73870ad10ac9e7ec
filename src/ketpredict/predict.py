"""Prediction: the only path from posterior draws and rows of patients to probabilities.

Nothing is drawn at random for a row: missing predictors and unseen trials and populations are
integrated out, so that a result does not depend on the other rows or on their order. NumPy and
``scipy.special`` are all it needs.

Two distributions are offered for a trial that the fit has not seen. The *average* probability is
averaged over trials in every draw; its interval is parameter uncertainty. The probability *in one
trial* also varies between trials; its interval is the wider. In a trial that the fit knows the two
are the same.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from ketpredict.equations import unit_intercept, unit_slope
from ketpredict.errors import DataError
from ketpredict.marginal import (
    between_trial_sd,
    normal_average,
    product_average,
    reference_rate,
    unreported_rate,
)
from ketpredict.posterior import Posterior
from ketpredict.predictors import Predictor
from ketpredict.rows import Rows

INTERVAL_KINDS = ("trial", "average")
_TRIALS_PER_DRAW = 4
_CHUNK_VALUES = 400_000
_ROWS_AT_ONCE = 500
_SEED = 20_240_613


def response_draws(posterior: Posterior, rows: Rows) -> np.ndarray:
    """Return draws of the probability of response, averaged over unseen trials.

    Returns
    -------
    ndarray of shape (draw, row)
        Probability scale; no outcome noise.
    """
    # Rows first in memory: a mean over draws then adds in one order, however many rows there are.
    result = np.empty((len(rows), posterior.n_draws))
    for index, part in _alike(rows, posterior.n_draws * 8):
        result[index] = _average_probability(posterior, part).T
    return result.T


def trial_draws(posterior: Posterior, rows: Rows) -> np.ndarray:
    """Return draws of the probability of response in one trial, unseen ones included.

    Every posterior draw meets four unseen trials, the same for all rows (a scrambled Sobol
    sequence with a fixed seed).

    Returns
    -------
    ndarray of shape (4 * draw, row)
    """
    unseen = _unseen_trials(posterior)
    result = np.empty((len(rows), posterior.n_draws * _TRIALS_PER_DRAW))
    for index, part in _alike(rows, result.shape[1] * 4):
        result[index] = _trial_probability(posterior, part, unseen).T
    return result.T


def interval(posterior: Posterior, rows: Rows, prob: float, kind: str = "trial") -> np.ndarray:
    """Return equal-tailed intervals of the probability of response.

    Parameters
    ----------
    prob : float
        Probability content, between 0 and 1.
    kind : {"trial", "average"}
        In one trial (the default, wider for unseen trials), or averaged over trials.

    Returns
    -------
    ndarray of shape (row, 2)
        Lower and upper limit.

    Raises
    ------
    DataError
        `prob` or `kind` is none of these.
    """
    if kind not in INTERVAL_KINDS:
        raise DataError(f"kind is {kind!r}; expected 'trial' or 'average'.")
    if not isinstance(prob, (int, float)) or not 0 < prob < 1:
        raise DataError(f"prob is {prob!r}; expected a number between 0 and 1, such as 0.9.")
    tails = [(1.0 - prob) / 2.0, (1.0 + prob) / 2.0]
    # In a known trial there is no other trial to vary over: both kinds are the same numbers.
    in_unseen = (rows.new_trial | rows.new_population) & (kind == "trial")
    limits = np.empty((len(rows), 2))
    for of, draws in ((~in_unseen, response_draws), (in_unseen, trial_draws)):
        index = np.flatnonzero(of)
        for start in range(0, len(index), _ROWS_AT_ONCE):
            part = index[start : start + _ROWS_AT_ONCE]
            limits[part] = np.quantile(draws(posterior, rows.take(part)), tails, axis=0).T
    return limits


def _alike(rows: Rows, values_per_row: int) -> Iterator[tuple[np.ndarray, Rows]]:
    """Yield rows that share their missing predictors and kind of setting, in bounded pieces."""
    keys = np.column_stack(
        [np.isnan(rows.x), rows.x_variance > 0, rows.new_trial, rows.new_population]
    )
    _, group = np.unique(keys, axis=0, return_inverse=True)
    size = max(1, _CHUNK_VALUES // max(values_per_row, 1))
    for code in range(group.max() + 1 if len(group) else 0):
        members = np.flatnonzero(group == code)
        for start in range(0, len(members), size):
            index = members[start : start + size]
            yield index, rows.take(index)


@dataclasses.dataclass(frozen=True)
class _Group:
    """Rows alike: the linear predictor of what is known, and which predictors are not."""

    linear: np.ndarray
    slope: np.ndarray
    known: np.ndarray
    missing_binary: list[int]
    uncertain_continuous: list[int]


def _group(posterior: Posterior, rows: Rows) -> _Group:
    parameters = posterior.parameters
    slope = unit_slope(parameters, rows)
    uncertain = (np.isnan(rows.x) | (rows.x_variance > 0)).any(axis=0)
    known = np.where(uncertain, 0.0, rows.x)

    def positions(kind: str) -> list[int]:
        return [k for k, p in enumerate(posterior.predictors) if p.kind == kind and uncertain[k]]

    return _Group(
        linear=unit_intercept(parameters, rows) + (slope * known).sum(axis=-1),
        slope=slope,
        known=known,
        missing_binary=positions("binary"),
        uncertain_continuous=positions("continuous"),
    )


def _patterns(
    group: _Group, predictors: Sequence[Predictor], rate: Callable[[int], Any]
) -> Iterator[tuple[Any, dict[int, float]]]:
    """Yield weight and centred values of each 0/1 pattern of the missing binary predictors."""
    for values in itertools.product((0, 1), repeat=len(group.missing_binary)):
        weight: Any = 1.0
        centred = {}
        for k, value in zip(group.missing_binary, values, strict=True):
            weight = weight * (rate(k) if value else 1.0 - rate(k))
            centred[k] = value - predictors[k].centre
        yield weight, centred


def _known_trial_value(posterior: Posterior, rows: Rows, k: int) -> np.ndarray:
    """Return the mean or rate of a predictor in each row's known trial, (draw, row)."""
    predictor = posterior.predictors[k]
    reported = posterior.trial_values[rows.trial_idx, k]
    cells = {str(label): i for i, label in enumerate(posterior.coords["unreported"])}
    names = [f"{posterior.coords['trial'][t]}: {predictor.name}" for t in rows.trial_idx]
    position = posterior.parameters["unreported_position"][
        :, [cells.get(name, len(cells)) for name in names]
    ]
    latent = (
        unreported_rate(predictor, position)
        if predictor.kind == "binary"
        else between_trial_sd(predictor) * position
    )
    return np.where(np.isnan(reported), latent, reported)


def _continuous_cell(posterior: Posterior, rows: Rows, k: int) -> tuple[Any, Any]:
    """Return mean and variance of an uncertain continuous predictor, unseen trials averaged in."""
    predictor = posterior.predictors[k]
    if rows.x_variance[:, k].any():
        return rows.x[:, k], rows.x_variance[:, k]
    if predictor.assay_dependent:
        return 0.0, 1.0
    if rows.new_trial[0]:
        return 0.0, 1.0 + between_trial_sd(predictor) ** 2
    return _known_trial_value(posterior, rows, k), 1.0


def _average_probability(posterior: Posterior, rows: Rows) -> np.ndarray:
    """Return (draw, row) probabilities of rows alike, unseen trials integrated out."""
    group, predictors = _group(posterior, rows), posterior.predictors
    variance, slope_variance = _shared_variance(posterior, rows)
    new = bool(rows.new_trial[0])
    linear = group.linear
    # Not a matrix product: its rounding would depend on how many rows there are.
    spread = variance[:, None] + (slope_variance[:, None, :] * group.known**2).sum(axis=-1)
    products = []
    for k in group.uncertain_continuous:
        mean, own_variance = _continuous_cell(posterior, rows, k)
        slope = group.slope[..., k]
        if slope_variance[:, k].any():
            products.append((slope, slope_variance[:, k, None], mean, own_variance))
        else:
            linear = linear + slope * mean
            spread = spread + slope**2 * own_variance

    def rate(k: int) -> Any:
        return reference_rate(predictors[k]) if new else _known_trial_value(posterior, rows, k)

    total = np.zeros_like(linear)
    for weight, centred in _patterns(group, predictors, rate):
        mean, variance_here = linear, spread
        for k, value in centred.items():
            mean = mean + group.slope[..., k] * value
            variance_here = variance_here + slope_variance[:, k, None] * value**2
        total += weight * product_average(mean, variance_here, products)
    return total


def _shared_variance(posterior: Posterior, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return the variances that an unseen trial and population add: intercept and slopes."""
    parameters = posterior.parameters
    variance = np.zeros(posterior.n_draws)
    slope_variance = np.zeros((posterior.n_draws, len(posterior.predictors)))
    if rows.new_trial[0]:
        variance += parameters["trial_scale"] ** 2 + parameters["treatment_scale"] ** 2 / 4.0
        slope_variance += posterior.slope_scale("trial") ** 2
    if rows.new_population[0]:
        variance += parameters["population_scale"] ** 2
        slope_variance += posterior.slope_scale("population") ** 2
    return variance, slope_variance


@dataclasses.dataclass(frozen=True)
class _UnseenTrials:
    """One unseen trial (and population) in each of ``4 * draw`` rows, on the latent scale."""

    intercept: np.ndarray
    treatment: np.ndarray
    population: np.ndarray
    trial_slope: np.ndarray
    population_slope: np.ndarray
    position: np.ndarray


def _unseen_trials(posterior: Posterior) -> _UnseenTrials:
    """Return four unseen trials for each draw: the same for every call and every row."""
    parameters, count = posterior.parameters, len(posterior.predictors)
    size = posterior.n_draws * _TRIALS_PER_DRAW
    sobol = qmc.Sobol(3 + 3 * count, scramble=True, rng=_SEED)
    uniform = sobol.random_base2(int(np.ceil(np.log2(size))))[:size]
    normal = ndtri(np.clip(uniform, 1e-12, 1.0 - 1e-12))
    trial, population, position = np.split(normal[:, 3:], 3, axis=1)
    return _UnseenTrials(
        intercept=_for_each_trial(parameters["trial_scale"]) * normal[:, 0],
        treatment=_for_each_trial(parameters["treatment_scale"]) * normal[:, 1],
        population=_for_each_trial(parameters["population_scale"]) * normal[:, 2],
        trial_slope=_for_each_trial(posterior.slope_scale("trial")) * trial,
        population_slope=_for_each_trial(posterior.slope_scale("population")) * population,
        position=position,
    )


def _for_each_trial(draws: np.ndarray) -> np.ndarray:
    return np.repeat(draws, _TRIALS_PER_DRAW, axis=0)


def _cell_in_trial(
    posterior: Posterior, rows: Rows, unseen: _UnseenTrials, k: int
) -> tuple[Any, float]:
    """Return mean and variance between patients of an uncertain predictor, in each unseen trial."""
    predictor, position = posterior.predictors[k], unseen.position[:, k, None]
    if rows.x_variance[:, k].any():
        # The patient's value is known; the mean it is measured from is the trial's.
        return rows.x[:, k] + np.sqrt(rows.x_variance[:, k]) * position, 0.0
    if predictor.assay_dependent:
        return 0.0, 1.0
    if rows.new_trial[0]:
        return between_trial_sd(predictor) * position, 1.0
    return _for_each_trial(_known_trial_value(posterior, rows, k)), 1.0


def _trial_probability(posterior: Posterior, rows: Rows, unseen: _UnseenTrials) -> np.ndarray:
    """Return (4 * draw, row) probabilities of rows alike, each draw in its own unseen trials."""
    new_trial, new_population = bool(rows.new_trial[0]), bool(rows.new_population[0])
    if not new_trial and not new_population:
        return _for_each_trial(_average_probability(posterior, rows))
    group, predictors = _group(posterior, rows), posterior.predictors
    linear, deviation = _for_each_trial(group.linear), np.zeros_like(unseen.trial_slope)
    if new_trial:
        treatment = unseen.treatment[:, None] * (rows.active - 0.5)
        linear = linear + unseen.intercept[:, None] + treatment
        deviation = deviation + unseen.trial_slope
    if new_population:
        linear = linear + unseen.population[:, None]
        deviation = deviation + unseen.population_slope
    slope = _for_each_trial(group.slope) + deviation[:, None, :]
    linear = linear + (deviation[:, None, :] * group.known).sum(axis=-1)

    def rate_in_trial(k: int) -> np.ndarray:
        if not new_trial:
            return _for_each_trial(_known_trial_value(posterior, rows, k))
        return unreported_rate(predictors[k], unseen.position[:, k, None])

    variance = np.zeros_like(linear)
    for k in group.uncertain_continuous:
        value, own_variance = _cell_in_trial(posterior, rows, unseen, k)
        linear = linear + slope[..., k] * value
        variance = variance + slope[..., k] ** 2 * own_variance
    total = np.zeros_like(linear)
    for weight, centred in _patterns(group, predictors, rate_in_trial):
        mean = linear
        for k, value in centred.items():
            mean = mean + slope[..., k] * value
        total += weight * normal_average(mean, variance)
    return total
