"""The kernel's pieces compiled by two processes: who compiles what, and what if one fails."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ketpredict.compilation import shares
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
