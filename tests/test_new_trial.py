"""Prediction in known, new and unheard-of settings against simulated trials and patients."""

from __future__ import annotations

import numpy as np
import pytest

import handmade
from ketpredict.predict import INTERVAL_KINDS, interval, response_draws, trial_draws

PREDICTORS = (
    handmade.predictor("x1", between_trial_sd=0.5),
    handmade.predictor("x2", centre=2.0, scale=0.5, between_trial_sd=2.0),
    handmade.predictor("b1", "binary", centre=0.4, between_trial_sd=0.6),
    handmade.predictor("b2", "binary", centre=0.7, between_trial_sd=0.3),
)
KNOWN = {"x1": 1.1, "x2": 2.9, "b1": 1.0, "b2": 0.0}
SETTINGS = {
    "known trial": ("reporting", "first population"),
    "silent trial": ("silent", "second population"),
    "new trial": (None, "first population"),
    "new population, known trial": ("reporting", None),
    "new trial and population": (None, None),
}
MISSING = {
    "all known": (),
    "x1 missing": ("x1",),
    "b1 missing": ("b1",),
    "x2 and b2 missing": ("x2", "b2"),
    "none known": ("x1", "x2", "b1", "b2"),
}
SIZE = 400_000
CHUNK = 100_000


def row_of(setting, missing, **more):
    trial, population = SETTINGS[setting]
    values = {name: None if name in MISSING[missing] else v for name, v in KNOWN.items()}
    return {"trial": trial, "population": population, "arm": "ketamine", **values, **more}


def table_of(rows):
    return {name: [row.get(name) for row in rows] for name in {key for row in rows for key in row}}


def brute_force(fit, draw, row, seed):
    """Return the simulated probability and its standard error."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(SIZE // CHUNK):
        trials = handmade.simulate_trials(fit, draw, row, CHUNK, rng)
        parts.append(handmade.simulate_responses(fit, trials, row, rng))
    values = np.concatenate(parts)
    return values.mean(), values.std() / np.sqrt(SIZE)


@pytest.mark.parametrize("missing", list(MISSING))
@pytest.mark.parametrize("setting", list(SETTINGS))
def test_the_average_probability_equals_simulated_trials_and_patients(setting, missing):
    fit = handmade.posterior(2, PREDICTORS, np.random.default_rng(21))
    for arm, hours in (("ketamine", 24.0), ("saline", 60.0)):
        row = row_of(setting, missing, arm=arm, hours=hours)
        ours = response_draws(fit, handmade.rows(fit, table_of([row])))
        for draw in range(2):
            brute, error = brute_force(fit, draw, row, [draw, 5])
            assert error < 1e-3
            assert abs(ours[draw, 0] - brute) < 4.2 * error + 1e-12


def test_the_shared_variance_matters_in_that_comparison():
    """Leaving the trial's variance out would be seen: many standard errors."""
    rng = np.random.default_rng(21)
    fit = handmade.posterior(2, PREDICTORS, rng, intercept=1.0, trial_scale=0.8)
    without = handmade.posterior(
        2, PREDICTORS, np.random.default_rng(21), intercept=1.0, trial_scale=0.0
    )
    row = row_of("new trial", "all known")
    encoded = handmade.rows(fit, table_of([row]))
    with_it, left_out = response_draws(fit, encoded), response_draws(without, encoded)
    brute, error = brute_force(fit, 0, row, 5)
    assert abs(with_it[0, 0] - brute) < 4.2 * error
    assert abs(left_out[0, 0] - brute) > 20 * error


@pytest.mark.parametrize("missing", ["all known", "x1 missing", "x2 and b2 missing"])
@pytest.mark.parametrize(
    "setting", ["new trial", "new population, known trial", "new trial and population"]
)
def test_the_probability_in_one_trial_has_the_simulated_distribution(setting, missing):
    one = handmade.posterior(1, PREDICTORS, np.random.default_rng(22))
    fit = handmade.repeated(one, 8192)
    for arm in handmade.ARMS:
        row = row_of(setting, missing, arm=arm)
        ours = trial_draws(fit, handmade.rows(fit, table_of([row])))[:, 0]
        trials = handmade.simulate_trials(one, 0, row, 40_000, np.random.default_rng(6))
        brute = handmade.average_in_trials(one, trials, row)
        error = np.sqrt(0.25 / len(ours) + 0.25 / len(brute))
        for level in np.quantile(brute, [0.05, 0.25, 0.5, 0.75, 0.95]):
            assert abs((ours <= level).mean() - (brute <= level).mean()) < 4.2 * error
        assert abs(ours.mean() - brute.mean()) < 4.2 * brute.std() * np.sqrt(2 / len(ours))


@pytest.mark.parametrize("missing", list(MISSING))
@pytest.mark.parametrize("setting", list(SETTINGS))
def test_both_distributions_have_the_same_mean(setting, missing):
    fit = handmade.repeated(handmade.posterior(1, PREDICTORS, np.random.default_rng(23)), 4096)
    encoded = handmade.rows(fit, table_of([row_of(setting, missing)]))
    average, in_trial = response_draws(fit, encoded), trial_draws(fit, encoded)
    error = in_trial.std() / np.sqrt(len(in_trial))
    assert abs(average.mean() - in_trial.mean()) < 4.2 * error + 1e-12


