"""What PyMC's model samples, worked out from the named parameters that a fit keeps.

The model samples standard normals (``trial_effect_raw``) and names what they make
(``trial_effect``); a fit keeps the named ones only, and its file may leave out what repeats others.
A function of PyMC that does not find a sampled variable in a trace draws it from its prior without
a word, so that whatever is handed to PyMC needs all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from ketpredict.design import Design
from ketpredict.layout import Layout, lay_out
from ketpredict.link import variance as link_variance
from ketpredict.marginal import reference_variance
from ketpredict.parameter_dims import STANDARD_NORMAL_DIMS, coordinates, parameter_dims
from ketpredict.posterior import Posterior
from ketpredict.stored_design import design_of
from ketpredict.unconstrained import to_points


def with_sampled_variables(posterior: Posterior) -> Posterior:
    """Return the fit with every variable that its PyMC model samples among its posterior draws.

    Parameters
    ----------
    posterior : Posterior

    Returns
    -------
    Posterior
        A standard normal that nothing depends on, since its scale is 0, is 0. As it was for a fit
        that does not hold the data that it was fitted to: there is no model for it.
    """
    if "effect_kind" not in posterior.groups.get("constant_data", {}):
        return posterior
    design = design_of(posterior, patients=False)
    layout = lay_out(design)
    kept = posterior.groups["posterior"]
    lead = kept["intercept"].shape[:2]
    found = {
        name: values.reshape(*lead, *values.shape[1:])
        for name, values in _sampled(design, layout, posterior.parameters).items()
        if name not in kept
    }
    dims = {**parameter_dims(design)[0], **STANDARD_NORMAL_DIMS}
    labels = coordinates(design)
    used = {dim for name in found for dim in dims[name]}
    return dataclasses.replace(
        posterior,
        groups={**posterior.groups, "posterior": {**kept, **found}},
        dims={**posterior.dims, **{name: dims[name] for name in found}},
        coords={**posterior.coords, **{dim: labels[dim] for dim in sorted(used)}},
    )


def _sampled(
    design: Design, layout: Layout, parameters: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return sampled variables that a fit may lack, (draw, ...)."""
    parameters = {**parameters, **_scales(design, parameters)}
    labels = coordinates(design)
    points = to_points(design, layout, parameters)
    found = {}
    for name, dims in STANDARD_NORMAL_DIMS.items():
        if name in layout.start:
            first = layout.start[name]
            shape = tuple(len(labels[dim]) for dim in dims)
            values = points[:, first : first + layout.size[name]]
            found[name] = values.reshape(len(points), *shape)
    if "across_scale" in layout.start:
        found["across_scale"] = np.exp(points[:, layout.start["across_scale"]])
    if design.n_reported:
        found["trial_mean_reported"] = parameters["trial_mean"][:, : design.n_reported]
    size = len(design.continuous_idx)
    if size:
        factor = np.linalg.cholesky(parameters["predictor_covariance"])
        found["predictor_cholesky"] = factor[(slice(None), *np.tril_indices(size))]
    return found


def _scales(design: Design, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the scales of the slopes as the model works them out from what it samples.

    The draws that ship are rounded: by a rounded scale the standard normals would not lead back to
    the slopes.
    """
    if not design.predictors:
        return {}
    explained = parameters["explained_variance"]
    budget = link_variance(design.spec.link) * explained / (1.0 - explained)
    variance = np.array([reference_variance(predictor) for predictor in design.predictors])
    of_predictor = parameters.get("predictor_share", np.ones((len(explained), 1)))
    share = parameters["slope_share"][:, :, None] * of_predictor[:, None, :] / variance
    return {"slope_scale": np.sqrt(budget[:, None, None] * share)}
