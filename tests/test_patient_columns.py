"""Rows to predict are read as rows to fit are: the same values, names and words, without pandas."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import ketpredict as kp
from ketpredict.contracts import validate_participants
from ketpredict.patient_columns import read_patients
from ketpredict.predictors import load_predictors

REFERENCES = dict(load_predictors())


def both_messages(table):
    """Return what the contract of a fit and what a prediction says of a table."""
    with pytest.raises(kp.DataError) as of_fit:
        validate_participants(
            table, REFERENCES, predictors=tuple(REFERENCES), name="rows to predict"
        )
    with pytest.raises(kp.DataError) as ours:
        read_patients(table, REFERENCES)
    return str(of_fit.value), str(ours.value)


BAD = {
    "out of range": {"bmi": [24.0, 5.0, 200.0]},
    "text in a number": {"bmi": ["24", "heavy", "25,5"]},
    "not yes or no": {"family_history_aud": [1, 2, "maybe"]},
    "yes where a number is due": {"bmi": ["yes", "24"]},
    "near miss": {"BMI ": [24.0], "trial": ["T1"]},
    "alias": {"family_history_AUD": [1], "fh_aud": [0]},
    "near miss beside the known": {"bmi": [24.0], "Bmi": [25.0]},
    "unit in the name": {"bmi_kg_m2": [24.0]},
    "swapped letters": {"bdnf": [20.0], "shnak3": [1.0]},
    "label with id": {"trial_id": ["T1"], "bmi": [24.0]},
    "several at once": {
        "trial": ["A", "B", "C"], "participant": [1, 2, 3], "bmi": [24.0, "x", 3.0],
        "suicide_attempt_history": ["yes", "no", "perhaps"], "hours": [24, -1, None],
        "threshold": [50, 100, 0.5], "Delta_Sleep_Ratio": [1.0, 1.0, 1.0],
    },
    "more than twenty": {"bmi": [1000.0 + i for i in range(25)]},
    "infinite": {"bmi": [float("inf")], "bdnf": ["-inf"]},
    "empty": {},
    "no rows": {"bmi": []},
    "an impossible outcome": {"response": [0.5], "improvement": [120.0], "bmi": [24.0]},
    "a date": {"bmi": [datetime.date(2020, 1, 1)]},
    "a long text": {"bmi": ["x" * 60]},
}  # fmt: skip


@pytest.mark.parametrize("table", BAD.values(), ids=BAD)
def test_the_same_words_as_for_rows_to_fit(table):
    of_fit, ours = both_messages(table)
    assert ours == of_fit


@pytest.mark.parametrize("table", BAD.values(), ids=BAD)
def test_the_same_words_for_a_pandas_table(table):
    of_fit, ours = both_messages(pd.DataFrame(table))
    assert ours == of_fit


GOOD = {
    "numbers": {"bmi": [24.0, np.nan, 31], "family_history_aud": [1, 0, None]},
    "texts": {"bmi": ["24", "", " 31.5 "], "family_history_aud": ["yes", "FALSE", "n/a"]},
    "booleans": {"family_history_aud": [True, False], "enriched": [False, True]},
    "booleans and a gap": {"family_history_aud": [True, None, np.True_]},
    "labels": {"trial": [7, 8.0, None], "population": [" ptsd ", "NA", "ocd"], "bmi": [24, 25, 26]},
    "hours": {"hours": ["24", 48, None], "threshold": [50, None, 30], "scale": ["MADRS"] * 3},
    "one row": {"bmi": 24.0, "population": "ocd"},
    "one value for all": {"bmi": [24.0, 25.0], "population": "ocd"},
    "another column": {"bmi": [24.0], "note": ["seen twice"]},
    "decimal": {"bmi": np.array(["2.4e1", "+25."], dtype=object)},
}


@pytest.mark.parametrize("table", GOOD.values(), ids=GOOD)
@pytest.mark.parametrize(
    "as_given",
    [dict, pd.DataFrame, lambda t: pd.DataFrame(t).convert_dtypes()],
    ids=["mapping", "pandas", "nullable"],
)
def test_the_same_values_as_for_rows_to_fit(table, as_given):
    if as_given is not dict and not any(isinstance(v, (list, np.ndarray)) for v in table.values()):
        table = {name: [value] for name, value in table.items()}
    ours = read_patients(as_given(table), REFERENCES)
    checked = validate_participants(table, REFERENCES, predictors=tuple(REFERENCES))
    assert ours.n_rows == len(checked.table)
    assert ours.left_alone == checked.left_alone
    for name, values in ours.columns.items():
        pd.testing.assert_series_equal(
            pd.Series(values, dtype=checked.table[name].dtype), checked.table[name],
            check_names=False,
        )  # fmt: skip
    assert set(ours.columns) == set(checked.table) - set(ours.left_alone)


@pytest.mark.parametrize(
    "column",
    [
        np.array([24.0, 25.0]), np.array([24, 25], dtype=np.int8), (24, 25), pd.Series([24, 25]),
        pd.Series([24, 25], dtype="Int64"), pl.Series([24, 25]), pa.array([24, 25]),
        np.array(["24", "25"]), np.array([24, "25"], dtype=object), np.ma.array([24.0, 25.0]),
    ],
    ids=lambda column: type(column).__name__,
)  # fmt: skip
def test_any_column_of_a_mapping(column):
    assert read_patients({"bmi": column}, REFERENCES).columns["bmi"].tolist() == [24.0, 25.0]


def test_what_a_mask_hides_is_missing():
    hidden = np.ma.array([24.0, 25.0], mask=[False, True])
    values = read_patients({"bmi": hidden}, REFERENCES).columns["bmi"]
    assert values[0] == 24.0
    assert np.isnan(values[1])


def test_a_time_is_no_number():
    times = np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[ns]")
    with pytest.raises(kp.DataError, match=r"row 1: bmi is '2020-01-01.*expected a number from"):
        read_patients({"bmi": times}, REFERENCES)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"bmi": [24, 25], "trial": ["A"]}, "differ in length .*'bmi' has 2, 'trial' has 1"),
        ({"bmi": [[24, 25]]}, "column 'bmi' is no plain list of values"),
        ({"bmi": [[24], [25, 26]]}, "column 'bmi' is no plain list of values"),
        ({"note": ["a"], "more": [2]}, r"None of the columns \(note, more\) is a predictor"),
        ({"note": ["a"], "bmi": [None]}, r"None of the columns \(note\) is a predictor"),
        (np.array([[24.0, 1.0]]), "An array has no names"),
        ([1, 2], "A list is not a table"),
        ({"bdnf_assay_mean": [0.0]}, "bdnf_assay_mean is 0; expected a number from"),
        (pd.DataFrame([[24, 25]], columns=["bmi", "bmi"]), "'bmi' stands there 2 times"),
    ],
)
def test_what_is_no_table_of_patients(table, message):
    with pytest.raises(kp.DataError, match=message):
        read_patients(table, REFERENCES)


def test_the_mean_of_an_assay_is_a_known_column():
    patients = read_patients({"bdnf": [20.0], "bdnf_assay_mean": ["18"]}, REFERENCES)
    assert patients.left_alone == ()
    assert patients.columns["bdnf_assay_mean"].tolist() == [18.0]


def test_the_caller_s_own_names_of_columns():
    names = {"trial": "study", "arm": "arm"}
    patients = read_patients({"study": ["A"], "bmi": [24.0]}, REFERENCES, names)
    assert patients.columns["trial"].tolist() == ["A"]
    with pytest.raises(kp.DataError, match=r"column 'study' \(for trial\).*Did you mean 'studyid'"):
        read_patients({"studyid": ["A"], "bmi": [24.0]}, REFERENCES, names)
    with pytest.raises(kp.DataError, match="keep one"):
        read_patients({"study": ["A"], "trial": ["B"], "bmi": [24.0]}, REFERENCES, names)
    with pytest.raises(kp.DataError, match=r"row 1 \(study 'A'\): bmi is 5"):
        read_patients({"study": ["A"], "bmi": [5.0]}, REFERENCES, names)


def test_the_caller_s_arrays_are_left_alone():
    table = {"bmi": np.array([24.0, 25.0]), "trial": np.array(["A ", "B"], dtype=object)}
    before = {name: values.copy() for name, values in table.items()}
    read_patients(table, REFERENCES)
    assert all((table[name] == before[name]).all() for name in table)
