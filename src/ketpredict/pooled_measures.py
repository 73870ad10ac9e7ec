r"""Random-effects meta-analysis of one measure over trials, with an interval for the next trial.

Estimates :math:`y_t \sim N(\theta_t, s_t^2)`, :math:`\theta_t \sim N(\mu, \tau^2)`. :math:`\tau^2`
maximises the restricted likelihood (Raudenbush 2009; Viechtbauer 2005, J Educ Behav Stat 30:261),

.. math:: -\tfrac12 \textstyle\sum_t \log(\tau^2 + s_t^2) - \tfrac12 \log \sum_t w_t
          - \tfrac12 \sum_t w_t (y_t - \hat\mu)^2, \qquad w_t = 1/(\tau^2 + s_t^2) .

The interval of :math:`\mu` is that of Hartung and Knapp (2001, Stat Med 20:3875), :math:`\hat\mu
\pm t_{k-1}\sqrt{q / \sum w_t}` with :math:`q = \sum w_t(y_t - \hat\mu)^2 / (k - 1)`, where
:math:`q` below 1 counts as 1 (Rover, Knapp and Friede 2015, BMC Med Res Methodol 15:99), so that
agreement by chance makes no interval narrower than that of a common effect. The interval for the
next trial is :math:`\hat\mu \pm t_{k-2}\sqrt{\tau^2 + q/\sum w_t}` (Higgins, Thompson and
Spiegelhalter 2009, J R Stat Soc A 172:137; Riley, Higgins and Deeks 2011, BMJ 342:d549). The
c-statistic is pooled on the log odds (Snell, Ensor, Debray, Moons and Riley 2018, Stat Methods Med
Res 27:3505).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.special import stdtrit

FEWEST_TRIALS = 3
"""Fewer give no interval for the next one."""
_GRID, _REFINEMENTS = 201, 4


@dataclasses.dataclass(frozen=True)
class Pooled:
    """A measure pooled over trials.

    Parameters
    ----------
    estimate, lower, upper : float
        Average over trials, with its interval.
    prediction_lower, prediction_upper : float
        Interval for the next trial.
    tau : float
        Standard deviation between trials.
    trials : int
    """

    estimate: float
    lower: float
    upper: float
    prediction_lower: float
    prediction_upper: float
    tau: float
    trials: int


def pool(estimate: np.ndarray, standard_error: np.ndarray, prob: float) -> Pooled:
    """Return the random-effects average of estimates.

    Parameters
    ----------
    estimate, standard_error : ndarray of shape (trial,)
        On a scale where they are about normal. Trials without either are left out.
    prob : float
        Probability content of both intervals.

    Returns
    -------
    Pooled
        All NaN with fewer than three trials.
    """
    usable = np.isfinite(estimate) & np.isfinite(standard_error) & (standard_error > 0)
    y, variance = estimate[usable], standard_error[usable] ** 2
    count = len(y)
    if count < FEWEST_TRIALS:
        nan = float("nan")
        return Pooled(nan, nan, nan, nan, nan, nan, count)
    tau2 = _restricted_maximum(y, variance)
    weight = 1.0 / (tau2 + variance)
    mean = float(weight @ y / weight.sum())
    excess = max(1.0, float(weight @ (y - mean) ** 2) / (count - 1))
    error2 = excess / float(weight.sum())
    place = (1.0 + prob) / 2.0
    reach = float(stdtrit(count - 1, place)) * np.sqrt(error2)
    further = float(stdtrit(count - 2, place)) * np.sqrt(tau2 + error2)
    return Pooled(
        estimate=mean,
        lower=mean - reach,
        upper=mean + reach,
        prediction_lower=mean - further,
        prediction_upper=mean + further,
        tau=float(np.sqrt(tau2)),
        trials=count,
    )


def _restricted_maximum(y: np.ndarray, variance: np.ndarray) -> float:
    """Return the variance between trials that maximises the restricted likelihood."""

    def loss(tau2: np.ndarray) -> np.ndarray:
        weight = 1.0 / (tau2[:, None] + variance)
        whole = weight.sum(axis=1)
        squares = (weight * (y - (weight @ y / whole)[:, None]) ** 2).sum(axis=1)
        return np.asarray(0.5 * (np.log(whole) - np.log(weight).sum(axis=1) + squares))

    # Beyond twice the largest squared distance the likelihood only falls. It may have two maxima:
    # a grid finds the higher, and ever finer ones its place.
    grid = (2.0 * float(np.ptp(y)) ** 2 + 1e-12) * np.linspace(0.0, 1.0, _GRID) ** 2
    for _ in range(_REFINEMENTS):
        best = int(np.argmin(loss(grid)))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, _GRID - 1)]
        grid = np.linspace(low, high, _GRID)
    return float(grid[np.argmin(loss(grid))])
