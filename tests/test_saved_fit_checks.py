"""Wrong contents of a whole fit, in memory: each one is found by the tables of what fits hold."""

import copy
import json

import numpy as np
import pytest

from ketpredict.published import load_fit
from ketpredict.saved_fit_checks import (
    array_problems,
    metadata_problems,
    spec_problems,
)
from ketpredict.saved_fit_numbers import contents_digest
from report_fits import thinned


@pytest.fixture(scope="module")
def fit():
    """Return the shipped fit with some of its draws: patients, arms, effects, six predictors."""
    return thinned(load_fit("published"), 10)


@pytest.fixture(scope="module")
def metadata(fit):
    return json.loads(fit.metadata())


def problems(fit, metadata, groups):
    found = metadata_problems(metadata)
    return found or spec_problems(fit.spec, metadata) or array_problems(metadata, groups)


def test_the_shipped_fit_has_none(fit, metadata):
    assert problems(fit, metadata, fit.groups) == []


@pytest.mark.parametrize(
    ("arms", "term", "right"),
    [
        (("tutoring", "usual lessons"), "added_treatment", True),
        # As files of other fields were written before labels followed the field of a fit.
        (("tutoring", "usual lessons"), "added_antidepressant", True),
        (("ketamine", "saline"), "added_antidepressant", True),
        (("ketamine", "saline"), "added_treatment", False),
        (("tutoring", "usual lessons"), "homework", False),
    ],
)
def test_study_terms_are_those_of_the_field_of_the_arms(fit, metadata, arms, term, right):
    other = copy.deepcopy(metadata)
    other["coords"]["arm"] = list(arms)
    other["coords"]["study_term"] = ["open_label", "enriched", term]
    assert (spec_problems(fit.spec, other) == []) == right


def at(*path, put=None, drop=False, add=None):
    """Return a change of metadata: one entry put, dropped, or added to."""

    def change(table):
        for key in path[:-1]:
            table = table[key]
        if drop:
            del table[path[-1]]
        elif add is not None:
            table[path[-1]] += add
        else:
            table[path[-1]] = put

    return change


FACTS = {
    **{f"basis without {key}": at("facts", "basis", 1, key, drop=True)
       for key in ("trials", "patients", "patients_in_arms", "arms", "hours", "outcomes")},
    "hours that fall": at("facts", "basis", 0, "hours", put=[288.0, 24.0]),
    "a share of a patient": at("facts", "basis", 0, "patients", put=1.5),
    "minus three trials": at("facts", "basis", 0, "trials", put=-3),
    "a population twice": at("facts", "basis", 1, "population", put="bipolar_depression"),
    "no rhat": at("facts", "diagnostics", "rhat", drop=True),
    "no number of rhat": at("facts", "diagnostics", "rhat", put=None),
    "no divergences": at("facts", "diagnostics", "divergences", put=None),
    "problems that are a text": at("facts", "diagnostics", "problems", put="none"),
    "Laplace without Pareto k": at("facts", "diagnostics", "method", put="laplace"),
    "no sampler": at("facts", "provenance", "sampler", drop=True),
    "a sampler without draws": at("facts", "provenance", "sampler", "draws", drop=True),
    "a sampler of half draws": at("facts", "provenance", "sampler", "draws", put=0.5),
    "a sampler with more": at("facts", "provenance", "sampler", "speed", put=1),
    "no versions": at("facts", "provenance", "versions", drop=True),
    "a version that is a number": at("facts", "provenance", "versions", "numpy", put=2),
    "another model": at("facts", "provenance", "specification", put="1" * 64),
    "updates that are none": at("facts", "provenance", "updates", put=[{"trial": "x"}]),
    **{f"an effect without {key}": at("facts", "effects", 0, key, drop=True)
       for key in ("used", "predictor", "cohort", "why", "power", "n", "hours", "row")},
    "an effect used by its word": at("facts", "effects", 0, "used", put="yes"),
    "an effect of power 2": at("facts", "effects", 0, "power", put=2.0),
    "an effect without power": at("facts", "effects", 0, "power", put=None),
    "one effect fewer used": at("facts", "effects", 0, "used", put=False),
    "a range the wrong way": at("facts", "ranges", "bmi", "low", put=60.0),
    "half a range": at("facts", "ranges", "bmi", "low", put=None),
    "patients left out who are there": at("facts", "without_patients", put={"patients": 36.0}),
    "published, of no evidence": at("facts", "published", put={}),
    "an unknown class of arms": at("facts", "arm_class", 3, put="placebo"),
    "another class of an arm": at("facts", "arm_class", 1, put="inert_control"),
    "one arm fewer": at("coords", "arm", put=["ketamine"]),
    "a trial twice": at("coords", "trial", 1, put="canuso_2018"),
    "a trial without a name": at("coords", "trial", 1, put=None),
    "another knot": at("coords", "knot", 1, put=25.0),
    "no labels of effects": at("coords", "effect", drop=True),
    "other study terms": at("coords", "study_term", 0, put="blinded"),
    "other parts of slopes": at("coords", "slope_part", put=["prognostic", "predictive"]),
    "other continuous predictors": at("coords", "continuous", 0, put="shank3"),
    "a predictor twice": at("predictors", 1, "name", put="bmi"),
    "a rate above 1": at("predictors", 1, "centre", put=1.2),
    "a scale of 0": at("predictors", 0, "scale", put=0.0),
    "an unknown transform": at("predictors", 0, "transform", put="square"),
    "a trial's value too many": at("trial_values", 0, add=[1.0]),
    "dimensions that are others": at("dims", "slope", put=["trial"]),
    "dimensions of numbers": at("dims", "slope", put=[6]),
}  # fmt: skip


