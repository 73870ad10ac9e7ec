"""The estimator inside scikit-learn's tools: the numbers, not only that they run."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV, CalibrationDisplay, calibration_curve
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import StackingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    LeaveOneGroupOut,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import ketpredict as kp
import monte_carlo

pytestmark = [
    pytest.mark.draws,
    pytest.mark.xdist_group("compositions"),  # its fit is made once
    # Few draws do not converge, and held-out trials lie beyond the evidence: both are said.
    pytest.mark.filterwarnings("ignore::ketpredict.errors.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::ketpredict.errors.EvidenceWarning"),
    pytest.mark.filterwarnings("ignore::ketpredict.errors.ExtrapolationWarning"),
]
PREDICTORS = ("bmi", "family_history_aud", "bdnf")


@pytest.fixture(scope="module")
def patients():
    simulated = kp.simulate(
        trials=3,
        patients=24,
        published_trials=0,
        populations=("unipolar_depression",),
        predictors=PREDICTORS,
        truth={
            "prognostic_slope": [0.9, 0.0, 0.0],
            "predictive_slope": [0.0] * 3,
            "population_slope": [[0.0] * 3],
            "trial_slope": [[0.0] * 3] * 3,
            "across_slope": [0.0] * 3,
            "population_scale": 0.0,
            "trial_scale": 0.3,
        },
        missing=0.15,
        within_range=True,
        random_state=11,
    )
    return simulated.participants.drop(columns="participant")


@pytest.fixture(scope="module")
def table(patients):
    return patients.drop(columns="response")


@pytest.fixture(scope="module")
def response(patients):
    return patients["response"].to_numpy(int)


@pytest.fixture(scope="module")
def model():
    return kp.KetamineResponseClassifier(
        evidence=None,
        predictors=PREDICTORS,
        draws=100,
        tune=150,
        chains=2,
        target_accept=0.8,
        random_state=0,
    )


@pytest.fixture(scope="module")
def fitted(model, table, response):
    return clone(model).fit(table, response)


def response_probability(estimator, rows):
    return estimator.predict_proba(rows)[:, 1]


def error_of(estimator, answer):
    """Return the Monte Carlo standard error of what an estimator answers, by batch means."""
    build = kp.KetamineResponseClassifier.from_posterior
    return monte_carlo.of(estimator.fit_, lambda fit: answer(build(fit)), pieces=2)


def test_pipeline(model, fitted, table, response):
    # The caller's heights and weights become BMI on the way. Two metres: no rounding, since a
    # sampler makes other draws of the same posterior of it.
    raw = table.assign(height=2.0, weight=table["bmi"] * 4.0).drop(columns="bmi")

    def body_mass_index(rows):
        return rows.assign(bmi=rows["weight"] / rows["height"] ** 2).drop(
            columns=["height", "weight"]
        )

    pipeline = make_pipeline(FunctionTransformer(body_mass_index), clone(model))
    found = response_probability(pipeline.fit(raw, response), raw)
    assert found == pytest.approx(response_probability(fitted, table), abs=1e-12)


def test_column_transformer_in_front(model, table, response):
    front = ColumnTransformer(
        [
            ("ounces", FunctionTransformer(lambda rows: rows * 1.0), ["bmi"]),
            ("kept", "passthrough", ["trial", "arm", "family_history_aud"]),
        ],
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    estimator = clone(model).set_params(predictors=("bmi", "family_history_aud"))
    whole = make_pipeline(front, estimator).fit(table, response)
    columns = ["bmi", "trial", "arm", "family_history_aud"]
    alone = clone(estimator).fit(table[columns], response)
    assert np.array_equal(whole.predict_proba(table), alone.predict_proba(table[columns]))


def test_cross_validation_by_trial(model, table, response):
    groups = table["trial"]
    found = cross_val_predict(
        model, table, response, groups=groups, cv=LeaveOneGroupOut(), method="predict_proba"
    )
    scores = cross_val_score(
        model, table, response, groups=groups, cv=LeaveOneGroupOut(), scoring="neg_log_loss"
    )
    for score, trial in zip(scores, sorted(set(groups)), strict=True):
        held_out = (groups == trial).to_numpy()
        own = clone(model).fit(table[~held_out], response[~held_out])
        assert np.array_equal(found[held_out], own.predict_proba(table[held_out]))
        assert set(own.predict_settings(table[held_out])) == {"new trial, known population"}
        assert score == pytest.approx(-log_loss(response[held_out], found[held_out]))


def test_metadata_routing(model, table, response):
    weight = np.where(table["trial"] == "trial_1", 0.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = clone(model).set_fit_request(sample_weight=True)
        found = cross_val_predict(
            routed,
            table,
            response,
            cv=LeaveOneGroupOut(),
            method="predict_proba",
            params={"sample_weight": weight, "groups": table["trial"]},
        )
    here = (table["trial"] == "trial_3").to_numpy()
    counted = ~here & (weight > 0)
    own = clone(model).fit(table[counted], response[counted])
    # A row of weight 0 is no row, so that trial_1 is none either.
    assert np.array_equal(found[here], own.predict_proba(table[here]))


def test_grid_search_over_the_specification(model, table, response):
    spec = kp.load_spec("published")
    free = spec.with_pooling(trial_slope=False, population_slope=False)
    grid = {"model": ["rates", free], "predictors": [(), ("bmi",)]}
    folds = StratifiedKFold(2, shuffle=True, random_state=0)
    search = GridSearchCV(model, grid, scoring="neg_log_loss", cv=folds).fit(table, response)
    by_setting = {
        (str(p["model"] == "rates"), p["predictors"]): score
        for p, score in zip(
            search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
        )
    }
    # BMI is what the patients were made of; the model without it must lose.
    assert search.best_params_["predictors"] == ("bmi",)
    train, test = next(folds.split(table, response))
    half = clone(search.best_estimator_).fit(table.iloc[train], response[train])

    def score(own):
        return -log_loss(response[test], response_probability(own, table.iloc[test]))

    # Each is a mean of two such scores, of which two are compared.
    lost = by_setting["False", ("bmi",)] - by_setting["False", ()]
    monte_carlo.above(lost, 0.0, error_of(half, score))
    again = clone(model).set_params(model=free, predictors=("bmi",))
    scores = cross_val_score(again, table, response, scoring="neg_log_loss", cv=folds)
    assert scores.mean() == by_setting["False", ("bmi",)]
    assert search.best_estimator_.fit_.spec.pooling.trial_slope == (
        search.best_params_["model"] == "rates"
    )


def test_calibrated_classifier(fitted, table, response):
    calibrated = CalibratedClassifierCV(FrozenEstimator(fitted), method="sigmoid")
    calibrated.fit(table, response)
    found = response_probability(calibrated, table)
    own = response_probability(fitted, table)
    # A logistic curve of our probability: the same order, and the mean outcome on its own data
    # (exactly but for Platt's smoothing of the targets).
    assert np.array_equal(np.argsort(found, kind="stable"), np.argsort(own, kind="stable"))
    assert found.mean() == pytest.approx(response.mean(), abs=0.01)


def test_stacking(model, fitted, table, response):
    complete = ColumnTransformer([("bmi", FunctionTransformer(np.nan_to_num), ["bmi"])])
    members = [("bayes", model), ("bmi", make_pipeline(complete, LogisticRegression()))]
    stack = StackingClassifier(members, final_estimator=LogisticRegression(), cv=2)
    stack.fit(table, response)
    columns = stack.transform(table)
    assert np.array_equal(columns[:, 0], response_probability(fitted, table))
    by_hand = stack.final_estimator_.predict_proba(columns)
    assert np.array_equal(stack.predict_proba(table), by_hand)


def test_permutation_importance(fitted, table, response):
    # The trial brings its population; shuffled, the two would contradict each other.
    rows = table.assign(bmi=table["bmi"].fillna(28.0)).drop(columns="population")
    found = permutation_importance(
        fitted, rows, response, scoring="neg_log_loss", n_repeats=5, random_state=0
    )
    importance = dict(zip(rows.columns, found.importances_mean, strict=True))

    def of_columns(own):
        again = permutation_importance(
            own, rows, response, scoring="neg_log_loss", n_repeats=2, random_state=0
        )
        return again.importances_mean

    error = dict(zip(rows.columns, error_of(fitted, of_columns), strict=True))
    monte_carlo.above(importance["bmi"], 0.05, error["bmi"])
    three = 3.0 * abs(importance["bdnf"])
    monte_carlo.above(importance["bmi"], three, np.hypot(error["bmi"], 3.0 * error["bdnf"]))
    assert importance["hours"] == 0.0  # all alike


def test_partial_dependence(fitted, table):
    rows = table.head(40)
    found = partial_dependence(
        fitted, rows, ["bmi"], custom_values={"bmi": np.array([22.0, 34.0])}, method="brute"
    )
    by_hand = [response_probability(fitted, rows.assign(bmi=value)).mean() for value in (22, 34)]
    assert found["average"][0] == pytest.approx(by_hand)
    error = error_of(
        fitted,
        lambda own: (
            response_probability(own, rows.assign(bmi=34)).mean()
            - response_probability(own, rows.assign(bmi=22)).mean()
        ),
    )
    monte_carlo.above(by_hand[1] - by_hand[0], 0.2, error)


def test_calibration_display(fitted, table, response):
    mpl.use("Agg")
    display = CalibrationDisplay.from_estimator(fitted, table, response, n_bins=4)
    expected = calibration_curve(response, response_probability(fitted, table), n_bins=4)
    assert np.array_equal(display.prob_true, expected[0])
    assert np.array_equal(display.prob_pred, expected[1])
    plt.close(display.figure_)


@pytest.mark.parametrize("kind", ["polars", "pyarrow", "mapping", "nullable", "words"])
def test_every_kind_of_table(model, fitted, table, response, kind):
    import polars as pl
    import pyarrow as pa

    words = table["family_history_aud"].map({0.0: "no", 1.0: "yes"})
    given = {
        "polars": lambda: pl.from_pandas(table),
        "pyarrow": lambda: pa.Table.from_pandas(table, preserve_index=False),
        "mapping": lambda: table.to_dict("list"),
        "nullable": lambda: table.convert_dtypes(),
        "words": lambda: table.assign(
            family_history_aud=words, trial=table["trial"].astype("category")
        ),
    }[kind]()
    before = table.copy()
    again = clone(model).fit(given, response)
    assert np.array_equal(again.predict_proba(given), fitted.predict_proba(table))
    pd.testing.assert_frame_equal(table, before)


def test_labels_and_their_columns(model, fitted, table, response):
    words = np.where(response == 1, "remission", "unchanged")
    said = clone(model).set_params(response_label="remission").fit(table, words)
    assert said.classes_.tolist() == ["remission", "unchanged"]
    assert np.array_equal(said.predict_proba(table)[:, 0], response_probability(fitted, table))
    assert np.array_equal(said.predict(table) == "remission", fitted.predict(table) == 1)
    assert said.score(table, words) == fitted.score(table, response)


def test_columns_are_read_by_name_where_the_package_knows_one(fitted, table):
    turned = table[table.columns[::-1]]
    assert np.array_equal(fitted.predict_proba(turned), fitted.predict_proba(table))
    unknown = fitted.predict_proba(table.assign(bdnf=np.nan))
    assert np.array_equal(fitted.predict_proba(table.drop(columns="bdnf")), unknown)
