"""Recognising columns by name: known ones, near misses of known ones, and others.

Missing values are legal, so a column whose name was mistyped would silently become a missing
biomarker. A column that is nearly a known one is therefore an error; anything else is left alone.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import unicodedata
from collections.abc import Collection, Mapping

from ketpredict.predictors import Predictor

_CLOSE = 0.85
_CLOSE_WORD = 0.75
_IDENTIFIER = "id"
_STATISTICS = frozenset({"mean", "median", "sd", "se", "sem", "iqr", "min", "max", "pct", "n"})


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The column names that a table may use.

    Parameters
    ----------
    names : tuple of str
        Known columns.
    aliases : mapping of str to str
        Other names, squashed, and the known column that each stands for.
    units : mapping of str to tuple of str
        Words of the unit of a known column: ``bmi_kg_m2`` is ``bmi``.
    predictors : frozenset of str
        Known columns that hold a biomarker. Further words do not make them another column.
    """

    names: tuple[str, ...]
    aliases: Mapping[str, str]
    units: Mapping[str, tuple[str, ...]]
    predictors: frozenset[str]


def participant_vocabulary(
    names: Collection[str], labels: Collection[str], references: Mapping[str, Predictor]
) -> Vocabulary:
    """Return the vocabulary of a table with one column for each predictor."""
    aliases = _identifiers(labels)
    for predictor in references.values():
        aliases |= {squash(alias): predictor.name for alias in predictor.aliases}
    return Vocabulary(
        names=(*names, *references),
        aliases=aliases,
        units={name: tuple(words(item.unit)) for name, item in references.items()},
        predictors=frozenset(references),
    )


def arm_vocabulary(
    names: Collection[str], labels: Collection[str], references: Mapping[str, Predictor]
) -> Vocabulary:
    """Return the vocabulary of a table with summaries of predictors (``bmi_mean``)."""
    aliases = _identifiers(labels) | {"improvement": "improvement_mean"}
    summaries: list[str] = []
    for predictor in references.values():
        endings = summary_endings(predictor)
        summaries += [f"{predictor.name}_{ending}" for ending in endings]
        for alias in (predictor.name, *predictor.aliases):
            aliases[squash(alias)] = f"{predictor.name}_{endings[0]}"
            for ending in endings:
                aliases[squash(f"{alias}_{ending}")] = f"{predictor.name}_{ending}"
    return Vocabulary(names=(*names, *summaries), aliases=aliases, units={}, predictors=frozenset())


def summary_endings(predictor: Predictor) -> tuple[str, ...]:
    """Return how the columns that summarise a predictor in an arm end."""
    return ("pct",) if predictor.kind == "binary" else ("mean", "sd")


def near_miss(column: str, vocabulary: Vocabulary, present: Collection[str]) -> str | None:
    """Return the known column that an unknown name nearly is, or None.

    Parameters
    ----------
    column : str
        A name that is not known.
    vocabulary : Vocabulary
    present : collection of str
        Names in the table. Where the known column stands in the table too, only another spelling
        of the same letters is a near miss: the table says what it means by the known name.
    """
    plain = squash(column)
    if not plain:
        return None
    for name in vocabulary.names:
        if squash(name) == plain:
            return name
    without_brackets = squash(re.sub(r"\(.*?\)|\[.*?\]", "", column))
    for spelling in (plain, without_brackets):
        alias = vocabulary.aliases.get(spelling)
        if alias is not None and alias not in present:
            return alias
    absent = [name for name in vocabulary.names if name not in present]
    for name in absent:
        if without_brackets == squash(name) or _adds_unit(column, name, vocabulary):
            return name
    close = [name for name in absent if _is_close(column, name, name in vocabulary.predictors)]
    return max(close, key=lambda name: _ratio(plain, squash(name)), default=None)


def squash(name: str) -> str:
    """Return a name without case, spaces and punctuation."""
    return "".join(words(name))


def words(name: str) -> list[str]:
    """Return the words of a name in lower case; ``²`` counts as ``2``."""
    return re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", name).casefold())


def _identifiers(labels: Collection[str]) -> dict[str, str]:
    return {squash(f"{label}_{_IDENTIFIER}"): label for label in labels}


def _adds_unit(column: str, name: str, vocabulary: Vocabulary) -> bool:
    unit = vocabulary.units.get(name, ())
    known, found = words(name), words(column)
    return bool(unit) and found[: len(known)] == known and set(found[len(known) :]) <= set(unit)


def _is_close(column: str, name: str, is_predictor: bool) -> bool:
    """Return whether a name is a slip of the pen for a known one.

    Two names of as many words must agree nearly in every word: ``family_history_mdd`` is another
    predictor than ``family_history_aud``. Further words make another column (``responders_pct``).
    """
    found, known = words(column), words(name)
    if sorted(found) == sorted(known):
        return True
    if len(found) == len(known):
        if not all(map(_is_close_word, found, known)):
            return False
    elif set(known) < set(found) and not is_predictor:
        return False
    first, second = "".join(found), "".join(known)
    if _is_transposed(first, second):
        return True
    if len(second) < 4:  # one more letter in a short word makes another word: harm, zbmi
        return first == f"{second}s"
    return _ratio(first, second) >= _CLOSE


def _is_close_word(found: str, known: str) -> bool:
    if found != known and {found, known} <= _STATISTICS:  # a median is no slip for a mean
        return False
    return sorted(found) == sorted(known) or _ratio(found, known) >= _CLOSE_WORD


def _is_transposed(found: str, known: str) -> bool:
    """Return whether two neighbouring letters are swapped and all others agree."""
    if len(found) != len(known) or len(known) < 3:
        return False
    wrong = [i for i, (a, b) in enumerate(zip(found, known, strict=True)) if a != b]
    return (
        len(wrong) == 2
        and wrong[1] == wrong[0] + 1
        and found[wrong[0]] == known[wrong[1]]
        and found[wrong[1]] == known[wrong[0]]
    )


def _ratio(first: str, second: str) -> float:
    # SequenceMatcher is not symmetric: take the better of both directions.
    return max(
        difflib.SequenceMatcher(None, first, second, autojunk=False).ratio(),
        difflib.SequenceMatcher(None, second, first, autojunk=False).ratio(),
    )
