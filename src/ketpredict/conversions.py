r"""From a published statistic to a term of the likelihood: every conversion, with its source.

Let :math:`z = \eta + \varepsilon` be the latent improvement, :math:`x_k` the predictor, :math:`A`
the set that a statistic is adjusted for (``{k}`` if marginal), :math:`c = \Sigma_{AA}^{-1}
\Sigma_{A\cdot} b` the slopes of :math:`z` on :math:`A` alone, :math:`s^2` what :math:`A` leaves of
the variance of :math:`z`, and :math:`l = c_k/s`. What a statistic is compared with:

=========================  =====================================================================
correlation (Fisher's z)   :math:`\operatorname{atanh}(a\,\rho)` with :math:`\rho` the partial
                           correlation of :math:`x_k` and :math:`z` given the rest of :math:`A`
standardised coefficient   :math:`\sigma_k c_k / \operatorname{sd}(z)`
log odds ratio             :math:`l\,\varphi(h)/(pq)` times the step (probit link)
log risk ratio             :math:`\log\Phi(h + l/2) - \log\Phi(h - l/2)` for one step
two groups with counts     two binomials that share a level
=========================  =====================================================================

with :math:`p = 1 - q = \Phi(h)` the rate of response. A correlation with response instead of
graded improvement is smaller by :math:`a = \varphi(h)/\sqrt{pq}` (point-biserial against biserial:
Pearson 1909, Biometrika 7:96); a predictor that was split at the quantile of a share :math:`f` by
:math:`\varphi(\Phi^{-1}(f))/\sqrt{f(1-f)}` once more. A t statistic with :math:`\nu` degrees of
freedom is the partial correlation :math:`t/\sqrt{t^2 + \nu}` (never a standardised coefficient);
F with one degree of freedom is :math:`t^2`; an exact two-sided p-value gives :math:`|t|`. Fisher's
z has variance :math:`1/(n - 3 - (|A| - 1))` (Fisher 1924, Metron 3:329), of a rank correlation 1.06
times as much (Fieller et al. 1957, Biometrika 44:470), and a rank correlation :math:`r_s` stands
for :math:`2\sin(\pi r_s/6)`. "p > 0.05" says that :math:`|z|` stayed below its critical value,
"significant, positive" that it passed it. An exact p-value without sign is an even mixture of both
signs. The tests hold each to simulated patients.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from scipy.special import ndtri, stdtrit

from ketpredict.predictors import Predictor

CORRELATION, COEFFICIENT, LOG_ODDS_RATIO, LOG_RISK_RATIO, COUNTS = range(5)
KIND_NAMES = (
    "correlation (Fisher's z)",
    "standardised coefficient",
    "log odds ratio",
    "log risk ratio",
    "responders in two groups",
)
STATISTICS = (
    "pearson_r",
    "spearman_r",
    "standardised_beta",
    "slope",
    "mean_difference",
    "t",
    "f",
    "odds_ratio",
    "risk_ratio",
    "counts",
    "p_only",
    "direction_only",
)
SIGN_CONVENTIONS = (
    "positive_is_better",
    "negative_is_better",
    "above_one_is_better",
    "below_one_is_better",
    "unsigned",
    "unclear",
)
DEFAULT_RATE = 0.5
_LEVEL = 0.05
_CRITICAL = float(ndtri(1.0 - _LEVEL / 2.0))
_RANK_VARIANCE = 1.06
_LOGISTIC_SD = math.pi / math.sqrt(3.0)


@dataclasses.dataclass(frozen=True)
class Term:
    """One published statistic, oriented so that positive means more improvement.

    Parameters
    ----------
    kind : int
        ``CORRELATION``, ``COEFFICIENT``, ``LOG_ODDS_RATIO``, ``LOG_RISK_RATIO`` or ``COUNTS``.
    statistic, standard_error : float
        On the scale that `kind` is compared on; the statistic is NaN where only an interval is
        known.
    lower, upper : float
        What is known of the statistic where it was not printed; may be infinite.
    attenuation : float
        Of a correlation, for response instead of improvement and for a predictor split in two.
    gain : float
        What a slope on the probit scale is worth in log odds, times the step.
    quantile, step : float
        Normal quantile of the response rate and the step of a risk ratio, in reference units.
    positive : float
        Weight of the sign as oriented; the rest is for the opposite one.
    counts : tuple of float
        Responders and patients of the group with the higher predictor, then of the lower one.
    split : bool
        Whether the groups of `counts` come from a continuous predictor cut in two.
    method : str
        The conversion in words.
    """

    kind: int
    statistic: float = math.nan
    standard_error: float = 1.0
    lower: float = -math.inf
    upper: float = math.inf
    attenuation: float = 1.0
    gain: float = 1.0
    quantile: float = 0.0
    step: float = 1.0
    positive: float = 1.0
    counts: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    split: bool = False
    method: str = ""

    @property
    def is_interval(self) -> bool:
        """Whether only bounds of the statistic are known."""
        return math.isnan(self.statistic) and self.kind != COUNTS


def attenuation(share: float) -> float:
    """Return how much smaller a correlation is when a normal variable is cut in two.

    Parameters
    ----------
    share : float
        Of the upper part, between 0 and 1.
    """
    quantile = ndtri(share)
    return math.exp(-0.5 * quantile**2) / math.sqrt(2.0 * math.pi * share * (1.0 - share))


def convert(row: Mapping[str, Any], predictor: Predictor, adjusted: int, link: str) -> Term | str:
    """Return the term of a published statistic, or the reason why there is none.

    Parameters
    ----------
    row : mapping
        A row of the table of associations; missing cells are None or NaN.
    predictor : Predictor
        The one that the statistic is about.
    adjusted : int
        Number of predictors adjusted for, itself included.
    link : {"probit", "logit"}
    """
    statistic = row.get("statistic")
    if statistic not in STATISTICS:
        return f"statistic '{statistic}' has no conversion; known: {', '.join(STATISTICS)}"
    if statistic == "counts":
        return _from_counts(row)
    if statistic in ("odds_ratio", "risk_ratio"):
        return _from_ratio(row, predictor, link)
    n = _number(row, "n")
    freedom = n - 1.0 - adjusted
    if math.isnan(n) or freedom < 3.0:
        return "the number of patients is missing or too small for the statistic"
    if statistic == "standardised_beta":
        return _from_coefficient(row, freedom)
    if statistic in ("p_only", "direction_only"):
        return _from_words(row, freedom)
    return _from_correlation(row, statistic, freedom)


def response_rate(row: Mapping[str, Any]) -> float:
    """Return the share of responders among the patients of a statistic."""
    rate = _number(row, "response_rate")
    if not math.isnan(rate):
        return rate
    counts = _text(row, "counts")
    if ";" in counts and "/" not in counts:
        responders, others = (float(part) for part in counts.split(";"))
        return responders / (responders + others)
    return DEFAULT_RATE


def _number(row: Mapping[str, Any], name: str) -> float:
    value = row.get(name)
    return math.nan if value is None or value != value else float(value)


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return "" if value is None or value != value else str(value)


def _positive(row: Mapping[str, Any]) -> float:
    """Return the weight of the reading that a higher predictor is better."""
    return _number(row, "probability_positive")


def _direction(row: Mapping[str, Any]) -> int | None:
    """Return 1, -1 or 0 (a null) as the source says it, or None where it does not."""
    text = _text(row, "direction_for_better_response")
    return int(float(text)) if text in ("1", "-1", "0", "1.0", "-1.0", "0.0") else None


def _oriented(row: Mapping[str, Any], value: float) -> tuple[float, float]:
    """Return a signed statistic as "positive is better", and the weight of that sign."""
    convention = _text(row, "sign_convention") or "positive_is_better"
    doubt = _positive(row)
    if not math.isnan(doubt):
        return abs(value), doubt
    if convention == "unclear":
        return abs(value), 0.5
    if convention == "unsigned":
        direction = _direction(row)
        return (abs(value), 0.5) if not direction else (direction * abs(value), 1.0)
    reverse = convention in ("negative_is_better", "below_one_is_better")
    return (-value if reverse else value), 1.0


def _dichotomised(row: Mapping[str, Any]) -> tuple[float, str]:
    """Return the attenuation of a correlation, and words for it."""
    factor, words = 1.0, ""
    if _text(row, "outcome_kind") == "response":
        rate = response_rate(row)
        factor, words = attenuation(rate), f"; response, {rate:.0%} of patients, not improvement"
    return factor, words


def _fisher_error(freedom: float) -> float:
    """Return the standard error of Fisher's z: ``n - 3`` less one for each further predictor."""
    return 1.0 / math.sqrt(freedom - 1.0)


