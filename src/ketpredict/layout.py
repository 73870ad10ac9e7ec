"""From a design to the kernel's array of numbers, and from its points back to named parameters.

The order and the transforms are PyMC's: variables stand in the order in which
:mod:`ketpredict.graph` makes them, scales and spreads as logarithms, R2 as its log odds, simplexes
by all but the last of their centred logarithms.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from scipy.special import betaln, expit, gammaln

from ketpredict import kernel_numbers
from ketpredict.design import Design
from ketpredict.marginal import between_trial_sd, rate_location, reference_variance
from ketpredict.parameter_dims import class_names
from ketpredict.spec import CURVES, REFERENCE_ARM, SLOPE_PARTS, STUDY_TERMS, Prior

_LOG_ROOT_TWO_PI = 0.5 * math.log(2.0 * math.pi)
_SCALES = {
    "population_scale": ("population_effect_raw", "population_intercept"),
    "trial_scale": ("trial_effect_raw", "trial_intercept"),
    "treatment_scale": ("treatment_deviation_raw", "trial_treatment"),
}


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where everything stands.

    Parameters
    ----------
    numbers : ndarray
        Data and priors, as :func:`ketpredict.kernel.log_density` wants them.
    start : dict of str to int
        First place of each random variable in the unconstrained point.
    size : dict of str to int
        Number of places; a simplex has one less than shares.
    n_dimensions : int
    """

    numbers: np.ndarray
    start: dict[str, int]
    size: dict[str, int]
    n_dimensions: int


def lay_out(design: Design) -> Layout:
    """Return the layout of a design."""
    size = _sizes(design)
    start, place = {}, 0
    for name in kernel_numbers.VARIABLES:
        if name in size:
            start[name] = place
            place += size[name]
    blocks = _blocks(design, start, size)
    return Layout(_packed(blocks), start, size, place)


def _sizes(design: Design) -> dict[str, int]:
    """Return the number of unconstrained places of each variable that the model has."""
    priors, count = design.spec.priors, len(design.predictors)
    steps = len(design.spec.horizons.knots) - 1
    members = {
        "population_effect_raw": len(design.populations),
        "trial_effect_raw": len(design.trials),
        "treatment_deviation_raw": len(design.trials),
    }
    size = {}
    for name in ("intercept", "arm_scale", "horizon_scale"):
        size[name] = int(priors[name].kind != "fixed")
    for scale, (raw, pooling) in _SCALES.items():
        prior = priors[scale]
        present = getattr(design.spec.pooling, pooling) and prior != Prior("fixed", (0.0,))
        size[scale] = int(present and prior.kind != "fixed")
        size[raw] = members[raw] if present else 0
    size["arm_class_mean_raw"] = len(class_names(design))
    size["arm_effect_raw"] = len(design.arms) - 1
    size["study_term_effect"] = len(STUDY_TERMS)
    size["horizon_offset_raw"] = len(CURVES) * steps
    spread_known = priors["improvement_sd"].kind == "fixed"
    size["improvement_sd"] = 0 if spread_known else len(design.scales)
    if count:
        size |= _slope_sizes(design, count)
    size["unreported_position"] = len(design.unreported)
    return {name: number for name, number in size.items() if number}


def _slope_sizes(design: Design, count: int) -> dict[str, int]:
    parts = design.spec.slope_parts()
    rows = {
        "prognostic": 1,
        "predictive": 1,
        "population": len(design.populations),
        "trial": len(design.trials),
    }
    return {
        "explained_variance": int(design.spec.priors["explained_variance"].kind != "fixed"),
        "predictor_share": count - 1,
        "slope_share": len(parts) - 1,
        **{f"{part}_slope_raw": rows[part] * count for part in parts},
    }


def _class_priors(design: Design) -> list[Prior]:
    priors = design.spec.priors
    return [
        priors["active_class_mean" if name == "active" else "control_class_mean"]
        for name in class_names(design)
    ]


def _blocks(design: Design, start: dict[str, int], size: dict[str, int]) -> dict[str, np.ndarray]:
    units, spec, predictors = design.units, design.spec, design.predictors
    classes = class_names(design)
    class_priors = _class_priors(design)
    parts = spec.slope_parts()
    first = np.flatnonzero(np.diff(design.pattern_unit, prepend=-1))
    binary = [predictor.kind == "binary" for predictor in predictors]
    blocks = {
        name: getattr(units, name)
        for name in kernel_numbers.BLOCKS
        if name in {field.name for field in dataclasses.fields(units)}
    }
    return blocks | {
        "pattern_start": np.append(first, len(design.pattern_unit)),
        "pattern_value": design.pattern_value,
        "predictor_kind": np.array(binary),
        "centre": np.array([predictor.centre for predictor in predictors]),
        "spread": np.array([between_trial_sd(predictor) for predictor in predictors]),
        "rate_location": np.array(
            [
                rate_location(predictor) if is_binary else 0.0
                for predictor, is_binary in zip(predictors, binary, strict=True)
            ]
        ),
        "log_reference_variance": np.log([reference_variance(p) for p in predictors]),
        "arm_class_idx": np.array(
            [
                -1 if arm == REFERENCE_ARM else classes.index(name)
                for arm, name in zip(design.arms, design.arm_class, strict=True)
            ]
        ),
        "class_location": np.array([prior.values[0] for prior in class_priors]),
        "class_spread": np.array(
            [0.0 if prior.kind == "fixed" else prior.values[1] for prior in class_priors]
        ),
        "walk_step": np.sqrt(np.diff(np.log(spec.horizons.knots))),
        "reference_knot": np.array([spec.horizons.knots.index(spec.horizons.reference)]),
        "fixed": _fixed_values(design),
        "prior": _prior_numbers(design),
        "part_present": np.array([part in parts for part in SLOPE_PARTS]),
        "variable_start": np.array([start.get(name, -1) for name in kernel_numbers.VARIABLES]),
        "sizes": np.array(
            [len(design.populations), len(design.trials), len(design.arms), len(design.scales)]
        ),
        "constant": np.array([_constant(design, size)]),
    }


