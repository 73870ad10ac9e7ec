"""Replicated responders: against quadrature over the trials' law, whatever the size of the fit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import binom

import monte_carlo
from ketpredict import replicates
from ketpredict.errors import DataError
from ketpredict.replicates import in_new_trials, replicate, unit_labels
from ketpredict.stored_design import design_of
from ketpredict.summary import prior_of
from ketpredict.unit_outcome import unit_probability
from ketpredict.unseen_arms import unseen_arm_log_likelihood


def with_variables(posterior, **changes):
    variables = {**posterior.groups["posterior"], **changes}
    return dataclasses.replace(posterior, groups={**posterior.groups, "posterior": variables})


def test_an_arm_as_a_new_trial_has_the_distribution_that_quadrature_gives(published_fit):
    posterior = published_fit.fit_
    design = design_of(posterior)
    rng = np.random.default_rng(1)
    silent = np.isnan(design.units.value).all(axis=1) & (design.units.is_arm > 0)
    units = np.flatnonzero(silent)[:3]
    assert len(units) == 3
    found = []
    for _ in range(40):
        p = unit_probability(in_new_trials(posterior, design, rng), design)[:, units]
        counts = binom.pmf(design.units.responders[units], design.units.n[units], p)
        found.append(counts.mean(axis=0))
    fine, finer = (
        np.array([
            np.exp(unseen_arm_log_likelihood(posterior.draws, design, int(unit), points=points)[0])
            for unit in units
        ]).mean(axis=1)
        for points in (32, 64)
    )  # fmt: skip
    # Of the same draws: what is left is the error of 40 new trials for each of them, and that of
    # the quadrature, half a hundredth.
    error = np.std(found, axis=0, ddof=1) / np.sqrt(40)
    assert (error < 0.02 * finer).all()
    assert (np.abs(finer - fine) < 0.01 * finer).all()
    monte_carlo.agrees(np.mean(found, axis=0), finer, error, beyond=0.01 * finer)


def test_units_of_a_trial_share_its_new_effects(published_fit):
    """Without slopes two arms have the covariance that Gauss-Hermite gives for a shared effect."""
    fit = published_fit.fit_
    own = fit.groups["posterior"]
    zeros = {
        name: np.zeros_like(own[name])
        for name in ("slope", "prognostic_slope", "predictive_slope", "population_slope",
                     "slope_scale", "across_slope", "treatment_scale")
    }  # fmt: skip
    scale = np.full_like(own["trial_scale"], 0.8)
    posterior = with_variables(fit, **zeros, trial_scale=scale)
    design = design_of(posterior)
    labels = unit_labels(design)
    pair = np.flatnonzero((labels["trial"] == "daly_2018").to_numpy())[:2]
    other = np.flatnonzero((labels["trial"] == "canuso_2018").to_numpy())[:1]
    bare = dict(posterior.parameters)
    bare["trial_effect"] = np.zeros_like(bare["trial_effect"])
    bare["treatment_deviation"] = np.zeros_like(bare["treatment_deviation"])
    bare["trial_slope"] = np.zeros_like(bare["trial_slope"])
    level = ndtri(unit_probability(bare, design)[:, [*pair, *other]])
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    at = ndtr(level[..., None] + 0.8 * nodes)
    mean = (at * weights).sum(-1) / weights.sum()
    together = (at[:, 0] * at[:, 1] * weights).sum(-1) / weights.sum()
    within, between = together.mean(), (mean[:, 0] * mean[:, 2]).mean()
    found = []
    rng = np.random.default_rng(2)
    for _ in range(60):
        p = unit_probability(in_new_trials(posterior, design, rng), design)
        found.append(
            [(p[:, pair[0]] * p[:, pair[1]]).mean(), (p[:, pair[0]] * p[:, other[0]]).mean()]
        )
    error = np.std(found, axis=0, ddof=1) / np.sqrt(60)
    monte_carlo.agrees(np.mean(found, axis=0), [within, between], error)
    # Effects that are not shared would be seen.
    monte_carlo.above(within - between, 5 * error[0], error[0])


def test_new_means_of_trials_follow_their_law_and_told_ones_stay(simulated_fits):
    posterior = simulated_fits["full"]
    design = design_of(posterior)
    draws = np.concatenate(
        [
            in_new_trials(posterior, design, np.random.default_rng(i))["trial_mean"]
            for i in range(30)
        ]
    )
    told = design.n_reported
    kept = posterior.parameters["trial_mean"]
    np.testing.assert_array_equal(draws[: len(kept), :told], kept[:, :told])
    prior = in_new_trials(prior_of(posterior), design, np.random.default_rng(3))
    parameters = prior_of(posterior).parameters
    spread = parameters["predictor_between_scale"][:, design.cells[:, 1]]
    location = prior_of(posterior).draws.location()[:, design.cells[:, 1]]
    z = (prior["trial_mean"] - location) / spread
    assert z.shape[1] == len(design.cells)
    # 4000 draws of the prior, each by itself.
    monte_carlo.agrees(z.std(axis=0), 1.0, 1.0 / np.sqrt(2 * len(z)))
    monte_carlo.agrees(np.corrcoef(z.T), np.eye(len(design.cells)), 1.0 / np.sqrt(len(z)))


def test_replicates_do_not_need_the_ones_kept(simulated_fits, monkeypatch):
    fit = simulated_fits["full"]
    groups = {name: v for name, v in fit.groups.items() if name != "posterior_predictive"}
    bare = dataclasses.replace(fit, groups=groups)
    whole = replicate(bare, by=("known",), seed=5)
    kept = replicate(fit, by=("known",))
    np.testing.assert_array_equal(whole.observed, kept.observed)
    assert whole.n.sum() == design_of(fit).units.n.sum()
    difference = whole.replicated.mean(axis=0) - kept.replicated.mean(axis=0)
    error = kept.replicated.std(axis=0) * np.sqrt(2 / len(kept.replicated))
    monte_carlo.agrees(difference, 0.0, error, beyond=1e-9)
    monkeypatch.setattr(replicates, "_MOST_AT_ONCE", 5000)
    chunked = replicate(bare, by=("known",), seed=5)
    assert chunked.replicated.shape == whole.replicated.shape
    difference = chunked.replicated.mean(axis=0) - whole.replicated.mean(axis=0)
    monte_carlo.agrees(difference, 0.0, error, beyond=1e-9)


def test_what_units_tell_is_a_label(simulated_fits):
    labels = unit_labels(design_of(simulated_fits["full"]))
    known = set(labels.loc[labels["kind"] == "patients", "known"])
    assert {"bmi, family_history_aud, bdnf", "bmi", "none"} <= known
    assert set(labels.loc[labels["trial"] == "trial_2", "known"]) <= {
        "bmi, family_history_aud", "bmi", "family_history_aud", "none",
    }  # fmt: skip


def test_arms_and_patients_stand_side_by_side(simulated_fits):
    found = replicate(simulated_fits["full"], by=("kind",), setting="new_trial")
    assert found.labels["kind"].tolist() == ["arm", "patients"]
    assert found.n.tolist() == [40, 160]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"setting": "here"}, "expected 'known_trial' or 'new_trial'"),
        ({"by": ("site",)}, "expected a list of kind, trial"),
        ({"by": "trial"}, "expected a list of"),
    ],
)
def test_what_cannot_be_replicated_is_said(simulated_fits, arguments, message):
    with pytest.raises(DataError, match=message):
        replicate(simulated_fits["full"], **arguments)


def test_the_prior_knows_no_single_trial(simulated_fits):
    with pytest.raises(DataError, match="ask for a new trial"):
        replicate(prior_of(simulated_fits["full"]))
    wide = replicate(prior_of(simulated_fits["full"]), setting="new_trial")
    narrow = replicate(simulated_fits["full"], setting="new_trial")
    ratio = wide.replicated.std(axis=0) / narrow.replicated.std(axis=0)
    # Of an SD of 600 draws, a quarter of which count, beside that of 4000 draws.
    monte_carlo.above(ratio, 1.0, ratio * np.sqrt(1 / 300 + 1 / 8000))


def test_weights_that_are_not_whole_have_no_replicates(simulated_fits):
    fit = simulated_fits["full"]
    arrays = {**fit.groups["constant_data"], "n": fit.groups["constant_data"]["n"] + 0.5}
    weighted = dataclasses.replace(fit, groups={**fit.groups, "constant_data": arrays})
    with pytest.raises(DataError, match="not whole"):
        replicate(weighted)
