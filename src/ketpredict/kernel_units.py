r"""What patients' outcomes say, in the compiled kernel.

The linear predictor of a patient is a constant of the setting and cluster plus a product of the
cluster's coefficients with the known values. With :math:`\beta` the slopes, :math:`\mu` the means
of the law, :math:`a` marking assay-dependent predictors and :math:`\omega = W'\beta_m`,

.. math::

    \theta_o = \beta_o + \omega, \quad
    \theta_b = \beta_b + B_{mb}'\beta_m - B_{ob}'\omega, \quad
    v = \beta_m' V \beta_m, \quad
    \text{constant} = \textstyle\sum_m (1 - a_m)\mu_m\beta_m - \sum_o (a_o\beta_o + \omega_o)\mu_o .
"""

from __future__ import annotations

import math

import numpy as np

from ketpredict.kernel_numbers import (
    ASSAY_DEPENDENT,
    BINARY_IDX,
    CLUSTER_LAW,
    CLUSTER_SLOPE,
    CLUSTER_SUBSET,
    CLUSTERS,
    COEFFICIENTS,
    COEFFICIENTS_BACK,
    CONTINUOUS_IDX,
    INTERCEPT_BACK,
    LAWS,
    LINK_SCALE,
    LINK_WEIGHT,
    MEAN,
    MEAN_BACK,
    OPEN_CLUSTER,
    OPEN_FAILURES,
    OPEN_PATTERN,
    OPEN_RESPONDERS,
    OPEN_SETTING,
    OPEN_START,
    OPEN_VALUE,
    PREDICTORS,
    REGRESSION,
    REGRESSION_BACK,
    RESIDUAL,
    RESIDUAL_BACK,
    ROW_FAILURES,
    ROW_RESPONDERS,
    ROW_VALUE,
    RUN_CLUSTER,
    RUN_SETTING,
    RUN_START,
    SETTING_INTERCEPT,
    SHIFT,
    SHIFT_BACK,
    SLOPE,
    SLOPE_BACK,
    SLOPES,
    SUBSET_OBSERVED,
    SUBSETS,
    block,
    inner,
    scratch,
    size_of,
)
from ketpredict.kernel_people import log_sum, pass_pattern_back, pattern_terms

_ROOT_HALF = math.sqrt(0.5)
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)
_SMALL = 1e-150


@inner
def link_terms(linear, variance, weight, scale):
    """Return the probabilities of response and of none, and derivatives of the first.

    Both probabilities come from the smaller tail, so that both keep their digits.

    Returns
    -------
    tuple of float
        Success, failure, derivative by `linear`, derivative by `variance`.
    """
    success, failure, by_linear, by_variance = 0.0, 0.0, 0.0, 0.0
    for i in range(weight.shape[0]):
        square = scale[i] * scale[i]
        spread = 1.0 + square * variance
        steepness = scale[i] / math.sqrt(spread)
        standard = steepness * linear
        tail = 0.5 * math.erfc(abs(standard) * _ROOT_HALF)
        success += weight[i] * (1.0 - tail if standard > 0.0 else tail)
        failure += weight[i] * (tail if standard > 0.0 else 1.0 - tail)
        density = weight[i] * _DENSITY * math.exp(-0.5 * standard * standard)
        by_linear += density * steepness
        by_variance -= 0.5 * density * standard * square / spread
    return success, failure, by_linear, by_variance


@inner
def most_patterns(start):
    """Return the largest number of patterns of one row."""
    most = 0
    for row in range(start.shape[0] - 1):
        most = max(most, int(start[row + 1] - start[row]))
    return most


