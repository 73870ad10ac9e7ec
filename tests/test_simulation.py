"""The generator gives what it says, reproducibly: the law of patients, then what is deleted."""

import numpy as np
import pytest
from scipy.special import expit, ndtr, ndtri
from scipy.stats import norm

import ketpredict as kp
from ketpredict.predictors import load_predictors
from ketpredict.simulated_patients import draw_values, rate_given_neighbour

NO_VARIATION = {
    "population_scale": 0.0,
    "trial_scale": 0.0,
    "treatment_scale": 0.0,
    "population_slope": 0.0,
    "trial_slope": 0.0,
    "across_scale": 0.0,
}
NAMES = ("bmi", "family_history_aud", "bdnf", "suicide_attempt_history")
PREDICTORS = tuple(load_predictors()[name] for name in NAMES)
LAW = {
    "predictor_covariance": np.array([[1.2, 0.5], [0.5, 0.8]]),
    "binary_shift": np.array([[0.6, -0.4], [0.0, 0.5]]),
    "binary_log_odds_ratio": np.array([1.3]),
}
RATES = {"family_history_aud": 0.3, "suicide_attempt_history": 0.55}
MEANS = np.array([0.4, ndtri(0.3), -1.0, ndtri(0.55)])


def response_rates(simulation, arm):
    """Return response rate and its standard error in one arm of all trials together."""
    people = simulation.participants
    rate = people.loc[people["arm"] == arm, "response"].mean()
    return rate, np.sqrt(rate * (1 - rate) / (people["arm"] == arm).sum())


# ------------------------------------------------------------------------------ the law of patients


@pytest.mark.parametrize("log_odds_ratio", [-2.0, 0.0, 1.5])
@pytest.mark.parametrize(("neighbour", "rate"), [(0.3, 0.6), (0.02, 0.97), (0.5, 0.5)])
def test_neighbours_have_their_margins_and_their_odds_ratio(neighbour, rate, log_odds_ratio):
    where_zero, where_one = rate_given_neighbour(
        np.array([neighbour]), np.array([rate]), log_odds_ratio
    )
    assert (1 - neighbour) * where_zero + neighbour * where_one == pytest.approx(rate, rel=1e-12)
    odds = where_one / (1 - where_one) / (where_zero / (1 - where_zero))
    assert np.log(odds) == pytest.approx(log_odds_ratio, abs=1e-9)


def test_patients_have_the_law_that_was_asked_for():
    count = 200_000
    values, weight = draw_values(
        np.broadcast_to(MEANS, (count, 4)), LAW, PREDICTORS, np.random.default_rng(1)
    )
    assert (weight == 1).all()
    binary, continuous = values[:, [1, 3]], values[:, [0, 2]]
    assert binary.mean(axis=0) == pytest.approx(list(RATES.values()), abs=0.005)
    table = np.array([[((binary == [a, b]).all(axis=1)).mean() for b in (0, 1)] for a in (0, 1)])
    log_odds_ratio = np.log(table[1, 1] * table[0, 0] / (table[0, 1] * table[1, 0]))
    assert log_odds_ratio == pytest.approx(1.3, abs=0.05)
    centre = [PREDICTORS[1].centre, PREDICTORS[3].centre]
    for pattern in ([0, 0], [0, 1], [1, 0], [1, 1]):
        here = continuous[(binary == pattern).all(axis=1)]
        mean = MEANS[[0, 2]] + LAW["binary_shift"] @ (np.array(pattern) - centre)
        assert here.mean(axis=0) == pytest.approx(mean, abs=5 / np.sqrt(len(here)))
        assert np.cov(here.T) == pytest.approx(LAW["predictor_covariance"], abs=0.05)


def test_patients_with_known_values_are_those_that_would_be_picked_out():
    """Weighted draws against drawing everybody and keeping those near the known values."""
    count, known = 2_000_000, np.array([1.0, np.nan, np.nan, 1.0])
    rng = np.random.default_rng(2)
    everybody, _ = draw_values(np.broadcast_to(MEANS, (count, 4)), LAW, PREDICTORS, rng)
    picked = everybody[(np.abs(everybody[:, 0] - 1.0) < 0.03) & (everybody[:, 3] == 1.0)]
    drawn, weight = draw_values(
        np.broadcast_to(MEANS, (200_000, 4)), LAW, PREDICTORS, rng, known=known
    )
    assert (drawn[:, 0] == 1.0).all()
    assert (drawn[:, 3] == 1.0).all()
    for k in (1, 2):
        error = picked[:, k].std() / np.sqrt(len(picked))
        assert np.average(drawn[:, k], weights=weight) == pytest.approx(
            picked[:, k].mean(), abs=5 * error
        )
    # The weight is how many have the known values: a density in the first, a share in the last.
    share = ((np.abs(everybody[:, 0] - 1.0) < 0.03) & (everybody[:, 3] == 1.0)).mean() / 0.06
    assert weight.mean() == pytest.approx(share, rel=0.03)


