"""Parts that the data cannot tell apart: found, left out, and drawn from the prior to predict."""

import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit, ndtr

import handmade
import ketpredict as kp
from ketpredict.compiled import compile_design
from ketpredict.design import encode
from ketpredict.errors import SavedFitError
from ketpredict.evidence import make_evidence, select_horizons
from ketpredict.expansion import expand
from ketpredict.extrapolation import extrapolation_notes
from ketpredict.fitting import SamplerSettings, fit, prepare
from ketpredict.parts import (
    NEVER_TOGETHER,
    ONE_POPULATION,
    ONE_TRIAL,
    ONLY_ACTIVE,
    ONLY_CONTROL,
    left_out_messages,
)
from ketpredict.posterior import load_posterior
from ketpredict.predict import predictions, response_draws
from ketpredict.predictors import load_predictors
from ketpredict.prior import draw_prior
from ketpredict.prior_families import Prior
from ketpredict.report_model import pooling_words
from ketpredict.spec import load_spec
from ketpredict.stored_design import design_of
from ketpredict.summary import prior_of
from ketpredict.unconstrained import to_points
from ketpredict.untold import draw_untold

REFERENCES = load_predictors()
POPULATION = {"population_intercept": ONE_POPULATION, "population_slope": ONE_POPULATION}
TRIAL = {"trial_intercept": ONE_TRIAL, "trial_treatment": ONE_TRIAL, "trial_slope": ONE_TRIAL}


def one_class(why):
    return {"trial_treatment": why, "predictive_slope": why}


def table(
    trials=("a", "a", "b", "b"), populations=("ptsd", "ocd") * 2, arms=("ketamine", "saline")
):
    """One patient for each trial and population of the lists and each arm; the arms in turn."""
    rows = len(trials)
    return pd.DataFrame(
        {
            "trial": trials,
            "population": populations,
            "arm": [arms[i % len(arms)] for i in range(rows)],
            "participant": [f"p{i}" for i in range(rows)],
            "bmi": np.linspace(22.0, 33.0, rows),
            "response": [float(i % 3 == 0) for i in range(rows)],
        }
    )


def designed(participants, effects=None, predictors=("bmi",), **changes):
    spec = dataclasses.replace(load_spec("published").with_predictors(predictors), **changes)
    evidence = make_evidence(participants=participants, predictors=predictors, associations=effects)
    return encode(spec, select_horizons(evidence, spec.horizons), REFERENCES)


def effect(population):
    return pd.DataFrame(
        {
            "cohort": ["elsewhere"],
            "population": [population],
            "predictor": ["bmi"],
            "statistic": ["pearson_r"],
            "estimate": [0.2],
            "n": [60],
            "p_relation": ["="],
            "direction_for_better_response": ["1"],
            "outcome_kind": ["improvement"],
            "contrast": ["continuous"],
            "hours": [24.0],
        }
    )


APART = table(arms=("ketamine", "ketamine", "saline", "saline"))
ONE = table(populations=("ptsd",) * 4)


@pytest.mark.parametrize(
    ("participants", "effects", "expected"),
    [
        (table(), None, {}),
        (ONE, None, POPULATION),
        (table(trials=("a",) * 4), None, TRIAL),
        (table(arms=("ketamine",)), None, one_class(ONLY_ACTIVE)),
        (table(arms=("saline",)), None, one_class(ONLY_CONTROL)),
        (APART, None, {"trial_treatment": NEVER_TOGETHER}),
        # Published effects speak of slopes under active treatment, each cohort as a trial.
        (ONE, effect("ptsd"), POPULATION),
        (ONE, effect("ocd"), {"population_intercept": ONE_POPULATION}),
        (table(arms=("saline",)), effect("ptsd"), {"trial_treatment": ONLY_CONTROL}),
        (table(arms=("ketamine",)), effect("ptsd"), one_class(ONLY_ACTIVE)),
        (
            table(trials=("a",) * 4),
            effect("ptsd"),
            {"trial_intercept": ONE_TRIAL, "trial_treatment": ONE_TRIAL},
        ),
    ],
)
def test_what_the_data_cannot_tell_apart_is_found(participants, effects, expected):
    assert designed(participants, effects).left_out == expected


