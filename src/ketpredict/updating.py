"""A site's own counts join a fit without a refit: a new trial learns its level.

Every posterior draw gets the weight that the counts have in it, the new trial's effects integrated
out (:mod:`ketpredict.counted_trial`); the weights are smoothed (Pareto-smoothed importance
sampling, Vehtari et al. 2024, J Mach Learn Res 25:72), the draws are picked anew in proportion to
them, and each picked draw gets the effects of one candidate for the new trial. Up to Monte Carlo
error that is the posterior of a refit with the same counts among the published arms, as long as
enough draws keep their weight; how many do is part of what comes back.
"""

from __future__ import annotations

import copy
import dataclasses
import warnings
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import gammaln, xlog1py, xlogy

from ketpredict.basis import population_basis, predictor_ranges
from ketpredict.counted_trial import TrialCandidates, trial_candidates
from ketpredict.design import Design
from ketpredict.design_extension import old_cells, with_trial
from ketpredict.diagnostics import ESS_LIMIT
from ketpredict.errors import ConvergenceError, ConvergenceWarning, DataError
from ketpredict.evidence import Evidence, make_evidence, select_horizons
from ketpredict.importance import PARETO_LIMIT, smoothed_weights
from ketpredict.parameter_dims import coordinates
from ketpredict.parts import ONE_TRIAL
from ketpredict.posterior import Posterior
from ketpredict.predict import predictions
from ketpredict.rows import Rows, encode_rows
from ketpredict.stored_design import design_arrays, design_of, require_patients
from ketpredict.tables import as_table
from ketpredict.unit_outcome import take_units, unit_probability
from ketpredict.untold import draw_variable
from ketpredict.wording import pareto_words
from ketpredict.workers import check_seed

_RESAMPLED = ("posterior", "posterior_predictive", "log_likelihood")
_OF_TRIAL = ("trial_effect", "treatment_deviation", "trial_slope")
_OF_DESIGN = ("trial", "law", "scale", "trial_cell", "reported_cell", "unreported_cell", "unit")
_OF_ROWS = ("population", "arm", "hours", "threshold", "scale", "trial")
_COUNTED = ("arm", "hours", "threshold", "scale", "n", "responders")


def update(
    posterior: Posterior, counts: Any, *, seed: int = 0, candidates: int = 64, strict: bool = False
) -> Posterior:
    """Return the fit with one more trial that it knows: a site's own counts, without a refit.

    For research; not for treatment decisions.

    Parameters
    ----------
    posterior : Posterior
    counts : table or mapping
        One row for each arm of one new trial, as published arms are given
        (:func:`ketpredict.contracts.validate_arms`): ``trial``, ``population``, ``arm``, ``hours``,
        ``n`` and ``responders``; optionally ``threshold``, ``scale``, ``blinding``, ``enriched``,
        ``added_antidepressant`` and summaries of predictors (``bmi_mean``, ``bmi_sd``,
        ``family_history_aud_pct``). All arms are taken jointly: they share the trial's effects.
    seed : int
        Of the picks. The same seed gives the same draws.
    candidates : int
        For the trial's effects, for each draw.
    strict : bool
        Raise instead of warn where too few draws keep their weight.

    Returns
    -------
    Posterior
        With the trial among ``coords["trial"]``, its effects among the draws, its arms in the
        design, and the counts in ``facts["provenance"]["updates"]`` with the effective number of
        draws and the Pareto shape k of the weights. Sampler statistics do not come along; the
        effective sample sizes of the diagnostics shrink by the share of draws that is left.

    Raises
    ------
    DataError
        A problem of the table, a trial that the fit knows already, several trials, a population or
        arm that the fit does not know, or a fit without the data that it was fitted to.
    SavedFitError
        The fit was saved without its patients.
    ConvergenceError
        Too few draws keep their weight, and `strict`.

    Warns
    -----
    ConvergenceWarning
        Pareto k is above 0.7, or the effective number of draws or the smallest effective sample
        size of the diagnostics below 400: fit anew with the counts among the evidence. The verdict
        stays with the fit.
    """
    check_seed("seed", seed)
    require_patients(posterior)
    used = _checked(posterior, counts)
    before = design_of(posterior)
    # Updates one after the other must not pick by the same numbers.
    rng = np.random.default_rng([seed, len(before.trials)])
    after = with_trial(before, used.arms)
    fit = _with_scales(posterior, after, rng)
    new = np.arange(len(before.units), len(after.units))
    found = trial_candidates(fit.draws, after, new, candidates=candidates)
    weights = smoothed_weights(found.log_likelihood)
    index = _resampled(weights.weight, rng)
    groups = _groups(fit, before, after, found, index, rng)
    labels = coordinates(after)
    result = dataclasses.replace(
        fit,
        groups=groups,
        coords={**fit.coords, **{name: labels[name] for name in _OF_DESIGN}},
        trial_values=after.trial_values,
        facts=_facts(posterior, before, after, used, weights.effective_draws, weights.pareto_k),
    )
    for problem in result.problems[len(posterior.problems) :]:
        words = f"The update is not to be trusted: {problem}."
        if strict:
            raise ConvergenceError(words)
        warnings.warn(words, ConvergenceWarning, stacklevel=2)
    return _with_outcomes(result, after, new, rng)


