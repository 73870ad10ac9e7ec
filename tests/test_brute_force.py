"""Random patients and arms, whatever is missing, against integrals over the whole generating model.

What the package averages by conditional laws, closed forms and characteristic functions is here one
integral over everything that is not known: means and rates of the trial, missing predictors, with
binary predictors enumerated and known values entering by their density. Up to three unknowns on a
grid, more by scrambled Sobol sequences, whose standard error comes from independent scrambles. The
effects and slopes of an unseen trial multiply known numbers once the rest is fixed, so that the
linear predictor is normal there: the last integral is that of the link over one normal.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import Any

import numpy as np
import pytest
from scipy.special import log_ndtr, ndtr, ndtri
from scipy.stats import binom, qmc

import handmade
from ketpredict.design import Design, People, Units
from ketpredict.posterior import Posterior
from ketpredict.predict import response_draws
from ketpredict.published_effects import no_effects
from ketpredict.unit_outcome import unit_probability
from ketpredict.unseen_arms import unseen_arm_log_likelihood

PATIENTS, KNOWN_ARMS, UNSEEN_ARMS = 120, 40, 40
SCRAMBLES, MOST_DIMENSIONS = 16, 10
FEWEST, MOST = 2**12, 2**17
GRID_NODES = (1, 161, 161, 41)


@dataclasses.dataclass(frozen=True)
class Result:
    """A brute-force value, and its standard error: 0 on a grid."""

    value: float
    error: float


@functools.cache
def grid(dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """Return standard normal nodes (1, node, dimension) and their weights."""
    axis = np.linspace(-8.0, 8.0, GRID_NODES[dimensions])
    density = np.exp(-0.5 * axis**2)
    nodes = np.array(list(itertools.product(axis, repeat=dimensions)))
    weights = np.array(list(itertools.product(density / density.sum(), repeat=dimensions)))
    shape = 1, len(axis) ** dimensions, dimensions
    return nodes.reshape(shape), weights.reshape(shape).prod(axis=-1)


@functools.lru_cache(maxsize=2 * SCRAMBLES)
def sobol(scramble: int, points: int) -> np.ndarray:
    """Return (1, point, dimension) standard normal numbers."""
    uniform = qmc.Sobol(MOST_DIMENSIONS, rng=scramble).random(points)
    return ndtri(np.clip(uniform, 1e-15, 1.0 - 1e-15))[None]


def average(integrand: Any, dimensions: int, wanted: float) -> Result:
    """Return the weighted average of an integrand over standard normal numbers.

    Parameters
    ----------
    integrand : callable
        Takes (..., dimension) numbers and returns value and weight.
    wanted : float
        Standard error at which the sequences are long enough.
    """
    if dimensions < len(GRID_NODES):
        nodes, share = grid(dimensions)
        value, weight = integrand(nodes)
        return Result(float((share * weight * value).sum() / (share * weight).sum()), 0.0)
    points = FEWEST
    while True:
        sequences = (sobol(scramble, points) for scramble in range(SCRAMBLES))
        parts = [integrand(sequence[..., :dimensions]) for sequence in sequences]
        value, weight = (np.concatenate(both) for both in zip(*parts, strict=True))
        total = (weight * value).sum() / weight.sum()
        by_scramble = (weight * (value - total)).mean(axis=1) / weight.mean()
        error = float(by_scramble.std(ddof=1) / np.sqrt(SCRAMBLES))
        if error < wanted or points == MOST:
            return Result(float(total), error)
        # The error falls no faster than the number of points rises.
        points = min(MOST, points * 2 ** max(1, int(np.ceil(np.log2(error / wanted)))))


def link_average(link: str, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return the link averaged over a normal linear predictor; the logit's by equal steps."""
    if link == "probit":
        return ndtr(mean / np.sqrt(1.0 + variance))
    nodes = np.linspace(-7.5, 7.5, 26)
    weights = np.exp(-0.5 * nodes**2)
    sd, total = np.sqrt(variance), np.zeros(np.broadcast(mean, variance).shape)
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        total += weight / (1.0 + np.exp(-(mean + sd * node)))
    return total