@inner
def cluster_coefficients(numbers, work):
    """Write coefficients, constant and variance of each cluster, (cluster, predictor + 2)."""
    continuous, binary = block(numbers, CONTINUOUS_IDX), block(numbers, BINARY_IDX)
    assay = block(numbers, ASSAY_DEPENDENT)
    size, binaries = continuous.shape[0], binary.shape[0]
    laws, subsets = size_of(numbers, LAWS), size_of(numbers, SUBSETS)
    mean = scratch(numbers, work, MEAN).reshape(laws, size + binaries)
    shift = scratch(numbers, work, SHIFT).reshape(size, binaries)
    slope = scratch(numbers, work, SLOPE).reshape(size_of(numbers, SLOPES), size + binaries)
    weight = scratch(numbers, work, REGRESSION).reshape(subsets, size, size)
    residual = scratch(numbers, work, RESIDUAL).reshape(subsets, size, size)
    clusters = size_of(numbers, CLUSTERS)
    values = scratch(numbers, work, COEFFICIENTS).reshape(clusters, size + binaries + 2)
    observed = block(numbers, SUBSET_OBSERVED).reshape(subsets, size)
    slope_idx, law_idx = block(numbers, CLUSTER_SLOPE), block(numbers, CLUSTER_LAW)
    subset_idx = block(numbers, CLUSTER_SUBSET)
    count = size + binaries
    omega = np.empty(size)
    for c in range(slope_idx.shape[0]):
        beta, law = slope[int(slope_idx[c])], int(law_idx[c])
        subset = int(subset_idx[c])
        known, constant, variance = observed[subset], 0.0, 0.0
        for j in range(binaries):
            values[c, int(binary[j])] = beta[int(binary[j])]
        for i in range(size):
            k = int(continuous[i])
            omega[i] = 0.0
            if known[i] > 0.0:
                for m in range(size):
                    omega[i] += weight[subset, m, i] * beta[int(continuous[m])]
                values[c, k] = beta[k] + omega[i]
                constant -= (assay[k] * beta[k] + omega[i]) * mean[law, k]
            else:
                values[c, k] = 0.0
                constant += (1.0 - assay[k]) * beta[k] * mean[law, k]
                for m in range(size):
                    variance += beta[k] * residual[subset, i, m] * beta[int(continuous[m])]
            through = -omega[i] if known[i] > 0.0 else beta[k]
            for j in range(binaries):
                values[c, int(binary[j])] += through * shift[i, j]
        values[c, count], values[c, count + 1] = constant, variance


@inner
def pass_cluster_back(numbers, work):
    """Pass derivatives with respect to coefficients, constants and variances of clusters on."""
    continuous, binary = block(numbers, CONTINUOUS_IDX), block(numbers, BINARY_IDX)
    assay = block(numbers, ASSAY_DEPENDENT)
    size, binaries = continuous.shape[0], binary.shape[0]
    laws, subsets = size_of(numbers, LAWS), size_of(numbers, SUBSETS)
    mean = scratch(numbers, work, MEAN).reshape(laws, size + binaries)
    shift = scratch(numbers, work, SHIFT).reshape(size, binaries)
    slope = scratch(numbers, work, SLOPE).reshape(size_of(numbers, SLOPES), size + binaries)
    weight = scratch(numbers, work, REGRESSION).reshape(subsets, size, size)
    residual = scratch(numbers, work, RESIDUAL).reshape(subsets, size, size)
    clusters = size_of(numbers, CLUSTERS)
    back = scratch(numbers, work, COEFFICIENTS_BACK).reshape(clusters, size + binaries + 2)
    mean_back = scratch(numbers, work, MEAN_BACK).reshape(laws, size + binaries)
    shift_back = scratch(numbers, work, SHIFT_BACK).reshape(size, binaries)
    slope_back = scratch(numbers, work, SLOPE_BACK).reshape(slope.shape)
    weight_back = scratch(numbers, work, REGRESSION_BACK).reshape(subsets, size, size)
    residual_back = scratch(numbers, work, RESIDUAL_BACK).reshape(subsets, size, size)
    observed = block(numbers, SUBSET_OBSERVED).reshape(subsets, size)
    slope_idx, law_idx = block(numbers, CLUSTER_SLOPE), block(numbers, CLUSTER_LAW)
    subset_idx = block(numbers, CLUSTER_SUBSET)
    count = size + binaries
    omega_back = np.zeros(size)
    for c in range(slope_idx.shape[0]):
        s, law, subset = int(slope_idx[c]), int(law_idx[c]), int(subset_idx[c])
        beta, known = slope[s], observed[subset]
        constant, variance = back[c, count], back[c, count + 1]
        for j in range(binaries):
            slope_back[s, int(binary[j])] += back[c, int(binary[j])]
        for i in range(size):
            k = int(continuous[i])
            omega_back[i] = 0.0
            if known[i] > 0.0:
                omega = 0.0
                for m in range(size):
                    omega += weight[subset, m, i] * beta[int(continuous[m])]
                slope_back[s, k] += back[c, k] - assay[k] * mean[law, k] * constant
                mean_back[law, k] -= (assay[k] * beta[k] + omega) * constant
                omega_back[i] = back[c, k] - mean[law, k] * constant
                for j in range(binaries):
                    omega_back[i] -= shift[i, j] * back[c, int(binary[j])]
                    shift_back[i, j] -= omega * back[c, int(binary[j])]
            else:
                slope_back[s, k] += (1.0 - assay[k]) * mean[law, k] * constant
                mean_back[law, k] += (1.0 - assay[k]) * beta[k] * constant
                for j in range(binaries):
                    slope_back[s, k] += shift[i, j] * back[c, int(binary[j])]
                    shift_back[i, j] += beta[k] * back[c, int(binary[j])]
        for m in range(size):
            if known[m] > 0.0:
                continue
            k = int(continuous[m])
            for i in range(size):
                own = int(continuous[i])
                if known[i] > 0.0:
                    slope_back[s, k] += weight[subset, m, i] * omega_back[i]
                    weight_back[subset, m, i] += beta[k] * omega_back[i]
                else:
                    slope_back[s, k] += 2.0 * variance * residual[subset, m, i] * beta[own]
                    residual_back[subset, m, i] += variance * beta[k] * beta[own]


