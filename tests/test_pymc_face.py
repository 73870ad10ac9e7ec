"""PyMC's and ArviZ's functions on ``posterior_`` and ``model_``: what they return is right."""

from __future__ import annotations

import logging
import re
import time
import warnings
from pathlib import Path

import arviz_plots
import numpy as np
import pymc as pm
import pytensor
import pytest
import xarray as xr
from pymc.stats import compute_log_likelihood, compute_log_prior
from scipy import stats

import ketpredict as kp
from handmade import LINKS
from ketpredict.errors import ConvergenceWarning
from ketpredict.graph import build
from ketpredict.parameter_dims import coordinates, parameter_dims
from ketpredict.parts import SCALE_OF
from ketpredict.posterior import Posterior, load_posterior
from ketpredict.prior import draw_prior
from ketpredict.prior_families import Prior
from ketpredict.sampled_variables import with_sampled_variables
from ketpredict.stored_design import DESIGN_DIMS, design_arrays, design_of
from ketpredict.unit_outcome import unit_probability
from test_kernel import DESIGNS, designed, patients, published_arms

FAST = {"mode": "FAST_COMPILE"}
MOST_ERRORS = 6.0
"""Standard errors of a Monte Carlo comparison: of some hundreds, none lies so far out by chance."""

# What PyMC says of every model with potentials.
pytestmark = pytest.mark.filterwarnings("ignore:The effect of Potentials")


@pytest.fixture(scope="module")
def shipped():
    return kp.load("published")


def thinned(tree, step):
    """Return every so many draws of a DataTree."""
    datasets = {name: tree[name].to_dataset() for name in tree.children}
    return xr.DataTree.from_dict(
        {
            name: data.isel(draw=slice(None, None, step)) if "draw" in data.dims else data
            for name, data in datasets.items()
        }
    )


def prior_as_fit(design, draws=4):
    """Return a fit whose draws are the prior's: a posterior's variables of every kind of design."""
    values = draw_prior(design, draws, np.random.default_rng(5))
    return Posterior(
        groups={
            "posterior": {name: value[None] for name, value in values.items()},
            "constant_data": design_arrays(design),
        },
        dims={**DESIGN_DIMS, **parameter_dims(design)[0]},
        coords=coordinates(design),
        spec=design.spec,
        predictors=design.predictors,
        trial_values=design.trial_values,
        facts={
            "arm_class": list(design.arm_class),
            "repeated_arm": list(design.repeated_arm),
            "left_out": dict(design.left_out),
            "effects": [],
            "diagnostics": {"problems": []},
            "estimator": {},
        },
    )


def without_scales():
    """Return a design of patients and arms in which some scales are exactly 0."""
    rng = np.random.default_rng(1)
    spec = kp.load_spec("published")
    zero = dict.fromkeys(
        ("arm_scale", "horizon_scale", "trial_scale", "across_scale"), Prior("fixed", (0.0,))
    )
    priors = {**spec.priors, **zero, "active_class_mean": Prior("fixed", (0.1,))}
    return designed(patients(rng), published_arms(rng), ("bmi", "age"), priors=priors)


KINDS = {
    **{
        name: DESIGNS[name]
        for name in (
            "everything",
            "everything, logit",
            "weights",
            "one predictor",
            "arms alone",
            "published effects without spread",
            "published effects, logit",
        )
    },
    "scales of 0": without_scales,
}


def assert_pymc_finds_the_same(fit, model, tolerance):
    """PyMC samples nothing anew, finds all named variables, and NumPy's probabilities."""
    tree = with_sampled_variables(fit).to_datatree()
    kept = tree["posterior"].to_dataset()
    assert {variable.name for variable in model.free_RVs} <= set(kept.data_vars)
    found = pm.compute_deterministics(tree, model=model, progressbar=False)
    # What the model leaves out is constant in it, and the prior's draws in the fit.
    untold = {SCALE_OF[part] for part in fit.left_out if part in SCALE_OF}
    for name, values in found.data_vars.items():
        if name != "linear_predictor" and name not in untold:
            shape = kept[name].dims
            np.testing.assert_allclose(
                values.transpose(*shape), kept[name], atol=tolerance, err_msg=name
            )
    linear = found["linear_predictor"].to_numpy().reshape(fit.n_draws, -1)
    expected = unit_probability(fit.parameters, design_of(fit))
    np.testing.assert_allclose(LINKS[fit.spec.link](linear), expected, atol=1e-8)


@pytest.mark.parametrize("name", KINDS)
def test_pymc_finds_every_variable_of_every_kind_of_fit(name):
    design = KINDS[name]()
    assert_pymc_finds_the_same(prior_as_fit(design), build(design), 1e-10)


