"""Sampling: from a PyMC model to a DataTree of draws."""

from __future__ import annotations

import inspect
from typing import Any

import pymc as pm
import xarray as xr

from ketpredict.diagnostics import APPROXIMATIONS
from ketpredict.errors import KetpredictError
from ketpredict.tested_versions import advice, found_versions

NUTS_SAMPLERS = ("nutpie", "pymc", "numpyro", "blackjax")
_NUTPIE = ("nuts", "nutpie")


def step_methods() -> tuple[str, ...]:
    """Return the names of PyMC's step methods that can sample the whole model."""
    names = ("NUTS", "HamiltonianMC", "Slice", "Metropolis", "DEMetropolisZ")
    return tuple(name for name in names if inspect.isclass(getattr(pm, name, None)))


def draw(
    model: pm.Model,
    *,
    inference: str,
    draws: int,
    tune: int,
    chains: int,
    cores: int | None,
    target_accept: float,
    seed: int,
    progressbar: bool,
) -> xr.DataTree:
    """Return posterior draws of a model.

    Parameters
    ----------
    inference : str
        ``"nuts"`` (NUTS by nutpie), ``"nutpie"``, ``"pymc"``, ``"numpyro"`` or ``"blackjax"``
        (NUTS by that library), or the name of a PyMC step method such as ``"Slice"``.
    seed : int
        The same seed, data and machine give the same draws.

    Returns
    -------
    DataTree
        Groups ``posterior`` and ``sample_stats``.

    Raises
    ------
    KetpredictError
        An unknown sampler, or a library that is not installed.
    """
    settings: dict[str, Any] = {"draws": draws, "tune": tune, "chains": chains, "cores": cores}
    if inference in _NUTPIE:
        return _draw_with_nutpie(model, settings, target_accept, seed, progressbar)
    settings |= {"random_seed": seed, "progressbar": progressbar}
    settings |= {"compute_convergence_checks": False, "model": model}
    if inference in NUTS_SAMPLERS:
        settings |= {"nuts_sampler": inference, "target_accept": target_accept}
    elif inference in step_methods():
        with model:
            settings["step"] = getattr(pm, inference)()
    else:
        raise KetpredictError(
            f"inference is {inference!r}; expected one of "
            f"{', '.join(('nuts', *APPROXIMATIONS, *NUTS_SAMPLERS, *step_methods()))}."
        )
    try:
        return _only_draws(pm.sample(**settings))
    except ImportError as error:
        raise KetpredictError(
            f"inference='{inference}' needs a library that is not installed: {error}. "
            "Install ketpredict[jax] or use inference='nuts'."
        ) from error


def _draw_with_nutpie(
    model: pm.Model, settings: dict[str, Any], target_accept: float, seed: int, progressbar: bool
) -> xr.DataTree:
    try:
        import nutpie

        # More chains at once than cores only makes each of them slower.
        settings |= {"seed": seed, "target_accept": target_accept}
        settings |= {"progress_bar": progressbar, "save_warmup": False}
        inspect.signature(nutpie.sample).bind(None, **settings)
        compiled = nutpie.compile_pymc_model(model)
    except (ImportError, AttributeError, TypeError) as error:
        raise KetpredictError(
            f"nutpie {found_versions()['nutpie']} cannot be used ({type(error).__name__}: "
            f"{error}). Install the one that is tested ({advice()}), or use inference='pymc', "
            "which takes longer."
        ) from error
    return _only_draws(nutpie.sample(compiled, **settings))


def _only_draws(tree: xr.DataTree) -> xr.DataTree:
    keep = {name: tree[name].to_dataset() for name in ("posterior", "sample_stats")}
    return xr.DataTree.from_dict(keep)
