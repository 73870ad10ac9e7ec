"""Rows to predict: labels and predictor columns become indices and reference-scale values.

Integrated settings have an index one past the last known level; :class:`ketpredict.posterior`
keeps a level of zeros there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ketpredict.errors import DataError, TableProblem
from ketpredict.horizon import horizon_basis
from ketpredict.link import variance as link_variance
from ketpredict.patients import Rows
from ketpredict.posterior import Posterior
from ketpredict.predictors import Predictor
from ketpredict.spec import (
    FULL_THRESHOLD,
    STUDY_TERMS,
    UNNAMED_POPULATION,
    UNNAMED_TRIAL,
)

__all__ = ["Rows", "encode_rows"]


class _RowError(Exception):
    """What is wrong with a row, told when it is known where the first row stands."""

    def __init__(self, row: int, before: str, after: str) -> None:
        super().__init__(row, before, after)
        self.row, self.before, self.after = row, before, after


def encode_rows(
    posterior: Posterior, table: Mapping[str, Any], n_rows: int, first_row: int = 0
) -> Rows:
    """Return rows ready for prediction.

    Parameters
    ----------
    table : mapping of str to array_like of shape (n_rows,)
        Predictor columns in their own units, and optionally ``trial``, ``population``, ``arm``,
        ``hours``, ``threshold``, ``scale``, ``blinding``, ``enriched``,
        ``added_antidepressant`` and ``assay``. Missing values and columns are legal; what they
        stand for: an unseen trial, the trial's population or else an unseen one, ketamine
        0.5 mg/kg, the reference horizon, 50 % improvement, and the design of the trial or else a
        double-blind one. The hours of a repeated course are those of its arm term. Where the
        level of a predictor is its assay's, ``NAME_assay_mean`` gives the mean of comparable
        patients in that assay, in the predictor's own unit (of a predictor on the log scale: the
        geometric mean); else the trial's mean is used, and one that is not known is averaged over.
    first_row : int
        Where the rows begin in the table that errors speak of.

    Raises
    ------
    DataError
        An arm, horizon, threshold or scale that the fit says nothing about, a label that is
        another spelling of a known one, a trial in a population that it is not of, or a binary
        predictor that is neither 0 nor 1.
    """
    try:
        return _encoded(posterior, table, n_rows)
    except _RowError as error:
        row = error.row + 1 + first_row
        message = f"{error.before}{row}{error.after}"
        raise DataError(message, [TableProblem(message, "row", row)]) from None


def _encoded(posterior: Posterior, table: Mapping[str, Any], n_rows: int) -> Rows:
    coords, horizons = posterior.coords, posterior.spec.horizons
    trial_idx = _level_index(table.get("trial"), coords["trial"], UNNAMED_TRIAL, n_rows)
    population_idx = _with_trial_population(
        posterior,
        trial_idx,
        _level_index(table.get("population"), coords["population"], UNNAMED_POPULATION, n_rows),
        _absent(table.get("population"), n_rows),
    )
    arm_idx = _arm_index(table.get("arm"), coords["arm"], n_rows)
    active = np.array([c == "active" for c in posterior.facts["arm_class"]], dtype=float)[arm_idx]
    hours = _numbers(table.get("hours"), horizons.reference, n_rows)
    course = np.array(posterior.facts["repeated_arm"], dtype=bool)[arm_idx]
    _check_hours(hours, course, horizons)
    basis = horizon_basis(hours, horizons.knots) * ~course[:, None]
    shift, scale_idx = _thresholds(posterior, table, n_rows)
    value = np.full((n_rows, len(posterior.predictors)), np.nan)
    assay_mean = value.copy()
    for k, predictor in enumerate(posterior.predictors):
        value[:, k] = _values(predictor, table.get(predictor.name), n_rows)
        if predictor.assay_dependent:
            given = _assay_mean(predictor, table, n_rows)
            assay_mean[:, k] = np.where(np.isnan(value[:, k]), np.nan, given)
    return Rows(
        population_idx=population_idx,
        trial_idx=trial_idx,
        arm_idx=arm_idx,
        curve_idx=(1.0 - active).astype(int),
        scale_idx=scale_idx,
        active=active,
        horizon_basis=basis,
        study_terms=_study_terms(posterior, table, trial_idx, n_rows),
        threshold_shift=shift,
        value=value,
        assay_mean=assay_mean,
        mean_cell=_mean_cells(posterior, trial_idx, table.get("assay")),
        new_trial=trial_idx == len(coords["trial"]),
        new_population=population_idx == len(coords["population"]),
    )


def _numbers(values: Any, default: float, n_rows: int) -> np.ndarray:
    """Return a column as floats, its missing values replaced by a default."""
    if values is None:
        return np.full(n_rows, default)
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        array = np.array([np.nan if value is None else value for value in array], dtype=float)
    array = array.astype(float)
    return np.where(np.isnan(array), default, array)


def _is_missing(value: Any) -> bool:
    return value is None or value != value


def _level_index(values: Any, levels: list[str], unnamed: str, n_rows: int) -> np.ndarray:
    """Return the index of each label among the levels of the fit; unknown ones get the last."""
    position = {str(level): i for i, level in enumerate(levels)}
    otherwise = position.get(unnamed, len(levels))
    if values is None:
        return np.full(n_rows, otherwise)
    labels = np.asarray(values, dtype=object)
    _refuse_other_spelling(labels, levels)

    def index(label: Any) -> int:
        return otherwise if _is_missing(label) else position.get(str(label), len(levels))

    return np.asarray(_of_each(labels, index), dtype=int)


def _of_each(labels: np.ndarray, function: Callable[[Any], Any]) -> list[Any]:
    """Return a function of each label, worked out once for each that there is."""
    cells = labels.tolist()
    found = {label: function(label) for label in dict.fromkeys(cells)}
    return [found[label] for label in cells]


def _refuse_other_spelling(labels: np.ndarray, levels: list[str]) -> None:
    """Refuse a label that differs from a known one in case, spaces or signs only.

    Unknown trials and populations are legal, so that a misspelt one would become a new one.
    """
    known = {_plain(level): level for level in levels}
    for label in dict.fromkeys(labels.tolist()):
        if _is_missing(label) or str(label) in levels:
            continue
        close = known.get(_plain(label))
        if close is not None:
            row = labels.tolist().index(label)
            raise _RowError(row, "Row ", f": '{label}' looks like '{close}'; write it so.")


def _plain(label: Any) -> str:
    return "".join(letter for letter in str(label).lower() if letter.isalnum())


def _absent(values: Any, n_rows: int) -> np.ndarray:
    if values is None:
        return np.ones(n_rows, dtype=bool)
    cells = np.asarray(values, dtype=object)
    return np.array([value is None or value != value for value in cells.tolist()], dtype=bool)


def _trial_facts(posterior: Posterior, name: str) -> list[set[Any]]:
    """Return, for each trial of the fit, the values of an array of units; none if not kept."""
    units = posterior.groups.get("constant_data", {})
    found: list[set[Any]] = [set() for _ in posterior.coords["trial"]]
    if name in units:
        for trial, value in zip(units["trial_idx"], units[name].tolist(), strict=True):
            found[int(trial)].add(tuple(value) if isinstance(value, list) else value)
    return found


def _with_trial_population(
    posterior: Posterior, trial_idx: np.ndarray, population_idx: np.ndarray, absent: np.ndarray
) -> np.ndarray:
    """Return the populations, those left out filled in from a known trial of one population."""
    result = population_idx.copy()
    for trial, populations in enumerate(_trial_facts(posterior, "population_idx")):
        here = trial_idx == trial
        if len(populations) == 1:
            result[here & absent] = next(iter(populations))
        wrong = here & ~absent & ~np.isin(result, list(populations))
        if populations and wrong.any():
            names = ", ".join(posterior.coords["population"][int(p)] for p in sorted(populations))
            raise _RowError(
                int(np.flatnonzero(wrong)[0]),
                "Row ",
                f": trial '{posterior.coords['trial'][trial]}' is of population {names}, not of "
                "the one given. Leave the population out, or the trial.",
            )
    return result


def _study_terms(
    posterior: Posterior, table: Mapping[str, Any], trial_idx: np.ndarray, n_rows: int
) -> np.ndarray:
    """Return the study-level terms: the row's own, else the known trial's, else none."""
    terms = np.zeros((n_rows, len(STUDY_TERMS)))
    for trial, known in enumerate(_trial_facts(posterior, "study_terms")):
        if len(known) == 1:
            terms[trial_idx == trial] = next(iter(known))
    blinding = table.get("blinding")
    if blinding is not None:
        given = ~_absent(blinding, n_rows)
        is_open = np.array([str(value) == "open_label" for value in np.asarray(blinding, object)])
        terms[given, 0] = is_open[given]
    for k, name in enumerate(STUDY_TERMS[1:], start=1):
        value = _numbers(table.get(name), np.nan, n_rows)
        terms[:, k] = np.where(np.isnan(value), terms[:, k], value)
    return terms


def _arm_index(values: Any, arms: list[str], n_rows: int) -> np.ndarray:
    if values is None:
        return np.zeros(n_rows, dtype=int)  # the reference, ketamine in a fit of its evidence
    labels = _of_each(
        np.asarray(values, dtype=object), lambda v: arms[0] if _is_missing(v) else str(v)
    )
    unknown = sorted(set(labels) - set(arms))
    if unknown:
        raise DataError(
            f"Column 'arm' holds {', '.join(unknown)}, which the fit has not seen. Arms of this "
            f"fit: {', '.join(arms)}."
        )
    position = {arm: index for index, arm in enumerate(arms)}
    return np.array([position[label] for label in labels], dtype=int)


def _check_hours(hours: np.ndarray, course: np.ndarray, horizons: Any) -> None:
    low, high = horizons.window
    last = horizons.repeated_until
    wrong = np.where(course, hours > last, (hours < low) | (hours > high))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise _RowError(
            row,
            "Column 'hours', row ",
            f": {hours[row]:g}; the fit speaks of {low:g} to "
            f"{high:g} hours after a single dose, and of repeated courses up to {last:g} hours.",
        )


def _values(predictor: Predictor, values: Any, n_rows: int) -> np.ndarray:
    """Return a predictor's column on the reference scale; 0 and 1 stay as they are."""
    numbers = _numbers(values, np.nan, n_rows)
    if predictor.kind == "continuous":
        return np.asarray(predictor.to_scale(numbers))
    wrong = ~np.isnan(numbers) & (numbers != 0.0) & (numbers != 1.0)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise _RowError(
            row, f"Column '{predictor.name}', row ", f": {numbers[row]:g}; expected 0 or 1."
        )
    return numbers


