r"""What no data tell and a prediction needs all the same, drawn from the prior.

A part that is left out of the model (:mod:`ketpredict.parts`) is missing where a prediction leaves
the data: in another population than the only one, in another trial than the only one, in the other
kind of arm. Its posterior given everything that the data tell would be about its prior, and that is
what is drawn here, draw by draw beside the posterior:

* the scale of a grouping with one level; of slopes the variance of the part that is left out over
  that of all parts in the model. The shares are Dirichlet, so that this ratio does not depend on
  how the rest divides. Two levels differ by *two* deviations: what is unseen varies around the only
  level that is known with twice that variance (:class:`ketpredict.predictor_law.Draws`).
* predictive slopes, where the data have control arms only and an active arm can be asked for;
* where no trial has both kinds of arms, the share :math:`f` of the variance
  :math:`s^2 = s_v^2 + s_d^2/4` between trials that is the deviation's, given :math:`s`. The
  trial's level in the kind of arm that it has, :math:`w = v + a d` with :math:`a = \pm 1/2`, is
  what the data tell, so that :math:`d \mid w \sim N(4 a f w,\; 4 f (1 - f) s^2)` and
  :math:`v = w - a d`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ketpredict.design import Design
from ketpredict.parts import (
    NEVER_TOGETHER,
    ONE_TRIAL,
    ONLY_CONTROL,
    PREDICTIVE,
    SCALE_OF,
    SLOPES_LEFT_OUT,
    single_level,
)
from ketpredict.prior_families import Prior

_SMALL = 1e-300
_CELLS = 200


def draw_variable(prior: Prior, size: Any, rng: np.random.Generator) -> np.ndarray:
    """Return independent draws from one prior of a specification, of a given shape."""
    values = prior.values
    if prior.kind == "fixed":
        return np.full(size, values[0])
    if prior.kind == "half_normal":
        return np.abs(rng.normal(0.0, values[0], size))
    first, second = values
    if prior.kind == "normal":
        return rng.normal(first, second, size)
    if prior.kind == "log_normal":
        return rng.lognormal(first, second, size)
    return rng.beta(first, second, size)


def draw_untold(
    design: Design, parameters: Mapping[str, np.ndarray], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return what replaces or joins the parameters of a model that leaves parts out.

    Parameters
    ----------
    parameters : mapping of str to ndarray
        Draws, named as the posterior's variables; any number of leading axes.
    rng : numpy.random.Generator

    Returns
    -------
    dict of str to ndarray
        Empty where nothing is left out. ``population_slope_share`` and ``trial_slope_share`` are
        the variance of such a deviation over that of all parts of the slope in the model.
    """
    left_out, lead = design.left_out, parameters["intercept"].shape
    untold = {
        SCALE_OF[part]: draw_variable(design.spec.priors[SCALE_OF[part]], lead, rng)
        for part in sorted(single_level(left_out) & set(SCALE_OF))
    }
    shares = _shares(design, lead, rng)
    untold |= {
        f"{part}_slope_share": share for part, share in shares.items() if part != "predictive"
    }
    can_ask = _kinds_of_arms(design) == {False, True}
    if can_ask and left_out.get(PREDICTIVE) == ONLY_CONTROL:
        total = (parameters["slope_scale"] ** 2).sum(axis=-2)
        spread = np.sqrt(shares["predictive"][..., None] * total)
        untold["predictive_slope"] = spread * rng.normal(size=spread.shape)
        untold["slope"] = parameters["prognostic_slope"] + untold["predictive_slope"]
    if can_ask and "trial_treatment" in left_out:
        untold |= _treatment(design, {**parameters, **untold}, rng)
    return untold


def splits_trials(design: Design) -> bool:
    """Return whether the spread between trials is divided by the prior, see :func:`trial_total`."""
    why = design.left_out.get("trial_treatment")
    return why in (NEVER_TOGETHER, ONLY_CONTROL) and _kinds_of_arms(design) == {False, True}


def trial_total(design: Design, parameters: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the spread between trials as the model has it, before it was divided."""
    scale = parameters["trial_scale"]
    return np.hypot(scale, parameters["treatment_scale"] / 2.0) if splits_trials(design) else scale


def _kinds_of_arms(design: Design) -> set[bool]:
    """Return whether arms that can be asked for are active: both, or one kind."""
    return {name == "active" for name in design.arm_class}


def _shares(
    design: Design, lead: tuple[int, ...], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return the variance of each part of slopes that is left out over that of the others."""
    parts, kept = design.spec.slope_parts(), design.slope_parts
    missing = [part for part in parts if SLOPES_LEFT_OUT.get(part) in design.left_out]
    if not missing or not design.predictors:
        return {}
    share = rng.dirichlet(design.spec.slope_concentration(), lead)
    inside = share[..., [parts.index(part) for part in kept]].sum(axis=-1)
    return {part: share[..., parts.index(part)] / np.maximum(inside, _SMALL) for part in missing}


def _treatment(
    design: Design, parameters: Mapping[str, np.ndarray], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return deviations of the difference between active and control arms, and what is the trial's.

    A trial without outcomes counts as one of active arms.
    """
    units, lead = design.units, parameters["intercept"].shape
    kinds = [set(units.active[units.trial_idx == t] > 0) for t in range(len(design.trials))]
    toward = np.array([-0.5 if kind == {False} else 0.5 for kind in kinds])
    if design.left_out["trial_treatment"] == ONE_TRIAL:
        spread = parameters["treatment_scale"][..., None]
        deviation = spread * rng.normal(size=(*lead, 1)) * (len(kinds[0]) == 1)
        effect = parameters["trial_effect"] - toward * deviation
        return {"treatment_deviation": deviation, "trial_effect": effect}
    level, total = parameters["trial_effect"], parameters["trial_scale"]
    share = _deviations_share(design.spec.priors, total, rng)
    part = share[..., None]
    spread = 2.0 * np.sqrt(part * (1.0 - part)) * total[..., None]
    deviation = 4.0 * toward * part * level + spread * rng.normal(size=level.shape)
    return {
        "trial_scale": np.sqrt(1.0 - share) * total,
        "treatment_scale": 2.0 * np.sqrt(share) * total,
        "treatment_deviation": deviation,
        "trial_effect": level - toward * deviation,
    }


def _deviations_share(
    priors: Mapping[str, Prior], total: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return how much of the variance between trials is the deviations', given that variance.

    With s_v = s cos(angle) and s_d / 2 = s sin(angle) the angle has a density on cells that are
    fine enough; of known spreads the share is known.
    """
    own, further = priors["trial_scale"], priors["treatment_scale"]
    if "fixed" in (own.kind, further.kind):
        shape = total.shape
        parts = [draw_variable(prior, shape, rng) / k for prior, k in ((own, 1.0), (further, 2.0))]
        return np.asarray(parts[1] ** 2 / np.maximum(parts[0] ** 2 + parts[1] ** 2, _SMALL))
    step = 0.5 * np.pi / _CELLS
    middle = (np.arange(_CELLS) + 0.5) * step
    slow = (np.cos(middle) / own.values[0]) ** 2 + (2.0 * np.sin(middle) / further.values[0]) ** 2
    density = np.exp(-0.5 * total[..., None] ** 2 * (slow - slow.min()))
    below = np.cumsum(density, axis=-1)
    cell = (below < rng.random(total.shape)[..., None] * below[..., -1:]).sum(axis=-1)
    return np.asarray(np.sin((cell + rng.random(total.shape)) * step) ** 2)
