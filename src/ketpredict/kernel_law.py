r"""The law of the predictors in the compiled kernel: priors, and what subsets of it imply.

Means of trials that somebody reports are centred variables (their data say where they are), those
that nobody reports are standard normals times the spread between trials. The covariance is the
product of its Cholesky factor, whose prior is PyMC's ``LKJCholeskyCov``: with :math:`\sigma_i` the
length of row :math:`i` and :math:`c_i = L_{ii}/\sigma_i`, up to constants and unconstrained,

.. math:: \textstyle\sum_i (2\eta - 2 + n - i) \log c_i - i \log\sigma_i
          - \tfrac12 (\log\sigma_i - m)^2/s^2 - \log\sigma_i + \log L_{ii}.

For a subset :math:`o` of known predictors, :math:`W = S_{mo} S_{oo}^{-1}` and
:math:`V = S_{mm} - W S_{om}`, so that :math:`dW = dS_{mo} S_{oo}^{-1} - W\,dS_{oo} S_{oo}^{-1}` and
:math:`dV = dS_{mm} - dS_{mo} W' - W\,dS_{om} + W\,dS_{oo} W'`.
"""

from __future__ import annotations

import math

import numpy as np

from ketpredict.kernel_numbers import (
    BETWEEN_LOCATION,
    BINARY_IDX,
    CELL_PREDICTOR,
    CHOLESKY,
    MEAN_CELL,
    N_REPORTED,
    PREDICTOR_BETWEEN,
    PREDICTOR_LOCATION,
    PRIOR,
    RATE_LOCATION,
    REPORTED,
    UNREPORTED,
    VARIABLE_START,
    block,
    inner,
)

_ROOT_HALF = math.sqrt(0.5)
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)
_LEAST_RATE = 1e-15


@inner
def normal_prior(point, gradient, numbers, which, size):
    """Return normal variables with one prior for all, and their log density."""
    start, prior = int(block(numbers, VARIABLE_START)[which]), block(numbers, PRIOR)
    if start < 0:
        return np.zeros(size), 0.0
    location, spread = prior[2 * which], prior[2 * which + 1]
    values, log_prior = point[start : start + size].copy(), 0.0
    for i in range(size):
        distance = (values[i] - location) / spread
        log_prior -= 0.5 * distance**2
        gradient[start + i] -= distance / spread
    return values, log_prior


@inner
def trial_mean_prior(point, gradient, numbers, values):
    """Write the trial means (cell,); return the log prior of them, of location and spread."""
    starts, prior = block(numbers, VARIABLE_START), block(numbers, PRIOR)
    predictor = block(numbers, CELL_PREDICTOR)
    middle, reference = block(numbers, BETWEEN_LOCATION), block(numbers, RATE_LOCATION)
    count, reported = middle.shape[0], int(block(numbers, N_REPORTED)[0])
    location, log_prior = normal_prior(point, gradient, numbers, PREDICTOR_LOCATION, count)
    between, first = int(starts[PREDICTOR_BETWEEN]), int(starts[PREDICTOR_LOCATION])
    width = prior[2 * PREDICTOR_BETWEEN + 1]
    for k in range(count):
        distance = (point[between + k] - middle[k]) / width
        log_prior -= 0.5 * distance**2
        gradient[between + k] -= distance / width
    for i in range(predictor.shape[0]):
        k = int(predictor[i])
        spread = math.exp(point[between + k])
        centre = location[k] + reference[k]
        if i < reported:
            place = int(starts[REPORTED]) + i
            values[i] = point[place]
            distance = (values[i] - centre) / spread
            log_prior -= 0.5 * distance**2 + point[between + k]
            gradient[place] -= distance / spread
            gradient[first + k] += distance / spread
            gradient[between + k] += distance**2 - 1.0
        else:
            place = int(starts[UNREPORTED]) + i - reported
            values[i] = centre + spread * point[place]
            log_prior -= 0.5 * point[place] ** 2
            gradient[place] -= point[place]
    return log_prior


@inner
def pass_trial_mean_back(point, gradient, numbers, back):
    """Pass derivatives with respect to trial means on."""
    starts = block(numbers, VARIABLE_START)
    predictor, reported = block(numbers, CELL_PREDICTOR), int(block(numbers, N_REPORTED)[0])
    between, first = int(starts[PREDICTOR_BETWEEN]), int(starts[PREDICTOR_LOCATION])
    for i in range(predictor.shape[0]):
        if i < reported:
            gradient[int(starts[REPORTED]) + i] += back[i]
        else:
            k, place = int(predictor[i]), int(starts[UNREPORTED]) + i - reported
            spread = math.exp(point[between + k])
            gradient[place] += back[i] * spread
            gradient[first + k] += back[i]
            gradient[between + k] += back[i] * spread * point[place]


