"""Whether the contents of a file are those of a fit, before anything is computed with them.

Everything here takes plain metadata, declared shapes or arrays in memory, wherever they come from.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ketpredict.saved_fit_facts import METADATA, WHOLE_FACTS
from ketpredict.saved_fit_variables import (
    ALWAYS,
    DESIGN,
    INDICES,
    LAW,
    LOG_DENSITY,
    NUMBER,
    OF_PREDICTORS,
    PARAMETERS,
    TOLD,
    Values,
)
from ketpredict.spec import CURVES, STUDY_TERMS, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

READABLE_FORMATS = (3, 4)
"""3 has no columns of labels; all else is as in 4."""

_OF_DRAWS = ("posterior", "sample_stats", "posterior_predictive", "log_likelihood", "log_prior")
_LENGTHS = {
    "arm_class": "arm",
    "repeated_arm": "arm",
    "predictors": "predictor",
    "trial_values": "trial",
}
_OF_TRIALS = {"trial", "trial_cell"}
_LABELLED = ("curve", "slope_part", "effect", "effect_group", "reported_cell", "unit")
_APPROXIMATIONS = ("laplace", "pathfinder")
_NUMBERS_OF = {
    True: ("pareto_k", "effective_draws"),
    False: ("rhat", "ess_bulk", "ess_tail", "divergences"),
}
_KINDS_OF_EFFECTS = 5
_ROUNDED = {"prior": 1e-2}
"""The published fit keeps ten bits of its prior's draws, twenty of all others."""
_EXACT = 1e-4
_BLOCK = 2**18

Shapes = Mapping[str, Mapping[str, Any]]
Arrays = Mapping[str, Mapping[str, np.ndarray]]


def metadata_problems(metadata: Any) -> list[str]:
    """Return what is wrong with the metadata of a file; empty if nothing is."""
    if not isinstance(metadata, dict):
        return ["its metadata is no table"]
    problems = list(METADATA.problems(metadata, "its metadata"))
    if problems:
        return problems
    facts, coords, predictors = metadata["facts"], metadata["coords"], metadata["predictors"]
    counted = {**{key: facts.get(key, metadata.get(key)) for key in _LENGTHS}}
    problems = [
        f"'{name}' has {len(counted[name])} entries and there are {len(coords[dim])} of '{dim}'"
        for name, dim in _LENGTHS.items()
        if len(counted[name]) != len(coords[dim])
    ]
    problems += [
        f"a row of 'trial_values' has {len(row)} numbers; expected {len(predictors)}"
        for row in metadata["trial_values"]
        if len(row) != len(predictors)
    ]
    return problems or [
        *_predictor_problems(coords, predictors),
        *_basis_problems(coords, facts),
        *_range_problems(predictors, facts["ranges"]),
        *_effect_problems(coords, facts["effects"]),
        *_reading_problems(facts),
    ]


def spec_problems(spec: ModelSpec, metadata: Mapping[str, Any]) -> list[str]:
    """Return where the specification of a file contradicts its labels; empty if nowhere."""
    coords = metadata["coords"]
    expected: dict[str, Iterable[Any]] = {
        "knot": spec.horizons.knots,
        "study_term": STUDY_TERMS,
        "curve": CURVES,
        "slope_part": spec.slope_parts(),
    }
    if spec.predictors is not None:
        expected["predictor"] = spec.predictors
    problems = [
        f"its model has {', '.join(map(str, wanted)) or 'none'} as '{dim}', its labels are "
        f"{', '.join(map(str, coords[dim])) or 'none'}"
        for dim, wanted in expected.items()
        if dim in coords and list(wanted) != coords[dim]
    ]
    said = metadata["facts"]["provenance"].get("specification", spec.fingerprint())
    if said != spec.fingerprint():
        problems.append("its model is not the one that its provenance names")
    return problems


