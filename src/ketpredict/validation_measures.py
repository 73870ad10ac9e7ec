r"""How well predicted probabilities do in patients, and in arms, that were not used to make them.

What is measured is the *posterior mean prediction*, the number that a user is given: its estimate
comes with the sampling error of the trial's patients (``standard_error``, ``lower``, ``upper``).
Beside it stands the measure of each posterior draw of the probabilities, as an interval
(``posterior_lower``, ``posterior_upper``): how far uncertainty about parameters moves it. A draw
discriminates a little less than the mean of all draws, so that the second interval need not hold
the estimate in its middle.

* c-statistic: the probability that a responder has the higher prediction, ties counted half, within
  one trial. Standard error of DeLong, DeLong and Clarke-Pearson (1988, Biometrics 44:837); interval
  on the log odds.
* Calibration in the large: :math:`a` of :math:`\operatorname{logit} P(y) = a +
  \operatorname{logit}\hat p`, the slope fixed at 1; 0 is ideal, positive: more responded.
* Calibration slope: :math:`b` of :math:`\operatorname{logit} P(y) = a +
  b\operatorname{logit}\hat p`, with the intercept estimated jointly; 1 is ideal, below 1 the
  predictions are too far apart.
* Brier score :math:`S = \overline{(\hat p - y)^2}` and its decomposition :math:`S = M - D + U` by
  isotonic regression (Dimitriadis, Gneiting and Jordan 2021, PNAS 118:e2016191118): with the
  isotonic fit :math:`\tilde p`, :math:`M = S - \overline{(\tilde p - y)^2}` is miscalibration,
  :math:`U = \bar y(1 - \bar y)` the uncertainty of the outcome and :math:`D = U -
  \overline{(\tilde p - y)^2}` discrimination. No bins are chosen. In a small trial the isotonic fit
  follows noise, so that :math:`M` and :math:`D` are both too large there.
* Log score: mean logarithm of the probability of what happened; 0 at best, higher is better.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import expit, logit, ndtri, xlog1py, xlogy
from scipy.stats import rankdata

FEWEST = 5
"""Responders, and others, that a trial must have for a c-statistic or a calibration slope."""
LOG_ODDS = ("c_statistic",)
"""Measures whose error is normal on the log odds."""
_STEPS = 40
_STEEPEST = 30.0
_EDGE = 1e-9
_MOST_VALUES = 4_000_000


@dataclasses.dataclass(frozen=True)
class Measure:
    """One measure of one trial; NaN with a reason where it cannot be had.

    Parameters
    ----------
    name : str
    estimate, standard_error : float
        Of the posterior mean prediction; the error on the scale of the estimate.
    lower, upper : float
        Interval for the sampling of patients.
    posterior_lower, posterior_upper : float
        Interval of the measure over posterior draws.
    reason : str
        Why it is missing, else empty.
    """

    name: str
    estimate: float
    standard_error: float
    lower: float
    upper: float
    posterior_lower: float
    posterior_upper: float
    reason: str = ""


def patient_measures(
    response: np.ndarray, probability: np.ndarray, draws: np.ndarray, prob: float
) -> list[Measure]:
    """Return every measure of the patients of one trial.

    Parameters
    ----------
    response : ndarray of shape (patient,)
        0 or 1.
    probability : ndarray of shape (patient,)
        Posterior mean prediction.
    draws : ndarray of shape (draw, patient)
        Posterior draws of the prediction.
    prob : float
        Probability content of the intervals.
    """
    response = np.asarray(response, dtype=float)
    both = np.concatenate([probability[None], draws])
    events, others = int(response.sum()), int((1.0 - response).sum())
    few = ""
    if min(events, others) < FEWEST:
        few = f"{events} responders and {others} others; at least {FEWEST} of each are needed"
    one = np.ones_like(response)
    found = [
        _measure("c_statistic", concordance(response, both), _delong(response, probability), prob)
        if not few
        else missing("c_statistic", few),
        large_measure(response, one, probability, draws, prob),
    ]
    if few:
        found.append(missing("calibration_slope", few))
    else:
        slope, error = calibration_slope(response, both)
        found.append(_measure("calibration_slope", slope, float(error[0]), prob))
    scores = (both - response) ** 2
    root = np.sqrt(len(response))
    found.append(_measure("brier", scores.mean(axis=1), float(scores[0].std(ddof=1) / root), prob))
    parts = np.array([brier_parts(response, row) for row in both])
    for name, values in zip(("miscalibration", "discrimination"), parts.T, strict=False):
        found.append(_measure(f"brier_{name}", values, float("nan"), prob))
    constant = parts[0, 2]
    nan = float("nan")
    found.append(Measure("brier_uncertainty", constant, nan, nan, nan, constant, constant))
    log = xlogy(response, both) + xlog1py(1.0 - response, -both)
    found.append(_measure("log_score", log.mean(axis=1), float(log[0].std(ddof=1) / root), prob))
    return found


def large_measure(
    responders: np.ndarray, n: np.ndarray, probability: np.ndarray, draws: np.ndarray, prob: float
) -> Measure:
    """Return calibration in the large of patients or arms, the slope fixed at 1.

    Parameters
    ----------
    responders, n : ndarray of shape (unit,)
    probability, draws : ndarray of shape (unit,), (draw, unit)
    """
    name, total = "calibration_in_the_large", float(responders.sum())
    if not 0 < total < n.sum():
        word = "Nobody" if total == 0 else "Everybody"
        return missing(name, f"{word} responded: the intercept is infinite")
    both = np.concatenate([probability[None], draws])
    intercept, error = calibration_in_the_large(responders, n, both)
    return _measure(name, intercept, float(error[0]), prob)


def missing(name: str, reason: str) -> Measure:
    """Return a measure that cannot be had, with the reason."""
    nan = float("nan")
    return Measure(name, nan, nan, nan, nan, nan, nan, reason)


def concordance(response: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Return the c-statistic of each row of probabilities, (row, patient)."""
    events = response == 1.0
    count, others = int(events.sum()), int((~events).sum())
    result = np.empty(len(probability))
    for part in _parts(len(probability), len(response)):
        ranks = rankdata(probability[part], axis=1)[:, events].sum(axis=1)
        result[part] = (ranks - count * (count + 1) / 2.0) / (count * others)
    return result


