r"""Leave-one-trial-out: every trial predicted as a new one (internal-external cross-validation).

*By refits*: the design without the trial is drawn again, on all cores through joblib, and predicts
the trial's patients and arms as those of an unseen trial. *By importance sampling*, without a
refit: a draw :math:`\theta_s` of the shared parameters from the whole fit gets the weight
:math:`1 / p(y_t, x_t \mid \theta_s)`, with everything that is the trial's own integrated out
(:mod:`ketpredict.held_out_density`), since

.. math:: p(\theta \mid \text{all but } t) \propto p(\theta \mid \text{all}) /
          p(y_t, x_t \mid \theta) .

The weights are Pareto-smoothed (Vehtari, Simpson, Gelman, Yao and Gabry 2024, JMLR 25:72); a shape
k above 0.7 says that they cannot be trusted for that trial. The trial's predictors are data like
its outcomes, so that the weights remove both.
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import logsumexp

from ketpredict.design import Design
from ketpredict.diagnostics import APPROXIMATIONS, Diagnostics, diagnose
from ketpredict.effect_density import own_log_likelihood
from ketpredict.errors import ConvergenceWarning, DataError
from ketpredict.fitting import SamplerSettings, draw_diagnosed
from ketpredict.held_out import Held, monte_carlo_error, predict_fold
from ketpredict.held_out_density import fold_log_density, slopes_stay
from ketpredict.importance import smoothed_weights
from ketpredict.left_out import Fold, folds_of, without
from ketpredict.parameter_dims import class_names, coordinates
from ketpredict.posterior import Posterior
from ketpredict.short_form import ShortForm
from ketpredict.side_by_side import side_by_side
from ketpredict.stored_design import design_of
from ketpredict.tables import records
from ketpredict.validation_tables import comparison_table, pooled_table, trial_table, unit_table

METHODS = ("refit", "importance", "both")
REFIT_DRAWS, IMPORTANCE_DRAWS = 1000, 2000
"""Draws that predict a fold, thinned evenly from all; weights use up most of theirs."""
_JOINT_DRAWS = 300
_TUNE, _DRAWS, _TRIES = 250, 1200, 3


@dataclasses.dataclass(frozen=True, repr=False)
class LeftOut(ShortForm):
    """What leaving out each trial (or population) in turn has shown.

    Parameters
    ----------
    by, method : str
        ``trial`` or ``population``; ``refit``, ``importance`` or ``both``. Tables are those of the
        refits where there are any.
    prob : float
        Probability content of all intervals.
    trials : DataFrame
        One row for each trial and measure; see
        :func:`ketpredict.validation_tables.trial_table`.
    units : DataFrame
        One row for each patient (equal ones together) and arm, with its prediction.
    pooled : DataFrame
        Each measure pooled over trials, with an interval for the next trial.
    folds : DataFrame
        For each fold: ``fold``, ``method``, ``share`` (predicted, of responders) with its Monte
        Carlo ``share_error``, ``joint_log_score`` (of all outcomes of the fold together, given
        its predictors) with its Monte Carlo ``joint_error``, ``seconds``; of a refit ``draws``,
        ``rhat``, ``ess_bulk``, ``ess_tail``, ``divergences``, ``problems``; of importance sampling
        ``pareto_k`` and ``effective_draws``.
    comparison : DataFrame or None
        With ``both``: what refit and importance sampling say of the same quantity, their Monte
        Carlo errors, and the difference in standard errors.
    """

    by: str
    method: str
    prob: float
    trials: pd.DataFrame
    units: pd.DataFrame
    pooled: pd.DataFrame
    folds: pd.DataFrame
    comparison: pd.DataFrame | None

    def as_table(self) -> dict[str, Any]:
        """Return plain lists, texts and numbers, for JSON."""
        tables = {
            name: records(getattr(self, name)) for name in ("pooled", "trials", "folds", "units")
        }
        if self.comparison is not None:
            tables["comparison"] = records(self.comparison)
        return {"by": self.by, "method": self.method, "prob": self.prob, **tables}


@dataclasses.dataclass(frozen=True)
class _Found:
    """One fold by one method: predictions, joint log score with its error, facts for the table."""

    held: Held
    joint: float
    joint_error: float
    facts: dict[str, Any]


def leave_one_trial_out(
    posterior: Posterior,
    *,
    by: str = "trial",
    method: str = "refit",
    prob: float = 0.9,
    settings: SamplerSettings | None = None,
    n_jobs: int = -1,
) -> LeftOut:
    """Return how well each trial is predicted by the others.

    Works from a saved fit alone. Scaling that was derived from the fit's own table stays that of
    the whole table.

    Parameters
    ----------
    by : {"trial", "population"}
        What is left out at once. Measures are of trials either way: a c-statistic never compares
        patients of different trials.
    method : {"refit", "importance", "both"}
    prob : float
        Probability content of all intervals.
    settings : SamplerSettings, optional
        Of the refits; by default those of the fit, with at most 250 tuning steps and 1200 draws a
        chain. A refit that does not converge gets as many chains again, at most twice; one with
        divergent transitions starts anew, with a target nearer 1.
    n_jobs : int
        Folds at once, as joblib has it; -1 is one for each core. Threads by default; another
        backend (``joblib.parallel_config("dask")``) carries the folds to other machines.

    Returns
    -------
    LeftOut

    Raises
    ------
    DataError
        An unknown method, too few trials, or a fit without the data that it was fitted to.

    Warns
    -----
    ConvergenceWarning
        A refit did not converge, however often repeated; the table says which.
    """
    if method not in METHODS:
        raise DataError(f"method is {method!r}; expected one of {', '.join(METHODS)}.")
    design = design_of(posterior)
    folds = folds_of(design, by)
    results = {}
    if method != "importance":
        settings = settings or _refit_settings(posterior)
        found = _in_parallel(_refit, n_jobs, posterior, design, folds, prob, settings)
        _report(folds, found)
        results["refit"] = _gathered(design, folds, found, by, "refit", prob)
    if method != "refit":
        few = _thinned(posterior, IMPORTANCE_DRAWS)
        found = _in_parallel(_reweighted, n_jobs, few, design, folds, prob)
        results["importance"] = _gathered(design, folds, found, by, "importance", prob)
    if method != "both":
        return results[method]
    return dataclasses.replace(
        results["refit"],
        method=method,
        folds=pd.concat([one.folds for one in results.values()], ignore_index=True),
        comparison=compare(results["refit"], results["importance"]),
    )


def compare(refit: LeftOut, importance: LeftOut) -> pd.DataFrame:
    """Return what refits and importance sampling say of the same folds, side by side.

    As :func:`ketpredict.validation_tables.comparison_table` returns it.
    """
    return comparison_table((refit.folds, refit.units), (importance.folds, importance.units))


def _gathered(
    design: Design, folds: list[Fold], found: list[_Found], by: str, method: str, prob: float
) -> LeftOut:
    held = [one.held for one in found]
    trials = trial_table(design, folds, held, prob)
    table = [
        {
            "fold": fold.name,
            "method": method,
            "share": one.held.mean,
            "share_error": one.held.mean_error,
            "joint_log_score": one.joint,
            "joint_error": one.joint_error,
            **one.facts,
        }
        for fold, one in zip(folds, found, strict=True)
    ]
    return LeftOut(
        by=by,
        method=method,
        prob=prob,
        trials=trials,
        units=unit_table(design, folds, held),
        pooled=pooled_table(trials, prob),
        folds=pd.DataFrame(table),
        comparison=None,
    )


def _in_parallel(function: Any, n_jobs: int, posterior: Posterior, *arguments: Any) -> list[_Found]:
    """Return what a function finds for each fold, the folds on as many cores as asked for."""
    design, folds, *rest = arguments
    # What other groups hold is not needed, and would travel to every worker.
    light = dataclasses.replace(posterior, groups={"posterior": posterior.groups["posterior"]})
    tasks = [(light, design, fold, *rest) for fold in folds]
    return side_by_side(function, tasks, n_jobs)


def _refit_settings(posterior: Posterior) -> SamplerSettings:
    own = SamplerSettings(**posterior.facts["provenance"]["sampler"])
    return dataclasses.replace(
        own, draws=min(own.draws, _DRAWS), tune=min(own.tune, _TUNE), cores=1, progressbar=False
    )


def _refit(
    posterior: Posterior, design: Design, fold: Fold, prob: float, settings: SamplerSettings
) -> _Found:
    start = time.perf_counter()
    rest = without(design, fold)
    draws, diagnostics = _draw_until_converged(rest, settings)
    variables = {
        str(name): array.transpose("chain", "draw", ...).to_numpy()
        for name, array in draws.data_vars.items()
        if not str(name).endswith("_raw")
    }
    whole_fit = dataclasses.replace(
        posterior,
        groups={"posterior": variables},
        coords=coordinates(rest),
        trial_values=rest.trial_values,
    )
    fitted = _thinned(whole_fit, REFIT_DRAWS)
    held = predict_fold(fitted, design, fold, prob)
    few = _thinned(whole_fit, _JOINT_DRAWS)
    whole, of_predictors = _densities(few, design, fold)
    joint = [float(logsumexp(one)) - np.log(len(one)) for one in (whole, of_predictors)]
    moved = np.exp(whole - joint[0]) - np.exp(of_predictors - joint[1])
    error = monte_carlo_error(few, moved[:, None])
    facts = {
        "draws": whole_fit.n_draws,
        "rhat": diagnostics.rhat,
        "ess_bulk": diagnostics.ess_bulk,
        "ess_tail": diagnostics.ess_tail,
        "divergences": diagnostics.divergences,
        "problems": "; ".join(diagnostics.problems),
        "seconds": time.perf_counter() - start,
    }
    return _Found(held, joint[0] - joint[1], float(error[0]), facts)


def _draw_until_converged(
    design: Design, settings: SamplerSettings
) -> tuple[xr.Dataset, Diagnostics]:
    """Return the draws of a design and their diagnostics, chains added until they pass."""
    parts: list[xr.DataTree] = []
    # An approximation has no chains to add.
    tries = 1 if settings.inference in APPROXIMATIONS else _TRIES
    for attempt in range(tries):
        again = dataclasses.replace(settings, seed=settings.seed + attempt)
        tree, diagnostics = draw_diagnosed(design, again)
        parts.append(tree)
        if len(parts) > 1:
            tree = _together(parts)
            diagnostics = diagnose(tree)
        if diagnostics.converged:
            break
        if diagnostics.divergences and attempt + 1 < tries:
            parts = []
            nearer = 0.5 * (1.0 + settings.target_accept)
            settings = dataclasses.replace(settings, target_accept=nearer)
    return tree["posterior"].to_dataset(), diagnostics


def _together(parts: list[xr.DataTree]) -> xr.DataTree:
    """Return the chains of several runs as those of one."""
    return xr.DataTree.from_dict(
        {
            group: xr.concat(
                [part[group].to_dataset().drop_vars("chain", errors="ignore") for part in parts],
                dim="chain",
            )
            for group in ("posterior", "sample_stats")
        }
    )


def _reweighted(posterior: Posterior, design: Design, fold: Fold, prob: float) -> _Found:
    start = time.perf_counter()
    whole, of_predictors = _densities(posterior, design, fold)
    removed = whole.copy()
    if fold.effects.any():
        # A cohort's effects leave with it; several of one cohort are taken one by one.
        effects = own_log_likelihood(posterior.parameters, design)
        removed += effects[:, fold.effects].sum(axis=1)
    weights = smoothed_weights(-removed)
    log_weight, weight = weights.log_weight, weights.weight
    held = predict_fold(_with_own_redrawn(posterior, design, fold), design, fold, prob, weight)
    joint = [float(logsumexp(log_weight + one)) for one in (whole, of_predictors)]
    moved = np.exp(whole - joint[0]) - np.exp(of_predictors - joint[1])
    error = monte_carlo_error(posterior, (weight * len(weight) * moved)[:, None])
    facts = {
        "pareto_k": weights.pareto_k,
        "effective_draws": weights.effective_draws,
        "seconds": time.perf_counter() - start,
    }
    return _Found(held, joint[0] - joint[1], float(error[0]), facts)


def _densities(posterior: Posterior, design: Design, fold: Fold) -> tuple[np.ndarray, np.ndarray]:
    """Return log densities of the fold's outcomes and predictors, and of its predictors alone."""
    parameters = posterior.parameters
    whole = fold_log_density(design, fold, parameters)
    return whole.value, fold_log_density(design, fold, parameters, outcomes=False).value


