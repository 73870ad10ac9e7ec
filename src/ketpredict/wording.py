"""Names and numbers in words, the same in every table, picture and line of print."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from ketpredict.diagnostics import (
    APPROXIMATIONS,
    ESS_LIMIT,
    REMEDY,
    RHAT_LIMIT,
    ROUGH_REMEDY,
)
from ketpredict.field_of_fit import is_of_ketamine
from ketpredict.importance import PARETO_LIMIT
from ketpredict.predictors import Predictor
from ketpredict.spec import FULL_THRESHOLD
from ketpredict.visible import one_line

RESEARCH_ONLY = "For research; not for treatment decisions."
MODEL_LIMITS = (
    "A crossover patient gives one row per period; the rows of one patient are treated as "
    "independent given the trial, so intervals are slightly off (the two rows correlate).",
    "Published predictor effects enter as summary statistics, with heterogeneity between studies "
    "and a discount where one cohort alone reports; what was never published is not corrected for.",
    "Continuous predictors are taken as normal within a trial (biomarkers on their log scale), "
    "with one covariance for all trials.",
    "Percent improvement of patients enters as responder or not.",
)
"""What the model leaves out, for whoever reads its numbers."""
DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
GIVEN_OUTCOME = "the outcome as given"
_POPULATIONS = {"ocd": "OCD", "ptsd": "PTSD"}
_SMALL_WORDS = ("mg", "kg")


def population_words(name: str) -> str:
    """Return a population for readers, ``unipolar_depression`` as ``Unipolar depression``."""
    return _POPULATIONS.get(name, _sentence(name))


def arm_words(name: str) -> str:
    """Return an arm for readers, ``esketamine_intranasal_28mg`` as ``Esketamine nasal 28 mg``.

    The reference arm, which has no further name, is ketamine 0.5 mg/kg i.v. given once.
    """
    words = _sentence(name).replace("intranasal", "nasal")
    for unit in _SMALL_WORDS:
        if words.endswith(unit) and words[: -len(unit)][-1:].isdigit():
            words = f"{words[: -len(unit)]} {unit}"
    return words


def given_title(arms: Sequence[str], predictors: int) -> str:
    """Return what a fit of another field is a model of: the shipped titles speak of this one."""
    told = counted(predictors, "predictor") if predictors else "without predictors"
    return f"Response to {arm_in_sentence(arms[0])}, {told}, pooled over populations and trials"


def arm_in_sentence(name: str) -> str:
    """Return an arm for the middle of a sentence, ``Tutoring`` as ``tutoring``."""
    words = arm_words(name)
    return words[:1].lower() + words[1:] if words[1:2].islower() else words


def beside_words(arms: Iterable[str]) -> str:
    """Return what a trial may add to its arms: of this field, a new antidepressant."""
    return "a new antidepressant" if is_of_ketamine(arms) else "a further treatment"


def outcome_words(hours: float, threshold: float, scale: str, *, course: bool) -> str:
    """Return an outcome for readers: when, and how much improvement on which scale.

    The scale is named only where its own threshold differs from 50 %.
    """
    when = f"end of a repeated course, {hours:g} h" if course else f"{hours:g} h after one dose"
    named = f"{one_line(scale).replace('_', '-')} " if threshold != FULL_THRESHOLD and scale else ""
    return f"{when}, {named}improved by {threshold:g} % or more"


def signed(value: float) -> str:
    """Return a number with its sign and two decimals; what rounds to zero has none."""
    words = f"{value:+.2f}"
    return "0.00" if float(words) == 0 else words.replace("-", MINUS)


def signed_points(value: float) -> str:
    """Return a difference of probabilities in percentage points, with its sign."""
    words = f"{100.0 * value:+.0f}"
    return "0" if float(words) == 0 else words.replace("-", MINUS)


def trial_words(name: str) -> str:
    """Return a trial for readers, ``zarate_2006`` as ``Zarate 2006``."""
    return re.sub(r"^Nimh\b", "NIMH", _sentence(name))


def setting_words(setting: str) -> str:
    """Return a prediction's setting without what goes without saying."""
    return setting.removesuffix(", known population")


def percent(value: float) -> str:
    """Return a probability as whole percent; an en dash where there is none."""
    return DASH if not math.isfinite(value) else f"{100.0 * value:.0f} %"


def percent_range(low: float, high: float) -> str:
    """Return an interval of a probability as whole percent, such as 32 to 75 %, with an en dash."""
    return f"{100.0 * low:.0f}{DASH}{100.0 * high:.0f} %"


