"""Encoding: rows become units, patterns and cells."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import ketpredict as kp
from ketpredict.basis import population_basis, predictor_ranges
from ketpredict.design import encode
from ketpredict.evidence import load_evidence, make_evidence, select_horizons
from ketpredict.horizon import horizon_basis
from ketpredict.predictors import load_predictors
from ketpredict.spec import load_spec

REFERENCES = load_predictors()
SPEC = load_spec("published")


def design_of(predictors, **tables):
    evidence = make_evidence(predictors=predictors, **tables)
    spec = SPEC.with_predictors(tuple(predictors))
    return encode(spec, select_horizons(evidence, spec.horizons), REFERENCES)


def patients(**columns):
    return pd.DataFrame({"trial": "T1", "population": "unipolar_depression", **columns})


def arms(**columns):
    fixed = {"trial": "T2", "population": "ocd", "arm": "ketamine", "hours": 24.0}
    return pd.DataFrame([{**fixed, "n": 20, "responders": 8, **columns}])


def test_equal_patients_are_counted_and_order_is_nothing():
    table = patients(bmi=[28.0, 34.0, 28.0, 28.0], response=[1, 0, 0, 1])
    design = design_of(["bmi"], participants=table)
    assert design.units.n.tolist() == [3.0, 1.0]
    assert design.units.responders.tolist() == [2.0, 0.0]
    assert design.units.value[:, 0].tolist() == [0.0, 1.0]  # (28 - 28) / 6, (34 - 28) / 6
    shuffled = design_of(["bmi"], participants=table.iloc[[3, 1, 0, 2]])
    for field in dataclasses.fields(design.units):
        first, second = (getattr(d.units, field.name) for d in (design, shuffled))
        assert np.array_equal(first, second), field.name


def test_patients_without_an_outcome_are_no_units():
    design = design_of([], participants=patients(response=[1, np.nan, 0]))
    assert design.units.n.sum() == 2


def test_an_arm_is_its_mean_and_variance_on_the_reference_scale():
    design = design_of(["bmi"], arms=arms(bmi_mean=31.0, bmi_sd=3.0))
    assert design.units.value.tolist() == [[0.5]]
    assert design.units.variance.tolist() == [[0.25]]


def test_moments_of_a_log_scale_predictor():
    """Mean and SD of a log-normal, against simulated values."""
    bdnf = REFERENCES["bdnf"]
    rng = np.random.default_rng(1)
    values = np.exp(2.0 + 0.4 * rng.normal(size=2_000_000))
    design = design_of(["bdnf"], arms=arms(bdnf_mean=values.mean(), bdnf_sd=values.std()))
    expected = bdnf.to_scale(values)
    assert design.trial_values[0, 0] == pytest.approx(expected.mean(), abs=2e-3)
    assert design.units.variance[0, 0] == pytest.approx(expected.var(), rel=5e-3)


def test_binary_rates_become_patterns():
    table = arms(family_history_aud_pct=30.0, suicide_attempt_history_pct=100.0)
    design = design_of(["family_history_aud", "suicide_attempt_history"], arms=table)
    # The rate of 100 % leaves one value; 30 % leaves two.
    assert design.pattern_value.tolist() == [[0.0, 1.0], [1.0, 1.0]]
    assert design.units.value.tolist() == [[0.3, 1.0]]


def test_a_missing_cell_takes_the_trial_s_mean_or_becomes_its_parameter():
    table = patients(bmi=[22.0, 34.0, np.nan], family_history_aud=np.nan, response=[1, 0, 0])
    design = design_of(["bmi", "family_history_aud"], participants=table)
    assert design.unreported.tolist() == [[0, 1]]  # trial 0 says nothing of family history
    missing = design.units.variance[:, 0] == 1.0
    assert design.units.value[missing, 0].tolist() == [0.0]  # mean of 22 and 34 is 28
    assert (design.units.unreported_idx[:, 0] == 1).all()
    assert (design.units.unreported_idx[:, 1] == 0).all()
    assert design.trial_values[0, 0] == pytest.approx(0.0)
    assert np.isnan(design.trial_values[0, 1])


def test_thresholds_and_repeated_courses():
    table = pd.concat(
        [
            arms(hours=168.0, threshold=35.0, scale="Y_BOCS"),
            arms(trial="T3", arm="ketamine_repeated", hours=336.0),
        ]
    )
    design = design_of([], arms=table)
    assert design.units.threshold_shift.tolist() == [15.0, 0.0]
    assert design.scales[design.units.scale_idx[0]] == "Y_BOCS"
    assert design.units.horizon_basis.tolist() == [[0, 0, 0, 1.0], [0, 0, 0, 0]]


def test_horizon_basis_interpolates_in_log_time():
    basis = horizon_basis([24.0, np.sqrt(24.0 * 72.0), 400.0], [4.0, 24.0, 72.0, 168.0])
    assert basis == pytest.approx(np.array([[0, 1, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 1]]))


def test_nothing_to_fit():
    with pytest.raises(kp.DataError, match="nothing to fit"):
        design_of([], participants=patients(response=[np.nan]))


def test_what_each_population_rests_on():
    spec = SPEC
    evidence = select_horizons(load_evidence(), spec.horizons)
    design = encode(spec, evidence, REFERENCES)
    entries = population_basis(design, evidence.participants)
    basis = {entry["population"]: entry for entry in entries}
    assert basis["ocd"]["outcomes"] == "Y_BOCS ≥ 35 % (1 trial)"
    assert basis["ocd"]["patients_in_arms"] == 15
    assert basis["ptsd"]["extrapolated"]
    assert "repeated courses only" in basis["ptsd"]["reason"]
    assert not basis["unipolar_depression"]["extrapolated"]
    # People, not periods: of 36 patients some have no outcome at day 2 in either period.
    at_two_days = evidence.participants[evidence.participants["response"].notna()]
    people = at_two_days.groupby("population")["participant"].nunique()
    assert basis["unipolar_depression"]["patients"] == people["unipolar_depression"] < 36
    assert basis["bipolar_depression"]["patients"] == people["bipolar_depression"] <= 3
    ranges = predictor_ranges(design)
    assert ranges["shank3"]["trials"] == 0
    assert ranges["bmi"]["low"] < 22 < 44 < ranges["bmi"]["high"]


def test_assay_dependent_levels_are_centred_on_their_trial():
    table = patients(bdnf=[8.0, 12.0, np.nan], response=[1, 0, 0])
    design = design_of(["bdnf"], participants=table)
    scaled = REFERENCES["bdnf"].to_scale([8.0, 12.0])
    half = (scaled[1] - scaled[0]) / 2
    assert sorted(design.units.value[:, 0]) == pytest.approx([-half, 0.0, half])
    assert design.trial_values[0, 0] == pytest.approx(scaled.mean())
    # A trial that does not report it has no level to say anything with: no parameter.
    assert len(design_of(["bdnf"], participants=patients(response=[1, 0])).unreported) == 0


def test_a_log_scale_mean_without_sd_is_read_as_with_the_reference_sd():
    predictor = REFERENCES["delta_sleep_ratio"]
    mean = 1.3
    sd = mean * np.sqrt(np.expm1(predictor.scale**2))
    names = ["delta_sleep_ratio"]
    without = design_of(names, arms=arms(delta_sleep_ratio_mean=mean))
    given = design_of(names, arms=arms(delta_sleep_ratio_mean=mean, delta_sleep_ratio_sd=sd))
    assert without.units.value == pytest.approx(given.units.value)
    assert without.units.variance == pytest.approx(given.units.variance)
