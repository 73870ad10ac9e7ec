r"""Replicated responders: what the fitted model would see if the same people came again.

Two settings. In the *known trial* a trial's own intercept, treatment deviation and slopes are those
that were fitted to the very counts that are checked; the p-values lean towards one half (Gelman,
Meng and Stern 1996, Stat Sinica 6:733). As a *new trial* these effects are drawn anew from their
law, :math:`v_t \sim N(0, s^2)` and so on, once for each trial and draw, so that all units of a
trial share them: the variance that they make stands outside the binomial. Replicates of this
kind are *mixed* (Marshall and Spiegelhalter 2003, Stat Med 22:1649): nearly cross-validated, at no
refit. What people and arms of a trial tell of their predictors is kept; means and rates that nobody
tells are drawn anew with the effects.

The prior's draws know no single trial: with :func:`ketpredict.summary.prior_of` a new trial gives
the prior predictive distribution.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from ketpredict.design import Design
from ketpredict.errors import DataError
from ketpredict.posterior import Posterior
from ketpredict.short_form import ShortForm
from ketpredict.stored_design import design_of
from ketpredict.unit_outcome import take_units, unit_probability
from ketpredict.workers import check_seed

KNOWN_TRIAL, NEW_TRIAL = "known_trial", "new_trial"
SETTINGS = (KNOWN_TRIAL, NEW_TRIAL)
BY_ARM = ("trial", "population", "arm")
_MOST_AT_ONCE = 4_000_000


@dataclasses.dataclass(frozen=True, repr=False)
class Replicates(ShortForm):
    """Responders observed and replicated, added up by group.

    Parameters
    ----------
    labels : DataFrame
        One row per group: what it was added up by, ``kind`` (arm, patients or both), ``hours``
        (median) and ``active`` (whether all its people are in active arms).
    observed, n : ndarray of int, shape (group,)
    replicated : ndarray of int, shape (draw, group)
    setting : str
        ``known_trial`` or ``new_trial``.
    """

    labels: pd.DataFrame
    observed: np.ndarray
    n: np.ndarray
    replicated: np.ndarray
    setting: str


def unit_labels(design: Design) -> pd.DataFrame:
    """Return one labelled row per unit, with what it tells of its predictors and its arm's class.

    Returns
    -------
    DataFrame
        The columns of :meth:`ketpredict.design.Design.labels`, ``known`` (the predictors that the
        unit tells, by name), ``active`` and ``unit`` (its position).
    """
    told = ~np.isnan(design.units.value)
    names = np.array(design.predictor_names, dtype=object)
    known = [", ".join(names[row]) or "none" for row in told]
    columns = {"known": known, "active": design.units.active > 0, "unit": np.arange(len(told))}
    return design.labels().assign(**columns)


def replicate(
    posterior: Posterior,
    by: Sequence[str] = BY_ARM,
    setting: str = KNOWN_TRIAL,
    seed: int = 0,
) -> Replicates:
    """Return responders observed and replicated by group, for fits of any size.

    Replicates in known trials that the fit keeps are used; all others are drawn here, some units at
    a time.

    Parameters
    ----------
    by : sequence of str
        What to add up over: columns of :func:`unit_labels`, such as ``("population",)``,
        ``("arm", "hours")``, ``("kind",)`` or ``("known",)``, the missingness pattern.
    setting : {"known_trial", "new_trial"}
    seed : int

    Raises
    ------
    DataError
        An unknown setting or column, weights that are not whole numbers, or the prior's draws in a
        known trial, of which they say nothing.
    """
    design = design_of(posterior)
    labels = unit_labels(design)
    _check(posterior, design, labels, by, setting)
    group, rows = _groups(labels, by)
    count = len(rows)
    kept = posterior.groups.get("posterior_predictive", {}).get("responders")
    if setting == KNOWN_TRIAL and kept is not None:
        units = kept.reshape(-1, kept.shape[-1])
        replicated = np.stack([units[:, group == g].sum(axis=1) for g in range(count)], axis=1)
    else:
        check_seed("seed", seed)
        rng = np.random.default_rng([seed, SETTINGS.index(setting)])
        parameters: Any = posterior.parameters
        if setting == NEW_TRIAL:
            parameters = in_new_trials(posterior, design, rng)
        replicated = _drawn(parameters, design, group, count, rng)
    return Replicates(
        labels=rows,
        observed=np.bincount(group, design.units.responders, count).round().astype(int),
        n=np.bincount(group, design.units.n, count).round().astype(int),
        replicated=replicated,
        setting=setting,
    )


def probability_draws(
    posterior: Posterior,
    units: np.ndarray,
    setting: str,
    rng: np.random.Generator,
    *,
    by: Sequence[str] = BY_ARM,
    most: int,
) -> np.ndarray:
    """Return the response probability of some units in some draws, evenly thinned.

    Parameters
    ----------
    units : ndarray of int
    by : sequence of str
        Labels that will be asked for; checked here.
    most : int
        Draws to return at most.

    Returns
    -------
    ndarray of shape (draw, unit)
    """
    design = design_of(posterior)
    _check(posterior, design, unit_labels(design), by, setting)
    parameters: dict[str, np.ndarray] = dict(posterior.parameters)
    if setting == NEW_TRIAL:
        parameters = in_new_trials(posterior, design, rng)
    some = np.linspace(0, posterior.n_draws - 1, min(most, posterior.n_draws)).astype(int)
    thinned = {name: values[some] for name, values in parameters.items()}
    result = np.empty((len(some), len(units)))
    size = max(1, _MOST_AT_ONCE // len(some))
    for start in range(0, len(units), size):
        part = slice(start, start + size)
        chosen = dataclasses.replace(design, units=take_units(design.units, units[part]))
        result[:, part] = unit_probability(thinned, chosen)
    return np.clip(result, 0.0, 1.0)


def in_new_trials(
    posterior: Posterior, design: Design, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return the draws of the parameters with every trial's own effects drawn anew from their law.

    Returns
    -------
    dict of str to ndarray
        As :attr:`ketpredict.posterior.Posterior.parameters`; ``trial_effect``,
        ``treatment_deviation``, ``trial_slope`` and the means that nobody tells are new.
    """
    parameters, draws = dict(posterior.parameters), posterior.draws
    shape = (posterior.n_draws, len(design.trials))
    for name, part in (
        ("trial_effect", "trial_intercept"),
        ("treatment_deviation", "trial_treatment"),
    ):
        own = draws.unseen_scale(part)[:, None] * rng.normal(size=shape)
        parameters[name] = np.pad(own, ((0, 0), (0, 1)))
    deviation = np.sqrt(draws.slope_variance("trial"))[:, None, :]
    slopes = deviation * rng.normal(size=(*shape, len(design.predictors)))
    parameters["trial_slope"] = np.pad(slopes, ((0, 0), (0, 1), (0, 0)))
    # Draws of the prior have no means of single trials: all are new.
    first = design.n_reported if "trial_mean" in posterior.groups["posterior"] else 0
    owner = design.cells[first:, 1]
    spread = parameters["predictor_between_scale"][:, owner]
    mean = draws.location()[:, owner] + spread * rng.normal(size=spread.shape)
    parameters["trial_mean"] = np.concatenate([parameters["trial_mean"][:, :first], mean], axis=1)
    return parameters


