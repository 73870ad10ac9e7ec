"""What a fit learns from: the caller's table and the evidence beside it, and its predictors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ketpredict.arm_classes import load_arm_classes
from ketpredict.categories import MOST_LEVELS, indicator_name, indicators
from ketpredict.cell_values import is_missing, read_label, read_number
from ketpredict.contracts import CheckedTable, validate_participants
from ketpredict.errors import DataError
from ketpredict.evidence import Evidence, combine, load_evidence, make_evidence
from ketpredict.field_of_fit import POPULATIONS
from ketpredict.fields import PARTICIPANT_FIELDS
from ketpredict.predictors import OF_ANY_FIELD, Predictor, load_predictors
from ketpredict.spec import REFERENCE_ARM, UNNAMED_ARM, ModelSpec

PUBLISHED = "published"


@dataclasses.dataclass(frozen=True)
class FitInputs:
    """A specification with its predictors, their scale, and all evidence together."""

    spec: ModelSpec
    references: Mapping[str, Predictor]
    evidence: Evidence

    def with_messages(self, messages: Sequence[str]) -> FitInputs:
        """Return the same with something more to say about the evidence, said first."""
        said = (*messages, *self.evidence.messages)
        return dataclasses.replace(self, evidence=dataclasses.replace(self.evidence, messages=said))


def from_evidence_alone(
    spec: ModelSpec, evidence: str | Evidence | None, predictors: Sequence[str] | None
) -> FitInputs:
    """Return what a fit without patients of its own learns from.

    Raises
    ------
    DataError
        There is no evidence, or a predictor is not known.
    """
    outside = _outside(evidence)
    if outside is None:
        raise DataError("There is nothing to fit: X is None and evidence is None.")
    references = dict(load_predictors())
    names = (spec.predictors or ()) if predictors is None else predictors
    unknown = [name for name in names if name not in references]
    if unknown:
        raise DataError(
            f"Predictors {', '.join(unknown)} are not known and there is no table to read "
            f"them from. Known: {', '.join(references)}."
        )
    return FitInputs(spec.with_predictors(tuple(names)), references, outside)


def from_patients(
    table: pd.DataFrame,
    spec: ModelSpec,
    evidence: str | Evidence | None,
    predictors: Sequence[str] | None,
    column_names: Mapping[str, str],
) -> FitInputs:
    """Return what a fit to patients learns from.

    Parameters
    ----------
    table : DataFrame of shape (n_rows, n_columns)
        Patients, with their outcomes.
    spec : ModelSpec
        Its predictors are used where the table has any of them, else those of the table.
    predictors : sequence of str, optional
        Columns to use instead.
    column_names : mapping of str to str
        The caller's own names of label columns.

    Raises
    ------
    DataError
        With every problem of the table in one message.
    """
    references = dict(load_predictors())
    table, levels, left = _with_indicators(table, spec, predictors, column_names, references)
    wanted = None if predictors is None else _expanded(predictors, levels)
    checked = validate_participants(table, references, predictors=wanted, column_names=column_names)
    names = _chosen(spec, wanted, checked)
    absent = [name for name in names if name not in references and name not in checked.table]
    if absent:
        raise DataError(
            f"Model '{spec.name}' has predictors that the table does not tell: "
            f"{', '.join(absent)}. Add the columns (of labels: with the same labels), or name "
            "others with predictors=[...]."
        )
    for name in names:
        if name not in references:
            references[name] = _own_predictor(name, checked.table, levels)
    if not checked.outcomes:
        raise DataError(
            "X has no outcome: this estimator requires y to be passed, but the target y is None. "
            "Give y, or a column 'response' (0/1), 'improvement' (percent), or 'baseline_score' "
            "and 'endpoint_score'."
        )
    own = make_evidence(
        participants=table, references=references, predictors=names, column_names=column_names
    )
    messages = []
    left_alone = (*checked.left_alone, *left)
    if left_alone:
        messages.append(f"Columns left alone: {', '.join(left_alone)}.")
    outside = _outside(evidence)
    if outside is not None and evidence == PUBLISHED and not _of_this_field(names, own):
        messages.append(
            "No predictor and no population of your table is one that the published evidence "
            "knows, so the fit rests on your rows alone (evidence=None). To have it nevertheless, "
            "pass evidence=ketpredict.load_evidence()."
        )
        outside = None
    if outside is None and not _of_this_field(names, own):
        own = _without_assumed_arm(own, checked.table, column_names)
    together = own if outside is None else combine(own, outside)
    return FitInputs(spec.with_predictors(names), references, together).with_messages(messages)


def _of_this_field(names: Sequence[str], own: Evidence) -> bool:
    """Return whether the published evidence speaks of the caller's patients."""
    of_field = set(load_predictors()) - OF_ANY_FIELD
    known = set(own.participants["population"]) & POPULATIONS
    foreign_arms = set(own.participants["arm"]) - set(load_arm_classes().index)
    return bool(known or set(names) & of_field or not (names or foreign_arms))


