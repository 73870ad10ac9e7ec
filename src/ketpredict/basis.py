"""What a fit rests on: trials, people and outcomes behind each population and each predictor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ketpredict.design import Design
from ketpredict.spec import FULL_THRESHOLD

_NEAR_REFERENCE = 2.0


def population_basis(design: Design, participants: pd.DataFrame) -> list[dict[str, Any]]:
    """Return, for each population, the evidence that its estimates rest on.

    Parameters
    ----------
    participants : DataFrame
        The patients that the design was made of, so that a crossover patient is counted once.

    Returns
    -------
    list of dict
        ``population``, ``trials``, ``patients`` (given one by one), ``patients_in_arms``
        (published), ``arms``, ``hours`` ([first, last]), ``outcomes`` (scale and threshold, in
        words), ``extrapolated`` and ``reason``: whether a 24 h, 50 % prediction is an
        extrapolation because no trial of the population reports that outcome within a factor of
        two of that time after a single dose.
    """
    table = design.labels()
    course = np.array(design.repeated_arm)[design.units.arm_idx]
    reference = design.spec.horizons.reference
    near = np.abs(np.log(table["hours"].to_numpy() / reference)) <= np.log(_NEAR_REFERENCE) + 1e-9
    table["repeated"] = course
    table["direct"] = near & ~course & (table["threshold"] == FULL_THRESHOLD).to_numpy()
    observed = participants[participants["response"].notna()]
    people = observed.drop_duplicates(["trial", "participant"])["population"].value_counts()
    return [
        _one_population(name, rows, int(people.get(name, 0)))
        for name, rows in table.groupby("population", sort=True)
    ]


def _one_population(name: Any, rows: pd.DataFrame, people: int) -> dict[str, Any]:
    arms = rows[rows["kind"] == "arm"]
    extrapolated = not rows["direct"].any()
    reasons = []
    if extrapolated:
        if rows["repeated"].all():
            reasons.append("repeated courses only")
        elif not (~rows["repeated"] & (rows["hours"] <= 48)).any():
            reasons.append(f"single doses reported only at {_hours(rows['hours'])}")
        if (rows["threshold"] != FULL_THRESHOLD).all():
            reasons.append("another threshold than 50 %")
    return {
        "population": str(name),
        "trials": int(rows["trial"].nunique()),
        "patients": people,
        "patients_in_arms": int(arms["n"].sum()),
        "arms": int(arms.groupby(["trial", "arm"]).ngroups),
        "hours": [float(rows["hours"].min()), float(rows["hours"].max())],
        "outcomes": _outcomes(rows),
        "extrapolated": bool(extrapolated),
        "reason": "; ".join(reasons),
    }


def _hours(hours: pd.Series) -> str:
    return ", ".join(f"{value:g} h" for value in sorted(set(hours)))


def _outcomes(rows: pd.DataFrame) -> str:
    """Return ``MADRS 50 % (9 trials), HAMD 50 % (2)``, the most frequent first."""
    counts = rows.groupby(["scale", "threshold"])["trial"].nunique().sort_values(ascending=False)
    return ", ".join(
        f"{scale} ≥ {threshold:g} % ({count} {'trial' if count == 1 else 'trials'})"
        for (scale, threshold), count in counts.items()
    )


def predictor_ranges(design: Design) -> dict[str, Any]:
    """Return, for each predictor, the range of its values in the evidence and who reports it.

    Returns
    -------
    dict of str to dict
        ``low``, ``high`` in the predictor's own unit (None where nobody reports it), over patients
        and over mean plus and minus two SD of arms; ``trials`` that report it.
    """
    ranges = {}
    units, people = design.units, design.people
    for k, predictor in enumerate(design.predictors):
        trials = int((~np.isnan(design.trial_values[:, k])).sum())
        spread = 2.0 * np.nan_to_num(units.sd[:, k], nan=1.0) * units.is_arm
        ends = np.concatenate([units.value[:, k] - spread, units.value[:, k] + spread])
        ends = np.concatenate([ends, people.value[:, k]])
        ends = ends[~np.isnan(ends)]
        low = high = None
        if len(ends) and predictor.kind == "continuous":
            limits = predictor.from_scale([ends.min(), ends.max()])
            low, high = max(float(limits[0]), predictor.low), min(float(limits[1]), predictor.high)
        ranges[predictor.name] = {"low": low, "high": high, "trials": trials}
    return ranges
