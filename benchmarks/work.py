"""The tables that the benchmarks fit, drawn by a fixed generator of their own.

NumPy alone: nothing of the package takes part, so that every row of a benchmark sees the same table
whatever the package's own simulation does.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

POPULATIONS = ("unipolar_depression", "bipolar_depression", "mixed_depression", "ptsd")
CONTINUOUS = ("bmi", "bdnf", "shank3", "delta_sleep_ratio")
BINARY = ("family_history_aud", "suicide_attempt_history")
ARMS = ("ketamine", "saline")
MEASURED_EVERY = {"bdnf": 2, "shank3": 4, "delta_sleep_ratio": 3}
"""In every how many trials a biomarker is measured: half, a quarter and a third of twelve."""

_CENTRE = {"bmi": 28.0, "bdnf": 2.15, "shank3": 0.0, "delta_sleep_ratio": 0.0}
_SCALE = {"bmi": 6.0, "bdnf": 0.56, "shank3": 0.5, "delta_sleep_ratio": 0.5}
_BETWEEN_TRIALS = {"bmi": 0.5, "bdnf": 1.0, "shank3": 1.0, "delta_sleep_ratio": 0.4}
_RANGE = {
    "bmi": (12.0, 80.0),
    "bdnf": (0.02, 190.0),
    "shank3": (0.002, 900.0),
    "delta_sleep_ratio": (0.03, 45.0),
}
_ASSAY_DEPENDENT = ("bdnf", "shank3")
_LOGARITHMIC = ("bdnf", "shank3", "delta_sleep_ratio")
_SLOPE = {
    "bmi": 0.3,
    "bdnf": 0.25,
    "shank3": -0.2,
    "delta_sleep_ratio": 0.3,
    "family_history_aud": 0.5,
    "suicide_attempt_history": -0.3,
}


@dataclasses.dataclass(frozen=True)
class Work:
    """A table to fit, one row a patient.

    Parameters
    ----------
    columns : dict of str to ndarray
        ``trial``, ``population``, ``arm``, the predictors (NaN where not measured), ``response``.
    continuous, binary : tuple of str
        The predictors, in the order in which they enter the model.
    """

    columns: dict[str, np.ndarray]
    continuous: tuple[str, ...]
    binary: tuple[str, ...]

    @property
    def predictors(self) -> tuple[str, ...]:
        """Every predictor, the continuous ones first."""
        return (*self.continuous, *self.binary)

    def save(self, path: Path) -> None:
        """Write the table to a NumPy archive without pickles."""
        roles = {"_continuous": np.array(self.continuous), "_binary": np.array(self.binary)}
        np.savez(path, **self.columns, **roles)

    @classmethod
    def load(cls, path: Path) -> Work:
        """Return the table that :meth:`save` wrote."""
        with np.load(path) as archive:
            columns = {name: archive[name] for name in archive.files if name[0] != "_"}
            continuous, binary = archive["_continuous"], archive["_binary"]
        return cls(columns, tuple(map(str, continuous)), tuple(map(str, binary)))


def standard_work(patients: int = 540, trials: int = 12, seed: int = 20240624) -> Work:
    """Return the standard work: six predictors, three of them measured in some trials only.

    Parameters
    ----------
    patients, trials : int
        540 and 12 in the standard work; trials take their patients in turn, populations their
        trials, so that all are of equal size.
    """
    rng = np.random.default_rng([seed, patients, trials])
    trial = np.arange(patients) % trials
    binary = _binary_values(rng, trial, trials, len(BINARY))
    within = _correlated(rng, patients, len(CONTINUOUS)) + (binary - 0.37) @ _shift(
        len(BINARY), len(CONTINUOUS)
    )
    columns, entering = {}, {}
    for position, name in enumerate(CONTINUOUS):
        mean = (_BETWEEN_TRIALS[name] * rng.normal(size=trials))[trial]
        on_scale = mean + within[:, position]
        entering[name] = within[:, position] if name in _ASSAY_DEPENDENT else on_scale
        values = _CENTRE[name] + _SCALE[name] * on_scale
        values = np.exp(values) if name in _LOGARITHMIC else values
        values = np.clip(values, *_RANGE[name])
        columns[name] = np.where(trial % MEASURED_EVERY.get(name, 1) == 0, values, np.nan)
    for position, name in enumerate(BINARY):
        columns[name] = binary[:, position]
        entering[name] = binary[:, position] - 0.37
    eta = sum(_SLOPE[name] * entering[name] for name in (*CONTINUOUS, *BINARY))
    return Work(_with_outcome(rng, columns, trial, trials, eta), CONTINUOUS, BINARY)


def many_predictors(
    predictors: int, patients: int = 540, trials: int = 12, seed: int = 20240624
) -> Work:
    """Return a table with columns that the package does not know.

    A third of the predictors, at most four, are binary and complete; of the continuous ones every
    second is measured in every trial, the others in half, a third or a quarter of the trials.
    """
    rng = np.random.default_rng([seed, patients, trials, predictors])
    trial = np.arange(patients) % trials
    n_binary = min(predictors // 3, 4)
    n_continuous = predictors - n_binary
    binary = _binary_values(rng, trial, trials, n_binary)
    values = _correlated(rng, patients, n_continuous) + (binary - 0.37) @ _shift(
        n_binary, n_continuous
    )
    values = values + 0.4 * rng.normal(size=(trials, n_continuous))[trial]
    slope = rng.normal(size=predictors) * 0.5 / np.sqrt(predictors)
    eta = values @ slope[:n_continuous] + (binary - 0.37) @ slope[n_continuous:]
    continuous_names = tuple(f"continuous_{k + 1:02d}" for k in range(n_continuous))
    binary_names = tuple(f"binary_{k + 1:02d}" for k in range(n_binary))
    columns = {}
    for k, name in enumerate(continuous_names):
        every = 1 if k % 2 == 0 else (2, 3, 4)[(k // 2) % 3]
        columns[name] = np.where(trial % every == 0, values[:, k], np.nan)
    columns |= {name: binary[:, k] for k, name in enumerate(binary_names)}
    return Work(_with_outcome(rng, columns, trial, trials, eta), continuous_names, binary_names)


def _binary_values(
    rng: np.random.Generator, trial: np.ndarray, trials: int, count: int
) -> np.ndarray:
    """Return associated 0/1 values whose rates differ between trials."""
    threshold = -0.33 + 0.4 * rng.normal(size=(trials, count))[trial]
    latent = _correlated(rng, len(trial), count)
    return (latent < threshold).astype(float)


def _correlated(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Return standard normals that correlate at 0.25."""
    common = rng.normal(size=(rows, 1))
    return np.sqrt(0.25) * common + np.sqrt(0.75) * rng.normal(size=(rows, columns))


