r"""The generator: whole data sets with known truth, patient by patient.

Tests, calibration and notebooks share it. Patients are drawn one at a time on the latent scale
(:math:`z = \eta + \varepsilon > 0`); no averaged probability of :mod:`ketpredict.marginal` is
used, so that a fit to simulated data checks these formulas too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ketpredict.design import Design, encode
from ketpredict.errors import DataError
from ketpredict.evidence import Evidence, make_evidence
from ketpredict.marginal import between_trial_sd, unreported_rate
from ketpredict.predictors import Predictor, load_predictors
from ketpredict.prior import draw_prior
from ketpredict.spec import ModelSpec, load_spec

_TRIAL_MEAN = "trial mean of "
_SETTABLE = (
    "intercept",
    "population_scale",
    "population_effect",
    "trial_scale",
    "trial_effect",
    "treatment_scale",
    "treatment_deviation",
    "arm_effect",
    "prognostic_slope",
    "predictive_slope",
    "population_slope",
    "trial_slope",
)


@dataclasses.dataclass(frozen=True)
class Simulation:
    """A simulated data set.

    Parameters
    ----------
    participants : DataFrame
        One row per patient of the trials that give patients, with ``response``.
    arms : DataFrame
        One row per arm of the trials that publish arms.
    truth : dict of str to ndarray
        Every parameter, named and shaped like the posterior's variables; the order of populations,
        trials, arms and predictors is that of ``labels``.
    labels : dict of str to tuple
    spec : ModelSpec
    """

    participants: pd.DataFrame
    arms: pd.DataFrame
    truth: dict[str, np.ndarray]
    labels: dict[str, tuple[str, ...]]
    spec: ModelSpec

    def evidence(self) -> Evidence:
        """Return the data set as evidence to fit."""
        return make_evidence(
            participants=self.participants if len(self.participants) else None,
            arms=self.arms if len(self.arms) else None,
            predictors=self.labels["predictor"],
        )


def simulate(
    *,
    trials: int = 8,
    patients: int = 30,
    published_trials: int = 3,
    populations: Sequence[str] = ("unipolar_depression", "bipolar_depression"),
    arms: Sequence[str] = ("ketamine", "saline"),
    predictors: Sequence[str] = ("bmi", "family_history_aud"),
    model: str | ModelSpec = "published",
    truth: Mapping[str, Any] | None = None,
    missing: float = 0.0,
    random_state: int | np.random.Generator | None = None,
) -> Simulation:
    """Return a simulated data set whose parameters are drawn from the model's prior.

    Parameters
    ----------
    trials : int
        Number of trials; the last `published_trials` of them are given as arms, not as patients.
    patients : int
        Patients in each arm.
    populations : sequence of str
        Taken in turn by the trials.
    arms : sequence of str
        Arms of every trial; known to the package.
    predictors : sequence of str
        Known predictors.
    truth : mapping of str to array_like, optional
        Parameters to fix, such as ``{"prognostic_slope": [0.5, 0.0], "trial_scale": 0.0}``:
        intercept, arm effects, parts of slopes, and the scales or effects of populations and
        trials (effects follow their scale). The rest is drawn from the prior. Every trial is
        blinded, at 24 h and 50 %.
    missing : float
        Probability that a predictor's value is missing, for each patient.
    random_state : int or Generator, optional

    Returns
    -------
    Simulation

    Raises
    ------
    DataError
        Impossible sizes, or a parameter that the model does not have.
    """
    if trials < 1 or patients < 1 or not 0 <= published_trials <= trials or not 0 <= missing < 1:
        raise DataError(
            f"trials={trials}, patients={patients}, published_trials={published_trials}, "
            f"missing={missing}: expected at least one trial and patient, at most all trials "
            "published, and missing from 0 to below 1."
        )
    rng = np.random.default_rng(random_state)
    spec = load_spec(model).with_predictors(tuple(predictors))
    references = {name: load_predictors()[name] for name in predictors}
    people = _people(trials, patients, populations, arms, references, rng)
    design = _skeleton(spec, people, references)
    drawn = {name: values[0] for name, values in draw_prior(design, 1, rng).items()}
    parameters = _fixed(drawn, truth or {}, design)
    linear = _linear_predictor(people, parameters, design)
    people["response"] = (linear + rng.normal(size=len(people)) > 0).astype(float)
    is_published = people["trial_number"].to_numpy() >= trials - published_trials
    published = _publish(people[is_published], references)
    given = _without_hidden(people[~is_published]).reset_index(drop=True)
    for name in predictors:
        given.loc[rng.random(len(given)) < missing, name] = np.nan
    labels = {
        "population": design.populations,
        "trial": design.trials,
        "arm": design.arms,
        "predictor": design.predictor_names,
    }
    return Simulation(given, published, parameters, labels, spec)


def _people(
    trials: int,
    patients: int,
    populations: Sequence[str],
    arms: Sequence[str],
    references: Mapping[str, Predictor],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return everybody with complete predictors, in their own units."""
    width = len(str(trials))
    frames = []
    for number in range(trials):
        count = patients * len(arms)
        frame = pd.DataFrame(
            {
                "trial_number": number,
                "trial": f"trial_{number + 1:0{width}d}",
                "population": populations[number % len(populations)],
                "arm": np.repeat(list(arms), patients),
                "hours": 24.0,
                "participant": [f"patient_{number + 1}_{i + 1}" for i in range(count)],
            }
        )
        for name, predictor in references.items():
            frame[name], frame[f"{_TRIAL_MEAN}{name}"] = _values(predictor, count, rng)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _values(predictor: Predictor, count: int, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Return one trial's values of a predictor, and the trial's mean on the reference scale."""
    position = rng.normal()
    if predictor.kind == "binary":
        return (rng.random(count) < unreported_rate(predictor, position)).astype(float), 0.0
    mean = between_trial_sd(predictor) * position
    values = predictor.from_scale(mean + rng.normal(size=count))
    return np.clip(values, predictor.low, predictor.high), mean


def _without_hidden(people: pd.DataFrame) -> pd.DataFrame:
    """Return what a trial would publish: no truth, no numbering of ours."""
    hidden = [name for name in people if str(name).startswith(_TRIAL_MEAN)]
    return people.drop(columns=["trial_number", *hidden])


def _skeleton(spec: ModelSpec, people: pd.DataFrame, references: Mapping[str, Predictor]) -> Design:
    """Return a design with all labels, to draw parameters for; its outcomes are place-holders."""
    table = _without_hidden(people).assign(response=0.0)
    evidence = make_evidence(
        participants=table, references=references, predictors=tuple(references)
    )
    return encode(spec, evidence, references)


def _fixed(
    drawn: dict[str, np.ndarray], truth: Mapping[str, Any], design: Design
) -> dict[str, np.ndarray]:
    """Return the parameters with some fixed, and those that depend on fixed scales rescaled."""
    unknown = sorted(set(truth) - set(_SETTABLE))
    if unknown:
        raise DataError(
            f"truth names {', '.join(unknown)}; what can be fixed: {', '.join(_SETTABLE)}."
        )
    parameters = dict(drawn)
    members = {
        "population_scale": "population_effect",
        "trial_scale": "trial_effect",
        "treatment_scale": "treatment_deviation",
    }
    for scale, effect in members.items():
        if scale in truth and effect not in truth:
            ratio = float(truth[scale]) / float(drawn[scale]) if drawn[scale] else 0.0
            parameters[effect] = drawn[effect] * ratio
    for name, value in truth.items():
        array = np.asarray(value, dtype=float)
        parameters[name] = np.broadcast_to(array, np.shape(drawn[name])).copy()
    parameters["slope"] = parameters["prognostic_slope"] + parameters["predictive_slope"]
    return parameters


def _linear_predictor(
    people: pd.DataFrame, parameters: Mapping[str, np.ndarray], design: Design
) -> np.ndarray:
    """Return every patient's linear predictor, written out term by term."""
    trial = people["trial"].map({t: i for i, t in enumerate(design.trials)}).to_numpy()
    population = people["population"].map({p: i for i, p in enumerate(design.populations)})
    population_idx = population.to_numpy()
    arm = people["arm"].map({a: i for i, a in enumerate(design.arms)}).to_numpy()
    active = np.array([c == "active" for c in design.arm_class])[arm]
    linear = parameters["intercept"] + parameters["population_effect"][population_idx]
    linear = linear + parameters["trial_effect"][trial] + parameters["arm_effect"][arm]
    linear = linear + np.where(active, 0.5, -0.5) * parameters["treatment_deviation"][trial]
    for k, predictor in enumerate(design.predictors):
        slope = (
            parameters["prognostic_slope"][k]
            + np.where(active, parameters["predictive_slope"][k], 0.0)
            + parameters["population_slope"][population_idx, k]
            + parameters["trial_slope"][trial, k]
        )
        value = predictor.to_scale(people[predictor.name].to_numpy())
        if predictor.assay_dependent:
            value = value - people[f"{_TRIAL_MEAN}{predictor.name}"].to_numpy()
        linear = linear + slope * value
    return np.asarray(linear, dtype=float)


def _publish(people: pd.DataFrame, references: Mapping[str, Predictor]) -> pd.DataFrame:
    """Return the arms that a paper on these patients would print."""
    rows = []
    for (trial, population, arm), group in people.groupby(
        ["trial", "population", "arm"], sort=True
    ):
        row: dict[str, Any] = {
            "trial": trial,
            "population": population,
            "arm": arm,
            "hours": 24.0,
            "n": float(len(group)),
            "responders": float(group["response"].sum()),
        }
        for name, predictor in references.items():
            values = group[name]
            if predictor.kind == "binary":
                row[f"{name}_pct"] = 100.0 * values.mean()
            else:
                row[f"{name}_mean"] = values.mean()
                row[f"{name}_sd"] = values.std(ddof=1) if len(group) > 1 else 0.0
        rows.append(row)
    return pd.DataFrame(rows)
