r"""What a slope of their own for trial means does, with and without ecological bias.

Run ``python scripts/ecological_bias.py`` (some minutes on two cores): it writes
``docs/ecological_bias.csv`` and the table of ``docs/ecological-bias.md``.

A data set
    Thirteen trials of two arms of 25: three give patients, ten publish arms with mean and SD of
    one predictor (BMI). The slope within trials is 0.4 in each of them. Trial means have SD 0.6 on
    the reference scale; trial levels have SD 0.4 of their own.

Ecological bias
    Where there is any, trials whose patients weigh more also respond less for reasons that have
    nothing to do with the weight of a patient: a trial's level falls by 0.8 per unit of its mean.
    Across trials the association is then that of weight and setting together, 0.4 - 0.8 = -0.4.

The comparison
    The same data sets are fitted with ``pooling.across_trial_slope`` true and false. Bias, root
    mean square error and coverage of 90 % intervals are those of the slope under ketamine, which
    is within trials.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ketpredict.errors import ConvergenceWarning
from ketpredict.fitting import SamplerSettings, fit, prepare
from ketpredict.simulation import Simulation, simulate
from ketpredict.spec import ModelSpec, load_spec
from recovery_study import study
from validate_pooling import rewrite_between

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "docs" / "ecological_bias.csv"
PAGE = ROOT / "docs" / "ecological-bias.md"
TRIALS, GIVEN, PATIENTS = 13, 3, 25
SLOPE = 0.4
CONFOUNDING = {"no ecological bias": 0.0, "ecological bias": -0.8}
OPTIONS = (True, False)
SPREAD_OF_MEANS, SPREAD_OF_LEVELS = 0.6, 0.4
CONTENT = 0.9
SETTINGS = SamplerSettings(draws=500, tune=400, chains=2, cores=1, target_accept=0.9)


def data_set(seed: int, confounding: float) -> Simulation:
    """Return one simulated data set; the same seed gives the same trials with any confounding."""
    rng = np.random.default_rng([seed, 0])
    mean = SPREAD_OF_MEANS * rng.normal(size=TRIALS)
    level = SPREAD_OF_LEVELS * rng.normal(size=TRIALS) + confounding * mean
    return simulate(
        trials=TRIALS,
        patients=PATIENTS,
        published_trials=TRIALS - GIVEN,
        populations=("unipolar_depression",),
        predictors=("bmi",),
        truth={
            "intercept": 0.0,
            "population_scale": 0.0,
            "trial_effect": level,
            "treatment_scale": 0.2,
            "arm_effect": [0.0, -1.0],
            "prognostic_slope": [SLOPE],
            "predictive_slope": [0.0],
            "population_slope": 0.0,
            "trial_slope": 0.0,
            "across_slope": 0.0,
            "trial_mean": mean[:, None],
            "predictor_covariance": [[1.0]],
        },
        random_state=rng,
    )


def specification(across_trial_slope: bool) -> ModelSpec:
    """Return the published model for this predictor, with or without the option."""
    spec = load_spec("published").with_predictors(("bmi",))
    pooling = dataclasses.replace(spec.pooling, across_trial_slope=across_trial_slope)
    return dataclasses.replace(spec, pooling=pooling)


def one_study(seed: int) -> list[dict[str, Any]]:
    """Return one row for each fit of the data sets of a seed."""
    rows = []
    for words, confounding in CONFOUNDING.items():
        simulation = data_set(seed, confounding)
        references = {predictor.name: predictor for predictor in simulation.predictors}
        for option in OPTIONS:
            design, used = prepare(specification(option), simulation.evidence(), references)
            with warnings.catch_warnings():
                # Short chains: the diagnostics are counted, not told one by one.
                warnings.simplefilter("ignore", ConvergenceWarning)
                posterior = fit(design, used, dataclasses.replace(SETTINGS, seed=seed))
            slope = posterior.parameters["slope"][:, 0]
            low, high = np.quantile(slope, [(1 - CONTENT) / 2, (1 + CONTENT) / 2])
            rows.append(
                {
                    "seed": seed,
                    "setting": words,
                    "across_trial_slope": option,
                    "error": slope.mean() - SLOPE,
                    "width": high - low,
                    "covers": bool(low <= SLOPE <= high),
                    "across_slope": posterior.parameters["across_slope"][:, 0].mean(),
                    "rhat": posterior.facts["diagnostics"]["rhat"],
                    "divergences": posterior.facts["diagnostics"]["divergences"],
                }
            )
    return rows


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return bias, error and coverage in each setting, with and without the option."""
    table = []
    for words in CONFOUNDING:
        for option in OPTIONS:
            here = rows[(rows["setting"] == words) & (rows["across_trial_slope"] == option)]
            table.append(
                {
                    "setting": words,
                    "across_trial_slope": option,
                    "sets": len(here),
                    "bias": here["error"].mean(),
                    "bias_error": here["error"].std() / np.sqrt(len(here)),
                    "rmse": np.sqrt((here["error"] ** 2).mean()),
                    "covers": int(here["covers"].sum()),
                    "width": here["width"].mean(),
                    "across_slope": here["across_slope"].mean(),
                    "divergent_fits": int((here["divergences"] > 0).sum()),
                    "rhat_above_1.05": int((here["rhat"] > 1.05).sum()),
                }
            )
    return pd.DataFrame(table)


def markdown(table: pd.DataFrame) -> str:
    """Return the comparison as a table for people."""
    lines = [
        "| data | slope of trial means | bias (standard error) | RMSE | 90 % intervals that cover "
        "| their mean width | estimated across minus within |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in table.to_dict("records"):
        option = "its own (`true`)" if row["across_trial_slope"] else "that within (`false`)"
        across = f"{row['across_slope']:+.2f}" if row["across_trial_slope"] else "0 (fixed)"
        lines.append(
            f"| {row['setting']} | {option} | {row['bias']:+.3f} ({row['bias_error']:.3f}) "
            f"| {row['rmse']:.3f} | {row['covers']} of {row['sets']} | {row['width']:.2f} "
            f"| {across} |"
        )
    return "\n".join(lines)


def convergence(table: pd.DataFrame) -> str:
    """Return what the short chains say about themselves."""
    fits, divergent = table["sets"].sum(), table["divergent_fits"].sum()
    return (
        f"Of {fits} fits {divergent} have a divergent transition and "
        f"{table['rhat_above_1.05'].sum()} an R-hat above 1.05. All of them count."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=60, help="number of data sets")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    rows = study(range(options.sets), options.processes, one_study)
    table = summary(rows)
    text = f"{markdown(table)}\n\n{convergence(table)}"
    sys.stdout.write(f"{table.round(3).T.to_string()}\n\n{text}\n")
    sys.stdout.write(f"\n{time.perf_counter() - began:.0f} s, {options.processes} processes.\n")
    table.round(4).to_csv(options.output, index=False, lineterminator="\n")
    if options.output == OUTPUT:
        rewrite_between(PAGE, "ecological bias", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
