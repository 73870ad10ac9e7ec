r"""Leave-one-out by importance sampling: each patient and each published arm left out in turn.

Pareto-smoothed importance sampling (Vehtari, Gelman and Gabry 2017, Stat Comput 27:1413; smoothing
by ArviZ) weighs the draws by one over the likelihood of what is left out. Its trial stays known by
whoever else is in it: for a whole trial left out there is leave-one-trial-out.

What is left out is an *event*: one patient, or one published arm. Patients with equal rows stand in
one unit, `r` responders of `n`; to leave out one of them is the same for all who responded, and the
same for all others, so that a unit of patients makes at most two events, each counted as often as
there are such patients (a weight that is not whole counts as it is).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats import ELPDDataLOO
from arviz_stats.base.array import array_stats
from arviz_stats.loo.compare import compare
from scipy.special import betaincc, gammaln, logsumexp, xlog1py, xlogy
from scipy.stats import norm

from ketpredict.design import Design
from ketpredict.errors import DataError
from ketpredict.posterior import Posterior
from ketpredict.replicates import unit_labels
from ketpredict.stored_design import design_of
from ketpredict.tables import records
from ketpredict.unit_outcome import take_units, unit_probability

GOOD_K = 0.7
KINDS = ("patients", "arm")
_MOST_AT_ONCE = 4_000_000
_DIGITS = 9


@dataclasses.dataclass(frozen=True)
class LeaveOneOut:
    """Every event predicted by all others.

    Parameters
    ----------
    events : DataFrame
        ``unit`` (position in the design), the labels of the unit, ``responders`` and ``n`` of the
        event (0 or 1 of 1 for a patient), ``times`` (how many equal patients), ``probability``
        (posterior mean, the event included), ``probability_left_out``, ``elpd`` (log predictive
        density, left out), ``lppd`` (the same, included), ``pareto_k``, ``pit_low`` and
        ``pit_high`` (probability of fewer responders, and of at most as many, left out).
    """

    events: pd.DataFrame

    def summary(self) -> pd.DataFrame:
        """Return what the events of each kind and all together add up to.

        Returns
        -------
        DataFrame
            ``kind``, ``events``, ``elpd`` (sum), ``se``, ``p_loo`` (effective number of
            parameters), ``largest_k`` and ``share_above`` (of events with Pareto k above 0.7).
        """
        kinds = [kind for kind in KINDS if (self.events["kind"] == kind).any()]
        parts = [(kind, self.events[self.events["kind"] == kind]) for kind in kinds]
        if len(parts) > 1:
            parts.append(("all", self.events))
        rows = []
        for kind, part in parts:
            times, elpd = part["times"].to_numpy(), part["elpd"].to_numpy()
            total, people = float(times @ elpd), float(times.sum())
            variance = float(times @ (elpd - total / people) ** 2)
            rows.append(
                {
                    "kind": kind,
                    "events": people,
                    "elpd": total,
                    "se": float(np.sqrt(variance)),
                    "p_loo": float(times @ (part["lppd"] - part["elpd"])),
                    "largest_k": float(part["pareto_k"].max()),
                    "share_above": float(times @ (part["pareto_k"] > GOOD_K) / people),
                }
            )
        return pd.DataFrame(rows)

    def as_table(self) -> dict[str, Any]:
        """Return plain lists, texts and numbers, for JSON."""
        return {"summary": records(self.summary()), "events": records(self.events)}


def leave_one_out(posterior: Posterior) -> LeaveOneOut:
    """Return every patient and every published arm predicted by all others.

    Log likelihoods are worked out some units at a time, so that the size of the fit does not
    matter and it need not have kept them.
    """
    design = design_of(posterior)
    parts = [_left_out(design, index, p) for index, p in _probabilities(posterior, design)]
    events = pd.concat(parts, ignore_index=True)
    labels = unit_labels(design).drop(columns=["responders", "n"])
    return LeaveOneOut(labels.iloc[events["unit"]].reset_index(drop=True).join(events))


def _probabilities(posterior: Posterior, design: Design) -> Any:
    """Yield units and their probabilities, (draw, unit), some at a time."""
    size = max(1, _MOST_AT_ONCE // posterior.n_draws)
    for start in range(0, len(design.units), size):
        index = np.arange(start, min(start + size, len(design.units)))
        some = dataclasses.replace(design, units=take_units(design.units, index))
        yield index, np.clip(unit_probability(posterior.parameters, some), 0.0, 1.0)


def _left_out(design: Design, index: np.ndarray, probability: np.ndarray) -> pd.DataFrame:
    rows = []
    for unit, p in zip(index, probability.T, strict=True):
        for responders, n, times in _events(design, int(unit)):
            log_likelihood = event_log_likelihood(responders, n, p)
            log_weight, shape = left_out_weights(log_likelihood)
            weight = np.exp(log_weight)
            rows.append(
                {
                    "unit": int(unit),
                    "responders": responders,
                    "n": n,
                    "times": times,
                    "probability": float(p.mean()),
                    "probability_left_out": float(weight @ p),
                    "elpd": float(logsumexp(log_weight + log_likelihood)),
                    "lppd": float(logsumexp(log_likelihood) - np.log(len(p))),
                    "pareto_k": shape,
                    "pit_low": float(weight @ _at_most(responders - 1.0, n, p)),
                    "pit_high": float(weight @ _at_most(responders, n, p)),
                }
            )
    return pd.DataFrame(rows)


def _events(design: Design, unit: int) -> list[tuple[float, float, float]]:
    """Return responders, people and number of the events of a unit."""
    responders, n = float(design.units.responders[unit]), float(design.units.n[unit])
    if design.units.is_arm[unit] > 0:
        return [(responders, n, 1.0)]
    found = [(1.0, 1.0, responders), (0.0, 1.0, n - responders)]
    return [event for event in found if event[2] > 1e-9]


def event_log_likelihood(responders: float, n: float, probability: np.ndarray) -> np.ndarray:
    """Return the binomial log likelihood of an event in every draw."""
    choose = gammaln(n + 1.0) - gammaln(responders + 1.0) - gammaln(n - responders + 1.0)
    smallest = np.finfo(float).tiny
    log_likelihood = xlogy(responders, np.maximum(probability, smallest))
    log_likelihood += xlog1py(n - responders, -np.minimum(probability, 1.0 - 1e-16))
    return np.asarray(log_likelihood + choose)


def _at_most(responders: float, n: float, probability: np.ndarray) -> np.ndarray:
    """Return the binomial probability of at most so many responders in every draw."""
    if responders < 0.0 or responders >= n:
        return np.full(len(probability), float(responders >= n))
    return np.asarray(betaincc(responders + 1.0, n - responders, probability))


def left_out_weights(log_likelihood: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the log weights of draws without an event, which sum to 1, and their Pareto k."""
    try:
        log_weight, shape = array_stats.psislw(log_likelihood)
    except ValueError:
        # The largest weights are all equal, so that there is no tail to smooth: harmless where
        # the likelihood hardly varies, hopeless where the draws rule the event out.
        log_weight, shape = -log_likelihood, np.inf if np.ptp(log_likelihood) > 1.0 else -np.inf
    return np.asarray(log_weight - logsumexp(log_weight)), float(shape)


