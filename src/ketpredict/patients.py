r"""Response probability of patients, whatever is known of them and of their trial.

Patients who know the same predictors and are in the same trial, population and kind of arm are
*alike*: their linear predictor is affine in the values they know, with coefficients that are worked
out once for each draw. What is not known is integrated:

* a missing continuous predictor by its law given the known ones (:mod:`ketpredict.predictor_law`);
* a missing binary one by enumeration, each pattern weighted by its probability given what is known;
* the effects of an unseen trial or population over their law (:mod:`ketpredict.averages`), or one
  unseen trial at a time (:mod:`ketpredict.predict`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from ketpredict.categories import exclusive_places
from ketpredict.equations import unit_intercept, unit_slope
from ketpredict.patterns import enumerate_patterns
from ketpredict.predictor_law import Conditional, Draws
from ketpredict.short_form import ShortForm
from ketpredict.unseen_rates import RateLaw

_CHUNK_VALUES = 100_000
_MOST_CODES = 2**40
KNOWN_TRIAL = "known trial"
NEW_TRIAL = "new trial, known population"
NEW_POPULATION = "new population"


@dataclasses.dataclass(frozen=True, repr=False)
class Rows(ShortForm):
    """Patients, encoded. Attributes not listed are as in :class:`ketpredict.design.Units`.

    A trial or population that the fit does not know has the index one past the last.

    Parameters
    ----------
    value : ndarray of shape (row, predictor)
        Reference scale; 0 or 1 if binary; NaN where missing.
    assay_mean : ndarray of shape (row, predictor)
        Mean of the patient's assay where the user gives it, reference scale; else NaN.
    mean_cell : ndarray of int, shape (row, predictor)
        Cell of the trial's mean or rate; -1 where the fit knows none.
    new_trial, new_population : ndarray of bool, shape (row,)
    """

    population_idx: np.ndarray
    trial_idx: np.ndarray
    arm_idx: np.ndarray
    curve_idx: np.ndarray
    scale_idx: np.ndarray
    active: np.ndarray
    horizon_basis: np.ndarray
    study_terms: np.ndarray
    threshold_shift: np.ndarray
    value: np.ndarray
    assay_mean: np.ndarray
    mean_cell: np.ndarray
    new_trial: np.ndarray
    new_population: np.ndarray

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.arm_idx)

    def take(self, index: np.ndarray) -> Rows:
        """Return the rows at an index."""
        return Rows(**{f.name: getattr(self, f.name)[index] for f in dataclasses.fields(self)})

    def settings(self) -> np.ndarray:
        """Return what each prediction assumes about its setting, in words."""
        known = np.where(self.new_trial, NEW_TRIAL, KNOWN_TRIAL)
        return np.where(self.new_population, NEW_POPULATION, known)


def alike(draws: Draws, rows: Rows) -> Iterator[tuple[np.ndarray, Rows]]:
    """Yield the index of rows that are alike, and the rows."""
    binary = rows.value[:, draws.binary]
    given = ~np.isnan(rows.assay_mean) & ~np.isnan(rows.value)
    keys = [
        *(~np.isnan(rows.value)).T,
        *np.where(np.isnan(binary), -1.0, binary).T,
        *given.T,
        *rows.mean_cell.T,
        rows.population_idx,
        rows.trial_idx,
        rows.active,
    ]
    for index in groups_of(keys, len(rows)):
        yield index, rows.take(index)


def groups_of(keys: list[np.ndarray], count: int) -> list[np.ndarray]:
    """Return the indices of rows whose keys are all the same, for each such set of rows.

    Parameters
    ----------
    keys : list of ndarray of shape (count,)
        Neither numbers nor text that is missing.
    """
    if not count:
        return []
    code, size = np.zeros(count, dtype=np.int64), 1
    for key in keys:
        if (key == key[0]).all():
            continue
        if key.dtype.kind == "b":
            place, levels = key.astype(np.int64), 2
        elif key.dtype.kind in "iu":
            place = key - key.min()
            levels = int(place.max()) + 1
        else:
            found, place = np.unique(key, return_inverse=True)
            levels = len(found)
        if size * levels > _MOST_CODES:
            # Renumbered, so that the code stays small however many keys there are.
            code = np.unique(code, return_inverse=True)[1]
            size = int(code.max()) + 1
        code = code * levels + place
        size *= levels
    order = np.argsort(code, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(code[order])) + 1)


def pieces(count: int, values_per_row: int) -> Iterator[slice]:
    """Yield slices of rows that keep the arrays of one step small."""
    size = max(1, _CHUNK_VALUES // max(values_per_row, 1))
    for start in range(0, count, size):
        yield slice(start, start + size)


def intercept_classes(rows: Rows) -> list[np.ndarray]:
    """Return the indices of rows that have the same linear predictor apart from predictors."""
    keys = [rows.arm_idx, rows.scale_idx, rows.threshold_shift, *rows.horizon_basis.T]
    keys += [*rows.study_terms.T, rows.population_idx, rows.trial_idx, rows.curve_idx]
    return groups_of(keys, len(rows))


def intercepts(draws: Draws, rows: Rows) -> np.ndarray:
    """Return the linear predictor without predictors, (draw, row), worked out once per outcome."""
    classes = intercept_classes(rows)
    place = np.empty(len(rows), dtype=int)
    for number, index in enumerate(classes):
        place[index] = number
    first = np.array([index[0] for index in classes], dtype=int)
    return np.asarray(unit_intercept(draws.parameters, rows.take(first))[:, place])


@dataclasses.dataclass(frozen=True)
class Setting:
    """What rows that are alike share, draws first.

    Parameters
    ----------
    slope, slope_variance : ndarray of shape (draw, predictor)
        Mean and variance over what is unseen of trial and population.
    intercept_variance : ndarray of shape (draw,)
    location : ndarray of shape (draw, continuous)
        Trial means; where they lie on average, if not known; 0 where the row gives its own.
    mean_unknown : ndarray of bool, shape (continuous,)
    rates : RateLaw
    rates_known : bool
        Whether the fit knows all of them.
    values : ndarray of shape (pattern, binary)
        Every pattern of binaries that agrees with what is known.
    law : Conditional
    """

    slope: np.ndarray
    slope_variance: np.ndarray
    intercept_variance: np.ndarray
    location: np.ndarray
    mean_unknown: np.ndarray
    rates: RateLaw
    rates_known: bool
    values: np.ndarray
    law: Conditional


def setting_of(draws: Draws, rows: Rows) -> Setting:
    """Return the setting of rows that are alike."""
    parameters, first = draws.parameters, rows.take(np.arange(1))
    known = ~np.isnan(first.value[0])
    given = known & ~np.isnan(first.assay_mean[0])
    cell = first.mean_cell[0]
    location, spread = draws.location(), parameters["predictor_between_scale"].copy()
    for k in np.flatnonzero((cell >= 0) | given):
        location[:, k] = 0.0 if given[k] else parameters["trial_mean"][:, cell[k]]
        spread[:, k] = 0.0
    continuous, binary = draws.continuous, draws.binary
    unknown = ((cell < 0) & ~given)[continuous]
    observed = np.flatnonzero(known[continuous])
    uncertain = np.flatnonzero(~known[continuous] | (unknown & draws.assay_dependent))
    new_trial, new_population = bool(first.new_trial[0]), bool(first.new_population[0])
    count = len(draws)
    intercept_variance, slope_variance = np.zeros(count), np.zeros((count, len(draws.predictors)))
    if new_trial:
        treatment = draws.unseen_scale("trial_treatment") ** 2 / 4.0
        intercept_variance = intercept_variance + draws.unseen_scale("trial_intercept") ** 2
        intercept_variance = intercept_variance + treatment
        slope_variance = slope_variance + draws.slope_variance("trial")
    if new_population:
        intercept_variance = intercept_variance + draws.unseen_scale("population_intercept") ** 2
        slope_variance = slope_variance + draws.slope_variance("population")
    rates = draws.unseen_rates
    if (cell[binary] >= 0).any():
        rates = draws.rate_law(location[:, binary], spread[:, binary])
    return Setting(
        slope=np.asarray(unit_slope(parameters, first))[:, 0],
        slope_variance=slope_variance,
        intercept_variance=intercept_variance,
        location=location[:, continuous],
        mean_unknown=unknown,
        rates=rates,
        rates_known=bool((cell[binary] >= 0).all()),
        values=enumerate_patterns(first.value[:1, binary], exclusive_places(draws.predictors))[1],
        law=draws.conditional(observed, uncertain, unknown),
    )


def entering_values(draws: Draws, setting: Setting, rows: Rows) -> np.ndarray:
    """Return the known continuous values, from their assay's mean where a row gives it."""
    place = draws.continuous[setting.law.observed]
    mean = rows.assay_mean[:, place]
    return rows.value[:, place] - np.where(np.isnan(mean), 0.0, mean)


