r"""The generator: whole data sets with known truth, patient by patient.

Tests, calibration and notebooks share it. Patients are drawn one at a time from the joint model of
predictors and response (:mod:`ketpredict.simulated_patients`), on the latent scale
(:math:`z = \eta + \varepsilon > 0`); then cells, blocks, outcomes and summaries are deleted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ketpredict.design import Design, encode
from ketpredict.errors import DataError
from ketpredict.evidence import Evidence, make_evidence
from ketpredict.predictors import Predictor, load_predictors
from ketpredict.short_form import ShortForm
from ketpredict.simulated_patients import draw_noise, draw_values, linear_predictor
from ketpredict.simulated_truth import draw_truth
from ketpredict.spec import ModelSpec, load_spec
from ketpredict.workers import check_seed

_SMALLEST = float(np.finfo(float).tiny)


@dataclasses.dataclass(frozen=True, repr=False)
class Simulation(ShortForm):
    """A simulated data set.

    Parameters
    ----------
    participants : DataFrame
        One row per patient of the trials that give patients, with ``response``.
    arms : DataFrame
        One row per arm of the trials that publish arms.
    truth : dict of str to ndarray
        Every parameter, named and shaped like the posterior's variables; the order of populations,
        trials, arms and predictors is that of ``labels``. ``trial_mean`` is a table of every trial
        and predictor (mean on the reference scale, probit of the rate if binary), measured or not.
    labels : dict of str to tuple
    spec : ModelSpec
    predictors : tuple of Predictor
        Reference scales, with open ranges: the normal law that the model assumes has no ends, so
        that a value may lie where no real patient's does.
    """

    participants: pd.DataFrame
    arms: pd.DataFrame
    truth: dict[str, np.ndarray]
    labels: dict[str, tuple[str, ...]]
    spec: ModelSpec
    predictors: tuple[Predictor, ...]

    def evidence(self) -> Evidence:
        """Return the data set as evidence to fit."""
        return make_evidence(
            participants=self.participants if len(self.participants) else None,
            arms=self.arms if len(self.arms) else None,
            references={predictor.name: predictor for predictor in self.predictors},
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
    missing_blocks: float | Mapping[str, Sequence[str]] = 0.0,
    missing_outcome: float = 0.0,
    unpublished: float = 0.0,
    within_range: bool = False,
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
        intercept, arm effects, parts of slopes, the scales or effects of populations and trials
        (effects follow their scale), and the law of the predictors, ``trial_mean`` as a table of
        trials and predictors. The rest is drawn from the prior. Every trial is blinded, at 24 h
        and 50 %.
    missing : float
        Probability that a predictor's value is missing, for each patient.
    missing_blocks : float or mapping of str to sequence of str
        Probability that a trial does not measure a continuous predictor at all, or the predictors
        of any kind that each trial (``trial_1`` ...) does not measure.
    missing_outcome : float
        Probability that the outcome is missing, for each patient given one by one.
    unpublished : float
        Probability that a trial does not print a predictor, in any of its arms; and that it prints
        its means without SDs.
    within_range : bool
        Clip values to the ranges that are plausible in real patients, for tables that have to pass
        their checks. The law is then only nearly the model's, so leave it off for calibration.
    random_state : int or Generator, optional

    Returns
    -------
    Simulation

    Raises
    ------
    DataError
        Impossible sizes or probabilities, or a parameter that the model does not have.
    """
    known = load_predictors()
    spec = load_spec(model).with_predictors(tuple(predictors))
    chances = {"missing": missing, "missing_outcome": missing_outcome, "unpublished": unpublished}
    if not isinstance(missing_blocks, Mapping):
        chances["missing_blocks"] = missing_blocks
    _check_sizes(trials, patients, published_trials, populations, arms, predictors)
    _check_chances(chances)
    rng = _generator(random_state)
    references = {name: _open(known[name]) for name in predictors}
    people = _labelled(trials, patients, populations, arms)
    design = _skeleton(spec, people, references)
    parameters = draw_truth(design, truth or {}, rng)
    _fill(people, design, parameters, rng)
    if within_range:
        for name in predictors:
            people[name] = people[name].clip(known[name].low, known[name].high)
    unmeasured = _unmeasured(missing_blocks, design, rng)
    is_published = people["trial_number"].to_numpy() >= trials - published_trials
    published = _publish(people[is_published], design.predictors)
    given = people[~is_published].drop(columns="trial_number").reset_index(drop=True)
    for name in predictors:
        given.loc[rng.random(len(given)) < missing, name] = np.nan
    given.loc[rng.random(len(given)) < missing_outcome, "response"] = np.nan
    for trial, name in unmeasured:
        given.loc[given["trial"] == trial, name] = np.nan
        _leave_out(published, trial, name, ("mean", "sd", "pct"))
    for trial in sorted(set(published.get("trial", ()))):
        for name in predictors:
            if rng.random() < unpublished:
                _leave_out(published, trial, name, ("mean", "sd", "pct"))
            if rng.random() < unpublished:
                _leave_out(published, trial, name, ("sd",))
    labels = {
        "population": design.populations,
        "trial": design.trials,
        "arm": design.arms,
        "predictor": design.predictor_names,
    }
    return Simulation(given, published, parameters, labels, spec, design.predictors)


