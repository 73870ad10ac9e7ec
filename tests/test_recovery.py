"""Known parameters come back from simulated trials, patients and arms together."""

import numpy as np
import pytest

import ketpredict as kp

TRUTH = {
    "intercept": -0.3,
    "trial_scale": 0.4,
    "prognostic_slope": [0.6, 0.9],
    "predictive_slope": [0.3, -0.3],
}
FOLLOWED = (
    "intercept",
    "prognostic_slope",
    "predictive_slope",
    "slope",
    "trial_effect",
    "population_effect",
    "arm_effect",
)


def z_scores(simulation, fit):
    """Return how many posterior SDs each true value is from its posterior mean."""
    posterior = fit.groups["posterior"]
    scores = {}
    for name in FOLLOWED:
        draws = posterior[name].reshape(-1, *posterior[name].shape[2:])
        spread = draws.std(axis=0)
        moved = spread > 0
        error = simulation.truth[name] - draws.mean(axis=0)
        scores[name] = (error[moved] / spread[moved]) if moved.ndim else error / spread
    return {name: np.atleast_1d(values) for name, values in scores.items()}


def fit(simulation, seed):
    return kp.KetamineResponseClassifier(
        evidence=simulation.evidence(),
        predictors=simulation.labels["predictor"],
        draws=700,
        tune=700,
        random_state=seed,
    ).fit()


def test_parameters_come_back():
    simulation = kp.simulate(
        trials=10, patients=60, published_trials=4, truth=TRUTH, random_state=11
    )
    classifier = fit(simulation, 1)
    scores = z_scores(simulation, classifier.fit_)
    everything = np.concatenate(list(scores.values()))
    # 10 trials, 2 predictors: 22 quantities; one beyond 3.5 SD has a chance of about 1 %.
    assert np.abs(everything).max() < 3.5
    assert np.sqrt(np.mean(everything**2)) < 1.6
    slopes = classifier.fit_.parameters["slope"]
    assert (slopes.mean(axis=0) > 0.25).all(), "large true slopes must not be shrunk to nothing"
    assert (slopes.std(axis=0) < 0.5).all()


@pytest.mark.slow
def test_intervals_cover_over_many_simulated_data_sets():
    """90 % intervals of slopes and intercept cover within exact binomial bounds (99 %)."""
    from scipy.stats import binom

    covered = []
    for seed in range(30):
        simulation = kp.simulate(
            trials=6, patients=25, published_trials=2, predictors=("bmi",), random_state=seed
        )
        draws = fit(simulation, seed).fit_.parameters
        for name in ("intercept", "slope"):
            low, high = np.quantile(draws[name], [0.05, 0.95], axis=0)
            truth = simulation.truth[name]
            covered.extend(np.atleast_1d((low <= truth) & (truth <= high)))
    low, high = binom.interval(0.99, len(covered), 0.9)
    assert low <= sum(covered) <= high
