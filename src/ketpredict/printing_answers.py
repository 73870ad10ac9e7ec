"""Tables of print for what a fit answers: explanations, effects, updates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from ketpredict.printing import new_table
from ketpredict.wording import (
    DASH,
    arm_words,
    pareto_words,
    percent,
    percent_range,
    plain_words,
    population_words,
    signed_points,
    trial_words,
)

if TYPE_CHECKING:
    import pandas as pd

    from ketpredict.explanation import Explanation


def explanation_print(found: Explanation) -> Group:
    """Return what to print of :func:`ketpredict.explanation.explain`."""
    content = f"{100 * found.prob:g} %"
    known = new_table("Known", "Value", "Moved (points)", "Probability\nwithout it", numbers_from=2)
    for row in found.known.to_dict("records"):
        limits = f"({signed_points(row['lower'])} to {signed_points(row['upper'])})"
        known.add_row(
            str(row["label"]),
            str(row["value"]),
            f"{signed_points(row['moved'])} {limits}",
            percent(row["without"]),
        )
    parts: list[Text | Table] = [
        Text(
            f"Probability of response {percent(found.probability)} "
            f"({content} interval {percent_range(*found.interval)}); were no predictor known, "
            f"{percent(found.nothing_known)} ({percent_range(*found.nothing_known_interval)})."
        )
    ]
    if len(found.known):
        how = "" if found.exact else "; by samples of orders, with a Monte Carlo error"
        parts += [
            Text(f"How far each known predictor moved it, with {content} intervals{how}:"),
            known,
        ]
    if len(found.missing):
        missing = new_table("Not known", "Could move (points, SD)", f"{content} interval")
        for row in found.missing.to_dict("records"):
            missing.add_row(
                str(row["label"]),
                f"{100 * row['could_move']:.0f}",
                f"{100 * row['lower']:.0f}{DASH}{100 * row['upper']:.0f}",
            )
        parts += [Text("What is not known, and how far it could move the probability:"), missing]
    parts.append(Text("Associations, not causes. Averaged over trials that the fit has not seen."))
    return Group(*parts)


def marginal_effects_print(table: pd.DataFrame, prob: float) -> Group:
    """Return what to print of :func:`ketpredict.marginal_effects.effects_table`."""
    content = f"{100 * prob:g} %"
    parts: list[Text | Table] = [
        Text(
            "Difference of the probability of response (points) that goes along with one step of "
            f"each predictor, averaged over patients and trials, with {content} intervals."
        )
    ]
    for population, rows in table.groupby("population", sort=False):
        printed = new_table(
            "Predictor", "Step", "Difference\n(points)", "Odds\nratio", "Overlap\nwith prior",
            numbers_from=2,
        )  # fmt: skip
        for row in rows.to_dict("records"):
            printed.add_row(
                plain_words(row["predictor"]),
                str(row["step"]),
                f"{signed_points(row['difference'])}\n"
                f"({signed_points(row['lower'])} to {signed_points(row['upper'])})",
                f"{row['odds_ratio']:.2f}\n"
                f"({row['odds_ratio_lower']:.2f}{DASH}{row['odds_ratio_upper']:.2f})",
                percent(row["prior_overlap"]),
            )
        mark = " †" if rows["extrapolated"].any() else ""
        parts += [Text(f"{population_words(str(population))}{mark}", style="bold"), printed]
    if table["extrapolated"].any():
        parts.append(Text("† extrapolated to 24 h and 50 % improvement from other outcomes."))
    parts.append(
        Text(
            "Associations, not causes. Overlap with prior: 100 % is a difference where the prior "
            "has it; none where no trial and no published effect tells of the predictor."
        )
    )
    return Group(*parts)


def update_print(table: pd.DataFrame) -> Group:
    """Return what to print of :func:`ketpredict.updating.update_table`."""
    printed = new_table(
        "Trial", "Arm", "Observed", "Before, as a\nnew trial", "Now, in\nthis trial", numbers_from=2
    )
    for row in table.to_dict("records"):
        printed.add_row(
            trial_words(row["trial"]),
            arm_words(row["arm"]),
            f"{row['responders']:.0f} of {row['n']:.0f}",
            *(
                f"{percent(row[f'probability{ending}'])}\n"
                f"({percent_range(row[f'lower{ending}'], row[f'upper{ending}'])})"
                for ending in ("_before", "")
            ),
        )
    last = table.iloc[-1]
    return Group(
        Text("Probability of response of an average patient:"),
        printed,
        Text(
            f"{last['effective_draws']:.0f} effective draws are left after the update; Pareto k "
            f"{pareto_words(last['pareto_k'])} (trustworthy to 0.7)."
        ),
    )