def _assay_mean(predictor: Predictor, table: Mapping[str, Any], n_rows: int) -> np.ndarray:
    """Return the given means of an assay-dependent predictor's assay, on the reference scale."""
    name = f"{predictor.name}_assay_mean"
    given = _numbers(table.get(name), np.nan, n_rows)
    wrong = (given < predictor.low) | (given > predictor.high)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise _RowError(
            row,
            f"Column '{name}', row ",
            f": {given[row]:g}; expected a mean between {predictor.low:g} and {predictor.high:g}.",
        )
    return np.asarray(predictor.to_scale(given))


def _mean_cells(posterior: Posterior, trial_idx: np.ndarray, assay: Any) -> np.ndarray:
    """Return the cells of each row's trial and assay, (row, predictor); -1 where there is none.

    Without an assay a row is of the trial's patients without one, or of its only assay. An assay
    that the trial did not use leaves the means of assay-dependent predictors unknown.
    """
    of_law = posterior.groups["constant_data"]["mean_cell"]
    law_trial = posterior.groups["constant_data"]["law_trial"]
    comparable = np.array([not p.assay_dependent for p in posterior.predictors], dtype=bool)
    names = np.full(len(trial_idx), "", dtype=object)
    if assay is not None:
        named = ~_absent(assay, len(trial_idx))
        names[named] = [str(name) for name in np.asarray(assay, dtype=object)[named]]
    cells = np.full((len(trial_idx), len(posterior.predictors)), -1)
    for trial, label in enumerate(posterior.coords["trial"]):
        here = np.flatnonzero(trial_idx == trial)
        laws = np.flatnonzero(law_trial == trial)
        for name in dict.fromkeys(names[here]):
            rows = here[names[here] == name]
            law = _law(posterior, laws, label, name, int(rows[0]))
            if law is None:
                cells[rows] = np.where(comparable, of_law[laws[0]], -1)
            else:
                cells[rows] = of_law[law]
    return cells


