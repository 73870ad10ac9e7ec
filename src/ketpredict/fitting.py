"""Fitting: evidence and a specification become a posterior, stage by stage."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import numbers
import platform
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import gammaln, xlog1py, xlogy

from ketpredict.basis import population_basis, predictor_ranges
from ketpredict.design import Design, encode
from ketpredict.diagnostics import (
    APPROXIMATIONS,
    CONVERGENCE,
    Diagnostics,
    diagnose,
    report_convergence,
)
from ketpredict.effect_density import effect_log_likelihood
from ketpredict.errors import CompiledRoadError, KetpredictError, KetpredictWarning
from ketpredict.evidence import Evidence, select_horizons
from ketpredict.graph import build
from ketpredict.parameter_dims import coordinates, parameter_dims
from ketpredict.parts import left_out_messages
from ketpredict.pointwise import MOST_VALUES as _MOST_POINTWISE_VALUES
from ketpredict.posterior import Posterior
from ketpredict.predictors import Predictor
from ketpredict.prior import draw_prior
from ketpredict.published_effects import effect_messages
from ketpredict.sampling import draw
from ketpredict.spec import ModelSpec
from ketpredict.stopping import held_back, passed_on
from ketpredict.stored_design import DESIGN_DIMS, design_arrays
from ketpredict.unit_outcome import unit_probability
from ketpredict.untold import draw_untold
from ketpredict.workers import bounded_cores, check_seed, thread_pool

_PACKAGES = ("ketpredict", "pymc", "nutpie", "arviz", "numpy")
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

    def __post_init__(self) -> None:
        """Refuse numbers that no sampler takes."""
        for name in ("draws", "tune", "chains"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
                raise KetpredictError(f"{name} is {value!r}; expected a whole number from 1 up.")
            object.__setattr__(self, name, int(value))  # a plain one, which a file can hold
        check_seed("seed", self.seed)
        bounded_cores(self.cores)
        object.__setattr__(self, "cores", None if self.cores is None else int(self.cores))
        accept = self.target_accept
        if isinstance(accept, bool) or not isinstance(accept, numbers.Real) or not 0 < accept < 1:
            raise KetpredictError(
                f"target_accept is {accept!r}; expected a number between 0 and 1."
            )
        object.__setattr__(self, "target_accept", float(accept))


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
    tree = _with_untold(design, settings, tree)
    posterior = _collect(design, evidence, settings, tree, diagnostics)
    posterior.announced.add(CONVERGENCE)
    return posterior


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
    diagnostics = diagnose(tree, _method(settings))
    return _with_untold(design, settings, tree), diagnostics


def _with_untold(design: Design, settings: SamplerSettings, tree: xr.DataTree) -> xr.DataTree:
    """Return the draws with what the model leaves out, from its prior; after the verdict on them.

    The same for every inference: it is no part of what was sampled.
    """
    if not design.left_out:
        return tree
    dims = parameter_dims(design)[0]
    posterior = tree["posterior"].to_dataset()
    lead = ("chain", "draw")
    drawn = {
        name: posterior[name].transpose(*lead, *dims[name]).to_numpy()
        for name in map(str, posterior.data_vars)
        if name in dims
    }
    rng = np.random.default_rng([settings.seed, 2])
    untold = draw_untold(design, drawn, rng)
    joined = posterior.assign(
        {name: ((*lead, *dims[name]), values) for name, values in untold.items()}
    )
    return xr.DataTree.from_dict(
        {**{group: tree[group].to_dataset() for group in tree.children}, "posterior": joined}
    )


def _method(settings: SamplerSettings) -> str:
    return "nuts" if settings.inference in _COMPILED_NUTS else settings.inference


def _draw(design: Design, settings: SamplerSettings) -> xr.DataTree:
    """Return all draws that were asked for, or none: samplers take an interrupt for an answer."""
    with passed_on():
        tree = _sampled(design, settings)
        _refuse_partial(tree["posterior"].to_dataset(), settings)
    return tree


def _refuse_partial(draws: xr.Dataset, settings: SamplerSettings) -> None:
    asked = (settings.chains, settings.draws)
    for name, values in draws.data_vars.items():
        found = (values.sizes["chain"], values.sizes["draw"])
        if found != asked:
            raise KetpredictError(
                f"Sampling ended early: {found[0]} chains of {found[1]} draws instead of "
                f"{asked[0]} of {asked[1]}. There is no fit; fit again."
            )
        if not np.isfinite(values.to_numpy()).all():
            raise KetpredictError(
                f"Draws of '{name}' are not finite: sampling ended early, or went astray. There is "
                "no fit; fit again, with other data or inference='nuts'."
            )


def _sampled(design: Design, settings: SamplerSettings) -> xr.DataTree:
    """Return draws: by the compiled kernel for NUTS and approximations, else by the PyMC graph."""
    options = dataclasses.asdict(settings)
    if settings.cores is not None:
        options["cores"] = bounded_cores(settings.cores)
    approximate = settings.inference in APPROXIMATIONS
    if settings.inference not in _COMPILED_NUTS and not approximate:
        return draw(build(design), **options)
    try:
        # Imported here: a nutpie with other internals must leave the graph's road open.
        with held_back():
            from ketpredict.compiled import compile_design, draw_compiled

        density = compile_design(design)
        if not approximate:
            del options["inference"]
            return draw_compiled(density, **options)
    except CompiledRoadError as error:
        if approximate:
            raise KetpredictError(
                f"inference='{settings.inference}' needs the compiled likelihood. {error} Install "
                "these, or use inference='nuts'."
            ) from error
        warnings.warn(
            f"{error} The PyMC graph is sampled instead: the answer is as good, but it takes up to "
            "a minute longer to compile, and several times as long to sample. Install the tested "
            "ones to be as fast.",
            KetpredictWarning,
            stacklevel=5,
        )
        return draw(build(design), **(options | {"inference": settings.inference}))
    from ketpredict.approximations import draw_approximately

    taken = ("inference", "draws", "chains", "cores", "seed")
    return draw_approximately(density, **{name: options[name] for name in taken})


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
            "messages": [
                *evidence.messages,
                *left_out_messages(design.left_out, design.populations, design.trials),
            ],
            "left_out": dict(design.left_out),
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
    with thread_pool(1) as pool:
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
