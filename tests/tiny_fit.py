"""A posterior made by hand, for tests that need a fit but no sampler."""

from __future__ import annotations

import numpy as np

from ketpredict.posterior import Posterior
from ketpredict.predictors import load_predictors
from ketpredict.spec import CURVES, STUDY_TERMS, load_spec

POPULATIONS = ["bipolar", "unipolar"]
TRIALS = ["T1", "T2"]
ARMS = ["ketamine", "saline"]


def handmade_posterior(seed: int = 1, chains: int = 2, draws: int = 16) -> Posterior:
    """Return a small posterior: two populations, trials, arms and predictors (one of each kind)."""
    rng = np.random.default_rng(seed)
    names = ("bmi", "family_history_aud")
    known = load_predictors()
    predictors = tuple(known[name] for name in names)
    spec = load_spec("published").with_predictors(names)
    knots = list(spec.horizons.knots)

    def normal(centre: float, spread: float, *shape: int) -> np.ndarray:
        return rng.normal(centre, spread, (chains, draws, *shape))

    variables = {
        "intercept": (normal(0.3, 0.2), ()),
        "population_effect": (normal(0, 0.2, 2), ("population",)),
        "population_scale": (np.abs(normal(0.2, 0.05)), ()),
        "trial_effect": (normal(0, 0.3, 2), ("trial",)),
        "trial_scale": (np.abs(normal(0.3, 0.05)), ()),
        "treatment_deviation": (normal(0, 0.2, 2), ("trial",)),
        "treatment_scale": (np.abs(normal(0.2, 0.05)), ()),
        "arm_effect": (normal(-1, 0.2, 2) * np.array([0.0, 1.0]), ("arm",)),
        "study_term_effect": (normal(0, 0.2, len(STUDY_TERMS)), ("study_term",)),
        "horizon_offset": (normal(0, 0.1, len(CURVES), len(knots)), ("curve", "knot")),
        "improvement_sd": (normal(31, 3, 1), ("scale",)),
        "prognostic_slope": (normal(0, 0.2, 2), ("predictor",)),
        "predictive_slope": (normal(0, 0.1, 2), ("predictor",)),
        "population_slope": (normal(0, 0.1, 2, 2), ("population", "predictor")),
        "trial_slope": (normal(0, 0.1, 2, 2), ("trial", "predictor")),
        "slope_scale": (np.abs(normal(0.2, 0.05, 4, 2)), ("slope_part", "predictor")),
        "across_slope": (normal(0, 0.2, 2), ("predictor",)),
        "predictor_location": (normal(0, 0.2, 2), ("predictor",)),
        "predictor_between_scale": (np.abs(normal(0.4, 0.1, 2)), ("predictor",)),
        "trial_mean": (normal(0, 0.3, 4), ("trial_cell",)),
        "predictor_covariance": (
            np.abs(normal(1, 0.1, 1, 1)),
            ("continuous", "continuous_too"),
        ),
        "binary_shift": (normal(0, 0.2, 1, 1), ("continuous", "binary")),
    }
    cells = np.array([[0, 2], [1, 3]])
    return Posterior(
        groups={
            "posterior": {name: values for name, (values, _) in variables.items()},
            "constant_data": {"mean_cell": cells, "law_trial": np.arange(2)},
        },
        dims={
            **{name: dims for name, (_, dims) in variables.items()},
            "mean_cell": ("law", "predictor"),
            "law_trial": ("law",),
        },
        coords={
            "population": POPULATIONS,
            "trial": TRIALS,
            "arm": ARMS,
            "study_term": list(STUDY_TERMS),
            "curve": list(CURVES),
            "knot": knots,
            "scale": ["MADRS"],
            "predictor": list(names),
            "slope_part": list(spec.slope_parts()),
            "law": TRIALS,
            "trial_cell": [f"{trial}: {name}" for name in names for trial in TRIALS],
            "continuous": ["bmi"],
            "continuous_too": ["bmi"],
            "binary": ["family_history_aud"],
            "binary_pair": [],
        },
        spec=spec,
        predictors=predictors,
        trial_values=np.array([[0.1, 0.4], [-0.2, np.nan]]),
        facts={
            "arm_class": ["active", "inert_control"],
            "repeated_arm": [False, False],
            "basis": [
                {"population": name, "extrapolated": name == "bipolar", "reason": "one trial"}
                for name in POPULATIONS
            ],
            "ranges": {
                "bmi": {"low": 18.0, "high": 40.0, "trials": 2},
                "family_history_aud": {"low": None, "high": None, "trials": 1},
            },
            "diagnostics": {"problems": []},
            "provenance": {"versions": {}},
            "messages": [],
            "effects": [],
            "estimator": {},
        },
    )
