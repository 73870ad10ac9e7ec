"""The compiled kernel equals the PyMC graph: log density, gradient, parameters, draws."""

import numpy as np
import pandas as pd
import pytest

import ketpredict as kp
from ketpredict import fitting, kernel
from ketpredict.design import encode
from ketpredict.diagnostics import diagnose
from ketpredict.evidence import load_evidence, make_evidence, select_horizons
from ketpredict.fitting import SamplerSettings
from ketpredict.graph import build
from ketpredict.layout import expand, lay_out
from ketpredict.predictors import load_predictors
from ketpredict.resources import models_folder
from ketpredict.spec import Pooling, Prior, load_spec

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


def with_missing_cells():
    """Patients with missing cells of both kinds, arms with summaries, one predictor fewer parts."""
    simulation = kp.simulate(
        trials=5,
        patients=6,
        published_trials=2,
        predictors=("bmi", "family_history_aud", "suicide_attempt_history"),
        missing=0.4,
        random_state=1,
    )
    participants = simulation.participants
    first = participants["trial"] == participants["trial"].iloc[0]
    participants.loc[first, ["bmi", "suicide_attempt_history"]] = np.nan
    pooling = Pooling(True, True, False, False, True)
    spec = load_spec("published").with_predictors(simulation.labels["predictor"])
    spec = spec.with_priors(**FIXED)
    object.__setattr__(spec, "pooling", pooling)
    evidence = make_evidence(participants=participants, arms=simulation.arms)
    return encode(spec, select_horizons(evidence, spec.horizons), REFERENCES)


def one_predictor():
    table = pd.DataFrame({"age": [30.0, 50, 70, 41], "response": [1, 0, 0, 1]})
    spec = load_spec("published").with_predictors(("age",))
    evidence = make_evidence(participants=table, predictors=("age",))
    return encode(spec, select_horizons(evidence, spec.horizons), REFERENCES)


MODELS = sorted(path.stem for path in models_folder().glob("*.toml"))
DESIGNS = {
    **{name: (lambda name=name: published(name)) for name in MODELS},
    "missing cells": with_missing_cells,
    "one predictor": one_predictor,
}


def points_of(design, layout, count):
    """Return random points near the middle of the prior, where probabilities are not 0 or 1."""
    rng = np.random.default_rng(3)
    points = 0.5 * rng.normal(size=(count, layout.n_dimensions))
    if "improvement_sd" in layout.start:
        first = layout.start["improvement_sd"]
        points[:, first : first + layout.size["improvement_sd"]] += np.log(31.0)
    return points


@pytest.mark.parametrize("name", DESIGNS)
def test_density_gradient_and_parameters_equal_those_of_the_graph(name):
    design = DESIGNS[name]()
    model, layout = build(design), lay_out(design)
    start = model.initial_point()
    named = [v.name for v in model.deterministics] + [
        v.name for v in model.free_RVs if not v.name.endswith("_raw")
    ]
    together = model.compile_fn(
        [
            model.logp(),
            model.dlogp(),
            *model.replace_rvs_by_values([model[variable] for variable in named]),
        ],
        inputs=model.value_vars,
    )
    assert sum(np.size(value) for value in start.values()) == layout.n_dimensions
    for point in points_of(design, layout, 5):
        split, place = {}, 0
        for variable, value in start.items():
            size = np.size(value)
            split[variable] = point[place : place + size].reshape(np.shape(value))
            place += size
        density, gradient, *values = together(split)
        own_gradient = np.empty_like(point)
        own = kernel.log_density(point, own_gradient, layout.numbers)
        assert own == pytest.approx(float(density), rel=1e-8)
        largest = max(1.0, np.abs(gradient).max())
        assert np.abs(own_gradient - gradient).max() <= 1e-8 * largest
        parameters = expand(design, layout, point)
        for variable, value in zip(named, values, strict=True):
            assert parameters[variable] == pytest.approx(np.asarray(value), abs=1e-12), variable


def test_the_gradient_is_the_slope_of_the_density():
    """Central differences, so that graph and kernel cannot share an error."""
    design = with_missing_cells()
    layout = lay_out(design)
    (point,) = points_of(design, layout, 1)
    gradient, unused = np.empty_like(point), np.empty_like(point)
    kernel.log_density(point, gradient, layout.numbers)
    step = 1e-5
    for i in range(len(point)):
        moved = np.array([point, point])
        moved[:, i] += [step, -step]
        above, below = (kernel.log_density(p, unused, layout.numbers) for p in moved)
        assert gradient[i] == pytest.approx((above - below) / (2 * step), abs=2e-5)


def settings(**changes):
    return SamplerSettings(**{"draws": 1000, "tune": 1000, "chains": 2, "seed": 4, **changes})


def test_the_same_seed_gives_the_same_draws():
    design = one_predictor()
    first, second, other = (fitting._draw(design, settings(seed=s)) for s in (4, 4, 5))
    values = [tree["posterior"]["intercept"].to_numpy() for tree in (first, second, other)]
    assert np.array_equal(values[0], values[1])
    assert not np.array_equal(values[0], values[2])
    assert first["posterior"]["slope"].dims == ("chain", "draw", "predictor")


def test_a_strange_nutpie_leaves_the_road_of_the_graph(monkeypatch):
    design = one_predictor()
    fast = fitting._draw(design, settings())

    def strange(_design):
        raise AttributeError("module 'nutpie._lib' has no attribute 'LogpFunc'")

    monkeypatch.setattr("ketpredict.compiled.compile_design", strange)
    with pytest.warns(kp.KetpredictWarning, match=r"compiled likelihood cannot be used .*LogpFunc"):
        slow = fitting._draw(design, settings())
    # Both roads lead to one posterior: means agree within five Monte Carlo standard errors.
    for name in ("intercept", "slope", "explained_variance"):
        one, two = (tree["posterior"][name].to_numpy().ravel() for tree in (fast, slow))
        size = min(diagnose(fast).ess_bulk, diagnose(slow).ess_bulk)
        error = np.hypot(one.std(), two.std()) / np.sqrt(size)
        assert abs(one.mean() - two.mean()) < 5 * error, name
