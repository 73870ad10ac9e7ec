"""The likelihood of arms and patients against brute force; graph, NumPy and prior agree."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import nquad
from scipy.special import ndtr
from scipy.stats import binom, norm

import handmade
from ketpredict.design import encode
from ketpredict.evidence import make_evidence, select_horizons
from ketpredict.graph import build
from ketpredict.marginal import between_trial_sd, unit_probability
from ketpredict.predictors import load_predictors
from ketpredict.prior import draw_prior
from ketpredict.spec import Prior, load_spec

ARM = {"trial": "A", "population": "unipolar_depression", "arm": "ketamine", "hours": 24.0}
RATES = load_spec("rates")
PREDICTED_NAMES = ("bmi", "family_history_aud", "suicide_attempt_history", "bdnf")


def design_of(arms=None, participants=None, spec=RATES, predictors=(), references=None):
    """Return the design of tables."""
    references = load_predictors() if references is None else references
    evidence = make_evidence(
        arms=arms, participants=participants, references=references, predictors=predictors
    )
    spec = spec.with_predictors(tuple(predictors))
    return encode(spec, select_horizons(evidence, spec.horizons), references)


def wide_tables():
    """Return tables with everything in them.

    Patients with missing cells, an arm with summaries, an arm without, repeated courses, other
    horizons and thresholds, four populations, open label and an added antidepressant.
    """
    rng = np.random.default_rng(8)
    participants = pd.DataFrame(
        {
            "trial": np.repeat(["own 1", "own 2"], 12),
            "population": np.repeat(["unipolar_depression", "bipolar_depression"], 12),
            "arm": np.tile(["ketamine", "saline"], 12),
            "hours": np.repeat([24.0, 48.0], 12),
            "participant": np.arange(24),
            "response": rng.integers(0, 2, 24).astype(float),
            "bmi": np.where(rng.uniform(size=24) < 0.3, np.nan, rng.normal(28, 5, 24)),
            "family_history_aud": np.where(
                rng.uniform(size=24) < 0.4, np.nan, rng.integers(0, 2, 24)
            ),
            "suicide_attempt_history": np.where(np.arange(24) < 12, np.nan, np.arange(24) % 2),
        }
    )
    participants.loc[3, "response"] = np.nan
    columns = ("trial", "population", "arm", "hours", "n", "responders", "threshold", "scale")
    arms = pd.DataFrame(
        [
            ("B", "unipolar_depression", "ketamine", 24, 47, 30, np.nan, "MADRS"),
            ("B", "unipolar_depression", "midazolam", 24, 25, 7, np.nan, "MADRS"),
            ("C", "ptsd", "ketamine_repeated", 336, 15, 10, 30, "CAPS-5"),
            ("C", "ptsd", "midazolam_repeated", 336, 15, 3, 30, "CAPS-5"),
            ("D", "ocd", "ketamine", 168, 8, 4, 35, "Y-BOCS"),
            ("D", "ocd", "saline", 168, 7, 0, 35, "Y-BOCS"),
            ("E", "bipolar_depression", "ketamine", 40, 26, 17, np.nan, "MADRS"),
        ],
        columns=columns,
    )
    arms["blinding"] = ["double_blind"] * 6 + ["open_label"]
    arms["added_antidepressant"] = [False, False, True, True, False, False, False]
    arms["bmi_mean"] = [29.7, 30.1, np.nan, np.nan, 24.0, 25.0, 27.0]
    arms["bmi_sd"] = [5.5, 6.1, np.nan, np.nan, 3.0, np.nan, 4.0]
    arms["family_history_aud_pct"] = [35.0, 20.0, np.nan, np.nan, np.nan, np.nan, 50.0]
    return arms, participants


@functools.cache
def wide_design():
    arms, participants = wide_tables()
    return design_of(arms, participants, load_spec("published"), PREDICTED_NAMES)


def prior_parameters(design, size, seed=1):
    """Return prior draws of a design as the parameters that the equations expect."""
    draws = draw_prior(design, size, np.random.default_rng(seed))
    position = draws.get("unreported_position", np.zeros((size, 0)))
    return {**draws, "unreported_position": np.pad(position, ((0, 0), (0, 1)))}


def probability(design, parameters):
    return unit_probability(
        parameters, design.units, design.predictors, design.pattern_unit, design.pattern_value
    )


@functools.cache
def compiled(design_name):
    """Return a function from a point to the graph's log likelihoods and parameters."""
    design = {"wide": wide_design}[design_name]()
    model = build(design)
    names = [variable.name for variable in model.unobserved_value_vars]
    outputs = [*model.unobserved_value_vars, *model.logp(vars=model.observed_RVs, sum=False)]
    function = model.compile_fn(outputs, inputs=model.value_vars, mode="FAST_COMPILE")
    return design, model, names, function


