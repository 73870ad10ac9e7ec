"""The scikit-learn face, on the published fit and on posteriors made by hand."""

import dataclasses
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import ketpredict as kp
import monte_carlo
from ketpredict.predict import response_draws
from tiny_fit import handmade_posterior

Classifier = kp.KetamineResponseClassifier


@pytest.fixture
def classifier():
    return Classifier.from_posterior(handmade_posterior(draws=100))


PATIENTS = pd.DataFrame(
    {
        "trial": ["T1", "T9", None, "T2"],
        "population": ["unipolar", "unipolar", "ptsd", "unipolar"],
        "bmi": [24.0, 31.0, 28.0, np.nan],
        "family_history_aud": [1, 0, np.nan, np.nan],
    }
)


def test_the_constructor_only_stores():
    marker = object()
    classifier = Classifier(model=marker, evidence=marker, draws="many", random_state=marker)
    assert classifier.get_params()["model"] is marker
    assert clone(Classifier(draws=7, trial="study")).get_params()["trial"] == "study"


def test_probabilities_are_probabilities(classifier):
    probability = classifier.predict_proba(PATIENTS)
    assert probability.shape == (4, 2)
    assert probability.sum(axis=1) == pytest.approx(1.0)
    assert ((probability > 0) & (probability < 1)).all()
    assert classifier.predict(PATIENTS).tolist() == (probability[:, 1] > 0.5).astype(int).tolist()


def test_each_row_says_its_setting(classifier):
    assert classifier.predict_settings(PATIENTS).tolist() == [
        "known trial",
        "new trial, known population",
        "new population",
        "known trial",
    ]


def test_intervals_of_both_kinds(classifier):
    in_one_trial = classifier.predict_interval(PATIENTS, 0.9)
    averaged = classifier.predict_interval(PATIENTS, 0.9, kind="average")
    width_trial, width_average = (np.diff(i, axis=1)[:, 0] for i in (in_one_trial, averaged))
    known = classifier.predict_settings(PATIENTS) == "known trial"
    assert in_one_trial[known] == pytest.approx(averaged[known])
    assert (width_trial[~known] > width_average[~known] + 0.05).all()
    mean = classifier.predict_proba(PATIENTS)[:, 1]
    assert ((averaged[:, 0] < mean) & (mean < averaged[:, 1])).all()


@pytest.mark.parametrize(("prob", "kind"), [(1.5, "trial"), (0.9, "wide"), ("0.9", "trial")])
def test_impossible_intervals(classifier, prob, kind):
    with pytest.raises(kp.DataError, match=r"expected"):
        classifier.predict_interval(PATIENTS, prob, kind=kind)


def test_rows_do_not_depend_on_each_other(classifier):
    together = classifier.predict_proba(PATIENTS)
    for row in range(len(PATIENTS)):
        assert np.array_equal(classifier.predict_proba(PATIENTS.iloc[[row]])[0], together[row])
    assert np.array_equal(classifier.predict_proba(PATIENTS.iloc[::-1]), together[::-1])


def test_the_caller_s_table_is_left_alone(classifier):
    table = PATIENTS.copy()
    classifier.predict_proba(table)
    pd.testing.assert_frame_equal(table, PATIENTS)


def test_a_typing_error_is_not_a_missing_biomarker(classifier):
    with pytest.raises(kp.DataError, match="bmi"):
        classifier.predict_proba(PATIENTS.rename(columns={"bmi": "BMI "}))


def test_impossible_values_name_row_and_column(classifier):
    with pytest.raises(kp.DataError, match=r"row 2.*bmi is 5"):
        classifier.predict_proba(PATIENTS.assign(bmi=[24, 5, 28, 30]))


def test_an_arm_that_the_fit_has_not_seen(classifier):
    with pytest.raises(kp.DataError, match=r"'arm' holds lanicemine.*ketamine, saline"):
        classifier.predict_proba(PATIENTS.assign(arm="lanicemine"))


