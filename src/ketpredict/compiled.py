"""NUTS by nutpie on the compiled kernel: the fast road from a design to draws.

The only file that knows nutpie's internals. nutpie runs a model through two C functions, the log
density with its gradient and the expansion of a draw; it has no public door for them, so that its
versions are tested one by one (:mod:`ketpredict.tested_versions`); another may fail, which
:class:`~ketpredict.errors.CompiledRoadError` says.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import ndtri

from ketpredict.design import Design
from ketpredict.errors import KetpredictError
from ketpredict.expansion import expand
from ketpredict.layout import Layout, lay_out
from ketpredict.marginal import between_trial_sd
from ketpredict.parameter_dims import parameter_dims
from ketpredict.sampling import sample_with_nutpie
from ketpredict.stopping import check_stop
from ketpredict.tested_versions import cannot_be_used

try:
    from nutpie import _lib
    from nutpie.sample import CompiledModel

    from ketpredict.compilation import compile_missing
    from ketpredict.kernel_numbers import PIECE_ADDRESS, PIECES
    from ketpredict.pieces import addresses, compiled
except (ImportError, AttributeError, TypeError) as _error:
    raise cannot_be_used(_error) from _error

_POINT, _PLACE = "point", "place"
_POINTER = ctypes.POINTER(ctypes.c_double)


@dataclasses.dataclass(frozen=True)
class _Model(CompiledModel):  # type: ignore[misc]
    """What nutpie samples: addresses of two functions and of one array of numbers."""

    layout: Layout
    start: np.ndarray
    memory: np.ndarray

    @property
    def n_dim(self) -> int:
        return self.layout.n_dimensions

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {_POINT: (self.n_dim,)}

    @property
    def coords(self) -> dict[str, Any]:
        return {_PLACE: pd.RangeIndex(self.n_dim)}

    def _make_sampler(
        self,
        settings: Any,
        init_mean: Any,
        cores: Any,
        progress_type: Any,
        extra_callback: Any,
        extra_callback_rate: Any,
        store: Any,
    ) -> Any:
        model = self._make_model(init_mean)
        return _lib.PySampler.from_pymc(
            settings, cores, model, progress_type, extra_callback, extra_callback_rate, store
        )

    def _make_model(self, init_mean: Any) -> Any:
        density, copy = compiled("whole_density"), compiled("copy_draw")
        address = self.memory.ctypes.data
        sizes, dims = {_PLACE: self.n_dim}, {_POINT: (_PLACE,)}
        variables = _lib.PyVariable.new_variables(
            [_POINT], ["float64"], [(self.n_dim,)], sizes, dims
        )
        return _lib.PyMcModel(
            _lib.LogpFunc(density.address, address, self),
            _lib.ExpandFunc(self.n_dim, self.n_dim, copy.address, address, self),
            variables,
            self.n_dim,
            sizes,
            self.coords,
            self._initial_point,
            None,
        )

    def _initial_point(self, seed: int) -> np.ndarray:
        """Return a start around the centre of the prior."""
        return self.start + np.random.default_rng(seed).uniform(-1.0, 1.0, self.n_dim)


@dataclasses.dataclass(frozen=True)
class CompiledDensity:
    """A design made ready for :func:`draw_compiled`."""

    design: Design
    model: _Model

    @property
    def start(self) -> np.ndarray:
        """The centre of the prior as an unconstrained point."""
        return self.model.start

    def log_density(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Return log density and gradient at an unconstrained point."""
        check_stop()
        point = np.ascontiguousarray(point, dtype=float)
        gradient, value = np.empty(self.model.n_dim), np.empty(1)
        places = [array.ctypes.data_as(_POINTER) for array in (point, gradient, value)]
        memory = self.model.memory.ctypes.data_as(_POINTER)
        compiled("whole_density").ctypes(self.model.n_dim, *places, memory)
        return float(value[0]), gradient