def layout_problems(metadata: Mapping[str, Any], shapes: Shapes) -> list[str]:
    """Return what is wrong with names, shapes and types of the variables, before they are read.

    Parameters
    ----------
    shapes : mapping of str to mapping of str to object
        Group, variable, anything with ``shape`` and ``dtype``: what a file declares, or arrays.
    """
    draws, design = shapes.get("posterior", {}), shapes.get("constant_data", {})
    absent = [name for name in _needed(metadata) if name not in draws]
    absent += [name for name in LAW if name not in design]
    if absent:
        return [f"variables are missing: {', '.join(absent)}"]
    lead = tuple(draws["intercept"].shape)
    if len(lead) != 2 or 0 in lead:
        return [f"the intercept has the shape {lead}; expected chains and draws"]
    known = {dim: len(labels) for dim, labels in metadata["coords"].items()}
    problems = list(_dims_problems(metadata["dims"]))
    for group, variables in shapes.items():
        sizes = dict(known)  # those without labels are the same in all of a group
        for name, one in variables.items():
            if one.dtype.kind not in "fiub":
                problems.append(f"'{name}' of '{group}' holds no numbers")
            else:
                problems += _shape_problems(metadata, sizes, group, name, tuple(one.shape), lead)
    if not problems and not set(LAW) >= set(design):
        problems += _whole_problems(metadata, shapes)
    return problems


def array_problems(metadata: Mapping[str, Any], groups: Arrays) -> list[str]:
    """Return what is wrong with the arrays of a file; empty if nothing is."""
    problems = layout_problems(metadata, groups)
    if problems:
        return problems
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


def _needed(metadata: Mapping[str, Any]) -> list[str]:
    """Return the parameters that prediction asks for."""
    kinds = [predictor["kind"] for predictor in metadata["predictors"]]
    continuous, binary = kinds.count("continuous"), kinds.count("binary")
    needed = [*ALWAYS, *(OF_PREDICTORS if kinds else ())]
    needed += ["predictor_covariance"] * (continuous > 0)
    needed += ["binary_shift"] * (continuous > 0 and binary > 0)
    return needed + ["binary_log_odds_ratio"] * (binary > 1)


def _whole_problems(metadata: Mapping[str, Any], shapes: Shapes) -> Iterator[str]:
    """Yield what a fit that holds its design must have and has not."""
    slope = ["slope"] if metadata["predictors"] else []
    of_prior = [name for name in _needed(metadata) if not _OF_TRIALS & set(PARAMETERS[name][0])]
    wanted = {
        "posterior": slope,
        "prior": [*of_prior, *slope],
        "constant_data": [*INDICES, *DESIGN],
    }
    for group, names in wanted.items():
        absent = [name for name in names if name not in shapes.get(group, {})]
        if absent:
            yield f"'{group}' is not whole: {', '.join(absent)} missing"
    absent = [dim for dim in _LABELLED if dim not in metadata["coords"]]
    if absent:
        yield f"labels are missing: {', '.join(absent)}"
    yield from WHOLE_FACTS.problems(metadata["facts"], "facts")


