"""One published predictor effect in the kernel: what is implied for it, and its log density."""

from __future__ import annotations

import math

import numpy as np

from ketpredict.kernel_law import invert_subset
from ketpredict.kernel_numbers import (
    EFFECT_ATTENUATION,
    EFFECT_COUNTS,
    EFFECT_GAIN,
    EFFECT_KIND,
    EFFECT_LOWER,
    EFFECT_NODE,
    EFFECT_NODE_WEIGHT,
    EFFECT_ON_SD_SCALE,
    EFFECT_POSITIVE,
    EFFECT_POWER,
    EFFECT_PREDICTOR,
    EFFECT_QUANTILE,
    EFFECT_SHARED,
    EFFECT_STANDARD_ERROR,
    EFFECT_STATISTIC,
    EFFECT_STEP,
    EFFECT_UPPER,
    LINK_VARIANCE,
    block,
    inner,
)

_ROOT_HALF = math.sqrt(0.5)
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)
_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
_COUNTS = 4


@inner
def below(x):
    """Return the standard normal probability below a value."""
    return 0.5 * math.erfc(-x * _ROOT_HALF)


@inner
def normal(x):
    """Return the standard normal density."""
    return _DENSITY * math.exp(-0.5 * x * x)


@inner
def one_effect(numbers, i, known, slope, covariance, moved, slope_back, covariance_back):
    """Return the weighted log density of an effect and its derivative with respect to `moved`.

    `moved` is the shared error of the statistic, or the level of counts. Derivatives with respect
    to slopes and covariance are added to the arrays.
    """
    k, count = int(block(numbers, EFFECT_PREDICTOR)[i]), slope.shape[0]
    kind, unit = int(block(numbers, EFFECT_KIND)[i]), block(numbers, LINK_VARIANCE)[0]
    precision = np.empty((count, count))
    invert_subset(covariance, known, precision)
    latent, coefficient = np.zeros(count), np.zeros(count)
    for a in range(count):
        for b in range(count):
            latent[a] += covariance[a, b] * slope[b]
    explained, total = 0.0, unit
    for a in range(count):
        total += slope[a] * latent[a]
        for b in range(count):
            coefficient[a] += precision[a, b] * latent[b]
        explained += latent[a] * coefficient[a]
    rest, own, inverse = total - explained, coefficient[k], precision[k, k]
    variance = covariance[k, k]
    implied, by_own, by_inverse, by_variance, by_total, by_rest = _implied(
        numbers, i, kind, own, inverse, variance, total, rest
    )
    if kind == _COUNTS:
        value, back, moved_back = _counts_density(numbers, i, implied, moved)
    else:
        value, back = _graded_density(numbers, i, implied + moved)
        moved_back = back
    power = block(numbers, EFFECT_POWER)[i]
    back *= power
    on_own, on_inverse = back * by_own, back * by_inverse
    on_slopes, on_explained = back * (by_total + by_rest), -back * by_rest
    covariance_back[k, k] += back * by_variance
    for a in range(count):
        wa, ca = precision[a, k], coefficient[a]
        for b in range(count):
            apart = slope[b] - coefficient[b]
            change = on_own * wa * apart - on_inverse * wa * precision[b, k]
            change += on_slopes * slope[a] * slope[b] + on_explained * ca * (slope[b] + apart)
            covariance_back[a, b] += change
            passed = on_own * wa + 2.0 * on_explained * ca
            slope_back[b] += passed * covariance[a, b]
        slope_back[a] += 2.0 * on_slopes * latent[a]
    return power * value, power * moved_back


