"""Posteriors, rows and brute-force simulations made by hand, for the tests of the mathematics.

Nothing here calls :mod:`ketpredict.marginal`, :mod:`ketpredict.equations` or
:mod:`ketpredict.predict`: what is simulated is written again from the model's definition.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from ketpredict.posterior import Posterior
from ketpredict.predictors import Predictor
from ketpredict.rows import Rows, encode_rows
from ketpredict.spec import load_spec

ARMS = ("ketamine", "saline")
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
    draws: int, predictors: tuple[Predictor, ...], rng: np.random.Generator, **fixed: Any
) -> Posterior:
    """Return a posterior of random draws, large effects included, with chosen values fixed.

    Two populations, two trials (the second reports no predictor), ketamine and saline, one chain.

    Parameters
    ----------
    fixed : mapping of str to array_like
        Values of variables, the same in every draw.
    """
    spec = load_spec("published").with_predictors(tuple(p.name for p in predictors))
    count, knots = len(predictors), len(spec.horizons.knots)
    parts = spec.slope_parts()
    scale = rng.uniform(0.1, 0.5, (draws, len(parts), count))
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
        "unreported_position": rng.normal(size=(draws, count)),
    }
    for name, value in fixed.items():
        values[name] = np.broadcast_to(np.asarray(value, float), values[name].shape).copy()
    values["slope"] = values["prognostic_slope"] + values["predictive_slope"]
    reported = [0.3 if p.kind == "binary" else 0.4 for p in predictors]
    return Posterior(
        groups={"posterior": {name: value[None] for name, value in values.items()}},
        dims={},
        coords={
            "population": ["first population", "second population"],
            "trial": ["reporting", "silent"],
            "arm": list(ARMS),
            "scale": list(SCALES),
            "knot": list(spec.horizons.knots),
            "predictor": [p.name for p in predictors],
            "slope_part": list(parts),
            "unreported": [f"silent: {p.name}" for p in predictors],
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


def repeated(fit: Posterior, times: int) -> Posterior:
    """Return the same posterior with each draw standing there several times."""
    groups = {
        "posterior": {
            name: np.repeat(value, times, axis=1) for name, value in fit.groups["posterior"].items()
        }
    }
    return dataclasses.replace(fit, groups=groups)


def rows(fit: Posterior, table: dict[str, list[Any]]) -> Rows:
    """Return encoded rows from columns."""
    columns = {name: np.array(values, dtype=object) for name, values in table.items()}
    return encode_rows(fit, columns, len(next(iter(table.values()))))


@dataclasses.dataclass(frozen=True)
class Trials:
    """Trials drawn from the model for one draw of its parameters, and what they share."""

    intercept: np.ndarray
    slope: np.ndarray
    mean: np.ndarray


def simulate_trials(
    fit: Posterior, draw: int, row: dict[str, Any], size: int, rng: np.random.Generator
) -> Trials:
    """Return trials in which the patient of a row may be, drawn from the model's definition.

    Parameters
    ----------
    row : dict
        ``trial`` and ``population`` (None if not yet seen), ``arm``, ``hours``, and values.

    Returns
    -------
    Trials
        ``intercept`` (trial,); ``slope`` and ``mean`` (trial, predictor): trial means of
        continuous predictors, trial rates of binary ones.
    """
    value = {name: array[0, draw] for name, array in fit.groups["posterior"].items()}
    count = len(fit.predictors)
    arm = ARMS.index(row["arm"])
    active = 1.0 if arm == 0 else 0.0
    intercept = np.full(size, float(value["intercept"] + value["arm_effect"][arm]))
    knots = np.array(fit.spec.horizons.knots)
    weights = [
        np.interp(np.log(row.get("hours", 24.0)), np.log(knots), one) for one in np.eye(len(knots))
    ]
    intercept += np.dot(weights, value["horizon_offset"][arm])
    slope = value["prognostic_slope"] + active * value["predictive_slope"]
    slope = np.tile(slope, (size, 1))
    parts = fit.spec.slope_parts()
    if row["population"] is None:
        intercept += value["population_scale"] * rng.standard_normal(size)
        spread = value["slope_scale"][parts.index("population")]
        slope += spread * rng.standard_normal((size, count))
    else:
        p = fit.coords["population"].index(row["population"])
        intercept += value["population_effect"][p]
        slope += value["population_slope"][p]
    half = active - 0.5
    mean = np.empty((size, count))
    if row["trial"] is None:
        intercept += value["trial_scale"] * rng.standard_normal(size)
        intercept += half * value["treatment_scale"] * rng.standard_normal(size)
        slope += value["slope_scale"][parts.index("trial")] * rng.standard_normal((size, count))
        for k in range(count):
            mean[:, k] = _trial_mean(fit.predictors[k], rng.standard_normal(size))
    else:
        t = fit.coords["trial"].index(row["trial"])
        intercept += value["trial_effect"][t] + half * value["treatment_deviation"][t]
        slope += value["trial_slope"][t]
        for k in range(count):
            latent = _trial_mean(fit.predictors[k], value["unreported_position"][k])
            reported = fit.trial_values[t, k]
            mean[:, k] = latent if np.isnan(reported) else reported
    return Trials(intercept, slope, mean)


def _trial_mean(predictor: Predictor, position: Any) -> Any:
    """Return a trial's mean, or its rate: probit-normal with the reference as its mean."""
    spread = predictor.between_trial_sd
    if predictor.kind == "continuous":
        return spread * position
    return ndtr(ndtri(predictor.centre) * np.sqrt(1.0 + spread**2) + spread * position)


def simulate_responses(
    fit: Posterior, trials: Trials, row: dict[str, Any], rng: np.random.Generator
) -> np.ndarray:
    """Return the probability of response of one patient per trial, missing values drawn."""
    linear = trials.intercept.copy()
    for k, predictor in enumerate(fit.predictors):
        known = row.get(predictor.name)
        if known is None and predictor.kind == "continuous":
            x = trials.mean[:, k] + rng.standard_normal(len(linear))
        elif known is None:
            x = (rng.uniform(size=len(linear)) < trials.mean[:, k]) - predictor.centre
        else:
            x = (known - predictor.centre) / predictor.scale
        linear += trials.slope[:, k] * x
    return ndtr(linear)


def average_in_trials(fit: Posterior, trials: Trials, row: dict[str, Any]) -> np.ndarray:
    """Return each trial's own probability of response, missing values averaged by a grid.

    Continuous values by the trapezoidal rule over nine standard deviations, binary ones by
    enumeration: slow, and independent of closed forms.
    """
    nodes = np.linspace(-6.0, 6.0, 41)
    density = np.exp(-0.5 * nodes**2)
    density /= density.sum()
    choices = []
    for k, predictor in enumerate(fit.predictors):
        known, mean = row.get(predictor.name), trials.mean[:, k]
        if known is not None:
            choices.append([((known - predictor.centre) / predictor.scale, 1.0)])
        elif predictor.kind == "binary":
            c = predictor.centre
            choices.append([(0.0 - c, 1.0 - mean), (1.0 - c, mean)])
        else:
            choices.append(
                [(mean + node, weight) for node, weight in zip(nodes, density, strict=True)]
            )
    total = np.zeros_like(trials.intercept)
    for combination in itertools.product(*choices):
        linear, weight = trials.intercept.copy(), 1.0
        for k, (x, w) in enumerate(combination):
            linear += trials.slope[:, k] * x
            weight = weight * w
        total += weight * ndtr(linear)
    return total
