"""Compiles the pieces of the kernel that are not kept on disk yet, in two processes at once.

Numba compiles under one lock in one process, so that threads gain nothing. A child process compiles
about half into numba's cache on disk, from where this process loads it. The child is a help only:
without it, and whatever becomes of it, this process compiles what is missing.

``python -m ketpredict.compilation PIECE ...`` is that child.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import numba

from ketpredict import leaving
from ketpredict.pieces import compiled, kept

# Seconds on the machine that the first version was measured on; only their proportions matter, and
# a wrong one costs nothing but balance.
_SECONDS = {
    "law_forward": 6.3,
    "arms": 5.8,
    "priors_forward": 5.4,
    "law_back": 4.6,
    "effects": 6.0,
    "priors_back": 3.4,
    "persons": 3.0,
    "open": 2.6,
    "groups": 2.1,
    "closed": 1.0,
    "whole_density": 0.7,
    "copy_draw": 0.1,
}
_CHILD_START = 1.5
_LEAST_TO_SHARE = 2.5
_MOST_TO_WAIT = 300.0


def compile_missing(names: Iterable[str]) -> None:
    """Compile functions of the kernel that the disk cache lacks, with a child where that pays."""
    missing = [name for name in names if not kept(name)]
    own, others = shares(missing)
    child = _start(others) if others and _may_start() else None
    if child is None:
        return  # each function is compiled when it is first asked for
    # Also when the user interrupts: no child is left behind.
    with leaving.child(child), contextlib.suppress(subprocess.TimeoutExpired):
        for name in own:
            compiled(name)
        child.wait(_MOST_TO_WAIT)


def shares(missing: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return what this process compiles and what the child does, the dearest first.

    Each next one goes to the one who would be done with it first; the child starts late.
    """
    own, others = [], []
    own_time, other_time = 0.0, _CHILD_START
    for name in sorted(missing, key=lambda name: -_SECONDS[name]):
        if own_time <= other_time:
            own.append(name)
            own_time += _SECONDS[name]
        else:
            others.append(name)
            other_time += _SECONDS[name]
    if sum(_SECONDS[name] for name in others) < _LEAST_TO_SHARE:
        return own + others, []
    return own, others


def _may_start() -> bool:
    """Return whether a second core and an interpreter of our own are there.

    In a frozen program the executable is the program, which must not start itself.
    """
    cores = getattr(os, "process_cpu_count", os.cpu_count)() or 1
    return cores > 1 and bool(sys.executable) and not getattr(sys, "frozen", False)


def _start(names: list[str]) -> subprocess.Popen[bytes] | None:
    """Start the child: the same interpreter, the same path of imports, the same cache, silent."""
    here = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join([here, *(place for place in sys.path if place)])
    environment = os.environ | {"PYTHONPATH": path}
    if numba.config.CACHE_DIR:
        environment["NUMBA_CACHE_DIR"] = str(numba.config.CACHE_DIR)
    nothing = subprocess.DEVNULL
    try:
        # -P: no folder that happens to be the current one comes first.
        return subprocess.Popen(  # noqa: S603 - our own interpreter, names from our own table
            [sys.executable, "-P", "-m", "ketpredict.compilation", *names],
            stdin=subprocess.PIPE,  # which ends when this process does, however it ends
            stdout=nothing,
            stderr=nothing,
            env=environment,
        )
    except OSError:
        return None


def _leave_with_parent() -> None:
    """Wait for the parent's end, and leave with it."""
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    for piece in sys.argv[1:]:
        compiled(piece)
