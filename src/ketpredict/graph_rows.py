"""What rows of a design have in common, found before the graph is written.

The graph works out once what rows share: the conditional law of each *set* of observed continuous
predictors; the coefficients of each *cluster* of units (patients of one law, population, arm,
horizon and set; every published arm is a cluster of its own); the log weight of the binary patterns
of patients who leave some open, a linear function of their values in each *term* (law, set and
pattern). A row of data then costs one gather and one dot product.

Patterns stand one under the other as *lines*, owners with fewer patterns first, so that a sum over
an owner's patterns is a sum over the columns of a block.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ketpredict.design import Design, Units

_CLUSTER_FIELDS = (
    "population_idx", "trial_idx", "law_idx", "arm_idx", "curve_idx", "scale_idx", "active",
    "horizon_basis", "study_terms", "threshold_shift",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Lines:
    """Patterns of some owners, one under the other.

    Parameters
    ----------
    order : ndarray of int, shape (owner,)
        The owners, those with fewer patterns first.
    blocks : tuple of (int, int)
        Owners and patterns of each, block by block.
    owner : ndarray of int, shape (line,)
        Entry of `order` that the line belongs to.
    source : ndarray of int, shape (line,)
        Where the line's pattern stands in the arrays that it comes from.
    """

    order: np.ndarray
    blocks: tuple[tuple[int, int], ...]
    owner: np.ndarray
    source: np.ndarray

    def __len__(self) -> int:
        """Return the number of lines."""
        return len(self.owner)


@dataclasses.dataclass(frozen=True)
class Mixtures:
    """Distinct patients who leave binary predictors open, as people and as units.

    Parameters
    ----------
    blocks : tuple of (int, int)
    weight : ndarray of shape (patient,)
        Number of people; 0 for a patient who stands among the units only.
    line_value : ndarray of shape (line, continuous)
        Reference scale, 0 where missing.
    line_term : ndarray of int, shape (line,)
    term_law, term_set : ndarray of int, shape (term,)
    term_pattern : ndarray of shape (term, binary)
        0 or 1.
    """

    blocks: tuple[tuple[int, int], ...]
    weight: np.ndarray
    line_value: np.ndarray
    line_term: np.ndarray
    term_law: np.ndarray
    term_set: np.ndarray
    term_pattern: np.ndarray


@dataclasses.dataclass(frozen=True)
class SharedRows:
    """What rows of a design share.

    Parameters
    ----------
    observed : ndarray of shape (set, continuous)
        1 where a predictor is observed, else 0.
    people_set, unit_set : ndarray of int, shape (person,) and (unit,)
    arms : ndarray of int, shape (published arm,)
        Their units.
    clusters : Units
        A unit of each cluster; the arms stand last, one by one.
    cluster_set : ndarray of int, shape (cluster,)
    lines : Lines
        Patterns of the units.
    line_cluster : ndarray of int, shape (line,)
    line_value : ndarray of shape (line, continuous + binary)
        Continuous values (0 where missing), then the pattern (0 or 1).
    arm_lines : Lines
        Patterns of the arms; their `order` counts arms, not units.
    mixtures : Mixtures
    weight_idx : ndarray of int
        For each line of a unit with several patterns, where its weight stands in the lines of the
        mixtures followed by those of the arms.
    """

    observed: np.ndarray
    people_set: np.ndarray
    unit_set: np.ndarray
    arms: np.ndarray
    clusters: Units
    cluster_set: np.ndarray
    lines: Lines
    line_cluster: np.ndarray
    line_value: np.ndarray
    arm_lines: Lines
    mixtures: Mixtures
    weight_idx: np.ndarray


def share_rows(design: Design) -> SharedRows:
    """Return what rows of a design share."""
    units, people = design.units, design.people
    every_value = np.concatenate([people.value, units.value])
    known = ~np.isnan(every_value[:, design.continuous_idx])
    observed, set_idx = distinct(known.astype(float))
    unit_set = set_idx[len(people) :]
    arms = np.flatnonzero(units.is_arm > 0)
    clusters, unit_cluster = _clusters(units, unit_set, arms)
    lines = _lines(design.pattern_unit, np.arange(len(units)))
    unit_of_line = lines.order[lines.owner]
    line_value = np.column_stack(
        [
            np.nan_to_num(units.value[unit_of_line][:, design.continuous_idx]),
            design.pattern_value[lines.source],
        ]
    )
    arm_lines = _lines(design.pattern_unit, arms)
    mixtures, place = _mixtures(design, set_idx)
    place[arm_lines.source] = len(mixtures.line_term) + np.arange(len(arm_lines))
    singles = sum(owners for owners, size in lines.blocks if size == 1)
    return SharedRows(
        observed=observed,
        people_set=set_idx[: len(people)],
        unit_set=unit_set,
        arms=arms,
        clusters=_take(units, clusters),
        cluster_set=unit_set[clusters],
        lines=lines,
        line_cluster=unit_cluster[unit_of_line],
        line_value=line_value,
        arm_lines=arm_lines,
        mixtures=mixtures,
        weight_idx=place[lines.source[singles:]],
    )


def distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return distinct rows and the index of each row's own; rows without columns are all alike."""
    if rows.shape[1] == 0:
        return rows[:1], np.zeros(len(rows), dtype=int)
    found, index = np.unique(rows, axis=0, return_inverse=True)
    return found, index.reshape(-1)


