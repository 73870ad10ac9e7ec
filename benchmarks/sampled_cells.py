"""The joint model as one would write it in plain PyMC: every missing cell is a parameter.

The same priors and the same likelihood as the package's, for patients at one horizon whose binary
predictors are complete. Nothing is averaged out: the missing value of a patient is sampled like
any other parameter. In the plain form it has its normal distribution around the trial's mean; in
the standardised form the sampler sees a standard normal that the patient's known values shift and
scale, which is the better geometry and takes more writing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.linalg import cholesky, solve_triangular
from work import ARMS, POPULATIONS, Work

from ketpredict.marginal import between_trial_sd, rate_location, reference_variance
from ketpredict.predictors import load_predictors
from ketpredict.spec import ModelSpec, load_spec


def build_sampled_cells(work: Work, *, standardised: bool) -> pm.Model:
    """Return the PyMC model of a table of patients."""
    spec = load_spec("published")
    predictors = [load_predictors()[name] for name in work.predictors]
    trials = sorted(set(work.columns["trial"]))
    coords = {
        "trial": trials,
        "population": sorted(POPULATIONS),
        "predictor": work.predictors,
        "continuous": work.continuous,
        "binary": work.binary,
        "slope_part": spec.slope_parts(),
    }
    with pm.Model(coords=coords) as model:
        rows = _Rows(work, predictors, trials)
        means, residual = _predictors(spec, rows, standardised=standardised)
        linear = _intercepts(spec, rows) + _slopes(spec, rows, means, residual)
        probability = 0.5 * pt.erfc(-linear / np.sqrt(2.0))
        pm.Bernoulli("response", p=probability, observed=work.columns["response"])
    return model


class _Rows:
    """The table as arrays: indices, values on the reference scale, what is missing."""

    def __init__(self, work: Work, predictors: list[Any], trials: list[str]) -> None:
        columns, n_continuous = work.columns, len(work.continuous)
        self.predictors = predictors
        self.n_trials, self.n_continuous = len(trials), n_continuous
        self.trial = np.searchsorted(trials, columns["trial"])
        self.population = np.searchsorted(sorted(POPULATIONS), columns["population"])
        self.active = (columns["arm"] == ARMS[0]).astype(float)
        self.value = np.column_stack(
            [predictors[k].to_scale(columns[name]) for k, name in enumerate(work.continuous)]
        )
        self.binary = np.column_stack([columns[name] for name in work.binary])
        self.centre = np.array([p.centre for p in predictors[n_continuous:]])
        self.missing = np.isnan(self.value)
        self.assay = np.array([p.assay_dependent for p in predictors])
        known = np.column_stack([~self.missing, ~np.isnan(self.binary)])
        reported = np.array([known[self.trial == t].any(axis=0) for t in range(self.n_trials)])
        self.reported_cells = np.nonzero(reported)
        self.unreported_cells = np.nonzero(~reported & ~self.assay)


def _intercepts(spec: ModelSpec, rows: _Rows) -> Any:
    """Return the linear predictor without predictors."""
    priors = spec.priors
    population_scale = pm.HalfNormal("population_scale", *priors["population_scale"].values)
    trial_scale = pm.HalfNormal("trial_scale", *priors["trial_scale"].values)
    treatment_scale = pm.HalfNormal("treatment_scale", *priors["treatment_scale"].values)
    arm_scale = pm.HalfNormal("arm_scale", *priors["arm_scale"].values)
    population = population_scale * pm.Normal("population_raw", dims="population")
    trial = trial_scale * pm.Normal("trial_raw", dims="trial")
    treatment = treatment_scale * pm.Normal("treatment_raw", dims="trial")
    control = pm.Normal("control_class_mean", *priors["control_class_mean"].values)
    saline = control + arm_scale * pm.Normal("saline_raw")
    return (
        pm.Normal("intercept", *priors["intercept"].values)
        + population[rows.population]
        + trial[rows.trial]
        + (rows.active - 0.5) * treatment[rows.trial]
        + (1.0 - rows.active) * saline
    )


def _predictors(spec: ModelSpec, rows: _Rows, *, standardised: bool) -> tuple[Any, Any]:
    """Return the trials' means and every patient's deviation from them, missing ones as drawn."""
    priors, predictors = spec.priors, rows.predictors
    n_continuous = rows.n_continuous
    spread = np.log([between_trial_sd(predictor) for predictor in predictors])
    location, deviation = priors["predictor_between_scale"].values
    between = pm.LogNormal(
        "predictor_between_scale", spread + location, deviation, dims="predictor"
    )
    base = [0.0 if p.kind == "continuous" else rate_location(p) for p in predictors]
    centre = np.array(base) + pm.Normal(
        "predictor_location", *priors["predictor_location"].values, dims="predictor"
    )
    known, unknown = rows.reported_cells, rows.unreported_cells
    reported = pm.Normal("trial_mean_reported", centre[known[1]], between[known[1]])
    means = pt.zeros((rows.n_trials, len(predictors)))[known].set(reported)
    if len(unknown[0]):
        raw = pm.Normal("trial_mean_unreported_raw", shape=len(unknown[0]))
        means = means[unknown].set(centre[unknown[1]] + between[unknown[1]] * raw)
    _binary_law(spec, rows, 0.5 * pt.erfc(-means[:, n_continuous:] / np.sqrt(2.0)))
    packed = pm.LKJCholeskyCov(
        "predictor_cholesky",
        n=n_continuous,
        eta=priors["predictor_correlation"].values[0],
        sd_dist=pm.LogNormal.dist(*priors["predictor_sd"].values, shape=n_continuous),
        compute_corr=False,
    )
    factor = pm.expand_packed_triangular(n_continuous, packed, lower=True)
    move = pm.Normal("binary_shift", *priors["binary_shift"].values, dims=("continuous", "binary"))
    shift = (rows.binary - rows.centre) @ move.T
    observed = np.nan_to_num(rows.value) - means[rows.trial, :n_continuous]
    law = _standardised_cells if standardised else _plain_cells
    return means, law(rows, factor, shift, observed)


def _plain_cells(rows: _Rows, factor: Any, shift: Any, observed: Any) -> Any:
    """Return deviations whose missing cells are parameters with their normal distribution."""
    residual = observed
    if rows.missing.any():
        cells = pm.Flat("missing_cell_raw", shape=int(rows.missing.sum()))
        residual = observed[np.nonzero(rows.missing)].set(cells)
    normal = solve_triangular(factor, (residual - shift).T, lower=True)
    log_scale = pt.log(pt.diagonal(factor)).sum()
    pm.Potential("predictors", -0.5 * (normal**2).sum() - len(rows.trial) * log_scale)
    return residual


def _standardised_cells(rows: _Rows, factor: Any, shift: Any, observed: Any) -> Any:
    """Return deviations whose missing cells are known values' predictions plus scaled normals."""
    covariance = factor @ factor.T
    residual, density = observed, 0.0
    for number, pattern in enumerate(np.unique(rows.missing, axis=0)):
        here = np.nonzero((rows.missing == pattern).all(axis=1))[0]
        known, unknown = np.nonzero(~pattern)[0], np.nonzero(pattern)[0]
        order = np.concatenate([known, unknown])
        lower = cholesky(covariance[order][:, order], lower=True)
        corner = lower[: len(known), : len(known)]
        apart = (observed - shift)[here][:, known]
        normal = solve_triangular(corner, apart.T, lower=True)
        density -= 0.5 * (normal**2).sum() + len(here) * pt.log(pt.diagonal(corner)).sum()
        if not len(unknown):
            continue
        raw = pm.Normal(f"missing_cell_{number}_raw", shape=(len(unknown), len(here)))
        drawn = lower[len(known) :, : len(known)] @ normal + lower[len(known) :, len(known) :] @ raw
        residual = residual[np.ix_(here, unknown)].set(shift[here][:, unknown] + drawn.T)
    pm.Potential("predictors", density)
    return residual


