"""What the variables of a saved fit are: their dimensions, and the values that they can have.

The tables are data; :mod:`ketpredict.saved_fit_checks` holds a fit to them.
"""

from __future__ import annotations

import dataclasses

_FAR = 1e12
_SMALLEST_SD = 1e-6


@dataclasses.dataclass(frozen=True)
class Values:
    """The values that a variable can have.

    Parameters
    ----------
    words : str
        What they are, for a message.
    low, high : float
    may_miss : bool
        Whether NaN stands for what is not known.
    whole : bool
        Whether they are whole numbers.
    sums_to_one : bool
        Along the last axis.
    covariance : bool
        Whether the last two axes are a covariance.
    """

    words: str
    low: float = -_FAR
    high: float = _FAR
    may_miss: bool = False
    whole: bool = False
    sums_to_one: bool = False
    covariance: bool = False


NUMBER = Values("finite numbers")
SCALE = Values("standard deviations, 0 or more", low=0.0)
RATIO = Values("ratios of variances, 0 or more", low=0.0)
POSITIVE = Values("positive numbers", low=5e-324)
SPREAD = Values("positive standard deviations of improvement", low=_SMALLEST_SD)
SHARE = Values("shares between 0 and 1", low=0.0, high=1.0)
SHARES = Values("shares that sum to 1", low=0.0, high=1.0, sums_to_one=True)
COVARIANCE = Values("a covariance: symmetric and positive definite", covariance=True)
LOG_DENSITY = Values("logarithms of a density", low=-float("inf"))
COUNT = Values("counts, 0 or more", low=0.0)
FLAG = Values("0 or 1", low=0.0, high=1.0, whole=True)
PERCENT = Values("percentages", low=0.0, high=100.0)
MAY_MISS = Values("numbers, or none", may_miss=True)
SD_MAY_MISS = Values("standard deviations, or none", low=0.0, may_miss=True)
TIME = Values("hours, or none", low=0.0, may_miss=True)
PERCENT_MAY_MISS = Values("percentages, or none", low=0.0, high=100.0, may_miss=True)
COUNT_MAY_MISS = Values("counts, or none", low=0.0, may_miss=True)
SHARE_MAY_MISS = Values("shares, or none", low=0.0, high=1.0, may_miss=True)
LIMIT = Values("limits", low=-float("inf"), high=float("inf"), may_miss=True)

PARAMETERS: dict[str, tuple[tuple[str, ...], Values]] = {
    "intercept": ((), NUMBER),
    "population_scale": ((), SCALE),
    "population_effect": (("population",), NUMBER),
    "trial_scale": ((), SCALE),
    "trial_effect": (("trial",), NUMBER),
    "treatment_scale": ((), SCALE),
    "treatment_deviation": (("trial",), NUMBER),
    "arm_scale": ((), SCALE),
    "arm_class_mean": (("arm_class",), NUMBER),
    "arm_effect": (("arm",), NUMBER),
    "study_term_effect": (("study_term",), NUMBER),
    "horizon_scale": ((), SCALE),
    "horizon_offset": (("curve", "knot"), NUMBER),
    "improvement_sd": (("scale",), SPREAD),
    "explained_variance": ((), SHARE),
    "predictor_share": (("predictor",), SHARES),
    "slope_share": (("slope_part",), SHARES),
    "slope_scale": (("slope_part", "predictor"), SCALE),
    "population_slope_share": ((), RATIO),
    "trial_slope_share": ((), RATIO),
    "prognostic_slope": (("predictor",), NUMBER),
    "predictive_slope": (("predictor",), NUMBER),
    "population_slope": (("population", "predictor"), NUMBER),
    "trial_slope": (("trial", "predictor"), NUMBER),
    "slope": (("predictor",), NUMBER),
    "across_scale": ((), SCALE),
    "across_slope": (("predictor",), NUMBER),
    "predictor_location": (("predictor",), NUMBER),
    "predictor_between_scale": (("predictor",), POSITIVE),
    "trial_mean_reported": (("reported_cell",), NUMBER),
    "trial_mean": (("trial_cell",), NUMBER),
    "predictor_cholesky": (("cholesky_place",), NUMBER),
    "predictor_covariance": (("continuous", "continuous_too"), COVARIANCE),
    "binary_shift": (("continuous", "binary"), NUMBER),
    "binary_log_odds_ratio": (("binary_pair",), NUMBER),
    "effect_scale": (("effect_predictor",), SCALE),
    "effect_deviation": (("effect_group",), NUMBER),
    "effect_horizon_scale": ((), SCALE),
    "effect_horizon": (("effect_apart",), NUMBER),
    "effect_error": (("repeated_group",), NUMBER),
    "effect_level": (("effect_with_level",), NUMBER),
}
"""Every parameter that a fit can have, after chain and draw."""

