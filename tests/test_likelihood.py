"""The likelihood of arms and patients by simulation; graph, NumPy and prior agree."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytest
from pytensor.compile.mode import Mode
from scipy.integrate import nquad
from scipy.special import log_ndtr, ndtr
from scipy.stats import beta, binom, kstest, multivariate_normal, norm

import handmade
from ketpredict.design import encode
from ketpredict.evidence import make_evidence, select_horizons
from ketpredict.graph import build
from ketpredict.link import variance as link_variance
from ketpredict.marginal import between_trial_sd, rate_location
from ketpredict.predictors import load_predictors
from ketpredict.prior import draw_model, draw_prior
from ketpredict.prior_families import Prior
from ketpredict.spec import load_spec
from ketpredict.unit_outcome import unit_probability

# Compiling to machine code takes minutes for each design.
PLAIN = Mode(linker="py", optimizer="fast_compile")
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


def probability(design, parameters):
    return unit_probability(parameters, design)


@functools.cache
def compiled(design_name):
    """Return a function from a point to the graph's log likelihoods and parameters."""
    design = {"wide": wide_design}[design_name]()
    model = build(design)
    names = [variable.name for variable in model.unobserved_value_vars]
    outputs = [*model.unobserved_value_vars, *model.logp(vars=model.observed_RVs, sum=False)]
    function = model.compile_fn(outputs, inputs=model.value_vars, mode=PLAIN)
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
COVARIANCE = np.array([[1.2, 0.5], [0.5, 0.9]])
SHIFT = np.array([[0.4, -0.2], [0.3, 0.5]])
CENTRE = np.array([0.4, 0.5])
ODDS_RATIO = np.exp(0.8)


def zeros(design):
    """Return one draw of parameters at which every effect is 0."""
    drawn = draw_prior(design, 1, np.random.default_rng(1))
    parameters = {name: np.zeros_like(value) for name, value in drawn.items()}
    parameters["improvement_sd"] += 31.0
    if "predictor_covariance" in parameters:
        parameters["predictor_covariance"] += np.eye(len(design.continuous_idx))
    return parameters


def arm_parameters(design, intercept=-0.3):
    parameters = zeros(design)
    parameters["intercept"] += intercept
    parameters["prognostic_slope"] += SLOPES - 0.2
    parameters["predictive_slope"] += 0.2
    return parameters


def associated(parameters):
    """Return the parameters with predictors that have to do with each other."""
    return {
        **parameters,
        "predictor_covariance": COVARIANCE[None],
        "binary_shift": SHIFT[None],
        "binary_log_odds_ratio": np.log([[ODDS_RATIO]]),
    }


