r"""Evidence drawn anew from the model: the same rows with the same holes, and new values.

The likelihood as it is written (``docs/model.md``), turned into a generator, for calibration by
simulation: every trial, arm, horizon, threshold, missing cell, printed summary and published effect
of a given data set stays where it is, and what was measured is drawn from given parameters.

Everybody is drawn one at a time by :mod:`ketpredict.simulated_patients`: patients, and the people
of published arms around what their arm publishes of them. No averaged probability, no formula for
missing cells and no conditional covariance of the package is used. Published effects are drawn
around :func:`ketpredict.effect_density.implied_effects`, which ``tests/test_conversions.py`` holds
to statistics of simulated patients.

In two things the likelihood simplifies (``docs/validation.md``), and so does the generator: an
arm's responders are drawn given its published means as if these were those of its population, and
the proportions of several binaries of one arm are drawn independently of each other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from ketpredict.categories import exclusive_places
from ketpredict.cells import arm_summary
from ketpredict.design import Design
from ketpredict.errors import DataError
from ketpredict.evidence import Evidence
from ketpredict.horizon import horizon_basis
from ketpredict.link import variance as link_variance
from ketpredict.predictors import Predictor
from ketpredict.prior import draw_prior
from ketpredict.redrawn_effects import effect_problems, redraw_effects
from ketpredict.simulated_patients import (
    draw_noise,
    draw_values,
    linear_predictor,
    rate_given_neighbour,
    trial_location,
)
from ketpredict.spec import FULL_THRESHOLD, STUDY_TERMS

_UNNAMED_SCALE = "unnamed scale"
Parameters = Mapping[str, np.ndarray]


def draw_parameters(design: Design, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return one draw of every parameter of a design from the prior, without a draw axis.

    Returns
    -------
    dict of str to ndarray
        Named and shaped like the posterior's variables.
    """
    return {name: values[0] for name, values in draw_prior(design, 1, rng).items()}


def redraw_evidence(
    evidence: Evidence, design: Design, parameters: Parameters, rng: np.random.Generator
) -> Evidence:
    """Return the evidence with all that was measured drawn anew.

    Parameters
    ----------
    evidence : Evidence
        As it entered `design` (:func:`ketpredict.fitting.prepare`): one horizon for each arm.
    design : Design
        Of `evidence`; its labels are those of `parameters`.
    parameters : mapping of str to ndarray
        One value of each, such as :func:`draw_parameters` returns.

    Raises
    ------
    DataError
        The evidence holds what no generator can draw: weights, arms of crossover trials (whose
        people are shared), published effects that count with a power, or statistics other than
        correlations, standardised coefficients, ratios, counts and verdicts in words.
    """
    _refuse(evidence, design)
    return dataclasses.replace(
        evidence,
        participants=redraw_patients(evidence.participants, design, parameters, rng),
        arms=redraw_arms(evidence.arms, design, parameters, rng),
        associations=redraw_effects(evidence, design, parameters, rng),
    )


def redraw_patients(
    table: pd.DataFrame, design: Design, parameters: Parameters, rng: np.random.Generator
) -> pd.DataFrame:
    """Return patients with new predictors and responses; what is missing stays missing.

    Periods of one patient share the predictors, where these are known in them.
    """
    if table.empty:
        return table
    assay = table["assay"] if "assay" in table else pd.Series(np.nan, table.index)
    named = table["trial"].astype(str) + " (" + assay.astype(str) + ")"
    law = _index(named.where(assay.notna(), table["trial"]), design.laws)
    person = table.groupby(["trial", "participant"], sort=False).ngroup().to_numpy()
    first = np.unique(person, return_index=True)[1]
    trial_mean = law_means(design, parameters)[law]
    values = np.zeros((len(table), len(design.predictors)))
    if design.predictors:
        values, _ = draw_values(trial_mean[first], parameters, design.predictors, rng)
        values = values[person]
    linear = _linear_predictor(table, design, values, trial_mean, parameters)
    responded = linear + draw_noise(design.spec.link, len(table), rng) > 0
    result = table.assign(response=np.where(table["response"].isna(), np.nan, responded))
    for k, predictor in enumerate(design.predictors):
        if predictor.name in table:
            own = _own_units(predictor, values[:, k])
            result[predictor.name] = np.where(table[predictor.name].isna(), np.nan, own)
    return result


def redraw_arms(
    table: pd.DataFrame, design: Design, parameters: Parameters, rng: np.random.Generator
) -> pd.DataFrame:
    """Return published arms with new summaries of their predictors and new responders."""
    if table.empty:
        return table
    result = table.copy()
    for row in table.index:
        arm = table.loc[[row]]
        published = _ArmSummary(arm, design, parameters, rng)
        for name, value in published.printed(arm).items():
            result.loc[row, name] = value
        result.loc[row, "responders"] = float(published.responders(arm, rng))
    return result


