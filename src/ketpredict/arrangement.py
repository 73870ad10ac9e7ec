"""A design arranged for the compiled kernel: what rows share is worked out once.

*Settings* are distinct intercepts (population, trial, arm, horizon, threshold); *slopes* distinct
slope vectors (population, trial, active or control); *subsets* distinct sets of continuous
predictors that are known; *clusters* a slope vector, a law and a subset: all patients of a cluster
have the same coefficients. Patients with all binaries known stand in *runs* of one setting and
cluster, *open* ones are averaged over patterns. For the model of the predictors, people with all
binaries known are *groups* of one law and subset (weight, mean, scatter) and counts of pairs of
binaries; the others are *persons*, one by one.
"""

from __future__ import annotations

import numpy as np

from ketpredict.categories import exclusive_places
from ketpredict.design import Design
from ketpredict.patterns import enumerate_patterns


def arrange(design: Design) -> dict[str, np.ndarray]:
    """Return the kernel's blocks of data, by name."""
    units, people = design.units, design.people
    continuous, binary = design.continuous_idx, design.binary_idx
    centre = np.array([predictor.centre for predictor in design.predictors])
    known = ~np.isnan(np.concatenate([units.value, people.value])[:, continuous])
    subsets, subset_idx = _unique(known.astype(float))
    unit_subset, person_subset = subset_idx[: len(units)], subset_idx[len(units) :]
    settings, setting_idx = _settings(design)
    slopes, slope_idx = _unique(
        np.column_stack([units.population_idx, units.trial_idx, units.active])
    )
    is_open = np.isnan(units.value[:, binary]).any(axis=1)
    is_arm = units.is_arm > 0
    patient = np.flatnonzero(~is_arm)
    clusters, of_patient = _unique(
        np.column_stack([slope_idx, units.law_idx, unit_subset])[patient]
    )
    cluster_idx = np.full(len(units), -1)
    cluster_idx[patient] = of_patient
    return {
        **settings,
        "slope_population": slopes[:, 0],
        "slope_trial": slopes[:, 1],
        "slope_active": slopes[:, 2],
        "subset_observed": subsets,
        "cluster_slope": clusters[:, 0],
        "cluster_law": clusters[:, 1],
        "cluster_subset": clusters[:, 2],
        **_closed(design, np.flatnonzero(~is_arm & ~is_open), setting_idx, cluster_idx, centre),
        **_open(design, np.flatnonzero(~is_arm & is_open), setting_idx, cluster_idx, centre),
        **_arms(design, np.flatnonzero(is_arm), setting_idx, slope_idx, unit_subset),
        **_groups(design, person_subset, centre),
        **_persons(design, person_subset, centre),
        "trial_law": np.array(
            [np.argmax(design.law_trial == t) for t in range(len(design.trials))]
        ),
        "mean_cell": design.mean_cell,
        "cell_predictor": design.cells[:, 1],
        "n_reported": np.array([design.n_reported]),
        **_effects(design),
    }