@pytest.mark.parametrize("name", FACTS)
def test_wrong_facts_are_found(fit, metadata, name):
    wrong = copy.deepcopy(metadata)
    FACTS[name](wrong)
    assert problems(fit, wrong, fit.groups)


def first(value):
    def change(values):
        values[(0,) * values.ndim] = value

    return change


def correlated(values):
    """Above one: each variance is right, and no vector has that covariance."""
    values[0, 0, 0, 1] = values[0, 0, 1, 0] = 1.2 * np.sqrt(values[0, 0, 0, 0] * values[0, 0, 1, 1])


def lopsided(values):
    values[0, 0, 0, 1] += 0.1


def longer_share(values):
    values[0, 0, 0] += 0.02


def swapped(values):
    values[0] = 1 - values[0]


ARRAYS = {
    **{f"posterior {name} below 0": ("posterior", name, first(-0.1)) for name in (
        "population_scale", "trial_scale", "treatment_scale", "arm_scale", "horizon_scale",
        "slope_scale", "effect_scale", "effect_horizon_scale", "explained_variance",
        "slope_share", "predictor_share", "improvement_sd", "predictor_between_scale",
    )},
    "no spread of improvement": ("posterior", "improvement_sd", first(0.0)),
    "next to no spread": ("posterior", "improvement_sd", first(1e-200)),
    "more than all variance": ("posterior", "explained_variance", first(1.1)),
    "shares that miss 1": ("posterior", "slope_share", longer_share),
    "shares of predictors that miss 1": ("posterior", "predictor_share", longer_share),
    "a covariance of no law": ("posterior", "predictor_covariance", correlated),
    "a lopsided covariance": ("posterior", "predictor_covariance", lopsided),
    "a variance of 0": ("posterior", "predictor_covariance", first(0.0)),
    "an endless draw": ("posterior", "slope", first(np.inf)),
    "an absurd draw": ("posterior", "intercept", first(1e200)),
    "prior: scale below 0": ("prior", "trial_scale", first(-1.0)),
    "prior: no number": ("prior", "slope", first(np.nan)),
    "prior: covariance": ("prior", "predictor_covariance", correlated),
    "minus one responder": ("constant_data", "responders", first(-1.0)),
    "more responders than people": ("constant_data", "responders", first(1e6)),
    "an outcome that is missing": ("constant_data", "responders", first(np.nan)),
    "an outcome said twice, otherwise": ("observed_data", "responders", first(0.5)),
    "fewer than nobody": ("constant_data", "n", first(-2.0)),
    "endlessly many": ("constant_data", "n", first(np.inf)),
    "more replicated than people": ("posterior_predictive", "responders", first(10**6)),
    "fewer replicated than none": ("posterior_predictive", "responders", first(-1)),
    "a density that is no number": ("log_likelihood", "effects", first(np.nan)),
    "half an arm": ("constant_data", "is_arm", first(0.5)),
    "an arm of another class": ("constant_data", "active", swapped),
    "another curve": ("constant_data", "curve_idx", swapped),
    "hours before the dose": ("constant_data", "hours", first(-24.0)),
    "a threshold of 150 %": ("constant_data", "threshold", first(150.0)),
    "a unit of no law": ("constant_data", "law_idx", first(99)),
    "a unit of no scale": ("constant_data", "scale_idx", first(-1)),
    "a patient of no trial": ("constant_data", "people_trial_idx", first(99)),
    "patients below 0": ("constant_data", "people_weight", first(-1.0)),
    "a cell of no law": ("constant_data", "cells", first(99)),
    "a pattern of no unit": ("constant_data", "pattern_unit", first(9999)),
    "a pattern of half": ("constant_data", "pattern_value", first(0.5)),
    "an effect of no kind": ("constant_data", "effect_kind", first(9)),
    "an effect of no predictor": ("constant_data", "effect_predictor_idx", first(6)),
    "an effect of power -1": ("constant_data", "effect_power", first(-1.0)),
    "an endless error": ("constant_data", "effect_standard_error", first(-1.0)),
    "a law of no trial": ("constant_data", "law_trial", first(40)),
    "a trial without a law": ("constant_data", "law_trial", first(3)),
}  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
def test_impossible_numbers_are_found(fit, metadata, name):
    group, variable, change = ARRAYS[name]
    values = fit.groups[group][variable].copy()
    change(values)
    groups = {**fit.groups, group: {**fit.groups[group], variable: values}}
    assert problems(fit, metadata, groups)


