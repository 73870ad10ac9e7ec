"""Checks of groups: associations, missingness, thresholds; by hand and on data made wrong."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import norm

import ketpredict as kp
import monte_carlo
from ketpredict.association_checks import association_table, population_contrasts
from ketpredict.group_gates import (
    association_gate,
    missingness_gate,
    reversal_gate,
    threshold_gate,
)
from ketpredict.stored_design import design_of
from ketpredict.unit_outcome import unit_probability


@pytest.fixture
def full(simulated_fits):
    return simulated_fits["full"]


def with_responders(posterior, responders):
    """Return the fit as if other patients had responded: what is replicated stays."""
    constant = {**posterior.groups["constant_data"], "responders": responders}
    groups = {
        **posterior.groups,
        "constant_data": constant,
        "observed_data": {"responders": responders},
    }
    return dataclasses.replace(posterior, groups=groups)


def patients_of(posterior):
    units = design_of(posterior).units
    return units, np.flatnonzero((units.is_arm == 0) & (units.active > 0))


def test_the_statistic_is_that_of_the_docstring(full):
    table, p_value = association_table(full)
    assert 0.0 < p_value <= 1.0
    assert ((table["p_value"] >= 0) & (table["p_value"] <= 1)).all()
    row = table[table["predictor"] == "bmi"].iloc[0]
    design = design_of(full)
    units, chosen = patients_of(full)
    population = full.coords["population"].index(row["population"])
    top = size = count = 0.0
    for trial in range(len(design.trials)):
        for arm in range(len(design.arms)):
            here = [
                i
                for i in chosen
                if units.population_idx[i] == population
                and units.trial_idx[i] == trial
                and units.arm_idx[i] == arm
                and not np.isnan(units.value[i, 0])
            ]
            if here:
                n = units.n[here]
                apart = units.value[here, 0] - (n * units.value[here, 0]).sum() / n.sum()
                top += (units.responders[here] * apart).sum()
                size += (n * apart**2).sum()
                count += n.sum()
    assert row["observed"] == pytest.approx(top / np.sqrt(size))
    assert row["n"] == count


def test_what_the_model_made_passes(full):
    for gate in (association_gate, missingness_gate):
        found = gate(full)
        assert found.passed, found.detail
        monte_carlo.verdicts([found], full.n_draws)
    assert threshold_gate(full) is None  # all trials count 50 %


def test_a_predictor_that_decides_in_one_population_alone(full):
    units, chosen = patients_of(full)
    responders = units.responders.copy()
    here = chosen[units.population_idx[chosen] == 0]
    bmi = np.where(np.isnan(units.value[here, 0]), 0.0, units.value[here, 0])
    responders[here] = np.where(bmi < np.median(bmi), units.n[here], 0.0)
    found = association_gate(with_responders(full, responders))
    assert not found.passed
    monte_carlo.verdicts([found], full.n_draws)
    assert "bmi" in found.detail


def test_slopes_of_populations_are_those_of_one_scoring_step(full):
    """Unit by unit and stratum by stratum; the replicated share of each stratum is all it takes."""
    fit = with_slopes(full, 0.0, level=0.3, control=-0.8, population=0.4)
    table, _ = population_contrasts(fit)
    row = table[table["predictor"] == "bmi"].iloc[0]
    assert (row["first"], row["second"]) == ("bipolar_depression", "unipolar_depression")
    design = design_of(full)
    units = design.units
    patients = np.flatnonzero(units.is_arm == 0)
    # Every patient of a stratum has one probability, in every draw.
    shares = unit_probability(fit.parameters, design)[0, patients]
    slope, precision = {}, {}
    for p, name in enumerate(design.populations):
        score = information = 0.0
        for trial in range(len(design.trials)):
            for arm in range(len(design.arms)):
                here = [
                    (i, shares[place])
                    for place, i in enumerate(patients)
                    if units.population_idx[i] == p
                    and units.trial_idx[i] == trial
                    and units.arm_idx[i] == arm
                    and not np.isnan(units.value[i, 0])
                ]
                if not here:
                    continue
                index = [i for i, _ in here]
                n, x = units.n[index], units.value[index, 0]
                share = np.average([m for _, m in here], weights=n)
                density = norm.pdf(norm.ppf(share))
                apart = x - np.average(x, weights=n)
                score += density / (share * (1 - share)) * (units.responders[index] @ apart)
                information += density**2 / (share * (1 - share)) * (n @ apart**2)
        slope[name], precision[name] = score / information, information
    apart = slope["bipolar_depression"] - slope["unipolar_depression"]
    assert row["slope"] == pytest.approx(apart)
    error = np.sqrt(sum(1.0 / information for information in precision.values()))
    assert row["observed"] == pytest.approx(apart / error)


def with_slopes(posterior, scale, level=0.0, control=0.0, population=0.0):
    """Return the fit without slopes, with deviations of populations as the scale lets them.

    Whatever was drawn, the probability of a patient is one number that hangs on population and arm
    alone: trials do not differ, and half of all respond unless the other arguments say otherwise.
    """
    own, prior = posterior.groups["posterior"], posterior.groups["prior"]
    names = ("intercept", "arm_effect", "population_effect", "study_term_effect",
             "horizon_offset", "trial_effect", "treatment_deviation", "trial_scale",
             "treatment_scale", "prognostic_slope", "predictive_slope", "population_slope",
             "trial_slope", "slope_scale", "across_slope")  # fmt: skip
    fixed = {name: np.zeros_like(own[name]) for name in names}
    fixed["intercept"] += level
    fixed["arm_effect"][..., 1] += control
    fixed["population_effect"][..., 0] += population
    given = {"slope_scale": np.full_like(prior["slope_scale"], scale)}
    groups = {**posterior.groups, "posterior": {**own, **fixed}, "prior": {**prior, **given}}
    return dataclasses.replace(posterior, groups=groups)


def test_without_slopes_the_statistic_is_standard_and_widens_with_the_scale_of_the_prior(full):
    """Half respond, so that sums over some dozens of patients are normal to a few hundredths."""
    narrow, wide = with_slopes(full, 0.0), with_slopes(full, 0.5)
    seeds = range(10)
    tables = [population_contrasts(narrow, seed=seed)[0] for seed in seeds]
    draws = len(seeds) * full.n_draws
    # The error of the 5 % quantile of a standard normal.
    error = np.sqrt(0.05 * 0.95 / draws) / norm.pdf(norm.ppf(0.05))
    for name, quantile in (("lower", norm.ppf(0.05)), ("upper", norm.ppf(0.95))):
        ends = np.mean([table[name] for table in tables], axis=0)
        monte_carlo.agrees(ends, quantile, error, beyond=0.05)
    bmi = list(tables[0]["predictor"]).index("bmi")
    width = (tables[0]["upper"] - tables[0]["lower"])[bmi]
    table, _ = population_contrasts(wide)
    error = np.sqrt(len(seeds)) * error * (table["upper"] - table["lower"])[bmi] / 3.3
    monte_carlo.above((table["upper"] - table["lower"])[bmi], 1.5 * width, 2.0 * error)


def test_an_effect_that_is_turned_round_in_one_population(full):
    assert reversal_gate(full).passed
    own = full.groups["posterior"]
    turned = np.zeros_like(own["population_slope"])
    turned[..., 0, 0], turned[..., 1, 0] = 3.0, -3.0
    groups = {**full.groups, "posterior": {**own, "population_slope": turned}}
    found = reversal_gate(dataclasses.replace(full, groups=groups))
    assert not found.passed
    assert "bmi in Bipolar depression and Unipolar depression" in found.detail
    one = dataclasses.replace(full, coords={**full.coords, "population": ["one"]})
    assert reversal_gate(one) is None


def test_what_is_missing_because_of_the_outcome(full):
    units, _ = patients_of(full)
    patients = units.is_arm == 0
    missing = patients & np.isnan(units.value[:, 0])
    responders = np.where(missing, units.n, np.where(patients, 0.0, units.responders))
    found = missingness_gate(with_responders(full, responders))
    assert not found.passed
    monte_carlo.verdicts([found], full.n_draws)
    assert "patients who tell" in found.detail


def test_a_threshold_that_does_not_fit_the_rest(full):
    units, _ = patients_of(full)
    lower = units.trial_idx < 2
    constant = {**full.groups["constant_data"], "threshold": np.where(lower, 30.0, 50.0)}
    two = dataclasses.replace(full, groups={**full.groups, "constant_data": constant})
    assert threshold_gate(two) is not None
    nobody = np.where(lower, 0.0, units.responders)
    found = threshold_gate(with_responders(two, nobody))
    assert not found.passed
    monte_carlo.verdicts([found], full.n_draws)
    assert "30 %" in found.detail


def test_a_wrong_request(full):
    with pytest.raises(kp.DataError, match="expected 'population'"):
        association_table(full, by="colour")
