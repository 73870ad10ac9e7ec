"""Figures for phones: the words of the wide one are there, whole, and touch nothing else."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from ketpredict.decision_plots import number_needed_plot
from ketpredict.narrow_figures import INCHES, narrow
from ketpredict.panels import legend, line, panels
from ketpredict.plots import forest_plot, literature_plot
from ketpredict.predictive_plots import settings_plot

TRIALS = [f"a_trial_with_a_name_{i}" for i in range(6)]


def arms_figure():
    table = pd.DataFrame(
        {"trial": TRIALS, "population": "unipolar_depression", "arm": "esketamine_intranasal_28mg",
         "n": 30, "observed": [3, 9, 28, 15, 12, 1], "lower": 5, "upper": 20}
    )  # fmt: skip
    return settings_plot(table, table, ("trial", "population", "arm"))


def needed_figure():
    rows = {"population": ["bipolar_depression", "ocd"], "arm": "ketamine", "control": "saline",
            "difference": [0.2, 0.3], "lower": [-0.1, 0.1], "upper": [0.5, 0.6],
            "number_needed": [5.0, 3.3], "number_lower": [2.0, 1.7],
            "number_upper": [np.inf, 10.0], "extrapolated": [True, False],
            "reason": ["reported only at 168 h", ""]}  # fmt: skip
    return number_needed_plot(pd.DataFrame(rows))


def forest_figure():
    rows = {"population": ["bipolar_depression"] * 2 + ["ocd"] * 2,
            "outcome": "end of a repeated course, 288 h, improved by 50 % or more",
            "arm": ["ketamine", "saline"] * 2, "control": [False, True] * 2,
            "probability": [0.5, 0.2] * 2,
            "trial_lower": 0.1, "trial_upper": 0.9, "average_lower": 0.15, "average_upper": 0.6,
            "extrapolated": False, "trials": 3, "patients": 5, "patients_in_arms": 40,
            "prior_overlap": 0.1}  # fmt: skip
    return forest_plot(pd.DataFrame(rows))


def literature_figure():
    rows = {"label": ["Body mass index", "Delta sleep ratio (slow waves, first over second cycle)",
                      "Any suicide attempt before the trial"],
            "slope": 0.3, "lower": 0.1, "upper": 0.5, "slope_without": 0.0, "lower_without": -0.4,
            "upper_without": 0.4, "effects": 3, "patients": 90, "effective_patients": 40.0,
            "effective_lower": 10.0, "effective_upper": 70.0, "sensitivity": 0.1}  # fmt: skip
    return literature_plot(pd.DataFrame(rows))


def grid_figure():
    figure, places = panels(4, "A title", "A caption. " * 30)
    for i, axes in enumerate(places):
        axes.plot([0, 1], [1e4, 2e4])
        axes.set_title(f"Panel {i}: a title that is a good deal longer than a panel is wide")
        axes.set_xlabel("What is on the axis, and the unit that it is counted in")
    places[0].set_ylabel("Something else, per something that takes words to name")
    handles = [line("by the model, as a whole", "black"), line("treat all of the patients", "red")]
    legend(places[-1], handles, loc="lower right", bbox_to_anchor=(1.0, 1.05), ncols=2)
    return figure


def limits_figure():
    """Return a picture of numbers, with a line in it that has words at its end."""
    figure, (axes,) = panels(1, "A title", "A caption.")
    axes.plot(np.linspace(0, 1.2, 60), ".")
    axes.axhline(0.7)
    axes.text(1.01, 0.7, "0.7: rough above", transform=axes.get_yaxis_transform(), va="center")
    return figure


FIGURES = (limits_figure, arms_figure, needed_figure, forest_figure, literature_figure, grid_figure)


def hide_title_and_caption(figure):
    """Do what a page does, where both stand beside the picture."""
    for text in figure.texts:
        text.set_visible(False)


def drawn(figure):
    """Return every word that is drawn, with its box in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    beyond = {label for axes in figure.axes for label in labels_beyond(axes)}
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in texts if t not in beyond]
    return [(words, box) for words, box in boxes if box.width and box.height]


def labels_beyond(axes):
    """Return the labels of ticks beyond the ends of an axis: they exist, and are not drawn."""
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks():
            if not low <= tick.get_loc() <= high:
                yield from (tick.label1, tick.label2)


def faults(figure):
    """Return words that stand across the edge, or across other words."""
    boxes = drawn(figure)
    found = [words for words, box in boxes if box.x0 < -1 or box.x1 > figure.bbox.x1 + 1]
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        if width > 1 and height > 1:
            found.append(f"{one} / {other}")
    return found


@pytest.mark.parametrize("make", FIGURES)
def test_a_narrow_figure_can_be_read(make):
    figure = make()
    hide_title_and_caption(figure)
    narrow(figure)
    assert figure.get_figwidth() == INCHES
    assert faults(figure) == []
    assert min(text.get_fontsize() for text in figure.findobj(Text)) >= 9


@pytest.mark.parametrize("make", FIGURES)
def test_a_figure_that_is_merely_made_small_cannot(make):
    figure = make()
    hide_title_and_caption(figure)
    figure.set_figwidth(INCHES)
    assert faults(figure)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (arms_figure, [f"A trial with a name {i}, Unipolar depression, esketamine nasal 28 mg"
                       "\N{SPACE}(n = 30)" for i in range(6)]),
        (needed_figure, ["Bipolar depression, saline †", "OCD, saline", "5.0 (2.0 to no upper end)",
                         "Number needed to treat", "3.3 (1.7 to 10.0)"]),
        (forest_figure, ["OCD: end of a repeated course, 288 h, improved by 50 % or more",
                         "Ketamine", "Saline", "50 %", "20 %", "Probability"]),
        (literature_figure, ["Delta sleep ratio (slow waves, first over second cycle)"]),
    ],
)  # fmt: skip
def test_words_are_those_of_the_wide_figure(make, expected):
    figure = make()
    hide_title_and_caption(figure)
    narrow(figure)
    found = {" ".join(words.split()) for words, _ in drawn(figure)}
    assert set(expected) <= found


def test_words_at_the_end_of_a_line_make_no_rows():
    figure = limits_figure()
    hide_title_and_caption(figure)
    narrow(figure)
    assert figure.get_figheight() < 3
    found = dict(drawn(figure))
    axes = figure.axes[0]
    line_at = axes.transData.transform((0, 0.7))[1]
    assert 0 <= found["0.7: rough above"].y0 - line_at < 10
    assert len(axes.get_yticks()) > 2  # the axis keeps its numbers


def test_the_words_of_a_row_stand_above_its_own_marks_and_below_those_before():
    figure = arms_figure()
    hide_title_and_caption(figure)
    narrow(figure)
    axes = figure.axes[0]
    boxes = {words.split(",")[0]: box for words, box in drawn(figure)}
    marks = [axes.transData.transform((0.5, place))[1] for place in range(len(TRIALS))]
    for i, mark in enumerate(marks):
        box = boxes[f"A trial with a name {i}"]
        assert mark + 3 < box.y0
        if i:
            assert box.y1 + 3 < marks[i - 1]
            assert marks[i - 1] - box.y1 > 0.8 * (box.y0 - mark)  # nearer to its own marks
