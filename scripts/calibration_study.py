r"""Simulation-based calibration of the whole model, and of generators that are wrong on purpose.

Run ``uv run python scripts/calibration_study.py`` (:data:`SIMULATIONS` fits; 47 minutes by two
processes, beside other work): it adds what is missing to ``docs/calibration_ranks.csv``, one row
for each fit, so that it can be stopped and goes on where it was; then it writes
``docs/calibration.json``, the tables of ``docs/calibration.md`` and the pictures. It exits with 1
where the right generator fails or a wrong one passes. ``--page`` writes tables and pictures from
the ranks as they stand.

The data
    :func:`template`: three trials given as patients (one of them without controls, two periods of
    some patients, two assays), three as published arms, three populations, seven arms of three
    classes, four horizons, two definitions of response, open-label, enriched and add-on trials, and
    eleven published effects of seven cohorts, of each kind that the likelihood knows. A quarter of
    the patients' cells and a tenth of their outcomes are missing, and two thirds of what
    arms could print. Where values are missing is the same in all simulations; the values are drawn
    anew.

The generator
    Every parameter is drawn from the prior of the published model with four
    predictors, the data by :mod:`ketpredict.redrawn_evidence`, the likelihood as it is
    written, patient by patient.

The quantities
    :func:`quantities`: every top-level parameter, the log likelihood of the outcomes, the
    probability of new patients with missing predictors (in a known trial, averaged over new trials,
    in one new trial, of a new population), and the responders of a new trial's two arms. True
    probabilities come from patients drawn one by one.

The rule
    The exact p-value of each quantity's ranks (:mod:`ketpredict.rank_uniformity`), adjusted for
    their number by Holm; the smallest must be at least 5 %. A wrong generator must fall below. What
    is wrong (:data:`GENERATORS`) and how often it is simulated (:data:`SIMULATIONS`) were fixed
    before the ranks that are stored; the page says what was cut, and by which pilot. Every fit
    counts, whatever its diagnostics say.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from scipy.special import ndtr, xlog1py, xlogy

from ketpredict.compiled import compile_design
from ketpredict.design import Design
from ketpredict.errors import ConvergenceWarning
from ketpredict.evidence import Evidence, make_evidence
from ketpredict.fitting import SamplerSettings, fit, prepare
from ketpredict.outcome_draws import sample_outcomes
from ketpredict.posterior import Posterior
from ketpredict.predict import response_draws, trial_draws
from ketpredict.predictors import Predictor, load_predictors
from ketpredict.rank_uniformity import family_p_values, uniformity_p_value
from ketpredict.redrawn_effects import redraw_effects
from ketpredict.redrawn_evidence import draw_parameters, redraw_evidence
from ketpredict.rows import encode_rows
from ketpredict.simulated_patients import (
    draw_trial_means,
    draw_values,
    linear_predictor,
    trial_location,
)
from ketpredict.spec import ModelSpec, load_spec
from ketpredict.unit_outcome import unit_probability

ROOT = Path(__file__).resolve().parents[1]
RANKS = ROOT / "docs" / "calibration_ranks.csv"
FACTS = RANKS.with_name("calibration.json")
PAGE = RANKS.with_name("calibration.md")
PREDICTORS = ("bmi", "bdnf", "family_history_aud", "suicide_attempt_history")
SETTINGS = SamplerSettings(draws=300, tune=400, chains=2, cores=1, target_accept=0.95)
KEPT = 50
"""Draws that the true value is ranked among: every twelfth of the 600, nearly independent."""
LEVEL = 0.05
PROBES = (0, 1, 2)
"""Simulations whose data and log density are kept, to tell whether the ranks are this model's."""
_TRUE_DRAWS = 2**14
_TRIAL_SIZE = (20, 15)
_OF_ONE_TRIAL = ("probability, one new trial", "responders")
Parameters = dict[str, np.ndarray]


def right(
    evidence: Evidence, design: Design, truth: Parameters, rng: np.random.Generator
) -> Evidence:
    """Return data of the model."""
    return redraw_evidence(evidence, design, truth, rng)