def people_of_an_arm(rng, size, rate):
    """Return binaries with given rates and odds ratio, by the table that has both."""
    p, q = rate
    grid = np.linspace(max(0.0, p + q - 1.0), min(p, q), 2_000_001)[1:-1]
    odds = grid * (1 - p - q + grid) / ((p - grid) * (q - grid))
    both = grid[np.argmin(np.abs(odds - ODDS_RATIO))]
    cells = [1 - p - q + both, q - both, p - both, both]
    cell = rng.choice(4, size=size, p=cells)
    return np.column_stack([cell // 2, cell % 2]).astype(float)


def test_an_arm_with_summaries_equals_numerical_integration():
    design = arm_design(**SUMMARIES)
    parameters = arm_parameters(design)
    parameters["predictor_covariance"][0] = [[1.0, 0.5], [0.5, 1.0]]
    ours = probability(design, parameters)[0, 0]
    m1, s1, m2, s2 = 0.4, 1.3, (2.3 - 2.0) / 0.5, 0.4 / 0.5
    law = multivariate_normal([m1, m2], [[s1**2, 0.5 * s1 * s2], [0.5 * s1 * s2, s2**2]])
    brute = 0.0
    for b1, w1 in ((1.0, 0.30), (0.0, 0.70)):
        for b2, w2 in ((1.0, 0.65), (0.0, 0.35)):
            shift = SLOPES[2] * (b1 - 0.4) + SLOPES[3] * (b2 - 0.5)

            def integrand(x1, x2, shift=shift):
                linear = -0.3 + SLOPES[0] * x1 + SLOPES[1] * x2 + shift
                return ndtr(linear) * law.pdf([x1, x2])

            ranges = [(m1 - 8 * s1, m1 + 8 * s1), (m2 - 8 * s2, m2 + 8 * s2)]
            options = {"epsabs": 1e-9, "epsrel": 1e-8}
            brute += w1 * w2 * nquad(integrand, ranges, opts=options)[0]
    assert ours == pytest.approx(brute, abs=1e-8)


def test_an_arm_with_summaries_equals_simulated_patients():
    """Everything has to do with everything, and only one SD is published."""
    summaries = {name: value for name, value in SUMMARIES.items() if name != "x2_sd"}
    design = arm_design(**summaries)
    ours = probability(design, associated(arm_parameters(design)))[0, 0]
    rng = np.random.default_rng(2)
    size, rate = 2_000_000, np.array([0.30, 0.65])
    b = people_of_an_arm(rng, size, rate)
    apart = (b - rate) @ SHIFT.T
    stretch = np.array([1.3 / np.sqrt(COVARIANCE[0, 0] + apart[:, 0].var()), 1.0])
    root = np.linalg.cholesky(COVARIANCE)
    x = np.array([0.4, (2.3 - 2.0) / 0.5]) + apart
    x += stretch * (rng.standard_normal((size, 2)) @ root.T)
    linear = -0.3 + x @ SLOPES[:2] + (b - CENTRE) @ SLOPES[2:]
    p = ndtr(linear)
    assert abs(p.mean() - ours) < 4 * p.std() / np.sqrt(size)


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
    parameters = zeros(design)
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
    """What the arm publishes of the others moves that mean, as a regression would."""
    design = arm_design(x1_mean=0.4, b2_pct=65.0)
    parameters = associated(arm_parameters(design))
    names = [design.predictors[k].name for _, k in design.cells]
    assert names == ["x1", "b2", "x2", "b1"]
    assert design.n_reported == 2
    parameters["trial_mean"] = np.array([[0.1, 0.7, -0.6, -0.2]])
    rng = np.random.default_rng(3)
    size, rate = 2_000_000, np.array([ndtr(-0.2), 0.65])
    b = people_of_an_arm(rng, size, rate)
    surprise = 0.4 - 0.1 - SHIFT[0] @ (rate - CENTRE)
    middle = np.empty((size, 2))
    middle[:, 0] = 0.4 + (b - rate) @ SHIFT[0]
    middle[:, 1] = -0.6 + (b - CENTRE) @ SHIFT[1] + surprise * 0.5 / 1.2
    x = middle + rng.standard_normal((size, 2)) @ np.linalg.cholesky(COVARIANCE).T
    p = ndtr(-0.3 + x @ SLOPES[:2] + (b - CENTRE) @ SLOPES[2:])
    assert abs(p.mean() - probability(design, parameters)[0, 0]) < 4 * p.std() / np.sqrt(size)


# --------------------------------------------------------------------------------- thresholds


@pytest.mark.parametrize("link", ["probit", "logit"])
@pytest.mark.parametrize("threshold", [30.0, 35.0, 50.0, 70.0])
def test_another_threshold_shifts_the_intercept(threshold, link):
    """Percent improvement has SD 27 whatever the law of a patient's own deviation."""
    table = pd.DataFrame([{**ARM, "n": 40, "responders": 17, "threshold": threshold}])
    design = design_of(table, spec=dataclasses.replace(RATES, link=link))
    parameters = zeros(design)
    parameters["intercept"] -= 0.4
    parameters["improvement_sd"] -= 4.0
    rng = np.random.default_rng(6)
    draw = {"probit": rng.normal, "logit": rng.logistic}[link]
    own = 1.0 if link == "probit" else np.pi / np.sqrt(3.0)
    improvement = 50.0 + 27.0 * (draw(-0.4, 1.0, 1_000_000) / own)
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
    return values[-1], parameters


def test_the_wide_design_holds_every_kind_of_row():
    design = wide_design()
    units = design.units
    assert len(design.populations) == 4
    assert 0 < design.n_reported < len(design.cells)
    assert (design.mean_cell < 0).any()
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
    drawn = draw_prior(design, 1, np.random.default_rng(1))
    kept = {name for name in names if not name.endswith("_raw") and "__" not in name}
    assert set(drawn) == kept - {"linear_predictor"}, "no fit keeps what is as long as the data"
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
    parameters = draw_prior(arms, 20, np.random.default_rng(1))
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
    arms, patients = same_people(predictors)
    models = [build(design) for design in (arms, patients)]
    # The sum of all would be one operation on more arrays than NumPy takes.
    functions = [
        model.compile_fn(model.logp(sum=False), inputs=model.value_vars, mode=PLAIN)
        for model in models
    ]
    rng = np.random.default_rng(4)
    points = [random_point(models[0], rng) for _ in range(5)]
    sums = np.array([[sum(np.sum(v) for v in f(point)) for point in points] for f in functions])
    assert np.ptp(sums[0]) > 1.0
    assert sums[0] == pytest.approx(sums[1], abs=1e-9)


# --------------------------------------------------------------------------------------- tails


@pytest.mark.parametrize("linear", [-30.0, -9.0, 0.0, 9.0, 30.0])
def test_both_tails_of_the_graph_keep_their_digits(linear):
    """One of two responds: the logarithm of each tail, also where the other is 1."""
    design = design_of(pd.DataFrame([{**ARM, "n": 2, "responders": 1}]))
    model = build(design)
    (likelihood,) = model.logp(vars=model.observed_RVs, sum=False)
    function = model.compile_fn(
        likelihood, inputs=model.value_vars, mode=PLAIN, on_unused_input="ignore"
    )
    point = {name: 0.0 * value for name, value in model.initial_point().items()}
    ours = function({**point, "intercept": np.array(linear)})[0]
    assert ours == pytest.approx(np.log(2.0) + log_ndtr(linear) + log_ndtr(-linear), rel=1e-12)


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


@pytest.mark.parametrize(
    ("count", "link"), [(1, "probit"), (6, "probit"), (6, "logit"), (30, "probit")]
)
def test_all_slopes_together_explain_a_fifth_of_the_variance(count, link):
    """Prior mean R2 is about 0.2 whatever the number of predictors, deviations included."""
    references = {
        f"x{k}": handmade.predictor(f"x{k}", "binary" if k % 3 == 2 else "continuous")
        for k in range(count)
    }
    design = design_of(
        pd.DataFrame([{**ARM, "n": 40, "responders": 17}]),
        None,
        dataclasses.replace(load_spec("published"), link=link),
        tuple(references),
        references,
    )
    # The whole model, of which one trial tells parts.
    design = dataclasses.replace(design, left_out={})
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
    realised = (explained / (link_variance(link) + explained)).mean()
    assert 0.13 < realised < 0.22
    expected = np.array([6.0, 1.5, 1.25, 1.25]) / 10.0
    near(draws["slope_share"].mean(axis=0), expected, 0.03)


def test_the_prior_of_trial_means_and_rates():
    draws, design = prior_draws(), wide_design()
    near(draws["predictor_location"].std(axis=0), 0.5)
    for k, predictor in enumerate(design.predictors):
        scale = np.log(draws["predictor_between_scale"][:, k])
        assert scale.mean() == pytest.approx(np.log(between_trial_sd(predictor)), abs=0.01)
        near(scale.std(), 0.5)
        own = rate_location(predictor) if predictor.kind == "binary" else 0.0
        for cell in np.flatnonzero(design.cells[:, 1] == k):
            mean = draws["trial_mean"][:, cell]
            spread = np.hypot(0.5, between_trial_sd(predictor) * np.exp(0.5**2))
            assert mean.mean() == pytest.approx(own, abs=0.025 * spread)
            near(mean.std(), spread, 0.05)
            apart = (mean - own - draws["predictor_location"][:, k]) / np.exp(scale)
            assert kstest(apart, norm.cdf).pvalue > 1e-4
    reported = draws["trial_mean"][:, : design.n_reported]
    assert np.array_equal(draws["trial_mean_reported"], reported)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_prior_of_correlations_is_lkj(count):
    """Each correlation is Beta distributed on (-1, 1), each SD log-normal."""
    references = {f"x{k}": handmade.predictor(f"x{k}") for k in range(count)}
    design = design_of(
        pd.DataFrame([{**ARM, "n": 40, "responders": 17}]),
        None,
        load_spec("published"),
        tuple(references),
        references,
    )
    covariance = draw_prior(design, 20_000, np.random.default_rng(2))["predictor_covariance"]
    sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    shape = 2.0 - 1.0 + count / 2.0
    for i in range(count):
        assert kstest(np.log(sd[:, i]) / 0.3, norm.cdf).pvalue > 1e-4
        for j in range(i):
            correlation = covariance[:, i, j] / (sd[:, i] * sd[:, j])
            assert kstest((correlation + 1.0) / 2.0, beta(shape, shape).cdf).pvalue > 1e-4
    # The density is the determinant's: its moment fixes how correlations go together.
    determinant = np.linalg.det(covariance) / sd.prod(axis=1) ** 2
    expected = np.prod(
        [(2.0 + (count - 1 - i) / 2) / (2.0 + (count - 1) / 2) for i in range(1, count)]
    )
    near(determinant.mean(), expected, 0.02)


def test_a_fixed_prior_is_a_constant_in_graph_and_prior():
    zero = Prior("fixed", (0.0,))
    spec = load_spec("published").with_priors(
        trial_scale=zero, arm_scale=Prior("fixed", (0.3,)), across_scale=zero
    )
    arms = pd.DataFrame(
        [{**ARM, "n": 20, "responders": 12}, {**ARM, "arm": "saline", "n": 9, "responders": 1}]
    )
    design = design_of(arms, spec=spec, predictors=("bmi",))
    names = {variable.name for variable in build(design).free_RVs}
    assert not names & {"trial_scale", "trial_effect_raw", "arm_scale", "across_slope_raw"}
    draws = draw_prior(design, 2000, np.random.default_rng(1))
    assert not draws["trial_effect"].any()
    assert (draws["arm_scale"] == 0.3).all()
    assert not draws["across_slope"].any()


def test_prior_predictive_draws_of_the_graph_equal_those_of_numpy():
    """The same distribution from PyMC's own prior sampler, on a small design."""
    arms = pd.DataFrame(
        [
            {**ARM, "n": 20, "responders": 12, "bmi_mean": 30.0},
            {**ARM, "arm": "saline", "n": 20, "responders": 3},
            {**ARM, "arm": "midazolam", "trial": "B", "hours": 72.0, "n": 20, "responders": 3},
            {**ARM, "trial": "C", "n": 20, "responders": 3, "bmi_mean": 30.0},
            {**ARM, "trial": "D", "n": 20, "responders": 3, "bmi_mean": 30.0},
        ]
    )
    names = ("bmi", "family_history_aud", "suicide_attempt_history", "delta_sleep_ratio")
    design = design_of(arms, None, load_spec("published"), names)
    size = 2_000
    ours = draw_model(design, size, np.random.default_rng(3))
    skipped = {"predictor_share", "slope_share"}
    names = [name for name in ours if name not in skipped]
    model = build(design)
    assert {"across_scale", "trial_mean_reported", "binary_log_odds_ratio"} <= set(names)
    # PyTensor would look for a BLAS library that its loop over the LKJ matrix does not need, and
    # warn that there is none. To read the setting, in order to restore it, is to look for it.
    pytensor.config.blas__ldflags = ""
    drawn = pm.draw([model[name] for name in names], draws=size, random_seed=4, mode=PLAIN)
    for name, theirs in zip(names, drawn, strict=True):
        a, b = ours[name].reshape(size, -1), np.asarray(theirs).reshape(size, -1)
        for column in range(a.shape[1]):
            x, y = a[:, column], b[:, column]
            levels = np.quantile(np.concatenate([x, y]), [0.1, 0.5, 0.9])
            for level in levels:
                difference = (x <= level).mean() - (y <= level).mean()
                assert abs(difference) < 4.5 * np.sqrt(0.5 / size), name