@inner
def _implied(numbers, i, kind, own, inverse, variance, total, rest):
    """Return what an effect is compared with, and its derivatives."""
    by_inverse, by_variance, by_total, by_rest = 0.0, 0.0, 0.0, 0.0
    if kind == 0:
        root = math.sqrt(inverse)
        part, shrink = own / root, block(numbers, EFFECT_ATTENUATION)[i]
        whole = part * part + rest
        correlation = part / math.sqrt(whole)
        by_correlation = shrink / (1.0 - (shrink * correlation) ** 2)
        by_part = by_correlation * rest / whole**1.5
        by_rest = -0.5 * by_correlation * part / whole**1.5
        by_inverse = -0.5 * by_part * part / inverse
        return (
            math.atanh(shrink * correlation), by_part / root, by_inverse, by_variance, by_total,
            by_rest,
        )  # fmt: skip
    if kind == 1:
        factor = math.sqrt(variance / total)
        implied = factor * own
        by_variance, by_total = 0.5 * implied / variance, -0.5 * implied / total
        return implied, factor, by_inverse, by_variance, by_total, by_rest
    slope = own / math.sqrt(rest)
    gain, implied = block(numbers, EFFECT_GAIN)[i], 0.0
    if kind == 3:
        quantile, step = block(numbers, EFFECT_QUANTILE)[i], block(numbers, EFFECT_STEP)[i]
        high, low = quantile + 0.5 * step * slope, quantile - 0.5 * step * slope
        above, under = below(high), below(low)
        implied = math.log(above) - math.log(under)
        gain = 0.5 * step * (normal(high) / above + normal(low) / under)
    else:
        if kind == _COUNTS:
            scaled = block(numbers, EFFECT_ON_SD_SCALE)[i] > 0.0
            gain = math.sqrt(variance) if scaled else 1.0
            by_variance = 0.5 * gain * slope / variance if scaled else 0.0
        implied = gain * slope
    return (
        implied, gain / math.sqrt(rest), by_inverse, by_variance, by_total,
        -0.5 * gain * slope / rest,
    )  # fmt: skip


@inner
def _graded_density(numbers, i, middle):
    """Return the log density of a statistic with a size or with bounds, both signs weighed."""
    spread = block(numbers, EFFECT_STANDARD_ERROR)[i]
    spread *= math.sqrt(1.0 - block(numbers, EFFECT_SHARED)[i])
    positive = block(numbers, EFFECT_POSITIVE)[i]
    value, back = _of_sign(numbers, i, middle, spread, 1.0)
    if positive == 1.0:
        return value, back
    other, other_back = _of_sign(numbers, i, middle, spread, -1.0)
    value += math.log(positive) if positive > 0.0 else -math.inf
    other += math.log1p(-positive)
    largest = max(value, other)
    first, second = math.exp(value - largest), math.exp(other - largest)
    both = first + second
    return largest + math.log(both), (first * back + second * other_back) / both


@inner
def _of_sign(numbers, i, middle, spread, sign):
    """Return the log density for one sign, and its derivative with respect to the middle."""
    statistic = block(numbers, EFFECT_STATISTIC)[i]
    if not math.isnan(statistic):
        distance = (sign * statistic - middle) / spread
        value = -0.5 * distance * distance - math.log(spread) - _HALF_LOG_TWO_PI
        return value, distance / spread
    lower, upper = block(numbers, EFFECT_LOWER)[i], block(numbers, EFFECT_UPPER)[i]
    if sign < 0.0:
        lower, upper = -upper, -lower
    low, high = (lower - middle) / spread, (upper - middle) / spread
    # In the tail where both are small, so that their difference keeps its digits.
    flip = low + high > 0.0
    first, second = (-high, -low) if flip else (low, high)
    inside = below(second) - below(first)
    return math.log(inside), (normal(low) - normal(high)) / (inside * spread)


@inner
def _counts_density(numbers, i, slope, level):
    """Return the log density of responders in two groups, and its two derivatives."""
    counts = block(numbers, EFFECT_COUNTS)
    node, weight = block(numbers, EFFECT_NODE), block(numbers, EFFECT_NODE_WEIGHT)
    size = node.shape[0] // (2 * block(numbers, EFFECT_KIND).shape[0])
    value, by_slope, by_level = 0.0, 0.0, 0.0
    for group in range(2):
        responders = counts[4 * i + 2 * group]
        failures = counts[4 * i + 2 * group + 1] - responders
        success, failure, slope_part, level_part = 0.0, 0.0, 0.0, 0.0
        for j in range(size):
            place = (2 * i + group) * size + j
            line = level + slope * node[place]
            success += weight[place] * below(line)
            failure += weight[place] * below(-line)
            density = weight[place] * normal(line)
            slope_part += density * node[place]
            level_part += density
        value += responders * math.log(success) + failures * math.log(failure)
        back = responders / success - failures / failure
        by_slope += back * slope_part
        by_level += back * level_part
    return value, by_slope, by_level
