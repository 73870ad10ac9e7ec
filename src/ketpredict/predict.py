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
from collections.abc import Iterator

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import qmc

from ketpredict.equations import unit_intercept, unit_slope
from ketpredict.errors import DataError
from ketpredict.marginal import (
    between_trial_sd,
    normal_average,
    product_average,
    rate_location,
    unreported_rate,
)
from ketpredict.posterior import Posterior
from ketpredict.rows import Rows

INTERVAL_KINDS = ("trial", "average")
_TRIALS_PER_DRAW = 4
_CHUNK_VALUES = 2_000_000
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
    draws = trial_draws(posterior, rows) if kind == "trial" else response_draws(posterior, rows)
    tail = (1.0 - prob) / 2.0
    return np.quantile(draws, [tail, 1.0 - tail], axis=0).T


def _alike(rows: Rows, values_per_row: int) -> Iterator[tuple[np.ndarray, Rows]]:
    """Yield rows that share their missing predictors and kind of setting, in bounded pieces."""
    keys = np.column_stack([np.isnan(rows.x), rows.new_trial, rows.new_population])
    _, group = np.unique(keys, axis=0, return_inverse=True)
    size = max(1, _CHUNK_VALUES // max(values_per_row, 1))
    for code in range(group.max() + 1 if len(group) else 0):
        members = np.flatnonzero(group == code)
        for start in range(0, len(members), size):
            index = members[start : start + size]
            yield index, rows.take(index)


@dataclasses.dataclass(frozen=True)
class _Group:
    """Rows alike: the linear predictor of what is known, and who is missing."""

    linear: np.ndarray
    slope: np.ndarray
    missing_binary: list[int]
    missing_continuous: list[int]


def _group(posterior: Posterior, rows: Rows) -> _Group:
    parameters = posterior.parameters
    slope = unit_slope(parameters, rows)
    missing = np.isnan(rows.x).any(axis=0)
    kinds = [predictor.kind for predictor in posterior.predictors]
    known = slope * np.where(np.isnan(rows.x), 0.0, rows.x)
    return _Group(
        linear=unit_intercept(parameters, rows) + known.sum(axis=-1),
        slope=slope,
        missing_binary=[k for k in np.flatnonzero(missing) if kinds[k] == "binary"],
        missing_continuous=[k for k in np.flatnonzero(missing) if kinds[k] == "continuous"],
    )


def _binary_patterns(count: int) -> np.ndarray:
    """Return all 0/1 patterns of some predictors, shape (2**count, count)."""
    return (np.arange(2**count)[:, None] >> np.arange(count)) & 1


def _known_trial_value(posterior: Posterior, rows: Rows, k: int) -> np.ndarray:
    """Return the mean or rate of a predictor in each row's known trial, (draw, row)."""
    predictor = posterior.predictors[k]
    reported = posterior.trial_values[rows.trial_idx, k]
    cells = [str(label) for label in posterior.coords["unreported"]]
    names = [f"{posterior.coords['trial'][t]}: {predictor.name}" for t in rows.trial_idx]
    index = [cells.index(name) if name in cells else len(cells) for name in names]
    position = posterior.parameters["unreported_position"][:, index]
    latent = (
        unreported_rate(predictor, position)
        if predictor.kind == "binary"
        else between_trial_sd(predictor) * position
    )
    return np.where(np.isnan(reported), latent, reported)


def _average_probability(posterior: Posterior, rows: Rows) -> np.ndarray:
    """Return (draw, row) probabilities of rows alike, unseen trials integrated out."""
    group = _group(posterior, rows)
    variance, slope_variance = _shared_variance(posterior, rows)
    known = np.where(np.isnan(rows.x), 0.0, rows.x) ** 2
    # Not a matrix product: its rounding would depend on how many rows there are.
    variance = variance[:, None] + (slope_variance[:, None, :] * known).sum(axis=-1)
    new = bool(rows.new_trial[0])
    products, plain_mean, plain_variance = [], 0.0, 0.0
    for k in group.missing_continuous:
        spread = between_trial_sd(posterior.predictors[k])
        mean = 0.0 if new else _known_trial_value(posterior, rows, k)
        spread_total = 1.0 + spread**2 if new else 1.0
        if slope_variance[:, k].any():
            products.append((group.slope[..., k], slope_variance[:, k, None], mean, spread_total))
        else:
            plain_mean = plain_mean + group.slope[..., k] * mean
            plain_variance = plain_variance + group.slope[..., k] ** 2 * spread_total
    total = np.zeros_like(group.linear)
    for pattern in _binary_patterns(len(group.missing_binary)):
        weight, shift, extra = 1.0, 0.0, 0.0
        for k, value in zip(group.missing_binary, pattern, strict=True):
            predictor = posterior.predictors[k]
            rate = predictor.centre if new else _known_trial_value(posterior, rows, k)
            weight = weight * (rate if value else 1.0 - rate)
            centred = value - predictor.centre
            shift = shift + group.slope[..., k] * centred
            extra = extra + (slope_variance[:, k] * centred**2)[:, None]
        mean = group.linear + plain_mean + shift
        spread_now = variance + plain_variance + extra
        total += weight * (
            product_average(mean, spread_now, products)
            if products
            else normal_average(mean, spread_now)
        )
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


def _unseen_trials(posterior: Posterior) -> np.ndarray:
    """Return standard normal positions of unseen trials, (4 * draw, 3 + 3 predictors)."""
    dimensions = 3 + 3 * len(posterior.predictors)
    count = posterior.n_draws * _TRIALS_PER_DRAW
    power = int(np.ceil(np.log2(count)))
    uniform = qmc.Sobol(dimensions, scramble=True, rng=_SEED).random_base2(power)[:count]
    return ndtri(np.clip(uniform, 1e-12, 1.0 - 1e-12))


def _trial_probability(posterior: Posterior, rows: Rows, unseen: np.ndarray) -> np.ndarray:
    """Return (4 * draw, row) probabilities of rows alike, each draw in its own unseen trials."""
    if not rows.new_trial[0] and not rows.new_population[0]:
        return np.repeat(_average_probability(posterior, rows), _TRIALS_PER_DRAW, axis=0)
    group, parameters = _group(posterior, rows), posterior.parameters
    count = len(posterior.predictors)

    def repeat(values: np.ndarray) -> np.ndarray:
        return np.repeat(values, _TRIALS_PER_DRAW, axis=0)

    linear, slope = repeat(group.linear), repeat(group.slope)
    deviation = np.zeros((len(unseen), count))
    if rows.new_trial[0]:
        shift = repeat(parameters["trial_scale"]) * unseen[:, 0]
        linear = linear + shift[:, None]
        half = repeat(parameters["treatment_scale"]) * unseen[:, 1]
        linear = linear + half[:, None] * (rows.active - 0.5)
        deviation = deviation + repeat(posterior.slope_scale("trial")) * unseen[:, 3 : 3 + count]
    if rows.new_population[0]:
        linear = linear + (repeat(parameters["population_scale"]) * unseen[:, 2])[:, None]
        position = unseen[:, 3 + count : 3 + 2 * count]
        deviation = deviation + repeat(posterior.slope_scale("population")) * position
    slope = slope + deviation[:, None, :]
    linear = linear + (deviation[:, None, :] * np.where(np.isnan(rows.x), 0.0, rows.x)).sum(axis=-1)
    variance = np.zeros_like(linear)

    def trial_value(k: int) -> np.ndarray:
        if not rows.new_trial[0]:
            return repeat(_known_trial_value(posterior, rows, k))
        predictor, position = posterior.predictors[k], unseen[:, 3 + 2 * count + k, None]
        spread = between_trial_sd(predictor)
        if predictor.kind == "binary":
            return ndtr(rate_location(predictor) + spread * position)
        return spread * position

    for k in group.missing_continuous:
        linear = linear + slope[..., k] * trial_value(k)
        variance = variance + slope[..., k] ** 2
    total = np.zeros_like(linear)
    for pattern in _binary_patterns(len(group.missing_binary)):
        weight, moved = 1.0, linear
        for k, value in zip(group.missing_binary, pattern, strict=True):
            rate = trial_value(k)
            weight = weight * (rate if value else 1.0 - rate)
            moved = moved + slope[..., k] * (value - posterior.predictors[k].centre)
        total += weight * normal_average(moved, variance)
    return total
