"""Standard input and output: ``-`` as a table, encodings, full devices, closed pipes."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pandas as pd
import pytest
from typer.testing import CliRunner

from ketpredict import cli_streams
from ketpredict.cli import app
from tiny_fit import handmade_posterior

KETPREDICT = [sys.executable, "-m", "ketpredict"]


@pytest.fixture(scope="module")
def fit_file(tmp_path_factory):
    return str(handmade_posterior().save(tmp_path_factory.mktemp("fit") / "tiny.nc"))


@pytest.fixture(scope="module")
def patients():
    return pd.DataFrame({"participant": ["a", "b"], "bmi": [31.0, 24.0], "trial": ["T1", "T9"]})


@pytest.fixture
def run(monkeypatch):
    def invoke(*words, given=b""):
        return CliRunner().invoke(app, [str(word) for word in words], input=given)

    return invoke


def as_parquet(table):
    stream = io.BytesIO()
    table.to_parquet(stream)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_goes_from_standard_input_to_standard_output(
    run, fit_file, patients, tmp_path, kind
):
    path, target = tmp_path / f"patients.{kind}", tmp_path / "out.csv"
    content = patients.to_csv(index=False).encode() if kind == "csv" else as_parquet(patients)
    path.write_bytes(content)
    run("predict", path, "--fit", fit_file, "--output", target)
    found = run("predict", "-", "--fit", fit_file, "--output", "-", given=content)
    assert found.exit_code == 0, found.stderr
    assert found.stdout_bytes == target.read_bytes()
    printed = run("predict", "-", "--fit", fit_file, given=content)
    assert printed.exit_code == 0
    assert "not for treatment decisions" in printed.stdout


def test_other_commands_read_standard_input(run, fit_file, patients):
    content = patients.to_csv(index=False).encode()
    found = run("explain", "-", "--fit", fit_file, "--row", 2, "--json", given=content)
    assert found.exit_code == 0, found.stderr
    assert '"bmi"' in found.stdout
    for words in (["update", "-", "--output", "x.nc"], ["fit", "-", "--output", "x.nc"]):
        refused = run(*words, given=b"")
        assert refused.exit_code == 2
        assert "'standard input' is empty" in refused.stderr


def test_an_error_calls_it_standard_input_and_writes_nothing(run, fit_file):
    wrong = b"participant,bmi\na,30\nb\n"
    found = run("predict", "-", "--fit", fit_file, "--output", "-", given=wrong)
    assert found.exit_code == 2
    assert "'standard input', line 3" in found.stderr
    assert found.stderr.count("\n") == 1
    assert found.stdout == ""


def test_nothing_is_left_of_what_came_by_standard_input(
    run, fit_file, patients, tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    content = patients.to_csv(index=False).encode()
    assert run("predict", "-", "--fit", fit_file, "--output", "-", given=content).exit_code == 0
    assert run("predict", "-", "--fit", fit_file, "--output", "-", given=b"bmi\nx\n").exit_code == 2
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp932", "cp1252", "koi8-r"])
def test_signs_that_an_encoding_lacks_are_replaced_and_a_minus_stays_one(encoding, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    cli_streams.prepare_streams()
    sys.stdout.write("−0.25, 32–75 %, kg/m², †, ≤ 1, 試 ☃")
    cli_streams.flush_output()
    written = stream.buffer.getvalue().decode(encoding)
    written = written.replace("\N{FULLWIDTH HYPHEN-MINUS}", "−")  # what cp932 has for it
    assert written.replace("−", "-").startswith("-0.25, 32")
    assert "?0.25" not in written
    assert "32?75" not in written


def test_a_process_ends_in_one_line_where_its_output_cannot_be_written(fit_file, tmp_path):
    table = tmp_path / "patients.csv"
    rows = [f"{name},{20 + name % 150 / 10}" for name in range(20_000)]
    table.write_text("\n".join(["participant,bmi", *rows]))
    words = [*KETPREDICT, "predict", str(table), "--fit", fit_file, "--means", "--output", "-"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr
    # A reader that has seen enough, in a terminal that knows no minus sign.
    closed = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    with closed:
        assert closed.stdout.read(11) == b"participant"
        closed.stdout.close()
        assert closed.stderr.read() == b""
    assert closed.returncode == cli_streams.CLOSED_PIPE


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["fit", "--output", "x.nc", "--seed", "-1"], "--seed"),
        (["demo", "--seed", "99999999999"], "--seed"),
        (["update", "x.csv", "--output", "x.nc", "--seed", "-1"], "--seed"),
        (["fit", "--output", "x.nc", "--draws", "0"], "--draws"),
        (["fit", "--output", "x.nc", "--tune", "-1"], "--tune"),
        (["demo", "--chains", "0"], "--chains"),
        (["report", "published", "--output", "x" * 400 + ".html"], "File name too long"),
        (["effects", "--output", "x" * 400], "File name too long"),
        (["predict", "x" * 400 + ".csv"], "There is no file"),
        (["predict", "no\x1b[31m.csv"], "no\\x1b[31m.csv"),
    ],
)
def test_odd_arguments_are_told_in_one_line(run, words, told):
    found = run(*words)
    assert found.exit_code == 2
    assert told in found.stderr
    assert found.stderr.count("\n") == 1
    assert found.stderr.startswith("ketpredict: error: ")
