"""What a report says of a fit's origin, how to make it again, and where its limits are."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
from typing import Any

import numpy as np

from ketpredict.evidence import load_evidence
from ketpredict.field_of_fit import is_of_ketamine
from ketpredict.posterior import Posterior
from ketpredict.report_tables import Table
from ketpredict.spec import load_spec
from ketpredict.stored_design import design_of
from ketpredict.wording import MODEL_LIMITS, arm_in_sentence, counted, given_title, population_words

_WRITERS = ("ketpredict", "matplotlib", "jinja2", "numpy", "scipy", "arviz")
PATIENTS = "PATIENTS.csv"
ARMS = "ARMS.csv"
"""Stand for the tables of patients and of own arms, whose names a fit does not keep."""
SHIPPED_MODELS = ("published", "odds_ratios", "rates")
_SETTINGS = ("draws", "tune", "chains", "target_accept", "inference")


def title_and_outcome(posterior: Posterior) -> tuple[str, str]:
    """Return what a fit is a model of, and what it predicts.

    The specifications that ship speak of this package's field. Where the data are of another one,
    what they say of it is left out.
    """
    spec, arms = posterior.spec, posterior.coords["arm"]
    shipped = {load_spec(name).title for name in SHIPPED_MODELS}
    if is_of_ketamine(arms) or spec.title not in shipped:
        return spec.title, spec.outcome
    label = posterior.facts.get("labels", {}).get("response", "response")
    named = "response, as the data define it" if label in (1, True, "1") else f"{label}"
    return given_title(arms, len(posterior.predictors)), named


def origin_table(posterior: Posterior) -> Table:
    """Return hashes, seed, settings and versions of a fit."""
    provenance, estimator = posterior.facts["provenance"], posterior.facts.get("estimator", {})
    sampler = provenance.get("sampler", {})
    rows = [
        ("Model", posterior.spec.name),
        ("Specification (SHA-256)", _told(provenance.get("specification"))),
        ("Evidence (SHA-256)", _told(provenance.get("evidence"))),
        ("Evidence from", _told(provenance.get("evidence_source"))),
        ("Seed of the sampler", _told(sampler.get("seed"))),
        *((name.replace("_", " ").capitalize(), _told(sampler.get(name))) for name in _SETTINGS),
        ("Draws in the file", f"{posterior.n_draws}"),
        ("Python of the fit", _told(provenance.get("python"))),
        *(
            (f"{name} of the fit", version)
            for name, version in provenance.get("versions", {}).items()
        ),
        ("Python of this report", platform.python_version()),
        *((f"{name} of this report", importlib.metadata.version(name)) for name in _WRITERS),
    ]
    if estimator.get("random_state") is not None:
        rows.insert(4, ("random_state of the estimator", _told(estimator["random_state"])))
    return Table(
        "origin",
        "Where this fit comes from",
        ("What", "Value"),
        tuple(rows),
        "Same seed, data, versions and machine give the same posterior to the last bit.",
    )


def commands(posterior: Posterior) -> tuple[tuple[str, str], ...]:
    """Return what to type to make the fit and this report again, each with what it does."""
    again = _fit_command(posterior)
    first = [("Fit again", again)] if again else []
    return (
        *first,
        ("Checks, with exit status", "ketpredict check fit.nc"),
        (
            "Leave-one-trial-out",
            "ketpredict validate fit.nc --json > validation.json",
        ),
        ("Slopes without the literature", "ketpredict literature fit.nc"),
        (
            "This report",
            "ketpredict report fit.nc --validation validation.json --output report.html",
        ),
    )


def tables_of(posterior: Posterior) -> tuple[str, ...]:
    """Return what stands for a table in a command of :func:`commands`."""
    words = shlex.split(_fit_command(posterior))
    return tuple(name for name in (PATIENTS, ARMS) if name in words)


def _fit_command(posterior: Posterior) -> str:
    """Return the command of the fit; empty where no command line makes it."""
    estimator, provenance = posterior.facts.get("estimator", {}), posterior.facts["provenance"]
    sampler, source = provenance.get("sampler", {}), _source(posterior)
    seed = estimator.get("random_state")
    if not isinstance(estimator.get("model"), str) or seed is None or provenance.get("updates"):
        return ""
    patients, arms = _own_rows(posterior)
    words = ["ketpredict", "fit"]
    words += [PATIENTS] if patients else []
    words += ["--output", "fit.nc", "--model", estimator["model"]]
    words += [] if "published" in source else ["--evidence", "none"]
    words += ["--arms", ARMS] if arms else []
    if estimator.get("predictors"):
        words += ["--predictors", ",".join(estimator["predictors"])]
    words += ["--seed", str(seed)]
    for name in _SETTINGS:
        if name in sampler:
            words += [f"--{name.replace('_', '-')}", str(sampler[name])]
    return " ".join(shlex.quote(word) for word in words)


def _own_rows(posterior: Posterior) -> tuple[bool, bool]:
    """Return whether patients, and whether arms, are others than the published ones."""
    design = design_of(posterior)
    published = load_evidence() if "published" in _source(posterior) else None
    found = []
    for of_arms in (False, True):
        rows = (design.units.is_arm > 0) == of_arms
        trials = {design.trials[i] for i in np.unique(design.units.trial_idx[rows])}
        if published is not None:
            known = published.arms if of_arms else published.participants
            trials -= set(known["trial"])
        found.append(bool(trials))
    return found[0], found[1]


def _source(posterior: Posterior) -> str:
    return str(posterior.facts["provenance"].get("evidence_source", ""))


def own_specification(posterior: Posterior) -> bool:
    """Return whether the model is another than the file of the package with its name."""
    try:
        return load_spec(posterior.spec.name).fingerprint() != posterior.spec.fingerprint()
    except ValueError:  # every error of the package is one: no such file
        return True


def limits(posterior: Posterior) -> list[str]:
    """Return what a reader must not conclude from this fit, in words."""
    design = design_of(posterior)
    lines = [
        "Everything here is association. Nothing says what changing a predictor, or giving "
        f"{arm_in_sentence(design.arms[0])} to somebody else, would do; nothing is advice on "
        "treatment.",
        f"The fit rests on {counted(len(design.trials), 'trial')}. How trials differ is learned "
        "from them alone, so that intervals for one new trial are themselves uncertain.",
    ]
    for entry in posterior.facts["basis"]:
        if entry["extrapolated"]:
            lines.append(
                f"{population_words(entry['population'])}: probabilities at 24 h and 50 % are "
                f"extrapolations ({entry['reason']})."
            )
    unmeasured = [
        predictor.label
        for predictor in posterior.predictors
        if posterior.facts["ranges"][predictor.name]["trials"] == 0
    ]
    if unmeasured:
        lines.append(
            f"No trial of the fit reports {_listed(unmeasured)}: what is said of it rests on "
            "published effects, where any enter, and on the prior."
        )
    active = design.units.active > 0
    if active.all():
        lines.append(
            "There is no control arm: the data cannot tell a predictor of response to treatment "
            "from one of response to anything."
        )
    elif not active.any():
        lines.append("There is no active arm: the data say nothing of response to treatment.")
    if not (design.units.is_arm == 0).any():
        lines.append(
            "No patient is given one by one: slopes within trials are learned from published "
            "effects and from differences between arms and trials, which are open to ecological "
            "bias."
        )
    if np.unique(design.units.population_idx).size < 2:
        lines.append("There is one population: how others differ is the prior's guess.")
    if posterior.predictors:
        lines.append(
            "A predictor that is missing is taken as missing at random given all that is known of "
            "the patient: whether it was measured must not depend on its value beyond that."
        )
    lines.append(
        "A population, arm or trial that is not listed can be predicted, but as an average over "
        "what such groups may be; intervals widen accordingly."
    )
    return [*lines, *MODEL_LIMITS]


def _listed(words: list[str]) -> str:
    lower = [word[:1].lower() + word[1:] if word[1:2].islower() else word for word in words]
    return lower[0] if len(lower) == 1 else f"{', '.join(lower[:-1])} or {lower[-1]}"


def _told(value: Any) -> str:
    return "not told" if value is None or value == "" else str(value)
