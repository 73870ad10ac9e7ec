"""The pieces of the density as C functions, compiled when first needed and kept on disk.

Each takes the addresses of the array of numbers and of an array to work in, both with their length
as the first number. The whole density calls the pieces by address.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.caching import FunctionCache
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from ketpredict import (
    kernel,
    kernel_arms,
    kernel_effects,
    kernel_joint,
    kernel_people,
    kernel_units,
)
from ketpredict.kernel_numbers import GRADIENT, PIECE_ADDRESS, PIECES, POINT, block, scratch

_BAD_DENSITY = 4
_POINTER = types.CPointer(types.double)
_PIECE = types.double(_POINTER, _POINTER)
_DENSITY = types.int64(types.uint64, _POINTER, _POINTER, _POINTER, _POINTER)
_EXPAND = types.int64(types.uint64, types.uint64, _POINTER, _POINTER, _POINTER)


@intrinsic
def _call(typing_context: Any, address: Any, numbers: Any, work: Any) -> Any:
    """Call the piece at an address."""
    signature = types.double(types.int64, types.int64, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = ir.DoubleType().as_pointer()
        kind = ir.FunctionType(ir.DoubleType(), [pointer, pointer])
        function = builder.inttoptr(arguments[0], kind.as_pointer())
        places = [builder.inttoptr(argument, pointer) for argument in arguments[1:]]
        return builder.call(function, places)

    return signature, generate


@numba.njit
def _array(place: Any) -> Any:
    """Return the array whose first number is its length, without that number."""
    return numba.carray(place, (int(numba.carray(place, (1,))[0]),))[1:]


def _functions(stamp: int) -> dict[str, Callable[..., Any]]:  # noqa: C901 - a list of functions
    """Return every function that is compiled, by name.

    They close over the stamp of the kernel's sources, which numba makes part of the key under which
    it keeps compiled code: it would not notice changes in the functions that they call.
    """

    def priors_forward(numbers: Any, work: Any) -> float:
        """Run :func:`ketpredict.kernel.priors_forward`."""
        _ = stamp
        return kernel.priors_forward(_array(numbers), _array(work))

    def law_forward(numbers: Any, work: Any) -> float:
        """Run :func:`ketpredict.kernel_joint.law_forward`."""
        _ = stamp
        return kernel_joint.law_forward(_array(numbers), _array(work))

    def groups(numbers: Any, work: Any) -> float:
        """Run :func:`ketpredict.kernel_people.groups_likelihood`."""
        _ = stamp
        return kernel_people.groups_likelihood(_array(numbers), _array(work))

    def persons(numbers: Any, work: Any) -> float:
        """Run :func:`ketpredict.kernel_people.persons_likelihood`."""
        _ = stamp
        return kernel_people.persons_likelihood(_array(numbers), _array(work))

    def closed(numbers: Any, work: Any) -> float:
        """Run :func:`ketpredict.kernel_units.closed_likelihood`."""
        _ = stamp
        return kernel_units.closed_likelihood(_array(numbers), _array(work))

    def open(numbers: Any, work: Any) -> float:
        """Run :func:`ketpredict.kernel_units.open_likelihood`."""
        _ = stamp
        return kernel_units.open_likelihood(_array(numbers), _array(work))

    def arms(numbers: Any, work: Any) -> float:
        """Run :func:`ketpredict.kernel_arms.arms_likelihood`."""
        _ = stamp
        return kernel_arms.arms_likelihood(_array(numbers), _array(work))

    def effects(numbers: Any, work: Any) -> float:
        """Run :func:`ketpredict.kernel_effects.effects_likelihood`."""
        _ = stamp
        return kernel_effects.effects_likelihood(_array(numbers), _array(work))

    def law_back(numbers: Any, work: Any) -> float:
        """Run :func:`ketpredict.kernel_joint.law_back`."""
        _ = stamp
        return kernel_joint.law_back(_array(numbers), _array(work))

    def priors_back(numbers: Any, work: Any) -> float:
        """Run :func:`ketpredict.kernel.priors_back`."""
        _ = stamp
        return kernel.priors_back(_array(numbers), _array(work))

    def whole_density(
        dimensions: Any, point_: Any, gradient_: Any, density_: Any, numbers_: Any
    ) -> int:
        """Write log density and gradient; say "diverged" unless both are finite."""
        _ = stamp
        numbers = _array(numbers_)
        point = numba.carray(point_, (dimensions,))
        gradient = numba.carray(gradient_, (dimensions,))
        size = int(numbers[-1])
        memory = np.zeros(size)
        memory[0] = size
        work = memory[1:]
        own_point = scratch(numbers, work, POINT)
        for i in range(dimensions):
            own_point[i] = point[i]
        total = 0.0
        here, data = memory.ctypes.data, numbers.ctypes.data - 8
        addresses = block(numbers, PIECE_ADDRESS).view(np.int64)
        for i in range(addresses.shape[0]):
            if addresses[i] != 0:
                total += _call(addresses[i], data, here)
        own_gradient = scratch(numbers, work, GRADIENT)
        finite = math.isfinite(total)
        for i in range(dimensions):
            gradient[i] = own_gradient[i]
            finite = finite and math.isfinite(gradient[i])
        numba.carray(density_, (1,))[0] = total
        return 0 if finite else _BAD_DENSITY

    def copy_draw(dimensions: Any, expanded: Any, point_: Any, out_: Any, numbers_: Any) -> int:
        """Keep the point as it is: parameters are expanded for all draws at once, in NumPy."""
        _ = stamp
        point = numba.carray(point_, (dimensions,))
        out = numba.carray(out_, (expanded,))
        for i in range(dimensions):
            out[i] = point[i]
        return 0

    pieces = (priors_forward, law_forward, groups, persons, closed, open, arms, effects)
    others = (law_back, priors_back, whole_density, copy_draw)
    return {function.__name__: function for function in (*pieces, *others)}


@functools.cache
def _stamp() -> int:
    """Return a number that changes with the sources of the kernel."""
    folder = Path(__file__).parent
    sources = [*sorted(folder.glob("kernel*.py")), Path(__file__)]
    content = b"".join(source.read_bytes() for source in sources)
    return int.from_bytes(hashlib.sha256(content).digest()[:7])


@functools.cache
def compiled(name: str) -> Any:
    """Return a C function, from the disk cache where one can be kept."""
    signature, function = _signature(name), _functions(_stamp())[name]
    try:
        return numba.cfunc(signature, cache=True)(function)
    except (RuntimeError, OSError):
        # No folder to keep compiled code in, as in a read-only installation, or a full disk.
        return numba.cfunc(signature)(function)


def kept(name: str) -> bool:
    """Return whether the disk cache has a C function, or nothing can be kept or known."""
    try:
        cache = FunctionCache(_functions(_stamp())[name])
        key = cache._index_key(_signature(name), cpu_target.target_context.codegen())
        return key in cache._cache_file._load_index()
    except (AttributeError, TypeError, OSError, RuntimeError):
        # No folder, or a numba with other internals: each piece is then compiled when needed.
        return True


def _signature(name: str) -> Any:
    return {"whole_density": _DENSITY, "copy_draw": _EXPAND}.get(name, _PIECE)


def addresses(needed: frozenset[str]) -> np.ndarray:
    """Return the addresses of the pieces that are needed, 0 for others, as the kernel keeps them.

    Returns
    -------
    ndarray of shape (piece,)
        Bits of integers in an array of floats.
    """
    places = [compiled(name).address if name in needed else 0 for name in PIECES]
    return np.array(places, dtype=np.int64).view(np.float64)
