"""Draws of outcomes: each row's distribution, and what rows of one trial or population share."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

import handmade
from ketpredict.errors import DataError
from ketpredict.outcome_draws import (
    draws_table,
    outcomes_table,
    probability_draws,
    sample_outcomes,
)
from ketpredict.predict import response_draws, trial_draws

PREDICTORS = (
    handmade.predictor("x", between_trial_sd=0.8),
    handmade.predictor("b", "binary", centre=0.4, between_trial_sd=0.6),
)
DRAWS = 8192


def one_draw_many_times(seed, predictors=PREDICTORS, **fixed):
    fit = handmade.posterior(1, predictors, np.random.default_rng(seed), **fixed)
    return fit, handmade.repeated(fit, DRAWS)


def both(outcomes, i, j):
    """Return how often two patients both respond, and its standard error."""
    share = (outcomes[:, i] * outcomes[:, j]).mean()
    return share, np.sqrt(share * (1.0 - share) / len(outcomes))


def test_each_outcome_has_the_probability_that_prediction_says():
    one, fit = one_draw_many_times(31)
    trials = ["reporting", "new", "new", "other", None]
    table = {
        "trial": trials,
        "population": ["first population"] * 4 + [None],
        "x": [0.5, 1.2, None, -1.0, 2.0],
        "b": [None, 1, None, 0, None],
    }
    rows = handmade.rows(fit, table)
    expected = response_draws(one, handmade.rows(one, table))[0]
    error = np.sqrt(expected * (1.0 - expected) / DRAWS)
    for kind in ("trial", "average"):
        outcomes = sample_outcomes(fit, rows, trial=trials, kind=kind, seed=4)
        assert outcomes.shape == (DRAWS, 5)
        assert set(np.unique(outcomes)) == {0, 1}
        assert (np.abs(outcomes.mean(axis=0) - expected) < 4.0 * error).all()


def test_patients_of_one_new_trial_respond_together_as_simulated_trials_say():
    """Of patients of whom nothing is known: the mean square of the trials' own probabilities."""
    one, fit = one_draw_many_times(32, trial_scale=1.0)
    row = {"trial": None, "population": "first population", "arm": "ketamine"}
    simulated = handmade.simulate_trials(one, 0, row, 20_000, np.random.default_rng(7))
    own, _ = handmade.average_in_trials(one, 0, simulated, row)
    names = ["new", "new", "other", None, None]
    table = {"trial": names, "population": ["first population"] * 5}
    rows = handmade.rows(fit, table)
    outcomes = sample_outcomes(fit, rows, trial=names)
    together, error = both(outcomes, 0, 1)
    square, apart = (own**2).mean(), own.mean() ** 2
    # Trials differ enough for the comparison to tell the two apart.
    assert square - apart > 12.0 * error
    assert abs(together - square) < 4.0 * error
    for i, j in ((0, 2), (0, 3), (3, 4)):
        assert abs(both(outcomes, i, j)[0] - apart) < 4.0 * error
    outcomes = sample_outcomes(fit, rows, trial=names, kind="average")
    assert abs(both(outcomes, 0, 1)[0] - apart) < 4.0 * error


def test_patients_of_one_new_population_share_its_effect_across_its_trials():
    """Without predictors: an integral over the population's effect alone."""
    _, fit = one_draw_many_times(
        33, (), population_scale=0.9, trial_scale=0.6, treatment_scale=0.4, intercept=0.2
    )
    trials, populations = ["a", "b", "c", None], ["far", "far", "off", "far"]
    rows = handmade.rows(fit, {"trial": trials, "population": populations})
    outcomes = sample_outcomes(fit, rows, trial=trials, population=populations, seed=2)
    effect = np.linspace(-8.0, 8.0, 2001)
    density = np.exp(-0.5 * effect**2)
    density /= density.sum()
    within = ndtr((0.2 + 0.9 * effect) / np.sqrt(1.0 + 0.6**2 + 0.4**2 / 4.0))
    square, apart = density @ within**2, (density @ within) ** 2
    for i, j, expected in ((0, 1, square), (0, 3, square), (0, 2, apart)):
        share, error = both(outcomes, i, j)
        assert square - apart > 8.0 * error
        assert abs(share - expected) < 4.0 * error


def test_outcomes_depend_on_the_seed_and_not_on_the_other_rows():
    fit = handmade.posterior(64, PREDICTORS, np.random.default_rng(34))
    names = ["new", "reporting", "other", "new", None]
    rows = handmade.rows(fit, {"trial": names, "x": [0.1, 0.2, None, 0.4, 0.5]})
    outcomes = sample_outcomes(fit, rows, trial=names, seed=5)
    np.testing.assert_array_equal(outcomes, sample_outcomes(fit, rows, trial=names, seed=5))
    assert (outcomes != sample_outcomes(fit, rows, trial=names, seed=6)).any()
    fewer = sample_outcomes(fit, rows.take(np.arange(3)), trial=names[:3], seed=5)
    np.testing.assert_array_equal(outcomes[:, :3], fewer)


def test_tables_are_long_and_hold_the_draws():
    fit = handmade.posterior(6, PREDICTORS, np.random.default_rng(35))
    rows = handmade.rows(fit, {"trial": ["silent", None], "x": [0.1, None]})
    average, single = draws_table(fit, rows), draws_table(fit, rows, "trial")
    assert list(average) == ["row", "draw", "trial", "probability"]
    assert (len(average), len(single)) == (12, 48)
    expected = response_draws(fit, rows)
    for row, draw, value in average[["row", "draw", "probability"]].to_numpy():
        assert value == expected[int(draw), int(row)]
    of_trials = trial_draws(fit, rows)
    at = single["draw"] * 4 + single["trial"]
    np.testing.assert_array_equal(single["probability"], of_trials[at, single["row"]])
    np.testing.assert_array_equal(probability_draws(fit, rows, "trial"), of_trials)
    outcomes = sample_outcomes(fit, rows)
    table = outcomes_table(outcomes)
    assert list(table) == ["row", "draw", "response"]
    np.testing.assert_array_equal(table["response"], outcomes[table["draw"], table["row"]])
    with pytest.raises(DataError, match="'average'"):
        sample_outcomes(fit, rows, kind="both")
