"""The standard work, in one run: the package against other ways to fit the same patients.

    uv run --group benchmark python benchmarks/standard_work.py
    uv run --group benchmark python benchmarks/standard_work.py --quick --rows a,b

540 patients, 12 trials, 4 populations, six predictors of which three are measured in half, a
quarter and a third of the trials. Each run of each row is a fresh process; *cold* has empty
compilation caches, *warm* those that a cold run left. Rows take turns, so that a busy machine
disturbs all of them alike. Results go to ``benchmarks/results/``; those of a smoke test to the
system's folder for temporary files.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import report as r
from processes import ENDED, Run, end_children_too, import_seconds, run_row
from rows import BENCHMARK_PACKAGES, ROWS
from work import standard_work

STATES = ("cold", "warm")
IMPORTS = {
    "numpy": "import numpy",
    "numba": "import numba",
    "pandas": "import pandas",
    "scikit-learn": "import sklearn.base, sklearn.utils.validation",
    "arviz": "import arviz",
    "pymc": "import pymc",
    "nutpie": "import nutpie",
    "ketpredict": "import ketpredict",
    "ketpredict, the estimator": "from ketpredict import KetamineResponseClassifier",
    "jax": "import jax",
    "bambi": "import bambi",
}
UNHIDDEN = ("numpy", "ketpredict", "jax", "bambi")
"""Imports that load nothing of the dependency group on their own account, or are meant to."""
TIMES = (
    "row",
    "caches",
    "target_accept",
    "runs",
    "import",
    "build",
    "compile",
    "sample",
    "diagnose",
    "rest",
    "fit",
    "process",
    "fit, times (a)",
    "process, times (a)",
)
DRAWS = (
    "row",
    "caches",
    "target_accept",
    "peak MiB",
    "gradients",
    "ms a gradient",
    "slope ESS",
    "scale ESS",
    "slope ESS/s of sampling",
    "scale ESS/s of sampling",
    "slope ESS/s of fit",
    "scale ESS/s of fit",
    "R-hat",
    "divergences",
    "slopes off (a), SD",
)
NOTES = """\
Seconds, medians of the runs. *fit* is the fit call: build, compile, sample, diagnose and the rest
(for the package: collecting the posterior, replicated outcomes and pointwise log likelihoods, which
the other rows don't make). Imports are counted apart, also those that happen within the fit, and
*process* is everything from the start of Python. The times are also given as multiples of row (a)
with caches in the same state; where a row was ended (it took longer than the limit), the multiple
is a lower bound (≥). *peak MiB* is the largest resident memory. *ESS* is the smallest bulk ESS:
over the ketamine slope and the predictive slope of each predictor, and over all scales. *gradients*
are those of tuning and kept draws; *ms a gradient* is sampling time by core. *slopes off (a)* is
the largest difference of a posterior mean of a ketamine slope from row (a)'s, in posterior standard
deviations: rows (a) to (d2) are the same model. Bambi fits 3 predictors without deviations of
slopes, arms and trials: a far smaller model. JAX and what Bambi brings are hidden from the rows
that don't need them, because ArviZ and others load what they find. One BLAS thread each."""


def main() -> None:
    """Run the rows in turn, then print and write the tables."""
    arguments = _arguments()
    end_children_too()
    surroundings = r.machine()
    for name, value in surroundings.items():
        print(f"{name}: {value}")
    imports = _imports(arguments.import_repeats)
    r.show("Import alone, in a fresh process", imports, list(imports[0]))
    with tempfile.TemporaryDirectory(prefix="ketpredict-caches-") as folder:
        runs = _all_runs(arguments, Path(folder))
    table = [_summary(name, state, runs) for name, state in runs]
    print(_legend(arguments))
    r.show("Seconds", table, TIMES)
    r.show("Draws", table, DRAWS)
    _write(arguments, surroundings, imports, runs, table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default=",".join(ROWS), help=_labels())
    parser.add_argument("--repeats", type=int, default=3, help="runs of each row and state")
    parser.add_argument("--import-repeats", type=int, default=7)
    parser.add_argument("--limit-minutes", type=float, default=15.0, help="of one process")
    parser.add_argument(
        "--slow-minutes", type=float, default=5.0, help="a longer run is not repeated"
    )
    parser.add_argument("--patients", type=int, default=540)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--tune", type=int, default=1000)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--target-accept", type=float, default=0.8)
    parser.add_argument("--output", type=Path, help="by default results/ beside this file")
    parser.add_argument("--quick", action="store_true", help="a smoke test: small and once")
    arguments = parser.parse_args()
    arguments.rows = arguments.rows.split(",")
    unknown = sorted(set(arguments.rows) - set(ROWS))
    if unknown:
        parser.error(f"unknown rows {', '.join(unknown)}; known: {', '.join(ROWS)}")
    arguments.output = arguments.output or r.default_folder(quick=arguments.quick)
    if arguments.quick:
        arguments.repeats = arguments.import_repeats = 1
        arguments.patients, arguments.chains = 120, 2
        arguments.draws = arguments.tune = 100
    return arguments


