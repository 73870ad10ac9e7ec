"""Pictures of the checks: their numbers are those of the tables, and they can be read."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ketpredict.calibration import calibration
from ketpredict.calibration_plots import calibration_plot
from ketpredict.check_figures import check_figures
from ketpredict.checks import check_fit, predictive_table
from ketpredict.decision import decision_curve, number_needed
from ketpredict.decision_plots import decision_plot, number_needed_plot
from ketpredict.discrepancies import statistic_draws, statistics_table
from ketpredict.errors import DataError
from ketpredict.loo import leave_one_out, pit_values
from ketpredict.plots import save_figure
from ketpredict.predictive_plots import (
    pareto_plot,
    pit_plot,
    predictors_plot,
    prior_plot,
    settings_plot,
    statistics_plot,
)
from ketpredict.predictor_checks import predictor_table
from ketpredict.replicates import BY_ARM, NEW_TRIAL, replicate
from ketpredict.summary import prior_of


@pytest.fixture(scope="module")
def made(simulated_fits, published_fit):
    """Return every picture with the table that it was made of."""
    fit, published = simulated_fits["full"], published_fit.fit_
    tables = [predictive_table(published, by=BY_ARM, setting=s) for s in ("known_trial", NEW_TRIAL)]
    pattern = [predictive_table(fit, by=("known",), setting=s) for s in ("known_trial", NEW_TRIAL)]
    prior = predictive_table(prior_of(fit), by=("kind", "hours"), setting=NEW_TRIAL)
    draws = statistic_draws(replicate(fit, setting=NEW_TRIAL))
    left_out = leave_one_out(fit)
    curves = calibration(fit, by=("population", "arm"))
    predictors, _ = predictor_table(fit)
    benefit, needed = decision_curve(left_out), number_needed(published)
    return {
        "settings": (settings_plot(*tables, BY_ARM), tables),
        "patterns": (settings_plot(*pattern, ("known",)), pattern),
        "prior": (prior_plot(prior, ("kind", "hours")), prior),
        "statistics": (statistics_plot(draws, statistics_table(draws)), draws),
        "pit": (pit_plot(pit_values(left_out)), left_out),
        "pareto": (pareto_plot(left_out), left_out),
        "predictors": (predictors_plot(predictors), predictors),
        "calibration": (calibration_plot(curves), curves),
        "decision": (decision_plot(benefit), benefit),
        "needed": (number_needed_plot(needed), needed),
    }


def test_each_says_what_a_good_one_looks_like(made):
    for name, (figure, _) in made.items():
        words = [text.get_text().replace("\n", " ") for text in figure.texts]
        assert any("A good one" in text for text in words), name


def test_every_panel_has_words_on_its_axes(made):
    for name, (figure, _) in made.items():
        shown = [axes for axes in figure.axes if axes.get_visible()]
        assert all(axes.get_xlabel() for axes in shown), name
        assert any(axes.get_ylabel() or axes.get_yticklabels()[0].get_text() for axes in shown)


def test_nothing_leaves_the_picture_and_no_words_meet(made):
    for name, (figure, _) in made.items():
        figure.draw_without_rendering()
        texts = list(figure.texts)
        for axes in figure.axes:
            if axes.get_visible():
                titles = [axes.title, axes._left_title, axes._right_title]
                texts += [axes.xaxis.label, axes.yaxis.label, *axes.texts, *titles]
                low, high = sorted(axes.get_ylim())
                ticks = zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
                texts += [label for place, label in ticks if low <= place <= high]
        texts = [text for text in texts if text.get_text()]
        boxes = [text.get_window_extent() for text in texts]
        for text, box in zip(texts, boxes, strict=True):
            assert box.x0 >= -1, (name, text)
            assert box.x1 <= figure.bbox.x1 + 1, (name, text)
        clashes = [
            (texts[i].get_text(), texts[j].get_text())
            for i, a in enumerate(boxes)
            for j, b in enumerate(boxes[:i])
            if a.overlaps(b)
        ]
        assert clashes == [], name


def test_counts_stand_where_the_tables_say(made):
    figure, (known, new) = made["settings"]
    (axes,) = figure.axes
    bars = [collection.get_segments() for collection in axes.collections]
    for table, segments in zip((known, new), bars, strict=True):
        ends = np.array([segment[:, 0] for segment in segments])
        expected = table[["lower", "upper"]].div(table["n"], axis=0)
        np.testing.assert_allclose(ends, expected)
    points = np.concatenate([line.get_xdata() for line in axes.lines])
    np.testing.assert_allclose(np.sort(points), np.sort(known["observed"] / known["n"]))
    assert axes.get_yticklabels()[0].get_text().startswith("Canuso 2018, Unipolar depression, ")


def test_a_count_outside_its_interval_is_a_cross(made):
    _, (known, new) = made["settings"]
    high = known.assign(lower=known["observed"] + 1, upper=known["n"] + 1)
    (axes,) = settings_plot(high, new, BY_ARM).axes
    crosses = [line for line in axes.lines if line.get_marker() == "X"]
    assert len(crosses[0].get_xdata()) == len(known)


def test_curves_are_those_of_the_tables(made):
    figure, curves = made["calibration"]
    lines = [line for line in figure.axes[0].lines if line.get_color() == "black"]
    row = curves.table.iloc[0]
    same = (curves.curves["population"] == row["population"]) & (curves.curves["arm"] == row["arm"])
    np.testing.assert_allclose(lines[0].get_ydata(), curves.curves.loc[same, "observed"])
    figure, benefit = made["decision"]
    first = benefit[benefit["population"] == benefit["population"].iloc[0]]
    drawn = [
        line.get_ydata() for line in figure.axes[0].lines if len(line.get_xdata()) == len(first)
    ]
    np.testing.assert_allclose(drawn[0], first["net_benefit"])
    np.testing.assert_allclose(drawn[1], first["treat_all"])
    figure, draws = made["statistics"]
    marked = [axes.lines[0].get_xdata()[0] for axes in figure.axes]
    np.testing.assert_allclose(marked, draws.iloc[0].dropna())


def test_no_advice_without_its_limit(made):
    for name in ("decision", "needed"):
        words = " ".join(text.get_text().replace("\n", " ") for text in made[name][0].texts)
        assert "not for treatment decisions" in words


def test_pictures_are_files_and_leave_pyplot_alone(made, tmp_path):
    import matplotlib.pyplot as plt

    for name, (figure, _) in made.items():
        assert save_figure(figure, tmp_path / f"{name}.png").stat().st_size > 5000
    assert plt.get_fignums() == []


def test_a_report_has_every_picture_that_its_data_allow(simulated_fits):
    fit = simulated_fits["full"]
    figures = check_figures(fit, check_fit(fit))
    assert set(figures) == {
        "responders_by_arm",
        "responders_by_known_predictors",
        "responders_by_prior",
        "test_statistics",
        "pit_values",
        "pareto_k",
        "calibration_known_trials",
        "calibration_new_trials",
        "predictors",
        "decision_curves",
        "numbers_needed",
    }
    # Arms alone: nothing about single patients.
    arrays = dict(fit.groups["constant_data"])
    arms = np.flatnonzero(arrays["is_arm"] > 0)
    arrays |= {name: arrays[name][arms] for name, dims in fit.dims.items()
               if dims[:1] == ("unit",) and name in arrays}  # fmt: skip
    arrays["people_value"] = np.full_like(arrays["people_value"], np.nan)
    drop = ("posterior_predictive", "log_likelihood")
    groups = {name: v for name, v in fit.groups.items() if name not in drop}
    bare = dataclasses.replace(fit, groups={**groups, "constant_data": arrays})
    report = check_fit(bare)
    assert report.calibration is None
    assert not any("patients" in gate.name for gate in report.gates)
    figures = check_figures(bare, report)
    assert "decision_curves" not in figures
    assert "pit_values" not in figures
    with pytest.raises(DataError, match="too few to draw"):
        pit_plot(pit_values(report.left_out))
