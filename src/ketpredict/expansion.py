"""From unconstrained points to named parameters, for all draws at once, in NumPy.

The transforms are PyMC's, as in :mod:`ketpredict.layout`.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from ketpredict import kernel_numbers
from ketpredict.design import Design
from ketpredict.effect_density import group_spread, slope_unit
from ketpredict.layout import SCALES, Layout, class_priors, fixed_values
from ketpredict.link import variance as link_variance
from ketpredict.marginal import rate_location, reference_variance
from ketpredict.parameter_dims import class_names
from ketpredict.prior_families import SLOPE_PARTS
from ketpredict.spec import CURVES, STUDY_TERMS


def expand(design: Design, layout: Layout, points: np.ndarray) -> dict[str, np.ndarray]:
    """Return named parameters, as the graph's posterior has them, from unconstrained points.

    Parameters
    ----------
    points : ndarray of shape (..., n_dimensions)

    Returns
    -------
    dict of str to ndarray
        Arrays of shape (..., *own dimensions).
    """
    lead = points.shape[:-1]

    def raw(name: str, *shape: int) -> np.ndarray:
        if name not in layout.start:
            return np.zeros((*lead, *shape))
        first = layout.start[name]
        return points[..., first : first + layout.size[name]].reshape(*lead, *shape)

    parameters = {"intercept": _value(design, layout, points, "intercept")}
    for scale, (name, _) in SCALES.items():
        parameters[scale] = _positive(design, layout, points, scale)
        members = len(design.populations if scale == "population_scale" else design.trials)
        parameters[name.removesuffix("_raw")] = parameters[scale][..., None] * raw(name, members)
    parameters |= _expanded_arms(design, layout, points)
    parameters["study_term_effect"] = raw("study_term_effect", len(STUDY_TERMS))
    parameters["horizon_scale"] = _positive(design, layout, points, "horizon_scale")
    parameters["horizon_offset"] = _expanded_offsets(
        design, parameters["horizon_scale"], raw("horizon_offset_raw", len(CURVES), -1)
    )
    if "improvement_sd" in layout.start:
        parameters["improvement_sd"] = np.exp(raw("improvement_sd", len(design.scales)))
    else:
        known = design.spec.priors["improvement_sd"].values[0]
        parameters["improvement_sd"] = np.full((*lead, len(design.scales)), known)
    parameters |= _expanded_slopes(design, layout, points)
    if design.predictors:
        parameters |= _expanded_law(design, layout, points)
    if len(design.effects):
        parameters |= _expanded_effects(design, layout, points, parameters["slope_scale"])
    return parameters


def _value(design: Design, layout: Layout, points: np.ndarray, name: str) -> np.ndarray:
    """Return an untransformed scalar, or the value that it is fixed to."""
    if name in layout.start:
        return points[..., layout.start[name]].copy()
    return np.full(points.shape[:-1], fixed_values(design)[kernel_numbers.VARIABLES.index(name)])


def _positive(design: Design, layout: Layout, points: np.ndarray, name: str) -> np.ndarray:
    value = _value(design, layout, points, name)
    return np.exp(value) if name in layout.start else value


def _expanded_arms(design: Design, layout: Layout, points: np.ndarray) -> dict[str, np.ndarray]:
    scale = _positive(design, layout, points, "arm_scale")
    effect = np.zeros((*points.shape[:-1], len(design.arms)))
    parameters = {"arm_scale": scale, "arm_effect": effect}
    if "arm_effect_raw" not in layout.start:
        return parameters
    priors, classes = class_priors(design), class_names(design)
    first = layout.start["arm_class_mean_raw"]
    location = np.array([prior.values[0] for prior in priors])
    spread = np.array([0.0 if prior.kind == "fixed" else prior.values[1] for prior in priors])
    mean = location + spread * points[..., first : first + len(classes)]
    others = list(range(1, len(design.arms)))
    own_class = [classes.index(design.arm_class[i]) for i in others]
    first = layout.start["arm_effect_raw"]
    deviation = points[..., first : first + len(others)]
    effect[..., others] = mean[..., own_class] + scale[..., None] * deviation
    return {**parameters, "arm_class_mean": mean}


def _expanded_offsets(design: Design, scale: np.ndarray, raw: np.ndarray) -> np.ndarray:
    horizons = design.spec.horizons
    step = np.sqrt(np.diff(np.log(horizons.knots)))
    walk = np.cumsum(scale[..., None, None] * step * raw, axis=-1)
    path = np.concatenate([np.zeros((*walk.shape[:-1], 1)), walk], axis=-1)
    reference = horizons.knots.index(horizons.reference)
    return path - path[..., [reference]]


def _expanded_slopes(design: Design, layout: Layout, points: np.ndarray) -> dict[str, np.ndarray]:
    count, parts = len(design.predictors), design.slope_parts
    lead = points.shape[:-1]
    rows = {"population": len(design.populations), "trial": len(design.trials)}
    parameters: dict[str, np.ndarray] = {}
    if count:
        log_odds = _value(design, layout, points, "explained_variance")
        known = "explained_variance" not in layout.start
        explained = log_odds if known else expit(log_odds)
        log_part = _log_shares(layout, points, "slope_share", len(parts))
        log_predictor = _log_shares(layout, points, "predictor_share", count)
        budget = (explained / (1.0 - explained))[..., None, None]
        unit = link_variance(design.spec.link)
        variance = np.array([reference_variance(p) / unit for p in design.predictors])
        share = np.exp(log_part[..., :, None] + log_predictor[..., None, :]) / variance
        parameters["explained_variance"] = explained
        parameters["slope_share"] = np.exp(log_part)
        if count > 1:
            parameters["predictor_share"] = np.exp(log_predictor)
        parameters["slope_scale"] = np.sqrt(budget * share)
    for part in SLOPE_PARTS:
        shape = (rows[part], count) if part in rows else (count,)
        values = np.zeros((*lead, *shape))
        if count and part in parts:
            first = layout.start[f"{part}_slope_raw"]
            raw = points[..., first : first + layout.size[f"{part}_slope_raw"]]
            scale = parameters["slope_scale"][..., parts.index(part), :]
            scale = scale[..., None, :] if part in rows else scale
            values = raw.reshape(*lead, *shape) * scale
        parameters[f"{part}_slope"] = values
    parameters["slope"] = parameters["prognostic_slope"] + parameters["predictive_slope"]
    return parameters


def _expanded_law(design: Design, layout: Layout, points: np.ndarray) -> dict[str, np.ndarray]:
    """Return what describes the predictors: slopes across trials, means, covariance, binaries."""
    lead, predictors = points.shape[:-1], design.predictors

    def raw(name: str, *shape: int) -> np.ndarray:
        first, size = layout.start.get(name, 0), layout.size.get(name, 0)
        return points[..., first : first + size].reshape(*lead, *shape)

    count, size, binaries = len(predictors), len(design.continuous_idx), len(design.binary_idx)
    parameters = {"across_slope": np.zeros((*lead, count))}
    if design.has_across:
        scale = _positive(design, layout, points, "across_scale")
        parameters["across_scale"] = scale
        slopes = scale[..., None] * raw("across_slope_raw", len(design.across_idx))
        parameters["across_slope"][..., design.across_idx] = slopes
    location = raw("predictor_location", count)
    spread = np.exp(raw("predictor_between_scale", count))
    parameters |= {"predictor_location": location, "predictor_between_scale": spread}
    middle = np.array([rate_location(p) if p.kind == "binary" else 0.0 for p in predictors])
    silent = design.cells[design.n_reported :, 1]
    reported = raw("trial_mean_reported", design.n_reported)
    position = raw("trial_mean_unreported_raw", len(silent))
    unreported = (location + middle)[..., silent] + spread[..., silent] * position
    if design.n_reported:
        parameters["trial_mean_reported"] = reported
    parameters["trial_mean"] = np.concatenate([reported, unreported], axis=-1)
    if size:
        packed = raw("predictor_cholesky", size * (size + 1) // 2).copy()
        diagonal = np.cumsum(np.arange(1, size + 1)) - 1
        packed[..., diagonal] = np.exp(packed[..., diagonal])
        factor = np.zeros((*lead, size, size))
        factor[(..., *np.tril_indices(size))] = packed
        parameters["predictor_cholesky"] = packed
        parameters["predictor_covariance"] = factor @ np.swapaxes(factor, -1, -2)
    if size and binaries:
        parameters["binary_shift"] = raw("binary_shift", size, binaries)
    if binaries > 1:
        parameters["binary_log_odds_ratio"] = raw("binary_log_odds_ratio", binaries - 1)
    return parameters


def _expanded_effects(
    design: Design, layout: Layout, points: np.ndarray, part_scale: np.ndarray
) -> dict[str, np.ndarray]:
    """Return what belongs to the published effects: spreads, deviations, errors, levels."""
    lead, effects = points.shape[:-1], design.effects

    def raw(name: str) -> np.ndarray:
        first, size = layout.start.get(name, 0), layout.size.get(name, 0)
        return points[..., first : first + size]

    priors, chosen = design.spec.priors, effects.scale_predictor
    if "effect_scale" in layout.start:
        scale = np.exp(raw("effect_scale"))
    else:
        scale = np.full((*lead, len(chosen)), priors["effect_scale"].values[0])
    spread = group_spread(design, scale, part_scale)
    parameters = {
        "effect_scale": scale,
        "effect_deviation": spread * raw("effect_deviation_raw"),
    }
    apart = effects.apart
    if len(apart):
        step = _positive(design, layout, points, "effect_horizon_scale")
        place = effects.distance[apart] * slope_unit(design)[effects.predictor_idx[apart]]
        parameters["effect_horizon_scale"] = step
        parameters["effect_horizon"] = step[..., None] * place * raw("effect_horizon_raw")
    for name in ("effect_error", "effect_level"):
        if name in layout.start:
            parameters[name] = raw(name).copy()
    return parameters


def _log_shares(layout: Layout, points: np.ndarray, name: str, count: int) -> np.ndarray:
    """Return the logs of a simplex from its unconstrained coordinates."""
    lead = points.shape[:-1]
    if name not in layout.start:
        return np.zeros((*lead, count))
    first = layout.start[name]
    free = points[..., first : first + count - 1]
    extended = np.concatenate([free, -free.sum(axis=-1, keepdims=True)], axis=-1)
    largest = extended.max(axis=-1, keepdims=True)
    return extended - largest - np.log(np.exp(extended - largest).sum(axis=-1, keepdims=True))
