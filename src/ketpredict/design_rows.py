"""Tables of evidence as rows of a design: values on the reference scale, equal rows merged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ketpredict.cells import arm_summary
from ketpredict.predictors import Predictor
from ketpredict.spec import STUDY_TERMS

_KEY = ["trial", "population", "arm", "hours", "threshold", "scale", *STUDY_TERMS]


def patient_rows(
    participants: pd.DataFrame, predictors: Sequence[Predictor]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    r"""Return distinct patients with an outcome, and distinct people; order of rows is nothing.

    A row with ``sample_weight`` :math:`w` enters with its likelihood to the power :math:`w`: as
    :math:`w` responders (or none) of :math:`w`. A whole weight is so many equal rows.
    """
    rows = _shared_columns(participants)
    rows["law"] = _laws(participants)
    rows["kind"] = "patients"
    for predictor in predictors:
        column = participants.get(predictor.name)
        values = np.full(len(rows), np.nan) if column is None else column.to_numpy(float)
        on_scale = values if predictor.kind == "binary" else predictor.to_scale(values)
        rows[f"value:{predictor.name}"] = on_scale
    measured = [f"value:{predictor.name}" for predictor in predictors]
    people = rows[["trial", "law", *measured]].copy()
    # A patient with two periods is one person: each row counts for its share.
    identity = [participants[name].to_numpy() for name in ("trial", "participant")]
    periods = people.groupby(identity)["law"].transform("size").to_numpy(float)
    weight = np.ones(len(rows))
    if "sample_weight" in participants:
        weight = participants["sample_weight"].fillna(1.0).to_numpy(float)
    people["weight"] = weight / periods if len(people) else 0.0
    rows["responders"] = weight * participants["response"].to_numpy(float)
    rows["n"] = weight
    rows["weight"] = 0.0
    return (
        _collapsed(rows[rows["responders"].notna().to_numpy()], ["responders", "n"]),
        _collapsed(people, ["weight"]),
    )


def _collapsed(rows: pd.DataFrame, summed: list[str]) -> pd.DataFrame:
    """Return one row for each distinct one, sorted, with some columns summed.

    Sorted by what is summed too: sums of weights must not depend on the caller's order.
    """
    keys = [column for column in rows if column not in summed]
    rows = rows.sort_values([*keys, *summed], ignore_index=True)
    return rows.groupby(keys, dropna=False, sort=True, as_index=False)[summed].sum()


def _laws(table: pd.DataFrame) -> pd.Series:
    """Return the trial, with the assay where a row names one."""
    trial = table["trial"].astype(object)
    if "assay" not in table:
        return trial.reset_index(drop=True)
    named = table["assay"].notna()
    with_assay = trial + " (" + table["assay"].astype(object).fillna("").astype(str) + ")"
    return with_assay.where(named, trial).reset_index(drop=True)


def arm_rows(arms: pd.DataFrame, predictors: Sequence[Predictor]) -> pd.DataFrame:
    """Return one row for each published arm, its summaries on the reference scale."""
    rows = _shared_columns(arms)
    rows["law"] = arms["trial"].astype(object).to_numpy()
    rows["kind"] = "arm"
    for predictor in predictors:
        mean, sd = arm_summary(arms, predictor)
        rows[f"value:{predictor.name}"] = mean
        rows[f"sd:{predictor.name}"] = sd
    rows["responders"] = arms["responders"].to_numpy(float)
    rows["n"] = arms["n"].to_numpy(float)
    rows["weight"] = _summarised_people(arms)
    return rows.sort_values([*_KEY, "n", "responders"], ignore_index=True)


def _summarised_people(arms: pd.DataFrame) -> np.ndarray:
    """Return the people behind each arm's predictor summaries: those randomised, where known.

    The arms of a crossover trial are the same people, who count once.
    """
    people = arms["n"].to_numpy(float)
    if "n_randomised" in arms:
        randomised = arms["n_randomised"].to_numpy(float)
        people = np.where(np.isnan(randomised), people, randomised)
    if "design" in arms:
        size = arms.groupby("trial")["arm"].transform("size").to_numpy(float)
        crossover = (arms["design"].astype(object) == "crossover").to_numpy(bool)
        people = np.where(crossover, people / size, people)
    return people


def _shared_columns(table: pd.DataFrame) -> pd.DataFrame:
    rows = table[_KEY].copy()
    for term in STUDY_TERMS:
        rows[term] = rows[term].astype(float)
    rows["hours"] = rows["hours"].astype(float)
    rows["scale"] = rows["scale"].astype(object).where(rows["scale"] != "", "unnamed scale")
    return rows.reset_index(drop=True)
