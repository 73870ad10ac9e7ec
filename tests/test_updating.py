"""Updating with a site's own counts: against grids, simulated trials, and a real refit."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import binom

import ketpredict as kp
import monte_carlo
from ketpredict.counted_trial import trial_candidates
from ketpredict.design_extension import with_trial
from ketpredict.errors import ConvergenceError, ConvergenceWarning, DataError
from ketpredict.evidence import make_evidence, select_horizons
from ketpredict.fitting import SamplerSettings, fit, prepare
from ketpredict.posterior import load_posterior
from ketpredict.predict import response_draws
from ketpredict.predictor_law import Draws, with_absent
from ketpredict.predictors import load_predictors
from ketpredict.prior import draw_prior
from ketpredict.rows import encode_rows
from ketpredict.spec import load_spec
from ketpredict.stored_design import design_of
from ketpredict.updating import update, update_table

ARMS = pd.DataFrame(
    {
        "trial": ["one", "one", "two", "two", "three", "four", "four", "five"],
        "population": ["uni", "uni", "uni", "uni", "uni", "bi", "bi", "bi"],
        "arm": [
            "ketamine",
            "saline",
            "ketamine",
            "midazolam",
            "ketamine",
            "ketamine",
            "saline",
            "ketamine",
        ],
        "hours": [24.0, 24, 24, 24, 24, 24, 24, 24],
        "n": [30, 30, 47, 25, 22, 18, 18, 40],
        "responders": [17, 4, 30, 7, 8, 9, 1, 18],
        "bmi_mean": [29.0, 29.0, np.nan, np.nan, 31.0, np.nan, np.nan, 27.0],
        "bmi_sd": [6.0, 6.0, np.nan, np.nan, 7.0, np.nan, np.nan, 5.0],
        "family_history_aud_pct": [40.0, 30.0, np.nan, np.nan, np.nan, 50.0, 50.0, np.nan],
    }
)
SITE = {
    "trial": ["site", "site"],
    "population": ["uni", "uni"],
    "arm": ["ketamine", "midazolam"],
    "hours": [24.0, 24.0],
    "n": [15, 14],
    "responders": [6, 2],
}
NAMES = ("bmi", "family_history_aud")


def model(names, **entries):
    spec = load_spec("published").with_predictors(names)
    return dataclasses.replace(spec, **entries)


def evidence_of(table):
    return make_evidence(arms=table, predictors=NAMES)


@pytest.fixture(scope="module")
def small_fit():
    return fitted(ARMS, 1)


@pytest.fixture(scope="module")
def few(small_fit):
    """Return the fit with some of its draws, for what needs no precision."""
    groups = {
        name: {
            key: values[:, ::25] if name in ("posterior", "posterior_predictive") else values
            for key, values in variables.items()
        }
        for name, variables in small_fit.groups.items()
    }
    pointwise = {key: values[:, ::25] for key, values in groups["log_likelihood"].items()}
    return dataclasses.replace(small_fit, groups={**groups, "log_likelihood": pointwise})


def fitted(table, seed):
    design, used = prepare(model(NAMES), evidence_of(table), load_predictors())
    settings = SamplerSettings(draws=2000, tune=400, chains=2, target_accept=0.9, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fit(design, used, settings)


def prior_draws(names, site, count=3, **entries):
    """Return draws of the prior, as of a fit that does not know the site, and its design."""
    spec = model(names, **entries)
    design, _ = prepare(spec, evidence_of(ARMS), load_predictors())
    own = select_horizons(evidence_of(pd.DataFrame(site)), spec.horizons).arms
    after = with_trial(design, own)
    parameters = dict(draw_prior(design, count, np.random.default_rng(8)))
    for name in ("trial_effect", "treatment_deviation", "population_effect"):
        parameters[name] = np.pad(parameters[name], ((0, 0), (0, 1)))
    for name in ("trial_slope", "population_slope"):
        if name in parameters:
            parameters[name] = np.pad(parameters[name], ((0, 0), (0, 1), (0, 0)))
    parameters = with_absent(parameters, design.predictors, len(design.cells))
    draws = Draws(parameters, design.predictors, spec.link, spec.slope_parts())
    return draws, after, np.arange(len(design.units), len(after.units))


def level_of(draws, design, unit, d):
    """Return the linear predictor of an arm of the site without the site's own effects."""
    p, u = draws.parameters, design.units
    total = p["intercept"][d] + p["arm_effect"][d, u.arm_idx[unit]]
    total += p["population_effect"][d, u.population_idx[unit]]
    return total + u.study_terms[unit] @ p["study_term_effect"][d]


