r"""Do intervals cover? Many data sets simulated from the priors, with cells deleted, are fitted.

Run ``python scripts/recovery_study.py`` (about ten minutes on two cores): it writes
``docs/recovery.csv`` and the table of ``docs/recovery.md``, and exits with 1 when an interval of
the joint model covers the truth too rarely or too often.

A data set
    Eight trials, two of them published as arms, of ten patients in each of two arms. Four
    predictors: two continuous ones that are correlated, of which one is an assay-dependent
    biomarker that half of the trials did not measure, and two binary ones. A quarter of the cells
    that are left, a tenth of the outcomes and a quarter of the printed summaries are deleted at
    random. All parameters are drawn from the priors of the published model.

The quantities
    :data:`QUANTITIES`, fixed before the first run. The new patients know two predictors and lack
    the others; what they know does not depend on the true parameters, so that intervals are
    calibrated exactly if the posterior is. Their true probability comes from patients drawn one by
    one, never from a formula of the package.

The rule
    Coverage of each quantity lies within exact binomial bounds at the 1 % level, Bonferroni over
    quantities and interval contents. Every fit counts, whatever its diagnostics say.

Beside it
    The same model fitted to complete cases: patients of whom nothing is missing, and arms that
    print a mean or proportion of every predictor. It is not held to the bounds: deletion at random
    costs it precision rather than coverage.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, ndtr
from scipy.stats import binom

from ketpredict.errors import ConvergenceWarning, DataError
from ketpredict.evidence import Evidence
from ketpredict.fitting import SamplerSettings, fit, prepare
from ketpredict.posterior import Posterior
from ketpredict.predict import response_draws, trial_draws
from ketpredict.rows import encode_rows
from ketpredict.simulated_patients import draw_trial_means, draw_values, linear_predictor
from ketpredict.simulation import Simulation, simulate

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "docs" / "recovery.csv"
PAGE = ROOT / "docs" / "recovery.md"
PREDICTORS = ("bmi", "bdnf", "family_history_aud", "suicide_attempt_history")
BLOCKED = "bdnf"
SHARE_OF_BLOCKS = 0.5
KNOWN_TRIAL = "trial_1"
POPULATION = "unipolar_depression"
KNOWN_IN_TRIAL = ("bmi", "suicide_attempt_history")
KNOWN_ELSEWHERE = ("bdnf", "family_history_aud")
QUANTITIES = {
    **{f"slope_{name}": f"Slope under ketamine, {name.replace('_', ' ')}" for name in PREDICTORS},
    "known_trial": "New patient of a known trial, two predictors missing: probability",
    "average": "New patient of a new trial, two predictors missing: probability over trials",
    "one_trial": "New patient of a new trial, two predictors missing: probability in that trial",
}
CONTENTS = (0.5, 0.9)
LEVEL = 0.01
ROADS = ("joint", "complete")
SETTINGS = SamplerSettings(draws=400, tune=400, chains=2, cores=1, target_accept=0.9)
"""Short chains: enough for the 5 % and 95 % points, not for the warnings to stay silent."""
_TRUE_DRAWS = 2**16


@dataclasses.dataclass(frozen=True)
class Patient:
    """A new patient: what is known, on the reference scale (0 and 1 if binary), NaN elsewhere."""

    known: np.ndarray
    trial: str | None

    def columns(self, simulation: Simulation) -> dict[str, list[Any]]:
        """Return the patient as a table of one row, in the predictors' own units."""
        columns: dict[str, list[Any]] = {"trial": [self.trial], "population": [POPULATION]}
        for predictor, value in zip(simulation.predictors, self.known, strict=True):
            own = value if predictor.kind == "binary" else float(predictor.from_scale(value))
            columns[predictor.name] = [own]
        return columns