def _check_sizes(
    trials: int,
    patients: int,
    published_trials: int,
    populations: Sequence[str],
    arms: Sequence[str],
    predictors: Sequence[str],
) -> None:
    if trials < 1 or patients < 1 or not 0 <= published_trials <= trials:
        raise DataError(
            f"trials={trials}, patients={patients}, published_trials={published_trials}: expected "
            "at least one trial and patient, and at most all trials published."
        )
    for name, values in (("populations", populations), ("arms", arms)):
        if isinstance(values, str) or not values or len(set(values)) < len(values):
            raise DataError(f"{name}={values!r}: expected a list of names, each of them once.")
    unknown = [name for name in predictors if name not in load_predictors()]
    if isinstance(predictors, str) or unknown or len(set(predictors)) < len(predictors):
        raise DataError(
            f"predictors={predictors!r}: expected a list of known predictors, each of them once: "
            f"{', '.join(load_predictors())}."
        )


def _check_chances(chances: Mapping[str, float]) -> None:
    wrong = [
        f"{name}={value}"
        for name, value in chances.items()
        if not isinstance(value, (int, float)) or not 0 <= value <= 1
    ]
    if wrong:
        raise DataError(f"{', '.join(wrong)}: expected a probability, from 0 to 1.")


def _generator(random_state: Any) -> np.random.Generator:
    if not isinstance(random_state, (np.random.Generator, type(None))):
        check_seed("random_state", random_state)
    return np.random.default_rng(random_state)


def _open(predictor: Predictor) -> Predictor:
    """Return a predictor without ends to its range: the normal law of the model has none."""
    if predictor.kind == "binary":
        return predictor
    low = _SMALLEST if predictor.transform == "log" else -math.inf
    return dataclasses.replace(predictor, low=low, high=math.inf)


def _labelled(
    trials: int, patients: int, populations: Sequence[str], arms: Sequence[str]
) -> pd.DataFrame:
    """Return one row for everybody, with labels only."""
    width, count = len(str(trials)), patients * len(arms)
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "trial_number": number,
                    "trial": f"trial_{number + 1:0{width}d}",
                    "population": populations[number % len(populations)],
                    "arm": np.repeat(list(arms), patients),
                    "hours": 24.0,
                    "participant": [f"patient_{number + 1}_{i + 1}" for i in range(count)],
                }
            )
            for number in range(trials)
        ],
        ignore_index=True,
    )


