"""Encoding: rows become units, patterns and cells."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import ketpredict as kp
from ketpredict import parameter_dims
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
        assert np.array_equal(first, second, equal_nan=True), field.name


def test_patients_without_an_outcome_are_people_but_no_units():
    table = patients(response=[1, np.nan, 0], bmi=[28.0, 34.0, np.nan])
    design = design_of(["bmi"], participants=table)
    assert design.units.n.sum() == 2
    assert design.people.weight.tolist() == [1.0, 1.0, 1.0]
    assert design.people.value[:, 0].tolist()[:2] == [0.0, 1.0]


def test_a_patient_with_two_periods_is_one_person():
    table = patients(
        participant=["a", "a", "b"], period=["1", "2", "1"], bmi=28.0, response=[1, 0, 1]
    )
    design = design_of(["bmi"], participants=table)
    assert design.units.n.tolist() == [3.0]
    assert design.people.weight.tolist() == [2.0]


def test_an_arm_is_its_mean_and_sd_on_the_reference_scale():
    design = design_of(["bmi"], arms=arms(bmi_mean=31.0, bmi_sd=3.0))
    assert design.units.value.tolist() == [[0.5]]
    assert design.units.sd.tolist() == [[0.5]]
    assert design.units.weight.tolist() == [20.0]


def test_people_behind_an_arm_s_summaries():
    """Those randomised, and in a crossover trial only once for all its arms."""
    assert design_of([], arms=arms(n_randomised=24)).units.weight.tolist() == [24.0]
    both = pd.concat([arms(design="crossover"), arms(design="crossover", arm="saline")])
    assert design_of([], arms=both).units.weight.tolist() == [10.0, 10.0]


def test_moments_of_a_log_scale_predictor():
    """Mean and SD of a log-normal, against simulated values."""
    bdnf = REFERENCES["bdnf"]
    rng = np.random.default_rng(1)
    values = np.exp(2.0 + 0.4 * rng.normal(size=2_000_000))
    design = design_of(["bdnf"], arms=arms(bdnf_mean=values.mean(), bdnf_sd=values.std()))
    expected = bdnf.to_scale(values)
    assert design.trial_values[0, 0] == pytest.approx(expected.mean(), abs=2e-3)
    assert design.units.sd[0, 0] == pytest.approx(expected.std(), rel=3e-3)


def test_binary_rates_become_patterns():
    table = arms(family_history_aud_pct=30.0, suicide_attempt_history_pct=100.0)
    design = design_of(["family_history_aud", "suicide_attempt_history"], arms=table)
    # The rate of 100 % leaves one value; 30 % leaves two.
    assert design.pattern_value.tolist() == [[0.0, 1.0], [1.0, 1.0]]
    assert design.units.value.tolist() == [[0.3, 1.0]]


def test_a_missing_cell_is_left_open_and_every_trial_has_a_mean():
    table = patients(bmi=[22.0, 34.0, np.nan], family_history_aud=np.nan, response=[1, 0, 0])
    design = design_of(["bmi", "family_history_aud"], participants=table)
    assert np.isnan(design.units.value[:, 0]).sum() == 1
    assert np.isnan(design.units.value[:, 1]).all()
    assert design.cells.tolist() == [[0, 0], [0, 1]]  # reported cells first
    assert design.n_reported == 1
    assert design.mean_cell.tolist() == [[0, 1]]
    assert design.trial_values[0, 0] == pytest.approx(0.0)  # mean of 22 and 34 is 28
    assert np.isnan(design.trial_values[0, 1])
    assert len(design.pattern_unit) == 2 * len(design.units)


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


def test_assay_dependent_levels_have_a_mean_for_each_assay():
    table = patients(
        bdnf=[8.0, 12.0, 25.0, np.nan],
        bmi=[20.0, 30.0, np.nan, 25.0],
        assay=["plasma", "plasma", "serum", None],
        response=[1, 0, 0, 1],
    )
    design = design_of(["bdnf", "bmi"], participants=table)
    assert design.laws == ("T1", "T1 (plasma)", "T1 (serum)")
    labels = parameter_dims.coordinates(design)["trial_cell"]
    assert labels == ["T1: bmi", "T1 (plasma): bdnf", "T1 (serum): bdnf"]
    # Nobody of the first law is measured: no level, no parameter. BMI has one mean for the trial.
    assert design.mean_cell.tolist() == [[-1, 0], [1, 0], [2, 0]]


def test_slopes_across_trials_need_three_trials():
    tables = [patients(bmi=[25.0, 30.0], bdnf=9.0, response=[1, 0]).assign(trial=t) for t in "ABC"]
    two, three = (design_of(["bmi", "bdnf"], participants=pd.concat(tables[:n])) for n in (2, 3))
    assert not two.has_across
    assert three.across_idx.tolist() == [0]  # levels of BDNF cannot be compared between trials
    assert three.has_across


def test_a_log_scale_mean_without_sd_is_read_as_with_the_reference_sd():
    predictor = REFERENCES["delta_sleep_ratio"]
    mean = 1.3
    sd = mean * np.sqrt(np.expm1(predictor.scale**2))
    names = ["delta_sleep_ratio"]
    without = design_of(names, arms=arms(delta_sleep_ratio_mean=mean))
    given = design_of(names, arms=arms(delta_sleep_ratio_mean=mean, delta_sleep_ratio_sd=sd))
    assert without.units.value == pytest.approx(given.units.value)
    assert np.isnan(without.units.sd).all()
    assert given.units.sd == pytest.approx(1.0)
