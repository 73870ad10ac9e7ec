r"""Log density of the priors of a model file at draws of its parameters, in NumPy, prior by prior.

Only what the model file states: priors of scales and of what has no scale above it. What a scale
governs (effects of trials given the scale between trials, slopes given their shares) is part of
the model, not of what was chosen: power-scaling a hierarchical model takes the top alone
(Kallioinen, Paananen, Bürkner and Vehtari 2024, Stat Comput 34:57).

Each density is that of the parameter as the model file speaks of it: of a scale and not of its
logarithm, of standard deviations and the correlation matrix and not of a Cholesky factor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import betaln, gammaln, xlog1py, xlogy

from ketpredict.marginal import between_trial_sd
from ketpredict.predictors import Predictor
from ketpredict.prior_families import SLOPE_PARTS, Prior
from ketpredict.spec import ModelSpec

BLOCKS: dict[str, tuple[str, ...]] = {
    "level": ("intercept", "study_term", "horizon_scale"),
    "scales": ("population_scale", "trial_scale", "treatment_scale", "arm_scale"),
    "arms": ("active_class_mean", "control_class_mean"),
    "threshold": ("improvement_sd",),
    "slopes": ("explained_variance", "predictor_share", "slope_share", "across_scale"),
    "predictors": (
        "predictor_location",
        "predictor_between_scale",
        "predictor_sd",
        "predictor_correlation",
        "binary_shift",
        "binary_association",
    ),
    "effect_scales": ("effect_scale", "effect_horizon_scale"),
}
"""Priors of a model file that are scaled together."""
_VARIABLES = {
    "study_term": "study_term_effect",
    "binary_association": "binary_log_odds_ratio",
    "active_class_mean": "arm_class_mean",
    "control_class_mean": "arm_class_mean",
    "predictor_sd": "predictor_covariance",
    "predictor_correlation": "predictor_covariance",
}
"""Variables of the posterior that do not have the name of their prior."""
_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


def log_prior_blocks(
    draws: Mapping[str, np.ndarray],
    spec: ModelSpec,
    predictors: Sequence[Predictor],
    coords: Mapping[str, list[Any]],
) -> dict[str, np.ndarray]:
    """Return the log prior of each block of :data:`BLOCKS` that the draws have a variable of.

    Parameters
    ----------
    draws : mapping of str to ndarray of shape (draw, ...)
    spec : ModelSpec
    predictors : sequence of Predictor
    coords : mapping of str to list
        Labels of ``arm_class`` and ``slope_part``.

    Returns
    -------
    dict of str to ndarray of shape (draw,)
    """
    found = log_priors(draws, spec, predictors, coords)
    blocks = {}
    for block, names in BLOCKS.items():
        parts = [found[name] for name in names if name in found]
        if parts:
            blocks[block] = np.sum(parts, axis=0)
    return blocks


def log_priors(
    draws: Mapping[str, np.ndarray],
    spec: ModelSpec,
    predictors: Sequence[Predictor],
    coords: Mapping[str, list[Any]],
) -> dict[str, np.ndarray]:
    """Return the log density of each prior of a model file, summed over what shares it.

    Priors that are fixed numbers have none; neither have those of parts that the model leaves out,
    whose variables are absent, empty or zero throughout.
    """
    result = {}
    for name, prior in spec.priors.items():
        values = draws.get(_VARIABLES.get(name, name))
        if prior.kind == "fixed" or values is None or not np.any(values):
            continue
        taken = _as_chosen(name, values, predictors, coords)
        if taken.size:
            result[name] = _log_density(_concentrated(name, prior, coords), taken)
    return result


def _as_chosen(
    name: str, values: np.ndarray, predictors: Sequence[Predictor], coords: Mapping[str, list[Any]]
) -> np.ndarray:
    """Return a variable as its prior speaks of it."""
    if name in ("active_class_mean", "control_class_mean"):
        is_active = np.array([label == "active" for label in coords["arm_class"]])
        return values[:, is_active if name == "active_class_mean" else ~is_active]
    if name == "predictor_between_scale":
        # The prior is of the ratio to the reference spread; a ratio's density is per unit of it.
        return values / np.array([between_trial_sd(predictor) for predictor in predictors])
    if name in ("predictor_sd", "predictor_correlation"):
        sd = np.sqrt(np.diagonal(values, axis1=1, axis2=2))
        return sd if name == "predictor_sd" else values / (sd[:, :, None] * sd[:, None, :])
    return values


def _concentrated(name: str, prior: Prior, coords: Mapping[str, list[Any]]) -> Prior:
    """Return the prior with one concentration for each share; one alone stands for all."""
    if name != "slope_share":
        return prior
    # Leaving parts out of a Dirichlet vector leaves the concentrations of the others.
    whole = dict(zip(SLOPE_PARTS, prior.values, strict=True))
    return Prior(prior.kind, tuple(whole[part] for part in coords["slope_part"]))


def _log_density(prior: Prior, values: np.ndarray) -> np.ndarray:
    """Return the log density of a prior, summed over all axes but the first."""
    density = _FAMILIES[prior.kind](values, *prior.values)
    return np.asarray(density.reshape(len(values), -1).sum(axis=1))


def _normal(values: np.ndarray, mean: float, sd: float) -> np.ndarray:
    return np.asarray(-0.5 * ((values - mean) / sd) ** 2 - math.log(sd) - _HALF_LOG_TWO_PI)


def _half_normal(values: np.ndarray, sd: float) -> np.ndarray:
    return _normal(values, 0.0, sd) + math.log(2.0)


def _log_normal(values: np.ndarray, mean: float, sd: float) -> np.ndarray:
    log = np.log(values)
    return _normal(log, mean, sd) - log


def _beta(values: np.ndarray, first: float, second: float) -> np.ndarray:
    inside = xlogy(first - 1.0, values) + xlog1py(second - 1.0, -values)
    return np.asarray(inside - betaln(first, second))


def _dirichlet(values: np.ndarray, *concentration: float) -> np.ndarray:
    power = np.broadcast_to(np.array(concentration), values.shape[-1:])
    constant = gammaln(power.sum()) - gammaln(power).sum()
    return np.asarray(xlogy(power - 1.0, values).sum(axis=-1) + constant)


def _lkj(values: np.ndarray, eta: float) -> np.ndarray:
    """Return the log density of correlation matrices (Lewandowski and others 2009, eq. 16)."""
    size = values.shape[-1]
    constant = 0.0
    for k in range(1, size):
        half = eta + 0.5 * (size - 1 - k)
        constant += (2.0 * half - 1.0) * (size - k) * math.log(2.0) + (size - k) * betaln(
            half, half
        )
    return np.asarray((eta - 1.0) * np.linalg.slogdet(values)[1] - constant)


_FAMILIES: dict[str, Callable[..., np.ndarray]] = {
    "normal": _normal,
    "half_normal": _half_normal,
    "log_normal": _log_normal,
    "beta": _beta,
    "dirichlet": _dirichlet,
    "lkj": _lkj,
}
