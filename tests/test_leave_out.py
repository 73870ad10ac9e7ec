"""Leave-one-trial-out end to end: refits, importance sampling, both, tables."""

import dataclasses
import json
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from typer.testing import CliRunner

import ketpredict as kp
import monte_carlo
from ketpredict.checks import held_out_gate
from ketpredict.cli import app
from ketpredict.errors import ConvergenceWarning, DataError
from ketpredict.fitting import SamplerSettings, fit, prepare
from ketpredict.held_out import predict_fold
from ketpredict.leave_out import leave_one_trial_out
from ketpredict.left_out import folds_of
from ketpredict.plots import save_figure
from ketpredict.posterior import load_posterior
from ketpredict.stored_design import design_of
from ketpredict.unit_outcome import unit_probability
from ketpredict.unseen_arms import unseen_arm_log_likelihood
from ketpredict.validation_plots import calibration_by_trial, measures_forest
from ketpredict.validation_tables import trial_table

pytestmark = [
    pytest.mark.draws,
    pytest.mark.xdist_group("leave_out"),  # its refits are made once
]
SETTINGS = SamplerSettings(draws=300, tune=300, chains=2, cores=1, target_accept=0.9, seed=3)


@pytest.fixture(scope="module")
def posterior(tmp_path_factory):
    """Return a saved and loaded fit: five trials, the last of them as published arms."""
    data = kp.simulate(
        trials=5,
        patients=15,
        published_trials=1,
        predictors=("bmi",),
        missing=0.2,
        truth={"trial_scale": 0.3, "population_scale": 0.2, "intercept": 0.2},
        random_state=2,
    )
    references = {predictor.name: predictor for predictor in data.predictors}
    design, used = prepare(data.spec, data.evidence(), references)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = fit(design, used, dataclasses.replace(SETTINGS, draws=400))
    return load_posterior(found.save(tmp_path_factory.mktemp("fit") / "fit.nc"))


@pytest.fixture(scope="module")
def both(posterior):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return leave_one_trial_out(posterior, method="both", settings=SETTINGS, n_jobs=2)


def test_both_ways_agree_where_the_weights_can_be_trusted(both):
    trusted = both.comparison[both.comparison["pareto_k"] < 0.7]
    assert trusted["fold"].nunique() >= 3
    assert trusted["quantity"].nunique() > 2
    error = np.hypot(trusted["refit_error"], trusted["importance_error"])
    of_all = trusted["quantity"].isin(["share of responders", "joint log score"])
    monte_carlo.agrees(trusted["refit"][of_all], trusted["importance"][of_all], error[of_all])
    # The most different of two dozen probabilities is no draw by itself: its size is held.
    monte_carlo.below(trusted["difference"][~of_all].abs(), 0.15, error[~of_all])
    errors = trusted[["refit_error", "importance_error"]].to_numpy()
    assert ((errors > 0) & (errors < 0.3)).all()


def test_every_unit_is_predicted_once_and_measured_in_its_trial(both, posterior):
    design = design_of(posterior)
    assert len(both.units) == len(design.units)
    assert (both.units["lower"] < both.units["probability"]).all()
    assert (both.units["probability"] < both.units["upper"]).all()
    arms = both.units[both.units["kind"] == "arm"]
    assert len(arms) == 2
    assert arms["pit"].between(0.0, 1.0, inclusive="neither").all()
    assert both.units.loc[both.units["kind"] == "patients", "pit"].isna().all()
    found = both.trials.set_index(["trial", "measure"])
    patients = both.units[both.units["trial"] == "trial_1"]
    total = patients["log_score"].sum() / patients["n"].sum()
    assert found.loc[("trial_1", "log_score"), "estimate"] == pytest.approx(total)
    parts = [
        found.loc[("trial_1", f"brier_{p}"), "estimate"]
        for p in ("miscalibration", "discrimination", "uncertainty")
    ]
    assert found.loc[("trial_1", "brier"), "estimate"] == pytest.approx(
        parts[0] - parts[1] + parts[2]
    )
    assert set(found.loc["trial_5"].index) == {"calibration_in_the_large"}
    pooled = both.pooled.set_index(["measure", "kind"])
    assert pooled.loc[("calibration_in_the_large", "patients"), "trials"] == 4
    assert np.isnan(pooled.loc[("calibration_in_the_large", "arm"), "estimate"])
    inside = pooled.loc[("brier", "patients")]
    assert inside["prediction_lower"] < inside["lower"] < inside["estimate"]


def test_the_trial_is_not_used_to_predict_itself(both, posterior):
    """Known trials predict their own patients better than they are predicted when left out."""
    design = design_of(posterior)
    known = unit_probability(posterior.parameters, design).mean(axis=0)
    patients = both.units["kind"] == "patients"
    n, responders = design.units.n, design.units.responders
    of_known = responders * np.log(known) + (n - responders) * np.log1p(-known)
    left_out = both.units.loc[patients, "log_score"].sum()
    by_itself = of_known[design.units.is_arm == 0].sum()
    folds = both.folds[(both.folds["method"] == "refit")]["joint_error"]
    monte_carlo.above(by_itself, left_out, np.sqrt((folds**2).sum()))


