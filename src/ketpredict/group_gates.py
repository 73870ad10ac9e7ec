"""Gates on groups of patients: predictors' effects, what is missing, where response begins.

All are judged as new trials, so that effects fitted to a group do not excuse it.
"""

from __future__ import annotations

import itertools

import numpy as np

from ketpredict.association_checks import population_contrasts
from ketpredict.discrepancies import family_p_value
from ketpredict.gates import FAMILY_WISE, Gate, as_often
from ketpredict.posterior import Posterior
from ketpredict.replicates import NEW_TRIAL, Replicates, replicate
from ketpredict.wording import population_words


def association_gate(posterior: Posterior) -> Gate | None:
    """Return whether slopes of populations lie no further apart than the prior lets them.

    None where fewer than two populations have enough patients.
    """
    table, p_value = population_contrasts(posterior)
    if table.empty:
        return None
    row = table.iloc[int(table["p_value"].to_numpy().argmin())]
    first, second = (population_words(str(row[name])) for name in ("first", "second"))
    detail = (
        f"The most surprising of {len(table)} is {row['predictor']}: its slopes in {first} and "
        f"{second} lie {abs(row['slope']):.2f} apart on the latent scale, {row['observed']:.1f} "
        f"standard errors, replicated {row['lower']:.1f} to {row['upper']:.1f}; "
        f"{as_often(p_value)}."
    )
    return Gate("associations by population", p_value >= FAMILY_WISE, detail)


def reversal_gate(posterior: Posterior) -> Gate | None:
    r"""Return whether no predictor's effect has opposite signs in two populations.

    The model allows populations their own slopes, so that a reversal is fitted rather than missed;
    it is told where the posterior probability that the slopes :math:`\gamma_k + \delta_k + b_{pk}`
    of two populations differ in sign is above 95 %, by Bonferroni over predictors and pairs. None
    where there is one population, or no predictor.
    """
    populations = posterior.coords["population"]
    own = posterior.parameters
    if len(populations) < 2 or not posterior.predictors:
        return None
    common = own["prognostic_slope"] + own["predictive_slope"]
    positive = common[:, None] + own["population_slope"][:, : len(populations)] > 0
    pairs = list(itertools.combinations(range(len(populations)), 2))
    apart = np.array([(positive[:, a] != positive[:, b]).mean(axis=0) for a, b in pairs])
    place, k = np.unravel_index(int(apart.argmax()), apart.shape)
    limit = 1.0 - FAMILY_WISE / apart.size
    first, second = (population_words(populations[p]) for p in pairs[place])
    detail = (
        f"Most likely to be of opposite sign is {posterior.predictors[k].name} in {first} and "
        f"{second}: probability {apart[place, k]:.2f} (a gate at {limit:.3f})."
    )
    return Gate("effects of one sign", bool(apart[place, k] <= limit), detail)


def missingness_gate(posterior: Posterior) -> Gate | None:
    """Return whether patients who tell the same predictors respond as often as replicated.

    Missing values are taken as missing at random given what is known; where they hang on the
    outcome, those who lack a predictor respond more or less often than they should. None where all
    patients tell the same.
    """
    return _gate(
        _patients(replicate(posterior, ("kind", "known"), NEW_TRIAL)),
        "known",
        "posterior predictive, by missingness",
        "patients who tell {}",
    )


def threshold_gate(posterior: Posterior) -> Gate | None:
    """Return whether trials that count another improvement as response agree with the rest.

    Thresholds are converted by a normal law of improvement; a skewed one shows here. None where
    all trials have one threshold.
    """
    return _gate(
        replicate(posterior, ("threshold",), NEW_TRIAL),
        "threshold",
        "posterior predictive, by threshold",
        "trials that count {:g} % as response",
    )


def _patients(found: Replicates) -> Replicates:
    here = (found.labels["kind"] == "patients").to_numpy(bool)
    return Replicates(
        labels=found.labels[here].reset_index(drop=True),
        observed=found.observed[here],
        n=found.n[here],
        replicated=found.replicated[:, here],
        setting=found.setting,
    )


def _gate(found: Replicates, by: str, name: str, words: str) -> Gate | None:
    if len(found.labels) < 2:
        return None
    p_value, place = family_p_value(found)
    low, high = np.quantile(found.replicated[:, place], [0.05, 0.95])
    who = words.format(found.labels[by].iloc[place])
    detail = (
        f"The most surprising of {len(found.labels)} groups: {who}, {found.observed[place]} of "
        f"{found.n[place]} responded, replicated {low:.0f} to {high:.0f}; {as_often(p_value)}."
    )
    return Gate(name, p_value >= FAMILY_WISE, detail)