class Model:
    """One draw of a fit, as arrays of its continuous and binary predictors."""

    def __init__(self, fit: Posterior, row: dict[str, Any]) -> None:
        self.fit, self.row, self.value = fit, row, handmade.one_draw(fit, 0)
        kinds = np.array([p.kind == "binary" for p in fit.predictors], dtype=bool)
        self.binary, self.continuous = np.flatnonzero(kinds), np.flatnonzero(~kinds)
        self.own = np.array([p.assay_dependent for p in fit.predictors], dtype=bool)[~kinds]
        self.centre = np.array([fit.predictors[k].centre for k in self.binary])
        self.covariance = self.value["predictor_covariance"]
        self.sd = np.sqrt(np.diag(self.covariance))
        self.spread = self.value["predictor_between_scale"]
        parts = fit.spec.slope_parts()
        self.variance, self.slope_variance = 0.0, np.zeros(len(kinds))
        if row["trial"] is None:
            treatment = self.value["treatment_scale"] / 2.0
            self.variance += self.value["trial_scale"] ** 2 + treatment**2
            self.slope_variance += self.value["slope_scale"][parts.index("trial")] ** 2
        if row["population"] is None:
            self.variance += self.value["population_scale"] ** 2
            self.slope_variance += self.value["slope_scale"][parts.index("population")] ** 2
        cells = fit.coords["trial_cell"]
        named = [f"{row['trial']}: {p.name}" in cells for p in fit.predictors]
        given = [row.get(f"{p.name}_assay_mean") is not None for p in fit.predictors]
        self.unknown_mean = np.flatnonzero(
            ~np.array(named, dtype=bool) & ~np.array(given, dtype=bool)
        )

    def means(self, normal: np.ndarray, near: dict[int, tuple[float, float]]) -> Any:
        """Return trial means and rates, (..., predictor), and the weight of having drawn them.

        Parameters
        ----------
        normal : ndarray of shape (..., unknown mean)
        near : dict of int to (mean, sd)
            Where single means lie in these units, roughly: they are drawn there, and weighted.
        """
        full = np.zeros((*normal.shape[:-1], len(self.spread)))
        full[..., self.unknown_mean] = normal
        weight = np.ones(normal.shape[:-1])
        for k, (middle, sd) in near.items():
            if k in self.unknown_mean:
                moved = middle + sd * full[..., k]
                weight *= np.exp(0.5 * full[..., k] ** 2 - 0.5 * moved**2)
                full[..., k] = moved
        flat = full.reshape(weight.size, len(self.spread))
        return handmade.trial_means(self.fit, 0, self.row, flat).reshape(full.shape), weight

    def near_value(self, k: int, value: float, variance: float) -> tuple[float, float]:
        """Return roughly where a mean lies given a value normal around it, a little too widely."""
        distance = (value - self.value["predictor_location"][k]) / self.spread[k]
        shrunk = self.spread[k] ** 2 / (self.spread[k] ** 2 + variance)
        return shrunk * distance, 1.15 * np.sqrt(1.0 - shrunk)

    def near_share(self, k: int, share: float, people: float) -> tuple[float, float]:
        """Return roughly where a rate lies given a proportion of people, a little too widely."""
        e = np.linspace(-8.0, 8.0, 801)
        location = self.value["predictor_location"][k]
        t = location + handmade.probit_rate(self.fit.predictors[k]) + self.spread[k] * e
        log_density = people * (share * log_ndtr(t) + (1.0 - share) * log_ndtr(-t)) - 0.5 * e**2
        density = np.exp(log_density - log_density.max())
        middle = (density * e).sum() / density.sum()
        variance = (density * (e - middle) ** 2).sum() / density.sum()
        return float(middle), float(np.sqrt(1.3 * variance))

    def across(self, mean: np.ndarray) -> np.ndarray:
        flat = mean.reshape(int(np.prod(mean.shape[:-1])), mean.shape[-1])
        return handmade.across_trials(self.fit, 0, flat).reshape(mean.shape[:-1])


