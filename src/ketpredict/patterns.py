"""Patterns: every combination of the binary predictors that a row leaves open."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ketpredict.errors import DataError

MAXIMUM_UNKNOWN_BINARIES = 10


def enumerate_patterns(
    rate: np.ndarray,
    exclusive: Sequence[Sequence[int]] = (),
    of_one_person: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the row and the 0/1 values of every pattern of binary predictors.

    Parameters
    ----------
    rate : ndarray of shape (row, binary)
        0 or 1 where known; a proportion or NaN where it must be averaged over.
    exclusive : sequence of sequences of int
        Binaries of which one person has one at most: the labels of one column.
    of_one_person : ndarray of bool, shape (row,), optional
        Rows that these hold for (all of them by default); an arm's people have several labels, and
        weights of its patterns must add up.

    Returns
    -------
    row : ndarray of int, shape (pattern,)
        Rising.
    value : ndarray of shape (pattern, binary)

    Raises
    ------
    DataError
        A row leaves more than ten binary predictors open.
    """
    unknown = ~((rate == 0.0) | (rate == 1.0))
    number = unknown.sum(axis=1)
    if len(rate) and number.max(initial=0) > MAXIMUM_UNKNOWN_BINARIES:
        raise DataError(
            f"A row has {number.max()} unknown binary predictors; up to "
            f"{MAXIMUM_UNKNOWN_BINARIES} can be averaged over. Leave some of them out."
        )
    count = 2**number
    row = np.repeat(np.arange(len(rate)), count)
    within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    # The first unknown predictor changes slowest, as in a printed table.
    place = number[:, None] - np.cumsum(unknown, axis=1)
    bit = (within[:, None] >> np.where(unknown, place, 0)[row]) & 1
    value = np.where(unknown[row], bit, np.nan_to_num(rate)[row]).astype(float)
    possible = np.ones(len(row), dtype=bool)
    for together in exclusive:
        possible &= value[:, list(together)].sum(axis=1) <= 1.0
    if of_one_person is not None:
        possible |= ~of_one_person[row]
    return row[possible], value[possible]
