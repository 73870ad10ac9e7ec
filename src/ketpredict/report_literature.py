"""Tables of a report: what the published effects of predictors did to a fit, and which did not."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from ketpredict.importance import PARETO_LIMIT
from ketpredict.posterior import Posterior
from ketpredict.report_tables import Row, Table, table_of, whole
from ketpredict.wording import DASH, counted, pareto_words, plain_words, signed, trial_words


def literature_counts(posterior: Posterior) -> str:
    """Return in one sentence how many published effects entered, and how many did not."""
    fates = posterior.facts["effects"]
    if not fates:
        return "This fit was given no published predictor effects."
    used = [fate for fate in fates if fate["used"]]
    cohorts = len({fate["cohort"] for fate in used})
    twice = sum(bool(fate["twice"]) for fate in fates)
    shared = sum(bool(fate["shared"]) for fate in used)
    words = (
        f"{len(used)} of {counted(len(fates), 'published predictor effect')} enter, from "
        f"{counted(cohorts, 'cohort')}; {len(fates) - len(used)} do not, each for a stated reason."
    )
    if used:
        cohort, most = Counter(str(fate["cohort"]) for fate in used).most_common(1)[0]
        words += f" {most} of the {len(used)} are of one cohort, {trial_words(cohort)}."
    if twice:
        words += f" {twice} are left out because their patients stand in the table of patients."
    if shared:
        words += f" {shared} count less because they may share patients with the table of patients."
    return words + " What was never published is not corrected for."


def effects_table_of(posterior: Posterior, left_out: pd.DataFrame) -> Table:
    """Return every published effect that enters, and how far its slope moves without it."""
    used = [fate for fate in posterior.facts["effects"] if fate["used"]]
    frame = pd.DataFrame(used).reset_index(drop=True)
    frame = pd.concat([frame, left_out.drop(columns=["predictor", "power"])], axis=1)
    names = [predictor.name for predictor in posterior.predictors]
    place = frame["predictor"].map(names.index)
    frame = frame.assign(place=place).sort_values(["place", "cohort", "hours"], kind="stable")
    labels = {predictor.name: predictor.label for predictor in posterior.predictors}
    return table_of(
        frame,
        "effects-used",
        "Published effects that enter, and how far each alone moves the slope of its predictor",
        (
            ("Predictor", lambda row: labels[row["predictor"]]),
            ("Cohort", lambda row: trial_words(row["cohort"]) or DASH),
            ("Source", lambda row: row["citation"] or DASH),
            ("Hours", lambda row: DASH if _absent(row["hours"]) else f"{row['hours']:g}"),
            ("n", lambda row: DASH if _absent(row["n"]) else whole(row["n"])),
            ("How it enters", lambda row: row["why"]),
            ("Power", lambda row: f"{row['power']:g}"),
            ("Slope without it", lambda row: signed(row["slope_left_out"])),
            ("Moves the slope (SDs)", lambda row: signed(row["shift"])),
            ("Pareto k", _k_words),
        ),
        f"By importance sampling, without a refit. ‡: Pareto k above {PARETO_LIMIT}, the number is "
        "a hint only. Power: 1 counts in full, 0.5 half (one cohort alone, or patients perhaps "
        "shared).",
    )


def refused_table(posterior: Posterior) -> Table:
    """Return every published effect that does not enter, and why."""
    frame = pd.DataFrame([fate for fate in posterior.facts["effects"] if not fate["used"]])
    return table_of(
        frame,
        "effects-refused",
        "Published effects that do not enter, and why",
        (
            ("Predictor", lambda row: plain_words(row["predictor"])),
            ("Cohort", lambda row: trial_words(row["cohort"]) or DASH),
            ("Source", lambda row: row["citation"] or DASH),
            ("Statistic", lambda row: plain_words(row["statistic"]) or DASH),
            ("Why not", lambda row: plain_words(row["why"])),
        ),
    )


def refused_counts_table(posterior: Posterior) -> Table:
    """Return how many published effects do not enter, by the kind of reason."""
    reasons = [
        str(fate["why"]).partition(":")[0]
        for fate in posterior.facts["effects"]
        if not fate["used"]
    ]
    rows = [(_reason(reason), f"{count}") for reason, count in Counter(reasons).most_common()]
    return Table(
        "effects-refused-counts",
        "Published effects that do not enter, by reason",
        ("Reason", "Effects"),
        tuple(rows),
        "How the literature was searched the author states; nothing here corrects for what was "
        "never published.",
    )


def _reason(name: str) -> str:
    words = plain_words(name).strip() or "not told"
    return words[:1].upper() + words[1:]


def _k_words(row: Row) -> str:
    return f"{pareto_words(row['pareto_k'])}{'' if row['pareto_k'] <= PARETO_LIMIT else ' ‡'}"


def _absent(value: object) -> bool:
    return value is None or value != value
