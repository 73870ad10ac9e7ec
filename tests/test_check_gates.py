"""Each gate fails on the fault that it is for, and on no other, and says so in words."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

import monte_carlo
from ketpredict.checks import check_fit, held_out_gate
from ketpredict.stored_design import design_of
from ketpredict.unit_outcome import unit_probability


def with_arrays(fit, group, **changes):
    return dataclasses.replace(fit, groups={**fit.groups, group: {**fit.groups[group], **changes}})


def failed(fit, *named):
    """Return the gates that a fit fails, in words; those named must do so clear of their limit."""
    gates = {gate.name: gate for gate in check_fit(fit).gates}
    monte_carlo.verdicts([gates[name] for name in named], fit.n_draws)
    return {name: gate.detail for name, gate in gates.items() if not gate.passed}


@pytest.fixture
def sound(sound_fit):
    """Return the sound fit; its replicates are drawn anew, from whatever its parameters are."""
    groups = {n: v for n, v in sound_fit.groups.items() if n != "posterior_predictive"}
    return dataclasses.replace(sound_fit, groups=groups)


def test_a_sound_fit_passes_every_gate(sound):
    report = check_fit(sound)
    assert [gate.name for gate in report.gates if not gate.passed] == []
    monte_carlo.verdicts(report.gates, sound.n_draws)
    assert [gate.name for gate in report.gates] == [
        "convergence",
        "posterior predictive, known trials",
        "posterior predictive, as new trials",
        "test statistics, as new trials",
        "outlying trials",
        "calibration of patients, known trials",
        "Pareto k of patients",
        "predictors within trials",
        "patients given once",
        "no separation",
        "associations by population",
        "effects of one sign",
        "posterior predictive, by missingness",
    ]
    table = json.loads(json.dumps(report.as_table(), allow_nan=False))
    assert len(table["gates"]) == 13
    assert table["posterior_predictive_new_trial"][0]["n"] == 20
    assert len(table["outlying_trials"]) == 5


def test_a_typing_error_in_an_arm_is_named(sound):
    design = design_of(sound)
    arm = np.flatnonzero(design.units.is_arm > 0)[0]
    p = unit_probability(sound.parameters, design)[:, arm].mean()
    responders = design.units.responders.copy()
    responders[arm] = 0.0 if p > 0.5 else design.units.n[arm]
    changed = with_arrays(sound, "constant_data", responders=responders)
    found = failed(changed, "posterior predictive, known trials")
    assert "Trial 5" in found["posterior predictive, known trials"]
    assert f"({responders[arm]:.0f} of 20)" in found["posterior predictive, known trials"]


def test_predictions_that_are_too_low_are_miscalibrated(sound):
    own = sound.groups["posterior"]["intercept"]
    moved = with_arrays(sound, "posterior", intercept=own - 2.0)
    found = failed(moved, "calibration of patients, known trials")
    assert "expected" in found["calibration of patients, known trials"]
    assert "pooled rate" in " ".join(found.values()) or "test statistics" not in found


def test_trials_more_unlike_than_their_law_are_seen_as_new_trials(sound):
    """The trials' own effects fit their data, but the law says that all trials are alike."""
    own = sound.groups["posterior"]
    names = ("trial_scale", "treatment_scale", "slope_scale")
    changes = {name: np.full_like(own[name], 1e-3) for name in names}
    fit = with_arrays(sound, "posterior", **changes)
    design = design_of(fit)
    high = np.isin(design.units.trial_idx, [0, 1, 2])
    outcome = np.where(high, design.units.n, 0.0)
    report = check_fit(with_arrays(fit, "constant_data", responders=outcome))
    gates = {gate.name: gate for gate in report.gates}
    for name in ("posterior predictive, as new trials", "test statistics, as new trials"):
        assert not gates[name].passed
        monte_carlo.verdicts([gates[name]], fit.n_draws)
    # Their spread is what is wrong; three trials of five respond about as often as all should.
    p_value = report.statistics.set_index("statistic")["p_value"]
    for name, side in (("SD of rates between trials", monte_carlo.below),
                       ("pooled rate", monte_carlo.above)):  # fmt: skip
        error = monte_carlo.of_p_value(p_value[name], fit.n_draws)
        side(p_value[name], 0.05, error)


def test_an_assay_that_shifts_within_a_trial_is_seen(sound):
    design = design_of(sound)
    value = design.people.value.copy()
    half = (design.people.trial_idx == 0) & (np.arange(len(value)) % 2 == 0)
    value[half, 2] += 6.0
    shifted = with_arrays(sound, "constant_data", people_value=value)
    gates = check_fit(shifted).gates
    monte_carlo.verdicts(gates, sound.n_draws)
    found = {gate.name: gate.detail for gate in gates if not gate.passed}
    assert list(found) == ["predictors within trials"]
    assert "bdnf in Trial 1" in found["predictors within trials"]


def test_patients_given_twice_are_counted(sound):
    design = design_of(sound)
    value = design.people.value.copy()
    rows = np.flatnonzero(design.people.trial_idx == 2)
    half = len(rows) // 2
    value[rows[half : 2 * half]] = value[rows[:half]]
    found = failed(with_arrays(sound, "constant_data", people_value=value))
    assert "Trial 3" in found["patients given once"]


def test_a_predictor_that_splits_the_outcomes_is_named(sound):
    design = design_of(sound)
    bmi = design.units.value[:, 0]
    above = np.nan_to_num(bmi, nan=-9.0) > np.nanmedian(bmi)
    patients = design.units.is_arm == 0
    outcome = np.where(patients, above * design.units.n, design.units.responders)
    found = failed(with_arrays(sound, "constant_data", responders=outcome))
    assert found["no separation"].startswith("bmi splits")


def test_a_fit_that_follows_single_patients_has_large_pareto_k(sound):
    """Draws that disagree wildly about every patient: each of them decides among the draws."""
    own = sound.groups["posterior"]
    rng = np.random.default_rng(1)
    wild = own["prognostic_slope"] + rng.standard_t(1.5, own["prognostic_slope"].shape) * 3.0
    found = failed(with_arrays(sound, "posterior", prognostic_slope=wild))
    assert "% of patients are above 0.7" in found["Pareto k of patients"]


def held_out(counts, n=20, p=0.4, patients=3):
    """Return a table of held-out units whose predictive distribution is Binomial(n, p)."""
    counts = np.asarray(counts, dtype=float)
    pit = binom.cdf(counts - 1, n, p) + 0.5 * binom.pmf(counts, n, p)
    table = pd.DataFrame({"kind": "arm", "trial": "trial_1", "arm": "ketamine",
                          "responders": counts, "n": n, "pit": pit})  # fmt: skip
    alone = pd.DataFrame({"kind": "patients", "trial": "trial_2", "arm": "saline",
                          "responders": 1.0, "n": 1, "pit": [np.nan] * patients})  # fmt: skip
    return pd.concat([table, alone], ignore_index=True)


def test_held_out_arms_fail_at_their_nominal_rate_and_name_the_worst():
    rng = np.random.default_rng(1)
    failed = [not held_out_gate(held_out(rng.binomial(20, 0.4, 12))).passed for _ in range(1500)]
    assert binom.cdf(sum(failed), 1500, 0.05) < 0.999
    assert sum(failed) > 0
    gate = held_out_gate(held_out([8, 7, 19, 9]))
    assert not gate.passed
    assert "(19 of 20)" in gate.detail
    assert held_out_gate(held_out([])).passed
