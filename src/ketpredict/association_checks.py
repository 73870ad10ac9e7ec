r"""Associations of predictors with response, observed against replicated, group by group.

Within each trial and arm a predictor is centred on its mean over the patients who tell it, so that
neither the levels of trials nor those of arms matter. The statistic of a group is

.. math:: T = \frac{\sum_i r_i \tilde x_i}{\sqrt{\sum_i n_i \tilde x_i^2}},

:math:`r_i` of the :math:`n_i` equal patients :math:`i` having responded. Slopes of trials are drawn
anew (:mod:`ketpredict.replicates`, new trials): a slope fitted to the very group would reproduce
whatever is there.

**Populations against each other.** With :math:`m_s` the expected share of responders in trial and
arm :math:`s`, :math:`\varphi_s` the normal density at its probit, one step of Fisher's scoring from
a slope of 0 gives the slope of population :math:`p` on the latent scale,

.. math:: \hat\beta_p = \frac1{J_p} \sum_{s \in p} \frac{\varphi_s}{m_s(1 - m_s)}
          \sum_{i \in s} r_i \tilde x_i, \qquad
          J_p = \sum_{s \in p} \frac{\varphi_s^2}{m_s(1 - m_s)} \sum_{i \in s} n_i \tilde x_i^2,

with sampling variance near :math:`1 / J_p`. The statistic of two populations is
:math:`(\hat\beta_p - \hat\beta_q) / \sqrt{1/J_p + 1/J_q}`. In replicates the deviations of
populations are drawn anew too, with the scale that the *prior* gives them: two populations hold one
difference, and what the fit has learnt of that scale it has learnt from the very difference that is
judged. The check is one of conflict between data and prior (Presanis, Ohlssen, Spiegelhalter and
De Angelis 2013, Stat Sci 28:376).
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pandas as pd
from scipy.special import ndtri

from ketpredict.design import Units
from ketpredict.discrepancies import family_of_scores, mid_p_value
from ketpredict.errors import DataError
from ketpredict.posterior import Posterior
from ketpredict.replicates import NEW_TRIAL, probability_draws
from ketpredict.stored_design import design_of
from ketpredict.workers import check_seed

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
    check_seed("seed", seed)
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


def population_contrasts(
    posterior: Posterior, prob: float = 0.9, seed: int = 0
) -> tuple[pd.DataFrame, float]:
    """Return how far the slopes of each two populations lie apart, observed and replicated.

    Patients of all arms. Outside its replicated interval the predictor's effect differs more
    between the two than the prior of such differences allows.

    Parameters
    ----------
    prob : float
        Probability content of the replicated interval.
    seed : int

    Returns
    -------
    table : DataFrame
        ``predictor``, ``first`` and ``second`` (populations), ``n`` (patients of both), ``slope``
        (first minus second, latent scale for one step of the predictor's reference scale),
        ``observed``, ``lower``, ``median``, ``upper`` (the same in standard errors) and
        ``p_value`` (two-sided, mid-p). Empty where fewer than two populations have ten patients.
    p_value : float
        Family-wise over all rows; 1 where there is none.

    Raises
    ------
    DataError
        Weights that are not whole numbers.
    """
    design = design_of(posterior)
    units = np.flatnonzero(design.units.is_arm == 0)
    check_seed("seed", seed)
    rng = np.random.default_rng(seed)
    anew = _in_new_populations(posterior, rng)
    probability = probability_draws(anew, units, NEW_TRIAL, rng, most=_DRAWS)
    n = design.units.n[units].round().astype(int)
    responders = np.vstack([design.units.responders[units], rng.binomial(n, probability)])
    expected = probability.mean(axis=0)
    columns, rows = [], []
    for k, name in enumerate(design.predictor_names):
        slopes = {
            population: slope
            for p, population in enumerate(design.populations)
            if (slope := _one_step(design.units, units, expected, p, k)) is not None
        }
        for first, second in itertools.combinations(sorted(slopes), 2):
            score = slopes[first].score - slopes[second].score
            error = np.sqrt(1.0 / slopes[first].precision + 1.0 / slopes[second].precision)
            columns.append(score / error)
            told = slopes[first].n + slopes[second].n
            rows.append((name, first, second, told, float(responders[0] @ score)))
    names = ["predictor", "first", "second", "n", "slope"]
    if not rows:
        return pd.DataFrame(
            columns=[*names, "observed", "lower", "median", "upper", "p_value"]
        ), 1.0
    found = responders @ np.column_stack(columns)
    tails = np.quantile(found[1:], [(1.0 - prob) / 2.0, 0.5, (1.0 + prob) / 2.0], axis=0)
    table = pd.DataFrame(rows, columns=names).assign(
        observed=found[0],
        lower=tails[0],
        median=tails[1],
        upper=tails[2],
        p_value=[mid_p_value(column[1:], column[0]) for column in found.T],
    )
    return table, family_of_scores(found)[0]


def _in_new_populations(posterior: Posterior, rng: np.random.Generator) -> Posterior:
    """Return the fit with deviations of populations' slopes from the prior of their scale."""
    parts = posterior.slope_parts
    if "population" not in parts or not posterior.predictors:
        return posterior
    own = posterior.groups["posterior"]
    scale = posterior.groups["prior"]["slope_scale"][..., parts.index("population"), :]
    scale = scale.reshape(-1, scale.shape[-1])
    shape = own["population_slope"].shape
    drawn = scale[rng.integers(len(scale), size=shape[:2])][:, :, None] * rng.normal(size=shape)
    groups = {**posterior.groups, "posterior": {**own, "population_slope": drawn}}
    return dataclasses.replace(posterior, groups=groups)


@dataclasses.dataclass(frozen=True)
class _Slope:
    """A slope of one population: responders times `score`, with its precision and people."""

    score: np.ndarray
    precision: float
    n: int


def _one_step(
    units: Units, chosen: np.ndarray, expected: np.ndarray, population: int, k: int
) -> _Slope | None:
    """Return a population's slope after one step of scoring; None where too few tell."""
    here = units.population_idx[chosen] == population
    centred = _centred(units, chosen, here, k)
    if centred is None:
        return None
    n, apart, code = centred
    told = np.isfinite(apart)
    score, precision = np.zeros(len(chosen)), 0.0
    for one in np.unique(code[told]):
        rows = told & (code == one)
        share = np.average(expected[rows], weights=n[rows])
        # Where nobody is expected to respond a slope cannot be seen.
        share = np.clip(share, 1e-3, 1.0 - 1e-3)
        density = np.exp(-(ndtri(share) ** 2) / 2.0) / np.sqrt(2.0 * np.pi)
        score[rows] = density / (share * (1.0 - share)) * apart[rows]
        precision += density * float(score[rows] @ (n[rows] * apart[rows]))
    if precision <= 0.0:
        return None
    return _Slope(score / precision, precision, int(n[told].sum()))


def _centred(
    units: Units, chosen: np.ndarray, here: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return people, distance from the mean of trial and arm (NaN elsewhere), and trial and arm."""
    value, n = units.value[chosen, k], units.n[chosen]
    told = here & ~np.isnan(value)
    if n[told].sum() < FEWEST_PATIENTS:
        return None
    stratum = np.column_stack([units.trial_idx[chosen], units.arm_idx[chosen]])
    _, code = np.unique(stratum, axis=0, return_inverse=True)
    code = code.ravel()
    apart = np.full(len(chosen), np.nan)
    for one in np.unique(code[told]):
        rows = told & (code == one)
        apart[rows] = value[rows] - np.average(value[rows], weights=n[rows])
    return n, apart, code


def _contrast(units: Units, chosen: np.ndarray, index: np.ndarray, k: int) -> np.ndarray | None:
    """Return what each chosen unit counts in the statistic; None where too few tell."""
    here = np.zeros(len(chosen), dtype=bool)
    here[index] = True
    centred = _centred(units, chosen, here, k)
    if centred is None:
        return None
    n, apart, _ = centred
    contrast = np.nan_to_num(apart)
    size = np.sqrt((n * contrast**2).sum())
    return contrast / size if size > 0 else None
