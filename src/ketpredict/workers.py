"""Pieces of work on all cores, by threads: NumPy does not hold the interpreter while it works."""

from __future__ import annotations

import collections
import concurrent.futures
import itertools
import math
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

_WAITING_PER_CORE = 4


class Scratch(threading.local):
    """Arrays to work in, each thread its own: fresh memory costs more than what is done in it."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, Any], np.ndarray] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
        """Return an array of a name, with whatever was left in it.

        It is the same memory whenever the thread asks for the name and type again.
        """
        size = math.prod(shape)
        held = self._held.get((name, dtype))
        if held is None or held.size < size:
            held = self._held[name, dtype] = np.empty(size, dtype)
        return held[:size].reshape(shape)


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def work_off(pieces: Iterable[Callable[[], None]], cores: int | None = None) -> None:
    """Run all pieces of work, as they come, on some cores.

    Parameters
    ----------
    pieces : iterable of callable
        Each writes its result to a place of its own. They are made while others run, and only a few
        wait at a time, so that what they hold stays bounded.
    cores : int, optional
        All that the process may use by default.

    Raises
    ------
    Exception
        The first that a piece raises; pieces that did not begin are left.
    """
    cores = usable_cores() if cores is None else cores
    source = iter(pieces)
    first = list(itertools.islice(source, 2))
    if cores == 1 or len(first) < 2:
        for piece in itertools.chain(first, source):
            piece()
        return
    waiting: collections.deque[concurrent.futures.Future[None]] = collections.deque()
    pool = concurrent.futures.ThreadPoolExecutor(cores)
    try:
        for piece in itertools.chain(first, source):
            waiting.append(pool.submit(piece))
            if len(waiting) > _WAITING_PER_CORE * cores:
                waiting.popleft().result()
        while waiting:
            waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
