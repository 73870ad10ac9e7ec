"""A gate: one rule that a fit must hold, and the rate at which a right model may fail it."""

from __future__ import annotations

import dataclasses

FAMILY_WISE = 0.05
"""Most often that a gate may fail on data that come from the model."""


@dataclasses.dataclass(frozen=True)
class Gate:
    """One rule that a fit must hold: its name, whether it holds, and why in words."""

    name: str
    passed: bool
    detail: str


def as_often(p_value: float) -> str:
    """Return a family-wise p-value in words, beside the rate that it is judged by."""
    return (
        f"{100 * p_value:.3g} % of replicated data sets hold one as surprising (a gate at "
        f"{100 * FAMILY_WISE:g} %)"
    )
