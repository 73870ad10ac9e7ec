"""Discrimination and accuracy of patients left out one by one, trial by trial.

Treated patients alone: with control arms among them a c-statistic mostly says that ketamine differs
from saline. Their trial is otherwise known, so that these numbers flatter; leaving whole trials out
(:mod:`ketpredict.leave_out`) does not. Measures are those of
:mod:`ketpredict.validation_measures`.
"""

from __future__ import annotations

import dataclasses

import pandas as pd

from ketpredict.loo import LeaveOneOut, one_by_one
from ketpredict.validation_measures import patient_measures

MEASURES = ("c_statistic", "calibration_in_the_large", "brier", "log_score")


def left_out_measures(found: LeaveOneOut, prob: float = 0.9) -> pd.DataFrame:
    """Return how well patients of active arms are predicted without their own outcomes.

    Returns
    -------
    DataFrame
        ``trial``, ``n``, ``responders``, ``measure``, ``estimate``, ``lower``, ``upper`` (sampling
        of patients) and ``reason`` where a measure cannot be had. Empty without such patients.

    Raises
    ------
    DataError
        Weights that are not whole numbers.
    """
    events = found.events[(found.events["kind"] == "patients") & found.events["active"]]
    rows = []
    if len(events):
        for trial, patients in one_by_one(events).groupby("trial", sort=True):
            response = patients["responders"].to_numpy(float)
            probability = patients["probability_left_out"].to_numpy(float)
            measures = patient_measures(response, probability, probability[None], prob)
            rows += [
                {"trial": trial, "n": len(response), "responders": int(response.sum())}
                | {"measure": one.name}
                | {key: dataclasses.asdict(one)[key] for key in _KEPT}
                for one in measures
                if one.name in MEASURES
            ]
    return pd.DataFrame(rows, columns=["trial", "n", "responders", "measure", *_KEPT])


_KEPT = ("estimate", "lower", "upper", "reason")
