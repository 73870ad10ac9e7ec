"""Tables of a report: probabilities, slopes, average effects, and what published effects did."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit, ndtr

from ketpredict.held_out import monte_carlo_error
from ketpredict.posterior import Posterior
from ketpredict.predict import response_draws
from ketpredict.predictors import Predictor
from ketpredict.report_tables import Row, Table, interval, number, p_words, table_of, whole
from ketpredict.rows import encode_rows
from ketpredict.wording import (
    DASH,
    arm_words,
    beside_words,
    counted,
    percent,
    percent_range,
    population_words,
    signed,
    signed_points,
    unit_words,
    value_words,
)


def probability_table(frame: pd.DataFrame, prob: float) -> Table:
    """Return :func:`ketpredict.summary.population_table` for readers."""
    content = f"{100 * prob:g} %"
    return table_of(
        frame,
        "probabilities",
        f"Probability of response by population and arm, with {content} intervals",
        (
            ("Population", lambda row: population_words(row["population"])),
            ("Arm", lambda row: arm_words(row["arm"]) + (" †" if row["extrapolated"] else "")),
            ("Outcome", lambda row: row["outcome"]),
            ("Probability", lambda row: percent(row["probability"])),
            (
                "In one new trial",
                lambda row: percent_range(row["trial_lower"], row["trial_upper"]),
            ),
            (
                "Averaged over trials",
                lambda row: percent_range(row["average_lower"], row["average_upper"]),
            ),
            ("Trials", lambda row: f"{row['trials']}"),
            ("People", lambda row: f"{row['patients'] + row['patients_in_arms']}"),
            ("Overlap with prior", lambda row: percent(row["prior_overlap"])),
            ("†", lambda row: row["reason"] or DASH),
        ),
        "An average patient, nothing known but population and arm, in a new blinded trial. "
        "†: an extrapolation, for the reason in the last column. Trials and people are those of "
        "this very arm in this population.",
    )


def headline_table(frame: pd.DataFrame, prob: float, note: str = "") -> Table:
    """Return the probability of response to the reference arm, population by population.

    Parameters
    ----------
    frame : DataFrame
        Rows of :func:`ketpredict.summary.population_table`, all of one arm and outcome.
    """
    return table_of(
        frame,
        "headline",
        f"Response to {arm_words(frame['arm'].iloc[0]).lower()}, {frame['outcome'].iloc[0]}, with "
        f"{100 * prob:g} % intervals",
        (
            ("Population", lambda row: population_words(row["population"])),
            ("Probability", lambda row: percent(row["probability"])),
            (
                "In one new trial",
                lambda row: percent_range(row["trial_lower"], row["trial_upper"]),
            ),
            (
                "Averaged over trials",
                lambda row: percent_range(row["average_lower"], row["average_upper"]),
            ),
            ("Rests on", _rests_on),
        ),
        note,
    )


def headline_note(posterior: Posterior, frame: pd.DataFrame, prob: float) -> str:
    """Return who the average patient is, how far trials differ, and the Monte Carlo error."""
    columns = {"population": frame["population"].tolist(), "arm": frame["arm"].tolist()}
    draws = response_draws(posterior, encode_rows(posterior, columns, len(frame)))
    error = 100.0 * float(monte_carlo_error(posterior, draws).max())
    scale = posterior.parameters["trial_scale"]
    low, high = np.quantile(scale, [(1.0 - prob) / 2.0, (1.0 + prob) / 2.0])
    mean = float(scale.mean())
    up, down = (float(_near_half(posterior.spec.link, sign * mean)) for sign in (1.0, -1.0))
    return (
        "An average patient: every predictor averaged over the fitted law, in a blinded trial "
        f"without enrichment or {beside_words(posterior.coords['arm'])}. Between trials of one "
        "population the level "
        f"has an SD of {mean:.2f} ({low:.2f} to {high:.2f}) on the latent scale: where an average "
        f"trial sees 50 %, trials one SD away see {percent(down)} and {percent(up)}. Monte Carlo "
        f"error of the probabilities: at most {error:.1f} percentage points."
    )


def _near_half(link: str, latent: float) -> float:
    return float(ndtr(latent) if link == "probit" else expit(latent))


def _rests_on(row: Row) -> str:
    people = row["patients"] + row["patients_in_arms"]
    words = f"{counted(row['trials'], 'trial')}, {counted(people, 'outcome')} of this arm"
    return f"{words}; an extrapolation: {row['reason']}" if row["extrapolated"] else words


def probability_alt(frame: pd.DataFrame) -> str:
    """Return what the forest plot shows, for those who do not see it."""
    first = frame.iloc[0]
    beyond = int(frame["extrapolated"].sum())
    return (
        f"Forest plot of {len(frame)} rows of population and arm. First row, "
        f"{population_words(first['population'])}, {arm_words(first['arm']).lower()}: "
        f"{percent(first['probability'])}, in one new trial "
        f"{percent_range(first['trial_lower'], first['trial_upper'])}, averaged over trials "
        f"{percent_range(first['average_lower'], first['average_upper'])}. {beyond} rows are "
        "hollow: extrapolations. The table below holds every number."
    )


def slope_words_table(frame: pd.DataFrame, prob: float) -> Table:
    """Return :func:`ketpredict.summary.slope_table` for readers."""
    return table_of(
        frame,
        "slopes",
        f"Slopes under the reference arm, latent scale, with {100 * prob:g} % intervals",
        (
            ("Predictor", lambda row: row["label"]),
            ("For", lambda row: row["step"]),
            ("Slope", lambda row: signed(row["slope"])),
            ("Interval", lambda row: f"{signed(row['lower'])} to {signed(row['upper'])}"),
            ("Probability above zero", lambda row: percent(row["positive"])),
            ("Trials that report it", lambda row: f"{row['trials'] or 'none'}"),
            ("Published effects", lambda row: f"{row['effects'] or 'none'}"),
            ("Overlap with prior", lambda row: percent(row["prior_overlap"])),
        ),
        "Latent scale: a patient's own deviation has SD 1 (probit) or 1.81 (logit); near one half "
        "a slope of 0.25 (probit) is about 10 percentage points. Overlap with "
        "prior: near 100 % the posterior is the prior; none where neither a trial nor a published "
        "effect tells of it. Associations, not what changing the predictor would do.",
    )


def heterogeneity_table(posterior: Posterior, prob: float) -> Table:
    """Return the SD of each part of the slopes: how much they differ, and between what."""
    scales = posterior.parameters["slope_scale"]
    tails = [(1.0 - prob) / 2.0, (1.0 + prob) / 2.0]
    low, high = np.quantile(scales, tails, axis=0)
    mean, parts = scales.mean(axis=0), posterior.slope_parts
    rows = []
    for k, predictor in enumerate(posterior.predictors):
        cells = [
            f"{mean[j, k]:.2f} ({low[j, k]:.2f} to {high[j, k]:.2f})" for j in range(len(parts))
        ]
        rows.append((predictor.label, *cells))
    words = {
        "prognostic": "Any arm",
        "predictive": "Active arms beyond it",
        "population": "Between populations",
        "trial": "Between trials",
    }
    return Table(
        "slope-parts",
        f"SDs of the parts of each slope, latent scale, with {100 * prob:g} % intervals",
        ("Predictor", *(words[part] for part in parts)),
        tuple(rows),
        "Posterior mean of each SD: how far slopes differ between populations and trials. The "
        "parts share one prior, so that few trials leave these SDs near it.",
    )


def average_effect_table(frame: pd.DataFrame, prob: float) -> Table:
    """Return :func:`ketpredict.marginal_effects.effects_table` for readers."""
    logit = frame["conditional_odds_ratio"].notna().any()
    columns = [
        ("Population", lambda row: population_words(row["population"])),
        ("Predictor", lambda row: row["label"]),
        ("Compared", lambda row: row["step"]),
        ("Points", lambda row: signed_points(row["difference"])),
        (
            "Interval",
            lambda row: f"{signed_points(row['lower'])} to {signed_points(row['upper'])}",
        ),
        ("Probability above zero", lambda row: percent(row["positive"])),
        ("Marginal odds ratio", lambda row: number(row["odds_ratio"])),
        ("Its interval", lambda row: interval(row["odds_ratio_lower"], row["odds_ratio_upper"])),
        ("Outcomes that tell it", lambda row: f"{row['outcomes']}"),
        ("Overlap with prior", lambda row: percent(row["prior_overlap"])),
    ]
    if logit:
        columns[8:8] = [
            ("Conditional odds ratio", lambda row: number(row["conditional_odds_ratio"])),
            (
                "Its interval (conditional)",
                lambda row: interval(row["conditional_lower"], row["conditional_upper"]),
            ),
        ]
    return table_of(
        frame,
        "average-effects",
        f"Average marginal effects in percentage points, with {100 * prob:g} % intervals",
        columns,
        "By how many percentage points patients of the population respond more often where the "
        "predictor is one step higher, or present, everything else as it is; averaged over the "
        "fitted patients and over trials. Associations, not causes.",
    )


def partial_effect_alt(frame: pd.DataFrame, predictor: Predictor, values: pd.DataFrame) -> str:
    """Return what a picture of partial effects shows, for those who do not see it.

    Parameters
    ----------
    frame, values : DataFrame
        From :func:`ketpredict.marginal_effects.partial_effect_table` and
        :func:`ketpredict.marginal_effects.evidence_values`.
    """
    parts = []
    for population, rows in frame.groupby("population", sort=False):
        first, last = rows.iloc[0], rows.iloc[-1]
        parts.append(f"{population_words(str(population))} {_at(first)} to {_at(last)}")
    ends = [value_words(predictor, frame["value"].iloc[place]) for place in (0, -1)]
    told = values.groupby("kind")["n"].agg(["size", "sum"])
    known = [
        f"{whole(told.loc['patients', 'sum'])} outcomes of patients"
        if kind == "patients"
        else counted(int(told.loc[kind, "size"]), "published arm")
        for kind in told.index
    ]
    return (
        f"Probability of response by {predictor.label}, one panel for each of "
        f"{counted(len(parts), 'population')}; from {ends[0]} to {ends[1]}: {'; '.join(parts)}. "
        f"Told by {' and '.join(known) or 'nobody in the data'}."
    )


def _at(row: pd.Series) -> str:
    ends = percent_range(row["outer_lower"], row["outer_upper"])
    return f"{percent(row['probability'])} ({ends})"


def partial_effect_words_table(frame: pd.DataFrame, name: str, label: str, unit: str) -> Table:
    """Return a few points of a picture of partial effects as a table."""
    some = pd.concat(
        rows.iloc[sorted({0, len(rows) // 4, len(rows) // 2, 3 * len(rows) // 4, len(rows) - 1})]
        for _, rows in frame.groupby("population", sort=False)
    )
    heading = f"{label} ({unit_words(unit)})" if unit else label
    return table_of(
        some,
        f"partial-{name}",
        f"Probability of response at some values of {label}",
        (
            ("Population", lambda row: population_words(row["population"])),
            (heading, lambda row: f"{row['value']:.4g}"),
            ("Probability", lambda row: percent(row["probability"])),
            ("Outer interval", lambda row: percent_range(row["outer_lower"], row["outer_upper"])),
            ("Inner interval", lambda row: percent_range(row["inner_lower"], row["inner_upper"])),
            ("In the evidence", lambda row: "yes" if row["in_evidence"] else "beyond it"),
        ),
    )


def number_needed_table(frame: pd.DataFrame, prob: float) -> Table:
    """Return :func:`ketpredict.decision.number_needed` for readers."""

    def needed(row: Row) -> str:
        ends = f"{number(row['number_lower'], 1)} to "
        upper = row["number_upper"]
        return (
            DASH
            if _absent(row["number_needed"])
            else (
                f"{number(row['number_needed'], 1)} ({ends}"
                f"{'no upper end' if upper == float('inf') else number(upper, 1)})"
            )
        )

    return table_of(
        frame,
        "numbers-needed",
        f"Difference from control and number needed to treat, with {100 * prob:g} % intervals",
        (
            (
                "Population",
                lambda row: population_words(row["population"]) + (" †" if row["reason"] else ""),
            ),
            ("Control", lambda row: arm_words(row["control"])),
            ("More responders among 100", lambda row: signed_points(row["difference"])),
            (
                "Interval",
                lambda row: f"{signed_points(row['lower'])} to {signed_points(row['upper'])}",
            ),
            ("Number needed to treat", needed),
            ("Probability that fewer respond", lambda row: p_words(row["harm"])),
            ("†", lambda row: row["reason"] or DASH),
        ),
        "†: the population's 24 h prediction is an extrapolation; the last column says why.",
    )


def _absent(value: object) -> bool:
    return value is None or value != value
