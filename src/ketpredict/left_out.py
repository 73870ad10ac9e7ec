"""Trials left out of a design: what remains to fit, and what is predicted.

A fold is one trial, or all trials of one population. Without them the design keeps the labels of
populations, arms and scales: what only the fold says something about has its prior left, and what
published effects say of it. Published effects of the fold's own cohorts leave with it; all others
are separate evidence and stay. The scaling of predictors that the package does not know was derived
from the whole table and stays as it was; whether a predictor has a slope across trials is decided
anew from the trials that remain.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ketpredict.categories import exclusive_places
from ketpredict.design import Design, People
from ketpredict.errors import DataError
from ketpredict.patterns import enumerate_patterns
from ketpredict.published_effects import Effects, no_effects
from ketpredict.unit_outcome import take_units

KINDS = ("trial", "population")
_BY_GROUP = ("group_predictor", "group_unseen")


@dataclasses.dataclass(frozen=True)
class Fold:
    """What is left out at once.

    Parameters
    ----------
    name : str
        Of the trial or population.
    trials : ndarray of bool, shape (trial,)
    units : ndarray of int
        Units of the design that are predicted.
    population : int or None
        The population that no other trial has, if there is one.
    arms : ndarray of int
        Arms that no other trial has.
    effects : ndarray of bool, shape (effect,)
        Published effects of the same cohorts.
    """

    name: str
    trials: np.ndarray
    units: np.ndarray
    population: int | None
    arms: np.ndarray
    effects: np.ndarray


def folds_of(design: Design, by: str = "trial") -> list[Fold]:
    """Return the folds of a design: every trial, or every population, left out once.

    A trial that gives no outcome is no fold of its own.

    Parameters
    ----------
    by : {"trial", "population"}

    Raises
    ------
    DataError
        `by` is neither, or nothing would remain.
    """
    if by not in KINDS:
        raise DataError(f"by is {by!r}; expected 'trial' or 'population'.")
    units, found = design.units, []
    labels = design.trials if by == "trial" else design.populations
    of_unit = units.trial_idx if by == "trial" else units.population_idx
    for i, name in enumerate(labels):
        held = np.zeros(len(design.trials), dtype=bool)
        held[units.trial_idx[of_unit == i]] = True
        # A trial of several populations leaves with each of them: its people share its effects.
        predicted = np.flatnonzero(held[units.trial_idx])
        if not len(predicted):
            continue
        if held[units.trial_idx].all():
            raise DataError(
                f"Leaving out {by} '{name}' leaves no outcome to learn from; at least two "
                f"{by}s are needed."
            )
        found.append(
            Fold(
                name=name,
                trials=held,
                units=predicted,
                population=_alone(units.population_idx, held[units.trial_idx]),
                arms=_only_there(units.arm_idx, held[units.trial_idx]),
                effects=_own_effects(design, held),
            )
        )
    return found


def _only_there(labels: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Return the labels that only units left out have."""
    return np.setdiff1d(labels[held], labels[~held])


def _alone(population: np.ndarray, held: np.ndarray) -> int | None:
    alone = _only_there(population, held)
    if len(alone) > 1:
        raise DataError(
            "A fold holds several populations that no other trial has, because a trial has "
            "patients of both; leave out by trial instead."
        )
    return int(alone[0]) if len(alone) else None


def _own_effects(design: Design, held: np.ndarray) -> np.ndarray:
    """Return which published effects are of cohorts that are trials of the fold."""
    names = {design.trials[t] for t in np.flatnonzero(held)}
    used = [fate for fate in design.effect_fates if fate["used"]]
    own = [bool(names & {fate["cohort"], fate.get("trial", "")}) for fate in used]
    return np.array(own, dtype=bool).reshape(len(design.effects))


