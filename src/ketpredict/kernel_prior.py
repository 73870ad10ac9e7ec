"""The priors of the compiled kernel: parameters, their log density, and its gradient.

The functions that end in ``back`` pass derivatives with respect to parameters on to the
unconstrained point: the reverse pass. Constants that no parameter moves are left to
:func:`ketpredict.layout.lay_out`.
"""

from __future__ import annotations

import math

import numpy as np

from ketpredict.kernel_numbers import (
    ARM_CLASS_IDX,
    ARM_RAW,
    ARM_SCALE,
    CLASS_LOCATION,
    CLASS_RAW,
    CLASS_SPREAD,
    EXPLAINED_VARIANCE,
    FIXED,
    HORIZON_RAW,
    HORIZON_SCALE,
    IMPROVEMENT_SD,
    INTERCEPT,
    LOG_REFERENCE_VARIANCE,
    PART_PRESENT,
    PREDICTOR_SHARE,
    PRIOR,
    REFERENCE_KNOT,
    SLOPE_CONCENTRATION,
    SLOPE_SHARE,
    VARIABLE_START,
    WALK_STEP,
    block,
    inner,
)

_PARTS = 4


@inner
def scale_prior(point, gradient, numbers, which):
    """Return a half-normal scale (log transform) or its fixed value, and add its prior."""
    start = int(block(numbers, VARIABLE_START)[which])
    if start < 0:
        return block(numbers, FIXED)[which], 0.0
    scale = math.exp(point[start])
    spread = block(numbers, PRIOR)[2 * which]
    gradient[start] += 1.0 - (scale / spread) ** 2
    return scale, point[start] - 0.5 * (scale / spread) ** 2


@inner
def standard_normal_prior(point, gradient, start, size):
    """Return the log density of standard normals, without its constant."""
    total = 0.0
    for i in range(start, start + size):
        gradient[i] -= point[i]
        total -= 0.5 * point[i] ** 2
    return total


@inner
def grouped_prior(point, gradient, numbers, which_scale, which_raw, size):
    """Return scale, effects and log prior of one grouping; zeros where the model has none."""
    start = int(block(numbers, VARIABLE_START)[which_raw])
    effect = np.zeros(size)
    scale, log_prior = scale_prior(point, gradient, numbers, which_scale)
    if start >= 0:
        log_prior += standard_normal_prior(point, gradient, start, size)
        for i in range(size):
            effect[i] = scale * point[start + i]
    return scale, effect, log_prior


@inner
def pass_grouped_back(point, gradient, numbers, which_scale, which_raw, scale, effect_back):
    """Pass derivatives with respect to the effects of one grouping on to scale and position."""
    starts = block(numbers, VARIABLE_START)
    start, scale_start = int(starts[which_raw]), int(starts[which_scale])
    if start < 0:
        return
    scale_back = 0.0
    for i in range(effect_back.shape[0]):
        gradient[start + i] += effect_back[i] * scale
        scale_back += effect_back[i] * point[start + i]
    if scale_start >= 0:
        gradient[scale_start] += scale_back * scale


@inner
def log_simplex(point, start, share):
    """Write the logs of a simplex from PyMC's transform, whose coordinates sum to zero."""
    size = share.shape[0]
    share[size - 1] = 0.0
    largest = -math.inf
    for i in range(size - 1):
        share[i] = point[start + i]
        share[size - 1] -= share[i]
        largest = max(largest, share[i])
    largest = max(largest, share[size - 1])
    total = 0.0
    for i in range(size):
        total += math.exp(share[i] - largest)
    whole = largest + math.log(total)
    for i in range(size):
        share[i] -= whole


@inner
def log_simplex_back(gradient, start, log_share, back):
    """Pass derivatives with respect to log shares on to the transform's coordinates."""
    size = log_share.shape[0]
    total = 0.0
    for i in range(size):
        total += back[i]
    last = back[size - 1] - math.exp(log_share[size - 1]) * total
    for i in range(size - 1):
        gradient[start + i] += back[i] - math.exp(log_share[i]) * total - last