def affine(coefficient: np.ndarray, values: np.ndarray) -> Any:
    """Return the sum of coefficients times values, (draw, row).

    Not a matrix product: its rounding would depend on how many rows there are.
    """
    total: Any = 0.0
    for k in range(values.shape[1]):
        total = total + coefficient[:, k, None] * values[None, :, k]
    return total


@dataclasses.dataclass(frozen=True)
class Folded:
    """The linear predictor at certain slopes: affine in known values and in trial means.

    Parameters
    ----------
    coefficient : ndarray of shape (draw, observed)
    by_mean : ndarray of shape (draw, continuous)
        Coefficients of the trial's means.
    constant : ndarray of shape (draw, pattern)
    variance : ndarray of shape (draw,)
        Of what is uncertain about one patient, given trial means where the law is.
    """

    coefficient: np.ndarray
    by_mean: np.ndarray
    constant: np.ndarray
    variance: np.ndarray


def fold(
    draws: Draws, law: Conditional, slope: np.ndarray, values: np.ndarray, shift: np.ndarray
) -> Folded:
    """Return the linear predictor of patterns without intercept and without across slopes.

    Parameters
    ----------
    slope : ndarray of shape (draw, predictor)
    values : ndarray of shape (pattern, binary)
    shift : ndarray of shape (draw, pattern, continuous)
        From :func:`ketpredict.predictor_law.pattern_shift`.
    """
    continuous = slope[:, draws.continuous]
    own = draws.assay_dependent
    certain = np.setdiff1d(law.observed, law.uncertain)
    place = np.searchsorted(law.observed, certain)
    uncertain = continuous[:, law.uncertain]
    coefficient = np.einsum("du,duo->do", uncertain, law.gain)
    by_mean = np.zeros_like(continuous)
    by_mean[:, law.observed] -= coefficient
    by_mean[:, law.uncertain] += uncertain * ~own[law.uncertain]
    by_mean[:, certain] -= continuous[:, certain] * own[certain]
    constant = np.einsum("du,dpu->dp", uncertain, shift[..., law.uncertain])
    constant -= np.einsum("do,dpo->dp", coefficient, shift[..., law.observed])
    constant += slope[:, draws.binary] @ (values - draws.binary_centre).T
    coefficient[:, place] += continuous[:, certain]
    variance = np.einsum("du,duv,dv->d", uncertain, law.spread, uncertain)
    return Folded(coefficient, by_mean, constant, variance)


def mixture(weights: list[Any], probabilities: list[Any]) -> np.ndarray:
    """Return the average over patterns, their log weights given up to a common term."""
    if len(weights) == 1:
        return np.asarray(probabilities[0])
    highest = weights[0]
    for weight in weights[1:]:
        highest = np.maximum(highest, weight)
    total: Any = 0.0
    sum_of_weights: Any = 0.0
    for weight, probability in zip(weights, probabilities, strict=True):
        share = np.exp(weight - highest)
        total = total + share * probability
        sum_of_weights = sum_of_weights + share
    return np.asarray(total / sum_of_weights)
