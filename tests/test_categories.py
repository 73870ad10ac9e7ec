"""Columns of labels as predictors, from the caller's table to a saved fit and back."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr
from scipy.stats import norm
from sklearn.base import clone

import ketpredict as kp
import monte_carlo
from ketpredict.association import pattern_probability
from ketpredict.categories import category_levels, indicators
from ketpredict.predict import response_draws

FEW = {
    "draws": 100, "tune": 150, "chains": 2, "target_accept": 0.8, "random_state": 0,
    "evidence": None,
}  # fmt: skip
pytestmark = [
    pytest.mark.draws,
    pytest.mark.xdist_group("categories"),  # its fit is made once
    pytest.mark.filterwarnings("ignore::ketpredict.errors.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::ketpredict.errors.EvidenceWarning"),
]


def test_indicators():
    found = indicators("stage", ["I", "III", np.nan, "II"], ("I", "II", "III"))
    np.testing.assert_array_equal(found["stage=II"], [0, 0, np.nan, 1])
    np.testing.assert_array_equal(found["stage=III"], [0, 1, np.nan, 0])
    assert list(found) == ["stage=II", "stage=III"]


@pytest.fixture(scope="module")
def centres():
    rng = np.random.default_rng(3)
    n = 240
    stage = rng.choice(["early", "late", "mid"], n, p=[0.5, 0.3, 0.2])
    probability = np.where(stage == "late", 0.85, np.where(stage == "mid", 0.5, 0.15))
    table = pd.DataFrame(
        {
            "centre": rng.choice(["A", "B", "C"], n),
            "stage": stage,
            "sex": rng.choice(["female", "male"], n),
            "age": rng.normal(50, 10, n).round(),
            "note": [f"patient {i}" for i in range(n)],
            "response": (rng.random(n) < probability).astype(int),
        }
    )
    table.loc[::9, "stage"] = None
    return table


@pytest.fixture(scope="module")
def fitted(centres):
    return kp.KetamineResponseClassifier(trial="centre", **FEW).fit(centres)


def test_every_label_but_the_first_is_a_predictor(fitted):
    # The column of free text is left alone, and said to be.
    assert [p.name for p in fitted.fit_.predictors] == [
        "age",
        "stage=late",
        "stage=mid",
        "sex=male",
    ]
    assert any("note" in message for message in fitted.fit_.facts["messages"])
    assert category_levels(fitted.fit_.predictors) == {
        "stage": ("early", "late", "mid"),
        "sex": ("female", "male"),
    }


def test_the_labels_predict_what_they_say(fitted, centres):
    rows = pd.DataFrame({"centre": "A", "stage": ["early", "mid", "late", None], "age": 50.0})
    early, mid, late, unknown = fitted.predict_proba(rows)[:, 1]
    draws = monte_carlo.by_chain(response_draws(fitted.fit_, fitted.encode(rows)), fitted.fit_)
    errors = monte_carlo.of_mean(draws)
    known = centres.dropna(subset="stage")
    for label, probability, error in zip(
        ("early", "mid", "late"), (early, mid, late), errors[:3], strict=True
    ):
        of_label = known.loc[known["stage"] == label, "response"]
        # Four standard errors of the observed rate, and the shrinkage of the slopes.
        apart = abs(probability - of_label.mean())
        monte_carlo.below(apart, 4 * of_label.sem() + 0.05, error)
    # A missing label is an average of the others, in every draw.
    assert early < unknown < late


@pytest.mark.parametrize("make", [pd.Categorical, list, lambda labels: pd.array(labels, "string")])
def test_every_kind_of_label_column(centres, make):
    labels = [None if pd.isna(label) else label for label in centres["stage"]]
    model = kp.KetamineResponseClassifier(predictors=["stage"], **FEW)
    found = model.fit(centres.assign(stage=make(labels))[["stage"]], centres["response"])
    assert [p.name for p in found.fit_.predictors] == ["stage=late", "stage=mid"]


def test_categories_that_a_part_of_the_data_lacks_stay(centres):
    labels = pd.Categorical(centres["stage"], categories=["none", "early", "mid", "late"])
    table = centres.assign(stage=labels)
    part = table[table["stage"] != "mid"]
    model = kp.KetamineResponseClassifier(predictors=["stage"], trial="centre", **FEW).fit(part)
    rows = table[table["stage"] == "mid"].head(3).drop(columns="response")
    with pytest.warns(kp.EvidenceWarning, match="left alone"):
        assert np.isfinite(model.predict_proba(rows)).all()


def test_a_missing_label_is_averaged_over_the_labels_that_there_are(fitted):
    """By hand, in every draw: weights from the chain of binaries, two labels at once left out."""
    rows = pd.DataFrame(
        {"centre": "B", "stage": [None, "early", "mid", "late"], "sex": "male", "age": 50.0}
    )
    fit = fitted.fit_
    unknown, *known = response_draws(fit, fitted.encode(rows)).T
    cells = fit.groups["constant_data"]["mean_cell"][fit.coords["trial"].index("B")]
    rate = ndtr(fit.parameters["trial_mean"][:, cells[1:]])  # late, mid, male
    patterns = np.array([[0.0, 0, 1], [0, 1, 1], [1, 0, 1]])  # early, mid, late
    weight = pattern_probability(
        np.repeat(rate[:, None], 3, axis=1),
        patterns,
        fit.parameters["binary_log_odds_ratio"],
    )
    # Age tells something of sex and stage, too.
    shift = (patterns - fit.draws.binary_centre) @ fit.parameters["binary_shift"][:, 0].T
    age = {p.name: p for p in fit.predictors}["age"].to_scale(50.0)
    mean = fit.parameters["trial_mean"][:, cells[0], None] + shift.T
    weight = weight * norm.pdf(age, mean, np.sqrt(fit.parameters["predictor_covariance"][:, 0]))
    weight /= weight.sum(axis=1, keepdims=True)
    assert unknown == pytest.approx((weight * np.stack(known, axis=1)).sum(axis=1), abs=1e-12)


def test_a_saved_fit_reads_labels_too(fitted, centres, tmp_path):
    rows = centres[["centre", "stage", "sex", "age"]].head(20)
    loaded = kp.load(fitted.save(tmp_path / "fit.nc"))
    assert np.array_equal(loaded.predict_proba(rows), fitted.predict_proba(rows))
    light = kp.response_probability(rows.to_dict("list"), fit=tmp_path / "fit.nc")
    assert np.array_equal(light.probability, fitted.predict_proba(rows)[:, 1])


def test_an_unknown_label_is_an_error(fitted):
    table = pd.DataFrame({"centre": ["A", "B"], "stage": ["late", "Late"]})
    with pytest.raises(
        kp.DataError, match=r"row 2.*stage is 'Late'; expected one of early, late, mid"
    ):
        fitted.predict_proba(table)


def test_too_many_labels(centres):
    model = kp.KetamineResponseClassifier(predictors=["note"], **FEW)
    with pytest.raises(kp.DataError, match="'note' has 240 different labels; expected 2 to 10"):
        model.fit(centres)


def test_a_typing_error_among_numbers_is_no_category(centres):
    ages = centres["age"].astype(object)
    ages[4] = "5o"
    model = kp.KetamineResponseClassifier(predictors=["age"], trial="centre", **FEW)
    with pytest.raises(kp.DataError, match=r"row 5.*age is '5o'"):
        model.fit(centres.assign(age=ages))


def test_numbers_as_categories_keep_those_that_a_part_lacks(centres):
    codes = pd.Categorical((centres["age"] > 50).astype(int), categories=[0, 1, 2])
    model = kp.KetamineResponseClassifier(predictors=["grade"], **FEW)
    fitted = model.fit(centres.assign(grade=codes)[["grade"]], centres["response"])
    assert [p.name for p in fitted.fit_.predictors] == ["grade=1", "grade=2"]
    assert np.isfinite(fitted.predict_proba(pd.DataFrame({"grade": pd.Categorical([2])}))).all()
    # A category that says missing, or twice the same, is none of its own.
    labels = pd.Categorical(["I", "I ", "NA", "II"] * 60, categories=["I", "I ", "II", "NA"])
    again = clone(model).fit(centres.assign(grade=labels)[["grade"]], centres["response"])
    assert [p.name for p in again.fit_.predictors] == ["grade=II"]