def _predictor_problems(
    coords: Mapping[str, list[Any]], predictors: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    def named(kind: str) -> list[str]:
        return [predictor["name"] for predictor in predictors if predictor["kind"] == kind]

    names = [predictor["name"] for predictor in predictors]
    if names != coords["predictor"]:
        yield f"predictors {names} are labelled {coords['predictor']}"
    for dim, kind in (("continuous", "continuous"), ("binary", "binary")):
        if coords.get(dim, named(kind)) != named(kind):
            yield f"the {kind} predictors are {named(kind)}, and labelled {coords[dim]}"
    for predictor in predictors:
        if predictor["kind"] == "binary" and not 0 <= predictor["centre"] <= 1:
            yield f"predictor '{predictor['name']}' is yes or no, and its centre no share"


def _basis_problems(coords: Mapping[str, list[Any]], facts: Mapping[str, Any]) -> Iterator[str]:
    named = [entry["population"] for entry in facts["basis"]]
    if sorted(named) != sorted(coords["population"]):
        yield f"'basis' speaks of {', '.join(named) or 'no population'}, which its labels do not"
    for entry in facts["basis"]:
        hours = entry.get("hours")
        if hours is not None and hours[0] > hours[1]:
            yield f"'hours' in 'basis' of '{entry['population']}' fall"


def _range_problems(
    predictors: Sequence[Mapping[str, Any]], ranges: Mapping[str, Any]
) -> Iterator[str]:
    names = [predictor["name"] for predictor in predictors]
    yield from (f"'ranges' say nothing of '{name}'" for name in names if name not in ranges)
    for name, limits in ranges.items():
        low, high = limits["low"], limits["high"]
        if (low is None) != (high is None) or (low is not None and low > high):
            yield f"the range of '{name}' goes from {low} to {high}"


def _effect_problems(
    coords: Mapping[str, list[Any]], effects: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    used = sum(effect["used"] for effect in effects)
    if "effect" in coords and used != len(coords["effect"]):
        yield f"{used} published effects are used, and {len(coords['effect'])} have labels"
    if any(effect["used"] and effect["power"] is None for effect in effects):
        yield "a published effect is used without a power"


def _reading_problems(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with facts that depend on each other."""
    columns = facts.get("columns", {})
    names, count = columns.get("names"), columns.get("count")
    if names is not None and len(names) != count:
        yield f"'columns' names {len(names)} columns and counts {count}"
    labels = facts.get("labels")
    if labels is not None and (
        labels["response"] not in labels["classes"] or labels["classes"][0] == labels["classes"][1]
    ):
        yield "'labels' are not two, one of them that of response"
    diagnostics = facts["diagnostics"]
    if not diagnostics["problems"] and "method" in diagnostics:
        asked = _NUMBERS_OF[diagnostics["method"] in _APPROXIMATIONS]
        absent = [name for name in asked if diagnostics.get(name) is None]
        if absent:
            yield f"'diagnostics' found no problem and have no number of {', '.join(absent)}"


def _dims_of(name: str, group: str, metadata: Mapping[str, Any]) -> list[str]:
    """Return the dimensions of a variable after chain and draw, by the tables where they know it.

    A variable that they do not know, of a later version, says itself.
    """
    if group in ("posterior", "prior") and name in PARAMETERS:
        return list(PARAMETERS[name][0])
    if group == "constant_data":
        if name == TOLD:
            return ["unit", "predictor"]
        for table in (INDICES, DESIGN):
            if name in table:
                return list(table[name][0])
    if group == "sample_stats":
        return []
    return list(metadata["dims"].get(name, []))


def _dims_problems(dims: Mapping[str, list[str]]) -> Iterator[str]:
    for name, own in dims.items():
        known = PARAMETERS.get(name) or INDICES.get(name) or DESIGN.get(name)
        if known is not None and list(known[0]) != own:
            yield f"'{name}' is said to have the dimensions {own}; expected {list(known[0])}"


def _shape_problems(
    metadata: Mapping[str, Any],
    sizes: dict[str, int],
    group: str,
    name: str,
    shape: tuple[int, ...],
    lead: tuple[int, ...],
) -> Iterator[str]:
    """Yield a sentence where a variable has not the shape that its dimensions say."""
    own = _dims_of(name, group, metadata)
    first: tuple[int, ...] = lead if group in _OF_DRAWS else ()
    if group == "prior":  # it has draws of its own, as many of every variable
        first = tuple(sizes.setdefault(f"prior {i}", size) for i, size in enumerate(shape[:2]))
    fits = len(shape) == len(first) + len(own) and shape[: len(first)] == first
    if fits:
        rest = zip(own, shape[len(first) :], strict=True)
        fits = all(sizes.setdefault(dim, size) == size for dim, size in rest)
    if not fits:
        yield f"'{name}' of '{group}' has the shape {shape}, which its labels do not have"


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
