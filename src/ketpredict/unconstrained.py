"""From named parameters back to the kernel's unconstrained points: the inverse of the expansion.

What a set of named parameters lacks (a trial that it was fitted without) stands at the middle of
its prior given the rest, and so does what a scale of 0 leaves without a trace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ketpredict.design import Design
from ketpredict.effect_density import group_spread, slope_unit
from ketpredict.layout import SCALES, Layout, class_priors
from ketpredict.link import variance as link_variance
from ketpredict.marginal import rate_location, reference_variance
from ketpredict.parameter_dims import class_names
from ketpredict.untold import trial_total

_AS_THEY_ARE = (
    "intercept",
    "study_term_effect",
    "predictor_location",
    "binary_shift",
    "binary_log_odds_ratio",
    "effect_error",
    "effect_level",
)
_LOGARITHMS = (
    *SCALES,
    "arm_scale",
    "horizon_scale",
    "improvement_sd",
    "across_scale",
    "predictor_between_scale",
    "effect_scale",
    "effect_horizon_scale",
)
_SMALL = 1e-150
Put = Callable[[str, np.ndarray], None]


def to_points(design: Design, layout: Layout, parameters: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return unconstrained points from named parameters.

    Parameters
    ----------
    design : Design
    parameters : mapping of str to ndarray
        (draw, ...), as :func:`ketpredict.expansion.expand` returns them. ``trial_effect``,
        ``treatment_deviation``, ``trial_slope`` and ``trial_mean`` may be absent.

    Returns
    -------
    ndarray of shape (draw, n_dimensions)
    """
    count = len(parameters["intercept"])
    if design.has_across and "across_scale" not in parameters:
        # A fit that ships leaves it out: any scale will do, since slopes are what the data see.
        parameters = {**parameters, "across_scale": np.ones(count)}
    parameters = {**parameters, "trial_scale": trial_total(design, parameters)}
    points = np.zeros((count, layout.n_dimensions))

    def put(name: str, values: np.ndarray) -> None:
        if name in layout.start:
            first = layout.start[name]
            points[:, first : first + layout.size[name]] = values.reshape(count, -1)

    for name in set(_AS_THEY_ARE) & set(layout.start):
        put(name, parameters[name])
    for name in set(_LOGARITHMS) & set(layout.start):
        put(name, np.log(np.maximum(parameters[name], _SMALL)))
    _put_effects(layout, parameters, put)
    _put_arms(design, parameters, put)
    if "horizon_offset_raw" in layout.start:
        step = np.sqrt(np.diff(np.log(design.spec.horizons.knots)))
        walk = np.diff(parameters["horizon_offset"], axis=-1) / step
        put("horizon_offset_raw", _per_scale(walk, parameters["horizon_scale"][:, None, None]))
    if design.predictors:
        _put_slopes(design, layout, parameters, put)
        _put_law(design, layout, parameters, put)
    if len(design.effects):
        _put_published(design, parameters, put)
    return points


def _per_scale(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return deviations as multiples of their scale; 0 where the scale is 0."""
    some = scale > _SMALL
    return np.asarray(np.where(some, values / np.where(some, scale, 1.0), 0.0))


def _put_effects(layout: Layout, parameters: Mapping[str, np.ndarray], put: Put) -> None:
    for scale, (raw, _) in SCALES.items():
        effect = raw.removesuffix("_raw")
        if raw in layout.start and effect in parameters:
            values = parameters[effect][:, : layout.size[raw]]
            put(raw, _per_scale(values, parameters[scale][:, None]))


def _put_arms(design: Design, parameters: Mapping[str, np.ndarray], put: Put) -> None:
    others = list(design.other_arms)
    if not others:
        return
    priors, classes = class_priors(design), class_names(design)
    mean = parameters["arm_class_mean"]
    location = np.array([prior.values[0] for prior in priors])
    spread = np.array([1.0 if prior.kind == "fixed" else prior.values[1] for prior in priors])
    put("arm_class_mean_raw", (mean - location) / spread)
    own = mean[:, [classes.index(design.arm_class[i]) for i in others]]
    apart = parameters["arm_effect"][:, others] - own
    put("arm_effect_raw", _per_scale(apart, parameters["arm_scale"][:, None]))


def _put_slopes(
    design: Design, layout: Layout, parameters: Mapping[str, np.ndarray], put: Put
) -> None:
    unit, parts = link_variance(design.spec.link), design.slope_parts
    variance = np.array([reference_variance(p) / unit for p in design.predictors])
    scale = parameters["slope_scale"]
    explained = np.maximum(scale**2 * variance, _SMALL)
    put("explained_variance", np.log(explained.sum(axis=(1, 2))))
    put("slope_share", _free(explained.sum(axis=2)))
    put("predictor_share", _free(explained.sum(axis=1)))
    for place, part in enumerate(parts):
        name, effect = f"{part}_slope_raw", f"{part}_slope"
        if name in layout.start and effect in parameters:
            values = parameters[effect]
            own = scale[:, place]
            if values.ndim == 3:
                rows = layout.size[name] // len(design.predictors)
                values, own = values[:, :rows], own[:, None]
            put(name, _per_scale(values, own))


def _free(shares: np.ndarray) -> np.ndarray:
    """Return the unconstrained coordinates of shares, given up to a factor."""
    logarithm = np.log(shares)
    return (logarithm - logarithm.mean(axis=1, keepdims=True))[:, :-1]


def _put_law(
    design: Design, layout: Layout, parameters: Mapping[str, np.ndarray], put: Put
) -> None:
    if design.has_across:
        slope = parameters["across_slope"][:, design.across_idx]
        put("across_slope_raw", _per_scale(slope, parameters["across_scale"][:, None]))
    middle = np.array([rate_location(p) if p.kind == "binary" else 0.0 for p in design.predictors])
    owner, reported = design.cells[:, 1], design.n_reported
    location = (parameters["predictor_location"] + middle)[:, owner]
    mean = parameters.get("trial_mean", location)
    put("trial_mean_reported", mean[:, :reported])
    spread = parameters["predictor_between_scale"][:, owner]
    put("trial_mean_unreported_raw", ((mean - location) / spread)[:, reported:])
    size = len(design.continuous_idx)
    if size:
        factor = np.linalg.cholesky(parameters["predictor_covariance"])
        packed = factor[(slice(None), *np.tril_indices(size))]
        diagonal = np.cumsum(np.arange(1, size + 1)) - 1
        packed[:, diagonal] = np.log(packed[:, diagonal])
        put("predictor_cholesky", packed)


def _put_published(design: Design, parameters: Mapping[str, np.ndarray], put: Put) -> None:
    """Put what belongs to the published effects."""
    effects = design.effects
    spread = group_spread(design, parameters["effect_scale"], parameters["slope_scale"])
    put("effect_deviation_raw", _per_scale(parameters["effect_deviation"], spread))
    apart = effects.apart
    if len(apart):
        place = effects.distance[apart] * slope_unit(design)[effects.predictor_idx[apart]]
        step = parameters["effect_horizon_scale"][:, None] * place
        put("effect_horizon_raw", _per_scale(parameters["effect_horizon"], step))