def test_a_trial_without_outcomes_is_a_level():
    """What is known of its patients is of that trial, which differs from the other one."""
    more = table(trials=("a", "a", "c", "c"))
    more.loc[more["trial"] == "c", "response"] = np.nan
    assert "trial_intercept" not in designed(more).left_out


def test_what_a_specification_does_not_ask_for_is_not_left_out():
    spec = load_spec("published")
    off = dataclasses.replace(spec.pooling, population_intercept=False, population_slope=False)
    fixed = {**spec.priors, "population_scale": Prior("fixed", (0.0,))}
    assert designed(ONE, pooling=off).left_out == {}
    assert designed(ONE, priors=fixed).left_out == {"population_slope": ONE_POPULATION}
    assert "predictive_slope" not in designed(table(arms=("ketamine",)), predictors=()).left_out
    # Without a level of its own a trial is known by its deviation alone.
    alone = dataclasses.replace(spec.pooling, trial_intercept=False)
    assert "trial_treatment" not in designed(APART, pooling=alone).left_out


@pytest.mark.parametrize(
    ("participants", "off"),
    [
        (ONE, ("population_intercept", "population_slope")),
        (table(trials=("a",) * 4), ("trial_intercept", "trial_treatment", "trial_slope")),
    ],
)
def test_the_density_is_that_of_the_model_without_the_parts(participants, off):
    reduced = designed(participants)
    pooling = dataclasses.replace(reduced.spec.pooling, **dict.fromkeys(off, False))
    bare = designed(participants, pooling=pooling)
    assert bare.left_out == {}
    one, two = compile_design(reduced), compile_design(bare)
    assert one.model.layout.start == two.model.layout.start
    points = 0.4 * np.random.default_rng(1).normal(size=(5, one.model.layout.n_dimensions))
    for point in points:
        own, other = one.log_density(point), two.log_density(point)
        assert own[0] == other[0]
        assert np.array_equal(own[1], other[1])


def test_one_trial_of_one_population_and_arm_is_a_regression():
    """Its density, written out."""
    participants = table(("a",) * 4, ("ptsd",) * 4, ("ketamine",))
    design = designed(participants)
    assert set(design.left_out) == {*POPULATION, *TRIAL, "predictive_slope"}
    assert design.slope_parts == ("prognostic",)
    compiled, priors = compile_design(design), design.spec.priors
    start, size = compiled.model.layout.start, compiled.model.layout.size
    point = 0.4 * np.random.default_rng(2).normal(size=compiled.model.layout.n_dimensions)
    at = {name: point[start[name] : start[name] + size[name]] for name in start}
    expected = stats.norm(*priors["intercept"].values).logpdf(at["intercept"]).sum()
    for name in ("arm_scale", "horizon_scale"):
        prior = stats.halfnorm(scale=priors[name].values[0])
        expected += (prior.logpdf(np.exp(at[name])) + at[name]).sum()
    for name, prior in (
        ("study_term_effect", "study_term"),
        ("predictor_location", "predictor_location"),
        ("improvement_sd", "improvement_sd"),
    ):
        expected += stats.norm(*priors[prior].values).logpdf(at[name]).sum()
    for name in ("horizon_offset_raw", "prognostic_slope_raw"):
        expected += stats.norm.logpdf(at[name]).sum()
    explained = expit(at["explained_variance"])
    expected += stats.beta(*priors["explained_variance"].values).logpdf(explained).sum()
    expected += np.log(explained * (1.0 - explained)).sum()
    (bmi,) = design.predictors
    location, spread = priors["predictor_between_scale"].values
    between = stats.norm(location + np.log(bmi.between_trial_sd), spread)
    expected += between.logpdf(at["predictor_between_scale"]).sum()
    mean = at["trial_mean_reported"]
    law = stats.norm(at["predictor_location"], np.exp(at["predictor_between_scale"]))
    expected += law.logpdf(mean).sum()
    sd, log_sd = np.exp(at["predictor_cholesky"]), at["predictor_cholesky"]
    expected += stats.norm(*priors["predictor_sd"].values).logpdf(log_sd).sum()
    value = bmi.to_scale(participants["bmi"].to_numpy())
    expected += stats.norm(mean, sd).logpdf(value).sum()
    slope = at["prognostic_slope_raw"] * np.sqrt(explained / (1.0 - explained))
    probability = ndtr(at["intercept"] + slope * value)
    expected += stats.bernoulli(probability).logpmf(participants["response"].to_numpy()).sum()
    assert compiled.log_density(point)[0] == pytest.approx(expected, rel=1e-12)


