"""Prediction in known, new and unheard-of settings against simulated trials and patients."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import handmade
import ketpredict as kp
from ketpredict.predict import (
    INTERVAL_KINDS,
    interval,
    response_draws,
    trial_draws,
    uncertainty_parts,
)

PREDICTORS = (
    handmade.predictor("x1", between_trial_sd=0.5),
    handmade.predictor("x2", centre=2.0, scale=0.5, between_trial_sd=1.5),
    handmade.predictor("b1", "binary", centre=0.4, between_trial_sd=0.6),
    handmade.predictor("z", assay_dependent=True, between_trial_sd=1.5),
    handmade.predictor("b2", "binary", centre=0.7, between_trial_sd=0.3),
)
KNOWN = {"x1": 1.1, "x2": 2.9, "b1": 1.0, "z": -0.8, "b2": 0.0}
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
    "z missing": ("z",),
    "x2 and b2 missing": ("x2", "b2"),
    "none known": ("x1", "x2", "b1", "z", "b2"),
}
TRIALS = 30_000


def row_of(setting, missing, **more):
    trial, population = SETTINGS[setting]
    values = {name: None if name in MISSING[missing] else v for name, v in KNOWN.items()}
    return {"trial": trial, "population": population, "arm": "ketamine", **values, **more}


def table_of(rows):
    return {name: [row.get(name) for row in rows] for name in {key for row in rows for key in row}}


def brute_force(fit, draw, row, seed, size=TRIALS):
    """Return the probability over simulated trials, and its standard error."""
    rng = np.random.default_rng(seed)
    trials = handmade.simulate_trials(fit, draw, row, size, rng)
    if all(row.get(name) is None for name in KNOWN):
        values = handmade.simulate_responses(fit, draw, trials, rng)
        weight = np.ones(size)
    else:
        values, weight = handmade.average_in_trials(fit, draw, trials, row)
    mean = (weight * values).sum() / weight.sum()
    return mean, np.sqrt((weight**2 * (values - mean) ** 2).sum()) / weight.sum()


@pytest.mark.parametrize("missing", list(MISSING))
@pytest.mark.parametrize("setting", list(SETTINGS))
def test_the_average_probability_equals_simulated_trials_and_patients(setting, missing):
    """Slopes of unseen trials are drawn here; ``test_brute_force.py`` is finer, without that."""
    for link, arm, hours in (("probit", "ketamine", 24.0), ("logit", "saline", 60.0)):
        fit = handmade.posterior(1, PREDICTORS, np.random.default_rng(21), link=link)
        row = row_of(setting, missing, arm=arm, hours=hours)
        ours = response_draws(fit, handmade.rows(fit, table_of([row])))
        brute, error = brute_force(fit, 0, row, 5)
        assert error < 5e-3
        assert abs(ours[0, 0] - brute) < 4.2 * error + 1e-7


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
    assert abs(left_out[0, 0] - brute) > 10 * error


@pytest.mark.parametrize("missing", ["all known", "x1 missing", "z missing", "x2 and b2 missing"])
@pytest.mark.parametrize(
    "setting", ["new trial", "new population, known trial", "new trial and population"]
)
def test_the_probability_in_one_trial_has_the_simulated_distribution(setting, missing):
    """Trials are drawn as they are, and count by how likely they have such a patient."""
    link = "logit" if missing == "x1 missing" else "probit"
    one = handmade.posterior(1, PREDICTORS, np.random.default_rng(22), link=link)
    fit = handmade.repeated(one, 4096)
    row = row_of(setting, missing)
    ours = trial_draws(fit, handmade.rows(fit, table_of([row])))[:, 0]
    trials = handmade.simulate_trials(one, 0, row, 20_000, np.random.default_rng(6))
    brute, weight = handmade.average_in_trials(one, 0, trials, row)
    weight = weight / weight.sum()
    order = np.argsort(brute)
    brute, weight = brute[order], weight[order]
    below = np.cumsum(weight)
    error = np.sqrt(0.25 / len(ours) + 0.25 * (weight**2).sum())
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        level = brute[np.searchsorted(below, share)]
        assert abs((ours <= level).mean() - share) < 4.2 * error
    middle = (weight * brute).sum()
    spread = np.sqrt((weight * (brute - middle) ** 2).sum())
    assert abs(ours.mean() - middle) < 4.2 * spread * error * 2.0


def test_what_a_patient_says_of_the_trial_would_be_missed():
    """Trials whose means and rates ignored the patient would fail the comparison above."""
    one = handmade.posterior(
        1, PREDICTORS, np.random.default_rng(22), across_slope=[1.0, 0.5, 1.0, 0.0, 0.5]
    )
    row = row_of("new trial", "b1 missing")
    trials = handmade.simulate_trials(one, 0, row, 20_000, np.random.default_rng(6))
    brute, weight = handmade.average_in_trials(one, 0, trials, row)
    fit = handmade.repeated(one, 4096)
    ours = trial_draws(fit, handmade.rows(fit, table_of([row])))[:, 0]
    told = (weight * brute).sum() / weight.sum()
    assert abs(ours.mean() - told) < 0.01
    assert abs(brute.mean() - told) > 0.03


@pytest.mark.parametrize("missing", list(MISSING))
@pytest.mark.parametrize("setting", list(SETTINGS))
def test_both_distributions_have_the_same_mean(setting, missing):
    fit = handmade.posterior(1, PREDICTORS, np.random.default_rng(23), link="logit")
    fit = handmade.repeated(fit, 2048)
    encoded = handmade.rows(fit, table_of([row_of(setting, missing)]))
    average, in_trial = response_draws(fit, encoded), trial_draws(fit, encoded)
    error = in_trial.std() / np.sqrt(len(in_trial))
    assert abs(average.mean() - in_trial.mean()) < 3.0 * error + 1e-12


@pytest.mark.parametrize("missing", ["all known", "x2 and b2 missing"])
def test_the_parts_of_uncertainty_are_those_of_the_draws(missing):
    fit = handmade.posterior(300, PREDICTORS, np.random.default_rng(25))
    rows = handmade.rows(fit, table_of([row_of(setting, missing) for setting in SETTINGS]))
    parts = uncertainty_parts(fit, rows)
    assert parts.parameters == pytest.approx(response_draws(fit, rows).var(axis=0))
    assert parts.total == pytest.approx(trial_draws(fit, rows).var(axis=0), rel=0.05)
    integrated = np.array([None in SETTINGS[setting] for setting in SETTINGS])
    assert (parts.between_trials[~integrated] == 0.0).all()
    assert (parts.between_trials[integrated] > 0.003).all()
    assert parts.total_sd**2 == pytest.approx(parts.parameters_sd**2 + parts.between_trials_sd**2)
    alone = uncertainty_parts(fit, rows.take(np.array([2])))
    assert alone.total == pytest.approx(parts.total[[2]], rel=1e-12)


def test_the_variance_between_trials_is_that_of_simulated_trials():
    one = handmade.posterior(1, PREDICTORS, np.random.default_rng(26))
    row = row_of("new trial", "x1 missing")
    trials = handmade.simulate_trials(one, 0, row, 40_000, np.random.default_rng(6))
    brute, weight = handmade.average_in_trials(one, 0, trials, row)
    middle = (weight * brute).sum() / weight.sum()
    expected = (weight * (brute - middle) ** 2).sum() / weight.sum()
    fit = handmade.repeated(one, 2048)
    parts = uncertainty_parts(fit, handmade.rows(fit, table_of([row])))
    assert parts.parameters[0] == pytest.approx(0.0, abs=1e-20)
    assert parts.between_trials[0] == pytest.approx(expected, rel=0.05)


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


def with_assays():
    """Return a fit whose first trial has patients of two assays, with means of their own."""
    fit = handmade.posterior(5, PREDICTORS, np.random.default_rng(36))
    z = [p.name for p in PREDICTORS].index("z")
    cells = fit.groups["constant_data"]["mean_cell"]
    second = cells[0].copy()
    draws = dict(fit.groups["posterior"])
    second[z] = draws["trial_mean"].shape[-1]
    draws["trial_mean"] = np.append(draws["trial_mean"], np.full((1, 5, 1), 2.5), axis=-1)
    constant = {
        "mean_cell": np.array([cells[0], second, cells[1]]),
        "law_trial": np.array([0, 0, 1]),
    }
    coords = {
        **fit.coords,
        "law": ["reporting", "reporting (ELISA)", "silent"],
        "trial_cell": [*fit.coords["trial_cell"], "reporting (ELISA): z"],
    }
    groups = {**fit.groups, "posterior": draws, "constant_data": constant}
    return dataclasses.replace(fit, groups=groups, coords=coords)


def test_an_assay_has_its_own_mean_in_its_trial():
    fit = with_assays()
    row = row_of("known trial", "all known")
    rows = [row, row | {"assay": "ELISA"}, row | {"z_assay_mean": 2.5}, row | {"assay": "RIA"}]
    draws = response_draws(fit, handmade.rows(fit, table_of(rows)))
    assert np.abs(draws[:, 0] - draws[:, 1]).max() > 0.01
    assert draws[:, 1] == pytest.approx(draws[:, 2], abs=1e-12)
    unknown = handmade.rows(fit, table_of(rows[3:]))
    names = [p.name for p in PREDICTORS]
    assert (unknown.mean_cell[0] < 0).tolist() == [name == "z" for name in names]
    assert np.abs(draws[:, 3] - draws[:, 0]).max() > 0.001


def test_an_assay_that_is_another_spelling_is_refused():
    fit = with_assays()
    with pytest.raises(kp.DataError, match=r"looks like 'reporting \(ELISA\)'"):
        handmade.rows(fit, table_of([row_of("known trial", "all known", assay="elisa")]))


def test_the_mean_of_an_assay_takes_the_place_of_what_is_not_known():
    """A value at the mean of its assay is an average one, whatever the unit of the assay."""
    fit = handmade.posterior(20, PREDICTORS, np.random.default_rng(37))
    row = row_of("new trial", "all known")
    rows = [row | {"z": level, "z_assay_mean": level - 0.5} for level in (-4.0, 0.0, 9.0)]
    draws = response_draws(fit, handmade.rows(fit, table_of(rows)))
    assert draws[:, 1] == pytest.approx(draws[:, 0], abs=1e-12)
    assert draws[:, 2] == pytest.approx(draws[:, 0], abs=1e-12)
    plain = response_draws(fit, handmade.rows(fit, table_of([row | {"z": 0.0}])))
    assert np.abs(draws[:, 1] - plain[:, 0]).max() > 0.001


def test_the_mean_of_an_assay_must_be_plausible():
    z = handmade.predictor(
        "z", transform="log", assay_dependent=True, low=0.1, high=100.0, between_trial_sd=1.0
    )
    fit = handmade.posterior(3, (z,), np.random.default_rng(38))
    encoded = handmade.rows(fit, {"z": [20.0], "z_assay_mean": [10.0]})
    # The geometric mean: a value twice as high is log 2 above it.
    assert encoded.value[0, 0] - encoded.assay_mean[0, 0] == pytest.approx(np.log(2.0))
    with pytest.raises(kp.DataError, match=r"z_assay_mean', row 2: -3; expected a mean between"):
        handmade.rows(fit, {"z": [20.0, 20.0], "z_assay_mean": [10.0, -3.0]})


def test_a_binary_predictor_is_0_or_1():
    fit = handmade.posterior(3, PREDICTORS, np.random.default_rng(39))
    with pytest.raises(kp.DataError, match=r"'b1', row 2: 0.4; expected 0 or 1"):
        handmade.rows(fit, {"b1": [1.0, 0.4]})
