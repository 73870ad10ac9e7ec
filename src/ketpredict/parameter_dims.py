"""The parameters' dimensions and labels: one list for the graph, the kernel and the file."""

from __future__ import annotations

from typing import Any

from ketpredict.design import Design
from ketpredict.spec import CURVES, REFERENCE_ARM, STUDY_TERMS

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
    "prognostic_slope": ("predictor",),
    "predictive_slope": ("predictor",),
    "population_slope": ("population", "predictor"),
    "trial_slope": ("trial", "predictor"),
    "slope": ("predictor",),
    "unreported_position": ("unreported",),
}


def parameter_dims(design: Design) -> tuple[dict[str, tuple[str, ...]], dict[str, Any]]:
    """Return the dimensions of each parameter and the labels of each dimension."""
    return dict(_DIMS), coordinates(design)


def coordinates(design: Design) -> dict[str, Any]:
    """Return the labels of every dimension of the model."""
    names = design.predictor_names
    return {
        "population": list(design.populations),
        "trial": list(design.trials),
        "arm": list(design.arms),
        "other_arm": [arm for arm in design.arms if arm != REFERENCE_ARM],
        "arm_class": list(class_names(design)),
        "study_term": list(STUDY_TERMS),
        "curve": list(CURVES),
        "knot": list(design.spec.horizons.knots),
        "step": list(range(len(design.spec.horizons.knots) - 1)),
        "scale": list(design.scales),
        "predictor": list(names),
        "slope_part": list(design.spec.slope_parts()),
        "unreported": [f"{design.trials[trial]}: {names[k]}" for trial, k in design.unreported],
        "unit": list(range(len(design.units))),
    }


def class_names(design: Design) -> tuple[str, ...]:
    """Return the classes that have arms other than the reference."""
    others = zip(design.arms, design.arm_class, strict=True)
    return tuple(sorted({c for arm, c in others if arm != REFERENCE_ARM}))