def _t_of_p(p_value: float, freedom: float) -> float:
    return float(stdtrit(freedom, 1.0 - p_value / 2.0))


def _from_coefficient(row: Mapping[str, Any], freedom: float) -> Term | str:
    estimate, error = _number(row, "estimate"), _number(row, "se")
    low, high, p_value = (_number(row, name) for name in ("ci_low", "ci_high", "p_value"))
    relation = _text(row, "p_relation") or "="
    if math.isnan(estimate):
        return _from_words(row, freedom)
    words = "printed standard error"
    if math.isnan(error) and not math.isnan(low + high):
        error, words = (high - low) / (2.0 * _CRITICAL), "standard error from the interval"
    if math.isnan(error) and 0.0 < p_value < 1.0 and relation in ("=", "<"):
        error, words = abs(estimate) / _t_of_p(p_value, freedom), "standard error from p"
        words += " (an upper bound)" if relation == "<" else ""
    if not error > 0.0:
        return "a standardised coefficient without standard error, interval or p-value"
    if _text(row, "outcome_kind") == "response":
        return "a standardised coefficient of a yes/no outcome depends on how it was standardised"
    value, positive = _oriented(row, estimate)
    return Term(COEFFICIENT, value, error, positive=positive, method=words)


def _from_correlation(row: Mapping[str, Any], statistic: str, freedom: float) -> Term | str:
    found = _correlation(row, statistic, freedom)
    if found is None:
        return _from_words(row, freedom)
    if isinstance(found, str):
        return found
    value, error, words = found
    if abs(value) >= 1.0:
        return "a correlation of 1 or -1 has no standard error"
    factor, more = _dichotomised(row)
    if _text(row, "contrast") == "split":
        sizes = _text(row, "counts").split(";")
        if len(sizes) != 2 or "/" in sizes[0] or _text(row, "outcome_kind") == "response":
            return "groups of a split predictor need their sizes ('counts' as 43;92)"
        share = float(sizes[0]) / (float(sizes[0]) + float(sizes[1]))
        factor, more = factor * attenuation(share), f"; predictor split, {share:.0%} above"
    value, positive = _oriented(row, value)
    return Term(
        CORRELATION, math.atanh(value), error, attenuation=factor, positive=positive,
        method=words + more,
    )  # fmt: skip