def _legend(arguments: argparse.Namespace) -> str:
    return "\n".join(f"- ({name}) {ROWS[name].label}" for name in arguments.rows)


def _labels() -> str:
    return "; ".join(f"{name}: {row.label}" for name, row in ROWS.items())


def _imports(repeats: int) -> list[dict[str, Any]]:
    """Return the seconds of each library's import, the first of all left out."""
    row: dict[str, Any] = {}
    for name, statement in IMPORTS.items():
        hidden = () if name in UNHIDDEN else BENCHMARK_PACKAGES
        import_seconds(statement, hidden, 1)  # files come from the disk this once
        row[name] = import_seconds(statement, hidden, repeats)
    return [row]


def _all_runs(arguments: argparse.Namespace, folder: Path) -> dict[tuple[str, str], list[Run]]:
    """Return the runs of every row and state of the caches."""
    table = folder / "work.npz"
    standard_work(arguments.patients, arguments.trials).save(table)
    runs: dict[tuple[str, str], list[Run]] = {
        (name, state): [] for name in arguments.rows for state in ROWS[name].states
    }
    for repeat in range(arguments.repeats):
        for (name, state), before in runs.items():
            if before and _is_last(before[-1], arguments.slow_minutes):
                continue
            caches = _caches(folder, name, state, repeat)
            count = _count(name, state, runs)
            run = _run(arguments, name, table, caches, count)
            before.append(run)
            _tell(name, state, repeat, run)
    return runs


def _is_last(run: Run, slow_minutes: float) -> bool:
    return not run.finished or run.process > 60.0 * slow_minutes


def _caches(folder: Path, name: str, state: str, repeat: int) -> Path:
    """Return the folder of caches: a new one for a cold run, the first one for a warm run."""
    owner = ROWS[name].caches_of or name
    return folder / f"{owner}-{repeat if state == 'cold' else 0}"


def _count(name: str, state: str, runs: Mapping[tuple[str, str], list[Run]]) -> str:
    """Return whether this run counts the gradients of tuning: once, where it is not dear."""
    cold = runs.get((name, "cold"), [])
    slow = any((run.seconds("sample") or 0.0) > 120.0 or not run.finished for run in cold)
    first = not runs[name, state]
    return "after" if state == "warm" and first and not slow else "never"


def _run(arguments: argparse.Namespace, name: str, table: Path, caches: Path, count: str) -> Run:
    options = {key: getattr(arguments, key) for key in ("chains", "draws", "tune", "cores")} | {
        "target_accept": arguments.target_accept
    }
    limit = 60.0 * arguments.limit_minutes
    if not caches.exists() and "warm" in ROWS[name].states and "cold" not in ROWS[name].states:
        run_row(name, table, caches, options, limit, "never")  # nobody has filled them yet
    return run_row(name, table, caches, options, limit, count)


def _tell(name: str, state: str, repeat: int, run: Run) -> None:
    stages = run.report.get("stages", {})
    figures = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in stages.items())
    text = f"({name}) {state}, run {repeat + 1}: {run.outcome} after {run.process:.1f} s"
    print(f"{text} ({figures}) {run.complaint}", flush=True)


