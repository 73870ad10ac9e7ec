"""How a fit by the compiled kernel grows with patients, trials and predictors.

    uv run --group benchmark python benchmarks/scaling.py
    uv run --group benchmark python benchmarks/scaling.py --quick
    uv run --group benchmark python benchmarks/scaling.py --axes patients --draws 300 --tune 300

Each fit is a fresh process with a warm compilation cache. The time of a fit depends on how many
gradients the sampler asks for, which chance and the data decide too; the time of one gradient does
not, so that both are reported. Results go to ``benchmarks/results/``; those of a smoke test to the
system's folder for temporary files.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import report as r
from processes import Run, end_children_too, run_row
from work import Work, many_predictors, standard_work

AXES: dict[str, tuple[tuple[int, ...], Callable[[int], Work]]] = {
    "patients": (
        (500, 2_000, 5_000, 20_000, 100_000),
        lambda size: standard_work(patients=size),
    ),
    "trials": (
        (5, 12, 25, 50, 100, 200),
        lambda size: standard_work(patients=2_000, trials=size),
    ),
    "predictors": (
        (3, 6, 12, 20, 30),
        lambda size: many_predictors(predictors=size),
    ),
}
HELD = {
    "patients": "12 trials, 6 predictors",
    "trials": "2,000 patients, 6 predictors",
    "predictors": "540 patients, 12 trials; a third of the predictors, at most 4, binary",
}
QUICK = {"patients": (500, 2_000), "trials": (5, 12), "predictors": (3, 6)}
FROM, TO = 5_000, 100_000
"""Between these numbers of patients time must not grow faster than patients."""
COLUMNS = (
    "axis",
    "size",
    "runs",
    "build",
    "compile",
    "sample",
    "diagnose",
    "rest",
    "fit",
    "process",
    "gradients",
    "ms a gradient",
    "slope ESS",
    "peak MiB",
)
SLOPES = ("fit", "sample", "ms a gradient")


def main() -> None:
    """Fit every size, then print and write the table."""
    arguments = _arguments()
    end_children_too()
    surroundings = r.machine()
    for name, value in surroundings.items():
        print(f"{name}: {value}")
    table = []
    with tempfile.TemporaryDirectory(prefix="ketpredict-caches-") as name:
        folder = Path(name)
        first = folder / "first.npz"
        standard_work(120).save(first)
        few = {"chains": 1, "draws": 10, "tune": 10}
        run_row("a", first, folder / "caches", few, 600.0, "never")  # fills the cache
        for axis in arguments.axes:
            sizes = QUICK[axis] if arguments.quick else AXES[axis][0]
            table += [_fit(arguments, axis, size, folder) for size in sizes]
    growth = _growth(table)
    r.show("Growth", table, COLUMNS)
    for line in growth:
        print(line)
    _write(arguments, surroundings, table, growth)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--axes", default=",".join(AXES))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--limit-minutes", type=float, default=45.0, help="of one process")
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--tune", type=int, default=1000)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--target-accept", type=float, default=0.8)
    parser.add_argument("--output", type=Path, help="by default results/ beside this file")
    parser.add_argument("--quick", action="store_true", help="a smoke test: small sizes, few draws")
    arguments = parser.parse_args()
    arguments.axes = arguments.axes.split(",")
    unknown = sorted(set(arguments.axes) - set(AXES))
    if unknown:
        parser.error(f"unknown axes {', '.join(unknown)}; known: {', '.join(AXES)}")
    arguments.output = arguments.output or r.default_folder(quick=arguments.quick)
    if arguments.quick:
        arguments.chains, arguments.draws, arguments.tune = 2, 100, 100
    return arguments


def _fit(arguments: argparse.Namespace, axis: str, size: int, folder: Path) -> dict[str, Any]:
    """Return one row of the table: the fit of one size."""
    work = folder / f"{axis}-{size}.npz"
    AXES[axis][1](size).save(work)
    options = {key: getattr(arguments, key) for key in ("chains", "draws", "tune", "cores")}
    options |= {"target_accept": arguments.target_accept}
    limit = 60.0 * arguments.limit_minutes
    runs: list[Run] = []
    for _ in range(arguments.repeats):
        runs.append(run_row("a", work, folder / "caches", options, limit, "inside"))
        text = f"{axis} {size:,}: {runs[-1].outcome} after {runs[-1].process:.1f} s"
        print(f"{text} {runs[-1].complaint}", flush=True)
        if not runs[-1].finished:
            break
    return _summary(axis, size, runs)


def _summary(axis: str, size: int, runs: list[Run]) -> dict[str, Any]:
    done = [run for run in runs if run.finished]
    row: dict[str, Any] = {"axis": axis, "size": size, "runs": len(done)}
    if not done:
        minutes = runs[-1].process / 60.0
        row["axis"] = f"{axis}: {runs[-1].outcome} in {minutes:.1f} min"
        return row
    for stage in ("import", "build", "compile", "sample", "diagnose", "rest", "fit", "process"):
        row[stage] = r.median(done, lambda run, stage=stage: run.seconds(stage))
    row["gradients"] = r.median(done, r.reported("gradients"))
    row["ms a gradient"] = r.median(done, r.milliseconds_per_gradient)
    row["slope ESS"] = r.median(done, r.smallest_ess("slope"))
    row["scale ESS"] = r.median(done, r.smallest_ess("scale"))
    row["peak MiB"] = r.median(done, r.reported("peak_mebibytes"))
    row["R-hat"] = r.median(done, r.diagnosed("rhat"))
    row["divergences"] = r.median(done, r.diagnosed("divergences"))
    return row


def _growth(table: list[dict[str, Any]]) -> list[str]:
    """Return the slope of log time over log patients in words: least squares and end to end."""
    rows = [row for row in table if row["axis"] == "patients" and FROM <= row["size"] <= TO]
    lines = []
    for figure in SLOPES:
        points = [(math.log(row["size"]), math.log(row[figure])) for row in rows if row.get(figure)]
        if len(points) < 2 or points[0][0] == points[-1][0]:
            continue
        mean_x = sum(x for x, _ in points) / len(points)
        mean_y = sum(y for _, y in points) / len(points)
        fitted = sum((x - mean_x) * (y - mean_y) for x, y in points)
        fitted /= sum((x - mean_x) ** 2 for x, _ in points)
        ends = (points[-1][1] - points[0][1]) / (points[-1][0] - points[0][0])
        span = f"{math.exp(points[0][0]):,.0f} to {math.exp(points[-1][0]):,.0f} patients"
        lines.append(
            f"log({figure}) over log(patients), {span}: slope {fitted:.2f} by least squares, "
            f"{ends:.2f} from end to end (at most 1 asked for)"
        )
    largest = max((row["peak MiB"] for row in rows if row.get("peak MiB")), default=None)
    if largest is not None:
        lines.append(f"largest peak memory there: {largest:,.0f} MiB (at most 4,096 asked for)")
    return lines


def _write(
    arguments: argparse.Namespace,
    surroundings: dict[str, str],
    table: list[dict[str, Any]],
    growth: list[str],
) -> None:
    arguments.output.mkdir(parents=True, exist_ok=True)
    name = "scaling_quick" if arguments.quick else "scaling"
    r.write_csv(arguments.output / f"{name}.csv", table)
    settings = (
        f"Compiled kernel, warm cache, fresh processes; {arguments.chains} chains x "
        f"({arguments.tune} tuning + {arguments.draws} kept) draws on {arguments.cores} cores; "
        f"target_accept {arguments.target_accept}. Seconds, medians of the runs; a gradient's "
        "time is core time over tuning and kept draws."
    )
    parts = ["# Growth" + (" (smoke test: the figures mean nothing)" * arguments.quick), settings]
    parts.append("\n".join(f"- {key}: {value}" for key, value in surroundings.items()))
    for axis in arguments.axes:
        rows = [row for row in table if str(row["axis"]).startswith(axis)]
        parts += [f"## By {axis} ({HELD[axis]})", r.markdown(rows, COLUMNS)]
    if growth:
        parts.append("\n".join(f"- {line}" for line in growth))
    (arguments.output / f"{name}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(f"Written: {arguments.output / name}.csv and .md")


if __name__ == "__main__":
    main()