def single(left_out, seed=3):
    """Return a handmade fit that leaves parts out, with two predictors, and its draws."""
    rng = np.random.default_rng(seed)
    predictors = (handmade.predictor("first"), handmade.predictor("second"))
    whole = handmade.posterior(6, predictors, rng)
    facts = {**whole.facts, "left_out": left_out}
    fitted = dataclasses.replace(whole, facts=facts)
    parts = whole.spec.slope_parts()
    own = dict(whole.groups["posterior"])
    kept = [parts.index(part) for part in fitted.slope_parts]
    own["slope_scale"] = own["slope_scale"][:, :, kept]
    for part in ("population", "trial"):
        if f"{part}_slope" in left_out:
            own[f"{part}_slope_share"] = rng.uniform(0.05, 0.3, own["intercept"].shape)
    groups = {**whole.groups, "posterior": own}
    coords = {**whole.coords, "slope_part": list(fitted.slope_parts)}
    return dataclasses.replace(fitted, groups=groups, coords=coords)


@pytest.mark.parametrize("left_out", [POPULATION, TRIAL, POPULATION | TRIAL])
def test_what_is_unseen_lies_two_deviations_from_the_only_level(left_out):
    """Known values, so that all is one normal: variances added up by hand, draw by draw."""
    fitted = single(left_out)
    values = np.array([1.3, -0.7])
    columns = {"first": [values[0]], "second": [values[1]], "arm": ["ketamine"]}
    found = response_draws(fitted, handmade.rows(fitted, columns))[:, 0]
    for draw in range(6):
        value = handmade.one_draw(fitted, draw)
        total = (value["slope_scale"] ** 2).sum(axis=0)
        variance = 0.0
        for part, scales in (
            ("population", [value["population_scale"]]),
            ("trial", [value["trial_scale"], value["treatment_scale"] / 2.0]),
        ):
            alone = f"{part}_slope" in left_out
            variance += (1.0 + alone) * sum(scale**2 for scale in scales)
            if alone:
                spread = 2.0 * value[f"{part}_slope_share"] * total
            else:
                spread = value["slope_scale"][fitted.slope_parts.index(part)] ** 2
            variance += (values**2 * spread).sum()
        level = value["intercept"] + values @ (
            value["prognostic_slope"] + value["predictive_slope"]
        )
        across = value["across_slope"] * value["predictor_between_scale"]
        # Trial means given the values that are known: one patient says a little of them.
        sampled = value["predictor_covariance"] + np.diag(value["predictor_between_scale"] ** 2)
        gain = np.diag(value["predictor_between_scale"] ** 2) @ np.linalg.inv(sampled)
        mean = value["predictor_location"] + gain @ (values - value["predictor_location"])
        spread = np.diag(value["predictor_between_scale"] ** 2)
        left = spread - gain @ spread
        level += value["across_slope"] @ mean
        variance += value["across_slope"] @ left @ value["across_slope"]
        assert np.isfinite(across).all()
        assert found[draw] == pytest.approx(ndtr(level / np.sqrt(1.0 + variance)), abs=1e-9)


