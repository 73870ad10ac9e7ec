r"""How far observed counts lie from replicated ones: p-values of rows, families and statistics.

Over many rows the worst p-value is small by chance. The *family-wise* p-value asks how often a
replicated data set has a row as surprising as the worst row observed (Westfall and Young 1993,
Resampling-based multiple testing): all rows of a replicate share its draw, so that their dependence
is accounted for. Rows are compared on Anscombe's (1948, Biometrika 35:246) scale,
:math:`2\sqrt{n}\,\arcsin\sqrt{(r + 3/8)/(n + 3/4)}`, standardised by its replicates. With the
observed data counted among the replicates the test is exact where the two are exchangeable, and
conservative where the model was fitted to the counts that it replicates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from ketpredict.errors import DataError
from ketpredict.replicates import Replicates

Statistic = Callable[[np.ndarray, np.ndarray, pd.DataFrame], float]


def mid_p_value(replicated: np.ndarray, observed: float) -> float:
    """Return the two-sided mid-p of an observed count among replicated ones.

    Twice the smaller tail, draws equal to the observed count counted half in either tail, and 1
    at most; NaN where one of them is no number. An observed count in the middle of its replicates
    gives 1.

    Examples
    --------
    >>> import numpy as np
    >>> mid_p_value(np.array([0, 1, 2, 3]), 3)
    0.25
    """
    replicated = np.asarray(replicated)
    if np.isnan(observed) or np.isnan(replicated).any():
        return float("nan")
    equal = 0.5 * float((replicated == observed).mean())
    below = float((replicated < observed).mean()) + equal
    above = float((replicated > observed).mean()) + equal
    return min(1.0, 2.0 * min(below, above))


def family_p_value(found: Replicates) -> tuple[float, int]:
    """Return the family-wise p-value of all rows, and the position of the worst.

    Returns
    -------
    p_value : float
        At least 1 / (draws + 1).
    worst : int
    """
    counts = np.vstack([found.observed, found.replicated]).astype(float)
    return family_of_scores(anscombe(counts, found.n))


def family_of_scores(scores: np.ndarray) -> tuple[float, int]:
    """Return the family-wise p-value of scores, the first row observed, the others replicated.

    Parameters
    ----------
    scores : ndarray of shape (1 + draw, row)
        Each column is standardised; one that never varies counts for nothing.

    Returns
    -------
    p_value : float
        NaN where a score is not a finite number: nothing is known then, and no gate passes.
    worst : int
    """
    if (broken := ~np.isfinite(scores).all(axis=0)).any():
        return float("nan"), int(broken.argmax())
    spread = scores.std(axis=0)
    distance = np.abs(scores - scores.mean(axis=0))
    distance = np.divide(distance, spread, out=np.zeros_like(distance), where=spread > 1e-12)
    largest = distance.max(axis=1)
    p_value = float((largest >= largest[0] * (1.0 - 1e-12)).mean())
    return p_value, int(distance[0].argmax())


def anscombe(responders: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return counts on the scale where a binomial has a variance near 1 whatever its rate."""
    return np.asarray(2.0 * np.sqrt(n) * np.arcsin(np.sqrt((responders + 0.375) / (n + 0.75))))


def pooled_rate(responders: np.ndarray, n: np.ndarray, labels: pd.DataFrame) -> float:
    """Return the share of all people who responded."""
    return float(responders.sum() / n.sum())


def between_trial_sd(responders: np.ndarray, n: np.ndarray, labels: pd.DataFrame) -> float:
    """Return the standard deviation over trials of the rate in active arms; NaN for one trial."""
    active = labels["active"].to_numpy(bool)
    code, trials = pd.factorize(labels["trial"].to_numpy()[active])
    if len(trials) < 2:
        return float("nan")
    rate = np.bincount(code, responders[active]) / np.bincount(code, n[active])
    return float(rate.std(ddof=1))


def active_minus_control(responders: np.ndarray, n: np.ndarray, labels: pd.DataFrame) -> float:
    """Return the rate in active arms minus that in control arms; NaN where there is none of one."""
    active = labels["active"].to_numpy(bool)
    if active.all() or not active.any():
        return float("nan")
    rate = [responders[side].sum() / n[side].sum() for side in (active, ~active)]
    return float(rate[0] - rate[1])


def largest_residual(responders: np.ndarray, n: np.ndarray, labels: pd.DataFrame) -> float:
    """Return the largest distance of a row from the pooled rate of its arm, in binomial SDs."""
    code, _ = pd.factorize(labels["arm"].to_numpy())
    rate = (np.bincount(code, responders) / np.bincount(code, n))[code]
    spread = np.sqrt(n * rate * (1.0 - rate))
    apart = np.abs(responders - n * rate)
    return float(np.divide(apart, spread, out=np.zeros(len(n)), where=spread > 0).max())


