"""Files written whole or not at all: full disks, killed writers, names, sources that change."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest

import ketpredict as kp
from ketpredict import report as report_module
from ketpredict.errors import DataError, KetpredictError, SavedFitError
from ketpredict.plots import save_figure
from ketpredict.posterior import load_posterior
from ketpredict.report import write_report
from ketpredict.tables import read_table, write_table
from ketpredict.writing import write_atomically, write_whole
from tiny_fit import handmade_posterior

resource = pytest.importorskip("resource") if os.name == "posix" else None
ROWS = 3000
ROOM = 2048
"""Bytes that a file may have on the disk that is full."""


@pytest.fixture(scope="module")
def tiny():
    return handmade_posterior()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "patients.csv"
    bmi = np.linspace(20.0, 38.0, ROWS).round(2)
    pd.DataFrame({"participant": [f"p{i}" for i in range(ROWS)], "bmi": bmi}).to_csv(
        path, index=False
    )
    return path


@contextlib.contextmanager
def little_room():
    """Let no file grow beyond a few bytes: the system refuses, as a full disk does."""
    before, kept = resource.getrlimit(resource.RLIMIT_FSIZE), sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # else what is first imported here is left cut off on the disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        sys.dont_write_bytecode = kept


def picture():
    figure = matplotlib.figure.Figure()
    figure.add_subplot().plot(np.arange(9.0))
    return figure


WRITERS = {
    "fit.nc": lambda path, tiny, source: tiny.save(path),
    "table.csv": lambda path, tiny, source: write_table(pd.read_csv(source), path),
    "table.parquet": lambda path, tiny, source: write_table(pd.read_csv(source), path),
    "picture.png": lambda path, tiny, source: save_figure(picture(), path),
    "report.html": lambda path, tiny, source: write_report(with_data(tiny), path),
    "predictions.csv": lambda path, tiny, source: kp.predict_file(tiny, source, path),
    "predictions.parquet": lambda path, tiny, source: kp.predict_file(
        tiny, source, path, rows_at_once=700
    ),
}


def with_data(posterior):
    held = {**posterior.groups["constant_data"], "people_value": np.zeros((1, 2))}
    return dataclasses.replace(posterior, groups={**posterior.groups, "constant_data": held})


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("how", ["no room", "no space"])
def test_a_full_disk_is_one_clear_line_and_leaves_all_as_it_was(
    tiny, source, tmp_path, monkeypatch, name, how
):
    monkeypatch.setattr(report_module, "report_page", lambda *_: "x" * 9000)
    path = tmp_path / name
    path.write_text("old")

    def full(_handle):
        raise OSError(errno.ENOSPC, "anything")

    if how == "no space":
        monkeypatch.setattr(os, "fsync", full)
    limit = little_room() if how == "no room" else contextlib.nullcontext()
    with limit, pytest.raises(DataError) as caught:
        WRITERS[name](path, tiny, source)
    reason = os.strerror(errno.EFBIG if how == "no room" else errno.ENOSPC)
    assert str(caught.value) == f"'{path}' cannot be written: {reason}."
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_written_is_whole(tiny, source, tmp_path, monkeypatch, name):
    monkeypatch.setattr(report_module, "report_page", lambda *_: "x" * 9000)
    path = tmp_path / name
    path.write_text("old")
    path.chmod(0o640)
    WRITERS[name](path, tiny, source)
    assert path.stat().st_size > ROOM
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_fit_that_could_not_be_loaded_replaces_nothing(tiny, tmp_path, wrong):
    path = tiny.save(tmp_path / "fit.nc")
    good = path.read_bytes()
    bad = handmade_posterior()
    bad.groups["posterior"]["intercept"][1, 3] = wrong
    with pytest.raises(SavedFitError, match="intercept") as caught:
        bad.save(path)
    assert f"'{path}' was not written" in str(caught.value)
    assert path.read_bytes() == good
    assert load_posterior(path).n_draws == tiny.n_draws
    assert os.listdir(tmp_path) == ["fit.nc"]


LEFT = """
import os, sys
from ketpredict.writing import write_atomically

