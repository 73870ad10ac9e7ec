"""Tables of print for leave-one-trial-out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from ketpredict.importance import PARETO_LIMIT
from ketpredict.printing import new_table
from ketpredict.wording import DASH, pareto_words, trial_words

if TYPE_CHECKING:
    from ketpredict.leave_out import LeftOut

_NAMES = {
    "c_statistic": "c-statistic (1 is best, 0.5 is chance)",
    "calibration_in_the_large": "calibration in the large (0; slope fixed at 1)",
    "calibration_slope": "calibration slope (1; intercept joint)",
    "brier": "Brier score (0 is best)",
    "log_score": "log score (0 is best)",
}


def validation_print(found: LeftOut) -> Group:
    """Return what to print of :func:`ketpredict.leave_out.leave_one_trial_out`."""
    content = f"{100 * found.prob:g} %"
    what = "trial" if found.by == "trial" else "population"
    parts: list[Text | Table] = [
        Text(f"Each {what} predicted from all others, as a new one, with {content} intervals.")
    ]
    for kind, words in (("patients", "Patients"), ("arm", "Published arms")):
        rows = found.pooled[found.pooled["kind"] == kind]
        if len(rows):
            parts += [Text(f"{words}, pooled over trials:", style="bold"), _pooled(rows)]
    parts += [Text("Each fold:", style="bold"), _folds(found)]
    by_weights = found.folds[found.folds["method"] == "importance"]
    if len(by_weights) and not (by_weights["pareto_k"] <= PARETO_LIMIT).all():
        parts.append(Text("† Pareto k above 0.7: importance sampling fails; refit this one."))
    if found.comparison is not None:
        worst = found.comparison["standardised"].abs().max()
        parts.append(
            Text(
                "Refits and importance sampling differ by "
                f"{worst:.1f} Monte Carlo errors at most, folds with k above 0.7 included."
            )
        )
    return Group(*parts)


def _pooled(rows: Any) -> Table:
    printed = new_table(
        "Measure (ideal)", "Trials", "Pooled", "Interval", "Next trial", numbers_from=1
    )
    for row in rows.to_dict("records"):
        printed.add_row(
            _NAMES.get(row["measure"], row["measure"]),
            str(row["trials"]),
            _number(row["estimate"]),
            _range(row["lower"], row["upper"]),
            _range(row["prediction_lower"], row["prediction_upper"]),
        )
    return printed


def _folds(found: LeftOut) -> Table:
    printed = new_table("Left out", "Way", "Predicted\nshare", "Log score\njointly", "Judged by")
    printed.columns[1].justify = "left"
    for row in found.folds.to_dict("records"):
        printed.add_row(
            trial_words(str(row["fold"])),
            str(row["method"]),
            f"{_number(row['share'])} ± {row['share_error']:.3f}",
            f"{_number(row['joint_log_score'], 1)} ± {row['joint_error']:.1f}",
            _judged(row),
        )
    return printed


def _judged(row: dict[str, Any]) -> str:
    if row["method"] == "importance":
        mark = " †" if not row["pareto_k"] <= PARETO_LIMIT else ""
        return f"k {pareto_words(row['pareto_k'])}{mark}"
    verdict = "NOT converged, " if row["problems"] else ""
    return f"{verdict}ESS {min(row['ess_bulk'], row['ess_tail']):.0f}"


def _number(value: float, digits: int = 2) -> str:
    return DASH if value != value else f"{value:.{digits}f}".replace("-", "−")


def _range(low: float, high: float) -> str:
    return DASH if low != low else f"{_number(low)} to {_number(high)}"