@pytest.mark.parametrize("missing", ["all known", "none known"])
def test_the_interval_in_one_trial_is_wider_unless_the_trial_is_known(missing):
    fit = handmade.posterior(400, PREDICTORS, np.random.default_rng(24))
    rows = [row_of(setting, missing) for setting in SETTINGS]
    encoded = handmade.rows(fit, table_of(rows))
    width = {
        kind: np.diff(interval(fit, encoded, 0.9, kind), axis=1)[:, 0] for kind in INTERVAL_KINDS
    }
    integrated = np.array([None in SETTINGS[setting] for setting in SETTINGS])
    assert (width["trial"][integrated] > width["average"][integrated]).all()
    assert width["trial"][~integrated] == pytest.approx(width["average"][~integrated], rel=0.02)


def test_the_two_intervals_are_equal_in_a_known_trial():
    fit = handmade.posterior(200, PREDICTORS, np.random.default_rng(24))
    rows = [row_of("known trial", missing) for missing in MISSING]
    encoded = handmade.rows(fit, table_of(rows))
    in_trial, average = interval(fit, encoded, 0.9), interval(fit, encoded, 0.9, "average")
    assert in_trial == pytest.approx(average, abs=1e-12)


def test_design_figures_at_an_average_of_one_half():
    """At a trial SD of 0.5 and an average of 0.5 a trial's own runs from 0.21 to 0.79."""
    names = ("intercept", "treatment_scale", "population_effect", "horizon_offset")
    zeros = dict.fromkeys(names, 0.0)
    fit = handmade.posterior(4000, (), np.random.default_rng(1), trial_scale=0.5, **zeros)
    encoded = handmade.rows(fit, {"population": ["first population"], "trial": [None]})
    assert response_draws(fit, encoded) == pytest.approx(0.5)
    low, high = interval(fit, encoded, 0.9)[0]
    assert (low, high) == (pytest.approx(0.206, abs=0.005), pytest.approx(0.794, abs=0.005))


def every_row():
    """Return 60 rows in every setting and pattern, values and arms varying."""
    rng = np.random.default_rng(30)
    names = list(SETTINGS)
    rows = [
        row_of(
            names[i % len(names)], missing, arm=handmade.ARMS[i % 2], hours=float(4 + 3 * (i % 40))
        )
        for i, missing in enumerate(list(MISSING) * 12)
    ]
    for row in rows:
        for name in ("x1", "x2"):
            if row[name] is not None:
                row[name] = float(rng.normal(PREDICTORS[0].centre, 1.0))
    return rows


@pytest.mark.parametrize("function", [response_draws, trial_draws])
def test_results_do_not_depend_on_other_rows_or_their_order(function):
    fit = handmade.posterior(37, PREDICTORS, np.random.default_rng(31))
    rows = every_row()
    together = function(fit, handmade.rows(fit, table_of(rows)))
    order = np.random.default_rng(2).permutation(len(rows))
    permuted = function(fit, handmade.rows(fit, table_of([rows[i] for i in order])))
    assert np.array_equal(permuted, together[:, order])
    keys = table_of(rows)
    for i in range(len(rows)):
        alone = function(fit, handmade.rows(fit, {name: [v[i]] for name, v in keys.items()}))
        assert np.array_equal(alone[:, 0], together[:, i]), rows[i]
    for start in range(0, len(rows), 7):
        batch = {name: values[start : start + 7] for name, values in keys.items()}
        assert np.array_equal(
            function(fit, handmade.rows(fit, batch)), together[:, start : start + 7]
        )


def test_many_rows_in_pieces_equal_few():
    """The pieces that bound memory change nothing."""
    fit = handmade.posterior(500, PREDICTORS, np.random.default_rng(32))
    rows = every_row() * 40
    together = response_draws(fit, handmade.rows(fit, table_of(rows)))
    few = response_draws(fit, handmade.rows(fit, table_of(every_row())))
    assert np.array_equal(together, np.tile(few, 40))


def test_a_label_that_the_fit_does_not_know_is_an_unseen_setting():
    fit = handmade.posterior(20, PREDICTORS, np.random.default_rng(33))
    named = row_of("new trial and population", "x1 missing") | {
        "trial": "unheard of",
        "population": "elsewhere",
    }
    unnamed = row_of("new trial and population", "x1 missing")
    encoded = handmade.rows(fit, table_of([named, unnamed]))
    draws = response_draws(fit, encoded)
    assert np.array_equal(draws[:, 0], draws[:, 1])
    assert encoded.settings().tolist() == ["new population", "new population"]


def test_another_threshold_needs_its_scale_and_moves_the_probability():
    fit = handmade.posterior(20, PREDICTORS, np.random.default_rng(34))
    rows = [
        row_of("known trial", "all known", threshold=threshold, scale=handmade.SCALES[0])
        for threshold in (35.0, 50.0, 70.0)
    ]
    draws = response_draws(fit, handmade.rows(fit, table_of(rows)))
    assert (np.diff(draws, axis=1) < 0).all()


def test_a_fit_without_predictors_predicts():
    fit = handmade.posterior(20, (), np.random.default_rng(35))
    encoded = handmade.rows(
        fit, {"trial": ["reporting", None], "population": ["first population", None]}
    )
    draws = response_draws(fit, encoded)
    assert draws.shape == (20, 2)
    assert ((draws > 0) & (draws < 1)).all()
    assert trial_draws(fit, encoded).shape == (80, 2)
