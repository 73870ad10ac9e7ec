r"""Checks of the patients that a fit was given: rows that are there twice, and separation.

**Duplicated patients.** Two patients of a trial agree in every predictor that both tell. With
:math:`q_k` the share of pairs of the trial that agree in predictor :math:`k`, and predictors as if
independent, :math:`\prod_k q_k` of its pairs do so by chance, and the number that do is nearly
Poisson. Since :math:`q_k` counts the duplicates too, chance is given more than its due. One
predictor alone cannot tell duplicates from rounding.

**Separation.** Where a predictor splits responders from the others perfectly, the likelihood has
no maximum in its slope (Albert and Anderson 1984, Biometrika 71:1), and the posterior rests on the
prior. In groups of sizes :math:`a` and :math:`b` a continuous predictor without association does
so with probability :math:`2 a!\,b!/(a+b)!` (Mann and Whitney 1947, Ann Math Stat 18:50).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import gammaln
from scipy.stats import poisson

from ketpredict.design import Design
from ketpredict.posterior import Posterior
from ketpredict.stored_design import design_of

_FEWEST_IN_GROUP = 4


def duplicated_patients(posterior: Posterior) -> pd.DataFrame:
    """Return, for each trial with patients, how many pairs of patients are the same in everything.

    Patients who tell fewer than two continuous predictors are left out: their values may well be
    those of another one. A crossover patient whose predictors differ between periods stands in a
    row for each; a copy of such a patient is not seen.

    Returns
    -------
    DataFrame
        ``trial``, ``patients`` (compared), ``pairs`` that agree, ``expected`` number of such pairs
        by chance, and ``p_value`` (one-sided Poisson).
    """
    design = design_of(posterior)
    people = design.people
    continuous = people.value[:, design.continuous_idx]
    compared = (~np.isnan(continuous)).sum(axis=1) >= 2
    rows = []
    for trial, label in enumerate(design.trials):
        here = compared & (people.trial_idx == trial)
        # A patient whose predictors differ between periods is half a row in each.
        weight = np.maximum(np.round(people.weight[here]), 1.0).astype(int)
        value = np.repeat(people.value[here], weight, axis=0)
        if len(value) < 2:
            continue
        pairs, expected = _agreeing(value)
        rows.append(
            {
                "trial": label,
                "patients": len(value),
                "pairs": pairs,
                "expected": expected,
                "p_value": float(poisson.sf(pairs - 1, expected)) if pairs else 1.0,
            }
        )
    return pd.DataFrame(rows, columns=["trial", "patients", "pairs", "expected", "p_value"])


def _agreeing(value: np.ndarray) -> tuple[int, float]:
    """Return the pairs of rows that agree in all they tell, and how many would by chance.

    Rows are compared where they tell the same predictors.
    """
    pairs, expected = 0, 0.0
    share = [_share_of_pairs(column[~np.isnan(column)]) for column in value.T]
    patterns, group = np.unique(~np.isnan(value), axis=0, return_inverse=True)
    for number, told in enumerate(patterns):
        rows = value[group.ravel() == number][:, told]
        counts = np.unique(rows, axis=0, return_counts=True)[1]
        pairs += int((counts * (counts - 1)).sum() // 2)
        by_chance = np.prod([share[k] for k in np.flatnonzero(told)])
        expected += len(rows) * (len(rows) - 1) / 2 * float(by_chance)
    return pairs, expected


def _share_of_pairs(values: np.ndarray) -> float:
    """Return the share of pairs that are equal."""
    if len(values) < 2:
        return 0.0
    counts = np.unique(values, return_counts=True)[1].astype(float)
    return float((counts * (counts - 1)).sum() / (len(values) * (len(values) - 1)))


def separation(posterior: Posterior) -> pd.DataFrame:
    """Return, for each predictor, whether it splits responders from the others perfectly.

    Patients of active arms who tell the predictor, all trials together and each with at least
    four patients in either group.

    Returns
    -------
    DataFrame
        ``predictor``, ``trial`` (``"all"`` for all together), ``responders``, ``others``,
        ``separated``, and ``chance`` that a predictor without association separates as many.
    """
    design = design_of(posterior)
    units = design.units
    patients = (units.is_arm == 0) & (units.active > 0)
    rows = []
    for k, predictor in enumerate(design.predictors):
        known = patients & ~np.isnan(units.value[:, k])
        for trial, label in [(None, "all"), *enumerate(design.trials)]:
            here = known if trial is None else known & (units.trial_idx == trial)
            found = _separated(design, here, k)
            if found is not None:
                rows.append({"predictor": predictor.name, "trial": label, **found})
    columns = ["predictor", "trial", "responders", "others", "separated", "chance"]
    return pd.DataFrame(rows, columns=columns)


def _separated(design: Design, here: np.ndarray, k: int) -> dict[str, object] | None:
    """Return whether predictor `k` separates the units `here`; None where too few tell."""
    units = design.units
    value, responders = units.value[here, k], units.responders[here]
    others = units.n[here] - responders
    a, b = float(responders.sum()), float(others.sum())
    if min(a, b) < _FEWEST_IN_GROUP:
        return None
    of_responders, of_others = value[responders > 0], value[others > 0]
    apart = max(of_responders.min() - of_others.max(), of_others.min() - of_responders.max())
    log_chance = np.log(2.0) + gammaln(a + 1.0) + gammaln(b + 1.0) - gammaln(a + b + 1.0)
    return {
        "responders": a,
        "others": b,
        "separated": bool(apart > 0),
        "chance": float(np.exp(min(log_chance, 0.0))),
    }
