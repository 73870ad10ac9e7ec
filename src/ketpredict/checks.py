"""The report on a fit: gates that it must pass, each in words, and the tables behind them.

A gate on data fails when its p-value is below 5 %. Each is family-wise over all that it looks at
(rows, statistics, groups), so that on data that come from the model a gate fails in at most 5 % of
data sets, and less often where the model was fitted to the very counts that it is checked on. Gates
are not adjusted for each other: were all twelve independent and each at its limit, a right model
would fail one of them in 46 % of data sets (``docs/planted_faults.md`` has the rates that were
seen). A failed gate says where to look, not what is wrong.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ketpredict.calibration import Calibration, calibration
from ketpredict.data_checks import duplicated_patients, separation
from ketpredict.diagnostics import (
    APPROXIMATIONS,
    BFMI_LIMIT,
    ESS_LIMIT,
    NOTHING_KNOWN,
    RHAT_LIMIT,
)
from ketpredict.discrepancies import (
    family_of_statistics,
    family_p_value,
    mid_p_value,
    statistic_draws,
    statistics_table,
)
from ketpredict.gates import FAMILY_WISE, Gate, as_often, bonferroni
from ketpredict.group_gates import (
    association_gate,
    missingness_gate,
    reversal_gate,
    threshold_gate,
)
from ketpredict.importance import PARETO_LIMIT
from ketpredict.loo import LeaveOneOut, leave_one_out
from ketpredict.outlying_trials import outlying_gate, outlying_trials
from ketpredict.posterior import Posterior
from ketpredict.predictor_checks import predictor_table
from ketpredict.replicates import BY_ARM, KNOWN_TRIAL, NEW_TRIAL, Replicates, replicate
from ketpredict.short_form import ShortForm
from ketpredict.tables import records
from ketpredict.wording import arm_words, population_words, trial_words, verdict_words

MOST_ABOVE = 0.05
"""Share of patients whose Pareto k may be too large."""


@dataclasses.dataclass(frozen=True, repr=False)
class FitCheck(ShortForm):
    """The verdict on a fit.

    Parameters
    ----------
    gates : tuple of Gate
    convergence : DataFrame
        Measure, worst value, limit, and whether it holds.
    predictive, new_trial : DataFrame
        Responders observed and replicated in known trials and as new trials, see
        :func:`predictive_table`.
    statistics : DataFrame
        Test statistics as new trials, see :func:`ketpredict.discrepancies.statistics_table`.
    outlying : DataFrame
        Each trial against the others, see :func:`ketpredict.outlying_trials.outlying_trials`.
    predictors : DataFrame
        See :func:`ketpredict.predictor_checks.predictor_table`.
    left_out : LeaveOneOut
    calibration : Calibration or None
        Of patients in known trials, by population; None without patients.
    """

    gates: tuple[Gate, ...]
    convergence: pd.DataFrame
    predictive: pd.DataFrame
    new_trial: pd.DataFrame
    statistics: pd.DataFrame
    outlying: pd.DataFrame
    predictors: pd.DataFrame
    left_out: LeaveOneOut
    calibration: Calibration | None

    def _headline(self) -> str:
        failed = [gate.name for gate in self.gates if not gate.passed]
        names = f"; failed: {', '.join(failed)}" if failed else ""
        holding = len(self.gates) - len(failed)
        return f"Check of a fit: {holding} of {len(self.gates)} gates hold{names}"

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
            "posterior_predictive_new_trial": records(self.new_trial),
            "statistics": records(self.statistics),
            "outlying_trials": records(self.outlying),
            "predictors": records(self.predictors),
            "leave_one_out": records(self.left_out.summary()),
            "calibration": None if self.calibration is None else self.calibration.as_table(),
        }


def check_fit(posterior: Posterior, prob: float = 0.9) -> FitCheck:
    """Return the report on a fit: convergence, replicates, calibration, predictors, leave-one-out.

    Parameters
    ----------
    prob : float
        Probability content of the replicated intervals and bands.

    Raises
    ------
    DataError
        The fit has weights that are not whole numbers, so that nothing can be replicated.
    """
    known = replicate(posterior)
    predictive = replicates_table(known, prob)
    new = replicate(posterior, setting=NEW_TRIAL)
    new_trial = replicates_table(new, prob)
    statistics = statistic_draws(new)
    outlying, outlying_p = outlying_trials(new)
    predictors, predictors_p = predictor_table(posterior, prob)
    left_out = leave_one_out(posterior)
    diagnostics = posterior.facts["diagnostics"]
    gates = [
        Gate("convergence", not diagnostics["problems"], verdict_words(diagnostics)),
        _predictive_gate(known, predictive),
        _predictive_gate(new, new_trial),
        _statistics_gate(statistics),
    ]
    if (gate := outlying_gate(outlying, outlying_p)) is not None:
        gates.append(gate)
    curves = None
    if (left_out.events["kind"] == "patients").any():
        curves = calibration(posterior, prob=prob)
        gates += [_calibration_gate(curves), _pareto_gate(left_out)]
    if len(predictors):
        gates.append(_predictors_gate(predictors, predictors_p))
    twice, apart = duplicated_patients(posterior), separation(posterior)
    if len(twice):
        gates.append(_duplicates_gate(twice))
    if len(apart):
        gates.append(_separation_gate(apart))
    of_groups = (association_gate, reversal_gate, missingness_gate, threshold_gate)
    gates += [gate for check in of_groups if (gate := check(posterior)) is not None]
    return FitCheck(
        gates=tuple(gates),
        convergence=convergence_table(posterior),
        predictive=predictive,
        new_trial=new_trial,
        statistics=statistics_table(statistics, prob),
        outlying=outlying,
        predictors=predictors,
        left_out=left_out,
        calibration=curves,
    )


def held_out_gate(units: pd.DataFrame) -> Gate:
    """Return whether no published arm is surprising to the trials without its own, by Bonferroni.

    The other gates' parameters know the trial that they judge; these predictions do not. With few
    trials they are wide all the same, and a mistyped arm may well pass. It takes
    leave-one-trial-out first, which is why it is not part of :func:`check_fit`.

    Parameters
    ----------
    units : DataFrame
        ``units`` of :func:`ketpredict.leave_out.leave_one_trial_out`: ``kind``, ``trial``,
        ``arm``, ``responders``, ``n`` and ``pit`` (mid; NaN for patients).
    """
    name = "published arms, their trials left out"
    arms = units[units["kind"] == "arm"]
    if arms.empty:
        return Gate(name, True, "There is no published arm.")
    pit = arms["pit"].to_numpy(float)
    tail = 2.0 * np.minimum(pit, 1.0 - pit)
    row = arms.iloc[int(tail.argmin())]
    p_value = bonferroni(float(tail.min()), len(arms))
    detail = (
        f"The most surprising of {len(arms)} is {trial_words(row['trial'])}, "
        f"{arm_words(row['arm']).lower()} ({row['responders']:.0f} of {row['n']:.0f}), "
        f"p = {p_value:.3g} for the worst of all (a gate at {FAMILY_WISE:g})."
    )
    return Gate(name, p_value >= FAMILY_WISE, detail)


def convergence_table(posterior: Posterior) -> pd.DataFrame:
    """Return the worst value of each convergence measure beside its limit.

    For an approximation: Pareto k and the number of effective draws.

    Returns
    -------
    DataFrame
        ``measure``, ``worst``, ``limit`` (in words) and ``holds``.
    """
    found = posterior.facts["diagnostics"]
    columns = ["measure", "worst", "limit", "holds"]
    if found.get("method") in APPROXIMATIONS:
        k = np.inf if found["pareto_k"] is None else found["pareto_k"]
        worth = 0.0 if found["effective_draws"] is None else found["effective_draws"]
        rows = [
            ("Pareto k", k, f"at most {PARETO_LIMIT}", k <= PARETO_LIMIT),
            ("effective draws", worth, f"at least {ESS_LIMIT:g}", worth >= ESS_LIMIT),
        ]
        return pd.DataFrame(rows, columns=columns)
    # Chains that stand still have no R-hat and no effective draw. Some samplers have no energy,
    # which is no fault; but too few draws have no number at all (kept as None, with a problem).
    few = any(problem.startswith(NOTHING_KNOWN) for problem in found["problems"])
    no_energy = np.nan if few else np.inf
    absent = {"rhat": np.inf, "ess_bulk": 0.0, "ess_tail": 0.0, "bfmi": no_energy}
    worst = {
        name: otherwise if found[name] is None else found[name]
        for name, otherwise in absent.items()
    }
    rows = [
        ("R-hat", worst["rhat"], f"at most {RHAT_LIMIT}", worst["rhat"] <= RHAT_LIMIT),
        *(
            (
                f"{kind} ESS",
                worst[f"ess_{kind}"],
                f"at least {ESS_LIMIT:g}",
                worst[f"ess_{kind}"] >= ESS_LIMIT,
            )
            for kind in ("bulk", "tail")
        ),
        ("divergent transitions", found["divergences"], "0", found["divergences"] == 0),
        ("E-BFMI", worst["bfmi"], f"at least {BFMI_LIMIT}", worst["bfmi"] >= BFMI_LIMIT),
    ]
    return pd.DataFrame(rows, columns=columns)


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
        (two-sided, mid-p); with arms also ``control`` (whether the arm is one).

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
    labels = found.labels.drop(columns="active")
    if "arm" in labels:
        labels["control"] = ~found.labels["active"].astype(bool)
    return labels.assign(
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
        f"surprising is {named}; {as_often(p_value)}."
    )
    where = "known trials" if found.setting == KNOWN_TRIAL else "as new trials"
    return Gate(f"posterior predictive, {where}", p_value >= FAMILY_WISE, detail)


def _statistics_gate(draws: pd.DataFrame) -> Gate:
    """Return whether no test statistic is surprising."""
    p_value, worst = family_of_statistics(draws)
    if not worst:
        return Gate("test statistics, as new trials", True, "The data have none of the statistics.")
    row = statistics_table(draws).set_index("statistic").loc[worst]
    detail = (
        f"The most surprising is the {worst}: {row['observed']:.3g}, replicated "
        f"{row['lower']:.3g} to {row['upper']:.3g}; {as_often(p_value)}."
    )
    return Gate("test statistics, as new trials", p_value >= FAMILY_WISE, detail)


def _calibration_gate(found: Calibration) -> Gate:
    """Return whether no population's patients are far off the predictions."""
    row = found.table.iloc[int(found.table["p_value"].argmin())]
    detail = (
        f"Furthest off are patients of the population {population_words(str(row['population']))}: "
        f"{row['responders']:.0f} of {row['n']:.0f} responded, {row['expected']:.1f} expected, "
        f"{row['miscalibration']:.4f} of the Brier score lost to miscalibration; "
        f"{as_often(found.p_value)}."
    )
    return Gate("calibration of patients, known trials", found.p_value >= FAMILY_WISE, detail)