def without(design: Design, fold: Fold) -> Design:
    """Return the design without a fold: what is fitted to predict it."""
    kept = ~fold.trials
    laws = kept[design.law_trial]
    cells = laws[design.cells[:, 0]]
    trial_place, law_place, cell_place = (_places(mask) for mask in (kept, laws, cells))
    chosen = take_units(design.units, np.flatnonzero(kept[design.units.trial_idx]))
    units = dataclasses.replace(
        chosen, trial_idx=trial_place[chosen.trial_idx], law_idx=law_place[chosen.law_idx]
    )
    people = _people(design, kept)
    people = dataclasses.replace(
        people, trial_idx=trial_place[people.trial_idx], law_idx=law_place[people.law_idx]
    )
    mean_cell = design.mean_cell[laws]
    own_cells = design.cells[cells]
    return _with_patterns(
        dataclasses.replace(
            design,
            trials=tuple(np.array(design.trials, dtype=object)[kept]),
            laws=tuple(np.array(design.laws, dtype=object)[laws]),
            units=units,
            people=people,
            law_trial=trial_place[design.law_trial[laws]],
            mean_cell=np.where(mean_cell >= 0, cell_place[mean_cell], -1),
            cells=np.column_stack([law_place[own_cells[:, 0]], own_cells[:, 1]]),
            n_reported=int(cells[: design.n_reported].sum()),
            trial_values=design.trial_values[kept],
            **_kept_effects(design, ~fold.effects),
        )
    )


def only(design: Design, fold: Fold, *, outcomes: bool = True) -> Design:
    """Return the design with the data of a fold alone, every label kept where it was.

    Parameters
    ----------
    outcomes : bool
        With the outcomes; else what the fold says of its predictors only.
    """
    units = take_units(design.units, fold.units)
    if not outcomes:
        units = take_units(units, np.flatnonzero(units.is_arm > 0))
        nobody = np.zeros(len(units))
        units = dataclasses.replace(units, responders=nobody, n=nobody)
    return _with_patterns(
        dataclasses.replace(
            design, units=units, people=_people(design, fold.trials), **_no_effects(design)
        )
    )


def nothing(design: Design) -> Design:
    """Return the design without any data, every label kept where it was."""
    nobody = np.zeros(len(design.trials), dtype=bool)
    units = take_units(design.units, np.zeros(0, dtype=int))
    return _with_patterns(
        dataclasses.replace(
            design, units=units, people=_people(design, nobody), **_no_effects(design)
        )
    )


def _places(kept: np.ndarray) -> np.ndarray:
    """Return where each kept entry stands among those kept."""
    return np.cumsum(kept) - 1


def _people(design: Design, trials: np.ndarray) -> People:
    people = design.people
    index = np.flatnonzero(trials[people.trial_idx])
    return dataclasses.replace(
        people, **{f.name: getattr(people, f.name)[index] for f in dataclasses.fields(people)}
    )


def _with_patterns(design: Design) -> Design:
    """Return the design with the patterns that its rows leave open."""
    binary, exclusive = design.binary_idx, exclusive_places(design.predictors)
    units = design.units
    unit, value = enumerate_patterns(units.value[:, binary], exclusive, units.is_arm == 0)
    row, people_value = enumerate_patterns(design.people.value[:, binary], exclusive)
    return dataclasses.replace(
        design,
        pattern_unit=unit,
        pattern_value=value,
        people_pattern_row=row,
        people_pattern_value=people_value,
    )


def _no_effects(design: Design) -> dict[str, Any]:
    return {
        "effects": no_effects(len(design.predictors), len(design.populations)),
        "effect_labels": (),
        "effect_groups": (),
    }


def _kept_effects(design: Design, kept: np.ndarray) -> dict[str, Any]:
    """Return the fields of a design that hold its published effects, for those that are kept."""
    effects = design.effects
    if kept.all():
        return {}
    if not kept.any():
        return _no_effects(design)
    groups = np.unique(effects.group_idx[kept])
    arrays = {
        field.name: getattr(effects, field.name)[groups if field.name in _BY_GROUP else kept]
        for field in dataclasses.fields(Effects)
    }
    arrays["group_idx"] = np.searchsorted(groups, arrays["group_idx"])
    # Horizons of a cohort share their error only while there are several of them.
    alone = np.bincount(arrays["group_idx"])[arrays["group_idx"]] == 1
    arrays["shared"] = np.where(alone, 0.0, arrays["shared"])
    return {
        "effects": Effects(**arrays),
        "effect_labels": tuple(np.array(design.effect_labels, dtype=object)[kept]),
        "effect_groups": tuple(np.array(design.effect_groups, dtype=object)[groups]),
    }