def test_hours_outside_the_window(classifier):
    with pytest.raises(kp.DataError, match=r"'hours', row 1: 900"):
        classifier.predict_proba(PATIENTS.assign(hours=900.0))


def test_extrapolations_are_announced(classifier):
    table = PATIENTS.assign(bmi=[50.0, 24, 24, 24])
    with pytest.warns(kp.ExtrapolationWarning, match=r"bmi is outside the evidence \(18 to 40\)"):
        classifier.predict_proba(table)


def test_the_convergence_verdict_travels(tmp_path):
    posterior = handmade_posterior()
    problems = ["R-hat above 1.01: slope[bmi] (1.2)"]
    posterior = dataclasses.replace(
        posterior, facts={**posterior.facts, "diagnostics": {"problems": problems}}
    )
    loaded = kp.load(posterior.save(tmp_path / "fit.nc"))
    with pytest.warns(kp.ConvergenceWarning, match=r"slope\[bmi\]"):
        loaded.predict_proba(PATIENTS)
    with pytest.raises(kp.ConvergenceError, match=r"slope\[bmi\]"):
        loaded.set_params(strict=True).predict_proba(PATIENTS)


def test_not_fitted():
    with pytest.raises(NotFittedError):
        Classifier().predict_proba(PATIENTS)
    with pytest.raises(NotFittedError):
        Classifier().save("nowhere.nc")
    for question in ("predict", "predict_interval", "predict_draws", "sample_outcomes", "explain"):
        with pytest.raises(NotFittedError):
            getattr(Classifier(), question)(PATIENTS)
    for question in ("effects", "literature", "check", "validate"):
        with pytest.raises(NotFittedError):
            getattr(Classifier(), question)()
    with pytest.raises(NotFittedError):
        Classifier().update({})


@pytest.mark.parametrize(
    ("arguments", "X", "y", "message"),
    [
        ({}, {"bmi": [20, 200]}, [0, 1], r"row 2.*bmi is 200"),
        ({}, {"bmi": [20, 30, 25]}, [0, 2, 1], r"Only binary.*0, 1, 2"),
        ({"response_label": 3}, {"bmi": [20, 30]}, ["a", "b"], r"response_label is 3.*'a' and 'b'"),
        ({}, {"bmi": [20, 30]}, [0, 1, 1], "X has 2 rows and y has 3"),
        ({}, {"bmi": [20, 30], "response": [0, 1]}, [0, 1], "leave one of them out"),
        ({"evidence": None}, None, None, "nothing to fit"),
        ({}, {"bmi": [20, 30]}, None, "X has no outcome"),
        ({"draws": 0}, None, None, "draws is 0"),
        ({"target_accept": 1.2}, None, None, "target_accept is 1.2"),
        ({"model": "nonsense"}, None, None, "no 'nonsense.toml'"),
        ({"predictors": ["gravity"]}, None, None, "gravity are not known"),
        ({"evidence": "unpublished"}, None, None, "evidence is 'unpublished'"),
    ],
)
def test_bad_input_fails_before_anything_is_compiled(monkeypatch, arguments, X, y, message):
    def never(*_args, **_kwargs):
        raise AssertionError("compiled")

    monkeypatch.setattr("ketpredict.fitting._draw", never)
    with pytest.raises(kp.KetpredictError, match=message):
        Classifier(**arguments).fit(X, y)


def error_of(classifier, table):
    """Return the Monte Carlo standard error of each row's probability."""
    draws = response_draws(classifier.fit_, classifier.encode(table))
    return monte_carlo.of_mean(monte_carlo.by_chain(draws, classifier.fit_))


