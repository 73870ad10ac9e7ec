r"""What published predictor effects say of the slopes, in the graph.

An effect of predictor :math:`k` in a cohort is compared with what the model implies for it
(:mod:`ketpredict.conversions`). The cohort's slopes are those of active treatment, plus its
populations' deviations in their shares, plus on predictor :math:`k` a deviation of its own:

.. math:: b = \gamma + \delta + \textstyle\sum_p w_p b_p + e_k (d + \tau_h \sqrt{|\log(t/24)|}\,q),
          \qquad d \sim N(0, s_{\text{trial}}^2 + \tau_k^2 + w_0^2 s_{\text{population}}^2)

with :math:`d` common to the horizons of a cohort and predictor and :math:`q` standard normal.
Covariances of the predictors are those within a trial whose rates are the average ones. Effects of
one cohort and predictor share a part of their sampling error: given a standard normal :math:`u`,
the statistic is :math:`N(f + \sigma\sqrt{\rho}\,u, \sigma^2(1-\rho))`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.dist_math import binomln

from ketpredict.association import pair_probability
from ketpredict.conversions import (
    COEFFICIENT,
    CORRELATION,
    COUNTS,
    LOG_ODDS_RATIO,
    LOG_RISK_RATIO,
)
from ketpredict.design import Design
from ketpredict.graph_algebra import inverse_of_parts, product
from ketpredict.graph_predictors import PredictorLaw, normal_tails
from ketpredict.graph_rows import distinct
from ketpredict.link import variance as link_variance
from ketpredict.marginal import rate_location, reference_variance
from ketpredict.prior_families import Prior

_LOG_TWO_PI = np.log(2.0 * np.pi)


def add_effects(design: Design, parameters: dict[str, Any], law: PredictorLaw) -> None:
    """Add the likelihood of the published effects to the model in context."""
    effects = design.effects
    slopes, error, level = _slopes(design, parameters)
    covariance = _covariance(design, law, pm.modelcontext(None)["predictor_location"])
    implied = _implied(design, slopes, covariance)
    log_density = pt.zeros(len(effects))
    graded = np.flatnonzero(effects.kind != COUNTS)
    if len(graded):
        log_density = pt.set_subtensor(
            log_density[graded], _graded(design, graded, implied[graded], error[graded])
        )
    counted = effects.with_level
    if len(counted):
        log_density = pt.set_subtensor(
            log_density[counted], _counted(design, counted, implied[counted], level)
        )
    pm.Potential("effects", (effects.power * log_density).sum())


def _slopes(design: Design, parameters: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Return the slopes of each effect's cohort, its shared error, and the levels of counts."""
    effects, priors = design.effects, design.spec.priors
    parts = design.slope_parts
    unit = np.sqrt(
        [link_variance(design.spec.link) / reference_variance(p) for p in design.predictors]
    )
    scale_predictor, owner = effects.scale_predictor, effects.group_predictor
    between = _vector_scale("effect_scale", priors["effect_scale"], len(scale_predictor))
    own = between[np.searchsorted(scale_predictor, owner)] * unit[owner]
    variance = own**2
    part_scale = parameters["slope_scale"]
    if "trial" in parts:
        variance = variance + part_scale[parts.index("trial")][owner] ** 2
    if "population" in parts:
        unseen = part_scale[parts.index("population")][owner] * effects.group_unseen
        variance = variance + unseen**2
    raw = pm.Normal("effect_deviation_raw", dims="effect_group")
    # A spread of zero has no derivative, and takes none: the inner switch keeps it finite.
    some = variance > 0.0
    spread = pt.switch(some, pt.sqrt(pt.switch(some, variance, 1.0)), 0.0)
    deviation = pm.Deterministic("effect_deviation", spread * raw, dims="effect_group")
    own_deviation = deviation[effects.group_idx]
    apart = effects.apart
    if len(apart):
        step = _scalar_scale("effect_horizon_scale", priors["effect_horizon_scale"])
        raw = pm.Normal("effect_horizon_raw", dims="effect_apart")
        move = step * effects.distance[apart] * unit[effects.predictor_idx[apart]] * raw
        move = pm.Deterministic("effect_horizon", move, dims="effect_apart")
        own_deviation = pt.inc_subtensor(own_deviation[apart], move)
    error = pt.zeros(len(effects))
    repeated = effects.repeated_groups
    if len(repeated):
        common = pm.Normal("effect_error", dims="repeated_group")
        having = np.flatnonzero(effects.shared > 0)
        place = np.searchsorted(repeated, effects.group_idx[having])
        factor = effects.standard_error[having] * np.sqrt(effects.shared[having])
        error = pt.set_subtensor(error[having], factor * common[place])
    level = None
    if len(effects.with_level):
        level = pm.Normal("effect_level", dims="effect_with_level")
    slopes = parameters["prognostic_slope"] + parameters["predictive_slope"]
    slopes = slopes[None, :] + product(effects.population_weight, parameters["population_slope"])
    rows = np.arange(len(effects))
    return pt.inc_subtensor(slopes[rows, effects.predictor_idx], own_deviation), error, level