def _check(
    posterior: Posterior, design: Design, labels: pd.DataFrame, by: Sequence[str], setting: str
) -> None:
    if setting not in SETTINGS:
        raise DataError(f"setting is {setting!r}; expected 'known_trial' or 'new_trial'.")
    unknown = [name for name in by if name not in labels]
    if isinstance(by, str) or not len(by) or unknown:
        raise DataError(f"by is {by!r}; expected a list of {', '.join(labels.columns)}.")
    if not np.array_equal(design.units.n, design.units.n.round()):
        raise DataError(
            "This fit has weights that are not whole numbers, so that there is no replicate of its "
            "responders. Fit without such weights to check it."
        )
    if setting == KNOWN_TRIAL and "trial_effect" not in posterior.groups["posterior"]:
        raise DataError("The prior says nothing of single trials; ask for a new trial.")


def _groups(labels: pd.DataFrame, by: Sequence[str]) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the group of each unit, and one labelled row for each group."""
    group = np.empty(len(labels), dtype=int)
    rows = []
    keys = labels[list(by)].agg(tuple, axis=1)
    for place, (key, index) in enumerate(labels.groupby(keys, sort=True).indices.items()):
        group[index] = place
        here = labels.iloc[index]
        rows.append(
            {"kind": " and ".join(sorted(set(here["kind"])))}
            | {"hours": float(here["hours"].median()), "active": bool(here["active"].all())}
            | dict(zip(by, cast("tuple[Any, ...]", key), strict=True))
        )
    table = pd.DataFrame(rows)
    return group, table[[*by, *(name for name in table if name not in by)]]


def _drawn(
    parameters: Any, design: Design, group: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Return replicated responders of each group, (draw, group)."""
    draws = len(parameters["intercept"])
    result = np.zeros((draws, count), dtype=int)
    size = max(1, _MOST_AT_ONCE // draws)
    for start in range(0, len(group), size):
        part = np.arange(start, min(start + size, len(group)))
        some = dataclasses.replace(design, units=take_units(design.units, part))
        # Sums of weights may leave 1 by a rounding error, which the generator refuses.
        probability = np.clip(unit_probability(parameters, some), 0.0, 1.0)
        drawn = rng.binomial(some.units.n.astype(int), probability)
        for place in np.unique(group[part]):
            result[:, place] += drawn[:, group[part] == place].sum(axis=1)
    return result
