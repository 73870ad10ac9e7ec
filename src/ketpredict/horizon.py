"""Horizons: hours after dosing, on the log scale on which the model's offsets vary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def horizon_basis(hours: Any, knots: Sequence[float]) -> np.ndarray:
    """Return the weights of the offsets at the knots for each horizon.

    The offset is linear in log time between the knots and constant outside them.

    Parameters
    ----------
    hours : array_like of shape (n,)
        Hours after dosing, positive.
    knots : sequence of float
        Rising hours.

    Returns
    -------
    ndarray of shape (n, knot)
        Each row sums to one.
    """
    log_knots = np.log(np.asarray(knots, dtype=float))
    log_hours = np.log(np.asarray(hours, dtype=float))
    return np.stack(
        [np.interp(log_hours, log_knots, row) for row in np.eye(len(log_knots))], axis=-1
    )


def log_distance(hours: Any, reference: float) -> np.ndarray:
    """Return how far each horizon is from the reference, in natural-log units of time."""
    return np.abs(np.log(np.asarray(hours, dtype=float) / reference))