def control_sign(
    evidence: Evidence, design: Design, truth: Parameters, rng: np.random.Generator
) -> Evidence:
    """Turn a sign: what an arm adds to the linear predictor is subtracted."""
    return redraw_evidence(evidence, design, truth | {"arm_effect": -truth["arm_effect"]}, rng)


def published_sign(
    evidence: Evidence, design: Design, truth: Parameters, rng: np.random.Generator
) -> Evidence:
    """Turn a sign: published effects count worse outcomes where the model reads better ones."""
    drawn = redraw_evidence(evidence, design, truth, rng)
    names = ("prognostic_slope", "predictive_slope", "population_slope", "effect_deviation")
    turned = truth | {name: -truth[name] for name in names}
    return dataclasses.replace(drawn, associations=redraw_effects(evidence, design, turned, rng))


def no_treatment_deviation(
    evidence: Evidence, design: Design, truth: Parameters, rng: np.random.Generator
) -> Evidence:
    """Forget a variance: active and control arms differ by the same in every trial."""
    none = {"treatment_deviation": 0.0 * truth["treatment_deviation"]}
    return redraw_evidence(evidence, design, truth | none, rng)


def no_trial_means(
    evidence: Evidence, design: Design, truth: Parameters, rng: np.random.Generator
) -> Evidence:
    """Forget a variance: all trials have the average means and rates of predictors."""
    average = trial_location(truth, design.predictors)[design.cells[:, 1]]
    return redraw_evidence(evidence, design, truth | {"trial_mean": average}, rng)


Generator = Callable[[Evidence, Design, Parameters, np.random.Generator], Evidence]
GENERATORS: dict[str, Generator] = {
    "right": right,
    "sign of the control arms": control_sign,
    "sign of published effects": published_sign,
    "no treatment deviation": no_treatment_deviation,
    "no variance of trial means": no_trial_means,
}
SIMULATIONS = {name: 500 if name == "right" else 40 for name in GENERATORS}
REFERENCES = {name: load_predictors()[name] for name in PREDICTORS}


def model() -> ModelSpec:
    """Return the published model with the predictors of the study."""
    return load_spec("published").with_predictors(PREDICTORS)


@functools.cache
def template() -> Evidence:
    """Return the data set whose rows and holes all simulations share; its values mean nothing."""
    rng = np.random.default_rng(20261121)
    parts = [
        _patients("trial_a", "unipolar_depression", ("ketamine", "saline"), 12, 24.0, "MADRS"),
        _patients("trial_b", "bipolar_depression", ("ketamine", "midazolam"), 10, 72.0, "HAMD"),
        _patients("trial_c", "unipolar_depression", ("ketamine",), 18, 24.0, "MADRS"),
    ]
    parts[0]["assay"] = np.where(np.arange(24) % 12 < 6, "kit 1", "kit 2")
    parts[2]["blinding"] = "open_label"
    # Four patients of the second trial had both treatments.
    second = parts[1][parts[1]["arm"] == "ketamine"].head(4)
    parts.append(second.assign(arm="midazolam", period="2"))
    patients = pd.concat(parts, ignore_index=True)
    person = patients.groupby(["trial", "participant"], sort=False).ngroup().to_numpy()
    for name in PREDICTORS:
        typical = 0.0 if REFERENCES[name].kind == "binary" else REFERENCES[name].from_scale(0.0)
        lacking = (rng.random(person.max() + 1) < 0.25)[person]
        patients[name] = np.where(lacking, np.nan, float(typical))
    patients.loc[patients["trial"] == "trial_c", "bdnf"] = np.nan
    patients["response"] = np.where(rng.random(len(patients)) < 0.1, np.nan, 0.0)
    return make_evidence(
        participants=patients,
        arms=_arms(),
        associations=_effects(),
        references=REFERENCES,
        predictors=PREDICTORS,
    )


