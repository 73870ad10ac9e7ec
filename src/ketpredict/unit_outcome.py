r"""Response probability of the units of a design: patients and published arms, in NumPy.

The NumPy twin of the graph's likelihood, for replicated outcomes and pointwise log likelihoods.

An arm publishes means :math:`m_o` of some predictors, standard deviations, and proportions. Its
people are draws from the trial's law around what is published: for a pattern :math:`b` of one
person's binaries, with proportions :math:`p` (the trial's rates where none are published) and
:math:`r = m_o - \mu_o - B_o(p - c)`, a continuous predictor enters at

.. math:: m_k - a_k\mu_k + (B(b - p))_k \quad\text{(published)}, \qquad
          (1 - a_k)\mu_k + (W r)_k + (B(b - c))_k \quad\text{(not)},

with the covariance :math:`S`, its rows and columns stretched where a standard deviation is
published, so that the arm's total standard deviation is that.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from scipy.special import ndtr

from ketpredict.averages import average_probability
from ketpredict.design import Design, Units
from ketpredict.equations import unit_intercept, unit_slope
from ketpredict.marginal import normal_average
from ketpredict.parts import single_level
from ketpredict.patients import Rows
from ketpredict.patterns import enumerate_patterns
from ketpredict.predictor_law import Draws, known_pattern_probability, with_absent

_MOST_AT_ONCE = 2_000_000


def unit_probability(parameters: Any, design: Design) -> np.ndarray:
    """Return the response probability of every unit of a design in every draw.

    Parameters
    ----------
    parameters : mapping of str to ndarray
        Draws of the parameters, (draw, ...).
    design : Design

    Returns
    -------
    ndarray of shape (draw, unit)
    """
    draws = draws_of(parameters, design)
    result = np.empty((len(draws), len(design.units)))
    patients = np.flatnonzero(design.units.is_arm == 0)
    rows = patient_rows(design, patients)

    def take(index: np.ndarray, probability: np.ndarray) -> None:
        result[:, patients[index]] = probability.T

    average_probability(draws, rows, take)
    for index in _arms_alike(design):
        size = _MOST_AT_ONCE // (len(draws) * 2 ** len(design.binary_idx)) or 1
        for start in range(0, len(index), size):
            some = index[start : start + size]
            result[:, some] = _arm_probability(draws, design, some)
    return result


def draws_of(parameters: Any, design: Design) -> Draws:
    """Return the draws of a design's parameters as the averages take them."""
    complete = with_absent(parameters, design.predictors, len(design.cells))
    return Draws(
        complete,
        design.predictors,
        design.spec.link,
        design.slope_parts,
        single_level(design.left_out),
    )


def patient_rows(design: Design, units: np.ndarray, *, unseen: bool = False) -> Rows:
    """Return units that are patients as rows to predict, in their trial or in an unseen one.

    Parameters
    ----------
    units : ndarray of int
    unseen : bool
        As if the fit did not know their trial.
    """
    own = design.units
    shared = {f.name for f in dataclasses.fields(Rows)} & {
        f.name for f in dataclasses.fields(Units)
    }
    columns = {name: getattr(own, name)[units] for name in shared}
    cells = design.mean_cell[own.law_idx[units]]
    if unseen:
        columns["trial_idx"] = np.full(len(units), len(design.trials))
        cells = np.full_like(cells, -1)
    return Rows(
        **columns,
        assay_mean=np.full(columns["value"].shape, np.nan),
        mean_cell=cells,
        new_trial=np.full(len(units), unseen),
        new_population=np.zeros(len(units), dtype=bool),
    )


def _arms_alike(design: Design) -> list[np.ndarray]:
    """Return the arms in groups that publish the same predictors.

    Where all or none of an arm's people have a binary, nothing is left to average over.
    """
    arms = np.flatnonzero(design.units.is_arm > 0)
    value = design.units.value[arms]
    binary = value[:, design.binary_idx]
    everybody = (binary == 0.0) | (binary == 1.0)
    keys = np.column_stack([~np.isnan(value), np.where(everybody, binary, -1.0)])
    group = np.unique(keys, axis=0, return_inverse=True)[1].ravel() if keys.size else 0 * arms
    return [arms[group == code] for code in np.unique(group)]


@dataclasses.dataclass(frozen=True)
class Summary:
    """What arms publish of their people. All arms of one summary publish the same predictors.

    Parameters
    ----------
    value, sd : ndarray of shape (arm, predictor)
        As in :class:`ketpredict.design.Units`.
    values : ndarray of shape (pattern, binary)
        Every pattern of the binaries that people of these arms may have.
    """

    value: np.ndarray
    sd: np.ndarray
    values: np.ndarray


def summary_of(design: Design, arms: np.ndarray) -> Summary:
    """Return what arms that publish the same predictors publish."""
    units = design.units
    values = enumerate_patterns(units.value[arms[:1]][:, design.binary_idx])[1]
    return Summary(units.value[arms], units.sd[arms], values)


