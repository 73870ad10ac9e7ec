r"""Check the pooled response rates against direct quadrature of the same posterior.

Run ``python scripts/validate_pooling.py`` (three minutes, more on a busy machine): it integrates
the posterior of a reduced model numerically, fits the same model to the same arms with the package,
prints both and writes ``docs/validation_pooling.csv`` and the table in ``docs/validation.md``. It
exits with 1 when a mean differs by more than 0.05 posterior SD plus three Monte Carlo standard
errors, or an SD by more than 5 % plus three.

The arms
    Fitted (``use = fit``) double-blind arms in unipolar depression, one administration, 24 h, 50 %
    threshold. Active arms of a trial (ketamine 0.5 mg/kg i.v. or intranasal, esketamine at any
    dose) are added up and called ``ketamine``; control arms (midazolam, placebo spray, saline) are
    added up and called ``saline``. Flags and predictor summaries are dropped. The recoding makes
    the parameter space small; it is no statement about doses or controls.

The model
    In trial :math:`t`, ketamine responders are binomial with probability
    :math:`\Phi(\alpha + v_t + d_t/2)`, control responders with
    :math:`\Phi(\alpha + \theta + v_t - d_t/2)`; :math:`v_t \sim N(0, s^2)`,
    :math:`d_t \sim N(0, \tau^2)`, :math:`\alpha \sim N(0, 1)`, :math:`\theta \sim N(-1, 0.7^2)`,
    :math:`s, \tau \sim` half-normal(0.5).

The quadrature
    :math:`(v_t, d_t)` are integrated trial by trial by Gauss-Hermite quadrature centred at the mode
    and scaled by the curvature there (Pinheiro & Bates 1995, J Comput Graph Stat 4:12);
    :math:`\alpha, \theta` by the trapezoidal rule, which converges exponentially on a bell-shaped
    integrand; :math:`s, \tau` by Gauss-Legendre. It shares no code with the package: no graph, no
    equations, no sampler.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pandas as pd
from scipy.special import gammaln, ndtr

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "docs" / "validation_pooling.csv"
PAGE = ROOT / "docs" / "validation.md"
QUANTITIES = {
    "ketamine_average": "Ketamine, response averaged over trials",
    "ketamine_central": "Ketamine, response in the central trial (v = d = 0)",
    "control_average": "Control, response averaged over trials",
    "control_central": "Control, response in the central trial (v = d = 0)",
    "difference_average": "Difference of the two averages",
    "control_effect": "Control effect, latent scale",
    "trial_scale": "Heterogeneity of trials, latent SD",
    "treatment_scale": "Heterogeneity of the treatment effect, latent SD",
}
MEAN_TOLERANCE = 0.05
SD_TOLERANCE = 0.05
MONTE_CARLO_ERRORS = 3.0
_ACTIVE = ("ketamine", "esketamine")


@dataclasses.dataclass(frozen=True)
class Priors:
    """The reduced model's priors, written again here and not read from the package."""

    intercept_sd: float = 1.0
    control_mean: float = -1.0
    control_sd: float = 0.7
    trial_scale: float = 0.5
    treatment_scale: float = 0.5


@dataclasses.dataclass(frozen=True)
class Grid:
    """Nodes of the quadrature."""

    intercept: tuple[float, float, int] = (-2.5, 2.5, 26)
    control: tuple[float, float, int] = (-3.5, 1.5, 34)
    scale: tuple[float, int] = (2.5, 26)
    inner: int = 6


def validation_arms(arms: pd.DataFrame) -> pd.DataFrame:
    """Return the arms of the check, recoded to ``ketamine`` and ``saline``, one row each.

    Parameters
    ----------
    arms : DataFrame
        The published ``arms.csv``.
    """
    chosen = arms[
        (arms["use"] == "fit")
        & (arms["blinding"] == "double_blind")
        & (arms["population"] == "unipolar_depression")
        & (arms["hours"] == 24)
        & (arms["threshold"].fillna(50) == 50)
        & ~arms["repeated"].astype(str).str.lower().eq("true")
    ]
    active = chosen["arm"].str.startswith(_ACTIVE)
    recoded = pd.DataFrame(
        {
            "trial": chosen["trial"],
            "population": "unipolar_depression",
            "arm": np.where(active, "ketamine", "saline"),
            "hours": 24.0,
            "n": chosen["n"].astype(int),
            "responders": chosen["responders"].astype(int),
        }
    )
    keys = ["trial", "population", "arm", "hours"]
    return recoded.groupby(keys, as_index=False, sort=True)[["n", "responders"]].sum()