def _patients(
    trial: str, population: str, arms: Sequence[str], size: int, hours: float, scale: str
) -> pd.DataFrame:
    count = size * len(arms)
    return pd.DataFrame(
        {
            "trial": trial,
            "population": population,
            "arm": np.repeat(arms, size),
            "participant": [f"{trial} {i}" for i in range(count)],
            "hours": hours,
            "scale": scale,
            "blinding": "double_blind",
            "period": "1",
        }
    )


def _arms() -> pd.DataFrame:
    """Return three trials that publish arms: some print means, some SDs, some nothing."""
    nothing = dict.fromkeys(
        ("bmi_mean", "bmi_sd", "bdnf_mean", "bdnf_sd", "family_history_aud_pct",
         "suicide_attempt_history_pct", "n_randomised")
    )  # fmt: skip
    common = {"scale": "MADRS", "threshold": 50.0, "enriched": False} | nothing
    common |= {"blinding": "double_blind", "added_antidepressant": False, "responders": 5}
    rows = [
        {"trial": "trial_d", "population": "unipolar_depression", "arm": "ketamine", "hours": 4.0,
         "n": 75, "n_randomised": 80, "bmi_mean": 28.0, "bmi_sd": 6.0,
         "family_history_aud_pct": 40.0},
        {"trial": "trial_d", "population": "unipolar_depression", "arm": "saline", "hours": 4.0,
         "n": 70, "n_randomised": 78, "bmi_mean": 28.0, "bmi_sd": 6.0,
         "family_history_aud_pct": 40.0, "suicide_attempt_history_pct": 40.0},
        {"trial": "trial_e", "population": "ptsd", "arm": "ketamine_repeated", "hours": 336.0,
         "n": 60, "scale": "CAPS", "threshold": 30.0, "bmi_mean": 28.0, "enriched": True},
        {"trial": "trial_e", "population": "ptsd", "arm": "midazolam_repeated", "hours": 336.0,
         "n": 55, "scale": "CAPS", "threshold": 30.0, "bdnf_mean": 9.0, "bdnf_sd": 5.0,
         "enriched": True},
        {"trial": "trial_f", "population": "bipolar_depression",
         "arm": "esketamine_intranasal_84mg", "hours": 24.0, "n": 90, "added_antidepressant": True,
         "suicide_attempt_history_pct": 40.0},
        {"trial": "trial_f", "population": "bipolar_depression", "arm": "placebo_intranasal",
         "hours": 24.0, "n": 90, "added_antidepressant": True},
    ]  # fmt: skip
    return pd.DataFrame([common | row for row in rows])


def _effects() -> pd.DataFrame:
    """Return published effects of every kind; two cohorts or more for each predictor."""
    base = {"population": "unipolar_depression", "hours": 24.0, "outcome_kind": "improvement"}
    columns = ("estimate", "se", "counts", "adjusted_set", "contrast", "response_rate",
               "direction_for_better_response", "per_units", "population_mix")  # fmt: skip
    response = {"outcome_kind": "response", "response_rate": 0.5}
    rows: list[dict[str, Any]] = [
        {"cohort": "one", "predictor": "bmi", "n": 60, "statistic": "pearson_r", "estimate": 0.1},
        {"cohort": "one", "predictor": "bmi", "n": 60, "statistic": "pearson_r", "estimate": 0.1,
         "hours": 72.0},
        {"cohort": "two", "predictor": "bmi", "n": 50, "statistic": "direction_only",
         "direction_for_better_response": "0", "population": "bipolar_depression"},
        {"cohort": "three", "predictor": "bmi", "n": 90, "statistic": "counts",
         "counts": "20/45;20/45", "contrast": "split", **response},
        {"cohort": "four", "predictor": "bdnf", "n": 70, "statistic": "standardised_beta",
         "estimate": 0.1, "se": 0.12, "adjusted_set": "bmi;bdnf"},
        {"cohort": "five", "predictor": "bdnf", "n": 40, "statistic": "pearson_r",
         "estimate": 0.1, "population": "obsessive_compulsive_disorder", **response},
        {"cohort": "four", "predictor": "family_history_aud", "n": 70, "statistic": "odds_ratio",
         "estimate": 1.5, "se": 0.5, **response},
        {"cohort": "six", "predictor": "family_history_aud", "n": 80, "statistic": "counts",
         "counts": "15/30;25/50", "contrast": "continuous", **response},
        {"cohort": "one", "predictor": "family_history_aud", "n": 60,
         "statistic": "direction_only", "direction_for_better_response": "0"},
        {"cohort": "seven", "predictor": "suicide_attempt_history", "n": 75,
         "statistic": "risk_ratio", "estimate": 1.2, "se": 0.3, **response,
         "population": "mixed_depression",
         "population_mix": "unipolar_depression:0.7;bipolar_depression:0.3"},
        {"cohort": "six", "predictor": "suicide_attempt_history", "n": 80, "hours": 168.0,
         "statistic": "standardised_beta", "estimate": 0.1, "se": 0.11,
         "adjusted_set": "suicide_attempt_history;family_history_aud;bmi"},
    ]  # fmt: skip
    table = pd.DataFrame([base | dict.fromkeys(columns) | row for row in rows])
    numbers = dict.fromkeys(("estimate", "se", "response_rate", "per_units", "hours", "n"), float)
    return table.astype(numbers)