with write_atomically(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def writer(tmp_path):
    """Yield a process that is in the middle of writing a file, and the file."""
    path = tmp_path / "fit.nc"
    path.write_text("old")
    process = subprocess.Popen(
        [sys.executable, "-c", LEFT, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "writing\n"
    yield process, path
    process.kill()
    process.communicate()


def test_what_a_killed_writer_left_is_removed_by_the_next(writer):
    process, path = writer
    other = path.with_name("other.nc")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(os.listdir(path.parent)) == 2
    write_whole(other, b"beside")
    assert len(os.listdir(path.parent)) == 3  # it was not of this one
    write_whole(path, b"new")
    assert sorted(os.listdir(path.parent)) == ["fit.nc", "other.nc"]
    assert path.read_bytes() == b"new"


def test_what_another_writer_still_writes_stays(writer):
    process, path = writer
    write_whole(path, b"new")
    assert len(os.listdir(path.parent)) == 2
    process.communicate("")
    assert process.returncode == 0
    assert path.read_text() == "half"  # the last to end has the name
    assert os.listdir(path.parent) == ["fit.nc"]


def test_files_of_others_are_left_alone(tmp_path):
    path = tmp_path / "fit.nc"
    for name in (".fit.nc.swp", ".ketpredict-0123456789abcdef-0.nc", ".ketpredict-notes"):
        (tmp_path / name).write_text("mine")
    write_whole(path, b"new")
    assert len(os.listdir(tmp_path)) == 4


OFTEN = """
import sys
from ketpredict.writing import write_whole

for _ in range(60):
    write_whole(sys.argv[1], sys.argv[2].encode() * 9999)
"""


def test_many_writers_of_one_file_do_not_sweep_one_another(tmp_path):
    path = tmp_path / "fit.nc"
    command = [sys.executable, "-c", OFTEN, str(path)]
    writers = [subprocess.Popen([*command, letter]) for letter in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert path.read_bytes() in (b"a" * 9999, b"b" * 9999)
    assert os.listdir(tmp_path) == ["fit.nc"]


def test_names_as_long_as_the_system_allows(tmp_path):
    longest = os.pathconf(tmp_path, "PC_NAME_MAX")
    path = tmp_path / ("x" * (longest - 3) + ".nc")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    with pytest.raises(DataError, match="cannot be written: File name too long"):
        write_whole(tmp_path / ("x" * longest + ".nc"), b"new")


@pytest.mark.parametrize("name", ["a\0b.csv", "x" * 5000 + ".csv", "x" * 300 + ".csv"])
def test_a_name_that_no_file_can_have_is_our_error_on_every_road(tiny, source, tmp_path, name):
    path = str(tmp_path / name)
    roads = [
        lambda: read_table(path),
        lambda: write_table(pd.DataFrame({"a": [1]}), path),
        lambda: kp.predict_file(tiny, path, tmp_path / "out.csv"),
        lambda: kp.predict_file(tiny, source, path),
        lambda: tiny.save(path),
        lambda: kp.load(path),
        lambda: kp.response_probability({"bmi": [30.0]}, path),
        lambda: kp.load_spec(path),
        lambda: kp.load_spec(path + ".toml"),
        lambda: write_report(tiny, path),
    ]
    for road in roads:
        with pytest.raises(KetpredictError):
            road()
    assert os.listdir(tmp_path) == []


def test_a_model_file_that_is_not_utf_8_is_told(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes('name = "café"\n'.encode("latin-1"))
    with pytest.raises(kp.SpecificationError, match="not UTF-8"):
        kp.load_spec(path)


def test_a_device_is_no_target(tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    with pytest.raises(DataError, match="no regular file"):
        write_whole(pipe, b"new")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def cut_at_half(path):
    os.truncate(path, path.stat().st_size // 2 + 3)


def append(path):
    with path.open("ab") as file:
        file.write(b"p,30\n")


def replace(path):
    new = path.with_name("new")
    new.write_bytes(path.read_bytes())
    os.replace(new, path)


@pytest.mark.parametrize("change", [cut_at_half, append, replace, Path.unlink])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("last", [False, True])
def test_a_source_that_changes_while_it_is_read_gives_no_target(
    tiny, source, tmp_path, change, suffix, last
):
    if change is append and suffix == ".parquet":
        change = cut_at_half
    path, target = tmp_path / f"patients{suffix}", tmp_path / "out.csv"
    write_table(pd.read_csv(source), path)
    target.write_text("old")
    at = ROWS if last else 1000

    def progress(done, _total):
        if done == at:
            change(path)

    with pytest.raises(DataError, match=r"changed while it was read|cannot be read") as caught:
        kp.predict_file(tiny, path, target, rows_at_once=1000, progress=progress)
    assert str(path) in str(caught.value)
    assert target.read_text() == "old"
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_an_error_of_the_block_is_not_lost(tmp_path):
    path = tmp_path / "table.csv"

    def write():
        with write_atomically(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert os.listdir(tmp_path) == []
