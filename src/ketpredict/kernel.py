r"""The log density of the model and its gradient, compiled once and kept on disk.

The same density as :mod:`ketpredict.graph` at the same unconstrained point, in PyMC's order of
variables and with PyMC's transforms, so that the two can be compared (``tests/test_kernel.py``
holds them to 1e-8). Data and priors arrive in one array of numbers, never as constants of the
compiled code: a new data set compiles nothing.

The gradient is the hand-derived reverse pass: every function adds derivatives of its term to arrays
that end in ``back``, and at the end these are passed on, from outcomes to clusters, slopes and the
law of the predictors, from there to priors and the point. The slope scales are
:math:`\exp\{\tfrac12(\operatorname{logit} R^2 + \log w_j + \log\varphi_k - \log v_k)\}`, so that
their derivatives are half themselves.

The kernel knows numbers only: :mod:`ketpredict.arrangement` and :mod:`ketpredict.layout` fill the
array, :mod:`ketpredict.compiled` hands it to nutpie.

Numba compiles what a function calls into that function, again and again up to the top. The density
therefore runs as *pieces*, each compiled on its own and called by address, and only those that a
design needs are compiled. Pieces share the array of numbers and an array to work in.
"""

from __future__ import annotations

import numpy as np

from ketpredict.kernel_law import normal_prior
from ketpredict.kernel_numbers import (
    ACROSS,
    ACROSS_BACK,
    ACROSS_IDX,
    ACROSS_RAW,
    ACROSS_SCALE,
    ARMS,
    CONSTANT,
    GRADIENT,
    IMPROVEMENT_SD,
    INTERCEPT,
    INTERCEPT_BACK,
    KNOTS,
    LOG_PART,
    LOG_PREDICTOR,
    N_STUDY_TERMS,
    OFFSET,
    POINT,
    POPULATION_RAW,
    POPULATION_SCALE,
    POPULATIONS,
    PREDICTORS,
    PROGNOSTIC_RAW,
    SCALARS,
    SETTING_ACTIVE,
    SETTING_ARM,
    SETTING_BASIS,
    SETTING_CURVE,
    SETTING_INTERCEPT,
    SETTING_POPULATION,
    SETTING_SCALE,
    SETTING_SHIFT,
    SETTING_STUDY,
    SETTING_TRIAL,
    SETTINGS,
    SLOPE,
    SLOPE_ACTIVE,
    SLOPE_BACK,
    SLOPE_POPULATION,
    SLOPE_SCALES,
    SLOPE_SCALES_BACK,
    SLOPE_TRIAL,
    SLOPES,
    SPREAD_OF_SCORES,
    STUDY_EFFECT,
    TREATMENT_RAW,
    TREATMENT_SCALE,
    TRIAL_RAW,
    TRIAL_SCALE,
    TRIALS,
    VARIABLE_START,
    block,
    inner,
    scratch,
    size_of,
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
    pass_slope_scale_back,
    slope_scale_prior,
    standard_normal_prior,
)


