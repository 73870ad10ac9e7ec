"""Validation in a report: leave-one-trial-out from its file, and what is left out one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ketpredict.errors import DataError
from ketpredict.importance import PARETO_LIMIT
from ketpredict.leave_out import METHODS, LeftOut
from ketpredict.loo import LeaveOneOut
from ketpredict.posterior import Posterior
from ketpredict.report_tables import Row, Table, interval, number, table_of, whole
from ketpredict.wording import DASH, counted, pareto_words, percent, trial_words

MEASURES = {
    "c_statistic": "c-statistic (1 is best, 0.5 is chance)",
    "calibration_in_the_large": "calibration in the large (log odds, 0 is best)",
    "calibration_slope": "calibration slope (1 is best)",
    "brier": "Brier score (0 is best)",
    "log_score": "log score (0 is best)",
}
MOST_ROUGH = 0.1
"""Share of events above the limit of Pareto k from which on a sum over them is marked."""
_TABLES = {
    "pooled": "measure kind trials estimate lower upper prediction_lower prediction_upper tau",
    "trials": "trial kind n responders measure estimate lower upper",
    "folds": "fold method share share_error joint_log_score joint_error",
    "units": "trial kind arm n responders probability lower upper pit",
}
"""The tables that are read, and columns that each must have."""
_KINDS = {"patients": "patients", "arm": "published arms"}
_EVENTS = {"patients": "single patients", "arm": "published arms", "all": "all"}
_HINT = "Write one with: ketpredict validate FIT --json > validation.json"


def fit_identity(posterior: Posterior) -> dict[str, str]:
    """Return what tells one fit from another: hashes of its specification and its evidence."""
    provenance = posterior.facts["provenance"]
    return {name: str(provenance.get(name, "")) for name in ("specification", "evidence")}


def read_validation(path: str | Path, posterior: Posterior) -> LeftOut:
    """Return the leave-one-trial-out of a fit from the JSON of ``ketpredict validate --json``.

    Raises
    ------
    DataError
        There is no such file, it holds something else, or it is of another fit.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, UnicodeDecodeError):
            reason = "it is not text"
        raise DataError(f"Validation '{path}' cannot be read: {reason}.") from None
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"Validation '{path}' is not JSON: {error}. {_HINT}") from None
    needed = {"by", "method", "prob", "fit", *_TABLES}
    missing = sorted(needed - set(found)) if isinstance(found, dict) else sorted(needed)
    if missing:
        raise DataError(
            f"Validation '{path}' lacks {', '.join(missing)}: it is not what ketpredict validate "
            f"--json of this version writes. {_HINT}"
        )
    if found["fit"] != fit_identity(posterior):
        raise DataError(
            f"Validation '{path}' is of another fit: its specification or evidence differs from "
            f"that of the fit reported. {_HINT}"
        )
    try:
        tables = {name: _frame(found[name]) for name in _TABLES}
        for name, columns in _TABLES.items():
            if absent := sorted(set(columns.split()) - set(tables[name])):
                raise ValueError(f"'{name}' lacks {', '.join(absent)}")
        classes = dict(zip(posterior.coords["arm"], posterior.facts["arm_class"], strict=True))
        tables["units"]["control"] = tables["units"]["arm"].map(classes) != "active"
        if found["method"] not in METHODS:
            raise ValueError(f"its method is '{found['method']}'")
        comparison = _frame(found["comparison"]) if found.get("comparison") else None
        return LeftOut(
            by=str(found["by"]),
            method=str(found["method"]),
            prob=float(found["prob"]),
            comparison=comparison,
            **tables,
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(f"Validation '{path}' cannot be used: {error}. {_HINT}") from None


def _frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    """Return a table from its JSON; where nothing is told a number is missing."""
    frame = pd.DataFrame(records)
    for name in frame:
        if frame[name].isna().all():
            frame[name] = np.nan
    return frame


def pooled_words_table(found: LeftOut) -> Table:
    """Return the measures pooled over trials."""
    content = f"{100 * found.prob:g} %"
    return table_of(
        found.pooled,
        "validation-pooled",
        f"Each {found.by} predicted from all others: measures pooled over trials",
        (
            ("Measure", _measure),
            ("Of", lambda row: _KINDS[row["kind"]]),
            ("Trials", lambda row: f"{row['trials']}"),
            ("Pooled", lambda row: number(row["estimate"])),
            (f"Interval ({content})", lambda row: interval(row["lower"], row["upper"])),
            (
                f"Next trial ({content})",
                lambda row: interval(row["prediction_lower"], row["prediction_upper"]),
            ),
            ("SD between trials", lambda row: number(row["tau"])),
        ),
        "Random-effects pooling (REML, Hartung-Knapp); fewer than three trials give none. The "
        "interval for the next trial is what a new site should expect. Measures of patients are of "
        "all arms of a trial, controls included.",
    )


def method_words(found: LeftOut) -> str:
    """Return how the folds were left out, and how many importance sampling failed for."""
    words = {
        "refit": "by a refit each",
        "importance": "by importance sampling, without refits",
        "both": "by a refit each, and by importance sampling to compare",
    }[found.method]
    if "pareto_k" not in found.folds:
        return words
    judged = found.folds.loc[found.folds["method"] == "importance", "pareto_k"]
    failed = int((~(judged <= PARETO_LIMIT)).sum())
    return f"{words} (Pareto k above {PARETO_LIMIT} in {failed} of {len(judged)})"


def folds_table(found: LeftOut) -> Table:
    """Return what is known of each fold."""
    return table_of(
        found.folds,
        "validation-folds",
        f"Each {found.by} left out",
        (
            ("Left out", lambda row: trial_words(str(row["fold"]))),
            ("Way", lambda row: row["method"]),
            (
                "Predicted share (± Monte Carlo error)",
                lambda row: f"{number(row['share'])} ± {number(row['share_error'], 3)}",
            ),
            (
                "Log score of all its outcomes (± Monte Carlo error)",
                lambda row: (
                    f"{number(row['joint_log_score'], 1)} ± {number(row['joint_error'], 1)}"
                ),
            ),
            ("Judged by", _judged),
        ),
        f"‡: Pareto k above {PARETO_LIMIT}, importance sampling fails for it: refit this one.",
    )


def trial_measures_table(found: LeftOut) -> Table:
    """Return every measure of every trial."""
    return table_of(
        found.trials,
        "validation-trials",
        f"Measures of each trial, predicted without its own data, with {100 * found.prob:g} % "
        "intervals",
        (
            ("Trial", lambda row: trial_words(row["trial"])),
            ("Of", lambda row: _KINDS[row["kind"]]),
            ("Responders", lambda row: f"{whole(row['responders'])} of {whole(row['n'])}"),
            ("Measure", _measure),
            ("Estimate", lambda row: number(row["estimate"])),
            ("Interval", lambda row: interval(row["lower"], row["upper"])),
            ("Why none", lambda row: _text(row.get("reason"))),
        ),
    )


def left_out_table(found: LeaveOneOut) -> Table:
    """Return what leave-one-out by importance sampling adds up to."""
    return table_of(
        found.summary(),
        "leave-one-out",
        "Leave-one-out of patients and arms, by importance sampling",
        (
            ("Left out", lambda row: _EVENTS[row["kind"]]),
            ("Number", lambda row: whole(row["events"])),
            (
                "Log score, summed (± SE)",
                lambda row: (
                    f"{number(row['elpd'], 1)} ± {number(row['se'], 1)}"
                    f"{' ‡' if row['share_above'] > MOST_ROUGH else ''}"
                ),
            ),
            ("Effective parameters", lambda row: number(row["p_loo"], 1)),
            ("Largest Pareto k", lambda row: number(row["largest_k"])),
            (f"Share above {PARETO_LIMIT}", lambda row: percent(row["share_above"])),
        ),
        "The trial of whoever is left out stays known by the others in it. Where Pareto k is above "
        f"{PARETO_LIMIT} the number is rough. ‡: not to be used, above {PARETO_LIMIT} in more than "
        f"{percent(MOST_ROUGH)}; leave trials out instead.",
    )


def left_out_measures_table(frame: pd.DataFrame, prob: float) -> Table:
    """Return :func:`ketpredict.left_out_measures.left_out_measures` for readers."""
    return table_of(
        frame,
        "left-out-measures",
        f"Treated patients predicted without their own outcome, with {100 * prob:g} % intervals",
        (
            ("Trial", lambda row: trial_words(row["trial"])),
            ("Responders", lambda row: f"{row['responders']} of {row['n']}"),
            ("Measure", lambda row: MEASURES[row["measure"]]),
            ("Left out", lambda row: number(row["estimate"])),
            ("Interval", lambda row: interval(row["lower"], row["upper"])),
            ("Apparent", lambda row: number(row["apparent"])),
            (
                "Its interval",
                lambda row: interval(row["apparent_lower"], row["apparent_upper"]),
            ),
            ("Why none", lambda row: row["reason"] or DASH),
        ),
        "Apparent: the prediction knows the patient's own outcome, too good by that. Left out: too "
        "low a c-statistic with few patients, since each outcome left out moves the level of its "
        "trial the other way; below 0.5 it says that the predictions hardly tell patients apart. "
        "Calibration flatters both ways, the trial being known. Intervals are of the sampling of "
        "patients: of few responders they say next to nothing.",
    )


def calibration_alt(found: LeftOut) -> str:
    """Return what the picture of calibration by trial shows."""
    units = found.units
    arms = units[units["kind"] == "arm"]
    patients = units[units["kind"] == "patients"]
    parts = []
    if len(patients):
        trials = patients["trial"].nunique()
        parts.append(f"calibration curves of the patients of {counted(trials, 'trial')}")
    if len(arms):
        share = arms["responders"] / arms["n"]
        inside = int(share.between(arms["lower"], arms["upper"]).sum())
        worst = arms.loc[(share - arms["probability"]).abs().idxmax()]
        parts.append(
            f"the observed share of {inside} of {counted(len(arms), 'published arm')} lies inside "
            f"the interval of the probability in one new trial (the share varies by chance "
            f"beyond it); furthest from its prediction is {trial_words(worst['trial'])}, "
            f"{percent(worst['responders'] / worst['n'])} observed and "
            f"{percent(worst['probability'])} predicted"
        )
    return f"Predictions without a trial's own data: {'; '.join(parts)}."


def forest_alt(found: LeftOut) -> str:
    """Return what the forest of measures shows."""
    rows = found.pooled[found.pooled["estimate"].notna()].to_dict("records")
    parts = [
        f"{_measure(row)} of {_KINDS[row['kind']]} "
        f"{number(row['estimate'])} ({interval(row['lower'], row['upper'])})"
        for row in rows
    ]
    return (
        f"Forest of measures by trial. Pooled: "
        f"{'; '.join(parts) or 'nothing, since fewer than three trials have a measure'}."
    )


def _measure(row: Row) -> str:
    return MEASURES.get(row["measure"], str(row["measure"]))


def _judged(row: Row) -> str:
    if row["method"] == "importance":
        mark = "" if row["pareto_k"] <= PARETO_LIMIT else " ‡"
        return f"Pareto k {pareto_words(row['pareto_k'])}{mark}"
    verdict = "NOT converged; " if _text(row.get("problems")) not in ("", DASH) else ""
    smallest = min(row["ess_bulk"], row["ess_tail"])
    return f"{verdict}R-hat {number(row['rhat'], 3)}, effective draws {smallest:.0f}"


def _text(value: Any) -> str:
    return DASH if value is None or value != value or value == "" else str(value)
