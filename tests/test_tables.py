"""Reading and writing table files."""

from __future__ import annotations

import os
import stat

import numpy as np
import pandas as pd
import pytest

from ketpredict.errors import DataError
from ketpredict.tables import as_table, read_table, write_table
from ketpredict.writing import write_atomically


def csv_file(tmp_path, text, name="table.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def problem(function, *arguments):
    with pytest.raises(DataError) as caught:
        function(*arguments)
    return str(caught.value)


def test_csv_cells_stay_text_and_blanks_are_missing(tmp_path):
    text = "trial,BMI ,fh\n001,30.50,yes\nNA,,n/a\n.,NaN,False\nnone,null,None\n"
    table = read_table(csv_file(tmp_path, text))
    assert list(table.columns) == ["trial", "BMI ", "fh"]
    assert table.astype(object).where(table.notna(), None).to_numpy().tolist() == [
        ["001", "30.50", "yes"],
        [None, None, None],
        [None, None, "False"],
        ["none", None, "None"],
    ]


def test_csv_with_byte_order_mark_windows_lines_quotes_and_blank_lines(tmp_path):
    text = '\ufefftrial,"a ""b""\nc"\r\n"x, y",1\r\n\r\nz,2\r\n'
    table = read_table(csv_file(tmp_path, text))
    assert list(table.columns) == ["trial", 'a "b"\nc']
    assert list(table["trial"]) == ["x, y", "z"]


def test_duplicate_names_stay_for_the_contracts_to_refuse(tmp_path):
    assert list(read_table(csv_file(tmp_path, "bmi,bmi\n1,2\n")).columns) == ["bmi", "bmi"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty; expected column names and at least one row."),
        ("a,b\n", "has column names but no rows."),
        ("\n1,2\n", "has no column names in its first line."),
        ("a,b\n1,2\n3\n", "line 3: 1 cell, but the first line names 2 columns. Look for a missing"),
        ("a,b\n1,2,3\n", "line 2: 3 cells, but the first line names 2 columns."),
        ("a\n1,2\n", "line 2: 2 cells, but the first line names 1 column."),
        ("a;b\n1;2\n", "is separated by semicolons; save it separated by commas."),
        ("a\tb\n1\t2\n", "is separated by tabs; save it separated by commas."),
        ('a,b\n"1,2\n', "is not a readable CSV file: unexpected end of data."),
    ],
)
def test_damaged_csv_files(tmp_path, text, words):
    path = csv_file(tmp_path, text)
    found = problem(read_table, path)
    assert found.startswith(f"'{path}'")
    assert words in found


def test_a_csv_file_in_another_encoding(tmp_path):
    path = csv_file(tmp_path, "a,b\nJosé,1\n", encoding="latin-1")
    assert problem(read_table, path) == f"'{path}' is not UTF-8 text; save it as CSV UTF-8."


def test_a_binary_file_called_csv(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"PK\x03\x04\x00\x00\x00\xff\xfe")
    assert str(path) in problem(read_table, path)


def test_missing_files(tmp_path):
    csv_file(tmp_path, "a\n1\n", name="patients.csv")
    path = tmp_path / "patient.csv"
    assert problem(read_table, path) == f"There is no file '{path}'. Did you mean 'patients.csv'?"
    folder = tmp_path / "nowhere"
    assert problem(read_table, folder / "a.csv") == f"There is no folder '{folder}'."
    inside = tmp_path / "folder.csv"
    inside.mkdir()
    assert "is a folder; expected a .csv or .parquet" in problem(read_table, inside)


@pytest.mark.parametrize(
    ("name", "found"), [("table.xlsx", "ends in '.xlsx'"), ("table", "has no suffix")]
)
def test_unknown_suffixes(tmp_path, name, found):
    expected = f"'{tmp_path / name}' {found}; expected a file that ends in .csv or .parquet."
    assert problem(read_table, tmp_path / name) == expected
    assert problem(write_table, pd.DataFrame({"a": [1]}), tmp_path / name) == expected


