r"""Points that fill a cube evenly, for averages over many dimensions at once.

A rank-1 lattice in an order in which it can be extended: point :math:`i` is the fractional part of
:math:`\phi(i) z + u`, with :math:`\phi` the radical inverse in base 2, odd numbers :math:`z` and a
random shift :math:`u` (Hickernell, Hong, L'Ecuyer and Lemieux 2000, SIAM J Sci Comput 22:1117).
Points :math:`4i` to :math:`4i + 3` lie in four different quarters of every axis. A Sobol sequence
would do as well; SciPy's takes a second to import, on the way to the first prediction.
"""

from __future__ import annotations

import numpy as np

# Chosen one after the other, each as the best of 96 random odd numbers: the one whose worst pair
# with those before it errs least in integrals of bivariate periodic functions (kernel B2 B2) by
# 256, 1024, 4096 and 16384 points.
# fmt: off
_GENERATOR = (
    1, 18101, 45919, 16163, 38259, 56119, 17771, 43653, 9325, 36019, 9719, 57797, 7619, 54701,
    44757, 33123, 24165, 58425, 7953, 27773, 20889, 63831, 19445, 23901, 45019, 56335, 16149,
    16977, 38213, 42443, 49749, 65001, 6183, 12259, 50989, 21567, 33969, 5147, 41283, 3937, 44617,
    59117, 2775, 18265, 18839, 2573, 1543, 5441, 18059, 859, 1567, 27249, 37511, 40909, 35455,
    55007, 2821, 20943, 13571, 17689, 27255, 48175, 19839, 28015, 5817, 11017, 6653, 40273, 7759,
    23933, 731, 21507,
)
# fmt: on
_LARGEST = 2**16
_BITS = 30


def lattice(size: int, dimensions: int, seed: int) -> np.ndarray:
    """Return evenly spread points of the unit cube.

    Parameters
    ----------
    size, dimensions : int
    seed : int
        Of the shift, and of the generator beyond 72 dimensions.

    Returns
    -------
    ndarray of shape (size, dimensions)
        The first points of a larger set are those of a smaller one.
    """
    rng = np.random.default_rng(seed)
    generator = np.array(_GENERATOR[:dimensions], dtype=float)
    further = dimensions - len(generator)
    shift = rng.random(len(generator))
    if further:
        generator = np.append(generator, rng.integers(0, _LARGEST // 2, further) * 2.0 + 1.0)
        shift = np.append(shift, rng.random(further))
    index, inverse = np.arange(size), np.zeros(size)
    for bit in range(_BITS):
        inverse += (index >> bit & 1) * 0.5 ** (bit + 1)
    return np.asarray((inverse[:, None] * generator + shift) % 1.0)
