r"""Average marginal effects and odds ratios of the predictors, by population.

The *standard patients* of a population are those of the fitted law of the predictors, in trials of
that population that the fit has not seen: blinded, not enriched, no antidepressant added. A
predictor of all of them is changed (a label of a column: from the column's reference label to this
one), everything else of each stays as it is,

.. math:: \Delta_k = E\,G(\eta(x_k + 1)) - E\,G(\eta(x_k)), \qquad
          \Delta_k = E\,G(\eta(x_k = 1)) - E\,G(\eta(x_k = 0)) \text{ if binary},

with the average over patients, their trials' effects and slopes, means and rates, exact in every
draw (:class:`ketpredict.averages.Moved`). The *marginal* odds ratio is the ratio of the odds of
these two averages; it exists for any link. With the logit link :math:`e^{\beta_k}` is the
*conditional* odds ratio, of one patient with all other predictors known in an average trial; it is
farther from 1 than the marginal one (Gail, Wieand and Piantadosi 1984, Biometrika 71:431).

These are associations. That patients who differ in a predictor differ in response does not say that
changing the predictor would change the response.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ketpredict.averages import Moved, average_probability
from ketpredict.equations import unit_slope
from ketpredict.errors import DataError
from ketpredict.posterior import Posterior
from ketpredict.predict import check_interval
from ketpredict.predictors import Predictor
from ketpredict.prior_overlap import density_overlap
from ketpredict.rows import Rows, encode_rows
from ketpredict.short_form import ShortForm
from ketpredict.stored_design import design_of, people_who_tell
from ketpredict.summary import effects_behind, prior_of
from ketpredict.wording import step_words


@dataclasses.dataclass(frozen=True, repr=False)
class EffectDraws(ShortForm):
    """Average probabilities of the standard patients of each population, in every draw.

    Parameters
    ----------
    before, after : ndarray of shape (draw, population, predictor)
        Continuous: as the patients are, and with one reference step more. Binary: nobody and
        everybody has it.
    slope : ndarray of shape (draw, population, predictor)
        In an average trial, latent scale.
    """

    before: np.ndarray
    after: np.ndarray
    slope: np.ndarray

    @property
    def difference(self) -> np.ndarray:
        """Average marginal effect, probability scale."""
        return self.after - self.before

    @property
    def odds_ratio(self) -> np.ndarray:
        """Marginal odds ratio."""
        return _odds(self.after) / _odds(self.before)


def _odds(probability: np.ndarray) -> np.ndarray:
    return np.asarray(probability / (1.0 - probability))


def effect_draws(
    posterior: Posterior, populations: Sequence[str], arm: str | None = None
) -> EffectDraws:
    """Return draws of the average probabilities that the effects of the predictors are made of.

    Parameters
    ----------
    posterior : Posterior
    populations : sequence of str
        One that the fit does not know stands for an unseen population.
    arm : str
        At the fit's reference horizon, 24 h, and 50 % improvement.
    """
    arm = arm or posterior.coords["arm"][0]
    columns = {"population": list(populations), "arm": [arm] * len(populations)}
    rows = encode_rows(posterior, columns, len(populations))
    shape = (posterior.n_draws, len(rows), len(posterior.predictors))
    before, after = np.empty(shape), np.empty(shape)
    as_is = _average(posterior, rows, None)
    for k, predictor in enumerate(posterior.predictors):
        binary = predictor.kind == "binary"
        before[..., k] = _average(posterior, rows, Moved(k, 0.0)) if binary else as_is
        after[..., k] = _average(posterior, rows, Moved(k, 1.0))
    return EffectDraws(before, after, np.asarray(unit_slope(posterior.parameters, rows)))


def _average(posterior: Posterior, rows: Rows, moved: Moved | None) -> np.ndarray:
    result = np.empty((posterior.n_draws, len(rows)))

    def take(index: np.ndarray, probability: np.ndarray) -> None:
        result[:, index] = probability.T

    average_probability(posterior.draws, rows, take, moved=moved)
    return result


def effects_table(posterior: Posterior, prob: float = 0.9, arm: str | None = None) -> pd.DataFrame:
    """Return average marginal effects and odds ratios of all predictors in all populations.

    Associations, not causes; for research, not for treatment decisions.

    Parameters
    ----------
    posterior : Posterior
    prob : float
        Probability content of the equal-tailed intervals, which say how well the average over
        trials is known.
    arm : str
        Where the effects are; the fit's reference arm by default (ketamine 0.5 mg/kg i.v.).

    Returns
    -------
    DataFrame
        One row for each population and predictor: ``population``, ``predictor``, ``label``,
        ``step`` (what is compared, in words), ``arm``; ``probability_before``,
        ``probability_after`` (posterior means of the averages); ``difference``, ``lower``,
        ``upper`` (of probabilities, posterior mean and interval), ``positive`` (posterior
        probability that the difference is above 0); ``odds_ratio``, ``odds_ratio_lower``,
        ``odds_ratio_upper`` (marginal, posterior median); ``conditional_odds_ratio``,
        ``conditional_lower``, ``conditional_upper`` (posterior median; NaN with the probit link,
        which has none); ``prior_overlap`` (overlap with its prior);
        ``trials`` (of this population that report the predictor) and ``outcomes`` (of their people
        in it, each period of a crossover patient once), ``effects`` (published ones that enter, of
        any population), ``extrapolated`` and ``reason`` (of the population at 24 h).
    """
    check_interval(prob)
    arm = arm or posterior.coords["arm"][0]
    populations = list(posterior.coords["population"])
    draws = effect_draws(posterior, populations, arm)
    before = effect_draws(prior_of(posterior), populations, arm).difference
    share = density_overlap(draws.difference, before)
    tails = [(1.0 - prob) / 2.0, (1.0 + prob) / 2.0]
    logit = posterior.spec.link == "logit"
    ratios = draws.odds_ratio
    conditional = np.exp(draws.slope) if logit else np.full(ratios.shape, np.nan)
    table: dict[str, Any] = {
        "population": np.repeat(np.array(populations, dtype=object), len(posterior.predictors)),
        "predictor": [p.name for p in posterior.predictors] * len(populations),
        "label": [p.label for p in posterior.predictors] * len(populations),
        "step": [step_words(p) for p in posterior.predictors] * len(populations),
        "arm": arm,
        "probability_before": draws.before.mean(axis=0).ravel(),
        "probability_after": draws.after.mean(axis=0).ravel(),
        "difference": draws.difference.mean(axis=0).ravel(),
        **_limits(draws.difference, tails, ("lower", "upper")),
        "positive": (draws.difference > 0).mean(axis=0).ravel(),
        **_limits(ratios, [0.5, *tails], ("odds_ratio", "odds_ratio_lower", "odds_ratio_upper")),
        **_limits(
            conditional,
            [0.5, *tails],
            ("conditional_odds_ratio", "conditional_lower", "conditional_upper"),
        ),
        "prior_overlap": share.ravel(),
    }
    effects = pd.concat([pd.DataFrame(table), _rests_on(posterior)], axis=1)
    untold = (effects["trials"] == 0) & (effects["effects"] == 0)
    effects.loc[untold, "prior_overlap"] = np.nan
    return effects


def partial_effect_table(
    posterior: Posterior,
    predictor: str,
    arm: str | None = None,
    probs: tuple[float, float] = (0.5, 0.9),
    points: int = 61,
) -> pd.DataFrame:
    """Return the probability of response against the value of one predictor, by population.

    It is what a prediction says of a patient in an unseen trial of whom this one value is known;
    what it tells about the other predictors is part of it. An association, not a cause. A label of
    a column (1) stands against the column's reference label (0).

    Parameters
    ----------
    posterior : Posterior
    predictor : str
    arm : str
    probs : tuple of float
        Probability contents of the inner and the outer interval.
    points : int
        Values of a continuous predictor, from two reference SDs below its reference (or the lowest
        value in the evidence) to two above (or the highest).

    Returns
    -------
    DataFrame
        ``population``, ``arm``, ``value`` (own unit), ``probability`` (posterior mean, averaged
        over trials), ``inner_lower``, ``inner_upper``, ``outer_lower``, ``outer_upper`` (of that
        average), ``in_evidence`` (whether the value lies in the range of the evidence) and
        ``extrapolated`` (whether the population's 24 h prediction goes beyond its evidence).

    Raises
    ------
    DataError
        The fit has no such predictor.
    """
    one = _predictor(posterior, predictor)
    limits = posterior.facts["ranges"][predictor]
    low, high = limits["low"], limits["high"]
    values = np.array([0.0, 1.0])
    if one.kind == "continuous":
        ends = one.from_scale([-2.0, 2.0])
        first = max(float(ends[0]) if low is None else min(float(ends[0]), low), one.low)
        last = min(float(ends[1]) if high is None else max(float(ends[1]), high), one.high)
        start, stop = one.to_scale([first, last])
        values = one.from_scale(np.linspace(start, stop, points))
    populations = list(posterior.coords["population"])
    columns = {
        "population": np.repeat(np.array(populations, dtype=object), len(values)),
        predictor: np.tile(values, len(populations)),
    }
    arm = arm or posterior.coords["arm"][0]
    table = pd.DataFrame({"population": columns["population"], "arm": arm})
    table["value"] = columns[predictor]
    for other in posterior.predictors:
        if one.category and other.category == one.category and other is not one:
            columns[other.name] = np.zeros(len(table))
    rows = encode_rows(posterior, {**columns, "arm": [arm] * len(table)}, len(table))
    draws = _average(posterior, rows, None)
    table["probability"] = draws.mean(axis=0)
    for name, prob in zip(("inner", "outer"), probs, strict=True):
        tails = [(1.0 - prob) / 2.0, (1.0 + prob) / 2.0]
        table[f"{name}_lower"], table[f"{name}_upper"] = np.quantile(draws, tails, axis=0)
    reported = limits["trials"] > 0
    inside = (table["value"] >= low) & (table["value"] <= high) if low is not None else reported
    table["in_evidence"] = inside
    beyond = {entry["population"]: entry["extrapolated"] for entry in posterior.facts["basis"]}
    table["extrapolated"] = table["population"].map(beyond).astype(bool)
    return table


def evidence_values(posterior: Posterior, predictor: str) -> pd.DataFrame:
    """Return what the evidence holds of one predictor: patients' values and arms' means.

    Of a fit that was saved without its patients, the arms' alone.

    Returns
    -------
    DataFrame
        ``population``, ``kind`` (patients or arm), ``value`` (own unit; a share of 0 to 1 for arms
        with a binary one) and ``n``.

    Raises
    ------
    DataError
        The fit has no such predictor.
    """
    one = _predictor(posterior, predictor)
    design = design_of(posterior, patients=False)
    value = design.units.value[:, design.predictor_names.index(predictor)]
    table = design.labels()[["population", "kind", "n"]]
    table.insert(2, "value", one.from_scale(value) if one.kind == "continuous" else value)
    return table[~np.isnan(value)].reset_index(drop=True)


def _predictor(posterior: Posterior, name: str) -> Predictor:
    known = {predictor.name: predictor for predictor in posterior.predictors}
    if name not in known:
        has = f"it has {', '.join(known)}" if known else "it was fitted without predictors"
        raise DataError(f"'{name}' is no predictor of this fit; {has}.")
    return known[name]


def _limits(draws: np.ndarray, shares: list[float], names: Sequence[str]) -> dict[str, np.ndarray]:
    found = np.quantile(draws, shares, axis=0)
    return {name: values.ravel() for name, values in zip(names, found, strict=True)}


def _rests_on(posterior: Posterior) -> pd.DataFrame:
    """Return what each effect rests on, populations outside, predictors inside."""
    design = design_of(posterior, patients=False)
    units, told = design.units, people_who_tell(posterior)
    basis = {entry["population"]: entry for entry in posterior.facts["basis"]}
    entries = []
    for index, population in enumerate(design.populations):
        for k, predictor in enumerate(design.predictors):
            here = (units.population_idx == index) & (told[:, k] > 0)
            entries.append(
                {
                    "trials": len(np.unique(units.trial_idx[here])),
                    "outcomes": round(float(told[here, k].sum())),
                    "effects": effects_behind(posterior, predictor.name),
                    "extrapolated": bool(basis[population]["extrapolated"]),
                    "reason": basis[population]["reason"],
                }
            )
    return pd.DataFrame(entries)
