"""The kernel's pieces compiled by two processes and kept on disk: who does what, what may fail."""

import ast
import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.registry import cpu_target

from ketpredict import compilation, pieces
from ketpredict.compilation import compile_missing, shares
from ketpredict.kept_code import KeptCode
from ketpredict.kernel_numbers import PIECES

SOURCES = str(Path(__file__).resolve().parents[1] / "src")
SCRIPT = """
import json, sys
from ketpredict import compilation, pieces

own, others = ["copy_draw"], ["whole_density"]
compilation.shares = lambda missing: (own, others) if len(missing) == 2 else ([], [])
assert not any(map(pieces.kept, own + others))
if sys.argv[1] != "as it is":
    sys.executable = sys.argv[1]
compilation.compile_missing(own + others)
print(json.dumps({
    "by_child": pieces.kept("whole_density"),
    "works": [pieces.compiled(name).address > 0 for name in own + others],
    "loaded": [pieces.compiled(name).cache_hits for name in own + others],
    "modules": sorted({name.split(".")[0] for name in sys.modules}),
}))
"""


def run_fresh(cache: Path, executable: str) -> dict:
    """Compile two functions in a fresh process with a cache of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, executable],
        env=os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": SOURCES},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_the_child_compiles_into_the_cache_of_this_process(tmp_path):
    result = run_fresh(tmp_path, "as it is")
    assert result["by_child"] == (os.cpu_count() > 1)
    assert result["works"] == [True, True]
    assert result["loaded"] == [0, int(result["by_child"])]
    assert {"pymc", "pandas", "xarray", "nutpie"}.isdisjoint(result["modules"])


@pytest.mark.parametrize("executable", ["/nowhere/python", "/bin/false"])
def test_without_a_child_this_process_compiles_all(tmp_path, executable):
    result = run_fresh(tmp_path, executable)
    assert result["works"] == [True, True]
    assert result["loaded"] == [0, 0]


def test_shares_are_complete_and_about_equal():
    own, others = shares([*PIECES, "whole_density", "copy_draw"])
    assert sorted(own + others) == sorted([*PIECES, "whole_density", "copy_draw"])
    assert len(own) >= 4
    assert len(others) >= 4


def test_little_is_not_shared():
    assert shares([]) == ([], [])
    assert shares(["closed", "copy_draw"]) == (["closed", "copy_draw"], [])


PACKAGE = Path(pieces.__file__).parent
NAME = "copy_draw"  # compiled in a tenth of a second


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Return the file of one compiled function, in a folder of its own."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    return (
        pieces._cache_of(NAME)
        .kept(pieces._signature(NAME), cpu_target.target_context.codegen())
        .path
    )


def compile_again():
    """Compile, or load, as a new process would."""
    return pieces.compiled.__wrapped__(NAME)


def works(code):
    """Return whether compiled code does what it should: it copies a point."""
    point, out = np.array([1.5, -2.0]), np.zeros(2)
    places = [a.ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for a in (point, out, out)]
    return code.ctypes(2, 2, *places) == 0 and np.array_equal(point, out)


def flipped(content, place):
    garbled = bytearray(content)
    garbled[place] ^= 1
    return bytes(garbled)


DAMAGE = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "cut within the checksum": lambda content: content[:20],
    "one bit in the code": lambda content: flipped(content, len(content) // 2),
    "one bit in the checksum": lambda content: flipped(content, 3),
    "longer": lambda content: content + b"\0",
    "text": lambda content: b"<html>no space left</html>",
    "zeros": lambda content: bytes(len(content)),
    "made of something else": lambda content: (
        KeptCode(Path(), "else")._digest(content[32:]) + content[32:]
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_of_the_cache_is_compiled_anew_and_replaced(cache, damage):
    assert not pieces.kept(NAME)
    assert works(compile_again())
    assert pieces.kept(NAME)
    assert compile_again().cache_hits == 1
    sound = cache.read_bytes()
    cache.write_bytes(DAMAGE[damage](sound))
    assert not pieces.kept(NAME)
    anew = compile_again()
    assert (anew.cache_hits, works(anew)) == (0, True)
    assert pieces.kept(NAME)
    assert works(compile_again())
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]


def test_code_that_the_linker_refuses_is_compiled_anew(cache):
    compile_again()
    codegen = cpu_target.target_context.codegen()
    entry = pieces._cache_of(NAME).kept(pieces._signature(NAME), codegen)
    for content in (b"no pickle", b"\x80\x04N."):  # the second is a None where code should be
        entry.save(content)
        anew = compile_again()
        assert (anew.cache_hits, works(anew)) == (0, True)
        assert compile_again().cache_hits == 1


def test_the_child_replaces_a_damaged_file(cache, monkeypatch):
    cache.write_bytes(b"damaged")
    monkeypatch.setattr(compilation, "shares", lambda missing: ([], list(missing)))
    monkeypatch.setattr(compilation, "_may_start", lambda: True)
    compile_missing([NAME])
    assert pieces.kept(NAME)
    assert compile_again().cache_hits == 1


def test_another_processor_has_a_file_of_its_own(cache, monkeypatch):
    compile_again()
    codegen = cpu_target.target_context.codegen()
    monkeypatch.setattr(type(codegen), "magic_tuple", lambda self: ("x86_64", "older", "-avx512f"))
    assert not pieces.kept(NAME)
    assert works(compile_again())
    monkeypatch.undo()
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(cache.parents[1]))
    assert len(list(cache.parent.iterdir())) == 2
    assert compile_again().cache_hits == 1


def test_another_numba_does_not_take_the_code(cache, monkeypatch):
    compile_again()
    monkeypatch.setattr(numba, "__version__", "0.0.1")
    assert not pieces.kept(NAME)


def no_write(*_, **__):
    raise OSError(28, "No space left on device")


def test_a_full_disk_or_a_folder_that_takes_nothing_stops_no_fit(cache, monkeypatch):
    monkeypatch.setattr(os, "replace", no_write)
    assert works(compile_again())
    assert list(cache.parent.iterdir()) == []
    monkeypatch.undo()
    cache.mkdir(parents=True)  # what cannot be read as a file, nor replaced by one
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(cache.parents[1]))
    assert works(compile_again())
    assert not pieces.kept(NAME)


def test_without_any_folder_all_is_compiled_here(monkeypatch):
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])
    assert pieces._cache_of(NAME) is None
    assert pieces.kept(NAME)
    assert works(compile_again())


def imported(path):
    """Return the modules of the package that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        parts = [name.split(".") for name in names]
        found |= {part[1] for part in parts if part[0] == "ketpredict" and len(part) > 1}
    return found


