r"""The kernel's likelihood of published predictor effects; see :mod:`ketpredict.graph_effects`.

With :math:`t = Vb`, :math:`w = V_{AA}^{-1} e_k` and :math:`c = V_{AA}^{-1} t_A` (zero outside
:math:`A`) the reverse pass is

.. math:: dc_k = w'(dV\,b - dV\,c) + (Vw)'db, \quad d(V_{AA}^{-1})_{kk} = -w'dV\,w, \quad
          d(b'Vb) = b'dV\,b + 2t'db, \quad d(t_A'c) = 2c'(dV\,b + V\,db) - c'dV\,c.
"""

from __future__ import annotations

import math

import numpy as np

from ketpredict.kernel_chain import pair_cells
from ketpredict.kernel_effect import below, normal, one_effect
from ketpredict.kernel_numbers import (
    BINARY_IDX,
    CONTINUOUS_IDX,
    COVARIANCE,
    COVARIANCE_BACK,
    EFFECT_ADJUSTED,
    EFFECT_DEVIATION_RAW,
    EFFECT_DISTANCE,
    EFFECT_ERROR,
    EFFECT_ERROR_PLACE,
    EFFECT_GROUP,
    EFFECT_GROUP_PREDICTOR,
    EFFECT_GROUP_SCALE,
    EFFECT_GROUP_UNSEEN,
    EFFECT_HORIZON_PLACE,
    EFFECT_HORIZON_RAW,
    EFFECT_HORIZON_SCALE,
    EFFECT_LEVEL,
    EFFECT_LEVEL_PLACE,
    EFFECT_POPULATION,
    EFFECT_PREDICTOR,
    EFFECT_SCALE,
    EFFECT_SHARED,
    EFFECT_STANDARD_ERROR,
    FIXED,
    GRADIENT,
    LOG_REFERENCE_VARIANCE,
    N_BINARIES,
    N_CONTINUOUS,
    ODDS,
    ODDS_BACK,
    POINT,
    POPULATION_SLOPE_RAW,
    POPULATIONS,
    PREDICTIVE_RAW,
    PREDICTOR_LOCATION,
    PREDICTORS,
    PRIOR,
    PROGNOSTIC_RAW,
    RATE_LOCATION,
    SHIFT,
    SHIFT_BACK,
    SLOPE_SCALES,
    SLOPE_SCALES_BACK,
    VARIABLE_START,
    block,
    inner,
    scratch,
    size_of,
)
from ketpredict.kernel_prior import scale_prior, standard_normal_prior


@inner
def effects_likelihood(numbers, work):
    """Return log prior and log likelihood of the published effects; add all their derivatives."""
    point, gradient = scratch(numbers, work, POINT), scratch(numbers, work, GRADIENT)
    starts, count = block(numbers, VARIABLE_START), size_of(numbers, PREDICTORS)
    predictor, group = block(numbers, EFFECT_PREDICTOR), block(numbers, EFFECT_GROUP)
    number, binaries = predictor.shape[0], size_of(numbers, N_BINARIES)
    groups = block(numbers, EFFECT_GROUP_PREDICTOR).shape[0]
    adjusted = block(numbers, EFFECT_ADJUSTED).reshape(number, count)
    errors, shared = block(numbers, EFFECT_STANDARD_ERROR), block(numbers, EFFECT_SHARED)
    error_place = block(numbers, EFFECT_ERROR_PLACE)
    level_place = block(numbers, EFFECT_LEVEL_PLACE)
    raw = int(starts[EFFECT_DEVIATION_RAW])
    total = standard_normal_prior(point, gradient, raw, groups)
    spread, deviation_back = np.empty(groups), np.zeros(groups)
    total += _group_spread(numbers, work, spread)
    step, part = scale_prior(point, gradient, numbers, EFFECT_HORIZON_SCALE)
    total += part
    total += _plain_normals(point, gradient, numbers)
    covariance, covariance_back = np.zeros((count, count)), np.zeros((count, count))
    rate, between = np.zeros(binaries), np.zeros((binaries, binaries))
    _whole_covariance(numbers, work, rate, between, covariance)
    slope, slope_back = np.empty(count), np.empty(count)
    step_back = 0.0
    for i in range(number):
        k, g = int(predictor[i]), int(group[i])
        unit = math.exp(-0.5 * block(numbers, LOG_REFERENCE_VARIANCE)[k])
        _cohort_slope(numbers, work, i, slope)
        slope[k] += spread[g] * point[raw + g]
        apart = int(block(numbers, EFFECT_HORIZON_PLACE)[i])
        move = 0.0
        if apart >= 0:
            move = block(numbers, EFFECT_DISTANCE)[i] * unit
            move *= point[int(starts[EFFECT_HORIZON_RAW]) + apart]
            slope[k] += step * move
        slope_back[:] = 0.0
        own, factor, moved = -1, 1.0, 0.0
        if level_place[i] >= 0.0:
            own = int(starts[EFFECT_LEVEL]) + int(level_place[i])
        elif error_place[i] >= 0.0:
            own = int(starts[EFFECT_ERROR]) + int(error_place[i])
            factor = errors[i] * math.sqrt(shared[i])
        if own >= 0:
            moved = factor * point[own]
        part, moved_back = one_effect(
            numbers, i, adjusted[i], slope, covariance, moved, slope_back, covariance_back
        )
        total += part
        if own >= 0:
            gradient[own] += moved_back * factor
        deviation_back[g] += slope_back[k]
        if apart >= 0:
            start = int(starts[EFFECT_HORIZON_RAW]) + apart
            gradient[start] += slope_back[k] * step * block(numbers, EFFECT_DISTANCE)[i] * unit
            step_back += slope_back[k] * move
        _pass_cohort_slope(numbers, work, i, slope_back)
    if int(starts[EFFECT_HORIZON_SCALE]) >= 0:
        gradient[int(starts[EFFECT_HORIZON_SCALE])] += step_back * step
    for g in range(groups):
        gradient[raw + g] += deviation_back[g] * spread[g]
        deviation_back[g] *= point[raw + g]
    _pass_group_spread(numbers, work, spread, deviation_back)
    _pass_whole_covariance(numbers, work, rate, between, covariance_back)
    return total


