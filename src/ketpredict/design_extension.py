"""A design with one more trial: published arms join the units, and nothing else changes place.

Trials, laws and scales that are new stand last; reported and unreported cells keep their order, the
new ones behind the old of their kind.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from ketpredict.categories import exclusive_places
from ketpredict.cells import find_cells, trial_values
from ketpredict.design import Design, Units, encode_units
from ketpredict.design_rows import arm_rows
from ketpredict.patterns import enumerate_patterns


def with_trial(design: Design, arms: pd.DataFrame) -> Design:
    """Return the design with the arms of one more trial.

    Parameters
    ----------
    arms : DataFrame
        Of one trial that the design does not have, at one horizon, as in
        :attr:`ketpredict.evidence.Evidence.arms`; populations and arms are those of the design.

    Returns
    -------
    Design
        The new units are the last ones.
    """
    rows = arm_rows(arms, design.predictors)
    trial = str(rows["trial"].iloc[0])
    labels = {
        "population": design.populations,
        "trial": (*design.trials, trial),
        "law": (*design.laws, trial),
        "arm": design.arms,
        "scale": (*design.scales, *sorted(set(rows["scale"]) - set(design.scales))),
    }
    own = encode_units(
        rows, design.predictors, labels, design.arm_class, design.repeated_arm, design.spec
    )
    names = [field.name for field in dataclasses.fields(Units)]
    units = Units(
        **{
            name: np.concatenate([getattr(design.units, name), getattr(own, name)])
            for name in names
        }
    )
    law_trial = np.append(design.law_trial, len(design.trials))
    people = design.people
    every_value = np.concatenate([units.value, people.value])
    told = ~np.isnan(every_value) | ~np.isnan(np.concatenate([units.sd, people.value]))
    every_law = np.concatenate([units.law_idx, people.law_idx])
    cells = find_cells(law_trial, design.predictors, every_law, told)
    pattern_unit, pattern_value = enumerate_patterns(
        units.value[:, design.binary_idx],
        exclusive_places(design.predictors),
        units.is_arm == 0,
    )
    reported = trial_values(1, np.zeros(len(own), dtype=int), own.value, own.weight)
    return dataclasses.replace(
        design,
        trials=labels["trial"],
        laws=labels["law"],
        scales=labels["scale"],
        units=units,
        law_trial=law_trial,
        mean_cell=cells.mean_cell,
        cells=cells.cells,
        n_reported=cells.n_reported,
        pattern_unit=pattern_unit,
        pattern_value=pattern_value,
        trial_values=np.concatenate([design.trial_values, reported]),
    )


def old_cells(before: Design, after: Design) -> np.ndarray:
    """Return where the cells of a design stood before a trial joined; -1 for new ones.

    Returns
    -------
    ndarray of int, shape (cell,)
    """
    place = {tuple(cell): i for i, cell in enumerate(before.cells.tolist())}
    return np.array([place.get(tuple(cell), -1) for cell in after.cells.tolist()], dtype=int)