def _summary(name: str, state: str, runs: Mapping[tuple[str, str], list[Run]]) -> dict[str, Any]:
    """Return one row of the tables."""
    these, row = runs[name, state], ROWS[name]
    done = [run for run in these if run.finished]
    summary: dict[str, Any] = {
        "row": name,
        "what": row.label,
        "caches": state,
        "target_accept": these[-1].report.get("sampling", {}).get("target_accept"),
        "runs": len(done),
    }
    if not done:
        last = these[-1]
        stage = last.report.get("stage") or "import"
        summary["runs"] = f"{last.outcome} in {last.process / 60.0:.1f} min (at {stage})"
        summary |= {s: last.seconds(s) for s in ("import", "build", "compile")}
        if last.outcome == ENDED:
            summary |= _multiples(last, True, runs.get(("a", state), []))
        return summary
    for stage in ("import", "build", "compile", "sample", "diagnose", "rest", "fit", "process"):
        summary[stage] = r.median(done, lambda run, stage=stage: run.seconds(stage))
    summary |= _multiples(summary, False, runs.get(("a", state), []))
    summary["peak MiB"] = r.median(done, r.reported("peak_mebibytes"))
    summary["gradients"] = r.median(done, r.reported("gradients"))
    summary["gradients kept"] = r.median(done, r.reported("gradients_kept"))
    summary["ms a gradient"] = r.median(done, r.milliseconds_per_gradient)
    for kind in ("slope", "scale"):
        summary[f"{kind} ESS"] = r.median(done, r.smallest_ess(kind))
        summary[f"{kind} ESS/s of sampling"] = r.median(done, r.ess_per_second(kind, "sample"))
        summary[f"{kind} ESS/s of fit"] = r.median(done, r.ess_per_second(kind, "fit"))
    summary["R-hat"] = r.median(done, r.diagnosed("rhat"))
    summary["divergences"] = r.median(done, r.diagnosed("divergences"))
    summary["slopes off (a), SD"] = _distance(done, runs.get(("a", state), []))
    return summary


def _multiples(these: Any, ended: bool, reference: list[Run]) -> dict[str, Any]:
    """Return fit and process as multiples of row (a)'s; lower bounds for a process ended."""
    multiples: dict[str, Any] = {}
    done = [run for run in reference if run.finished]
    for stage in ("fit", "process"):
        base = r.median(done, lambda run, stage=stage: run.seconds(stage))
        if base is None:
            continue
        if ended:
            stages = these.report.get("stages", {})
            spent = these.process - (stages.get("import", 0.0) if stage == "fit" else 0.0)
            multiples[f"{stage}, times (a)"] = f"≥ {spent / base:.3g}"
        elif these[stage] is not None:
            multiples[f"{stage}, times (a)"] = these[stage] / base
    return multiples


def _distance(these: list[Run], reference: list[Run]) -> float | None:
    """Return the largest difference of posterior mean slopes, in standard deviations."""
    found, base = (
        next((run.report["slope"] for run in runs if run.report.get("slope")), None)
        for runs in (these, reference)
    )
    if not found or not base or len(found["mean"]) != len(base["mean"]):
        return None
    return max(
        abs(mean - middle) / deviation
        for mean, middle, deviation in zip(found["mean"], base["mean"], base["sd"], strict=True)
    )


def _write(
    arguments: argparse.Namespace,
    surroundings: dict[str, str],
    imports: list[dict[str, Any]],
    runs: Mapping[tuple[str, str], list[Run]],
    table: list[dict[str, Any]],
) -> None:
    """Write medians as CSV and Markdown, and every run as JSON."""
    arguments.output.mkdir(parents=True, exist_ok=True)
    name = "standard_work_quick" if arguments.quick else "standard_work"
    settings = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in vars(arguments).items()
    }
    r.write_csv(arguments.output / f"{name}.csv", table)
    every = [
        {"row": row, "caches": state, "outcome": run.outcome, "process": run.process}
        | {"complaint": run.complaint, "report": run.report}
        for (row, state), these in runs.items()
        for run in these
    ]
    record = {"surroundings": surroundings, "settings": settings, "imports": imports, "runs": every}
    (arguments.output / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    work = (
        f"{arguments.patients} patients, {arguments.trials} trials, 4 populations, 6 predictors; "
        f"{arguments.chains} chains x ({arguments.tune} tuning + {arguments.draws} kept) draws on "
        f"{arguments.cores} cores; target_accept {arguments.target_accept} unless said otherwise."
    )
    parts = [
        "# The standard work" + (" (smoke test: the figures mean nothing)" * arguments.quick),
        work,
        "\n".join(f"- {key}: {value}" for key, value in surroundings.items()),
        _legend(arguments),
        "## Seconds",
        r.markdown(table, TIMES),
        "## Draws",
        r.markdown(table, DRAWS),
        f"## Import alone, in a fresh process (median of {arguments.import_repeats})",
        r.markdown(imports, list(imports[0])),
        NOTES,
    ]
    (arguments.output / f"{name}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(f"Written: {arguments.output / name}.csv, .json and .md")


if __name__ == "__main__":
    main()
