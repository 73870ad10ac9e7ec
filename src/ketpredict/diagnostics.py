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
_ROUGH = "the approximation is not the posterior"
REMEDY = "More draws and tuning, or a target_accept nearer 1, may help."
ROUGH_REMEDY = "for numbers to report fit with inference='nuts'."
_TAILS = (0.05, 0.95)
_REPEATED = ("trial_mean_reported", "predictor_cholesky")


@dataclasses.dataclass(frozen=True)
class Diagnostics:
    """The sampler's verdict on itself.

    Parameters
    ----------
    rhat, ess_bulk, ess_tail, bfmi : float, optional
        The worst over all parameters (or chains); None for an approximation, which has no chains.
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
        raise ConvergenceError(message)
    warnings.warn(message, ConvergenceWarning, stacklevel=stacklevel)


def diagnose(tree: xr.DataTree, method: str = "nuts") -> Diagnostics:
    """Return the convergence diagnostics of draws.

    Draws of an approximation are judged by their importance weights: Pareto k at most 0.7 and at
    least 400 effective draws (Vehtari et al. 2024, J Mach Learn Res 25:72). Draws of chains by
    what follows.

    Split rank-normalised R-hat and bulk and tail effective sample sizes (Vehtari et al. 2021,
    Bayesian Anal 16:667), divergences, and the energy fraction of missing information.
    Quantities that never vary (fixed by the model) are left out, and those that only repeat others
    in another form.
    """
    if method in APPROXIMATIONS:
        return _judged_by_weights(tree, method)
    # Imported here: a prediction repeats the verdict, and must not wait for the means to find it.
    from ketpredict.chain_statistics import chain_statistics

    posterior = tree["posterior"].to_dataset()
    kept = [name for name in posterior.data_vars if name not in _REPEATED]
    stats = tree["sample_stats"].to_dataset()
    divergences = int(stats["diverging"].sum()) if "diverging" in stats else 0
    varying = _varying(posterior[kept])
    if varying is None:
        words = f"every draw is the same ({divergences} divergent transitions)"
        return Diagnostics(None, None, None, None, divergences, (words,), method)
    names, values = varying
    statistics = chain_statistics(values, _TAILS)
    flat = {
        key: dict(zip(names, getattr(statistics, key).tolist(), strict=True))
        for key in ("rhat", "ess_bulk", "ess_tail")
    }
    problems = [
        *_beyond(flat["rhat"], f"R-hat above {RHAT_LIMIT}", RHAT_LIMIT, above=True),
        *_beyond(flat["ess_bulk"], f"bulk ESS below {ESS_LIMIT:g}", ESS_LIMIT, above=False),
        *_beyond(flat["ess_tail"], f"tail ESS below {ESS_LIMIT:g}", ESS_LIMIT, above=False),
    ]
    if values.shape[0] < 2:
        problems.append("one chain alone has no R-hat")
    if divergences:
        problems.append(f"{divergences} divergent transitions")
    bfmi = _bfmi(stats)
    if bfmi < BFMI_LIMIT:
        problems.append(f"E-BFMI {bfmi:.2f}, below {BFMI_LIMIT}")
    return Diagnostics(
        rhat=float(max(flat["rhat"].values())),
        ess_bulk=float(min(flat["ess_bulk"].values())),
        ess_tail=float(min(flat["ess_tail"].values())),
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
    elif k > PARETO_LIMIT:
        problems.append(f"{_ROUGH} ({method}): Pareto k {k:.2f}, above {PARETO_LIMIT}")
    elif effective < ESS_LIMIT:
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


def _beyond(values: dict[str, float], words: str, limit: float, *, above: bool) -> list[str]:
    """Return one sentence naming the worst parameters beyond a limit, or nothing."""
    bad = [name for name, v in values.items() if (v > limit if above else v < limit)]
    if not bad:
        return []
    worst = sorted(bad, key=values.__getitem__, reverse=above)
    named = ", ".join(f"{name} ({values[name]:.4g})" for name in worst[:5])
    more = f" and {len(worst) - 5} more" if len(worst) > 5 else ""
    return [f"{words}: {named}{more}"]


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
    """Return the smallest E-BFMI of the chains, or infinity where the sampler has no energy."""
    if "energy" not in stats:
        return float("inf")
    energy = stats["energy"].transpose("chain", "draw").to_numpy()
    return float((np.mean(np.diff(energy, axis=1) ** 2, axis=1) / energy.var(axis=1)).min())
