"""The parameters' dimensions and labels: one list for the graph, the kernel and the file."""

from __future__ import annotations

import itertools
from typing import Any

from ketpredict.design import Design
from ketpredict.field_of_fit import study_term_labels
from ketpredict.spec import CURVES

_DIMS: dict[str, tuple[str, ...]] = {
    "intercept": (),
    "population_scale": (),
    "population_effect": ("population",),
    "trial_scale": (),
    "trial_effect": ("trial",),
    "treatment_scale": (),
    "treatment_deviation": ("trial",),
    "arm_scale": (),
    "arm_class_mean": ("arm_class",),
    "arm_effect": ("arm",),
    "study_term_effect": ("study_term",),
    "horizon_scale": (),
    "horizon_offset": ("curve", "knot"),
    "improvement_sd": ("scale",),
    "explained_variance": (),
    "predictor_share": ("predictor",),
    "slope_share": ("slope_part",),
    "slope_scale": ("slope_part", "predictor"),
    "population_slope_share": (),
    "trial_slope_share": (),
    "prognostic_slope": ("predictor",),
    "predictive_slope": ("predictor",),
    "population_slope": ("population", "predictor"),
    "trial_slope": ("trial", "predictor"),
    "slope": ("predictor",),
    "across_scale": (),
    "across_slope": ("predictor",),
    "predictor_location": ("predictor",),
    "predictor_between_scale": ("predictor",),
    "trial_mean_reported": ("reported_cell",),
    "trial_mean": ("trial_cell",),
    "predictor_cholesky": ("cholesky_place",),
    "predictor_covariance": ("continuous", "continuous_too"),
    "binary_shift": ("continuous", "binary"),
    "binary_log_odds_ratio": ("binary_pair",),
    "effect_scale": ("effect_predictor",),
    "effect_deviation": ("effect_group",),
    "effect_horizon_scale": (),
    "effect_horizon": ("effect_apart",),
    "effect_error": ("repeated_group",),
    "effect_level": ("effect_with_level",),
}


STANDARD_NORMAL_DIMS: dict[str, tuple[str, ...]] = {
    "population_effect_raw": ("population",),
    "trial_effect_raw": ("trial",),
    "treatment_deviation_raw": ("trial",),
    "arm_class_mean_raw": ("arm_class",),
    "arm_effect_raw": ("other_arm",),
    "horizon_offset_raw": ("curve", "step"),
    "prognostic_slope_raw": ("predictor",),
    "predictive_slope_raw": ("predictor",),
    "population_slope_raw": ("population", "predictor"),
    "trial_slope_raw": ("trial", "predictor"),
    "across_slope_raw": ("across_predictor",),
    "trial_mean_unreported_raw": ("unreported_cell",),
    "effect_deviation_raw": ("effect_group",),
    "effect_horizon_raw": ("effect_apart",),
}
"""Of the standard normals that the model samples behind its effects; no file holds them."""


def parameter_dims(design: Design) -> tuple[dict[str, tuple[str, ...]], dict[str, Any]]:
    """Return the dimensions of each parameter and the labels of each dimension."""
    return dict(_DIMS), coordinates(design)


def coordinates(design: Design) -> dict[str, Any]:
    """Return the labels of every dimension of the model."""
    names = design.predictor_names
    continuous = [names[k] for k in design.continuous_idx]
    binary = [names[k] for k in design.binary_idx]
    cells = [
        f"{design.laws[law] if design.predictors[k].assay_dependent else trial}: {names[k]}"
        for (law, k), trial in zip(design.cells, _cell_trials(design), strict=True)
    ]
    size = len(continuous)
    return {
        "population": list(design.populations),
        "trial": list(design.trials),
        "law": list(design.laws),
        "arm": list(design.arms),
        "other_arm": list(design.arms[1:]),
        "arm_class": list(class_names(design)),
        "study_term": study_term_labels(design.arms),
        "curve": list(CURVES),
        "knot": list(design.spec.horizons.knots),
        "step": list(range(len(design.spec.horizons.knots) - 1)),
        "scale": list(design.scales),
        "predictor": list(names),
        "slope_part": list(design.slope_parts),
        "across_predictor": [names[k] for k in design.across_idx],
        "trial_cell": cells,
        "reported_cell": cells[: design.n_reported],
        "unreported_cell": cells[design.n_reported :],
        "cholesky_place": list(range(size * (size + 1) // 2)),
        "continuous": continuous,
        "continuous_too": continuous,
        "binary": binary,
        "binary_pair": [f"{a} and {b}" for a, b in itertools.pairwise(binary)],
        "unit": list(range(len(design.units))),
        **_effect_coordinates(design),
    }


def _effect_coordinates(design: Design) -> dict[str, Any]:
    effects, labels, groups = design.effects, design.effect_labels, design.effect_groups
    return {
        "effect": list(labels),
        "effect_group": list(groups),
        "effect_predictor": [design.predictor_names[k] for k in effects.scale_predictor],
        "effect_apart": [labels[i] for i in effects.apart],
        "repeated_group": [groups[g] for g in effects.repeated_groups],
        "effect_with_level": [labels[i] for i in effects.with_level],
    }


def _cell_trials(design: Design) -> list[str]:
    return [design.trials[design.law_trial[law]] for law, _ in design.cells]


def class_names(design: Design) -> tuple[str, ...]:
    """Return the classes that have arms other than the reference."""
    return tuple(sorted(set(design.arm_class[1:])))
