r"""What patients' predictors say about the law of the predictors, in the compiled kernel.

People with all binaries known enter by weight :math:`N`, mean and scatter :math:`C` of each law and
subset. With :math:`R = C_{xb} - B C_{bb}`, :math:`E = C_{xx} - B C_{bx} - R B'` and the mean
residual :math:`e`, their log density is
:math:`-\tfrac N2 \log|2\pi S_{oo}| - \tfrac12 \operatorname{tr} S_{oo}^{-1}(E + N e e')`, with
derivatives :math:`S_{oo}^{-1}(N e \bar b' + R)` for :math:`B` and
:math:`\tfrac12 S_{oo}^{-1}(E + N e e')S_{oo}^{-1} - \tfrac N2 S_{oo}^{-1}` for :math:`S_{oo}`.
The others are sums over patterns.
"""

from __future__ import annotations

import math

import numpy as np

from ketpredict.kernel_numbers import (
    BINARY_IDX,
    CENTRE,
    CHAIN_COUNT,
    CONTINUOUS_IDX,
    COVARIANCE_BACK,
    DETERMINANT_BACK,
    GROUP_LAW,
    GROUP_MEAN,
    GROUP_SCATTER,
    GROUP_SUBSET,
    GROUP_WEIGHT,
    LAWS,
    LOG_DETERMINANT,
    MEAN,
    MEAN_BACK,
    PERSON_LAW,
    PERSON_PATTERN,
    PERSON_START,
    PERSON_SUBSET,
    PERSON_VALUE,
    PERSON_WEIGHT,
    PRECISION,
    SHIFT,
    SHIFT_BACK,
    SHIFT_SCORE,
    SHIFT_SQUARE,
    SUBSET_OBSERVED,
    SUBSETS,
    TABLE,
    block,
    inner,
    scratch,
    size_of,
)

_LOG_TWO_PI = math.log(2.0 * math.pi)


@inner
def pattern_terms(numbers, work, value, law, subset, patterns, logs, distance, score):
    """Write the log weight of each pattern of a row, and what the reverse pass needs of it.

    With :math:`d` the distance of a pattern from the centres, :math:`e` the residual at
    :math:`d = 0` and :math:`P = S_{oo}^{-1}`, the square is
    :math:`e'Pe - 2 d'B'Pe + d'B'PBd`: only the last two differ between patterns.

    Parameters
    ----------
    value : ndarray of shape (predictor,)
        The row's values, 0 where unknown.
    patterns : ndarray of shape (pattern, binary)
    logs : ndarray of shape (pattern,)
        Written.
    distance : ndarray of shape (pattern, binary)
        Written: of each pattern from the centres.
    score : ndarray of shape (continuous,)
        Written: ``P e``.
    """
    continuous, binary = block(numbers, CONTINUOUS_IDX), block(numbers, BINARY_IDX)
    centre, size, binaries = block(numbers, CENTRE), continuous.shape[0], binary.shape[0]
    count = size + binaries
    known = block(numbers, SUBSET_OBSERVED)[subset * size : (subset + 1) * size]
    mean = scratch(numbers, work, MEAN)[law * count : (law + 1) * count]
    square = size * size
    precision = scratch(numbers, work, PRECISION)[subset * square : (subset + 1) * square]
    table = scratch(numbers, work, TABLE)[law * binaries * 4 : (law + 1) * binaries * 4]
    shift = scratch(numbers, work, SHIFT)
    pairs = binaries * binaries
    both = scratch(numbers, work, SHIFT_SQUARE)[subset * pairs : (subset + 1) * pairs]
    constant = 0.0
    for i in range(size):
        score[i] = 0.0
        if known[i] > 0.0:
            for m in range(size):
                if known[m] > 0.0:
                    k = int(continuous[m])
                    score[i] += precision[i * size + m] * (value[k] - mean[k])
            k = int(continuous[i])
            constant += score[i] * (value[k] - mean[k])
    for c in range(patterns.shape[0]):
        logs[c], before = -0.5 * constant, 0
        for j in range(binaries):
            own = 1 if patterns[c, j] > 0.5 else 0
            logs[c] += table[j * 4 + before * 2 + own]
            before = own
            distance[c, j] = patterns[c, j] - centre[int(binary[j])]
        for j in range(binaries):
            through = 0.0
            for i in range(size):
                through += shift[i * binaries + j] * score[i]
            for m in range(binaries):
                through -= 0.5 * both[j * binaries + m] * distance[c, m]
            logs[c] += through * distance[c, j]


