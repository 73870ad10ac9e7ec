"""Which published effects enter, how much they count, and what they do to a fit."""

import dataclasses
import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import ketpredict as kp
import monte_carlo
from ketpredict import fitting
from ketpredict.cli import app
from ketpredict.design import encode
from ketpredict.effect_information import effective_patients
from ketpredict.evidence import load_evidence, make_evidence, select_horizons
from ketpredict.fitting import SamplerSettings, fit, prepare
from ketpredict.literature import literature
from ketpredict.plots import literature_plot
from ketpredict.predictors import load_predictors
from ketpredict.prior import draw_prior
from ketpredict.prior_families import Prior
from ketpredict.spec import load_spec
from ketpredict.stored_design import design_of

REFERENCES = load_predictors()
POPULATION = "unipolar_depression"


def rows(*changes, **same):
    base = {"population": POPULATION, "statistic": "pearson_r", "estimate": 0.3, "n": 60}
    base |= {"cohort": "c", "predictor": "bmi", "hours": 24.0} | same
    return pd.DataFrame([base | change for change in changes])


def arms():
    return pd.DataFrame(
        {
            "trial": ["a", "b"],
            "population": POPULATION,
            "arm": "ketamine",
            "hours": 24.0,
            "n": [20, 25],
            "responders": [9, 12],
        }
    )


def people(trial="mine", **columns):
    size = 12
    table = {"trial": trial, "population": POPULATION, "response": [0, 1] * (size // 2)}
    return pd.DataFrame(table | columns, index=range(size))


def designed(associations, participants=None, names=("bmi", "age"), spec=None):
    spec = (spec or load_spec("published")).with_predictors(names)
    evidence = make_evidence(
        arms=arms(), associations=associations, participants=participants, predictors=names
    )
    return prepare(spec, evidence, REFERENCES)


def test_every_published_row_is_used_or_says_why():
    spec, evidence = load_spec("published"), load_evidence()
    design = encode(spec, select_horizons(evidence, spec.horizons), REFERENCES)
    fates = pd.DataFrame(design.effect_fates)
    assert len(fates) == len(evidence.associations) == 128
    assert (fates["why"].str.len() > 10).all()
    assert fates["used"].sum() == len(design.effects) == 19
    carried = evidence.associations["use"] == "carry"
    assert not (fates["used"] & carried.to_numpy()).any()
    left = fates[~fates["used"] & ~carried.to_numpy()]
    assert left["row"].tolist() == ["predictors.csv:90"]  # the genotype is not in the model
    with_genotype = spec.with_predictors((*spec.predictors, "bdnf_val66met"))
    design = encode(with_genotype, select_horizons(evidence, spec.horizons), REFERENCES)
    assert len(design.effects) == 20


def test_both_signs_of_the_delta_sleep_ratio_enter():
    design = encode(
        load_spec("published"),
        select_horizons(load_evidence(), load_spec("published").horizons),
        REFERENCES,
    )
    (place,) = [i for i, label in enumerate(design.effect_labels) if "delta_sleep" in label]
    assert design.effects.positive[place] == pytest.approx(0.3)


def test_one_row_for_each_cohort_predictor_and_horizon():
    table = rows({"n": 40}, {"n": 90}, {"hours": 72.0}, {"predictor": "age"}, {"cohort": "d"})
    design, _ = designed(table)
    used = [fate["used"] for fate in design.effect_fates]
    assert used == [False, True, True, True, True]
    assert "more patients" in design.effect_fates[0]["why"]
    assert design.effect_groups == ("c: age", "c: bmi", "d: bmi")
    # Two horizons of one cohort share their sampling error; others stand alone.
    assert design.effects.shared.tolist() == [0.7, 0.7, 0.0, 0.0]


@pytest.mark.parametrize("naming", [{"trial": "mine"}, {"cohort": "mine"}])
def test_patients_who_are_given_are_not_counted_again(naming):
    design, used = designed(rows(naming, {"cohort": "d"}), people(bmi=27.0 + np.arange(12.0)))
    assert [fate["used"] for fate in design.effect_fates] == [False, True]
    assert "stand in the table of patients" in design.effect_fates[0]["why"]
    assert any("left out, since their patients" in message for message in used.messages)


def test_patients_who_may_be_shared_are_discounted():
    table = rows({"overlapping_trials": "mine;other"}, {"cohort": "d"})
    design, used = designed(table, people(bmi=27.0 + np.arange(12.0)))
    assert design.effects.power.tolist() == [0.5, 1.0]
    assert any("discounted, since they may share" in message for message in used.messages)
    # Where the predictor is not measured in them, nothing is said twice.
    design, used = designed(table, people(age=40.0 + np.arange(12.0)))
    assert design.effects.power.tolist() == [1.0, 1.0]
    assert not any("discounted" in message for message in used.messages)


def test_a_cohort_alone_is_discounted_as_the_user_says():
    table = rows({}, {"hours": 72.0}, {"predictor": "age"}, {"predictor": "age", "cohort": "d"})
    design, _ = designed(table)
    assert design.effects.power.tolist() == [0.5, 0.5, 1.0, 1.0]
    spec = load_spec("published").with_literature(unreplicated_power=0.2)
    assert designed(table, spec=spec)[0].effects.power.tolist() == [0.2, 0.2, 1.0, 1.0]
    with pytest.raises(kp.SpecificationError, match="unreplicated_power is 3"):
        load_spec("published").with_literature(unreplicated_power=3)


def test_cohorts_of_mixed_and_unseen_populations():
    mix = f"{POPULATION}:0.6; ptsd:0.4"
    design, _ = designed(
        rows({"population_mix": mix}, {"cohort": "d", "population": "ptsd"}, {"cohort": "e"})
    )
    assert design.effects.population_weight.ravel().tolist() == [0.6, 0.0, 1.0]
    assert design.effects.group_unseen == pytest.approx([0.4, 1.0, 0.0])


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("statistic", "kappa", "expected one of pearson_r"),
        ("population_mix", "ptsd=0.3", "populations with their shares"),
        ("counts", "5 of 9", "two groups"),
        ("probability_positive", 1.4, "a probability from 0 to 1"),
        ("outcome_kind", "remission", "expected one of improvement, response"),
    ],
)
def test_what_cannot_be_read_is_refused_at_the_door(column, value, expected):
    with pytest.raises(kp.DataError, match=expected):
        make_evidence(arms=arms(), associations=rows({column: value}))


