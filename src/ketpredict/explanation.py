r"""How far each known predictor moved one patient's probability of response.

With :math:`v(S)` the probability when only the predictors in :math:`S` are known, everything else
averaged over the model's own law, and :math:`K` the known ones, predictor :math:`k` moved it by its
Shapley value

.. math:: \phi_k = \sum_{S \subseteq K \setminus k}
          \frac{|S|!\,(|K| - |S| - 1)!}{|K|!}\,\{v(S \cup k) - v(S)\},

the average of what it adds over all orders in which the predictors might have become known (Shapley
1953, in Contributions to the Theory of Games II, p. 307). The values add up to
:math:`v(K) - v(\emptyset)` in every draw and depend on no order. Since :math:`v` is conditional, a
predictor can move the probability through what it says about others that are not known.

Up to eight known predictors all :math:`2^{|K|}` subsets are worked out. Beyond, orders are sampled
in pairs, each with its reverse: the values still add up exactly, and each has a Monte Carlo error,
which stands beside it.

A column of labels counts as one predictor. These are associations: how the prediction uses what is
known, not what changing it would do.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ketpredict.averages import pattern_weights
from ketpredict.categories import of_one_column
from ketpredict.errors import DataError
from ketpredict.patients import Rows, Setting, affine, entering_values, setting_of
from ketpredict.posterior import Posterior
from ketpredict.predict import check_interval, response_draws
from ketpredict.predictor_law import pattern_shift
from ketpredict.tables import records
from ketpredict.wording import value_words

Columns = Sequence[tuple[int, ...]]
"""Positions of predictors; those that are labels of one column stand together."""
MOST_EXACT = 8
"""Known predictors up to which all subsets are worked out."""
_PAIRS_OF_ORDERS = 25
_SEED = 20_240_613
_FEWEST_NODES, _MOST_NODES = 41, 201
_STEP = 0.7
_REACH = 4.5
_ROWS_AT_ONCE = 64


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What a prediction made of what is known of one patient. For research only.

    Parameters
    ----------
    known : DataFrame
        One row for each known predictor: ``predictor``, ``label``, ``value`` (in words, with its
        unit), ``moved`` (Shapley value, probability scale, posterior mean), ``lower``, ``upper``
        (interval over posterior draws), ``positive`` (posterior probability that it moved the
        probability up), ``monte_carlo_error`` (of ``moved``; 0 where all subsets were worked out),
        ``without`` (the probability were this one not known, all others known), ``left_out``,
        ``left_out_lower``, ``left_out_upper`` (the probability less ``without``). What moved the
        probability most comes first.
    missing : DataFrame
        One row for each predictor that is not known: ``predictor``, ``label``, ``could_move`` (SD
        of the probability over the values that the predictor may have in such a patient, were it
        measured; posterior mean), ``lower``, ``upper`` (over posterior draws), ``would_show`` (the
        same SD of the probability that would be reported, the mean over draws: much smaller where
        the draws disagree on the direction).
    probability, nothing_known : float
        Posterior means with everything known, and with no predictor known, in the same trial,
        population and arm. The column ``moved`` adds up to their difference.
    interval, nothing_known_interval : tuple of float
        Of the probability averaged over unseen trials.
    exact : bool
        Whether all subsets were worked out.
    prob : float
        Probability content of all intervals.
    """

    known: pd.DataFrame
    missing: pd.DataFrame
    probability: float
    nothing_known: float
    interval: tuple[float, float]
    nothing_known_interval: tuple[float, float]
    exact: bool
    prob: float

    def as_table(self) -> dict[str, Any]:
        """Return plain lists, texts and numbers, for JSON."""
        table = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in ("known", "missing"):
            table[name] = records(table[name])
        for name in ("interval", "nothing_known_interval"):
            table[name] = list(table[name])
        return table