def _fixed_values(design: Design) -> np.ndarray:
    """Return the value of each variable that the specification fixes."""
    values = np.zeros(len(kernel_numbers.VARIABLES))
    for i, name in enumerate(kernel_numbers.VARIABLES):
        prior = design.spec.priors.get(name)
        if prior is None or prior.kind != "fixed":
            continue
        pooled = name not in _SCALES or getattr(design.spec.pooling, _SCALES[name][1])
        values[i] = prior.values[0] if pooled else 0.0
    return values


def _prior_numbers(design: Design) -> np.ndarray:
    """Return two numbers of each variable's prior, then the concentrations of the slope parts."""
    priors = {**design.spec.priors, "study_term_effect": design.spec.priors["study_term"]}
    numbers = np.zeros((len(kernel_numbers.VARIABLES), 2))
    for i, name in enumerate(kernel_numbers.VARIABLES):
        values = priors[name].values[:2] if name in priors else ()
        numbers[i, : len(values)] = values
    return np.append(numbers.ravel(), priors["slope_share"].values)


def _constant(design: Design, size: dict[str, int]) -> float:
    """Return the part of the log density that no parameter moves."""
    priors, units = design.spec.priors, design.units
    choose = gammaln(units.n + 1) - gammaln(units.responders + 1)
    total = float((choose - gammaln(units.n - units.responders + 1)).sum())
    if "intercept" in size:
        total -= math.log(priors["intercept"].values[1]) + _LOG_ROOT_TWO_PI
    for name in (*_SCALES, "arm_scale", "horizon_scale"):
        if name in size:
            total += math.log(2.0) - _LOG_ROOT_TWO_PI - math.log(priors[name].values[0])
    standard = [name for name in size if name.endswith("_raw") or name == "unreported_position"]
    total -= sum(size[name] for name in standard) * _LOG_ROOT_TWO_PI
    for name, prior in (("study_term_effect", "study_term"), ("improvement_sd", "improvement_sd")):
        if name in size:
            total -= size[name] * (math.log(priors[prior].values[1]) + _LOG_ROOT_TWO_PI)
    if "explained_variance" in size:
        total -= float(betaln(*priors["explained_variance"].values))
    if "predictor_share" in size:
        count = size["predictor_share"] + 1
        total += _simplex_constant(np.full(count, priors["predictor_share"].values[0]))
    if "slope_share" in size:
        total += _simplex_constant(np.array(design.spec.slope_concentration()))
    return total


def _simplex_constant(concentration: np.ndarray) -> float:
    """Return the Dirichlet's constant and the log of the transform's constant volume."""
    constant = gammaln(concentration.sum()) - gammaln(concentration).sum()
    return float(constant + math.log(len(concentration)))


def _packed(blocks: dict[str, np.ndarray]) -> np.ndarray:
    """Return one array: a header with start and length of each block, then the blocks."""
    flat = [np.asarray(blocks[name], dtype=float).ravel() for name in kernel_numbers.BLOCKS]
    lengths = np.array([len(block) for block in flat])
    starts = 2 * len(flat) + np.concatenate([[0], np.cumsum(lengths)[:-1]])
    header = np.column_stack([starts, lengths]).ravel().astype(float)
    return np.concatenate([header, *flat])


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
    for scale, (name, _) in _SCALES.items():
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
    if len(design.unreported):
        parameters["unreported_position"] = raw("unreported_position", len(design.unreported))
    return parameters


def _value(design: Design, layout: Layout, points: np.ndarray, name: str) -> np.ndarray:
    """Return an untransformed scalar, or the value that it is fixed to."""
    if name in layout.start:
        return points[..., layout.start[name]].copy()
    return np.full(points.shape[:-1], _fixed_values(design)[kernel_numbers.VARIABLES.index(name)])


def _positive(design: Design, layout: Layout, points: np.ndarray, name: str) -> np.ndarray:
    value = _value(design, layout, points, name)
    return np.exp(value) if name in layout.start else value


def _expanded_arms(design: Design, layout: Layout, points: np.ndarray) -> dict[str, np.ndarray]:
    scale = _positive(design, layout, points, "arm_scale")
    effect = np.zeros((*points.shape[:-1], len(design.arms)))
    parameters = {"arm_scale": scale, "arm_effect": effect}
    if "arm_effect_raw" not in layout.start:
        return parameters
    priors, classes = _class_priors(design), class_names(design)
    first = layout.start["arm_class_mean_raw"]
    location = np.array([prior.values[0] for prior in priors])
    spread = np.array([0.0 if prior.kind == "fixed" else prior.values[1] for prior in priors])
    mean = location + spread * points[..., first : first + len(classes)]
    others = [i for i, arm in enumerate(design.arms) if arm != REFERENCE_ARM]
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
    count, parts = len(design.predictors), design.spec.slope_parts()
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
        variance = np.array([reference_variance(predictor) for predictor in design.predictors])
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
