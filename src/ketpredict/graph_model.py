"""The PyMC model's own class: draws and named values are not compiled to machine code.

A function of a few hundred operations takes PyTensor's default, numba, about a minute to compile
where its cache is cold, and then runs in a tenth of a millisecond; Python runs it in two
milliseconds at once. What draws from the prior or the posterior predictive, or works out
deterministics, is called a few thousand times, so that it is sooner ready without compiling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pymc as pm


class ResponseModel(pm.Model):
    """A :class:`pymc.Model` in every respect but the mode in which its draws are compiled.

    Densities are compiled as ever, by PyMC and by its samplers. Any mode can be asked for:
    ``compile_kwargs={"mode": "NUMBA"}`` for very many draws.
    """

    def compile_fn(
        self, outs: Any, *, inputs: Sequence[Any] | None = None, mode: Any = None, **settings: Any
    ) -> Any:
        """Return a compiled function, in PyTensor's mode ``FAST_COMPILE`` unless of densities."""
        if mode is None and not set(self.value_vars) & set(inputs or ()):
            mode = "FAST_COMPILE"
        return super().compile_fn(outs, inputs=inputs, mode=mode, **settings)
