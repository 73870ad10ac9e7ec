"""What a fitted estimator answers: probabilities, intervals, draws, and where they come from."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ketpredict.diagnostics import recall_convergence
from ketpredict.errors import EvidenceWarning
from ketpredict.extrapolation import warn_extrapolation
from ketpredict.feature_columns import BY_NAME, read_same_columns
from ketpredict.patient_columns import PatientColumns, read_patients
from ketpredict.posterior import Posterior
from ketpredict.predict import interval, mean_probability
from ketpredict.rows import Rows, encode_rows

if TYPE_CHECKING:
    import pandas as pd
    from arviz_stats import ELPDDataLOO

    from ketpredict.checks import FitCheck
    from ketpredict.explanation import Explanation
    from ketpredict.leave_out import LeftOut
    from ketpredict.literature import Literature
    from ketpredict.prior_sensitivity import PriorSensitivity

_LABELS = ("trial", "population", "arm")


class FittedResponse:
    """The questions that a fitted estimator answers; ``fit_`` is the fit.

    Attributes
    ----------
    fit_ : Posterior
    classes_ : ndarray of shape (2,)
    response_ : object
        The label of `classes_` that is response.
    """

    fit_: Posterior
    classes_: np.ndarray
    response_: Any
    strict: bool

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return posterior mean probabilities of both labels, in the order of ``classes_``.

        Returns
        -------
        ndarray of shape (n_patients, 2)
            Averaged over posterior draws and, for an unseen trial, over trials. With labels 0 and 1
            the second column is the probability of response.
        """
        probability = self._probability(X)
        both = np.column_stack([1.0 - probability, probability])
        return both if self.classes_[1] == self.response_ else both[:, ::-1]

    def predict(self, X: Any) -> np.ndarray:
        """Return the label of response where its posterior mean probability is above one half."""
        responds = self._probability(X) > 0.5
        return np.where(responds == (self.classes_[1] == self.response_), *self.classes_[::-1])

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

    def predict_draws(self, X: Any, kind: str = "average") -> pd.DataFrame:
        """Return draws of the probability of response, one row for each patient and draw.

        Parameters
        ----------
        kind : {"average", "trial"}
            Averaged over unseen trials, or in one of four unseen trials of each draw.

        Returns
        -------
        DataFrame
            See :func:`ketpredict.outcome_draws.draws_table`.
        """
        from ketpredict.outcome_draws import draws_table

        rows = self.encode(X)
        return draws_table(self.fit_, rows, kind)

    def sample_outcomes(self, X: Any, kind: str = "trial", seed: int = 0) -> pd.DataFrame:
        """Return draws of the outcome itself, 1 response and 0 none.

        Patients of one unseen trial, named alike, are drawn in the same trial.

        Returns
        -------
        DataFrame
            ``row``, ``draw``, ``response``; see :func:`ketpredict.outcome_draws.sample_outcomes`.
        """
        from ketpredict.outcome_draws import outcomes_table, sample_outcomes

        patients, rows = self._read(X)
        names: dict[str, Any] = {
            name: patients.columns.get(name) for name in ("trial", "population")
        }
        return outcomes_table(sample_outcomes(self.fit_, rows, kind=kind, seed=seed, **names))

    def predict_settings(self, X: Any) -> np.ndarray:
        """Return what each prediction assumes: a known trial, a new one, a new population."""
        return self.encode(X).settings()

    def explain(self, X: Any, prob: float = 0.9) -> Explanation:
        """Return how far each known predictor of one patient moved the probability.

        Parameters
        ----------
        X : table of one row

        Returns
        -------
        Explanation
            See :func:`ketpredict.explanation.explain`. Associations, no causes.
        """
        from ketpredict.explanation import explain

        row = self.encode(X)
        return explain(self.fit_, row, prob)

    def effects(self, prob: float = 0.9, arm: str | None = None) -> pd.DataFrame:
        """Return average marginal effects and odds ratios of the predictors, by population.

        Returns
        -------
        DataFrame
            See :func:`ketpredict.marginal_effects.effects_table`. Associations, no causes.
        """
        check_is_fitted(self, "fit_")
        from ketpredict.marginal_effects import effects_table

        return effects_table(self.fit_, prob, arm)

    def literature(self, prob: float = 0.9) -> Literature:
        """Return what the published predictor effects did to the fit; samples without them.

        Returns
        -------
        Literature
            See :func:`ketpredict.literature.literature`.
        """
        check_is_fitted(self, "fit_")
        from ketpredict.literature import literature

        return literature(self.fit_, prob)

    def check(self, prob: float = 0.9) -> FitCheck:
        """Return the report on the fit: gates in words, and the tables behind them.

        Returns
        -------
        FitCheck
            See :func:`ketpredict.checks.check_fit`, and
            :func:`ketpredict.check_figures.check_figures` for its pictures.
        """
        check_is_fitted(self, "fit_")
        from ketpredict.checks import check_fit

        return check_fit(self.fit_, prob)

    def validate(self, by: str = "trial", method: str = "refit", prob: float = 0.9) -> LeftOut:
        """Return how well each trial (or population) is predicted by all others.

        Parameters
        ----------
        by : {"trial", "population"}
        method : {"refit", "importance", "both"}
            Exact refits, or weights of the fit's own draws with their Pareto k.

        Returns
        -------
        LeftOut
            See :func:`ketpredict.leave_out.leave_one_trial_out`.
        """
        check_is_fitted(self, "fit_")
        from ketpredict.leave_out import leave_one_trial_out

        return leave_one_trial_out(self.fit_, by=by, method=method, prob=prob)

    def loo(self) -> ELPDDataLOO:
        """Return leave-one-out of every patient and every published arm, as ArviZ has it.

        Returns
        -------
        ELPDDataLOO
            See :func:`ketpredict.comparison.elpd`. To compare fits, :func:`ketpredict.compare`
            pairs their patients.
        """
        check_is_fitted(self, "fit_")
        from ketpredict.comparison import elpd

        return elpd(self.fit_)

    def prior_sensitivity(self) -> PriorSensitivity:
        """Return which priors each answer of the fit leans on, by power-scaling; nothing is drawn.

        Returns
        -------
        PriorSensitivity
            See :func:`ketpredict.prior_sensitivity.prior_sensitivity`.
        """
        check_is_fitted(self, "fit_")
        from ketpredict.prior_sensitivity import prior_sensitivity

        return prior_sensitivity(self.fit_)

    def report(
        self, path: str | Path, *, prob: float = 0.9, validation: LeftOut | None = None
    ) -> Path:
        """Write the report on the fit to one HTML file.

        Data, model and priors, diagnostics, checks, validation, effects, limits, how to make it
        again, and the TRIPOD+AI checklist.

        Parameters
        ----------
        path : str or Path
        prob : float
            Probability content of the intervals.
        validation : LeftOut, optional
            From :meth:`validate`; without it the report rests on leave-one-out by weights.

        Returns
        -------
        Path

        Raises
        ------
        DataError
            See :func:`ketpredict.report.write_report`.
        """
        check_is_fitted(self, "fit_")
        from ketpredict.report import write_report

        return write_report(self.fit_, path, prob=prob, validation=validation)

    @property
    def posterior_(self) -> Any:
        """The fit as an ArviZ DataTree with named dimensions.

        ``posterior`` holds every variable that ``model_`` samples, so that PyMC's functions take
        both: ``pm.sample_posterior_predictive(clf.posterior_, model=clf.model_)``.
        ``log_likelihood`` is that of the responders and ``log_prior`` that of the priors by blocks,
        so that ArviZ's ``loo``, ``compare`` and ``psense_summary`` work; see
        :func:`ketpredict.arviz_groups.arviz_tree`.
        """
        check_is_fitted(self, "fit_")
        from ketpredict.arviz_groups import arviz_tree

        return arviz_tree(self.fit_)

    @property
    def model_(self) -> Any:
        """The fit's PyMC model, built when asked for."""
        check_is_fitted(self, "fit_")
        from ketpredict.graph import build
        from ketpredict.stored_design import design_of

        return build(design_of(self.fit_))

    def save(self, path: str | Path, *, patients: bool = True) -> Path:
        """Write the fit to one file, whole or not at all; read it with :func:`ketpredict.load`.

        Parameters
        ----------
        path : str or Path
        patients : bool
            The file holds every patient's predictors and outcome unless this is False. Without
            them it predicts to the last bit the same, with intervals, explanation and effects, and
            refuses what needs patients: `check`, `validate`, `update`, `report`, `literature`. For
            a file that is there already: ``kp.load("full.nc").save("share.nc", patients=False)``.

        Returns
        -------
        Path

        Raises
        ------
        SavedFitError
            ``patients=False``, and a predictor's own scale would tell the values of fewer than
            five patients.
        """
        check_is_fitted(self, "fit_")
        return self.fit_.save(path, patients=patients)

    def encode(self, X: Any) -> Rows:
        """Return rows ready for :mod:`ketpredict.predict`, checked.

        Warns
        -----
        ConvergenceWarning
            The fit did not converge (an error if ``strict=True``).
        ExtrapolationWarning
            Rows lie beyond the evidence.
        """
        return self._read(X)[1]

    def _read(self, X: Any) -> tuple[PatientColumns, Rows]:
        check_is_fitted(self, "fit_")
        recall_convergence(self.fit_, strict=self.strict)
        references = {predictor.name: predictor for predictor in self.fit_.predictors}
        by_name = self.fit_.facts.get("columns", BY_NAME)["by_name"]
        table = X if by_name else read_same_columns(self, X)
        patients = read_patients(table, references, self._column_names())
        if patients.left_alone:
            warnings.warn(patients.left_alone_words(), EvidenceWarning, stacklevel=4)
        rows = encode_rows(self.fit_, patients.columns, patients.n_rows)
        warn_extrapolation(self.fit_, rows)
        return patients, rows

    def _probability(self, X: Any) -> np.ndarray:
        rows = self.encode(X)
        return mean_probability(self.fit_, rows)

    def _column_names(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in _LABELS}

    def _set_fit(self, posterior: Posterior) -> None:
        """Take a fit, with the labels and columns that came with it."""
        self.fit_ = posterior
        labels = posterior.facts.get("labels", {"classes": [0, 1], "response": 1})
        self.classes_ = np.array(labels["classes"])
        self.response_ = labels["response"]