# ------------------------------------------------------------------ an arm against its patients


def arm_design(**summaries):
    """Return the design of one arm with two continuous and two binary predictors."""
    references = {
        "x1": handmade.predictor("x1"),
        "x2": handmade.predictor("x2", centre=2.0, scale=0.5),
        "b1": handmade.predictor("b1", "binary", centre=0.4),
        "b2": handmade.predictor("b2", "binary", centre=0.5),
    }
    table = pd.DataFrame([{**ARM, "n": 40, "responders": 17, **summaries}])
    return design_of(table, None, load_spec("published"), tuple(references), references)


SUMMARIES = {
    "x1_mean": 0.4,
    "x1_sd": 1.3,
    "x2_mean": 2.3,
    "x2_sd": 0.4,
    "b1_pct": 30.0,
    "b2_pct": 65.0,
}
SLOPES = np.array([0.7, -0.5, 1.5, -0.8])


def arm_parameters(design, intercept=-0.3):
    parameters = {name: np.zeros_like(value) for name, value in prior_parameters(design, 1).items()}
    parameters["improvement_sd"] += 31.0
    parameters["intercept"] += intercept
    parameters["prognostic_slope"] += SLOPES - 0.2
    parameters["predictive_slope"] += 0.2
    return parameters


def test_an_arm_with_summaries_equals_numerical_integration():
    design = arm_design(**SUMMARIES)
    ours = probability(design, arm_parameters(design))[0, 0]
    m1, s1, m2, s2 = 0.4, 1.3, (2.3 - 2.0) / 0.5, 0.4 / 0.5
    brute = 0.0
    for b1, w1 in ((1.0, 0.30), (0.0, 0.70)):
        for b2, w2 in ((1.0, 0.65), (0.0, 0.35)):
            shift = SLOPES[2] * (b1 - 0.4) + SLOPES[3] * (b2 - 0.5)

            def integrand(x1, x2, shift=shift):
                linear = -0.3 + SLOPES[0] * x1 + SLOPES[1] * x2 + shift
                return ndtr(linear) * norm.pdf(x1, m1, s1) * norm.pdf(x2, m2, s2)

            ranges = [(m1 - 9 * s1, m1 + 9 * s1), (m2 - 9 * s2, m2 + 9 * s2)]
            options = {"epsabs": 1e-10, "epsrel": 1e-9}
            brute += w1 * w2 * nquad(integrand, ranges, opts=options)[0]
    assert ours == pytest.approx(brute, abs=1e-9)


def test_an_arm_with_summaries_equals_simulated_patients():
    design = arm_design(**SUMMARIES)
    ours = probability(design, arm_parameters(design))[0, 0]
    rng = np.random.default_rng(2)
    size = 2_000_000
    linear = -0.3 + SLOPES[0] * rng.normal(0.4, 1.3, size)
    linear += SLOPES[1] * (rng.normal(2.3, 0.4, size) - 2.0) / 0.5
    linear += SLOPES[2] * ((rng.uniform(size=size) < 0.30) - 0.4)
    linear += SLOPES[3] * ((rng.uniform(size=size) < 0.65) - 0.5)
    responds = linear + rng.standard_normal(size) > 0
    assert abs(responds.mean() - ours) < 4 * responds.std() / np.sqrt(size)