def test_the_spread_between_trials_is_divided_as_the_prior_divides_it():
    """Levels and deviations drawn from the whole model, then drawn again from their sum alone."""
    design, count = designed(APART), 40_000
    rng = np.random.default_rng(4)
    priors = {
        name: design.spec.priors[name].values[0] for name in ("trial_scale", "treatment_scale")
    }
    own, further = (np.abs(rng.normal(0.0, scale, count)) for scale in priors.values())
    level = own[:, None] * rng.normal(size=(count, 2))
    deviation = further[:, None] * rng.normal(size=(count, 2))
    toward = np.array([0.5, -0.5])  # the first trial has ketamine, the second saline
    seen = level + toward * deviation
    parameters = {
        "intercept": np.zeros(count),
        "trial_scale": np.hypot(own, further / 2.0),
        "trial_effect": seen,
    }
    untold = draw_untold(design, parameters, np.random.default_rng(5))
    again = untold["trial_effect"] + toward * untold["treatment_deviation"]
    assert np.abs(again - seen).max() < 1e-12
    total = np.hypot(untold["trial_scale"], untold["treatment_scale"] / 2.0)
    assert total == pytest.approx(parameters["trial_scale"], rel=1e-12)
    # The other arm of each trial, whose level the data do not tell.
    for t in range(2):
        one = level[:, t] - toward[t] * deviation[:, t]
        two = untold["trial_effect"][:, t] - toward[t] * untold["treatment_deviation"][:, t]
        for first, second in ((one, two), (one * seen[:, t], two * seen[:, t]), (one**2, two**2)):
            error = np.hypot(first.std(), second.std()) / np.sqrt(count)
            assert abs(first.mean() - second.mean()) < 5.0 * error


def test_a_spread_that_was_divided_is_put_together_again():
    """Leaving trials out goes back from parameters to the points of the density."""
    design = designed(APART)
    layout = compile_design(design).model.layout
    points = 0.4 * np.random.default_rng(9).normal(size=(7, layout.n_dimensions))
    parameters = expand(design, layout, points)
    parameters |= draw_untold(design, parameters, np.random.default_rng(10))
    assert (
        np.abs(np.log(parameters["trial_scale"]) - points[:, layout.start["trial_scale"]]).min() > 0
    )
    again = to_points(design, layout, parameters)[:, layout.start["trial_scale"]]
    assert again == pytest.approx(points[:, layout.start["trial_scale"]], abs=1e-12)


def test_an_active_arm_is_apart_from_control_arms_by_the_prior():
    """Control arms only, ketamine asked for: as the prior of the whole model has it."""
    design = designed(table(arms=("saline",)))
    ours = draw_prior(design, 20_000, np.random.default_rng(6))
    whole = draw_prior(dataclasses.replace(design, left_out={}), 20_000, np.random.default_rng(7))
    assert (ours["slope"] == ours["prognostic_slope"] + ours["predictive_slope"]).all()
    ratio = [
        np.abs(d["predictive_slope"] / d["prognostic_slope"]).clip(0.0, 5.0) for d in (ours, whole)
    ]
    error = np.hypot(ratio[0].std(), ratio[1].std()) / np.sqrt(20_000)
    assert abs(ratio[0].mean() - ratio[1].mean()) < 5.0 * error


@pytest.fixture(scope="module")
def regression():
    """Patients of one trial of one population, all under ketamine, and their fit."""
    data = kp.simulate(
        trials=1, patients=400, published_trials=0, populations=["ptsd"], arms=["ketamine"],
        predictors=["bmi", "age"], truth={"intercept": 0.0, "prognostic_slope": [0.4, 0.0]},
        random_state=8,
    )  # fmt: skip
    references = {predictor.name: predictor for predictor in data.predictors}
    design, evidence = prepare(data.spec, data.evidence(), references)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = SamplerSettings(draws=800, tune=500, chains=2, seed=3)
        fits = [
            fit(dataclasses.replace(design, left_out=left_out), evidence, settings)
            for left_out in (design.left_out, {})
        ]
    return data, fits


