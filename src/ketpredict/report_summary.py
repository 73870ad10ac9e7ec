"""What the first page of a report says in plain words, beside the verdicts on the fit."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ketpredict.decision import EVERYBODY
from ketpredict.posterior import Posterior
from ketpredict.report_tables import whole
from ketpredict.spec import FULL_THRESHOLD
from ketpredict.stored_design import design_of
from ketpredict.wording import counted, percent, trial_words


def summary_lines(
    posterior: Posterior, curve: pd.DataFrame | None, measures: pd.DataFrame | None = None
) -> list[str]:
    """Return what a reader should know before any number, in sentences.

    Parameters
    ----------
    curve : DataFrame or None
        From :func:`ketpredict.decision.decision_curve`; None where there is none.
    measures : DataFrame, optional
        From :func:`ketpredict.left_out_measures.left_out_measures`.
    """
    lines = [_largest_trial(posterior), _direct(posterior), _single_patients(posterior)]
    if posterior.predictors:
        lines.append(_measured(posterior))
    if curve is not None:
        lines.append(decision_words(curve))
    if measures is not None and len(measures):
        lines.append(discrimination_words(measures))
    return [line for line in lines if line]


def decision_words(curve: pd.DataFrame) -> str:
    """Return what the decision curve of everybody says, in one sentence."""
    rows = curve[curve["population"] == EVERYBODY]
    ahead = share_ahead(rows)
    if ahead == 0.0:
        verdict = (
            "at no threshold would acting on the predictions have been worth more than treating "
            "all or nobody"
        )
    else:
        verdict = (
            f"at {percent(ahead)} of the thresholds from {percent(rows['threshold'].min())} to "
            f"{percent(rows['threshold'].max())} acting on the predictions would have been worth "
            "more than treating all and nobody; the bands of the curve say how surely"
        )
    people = f"{whole(rows['responders'].iloc[0])} of {whole(rows['n'].iloc[0])} responded"
    return f"Among treated single patients ({people}), {verdict}."


def discrimination_words(measures: pd.DataFrame) -> str:
    """Return whether treated patients were told apart, in one sentence."""
    found = measures[measures["measure"] == "c_statistic"]
    clear = found[found["lower"] > 0.5]
    if len(clear):
        named = ", ".join(trial_words(str(trial)) for trial in clear["trial"])
        return (
            f"Left out one by one, treated patients are told apart better than by chance in "
            f"{len(clear)} of {counted(len(found), 'trial')} with single patients ({named})."
        )
    return (
        "In no trial is the c-statistic of treated patients, left out one by one, clear of 0.5: "
        "these data do not show that the model tells one patient from another. What it can be read "
        "for are levels by population and arm."
    )


def share_ahead(rows: pd.DataFrame) -> float:
    """Return the share of thresholds where net benefit is above treating all and nobody."""
    other = rows["treat_all"].clip(lower=0.0)
    return float((rows["net_benefit"] > other + 1e-9).mean())


def _largest_trial(posterior: Posterior) -> str:
    labels = design_of(posterior).labels()
    people = labels.groupby("trial")["n"].sum()
    largest = people.idxmax()
    return (
        f"The largest of {counted(len(people), 'trial')}, {trial_words(str(largest))}, has "
        f"{percent(people[largest] / people.sum())} of all outcomes."
    )


def _direct(posterior: Posterior) -> str:
    """Return how much of the data is of the very outcome that is predicted."""
    design = design_of(posterior)
    units, reference = design.units, posterior.spec.horizons.reference
    near = np.abs(np.log(units.hours / reference)) <= np.log(2.0) + 1e-9
    course = np.array(design.repeated_arm)[units.arm_idx]
    direct = near & ~course & (units.threshold == FULL_THRESHOLD)
    return (
        f"{percent(units.n[direct].sum() / units.n.sum())} of all outcomes are of what is "
        f"predicted, {FULL_THRESHOLD:g} % improvement {reference / 2:g} to {2 * reference:g} h "
        "after a single dose; the others inform it through offsets of time and threshold."
    )


def _single_patients(posterior: Posterior) -> str:
    units = design_of(posterior).units
    single = units.is_arm == 0
    if not single.any():
        return (
            "No patient is given one by one: nothing here tells patients of one arm apart but "
            "published effects and differences between arms."
        )
    return (
        f"What the model learned of differences between patients it learned from "
        f"{whole(units.responders[single].sum())} responders in {whole(units.n[single].sum())} "
        "outcomes of single patients, and from published effects."
    )


def _measured(posterior: Posterior) -> str:
    ranges = posterior.facts["ranges"]
    without = [p.label for p in posterior.predictors if ranges[p.name]["trials"] == 0]
    if not without:
        return ""
    count = len(posterior.predictors)
    return (
        f"{len(without)} of {counted(count, 'predictor')} {'is' if len(without) == 1 else 'are'} "
        f"reported by no trial of the fit: {'; '.join(without)}."
    )
