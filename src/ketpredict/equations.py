r"""The model's mathematics, written once for NumPy arrays and PyTensor tensors.

Latent scale (probit). A patient's standardised improvement is :math:`z = \eta + \varepsilon`,
:math:`\varepsilon \sim N(0, 1)`, and the patient responds when :math:`z > 0`. For a *unit*, that is
one patient or one published arm of trial :math:`t`, population :math:`p`, arm :math:`g`,

.. math::

    \eta = \alpha + u_p + v_t + a\, d_t + \theta_g + f(h) + s'\xi
           + (50 - c) / \sigma + x'(\gamma + A\,\delta + b_p + c_t)

with :math:`a = +1/2` and :math:`A = 1` for an active arm, :math:`a = -1/2` and :math:`A = 0` for a
control arm; :math:`f` the offset of the horizon; :math:`s` the study-level terms; and :math:`c` the
percentage of improvement that the trial calls response, since
:math:`P(d > c) = \Phi(\eta + (50 - c)/\sigma)` when :math:`d \sim N(50 + \sigma\eta, \sigma^2)`.

Nothing here imports an array library: indexing, arithmetic and ``sum`` are what both kinds of array
have. A leading axis of posterior draws is allowed everywhere in NumPy.
"""

from __future__ import annotations

from typing import Any


def unit_intercept(parameters: Any, units: Any) -> Any:
    """Return the linear predictor of each unit without its predictors.

    Parameters
    ----------
    parameters : mapping of str to array
        ``intercept`` (...), ``population_effect`` (..., population), ``trial_effect`` and
        ``treatment_deviation`` (..., trial), ``arm_effect`` (..., arm), ``study_term_effect``
        (..., study_term), ``horizon_offset`` (..., curve, knot), ``improvement_sd`` (..., scale).
    units : object with array attributes, see :class:`ketpredict.design.Units`

    Returns
    -------
    array of shape (..., unit)
        Latent scale.
    """
    curves = parameters["horizon_offset"][..., units.curve_idx, :]
    return (
        parameters["intercept"][..., None]
        + parameters["population_effect"][..., units.population_idx]
        + parameters["trial_effect"][..., units.trial_idx]
        + (units.active - 0.5) * parameters["treatment_deviation"][..., units.trial_idx]
        + parameters["arm_effect"][..., units.arm_idx]
        + (units.study_terms * parameters["study_term_effect"][..., None, :]).sum(axis=-1)
        + (units.horizon_basis * curves).sum(axis=-1)
        + units.threshold_shift / parameters["improvement_sd"][..., units.scale_idx]
    )


def unit_slope(parameters: Any, units: Any) -> Any:
    """Return the slope of every predictor in each unit: its arm, population and trial.

    Parameters
    ----------
    parameters : mapping of str to array
        ``prognostic_slope`` and ``predictive_slope`` (..., predictor), ``population_slope``
        (..., population, predictor), ``trial_slope`` (..., trial, predictor).

    Returns
    -------
    array of shape (..., unit, predictor)
        Latent scale, per unit of the predictor's reference scale.
    """
    return (
        parameters["prognostic_slope"][..., None, :]
        + units.active[:, None] * parameters["predictive_slope"][..., None, :]
        + parameters["population_slope"][..., units.population_idx, :]
        + parameters["trial_slope"][..., units.trial_idx, :]
    )


def pattern_weight(rate: Any, value: Any) -> Any:
    """Return the weight of each pattern of binary predictors, a product of rates.

    Parameters
    ----------
    rate : array of shape (..., pattern, binary)
        Probability that the predictor is 1 in the pattern's unit; exactly 0 or 1 where known.
    value : array of shape (pattern, binary)
        The pattern's 0 or 1.
    """
    return (value * rate + (1.0 - value) * (1.0 - rate)).prod(axis=-1)
