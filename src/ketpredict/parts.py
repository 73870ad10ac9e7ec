"""Which parts of the model the data can tell apart; the others are left out of it.

A grouping with one level has no deviation: nothing tells it from what all levels have in common.
Where all arms are of one class a predictor has one slope, and where no trial has arms of both
classes the deviation of their difference is one with the trial's own. Such parts have no posterior
of their own: they would only widen what stands beside them, and slow the sampler down. Parts are
named like the settings of the specification that ask for them, and ``predictive_slope``.

The specification stays what the user wrote; what was left out, and why, is kept with the design
and the fit. What a prediction needs all the same comes from the prior
(:mod:`ketpredict.untold`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from ketpredict.prior_families import SLOPE_PARTS, Prior
from ketpredict.spec import ModelSpec

PREDICTIVE = "predictive_slope"
ONE_POPULATION, ONE_TRIAL = "one population", "one trial"
ONLY_ACTIVE, ONLY_CONTROL = "only active arms", "only control arms"
NEVER_TOGETHER = "no trial with active and control arms"
REASONS = (ONE_POPULATION, ONE_TRIAL, ONLY_ACTIVE, ONLY_CONTROL, NEVER_TOGETHER)
SCALE_OF = {
    "population_intercept": "population_scale",
    "trial_intercept": "trial_scale",
    "trial_treatment": "treatment_scale",
}
SLOPES_LEFT_OUT = {
    "predictive": PREDICTIVE,
    "population": "population_slope",
    "trial": "trial_slope",
}
"""Parts of a slope that can be left out, by their name in ``slope_part``."""
PARTS = (*SCALE_OF, *SLOPES_LEFT_OUT.values())


def wanted(spec: ModelSpec, part: str) -> bool:
    """Return whether a specification asks for a part."""
    return part == PREDICTIVE or bool(getattr(spec.pooling, part))


def slope_parts(spec: ModelSpec, left_out: Mapping[str, str]) -> tuple[str, ...]:
    """Return the parts of a slope that a model has, in the order of ``slope_share``."""
    return tuple(p for p in spec.slope_parts() if SLOPES_LEFT_OUT.get(p) not in left_out)


def slope_concentration(spec: ModelSpec, left_out: Mapping[str, str]) -> tuple[float, ...]:
    """Return the Dirichlet concentration of :func:`slope_parts`."""
    whole = dict(zip(SLOPE_PARTS, spec.priors["slope_share"].values, strict=True))
    return tuple(whole[part] for part in slope_parts(spec, left_out))


def single_level(left_out: Mapping[str, str]) -> frozenset[str]:
    """Return the parts left out because their grouping has one level."""
    return frozenset(part for part, why in left_out.items() if why in (ONE_POPULATION, ONE_TRIAL))


class Labelled(Protocol):
    """What of :class:`ketpredict.design.Units` says which groups there are."""

    @property
    def population_idx(self) -> np.ndarray:
        """Population of each unit."""

    @property
    def trial_idx(self) -> np.ndarray:
        """Trial of each unit."""

    @property
    def active(self) -> np.ndarray:
        """1.0 in an active arm, 0.0 in a control arm."""


def find_left_out(
    spec: ModelSpec, units: Labelled, n_trials: int, effect_unseen: np.ndarray
) -> dict[str, str]:
    """Return the parts that a specification asks for and the data cannot tell apart, with why.

    Published effects speak of slopes under active treatment, each cohort as a trial of its own;
    of levels they say nothing.

    Parameters
    ----------
    n_trials : int
        Those with predictors but no outcome included.
    effect_unseen : ndarray of shape (effect_group,)
        How much of each published cohort is of populations that no unit has.
    """
    trial_idx, active = units.trial_idx, units.active
    found: dict[str, str] = {}
    if len(np.unique(units.population_idx)) == 1:
        found["population_intercept"] = ONE_POPULATION
        if not effect_unseen.any():
            found["population_slope"] = ONE_POPULATION
    if n_trials == 1:
        found |= dict.fromkeys(("trial_intercept", "trial_treatment"), ONE_TRIAL)
        if not len(effect_unseen):
            found["trial_slope"] = ONE_TRIAL
    elif spec.pooling.trial_intercept and not _together(trial_idx, active):
        found["trial_treatment"] = _one_class(active) or NEVER_TOGETHER
    seen = np.append(active, np.ones(len(effect_unseen)))
    if one := _one_class(seen):
        found[PREDICTIVE] = one
    return {part: why for part, why in found.items() if _missed(spec, part)}


def _together(trial_idx: np.ndarray, active: np.ndarray) -> bool:
    """Return whether any trial has active and control arms."""
    return bool(set(trial_idx[active > 0]) & set(trial_idx[active == 0]))


def _one_class(active: np.ndarray) -> str:
    """Return which class of arms is the only one, in words; empty if there are both."""
    if (active > 0).all():
        return ONLY_ACTIVE
    return ONLY_CONTROL if (active == 0).all() else ""


def _missed(spec: ModelSpec, part: str) -> bool:
    """Return whether the model would have a part, were it not left out."""
    if part in SCALE_OF:
        varies = spec.priors[SCALE_OF[part]] != Prior("fixed", (0.0,))
    else:
        varies = bool(spec.predictors) and spec.priors["explained_variance"].values != (0.0,)
    return wanted(spec, part) and varies


def part_words(part: str) -> str:
    """Return what a part is about, in words."""
    return _WORDS[part]


def left_out_messages(
    left_out: Mapping[str, str], populations: Sequence[str], trials: Sequence[str]
) -> tuple[str, ...]:
    """Return what was left out and what that means for predictions, a sentence or two for each why.

    Parameters
    ----------
    populations, trials : sequence of str
        Of the fit.
    """
    by_reason: dict[str, list[str]] = {}
    for part, why in left_out.items():
        by_reason.setdefault(why, []).append(part)
    return tuple(_message(why, parts, populations, trials) for why, parts in by_reason.items())


def _message(why: str, parts: list[str], populations: Sequence[str], trials: Sequence[str]) -> str:
    what = " and ".join(_WORDS[part] for part in parts)
    if why == ONE_POPULATION:
        return (
            f"All outcomes are of one population ({populations[0]}), so that the model leaves out "
            f"{what}: levels and slopes are those of this population. A prediction for another one "
            "takes the difference between two populations from the prior."
        )
    if why == ONE_TRIAL:
        return (
            f"All data are of one trial ({trials[0]}), so that the model leaves out {what}: levels "
            "and slopes are those of this trial. A prediction for another one takes the difference "
            "between two trials from the prior."
        )
    if why == NEVER_TOGETHER:
        return (
            f"No trial has both active and control arms, so that the model leaves out {what}: it "
            "cannot be told from how trials differ. A prediction for the other kind of arm in a "
            "known trial takes its share from the prior."
        )
    kind, other = ("active", "a control") if why == ONLY_ACTIVE else ("control", "an active")
    slopes = f" Slopes are those in {kind} arms." if PREDICTIVE in parts else ""
    asked = " A prediction for an active arm takes what sets it apart from the prior."
    return (
        f"No arm of the data is {other} arm, so that the model leaves out {what}.{slopes}"
        f"{asked if why == ONLY_CONTROL else ''}"
    )


_WORDS = {
    "population_intercept": "how response differs between populations",
    "population_slope": "how slopes differ between populations",
    "trial_intercept": "how response differs between trials",
    "trial_treatment": "how the difference of active and control arms varies between trials",
    "trial_slope": "how slopes differ between trials",
    PREDICTIVE: "how slopes differ between active and control arms",
}
"""What each part is about."""
