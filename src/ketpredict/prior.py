"""Draws from the prior of a design, in NumPy: for prior predictive checks and for simulation.

The variables, their names and their distributions are those of :mod:`ketpredict.graph`; a test
compares the two.
"""

from __future__ import annotations

import numpy as np

from ketpredict.design import Design
from ketpredict.effect_density import group_spread, slope_unit
from ketpredict.link import variance as link_variance
from ketpredict.marginal import between_trial_sd, rate_location, reference_variance
from ketpredict.parts import SCALE_OF, wanted
from ketpredict.spec import CURVES, STUDY_TERMS
from ketpredict.untold import draw_untold, draw_variable


def draw_prior(design: Design, size: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return independent draws of every variable of a fit from its prior.

    Parameters
    ----------
    design : Design
    size : int
        Number of draws.
    rng : numpy.random.Generator

    Returns
    -------
    dict of str to ndarray
        Arrays of shape (size, ...), named like the posterior's variables.
    """
    draws = draw_model(design, size, rng)
    return draws | draw_untold(design, draws, rng)


def draw_model(design: Design, size: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return independent draws of every variable of the model, without what it leaves out.

    As :func:`draw_prior`, but what only predictions beyond the data need is not there. Parts that
    are left out take their random numbers all the same, so that the others do not depend on them.
    """
    draws: dict[str, np.ndarray] = {}
    _draw_intercepts(draws, design, size, rng)
    _draw_arms(draws, design, size, rng)
    _draw_study_and_time(draws, design, size, rng)
    _draw_slopes(draws, design, size, rng)
    if design.predictors:
        _draw_across(draws, design, size, rng)
        _draw_trial_means(draws, design, size, rng)
        _draw_association(draws, design, size, rng)
    if len(design.effects):
        _draw_effects(draws, design, size, rng)
    return draws


def _draw_intercepts(
    draws: dict[str, np.ndarray], design: Design, size: int, rng: np.random.Generator
) -> None:
    priors = design.spec.priors
    draws["intercept"] = draw_variable(priors["intercept"], size, rng)
    for name, part, count in (
        ("population_effect", "population_intercept", len(design.populations)),
        ("trial_effect", "trial_intercept", len(design.trials)),
        ("treatment_deviation", "trial_treatment", len(design.trials)),
    ):
        scale, spread = SCALE_OF[part], np.zeros(size)
        if wanted(design.spec, part):
            drawn = draw_variable(priors[scale], size, rng)
            spread = drawn if design.has(part) else spread
        draws[scale] = spread
        draws[name] = spread[:, None] * rng.normal(size=(size, count))


def _draw_arms(
    draws: dict[str, np.ndarray], design: Design, size: int, rng: np.random.Generator
) -> None:
    priors = design.spec.priors
    others = list(range(1, len(design.arms)))
    classes = sorted({design.arm_class[i] for i in others})
    draws["arm_scale"] = draw_variable(priors["arm_scale"], size, rng)
    draws["arm_effect"] = np.zeros((size, len(design.arms)))
    if not others:
        return
    mean = np.empty((size, len(classes)))
    for column, name in enumerate(classes):
        kind = "active_class_mean" if name == "active" else "control_class_mean"
        mean[:, column] = draw_variable(priors[kind], size, rng)
    draws["arm_class_mean"] = mean
    for i in others:
        deviation = draws["arm_scale"] * rng.normal(size=size)
        draws["arm_effect"][:, i] = mean[:, classes.index(design.arm_class[i])] + deviation


def _draw_study_and_time(
    draws: dict[str, np.ndarray], design: Design, size: int, rng: np.random.Generator
) -> None:
    priors, horizons = design.spec.priors, design.spec.horizons
    draws["study_term_effect"] = draw_variable(priors["study_term"], (size, len(STUDY_TERMS)), rng)
    draws["horizon_scale"] = draw_variable(priors["horizon_scale"], size, rng)
    steps = np.sqrt(np.diff(np.log(horizons.knots)))
    raw = rng.normal(size=(size, len(CURVES), len(steps)))
    walk = np.cumsum(draws["horizon_scale"][:, None, None] * steps * raw, axis=2)
    path = np.concatenate([np.zeros((size, len(CURVES), 1)), walk], axis=2)
    reference = horizons.knots.index(horizons.reference)
    draws["horizon_offset"] = path - path[:, :, [reference]]
    draws["improvement_sd"] = draw_variable(
        priors["improvement_sd"], (size, len(design.scales)), rng
    )


def _draw_slopes(
    draws: dict[str, np.ndarray], design: Design, size: int, rng: np.random.Generator
) -> None:
    spec, count = design.spec, len(design.predictors)
    shapes = {
        "prognostic": (count,),
        "predictive": (count,),
        "population": (len(design.populations), count),
        "trial": (len(design.trials), count),
    }
    whole, parts = spec.slope_parts(), design.slope_parts
    if count:
        explained = draw_variable(spec.priors["explained_variance"], size, rng)
        budget = link_variance(spec.link) * explained / (1.0 - explained)
        concentration = np.full(count, spec.priors["predictor_share"].values[0])
        shares = rng.dirichlet(concentration, size) if count > 1 else np.ones((size, 1))
        part_shares = rng.dirichlet(spec.slope_concentration(), size)
        if parts != whole:
            # The rest of a Dirichlet vector is one too, once it sums to 1.
            part_shares = part_shares[:, [whole.index(part) for part in parts]]
            part_shares = part_shares / part_shares.sum(axis=1, keepdims=True)
        variance = np.array([reference_variance(predictor) for predictor in design.predictors])
        product = part_shares[:, :, None] * shares[:, None, :] / variance
        draws["explained_variance"] = explained
        draws["slope_share"] = part_shares
        if count > 1:
            draws["predictor_share"] = shares
        draws["slope_scale"] = np.sqrt(budget[:, None, None] * product)
    for part, shape in shapes.items():
        values = np.zeros((size, *shape))
        if part in parts and count:
            scale = draws["slope_scale"][:, parts.index(part), :]
            scale = scale.reshape(size, *(1,) * (len(shape) - 1), count)
            values = scale * rng.normal(size=(size, *shape))
        elif part in whole and count:
            rng.normal(size=(size, *shape))
        draws[f"{part}_slope"] = values
    draws["slope"] = draws["prognostic_slope"] + draws["predictive_slope"]


def _draw_across(
    draws: dict[str, np.ndarray], design: Design, size: int, rng: np.random.Generator
) -> None:
    slope = np.zeros((size, len(design.predictors)))
    if design.has_across:
        scale = draw_variable(design.spec.priors["across_scale"], size, rng)
        draws["across_scale"] = scale
        count = len(design.across_idx)
        slope[:, design.across_idx] = scale[:, None] * rng.normal(size=(size, count))
    draws["across_slope"] = slope


def _draw_trial_means(
    draws: dict[str, np.ndarray], design: Design, size: int, rng: np.random.Generator
) -> None:
    priors, predictors = design.spec.priors, design.predictors
    shape = (size, len(predictors))
    reference = np.array([between_trial_sd(predictor) for predictor in predictors])
    location = draw_variable(priors["predictor_location"], shape, rng)
    scale = reference * draw_variable(priors["predictor_between_scale"], shape, rng)
    own = [rate_location(p) if p.kind == "binary" else 0.0 for p in predictors]
    owner = design.cells[:, 1]
    middle = (location + np.array(own))[:, owner]
    mean = middle + scale[:, owner] * rng.normal(size=(size, len(owner)))
    draws["predictor_location"] = location
    draws["predictor_between_scale"] = scale
    if design.n_reported:
        draws["trial_mean_reported"] = mean[:, : design.n_reported]
    draws["trial_mean"] = mean


def _draw_association(
    draws: dict[str, np.ndarray], design: Design, size: int, rng: np.random.Generator
) -> None:
    """Draw what predictors have to do with each other within a trial."""
    priors = design.spec.priors
    continuous, binary = len(design.continuous_idx), len(design.binary_idx)
    if continuous:
        sd = draw_variable(priors["predictor_sd"], (size, continuous), rng)
        (eta,) = priors["predictor_correlation"].values
        factor = sd[:, :, None] * _draw_correlation_factor(eta, continuous, size, rng)
        rows, columns = np.tril_indices(continuous)
        draws["predictor_cholesky"] = factor[:, rows, columns]
        draws["predictor_covariance"] = factor @ factor.transpose(0, 2, 1)
    if continuous and binary:
        draws["binary_shift"] = draw_variable(
            priors["binary_shift"], (size, continuous, binary), rng
        )
    if binary > 1:
        association = draw_variable(priors["binary_association"], (size, binary - 1), rng)
        draws["binary_log_odds_ratio"] = association


def _draw_effects(
    draws: dict[str, np.ndarray], design: Design, size: int, rng: np.random.Generator
) -> None:
    """Draw what belongs to the published effects: spreads, deviations, errors, levels."""
    effects, priors = design.effects, design.spec.priors
    scale = draw_variable(priors["effect_scale"], (size, len(effects.scale_predictor)), rng)
    spread = group_spread(design, scale, draws["slope_scale"])
    draws["effect_scale"] = scale
    draws["effect_deviation"] = spread * rng.normal(size=spread.shape)
    apart = effects.apart
    if len(apart):
        step = draw_variable(priors["effect_horizon_scale"], size, rng)
        place = effects.distance[apart] * slope_unit(design)[effects.predictor_idx[apart]]
        draws["effect_horizon_scale"] = step
        draws["effect_horizon"] = step[:, None] * place * rng.normal(size=(size, len(apart)))
    for name, count in (
        ("effect_error", len(effects.repeated_groups)),
        ("effect_level", len(effects.with_level)),
    ):
        if count:
            draws[name] = rng.normal(size=(size, count))


def _draw_correlation_factor(
    eta: float, count: int, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Return Cholesky factors of correlation matrices, row by row (the onion method).

    Row ``i`` points from the origin to a uniform direction; its squared length is Beta distributed,
    so that the density of the matrix is proportional to its determinant to the power ``eta - 1``
    (Lewandowski, Kurowicka and Joe 2009, J Multivar Anal 100:1989).
    """
    factor = np.zeros((size, count, count))
    factor[:, 0, 0] = 1.0
    for i in range(1, count):
        square = rng.beta(0.5 * i, eta + 0.5 * (count - 1 - i), size)
        direction = rng.normal(size=(size, i))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        factor[:, i, :i] = np.sqrt(square)[:, None] * direction
        factor[:, i, i] = np.sqrt(1.0 - square)
    return factor