def _delong(response: np.ndarray, probability: np.ndarray) -> float:
    """Return the standard error of the c-statistic from placements of each patient."""
    high, low = probability[response == 1.0], probability[response == 0.0]
    above = np.searchsorted(np.sort(low), high, "left") / len(low)
    above += np.searchsorted(np.sort(low), high, "right") / len(low)
    below = np.searchsorted(np.sort(high), low, "left") / len(high)
    below += np.searchsorted(np.sort(high), low, "right") / len(high)
    variance = (above / 2.0).var(ddof=1) / len(high) + (below / 2.0).var(ddof=1) / len(low)
    return float(np.sqrt(variance))


def calibration_in_the_large(
    responders: np.ndarray, n: np.ndarray, probability: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return intercept and standard error for each row of probabilities, the slope fixed at 1.

    Parameters
    ----------
    responders, n : ndarray of shape (unit,)
    probability : ndarray of shape (row, unit)
    """
    offset, total = _log_odds(probability), responders.sum()
    intercept = np.zeros(len(probability))
    for _ in range(_STEPS):
        fitted = expit(intercept[:, None] + offset)
        information = (n * fitted * (1.0 - fitted)).sum(axis=1)
        step = (total - (n * fitted).sum(axis=1)) / information
        intercept = intercept + np.clip(step, -2.0, 2.0)
    return intercept, 1.0 / np.sqrt(information)


def calibration_slope(
    response: np.ndarray, probability: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return slope and standard error for each row of probabilities, the intercept joint.

    NaN where the predictions do not vary, or separate responders from others.
    """
    value = _log_odds(probability)
    centre = value.mean(axis=1, keepdims=True)
    unit = value.std(axis=1, keepdims=True)
    flat = unit[:, 0] < _EDGE
    value = (value - centre) / np.where(flat[:, None], 1.0, unit)
    intercept, slope = np.zeros(len(value)), np.zeros(len(value))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for _ in range(_STEPS):
            fitted = expit(intercept[:, None] + slope[:, None] * value)
            weight, residual = fitted * (1.0 - fitted), response - fitted
            whole, cross = weight.sum(axis=1), (weight * value).sum(axis=1)
            square = (weight * value**2).sum(axis=1)
            determinant = whole * square - cross**2
            first, second = residual.sum(axis=1), (residual * value).sum(axis=1)
            moves = np.stack(
                [square * first - cross * second, whole * second - cross * first]
            ) / np.where(determinant > 0, determinant, np.nan)
            intercept = intercept + np.clip(moves[0], -2.0, 2.0)
            slope = slope + np.clip(moves[1], -2.0, 2.0)
        lost = flat | ~(np.abs(slope) < _STEEPEST) | ~(np.abs(moves).max(axis=0) < 1e-6)
        error = np.sqrt(whole / determinant) / unit[:, 0]
        return np.where(lost, np.nan, slope / unit[:, 0]), np.where(lost, np.nan, error)


def brier_parts(response: np.ndarray, probability: np.ndarray) -> tuple[float, float, float]:
    """Return miscalibration, discrimination and uncertainty of the Brier score."""
    fitted = isotonic_calibration(response, probability)
    recalibrated = float(((fitted - response) ** 2).mean())
    score = float(((probability - response) ** 2).mean())
    rate = float(response.mean())
    uncertainty = rate * (1.0 - rate)
    return score - recalibrated, uncertainty - recalibrated, uncertainty


def isotonic_calibration(response: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Return the isotonic fit of the responses on the predictions; equal predictions share it."""
    _, place, size = np.unique(probability, return_inverse=True, return_counts=True)
    rate = np.bincount(place, response) / size
    return np.asarray(isotonic_regression(rate, weights=size).x[place])


def _log_odds(probability: np.ndarray) -> np.ndarray:
    return np.asarray(logit(np.clip(probability, _EDGE, 1.0 - _EDGE)))


def _parts(rows: int, width: int) -> Iterator[slice]:
    size = max(1, _MOST_VALUES // max(width, 1))
    for start in range(0, rows, size):
        yield slice(start, start + size)


def _measure(name: str, values: np.ndarray, error: float, prob: float) -> Measure:
    """Return a measure from its estimate, which stands first, and its draws."""
    estimate, draws = float(values[0]), values[1:][np.isfinite(values[1:])]
    if not np.isfinite(estimate):
        return missing(name, "The predictions do not vary, or separate responders from others")
    tail = (1.0 - prob) / 2.0
    posterior = np.quantile(draws, [tail, 1.0 - tail]) if len(draws) else [np.nan, np.nan]
    reach = -float(ndtri(tail)) * error
    lower, upper = estimate - reach, estimate + reach
    if name in LOG_ODDS:
        if not 0.0 < estimate < 1.0 or not error > 0.0:
            return missing(name, "The predictions separate responders from others")
        reach /= estimate * (1.0 - estimate)
        lower, upper = (float(expit(logit(estimate) + by)) for by in (-reach, reach))
    return Measure(name, estimate, error, lower, upper, float(posterior[0]), float(posterior[1]))