@inner
def arm_prior(point, gradient, numbers):
    """Return arm effects, the scale within classes and the log prior."""
    starts = block(numbers, VARIABLE_START)
    class_idx = block(numbers, ARM_CLASS_IDX)
    location, spread = block(numbers, CLASS_LOCATION), block(numbers, CLASS_SPREAD)
    scale, log_prior = scale_prior(point, gradient, numbers, ARM_SCALE)
    effect = np.zeros(class_idx.shape[0])
    raw = int(starts[ARM_RAW])
    if raw >= 0:
        mean = int(starts[CLASS_RAW])
        log_prior += standard_normal_prior(point, gradient, mean, location.shape[0])
        log_prior += standard_normal_prior(point, gradient, raw, class_idx.shape[0] - 1)
        other = 0
        for arm in range(class_idx.shape[0]):
            c = int(class_idx[arm])
            if c >= 0:
                effect[arm] = location[c] + spread[c] * point[mean + c] + scale * point[raw + other]
                other += 1
    return scale, effect, log_prior


@inner
def pass_arm_back(point, gradient, numbers, scale, back):
    """Pass derivatives with respect to arm effects on."""
    starts = block(numbers, VARIABLE_START)
    class_idx, spread = block(numbers, ARM_CLASS_IDX), block(numbers, CLASS_SPREAD)
    raw, mean, scale_start = int(starts[ARM_RAW]), int(starts[CLASS_RAW]), int(starts[ARM_SCALE])
    if raw < 0:
        return
    other = 0
    for arm in range(class_idx.shape[0]):
        c = int(class_idx[arm])
        if c >= 0:
            gradient[mean + c] += back[arm] * spread[c]
            gradient[raw + other] += back[arm] * scale
            if scale_start >= 0:
                gradient[scale_start] += back[arm] * point[raw + other] * scale
            other += 1


@inner
def horizon_prior(point, gradient, numbers, offset):
    """Write offsets (curve, knot); return the scale of the walk and the log prior."""
    step = block(numbers, WALK_STEP)
    reference = int(block(numbers, REFERENCE_KNOT)[0])
    scale, log_prior = scale_prior(point, gradient, numbers, HORIZON_SCALE)
    raw = int(block(numbers, VARIABLE_START)[HORIZON_RAW])
    steps = step.shape[0]
    log_prior += standard_normal_prior(point, gradient, raw, 2 * steps)
    for curve in range(2):
        for j in range(steps):
            move = scale * step[j] * point[raw + curve * steps + j]
            offset[curve, j + 1] = offset[curve, j] + move
        at_reference = offset[curve, reference]
        for j in range(steps + 1):
            offset[curve, j] -= at_reference
    return scale, log_prior


@inner
def pass_horizon_back(point, gradient, numbers, scale, back):
    """Pass derivatives with respect to horizon offsets on."""
    step = block(numbers, WALK_STEP)
    reference = int(block(numbers, REFERENCE_KNOT)[0])
    starts = block(numbers, VARIABLE_START)
    raw, scale_start = int(starts[HORIZON_RAW]), int(starts[HORIZON_SCALE])
    steps = step.shape[0]
    for curve in range(2):
        total = 0.0
        for j in range(steps + 1):
            total += back[curve, j]
        beyond = total
        for j in range(steps):
            # Step j moves every knot after it, and the reference that is subtracted from all.
            beyond -= back[curve, j]
            move_back = beyond - (total if reference > j else 0.0)
            place = raw + curve * steps + j
            gradient[place] += move_back * scale * step[j]
            if scale_start >= 0:
                gradient[scale_start] += move_back * scale * step[j] * point[place]


