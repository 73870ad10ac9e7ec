"""Tables of a report: the data that a fit rests on, trial by trial, and what they do not tell."""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd

from ketpredict.design import Design
from ketpredict.posterior import Posterior
from ketpredict.predictors import Predictor
from ketpredict.report_tables import Row, Table, table_of, whole
from ketpredict.resources import data_path
from ketpredict.spec import STUDY_TERMS
from ketpredict.stored_design import design_of
from ketpredict.summary import effects_behind
from ketpredict.wording import (
    DASH,
    arm_words,
    counted,
    percent,
    population_words,
    trial_words,
    unit_words,
)

_ROW = ["trial", "population", "arm", "hours", "scale", "threshold", "kind"]
_TERM_WORDS = {
    "open_label": "open label",
    "enriched": "enriched sample",
    "added_antidepressant": "new antidepressant added",
}


def trial_frame(posterior: Posterior) -> pd.DataFrame:
    """Return one row for each trial, population, arm, outcome and kind of data.

    Returns
    -------
    DataFrame
        ``trial``, ``population``, ``arm``, ``hours``, ``scale``, ``threshold`` (percent of
        improvement), ``kind`` (arm or patients), ``responders``, ``n`` (outcomes: a crossover
        patient has one in each period), ``flags`` (in words) and ``source``.
    """
    design = design_of(posterior)
    labels = design.labels()
    labels["flags"] = _flags(design)
    table = labels.groupby([*_ROW, "flags"], as_index=False)[["responders", "n"]].sum()
    known = citations() if "published" in _source(posterior) else {}
    return table.assign(source=[known.get(trial, "") for trial in table["trial"]])


def trial_table(posterior: Posterior) -> Table:
    """Return the table of trials, with their outcomes and sources."""
    frame = trial_frame(posterior)
    return table_of(
        frame,
        "trials",
        "Every trial and arm that enters: responders of outcomes known",
        (
            ("Trial", lambda row: trial_words(row["trial"])),
            ("Population", lambda row: population_words(row["population"])),
            ("Arm", lambda row: arm_words(row["arm"])),
            ("Given as", lambda row: "arm" if row["kind"] == "arm" else "patients"),
            ("Hours", lambda row: f"{row['hours']:g}"),
            (
                "Response is",
                lambda row: f"{str(row['scale']).replace('_', '-')} ≥ {row['threshold']:g} %",
            ),
            ("Responders", lambda row: whole(row["responders"])),
            ("n", lambda row: whole(row["n"])),
            ("Share", lambda row: percent(row["responders"] / row["n"])),
            ("Design", lambda row: row["flags"] or DASH),
            ("Source", lambda row: row["source"] or DASH),
        ),
        "Hours are counted from the (first) dose. Response is an improvement by so many percent on "
        "the trial's scale. Arm: a published count; patients: given one by one. n counts outcomes: "
        "a patient of a crossover trial has one in each period, and those of a "
        "published crossover trial stand in both of its arms. Shares are raw; their uncertainty is "
        "that of n patients, and the model's intervals stand under effects.",
    )


def told_table(posterior: Posterior) -> Table:
    """Return how many patients and arms of each trial tell each predictor."""
    design = design_of(posterior)
    rows = [
        (trial_words(trial), *_told_in(design, design.trials.index(trial)))
        for trial in design.trials
    ]
    rows.append(("All trials", *_told_in(design, None)))
    headings = tuple(predictor.label for predictor in design.predictors)
    return Table(
        "told",
        "How many patients (persons) and published arms tell each predictor, by trial",
        ("Trial", "Patients one by one", "Published arms", *headings),
        tuple(rows),
        "A published arm tells a predictor by a mean, an SD or a percentage. What nobody tells is "
        "averaged over the model's joint law of the predictors; no patient is dropped and nothing "
        "is imputed.",
    )


def predictor_table(posterior: Posterior) -> Table:
    """Return, for each predictor, its scale, where that comes from, and how much tells of it."""
    frame = pd.DataFrame({"place": range(len(posterior.predictors))})
    design = design_of(posterior)

    def predictor(row: Row) -> Predictor:
        return posterior.predictors[row["place"]]

    def spans(row: Row) -> str:
        limits = posterior.facts["ranges"][predictor(row).name]
        if limits["low"] is None:
            return DASH
        return (
            f"{limits['low']:.4g} to {limits['high']:.4g} {unit_words(predictor(row).unit)}".strip()
        )

    def scaled(row: Row) -> str:
        one = predictor(row)
        if one.kind == "binary":
            return f"yes or no, centred at {one.centre:.3g}"
        first = "log, " if one.transform == "log" else ""
        return f"{first}centre {one.centre:.4g}, one step {one.scale:.3g}"

    return table_of(
        frame,
        "predictors",
        "Predictors: how they enter, and what the evidence tells of them",
        (
            ("Predictor", lambda row: predictor(row).label),
            ("Column", lambda row: predictor(row).name),
            ("Unit", lambda row: unit_words(predictor(row).unit) or DASH),
            ("Reference scale", scaled),
            ("Scale from", lambda row: predictor(row).source or DASH),
            ("Trials", lambda row: f"{posterior.facts['ranges'][predictor(row).name]['trials']}"),
            ("Patients who tell it", lambda row: _told(design, None, row["place"])[0]),
            ("Arms that tell it", lambda row: _told(design, None, row["place"])[1]),
            ("Published effects that enter", lambda row: _effects(posterior, predictor(row).name)),
            ("Range in the evidence", spans),
        ),
        "Continuous predictors enter linearly on the reference scale (biomarkers on their "
        "logarithm); one step is about one SD within a trial. Slopes are for one step, or for "
        "presence.",
    )