def pareto_words(k: float | None) -> str:
    """Return the Pareto k of weights; ``none`` where they hardly differ, so that k is no matter."""
    if k is None or math.isnan(k) or k == math.inf:
        return "infinite"
    return "none" if k == -math.inf else f"{k:.2f}".replace("-", MINUS)


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """Return a number with its noun, ``1 trial`` or ``3 trials``."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def step_words(predictor: Predictor) -> str:
    """Return what one unit of a predictor's reference scale is: ``6 kg/m² more``."""
    if predictor.category:
        return one_line(f"{predictor.level} vs. {predictor.reference_level}")
    if predictor.kind == "binary":
        return "present vs. absent"
    if predictor.transform == "log":
        return f"{math.exp(predictor.scale):.2g} times the level"
    return f"{predictor.scale:.3g} {unit_words(predictor.unit)}".strip() + " more"


def value_words(predictor: Predictor, value: float) -> str:
    """Return a predictor's value with its unit, ``31 kg/m²``; yes or no if it is binary."""
    if predictor.category:
        return one_line(predictor.level if value > 0.5 else predictor.reference_level)
    if predictor.kind == "binary":
        return "yes" if value > 0.5 else "no"
    return f"{value:.4g} {unit_words(predictor.unit)}".strip()


def unit_words(unit: str) -> str:
    """Return a unit for readers, ``kg/m2`` as ``kg/m²``."""
    return unit.replace("/m2", "/m²")


def verdict_words(diagnostics: dict[str, object]) -> str:
    """Return one sentence on convergence from ``posterior.facts["diagnostics"]``."""
    problems = diagnostics["problems"]
    method = diagnostics.get("method")
    if isinstance(problems, (list, tuple)) and problems:
        verdict = "ROUGH approximation" if method in APPROXIMATIONS else "NOT converged"
        return f"{verdict}: {'; '.join(map(str, problems))}."
    if method in APPROXIMATIONS:
        return (
            f"Approximation ({method}): Pareto k {_number(diagnostics, 'pareto_k'):.2f} (limit "
            f"{PARETO_LIMIT}), weighted draws worth "
            f"{_number(diagnostics, 'effective_draws'):.0f} of the posterior (limit 400)."
        )
    energy = diagnostics.get("bfmi")
    tail = f", E-BFMI {energy:.2f}" if isinstance(energy, float) else ""
    return (
        f"Converged: worst R-hat {diagnostics['rhat']:.4f} (limit 1.01), smallest effective "
        f"sample size {min(_number(diagnostics, 'ess_bulk'), _number(diagnostics, 'ess_tail')):.0f}"
        f" (limit 400), {diagnostics['divergences']} divergent transitions{tail}."
    )


def verdict_in_short(diagnostics: dict[str, object]) -> str:
    """Return the sentence on convergence with the worst figures in the place of parameters."""
    problems = diagnostics["problems"]
    if not isinstance(problems, (list, tuple)) or not problems:
        return verdict_words(diagnostics)
    if diagnostics.get("method") in APPROXIMATIONS:
        return verdict_words(diagnostics)
    figures = [
        (f"worst R-hat {{:.3g}} (limit {RHAT_LIMIT})", diagnostics.get("rhat")),
        (f"smallest bulk ESS {{:.0f}} (limit {ESS_LIMIT:g})", diagnostics.get("ess_bulk")),
        (f"smallest tail ESS {{:.0f}} (limit {ESS_LIMIT:g})", diagnostics.get("ess_tail")),
    ]
    told = [words.format(value) for words, value in figures if isinstance(value, float)]
    # What is not about single parameters names none: a problem that does has a colon.
    told += [str(problem) for problem in problems if ":" not in str(problem)]
    return f"NOT converged: {', '.join(told)}."


def remedy_words(diagnostics: dict[str, object]) -> str:
    """Return what may mend a fit whose draws are not to be trusted."""
    rough = diagnostics.get("method") in APPROXIMATIONS
    return ROUGH_REMEDY.capitalize() if rough else REMEDY


def _number(table: dict[str, object], key: str) -> float:
    return float(table[key])  # type: ignore[arg-type]


def plain_words(name: object) -> str:
    """Return a name for readers, ``family_history`` as ``family history``; nothing in it hidden."""
    return one_line(str(name)).replace("_", " ")


def _sentence(name: str) -> str:
    words = plain_words(name).strip()
    return words[:1].upper() + words[1:]
