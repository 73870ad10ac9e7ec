"""Known parameters come back from simulated trials, patients and arms together."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

import ketpredict as kp

TRUTH = {
    "intercept": -0.3,
    "trial_scale": 0.4,
    "prognostic_slope": [0.6, 0.9],
    "predictive_slope": [0.3, -0.3],
}
FOLLOWED = ("intercept", "prognostic_slope", "predictive_slope", "slope", "arm_effect")


def z_scores(simulation, fit):
    """Return how many posterior SDs each true value is from its posterior mean.

    The levels of trials are followed as sums of intercept, population and trial effect: data on
    ten trials tell the sum, not how it splits, so that errors of the parts go together.
    """
    parameters, truth = fit.parameters, simulation.truth
    pairs = {name: (parameters[name], truth[name]) for name in FOLLOWED}
    population = [
        simulation.labels["population"].index(name) for name in population_of_each_trial(simulation)
    ]
    level = (
        parameters["intercept"][:, None]
        + parameters["population_effect"][:, population]
        + parameters["trial_effect"][:, :-1]
    )
    true_level = truth["intercept"] + truth["population_effect"][population] + truth["trial_effect"]
    pairs["level"] = (level, true_level)
    scores = {}
    for name, (draws, true) in pairs.items():
        spread, error = np.atleast_1d(draws.std(axis=0)), np.atleast_1d(true - draws.mean(axis=0))
        scores[name] = error[spread > 0] / spread[spread > 0]
    return scores


def population_of_each_trial(simulation):
    tables = [
        table[["trial", "population"]] for table in (simulation.participants, simulation.arms)
    ]
    known = pd.concat(tables).drop_duplicates().set_index("trial")["population"]
    return known.loc[list(simulation.labels["trial"])]


def fit(simulation, seed):
    return kp.KetamineResponseClassifier(
        evidence=simulation.evidence(),
        predictors=simulation.labels["predictor"],
        random_state=seed,
    ).fit()


def test_parameters_come_back():
    simulation = kp.simulate(
        trials=10, patients=60, published_trials=4, truth=TRUTH, random_state=11
    )
    classifier = fit(simulation, 1)
    scores = z_scores(simulation, classifier.fit_)
    everything = np.concatenate(list(scores.values()))
    # 18 quantities: the chance that one lies beyond 3.5 SD is under 1 %.
    assert np.abs(everything).max() < 3.5
    assert np.sqrt(np.mean(everything**2)) < 1.6
    slopes = classifier.fit_.parameters["slope"]
    assert (slopes.mean(axis=0) > 0.25).all(), "large true slopes must not be shrunk to nothing"
    assert (slopes.std(axis=0) < 0.5).all()


@pytest.mark.slow
# A fit with a divergence or two counts like any other: none is dropped.
@pytest.mark.filterwarnings("ignore::ketpredict.errors.ConvergenceWarning")
def test_intervals_cover_over_many_simulated_data_sets():
    """90 % intervals cover within exact binomial bounds, at 1 % over both quantities together."""
    covered = {"intercept": 0, "slope": 0}
    simulations = 40
    for seed in range(simulations):
        simulation = kp.simulate(
            trials=6, patients=25, published_trials=2, predictors=("bmi",), random_state=seed
        )
        draws = fit(simulation, seed).fit_.parameters
        for name in covered:
            low, high = np.quantile(draws[name], [0.05, 0.95], axis=0)
            covered[name] += int(
                np.all((low <= simulation.truth[name]) & (simulation.truth[name] <= high))
            )
    low, high = binom.interval(1 - 0.01 / len(covered), simulations, 0.9)
    assert all(low <= count <= high for count in covered.values()), covered
