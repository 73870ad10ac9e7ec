r"""How far each trial lies from what the others foresee: externally studentised residuals.

Trial :math:`t` has a residual :math:`e_{ts}` (observed minus expected, latent scale) on each side
:math:`s`, active and control, with a sampling variance :math:`v_{ts}`. The model gives trials a
level and a treatment deviation that count half on either side with opposite signs, so that

.. math:: e_t \sim N\bigl(m,\ \operatorname{diag}(v_t) + \Sigma\bigr), \qquad
          \Sigma = \begin{pmatrix} a & b \\ b & a \end{pmatrix}, \quad
          a = \tau^2 + \delta^2 / 4, \quad b = \tau^2 - \delta^2 / 4 .

The *deleted* residual of a trial takes :math:`m` and :math:`\Sigma` from the other trials alone
(Viechtbauer and Cheung 2010, Res Synth Methods 1:112), so that an outlying trial cannot widen the
spread that it is judged by. Of the others, with sample variances :math:`S_s` of the residuals of
each side and their covariance :math:`S_{ac}`, the method of moments without weights (Hedges and
Olkin 1985, Statistical Methods for Meta-Analysis, chapter 9) gives

.. math:: \hat a = \frac{\sum_s (k_s - 1)(S_s - \bar v_s)}{\sum_s (k_s - 1)}, \qquad
          \hat b = S_{ac}, \qquad
          \hat\tau^2 = \Bigl[\frac{\hat a + \hat b}{2}\Bigr]_+, \quad
          \hat\delta^2 = 2 [\hat a - \hat b]_+ ,

since sampling errors of the two sides are independent. With :math:`\Omega_j = \operatorname{diag}
(v_j) + \hat\Sigma`, :math:`H = \sum_{j \ne t} \Omega_j^{-1}` and :math:`\hat m = H^{-1}
\sum_{j \ne t} \Omega_j^{-1} e_j`, the squared distance is

.. math:: D_t^2 = (e_t - \hat m)'\, (\Omega_t + H^{-1})^{-1}\, (e_t - \hat m),

near :math:`\chi^2_2` with many trials and of heavier tails with few. It has nearly the same law
whatever :math:`\tau` and :math:`\delta` are: a statistic to judge replicates by whose scales the
outlier itself has inflated.
"""

from __future__ import annotations

import dataclasses

import numpy as np

_NOTHING_KNOWN = 1e12
"""Variance of a side that a trial lacks."""


@dataclasses.dataclass(frozen=True)
class DeletedResiduals:
    """Deleted residuals of every trial in every data set.

    Parameters
    ----------
    distance : ndarray of shape (data set, trial)
        Squared Mahalanobis distance from what the other trials foresee.
    side : ndarray of shape (data set, trial, 2)
        Each side's residual over its standard deviation; 0 where a trial lacks the side.
    contrast : ndarray of shape (data set, trial)
        That of active minus control; 0 where a trial lacks a side.
    """

    distance: np.ndarray
    side: np.ndarray
    contrast: np.ndarray


def deleted_residuals(residual: np.ndarray, variance: np.ndarray) -> DeletedResiduals:
    """Return how far each trial lies from what all other trials foresee.

    Parameters
    ----------
    residual : ndarray of shape (data set, trial, 2)
        Observed minus expected, active and control; anything where a trial lacks the side.
    variance : ndarray of shape (trial, 2)
        Sampling variances, the same in every data set; NaN where a trial lacks the side.

    Returns
    -------
    DeletedResiduals

    Raises
    ------
    ValueError
        A side that some trial has is one that fewer than four have: the others say nothing of its
        spread.
    """
    has = ~np.isnan(variance)
    if ((has.sum(axis=0) > 0) & (has.sum(axis=0) < 4)).any():
        raise ValueError("a side is asked for that fewer than four trials have")
    residual = np.where(has, residual, 0.0)
    variance = np.where(has, variance, _NOTHING_KNOWN)
    distance = np.zeros(residual.shape[:2])
    side, contrast = np.zeros(residual.shape), np.zeros(residual.shape[:2])
    for t in range(len(variance)):
        others = np.arange(len(variance)) != t
        a, b = _between(residual[:, others], variance[others], has[others])
        mean, spread = _common(residual[:, others], variance[others], a, b)
        apart = residual[:, t] - mean
        own = np.stack([variance[t, 0] + a, variance[t, 1] + a, b]) + spread
        determinant = own[0] * own[1] - own[2] ** 2
        distance[:, t] = (
            own[1] * apart[:, 0] ** 2
            - 2.0 * own[2] * apart[:, 0] * apart[:, 1]
            + own[0] * apart[:, 1] ** 2
        ) / determinant
        side[:, t] = np.where(has[t], apart / np.sqrt(own[:2].T), 0.0)
        if has[t].all():
            contrast[:, t] = (apart[:, 0] - apart[:, 1]) / np.sqrt(own[0] + own[1] - 2.0 * own[2])
    return DeletedResiduals(distance, side, contrast)


def _between(
    residual: np.ndarray, variance: np.ndarray, has: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return variance and covariance of the sides between trials, (data set,) each."""
    total, freedom = np.zeros(len(residual)), 0
    for s in range(2):
        here = has[:, s]
        if here.sum() > 1:
            excess = residual[:, here, s].var(axis=1, ddof=1) - variance[here, s].mean()
            total += (here.sum() - 1) * excess
            freedom += int(here.sum()) - 1
    a, b = total / freedom, np.zeros(len(residual))
    both = has.all(axis=1)
    if both.sum() > 1:
        centred = residual[:, both] - residual[:, both].mean(axis=1, keepdims=True)
        b = centred.prod(axis=2).sum(axis=1) / (both.sum() - 1)
    level, deviation = np.maximum(a + b, 0.0) / 2.0, np.maximum(a - b, 0.0) / 2.0
    return level + deviation, level - deviation


def _common(
    residual: np.ndarray, variance: np.ndarray, a: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of trials, (data set, 2), and its variances and covariance, (3, data set)."""
    first, second = variance[:, 0] + a[:, None], variance[:, 1] + a[:, None]
    determinant = first * second - b[:, None] ** 2
    precision = second / determinant, first / determinant, -b[:, None] / determinant
    h = [part.sum(axis=1) for part in precision]
    score = [
        (precision[0] * residual[..., 0] + precision[2] * residual[..., 1]).sum(axis=1),
        (precision[2] * residual[..., 0] + precision[1] * residual[..., 1]).sum(axis=1),
    ]
    whole = h[0] * h[1] - h[2] ** 2
    mean = np.stack([h[1] * score[0] - h[2] * score[1], h[0] * score[1] - h[2] * score[0]], axis=1)
    return mean / whole[:, None], np.stack([h[1], h[0], -h[2]]) / whole
