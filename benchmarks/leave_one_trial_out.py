"""Leave-one-trial-out on the standard work against one warm fit, by refits and by importance.

    uv run python benchmarks/leave_one_trial_out.py --output benchmarks/results

One process: a fit that is not timed (it compiles), then fit, refits, fit, importance sampling, fit,
so that whatever else the machine does falls on all of them. Seconds of the wall clock and of the
processor; the ratio of the second does not depend on other work.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from work import standard_work

from ketpredict.errors import ConvergenceWarning
from ketpredict.evidence import make_evidence
from ketpredict.fitting import SamplerSettings, fit, prepare
from ketpredict.importance import PARETO_LIMIT
from ketpredict.leave_out import compare, leave_one_trial_out
from ketpredict.predictors import load_predictors
from ketpredict.spec import load_spec


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return what some work gives, with seconds of the wall clock and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    """Run the work and write what it took, the tables and the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--patients", type=int, default=540)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    work = standard_work(arguments.patients, arguments.trials)
    evidence = make_evidence(participants=pd.DataFrame(work.columns), predictors=work.predictors)
    spec = load_spec("published").with_predictors(work.predictors)
    design, used = prepare(spec, evidence, load_predictors())
    settings = SamplerSettings(seed=arguments.seed)
    warnings.simplefilter("ignore", ConvergenceWarning)

    def one_fit() -> Any:
        return fit(design, used, settings)

    posterior = one_fit()
    fits = [timed(one_fit)[1:]]
    refit, *of_refits = timed(lambda: leave_one_trial_out(posterior, method="refit"))
    fits.append(timed(one_fit)[1:])
    importance, *of_importance = timed(lambda: leave_one_trial_out(posterior, method="importance"))
    fits.append(timed(one_fit)[1:])
    base = np.mean(fits, axis=0)
    compared = compare(refit, importance)
    trusted = compared["pareto_k"] < PARETO_LIMIT
    report = {
        "fits": fits,
        "refits": of_refits,
        "importance": of_importance,
        "refits_per_fit": (np.array(of_refits) / base).tolist(),
        "importance_per_fit": (np.array(of_importance) / base).tolist(),
        "smallest_ess": float(refit.folds[["ess_bulk", "ess_tail"]].min(axis=None)),
        "refits_that_did_not_converge": int((refit.folds["problems"] != "").sum()),
        "trials_with_k_below_0.7": int(compared.loc[trusted, "fold"].nunique()),
        "largest_standardised_difference": {
            str(name): float(rows["standardised"].abs().max())
            for name, rows in compared[trusted].groupby("quantity")
        },
        "whole_fit": posterior.facts["diagnostics"],
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    name = arguments.output / "leave_one_trial_out"
    name.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    compared.to_csv(name.with_suffix(".csv"), index=False)
    for title, table in (
        ("report", json.dumps(report, indent=1)),
        ("refits", refit.folds.to_string()),
        ("importance", importance.folds.to_string()),
        ("comparison", compared.to_string()),
        ("pooled", refit.pooled.to_string()),
    ):
        print(f"--- {title}\n{table}", flush=True)


if __name__ == "__main__":
    main()
