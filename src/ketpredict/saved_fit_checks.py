"""Whether the contents of a file are those of a fit, before anything is computed with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ketpredict.parts import PARTS, REASONS, single_level

READABLE_FORMATS = (3, 4)
"""3 has no columns of labels; all else is as in 4."""

_KEYS = {
    "spec": dict,
    "predictors": list,
    "dims": dict,
    "coords": dict,
    "trial_values": list,
    "facts": dict,
}
_FACTS = {
    "arm_class": list,
    "repeated_arm": list,
    "basis": list,
    "ranges": dict,
    "diagnostics": dict,
    "provenance": dict,
    "messages": list,
    "estimator": dict,
}
_LABELS = ("population", "trial", "arm", "law", "trial_cell", "predictor", "study_term", "knot")
_VARIABLES = (
    "intercept",
    "population_effect",
    "population_scale",
    "trial_scale",
    "treatment_scale",
    "arm_effect",
    "study_term_effect",
    "horizon_offset",
    "improvement_sd",
)
_INDICES = {
    "mean_cell": ("trial_cell", -1),
    "law_trial": ("trial", 0),
    "trial_idx": ("trial", 0),
    "population_idx": ("population", 0),
    "arm_idx": ("arm", 0),
    "law_idx": ("law", 0),
}


def metadata_problems(metadata: Any) -> list[str]:
    """Return what is wrong with the metadata of a file; empty if nothing is."""
    if not isinstance(metadata, dict):
        return ["its metadata is no table"]
    problems = list(_typed(metadata, _KEYS, "metadata"))
    if problems:
        return problems
    problems += _typed(metadata["facts"], _FACTS, "facts")
    problems += _typed(metadata["coords"], dict.fromkeys(_LABELS, list), "coords")
    if problems:
        return problems
    coords, facts = metadata["coords"], metadata["facts"]
    problems += [
        f"labels of '{dim}' are no list" for dim in coords if type(coords[dim]) is not list
    ]
    problems += [
        f"dimensions of '{name}' are no list of names"
        for name, dims in metadata["dims"].items()
        if type(dims) is not list or not all(isinstance(dim, str) for dim in dims)
    ]
    counted = {
        "arm_class": (facts["arm_class"], "arm"),
        "repeated_arm": (facts["repeated_arm"], "arm"),
        "predictors": (metadata["predictors"], "predictor"),
        "trial_values": (metadata["trial_values"], "trial"),
    }
    problems += [
        f"'{name}' has {len(values)} entries and there are {len(coords[dim])} of '{dim}'"
        for name, (values, dim) in counted.items()
        if len(values) != len(coords[dim])
    ]
    left_out = facts.get("left_out", {})
    if not isinstance(left_out, dict) or not (
        set(left_out) <= set(PARTS) and {str(why) for why in left_out.values()} <= set(REASONS)
    ):
        problems.append("what its model leaves out is none of the parts that there are")
    if not isinstance(facts["diagnostics"].get("problems"), list):
        problems.append("there is no verdict on convergence in its diagnostics")
    return problems


def array_problems(
    metadata: Mapping[str, Any], groups: Mapping[str, Mapping[str, np.ndarray]]
) -> list[str]:
    """Return what is wrong with the arrays of a file; empty if nothing is."""
    draws = groups.get("posterior", {})
    left_out = single_level(metadata["facts"].get("left_out", {}))
    shares = [f"{part}_share" for part in left_out & {"population_slope", "trial_slope"}]
    absent = [name for name in (*_VARIABLES, *sorted(shares)) if name not in draws]
    if absent or "constant_data" not in groups:
        return [f"variables are missing: {', '.join(absent) or 'the design'}"]
    lead = draws["intercept"].shape
    if len(lead) != 2 or 0 in lead:
        return [f"the intercept has the shape {lead}; expected chains and draws"]
    problems: list[str] = []
    for group, variables in groups.items():
        for name, values in variables.items():
            problems += _shape_problems(metadata, group, name, values, lead)
    problems += [
        f"draws of '{name}' are no finite numbers"
        for name, values in draws.items()
        if values.dtype.kind not in "fiub" or not np.isfinite(values).all()
    ]
    return problems or list(_index_problems(metadata["coords"], groups["constant_data"]))


def _typed(table: Mapping[str, Any], kinds: Mapping[str, type], where: str) -> Iterator[str]:
    for key, kind in kinds.items():
        if key not in table:
            yield f"'{key}' is missing in its {where}"
        elif not isinstance(table[key], kind):
            yield f"'{key}' in its {where} is no {kind.__name__}"


def _shape_problems(
    metadata: Mapping[str, Any],
    group: str,
    name: str,
    values: np.ndarray,
    lead: tuple[int, ...],
) -> Iterator[str]:
    """Yield a sentence where a variable has not the shape that its dimensions say."""
    own = metadata["dims"].get(name, [])
    sizes = [len(metadata["coords"][dim]) if dim in metadata["coords"] else None for dim in own]
    shape = values.shape[values.ndim - len(own) :] if values.ndim >= len(own) else None
    fits = shape is not None and all(
        size is None or size == found for size, found in zip(sizes, shape, strict=True)
    )
    if group in ("posterior", "sample_stats"):
        fits = fits and values.ndim == len(own) + 2 and values.shape[:2] == lead
    if not fits:
        yield f"'{name}' of '{group}' has the shape {values.shape}, which its labels do not have"


def _index_problems(
    coords: Mapping[str, list[Any]], design: Mapping[str, np.ndarray]
) -> Iterator[str]:
    for name in ("mean_cell", "law_trial"):
        if name not in design:
            yield f"'{name}' is missing in its design"
    for name, (dim, lowest) in _INDICES.items():
        values = design.get(name)
        if values is None or not values.size:
            continue
        if (
            values.dtype.kind not in "iu"
            or values.min() < lowest
            or values.max() >= len(coords[dim])
        ):
            yield f"'{name}' points beyond the labels of '{dim}'"
