"""Published predictor effects against draws, in NumPy: what is implied for each, and its density.

The likelihood of :mod:`ketpredict.graph_effects` effect by effect, for checks, sensitivity and the
question which effect matters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import gammaln, log_ndtr, logsumexp, ndtr

from ketpredict.association import pair_probability
from ketpredict.conversions import COEFFICIENT, CORRELATION, COUNTS, LOG_RISK_RATIO
from ketpredict.design import Design
from ketpredict.link import variance as link_variance
from ketpredict.marginal import rate_location, reference_variance

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
_NODES = 15
_LEVELS = np.linspace(-3.0, 3.0, 61)


def group_spread(design: Design, effect_scale: np.ndarray, slope_scale: np.ndarray) -> np.ndarray:
    """Return the spread of each group's own slope around that of its populations.

    Parameters
    ----------
    effect_scale : ndarray of shape (..., predictor with effects)
        Between published studies, per SD of predictor and latent improvement.
    slope_scale : ndarray of shape (..., part, predictor)

    Returns
    -------
    ndarray of shape (..., group)
    """
    effects, parts = design.effects, design.slope_parts
    owner = effects.group_predictor
    own = effect_scale[..., np.searchsorted(effects.scale_predictor, owner)]
    variance = (own * slope_unit(design)[owner]) ** 2
    if "trial" in parts:
        variance = variance + slope_scale[..., parts.index("trial"), :][..., owner] ** 2
    if "population" in parts:
        wide = slope_scale[..., parts.index("population"), :][..., owner]
        variance = variance + (wide * effects.group_unseen) ** 2
    return np.asarray(np.sqrt(variance))


def slope_unit(design: Design) -> np.ndarray:
    """Return the slope that moves the latent improvement one SD for one SD of each predictor."""
    unit = link_variance(design.spec.link)
    return np.sqrt([unit / reference_variance(predictor) for predictor in design.predictors])


def cohort_slopes(parameters: Mapping[str, np.ndarray], design: Design) -> np.ndarray:
    """Return the slopes of each effect's cohort, its own deviation included.

    Returns
    -------
    ndarray of shape (draw, effect, predictor)
    """
    effects = design.effects
    populations = parameters["population_slope"][:, : len(design.populations)]
    total = parameters["prognostic_slope"] + parameters["predictive_slope"]
    slopes = total[:, None, :] + np.einsum("ep,dpk->dek", effects.population_weight, populations)
    own = parameters["effect_deviation"][:, effects.group_idx].copy()
    if len(effects.apart):
        own[:, effects.apart] += parameters["effect_horizon"]
    slopes[:, np.arange(len(effects)), effects.predictor_idx] += own
    return slopes


def predictor_covariance(parameters: Mapping[str, np.ndarray], design: Design) -> np.ndarray:
    """Return the covariance of all predictors within a trial whose rates are the average ones.

    Returns
    -------
    ndarray of shape (draw, predictor, predictor)
    """
    continuous, binary = design.continuous_idx, design.binary_idx
    draws, count = parameters["predictor_location"].shape
    whole = np.zeros((draws, count, count))
    middle = np.array([rate_location(design.predictors[k]) for k in binary])
    rate = ndtr(parameters["predictor_location"][:, binary] + middle)
    correlation = np.ones((draws, len(binary), len(binary)))
    for j in range(len(binary) - 1):
        p, q = rate[:, j], rate[:, j + 1]
        both = pair_probability(p, q, parameters["binary_log_odds_ratio"][:, j])
        varies = p * (1 - p) * q * (1 - q)
        next_to = np.divide(both - p * q, np.sqrt(varies), out=np.zeros_like(p), where=varies > 0)
        # In a chain correlations multiply along the way.
        correlation[:, : j + 1, j + 1] = correlation[:, : j + 1, j] * next_to[:, None]
        correlation[:, j + 1, : j + 1] = correlation[:, : j + 1, j + 1]
    deviation = np.sqrt(rate * (1.0 - rate))
    between = correlation * deviation[:, :, None] * deviation[:, None, :]
    whole[np.ix_(range(draws), binary, binary)] = between
    if len(continuous):
        own = parameters["predictor_covariance"]
        if len(binary):
            cross = parameters["binary_shift"] @ between
            whole[np.ix_(range(draws), continuous, binary)] = cross
            whole[np.ix_(range(draws), binary, continuous)] = cross.transpose(0, 2, 1)
            own = own + cross @ parameters["binary_shift"].transpose(0, 2, 1)
        whole[np.ix_(range(draws), continuous, continuous)] = own
    return whole


def implied_effects(parameters: Mapping[str, np.ndarray], design: Design) -> np.ndarray:
    """Return what each effect is compared with, on the scale of its kind.

    Returns
    -------
    ndarray of shape (draw, effect)
        Of counts: the latent distance of the two groups in units of their nodes.
    """
    effects, slopes = design.effects, cohort_slopes(parameters, design)
    covariance = predictor_covariance(parameters, design)
    result = np.empty(slopes.shape[:2])
    for i in range(len(effects)):
        result[:, i] = _implied_one(design, i, slopes[:, i], covariance)
    return result


def _implied_one(design: Design, i: int, slope: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return what one effect is compared with, given the slopes of its cohort, (draw,)."""
    effects, unit = design.effects, link_variance(design.spec.link)
    known, k = np.flatnonzero(effects.adjusted[i]), effects.predictor_idx[i]
    own = int(np.flatnonzero(known == k)[0])
    inside = covariance[:, known[:, None], known[None, :]]
    with_latent = np.einsum("dab,db->da", covariance, slope)
    coefficient = _regression(inside, with_latent[:, known])
    total = unit + np.einsum("da,da->d", slope, with_latent)
    rest = total - np.einsum("da,da->d", with_latent[:, known], coefficient)
    sd = np.sqrt(covariance[:, k, k])
    return _compared(design, i, coefficient[:, own], inside, own, total, rest, sd)


