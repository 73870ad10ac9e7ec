"""The compiled kernel equals the PyMC graph: log density, gradient, parameters, draws."""

import dataclasses
import types

import numpy as np
import pandas as pd
import pytest
from pytensor.compile.mode import Mode

import ketpredict as kp
import monte_carlo
from handmade import LINKS
from ketpredict import fitting
from ketpredict.compiled import compile_design
from ketpredict.design import encode
from ketpredict.evidence import load_evidence, make_evidence, select_horizons
from ketpredict.expansion import expand
from ketpredict.fitting import SamplerSettings
from ketpredict.graph import build
from ketpredict.predictors import Predictor, load_predictors
from ketpredict.prior_families import Prior
from ketpredict.resources import models_folder
from ketpredict.spec import Pooling, load_spec
from ketpredict.unit_outcome import unit_probability

REFERENCES = load_predictors()
FIXED = {
    name: Prior("fixed", (value,))
    for name, value in {
        "intercept": 0.2,
        "population_scale": 0.0,
        "trial_scale": 0.3,
        "arm_scale": 0.2,
        "horizon_scale": 0.1,
        "improvement_sd": 31.0,
        "explained_variance": 0.3,
        "active_class_mean": 0.1,
    }.items()
}


def published(model):
    spec = load_spec(model)
    return encode(spec, select_horizons(load_evidence(), spec.horizons), REFERENCES)


def designed(participants, arms, predictors, associations=None, **changes):
    spec = load_spec("published").with_predictors(tuple(predictors))
    spec = dataclasses.replace(spec, **changes)
    evidence = make_evidence(
        participants=participants,
        arms=arms,
        predictors=tuple(predictors),
        associations=associations,
    )
    return encode(spec, select_horizons(evidence, spec.horizons), REFERENCES)


def patients(rng, trials=4, each=9, arms=("ketamine", "saline")):
    """Patients of all predictors, to delete cells from."""
    size = trials * each
    return pd.DataFrame(
        {
            "trial": np.repeat([f"trial {i}" for i in range(trials)], each),
            "population": rng.choice(["unipolar_depression", "bipolar_depression"], size),
            "arm": rng.choice(arms, size),
            "hours": rng.choice([4.0, 24.0, 72.0], size),
            "participant": np.arange(size).astype(str),
            "bmi": rng.normal(28, 6, size),
            "age": rng.normal(43, 12, size),
            "bdnf": rng.lognormal(2.1, 0.5, size),
            "delta_sleep_ratio": rng.lognormal(0, 0.5, size),
            "family_history_aud": rng.integers(0, 2, size).astype(float),
            "suicide_attempt_history": rng.integers(0, 2, size).astype(float),
            "female": rng.integers(0, 2, size).astype(float),
            "response": rng.integers(0, 2, size).astype(float),
        }
    )


EVERY = (
    "bmi",
    "family_history_aud",
    "age",
    "bdnf",
    "suicide_attempt_history",
    "female",
    "delta_sleep_ratio",
)


def published_arms(rng):
    """Arms of four trials: all summaries, some, none, and proportions of 0 and 100 %."""
    nothing = np.nan
    return pd.DataFrame(
        {
            "trial": np.repeat(["arms 1", "arms 2", "arms 3", "arms 4"], 2),
            "population": "ptsd",
            "arm": ["ketamine", "midazolam"] * 4,
            "hours": 24.0,
            "n": [20, 22, 31, 30, 12, 12, 8, 9],
            "n_randomised": [21, 22, nothing, 33, nothing, nothing, 8, 9],
            "responders": [11, 4, 17, 9, 3, 1, 8, 0],
            "design": ["parallel"] * 4 + ["crossover"] * 2 + ["parallel"] * 2,
            "threshold": [50, 50, 30, 30, 50, 50, 50, 50],
            "scale": "CAPS-5",
            "bmi_mean": [27, 29, nothing, 30, nothing, nothing, 31, 26],
            "bmi_sd": [5, 6, nothing, nothing, nothing, nothing, 4, 7],
            "age_mean": [41, 44, 50, nothing, nothing, nothing, nothing, 39],
            "age_sd": [12, nothing, 9, 11, nothing, nothing, nothing, 10],
            "bdnf_mean": [10, 11, nothing, nothing, nothing, nothing, 24, nothing],
            "bdnf_sd": [6, 5, nothing, nothing, nothing, nothing, nothing, nothing],
            "family_history_aud_pct": [40, 30, nothing, 20, nothing, nothing, 0, 100],
            "suicide_attempt_history_pct": [nothing, 35, 10, 60, nothing, nothing, 100, 50],
        }
    )


