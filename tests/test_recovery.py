"""Known parameters come back from simulated trials, patients and arms together, holes and all.

``scripts/recovery_study.py`` does the last test with five times as many data sets, and explains it.
"""

import dataclasses
import warnings

import numpy as np
import pytest
from scipy.special import ndtr

import handmade
import ketpredict as kp
import monte_carlo
from ketpredict.errors import ConvergenceWarning
from ketpredict.fitting import SamplerSettings, fit, prepare

study = handmade.load_script("recovery_study")

TRUTH = {
    "intercept": -0.3,
    "trial_scale": 0.4,
    "arm_effect": [0.0, -1.0],
    "prognostic_slope": [0.0, 1.0, 0.8, 0.0],
    "predictive_slope": 0.0,
    "population_slope": 0.0,
    "trial_slope": 0.0,
    "across_slope": 0.0,
    "predictor_location": 0.0,
    "predictor_between_scale": [0.5, 0.6, 0.4, 0.5],
    "predictor_covariance": [[1.0, 0.75], [0.75, 1.1]],
    "binary_shift": [[0.5, 0.0], [0.0, -0.4]],
    "binary_log_odds_ratio": [1.2],
}
FOLLOWED = (
    "arm_effect",
    "prognostic_slope",
    "predictive_slope",
    "slope",
    "predictor_location",
    "predictor_covariance",
    "binary_shift",
    "binary_log_odds_ratio",
)


def fitted(simulation, evidence, seed):
    references = {predictor.name: predictor for predictor in simulation.predictors}
    design, used = prepare(simulation.spec, evidence, references)
    settings = SamplerSettings(draws=400, tune=400, chains=2, target_accept=0.8, seed=seed)
    with warnings.catch_warnings():
        # Few draws: enough for a mean and an SD, not for the warnings to stay silent.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fit(design, used, settings)


def z_scores(simulation, posterior):
    """Return how many posterior SDs each true value is from its posterior mean.

    The levels of trials are followed as sums of intercept, population and trial effect and what the
    trial's means add: data on a few trials tell the sum, not how it splits.
    """
    parameters, truth, labels = posterior.parameters, simulation.truth, simulation.labels
    pairs = {name: (parameters[name], truth[name]) for name in FOLLOWED}
    name = "predictor_between_scale"
    pairs[name] = (np.log(parameters[name]), np.log(truth[name]))
    cells = {label: i for i, label in enumerate(posterior.coords["trial_cell"])}
    place = [[cells[f"{t}: {name}"] for name in labels["predictor"]] for t in labels["trial"]]
    mean, true_mean = parameters["trial_mean"][:, place], truth["trial_mean"]
    pairs["trial_mean"] = (mean, true_mean)
    evidence = simulation.evidence()
    population_of = {
        trial: labels["population"].index(population)
        for table in (evidence.participants, evidence.arms)
        for trial, population in zip(table["trial"], table["population"], strict=True)
    }
    population = [population_of[trial] for trial in labels["trial"]]
    level = (
        parameters["intercept"][:, None]
        + parameters["population_effect"][:, population]
        + parameters["trial_effect"][:, :-1]
        + across(parameters["across_slope"][:, None, :], mean, simulation.predictors)
    )
    true_level = truth["intercept"] + truth["population_effect"][population] + truth["trial_effect"]
    true_level = true_level + across(truth["across_slope"], true_mean, simulation.predictors)
    pairs["level"] = (level, true_level)
    scores = {}
    for name, (draws, true) in pairs.items():
        spread, error = np.atleast_1d(draws.std(axis=0)), np.atleast_1d(true - draws.mean(axis=0))
        scores[name] = error[spread > 0] / spread[spread > 0]
    return scores


def across(slope, mean, predictors):
    """Return what a trial's means and rates add to its level."""
    binary = np.array([predictor.kind == "binary" for predictor in predictors])
    centre = np.array([predictor.centre for predictor in predictors])
    return (slope * np.where(binary, ndtr(mean) - centre, mean)).sum(axis=-1)