@inner
def pass_pattern_back(numbers, work, law, subset, patterns, back, distance, score):
    """Pass derivatives with respect to log weights on; the log determinant is the caller's."""
    continuous = block(numbers, CONTINUOUS_IDX)
    size, binaries = continuous.shape[0], patterns.shape[1]
    count = size + binaries
    mean_back = scratch(numbers, work, MEAN_BACK)[law * count : (law + 1) * count]
    chain_count = scratch(numbers, work, CHAIN_COUNT)[law * binaries * 4 : (law + 1) * binaries * 4]
    covariance_back = scratch(numbers, work, COVARIANCE_BACK)
    shift_back, area = scratch(numbers, work, SHIFT_BACK), size * binaries
    carried = scratch(numbers, work, SHIFT_SCORE)[subset * area : (subset + 1) * area]
    none, one, two = 0.0, np.zeros(binaries), np.zeros((binaries, binaries))
    for c in range(patterns.shape[0]):
        none += back[c]
        before = 0
        for j in range(binaries):
            own = 1 if patterns[c, j] > 0.5 else 0
            chain_count[j * 4 + before * 2 + own] += back[c]
            before = own
            one[j] += back[c] * distance[c, j]
            for m in range(binaries):
                two[j, m] += back[c] * distance[c, j] * distance[c, m]
    known = block(numbers, SUBSET_OBSERVED)[subset * size : (subset + 1) * size]
    for i in range(size):
        if known[i] <= 0.0:
            continue
        moved = none * score[i]
        for j in range(binaries):
            moved -= one[j] * carried[i * binaries + j]
            through = score[i] * one[j]
            for m in range(binaries):
                through -= carried[i * binaries + m] * two[m, j]
            shift_back[i * binaries + j] += through
        mean_back[int(continuous[i])] += moved
        for m in range(size):
            if known[m] <= 0.0:
                continue
            value = none * score[i] * score[m]
            for j in range(binaries):
                value -= one[j] * score[i] * carried[m * binaries + j]
                value -= one[j] * score[m] * carried[i * binaries + j]
                for b in range(binaries):
                    value += two[j, b] * carried[i * binaries + j] * carried[m * binaries + b]
            covariance_back[i * size + m] += 0.5 * value


@inner
def log_sum(logs, size, weight):
    """Return the log of a sum of exponentials, and write each one's share."""
    largest = logs[0]
    for c in range(size):
        largest = max(largest, logs[c])
    total = 0.0
    for c in range(size):
        weight[c] = math.exp(logs[c] - largest)
        total += weight[c]
    for c in range(size):
        weight[c] /= total
    return largest + math.log(total)


