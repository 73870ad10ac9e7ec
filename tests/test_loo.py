"""Leave-one-out: against exact answers, ArviZ and refits that differ by one person."""

from __future__ import annotations

import dataclasses
import warnings

import arviz_stats
import numpy as np
import pytest
import xarray as xr
from arviz_stats.base import array_stats
from scipy.special import logsumexp
from scipy.stats import kstest

import monte_carlo
from ketpredict.comparison import compare_fits, predictor_worth
from ketpredict.errors import DataError
from ketpredict.loo import (
    event_log_likelihood,
    leave_one_out,
    left_out_weights,
    pit_values,
    uniformity,
)
from ketpredict.stored_design import design_of
from ketpredict.unit_outcome import patient_rows, take_units, unit_probability


@pytest.fixture(scope="module")
def found(simulated_fits):
    return leave_one_out(simulated_fits["full"])


def with_units(fit, **changes):
    arrays = {**fit.groups["constant_data"], **changes}
    return dataclasses.replace(fit, groups={**fit.groups, "constant_data": arrays})


@pytest.mark.parametrize(("responders", "n"), [(1.0, 1.0), (0.0, 1.0), (3.0, 4.0)])
def test_weights_give_the_exact_answer_of_a_conjugate_model(responders, n):
    """Beta(1, 1) and 7 of 20: without the event it is Beta(8 - r, 14 - (n - r))."""
    draws = np.random.default_rng(1).beta(8.0, 14.0, 40_000)
    log_weight, k = left_out_weights(event_log_likelihood(responders, n, draws))
    assert k < 0.7
    assert np.exp(log_weight).sum() == pytest.approx(1.0)
    exact = (8.0 - responders) / (22.0 - n)
    assert np.exp(log_weight) @ draws == pytest.approx(exact, abs=0.002)


def test_events_that_draws_rule_out_or_do_not_touch():
    same, k = left_out_weights(np.full(100, -0.3))
    assert k == -np.inf
    np.testing.assert_allclose(np.exp(same), 0.01)
    tail = np.linspace(-700.0, 0.0, 400)
    weight, k = left_out_weights(tail)
    assert k > 0.7
    assert np.exp(weight).sum() == pytest.approx(1.0)


