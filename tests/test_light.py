"""The light road for programs says what the classifier says, and reads a fit once."""

from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import ketpredict as kp
from ketpredict.published import load_fit
from tiny_fit import handmade_posterior

PATIENTS = {
    "trial": np.array(["T1", "T9", None, "T2"], dtype=object),
    "population": ["unipolar", "unipolar", "ptsd", None],
    "bmi": np.array([24.0, 31.0, 28.0, np.nan]),
    "family_history_aud": ["yes", 0, None, None],
}


@pytest.fixture(scope="module")
def posterior():
    return handmade_posterior(draws=100)


@pytest.fixture(scope="module")
def saved(posterior, tmp_path_factory):
    return posterior.save(tmp_path_factory.mktemp("fit") / "tiny.nc")


def assert_same(found, expected):
    for field in ("probability", "average_interval", "trial_interval"):
        assert getattr(found, field) == pytest.approx(getattr(expected, field), abs=1e-12, rel=0)
    assert found.setting.tolist() == expected.setting.tolist()
    assert found.notes == expected.notes


@pytest.mark.parametrize("prob", [0.5, 0.9])
def test_the_numbers_are_those_of_the_classifier(saved, prob):
    classifier = kp.load(saved)
    table = pd.DataFrame(PATIENTS)
    found = kp.response_probability(PATIENTS, saved, prob)
    exact = {"abs": 1e-12, "rel": 0}
    assert found.probability == pytest.approx(classifier.predict_proba(table)[:, 1], **exact)
    for kind in ("average", "trial"):
        expected = classifier.predict_interval(table, prob, kind=kind)
        assert getattr(found, f"{kind}_interval") == pytest.approx(expected, **exact)
    assert found.setting.tolist() == classifier.predict_settings(table).tolist()
    assert len(found) == 4
    assert found.prob == prob


def test_any_table_gives_the_same(posterior):
    expected = kp.response_probability(PATIENTS, posterior)
    table = pd.DataFrame({**PATIENTS, "family_history_aud": ["yes", "0", None, None]})
    for same in (table, pl.from_pandas(table), pa.Table.from_pandas(table), table.to_dict("list")):
        assert_same(kp.response_probability(same, posterior), expected)


def test_one_patient_as_single_values(posterior):
    alone = {"trial": "T1", "population": "unipolar", "bmi": 24.0, "family_history_aud": True}
    found = kp.response_probability(alone, posterior)
    assert found.probability.shape == (1,)
    assert found.trial_interval.shape == found.average_interval.shape == (1, 2)
    assert found.probability[0] == kp.response_probability(PATIENTS, posterior).probability[0]


def test_many_rows_in_pieces_equal_few(posterior):
    many = {name: list(values) * 150 for name, values in PATIENTS.items()}
    found = kp.response_probability(many, posterior)
    few = kp.response_probability(PATIENTS, posterior)
    assert np.array_equal(found.trial_interval, np.tile(few.trial_interval, (150, 1)))
    assert np.array_equal(found.probability, np.tile(few.probability, 150))


def test_a_fit_may_be_a_path_a_posterior_or_a_classifier(posterior, saved):
    expected = kp.response_probability(PATIENTS, posterior)
    for fit in (saved, str(saved), kp.load(saved)):
        assert_same(kp.response_probability(PATIENTS, fit), expected)
    for wrong in (kp.KetamineResponseClassifier(), None, 3):
        with pytest.raises(kp.KetpredictError, match="expected 'published', the path"):
            kp.response_probability(PATIENTS, wrong)
    with pytest.raises(kp.SavedFitError, match="cannot be read"):
        kp.response_probability(PATIENTS, saved.parent / "no.nc")


def test_a_file_is_read_once_and_again_when_it_changes(posterior, tmp_path):
    path = posterior.save(tmp_path / "fit.nc")
    first = load_fit(path)
    assert load_fit(str(path)) is first
    other = handmade_posterior(seed=2, draws=100).save(path)
    os.utime(other, ns=(1, 1))
    assert load_fit(path) is not first
    before, after = (kp.response_probability(PATIENTS, fit).probability for fit in (first, path))
    assert not np.allclose(before, after)


def test_the_published_fit_is_the_default(monkeypatch, posterior, saved):
    monkeypatch.setattr("ketpredict.published.models_path", lambda _name: saved)
    expected = kp.response_probability(PATIENTS, posterior)
    assert_same(kp.response_probability(PATIENTS), expected)
    loaded = kp.load("published").predict_proba(pd.DataFrame(PATIENTS))[:, 1]
    assert loaded == pytest.approx(expected.probability, abs=1e-12)


def test_the_names_of_columns_that_a_fit_was_made_with(posterior):
    facts = {**posterior.facts, "estimator": {"trial": "study"}}
    renamed = dataclasses.replace(posterior, facts=facts)
    found = kp.response_probability({"study": ["T1"], "population": "unipolar"}, renamed)
    assert found.setting.tolist() == ["known trial"]


def test_a_fit_that_did_not_converge_says_so(posterior):
    facts = {**posterior.facts, "diagnostics": {"problems": ["R-hat above 1.01: slope[bmi]"]}}
    bad = dataclasses.replace(posterior, facts=facts)
    with pytest.warns(kp.ConvergenceWarning, match=r"slope\[bmi\]") as caught:
        kp.response_probability(PATIENTS, bad)
    assert caught[0].filename == __file__
    with pytest.raises(kp.ConvergenceError, match=r"slope\[bmi\]"):
        kp.response_probability(PATIENTS, bad, strict=True)


def test_rows_beyond_the_evidence_are_announced_and_noted(posterior):
    with pytest.warns(kp.ExtrapolationWarning, match="bmi is outside") as caught:
        found = kp.response_probability({"bmi": [50.0, 24.0]}, posterior)
    assert caught[0].filename == __file__
    assert found.notes == ("bmi 50 is outside the evidence (18 to 40)", "")


def test_columns_left_alone_are_named_once(posterior):
    with pytest.warns(kp.EvidenceWarning, match=r"^Columns left alone: note, room\.$") as caught:
        kp.response_probability({"bmi": [24.0], "note": ["a"], "room": [1]}, posterior)
    assert len(caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize("prob", [0, 1, 90, "0.9", float("nan")])
def test_an_impossible_content_of_the_interval(posterior, prob):
    with pytest.raises(kp.DataError, match="expected a number between 0 and 1"):
        kp.response_probability(PATIENTS, posterior, prob)


def test_all_problems_in_one_message(posterior):
    with pytest.raises(kp.DataError) as caught:
        kp.response_probability({"bmi": [5, "x"], "Family_history_AUD": [1, 0]}, posterior)
    text = str(caught.value)
    assert "Table 'rows to predict' has 3 problems" in text
    assert "row 1: bmi is 5; expected a number from" in text
    assert "row 2: bmi is 'x'" in text
    assert "column 'Family_history_AUD' looks like 'family_history_aud'; rename it." in text


def test_the_result_is_frozen_and_goes_into_json(posterior):
    found = kp.response_probability(PATIENTS, posterior)
    table = json.loads(json.dumps(found.to_dict()))
    assert table["probability"] == found.probability.tolist()
    assert table["trial_interval"] == found.trial_interval.tolist()
    assert table["setting"][0] == "known trial"
    assert table["notes"] == ["", "", "", ""]
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.prob = 0.5