def counts_by_trial(arms: pd.DataFrame) -> np.ndarray:
    """Return ketamine responders and n, control responders and n, (trial, 4); 0 of 0 if none."""
    table = arms.pivot_table(index="trial", columns="arm", values=["responders", "n"], fill_value=0)
    columns = [(kind, arm) for arm in ("ketamine", "saline") for kind in ("responders", "n")]
    return table[columns].to_numpy(float)


@numba.njit(inline="always")
def _log_cdf(x: float) -> float:
    if x > -30.0:
        return math.log(0.5 * math.erfc(-x / math.sqrt(2.0)))
    return -0.5 * x * x - math.log(-x) - 0.5 * math.log(2.0 * math.pi)


@numba.njit(inline="always")
def _arm(x: float, responders: float, n: float) -> float:
    """Return the log likelihood of an arm without its binomial coefficient."""
    value = 0.0
    if responders > 0:
        value += responders * _log_cdf(x)
    if n > responders:
        value += (n - responders) * _log_cdf(-x)
    return value


@numba.njit(inline="always")
def _slope_and_curvature(x: float, responders: float, n: float) -> tuple[float, float]:
    density = -0.5 * x * x - 0.5 * math.log(2.0 * math.pi)
    up, down = math.exp(density - _log_cdf(x)), math.exp(density - _log_cdf(-x))
    slope = responders * up - (n - responders) * down
    curvature = responders * up * (x + up) + (n - responders) * down * (down - x)
    return slope, curvature


@numba.njit
def _trial_integral(
    first: float,
    second: float,
    s: float,
    tau: float,
    counts: np.ndarray,
    nodes: np.ndarray,
    log_weights: np.ndarray,
) -> float:
    """Return the log of one trial's likelihood, its two deviations integrated out.

    `first` and `second` are the linear predictors of the arms at v = d = 0. The deviations are
    v = s e and d = tau f with standard normal e and f.
    """
    e = f = 0.0
    half = 0.5 * tau
    for _ in range(30):
        g1, c1 = _slope_and_curvature(first + s * e + half * f, counts[0], counts[1])
        g2, c2 = _slope_and_curvature(second + s * e - half * f, counts[2], counts[3])
        ge, gf = s * (g1 + g2) - e, half * (g1 - g2) - f
        aee = 1.0 + s * s * (c1 + c2)
        aff = 1.0 + half * half * (c1 + c2)
        aef = s * half * (c1 - c2)
        determinant = aee * aff - aef * aef
        step_e = (aff * ge - aef * gf) / determinant
        step_f = (aee * gf - aef * ge) / determinant
        longest = max(abs(step_e), abs(step_f))
        shrink = 1.0 if longest < 2.0 else 2.0 / longest
        e += shrink * step_e
        f += shrink * step_f
        if longest < 1e-6:
            break
    # L with L L' = inverse of the curvature matrix.
    l11 = math.sqrt(aff / determinant)
    l21 = -aef / math.sqrt(aff * determinant)
    l22 = 1.0 / math.sqrt(aff)
    top = -1e300
    total = 0.0
    for i in range(len(nodes)):
        for j in range(len(nodes)):
            ei = e + l11 * nodes[i]
            fj = f + l21 * nodes[i] + l22 * nodes[j]
            value = (
                _arm(first + s * ei + half * fj, counts[0], counts[1])
                + _arm(second + s * ei - half * fj, counts[2], counts[3])
                - 0.5 * (ei * ei + fj * fj)
                + log_weights[i]
                + 0.5 * nodes[i] ** 2
                + log_weights[j]
                + 0.5 * nodes[j] ** 2
            )
            if value > top:
                total = total * math.exp(top - value) + 1.0
                top = value
            else:
                total += math.exp(value - top)
    return top + math.log(total) + math.log(l11 * l22)