def _correlation(
    row: Mapping[str, Any], statistic: str, freedom: float
) -> tuple[float, float, str] | str | None:
    """Return the correlation as printed, the error of its z, and words; None if it has no size."""
    estimate, error = _number(row, "estimate"), _fisher_error(freedom)
    if statistic == "pearson_r":
        return None if math.isnan(estimate) else (estimate, error, "correlation as printed")
    if statistic == "spearman_r":
        if math.isnan(estimate):
            return None
        value = 2.0 * math.sin(math.pi * estimate / 6.0)
        return value, error * math.sqrt(_RANK_VARIANCE), "rank correlation"
    t, words = _t_statistic(row, statistic, freedom)
    if math.isnan(t):
        return words or None
    return t / math.sqrt(t * t + freedom), error, f"partial correlation of t ({words})"


def _t_statistic(row: Mapping[str, Any], statistic: str, freedom: float) -> tuple[float, str]:
    """Return t and where it comes from; NaN with a reason, or with nothing if it has no size."""
    estimate, error = _number(row, "estimate"), _number(row, "se")
    p_value, relation = _number(row, "p_value"), _text(row, "p_relation") or "="
    if statistic == "t" and not math.isnan(estimate):
        return estimate, "as printed"
    if statistic == "f" and _number(row, "df1") != 1.0:
        return math.nan, "F has a sign and a size only with one degree of freedom (df1)"
    if statistic == "f" and estimate >= 0.0:
        return math.sqrt(estimate), "square root of F"
    if not math.isnan(estimate) and error > 0.0:
        return estimate / error, "estimate over standard error"
    spread, sizes = _number(row, "sd"), _text(row, "counts").split(";")
    if not math.isnan(estimate) and spread > 0.0 and len(sizes) == 2:
        first, second = (float(size) for size in sizes)
        return estimate / (spread * math.sqrt(1 / first + 1 / second)), "difference over its SE"
    if not math.isnan(estimate) and 0.0 < p_value < 1.0 and relation == "=":
        return math.copysign(_t_of_p(p_value, freedom), estimate), "from p and the sign"
    return math.nan, ""