def test_a_rate_as_a_normal_mean_would_fail():
    """A proportion is a mixture weight: at a slope of 1.5 the normal shortcut is off by 0.01."""
    design = arm_design(**SUMMARIES)
    ours = probability(design, arm_parameters(design))[0, 0]
    variance = (SLOPES[:2] ** 2) @ [1.3**2, 0.8**2] + SLOPES[2] ** 2 * 0.21
    variance += SLOPES[3] ** 2 * 0.65 * 0.35
    mean = -0.3 + SLOPES[0] * 0.4 + SLOPES[1] * 0.6 + SLOPES[2] * -0.1 + SLOPES[3] * 0.15
    assert abs(ndtr(mean / np.sqrt(1 + variance)) - ours) > 1e-3


def test_summaries_of_a_lognormal_predictor_are_moments_on_its_own_scale():
    """An arm's mean and SD of the delta sleep ratio describe log-normal patients."""
    references = load_predictors()
    table = pd.DataFrame(
        [
            {
                **ARM,
                "n": 40,
                "responders": 17,
                "delta_sleep_ratio_mean": 1.2,
                "delta_sleep_ratio_sd": 0.7,
            }
        ]
    )
    design = design_of(table, None, load_spec("published"), ("delta_sleep_ratio",))
    parameters = {name: np.zeros_like(value) for name, value in prior_parameters(design, 1).items()}
    parameters["improvement_sd"] += 31.0
    parameters["prognostic_slope"] += 0.9
    rng = np.random.default_rng(4)
    log_variance = np.log1p((0.7 / 1.2) ** 2)
    patients = rng.lognormal(np.log(1.2) - log_variance / 2, np.sqrt(log_variance), 2_000_000)
    assert patients.mean() == pytest.approx(1.2, abs=0.02)
    assert patients.std() == pytest.approx(0.7, abs=0.05)
    brute = ndtr(
        0.9
        * (np.log(patients) - references["delta_sleep_ratio"].centre)
        / references["delta_sleep_ratio"].scale
    )
    ours = probability(design, parameters)[0, 0]
    assert abs(ours - brute.mean()) < 4 * brute.std() / np.sqrt(len(brute))


def test_an_unmeasured_predictor_is_averaged_around_the_trials_own_mean():
    design = arm_design(x1_mean=0.4, x1_sd=1.3, b2_pct=65.0)
    parameters = arm_parameters(design)
    names = [design.predictors[k].name for _, k in design.unreported]
    assert names == ["x2", "b1"]
    parameters["unreported_position"][0, :2] = 1.4, -0.8
    rng = np.random.default_rng(3)
    size = 2_000_000
    x2, b1, b2 = (design.predictors[k] for k in (1, 2, 3))
    rate = ndtr(norm.ppf(0.4) * np.sqrt(1 + 0.5**2) - 0.5 * 0.8)
    linear = -0.3 + SLOPES[0] * rng.normal(0.4, 1.3, size)
    linear += SLOPES[1] * rng.normal(between_trial_sd(x2) * 1.4, 1.0, size)
    linear += SLOPES[2] * ((rng.uniform(size=size) < rate) - b1.centre)
    linear += SLOPES[3] * ((rng.uniform(size=size) < 0.65) - b2.centre)
    p = ndtr(linear)
    assert abs(p.mean() - probability(design, parameters)[0, 0]) < 4 * p.std() / np.sqrt(size)


# --------------------------------------------------------------------------------- thresholds