def test_the_stamp_covers_every_module_that_compiled_code_comes_from():
    """Machine code of older sources would be run otherwise."""
    reached, waiting = set(), {"pieces"}
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting |= imported(PACKAGE / f"{name}.py") - reached
    stamped = {path.stem for path in pieces.sources()}
    assert reached <= stamped
    # And nothing but that, so that no other change costs a compilation.
    assert stamped <= reached


def test_a_change_of_any_source_changes_the_stamp(tmp_path):
    files = [Path(shutil.copy(path, tmp_path)) for path in pieces.sources()]
    before = pieces.stamp_of(files)
    assert before == pieces.stamp_of(pieces.sources()) == pieces._stamp()
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content + b"#")
        assert pieces.stamp_of(files) != before
        file.write_bytes(content)
    assert pieces.stamp_of(files) == before
    # What moves from one file to the next is a change, too.
    first, second = (file.read_bytes() for file in files[:2])
    files[0].write_bytes(first + second[:1])
    files[1].write_bytes(second[1:])
    assert pieces.stamp_of(files) != before


def test_code_of_another_stamp_is_no_entry(cache, monkeypatch):
    compile_again()
    monkeypatch.setattr(pieces, "_stamp", lambda: 1)
    assert not pieces.kept(NAME)
    assert compile_again().cache_hits == 0
    monkeypatch.undo()
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(cache.parents[1]))
    assert not pieces.kept(NAME)
