"""Net benefit: by counting, by a bootstrap of single patients, by the package dcurves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import monte_carlo
from ketpredict.decision import decision_curve, net_benefit, number_needed
from ketpredict.errors import DataError
from ketpredict.loo import LeaveOneOut, leave_one_out
from ketpredict.predict import response_draws
from ketpredict.rows import encode_rows


@pytest.fixture(scope="module")
def patients():
    rng = np.random.default_rng(1)
    p = rng.uniform(0.05, 0.95, 60).round(2)
    return p, (rng.random(60) < p).astype(float)


def counted(p, y, t):
    """Return the net benefit by counting."""
    treated = p >= t
    true, false = (treated & (y == 1)).sum(), (treated & (y == 0)).sum()
    return true / len(p) - false / len(p) * t / (1 - t)


def test_net_benefit_equals_counting_also_at_a_patients_own_probability(patients):
    p, y = patients
    at = [0.3, float(p[5]), 0.9, 0.11]
    table = net_benefit(p, y, thresholds=at)
    np.testing.assert_allclose(table["net_benefit"], [counted(p, y, t) for t in at])
    np.testing.assert_allclose(table["treat_all"], [counted(p * 0 + 1, y, t) for t in at])
    np.testing.assert_allclose(table["treated"], [(p >= t).mean() for t in at])
    assert table["threshold"].tolist() == at
    assert (table["lower"] < table["net_benefit"]).all()
    assert (table["net_benefit"] < table["upper"]).all()


def test_dcurves_agrees(patients):
    import dcurves

    p, y = patients
    theirs = dcurves.dca(
        data=pd.DataFrame({"y": y.astype(int), "p": p}), outcome="y", modelnames=["p"],
        thresholds=np.array([0.2, 0.4, 0.6]),
    )  # fmt: skip
    ours = net_benefit(p, y, thresholds=[0.2, 0.4, 0.6])
    for model, column in (("p", "net_benefit"), ("all", "treat_all")):
        part = theirs[theirs["model"] == model].sort_values("threshold")
        np.testing.assert_allclose(part["net_benefit"], ours[column], atol=1e-10)


def test_bands_are_those_of_weights_drawn_patient_by_patient(patients):
    p, y = patients
    weight = np.random.default_rng(2).dirichlet(np.ones(60), 20_000)
    at = np.array([0.2, 0.5, 0.8])
    table = net_benefit(p, y, thresholds=at, prob=0.8)
    for row, t in zip(table.to_dict("records"), at, strict=True):
        gain = (p >= t) * (y - (1 - y) * t / (1 - t))
        draws, everybody = weight @ gain, weight @ (y - (1 - y) * t / (1 - t))
        spread = draws.std()
        assert row["lower"] == pytest.approx(np.quantile(draws, 0.1), abs=0.08 * spread)
        assert row["upper"] == pytest.approx(np.quantile(draws, 0.9), abs=0.08 * spread)
        assert row["treat_all_lower"] == pytest.approx(
            np.quantile(everybody, 0.1), abs=0.08 * everybody.std()
        )
        useful = (draws > np.maximum(everybody, 0)).mean()
        assert row["useful"] == pytest.approx(useful, abs=0.05)


def test_a_rule_that_treats_all_or_nobody_is_that(patients):
    _, y = patients
    table = net_benefit(np.full(60, 0.5), y, thresholds=[0.4, 0.6])
    assert table["lower"][0] == pytest.approx(table["treat_all_lower"][0])
    assert table[["net_benefit", "lower", "upper"]].loc[1].tolist() == [0.0, 0.0, 0.0]
    assert table["useful"].tolist() == [0.0, 0.0]


def test_counts_stand_for_patients(patients):
    p, y = patients
    twice = net_benefit(np.tile(p, 3), np.tile(y, 3), thresholds=[0.3, 0.6])
    counts = net_benefit(p, y, np.full(60, 3.0), thresholds=[0.3, 0.6])
    pd.testing.assert_frame_equal(twice, counts)


def test_curves_use_left_out_predictions_of_the_treated(simulated_fits):
    found = leave_one_out(simulated_fits["full"])
    curve = decision_curve(found, thresholds=[0.7, 0.9])
    assert curve["n"].tolist() == [80.0] * 2 + [40.0] * 4
    shuffled = LeaveOneOut(found.events.assign(probability=0.01))
    pd.testing.assert_frame_equal(curve, decision_curve(shuffled, thresholds=[0.7, 0.9]))
    control = decision_curve(found, thresholds=[0.7, 0.9], arm="saline")
    assert control["responders"].iloc[0] < curve["responders"].iloc[0]


def test_what_has_no_curve_is_said(simulated_fits, patients):
    with pytest.raises(DataError, match="no patients of the arm 'midazolam'"):
        decision_curve(leave_one_out(simulated_fits["full"]), arm="midazolam")
    with pytest.raises(DataError, match="between 0 and 1"):
        net_benefit(*patients, thresholds=[0.0, 0.5])


def test_numbers_needed_are_one_over_the_difference(published_fit):
    posterior = published_fit.fit_
    table = number_needed(posterior, prob=0.8)
    assert {"saline", "midazolam"} <= set(table["control"])
    row = table[(table["population"] == "ocd") & (table["control"] == "saline")].iloc[0]
    rows = encode_rows(posterior, {"population": ["ocd"] * 2, "arm": ["ketamine", "saline"]}, 2)
    draws = response_draws(posterior, rows)
    difference = draws[:, 0] - draws[:, 1]
    low, high = np.quantile(difference, [0.1, 0.9])
    assert row["number_needed"] == pytest.approx(1 / difference.mean())
    assert row["number_lower"] == pytest.approx(1 / high)
    assert row["number_upper"] == pytest.approx(1 / low if low > 0 else np.inf)
    assert row["harm"] == pytest.approx((difference < 0).mean())


def test_the_number_needed_has_no_upper_end_where_harm_is_possible(published_fit):
    import dataclasses

    fit = published_fit.fit_
    own = fit.groups["posterior"]
    spread = np.random.default_rng(1).normal(0.0, 1.5, own["arm_effect"].shape)
    moved = {**own, "arm_effect": own["arm_effect"] * 0.2 + spread * (own["arm_effect"] != 0)}
    table = number_needed(dataclasses.replace(fit, groups={**fit.groups, "posterior": moved}))
    helps = table[table["difference"] > 0]
    assert np.isinf(helps["number_upper"]).all()
    # A quarter of the draws counts, at worst.
    monte_carlo.above(table["harm"], 0.1, monte_carlo.of_share(table["harm"], fit.n_draws / 4))
    assert table.loc[table["difference"] <= 0, "number_needed"].isna().all()