@dataclasses.dataclass(frozen=True)
class Simulated:
    """One simulated data set: the truth, the design of the data, and the generator of the rest."""

    truth: Parameters
    evidence: Evidence
    design: Design
    rng: np.random.Generator


def simulated(seed: int, generator: str = "right") -> Simulated:
    """Return one simulated data set."""
    rng = np.random.default_rng([seed, list(GENERATORS).index(generator)])
    design, used = prepare(model(), template(), REFERENCES)
    truth = draw_parameters(design, rng)
    drawn = GENERATORS[generator](used, design, truth, rng)
    return Simulated(truth, drawn, prepare(model(), drawn, REFERENCES)[0], rng)


NEW_PATIENTS: dict[str, dict[str, Any]] = {
    "known_trial": {"trial": "trial_a", "assay": "kit 1", "known": (0.6, None, None, 1.0)},
    "new_trial_average": {"trial": None, "known": (None, -0.5, 1.0, None)},
    "one_new_trial": {"trial": None, "known": (-1.0, None, None, 0.0)},
    "new_population": {"trial": None, "known": (0.5, None, 0.0, None)},
}
"""What new patients tell, on the reference scale; nothing of it depends on the truth."""


def quantities(parameters: Parameters, design: Design) -> dict[str, np.ndarray]:
    """Return every top-level parameter by name, (draw,) each, and the log likelihood.

    Parameters
    ----------
    parameters : mapping of str to ndarray of shape (draw, ...)
    """
    groups = quantity_groups(parameters, design).values()
    found = {name: values for group in groups for name, values in group.items()}
    chance, units = unit_probability(parameters, design), design.units
    log_likelihood = xlogy(units.responders, chance)
    log_likelihood += xlog1py(units.n - units.responders, -chance)
    return found | {"log likelihood of outcomes": log_likelihood.sum(axis=1)}


def quantity_groups(parameters: Parameters, design: Design) -> dict[str, dict[str, np.ndarray]]:
    """Return the top-level parameters by what they are about."""
    return {
        "levels and study terms": _levels(parameters, design),
        "arms, horizons, thresholds": _arms_and_time(parameters, design),
        "slopes": _slopes(parameters, design),
        "law of the predictors": _law(parameters, design),
        "published effects": _spread_of_effects(parameters, design),
    }