def explain(posterior: Posterior, row: Rows, prob: float = 0.9) -> Explanation:
    """Return how far each known predictor of one patient moved the probability of response.

    Averaged over unseen trials; for research, not for treatment decisions.

    Parameters
    ----------
    posterior : Posterior
    row : Rows of length 1
        From :func:`ketpredict.rows.encode_rows`.
    prob : float
        Probability content of the intervals.

    Raises
    ------
    DataError
        There is more than one patient, or none.
    """
    check_interval(prob)
    if len(row) != 1:
        raise DataError(
            f"explain takes one patient at a time; found {len(row)} rows. Take one of them."
        )
    columns = of_one_column(posterior.predictors)
    known = [places for places in columns if not np.isnan(row.value[0, places[0]])]
    everything = tuple(range(len(known)))
    others = [tuple(i for i in everything if i != left) for left in everything]
    hidden = _knowing(row, known, [everything, (), *others])
    draws = response_draws(posterior, hidden)
    probability, nothing, without = draws[:, 0], draws[:, 1], draws[:, 2:]
    exact = len(known) <= MOST_EXACT
    shares = _all_subsets if exact else _sampled_orders
    moved, error = shares(posterior, row, known)
    tails = [(1.0 - prob) / 2.0, (1.0 + prob) / 2.0]
    left_out = probability[:, None] - without
    lower, upper = np.quantile(moved, tails, axis=0)
    left_lower, left_upper = np.quantile(left_out, tails, axis=0)
    table = pd.DataFrame(
        {
            **_names(posterior, known),
            "value": [_value(posterior, row, places) for places in known],
            "moved": moved.mean(axis=0),
            "lower": lower,
            "upper": upper,
            "positive": (moved > 0).mean(axis=0),
            "monte_carlo_error": error,
            "without": without.mean(axis=0),
            "left_out": left_out.mean(axis=0),
            "left_out_lower": left_lower,
            "left_out_upper": left_upper,
        }
    )
    order = np.argsort(-np.abs(table["moved"].to_numpy()), kind="stable")
    return Explanation(
        known=table.iloc[order].reset_index(drop=True),
        missing=_missing(posterior, row, columns, tails),
        probability=float(probability.mean()),
        nothing_known=float(nothing.mean()),
        interval=_pair(probability, tails),
        nothing_known_interval=_pair(nothing, tails),
        exact=exact,
        prob=float(prob),
    )


def _names(posterior: Posterior, columns: Columns) -> dict[str, list[str]]:
    """Return names and labels of columns; one of labels has the name of the column."""
    first = [posterior.predictors[places[0]] for places in columns]
    return {
        "predictor": [one.category or one.name for one in first],
        "label": [one.category or one.label for one in first],
    }


def _value(posterior: Posterior, row: Rows, places: tuple[int, ...]) -> str:
    """Return what is known of one column in words."""
    values = row.value[0, list(places)]
    # Of a column of labels the one that is 1 speaks, or any of them for the reference label.
    k, value = places[int(np.argmax(values))], float(values.max())
    predictor = posterior.predictors[k]
    on_scale = predictor.kind == "continuous"
    return value_words(predictor, float(predictor.from_scale(value)) if on_scale else value)


def _pair(draws: np.ndarray, tails: list[float]) -> tuple[float, float]:
    low, high = np.quantile(draws, tails)
    return float(low), float(high)


def _knowing(row: Rows, known: Columns, subsets: Sequence[tuple[int, ...]]) -> Rows:
    """Return the patient once for each subset of the known columns, these alone known."""
    rows = row.take(np.zeros(len(subsets), dtype=int))
    hidden = np.ones(rows.value.shape, dtype=bool)
    for place, subset in enumerate(subsets):
        hidden[place, [k for i in subset for k in known[i]]] = False
    return dataclasses.replace(
        rows,
        value=np.where(hidden, np.nan, rows.value),
        assay_mean=np.where(hidden, np.nan, rows.assay_mean),
    )