def compile_design(design: Design) -> CompiledDensity:
    """Return the compiled density of a design.

    Raises
    ------
    CompiledRoadError
        nutpie or numba is not one that this file was written for.
    """
    layout = lay_out(design)
    start = _centre(design, layout)
    memory = np.concatenate([[len(layout.numbers) + 1.0], layout.numbers])
    place = 1 + int(layout.numbers[2 * PIECE_ADDRESS])
    with _strangers():
        compile_missing([*layout.pieces, "whole_density", "copy_draw"])
        memory[place : place + len(PIECES)] = addresses(layout.pieces)
        model = _Model(dims={_POINT: (_PLACE,)}, layout=layout, start=start, memory=memory)
        model._make_model(None)  # a trial: a stranger's nutpie must fail here, not in the middle
    return CompiledDensity(design, model)


@contextlib.contextmanager
def _strangers() -> Iterator[None]:
    """Take what compilers raise for a sign that they are not those that are tested."""
    try:
        yield
    except (KetpredictError, MemoryError):
        raise
    except Exception as error:  # typing, lowering, linking: there is no end of kinds
        raise cannot_be_used(error) from error


def draw_compiled(
    density: CompiledDensity,
    *,
    draws: int,
    tune: int,
    chains: int,
    cores: int | None,
    target_accept: float,
    seed: int,
    progressbar: bool,
) -> xr.DataTree:
    """Return posterior draws of a design.

    Returns
    -------
    DataTree
        Groups ``posterior``, with the variables and dimensions of the graph's posterior but for
        the standard normals behind its effects, and ``sample_stats``.

    Raises
    ------
    CompiledRoadError
        nutpie takes or returns something else than this file was written for.
    """
    try:
        tree = sample_with_nutpie(
            density.model,
            draws=draws,
            tune=tune,
            chains=chains,
            cores=cores,
            seed=seed,
            target_accept=target_accept,
            progress_bar=progressbar,
        )
    except (AttributeError, TypeError) as error:  # other kinds are of the sampling itself
        raise cannot_be_used(error) from error
    with _strangers():
        points = tree["posterior"][_POINT].to_numpy()
        if points.ndim != 3 or points.shape[-1] != density.model.n_dim:
            raise TypeError(f"draws of shape {points.shape} for {density.model.n_dim} dimensions")
        statistics = tree["sample_stats"].to_dataset()
    return posterior_tree(density, points, statistics)


def posterior_tree(
    density: CompiledDensity, points: np.ndarray, sample_stats: xr.Dataset
) -> xr.DataTree:
    """Return unconstrained points (chain, draw, place) as named parameters, with their statistics.

    Returns
    -------
    DataTree
        As :func:`draw_compiled` has it.
    """
    design = density.design
    dims, coords = parameter_dims(design)
    parameters = expand(design, density.model.layout, points)
    posterior = xr.Dataset(
        {name: (("chain", "draw", *dims[name]), values) for name, values in parameters.items()},
        coords={
            dim: labels
            for dim, labels in coords.items()
            if any(dim in dims[name] for name in parameters)
        },
    )
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": sample_stats})


def _centre(design: Design, layout: Layout) -> np.ndarray:
    """Return the middle of the prior in the unconstrained space."""
    priors = design.spec.priors
    centre = np.zeros(layout.n_dimensions)
    for name, first in layout.start.items():
        place = slice(first, first + layout.size[name])
        if name == "predictor_between_scale":
            known = [between_trial_sd(predictor) for predictor in design.predictors]
            centre[place] = np.log(known) + priors[name].values[0]
        elif name == "trial_mean_reported":
            centre[place] = _reported_means(design)
        if name not in priors:
            continue
        prior = priors[name]
        if prior.kind == "half_normal":
            centre[first] = math.log(prior.values[0])
        elif prior.kind == "beta":
            centre[first] = math.log(prior.values[0] / prior.values[1])
        elif prior.kind in ("normal", "log_normal") and name != "predictor_between_scale":
            centre[place] = prior.values[0]
    return centre


def _reported_means(design: Design) -> np.ndarray:
    """Return the means, and probits of the rates, of the cells that somebody reports."""
    laws, predictor = design.cells[: design.n_reported].T
    values = design.trial_values[design.law_trial[laws], predictor]
    is_binary = np.isin(predictor, design.binary_idx)
    return np.where(is_binary, ndtri(np.clip(values, 0.02, 0.98)), np.nan_to_num(values))
