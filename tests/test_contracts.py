"""The data contracts: what passes, and the exact words for what does not."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from ketpredict.contracts import validate_arms, validate_associations, validate_participants
from ketpredict.errors import DataError
from ketpredict.predictors import Predictor

PREDICTORS = (
    Predictor(
        "bmi", "Body mass index", "kg/m2", "continuous", "identity", 28.0, 6.0, 10.0, 90.0,
        aliases=("BMI", "body_mass_index"),
    ),
    Predictor(
        "family_history_aud", "Family history", "0/1", "binary", "identity", 0.365, 1.0, 0.0, 1.0,
        aliases=("family_history_AUD", "fh_aud"),
    ),
    Predictor(
        "suicide_attempt_history", "Suicide attempt", "0/1", "binary", "identity", 0.37, 1.0, 0.0,
        1.0, aliases=("suicide_attempt", "prior_suicide_attempt"),
    ),
    Predictor(
        "bdnf", "BDNF", "ng/mL", "continuous", "log", 2.15, 0.56, 0.01, 200.0,
        assay_dependent=True, aliases=("BDNF_level",),
    ),
    Predictor("shank3", "Shank3", "relative level", "continuous", "log", 0.0, 0.5, 0.001, 1000.0),
    Predictor(
        "delta_sleep_ratio", "Delta sleep ratio", "ratio", "continuous", "log", 0.0, 0.5, 0.02,
        50.0, aliases=("DSR",),
    ),
)  # fmt: skip
REFERENCES = {predictor.name: predictor for predictor in PREDICTORS}


def participants(table, **options):
    return validate_participants(table, REFERENCES, **options)


def arms(table, **options):
    return validate_arms(table, REFERENCES, **options)


def message(function, table, **options):
    with pytest.raises(DataError) as caught:
        function(table, **options)
    return str(caught.value)


def good_arms(**columns):
    table = {
        "trial": ["T1", "T1", "T2"],
        "population": ["mdd", "mdd", "ptsd"],
        "arm": ["ketamine", "saline", "ketamine"],
        "hours": [24, 24, 24],
        "n": [28, 27, 10],
        "responders": [14, 5, 4],
    }
    return pd.DataFrame({**table, **columns})


def good_associations(**columns):
    table = {
        "cohort": ["nimh", "yale"],
        "predictor": ["bmi", "bmi"],
        "population": ["mdd", None],
        "hours": [24, None],
        "statistic": ["standardised_beta", "odds_ratio"],
        "estimate": [-0.37, 1.63],
        "n": [82, None],
    }
    return pd.DataFrame({**table, **columns})


# --- what passes -------------------------------------------------------------------------------


def test_participants_come_back_with_canonical_types_and_in_order():
    checked = participants(
        {
            "site": ["x", "y", "z"],
            "trial": [7, "T 2 ", 3.0],
            "bmi": ["30.5", " 22 ", "n/a"],
            "family_history_aud": ["yes", "N", None],
            "suicide_attempt_history": [True, False, None],
            "response": [1, 0, None],
        }
    )
    table = checked.table
    assert list(table["trial"]) == ["7", "T 2", "3"]
    np.testing.assert_array_equal(table["bmi"], [30.5, 22.0, np.nan])
    np.testing.assert_array_equal(table["family_history_aud"], [1.0, 0.0, np.nan])
    np.testing.assert_array_equal(table["suicide_attempt_history"], [1.0, 0.0, np.nan])
    np.testing.assert_array_equal(table["response"], [1.0, 0.0, np.nan])
    numbers = ["bmi", "family_history_aud", "suicide_attempt_history", "response"]
    assert all(table[name].dtype == np.float64 for name in numbers)
    assert checked.predictors == ("bmi", "family_history_aud", "suicide_attempt_history")
    assert checked.outcomes == ("response",)
    assert checked.left_alone == ("site",)
    assert list(table["site"]) == ["x", "y", "z"]


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, "", "NA", "n/a", " NaN ", "."])
def test_missing_cells_are_legal_in_predictors_labels_and_outcomes(missing):
    table = {"trial": ["a", missing], "bmi": [missing, 30], "response": [1, missing]}
    checked = participants({key: pd.Series(value, dtype=object) for key, value in table.items()})
    assert checked.table.isna().to_numpy().tolist() == [
        [False, True, False],
        [True, False, True],
    ]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, 0, None], dtype="Int64"),
        pd.Series([True, False, None], dtype="boolean"),
        pd.Series([True, False, None], dtype="bool[pyarrow]"),
        pd.Series([1, 0, None], dtype="int8[pyarrow]"),
        pd.Series(["Yes", "no", None], dtype="string"),
        pd.Series(["TRUE", "false", None], dtype="category"),
        pd.Series([1.0, 0.0, np.nan], dtype="float32"),
        pd.Series(["1", "0.0", "NA"]),
        pd.Series([np.True_, "n", None], dtype=object),
    ],
    ids=lambda column: str(column.dtype),
)
def test_every_way_of_writing_yes_and_no(column):
    checked = participants(pd.DataFrame({"response": column}))
    np.testing.assert_array_equal(checked.table["response"], [1.0, 0.0, np.nan])
    assert checked.table["response"].dtype == np.float64


@pytest.mark.parametrize(
    "convert",
    [
        pl.DataFrame,
        pa.table,
        pd.DataFrame,
        dict,
        lambda columns: {name: np.array(values, object) for name, values in columns.items()},
    ],
    ids=["polars", "pyarrow", "pandas", "mapping", "arrays"],
)
def test_every_kind_of_table_gives_the_same(convert):
    columns = {
        "trial": ["a", None, "c"],
        "hours": [24, 4, 24],
        "bmi": [30.5, None, 22.0],
        "family_history_aud": [True, None, False],
        "response": [1, 0, None],
    }
    checked = participants(convert(columns))
    expected = pd.DataFrame(
        {
            "trial": pd.Series(["a", np.nan, "c"], dtype=object),
            "hours": [24.0, 4.0, 24.0],
            "bmi": [30.5, np.nan, 22.0],
            "family_history_aud": [1.0, np.nan, 0.0],
            "response": [1.0, 0.0, np.nan],
        }
    )
    pd.testing.assert_frame_equal(checked.table, expected)


def test_polars_categories_and_nulls():
    frame = pl.DataFrame(
        {
            "arm": pl.Series(["ketamine", None], dtype=pl.Categorical),
            "bmi": pl.Series([30, None], dtype=pl.Int16),
        }
    )
    table = participants(frame).table
    assert table["arm"][0] == "ketamine"
    assert pd.isna(table["arm"][1])
    np.testing.assert_array_equal(table["bmi"], [30.0, np.nan])


def test_one_patient_as_a_mapping_of_values():
    checked = participants({"bmi": 31, "family_history_aud": "no"})
    assert checked.table.to_dict("list") == {"bmi": [31.0], "family_history_aud": [0.0]}


@pytest.mark.parametrize("function", [participants, arms])
def test_the_callers_table_is_unchanged(function):
    table = good_arms(bmi_mean=["28", "29", ""], trial=[1, 2, 3]).set_index("trial", drop=False)
    before = table.copy(deep=True)
    result = function(table).table
    result.loc[0, "hours"] = 1e6
    result.columns = [f"{name}!" for name in result.columns]
    pd.testing.assert_frame_equal(table, before)


def test_good_arms_pass_with_summaries_and_flags():
    checked = arms(
        good_arms(
            bmi_mean=["27.5", "", "31"],
            bmi_sd=[4, None, 0],
            family_history_aud_pct=[0, 42, 100],
            threshold=[50, 30, None],
            blinding=["double_blind", "double_blind", "open_label"],
            repeated=["no", "no", "yes"],
            n_randomised=[30, 30, 10],
            arm_label=["a", "b", "c"],
        )
    )
    np.testing.assert_array_equal(checked.table["bmi_mean"], [27.5, np.nan, 31.0])
    np.testing.assert_array_equal(checked.table["repeated"], [0.0, 0.0, 1.0])
    assert checked.table["n"].dtype == np.float64
    assert checked.predictors == ("bmi", "family_history_aud")
    assert checked.left_alone == ("n_randomised", "arm_label")


def test_good_associations_pass_and_carry_everything():
    checked = validate_associations(
        good_associations(p_value=[0.001, ""], p_relation=["<", None], notes=["a", "b"])
    )
    np.testing.assert_array_equal(checked.table["n"], [82.0, np.nan])
    np.testing.assert_array_equal(checked.table["p_value"], [0.001, np.nan])
    assert list(checked.table["notes"]) == ["a", "b"]
    assert checked.left_alone == ("notes",)


# --- predictors --------------------------------------------------------------------------------


def test_predictors_asked_for_are_returned_in_order_and_filled_if_absent():
    checked = participants({"age": ["44", 31], "bmi": [30, 25]}, predictors=["bdnf", "age"])
    assert checked.predictors == ("bdnf", "age")
    assert checked.table["bdnf"].isna().all()
    assert list(checked.table["age"]) == [44.0, 31.0]
    assert checked.left_alone == ()


def test_known_columns_are_checked_even_if_not_asked_for():
    assert participants({"bmi": ["30"]}, predictors=()).table["bmi"][0] == 30.0
    assert "bmi is 5;" in message(participants, {"bmi": [5]}, predictors=())


def test_without_known_predictors_every_usable_column_is_one():
    checked = participants(
        {
            "trial": ["a", "b"],
            "hours": [24, 24],
            "age": [44, 31],
            "married": ["yes", "no"],
            "level": pd.Categorical([1, 2]),
            "name": ["Ann", "Bob"],
            "empty": [None, None],
            "improvement": [10, 60],
        }
    )
    assert checked.predictors == ("age", "married", "level")
    assert checked.left_alone == ("name", "empty")
    assert list(checked.table["married"]) == [1.0, 0.0]


def test_a_plain_array_uses_all_of_its_columns():
    checked = participants(np.array([[1.0, np.nan], [2.0, 5.0]]))
    assert checked.predictors == ("x0", "x1")


def test_predictors_that_are_not_there_or_cannot_be():
    text = message(
        participants, {"Age": [1], "response": [1]}, predictors=["age", "response", "trial", "Age"]
    )
    assert "predictors names 'age', but there is no such column. Did you mean 'Age'?" in text
    assert "predictors names 'response', which is an outcome; leave it out." in text
    assert "predictors names 'trial', which is not a predictor; leave it out." in text
    assert "'bmi' more than once" in message(participants, {"bmi": [30]}, predictors=["bmi", "bmi"])


def test_text_in_a_predictor_that_was_asked_for():
    assert message(participants, {"sex": ["M", "1"]}, predictors=["sex"]) == (
        "Table 'participants', row 1: sex is 'M'; expected a number, or yes or no. Correct it, or "
        "leave it empty if unknown."
    )


def test_further_predictors_of_arms():
    checked = arms(good_arms(weight_mean=[70, 80, "75"]), predictors=["weight", "bmi"])
    assert checked.predictors == ("weight",)
    assert checked.table["weight_mean"][2] == 75.0
    assert checked.left_alone == ()
    assert arms(good_arms(weight_mean=[70, 80, 75])).left_alone == ("weight_mean",)


# --- impossible values: row, column, value, expected -------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "shown", "expected"),
    [
        ("bmi", 5, "5", "a number from 10 to 90 kg/m2"),
        ("bmi", "thirty", "'thirty'", "a number from 10 to 90 kg/m2"),
        ("bmi", "27.5 kg", "'27.5 kg'", "a number from 10 to 90 kg/m2"),
        ("bmi", "yes", "'yes'", "a number from 10 to 90 kg/m2"),
        ("bmi", "1_000", "'1_000'", "a number from 10 to 90 kg/m2"),
        ("bmi", np.inf, "inf", "a number from 10 to 90 kg/m2"),
        ("bmi", "inf", "'inf'", "a number from 10 to 90 kg/m2"),
        ("bmi", 3 + 1j, "'(3+1j)'", "a number from 10 to 90 kg/m2"),
        ("bdnf", 0, "0", "a number from 0.01 to 200 ng/mL"),
        ("family_history_aud", 0.5, "0.5", "0 or 1 (no or yes)"),
        ("family_history_aud", "maybe", "'maybe'", "0 or 1 (no or yes)"),
        ("response", 1.2, "1.2", "0 or 1 (no or yes)"),
        ("response", "responder", "'responder'", "0 or 1 (no or yes)"),
        ("improvement", 120, "120", "a percentage, 100 at most"),
        ("improvement", -np.inf, "-inf", "a percentage, 100 at most"),
        ("baseline_score", 0, "0", "a score above 0"),
        ("hours", -4, "-4", "a number of hours after the (first) dose, above 0"),
        ("hours", np.inf, "inf", "a number of hours after the (first) dose, above 0"),
        ("threshold", 0.5, "0.5", "a percentage from 1 to below 100, such as 50"),
        ("hours", pd.Timestamp("2020-01-01"), "'2020-01-01 00:00:00'", "a number of hours"),
    ],
)
def test_impossible_participant_values(column, value, shown, expected):
    good = {"bmi": 30, "bdnf": 10, "hours": 24, "threshold": 50, "improvement": 10}.get(column, 1)
    table = {"trial": ["T1", "T2"], column: pd.Series([good, value], dtype=object)}
    text = message(participants, table)
    where = f"hours {shown}" if column == "hours" else ""
    assert text.startswith(f"Table 'participants', row 2 (trial 'T2'{where and ', ' + where}): ")
    assert f"): {column} is {shown}; expected {expected}" in text
    assert text.endswith("Correct it, or leave it empty if unknown.")


def test_a_decimal_comma_gets_its_own_advice():
    assert message(participants, {"bmi": ["27,5"]}) == (
        "Table 'participants', row 1: bmi is '27,5'; expected a number from 10 to 90 kg/m2. Write "
        "decimals with a point and leave out thousands."
    )


@pytest.mark.parametrize(
    ("column", "value", "shown", "expected"),
    [
        ("n", 0, "0", "a whole number of people, 1 or more. Correct it."),
        ("n", 9.5, "9.5", "a whole number of people, 1 or more. Correct it."),
        ("n", None, "missing", "a whole number of people, 1 or more. Fill it in."),
        ("responders", -1, "-1", "a whole number of people, 0 or more. Correct it."),
        ("responders", 3.5, "3.5", "a whole number of people, 0 or more. Correct it."),
        ("responders", "few", "'few'", "a whole number of people, 0 or more. Correct it."),
        ("responders", "NA", "'NA'", "a whole number of people, 0 or more. Correct it."),
        ("population", None, "missing", "a name. Fill it in."),
        ("bmi_mean", 300, "300", "a number from 10 to 90 kg/m2."),
        ("bmi_sd", -1, "-1", "a standard deviation of 0 or more."),
        ("family_history_aud_pct", 101, "101", "a percentage from 0 to 100."),
        ("improvement_mean", 101, "101", "a percentage, 100 at most."),
        ("improvement_sd", -0.1, "-0.1", "a standard deviation of 0 or more."),
        ("threshold", 0, "0", "a percentage from 1 to below 100, such as 50."),
        ("threshold", 100, "100", "a percentage from 1 to below 100, such as 50."),
        ("repeated", "often", "'often'", "0 or 1 (no or yes)."),
        ("enriched", 2, "2", "0 or 1 (no or yes)."),
        ("added_antidepressant", -1, "-1", "0 or 1 (no or yes)."),
    ],
)
def test_impossible_arm_values(column, value, shown, expected):
    table = good_arms()
    cells = list(table[column]) if column in table else [None] * 3
    cells[2] = value
    text = message(arms, table.assign(**{column: pd.Series(cells, dtype=object)}))
    assert text.startswith("Table 'arms', row 3 (trial 'T2', ")
    assert f"): {column} is {shown}; expected {expected}" in text


def test_hours_of_arms_must_be_there():
    text = message(arms, good_arms(hours=[24, None, 0]))
    assert "row 2 (trial 'T1', population 'mdd', arm 'saline'): hours is missing; expected" in text
    assert "hours is 0; expected a number of hours after the (first) dose, above 0." in text


def test_more_responders_than_people():
    assert message(arms, good_arms(responders=[14, 31, 4])) == (
        "Table 'arms', row 2 (trial 'T1', population 'mdd', arm 'saline', hours 24): responders "
        "is 31 but n is 27; expected responders from 0 to n."
    )


def test_an_arm_and_horizon_stands_once():
    text = message(arms, good_arms(arm=["ketamine", "ketamine", "ketamine"]))
    assert "row 2 (trial 'T1', population 'mdd', arm 'ketamine', hours 24): " in text
    assert text.endswith(
        "the same trial, arm and hours as row 1; expected one row for each. Keep one."
    )
    arms(good_arms(arm=["ketamine"] * 3, hours=[24, 72, 24]))


def test_a_percentage_written_as_a_fraction():
    text = message(arms, good_arms(family_history_aud_pct=[0.42, 42, 0]))
    assert "row 1 (" in text
    assert "family_history_aud_pct is 0.42 with n 28, less than one person; expected a " in text
    arms(good_arms(family_history_aud_pct=[0.9, 42, 0], n=[1000, 27, 10]))


@pytest.mark.parametrize("column", ["trial", "population", "arm", "hours", "n", "responders"])
def test_needed_columns_of_arms(column):
    assert message(arms, good_arms().drop(columns=column)) == (
        f"Table 'arms', column '{column}' is missing; add it."
    )


@pytest.mark.parametrize(
    ("column", "gives"),
    [
        ("bmi_pct", "bmi is continuous; give 'bmi_mean' and 'bmi_sd'."),
        (
            "family_history_aud_mean",
            "family_history_aud is yes/no; give 'family_history_aud_pct'.",
        ),
    ],
)
def test_summaries_of_the_wrong_kind(column, gives):
    text = message(arms, good_arms(**{column: [1, 2, 3]}))
    assert text == f"Table 'arms', column '{column}': {gives}"


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"n": [0, 1]}, "row 1 (cohort 'nimh', predictor 'bmi', population 'mdd', hours 24): n is"),
        ({"hours": [0, 24]}, "hours is 0; expected a number of hours"),
        ({"estimate": ["high", 1]}, "estimate is 'high'; expected a number. Correct it"),
        ({"cohort": [None, "x"]}, "cohort is missing; expected a name. Fill it in."),
        ({"statistic": ["", "x"]}, "statistic is ''; expected one of pearson_r,"),
        ({"se": [0, None]}, "se is 0; expected a standard error above 0."),
        ({"p_value": ["<0.001", 1]}, "p_value is '<0.001'; expected a number from 0 to 1 (its <"),
        (
            {"statistic": ["odds_ratio", "pearson_r"], "estimate": [-1, 0.2]},
            "estimate is -1, but statistic is 'odds_ratio'; expected a ratio above 0.",
        ),
        (
            {"statistic": ["odds_ratio", "pearson_r"], "estimate": [1, 1.2]},
            "estimate is 1.2, but statistic is 'pearson_r'; expected a correlation from -1 to 1.",
        ),
        (
            {"ci_low": [0.1, 1.0], "ci_high": [0.5, 2.0]},
            "estimate is -0.37, its interval runs from 0.1 to 0.5; expected the estimate inside",
        ),
    ],
)  # fmt: skip
def test_impossible_associations(columns, found):
    assert found in message(validate_associations, good_associations(**columns))


@pytest.mark.parametrize("column", list(good_associations()))
def test_needed_columns_of_associations(column):
    text = message(validate_associations, good_associations().drop(columns=column))
    assert text == f"Table 'associations', column '{column}' is missing; add it."


# --- outcomes that must agree ------------------------------------------------------------------


def test_improvement_and_scores_must_agree_within_rounding():
    scores = {"baseline_score": [30, 30], "endpoint_score": [10, 10]}
    participants({**scores, "improvement": [66.7, 67.6]})
    assert message(participants, {**scores, "improvement": [66.7, 60]}) == (
        "Table 'participants', row 2: improvement is 60, but baseline_score 30 and endpoint_score "
        "10 make 66.7 percent; expected them to agree within 1 point."
    )


def test_response_and_improvement_must_agree():
    participants({"improvement": [50, 49.9, 50, 49.6, None], "response": [1, 0, 0, 1, 1]})
    assert message(participants, {"improvement": [60, 20], "response": [1, "yes"]}) == (
        "Table 'participants', row 2: response is 1, but improvement is 20 percent; a response "
        "is an improvement of 50 percent or more. Correct one of them, or leave one column out."
    )


def test_response_and_scores_must_agree_exactly():
    scores = {"baseline_score": [30, 31, 30], "endpoint_score": [15, 16, 15]}
    participants({**scores, "response": [1, 0, None]})
    text = message(participants, {**scores, "response": [0, 1, 1]})
    assert "row 1: response is 0, but baseline_score 30 and endpoint_score 15 make 50.0" in text
    assert "row 2: response is 1, but baseline_score 31 and endpoint_score 16 make 48.4" in text
    assert "row 3" not in text


def test_response_follows_the_threshold_of_the_row():
    table = {"improvement": [40, 40], "response": [1, 1], "threshold": [35, None]}
    text = message(participants, table)
    assert text.startswith("Table 'participants', row 2: ")
    assert "an improvement of 50 percent or more" in text


def test_an_endpoint_needs_its_baseline():
    assert message(participants, {"endpoint_score": [None, 12]}) == (
        "Table 'participants', row 2: endpoint_score is 12, but the table has no column "
        "baseline_score; add it, or leave the scores out."
    )
    assert participants({"baseline_score": [30]}).outcomes == ()


def test_all_three_outcomes_are_reported():
    table = {"baseline_score": 30, "endpoint_score": 10, "improvement": 66.7, "response": 1}
    assert participants(table).outcomes == ("response", "improvement", "scores")


def test_a_patient_gives_one_row_for_each_period():
    table = {"participant": ["p1", "p1"], "trial": ["a", "a"], "response": [1, 0]}
    text = message(participants, table)
    assert text == (
        "Table 'participants', row 2 (participant 'p1', trial 'a'): the same participant and "
        "trial as row 1; expected one row for each. Keep one."
    )
    participants({**table, "period": [1, 2]})
    participants({**table, "participant": [None, None]})
    del table["response"]  # a table to predict may ask twice
    participants(table)


# --- column names ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "match"),
    [
        ("BMI", "bmi"),
        ("BMI ", "bmi"),
        (" bmi", "bmi"),
        ("Bmi (kg/m²)", "bmi"),
        ("bmi_kg_m2", "bmi"),
        ("BDNF [ng/mL]", "bdnf"),
        ("bdnf_ng_ml", "bdnf"),
        ("bim", "bmi"),
        ("bdfn", "bdnf"),
        ("body mass index", "bmi"),
        ("family_history_AUD", "family_history_aud"),
        ("Family history (AUD)", "family_history_aud"),
        ("family_history", "family_history_aud"),
        ("family_histroy_aud", "family_history_aud"),
        ("fh_aud", "family_history_aud"),
        ("suicide_attempt", "suicide_attempt_history"),
        ("suicide_attempts_history", "suicide_attempt_history"),
        ("history_suicide_attempt", "suicide_attempt_history"),
        ("Shank-3", "shank3"),
        ("dsr", "delta_sleep_ratio"),
        ("delta_sleep_ration", "delta_sleep_ratio"),
        ("deltaSleepRatio", "delta_sleep_ratio"),
        ("Trial", "trial"),
        ("trial_id", "trial"),
        ("trials", "trial"),
        ("tiral", "trial"),
        ("arms", "arm"),
        ("hour", "hours"),
        ("Response", "response"),
        ("responce", "response"),
        ("improvment", "improvement"),
        ("baseline score", "baseline_score"),
        ("participants", "participant"),
    ],
)
def test_near_misses_of_participant_columns(column, match):
    table = {column: [1.0], "age": [40.0]}
    expected = f"Table 'participants', column '{column}' looks like '{match}'; rename it."
    assert message(participants, table) == expected


@pytest.mark.parametrize(
    "column",
    [
        "age", "age_group", "site", "sex", "weight", "arm_label", "n_randomised", "harm", "farm",
        "zbmi", "bmi_mean", "family_history_mdd", "family_history_sud", "family_history_bipolar",
        "baseline", "sleep_ratio", "shank2", "period_start", "hours_of_sleep", "population_size",
        "trial_arm", "responders", "scale_version", "notes", "year", "x0", "(1)", "%",
    ],
)  # fmt: skip
def test_other_columns_of_participants_are_left_alone(column):
    table = {"shank3": [1.0], "response": [1], column: [1.0]}
    assert participants(table).left_alone == (column,)


@pytest.mark.parametrize(
    ("column", "match"),
    [
        ("N", "n"),
        ("Responders", "responders"),
        ("responder", "responders"),
        ("bmi", "bmi_mean"),
        ("BMI_mean", "bmi_mean"),
        ("mean_bmi", "bmi_mean"),
        ("body_mass_index_sd", "bmi_sd"),
        ("family_history_aud", "family_history_aud_pct"),
        ("fh_aud_pct", "family_history_aud_pct"),
        ("suicide_attempt_pct", "suicide_attempt_history_pct"),
        ("improvement", "improvement_mean"),
        ("threshhold", "threshold"),
        ("repeat", "repeated"),
        ("added_antidepresant", "added_antidepressant"),
    ],
)
def test_near_misses_of_arm_columns(column, match):
    table = good_arms()
    if match in table:
        table = table.drop(columns=match)
    text = message(arms, table.assign(**{column: 20}))
    assert text == f"Table 'arms', column '{column}' looks like '{match}'; rename it."


@pytest.mark.parametrize(
    "column",
    [
        "n_randomised", "n_infusions", "arm_label", "arm_as_printed", "response_percent",
        "responders_pct", "age_mean", "bmi_median", "scale_as_printed", "use", "reason",
        "population_as_printed", "source_url", "locator", "response_definition", "improvement_se",
        "site", "year", "study_id", "label", "notes",
    ],
)  # fmt: skip
def test_other_columns_of_arms_are_left_alone(column):
    assert arms(good_arms(**{column: 20})).left_alone == (column,)


def test_near_misses_of_association_columns():
    table = good_associations().rename(columns={"estimate": "Estimate"})
    assert message(validate_associations, table) == (
        "Table 'associations', column 'Estimate' looks like 'estimate'; rename it."
    )


def test_a_second_spelling_of_a_column_that_is_there():
    text = message(participants, {"bmi": [30], "BMI ": [31]})
    assert text.endswith("column 'BMI ' looks like 'bmi'; keep one of them, as 'bmi'.")
    # A similar name beside the known one is another column.
    assert participants({"bdnf": [1.0], "bdnf2": [2.0]}).left_alone == ("bdnf2",)
    assert participants({"bmi": [30], "bmi (z score)": [0.1]}).left_alone == ("bmi (z score)",)


def test_a_near_miss_that_was_asked_for_is_not_one():
    checked = participants({"BMI ": [30.0], "BDNF": [1.0]}, predictors=["BMI ", "BDNF"])
    assert checked.predictors == ("BMI ", "BDNF")


def test_own_names_of_label_columns():
    checked = participants(
        {"study": ["a"], "Arm": ["b"], "bmi": [30]},
        column_names={"trial": "study", "arm": "Arm", "population": "population", "hours": None},
    )
    assert list(checked.table.columns) == ["trial", "arm", "bmi"]
    text = message(
        participants,
        {"study name": ["a"], "time": ["soon"], "bmi": [5]},
        column_names={"trial": "study name", "hours": "time"},
    )
    assert "row 1 ('study name' 'a', time 'soon'): time is 'soon'; expected a number of" in text


def test_own_names_that_are_wrong():
    text = message(
        participants,
        {"Study": ["a"], "arm": ["b"], "group": ["b"]},
        column_names={"trial": "study", "arm": "group", "tril": "x"},
    )
    assert "column 'study' (for trial) is not in the table. Did you mean 'Study'?" in text
    assert "column_names takes arm from 'group', but the table has a column 'arm' too" in text
    assert "column_names has 'tril'; expected one of added_antidepressant, arm, " in text


def test_duplicate_column_names():
    table = pd.DataFrame([[1, 2, 3]], columns=["bmi", "age", "bmi"])
    assert "column 'bmi' stands there 2 times; keep one and rename others." in message(
        participants, table
    )
    mixed = pd.DataFrame([[1.0, 2.0]], columns=pd.Index([0, "0"], dtype=object))
    assert "column '0' stands there 2 times" in message(participants, mixed)


# --- whole messages ----------------------------------------------------------------------------


def test_all_problems_of_a_table_in_one_message():
    text = message(
        participants,
        {
            "trial": ["T1", "T2", "T3"],
            "bmi": ["abc", 5, 30],
            "Shank3": [1, 2, 3],
            "hours": [24, 24, -1],
            "response": [1, 2, 0],
        },
    )
    lines = text.splitlines()
    assert lines[0] == "Table 'participants' has 5 problems:"
    assert lines[1] == "  - column 'Shank3' looks like 'shank3'; rename it."
    assert lines[2].startswith("  - row 1 (trial 'T1', hours 24): bmi is 'abc'; ")
    assert {line.split("; ")[0] for line in lines[3:]} == {
        "  - row 2 (trial 'T2', hours 24): response is 2",
        "  - row 2 (trial 'T2', hours 24): bmi is 5",
        "  - row 3 (trial 'T3', hours -1): hours is -1",
    }


def test_many_problems_are_counted_and_told_by_row():
    lines = message(participants, {"bmi": [200] * 30 + ["x"] * 5}).splitlines()
    assert lines[0] == "Table 'participants' has 35 problems:"
    assert [line.split(":")[0] for line in lines[1:21]] == [f"  - row {i}" for i in range(1, 21)]
    assert lines[21:] == ["  - and 15 more"]


def test_one_cell_gives_one_problem():
    assert len(message(arms, good_arms(responders=[-3, 5, 4])).splitlines()) == 1
    assert len(message(arms, good_arms(n=["", 27, 10])).splitlines()) == 1


def test_long_text_is_cut():
    text = message(participants, {"bmi": ["x" * 500]})
    assert f"bmi is '{'x' * 37}...'; expected" in text


def test_the_name_of_the_table_can_be_given():
    assert message(participants, {"bmi": [5]}, name="own.csv").startswith("Table 'own.csv', row 1")


@pytest.mark.parametrize("function", [participants, arms, validate_associations])
def test_an_empty_table(function):
    assert "the table has 0 rows and 1 columns; expected some." in message(function, {"n": []})
    assert "the table has 0 rows and 0 columns" in message(function, pd.DataFrame())


@pytest.mark.parametrize("table", [7, "participants.csv", None, [1, 2], np.array([1.0])])
def test_what_is_no_table(table):
    assert f"A {type(table).__name__} is not a table; expected a pandas" in message(
        participants, table
    )


def test_columns_of_different_length():
    assert message(participants, {"bmi": [1, 2], "age": [1]}).startswith("The mapping is not a ta")


@pytest.mark.parametrize(
    "column", [pl.Series([1.0]), pd.Series([1.0]), pa.chunked_array([[1.0]]), pa.array([1.0])]
)
def test_one_column_is_no_table(column):
    assert "is one column; expected a table" in message(participants, column)


def test_importing_the_contracts_imports_no_model_code():
    code = (
        "import sys, ketpredict.contracts;"
        "bad = {'pymc', 'pytensor', 'arviz', 'sklearn', 'numba', 'polars'} & set(sys.modules);"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