def law_means(design: Design, parameters: Parameters) -> np.ndarray:
    """Return the mean (or probit of the rate) of every predictor in every law, (law, predictor).

    An assay-dependent biomarker that nobody of a law tells has no mean there: it enters as the
    distance from it, so that any place will do; the average one stands in.
    """
    if not design.predictors:
        return np.zeros((len(design.laws), 0))
    where = design.mean_cell
    average = np.broadcast_to(trial_location(parameters, design.predictors), where.shape)
    return np.where(where >= 0, parameters["trial_mean"][where], average)


def _linear_predictor(
    rows: pd.DataFrame,
    design: Design,
    values: np.ndarray,
    trial_mean: np.ndarray,
    parameters: Parameters,
) -> np.ndarray:
    """Return the linear predictor of each labelled row, term by term.

    Parameters
    ----------
    values, trial_mean : ndarray of shape (row, predictor)
        See :func:`ketpredict.simulated_patients.linear_predictor`.
    """
    population = _index(rows["population"], design.populations)
    trial, arm = _index(rows["trial"], design.trials), _index(rows["arm"], design.arms)
    scale = _index(rows["scale"].where(rows["scale"] != "", _UNNAMED_SCALE), design.scales)
    active = np.array([c == "active" for c in design.arm_class], dtype=bool)[arm]
    single = ~np.array(design.repeated_arm, dtype=bool)[arm]
    basis = horizon_basis(rows["hours"].to_numpy(float), design.spec.horizons.knots)
    curve = parameters["horizon_offset"][np.where(active, 0, 1)]
    easier = FULL_THRESHOLD - rows["threshold"].to_numpy(float)
    unit = np.sqrt(link_variance(design.spec.link))
    level = parameters["intercept"] + parameters["population_effect"][population]
    level = level + parameters["trial_effect"][trial] + parameters["arm_effect"][arm]
    level = level + np.where(active, 0.5, -0.5) * parameters["treatment_deviation"][trial]
    level = level + rows[list(STUDY_TERMS)].to_numpy(float) @ parameters["study_term_effect"]
    level = level + single * (basis * curve).sum(axis=1)
    level = level + unit * easier / parameters["improvement_sd"][scale]
    slope = parameters["prognostic_slope"] + active[:, None] * parameters["predictive_slope"]
    slope = slope + parameters["population_slope"][population] + parameters["trial_slope"][trial]
    across = parameters.get("across_slope", np.zeros(len(design.predictors)))
    return linear_predictor(values, trial_mean, level, slope, across, design.predictors)


