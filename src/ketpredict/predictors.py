"""Predictors and their reference scales, read from ``data/predictors.csv``.

Predictors are put on a fixed reference scale before they meet a coefficient, so that a prior means
the same in every fit. This module is on the light path of prediction: NumPy and the standard
library only.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ketpredict.errors import DataError
from ketpredict.resources import data_path

Kind = Literal["continuous", "binary"]
Transform = Literal["identity", "log"]

OF_ANY_FIELD = frozenset({"age", "female"})
"""Known predictors that tables of any field of medicine have: they do not say that it is ours."""

FROM_COLUMN = "mean and SD of the column"
"""The source of a reference scale that is the column's own."""

_TRUE = ("1", "true", "yes", "y")
_FALSE = ("0", "false", "no", "n", "")


@dataclasses.dataclass(frozen=True)
class Predictor:
    """One predictor: what it is called, its unit, its plausible range and its reference scale.

    Parameters
    ----------
    name : str
        Column name, such as ``"bmi"``.
    label : str
        Name for reports, such as ``"Body mass index"``.
    unit : str
        Unit of the column's values; empty if they have none.
    kind : {"continuous", "binary"}
    transform : {"identity", "log"}
        Applied before centring. Log is the natural logarithm.
    centre, scale : float
        After the transform. A binary predictor is centred only.
    low, high : float
        Plausible range in the column's own unit; values outside are errors. May be infinite.
    between_trial_sd : float or None
        SD of trial means on the reference scale (of the probits of trial rates, if binary); None
        if nothing is known.
    assay_dependent : bool
        Whether levels of different assays cannot be compared.
    aliases : tuple of str
        Other names that users give the column; a table that uses one is asked to rename it.
    source : str
        Where centre and scale come from.
    category, level, reference_level : str
        Column of labels, the label of it that this binary predictor stands for, and the one that
        it is compared with; empty for a column of numbers.
    """

    name: str
    label: str
    unit: str
    kind: Kind
    transform: Transform
    centre: float
    scale: float
    low: float
    high: float
    between_trial_sd: float | None = None
    assay_dependent: bool = False
    aliases: tuple[str, ...] = ()
    source: str = ""
    category: str = ""
    level: str = ""
    reference_level: str = ""

    def __post_init__(self) -> None:
        """Refuse a scale that cannot be computed with."""
        problems = [text for holds, text in self._rules() if not holds]
        if problems:
            raise DataError(f"Predictor '{self.name}': " + "; ".join(problems) + ".")

    def _rules(self) -> list[tuple[bool, str]]:
        return [
            (
                self.kind in ("continuous", "binary"),
                f"kind is '{self.kind}'; expected continuous or binary",
            ),
            (
                self.transform in ("identity", "log"),
                f"transform is '{self.transform}'; expected identity or log",
            ),
            (math.isfinite(self.centre), f"centre is {self.centre}; expected a number"),
            (
                math.isfinite(self.scale) and self.scale > 0,
                f"scale is {self.scale}; expected a positive number",
            ),
            (
                not (self.assay_dependent and self.kind == "binary"),
                "assay_dependent is true; a binary predictor has no level to be centred",
            ),
            (
                self.low < self.high,
                f"low is {self.low:g}, high is {self.high:g}; expected low < high",
            ),
            (
                self.transform != "log" or self.low > 0,
                f"low is {self.low:g}; the log transform needs a positive one",
            ),
        ]

    def to_scale(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return values of the column on the reference scale; NaN stays NaN.

        Parameters
        ----------
        values : array_like of any shape
            In the column's own unit; 0 and 1 if the predictor is binary.

        Returns
        -------
        ndarray of the same shape
            ``(transform(value) - centre) / scale``, or ``value - centre`` if binary.
        """
        array = np.asarray(values, dtype=np.float64)
        if self.kind == "binary":
            return array - self.centre
        if self.transform == "log":
            array = np.log(array)
        return (array - self.centre) / self.scale

    def from_scale(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return values in the column's own unit: the inverse of :meth:`to_scale`."""
        array = np.asarray(values, dtype=np.float64)
        if self.kind == "binary":
            return array + self.centre
        array = array * self.scale + self.centre
        return np.exp(array) if self.transform == "log" else array

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary that JSON can hold; an infinite bound becomes None."""
        table = dataclasses.asdict(self)
        table["aliases"] = list(self.aliases)
        for bound in ("low", "high"):
            table[bound] = table[bound] if math.isfinite(table[bound]) else None
        return table

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Predictor:
        """Return the predictor that :meth:`to_dict` described.

        Raises
        ------
        DataError
            A key is unknown or missing.
        """
        entries = dict(table)
        known = {field.name for field in dataclasses.fields(cls)}
        needed = known - {
            "category",
            "level",
            "reference_level",
        }  # files of format 3 do not have them
        if not needed <= set(entries) <= known:
            raise DataError(
                f"Predictor '{entries.get('name', '?')}': unknown keys "
                f"{sorted(set(entries) - known)}, missing keys {sorted(needed - set(entries))}."
            )
        entries["low"] = -math.inf if entries["low"] is None else float(entries["low"])
        entries["high"] = math.inf if entries["high"] is None else float(entries["high"])
        entries["aliases"] = tuple(entries["aliases"])
        return cls(**entries)

    @classmethod
    def from_column(
        cls, name: str, values: ArrayLike, weights: ArrayLike | None = None
    ) -> Predictor:
        """Return a predictor for a column that the package does not know.

        Parameters
        ----------
        name : str
        values : array_like of shape (n_rows,)
            Missing values are NaN.
        weights : array_like of shape (n_rows,), optional
            How many people a row stands for; a row of weight 2 counts like two rows.

        Returns
        -------
        Predictor
            Binary, centred on its mean, if every value is 0 or 1; else continuous, scaled by its
            own mean and SD (1 for a column that does not vary). The result does not depend on
            the order of the rows.

        Raises
        ------
        DataError
            A value is infinite.
        """
        array = np.asarray(values, dtype=np.float64).ravel()
        weight = np.ones_like(array) if weights is None else np.asarray(weights, float).ravel()
        if np.isinf(array).any():
            raise DataError(f"Column '{name}' holds infinite values; expected numbers.")
        kept = ~np.isnan(array) & (weight > 0)
        array, weight = array[kept], weight[kept]
        binary = array.size > 0 and bool(np.isin(array, (0.0, 1.0)).all())
        mean, deviation = _mean_and_sd(array, weight)
        return cls(
            name=name,
            label=name,
            unit="",
            kind="binary" if binary else "continuous",
            transform="identity",
            centre=mean,
            scale=1.0 if binary or deviation == 0 else deviation,
            low=0.0 if binary else -math.inf,
            high=1.0 if binary else math.inf,
            source=FROM_COLUMN,
        )


def load_predictors() -> Mapping[str, Predictor]:
    """Return the predictors that the package knows, by name, in the order of the file.

    Raises
    ------
    DataError
        ``data/predictors.csv`` is missing or a row of it is wrong; all wrong rows are listed.
    """
    return _read_predictors(str(data_path("predictors.csv")))


@functools.cache
def _read_predictors(path: str) -> Mapping[str, Predictor]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    predictors: dict[str, Predictor] = {}
    problems = []
    for number, row in enumerate(rows, start=1):
        try:
            predictor = _from_row(row)
        except DataError as error:
            problems.append(f"row {number}: {error}")
            continue
        if predictor.name in predictors:
            problems.append(f"row {number}: predictor '{predictor.name}' stands there twice.")
        predictors[predictor.name] = predictor
    if problems or not predictors:
        raise DataError(f"{path}: " + (" ".join(problems) or "there is no predictor in it."))
    return MappingProxyType(predictors)


def _from_row(row: Mapping[str, str | None]) -> Predictor:
    """Return the predictor of one row of the CSV file."""
    name = _text(row, "predictor")
    if not name:
        raise DataError("there is no name in column 'predictor'.")
    return Predictor(
        name=name,
        label=_text(row, "label") or name,
        unit=_text(row, "unit"),
        kind=cast("Kind", _text(row, "kind")),
        transform=cast("Transform", _text(row, "transform") or "identity"),
        centre=_number(row, "centre", 0.0),
        scale=_number(row, "scale", 1.0),
        low=_number(row, "low", -math.inf),
        high=_number(row, "high", math.inf),
        between_trial_sd=_number(row, "between_trial_sd", None),
        assay_dependent=_flag(row, "assay_dependent"),
        aliases=tuple(part.strip() for part in _text(row, "aliases").split(";") if part.strip()),
        source=_text(row, "source"),
    )


def _text(row: Mapping[str, str | None], column: str) -> str:
    return (row.get(column) or "").strip()


def _number[T: (float, float | None)](
    row: Mapping[str, str | None], column: str, empty: T
) -> float | T:
    """Return the number in a column, or what an empty cell stands for."""
    text = _text(row, column)
    try:
        return float(text) if text else empty
    except ValueError:
        name = _text(row, "predictor")
        raise DataError(f"Predictor '{name}': {column} is '{text}'; expected a number.") from None


def _flag(row: Mapping[str, str | None], column: str) -> bool:
    text = _text(row, column).lower()
    if text not in _TRUE + _FALSE:
        name = _text(row, "predictor")
        raise DataError(f"Predictor '{name}': {column} is '{text}'; expected true or false.")
    return text in _TRUE


def _mean_and_sd(values: NDArray[np.float64], weights: NDArray[np.float64]) -> tuple[float, float]:
    """Return weighted mean and SD; exact sums, so that the order of rows cannot matter."""
    total = math.fsum(weights)
    if total == 0:
        return 0.0, 0.0
    # Equal values first, so that a weight of 3 is three equal rows to the last bit.
    order = np.lexsort((weights, values))
    values, first = np.unique(values[order], return_index=True)
    weights = np.add.reduceat(weights[order], first)
    mean = math.fsum(weights * values) / total
    return mean, math.sqrt(math.fsum(weights * (values - mean) ** 2) / total)
