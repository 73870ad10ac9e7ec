"""The verdict on convergence: what the chains say about themselves, and the gate made of it."""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ketpredict.errors import ConvergenceError, ConvergenceWarning
from ketpredict.importance import PARETO_LIMIT

if TYPE_CHECKING:
    import xarray as xr

RHAT_LIMIT = 1.01
ESS_LIMIT = 400.0
BFMI_LIMIT = 0.3
APPROXIMATIONS = ("laplace", "pathfinder")
"""Values of ``inference`` that draw from a normal approximation: no chains, so no R-hat."""
CONVERGENCE = "convergence"
"""Under this name a fit keeps that its verdict was told."""
NOTHING_KNOWN = ("too few draws", "E-BFMI cannot", "draws that are not finite")
"""How problems begin that leave the fraction of missing information without a number."""
_ROUGH = "the approximation is not the posterior"
REMEDY = "More draws and tuning, or a target_accept nearer 1, may help."
ROUGH_REMEDY = "for numbers to report fit with inference='nuts'."
_TAILS = (0.05, 0.95)
_NO_ENERGY = float("inf")
_REPEATED = ("trial_mean_reported", "predictor_cholesky")


@dataclasses.dataclass(frozen=True)
class Diagnostics:
    """The sampler's verdict on itself.

    Parameters
    ----------
    rhat, ess_bulk, ess_tail, bfmi : float, optional
        The worst over all parameters (or chains); None for an approximation, which has no chains.
        NaN where there are too few draws to say, which is a problem, too. `bfmi` is infinite where
        the sampler has no energy.
    divergences : int, optional
    problems : tuple of str
        One sentence for each broken rule, naming the parameters; empty when all hold.
    method : str
        ``"nuts"`` or another sampler, ``"laplace"`` or ``"pathfinder"``.
    pareto_k, effective_draws : float, optional
        Of an approximation: how heavy the tail of its importance ratios is (infinite where that
        cannot be estimated), and how many draws of the posterior its weighted ones are worth.
    """

    rhat: float | None
    ess_bulk: float | None
    ess_tail: float | None
    bfmi: float | None
    divergences: int | None
    problems: tuple[str, ...]
    method: str = "nuts"
    pareto_k: float | None = None
    effective_draws: float | None = None

    @property
    def converged(self) -> bool:
        """Whether no rule is broken."""
        return not self.problems


class _SavedFit(Protocol):
    """What is asked of a fit here: what was wrong with it, and what was said of it already."""

    @property
    def problems(self) -> tuple[str, ...]:
        """What the diagnostics found wrong."""

    @property
    def announced(self) -> set[str]:
        """What this process has said of the fit."""


def report_convergence(
    problems: tuple[str, ...], *, strict: bool, where: str = "fit", stacklevel: int = 4
) -> None:
    """Warn (or raise, if `strict`) when a fit did not converge, or its approximation is rough."""
    if problems:
        _tell(problems, where, strict=strict, stacklevel=stacklevel + 1)


def recall_convergence(posterior: _SavedFit, *, strict: bool, stacklevel: int = 4) -> None:
    """Warn of a saved fit that did not converge when it is first used; raise always if `strict`."""
    if posterior.problems and (strict or CONVERGENCE not in posterior.announced):
        posterior.announced.add(CONVERGENCE)
        _tell(posterior.problems, "saved fit", strict=strict, stacklevel=stacklevel + 1)


def _tell(problems: tuple[str, ...], where: str, *, strict: bool, stacklevel: int) -> None:
    if problems[0].startswith(_ROUGH):
        message = (
            f"This {where} is only an approximation: {'; '.join(problems)}. Use it to explore; "
            f"{ROUGH_REMEDY}"
        )
    else:
        message = (
            f"This {where} did not converge: {'; '.join(problems)}. Its numbers are not to be "
            f"trusted. {REMEDY}"
        )
    if strict:
        raise ConvergenceError(message, problems)
    warnings.warn(ConvergenceWarning(message, problems), stacklevel=stacklevel)


def diagnose(tree: xr.DataTree, method: str = "nuts") -> Diagnostics:
    """Return the convergence diagnostics of draws.

    Draws of an approximation are judged by their importance weights: Pareto k at most 0.7 and at
    least 400 effective draws (Vehtari et al. 2024, J Mach Learn Res 25:72). Draws of chains by
    what follows.

    Split rank-normalised R-hat and bulk and tail effective sample sizes (Vehtari et al. 2021,
    Bayesian Anal 16:667), divergences, and the energy fraction of missing information.
    Quantities that never vary (fixed by the model) are left out, and those that only repeat others
    in another form. Where a number cannot be had, from too few draws or from draws that are not
    finite, that is a problem like a number beyond its limit.
    """
    if method in APPROXIMATIONS:
        return _judged_by_weights(tree, method)
    # Imported here: a prediction repeats the verdict, and must not wait for the means to find it.
    from ketpredict.chain_statistics import FEWEST_DRAWS, chain_statistics

    posterior = tree["posterior"].to_dataset()
    kept = [name for name in posterior.data_vars if name not in _REPEATED]
    stats = tree["sample_stats"].to_dataset()
    divergences = int(stats["diverging"].sum()) if "diverging" in stats else 0
    draws = int(posterior.sizes["draw"])
    words, varying = "", _varying(posterior[kept])
    if broken := [str(name) for name in kept if not np.isfinite(posterior[name].to_numpy()).all()]:
        words = f"draws that are not finite numbers: {_some(broken)}"
    elif draws < FEWEST_DRAWS:
        words = (
            f"too few draws to judge, {draws} a chain: R-hat and effective sample sizes take "
            f"{FEWEST_DRAWS} or more"
        )
    elif varying is None:
        words = f"every draw is the same ({divergences} divergent transitions)"
    if words or varying is None:
        return Diagnostics(None, None, None, None, divergences, (words,), method)
    names, values = varying
    statistics = chain_statistics(values, _TAILS)
    flat = {
        key: dict(zip(names, getattr(statistics, key).tolist(), strict=True))
        for key in ("rhat", "ess_bulk", "ess_tail")
    }
    bfmi = _bfmi(stats)
    problems = _problems_of(flat, bfmi, values.shape[0])
    if divergences:
        problems.append(f"{divergences} divergent transitions")
    return Diagnostics(
        # NumPy's extremes are NaN where any value is; Python's hang on the order.
        rhat=float(np.max(statistics.rhat)),
        ess_bulk=float(np.min(statistics.ess_bulk)),
        ess_tail=float(np.min(statistics.ess_tail)),
        bfmi=bfmi,
        divergences=divergences,
        problems=tuple(problems),
        method=method,
    )


