"""Measures of predictions and their meta-analysis, against other packages and brute force."""

import itertools

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import norm, t
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from ketpredict.pooled_measures import pool
from ketpredict.validation_measures import (
    brier_parts,
    calibration_in_the_large,
    calibration_slope,
    concordance,
    isotonic_calibration,
    large_measure,
    patient_measures,
)

# Colditz et al. 1994, the BCG trials: log relative risks and variances as metafor prints them.
BCG = np.array(
    [
        -0.8893, -1.5854, -1.3481, -1.4416, -0.2175, -0.7861, -1.6209, 0.0120, -0.4694, -1.3713,
        -0.3394, 0.4459, -0.0173,
    ]
)  # fmt: skip
BCG_VARIANCE = np.array(
    [
        0.3256, 0.1946, 0.4154, 0.0200, 0.0512, 0.0069, 0.2230, 0.0040, 0.0564, 0.0730, 0.0124,
        0.5325, 0.0714,
    ]
)  # fmt: skip


@pytest.fixture
def patients():
    """Return responses, predictions with ties, and draws around them."""
    rng = np.random.default_rng(3)
    probability = np.round(expit(rng.normal(0.2, 1.0, 120)), 2)
    response = (rng.random(120) < expit(0.4 + 0.7 * logit(probability))).astype(float)
    draws = expit(logit(probability) + rng.normal(0.0, 0.3, (50, 120)))
    return response, probability, draws


def named(found):
    return {measure.name: measure for measure in found}


def curvature(loss, at, step=1e-3):
    """Return second derivatives by differences."""
    moves = step * np.eye(len(at))
    return np.array(
        [
            [
                loss(at + a + b) - loss(at + a - b) - loss(at - a + b) + loss(at - a - b)
                for a in moves
            ]
            for b in moves
        ]
    ) / (4.0 * step**2)


def test_measures_are_those_of_scikit_learn(patients):
    response, probability, draws = patients
    found = named(patient_measures(response, probability, draws, 0.9))
    expected = {
        "c_statistic": roc_auc_score(response, probability),
        "brier": brier_score_loss(response, probability),
        "log_score": -log_loss(response, probability),
    }
    assert {name: found[name].estimate for name in expected} == pytest.approx(expected)
    one_by_one = [roc_auc_score(response, draw) for draw in draws]
    assert concordance(response, draws) == pytest.approx(one_by_one)
    limits = found["c_statistic"].posterior_lower, found["c_statistic"].posterior_upper
    assert limits == pytest.approx(np.quantile(one_by_one, [0.05, 0.95]))


def test_calibration_is_the_maximum_of_the_likelihood(patients):
    response, probability, _ = patients
    value = logit(probability)

    def loss(coefficients, slope=None):
        linear = coefficients[0] + (coefficients[-1] if slope is None else slope) * value
        return -(response * linear - np.logaddexp(0.0, linear)).sum()

    joint = minimize(loss, [0.0, 1.0], method="BFGS", options={"gtol": 1e-9})
    slope, error = calibration_slope(response, probability[None])
    assert slope[0] == pytest.approx(joint.x[1], abs=1e-5)
    assert error[0] == pytest.approx(np.sqrt(np.linalg.inv(curvature(loss, joint.x))[1, 1]), 1e-4)
    other = LogisticRegression(C=np.inf, tol=1e-10).fit(value[:, None], response)
    assert slope[0] == pytest.approx(other.coef_[0, 0], abs=1e-4)
    large = minimize(loss, [0.0], args=(1.0,), method="BFGS", options={"gtol": 1e-9})
    one = np.ones_like(response)
    intercept, error = calibration_in_the_large(response, one, probability[None])
    assert intercept[0] == pytest.approx(large.x[0], abs=1e-6)
    assert error[0] == pytest.approx(1 / np.sqrt(curvature(lambda a: loss(a, 1.0), large.x)[0, 0]))


def test_calibration_in_the_large_of_arms_is_that_of_their_patients():
    responders, n, probability = np.array([3.0, 9.0]), np.array([10.0, 12.0]), np.array([0.4, 0.6])
    one_by_one = np.repeat([1.0, 0.0, 1.0, 0.0], [3, 7, 9, 3])
    of_patients = np.repeat(probability, [10, 12])[None]
    arms = calibration_in_the_large(responders, n, probability[None])
    patients = calibration_in_the_large(one_by_one, np.ones(22), of_patients)
    assert np.allclose(arms, patients)


def test_the_errors_are_those_of_repeated_trials():
    """Over many trials of known truth the printed error is the spread of the estimates."""
    rng = np.random.default_rng(5)
    estimates, errors = [], []
    for _ in range(200):
        probability = expit(rng.normal(0.0, 1.2, 150))
        response = (rng.random(150) < probability).astype(float)
        found = named(patient_measures(response, probability, probability[None], 0.9))
        chosen = ("c_statistic", "calibration_in_the_large", "calibration_slope", "brier")
        estimates.append([found[name].estimate for name in chosen])
        errors.append([found[name].standard_error for name in chosen])
    spread = np.std(estimates, axis=0)
    assert np.mean(errors, axis=0) == pytest.approx(spread, rel=0.15)
    assert np.mean(estimates, axis=0)[1:3] == pytest.approx([0.0, 1.0], abs=0.1)


