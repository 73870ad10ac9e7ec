"""Encoding: a specification and validated evidence become units, patterns and cells.

A *unit* is ``responders`` of ``n`` people who share a trial, population, arm and horizon: one
patient (or several with equal rows), or one published arm. Its predictors are *cells*:

================================  =============================  =======================
what is known                     cell                           individual variance
================================  =============================  =======================
a patient's value                 the value                      0
an arm's mean and SD              the mean                       SD squared
an arm's proportion               the rate, mixed over patterns  0
nothing, but the trial reports    the trial's mean or rate       the reference variance
nothing in the whole trial        a parameter of the trial       the reference variance
================================  =============================  =======================

Binary cells whose rate is not exactly 0 or 1 are enumerated in *patterns*. After this module
nothing asks what kind of row a unit was. The predictor law is plugged in here (trial means as
reported, reference variances, no correlation); its own likelihood belongs to the joint model.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ketpredict.cells import FilledCells, arm_summary, fill_cells
from ketpredict.errors import DataError
from ketpredict.evidence import Evidence
from ketpredict.horizon import horizon_basis
from ketpredict.predictors import Predictor
from ketpredict.spec import FULL_THRESHOLD, REFERENCE_ARM, STUDY_TERMS, ModelSpec

MAXIMUM_UNKNOWN_BINARIES = 10


@dataclasses.dataclass(frozen=True)
class Units:
    """What the likelihood knows about each unit, as arrays of length ``n_units`` along axis 0.

    Parameters
    ----------
    responders, n : ndarray of shape (unit,)
    population_idx, trial_idx, arm_idx, curve_idx, scale_idx : ndarray of int, shape (unit,)
    active : ndarray of shape (unit,)
        1.0 in an active arm, 0.0 in a control arm.
    horizon_basis : ndarray of shape (unit, knot)
        Weights of the horizon offsets; all zero for a repeated course, whose arm has its own term.
    study_terms : ndarray of shape (unit, study_term)
    threshold_shift : ndarray of shape (unit,)
        50 minus the percentage of improvement that counts as response.
    value, variance : ndarray of shape (unit, predictor)
        Mean (continuous, reference scale) or rate (binary); individual variance.
    hours, threshold, is_arm : ndarray of shape (unit,)
        Horizon; percentage that defines response; 1.0 for a published arm, 0.0 for patients.
    unreported_idx : ndarray of int, shape (unit, predictor)
        Index of the trial's unreported mean or rate; the number of such cells where there is none.
    """

    responders: np.ndarray
    n: np.ndarray
    population_idx: np.ndarray
    trial_idx: np.ndarray
    arm_idx: np.ndarray
    curve_idx: np.ndarray
    scale_idx: np.ndarray
    active: np.ndarray
    horizon_basis: np.ndarray
    study_terms: np.ndarray
    threshold_shift: np.ndarray
    value: np.ndarray
    variance: np.ndarray
    unreported_idx: np.ndarray
    hours: np.ndarray
    threshold: np.ndarray
    is_arm: np.ndarray

    def __len__(self) -> int:
        """Return the number of units."""
        return len(self.n)


@dataclasses.dataclass(frozen=True)
class Design:
    """Units, patterns and labels: everything that the model needs and nothing else.

    Parameters
    ----------
    pattern_unit : ndarray of int, shape (pattern,)
    pattern_value : ndarray of shape (pattern, binary)
        0 or 1 for each binary predictor, in the order of ``binary_idx``.
    unreported : ndarray of int, shape (unreported, 2)
        Trial and predictor index of each mean or rate that a trial does not report.
    trial_values : ndarray of shape (trial, predictor)
        Mean (reference scale) or rate that each trial reports; NaN where it reports none.
    """

    spec: ModelSpec
    populations: tuple[str, ...]
    trials: tuple[str, ...]
    arms: tuple[str, ...]
    arm_class: tuple[str, ...]
    repeated_arm: tuple[bool, ...]
    scales: tuple[str, ...]
    predictors: tuple[Predictor, ...]
    units: Units
    pattern_unit: np.ndarray
    pattern_value: np.ndarray
    unreported: np.ndarray
    trial_values: np.ndarray

    @property
    def predictor_names(self) -> tuple[str, ...]:
        """Names of the predictors, in the order of every predictor axis."""
        return tuple(predictor.name for predictor in self.predictors)

    @property
    def continuous_idx(self) -> np.ndarray:
        """Positions of the continuous predictors."""
        return _positions(self.predictors, "continuous")

    @property
    def binary_idx(self) -> np.ndarray:
        """Positions of the binary predictors."""
        return _positions(self.predictors, "binary")

    def labels(self) -> pd.DataFrame:
        """Return one labelled row per unit, for tables, checks and pictures."""
        units = self.units

        def named(levels: Sequence[str], index: np.ndarray) -> np.ndarray:
            return np.array(levels, dtype=object)[index]

        return pd.DataFrame(
            {
                "kind": np.where(units.is_arm > 0, "arm", "patients"),
                "trial": named(self.trials, units.trial_idx),
                "population": named(self.populations, units.population_idx),
                "arm": named(self.arms, units.arm_idx),
                "hours": units.hours,
                "scale": named(self.scales, units.scale_idx),
                "threshold": units.threshold,
                "responders": units.responders,
                "n": units.n,
            }
        )


def encode(spec: ModelSpec, evidence: Evidence, references: Mapping[str, Predictor]) -> Design:
    """Return the design of a model on the evidence.

    Parameters
    ----------
    evidence : Evidence
        With horizons already selected (:func:`ketpredict.evidence.select_horizons`), so that each
        arm and each patient's period stands in one row.
    references : mapping of str to Predictor
        The reference scale of every predictor of the model.

    Raises
    ------
    DataError
        A unit has more unknown binary predictors than can be enumerated, or there is no unit.
    """
    predictors = tuple(references[name] for name in spec.predictors or ())
    patients = _patient_rows(evidence.participants, predictors)
    arms = _arm_rows(evidence.arms, predictors)
    rows = (
        pd.concat([frame for frame in (patients, arms) if len(frame)], ignore_index=True)
        if (len(patients) or len(arms))
        else patients
    )
    if rows.empty:
        raise DataError("There is nothing to fit: no patient with an outcome and no arm.")
    classes = evidence.arm_classes
    arm_names = _arm_order(set(rows["arm"]) | {REFERENCE_ARM})
    labels = {
        "population": tuple(sorted(set(rows["population"]))),
        "trial": tuple(sorted(set(rows["trial"]))),
        "arm": arm_names,
        "scale": tuple(sorted(set(rows["scale"]))),
    }
    filled = fill_cells(rows, labels["trial"], predictors)
    repeated = tuple(bool(classes.loc[name, "repeated"]) for name in arm_names)
    arm_class = tuple(str(classes.loc[name, "arm_class"]) for name in arm_names)
    units = _units(rows, filled, labels, arm_class, repeated, spec)
    pattern_unit, pattern_value = _patterns(
        units, _positions(predictors, "binary"), len(filled.unreported)
    )
    return Design(
        spec=spec,
        populations=labels["population"],
        trials=labels["trial"],
        arms=arm_names,
        arm_class=arm_class,
        repeated_arm=repeated,
        scales=labels["scale"],
        predictors=predictors,
        units=units,
        pattern_unit=pattern_unit,
        pattern_value=pattern_value,
        unreported=filled.unreported,
        trial_values=filled.trial_values,
    )


_KEY = ["trial", "population", "arm", "hours", "threshold", "scale", *STUDY_TERMS]


def _positions(predictors: Sequence[Predictor], kind: str) -> np.ndarray:
    return np.array([i for i, p in enumerate(predictors) if p.kind == kind], dtype=int)


def _arm_order(names: set[str]) -> tuple[str, ...]:
    return (REFERENCE_ARM, *sorted(names - {REFERENCE_ARM}))


def _patient_rows(participants: pd.DataFrame, predictors: Sequence[Predictor]) -> pd.DataFrame:
    """Return one row for each distinct patient; equal rows are counted, so order is nothing."""
    observed = participants[participants["response"].notna()]
    rows = _shared_columns(observed)
    rows["kind"] = "patients"
    for predictor in predictors:
        column = observed.get(predictor.name)
        values = np.full(len(observed), np.nan) if column is None else column.to_numpy(float)
        on_scale = values if predictor.kind == "binary" else predictor.to_scale(values)
        rows[f"value:{predictor.name}"] = on_scale
        rows[f"variance:{predictor.name}"] = np.where(np.isnan(on_scale), np.nan, 0.0)
    rows["responders"] = observed["response"].to_numpy(float)
    rows["n"] = 1.0
    keys = [column for column in rows if column not in ("responders", "n")]
    return rows.groupby(keys, dropna=False, sort=True, as_index=False)[["responders", "n"]].sum()


def _arm_rows(arms: pd.DataFrame, predictors: Sequence[Predictor]) -> pd.DataFrame:
    """Return one row for each published arm, its summaries on the reference scale."""
    rows = _shared_columns(arms)
    rows["kind"] = "arm"
    for predictor in predictors:
        mean, variance = arm_summary(arms, predictor)
        rows[f"value:{predictor.name}"] = mean
        rows[f"variance:{predictor.name}"] = variance
    rows["responders"] = arms["responders"].to_numpy(float)
    rows["n"] = arms["n"].to_numpy(float)
    return rows.sort_values([*_KEY, "n", "responders"], ignore_index=True)


def _shared_columns(table: pd.DataFrame) -> pd.DataFrame:
    rows = table[_KEY].copy()
    for term in STUDY_TERMS:
        rows[term] = rows[term].astype(float)
    rows["hours"] = rows["hours"].astype(float)
    rows["scale"] = rows["scale"].astype(object).where(rows["scale"] != "", "unnamed scale")
    return rows.reset_index(drop=True)


def _units(
    rows: pd.DataFrame,
    filled: FilledCells,
    labels: Mapping[str, tuple[str, ...]],
    arm_class: Sequence[str],
    repeated: Sequence[bool],
    spec: ModelSpec,
) -> Units:
    index = {
        name: rows[name].map({label: i for i, label in enumerate(levels)}).fillna(0).to_numpy(int)
        for name, levels in labels.items()
    }
    active = np.array([c == "active" for c in arm_class], dtype=float)[index["arm"]]
    course = np.array(repeated, dtype=float)[index["arm"]]
    basis = horizon_basis(rows["hours"].to_numpy(), spec.horizons.knots)

    return Units(
        responders=rows["responders"].to_numpy(float),
        n=rows["n"].to_numpy(float),
        population_idx=index["population"],
        trial_idx=index["trial"],
        arm_idx=index["arm"],
        curve_idx=(1.0 - active).astype(int),
        scale_idx=index["scale"],
        active=active,
        horizon_basis=basis * (1.0 - course)[:, None],
        study_terms=rows[list(STUDY_TERMS)].to_numpy(float),
        threshold_shift=FULL_THRESHOLD - rows["threshold"].to_numpy(float),
        value=filled.value,
        variance=filled.variance,
        unreported_idx=filled.unreported_idx,
        hours=rows["hours"].to_numpy(float),
        threshold=rows["threshold"].to_numpy(float),
        is_arm=(rows["kind"] == "arm").to_numpy(float),
    )


def _patterns(
    units: Units, binary_idx: np.ndarray, n_unreported: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the unit and the 0/1 values of every pattern of binary predictors."""
    rate = units.value[:, binary_idx]
    unknown = (units.unreported_idx[:, binary_idx] < n_unreported) | ((rate > 0) & (rate < 1))
    if unknown.size and unknown.sum(axis=1).max() > MAXIMUM_UNKNOWN_BINARIES:
        raise DataError(
            f"A row has {unknown.sum(axis=1).max()} unknown binary predictors; up to "
            f"{MAXIMUM_UNKNOWN_BINARIES} can be averaged over. Leave some of them out."
        )
    owner: list[int] = []
    values: list[Any] = []
    for unit in range(len(units)):
        choices = [
            (0.0, 1.0) if is_unknown else (known,)
            for is_unknown, known in zip(unknown[unit], rate[unit], strict=True)
        ]
        combinations = list(itertools.product(*choices))
        owner.extend([unit] * len(combinations))
        values.extend(combinations)
    shape = (len(owner), len(binary_idx))
    return np.array(owner, dtype=int), np.array(values, dtype=float).reshape(shape)