# The shared fit has few draws and says so whenever it predicts.
@pytest.mark.filterwarnings("ignore::ketpredict.errors.ConvergenceWarning")
def test_the_published_fit(published_fit):
    tree = published_fit.posterior_
    assert {"posterior", "prior", "posterior_predictive", "log_likelihood", "observed_data"} <= set(
        tree.children
    )
    slope = tree["posterior"]["slope"].sel(predictor="bmi")
    assert slope.dims == ("chain", "draw")
    table = pd.DataFrame({"population": ["unipolar_depression"] * 2, "arm": ["ketamine", "saline"]})
    ketamine, saline = published_fit.predict_proba(table)[:, 1]
    # Published 24 h response: 47 % and 26 % against midazolam, 27 % and 9 % against placebo
    # (Cochrane CD011612); the model's should lie in that region.
    error = error_of(published_fit, table)
    monte_carlo.between(ketamine, 0.3, 0.6, error[0])
    monte_carlo.between(saline, 0.08, 0.3, error[1])


@pytest.mark.filterwarnings("ignore::ketpredict.errors.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::ketpredict.errors.ExtrapolationWarning")
def test_the_model_is_a_pymc_model_also_after_loading(published_fit, tmp_path):
    import pymc as pm

    loaded = kp.load(published_fit.save(tmp_path / "fit.nc"))
    model = loaded.model_
    assert isinstance(model, pm.Model)
    names = {variable.name for variable in model.free_RVs}
    assert {"intercept", "trial_scale", "slope_share"} <= names
    observed = model.rvs_to_values[model["responders"]].data
    assert observed.sum() == published_fit.fit_.groups["observed_data"]["responders"].sum()
    table = pd.DataFrame({"population": ["ocd", None], "bmi": [25.0, np.nan]})
    assert np.array_equal(loaded.predict_proba(table), published_fit.predict_proba(table))


def test_a_known_trial_brings_its_population_and_its_design(published_fit, rough_predictions):
    alone = pd.DataFrame({"trial": ["murrough_2013", "mathew_2010"]})
    full = alone.assign(population="unipolar_depression")
    assert published_fit.predict_settings(alone).tolist() == ["known trial"] * 2
    assert np.array_equal(published_fit.predict_proba(alone), published_fit.predict_proba(full))
    # mathew_2010 was open label: its own rate (17 of 26) is open label, too.
    blinded = full.assign(blinding="double_blind")
    own, as_blinded = (published_fit.predict_proba(table)[:, 1] for table in (full, blinded))
    assert own[0] == as_blinded[0]
    fit = published_fit.fit_
    draws = [response_draws(fit, published_fit.encode(table)) for table in (full, blinded)]
    apart = monte_carlo.by_chain(draws[0] - draws[1], fit)[..., 1]
    monte_carlo.above(own[1] - as_blinded[1], 0.02, monte_carlo.of_mean(apart))
    with pytest.raises(kp.DataError, match=r"trial 'm\w+' is of population unipolar_depression"):
        published_fit.predict_proba(alone.assign(population="ptsd"))


def test_another_spelling_of_a_label_is_not_a_new_one(classifier):
    with pytest.raises(kp.DataError, match="'Unipolar' looks like 'unipolar'"):
        classifier.predict_proba(PATIENTS.assign(population="Unipolar"))


def test_an_array_without_names_is_refused(classifier):
    with pytest.raises(kp.DataError, match="no names"):
        classifier.predict_proba(np.array([[24.0, 1.0]]))


def test_a_loaded_estimator_describes_itself(tmp_path):
    posterior = handmade_posterior()
    facts = {**posterior.facts, "estimator": {"model": "published", "evidence": None, "draws": 77}}
    posterior = dataclasses.replace(posterior, facts=facts)
    parameters = kp.load(posterior.save(tmp_path / "fit.nc")).get_params()
    assert (parameters["model"], parameters["evidence"], parameters["draws"]) == (
        "published",
        None,
        77,
    )


def test_the_questions_of_a_fitted_estimator(classifier):
    """Thin wrappers: the numbers are those of the functions behind them."""
    from ketpredict.explanation import explain
    from ketpredict.outcome_draws import draws_table, outcomes_table, sample_outcomes

    fit, rows = classifier.fit_, classifier.encode(PATIENTS)
    pd.testing.assert_frame_equal(classifier.predict_draws(PATIENTS), draws_table(fit, rows))
    drawn = sample_outcomes(
        fit, rows, trial=PATIENTS["trial"], population=PATIENTS["population"], seed=3
    )
    outcomes = classifier.sample_outcomes(PATIENTS, seed=3)
    pd.testing.assert_frame_equal(outcomes, outcomes_table(drawn))
    one = PATIENTS.iloc[[1]]
    mine, theirs = classifier.explain(one), explain(fit, classifier.encode(one))
    pd.testing.assert_frame_equal(mine.known, theirs.known)
    assert mine.probability == classifier.predict_proba(one)[0, 1]