def data_set(seed: int, trials: int = 8, patients: int = 10) -> Simulation:
    """Return one simulated data set with all its holes."""
    rng = np.random.default_rng([seed, 0])
    blocked = rng.random(trials) < SHARE_OF_BLOCKS
    return simulate(
        trials=trials,
        patients=patients,
        published_trials=2,
        predictors=PREDICTORS,
        missing=0.25,
        missing_blocks={f"trial_{t + 1}": [BLOCKED] for t in np.flatnonzero(blocked)},
        missing_outcome=0.1,
        unpublished=0.25,
        random_state=rng,
    )


def complete_cases(evidence: Evidence) -> Evidence:
    """Return the patients of whom nothing is missing, and the arms that print every predictor."""
    people = evidence.participants
    summaries = [c for c in evidence.arms if c.startswith(PREDICTORS) and not c.endswith("_sd")]
    return dataclasses.replace(
        evidence,
        participants=people.dropna(subset=[*PREDICTORS, "response"]).reset_index(drop=True),
        arms=evidence.arms.dropna(subset=summaries).reset_index(drop=True),
    )


def new_patients(seed: int, simulation: Simulation) -> tuple[Patient, Patient]:
    """Return a patient of a known trial and one of a new trial, drawn without the truth."""
    rng = np.random.default_rng([seed, 1])
    found = []
    for names, trial in ((KNOWN_IN_TRIAL, KNOWN_TRIAL), (KNOWN_ELSEWHERE, None)):
        known = np.full(len(PREDICTORS), np.nan)
        for k, predictor in enumerate(simulation.predictors):
            value = rng.normal() if predictor.kind == "continuous" else float(rng.random() < 0.5)
            if predictor.name in names:
                known[k] = value
        found.append(Patient(known, trial))
    return found[0], found[1]


def true_probability(
    simulation: Simulation,
    patient: Patient,
    rng: np.random.Generator,
    *,
    trial_mean: np.ndarray,
    level: np.ndarray,
    slope: np.ndarray,
) -> float:
    """Return the share of responders among patients with the known values, drawn one by one.

    Parameters
    ----------
    trial_mean, slope : ndarray of shape (draw, predictor)
    level : ndarray of shape (draw,)
        The trial of each drawn patient.
    """
    values, weight = draw_values(
        trial_mean, simulation.truth, simulation.predictors, rng, known=patient.known
    )
    across = simulation.truth["across_slope"]
    linear = linear_predictor(values, trial_mean, level, slope, across, simulation.predictors)
    curve = expit if simulation.spec.link == "logit" else ndtr
    return float(np.average(curve(linear), weights=weight))


def truths(simulation: Simulation, known: Patient, new: Patient, seed: int) -> dict[str, float]:
    """Return the true value of every quantity."""
    truth, labels = simulation.truth, simulation.labels
    rng = np.random.default_rng([seed, 2])
    found = {f"slope_{name}": truth["slope"][k] for k, name in enumerate(PREDICTORS)}
    population = labels["population"].index(POPULATION)
    slope = truth["slope"] + truth["population_slope"][population]
    level = truth["intercept"] + truth["population_effect"][population]
    t = labels["trial"].index(KNOWN_TRIAL)
    shape = (_TRUE_DRAWS, len(PREDICTORS))
    here = level + truth["trial_effect"][t] + truth["treatment_deviation"][t] / 2
    found["known_trial"] = true_probability(
        simulation,
        known,
        rng,
        trial_mean=np.broadcast_to(truth["trial_mean"][t], shape),
        level=np.full(_TRUE_DRAWS, here),
        slope=np.broadcast_to(slope + truth["trial_slope"][t], shape),
    )
    spread = truth["slope_scale"][simulation.spec.slope_parts().index("trial")]
    trials = {
        "trial_mean": draw_trial_means(truth, simulation.predictors, _TRUE_DRAWS, rng),
        "level": level
        + truth["trial_scale"] * rng.normal(size=_TRUE_DRAWS)
        + truth["treatment_scale"] * rng.normal(size=_TRUE_DRAWS) / 2,
        "slope": slope + spread * rng.normal(size=shape),
    }
    found["average"] = true_probability(simulation, new, rng, **trials)
    # The patient's trial is one in which such a patient is found: weighted by how likely that is.
    _, weight = draw_values(
        trials["trial_mean"], truth, simulation.predictors, rng, known=new.known
    )
    one = rng.choice(_TRUE_DRAWS, p=weight / weight.sum())
    its = {name: np.broadcast_to(array[one], array.shape) for name, array in trials.items()}
    found["one_trial"] = true_probability(simulation, new, rng, **its)
    return found