def pit_values(found: LeaveOneOut, seed: int = 0) -> pd.DataFrame:
    r"""Return randomised leave-one-out PIT values, one for each patient and arm.

    :math:`u \sim U(P(R < r), P(R \le r))` is uniform where the predictive distribution is right,
    however few values the count can take (Czado, Gneiting and Held 2009, Biometrics 65:1254). For
    an arm it says where its count lies. For one patient it holds little more than noise, which is
    why calibration curves are the check of patients' probabilities.

    Returns
    -------
    DataFrame
        ``kind``, ``trial``, ``population``, ``arm`` and ``pit``.

    Raises
    ------
    DataError
        Weights that are not whole numbers.
    """
    events = _expanded(found.events)
    uniform = np.random.default_rng(seed).random(len(events))
    low, high = events["pit_low"], events["pit_high"]
    names = ["kind", "trial", "population", "arm"]
    return events[names].assign(pit=low + uniform * (high - low))


def uniformity(pit: np.ndarray) -> float:
    """Return the p-value of uniform PIT values, by ArviZ (order statistics, Cauchy combination).

    Made for the dependence that leave-one-out leaves among PIT values.
    """
    return float(array_stats.uniformity_test(np.asarray(pit), method="prit_c")[0])


def _expanded(events: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each patient and arm."""
    times = events["times"].to_numpy()
    if not np.allclose(times, times.round()):
        raise DataError(
            "This fit has weights that are not whole numbers, so that its patients cannot be "
            "counted one by one. Fit without such weights for this check."
        )
    return events.loc[events.index.repeat(times.round().astype(int))].reset_index(drop=True)


def compare_fits(fits: Mapping[str, Posterior], kind: str = "all") -> pd.DataFrame:
    """Return fits to the same data beside each other, by leave-one-out.

    With and without a predictor, a level of pooling, or the literature. The same patients and arms
    are paired however the fits merge equal rows.

    Parameters
    ----------
    fits : mapping of str to Posterior
        At least two, by name.
    kind : {"all", "patients", "arm"}
        Which events to compare by.

    Returns
    -------
    DataFrame
        The columns of :func:`arviz_stats.compare`, the best first: among them ``elpd_diff`` with
        its standard error ``dse``, ``diag_elpd`` (how many Pareto k are too large) and stacking
        ``weight``; and ``fit``.

    Raises
    ------
    DataError
        Fewer than two fits, data that differ, or patients that cannot be paired.
    """
    if len(fits) < 2 or kind not in ("all", *KINDS):
        raise DataError(
            f"compare_fits takes at least two fits and kind 'all', 'patients' or 'arm'; found "
            f"{len(fits)} and {kind!r}."
        )
    shared = set.intersection(*({p.name for p in fit.predictors} for fit in fits.values()))
    tables = {name: _keyed(fit, shared, kind) for name, fit in fits.items()}
    keys = {name: table["key"].tolist() for name, table in tables.items()}
    first = next(iter(keys))
    other = [name for name, key in keys.items() if key != keys[first]]
    if other:
        raise DataError(
            f"'{other[0]}' and '{first}' were not fitted to the same patients and arms "
            f"({len(keys[other[0]])} and {len(keys[first])}), so that they cannot be compared."
        )
    _check_pairs(tables)
    found = {name: _as_elpd(table, fits[name].n_draws) for name, table in tables.items()}
    compared = compare(found, round_to="none")
    return compared.reset_index(names="fit")


def _keyed(posterior: Posterior, shared: set[str], kind: str) -> pd.DataFrame:
    """Return events one by one with a key that all fits share, and with all else that they know."""
    design = design_of(posterior)
    events = _expanded(leave_one_out(posterior).events)
    if kind != "all":
        events = events[events["kind"] == kind].reset_index(drop=True)
    values, unit = design.units.value, events["unit"].to_numpy()
    labels = ["kind", "trial", "population", "arm", "hours", "scale", "threshold"]
    key = [tuple(row) for row in events[[*labels, "responders", "n"]].itertuples(index=False)]
    own: list[tuple[Any, ...]] = [() for _ in key]
    for k, predictor in enumerate(posterior.predictors):
        column = predictor.from_scale(values[unit, k]) if predictor.kind != "binary" else None
        column = values[unit, k] if column is None else np.asarray(column)
        words = [f"{value:.{_DIGITS}g}" for value in column]
        if predictor.name in shared:
            key = [(*row, (predictor.name, word)) for row, word in zip(key, words, strict=True)]
        else:
            own = [(*row, (predictor.name, word)) for row, word in zip(own, words, strict=True)]
    table = events[["elpd", "lppd", "pareto_k"]].assign(
        key=[str(sorted(map(str, row))) for row in key],
        own=[str(sorted(row)) for row in own],
    )
    return table.sort_values(["key", "own"], kind="stable", ignore_index=True)


def _check_pairs(tables: Mapping[str, pd.DataFrame]) -> None:
    """Refuse patients whom two fits tell apart by different predictors."""
    apart = {}
    for name, table in tables.items():
        spread = table.groupby("key")["own"].transform("nunique") > 1
        apart[name] = table["own"].where(spread, "")
    for first in apart:
        for second in apart:
            both = (apart[first] != "") & (apart[second] != "")
            if (apart[first][both] != apart[second][both]).any():
                raise DataError(
                    f"'{first}' and '{second}' tell the same patients apart by different "
                    "predictors, so that they cannot be paired. Compare each with a fit that has "
                    "the predictors of both, or with one that has neither."
                )


def _as_elpd(table: pd.DataFrame, n_draws: int) -> ELPDDataLOO:
    """Return the events as ArviZ takes them."""
    elpd = table["elpd"].to_numpy()
    good_k = min(GOOD_K, 1.0 - 1.0 / np.log10(n_draws))
    return ELPDDataLOO(
        elpd=float(elpd.sum()),
        se=float(np.sqrt(len(elpd)) * elpd.std()),
        p=float((table["lppd"] - table["elpd"]).sum()),
        n_samples=n_draws,
        n_data_points=len(elpd),
        scale="log",
        warning=bool((table["pareto_k"] > good_k).any()),
        good_k=good_k,
        elpd_i=xr.DataArray(elpd, dims="event"),
        pareto_k=xr.DataArray(table["pareto_k"].to_numpy(), dims="event"),
    )


def predictor_worth(posterior: Posterior, prob: float = 0.9) -> pd.DataFrame:
    r"""Return what knowing each predictor is worth for patients' predictions.

    The joint model projects itself: a patient's probability without predictor `k` is the average
    over its law given what else is known, which is the best prediction that the same draws can make
    without it. No other fit is needed, nor does the answer depend on how its slopes were shrunk
    (projection predictive selection, Piironen, Paasiniemi and Vehtari 2020, Electron J Stat
    14:2155, with the model's own law of the predictors as the projection). Worth is the leave-one-
    out log score of patients who know the predictor, with it minus without it, draws weighed alike;
    and the information in it by the model, :math:`E\,\mathrm{KL}(p \,\|\, p_{-k})` for each
    patient, in every draw.

    Parameters
    ----------
    prob : float
        Probability content of the interval of the information.

    Returns
    -------
    DataFrame
        ``predictor``, ``patients`` (who know it), ``elpd_difference`` (sum over them, above 0
        where the predictor helps), ``se``, ``helps`` (normal probability that the difference of
        all such patients is above 0), ``information``, ``lower`` and ``upper`` (nats per patient).
        NaN where nobody knows it.
    """
    design = design_of(posterior)
    rows = []
    for k, predictor in enumerate(posterior.predictors):
        known = (design.units.is_arm == 0) & ~np.isnan(design.units.value[:, k])
        row: dict[str, Any] = {"predictor": predictor.name}
        rows.append(row | _worth(posterior, design, k, np.flatnonzero(known), prob))
    return pd.DataFrame(rows)


def _worth(
    posterior: Posterior, design: Design, k: int, index: np.ndarray, prob: float
) -> dict[str, float]:
    difference: list[float] = []
    times: list[float] = []
    divergence = np.zeros(posterior.n_draws)
    size = max(1, _MOST_AT_ONCE // posterior.n_draws)
    for start in range(0, len(index), size):
        units = take_units(design.units, index[start : start + size])
        value = units.value.copy()
        value[:, k] = np.nan
        with_it, without = (
            np.clip(unit_probability(posterior.parameters, some), 1e-12, 1.0 - 1e-12)
            for some in (
                dataclasses.replace(design, units=units),
                dataclasses.replace(design, units=dataclasses.replace(units, value=value)),
            )
        )
        kl = with_it * np.log(with_it / without)
        kl += (1.0 - with_it) * np.log((1.0 - with_it) / (1.0 - without))
        divergence += kl @ units.n
        for place, unit in enumerate(index[start : start + size]):
            for responders, n, number in _events(design, int(unit)):
                likelihood = event_log_likelihood(responders, n, with_it[:, place])
                log_weight, _ = left_out_weights(likelihood)
                reduced = event_log_likelihood(responders, n, without[:, place])
                gain = logsumexp(log_weight + likelihood) - logsumexp(log_weight + reduced)
                difference.append(float(gain))
                times.append(number)
    if not difference:
        return dict.fromkeys(
            ("elpd_difference", "se", "helps", "information", "lower", "upper"), np.nan
        ) | {"patients": 0.0}
    gain_of, number_of = np.array(difference), np.array(times)
    people, total = number_of.sum(), number_of @ gain_of
    se = float(np.sqrt(number_of @ (gain_of - total / people) ** 2))
    low, high = np.quantile(divergence / people, [(1.0 - prob) / 2.0, (1.0 + prob) / 2.0])
    return {
        "patients": float(people),
        "elpd_difference": float(total),
        "se": se,
        "helps": float(norm.cdf(total / se)) if se > 0 else 0.5,
        "information": float(divergence.mean() / people),
        "lower": float(low),
        "upper": float(high),
    }
