"""How a process leaves that is told to stop: at once, in one line, with nothing left behind.

The command line does not unwind: an exception raised by a signal may come up in a callback of a
library, where it is printed and forgotten, and threads that sample on would outlive what they read.
It removes the files and ends the children that are noted here, and is gone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

_files: set[Path] = set()
_children: set[subprocess.Popen[bytes]] = set()
_SIGNALS = {"SIGINT": "stopped", "SIGTERM": "ended", "SIGHUP": "ended"}
_CURSOR = b"\x1b[?25h\n"  # a progress bar hides it, and stands in the line


@contextlib.contextmanager
def temporary(path: Path) -> Iterator[None]:
    """Remove a file, or a folder with what is in it, when the block or the process ends."""
    _files.add(path)
    try:
        yield
    finally:
        _remove(path)
        _files.discard(path)


@contextlib.contextmanager
def child(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a child process when the block or this process ends."""
    _children.add(process)
    try:
        yield
    finally:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
        _children.discard(process)


def leave_on_signals() -> None:
    """Let this process leave on Ctrl-C with status 130, on SIGTERM with 143, on SIGHUP with 129.

    A signal that the parent has it ignore stays ignored, as ``nohup`` asks for.
    """
    for name in _SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)


def _leave(number: int, _frame: FrameType | None) -> None:
    for name in _SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    _end_children()
    for path in tuple(_files):
        with contextlib.suppress(OSError):
            _remove(path)
    name = signal.Signals(number).name
    line = f"ketpredict: error: {_SIGNALS[name]} by {_cause(name)}; nothing half-written is left.\n"
    # What was printed so far; then the line. Neither may be possible any more.
    with contextlib.suppress(OSError, ValueError, RuntimeError, AttributeError):
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        os.write(2, (_CURSOR if os.isatty(2) else b"") + line.encode())
    os._exit(128 + number)


def _cause(name: str) -> str:
    return "Ctrl-C" if name == "SIGINT" else name


def _end_children() -> None:
    for process in tuple(_children):
        with contextlib.suppress(OSError):
            process.kill()
    if "multiprocessing" in sys.modules:  # samplers of PyMC start some
        import multiprocessing

        for sampler in multiprocessing.active_children():
            sampler.kill()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
