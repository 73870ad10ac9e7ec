"""From ``X``, ``y`` and weights to what a fit learns from, and how they are to be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ketpredict.errors import DataError
from ketpredict.feature_columns import (
    BY_NAME,
    NOT_KEPT,
    is_table,
    read_training_table,
    read_weights,
)
from ketpredict.fields import PARTICIPANT_FIELDS
from ketpredict.fit_inputs import FitInputs, from_evidence_alone, from_patients
from ketpredict.outcome_labels import read_outcome
from ketpredict.predictors import load_predictors
from ketpredict.spec import load_spec

if TYPE_CHECKING:
    import pandas as pd


def training_inputs(
    estimator: Any, X: Any, y: Any, sample_weight: Any
) -> tuple[FitInputs, dict[str, Any]]:
    """Return what a fit learns from, and what prediction must know of the caller's columns.

    Parameters
    ----------
    estimator : KetamineResponseClassifier
        Its arguments say the model, the evidence, the predictors and the names of columns.

    Returns
    -------
    FitInputs
    dict
        ``columns`` (whether they are read by name, their names and number) and, with ``y``,
        ``labels`` (both, and the one of response): plain values that a file can hold.

    Raises
    ------
    DataError
        With every problem of the table in one message.
    """
    if isinstance(estimator.evidence, str) and estimator.evidence == NOT_KEPT:
        raise DataError(
            "This estimator was loaded from a file, which does not hold the Evidence that it was "
            "fitted with. Give it again: set_params(evidence=...), or None for none."
        )
    if isinstance(estimator.predictors, str):
        raise DataError(
            f"predictors is {estimator.predictors!r}; expected a list of names: "
            f"[{estimator.predictors!r}]."
        )
    spec = load_spec(estimator.model)
    wanted = None if estimator.predictors is None else tuple(estimator.predictors)
    if X is None:
        if y is not None or sample_weight is not None:
            raise DataError("y or sample_weight was given without X; expected the patients.")
        return from_evidence_alone(spec, estimator.evidence, wanted), {"columns": dict(BY_NAME)}
    own_names = {name: getattr(estimator, name) for name in ("trial", "population", "arm")}
    table = read_training_table(estimator, X)
    names = list(table.columns) if is_table(X) else None
    known = {field.name for field in PARTICIPANT_FIELDS} | set(load_predictors())
    by_name = names is not None and bool({*known, *own_names.values()} & set(names))
    reading: dict[str, Any] = {
        "columns": {"by_name": by_name, "names": names, "count": table.shape[1]}
    }
    given: dict[str, np.ndarray] = {}
    messages = []
    if y is not None:
        outcome = read_outcome(y, estimator.response_label)
        given["response"] = outcome.values
        reading["labels"] = {"classes": outcome.classes.tolist(), "response": outcome.response}
        messages += [outcome.message] if outcome.message else []
    if sample_weight is not None:
        given["sample_weight"] = read_weights(sample_weight, len(table))
    table = _with_columns(table, given)
    inputs = from_patients(table, spec, estimator.evidence, wanted, own_names)
    return inputs.with_messages(messages), reading


def _with_columns(table: pd.DataFrame, given: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Return the table with the outcome and the weights, which it must not hold already."""
    arguments = {"response": "y", "sample_weight": "sample_weight"}
    for name, values in given.items():
        if name in table:
            raise DataError(
                f"X has a column '{name}' and {arguments[name]} was given too; leave one of them "
                "out."
            )
        if len(values) != len(table):
            raise DataError(
                f"X has {len(table)} rows and {arguments[name]} has {len(values)}; expected as "
                "many (inconsistent numbers of samples)."
            )
    return table.assign(**given)
