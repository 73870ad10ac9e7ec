"""The samplers as the tests see them: who asks for draws, and with which seed.

Every door to a sampler is wrapped once, before the tests are collected. ``uv run pytest
--shift-seeds 3`` gives all of them another seed: another machine in effect, since the last bits of
NumPy's functions differ between processors, and a chain that differs in one bit is soon another
chain. What a fit says of its own seed stays as it was given.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import nutpie
import pymc as pm

from ketpredict import approximations, compiled, fitting

# Far from the small numbers that tests use, so that no shifted seed is another test's seed.
_STEP = 1_000_003


class Samplers:
    """Counts the calls of every sampler in this process, and shifts their seeds.

    Parameters
    ----------
    shift : int
        Which other seeds; 0 for those that the tests name.
    """

    def __init__(self, shift: int) -> None:
        self.shift = shift
        self.calls = 0

    def wrap(self) -> None:
        """Put this object before every sampler, until the process ends.

        NUTS on the compiled kernel and on a graph, PyMC's samplers, and draws from normal
        approximations; draws of the prior and the replicates of a fit, which have streams of their
        own, come after one of these.
        """
        compiled.sample = nutpie.sample = self._before(nutpie.sample, "seed")
        pm.sample = self._before(pm.sample, "random_seed")
        draw_approximately = self._before(approximations.draw_approximately, "seed")
        approximations.draw_approximately = draw_approximately
        fitting.draw_prior = self._before(fitting.draw_prior, "rng")
        fitting._with_pointwise = self._before(fitting._with_pointwise, "seed")

    def _before(self, function: Callable[..., Any], argument: str) -> Callable[..., Any]:
        signature = inspect.signature(function)
        if argument not in signature.parameters:
            raise AttributeError(f"{function.__qualname__} has no argument {argument!r} to shift.")

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            given = signature.bind(*args, **kwargs)
            if argument in given.arguments:
                given.arguments[argument] = self._shifted(given.arguments[argument])
            return function(*given.args, **given.kwargs)

        return wrapped

    def _shifted(self, seed: Any) -> Any:
        if not self.shift:
            return seed
        if isinstance(seed, np.random.Generator):
            return np.random.default_rng([self.shift, *seed.integers(2**32, size=2)])
        # A list of seeds (pymc's, one for each chain) or none at all.
        if isinstance(seed, (list, tuple)):
            return [self._shifted(one) for one in seed]
        # Every sampler takes 31 bits.
        return None if seed is None else (int(seed) + _STEP * self.shift) % 2**31