@inner
def slope_scale_prior(point, gradient, numbers, scales, log_predictor, log_part):
    """Write slope SDs (part, predictor) and log shares; return their log prior."""
    starts, prior = block(numbers, VARIABLE_START), block(numbers, PRIOR)
    log_variance = block(numbers, LOG_REFERENCE_VARIANCE)
    present = block(numbers, PART_PRESENT)
    count, log_prior = log_variance.shape[0], 0.0
    if count == 0:
        return log_prior
    start = int(starts[EXPLAINED_VARIANCE])
    if start < 0:
        explained = block(numbers, FIXED)[EXPLAINED_VARIANCE]
        budget = math.log(explained) - math.log1p(-explained) if explained > 0 else -math.inf
    else:
        budget = point[start]
        first, second = prior[2 * EXPLAINED_VARIANCE], prior[2 * EXPLAINED_VARIANCE + 1]
        inside = 1.0 / (1.0 + math.exp(-budget))
        # log sigmoid without cancellation: -log(1 + exp(-budget)).
        below = math.log1p(math.exp(-abs(budget)))
        log_prior -= first * (below + max(-budget, 0.0)) + second * (below + max(budget, 0.0))
        gradient[start] += first * (1.0 - inside) - second * inside
    if int(starts[PREDICTOR_SHARE]) >= 0:
        log_simplex(point, int(starts[PREDICTOR_SHARE]), log_predictor)
        for k in range(count):
            log_prior += prior[2 * PREDICTOR_SHARE] * log_predictor[k]
    log_simplex(point, int(starts[SLOPE_SHARE]), log_part)
    row = 0
    concentration = block(numbers, SLOPE_CONCENTRATION)
    for part in range(_PARTS):
        if present[part] > 0:
            log_prior += concentration[part] * log_part[row]
            for k in range(count):
                total = budget + log_part[row] + log_predictor[k] - log_variance[k]
                scales[part, k] = math.exp(0.5 * total)
            row += 1
    return log_prior


@inner
def pass_slope_scale_back(gradient, numbers, scales, log_predictor, log_part, scales_back):
    """Pass derivatives with respect to slope scales on to R2 and the shares."""
    starts, prior = block(numbers, VARIABLE_START), block(numbers, PRIOR)
    present = block(numbers, PART_PRESENT)
    count = log_predictor.shape[0]
    if count == 0:
        return
    concentration = block(numbers, SLOPE_CONCENTRATION)
    predictor_back = np.full(count, prior[2 * PREDICTOR_SHARE])
    part_back = np.zeros(log_part.shape[0])
    budget_back, row = 0.0, 0
    for part in range(_PARTS):
        if present[part] > 0:
            part_back[row] += concentration[part]
            for k in range(count):
                half = 0.5 * scales[part, k] * scales_back[part, k]
                budget_back += half
                part_back[row] += half
                predictor_back[k] += half
            row += 1
    if int(starts[EXPLAINED_VARIANCE]) >= 0:
        gradient[int(starts[EXPLAINED_VARIANCE])] += budget_back
    if int(starts[PREDICTOR_SHARE]) >= 0:
        log_simplex_back(gradient, int(starts[PREDICTOR_SHARE]), log_predictor, predictor_back)
    log_simplex_back(gradient, int(starts[SLOPE_SHARE]), log_part, part_back)


@inner
def improvement_sd_prior(point, gradient, numbers, values):
    """Write the spread of each scale and return its log density."""
    start, prior = int(block(numbers, VARIABLE_START)[IMPROVEMENT_SD]), block(numbers, PRIOR)
    if start < 0:
        values[:] = block(numbers, FIXED)[IMPROVEMENT_SD]
        return 0.0
    location, spread = prior[2 * IMPROVEMENT_SD], prior[2 * IMPROVEMENT_SD + 1]
    log_prior = 0.0
    for i in range(values.shape[0]):
        values[i] = math.exp(point[start + i])
        distance = (point[start + i] - location) / spread
        log_prior -= 0.5 * distance**2
        gradient[start + i] -= distance / spread
    return log_prior


@inner
def intercept_prior(point, gradient, numbers):
    """Return the intercept and its log density."""
    start, prior = int(block(numbers, VARIABLE_START)[INTERCEPT]), block(numbers, PRIOR)
    if start < 0:
        return block(numbers, FIXED)[INTERCEPT], 0.0
    distance = (point[start] - prior[2 * INTERCEPT]) / prior[2 * INTERCEPT + 1]
    gradient[start] -= distance / prior[2 * INTERCEPT + 1]
    return point[start], -0.5 * distance**2