def deleted(rng, table, share=0.35):
    """Cells deleted here and there, by block, and outcomes; two assays; a crossover patient."""
    for name in EVERY:
        table.loc[rng.random(len(table)) < share, name] = np.nan
    table.loc[table["trial"] == "trial 0", ["bdnf", "family_history_aud"]] = np.nan
    table.loc[table["trial"] == "trial 1", ["delta_sleep_ratio", "age"]] = np.nan
    table.loc[rng.random(len(table)) < 0.2, "response"] = np.nan
    table["assay"] = np.where(table["trial"] == "trial 2", rng.choice(["serum", "plasma"]), None)
    table.loc[table.index[-4:], "assay"] = ["serum", "plasma", "serum", None]
    again = table.iloc[:5].assign(period="2", arm="saline", response=1.0)
    return pd.concat([table, again], ignore_index=True)


def everything(link="probit", across=True):
    """Every kind of row, cell and arm at once."""
    rng = np.random.default_rng(5)
    pooling = dataclasses.replace(load_spec("published").pooling, across_trial_slope=across)
    table = deleted(rng, patients(rng))
    return designed(table, published_arms(rng), EVERY, link=link, pooling=pooling)


def with_missing_cells():
    """Patients and arms with missing cells, many priors fixed, fewer parts of slopes."""
    rng = np.random.default_rng(1)
    spec = load_spec("published").with_priors(**FIXED)
    return designed(
        deleted(rng, patients(rng, arms=("ketamine",))),
        published_arms(rng),
        ("bmi", "family_history_aud", "suicide_attempt_history"),
        priors=spec.priors,
        pooling=Pooling(True, True, False, False, True, True),
    )


def one_predictor():
    table = pd.DataFrame({"age": [30.0, 50, 70, 41], "response": [1, 0, 0, 1]})
    return designed(table, None, ("age",))


def one_unknown_binary():
    rng = np.random.default_rng(2)
    return designed(deleted(rng, patients(rng)), None, ("female",))


def binaries():
    rng = np.random.default_rng(3)
    names = ("female", "family_history_aud", "suicide_attempt_history")
    return designed(deleted(rng, patients(rng)), published_arms(rng), names)


def nothing_missing():
    rng = np.random.default_rng(4)
    return designed(patients(rng), None, EVERY)


def arms_alone():
    return designed(None, published_arms(None), ("bmi", "female"))


def associations():
    """Every kind of published statistic: with a size, with bounds, without a sign, counts."""
    nothing = None
    rows = [
        # cohort, predictor, statistic, estimate, se, p, relation, n, direction, set, counts
        ("a", "bmi", "pearson_r", 0.3, nothing, nothing, "=", 60, "1", nothing, nothing),
        ("a", "bmi", "standardised_beta", 0.2, 0.11, nothing, "=", 50, "1", "age;bdnf", nothing),
        ("b", "age", "t", -1.8, nothing, nothing, "=", 44, "-1", "bmi;female", nothing),
        ("b", "bdnf", "p_only", nothing, nothing, 0.03, "=", 40, "unclear", nothing, nothing),
        ("b", "female", "odds_ratio", 1.8, 0.4, nothing, "=", 90, "1", "age", nothing),
        ("c", "bmi", "risk_ratio", 1.03, 0.02, nothing, "=", 90, "1", nothing, nothing),
        ("c", "age", "counts", nothing, nothing, nothing, "=", 80, "1", nothing, "14/33;30/47"),
        ("c", "family_history_aud", "counts", nothing, nothing, nothing, "=", 70, "1", nothing,
         "19/30;16/40"),
        ("d", "suicide_attempt_history", "direction_only", nothing, nothing, nothing, "=", 50, "0",
         "bmi;family_history_aud", nothing),
        ("d", "delta_sleep_ratio", "direction_only", nothing, nothing, nothing, "=", 33, "-1",
         nothing, nothing),
        ("e", "delta_sleep_ratio", "p_only", nothing, nothing, 0.05, "<", 35, "unclear", nothing,
         nothing),
    ]  # fmt: skip
    names = (
        "cohort", "predictor", "statistic", "estimate", "se", "p_value", "p_relation", "n",
        "direction_for_better_response", "adjusted_set", "counts",
    )  # fmt: skip
    table = pd.DataFrame(rows, columns=names)
    table["hours"] = [24, 72, 24, nothing, 24, 168, 24, 48, 24, 4, 24]
    table["population"] = ["unipolar_depression", "mixed"] * 5 + ["ptsd"]
    mix = "unipolar_depression:0.6;bipolar_depression:0.3"
    table["population_mix"] = [nothing, mix] * 5 + [nothing]
    table["outcome_kind"] = ["improvement", "improvement", "response"] * 3 + ["response"] * 2
    table["contrast"] = ["split" if row == 6 else "continuous" for row in range(11)]
    return table


