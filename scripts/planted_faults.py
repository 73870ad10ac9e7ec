"""Which check sees which fault? Data sets with one planted fault each, and data sets without.

Run ``uv run python scripts/planted_faults.py --sets 20`` (a quarter of an hour on two cores): it
writes ``docs/planted_faults.md`` and ``docs/planted_faults.csv``. The sizes of the faults stand in
``FAULTS`` and were fixed before the first run. ``--fits FOLDER`` keeps the fits, so that checks can
be run again without them.

Every data set has eight trials of two populations, two of them given as published arms, 20 patients
in each of two arms, three predictors with 15 % of cells missing, and is fitted by 2 chains of
400 + 400 draws. Gates are those of :func:`ketpredict.checks.check_fit` at its defaults, but for
convergence and the share of Pareto k, which are about the sampler.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from scipy.stats import beta, binom

import ketpredict as kp
from ketpredict.checks import check_fit
from ketpredict.evidence import make_evidence
from ketpredict.posterior import Posterior, load_posterior

PAGE = Path(__file__).parents[1] / "docs" / "planted_faults.md"
TABLE = PAGE.with_suffix(".csv")
PREDICTORS = ("bmi", "bdnf", "family_history_aud")
POPULATIONS = ("unipolar_depression", "bipolar_depression")
TRUTH = {
    "intercept": 0.1,
    "prognostic_slope": [0.3, 0.0, 0.2],
    "predictive_slope": [0.1, 0.0, 0.0],
    "population_scale": 0.2,
    "trial_scale": 0.3,
    "treatment_scale": 0.2,
    "population_slope": [[0.0] * 3] * 2,
    "trial_slope": [[0.0] * 3] * 8,
    "across_slope": [0.0] * 3,
}
NOT_OF_DATA = ("convergence", "Pareto k of patients")
Tables = tuple[pd.DataFrame, pd.DataFrame]


def without_fault(patients: pd.DataFrame, arms: pd.DataFrame, rng: np.random.Generator) -> Tables:
    """Return the tables as simulated."""
    return patients, arms


def outlying_trial(patients: pd.DataFrame, arms: pd.DataFrame, rng: np.random.Generator) -> Tables:
    """Nine of ten patients of the first trial respond, whatever their arm."""
    here = patients["trial"] == "trial_1"
    return patients.assign(
        response=np.where(here, rng.random(len(patients)) < 0.9, patients["response"]).astype(float)
    ), arms


def missing_by_outcome(
    patients: pd.DataFrame, arms: pd.DataFrame, rng: np.random.Generator
) -> Tables:
    """BMI is missing in 80 % of responders and in 10 % of the others."""
    chance = np.where(patients["response"] == 1, 0.8, 0.1)
    return patients.assign(bmi=patients["bmi"].mask(rng.random(len(patients)) < chance)), arms


def typing_error(patients: pd.DataFrame, arms: pd.DataFrame, rng: np.random.Generator) -> Tables:
    """Give the first published control arm 19 responders of 20."""
    row = arms.index[arms["arm"] == "saline"][0]
    changed = arms.copy()
    changed.loc[row, "responders"] = 19
    return patients, changed


def assay_shift(patients: pd.DataFrame, arms: pd.DataFrame, rng: np.random.Generator) -> Tables:
    """Every second BDNF value of the second trial is four times too high."""
    wrong = (patients["trial"] == "trial_2") & (np.arange(len(patients)) % 2 == 0)
    return patients.assign(bdnf=patients["bdnf"].where(~wrong, 4.0 * patients["bdnf"])), arms


def separation(patients: pd.DataFrame, arms: pd.DataFrame, rng: np.random.Generator) -> Tables:
    """Family history was copied from the outcome, in ketamine arms."""
    active = patients["arm"] == "ketamine"
    history = patients["family_history_aud"].where(~active, patients["response"])
    return patients.assign(family_history_aud=history), arms


def duplicates(patients: pd.DataFrame, arms: pd.DataFrame, rng: np.random.Generator) -> Tables:
    """Four patients of the first trial are there twice."""
    complete = patients[patients[["bmi", "bdnf"]].notna().all(axis=1)]
    again = complete[complete["trial"] == "trial_1"].head(4)
    renamed = again.assign(participant=again["participant"].astype(str) + " again")
    return pd.concat([patients, renamed], ignore_index=True), arms


def skewed_improvement(
    patients: pd.DataFrame, arms: pd.DataFrame, rng: np.random.Generator
) -> Tables:
    """Every second trial counts 30 % improvement as response, and few improve by 30 to 50 %.

    Of those who do not reach 50 % the model expects about half to reach 30 %; here 2 % do.
    """
    lower = patients["trial"].isin(["trial_2", "trial_4", "trial_6"])
    more = lower & (rng.random(len(patients)) < 0.02)
    return patients.assign(
        response=np.maximum(patients["response"], more.astype(float)),
        threshold=np.where(lower, 30.0, 50.0),
        scale="MADRS",
    ), arms.assign(scale="MADRS")


REVERSED = {"population_slope": [[0.9, 0.0, 0.0], [-0.9, 0.0, 0.0]]}
Fault = Callable[[pd.DataFrame, pd.DataFrame, np.random.Generator], Tables]
FAULTS: dict[str, tuple[Fault, dict[str, list[list[float]]], str]] = {
    "none": (without_fault, {}, ""),
    "outlying trial": (outlying_trial, {}, "posterior predictive, as new trials"),
    "effect reversed in a population": (without_fault, REVERSED, "effects of one sign"),
    "skewed improvement": (skewed_improvement, {}, "posterior predictive, by threshold"),
    "missing by outcome": (missing_by_outcome, {}, "posterior predictive, by missingness"),
    "typing error in an arm": (typing_error, {}, "posterior predictive, as new trials"),
    "assay shift": (assay_shift, {}, "predictors within trials"),
    "separation": (separation, {}, "no separation"),
    "duplicated patients": (duplicates, {}, "patients given once"),
}
"""Fault, what it changes in the truth, and the gate that is named for it (fixed beforehand)."""


def fitted(name: str, seed: int, folder: Path | None = None) -> Posterior:
    """Return the fit to one data set; from the folder where it is there, else kept there."""
    kept = folder and folder / f"{name.replace(' ', '_')}_{seed}.nc"
    if kept and kept.exists():
        return load_posterior(kept)
    fault, truth, _ = FAULTS[name]
    simulated = kp.simulate(
        trials=8,
        patients=20,
        published_trials=2,
        populations=POPULATIONS,
        predictors=PREDICTORS,
        missing=0.15,
        truth={**TRUTH, **truth},
        random_state=seed,
    )
    rng = np.random.default_rng([seed, 1])
    patients, arms = fault(simulated.participants, simulated.arms, rng)
    evidence = make_evidence(
        participants=patients,
        arms=arms,
        references={predictor.name: predictor for predictor in simulated.predictors},
        predictors=PREDICTORS,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kp.KetpredictWarning)
        model = kp.KetamineResponseClassifier(
            evidence=evidence, predictors=PREDICTORS, draws=400, tune=400, chains=2, cores=1,
            target_accept=0.85, random_state=seed,
        )  # fmt: skip
        posterior: Posterior = model.fit().fit_
    if kept:
        posterior.save(kept)
    return posterior


def failed_gates(name: str, seed: int, folder: Path | None = None) -> dict[str, object]:
    """Return which gates fail on one data set."""
    found = check_fit(fitted(name, seed, folder))
    gates = {gate.name: not gate.passed for gate in found.gates if gate.name not in NOT_OF_DATA}
    return {"fault": name, "seed": seed, **gates}


def tasks(sets: int) -> list[tuple[str, int]]:
    """Return fault and seed of every data set of the page."""
    kinds = ["none", "none", *list(FAULTS)[1:]]
    return [(name, 1000 * place + i) for place, name in enumerate(kinds) for i in range(sets)]


def main() -> None:
    """Run all data sets and write table and page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=20, help="Data sets of each kind.")
    parser.add_argument("--page", action="store_true", help="Write the page from the stored table.")
    parser.add_argument("--fits", type=Path, help="Folder to keep fits in, and to take them from.")
    arguments = parser.parse_args()
    if not arguments.page:
        if arguments.fits:
            arguments.fits.mkdir(parents=True, exist_ok=True)
        rows = joblib.Parallel(n_jobs=-1, verbose=1)(
            joblib.delayed(failed_gates)(*task, arguments.fits) for task in tasks(arguments.sets)
        )
        pd.DataFrame(rows).to_csv(TABLE, index=False)
    PAGE.write_text(_page(pd.read_csv(TABLE)), encoding="utf-8")
    print(f"Written: {PAGE}")


