"""Products and inverses of small matrices in the graph, of operations that compile fast.

By PyTensor's default a graph is compiled by numba, which takes four seconds for each kind of matrix
product (those of a gradient are further kinds) and more for an inverse. Broadcast multiplication
and a sum compile with the operations beside them; the matrices here have a handful of columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt


def product(left: Any, right: Any) -> Any:
    """Return the matrix product of (..., row, inner) and (inner, column)."""
    return (left[..., :, :, None] * right).sum(axis=-2)


def inverse_of_parts(covariance: Any, observed: np.ndarray) -> tuple[Any, Any]:
    """Return the masked inverse and the log determinant of the observed part, set by set.

    By the sweep operator (Goodnight 1979, Am Stat 33:149): sweeping a predictor out of all sets
    that observe it is one operation on arrays. PyTensor's batched linear algebra gives the same
    numbers, but numba takes three times as long to compile it and it runs at half the speed.

    Parameters
    ----------
    covariance : tensor of shape (size, size)
    observed : ndarray of shape (set, size)
        1 where observed, else 0.

    Returns
    -------
    precision : tensor of shape (set, size, size)
        0 outside of the observed part.
    log_determinant : tensor of shape (set,)
    """
    sets, size = observed.shape
    swept, pivots = covariance[None] * np.ones((sets, 1, 1)), []
    for k in range(size):
        pivot, unit = swept[:, k, k], np.eye(size)[k]
        column = (swept[:, :, k] - unit) / pt.sqrt(pivot)[:, None]
        change = column[:, :, None] * column[:, None, :] + 2.0 * np.outer(unit, unit)
        swept = swept - observed[:, k, None, None] * change
        pivots.append(pivot)
    if not pivots:
        return pt.zeros((sets, 0, 0)), pt.zeros(sets)
    both = observed[:, :, None] * observed[:, None, :]
    return -both * swept, (observed * pt.log(pt.stack(pivots, axis=1))).sum(axis=1)
