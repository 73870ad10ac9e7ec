"""A gate: one rule that a fit must hold, and the rate at which a right model may fail it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

FAMILY_WISE = 0.05
"""Most often that a gate may fail on data that come from the model."""


@dataclasses.dataclass(frozen=True)
class Gate:
    """One rule that a fit must hold: its name, whether it holds, and why in words."""

    name: str
    passed: bool
    detail: str


def bonferroni(p_value: float, count: int) -> float:
    """Return the family-wise p-value of the smallest of several, NaN where that is not a number.

    Python's ``min`` would make 1 of a NaN, and a gate that nothing is known of would pass.
    """
    return float(np.minimum(1.0, count * p_value))


def as_often(p_value: float) -> str:
    """Return a family-wise p-value in words, beside the rate that it is judged by."""
    if math.isnan(p_value):
        return (
            f"its p-value cannot be computed, which is no pass (a gate at {100 * FAMILY_WISE:g} %)"
        )
    return (
        f"{100 * p_value:.3g} % of replicated data sets hold one as surprising (a gate at "
        f"{100 * FAMILY_WISE:g} %)"
    )