@pytest.mark.parametrize("threshold", [30.0, 35.0, 50.0, 70.0])
def test_another_threshold_shifts_the_intercept(threshold):
    table = pd.DataFrame([{**ARM, "n": 40, "responders": 17, "threshold": threshold}])
    design = design_of(table)
    parameters = {name: np.zeros_like(value) for name, value in prior_parameters(design, 1).items()}
    parameters["intercept"] -= 0.4
    parameters["improvement_sd"] += 27.0
    rng = np.random.default_rng(6)
    improvement = rng.normal(50.0 + 27.0 * -0.4, 27.0, 1_000_000)
    simulated = (improvement > threshold).mean()
    error = np.sqrt(simulated * (1 - simulated) / len(improvement))
    assert abs(probability(design, parameters)[0, 0] - simulated) < 4 * error


# ------------------------------------------------------------------------------ graph and NumPy


def random_point(model, rng):
    start = model.initial_point()
    return {name: value + rng.normal(0.0, 0.5, np.shape(value)) for name, value in start.items()}


def at_point(design, model, names, function, point):
    """Return the graph's log likelihoods and the parameters that the equations expect."""
    values = function(point)
    parameters = {name: np.asarray(value)[None] for name, value in zip(names, values, strict=False)}
    position = parameters.get("unreported_position", np.zeros((1, 0)))
    parameters["unreported_position"] = np.pad(position, ((0, 0), (0, 1)))
    return values[-1], parameters


def test_the_wide_design_holds_every_kind_of_row():
    design = wide_design()
    units = design.units
    assert len(design.populations) == 4
    assert len(design.unreported) > 0
    assert set(units.is_arm) == {0.0, 1.0}
    assert (units.threshold_shift != 0).any()
    assert (units.horizon_basis.sum(axis=1) == 0).sum() == 2, "two repeated arms"
    assert len(design.pattern_unit) > len(units)
    assert units.study_terms.any(axis=0).tolist() == [True, False, True]
    assert units.n[units.is_arm == 0].sum() == 23, "the missing outcome is left out"


def test_the_graph_equals_the_binomial_of_the_numpy_probability():
    design, model, names, function = compiled("wide")
    rng = np.random.default_rng(10)
    for _ in range(20):
        graph, parameters = at_point(design, model, names, function, random_point(model, rng))
        p = probability(design, parameters)[0]
        numpy = binom.logpmf(design.units.responders, design.units.n, p)
        assert np.abs(graph - numpy).max() <= 1e-10 * max(1.0, np.abs(numpy).max())


def test_the_graph_has_the_variables_of_the_prior():
    design, model, names, function = compiled("wide")
    point = random_point(model, np.random.default_rng(1))
    _, parameters = at_point(design, model, names, function, point)
    drawn = prior_parameters(design, 1)
    for name, values in drawn.items():
        assert parameters[name].shape == values.shape, name


# ---------------------------------------------------------------------- arms and their patients


def same_people(predictors):
    """Return the design of an arm, and of the same people one by one."""
    arms = pd.DataFrame(
        [
            {**ARM, "n": 20, "responders": 12},
            {**ARM, "arm": "saline", "n": 15, "responders": 4},
            {**ARM, "trial": "B", "n": 30, "responders": 11},
        ]
    )
    patients = pd.DataFrame(
        [
            {**{name: row[name] for name in ARM}, "response": float(i < row["responders"])}
            for row in arms.to_dict("records")
            for i in range(row["n"])
        ]
    )
    patients["participant"] = np.arange(len(patients))
    spec = load_spec("published")
    return (
        design_of(arms, None, spec, predictors),
        design_of(None, patients, spec, predictors),
    )


