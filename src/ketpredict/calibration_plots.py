"""Pictures of calibration: a curve for each group, in the band of what the model replicates."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ketpredict.calibration import Calibration
from ketpredict.panels import BLUE, QUIET, panels
from ketpredict.replicates import KNOWN_TRIAL
from ketpredict.wording import arm_words, population_words, trial_words

_WORDS = {"population": population_words, "trial": trial_words, "arm": arm_words}


def calibration_plot(found: Calibration, prob: float = 0.9) -> Figure:
    """Return the calibration curve of each group with its consistency band.

    Parameters
    ----------
    found : Calibration
    prob : float
        Probability content of the bands, for the caption.
    """
    where = "in known trials" if found.setting == KNOWN_TRIAL else "as of new trials"
    caption = (
        "Black: share that responded against the predicted probability (isotonic regression); "
        f"ticks below: the predictions. Band: {100 * prob:g} % of data replicated by the model, "
        "at each point. Dashed: perfect calibration. A good one: the curve within its band, "
        "which need not hold the diagonal exactly, since an isotonic curve of few patients is "
        "made of steps. p: how often a replicated data set is as far off."
    )
    title = f"Calibration of predictions {where}"
    figure, axes = panels(len(found.table), title, caption, row_inches=3.9)
    for place, row in zip(axes, found.table.to_dict("records"), strict=True):
        same = np.logical_and.reduce([found.curves[name] == row[name] for name in found.by])
        curve = found.curves[same]
        x = curve["probability"]
        place.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle="--")
        if len(curve) > 1:
            place.fill_between(x, curve["lower"], curve["upper"], color=BLUE, alpha=0.25)
        else:
            place.vlines(x, curve["lower"], curve["upper"], color=BLUE, linewidth=6, alpha=0.25)
        marker = "o" if len(curve) < 8 else ""
        place.plot(x, curve["observed"], color="black", linewidth=1.6, marker=marker, markersize=4)
        place.plot(x, np.full(len(x), -0.03), "|", color="black", markersize=5, alpha=0.5)
        words = ", ".join(
            _WORDS[name](str(row[name])) if name in _WORDS else str(row[name]) for name in found.by
        )
        place.set_title(
            f"{words}\n{row['responders']:.0f} of {row['n']:.0f}, {row['expected']:.1f} expected, "
            f"p = {row['p_value']:.2f}",
            fontsize=9,
            loc="left",
        )
        # The panel is as wide as its predictions: of a narrow range nothing else would be seen.
        low, high = float(x.min()), float(x.max())
        margin = max(0.05, 0.08 * (high - low))
        place.set_xlim(max(-0.01, low - margin), min(1.01, high + margin))
        place.set_ylim(-0.06, 1.02)
        place.set_xlabel("Predicted probability of response", fontsize=9.5)
    axes[0].set_ylabel("Share that responded")
    return figure
