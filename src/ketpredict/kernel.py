r"""The log density of the model and its gradient, compiled once and kept on disk.

The same density as :mod:`ketpredict.graph` at the same unconstrained point, in PyMC's order of
variables and with PyMC's transforms, so that the two can be compared (``tests/test_kernel.py``
holds them to 1e-8). Data and priors arrive in one array of numbers, never as constants of the
compiled code: a new data set compiles nothing.

The gradient is the hand-derived reverse pass. With :math:`P_u = \sum_c w_c \Phi(q_c)`,
:math:`q_c = m_c / \sqrt{1 + s_u}` and :math:`\ell_u = r \log P_u + (n - r) \log(1 - P_u)`:

.. math::

    \partial \ell / \partial P = r/P - (n - r)/(1 - P), \quad
    \partial P / \partial m_c = w_c \phi(q_c) / \sqrt{1 + s_u}, \quad
    \partial P / \partial s_u = -\tfrac12 \sum_c w_c \phi(q_c)\, m_c (1 + s_u)^{-3/2}

and the rest is linear in :math:`m_c` and in the squares of the slopes. The slope scales are
:math:`\exp\{\tfrac12(\operatorname{logit} R^2 + \log w_j + \log\varphi_k - \log v_k)\}`, so that
their derivatives are half themselves.

The kernel knows numbers only: :mod:`ketpredict.layout` fills the array, :mod:`ketpredict.compiled`
hands it to nutpie.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from ketpredict.kernel_numbers import (
    ACTIVE,
    ARM_IDX,
    CENTRE,
    CONSTANT,
    CURVE_IDX,
    HORIZON_BASIS,
    IMPROVEMENT_SD,
    INTERCEPT,
    PATTERN_START,
    PATTERN_VALUE,
    POPULATION_IDX,
    POPULATION_RAW,
    POPULATION_SCALE,
    POPULATION_SLOPE_RAW,
    PREDICTIVE_RAW,
    PREDICTOR_KIND,
    PROGNOSTIC_RAW,
    RATE_LOCATION,
    RESPONDERS,
    SCALE_IDX,
    SIZES,
    SPREAD,
    STUDY_EFFECT,
    STUDY_TERMS,
    THRESHOLD_SHIFT,
    TREATMENT_RAW,
    TREATMENT_SCALE,
    TRIAL_IDX,
    TRIAL_RAW,
    TRIAL_SCALE,
    TRIAL_SLOPE_RAW,
    UNREPORTED,
    UNREPORTED_IDX,
    VALUE,
    VARIABLE_START,
    VARIANCE,
    N,
    block,
)
from ketpredict.kernel_prior import (
    arm_prior,
    grouped_prior,
    horizon_prior,
    improvement_sd_prior,
    intercept_prior,
    pass_arm_back,
    pass_grouped_back,
    pass_horizon_back,
    pass_slope_back,
    pass_slope_scale_back,
    slope_prior,
    slope_scale_prior,
    standard_normal_prior,
    study_term_prior,
)

_ROOT_HALF = math.sqrt(0.5)
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)


@numba.njit(cache=True)
def normal_cdf(value):
    """Return the standard normal distribution function."""
    return 0.5 * math.erfc(-value * _ROOT_HALF)


@numba.njit(cache=True)
def normal_density(value):
    """Return the standard normal density."""
    return _DENSITY * math.exp(-0.5 * value * value)


@numba.njit(cache=True)
def log_density(point, gradient, numbers):  # noqa: C901 - one pass over units, forth and back
    """Return the log density at an unconstrained point, and write its gradient.

    Parameters
    ----------
    point, gradient : ndarray of shape (n_dimensions,)
        `gradient` is overwritten.
    numbers : ndarray
        Made by :func:`ketpredict.layout.lay_out`.
    """
    gradient[:] = 0.0
    starts, sizes = block(numbers, VARIABLE_START), block(numbers, SIZES)
    populations, trials, scale_count = int(sizes[0]), int(sizes[1]), int(sizes[3])
    total = block(numbers, CONSTANT)[0]
    intercept, part = intercept_prior(point, gradient, numbers)
    total += part
    population_scale, population_effect, part = grouped_prior(
        point, gradient, numbers, POPULATION_SCALE, POPULATION_RAW, populations
    )
    total += part
    trial_scale, trial_effect, part = grouped_prior(
        point, gradient, numbers, TRIAL_SCALE, TRIAL_RAW, trials
    )
    total += part
    treatment_scale, treatment, part = grouped_prior(
        point, gradient, numbers, TREATMENT_SCALE, TREATMENT_RAW, trials
    )
    total += part
    arm_scale, arm_effect, part = arm_prior(point, gradient, numbers)
    total += part
    study_effect, part = study_term_prior(point, gradient, numbers)
    total += part
    horizon_scale, offset, part = horizon_prior(point, gradient, numbers)
    total += part
    improvement_sd, part = improvement_sd_prior(point, gradient, numbers, scale_count)
    total += part
    scales, log_predictor, log_part, part = slope_scale_prior(point, gradient, numbers)
    total += part
    prognostic, part = slope_prior(point, gradient, numbers, PROGNOSTIC_RAW, scales[0], 1)
    total += part
    predictive, part = slope_prior(point, gradient, numbers, PREDICTIVE_RAW, scales[1], 1)
    total += part
    by_population, part = slope_prior(
        point, gradient, numbers, POPULATION_SLOPE_RAW, scales[2], populations
    )
    total += part
    by_trial, part = slope_prior(point, gradient, numbers, TRIAL_SLOPE_RAW, scales[3], trials)
    total += part
    unreported_start = int(starts[UNREPORTED])
    unreported = 0
    if unreported_start >= 0:
        unreported = point.shape[0] - unreported_start
        total += standard_normal_prior(point, gradient, unreported_start, unreported)

    # Derivatives with respect to everything that a unit touches.
    intercept_back = 0.0
    population_back, trial_back = np.zeros(populations), np.zeros(trials)
    treatment_back, arm_back = np.zeros(trials), np.zeros(arm_effect.shape[0])
    study_back, offset_back = np.zeros_like(study_effect), np.zeros_like(offset)
    sd_back = np.zeros(scale_count)
    prognostic_back, predictive_back = np.zeros_like(prognostic), np.zeros_like(predictive)
    by_population_back, by_trial_back = np.zeros_like(by_population), np.zeros_like(by_trial)

    responders, n = block(numbers, RESPONDERS), block(numbers, N)
    population_idx, trial_idx = block(numbers, POPULATION_IDX), block(numbers, TRIAL_IDX)
    arm_idx, curve_idx = block(numbers, ARM_IDX), block(numbers, CURVE_IDX)
    scale_idx, active = block(numbers, SCALE_IDX), block(numbers, ACTIVE)
    units, count = n.shape[0], scales.shape[1]
    basis = block(numbers, HORIZON_BASIS).reshape(units, -1)
    study_terms = block(numbers, STUDY_TERMS).reshape(units, -1)
    threshold_shift = block(numbers, THRESHOLD_SHIFT)
    value = block(numbers, VALUE).reshape(units, count)
    variance = block(numbers, VARIANCE).reshape(units, count)
    unreported_idx = block(numbers, UNREPORTED_IDX).reshape(units, count)
    kind, centre = block(numbers, PREDICTOR_KIND), block(numbers, CENTRE)
    spread, rate_location = block(numbers, SPREAD), block(numbers, RATE_LOCATION)
    pattern_start = block(numbers, PATTERN_START)
    pattern_value = block(numbers, PATTERN_VALUE)
    binaries = int(kind.sum())
    slope, slope_back = np.empty(count), np.empty(count)
    rate, rate_back = np.empty(count), np.empty(count)
    cell_rate, cell_density = np.full(unreported, -1.0), np.empty(unreported)
    most = 0
    for u in range(units):
        most = max(most, int(pattern_start[u + 1] - pattern_start[u]))
    pattern_weight, pattern_below = np.empty(most), np.empty(most)
    pattern_middle = np.empty(most)

    for u in range(units):
        p, t, g = int(population_idx[u]), int(trial_idx[u]), int(arm_idx[u])
        curve, scale = int(curve_idx[u]), int(scale_idx[u])
        linear = intercept + population_effect[p] + trial_effect[t] + arm_effect[g]
        linear += (active[u] - 0.5) * treatment[t] + threshold_shift[u] / improvement_sd[scale]
        for i in range(study_effect.shape[0]):
            linear += study_terms[u, i] * study_effect[i]
        for j in range(offset.shape[1]):
            linear += basis[u, j] * offset[curve, j]
        individual = 0.0
        for k in range(count):
            slope[k] = prognostic[0, k] + active[u] * predictive[0, k]
            slope[k] += by_population[p, k] + by_trial[t, k]
            slope_back[k] = 0.0
            rate_back[k] = 0.0
            cell = int(unreported_idx[u, k])
            if kind[k] > 0:
                rate[k] = value[u, k]
                if cell < unreported:
                    if cell_rate[cell] < 0.0:
                        at = rate_location[k] + spread[k] * point[unreported_start + cell]
                        cell_rate[cell], cell_density[cell] = normal_cdf(at), normal_density(at)
                    rate[k] = cell_rate[cell]
            else:
                mean = value[u, k]
                if cell < unreported:
                    mean += spread[k] * point[unreported_start + cell]
                linear += slope[k] * mean
                individual += slope[k] ** 2 * variance[u, k]
        root = math.sqrt(1.0 + individual)

        # First pass over the patterns: the probability. Second: what it changes.
        success, failure = 0.0, 0.0
        first, last = int(pattern_start[u]), int(pattern_start[u + 1])
        for c in range(first, last):
            weight, middle, b = 1.0, linear, 0
            for k in range(count):
                if kind[k] > 0:
                    bit = pattern_value[c * binaries + b]
                    weight *= rate[k] if bit > 0.5 else 1.0 - rate[k]
                    middle += slope[k] * (bit - centre[k])
                    b += 1
            standard = middle / root
            # The smaller tail is computed and the larger follows: both keep their digits.
            tail = 0.5 * math.erfc(abs(standard) * _ROOT_HALF)
            below = 1.0 - tail if standard > 0.0 else tail
            above = tail if standard > 0.0 else 1.0 - tail
            success += weight * below
            failure += weight * above
            pattern_weight[c - first], pattern_below[c - first] = weight, below
            pattern_middle[c - first] = middle
        if success <= 0.0 or failure <= 0.0:
            return -math.inf
        total += responders[u] * math.log(success) + (n[u] - responders[u]) * math.log(failure)
        success_back = responders[u] / success - (n[u] - responders[u]) / failure

        linear_back, individual_back = 0.0, 0.0
        for c in range(first, last):
            weight, middle = pattern_weight[c - first], pattern_middle[c - first]
            through = success_back * weight * normal_density(middle / root) / root
            linear_back += through
            individual_back -= 0.5 * through * middle / (root * root)
            b = 0
            for k in range(count):
                if kind[k] > 0:
                    bit = pattern_value[c * binaries + b]
                    slope_back[k] += through * (bit - centre[k])
                    own = rate[k] if bit > 0.5 else 1.0 - rate[k]
                    if int(unreported_idx[u, k]) < unreported and own > 0.0:
                        moved = success_back * pattern_below[c - first] * weight / own
                        rate_back[k] += moved if bit > 0.5 else -moved
                    b += 1

        intercept_back += linear_back
        population_back[p] += linear_back
        trial_back[t] += linear_back
        arm_back[g] += linear_back
        treatment_back[t] += (active[u] - 0.5) * linear_back
        sd_back[scale] -= linear_back * threshold_shift[u] / improvement_sd[scale]
        for i in range(study_effect.shape[0]):
            study_back[i] += study_terms[u, i] * linear_back
        for j in range(offset.shape[1]):
            offset_back[curve, j] += basis[u, j] * linear_back
        for k in range(count):
            cell = int(unreported_idx[u, k])
            if kind[k] > 0:
                if cell < unreported:
                    place = unreported_start + cell
                    gradient[place] += rate_back[k] * cell_density[cell] * spread[k]
            else:
                mean = value[u, k]
                if cell < unreported:
                    place = unreported_start + cell
                    mean += spread[k] * point[place]
                    gradient[place] += linear_back * slope[k] * spread[k]
                slope_back[k] += linear_back * mean
                slope_back[k] += 2.0 * individual_back * slope[k] * variance[u, k]
            prognostic_back[0, k] += slope_back[k]
            predictive_back[0, k] += active[u] * slope_back[k]
            by_population_back[p, k] += slope_back[k]
            by_trial_back[t, k] += slope_back[k]

    if int(starts[INTERCEPT]) >= 0:
        gradient[int(starts[INTERCEPT])] += intercept_back
    pass_grouped_back(
        point, gradient, numbers, POPULATION_SCALE, POPULATION_RAW, population_scale,
        population_back,
    )  # fmt: skip
    pass_grouped_back(point, gradient, numbers, TRIAL_SCALE, TRIAL_RAW, trial_scale, trial_back)
    pass_grouped_back(
        point, gradient, numbers, TREATMENT_SCALE, TREATMENT_RAW, treatment_scale, treatment_back
    )
    pass_arm_back(point, gradient, numbers, arm_scale, arm_back)
    for i in range(study_effect.shape[0]):
        gradient[int(starts[STUDY_EFFECT]) + i] += study_back[i]
    pass_horizon_back(point, gradient, numbers, horizon_scale, offset_back)
    if int(starts[IMPROVEMENT_SD]) >= 0:
        for i in range(scale_count):
            gradient[int(starts[IMPROVEMENT_SD]) + i] += sd_back[i]
    scales_back = np.zeros_like(scales)
    pass_slope_back(
        point, gradient, numbers, PROGNOSTIC_RAW, scales[0], prognostic_back, scales_back[0]
    )
    pass_slope_back(
        point, gradient, numbers, PREDICTIVE_RAW, scales[1], predictive_back, scales_back[1]
    )
    pass_slope_back(
        point, gradient, numbers, POPULATION_SLOPE_RAW, scales[2], by_population_back,
        scales_back[2],
    )  # fmt: skip
    pass_slope_back(
        point, gradient, numbers, TRIAL_SLOPE_RAW, scales[3], by_trial_back, scales_back[3]
    )
    pass_slope_scale_back(gradient, numbers, scales, log_predictor, log_part, scales_back)
    return total