def test_worth_in_patients_of_one_exact_effect():
    """One correlation and a spread between studies of a known size: a formula of one line."""
    spec = load_spec("published").with_literature(unreplicated_power=1.0)
    pooling = dataclasses.replace(spec.pooling, trial_slope=False, population_slope=False)
    fixed = {"effect_scale": Prior("fixed", (0.1,)), "effect_horizon_scale": Prior("fixed", (0.0,))}
    spec = dataclasses.replace(spec.with_priors(**fixed), pooling=pooling)
    design, _ = designed(rows({"n": 103}), names=("bmi",), spec=spec)
    draws = draw_prior(design, 200, np.random.default_rng(1))
    draws["prognostic_slope"] = np.zeros((200, 1))
    draws["predictive_slope"] = np.zeros((200, 1))
    draws["effect_deviation"] = np.zeros((200, 1))
    draws["population_slope"] = np.zeros((200, 1, 1))
    # At a slope of 0 Fisher's z moves by the SD of the predictor for one unit of the slope.
    variance = draws["predictor_covariance"][:, 0, 0]
    expected = 1.0 / (0.1**2 + 1.0 / (100.0 * variance)) / (2.0 / np.pi)
    assert effective_patients(draws, design)[:, 0] == pytest.approx(expected, rel=1e-4)


def test_worth_of_a_verdict_is_the_information_of_a_yes_or_no():
    """Against the variance of the score of simulated verdicts."""
    rng = np.random.default_rng(4)
    table = rows({"statistic": "direction_only", "direction_for_better_response": "1"})
    design, _ = designed(table, names=("bmi",))
    from ketpredict.effect_information import _verdict_information

    middle = 0.25
    error, lower = design.effects.standard_error[0], design.effects.lower[0]
    z = middle + error * rng.normal(size=2_000_000)
    share = (z > lower).mean()
    density = np.exp(-0.5 * ((lower - middle) / error) ** 2) / np.sqrt(2 * np.pi) / error
    score = np.where(z > lower, density / share, -density / (1 - share))
    own = _verdict_information(design, 0, np.array([middle]))[0]
    assert own == pytest.approx(score.var(), rel=0.01)


@pytest.fixture(scope="module")
def small_fit():
    table = rows({"n": 120}, {"cohort": "d", "n": 150, "estimate": 0.35}, {"cohort": "e", "n": 80})
    design, used = designed(table, names=("bmi",))
    settings = SamplerSettings(draws=1500, tune=800, chains=2, seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kp.ConvergenceWarning)
        return fit(design, used, settings)


@pytest.fixture(scope="module")
def small_literature(small_fit):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kp.ConvergenceWarning)
        return literature(small_fit)


