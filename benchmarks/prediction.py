"""Prediction at scale against the matrix product that it contains.

``uv run python benchmarks/prediction.py`` measures, in one run and turn by turn, the posterior mean
probability of patients from 4000 draws with six predictors, and a NumPy matrix product with normal
distribution function of the same size: a product of (rows, 7) with (7, 4000), then
``scipy.special.ndtr`` in place and the mean over draws, in chunks of 16 rows, the fastest of 8, 16,
64 and 500. BLAS may take its default threads (it takes one for so few rows), the distribution
function has one (it is a ufunc); ours has all cores. Times are wall times; processor times stand
beside them, since they hardly feel what else the machine does.

``--stream`` lets a fresh process predict 1 000 000 patients from Parquet to Parquet and reports its
time and peak memory. ``--intervals`` times both intervals, on fewer rows.

The draws are those of the published fit, taken twice: no time depends on their values but through
how far out tails lie, and that is as published.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr

from ketpredict.posterior import Posterior
from ketpredict.predict import mean_probability, predictions
from ketpredict.published import load_fit
from ketpredict.rows import encode_rows

DRAWS = 4000
CHUNK = 16
TRIAL, POPULATION = "murrough_2013", "unipolar_depression"
MISSING = 1.0 / 3.0
CASES: dict[str, tuple[dict[str, Any], float]] = {
    "known trial, complete": ({"trial": TRIAL, "missing": 0.0}, 2.0),
    "known trial, a third missing": ({"trial": TRIAL}, 4.0),
    "new trial, complete, assay means given": ({"missing": 0.0, "assay": True}, 4.0),
    "new trial, complete": ({"missing": 0.0}, 4.0),
    "new trial, a third missing": ({}, 20.0),
}


def four_thousand_draws() -> Posterior:
    """Return the published fit with each of its draws twice."""
    fit = load_fit("published")
    times = DRAWS // fit.n_draws
    draws = {
        name: np.concatenate([values] * times, axis=1)
        for name, values in fit.groups["posterior"].items()
    }
    return dataclasses.replace(fit, groups={**fit.groups, "posterior": draws})


def patients(
    count: int, trial: str | None = None, missing: float = MISSING, assay: bool = False
) -> dict[str, Any]:
    """Return patients with the published six predictors, cells missing at random."""
    rng = np.random.default_rng(1)
    columns: dict[str, Any] = {
        "bmi": rng.normal(29.0, 6.0, count).clip(15.0, 60.0),
        "family_history_aud": (rng.random(count) < 0.35).astype(float),
        "suicide_attempt_history": (rng.random(count) < 0.37).astype(float),
        "bdnf": np.exp(2.15 + 0.56 * rng.normal(size=count)),
        "shank3": np.exp(0.5 * rng.normal(size=count)),
        "delta_sleep_ratio": np.exp(0.5 * rng.normal(size=count)),
    }
    for values in columns.values():
        values[rng.random(count) < missing] = np.nan
    columns["population"] = np.full(count, POPULATION, dtype=object)
    columns["trial"] = np.full(count, trial, dtype=object)
    if assay:
        columns["bdnf_assay_mean"] = np.full(count, 9.0)
        columns["shank3_assay_mean"] = np.full(count, 1.0)
    return columns


def matrix_product(rows: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the mean over draws of the normal distribution function of a matrix product."""
    result, buffer = np.empty(len(rows)), np.empty((CHUNK, draws.shape[1]))
    for start in range(0, len(rows), CHUNK):
        some = rows[start : start + CHUNK]
        linear = np.matmul(some, draws, out=buffer[: len(some)])
        result[start : start + CHUNK] = ndtr(linear, out=linear).mean(axis=1)
    return result


def timed(function: Callable[[], Any]) -> tuple[float, float]:
    """Return the seconds that a call took on the wall clock and on processors."""
    wall, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - processor


def compare(count: int, repeats: int) -> None:
    """Print each case against the matrix product before it, medians over repeats."""
    fit = four_thousand_draws()
    rng = np.random.default_rng(2)
    draws = rng.normal(0.0, 0.3, (7, DRAWS))
    plain = np.hstack([np.ones((count, 1)), rng.normal(size=(count, 6))])
    encoded = {
        name: encode_rows(fit, patients(count, **how), count) for name, (how, _) in CASES.items()
    }
    mean_probability(fit, encoded[next(iter(CASES))].take(np.arange(2)))
    cells = count * DRAWS / 1e9
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in CASES}
    for _ in range(repeats):
        for name in CASES:
            reference = timed(lambda: matrix_product(plain, draws))
            ours = timed(lambda name=name: mean_probability(fit, encoded[name]))
            found[name].append((*reference, *ours))
            print(f"  {name}: {found[name][-1]}", flush=True)
    print(f"{count} patients x {DRAWS} draws, medians of {repeats}; ns per draw and patient")
    print("| rows | reference | ours | ratio | bar | reference, processor | ours, processor |")
    print("|---|---|---|---|---|---|---|")
    for name, (_, bar) in CASES.items():
        medians = [statistics.median(one) / cells for one in zip(*found[name], strict=True)]
        ratio = statistics.median(one[2] / one[0] for one in found[name])
        print(
            f"| {name} | {medians[0]:.1f} | {medians[2]:.1f} | {ratio:.2f} | {bar:g} | "
            f"{medians[1]:.1f} | {medians[3]:.1f} |"
        )


def time_intervals(count: int) -> None:
    """Print the time of both intervals."""
    fit = four_thousand_draws()
    print("| rows | both intervals, ms a patient | processor |\n|---|---|---|")
    for name, (how, _) in CASES.items():
        rows = encode_rows(fit, patients(count, **how), count)
        wall, processor = timed(lambda rows=rows: predictions(fit, rows, 0.9))
        print(f"| {name} | {1e3 * wall / count:.2f} | {1e3 * processor / count:.2f} |", flush=True)


def stream(count: int, name: str) -> None:
    """Predict from Parquet to Parquet in a fresh process, and print its time and peak memory."""
    import pandas as pd

    with tempfile.TemporaryDirectory() as folder:
        fit, source = Path(folder, "fit.nc"), Path(folder, "patients.parquet")
        four_thousand_draws().save(fit)
        table = pd.DataFrame(patients(count, **CASES[name][0]))
        table.insert(0, "participant", [f"P{i:07}" for i in range(count)])
        table.to_parquet(source)
        target = Path(folder, "out.parquet")
        command = ["predict", str(source), "--fit", str(fit), "--output", str(target), "--means"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "ketpredict", *command], check=True)
        wall = time.perf_counter() - began
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        written = len(pd.read_parquet(target, columns=["probability"]))
    per_cell = 1e9 / (count * DRAWS)
    print(
        f"{name}: {written} patients x {DRAWS} draws from Parquet to Parquet: {wall:.0f} s "
        f"({wall * per_cell:.1f} ns per draw and patient), {processor:.0f} s of processors, peak "
        f"memory {used.ru_maxrss / 1024:.0f} MiB"
    )


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--stream", choices=list(CASES), help="from file to file, this case")
    parser.add_argument("--intervals", action="store_true")
    options = parser.parse_args()
    if options.stream:
        stream(options.rows, options.stream)
    elif options.intervals:
        time_intervals(options.rows)
    else:
        compare(options.rows, options.repeats)


if __name__ == "__main__":
    main()
