"""Posteriors, rows and brute-force simulations made by hand, for the tests of the mathematics.

Nothing here calls the package's mathematics: what is simulated is written again from the model's
definition, on the joint density of predictors and response.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, ndtr, ndtri

from ketpredict.posterior import Posterior
from ketpredict.predictors import Predictor
from ketpredict.rows import Rows, encode_rows
from ketpredict.spec import load_spec

ARMS = ("ketamine", "saline")
TRIALS = ("reporting", "silent")
SCALES = ("Y-BOCS",)


def load_script(name: str) -> Any:
    """Return a file of ``scripts/`` as a module."""
    path = Path(__file__).resolve().parents[1] / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def predictor(name: str, kind: str = "continuous", **entries: Any) -> Predictor:
    """Return a predictor in its own units: centre 0, scale 1, unless said otherwise."""
    binary = kind == "binary"
    defaults = {
        "label": name,
        "unit": "",
        "transform": "identity",
        "scale": 1.0,
        "centre": 0.4 if binary else 0.0,
        "low": 0.0 if binary else -np.inf,
        "high": 1.0 if binary else np.inf,
        "between_trial_sd": 0.5,
    }
    return Predictor(name=name, kind=kind, **{**defaults, **entries})


def posterior(
    draws: int,
    predictors: tuple[Predictor, ...],
    rng: np.random.Generator,
    *,
    link: str = "probit",
    **fixed: Any,
) -> Posterior:
    """Return a posterior of random draws, large effects included, with chosen values fixed.

    Two populations, two trials (the second has no assay-dependent predictor), ketamine and saline,
    one chain.

    Parameters
    ----------
    fixed : mapping of str to array_like
        Values of variables, the same in every draw.
    """
    spec = load_spec("published").with_predictors(tuple(p.name for p in predictors))
    spec = dataclasses.replace(spec, link=link)
    count, knots = len(predictors), len(spec.horizons.knots)
    parts = spec.slope_parts()
    scale = rng.uniform(0.1, 0.4, (draws, len(parts), count))
    offset = rng.normal(0.0, 0.3, (draws, 2, knots))
    offset[..., spec.horizons.knots.index(spec.horizons.reference)] = 0.0
    values = {
        "intercept": rng.normal(0.0, 0.4, draws),
        "population_scale": rng.uniform(0.1, 0.6, draws),
        "trial_scale": rng.uniform(0.2, 0.8, draws),
        "treatment_scale": rng.uniform(0.2, 0.8, draws),
        "population_effect": rng.normal(0.0, 0.4, (draws, 2)),
        "trial_effect": rng.normal(0.0, 0.4, (draws, 2)),
        "treatment_deviation": rng.normal(0.0, 0.4, (draws, 2)),
        "arm_effect": np.stack([np.zeros(draws), rng.normal(-1.0, 0.3, draws)], axis=1),
        "study_term_effect": rng.normal(0.0, 0.5, (draws, 3)),
        "horizon_offset": offset,
        "improvement_sd": rng.lognormal(np.log(31.0), 0.15, (draws, 1)),
        "slope_scale": scale,
        "prognostic_slope": rng.normal(0.0, 0.6, (draws, count)),
        "predictive_slope": rng.normal(0.0, 0.3, (draws, count)),
        "population_slope": rng.normal(0.0, 0.3, (draws, 2, count)),
        "trial_slope": rng.normal(0.0, 0.3, (draws, 2, count)),
    }
    cells = _cells(predictors)
    values |= _predictor_model(draws, predictors, cells, rng)
    for name, value in fixed.items():
        values[name] = np.broadcast_to(np.asarray(value, float), values[name].shape).copy()
    values["slope"] = values["prognostic_slope"] + values["predictive_slope"]
    reported = [0.3 if p.kind == "binary" else 0.4 for p in predictors]
    mean_cell = np.full((2, count), -1)
    for i, (law, k) in enumerate(cells):
        mean_cell[law, k] = i
    return Posterior(
        groups={
            "posterior": {name: value[None] for name, value in values.items()},
            "constant_data": {"mean_cell": mean_cell, "law_trial": np.arange(2)},
        },
        dims={},
        coords={
            "population": ["first population", "second population"],
            "trial": list(TRIALS),
            "law": list(TRIALS),
            "arm": list(ARMS),
            "scale": list(SCALES),
            "knot": list(spec.horizons.knots),
            "predictor": [p.name for p in predictors],
            "slope_part": list(parts),
            "trial_cell": [f"{TRIALS[law]}: {predictors[k].name}" for law, k in cells],
        },
        spec=spec,
        predictors=tuple(predictors),
        trial_values=np.array([reported, [np.nan] * count]).reshape(2, count),
        facts={
            "arm_class": ["active", "inert_control"],
            "repeated_arm": [False, False],
            "basis": [],
            "ranges": {},
            "diagnostics": {"problems": []},
            "estimator": {},
        },
    )


def _cells(predictors: tuple[Predictor, ...]) -> list[tuple[int, int]]:
    """Return trial and predictor of every mean: the silent trial knows no assay."""
    return [
        (trial, k)
        for trial in range(len(TRIALS))
        for k, one in enumerate(predictors)
        if trial == 0 or not one.assay_dependent
    ]


def _predictor_model(
    draws: int,
    predictors: tuple[Predictor, ...],
    cells: list[tuple[int, int]],
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Return random draws of the joint law of the predictors, associations included."""
    count = len(predictors)
    binary = [k for k in range(count) if predictors[k].kind == "binary"]
    size = count - len(binary)
    spread = np.array([p.between_trial_sd for p in predictors])
    comparable = np.array([not p.assay_dependent for p in predictors], dtype=float)
    location = rng.normal(0.0, 0.3, (draws, count))
    between = spread * rng.lognormal(0.0, 0.2, (draws, count))
    factor = np.tril(rng.normal(0.0, 0.4, (draws, size, size)), -1)
    factor = factor + rng.uniform(0.7, 1.2, (draws, size))[..., None] * np.eye(size)
    cell_mean = [
        location[:, k] + probit_rate(predictors[k]) + between[:, k] * rng.standard_normal(draws)
        for _, k in cells
    ]
    return {
        "across_slope": comparable * rng.normal(0.0, 0.4, (draws, count)),
        "predictor_location": location,
        "predictor_between_scale": between,
        "trial_mean": np.reshape(cell_mean, (len(cells), draws)).T,
        "predictor_covariance": factor @ factor.transpose(0, 2, 1),
        "binary_shift": rng.normal(0.0, 0.4, (draws, size, len(binary))),
        "binary_log_odds_ratio": rng.normal(0.0, 0.8, (draws, max(len(binary) - 1, 0))),
    }


