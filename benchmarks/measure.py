"""What one process of a benchmark measures of itself: seconds by stage, imports, memory, ESS."""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

FIT_STAGES = ("build", "compile", "sample", "diagnose", "rest")
"""What a fit call consists of; imports are counted apart wherever they happen."""


_SMALLEST_IMPORT = 0.005


class ImportClock:
    """Seconds that imports take in this process, also those in the middle of other work.

    Python calls ``_find_and_load`` for modules that are not loaded yet, and only then, so that
    listening there costs nothing once everything is loaded.

    Attributes
    ----------
    seconds : float
        In all, nested imports counted once.
    by_package : dict of str to float
        Each package's own modules, without what they import in turn.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.by_package: dict[str, float] = {}
        self._inner: list[float] = []
        machinery: Any = importlib._bootstrap  # type: ignore[attr-defined]
        self._load = machinery._find_and_load
        machinery._find_and_load = self._timed

    def _timed(self, name: str, import_: Any) -> Any:
        start = time.perf_counter()
        self._inner.append(0.0)
        try:
            return self._load(name, import_)
        finally:
            elapsed = time.perf_counter() - start
            own = elapsed - self._inner.pop()
            package = name.partition(".")[0]
            self.by_package[package] = self.by_package.get(package, 0.0) + own
            if self._inner:
                self._inner[-1] += elapsed
            else:
                self.seconds += elapsed


CLOCK = ImportClock()
"""Listens from here on: import this module before any library."""


def hide_packages(names: tuple[str, ...]) -> None:
    """Make packages look as if they were not installed.

    Libraries load JAX or sparse when they find them; a row that does not need these must not pay
    for the row that does.
    """
    position = sys.meta_path.index(PathFinder)

    class WithoutThem(PathFinder):
        @classmethod
        def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> Any:
            if fullname.partition(".")[0] in names:
                return None
            return PathFinder.find_spec(fullname, path, target)

    sys.meta_path[position] = WithoutThem


class Stopwatch:
    """Seconds by stage, written to a file at every change so that an ended process leaves a trace.

    Parameters
    ----------
    path : Path
        Where the report goes, as JSON.
    imports : ImportClock
        Seconds of imports within a stage are taken out of it and counted under ``import``.
    """

    def __init__(self, path: Path, imports: ImportClock) -> None:
        self.report: dict[str, Any] = {"stages": {}, "finished": False}
        self._path, self._imports = path, imports
        self._stage: str | None = None
        self._mark, self._import_mark = time.perf_counter(), 0.0

    def stage(self, name: str | None) -> None:
        """End the stage that runs and begin another one (or none); nothing once finished."""
        if self.report["finished"]:
            return
        now, imported = time.perf_counter(), self._imports.seconds
        stages = self.report["stages"]
        late = imported - self._import_mark
        stages["import"] = stages.get("import", 0.0) + late
        if self._stage not in (None, "import"):
            stages[self._stage] = stages.get(self._stage, 0.0) + now - self._mark - late
        self._stage = self.report["stage"] = name
        self.write()
        self._mark, self._import_mark = time.perf_counter(), self._imports.seconds

    def write(self) -> None:
        """Write the report as it stands."""
        self.report["imports"] = {
            name: seconds
            for name, seconds in self._imports.by_package.items()
            if seconds >= _SMALLEST_IMPORT
        }
        temporary = self._path.with_suffix(".part")
        temporary.write_text(json.dumps(self.report), encoding="utf-8")
        temporary.replace(self._path)

    def watch(self, owner: Any, name: str, stage: str, after: str = "rest") -> None:
        """Replace a function by one that counts its seconds under a stage of its own."""
        function = getattr(owner, name)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self.stage(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self.stage(after)

        setattr(owner, name, timed)


class GradientCounter:
    """Counts gradients: listens to ``nutpie.sample``, whoever calls it.

    Must be made before other modules take ``sample`` from nutpie.

    Attributes
    ----------
    tree : DataTree
        What nutpie returned last.
    with_tuning : bool
        Whether nutpie is asked to keep the tuning steps, the only way to count theirs.
    """

    def __init__(self, *, with_tuning: bool = False) -> None:
        import nutpie

        self.tree: Any = None
        self.with_tuning = with_tuning
        self._sample = nutpie.sample
        nutpie.sample = self._listened  # type: ignore[assignment]

    def _listened(self, *args: Any, **kwargs: Any) -> Any:
        if self.with_tuning:
            kwargs["save_warmup"] = True
        self.tree = self._sample(*args, **kwargs)
        return self.tree

    def kept(self) -> int:
        """Return the gradients of the kept draws."""
        return int(self.tree["sample_stats"]["n_steps"].sum())

    def all(self) -> int | None:
        """Return the gradients of tuning and kept draws, or None if tuning was not kept."""
        if "warmup_sample_stats" not in self.tree.children:
            return None
        return self.kept() + int(self.tree["warmup_sample_stats"]["n_steps"].sum())


def peak_mebibytes() -> float:
    """Return the largest resident memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def effective_sizes(posterior: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, float]:
    """Return the bulk ESS of every varying entry of some variables.

    Parameters
    ----------
    posterior : Dataset or mapping of str to DataArray
        With dimensions chain and draw.
    names : tuple of str
        Those that the posterior lacks are passed over.
    """
    import numpy as np
    from arviz_stats.base.array import array_stats

    sizes = {}
    for name in names:
        if name not in posterior:
            continue
        values = posterior[name].transpose("chain", "draw", ...).to_numpy()
        for place in np.ndindex(values.shape[2:]):
            column = values[(slice(None), slice(None), *place)]
            if np.ptp(column) > 0:
                label = f"{name}[{', '.join(map(str, place))}]" if place else name
                size = array_stats.ess(column, chain_axis=0, draw_axis=1, method="bulk")
                sizes[label] = float(size)
    return sizes


def means_and_sds(posterior: Mapping[str, Any], name: str) -> dict[str, list[float]]:
    """Return posterior means and standard deviations of a variable, to compare rows by."""
    if name not in posterior:
        return {}
    values = posterior[name].transpose("chain", "draw", ...).to_numpy()
    values = values.reshape(-1, *values.shape[2:])
    return {"mean": values.mean(axis=0).tolist(), "sd": values.std(axis=0).tolist()}


@contextlib.contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Yield a list that holds the texts of all warnings when the block ends."""
    import warnings

    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield texts
    texts.extend(f"{item.category.__name__}: {item.message}" for item in caught)


def import_all(modules: tuple[str, ...]) -> None:
    """Import modules by name."""
    for name in modules:
        importlib.import_module(name)