def patient(fit: Posterior, row: dict[str, Any]) -> tuple[Result, float]:
    """Return the probability of response of a patient, and the standard error asked for."""
    model = Model(fit, row)
    predictors = fit.predictors
    known = {
        i: (row[predictors[k].name] - predictors[k].centre) / predictors[k].scale
        for i, k in enumerate(model.continuous)
        if row[predictors[k].name] is not None
    }
    missing = [i for i in range(len(model.continuous)) if i not in known]
    order = [*known, *missing]
    factor = np.linalg.cholesky(model.covariance[np.ix_(order, order)])
    near = {
        int(k): model.near_value(k, known[i], model.sd[i] ** 2)
        for i, k in enumerate(model.continuous)
        if i in known
    }
    level = handmade.known_intercept(fit, 0, row)
    slope = handmade.known_slope(fit, 0, row)

    def integrand(normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        of_means, of_values = np.split(normal, [len(model.unknown_mean)], axis=-1)
        mean, drawn = model.means(of_means, near)
        level_here = level + model.across(mean)
        rate = mean[..., model.binary]
        both = handmade.shares(rate, model.value["binary_log_odds_ratio"])
        response, total = np.zeros_like(drawn), np.zeros_like(drawn)
        for pattern in handmade.patterns(fit, row):
            weight = drawn * handmade.pattern_probability(pattern, rate, both)
            entering = np.empty_like(mean)
            entering[..., model.binary] = centred = np.array(pattern) - model.centre
            middle = mean[..., model.continuous] + model.value["binary_shift"] @ centred
            # The predictors are made one after the other of independent normals: those behind
            # known values follow from these, the others are integrated.
            x, made = middle.copy(), []
            for j, i in enumerate(order):
                so_far = sum((factor[j, a] * z for a, z in enumerate(made)), 0.0)
                if i in known:
                    made.append((known[i] - middle[..., i] - so_far) / factor[j, j])
                    weight = weight * np.exp(-0.5 * made[-1] ** 2)
                else:
                    made.append(of_values[..., j - len(known)])
                x[..., i] = middle[..., i] + so_far + factor[j, j] * made[-1]
            entering[..., model.continuous] = x - model.own * mean[..., model.continuous]
            linear = level_here + (slope * entering).sum(axis=-1)
            variance = model.variance + (model.slope_variance * entering**2).sum(axis=-1)
            response += weight * link_average(fit.spec.link, linear, variance)
            total += weight
        return response / total, total

    wanted = 1e-5 if model.slope_variance.any() and missing else 2e-5
    return average(integrand, len(model.unknown_mean) + len(missing), wanted), wanted


def random_fit(rng: np.random.Generator, most: int) -> Posterior:
    """Return one draw of a model with random predictors, large binary slopes included."""
    continuous, binary = rng.integers(0, most + 1), rng.integers(0, most + 1)
    predictors = [
        handmade.predictor(
            f"x{i}",
            centre=1.0,
            scale=2.0,
            between_trial_sd=float(rng.uniform(0.3, 1.2)),
            assay_dependent=bool(rng.uniform() < 0.3),
        )
        for i in range(continuous)
    ] + [
        handmade.predictor(
            f"b{i}",
            "binary",
            centre=float(rng.uniform(0.15, 0.85)),
            between_trial_sd=float(rng.uniform(0.2, 0.8)),
        )
        for i in range(binary)
    ]
    # Predictors in any order: positions of kinds are part of the test.
    order = rng.permutation(len(predictors))
    predictors = [predictors[i] for i in order]
    slope = [
        1.5 * rng.choice([-1.0, 1.0]) if p.kind == "binary" else rng.normal(0.0, 0.6)
        for p in predictors
    ]
    link = "logit" if rng.uniform() < 0.5 else "probit"
    return handmade.posterior(1, tuple(predictors), rng, link=link, prognostic_slope=slope)


def random_row(fit: Posterior, rng: np.random.Generator) -> dict[str, Any]:
    trial, population = [
        ("reporting", "first population"),
        ("silent", "second population"),
        ("silent", None),
        (None, "second population"),
        (None, None),
    ][rng.integers(5)]
    row: dict[str, Any] = {
        "trial": trial,
        "population": population,
        "arm": handmade.ARMS[rng.integers(2)],
        "hours": float(rng.uniform(4.0, 100.0)),
        "threshold": float(rng.choice([35.0, 50.0])),
        "scale": handmade.SCALES[0],
    }
    for one in fit.predictors:
        if one.kind == "binary":
            value = float(rng.integers(2))
        else:
            value = float(rng.normal(one.centre, 1.5 * one.scale))
        row[one.name] = None if rng.uniform() < 0.5 else value
        if one.assay_dependent and row[one.name] is not None and rng.uniform() < 0.3:
            row[f"{one.name}_assay_mean"] = float(rng.normal(one.centre, one.scale))
    return row


def one_patient(seed: int) -> tuple[Posterior, dict[str, Any]]:
    rng = np.random.default_rng([seed, 1])
    fit = random_fit(rng, 3)
    return fit, random_row(fit, rng)


def predicted(fit: Posterior, row: dict[str, Any]) -> float:
    table = {name: [value] for name, value in row.items()}
    return float(response_draws(fit, handmade.rows(fit, table))[0, 0])


def test_patients_equal_the_integral_over_everything_that_is_not_known():
    on_grid, by_sobol, links = [], [], set()
    for seed in range(PATIENTS):
        fit, row = one_patient(seed)
        brute, wanted = patient(fit, row)
        distance = predicted(fit, row) - brute.value
        links.add(fit.spec.link)
        if brute.error:
            assert brute.error < wanted, seed
            by_sobol.append(distance / brute.error)
        else:
            on_grid.append(distance)
    assert links == {"probit", "logit"}
    assert min(len(on_grid), len(by_sobol)) > 25
    assert np.abs(on_grid).max() < 1e-6
    assert np.abs(by_sobol).max() < 4.0
    # Nor is there a drift that no single one shows.
    assert abs(np.mean(by_sobol)) < 4.0 / np.sqrt(len(by_sobol))


@pytest.mark.parametrize(
    "name", ["predictor_covariance", "binary_shift", "binary_log_odds_ratio", "across_slope"]
)
def test_leaving_a_part_of_the_law_out_would_be_seen(name):
    """Without one parameter's information far more than the tolerance is off, on grids alone."""
    distances = []
    for seed in range(PATIENTS // 2):
        fit, row = one_patient(seed)
        draws = dict(fit.groups["posterior"])
        if name == "predictor_covariance":
            draws[name] = draws[name] * np.eye(draws[name].shape[-1])
        else:
            draws[name] = np.zeros_like(draws[name])
        without = dataclasses.replace(fit, groups={**fit.groups, "posterior": draws})
        distances.append(abs(predicted(fit, row) - predicted(without, row)))
    assert (np.array(distances) > 1e-3).sum() >= 8


def arm_design(fit: Posterior, row: dict[str, Any]) -> Design:
    """Return a design of one published arm.

    Parameters
    ----------
    row : dict
        As for patients, with means and proportions for values, ``NAME_sd``, ``n``, ``responders``.
    """
    predictors = fit.predictors
    encoded = handmade.rows(fit, {"arm": [row["arm"]], "hours": [row["hours"]]})
    value = np.array([[_told(p, row.get(p.name)) for p in predictors]]).reshape(1, -1)
    sd = [[_told(p, row.get(f"{p.name}_sd"), spread=True) for p in predictors]]
    trial = np.array([fit.coords["trial"].index(row["trial"] or "silent")])
    population = np.array([fit.coords["population"].index(row["population"])])
    units = Units(
        responders=np.array([row["responders"]]),
        n=np.array([row["n"]]),
        population_idx=population,
        trial_idx=trial,
        law_idx=trial,
        arm_idx=encoded.arm_idx,
        curve_idx=encoded.curve_idx,
        scale_idx=encoded.scale_idx,
        active=encoded.active,
        horizon_basis=encoded.horizon_basis,
        study_terms=encoded.study_terms,
        threshold_shift=encoded.threshold_shift,
        value=value,
        sd=np.array(sd).reshape(1, -1),
        weight=np.array([row["n"]]),
        hours=np.array([row["hours"]]),
        threshold=np.array([50.0]),
        is_arm=np.ones(1),
    )
    nobody, count = np.zeros(0, dtype=int), len(predictors)
    return Design(
        spec=fit.spec,
        populations=tuple(fit.coords["population"]),
        trials=tuple(fit.coords["trial"]),
        laws=tuple(fit.coords["law"]),
        arms=handmade.ARMS,
        arm_class=tuple(fit.facts["arm_class"]),
        repeated_arm=(False, False),
        scales=handmade.SCALES,
        predictors=predictors,
        units=units,
        people=People(nobody, nobody, np.zeros((0, count)), np.zeros(0)),
        law_trial=np.arange(2),
        mean_cell=fit.groups["constant_data"]["mean_cell"],
        cells=np.zeros((len(fit.coords["trial_cell"]), 2), dtype=int),
        n_reported=0,
        pattern_unit=nobody,
        pattern_value=np.zeros((0, 0)),
        people_pattern_row=nobody,
        people_pattern_value=np.zeros((0, 0)),
        trial_values=fit.trial_values,
        effects=no_effects(count, len(fit.coords["population"])),
        effect_labels=(),
        effect_groups=(),
        effect_fates=(),
    )


def _told(predictor: Any, value: float | None, *, spread: bool = False) -> float:
    if value is None:
        return np.nan
    if predictor.kind == "binary":
        return value
    return value / predictor.scale if spread else (value - predictor.centre) / predictor.scale


def random_arm(fit: Posterior, rng: np.random.Generator, *, unseen: bool) -> dict[str, Any]:
    n = int(rng.integers(6, 40))
    row: dict[str, Any] = {
        "trial": None if unseen else handmade.TRIALS[rng.integers(2)],
        "population": "second population",
        "arm": handmade.ARMS[rng.integers(2)],
        "hours": float(rng.uniform(4.0, 100.0)),
        "n": float(n),
        "responders": float(rng.integers(n // 4, n // 2 + 1)),
    }
    for one in fit.predictors:
        published = rng.uniform() < 0.5
        if one.kind == "binary":
            rate = ndtr(ndtri(one.centre) + one.between_trial_sd * rng.standard_normal())
            row[one.name] = float(rng.binomial(n, rate) / n) if published else None
        # An assay-dependent mean that is published makes its trial one that knows the assay.
        elif published and not (one.assay_dependent and row["trial"] == "silent"):
            row[one.name] = float(rng.normal(one.centre, 0.7 * one.scale))
            if rng.uniform() < 0.6:
                row[f"{one.name}_sd"] = float(one.scale * rng.uniform(0.7, 1.4))
    return row


def arm_probability(
    model: Model, row: dict[str, Any], mean: np.ndarray, slope: np.ndarray, level: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of response in an arm, and the variances of its predictors.

    Parameters
    ----------
    mean : ndarray of shape (..., predictor)
        Trial means and rates.
    slope : ndarray of shape (..., predictor)
    level : ndarray of shape (...)
    """
    fit, value = model.fit, model.value
    rate = mean[..., model.binary].copy()
    for j, k in enumerate(model.binary):
        if row.get(fit.predictors[k].name) is not None:
            rate[..., j] = row[fit.predictors[k].name]
    both = handmade.shares(rate, value["binary_log_odds_ratio"])
    shift = value["binary_shift"]
    told = [_told(fit.predictors[k], row.get(fit.predictors[k].name)) for k in model.continuous]
    published = [i for i, one in enumerate(told) if not np.isnan(one)]
    hidden = [i for i, one in enumerate(told) if np.isnan(one)]
    own_mean = mean[..., model.continuous]
    of_rate = (rate - model.centre) @ shift.T
    residual = np.array(told)[published] - (own_mean + of_rate)[..., published]
    covariance = model.covariance
    within = covariance[np.ix_(published, published)]
    follow = np.linalg.solve(within, residual.reshape(-1, len(published)).T) if published else 0.0
    # A share of exactly 0 or 1 leaves one value only, and no association.
    patterns = [
        pattern
        for pattern in itertools.product((0.0, 1.0), repeat=len(model.binary))
        if all(
            rate[..., j].flat[0] not in (0.0, 1.0) or rate[..., j].flat[0] == bit
            for j, bit in enumerate(pattern)
        )
    ]
    chances = [handmade.pattern_probability(pattern, rate, both) for pattern in patterns]
    between = sum(
        chance[..., None] * ((np.array(pattern) - rate) @ shift.T) ** 2
        for chance, pattern in zip(chances, patterns, strict=True)
    )
    total = np.diag(covariance) + between
    sd = np.array(
        [
            row.get(f"{fit.predictors[k].name}_sd", np.nan) / fit.predictors[k].scale
            for k in model.continuous
        ]
    )
    stretched = slope[..., model.continuous] * np.where(np.isnan(sd), 1.0, sd / np.sqrt(total))
    variance = ((stretched @ covariance) * stretched).sum(axis=-1)
    probability = np.zeros(np.shape(level))
    for chance, pattern in zip(chances, patterns, strict=True):
        x = np.empty_like(mean)
        x[..., model.binary] = np.array(pattern) - model.centre
        entering = np.empty_like(own_mean)
        for i in published:
            moved = (np.array(pattern) - rate) @ shift[i]
            entering[..., i] = told[i] - model.own[i] * own_mean[..., i] + moved
        for i in hidden:
            entering[..., i] = own_mean[..., i] * (not model.own[i])
            entering[..., i] += (np.array(pattern) - model.centre) @ shift[i]
            if published:
                gain = covariance[i, published] @ follow
                entering[..., i] += gain.reshape(entering.shape[:-1])
        x[..., model.continuous] = entering
        linear = level + (slope * x).sum(axis=-1)
        probability += chance * link_average(fit.spec.link, linear, variance)
    return probability, total


def known_arm(fit: Posterior, row: dict[str, Any]) -> float:
    """Return the probability of response in an arm of a trial that the fit knows."""
    model = Model(fit, row)
    mean = handmade.trial_means(fit, 0, row, np.zeros((1, len(fit.predictors))))
    level = handmade.known_intercept(fit, 0, row) + handmade.across_trials(fit, 0, mean)
    slope = handmade.known_slope(fit, 0, row)[None]
    return float(arm_probability(model, row, mean, slope, level)[0][0])


def unseen_arm(fit: Posterior, row: dict[str, Any]) -> Result:
    """Return the likelihood of an arm of an unseen trial: everything of the trial is drawn."""
    model, predictors = Model(fit, row), fit.predictors
    count, people = len(predictors), row["n"]
    told = np.array([_told(p, row.get(p.name)) for p in predictors])
    published = [i for i, k in enumerate(model.continuous) if not np.isnan(told[k])]
    near = {
        int(model.continuous[i]): model.near_value(
            model.continuous[i], told[model.continuous[i]], model.covariance[i, i] / people
        )
        for i in published
    }
    for k in model.binary:
        if not np.isnan(told[k]):
            near[int(k)] = model.near_share(k, told[k], people)
    level = handmade.known_intercept(fit, 0, row)
    slope = handmade.known_slope(fit, 0, row)

    def integrand(normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        of_means, of_slopes, of_level = np.split(normal, [count, 2 * count], axis=-1)
        mean, weight = model.means(of_means, near)
        own_rate = mean[..., model.binary]
        rate = own_rate.copy()
        for j, k in enumerate(model.binary):
            share, here = told[k], own_rate[..., j]
            if not np.isnan(share):
                rate[..., j] = share
                log_density = share * np.log(here) + (1.0 - share) * np.log1p(-here)
                weight = weight * np.exp(people * log_density)
        slopes = slope + np.sqrt(model.slope_variance) * of_slopes
        levels = level + model.across(mean) + np.sqrt(model.variance) * of_level[..., 0]
        probability, total = arm_probability(model, row, mean, slopes, levels)
        if published:
            middle = (rate - model.centre) @ model.value["binary_shift"].T
            middle = middle + mean[..., model.continuous]
            distance = told[model.continuous[published]] - middle[..., published]
            within = model.covariance[np.ix_(published, published)] / people
            weight = weight * handmade.normal_density(distance, within)
        for i, k in enumerate(model.continuous):
            sd = row.get(f"{predictors[k].name}_sd")
            if sd is not None:
                ratio = (sd / predictors[k].scale) ** 2 / total[..., i]
                weight = weight * np.exp(
                    -0.5 * (people - 1.0) * (np.log(total[..., i] / model.covariance[i, i]) + ratio)
                )
        return binom.pmf(row["responders"], people, probability), weight

    return average(integrand, 2 * count + 1, 2e-5)


def one_arm(seed: int, *, unseen: bool) -> tuple[Posterior, dict[str, Any], Design]:
    rng = np.random.default_rng([seed, 2])
    fit = random_fit(rng, 2)
    row = random_arm(fit, rng, unseen=unseen)
    return fit, row, arm_design(fit, row)


def test_arms_of_known_trials_equal_their_definition():
    for seed in range(KNOWN_ARMS):
        fit, row, design = one_arm(seed, unseen=False)
        ours = unit_probability(fit.parameters, design)[0, 0]
        assert ours == pytest.approx(known_arm(fit, row), abs=1e-7), seed


def test_arms_of_unseen_trials_equal_the_integral_over_the_trial():
    in_errors = []
    for seed in range(UNSEEN_ARMS):
        fit, row, design = one_arm(seed, unseen=True)
        log_likelihood, error = unseen_arm_log_likelihood(fit.draws, design, 0, points=2**12)
        ours = float(np.exp(log_likelihood[0]))
        brute = unseen_arm(fit, row)
        both = np.hypot(ours * error[0], brute.error)
        assert both < 4e-5, seed
        # Models without predictors leave one axis, and quadrature on both sides.
        in_errors.append((ours - brute.value) / max(both, 1e-7))
    assert np.abs(in_errors).max() < 4.0
    assert abs(np.mean(in_errors)) < 4.0 / np.sqrt(len(in_errors))
