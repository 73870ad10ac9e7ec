r"""Outlying trials: each trial's responders against what the other trials foresee.

On each side (active arms together, control arms together) a trial has :math:`r` responders of
:math:`n`, of whom the fitted model expects a share :math:`p` in a new trial. The residual

.. math:: e = \sqrt v\,\{A(r) - A(np)\}, \qquad
          A(r) = 2\sqrt n \arcsin\sqrt{\frac{r + 3/8}{n + 3/4}}, \quad
          v = \frac{p(1 - p)}{n\,\varphi(\Phi^{-1}(p))^2},

is near the distance on the latent (probit) scale, with sampling variance :math:`v`: Anscombe's
:math:`A` has a variance near 1 and moves by :math:`v^{-1/2}` for one latent unit. A single wrong
count is bounded, unlike on the probit scale itself. :mod:`ketpredict.deleted_residuals` turns both
sides of all trials into deleted distances; their tails :math:`P(\chi^2_d > D_t^2)`, :math:`d` the
number of sides that a trial has, make trials with one and with two sides comparable. The
family-wise p-value is the share of data sets replicated as new trials with a tail as small as the
smallest observed. :math:`p` is the same for observed and replicated data, so that the statistic is
a function of the data alone.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import chdtrc, ndtri

from ketpredict.deleted_residuals import DeletedResiduals, deleted_residuals
from ketpredict.discrepancies import anscombe
from ketpredict.gates import FAMILY_WISE, Gate, as_often
from ketpredict.replicates import Replicates
from ketpredict.wording import trial_words

FEWEST_TRIALS = 4
"""Trials that must have a side before it is checked: three others give a spread."""
SIDES = ("active", "control")


def outlying_trials(found: Replicates) -> tuple[pd.DataFrame, float]:
    """Return how far each trial lies from what the others foresee.

    Parameters
    ----------
    found : Replicates
        By trial and arm, as new trials.

    Returns
    -------
    table : DataFrame
        One row per trial: ``trial``, for each side ``active_responders``, ``active_n``,
        ``active_expected`` (responders) and ``active_residual`` (deleted, in standard deviations;
        ``control_`` likewise, NaN without that side), ``contrast_residual`` (active minus control),
        ``distance`` (over both sides, in standard deviations) and ``p_value`` (share of replicates
        of this trial at least as far out). Empty where no side has four trials.
    p_value : float
        Family-wise over trials; 1 where there is none.

    Notes
    -----
    Horizons of one arm are added up as they are in `found`.
    """
    trials = list(dict.fromkeys(found.labels["trial"]))
    code = found.labels["trial"].map({name: t for t, name in enumerate(trials)}).to_numpy(int)
    active = found.labels["active"].to_numpy(bool)
    counts = np.vstack([found.observed, found.replicated]).astype(float)
    responders, n, expected = _by_side(counts, found.n.astype(float), code, active, len(trials))
    judged = ~np.isnan(n).all(axis=1)
    if not judged.any():
        return pd.DataFrame(columns=["trial", "distance", "p_value"]), 1.0
    trials = [name for name, kept in zip(trials, judged, strict=True) if kept]
    responders, n, expected = responders[:, judged], n[judged], expected[judged]
    residual, variance = latent_residuals(responders, n, expected)
    deleted = deleted_residuals(residual, variance)
    tail = chdtrc((~np.isnan(n)).sum(axis=1), deleted.distance)
    smallest = tail.min(axis=1)
    p_value = float((smallest <= smallest[0] * (1.0 + 1e-9)).mean())
    return _table(trials, responders[0], n, expected, deleted, tail), p_value


def latent_residuals(
    responders: np.ndarray, n: np.ndarray, expected: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return residuals of counts near the latent scale, and their sampling variance.

    Parameters
    ----------
    responders : ndarray of shape (..., group)
    n, expected : ndarray of shape (group,)
        People, and the expected share of responders.

    Returns
    -------
    residual : ndarray of shape (..., group)
        Latent scale.
    variance : ndarray of shape (group,)
    """
    # A share that no replicate ever left has no place on the latent scale.
    share = np.clip(expected, 0.5 / (n + 1.0), 1.0 - 0.5 / (n + 1.0))
    density = np.exp(-(ndtri(share) ** 2) / 2.0) / np.sqrt(2.0 * np.pi)
    variance = share * (1.0 - share) / (n * density**2)
    return np.sqrt(variance) * (anscombe(responders, n) - anscombe(n * share, n)), variance


def outlying_gate(table: pd.DataFrame, p_value: float) -> Gate | None:
    """Return whether every trial is one that the others foresee; None where none is judged."""
    if table.empty:
        return None
    sides = table[["active_n", "control_n"]].notna().sum(axis=1).to_numpy(float)
    row = table.iloc[int(chdtrc(sides, table["distance"].to_numpy(float) ** 2).argmin())]
    return Gate(
        "outlying trials",
        p_value >= FAMILY_WISE,
        f"Furthest from what the other trials foresee is {trial_words(str(row['trial']))}, mainly "
        f"in {_where(row)}; {as_often(p_value)}.",
    )


def _by_side(
    counts: np.ndarray, n: np.ndarray, code: np.ndarray, active: np.ndarray, trials: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return responders, people and expected share by trial and side; NaN where not judged."""
    responders = np.zeros((len(counts), trials, 2))
    people = np.zeros((trials, 2))
    for place, (t, is_active) in enumerate(zip(code, active, strict=True)):
        side = 0 if is_active else 1
        responders[:, t, side] += counts[:, place]
        people[t, side] += n[place]
    people[people == 0] = np.nan
    people[:, (~np.isnan(people)).sum(axis=0) < FEWEST_TRIALS] = np.nan
    return responders, people, responders[1:].mean(axis=0) / people


def _table(
    trials: list[str],
    responders: np.ndarray,
    n: np.ndarray,
    expected: np.ndarray,
    deleted: DeletedResiduals,
    tail: np.ndarray,
) -> pd.DataFrame:
    columns: dict[str, object] = {"trial": trials}
    has = ~np.isnan(n)
    for s, side in enumerate(SIDES):
        columns[f"{side}_responders"] = np.where(has[:, s], responders[:, s], np.nan)
        columns[f"{side}_n"] = n[:, s]
        columns[f"{side}_expected"] = n[:, s] * expected[:, s]
        columns[f"{side}_residual"] = np.where(has[:, s], deleted.side[0, :, s], np.nan)
    columns["contrast_residual"] = np.where(has.all(axis=1), deleted.contrast[0], np.nan)
    columns["distance"] = np.sqrt(deleted.distance[0])
    columns["p_value"] = (tail <= tail[0] * (1.0 + 1e-9)).mean(axis=0)
    return pd.DataFrame(columns)


def _where(row: pd.Series) -> str:
    """Return in words which residual of a trial is the largest."""
    words = {
        f"{side}_residual": (
            f"its {side} arms ({row[f'{side}_responders']:.0f} of {row[f'{side}_n']:.0f} "
            f"responded, {row[f'{side}_expected']:.1f} expected of a new trial, deleted residual "
            f"{row[f'{side}_residual']:.1f})"
        )
        for side in SIDES
    } | {
        "contrast_residual": (
            "the contrast of its arms (active minus control, deleted residual "
            f"{row['contrast_residual']:.1f})"
        )
    }
    return words[str(row[list(words)].astype(float).abs().idxmax())]
