"""Tables of a report on the checks of a fit, and what their pictures show in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from ketpredict.gates import Gate
from ketpredict.importance import PARETO_LIMIT
from ketpredict.outlying_trials import SIDES
from ketpredict.report_results import number_needed_table
from ketpredict.report_summary import share_ahead
from ketpredict.report_tables import Column, Row, Table, interval, number, p_words, table_of, whole
from ketpredict.wording import (
    DASH,
    arm_words,
    counted,
    pareto_words,
    percent,
    percent_range,
    plain_words,
    population_words,
    trial_words,
)

_KINDS = {"arm": "published arms", "patients": "single patients", "both": "patients and arms"}
_STEP = 0.1


def gate_table(gates: tuple[Gate, ...]) -> Table:
    """Return the gates, each with its verdict in words."""
    return table_of(
        pd.DataFrame({"gate": list(gates)}),
        "gates",
        "Gates that a fit must hold",
        (
            ("Gate", lambda row: row["gate"].name),
            ("Verdict", lambda row: "passed" if row["gate"].passed else "FAILED"),
            ("What was found", lambda row: row["gate"].detail),
        ),
        "Each gate on data fails in at most 5 % of data sets that come from the model; gates are "
        "not adjusted for each other, and few data leave them blind to much: "
        "docs/planted_faults.md of ketpredict says which gate sees which fault how often. "
        "P-values of replicates lean towards one half, since parameters were fitted to the same "
        "data. A failed gate says where to look, not what is wrong.",
    )


def convergence_words_table(frame: pd.DataFrame) -> Table:
    """Return :func:`ketpredict.checks.convergence_table` for readers."""
    return table_of(
        frame,
        "convergence",
        "Convergence: the worst of all parameters or chains, and its limit",
        (
            ("Measure", lambda row: row["measure"]),
            ("Worst", lambda row: _five(row["worst"])),
            ("Limit", lambda row: row["limit"]),
            ("Holds", lambda row: "yes" if row["holds"] else "NO"),
        ),
    )


def _five(value: float) -> str:
    return "none" if value in (float("inf"), float("-inf")) else f"{value:.4g}"


def check_table(name: str, frame: pd.DataFrame, prob: float) -> Table | None:
    """Return the numbers of a picture of :func:`ketpredict.check_figures.figures_with_tables`.

    Returns
    -------
    Table or None
        None where another table of the report holds them.
    """
    content = f"{100 * prob:g} %"
    writers: dict[str, Callable[[pd.DataFrame, str], Table]] = {
        "responders_by_arm": _by_arm,
        "responders_by_known_predictors": _by_pattern,
        "responders_by_prior": _by_prior,
        "test_statistics": _statistics,
        "calibration_known_trials": _calibration_known,
        "calibration_new_trials": _calibration_new,
        "predictors": _predictors,
        "decision_curves": _decision,
    }
    if name == "numbers_needed":
        return number_needed_table(frame, prob)
    return writers[name](frame, content) if name in writers else None


def check_alt(name: str, frame: pd.DataFrame) -> str:
    """Return what a picture of the checks shows, for those who do not see it."""
    writers: dict[str, Callable[[pd.DataFrame], str]] = {
        "responders_by_arm": _replicates_alt,
        "responders_by_known_predictors": _replicates_alt,
        "responders_by_prior": _replicates_alt,
        "test_statistics": _statistics_alt,
        "pareto_k": _pareto_alt,
        "pit_values": _pit_alt,
        "calibration_known_trials": _calibration_alt,
        "calibration_new_trials": _calibration_alt,
        "predictors": _predictors_alt,
        "decision_curves": _decision_alt,
        "numbers_needed": _needed_alt,
    }
    return writers[name](frame)


def _replicated(content: str, new: bool = True) -> list[Column]:
    columns: list[Column] = [
        ("Observed", lambda row: f"{row['observed']} of {row['n']}"),
        (f"Replicated ({content})", lambda row: interval(row["lower"], row["upper"], 0)),
        ("Mid-p", lambda row: p_words(row["p_value"])),
    ]
    if new:
        columns += [
            (
                f"As a new trial ({content})",
                lambda row: interval(row["new_lower"], row["new_upper"], 0),
            ),
            ("Its mid-p", lambda row: p_words(row["new_p_value"])),
        ]
    return columns


def _by_arm(frame: pd.DataFrame, content: str) -> Table:
    return table_of(
        frame,
        "responders-by-arm",
        "Responders by trial and arm: observed, and replicated by the fitted model",
        [
            ("Trial", lambda row: trial_words(row["trial"])),
            ("Population", lambda row: population_words(row["population"])),
            ("Arm", lambda row: arm_words(row["arm"])),
            *_replicated(content),
        ],
    )


def _by_pattern(frame: pd.DataFrame, content: str) -> Table:
    return table_of(
        frame,
        "responders-by-pattern",
        "Responders by kind of data and by which predictors are known",
        [
            ("Known predictors", lambda row: plain_words(row["known"])),
            ("Of", lambda row: _KINDS[row["kind"]]),
            *_replicated(content),
        ],
    )


def _by_prior(frame: pd.DataFrame, content: str) -> Table:
    return table_of(
        frame,
        "responders-by-prior",
        "Responders by population and arm: observed, and replicated by the prior alone",
        [
            ("Population", lambda row: population_words(row["population"])),
            ("Arm", lambda row: arm_words(row["arm"])),
            *_replicated(content, new=False),
        ],
    )


def _statistics(frame: pd.DataFrame, content: str) -> Table:
    return table_of(
        frame,
        "statistics",
        "Test statistics: observed, and replicated as new trials",
        (
            ("Statistic", lambda row: row["statistic"]),
            ("Observed", lambda row: number(row["observed"])),
            (f"Replicated ({content})", lambda row: interval(row["lower"], row["upper"])),
            ("Mid-p", lambda row: p_words(row["p_value"])),
        ),
    )


def _calibration_known(frame: pd.DataFrame, content: str) -> Table:
    return _calibration(frame, "known")


def _calibration_new(frame: pd.DataFrame, content: str) -> Table:
    return _calibration(frame, "new")


def _calibration(frame: pd.DataFrame, setting: str) -> Table:
    where = "in known trials" if setting == "known" else "as of new trials"
    return table_of(
        frame,
        f"calibration-{setting}",
        f"Calibration of patients' predictions {where}, by population",
        (
            ("Population", lambda row: population_words(row["population"])),
            ("Responders", lambda row: f"{whole(row['responders'])} of {whole(row['n'])}"),
            ("Expected", lambda row: number(row["expected"], 1)),
            ("Brier score lost to miscalibration", lambda row: number(row["miscalibration"], 4)),
            ("p", lambda row: p_words(row["p_value"])),
        ),
    )


def _predictors(frame: pd.DataFrame, content: str) -> Table:
    return table_of(
        frame,
        "predictor-law",
        "Predictors within trials: observed and replicated, reference scale",
        (
            ("Trial", lambda row: trial_words(row["trial"])),
            ("What", lambda row: f"{row['what']} of {plain_words(row['predictor'])}"),
            ("Patients", lambda row: f"{row['n']}"),
            ("Observed", lambda row: number(row["observed"])),
            (f"Replicated ({content})", lambda row: interval(row["lower"], row["upper"])),
            ("Other trials", lambda row: number(row["others"])),
            ("Mid-p", lambda row: p_words(row["p_value"])),
        ),
        "Of SDs and correlations the p-value is that of the difference from the other trials.",
    )


def outlying_table(frame: pd.DataFrame) -> Table:
    """Return :func:`ketpredict.outlying_trials.outlying_trials` for readers."""
    return table_of(
        frame,
        "outlying",
        "Each trial against what the other trials foresee",
        (
            ("Trial", lambda row: trial_words(row["trial"])),
            *[(f"{side.capitalize()} arms", _seen(side)) for side in SIDES],
            ("Distance (SDs)", lambda row: number(row["distance"])),
            ("p", lambda row: p_words(row["p_value"])),
        ),
        "Responders observed, and expected as a new trial. Distance: over both sides, deleted "
        "residuals in standard deviations; p: share of replicates of the trial as far out.",
    )


def _seen(side: str) -> Callable[[Row], str]:
    def write(row: Row) -> str:
        if row[f"{side}_n"] != row[f"{side}_n"]:
            return DASH
        seen = f"{whole(row[f'{side}_responders'])} of {whole(row[f'{side}_n'])}"
        return f"{seen} ({number(row[f'{side}_expected'], 1)})"

    return write


def _decision(frame: pd.DataFrame, content: str) -> Table:
    tenths = frame["threshold"] / _STEP
    some = frame[(tenths - tenths.round()).abs() < 1e-6]
    return table_of(
        some,
        "decision",
        "Net benefit (responders per patient) at some thresholds",
        (
            ("Population", lambda row: population_words(row["population"])),
            ("Threshold", lambda row: percent(row["threshold"])),
            ("By the model", lambda row: number(row["net_benefit"])),
            (f"Its interval ({content})", lambda row: interval(row["lower"], row["upper"])),
            ("Treat all", lambda row: number(row["treat_all"])),
            (
                "Interval of treat all",
                lambda row: interval(row["treat_all_lower"], row["treat_all_upper"]),
            ),
        ),
    )


def _replicates_alt(frame: pd.DataFrame) -> str:
    inside = int(frame["observed"].between(frame["lower"], frame["upper"]).sum())
    worst = frame.loc[frame["p_value"].idxmin()]
    words = (
        f"{counted(len(frame), 'row')} of observed and replicated shares of responders. {inside} "
        f"observed points lie inside their interval; the least expected is {_row_words(worst)}: "
        f"{worst['observed']} of {worst['n']} observed, "
        f"{interval(worst['lower'], worst['upper'], 0)} replicated, p = "
        f"{p_words(worst['p_value'])}."
    )
    if "new_lower" in frame:
        new = int(frame["observed"].between(frame["new_lower"], frame["new_upper"]).sum())
        words += f" As new trials {new} lie inside."
    return words


def _row_words(row: pd.Series) -> str:
    writers: dict[str, Callable[[Any], str]] = {
        "trial": trial_words,
        "known": lambda value: plain_words(f"known {value}"),
        "population": population_words,
        "arm": lambda value: arm_words(value).lower(),
    }
    return ", ".join(write(row[name]) for name, write in writers.items() if name in row)


def _statistics_alt(frame: pd.DataFrame) -> str:
    there = frame[frame["p_value"].notna()]
    if there.empty:
        return "Histograms of replicated test statistics; the data have none of them."
    worst = there.loc[there["p_value"].idxmin()]
    return (
        f"Histograms of {counted(len(there), 'replicated test statistic')} with the observed "
        f"value of each as a line. The least expected is the {worst['statistic']}: "
        f"{number(worst['observed'])} observed, replicated "
        f"{interval(worst['lower'], worst['upper'])}, p = {p_words(worst['p_value'])}."
    )


def _pareto_alt(frame: pd.DataFrame) -> str:
    parts = []
    for kind, rows in frame.groupby("kind"):
        above = rows.loc[rows["pareto_k"] > PARETO_LIMIT, "times"].sum()
        parts.append(
            f"{whole(above)} of {whole(rows['times'].sum())} {_KINDS[str(kind)]} are above "
            f"{PARETO_LIMIT}, the largest is {pareto_words(rows['pareto_k'].max())}"
        )
    return f"Pareto k of each left out, as points: {'; '.join(parts)}."


def _pit_alt(frame: pd.DataFrame) -> str:
    parts = []
    for kind, rows in frame.groupby("kind"):
        low = (rows["pit"] < 0.5).mean()
        tails = ((rows["pit"] < 0.05) | (rows["pit"] > 0.95)).mean()
        parts.append(
            f"of {len(rows)} {_KINDS[str(kind)]} {percent(low)} lie below one half (50 % if "
            f"right) and {percent(tails)} in the outer tenth (10 % if right)"
        )
    return f"Distribution of PIT values less the uniform one, in its band: {'; '.join(parts)}."


def _calibration_alt(frame: pd.DataFrame) -> str:
    parts = [
        f"{population_words(str(row['population']))}: {whole(row['responders'])} of "
        f"{whole(row['n'])} responded, {number(row['expected'], 1)} expected, p = "
        f"{p_words(row['p_value'])}"
        for row in frame.to_dict("records")
    ]
    return f"Calibration curves in their bands, one panel a population. {'; '.join(parts)}."


def _predictors_alt(frame: pd.DataFrame) -> str:
    inside = int(frame["observed"].between(frame["lower"], frame["upper"]).sum())
    worst = frame.loc[frame["p_value"].idxmin()]
    return (
        f"{inside} of {counted(len(frame), 'observed summary', 'observed summaries')} of "
        "predictors lie inside what the model replicates. The least expected is the "
        f"{worst['what']} of {plain_words(worst['predictor'])} in "
        f"{trial_words(worst['trial'])}: {number(worst['observed'])}, replicated "
        f"{interval(worst['lower'], worst['upper'])}, p = {p_words(worst['p_value'])}."
    )


def _decision_alt(frame: pd.DataFrame) -> str:
    parts = []
    for population, rows in frame.groupby("population", sort=False):
        ahead = share_ahead(rows)
        row = rows.iloc[int((rows["threshold"] - 0.3).abs().to_numpy().argmin())]
        where = (
            f"above both at {percent(ahead)} of the thresholds"
            if ahead > 0
            else "nowhere above both treating all and nobody"
        )
        parts.append(
            f"{population_words(str(population))}: {where}; at a threshold of "
            f"{percent(row['threshold'])} {number(row['net_benefit'])} "
            f"({interval(row['lower'], row['upper'])})"
        )
    return f"Net benefit of acting on the predictions. {'; '.join(parts)}."


def _needed_alt(frame: pd.DataFrame) -> str:
    parts = [
        f"{population_words(row['population'])} against {arm_words(row['control']).lower()}: "
        f"{100 * row['difference']:.0f} more of 100 respond "
        f"({percent_range(row['lower'], row['upper'])}{', extrapolated' if row['reason'] else ''})"
        for row in frame.to_dict("records")
    ]
    return f"Differences in response from control, with intervals. {'; '.join(parts) or DASH}."