def _regression(inside: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Return coefficients, 0 of a predictor that in some draw does not vary or repeats others.

    An approximation of the posterior has such draws: rates of 0 or 1 to the last digit.
    """
    try:
        return np.asarray(np.linalg.solve(inside, along[..., None])[..., 0])
    except np.linalg.LinAlgError:
        return np.asarray((np.linalg.pinv(inside, hermitian=True) @ along[..., None])[..., 0])


def _compared(
    design: Design,
    i: int,
    coefficient: np.ndarray,
    inside: np.ndarray,
    own: int,
    total: np.ndarray,
    rest: np.ndarray,
    sd: np.ndarray,
) -> np.ndarray:
    effects, kind = design.effects, design.effects.kind[i]
    if kind == CORRELATION:
        others = [a for a in range(inside.shape[1]) if a != own]
        left = inside[:, own, own].copy()
        if others:
            across = inside[:, own, others]
            weight = _regression(inside[:, others][:, :, others], across)
            left -= (across * weight).sum(axis=1)
        part = coefficient * np.sqrt(left)
        return np.asarray(np.arctanh(effects.attenuation[i] * part / np.sqrt(part**2 + rest)))
    if kind == COEFFICIENT:
        return np.asarray(sd * coefficient / np.sqrt(total))
    slope = coefficient / np.sqrt(rest)
    if kind == COUNTS:
        return np.asarray(slope * np.where(effects.on_sd_scale[i] > 0, sd, 1.0))
    if kind == LOG_RISK_RATIO:
        half = 0.5 * effects.step[i] * slope
        quantile = effects.quantile[i]
        return np.asarray(log_ndtr(quantile + half) - log_ndtr(quantile - half))
    return np.asarray(effects.gain[i] * slope)


def effect_log_likelihood(parameters: Mapping[str, np.ndarray], design: Design) -> np.ndarray:
    """Return the log likelihood of each published effect, to the power that it counts with.

    Parameters
    ----------
    parameters : mapping of str to ndarray of shape (draw, ...)

    Returns
    -------
    ndarray of shape (draw, effect)
    """
    effects, implied = design.effects, implied_effects(parameters, design)
    result = np.empty(implied.shape)
    levels = list(effects.with_level)
    for i in range(len(effects)):
        if effects.kind[i] == COUNTS:
            level = parameters["effect_level"][:, levels.index(i)]
            result[:, i] = _counted(design, i, implied[:, i], level)
            continue
        result[:, i] = _graded(design, i, implied[:, i] + _shared_error(parameters, design, i))
    return np.asarray(effects.power * result)


def own_log_likelihood(parameters: Mapping[str, np.ndarray], design: Design) -> np.ndarray:
    """Return the log likelihood of each effect, averaged over what no other effect speaks of.

    That is the deviation of its horizon, the deviation of its cohort if it is the only effect of
    it, and the level of counts: weights that leave one effect out would otherwise rest on values
    that only this effect supports.

    Returns
    -------
    ndarray of shape (draw, effect)
        To the power that each counts with.
    """
    effects, slopes = design.effects, cohort_slopes(parameters, design)
    covariance = predictor_covariance(parameters, design)
    spread = group_spread(design, parameters["effect_scale"], parameters["slope_scale"])
    size = np.bincount(effects.group_idx)
    node, weight = np.polynomial.hermite_e.hermegauss(_NODES)
    result = np.empty(slopes.shape[:2])
    for i in range(len(effects)):
        k, g = effects.predictor_idx[i], effects.group_idx[i]
        variance = horizon_variance(parameters, design)[:, i]
        centre = slopes[:, i].copy()
        if i in effects.apart:
            centre[:, k] -= parameters["effect_horizon"][:, list(effects.apart).index(i)]
        if size[g] == 1:
            centre[:, k] -= parameters["effect_deviation"][:, g]
            variance = variance + spread[:, g] ** 2
        parts = np.empty((_NODES, len(slopes)))
        for j in range(_NODES):
            here = centre.copy()
            here[:, k] += np.sqrt(variance) * node[j]
            implied = _implied_one(design, i, here, covariance)
            parts[j] = effects.power[i] * _own_density(parameters, design, i, implied)
        result[:, i] = logsumexp(parts, axis=0, b=weight[:, None] / weight.sum())
    return result


def horizon_variance(parameters: Mapping[str, np.ndarray], design: Design) -> np.ndarray:
    """Return the variance of each effect's horizon deviation, (draw, effect)."""
    effects = design.effects
    if not len(effects.apart):
        return np.zeros((len(parameters["effect_deviation"]), len(effects)))
    place = effects.distance * slope_unit(design)[effects.predictor_idx]
    return np.asarray((parameters["effect_horizon_scale"][:, None] * place) ** 2)


def _own_density(
    parameters: Mapping[str, np.ndarray], design: Design, i: int, implied: np.ndarray
) -> np.ndarray:
    if design.effects.kind[i] != COUNTS:
        return _graded(design, i, implied + _shared_error(parameters, design, i))
    weight = np.exp(-0.5 * _LEVELS**2)
    parts = [_counted(design, i, implied, np.full(len(implied), level)) for level in _LEVELS]
    return np.asarray(logsumexp(parts, axis=0, b=(weight / weight.sum())[:, None]))


def _shared_error(parameters: Mapping[str, np.ndarray], design: Design, i: int) -> Any:
    """Return the part of an effect's error that the horizons of its cohort have in common."""
    effects = design.effects
    if effects.shared[i] == 0:
        return 0.0
    place = list(effects.repeated_groups).index(effects.group_idx[i])
    factor = effects.standard_error[i] * np.sqrt(effects.shared[i])
    return factor * parameters["effect_error"][:, place]


def _graded(design: Design, i: int, middle: np.ndarray) -> np.ndarray:
    effects = design.effects
    spread = effects.standard_error[i] * np.sqrt(1.0 - effects.shared[i])
    both = []
    for sign, weight in ((1.0, effects.positive[i]), (-1.0, 1.0 - effects.positive[i])):
        if weight == 0.0:
            continue
        if np.isnan(effects.statistic[i]):
            ends = sorted((sign * effects.lower[i], sign * effects.upper[i]))
            density = _log_between(*((end - middle) / spread for end in ends))
        else:
            distance = (sign * effects.statistic[i] - middle) / spread
            density = -0.5 * distance**2 - np.log(spread) - _HALF_LOG_TWO_PI
        both.append(np.log(weight) + density)
    return np.asarray(np.logaddexp.reduce(both, axis=0))


def _log_between(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the log of the standard normal probability between two values."""
    flip = low + high > 0
    first, second = np.where(flip, -high, low), np.where(flip, -low, high)
    return np.asarray(log_ndtr(second) + np.log1p(-np.exp(log_ndtr(first) - log_ndtr(second))))


def _counted(design: Design, i: int, slope: np.ndarray, level: np.ndarray) -> np.ndarray:
    effects = design.effects
    result = np.zeros(len(slope))
    for group in range(2):
        responders, n = effects.counts[i, 2 * group : 2 * group + 2]
        line = level[:, None] + slope[:, None] * effects.node[i, group]
        success = ndtr(line) @ effects.node_weight[i, group]
        failure = ndtr(-line) @ effects.node_weight[i, group]
        result += responders * np.log(success) + (n - responders) * np.log(failure)
        result += gammaln(n + 1) - gammaln(responders + 1) - gammaln(n - responders + 1)
    return result