def _binary_law(spec: ModelSpec, rows: _Rows, rate: Any) -> None:
    """Add the density of the binary predictors: a chain of pairs with common odds ratios."""
    n_binary = rows.binary.shape[1]
    own = pt.switch(rows.binary > 0, rate[rows.trial], 1.0 - rate[rows.trial])
    if n_binary < 2:
        pm.Potential("binary_predictors", pt.log(own).sum())
        return
    log_ratio = pm.Normal(
        "binary_log_odds_ratio", *spec.priors["binary_association"].values, shape=n_binary - 1
    )
    ratio = pt.exp(log_ratio)
    first, second = rate[:, :-1], rate[:, 1:]
    total = 1.0 + (first + second) * (ratio - 1.0)
    root = pt.sqrt(total**2 - 4.0 * ratio * (ratio - 1.0) * first * second)
    both = 2.0 * ratio * first * second / (total + root)
    cells = pt.stack([1.0 - first - second + both, second - both, first - both, both])
    place = (2.0 * rows.binary[:, :-1] + rows.binary[:, 1:]).astype(int)
    pair = cells[place, rows.trial[:, None], np.arange(n_binary - 1)]
    pm.Potential("binary_predictors", pt.log(pair).sum() - pt.log(own[:, 1:-1]).sum())


