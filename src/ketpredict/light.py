"""The light road for programs: a mapping of arrays in, probabilities with both intervals out.

NumPy, ``scipy.special`` and h5py are all it loads; a table of pandas, polars or Arrow is read
through pandas. The numbers are those of :class:`ketpredict.KetamineResponseClassifier`.
"""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ketpredict.diagnostics import recall_convergence
from ketpredict.errors import EvidenceWarning, KetpredictError
from ketpredict.extrapolation import warn_extrapolation
from ketpredict.patient_columns import read_patients
from ketpredict.posterior import Posterior
from ketpredict.predict import check_interval, predictions
from ketpredict.published import load_fit
from ketpredict.rows import encode_rows
from ketpredict.short_form import ShortForm
from ketpredict.wording import verdict_in_short

LABELS = ("trial", "population", "arm")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ResponseProbability(ShortForm):
    """Probability of response of each patient, with both of its intervals.

    For research; not for treatment decisions.

    Parameters
    ----------
    probability : ndarray of shape (n,)
        Posterior mean of the probability of response.
    average_interval : ndarray of shape (n, 2)
        Equal-tailed interval of the probability averaged over trials: how well the average is
        known.
    trial_interval : ndarray of shape (n, 2)
        The same of the probability in the one trial that the patient is in. For a trial that the
        fit does not know it includes the variation between trials and is the wider; use this one
        unless the average is what you ask for.
    setting : ndarray of str, shape (n,)
        What each prediction assumes: ``"known trial"``, ``"new trial, known population"`` or
        ``"new population"``.
    notes : tuple of str, length n
        In what way a row lies beyond the evidence; empty where it does not.
    prob : float
        Probability content of the intervals.
    messages : tuple of str
        What holds for the whole call: that the fit did not converge, columns that were left alone.
    """

    probability: np.ndarray
    average_interval: np.ndarray
    trial_interval: np.ndarray
    setting: np.ndarray
    notes: tuple[str, ...]
    prob: float
    messages: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of patients."""
        return len(self.probability)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, texts and numbers, ready for JSON."""
        return {
            "probability": self.probability.tolist(),
            "average_interval": self.average_interval.tolist(),
            "trial_interval": self.trial_interval.tolist(),
            "setting": self.setting.tolist(),
            "notes": list(self.notes),
            "prob": self.prob,
            "messages": list(self.messages),
        }


def response_probability(
    X: Any, fit: Any = "published", prob: float = 0.9, *, strict: bool = False
) -> ResponseProbability:
    """Return the probability of response of each patient, with both intervals.

    Parameters
    ----------
    X : mapping of str to array_like, or table
        One array, list or single value for each column; predictors, labels and units are those of
        :meth:`ketpredict.KetamineResponseClassifier.predict_proba`. Anything may be missing (NaN,
        None, or no such column). pandas, polars and PyArrow tables do too.
    fit : "published", str, Path, Posterior or KetamineResponseClassifier
        The fit that ships with the package, a saved fit, or one that is loaded already. Files are
        read once and again when they change, so that calls in a loop cost no reading.
    prob : float
        Probability content of the intervals, between 0 and 1.
    strict : bool
        Raise instead of warn where the fit did not converge.

    Returns
    -------
    ResponseProbability

    Raises
    ------
    DataError
        With every problem of the table in one message.
    SavedFitError
        The fit cannot be read.

    Warns
    -----
    ConvergenceWarning
        The fit did not converge.
    ExtrapolationWarning
        Rows lie beyond the evidence.
    EvidenceWarning
        Columns that mean nothing to the fit were left alone.

    Examples
    --------
    >>> import ketpredict as kp
    >>> patient = {"population": "unipolar_depression", "bmi": 31.0}
    >>> kp.response_probability(patient).probability  # doctest: +SKIP
    array([0.47])
    """
    check_interval(prob)
    posterior, column_names = fit_of(fit)
    recall_convergence(posterior, strict=strict, stacklevel=3)
    references = {predictor.name: predictor for predictor in posterior.predictors}
    patients = read_patients(X, references, column_names)
    messages = [verdict_in_short(posterior.facts["diagnostics"])] if posterior.problems else []
    if patients.left_alone:
        messages.append(patients.left_alone_words())
        warnings.warn(messages[-1], EvidenceWarning, stacklevel=2)
    rows = encode_rows(posterior, patients.columns, patients.n_rows)
    notes = warn_extrapolation(posterior, rows, stacklevel=3)
    found = predictions(posterior, rows, prob)
    return ResponseProbability(
        probability=found.probability,
        average_interval=found.average_interval,
        trial_interval=found.trial_interval,
        setting=rows.settings(),
        notes=tuple(notes),
        prob=float(prob),
        messages=tuple(messages),
    )


def fit_of(fit: Any) -> tuple[Posterior, dict[str, str]]:
    """Return a fit's posterior, and what it calls the columns of labels."""
    if isinstance(fit, (str, Path)):
        fit = load_fit(fit)
    if isinstance(fit, Posterior):
        described = fit.facts["estimator"]
        return fit, {name: described.get(name, name) for name in LABELS}
    posterior = getattr(fit, "fit_", None)
    if isinstance(posterior, Posterior):
        return posterior, {name: getattr(fit, name, name) for name in LABELS}
    raise KetpredictError(
        f"fit is a {type(fit).__name__} without draws; expected 'published', the path of a saved "
        "fit, a Posterior or a fitted KetamineResponseClassifier."
    )