def probit_rate(predictor: Predictor) -> float:
    """Return where probits of trial rates lie if their mean rate is the reference; 0 if none."""
    if predictor.kind == "continuous":
        return 0.0
    return float(ndtri(predictor.centre) * np.sqrt(1.0 + predictor.between_trial_sd**2))


def repeated(fit: Posterior, times: int) -> Posterior:
    """Return the same posterior with each draw standing there several times."""
    draws = {
        name: np.repeat(value, times, axis=1) for name, value in fit.groups["posterior"].items()
    }
    groups = {**fit.groups, "posterior": draws}
    return dataclasses.replace(fit, groups=groups)


def rows(fit: Posterior, table: dict[str, list[Any]]) -> Rows:
    """Return encoded rows from columns."""
    columns = {name: np.array(values, dtype=object) for name, values in table.items()}
    return encode_rows(fit, columns, len(next(iter(table.values()))))


LINKS = {"probit": ndtr, "logit": expit}


@dataclasses.dataclass(frozen=True)
class Trials:
    """Trials drawn from the model for one draw of its parameters, and what their people share.

    Parameters
    ----------
    intercept : ndarray of shape (trial,)
        With what the trials' means and rates add across trials.
    slope : ndarray of shape (trial, predictor)
    mean : ndarray of shape (trial, predictor)
        Trial means of continuous predictors, trial rates of binary ones.
    """

    intercept: np.ndarray
    slope: np.ndarray
    mean: np.ndarray


def one_draw(fit: Posterior, draw: int) -> dict[str, np.ndarray]:
    """Return one draw of every parameter."""
    return {name: array[0, draw] for name, array in fit.groups["posterior"].items()}


def simulate_trials(
    fit: Posterior, draw: int, row: dict[str, Any], size: int, rng: np.random.Generator
) -> Trials:
    """Return trials in which the patient of a row may be, drawn from the model's definition.

    What is known of the patient plays no part yet: see the weights of what follows.

    Parameters
    ----------
    row : dict
        ``trial`` and ``population`` (None if not yet seen), ``arm``, ``hours``, and values.
    """
    value, count = one_draw(fit, draw), len(fit.predictors)
    active = 1.0 if row["arm"] == ARMS[0] else 0.0
    intercept = np.full(size, known_intercept(fit, draw, row))
    slope = np.tile(known_slope(fit, draw, row), (size, 1))
    parts = fit.spec.slope_parts()
    if row["population"] is None:
        intercept += value["population_scale"] * rng.standard_normal(size)
        spread = value["slope_scale"][parts.index("population")]
        slope += spread * rng.standard_normal((size, count))
    if row["trial"] is None:
        intercept += value["trial_scale"] * rng.standard_normal(size)
        intercept += (active - 0.5) * value["treatment_scale"] * rng.standard_normal(size)
        slope += value["slope_scale"][parts.index("trial")] * rng.standard_normal((size, count))
    mean = trial_means(fit, draw, row, rng.standard_normal((size, count)))
    return Trials(intercept + across_trials(fit, draw, mean), slope, mean)