@inner
def closed_likelihood(numbers, work):
    """Return the log likelihood of patients with all binaries known, and add its derivatives."""
    weight, scale = block(numbers, LINK_WEIGHT), block(numbers, LINK_SCALE)
    start, setting_idx = block(numbers, RUN_START), block(numbers, RUN_SETTING)
    cluster_idx = block(numbers, RUN_CLUSTER)
    responders, failures = block(numbers, ROW_RESPONDERS), block(numbers, ROW_FAILURES)
    count, clusters = size_of(numbers, PREDICTORS), size_of(numbers, CLUSTERS)
    intercept = scratch(numbers, work, SETTING_INTERCEPT)
    intercept_back = scratch(numbers, work, INTERCEPT_BACK)
    values = scratch(numbers, work, COEFFICIENTS).reshape(clusters, count + 2)
    back = scratch(numbers, work, COEFFICIENTS_BACK).reshape(clusters, count + 2)
    flat = block(numbers, ROW_VALUE)
    probit, total, product = weight.shape[0] == 1, 0.0, 1.0
    for run in range(setting_idx.shape[0]):
        setting, c = int(setting_idx[run]), int(cluster_idx[run])
        base, variance = intercept[setting] + values[c, count], values[c, count + 1]
        base_back, variance_back = 0.0, 0.0
        spread = 1.0 + variance
        steepness = 1.0 / math.sqrt(spread)
        for row in range(int(start[run]), int(start[run + 1])):
            linear, first, moved = base, row * count, 0.0
            for k in range(count):
                linear += values[c, k] * flat[first + k]
            if probit:
                # The same as below, without what is shared by the run: most rows are of this kind.
                standard = steepness * linear
                density = _DENSITY * math.exp(-0.5 * standard * standard)
                if responders[row] > 0.0:
                    success = 0.5 * math.erfc(-standard * _ROOT_HALF)
                    moved = 1.0 / success
                    if responders[row] == 1.0 and success > _SMALL:
                        product *= success
                    else:
                        total += responders[row] * math.log(success)
                        moved *= responders[row]
                if failures[row] > 0.0:
                    failure = 0.5 * math.erfc(standard * _ROOT_HALF)
                    if failures[row] == 1.0 and failure > _SMALL:
                        product *= failure
                        moved -= 1.0 / failure
                    else:
                        total += failures[row] * math.log(failure)
                        moved -= failures[row] / failure
                # One logarithm for many rows, taken before their product loses digits.
                if product < _SMALL:
                    total += math.log(product)
                    product = 1.0
                by_linear = moved * density * steepness
                variance_back -= 0.5 * by_linear * linear / spread
            else:
                success, failure, by_linear, by_variance = link_terms(
                    linear, variance, weight, scale
                )
                if responders[row] > 0.0:
                    total += responders[row] * math.log(success)
                    moved += responders[row] / success
                if failures[row] > 0.0:
                    total += failures[row] * math.log(failure)
                    moved -= failures[row] / failure
                by_linear *= moved
                variance_back += by_variance * moved
            base_back += by_linear
            for k in range(count):
                back[c, k] += by_linear * flat[first + k]
        intercept_back[setting] += base_back
        back[c, count] += base_back
        back[c, count + 1] += variance_back
    return total + math.log(product)


