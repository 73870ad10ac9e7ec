r"""How much published predictor effects say about a slope, in patients.

The expected Fisher information of each report about its predictor's slope, the reports of one
cohort together. A report is a noisy reading of the slope, :math:`y_i = \beta_k + d_g + q_i + e_i`,
on the scale of the slope: the cohort's own deviation :math:`d_g`, that of the horizon :math:`q_i`,
and a sampling error whose variance is one over the report's information, divided by the square of
what a step of the slope moves the statistic, and by the power that it counts with. With the
covariance :math:`C` of all readings of predictor :math:`k` the information is
:math:`1'C^{-1}1`; a patient with all predictors known has :math:`\varphi(0)^2 v_k/\tfrac14` at a
response rate of one half (:math:`v_k/4` with the logit link), :math:`v_k` the predictor's reference
variance.

The information of a printed value is one over its variance. That of a verdict (significant or not)
is that of a binary outcome, :math:`P'^2/\{P(1-P)\}`; that of a value whose sign is in doubt is
integrated over the mixture of both signs; that of two groups is that of two binomials whose level
is not known.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import ndtr

from ketpredict.conversions import COUNTS
from ketpredict.design import Design
from ketpredict.effect_density import group_spread, horizon_variance, implied_effects
from ketpredict.marginal import reference_variance

_STEP = 1e-4
_GRID = np.linspace(-8.0, 8.0, 801)
_OF_A_PATIENT = {"probit": 2.0 / np.pi, "logit": 0.25}


def effective_patients(parameters: Mapping[str, np.ndarray], design: Design) -> np.ndarray:
    """Return how many patients the published effects are worth for each slope.

    Parameters
    ----------
    parameters : mapping of str to ndarray of shape (draw, ...)

    Returns
    -------
    ndarray of shape (draw, predictor)
        0 where no effect speaks of the predictor.
    """
    effects, spread = design.effects, _spreads(parameters, design)
    implied = implied_effects(parameters, design)
    moved = _moved(parameters, design, implied)
    information = np.stack(
        [_report_information(design, i, implied[:, i], parameters) for i in range(len(effects))],
        axis=1,
    )
    result = np.zeros((len(implied), len(design.predictors)))
    for k, predictor in enumerate(design.predictors):
        here = np.flatnonzero(effects.predictor_idx == k)
        if len(here) == 0:
            continue
        error = 1.0 / np.maximum(information[:, here] * effects.power[here], 1e-300)
        error = np.sqrt(error) / np.abs(moved[:, here])
        same = effects.group_idx[here][:, None] == effects.group_idx[here][None, :]
        shared = np.sqrt(effects.shared[here][:, None] * effects.shared[here][None, :]) * same
        np.fill_diagonal(shared, 1.0)
        covariance = shared * error[:, :, None] * error[:, None, :]
        covariance = covariance + same * (spread[:, effects.group_idx[here]] ** 2)[:, :, None]
        horizon = horizon_variance(parameters, design)[:, here]
        covariance[:, np.arange(len(here)), np.arange(len(here))] += horizon
        ones = np.ones((len(implied), len(here), 1))
        total = np.linalg.solve(covariance, ones)[..., 0].sum(axis=1)
        result[:, k] = total / (_OF_A_PATIENT[design.spec.link] * reference_variance(predictor))
    return result


def _spreads(parameters: Mapping[str, np.ndarray], design: Design) -> np.ndarray:
    return group_spread(design, parameters["effect_scale"], parameters["slope_scale"])


def _moved(parameters: Mapping[str, np.ndarray], design: Design, implied: np.ndarray) -> np.ndarray:
    """Return how far a step of its predictor's slope moves what is implied for each effect."""
    result = np.empty(implied.shape)
    for k in np.unique(design.effects.predictor_idx):
        higher = parameters["prognostic_slope"].copy()
        higher[:, k] += _STEP
        changed = implied_effects({**parameters, "prognostic_slope": higher}, design)
        here = design.effects.predictor_idx == k
        result[:, here] = (changed[:, here] - implied[:, here]) / _STEP
    return result


def _report_information(
    design: Design, i: int, implied: np.ndarray, parameters: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Return the expected information of one report about what is implied for it, (draw,)."""
    effects = design.effects
    if effects.kind[i] == COUNTS:
        level = parameters["effect_level"][:, list(effects.with_level).index(i)]
        return _counts_information(design, i, implied, level)
    error, positive = effects.standard_error[i], effects.positive[i]
    if np.isnan(effects.statistic[i]):
        return _verdict_information(design, i, implied)
    if positive in (0.0, 1.0):
        return np.full(len(implied), 1.0 / error**2)
    return _doubtful_information(implied / error, positive) / error**2


def _doubtful_information(middle: np.ndarray, positive: float) -> np.ndarray:
    """Return the information of a reading of SD 1 whose sign is flipped by chance."""
    grid = _GRID[None, :] * (1.0 + np.abs(middle[:, None]) / 4.0)
    first = positive * np.exp(-0.5 * (grid - middle[:, None]) ** 2)
    second = (1.0 - positive) * np.exp(-0.5 * (grid + middle[:, None]) ** 2)
    density = first + second
    score = first * (grid - middle[:, None]) - second * (grid + middle[:, None])
    safe = np.where(density > 0, density, 1.0)
    step = grid[:, 1] - grid[:, 0]
    return np.asarray((score**2 / safe).sum(axis=1) * step / np.sqrt(2.0 * np.pi))


def _verdict_information(design: Design, i: int, implied: np.ndarray) -> np.ndarray:
    effects, error = design.effects, design.effects.standard_error[i]

    def inside(middle: np.ndarray) -> np.ndarray:
        total = np.zeros(len(middle))
        for sign, weight in ((1.0, effects.positive[i]), (-1.0, 1.0 - effects.positive[i])):
            low, high = sorted((sign * effects.lower[i], sign * effects.upper[i]))
            total += weight * (ndtr((high - middle) / error) - ndtr((low - middle) / error))
        return total

    probability = inside(implied)
    change = (inside(implied + _STEP) - inside(implied - _STEP)) / (2.0 * _STEP)
    return np.asarray(change**2 / np.maximum(probability * (1.0 - probability), 1e-300))


def _counts_information(design: Design, i: int, slope: np.ndarray, level: np.ndarray) -> np.ndarray:
    effects = design.effects
    by_slope, by_both, by_level = np.zeros(len(slope)), np.zeros(len(slope)), np.ones(len(slope))
    for group in range(2):
        n, node = effects.counts[i, 2 * group + 1], effects.node[i, group]
        line = level[:, None] + slope[:, None] * node
        density = np.exp(-0.5 * line**2) / np.sqrt(2.0 * np.pi) * effects.node_weight[i, group]
        rate = ndtr(line) @ effects.node_weight[i, group]
        factor = n / (rate * (1.0 - rate))
        on_slope, on_level = density @ node, density.sum(axis=1)
        by_slope += factor * on_slope**2
        by_both += factor * on_slope * on_level
        by_level += factor * on_level**2
    return np.asarray(by_slope - by_both**2 / by_level)
