"""Explanations against enumeration of orders, and what missing predictors might still do."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import handmade
from ketpredict import explanation
from ketpredict.errors import DataError
from ketpredict.explanation import explain, value_law
from ketpredict.predict import interval, response_draws

PREDICTORS = (
    handmade.predictor("x1", centre=28.0, scale=6.0, unit="kg/m2", between_trial_sd=0.5),
    handmade.predictor("b1", "binary", centre=0.4, between_trial_sd=0.6),
    handmade.predictor("z", assay_dependent=True, between_trial_sd=1.5),
    handmade.predictor("x2", transform="log", low=0.01, between_trial_sd=0.4),
    handmade.predictor("b2", "binary", centre=0.7, between_trial_sd=0.3),
)
PATIENT = {
    "trial": None,
    "population": "first population",
    "x1": 34.0,
    "b1": 1,
    "z": 0.7,
    "z_assay_mean": -0.3,
    "x2": None,
    "b2": 0,
}
KNOWN = ("x1", "b1", "z", "b2")


def encoded(fit, **changes):
    return handmade.rows(fit, {name: [v] for name, v in {**PATIENT, **changes}.items()})


def knowing(fit, names):
    """Return draws of the probability when only some predictors are known: columns left out."""
    table = {n: [PATIENT[n]] for n in ("trial", "population", *names)}
    if "z" in names:
        table["z_assay_mean"] = [PATIENT["z_assay_mean"]]
    return response_draws(fit, handmade.rows(fit, table))[:, 0]


@pytest.fixture(scope="module")
def fit():
    return handmade.posterior(40, PREDICTORS, np.random.default_rng(51))


def test_moves_are_averages_over_all_orders(fit):
    found = explain(fit, encoded(fit), 0.8)
    added = {name: np.zeros(40) for name in KNOWN}
    orders = list(itertools.permutations(KNOWN))
    for order in orders:
        for place, name in enumerate(order):
            step = knowing(fit, order[: place + 1]) - knowing(fit, order[:place])
            added[name] += step / len(orders)
    table = found.known.set_index("predictor")
    assert set(table.index) == set(KNOWN)
    for name, moved in added.items():
        row = table.loc[name]
        assert row["moved"] == pytest.approx(moved.mean())
        assert row["lower"] == pytest.approx(np.quantile(moved, 0.1))
        assert row["upper"] == pytest.approx(np.quantile(moved, 0.9))
        assert row["positive"] == (moved > 0).mean()
        others = knowing(fit, [one for one in KNOWN if one != name])
        assert row["without"] == pytest.approx(others.mean())
        left_out = knowing(fit, KNOWN) - others
        assert row["left_out"] == pytest.approx(left_out.mean())
        assert row["left_out_lower"] == pytest.approx(np.quantile(left_out, 0.1))
    assert (table["monte_carlo_error"] == 0).all()
    assert found.exact


def test_moves_add_up_to_what_everything_known_changed(fit):
    found = explain(fit, encoded(fit), 0.8)
    everything, nothing = knowing(fit, KNOWN), knowing(fit, ())
    assert found.probability == pytest.approx(everything.mean())
    assert found.nothing_known == pytest.approx(nothing.mean())
    assert found.known["moved"].sum() == pytest.approx(found.probability - found.nothing_known)
    assert found.interval == pytest.approx(interval(fit, encoded(fit), 0.8, "average")[0])
    size = found.known["moved"].abs().to_numpy()
    assert (np.diff(size) <= 0).all()


def test_values_stand_in_words_with_their_units(fit):
    found = explain(fit, encoded(fit, x2=2.5), 0.8).known.set_index("predictor")["value"]
    assert found.to_dict() == {"x1": "34 kg/m²", "b1": "yes", "z": "0.7", "x2": "2.5", "b2": "no"}


def test_a_predictor_that_does_nothing_and_tells_nothing_moves_nothing():
    quiet = {"prognostic_slope": 0.0, "predictive_slope": 0.0, "population_slope": 0.0}
    fit = handmade.posterior(
        5, PREDICTORS, np.random.default_rng(52), **quiet, slope_scale=0.0, across_slope=0.0
    )
    found = explain(fit, encoded(fit))
    np.testing.assert_allclose(found.known["moved"], 0.0, atol=1e-12)
    np.testing.assert_allclose(found.missing["could_move"], 0.0, atol=1e-9)


def test_sampled_orders_add_up_and_are_within_their_errors(fit, monkeypatch):
    exact = explain(fit, encoded(fit)).known.set_index("predictor")
    monkeypatch.setattr(explanation, "MOST_EXACT", 2)
    found = explain(fit, encoded(fit))
    table = found.known.set_index("predictor").loc[exact.index]
    assert not found.exact
    assert table["moved"].sum() == pytest.approx(found.probability - found.nothing_known)
    error = table["monte_carlo_error"]
    assert (error > 0).all()
    assert (np.abs(table["moved"] - exact["moved"]) < 4.0 * error + 1e-12).all()
    # Beyond reach of chance at that error: the moves are told apart from one another.
    assert (error < 0.1 * exact["moved"].abs().max()).all()


def test_missing_values_average_to_the_probability_without_them(fit):
    """The law of total probability, for each kind of predictor and of trial."""
    for changes in (
        {"trial": None},
        {"trial": "reporting"},
        {"trial": "silent", "population": "second population"},
    ):
        for name in ("x1", "b1", "z", "x2", "b2"):
            row = encoded(fit, **{name: None, "z_assay_mean": None, **changes})
            place = [p.name for p in PREDICTORS].index(name)
            weight, probability = value_law(fit, row, (place,))
            np.testing.assert_allclose(weight.sum(axis=1), 1.0)
            found = (weight * probability).sum(axis=1)
            np.testing.assert_allclose(found, response_draws(fit, row)[:, 0], atol=2e-5)


def test_what_a_missing_predictor_could_do_equals_simulated_patients():
    """Known trial, two continuous predictors, one of them known: values from the regression."""
    predictors = (handmade.predictor("x"), handmade.predictor("y"))
    fit = handmade.posterior(1, predictors, np.random.default_rng(53))
    own = handmade.one_draw(fit, 0)
    mean, covariance = own["trial_mean"][:2], own["predictor_covariance"]
    slope = covariance[0, 1] / covariance[0, 0]
    rng = np.random.default_rng(9)
    sd = np.sqrt(covariance[1, 1] - slope * covariance[0, 1])
    values = mean[1] + slope * (1.3 - mean[0]) + sd * rng.standard_normal(20_000)
    place = {"trial": "reporting", "population": "first population"}
    table = {name: [v] * len(values) for name, v in {**place, "x": 1.3}.items()}
    simulated = response_draws(fit, handmade.rows(fit, {**table, "y": list(values)}))[0]
    found = explain(fit, handmade.rows(fit, {**{n: [v] for n, v in place.items()}, "x": [1.3]}))
    assert found.missing["predictor"].tolist() == ["y"]
    # The error of an SD is about one 200th of it.
    assert found.missing["could_move"].item() == pytest.approx(simulated.std(), rel=0.025)
    assert found.missing["would_show"].item() == pytest.approx(simulated.std(), rel=0.025)


LABELS = tuple(
    handmade.predictor(
        f"stage={level}",
        "binary",
        centre=centre,
        category="stage",
        level=level,
        reference_level="early",
    )
    for level, centre in (("mid", 0.3), ("late", 0.2))
)


def test_labels_of_a_column_move_the_probability_together():
    """Of the column and one more predictor there are two orders, whatever the number of labels."""
    fit = handmade.posterior(20, (*LABELS, PREDICTORS[0]), np.random.default_rng(54))
    place = {"trial": [None], "population": ["first population"]}
    stage = {"stage=mid": [0], "stage=late": [1]}
    value = {"x1": [31.0]}

    def probability(**known):
        return response_draws(fit, handmade.rows(fit, {**place, **known}))[:, 0]

    everything, nothing = probability(**stage, **value), probability()
    moved = (probability(**stage) - nothing + everything - probability(**value)) / 2.0
    table = explain(fit, handmade.rows(fit, {**place, **stage, **value})).known
    row = table.set_index("predictor").loc["stage"]
    assert len(table) == 2
    assert row["value"] == "late"
    assert row["moved"] == pytest.approx(moved.mean())
    assert table["moved"].sum() == pytest.approx((everything - nothing).mean())
    early = {**place, "stage=mid": [0], "stage=late": [0]}
    assert explain(fit, handmade.rows(fit, early)).known["value"].tolist() == ["early"]
    open_row = handmade.rows(fit, {**place, **value})
    weight, of_labels = value_law(fit, open_row, (0, 1))
    assert weight.shape == (20, 3)
    np.testing.assert_allclose((weight * of_labels).sum(axis=1), probability(**value), atol=1e-9)
    assert explain(fit, open_row).missing["predictor"].tolist() == ["stage"]


def test_one_patient_at_a_time(fit):
    both = handmade.rows(fit, {"x1": [30.0, 31.0]})
    with pytest.raises(DataError, match="one patient at a time; found 2"):
        explain(fit, both)


def test_nothing_known_is_explained_by_nothing(fit):
    found = explain(fit, handmade.rows(fit, {"trial": [None]}))
    assert found.known.empty
    assert found.probability == found.nothing_known
    assert len(found.missing) == len(PREDICTORS)
