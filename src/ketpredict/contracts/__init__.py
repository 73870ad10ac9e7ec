"""Data contracts: the three long tables that enter the package, validated at the door.

Participants, published arms and published associations each have one function. It returns a new
table with numbers as float64 and labels as text, or raises one ``DataError`` that lists every
problem: row, column, value, what was expected. The checks are pandera's: ``fields`` says what a
column holds, ``rules`` what holds between columns, ``columns`` recognises names, ``cells`` reads
cells and words the message, ``reader`` takes one table through all of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from ketpredict.column_names import arm_vocabulary, participant_vocabulary, summary_endings
from ketpredict.contracts.fields import ARM_FIELDS, ASSOCIATION_FIELDS, summary_field
from ketpredict.contracts.reader import OUTCOMES, Reader
from ketpredict.contracts.rules import arm_rules, association_rules, participant_rules
from ketpredict.fields import PARTICIPANT_FIELDS, column_field, predictor_field
from ketpredict.predictors import Predictor
from ketpredict.tables import as_table


@dataclasses.dataclass(frozen=True)
class CheckedTable:
    """A table that holds its contract.

    Parameters
    ----------
    table : DataFrame of shape (n_rows, n_columns)
        Rows in the caller's order, numbered from 0; columns under their canonical names. Numbers,
        and yes/no columns as 0 and 1, are float64; labels are text; NaN is missing.
    predictors : tuple of str
        Columns to use as predictors: those asked for, else those known, else all usable columns.
        For arms, the predictors that have a summary column.
    outcomes : tuple of str
        Participants only: ``"response"``, ``"improvement"``, ``"scores"``, those that are there.
    left_alone : tuple of str
        Columns that are not known and were not asked for. They are in ``table`` as they came.
    """

    table: pd.DataFrame
    predictors: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    left_alone: tuple[str, ...] = ()


def validate_participants(
    table: Any,
    references: Mapping[str, Predictor],
    *,
    predictors: Iterable[str] | None = None,
    column_names: Mapping[str, str | None] | None = None,
    name: str = "participants",
) -> CheckedTable:
    """Return the participants' table, checked: one row for each patient, arm and horizon.

    Every column is optional here: labels (trial, population, arm, hours, participant, period,
    assay), predictors, and outcomes (``response`` 0 or 1; ``improvement`` in percent;
    ``baseline_score`` with ``endpoint_score``). Where several outcomes are given they must agree.

    Parameters
    ----------
    table : pandas, polars or PyArrow table, mapping of arrays, or array
    references : mapping of str to Predictor
        Known predictors; their plausible ranges are enforced.
    predictors : iterable of str, optional
        Columns to use. A known one that the table lacks is missing throughout. By default the
        known ones in the table; if there is none but age and sex, every column that holds numbers
        or yes and no.
    column_names : mapping of str to str, optional
        The caller's own names of columns, ``{"trial": "study"}``.
    name : str
        What messages call the table.

    Raises
    ------
    DataError
        Lists all problems of the table.
    """
    reader = Reader(as_table(table), name, column_names)
    wanted = None if predictors is None else tuple(predictors)
    reader.check_wanted(wanted, references)
    labels = [field.name for field in PARTICIPANT_FIELDS if field.kind == "label"]
    known = [field.name for field in PARTICIPANT_FIELDS]
    asked = wanted or ()
    reader.recognise(participant_vocabulary(known, labels, references), asked)
    fields = list(PARTICIPANT_FIELDS)
    fields += [predictor_field(predictor) for predictor in references.values()]
    chosen = wanted if wanted is not None else reader.default_predictors(references)
    extra = [column for column in chosen if column not in references and column not in known]
    fields += [column_field(column) for column in extra]
    frame = reader.read(fields, participant_rules)
    for column in chosen:
        if column not in frame:
            frame[column] = float("nan")
    return CheckedTable(frame, tuple(chosen), _outcomes(frame), reader.left_alone(fields))


def validate_arms(
    table: Any,
    references: Mapping[str, Predictor],
    *,
    predictors: Iterable[str] | None = None,
    name: str = "arms",
) -> CheckedTable:
    """Return the table of published arms, checked: one row for each trial, arm and horizon.

    Needed: trial, population, arm, hours, n, responders. Optional: summaries of predictors
    (``bmi_mean``, ``bmi_sd``; ``family_history_aud_pct`` in percent), ``improvement_mean`` and
    ``improvement_sd`` in percent, design, blinding, threshold in percent, scale, and the yes/no
    columns repeated, enriched, added_antidepressant.

    Parameters
    ----------
    table : pandas, polars or PyArrow table, mapping of arrays
    references : mapping of str to Predictor
        Known predictors; means must lie in their plausible ranges.
    predictors : iterable of str, optional
        Further predictors whose summaries (``age_mean``, ``age_sd`` or ``age_pct``) are wanted.
    name : str
        What messages call the table.

    Raises
    ------
    DataError
        Lists all problems of the table.
    """
    reader = Reader(as_table(table), name)
    wanted = None if predictors is None else tuple(predictors)
    others = [item for item in wanted or () if item not in references]
    fields = list(ARM_FIELDS)
    for predictor in references.values():
        endings = summary_endings(predictor)
        fields += [summary_field(predictor.name, ending, predictor) for ending in endings]
    fields += [summary_field(item, end, None) for item in others for end in ("mean", "sd", "pct")]
    labels = [field.name for field in ARM_FIELDS if field.kind == "label"]
    known = [field.name for field in ARM_FIELDS]
    asked = [field.name for field in fields]
    reader.refuse_wrong_summaries(references)
    reader.recognise(arm_vocabulary(known, labels, references), asked)
    frame = reader.read(fields, arm_rules)
    summarised = [
        item
        for item in (*references, *others)
        if any(f"{item}_{ending}" in frame for ending in ("mean", "sd", "pct"))
    ]
    chosen = summarised if wanted is None else [item for item in wanted if item in summarised]
    return CheckedTable(frame, tuple(chosen), left_alone=reader.left_alone(fields))


def validate_associations(table: Any, *, name: str = "associations") -> CheckedTable:
    """Return the table of published predictor effects, checked: one row for each effect.

    Needed columns: cohort, predictor, population, hours, statistic, estimate, n. The cells of
    hours, estimate and n may be missing (an effect at any time; one known by its sign or p value
    only). Optional: se, ci_low, ci_high; p_value with p_relation (``<``); sign_convention and
    direction_for_better_response; adjusted_set (``bmi;age``); population_mix
    (``unipolar_depression:0.7;bipolar_depression:0.3``); outcome_kind (improvement, response) with
    response_rate; contrast (continuous, split); counts (``29/43;47/92`` or ``64;30``); sd; df1;
    per_units (the step of a ratio; a factor where the predictor is on the log scale);
    probability_positive; trial and overlapping_trials; use. ``data/fields.csv`` explains each.

    Parameters
    ----------
    table : pandas, polars or PyArrow table, mapping of arrays
    name : str
        What messages call the table.

    Raises
    ------
    DataError
        Lists all problems of the table.
    """
    reader = Reader(as_table(table), name)
    labels = ("cohort", "trial")
    known = [field.name for field in ASSOCIATION_FIELDS]
    reader.recognise(participant_vocabulary(known, labels, {}), ())
    frame = reader.read(ASSOCIATION_FIELDS, association_rules)
    return CheckedTable(frame, left_alone=reader.left_alone(ASSOCIATION_FIELDS))


def _outcomes(frame: pd.DataFrame) -> tuple[str, ...]:
    scores = ("scores",) if {"baseline_score", "endpoint_score"} <= set(frame) else ()
    return (*(name for name in OUTCOMES[:2] if name in frame), *scores)


__all__ = [
    "OUTCOMES",
    "CheckedTable",
    "validate_arms",
    "validate_associations",
    "validate_participants",
]
