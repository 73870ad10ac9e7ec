r"""What patients and arms say of their predictors: the log density beside that of the responses.

People with all binaries known enter by weights, means and cross products of their law and set and
by counts of pairs, so that the cost does not grow with their number. For the others
:math:`\log \sum_b P(b)\, N(x_o; \mu_o(b), S_{oo})` is the part at :math:`b = c`, which has the
same sufficient statistics, plus the logarithm of a sum over patterns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt

from ketpredict.design import Design
from ketpredict.graph_algebra import product
from ketpredict.graph_predictors import ArmLaw, PatternWeights, PredictorLaw, centres, log_sums
from ketpredict.graph_rows import SharedRows, distinct

_LOG_TWO_PI = np.log(2.0 * np.pi)


def people_log_density(
    design: Design, law: PredictorLaw, shared: SharedRows, patterns: PatternWeights
) -> Any:
    """Return the log density of the predictors of all patients."""
    total = pt.zeros(())
    if len(design.people) == 0:
        return total
    if len(design.continuous_idx):
        total = total + _normal_part(design, law, shared)
    if len(design.binary_idx):
        total = total + _pair_part(design, patterns)
    if len(shared.mixtures.weight):
        over_patterns = log_sums(patterns.log_mixture, shared.mixtures.blocks)
        total = total + (shared.mixtures.weight * over_patterns).sum()
    return total


def _normal_part(design: Design, law: PredictorLaw, shared: SharedRows) -> Any:
    """Return the normal log density of what is observed, open binaries at their centres."""
    people, observed, size = design.people, shared.observed, len(design.continuous_idx)
    value = people.value.copy()
    value[:, design.binary_idx] -= centres(design)
    is_open = np.isnan(value[:, design.binary_idx]).any(axis=1)
    value[np.ix_(is_open, design.binary_idx)] = 0.0
    value = np.nan_to_num(value[:, [*design.continuous_idx, *design.binary_idx]])
    groups, group = distinct(np.column_stack([people.law_idx, shared.people_set]))
    law_idx, set_idx = groups.T
    total = np.bincount(group, people.weight)
    mean = np.zeros((len(groups), value.shape[1]))
    np.add.at(mean, group, people.weight[:, None] * value)
    mean /= total[:, None]
    distance = value - mean[group]
    scatter = np.zeros((len(observed), value.shape[1], value.shape[1]))
    np.add.at(
        scatter,
        shared.people_set,
        people.weight[:, None, None] * distance[:, :, None] * distance[:, None, :],
    )
    own, cross, other = scatter[:, :size, :size], scatter[:, :size, size:], scatter[:, size:, size:]
    if len(design.binary_idx):
        carried = product(cross, law.shift.T)
        between = product(product(other, law.shift.T).transpose(0, 2, 1), law.shift.T)
        own = own - carried - carried.transpose(0, 2, 1) + between
    residual = mean[:, :size] - product(mean[:, size:], law.shift.T) - law.mean[law_idx]
    weighted = (law.precision[set_idx] * residual[:, None, :]).sum(axis=-1)
    squares = (law.precision * own).sum() + (total[:, None] * weighted * residual).sum()
    in_set = np.bincount(shared.people_set, people.weight, len(observed))
    logarithms = (in_set * (law.log_determinant + observed.sum(axis=1) * _LOG_TWO_PI)).sum()
    return -0.5 * (squares + logarithms)


def _pair_part(design: Design, patterns: PatternWeights) -> Any:
    """Return the log probability of the binaries of those who leave none open."""
    people, count = design.people, len(design.binary_idx)
    closed = ~np.isnan(people.value[:, design.binary_idx]).any(axis=1)
    bit = people.value[closed][:, design.binary_idx].astype(int)
    trial, weight = people.trial_idx[closed][:, None], people.weight[closed][:, None]
    trials = len(design.trials)
    log_rate, log_pair = patterns.log_rate[:trials], patterns.log_pair[:trials]
    single = np.zeros((trials, count, 2))
    np.add.at(single, (trial, np.arange(count), bit), weight)
    if count == 1:
        return (single * log_rate).sum()
    pairs = np.zeros((trials, count - 1, 4))
    np.add.at(pairs, (trial, np.arange(count - 1), 2 * bit[:, :-1] + bit[:, 1:]), weight)
    inner = (single[:, 1:-1] * log_rate[:, 1:-1]).sum() if count > 2 else 0.0
    return (pairs * log_pair).sum() - inner


def arms_log_density(design: Design, law: PredictorLaw, shared: SharedRows, arm_law: ArmLaw) -> Any:
    """Return the log density of published means, proportions and standard deviations."""
    units, arms = design.units, shared.arms
    people = units.weight[arms]
    total = pt.zeros(())
    if len(arms) == 0:
        return total
    if len(design.continuous_idx):
        observed = shared.observed[shared.unit_set[arms]]
        value = np.nan_to_num(units.value[arms][:, design.continuous_idx])
        residual = value - law.mean[units.law_idx[arms]]
        if len(design.binary_idx):
            residual = residual - product(arm_law.proportion - centres(design), law.shift.T)
        weighted = (law.precision[shared.unit_set[arms]] * residual[:, None, :]).sum(axis=-1)
        constant = (observed * (_LOG_TWO_PI - np.log(people))[:, None]).sum()
        squares = (people[:, None] * weighted * residual).sum()
        logarithms = law.log_determinant[shared.unit_set[arms]].sum()
        total = total - 0.5 * (constant + squares + logarithms)
        sd = units.sd[arms][:, design.continuous_idx]
        freedom = np.where(np.isnan(sd), 0.0, np.maximum(people - 1.0, 0.0)[:, None])
        if freedom.any():
            ratio = np.nan_to_num(sd) ** 2 / arm_law.variance
            total = total - 0.5 * (freedom * (pt.log(arm_law.variance) + ratio)).sum()
    if len(design.binary_idx):
        published = units.value[arms][:, design.binary_idx]
        counts = np.zeros((len(design.trials), len(design.binary_idx), 2))
        both = np.nan_to_num(np.stack([1.0 - published, published], axis=-1))
        np.add.at(counts, units.trial_idx[arms], people[:, None, None] * both)
        total = total + (counts * pt.log(law.rate)).sum()
    return total
