"""The array of numbers that the compiled kernel reads: its blocks, and how to take one out.

The array starts with a header of start and length for each block. Data and priors travel in it, so
that a new data set compiles nothing. :mod:`ketpredict.arrangement` explains the blocks of data.
"""

from __future__ import annotations

import numba
import numpy as np

DATA_BLOCKS = (
    "setting_population",
    "setting_trial",
    "setting_arm",
    "setting_curve",
    "setting_scale",
    "setting_active",
    "setting_basis",
    "setting_study",
    "setting_shift",
    "slope_population",
    "slope_trial",
    "slope_active",
    "subset_observed",
    "cluster_slope",
    "cluster_law",
    "cluster_subset",
    "run_start",
    "run_setting",
    "run_cluster",
    "row_responders",
    "row_failures",
    "row_value",
    "open_setting",
    "open_cluster",
    "open_responders",
    "open_failures",
    "open_value",
    "open_start",
    "open_pattern",
    "arm_setting",
    "arm_slope",
    "arm_law",
    "arm_subset",
    "arm_responders",
    "arm_failures",
    "arm_weight",
    "arm_value",
    "arm_known",
    "arm_sd",
    "arm_start",
    "arm_pattern",
    "group_law",
    "group_subset",
    "group_weight",
    "group_mean",
    "group_scatter",
    "pair_count",
    "person_law",
    "person_subset",
    "person_weight",
    "person_value",
    "person_start",
    "person_pattern",
    "trial_law",
    "mean_cell",
    "cell_predictor",
    "n_reported",
    "effect_predictor",
    "effect_group",
    "effect_kind",
    "effect_group_predictor",
    "effect_group_scale",
    "effect_group_unseen",
    "effect_population",
    "effect_adjusted",
    "effect_distance",
    "effect_horizon_place",
    "effect_error_place",
    "effect_level_place",
    "effect_statistic",
    "effect_standard_error",
    "effect_lower",
    "effect_upper",
    "effect_attenuation",
    "effect_gain",
    "effect_quantile",
    "effect_step",
    "effect_positive",
    "effect_power",
    "effect_shared",
    "effect_counts",
    "effect_node",
    "effect_node_weight",
    "effect_on_sd_scale",
)
PRIOR_BLOCKS = (
    "continuous_idx",
    "binary_idx",
    "centre",
    "assay_dependent",
    "rate_location",
    "across_idx",
    "across_reference",
    "link_weight",
    "link_scale",
    "link_variance",
    "log_reference_variance",
    "between_location",
    "arm_class_idx",
    "class_location",
    "class_spread",
    "walk_step",
    "reference_knot",
    "fixed",
    "prior",
    "slope_concentration",
    "part_present",
    "variable_start",
    "sizes",
    "constant",
    "work_layout",
    "piece_address",
)
BLOCKS = DATA_BLOCKS + PRIOR_BLOCKS
"""Blocks of the array of numbers; its header holds start and length of each, in this order."""
# NumPy integers: numba would compile a function anew for each Python integer it is called with.
# fmt: off
(
    SETTING_POPULATION, SETTING_TRIAL, SETTING_ARM, SETTING_CURVE, SETTING_SCALE,
    SETTING_ACTIVE, SETTING_BASIS, SETTING_STUDY, SETTING_SHIFT, SLOPE_POPULATION, SLOPE_TRIAL,
    SLOPE_ACTIVE, SUBSET_OBSERVED, CLUSTER_SLOPE, CLUSTER_LAW, CLUSTER_SUBSET, RUN_START,
    RUN_SETTING, RUN_CLUSTER, ROW_RESPONDERS, ROW_FAILURES, ROW_VALUE, OPEN_SETTING,
    OPEN_CLUSTER, OPEN_RESPONDERS, OPEN_FAILURES, OPEN_VALUE, OPEN_START, OPEN_PATTERN,
    ARM_SETTING, ARM_SLOPE, ARM_LAW, ARM_SUBSET, ARM_RESPONDERS, ARM_FAILURES, ARM_WEIGHT,
    ARM_VALUE, ARM_KNOWN, ARM_SD, ARM_START, ARM_PATTERN, GROUP_LAW, GROUP_SUBSET, GROUP_WEIGHT,
    GROUP_MEAN, GROUP_SCATTER, PAIR_COUNT, PERSON_LAW, PERSON_SUBSET, PERSON_WEIGHT,
    PERSON_VALUE, PERSON_START, PERSON_PATTERN, TRIAL_LAW, MEAN_CELL, CELL_PREDICTOR,
    N_REPORTED, EFFECT_PREDICTOR, EFFECT_GROUP, EFFECT_KIND, EFFECT_GROUP_PREDICTOR,
    EFFECT_GROUP_SCALE, EFFECT_GROUP_UNSEEN, EFFECT_POPULATION, EFFECT_ADJUSTED,
    EFFECT_DISTANCE, EFFECT_HORIZON_PLACE, EFFECT_ERROR_PLACE, EFFECT_LEVEL_PLACE,
    EFFECT_STATISTIC, EFFECT_STANDARD_ERROR, EFFECT_LOWER, EFFECT_UPPER, EFFECT_ATTENUATION,
    EFFECT_GAIN, EFFECT_QUANTILE, EFFECT_STEP, EFFECT_POSITIVE, EFFECT_POWER, EFFECT_SHARED,
    EFFECT_COUNTS, EFFECT_NODE, EFFECT_NODE_WEIGHT, EFFECT_ON_SD_SCALE, CONTINUOUS_IDX,
    BINARY_IDX, CENTRE, ASSAY_DEPENDENT, RATE_LOCATION, ACROSS_IDX, ACROSS_REFERENCE,
    LINK_WEIGHT, LINK_SCALE, LINK_VARIANCE, LOG_REFERENCE_VARIANCE, BETWEEN_LOCATION, ARM_CLASS_IDX,
    CLASS_LOCATION, CLASS_SPREAD, WALK_STEP, REFERENCE_KNOT, FIXED, PRIOR, SLOPE_CONCENTRATION,
    PART_PRESENT, VARIABLE_START, SIZES, CONSTANT, WORK_LAYOUT, PIECE_ADDRESS,
) = map(np.int64, range(len(BLOCKS)))
# fmt: on

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
    "across_scale",
    "across_slope_raw",
    "predictor_location",
    "predictor_between_scale",
    "trial_mean_reported",
    "trial_mean_unreported_raw",
    "predictor_cholesky",
    "binary_shift",
    "binary_log_odds_ratio",
    "effect_scale",
    "effect_deviation_raw",
    "effect_horizon_scale",
    "effect_horizon_raw",
    "effect_error",
    "effect_level",
)
"""Random variables; ``variable_start`` says where each stands in the point, -1 if it is fixed."""
# fmt: off
(
    INTERCEPT, POPULATION_SCALE, POPULATION_RAW, TRIAL_SCALE, TRIAL_RAW, TREATMENT_SCALE,
    TREATMENT_RAW, ARM_SCALE, CLASS_RAW, ARM_RAW, STUDY_EFFECT, HORIZON_SCALE, HORIZON_RAW,
    IMPROVEMENT_SD, EXPLAINED_VARIANCE, PREDICTOR_SHARE, SLOPE_SHARE, PROGNOSTIC_RAW,
    PREDICTIVE_RAW, POPULATION_SLOPE_RAW, TRIAL_SLOPE_RAW, ACROSS_SCALE, ACROSS_RAW,
    PREDICTOR_LOCATION, PREDICTOR_BETWEEN, REPORTED, UNREPORTED, CHOLESKY, BINARY_SHIFT,
    ODDS_RATIO, EFFECT_SCALE, EFFECT_DEVIATION_RAW, EFFECT_HORIZON_SCALE, EFFECT_HORIZON_RAW,
    EFFECT_ERROR, EFFECT_LEVEL,
) = map(np.int64, range(len(VARIABLES)))
# fmt: on


