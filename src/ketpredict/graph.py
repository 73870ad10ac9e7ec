r"""The PyMC model of a design: the reference that every other path must equal.

Priors (see ``docs/model.md`` for sources; all numbers stand in the model file)
    Intercepts of populations and trials are crossed normals. Arms: ketamine is the reference with
    effect 0; every other arm is its class mean plus a deviation within the class; active and
    control arms of a trial move apart by a trial deviation coded :math:`\pm 1/2`. Horizon offsets
    are a random walk in log time, 0 at the reference, one curve for active and one for control
    arms. Slopes share the variance they explain together: :math:`R^2 \sim \text{Beta}`,
    :math:`W = R^2/(1-R^2)`, and part :math:`j` of predictor :math:`k` is
    :math:`N(0, W \varphi_k w_j / v_k)` with :math:`\varphi, w` Dirichlet and :math:`v_k` the
    predictor's reference variance.

Likelihood
    Responses, :math:`r_u \sim \text{Binomial}(n_u, P_u)` (:mod:`ketpredict.graph_response`), and
    what patients and arms say of their predictors (:mod:`ketpredict.graph_evidence`), both from
    one joint law of the predictors (:mod:`ketpredict.graph_predictors`). Missing predictors are
    averaged over exactly, never sampled. Published predictor effects
    (:mod:`ketpredict.graph_effects`) are the potential ``effects``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.dist_math import binomln

from ketpredict.design import Design
from ketpredict.graph_effects import add_effects
from ketpredict.graph_evidence import arms_log_density, people_log_density
from ketpredict.graph_model import ResponseModel
from ketpredict.graph_predictors import add_predictor_law, describe_arms, weigh_patterns
from ketpredict.graph_response import response_tails, unit_linear_predictor
from ketpredict.graph_rows import SharedRows, share_rows
from ketpredict.link import variance as link_variance
from ketpredict.marginal import reference_variance
from ketpredict.parameter_dims import class_names, coordinates
from ketpredict.parts import slope_concentration
from ketpredict.prior_families import Prior
from ketpredict.spec import CURVES


def build(design: Design) -> pm.Model:
    """Return the PyMC model of a design.

    Every variable has named dimensions, so that ``posterior["slope"].sel(predictor="bmi")`` works.
    The observed variable is ``responders`` with dimension ``unit``; what the data say of the
    predictors is the potential ``predictors``. ``linear_predictor`` is what the link takes for the
    probability of each unit (Phi, or the logistic function), whatever is averaged over in it, and
    the responders depend on it alone: what is added to it by ``pm.do`` moves them.
    """
    shared = share_rows(design)
    with ResponseModel(coords=coordinates(design)) as model:
        parameters = {**_intercepts(design), **_arms(design), **_study_and_time(design)}
        parameters |= _slopes(design)
        if design.predictors:
            linear = _with_predictors(design, parameters, shared)
        else:
            linear = unit_linear_predictor(design, parameters, shared, None, None, None)
        linear = pm.Deterministic("linear_predictor", linear, dims="unit")
        success, failure = response_tails(design.spec.link, linear)
        n, responders = design.units.n, design.units.responders
        whole = np.array_equal(n, np.round(n))
        # What has weights is no count: PyMC would round it, and cannot draw it again.
        kind: dict[str, Any] = {"dist": _binomial_draw} if whole else {"dtype": "float64"}
        pm.CustomDist(
            "responders",
            n.astype(int) if whole else n,
            success,
            failure,
            logp=_binomial_log_density,
            class_name="Binomial",
            observed=responders,
            dims="unit",
            **kind,
        )
    return model


def _with_predictors(design: Design, parameters: dict[str, Any], shared: SharedRows) -> Any:
    """Add the law of the predictors and what the data say of it; return the linear predictor."""
    parameters["across_slope"] = _across(design)
    law = add_predictor_law(design, shared)
    patterns = weigh_patterns(design, law, shared)
    said = people_log_density(design, law, shared, patterns)
    arm_law = None
    if len(shared.arms):
        arm_law = describe_arms(design, law, shared, patterns.arm)
        said = said + arms_log_density(design, law, shared, arm_law)
    pm.Potential("predictors", said)
    if len(design.effects):
        add_effects(design, parameters, law)
    line_weight = pt.concatenate([patterns.mixture, patterns.arm])
    return unit_linear_predictor(design, parameters, shared, law, arm_law, line_weight)


def _binomial_draw(n: Any, success: Any, failure: Any, size: Any) -> Any:
    return pm.Binomial.dist(n=n, p=success, size=size)


def _binomial_log_density(value: Any, n: Any, success: Any, failure: Any) -> Any:
    """Return the binomial log density from both tails.

    A probability near 1 has no digits left for its complement, so PyMC's own would lose them.
    """
    return binomln(n, value) + value * pt.log(success) + (n - value) * pt.log(failure)


def _scalar(name: str, prior: Prior) -> Any:
    """Return a scalar random variable, or the constant that a fixed prior stands for."""
    if prior.kind == "fixed":
        return pm.Deterministic(name, pt.as_tensor_variable(np.float64(prior.values[0])))
    family = {
        "normal": pm.Normal,
        "half_normal": pm.HalfNormal,
        "log_normal": pm.LogNormal,
        "beta": pm.Beta,
    }[prior.kind]
    return family(name, *prior.values)


def _grouped(name: str, scale: Any, dims: str, size: int, present: bool) -> Any:
    """Return non-centred normal deviations, or zeros where the model does not have them."""
    if not present or size == 0:
        return pm.Deterministic(name, pt.zeros(size), dims=dims)
    raw = pm.Normal(f"{name}_raw", dims=dims)
    return pm.Deterministic(name, scale * raw, dims=dims)


def _group(spec_prior: Prior, name: str, dims: str, size: int, present: bool, scale: str) -> Any:
    """Return the deviations of one grouping, with the scale's own random variable."""
    present = present and not (spec_prior.kind == "fixed" and spec_prior.values[0] == 0)
    prior = spec_prior if present else Prior("fixed", (0.0,))
    return _grouped(name, _scalar(scale, prior), dims, size, present)


