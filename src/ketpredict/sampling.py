"""Sampling: from a PyMC model to a DataTree of draws."""

from __future__ import annotations

import inspect
from typing import Any

import pymc as pm
import xarray as xr

from ketpredict.diagnostics import APPROXIMATIONS
from ketpredict.errors import KetpredictError
from ketpredict.stopping import check_stop
from ketpredict.tested_versions import found_words, tested_words

NUTS_SAMPLERS = ("nutpie", "pymc", "numpyro", "blackjax")
_NUTPIE = ("nuts", "nutpie")
_LOOK_UP = 0.2
"""Seconds between two questions whether to go on."""


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
    settings |= {"var_names": parameter_names(model)}
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

        compiled = nutpie.compile_pymc_model(model, var_names=parameter_names(model))
    except (ImportError, AttributeError, TypeError) as error:
        raise KetpredictError(
            f"The PyMC graph cannot be compiled with {found_words()} ({type(error).__name__}: "
            f"{error}). Install {tested_words()}, or use inference='pymc', which takes longer."
        ) from error
    # More chains at once than cores only makes each of them slower.
    tree = sample_with_nutpie(
        compiled,
        seed=seed,
        target_accept=target_accept,
        progress_bar=progressbar,
        **settings,
    )
    return _only_draws(tree)


def parameter_names(model: pm.Model) -> list[str]:
    """Return the variables that draws are kept of: none as long as the data."""
    dims = model.named_vars_to_dims
    variables = [*model.free_RVs, *model.deterministics]
    return [v.name for v in variables if "unit" not in (dims.get(v.name) or ())]


def sample_with_nutpie(compiled: Any, **settings: Any) -> xr.DataTree:
    """Return all draws that nutpie was asked for, or end with its threads.

    Left to wait by itself, nutpie takes Ctrl-C for the wish to have the draws so far, and cannot be
    told to stop where it is not the main thread that waits.

    Parameters
    ----------
    compiled : nutpie.CompiledModel
    **settings
        As ``nutpie.sample`` takes them.

    Raises
    ------
    KeyboardInterrupt
        The user, or the caller of this thread, wants no more of it.
    """
    import nutpie

    sampler = nutpie.sample(compiled, blocking=False, save_warmup=False, **settings)
    try:
        while True:
            check_stop()
            try:
                return sampler.wait(timeout=_LOOK_UP)
            except TimeoutError:
                continue
    except BaseException:
        sampler.cancel()  # and its threads have ended: what they read may go
        raise


def _only_draws(tree: xr.DataTree) -> xr.DataTree:
    keep = {name: tree[name].to_dataset() for name in ("posterior", "sample_stats")}
    return xr.DataTree.from_dict(keep)