def estimates(
    posterior: Posterior, simulation: Simulation, known: Patient, new: Patient
) -> dict[str, dict[str, Any]]:
    """Return posterior mean and intervals of every quantity.

    The quantiles are those of :func:`ketpredict.predict.interval`; the draws are made once for all
    contents. A trial that complete cases leave nothing of is a new one to that fit.
    """
    slope = posterior.parameters["slope"]
    draws = {f"slope_{name}": slope[:, k] for k, name in enumerate(PREDICTORS)}
    for name, patient, in_one_trial in (
        ("known_trial", known, True),
        ("average", new, False),
        ("one_trial", new, True),
    ):
        rows = encode_rows(posterior, patient.columns(simulation), 1)
        unseen = in_one_trial and bool(rows.new_trial.any() or rows.new_population.any())
        draws[name] = (trial_draws if unseen else response_draws)(posterior, rows)[:, 0]
    return {
        name: {
            "mean": values.mean(),
            "limits": [np.quantile(values, _tails(content)) for content in CONTENTS],
        }
        for name, values in draws.items()
    }


def _tails(content: float) -> list[float]:
    return [(1.0 - content) / 2.0, (1.0 + content) / 2.0]


def one_study(seed: int) -> list[dict[str, Any]]:
    """Return one row for each road, quantity and interval content of one data set."""
    simulation = data_set(seed)
    known, new = new_patients(seed, simulation)
    true = truths(simulation, known, new, seed)
    evidence = simulation.evidence()
    references = {predictor.name: predictor for predictor in simulation.predictors}
    rows = []
    for road, used in zip(ROADS, (evidence, complete_cases(evidence)), strict=True):
        posterior = _fit(used, simulation, references, seed)
        facts = {
            "seed": seed,
            "road": road,
            "patients": len(used.participants),
            "arms": len(used.arms),
        }
        if posterior is None:
            rows.append(facts | {"quantity": "none", "fitted": False})
            continue
        diagnostics = posterior.facts["diagnostics"]
        facts |= {"rhat": diagnostics["rhat"], "divergences": diagnostics["divergences"]}
        for name, estimate in estimates(posterior, simulation, known, new).items():
            for content, (low, high) in zip(CONTENTS, estimate["limits"], strict=True):
                rows.append(
                    facts
                    | {
                        "quantity": name,
                        "content": content,
                        "fitted": True,
                        "error": estimate["mean"] - true[name],
                        "width": high - low,
                        "covers": bool(low <= true[name] <= high),
                        "truth": true[name],
                    }
                )
    return rows


def _fit(
    evidence: Evidence, simulation: Simulation, references: dict[str, Any], seed: int
) -> Posterior | None:
    """Return the fit, or None where nothing is left to fit."""
    with warnings.catch_warnings():
        # Short chains and small data sets: the diagnostics are counted, not told one by one.
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            design, used = prepare(simulation.spec, evidence, references)
        except DataError:
            if len(evidence.participants) or len(evidence.arms):
                raise
            return None
        return fit(design, used, dataclasses.replace(SETTINGS, seed=seed))