def _intercepts(design: Design) -> dict[str, Any]:
    priors = design.spec.priors
    trials = len(design.trials)
    return {
        "intercept": _scalar("intercept", priors["intercept"]),
        "population_effect": _group(
            priors["population_scale"],
            "population_effect",
            "population",
            len(design.populations),
            design.has("population_intercept"),
            "population_scale",
        ),
        "trial_effect": _group(
            priors["trial_scale"],
            "trial_effect",
            "trial",
            trials,
            design.has("trial_intercept"),
            "trial_scale",
        ),
        "treatment_deviation": _group(
            priors["treatment_scale"],
            "treatment_deviation",
            "trial",
            trials,
            design.has("trial_treatment"),
            "treatment_scale",
        ),
    }


def _arms(design: Design) -> dict[str, Any]:
    """Return the arm effects: class mean plus a deviation within the class; the first is 0."""
    priors, classes = design.spec.priors, class_names(design)
    scale = _scalar("arm_scale", priors["arm_scale"])
    others = list(range(1, len(design.arms)))
    if not others:
        return {"arm_effect": pm.Deterministic("arm_effect", pt.zeros(1), dims="arm")}
    kinds = [
        priors["active_class_mean" if name == "active" else "control_class_mean"]
        for name in classes
    ]
    location = np.array([prior.values[0] for prior in kinds])
    spread = np.array([0.0 if p.kind == "fixed" else p.values[1] for p in kinds])
    raw_mean = pm.Normal("arm_class_mean_raw", dims="arm_class")
    mean = pm.Deterministic("arm_class_mean", location + spread * raw_mean, dims="arm_class")
    class_idx = np.array([classes.index(design.arm_class[i]) for i in others])
    raw = pm.Normal("arm_effect_raw", dims="other_arm")
    effect = mean[class_idx] + scale * raw
    placed = pt.set_subtensor(pt.zeros(len(design.arms))[np.array(others)], effect)
    return {"arm_effect": pm.Deterministic("arm_effect", placed, dims="arm")}


