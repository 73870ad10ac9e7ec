"""The priors of a model file: their families, their numbers, and what they may be."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

SLOPE_PARTS = ("prognostic", "predictive", "population", "trial")
"""The parts that share a predictor's slope variance, in the order of the prior ``slope_share``."""

_PRIOR_ARGUMENTS = {"normal": 2, "half_normal": 1, "log_normal": 2, "beta": 2, "fixed": 1, "lkj": 1}
PRIOR_KINDS = {
    "intercept": ("normal", "fixed"),
    "population_scale": ("half_normal", "fixed"),
    "trial_scale": ("half_normal", "fixed"),
    "treatment_scale": ("half_normal", "fixed"),
    "active_class_mean": ("normal", "fixed"),
    "control_class_mean": ("normal", "fixed"),
    "arm_scale": ("half_normal", "fixed"),
    "study_term": ("normal",),
    "horizon_scale": ("half_normal", "fixed"),
    "improvement_sd": ("log_normal", "fixed"),
    "explained_variance": ("beta", "fixed"),
    "predictor_share": ("dirichlet",),
    "slope_share": ("dirichlet",),
    "across_scale": ("half_normal", "fixed"),
    "predictor_location": ("normal",),
    "predictor_between_scale": ("log_normal",),
    "predictor_sd": ("log_normal",),
    "predictor_correlation": ("lkj",),
    "binary_shift": ("normal",),
    "binary_association": ("normal",),
    "effect_scale": ("half_normal", "fixed"),
    "effect_horizon_scale": ("half_normal", "fixed"),
}


@dataclasses.dataclass(frozen=True)
class Prior:
    """One prior: its family and its numbers, as written in the model file.

    Parameters
    ----------
    kind : {"normal", "half_normal", "log_normal", "beta", "dirichlet", "lkj", "fixed"}
        Standard deviations, not variances or precisions, parametrise the normal families.
    values : tuple of float
    """

    kind: str
    values: tuple[float, ...]

    def as_table(self) -> dict[str, Any]:
        """Return the TOML form, ``{kind: number or list}``."""
        scalar = self.kind in ("half_normal", "lkj", "fixed") or (
            self.kind == "dirichlet" and len(self.values) == 1
        )
        return {self.kind: self.values[0] if scalar else list(self.values)}

    def __str__(self) -> str:
        """Return ``normal(0, 0.5)`` and the like, for reports."""
        return f"{self.kind}({', '.join(f'{value:g}' for value in self.values)})"


def read_prior(name: str, entry: Any, kinds: tuple[str, ...], problems: list[str]) -> Prior | None:
    """Return the prior that an entry of a model file describes, or note what is wrong with it.

    Parameters
    ----------
    kinds : tuple of str
        Families that this prior can have.
    problems : list of str
        What is wrong is added to it.
    """
    expected = f"expected one of {', '.join(kinds)} with its numbers"
    if not isinstance(entry, dict) or len(entry) != 1 or next(iter(entry)) not in kinds:
        problems.append(f"prior {name} is {entry!r}; {expected}")
        return None
    kind, numbers = next(iter(entry.items()))
    values = tuple(numbers) if isinstance(numbers, list) else (numbers,)
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        problems.append(f"prior {name} is {entry!r}; {expected}")
        return None
    values = tuple(float(value) for value in values)
    if not all(math.isfinite(value) for value in values):
        problems.append(f"prior {name} is {entry!r}; its numbers must be finite")
        return None
    count = len(SLOPE_PARTS) if name == "slope_share" else _PRIOR_ARGUMENTS.get(kind, 1)
    if len(values) != count:
        problems.append(f"prior {name} has {len(values)} numbers; {kind} takes {count} here")
        return None
    if kind == "fixed" and not _possible(name, values[0]):
        problems.append(f"prior {name} is fixed at {values[0]:g}, which it cannot be")
        return None
    positive = values[1:] if kind in ("normal", "log_normal") else values
    if kind != "fixed" and not all(value > 0 for value in positive):
        problems.append(f"prior {name} is {entry!r}; scales and concentrations must be positive")
        return None
    return Prior(kind, values)


def _possible(name: str, value: float) -> bool:
    """Return whether a parameter can have a value at all."""
    if name == "explained_variance":
        return 0.0 <= value < 1.0
    if name == "improvement_sd":
        return value > 0.0
    return value >= 0.0 if name.endswith("_scale") else True