def _named(parameters: Parameters, name: str, labels: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Return the components of a parameter by name, in words."""
    values = parameters[name].reshape(len(parameters["intercept"]), -1)
    words = name.replace("_", " ")
    if not labels:
        (single,) = values.T
        return {words: single}
    return {f"{words}: {label}": own for label, own in zip(labels, values.T, strict=True)}


def _levels(parameters: Parameters, design: Design) -> dict[str, np.ndarray]:
    names = ("intercept", "population_scale", "trial_scale", "treatment_scale")
    found: dict[str, np.ndarray] = {}
    for name in names:
        found |= _named(parameters, name)
    terms = ("open label", "enriched", "added antidepressant")
    return found | _named(parameters, "study_term_effect", terms)


def _arms_and_time(parameters: Parameters, design: Design) -> dict[str, np.ndarray]:
    found = _named(parameters, "arm_class_mean", sorted(set(design.arm_class[1:])))
    found |= _named(parameters, "arm_scale")
    for place, arm in enumerate(design.arms[1:], start=1):
        found[f"arm effect: {arm}"] = parameters["arm_effect"][:, place]
    found |= _named(parameters, "horizon_scale")
    horizons = design.spec.horizons
    for curve, own in enumerate(("active", "control")):
        for place, hours in enumerate(horizons.knots):
            if hours != horizons.reference:
                values = parameters["horizon_offset"][:, curve, place]
                found[f"horizon offset: {own} at {hours:g} h"] = values
    return found | _named(parameters, "improvement_sd", design.scales)


def _slopes(parameters: Parameters, design: Design) -> dict[str, np.ndarray]:
    names = design.predictor_names
    found = _named(parameters, "explained_variance")
    found |= _named(parameters, "slope_share", design.slope_parts)
    for name in ("predictor_share", "slope", "prognostic_slope", "predictive_slope"):
        found |= _named(parameters, name, names)
    found |= _named(parameters, "across_scale")
    for k in design.across_idx:
        found[f"across slope: {names[k]}"] = parameters["across_slope"][:, k]
    return found


def _law(parameters: Parameters, design: Design) -> dict[str, np.ndarray]:
    names = design.predictor_names
    found = _named(parameters, "predictor_location", names)
    found |= _named(parameters, "predictor_between_scale", names)
    covariance = parameters["predictor_covariance"]
    sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    first, second = (names[k] for k in design.continuous_idx)
    found |= {f"SD within trials: {first}": sd[:, 0], f"SD within trials: {second}": sd[:, 1]}
    correlation = covariance[:, 0, 1] / (sd[:, 0] * sd[:, 1])
    found[f"correlation within trials: {first}, {second}"] = correlation
    pairs = [
        f"{names[k]} where {names[j]}" for k in design.continuous_idx for j in design.binary_idx
    ]
    found |= _named(parameters, "binary_shift", pairs)
    return found | _named(parameters, "binary_log_odds_ratio")


def _spread_of_effects(parameters: Parameters, design: Design) -> dict[str, np.ndarray]:
    names = [design.predictor_names[k] for k in design.effects.scale_predictor]
    found = _named(parameters, "effect_scale", names)
    return found | _named(parameters, "effect_horizon_scale")


def _new_rows(names: Sequence[str]) -> tuple[dict[str, list[Any]], int]:
    """Return new patients as a table in the predictors' own units."""
    columns: dict[str, list[Any]] = {"trial": [], "population": [], "assay": []}
    for name in names:
        patient = NEW_PATIENTS[name]
        columns["trial"].append(patient["trial"])
        columns["assay"].append(patient.get("assay"))
        elsewhere = name == "new_population"
        columns["population"].append(None if elsewhere else "unipolar_depression")
        for predictor, value in zip(REFERENCES.values(), patient["known"], strict=True):
            columns.setdefault(predictor.name, []).append(_own_units(predictor, value))
    return columns, len(names)


def _own_units(predictor: Predictor, value: float | None) -> float:
    if value is None or predictor.kind == "binary":
        return np.nan if value is None else value
    return float(predictor.from_scale(np.array(value)))


def predicted(posterior: Posterior, seed: int) -> dict[str, np.ndarray]:
    """Return draws of the predictions, (draw,) each."""
    found = {}
    for name in NEW_PATIENTS:
        table, count = _new_rows([name])
        rows = encode_rows(posterior, table, count)
        draws = trial_draws if name == "one_new_trial" else response_draws
        found[f"probability, {name.replace('_', ' ')}"] = draws(posterior, rows)[:, 0]
    size = sum(_TRIAL_SIZE)
    table = {"population": ["unipolar_depression"] * size}
    table["arm"] = ["ketamine"] * _TRIAL_SIZE[0] + ["saline"] * _TRIAL_SIZE[1]
    rows = encode_rows(posterior, table, size)
    together = sample_outcomes(posterior, rows, trial=["new"] * size, seed=seed)
    found["responders of a new trial, ketamine"] = together[:, : _TRIAL_SIZE[0]].sum(axis=1)
    found["responders of a new trial, saline"] = together[:, _TRIAL_SIZE[0] :].sum(axis=1)
    return found


def true_predictions(own: Simulated) -> dict[str, float]:
    """Return what is true of the predictions, from patients drawn one by one."""
    found = {}
    for name, patient in NEW_PATIENTS.items():
        known = np.array([np.nan if v is None else v for v in patient["known"]])
        trials = _trials(own, name, _TRUE_DRAWS)
        if name == "one_new_trial":
            # Such a patient is found in trials where such patients are found.
            _, weight = draw_values(
                trials.mean, own.truth, own.design.predictors, own.rng, known=known
            )
            one = own.rng.choice(_TRUE_DRAWS, p=weight / weight.sum())
            trials = trials.only(one, _TRUE_DRAWS)
        values, weight = draw_values(
            trials.mean, own.truth, own.design.predictors, own.rng, known=known
        )
        chance = ndtr(_linear(own, values, trials, "ketamine"))
        found[f"probability, {name.replace('_', ' ')}"] = float(np.average(chance, weights=weight))
    trial = _trials(own, "one_new_trial", 1)
    for arm, size in zip(("ketamine", "saline"), _TRIAL_SIZE, strict=True):
        trials = trial.only(0, size)
        values, _ = draw_values(trials.mean, own.truth, own.design.predictors, own.rng)
        linear = _linear(own, values, trials, arm)
        found[f"responders of a new trial, {arm}"] = float(
            (linear + own.rng.normal(size=size) > 0).sum()
        )
    return found


@dataclasses.dataclass(frozen=True)
class Trials:
    """Trials of new patients, one for each drawn patient: axis 0 of every array."""

    mean: np.ndarray
    level: np.ndarray
    deviation: np.ndarray
    slope: np.ndarray

    def only(self, one: int, count: int) -> Trials:
        """Return one of the trials, for so many patients."""
        arrays = {f.name: getattr(self, f.name)[one] for f in dataclasses.fields(self)}
        return Trials(**{k: np.broadcast_to(v, (count, *np.shape(v))) for k, v in arrays.items()})


def _trials(own: Simulated, name: str, count: int) -> Trials:
    truth, design, rng = own.truth, own.design, own.rng
    parts = design.slope_parts
    scale = {part: truth["slope_scale"][parts.index(part)] for part in ("population", "trial")}
    shape = (count, len(design.predictors))
    place = design.populations.index("unipolar_depression")
    level = np.full(count, truth["intercept"] + truth["population_effect"][place])
    slope = np.broadcast_to(truth["population_slope"][place], shape)
    if name == "new_population":
        level = truth["intercept"] + truth["population_scale"] * rng.normal(size=count)
        slope = scale["population"] * rng.normal(size=shape)
    if name == "known_trial":
        t = design.trials.index(NEW_PATIENTS[name]["trial"])
        law = design.laws.index(f"{design.trials[t]} ({NEW_PATIENTS[name]['assay']})")
        return Trials(
            np.broadcast_to(truth["trial_mean"][design.mean_cell[law]], shape),
            level + truth["trial_effect"][t],
            np.full(count, truth["treatment_deviation"][t]),
            slope + truth["trial_slope"][t],
        )
    return Trials(
        draw_trial_means(truth, design.predictors, count, rng),
        level + truth["trial_scale"] * rng.normal(size=count),
        truth["treatment_scale"] * rng.normal(size=count),
        slope + scale["trial"] * rng.normal(size=shape),
    )


def _linear(own: Simulated, values: np.ndarray, trials: Trials, arm: str) -> np.ndarray:
    truth, design = own.truth, own.design
    place = design.arms.index(arm)
    active = design.arm_class[place] == "active"
    level = trials.level + truth["arm_effect"][place]
    level = level + (0.5 if active else -0.5) * trials.deviation
    slope = trials.slope + truth["prognostic_slope"] + active * truth["predictive_slope"]
    return linear_predictor(
        values, trials.mean, level, slope, truth["across_slope"], design.predictors
    )


def one(seed: int, generator: str) -> dict[str, Any]:
    """Return the ranks of one simulation, and what the sampler said."""
    began = time.perf_counter()
    own = simulated(seed, generator)
    true = {
        name: values[0] for name, values in quantities(_one_draw(own.truth), own.design).items()
    }
    true |= true_predictions(own)
    with warnings.catch_warnings():
        # Short chains: the diagnostics are kept, not told one by one.
        warnings.simplefilter("ignore", ConvergenceWarning)
        posterior = fit(own.design, own.evidence, dataclasses.replace(SETTINGS, seed=seed))
    step = posterior.n_draws // KEPT
    drawn = quantities({k: v[::step] for k, v in posterior.parameters.items()}, own.design)
    for name, values in predicted(posterior, seed).items():
        # Unseen trials are a lattice, even as a whole: one in twelve of its points would not be.
        drawn[name] = values if name.startswith(_OF_ONE_TRIAL) else values[::step]
    row: dict[str, Any] = {"generator": generator, "seed": seed}
    row |= {name: _rank(drawn[name], value, own.rng) for name, value in true.items()}
    found = posterior.facts["diagnostics"]
    row |= {"divergences": found["divergences"], "rhat": round(found["rhat"], 4)}
    return row | {"seconds": round(time.perf_counter() - began, 2)}


def _rank(draws: np.ndarray, truth: float, rng: np.random.Generator) -> int:
    """Return the rank of the truth on the scale from 0 to `KEPT`, ties broken at random."""
    place = (draws < truth).sum() + rng.random() * ((draws == truth).sum() + 1)
    return int(place / (len(draws) + 1) * (KEPT + 1))


def _one_draw(parameters: Parameters) -> Parameters:
    return {name: np.asarray(value)[None] for name, value in parameters.items()}


_DRAWN = ("response", "responders", "estimate", "counts", "direction_for_better_response")
FACT_COLUMNS = ("generator", "seed", "divergences", "rhat", "seconds")


def probes() -> list[dict[str, Any]]:
    """Return what tells whether ranks belong to this generator and this model.

    The data of the first simulations, and the compiled log density on them at a fixed point: it
    changes with any prior and any term of the likelihood, not with how the code is written.
    """
    found = []
    for seed in PROBES:
        own = simulated(seed)
        density = compile_design(own.design)
        point = 0.3 * np.sin(np.arange(len(density.start)) + seed)
        true = quantities(_one_draw(own.truth), own.design)
        found.append(
            {
                "seed": seed,
                "data": _digest(own.evidence),
                "truth": {name: float(values[0]) for name, values in true.items()},
                "log_density": density.log_density(point)[0],
            }
        )
    return found


def _digest(evidence: Evidence) -> str:
    """Return a hash of what was drawn, numbers to six digits."""
    text = ""
    for table in (evidence.participants, evidence.arms, evidence.associations):
        drawn = [name for name in table if name in _DRAWN or name.startswith(PREDICTORS)]
        text += table[sorted(drawn)].to_csv(index=False, float_format="%.6g", lineterminator="\n")
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def stored(path: Path = RANKS) -> pd.DataFrame:
    """Return the ranks as they are stored, one row for each fit."""
    return pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=list(FACT_COLUMNS))


