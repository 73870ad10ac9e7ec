"""Whether the contents of a file are those of a fit, before anything is computed with them.

Everything here takes plain metadata, declared shapes or arrays in memory, wherever they come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ketpredict.field_of_fit import study_term_labels
from ketpredict.parts import single_level, slope_parts
from ketpredict.saved_fit_facts import METADATA, WHOLE_FACTS
from ketpredict.saved_fit_numbers import Arrays, number_problems
from ketpredict.saved_fit_variables import (
    ALWAYS,
    DESIGN,
    INDICES,
    LAW,
    OF_PREDICTORS,
    PARAMETERS,
    TOLD,
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
_OF_EFFECTS = (
    "effect_predictor",
    "effect_group",
    "effect_apart",
    "repeated_group",
    "effect_with_level",
)
_LABELLED = (*_OF_EFFECTS, "curve", "slope_part", "effect", "effect_group", "reported_cell", "unit")
_APPROXIMATIONS = ("laplace", "pathfinder")
_NUMBERS_OF = {
    True: ("pareto_k", "effective_draws"),
    False: ("rhat", "ess_bulk", "ess_tail", "divergences"),
}

Shapes = Mapping[str, Mapping[str, Any]]


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
    # Files written before a fit's labels followed its field have those of ketamine in any field.
    as_before = coords.get("study_term") == list(STUDY_TERMS)
    expected: dict[str, Iterable[Any]] = {
        "knot": spec.horizons.knots,
        "study_term": STUDY_TERMS if as_before else study_term_labels(coords["arm"]),
        "curve": CURVES,
        "slope_part": slope_parts(spec, metadata["facts"].get("left_out", {})),
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
    return layout_problems(metadata, groups) or number_problems(metadata, groups)


def _needed(metadata: Mapping[str, Any]) -> list[str]:
    """Return the parameters that prediction asks for."""
    kinds = [predictor["kind"] for predictor in metadata["predictors"]]
    continuous, binary = kinds.count("continuous"), kinds.count("binary")
    needed = [*ALWAYS, *(OF_PREDICTORS if kinds else ())]
    shares = single_level(metadata["facts"].get("left_out", {})) if kinds else ()
    needed += [f"{part}_share" for part in sorted(shares) if part.endswith("_slope")]
    needed += ["predictor_covariance"] * (continuous > 0)
    needed += ["binary_shift"] * (continuous > 0 and binary > 0)
    return needed + ["binary_log_odds_ratio"] * (binary > 1)


def _whole_problems(metadata: Mapping[str, Any], shapes: Shapes) -> Iterator[str]:
    """Yield what a fit that holds its design must have and has not."""
    slope = ["slope"] if metadata["predictors"] else []
    coords = metadata["coords"]
    filled = {dim for dim in _OF_EFFECTS if coords.get(dim)}
    of_effects = [name for name, (dims, _) in PARAMETERS.items() if filled & set(dims)]
    of_prior = [name for name in _needed(metadata) if not _OF_TRIALS & set(PARAMETERS[name][0])]
    wanted = {
        "posterior": [*slope, *of_effects],
        "log_likelihood": ["effects"] if coords.get("effect") else [],
        "prior": [*of_prior, *slope],
        "constant_data": [*INDICES, *DESIGN],
    }
    for group, names in wanted.items():
        absent = [name for name in names if name not in shapes.get(group, {})]
        if absent:
            yield f"'{group}' is not whole: {', '.join(absent)} missing"
    absent = [dim for dim in _LABELLED if dim not in coords]
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
