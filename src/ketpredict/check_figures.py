"""Every picture of a report on a fit, by name, for the command line and notebooks."""

from __future__ import annotations

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
    known = predictive_table(posterior, prob, _BY_PATTERN)
    new = predictive_table(posterior, prob, _BY_PATTERN, NEW_TRIAL)
    prior = predictive_table(prior_of(posterior), prob, _BY_PRIOR, NEW_TRIAL)
    draws = statistic_draws(replicate(posterior, setting=NEW_TRIAL))
    events = report.left_out.events
    figures = {
        "responders_by_arm": settings_plot(report.predictive, report.new_trial, BY_ARM, prob),
        "responders_by_known_predictors": settings_plot(known, new, _BY_PATTERN, prob),
        "responders_by_prior": prior_plot(prior, _BY_PRIOR, prob),
        "test_statistics": statistics_plot(draws, statistics_table(draws, prob)),
        "pareto_k": pareto_plot(report.left_out),
    }
    if (events.groupby("kind")["times"].sum() >= FEWEST_PIT).any():
        figures["pit_values"] = pit_plot(pit_values(report.left_out))
    if report.calibration is not None:
        as_new = calibration(posterior, setting=NEW_TRIAL, prob=prob)
        figures["calibration_known_trials"] = calibration_plot(report.calibration, prob)
        figures["calibration_new_trials"] = calibration_plot(as_new, prob)
    if len(report.predictors):
        figures["predictors"] = predictors_plot(report.predictors, prob)
    if ((events["kind"] == "patients") & events["active"]).any():
        curve = decision_curve(report.left_out, prob=prob)
        figures["decision_curves"] = decision_plot(curve, prob)
    needed = number_needed(posterior, prob)
    if len(needed):
        figures["numbers_needed"] = number_needed_plot(needed, prob)
    return figures