@inner
def priors_forward(numbers, work):
    """Return the log prior of everything but the predictors' law; write intercepts and slopes."""
    point, gradient = scratch(numbers, work, POINT), scratch(numbers, work, GRADIENT)
    populations, trials = size_of(numbers, POPULATIONS), size_of(numbers, TRIALS)
    settings, count = size_of(numbers, SETTINGS), size_of(numbers, PREDICTORS)
    scalars = scratch(numbers, work, SCALARS)
    base, total = intercept_prior(point, gradient, numbers)
    scalars[0], population_effect, part = grouped_prior(
        point, gradient, numbers, POPULATION_SCALE, POPULATION_RAW, populations
    )
    total += part
    scalars[1], trial_effect, part = grouped_prior(
        point, gradient, numbers, TRIAL_SCALE, TRIAL_RAW, trials
    )
    total += part
    scalars[2], treatment, part = grouped_prior(
        point, gradient, numbers, TREATMENT_SCALE, TREATMENT_RAW, trials
    )
    total += part
    scalars[3], arm_effect, part = arm_prior(point, gradient, numbers)
    total += part
    terms, knots = size_of(numbers, N_STUDY_TERMS), size_of(numbers, KNOTS)
    study_effect, part = normal_prior(point, gradient, numbers, STUDY_EFFECT, terms)
    total += part
    offset = scratch(numbers, work, OFFSET).reshape(2, knots)
    scalars[4], part = horizon_prior(point, gradient, numbers, offset)
    total += part
    improvement_sd = scratch(numbers, work, SPREAD_OF_SCORES)
    total += improvement_sd_prior(point, gradient, numbers, improvement_sd)
    scales = scratch(numbers, work, SLOPE_SCALES).reshape(4, count)
    log_predictor = scratch(numbers, work, LOG_PREDICTOR)
    log_part = scratch(numbers, work, LOG_PART)
    total += slope_scale_prior(point, gradient, numbers, scales, log_predictor, log_part)
    slopes = size_of(numbers, SLOPES)
    slope = scratch(numbers, work, SLOPE).reshape(slopes, count)
    total += _slopes_forward(point, gradient, numbers, scales, slope)
    across_idx = block(numbers, ACROSS_IDX)
    scalars[5], chosen, part = grouped_prior(
        point, gradient, numbers, ACROSS_SCALE, ACROSS_RAW, across_idx.shape[0]
    )
    total += part
    across = scratch(numbers, work, ACROSS)
    for i in range(across_idx.shape[0]):
        across[int(across_idx[i])] = chosen[i]

    population, trial = block(numbers, SETTING_POPULATION), block(numbers, SETTING_TRIAL)
    arm, curve = block(numbers, SETTING_ARM), block(numbers, SETTING_CURVE)
    scale, active = block(numbers, SETTING_SCALE), block(numbers, SETTING_ACTIVE)
    shift, intercept = block(numbers, SETTING_SHIFT), scratch(numbers, work, SETTING_INTERCEPT)
    study_terms, basis = block(numbers, SETTING_STUDY), block(numbers, SETTING_BASIS)
    for i in range(settings):
        p, t = int(population[i]), int(trial[i])
        own = base + population_effect[p] + trial_effect[t] + arm_effect[int(arm[i])]
        own += (active[i] - 0.5) * treatment[t] + shift[i] / improvement_sd[int(scale[i])]
        for j in range(terms):
            own += study_terms[i * terms + j] * study_effect[j]
        for j in range(knots):
            own += basis[i * knots + j] * offset[int(curve[i]), j]
        intercept[i] = own
    return total + block(numbers, CONSTANT)[0]


@inner
def _slopes_forward(point, gradient, numbers, scales, slope):
    """Write the slopes of each population, trial and kind of arm, and return their log prior."""
    starts = block(numbers, VARIABLE_START)
    population, trial = block(numbers, SLOPE_POPULATION), block(numbers, SLOPE_TRIAL)
    active, count = block(numbers, SLOPE_ACTIVE), slope.shape[1]
    rows = np.array([1, 1, size_of(numbers, POPULATIONS), size_of(numbers, TRIALS)])
    total = 0.0
    for part in range(4):
        start = int(starts[PROGNOSTIC_RAW + part])
        if start < 0:
            continue
        total += standard_normal_prior(point, gradient, start, rows[part] * count)
        for s in range(slope.shape[0]):
            row = _slope_row(part, population[s], trial[s])
            share = active[s] if part == 1 else 1.0
            for k in range(count):
                slope[s, k] += share * scales[part, k] * point[start + row * count + k]
    return total


@inner
def _slope_row(part, population, trial):
    """Return the row of a part of the slopes that a population and trial have."""
    if part == 2:
        return int(population)
    return int(trial) if part == 3 else 0


@inner
def _slopes_back(point, gradient, numbers, scales, slope_back, scales_back):
    """Pass derivatives with respect to slopes on to their parts and gather those of the scales."""
    starts = block(numbers, VARIABLE_START)
    population, trial = block(numbers, SLOPE_POPULATION), block(numbers, SLOPE_TRIAL)
    active, count = block(numbers, SLOPE_ACTIVE), slope_back.shape[1]
    for part in range(4):
        start = int(starts[PROGNOSTIC_RAW + part])
        if start < 0:
            continue
        for s in range(slope_back.shape[0]):
            row = _slope_row(part, population[s], trial[s])
            share = active[s] if part == 1 else 1.0
            for k in range(count):
                place = start + row * count + k
                back = share * slope_back[s, k]
                gradient[place] += back * scales[part, k]
                scales_back[part, k] += back * point[place]


