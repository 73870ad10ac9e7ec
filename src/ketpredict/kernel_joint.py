"""The first and the last piece around the likelihoods: the law of the predictors, forth and back.

Forth: trial means, covariance, chain of binaries, what each subset of known predictors implies, and
the coefficients of each cluster. Back: the derivatives of all likelihoods, passed on to the point.
"""

from __future__ import annotations

import numpy as np

from ketpredict.kernel_chain import chain_back, chain_log
from ketpredict.kernel_law import (
    cholesky_prior,
    invert_subset,
    law_means,
    normal_prior,
    pass_cholesky_back,
    pass_subset_back,
    pass_trial_mean_back,
    subset_regression,
    trial_mean_prior,
)
from ketpredict.kernel_numbers import (
    ACROSS,
    ACROSS_BACK,
    ACROSS_REFERENCE,
    BINARY_IDX,
    BINARY_SHIFT,
    CELL_PREDICTOR,
    CHAIN_COUNT,
    COVARIANCE,
    COVARIANCE_BACK,
    DETERMINANT_BACK,
    FACTOR,
    GRADIENT,
    INTERCEPT_BACK,
    LAWS,
    LOG_DETERMINANT,
    MEAN,
    MEAN_BACK,
    MEAN_CELL,
    N_BINARIES,
    N_CONTINUOUS,
    ODDS,
    ODDS_BACK,
    ODDS_RATIO,
    PAIR_COUNT,
    POINT,
    PRECISION,
    PREDICTORS,
    RATE_DENSITY,
    REGRESSION,
    REGRESSION_BACK,
    RESIDUAL,
    RESIDUAL_BACK,
    SETTING_INTERCEPT,
    SETTING_TRIAL,
    SHIFT,
    SHIFT_BACK,
    SHIFT_SCORE,
    SHIFT_SQUARE,
    SUBSET_OBSERVED,
    SUBSETS,
    TABLE,
    TRIAL_LAW,
    TRIAL_MEAN,
    VARIABLE_START,
    block,
    inner,
    scratch,
    size_of,
)
from ketpredict.kernel_units import cluster_coefficients, pass_cluster_back


@inner
def law_forward(numbers, work):
    """Return the log prior of the predictors' law; write what subsets and clusters need of it."""
    point, gradient = scratch(numbers, work, POINT), scratch(numbers, work, GRADIENT)
    binary, size = block(numbers, BINARY_IDX), size_of(numbers, N_CONTINUOUS)
    binaries, count = size_of(numbers, N_BINARIES), size_of(numbers, PREDICTORS)
    laws, subsets = size_of(numbers, LAWS), size_of(numbers, SUBSETS)
    trial_mean = scratch(numbers, work, TRIAL_MEAN)
    total = trial_mean_prior(point, gradient, numbers, trial_mean)
    factor = scratch(numbers, work, FACTOR).reshape(size, size)
    total += cholesky_prior(point, gradient, numbers, factor)
    drawn, part = normal_prior(point, gradient, numbers, BINARY_SHIFT, size * binaries)
    total += part
    shift = scratch(numbers, work, SHIFT)
    for i in range(shift.shape[0]):
        shift[i] = drawn[i]
    odds = scratch(numbers, work, ODDS)
    drawn, part = normal_prior(point, gradient, numbers, ODDS_RATIO, odds.shape[0])
    total += part
    for i in range(odds.shape[0]):
        odds[i] = drawn[i]
    mean = scratch(numbers, work, MEAN).reshape(laws, count)
    density = scratch(numbers, work, RATE_DENSITY).reshape(laws, binaries)
    law_means(numbers, trial_mean, mean, density)
    table = scratch(numbers, work, TABLE).reshape(laws, binaries, 2, 2)
    chain_count = scratch(numbers, work, CHAIN_COUNT).reshape(laws, binaries, 2, 2)
    pair_count = block(numbers, PAIR_COUNT).reshape(laws, binaries, 2, 2)
    rate = np.empty(binaries)
    for law in range(laws):
        for j in range(binaries):
            rate[j] = mean[law, int(binary[j])]
        chain_log(rate, odds, table[law])
        for j in range(binaries):
            for before in range(2):
                for own in range(2):
                    people = pair_count[law, j, before, own]
                    chain_count[law, j, before, own] = people
                    if people > 0.0:
                        total += people * table[law, j, before, own]
    covariance = scratch(numbers, work, COVARIANCE).reshape(size, size)
    for i in range(size):
        for j in range(size):
            for k in range(min(i, j) + 1):
                covariance[i, j] += factor[i, k] * factor[j, k]
    observed = block(numbers, SUBSET_OBSERVED).reshape(subsets, size)
    precision = scratch(numbers, work, PRECISION).reshape(subsets, size, size)
    weight = scratch(numbers, work, REGRESSION).reshape(subsets, size, size)
    residual = scratch(numbers, work, RESIDUAL).reshape(subsets, size, size)
    log_determinant = scratch(numbers, work, LOG_DETERMINANT)
    for subset in range(subsets):
        known = observed[subset]
        log_determinant[subset] = invert_subset(covariance, known, precision[subset])
        subset_regression(covariance, known, precision[subset], weight[subset], residual[subset])
    _carry_shift(numbers, work)
    _across_forward(numbers, work, mean)
    cluster_coefficients(numbers, work)
    return total


