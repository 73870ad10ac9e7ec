"""Every picture of a report on a fit with the numbers behind it, by name."""

from __future__ import annotations

import dataclasses

import pandas as pd
from matplotlib.figure import Figure

from ketpredict.calibration import calibration
from ketpredict.calibration_plots import calibration_plot
from ketpredict.checks import FitCheck, predictive_table
from ketpredict.decision import decision_curve, number_needed
from ketpredict.decision_plots import decision_plot, number_needed_plot
from ketpredict.discrepancies import statistic_draws, statistics_table
from ketpredict.loo import pit_values
from ketpredict.posterior import Posterior
from ketpredict.predictive_plots import (
    FEWEST_PIT,
    pareto_plot,
    pit_plot,
    predictors_plot,
    prior_plot,
    settings_plot,
    statistics_plot,
)
from ketpredict.replicates import BY_ARM, NEW_TRIAL, replicate
from ketpredict.summary import prior_of

_BY_PRIOR = ("population", "arm")
_BY_PATTERN = ("kind", "known")
_OF_NEW = ("lower", "median", "upper", "p_value")


@dataclasses.dataclass(frozen=True)
class CheckFigure:
    """A picture and its numbers.

    Parameters
    ----------
    figure : Figure
    table : DataFrame
        As the function that the picture is of returns it; replicates of known and of new trials
        stand side by side, the latter's columns with ``new_`` before their names.
    """

    figure: Figure
    table: pd.DataFrame


def check_figures(posterior: Posterior, report: FitCheck, prob: float = 0.9) -> dict[str, Figure]:
    """Return the pictures of a report; those that the fit has no data for are left out.

    Parameters
    ----------
    report : FitCheck
        From :func:`ketpredict.checks.check_fit`, with the same `prob`.
    prob : float
        Probability content of intervals and bands.

    Returns
    -------
    dict of str to Figure
        By a name that can be that of a file, in the order in which to read them.
    """
    found = figures_with_tables(posterior, report, prob)
    return {name: one.figure for name, one in found.items()}


def figures_with_tables(
    posterior: Posterior, report: FitCheck, prob: float = 0.9
) -> dict[str, CheckFigure]:
    """Return the pictures of :func:`check_figures`, each with the numbers that it shows."""
    known = predictive_table(posterior, prob, _BY_PATTERN)
    new = predictive_table(posterior, prob, _BY_PATTERN, NEW_TRIAL)
    prior = predictive_table(prior_of(posterior), prob, _BY_PRIOR, NEW_TRIAL)
    draws = statistic_draws(replicate(posterior, setting=NEW_TRIAL))
    statistics = statistics_table(draws, prob)
    by_arm = settings_plot(report.predictive, report.new_trial, BY_ARM, prob)
    found = {
        "responders_by_arm": CheckFigure(by_arm, _beside(report.predictive, report.new_trial)),
        "responders_by_known_predictors": CheckFigure(
            settings_plot(known, new, _BY_PATTERN, prob), _beside(known, new)
        ),
        "responders_by_prior": CheckFigure(prior_plot(prior, _BY_PRIOR, prob), prior),
        "test_statistics": CheckFigure(statistics_plot(draws, statistics), statistics),
        "pareto_k": CheckFigure(pareto_plot(report.left_out), report.left_out.events),
    }
    return found | _of_patients(posterior, report, prob) | _of_use(posterior, report, prob)


def _of_patients(posterior: Posterior, report: FitCheck, prob: float) -> dict[str, CheckFigure]:
    """Return the pictures of PIT values, calibration and predictors."""
    found = {}
    events = report.left_out.events
    if (events.groupby("kind")["times"].sum() >= FEWEST_PIT).any():
        pit = pit_values(report.left_out)
        found["pit_values"] = CheckFigure(pit_plot(pit), pit)
    if report.calibration is not None:
        as_new = calibration(posterior, setting=NEW_TRIAL, prob=prob)
        for name, curves in (("known", report.calibration), ("new", as_new)):
            figure = calibration_plot(curves, prob)
            found[f"calibration_{name}_trials"] = CheckFigure(figure, curves.table)
    if len(report.predictors):
        found["predictors"] = CheckFigure(
            predictors_plot(report.predictors, prob), report.predictors
        )
    return found


def _of_use(posterior: Posterior, report: FitCheck, prob: float) -> dict[str, CheckFigure]:
    """Return decision curves and numbers needed to treat."""
    found = {}
    events = report.left_out.events
    if ((events["kind"] == "patients") & events["active"]).any():
        curve = decision_curve(report.left_out, prob=prob)
        found["decision_curves"] = CheckFigure(decision_plot(curve, prob), curve)
    needed = number_needed(posterior, prob)
    if len(needed):
        found["numbers_needed"] = CheckFigure(number_needed_plot(needed, prob), needed)
    return found


def _beside(known: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    return known.assign(**{f"new_{name}": new[name].to_numpy() for name in _OF_NEW})