WORK = (
    "point",
    "gradient",
    "scalars",
    "improvement_sd",
    "offset",
    "slope_scales",
    "log_predictor",
    "log_part",
    "across",
    "intercept",
    "slope",
    "trial_mean",
    "factor",
    "shift",
    "odds",
    "rate_density",
    "mean",
    "table",
    "covariance",
    "precision",
    "regression",
    "residual",
    "log_determinant",
    "shift_score",
    "shift_square",
    "coefficients",
    "intercept_back",
    "slope_back",
    "across_back",
    "mean_back",
    "shift_back",
    "odds_back",
    "chain_count",
    "covariance_back",
    "regression_back",
    "residual_back",
    "determinant_back",
    "coefficients_back",
    "slope_scales_back",
)
"""Parts of the array that one evaluation works in; ``work_layout`` says where each stands."""
# fmt: off
(
    POINT, GRADIENT, SCALARS, SPREAD_OF_SCORES, OFFSET, SLOPE_SCALES, LOG_PREDICTOR, LOG_PART,
    ACROSS, SETTING_INTERCEPT, SLOPE, TRIAL_MEAN, FACTOR, SHIFT, ODDS, RATE_DENSITY, MEAN,
    TABLE, COVARIANCE, PRECISION, REGRESSION, RESIDUAL, LOG_DETERMINANT, SHIFT_SCORE,
    SHIFT_SQUARE, COEFFICIENTS, INTERCEPT_BACK, SLOPE_BACK, ACROSS_BACK, MEAN_BACK, SHIFT_BACK,
    ODDS_BACK, CHAIN_COUNT, COVARIANCE_BACK, REGRESSION_BACK, RESIDUAL_BACK, DETERMINANT_BACK,
    COEFFICIENTS_BACK, SLOPE_SCALES_BACK,
) = map(np.int64, range(len(WORK)))
# fmt: on

SIZE_NAMES = (
    "populations",
    "trials",
    "arms",
    "scales",
    "laws",
    "subsets",
    "study_terms",
    "knots",
    "settings",
    "slopes",
    "clusters",
    "predictors",
    "continuous",
    "binaries",
)
# fmt: off
(
    POPULATIONS, TRIALS, ARMS, SCALES, LAWS, SUBSETS, N_STUDY_TERMS,
    KNOTS, SETTINGS, SLOPES, CLUSTERS, PREDICTORS, N_CONTINUOUS, N_BINARIES,
) = map(np.int64, range(len(SIZE_NAMES)))
# fmt: on

PIECES = (
    "priors_forward",
    "law_forward",
    "groups",
    "persons",
    "closed",
    "open",
    "arms",
    "effects",
    "law_back",
    "priors_back",
)
"""Pieces of the density in the order in which they run, each compiled on its own."""


inner = numba.njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Decorator of the kernel's functions: only other compiled code calls them, so no wrappers."""


@inner
def block(numbers, which):
    """Return one block of the array of numbers, as a view."""
    start = int(numbers[2 * which])
    return numbers[start : start + int(numbers[2 * which + 1])]


@inner
def scratch(numbers, work, which):
    """Return one part of the working array, as a view."""
    layout = block(numbers, WORK_LAYOUT)
    start = int(layout[2 * which])
    return work[start : start + int(layout[2 * which + 1])]


@inner
def size_of(numbers, which):
    """Return one of the sizes."""
    return int(block(numbers, SIZES)[which])
