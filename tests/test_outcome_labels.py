"""Labels of y: any two, which of them is response, what is missing."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.exceptions import DataConversionWarning

from ketpredict.errors import DataError
from ketpredict.outcome_labels import read_outcome

NAN = float("nan")


@pytest.mark.parametrize(
    ("y", "values", "classes", "response"),
    [
        ([0, 1, 1], [0, 1, 1], [0, 1], 1),
        ([1.0, None, 0.0], [1, NAN, 0], [0.0, 1.0], 1.0),
        ([True, False], [1, 0], [False, True], True),
        (["yes", "no", "yes"], [1, 0, 1], ["no", "yes"], "yes"),
        (["No", None, "Yes"], [0, NAN, 1], ["No", "Yes"], "Yes"),
        (pd.array([1, None, 0], dtype="Int64"), [1, NAN, 0], [0, 1], 1),
        (pd.Series([True, None], dtype="boolean"), [1, NAN], [False, True], True),
        (pd.Series(["no", "yes"], dtype="category"), [0, 1], ["no", "yes"], "yes"),
        (pl.Series([0, 1]), [0, 1], [0, 1], 1),
        (pa.chunked_array([[0, 1]]), [0, 1], [0, 1], 1),
        (np.array([1, 1]), [1, 1], [0, 1], 1),  # nobody without response is no third class
        ([0.0, 0.0], [0, 0], [0.0, 1.0], 1.0),
        (["yes", "yes"], [1, 1], ["no", "yes"], "yes"),
        (["no"], [0], ["no", "yes"], "yes"),
    ],
)
def test_labels_that_say_what_they_mean(y, values, classes, response):
    found = read_outcome(y)
    np.testing.assert_array_equal(found.values, values)
    assert found.classes.tolist() == classes
    assert (found.response, found.message) == (response, "")


@pytest.mark.parametrize(
    ("y", "chosen", "values"),
    [
        (["remitter", "other"], "remitter", [1, 0]),
        (["remitter", "other"], "other", [0, 1]),
        ([1, 2, 2], 1, [1, 0, 0]),
        ([0, 1, 1], 0, [1, 0, 0]),  # coded the other way round
        ([-1, 1], -1, [1, 0]),
    ],
)
def test_the_caller_says_which_is_response(y, chosen, values):
    found = read_outcome(y, chosen)
    assert found.values.tolist() == values
    assert found.response == chosen
    assert found.message == ""
    assert found.classes.tolist() == sorted(set(y))


@pytest.mark.parametrize(
    ("y", "chosen", "values", "classes"),
    [
        ([1, 1], 0, [0, 0], [0, 1]),  # a fold in which nobody responded, coded 0
        ([0, 0], 0, [1, 1], [0, 1]),
        ([True], False, [0], [False, True]),
        (["no", "no"], "no", [1, 1], ["no", "yes"]),
    ],
)
def test_one_label_is_what_the_caller_says_it_is(y, chosen, values, classes):
    found = read_outcome(y, chosen)
    assert found.values.tolist() == values
    assert found.response == chosen
    assert found.classes.tolist() == classes


def test_missing_texts_are_missing():
    found = read_outcome(["no", "NA", "yes", ""])
    np.testing.assert_array_equal(found.values, [0, NAN, 1, NAN])


def test_it_is_never_guessed_silently():
    found = read_outcome(["poor", "good", "good"])
    assert found.response == "poor"
    assert "'poor' is taken as response" in found.message
    assert "response_label" in found.message
    assert read_outcome([-1, 1]).message


@pytest.mark.parametrize(
    ("y", "chosen", "message"),
    [
        ([0, 1, 2], None, "Only binary classification is supported.*multiclass.*3 labels"),
        ([0.5, 0.7], None, "Unknown label type"),
        ([NAN, None], None, "every value is missing"),
        ([1.0, np.inf], None, "infinity"),
        (["good", "good"], None, "1 class only, 'good'"),
        (["good", "poor"], "fair", "response_label is 'fair'.*'good' and 'poor'"),
        ([[0, 1], [1, 0]], None, "1d array"),
        (["Yes", "yes"], None, "'Yes' and 'yes', which mean the same"),
        (["No", "no"], None, "mean the same"),
        ([1, 1], 3, "response_label is 3.*0 and 1"),
        ([], None, "y is empty"),
    ],
)
def test_what_is_no_outcome(y, chosen, message):
    with pytest.raises(ValueError, match=message):
        read_outcome(y, chosen)


def test_a_column_vector_is_said_to_be_one():
    with pytest.warns(DataConversionWarning, match="column-vector"):
        assert read_outcome(pd.DataFrame({"y": [0, 1]})).values.tolist() == [0, 1]


def test_our_own_errors_are_ours():
    with pytest.raises(DataError, match="every value"):
        read_outcome([None])