def slope_of(draws, design, unit, d):
    p, u = draws.parameters, design.units
    slope = p["prognostic_slope"][d] + u.active[unit] * p["predictive_slope"][d]
    return slope + p["population_slope"][d, u.population_idx[unit]]


@pytest.mark.parametrize("responders", [(6, 2), (0, 14), (15, 14)])
def test_the_level_of_a_site_equals_a_fine_grid(responders):
    """Without predictors the site has two effects, which a grid covers: no sampling is left."""
    draws, design, units = prior_draws((), {**SITE, "responders": list(responders)})
    found = trial_candidates(draws, design, units, candidates=2048)
    grid = np.linspace(-13.0, 13.0, 521)
    e, f = np.meshgrid(grid, grid, indexing="ij")
    for d in range(len(draws)):
        v, t = draws.parameters["trial_scale"][d] * e, draws.parameters["treatment_scale"][d] * f
        density = np.exp(-0.5 * (e**2 + f**2)) / (2.0 * np.pi)
        for unit, sign in zip(units, (0.5, -0.5), strict=True):
            level = level_of(draws, design, unit, d)
            n, r = design.units.n[unit], design.units.responders[unit]
            density = density * binom.pmf(r, n, ndtr(level + v + sign * t))
        total = density.sum() * (grid[1] - grid[0]) ** 2
        weight = np.exp(found.log_weight[d] - found.log_weight[d].max())
        weight /= weight.sum()
        error = np.sqrt((weight**2).sum())
        assert error < 0.03
        assert abs(found.log_likelihood[d] - np.log(total)) < 4.0 * error
        for effect, values in ((v, found.trial_effect[d]), (t, found.treatment_deviation[d])):
            mean = (effect * density).sum() / density.sum()
            sd = np.sqrt(((effect - mean) ** 2 * density).sum() / density.sum())
            assert abs(weight @ values - mean) < 4.0 * error * sd
            assert abs(np.sqrt(weight @ (values - mean) ** 2) - sd) < 4.0 * error * sd


SUMMARIES = {
    "nothing published": {},
    "one arm publishes": {"bmi_mean": [31.0, np.nan], "bmi_sd": [5.0, np.nan]},
    "all published": {
        "bmi_mean": [31.0, 30.0],
        "bmi_sd": [5.0, 6.5],
        "family_history_aud_pct": [60.0, 50.0],
    },
}