def test_brier_parts_add_up_and_the_isotonic_fit_is_scikit_learns(patients):
    response, probability, _ = patients
    miscalibration, discrimination, uncertainty = brier_parts(response, probability)
    assert miscalibration - discrimination + uncertainty == pytest.approx(
        brier_score_loss(response, probability)
    )
    assert miscalibration >= 0
    assert discrimination >= 0
    other = IsotonicRegression().fit(probability, response).predict(probability)
    assert isotonic_calibration(response, probability) == pytest.approx(other)


def test_predictions_that_are_all_alike_discriminate_nothing():
    response = np.repeat([0.0, 1.0], [12, 18])
    alike = np.full(30, 0.5)
    found = named(patient_measures(response, alike, alike[None], 0.9))
    assert found["brier_discrimination"].estimate == pytest.approx(0.0)
    assert found["brier_miscalibration"].estimate == pytest.approx(0.1**2)
    assert np.isnan(found["calibration_slope"].estimate)
    assert "do not vary" in found["calibration_slope"].reason
    assert found["calibration_in_the_large"].estimate == pytest.approx(logit(0.6))


def test_what_cannot_be_had_is_missing_with_its_reason():
    rng = np.random.default_rng(1)
    probability = rng.uniform(0.2, 0.8, 20)
    draws = rng.uniform(0.2, 0.8, (9, 20))
    few = named(patient_measures(np.repeat([0.0, 1.0], [17, 3]), probability, draws, 0.9))
    assert "3 responders and 17 others" in few["c_statistic"].reason
    assert np.isnan(few["calibration_slope"].estimate)
    assert np.isfinite(few["brier"].estimate)
    nobody = large_measure(np.zeros(20), np.ones(20), probability, draws, 0.9)
    assert "Nobody responded" in nobody.reason
    ordered = np.sort(probability)
    apart = named(patient_measures(np.repeat([0.0, 1.0], [10, 10]), ordered, draws, 0.9))
    assert "separate" in apart["c_statistic"].reason
    assert "separate" in apart["calibration_slope"].reason


def test_pooling_gives_metafors_numbers():
    """``rma(yi, vi, data = dat.bcg, test = "knha")`` of metafor."""
    found = pool(BCG, np.sqrt(BCG_VARIANCE), 0.95)
    assert found.estimate == pytest.approx(-0.7145, abs=2e-4)
    assert found.tau**2 == pytest.approx(0.3132, abs=5e-4)
    assert (found.lower, found.upper) == pytest.approx((-1.1083, -0.3206), abs=2e-3)


def test_pooling_maximises_the_restricted_likelihood():
    """The restricted likelihood is the likelihood with a flat average integrated out."""
    rng = np.random.default_rng(2)
    for tau, count in itertools.product((0.0, 0.5), (4, 9)):
        error = rng.uniform(0.1, 0.4, count)
        y = rng.normal(0.3, np.sqrt(tau**2 + error**2))

        middle = np.linspace(-4.0, 4.0, 2001)[:, None]

        def log_likelihood(tau, y=y, error=error, middle=middle):
            density = norm.logpdf(y, middle, np.sqrt(tau**2 + error**2)).sum(axis=1)
            return np.log(np.exp(density).sum())

        found = pool(y, error, 0.9)
        grid = np.linspace(0.0, 2.0, 81)
        best = max(log_likelihood(one) for one in grid)
        assert log_likelihood(found.tau) > best - 1e-6


def test_the_next_trial_lies_in_its_interval_as_often_as_it_says():
    rng = np.random.default_rng(4)
    inside = np.zeros(2)
    for _ in range(400):
        error = rng.uniform(0.15, 0.3, 10)
        truth = rng.normal(0.0, 0.4, 11)
        found = pool(rng.normal(truth[:10], error), error, 0.9)
        inside += [
            found.prediction_lower < truth[10] < found.prediction_upper,
            found.lower < 0.0 < found.upper,
        ]
    assert inside == pytest.approx([360, 360], abs=24)


def test_two_trials_give_no_interval_for_the_next():
    found = pool(np.array([0.1, 0.4, np.nan]), np.array([0.1, 0.2, 0.1]), 0.9)
    assert found.trials == 2
    assert np.isnan(found.estimate)
    three = pool(np.array([0.1, 0.1, 0.1]), np.full(3, 0.2), 0.9)
    assert three.upper - three.estimate == pytest.approx(t.ppf(0.95, 2) * 0.2 / np.sqrt(3))
    assert three.tau == 0.0
