"""Time a fit of the published evidence by the compiled kernel and by the PyMC graph, in one run.

    uv run python benchmarks/kernel_against_graph.py

Both roads go through nutpie with the same settings. The first fit of a road may compile for the
disk cache; medians are over the rest. Imports are made before the clock starts.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import nutpie  # noqa: F401 - imported here so that no fit pays for it
import pymc  # noqa: F401

from ketpredict.compiled import compile_design, draw_compiled
from ketpredict.design import Design
from ketpredict.diagnostics import diagnose
from ketpredict.evidence import load_evidence
from ketpredict.fitting import SamplerSettings, prepare
from ketpredict.graph import build
from ketpredict.predictors import load_predictors
from ketpredict.sampling import draw
from ketpredict.spec import load_spec

REPEATS = 3
OPTIONS = dataclasses.asdict(SamplerSettings(draws=500, tune=500, seed=1))


def by_kernel(design: Design) -> Any:
    """Return draws by the compiled kernel."""
    options = {name: value for name, value in OPTIONS.items() if name != "inference"}
    return draw_compiled(compile_design(design), **options)


def by_graph(design: Design) -> Any:
    """Return draws by the PyMC graph, compiled by nutpie through numba."""
    return draw(build(design), **OPTIONS)


def seconds_of(road: Callable[[Design], Any], design: Design) -> tuple[list[float], float]:
    """Return the seconds of each fit, the first one apart, and the smallest ESS of the last."""
    seconds = []
    for _ in range(1 + REPEATS):
        start = time.perf_counter()
        tree = road(design)
        seconds.append(time.perf_counter() - start)
    return seconds, diagnose(tree).ess_bulk


def main() -> None:
    """Print both roads and their ratio."""
    design, _ = prepare(load_spec("published"), load_evidence(), load_predictors())
    medians = {}
    for name, road in (("compiled kernel", by_kernel), ("PyMC graph", by_graph)):
        seconds, ess = seconds_of(road, design)
        medians[name] = statistics.median(seconds[1:])
        print(
            f"{name}: first {seconds[0]:.1f} s, then {medians[name]:.1f} s (median of {REPEATS}); "
            f"smallest bulk ESS {ess:.0f}; target_accept {OPTIONS['target_accept']}"
        )
    print(f"ratio of medians: {medians['PyMC graph'] / medians['compiled kernel']:.1f}")


if __name__ == "__main__":
    main()