def _without_assumed_arm(
    own: Evidence, table: pd.DataFrame, column_names: Mapping[str, str]
) -> Evidence:
    """Return data of another field without the arm that is assumed in this one.

    Raises
    ------
    DataError
        Some rows name arms that the package does not know, and others name none.
    """
    named = table["arm"].notna() if "arm" in table else pd.Series(False, index=table.index)
    if named.all():
        return own
    arms = sorted(set(table.loc[named, "arm"])) if named.any() else []
    if set(arms) - set(load_arm_classes().index):
        column = column_names.get("arm", "arm")
        raise DataError(
            f"Table 'participants': column '{column}' names no arm in {int((~named).sum())} of "
            f"{len(table)} rows; the others have {', '.join(arms)}. Expected the arm of every row."
        )
    if arms:
        return own
    patients = own.participants.assign(arm=UNNAMED_ARM)
    unnamed = own.arm_classes.loc[[REFERENCE_ARM]].rename(index={REFERENCE_ARM: UNNAMED_ARM})
    classes = pd.concat([own.arm_classes, unnamed.assign(label=UNNAMED_ARM)])
    return dataclasses.replace(own, participants=patients, arm_classes=classes)


def _outside(evidence: str | Evidence | None) -> Evidence | None:
    """Return the evidence beside the caller's table, or None."""
    if evidence is None or isinstance(evidence, Evidence):
        return evidence
    return load_evidence(evidence)


def _chosen(
    spec: ModelSpec, wanted: tuple[str, ...] | None, checked: CheckedTable
) -> tuple[str, ...]:
    """Return the predictors: those asked for, the model's, or those of the table."""
    if wanted is not None:
        return wanted
    own = spec.predictors
    if own is not None and (not own or set(own) & set(checked.table)):
        return own
    return tuple(checked.predictors)


def _own_predictor(
    name: str, table: pd.DataFrame, levels: Mapping[str, tuple[str, ...]]
) -> Predictor:
    """Return the predictor of a column that the package does not know, scaled by itself."""
    weights = table["sample_weight"].to_numpy() if "sample_weight" in table else None
    predictor = Predictor.from_column(name, table[name].to_numpy(), weights)
    for column, known in levels.items():
        for level in known[1:]:
            if name == indicator_name(column, level):
                return dataclasses.replace(
                    predictor,
                    kind="binary",
                    low=0.0,
                    high=1.0,
                    category=column,
                    level=level,
                    reference_level=known[0],
                )
    return predictor


def _with_indicators(
    table: pd.DataFrame,
    spec: ModelSpec,
    predictors: Sequence[str] | None,
    column_names: Mapping[str, str],
    references: Mapping[str, Predictor],
) -> tuple[pd.DataFrame, dict[str, tuple[str, ...]], list[str]]:
    """Return the table with columns of labels as yes/no columns, their labels, columns left alone.

    Raises
    ------
    DataError
        A column that was asked for has more labels than can be used, or one only.
    """
    taken = {field.name for field in PARTICIPANT_FIELDS} | set(column_names.values())
    taken |= set(table.columns[table.columns.duplicated()])  # the contract refuses these
    candidates = [name for name in table if name not in taken and name not in references]
    if predictors is not None:
        candidates = [name for name in candidates if name in predictors]
    elif (set(references) - OF_ANY_FIELD) & set(table):
        # A table with known predictors uses these; a model with others names them.
        own = {name.partition("=")[0] for name in spec.predictors or ()}
        candidates = [name for name in candidates if name in own]
    levels, left, problems = {}, [], []
    for name in candidates:
        labels = _labels_of(table[name])
        if labels is None:
            continue
        if 2 <= len(labels) <= MOST_LEVELS:
            levels[name] = labels
        elif predictors is None:
            left.append(name)
        else:
            problems.append(
                f"column '{name}' has {len(labels)} different labels; expected 2 to {MOST_LEVELS}, "
                "or numbers"
            )
    if problems:
        raise DataError(f"Table 'participants': {'; '.join(problems)}.")
    expanded = table.drop(columns=[*levels, *left])
    for name, labels in levels.items():
        read = [read_label(cell) for cell in table[name].to_numpy(dtype=object)]
        expanded = expanded.assign(**indicators(name, read, labels))
    return expanded, levels, left


def _labels_of(column: pd.Series) -> tuple[str, ...] | None:
    """Return the labels of a column of labels, that of reference first; None for one of numbers.

    Categories keep their order, and stay where no row has them (a part of the data must have the
    labels of the whole); texts are sorted. Where some cells are numbers, the others are typing
    errors of a column of numbers.
    """
    cells = [cell for cell in column.to_numpy(dtype=object) if not _is_missing(cell)]
    if isinstance(column.dtype, pd.CategoricalDtype):
        categories = [cell for cell in column.cat.categories if not _is_missing(cell)]
        if categories and all(read_number(c, words=True) in (0.0, 1.0) for c in categories):
            return None
        return tuple(dict.fromkeys(read_label(cell) for cell in categories))
    texts = [cell for cell in cells if isinstance(cell, str)]
    if not texts or len(texts) < len(cells):
        return None
    if any(read_number(cell, words=True) is not None for cell in set(texts)):
        return None
    return tuple(sorted({cell.strip() for cell in texts}))


def _is_missing(cell: Any) -> bool:
    return is_missing(cell) or (isinstance(read_label(cell), float) and np.isnan(read_label(cell)))


def _expanded(predictors: Sequence[str], levels: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    names: list[str] = []
    for name in predictors:
        known = levels.get(name)
        names += [name] if known is None else [indicator_name(name, one) for one in known[1:]]
    return tuple(names)
