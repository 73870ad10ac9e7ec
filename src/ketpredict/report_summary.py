"""What the first page of a report says in plain words, beside the verdicts on the fit."""

from __future__ import annotations

import pandas as pd

from ketpredict.decision import EVERYBODY
from ketpredict.posterior import Posterior
from ketpredict.report_tables import whole
from ketpredict.stored_design import design_of
from ketpredict.wording import counted, percent, trial_words


def summary_lines(posterior: Posterior, curve: pd.DataFrame | None) -> list[str]:
    """Return what a reader should know before any number, in sentences.

    Parameters
    ----------
    curve : DataFrame or None
        From :func:`ketpredict.decision.decision_curve`; None where there is none.
    """
    lines = [_largest_trial(posterior), _single_patients(posterior)]
    if posterior.predictors:
        lines.append(_measured(posterior))
    if curve is not None:
        lines.append(decision_words(curve))
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