@dataclasses.dataclass(frozen=True)
class ArmMixture:
    """The linear predictor of an arm's people: a normal for each pattern.

    Parameters
    ----------
    mean, weight : ndarray of shape (draw, arm, pattern)
        Without the intercept; weights sum to 1.
    variance : ndarray of shape (draw, arm)
    proportion : ndarray of shape (draw, arm, binary)
    total_variance : ndarray of shape (draw, arm, continuous)
        Of each continuous predictor within the arm by the law, whatever is published.
    """

    mean: np.ndarray
    weight: np.ndarray
    variance: np.ndarray
    proportion: np.ndarray
    total_variance: np.ndarray


def arm_mixture(
    draws: Draws, summary: Summary, slope: np.ndarray, mean: np.ndarray, rate: np.ndarray
) -> ArmMixture:
    """Return the linear predictor of the people of arms.

    In the place of several arms there may be several trials in which one arm may be.

    Parameters
    ----------
    slope : ndarray of shape (draw, arm, predictor)
    mean : ndarray of shape (draw, arm, continuous)
        Of the trial.
    rate : ndarray of shape (draw, arm, binary)
        Of the trial.
    """
    parameters, values = draws.parameters, summary.values
    continuous, binary, centre = draws.continuous, draws.binary, draws.binary_centre
    own, covariance = draws.assay_dependent, parameters["predictor_covariance"]
    shift, across = parameters["binary_shift"], parameters["across_slope"]
    published = summary.value[:, continuous]
    observed = np.flatnonzero(~np.isnan(published[0]))
    missing = np.flatnonzero(np.isnan(published[0]))
    given = summary.value[:, binary]
    proportion = np.where(np.isnan(given), rate, np.nan_to_num(given))
    weight = known_pattern_probability(
        proportion, values, parameters["binary_log_odds_ratio"][:, None]
    )

    def moved(pattern: Any) -> np.ndarray:
        """Return what a pattern's distance from the reference rates adds to the means."""
        return np.einsum("dkb,d...b->d...k", shift, pattern - centre)

    of_people, of_patterns = (
        moved(proportion),
        moved(np.broadcast_to(values, (len(draws), *values.shape))),
    )
    entering = mean * ~own
    entering[..., observed] = published[:, observed] - mean[..., observed] * own[observed]
    entering[..., observed] -= of_people[..., observed]
    residual = published[:, observed] - mean[..., observed] - of_people[..., observed]
    precision = np.linalg.inv(covariance[:, observed[:, None], observed])
    gain = covariance[:, missing[:, None], observed] @ precision
    entering[..., missing] += np.einsum("dmo,d...o->d...m", gain, residual)
    level = (slope[..., continuous] * entering).sum(axis=-1)
    level = level + (across[:, None, continuous] * mean).sum(axis=-1)
    level = level + (across[:, None, binary] * (rate - centre)).sum(axis=-1)
    of_slopes = np.einsum("d...k,dpk->d...p", slope[..., continuous], of_patterns)
    of_slopes = of_slopes + slope[..., binary] @ (values - centre).T
    # The spread that binaries add to a continuous predictor within the arm.
    apart = of_patterns[:, None] - of_people[..., None, :]
    between = (weight[..., None] * apart**2).sum(axis=-2)
    total = np.diagonal(covariance, axis1=1, axis2=2)[:, None] + between
    sd = summary.sd[:, continuous]
    stretch = np.where(np.isnan(sd), 1.0, np.nan_to_num(sd) / np.sqrt(total))
    stretched = slope[..., continuous] * stretch
    return ArmMixture(
        mean=level[..., None] + of_slopes,
        weight=weight,
        variance=np.einsum("d...k,dkl,d...l->d...", stretched, covariance, stretched),
        proportion=proportion,
        total_variance=total,
    )


def _arm_probability(draws: Draws, design: Design, arms: np.ndarray) -> np.ndarray:
    """Return (draw, arm) probabilities of arms that publish the same predictors."""
    units, parameters = take_units(design.units, arms), draws.parameters
    cell = design.mean_cell[units.law_idx]
    padded = np.pad(parameters["trial_mean"], ((0, 0), (0, 1)))
    # A mean that no arm or patient of the trial tells does not enter: its cell is the zero.
    trial = padded[:, cell]
    mixture = arm_mixture(
        draws,
        summary_of(design, arms),
        np.asarray(unit_slope(parameters, units)),
        trial[..., draws.continuous],
        ndtr(trial[..., draws.binary]),
    )
    linear = np.asarray(unit_intercept(parameters, units))[..., None] + mixture.mean
    by_pattern = normal_average(linear, mixture.variance[..., None], draws.components)
    return np.asarray((mixture.weight * by_pattern).sum(axis=-1))


def take_units(units: Units, index: np.ndarray) -> Units:
    """Return some of a design's units."""
    return Units(**{f.name: getattr(units, f.name)[index] for f in dataclasses.fields(units)})
