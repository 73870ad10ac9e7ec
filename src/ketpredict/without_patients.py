"""A fit without its patients: what is left out, by what rule, and what stays in their place.

Left out is every row of a patient: predictors, outcome, what was replicated for it, its log
likelihood; texts about the data, which may quote them; the digest of the tables, which could
confirm a guess. In the place of patients stands how many there were in each trial, population, arm
and study, and of how many each predictor was known. Times and thresholds stay where at least
:data:`FEWEST` patients (counted by their weights) share them, and so does a predictor's range,
widened to whole halves of its reference SD. Draws, labels, own scales of predictors (mean and SD of
a column), published arms, counts of an update and published effects stay as they are.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ketpredict.errors import SavedFitError
from ketpredict.predictors import FROM_COLUMN, Predictor
from ketpredict.saved_fit_variables import DESIGN, INDICES, TOLD

FEWEST = 5
"""Patients that must share what is said of them together."""
FACT = "without_patients"
"""The fact by which a fit says that its patients were left out."""
_SAME = ("trial_idx", "population_idx", "arm_idx", "curve_idx", "active", "scale_idx")
_OF_A_TIME = ("hours", "threshold", "threshold_shift", "horizon_basis")
_OF_PATIENTS = ("unit", "person", "pattern", "person_pattern")
_STEP = 0.5
_REASON = "no trial of this population reports 50 % improvement near the time asked for"

Groups = Mapping[str, Mapping[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Shared:
    """The parts of a fit that change when its patients are left out."""

    groups: dict[str, dict[str, np.ndarray]]
    coords: dict[str, list[Any]]
    trial_values: np.ndarray
    facts: dict[str, Any]


def patients_left_out(facts: Mapping[str, Any]) -> bool:
    """Return whether a fit says that its patients were left out."""
    return FACT in facts


def without_patients(
    groups: Groups,
    dims: Mapping[str, tuple[str, ...]],
    coords: Mapping[str, list[Any]],
    predictors: Sequence[Predictor],
    trial_values: np.ndarray,
    facts: Mapping[str, Any],
) -> Shared | None:
    """Return the parts of a fit that hold no patient, or None where there is none to leave out.

    Raises
    ------
    SavedFitError
        The scale of a predictor is the mean and SD of fewer than five patients, and would tell
        their values.
    """
    design = groups["constant_data"]
    if patients_left_out(facts) or "people_weight" not in design:
        return None
    arms = np.flatnonzero(design["is_arm"] > 0)
    if len(arms) == len(design["n"]) and not len(design["people_weight"]):
        return None
    _check_scales(predictors, design)
    kept = _design(design, arms, len(coords["trial"]))
    of_patients = set(_OF_PATIENTS)
    shared: dict[str, dict[str, np.ndarray]] = {}
    for group, variables in groups.items():
        stay = {
            name: values
            for name, values in variables.items()
            if not of_patients & set(dims.get(name, ()))
        }
        if stay and group != "observed_data":
            shared[group] = stay
    shared["constant_data"] = {name: kept.get(name, values) for name, values in design.items()}
    shared["constant_data"][TOLD] = kept[TOLD]
    own = np.unique(design["people_trial_idx"])
    values = trial_values.copy()
    values[own] = np.nan  # means of patients: of one patient, its value
    return Shared(
        groups=shared,
        coords={**coords, "unit": list(range(len(kept["n"])))},
        trial_values=values,
        facts=_facts(facts, design, kept, predictors, coords["population"]),
    )


def _check_scales(predictors: Sequence[Predictor], design: Mapping[str, np.ndarray]) -> None:
    known = ~np.isnan(design["people_value"])
    for k, predictor in enumerate(predictors):
        people = float(design["people_weight"][known[:, k]].sum())
        if predictor.source == FROM_COLUMN and 0 < people < FEWEST:
            raise SavedFitError(
                f"This fit cannot be saved without its patients: the scale of '{predictor.name}' "
                f"is the mean and SD of {people:g} patients, and would tell their values. Fit "
                "again without that predictor."
            )


def _design(
    design: Mapping[str, np.ndarray], arms: np.ndarray, trials: int
) -> dict[str, np.ndarray]:
    """Return the arrays of the design that change: published arms, then patients in groups."""
    rows = {name: design[name] for name in (*INDICES, *DESIGN) if _first(name) == "unit"}
    patients = np.flatnonzero(design["is_arm"] == 0)
    law_of_trial = np.array([np.argmax(design["law_trial"] == t) for t in range(trials)], dtype=int)
    grouped = _grouped({name: values[patients] for name, values in rows.items()}, law_of_trial)
    told = np.concatenate([_told(design["value"][arms], design["n"][arms]), grouped.pop(TOLD)])
    kept = {name: np.concatenate([values[arms], grouped[name]]) for name, values in rows.items()}
    place = np.full(len(design["n"]), -1)
    place[arms] = np.arange(len(arms))
    stays = place[design["pattern_unit"]] >= 0
    kept["pattern_unit"] = place[design["pattern_unit"]][stays]
    kept["pattern_value"] = design["pattern_value"][stays]
    nobody = {
        name: design[name][:0]
        for name in (*INDICES, *DESIGN)
        if _first(name) in ("person", "person_pattern")
    }
    return {**kept, **nobody, TOLD: told}


def _first(name: str) -> str:
    return (INDICES.get(name) or DESIGN[name])[0][0]


def _told(value: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return how many people of each row tell each predictor."""
    return np.asarray(n[:, None] * ~np.isnan(value))


