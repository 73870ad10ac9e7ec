r"""Associations of predictors with response, observed against replicated, group by group.

Within each trial and arm a predictor is centred on its mean over the patients who tell it, so that
neither the levels of trials nor those of arms matter. The statistic of a group is

.. math:: T = \frac{\sum_i r_i \tilde x_i}{\sqrt{\sum_i n_i \tilde x_i^2}},

:math:`r_i` of the :math:`n_i` equal patients :math:`i` having responded. Slopes of trials are drawn
anew (:mod:`ketpredict.replicates`, new trials): a slope fitted to the very group would reproduce
whatever is there.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ketpredict.design import Units
from ketpredict.discrepancies import family_of_scores, mid_p_value
from ketpredict.errors import DataError
from ketpredict.posterior import Posterior
from ketpredict.replicates import NEW_TRIAL, probability_draws
from ketpredict.stored_design import design_of

FEWEST_PATIENTS = 10
"""Patients of a group who must tell a predictor before its association is checked."""
_DRAWS = 1000


def association_table(
    posterior: Posterior, by: str = "population", prob: float = 0.9, seed: int = 0
) -> tuple[pd.DataFrame, float]:
    """Return the association of each predictor with response in each group of patients.

    Patients of active arms. A good one lies inside its replicated interval; outside it the
    predictor's effect is another one there than the model allows.

    Parameters
    ----------
    by : {"population", "trial", "arm"}
        What groups are: a column of :meth:`ketpredict.design.Design.labels`.
    prob : float
        Probability content of the replicated interval.
    seed : int

    Returns
    -------
    table : DataFrame
        ``by``, ``predictor``, ``n`` (patients), ``observed``, ``lower``, ``median``, ``upper``
        (of the statistic; in standard deviations of the response's noise, nearly) and ``p_value``
        (two-sided, mid-p).
    p_value : float
        Family-wise over all rows; 1 where there is none.

    Raises
    ------
    DataError
        Another `by`, or weights that are not whole numbers.
    """
    if by not in ("population", "trial", "arm"):
        raise DataError(f"by is {by!r}; expected 'population', 'trial' or 'arm'.")
    design = design_of(posterior)
    units = np.flatnonzero((design.units.is_arm == 0) & (design.units.active > 0))
    labels = design.labels().iloc[units]
    columns, rows = [], []
    for group, index in labels.groupby(by, sort=True).indices.items():
        for k, name in enumerate(design.predictor_names):
            contrast = _contrast(design.units, units, index, k)
            if contrast is not None:
                told = design.units.n[units][contrast != 0].sum()
                columns.append(contrast)
                rows.append({by: group, "predictor": name, "n": int(told)})
    names = [by, "predictor", "n", "observed", "lower", "median", "upper", "p_value"]
    if not rows:
        return pd.DataFrame(columns=names), 1.0
    rng = np.random.default_rng(seed)
    probability = probability_draws(posterior, units, NEW_TRIAL, rng, most=_DRAWS)
    n = design.units.n[units].round().astype(int)
    responders = np.vstack([design.units.responders[units], rng.binomial(n, probability)])
    found = responders @ np.column_stack(columns)
    tails = np.quantile(found[1:], [(1.0 - prob) / 2.0, 0.5, (1.0 + prob) / 2.0], axis=0)
    table = pd.DataFrame(rows).assign(
        observed=found[0],
        lower=tails[0],
        median=tails[1],
        upper=tails[2],
        p_value=[mid_p_value(column[1:], column[0]) for column in found.T],
    )
    return table[names], family_of_scores(found)[0]


def _contrast(units: Units, chosen: np.ndarray, index: np.ndarray, k: int) -> np.ndarray | None:
    """Return what each chosen unit counts in the statistic; None where too few tell."""
    value = units.value[chosen, k]
    n = units.n[chosen]
    here = np.zeros(len(chosen), dtype=bool)
    here[index] = True
    here &= ~np.isnan(value)
    if n[here].sum() < FEWEST_PATIENTS:
        return None
    stratum = np.column_stack([units.trial_idx[chosen], units.arm_idx[chosen]])
    _, code = np.unique(stratum, axis=0, return_inverse=True)
    code = code.ravel()
    contrast = np.zeros(len(chosen))
    for one in np.unique(code[here]):
        rows = here & (code == one)
        contrast[rows] = value[rows] - np.average(value[rows], weights=n[rows])
    size = np.sqrt((n * contrast**2).sum())
    return contrast / size if size > 0 else None