@numba.njit(parallel=True, cache=True)
def _log_likelihood(
    points: np.ndarray, counts: np.ndarray, nodes: np.ndarray, log_weights: np.ndarray
) -> np.ndarray:
    result = np.empty(len(points))
    for p in numba.prange(len(points)):
        total = 0.0
        for t in range(len(counts)):
            total += _trial_integral(
                points[p, 0],
                points[p, 0] + points[p, 1],
                points[p, 2],
                points[p, 3],
                counts[t],
                nodes,
                log_weights,
            )
        result[p] = total
    return result


def log_marginal_likelihood(points: np.ndarray, counts: np.ndarray, inner: int) -> np.ndarray:
    """Return the log likelihood at (alpha, theta, s, tau), trial effects integrated out.

    Parameters
    ----------
    points : ndarray of shape (point, 4)
    counts : ndarray of shape (trial, 4), see :func:`counts_by_trial`
    inner : int
        Gauss-Hermite nodes of each of the two deviations of a trial.

    Returns
    -------
    ndarray of shape (point,)
        With the binomial coefficients.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(inner)
    log_weights = np.log(weights / np.sqrt(2.0 * np.pi))
    value = _log_likelihood(np.ascontiguousarray(points), counts, nodes, log_weights)
    return value + sum(
        (gammaln(n + 1) - gammaln(r + 1) - gammaln(n - r + 1)).sum()
        for r, n in ((counts[:, 0], counts[:, 1]), (counts[:, 2], counts[:, 3]))
    )


def quantities(
    intercept: Any, control: Any, trial_scale: Any, treatment_scale: Any
) -> dict[str, np.ndarray]:
    """Return every quantity of the comparison from the four parameters, elementwise."""
    spread = np.sqrt(1.0 + trial_scale**2 + treatment_scale**2 / 4.0)
    ketamine, inert = ndtr(intercept / spread), ndtr((intercept + control) / spread)
    return {
        "ketamine_average": ketamine,
        "ketamine_central": ndtr(intercept),
        "control_average": inert,
        "control_central": ndtr(intercept + control),
        "difference_average": ketamine - inert,
        "control_effect": control,
        "trial_scale": trial_scale,
        "treatment_scale": treatment_scale,
    }


def quadrature(counts: np.ndarray, priors: Priors = Priors(), grid: Grid = Grid()) -> pd.DataFrame:
    """Return posterior mean and SD of every quantity by direct quadrature.

    Returns
    -------
    DataFrame indexed by quantity
        ``mean`` and ``sd``; ``attrs["log_evidence"]`` is the log marginal likelihood.
    """
    intercept, intercept_weight = _trapezoid(*grid.intercept)
    control, control_weight = _trapezoid(*grid.control)
    x, w = np.polynomial.legendre.leggauss(grid.scale[1])
    scale, scale_weight = 0.5 * grid.scale[0] * (x + 1.0), 0.5 * grid.scale[0] * w
    axes = np.meshgrid(intercept, control, scale, scale, indexing="ij")
    points = np.stack([axis.ravel() for axis in axes], axis=1)
    log_weight = np.log(
        np.einsum(
            "i,j,k,l->ijkl", intercept_weight, control_weight, scale_weight, scale_weight
        ).ravel()
    )
    alpha, theta, s, tau = points.T
    log_prior = (
        _log_normal_density(alpha, 0.0, priors.intercept_sd)
        + _log_normal_density(theta, priors.control_mean, priors.control_sd)
        + math.log(2.0)
        + _log_normal_density(s, 0.0, priors.trial_scale)
        + math.log(2.0)
        + _log_normal_density(tau, 0.0, priors.treatment_scale)
    )
    log_posterior = log_prior + log_marginal_likelihood(points, counts, grid.inner) + log_weight
    top = log_posterior.max()
    mass = np.exp(log_posterior - top)
    table = _moments(quantities(alpha, theta, s, tau), mass)
    table.attrs["log_evidence"] = float(top + np.log(mass.sum()))
    return table


def _trapezoid(low: float, high: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    nodes = np.linspace(low, high, count)
    return nodes, np.full(count, nodes[1] - nodes[0])


def _log_normal_density(x: Any, mean: float, sd: float) -> Any:
    return -0.5 * ((x - mean) / sd) ** 2 - math.log(sd) - 0.5 * math.log(2.0 * math.pi)


def _moments(values: dict[str, np.ndarray], mass: np.ndarray) -> pd.DataFrame:
    probability = mass / mass.sum()
    rows = {}
    for name, value in values.items():
        mean = float(probability @ value)
        rows[name] = {"mean": mean, "sd": float(np.sqrt(probability @ (value - mean) ** 2))}
    return pd.DataFrame.from_dict(rows, orient="index")


def reduced_spec() -> Any:
    """Return the package's specification of the reduced model."""
    from ketpredict.prior_families import Prior
    from ketpredict.spec import load_spec

    zero = Prior("fixed", (0.0,))
    return load_spec("rates").with_priors(
        population_scale=zero,
        arm_scale=zero,
        horizon_scale=zero,
        improvement_sd=Prior("fixed", (31.0,)),
    )


