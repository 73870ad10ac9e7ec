r"""The probability of response of every unit, averaged over what the unit does not tell.

Patients of a cluster have one linear predictor :math:`q = a + h'x + d'(b - c)`, with :math:`x` the
observed continuous predictors, and one individual variance :math:`v`. With
:math:`\omega = \beta_m' S_{mo} S_{oo}^{-1}` (what observed predictors tell of the missing ones),
:math:`a_k = 1` for an assay-dependent predictor, else 0, and :math:`I` the intercept with the
slopes of trial means,

.. math::

    h &= \beta_o + \omega, \qquad d = \beta_b + B_m'\beta_m - B_o'\omega, \\
    a &= I + \textstyle\sum_m (1 - a_k) \beta_k \mu_k - \sum_o a_k \beta_k \mu_k
         - \omega'\mu_o, \\
    v &= \beta_m' (S_{mm} - S_{mo} S_{oo}^{-1} S_{om}) \beta_m .

In a published arm nobody's :math:`x` is known, only its mean :math:`m`. Its people's own values are
:math:`m + B(b - p)` and a deviation, :math:`p` the arm's proportions, so that :math:`d` is
:math:`\beta_b + B'\beta`, :math:`(B'h)'(p - c)` leaves :math:`a`, and all continuous predictors
vary, as much as published where an SD is. The average of the link over a normal :math:`q` is closed
(:mod:`ketpredict.link`).

The *linear predictor* of a unit is what the link takes for its probability, :math:`q` of a patient
whose predictors are all known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor.tensor as pt

from ketpredict import link
from ketpredict.design import Design
from ketpredict.equations import unit_intercept, unit_slope
from ketpredict.graph_algebra import product
from ketpredict.graph_predictors import ArmLaw, PredictorLaw, centres, normal_tails, sums
from ketpredict.graph_rows import SharedRows


def unit_linear_predictor(
    design: Design,
    parameters: dict[str, Any],
    shared: SharedRows,
    law: PredictorLaw | None,
    arm_law: ArmLaw | None,
    line_weight: Any,
) -> Any:
    """Return the linear predictor of every unit: the link of it is the probability of response.

    Parameters
    ----------
    law, arm_law
        None without predictors, and without arms.
    line_weight : tensor
        Probability of each line of the mixtures, then of each line of the arms.
    """
    weight, scale = link.components(design.spec.link)
    if law is None:
        constant, variance = unit_intercept(parameters, shared.clusters), np.zeros(1)
        linear = constant[shared.line_cluster]
    else:
        constant, coefficient, variance = _coefficients(design, parameters, shared, law, arm_law)
        value = shared.line_value.copy()
        value[:, len(design.continuous_idx) :] -= centres(design)
        own = coefficient[shared.line_cluster]
        linear = constant[shared.line_cluster] + (own * value).sum(axis=-1)
    factor = scale / pt.sqrt(1.0 + scale**2 * variance[:, None])
    factor = factor if law is None else factor[shared.line_cluster]
    lines, component = shared.lines, linear[:, None] * factor
    singles, several = len(lines) - len(shared.weight_idx), len(shared.weight_idx) > 0
    parts = []
    if singles:
        parts.append(_on_the_scale_of(design.spec.link, component[:singles], weight, None))
    if several:
        blocks = [block for block in lines.blocks if block[1] > 1]

        def over_patterns(tail: Any) -> Any:
            return sums(line_weight[shared.weight_idx] * tail, blocks)

        of_several = component[singles:]
        parts.append(_on_the_scale_of(design.spec.link, of_several, weight, over_patterns))
    return pt.concatenate(parts)[np.argsort(lines.order)]


def response_tails(name: str, linear_predictor: Any) -> tuple[Any, Any]:
    """Return the probability of response, and of none, from linear predictors.

    Parameters
    ----------
    name : {"probit", "logit"}
    """
    if name == "probit":
        return normal_tails(linear_predictor)
    return pt.sigmoid(linear_predictor), pt.sigmoid(-linear_predictor)


def _on_the_scale_of(
    name: str, component: Any, weight: np.ndarray, over_patterns: Callable[[Any], Any] | None
) -> Any:
    """Return what the link takes for the probability of response.

    Parameters
    ----------
    component : tensor of shape (line, component of the link)
        What each normal of the link takes.
    over_patterns : callable, optional
        From lines to units; None where each unit is one line.
    """
    if name == "probit" and over_patterns is None:
        return component[:, 0]
    success, failure = ((weight * tail).sum(axis=-1) for tail in normal_tails(component))
    if over_patterns is not None:
        success, failure = over_patterns(success), over_patterns(failure)
    if name == "logit":
        return pt.log(success) - pt.log(failure)
    below = success < failure
    distance = np.sqrt(2.0) * pt.erfcinv(2.0 * pt.switch(below, success, failure))
    return pt.switch(below, -distance, distance)


def _coefficients(
    design: Design,
    parameters: dict[str, Any],
    shared: SharedRows,
    law: PredictorLaw,
    arm_law: ArmLaw | None,
) -> tuple[Any, Any, Any]:
    """Return :math:`a`, :math:`(h, d)` and :math:`v` of each cluster."""
    clusters, binary = shared.clusters, len(design.binary_idx)
    slope = unit_slope(parameters, clusters)
    on_pattern = slope[:, design.binary_idx]
    across = _of_trial_means(design, parameters["across_slope"], law)
    constant = unit_intercept(parameters, clusters) + across[clusters.law_idx]
    if len(design.continuous_idx) == 0:
        return constant, on_pattern, np.zeros(len(clusters))
    observed = shared.observed[shared.cluster_set]
    assay = np.array([design.predictors[k].assay_dependent for k in design.continuous_idx])
    beta = slope[:, design.continuous_idx]
    missing = beta * (1.0 - observed)
    through = product(missing, law.covariance)
    carried = (law.precision[shared.cluster_set] * through[:, None, :]).sum(axis=-1)
    on_mean = beta * np.where(observed > 0, -1.0 * assay, 1.0 - assay) - carried
    constant = constant + (on_mean * law.mean[clusters.law_idx]).sum(axis=-1)
    on_value = beta * observed + carried
    left = missing - carried
    variance = (left * through).sum(axis=-1)
    if arm_law is not None:
        is_arm = clusters.is_arm[:, None] > 0
        left = pt.where(is_arm, beta, left)
        inside = beta * _published_spread(design, shared, law, arm_law)
        of_arm = (inside * product(inside, law.covariance)).sum(axis=-1)
        variance = pt.where(clusters.is_arm > 0, of_arm, variance)
    if binary == 0:
        return constant, on_value, variance
    if arm_law is not None:
        patients = len(clusters) - len(shared.arms)
        away = pt.concatenate([np.zeros((patients, binary)), arm_law.proportion - centres(design)])
        constant = constant - (product(on_value, law.shift) * away).sum(axis=-1)
    on_pattern = on_pattern + product(left, law.shift)
    return constant, pt.concatenate([on_value, on_pattern], axis=1), variance


def _of_trial_means(design: Design, slope: Any, law: PredictorLaw) -> Any:
    """Return what the trial means add to the linear predictor, (law,)."""
    if not design.has_across:
        return pt.zeros(len(design.laws))
    # The slope of an assay-dependent biomarker is 0, so that its mean does not matter here.
    continuous = (law.mean * slope[design.continuous_idx]).sum(axis=-1)
    rate = law.rate[design.law_trial][..., 1]
    return continuous + ((rate - centres(design)) * slope[design.binary_idx]).sum(axis=-1)


def _published_spread(
    design: Design, shared: SharedRows, law: PredictorLaw, arm_law: ArmLaw
) -> Any:
    """Return published SDs as multiples of the model's, 1 where none, (cluster, continuous)."""
    sd = design.units.sd[shared.arms][:, design.continuous_idx]
    patients = np.ones((len(shared.clusters) - len(shared.arms), sd.shape[1]))
    published = np.nan_to_num(sd) / pt.sqrt(arm_law.variance)
    return pt.concatenate([patients, pt.where(np.isnan(sd), 1.0, published)])
