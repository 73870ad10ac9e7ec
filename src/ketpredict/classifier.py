"""The scikit-learn face: tables and arguments in, a fit, probabilities out."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, check_random_state

from ketpredict.diagnostics import report_convergence
from ketpredict.errors import DataError, EvidenceWarning, KetpredictError
from ketpredict.extrapolation import warn_extrapolation
from ketpredict.patient_columns import read_patients
from ketpredict.posterior import Posterior, load_posterior
from ketpredict.predict import interval, response_draws
from ketpredict.predictors import Predictor, load_predictors
from ketpredict.published import PUBLISHED, load_fit
from ketpredict.rows import Rows, encode_rows
from ketpredict.spec import ModelSpec, load_spec
from ketpredict.tables import as_table

# What only a fit needs is imported there: a loaded fit predicts without PyMC, nutpie and pandera.
if TYPE_CHECKING:
    from ketpredict.evidence import Evidence
    from ketpredict.fitting import SamplerSettings

_LABELS = ("trial", "population", "arm")


class KetamineResponseClassifier(ClassifierMixin, BaseEstimator):
    """Posterior probability of antidepressant response to ketamine, for one patient at a time.

    For research; not for treatment decisions.

    Parameters
    ----------
    model : str, Path or ModelSpec
        A specification of ``models/`` by name, the path of a TOML file, or a specification.
    evidence : "published", Evidence or None
        What to learn from beside `X`; see :func:`ketpredict.make_evidence`.
    predictors : sequence of str, optional
        Columns of `X` to use; by default those of the model.
    trial, population, arm : str
        Names of the columns of `X` that hold these labels. A missing column stands for one trial,
        one population, and ketamine 0.5 mg/kg i.v.
    inference : str
        ``"nutpie"``, another NUTS library (``"pymc"``, ``"numpyro"``, ``"blackjax"``) or a PyMC
        step method such as ``"Slice"``.
    draws, tune, chains : int
        Kept draws and tuning steps of each chain, and number of chains.
    cores : int, optional
        Chains to run at once; by default as many as there are cores.
    target_accept : float
        Acceptance rate that NUTS tunes its step size to.
    strict : bool
        Raise instead of warn when the chains did not converge, in `fit` and in prediction.
    random_state : int, RandomState or None
    progressbar : bool

    Attributes
    ----------
    classes_ : ndarray
        ``[0, 1]``; 1 is response.
    fit_ : Posterior
        The fit itself: draws, specification, scaling, diagnostics, provenance.

    References
    ----------
    Little and Schluchter (1985), Biometrika 72:497, doi:10.1093/biomet/72.3.497.
    """

    def __init__(
        self,
        model: str | Path | ModelSpec = "published",
        *,
        evidence: str | Evidence | None = "published",
        predictors: Sequence[str] | None = None,
        trial: str = "trial",
        population: str = "population",
        arm: str = "arm",
        inference: str = "nutpie",
        draws: int = 1500,
        tune: int = 1500,
        chains: int = 4,
        cores: int | None = None,
        target_accept: float = 0.95,
        strict: bool = False,
        random_state: Any = None,
        progressbar: bool = False,
    ) -> None:
        self.model = model
        self.evidence = evidence
        self.predictors = predictors
        self.trial = trial
        self.population = population
        self.arm = arm
        self.inference = inference
        self.draws = draws
        self.tune = tune
        self.chains = chains
        self.cores = cores
        self.target_accept = target_accept
        self.strict = strict
        self.random_state = random_state
        self.progressbar = progressbar

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Fit the model to patients and to the evidence.

        Parameters
        ----------
        X : table of shape (n_patients, n_columns), optional
            One row per patient (and period). Without it the fit rests on the evidence alone.
        y : array_like of shape (n_patients,), optional
            1 response, 0 none, missing where unknown. Without it `X` must hold ``response``,
            ``improvement`` or ``baseline_score`` and ``endpoint_score``.

        Returns
        -------
        KetamineResponseClassifier
            This estimator.

        Raises
        ------
        DataError
            With every problem of the table in one message, before anything is compiled.
        ConvergenceError
            The chains did not converge and ``strict=True``.
        """
        from ketpredict.evidence import announce
        from ketpredict.fitting import fit, prepare

        settings = self._settings()
        spec, references, evidence = self._evidence(X, y)
        design, used = prepare(spec, evidence, references)
        announce(used.messages)
        self.fit_ = fit(design, used, settings, strict=self.strict)
        self.fit_.facts["estimator"] = self._described()
        self._set_fitted_attributes(X)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return posterior mean probabilities of no response and of response.

        Returns
        -------
        ndarray of shape (n_patients, 2)
            Averaged over posterior draws and, for an unseen trial, over trials.
        """
        rows = self.encode(X)
        probability = response_draws(self.fit_, rows).mean(axis=0)
        return np.column_stack([1.0 - probability, probability])

    def predict(self, X: Any) -> np.ndarray:
        """Return 1 where the posterior mean probability of response is above one half, else 0."""
        return self.classes_[(self.predict_proba(X)[:, 1] > 0.5).astype(int)]

    def predict_interval(self, X: Any, prob: float = 0.9, kind: str = "trial") -> np.ndarray:
        """Return equal-tailed intervals of the probability of response.

        Parameters
        ----------
        prob : float
        kind : {"trial", "average"}
            ``"trial"``: of the probability in the one trial that the patient is in; for an unseen
            trial it includes the variation between trials. ``"average"``: of the probability
            averaged over trials, that is, parameter uncertainty only. In a trial that the fit
            knows the two are the same.

        Returns
        -------
        ndarray of shape (n_patients, 2)
        """
        rows = self.encode(X)
        return interval(self.fit_, rows, prob, kind)

    def predict_settings(self, X: Any) -> np.ndarray:
        """Return what each prediction assumes: a known trial, a new one, a new population."""
        return self.encode(X).settings()

    @property
    def posterior_(self) -> Any:
        """The fit as an ArviZ DataTree with named dimensions."""
        check_is_fitted(self, "fit_")
        return self.fit_.to_datatree()

    @property
    def model_(self) -> Any:
        """The fit's PyMC model, built when asked for."""
        check_is_fitted(self, "fit_")
        from ketpredict.graph import build
        from ketpredict.stored_design import design_of

        return build(design_of(self.fit_))

    def save(self, path: str | Path) -> Path:
        """Write the fit to one file, whole or not at all; read it with :func:`ketpredict.load`."""
        check_is_fitted(self, "fit_")
        return self.fit_.save(path)

    @classmethod
    def from_posterior(cls, posterior: Posterior) -> KetamineResponseClassifier:
        """Return a fitted classifier for a posterior, without sampling."""
        known = cls().get_params()
        described = {k: v for k, v in posterior.facts["estimator"].items() if k in known}
        classifier = cls(**{"model": posterior.spec, **described})
        classifier.fit_ = posterior
        classifier._set_fitted_attributes(None)
        return classifier

    def __sklearn_tags__(self) -> Any:
        """Say to scikit-learn: two classes, missing values allowed."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.allow_nan = True
        return tags

    def _described(self) -> dict[str, Any]:
        """Return the constructor's arguments that a file can hold; the rest takes its default.

        An `Evidence` or a `ModelSpec` is not repeated: the fit carries what it used of them.
        """
        described = self.get_params()
        if described["predictors"] is not None:
            described["predictors"] = list(described["predictors"])
        if not isinstance(described["evidence"], str):
            described["evidence"] = None
        if not isinstance(described["model"], str) or described["model"].endswith(".toml"):
            del described["model"]
        if not isinstance(described["random_state"], (int, type(None))):
            described["random_state"] = None
        return described

    def _settings(self) -> SamplerSettings:
        """Return the sampler's settings, checked."""
        from ketpredict.fitting import SamplerSettings

        for name in ("draws", "tune", "chains"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise KetpredictError(f"{name} is {value!r}; expected a whole number from 1 up.")
        if not 0 < self.target_accept < 1:
            raise KetpredictError(
                f"target_accept is {self.target_accept!r}; expected a number between 0 and 1."
            )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        return SamplerSettings(
            inference=self.inference,
            draws=int(self.draws),
            tune=int(self.tune),
            chains=int(self.chains),
            cores=self.cores,
            target_accept=float(self.target_accept),
            seed=seed,
            progressbar=self.progressbar,
        )

    def _column_names(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in _LABELS}

    def _evidence(self, X: Any, y: Any) -> tuple[ModelSpec, dict[str, Predictor], Evidence]:
        """Return the model, the scale of its predictors, and all evidence together."""
        from ketpredict.contracts import validate_participants
        from ketpredict.evidence import combine, make_evidence

        spec, references = load_spec(self.model), dict(load_predictors())
        wanted = None if self.predictors is None else tuple(self.predictors)
        if X is None:
            if self.evidence is None:
                raise DataError("There is nothing to fit: X is None and evidence is None.")
            names = wanted or spec.predictors or ()
            self._check_known(names, references)
            return spec.with_predictors(names), references, self._outside()
        table = _with_outcome(as_table(X), y)
        checked = validate_participants(
            table, references, predictors=wanted, column_names=self._column_names()
        )
        names = self._chosen(spec, wanted, checked)
        for name in names:
            if name not in references:
                references[name] = Predictor.from_column(name, checked.table[name].to_numpy())
        if not checked.outcomes:
            raise DataError(
                "X has no outcome and y is missing; give y, or a column 'response' (0/1), "
                "'improvement' (percent), or 'baseline_score' and 'endpoint_score'."
            )
        own = make_evidence(
            participants=table,
            references=references,
            predictors=names,
            column_names=self._column_names(),
        )
        messages = []
        if checked.left_alone:
            messages.append(f"Columns left alone: {', '.join(checked.left_alone)}.")
        outside = self._outside()
        known = set(load_predictors())
        if outside is not None and self.evidence == "published" and not set(names) & known:
            messages.append(
                "None of the columns is a predictor that the published evidence knows, so the fit "
                "rests on your rows alone (evidence=None)."
            )
            outside = None
        evidence = own if outside is None else combine(own, outside)
        evidence = dataclasses.replace(evidence, messages=(*messages, *evidence.messages))
        return spec.with_predictors(names), references, evidence

    def _check_known(self, names: Sequence[str], references: dict[str, Predictor]) -> None:
        unknown = [name for name in names if name not in references]
        if unknown:
            raise DataError(
                f"Predictors {', '.join(unknown)} are not known and there is no table to read "
                f"them from. Known: {', '.join(references)}."
            )

    def _chosen(
        self, spec: ModelSpec, wanted: tuple[str, ...] | None, checked: Any
    ) -> tuple[str, ...]:
        """Return the predictors: those asked for, the model's, or those of the table."""
        if wanted is not None:
            return wanted
        own = spec.predictors
        if own is not None and (not own or set(own) & set(checked.table)):
            return own
        return tuple(checked.predictors)

    def _outside(self) -> Any:
        """Return the evidence beside the caller's table, or None."""
        from ketpredict.evidence import Evidence, load_evidence

        if self.evidence is None or isinstance(self.evidence, Evidence):
            return self.evidence
        return load_evidence(self.evidence)

    def encode(self, X: Any) -> Rows:
        """Return rows ready for :mod:`ketpredict.predict`, checked.

        Warns
        -----
        ConvergenceWarning
            The fit did not converge (an error if ``strict=True``).
        ExtrapolationWarning
            Rows lie beyond the evidence.
        """
        check_is_fitted(self, "fit_")
        report_convergence(self.fit_.problems, strict=self.strict, where="saved fit")
        references = {predictor.name: predictor for predictor in self.fit_.predictors}
        patients = read_patients(X, references, self._column_names())
        if patients.left_alone:
            warnings.warn(patients.left_alone_words(), EvidenceWarning, stacklevel=3)
        rows = encode_rows(self.fit_, patients.columns, patients.n_rows)
        warn_extrapolation(self.fit_, rows)
        return rows

    def _set_fitted_attributes(self, X: Any) -> None:
        self.classes_ = np.array([0, 1])
        if X is not None:
            table = as_table(X)
            self.n_features_in_ = table.shape[1]
            if all(isinstance(name, str) for name in table.columns):
                self.feature_names_in_ = np.array(table.columns, dtype=object)


def load(path: str | Path = PUBLISHED) -> KetamineResponseClassifier:
    """Return the fitted classifier in a file that ``save`` wrote.

    ``"published"`` is the published model fitted to the published evidence; it ships along.

    Raises
    ------
    SavedFitError
        The file is missing, damaged, or not one of ours; the message says which.

    Warns
    -----
    ConvergenceWarning
        When predicting from a fit that did not converge.
    """
    posterior = load_fit(PUBLISHED) if path == PUBLISHED else load_posterior(path)
    return KetamineResponseClassifier.from_posterior(posterior)


def _with_outcome(table: pd.DataFrame, y: Any) -> pd.DataFrame:
    """Return the table with ``y`` as its column ``response``; the caller's is left as it is."""
    if y is None:
        return table
    if "response" in table:
        raise DataError("X has a column 'response' and y was given too; leave one of them out.")
    outcome = pd.Series(y).to_numpy() if not isinstance(y, pd.DataFrame) else y.iloc[:, 0]
    if len(outcome) != len(table):
        raise DataError(f"X has {len(table)} rows and y has {len(outcome)}.")
    return table.assign(response=outcome)
