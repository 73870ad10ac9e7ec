"""The true parameters of a simulation: some given, the rest drawn from the prior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ketpredict.design import Design
from ketpredict.errors import DataError
from ketpredict.parts import SCALE_OF
from ketpredict.prior import draw_model
from ketpredict.simulated_patients import draw_trial_means

_SETTABLE = (
    "intercept",
    "population_scale",
    "population_effect",
    "trial_scale",
    "trial_effect",
    "treatment_scale",
    "treatment_deviation",
    "arm_effect",
    "prognostic_slope",
    "predictive_slope",
    "population_slope",
    "trial_slope",
    "across_scale",
    "across_slope",
    "predictor_location",
    "predictor_between_scale",
    "trial_mean",
    "predictor_covariance",
    "binary_shift",
    "binary_log_odds_ratio",
)
_EFFECT_OF_SCALE = {
    "population_scale": "population_effect",
    "trial_scale": "trial_effect",
    "treatment_scale": "treatment_deviation",
    "across_scale": "across_slope",
}


def draw_truth(
    design: Design, truth: Mapping[str, Any], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return every parameter: those given, the rest drawn from the prior.

    The effects of a scale that is given are stretched to it, and trial means follow their location
    and spread. What the model leaves out (:mod:`ketpredict.parts`), such as the deviation of the
    only population, is 0 unless it is given, or its scale.

    Raises
    ------
    DataError
        A given parameter is not the model's, or cannot have that value.
    """
    drawn = {name: values[0] for name, values in draw_model(design, 1, rng).items()}
    # What covariance and trial means are made of would contradict them where they are given.
    for name in ("predictor_cholesky", "trial_mean_reported", "trial_mean"):
        drawn.pop(name, None)
    shapes = {name: np.shape(drawn[name]) for name in _SETTABLE if name in drawn}
    if design.predictors:
        shapes["trial_mean"] = (len(design.trials), len(design.predictors))
        # Too few trials have no slope across them to scale; saying so is no error.
        shapes.setdefault("across_scale", ())
    given = _checked(truth, shapes, design)
    parameters = drawn | given
    for scale, effect in _EFFECT_OF_SCALE.items():
        if scale in given and scale in drawn and effect not in given:
            ratio = float(given[scale]) / float(drawn[scale]) if drawn[scale] else 0.0
            parameters[effect] = drawn[effect] * ratio
            if given[scale] > 0 and scale in _scales_left_out(design):
                # Asked for by name: the only level then deviates too.
                parameters[effect] = float(given[scale]) * rng.normal(size=drawn[effect].shape)
    parameters["slope"] = parameters["prognostic_slope"] + parameters["predictive_slope"]
    if "trial_mean" not in given and design.predictors:
        parameters["trial_mean"] = draw_trial_means(
            parameters, design.predictors, len(design.trials), rng
        )
    return parameters


def _scales_left_out(design: Design) -> set[str]:
    return {SCALE_OF[part] for part in design.left_out if part in SCALE_OF}


def _checked(
    truth: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], design: Design
) -> dict[str, np.ndarray]:
    """Return the given parameters as arrays of their shapes."""
    unknown = sorted(set(truth) - set(shapes))
    if unknown:
        raise DataError(
            f"truth names {', '.join(unknown)}; what can be fixed in this model: "
            f"{', '.join(name for name in _SETTABLE if name in shapes)}."
        )
    given = {}
    for name, value in truth.items():
        array = np.asarray(value, dtype=float)
        try:
            given[name] = np.broadcast_to(array, shapes[name]).copy()
        except ValueError:
            raise DataError(
                f"truth: {name} has shape {array.shape}; expected {shapes[name]}."
            ) from None
        problem = _impossible(name, given[name], design)
        if problem:
            raise DataError(f"truth: {name} {problem}.")
    return given


def _impossible(name: str, value: np.ndarray, design: Design) -> str | None:
    """Return what is wrong with a given parameter, or None."""
    if not np.isfinite(value).all():
        return "holds a value that is not a finite number"
    if name.endswith("_scale") and (value < 0).any():
        return "is negative"
    if name == "predictor_covariance" and (
        not np.allclose(value, value.T) or np.linalg.eigvalsh(value).min() <= 0
    ):
        return "is not symmetric and positive definite"
    if name == "across_slope":
        centred = [predictor.assay_dependent for predictor in design.predictors]
        if not design.spec.pooling.across_trial_slope and value.any():
            return "is not 0, but the model has across_trial_slope = false"
        if value[centred].any():
            return "is not 0 for a predictor whose level is its assay's"
    return None
