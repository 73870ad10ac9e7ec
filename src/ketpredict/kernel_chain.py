r"""The chain of binary predictors in the compiled kernel; see :mod:`ketpredict.association`.

Whatever the log density holds of the chain is a weighted sum of logs of its conditional
probabilities; the weights (counts of people, posterior weights of patterns) are all that the
reverse pass needs. With :math:`\Sigma = 1/p_{11} + 1/p_{00} + 1/p_{10} + 1/p_{01}` the constant
odds ratio gives :math:`\partial p_{11}/\partial \log\psi = 1/\Sigma`,
:math:`\partial p_{11}/\partial p = (1/p_{00} + 1/p_{10})/\Sigma` and likewise for :math:`q`.
"""

from __future__ import annotations

import math

from ketpredict.kernel_numbers import inner


@inner
def _both_probability(p, q, ratio):
    """Return the probability that both of a pair are 1, given the odds ratio."""
    total = 1.0 + (p + q) * (ratio - 1.0)
    root = math.sqrt(total * total - 4.0 * ratio * (ratio - 1.0) * p * q)
    return 2.0 * ratio * p * q / (total + root)


@inner
def pair_cells(p, q, log_odds_ratio):
    """Return the probabilities of both, the first alone, the second alone and none.

    Each by the formula of a pair that is both 1, with a binary or its opposite: differences would
    turn negative where a rate is all but 0 or 1.
    """
    ratio = math.exp(log_odds_ratio)
    both, none = _both_probability(p, q, ratio), _both_probability(1.0 - p, 1.0 - q, ratio)
    only_p = _both_probability(p, 1.0 - q, 1.0 / ratio)
    return both, only_p, _both_probability(1.0 - p, q, 1.0 / ratio), none


@inner
def _varies(rate, j):
    """Return whether a binary and the one before it can both be 0 or 1."""
    return 0.0 < rate[j] < 1.0 and 0.0 < rate[j - 1] < 1.0


@inner
def chain_log(rate, odds, table):
    """Write log probabilities of each binary given the one before, (binary, before, own)."""
    for j in range(rate.shape[0]):
        q = rate[j]
        one = math.log(q) if q > 0.0 else -math.inf
        zero = math.log1p(-q) if q < 1.0 else -math.inf
        table[j, 0, 0] = table[j, 1, 0] = zero
        table[j, 0, 1] = table[j, 1, 1] = one
        if j > 0 and _varies(rate, j):
            p = rate[j - 1]
            both, only_p, only_q, none = pair_cells(p, q, odds[j - 1])
            table[j, 1, 1] = math.log(both / p)
            table[j, 1, 0] = math.log(only_p / p)
            table[j, 0, 1] = math.log(only_q / (1.0 - p))
            table[j, 0, 0] = math.log(none / (1.0 - p))


@inner
def chain_back(rate, odds, count, rate_back, odds_back):
    """Add derivatives of the sum of `count` times log probability."""
    for j in range(rate.shape[0]):
        q = rate[j]
        if j == 0 or not _varies(rate, j):
            if 0.0 < q < 1.0:
                rate_back[j] += (count[j, 0, 1] + count[j, 1, 1]) / q
                rate_back[j] -= (count[j, 0, 0] + count[j, 1, 0]) / (1.0 - q)
            continue
        p = rate[j - 1]
        both, only_p, only_q, none = pair_cells(p, q, odds[j - 1])
        total = 1.0 / both + 1.0 / only_p + 1.0 / only_q + 1.0 / none
        both_back = count[j, 1, 1] / both - count[j, 1, 0] / only_p
        both_back += count[j, 0, 0] / none - count[j, 0, 1] / only_q
        odds_back[j - 1] += both_back / total
        rate_back[j - 1] += both_back * (1.0 / none + 1.0 / only_p) / total
        rate_back[j - 1] += count[j, 1, 0] / only_p - count[j, 0, 0] / none
        rate_back[j - 1] -= (count[j, 1, 1] + count[j, 1, 0]) / p
        rate_back[j - 1] += (count[j, 0, 1] + count[j, 0, 0]) / (1.0 - p)
        rate_back[j] += both_back * (1.0 / none + 1.0 / only_q) / total
        rate_back[j] += count[j, 0, 1] / only_q - count[j, 0, 0] / none


@inner
def pattern_log(table, pattern):
    """Return the log probability of one 0/1 pattern."""
    total, before = 0.0, 0
    for j in range(pattern.shape[0]):
        own = 1 if pattern[j] > 0.5 else 0
        total += table[j, before, own]
        before = own
    return total


@inner
def count_pattern(pattern, weight, count):
    """Add a weight to the counts of one pattern."""
    before = 0
    for j in range(pattern.shape[0]):
        own = 1 if pattern[j] > 0.5 else 0
        count[j, before, own] += weight
        before = own