@inner
def priors_back(numbers, work):
    """Pass derivatives with respect to intercepts and slopes on to the point; return 0."""
    point, gradient = scratch(numbers, work, POINT), scratch(numbers, work, GRADIENT)
    starts = block(numbers, VARIABLE_START)
    populations, trials = size_of(numbers, POPULATIONS), size_of(numbers, TRIALS)
    count, knots = size_of(numbers, PREDICTORS), size_of(numbers, KNOTS)
    terms, scalars = size_of(numbers, N_STUDY_TERMS), scratch(numbers, work, SCALARS)
    population, trial = block(numbers, SETTING_POPULATION), block(numbers, SETTING_TRIAL)
    arm, curve = block(numbers, SETTING_ARM), block(numbers, SETTING_CURVE)
    scale, active = block(numbers, SETTING_SCALE), block(numbers, SETTING_ACTIVE)
    shift, intercept_back = block(numbers, SETTING_SHIFT), scratch(numbers, work, INTERCEPT_BACK)
    study_terms, basis = block(numbers, SETTING_STUDY), block(numbers, SETTING_BASIS)
    improvement_sd = scratch(numbers, work, SPREAD_OF_SCORES)
    population_back, trial_back = np.zeros(populations), np.zeros(trials)
    treatment_back, arm_back = np.zeros(trials), np.zeros(size_of(numbers, ARMS))
    offset_back = np.zeros((2, knots))
    for i in range(intercept_back.shape[0]):
        back, t, own = intercept_back[i], int(trial[i]), int(scale[i])
        if int(starts[INTERCEPT]) >= 0:
            gradient[int(starts[INTERCEPT])] += back
        population_back[int(population[i])] += back
        trial_back[t] += back
        arm_back[int(arm[i])] += back
        treatment_back[t] += (active[i] - 0.5) * back
        if int(starts[IMPROVEMENT_SD]) >= 0:
            place = int(starts[IMPROVEMENT_SD]) + own
            gradient[place] -= back * shift[i] / improvement_sd[own]
        for j in range(terms):
            gradient[int(starts[STUDY_EFFECT]) + j] += study_terms[i * terms + j] * back
        for j in range(knots):
            offset_back[int(curve[i]), j] += basis[i * knots + j] * back
    across_idx, across_back = block(numbers, ACROSS_IDX), scratch(numbers, work, ACROSS_BACK)
    chosen_back = np.empty(across_idx.shape[0])
    for i in range(across_idx.shape[0]):
        chosen_back[i] = across_back[int(across_idx[i])]
    pass_grouped_back(
        point, gradient, numbers, POPULATION_SCALE, POPULATION_RAW, scalars[0], population_back
    )
    pass_grouped_back(point, gradient, numbers, TRIAL_SCALE, TRIAL_RAW, scalars[1], trial_back)
    pass_grouped_back(
        point, gradient, numbers, TREATMENT_SCALE, TREATMENT_RAW, scalars[2], treatment_back
    )
    pass_grouped_back(point, gradient, numbers, ACROSS_SCALE, ACROSS_RAW, scalars[5], chosen_back)
    pass_arm_back(point, gradient, numbers, scalars[3], arm_back)
    pass_horizon_back(point, gradient, numbers, scalars[4], offset_back)
    scales = scratch(numbers, work, SLOPE_SCALES).reshape(4, count)
    scales_back = scratch(numbers, work, SLOPE_SCALES_BACK).reshape(4, count)
    slope_back = scratch(numbers, work, SLOPE_BACK).reshape(size_of(numbers, SLOPES), count)
    _slopes_back(point, gradient, numbers, scales, slope_back, scales_back)
    log_predictor = scratch(numbers, work, LOG_PREDICTOR)
    log_part = scratch(numbers, work, LOG_PART)
    pass_slope_scale_back(gradient, numbers, scales, log_predictor, log_part, scales_back)
    return 0.0