def _judged_by_weights(tree: xr.DataTree, method: str) -> Diagnostics:
    """Return the verdict on an approximation, which its draws carry."""
    told = tree["sample_stats"].attrs
    k, effective = float(told["pareto_k"]), float(told["effective_draws"])
    problems = []
    if not np.isfinite(k):
        problems.append(f"{_ROUGH} ({method}), and how far it is away cannot be estimated")
    elif not k <= PARETO_LIMIT:
        problems.append(f"{_ROUGH} ({method}): Pareto k {k:.2f}, above {PARETO_LIMIT}")
    elif not effective >= ESS_LIMIT:
        problems.append(
            f"{_ROUGH} ({method}): its draws are worth {effective:.0f}, below {ESS_LIMIT:g}"
        )
    return Diagnostics(
        rhat=None,
        ess_bulk=None,
        ess_tail=None,
        bfmi=None,
        divergences=None,
        problems=tuple(problems),
        method=method,
        pareto_k=k,
        effective_draws=effective,
    )


def _problems_of(found: dict[str, dict[str, float]], bfmi: float, chains: int) -> list[str]:
    """Return what is wrong with the statistics of chains, by name of statistic and parameter."""
    problems = _beyond(found["rhat"], "R-hat", RHAT_LIMIT, above=True) if chains > 1 else []
    for name, words in (("ess_bulk", "bulk ESS"), ("ess_tail", "tail ESS")):
        problems += _beyond(found[name], words, ESS_LIMIT, above=False)
    if chains < 2:
        problems.append("one chain alone has no R-hat")
    if np.isnan(bfmi):
        problems.append("E-BFMI cannot be computed: the energy of a chain does not vary")
    elif not bfmi >= BFMI_LIMIT:
        problems.append(f"E-BFMI {bfmi:.2f}, below {BFMI_LIMIT}")
    return problems


def _beyond(values: dict[str, float], name: str, limit: float, *, above: bool) -> list[str]:
    """Return sentences naming the worst parameters beyond a limit, and those without a value."""
    bad = [key for key, v in values.items() if (v > limit if above else v < limit)]
    worst = sorted(bad, key=values.__getitem__, reverse=above)
    side = "above" if above else "below"
    told = _some([f"{key} ({values[key]:.4g})" for key in worst])
    unknown = [key for key, v in values.items() if np.isnan(v)]
    sentences = [f"{name} {side} {limit:g}: {told}"] if bad else []
    return sentences + ([f"{name} cannot be computed: {_some(unknown)}"] if unknown else [])


def _some(names: list[str]) -> str:
    """Return the first five names, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _varying(posterior: xr.Dataset) -> tuple[list[str], np.ndarray] | None:
    """Return the names (``slope[bmi]``) and draws (chain, draw, name) of all that varies, if any.

    The standard normals behind non-centred effects (``..._raw``) matter through the effects only.
    """
    names, columns = [], []
    for name, array in posterior.items():
        if str(name).endswith("_raw"):
            continue
        dims = [dim for dim in array.dims if dim not in ("chain", "draw")]
        labels = [[str(label) for label in array[dim].to_numpy()] for dim in dims]
        values = array.transpose("chain", "draw", *dims).to_numpy()
        for position in np.ndindex(values.shape[2:]):
            column = values[(slice(None), slice(None), *position)]
            if np.ptp(column) > 0:
                place = ", ".join(labels[axis][i] for axis, i in enumerate(position))
                names.append(f"{name}[{place}]" if place else str(name))
                columns.append(column)
    return (names, np.stack(columns, axis=-1)) if columns else None


def _bfmi(stats: xr.Dataset) -> float:
    """Return the smallest E-BFMI of the chains, or infinity where the sampler has no energy.

    NaN where it cannot be had: one draw a chain, or an energy that does not vary.
    """
    if "energy" not in stats:
        return _NO_ENERGY
    energy = stats["energy"].transpose("chain", "draw").to_numpy()
    moved, spread = (np.diff(energy, axis=1) ** 2).sum(axis=1), energy.shape[1] * energy.var(axis=1)
    each = np.divide(moved, spread, out=np.full(len(energy), np.nan), where=spread > 0)
    # The mean of the steps, of which there is one fewer than draws.
    return float(each.min() * energy.shape[1] / max(energy.shape[1] - 1, 1))