def _slopes(spec: ModelSpec, rows: _Rows, means: Any, residual: Any) -> Any:
    """Return what the predictors add to the linear predictor."""
    priors, parts, n_predictors = spec.priors, spec.slope_parts(), len(rows.predictors)
    explained = pm.Beta("explained_variance", *priors["explained_variance"].values)
    concentration = np.full(n_predictors, priors["predictor_share"].values[0])
    predictor_share = pm.Dirichlet("predictor_share", concentration, dims="predictor")
    slope_share = pm.Dirichlet(
        "slope_share", np.array(spec.slope_concentration()), dims="slope_part"
    )
    variance = np.array([reference_variance(predictor) for predictor in rows.predictors])
    scale = pm.Deterministic(
        "slope_scale",
        pt.sqrt(explained / (1.0 - explained) * slope_share[:, None] * predictor_share / variance),
        dims=("slope_part", "predictor"),
    )
    slope = dict.fromkeys(("prognostic", "predictive", "population", "trial"), 0.0)
    for position, part in enumerate(parts):
        own = () if part in ("prognostic", "predictive") else (part,)
        raw = pm.Normal(f"{part}_slope_raw", dims=(*own, "predictor"))
        slope[part] = scale[position] * raw
    pm.Deterministic("slope", slope["prognostic"] + slope["predictive"], dims="predictor")
    pm.Deterministic("predictive_slope", slope["predictive"] + pt.zeros(n_predictors))
    each = (
        slope["prognostic"]
        + rows.active[:, None] * slope["predictive"]
        + (slope["population"][rows.population] if "population" in parts else 0.0)
        + (slope["trial"][rows.trial] if "trial" in parts else 0.0)
    )
    mean = means[rows.trial, : rows.n_continuous]
    continuous = residual + np.where(rows.assay[: rows.n_continuous], 0.0, 1.0) * mean
    entering = pt.concatenate([continuous, pt.as_tensor(rows.binary - rows.centre)], axis=1)
    linear = (each * entering).sum(axis=1)
    if spec.pooling.across_trial_slope:
        linear = linear + _across(spec, rows, means)[rows.trial]
    return linear


def _across(spec: ModelSpec, rows: _Rows, means: Any) -> Any:
    """Return what each trial's means add beside the slopes within trials."""
    comparable = np.nonzero(~rows.assay)[0]
    scale = pm.HalfNormal("across_scale", *spec.priors["across_scale"].values)
    slope = scale * pm.Normal("across_slope_raw", shape=len(comparable))
    rate = 0.5 * pt.erfc(-means[:, rows.n_continuous :] / np.sqrt(2.0))
    level = pt.concatenate([means[:, : rows.n_continuous], rate - rows.centre], axis=1)
    return level[:, comparable] @ slope
