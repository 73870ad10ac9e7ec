"""The design of a fit, kept with its posterior so that model and checks need no original tables."""

from __future__ import annotations

import dataclasses

import numpy as np

from ketpredict.design import Design, Units
from ketpredict.posterior import Posterior

DESIGN_DIMS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys((field.name for field in dataclasses.fields(Units)), ("unit",)),
    "horizon_basis": ("unit", "knot"),
    "study_terms": ("unit", "study_term"),
    "value": ("unit", "predictor"),
    "variance": ("unit", "predictor"),
    "unreported_idx": ("unit", "predictor"),
    "pattern_unit": ("pattern",),
    "pattern_value": ("pattern", "binary_predictor"),
    "unreported_cell": ("unreported", "place"),
}


def design_arrays(design: Design) -> dict[str, np.ndarray]:
    """Return the arrays of a design, to be kept with its posterior."""
    arrays = {f.name: getattr(design.units, f.name) for f in dataclasses.fields(Units)}
    return {
        **arrays,
        "pattern_unit": design.pattern_unit,
        "pattern_value": design.pattern_value,
        "unreported_cell": design.unreported,
    }


def design_of(posterior: Posterior) -> Design:
    """Return the design that a posterior was fitted to, also of a loaded one."""
    arrays = posterior.groups["constant_data"]
    coords = posterior.coords
    return Design(
        spec=posterior.spec,
        populations=tuple(coords["population"]),
        trials=tuple(coords["trial"]),
        arms=tuple(coords["arm"]),
        arm_class=tuple(posterior.facts["arm_class"]),
        repeated_arm=tuple(posterior.facts["repeated_arm"]),
        scales=tuple(coords["scale"]),
        predictors=posterior.predictors,
        units=Units(**{f.name: arrays[f.name] for f in dataclasses.fields(Units)}),
        pattern_unit=arrays["pattern_unit"],
        pattern_value=arrays["pattern_value"],
        unreported=arrays["unreported_cell"],
        trial_values=posterior.trial_values,
    )