def update_table(before: Posterior, after: Posterior, prob: float = 0.9) -> pd.DataFrame:
    """Return what the counts of the last update did to the probability in their own trial.

    Parameters
    ----------
    before, after : Posterior
        A fit and what :func:`update` made of it.
    prob : float
        Probability content of the intervals.

    Returns
    -------
    DataFrame
        One row for each arm: ``trial``, ``population``, ``arm``, ``hours``, ``threshold``,
        ``scale``, ``responders``, ``n``; ``probability_before``, ``lower_before``,
        ``upper_before`` (an average patient in a new trial, with the interval of one trial);
        ``probability``, ``lower``, ``upper`` (in this trial, which is now known);
        ``effective_draws`` and ``pareto_k`` of the update.
    """
    last = after.facts["provenance"]["updates"][-1]
    table = pd.DataFrame(last["counts"])
    table.insert(0, "population", last["population"])
    table.insert(0, "trial", last["trial"])
    for posterior, ending in ((before, "_before"), (after, "")):
        found = predictions(posterior, _rows_of(posterior, table), prob)
        table[f"probability{ending}"] = found.probability
        table[f"lower{ending}"], table[f"upper{ending}"] = found.trial_interval.T
    table["effective_draws"], table["pareto_k"] = last["effective_draws"], last["pareto_k"]
    return table


def _checked(posterior: Posterior, counts: Any) -> Evidence:
    """Return the counts as evidence of one trial at one horizon."""
    references = {predictor.name: predictor for predictor in posterior.predictors}
    table = as_table(counts)
    if "arm" in table and "arm_class" not in table:
        # Arms that the user's own evidence brought are classed as there.
        own = dict(zip(posterior.coords["arm"], posterior.facts["arm_class"], strict=True))
        table["arm_class"] = table["arm"].map(own)
    evidence = make_evidence(arms=table, references=references, predictors=tuple(references))
    trials = sorted(set(evidence.arms["trial"]))
    if len(trials) != 1:
        raise DataError(
            f"The counts are of {len(trials)} trials ({', '.join(trials)}); expected one. Update "
            "with one trial after the other."
        )
    arms = evidence.arms.assign(scale=evidence.arms["scale"].replace("", None))
    rows = _rows_of(posterior, arms)
    if not rows.new_trial.all():
        raise DataError(
            f"Trial '{trials[0]}' is one that the fit knows already, so that its people would "
            "count twice. Give a trial that is new, or fit again with all of its arms."
        )
    unknown = sorted({str(p) for p in arms["population"][rows.new_population]})
    if unknown:
        raise DataError(
            f"Population {', '.join(unknown)} is not of the fit, whose populations are "
            f"{', '.join(posterior.coords['population'])}. Fit again with the counts among the "
            "evidence."
        )
    used = select_horizons(evidence, posterior.spec.horizons)
    if used.arms.empty:
        raise DataError(
            f"No arm of trial '{trials[0]}' can be used. {' '.join(used.messages)}".strip()
        )
    return used


def _rows_of(posterior: Posterior, table: pd.DataFrame) -> Rows:
    columns = {name: table[name].tolist() for name in _OF_ROWS if name in table}
    for name in ("enriched", "added_antidepressant", "blinding"):
        if name in table:
            columns[name] = table[name].tolist()
    return encode_rows(posterior, columns, len(table))


def _with_scales(posterior: Posterior, after: Design, rng: np.random.Generator) -> Posterior:
    """Return the fit with the spread of improvement on new scales, of which only the prior speaks.

    Counts at 50 % improvement say nothing about it.
    """
    further = len(after.scales) - len(posterior.coords["scale"])
    if not further:
        return posterior
    prior, groups = posterior.spec.priors["improvement_sd"], dict(posterior.groups)
    for name in ("posterior", "prior"):
        old = groups.get(name, {}).get("improvement_sd")
        if old is not None:
            new = draw_variable(prior, (*old.shape[:-1], further), rng)
            groups[name] = {**groups[name], "improvement_sd": np.concatenate([old, new], axis=-1)}
    return dataclasses.replace(posterior, groups=groups)