@pytest.mark.parametrize("published", list(SUMMARIES))
def test_a_site_with_predictors_equals_simulated_trials(published):
    """Trials from the model's law, each weighted by how likely it makes what the site reports."""
    draws, design, units = prior_draws(NAMES, {**SITE, **SUMMARIES[published]})
    found = trial_candidates(draws, design, units, candidates=2048)
    size, rng, p = 200_000, np.random.default_rng(3), draws.parameters
    for d in range(len(draws)):
        v = p["trial_scale"][d] * rng.standard_normal(size)
        t = p["treatment_scale"][d] * rng.standard_normal(size)
        own = np.sqrt(draws.slope_variance("trial")[d]) * rng.standard_normal((size, 2))
        between = p["predictor_between_scale"][d] * rng.standard_normal((size, 2))
        mu, rate = (draws.location()[d] + between).T[0], ndtr(draws.location()[d] + between)[:, 1]
        log_weight = np.zeros(size)
        centre, shift = draws.binary_centre[0], p["binary_shift"][d, 0, 0]
        variance = p["predictor_covariance"][d, 0, 0]
        for unit, sign in zip(units, (0.5, -0.5), strict=True):
            mean, share = design.units.value[unit]
            sd, n = design.units.sd[unit, 0], design.units.n[unit]
            slope = slope_of(draws, design, unit, d) + own
            linear = level_of(draws, design, unit, d) + v + sign * t
            linear = linear + p["across_slope"][d, 0] * mu
            linear = linear + p["across_slope"][d, 1] * (rate - centre)
            of_arm = rate if np.isnan(share) else np.full(size, share)
            total = variance + shift**2 * of_arm * (1.0 - of_arm)
            if not np.isnan(share):
                log_weight += n * (share * np.log(rate) + (1.0 - share) * np.log1p(-rate))
            if not np.isnan(mean):
                distance = mean - mu - shift * (of_arm - centre)
                log_weight += -0.5 * distance**2 * n / variance
                log_weight += -0.5 * np.log(2.0 * np.pi * variance / n)
                log_weight += -0.5 * (n - 1.0) * (np.log(total) + sd**2 / total)
            response = 0.0
            for b in (0.0, 1.0):
                at = mu + shift * (b - centre)
                if not np.isnan(mean):
                    at = mean + shift * (b - of_arm)
                spread = slope[:, 0] ** 2 * variance
                if not np.isnan(sd):
                    spread = spread * sd**2 / total
                z = linear + slope[:, 1] * (b - centre) + slope[:, 0] * at
                weight = of_arm if b else 1.0 - of_arm
                response = response + weight * ndtr(z / np.sqrt(1.0 + spread))
            log_weight += binom.logpmf(design.units.responders[unit], n, response)
        highest = log_weight.max()
        brute = np.exp(log_weight - highest)
        ours = np.exp(found.log_weight[d] - found.log_weight[d].max())
        error = np.hypot(
            np.sqrt((brute**2).sum()) / brute.sum(), np.sqrt((ours**2).sum()) / ours.sum()
        )
        assert error < 0.17
        expected = highest + np.log(brute.mean())
        assert abs(found.log_likelihood[d] - expected) < 4.0 * error
        brute, ours = brute / brute.sum(), ours / ours.sum()
        pairs = (
            (v, found.trial_effect[d]),
            (mu, found.trial_mean[d, :, 0]),
            (ndtri(rate), found.trial_mean[d, :, 1]),
            (own[:, 0], found.trial_slope[d, :, 0]),
        )
        for simulated, candidate in pairs:
            mean = brute @ simulated
            sd = np.sqrt(brute @ (simulated - mean) ** 2)
            assert abs(ours @ candidate - mean) < 4.0 * error * sd


