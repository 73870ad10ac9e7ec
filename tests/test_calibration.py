"""Calibration curves: against scikit-learn and hand calculation, error rate and power."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.isotonic import IsotonicRegression

import monte_carlo
from ketpredict.calibration import calibration, calibration_curve
from ketpredict.errors import DataError
from ketpredict.replicates import NEW_TRIAL
from ketpredict.stored_design import design_of


def simulated(rng, truth=lambda p: p, size=80, draws=199):
    """Return predictions, and responders of one data set of the truth and replicates of them."""
    p = rng.uniform(0.05, 0.95, size)
    counts = rng.random((draws + 1, size)) < p
    counts[0] = rng.random(size) < truth(p)
    return p, counts.astype(float)


def test_the_curve_is_isotonic_regression_and_its_gain_the_brier_score():
    rng = np.random.default_rng(1)
    p, counts = simulated(rng)
    n = rng.integers(1, 4, len(p)).astype(float)
    counts = np.minimum(counts * n, n)
    curve, off = calibration_curve(p, counts, n, prob=0.8)
    order = np.argsort(p)
    theirs = [
        IsotonicRegression().fit(p, row / n, sample_weight=n).predict(p[order]) for row in counts
    ]
    np.testing.assert_allclose(curve["observed"], theirs[0], atol=1e-10)
    np.testing.assert_allclose(curve["lower"], np.quantile(theirs[1:], 0.1, axis=0), atol=1e-10)
    r = counts[0][order]

    def brier(q):
        return (r * (1 - q) ** 2 + (n[order] - r) * q**2).sum() / n.sum()

    assert off[0] == pytest.approx(brier(p[order]) - brier(theirs[0]))


def test_equal_predictions_are_one_point():
    p = np.array([0.2, 0.2, 0.2, 0.7])
    counts = np.array([[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    curve, off = calibration_curve(p, counts, np.ones(4))
    assert curve["n"].tolist() == [3.0, 1.0]
    np.testing.assert_allclose(curve["observed"], [1 / 3, 1.0])
    assert off[0] == pytest.approx((3 * (1 / 3 - 0.2) ** 2 + 0.3**2) / 4)


def test_a_right_model_is_flagged_at_its_nominal_rate_and_a_wrong_one_is_seen():
    rng = np.random.default_rng(2)

    def p_value(truth):
        p, counts = simulated(rng, truth)
        off = calibration_curve(p, counts, np.ones(len(p)))[1]
        return (off >= off[0]).mean()

    null = np.array([p_value(lambda p: p) for _ in range(150)])
    assert binom.cdf((null <= 0.05).sum(), 150, 0.05) < 0.999
    assert null.mean() == pytest.approx(0.5, abs=0.08)
    extreme = [p_value(lambda p: 0.5 + 0.3 * (p - 0.5)) for _ in range(20)]
    assert np.mean(np.array(extreme) <= 0.05) > 0.7


@pytest.mark.parametrize("setting", ["known_trial", NEW_TRIAL])
def test_groups_add_up_and_a_fit_to_its_own_model_is_calibrated(simulated_fits, setting):
    fit = simulated_fits["full"]
    units = design_of(fit).units
    found = calibration(fit, by=("population",), setting=setting)
    patients = units.is_arm == 0
    assert found.table["n"].sum() == units.n[patients].sum()
    assert found.table["responders"].sum() == units.responders[patients].sum()
    assert found.curves.groupby("population")["n"].sum().tolist() == found.table["n"].tolist()
    inside = found.curves["observed"].between(found.curves["lower"], found.curves["upper"])
    assert inside.mean() > 0.8
    monte_carlo.above(found.p_value, 0.05, monte_carlo.of_p_value(found.p_value, fit.n_draws))
    assert json.loads(json.dumps(found.as_table(), allow_nan=False))["setting"] == setting


def test_a_fit_with_its_level_moved_is_miscalibrated(simulated_fits):
    import dataclasses

    fit = simulated_fits["full"]
    own = fit.groups["posterior"]
    moved = {**own, "intercept": own["intercept"] - 2.5}
    other = dataclasses.replace(fit, groups={**fit.groups, "posterior": moved})
    p_value = calibration(other, by=("kind",)).p_value
    monte_carlo.below(p_value, 0.05, monte_carlo.of_p_value(p_value, fit.n_draws))


def test_arms_are_points_of_their_size(simulated_fits):
    found = calibration(simulated_fits["full"], by=("kind",), kind="arm")
    assert found.table["n"].tolist() == [40.0]
    assert found.curves["n"].tolist() == [20.0, 20.0]


def test_what_cannot_be_calibrated_is_said(simulated_fits):
    with pytest.raises(DataError, match="no volunteers"):
        calibration(simulated_fits["full"], kind="volunteers")
    with pytest.raises(DataError, match="expected a list of"):
        calibration(simulated_fits["full"], by=("site",))
