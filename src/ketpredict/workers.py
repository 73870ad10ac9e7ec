"""Pieces of work on all cores, by threads: NumPy does not hold the interpreter while it works."""

from __future__ import annotations

import collections
import concurrent.futures
import itertools
import os
from collections.abc import Callable, Iterable

_WAITING_PER_CORE = 4


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