def interval(seen: int, n: int) -> str:
    """Return the exact 95 % interval of a rate (Clopper and Pearson 1934, Biometrika 26:404)."""
    low = 0.0 if seen == 0 else float(beta.ppf(0.025, seen, n - seen + 1))
    high = 1.0 if seen == n else float(beta.ppf(0.975, seen + 1, n - seen))
    return f"{low:.2f} to {high:.2f}"


def _page(table: pd.DataFrame) -> str:
    gates = [name for name in table if name not in ("fault", "seed")]
    count = table.groupby("fault")[gates].sum().astype(int)
    sizes = table.groupby("fault").size()
    rate = table.groupby("fault")[gates].mean()
    lines = [
        "# Planted faults: which check sees what",
        "",
        "`uv run python scripts/planted_faults.py` writes this page. "
        + " ".join(__doc__.split("\n\n")[2].replace(":func:", "").split()),
        "",
        "Faults, their sizes and the gate named for each were fixed before the first run. Checks "
        "were made better afterwards (deleted residuals, `checks.md`), on data sets of the same "
        "faults from other seeds (10 000 and above), and then run here once. The first runs "
        "clipped simulated values to ranges that are plausible in patients, in three data sets of "
        "four, so that data without a fault were not quite the model's; now nothing is clipped.",
        "",
        "| Fault | Data sets | Gate named beforehand | sees it in | 95 % interval | Gate that sees "
        "it most | in | 95 % interval |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, (_, _, named) in FAULTS.items():
        n = int(sizes[name])
        if name == "none":
            continue
        best = str(rate.loc[name].idxmax())
        cells = [
            f"{gate} | {rate.loc[name, gate]:.2f} | {interval(count.loc[name, gate], n)}"
            for gate in (named, best)
        ]
        lines.append(f"| {name} | {n} | {' | '.join(cells)} |")
    lines += [
        "",
        "All gates: share of data sets in which each fails, with its exact 95 % interval where it "
        f"is not 0 (0 of {sizes.min()}: {interval(0, int(sizes.min()))}). In bold the gate named "
        "beforehand; a dash where the data have nothing for the gate.",
        "",
        f"| Fault | Data sets | {' | '.join(gates)} |",
        "|---|---|" + "---|" * len(gates),
    ]
    for name, (_, _, named) in FAULTS.items():
        cells = []
        for gate in gates:
            if not np.isfinite(rate.loc[name, gate]):
                cells.append("–")
                continue
            cell = f"{rate.loc[name, gate]:.2f}"
            cell = f"**{cell}**" if gate == named else cell
            if count.loc[name, gate]:
                cell += f" ({interval(count.loc[name, gate], int(sizes[name]))})"
            cells.append(cell)
        lines.append(f"| {name} | {sizes[name]} | {' | '.join(cells)} |")
    n = int(sizes["none"])
    most = int(binom.ppf(1.0 - 0.05 / len(gates), n, 0.05))
    over = [gate for gate in gates if count.loc["none", gate] > most]
    lines += [
        "",
        f"Without a fault a gate may fail in 5 % of data sets; of {n} that is {most} at most, by "
        f"Bonferroni over the {len(gates)} gates. "
        + (f"Too often: {', '.join(over)}." if over else "None fails more often."),
        "",
        _weak(rate),
        "",
        "What each fault is:",
        "",
        *(
            f"- **{name}**: {' '.join((fault.__doc__ or '').split())}"
            for name, (fault, truth, _) in FAULTS.items()
            if name != "none" and not truth
        ),
        "- **effect reversed in a population**: the slope of BMI is 0.9 higher in one population "
        "and 0.9 lower in the other than the common one.",
        "",
    ]
    return "\n".join(lines)


def _weak(rate: pd.DataFrame) -> str:
    """Return which faults no gate sees in half of the data sets."""
    faults = [name for name in FAULTS if name != "none"]
    most = rate.loc[faults].max(axis=1)
    weak = [f"{name} ({most[name]:.2f})" for name in faults if most[name] < 0.5]
    seen = [f"{name} ({most[name]:.2f})" for name in faults if most[name] >= 0.5]
    return (
        f"Seen in half of the data sets or more by some gate: {', '.join(seen) or 'none'}. Less "
        f"often (the largest rate of any gate): {', '.join(weak) or 'none'}. `checks.md` says what "
        "skewed improvement could show at best."
    )


if __name__ == "__main__":
    main()