@inner
def law_means(numbers, trial_mean, mean, density):
    """Write means, or rates, of each law (law, predictor), and densities of the rates."""
    binary, mean_cell = block(numbers, BINARY_IDX), block(numbers, MEAN_CELL)
    for law in range(mean.shape[0]):
        for k in range(mean.shape[1]):
            cell = int(mean_cell[law * mean.shape[1] + k])
            mean[law, k] = trial_mean[cell] if cell >= 0 else 0.0
        for j in range(binary.shape[0]):
            k = int(binary[j])
            density[law, j] = _DENSITY * math.exp(-0.5 * mean[law, k] ** 2)
            mean[law, k] = 0.5 * math.erfc(-mean[law, k] * _ROOT_HALF)
            # Beyond eight SDs a rate has no digits left for its complement.
            if not _LEAST_RATE < mean[law, k] < 1.0 - _LEAST_RATE:
                mean[law, k] = min(max(mean[law, k], _LEAST_RATE), 1.0 - _LEAST_RATE)
                density[law, j] = 0.0


@inner
def cholesky_prior(point, gradient, numbers, factor):
    """Write the Cholesky factor of the covariance and return its log density."""
    start, prior = int(block(numbers, VARIABLE_START)[CHOLESKY]), block(numbers, PRIOR)
    size = factor.shape[0]
    location, spread = prior[2 * CHOLESKY], prior[2 * CHOLESKY + 1]
    concentration = prior[-1]
    log_prior, place = 0.0, start
    for i in range(size):
        square = 0.0
        for j in range(i + 1):
            factor[i, j] = math.exp(point[place + j]) if i == j else point[place + j]
            square += factor[i, j] ** 2
        log_diagonal, log_sd = point[place + i], 0.5 * math.log(square)
        power = 2.0 * concentration - 2.0 + size - i
        distance = (log_sd - location) / spread
        log_prior += power * (log_diagonal - log_sd) - (i + 1) * log_sd
        log_prior += log_diagonal - 0.5 * distance**2
        log_sd_back = -power - (i + 1) - distance / spread
        for j in range(i):
            gradient[place + j] += log_sd_back * factor[i, j] / square
        gradient[place + i] += log_sd_back * factor[i, i] ** 2 / square + power + 1.0
        place += i + 1
    return log_prior


@inner
def pass_cholesky_back(gradient, numbers, factor, covariance_back):
    """Pass derivatives with respect to the entries of the covariance on to its factor."""
    place, size = int(block(numbers, VARIABLE_START)[CHOLESKY]), factor.shape[0]
    for i in range(size):
        for j in range(i + 1):
            total = 0.0
            for k in range(j, size):
                total += (covariance_back[i, k] + covariance_back[k, i]) * factor[k, j]
            gradient[place + j] += total * factor[i, i] if i == j else total
        place += i + 1


@inner
def invert_subset(covariance, known, precision):
    """Write the inverse of a covariance's known part, zeros elsewhere; return its log determinant.

    Gauss-Jordan without pivoting, which is stable for positive definite matrices.
    """
    size = covariance.shape[0]
    for i in range(size):
        for j in range(size):
            both = known[i] > 0.0 and known[j] > 0.0
            precision[i, j] = covariance[i, j] if both else 0.0
    log_determinant = 0.0
    for p in range(size):
        if known[p] <= 0.0:
            continue
        pivot = precision[p, p]
        log_determinant += math.log(pivot)
        precision[p, p] = 1.0
        for j in range(size):
            precision[p, j] /= pivot
        for i in range(size):
            if i != p and precision[i, p] != 0.0:
                factor = precision[i, p]
                precision[i, p] = 0.0
                for j in range(size):
                    precision[i, j] -= factor * precision[p, j]
    return log_determinant


@inner
def subset_regression(covariance, known, precision, weight, residual):
    """Write W (missing on known) and V (what is left), in full size with zeros elsewhere."""
    size = covariance.shape[0]
    for i in range(size):
        for j in range(size):
            total = 0.0
            if known[i] <= 0.0 and known[j] > 0.0:
                for k in range(size):
                    if known[k] > 0.0:
                        total += covariance[i, k] * precision[k, j]
            weight[i, j] = total
    for i in range(size):
        for j in range(size):
            total = 0.0
            if known[i] <= 0.0 and known[j] <= 0.0:
                total = covariance[i, j]
                for k in range(size):
                    if known[k] > 0.0:
                        total -= weight[i, k] * covariance[k, j]
            residual[i, j] = total


@inner
def pass_subset_back(known, precision, weight, weight_back, residual_back, covariance_back):
    """Pass derivatives with respect to W and V on to the covariance."""
    size = known.shape[0]
    by_precision = np.zeros((size, size))
    by_weight = np.zeros((size, size))
    for i in range(size):
        if known[i] > 0.0:
            continue
        for j in range(size):
            covariance_back[i, j] += residual_back[i, j]
            if known[j] > 0.0:
                for k in range(size):
                    if known[k] > 0.0:
                        by_precision[i, j] += weight_back[i, k] * precision[k, j]
                    else:
                        by_weight[i, j] += residual_back[i, k] * weight[k, j]
    for i in range(size):
        for j in range(size):
            if known[i] <= 0.0 and known[j] > 0.0:
                covariance_back[i, j] += by_precision[i, j] - by_weight[i, j]
                covariance_back[j, i] -= by_weight[i, j]
            elif known[i] > 0.0 and known[j] > 0.0:
                for k in range(size):
                    if known[k] <= 0.0:
                        change = by_weight[k, j] - by_precision[k, j]
                        covariance_back[i, j] += weight[k, i] * change
