"""Where a prediction goes beyond the evidence: in words for tables, as warnings for programs."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ketpredict.errors import ExtrapolationWarning
from ketpredict.parts import ONE_POPULATION, ONE_TRIAL, ONLY_CONTROL
from ketpredict.patients import groups_of
from ketpredict.posterior import Posterior
from ketpredict.rows import Rows
from ketpredict.spec import STUDY_TERMS

_OUTCOME = ("population_idx", "arm_idx", "threshold_shift", "scale_idx", "horizon_basis")
EXAMPLES = 3
"""How many notes a warning repeats."""
_OWN_VALUE = re.compile(r"^(\S+) \S+( is outside the evidence)")
"""What a note says of the row's own value, which a warning leaves out."""
_TERM_WORDS = {
    "open_label": ("double blind", "open label"),
    "enriched": ("of a sample that is not enriched", "of an enriched sample"),
    "added_antidepressant": ("without a new antidepressant", "with a new antidepressant added"),
}
"""What a study-level term of 0 and of 1 says of a setting."""


def extrapolation_notes(posterior: Posterior, rows: Rows) -> list[str]:
    """Return, for each row, in what way it lies beyond the evidence; empty where it does not.

    Returns
    -------
    list of str of length n_rows
    """
    notes: list[list[str]] = [[] for _ in range(len(rows))]
    direct = _reported_as_asked(posterior, rows)
    for entry in posterior.facts["basis"]:
        if entry["extrapolated"]:
            index = posterior.coords["population"].index(entry["population"])
            for row in np.flatnonzero((rows.population_idx == index) & ~direct):
                notes[row].append(f"{entry['population']}: {entry['reason']}")
    for where, note in _from_the_prior(posterior, rows):
        for row in np.flatnonzero(where):
            notes[row].append(note)
    _note_values(posterior, rows, notes)
    for place, arm, reason in settings_beyond(posterior, rows):
        notes[place].append(f"{arm}: {reason}")
    return ["; ".join(parts) for parts in notes]


def _note_values(posterior: Posterior, rows: Rows, notes: list[list[str]]) -> None:
    """Add to the notes where values of predictors lie beyond the evidence."""
    for k, predictor in enumerate(posterior.predictors):
        limits = posterior.facts["ranges"][predictor.name]
        known = np.flatnonzero(~np.isnan(rows.value[:, k]))
        if limits["trials"] == 0:
            note = f"{predictor.name}: {_unreported(posterior, predictor.name)}"
            for row in known:
                notes[row].append(note)
        elif limits["low"] is not None:
            values = predictor.from_scale(rows.value[known, k])
            outside = (values < limits["low"]) | (values > limits["high"])
            for row, value in zip(known[outside], values[outside], strict=True):
                notes[row].append(
                    f"{predictor.name} {value:.4g} is outside the evidence "
                    f"({limits['low']:.4g} to {limits['high']:.4g})"
                )


def _from_the_prior(posterior: Posterior, rows: Rows) -> Iterator[tuple[np.ndarray, str]]:
    """Yield rows for which a part that the model leaves out comes from its prior, and a note."""
    reasons = set(posterior.left_out.values())
    words = "; how far the two differ is known from the prior alone"
    if ONE_POPULATION in reasons:
        known = posterior.coords["population"][0]
        yield (
            rows.new_population,
            f"another population than the only one of the fit, {known}{words}",
        )
    if ONE_TRIAL in reasons:
        known = posterior.coords["trial"][0]
        yield rows.new_trial, f"another trial than the only one of the fit, {known}{words}"
    if ONLY_CONTROL in reasons:
        yield (
            rows.active > 0,
            "the data have no active arm; what sets it apart is known from the prior alone",
        )


def settings_beyond(posterior: Posterior, rows: Rows) -> Iterator[tuple[int, str, str]]:
    """Yield rows whose arm the evidence holds in other settings only: row, arm, and in which.

    A level that only open-label trials report is carried to a blinded trial by a term that other
    arms taught. What counts are the population's own trials of the arm; those of all populations
    where it has none.
    """
    units = posterior.groups.get("constant_data", {})
    if not {"population_idx", "arm_idx", "study_terms"} <= set(units):
        return
    for index in groups_of([rows.population_idx, rows.arm_idx], len(rows)):
        population, arm = int(rows.population_idx[index[0]]), int(rows.arm_idx[index[0]])
        of_arm = units["arm_idx"] == arm
        own = of_arm & (units["population_idx"] == population)
        held = units["study_terms"][own if own.any() else of_arm]
        if not len(held):
            continue
        where = posterior.coords["arm"][arm]
        if own.any():
            where += f" in {posterior.coords['population'][population]}"
        for term, name in enumerate(STUDY_TERMS):
            every = held[0, term]
            if (held[:, term] != every).any():
                continue
            words = _TERM_WORDS[name]
            reason = (
                f"asked for {words[int(every == 0)]}, while all its evidence is "
                f"{words[int(every != 0)]}"
            )
            asked = rows.study_terms[index, term] != every
            yield from ((int(row), where, reason) for row in index[asked])


def _reported_as_asked(posterior: Posterior, rows: Rows) -> np.ndarray:
    """Return whether the evidence of a row's population holds its very arm, time and threshold."""
    units = posterior.groups.get("constant_data", {})
    if not set(_OUTCOME) <= set(units):
        return np.zeros(len(rows), dtype=bool)
    asked = {name: getattr(rows, name) for name in _OUTCOME}
    held = set(_outcome_keys(units))
    found = np.zeros(len(rows), dtype=bool)
    keys = [asked[name] for name in _OUTCOME[:-1]]
    for index in groups_of([*keys, *rows.horizon_basis.T], len(rows)):
        one = {name: values[index[:1]] for name, values in asked.items()}
        found[index] = _outcome_keys(one)[0] in held
    return found


def _outcome_keys(arrays: Mapping[str, np.ndarray]) -> list[tuple[float, ...]]:
    """Return what identifies the outcome of each row: a scale counts where it shifts anything."""
    scale = np.where(arrays["threshold_shift"] != 0, arrays["scale_idx"], -1)
    columns = [arrays[name] for name in _OUTCOME[:3]]
    return [
        tuple(float(v) for v in row)
        for row in np.column_stack([*columns, scale, arrays["horizon_basis"]])
    ]


def warn_extrapolation(posterior: Posterior, rows: Rows, *, stacklevel: int = 4) -> list[str]:
    """Warn where rows lie beyond the evidence, and return the note of each row."""
    notes = extrapolation_notes(posterior, rows)
    concerned = [note for note in notes if note]
    warn_of_notes(concerned[:EXAMPLES], len(concerned), len(notes), stacklevel=stacklevel + 1)
    return notes


def warn_of_notes(examples: Sequence[str], concerned: int, count: int, *, stacklevel: int) -> None:
    """Warn that some rows lie beyond the evidence, if any does, with the notes of the first."""
    if concerned:
        parts = (part for note in examples for part in note.split("; "))
        kinds = dict.fromkeys(_OWN_VALUE.sub(r"\1\2", part) for part in parts)
        message = f"Rows are extrapolations: {'; '.join(kinds)}."
        warning = ExtrapolationWarning(message, examples, concerned, count)
        warnings.warn(warning, stacklevel=stacklevel)


def _unreported(posterior: Posterior, predictor: str) -> str:
    """Return what a fit knows of a predictor that none of its trials reports."""
    effects = sum(
        fate["used"] and fate["predictor"] == predictor for fate in posterior.facts["effects"]
    )
    if effects:
        return "no trial of the evidence reports it, published effects alone speak of it"
    return "no trial of the evidence reports it"
