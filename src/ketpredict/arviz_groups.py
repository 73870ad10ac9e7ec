"""A fit as ArviZ takes it: log likelihood of the responders, log prior by blocks.

``arviz_stats.loo(tree)`` and ``psense_summary(tree)`` take every variable of ``log_likelihood`` as
the data. These are the responders, patients and published arms, whatever the file keeps; published
effects of predictors stand apart, in ``log_likelihood_effects``.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from ketpredict.errors import KetpredictWarning
from ketpredict.log_prior import log_prior_blocks
from ketpredict.pointwise import (
    MOST_VALUES,
    effects_log_likelihood,
    fits_in_memory,
    outcome_log_likelihood,
    unit_count,
)
from ketpredict.posterior import EFFECTS_GROUP, Posterior
from ketpredict.sampled_variables import with_sampled_variables

_TOLD = (
    "One value for each unit: a published arm, or patients with equal rows. To leave out one "
    "patient at a time, or to pair the patients of fits with different predictors, use "
    "ketpredict.compare and the classifier's loo()."
)


def arviz_tree(posterior: Posterior) -> xr.DataTree:
    """Return the groups of a fit with those that ArviZ's model checks look for.

    Returns
    -------
    DataTree
        The groups of :meth:`ketpredict.posterior.Posterior.to_datatree`; ``log_likelihood`` with
        ``responders`` over ``unit``; ``log_likelihood_effects`` with ``effects`` over ``effect``,
        where published effects enter; and ``log_prior``, one variable for each block of
        :data:`ketpredict.log_prior.BLOCKS`. A fit that was saved without its patients has no
        ``log_likelihood``.

    Warns
    -----
    KetpredictWarning
        The units are too many to hold a value for each in each draw; ``log_likelihood`` is left
        out then, and the message names what does without.
    """
    tree = with_sampled_variables(posterior).to_datatree()
    units = unit_count(posterior)
    if units and fits_in_memory(posterior):
        if "log_likelihood" not in tree:
            values = {"responders": (("unit",), outcome_log_likelihood(posterior))}
            tree["log_likelihood"] = _group(posterior, values)
        tree["log_likelihood"].attrs["units"] = _TOLD
    elif units:
        _say_left_out(posterior, units)
    if len(posterior.coords.get("effect", ())) and EFFECTS_GROUP not in tree:
        effects = effects_log_likelihood(posterior)
        tree[EFFECTS_GROUP] = _group(posterior, {"effects": (("effect",), effects)})
    blocks = log_prior_blocks(
        posterior.parameters, posterior.spec, posterior.predictors, posterior.coords
    )
    tree["log_prior"] = _group(posterior, {name: ((), values) for name, values in blocks.items()})
    return tree


def _group(
    posterior: Posterior, variables: Mapping[str, tuple[tuple[str, ...], np.ndarray]]
) -> xr.DataTree:
    """Return a group of variables of draws, given with all chains joined."""
    lead = posterior.groups["posterior"]["intercept"].shape[:2]
    arrays = {
        name: (("chain", "draw", *dims), values.reshape(*lead, *values.shape[1:]))
        for name, (dims, values) in variables.items()
    }
    coords: dict[str, Any] = {"chain": np.arange(lead[0]), "draw": np.arange(lead[1])}
    coords |= {dim: posterior.coords[dim] for dims, _ in variables.values() for dim in dims}
    return xr.DataTree(xr.Dataset(arrays, coords))


def _say_left_out(posterior: Posterior, units: int) -> None:
    warnings.warn(
        f"posterior_ holds no log_likelihood: {units} units in {posterior.n_draws} draws are more "
        f"than {MOST_VALUES // 10**6} million values. The classifier's loo() and "
        "ketpredict.compare work some units at a time and need none.",
        KetpredictWarning,
        stacklevel=4,
    )