@pytest.mark.filterwarnings("ignore::ketpredict.errors.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::ketpredict.errors.ExtrapolationWarning")
def test_the_report_of_an_estimator_is_that_of_its_fit(published_fit):
    from ketpredict.checks import check_fit

    mine, theirs = published_fit.check(0.8), check_fit(published_fit.fit_, 0.8)
    assert mine.gates == theirs.gates
    with pytest.raises(kp.DataError, match="method is 'guess'"):
        published_fit.validate(method="guess")


@pytest.mark.filterwarnings("ignore::ketpredict.errors.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::ketpredict.errors.ExtrapolationWarning")
def test_an_updated_estimator_is_a_new_one(published_fit):
    from ketpredict.marginal_effects import effects_table

    counts = {
        "trial": ["ours"], "population": ["unipolar_depression"], "arm": ["ketamine"],
        "hours": [24.0], "n": [20], "responders": [17],
    }  # fmt: skip
    updated = published_fit.update(counts)
    assert "ours" in updated.fit_.coords["trial"]
    assert "ours" not in published_fit.fit_.coords["trial"]
    here = pd.DataFrame({"trial": ["ours"]})
    elsewhere = pd.DataFrame({"population": ["unipolar_depression"]})
    own, other = (updated.predict_proba(rows)[0, 1] for rows in (here, elsewhere))
    before = published_fit.predict_proba(elsewhere)[0, 1]
    # What the update resamples is the same draws: they move together.
    assert before < other
    error = np.hypot(error_of(updated, here)[0], error_of(published_fit, elsewhere)[0])
    monte_carlo.between(own, other, 0.85, error)
    pd.testing.assert_frame_equal(
        published_fit.effects(0.8), effects_table(published_fit.fit_, 0.8)
    )


def test_a_saved_fit_predicts_the_same_bits_in_a_fresh_process(classifier, tmp_path):
    path = classifier.save(tmp_path / "fit.nc")
    PATIENTS.to_parquet(tmp_path / "patients.parquet")
    code = (
        "import sys, numpy as np, pandas as pd, ketpredict as kp\n"
        "clf, table = kp.load(sys.argv[1]), pd.read_parquet(sys.argv[2])\n"
        "both = np.hstack([clf.predict_proba(table), clf.predict_interval(table)])\n"
        "np.save(sys.argv[3], both)\n"
    )
    target = tmp_path / "there.npy"
    arguments = [str(path), str(tmp_path / "patients.parquet"), str(target)]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)
    here = np.hstack([classifier.predict_proba(PATIENTS), classifier.predict_interval(PATIENTS)])
    assert np.load(target).tobytes() == here.tobytes()


FEW = {"draws": 20, "tune": 60, "chains": 2, "target_accept": 0.8, "random_state": 0}
OWN = pd.DataFrame(
    {"study": ["s1", "s2", "s3"] * 8, "bmi": np.linspace(20.0, 36.0, 24), "arm": "ketamine"}
)
OUTCOME = np.array([0, 1, 1, 0] * 6)
rough = pytest.mark.filterwarnings("ignore::ketpredict.errors.ConvergenceWarning")


@pytest.mark.draws
@rough
def test_a_loaded_estimator_does_not_refit_without_the_evidence_it_had(tmp_path):
    arms = {"trial": ["a1"], "population": ["ptsd"], "arm": ["ketamine"], "hours": [24.0]}
    evidence = kp.make_evidence(arms={**arms, "n": [20], "responders": [11]})
    fitted = Classifier(evidence=evidence, trial="study", **FEW).fit(OWN, OUTCOME)
    loaded = kp.load(fitted.save(tmp_path / "fit.nc"))
    with pytest.raises(kp.DataError, match=r"set_params\(evidence=...\)"):
        clone(loaded).fit(OWN, OUTCOME)
    again = clone(loaded).set_params(evidence=evidence).fit(OWN, OUTCOME)
    assert again.fit_.coords["trial"] == fitted.fit_.coords["trial"]