def _grouped(rows: dict[str, np.ndarray], law_of_trial: np.ndarray) -> dict[str, np.ndarray]:
    """Return one row for the patients who share trial, population, arm, study, time and threshold.

    A time with a threshold that too few patients share, of whatever trial, is left out.
    """
    same = np.column_stack([*(rows[name] for name in _SAME), rows["study_terms"]])
    asked = np.column_stack([rows["hours"], rows["threshold"]])
    time = _numbered(asked)
    shared = np.bincount(time, rows["n"])[time] >= FEWEST if len(time) else time > 0
    asked = np.where(shared[:, None], asked, -1.0)
    group = _numbered(np.column_stack([same, asked]))
    count = int(group.max()) + 1 if len(group) else 0
    first = np.array([np.flatnonzero(group == g)[0] for g in range(count)], dtype=int)
    result = {name: values[first].copy() for name, values in rows.items()}
    result["n"] = np.bincount(group, rows["n"], count) if count else rows["n"]
    result["law_idx"] = law_of_trial[result["trial_idx"]]
    for name in ("responders", "value", "sd"):
        result[name] = np.full_like(result[name], np.nan)
    for name in _OF_A_TIME:
        result[name][~shared[first]] = np.nan
    told = _told(rows["value"], rows["n"])
    result[TOLD] = np.zeros((count, told.shape[1]))
    np.add.at(result[TOLD], group, told)
    return result


def _numbered(keys: np.ndarray) -> np.ndarray:
    """Return the number of the group of each row, rows with the same keys together."""
    if not len(keys):
        return np.zeros(0, dtype=int)
    return np.asarray(np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1))


def _facts(
    facts: Mapping[str, Any],
    design: Mapping[str, np.ndarray],
    kept: Mapping[str, np.ndarray],
    predictors: Sequence[Predictor],
    populations: Sequence[str],
) -> dict[str, Any]:
    shared = copy.deepcopy(dict(facts))
    shared["messages"] = []
    shared["provenance"]["evidence"] = None
    shared["ranges"] = {
        predictor.name: {
            **facts["ranges"][predictor.name],
            **_range(predictor, k, design),
        }
        for k, predictor in enumerate(predictors)
    }
    hidden = np.isnan(kept["hours"])
    for entry in shared["basis"]:
        here = kept["population_idx"] == populations.index(entry["population"])
        if (here & hidden).any():
            hours = kept["hours"][here & ~hidden]
            entry["hours"] = [float(hours.min()), float(hours.max())] if len(hours) else None
            entry["outcomes"] = ""
            entry["reason"] = _REASON if entry["extrapolated"] else ""
    shared[FACT] = {"patients": float(design["people_weight"].sum())}
    return shared


def _range(
    predictor: Predictor, k: int, design: Mapping[str, np.ndarray]
) -> dict[str, float | None]:
    """Return the range of the arms, and of the patients in whole halves of the reference SD."""
    if predictor.kind != "continuous":
        return {}
    arm = design["is_arm"] > 0
    spread = 2.0 * np.nan_to_num(design["sd"][arm, k], nan=1.0)
    middle = design["value"][arm, k]
    ends = np.concatenate([middle - spread, middle + spread])
    known = ~np.isnan(design["people_value"][:, k])
    if design["people_weight"][known].sum() >= FEWEST:
        own = design["people_value"][known, k] / _STEP
        ends = np.append(ends, [np.floor(own.min()) * _STEP, np.ceil(own.max()) * _STEP])
    ends = ends[~np.isnan(ends)]
    if not len(ends):
        return {"low": None, "high": None}
    low, high = predictor.from_scale([ends.min(), ends.max()])
    return {"low": max(float(low), predictor.low), "high": min(float(high), predictor.high)}