@pytest.mark.draws
def test_the_slope_of_the_only_population_is_as_sure_as_a_regression_says(regression):
    """The standard error of a probit regression by maximum likelihood.

    Of more than 300 effective draws an SD is known to 4 %, and its limits lie five times that away.
    """
    data, fits = regression
    values = np.column_stack(
        [p.to_scale(data.participants[p.name].to_numpy()) for p in data.predictors]
    )
    matrix = np.column_stack([np.ones(len(values)), values])
    response, beta = data.participants["response"].to_numpy(), np.zeros(3)
    for _ in range(25):
        line = matrix @ beta
        p, density = ndtr(line), stats.norm.pdf(line)
        information = (matrix * (density**2 / (p * (1 - p)))[:, None]).T @ matrix
        beta += np.linalg.solve(information, matrix.T @ (density * (response - p) / (p * (1 - p))))
    expected = np.sqrt(np.diag(np.linalg.inv(information)))[1:]
    ours, whole = (one.groups["posterior"]["slope"].std(axis=(0, 1)) / expected for one in fits)
    assert fits[0].facts["diagnostics"]["ess_bulk"] > 300
    # The prior of the slopes takes a little off.
    assert (ours < 1.2).all()
    assert ours[0] > 0.7
    assert whole[0] > 1.3 * ours[0]


@pytest.mark.draws
def test_another_trial_and_another_population_are_less_sure(regression):
    posterior = regression[1][0]
    rows = {
        "trial": ["trial_1", "elsewhere", "elsewhere"],
        "population": ["ptsd", "ptsd", "ocd"],
        "bmi": [30.0] * 3,
    }
    rows = handmade.rows(posterior, rows)
    width = np.diff(predictions(posterior, rows, 0.9).trial_interval, axis=1)[:, 0]
    assert width[0] < width[1] < width[2]
    own, trial, population = extrapolation_notes(posterior, rows)
    assert own == ""
    assert "another trial than the only one of the fit, trial_1" in trial
    assert "another population than the only one of the fit, ptsd" in population
    before = predictions(prior_of(posterior), rows, 0.9).trial_interval
    assert (before[:, 0] < before[:, 1]).all()


@pytest.mark.draws
def test_what_was_left_out_is_said_and_kept(regression, tmp_path):
    posterior = regression[1][0]
    assert posterior.left_out == POPULATION | TRIAL | {"predictive_slope": ONLY_ACTIVE}
    said = " ".join(posterior.facts["messages"])
    assert said.count("All outcomes are of one population (ptsd)") == 1
    assert said.count("All data are of one trial (trial_1)") == 1
    assert said.count("No arm of the data is a control arm") == 1
    (varies, left_out) = pooling_words(posterior)
    assert varies == "Varies, partially pooled: the slope of trial means from that within trials."
    assert "how response differs between populations (one population)" in left_out
    again = load_posterior(posterior.save(tmp_path / "fit.nc"))
    assert design_of(again).left_out == posterior.left_out
    rows = handmade.rows(again, {"population": ["ocd"], "bmi": [30.0]})
    assert np.array_equal(response_draws(again, rows), response_draws(posterior, rows))
    own = posterior.groups["posterior"]
    for name in ("population_effect", "trial_effect", "treatment_deviation", "predictive_slope"):
        assert not own[name].any()
    # Of what the data do not tell the draws are the prior's: 1600 of them, an SD known to 2 %.
    assert own["population_scale"].std() == pytest.approx(0.5 * np.sqrt(1 - 2 / np.pi), rel=0.1)
    wrong = dataclasses.replace(posterior, facts={**posterior.facts, "left_out": {"slope": "x"}})
    with pytest.raises(SavedFitError, match="left_out"):
        wrong.save(tmp_path / "wrong.nc")


@pytest.mark.parametrize(
    ("left_out", "words"),
    [
        ({"trial_treatment": NEVER_TOGETHER}, "No trial has both active and control arms"),
        (one_class(ONLY_CONTROL), "takes what sets it apart from the prior"),
        ({"trial_treatment": ONLY_CONTROL}, "the difference of active and control arms varies"),
    ],
)
def test_each_reason_is_one_message(left_out, words):
    (message,) = left_out_messages(left_out, ("ptsd",), ("a",))
    assert words in message
    assert ("Slopes are those in control arms" in message) == ("predictive_slope" in left_out)
