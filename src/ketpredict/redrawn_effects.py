"""Published predictor effects drawn anew: statistics around what parameters imply for them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.special import ndtr

from ketpredict.conversions import COUNTS
from ketpredict.design import Design
from ketpredict.effect_density import implied_effects
from ketpredict.evidence import Evidence

_DRAWN_WITH_ERROR = ("standardised_beta", "odds_ratio", "risk_ratio")
_DRAWN = ("pearson_r", "counts", "direction_only", *_DRAWN_WITH_ERROR)
_POSITIVE = ("positive_is_better", "above_one_is_better")
Parameters = Mapping[str, np.ndarray]


def redraw_effects(
    evidence: Evidence, design: Design, parameters: Parameters, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the table of published effects with the statistics of those that enter drawn anew."""
    effects = design.effects
    result = evidence.associations.copy()
    if not len(effects):
        return result
    middle = implied_effects(_one_draw(parameters), design)[0]
    shared = np.zeros(len(effects))
    for place, group in enumerate(effects.repeated_groups):
        shared[effects.group_idx == group] = parameters["effect_error"][place]
    shared *= np.sqrt(effects.shared)
    own = np.sqrt(1.0 - effects.shared) * rng.normal(size=len(effects))
    drawn = middle + effects.standard_error * (shared + own)
    levels = list(effects.with_level)
    for i, place in enumerate(_used(design)):
        row = result.index[place]
        if effects.kind[i] == COUNTS:
            level = parameters["effect_level"][levels.index(i)]
            result.loc[row, "counts"] = _counts(design, i, middle[i], level, rng)
        elif np.isnan(effects.statistic[i]):
            bound = float(np.nanmin(np.abs([effects.lower[i], effects.upper[i]])))
            verdict = 0 if abs(drawn[i]) < bound else int(np.sign(drawn[i]))
            result.loc[row, "direction_for_better_response"] = str(verdict)
        else:
            statistic = result.loc[row, "statistic"]
            result.loc[row, "estimate"] = _printed(statistic, drawn[i])
    return result


def effect_problems(evidence: Evidence, design: Design) -> list[str]:
    """Return what keeps published effects from being drawn anew, in words."""
    effects, problems = design.effects, []
    for i, place in enumerate(_used(design)):
        row, label = evidence.associations.iloc[place], design.effect_labels[i]
        if effects.power[i] != 1.0:
            problems.append(f"'{label}' counts to the power {effects.power[i]:g}")
        if row["statistic"] not in _DRAWN:
            problems.append(f"'{label}' is a {row['statistic']}; known: {', '.join(_DRAWN)}")
        elif row["statistic"] in _DRAWN_WITH_ERROR and not row.get("se", np.nan) > 0:
            problems.append(f"'{label}' has no standard error (se)")
        convention = row.get("sign_convention")
        signed = convention is None or convention != convention or convention in _POSITIVE
        if effects.positive[i] != 1.0 or not signed:
            problems.append(f"'{label}' does not say that positive is better")
    return problems


def _used(design: Design) -> list[int]:
    """Return the rows of the table that enter, in the order of the effects."""
    return [place for place, fate in enumerate(design.effect_fates) if fate["used"]]


def _one_draw(parameters: Parameters) -> dict[str, np.ndarray]:
    return {name: np.asarray(value)[None] for name, value in parameters.items()}


def _counts(design: Design, i: int, slope: float, level: float, rng: np.random.Generator) -> str:
    effects, parts = design.effects, []
    for group in range(2):
        n = int(effects.counts[i, 2 * group + 1])
        rate = ndtr(level + slope * effects.node[i, group]) @ effects.node_weight[i, group]
        parts.append(f"{rng.binomial(n, min(1.0, rate))}/{n}")
    return ";".join(parts)


def _printed(statistic: str, value: float) -> float:
    if statistic == "pearson_r":
        return float(np.tanh(value))
    return float(value if statistic == "standardised_beta" else np.exp(value))