@inner
def _plain_normals(point, gradient, numbers):
    """Return the log prior of horizon positions, shared errors and levels, all standard normal."""
    starts, total = block(numbers, VARIABLE_START), 0.0
    apart, errors = block(numbers, EFFECT_HORIZON_PLACE), block(numbers, EFFECT_ERROR_PLACE)
    levels = block(numbers, EFFECT_LEVEL_PLACE)
    if int(starts[EFFECT_HORIZON_RAW]) >= 0:
        size = int(apart.max()) + 1
        total += standard_normal_prior(point, gradient, int(starts[EFFECT_HORIZON_RAW]), size)
    if int(starts[EFFECT_ERROR]) >= 0:
        size = int(errors.max()) + 1
        total += standard_normal_prior(point, gradient, int(starts[EFFECT_ERROR]), size)
    if int(starts[EFFECT_LEVEL]) >= 0:
        size = int(levels.max()) + 1
        total += standard_normal_prior(point, gradient, int(starts[EFFECT_LEVEL]), size)
    return total


@inner
def _study_scale(point, numbers, predictor):
    """Return the spread of a predictor's slope between published studies, per SD."""
    start = int(block(numbers, VARIABLE_START)[EFFECT_SCALE])
    return block(numbers, FIXED)[EFFECT_SCALE] if start < 0 else math.exp(point[start + predictor])


@inner
def _group_spread(numbers, work, spread):
    """Write the spread of each group's slope; return the log prior of the predictors' spreads."""
    point, gradient = scratch(numbers, work, POINT), scratch(numbers, work, GRADIENT)
    owner, scale = block(numbers, EFFECT_GROUP_PREDICTOR), block(numbers, EFFECT_GROUP_SCALE)
    unseen = block(numbers, EFFECT_GROUP_UNSEEN)
    log_variance = block(numbers, LOG_REFERENCE_VARIANCE)
    scales = scratch(numbers, work, SLOPE_SCALES).reshape(4, size_of(numbers, PREDICTORS))
    for g in range(spread.shape[0]):
        k = int(owner[g])
        own = _study_scale(point, numbers, int(scale[g]))
        own_part = own * own * math.exp(-log_variance[k])
        other = (unseen[g] * scales[2, k]) ** 2
        spread[g] = math.sqrt(own_part + scales[3, k] ** 2 + other)
    start, total = int(block(numbers, VARIABLE_START)[EFFECT_SCALE]), 0.0
    if start >= 0:
        wide = block(numbers, PRIOR)[2 * EFFECT_SCALE]
        for j in range(int(scale.max()) + 1):
            ratio = math.exp(point[start + j]) / wide
            gradient[start + j] += 1.0 - ratio * ratio
            total += point[start + j] - 0.5 * ratio * ratio
    return total


