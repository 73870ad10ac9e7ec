"""Tidy tables of what a fit says, with uncertainty beside every number.

Probabilities come from :mod:`ketpredict.predict` alone. The *share of the prior* of a quantity is
its posterior variance over its prior variance: near 1 the data said nothing about it, near 0 they
said nearly everything. It can pass 1 by chance, since the prior is known from a finite sample.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ketpredict.extrapolation import extrapolation_notes, settings_beyond
from ketpredict.field_of_fit import is_of_ketamine
from ketpredict.posterior import Posterior
from ketpredict.predict import mean_probability, predictions, response_draws
from ketpredict.prior_overlap import density_overlap
from ketpredict.rows import Rows, encode_rows
from ketpredict.spec import FULL_THRESHOLD
from ketpredict.stored_design import design_of
from ketpredict.wording import GIVEN_OUTCOME, outcome_words, step_words

_NEAR = 2.0
_OUTCOME = ["hours", "threshold", "scale", "course"]


def prediction_table(
    posterior: Posterior,
    rows: Rows,
    prob: float = 0.9,
    *,
    intervals: bool = True,
    cores: int | None = None,
) -> pd.DataFrame:
    """Return the probability of response of each row with both of its intervals.

    Parameters
    ----------
    posterior : Posterior
    rows : Rows
        Patients, from :func:`ketpredict.rows.encode_rows`.
    prob : float
        Probability content of the intervals.
    intervals : bool
        Without them the table has no limits and takes a fraction of the time.
    cores : int, optional
        Threads to use; all that the process may use by default. It changes no number.

    Returns
    -------
    DataFrame
        ``probability`` (posterior mean), ``trial_lower``, ``trial_upper`` (the probability in one
        trial), ``average_lower``, ``average_upper`` (averaged over trials), ``setting`` (known
        trial, new trial, new population) and ``extrapolation`` (empty where there is none).
    """
    if intervals:
        found = predictions(posterior, rows, prob, cores)
        values = [found.probability[:, None], found.trial_interval, found.average_interval]
        names = ["probability", "trial_lower", "trial_upper", "average_lower", "average_upper"]
        table = pd.DataFrame(np.hstack(values), columns=names)
    else:
        table = pd.DataFrame({"probability": mean_probability(posterior, rows, cores)})
    table["setting"] = rows.settings().astype(object)
    table["extrapolation"] = extrapolation_notes(posterior, rows)
    return table


def population_table(posterior: Posterior, prob: float = 0.9) -> pd.DataFrame:
    """Return the probability of response of each population and arm, and what it rests on.

    Each row is an average patient (every predictor unknown) in a new trial: blinded, not enriched,
    with no treatment added. Populations with most people come first. Arms are those of the
    population's evidence, and the reference arm with an inert control (that which most trials
    compare it with) even where the population has no such arm. A repeated course and an outcome
    other than 50 % improvement at 24 h stand in rows of their own.

    Parameters
    ----------
    posterior : Posterior
    prob : float
        Probability content of the intervals.

    Returns
    -------
    DataFrame
        ``population``, ``arm``, ``outcome`` (in words), ``hours``, ``threshold``, ``scale``,
        ``course`` (whether a repeated course), ``control`` (whether the arm is one); the columns
        of :func:`prediction_table`;
        ``trials``, ``patients`` (given one by one), ``patients_in_arms`` and ``reported`` (the
        outcomes, in words) of this arm in this population, at whatever time; ``prior_overlap``;
        ``extrapolated`` and ``reason``.
    """
    labels = _labels(posterior)
    table, rows = answered_rows(posterior)
    for row, _, reason in settings_beyond(posterior, rows):
        known = table.loc[row, "reason"]
        table.loc[row, "reason"] = f"{known}; {reason}" if known else reason
        table.loc[row, "extrapolated"] = True
    found = prediction_table(posterior, rows, prob).drop(columns=["setting", "extrapolation"])
    table = pd.concat([table, found], axis=1)
    classes = dict(zip(posterior.coords["arm"], posterior.facts["arm_class"], strict=True))
    table["control"] = table["arm"].map(classes) != "active"
    pairs = zip(table["population"], table["arm"], strict=True)
    basis = [_rests_on(labels, population, arm) for population, arm in pairs]
    table = pd.concat([table, pd.DataFrame(basis)], axis=1)
    # Where nobody reports, what moves the probability is what others say: no measure of data.
    overlap = probability_prior_overlap(posterior, rows)
    table["prior_overlap"] = np.where(table["trials"] > 0, overlap, np.nan)
    return table


def answered_rows(posterior: Posterior) -> tuple[pd.DataFrame, Rows]:
    """Return what the rows of :func:`population_table` ask, and the rows themselves.

    Returns
    -------
    table : DataFrame
        The columns from ``population`` to ``course``, ``extrapolated`` and ``reason``.
    rows : Rows
    """
    table = pd.DataFrame(_settings(posterior, _labels(posterior)))
    return table, _encode(posterior, table)


def slope_table(posterior: Posterior, prob: float = 0.9) -> pd.DataFrame:
    """Return the slope of each predictor under active arms on the latent scale.

    Returns
    -------
    DataFrame
        ``predictor``, ``label``, ``step`` (what the slope is for: one reference SD, or presence),
        ``slope`` (posterior mean), ``sd``, ``lower``, ``upper``, ``positive`` (posterior
        probability that the slope is above zero), ``trials`` (how many report the predictor),
        ``effects`` (how many published statistics about it enter) and ``prior_overlap``. A slope of
        0.25 moves a probability of 50 % to 60 %.
    """
    draws = posterior.parameters["slope"]
    tail = (1.0 - prob) / 2.0
    lower, upper = np.quantile(draws, [tail, 1.0 - tail], axis=0)
    ranges = posterior.facts["ranges"]
    told = [
        ranges[p.name]["trials"] > 0 or effects_behind(posterior, p.name) > 0
        for p in posterior.predictors
    ]
    return pd.DataFrame(
        {
            "predictor": [predictor.name for predictor in posterior.predictors],
            "label": [predictor.label for predictor in posterior.predictors],
            "step": [step_words(predictor) for predictor in posterior.predictors],
            "slope": draws.mean(axis=0),
            "sd": draws.std(axis=0),
            "lower": lower,
            "upper": upper,
            "positive": (draws > 0).mean(axis=0),
            "trials": [int(ranges[p.name]["trials"]) for p in posterior.predictors],
            "effects": [effects_behind(posterior, p.name) for p in posterior.predictors],
            "prior_overlap": np.where(told, prior_overlap(posterior, "slope"), np.nan),
        }
    )


def outcomes_in_words(rows: pd.DataFrame) -> str:
    """Return ``MADRS ≥ 50 %: 24 h (7), 48 h (1)``: outcomes, hours and numbers of trials.

    Parameters
    ----------
    rows : DataFrame
        Columns ``trial``, ``scale``, ``threshold`` and ``hours``.
    """
    counts = rows.groupby(["scale", "threshold", "hours"])["trial"].nunique()
    words: dict[str, list[str]] = {}
    for entry in counts.reset_index(name="trials").to_dict("records"):
        outcome = f"{str(entry['scale']).replace('_', '-')} ≥ {entry['threshold']:g} %"
        words.setdefault(outcome, []).append(f"{entry['hours']:g} h ({entry['trials']})")
    return "; ".join(f"{outcome}: {', '.join(hours)}" for outcome, hours in words.items())


def prior_overlap(posterior: Posterior, name: str) -> np.ndarray:
    """Return the overlap of posterior and prior of a parameter, element by element.

    Parameters
    ----------
    name : str
        A variable of the model, such as ``"slope"`` or ``"intercept"``.

    Returns
    -------
    ndarray of the parameter's own shape
        NaN where the prior does not vary.
    """
    return density_overlap(posterior.parameters[name], prior_of(posterior).parameters[name])


def probability_prior_overlap(posterior: Posterior, rows: Rows) -> np.ndarray:
    """Return the overlap of posterior and prior of each row's average probability.

    Returns
    -------
    ndarray of shape (row,)
    """
    return density_overlap(
        response_draws(posterior, rows), response_draws(prior_of(posterior), rows)
    )


def prior_of(posterior: Posterior) -> Posterior:
    """Return the fit with the draws of its prior in the place of its posterior draws."""
    groups = {**posterior.groups, "posterior": posterior.groups["prior"]}
    return dataclasses.replace(posterior, groups=groups)


def effects_behind(posterior: Posterior, predictor: str) -> int:
    """Return how many published effects of a predictor enter the fit."""
    fates = posterior.facts["effects"]
    return sum(bool(fate["used"]) and fate["predictor"] == predictor for fate in fates)


def _labels(posterior: Posterior) -> pd.DataFrame:
    """Return the labelled units of the fit, with whether their arm is a repeated course."""
    labels = design_of(posterior, patients=False).labels()
    course = dict(zip(posterior.coords["arm"], posterior.facts["repeated_arm"], strict=True))
    labels["course"] = labels["arm"].map(course).astype(bool)
    return labels


def _settings(posterior: Posterior, labels: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield population, arm, outcome and extrapolation of each row of the table."""
    reference = posterior.spec.horizons.reference
    people = labels.groupby("population")["n"].sum()
    # Another field's outcome has no dose to count hours from, and no score to improve by half.
    usual = {} if is_of_ketamine(posterior.coords["arm"]) else {"outcome": GIVEN_OUTCOME}
    control = _usual_control(posterior, labels)
    for entry in sorted(posterior.facts["basis"], key=lambda e: -people[e["population"]]):
        here = labels[labels["population"] == entry["population"]]
        for arm in _single_dose_arms(posterior, here, control):
            reason = entry["reason"] if entry["extrapolated"] else _arm_reason(here, arm, reference)
            yield {
                "population": entry["population"],
                "arm": arm,
                **_outcome(reference, FULL_THRESHOLD, "", course=False),
                **usual,
                "extrapolated": bool(reason),
                "reason": reason,
            }
        for (hours, threshold, scale, course), group in here.groupby(_OUTCOME):
            if not course and not (entry["extrapolated"] and threshold != FULL_THRESHOLD):
                continue
            for arm in sorted(set(group["arm"]), key=posterior.coords["arm"].index):
                yield {
                    "population": entry["population"],
                    "arm": arm,
                    **_outcome(hours, threshold, scale, course=bool(course)),
                    "extrapolated": False,
                    "reason": "",
                }