def largest_contrast(responders: np.ndarray, n: np.ndarray, labels: pd.DataFrame) -> float:
    """Return the largest distance of a trial's active minus control from the median trial's.

    On the arcsine scale, in binomial SDs. What a trial's arms have in common cancels, so that one
    arm with a wrong count stands out. NaN below three trials with both kinds of arms.
    """
    active = labels["active"].to_numpy(bool)
    code, trials = pd.factorize(labels["trial"].to_numpy())
    people, rate = np.zeros((2, len(trials))), np.zeros((2, len(trials)))
    for side, chosen in enumerate((active, ~active)):
        people[side] = np.bincount(code[chosen], n[chosen], len(trials))
        rate[side] = np.bincount(code[chosen], responders[chosen], len(trials))
    both = (people > 0).all(axis=0)
    if both.sum() < 3:
        return float("nan")
    people, rate = people[:, both], rate[:, both]
    angle = anscombe(rate, people) / np.sqrt(people)
    contrast = angle[0] - angle[1]
    spread = np.sqrt((1.0 / people).sum(axis=0))
    return float((np.abs(contrast - np.median(contrast)) / spread).max())


STATISTICS: Mapping[str, Statistic] = {
    "pooled rate": pooled_rate,
    "SD of rates between trials": between_trial_sd,
    "active minus control": active_minus_control,
    "largest residual": largest_residual,
    "largest contrast in a trial": largest_contrast,
}
"""Test statistics of :func:`statistics_table`, by name in words."""


def statistic_draws(
    found: Replicates, statistics: Mapping[str, Statistic] = STATISTICS
) -> pd.DataFrame:
    """Return every statistic of the data (first row) and of each replicate (the others).

    Raises
    ------
    DataError
        A statistic needs a label that the replicates were not added up by, or is not a number.
    """
    columns = {}
    for name, statistic in statistics.items():
        try:
            values = [
                float(statistic(counts, found.n, found.labels))
                for counts in (found.observed, *found.replicated)
            ]
        except KeyError as error:
            raise DataError(
                f"The statistic '{name}' needs the label {error}; the replicates have "
                f"{', '.join(map(str, found.labels.columns))}."
            ) from None
        except (TypeError, ValueError) as error:
            raise DataError(f"The statistic '{name}' does not give a number: {error}.") from None
        columns[name] = np.array(values)
    return pd.DataFrame(columns)


def statistics_table(draws: pd.DataFrame, prob: float = 0.9) -> pd.DataFrame:
    """Return each statistic observed, replicated, and its posterior predictive p-value.

    Parameters
    ----------
    draws : DataFrame
        From :func:`statistic_draws`.
    prob : float
        Probability content of the replicated interval.

    Returns
    -------
    DataFrame
        ``statistic``, ``observed``, ``lower``, ``median``, ``upper`` and ``p_value`` (two-sided,
        mid-p); NaN where the data do not have the statistic.
    """
    tails = [(1.0 - prob) / 2.0, 0.5, (1.0 + prob) / 2.0]
    rows = []
    for name in draws:
        values = draws[name].to_numpy(float)
        observed, replicated = values[0], values[1:][np.isfinite(values[1:])]
        there = bool(np.isfinite(observed)) and len(replicated) > 0
        lower, median, upper = np.quantile(replicated, tails) if there else [np.nan] * 3
        p_value = mid_p_value(replicated, observed) if there else np.nan
        rows.append((name, observed, lower, median, upper, p_value))
    names = ["statistic", "observed", "lower", "median", "upper", "p_value"]
    return pd.DataFrame(rows, columns=names)


def family_of_statistics(draws: pd.DataFrame, *, upper_only: bool = False) -> tuple[float, str]:
    """Return the family-wise p-value of all statistics, and the name of the worst.

    Each value is ranked among all, observed and replicated; the smaller of its two tails, ties
    halved, is its surprise, whatever the shape of the statistic's distribution. With `upper_only`
    large values alone are a surprise. A statistic that is NaN throughout is one that the data do
    not have; where only some values are not finite, the p-value is NaN.
    """
    values = draws.loc[:, draws.notna().any(axis=0)]
    if values.empty:
        return 1.0, ""
    if (broken := ~np.isfinite(values.to_numpy(float)).all(axis=0)).any():
        return float("nan"), str(values.columns[int(broken.argmax())])
    rank = (values.rank().to_numpy(float) - 0.5) / len(values)
    tail = 1.0 - rank if upper_only else np.minimum(rank, 1.0 - rank)
    smallest = tail.min(axis=1)
    p_value = float((smallest <= smallest[0] * (1.0 + 1e-12)).mean())
    return p_value, str(values.columns[int(tail[0].argmin())])
