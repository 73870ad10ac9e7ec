"""What ArviZ finds in a fit: the responders' log likelihood, log priors, leave-one-out."""

from __future__ import annotations

import dataclasses
import warnings

import arviz_stats
import numpy as np
import pytest

import ketpredict as kp
from ketpredict import arviz_groups, pointwise
from ketpredict.comparison import compare_fits
from ketpredict.effect_density import effect_log_likelihood
from ketpredict.errors import DataError, KetpredictWarning, SavedFitError
from ketpredict.log_prior import BLOCKS
from ketpredict.loo import leave_one_out
from ketpredict.pointwise import effects_log_likelihood, outcome_log_likelihood
from ketpredict.posterior import load_posterior
from ketpredict.power_scaling import sensitivity
from ketpredict.stored_design import design_of
from ketpredict.unit_outcome import unit_probability

LARGE_K = "Pareto k is above|Estimated shape parameter"


@pytest.fixture(scope="module")
def shipped():
    return kp.load("published")


@pytest.fixture(scope="module")
def tree(shipped):
    return shipped.posterior_


def as_classifier(posterior):
    return kp.KetamineResponseClassifier.from_posterior(posterior)


def quiet(call, *args, **options):
    """Return what a call returns; that arms have a Pareto k above 0.7 is known."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=LARGE_K)
        return call(*args, **options)


def test_loo_of_the_shipped_fit_is_that_of_its_patients_and_arms(shipped, tree):
    """Not of the 19 published effects, whose log likelihood is all that the file keeps."""
    units = design_of(shipped.fit_).units
    found = quiet(arviz_stats.loo, tree, reff=1.0, pointwise=True)
    events = leave_one_out(shipped.fit_).events
    assert found.n_data_points == len(events) == len(units) == 85
    np.testing.assert_allclose(found.elpd_i, events["elpd"], atol=1e-8)
    mine = quiet(shipped.loo)
    assert mine.elpd == pytest.approx(found.elpd)
    assert mine.se == pytest.approx(found.se)
    assert mine.p == pytest.approx(found.p)
    np.testing.assert_allclose(mine.pareto_k, found.pareto_k, atol=1e-8)
    assert mine.elpd_i["trial"].to_numpy().tolist() == events["trial"].tolist()


def test_events_that_weights_cannot_leave_out_are_counted(shipped):
    events = leave_one_out(shipped.fit_).events
    above = events[events["pareto_k"] > 1.0 - 1.0 / np.log10(2000)]  # ArviZ's limit of 2000 draws
    assert set(above["kind"]) == {"arm"}
    words = rf"0.70 for {len(above)} of 28 published arms: .*validate\(\)"
    with pytest.warns(KetpredictWarning, match=words):
        shipped.loo()


def test_the_log_likelihood_is_the_binomial_of_each_unit(shipped, tree):
    from scipy.stats import binom

    design = design_of(shipped.fit_)
    probability = unit_probability(shipped.fit_.parameters, design)
    expected = binom(design.units.n.astype(int), probability).logpmf(design.units.responders)
    ours = tree["log_likelihood"]["responders"]
    assert ours.dims == ("chain", "draw", "unit")
    np.testing.assert_allclose(ours.to_numpy().reshape(expected.shape), expected, atol=1e-9)


def test_what_is_kept_equals_what_is_worked_out(published_fit):
    fit = published_fit.fit_
    bare = dataclasses.replace(
        fit, groups={n: g for n, g in fit.groups.items() if n != "log_likelihood"}
    )
    for kept, made in (
        (outcome_log_likelihood(fit), outcome_log_likelihood(bare)),
        (effects_log_likelihood(fit), effects_log_likelihood(bare)),
    ):
        np.testing.assert_allclose(kept, made, atol=1e-10)
    assert set(as_classifier(bare).posterior_.children) == set(published_fit.posterior_.children)


def test_published_effects_stand_apart(shipped, tree, published_fit):
    for classifier, groups in ((shipped, tree), (published_fit, published_fit.posterior_)):
        assert list(groups["log_likelihood"].data_vars) == ["responders"]
        effects = groups["log_likelihood_effects"]["effects"]
        assert effects["effect"].to_numpy().tolist() == classifier.fit_.coords["effect"]
        expected = effect_log_likelihood(classifier.fit_.parameters, design_of(classifier.fit_))
        np.testing.assert_allclose(
            effects.to_numpy().reshape(expected.shape), expected, atol=2e-3
        )  # those of the shipped fit were rounded with its draws
        # Also without the classifier nobody takes them for the outcomes.
        stored = classifier.fit_.to_datatree()
        assert "effects" not in stored.get("log_likelihood", {})


def test_the_file_is_as_it_was(published_fit, tmp_path):
    """A fit is saved with the groups that it has, and not with what was worked out for ArviZ."""
    _ = published_fit.posterior_
    loaded = load_posterior(published_fit.fit_.save(tmp_path / "fit.nc"))
    assert set(loaded.groups) == set(published_fit.fit_.groups)
    assert set(loaded.groups["log_likelihood"]) == {"effects", "responders"}


def test_prior_sensitivity_by_arviz(tree):
    assert list(tree["log_prior"].data_vars) == list(BLOCKS)
    names = ["trial_scale", "slope"]
    found = arviz_stats.psense_summary(tree, var_names=names, prior_var_names=["scales"])
    assert found.loc["trial_scale", "prior"] > 0.05
    assert np.isfinite(found[["prior", "likelihood"]].to_numpy()).all()
    posterior = tree["posterior"]
    draws = np.column_stack(
        [posterior["trial_scale"].to_numpy().ravel(), posterior["slope"].to_numpy().reshape(-1, 6)]
    )
    for group, column in (("log_prior", "prior"), ("log_likelihood", "likelihood")):
        block = tree[group]["scales" if column == "prior" else "responders"]
        ours = sensitivity(draws, block.to_numpy().reshape(len(draws), -1).sum(axis=1))
        np.testing.assert_allclose(ours, found[column], atol=0.002)


def test_a_fit_without_predictors_or_effects(simulated_fits):
    groups = as_classifier(simulated_fits["bare"]).posterior_
    assert "log_likelihood_effects" not in groups.children
    assert set(groups["log_prior"].data_vars) == set(BLOCKS) - {"effect_scales"}


def test_what_is_too_large_is_left_out_and_said(simulated_fits, monkeypatch):
    fit = simulated_fits["bare"]
    large = as_classifier(
        dataclasses.replace(
            fit, groups={n: g for n, g in fit.groups.items() if n != "log_likelihood"}
        )
    )
    total = pointwise.total_log_likelihood(large.fit_)
    for module in (pointwise, arviz_groups):
        monkeypatch.setattr(module, "MOST_VALUES", 1000)
    monkeypatch.setattr(pointwise, "_AT_ONCE", 5000)
    with pytest.warns(KetpredictWarning, match=r"loo\(\) and ketpredict.compare"):
        groups = large.posterior_
    assert "log_likelihood" not in groups.children
    assert "log_prior" in groups.children
    np.testing.assert_allclose(pointwise.total_log_likelihood(large.fit_), total)
    assert quiet(large.loo).n_data_points == 162


def test_a_fit_saved_without_its_patients(shipped, tree, tmp_path):
    """All but what is of the patients is there; what needs them says so."""
    shipped.save(tmp_path / "share.nc", patients=False)
    shared = kp.load(tmp_path / "share.nc")
    found = shared.posterior_
    of_patients = {"log_likelihood", "posterior_predictive", "observed_data"}
    assert set(tree.children) - set(found.children) == of_patients
    for group in ("posterior", "log_prior", "log_likelihood_effects"):
        assert found[group].to_dataset().equals(tree[group].to_dataset())
    with pytest.raises(SavedFitError, match="without its patients"):
        shared.loo()
    with pytest.raises(SavedFitError, match="without its patients"):
        kp.compare({"full": shipped, "shared": shared})
    sensitive = shared.prior_sensitivity()
    full = shipped.prior_sensitivity()
    assert sensitive.components == full.components[:-1]
    same = full.table[full.table["component"] != "outcomes"]
    np.testing.assert_allclose(
        sensitive.table[["sensitivity", "now"]], same[["sensitivity", "now"]], atol=1e-12
    )
    assert len(sensitive.lines()) > 2


# ------------------------------------------------------------------------- leave-one-out, compare


def test_loo_counts_patients_one_by_one(simulated_fits):
    classifier = as_classifier(simulated_fits["bare"])
    units = design_of(classifier.fit_).units
    assert (units.n[units.is_arm == 0] > 1).any()
    found = quiet(classifier.loo)
    patients = int(units.n[units.is_arm == 0].sum())
    assert found.n_data_points == patients + int(units.is_arm.sum()) == 162
    events = leave_one_out(classifier.fit_).events
    assert found.elpd == pytest.approx(events["times"] @ events["elpd"])
    assert found.pareto_k.sizes == found.elpd_i.sizes == {"event": 162}
    assert set(found.elpd_i["kind"].to_numpy()) == {"patients", "arm"}


def test_classifiers_are_compared_as_their_fits_are(simulated_fits):
    classifiers = {name: as_classifier(fit) for name, fit in simulated_fits.items()}
    table = kp.compare(classifiers, kind="patients")
    assert table.equals(compare_fits(simulated_fits, kind="patients"))
    assert kp.compare(simulated_fits, kind="patients").equals(table)


def test_arviz_compares_fits_of_the_same_units_as_we_do(simulated_fits):
    """Two fits of one table with the same predictors: units agree, and so do both roads."""
    full = simulated_fits["full"]
    own = full.groups["posterior"]
    moved = {**own, "prognostic_slope": own["prognostic_slope"] + np.array([0.6, 0.0, 0.0])}
    groups = {n: g for n, g in full.groups.items() if n != "log_likelihood"}
    other = dataclasses.replace(full, groups={**groups, "posterior": moved})
    pair = {"a": as_classifier(full), "b": as_classifier(other)}
    mine = kp.compare(pair).set_index("fit")
    trees = {name: one.posterior_ for name, one in pair.items()}
    theirs = quiet(arviz_stats.compare, trees, round_to="none")
    worse = mine.index[1]
    # ArviZ smooths by the chains' relative efficiency, and leaves out merged patients together.
    assert theirs.loc[worse, "elpd_diff"] == pytest.approx(mine.loc[worse, "elpd_diff"], rel=0.25)
    assert theirs.loc[worse, "dse"] == pytest.approx(mine.loc[worse, "dse"], rel=0.25)
    by_loo = arviz_stats.compare({n: quiet(one.loo) for n, one in pair.items()}, round_to="none")
    assert by_loo.loc[worse, "elpd_diff"] == pytest.approx(mine.loc[worse, "elpd_diff"])
    assert by_loo.loc[worse, "dse"] == pytest.approx(mine.loc[worse, "dse"])


def changed(fit, **arrays):
    """Return a fit whose design says something else of its units."""
    known = {**fit.groups["constant_data"], **arrays}
    return dataclasses.replace(fit, groups={**fit.groups, "constant_data": known})


def test_why_units_differ_is_said(simulated_fits, shipped):
    full = simulated_fits["full"]
    units = design_of(full).units
    single = int(np.flatnonzero((units.n == 1) & (units.is_arm == 0))[0])
    responders, threshold, value = units.responders.copy(), units.threshold.copy(), units.value
    responders[single] = 1.0 - responders[single]
    threshold[single] = 30.0
    value = value.copy()
    place = int(np.flatnonzero(~np.isnan(value[:, 0]) & (units.n == 1))[0])
    value[place, 0] += 1.0
    trial = full.coords["trial"][units.trial_idx[single]]
    for other, reason in (
        (shipped, "only 'b' and not 'a' has the trials 'canuso_2018', 'daly_2018', .* more"),
        (changed(full, responders=responders), rf"of trial {trial}, .* responders of "),
        (changed(full, threshold=threshold), "threshold 30"),
        (changed(full, value=value), "other values of a predictor"),
    ):
        with pytest.raises(DataError, match=reason):
            kp.compare({"a": full, "b": other})


def test_what_is_no_fitted_classifier_is_said(simulated_fits):
    fitted = as_classifier(simulated_fits["bare"])
    with pytest.raises(DataError, match=r"'new' is KetamineResponseClassifier.*call its fit"):
        kp.compare({"old": fitted, "new": kp.KetamineResponseClassifier()})
    with pytest.raises(DataError, match="mapping of names"):
        kp.compare([fitted, fitted])
    with pytest.raises(DataError, match="at least two fits"):
        kp.compare({"old": fitted})