@pytest.mark.draws
@rough
def test_numbers_of_numpy_and_one_chain_can_be_saved(tmp_path):
    arguments = {**FEW, "draws": np.int64(20), "chains": 1, "random_state": np.int64(3)}
    fitted = Classifier(evidence=None, trial="study", **arguments).fit(OWN, OUTCOME)
    loaded = kp.load(fitted.save(tmp_path / "fit.nc"))
    assert (loaded.draws, loaded.random_state) == (20, 3)
    assert any("one chain" in problem for problem in loaded.fit_.problems)


@pytest.mark.draws
@rough
def test_columns_are_taken_by_position_whatever_their_index():
    model = Classifier(evidence=None, **FEW)
    turned = {"bmi": pd.Series(OWN["bmi"].to_numpy(), index=range(24)[::-1])}
    plain = {"bmi": OWN["bmi"].to_numpy()}
    first, second = (
        clone(model).fit({**columns, "trial": OWN["study"]}, OUTCOME).predict_proba(plain)
        for columns in (turned, plain)
    )
    assert np.array_equal(first, second)


@pytest.mark.draws
@rough
def test_a_label_column_of_another_name_may_be_left_out_at_prediction():
    fitted = Classifier(evidence=None, trial="study", **FEW).fit(OWN, OUTCOME)
    rows = OWN[["bmi"]].head(3)
    assert fitted.predict_settings(rows).tolist() == ["new trial, known population"] * 3
    with pytest.raises(kp.DataError, match="Did you mean 'Study'"):
        fitted.predict_proba(rows.assign(Study="s1"))


@pytest.mark.parametrize(
    ("arguments", "table", "message"),
    [
        ({"cores": 0}, OWN, "cores is 0"),
        ({"target_accept": "0.8"}, OWN, "target_accept is '0.8'"),
        ({"predictors": "bmi"}, OWN, r"expected a list of names: \['bmi'\]"),
        ({}, pd.concat([OWN, OWN[["bmi"]]], axis=1), "columns of the same name: bmi"),
        ({}, OWN.assign(blinding="Open label"), "expected one of double_blind"),
        ({}, OWN.assign(study=["s1", "S1", "s2"] * 8), "'S1' and 's1', two spellings"),
        ({}, OWN.assign(population=["Unipolar Depression"] * 24), "two spellings of one label"),
        ({}, OWN.assign(arm_class="inert_control"), "active, inert_control; one is right"),
    ],
)
def test_what_a_reviewer_found_silent(monkeypatch, arguments, table, message):
    monkeypatch.setattr("ketpredict.fitting._draw", None)
    evidence = "published" if "population" in table else None
    with pytest.raises(kp.KetpredictError, match=message):
        Classifier(**{"evidence": evidence, "trial": "study", **arguments}).fit(table, OUTCOME)


def test_a_typing_error_does_not_take_the_column_away(monkeypatch):
    monkeypatch.setattr("ketpredict.fitting._draw", None)
    table = pd.DataFrame({"crp": ["3.1", "3,1", *map(str, range(22))], "il6": np.arange(24.0)})
    with pytest.raises(kp.DataError, match=r"row 2.*crp is '3,1'.*decimals with a point"):
        Classifier(evidence=None).fit(table, OUTCOME)


def test_no_predictors_are_none_also_without_patients():
    from ketpredict.fit_inputs import from_evidence_alone
    from ketpredict.spec import load_spec

    spec = load_spec("published")
    assert from_evidence_alone(spec, "published", ()).spec.predictors == ()
    assert from_evidence_alone(spec, "published", None).spec.predictors == spec.predictors