def test_folds_do_not_depend_on_how_many_run_at_once(posterior):
    draws = {name: array[:, ::5] for name, array in posterior.groups["posterior"].items()}
    few = dataclasses.replace(posterior, groups={**posterior.groups, "posterior": draws})
    alone = leave_one_trial_out(few, method="importance", n_jobs=1)
    at_once = leave_one_trial_out(few, method="importance", n_jobs=2)
    pd.testing.assert_frame_equal(alone.trials, at_once.trials)
    assert np.array_equal(alone.folds["pareto_k"], at_once.folds["pareto_k"])


def test_a_published_arm_has_the_probability_of_its_integral(posterior):
    """The same draws, the arm's binomial averaged by quadrature instead of by points."""
    design = design_of(posterior)
    fold = folds_of(design)[-1]
    found = predict_fold(posterior, design, fold, 0.9)
    for place, unit in enumerate(fold.units):
        exact, _ = unseen_arm_log_likelihood(posterior.draws, design, int(unit))
        expected = logsumexp(exact) - np.log(len(exact))
        assert found.log_score[place] == pytest.approx(expected, abs=0.02)


def test_a_population_is_left_out_with_all_of_its_trials(posterior):
    found = leave_one_trial_out(posterior, by="population", method="importance")
    assert set(found.folds["fold"]) == {"bipolar_depression", "unipolar_depression"}
    by_fold = found.trials.groupby("fold")["trial"].nunique()
    assert sorted(by_fold) == [2, 3]
    table = found.as_table()
    assert table["by"] == "population"
    assert len(table["units"]) == len(found.units)


def test_a_wrong_request_is_an_error(posterior):
    with pytest.raises(DataError, match="expected one of refit, importance, both"):
        leave_one_trial_out(posterior, method="loo")
    bare = dataclasses.replace(posterior, groups={"posterior": posterior.groups["posterior"]})
    with pytest.raises(DataError, match="fit again"):
        leave_one_trial_out(bare)


def test_weights_that_are_not_whole_leave_calibration_in_the_large(posterior):
    design = design_of(posterior)
    half = dataclasses.replace(
        design.units, n=design.units.n / 2.0, responders=design.units.responders / 2.0
    )
    fold = folds_of(design)[0]
    held = predict_fold(posterior, design, fold, 0.9)
    of_all, of_half = (
        trial_table(one, [fold], [held], 0.9).set_index("measure")
        for one in (design, dataclasses.replace(design, units=half))
    )
    large = "calibration_in_the_large"
    assert of_half.loc[large, "estimate"] == pytest.approx(of_all.loc[large, "estimate"])
    assert "not whole" in of_half.loc["c_statistic", "reason"]


def test_pictures_have_axes_with_words_and_say_what_is_good(both, tmp_path):
    for draw, panels in ((calibration_by_trial, 5), (measures_forest, 3)):
        figure = draw(both)
        shown = [axes for axes in figure.axes if axes.get_visible()]
        assert len(shown) == panels
        assert "Good: " in figure.texts[-1].get_text()
        assert save_figure(figure, tmp_path / "picture.png").stat().st_size > 10_000
    calibration = calibration_by_trial(both)
    lines = {axes.get_title(loc="left"): len(axes.lines) for axes in calibration.axes}
    assert lines["Published arms"] == 1 + 3 * 2
    forest = measures_forest(both)
    assert "Pooled, patients" in [text.get_text() for text in forest.axes[0].get_yticklabels()]


def test_the_command_line_validates(posterior, both, tmp_path, monkeypatch):
    asked = {}

    def found(given, **options):
        asked.update(options, trials=given.coords["trial"])
        return both

    monkeypatch.setattr("ketpredict.leave_out.leave_one_trial_out", found)
    path, folder = posterior.save(tmp_path / "fit.nc"), tmp_path / "validation"
    words = [str(word) for word in ("validate", path, "--method", "both", "--output", folder)]
    result = CliRunner().invoke(app, words)
    gate = held_out_gate(both.units)
    assert result.exit_code == (0 if gate.passed else 1), result.stderr
    assert f"{gate.name}: {'passed' if gate.passed else 'FAILED'}" in result.stdout
    assert (asked["by"], asked["method"], asked["n_jobs"]) == ("trial", "both", -1)
    assert asked["trials"] == posterior.coords["trial"]
    pooled = both.pooled.set_index(["kind", "measure"])
    assert f"{pooled.loc[('patients', 'brier'), 'estimate']:.2f}" in result.stdout
    assert "Monte Carlo errors at most" in result.stdout
    names = {entry.name for entry in folder.iterdir()}
    assert names == {
        "pooled.csv", "trials.csv", "units.csv", "folds.csv", "comparison.csv",
        "calibration_by_trial.png", "measures_by_trial.png",
    }  # fmt: skip
    as_json = json.loads(CliRunner().invoke(app, [*words[:2], "--json"]).stdout)
    assert as_json["by"] == "trial"
    assert as_json["gates"][0]["passed"] == gate.passed
    wrong = both.units.assign(pit=both.units["pit"].mask(both.units["pit"].notna(), 1e-6))
    monkeypatch.setattr(
        "ketpredict.leave_out.leave_one_trial_out",
        lambda *_, **__: dataclasses.replace(both, units=wrong),
    )
    assert CliRunner().invoke(app, words[:2]).exit_code == 1