class _ArmSummary:
    """What one arm prints of its people, and the people around it."""

    def __init__(
        self, arm: pd.DataFrame, design: Design, parameters: Parameters, rng: np.random.Generator
    ) -> None:
        self._design, self._parameters = design, parameters
        (self._people,) = _randomised(arm)
        (law,) = _index(arm["trial"], design.laws)
        self._trial_mean = law_means(design, parameters)[law]
        binary, continuous = design.binary_idx, design.continuous_idx
        summaries = [arm_summary(arm, predictor) for predictor in design.predictors]
        self._given = np.array([not np.isnan(mean[0]) for mean, _ in summaries], dtype=bool)
        self._with_sd = np.array([not np.isnan(sd[0]) for _, sd in summaries], dtype=bool)
        self._centre = np.array([design.predictors[k].centre for k in binary])
        self._proportion = ndtr(self._trial_mean[binary])
        for place, k in enumerate(binary):
            if self._given[k]:
                of = round(self._people)
                self._proportion[place] = rng.binomial(of, self._proportion[place]) / of
        self._stretch = np.ones(len(continuous))
        self._mean = self._expected()
        if not len(continuous):
            return
        told = self._given[continuous]
        covariance = np.asarray(parameters["predictor_covariance"])
        root = np.linalg.cholesky(covariance)
        noise = root @ rng.normal(size=len(continuous)) / np.sqrt(self._people)
        self._mean[told] += noise[told]
        # What is not printed follows what is, as far as the two go together.
        lacking = np.linalg.solve(covariance[np.ix_(told, told)], noise[told])
        self._mean[~told] += covariance[np.ix_(~told, told)] @ lacking
        self._total = np.sqrt(np.diag(covariance) + self._between())
        for place, k in enumerate(continuous):
            if self._with_sd[k]:
                freedom = self._people - 1.0
                self._stretch[place] = np.sqrt(rng.chisquare(freedom) / freedom)

    def printed(self, arm: pd.DataFrame) -> dict[str, float]:
        """Return the summaries that the arm prints, in the predictors' own units, by column."""
        columns: dict[str, float] = {}
        binary, continuous = list(self._design.binary_idx), list(self._design.continuous_idx)
        for k, predictor in enumerate(self._design.predictors):
            if predictor.kind == "binary" and self._given[k]:
                columns[f"{predictor.name}_pct"] = 100.0 * self._proportion[binary.index(k)]
            elif predictor.kind == "continuous" and self._given[k]:
                place = continuous.index(k)
                sd = self._total[place] * self._stretch[place] if self._with_sd[k] else None
                mean, spread = _own_summary(predictor, self._mean[place], sd)
                columns[f"{predictor.name}_mean"] = mean
                if spread is not None:
                    columns[f"{predictor.name}_sd"] = spread
        return columns

    def responders(self, arm: pd.DataFrame, rng: np.random.Generator) -> int:
        """Return how many of the arm's people respond, each drawn around what is printed."""
        design, count = self._design, int(arm["n"].iloc[0])
        values = np.zeros((count, len(design.predictors)))
        binary, continuous = design.binary_idx, design.continuous_idx
        if len(binary):
            values[:, binary] = self._binaries(count, rng)
        if len(continuous):
            root = np.linalg.cholesky(self._parameters["predictor_covariance"])
            around = rng.normal(size=(count, len(continuous))) @ root.T
            values[:, continuous] = self._mean + self._stretch * around
            if len(binary):
                values[:, continuous] += self._own_shift(values[:, binary])
        rows = arm.loc[arm.index.repeat(count)]
        trial_mean = np.broadcast_to(self._trial_mean, values.shape)
        linear = _linear_predictor(rows, design, values, trial_mean, self._parameters)
        return int((linear + draw_noise(design.spec.link, count, rng) > 0).sum())

    def _expected(self) -> np.ndarray:
        """Return the mean that people with the arm's proportions have by the trial's law."""
        mean = self._trial_mean[self._design.continuous_idx].copy()
        if len(mean) and len(self._centre):
            mean += np.asarray(self._parameters["binary_shift"]) @ (self._proportion - self._centre)
        return np.asarray(mean)

    def _own_shift(self, binaries: np.ndarray) -> np.ndarray:
        """Return how far people with these binaries lie from the arm's mean.

        Where a standard deviation is printed the arm's spread within patterns is stretched, not
        the distance between patterns.
        """
        shift = np.asarray(self._parameters["binary_shift"])
        return np.asarray((binaries - self._proportion) @ shift.T)

    def _binaries(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return the binaries of people of whom the arm's proportions have them."""
        probit = np.zeros((count, len(self._design.predictors)))
        probit[:, self._design.binary_idx] = ndtri(self._proportion)
        drawn, _ = draw_values(probit, self._parameters, self._design.predictors, rng)
        return np.asarray(drawn[:, self._design.binary_idx])

    def _between(self) -> np.ndarray:
        """Return the variance of each continuous predictor between the arm's patterns, exactly."""
        if not len(self._centre):
            return np.zeros(len(self._design.continuous_idx))
        binaries, weight = _all_patterns(self._proportion, self._parameters)
        return np.asarray(weight @ self._own_shift(binaries) ** 2)


def _all_patterns(rate: np.ndarray, parameters: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """Return every pattern of binaries, and the probability of each in the chain."""
    patterns = np.array(list(product((0.0, 1.0), repeat=len(rate))))
    weight = np.where(patterns[:, 0] == 1.0, rate[0], 1.0 - rate[0])
    for j in range(1, len(rate)):
        where_zero, where_one = rate_given_neighbour(
            rate[j - 1 : j], rate[j : j + 1], float(parameters["binary_log_odds_ratio"][j - 1])
        )
        probability = np.where(patterns[:, j - 1] == 1.0, where_one, where_zero)
        weight = weight * np.where(patterns[:, j] == 1.0, probability, 1.0 - probability)
    return patterns, weight


def _index(labels: pd.Series, levels: Sequence[str]) -> np.ndarray:
    place = {label: i for i, label in enumerate(levels)}
    return np.array([place[label] for label in labels], dtype=int)


def _randomised(arms: pd.DataFrame) -> np.ndarray:
    people = arms["n"].to_numpy(float)
    if "n_randomised" not in arms:
        return people
    randomised = arms["n_randomised"].to_numpy(float)
    return np.where(np.isnan(randomised), people, randomised)


def _own_units(predictor: Predictor, values: np.ndarray) -> np.ndarray:
    return values if predictor.kind == "binary" else predictor.from_scale(values)


def _own_summary(predictor: Predictor, mean: float, sd: float | None) -> tuple[float, float | None]:
    """Return mean and SD in the predictor's own units; of a logarithm, those of the log-normal.

    Without a printed SD the reference's stands in where an arm is read, and so it does here.
    """
    own = float(predictor.from_scale(np.array(mean)))
    if predictor.transform != "log":
        return own, None if sd is None else sd * predictor.scale
    log_variance = ((1.0 if sd is None else sd) * predictor.scale) ** 2
    own *= float(np.exp(log_variance / 2.0))
    return own, None if sd is None else own * float(np.sqrt(np.expm1(log_variance)))


def _refuse(evidence: Evidence, design: Design) -> None:
    problems = []
    if "sample_weight" in evidence.participants:
        problems.append("patients have weights (column sample_weight)")
    crossover = evidence.arms.get("design", pd.Series(dtype=object)) == "crossover"
    if crossover.any():
        trials = ", ".join(sorted(set(evidence.arms.loc[crossover, "trial"])))
        problems.append(f"published arms of crossover trials share people ({trials})")
    if exclusive_places(design.predictors):
        problems.append("a predictor has more than two labels")
    problems += effect_problems(evidence, design)
    if problems:
        raise DataError(f"This evidence cannot be drawn anew: {'; '.join(problems)}.")
