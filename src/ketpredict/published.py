"""The fit that ships with the package: where it is, how it is built, whether it is up to date.

``models/published.nc`` is the published model fitted to the published evidence. Reading it needs
NumPy and h5py; what builds it is imported where it is needed.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ketpredict.errors import KetpredictError, SavedFitError, SpecificationError
from ketpredict.posterior import Posterior, load_posterior
from ketpredict.predict import predictions
from ketpredict.resources import models_path
from ketpredict.rows import encode_rows

PUBLISHED = "published"
FILE = "published.nc"
REBUILD = "uv run python scripts/build_published.py"
SEED = 1
"""Any number would do; it is fixed so that the same machine builds the same fit."""

_OF_DRAWS = ("posterior", "posterior_predictive", "log_likelihood")
_KEPT_GROUPS = (*_OF_DRAWS, "prior", "observed_data", "constant_data")
# The first two repeat trial_mean and predictor_covariance. Of the pointwise log likelihoods those
# of published effects are read after a fit (what one effect did), those of outcomes are not.
_LEFT_OUT = {
    "posterior": ("trial_mean_reported", "predictor_cholesky"),
    "log_likelihood": ("responders",),
}
_PRIOR_DRAWS = 1000
# Significant bits that are kept: shorter numbers make a smaller file. Of the prior only variances
# are read.
_BITS = {"prior": 10}
_MOST_BITS = 20
_MOST_DIFFERENCE = 1e-6
_EXAMPLES: dict[str, list[Any]] = {
    "population": ["unipolar_depression", "bipolar_depression", None, "unipolar_depression"],
    "bmi": [31.0, None, 24.0, None],
    "family_history_aud": [1, None, 0, None],
    "arm": ["ketamine", "ketamine", "saline", "saline"],
}


def published_path() -> Path:
    """Return the path of the published fit.

    Raises
    ------
    SavedFitError
        It is not there; the message says how to build it.
    """
    try:
        return models_path(FILE)
    except SpecificationError:
        raise SavedFitError(
            f"The published fit, models/{FILE}, is missing. In a checkout build it with "
            f"'{REBUILD}'; an installed package should be installed again. Or give a fit of your "
            "own."
        ) from None


def load_fit(fit: str | Path = PUBLISHED) -> Posterior:
    """Return the published fit or a saved one; a file is read again only when it has changed.

    Parameters
    ----------
    fit : "published", str or Path

    Raises
    ------
    SavedFitError
        The file is missing, damaged, or not one of ours; the message says which.
    """
    path = published_path() if fit == PUBLISHED else Path(fit)
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return load_posterior(path)  # which says what is wrong
    return _load(str(path.resolve()), str(path), found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=2)
def _load(_resolved: str, path: str, _changed: int, _size: int) -> Posterior:
    return load_posterior(path)


def build_published(
    path: str | Path,
    *,
    draws: int = 1500,
    tune: int = 1500,
    chains: int = 4,
    cores: int | None = None,
    target_accept: float = 0.95,
    seed: int = SEED,
    kept_draws: int = 2000,
    progressbar: bool = False,
) -> Path:
    """Fit the published model to the published evidence and write the fit that is shipped.

    Draws are thinned evenly and rounded to 20 bits, with what prediction, ``check`` and the tables
    read. The diagnostics in the file are those of the full fit.

    Parameters
    ----------
    path : str or Path
        File to write.
    draws, tune, chains, cores, target_accept, seed, progressbar
        See :class:`ketpredict.KetamineResponseClassifier`.
    kept_draws : int
        Draws to keep, all chains together.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ConvergenceError
        The chains did not converge; nothing is written.
    KetpredictError
        Rounding moves a prediction by more than 1e-6; nothing is written.
    """
    from ketpredict.evidence import load_evidence
    from ketpredict.fitting import SamplerSettings, fit, prepare
    from ketpredict.predictors import load_predictors
    from ketpredict.spec import load_spec

    evidence, spec = load_evidence(PUBLISHED), load_spec(PUBLISHED)
    design, used = prepare(spec.with_predictors(spec.predictors or ()), evidence, load_predictors())
    settings = SamplerSettings(
        draws=draws,
        tune=tune,
        chains=chains,
        cores=cores,
        target_accept=target_accept,
        seed=seed,
        progressbar=progressbar,
    )
    whole = fit(design, used, settings, strict=True)
    facts = {
        "evidence": evidence.digest(),
        "specification": spec.fingerprint(),
        "seed": seed,
        "draws_before_thinning": whole.n_draws,
        "diagnostics_of": f"all {whole.n_draws} draws, before thinning",
        "left_out": {group: list(names) for group, names in _LEFT_OUT.items()},
    }
    return shippable(whole, kept_draws, facts).save(path)


def shippable(whole: Posterior, kept_draws: int, facts: Mapping[str, Any]) -> Posterior:
    """Return a fit thinned, rounded to single precision, without what nothing after it reads.

    Parameters
    ----------
    facts : mapping
        What the file says of its making, kept under ``facts["published"]``.

    Raises
    ------
    KetpredictError
        Rounding moves a prediction by more than 1e-6.
    """
    chains, draws = whole.groups["posterior"]["intercept"].shape[:2]
    every = np.arange(min(draws, -(-kept_draws // chains)))
    place = every * draws // len(every)
    groups: dict[str, dict[str, np.ndarray]] = {}
    for group in (name for name in _KEPT_GROUPS if name in whole.groups):
        left_out = _LEFT_OUT.get(group, ())
        variables = {n: v for n, v in whole.groups[group].items() if n not in left_out}
        if group in _OF_DRAWS:
            variables = {name: values[:, place] for name, values in variables.items()}
        elif group == "prior":
            variables = {name: values[:, :_PRIOR_DRAWS] for name, values in variables.items()}
        if variables:
            groups[group] = variables
    made = {**facts, "draws": int(chains * len(every)), "significant_bits": _MOST_BITS}
    estimator = {"model": PUBLISHED, "evidence": PUBLISHED}
    thinned = dataclasses.replace(
        whole, groups=groups, facts={**whole.facts, "published": made, "estimator": estimator}
    )
    single = {
        group: {
            name: _rounded(values, _BITS.get(group, _MOST_BITS))
            if _is_draw(group, values)
            else values
            for name, values in variables.items()
        }
        for group, variables in groups.items()
    }
    _check_precision(thinned, dataclasses.replace(thinned, groups=_as_read(single)))
    return dataclasses.replace(thinned, groups=single)


def _is_draw(group: str, values: np.ndarray) -> bool:
    return group in (*_OF_DRAWS, "prior") and values.dtype.kind == "f"


def _rounded(values: np.ndarray, bits: int) -> np.ndarray:
    """Return numbers rounded to so many significant bits, in single precision."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.round(mantissa * 2.0**bits) / 2.0**bits, exponent).astype(np.float32)