def _vector_scale(name: str, prior: Prior, size: int) -> Any:
    if prior.kind == "fixed":
        constant = pt.full((size,), prior.values[0])
        return pm.Deterministic(name, constant, dims="effect_predictor")
    return pm.HalfNormal(name, prior.values[0], dims="effect_predictor")


def _scalar_scale(name: str, prior: Prior) -> Any:
    if prior.kind == "fixed":
        return pm.Deterministic(name, pt.as_tensor_variable(np.float64(prior.values[0])))
    return pm.HalfNormal(name, prior.values[0])


def _covariance(design: Design, law: PredictorLaw, location: Any) -> Any:
    """Return the covariance of all predictors in a trial with average rates."""
    continuous, binary = design.continuous_idx, design.binary_idx
    size = len(design.predictors)
    whole = pt.zeros((size, size))
    between = pt.zeros((0, 0))
    if len(binary):
        middle = np.array([rate_location(design.predictors[k]) for k in binary])
        rate, _ = normal_tails(location[binary] + middle)
        between = _binary_covariance(rate, law.log_odds_ratio, len(binary))
        whole = pt.set_subtensor(whole[np.ix_(binary, binary)], between)
    if len(continuous):
        own = law.covariance
        if len(binary):
            cross = product(law.shift, between)
            own = own + product(cross, law.shift.T)
            whole = pt.set_subtensor(whole[np.ix_(continuous, binary)], cross)
            whole = pt.set_subtensor(whole[np.ix_(binary, continuous)], cross.T)
        whole = pt.set_subtensor(whole[np.ix_(continuous, continuous)], own)
    return whole


def _binary_covariance(rate: Any, log_odds_ratio: Any, size: int) -> Any:
    """Return the covariance of a chain of binaries: correlations of neighbours multiply."""
    variance = [rate[j] * (1.0 - rate[j]) for j in range(size)]
    rows: dict[tuple[int, int], Any] = {(j, j): variance[j] for j in range(size)}
    for j in range(size - 1):
        both = pair_probability(rate[j], rate[j + 1], log_odds_ratio[j])
        rows[j, j + 1] = both - rate[j] * rate[j + 1]
    for step in range(2, size):
        for j in range(size - step):
            end = j + step
            rows[j, end] = rows[j, end - 1] * rows[end - 1, end] / variance[end - 1]
    return pt.stack(
        [pt.stack([rows[min(i, j), max(i, j)] for j in range(size)]) for i in range(size)]
    )


