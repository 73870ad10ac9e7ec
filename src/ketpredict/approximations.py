"""Draws from normal approximations of the compiled density, with what they are worth.

Draws are weighted by importance sampling where that repairs the approximation (Pareto k at most
0.7); where it does not, they are those of the approximation as it stands, and the diagnostics say
so: weights would leave a handful of draws, repeated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ketpredict.compiled import CompiledDensity, posterior_tree
from ketpredict.importance import resample, smoothed_weights
from ketpredict.laplace import Normal, laplace
from ketpredict.layout import SCALES_AND_SHARES
from ketpredict.pathfinder import LowRankNormal, pathfinder
from ketpredict.workers import thread_pool


def draw_approximately(
    density: CompiledDensity,
    *,
    inference: str,
    draws: int,
    chains: int,
    cores: int | None,
    seed: int,
) -> xr.DataTree:
    """Return draws of a normal approximation, as :func:`~ketpredict.compiled.draw_compiled` does.

    Parameters
    ----------
    inference : {"laplace", "pathfinder"}
    draws, chains : int
        Pathfinder follows one path for each chain; Laplace has one approximation for all.

    Returns
    -------
    DataTree
        Groups ``posterior`` and ``sample_stats``; the latter holds ``log_weight``, the log ratio
        of posterior to approximation of each draw, up to a constant. Its attributes are
        ``inference``, ``pareto_k`` and ``effective_draws``.

    Raises
    ------
    KetpredictError
        No approximation was found.
    """
    log_density = density.log_density
    generators = [np.random.default_rng([seed, 2, chain]) for chain in range(chains)]
    normals: Sequence[Normal | LowRankNormal]
    if inference == "laplace":
        normals = [laplace(log_density, density.start, _is_scale(density), cores)] * chains
    else:
        starts = [density.start + rng.uniform(-1.0, 1.0, len(density.start)) for rng in generators]
        with thread_pool(cores) as pool:
            tasks = [pool.submit(pathfinder, log_density, start, rng)
                     for start, rng in zip(starts, generators, strict=True)]  # fmt: skip
            normals = [task.result() for task in tasks]
    drawn = [normal.draw(draws, rng) for normal, rng in zip(normals, generators, strict=True)]
    points = np.concatenate([own for own, _ in drawn])
    with thread_pool(cores) as pool:
        values = np.array(list(pool.map(lambda point: log_density(point)[0], points)))
    log_ratio = values - np.concatenate([own for _, own in drawn])
    weights = smoothed_weights(log_ratio)
    if weights.usable:
        chosen = resample(weights.weight, np.random.default_rng([seed, 3]))
        points, log_ratio = points[chosen], log_ratio[chosen]
    stats = xr.Dataset(
        {"log_weight": (("chain", "draw"), log_ratio.reshape(chains, draws))},
        attrs={
            "inference": inference,
            "pareto_k": weights.pareto_k,
            "effective_draws": weights.effective_draws,
        },
    )
    return posterior_tree(density, points.reshape(chains, draws, -1), stats)


def _is_scale(density: CompiledDensity) -> np.ndarray:
    """Return which places are scales and shares, unconstrained."""
    layout = density.model.layout
    found = np.zeros(layout.n_dimensions, dtype=bool)
    for name in SCALES_AND_SHARES & set(layout.start):
        first = layout.start[name]
        found[first : first + layout.size[name]] = True
    return found
