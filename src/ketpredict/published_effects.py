"""Published predictor effects, encoded: which rows enter the likelihood, and as what.

A row enters once for each cohort, predictor and horizon. A row whose patients stand in the table of
patients is refused; one that may share some of them is discounted, and so is the only cohort that
ever reported on a predictor. Rows that do not enter keep the reason.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from ketpredict.conversions import COUNTS, KIND_NAMES, Term, convert
from ketpredict.predictors import Predictor
from ketpredict.spec import Literature, ModelSpec

NODES = 16
"""Points at which the two parts of a split predictor are averaged."""
_FAR = 6.5


@dataclasses.dataclass(frozen=True)
class Effects:
    """Arrays of the published effects that enter, one entry of axis 0 for each.

    Parameters
    ----------
    predictor_idx, group_idx, kind : ndarray of int, shape (effect,)
        A group is a cohort and predictor; `kind` as in :mod:`ketpredict.conversions`.
    group_predictor : ndarray of int, shape (group,)
    group_unseen : ndarray of shape (group,)
        Share of the cohort that is of populations without rows in the fit.
    population_weight : ndarray of shape (effect, population)
        Share of each population in the cohort.
    adjusted : ndarray of shape (effect, predictor)
        1.0 for the predictors that the statistic is adjusted for, its own included.
    distance : ndarray of shape (effect,)
        Root of the distance of the horizon from the reference in log time.
    statistic, standard_error, lower, upper, attenuation, gain, quantile, step, positive : ndarray
        See :class:`ketpredict.conversions.Term`; shape (effect,).
    power : ndarray of shape (effect,)
        Power of the likelihood: 1, less where discounted.
    shared : ndarray of shape (effect,)
        Share of the sampling variance that the horizons of a group have in common.
    counts : ndarray of shape (effect, 4)
    node, node_weight : ndarray of shape (effect, 2, NODES)
        Where the two groups of a split predictor stand (SDs from its mean), or the two values.
    on_sd_scale : ndarray of shape (effect,)
        1.0 where nodes count in standard deviations of the predictor.
    """

    predictor_idx: np.ndarray
    group_idx: np.ndarray
    kind: np.ndarray
    group_predictor: np.ndarray
    group_unseen: np.ndarray
    population_weight: np.ndarray
    adjusted: np.ndarray
    distance: np.ndarray
    statistic: np.ndarray
    standard_error: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    attenuation: np.ndarray
    gain: np.ndarray
    quantile: np.ndarray
    step: np.ndarray
    positive: np.ndarray
    power: np.ndarray
    shared: np.ndarray
    counts: np.ndarray
    node: np.ndarray
    node_weight: np.ndarray
    on_sd_scale: np.ndarray

    def __len__(self) -> int:
        """Return the number of effects."""
        return len(self.kind)

    @property
    def scale_predictor(self) -> np.ndarray:
        """Predictors that have any effect: each has a spread between studies."""
        return np.unique(self.group_predictor).astype(int)

    @property
    def apart(self) -> np.ndarray:
        """Effects at another horizon than the reference."""
        return np.flatnonzero(self.distance > 0)

    @property
    def repeated_groups(self) -> np.ndarray:
        """Groups with more than one effect, whose sampling errors share a part."""
        return np.unique(self.group_idx[self.shared > 0]).astype(int)

    @property
    def with_level(self) -> np.ndarray:
        """Effects that are counts, each with a level of its own."""
        return np.flatnonzero(self.kind == COUNTS)


def encode_effects(
    spec: ModelSpec,
    table: pd.DataFrame,
    predictors: Sequence[Predictor],
    populations: Sequence[str],
    participants: pd.DataFrame,
) -> tuple[Effects, tuple[str, ...], tuple[str, ...], list[dict[str, Any]]]:
    """Return the effects that enter, their labels, those of their groups, and every row's fate.

    Parameters
    ----------
    table : DataFrame
        Validated associations (:func:`ketpredict.contracts.validate_associations`).
    participants : DataFrame
        The patients of the fit, to count nobody twice.

    Returns
    -------
    effects : Effects
    labels, groups : tuple of str
    fates : list of dict
        For each row: ``row``, ``cohort``, ``trial``, ``predictor``, ``hours``, ``n``,
        ``statistic``, ``used`` and ``why`` (the conversion, or the reason why it does not enter),
        ``power``, ``citation``, ``twice`` and ``shared`` (its patients are, or may be, in the fit
        already).
    """
    rows = [dict(zip(table.columns, values, strict=True)) for values in table.to_numpy(object)]
    found: list[tuple[dict[str, Any], Term]] = []
    fates = [_fate(number, row) for number, row in enumerate(rows)]
    names = [predictor.name for predictor in predictors]
    for row, fate in zip(rows, fates, strict=True):
        reason = _reason(row, names)
        same = {_given(row, "trial"), _given(row, "cohort")} & set(participants["trial"])
        if reason is None and same:
            reason = (
                f"its patients (trial {', '.join(sorted(same))}) stand in the table of patients"
            )
            fate["twice"] = True
        if reason is not None:
            fate["why"] = reason
            continue
        k = names.index(row["predictor"])
        term = convert(row, predictors[k], int(_adjusted(row, names).sum()), spec.link)
        if isinstance(term, str):
            fate["why"] = term
            continue
        row["_fate"] = fate
        found.append((row, term))
    found = _once(found)
    powers = _powers(found, spec.literature, participants)
    for (row, term), (power, words) in zip(found, powers, strict=True):
        row["_fate"] |= {
            "used": True,
            "why": f"{KIND_NAMES[term.kind]}: {term.method}{words}",
            "power": power,
        }
    effects, labels, groups = _arrays(spec, found, [p for p, _ in powers], predictors, populations)
    return effects, labels, groups, fates


def no_effects(n_predictors: int, n_populations: int) -> Effects:
    """Return the effects of a fit without any."""
    number, whole = np.zeros(0), np.zeros(0, dtype=int)
    return Effects(
        **dict.fromkeys(("predictor_idx", "group_idx", "kind", "group_predictor"), whole),
        **dict.fromkeys(_NUMBERS, number),
        group_unseen=number,
        population_weight=np.zeros((0, n_populations)),
        adjusted=np.zeros((0, n_predictors)),
        counts=np.zeros((0, 4)),
        node=np.zeros((0, 2, NODES)),
        node_weight=np.zeros((0, 2, NODES)),
    )


def effect_messages(fates: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return what to say of effects whose patients the fit has, or may have, already."""
    twice = sorted({f"{fate['cohort']} ({fate['predictor']})" for fate in fates if fate["twice"]})
    shared = sorted({f"{fate['cohort']} ({fate['predictor']})" for fate in fates if fate["shared"]})
    messages = []
    if twice:
        messages.append(
            f"Published effects left out, since their patients stand in the table of patients: "
            f"{', '.join(twice)}."
        )
    if shared:
        messages.append(
            f"Published effects discounted, since they may share patients with the table of "
            f"patients: {', '.join(shared)}."
        )
    return tuple(messages)