def known_intercept(fit: Posterior, draw: int, row: dict[str, Any]) -> float:
    """Return what does not vary over unseen trials and populations."""
    value = one_draw(fit, draw)
    arm = ARMS.index(row["arm"])
    total = float(value["intercept"] + value["arm_effect"][arm])
    knots = np.array(fit.spec.horizons.knots)
    weights = [
        np.interp(np.log(row.get("hours", 24.0)), np.log(knots), one) for one in np.eye(len(knots))
    ]
    total += np.dot(weights, value["horizon_offset"][arm])
    if row["population"] is not None:
        total += value["population_effect"][fit.coords["population"].index(row["population"])]
    if row["trial"] is not None:
        t = fit.coords["trial"].index(row["trial"])
        sign = 0.5 if arm == 0 else -0.5
        total += value["trial_effect"][t] + sign * value["treatment_deviation"][t]
    if row.get("threshold", 50.0) != 50.0:
        own = np.pi / np.sqrt(3.0) if fit.spec.link == "logit" else 1.0
        total += own * (50.0 - row["threshold"]) / value["improvement_sd"][0]
    return float(total)


def known_slope(fit: Posterior, draw: int, row: dict[str, Any]) -> np.ndarray:
    """Return the slopes where what is unseen of trial and population is at its average."""
    value = one_draw(fit, draw)
    slope = value["prognostic_slope"] + (row["arm"] == ARMS[0]) * value["predictive_slope"]
    if row["population"] is not None:
        slope = slope + value["population_slope"][fit.coords["population"].index(row["population"])]
    if row["trial"] is not None:
        slope = slope + value["trial_slope"][fit.coords["trial"].index(row["trial"])]
    return slope


def trial_means(fit: Posterior, draw: int, row: dict[str, Any], normal: np.ndarray) -> np.ndarray:
    """Return means and rates of trials, (trial, predictor), made of standard normal numbers."""
    value, names = one_draw(fit, draw), fit.coords["trial_cell"]
    mean = np.empty_like(normal)
    for k, one in enumerate(fit.predictors):
        cell = f"{row['trial']}: {one.name}"
        if cell in names:
            mean[:, k] = value["trial_mean"][names.index(cell)]
        else:
            spread = value["predictor_between_scale"][k] * normal[:, k]
            mean[:, k] = value["predictor_location"][k] + probit_rate(one) + spread
        if row.get(f"{one.name}_assay_mean") is not None:
            mean[:, k] = (row[f"{one.name}_assay_mean"] - one.centre) / one.scale
        if one.kind == "binary":
            mean[:, k] = ndtr(mean[:, k])
    return mean


def across_trials(fit: Posterior, draw: int, mean: np.ndarray) -> np.ndarray:
    """Return what means and rates of trials add to everybody's linear predictor."""
    centre = np.array([p.centre if p.kind == "binary" else 0.0 for p in fit.predictors])
    return ((mean - centre) * one_draw(fit, draw)["across_slope"]).sum(axis=1)


def patterns(fit: Posterior, row: dict[str, Any]) -> list[tuple[float, ...]]:
    """Return the 0/1 patterns that agree with a row."""
    choices = [
        (0.0, 1.0) if row.get(p.name) is None else (float(row[p.name]),)
        for p in fit.predictors
        if p.kind == "binary"
    ]
    return list(itertools.product(*choices))


def pattern_probability(pattern: Any, rate: np.ndarray, both: list[np.ndarray]) -> np.ndarray:
    """Return the probability of a pattern at each of many rates, (..., binary).

    Parameters
    ----------
    both : list of ndarray
        Share that has two neighbours, from :func:`shares`.
    """
    total = np.ones(rate.shape[:-1])
    for j, bit in enumerate(pattern):
        own = rate[..., j]
        if j:
            before = rate[..., j - 1]
            share = both[j - 1] if pattern[j - 1] else own - both[j - 1]
            # Where nobody is like that the pattern has no weight, whatever its share.
            own = share / np.maximum(before if pattern[j - 1] else 1.0 - before, 1e-300)
        total = total * (own if bit else 1.0 - own)
    return total


def shares(rate: np.ndarray, log_odds_ratio: np.ndarray) -> list[np.ndarray]:
    """Return the share that has both of each two neighbours, found by halving its range."""
    found = []
    for j, wanted in enumerate(np.exp(log_odds_ratio)):
        first, second = rate[..., j], rate[..., j + 1]
        low, high = np.maximum(0.0, first + second - 1.0), np.minimum(first, second)
        for _ in range(32):
            both = (low + high) / 2.0
            few = both * (1.0 - first - second + both) < wanted * (first - both) * (second - both)
            low, high = np.where(few, both, low), np.where(few, high, both)
        found.append((low + high) / 2.0)
    return found