def population_basis_table(posterior: Posterior) -> Table:
    """Return what the estimates of each population rest on."""
    basis = pd.DataFrame(posterior.facts["basis"])
    return table_of(
        basis,
        "populations",
        "What each population rests on",
        (
            ("Population", lambda row: population_words(row["population"])),
            ("Trials", lambda row: f"{row['trials']}"),
            ("Patients one by one", lambda row: f"{row['patients']}"),
            ("People in published arms", lambda row: f"{row['patients_in_arms']}"),
            ("Hours", lambda row: " to ".join(f"{end:g}" for end in dict.fromkeys(row["hours"]))),
            ("Outcomes", lambda row: str(row["outcomes"]).replace("_", "-")),
            ("24 h prediction", _extrapolation),
        ),
    )


def citations() -> dict[str, str]:
    """Return where each trial of the published evidence is published, in words."""
    found: dict[str, str] = {}
    for file, names in (
        ("arms.csv", ("citation", "doi_or_pmid")),
        ("participants.csv", ("source",)),
    ):
        with open(data_path(file), encoding="utf-8-sig", newline="") as lines:
            for row in csv.DictReader(lines):
                words = "; ".join(row[name] for name in names if row[name])
                if words and (row.get("use") or "fit") == "fit":
                    found.setdefault(row["trial"], words)
    return found


def _extrapolation(row: Row) -> str:
    return f"extrapolation: {row['reason']}" if row["extrapolated"] else "within the evidence"


def _effects(posterior: Posterior, name: str) -> str:
    return f"{effects_behind(posterior, name)}"


def _source(posterior: Posterior) -> str:
    return str(posterior.facts["provenance"].get("evidence_source", ""))


def _flags(design: Design) -> list[str]:
    """Return what is particular about each unit's arm, in words."""
    terms = design.units.study_terms > 0
    course = np.array(design.repeated_arm)[design.units.arm_idx]
    return [
        ", ".join(
            [_TERM_WORDS[name] for name, there in zip(STUDY_TERMS, row, strict=True) if there]
            + ["repeated course"] * bool(repeated)
        )
        for row, repeated in zip(terms, course, strict=True)
    ]


def _told_in(design: Design, trial: int | None) -> list[str]:
    """Return the cells of one trial, or of all."""
    people = _of(design.people.trial_idx, trial)
    arms = _of(design.units.trial_idx, trial) & (design.units.is_arm > 0)
    persons = float(design.people.weight[people].sum())
    cells = [whole(persons) if persons else "none", f"{arms.sum()}" if arms.any() else "none"]
    for k in range(len(design.predictors)):
        patients, of_arms = _told(design, trial, k)
        parts = [] if patients.startswith("0 ") else [f"{patients} patients"]
        parts += [] if of_arms.startswith("0 ") else [f"{of_arms} arms"]
        cells.append("; ".join(parts) or "none")
    return cells


def _told(design: Design, trial: int | None, k: int) -> tuple[str, str]:
    """Return how many patients and arms tell a predictor, of how many."""
    people = _of(design.people.trial_idx, trial)
    weight, known = design.people.weight, ~np.isnan(design.people.value[:, k])
    arms = _of(design.units.trial_idx, trial) & (design.units.is_arm > 0)
    told = ~np.isnan(design.units.value[:, k]) | ~np.isnan(design.units.sd[:, k])
    patients = f"{whole(weight[people & known].sum())} of {whole(weight[people].sum())}"
    return patients, f"{(arms & told).sum()} of {arms.sum()}"


def _of(index: np.ndarray, trial: int | None) -> np.ndarray:
    return np.ones(len(index), dtype=bool) if trial is None else index == trial


def evidence_words(posterior: Posterior) -> str:
    """Return in one sentence what a fit rests on."""
    design = design_of(posterior)
    arms, units = design.units.is_arm > 0, design.units
    words = [counted(len(design.trials), "trial")]
    if arms.any():
        people = units.n[arms].sum()
        words.append(f"{counted(int(arms.sum()), 'published arm')} with {whole(people)} people")
    if (~arms).any():
        persons = design.people.weight.sum()
        known = sum(entry["patients"] for entry in posterior.facts["basis"])
        words.append(
            f"{whole(persons)} patients given one by one, {known} of them with "
            f"{whole(units.n[~arms].sum())} known outcomes"
        )
    responders = f"{whole(units.responders.sum())} of {whole(units.n.sum())} outcomes are responses"
    populations = ", ".join(population_words(name) for name in design.populations)
    return f"{', '.join(words)}. {responders}. Populations: {populations}."