_NUMBERS = (
    "distance", "statistic", "standard_error", "lower", "upper", "attenuation", "gain",
    "quantile", "step", "positive", "power", "shared", "on_sd_scale",
)  # fmt: skip


def _given(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return "" if value is None or value != value else str(value)


def _fate(number: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a table about the rows says of each."""
    entry: dict[str, Any] = {"row": _given(row, "fact") or f"row {number + 1}"}
    for name in ("cohort", "trial", "predictor", "statistic", "citation"):
        entry[name] = _given(row, name)
    for name in ("hours", "n"):
        value = row.get(name)
        entry[name] = None if value is None or value != value else float(value)
    return entry | {"used": False, "why": "", "power": None, "twice": False, "shared": False}


def _reason(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """Return why a row cannot enter, or None."""
    if _given(row, "use") == "carry":
        return f"{_given(row, 'reason_code')}: {_given(row, 'reason')}"
    if row["predictor"] not in names:
        return f"predictor '{row['predictor']}' is not in the model"
    return None


def _adjusted(row: Mapping[str, Any], names: Sequence[str]) -> np.ndarray:
    """Return which of the model's predictors a statistic is adjusted for, itself included."""
    listed = {part.strip() for part in _given(row, "adjusted_set").split(";")}
    return np.array([name in listed or name == row["predictor"] for name in names], dtype=float)


def _once(found: list[tuple[dict[str, Any], Term]]) -> list[tuple[dict[str, Any], Term]]:
    """Return one row for each cohort, predictor and horizon: the one with most patients."""
    best: dict[tuple[str, str, str], int] = {}
    for i, (row, _) in enumerate(found):
        key = (row["cohort"], row["predictor"], _given(row, "hours"))
        if key in best and not _patients(row) > _patients(found[best[key]][0]):
            continue
        best[key] = i
    kept = sorted(best.values())
    for i, (row, _) in enumerate(found):
        if i not in kept:
            row["_fate"]["why"] = "the cohort, predictor and horizon stand there with more patients"
    return [found[i] for i in kept]


def _patients(row: Mapping[str, Any]) -> float:
    text = _given(row, "n")
    return float(text) if text else 0.0


def _powers(
    found: Sequence[tuple[dict[str, Any], Term]], literature: Literature, participants: pd.DataFrame
) -> list[tuple[float, str]]:
    """Return the power of each effect's likelihood, and words about it."""
    cohorts: dict[str, set[str]] = {}
    for row, _ in found:
        cohorts.setdefault(row["predictor"], set()).add(row["cohort"])
    powers = []
    for row, _ in found:
        power, words = 1.0, ""
        if len(cohorts[row["predictor"]]) == 1 and literature.unreplicated_power < 1.0:
            power *= literature.unreplicated_power
            words += f"; one cohort alone, to the power {literature.unreplicated_power:g}"
        listed = {part.strip() for part in _given(row, "overlapping_trials").split(";")}
        shared = listed & _measured(participants, row["predictor"])
        if shared and literature.overlap_power < 1.0:
            power *= literature.overlap_power
            row["_fate"]["shared"] = True
            words += f"; may share patients of {', '.join(sorted(shared))}"
            words += f", to the power {literature.overlap_power:g}"
        powers.append((power, words))
    return powers


def _measured(participants: pd.DataFrame, predictor: str) -> set[str]:
    """Return the trials whose patients have a predictor measured."""
    if predictor not in participants:
        return set()
    return set(participants.loc[participants[predictor].notna(), "trial"])


def _arrays(
    spec: ModelSpec,
    found: Sequence[tuple[dict[str, Any], Term]],
    powers: Sequence[float],
    predictors: Sequence[Predictor],
    populations: Sequence[str],
) -> tuple[Effects, tuple[str, ...], tuple[str, ...]]:
    if not found:
        return no_effects(len(predictors), len(populations)), (), ()
    names = [predictor.name for predictor in predictors]
    keys = [(row["cohort"], row["predictor"]) for row, _ in found]
    groups = sorted(set(keys))
    group_idx = np.array([groups.index(key) for key in keys])
    weight = np.array([_mix(row, populations) for row, _ in found]).reshape(len(found), -1)
    unseen = np.clip(1.0 - weight.sum(axis=1), 0.0, 1.0)
    terms = [term for _, term in found]
    several = np.bincount(group_idx) > 1
    counted = np.array([term.kind == COUNTS for term in terms])
    shared = np.where(several[group_idx] & ~counted, spec.literature.error_correlation, 0.0)
    nodes = [_nodes(term, predictors[names.index(row["predictor"])], row) for row, term in found]
    effects = Effects(
        predictor_idx=np.array([names.index(row["predictor"]) for row, _ in found]),
        group_idx=group_idx,
        kind=np.array([term.kind for term in terms]),
        group_predictor=np.array([names.index(predictor) for _, predictor in groups]),
        group_unseen=np.array([unseen[group_idx == g].max() for g in range(len(groups))]),
        population_weight=weight,
        adjusted=np.array([_adjusted(row, names) for row, _ in found]),
        distance=np.array([_distance(row, spec) for row, _ in found]),
        power=np.array(powers),
        shared=shared,
        counts=np.array([term.counts for term in terms]),
        node=np.array([node for node, _ in nodes]),
        node_weight=np.array([weights for _, weights in nodes]),
        on_sd_scale=np.array([float(term.split) for term in terms]),
        **{
            name: np.array([getattr(term, name) for term in terms])
            for name in (
                "statistic", "standard_error", "lower", "upper", "attenuation", "gain",
                "quantile", "step", "positive",
            )
        },
    )  # fmt: skip
    labels = tuple(_label(row) for row, _ in found)
    return effects, labels, tuple(f"{cohort}: {predictor}" for cohort, predictor in groups)


def _label(row: Mapping[str, Any]) -> str:
    hours = _given(row, "hours")
    when = f" at {float(hours):g} h" if hours else ""
    return f"{row['cohort']}: {row['predictor']}{when}"


def _distance(row: Mapping[str, Any], spec: ModelSpec) -> float:
    """Return the root of the distance from the reference; the farthest where no hours are given."""
    horizons, text = spec.horizons, _given(row, "hours")
    ends = [abs(math.log(hours / horizons.reference)) for hours in horizons.window]
    if not text:
        return math.sqrt(max(ends))
    return math.sqrt(abs(math.log(float(text) / horizons.reference)))


def _mix(row: Mapping[str, Any], populations: Sequence[str]) -> np.ndarray:
    """Return the shares of the fit's populations in a cohort; the rest are unseen."""
    text = _given(row, "population_mix")
    if not text:
        return np.array([float(name == row.get("population")) for name in populations])
    parts = [part.rpartition(":") for part in text.split(";")]
    shares = {name.strip(): float(share) for name, _, share in parts}
    return np.array([shares.get(name, 0.0) for name in populations])


def _nodes(
    term: Term, predictor: Predictor, row: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Return points and weights at which the two groups of counts are averaged.

    A group of a split normal predictor is averaged by Gauss-Legendre over its side of the cut.
    """
    points, weights = np.zeros((2, NODES)), np.zeros((2, NODES))
    if term.kind != COUNTS:
        return points, weights
    if not term.split:
        points[0, 0], points[1, 0] = 1.0 - predictor.centre, -predictor.centre
        weights[:, 0] = 1.0
        return points, weights
    _, high, _, low = term.counts
    cut = float(ndtri(low / (low + high)))
    place, weight = np.polynomial.legendre.leggauss(NODES)
    for group, (start, end) in enumerate(((cut, _FAR), (-_FAR, cut))):
        points[group] = start + 0.5 * (place + 1.0) * (end - start)
        mass = weight * np.exp(-0.5 * points[group] ** 2)
        weights[group] = mass / mass.sum()
    return points, weights