@pytest.mark.parametrize("content", [b"no parquet at all, but long enough", b"PAR1", b"PAR1xxPAR1"])
def test_damaged_parquet_files(tmp_path, content):
    path = tmp_path / "table.parquet"
    path.write_bytes(content)
    text = problem(read_table, path)
    assert str(path) in text
    assert "read" in text


def test_a_truncated_parquet_file(tmp_path):
    path = write_table(pd.DataFrame({"a": np.arange(1000.0)}), tmp_path / "table.parquet")
    path.write_bytes(path.read_bytes()[:-200])
    assert str(path) in problem(read_table, path)


@pytest.mark.parametrize("name", ["table.csv", "table.parquet", "TABLE.CSV"])
def test_a_table_survives_a_file(tmp_path, name):
    frame = pd.DataFrame({"trial": ["a", None, "c, d"], "bmi": [30.125, np.nan, 1 / 3]})
    path = write_table(frame, tmp_path / name)
    assert path == tmp_path / name
    back = read_table(path)
    assert list(back.columns) == ["trial", "bmi"]
    np.testing.assert_array_equal(back["bmi"].astype(float), frame["bmi"])
    assert back["trial"].isna().tolist() == [False, True, False]
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_parquet_file_without_rows(tmp_path):
    path = write_table(pd.DataFrame({"a": pd.Series(dtype=float)}), tmp_path / "a.parquet")
    assert problem(read_table, path) == f"'{path}' has column names but no rows."


def test_columns_that_parquet_cannot_hold(tmp_path):
    path = tmp_path / "a.parquet"
    text = problem(write_table, pd.DataFrame({"a": [1, "x", object()]}), path)
    assert text.startswith(f"'{path}' cannot be written as Parquet: ")
    assert not list(tmp_path.iterdir())


def test_writing_to_no_folder(tmp_path):
    path = tmp_path / "nowhere" / "a.csv"
    text = problem(write_table, pd.DataFrame({"a": [1]}), path)
    assert text == f"'{path}' cannot be written: there is no folder '{path.parent}'."
    (tmp_path / "b.csv").mkdir()
    assert "it is a folder" in problem(write_table, pd.DataFrame({"a": [1]}), tmp_path / "b.csv")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = csv_file(tmp_path, "old")

    def fail():
        with write_atomically(path) as temporary:
            assert temporary.parent == path.parent
            assert temporary.suffix == ".csv"
            temporary.write_text("half", encoding="utf-8")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fail()
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_wrote_nothing_is_told(tmp_path):
    path = csv_file(tmp_path, "old")

    def write_nothing():
        with write_atomically(path):
            pass

    assert f"'{path}' cannot be written" in problem(write_nothing)
    assert path.read_text(encoding="utf-8") == "old"


def test_permissions_and_links_survive_a_new_version(tmp_path):
    path = csv_file(tmp_path, "old")
    path.chmod(0o640)
    link = tmp_path / "link.csv"
    link.symlink_to(path)
    write_table(pd.DataFrame({"a": [1]}), link)
    assert link.is_symlink()
    assert path.read_text(encoding="utf-8") == "a\n1\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_new_file_has_ordinary_permissions(tmp_path):
    path = write_table(pd.DataFrame({"a": [1]}), tmp_path / "a.csv")
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode
    assert os.access(path, os.R_OK)


def test_as_table_numbers_rows_and_names_columns_as_text():
    frame = pd.DataFrame({1: [1, 2], "b": [3, 4]}, index=[7, 7])
    table = as_table(frame)
    assert list(table.columns) == ["1", "b"]
    assert list(table.index) == [0, 1]
    table.loc[0, "b"] = 99
    assert frame["b"].tolist() == [3, 4]


def test_as_table_copies_an_array():
    array = np.zeros((2, 2))
    table = as_table(array)
    table.loc[0, "x0"] = 1.0
    assert not array.any()
