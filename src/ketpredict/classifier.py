"""The scikit-learn face: tables and arguments in, a fit, probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, check_random_state

from ketpredict.errors import KetpredictError
from ketpredict.feature_columns import BY_NAME, NOT_KEPT
from ketpredict.fitted_response import FittedResponse
from ketpredict.posterior import Posterior, load_posterior
from ketpredict.published import PUBLISHED, load_fit
from ketpredict.spec import ModelSpec
from ketpredict.stopping import held_back

# What only a fit needs is imported there: a loaded fit predicts without PyMC, nutpie and pandera.
if TYPE_CHECKING:
    from ketpredict.evidence import Evidence
    from ketpredict.fitting import SamplerSettings


class KetamineResponseClassifier(FittedResponse, ClassifierMixin, BaseEstimator):
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
    response_label : object, optional
        Which of the two labels of ``y`` is response. 0 and 1, False and True, no and yes say it
        themselves; of any other two the larger is taken, with a warning.
    inference : str
        ``"nuts"`` (nutpie on the compiled likelihood), ``"laplace"`` or ``"pathfinder"``
        (approximations that say themselves how bad they are; see ``docs/approximations.md``),
        another NUTS library (``"pymc"``, ``"numpyro"``, ``"blackjax"``) or a PyMC step method
        such as ``"Slice"``.
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
    classes_ : ndarray of shape (2,)
        Both labels, sorted, as scikit-learn has them; ``[0, 1]`` where the table holds the outcome.
    response_ : object
        The label that is response.
    n_features_in_, feature_names_in_ : int, ndarray of str
        Columns of `X` in ``fit``, and their names if it was a table.
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
        response_label: Any = None,
        inference: str = "nuts",
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
        self.response_label = response_label
        self.inference = inference
        self.draws = draws
        self.tune = tune
        self.chains = chains
        self.cores = cores
        self.target_accept = target_accept
        self.strict = strict
        self.random_state = random_state
        self.progressbar = progressbar

    def fit(self, X: Any = None, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit the model to patients and to the evidence.

        Parameters
        ----------
        X : table or array of shape (n_patients, n_columns), optional
            One row per patient (and period). pandas, polars and PyArrow tables, mappings of
            arrays, arrays (all of whose columns are predictors). Without it the fit rests on the
            evidence alone.
        y : array_like of shape (n_patients,), optional
            Two labels, missing where unknown. Without it `X` must hold ``response``,
            ``improvement`` or ``baseline_score`` and ``endpoint_score``.
        sample_weight : array_like of shape (n_patients,), optional
            Power of each row's likelihood: 0 leaves the row out, 2 is the row twice.

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

        Notes
        -----
        Rows are sorted and equal rows merged before anything is computed, so that the posterior is
        the same to the last bit for any order of rows, and for a row of weight 2 or two equal rows.
        """
        with held_back():
            from ketpredict.evidence import announce
            from ketpredict.fitting import fit, prepare
            from ketpredict.training_inputs import training_inputs

        settings = self._settings()
        before = dict(self.__dict__)
        try:
            inputs, reading = training_inputs(self, X, y, sample_weight)
            design, used = prepare(inputs.spec, inputs.evidence, inputs.references)
            announce(used.messages)
            posterior = fit(design, used, settings, strict=self.strict)
            posterior.facts.update({"estimator": self._described(), **reading})
            self._set_fit(posterior)
        except BaseException:  # an interrupt too: no columns of one fit beside draws of another
            for name in self.__dict__.keys() - before.keys():
                delattr(self, name)
            self.__dict__.update(before)
            raise
        return self

    def update(self, counts: Any, seed: int = 0) -> KetamineResponseClassifier:
        """Return the fit with one new trial known by its counts, without a refit.

        Parameters
        ----------
        counts : table or mapping
            One row for each arm of the trial, as published arms are given: ``trial``,
            ``population``, ``arm``, ``hours``, ``n``, ``responders``.

        Returns
        -------
        KetamineResponseClassifier
            A new one; this one stays as it is. See :func:`ketpredict.updating.update`.
        """
        check_is_fitted(self, "fit_")
        from ketpredict.updating import update

        updated = self.from_posterior(update(self.fit_, counts, seed=seed, strict=self.strict))
        return updated.set_params(**self.get_params(deep=False))

    @classmethod
    def from_posterior(cls, posterior: Posterior) -> KetamineResponseClassifier:
        """Return a fitted classifier for a posterior, without sampling."""
        known = cls().get_params()
        described = {k: v for k, v in posterior.facts["estimator"].items() if k in known}
        classifier = cls(**{"model": posterior.spec, **described})
        classifier._set_fit(posterior)
        columns = posterior.facts.get("columns", BY_NAME)
        if columns["count"]:
            classifier.n_features_in_ = columns["count"]
        if columns["names"]:
            classifier.feature_names_in_ = np.array(columns["names"], dtype=object)
        return classifier

    def __sklearn_tags__(self) -> Any:
        """Say to scikit-learn: two classes, missing values allowed."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        return tags

    def _described(self) -> dict[str, Any]:
        """Return the constructor's arguments that a file can hold; the rest takes its default.

        An `Evidence` or a `ModelSpec` is not repeated: the fit carries what it used of them. An
        estimator that was loaded says so when it is asked to fit again.
        """
        described = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in self.get_params().items()
        }
        if described["predictors"] is not None:
            described["predictors"] = list(described["predictors"])
        if not isinstance(described["evidence"], (str, type(None))):
            described["evidence"] = NOT_KEPT
        if not isinstance(described["model"], str) or described["model"].endswith(".toml"):
            del described["model"]
        if not isinstance(described["random_state"], (int, type(None))):
            described["random_state"] = None
        return described

    def _settings(self) -> SamplerSettings:
        """Return the sampler's settings, checked."""
        from ketpredict.fitting import SamplerSettings

        try:
            seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        except ValueError:
            raise KetpredictError(
                f"random_state is {self.random_state!r}; expected None, a RandomState, or a whole "
                "number from 0 to 4294967295."
            ) from None
        return SamplerSettings(
            inference=self.inference,
            draws=self.draws,
            tune=self.tune,
            chains=self.chains,
            cores=self.cores,
            target_accept=self.target_accept,
            seed=seed,
            progressbar=self.progressbar,
        )


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
