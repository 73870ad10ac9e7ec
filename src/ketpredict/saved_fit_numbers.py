"""Whether the numbers of a saved fit can be those of a fit, and a digest of all that it says."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ketpredict.saved_fit_variables import (
    DESIGN,
    INDICES,
    LOG_DENSITY,
    NUMBER,
    PARAMETERS,
    TOLD,
    Values,
)

_KINDS_OF_EFFECTS = 5
_ROUNDED = {"prior": 1e-2}
"""The published fit keeps ten bits of its prior's draws, twenty of all others."""
_EXACT = 1e-4
_BLOCK = 2**18

Arrays = Mapping[str, Mapping[str, np.ndarray]]


def number_problems(metadata: Mapping[str, Any], groups: Arrays) -> list[str]:
    """Return which arrays hold numbers that they cannot hold; names and shapes are right."""
    problems = []
    for group, variables in groups.items():
        for name, values in variables.items():
            rule = _rule(group, name)
            if rule is not None and not _holds(values, rule, _ROUNDED.get(group, _EXACT)):
                problems.append(f"'{name}' of '{group}' are not all {rule.words}")
    design = groups["constant_data"]
    problems += _index_problems(metadata["coords"], design)
    if not problems and "arm_idx" in design:
        problems += _unit_problems(metadata["facts"], groups)
    return problems


def contents_digest(metadata: Mapping[str, Any], groups: Arrays) -> str:
    """Return the SHA-256 of what a fit says, whatever bytes it is written in.

    It catches what the checksum of a file cannot: contents that were changed before the checksum
    was made. Numbers are taken in full precision, and every NaN is the same.
    """
    told = {key: value for key, value in metadata.items() if key != "digest"}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for group in sorted(groups):
        for name in sorted(groups[group]):
            values = groups[group][name]
            kind = {"f": "<f8", "b": "|u1"}.get(values.dtype.kind, "<i8")
            digest.update(f"{group}/{name} {kind} {values.shape}".encode())
            flat = values.reshape(-1)
            for first in range(0, len(flat), _BLOCK):
                block = flat[first : first + _BLOCK].astype(kind)
                if kind == "<f8":
                    block[np.isnan(block)] = np.nan
                digest.update(block.tobytes())
    return digest.hexdigest()


def _rule(group: str, name: str) -> Values | None:
    """Return the values that a variable can have; None where nothing is known of it."""
    if group in ("posterior", "prior") and name in PARAMETERS:
        return PARAMETERS[name][1]
    if group == "constant_data" and name in DESIGN:
        return DESIGN[name][1]
    if group == "observed_data":
        return DESIGN["responders"][1]
    if group == "posterior_predictive":
        return Values("counts, 0 or more", low=0.0, whole=True)
    if group in ("log_likelihood", "log_prior"):
        return LOG_DENSITY
    return NUMBER if group in ("posterior", "prior") else None


def _holds(values: np.ndarray, rule: Values, tolerance: float) -> bool:
    if not values.size:
        return True
    if values.dtype.kind == "f":
        missing = np.isnan(values)
        if missing.any():
            if not rule.may_miss:
                return False
            values = values[~missing]
    if not values.size:
        return True
    if not (rule.low <= values.min() and values.max() <= rule.high):
        return False
    if rule.whole and values.dtype.kind == "f" and not (values == np.round(values)).all():
        return False
    if rule.sums_to_one and not (np.abs(values.sum(axis=-1) - 1.0) <= tolerance * 10).all():
        return False
    return not rule.covariance or _is_covariance(values, tolerance)


def _is_covariance(values: np.ndarray, tolerance: float) -> bool:
    """Return whether every matrix is symmetric and positive definite, up to how it was rounded."""
    variance = np.diagonal(values, axis1=-2, axis2=-1)
    if not (variance > 0).all():
        return False
    sd = np.sqrt(variance)
    correlation = values / sd[..., None] / sd[..., None, :]
    if not np.allclose(correlation, np.swapaxes(correlation, -1, -2), rtol=0, atol=tolerance):
        return False
    try:
        np.linalg.cholesky(correlation + tolerance * np.eye(values.shape[-1]))
    except np.linalg.LinAlgError:
        return False
    return True


def _index_problems(
    coords: Mapping[str, list[Any]], design: Mapping[str, np.ndarray]
) -> Iterator[str]:
    people = {"person": len(design["people_weight"])} if "people_weight" in design else {}
    for name, (_, dim, lowest) in INDICES.items():
        values = design.get(name)
        if values is None or not values.size:
            continue
        most = people.get(dim, len(coords.get(dim, ())))
        if dim == "kind_of_effect":
            most = _KINDS_OF_EFFECTS
        elif dim == "unit" and "n" in design:
            most = len(design["n"])
        if values.dtype.kind not in "iu" or values.min() < lowest or values.max() >= most:
            yield f"'{name}' points beyond the labels of '{dim}'"
    cells = design.get("cells")
    if cells is not None and cells.size:
        beyond = cells.shape[1] != 2 or cells[:, 0].max() >= len(coords["law"])
        if beyond or cells[:, 1].max() >= len(coords["predictor"]):
            yield "'cells' points beyond the labels of 'law' and 'predictor'"
    laws = design["law_trial"]
    if sorted(set(laws.tolist())) != list(range(len(coords["trial"]))):
        yield "'law_trial' leaves a trial without a law"


def _unit_problems(facts: Mapping[str, Any], groups: Arrays) -> Iterator[str]:
    """Yield where the units of a design contradict themselves or the facts."""
    design = groups["constant_data"]
    active = np.array([kind == "active" for kind in facts["arm_class"]])[design["arm_idx"]]
    if not (
        np.array_equal(active, design["active"] > 0)
        and np.array_equal(~active, design["curve_idx"] > 0)
    ):
        yield "'active' contradicts the classes of the arms"
    n, responders = design["n"], design["responders"]
    removed = "without_patients" in facts
    patients = design["is_arm"] == 0
    if not np.array_equal(np.isnan(responders), patients & removed):
        yield "'responders' of 'constant_data' are missing where they are not left out"
    if (responders > n * (1.0 + 1e-9)).any():
        yield "there are more responders than people"
    observed = groups.get("observed_data", {}).get("responders")
    if observed is not None and not np.array_equal(observed, responders):
        yield "'observed_data' contradicts the design"
    replicated = groups.get("posterior_predictive", {}).get("responders")
    if replicated is not None and (replicated > n).any():
        yield "more responders are replicated than there are people"
    if removed and (design["people_weight"].size or TOLD not in design):
        yield "patients are said to be left out, and are there"
    hours = design["hours"]
    if np.isnan(hours[~(patients & removed)]).any() or not math.isfinite(float(n.sum())):
        yield "a unit has no time"