def with_effects(link="probit", **changes):
    """Published effects of every kind beside patients and arms."""
    rng = np.random.default_rng(6)
    table = patients(rng, trials=2, each=4)
    return designed(table, None, EVERY, associations(), link=link, **changes)


def with_effects_of_fixed_spread(scale, *, population_slope):
    """Spreads known, and for some cohorts none at all."""
    spec = load_spec("published")
    fixed = {
        "effect_scale": Prior("fixed", (scale,)),
        "effect_horizon_scale": Prior("fixed", (0.2,)),
    }
    pooling = dataclasses.replace(
        spec.pooling, population_slope=population_slope, trial_slope=False
    )
    return with_effects(priors={**spec.priors, **fixed}, pooling=pooling)


def weighted():
    """Patients with weights, so that responders and people are no whole numbers."""
    rng = np.random.default_rng(12)
    table = deleted(rng, patients(rng))
    weight = rng.choice([0.0, 0.3, 1.0, 2.5], len(table))
    return designed(table.assign(sample_weight=weight), None, EVERY)


def categories():
    """Columns of labels, missing here and there, beside a yes/no predictor and a continuous one."""
    rng = np.random.default_rng(13)
    table = patients(rng)[["trial", "population", "participant", "bmi", "female", "response"]]
    stage = rng.choice(["I", "II", "III"], len(table))
    missing = rng.random(len(table)) < 0.3
    for level in ("II", "III"):
        table[f"stage={level}"] = np.where(missing, np.nan, (stage == level).astype(float))
    table.loc[rng.random(len(table)) < 0.3, ["female", "bmi"]] = np.nan
    names = ("bmi", "stage=II", "female", "stage=III")
    own = {
        name: dataclasses.replace(
            Predictor.from_column(name, table[name]), category="stage", level=name[6:]
        )
        for name in names
        if name.startswith("stage")
    }
    spec = load_spec("published").with_predictors(names)
    references = {**REFERENCES, **own}
    evidence = make_evidence(participants=table, predictors=names, references=references)
    return encode(spec, select_horizons(evidence, spec.horizons), references)


def reduced(kind):
    """Data that do not tell parts of the model apart."""
    rng = np.random.default_rng(14)
    arms = {"active": ("ketamine",), "control": ("saline",)}.get(kind, ("ketamine", "saline"))
    table = patients(rng, trials=3, each=6, arms=arms)
    names = ("bmi", "female")
    if kind in ("one population", "one trial", "active"):
        table["population"] = "unipolar_depression"
    if kind == "one trial":
        table["trial"] = "only"
    if kind == "apart":
        table["arm"] = np.where(table["trial"] == "trial 1", "saline", "ketamine")
    effects = None
    if kind == "active":
        effects = associations()[lambda rows: rows["predictor"] == "bmi"]
        effects = effects[effects["adjusted_set"].isna()].assign(
            population="unipolar_depression", population_mix=None
        )
    return designed(table, None, names, effects)


MODELS = sorted(path.stem for path in models_folder().glob("*.toml"))
DESIGNS = {
    **{name: (lambda name=name: published(name)) for name in MODELS},
    "everything": everything,
    "weights": weighted,
    "categories": categories,
    "everything, logit": lambda: everything("logit", across=False),
    "missing cells": with_missing_cells,
    "one predictor": one_predictor,
    "one unknown binary": one_unknown_binary,
    "binaries": binaries,
    "nothing missing": nothing_missing,
    "arms alone": arms_alone,
    "one population": lambda: reduced("one population"),
    "control arms": lambda: reduced("control"),
    "active arms, published effects": lambda: reduced("active"),
    "published effects": with_effects,
    "published effects, logit": lambda: with_effects("logit"),
    "published effects of fixed spread": lambda: with_effects_of_fixed_spread(
        0.1, population_slope=False
    ),
    "published effects without spread": lambda: with_effects_of_fixed_spread(
        0.0, population_slope=True
    ),
}


