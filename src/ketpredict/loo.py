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
from typing import Any

import numpy as np
import pandas as pd
from arviz_stats.base.array import array_stats
from scipy.special import betaincc, gammaln, logsumexp, xlog1py, xlogy

from ketpredict.design import Design
from ketpredict.errors import DataError
from ketpredict.importance import PARETO_LIMIT, smoothed_weights
from ketpredict.posterior import Posterior
from ketpredict.replicates import unit_labels
from ketpredict.short_form import ShortForm
from ketpredict.stored_design import design_of
from ketpredict.tables import records
from ketpredict.unit_outcome import take_units, unit_probability
from ketpredict.workers import check_seed

KINDS = ("patients", "arm")
MOST_AT_ONCE = 4_000_000
"""Probabilities held at once, draws times units."""


@dataclasses.dataclass(frozen=True, repr=False)
class LeaveOneOut(ShortForm):
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
            parameters), ``largest_k`` and ``share_above`` (of events with Pareto k above 0.7, or
            whose k is not a number).
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
                    "largest_k": float(part["pareto_k"].max(skipna=False)),
                    "share_above": float(times @ ~(part["pareto_k"] <= PARETO_LIMIT) / people),
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
    labels = unit_labels(design).drop(columns=["responders", "n", "unit"])
    return LeaveOneOut(labels.iloc[events["unit"]].reset_index(drop=True).join(events))


def _probabilities(posterior: Posterior, design: Design) -> Any:
    """Yield units and their probabilities, (draw, unit), some at a time."""
    size = max(1, MOST_AT_ONCE // posterior.n_draws)
    for start in range(0, len(design.units), size):
        index = np.arange(start, min(start + size, len(design.units)))
        some = dataclasses.replace(design, units=take_units(design.units, index))
        yield index, np.clip(unit_probability(posterior.parameters, some), 0.0, 1.0)


def _left_out(design: Design, index: np.ndarray, probability: np.ndarray) -> pd.DataFrame:
    rows = []
    for unit, p in zip(index, probability.T, strict=True):
        for responders, n, times in events_of(design, int(unit)):
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


def events_of(design: Design, unit: int) -> list[tuple[float, float, float]]:
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
    weights = smoothed_weights(-log_likelihood)
    return weights.log_weight, weights.pareto_k


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
    events = one_by_one(found.events)
    check_seed("seed", seed)
    uniform = np.random.default_rng(seed).random(len(events))
    low, high = events["pit_low"], events["pit_high"]
    names = ["kind", "trial", "population", "arm"]
    return events[names].assign(pit=low + uniform * (high - low))


def uniformity(pit: np.ndarray) -> float:
    """Return the p-value of uniform PIT values, by ArviZ (order statistics, Cauchy combination).

    Made for the dependence that leave-one-out leaves among PIT values.
    """
    return float(array_stats.uniformity_test(np.asarray(pit), method="prit_c")[0])


def one_by_one(events: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each patient and arm."""
    times = events["times"].to_numpy()
    if not np.allclose(times, times.round()):
        raise DataError(
            "This fit has weights that are not whole numbers, so that its patients cannot be "
            "counted one by one. Fit without such weights for this check."
        )
    return events.loc[events.index.repeat(times.round().astype(int))].reset_index(drop=True)