def _with_own_redrawn(posterior: Posterior, design: Design, fold: Fold) -> Posterior:
    """Return draws whose effects of what only the fold has are drawn from the prior again.

    The weights integrate these effects out, so that those of the whole fit must not be used.
    """
    variables = dict(posterior.groups["posterior"])
    lead, rng = variables["intercept"].shape, np.random.default_rng(posterior.n_draws)
    if fold.population is not None:
        effect = variables["population_effect"].copy()
        effect[..., fold.population] = variables["population_scale"] * rng.standard_normal(lead)
        variables["population_effect"] = effect
        parts = design.slope_parts
        varies = "population_slope" in variables and "population" in parts
        if varies and not slopes_stay(design, fold.population):
            scale = variables["slope_scale"][..., parts.index("population"), :]
            slope = variables["population_slope"].copy()
            slope[..., fold.population, :] = scale * rng.standard_normal(scale.shape)
            variables["population_slope"] = slope
    classes = class_names(design)
    effect = variables["arm_effect"].copy()
    for arm in fold.arms:
        if arm in design.other_arms:
            mean = variables["arm_class_mean"][..., classes.index(design.arm_class[arm])]
            effect[..., arm] = mean + variables["arm_scale"] * rng.standard_normal(lead)
    variables["arm_effect"] = effect
    return dataclasses.replace(posterior, groups={"posterior": variables})


def _thinned(posterior: Posterior, most: int) -> Posterior:
    """Return at most so many draws, evenly from every chain."""
    chains, draws = posterior.groups["posterior"]["intercept"].shape[:2]
    few = min(draws, max(1, most // chains))
    index = np.linspace(0, draws - 1, few).round().astype(int)
    thin = {name: values[:, index] for name, values in posterior.groups["posterior"].items()}
    return dataclasses.replace(posterior, groups={**posterior.groups, "posterior": thin})


def _report(folds: list[Fold], found: list[_Found]) -> None:
    bad = [
        f"{fold.name} ({one.facts['problems']})"
        for fold, one in zip(folds, found, strict=True)
        if one.facts["problems"]
    ]
    if bad:
        warnings.warn(
            f"Refits that did not converge: {'; '.join(bad)}. Their rows are not to be trusted.",
            ConvergenceWarning,
            stacklevel=3,
        )
