"""Encoding: a specification and validated evidence become units, people, patterns and cells.

A *unit* is ``responders`` of ``n`` people who share a trial, population, arm and horizon: one
patient (or several with equal rows), or one published arm. *People* are the distinct patients,
their outcome known or not, each counted once however many periods they have: they inform the joint
model of the predictors. What a unit or a patient does not tell is NaN; the model averages over it.
Binary predictors that are not known are enumerated in *patterns*.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ketpredict.arm_classes import load_arm_classes
from ketpredict.categories import exclusive_places
from ketpredict.cells import find_cells, trial_values
from ketpredict.design_rows import arm_rows, patient_rows
from ketpredict.errors import DataError
from ketpredict.evidence import Evidence
from ketpredict.horizon import horizon_basis
from ketpredict.link import variance as link_variance
from ketpredict.parts import find_left_out, slope_parts, wanted
from ketpredict.patterns import enumerate_patterns
from ketpredict.predictors import Predictor
from ketpredict.prior_families import Prior
from ketpredict.published_effects import Effects, encode_effects
from ketpredict.short_form import ShortForm
from ketpredict.spec import FULL_THRESHOLD, REFERENCE_ARM, STUDY_TERMS, ModelSpec

FEWEST_TRIALS_ACROSS = 3
"""Trials that must report a predictor before its trial means get a slope of their own."""


@dataclasses.dataclass(frozen=True, repr=False)
class Units(ShortForm):
    """What the likelihood knows about each unit, as arrays of length ``n_units`` along axis 0.

    Parameters
    ----------
    responders, n : ndarray of shape (unit,)
    population_idx, trial_idx, law_idx, arm_idx, curve_idx, scale_idx : ndarray of int, (unit,)
    active : ndarray of shape (unit,)
        1.0 in an active arm, 0.0 in a control arm.
    horizon_basis : ndarray of shape (unit, knot)
        Weights of the horizon offsets; all zero for a repeated course, whose arm has its own term.
    study_terms : ndarray of shape (unit, study_term)
    threshold_shift : ndarray of shape (unit,)
        50 minus the percentage of improvement that counts as response, times the SD of the link.
    value : ndarray of shape (unit, predictor)
        Continuous: on the reference scale, an arm's mean. Binary: 0 or 1, an arm's proportion. NaN
        where not known.
    sd : ndarray of shape (unit, predictor)
        Published SD within an arm, on the reference scale; NaN where none.
    weight : ndarray of shape (unit,)
        People behind an arm's summaries of predictors; 0 for patients, who stand in ``people``.
    hours, threshold, is_arm : ndarray of shape (unit,)
        Horizon; percentage that defines response; 1.0 for a published arm, 0.0 for patients.
    """

    responders: np.ndarray
    n: np.ndarray
    population_idx: np.ndarray
    trial_idx: np.ndarray
    law_idx: np.ndarray
    arm_idx: np.ndarray
    curve_idx: np.ndarray
    scale_idx: np.ndarray
    active: np.ndarray
    horizon_basis: np.ndarray
    study_terms: np.ndarray
    threshold_shift: np.ndarray
    value: np.ndarray
    sd: np.ndarray
    weight: np.ndarray
    hours: np.ndarray
    threshold: np.ndarray
    is_arm: np.ndarray

    def __len__(self) -> int:
        """Return the number of units."""
        return len(self.n)


@dataclasses.dataclass(frozen=True, repr=False)
class People(ShortForm):
    """Distinct patients, for the model of the predictors.

    Parameters
    ----------
    law_idx, trial_idx : ndarray of int, shape (row,)
    value : ndarray of shape (row, predictor)
        As in :class:`Units`.
    weight : ndarray of shape (row,)
        Number of patients with these values.
    """

    law_idx: np.ndarray
    trial_idx: np.ndarray
    value: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        """Return the number of distinct rows."""
        return len(self.weight)


@dataclasses.dataclass(frozen=True, repr=False)
class Design(ShortForm):
    """Units, people, patterns, cells and labels: everything that the model needs, nothing else.

    Parameters
    ----------
    laws : tuple of str
        A trial, with its assay where patients of it name one.
    law_trial : ndarray of int, shape (law,)
    mean_cell, cells, n_reported
        See :class:`ketpredict.cells.Cells`.
    pattern_unit, people_pattern_row : ndarray of int, shape (pattern,)
    pattern_value, people_pattern_value : ndarray of shape (pattern, binary)
        0 or 1 for each binary predictor, in the order of ``binary_idx``.
    trial_values : ndarray of shape (trial, predictor)
        Mean (reference scale) or rate that each trial reports, for tables; NaN where none.
    effects : Effects
        Published predictor effects that enter.
    effect_labels, effect_groups : tuple of str
        Of the effects, and of the cohorts and predictors that they are grouped by.
    effect_fates : tuple of dict
        Whether, how or why not each row of the associations enters.
    left_out : mapping of str to str
        Parts that the data cannot tell apart, with why (:mod:`ketpredict.parts`).
    """

    spec: ModelSpec
    populations: tuple[str, ...]
    trials: tuple[str, ...]
    laws: tuple[str, ...]
    arms: tuple[str, ...]
    arm_class: tuple[str, ...]
    repeated_arm: tuple[bool, ...]
    scales: tuple[str, ...]
    predictors: tuple[Predictor, ...]
    units: Units
    people: People
    law_trial: np.ndarray
    mean_cell: np.ndarray
    cells: np.ndarray
    n_reported: int
    pattern_unit: np.ndarray
    pattern_value: np.ndarray
    people_pattern_row: np.ndarray
    people_pattern_value: np.ndarray
    trial_values: np.ndarray
    effects: Effects
    effect_labels: tuple[str, ...]
    effect_groups: tuple[str, ...]
    effect_fates: tuple[dict[str, Any], ...]
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)

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

    def has(self, part: str) -> bool:
        """Return whether the model has a part (:data:`ketpredict.parts.PARTS`)."""
        return wanted(self.spec, part) and part not in self.left_out

    @property
    def slope_parts(self) -> tuple[str, ...]:
        """Parts of a slope that the model has, in the order of ``slope_share``."""
        return slope_parts(self.spec, self.left_out)

    @property
    def across_idx(self) -> np.ndarray:
        """Positions of the predictors that can have a slope across trials.

        Their levels can be compared between trials, and at least three trials report them. Of the
        others nothing can be learned but what the trial effects already hold.
        """
        comparable = np.array([not p.assay_dependent for p in self.predictors], dtype=bool)
        reporting = (~np.isnan(self.trial_values)).sum(axis=0)
        return np.flatnonzero(comparable & (reporting >= FEWEST_TRIALS_ACROSS))

    @property
    def has_across(self) -> bool:
        """Whether trial means have a slope of their own."""
        off = self.spec.priors["across_scale"] == Prior("fixed", (0.0,))
        wanted = self.spec.pooling.across_trial_slope and not off
        return bool(wanted and len(self.across_idx))

    @property
    def other_arms(self) -> range:
        """Places of the arms that are compared with the reference, which is the first arm."""
        return range(1, len(self.arms))

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
    patients, people = patient_rows(evidence.participants, predictors)
    arms = arm_rows(evidence.arms, predictors)
    frames = [frame for frame in (patients, arms) if len(frame)]
    if not frames:
        raise DataError("There is nothing to fit: no patient with an outcome and no arm.")
    rows = pd.concat(frames, ignore_index=True)
    classes = evidence.arm_classes
    arm_names = _arm_order(set(rows["arm"]), evidence)
    labels = {
        "population": tuple(sorted(set(rows["population"]))),
        "trial": tuple(sorted(set(rows["trial"]) | set(people["trial"]))),
        "law": tuple(sorted(set(rows["law"]) | set(people["law"]))),
        "arm": arm_names,
        "scale": tuple(sorted(set(rows["scale"]))),
    }
    trial_of = dict(
        zip([*rows["law"], *people["law"]], [*rows["trial"], *people["trial"]], strict=True)
    )
    law_trial = np.array([labels["trial"].index(trial_of[law]) for law in labels["law"]])
    arm_class = tuple(str(classes.loc[name, "arm_class"]) for name in arm_names)
    repeated = tuple(bool(classes.loc[name, "repeated"]) for name in arm_names)
    units = encode_units(rows, predictors, labels, arm_class, repeated, spec)
    persons = _people(people, predictors, labels)
    every_law = np.concatenate([units.law_idx, persons.law_idx])
    every_value = np.concatenate([units.value, persons.value])
    told = ~np.isnan(every_value) | ~np.isnan(np.concatenate([units.sd, persons.value]))
    cells = find_cells(law_trial, predictors, every_law, told)
    binary = _positions(predictors, "binary")
    exclusive = exclusive_places(predictors)
    pattern_unit, pattern_value = enumerate_patterns(
        units.value[:, binary], exclusive, units.is_arm == 0
    )
    people_pattern_row, people_pattern_value = enumerate_patterns(
        persons.value[:, binary], exclusive
    )
    effects, effect_labels, effect_groups, fates = encode_effects(
        spec, evidence.associations, predictors, labels["population"], evidence.participants
    )
    return Design(
        spec=spec,
        populations=labels["population"],
        trials=labels["trial"],
        laws=labels["law"],
        arms=arm_names,
        arm_class=arm_class,
        repeated_arm=repeated,
        scales=labels["scale"],
        predictors=predictors,
        units=units,
        people=persons,
        law_trial=law_trial,
        mean_cell=cells.mean_cell,
        cells=cells.cells,
        n_reported=cells.n_reported,
        pattern_unit=pattern_unit,
        pattern_value=pattern_value,
        people_pattern_row=people_pattern_row,
        people_pattern_value=people_pattern_value,
        trial_values=trial_values(
            len(labels["trial"]),
            np.concatenate([units.trial_idx, persons.trial_idx]),
            every_value,
            np.concatenate([units.weight, persons.weight]),
        ),
        effects=effects,
        effect_labels=effect_labels,
        effect_groups=effect_groups,
        effect_fates=tuple(fates),
        left_out=find_left_out(spec, units, len(labels["trial"]), effects.group_unseen),
    )


def encode_units(
    rows: pd.DataFrame,
    predictors: Sequence[Predictor],
    labels: Mapping[str, tuple[str, ...]],
    arm_class: Sequence[str],
    repeated: Sequence[bool],
    spec: ModelSpec,
) -> Units:
    """Return labelled rows as units.

    Parameters
    ----------
    rows : DataFrame
        From :mod:`ketpredict.design_rows`.
    labels : mapping of str to tuple of str
        Levels of ``population``, ``trial``, ``law``, ``arm`` and ``scale``.
    """
    index = {name: _positions_of(rows[name], levels) for name, levels in labels.items()}
    active = np.array([c == "active" for c in arm_class], dtype=float)[index["arm"]]
    course = np.array(repeated, dtype=float)[index["arm"]]
    basis = horizon_basis(rows["hours"].to_numpy(), spec.horizons.knots)
    threshold = rows["threshold"].to_numpy(float)
    return Units(
        responders=rows["responders"].to_numpy(float),
        n=rows["n"].to_numpy(float),
        population_idx=index["population"],
        trial_idx=index["trial"],
        law_idx=index["law"],
        arm_idx=index["arm"],
        curve_idx=(1.0 - active).astype(int),
        scale_idx=index["scale"],
        active=active,
        horizon_basis=basis * (1.0 - course)[:, None],
        study_terms=rows[list(STUDY_TERMS)].to_numpy(float),
        threshold_shift=(FULL_THRESHOLD - threshold) * np.sqrt(link_variance(spec.link)),
        value=_matrix(rows, predictors, "value"),
        sd=_matrix(rows, predictors, "sd"),
        weight=rows["weight"].to_numpy(float),
        hours=rows["hours"].to_numpy(float),
        threshold=threshold,
        is_arm=(rows["kind"] == "arm").to_numpy(float),
    )


def _positions(predictors: Sequence[Predictor], kind: str) -> np.ndarray:
    return np.array([i for i, p in enumerate(predictors) if p.kind == kind], dtype=int)


def _arm_order(names: set[str], evidence: Evidence) -> tuple[str, ...]:
    """Return the arms, that which the others are compared with first.

    Ketamine, where the package knows any of the arms or published effects enter. In data of another
    field the first active arm by name, or the first arm where none is active: the intercept must
    be that of an arm that somebody was in. A control of a name that the package knows (saline)
    beside active arms that it does not know is another field's.
    """
    reference, known = REFERENCE_ARM, set(load_arm_classes().index)
    active = {name for name in names if evidence.arm_classes.loc[name, "arm_class"] == "active"}
    foreign = not active & known if active else not names & known
    if foreign and not len(evidence.associations):
        reference = min(active or names)
    return (reference, *sorted(names - {reference}))


def _positions_of(column: pd.Series, levels: Sequence[str]) -> np.ndarray:
    place = {label: i for i, label in enumerate(levels)}
    return column.map(place).fillna(0).to_numpy(int)


def _matrix(rows: pd.DataFrame, predictors: Sequence[Predictor], what: str) -> np.ndarray:
    """Return ``what:NAME`` of every predictor, (row, predictor); NaN where there is none."""
    matrix = np.full((len(rows), len(predictors)), np.nan)
    for k, predictor in enumerate(predictors):
        if f"{what}:{predictor.name}" in rows:
            matrix[:, k] = rows[f"{what}:{predictor.name}"].to_numpy(float)
    return matrix


def _people(
    rows: pd.DataFrame, predictors: Sequence[Predictor], labels: Mapping[str, tuple[str, ...]]
) -> People:
    return People(
        law_idx=_positions_of(rows["law"], labels["law"]),
        trial_idx=_positions_of(rows["trial"], labels["trial"]),
        value=_matrix(rows, predictors, "value"),
        weight=rows["weight"].to_numpy(float),
    )
