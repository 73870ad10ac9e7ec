"""Of which field a fit is: the one rule by which words of ketamine and depression are said or not.

The package was made for response to ketamine and works in any field with trials, arms and a yes/no
outcome. What tells the field of a *fit* is its arms: one of this field has an arm of ketamine, and
no other has (:data:`ketpredict.spec.REFERENCE_ARM` is assumed only for patients of this field).
"""

from __future__ import annotations

from collections.abc import Iterable

from ketpredict.spec import REFERENCE_ARM, STUDY_TERMS

_TERMS_ELSEWHERE = {"added_antidepressant": "added_treatment"}
POPULATIONS = frozenset(
    {
        "bipolar_depression", "mixed_depression", "mixed_diagnoses", "ocd", "ptsd",
        "unipolar_depression",
    }
)  # fmt: skip
"""Populations of the published evidence."""


def is_of_ketamine(arms: Iterable[str]) -> bool:
    """Return whether a fit with these arms is of this package's field."""
    return any(REFERENCE_ARM in str(arm).lower() for arm in arms)


def study_term_labels(arms: Iterable[str]) -> list[str]:
    """Return the labels of the study terms, in the order of the design's columns."""
    if is_of_ketamine(arms):
        return list(STUDY_TERMS)
    return [_TERMS_ELSEWHERE.get(term, term) for term in STUDY_TERMS]
