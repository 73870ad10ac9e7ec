"""Probability against a predictor's value: a table of predictions, a picture of the table."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import FillBetweenPolyCollection

from ketpredict.effect_plots import partial_effect_plot
from ketpredict.errors import DataError
from ketpredict.marginal_effects import evidence_values, partial_effect_table
from ketpredict.predict import interval, response_draws
from ketpredict.rows import encode_rows
from ketpredict.stored_design import design_of


@pytest.fixture(scope="module")
def posterior(published_fit):
    return published_fit.fit_


@pytest.fixture(scope="module")
def bmi(posterior):
    return partial_effect_table(posterior, "bmi", probs=(0.5, 0.8), points=13)


def predictor_of(posterior, name):
    return next(p for p in posterior.predictors if p.name == name)


def test_the_table_is_what_prediction_says_of_patients_of_whom_this_is_known(posterior, bmi):
    part = bmi[bmi["population"] == "unipolar_depression"]
    assert len(part) == 13
    columns = {"population": part["population"].tolist(), "bmi": part["value"].tolist()}
    rows = encode_rows(posterior, columns, len(part))
    draws = response_draws(posterior, rows)
    np.testing.assert_allclose(part["probability"], draws.mean(axis=0))
    for name, prob in (("inner", 0.5), ("outer", 0.8)):
        np.testing.assert_allclose(
            part[[f"{name}_lower", f"{name}_upper"]], interval(posterior, rows, prob, "average")
        )


def test_values_span_the_reference_and_the_evidence(posterior, bmi):
    limits = posterior.facts["ranges"]["bmi"]
    value = bmi["value"]
    assert value.min() == pytest.approx(16.0)
    assert value.max() == pytest.approx(limits["high"])
    inside = (value >= limits["low"]) & (value <= limits["high"])
    np.testing.assert_array_equal(bmi["in_evidence"], inside)
    assert 0 < inside.sum() < len(bmi)
    bdnf = partial_effect_table(posterior, "bdnf", points=5)
    one = predictor_of(posterior, "bdnf")
    assert not bdnf["in_evidence"].any()
    np.testing.assert_allclose(
        one.to_scale(bdnf["value"][:5]), [-2.0, -1.0, 0.0, 1.0, 2.0], atol=1e-9
    )
    binary = partial_effect_table(posterior, "family_history_aud")
    assert binary["value"].tolist() == [0.0, 1.0] * 4


def test_evidence_values_are_those_of_the_design(posterior):
    table = evidence_values(posterior, "bmi")
    design = design_of(posterior)
    known = ~np.isnan(design.units.value[:, 0])
    assert len(table) == known.sum()
    patients = table["kind"] == "patients"
    assert (
        table.loc[patients, "n"].sum() == design.units.n[known & (design.units.is_arm == 0)].sum()
    )
    assert table.loc[patients, "value"].between(15, 60).all()
    assert evidence_values(posterior, "bdnf").empty


def test_the_picture_holds_the_table(posterior, bmi):
    figure = partial_effect_plot(
        bmi, evidence_values(posterior, "bmi"), predictor_of(posterior, "bmi"), (0.5, 0.8)
    )
    populations = posterior.coords["population"]
    assert len(figure.axes) == len(populations)
    axes = figure.axes[populations.index("unipolar_depression")]
    part = bmi[bmi["population"] == "unipolar_depression"]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), part["probability"])
    assert len(axes.lines[1].get_xdata()) == part["in_evidence"].sum()
    bands = [one for one in axes.collections if isinstance(one, FillBetweenPolyCollection)]
    low, high = bands[0].get_paths()[0].get_extents().intervaly
    assert (low, high) == pytest.approx((part["outer_lower"].min(), part["outer_upper"].max()))
    own = evidence_values(posterior, "bmi")
    own = own[(own["population"] == "unipolar_depression") & (own["kind"] == "patients")]
    np.testing.assert_allclose(axes.lines[2].get_xdata(), own["value"])
    assert axes.get_xlabel() == "BMI (kg/m²)"
    titles = {one.get_title(loc="left") for one in figure.axes}
    assert {"OCD †", "Unipolar depression"} <= titles
    caption = figure.texts[-1].get_text().replace("\n", " ")
    assert "50 % and 80 % intervals" in caption
    assert "not for treatment decisions" in caption


def test_a_binary_predictor_has_two_points_and_says_when_nobody_reports_it(posterior):
    name = "family_history_aud"
    table = partial_effect_table(posterior, name)
    figure = partial_effect_plot(
        table, evidence_values(posterior, name), predictor_of(posterior, name)
    )
    axes = figure.axes[0]
    assert [one.get_text() for one in axes.get_xticklabels()] == ["no", "yes"]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), table["probability"][:2])
    caption = figure.texts[-1].get_text().replace("\n", " ")
    assert "No trial reports this predictor" in caption
    assert "Thick and thin" in caption


def test_an_unknown_predictor_is_refused(posterior):
    with pytest.raises(DataError, match="'height' is no predictor of this fit; it has bmi"):
        partial_effect_table(posterior, "height")
