"""Fits compared, and what a predictor is worth: leave-one-out, patient by patient.

:func:`compare` and :func:`compare_fits` need a fit of each model; :func:`predictor_worth` asks the
joint model alone; :func:`elpd` is the leave-one-out of one fit as ArviZ has it.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats import ELPDDataLOO
from arviz_stats.loo.compare import compare as arviz_compare
from scipy.special import logsumexp
from scipy.stats import norm

from ketpredict.design import Design
from ketpredict.errors import DataError, KetpredictWarning
from ketpredict.importance import PARETO_LIMIT
from ketpredict.loo import (
    KINDS,
    MOST_AT_ONCE,
    event_log_likelihood,
    events_of,
    leave_one_out,
    left_out_weights,
    one_by_one,
)
from ketpredict.posterior import Posterior
from ketpredict.stored_design import design_of
from ketpredict.unit_outcome import take_units, unit_probability

_DIGITS = 9
_GROUP = ["trial", "population", "arm", "hours", "kind"]
_OUTCOME = ["scale", "threshold"]
_LABELS = [*_GROUP, *_OUTCOME]


def compare(fits: Mapping[str, Any], kind: str = "all") -> pd.DataFrame:
    """Return fitted classifiers beside each other, by leave-one-out of the same patients and arms.

    Parameters
    ----------
    fits : mapping of str to KetamineResponseClassifier
        At least two, by name, fitted to the same data: with and without a predictor, a level of
        pooling, or the literature.
    kind : {"all", "patients", "arm"}
        Which patients and published arms to compare by.

    Returns
    -------
    DataFrame
        See :func:`compare_fits`.

    Raises
    ------
    DataError
        Not two fitted classifiers, data that differ (the message says where), patients that cannot
        be paired, or weights that are not whole numbers.
    """
    if not isinstance(fits, Mapping):
        raise DataError(
            f"compare takes a mapping of names to fitted classifiers, such as {{'with': a, "
            f"'without': b}}; found {type(fits).__name__}."
        )
    taken: dict[str, Posterior] = {}
    for name, given in fits.items():
        fit = getattr(given, "fit_", given)
        if not isinstance(fit, Posterior):
            raise DataError(
                f"'{name}' is {type(fit).__name__}; expected a fitted classifier: call its fit "
                "first, or load one."
            )
        taken[str(name)] = fit
    return compare_fits(taken, kind)


def elpd(posterior: Posterior) -> ELPDDataLOO:
    """Return the leave-one-out of a fit as ArviZ has it: every patient and every published arm.

    Returns
    -------
    ELPDDataLOO
        ``elpd``, ``se``, ``p`` and pointwise ``elpd_i`` and ``pareto_k`` over ``event``, with
        labels of each event as coordinates.

    Raises
    ------
    DataError
        Weights that are not whole numbers.

    Warns
    -----
    KetpredictWarning
        Some Pareto k are too large, so that the sum is rough.
    """
    events = one_by_one(leave_one_out(posterior).events)
    names = [*_LABELS, "unit", "responders", "n"]
    coords = {name: ("event", events[name].to_numpy()) for name in names}
    found = _as_elpd(events, posterior.n_draws, coords)
    if found.warning:
        above = events[events["pareto_k"] > found.good_k]
        counts = [
            f"{(above['kind'] == kind).sum()} of {(events['kind'] == kind).sum()} {words}"
            for kind, words in (("patients", "patients"), ("arm", "published arms"))
            if (above["kind"] == kind).any()
        ]
        warnings.warn(
            f"Pareto k is above {found.good_k:.2f} for {' and '.join(counts)}: leaving these out "
            "by weights is rough. validate() leaves whole trials out by refits.",
            KetpredictWarning,
            stacklevel=3,
        )
    return found


def compare_fits(fits: Mapping[str, Posterior], kind: str = "all") -> pd.DataFrame:
    """Return fits to the same data beside each other, by leave-one-out.

    With and without a predictor, a level of pooling, or the literature. The same patients and arms
    are paired however the fits merge equal rows.

    Parameters
    ----------
    fits : mapping of str to Posterior
        At least two, by name.
    kind : {"all", "patients", "arm"}
        Which events to compare by.

    Returns
    -------
    DataFrame
        The columns of :func:`arviz_stats.compare`, the best first: among them ``elpd_diff`` with
        its standard error ``dse``, ``diag_elpd`` (how many Pareto k are too large) and stacking
        ``weight``; and ``fit``.

    Raises
    ------
    DataError
        Fewer than two fits, data that differ, or patients that cannot be paired.
    """
    if len(fits) < 2 or kind not in ("all", *KINDS):
        raise DataError(
            f"compare_fits takes at least two fits and kind 'all', 'patients' or 'arm'; found "
            f"{len(fits)} and {kind!r}."
        )
    shared = set.intersection(*({p.name for p in fit.predictors} for fit in fits.values()))
    tables = {name: _keyed(fit, shared, kind) for name, fit in fits.items()}
    keys = {name: table["key"].tolist() for name, table in tables.items()}
    first = next(iter(keys))
    other = [name for name, key in keys.items() if key != keys[first]]
    if other:
        raise DataError(
            f"'{other[0]}' and '{first}' were not fitted to the same patients and arms "
            f"({len(keys[other[0]])} and {len(keys[first])}), so that they cannot be compared: "
            f"{_why_apart(other[0], tables[other[0]], first, tables[first])}. Fit both to the same "
            "data; what differs may be the model."
        )
    _check_pairs(tables)
    found = {name: _as_elpd(table, fits[name].n_draws) for name, table in tables.items()}
    compared = arviz_compare(found, round_to="none")
    return compared.reset_index(names="fit")


def _keyed(posterior: Posterior, shared: set[str], kind: str) -> pd.DataFrame:
    """Return events one by one with a key that all fits share, and with all else that they know."""
    design = design_of(posterior)
    events = one_by_one(leave_one_out(posterior).events)
    if kind != "all":
        events = events[events["kind"] == kind].reset_index(drop=True)
    values, unit = design.units.value, events["unit"].to_numpy()
    columns = [*_LABELS, "responders", "n"]
    key = [tuple(row) for row in events[columns].itertuples(index=False)]
    own: list[tuple[Any, ...]] = [() for _ in key]
    for k, predictor in enumerate(posterior.predictors):
        column = predictor.from_scale(values[unit, k]) if predictor.kind != "binary" else None
        column = values[unit, k] if column is None else np.asarray(column)
        words = [f"{value:.{_DIGITS}g}" for value in column]
        if predictor.name in shared:
            key = [(*row, (predictor.name, word)) for row, word in zip(key, words, strict=True)]
        else:
            own = [(*row, (predictor.name, word)) for row, word in zip(own, words, strict=True)]
    table = events[["elpd", "lppd", "pareto_k", *columns]].assign(
        key=[str(sorted(map(str, row))) for row in key],
        own=[str(sorted(row)) for row in own],
    )
    return table.sort_values(["key", "own"], kind="stable", ignore_index=True)


def _why_apart(name: str, one: pd.DataFrame, other_name: str, other: pd.DataFrame) -> str:
    """Return the first thing in which the data of two fits differ, in words."""
    for owner, table, lacking, rest in (
        (name, one, other_name, other),
        (other_name, other, name, one),
    ):
        lone = sorted(set(table["trial"]) - set(rest["trial"]))
        if lone:
            more = f" and {len(lone) - 3} more" if len(lone) > 3 else ""
            return (
                f"only '{owner}' and not '{lacking}' has the trials "
                f"{', '.join(map(repr, lone[:3]))}{more}"
            )
    for columns in (_GROUP, _LABELS):
        mine, theirs = (
            table.groupby(columns)[["responders", "n"]].sum().add_suffix(ending)
            for table, ending in ((one, "_one"), (other, "_other"))
        )
        joined = mine.join(theirs, how="outer").fillna(0)
        differs = (joined["n_one"] != joined["n_other"]) | (
            joined["responders_one"] != joined["responders_other"]
        )
        if differs.any():
            row = joined[differs].reset_index().iloc[0]
            where = ", ".join(f"{column} {row[column]}" for column in columns)
            return (
                f"of {where}, '{name}' has {row['responders_one']:g} responders of "
                f"{row['n_one']:g} and '{other_name}' {row['responders_other']:g} of "
                f"{row['n_other']:g}"
            )
    return "the same patients have other values of a predictor that both fits have"


def _check_pairs(tables: Mapping[str, pd.DataFrame]) -> None:
    """Refuse patients whom two fits tell apart by different predictors."""
    apart = {}
    for name, table in tables.items():
        spread = table.groupby("key")["own"].transform("nunique") > 1
        apart[name] = table["own"].where(spread, "")
    for first in apart:
        for second in apart:
            both = (apart[first] != "") & (apart[second] != "")
            if (apart[first][both] != apart[second][both]).any():
                raise DataError(
                    f"'{first}' and '{second}' tell the same patients apart by different "
                    "predictors, so that they cannot be paired. Compare each with a fit that has "
                    "the predictors of both, or with one that has neither."
                )


def _as_elpd(
    table: pd.DataFrame, n_draws: int, coords: Mapping[str, Any] | None = None
) -> ELPDDataLOO:
    """Return the events as ArviZ takes them."""
    elpd = table["elpd"].to_numpy()
    good_k = min(PARETO_LIMIT, 1.0 - 1.0 / np.log10(n_draws))
    return ELPDDataLOO(
        elpd=float(elpd.sum()),
        se=float(np.sqrt(len(elpd)) * elpd.std(ddof=min(1, len(elpd) - 1))),
        p=float((table["lppd"] - table["elpd"]).sum()),
        n_samples=n_draws,
        n_data_points=len(elpd),
        scale="log",
        warning=bool(not (table["pareto_k"] <= good_k).all()),
        good_k=good_k,
        elpd_i=xr.DataArray(elpd, coords, "event"),
        pareto_k=xr.DataArray(table["pareto_k"].to_numpy(), coords, "event"),
    )


def predictor_worth(posterior: Posterior, prob: float = 0.9) -> pd.DataFrame:
    r"""Return what knowing each predictor is worth for patients' predictions.

    The joint model projects itself: a patient's probability without predictor `k` is the average
    over its law given what else is known, which is the best prediction that the same draws can make
    without it. No other fit is needed, nor does the answer depend on how its slopes were shrunk
    (projection predictive selection, Piironen, Paasiniemi and Vehtari 2020, Electron J Stat
    14:2155, with the model's own law of the predictors as the projection). Worth is the leave-one-
    out log score of patients who know the predictor, with it minus without it, draws weighed alike;
    and the information in it by the model, :math:`E\,\mathrm{KL}(p \,\|\, p_{-k})` for each
    patient, in every draw.

    Parameters
    ----------
    prob : float
        Probability content of the interval of the information.

    Returns
    -------
    DataFrame
        ``predictor``, ``patients`` (who know it), ``elpd_difference`` (sum over them, above 0
        where the predictor helps), ``se``, ``helps`` (normal probability that the difference of
        all such patients is above 0), ``information``, ``lower`` and ``upper`` (nats per patient).
        NaN where nobody knows it.
    """
    design = design_of(posterior)
    rows = []
    for k, predictor in enumerate(posterior.predictors):
        known = (design.units.is_arm == 0) & ~np.isnan(design.units.value[:, k])
        row: dict[str, Any] = {"predictor": predictor.name}
        rows.append(row | _worth(posterior, design, k, np.flatnonzero(known), prob))
    return pd.DataFrame(rows)


def _worth(
    posterior: Posterior, design: Design, k: int, index: np.ndarray, prob: float
) -> dict[str, float]:
    difference: list[float] = []
    times: list[float] = []
    divergence = np.zeros(posterior.n_draws)
    size = max(1, MOST_AT_ONCE // posterior.n_draws)
    for start in range(0, len(index), size):
        units = take_units(design.units, index[start : start + size])
        value = units.value.copy()
        value[:, k] = np.nan
        with_it, without = (
            np.clip(unit_probability(posterior.parameters, some), 1e-12, 1.0 - 1e-12)
            for some in (
                dataclasses.replace(design, units=units),
                dataclasses.replace(design, units=dataclasses.replace(units, value=value)),
            )
        )
        kl = with_it * np.log(with_it / without)
        kl += (1.0 - with_it) * np.log((1.0 - with_it) / (1.0 - without))
        divergence += kl @ units.n
        for place, unit in enumerate(index[start : start + size]):
            for responders, n, number in events_of(design, int(unit)):
                likelihood = event_log_likelihood(responders, n, with_it[:, place])
                log_weight, _ = left_out_weights(likelihood)
                reduced = event_log_likelihood(responders, n, without[:, place])
                gain = logsumexp(log_weight + likelihood) - logsumexp(log_weight + reduced)
                difference.append(float(gain))
                times.append(number)
    if not difference:
        return dict.fromkeys(
            ("elpd_difference", "se", "helps", "information", "lower", "upper"), np.nan
        ) | {"patients": 0.0}
    gain_of, number_of = np.array(difference), np.array(times)
    people, total = number_of.sum(), number_of @ gain_of
    se = float(np.sqrt(number_of @ (gain_of - total / people) ** 2))
    low, high = np.quantile(divergence / people, [(1.0 - prob) / 2.0, (1.0 + prob) / 2.0])
    return {
        "patients": float(people),
        "elpd_difference": float(total),
        "se": se,
        "helps": float(norm.cdf(total / se)) if se > 0 else 0.5,
        "information": float(divergence.mean() / people),
        "lower": float(low),
        "upper": float(high),
    }
