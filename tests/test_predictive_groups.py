"""Replicates where ArviZ looks for them: ArviZ itself reads them."""

from __future__ import annotations

import warnings

import arviz_stats
import numpy as np
import pytest

from ketpredict import predictive_groups as module
from ketpredict.errors import DataError
from ketpredict.loo import leave_one_out
from ketpredict.predictive_groups import predictive_groups
from ketpredict.replicates import NEW_TRIAL, replicate
from ketpredict.stored_design import design_of


@pytest.fixture(scope="module")
def tree(simulated_fits):
    return predictive_groups(simulated_fits["full"])


def test_groups_hold_what_the_fit_keeps(simulated_fits, tree):
    fit = simulated_fits["full"]
    for group in ("posterior_predictive", "log_likelihood"):
        ours = tree[group]["responders"]
        assert ours.dims == ("chain", "draw", "unit")
        np.testing.assert_allclose(ours, fit.groups[group]["responders"], atol=1e-12)
    np.testing.assert_array_equal(
        tree["observed_data"]["responders"], design_of(fit).units.responders
    )
    assert tree["prior_predictive"]["responders"].shape == (1, 4000, len(design_of(fit).units))
    assert (tree["prior_predictive"]["responders"] <= tree["constant_data"]["n"]).all()


def test_units_of_a_group_add_up_to_its_replicates(simulated_fits):
    fit = simulated_fits["full"]
    tree = predictive_groups(fit, setting=NEW_TRIAL, kind="arm", seed=3)
    found = replicate(fit, by=("kind",), setting=NEW_TRIAL, seed=3)
    sums = tree["posterior_predictive"]["responders"].sum("unit").to_numpy().ravel()
    arms = found.replicated[:, found.labels["kind"].tolist().index("arm")]
    np.testing.assert_array_equal(sums, arms)


def test_arviz_reads_them(simulated_fits, tree):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # arms have Pareto k above 0.7
        theirs = arviz_stats.loo(tree, var_name="responders", pointwise=True, reff=1.0)
    single = (tree["constant_data"]["n"] == 1).to_numpy()
    events = leave_one_out(simulated_fits["full"]).events.set_index("unit")
    ours = events.loc[np.flatnonzero(single), "elpd"]
    np.testing.assert_allclose(theirs.elpd_i.to_numpy()[single], ours, atol=1e-8)
    pit = arviz_stats.loo_pit(tree, var_names="responders")
    assert ((pit["responders"] >= 0) & (pit["responders"] <= 1)).all()


def test_what_cannot_be_held_is_said(simulated_fits, monkeypatch):
    with pytest.raises(DataError, match="no units of the kind 'people'"):
        predictive_groups(simulated_fits["full"], kind="people")
    monkeypatch.setattr(module, "_MOST_UNITS", 100)
    with pytest.raises(DataError, match="too many to hold"):
        predictive_groups(simulated_fits["full"])