def test_an_update_equals_a_refit(small_fit):
    """The same counts among the evidence, NUTS anew: equal within Monte Carlo error."""
    table = pd.concat([ARMS, pd.DataFrame(SITE)], ignore_index=True)
    refit = fitted(table, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        updated = update(small_fit, SITE)
    effective = updated.facts["provenance"]["updates"][0]["effective_draws"]
    assert effective > 0.5 * updated.n_draws
    columns = {
        "trial": ["site", "site", "one", None, None],
        "population": ["uni", "uni", "uni", "uni", "bi"],
        "arm": ["ketamine", "midazolam", "ketamine", "midazolam", "ketamine"],
        "bmi": [None, 35.0, None, None, 25.0],
    }
    ours, theirs, old = (
        response_draws(one, encode_rows(one, columns, 5)) for one in (updated, refit, small_fit)
    )
    for mine, other in ((ours, theirs), *of_the_site(updated, refit)):
        # The draws of an update are those of a fit as long, of which at worst half count.
        chains = monte_carlo.by_chain(other, refit)
        of_mean = np.sqrt(1.0 + 2.0) * monte_carlo.of_mean(chains)
        of_sd = np.sqrt(1.0 + 2.0) * monte_carlo.of_sd(chains)
        monte_carlo.agrees(mine.mean(axis=0), other.mean(axis=0), of_mean)
        monte_carlo.agrees(mine.std(axis=0), other.std(axis=0), of_sd)
    # The site's own probability has moved: the comparison can see an update.
    errors = [monte_carlo.of_mean(monte_carlo.by_chain(draws, refit))[0] for draws in (old, theirs)]
    monte_carlo.above((old.mean(axis=0) - theirs.mean(axis=0))[0], 0.0, np.hypot(*errors))


def of_the_site(*fits):
    """Yield the draws that each fit has of the site's own effects."""
    for name in ("trial_effect", "treatment_deviation"):
        yield [fit.groups["posterior"][name][..., fit.coords["trial"].index("site")].ravel()
               for fit in fits]  # fmt: skip


@pytest.fixture(scope="module")
def updated(few):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return update(few, {**SITE, "bmi_mean": [31.0, 31.0], "scale": ["QIDS", "QIDS"]})


def test_the_design_of_an_update_is_that_of_a_fit_with_the_same_arms(few, updated):
    site = {**SITE, "bmi_mean": [31.0, 31.0], "scale": ["QIDS", "QIDS"]}
    table = pd.concat([ARMS, pd.DataFrame(site)], ignore_index=True)
    fresh, _ = prepare(model(NAMES), evidence_of(table), load_predictors())
    ours = design_of(updated)
    key = ["trial", "arm"]
    mine, theirs = (one.labels().sort_values(key, ignore_index=True) for one in (ours, fresh))
    pd.testing.assert_frame_equal(mine, theirs)
    assert ours.n_reported == fresh.n_reported
    named = [
        {(one.laws[law], int(k)): i for i, (law, k) in enumerate(one.cells.tolist())}
        for one in (ours, fresh)
    ]
    assert named[0].keys() == named[1].keys()
    place = fresh.trials.index("site")
    np.testing.assert_allclose(ours.trial_values[-1], fresh.trial_values[place])
    # What the trials of the fit had stays theirs, though the cells moved.
    first = few.coords["trial_cell"]
    came_from = updated.groups["posterior"]["trial_mean"].reshape(updated.n_draws, -1)
    before = few.groups["posterior"]["trial_mean"].reshape(few.n_draws, -1)
    for label in first:
        values = came_from[:, updated.coords["trial_cell"].index(label)]
        assert np.isin(values, before[:, first.index(label)]).all()


def test_an_update_is_saved_loaded_and_known(updated, tmp_path):
    loaded = load_posterior(updated.save(tmp_path / "fit.nc"))
    rows = encode_rows(updated, {"trial": ["site"], "bmi": [28.0]}, 1)
    assert not rows.new_trial[0]
    again = encode_rows(loaded, {"trial": ["site"], "bmi": [28.0]}, 1)
    np.testing.assert_array_equal(response_draws(updated, rows), response_draws(loaded, again))
    units = len(design_of(loaded).units)
    for group in ("posterior_predictive", "log_likelihood"):
        assert loaded.groups[group]["responders"].shape[-1] == units
    assert "sample_stats" not in loaded.groups
    entry = next(e for e in loaded.facts["basis"] if e["population"] == "uni")
    assert (entry["trials"], entry["patients_in_arms"]) == (4, 30 + 30 + 47 + 25 + 22 + 15 + 14)
    assert "QIDS ≥ 50 % (1 trial)" in entry["outcomes"]
    assert loaded.facts["ranges"]["bmi"]["trials"] == 4
    assert "6 of 15 (ketamine), 2 of 14 (midazolam)" in loaded.facts["messages"][-1]
    (record,) = loaded.facts["provenance"]["updates"]
    assert [row["responders"] for row in record["counts"]] == [6.0, 2.0]


def test_the_graph_of_an_update_has_its_density(updated):
    """The design is whole: PyMC builds the model of all trials from it."""
    built = kp.KetamineResponseClassifier.from_posterior(updated).model_
    assert "site" in built.coords["trial"]


def test_the_same_seed_gives_the_same_draws_and_updates_follow_each_other(few):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        first, second = update(few, SITE, seed=3), update(few, SITE, seed=3)
        other = update(first, {**SITE, "trial": ["second site"] * 2, "population": ["bi"] * 2})
    for name, values in first.groups["posterior"].items():
        np.testing.assert_array_equal(values, second.groups["posterior"][name])
    assert other.coords["trial"][-2:] == ["site", "second site"]
    own = other.groups["posterior"]["trial_effect"].reshape(other.n_draws, -1)[:, -2:]
    scaled = own / other.groups["posterior"]["trial_scale"].reshape(-1, 1)
    # Both are sums of a common part (the intercept pulls both) and of their own numbers.
    assert abs(np.corrcoef(scaled.T)[0, 1]) < 0.4


def test_counts_that_leave_few_draws_say_so(few):
    counts = {**SITE, "n": [400, 400], "responders": [4, 396]}
    with pytest.warns(ConvergenceWarning, match="fit again with these counts") as caught:
        result = update(few, counts)
    assert len(caught) == 1
    assert "Pareto k" in result.problems[-1]
    with pytest.raises(ConvergenceError, match="site moved the fit far"):
        update(few, counts, strict=True)


def test_the_table_says_what_the_counts_did(few, updated):
    table = update_table(few, updated, 0.8)
    assert list(table["arm"]) == ["ketamine", "midazolam"]
    assert list(table["responders"]) == [6, 2]
    rows = encode_rows(updated, {"trial": ["site"] * 2, "arm": ["ketamine", "midazolam"]}, 2)
    draws = response_draws(updated, rows)
    np.testing.assert_allclose(table["probability"], draws.mean(axis=0))
    np.testing.assert_allclose(table["upper"], np.quantile(draws, 0.9, axis=0))
    before = table["upper_before"] - table["lower_before"]
    assert (table["upper"] - table["lower"] < before).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trial": ["one", "one"]}, "knows already"),
        ({"trial": ["site", "other"]}, "expected one"),
        ({"trial": ["One ", "One "]}, "write it so"),
        ({"population": ["ocd", "ocd"]}, "is not of the fit"),
        ({"arm": ["ketamine", "esketamine_intranasal"]}, "which the fit has not seen"),
        ({"responders": [16, 2]}, "responders"),
        ({"threshold": [35.0, 35.0], "scale": ["QIDS", "QIDS"]}, "needs a column 'scale'"),
        ({"hours": [400.0, 400.0]}, "400"),
    ],
)
def test_counts_that_cannot_be_used_are_refused_in_words(few, changes, words):
    with pytest.raises(DataError, match=words):
        update(few, {**SITE, **changes})


def test_a_fit_without_its_data_is_refused(few):
    bare = {**few.groups, "constant_data": {}}
    with pytest.raises(DataError, match="fit again"):
        update(dataclasses.replace(few, groups=bare), SITE)


def test_what_only_a_refit_can_learn_is_said(few):
    """The third trial that reports a predictor would give its trial means a slope."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = update(few, {**SITE, "family_history_aud_pct": [40.0, 40.0]})
    assert "report family_history_aud for a fit" in result.facts["messages"][-1]
    assert "for a fit to give" not in "".join(update_messages(few))


def update_messages(posterior):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return update(posterior, SITE).facts["messages"]


def test_an_arm_of_the_users_own_needs_no_class_again(few):
    """Arms that the package does not know came with their class when the fit was made."""
    arms = ["my infusion" if arm == "midazolam" else arm for arm in few.coords["arm"]]
    own = dataclasses.replace(few, coords={**few.coords, "arm": arms})
    counts = {**SITE, "arm": ["ketamine", "my infusion"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = update(own, counts)
    assert list(update_table(own, result)["arm"]) == ["ketamine", "my infusion"]
    assert design_of(result).labels()["arm"].tolist()[-2:] == ["ketamine", "my infusion"]