@inner
def open_likelihood(numbers, work):
    """Return the log likelihood of patients with an unknown binary, and add its derivatives."""
    weight, scale = block(numbers, LINK_WEIGHT), block(numbers, LINK_SCALE)
    binary = block(numbers, BINARY_IDX)
    size, binaries = block(numbers, CONTINUOUS_IDX).shape[0], binary.shape[0]
    clusters = size_of(numbers, CLUSTERS)
    intercept = scratch(numbers, work, SETTING_INTERCEPT)
    intercept_back = scratch(numbers, work, INTERCEPT_BACK)
    values = scratch(numbers, work, COEFFICIENTS).reshape(clusters, size + binaries + 2)
    back = scratch(numbers, work, COEFFICIENTS_BACK).reshape(clusters, size + binaries + 2)
    responders, failures = block(numbers, OPEN_RESPONDERS), block(numbers, OPEN_FAILURES)
    setting_idx, cluster_idx = block(numbers, OPEN_SETTING), block(numbers, OPEN_CLUSTER)
    law_idx, subset_idx = block(numbers, CLUSTER_LAW), block(numbers, CLUSTER_SUBSET)
    start = block(numbers, OPEN_START)
    if responders.shape[0] == 0:
        return 0.0
    count = size + binaries
    flat = block(numbers, OPEN_VALUE).reshape(responders.shape[0], count)
    pattern = block(numbers, OPEN_PATTERN).reshape(int(start[-1]), binaries)
    most = most_patterns(start)
    logs, share = np.empty(most), np.empty(most)
    distance, score = np.empty((most, binaries)), np.empty(size)
    below, above = np.empty(most), np.empty(most)
    by_linear, by_variance = np.empty(most), np.empty(most)
    row_value, share_back = np.empty(count), np.empty(most)
    total = 0.0
    for row in range(responders.shape[0]):
        setting, c = int(setting_idx[row]), int(cluster_idx[row])
        law, subset = int(law_idx[c]), int(subset_idx[c])
        patterns = pattern[int(start[row]) : int(start[row + 1])]
        many = patterns.shape[0]
        pattern_terms(numbers, work, flat[row], law, subset, patterns, logs, distance, score)
        log_sum(logs, many, share)
        known = intercept[setting] + values[c, count]
        for k in range(count):
            row_value[k] = flat[row, k]
        for j in range(binaries):
            row_value[int(binary[j])] = 0.0
        for k in range(count):
            known += values[c, k] * row_value[k]
        success, failure = 0.0, 0.0
        for p in range(many):
            linear = known
            for j in range(binaries):
                k = int(binary[j])
                linear += values[c, k] * distance[p, j]
            below[p], above[p], by_linear[p], by_variance[p] = link_terms(
                linear, values[c, count + 1], weight, scale
            )
            success += share[p] * below[p]
            failure += share[p] * above[p]
        moved = 0.0
        if responders[row] > 0.0:
            total += responders[row] * math.log(success)
            moved += responders[row] / success
        if failures[row] > 0.0:
            total += failures[row] * math.log(failure)
            moved -= failures[row] / failure
        base_back = 0.0
        for p in range(many):
            own = moved * share[p] * by_linear[p]
            base_back += own
            back[c, count + 1] += moved * share[p] * by_variance[p]
            for j in range(binaries):
                k = int(binary[j])
                back[c, k] += own * distance[p, j]
            # Not `moved` times: responders and failures apart keep their digits in the tails.
            share_back[p] = 0.0
            if responders[row] > 0.0:
                share_back[p] += share[p] * responders[row] * (below[p] / success - 1.0)
            if failures[row] > 0.0:
                share_back[p] += share[p] * failures[row] * (above[p] / failure - 1.0)
        intercept_back[setting] += base_back
        back[c, count] += base_back
        for k in range(count):
            back[c, k] += base_back * row_value[k]
        pass_pattern_back(numbers, work, law, subset, patterns, share_back, distance, score)
    return total