def test_trials_differ_as_their_location_and_spread_say():
    truth = {"predictor_location": [0.5, -0.2], "predictor_between_scale": [0.6, 0.4]}
    means = np.concatenate(
        [
            kp.simulate(trials=60, patients=1, truth=truth, random_state=seed).truth["trial_mean"]
            for seed in range(12)
        ]
    )
    family_history = load_predictors()["family_history_aud"]
    assert means.std(axis=0) == pytest.approx([0.6, 0.4], rel=0.1)
    assert means[:, 0].mean() == pytest.approx(0.5, abs=0.09)
    # Location 0 is where the rate, averaged over the reference spread of trials, is the reference.
    shift = ndtri(family_history.centre) * np.sqrt(1 + family_history.between_trial_sd**2)
    assert means[:, 1].mean() == pytest.approx(shift - 0.2, abs=0.06)


def test_values_may_leave_the_plausible_range_unless_asked_not_to():
    """A clipped normal is not normal: the model's law would not be the simulation's."""
    truth = {"predictor_covariance": [[2.5]], "predictor_location": [-0.5]}
    simulation = kp.simulate(trials=5, patients=200, predictors=["bmi"], truth=truth)
    assert simulation.participants["bmi"].min() < load_predictors()["bmi"].low
    assert len(simulation.evidence().participants)
    clipped = kp.simulate(
        trials=5, patients=200, predictors=["bmi"], truth=truth, within_range=True
    ).participants
    assert clipped["bmi"].min() == load_predictors()["bmi"].low


# ------------------------------------------------------------------------------------- the response


@pytest.mark.parametrize(("model", "curve"), [("published", ndtr), ("odds_ratios", expit)])
def test_rates_follow_the_truth(model, curve):
    """Without variation between trials the rates are the link's own."""
    truth = {
        **NO_VARIATION,
        "intercept": 0.3,
        "arm_effect": [0.0, -1.2],
        "prognostic_slope": [0.0],
        "predictive_slope": [0.0],
    }
    simulation = kp.simulate(
        trials=4,
        patients=5000,
        published_trials=0,
        predictors=["bmi"],
        model=model,
        truth=truth,
        random_state=1,
    )
    for arm, position in (("ketamine", 0.3), ("saline", 0.3 - 1.2)):
        rate, error = response_rates(simulation, arm)
        assert abs(rate - curve(position)) < 4 * error


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


@pytest.mark.parametrize(
    ("name", "across", "expected"), [("bmi", 0.0, 1.2), ("bmi", -0.5, 0.6), ("bdnf", 0.0, 0.0)]
)
def test_what_a_trial_mean_does(name, across, expected):
    """The mean of a comparable predictor counts in full, that of an assay not at all."""
    truth = {
        **NO_VARIATION,
        "intercept": 0.0,
        "arm_effect": [0.0, 0.0],
        "prognostic_slope": [1.0],
        "predictive_slope": [0.0],
        "trial_mean": [[1.2]],
        "predictor_covariance": [[1.0]],
    }
    del truth["across_scale"]
    simulation = kp.simulate(
        trials=1,
        patients=10_000,
        published_trials=0,
        predictors=[name],
        truth={**truth, "across_slope": [across]},
        random_state=3,
    )
    rate, error = response_rates(simulation, "ketamine")
    # The slope of 1 on a predictor of variance 1, then the patient's own variance of 1.
    assert abs(rate - norm.cdf(expected / np.sqrt(2))) < 4 * error


def test_a_binary_predictor_enters_at_its_distance_from_the_centre():
    centre = load_predictors()["family_history_aud"].centre
    truth = {
        **NO_VARIATION,
        "intercept": 0.2,
        "arm_effect": [0.0, 0.0],
        "prognostic_slope": [1.5],
        "predictive_slope": [0.0],
    }
    people = kp.simulate(
        trials=1,
        patients=10_000,
        published_trials=0,
        predictors=["family_history_aud"],
        truth=truth,
        random_state=4,
    ).participants
    for value, group in people.groupby("family_history_aud")["response"]:
        probability = norm.cdf(0.2 + 1.5 * (value - centre))
        error = np.sqrt(probability * (1 - probability) / len(group))
        assert abs(group.mean() - probability) < 4 * error


# ------------------------------------------------------------------------- the tables, and deletion


def test_published_trials_are_arms_of_the_same_size():
    simulated = kp.simulate(trials=5, patients=12, published_trials=2, random_state=3)
    assert simulated.participants["trial"].nunique() == 3
    assert simulated.arms["trial"].nunique() == 2
    assert (simulated.arms["n"] == 12).all()
    assert (simulated.arms["responders"] <= 12).all()
    assert simulated.arms[["bmi_mean", "bmi_sd", "family_history_aud_pct"]].notna().all().all()
    evidence = simulated.evidence()
    assert len(evidence.arms) == 4


