"""Replicates in the groups where ArviZ looks for them, one value for each unit.

With these groups every ArviZ function and plot that takes a DataTree works on a fit, also on one
that is too large to have kept its replicates, on the prior, and on trials as if they were new:
``arviz_plots.plot_ppc_dist(tree)``, ``plot_ppc_pava(tree, data_type="binary")``,
``arviz_stats.loo(tree, var_name="responders")``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from ketpredict.design import Design
from ketpredict.errors import DataError
from ketpredict.loo import MOST_AT_ONCE, event_log_likelihood
from ketpredict.posterior import Posterior
from ketpredict.replicates import KNOWN_TRIAL, NEW_TRIAL, probability_draws, replicate, unit_labels
from ketpredict.sampled_variables import with_sampled_variables
from ketpredict.stored_design import design_of
from ketpredict.summary import prior_of

_MOST_UNITS = 20 * MOST_AT_ONCE


def predictive_groups(
    posterior: Posterior, setting: str = KNOWN_TRIAL, kind: str = "both", seed: int = 0
) -> xr.DataTree:
    """Return a DataTree with the posterior and its replicates, unit by unit.

    Parameters
    ----------
    setting : {"known_trial", "new_trial"}
        Of ``posterior_predictive``. ``prior_predictive`` is always as new trials, and
        ``log_likelihood`` always in known ones.
    kind : {"both", "patients", "arm"}
        Which units.
    seed : int

    Returns
    -------
    DataTree
        ``posterior``, ``posterior_predictive``, ``prior_predictive``, ``log_likelihood``,
        ``observed_data`` (each ``responders``) and ``constant_data`` (``n``), over ``unit`` with
        its labels as coordinates.

    Raises
    ------
    DataError
        No such units, or so many that they do not fit into memory: add up by group instead
        (:func:`ketpredict.replicates.replicate`).
    """
    design = design_of(posterior)
    labels = unit_labels(design)
    wanted = np.ones(len(labels), dtype=bool) if kind == "both" else labels["kind"] == kind
    units = np.flatnonzero(wanted)
    if not len(units):
        raise DataError(f"There are no units of the kind '{kind}'; expected both, patients or arm.")
    if posterior.n_draws * len(units) > _MOST_UNITS:
        raise DataError(
            f"{len(units)} units in {posterior.n_draws} draws are too many to hold one by one. "
            "Add up by group with ketpredict.replicates.replicate."
        )
    shape = posterior.groups["posterior"]["intercept"].shape[:2]
    coords: dict[str, Any] = {"unit": units}
    for name in ("kind", "trial", "population", "arm", "known"):
        coords[name] = ("unit", labels[name].to_numpy(dtype=str)[units])
    replicated = replicate(posterior, ("unit",), setting, seed).replicated[:, units]
    prior = replicate(prior_of(posterior), ("unit",), NEW_TRIAL, seed).replicated[:, units]
    groups = {
        "posterior_predictive": _dataset(replicated, shape, coords),
        "prior_predictive": _dataset(prior, (1, len(prior)), coords),
        "log_likelihood": _dataset(_log_likelihood(posterior, design, units), shape, coords),
        "observed_data": xr.Dataset(
            {"responders": ("unit", design.units.responders[units].astype(int))}, coords
        ),
        "constant_data": xr.Dataset({"n": ("unit", design.units.n[units].astype(int))}, coords),
        "posterior": with_sampled_variables(posterior).to_datatree()["posterior"].to_dataset(),
    }
    return xr.DataTree.from_dict(groups)


def _dataset(values: np.ndarray, shape: tuple[int, int], coords: dict[str, Any]) -> xr.Dataset:
    labelled = {"chain": np.arange(shape[0]), "draw": np.arange(shape[1]), **coords}
    arrays = {"responders": (("chain", "draw", "unit"), values.reshape(*shape, -1))}
    return xr.Dataset(arrays, labelled)


def _log_likelihood(posterior: Posterior, design: Design, units: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    most = posterior.n_draws
    probability = probability_draws(posterior, units, KNOWN_TRIAL, rng, most=most)
    responders, n = design.units.responders[units], design.units.n[units]
    columns = [
        event_log_likelihood(r, of, p)
        for r, of, p in zip(responders, n, probability.T, strict=True)
    ]
    return np.stack(columns, axis=1)
