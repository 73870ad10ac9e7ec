"""The design of a fit, kept with its posterior so that model and checks need no original tables."""

from __future__ import annotations

import dataclasses

import numpy as np

from ketpredict.design import Design, People, Units
from ketpredict.posterior import Posterior
from ketpredict.published_effects import Effects

DESIGN_DIMS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys((field.name for field in dataclasses.fields(Units)), ("unit",)),
    "horizon_basis": ("unit", "knot"),
    "study_terms": ("unit", "study_term"),
    "value": ("unit", "predictor"),
    "sd": ("unit", "predictor"),
    "people_law_idx": ("person",),
    "people_trial_idx": ("person",),
    "people_value": ("person", "predictor"),
    "people_weight": ("person",),
    "law_trial": ("law",),
    "mean_cell": ("law", "predictor"),
    "cells": ("trial_cell", "place"),
    "pattern_unit": ("pattern",),
    "pattern_value": ("pattern", "binary"),
    "people_pattern_row": ("person_pattern",),
    "people_pattern_value": ("person_pattern", "binary"),
    **{f"effect_{field.name}": ("effect",) for field in dataclasses.fields(Effects)},
    "effects": ("effect",),
    "effect_group_predictor": ("effect_group",),
    "effect_group_unseen": ("effect_group",),
    "effect_population_weight": ("effect", "population"),
    "effect_adjusted": ("effect", "predictor"),
    "effect_counts": ("effect", "count"),
    "effect_node": ("effect", "group_of_counts", "node"),
    "effect_node_weight": ("effect", "group_of_counts", "node"),
}
_WHOLE = (
    "law_trial",
    "mean_cell",
    "cells",
    "pattern_unit",
    "pattern_value",
    "people_pattern_row",
    "people_pattern_value",
)


def design_arrays(design: Design) -> dict[str, np.ndarray]:
    """Return the arrays of a design, to be kept with its posterior."""
    units = {f.name: getattr(design.units, f.name) for f in dataclasses.fields(Units)}
    people = {
        f"people_{f.name}": getattr(design.people, f.name) for f in dataclasses.fields(People)
    }
    effects = {
        f"effect_{f.name}": getattr(design.effects, f.name) for f in dataclasses.fields(Effects)
    }
    return {**units, **people, **effects, **{name: getattr(design, name) for name in _WHOLE}}


def design_of(posterior: Posterior) -> Design:
    """Return the design that a posterior was fitted to, also of a loaded one."""
    arrays = posterior.groups["constant_data"]
    coords = posterior.coords
    effects = {f.name: arrays[f"effect_{f.name}"] for f in dataclasses.fields(Effects)}
    return Design(
        spec=posterior.spec,
        populations=tuple(coords["population"]),
        trials=tuple(coords["trial"]),
        laws=tuple(coords["law"]),
        arms=tuple(coords["arm"]),
        arm_class=tuple(posterior.facts["arm_class"]),
        repeated_arm=tuple(posterior.facts["repeated_arm"]),
        scales=tuple(coords["scale"]),
        predictors=posterior.predictors,
        units=Units(**{f.name: arrays[f.name] for f in dataclasses.fields(Units)}),
        people=People(**{f.name: arrays[f"people_{f.name}"] for f in dataclasses.fields(People)}),
        effects=Effects(**effects),
        effect_labels=tuple(coords["effect"]),
        effect_groups=tuple(coords["effect_group"]),
        effect_fates=tuple(posterior.facts["effects"]),
        n_reported=len(coords["reported_cell"]),
        trial_values=posterior.trial_values,
        left_out=posterior.left_out,
        **{name: arrays[name] for name in _WHOLE},
    )
