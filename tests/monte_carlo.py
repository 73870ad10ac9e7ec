"""Comparisons of numbers that come from draws: each states its Monte Carlo error.

A test that hangs on draws passes with one processor and fails with another. So it says how large
the Monte Carlo error of its number is, and asks for five of them: numbers that are equal in truth
may lie five apart, and a bound is put where what is expected lies five or more beyond it. How many
errors each comparison was from failing is kept, and a run of the tests ends with the fewest
(``uv run pytest -m draws --shift-seeds 3``).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from arviz_stats.base import array_stats

from ketpredict.gates import FAMILY_WISE, Gate
from ketpredict.posterior import Posterior

ERRORS = 5.0
"""Monte Carlo standard errors that numbers equal in truth may lie apart."""

left: list[float] = []
"""How many standard errors each comparison of the present test was from failing."""


def agrees(found: Any, expected: Any, error: Any, beyond: Any = 0.0) -> None:
    """Assert that numbers are equal but for Monte Carlo error.

    Parameters
    ----------
    found, expected : array_like
    error : array_like
        Standard error of their difference.
    beyond : array_like
        How far they may differ in truth.
    """
    away = np.maximum(np.abs(np.subtract(found, expected)) - beyond, 0.0)
    _hold(away <= ERRORS * np.asarray(error), ERRORS - _ratio(away, error), found, expected, error)


def above(found: Any, bound: Any, error: Any) -> None:
    """Assert that numbers lie above a bound, which is to be put five errors from the expected."""
    over = np.subtract(found, bound)
    _hold(over > 0.0, _ratio(over, error), found, bound, error)


def below(found: Any, bound: Any, error: Any) -> None:
    """Assert that numbers lie below a bound, as :func:`above`."""
    above(np.negative(found), np.negative(bound), error)


def between(found: Any, lower: Any, upper: Any, error: Any) -> None:
    """Assert that numbers lie between two bounds, as :func:`above`."""
    above(found, lower, error)
    below(found, upper, error)


def of_mean(draws: Any) -> np.ndarray:
    """Return the standard error of the mean of draws, (chain, draw, ...), by ArviZ."""
    return _of(draws, "mean")


def of_sd(draws: Any) -> np.ndarray:
    """Return the standard error of the SD of draws, (chain, draw, ...), by ArviZ."""
    return _of(draws, "sd")


def of_share(share: Any, size: float) -> np.ndarray:
    """Return the standard error of a share of so many independent draws, none counting as half."""
    inside = np.clip(share, 0.5 / size, 1.0 - 0.5 / size)
    return np.sqrt(inside * (1.0 - inside) / size)


def of_p_value(p_value: Any, size: int) -> np.ndarray:
    """Return the standard error of a share of so many replicates of a rough fit.

    Their draws hang together: between seeds a p-value near 0.6 moves as one of a quarter of them
    would.
    """
    return of_share(p_value, size / 4.0)


def verdicts(gates: Iterable[Gate], draws: int) -> None:
    """Record how far the p-values of gates lie from their limit."""
    for gate in gates:
        if told := re.search(r"([\d.e+-]+) % of replicated data sets", gate.detail):
            p_value = float(told[1]) / 100.0
            side = above if gate.passed else below
            side(p_value, FAMILY_WISE, of_p_value(p_value, draws))


def by_chain(draws: Any, posterior: Posterior) -> np.ndarray:
    """Return draws that stand one after the other, (draw, ...), as (chain, draw, ...)."""
    chains = posterior.groups["posterior"]["intercept"].shape[0]
    draws = np.asarray(draws)
    return draws.reshape(chains, -1, *draws.shape[1:])


def of(posterior: Posterior, answer: Callable[[Posterior], Any], pieces: int = 4) -> np.ndarray:
    """Return the standard error of any answer of a fit, by batch means.

    Parameters
    ----------
    answer : callable
        From a fit to numbers.
    pieces : int
        Into which each chain is cut; the answers of all pieces are compared.
    """
    chains, draws = posterior.groups["posterior"]["intercept"].shape[:2]
    answers = []
    for chain in range(chains):
        for piece in np.array_split(np.arange(draws), pieces):
            place = (slice(chain, chain + 1), slice(piece[0], piece[-1] + 1))
            groups = {
                name: {key: values[place] if values.shape[:2] == (chains, draws) else values
                       for key, values in group.items()}
                for name, group in posterior.groups.items()
            }  # fmt: skip
            answers.append(answer(dataclasses.replace(posterior, groups=groups)))
    return np.std(answers, axis=0, ddof=1) / np.sqrt(len(answers))


def _of(draws: Any, method: str) -> np.ndarray:
    draws = np.asarray(draws, dtype=float)
    error = array_stats.mcse(draws, chain_axis=0, draw_axis=1, method=method)
    # What does not move has no error; ArviZ calls it undefined.
    return np.where(np.ptp(draws, axis=(0, 1)) == 0.0, 0.0, error)


def _ratio(distance: Any, error: Any) -> np.ndarray:
    distance, error = np.broadcast_arrays(distance, np.asarray(error, dtype=float))
    exact = np.where(distance == 0.0, 0.0, np.copysign(np.inf, distance))
    return np.divide(distance, error, out=exact, where=error > 0.0)


def _hold(holds: Any, margin: Any, found: Any, other: Any, error: Any) -> None:
    left.append(float(np.min(margin)))
    if not np.all(holds):
        raise AssertionError(
            f"found {np.asarray(found)!r}\nbeside {np.asarray(other)!r}\n"
            f"with standard errors {np.asarray(error)!r}: {left[-1]:.1f} of them from holding"
        )
