r"""Net benefit: what acting on the predictions would be worth, against acting on all or on nobody.

The net benefit at a threshold :math:`t` is :math:`TP/n - FP/n \cdot t/(1 - t)` (Vickers and Elkin
2006, Med Decis Making 26:565): a person who would accept :math:`(1 - t)/t` patients treated in vain
for one who responds has that threshold. Predictions are left out (importance sampling), since a
model flatters itself on patients that it has learned from.

The band is a Bayesian bootstrap (Rubin 1981, Ann Stat 9:130): in every draw the patients have
Dirichlet weights, the posterior of whom the group is made of when nothing is assumed of it. All
thresholds and strategies share a draw, so that differences have their own posterior; a rule that
treats everybody equals treating all, and one that treats nobody is worth 0, in every draw. With
Beta(1, 1) priors on prevalence, sensitivity and specificity (Wynants et al. 2018, Med Decis Making
38:753; Cruz and Korthauer 2024, Stat Med 43:6042) neither holds, and in groups as small as trials'
the estimate can lie outside its own band. Patients count as a sample of their group; that they come
from few trials is not in the band.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ketpredict.errors import DataError
from ketpredict.loo import LeaveOneOut
from ketpredict.posterior import Posterior
from ketpredict.predict import response_draws
from ketpredict.rows import encode_rows
from ketpredict.stored_design import design_of
from ketpredict.workers import check_seed

THRESHOLDS = tuple(np.arange(5, 96) / 100.0)
EVERYBODY = "all populations"
FEWEST_PATIENTS = 10
"""Patients that a population must have for a curve of its own."""
_DRAWS = 2000


def decision_curve(
    found: LeaveOneOut,
    thresholds: Sequence[float] = THRESHOLDS,
    prob: float = 0.9,
    arm: str | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Return decision curves of treated patients, for all of them and by population.

    A population of fewer than ten such patients has no curve of its own.

    Parameters
    ----------
    found : LeaveOneOut
    thresholds : sequence of float
        Between 0 and 1.
    prob : float
        Probability content of the bands.
    arm : str, optional
        Response to a treatment is known of those who got it: patients of this arm enter, those of
        every active arm by default.
    seed : int

    Returns
    -------
    DataFrame
        ``population``, then the columns of :func:`net_benefit`.

    Raises
    ------
    DataError
        No such patient is in the fit, or impossible thresholds.
    """
    events = found.events
    treated = events["active"] if arm is None else events["arm"] == arm
    events = events[(events["kind"] == "patients") & treated]
    if events.empty:
        named = "an active arm" if arm is None else f"the arm '{arm}'"
        raise DataError(f"There are no patients of {named} in this fit, whose response is known.")
    parts = [(EVERYBODY, events)]
    for name, part in events.groupby("population", sort=True):
        if part["times"].sum() >= FEWEST_PATIENTS:
            parts.append((str(name), part))
    tables = []
    for name, part in parts:
        columns = ("probability_left_out", "responders", "times")
        probability, response, times = (part[column].to_numpy(float) for column in columns)
        table = net_benefit(probability, response, times, thresholds, prob, seed)
        table.insert(0, "population", name)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def net_benefit(
    probability: np.ndarray,
    response: np.ndarray,
    times: np.ndarray | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    prob: float = 0.9,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the net benefit of acting where the probability is at least the threshold.

    Parameters
    ----------
    probability : ndarray of shape (patient,)
        Predicted without the patient's own outcome.
    response : ndarray of shape (patient,)
        0 or 1.
    times : ndarray of shape (patient,), optional
        How often each patient counts.
    thresholds : sequence of float
        Between 0 and 1.
    prob : float
    seed : int

    Returns
    -------
    DataFrame
        ``threshold``, ``n``, ``responders``, ``treated`` (share of patients), ``net_benefit`` with
        ``lower`` and ``upper``, ``treat_all`` with ``treat_all_lower`` and ``treat_all_upper``,
        and ``useful``: the probability that the model is worth more than treating all and more than
        treating nobody, whose net benefit is 0.
    """
    at = np.asarray(thresholds, dtype=float)
    if not len(at) or not ((at > 0) & (at < 1)).all():
        raise DataError("Thresholds are probabilities between 0 and 1, such as 0.3.")
    weight = np.ones(len(response)) if times is None else np.asarray(times, dtype=float)
    order = np.argsort(at)
    # Who is treated at a threshold has a probability in a bin at or above it: weights of a bin add
    # up to a gamma number, whatever the number of patients.
    place = np.searchsorted(at[order], probability, side="right")
    counts = np.stack(
        [
            np.bincount(place, weight * outcome, len(at) + 1)
            for outcome in (response, 1.0 - np.asarray(response))
        ]
    )
    check_seed("seed", seed)
    gamma = np.random.default_rng(seed).standard_gamma(counts, (_DRAWS, *counts.shape))
    odds = at / (1.0 - at)
    true, false, prevalence = _shares(counts[None], order)
    model, everybody = _benefits(*_shares(gamma, order), odds)
    tails = [(1.0 - prob) / 2.0, (1.0 + prob) / 2.0]
    lower, upper = np.quantile(model, tails, axis=0)
    all_lower, all_upper = np.quantile(everybody, tails, axis=0)
    found, found_all = _benefits(true, false, prevalence, odds)
    return pd.DataFrame(
        {
            "threshold": at,
            "n": weight.sum(),
            "responders": float(weight @ response),
            "treated": (true + false)[0],
            "net_benefit": found[0],
            "lower": lower,
            "upper": upper,
            "treat_all": found_all[0],
            "treat_all_lower": all_lower,
            "treat_all_upper": all_upper,
            # Differences within rounding are ties: there the model is worth no more.
            "useful": (model > np.maximum(everybody, 0.0) + 1e-12).mean(axis=0),
        }
    )


def _shares(counts: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return shares of all: treated responders, treated others (draw, threshold); prevalence.

    Parameters
    ----------
    counts : ndarray of shape (draw, outcome, bin)
    order : ndarray of int
        That sorts the thresholds.
    """
    shares = counts / counts.sum(axis=(1, 2), keepdims=True)
    above = np.cumsum(shares[..., ::-1], axis=-1)[..., ::-1]
    treated = np.empty_like(above[..., 1:])
    treated[..., order] = above[..., 1:]
    return treated[:, 0], treated[:, 1], above[:, 0, :1]


def _benefits(
    true: np.ndarray, false: np.ndarray, prevalence: np.ndarray, odds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the net benefit of the model and of treating all, (draw, threshold)."""
    return true - false * odds, prevalence - (1.0 - prevalence) * odds


def number_needed(posterior: Posterior, prob: float = 0.9) -> pd.DataFrame:
    """Return how many patients are treated for one more responder than under a control arm.

    Treated is the arm that a fit compares the others with, ketamine 0.5 mg/kg in this field.
    One over the difference in the probability of response of an average patient of the population
    in a new, blinded trial, averaged over trials. Where the interval of the difference holds 0,
    that of the number goes through infinity (Altman 1998, BMJ 317:1309): its upper end is infinite,
    and the table says how probable harm is.

    Returns
    -------
    DataFrame
        ``population``, ``arm``, ``control`` (each that a trial of the population compares with it),
        ``difference`` with ``lower`` and ``upper``, ``number_needed`` with ``number_lower`` and
        ``number_upper`` (NaN where the mean difference is not above 0), ``harm``: the
        probability that the difference is below 0, and ``reason``: why the population's 24 h
        prediction is an extrapolation, empty where it is none.
    """
    labels = design_of(posterior).labels()
    active = {
        name
        for name, kind in zip(posterior.coords["arm"], posterior.facts["arm_class"], strict=True)
        if kind == "active"
    }
    reference = posterior.coords["arm"][0]
    treated = labels[(labels["arm"] == reference) & (reference in active)]
    pairs = sorted(
        {
            (population, control)
            for trial, population in set(zip(treated["trial"], treated["population"], strict=True))
            for control in set(labels.loc[labels["trial"] == trial, "arm"]) - active
        }
    )
    tails = [(1.0 - prob) / 2.0, (1.0 + prob) / 2.0]
    reasons = {entry["population"]: entry["reason"] for entry in posterior.facts["basis"]}
    rows = []
    for population, control in pairs:
        table = {"population": [population] * 2, "arm": [reference, control]}
        draws = response_draws(posterior, encode_rows(posterior, table, 2))
        difference = draws[:, 0] - draws[:, 1]
        middle, (lower, upper) = float(difference.mean()), np.quantile(difference, tails)
        rows.append(
            {
                "population": population,
                "arm": reference,
                "control": control,
                "difference": middle,
                "lower": float(lower),
                "upper": float(upper),
                "number_needed": 1.0 / middle if middle > 0 else np.nan,
                "number_lower": 1.0 / float(upper) if middle > 0 else np.nan,
                "number_upper": _inverse(float(lower)) if middle > 0 else np.nan,
                "harm": float((difference < 0).mean()),
                "reason": reasons[population],
            }
        )
    names = ["population", "arm", "control", "difference", "lower", "upper"]
    numbers = ["number_needed", "number_lower", "number_upper", "harm", "reason"]
    return pd.DataFrame(rows, columns=[*names, *numbers])


def _inverse(value: float) -> float:
    return 1.0 / value if value > 0 else np.inf
