"""The generator gives what it says, reproducibly."""

import numpy as np
import pytest
from scipy.stats import norm

import ketpredict as kp

NO_VARIATION = {
    "population_scale": 0.0,
    "trial_scale": 0.0,
    "treatment_scale": 0.0,
    "population_slope": 0.0,
    "trial_slope": 0.0,
}


def test_rates_follow_the_truth():
    """Without variation between trials the rates are normal integrals known in closed form."""
    truth = {
        **NO_VARIATION,
        "intercept": 0.3,
        "arm_effect": [0.0, -1.2],
        "prognostic_slope": [0.0],
        "predictive_slope": [0.0],
    }
    simulated = kp.simulate(
        trials=4, patients=5000, published_trials=0, predictors=["bmi"], truth=truth, random_state=1
    )
    rates = simulated.participants.groupby("arm")["response"].agg(["mean", "count"])
    for arm, probability in (("ketamine", norm.cdf(0.3)), ("saline", norm.cdf(0.3 - 1.2))):
        error = np.sqrt(probability * (1 - probability) / rates.loc[arm, "count"])
        assert abs(rates.loc[arm, "mean"] - probability) < 4 * error


def test_a_slope_moves_response_in_the_right_arm():
    truth = {
        **NO_VARIATION,
        "intercept": 0.0,
        "arm_effect": [0.0, 0.0],
        "prognostic_slope": [0.0],
        "predictive_slope": [1.0],
    }
    people = kp.simulate(
        trials=2, patients=4000, published_trials=0, predictors=["bmi"], truth=truth, random_state=2
    ).participants
    heavy = people["bmi"] > 34
    in_ketamine = people[heavy & (people["arm"] == "ketamine")]["response"].mean()
    in_saline = people[heavy & (people["arm"] == "saline")]["response"].mean()
    assert in_ketamine > 0.85
    assert abs(in_saline - 0.5) < 0.06


def test_published_trials_are_arms_of_the_same_size():
    simulated = kp.simulate(trials=5, patients=12, published_trials=2, random_state=3)
    assert simulated.participants["trial"].nunique() == 3
    assert simulated.arms["trial"].nunique() == 2
    assert (simulated.arms["n"] == 12).all()
    assert (simulated.arms["responders"] <= 12).all()
    evidence = simulated.evidence()
    assert len(evidence.arms) == 4


def test_the_seed_decides():
    first, second, other = (
        kp.simulate(trials=3, patients=5, published_trials=1, random_state=seed)
        for seed in (4, 4, 5)
    )
    assert first.participants.equals(second.participants)
    assert not first.participants.equals(other.participants)


def test_missing_cells():
    people = kp.simulate(trials=4, patients=200, missing=0.3, random_state=6).participants
    assert people["bmi"].isna().mean() == pytest.approx(0.3, abs=0.05)
    assert people["response"].notna().all()


def test_impossible_requests():
    with pytest.raises(kp.DataError, match="trials=2"):
        kp.simulate(trials=2, published_trials=3)
    with pytest.raises(kp.DataError, match="truth names gravity"):
        kp.simulate(truth={"gravity": 9.8})
    with pytest.raises(kp.DataError, match="truth names slope"):
        kp.simulate(truth={"slope": [0.3, 0.3]})  # a sum of parts: fix the parts