def test_what_the_literature_did(small_fit, small_literature):
    found = small_literature
    (slope,) = found.slopes.to_dict("records")
    # 0.3 to 0.35 of an SD, shrunk: clear of nothing, which is where it is without.
    error = monte_carlo.of_mean(small_fit.groups["posterior"]["slope"][..., 0])
    monte_carlo.between(slope["slope"], 0.1, 0.4, error)
    # As many draws of a wider posterior.
    error *= (slope["upper_without"] - slope["lower_without"]) / (slope["upper"] - slope["lower"])
    monte_carlo.between(slope["slope_without"], -0.1, 0.1, error)
    assert slope["upper"] - slope["lower"] < slope["upper_without"] - slope["lower_without"]
    assert slope["effects"] == 3
    assert slope["patients"] == 350
    assert 0 < slope["effective_lower"] < slope["effective_patients"] < 350
    assert slope["sensitivity"] > 0.0
    assert len(found.effects) == 3
    assert (found.effects["shift"].abs() < 3).all()
    assert found.matters_most() in small_fit.coords["effect"]
    assert literature_plot(found.slopes).axes
    assert set(found.as_table()) == {"prob", "slopes", "effects", "associations"}


def test_effects_travel_with_the_file(small_fit, tmp_path):
    loaded = kp.load(small_fit.save(tmp_path / "fit.nc")).fit_
    before, after = design_of(small_fit), design_of(loaded)
    assert before.effect_labels == after.effect_labels
    for field in dataclasses.fields(before.effects):
        assert np.array_equal(
            getattr(before.effects, field.name), getattr(after.effects, field.name), equal_nan=True
        ), field.name
    assert loaded.facts["effects"] == small_fit.facts["effects"]


def test_a_fit_without_effects_has_no_literature(small_fit):
    arrays = small_fit.groups["constant_data"]
    none = {k: v[:0] if k.startswith("effect_") else v for k, v in arrays.items()}
    coords = small_fit.coords | {"effect": [], "effect_group": []}
    bare = dataclasses.replace(
        small_fit, coords=coords, groups={**small_fit.groups, "constant_data": none}
    )
    with pytest.raises(kp.DataError, match="No published effect enters"):
        literature(bare)


def test_leaving_an_effect_out_by_weights_agrees_with_a_refit(small_fit, small_literature):
    table = rows({"n": 120}, {"cohort": "d", "n": 150, "estimate": 0.35})
    design, used = designed(table, names=("bmi",))
    settings = SamplerSettings(draws=1500, tune=800, chains=2, seed=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kp.ConvergenceWarning)
        refit = fit(design, used, settings).groups["posterior"]["slope"][..., 0]
    table = small_literature.effects
    row = table[table["effect"] == "e: bmi at 24 h"].iloc[0]
    assert row["pareto_k"] < 0.7
    # Of the weighted draws at worst half count.
    whole = small_fit.groups["posterior"]["slope"][..., 0]
    error = np.hypot(monte_carlo.of_mean(refit), np.sqrt(2.0) * monte_carlo.of_mean(whole))
    monte_carlo.agrees(row["slope_left_out"], refit.mean(), error)


def test_the_page_of_the_evidence_has_every_count():
    script = Path(__file__).resolve().parents[1] / "scripts" / "effects_page.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_says_what_the_literature_did(
    small_fit, small_literature, tmp_path, monkeypatch
):
    """Without sampling again: the command's own part is tables, picture and JSON."""
    monkeypatch.setattr("ketpredict.literature.literature", lambda *_: small_literature)
    path = small_fit.save(tmp_path / "fit.nc")
    shown = CliRunner().invoke(app, ["literature", str(path), "--output", str(tmp_path / "new")])
    assert shown.exit_code == 0, shown.output
    for words in ("Slopes under ketamine", "bmi", "d: bmi at 24 h", "3 of 3 rows", "research"):
        assert words in shown.output
    assert (tmp_path / "new" / "literature.png").stat().st_size > 10_000
    as_json = CliRunner().invoke(app, ["literature", str(path), "--json"])
    table = json.loads(as_json.output)
    assert table["slopes"][0]["effects"] == 3
    assert [row["used"] for row in table["associations"]] == [True] * 3


def test_effects_are_kept_where_outcomes_are_too_many(small_fit, monkeypatch):
    monkeypatch.setattr("ketpredict.fitting._MOST_POINTWISE_VALUES", 0)
    bare = dataclasses.replace(
        small_fit,
        groups={k: v for k, v in small_fit.groups.items() if k != "log_likelihood"},
    )
    kept = fitting._with_pointwise(bare, design_of(small_fit), 0).groups["log_likelihood"]
    assert set(kept) == {"effects"}
    assert np.array_equal(kept["effects"], small_fit.groups["log_likelihood"]["effects"])