@inner
def _pass_group_spread(numbers, work, spread, back):
    """Pass derivatives with respect to the spreads of groups on."""
    point, gradient = scratch(numbers, work, POINT), scratch(numbers, work, GRADIENT)
    owner, scale = block(numbers, EFFECT_GROUP_PREDICTOR), block(numbers, EFFECT_GROUP_SCALE)
    unseen = block(numbers, EFFECT_GROUP_UNSEEN)
    log_variance = block(numbers, LOG_REFERENCE_VARIANCE)
    scales = scratch(numbers, work, SLOPE_SCALES).reshape(4, size_of(numbers, PREDICTORS))
    scales_back = scratch(numbers, work, SLOPE_SCALES_BACK).reshape(4, scales.shape[1])
    start = int(block(numbers, VARIABLE_START)[EFFECT_SCALE])
    for g in range(spread.shape[0]):
        if spread[g] <= 0.0:
            continue
        k, share = int(owner[g]), back[g] / spread[g]
        scales_back[3, k] += share * scales[3, k]
        scales_back[2, k] += share * unseen[g] ** 2 * scales[2, k]
        if start >= 0:
            own = _study_scale(point, numbers, int(scale[g]))
            gradient[start + int(scale[g])] += share * own * own * math.exp(-log_variance[k])


@inner
def _cohort_slope(numbers, work, effect, slope):
    """Write the slopes of an effect's cohort, without its own deviation."""
    point, starts = scratch(numbers, work, POINT), block(numbers, VARIABLE_START)
    count, populations = slope.shape[0], size_of(numbers, POPULATIONS)
    scales = scratch(numbers, work, SLOPE_SCALES).reshape(4, count)
    share = block(numbers, EFFECT_POPULATION)
    first, second = int(starts[PROGNOSTIC_RAW]), int(starts[PREDICTIVE_RAW])
    third = int(starts[POPULATION_SLOPE_RAW])
    for k in range(count):
        slope[k] = scales[0, k] * point[first + k]
        if second >= 0:
            slope[k] += scales[1, k] * point[second + k]
        if third >= 0:
            for p in range(populations):
                own = point[third + p * count + k]
                slope[k] += share[effect * populations + p] * scales[2, k] * own


@inner
def _pass_cohort_slope(numbers, work, effect, back):
    """Pass derivatives with respect to a cohort's slopes on."""
    point, gradient = scratch(numbers, work, POINT), scratch(numbers, work, GRADIENT)
    starts, count = block(numbers, VARIABLE_START), back.shape[0]
    populations, share = size_of(numbers, POPULATIONS), block(numbers, EFFECT_POPULATION)
    scales = scratch(numbers, work, SLOPE_SCALES).reshape(4, count)
    scales_back = scratch(numbers, work, SLOPE_SCALES_BACK).reshape(4, count)
    third = int(starts[POPULATION_SLOPE_RAW])
    for k in range(count):
        for part in range(2):
            start = int(starts[PROGNOSTIC_RAW + part]) + k
            if start < k:
                continue
            gradient[start] += back[k] * scales[part, k]
            scales_back[part, k] += back[k] * point[start]
        if third >= 0:
            for p in range(populations):
                start, own = third + p * count + k, share[effect * populations + p]
                gradient[start] += back[k] * own * scales[2, k]
                scales_back[2, k] += back[k] * own * point[start]