def _outcome(hours: float, threshold: float, scale: str, *, course: bool) -> dict[str, Any]:
    return {
        "outcome": outcome_words(hours, threshold, scale, course=course),
        "hours": float(hours),
        "threshold": float(threshold),
        "scale": scale,
        "course": course,
    }


def _usual_control(posterior: Posterior, labels: pd.DataFrame) -> list[str]:
    """Return the inert control, given once, that most trials compare the reference arm with."""
    arms, facts = posterior.coords["arm"], posterior.facts
    inert = [
        arm
        for arm, kind, course in zip(arms, facts["arm_class"], facts["repeated_arm"], strict=True)
        if kind == "inert_control" and not course
    ]
    compared = labels[labels["trial"].isin(labels.loc[labels["arm"] == arms[0], "trial"])]
    trials = compared.groupby("arm")["trial"].nunique()
    return sorted(inert, key=lambda arm: -int(trials.get(arm, 0)))[:1]


def _single_dose_arms(
    posterior: Posterior, here: pd.DataFrame, control: Sequence[str]
) -> list[str]:
    """Return the arms given once in a population, with the reference and an inert control."""
    order = posterior.coords["arm"]
    active = dict(zip(order, posterior.facts["arm_class"], strict=True))
    arms = set(here.loc[~here["course"], "arm"]) | {order[0]}
    if not any(active[arm] == "inert_control" for arm in arms):
        arms |= set(control)
    return sorted(arms, key=lambda name: (active[name] != "active", order.index(name)))


