r"""Association of binary predictors: a chain of pairs with common odds ratios.

Neighbours in the order of the predictors have the odds ratio :math:`\psi_j` in every trial,
whatever their rates; a predictor depends on the earlier ones through its neighbour only:

.. math:: P(b) = P(b_0) \textstyle\prod_j P(b_j \mid b_{j-1}), \qquad
          p_{11} = \frac{2 \psi p q}{s + \sqrt{s^2 - 4 \psi (\psi - 1) p q}}, \quad
          s = 1 + (p + q)(\psi - 1)

with Plackett's (1965, J Am Stat Assoc 60:516) probability that both are 1. Every margin is exactly
the rate it was made of, and two binaries are saturated, so that rates of trials, proportions of
arms and incomplete patients all speak of the same distribution.

Nothing here imports an array library: NumPy arrays and PyTensor tensors both work.
"""

from __future__ import annotations

from typing import Any


def pair_probability(first: Any, second: Any, log_odds_ratio: Any) -> Any:
    """Return the probability that two binaries are both 1.

    Parameters
    ----------
    first, second : array
        Their rates, strictly between 0 and 1.
    log_odds_ratio : array
        0 for independent ones.
    """
    # The exponential of a tensor or an array, without importing either library.
    ratio = 2.718281828459045**log_odds_ratio
    total = 1.0 + (first + second) * (ratio - 1.0)
    root = (total * total - 4.0 * ratio * (ratio - 1.0) * first * second) ** 0.5
    return 2.0 * ratio * first * second / (total + root)


def pattern_probability(rate: Any, value: Any, log_odds_ratio: Any) -> Any:
    """Return the probability of each 0/1 pattern.

    Parameters
    ----------
    rate : array of shape (..., pattern, binary)
        Rate of each binary; exactly 0 or 1 where everybody is alike: its pairs are independent.
    value : array of shape (pattern, binary)
        The pattern's 0 or 1.
    log_odds_ratio : array of shape (..., pair)
        Of each binary with the next; a leading axis of draws is one of `rate` too.

    Returns
    -------
    array of shape (..., pattern)
    """
    own = value * rate + (1.0 - value) * (1.0 - rate)
    result = own[..., 0]
    for j in range(1, value.shape[-1]):
        first, second = rate[..., j - 1], rate[..., j]
        varies = (first > 0.0) * (first < 1.0) * (second > 0.0) * (second < 1.0)
        # Rates of 0 and 1 would divide 0 by 0; they are independent of everything.
        inside = varies * 1.0
        p = inside * first + (1.0 - inside) * 0.5
        q = inside * second + (1.0 - inside) * 0.5
        both = pair_probability(p, q, log_odds_ratio[..., j - 1, None])
        a, b = value[..., j - 1], value[..., j]
        joint = (
            a * b * both
            + a * (1.0 - b) * (p - both)
            + (1.0 - a) * b * (q - both)
            + (1.0 - a) * (1.0 - b) * (1.0 - p - q + both)
        )
        given = joint / (a * p + (1.0 - a) * (1.0 - p))
        result = result * (inside * given + (1.0 - inside) * own[..., j])
    return result