def points_of(design, layout, count):
    """Return random points near the middle of the prior, where probabilities are not 0 or 1."""
    rng = np.random.default_rng(3)
    points = 0.4 * rng.normal(size=(count, layout.n_dimensions))
    if "improvement_sd" in layout.start:
        first = layout.start["improvement_sd"]
        points[:, first : first + layout.size["improvement_sd"]] += np.log(31.0)
    return points


@pytest.mark.parametrize("name", DESIGNS)
def test_density_gradient_and_parameters_equal_those_of_the_graph(name):
    design = DESIGNS[name]()
    model, compiled = build(design), compile_design(design)
    layout = compiled.model.layout
    start, terms = model.initial_point(), model.logp(sum=False)
    named = [v.name for v in model.deterministics] + [
        v.name for v in model.free_RVs if not v.name.endswith("_raw")
    ]
    together = model.compile_fn(
        [
            model.dlogp(),
            *terms,
            *model.replace_rvs_by_values([model[variable] for variable in named]),
        ],
        inputs=model.value_vars,
        # Few points are evaluated: Python loops are ready long before compiled ones.
        mode=Mode(linker="py", optimizer="fast_compile"),
    )
    assert sum(np.size(value) for value in start.values()) == layout.n_dimensions
    for point in points_of(design, layout, 5):
        split, place = {}, 0
        for variable, value in start.items():
            size = np.size(value)
            split[variable] = point[place : place + size].reshape(np.shape(value))
            place += size
        gradient, *values = together(split)
        density = sum(np.sum(values.pop(0)) for _ in terms)
        own, own_gradient = compiled.log_density(point)
        # PyMC rounds the constants of Beta and half-normal priors to single precision.
        assert own == pytest.approx(float(density), rel=1e-8, abs=5e-7)
        largest = max(1.0, np.abs(gradient).max())
        assert np.abs(own_gradient - gradient).max() <= 1e-8 * largest
        parameters = expand(design, layout, point)
        found = dict(zip(named, values, strict=True))
        # The graph alone has a linear predictor: of probabilities that NumPy works out by itself.
        response = LINKS[design.spec.link](np.asarray(found.pop("linear_predictor")))
        alone = {name: value[None] for name, value in parameters.items()}
        assert unit_probability(alone, design)[0] == pytest.approx(response, abs=1e-10)
        for variable, value in found.items():
            assert parameters[variable] == pytest.approx(np.asarray(value), abs=1e-12), variable


def test_the_gradient_is_the_slope_of_the_density():
    """Central differences, so that graph and kernel cannot share an error."""
    design = everything()
    compiled = compile_design(design)
    (point,) = points_of(design, compiled.model.layout, 1)
    _, gradient = compiled.log_density(point)
    step = 1e-5
    for i in range(len(point)):
        moved = np.array([point, point])
        moved[:, i] += [step, -step]
        above, below = (compiled.log_density(p)[0] for p in moved)
        assert gradient[i] == pytest.approx((above - below) / (2 * step), abs=2e-5)


def settings(**changes):
    return SamplerSettings(**{"draws": 1000, "tune": 1000, "chains": 2, "seed": 4, **changes})


@pytest.mark.draws
def test_the_same_seed_gives_the_same_draws():
    design = one_predictor()
    first, second, other = (fitting._draw(design, settings(seed=s)) for s in (4, 4, 5))
    values = [tree["posterior"]["intercept"].to_numpy() for tree in (first, second, other)]
    assert np.array_equal(values[0], values[1])
    assert not np.array_equal(values[0], values[2])
    assert first["posterior"]["slope"].dims == ("chain", "draw", "predictor")


@pytest.mark.draws
def test_a_strange_nutpie_leaves_the_road_of_the_graph(monkeypatch):
    design = one_predictor()
    fast = fitting._draw(design, settings())

    monkeypatch.setattr("ketpredict.compiled._lib", types.SimpleNamespace())
    with pytest.warns(kp.KetpredictWarning, match=r"likelihood cannot be used .*'PyVariable'"):
        slow = fitting._draw(design, settings())
    # Both roads lead to one posterior.
    for name in ("intercept", "slope", "explained_variance"):
        one, two = (tree["posterior"][name].to_numpy() for tree in (fast, slow))
        error = np.hypot(monte_carlo.of_mean(one), monte_carlo.of_mean(two))
        monte_carlo.agrees(one.mean(axis=(0, 1)), two.mean(axis=(0, 1)), error)