@inner
def _whole_covariance(numbers, work, rate, between, whole):
    """Write the covariance of all predictors in a trial with average rates."""
    point, starts = scratch(numbers, work, POINT), block(numbers, VARIABLE_START)
    continuous, binary = block(numbers, CONTINUOUS_IDX), block(numbers, BINARY_IDX)
    size, binaries = continuous.shape[0], binary.shape[0]
    odds, shift = scratch(numbers, work, ODDS), scratch(numbers, work, SHIFT)
    own = scratch(numbers, work, COVARIANCE).reshape(size, size)
    location, first = block(numbers, RATE_LOCATION), int(starts[PREDICTOR_LOCATION])
    for j in range(binaries):
        k = int(binary[j])
        rate[j] = below(location[k] + point[first + k])
        between[j, j] = rate[j] * (1.0 - rate[j])
    for j in range(1, binaries):
        both, only_p, only_q, none = pair_cells(rate[j - 1], rate[j], odds[j - 1])
        between[j - 1, j] = both * none - only_p * only_q
        between[j, j - 1] = between[j - 1, j]
    for end in range(2, binaries):
        for j in range(end - 1):
            ratio = between[end - 1, end] / between[end - 1, end - 1]
            between[j, end] = between[j, end - 1] * ratio
            between[end, j] = between[j, end]
    for j in range(binaries):
        for m in range(binaries):
            whole[int(binary[j]), int(binary[m])] = between[j, m]
    for i in range(size):
        a = int(continuous[i])
        for m in range(size):
            total = own[i, m]
            for j in range(binaries):
                for n in range(binaries):
                    total += shift[i * binaries + j] * between[j, n] * shift[m * binaries + n]
            whole[a, int(continuous[m])] = total
        for j in range(binaries):
            total = 0.0
            for n in range(binaries):
                total += shift[i * binaries + n] * between[n, j]
            whole[a, int(binary[j])] = total
            whole[int(binary[j]), a] = total


@inner
def _pass_whole_covariance(numbers, work, rate, between, back):
    """Pass derivatives with respect to the covariance of all predictors on."""
    continuous, binary = block(numbers, CONTINUOUS_IDX), block(numbers, BINARY_IDX)
    size, binaries = size_of(numbers, N_CONTINUOUS), size_of(numbers, N_BINARIES)
    shift, shift_back = scratch(numbers, work, SHIFT), scratch(numbers, work, SHIFT_BACK)
    own_back = scratch(numbers, work, COVARIANCE_BACK).reshape(size, size)
    inner_back = np.zeros((binaries, binaries))
    for j in range(binaries):
        for n in range(binaries):
            inner_back[j, n] += back[int(binary[j]), int(binary[n])]
    for i in range(size):
        a = int(continuous[i])
        for m in range(size):
            value = back[a, int(continuous[m])]
            own_back[i, m] += value
            for j in range(binaries):
                for n in range(binaries):
                    left, right = shift[i * binaries + j], shift[m * binaries + n]
                    inner_back[j, n] += left * value * right
                    shift_back[i * binaries + j] += value * between[j, n] * right
                    shift_back[m * binaries + n] += value * between[j, n] * left
        for j in range(binaries):
            value = back[a, int(binary[j])] + back[int(binary[j]), a]
            for n in range(binaries):
                shift_back[i * binaries + n] += value * between[n, j]
                inner_back[n, j] += value * shift[i * binaries + n]
    _pass_chain_covariance(numbers, work, rate, between, inner_back)


@inner
def _pass_chain_covariance(numbers, work, rate, between, back):
    """Pass derivatives with respect to the covariance of the binaries on to rates and odds."""
    point, gradient = scratch(numbers, work, POINT), scratch(numbers, work, GRADIENT)
    binary, location = block(numbers, BINARY_IDX), block(numbers, RATE_LOCATION)
    first = int(block(numbers, VARIABLE_START)[PREDICTOR_LOCATION])
    odds, odds_back = scratch(numbers, work, ODDS), scratch(numbers, work, ODDS_BACK)
    binaries = rate.shape[0]
    rate_back = np.zeros(binaries)
    for j in range(binaries):
        for n in range(j):
            back[n, j] += back[j, n]
    for end in range(binaries - 1, 1, -1):
        middle = between[end - 1, end - 1]
        for j in range(end - 1):
            value = back[j, end]
            back[j, end - 1] += value * between[end - 1, end] / middle
            back[end - 1, end] += value * between[j, end - 1] / middle
            back[end - 1, end - 1] -= value * between[j, end] / middle
    for j in range(1, binaries):
        p, q, value = rate[j - 1], rate[j], back[j - 1, j]
        both, only_p, only_q, none = pair_cells(p, q, odds[j - 1])
        whole = 1.0 / both + 1.0 / only_p + 1.0 / only_q + 1.0 / none
        odds_back[j - 1] += value / whole
        rate_back[j - 1] += value * ((1.0 / none + 1.0 / only_p) / whole - q)
        rate_back[j] += value * ((1.0 / none + 1.0 / only_q) / whole - p)
    for j in range(binaries):
        k = int(binary[j])
        rate_back[j] += back[j, j] * (1.0 - 2.0 * rate[j])
        gradient[first + k] += rate_back[j] * normal(location[k] + point[first + k])