def _skeleton(spec: ModelSpec, people: pd.DataFrame, references: Mapping[str, Predictor]) -> Design:
    """Return a design with all labels, to draw parameters for; its values are place-holders."""
    values = {
        name: 0.0 if predictor.kind == "binary" else float(predictor.from_scale(0.0))
        for name, predictor in references.items()
    }
    table = people.drop(columns="trial_number").assign(response=0.0, **values)
    evidence = make_evidence(
        participants=table, references=references, predictors=tuple(references)
    )
    return encode(spec, evidence, references)


def _fill(
    people: pd.DataFrame,
    design: Design,
    parameters: Mapping[str, np.ndarray],
    rng: np.random.Generator,
) -> None:
    """Give everybody predictors, in their own units, and a response."""

    def index(column: str, levels: Sequence[str]) -> np.ndarray:
        return people[column].map({level: i for i, level in enumerate(levels)}).to_numpy(int)

    predictors = design.predictors
    trial, arm = index("trial", design.trials), index("arm", design.arms)
    population = index("population", design.populations)
    active = np.array([c == "active" for c in design.arm_class], dtype=float)[arm]
    level = (
        parameters["intercept"]
        + parameters["population_effect"][population]
        + parameters["trial_effect"][trial]
        + parameters["arm_effect"][arm]
        + (active - 0.5) * parameters["treatment_deviation"][trial]
    )
    if predictors:
        slope = (
            parameters["prognostic_slope"]
            + active[:, None] * parameters["predictive_slope"]
            + parameters["population_slope"][population]
            + parameters["trial_slope"][trial]
        )
        trial_mean = parameters["trial_mean"][trial]
        values, _ = draw_values(trial_mean, parameters, predictors, rng)
        for k, predictor in enumerate(predictors):
            own = values[:, k] if predictor.kind == "binary" else predictor.from_scale(values[:, k])
            people[predictor.name] = own
        across_slope = parameters.get("across_slope", np.zeros(len(predictors)))
        level = linear_predictor(values, trial_mean, level, slope, across_slope, predictors)
    noise = draw_noise(design.spec.link, len(people), rng)
    people["response"] = (level + noise > 0).astype(float)


def _unmeasured(
    missing_blocks: float | Mapping[str, Sequence[str]], design: Design, rng: np.random.Generator
) -> list[tuple[str, str]]:
    """Return the trials and predictors that are not measured at all."""
    if not isinstance(missing_blocks, Mapping):
        continuous = [p.name for p in design.predictors if p.kind == "continuous"]
        pairs = [(trial, name) for trial in design.trials for name in continuous]
        return [pair for pair in pairs if rng.random() < missing_blocks]
    unknown = sorted(set(missing_blocks) - set(design.trials))
    names = {name for listed in missing_blocks.values() for name in listed}
    unknown += sorted(names - set(design.predictor_names))
    if unknown:
        raise DataError(
            f"missing_blocks names {', '.join(unknown)}; trials are {', '.join(design.trials)}, "
            f"predictors {', '.join(design.predictor_names)}."
        )
    return [(trial, name) for trial, listed in missing_blocks.items() for name in listed]


def _leave_out(published: pd.DataFrame, trial: str, name: str, endings: Sequence[str]) -> None:
    """Delete summaries of a predictor from all arms of a published trial."""
    for column in (f"{name}_{ending}" for ending in endings):
        if column in published:
            published.loc[published["trial"] == trial, column] = np.nan


def _publish(people: pd.DataFrame, predictors: Sequence[Predictor]) -> pd.DataFrame:
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
        for predictor in predictors:
            values = group[predictor.name]
            if predictor.kind == "binary":
                row[f"{predictor.name}_pct"] = 100.0 * values.mean()
            else:
                row[f"{predictor.name}_mean"] = values.mean()
                row[f"{predictor.name}_sd"] = values.std(ddof=1)
        rows.append(row)
    return pd.DataFrame(rows)
