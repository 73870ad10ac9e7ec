"""The PyMC model's own class: what is called a few thousand times is not compiled to machine code.

A function of a few hundred operations takes PyTensor's default, numba, about a minute to compile
where its cache is cold, and then runs in a tenth of a millisecond; Python runs it in two
milliseconds at once. PyMC draws from prior and posterior predictive and works out deterministics
with functions that its samplers do not use, and lets a model compile them.
"""

from __future__ import annotations

from typing import Any

import pymc as pm


class ResponseModel(pm.Model):
    """A :class:`pymc.Model` in every respect but the mode in which its own functions are compiled.

    Samplers compile their log density themselves and are not touched. Any mode can be asked for:
    ``compile_kwargs={"mode": "NUMBA"}`` for very many draws.
    """

    def compile_fn(self, outs: Any, *, mode: Any = None, **settings: Any) -> Any:
        """Return a compiled function, in PyTensor's mode ``FAST_COMPILE`` unless said otherwise."""
        return super().compile_fn(outs, mode="FAST_COMPILE" if mode is None else mode, **settings)
