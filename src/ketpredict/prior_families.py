"""The priors of a model file: their families, their numbers, and what they may be."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

from ketpredict.errors import SpecificationError

SLOPE_PARTS = ("prognostic", "predictive", "population", "trial")
"""The parts that share a predictor's slope variance, in the order of the prior ``slope_share``."""

_PRIOR_ARGUMENTS = {
    "normal": ("mean", "standard deviation"),
    "half_normal": ("scale",),
    "log_normal": ("mean of the logarithm", "standard deviation of the logarithm"),
    "beta": ("first shape", "second shape"),
    "dirichlet": ("concentration",),
    "fixed": ("value",),
    "lkj": ("shape",),
}
_ANY_NUMBER = ("mean", "mean of the logarithm", "value")
"""Arguments that need not be positive."""
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
        Mean and standard deviation of ``normal``, the same of the logarithm for ``log_normal``,
        the scale of ``half_normal``, two shapes of ``beta``, the shape of ``lkj``, the value of
        ``fixed``, one concentration or one for each part of ``dirichlet``.

    Raises
    ------
    SpecificationError
        No such family, or numbers that it does not take; the message says which it takes.

    Examples
    --------
    >>> str(Prior("normal", (0.0, 0.5)))
    'normal(0, 0.5)'
    """

    kind: str
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse what is no prior where it is made, not when a model is built of it."""
        if not isinstance(self.kind, str) or self.kind not in _PRIOR_ARGUMENTS:
            raise SpecificationError(
                f"Prior family is {self.kind!r}; expected one of "
                f"{', '.join(sorted(_PRIOR_ARGUMENTS))}."
            )
        given = self.values if isinstance(self.values, (tuple, list)) else (self.values,)
        wrong = self._wrong(given)
        if wrong:
            names = _PRIOR_ARGUMENTS[self.kind]
            expected = ", ".join(names) + (
                ", or one for each part" if self.kind == "dirichlet" else ""
            )
            raise SpecificationError(
                f"Prior {self.kind} {wrong}; found {self.values!r}, expected {expected}."
            )
        object.__setattr__(self, "values", tuple(float(value) for value in given))

    def _wrong(self, given: Sequence[Any]) -> str:
        """Return what is wrong with the numbers of a family, or an empty text."""
        names = _PRIOR_ARGUMENTS[self.kind]
        count = len(names)
        if any(isinstance(v, (bool, np.bool_)) or not isinstance(v, Real) for v in given):
            return "has values that are no numbers"
        if not all(math.isfinite(value) for value in given):
            return "has numbers that are not finite"
        if self.kind == "dirichlet":
            names = names * max(len(given), 1)
        if len(given) != len(names):
            return f"takes {count} number{'' if count == 1 else 's'} and has {len(given)}"
        for name, value in zip(names, given, strict=True):
            if name not in _ANY_NUMBER and value <= 0:
                return f"has a {name} of {value:g}, which must be positive"
        return ""

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
    try:
        prior = Prior(kind, tuple(numbers) if isinstance(numbers, list) else (numbers,))
    except SpecificationError as error:
        problems.append(f"prior {name}: {str(error).rstrip('.')}")
        return None
    if kind == "dirichlet":
        count = len(SLOPE_PARTS) if name == "slope_share" else 1
        if len(prior.values) != count:
            problems.append(
                f"prior {name} has {len(prior.values)} numbers; {kind} takes {count} here"
            )
            return None
    if kind == "fixed" and not _possible(name, prior.values[0]):
        problems.append(f"prior {name} is fixed at {prior.values[0]:g}, which it cannot be")
        return None
    return prior


def _possible(name: str, value: float) -> bool:
    """Return whether a parameter can have a value at all."""
    if name == "explained_variance":
        return 0.0 <= value < 1.0
    if name == "improvement_sd":
        return value > 0.0
    return value >= 0.0 if name.endswith("_scale") else True
