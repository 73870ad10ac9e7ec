"""Average marginal effects against patients simulated one by one, and the table's other columns."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.special import ndtr

import handmade
from ketpredict.marginal_effects import effect_draws, effects_table
from ketpredict.predict import response_draws
from ketpredict.prior_overlap import density_overlap
from ketpredict.rows import encode_rows
from ketpredict.stored_design import design_of
from ketpredict.summary import prior_of

PREDICTORS = (
    handmade.predictor("x1", between_trial_sd=0.5),
    handmade.predictor("b1", "binary", centre=0.4, between_trial_sd=0.6),
    handmade.predictor("z", assay_dependent=True, between_trial_sd=1.5),
    handmade.predictor("b2", "binary", centre=0.7, between_trial_sd=0.3),
)
PATIENTS = 100_000


@pytest.mark.parametrize(
    ("link", "population", "arm"),
    [
        ("probit", "first population", "ketamine"),
        ("logit", "second population", "saline"),
        ("probit", "somewhere else", "ketamine"),
    ],
)
def test_effects_equal_those_in_simulated_patients(link, population, arm):
    """The same patients and trials twice, one predictor of everybody changed in between."""
    fit = handmade.posterior(1, PREDICTORS, np.random.default_rng(41), link=link)
    ours = effect_draws(fit, [population], arm)
    known = population if population in fit.coords["population"] else None
    row = {"trial": None, "population": known, "arm": arm}
    trials = handmade.simulate_trials(fit, 0, row, PATIENTS, np.random.default_rng(5))

    def simulated(moved):
        return handmade.simulate_responses(fit, 0, trials, np.random.default_rng(6), moved)

    for k, predictor in enumerate(PREDICTORS):
        binary = predictor.kind == "binary"
        before = simulated((predictor.name, 0.0) if binary else None)
        after = simulated((predictor.name, 1.0))
        for found, values in (
            (ours.before[0, 0, k], before),
            (ours.after[0, 0, k], after),
            (ours.difference[0, 0, k], after - before),
        ):
            assert abs(found - values.mean()) < 4.2 * values.std() / np.sqrt(PATIENTS) + 1e-9
        assert abs((after - before).mean()) > 10.0 * (after - before).std() / np.sqrt(PATIENTS)
        odds = [p.mean() / (1.0 - p.mean()) for p in (before, after)]
        assert ours.odds_ratio[0, 0, k] == pytest.approx(odds[1] / odds[0], rel=0.02)


def test_without_a_slope_there_is_no_effect_and_no_odds():
    fit = handmade.posterior(
        3,
        PREDICTORS,
        np.random.default_rng(42),
        prognostic_slope=0.0,
        predictive_slope=0.0,
        population_slope=0.0,
        slope_scale=0.0,
    )
    found = effect_draws(fit, ["first population"])
    np.testing.assert_allclose(found.difference, 0.0, atol=1e-12)
    np.testing.assert_allclose(found.odds_ratio, 1.0, atol=1e-12)


def test_a_label_stands_against_the_reference_label_of_its_column():
    """Everybody has one label or the other, so that the average is closed."""
    labels = tuple(
        handmade.predictor(
            f"stage={level}",
            "binary",
            centre=centre,
            category="stage",
            level=level,
            reference_level="early",
        )
        for level, centre in (("mid", 0.3), ("late", 0.2))
    )
    fit = handmade.posterior(4, labels, np.random.default_rng(43), across_slope=0.0)
    found = effect_draws(fit, ["first population"])
    centre = np.array([0.3, 0.2])
    for d in range(4):
        own = handmade.one_draw(fit, d)
        place = {"trial": None, "population": "first population", "arm": "ketamine"}
        level = handmade.known_intercept(fit, d, place)
        slope = handmade.known_slope(fit, d, place)
        spread = own["slope_scale"][fit.spec.slope_parts().index("trial")] ** 2
        for k, label in enumerate(np.eye(2)):
            for value, ours in ((np.zeros(2), found.before), (label, found.after)):
                variance = own["trial_scale"] ** 2 + own["treatment_scale"] ** 2 / 4.0
                variance += spread @ (value - centre) ** 2
                expected = ndtr((level + slope @ (value - centre)) / np.sqrt(1.0 + variance))
                assert ours[d, 0, k] == pytest.approx(expected, abs=1e-9)


@pytest.fixture(scope="module")
def posterior(published_fit):
    return published_fit.fit_


@pytest.fixture(scope="module")
def table(posterior):
    return effects_table(posterior, 0.8)


def test_the_table_holds_every_population_and_predictor_with_its_draws(posterior, table):
    populations = posterior.coords["population"]
    assert len(table) == len(populations) * len(posterior.predictors)
    draws = effect_draws(posterior, populations)
    where = populations.index("unipolar_depression")
    row = table[(table["population"] == "unipolar_depression") & (table["predictor"] == "bmi")]
    own = draws.difference[:, where, 0]
    assert row["difference"].item() == pytest.approx(own.mean())
    assert row["lower"].item() == pytest.approx(np.quantile(own, 0.1))
    assert row["upper"].item() == pytest.approx(np.quantile(own, 0.9))
    assert row["positive"].item() == pytest.approx((own > 0).mean())
    ratio = draws.odds_ratio[:, where, 0]
    assert row["odds_ratio"].item() == pytest.approx(np.median(ratio))
    before = effect_draws(prior_of(posterior), populations).difference[:, where, 0]
    assert row["prior_overlap"].item() == pytest.approx(density_overlap(own, before))
    assert row["step"].item() == "6 kg/m² more"
    nobody_known = encode_rows(posterior, {"population": ["unipolar_depression"]}, 1)
    average = response_draws(posterior, nobody_known).mean()
    assert row["probability_before"].item() == pytest.approx(average)
    assert table["conditional_odds_ratio"].isna().all()


def test_the_table_counts_what_an_effect_rests_on(posterior, table):
    labels = design_of(posterior).labels()
    labels["bmi"] = ~np.isnan(design_of(posterior).units.value[:, 0])
    bmi = table[table["predictor"] == "bmi"].set_index("population")
    for population, row in bmi.iterrows():
        own = labels[(labels["population"] == population) & labels["bmi"]]
        assert (row["trials"], row["outcomes"]) == (own["trial"].nunique(), own["n"].sum())
    assert bmi.loc["unipolar_depression", "trials"] == 2
    assert bmi.loc["unipolar_depression", "outcomes"] > 10 * bmi.loc["bipolar_depression", "trials"]
    assert bmi.loc["ocd", "extrapolated"]
    assert "168 h" in bmi.loc["ocd", "reason"]
    assert not bmi.loc["unipolar_depression", "extrapolated"]
    assert (bmi["effects"] == bmi["effects"].iloc[0]).all()
    assert bmi["effects"].iloc[0] >= 1


def test_with_the_logit_link_conditional_odds_ratios_are_exponentials_of_slopes(posterior):
    few = {
        name: {key: values[:, :100] for key, values in posterior.groups[name].items()}
        for name in ("posterior", "prior")
    }
    posterior = dataclasses.replace(
        posterior,
        groups={**posterior.groups, **few},
        spec=dataclasses.replace(posterior.spec, link="logit"),
    )
    table = effects_table(posterior, 0.9)
    slope = posterior.parameters["prognostic_slope"] + posterior.parameters["predictive_slope"]
    slope = slope + posterior.parameters["population_slope"][:, 0]
    expected = np.median(np.exp(slope), axis=0)
    np.testing.assert_allclose(table["conditional_odds_ratio"][: len(expected)], expected)
    farther = np.abs(np.log(table["conditional_odds_ratio"]))
    assert (farther >= np.abs(np.log(table["odds_ratio"])) - 0.02).all()
