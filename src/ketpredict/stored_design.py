"""The design of a fit, kept with its posterior so that model and checks need no original tables."""

from __future__ import annotations

import dataclasses

import numpy as np

from ketpredict.design import Design, People, Units
from ketpredict.errors import DataError, SavedFitError
from ketpredict.posterior import Posterior
from ketpredict.published_effects import Effects
from ketpredict.saved_fit_variables import TOLD
from ketpredict.without_patients import patients_left_out

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


def require_patients(posterior: Posterior) -> None:
    """Refuse a fit that does not hold every row that it was fitted to.

    Raises
    ------
    DataError
        It holds no data at all.
    SavedFitError
        Its patients were left out when it was saved.
    """
    _require_design(posterior)
    if patients_left_out(posterior.facts):
        raise SavedFitError(
            "This fit was saved without its patients, and this question needs them. Ask it of the "
            "fit that was saved with them, or fit again. Prediction, intervals, explanation, "
            "effects and tables of probabilities need no patients."
        )


def _require_design(posterior: Posterior) -> None:
    if "people_value" not in posterior.groups.get("constant_data", {}):
        raise DataError("The fit does not hold the data that it was fitted to; fit again.")


def people_who_tell(posterior: Posterior) -> np.ndarray:
    """Return how many people of each unit tell each predictor, (unit, predictor)."""
    _require_design(posterior)
    arrays = posterior.groups["constant_data"]
    if TOLD in arrays:
        return arrays[TOLD]
    return np.asarray(arrays["n"][:, None] * ~np.isnan(arrays["value"]))


def design_of(posterior: Posterior, *, patients: bool = True) -> Design:
    """Return the design that a posterior was fitted to, also of a loaded one.

    Parameters
    ----------
    patients : bool
        Whether the caller needs every row of patients. Without, those of a fit that was saved
        without them stand in groups, with neither outcome nor predictors.

    Raises
    ------
    DataError, SavedFitError
        See :func:`require_patients`.
    """
    if patients:
        require_patients(posterior)
    else:
        _require_design(posterior)
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
