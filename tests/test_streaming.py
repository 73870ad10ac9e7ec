"""Prediction from file to file: the numbers of the same rows in memory, or no file at all."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ketpredict as kp
from ketpredict.patient_columns import read_patients
from ketpredict.rows import encode_rows
from ketpredict.streaming import predict_file
from ketpredict.summary import prediction_table
from tiny_fit import handmade_posterior

COUNT = 23


@pytest.fixture(scope="module")
def posterior():
    return handmade_posterior()


@pytest.fixture
def patients():
    """Return patients in known and new trials, a third of the cells missing, and other columns."""
    rng = np.random.default_rng(5)
    bmi = rng.uniform(19.0, 39.0, COUNT)
    bmi[rng.uniform(size=COUNT) < 1 / 3] = np.nan
    history = rng.integers(0, 2, COUNT).astype(float)
    history[rng.uniform(size=COUNT) < 1 / 3] = np.nan
    return pd.DataFrame(
        {
            "participant": [f"P{i:03}" for i in range(COUNT)],
            "trial": rng.choice(np.array(["T1", "T2", None], dtype=object), COUNT),
            "population": "unipolar",
            "bmi": bmi,
            "family_history_aud": history,
            "visit": pd.array([None, *range(1, COUNT)], dtype="Int64"),
        }
    )


def in_memory(posterior, table, **more):
    references = {p.name: p for p in posterior.predictors}
    read = read_patients(table, references)
    return prediction_table(posterior, encode_rows(posterior, read.columns, read.n_rows), **more)


def score(posterior, source, target, **more):
    with pytest.warns(kp.EvidenceWarning, match=r"Columns left alone: visit"):
        return predict_file(posterior, source, target, **more)


@pytest.mark.parametrize("rows_at_once", [1, 7, COUNT, 1000])
@pytest.mark.parametrize("intervals", [True, False])
def test_the_numbers_are_those_in_memory(posterior, patients, tmp_path, rows_at_once, intervals):
    source, target = tmp_path / "patients.parquet", tmp_path / "out.parquet"
    patients.to_parquet(source, row_group_size=5)
    more = {"prob": 0.8, "intervals": intervals}
    done = score(posterior, source, target, rows_at_once=rows_at_once, **more)
    found = pd.read_parquet(target)
    expected = in_memory(posterior, patients, **more)
    assert done.n_rows == len(found) == COUNT
    assert list(found) == [*patients, *expected]
    for name in expected:
        assert np.array_equal(found[name].to_numpy(), expected[name].to_numpy()), name
    assert found["participant"].tolist() == patients["participant"].tolist()
    assert found["visit"].isna().tolist() == [True] + [False] * (COUNT - 1)


def test_the_number_of_threads_changes_nothing(posterior, patients):
    tables = [in_memory(posterior, patients, cores=cores) for cores in (1, 2, 3)]
    pd.testing.assert_frame_equal(tables[1], tables[0], check_exact=True)
    pd.testing.assert_frame_equal(tables[2], tables[0], check_exact=True)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_csv_goes_the_same_way(posterior, patients, tmp_path, suffix):
    source, target = tmp_path / "patients.csv", tmp_path / f"out.{suffix}"
    patients.to_csv(source, index=False)
    score(posterior, source, target, rows_at_once=6)
    found = pd.read_csv(target) if suffix == "csv" else pd.read_parquet(target)
    expected = in_memory(posterior, patients)
    assert found["trial_lower"].to_numpy() == pytest.approx(expected["trial_lower"], rel=1e-15)
    assert found["setting"].tolist() == expected["setting"].tolist()


def test_whole_numbers_stay_whole_in_every_batch_of_a_csv(posterior, patients, tmp_path):
    source, target = tmp_path / "patients.parquet", tmp_path / "out.csv"
    patients.to_parquet(source)
    score(posterior, source, target, rows_at_once=4)
    visits = pd.read_csv(target, dtype=str)["visit"]
    assert visits.isna()[0]
    assert visits[1:].tolist() == [str(i) for i in range(1, COUNT)]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("bmi", 5.0, rf"row {COUNT} \(participant 'P022'.*bmi is '?5(\.0)?'?; expected"),
        ("trial", "t-1", rf"Row {COUNT}: 't-1' looks like 'T1'"),
        ("family_history_aud", 0.5, rf"row {COUNT}.*0\.5'?; expected"),
    ],
)
def test_a_bad_cell_in_the_last_batch_leaves_no_file(
    posterior, patients, tmp_path, suffix, column, cell, message
):
    patients.loc[COUNT - 1, column] = cell
    source, target = tmp_path / f"patients.{suffix}", tmp_path / f"out.{suffix}"
    if suffix == "csv":
        patients.to_csv(source, index=False)
    else:
        patients.to_parquet(source)
    with pytest.raises(kp.DataError, match=message):
        predict_file(posterior, source, target, rows_at_once=5)
    assert [path.name for path in tmp_path.iterdir()] == [source.name]
    target.write_text("as it was")
    with pytest.raises(kp.DataError, match=message):
        predict_file(posterior, source, target, rows_at_once=5)
    assert target.read_text() == "as it was"


def test_a_damaged_line_far_down_is_told(posterior, patients, tmp_path):
    source, target = tmp_path / "patients.csv", tmp_path / "out.csv"
    patients.to_csv(source, index=False)
    with source.open("a") as file:
        file.write("P999,T1\n")
    with pytest.raises(kp.DataError, match=rf"line {COUNT + 2}: 2 cells"):
        predict_file(posterior, source, target, rows_at_once=5)
    assert not target.exists()


def test_progress_is_told_from_the_first_row_to_the_last(posterior, patients, tmp_path):
    source = tmp_path / "patients.parquet"
    patients.to_parquet(source)
    told = []
    score(
        posterior,
        source,
        tmp_path / "out.parquet",
        rows_at_once=10,
        progress=lambda *rows: told.append(rows),
    )
    assert told == [(0, COUNT), (10, COUNT), (20, COUNT), (COUNT, COUNT)]


def test_extrapolations_are_announced_once(posterior, patients, tmp_path):
    source, target = tmp_path / "patients.parquet", tmp_path / "out.parquet"
    patients["bmi"] = 45.0
    patients.drop(columns="visit").to_parquet(source)
    with pytest.warns(kp.ExtrapolationWarning, match="^Rows are extrapolations: bmi") as caught:
        done = predict_file(posterior, source, target, rows_at_once=5)
    assert len(caught) == 1
    assert caught[0].message.n_concerned == caught[0].message.n_rows == COUNT
    assert done.n_extrapolated == COUNT


def test_columns_that_all_mean_nothing_are_refused_at_the_end_only(posterior, tmp_path):
    """A batch may know nothing of its patients; a whole table may not."""
    source, target = tmp_path / "patients.parquet", tmp_path / "out.parquet"
    table = pd.DataFrame({"visit": [1, 2, 3], "bmi": [np.nan, np.nan, 30.0]})
    table.to_parquet(source)
    score(posterior, source, target, rows_at_once=2)
    table.drop(columns="bmi").to_parquet(source)
    target.unlink()
    with pytest.raises(kp.DataError, match="None of the columns"):
        predict_file(posterior, source, target, rows_at_once=2)
    assert not target.exists()


def test_a_column_called_like_a_prediction_is_refused(posterior, patients, tmp_path):
    source, target = tmp_path / "patients.parquet", tmp_path / "out.parquet"
    patients.assign(probability=0.5).to_parquet(source)
    with pytest.raises(kp.DataError, match="has columns probability, which predictions"):
        predict_file(posterior, source, target)
    assert not target.exists()


def test_a_pandas_index_is_no_column(posterior, patients, tmp_path):
    source, target = tmp_path / "patients.parquet", tmp_path / "out.parquet"
    patients.index = pd.Index([f"row {i}" for i in range(COUNT)])
    patients.to_parquet(source)
    score(posterior, source, target)
    assert "__index_level_0__" not in pq.read_schema(target).names


def test_a_file_of_another_program_is_read(posterior, tmp_path):
    """Categories, small numbers and yes/no of Arrow, in row groups of two."""
    source, target = tmp_path / "patients.parquet", tmp_path / "out.parquet"
    table = pa.table(
        {
            "trial": pa.array(["T1", "T2", None, "T1", "T1"]).dictionary_encode(),
            "bmi": pa.array([30.0, None, 25.0, 28.0, None], pa.float32()),
            "family_history_aud": pa.array([True, None, False, None, True]),
        }
    )
    pq.write_table(table, source, row_group_size=2)
    predict_file(posterior, source, target, rows_at_once=3)
    plain = pd.DataFrame(
        {
            "trial": ["T1", "T2", None, "T1", "T1"],
            "bmi": [30.0, np.nan, 25.0, 28.0, np.nan],
            "family_history_aud": [1.0, np.nan, 0.0, np.nan, 1.0],
        }
    )
    found = pq.read_table(target)
    assert found.schema.field("family_history_aud").type == pa.bool_()
    expected = in_memory(posterior, plain)["probability"]
    assert np.array_equal(found["probability"].to_numpy(), expected.to_numpy())


def test_a_batch_has_at_least_one_row(posterior, patients, tmp_path):
    source = tmp_path / "patients.parquet"
    patients.to_parquet(source)
    with pytest.raises(kp.DataError, match="rows_at_once is 0; expected"):
        predict_file(posterior, source, tmp_path / "out.parquet", rows_at_once=0)
