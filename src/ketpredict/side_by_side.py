"""One function for many arguments, side by side by joblib, none of which outlives its caller."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence
from typing import Any

import joblib

from ketpredict.errors import DataError
from ketpredict.stopping import Stop, Stopped, check_stop, passed_on
from ketpredict.workers import usable_cores


def side_by_side(
    function: Callable[..., Any], tasks: Sequence[Sequence[Any]], n_jobs: int
) -> list[Any]:
    """Return what a function returns for each task's arguments, in their order.

    Parameters
    ----------
    n_jobs : int
        Tasks at once, as joblib has it; -1 is one for each core. Threads by default.

    Raises
    ------
    DataError
        `n_jobs` is no whole number, or 0.
    """
    stop = Stop()
    jobs = _jobs(n_jobs, len(tasks))
    calls = (joblib.delayed(_unless_stopped)(stop, function, *task) for task in tasks)
    try:
        with passed_on():
            found = list(joblib.Parallel(n_jobs=jobs, prefer="threads")(calls))
            check_stop()
    except BaseException:
        # joblib leaves its threads: they would sample on while the interpreter goes down.
        stop.ask_and_wait()
        raise
    return found


def _unless_stopped(stop: Stop, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns; nothing where nobody waits for it any more."""
    try:
        return stop.run(function, *arguments)
    except Stopped:
        return None  # joblib's threads would print the error


def _jobs(n_jobs: int, most: int) -> int:
    """Return how many tasks to take at once: no more than there are, nor threads than cores."""
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, numbers.Integral) or n_jobs == 0:
        raise DataError(f"n_jobs is {n_jobs!r}; expected a whole number from 1 up, or -1 for all.")
    backend, _ = joblib.parallel.get_active_backend(prefer="threads")
    in_threads = isinstance(backend, joblib.parallel.ThreadingBackend)
    if n_jobs > 0:
        return min(int(n_jobs), most, usable_cores() if in_threads else most)
    return int(n_jobs)