def test_the_seed_decides():
    first, second, other = (
        kp.simulate(trials=3, patients=5, published_trials=1, random_state=seed)
        for seed in (4, 4, 5)
    )
    assert first.participants.equals(second.participants)
    assert first.arms.equals(second.arms)
    assert not first.participants.equals(other.participants)


def test_missing_cells_and_outcomes():
    people = kp.simulate(
        trials=4, published_trials=0, patients=200, missing=0.3, missing_outcome=0.1, random_state=6
    ).participants
    assert people["bmi"].isna().mean() == pytest.approx(0.3, abs=0.05)
    assert people["response"].isna().mean() == pytest.approx(0.1, abs=0.04)
    both = people["bmi"].isna() & people["family_history_aud"].isna()
    assert both.mean() == pytest.approx(0.09, abs=0.04), "cells go missing on their own"


def test_deletion_leaves_the_rest_as_it_was():
    whole = kp.simulate(trials=4, patients=20, random_state=7)
    holes = kp.simulate(
        trials=4, patients=20, random_state=7, missing=0.5, missing_outcome=0.2, unpublished=0.5
    )
    for name in ("bmi", "family_history_aud", "response"):
        left = holes.participants[name].dropna()
        assert 0 < len(left) < len(whole.participants)
        assert left.equals(whole.participants.loc[left.index, name])
    assert holes.arms["responders"].equals(whole.arms["responders"])


def test_blocks_that_a_trial_did_not_measure():
    blocks = {"trial_1": ["bmi"], "trial_4": ["bmi", "family_history_aud"]}
    simulated = kp.simulate(
        trials=4, published_trials=2, patients=5, missing_blocks=blocks, random_state=8
    )
    people, arms = simulated.participants, simulated.arms
    assert people.groupby("trial")["bmi"].count().to_dict() == {"trial_1": 0, "trial_2": 10}
    assert people["family_history_aud"].notna().all()
    summaries = ["bmi_mean", "bmi_sd", "family_history_aud_pct"]
    assert arms.groupby("trial")[summaries].count().to_numpy().tolist() == [[2] * 3, [0] * 3]
    # The trial has a mean all the same.
    assert np.isfinite(simulated.truth["trial_mean"]).all()


def test_blocks_at_random_are_whole_trials_of_continuous_predictors():
    people = kp.simulate(
        trials=40, published_trials=0, patients=3, missing_blocks=0.4, random_state=9
    ).participants
    share = people.groupby("trial")["bmi"].apply(lambda values: values.isna().mean())
    assert set(share) == {0.0, 1.0}
    assert 0.15 < share.mean() < 0.65
    assert people["family_history_aud"].notna().all()


def test_summaries_that_are_not_printed():
    arms = kp.simulate(
        trials=60, published_trials=60, patients=4, unpublished=0.3, random_state=10
    ).arms
    printed = arms.groupby("trial")[["bmi_mean", "bmi_sd", "family_history_aud_pct"]].count()
    assert set(np.unique(printed)) == {0, 2}, "all arms of a trial, or none"
    share = (printed == 0).mean()
    assert share[["bmi_mean", "family_history_aud_pct"]].between(0.12, 0.48).all()
    assert share["bmi_sd"] > share["bmi_mean"], "some means are printed without their SDs"
    assert arms[["n", "responders"]].notna().all().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"trials": 2, "published_trials": 3}, "trials=2"),
        ({"patients": 0}, "patients=0"),
        ({"missing": 1.2}, "missing=1.2: expected a probability"),
        ({"missing_outcome": -0.1, "unpublished": 2}, "missing_outcome=-0.1, unpublished=2"),
        ({"missing_blocks": 7.0}, "missing_blocks=7"),
        ({"missing_blocks": {"trial_1": ["height"]}}, "missing_blocks names height"),
        ({"missing_blocks": {"trial_99": ["bmi"]}}, "missing_blocks names trial_99"),
        ({"predictors": ["height"]}, "expected a list of known predictors"),
        ({"populations": []}, "populations="),
        ({"truth": {"gravity": 9.8}}, "truth names gravity"),
        # A sum of parts: fix the parts.
        ({"truth": {"slope": [0.3, 0.3]}}, "truth names slope"),
        ({"truth": {"binary_log_odds_ratio": [0.1]}}, "truth names binary_log_odds_ratio"),
        ({"truth": {"trial_mean": [1.0, 2.0, 3.0]}}, r"trial_mean has shape \(3,\)"),
        ({"truth": {"trial_scale": -0.1}}, "trial_scale is negative"),
        ({"truth": {"intercept": np.nan}}, "not a finite number"),
        ({"truth": {"predictor_covariance": [[-1.0]]}}, "positive definite"),
        ({"truth": {"across_slope": [1.0]}, "predictors": ["bdnf"]}, "across_slope"),
    ],
)
def test_impossible_requests(arguments, message):
    with pytest.raises(kp.DataError, match=message):
        kp.simulate(**arguments)
