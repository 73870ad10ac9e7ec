"""Log likelihoods of a fit's outcomes and published effects, unit by unit: kept, or worked out.

Files that do not hold them (the shipped fit, fits too large to keep them) hold the design that they
follow from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy.special import gammaln, xlog1py, xlogy

from ketpredict.design import Design
from ketpredict.effect_density import effect_log_likelihood
from ketpredict.posterior import Posterior
from ketpredict.stored_design import design_of
from ketpredict.unit_outcome import take_units, unit_probability
from ketpredict.without_patients import patients_left_out

MOST_VALUES = 20_000_000
"""Draws times units up to which values of single units are held."""
_AT_ONCE = 4_000_000
_NAME = "log_likelihood_responders"


def unit_count(posterior: Posterior) -> int:
    """Return the number of units; 0 where the fit does not hold the outcome of each."""
    if patients_left_out(posterior.facts):
        return 0
    return int(posterior.groups["constant_data"].get("responders", np.empty(0)).size)


def fits_in_memory(posterior: Posterior) -> bool:
    """Return whether one value for each draw and unit may be held."""
    return posterior.n_draws * unit_count(posterior) <= MOST_VALUES


def outcome_log_likelihood(posterior: Posterior) -> np.ndarray:
    """Return the log likelihood of each unit's responders, kept or worked out once.

    Returns
    -------
    ndarray of shape (draw, unit)
        For fits of any size: ask :func:`fits_in_memory` first.
    """
    kept = posterior.groups.get("log_likelihood", {}).get("responders")
    if kept is not None:
        return kept.reshape(posterior.n_draws, -1)
    known = posterior.worked_out
    if _NAME not in known:
        known[_NAME] = np.concatenate(list(_outcomes(posterior)), axis=1)
    return known[_NAME]


def total_log_likelihood(posterior: Posterior) -> np.ndarray:
    """Return the log likelihood of all outcomes together, for fits of any size, (draw,)."""
    if fits_in_memory(posterior):
        return np.asarray(outcome_log_likelihood(posterior).sum(axis=1))
    return np.sum([part.sum(axis=1) for part in _outcomes(posterior)], axis=0)


def effects_log_likelihood(posterior: Posterior) -> np.ndarray:
    """Return the log likelihood of each published effect, kept or worked out, (draw, effect)."""
    kept = posterior.groups.get("log_likelihood", {}).get("effects")
    if kept is not None:
        return kept.reshape(posterior.n_draws, -1)
    design = design_of(posterior, patients=False)
    if not len(design.effects):
        return np.zeros((posterior.n_draws, 0))
    return effect_log_likelihood(posterior.parameters, design)


def _outcomes(posterior: Posterior) -> Iterator[np.ndarray]:
    """Yield log likelihoods (draw, unit) of some units at a time."""
    design = design_of(posterior)
    size = max(1, _AT_ONCE // posterior.n_draws)
    for start in range(0, len(design.units), size):
        index = np.arange(start, min(start + size, len(design.units)))
        yield _of_units(
            posterior, dataclasses.replace(design, units=take_units(design.units, index))
        )


def _of_units(posterior: Posterior, design: Design) -> np.ndarray:
    # Averages may leave 0 and 1 by a rounding error, and a draw must not rule out what happened.
    smallest, units = np.finfo(float).tiny, design.units
    p = np.clip(unit_probability(posterior.parameters, design), smallest, 1.0 - 1e-16)
    n, responders = units.n, units.responders
    choose = gammaln(n + 1.0) - gammaln(responders + 1.0) - gammaln(n - responders + 1.0)
    return np.asarray(xlogy(responders, p) + xlog1py(n - responders, -p) + choose)