def _resampled(weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return as many draws as there are, rising, each about its weight's share (systematic)."""
    share = (np.arange(len(weight)) + rng.random()) / len(weight)
    return np.minimum(np.searchsorted(np.cumsum(weight), share), len(weight) - 1)


def _groups(
    posterior: Posterior,
    before: Design,
    after: Design,
    found: TrialCandidates,
    index: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return the groups of the picked draws, one candidate for the new trial in each."""
    lead = posterior.groups["posterior"]["intercept"].shape[:2]
    groups: dict[str, Any] = {
        name: {
            variable: values.reshape(posterior.n_draws, *values.shape[2:])[index].reshape(
                values.shape
            )
            for variable, values in variables.items()
        }
        if name in _RESAMPLED
        else dict(variables)
        for name, variables in posterior.groups.items()
        if name != "sample_stats"
    }
    log_weight = found.log_weight[index]
    below = np.cumsum(np.exp(log_weight - log_weight.max(axis=1, keepdims=True)), axis=1)
    picked = (below < rng.random((len(index), 1)) * below[:, -1:]).sum(axis=1)
    own = groups["posterior"]
    for name in _OF_TRIAL:
        if name in own:
            values = getattr(found, name)[index, picked]
            values = values.reshape(*lead, 1, *values.shape[1:])
            own[name] = np.concatenate([own[name], values], axis=2)
    if "trial_mean" in own:
        came_from = old_cells(before, after)
        means = own["trial_mean"][..., np.maximum(came_from, 0)].copy()
        for cell in np.flatnonzero(came_from < 0):
            k = after.cells[cell, 1]
            means[..., cell] = found.trial_mean[index, picked, k].reshape(lead)
        own["trial_mean"] = means
        if "trial_mean_reported" in own:
            own["trial_mean_reported"] = means[..., : after.n_reported].copy()
    arrays = design_arrays(after)
    groups["constant_data"] = {name: arrays[name] for name in groups["constant_data"]}
    groups["observed_data"] = {"responders": after.units.responders}
    return groups


def _with_outcomes(
    posterior: Posterior, after: Design, new: np.ndarray, rng: np.random.Generator
) -> Posterior:
    """Return the fit with replicates and log likelihoods of the new arms, where it keeps such."""
    groups = dict(posterior.groups)
    units = take_units(after.units, new)
    own = dataclasses.replace(after, units=units)
    probability = np.clip(unit_probability(posterior.parameters, own), 0.0, 1.0)
    n, responders = units.n, units.responders
    choose = gammaln(n + 1.0) - gammaln(responders + 1.0) - gammaln(n - responders + 1.0)
    log_likelihood = xlogy(responders, probability) + xlog1py(n - responders, -probability) + choose
    replicated = rng.binomial(n.astype(int), probability).astype(np.int32)
    for name, values in (("posterior_predictive", replicated), ("log_likelihood", log_likelihood)):
        old = groups.get(name, {}).get("responders")
        if old is not None:
            further = values.reshape(*old.shape[:2], -1)
            joined = np.concatenate([old, further], axis=2)
            groups[name] = {**groups[name], "responders": joined}
    return dataclasses.replace(posterior, groups=groups)


def _facts(
    posterior: Posterior,
    before: Design,
    after: Design,
    used: Evidence,
    effective: float,
    shape: float,
) -> dict[str, Any]:
    """Return the facts of the updated fit: basis, ranges, diagnostics, provenance, messages."""
    facts = copy.deepcopy(posterior.facts)
    arms, trial = used.arms, str(used.arms["trial"].iloc[0])
    basis = population_basis(after, used.participants)
    patients = {entry["population"]: entry["patients"] for entry in facts["basis"]}
    for entry in basis:
        entry["patients"] = patients.get(entry["population"], 0)
    facts["basis"], facts["ranges"] = basis, predictor_ranges(after)
    counts = [
        {name: value.item() if hasattr(value, "item") else value for name, value in row.items()}
        for row in arms[list(_COUNTED)].to_dict("records")
    ]
    facts["provenance"].setdefault("updates", []).append(
        {
            "trial": trial,
            "population": str(arms["population"].iloc[0]),
            "counts": counts,
            "effective_draws": effective,
            "pareto_k": shape if np.isfinite(shape) else None,
        }
    )
    words = ", ".join(f"{row['responders']:g} of {row['n']:g} ({row['arm']})" for row in counts)
    message = f"Updated without a refit with the counts of {trial}: {words}."
    facts["messages"] = [*facts["messages"], *used.messages, message]
    further = np.setdiff1d(after.across_idx, before.across_idx)
    if after.has_across and len(further):
        names = ", ".join(after.predictor_names[k] for k in further)
        facts["messages"].append(
            f"Enough trials now report {names} for a fit to give their trial means a slope of "
            "their own; an update cannot."
        )
    if ONE_TRIAL in before.left_out.values():
        facts["messages"].append(
            "The fit knew one trial, and left out how trials differ; an update cannot add it. Fit "
            "again with these counts among the evidence to learn it."
        )
    diagnostics = facts["diagnostics"]
    kept = effective / posterior.n_draws
    # Chains have effective sample sizes, approximations effective draws; the others are None.
    sizes = [
        name
        for name in ("ess_bulk", "ess_tail", "effective_draws")
        if diagnostics.get(name) is not None
    ]
    for name in sizes:
        diagnostics[name] = diagnostics[name] * kept
    enough = float(np.min([effective, *(diagnostics[name] for name in sizes)]))
    if not (shape <= PARETO_LIMIT and enough >= ESS_LIMIT):
        diagnostics["problems"] = [
            *diagnostics["problems"],
            f"the counts of {trial} moved the fit far: their weights are worth {effective:.0f} of "
            f"{posterior.n_draws} draws (smallest effective sample size {enough:.0f}, limit "
            f"{ESS_LIMIT:g}), Pareto k {pareto_words(shape)} (limit {PARETO_LIMIT}); fit again "
            "with these counts among the evidence",
        ]
    return facts