def _shift(n_binary: int, n_continuous: int) -> np.ndarray:
    """Return how far a continuous predictor moves where a binary one is 1."""
    sign = (-1.0) ** np.add.outer(np.arange(n_binary), np.arange(n_continuous))
    return 0.2 * sign


def _with_outcome(
    rng: np.random.Generator,
    columns: dict[str, np.ndarray],
    trial: np.ndarray,
    trials: int,
    eta: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return the columns with labels and response added."""
    population = trial % len(POPULATIONS)
    arm = (np.arange(len(trial)) // trials) % len(ARMS)
    active = arm == 0
    eta = eta + 0.1 - 1.1 * ~active
    eta = eta + 0.3 * rng.normal(size=len(POPULATIONS))[population]
    eta = eta + 0.35 * rng.normal(size=trials)[trial]
    eta = eta + np.where(active, 0.5, -0.5) * 0.25 * rng.normal(size=trials)[trial]
    width = len(str(trials))
    labels = np.array([f"trial_{number + 1:0{width}d}" for number in range(trials)])
    return {
        "trial": labels[trial],
        "population": np.array(POPULATIONS)[population],
        "arm": np.array(ARMS)[arm],
        **columns,
        "response": (eta + rng.normal(size=len(trial)) > 0).astype(float),
    }