@pytest.mark.draws
def test_parameters_come_back():
    """Five trials of patients with holes, three published; three did not measure one predictor."""
    simulation = kp.simulate(
        trials=8,
        patients=40,
        published_trials=3,
        predictors=("bmi", "delta_sleep_ratio", "family_history_aud", "suicide_attempt_history"),
        truth=TRUTH,
        missing=0.25,
        missing_blocks={f"trial_{t}": ["delta_sleep_ratio"] for t in (1, 2, 7)},
        missing_outcome=0.1,
        unpublished=0.2,
        random_state=11,
    )
    posterior = fitted(simulation, simulation.evidence(), 1)
    scores = z_scores(simulation, posterior)
    everything = np.concatenate([values.ravel() for values in scores.values()])
    # 70 quantities: the chance that one lies beyond 4 SD is under 1 %.
    assert len(everything) == 70
    # A tenth of a posterior SD: 100 of the 800 draws count, at worst.
    monte_carlo.below(np.abs(everything), 4.0, 0.1)
    monte_carlo.below(np.sqrt(np.mean(everything**2)), 1.3, 0.1 / np.sqrt(10))  # of some ten ways
    own = posterior.groups["posterior"]
    mean = {name: own[name].mean(axis=(0, 1)) for name in FOLLOWED}
    error = {name: monte_carlo.of_mean(own[name]) for name in FOLLOWED}
    # A large true slope is not shrunk to nothing.
    monte_carlo.above(mean["slope"][1], 0.6, error["slope"][1])
    monte_carlo.below(own["slope"].std(axis=(0, 1)), 0.5, monte_carlo.of_sd(own["slope"]))
    name = "predictor_covariance"
    monte_carlo.between(mean[name][0, 1], 0.55, 0.95, error[name][0, 1])
    name = "binary_log_odds_ratio"
    monte_carlo.above(mean[name], 0.5, error[name])


@pytest.mark.draws
def test_missing_cells_are_not_what_their_mean_is():
    """Two correlated predictors, one of which matters and is missing in half of the patients.

    Filled with its mean it would leave its effect to the other one. The joint model tells the two
    apart. Slopes are the same in all trials, in truth and in the model.
    """
    spec = kp.load_spec("published")
    pooling = dataclasses.replace(spec.pooling, population_slope=False, trial_slope=False)
    whole = kp.simulate(
        model=dataclasses.replace(spec, pooling=pooling),
        trials=4,
        patients=60,
        published_trials=0,
        populations=("unipolar_depression",),
        predictors=("bmi", "delta_sleep_ratio"),
        truth={
            "intercept": 0.0,
            "arm_effect": [0.0, -0.5],
            "trial_scale": 0.3,
            "treatment_scale": 0.2,
            "prognostic_slope": [0.0, 1.0],
            "predictive_slope": 0.0,
            "across_slope": 0.0,
            "predictor_location": 0.0,
            "predictor_covariance": [[1.0, 0.8], [0.8, 1.0]],
        },
        random_state=12,
    )
    people = whole.participants
    gone = np.random.default_rng(12).random(len(people)) < 0.5
    holes = people.assign(delta_sleep_ratio=people["delta_sleep_ratio"].mask(gone))
    filled = holes.fillna({"delta_sleep_ratio": holes["delta_sleep_ratio"].mean()})

    def distance(participants):
        """Return how many posterior SDs a slope is from 0, and the error of that."""
        simulation = dataclasses.replace(whole, participants=participants)
        posterior = fitted(simulation, simulation.evidence(), 1)
        slope = posterior.groups["posterior"]["slope"][..., 0]
        away = slope.mean() / slope.std()
        error = np.hypot(monte_carlo.of_mean(slope), away * monte_carlo.of_sd(slope)) / slope.std()
        return away, error

    away, error = distance(holes)
    monte_carlo.between(away, -2.5, 2.5, error)
    away, error = distance(filled)
    monte_carlo.above(away, 4.0, error)


@pytest.mark.draws
@pytest.mark.slow
def test_intervals_cover_over_many_simulated_data_sets():
    """Coverage within exact binomial bounds, at 1 % over all quantities; no fit is dropped."""
    rows = study.study(range(1000, 1040), processes=1)
    table = study.summary(rows)
    assert len(table) == len(study.QUANTITIES) * len(study.CONTENTS)
    assert (table["joint_sets"] == 40).all()
    assert table["within"].all(), table[["quantity", "content", "joint_covers"]].to_string()
    # Holes cost complete cases precision: the joint model has to gain some.
    slopes = table[table["quantity"].str.startswith("slope") & (table["content"] == 0.9)]
    assert (slopes["joint_width"] < slopes["complete_width"]).all()