@inner
def groups_likelihood(numbers, work):
    """Return the log density of people with all binaries known, and add its derivatives."""
    continuous, binary = block(numbers, CONTINUOUS_IDX), block(numbers, BINARY_IDX)
    size, binaries = continuous.shape[0], binary.shape[0]
    laws, subsets = size_of(numbers, LAWS), size_of(numbers, SUBSETS)
    mean = scratch(numbers, work, MEAN).reshape(laws, size + binaries)
    mean_back = scratch(numbers, work, MEAN_BACK).reshape(laws, size + binaries)
    shift = scratch(numbers, work, SHIFT).reshape(size, binaries)
    shift_back = scratch(numbers, work, SHIFT_BACK).reshape(size, binaries)
    precision = scratch(numbers, work, PRECISION).reshape(subsets, size, size)
    covariance_back = scratch(numbers, work, COVARIANCE_BACK).reshape(size, size)
    log_determinant = scratch(numbers, work, LOG_DETERMINANT)
    determinant_back = scratch(numbers, work, DETERMINANT_BACK)
    law_idx, subset_idx = block(numbers, GROUP_LAW), block(numbers, GROUP_SUBSET)
    weight = block(numbers, GROUP_WEIGHT)
    count = size + binaries
    average = block(numbers, GROUP_MEAN).reshape(weight.shape[0], count)
    scatter = block(numbers, GROUP_SCATTER).reshape(weight.shape[0], count, count)
    observed = block(numbers, SUBSET_OBSERVED).reshape(subsets, size)
    residual, product = np.zeros(size), np.zeros((size, size))
    by_shift, spread = np.zeros((size, binaries)), np.zeros((size, size))
    total = 0.0
    for g in range(weight.shape[0]):
        law, subset, n = int(law_idx[g]), int(subset_idx[g]), weight[g]
        known, inverse = observed[subset], precision[subset]
        dimensions = 0
        for i in range(size):
            if known[i] <= 0.0:
                continue
            dimensions += 1
            k = int(continuous[i])
            residual[i] = average[g, k] - mean[law, k]
            for j in range(binaries):
                b = int(binary[j])
                residual[i] -= shift[i, j] * average[g, b]
                by_shift[i, j] = scatter[g, k, b]
                for m in range(binaries):
                    by_shift[i, j] -= shift[i, m] * scatter[g, int(binary[m]), b]
        if dimensions == 0:
            continue
        for i in range(size):
            for j in range(size):
                spread[i, j] = 0.0
                if known[i] > 0.0 and known[j] > 0.0:
                    k = int(continuous[j])
                    spread[i, j] = scatter[g, int(continuous[i]), k] + n * residual[i] * residual[j]
                    for m in range(binaries):
                        spread[i, j] -= shift[i, m] * scatter[g, int(binary[m]), k]
                        spread[i, j] -= by_shift[i, m] * shift[j, m]
        trace = 0.0
        for i in range(size):
            for j in range(size):
                product[i, j] = 0.0
                if known[i] > 0.0:
                    for k in range(size):
                        product[i, j] += inverse[i, k] * spread[k, j]
            trace += product[i, i]
        total -= 0.5 * n * (dimensions * _LOG_TWO_PI + log_determinant[subset]) + 0.5 * trace
        determinant_back[subset] -= 0.5 * n
        for i in range(size):
            if known[i] <= 0.0:
                continue
            score = 0.0
            for j in range(size):
                if known[j] > 0.0:
                    score += inverse[i, j] * residual[j]
                    value = 0.0
                    for k in range(size):
                        value += product[i, k] * inverse[k, j]
                    covariance_back[i, j] += 0.5 * value
            mean_back[law, int(continuous[i])] += n * score
            for j in range(binaries):
                shift_back[i, j] += n * score * average[g, int(binary[j])]
                for k in range(size):
                    if known[k] > 0.0:
                        shift_back[i, j] += inverse[i, k] * by_shift[k, j]
    return total


@inner
def persons_likelihood(numbers, work):
    """Return the log density of people with an unknown binary, and add its derivatives."""
    size = block(numbers, CONTINUOUS_IDX).shape[0]
    binaries = block(numbers, BINARY_IDX).shape[0]
    subsets = size_of(numbers, SUBSETS)
    log_determinant = scratch(numbers, work, LOG_DETERMINANT)
    determinant_back = scratch(numbers, work, DETERMINANT_BACK)
    law_idx, subset_idx = block(numbers, PERSON_LAW), block(numbers, PERSON_SUBSET)
    weight, start = block(numbers, PERSON_WEIGHT), block(numbers, PERSON_START)
    if weight.shape[0] == 0:
        return 0.0
    value = block(numbers, PERSON_VALUE).reshape(weight.shape[0], size + binaries)
    pattern = block(numbers, PERSON_PATTERN).reshape(int(start[-1]), binaries)
    observed = block(numbers, SUBSET_OBSERVED).reshape(subsets, size)
    most = 0
    for row in range(weight.shape[0]):
        most = max(most, int(start[row + 1] - start[row]))
    logs, share = np.empty(most), np.empty(most)
    distance, score = np.empty((most, binaries)), np.empty(size)
    total = 0.0
    for row in range(weight.shape[0]):
        law, subset = int(law_idx[row]), int(subset_idx[row])
        patterns = pattern[int(start[row]) : int(start[row + 1])]
        many = patterns.shape[0]
        pattern_terms(numbers, work, value[row], law, subset, patterns, logs, distance, score)
        dimensions = 0.0
        for i in range(size):
            dimensions += observed[subset, i]
        density = log_sum(logs, many, share)
        density -= 0.5 * (dimensions * _LOG_TWO_PI + log_determinant[subset])
        total += weight[row] * density
        determinant_back[subset] -= 0.5 * weight[row]
        for c in range(many):
            share[c] *= weight[row]
        pass_pattern_back(numbers, work, law, subset, patterns, share, distance, score)
    return total