def _from_words(row: Mapping[str, Any], freedom: float) -> Term | str:
    """Return the term of a p-value, of "significant" with a direction, or of "not significant"."""
    p_value, relation = _number(row, "p_value"), _text(row, "p_relation") or "="
    direction, error = _direction(row), _fisher_error(freedom)
    factor, more = _dichotomised(row)
    term = Term(CORRELATION, standard_error=error, attenuation=factor)
    if 0.0 < p_value < 1.0 and relation == "=":
        t = _t_of_p(p_value, freedom)
        value = math.atanh(t / math.sqrt(t * t + freedom))
        positive = 0.5 if direction not in (1, -1) else 1.0
        value = -value if direction == -1 else value
        words = "exact p without a sign: both" if positive < 1.0 else "exact p with its direction"
        return dataclasses.replace(term, statistic=value, positive=positive, method=words + more)
    doubt = _positive(row)
    if direction is None and math.isnan(p_value) and math.isnan(doubt):
        return "neither a size, a p-value nor a direction"
    level = p_value if 0.0 < p_value < 1.0 else _LEVEL
    bound = float(ndtri(1.0 - level / 2.0)) * error
    if direction == 0 or relation in (">", ">="):
        words = f"not significant at {level:g}: |z| below its critical value" + more
        return dataclasses.replace(term, lower=-bound, upper=bound, method=words)
    if direction is None and math.isnan(doubt):
        doubt = 0.5
    positive = 1.0 if math.isnan(doubt) else doubt
    words = f"significant at {level:g}: beyond the critical value" + more
    if direction == -1:
        return dataclasses.replace(term, upper=-bound, positive=positive, method=words)
    return dataclasses.replace(term, lower=bound, positive=positive, method=words)


def _from_ratio(row: Mapping[str, Any], predictor: Predictor, link: str) -> Term | str:
    estimate, p_value = _number(row, "estimate"), _number(row, "p_value")
    low, high, error = (_number(row, name) for name in ("ci_low", "ci_high", "se"))
    if not estimate > 0.0:
        return "a ratio without an estimate"
    value, words = math.log(estimate), "printed standard error of the log ratio"
    if math.isnan(error) and low > 0.0 and high > low:
        error = math.log(high / low) / (2.0 * _CRITICAL)
        words = "standard error from the interval"
    if math.isnan(error) and 0.0 < p_value < 1.0 and (_text(row, "p_relation") or "=") == "=":
        error, words = abs(value) / float(ndtri(1.0 - p_value / 2.0)), "standard error from p"
    if not error > 0.0:
        return "a ratio without interval, standard error or exact p-value"
    if _text(row, "contrast") == "split":
        return "a ratio of groups of a split predictor: give the counts of both groups"
    value, positive = _oriented(row, value)
    rate, step = response_rate(row), 1.0
    if predictor.kind == "continuous" and predictor.transform == "identity":
        units = _number(row, "per_units")
        step = (1.0 if math.isnan(units) else units) / predictor.scale
    elif predictor.kind == "continuous":
        units = _number(row, "per_units")
        if math.isnan(units):
            return "a ratio per unit of a predictor on the log scale: give per_units as a factor"
        step = math.log(units) / predictor.scale
    quantile = float(ndtri(rate))
    words += f"; response rate {rate:.0%}"
    if row.get("statistic") == "risk_ratio":
        return Term(
            LOG_RISK_RATIO, value, error, quantile=quantile, step=step, positive=positive,
            method=words,
        )  # fmt: skip
    density = math.exp(-0.5 * quantile**2) / math.sqrt(2.0 * math.pi)
    gain = _LOGISTIC_SD if link == "logit" else density / (rate * (1.0 - rate))
    return Term(LOG_ODDS_RATIO, value, error, gain=gain * step, positive=positive, method=words)


def _from_counts(row: Mapping[str, Any]) -> Term | str:
    parts = [part.split("/") for part in _text(row, "counts").split(";")]
    if len(parts) != 2 or any(len(part) != 2 for part in parts):
        return "counts need two groups, written as 29/43;47/92 (higher predictor first)"
    (r1, n1), (r2, n2) = ((float(a), float(b)) for a, b in parts)
    if not (0 <= r1 <= n1 and 0 <= r2 <= n2 and n1 > 0 and n2 > 0):
        return "counts hold more responders than patients, or an empty group"
    split = _text(row, "contrast") == "split"
    words = "two binomials with a level of their own" + ("; predictor split" if split else "")
    return Term(COUNTS, counts=(r1, n1, r2, n2), split=split, method=words)
