"""Evidence: participants, published arms and associations, together and counted once.

:class:`Evidence` is a frozen value. Tables enter through :mod:`ketpredict.contracts`; here they are
combined (no trial, arm and horizon twice), reduced to one horizon for each trial, and described.
"""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ketpredict.arm_classes import arm_classes, load_arm_classes
from ketpredict.column_names import squash
from ketpredict.contracts import validate_arms, validate_associations, validate_participants
from ketpredict.errors import DataError, EvidenceWarning
from ketpredict.horizon import log_distance
from ketpredict.predictors import Predictor, load_predictors
from ketpredict.resources import data_path
from ketpredict.short_form import ShortForm
from ketpredict.spec import (
    FULL_THRESHOLD,
    REFERENCE_ARM,
    UNNAMED_POPULATION,
    UNNAMED_TRIAL,
    Horizons,
)
from ketpredict.tables import read_table

PUBLISHED = "published"
PUBLISHED_TABLES = ("arms.csv", "arm_classes.csv", "participants.csv", "associations.csv")


@dataclasses.dataclass(frozen=True, repr=False)
class Evidence(ShortForm):
    """Everything that a fit learns from, validated.

    Parameters
    ----------
    participants : DataFrame
        One row per patient, period and horizon; ``response`` may be missing.
    arms : DataFrame
        One row per published arm and horizon.
    associations : DataFrame
        One row per published predictor effect; :mod:`ketpredict.published_effects` says which
        enter.
    arm_classes : DataFrame indexed by arm
        ``arm_class`` (active, inert_control, active_control), ``repeated``, ``label``.
    source : str
        ``"published"``, ``"own"`` or both, for reports.
    messages : tuple of str
        What was dropped or left alone, and why.
    """

    participants: pd.DataFrame
    arms: pd.DataFrame
    associations: pd.DataFrame
    arm_classes: pd.DataFrame
    source: str
    messages: tuple[str, ...] = ()

    def _headline(self) -> str:
        return (
            f"Evidence ({self.source}): {len(self.participants):,} rows of patients, "
            f"{len(self.arms):,} of published arms, {len(self.associations):,} published effects"
        )

    def digest(self) -> str:
        """Return the SHA-256 of the tables: it changes when any cell does."""
        hasher = hashlib.sha256()
        for table in (self.participants, self.arms, self.associations, self.arm_classes):
            hasher.update(table.to_csv(lineterminator="\n").encode())
        return hasher.hexdigest()


def load_evidence(name: str = "published") -> Evidence:
    """Return the published evidence that ships with the package.

    Arms whose row says ``use = fit``, the openly licensed crossover trial, and the associations.

    Raises
    ------
    DataError
        Another name than ``"published"``, or a table that does not hold its contract.
    """
    if name != "published":
        raise DataError(
            f'evidence is {name!r}; expected "published", an Evidence made by '
            "make_evidence(...), or None."
        )
    arms = read_table(data_path("arms.csv"))
    return make_evidence(
        arms=arms[arms["use"] == "fit"].reset_index(drop=True),
        participants=read_table(data_path("participants.csv")),
        associations=read_table(data_path("associations.csv")),
        predictors=(),
        source="published",
    )


def make_evidence(
    *,
    arms: Any = None,
    participants: Any = None,
    associations: Any = None,
    references: Mapping[str, Predictor] | None = None,
    predictors: Iterable[str] | None = None,
    column_names: Mapping[str, str] | None = None,
    source: str = "own",
) -> Evidence:
    """Return validated evidence from tables.

    Parameters
    ----------
    arms, participants, associations : table, optional
        pandas, polars or PyArrow tables or mappings of arrays; see :mod:`ketpredict.contracts`.
    references : mapping of str to Predictor, optional
        Predictors with a known scale and plausible range; the package's own by default.
    predictors : iterable of str, optional
        Names of further columns that are wanted as predictors.
    column_names : mapping of str to str, optional
        The participants' own names of label columns, ``{"trial": "study"}``.

    Raises
    ------
    DataError
        With every problem of a table in one message.
    """
    references = load_predictors() if references is None else references
    wanted = None if predictors is None else tuple(predictors)
    known_arms = load_arm_classes()
    patients = _empty_participants()
    if participants is not None:
        checked = validate_participants(
            participants, references, predictors=wanted, column_names=column_names
        )
        patients = _complete_participants(_weighted(checked.table))
    published = _empty_arms()
    if arms is not None:
        published = _complete_arms(validate_arms(arms, references, predictors=wanted).table)
    effects = pd.DataFrame()
    if associations is not None:
        effects = validate_associations(associations).table
    _refuse_other_spellings(patients, published)
    classes = arm_classes(known_arms, published, patients)
    return Evidence(patients, published, effects, classes, source)