@pytest.mark.parametrize("predictors", [(), ("bmi", "family_history_aud")])
def test_an_arm_and_the_same_patients_have_the_same_likelihood(predictors):
    arms, patients = same_people(predictors)
    assert arms.trials == patients.trials
    parameters = prior_parameters(arms, 20)
    by_arm, by_patient = probability(arms, parameters), probability(patients, parameters)
    sums = [
        binom.logpmf(d.units.responders, d.units.n, p).sum(axis=1)
        for d, p in ((arms, by_arm), (patients, by_patient))
    ]
    difference = sums[0] - sums[1]
    assert np.abs(difference - difference.mean()).max() < 1e-10
    one_by_one = np.concatenate(
        [np.repeat(by_arm[:, [u]], int(arms.units.n[u]), axis=1) for u in range(len(arms.units))],
        axis=1,
    )
    responses = np.concatenate(
        [np.arange(int(n)) < r for r, n in zip(arms.units.responders, arms.units.n, strict=True)]
    )
    bernoulli = np.where(responses, np.log(one_by_one), np.log1p(-one_by_one)).sum(axis=1)
    coefficient = sums[0] - bernoulli
    assert np.abs(coefficient - coefficient[0]).max() < 1e-9, "the binomial coefficient alone"


@pytest.mark.parametrize("predictors", [(), ("bmi", "family_history_aud")])
def test_an_arm_and_the_same_patients_have_the_same_posterior(predictors):
    """The designs are equal but for a label that the graph never reads, so the graphs are too."""
    arms, patients = same_people(predictors)
    for field in dataclasses.fields(arms.units):
        if field.name != "is_arm":
            equal = getattr(arms.units, field.name) == getattr(patients.units, field.name)
            assert np.all(equal), field.name
    assert (arms.pattern_unit == patients.pattern_unit).all()
    assert (arms.pattern_value == patients.pattern_value).all()
    assert (arms.unreported == patients.unreported).all()
    for d in (arms, patients):
        without = dataclasses.replace(d, units=dataclasses.replace(d.units, is_arm=None))
        build(without)


# -------------------------------------------------------------------------------------- priors


@functools.cache
def prior_draws():
    return draw_prior(wide_design(), 40_000, np.random.default_rng(9))


def near(found, expected, relative=0.03):
    assert found == pytest.approx(expected, rel=relative)


def test_the_prior_of_scales_and_intercepts():
    draws = prior_draws()
    assert draws["intercept"].mean() == pytest.approx(0.0, abs=0.02)
    near(draws["intercept"].std(), 1.0)
    for name in ("population", "trial"):
        near((draws[f"{name}_scale"] ** 2).mean(), 0.5**2)
        near(draws[f"{name}_effect"].std(), 0.5)
    near(draws["treatment_deviation"].std(), 0.5)
    near(np.log(draws["improvement_sd"]).std(), 0.15)
    near(np.exp(np.log(draws["improvement_sd"]).mean()), 31.0, 0.005)


def test_the_prior_of_arms():
    draws, design = prior_draws(), wide_design()
    assert (draws["arm_effect"][:, design.arms.index("ketamine")] == 0).all()
    for arm, mean, sd in (("saline", -1.0, 0.7), ("ketamine_repeated", 0.0, 0.5)):
        effect = draws["arm_effect"][:, design.arms.index(arm)]
        assert effect.mean() == pytest.approx(mean, abs=0.02)
        near(effect.std(), np.sqrt(sd**2 + 0.25**2))
    pair = [design.arms.index(arm) for arm in ("midazolam", "midazolam_repeated")]
    covariance = np.cov(draws["arm_effect"][:, pair].T)[0, 1]
    near(covariance, 0.7**2, 0.05)
    other = draws["arm_effect"][:, design.arms.index("saline")]
    assert abs(np.corrcoef(other, draws["arm_effect"][:, pair[0]])[0, 1]) < 0.03


def test_the_prior_of_horizons_is_a_random_walk_that_is_zero_at_24_hours():
    draws, knots = prior_draws(), wide_design().spec.horizons.knots
    offset = draws["horizon_offset"]
    assert (offset[..., knots.index(24.0)] == 0).all()
    for hours in (4.0, 72.0, 168.0):
        variance = (offset[..., knots.index(hours)] ** 2).mean(axis=0)
        near(variance, 0.25**2 * abs(np.log(hours / 24.0)), 0.06)
    after = offset[:, 0, knots.index(168.0)] - offset[:, 0, knots.index(72.0)]
    near((after**2).mean(), 0.25**2 * np.log(168.0 / 72.0), 0.06)