def _take(units: Units, rows: np.ndarray) -> Units:
    fields = {field.name: getattr(units, field.name)[rows] for field in dataclasses.fields(units)}
    return Units(**fields)


def _clusters(
    units: Units, unit_set: np.ndarray, arms: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return a unit of each cluster, and the cluster of each unit."""
    patients = np.flatnonzero(units.is_arm == 0)
    columns = [unit_set, *(getattr(units, name) for name in _CLUSTER_FIELDS)]
    keys, own = distinct(np.column_stack(columns)[patients])
    first = np.full(len(keys), -1)
    first[own[::-1]] = patients[::-1]
    cluster = np.empty(len(units), dtype=int)
    cluster[patients] = own
    cluster[arms] = len(keys) + np.arange(len(arms))
    return np.concatenate([first, arms]), cluster


def _lines(pattern_owner: np.ndarray, owners: np.ndarray) -> Lines:
    """Return the patterns of some owners, sorted by how many an owner has.

    Parameters
    ----------
    pattern_owner : ndarray of int, shape (pattern,)
        Rising.
    owners : ndarray of int
        Which of the owners; `order` gives positions in this array.
    """
    start = np.searchsorted(pattern_owner, owners)
    size = np.searchsorted(pattern_owner, owners, side="right") - start
    order = np.argsort(size, kind="stable")
    sizes, counts = np.unique(size, return_counts=True)
    sorted_size = size[order]
    owner = np.repeat(np.arange(len(order)), sorted_size)
    first_line = np.cumsum(sorted_size) - sorted_size
    source = start[order][owner] + np.arange(len(owner)) - first_line[owner]
    blocks = tuple(
        (int(count), int(patterns)) for patterns, count in zip(sizes, counts, strict=True)
    )
    return Lines(order, blocks, owner, source)


def _mixtures(design: Design, set_idx: np.ndarray) -> tuple[Mixtures, np.ndarray]:
    """Return the mixtures, and for each pattern of a unit the line of its patient (-1: none).

    A patient is found again among people and units by law and values. `set_idx` is that of people,
    then units.
    """
    units, people = design.units, design.people
    value = np.concatenate([people.value, units.value])
    law = np.concatenate([people.law_idx, units.law_idx])
    weight = np.concatenate([people.weight, np.zeros(len(units))])
    owner = np.concatenate([design.people_pattern_row, len(people) + design.pattern_unit])
    pattern = np.concatenate([design.people_pattern_value, design.pattern_value])
    is_patient = np.concatenate([np.ones(len(people), dtype=bool), units.is_arm == 0])
    is_open = np.isnan(value[:, design.binary_idx]).any(axis=1) & is_patient
    rows = np.flatnonzero(is_open)
    # NaN is not equal to itself; no value on a reference scale is infinite.
    same = np.column_stack([law[rows], np.where(np.isnan(value[rows]), np.inf, value[rows])])
    _, patient = distinct(same)
    patients = patient.max(initial=-1) + 1
    first = np.empty(patients, dtype=int)
    first[patient[::-1]] = rows[::-1]
    lines = _lines(owner, first)
    row = first[lines.order[lines.owner]]
    terms, line_term = distinct(np.column_stack([law[row], set_idx[row], pattern[lines.source]]))
    # Patterns of the same patient stand in the same order wherever the patient stands.
    first_line = np.empty(patients, dtype=int)
    first_line[lines.order] = np.searchsorted(lines.owner, np.arange(patients))
    is_line = np.flatnonzero(is_open[owner])
    within = is_line - np.searchsorted(owner, owner[is_line])
    place = np.full(len(owner), -1)
    place[is_line] = first_line[patient[np.searchsorted(rows, owner[is_line])]] + within
    mixtures = Mixtures(
        blocks=lines.blocks,
        weight=np.bincount(patient, weight[rows], patients)[lines.order],
        line_value=np.nan_to_num(value[row][:, design.continuous_idx]),
        line_term=line_term,
        term_law=terms[:, 0].astype(int),
        term_set=terms[:, 1].astype(int),
        term_pattern=terms[:, 2:],
    )
    return mixtures, place[len(design.people_pattern_row) :]