def study(
    seeds: Iterable[int],
    processes: int = 2,
    task: Callable[[int], list[dict[str, Any]]] = one_study,
) -> pd.DataFrame:
    """Return the rows of all data sets."""
    if processes == 1:
        parts = [task(seed) for seed in seeds]
    else:
        # Two fits at once, so that each may keep to one core.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, mp_context=context) as pool:
            parts = list(pool.map(task, seeds))
    return pd.DataFrame([row for part in parts for row in part])


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return coverage of each quantity and content, with its bounds; complete cases beside it.

    Where complete cases leave nothing to fit, they have no interval: `complete_sets` says how many
    data sets are left.
    """
    sets = rows["seed"].nunique()
    table = []
    for name, label in QUANTITIES.items():
        for content in CONTENTS:
            low, high = bounds(sets, content)
            row: dict[str, Any] = {
                "quantity": name,
                "label": label,
                "content": content,
                "sets": sets,
                "lowest_allowed": low,
                "highest_allowed": high,
            }
            chosen = rows[(rows["quantity"] == name) & (rows["content"] == content)]
            for road in ROADS:
                here = chosen[chosen["road"] == road]
                row |= {
                    f"{road}_sets": len(here),
                    f"{road}_covers": int(here["covers"].astype(bool).sum()),
                    f"{road}_width": here["width"].mean(),
                    f"{road}_error": np.sqrt((here["error"] ** 2).mean()),
                }
            row["within"] = low <= row["joint_covers"] <= high and row["joint_sets"] == sets
            table.append(row)
    return pd.DataFrame(table)


def bounds(sets: int, content: float) -> tuple[int, int]:
    """Return the fewest and the most covering intervals allowed, all quantities together at 1 %."""
    each = LEVEL / (len(QUANTITIES) * len(CONTENTS))
    low, high = binom.interval(1.0 - each, sets, content)
    return int(low), int(high)


def markdown(table: pd.DataFrame) -> str:
    """Return the study as a table for people."""
    lines = [
        "| quantity | interval | joint model covers | allowed | complete cases cover "
        "| width: joint, complete | error (RMS): joint, complete |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['label']} | {100 * row['content']:g} % "
        f"| {row['joint_covers']} of {row['joint_sets']} "
        f"| {row['lowest_allowed']} to {row['highest_allowed']} "
        f"| {row['complete_covers']} of {row['complete_sets']} "
        f"| {row['joint_width']:.2f}, {row['complete_width']:.2f} "
        f"| {row['joint_error']:.3f}, {row['complete_error']:.3f} |"
        for row in table.to_dict("records")
    ]
    return "\n".join(lines)


def convergence(rows: pd.DataFrame) -> str:
    """Return what the short chains say about themselves, and what complete cases leave."""
    lines = []
    for road, words in zip(ROADS, ("Joint model", "Complete cases"), strict=True):
        here = rows[rows["road"] == road].drop_duplicates("seed")
        fitted = here[here["fitted"]]
        lines.append(
            f"- {words}: {len(fitted)} fits, on {here['patients'].mean():.0f} patients and "
            f"{here['arms'].mean():.1f} arms on average; {(fitted['divergences'] > 0).sum()} with "
            f"a divergence, {(fitted['rhat'] > 1.05).sum()} with an R-hat above 1.05. All of them "
            f"count. Nothing to fit in {len(here) - len(fitted)}."
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study, write it, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=200, help="number of data sets")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--rows", type=Path, help="where to write every single interval")
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    rows = study(range(options.sets), options.processes)
    table = summary(rows)
    out = sys.stdout.write
    out(f"{markdown(table)}\n\n{convergence(rows)}\n")
    out(f"\n{time.perf_counter() - began:.0f} s with {options.processes} processes.\n")
    if options.rows:
        rows.to_csv(options.rows, index=False, lineterminator="\n")
    table.round(4).to_csv(options.output, index=False, lineterminator="\n")
    if options.output == OUTPUT:
        # Imported here: the tests load this file alone.
        from validate_pooling import rewrite_between

        rewrite_between(PAGE, "recovery", f"{markdown(table)}\n\n{convergence(rows)}")
    passed = bool(table["within"].all())
    out("All within bounds.\n" if passed else "NOT all within bounds.\n")
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
