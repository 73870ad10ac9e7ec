"""The joint model once more, slow and plain: loops, enumeration, numerical integration.

Nothing here calls the package's mathematics. A patient's probability of response is the integral of
the link over the joint density of the predictors, on a grid over those that are missing, divided by
the density of those that are known; no conditional law, no closed form. Pairs of binaries come from
solving for the odds ratio.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, ndtr
from scipy.stats import gamma, multivariate_normal, norm

from ketpredict.design import Design

LINKS = {"probit": ndtr, "logit": expit}
_GRID = np.linspace(-12.0, 12.0, 97)


def pair_table(first: float, second: float, log_odds_ratio: float) -> np.ndarray:
    """Return the 2 x 2 table with given margins and odds ratio, found by a root finder."""
    if first in (0.0, 1.0) or second in (0.0, 1.0):
        return np.outer([1.0 - first, first], [1.0 - second, second])

    def table(both: float) -> np.ndarray:
        return np.array([[1.0 - first - second + both, second - both], [first - both, both]])

    def excess(both: float) -> float:
        cells = np.log(table(both))
        return cells[1, 1] + cells[0, 0] - cells[1, 0] - cells[0, 1] - log_odds_ratio

    low, high = max(0.0, first + second - 1.0), min(first, second)
    margin = 1e-13 * (high - low)
    return table(brentq(excess, low + margin, high - margin, xtol=1e-16, rtol=1e-14))


def pattern_probability(
    pattern: tuple[float, ...], rate: np.ndarray, log_odds_ratio: np.ndarray
) -> float:
    """Return the probability of a pattern: each binary given the one before."""
    if not pattern:
        return 1.0
    bits = [int(bit) for bit in pattern]
    result = rate[0] if bits[0] else 1.0 - rate[0]
    for j in range(1, len(bits)):
        table = pair_table(rate[j - 1], rate[j], log_odds_ratio[j - 1])
        before = table[bits[j - 1]].sum()
        result *= table[bits[j - 1], bits[j]] / before if before > 0 else 0.0
    return float(result)


class BruteForce:
    """A design and one value of its parameters, as named arrays."""

    def __init__(self, design: Design, parameters: dict[str, np.ndarray]) -> None:
        self.design, self.parameters = design, parameters
        self.continuous = [int(k) for k in design.continuous_idx]
        self.binary = [int(k) for k in design.binary_idx]
        self.centre = np.array([design.predictors[k].centre for k in self.binary])
        self.assay = np.array([p.assay_dependent for p in design.predictors], dtype=bool)
        size, pairs = len(self.continuous), max(len(self.binary) - 1, 0)
        self.covariance = parameters.get("predictor_covariance", np.zeros((size, size)))
        self.shift = parameters.get("binary_shift", np.zeros((size, len(self.binary))))
        self.odds = parameters.get("binary_log_odds_ratio", np.zeros(pairs))

    # ------------------------------------------------------------------------------- one law

    def mean(self, law: int) -> np.ndarray:
        """Return every predictor's cell in a law; 0 where it has none."""
        cells = self.design.mean_cell[law]
        return np.array([self.parameters["trial_mean"][c] if c >= 0 else 0.0 for c in cells])

    def rate(self, law: int) -> np.ndarray:
        return ndtr(self.mean(law)[self.binary])

    def patterns(self, known: np.ndarray) -> Iterator[tuple[float, ...]]:
        """Yield the 0/1 patterns that agree with what is known; proportions leave both."""
        yield from itertools.product(*[(v,) if v in (0.0, 1.0) else (0.0, 1.0) for v in known])

    def middle(self, law: int, pattern: Any) -> np.ndarray:
        """Return the mean of the continuous predictors where the binaries are as given."""
        return self.mean(law)[self.continuous] + self.shift @ (np.asarray(pattern) - self.centre)

    def across(self, law: int) -> float:
        mean, total = self.mean(law), 0.0
        for k, predictor in enumerate(self.design.predictors):
            level = ndtr(mean[k]) - predictor.centre if predictor.kind == "binary" else mean[k]
            total += self.parameters["across_slope"][k] * level
        return total

    # ------------------------------------------------------------------------------- one unit

    def intercept(self, unit: int) -> float:
        design, units, value = self.design, self.design.units, self.parameters
        label = design.labels().iloc[unit]
        arm, trial = design.arms.index(label["arm"]), design.trials.index(label["trial"])
        active = design.arm_class[arm] == "active"
        total = value["intercept"] + value["arm_effect"][arm] + value["trial_effect"][trial]
        total += value["population_effect"][design.populations.index(label["population"])]
        total += (0.5 if active else -0.5) * value["treatment_deviation"][trial]
        total += units.study_terms[unit] @ value["study_term_effect"]
        if not design.repeated_arm[arm]:
            knots = np.log(design.spec.horizons.knots)
            curve = value["horizon_offset"][0 if active else 1]
            total += np.interp(np.log(label["hours"]), knots, curve)
        own = np.pi / np.sqrt(3.0) if design.spec.link == "logit" else 1.0
        sd = value["improvement_sd"][design.scales.index(label["scale"])]
        return float(total + own * (50.0 - label["threshold"]) / sd)

    def slope(self, unit: int) -> np.ndarray:
        units, value = self.design.units, self.parameters
        slope = value["prognostic_slope"] + units.active[unit] * value["predictive_slope"]
        slope = slope + value["population_slope"][units.population_idx[unit]]
        return slope + value["trial_slope"][units.trial_idx[unit]]

    def probability(self, unit: int) -> float:
        """Return the probability of response of a unit."""
        if not self.design.predictors:
            return float(LINKS[self.design.spec.link](self.intercept(unit)))
        is_arm = self.design.units.is_arm[unit] > 0
        return self._arm(unit) if is_arm else self._patient(unit)

    def _patient(self, unit: int) -> float:
        units, link = self.design.units, LINKS[self.design.spec.link]
        law, value, slope = int(units.law_idx[unit]), units.value[unit], self.slope(unit)
        x = value[self.continuous]
        missing = np.flatnonzero(np.isnan(x))
        subtracted = (self.assay * self.mean(law))[self.continuous]
        above, below = 0.0, 0.0
        for pattern in self.patterns(value[self.binary]):
            middle = self.middle(law, pattern)
            chance = pattern_probability(pattern, self.rate(law), self.odds)
            linear = self.intercept(unit) + self.across(law)
            linear += slope[self.binary] @ (np.asarray(pattern) - self.centre)
            if not self.continuous:
                above, below = above + chance * link(linear), below + chance
                continue
            axes = [middle[m] + _GRID * np.sqrt(self.covariance[m, m]) for m in missing]
            points = np.tile(x, (len(_GRID) ** len(missing), 1))
            if len(missing):
                mesh = np.meshgrid(*axes, indexing="ij")
                points[:, missing] = np.column_stack([axis.ravel() for axis in mesh])
            density = multivariate_normal.pdf(points, middle, self.covariance)
            density = chance * np.atleast_1d(density)
            linear = linear + (points - subtracted) @ slope[self.continuous]
            above, below = above + (density * link(linear)).sum(), below + density.sum()
        return float(above / below)

    def arm_rate(self, unit: int) -> np.ndarray:
        published = self.design.units.value[unit][self.binary]
        own = self.rate(int(self.design.units.law_idx[unit]))
        return np.where(np.isnan(published), own, published)

    def arm_variance(self, unit: int) -> np.ndarray:
        """Return the variance of the continuous predictors among the people of an arm."""
        rate = self.arm_rate(unit)
        patterns = list(self.patterns(rate))
        weight = [pattern_probability(pattern, rate, self.odds) for pattern in patterns]
        total = np.diag(self.covariance).copy()
        for k in range(len(self.continuous)):
            level = np.array([self.shift[k] @ np.asarray(pattern) for pattern in patterns])
            total[k] += np.average((level - np.average(level, weights=weight)) ** 2, weights=weight)
        return total

    def _arm(self, unit: int) -> float:
        """Return the share of responders among people drawn as the arm describes them."""
        units, link = self.design.units, LINKS[self.design.spec.link]
        law, slope = int(units.law_idx[unit]), self.slope(unit)
        published = units.value[unit][self.continuous]
        sd = units.sd[unit][self.continuous]
        rate, seen = self.arm_rate(unit), ~np.isnan(published)
        stretch = np.where(np.isnan(sd), 1.0, sd / np.sqrt(self.arm_variance(unit)))
        covariance = stretch[:, None] * self.covariance * stretch
        # The arm's own mean where published; else what the other means say of it, by the slope of a
        # regression.
        surprise = np.zeros(len(self.continuous))
        expected = self.middle(law, rate)
        surprise[seen] = (published - expected)[seen]
        if seen.any() and not seen.all():
            regression = np.linalg.lstsq(
                self.covariance[np.ix_(seen, seen)], self.covariance[np.ix_(seen, ~seen)]
            )[0]
            surprise[~seen] = surprise[seen] @ regression
        total = 0.0
        for pattern in self.patterns(rate):
            chance = pattern_probability(pattern, rate, self.odds)
            linear = self.intercept(unit) + self.across(law)
            linear += slope[self.binary] @ (np.asarray(pattern) - self.centre)
            if self.continuous:
                at_rate = self.shift @ (np.asarray(pattern) - rate)
                middle = np.where(seen, published + at_rate, self.middle(law, pattern) + surprise)
                middle = middle - (self.assay * self.mean(law))[self.continuous]
                people, weight = _people(middle, covariance)
                total += chance * weight @ link(linear + people @ slope[self.continuous])
            else:
                total += chance * link(linear)
        return float(total)

    # -------------------------------------------------------------------------- the predictors

    def people_log_density(self) -> float:
        people, total = self.design.people, 0.0
        for row in range(len(people)):
            law, value = int(people.law_idx[row]), people.value[row]
            seen = ~np.isnan(value[self.continuous])
            x, part = value[self.continuous][seen], 0.0
            for pattern in self.patterns(value[self.binary]):
                density = 1.0
                if seen.any():
                    covariance = self.covariance[np.ix_(seen, seen)]
                    density = multivariate_normal.pdf(
                        x, self.middle(law, pattern)[seen], covariance
                    )
                part += density * pattern_probability(pattern, self.rate(law), self.odds)
            total += people.weight[row] * np.log(part)
        return total

    def arms_log_density(self) -> float:
        units, total = self.design.units, 0.0
        for unit in np.flatnonzero(units.is_arm > 0):
            law, people, value = int(units.law_idx[unit]), units.weight[unit], units.value[unit]
            seen = ~np.isnan(value[self.continuous])
            if seen.any():
                middle = self.middle(law, self.arm_rate(unit))[seen]
                covariance = self.covariance[np.ix_(seen, seen)] / people
                x = value[self.continuous][seen]
                total += multivariate_normal.logpdf(x, middle, covariance)
            for proportion, rate in zip(value[self.binary], self.rate(law), strict=True):
                if not np.isnan(proportion):
                    total += people * proportion * np.log(rate)
                    total += people * (1.0 - proportion) * np.log1p(-rate)
            sds = units.sd[unit][self.continuous]
            for sd, variance in zip(sds, self.arm_variance(unit), strict=True):
                if not np.isnan(sd) and people > 1:
                    total += _log_density_of_sd(sd, variance, people)
        return float(total)


def _log_density_of_sd(sd: float, variance: float, people: float) -> float:
    """Return the scaled chi-squared log density of a variance, up to what no parameter moves."""
    half = 0.5 * (people - 1.0)
    at_one = gamma.logpdf(sd**2, half, scale=1.0 / half)
    return gamma.logpdf(sd**2, half, scale=variance / half) - at_one - half * sd**2


def _people(middle: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return values of people of a normal law, on a grid, and their weights."""
    step = np.linspace(-7.0, 7.0, 41)
    size = len(middle)
    axes = np.meshgrid(*[step] * size, indexing="ij")
    standard = np.column_stack([axis.ravel() for axis in axes])
    weight = norm.pdf(standard).prod(axis=1)
    # Any square root of the covariance will do; this one is not triangular.
    value, vector = np.linalg.eigh(covariance)
    root = vector * np.sqrt(np.maximum(value, 0.0))
    return middle + standard @ root.T, weight / weight.sum()