def _arm_reason(here: pd.DataFrame, arm: str, reference: float) -> str:
    """Return why an arm's 24 h, 50 % probability goes beyond its evidence in a population."""
    own = here[(here["arm"] == arm) & ~here["course"]]
    if own.empty:
        return "no trial of this population has this arm"
    own = own[own["hours"].notna()]
    if own.empty:
        return "when this arm was measured was left out with the patients"
    if (own["threshold"] != FULL_THRESHOLD).all():
        return "this arm is reported only at another threshold than 50 %"
    hours = own.loc[own["threshold"] == FULL_THRESHOLD, "hours"]
    if (np.abs(np.log(hours / reference)) > np.log(_NEAR) + 1e-9).all():
        return f"this arm is reported only at {', '.join(f'{h:g} h' for h in sorted(set(hours)))}"
    return ""


def _encode(posterior: Posterior, table: pd.DataFrame) -> Rows:
    columns: dict[str, Any] = {
        name: table[name].tolist() for name in ("population", "arm", "hours", "threshold", "scale")
    }
    return encode_rows(posterior, columns, len(table))


def _rests_on(labels: pd.DataFrame, population: str, arm: str) -> dict[str, Any]:
    """Return trials, people and outcomes behind one arm of one population."""
    rows = labels[(labels["population"] == population) & (labels["arm"] == arm)]
    patients = rows["kind"] == "patients"
    return {
        "trials": int(rows["trial"].nunique()),
        "patients": int(rows.loc[patients, "n"].sum()),
        "patients_in_arms": int(rows.loc[~patients, "n"].sum()),
        "reported": outcomes_in_words(rows),
    }