def combine(own: Evidence, published: Evidence) -> Evidence:
    """Return both together, each trial, arm and horizon counted once.

    Where patients of a trial are given, its published arms and published patients are dropped:
    the patients say more and are the same people. Published arms give way to the user's own.
    Which of the two is the published one is told by its ``source``, whatever their order; of two
    that are the user's own, the first replaces rows of the second.
    """
    if own.source == PUBLISHED and published.source != PUBLISHED:
        own, published = published, own
    _refuse_other_spellings(
        *(getattr(one, table) for one in (published, own) for table in ("participants", "arms"))
    )
    own_trials = set(own.participants["trial"]) | set(own.arms["trial"])
    messages = [*published.messages, *own.messages]
    kept_patients = published.participants[~published.participants["trial"].isin(own_trials)]
    kept_arms = published.arms[~published.arms["trial"].isin(own_trials)]
    replaced = sorted(
        (set(published.participants["trial"]) | set(published.arms["trial"])) & own_trials
    )
    if replaced:
        kind = "Published rows" if PUBLISHED in published.source else "Rows"
        messages.append(
            f"{kind} of {', '.join(replaced)} were dropped: your own rows of the same "
            "trial replace them."
        )
    return _without_double_counts(
        Evidence(
            participants=_concat(kept_patients, own.participants),
            arms=_concat(kept_arms, own.arms),
            associations=_concat(published.associations, own.associations),
            arm_classes=published.arm_classes.combine_first(own.arm_classes),
            source=f"{published.source} and {own.source}",
            messages=tuple(messages),
        )
    )


def select_horizons(evidence: Evidence, horizons: Horizons) -> Evidence:
    """Return the evidence at one horizon for each trial.

    The horizon is the one nearest to the reference (in log time) at which all arms of the trial
    report, inside the window; other horizons are the same people again. A trial that reports a
    single administration does not enter a second time with its repeated course. Each period of a
    patient keeps the row nearest to the reference.
    """
    evidence = _without_double_counts(evidence)
    arms, messages = _select_arm_horizons(evidence, horizons)
    patients = _select_patient_horizons(evidence, horizons)
    messages += _dropped_rows(evidence.participants, patients, horizons)
    return dataclasses.replace(
        evidence,
        arms=arms,
        participants=patients,
        messages=(*evidence.messages, *messages),
    )


def _dropped_rows(before: pd.DataFrame, kept: pd.DataFrame, horizons: Horizons) -> list[str]:
    """Return what to say of participant rows that do not enter."""
    names = ["trial", "participant"]
    staying = set(map(tuple, kept[names].to_numpy()))
    stays = np.array([tuple(row) in staying for row in before[names].to_numpy()], dtype=bool)
    again, lost = int(stays.sum()) - len(kept), int((~stays).sum())
    same = f"{again} participant rows at other horizons of the same patients were left out."
    messages = [same] if again else []
    if lost:
        found = ", ".join(f"{hours:g}" for hours in sorted(set(before.loc[~stays, "hours"]))[:5])
        low, high = horizons.window
        messages.append(
            f"{lost} rows of patients with no row in the horizon window ({low:g} to {high:g} hours "
            f"after a single dose) were left out; hours found: {found}."
        )
    return messages


def announce(messages: Iterable[str]) -> None:
    """Say what was dropped or left alone, once each, as :class:`EvidenceWarning`."""
    for message in dict.fromkeys(messages):
        warnings.warn(message, EvidenceWarning, stacklevel=3)


def _refuse_other_spellings(*tables: pd.DataFrame) -> None:
    """Refuse labels that differ in case, spaces or signs only: they would become two levels."""
    for name in ("trial", "population", "arm", "scale"):
        spelt: dict[str, str] = {}
        for label in sorted({str(label) for table in tables for label in table[name].unique()}):
            if not any(letter.isalpha() for letter in label):
                continue  # 1.1 and 11 are two numbers
            first = spelt.setdefault(squash(label) or label, label)
            if first != label:
                raise DataError(
                    f"Column '{name}' holds '{first}' and '{label}', two spellings of one label; "
                    "write it one way, that of the published evidence if it has it."
                )


def _without_double_counts(evidence: Evidence) -> Evidence:
    """Drop published arms of a trial and arm whose patients are given one by one."""
    patients = set(zip(evidence.participants["trial"], evidence.participants["arm"], strict=True))
    keys = list(zip(evidence.arms["trial"], evidence.arms["arm"], strict=True))
    twice = np.array([key in patients for key in keys], dtype=bool)
    if not twice.any():
        return evidence
    names = sorted({f"{trial} ({arm})" for trial, arm in set(keys) & patients})
    message = (
        f"Arms counted once: {', '.join(names)} stand as patients, so their published rows were "
        "dropped."
    )
    return dataclasses.replace(
        evidence,
        arms=evidence.arms[~twice].reset_index(drop=True),
        messages=(*evidence.messages, message),
    )


def _select_arm_horizons(evidence: Evidence, horizons: Horizons) -> tuple[pd.DataFrame, list[str]]:
    arms = evidence.arms
    if arms.empty:
        return arms, []
    repeated = arms["arm"].map(evidence.arm_classes["repeated"]).to_numpy(bool)
    hours = arms["hours"].to_numpy(float)
    low, high = horizons.window
    inside = np.where(repeated, hours <= horizons.repeated_until, (hours >= low) & (hours <= high))
    messages = []
    lost = sorted(set(arms["trial"]) - set(arms["trial"][inside]))
    if lost:
        messages.append(
            f"Trials outside the horizon window ({low:g} to {high:g} h after one dose, repeated "
            f"courses to {horizons.repeated_until:g} h): {', '.join(lost)}."
        )
    kept = []
    for trial in dict.fromkeys(arms["trial"][inside]):
        here = inside & (arms["trial"] == trial).to_numpy()
        if (here & ~repeated).any():
            here &= ~repeated
        kept.append(_nearest_common(arms[here], horizons.reference))
        absent = sorted(set(arms["arm"][here]) - set(kept[-1]["arm"]))
        if absent:
            messages.append(
                f"Trial {trial}: {', '.join(absent)} do not report at the horizon of the other "
                "arms and were left out."
            )
    return pd.concat(kept, ignore_index=True) if kept else arms.iloc[:0], messages


def _nearest_common(rows: pd.DataFrame, reference: float) -> pd.DataFrame:
    """Return the rows of the horizon where most arms report, the nearest of these."""
    by_horizon = rows.groupby("hours")["arm"].nunique()
    complete = by_horizon[by_horizon == by_horizon.max()].index.to_series()
    nearest = complete.iloc[int(np.argmin(log_distance(complete, reference)))]
    return rows[rows["hours"] == nearest]


def _select_patient_horizons(evidence: Evidence, horizons: Horizons) -> pd.DataFrame:
    patients = evidence.participants
    if patients.empty:
        return patients
    repeated = patients["arm"].map(evidence.arm_classes["repeated"]).to_numpy(bool)
    hours = patients["hours"].to_numpy(float)
    low, high = horizons.window
    outside = np.where(repeated, hours > horizons.repeated_until, (hours < low) | (hours > high))
    distance = pd.Series(log_distance(patients["hours"], horizons.reference), index=patients.index)
    distance[outside] = np.inf
    keys = [patients[name] for name in ("trial", "participant", "period", "arm")]
    nearest = distance.groupby(keys, dropna=False).transform("min")
    kept = np.isfinite(distance) & (distance == nearest)
    first = ~patients[kept].duplicated(["trial", "participant", "period", "arm"])
    lost = sorted(set(patients["trial"]) - set(patients.loc[kept, "trial"]))
    if lost:
        found = sorted(set(hours[patients["trial"].isin(lost)]))[:5]
        raise DataError(
            f"Table 'participants': no row of trial {', '.join(map(repr, lost))} lies in the "
            f"horizon window, {low:g} to {high:g} hours after a single dose (a repeated course: "
            f"to {horizons.repeated_until:g}); hours found: "
            f"{', '.join(f'{value:g}' for value in found)}. Give the hours after dosing, or name "
            "the arm of the repeated course."
        )
    return patients[kept][first].reset_index(drop=True)


def _concat(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    frames = [frame for frame in (first, second) if len(frame)]
    return pd.concat(frames, ignore_index=True) if frames else first


def _empty_participants() -> pd.DataFrame:
    return _complete_participants(pd.DataFrame({"response": pd.Series(dtype=float)}))


def _empty_arms() -> pd.DataFrame:
    columns = {name: pd.Series(dtype=object) for name in ("trial", "population", "arm")}
    numbers = {name: pd.Series(dtype=float) for name in ("hours", "n", "responders")}
    return _complete_arms(pd.DataFrame({**columns, **numbers}))


def _complete_participants(table: pd.DataFrame) -> pd.DataFrame:
    """Fill the labels that a table of one trial, population or arm need not spell out."""
    table = table.copy()
    defaults = {
        "trial": UNNAMED_TRIAL,
        "population": UNNAMED_POPULATION,
        "arm": REFERENCE_ARM,
        "hours": 24.0,
        "period": "1",
    }
    for name, default in defaults.items():
        table[name] = table[name].fillna(default) if name in table else default
    rows = pd.Series([f"row {i + 1}" for i in range(len(table))], index=table.index, dtype=object)
    identity = table.get("participant", rows)
    table["participant"] = identity.astype(object).where(identity.notna(), rows)
    table = _complete_study(table)
    if "response" not in table:
        improvement = _improvement(table)
        responded = improvement >= table["threshold"]
        table["response"] = responded.astype(float).where(improvement.notna())
    return table


def _weighted(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that count; a weight of zero is no row, whatever it holds."""
    if "sample_weight" not in table:
        return table
    counts = table["sample_weight"] > 0
    if not counts.any():
        raise DataError("sample_weight is zero in every row; expected some rows that count.")
    return table[counts].reset_index(drop=True)


def _improvement(table: pd.DataFrame) -> pd.Series:
    if "improvement" in table:
        return table["improvement"]
    if {"baseline_score", "endpoint_score"} <= set(table):
        change = table["baseline_score"] - table["endpoint_score"]
        return 100.0 * change / table["baseline_score"]
    return pd.Series(np.nan, index=table.index)


def _complete_arms(table: pd.DataFrame) -> pd.DataFrame:
    return _complete_study(table.copy())


def _complete_study(table: pd.DataFrame) -> pd.DataFrame:
    """Fill threshold, scale and the study-level terms; open label is read off the blinding."""
    threshold = table["threshold"] if "threshold" in table else pd.Series(np.nan, table.index)
    table["threshold"] = threshold.astype(float).fillna(FULL_THRESHOLD)
    scale = table["scale"] if "scale" in table else pd.Series("", table.index, dtype=object)
    table["scale"] = scale.astype(object).where(scale.notna(), "")
    blinding = table["blinding"] if "blinding" in table else pd.Series("", table.index)
    table["open_label"] = (blinding.astype(object) == "open_label").astype(bool)
    for term in ("enriched", "added_antidepressant"):
        value = table[term] if term in table else pd.Series(False, index=table.index)
        table[term] = value.astype(object).map(_is_true).astype(bool)
    return table


def _is_true(value: Any) -> bool:
    return str(value).strip().lower() in ("true", "1", "1.0", "yes", "y")