def missing_tasks(ranks: pd.DataFrame) -> list[tuple[int, str]]:
    """Return the simulations that are not stored yet."""
    done = set(zip(ranks["seed"], ranks["generator"], strict=True))
    wanted = [(seed, name) for name, count in SIMULATIONS.items() for seed in range(count)]
    return [task for task in wanted if task not in done]


def run(jobs: int) -> None:
    """Run what is missing, each result added to the file as it comes."""
    tasks = missing_tasks(stored())
    print(f"{len(tasks)} of {sum(SIMULATIONS.values())} simulations to run", flush=True)
    results = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(
        joblib.delayed(_one_of)(*task) for task in tasks
    )
    for number, row in enumerate(results, start=1):
        line = pd.DataFrame([row])
        line.to_csv(RANKS, mode="a", header=not RANKS.is_file(), index=False, lineterminator="\n")
        if number % 25 == 0:
            print(f"{number} of {len(tasks)}", flush=True)


def _one_of(seed: int, generator: str) -> dict[str, Any]:
    # A process of joblib does not have this folder on its path.
    sys.path.insert(0, str(Path(__file__).parent))
    return one(seed, generator)


def verdicts(ranks: pd.DataFrame) -> pd.DataFrame:
    """Return the p-value of every quantity under every generator.

    Returns
    -------
    DataFrame
        ``generator``, ``quantity``, ``simulations``, ``p_value``, ``adjusted`` (Holm, over the
        quantities of the generator) and ``mean_rank`` (0.5 if uniform).
    """
    rows = []
    for generator in GENERATORS:
        own = ranks[ranks["generator"] == generator]
        names = [name for name in ranks if name not in FACT_COLUMNS]
        if own.empty:
            continue
        p_value = np.array([uniformity_p_value(own[name].to_numpy(), KEPT) for name in names])
        rows.append(
            pd.DataFrame(
                {
                    "generator": generator,
                    "quantity": names,
                    "simulations": len(own),
                    "p_value": p_value,
                    "adjusted": family_p_values(p_value),
                    "mean_rank": own[names].mean().to_numpy() / KEPT,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def holds(table: pd.DataFrame) -> bool:
    """Return whether the right generator passes and every wrong one fails."""
    smallest = table.groupby("generator")["adjusted"].min()
    return set(smallest.index) == set(GENERATORS) and all(
        (smallest[name] >= LEVEL) == (name == "right") for name in GENERATORS
    )


def facts(ranks: pd.DataFrame) -> dict[str, Any]:
    """Return what is kept beside the ranks."""
    packages = ("ketpredict", "pymc", "nutpie", "numpy", "numba")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "settings": dataclasses.asdict(SETTINGS) | {"seed": "that of the simulation"},
        "draws_ranked_among": KEPT,
        "simulations": {name: int((ranks["generator"] == name).sum()) for name in GENERATORS},
        "seconds_of_all_fits": round(float(ranks["seconds"].sum())),
        "median_seconds_of_a_fit": round(float(ranks["seconds"].median()), 1),
        "processes": os.cpu_count(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "probes": probes(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, write the page, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--page", action="store_true", help="write the page from what is stored")
    parser.add_argument("--jobs", type=int, default=-1, help="fits at once; -1: one for each core")
    options = parser.parse_args(arguments)
    if not options.page:
        run(options.jobs)
    ranks = stored()
    if not options.page:
        # A sorted file does not depend on which fit ended first.
        order = {name: place for place, name in enumerate(GENERATORS)}
        ranks = ranks.sort_values(
            ["generator", "seed"], key=lambda c: c.map(order) if c.name == "generator" else c
        )
        ranks.to_csv(RANKS, index=False, lineterminator="\n")
        FACTS.write_text(json.dumps(facts(ranks), indent=1) + "\n", encoding="utf-8")
    # Imported here: the tests load this file alone.
    from calibration_page import write_page

    table = verdicts(ranks)
    write_page(PAGE, ranks, table, json.loads(FACTS.read_text(encoding="utf-8")))
    passed = holds(table)
    print("As it should be." if passed else "NOT as it should be.")
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