def _unique(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return distinct rows and the index of each row's own; a table without columns has one."""
    if rows.shape[1] == 0:
        return np.zeros((1, 0)), np.zeros(len(rows), dtype=int)
    distinct, index = np.unique(rows, axis=0, return_inverse=True)
    return distinct, index.reshape(-1)


def _settings(design: Design) -> tuple[dict[str, np.ndarray], np.ndarray]:
    units = design.units
    columns = {
        "setting_population": units.population_idx,
        "setting_trial": units.trial_idx,
        "setting_arm": units.arm_idx,
        "setting_curve": units.curve_idx,
        # Where no threshold is shifted the scale says nothing, and settings are fewer.
        "setting_scale": np.where(units.threshold_shift != 0, units.scale_idx, 0),
        "setting_active": units.active,
        "setting_basis": units.horizon_basis,
        "setting_study": units.study_terms,
        "setting_shift": units.threshold_shift,
    }
    distinct, index = _unique(np.column_stack(list(columns.values())))
    blocks, first = {}, 0
    for name, values in columns.items():
        width = 1 if values.ndim == 1 else values.shape[1]
        blocks[name] = distinct[:, first : first + width]
        first += width
    return blocks, index


def _centred(value: np.ndarray, binary: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Return values with binaries centred and everything unknown 0."""
    result = value.copy()
    result[:, binary] -= centre[binary]
    return np.nan_to_num(result)


def _closed(
    design: Design,
    rows: np.ndarray,
    setting_idx: np.ndarray,
    cluster_idx: np.ndarray,
    centre: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return patients with all binaries known, in runs of one cluster and setting."""
    units = design.units
    rows = rows[np.lexsort([setting_idx[rows], cluster_idx[rows]])]
    keys = np.column_stack([setting_idx[rows], cluster_idx[rows]])
    changes = np.any(np.diff(keys, axis=0, prepend=-1) != 0, axis=1)
    start = np.flatnonzero(changes)
    return {
        "run_start": np.append(start, len(rows)),
        "run_setting": keys[start, 0],
        "run_cluster": keys[start, 1],
        "row_responders": units.responders[rows],
        "row_failures": units.n[rows] - units.responders[rows],
        "row_value": _centred(units.value[rows], design.binary_idx, centre),
    }


def _open(
    design: Design,
    rows: np.ndarray,
    setting_idx: np.ndarray,
    cluster_idx: np.ndarray,
    centre: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return patients with an unknown binary, and their patterns, centred."""
    units, binary = design.units, design.binary_idx
    exclusive = exclusive_places(design.predictors)
    owner, pattern = enumerate_patterns(units.value[rows][:, binary], exclusive)
    return {
        "open_setting": setting_idx[rows],
        "open_cluster": cluster_idx[rows],
        "open_responders": units.responders[rows],
        "open_failures": units.n[rows] - units.responders[rows],
        "open_value": _centred(units.value[rows], binary, centre),
        "open_start": _starts(owner, len(rows)),
        "open_pattern": pattern,
    }


def _starts(owner: np.ndarray, count: int) -> np.ndarray:
    """Return where the patterns of each row start, and where the last ends."""
    return np.searchsorted(owner, np.arange(count + 1))


def _arms(
    design: Design,
    rows: np.ndarray,
    setting_idx: np.ndarray,
    slope_idx: np.ndarray,
    unit_subset: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return the published arms; an SD that is not published is -1."""
    units = design.units
    owner, pattern = enumerate_patterns(units.value[rows][:, design.binary_idx])
    sd = units.sd[rows][:, design.continuous_idx]
    return {
        "arm_setting": setting_idx[rows],
        "arm_slope": slope_idx[rows],
        "arm_law": units.law_idx[rows],
        "arm_subset": unit_subset[rows],
        "arm_responders": units.responders[rows],
        "arm_failures": units.n[rows] - units.responders[rows],
        "arm_weight": units.weight[rows],
        "arm_value": np.nan_to_num(units.value[rows]),
        "arm_known": ~np.isnan(units.value[rows]),
        "arm_sd": np.where(np.isnan(sd), -1.0, sd),
        "arm_start": _starts(owner, len(rows)),
        "arm_pattern": pattern,
    }


def _groups(design: Design, subset_idx: np.ndarray, centre: np.ndarray) -> dict[str, np.ndarray]:
    """Return weight, mean and scatter of people with all binaries known, and their pairs."""
    people, binary = design.people, design.binary_idx
    closed = np.flatnonzero(~np.isnan(people.value[:, binary]).any(axis=1))
    keys, group = _unique(np.column_stack([people.law_idx, subset_idx])[closed])
    value = _centred(people.value[closed], binary, centre)
    weight, count = people.weight[closed], value.shape[1]
    total = np.bincount(group, weight, len(keys))
    mean = np.zeros((len(keys), count))
    scatter = np.zeros((len(keys), count, count))
    for k in range(count):
        mean[:, k] = np.bincount(group, weight * value[:, k], len(keys)) / total
    distance = value - mean[group]
    for j in range(count):
        for k in range(count):
            product = weight * distance[:, j] * distance[:, k]
            scatter[:, j, k] = np.bincount(group, product, len(keys))
    return {
        "group_law": keys[:, 0],
        "group_subset": keys[:, 1],
        "group_weight": total,
        "group_mean": mean,
        "group_scatter": scatter,
        "pair_count": _pairs(design, closed),
    }


def _pairs(design: Design, closed: np.ndarray) -> np.ndarray:
    """Return counts of each binary with the one before, (law, binary, before, own)."""
    people, binary = design.people, design.binary_idx
    counts = np.zeros((len(design.laws), len(binary), 2, 2))
    before = np.zeros(len(closed), dtype=int)
    for j, k in enumerate(binary):
        own = people.value[closed, k].astype(int)
        place = (people.law_idx[closed], np.full(len(closed), j), before, own)
        np.add.at(counts, place, people.weight[closed])
        before = own
    return counts


def _persons(design: Design, subset_idx: np.ndarray, centre: np.ndarray) -> dict[str, np.ndarray]:
    """Return people with an unknown binary, who are averaged over patterns."""
    people, binary = design.people, design.binary_idx
    rows = np.flatnonzero(np.isnan(people.value[:, binary]).any(axis=1))
    exclusive = exclusive_places(design.predictors)
    owner, pattern = enumerate_patterns(people.value[rows][:, binary], exclusive)
    return {
        "person_law": people.law_idx[rows],
        "person_subset": subset_idx[rows],
        "person_weight": people.weight[rows],
        "person_value": _centred(people.value[rows], binary, centre),
        "person_start": _starts(owner, len(rows)),
        "person_pattern": pattern,
    }


def _effects(design: Design) -> dict[str, np.ndarray]:
    """Return the published effects; places of variables that an effect does not have are -1."""
    effects = design.effects
    same = (
        "distance", "statistic", "standard_error", "lower", "upper", "attenuation", "gain",
        "quantile", "step", "positive", "power", "shared", "counts", "node", "node_weight",
        "on_sd_scale", "adjusted", "kind", "group_predictor", "group_unseen",
    )  # fmt: skip
    repeated = effects.repeated_groups
    error_place = np.full(len(effects), -1.0)
    having = effects.shared > 0
    error_place[having] = np.searchsorted(repeated, effects.group_idx[having])
    return {
        **{f"effect_{name}": getattr(effects, name) for name in same},
        "effect_predictor": effects.predictor_idx,
        "effect_group": effects.group_idx,
        "effect_group_scale": np.searchsorted(effects.scale_predictor, effects.group_predictor),
        "effect_population": effects.population_weight,
        "effect_horizon_place": _places(effects.apart, len(effects)),
        "effect_error_place": error_place,
        "effect_level_place": _places(effects.with_level, len(effects)),
    }


def _places(having: np.ndarray, size: int) -> np.ndarray:
    """Return the position of each entry among those that have a variable, -1 for the others."""
    place = np.full(size, -1.0)
    place[having] = np.arange(len(having))
    return place
