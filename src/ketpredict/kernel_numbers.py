"""The array of numbers that the compiled kernel reads: its blocks, and how to take one out.

The array starts with a header of start and length for each block. Data and priors travel in it, so
that a new data set compiles nothing.
"""

from __future__ import annotations

import numba

BLOCKS = (
    "responders",
    "n",
    "population_idx",
    "trial_idx",
    "arm_idx",
    "curve_idx",
    "scale_idx",
    "active",
    "horizon_basis",
    "study_terms",
    "threshold_shift",
    "value",
    "variance",
    "unreported_idx",
    "pattern_start",
    "pattern_value",
    "predictor_kind",
    "centre",
    "spread",
    "rate_location",
    "log_reference_variance",
    "arm_class_idx",
    "class_location",
    "class_spread",
    "walk_step",
    "reference_knot",
    "fixed",
    "prior",
    "part_present",
    "variable_start",
    "sizes",
    "constant",
)
"""Blocks of the array of numbers; its header holds start and length of each, in this order."""
(
    RESPONDERS,
    N,
    POPULATION_IDX,
    TRIAL_IDX,
    ARM_IDX,
    CURVE_IDX,
    SCALE_IDX,
    ACTIVE,
    HORIZON_BASIS,
    STUDY_TERMS,
    THRESHOLD_SHIFT,
    VALUE,
    VARIANCE,
    UNREPORTED_IDX,
    PATTERN_START,
    PATTERN_VALUE,
    PREDICTOR_KIND,
    CENTRE,
    SPREAD,
    RATE_LOCATION,
    LOG_REFERENCE_VARIANCE,
    ARM_CLASS_IDX,
    CLASS_LOCATION,
    CLASS_SPREAD,
    WALK_STEP,
    REFERENCE_KNOT,
    FIXED,
    PRIOR,
    PART_PRESENT,
    VARIABLE_START,
    SIZES,
    CONSTANT,
) = range(len(BLOCKS))

VARIABLES = (
    "intercept",
    "population_scale",
    "population_effect_raw",
    "trial_scale",
    "trial_effect_raw",
    "treatment_scale",
    "treatment_deviation_raw",
    "arm_scale",
    "arm_class_mean_raw",
    "arm_effect_raw",
    "study_term_effect",
    "horizon_scale",
    "horizon_offset_raw",
    "improvement_sd",
    "explained_variance",
    "predictor_share",
    "slope_share",
    "prognostic_slope_raw",
    "predictive_slope_raw",
    "population_slope_raw",
    "trial_slope_raw",
    "unreported_position",
)
"""Random variables; ``variable_start`` says where each stands in the point, -1 if it is fixed."""
(
    INTERCEPT,
    POPULATION_SCALE,
    POPULATION_RAW,
    TRIAL_SCALE,
    TRIAL_RAW,
    TREATMENT_SCALE,
    TREATMENT_RAW,
    ARM_SCALE,
    CLASS_RAW,
    ARM_RAW,
    STUDY_EFFECT,
    HORIZON_SCALE,
    HORIZON_RAW,
    IMPROVEMENT_SD,
    EXPLAINED_VARIANCE,
    PREDICTOR_SHARE,
    SLOPE_SHARE,
    PROGNOSTIC_RAW,
    PREDICTIVE_RAW,
    POPULATION_SLOPE_RAW,
    TRIAL_SLOPE_RAW,
    UNREPORTED,
) = range(len(VARIABLES))


@numba.njit(cache=True)
def block(numbers, which):
    """Return one block of the array of numbers, as a view."""
    start = int(numbers[2 * which])
    return numbers[start : start + int(numbers[2 * which + 1])]