def _as_read(groups: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, np.ndarray]]:
    return {
        group: {n: v.astype(float) if _is_draw(group, v) else v for n, v in variables.items()}
        for group, variables in groups.items()
    }


def _check_precision(double: Posterior, single: Posterior) -> None:
    """Refuse draws whose rounding can be seen in a prediction."""
    count = len(_EXAMPLES["arm"])
    names = {"population", "arm", *(predictor.name for predictor in double.predictors)}
    columns = {name: values for name, values in _EXAMPLES.items() if name in names}
    first, second = (
        predictions(fit, encode_rows(fit, columns, count), 0.9) for fit in (double, single)
    )
    worst = max(
        float(np.abs(getattr(first, field.name) - getattr(second, field.name)).max())
        for field in dataclasses.fields(first)
    )
    if not worst <= _MOST_DIFFERENCE:
        raise KetpredictError(
            f"Rounding moves a prediction by {worst:.1e}, more than {_MOST_DIFFERENCE:g}; the fit "
            "was not written. Keep more bits in ketpredict.published."
        )


def published_problems(path: str | Path | None = None) -> list[str]:
    """Return in what way the published fit is not that of ``data/`` and ``models/`` as they are.

    Parameters
    ----------
    path : str or Path, optional
        By default the fit that ships with the package.

    Returns
    -------
    list of str
        One sentence each; empty where the file is up to date.
    """
    from ketpredict.evidence import load_evidence
    from ketpredict.predictors import load_predictors
    from ketpredict.spec import load_spec

    try:
        posterior = load_posterior(published_path() if path is None else path)
    except SavedFitError as error:
        advice = "" if REBUILD in str(error) else f" Build it with '{REBUILD}'."
        return [f"{error}{advice}"]
    made = posterior.facts.get("published")
    if made is None:
        return [f"It is a fit, but not one that '{REBUILD}' made."]
    compared = {
        "evidence": ("the tables in data/", load_evidence(PUBLISHED).digest()),
        "specification": (f"models/{PUBLISHED}.toml", load_spec(PUBLISHED).fingerprint()),
    }
    problems = [
        f"It was fitted to another state of {what} ({name} {made[name][:12]} in the file, "
        f"{now[:12]} now). Build it again with '{REBUILD}'."
        for name, (what, now) in compared.items()
        if made[name] != now
    ]
    known = load_predictors()
    problems += [
        f"data/predictors.csv says something else of '{predictor.name}' now. Build it again with "
        f"'{REBUILD}'."
        for predictor in posterior.predictors
        if known.get(predictor.name) != predictor
    ]
    if posterior.problems:
        problems.append(f"It did not converge: {'; '.join(posterior.problems)}.")
    return problems
