r"""Published arms in the compiled kernel: responders, and summaries of predictors.

Notation as in ``docs/model.md``: proportions :math:`p` (published, or the rates of the trial),
pattern weights :math:`\pi_c`, the residual :math:`r = m_o - \mu_o - B_o(p - \text{centre})` of the
published means, :math:`\tau_k = S_{kk} + \sum_c \pi_c (B_k'(c - p))^2` and
:math:`g_k = \text{sd}_k/\sqrt{\tau_k}` (1 where no SD is published). The derivative of
:math:`\tau_k` by :math:`p` inside the square is zero, because the margins of :math:`\pi` are
:math:`p`.
"""

from __future__ import annotations

import math

import numpy as np

from ketpredict.kernel_chain import chain_back, chain_log, count_pattern, pattern_log
from ketpredict.kernel_numbers import (
    ARM_FAILURES,
    ARM_KNOWN,
    ARM_LAW,
    ARM_PATTERN,
    ARM_RESPONDERS,
    ARM_SD,
    ARM_SETTING,
    ARM_SLOPE,
    ARM_START,
    ARM_SUBSET,
    ARM_VALUE,
    ARM_WEIGHT,
    ASSAY_DEPENDENT,
    BINARY_IDX,
    CENTRE,
    CONTINUOUS_IDX,
    COVARIANCE,
    COVARIANCE_BACK,
    DETERMINANT_BACK,
    INTERCEPT_BACK,
    LAWS,
    LINK_SCALE,
    LINK_WEIGHT,
    LOG_DETERMINANT,
    MEAN,
    MEAN_BACK,
    ODDS,
    ODDS_BACK,
    PRECISION,
    REGRESSION,
    REGRESSION_BACK,
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
from ketpredict.kernel_units import link_terms, most_patterns

_LOG_TWO_PI = math.log(2.0 * math.pi)


@inner
def _proportions(numbers, mean, mean_back):
    """Return the log likelihood of published proportions, and add its derivatives."""
    binary, law_idx = block(numbers, BINARY_IDX), block(numbers, ARM_LAW)
    weight, count = block(numbers, ARM_WEIGHT), mean.shape[1]
    value = block(numbers, ARM_VALUE).reshape(weight.shape[0], count)
    told = block(numbers, ARM_KNOWN).reshape(weight.shape[0], count)
    total = 0.0
    for arm in range(weight.shape[0]):
        law = int(law_idx[arm])
        for j in range(binary.shape[0]):
            k = int(binary[j])
            if told[arm, k] > 0.0:
                one, rate = value[arm, k], mean[law, k]
                total += weight[arm] * (one * math.log(rate) + (1.0 - one) * math.log1p(-rate))
                mean_back[law, k] += weight[arm] * (one / rate - (1.0 - one) / (1.0 - rate))
    return total


@inner
def arms_likelihood(numbers, work):
    """Return the log likelihood of arms, responders and summaries, and add its derivatives."""
    link_weight, link_scale = block(numbers, LINK_WEIGHT), block(numbers, LINK_SCALE)
    continuous, binary = block(numbers, CONTINUOUS_IDX), block(numbers, BINARY_IDX)
    centre, assay = block(numbers, CENTRE), block(numbers, ASSAY_DEPENDENT)
    size, binaries = continuous.shape[0], binary.shape[0]
    laws, subsets = size_of(numbers, LAWS), size_of(numbers, SUBSETS)
    intercept = scratch(numbers, work, SETTING_INTERCEPT)
    intercept_back = scratch(numbers, work, INTERCEPT_BACK)
    slope = scratch(numbers, work, SLOPE).reshape(size_of(numbers, SLOPES), size + binaries)
    slope_back = scratch(numbers, work, SLOPE_BACK).reshape(slope.shape)
    mean = scratch(numbers, work, MEAN).reshape(laws, size + binaries)
    mean_back = scratch(numbers, work, MEAN_BACK).reshape(laws, size + binaries)
    shift = scratch(numbers, work, SHIFT).reshape(size, binaries)
    shift_back = scratch(numbers, work, SHIFT_BACK).reshape(size, binaries)
    odds, odds_back = scratch(numbers, work, ODDS), scratch(numbers, work, ODDS_BACK)
    covariance = scratch(numbers, work, COVARIANCE).reshape(size, size)
    covariance_back = scratch(numbers, work, COVARIANCE_BACK).reshape(size, size)
    precision = scratch(numbers, work, PRECISION).reshape(subsets, size, size)
    weight = scratch(numbers, work, REGRESSION).reshape(subsets, size, size)
    weight_back = scratch(numbers, work, REGRESSION_BACK).reshape(subsets, size, size)
    log_determinant = scratch(numbers, work, LOG_DETERMINANT)
    determinant_back = scratch(numbers, work, DETERMINANT_BACK)
    setting_idx, slope_idx = block(numbers, ARM_SETTING), block(numbers, ARM_SLOPE)
    law_idx, subset_idx = block(numbers, ARM_LAW), block(numbers, ARM_SUBSET)
    responders, failures = block(numbers, ARM_RESPONDERS), block(numbers, ARM_FAILURES)
    people, start = block(numbers, ARM_WEIGHT), block(numbers, ARM_START)
    value = block(numbers, ARM_VALUE).reshape(people.shape[0], size + binaries)
    told = block(numbers, ARM_KNOWN).reshape(people.shape[0], size + binaries)
    sd = block(numbers, ARM_SD).reshape(people.shape[0], size)
    observed = block(numbers, SUBSET_OBSERVED).reshape(subsets, size)
    pattern = block(numbers, ARM_PATTERN).reshape(int(start[-1]), binaries)
    most = most_patterns(start)
    share, share_back, linear_back = np.empty(most), np.empty(most), np.empty(most)
    below, above, moved_by = np.empty(most), np.empty(most), np.empty((most, size))
    rate, rate_back = np.empty(binaries), np.empty(binaries)
    table, counts = np.empty((binaries, 2, 2)), np.empty((binaries, 2, 2))
    residual, score, carried = np.zeros(size), np.zeros(size), np.zeros(size)
    between, ratio, steep = np.empty(size), np.empty(size), np.empty(size)
    steep_back, centred_back = np.empty(size), np.empty(binaries)
    total = _proportions(numbers, mean, mean_back)
    for arm in range(responders.shape[0]):
        setting, s, law = int(setting_idx[arm]), int(slope_idx[arm]), int(law_idx[arm])
        subset, n = int(subset_idx[arm]), people[arm]
        beta, known = slope[s], observed[subset]
        patterns = pattern[int(start[arm]) : int(start[arm + 1])]
        many = patterns.shape[0]
        for j in range(binaries):
            k = int(binary[j])
            rate[j] = value[arm, k] if told[arm, k] > 0.0 else mean[law, k]
            rate_back[j] = centred_back[j] = 0.0
        chain_log(rate, odds, table)
        counts[:] = 0.0
        for c in range(many):
            share[c] = math.exp(pattern_log(table, patterns[c]))
            share_back[c] = 0.0

        # The law of the arm's people.
        base, variance, dimensions = intercept[setting], 0.0, 0
        for i in range(size):
            k = int(continuous[i])
            residual[i] = 0.0
            if known[i] > 0.0:
                dimensions += 1
                residual[i] = value[arm, k] - mean[law, k]
                for j in range(binaries):
                    residual[i] -= shift[i, j] * (rate[j] - centre[int(binary[j])])
            between[i] = 0.0
            for c in range(many):
                moved_by[c, i] = 0.0
                for j in range(binaries):
                    moved_by[c, i] += shift[i, j] * (patterns[c, j] - rate[j])
                between[i] += share[c] * moved_by[c, i] ** 2
            between[i] += covariance[i, i]
            ratio[i] = sd[arm, i] / math.sqrt(between[i]) if sd[arm, i] >= 0.0 else 1.0
            steep[i] = beta[k] * ratio[i]
        square = 0.0
        for i in range(size):
            k = int(continuous[i])
            score[i], carried[i] = 0.0, 0.0
            for m in range(size):
                variance += steep[i] * covariance[i, m] * steep[m]
                if known[i] > 0.0:
                    score[i] += precision[subset, i, m] * residual[m]
                else:
                    carried[i] += weight[subset, i, m] * residual[m]
            square += score[i] * residual[i]
            if known[i] > 0.0:
                base += beta[k] * (value[arm, k] - assay[k] * mean[law, k])
            else:
                base += beta[k] * ((1.0 - assay[k]) * mean[law, k] + carried[i])

        # Responders.
        success, failure, variance_back = 0.0, 0.0, 0.0
        for c in range(many):
            linear = base
            for i in range(size):
                k = int(continuous[i])
                if known[i] > 0.0:
                    linear += beta[k] * moved_by[c, i]
                else:
                    for j in range(binaries):
                        away = patterns[c, j] - centre[int(binary[j])]
                        linear += beta[k] * shift[i, j] * away
            for j in range(binaries):
                k = int(binary[j])
                linear += beta[k] * (patterns[c, j] - centre[k])
            below[c], above[c], linear_back[c], by_variance = link_terms(
                linear, variance, link_weight, link_scale
            )
            success += share[c] * below[c]
            failure += share[c] * above[c]
            variance_back += share[c] * by_variance
        moved = 0.0
        if responders[arm] > 0.0:
            total += responders[arm] * math.log(success)
            moved += responders[arm] / success
        if failures[arm] > 0.0:
            total += failures[arm] * math.log(failure)
            moved -= failures[arm] / failure
        variance_back *= moved
        base_back = 0.0
        for c in range(many):
            linear_back[c] *= moved * share[c]
            base_back += linear_back[c]
            # Not `moved` times: responders and failures apart keep their digits in the tails.
            if responders[arm] > 0.0:
                share_back[c] += responders[arm] * below[c] / success
            if failures[arm] > 0.0:
                share_back[c] += failures[arm] * above[c] / failure
            for j in range(binaries):
                centred_back[j] += linear_back[c] * (patterns[c, j] - centre[int(binary[j])])
        intercept_back[setting] += base_back

        # Summaries of predictors.
        if dimensions > 0:
            total -= 0.5 * (dimensions * (_LOG_TWO_PI - math.log(n)) + log_determinant[subset])
            total -= 0.5 * n * square
            determinant_back[subset] -= 0.5
        for i in range(size):
            steep_back[i] = 0.0
            for m in range(size):
                steep_back[i] += 2.0 * variance_back * covariance[i, m] * steep[m]
                covariance_back[i, m] += variance_back * steep[i] * steep[m]
                covariance_back[i, m] += 0.5 * n * score[i] * score[m]
        for i in range(size):
            k = int(continuous[i])
            slope_back[s, k] += steep_back[i] * ratio[i]
            if sd[arm, i] >= 0.0:
                between_back = -0.5 * steep_back[i] * beta[k] * ratio[i] / between[i]
                if n > 1.0:
                    fit = sd[arm, i] ** 2 / between[i]
                    total -= 0.5 * (n - 1.0) * (math.log(between[i]) + fit)
                    between_back += 0.5 * (n - 1.0) * (fit - 1.0) / between[i]
                covariance_back[i, i] += between_back
                for c in range(many):
                    share_back[c] += between_back * moved_by[c, i] ** 2
                    for j in range(binaries):
                        away = patterns[c, j] - rate[j]
                        shift_back[i, j] += between_back * share[c] * 2.0 * moved_by[c, i] * away

        # Means, and what the published ones say about the others.
        for i in range(size):
            k = int(continuous[i])
            if known[i] > 0.0:
                slope_back[s, k] += base_back * (value[arm, k] - assay[k] * mean[law, k])
                mean_back[law, k] -= base_back * assay[k] * beta[k]
                residual_back = -n * score[i]
                for m in range(size):
                    residual_back += base_back * beta[int(continuous[m])] * weight[subset, m, i]
                mean_back[law, k] -= residual_back
                for j in range(binaries):
                    away = rate[j] - centre[int(binary[j])]
                    from_rate = centred_back[j] - base_back * away
                    slope_back[s, k] += shift[i, j] * from_rate
                    shift_back[i, j] += beta[k] * from_rate - residual_back * away
                    rate_back[j] -= (base_back * beta[k] + residual_back) * shift[i, j]
            else:
                slope_back[s, k] += base_back * ((1.0 - assay[k]) * mean[law, k] + carried[i])
                mean_back[law, k] += base_back * (1.0 - assay[k]) * beta[k]
                for m in range(size):
                    weight_back[subset, i, m] += base_back * beta[k] * residual[m]
                for j in range(binaries):
                    slope_back[s, k] += shift[i, j] * centred_back[j]
                    shift_back[i, j] += beta[k] * centred_back[j]
        for j in range(binaries):
            slope_back[s, int(binary[j])] += centred_back[j]
        for c in range(many):
            count_pattern(patterns[c], share[c] * share_back[c], counts)
        chain_back(rate, odds, counts, rate_back, odds_back)
        for j in range(binaries):
            k = int(binary[j])
            if told[arm, k] <= 0.0:
                mean_back[law, k] += rate_back[j]
    return total
