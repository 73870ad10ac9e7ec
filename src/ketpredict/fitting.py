"""Fitting: evidence and a specification become a posterior, stage by stage."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import gammaln, xlog1py, xlogy

from ketpredict.basis import population_basis, predictor_ranges
from ketpredict.design import Design, encode
from ketpredict.diagnostics import APPROXIMATIONS, Diagnostics, diagnose, report_convergence
from ketpredict.effect_density import effect_log_likelihood
from ketpredict.errors import CompilationWarning, CompiledRoadError, KetpredictError
from ketpredict.evidence import Evidence, select_horizons
from ketpredict.graph import build
from ketpredict.parameter_dims import coordinates
from ketpredict.posterior import Posterior
from ketpredict.predictors import Predictor
from ketpredict.prior import draw_prior
from ketpredict.published_effects import effect_messages
from ketpredict.sampling import draw
from ketpredict.spec import ModelSpec
from ketpredict.stored_design import DESIGN_DIMS, design_arrays
from ketpredict.tested_versions import advice
from ketpredict.unit_outcome import unit_probability

_PACKAGES = ("ketpredict", "pymc", "nutpie", "arviz", "numpy")
_MOST_POINTWISE_VALUES = 20_000_000
_PRIOR_DRAWS = 4000
_MAY_BE_NAN = ("rhat", "ess_bulk", "ess_tail", "bfmi", "pareto_k", "effective_draws")
_COMPILED_NUTS = ("nuts", "nutpie")
_SAMPLE_STATS = (
    "diverging", "energy", "depth", "n_steps", "tree_depth", "step_size", "log_weight",
)  # fmt: skip
_OF_TRIALS = {"trial", "trial_cell", "reported_cell", "unreported_cell"}


@dataclasses.dataclass(frozen=True)
class SamplerSettings:
    """How to sample; see :func:`ketpredict.sampling.draw` for each.

    `inference` is ``"nuts"`` (NUTS on the compiled likelihood; ``"nutpie"`` is the same),
    ``"laplace"`` or ``"pathfinder"`` (normal approximations,
    :mod:`ketpredict.approximations`, which take no `tune` and no `target_accept`), or what
    :func:`~ketpredict.sampling.draw` knows.
    """

    inference: str = "nuts"
    draws: int = 1500
    tune: int = 1500
    chains: int = 4
    cores: int | None = None
    target_accept: float = 0.95
    seed: int = 0
    progressbar: bool = False


def prepare(
    spec: ModelSpec, evidence: Evidence, references: Mapping[str, Predictor]
) -> tuple[Design, Evidence]:
    """Return the design of a model on the evidence, and the evidence as it enters.

    Bad data fail here, before anything is compiled.
    """
    used = select_horizons(evidence, spec.horizons)
    design = encode(spec, used, references)
    messages = (*used.messages, *effect_messages(design.effect_fates))
    return design, dataclasses.replace(used, messages=messages)


def fit(
    design: Design, evidence: Evidence, settings: SamplerSettings, *, strict: bool = False
) -> Posterior:
    """Return the posterior of a design, with its diagnostics and provenance.

    Warns
    -----
    ConvergenceWarning
        The chains did not converge; the message names the parameters.

    Raises
    ------
    ConvergenceError
        The same, if `strict`.
    """
    tree = _draw(design, settings)
    diagnostics = diagnose(tree, _method(settings))
    report_convergence(diagnostics.problems, strict=strict)
    return _collect(design, evidence, settings, tree, diagnostics)


def redraw(design: Design, settings: SamplerSettings) -> xr.DataTree:
    """Return draws of a design for a comparison: posterior and sampler statistics, nothing kept.

    Warns
    -----
    ConvergenceWarning
        The chains did not converge.
    """
    tree, diagnostics = draw_diagnosed(design, settings)
    report_convergence(diagnostics.problems, strict=False)
    return tree


def draw_diagnosed(design: Design, settings: SamplerSettings) -> tuple[xr.DataTree, Diagnostics]:
    """Return draws of a design and the verdict on them, without a warning."""
    tree = _draw(design, settings)
    return tree, diagnose(tree, _method(settings))


def _method(settings: SamplerSettings) -> str:
    return "nuts" if settings.inference in _COMPILED_NUTS else settings.inference


def _draw(design: Design, settings: SamplerSettings) -> xr.DataTree:
    """Return draws: by the compiled kernel for NUTS and approximations, else by the PyMC graph."""
    options = dataclasses.asdict(settings)
    approximate = settings.inference in APPROXIMATIONS
    if settings.inference not in _COMPILED_NUTS and not approximate:
        return draw(build(design), **options)
    try:
        return _draw_compiled(design, settings)
    except CompiledRoadError as error:
        if approximate:
            raise KetpredictError(
                f"inference='{settings.inference}' needs the compiled likelihood. {error} Use "
                f"inference='nuts', or install what is tested: {advice()}"
            ) from error
        message = (
            f"{error} The PyMC graph is sampled instead: the answer is as good, but compiling "
            "takes about 40 seconds more and sampling several times as long. To have the fast "
            f"road: {advice()}"
        )
        told = CompilationWarning(message, found=error.found, tested=error.tested)
        warnings.warn(told, stacklevel=4)
        return draw(build(design), **options)


def _draw_compiled(design: Design, settings: SamplerSettings) -> xr.DataTree:
    """Return draws by the compiled kernel.

    Raises
    ------
    CompiledRoadError
        nutpie or numba is not one that it was written for.
    """
    options = dataclasses.asdict(settings)
    # Imported here: a nutpie with other internals must leave the graph's road open.
    from ketpredict.compiled import compile_design, draw_compiled

    density = compile_design(design)
    if settings.inference in APPROXIMATIONS:
        from ketpredict.approximations import draw_approximately

        taken = ("inference", "draws", "chains", "cores", "seed")
        return draw_approximately(density, **{name: options[name] for name in taken})
    del options["inference"]
    return draw_compiled(density, **options)


def _collect(
    design: Design,
    evidence: Evidence,
    settings: SamplerSettings,
    tree: xr.DataTree,
    diagnostics: Diagnostics,
) -> Posterior:
    raw = tree["posterior"].to_dataset()
    kept = [name for name in raw.data_vars if not str(name).endswith("_raw")]
    dims = {
        str(name): tuple(str(d) for d in raw[name].dims if d not in ("chain", "draw"))
        for name in kept
    }
    stats = tree["sample_stats"].to_dataset()
    rng = np.random.default_rng([settings.seed, 1])
    groups = {
        "posterior": {
            str(n): raw[n].transpose("chain", "draw", *dims[str(n)]).to_numpy() for n in kept
        },
        "sample_stats": {
            name: stats[name].transpose("chain", "draw").to_numpy()
            for name in _SAMPLE_STATS
            if name in stats and set(stats[name].dims) == {"chain", "draw"}
        },
        "observed_data": {"responders": design.units.responders},
        "constant_data": design_arrays(design),
        # What a trial has of its own is not needed to predict from the prior, and is large.
        "prior": {
            name: values[None]
            for name, values in draw_prior(design, _PRIOR_DRAWS, rng).items()
            if not _OF_TRIALS & set(dims.get(name, ()))
        },
    }
    posterior = Posterior(
        groups=groups,
        dims={**DESIGN_DIMS, **dims},
        coords=coordinates(design),
        spec=design.spec,
        predictors=design.predictors,
        trial_values=design.trial_values,
        facts={
            "arm_class": list(design.arm_class),
            "repeated_arm": list(design.repeated_arm),
            "basis": population_basis(design, evidence.participants),
            "ranges": predictor_ranges(design),
            "diagnostics": dataclasses.asdict(diagnostics)
            | {"problems": list(diagnostics.problems)}
            | {name: _finite(getattr(diagnostics, name)) for name in _MAY_BE_NAN},
            "provenance": _provenance(design, evidence, settings),
            "messages": list(evidence.messages),
            "effects": [dict(fate) for fate in design.effect_fates],
            "estimator": {},
        },
    )
    return _with_pointwise(posterior, design, settings.seed)


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def _with_pointwise(posterior: Posterior, design: Design, seed: int) -> Posterior:
    """Add replicated responders and pointwise log likelihoods, unless they are too many to keep.

    There is no replicate of a row whose weight is not whole. Those of the published effects are
    few, and always kept: what the literature did needs them.
    """
    pointwise = {}
    if len(design.effects):
        of_effects = effect_log_likelihood(posterior.parameters, design)
        lead = posterior.groups["posterior"]["intercept"].shape[:2]
        pointwise["effects"] = of_effects.reshape(*lead, len(design.effects))
    if posterior.n_draws * len(design.units) > _MOST_POINTWISE_VALUES:
        kept = {**posterior.groups, "log_likelihood": pointwise} if pointwise else posterior.groups
        return dataclasses.replace(posterior, groups=kept)
    probability = unit_probability(posterior.parameters, design)
    shape = (*posterior.groups["posterior"]["intercept"].shape[:2], len(design.units))
    n, responders = design.units.n, design.units.responders
    # Sums of weights may leave 1 by a rounding error, which the generator refuses.
    probability = np.clip(probability, 0.0, 1.0)
    whole = np.array_equal(n, np.round(n))
    with ThreadPoolExecutor(1) as pool:
        # One generator and one call: replicates do not depend on the number of cores.
        binomial = np.random.default_rng(seed).binomial
        drawn = pool.submit(binomial, n.astype(int), probability) if whole else None
        choose = gammaln(n + 1.0) - gammaln(responders + 1.0) - gammaln(n - responders + 1.0)
        log_likelihood = xlogy(responders, probability)
        log_likelihood += xlog1py(n - responders, -probability)
        log_likelihood += choose
        pointwise["responders"] = log_likelihood.reshape(shape)
        groups = {**posterior.groups, "log_likelihood": pointwise}
        if drawn is not None:
            replicated = drawn.result().reshape(shape).astype(np.int32)
            groups["posterior_predictive"] = {"responders": replicated}
    return dataclasses.replace(posterior, groups=groups)


def _provenance(design: Design, evidence: Evidence, settings: SamplerSettings) -> dict[str, Any]:
    return {
        "specification": design.spec.fingerprint(),
        "evidence": evidence.digest(),
        "evidence_source": evidence.source,
        "effects_used": len(design.effects),
        "effects_carried": len(evidence.associations) - len(design.effects),
        "sampler": dataclasses.asdict(settings) | {"progressbar": False},
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }
