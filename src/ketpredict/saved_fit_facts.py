"""What the metadata of a saved fit say, fact by fact: a table, and what holds a fit to it.

Facts that the tables do not name are read by nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from ketpredict.parts import PARTS, REASONS
from ketpredict.spec import ARM_CLASSES

_MOST_WORDS = 40


@dataclasses.dataclass(frozen=True)
class Text:
    """A text."""

    may_miss: bool = False
    filled: bool = False
    among: tuple[str, ...] = ()

    def problems(self, value: Any, where: str) -> Iterator[str]:
        """Yield what is wrong with a value."""
        if value is None and self.may_miss:
            return
        if type(value) is not str or (self.filled and not value):
            yield f"{where} is {_words(value)}; expected a text"
        elif self.among and value not in self.among:
            yield f"{where} is {_words(value)}; expected one of {', '.join(self.among)}"


@dataclasses.dataclass(frozen=True)
class Number:
    """A finite number; ``None`` where it may be missing."""

    low: float = -1e12
    high: float = 1e12
    whole: bool = False
    may_miss: bool = False

    def problems(self, value: Any, where: str) -> Iterator[str]:
        """Yield what is wrong with a value."""
        if value is None and self.may_miss:
            return
        kinds = (int,) if self.whole else (int, float)
        if type(value) not in kinds or not math.isfinite(value):
            yield f"{where} is {_words(value)}; expected a {'whole ' * self.whole}number"
        elif not self.low <= value <= self.high:
            yield f"{where} is {_words(value)}; expected {self.low:g} to {self.high:g}"


@dataclasses.dataclass(frozen=True)
class Flag:
    """True or false."""

    def problems(self, value: Any, where: str) -> Iterator[str]:
        """Yield what is wrong with a value."""
        if type(value) is not bool:
            yield f"{where} is {_words(value)}; expected true or false"


@dataclasses.dataclass(frozen=True)
class Plain:
    """A single text, number or flag, or nothing."""

    def problems(self, value: Any, where: str) -> Iterator[str]:
        """Yield what is wrong with a value."""
        if not isinstance(value, (str, int, float, bool, type(None))):
            yield f"{where} is {_words(value)}; expected a single value"


@dataclasses.dataclass(frozen=True)
class Rows:
    """A list, each entry of one kind."""

    of: Kind
    may_miss: bool = False
    length: int | None = None
    distinct: bool = False

    def problems(self, value: Any, where: str) -> Iterator[str]:
        """Yield what is wrong with a value."""
        if value is None and self.may_miss:
            return
        if type(value) is not list or self.length not in (None, len(value)):
            size = "" if self.length is None else f" of {self.length}"
            yield f"{where} is {_words(value)}; expected a list{size}"
            return
        found = [p for i, one in enumerate(value) for p in self.of.problems(one, f"{where}[{i}]")]
        yield from found
        if self.distinct and not found and len(set(value)) < len(value):
            yield f"{where} holds a label more than once"


@dataclasses.dataclass(frozen=True)
class Table:
    """A mapping with known keys; others are of the kind `rest`, left alone, or refused."""

    required: Mapping[str, Kind] = dataclasses.field(default_factory=dict)
    optional: Mapping[str, Kind] = dataclasses.field(default_factory=dict)
    rest: Kind | None = None
    closed: bool = False

    def problems(self, value: Any, where: str) -> Iterator[str]:
        """Yield what is wrong with a value."""
        if type(value) is not dict:
            yield f"{where} is {_words(value)}; expected a table"
            return
        known = {**self.required, **self.optional}
        yield from (f"'{key}' is missing in {where}" for key in self.required if key not in value)
        for key, entry in value.items():
            kind = known.get(key, self.rest)
            if kind is None and self.closed:
                yield f"{where} has an unknown entry {_words(key)}"
            elif kind is not None:
                yield from kind.problems(entry, f"'{key}' in {where}")


type Kind = Text | Number | Flag | Plain | Rows | Table


def _words(value: Any) -> str:
    if isinstance(value, (list, dict)):
        return f"a {'list' if isinstance(value, list) else 'table'} of {len(value)}"
    words = repr(value)
    return words if len(words) <= _MOST_WORDS else f"{words[:_MOST_WORDS]}..."


_COUNT = Number(low=0, whole=True)
_MISSING_NUMBER = Number(may_miss=True)
_LABELS = Rows(Text(), distinct=True)

_BASIS: dict[str, Kind] = {"population": Text(), "extrapolated": Flag(), "reason": Text()}
_BASIS_COUNTS: dict[str, Kind] = {
    "trials": _COUNT,
    "patients": _COUNT,
    "patients_in_arms": _COUNT,
    "arms": _COUNT,
    "hours": Rows(Number(low=0), length=2, may_miss=True),
    "outcomes": Text(),
}
SAMPLER: dict[str, Kind] = {
    "inference": Text(),
    "draws": Number(low=1, whole=True),
    "tune": Number(low=0, whole=True),
    "chains": Number(low=1, whole=True),
    "cores": Number(low=1, whole=True, may_miss=True),
    "target_accept": Number(low=0, high=1),
    "seed": Number(low=-(2**63), high=2**63, whole=True),
    "progressbar": Flag(),
}
"""The settings of the sampler, as :class:`ketpredict.fitting.SamplerSettings` has them."""
_COUNTS: dict[str, Kind] = {
    "arm": Text(),
    "hours": Number(low=0),
    "threshold": Number(low=0, high=100),
    "scale": Text(may_miss=True),
    "n": Number(low=0),
    "responders": Number(low=0),
}
_UPDATE = Table(
    {
        "trial": Text(),
        "population": Text(),
        "counts": Rows(Table(_COUNTS)),
        "effective_draws": Number(low=0),
        "pareto_k": Plain(),
    }
)
_DIAGNOSTICS: dict[str, Kind] = {
    "rhat": _MISSING_NUMBER,
    "ess_bulk": _MISSING_NUMBER,
    "ess_tail": _MISSING_NUMBER,
    "bfmi": _MISSING_NUMBER,
    "divergences": Number(low=0, whole=True, may_miss=True),
    "method": Text(),
    "pareto_k": _MISSING_NUMBER,
    "effective_draws": _MISSING_NUMBER,
}
_PROVENANCE: dict[str, Kind] = {
    "specification": Text(),
    "evidence": Text(may_miss=True),
    "evidence_source": Text(),
    "effects_used": _COUNT,
    "effects_carried": _COUNT,
    "sampler": Table(SAMPLER, closed=True),
    "python": Text(),
    "versions": Table(rest=Text()),
}
_EFFECT = Table(
    {
        "row": Text(),
        "cohort": Text(),
        "predictor": Text(),
        "statistic": Text(),
        "citation": Text(),
        "hours": _MISSING_NUMBER,
        "n": _MISSING_NUMBER,
        "used": Flag(),
        "why": Text(),
        "power": Number(low=0, high=1, may_miss=True),
        "twice": Flag(),
        "shared": Flag(),
    },
    {"trial": Text()},
)
_ESTIMATOR: dict[str, Kind] = {
    "model": Text(),
    "evidence": Text(may_miss=True),
    "predictors": Rows(Text(), may_miss=True),
    "trial": Text(filled=True),
    "population": Text(filled=True),
    "arm": Text(filled=True),
    "response_label": Plain(),
    "strict": Flag(),
    "random_state": Number(low=-(2**63), high=2**63, whole=True, may_miss=True),
    **{name: SAMPLER[name] for name in ("inference", "draws", "tune", "chains", "cores")},
    **{name: SAMPLER[name] for name in ("target_accept", "progressbar")},
}
_REMOVED: dict[str, Kind] = {"patients": Number(low=0)}
_LEFT_OUT: dict[str, Kind] = {part: Text(among=REASONS) for part in PARTS}

_RANGE = Table({"low": _MISSING_NUMBER, "high": _MISSING_NUMBER, "trials": _COUNT})


def _facts(basis: Table, diagnostics: Table, provenance: Table) -> Table:
    return Table(
        {
            "arm_class": Rows(Text(among=ARM_CLASSES)),
            "repeated_arm": Rows(Flag()),
            "basis": Rows(basis),
            "ranges": Table(rest=_RANGE),
            "diagnostics": diagnostics,
            "provenance": provenance,
            "messages": Rows(Text()),
            "effects": Rows(_EFFECT),
            "estimator": Table(optional=_ESTIMATOR),
        },
        {
            "columns": Table(
                {
                    "by_name": Flag(),
                    "names": Rows(Plain(), may_miss=True),
                    "count": Number(low=0, whole=True, may_miss=True),
                }
            ),
            "labels": Table({"classes": Rows(Plain(), length=2), "response": Plain()}),
            "published": Table({"evidence": Text(), "specification": Text()}),
            "without_patients": Table(_REMOVED),
            "left_out": Table(optional=_LEFT_OUT, closed=True),
        },
    )


_PROBLEMS: dict[str, Kind] = {"problems": Rows(Text())}
_UPDATES: dict[str, Kind] = {"updates": Rows(_UPDATE)}
FACTS = _facts(
    Table(_BASIS, _BASIS_COUNTS),
    Table(_PROBLEMS, _DIAGNOSTICS),
    Table({}, {**_PROVENANCE, **_UPDATES}),
)
"""What prediction asks of a fit."""
WHOLE_FACTS = _facts(
    Table({**_BASIS, **_BASIS_COUNTS}),
    Table({**_PROBLEMS, **_DIAGNOSTICS}),
    Table(_PROVENANCE, _UPDATES),
)
"""The same of a fit that holds its design, and so can be asked everything."""

PREDICTOR = Table(
    {
        "name": Text(filled=True),
        "label": Text(),
        "unit": Text(),
        "kind": Text(among=("continuous", "binary")),
        "transform": Text(among=("identity", "log")),
        "centre": Number(),
        "scale": Number(low=5e-324),
        "low": _MISSING_NUMBER,
        "high": _MISSING_NUMBER,
        "between_trial_sd": Number(low=0, may_miss=True),
        "assay_dependent": Flag(),
        "aliases": Rows(Text()),
        "source": Text(),
    },
    {"category": Text(), "level": Text(), "reference_level": Text()},
)
COORDS = Table(
    {
        "population": _LABELS,
        "trial": _LABELS,
        "arm": Rows(Text(), distinct=True),
        "law": _LABELS,
        "trial_cell": Rows(Text()),
        "predictor": _LABELS,
        "study_term": _LABELS,
        "knot": Rows(Number(low=0), distinct=True),
        "scale": _LABELS,
    },
    {
        "curve": _LABELS,
        "slope_part": _LABELS,
        "arm_class": _LABELS,
        "continuous": _LABELS,
        "continuous_too": _LABELS,
        "binary": _LABELS,
        "effect": Rows(Text()),
        "effect_group": Rows(Text()),
        "reported_cell": Rows(Text()),
        "unreported_cell": Rows(Text()),
    },
    rest=Rows(Plain()),
)
METADATA = Table(
    {
        "spec": Table(),
        "predictors": Rows(PREDICTOR),
        "dims": Table(rest=Rows(Text())),
        "coords": COORDS,
        "trial_values": Rows(Rows(_MISSING_NUMBER)),
        "facts": FACTS,
    },
    {"digest": Text()},
)
"""The whole metadata text, but for its format."""