@inner
def _carry_shift(numbers, work):
    """Write what patterns need of each subset: ``S_oo^{-1} B`` and ``B' S_oo^{-1} B``."""
    size, binaries = size_of(numbers, N_CONTINUOUS), size_of(numbers, N_BINARIES)
    subsets, shift = size_of(numbers, SUBSETS), scratch(numbers, work, SHIFT)
    precision = scratch(numbers, work, PRECISION).reshape(subsets, size, size)
    carried = scratch(numbers, work, SHIFT_SCORE).reshape(subsets, size, binaries)
    square = scratch(numbers, work, SHIFT_SQUARE).reshape(subsets, binaries, binaries)
    for subset in range(subsets):
        for i in range(size):
            for j in range(binaries):
                for m in range(size):
                    value = precision[subset, i, m] * shift[m * binaries + j]
                    carried[subset, i, j] += value
                    for b in range(binaries):
                        square[subset, b, j] += shift[i * binaries + b] * value


@inner
def _across_forward(numbers, work, mean):
    """Add to each setting's intercept what the means of its trial say."""
    trial, law = block(numbers, SETTING_TRIAL), block(numbers, TRIAL_LAW)
    reference, across = block(numbers, ACROSS_REFERENCE), scratch(numbers, work, ACROSS)
    intercept = scratch(numbers, work, SETTING_INTERCEPT)
    for i in range(intercept.shape[0]):
        own = int(law[int(trial[i])])
        for k in range(across.shape[0]):
            intercept[i] += across[k] * (mean[own, k] - reference[k])


@inner
def _across_back(numbers, work, mean, mean_back):
    """Pass derivatives with respect to intercepts on to slopes across trials and their means."""
    trial, law = block(numbers, SETTING_TRIAL), block(numbers, TRIAL_LAW)
    reference, across = block(numbers, ACROSS_REFERENCE), scratch(numbers, work, ACROSS)
    across_back = scratch(numbers, work, ACROSS_BACK)
    intercept_back = scratch(numbers, work, INTERCEPT_BACK)
    for i in range(intercept_back.shape[0]):
        own = int(law[int(trial[i])])
        for k in range(across.shape[0]):
            across_back[k] += intercept_back[i] * (mean[own, k] - reference[k])
            mean_back[own, k] += intercept_back[i] * across[k]


@inner
def law_back(numbers, work):
    """Pass derivatives with respect to the predictors' law on to the point; return 0."""
    point, gradient = scratch(numbers, work, POINT), scratch(numbers, work, GRADIENT)
    binary, size = block(numbers, BINARY_IDX), size_of(numbers, N_CONTINUOUS)
    binaries, count = size_of(numbers, N_BINARIES), size_of(numbers, PREDICTORS)
    laws, subsets = size_of(numbers, LAWS), size_of(numbers, SUBSETS)
    starts = block(numbers, VARIABLE_START)
    pass_cluster_back(numbers, work)
    mean = scratch(numbers, work, MEAN).reshape(laws, count)
    mean_back = scratch(numbers, work, MEAN_BACK).reshape(laws, count)
    _across_back(numbers, work, mean, mean_back)
    observed = block(numbers, SUBSET_OBSERVED).reshape(subsets, size)
    precision = scratch(numbers, work, PRECISION).reshape(subsets, size, size)
    weight = scratch(numbers, work, REGRESSION).reshape(subsets, size, size)
    weight_back = scratch(numbers, work, REGRESSION_BACK).reshape(subsets, size, size)
    residual_back = scratch(numbers, work, RESIDUAL_BACK).reshape(subsets, size, size)
    covariance_back = scratch(numbers, work, COVARIANCE_BACK).reshape(size, size)
    determinant_back = scratch(numbers, work, DETERMINANT_BACK)
    for subset in range(subsets):
        pass_subset_back(
            observed[subset], precision[subset], weight[subset], weight_back[subset],
            residual_back[subset], covariance_back,
        )  # fmt: skip
        for i in range(size):
            for j in range(size):
                covariance_back[i, j] += determinant_back[subset] * precision[subset, i, j]
    factor = scratch(numbers, work, FACTOR).reshape(size, size)
    pass_cholesky_back(gradient, numbers, factor, covariance_back)
    odds, odds_back = scratch(numbers, work, ODDS), scratch(numbers, work, ODDS_BACK)
    density = scratch(numbers, work, RATE_DENSITY).reshape(laws, binaries)
    chain_count = scratch(numbers, work, CHAIN_COUNT).reshape(laws, binaries, 2, 2)
    mean_cell = block(numbers, MEAN_CELL)
    cell_back = np.zeros(block(numbers, CELL_PREDICTOR).shape[0])
    rate, rate_back = np.empty(binaries), np.empty(binaries)
    for law in range(laws):
        for j in range(binaries):
            rate[j] = mean[law, int(binary[j])]
            rate_back[j] = mean_back[law, int(binary[j])]
        chain_back(rate, odds, chain_count[law], rate_back, odds_back)
        for j in range(binaries):
            mean_back[law, int(binary[j])] = rate_back[j] * density[law, j]
        for k in range(count):
            cell = int(mean_cell[law * count + k])
            if cell >= 0:
                cell_back[cell] += mean_back[law, k]
    pass_trial_mean_back(point, gradient, numbers, cell_back)
    shift_back = scratch(numbers, work, SHIFT_BACK)
    for i in range(shift_back.shape[0]):
        gradient[int(starts[BINARY_SHIFT]) + i] += shift_back[i]
    for j in range(odds.shape[0]):
        gradient[int(starts[ODDS_RATIO]) + j] += odds_back[j]
    return 0.0
