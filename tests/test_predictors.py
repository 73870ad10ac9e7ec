"""Predictors: scales, reading the reference table, columns the package does not know."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from ketpredict import predictors
from ketpredict.errors import DataError
from ketpredict.predictors import Predictor, load_predictors

HEADER = (
    "predictor,label,unit,kind,transform,centre,scale,low,high,between_trial_sd,assay_dependent,"
    "aliases,source,derivation\n"
)
BMI = "bmi,Body mass index,kg/m2,continuous,identity,28,6,10,90,0.5,false,BMI;QI ,facts,why\n"
BDNF = "bdnf,BDNF,ng/mL,continuous,log,2.15,0.56,0.01,200,2.0,true,,facts,why\n"
FAMILY = "family_history_aud,Family history,0/1,binary,identity,0.365,1,0,1,,no,,facts,why\n"


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Return a function that loads predictors from the text of a CSV file."""

    def load(text):
        path = tmp_path / f"predictors-{abs(hash(text))}.csv"
        path.write_text(HEADER + text, encoding="utf-8")
        monkeypatch.setattr(predictors, "data_path", lambda name: path)
        return load_predictors()

    return load


def test_the_table_is_read(read):
    loaded = read(BMI + BDNF + FAMILY)
    assert list(loaded) == ["bmi", "bdnf", "family_history_aud"]
    assert loaded["bmi"] == Predictor(
        "bmi", "Body mass index", "kg/m2", "continuous", "identity", 28.0, 6.0, 10.0, 90.0, 0.5,
        False, ("BMI", "QI"), "facts",
    )  # fmt: skip
    assert loaded["bdnf"].assay_dependent
    assert loaded["family_history_aud"].between_trial_sd is None


def test_the_loaded_predictors_are_cached_and_cannot_be_changed(read):
    loaded = read(BMI)
    assert load_predictors() is loaded
    with pytest.raises(TypeError):
        loaded["x"] = loaded["bmi"]
    with pytest.raises(AttributeError):
        loaded["bmi"].centre = 0.0


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (BMI.replace(",28,", ",high,"), "row 1: Predictor 'bmi': centre is 'high'; expected a num"),
        (BMI.replace(",6,", ",0,"), "Predictor 'bmi': scale is 0.0; expected a positive number"),
        (BMI.replace("continuous", "count"), "kind is 'count'; expected continuous or binary"),
        (BMI.replace("identity", "sqrt"), "transform is 'sqrt'; expected identity or log"),
        (BMI.replace("10,90", "90,10"), "low is 90, high is 10; expected low < high"),
        (BDNF.replace("0.01", "0"), "low is 0; the log transform needs a positive one"),
        (BMI.replace("false", "perhaps"), "assay_dependent is 'perhaps'; expected true or false"),
        (BMI.replace("bmi,", ",", 1), "row 1: there is no name in column 'predictor'."),
        (BMI + BMI, "row 2: predictor 'bmi' stands there twice."),
        ("", "there is no predictor in it."),
    ],
)
def test_wrong_rows_are_told(read, row, words):
    with pytest.raises(DataError) as caught:
        read(row)
    assert words in str(caught.value)


def test_all_wrong_rows_in_one_message(read):
    with pytest.raises(DataError) as caught:
        read(BMI.replace(",6,", ",-6,") + BDNF.replace("0.56", "wide"))
    assert "row 1: Predictor 'bmi'" in str(caught.value)
    assert "row 2: Predictor 'bdnf'" in str(caught.value)


def test_the_packaged_table_loads():
    loaded = load_predictors()
    six = ("bmi", "family_history_aud", "suicide_attempt_history", "bdnf", "shank3")
    assert {*six, "delta_sleep_ratio"} <= set(loaded)
    assert loaded["family_history_aud"].kind == "binary"
    assert loaded["bdnf"].assay_dependent


def test_identity_scale(read):
    bmi = read(BMI)["bmi"]
    scaled = bmi.to_scale([[28, 34], [np.nan, 22]])
    np.testing.assert_allclose(scaled, [[0.0, 1.0], [np.nan, -1.0]])
    np.testing.assert_allclose(bmi.from_scale(scaled), [[28, 34], [np.nan, 22]])


def test_log_scale(read):
    bdnf = read(BDNF)["bdnf"]
    values = np.exp([2.15, 2.15 + 0.56])
    np.testing.assert_allclose(bdnf.to_scale(values), [0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(bdnf.from_scale([0.0, 1.0]), values)


def test_binary_scale_is_centred_only(read):
    family = read(FAMILY.replace("0.365,1,", "0.365,2,"))["family_history_aud"]
    np.testing.assert_allclose(family.to_scale([0, 1]), [-0.365, 0.635])
    np.testing.assert_allclose(family.from_scale([-0.365, 0.635]), [0, 1])


def test_scaling_does_not_change_its_input(read):
    values = np.array([20.0, 30.0])
    read(BMI)["bmi"].to_scale(values)
    assert values.tolist() == [20.0, 30.0]


def test_an_unknown_column_is_scaled_by_its_own_mean_and_sd():
    values = np.array([1.0, 2.0, np.nan, 6.0])
    column = Predictor.from_column("age", values)
    assert (column.name, column.kind, column.transform) == ("age", "continuous", "identity")
    assert column.centre == pytest.approx(3.0)
    assert column.scale == pytest.approx(np.nanstd(values))
    assert (column.low, column.high) == (-math.inf, math.inf)


def test_an_unknown_column_of_zeros_and_ones_is_binary():
    column = Predictor.from_column("married", [0, 1, 1, 1, np.nan])
    assert (column.kind, column.centre, column.scale) == ("binary", 0.75, 1.0)
    assert (column.low, column.high) == (0.0, 1.0)


def test_a_weight_of_two_counts_like_two_rows():
    weighted = Predictor.from_column("age", [1.0, 5.0, 9.0, np.nan], weights=[2, 1, 0, 1])
    repeated = Predictor.from_column("age", [1.0, 1.0, 5.0])
    assert weighted == repeated


def test_the_scale_does_not_depend_on_the_order_of_rows():
    values = np.random.default_rng(1).lognormal(0, 3, 1000)
    assert Predictor.from_column("x", values) == Predictor.from_column("x", values[::-1])


@pytest.mark.parametrize("values", [[5.0, 5.0], [np.nan, np.nan], []])
def test_a_column_that_does_not_vary_has_scale_one(values):
    column = Predictor.from_column("x", values)
    assert column.scale == 1.0
    assert np.isfinite(column.to_scale([5.0])).all()


def test_an_infinite_value_is_refused():
    with pytest.raises(DataError, match="Column 'x' holds infinite values; expected numbers"):
        Predictor.from_column("x", [1.0, np.inf])


def test_predictors_survive_json(read):
    for predictor in (*read(BMI + BDNF + FAMILY).values(), Predictor.from_column("x", [1, 2, 3])):
        text = json.dumps(predictor.to_dict(), allow_nan=False)
        assert Predictor.from_dict(json.loads(text)) == predictor


def test_a_stored_predictor_with_other_keys_is_refused(read):
    table = read(BMI)["bmi"].to_dict()
    table["mean"] = table.pop("centre")
    with pytest.raises(DataError, match=r"'bmi': unknown keys \['mean'\], missing keys \['centre'"):
        Predictor.from_dict(table)


def test_the_light_modules_import_no_pandas():
    code = (
        "import sys, ketpredict.predictors, ketpredict.errors, ketpredict.resources;"
        "import ketpredict.tables; ketpredict.predictors.load_predictors();"
        "bad = {'pandas', 'pandera', 'pyarrow', 'scipy'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
