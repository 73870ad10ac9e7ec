"""scikit-learn's own checks of estimators, all of them, on the real model with few draws."""

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import ketpredict as kp

pytestmark = [
    pytest.mark.draws,
    # Few draws do not converge, some labels do not say what they mean: both are said, rightly.
    pytest.mark.filterwarnings("ignore::ketpredict.errors.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::ketpredict.errors.EvidenceWarning"),
    pytest.mark.filterwarnings("ignore::ketpredict.errors.ExtrapolationWarning"),
]
FEW = {"draws": 60, "tune": 150, "chains": 1, "target_accept": 0.8, "random_state": 0}


@parametrize_with_checks([kp.KetamineResponseClassifier(evidence=None, **FEW)])
def test_scikit_learn_s_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def patients():
    simulated = kp.simulate(
        trials=4,
        patients=12,
        published_trials=0,
        predictors=("bmi", "family_history_aud", "bdnf"),
        missing=0.2,
        missing_outcome=0.1,
        within_range=True,
        random_state=4,
    )
    return simulated.participants.drop(columns="participant")


def fitted(table, **arguments):
    fewer = {**FEW, "draws": 20, "tune": 60}  # with the published evidence, which takes longer
    return kp.KetamineResponseClassifier(**fewer).fit(table, **arguments).fit_


def same(first, second):
    """Return whether two fits are the same to the last bit."""
    draws = (fit.groups["posterior"] for fit in (first, second))
    one, two = draws
    return one.keys() == two.keys() and all(np.array_equal(one[k], two[k]) for k in one)


def test_the_order_of_rows_is_nothing(patients):
    shuffled = patients.sample(frac=1.0, random_state=1)
    assert same(fitted(patients), fitted(shuffled))


def test_a_whole_weight_is_so_many_rows(patients):
    # With weights that are not 1 and an own column, whose scale must come from the same rows.
    table = patients.drop(columns=["bmi", "bdnf"]).assign(age=np.linspace(20, 60, len(patients)))
    weight = np.random.default_rng(2).integers(0, 4, len(table))
    predictors = ("age", "family_history_aud")

    def fit(rows, **arguments):
        model = kp.KetamineResponseClassifier(predictors=predictors, evidence=None, **FEW)
        return model.fit(rows, **arguments)

    weighted = fit(table, sample_weight=weight)
    repeated = fit(table.loc[table.index.repeat(weight)])
    assert weighted.fit_.predictors == repeated.fit_.predictors
    assert same(weighted.fit_, repeated.fit_)
    as_column = fit(table.assign(sample_weight=weight))
    assert same(weighted.fit_, as_column.fit_)
    assert not same(weighted.fit_, fit(table).fit_)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.zeros(4), "zero"),
        ([1.0, -1.0, 1.0, 1.0], "[Nn]egative"),
        ([1.0, 2.0], "shape"),
        ([1.0, np.nan, 1.0, 1.0], "NaN"),
    ],
)
def test_impossible_weights(weight, message):
    table = pd.DataFrame({"bmi": [20.0, 25, 30, 35]})
    with pytest.raises(ValueError, match=message):
        kp.KetamineResponseClassifier(evidence=None, **FEW).fit(table, [0, 1, 0, 1], weight)
    with pytest.raises(kp.DataError, match=r"y or sample_weight was given without X"):
        kp.KetamineResponseClassifier(**FEW).fit(sample_weight=[1.0])
