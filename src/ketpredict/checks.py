"""Checks of a fit: whether the sampler converged, and whether the model reproduces its own data.

The posterior predictive check is in the *known* trial: each trial's own intercept and treatment
deviation have been fitted to the very counts that are checked. It finds a likelihood that cannot
reproduce its data; it does not say how well the model predicts a trial that it has not seen, and
its p-values lean towards one half (Gelman, Meng and Stern 1996, Stat Sinica 6:733).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from ketpredict.diagnostics import APPROXIMATIONS, BFMI_LIMIT, ESS_LIMIT, RHAT_LIMIT
from ketpredict.errors import DataError
from ketpredict.importance import PARETO_LIMIT
from ketpredict.posterior import Posterior
from ketpredict.stored_design import design_of
from ketpredict.tables import records
from ketpredict.wording import arm_words, trial_words, verdict_words

BY_ARM = ("trial", "population", "arm")
_FAMILY_WISE = 0.05


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
    predictive = predictive_table(posterior, prob)
    diagnostics = posterior.facts["diagnostics"]
    gates = (
        Gate("convergence", not diagnostics["problems"], verdict_words(diagnostics)),
        _predictive_gate(predictive),
    )
    return FitCheck(gates, convergence_table(posterior), predictive)


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
        worth = found["effective_draws"]
        rows = [
            ("Pareto k", k, f"at most {PARETO_LIMIT}", k <= PARETO_LIMIT),
            ("effective draws", worth, f"at least {ESS_LIMIT:g}", worth >= ESS_LIMIT),
        ]
        return pd.DataFrame(rows, columns=columns)
    # Chains that stand still have no R-hat and no effective draw; some samplers have no energy.
    absent = {"rhat": np.inf, "ess_bulk": 0.0, "ess_tail": 0.0, "bfmi": np.inf}
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
    posterior: Posterior, prob: float = 0.9, by: Sequence[str] = BY_ARM
) -> pd.DataFrame:
    """Return observed responders beside what the fitted model replicates, in the known trial.

    Parameters
    ----------
    prob : float
        Probability content of the replicated interval.
    by : sequence of str
        What to add up over: columns of :meth:`ketpredict.design.Design.labels`. Patients of a
        trial and arm are one row by default; ``("population",)`` gives one row per population.

    Returns
    -------
    DataFrame
        The columns of `by`, ``kind`` (arm, patients or both), ``hours``, ``observed``, ``n``,
        ``lower``, ``median`` and ``upper`` (replicated responders) and ``p_value``
        (two-sided, mid-p).

    Raises
    ------
    DataError
        The fit is too large for replicated outcomes to have been kept with it.
    """
    kept = posterior.groups.get("posterior_predictive")
    if kept is None:
        raise DataError(
            "This fit keeps no replicated outcomes (it has too many patients and draws, or weights "
            "that are not whole numbers), so there is no posterior predictive check of it. Fit "
            "with fewer draws, or without such weights."
        )
    replicated = kept["responders"].reshape(-1, kept["responders"].shape[-1])
    labels = design_of(posterior).labels()
    tail = (1.0 - prob) / 2.0
    rows = []
    groups = labels.groupby(labels[list(by)].agg(tuple, axis=1), sort=True)
    for key, index in groups.indices.items():
        here = labels.iloc[index]
        draws = replicated[:, index].sum(axis=1)
        observed = float(here["responders"].sum())
        lower, median, upper = np.quantile(draws, [tail, 0.5, 1.0 - tail])
        rows.append(
            dict(zip(by, cast("tuple[str, ...]", key), strict=True))
            | {"kind": " and ".join(sorted(set(here["kind"])))}
            | {"hours": float(here["hours"].median())}
            | {"observed": int(observed), "n": int(here["n"].sum())}
            | {"lower": lower, "median": median, "upper": upper}
            | {"p_value": mid_p_value(draws, observed)}
        )
    return pd.DataFrame(rows)


def mid_p_value(replicated: np.ndarray, observed: float) -> float:
    """Return the two-sided mid-p of an observed count among replicated ones.

    Twice the smaller tail, draws equal to the observed count counted half in either tail, and 1
    at most. An observed count in the middle of its replicates gives 1.

    Examples
    --------
    >>> import numpy as np
    >>> mid_p_value(np.array([0, 1, 2, 3]), 3)
    0.25
    """
    replicated = np.asarray(replicated)
    equal = 0.5 * float((replicated == observed).mean())
    below = float((replicated < observed).mean()) + equal
    above = float((replicated > observed).mean()) + equal
    return min(1.0, 2.0 * min(below, above))


def _predictive_gate(table: pd.DataFrame) -> Gate:
    """Return whether no count is surprising, by Bonferroni over the rows."""
    limit = _FAMILY_WISE / max(len(table), 1)
    worst = table.iloc[int(table["p_value"].to_numpy().argmin())].to_dict()
    inside = table["observed"].between(table["lower"], table["upper"]).sum()
    arm = arm_words(worst["arm"]).lower()
    named = f"{trial_words(worst['trial'])}, {arm} ({worst['observed']} of {worst['n']})"
    detail = (
        f"{inside} of {len(table)} observed counts lie inside their replicated interval; the most "
        f"surprising is {named}, p = {worst['p_value']:.3f} (a gate at {limit:.4f})."
    )
    return Gate("posterior predictive, known trials", bool(worst["p_value"] >= limit), detail)
