"""Checks of a fit: whether the sampler converged, and whether the model reproduces its own data.

The posterior predictive check is in the *known* trial: each trial's own intercept and treatment
deviation have been fitted to the very counts that are checked. It finds a likelihood that cannot
reproduce its data; it does not say how well the model predicts a trial that it has not seen, and
its p-values lean towards one half (Gelman, Meng and Stern 1996, Stat Sinica 6:733).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ketpredict.diagnostics import BFMI_LIMIT, ESS_LIMIT, RHAT_LIMIT
from ketpredict.discrepancies import family_p_value, mid_p_value
from ketpredict.posterior import Posterior
from ketpredict.replicates import BY_ARM, KNOWN_TRIAL, Replicates, replicate
from ketpredict.tables import records
from ketpredict.wording import arm_words, trial_words, verdict_words

FAMILY_WISE = 0.05
"""Most often that a gate may fail on data that come from the model."""


@dataclasses.dataclass(frozen=True)
class Gate:
    """One rule that a fit must hold: its name, whether it holds, and why in words."""

    name: str
    passed: bool
    detail: str


@dataclasses.dataclass(frozen=True)
class FitCheck:
    """The verdict on a fit.

    Parameters
    ----------
    gates : tuple of Gate
    convergence : DataFrame
        Measure, worst value, limit, and whether it holds.
    predictive : DataFrame
        The posterior predictive check, see :func:`predictive_table`.
    """

    gates: tuple[Gate, ...]
    convergence: pd.DataFrame
    predictive: pd.DataFrame

    @property
    def passed(self) -> bool:
        """Whether every gate holds."""
        return all(gate.passed for gate in self.gates)

    def as_table(self) -> dict[str, Any]:
        """Return plain lists, texts and numbers, for JSON."""
        return {
            "passed": self.passed,
            "gates": [dataclasses.asdict(gate) for gate in self.gates],
            "convergence": records(self.convergence),
            "posterior_predictive": records(self.predictive),
        }


def check_fit(posterior: Posterior, prob: float = 0.9) -> FitCheck:
    """Return the verdict on a fit: convergence, and the posterior predictive check by trial.

    Parameters
    ----------
    prob : float
        Probability content of the replicated intervals.
    """
    found = replicate(posterior)
    predictive = replicates_table(found, prob)
    diagnostics = posterior.facts["diagnostics"]
    gates = (
        Gate("convergence", not diagnostics["problems"], verdict_words(diagnostics)),
        _predictive_gate(found, predictive),
    )
    return FitCheck(gates, convergence_table(posterior), predictive)


def convergence_table(posterior: Posterior) -> pd.DataFrame:
    """Return the worst value of each convergence measure beside its limit.

    Returns
    -------
    DataFrame
        ``measure``, ``worst``, ``limit`` (in words) and ``holds``.
    """
    found = posterior.facts["diagnostics"]
    bfmi = np.inf if found["bfmi"] is None else found["bfmi"]
    rows = [
        ("R-hat", found["rhat"], f"at most {RHAT_LIMIT}", found["rhat"] <= RHAT_LIMIT),
        ("bulk ESS", found["ess_bulk"], f"at least {ESS_LIMIT:g}", found["ess_bulk"] >= ESS_LIMIT),
        ("tail ESS", found["ess_tail"], f"at least {ESS_LIMIT:g}", found["ess_tail"] >= ESS_LIMIT),
        ("divergent transitions", found["divergences"], "0", found["divergences"] == 0),
        ("E-BFMI", bfmi, f"at least {BFMI_LIMIT}", bfmi >= BFMI_LIMIT),
    ]
    return pd.DataFrame(rows, columns=["measure", "worst", "limit", "holds"])


def predictive_table(
    posterior: Posterior,
    prob: float = 0.9,
    by: Sequence[str] = BY_ARM,
    setting: str = KNOWN_TRIAL,
) -> pd.DataFrame:
    """Return observed responders beside what the fitted model replicates.

    Parameters
    ----------
    prob : float
        Probability content of the replicated interval.
    by : sequence of str
        What to add up over: columns of :func:`ketpredict.replicates.unit_labels`. Patients of a
        trial and arm are one row by default; ``("population",)`` gives one row per population,
        ``("known",)`` one per missingness pattern, ``("kind",)`` arms and patients side by side.
    setting : {"known_trial", "new_trial"}
        In the trial as fitted, or as a new trial whose effects all its units share.

    Returns
    -------
    DataFrame
        The columns of `by`, ``kind`` (arm, patients or both), ``hours``, ``observed``, ``n``,
        ``lower``, ``median`` and ``upper`` (replicated responders) and ``p_value``
        (two-sided, mid-p).

    Raises
    ------
    DataError
        See :func:`ketpredict.replicates.replicate`.
    """
    return replicates_table(replicate(posterior, by, setting), prob)


def replicates_table(found: Replicates, prob: float = 0.9) -> pd.DataFrame:
    """Return replicates as the table of :func:`predictive_table`."""
    tails = [(1.0 - prob) / 2.0, 0.5, (1.0 + prob) / 2.0]
    lower, median, upper = np.quantile(found.replicated, tails, axis=0)
    pairs = zip(found.replicated.T, found.observed, strict=True)
    return found.labels.drop(columns="active").assign(
        observed=found.observed,
        n=found.n,
        lower=lower,
        median=median,
        upper=upper,
        p_value=[mid_p_value(draws, observed) for draws, observed in pairs],
    )


def _predictive_gate(found: Replicates, table: pd.DataFrame) -> Gate:
    """Return whether no row is more surprising than the worst of a replicated data set."""
    p_value, place = family_p_value(found)
    worst = table.iloc[place].to_dict()
    inside = table["observed"].between(table["lower"], table["upper"]).sum()
    arm = arm_words(worst["arm"]).lower()
    named = f"{trial_words(worst['trial'])}, {arm} ({worst['observed']} of {worst['n']})"
    detail = (
        f"{inside} of {len(table)} observed counts lie inside their replicated interval; the most "
        f"surprising is {named}: {100 * p_value:.3g} % of replicated data sets hold a row as "
        f"surprising (a gate at {100 * FAMILY_WISE:g} %)."
    )
    where = "known trials" if found.setting == KNOWN_TRIAL else "as new trials"
    return Gate(f"posterior predictive, {where}", p_value >= FAMILY_WISE, detail)