def _probabilities(
    posterior: Posterior, row: Rows, known: Columns, subsets: Sequence[tuple[int, ...]]
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Yield each subset with its probabilities, (draw,)."""
    for start in range(0, len(subsets), _ROWS_AT_ONCE):
        some = subsets[start : start + _ROWS_AT_ONCE]
        draws = response_draws(posterior, _knowing(row, known, some))
        yield from zip(some, draws.T, strict=True)


def _all_subsets(posterior: Posterior, row: Rows, known: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Return Shapley values, (draw, known), and their Monte Carlo errors, which are 0."""
    count = len(known)
    moved = np.zeros((posterior.n_draws, count))
    subsets = [s for size in range(count + 1) for s in itertools.combinations(range(count), size)]
    for subset, probability in _probabilities(posterior, row, known, subsets):
        size = len(subset)
        inside = np.isin(np.arange(count), subset)
        # How often the subset stands before, or just after, one predictor in all orders.
        if size:
            moved[:, inside] += probability[:, None] * _share(size - 1, count)
        if size < count:
            moved[:, ~inside] -= probability[:, None] * _share(size, count)
    return moved, np.zeros(count)


def _share(before: int, count: int) -> float:
    """Return the share of orders in which a predictor comes after just these others."""
    return 1.0 / (count * math.comb(count - 1, before))


def _sampled_orders(
    posterior: Posterior, row: Rows, known: Columns
) -> tuple[np.ndarray, np.ndarray]:
    """Return Shapley values by sampled orders, (draw, known), and their Monte Carlo errors.

    Each order counts together with its reverse; the error is that of the posterior means between
    such pairs.
    """
    rng = np.random.default_rng(_SEED)
    count = len(known)
    forth = [rng.permutation(count) for _ in range(_PAIRS_OF_ORDERS)]
    orders = [order for one in forth for order in (one, one[::-1])]
    # How often each subset is just with, and just without, each predictor: worked out once.
    share: dict[tuple[int, ...], np.ndarray] = {}
    for order in orders:
        for place, added in enumerate(order):
            for end, sign in ((place + 1, 1.0), (place, -1.0)):
                subset = tuple(np.sort(order[:end]).tolist())
                share.setdefault(subset, np.zeros(count))[added] += sign / len(orders)
    moved, middle = np.zeros((posterior.n_draws, count)), {}
    for subset, probability in _probabilities(posterior, row, known, list(share)):
        moved += probability[:, None] * share[subset]
        middle[subset] = probability.mean()
    by_order = np.zeros((len(orders), count))
    for entry, order in zip(by_order, orders, strict=True):
        path = [middle[tuple(np.sort(order[:n]).tolist())] for n in range(count + 1)]
        entry[order] = np.diff(path)
    by_pair = by_order.reshape(_PAIRS_OF_ORDERS, 2, count).mean(axis=1)
    return moved, by_pair.std(axis=0, ddof=1) / np.sqrt(_PAIRS_OF_ORDERS)


def _missing(posterior: Posterior, row: Rows, columns: Columns, tails: list[float]) -> pd.DataFrame:
    open_ones = [places for places in columns if np.isnan(row.value[0, places[0]])]
    entries = []
    for places in open_ones:
        weight, probability = value_law(posterior, row, places)
        average = (weight * probability).sum(axis=1, keepdims=True)
        spread = np.sqrt((weight * (probability - average) ** 2).sum(axis=1))
        overall, shown = weight.mean(axis=0), probability.mean(axis=0)
        would_show = np.sqrt(overall @ (shown - overall @ shown) ** 2)
        entries.append((spread.mean(), *_pair(spread, tails), would_show))
    numbers = pd.DataFrame(entries, columns=["could_move", "lower", "upper", "would_show"])
    return pd.concat([pd.DataFrame(_names(posterior, open_ones)), numbers], axis=1)


def value_law(
    posterior: Posterior, row: Rows, places: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a column may be in a patient, and the probability of response at each value.

    Parameters
    ----------
    row : Rows of length 1
        The patient, of whom the column is not known.
    places : tuple of int
        Position of the predictor, or of all labels of the column.

    Returns
    -------
    weight, probability : ndarray of shape (draw, value)
        Weights sum to 1. In every draw the weighted mean is the probability without the column
        (a binary one or labels exactly, a continuous one up to a sum over points).
    """
    draws = posterior.draws
    setting = setting_of(draws, row)
    constant, coefficient = pattern_weights(draws, setting)
    known = entering_values(draws, setting, row)
    log_weight = constant + np.stack(
        [
            affine(coefficient[:, p], known)[:, 0] if known.size else 0.0 * constant[:, 0]
            for p in range(constant.shape[1])
        ],
        axis=1,
    )
    pattern = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
    pattern /= pattern.sum(axis=1, keepdims=True)
    if posterior.predictors[places[0]].kind == "binary":
        values = np.concatenate([np.zeros((1, len(places))), np.eye(len(places))])
        own = setting.values[:, np.searchsorted(draws.binary, places)]
        same = (own[:, None] == values).all(axis=-1)
        weight = pattern @ same
    else:
        mean, sd = _normal_of(posterior, setting, places[0], known)
        # One grid for all draws: from the lowest to the highest, fine enough for the narrowest.
        low, high = (mean - _REACH * sd[:, None]).min(), (mean + _REACH * sd[:, None]).max()
        nodes = np.clip((high - low) / (_STEP * sd.min()), _FEWEST_NODES, _MOST_NODES)
        values = np.linspace(low, high, int(nodes))[:, None]
        z = (values[:, 0] - mean[..., None]) / sd[:, None, None]
        weight = (pattern[..., None] * np.exp(-0.5 * z**2)).sum(axis=1)
        weight /= weight.sum(axis=1, keepdims=True)
    rows = row.take(np.zeros(len(values), dtype=int))
    value = rows.value.copy()
    value[:, list(places)] = values
    return weight, response_draws(posterior, dataclasses.replace(rows, value=value))


def _normal_of(
    posterior: Posterior, setting: Setting, k: int, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean, (draw, pattern), and SD, (draw,), of a continuous predictor given the others."""
    draws, law = posterior.draws, setting.law
    j, observed = int(np.flatnonzero(draws.continuous == k)[0]), law.observed
    covariance = draws.parameters["predictor_covariance"]
    between = draws.parameters["predictor_between_scale"][:, draws.continuous]
    omega = np.where(setting.mean_unknown, between, 0.0) ** 2
    total = covariance + omega[..., None] * np.eye(omega.shape[1])
    gain = np.einsum("do,don->dn", total[:, j, observed], law.precision)
    shift = pattern_shift(draws, setting.values)
    expected = setting.location[:, None] + shift
    distance = known[0] - expected[..., observed]
    mean = expected[..., j] + np.einsum("do,dpo->dp", gain, distance)
    variance = total[:, j, j] - (gain * total[:, j, observed]).sum(axis=1)
    return mean, np.sqrt(variance)
