r"""Discrimination and accuracy of patients left out one by one, trial by trial.

Treated patients alone: with control arms among them a c-statistic mostly says that ketamine differs
from saline. Their trial is otherwise known, so that calibration flatters. The c-statistic does the
opposite: an outcome that is left out moves the level of its trial away from itself, so that a
responder's prediction falls and another's rises. Of predictions that are nothing but the mean of
the others, :math:`(\sum_j y_j - y_i)/(n - 1)`, it is 0 (Parker, Guenter and Bedo 2007, BMC
Bioinformatics 8:326; Airola et al. 2011, Comput Stat Data Anal 55:1828). The *apparent* value,
whose predictions know the outcome, errs the other way, so that both are given. Leaving whole trials
out (:mod:`ketpredict.leave_out`) has neither fault. Measures are those of
:mod:`ketpredict.validation_measures`.
"""

from __future__ import annotations

import pandas as pd

from ketpredict.loo import LeaveOneOut, one_by_one
from ketpredict.validation_measures import Measure, patient_measures

MEASURES = ("c_statistic", "calibration_in_the_large", "brier", "log_score")
_COLUMNS = [
    "trial", "n", "responders", "measure", "estimate", "lower", "upper", "reason",
    "apparent", "apparent_lower", "apparent_upper",
]  # fmt: skip


def left_out_measures(found: LeaveOneOut, prob: float = 0.9) -> pd.DataFrame:
    """Return how well patients of active arms are predicted without their own outcomes.

    Returns
    -------
    DataFrame
        ``trial``, ``n``, ``responders``, ``measure``, ``estimate``, ``lower``, ``upper`` (sampling
        of patients), ``reason`` where a measure cannot be had, and ``apparent``,
        ``apparent_lower``, ``apparent_upper``: the same of predictions that know the patient's
        outcome. Empty without such patients.

    Raises
    ------
    DataError
        Weights that are not whole numbers.
    """
    events = found.events[(found.events["kind"] == "patients") & found.events["active"]]
    rows = []
    if len(events):
        for trial, patients in one_by_one(events).groupby("trial", sort=True):
            out = _measures(patients, "probability_left_out", prob)
            known = _measures(patients, "probability", prob)
            responders = int(patients["responders"].sum())
            rows += [
                {
                    "trial": trial,
                    "n": len(patients),
                    "responders": responders,
                    "measure": name,
                    "estimate": out[name].estimate,
                    "lower": out[name].lower,
                    "upper": out[name].upper,
                    "reason": out[name].reason,
                    "apparent": known[name].estimate,
                    "apparent_lower": known[name].lower,
                    "apparent_upper": known[name].upper,
                }
                for name in MEASURES
            ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _measures(patients: pd.DataFrame, column: str, prob: float) -> dict[str, Measure]:
    response = patients["responders"].to_numpy(float)
    probability = patients[column].to_numpy(float)
    found = patient_measures(response, probability, probability[None], prob)
    return {one.name: one for one in found}
