"""Pictures of clinical use: decision curves, and numbers needed to treat."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ketpredict.panels import BLUE, ORANGE, QUIET, legend, line, panels
from ketpredict.wording import RESEARCH_ONLY, arm_words, population_words

_ROW = 0.34


def decision_plot(curve: pd.DataFrame, prob: float = 0.9) -> Figure:
    """Return net benefit against the threshold, by population.

    Parameters
    ----------
    curve : DataFrame
        From :func:`ketpredict.decision.decision_curve`.
    prob : float
        Probability content of the bands, for the caption.
    """
    caption = (
        "Net benefit: responders treated, less others treated at the odds of the threshold, per "
        f"patient. Bands: {100 * prob:g} % (Bayesian bootstrap over patients); each prediction is "
        "made without the patient's own outcome, in a trial that is otherwise known. A good one: "
        "blue above both orange (treat all) and zero (treat nobody) over thresholds that "
        "somebody would hold. Where it is not, the predictions would help nobody decide. "
        f"{RESEARCH_ONLY}"
    )
    groups = list(curve.groupby("population", sort=False))
    figure, axes = panels(len(groups), "Decision curves", caption, row_inches=3.7)
    for place, (name, rows) in zip(axes, groups, strict=True):
        x = rows["threshold"]
        place.axhline(0.0, color=QUIET, linewidth=1.2)
        # Treating all is drawn last and thinner: where the two are the same both are seen.
        for middle, lower, upper, colour, style, width in (
            ("net_benefit", "lower", "upper", BLUE, "-", 2.8),
            ("treat_all", "treat_all_lower", "treat_all_upper", ORANGE, "--", 1.4),
        ):
            place.fill_between(x, rows[lower], rows[upper], color=colour, alpha=0.2, linewidth=0)
            place.plot(x, rows[middle], color=colour, linestyle=style, linewidth=width)
        top = float(np.max([rows["upper"].max(), rows["treat_all_upper"].max(), 0.1]))
        # Below this nobody would use the rule; treating all falls without bound.
        place.set_ylim(-0.35 * top, 1.1 * top)
        people = f"{rows['responders'].iloc[0]:.0f} of {rows['n'].iloc[0]:.0f} responded"
        place.set_title(f"{population_words(str(name))}: {people}", fontsize=9.5, loc="left")
        place.set_xlabel("Threshold probability of response", fontsize=9.5)
        place.set_xlim(0, 1)
    axes[0].set_ylabel("Net benefit (responders per patient)")
    handles = [
        line("by the model", BLUE, linewidth=2.8),
        line("treat all", ORANGE, linewidth=1.4, linestyle="--"),
        line("treat nobody", QUIET, linewidth=1.2),
    ]
    legend(axes[-1], handles, loc="lower right", bbox_to_anchor=(1.0, 1.05), ncols=3)
    return figure


def number_needed_plot(table: pd.DataFrame, prob: float = 0.9) -> Figure:
    """Return how much more often an average patient responds than under control, and the number.

    Parameters
    ----------
    table : DataFrame
        From :func:`ketpredict.decision.number_needed`.
    prob : float
        Probability content of the intervals, for the caption.
    """
    caption = (
        f"Points and lines: difference in the probability of response with {100 * prob:g} % "
        "intervals, for an average patient in a new blinded trial, averaged over trials. Beside "
        "it: patients treated for one more responder; where the interval holds 0 it has no upper "
        "end. A good one: intervals clear of 0, and wide where few trials compare the two. "
    )
    if (table["reason"] != "").any():
        caption += "†: this population's 24 h prediction is an extrapolation. "
    caption += RESEARCH_ONLY
    arms = " and ".join(arm_words(arm) for arm in sorted(set(table["arm"])))
    title = f"{arms} against control: number needed to treat"
    figure, (axes,) = panels(1, title, caption, row_inches=_ROW * len(table) + 1.4)
    figure.subplots_adjust(left=0.3, right=0.7)
    places = np.arange(len(table))
    axes.hlines(places, 100 * table["lower"], 100 * table["upper"], color=BLUE, linewidth=3)
    axes.plot(100 * table["difference"], places, "o", color=BLUE, markersize=7)
    axes.axvline(0.0, color=QUIET, linewidth=1)
    labels = [
        f"{population_words(row['population'])}, {arm_words(row['control']).lower()}"
        f"{' †' if row['reason'] else ''}"
        for row in table.to_dict("records")
    ]
    axes.set_yticks(places, labels, fontsize=9)
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.set_xlabel("More responders among 100 patients")
    for place, row in zip(places, table.to_dict("records"), strict=True):
        words = _number_words(row["number_needed"], row["number_lower"], row["number_upper"])
        axes.text(1.03, place, words, transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    axes.set_title("Number needed to treat", loc="left", x=1.03, fontsize=9.5, weight="bold")
    return figure


def _number_words(number: float, lower: float, upper: float) -> str:
    if not np.isfinite(number):
        return "none: no more respond on average"
    end = f"{upper:.1f}" if np.isfinite(upper) else "no upper end"
    return f"{number:.1f} ({lower:.1f} to {end})"
