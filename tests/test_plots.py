"""Pictures: the numbers in them are those of the tables, and nothing is left behind."""

from __future__ import annotations

import numpy as np
import pytest

from ketpredict.checks import predictive_table
from ketpredict.errors import DataError
from ketpredict.plots import ACTIVE, CONTROL, forest_plot, predictive_plot, save_figure
from ketpredict.summary import population_table

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def populations(published_fit):
    return population_table(published_fit.fit_)


@pytest.fixture(scope="module")
def forest(populations):
    return forest_plot(populations)


@pytest.fixture(scope="module")
def predictive(published_fit):
    return predictive_table(published_fit.fit_)


def words(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def ends(figure, width):
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
    return np.array([line.get_xdata() for line in lines if line.get_linewidth() == width])


def test_thin_lines_are_one_trial_and_thick_ones_the_average(forest, populations):
    np.testing.assert_allclose(ends(forest, 1.2), populations[["trial_lower", "trial_upper"]])
    np.testing.assert_allclose(ends(forest, 4.5), populations[["average_lower", "average_upper"]])


def test_extrapolated_rows_are_hollow_and_marked(forest, populations):
    markers = [line for line in forest.axes[0].lines if len(line.get_xdata()) == 1]
    hollow = [line.get_markerfacecolor() == "white" for line in markers]
    assert hollow == list(populations["extrapolated"])
    assert sum(text.endswith("†") for text in words(forest)) == populations["extrapolated"].sum()


def test_controls_differ_in_colour_and_shape(forest, populations):
    markers = [line for line in forest.axes[0].lines if len(line.get_xdata()) == 1]
    control = populations["arm"].str.contains("saline|placebo|midazolam").tolist()
    assert [line.get_marker() == "s" for line in markers] == control
    assert [line.get_markeredgecolor() == CONTROL for line in markers] == control
    assert {line.get_color() for line in forest.axes[0].lines} == {ACTIVE, CONTROL}


def test_people_stand_beside_each_row(forest, populations):
    people = populations["patients"] + populations["patients_in_arms"]
    assert str(people.max()) in words(forest)
    assert forest.axes[0].get_xlim() == (0, 1)


def test_observed_points_stand_over_their_replicates(predictive):
    figure = predictive_plot(predictive)
    points = [line for line in figure.axes[0].lines if line.get_color() == "black"]
    found = sorted(float(line.get_xdata()[0]) for line in points)
    np.testing.assert_allclose(found, sorted(predictive["observed"] / predictive["n"]))
    bars = ends(figure, 5.5)
    assert len(bars) == len(predictive)
    assert "30/47 = 64 %" in words(figure)  # murrough_2013, ketamine


def test_a_count_outside_its_interval_is_a_cross(predictive):
    table = predictive.assign(lower=predictive["observed"] + 1, upper=predictive["n"] + 1)
    figure = predictive_plot(table)
    points = [line for line in figure.axes[0].lines if line.get_color() == "black"]
    assert {line.get_marker() for line in points} == {"X"}


def test_no_label_leaves_the_picture(forest, predictive):
    for figure in (forest, predictive_plot(predictive)):
        figure.canvas.draw()
        whole = figure.bbox
        for text in [*figure.axes[0].texts, *figure.texts]:
            box = text.get_window_extent()
            assert box.x0 >= whole.x0, text
            assert box.x1 <= whole.x1, text


def test_labels_do_not_overlap(forest, predictive):
    for figure in (forest, predictive_plot(predictive)):
        figure.canvas.draw()
        boxes = [text.get_window_extent() for text in figure.axes[0].texts]
        clashes = [
            (i, j) for i, a in enumerate(boxes) for j, b in enumerate(boxes[:i]) if a.overlaps(b)
        ]
        assert clashes == []


def test_captions_say_what_a_good_one_looks_like(forest, predictive):
    for figure in (forest, predictive_plot(predictive)):
        assert any("good" in text.get_text() for text in figure.texts)


def test_pyplot_knows_nothing_of_the_figures(forest):
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


def test_a_saved_figure_is_a_whole_png(forest, tmp_path):
    path = save_figure(forest, tmp_path / "forest.png")
    assert path.read_bytes().startswith(PNG)
    assert path.stat().st_size > 20_000
    assert [entry.name for entry in tmp_path.iterdir()] == ["forest.png"]


def test_a_figure_for_a_missing_folder_is_refused(forest, tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        save_figure(forest, tmp_path / "nowhere" / "forest.png")
