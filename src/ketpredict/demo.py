"""The demonstration: published evidence and one real trial in, a fit, tables and pictures out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ketpredict.checks import check_fit
from ketpredict.classifier import KetamineResponseClassifier
from ketpredict.evidence import Evidence, load_evidence
from ketpredict.fitting import prepare
from ketpredict.plots import forest_plot, predictive_plot, save_figure
from ketpredict.posterior import Posterior
from ketpredict.predictors import load_predictors
from ketpredict.printing import (
    extrapolation_notes_print,
    left_aligned,
    new_table,
    population_print,
    probability_cells,
)
from ketpredict.rows import encode_rows
from ketpredict.spec import load_spec
from ketpredict.summary import outcomes_in_words, population_table, prediction_table, slope_table
from ketpredict.wording import (
    MODEL_LIMITS,
    RESEARCH_ONLY,
    arm_words,
    counted,
    percent,
    plain_words,
    population_words,
    setting_words,
    signed,
)

FILES = ("forest.png", "posterior_predictive_check.png", "demo.nc")
PROB = 0.9
EXAMPLES: tuple[dict[str, Any], ...] = (
    {"who": "Unipolar, BMI 24", "population": "unipolar_depression", "bmi": 24.0},
    {"who": "Unipolar, BMI 36", "population": "unipolar_depression", "bmi": 36.0},
    {"who": "the same, given saline", "population": "unipolar_depression", "bmi": 36.0,
     "arm": "saline"},
    {"who": "Unipolar, BMI 24, in the trial Murrough 2013", "population": "unipolar_depression",
     "bmi": 24.0, "trial": "murrough_2013"},
    {"who": "Bipolar, BMI 30, alcohol use disorder in the family",
     "population": "bipolar_depression", "bmi": 30.0, "family_history_aud": 1},
    {"who": "Bipolar, nothing else known", "population": "bipolar_depression"},
    {"who": "Borderline personality disorder, BMI 28", "population": "borderline", "bmi": 28.0},
)  # fmt: skip


def run_demo(folder: Path, console: Console, **settings: Any) -> Posterior:
    """Fit the published evidence, print what the fit says, and write the files.

    Parameters
    ----------
    folder : Path
        An existing folder; :data:`FILES` are written there.
    console : Console
        Where the report is printed.
    **settings
        Arguments of :class:`ketpredict.KetamineResponseClassifier`.

    Returns
    -------
    Posterior
        The fit.
    """
    evidence = load_evidence()
    design, used = prepare(load_spec("published"), evidence, load_predictors())
    _say_what_goes_in(console, evidence, used, len(design.effects))
    classifier = KetamineResponseClassifier(evidence=evidence, **settings).fit()
    posterior = classifier.fit_
    check = check_fit(posterior, PROB)
    for gate in check.gates:
        mark = "passed" if gate.passed else "FAILED"
        console.print(Text.assemble((f"Check, {gate.name}: {mark}.", "bold"), f" {gate.detail}"))
    table = population_table(posterior, PROB)
    _say_populations(console, table)
    _say_predictors(console, posterior)
    _say_examples(console, posterior)
    save_figure(forest_plot(table, PROB), folder / FILES[0])
    save_figure(predictive_plot(check.predictive, PROB), folder / FILES[1])
    classifier.save(folder / FILES[2])
    _say_limits(console)
    for name in FILES:
        console.print(f"Written: {folder / name}", soft_wrap=True)
    console.print(f"\n{RESEARCH_ONLY}", style="bold")
    return posterior


def _say_what_goes_in(console: Console, evidence: Evidence, used: Evidence, effects: int) -> None:
    patients, arms = used.participants, used.arms
    observed = patients[patients["response"].notna()]
    trials = set(arms["trial"]) | set(observed["trial"])
    console.print("ketpredict: response to ketamine, from published evidence", style="bold")
    console.print(
        f"{len(trials)} trials: {counted(len(arms), 'published arm')} with "
        f"{arms['n'].sum():.0f} people, and {counted(observed['participant'].nunique(), 'patient')}"
        f" given one by one in {len(observed)} periods (one openly licensed crossover trial). A "
        "person of a published crossover trial stands in both of its arms. "
        f"{effects} of {counted(len(evidence.associations), 'published predictor effect')} enter "
        "too; the others carry the reason why not."
    )
    printed = new_table("Population", "Trials", "Single\npatients", "their\nperiods",
                        "In\narms", "Outcome (trials)")  # fmt: skip
    left_aligned(printed.columns[-1])
    people = arms.groupby("population")["n"].sum().sort_values(ascending=False)
    for population in people.index:
        printed.add_row(*_basis_cells(str(population), observed, arms))
    console.print(printed)


def _basis_cells(population: str, patients: pd.DataFrame, arms: pd.DataFrame) -> tuple[str, ...]:
    one_by_one = patients[patients["population"] == population]
    published = arms[arms["population"] == population]
    keys = ["trial", "scale", "threshold", "hours"]
    reports = pd.concat([one_by_one[keys], published[keys]]).drop_duplicates()
    return (
        population_words(population),
        f"{reports['trial'].nunique()}",
        f"{one_by_one['participant'].nunique()}",
        f"{len(one_by_one)}",
        f"{published['n'].sum():.0f}",
        outcomes_in_words(reports),
    )


def _say_populations(console: Console, table: pd.DataFrame) -> None:
    console.print("\nProbability of response", style="bold")
    console.print(
        "An average patient, nothing known but population and arm, in a new blinded trial. "
        f"Intervals of {100 * PROB:g} %: 'in one trial' is where the probability in one new trial "
        "lies; 'average of trials' is how well the average over trials is known. The overlap "
        "with the prior is near 100 % where the posterior is the prior, and not told where nobody "
        "reports. 'Single patients' and 'in arms' count the people of that very arm."
    )
    console.print(population_print(table))
    beyond = table[table["extrapolated"]]
    notes = {
        f"{population_words(row['population'])}, {arm_words(row['arm']).lower()}": row["reason"]
        for row in beyond.to_dict("records")
    }
    for line in extrapolation_notes_print(notes):
        console.print(f"Extrapolation {line}")


def _say_predictors(console: Console, posterior: Posterior) -> None:
    console.print("\nPredictors: slope under ketamine", style="bold")
    console.print(
        "Latent scale, where a patient's own variation has SD 1: a slope of 0.25 moves 50 % to "
        "60 %. No predictor here is clinically validated. Trials report a predictor patient by "
        "patient or arm by arm; published effects are statistics such as correlations. Where there "
        "is neither the slope is a guess, and no overlap with the prior is told. "
        "`ketpredict literature` says what the effects did."
    )
    printed = new_table(
        "Predictor", "for", "Slope", f"{100 * PROB:g} % interval", "above\nzero", "Trials",
        "Effects", "Overlap\nwith prior", numbers_from=2,
    )  # fmt: skip
    for row in slope_table(posterior, PROB).to_dict("records"):
        printed.add_row(
            plain_words(row["predictor"]),
            str(row["step"]),
            signed(row["slope"]),
            f"{signed(row['lower'])} to {signed(row['upper'])}",
            percent(row["positive"]),
            f"{row['trials'] or 'none'}",
            f"{row['effects'] or 'none'}",
            percent(row["prior_overlap"]),
        )
    console.print(printed)


def _say_examples(console: Console, posterior: Posterior) -> None:
    console.print("\nExample patients, ketamine at 24 h unless said otherwise", style="bold")
    console.print(
        "In a trial that the fit knows the two intervals are the same. For a population that it "
        "does not know, 'in one trial' spans populations too, and the average is over them."
    )
    names = sorted({name for example in EXAMPLES for name in example} - {"who"})
    columns = {name: [example.get(name) for example in EXAMPLES] for name in names}
    rows = encode_rows(posterior, columns, len(EXAMPLES))
    printed: Table = new_table("Patient", "Response", "in one\ntrial", "average\nof trials",
                               "Setting")  # fmt: skip
    left_aligned(printed.columns[-1])
    notes = {}
    predictions = prediction_table(posterior, rows, PROB).to_dict("records")
    for example, row in zip(EXAMPLES, predictions, strict=True):
        mark = " †" if row["extrapolation"] else ""
        setting = setting_words(str(row["setting"]))
        printed.add_row(f"{example['who']}{mark}", *probability_cells(row), setting)
        if row["extrapolation"]:
            notes[str(example["who"])] = str(row["extrapolation"])
    console.print(printed)
    for line in extrapolation_notes_print(notes):
        console.print(f"Extrapolation {line}")


def _say_limits(console: Console) -> None:
    console.print("\nWhat this version leaves out", style="bold")
    for line in MODEL_LIMITS:
        console.print(f"- {line}")
    console.print()
