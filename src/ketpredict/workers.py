"""Pieces of work on all cores, by threads: NumPy does not hold the interpreter while it works."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import functools
import itertools
import math
import numbers
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ketpredict.errors import KetpredictError
from ketpredict.stopping import Stop, check_stop

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


def bounded_cores(cores: int | None) -> int:
    """Return how many threads to use: those asked for, and no more than there are cores.

    Raises
    ------
    KetpredictError
        What is asked for is no whole number from 1 up.
    """
    if cores is None:
        return usable_cores()
    if isinstance(cores, bool) or not isinstance(cores, numbers.Integral) or cores < 1:
        raise KetpredictError(f"cores is {cores!r}; expected None or a whole number from 1 up.")
    return min(int(cores), usable_cores())


def check_seed(name: str, seed: Any) -> None:
    """Refuse what no generator of random numbers begins from.

    Raises
    ------
    KetpredictError
        It is no whole number from 0 up.
    """
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or seed < 0:
        raise KetpredictError(f"{name} is {seed!r}; expected a whole number from 0 up.")


class _Pool(concurrent.futures.ThreadPoolExecutor):
    """Threads whose work is told when it shall end."""

    def __init__(self, cores: int, stop: Stop) -> None:
        super().__init__(cores)
        self._stop = stop

    def submit(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> concurrent.futures.Future[Any]:
        """Begin a piece of work as soon as a thread is free."""
        return super().submit(self._stop.run, functools.partial(fn, *args, **kwargs))


@contextlib.contextmanager
def thread_pool(
    cores: int | None = None,
) -> Iterator[concurrent.futures.ThreadPoolExecutor]:
    """Yield threads, none of which works on when the block has ended.

    Where it ends by an error or an interrupt, pieces that did not begin are left, and those that
    run are asked to end (:func:`ketpredict.stopping.check_stop`) and waited for.
    """
    stop = Stop()
    pool = _Pool(bounded_cores(cores), stop)
    try:
        yield pool
    except BaseException:
        stop.ask()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


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
    cores = bounded_cores(cores)
    source = iter(pieces)
    first = list(itertools.islice(source, 2))
    if cores == 1 or len(first) < 2:
        for piece in itertools.chain(first, source):
            check_stop()
            piece()
        return
    waiting: collections.deque[concurrent.futures.Future[None]] = collections.deque()
    with thread_pool(cores) as pool:
        for piece in itertools.chain(first, source):
            waiting.append(pool.submit(piece))
            if len(waiting) > _WAITING_PER_CORE * cores:
                waiting.popleft().result()
        while waiting:
            waiting.popleft().result()