@pytest.mark.parametrize("kind", ["shipped", "fresh", "loaded", "updated"])
def test_pymc_samples_the_responders_alone(kind, shipped, published_fit, tmp_path, caplog):
    """Replicates of shipped, fresh, loaded and updated fits are conditional on all their draws."""
    if kind == "loaded":
        fit = load_posterior(published_fit.save(tmp_path / "fit.nc"))
    elif kind == "updated":
        site = {
            "trial": ["our site"] * 2,
            "population": ["unipolar_depression"] * 2,
            "arm": ["ketamine", "saline"],
            "hours": [24.0] * 2,
            "n": [14, 12],
            "responders": [7, 2],
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit = shipped.update(site).fit_
    else:
        fit = {"shipped": shipped, "fresh": published_fit}[kind].fit_
    groups = {
        name: {n: v[:, ::50] for n, v in fit.groups["posterior"].items()} for name in ("posterior",)
    }
    few = kp.KetamineResponseClassifier.from_posterior(
        Posterior(**{**vars_of(fit), "groups": {**fit.groups, **groups}})
    )
    model = few.model_
    # The draws that ship are rounded to 20 bits, sums and scales of them each by itself.
    assert_pymc_finds_the_same(few.fit_, model, 1e-12 if kind in ("fresh", "loaded") else 4e-5)
    with caplog.at_level(logging.INFO, "pymc"):
        drawn = pm.sample_posterior_predictive(
            few.posterior_, model=model, progressbar=False, random_seed=1
        )
    assert caplog.messages == ["Sampling: [responders]"]
    units = len(few.posterior_["observed_data"]["responders"])
    assert drawn["posterior_predictive"]["responders"].shape[2:] == (units,)


def vars_of(fit):
    """Return the fields of a posterior."""
    return {name: getattr(fit, name) for name in Posterior.__dataclass_fields__}


def test_replicates_are_those_of_the_posterior(shipped):
    """Mean and SD of each unit's replicates: given its 500 probabilities both are known."""
    design, tree = design_of(shipped.fit_), thinned(shipped.posterior_, 4)
    drawn = pm.sample_posterior_predictive(
        tree, model=shipped.model_, progressbar=False, random_seed=1
    )
    n, p = design.units.n, unit_probability(shipped.fit_.parameters, design)
    p = p.reshape(4, -1, len(n))[:, ::4].reshape(-1, len(n))
    mean, variance = n * p, n * p * (1.0 - p)
    # Per draw, of the count and of its square: expected value and Monte Carlo variance.
    fourth = variance * (1.0 + 3.0 * (n - 2.0) * p * (1.0 - p))
    third = variance * (1.0 - 2.0 * p)
    of_square = fourth + 4.0 * mean * third + 4.0 * mean**2 * variance - variance**2
    for source in (drawn, tree):
        count = source["posterior_predictive"]["responders"].to_numpy().reshape(p.shape)
        error = np.sqrt(variance.sum(axis=0))
        assert np.abs((count - mean).sum(axis=0) / error).max() < MOST_ERRORS
        error = np.sqrt(of_square.sum(axis=0))
        square = (count.astype(float) ** 2 - mean**2 - variance).sum(axis=0)
        assert np.abs(square / error).max() < MOST_ERRORS
    assert arviz_plots.plot_ppc_rootogram(drawn) is not None


def test_log_likelihood_and_log_prior_are_those_of_the_distributions(shipped):
    tree, model = thinned(shipped.posterior_, 100), shipped.model_
    design, priors = design_of(shipped.fit_), shipped.fit_.spec.priors
    del tree["log_likelihood"]
    compute_log_likelihood(tree, model=model, progressbar=False, compile_kwargs=FAST)
    keep = np.arange(shipped.fit_.n_draws).reshape(4, -1)[:, ::100].ravel()
    p = unit_probability(shipped.fit_.parameters, design)[keep]
    expected = stats.binom.logpmf(design.units.responders, design.units.n, p)
    found = tree["log_likelihood"]["responders"].to_numpy().reshape(len(keep), -1)
    np.testing.assert_allclose(found, expected, rtol=1e-9)

    compute_log_prior(tree, model=model, progressbar=False, compile_kwargs=FAST)
    found, draws = tree["log_prior"], tree["posterior"]
    assert set(found.data_vars) == {variable.name for variable in model.free_RVs}
    normal = stats.norm(*priors["intercept"].values)
    np.testing.assert_allclose(found["intercept"], normal.logpdf(draws["intercept"]), rtol=1e-9)
    # PyMC works out the constants of some families in single precision.
    for name in ("trial_scale", "population_scale", "arm_scale", "effect_horizon_scale"):
        half = stats.halfnorm(scale=priors[name].values[0])
        np.testing.assert_allclose(found[name], half.logpdf(draws[name]), atol=1e-6)
    for name in (n for n in found.data_vars if n.endswith("_raw")):
        np.testing.assert_allclose(found[name], stats.norm.logpdf(draws[name]), rtol=1e-9)
    beta = stats.beta(*priors["explained_variance"].values)
    np.testing.assert_allclose(
        found["explained_variance"], beta.logpdf(draws["explained_variance"]), atol=1e-6
    )


def test_prior_draws_are_ready_without_a_minute_of_compiling(shipped):
    """Processor time, numba's cache off: compiling alone would take some forty seconds."""
    model = shipped.model_
    with pytensor.config.change_flags(numba__cache=False):
        start = time.process_time()
        drawn = pm.sample_prior_predictive(400, model=model, random_seed=1)
        assert time.process_time() - start < 20.0
    prior = drawn["prior"]
    assert prior["linear_predictor"].dims == ("chain", "draw", "unit")
    # Each correlation of LKJ(eta) in n dimensions is a Beta variable on -1 to 1.
    (eta,) = shipped.fit_.spec.priors["predictor_correlation"].values
    covariance = prior["predictor_covariance"].to_numpy()[0]
    size = covariance.shape[-1]
    sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    shape = eta - 1.0 + 0.5 * size
    middle, spread = shipped.fit_.spec.priors["predictor_sd"].values
    for i in range(size):
        assert stats.kstest((np.log(sd[:, i]) - middle) / spread, "norm").pvalue > 1e-6
        for j in range(i):
            half = 0.5 + 0.5 * covariance[:, i, j] / (sd[:, i] * sd[:, j])
            assert stats.kstest(half, stats.beta(shape, shape).cdf).pvalue > 1e-6
    # Responders of each draw, from its linear predictor.
    design = design_of(shipped.fit_)
    p = LINKS["probit"](prior["linear_predictor"].to_numpy()[0])
    count = drawn["prior_predictive"]["responders"].to_numpy()[0]
    error = np.sqrt((design.units.n * p * (1.0 - p)).sum(axis=0))
    assert np.abs((count - design.units.n * p).sum(axis=0) / error).max() < MOST_ERRORS


@pytest.mark.filterwarnings("ignore:Intervention expression references the variable")
def test_the_documented_extension_adds_its_density(monkeypatch):
    """The page's code: a likelihood, and a term added to the linear predictor."""
    page = (Path(__file__).resolve().parents[1] / "docs" / "pymc.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    extension, sampling, inside = blocks[1:]
    names: dict[str, object] = {}
    exec(extension, names)  # noqa: S102
    sampled = []
    monkeypatch.setattr(pm, "sample", lambda *_, **options: sampled.append(options))
    exec(sampling, names)  # noqa: S102
    assert set(sampled[0]["var_names"]) <= set(names["model"].named_vars)
    model, plain = names["model"], names["clf"].model_
    point = {**plain.initial_point(), "further_log__": np.log(0.7)}
    linear = model["linear_predictor"]

    def evaluate(own, outputs):
        function = own.compile_fn(
            outputs, inputs=own.value_vars, mode="FAST_COMPILE", on_unused_input="ignore"
        )
        return function({v.name: point[v.name] for v in own.value_vars})

    (line,) = evaluate(model, model.replace_rvs_by_values([linear]))
    p = stats.norm.cdf(line[names["arms"]] - 0.7)
    further = stats.binom.logpmf(names["remitters"], names["n"], p).sum()
    further += stats.halfnorm.logpdf(0.7) + np.log(0.7)
    whole, before = (
        sum(np.sum(term) for term in evaluate(own, own.logp(sum=False))) for own in (model, plain)
    )
    # PyMC takes the root of two in its invprobit in single precision.
    assert whole - before == pytest.approx(further, abs=1e-6)

    exec(inside, names)  # noqa: S102
    moved, point = names["moved"], {**point, "shift": np.array(0.4)}
    assert 0 < names["is_open"].sum() < len(line)
    (found,) = evaluate(moved, moved.logp(vars=moved["responders"], sum=False))
    units = design_of(names["clf"].fit_).units
    p = stats.norm.cdf(line + 0.4 * names["is_open"])
    np.testing.assert_allclose(found, stats.binom.logpmf(units.responders, units.n, p), rtol=1e-8)


def test_a_fit_without_its_data_is_left_as_it_is(shipped):
    fit = shipped.fit_
    bare = Posterior(**{**vars_of(fit), "groups": {"posterior": fit.groups["posterior"]}})
    assert with_sampled_variables(bare) is bare