def test_events_equal_arviz(simulated_fits, found):
    fit = simulated_fits["full"]
    design = design_of(fit)
    single = np.flatnonzero((design.units.n == 1) | (design.units.is_arm > 0))
    kept = fit.groups["log_likelihood"]["responders"][..., single]
    tree = xr.DataTree.from_dict(
        {
            group: xr.Dataset(
                {"r": (("chain", "draw", "unit"), kept)},
                coords={"chain": range(kept.shape[0]), "draw": range(kept.shape[1])},
            )
            for group in ("posterior", "log_likelihood")
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # arms have Pareto k above 0.7
        theirs = arviz_stats.loo(tree, pointwise=True, reff=1.0, var_name="r")
    ours = found.events.set_index("unit").loc[single]
    np.testing.assert_allclose(ours["elpd"], theirs.elpd_i, atol=1e-8)
    np.testing.assert_allclose(ours["pareto_k"], theirs.pareto_k, atol=1e-8)


def test_every_person_is_left_out_once(simulated_fits, found):
    units = design_of(simulated_fits["full"]).units
    events = found.events
    for kind, arm in (("patients", 0), ("arm", 1)):
        part = events[events["kind"] == kind]
        assert part["times"] @ part["n"] == units.n[units.is_arm == arm].sum()
        responders = units.responders[units.is_arm == arm].sum()
        assert part["times"] @ part["responders"] == responders
    table = found.summary().set_index("kind")
    assert table.loc["all", "elpd"] == pytest.approx(table.loc[["patients", "arm"], "elpd"].sum())
    assert table.loc["patients", "p_loo"] > 0


def test_a_merged_unit_counts_as_often_as_it_has_people(simulated_fits):
    """5 equal patients, 2 of whom responded: the densities of one of each kind, 2 and 3 times."""
    fit = simulated_fits["full"]
    units = design_of(fit).units
    place = int(np.flatnonzero(units.is_arm == 0)[0])
    n, responders = units.n.copy(), units.responders.copy()
    n[place], responders[place] = 5.0, 2.0
    events = leave_one_out(with_units(fit, n=n, responders=responders)).events
    mine = events[events["unit"] == place].sort_values("responders")
    assert mine["times"].tolist() == [3.0, 2.0]
    assert mine["n"].tolist() == [1.0, 1.0]
    probability = unit_probability(fit.parameters, design_of(fit))[:, place]
    # Each as ArviZ leaves it out of the same draws: no mean of one over a likelihood, whose
    # variance has no end where a draw makes the outcome nearly impossible.
    for event, log_likelihood in zip(
        mine.itertuples(), (np.log1p(-probability), np.log(probability)), strict=True
    ):
        weight, _ = array_stats.psislw(log_likelihood, r_eff=1.0)
        assert event.elpd == pytest.approx(logsumexp(weight + log_likelihood), abs=1e-8)


def test_left_out_patients_are_less_well_predicted_than_known_ones(found):
    events = found.events[found.events["kind"] == "patients"]
    assert (events["elpd"] < events["lppd"] + 1e-6).all()
    towards = (events["probability_left_out"] - events["probability"]) * (
        events["responders"] - 0.5
    )
    assert (towards < 1e-6).all()


def test_pit_values_are_uniform_where_the_model_is_right(found):
    pit = pit_values(found, seed=3)
    assert len(pit) == 162
    own = pit["pit"].to_numpy()
    p_values = np.array([kstest(own, "uniform").pvalue, uniformity(own)])
    monte_carlo.above(p_values, 0.05, monte_carlo.of_p_value(p_values, 600))
    assert uniformity(own**3) < 0.001
    other = pit_values(found, seed=4)
    assert not np.allclose(pit["pit"], other["pit"])


def test_fits_are_compared_by_the_same_patients_however_rows_are_merged(simulated_fits):
    full, bare = simulated_fits["full"], simulated_fits["bare"]
    assert len(design_of(bare).units) < len(design_of(full).units) / 2
    table = compare_fits(simulated_fits, kind="patients").set_index("fit")
    sums = {
        name: leave_one_out(fit).summary().set_index("kind").loc["patients", "elpd"]
        for name, fit in simulated_fits.items()
    }
    for name, total in sums.items():
        assert table.loc[name, "elpd"] == pytest.approx(total)
    worst = min(sums, key=sums.get)
    assert table.loc[worst, "elpd_diff"] == pytest.approx(min(sums.values()) - max(sums.values()))
    # Paired patient by patient, the difference is known better than either sum.
    assert 0 < table.loc[worst, "dse"] < table["se"].min()


def test_pairs_are_the_patients_themselves(simulated_fits):
    """The same fit against itself with one coefficient moved: each pair differs by that alone."""
    full = simulated_fits["full"]
    own = full.groups["posterior"]
    variables = {**own, "prognostic_slope": own["prognostic_slope"] + np.array([0.6, 0.0, 0.0])}
    moved = dataclasses.replace(full, groups={**full.groups, "posterior": variables})
    events = [leave_one_out(fit).events for fit in (full, moved)]
    difference = np.repeat(events[0]["elpd"] - events[1]["elpd"], events[0]["times"].astype(int))
    table = compare_fits({"full": full, "moved": moved}).set_index("fit")
    second = table.index[1]
    assert table.loc[second, "elpd_diff"] == pytest.approx(-abs(difference.sum()))
    expected = np.sqrt(len(difference)) * difference.std(ddof=0)
    assert table.loc[second, "dse"] == pytest.approx(expected, rel=1e-6)


def test_what_cannot_be_compared_is_said(simulated_fits, published_fit):
    full = simulated_fits["full"]
    with pytest.raises(DataError, match="at least two fits"):
        compare_fits({"full": full})
    with pytest.raises(DataError, match="not fitted to the same patients"):
        compare_fits({"full": full, "published": published_fit.fit_})
    responders = design_of(full).units.responders.copy()
    place = int(np.flatnonzero(design_of(full).units.n == 1)[0])
    responders[place] = 1.0 - responders[place]
    with pytest.raises(DataError, match="not fitted to the same patients"):
        compare_fits({"full": full, "other": with_units(full, responders=responders)})
    weighted = with_units(full, n=design_of(full).units.n + 0.25)
    with pytest.raises(DataError, match="not whole"):
        compare_fits({"full": full, "weighted": weighted})


def test_a_predictor_that_matters_is_worth_something(simulated_fits):
    """A fit whose outcomes follow BMI steeply, family history not at all: worth by hand."""
    fit = simulated_fits["full"]
    own = fit.groups["posterior"]
    zero = {name: np.zeros_like(own[name]) for name in
            ("predictive_slope", "population_slope", "trial_slope", "across_slope", "intercept",
             "trial_effect", "population_effect", "treatment_deviation",
             "binary_shift")}  # fmt: skip
    slope = np.zeros_like(own["prognostic_slope"]) + np.array([1.2, 0.0, 0.0])
    strong = dataclasses.replace(
        fit, groups={**fit.groups, "posterior": {**own, **zero, "prognostic_slope": slope}}
    )
    design = design_of(strong)
    p = unit_probability(strong.parameters, design)
    rng = np.random.default_rng(1)
    outcome = rng.binomial(design.units.n.astype(int), p.mean(axis=0)).astype(float)
    table = predictor_worth(with_units(strong, responders=outcome)).set_index("predictor")
    assert table.loc["bmi", "elpd_difference"] > 3 * table.loc["bmi", "se"]
    assert table.loc["bmi", "helps"] > 0.99
    assert abs(table.loc["family_history_aud", "elpd_difference"]) < 1e-9
    assert table.loc["family_history_aud", "information"] == pytest.approx(0.0, abs=1e-12)
    known = np.flatnonzero((design.units.is_arm == 0) & ~np.isnan(design.units.value[:, 0]))
    assert table.loc["bmi", "patients"] == design.units.n[known].sum()
    rows = patient_rows(design, known)
    assert len(rows) == len(known)
    value = design.units.value[known].copy()
    value[:, 0] = np.nan
    units = dataclasses.replace(take_units(design.units, known), value=value)
    q = unit_probability(strong.parameters, dataclasses.replace(design, units=units))
    p = p[:, known]
    nats = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))) @ design.units.n[known]
    assert table.loc["bmi", "information"] == pytest.approx(
        nats.mean() / design.units.n[known].sum()
    )