def _study_and_time(design: Design) -> dict[str, Any]:
    """Return study-level terms, horizon offsets and the spread of percent improvement."""
    priors, horizons = design.spec.priors, design.spec.horizons
    location, spread = priors["study_term"].values
    study = pm.Normal("study_term_effect", location, spread, dims="study_term")
    scale = _scalar("horizon_scale", priors["horizon_scale"])
    steps = np.diff(np.log(np.asarray(horizons.knots)))
    raw = pm.Normal("horizon_offset_raw", dims=("curve", "step"))
    walk = pt.cumsum(scale * np.sqrt(steps) * raw, axis=1)
    path = pt.concatenate([pt.zeros((len(CURVES), 1)), walk], axis=1)
    reference = horizons.knots.index(horizons.reference)
    offset = path - path[:, reference][:, None]
    parameters = {
        "study_term_effect": study,
        "horizon_offset": pm.Deterministic("horizon_offset", offset, dims=("curve", "knot")),
    }
    prior = priors["improvement_sd"]
    if prior.kind == "fixed":
        constant = pt.full((len(design.scales),), prior.values[0])
        spread_of_scores = pm.Deterministic("improvement_sd", constant, dims="scale")
    else:
        spread_of_scores = pm.LogNormal("improvement_sd", *prior.values, dims="scale")
    parameters["improvement_sd"] = spread_of_scores
    return parameters


def _slopes(design: Design) -> dict[str, Any]:
    """Return every part of the slopes; the parts share one budget of explained variance."""
    n_predictors, parts = len(design.predictors), design.slope_parts
    shape = {
        "prognostic": ("predictor",),
        "predictive": ("predictor",),
        "population": ("population", "predictor"),
        "trial": ("trial", "predictor"),
    }
    sizes = {"population": len(design.populations), "trial": len(design.trials)}
    slopes: dict[str, Any] = {}
    scale = _slope_scales(design) if n_predictors else None
    for part, dims in shape.items():
        name = f"{part}_slope"
        if scale is None or part not in parts:
            size = tuple(sizes.get(dim, n_predictors) for dim in dims)
            slopes[name] = pm.Deterministic(name, pt.zeros(size), dims=dims)
            continue
        raw = pm.Normal(f"{name}_raw", dims=dims)
        slopes[name] = pm.Deterministic(name, raw * scale[parts.index(part)], dims=dims)
    total = slopes["prognostic_slope"] + slopes["predictive_slope"]
    pm.Deterministic("slope", total, dims="predictor")
    slopes["slope_scale"] = scale
    return slopes


def _slope_scales(design: Design) -> Any:
    """Return the standard deviation of each part (rows) of each predictor's slope (columns)."""
    priors, n_predictors = design.spec.priors, len(design.predictors)
    explained = _scalar("explained_variance", priors["explained_variance"])
    budget = link_variance(design.spec.link) * explained / (1.0 - explained)
    if n_predictors > 1:
        concentration = np.full(n_predictors, priors["predictor_share"].values[0])
        predictor_share = pm.Dirichlet("predictor_share", concentration, dims="predictor")
    else:
        predictor_share = pt.ones(1)
    concentration = np.array(slope_concentration(design.spec, design.left_out))
    if len(concentration) > 1:
        slope_share = pm.Dirichlet("slope_share", concentration, dims="slope_part")
    else:
        slope_share = pm.Deterministic("slope_share", pt.ones(1), dims="slope_part")
    variance = np.array([reference_variance(predictor) for predictor in design.predictors])
    share = slope_share[:, None] * predictor_share[None, :] / variance[None, :]
    scale = pt.sqrt(budget * share)
    return pm.Deterministic("slope_scale", scale, dims=("slope_part", "predictor"))


def _across(design: Design) -> Any:
    """Return what the trial mean of each predictor adds to its slope within trials."""
    size = len(design.predictors)
    if not design.has_across:
        return pm.Deterministic("across_slope", pt.zeros(size), dims="predictor")
    scale = _scalar("across_scale", design.spec.priors["across_scale"])
    raw = pm.Normal("across_slope_raw", dims="across_predictor")
    placed = pt.set_subtensor(pt.zeros(size)[design.across_idx], scale * raw)
    return pm.Deterministic("across_slope", placed, dims="predictor")