def _implied(design: Design, slopes: Any, covariance: Any) -> Any:
    """Return what each effect is compared with, on the scale of its kind."""
    effects, unit = design.effects, link_variance(design.spec.link)
    rows, own = np.arange(len(effects)), effects.predictor_idx
    sets, own_set = distinct(effects.adjusted)
    precision = inverse_of_parts(covariance, sets)[0][own_set]
    with_latent = product(slopes, covariance)
    coefficient = (precision * with_latent[:, None, :]).sum(axis=-1)
    total = unit + (slopes * with_latent).sum(axis=1)
    rest = total - (with_latent * coefficient).sum(axis=1)
    of_own, sd = coefficient[rows, own], pt.sqrt(pt.diag(covariance))[own]
    part = of_own / pt.sqrt(precision[rows, own, own])
    slope = of_own / pt.sqrt(rest)
    above, _ = normal_tails(effects.quantile + 0.5 * effects.step * slope)
    below, _ = normal_tails(effects.quantile - 0.5 * effects.step * slope)
    by_kind = {
        CORRELATION: pt.arctanh(effects.attenuation * part / pt.sqrt(part**2 + rest)),
        COEFFICIENT: sd * of_own / pt.sqrt(total),
        LOG_ODDS_RATIO: effects.gain * slope,
        LOG_RISK_RATIO: pt.log(above) - pt.log(below),
        COUNTS: slope * pt.switch(effects.on_sd_scale > 0, sd, 1.0),
    }
    result = pt.zeros(len(effects))
    for kind, value in by_kind.items():
        here = np.flatnonzero(effects.kind == kind)
        if len(here):
            result = pt.set_subtensor(result[here], value[here])
    return result


def _graded(design: Design, rows: np.ndarray, implied: Any, error: Any) -> Any:
    """Return log densities of statistics with a size, or with bounds, both signs weighed."""
    effects = design.effects
    middle = implied + error
    spread = effects.standard_error[rows] * np.sqrt(1.0 - effects.shared[rows])
    exact, sure = ~np.isnan(effects.statistic[rows]), effects.positive[rows] == 1.0
    result = pt.zeros(len(rows))
    for has_size in (True, False):
        for one_sign in (True, False):
            here = np.flatnonzero((exact == has_size) & (sure == one_sign))
            if len(here) == 0:
                continue
            own = _of_sign(design, rows[here], middle[here], spread[here], 1.0)
            if not one_sign:
                weight = effects.positive[rows[here]]
                other = _of_sign(design, rows[here], middle[here], spread[here], -1.0)
                both = pt.stack([np.log(weight) + own, np.log1p(-weight) + other])
                own = pt.special.logsumexp(both, axis=0)
            result = pt.set_subtensor(result[here], own)
    return result


def _of_sign(design: Design, rows: np.ndarray, middle: Any, spread: Any, sign: float) -> Any:
    """Return the log density of statistics, all with a size or all with bounds, for one sign."""
    value = design.effects.statistic[rows]
    if not np.isnan(value).any():
        return -0.5 * ((sign * value - middle) / spread) ** 2 - np.log(spread) - 0.5 * _LOG_TWO_PI
    bounds = np.stack([design.effects.lower[rows], design.effects.upper[rows]])
    low, high = bounds if sign > 0 else -bounds[::-1]
    return pt.log(_between((low - middle) / spread, (high - middle) / spread))


def _between(low: Any, high: Any) -> Any:
    """Return the standard normal probability between two values; the far tail keeps its digits."""
    flip = low + high > 0.0
    first = pt.switch(flip, -high, low)
    second = pt.switch(flip, -low, high)
    return 0.5 * (pt.erfc(-second * np.sqrt(0.5)) - pt.erfc(-first * np.sqrt(0.5)))


def _counted(design: Design, rows: np.ndarray, slope: Any, level: Any) -> Any:
    """Return log densities of responders in two groups."""
    effects = design.effects
    line = level[:, None, None] + slope[:, None, None] * effects.node[rows]
    yes, no = normal_tails(line)
    responders, n = effects.counts[rows][:, [0, 2]], effects.counts[rows][:, [1, 3]]
    success = (effects.node_weight[rows] * yes).sum(axis=-1)
    failure = (effects.node_weight[rows] * no).sum(axis=-1)
    choose = binomln(n, responders)
    return (choose + responders * pt.log(success) + (n - responders) * pt.log(failure)).sum(axis=1)