def _pareto_gate(found: LeaveOneOut) -> Gate:
    """Return whether nearly all patients can be left out by importance sampling.

    One patient who responds against all odds has a large k in a right model too; many do not.
    Arms do not count: one that is all that is known of its trial moves the trial's own effects so
    much that leaving it out is leaving a trial out, which takes another method.
    """
    kinds = found.summary().set_index("kind")
    worst, share = kinds.loc["patients", "largest_k"], kinds.loc["patients", "share_above"]
    detail = (
        f"The largest Pareto k of a patient is {worst:.2f}; {100 * share:.3g} % of patients are "
        f"above {PARETO_LIMIT} (a gate at {100 * MOST_ABOVE:g} %)"
    )
    if share > 0:
        detail += ": the fit follows them so closely that leaving them out needs a refit"
    if "arm" in kinds.index and kinds.loc["arm", "share_above"] > 0:
        detail += (
            f". Of published arms {100 * kinds.loc['arm', 'share_above']:.0f} % are above, which "
            "does not count: leave their trials out instead"
        )
    return Gate("Pareto k of patients", bool(share <= MOST_ABOVE), f"{detail}.")


def _predictors_gate(table: pd.DataFrame, p_value: float) -> Gate:
    """Return whether the predictors look as their law has it, and alike in all trials."""
    row = table.iloc[int(table["p_value"].to_numpy().argmin())]
    where = "all trials together" if row["trial"] == "all" else trial_words(row["trial"])
    beside = f", in the other trials {row['others']:.2f}" if np.isfinite(row["others"]) else ""
    detail = (
        f"The most surprising of {len(table)} is the {row['what']} of {row['predictor']} in "
        f"{where}: {row['observed']:.2f}{beside}, replicated {row['lower']:.2f} to "
        f"{row['upper']:.2f} on the reference scale; {as_often(p_value)}."
    )
    return Gate("predictors within trials", p_value >= FAMILY_WISE, detail)