def normal_density(distance: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return the density of a normal distribution at distances from its mean, (..., variable)."""
    inverse = np.linalg.inv(covariance)
    square = np.einsum("...k,kl,...l->...", distance, inverse, distance)
    return np.exp(-0.5 * square) / np.sqrt(np.linalg.det(2.0 * np.pi * covariance))


def simulate_responses(
    fit: Posterior,
    draw: int,
    trials: Trials,
    rng: np.random.Generator,
    moved: tuple[str, float] | None = None,
) -> np.ndarray:
    """Return the probability of response of one patient per trial of whom nothing is known.

    Continuous predictors are drawn, binary ones enumerated.

    Parameters
    ----------
    moved : tuple of str and float, optional
        A predictor that everybody has more of (continuous), or is set to (binary), all else as it
        was drawn.
    """
    value, predictors = one_draw(fit, draw), fit.predictors
    binary = [k for k, p in enumerate(predictors) if p.kind == "binary"]
    continuous = [k for k, p in enumerate(predictors) if p.kind == "continuous"]
    centre = np.array([predictors[k].centre for k in binary])
    own = np.array([predictors[k].assay_dependent for k in continuous], dtype=bool)
    both = shares(trials.mean[:, binary], value["binary_log_odds_ratio"])
    factor = np.linalg.cholesky(value["predictor_covariance"])
    around = rng.standard_normal((len(trials.intercept), len(continuous))) @ factor.T
    around = around + ~own * trials.mean[:, continuous]
    total = np.zeros_like(trials.intercept)
    for pattern in patterns(fit, {}):
        centred = np.array(pattern) - centre
        entering = around + value["binary_shift"] @ centred
        for place, k in enumerate(binary):
            if moved is not None and predictors[k].name == moved[0]:
                centred[place] = moved[1] - centre[place]
        for place, k in enumerate(continuous):
            if moved is not None and predictors[k].name == moved[0]:
                entering[:, place] += moved[1]
        linear = trials.intercept + trials.slope[:, binary] @ centred
        linear = linear + (trials.slope[:, continuous] * entering).sum(axis=1)
        chance = pattern_probability(pattern, trials.mean[:, binary], both)
        total += chance * LINKS[fit.spec.link](linear)
    return total


def average_in_trials(
    fit: Posterior, draw: int, trials: Trials, row: dict[str, Any], nodes: int = 41
) -> tuple[np.ndarray, np.ndarray]:
    """Return each trial's own probability of response, and how likely the known values are in it.

    Both are integrals over the joint density of a patient's predictors, binary ones enumerated and
    missing continuous ones on a grid of equal steps: slow, and independent of conditional laws.

    Returns
    -------
    probability, weight : ndarray of shape (trial,)
    """
    value, predictors = one_draw(fit, draw), fit.predictors
    binary = [k for k, p in enumerate(predictors) if p.kind == "binary"]
    continuous = [k for k, p in enumerate(predictors) if p.kind == "continuous"]
    centre = np.array([predictors[k].centre for k in binary])
    covariance = value["predictor_covariance"]
    own = np.array([predictors[k].assay_dependent for k in continuous], dtype=bool)
    known = [row.get(predictors[k].name) for k in continuous]
    place = [i for i, one in enumerate(known) if one is None]
    grid = np.linspace(-7.0, 7.0, nodes)
    sd = np.sqrt(np.diag(covariance))
    step = np.prod(sd[place]) * (grid[1] - grid[0]) ** len(place)
    both = shares(trials.mean[:, binary], value["binary_log_odds_ratio"])
    response, density = np.zeros_like(trials.intercept), np.zeros_like(trials.intercept)
    for pattern in patterns(fit, row):
        chance = pattern_probability(pattern, trials.mean[:, binary], both)
        centred = np.array(pattern) - centre
        linear = trials.intercept + trials.slope[:, binary] @ centred
        middle = trials.mean[:, continuous] + value["binary_shift"] @ centred
        x = np.empty_like(middle)
        for i, one in enumerate(known):
            if one is not None:
                p = predictors[continuous[i]]
                x[:, i] = (one - p.centre) / p.scale
        for node in itertools.product(grid, repeat=len(place)):
            for i, at in zip(place, node, strict=True):
                x[:, i] = middle[:, i] + at * sd[i]
            weight = chance * step
            if continuous:
                weight = weight * normal_density(x - middle, covariance)
            entering = x - own * trials.mean[:, continuous]
            response += weight * LINKS[fit.spec.link](
                linear + (trials.slope[:, continuous] * entering).sum(axis=1)
            )
            density += weight
    return response / density, density
