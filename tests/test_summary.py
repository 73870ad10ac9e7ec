"""Tables of a fit: the same probabilities as prediction, counts by hand, shares of the prior."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr
from scipy.stats import norm

import monte_carlo
from ketpredict.predict import interval, response_draws
from ketpredict.prior_overlap import density_overlap
from ketpredict.rows import encode_rows
from ketpredict.summary import (
    outcomes_in_words,
    population_table,
    prediction_table,
    prior_of,
    prior_overlap,
    probability_prior_overlap,
    slope_table,
)


@pytest.fixture(scope="module")
def posterior(published_fit):
    return published_fit.fit_


@pytest.fixture(scope="module")
def populations(posterior):
    return population_table(posterior)


def one(table, population, arm, hours=24.0):
    row = table[
        (table["population"] == population) & (table["arm"] == arm) & (table["hours"] == hours)
    ]
    assert len(row) == 1
    return row.iloc[0]


def test_prediction_table_holds_what_prediction_says(posterior):
    columns = {"population": ["unipolar_depression", "elsewhere"], "bmi": [30.0, np.nan]}
    rows = encode_rows(posterior, columns, 2)
    table = prediction_table(posterior, rows, 0.8)
    draws = response_draws(posterior, rows)
    np.testing.assert_allclose(table["probability"], draws.mean(axis=0))
    for kind in ("trial", "average"):
        np.testing.assert_allclose(
            table[[f"{kind}_lower", f"{kind}_upper"]], interval(posterior, rows, 0.8, kind)
        )
    assert list(table["setting"]) == ["new trial, known population", "new population"]
    wide = table["trial_upper"] - table["trial_lower"]
    assert (wide > table["average_upper"] - table["average_lower"]).all()


def test_prediction_table_does_not_depend_on_its_pieces(posterior, monkeypatch):
    rows = encode_rows(posterior, {"bmi": [20.0, np.nan, 35.0, 28.0, np.nan]}, 5)
    whole = prediction_table(posterior, rows)
    monkeypatch.setattr("ketpredict.averages.ROWS", 1)
    monkeypatch.setattr("ketpredict.averages._ROWS_OF_PIECE", 2)
    monkeypatch.setattr("ketpredict.patients._CHUNK_VALUES", 1)
    pd.testing.assert_frame_equal(prediction_table(posterior, rows), whole)


def test_every_population_and_arm_of_the_evidence_stands_in_the_table(posterior, populations):
    from ketpredict.stored_design import design_of

    labels = design_of(posterior).labels()
    wanted = set(zip(labels["population"], labels["arm"], strict=True))
    found = set(zip(populations["population"], populations["arm"], strict=True))
    assert wanted <= found
    for population in posterior.coords["population"]:
        assert {(population, "ketamine"), (population, "saline")} <= found


def test_counts_are_those_of_the_published_tables(populations):
    row = one(populations, "ptsd", "ketamine_repeated", hours=336.0)
    # feder_2021, data/arms.csv: 15 given repeated ketamine, CAPS-5 improved by 30 % at 336 h
    assert (row["trials"], row["patients"], row["patients_in_arms"]) == (1, 0, 15)
    assert row["reported"] == "CAPS-5 ≥ 30 %: 336 h (1)"
    assert (row["threshold"], row["scale"]) == (30.0, "CAPS_5")
    assert row["course"]
    grunebaum_and_rybakowski = 7 + 25
    row = one(populations, "bipolar_depression", "ketamine")
    assert row["patients_in_arms"] == grunebaum_and_rybakowski
    assert row["patients"] == 2


def test_extrapolations_are_those_of_the_basis(posterior, populations):
    beyond = {e["population"]: e["extrapolated"] for e in posterior.facts["basis"]}
    at_a_day = populations[(populations["hours"] == 24) & (populations["arm"] == "ketamine")]
    assert dict(zip(at_a_day["population"], at_a_day["extrapolated"], strict=True)) == beyond
    own = one(populations, "ocd", "ketamine", hours=168.0)
    assert not own["extrapolated"]
    assert own["threshold"] == 35.0
    # 35 % is easier than 50 %, whatever the draw.
    assert own["probability"] > one(populations, "ocd", "ketamine")["probability"]


def test_an_arm_that_a_population_never_had_is_an_extrapolation(posterior):
    facts = {**posterior.facts, "basis": [dict(e) for e in posterior.facts["basis"]]}
    for entry in facts["basis"]:
        entry["extrapolated"] = False
    table = population_table(dataclasses.replace(posterior, facts=facts))
    row = one(table, "ptsd", "saline")
    assert row["extrapolated"]
    assert row["reason"] == "no trial of this population has this arm"
    assert one(table, "ocd", "saline")["reason"] == (
        "this arm is reported only at another threshold than 50 %"
    )


def test_probabilities_of_the_table_are_plausible(posterior, populations):
    ketamine = one(populations, "unipolar_depression", "ketamine")
    saline = one(populations, "unipolar_depression", "saline")
    rows = encode_rows(
        posterior, {"population": ["unipolar_depression"] * 2, "arm": ["ketamine", "saline"]}, 2
    )
    error = monte_carlo.of_mean(monte_carlo.by_chain(response_draws(posterior, rows), posterior))
    monte_carlo.between(ketamine["probability"], 0.35, 0.65, error[0])
    monte_carlo.between(saline["probability"], 0.08, 0.30, error[1])
    inner = populations["average_lower"].between(populations["trial_lower"], 1)
    assert inner.all()
    assert (
        populations["probability"]
        .between(populations["average_lower"], populations["average_upper"])
        .all()
    )


def replaced(posterior, **values):
    """Return the posterior with some posterior draws replaced."""
    draws = {**posterior.groups["posterior"], **values}
    return dataclasses.replace(posterior, groups={**posterior.groups, "posterior": draws})


def test_prior_overlap_by_hand(posterior):
    prior = posterior.groups["prior"]
    moved = prior["intercept"] + 2.0 * prior["intercept"].std()
    untouched = replaced(posterior, slope=prior["slope"], intercept=moved)
    np.testing.assert_allclose(prior_overlap(untouched, "slope"), 1.0)
    # Two normals two SDs apart overlap by 2 Phi(-1).
    assert prior_overlap(untouched, "intercept") == pytest.approx(2 * ndtr(-1.0), abs=0.03)
    told = [
        trials + effects > 0
        for trials, effects in zip(
            slope_table(untouched)["trials"], slope_table(untouched)["effects"], strict=True
        )
    ]
    found = slope_table(untouched)["prior_overlap"]
    np.testing.assert_allclose(found[told], 1.0)
    assert found[~np.array(told)].isna().all()


def test_prior_overlap_of_a_fit_that_learned_nothing_is_one(posterior):
    nothing = prior_of(posterior)
    rows = encode_rows(nothing, {"population": ["ocd", "elsewhere"]}, 2)
    np.testing.assert_allclose(probability_prior_overlap(nothing, rows), 1.0)


@pytest.mark.parametrize(("apart", "ratio"), [(0.5, 1.0), (1.5, 1.0), (0.0, 0.3), (0.0, 2.0)])
def test_overlap_of_two_normals_is_that_of_their_densities(apart, ratio):
    rng = np.random.default_rng(3)
    after, before = rng.normal(apart, ratio, (20_000, 1)), rng.normal(0.0, 1.0, (20_000, 1))
    points = np.linspace(-12.0, 12.0, 200_001)
    both = np.minimum(norm.pdf(points, apart, ratio), norm.pdf(points))
    exact = float(both.sum() * (points[1] - points[0]))
    (found,) = density_overlap(after, before)
    assert found == pytest.approx(exact, abs=5 * np.sqrt(2 / 20_000))
    # The same whatever the scale, and never outside 0 to 1.
    np.testing.assert_allclose(density_overlap(np.exp(after), np.exp(before)), found)
    assert density_overlap(after + 99.0, before) == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_two_samples_of_one_law_overlap_all_but_wholly(seed):
    rng = np.random.default_rng(seed)
    found = density_overlap(rng.normal(size=(4000, 30)), rng.normal(size=(4000, 30)))
    assert found.min() > 0.94
    assert found.mean() > 0.98


def test_the_data_say_something(posterior, populations):
    assert prior_overlap(posterior, "intercept") < 0.6
    told = populations["trials"] > 0
    assert populations.loc[told, "prior_overlap"].between(0.0, 0.8).all()
    # 0.8 and 0.6 are far from what is found: a check that the measure says "learned" here.


def test_no_overlap_is_told_where_nobody_reports(populations):
    row = one(populations, "ptsd", "saline")
    assert row["trials"] == 0
    assert np.isnan(row["prior_overlap"])


def test_a_parameter_without_a_prior_has_no_share(posterior):
    share = prior_overlap(posterior, "arm_effect")
    assert np.isnan(share[posterior.coords["arm"].index("ketamine")])


def test_slope_table(posterior):
    table = slope_table(posterior).set_index("predictor")
    draws = posterior.groups["posterior"]["slope"].reshape(-1, len(table))
    np.testing.assert_allclose(table["slope"], draws.mean(axis=0))
    np.testing.assert_allclose(table["lower"], np.quantile(draws, 0.05, axis=0))
    assert table.loc["bmi", "trials"] == 2  # the crossover trial's patients and one arm
    assert table.loc["shank3", "trials"] == 0
    assert table.loc["bmi", "step"] == "6 kg/m² more"
    assert table.loc["family_history_aud", "step"] == "present vs. absent"
    assert table.loc["bmi", "prior_overlap"] < 1


def test_outcomes_in_words():
    rows = pd.DataFrame(
        {
            "trial": ["a", "b", "b", "c"],
            "scale": ["MADRS", "MADRS", "MADRS", "Y_BOCS"],
            "threshold": [50.0, 50.0, 50.0, 35.0],
            "hours": [24.0, 24.0, 24.0, 168.0],
        }
    )
    assert outcomes_in_words(rows) == "MADRS ≥ 50 %: 24 h (2); Y-BOCS ≥ 35 %: 168 h (1)"