def package_fit(
    arms: pd.DataFrame, *, spec: Any = None, draws: int = 20000, tune: int = 1500, seed: int = 1
) -> pd.DataFrame:
    """Return posterior mean and SD of every quantity from the package's own graph and sampler.

    Returns
    -------
    DataFrame indexed by quantity
        ``mean``, ``sd`` and their Monte Carlo standard errors ``mean_error``, ``sd_error``.
    """
    import arviz_stats
    import xarray as xr

    import ketpredict as kp
    from ketpredict.diagnostics import diagnose
    from ketpredict.fitting import prepare
    from ketpredict.graph import build
    from ketpredict.predictors import load_predictors
    from ketpredict.sampling import draw

    evidence = kp.make_evidence(arms=arms, predictors=())
    design, _ = prepare(reduced_spec() if spec is None else spec, evidence, load_predictors())
    tree = draw(
        build(design),
        inference="nutpie",
        draws=draws,
        tune=tune,
        chains=4,
        cores=None,
        target_accept=0.95,
        seed=seed,
        progressbar=False,
    )
    diagnostics = diagnose(tree)
    if not diagnostics.converged:
        raise RuntimeError("; ".join(diagnostics.problems))
    posterior = tree["posterior"].to_dataset()
    values = quantities(
        posterior["intercept"],
        posterior["arm_effect"].sel(arm="saline", drop=True),
        posterior["trial_scale"],
        posterior["treatment_scale"],
    )
    varying = xr.Dataset({name: value for name, value in values.items() if float(value.std()) > 0})
    errors = {kind: arviz_stats.mcse(varying, method=kind) for kind in ("mean", "sd")}
    rows = {
        name: {
            "mean": float(value.mean()),
            "sd": float(value.std()),
            "mean_error": float(errors["mean"].get(name, 0.0)),
            "sd_error": float(errors["sd"].get(name, 0.0)),
        }
        for name, value in values.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def compare(exact: pd.DataFrame, fitted: pd.DataFrame) -> pd.DataFrame:
    """Return both calculations side by side with the criterion of each quantity.

    Returns
    -------
    DataFrame indexed by quantity
        ``difference_in_sd`` is (package - quadrature) / posterior SD; ``allowed_in_sd`` is 0.05
        plus three Monte Carlo standard errors; ``sd_ratio`` and ``allowed_ratio`` likewise.
    """
    mean_error = fitted["mean_error"] / exact["sd"]
    sd_error = fitted["sd_error"] / exact["sd"]
    table = pd.DataFrame(
        {
            "quadrature_mean": exact["mean"],
            "package_mean": fitted["mean"],
            "difference_in_sd": (fitted["mean"] - exact["mean"]) / exact["sd"],
            "allowed_in_sd": MEAN_TOLERANCE + MONTE_CARLO_ERRORS * mean_error,
            "quadrature_sd": exact["sd"],
            "package_sd": fitted["sd"],
            "sd_ratio": fitted["sd"] / exact["sd"],
            "allowed_ratio": SD_TOLERANCE + MONTE_CARLO_ERRORS * sd_error,
        }
    )
    table["agrees"] = (table["difference_in_sd"].abs() <= table["allowed_in_sd"]) & (
        (table["sd_ratio"] - 1.0).abs() <= table["allowed_ratio"]
    )
    return table


def quadrature_error(counts: np.ndarray, grid: Grid = Grid()) -> pd.DataFrame:
    """Return how far the results move when nodes are doubled or ranges widened, in posterior SD.

    Returns
    -------
    DataFrame
        One row for each change of the grid; the largest movement of a mean and of an SD over all
        quantities, in units of the posterior SD.
    """
    base = quadrature(counts, grid=grid)
    low, high, count = grid.intercept
    changes = {
        "intercept: twice the nodes": {"intercept": (low, high, 2 * count)},
        "control effect: twice the nodes": {"control": (*grid.control[:2], 2 * grid.control[2])},
        "scales: twice the nodes": {"scale": (grid.scale[0], 2 * grid.scale[1])},
        "trial deviations: twice the nodes": {"inner": 2 * grid.inner},
        "all ranges 40 % wider, same spacing": {
            "intercept": _wider(grid.intercept),
            "control": _wider(grid.control),
            "scale": (1.4 * grid.scale[0], round(1.4 * grid.scale[1])),
        },
    }
    rows = {}
    for name, change in changes.items():
        other = quadrature(counts, grid=dataclasses.replace(grid, **change))
        rows[name] = {
            "mean": float(((other["mean"] - base["mean"]) / base["sd"]).abs().max()),
            "sd": float((other["sd"] / base["sd"] - 1.0).abs().max()),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _wider(axis: tuple[float, float, int]) -> tuple[float, float, int]:
    low, high, count = axis
    extra = round(0.2 * (count - 1))
    step = (high - low) / (count - 1)
    return low - extra * step, high + extra * step, count + 2 * extra


def rewrite_between(page: Path, name: str, text: str) -> None:
    """Replace what stands between the two markers of a name in a page.

    Raises
    ------
    ValueError
        The page lacks the markers.
    """
    start, end = f"<!-- {name}: start -->", f"<!-- {name}: end -->"
    content = page.read_text(encoding="utf-8")
    before, found, rest = content.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page} lacks the markers '{start}' and '{end}'.")
    page.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")


def markdown(table: pd.DataFrame) -> str:
    """Return the comparison as a table for people."""
    lines = [
        "| quantity | mean: quadrature | mean: package | difference (SD) | allowed (SD) "
        "| SD: quadrature | SD: package | ratio of SDs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['label']} | {row['quadrature_mean']:.4f} | {row['package_mean']:.4f} "
        f"| {row['difference_in_sd']:+.3f} | {row['allowed_in_sd']:.3f} "
        f"| {row['quadrature_sd']:.4f} | {row['package_sd']:.4f} | {row['sd_ratio']:.3f} |"
        for row in table.to_dict("records")
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison, write it, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=20000, help="draws of each of four chains")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    arms = validation_arms(pd.read_csv(ROOT / "data" / "arms.csv"))
    counts = counts_by_trial(arms)
    out = sys.stdout.write
    out(f"{len(counts)} trials, {len(arms)} arms\n{arms.to_string(index=False)}\n\n")
    movement = quadrature_error(counts)
    out(f"Movement of the quadrature when its grid changes (posterior SD)\n{movement}\n\n")
    table = compare(quadrature(counts), package_fit(arms, draws=options.draws))
    table.insert(0, "label", pd.Series(QUANTITIES))
    table.index.name = "quantity"
    out(table.drop(columns="label").round(4).T.to_string() + "\n")
    table.round(5).to_csv(options.output, lineterminator="\n")
    if options.output == OUTPUT:
        rewrite_between(PAGE, "pooling", markdown(table))
    worst = float(table["difference_in_sd"].abs().max())
    verdict = "agree" if table["agrees"].all() else "DO NOT AGREE"
    out(f"\nThe two calculations {verdict}; largest difference of a mean {worst:.3f} SD.\n")
    return 0 if table["agrees"].all() else 1


if __name__ == "__main__":
    raise SystemExit(main())