def _duplicates_gate(table: pd.DataFrame) -> Gate:
    """Return whether no trial has more equal patients than chance makes, by Bonferroni."""
    row = table.iloc[int(table["p_value"].to_numpy().argmin())]
    p_value = bonferroni(float(row["p_value"]), len(table))
    detail = f"{table['pairs'].sum()} pairs of patients are the same in every predictor they tell"
    if row["pairs"]:
        detail += (
            f"; most surprising is {trial_words(row['trial'])} with {row['pairs']}, "
            f"{row['expected']:.2g} by chance, p = {p_value:.3g} (a gate at {FAMILY_WISE:g})"
        )
    return Gate("patients given once", p_value >= FAMILY_WISE, f"{detail}.")


def _separation_gate(table: pd.DataFrame) -> Gate:
    """Return whether no predictor splits responders from others perfectly, but by chance."""
    found = table[table["separated"] & ~(len(table) * table["chance"] >= FAMILY_WISE)]
    if found.empty:
        detail = "No predictor splits responders from others perfectly, where chance would not."
        return Gate("no separation", True, detail)
    row = found.iloc[int(found["chance"].to_numpy().argmin())]
    where = "all trials" if row["trial"] == "all" else trial_words(row["trial"])
    detail = (
        f"{row['predictor']} splits {row['responders']:.0f} responders from {row['others']:.0f} "
        f"others in {where} perfectly: its slope there rests on the prior."
    )
    return Gate("no separation", False, detail)