SHAPES = [("posterior", name) for name in (
    "intercept", "slope", "trial_slope", "predictor_covariance", "effect_level", "arm_effect",
)] + [("constant_data", name) for name in (
    "value", "people_value", "people_pattern_row", "effect_node", "hours", "mean_cell",
)] + [("prior", "slope"), ("log_likelihood", "effects")]  # fmt: skip


@pytest.mark.parametrize(("group", "variable"), SHAPES)
def test_absent_cut_and_retyped_variables_are_found(fit, metadata, group, variable):
    values = fit.groups[group][variable]
    cut = values[..., :-1] if group != "constant_data" else values[:-1]
    for changed in (None, cut, values[None], values.astype("U8"), values.astype(complex)):
        own = {name: v for name, v in fit.groups[group].items() if name != variable}
        if changed is not None:
            own[variable] = changed
        assert problems(fit, metadata, {**fit.groups, group: own})


@pytest.mark.parametrize("group", ["posterior", "prior", "constant_data"])
def test_absent_groups_are_found(fit, metadata, group):
    assert problems(fit, metadata, {g: v for g, v in fit.groups.items() if g != group})


def test_the_digest_is_of_what_a_fit_says_and_not_of_how(fit, metadata):
    digest = contents_digest(metadata, fit.groups)
    assert metadata["digest"] == digest
    narrow = {
        group: {
            name: values.astype(np.int32) if values.dtype.kind in "iu" else values.copy(order="F")
            for name, values in reversed(variables.items())
        }
        for group, variables in fit.groups.items()
    }
    assert contents_digest(dict(reversed(metadata.items())), narrow) == digest
    draws = fit.groups["posterior"]
    moved = {**draws, "slope": np.nextafter(draws["slope"], 9.0)}
    assert contents_digest(metadata, {**fit.groups, "posterior": moved}) != digest
    assert contents_digest({**metadata, "format": 5}, fit.groups) != digest
