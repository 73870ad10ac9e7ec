"""The caller's ``X`` by scikit-learn's rules: tables by name, arrays by position, weights.

A table with a column that the package knows by name (a label such as ``trial``, or one of its
predictors) is read by name: order is nothing, and a column that is left out at prediction is
unknown. Any other table or array is held to what it was at ``fit``, names, number and order, since
a missing column might be a typing error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import _check_sample_weight, check_array, validate_data

from ketpredict.errors import CellTypeError, DataError
from ketpredict.tables import as_table

if TYPE_CHECKING:
    import pandas as pd


BY_NAME: dict[str, Any] = {"by_name": True, "names": None, "count": None}
"""How `X` is read by a fit that saw none."""
NOT_KEPT = "(an Evidence that the file does not hold)"
"""What a loaded estimator has in the place of the evidence that it was fitted with."""


def is_table(X: Any) -> bool:
    """Return whether the columns of `X` have names."""
    if issparse(X):  # one kind of which is a mapping
        return False
    named = ("to_pandas", "__arrow_c_stream__", "columns")
    return isinstance(X, Mapping) or any(hasattr(X, name) for name in named)


def read_training_table(estimator: Any, X: Any) -> pd.DataFrame:
    """Return `X` as a table, and note its columns in the estimator.

    Sets ``n_features_in_`` and, of a table, ``feature_names_in_``.

    Raises
    ------
    ValueError, TypeError
        scikit-learn's own, where `X` is an array that cannot be one of patients.
    """
    table = _as_table(X)
    twice = sorted(set(table.columns[table.columns.duplicated()]))
    if twice:
        raise DataError(
            f"X has columns of the same name: {', '.join(twice)}. Keep one and rename others."
        )
    # An estimator fitted anew to an array must forget the names of the table before.
    validate_data(estimator, table if is_table(X) else np.empty(table.shape), **_NO_CHECK)
    return table


def read_same_columns(estimator: Any, X: Any) -> pd.DataFrame:
    """Return `X` as a table with the columns of ``fit``, in their order.

    Raises
    ------
    ValueError
        Other columns, or another number of them, than in ``fit``: scikit-learn's own message.
    """
    table = _as_table(X)
    given = table if is_table(X) else np.empty(table.shape)
    validate_data(estimator, given, reset=False, **_NO_CHECK)
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        table.columns = list(names)
    elif is_table(X):
        table.columns = [f"x{i}" for i in range(table.shape[1])]
    return table


def read_weights(sample_weight: Any, n_rows: int) -> np.ndarray:
    """Return the weights of the rows, checked.

    Raises
    ------
    ValueError
        scikit-learn's own: not one number of 0 or more for each row, or zero throughout.
    """
    rows = np.empty((n_rows, 1))
    return np.asarray(
        _check_sample_weight(sample_weight, rows, dtype=np.float64, ensure_non_negative=True)
    )


_NO_CHECK: dict[str, Any] = {"skip_check_array": True}


def _as_table(X: Any) -> pd.DataFrame:
    if is_table(X):
        return as_table(X)
    array = check_array(X, dtype=None, ensure_all_finite="allow-nan")
    if array.dtype.kind == "O":
        _refuse_collections(array)
    return as_table(array)


def _refuse_collections(array: np.ndarray) -> None:
    for (row, column), cell in np.ndenumerate(array):
        if isinstance(cell, (Mapping, list, tuple, set, np.ndarray)):
            raise CellTypeError(
                f"X, row {row + 1}, column x{column} is a {type(cell).__name__}; a cell's argument "
                "must be a string or a real number, or missing."
            )