ALWAYS = (
    "intercept",
    "population_effect",
    "population_scale",
    "trial_effect",
    "trial_scale",
    "treatment_deviation",
    "treatment_scale",
    "arm_effect",
    "study_term_effect",
    "horizon_offset",
    "improvement_sd",
)
"""Parameters without which nothing can be predicted."""
OF_PREDICTORS = (
    "slope_scale",
    "prognostic_slope",
    "predictive_slope",
    "population_slope",
    "trial_slope",
    "across_slope",
    "predictor_location",
    "predictor_between_scale",
    "trial_mean",
)
"""The same where the fit has predictors."""

LAW = ("mean_cell", "law_trial")
"""What prediction reads of the design."""
INDICES: dict[str, tuple[tuple[str, ...], str, int]] = {
    "mean_cell": (("law", "predictor"), "trial_cell", -1),
    "law_trial": (("law",), "trial", 0),
    "population_idx": (("unit",), "population", 0),
    "trial_idx": (("unit",), "trial", 0),
    "law_idx": (("unit",), "law", 0),
    "arm_idx": (("unit",), "arm", 0),
    "curve_idx": (("unit",), "curve", 0),
    "scale_idx": (("unit",), "scale", 0),
    "people_law_idx": (("person",), "law", 0),
    "people_trial_idx": (("person",), "trial", 0),
    "pattern_unit": (("pattern",), "unit", 0),
    "people_pattern_row": (("person_pattern",), "person", 0),
    "effect_predictor_idx": (("effect",), "predictor", 0),
    "effect_group_idx": (("effect",), "effect_group", 0),
    "effect_kind": (("effect",), "kind_of_effect", 0),
    "effect_group_predictor": (("effect_group",), "predictor", 0),
}
"""Arrays of the design that point at labels: their dimensions, at what, the lowest of them."""
DESIGN: dict[str, tuple[tuple[str, ...], Values]] = {
    "responders": (("unit",), COUNT_MAY_MISS),
    "n": (("unit",), COUNT),
    "active": (("unit",), FLAG),
    "horizon_basis": (("unit", "knot"), MAY_MISS),
    "study_terms": (("unit", "study_term"), SHARE),
    "threshold_shift": (("unit",), MAY_MISS),
    "value": (("unit", "predictor"), MAY_MISS),
    "sd": (("unit", "predictor"), SD_MAY_MISS),
    "weight": (("unit",), COUNT),
    "hours": (("unit",), TIME),
    "threshold": (("unit",), PERCENT_MAY_MISS),
    "is_arm": (("unit",), FLAG),
    "people_value": (("person", "predictor"), MAY_MISS),
    "people_weight": (("person",), COUNT),
    "cells": (("trial_cell", "place"), COUNT),
    "pattern_value": (("pattern", "binary"), FLAG),
    "people_pattern_value": (("person_pattern", "binary"), FLAG),
    "effect_group_unseen": (("effect_group",), SHARE),
    "effect_population_weight": (("effect", "population"), SHARE),
    "effect_adjusted": (("effect", "predictor"), FLAG),
    "effect_distance": (("effect",), COUNT),
    "effect_statistic": (("effect",), MAY_MISS),
    "effect_standard_error": (("effect",), SD_MAY_MISS),
    "effect_lower": (("effect",), LIMIT),
    "effect_upper": (("effect",), LIMIT),
    "effect_attenuation": (("effect",), MAY_MISS),
    "effect_gain": (("effect",), MAY_MISS),
    "effect_quantile": (("effect",), MAY_MISS),
    "effect_step": (("effect",), MAY_MISS),
    "effect_positive": (("effect",), SHARE_MAY_MISS),
    "effect_power": (("effect",), SHARE),
    "effect_shared": (("effect",), SHARE),
    "effect_counts": (("effect", "count"), COUNT_MAY_MISS),
    "effect_node": (("effect", "group_of_counts", "node"), MAY_MISS),
    "effect_node_weight": (("effect", "group_of_counts", "node"), SHARE_MAY_MISS),
    "effect_on_sd_scale": (("effect",), FLAG),
}
"""The other arrays of the design."""
TOLD = "told"
"""How many people of a unit tell each predictor: in the place of their values where these are
left out."""