def _law(posterior: Posterior, laws: np.ndarray, trial: str, assay: str, row: int) -> int | None:
    """Return the law of a trial and assay, or None if the trial has no such assay."""
    labels = {posterior.coords["law"][law]: int(law) for law in laws}
    wanted = f"{trial} ({assay})" if assay else trial
    if wanted in labels or len(labels) > 1 or assay:
        _refuse_other_spelling(np.array([None] * row + [wanted], dtype=object), list(labels))
        return labels.get(wanted)
    return int(laws[0])


def _thresholds(
    posterior: Posterior, table: Mapping[str, Any], n_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return 50 minus the threshold, times the SD of the link, and the scale that it is on."""
    shift = FULL_THRESHOLD - _numbers(table.get("threshold"), FULL_THRESHOLD, n_rows)
    shift = shift * np.sqrt(link_variance(posterior.spec.link))
    if not shift.any():
        return shift, np.zeros(n_rows, dtype=int)
    scales = posterior.coords["scale"]
    named = [None] * n_rows if table.get("scale") is None else list(table["scale"])
    spelt = {_plain(scale): scale for scale in scales}
    labels = ["" if _is_missing(value) else spelt.get(_plain(value), str(value)) for value in named]
    wrong = sorted({label for label, s in zip(labels, shift, strict=True) if s} - set(scales))
    if wrong:
        raise DataError(
            f"A threshold other than {FULL_THRESHOLD:g} % needs a column 'scale' with one of "
            f"{', '.join(scales) or '(none in this fit)'}; found {', '.join(map(repr, wrong))}."
        )
    index = [scales.index(label) if s else 0 for label, s in zip(labels, shift, strict=True)]
    return shift, np.array(index, dtype=int)
