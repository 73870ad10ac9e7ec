"""Which priors each answer of a fit leans on: power-scaling of blocks of priors, without a refit.

The answers are those that a report gives: probabilities by population and arm, slopes, and the
scales between groups. Beside the blocks of priors stand the published predictor effects, which are
a prior to whoever brings data of his own, and the outcomes, against which a prior's weight is read
(:mod:`ketpredict.power_scaling`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from ketpredict.importance import PARETO_LIMIT
from ketpredict.log_prior import log_prior_blocks
from ketpredict.pointwise import effects_log_likelihood, total_log_likelihood, unit_count
from ketpredict.posterior import Posterior
from ketpredict.power_scaling import LIMIT, power_scaled
from ketpredict.predict import response_draws
from ketpredict.spec import FULL_THRESHOLD
from ketpredict.summary import answered_rows
from ketpredict.tables import records
from ketpredict.wording import arm_words, percent, population_words, signed

ALL, EFFECTS, OUTCOMES = "all_priors", "published_effects", "outcomes"
NAMES = {
    ALL: "all priors together",
    "level": "level, study terms and time",
    "scales": "variation between groups",
    "arms": "arm classes",
    "threshold": "SD of improvement",
    "slopes": "size of slopes",
    "predictors": "law of the predictors",
    "effect_scales": "spread of published effects",
    EFFECTS: "published effects",
    OUTCOMES: "outcomes",
}
"""Components in words: the priors together and by block, then what is likelihood."""
UNTOLD = "‡"
"""Stands for a mean that the weights of the draws cannot tell."""
PROBABILITY, SLOPE, SCALE = "probability", "slope", "scale"
_KINDS = {PROBABILITY: "probabilities", SLOPE: "slopes", SCALE: "scales between groups"}
_SCALES = {
    "population_scale": "between populations",
    "trial_scale": "between trials",
    "treatment_scale": "of treatment between trials",
    "arm_scale": "within classes of arms",
}


@dataclasses.dataclass(frozen=True)
class PriorSensitivity:
    """Which priors each answer leans on.

    Parameters
    ----------
    table : DataFrame
        A row for each answer and component: ``section`` and ``answer`` (in words), ``kind``
        (probability, slope or scale), ``predictor`` (of a slope), ``component``,
        ``sensitivity``, ``noise`` (what chance alone reaches with so few draws), ``shift`` (SDs of
        the answer for a doubling of the component's power, as a rate) with its Monte Carlo
        ``error``, ``weaker``, ``now`` and ``stronger`` (its mean with the component to
        the power 1/2, 1 and 2), ``k_weaker`` and ``k_stronger`` (Pareto k of the weights behind
        the first and the last: above 0.7 they are not to be used), and ``leans``
        (sensitivity of 0.05 and above, and above the noise; never true of the outcomes, which an
        answer should follow).
    """

    table: pd.DataFrame

    @property
    def components(self) -> list[str]:
        """Components of the fit, in the order of :data:`NAMES`."""
        return [str(name) for name in self.table["component"].drop_duplicates()]

    def lines(self) -> list[str]:
        """Return in words, component by component, which answers lean on it and how far."""
        leaning = self.table[self.table["leans"]]
        answers = int(self.table.groupby(["section", "answer"], sort=False).ngroups)
        strength = leaning.groupby("component")["sensitivity"].max().sort_values(ascending=False)
        lines = [self._line(str(name), leaning, answers) for name in strength.index]
        first = self.table.drop_duplicates("component").set_index("component")
        blurred = [n for n in self.components if n != OUTCOMES and first.loc[n, "noise"] > LIMIT]
        quiet = [n for n in self.components if n not in (*strength.index, *blurred, OUTCOMES)]
        if quiet:
            lines.append(f"No answer leans on: {'; '.join(NAMES[n] for n in quiet)}.")
        if blurred:
            reached = "; ".join(f"{NAMES[n]} {first.loc[n, 'noise']:.2f}" for n in blurred)
            lines.append(
                f"With these draws chance alone reaches a sensitivity of: {reached}. Nothing below "
                "it is taken for more."
            )
        if any(UNTOLD in line for line in lines):
            lines.append(f"{UNTOLD}: too far for weights of these draws (Pareto k above 0.7).")
        return lines

    def headline(self) -> str:
        """Return in one sentence how many answers of each kind lean on a prior, and on which."""
        leans = self.table.groupby(["kind", "section", "answer"], sort=False)["leans"].any()
        if not leans.any():
            return "No answer leans on a prior by more than the limit of power-scaling."
        counts = [
            f"{int(own.sum())} of {len(own)} {_KINDS[str(kind)]}"
            for kind, own in leans.groupby("kind", sort=False)
        ]
        leaning = self.table[self.table["leans"]]
        names = leaning["component"].value_counts().index
        return (
            f"{', '.join(counts)} lean on a prior or on published effects, most often on "
            f"{'; '.join(NAMES[str(n)] for n in names[:3])}."
        )

    def as_table(self) -> dict[str, Any]:
        """Return plain lists, texts and numbers, for JSON."""
        return {"limit": LIMIT, "lines": self.lines(), "answers": records(self.table)}

    def _line(self, component: str, leaning: pd.DataFrame, answers: int) -> str:
        rows = leaning[leaning["component"] == component]
        row = rows.loc[rows["sensitivity"].idxmax()].to_dict()
        name, plural = NAMES[component], component in (ALL, EFFECTS)
        start = name[:1].upper() + name[1:] if plural else f"Prior of {name}"
        values = (
            f"{value_words(row, 'weaker')} with {'them' if plural else 'it'} half as strong",
            f"{value_words(row, 'now')} as {'they are' if plural else 'it is'}",
            f"{value_words(row, 'stronger')} twice as strong",
        )
        lean = "answers leans" if len(rows) == 1 else "answers lean"
        return (
            f"{start}: {len(rows)} of {answers} {lean} on {'them' if plural else 'it'}, most of "
            f"all {named(row)}: {', '.join(values)} ({signed(row['shift'])} ± {row['error']:.2f} "
            f"SD for a doubling){self._beside_outcomes(row)}."
        )

    def _beside_outcomes(self, row: dict[Any, Any]) -> str:
        """Return whether the outcomes move the answer too."""
        table = self.table
        same = (table["section"] == row["section"]) & (table["answer"] == row["answer"])
        of_outcomes = table[same & (table["component"] == OUTCOMES)]
        if of_outcomes.empty:
            return ""
        found = of_outcomes.iloc[0]
        if found["sensitivity"] < LIMIT:
            return "; the outcomes hardly move it"
        return "; the outcomes move it too" if found["sensitivity"] >= found["noise"] else ""


def prior_sensitivity(posterior: Posterior) -> PriorSensitivity:
    """Return which priors each answer of a fit leans on; nothing is drawn or fitted again.

    The priors together, each block of them (:data:`ketpredict.log_prior.BLOCKS`), the published
    effects and the outcomes are scaled by themselves, all else as it is. The limit of 0.05 is that
    of Kallioinen and others (2024): of a normal distribution it is a mean that moves by about 0.3
    SDs, or an SD that changes by a factor of about 1.4, for a doubling. It says how much, not
    whether that is wrong: a prior that was chosen with reason may well move an answer. What a scale
    governs is not scaled apart from it, and a flat prior cannot be. Of a fit that was saved without
    its patients the outcomes cannot be scaled.
    """
    answers, draws = _answers(posterior)
    effective = _effective_draws(posterior)
    parts = []
    for component, log_density in _components(posterior).items():
        found = power_scaled(draws, log_density, effective)
        parts.append(
            answers.assign(
                component=component,
                sensitivity=found.sensitivity,
                shift=found.shift,
                error=found.error,
                noise=found.noise,
                weaker=found.weaker,
                now=draws.mean(axis=0),
                stronger=found.stronger,
                k_weaker=found.k_weaker,
                k_stronger=found.k_stronger,
                leans=(found.sensitivity >= max(LIMIT, found.noise)) & (component != OUTCOMES),
            )
        )
    return PriorSensitivity(pd.concat(parts, ignore_index=True))


def named(row: dict[Any, Any]) -> str:
    """Return an answer with its section, as within a sentence."""
    if row["kind"] == PROBABILITY:
        return f"{row['section']}, {row['answer'][:1].lower()}{row['answer'][1:]}"
    return (
        f"the slope of “{row['answer']}”" if row["kind"] == SLOPE else f"the scale {row['answer']}"
    )


def value_words(row: dict[Any, Any], column: str) -> str:
    """Return a mean of an answer in its own unit; a dagger where its weights cannot tell it."""
    if float(row.get(f"k_{column}", -np.inf)) > PARETO_LIMIT:
        return UNTOLD
    value = float(row[column])
    return percent(value) if row["kind"] == PROBABILITY else signed(value)


def _components(posterior: Posterior) -> dict[str, np.ndarray]:
    """Return the log density of each component in every draw."""
    blocks = log_prior_blocks(
        posterior.parameters, posterior.spec, posterior.predictors, posterior.coords
    )
    found = {ALL: np.sum(list(blocks.values()), axis=0), **blocks} if blocks else {}
    effects = effects_log_likelihood(posterior)
    if effects.shape[1]:
        found[EFFECTS] = effects.sum(axis=1)
    if unit_count(posterior):
        found[OUTCOMES] = total_log_likelihood(posterior)
    return found


def _answers(posterior: Posterior) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the answers in words and their draws, (draw, answer)."""
    table, rows = answered_rows(posterior)
    of_rows = [
        (_section(row), arm_words(row["arm"]), PROBABILITY, "") for row in table.to_dict("records")
    ]
    parts = [response_draws(posterior, rows)]
    if posterior.predictors:
        of_rows += [("Slopes", one.label, SLOPE, one.name) for one in posterior.predictors]
        parts.append(posterior.parameters["slope"])
    for name, words in _SCALES.items():
        values = posterior.parameters.get(name)
        if values is not None and np.ptp(values) > 0:
            of_rows.append(("Scales", words, SCALE, ""))
            parts.append(values[:, None])
    frame = pd.DataFrame(of_rows, columns=["section", "answer", "kind", "predictor"])
    return frame, np.concatenate(parts, axis=1)


def _section(row: dict[Any, Any]) -> str:
    """Return population and, where it is not that of the model, outcome."""
    population = population_words(row["population"])
    standard = not row["course"] and row["threshold"] == FULL_THRESHOLD and not row["scale"]
    return population if standard else f"{population} ({row['outcome']})"


def _effective_draws(posterior: Posterior) -> float:
    """Return how many independent draws those of the fit are worth, by its diagnostics."""
    found = posterior.facts["diagnostics"]
    worth = found.get("ess_bulk") or found.get("effective_draws") or posterior.n_draws
    return min(float(worth), float(posterior.n_draws))