@pytest.mark.parametrize("count", [1, 6, 30])
def test_all_slopes_together_explain_a_fifth_of_the_variance(count):
    """Prior mean R2 is about 0.2 whatever the number of predictors, deviations included."""
    references = {
        f"x{k}": handmade.predictor(f"x{k}", "binary" if k % 3 == 2 else "continuous")
        for k in range(count)
    }
    design = design_of(
        pd.DataFrame([{**ARM, "n": 40, "responders": 17}]),
        None,
        load_spec("published"),
        tuple(references)[:9],
        references,
    )
    design = dataclasses.replace(
        design,
        predictors=tuple(references.values()),
        spec=design.spec.with_predictors(tuple(references)),
    )
    draws = draw_prior(design, 20_000, np.random.default_rng(12))
    near(draws["explained_variance"].mean(), 0.2)
    slope = (
        draws["prognostic_slope"]
        + draws["predictive_slope"]
        + draws["population_slope"][:, 0]
        + draws["trial_slope"][:, 0]
    )
    variance = [p.centre * (1 - p.centre) if p.kind == "binary" else 1.0 for p in design.predictors]
    explained = (slope**2 * variance).sum(axis=1)
    realised = (explained / (1.0 + explained)).mean()
    assert 0.13 < realised < 0.22
    expected = np.array([6.0, 1.5, 1.25, 1.25]) / 10.0
    near(draws["slope_share"].mean(axis=0), expected, 0.03)


def test_a_fixed_prior_is_a_constant_in_graph_and_prior():
    zero = Prior("fixed", (0.0,))
    spec = RATES.with_priors(trial_scale=zero, arm_scale=Prior("fixed", (0.3,)))
    arms = pd.DataFrame(
        [{**ARM, "n": 20, "responders": 12}, {**ARM, "arm": "saline", "n": 9, "responders": 1}]
    )
    design = design_of(arms, spec=spec)
    names = {variable.name for variable in build(design).free_RVs}
    assert not names & {"trial_scale", "trial_effect_raw", "arm_scale"}
    draws = draw_prior(design, 2000, np.random.default_rng(1))
    assert not draws["trial_effect"].any()
    assert (draws["arm_scale"] == 0.3).all()


def test_prior_predictive_draws_of_the_graph_equal_those_of_numpy():
    """The same moments from PyMC's own prior sampler, on a small design."""
    import pymc as pm

    arms = pd.DataFrame(
        [
            {**ARM, "n": 20, "responders": 12, "bmi_mean": 30.0},
            {**ARM, "arm": "saline", "n": 20, "responders": 3},
            {**ARM, "arm": "midazolam", "trial": "B", "hours": 72.0, "n": 20, "responders": 3},
        ]
    )
    design = design_of(arms, None, load_spec("published"), ("bmi", "family_history_aud"))
    size = 4_000
    ours = draw_prior(design, size, np.random.default_rng(3))
    skipped = {"predictor_share", "slope_share"}
    names = [name for name in ours if name not in skipped]
    model = build(design)
    theirs = dict(
        zip(names, pm.draw([model[name] for name in names], draws=size, random_seed=4), strict=True)
    )
    for name in names:
        a, b = ours[name].reshape(size, -1), np.asarray(theirs[name]).reshape(size, -1)
        for column in range(a.shape[1]):
            x, y = a[:, column], b[:, column]
            levels = np.quantile(np.concatenate([x, y]), [0.1, 0.5, 0.9])
            for level in levels:
                difference = (x <= level).mean() - (y <= level).mean()
                assert abs(difference) < 4.5 * np.sqrt(0.5 / size), name
