r"""Do slopes learned from published statistics cover? Simulated literatures, fitted four ways.

Run ``python scripts/literature_study.py`` (about a quarter of an hour on two cores): it writes
``docs/literature.csv`` and the tables of ``docs/literature.md``, and exits with 1 when the stated
model covers too rarely, or, where nothing was selected, too often.

Generator and selection rule were fixed before the first run.

A literature
    The six predictors of the published model. Slopes, their parts and the law of the predictors
    are drawn from the model's priors. Each of the predictors is reported by one to four cohorts of
    25 to 140 patients, each with its own slopes (trial and study heterogeneity), its own means and
    rates; a third of the reports have a second horizon, 72 h, whose latent outcome correlates 0.7
    with the first. Patients are drawn one by one, and each report is computed from them as authors
    would: Pearson correlation, standardised coefficient of a regression on all predictors, mean
    difference of responders and others, counts of responders in two groups (a continuous predictor
    is split at its median), or a verdict in words (significant in a direction, or not).

Two literatures
    ``whole``: everything is published, and the discount is off, so that the model is the generator.
    ``selected``: each slope is null with probability 0.3, a report with p < 0.05 is published, any
    other with probability 0.3.

Four fits of each
    The stated model (of ``selected``: with the discount of unreplicated cohorts); without
    heterogeneity between studies and horizons; without the discount; without either.

The rule
    Coverage of the 90 % interval of the six slopes, predictor by predictor, within exact binomial
    bounds at the 1 % level, Bonferroni over the six; of ``selected`` the lower bound alone. Every
    fit counts, whatever its diagnostics say.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binom
from scipy.stats import t as student

from ketpredict.association import pattern_probability
from ketpredict.design import Design
from ketpredict.effect_density import slope_unit
from ketpredict.errors import ConvergenceWarning
from ketpredict.evidence import Evidence, make_evidence
from ketpredict.fitting import SamplerSettings, fit, prepare
from ketpredict.marginal import rate_location
from ketpredict.patterns import enumerate_patterns
from ketpredict.predictors import load_predictors
from ketpredict.prior import draw_prior
from ketpredict.prior_families import Prior
from ketpredict.spec import ModelSpec, load_spec

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "docs" / "literature.csv"
PAGE = ROOT / "docs" / "literature.md"
LITERATURES = ("whole", "selected")
FITS = ("stated", "no heterogeneity", "no discount", "neither")
LEVEL, CONTENT = 0.01, 0.9
SIZES = (25, 40, 60, 90, 140)
KINDS = ("pearson_r", "standardised_beta", "mean_difference", "counts", "words")
KIND_SHARES = (0.3, 0.2, 0.2, 0.15, 0.15)
SECOND_HORIZON, SECOND_HOURS, HORIZON_CORRELATION = 1 / 3, 72.0, 0.7
NULL_SHARE, PUBLISHED_ANYWAY = 0.3, 0.3
POPULATION = "unipolar_depression"
SETTINGS = SamplerSettings(draws=400, tune=500, chains=2, cores=1, target_accept=0.9)
REFERENCES = load_predictors()


@dataclasses.dataclass(frozen=True)
class Truth:
    """Parameters of one literature: draws of size one from the prior."""

    design: Design
    draws: dict[str, np.ndarray]
    slope: np.ndarray
    study_scale: np.ndarray
    horizon_scale: float


def arms() -> pd.DataFrame:
    """Return four small published arms, which say little of slopes."""
    return pd.DataFrame(
        {
            "trial": [f"trial {i}" for i in range(4)],
            "population": POPULATION,
            "arm": "ketamine",
            "hours": 24.0,
            "n": 20,
            "responders": [9, 11, 8, 12],
        }
    )


def truth(seed: int, literature: str) -> Truth:
    """Return the parameters of a literature."""
    rng = np.random.default_rng([seed, LITERATURES.index(literature), 0])
    spec = load_spec("published")
    design, _ = prepare(spec, make_evidence(arms=arms()), REFERENCES)
    draws = draw_prior(design, 1, rng)
    slope = draws["slope"][0] + 0.0
    if literature == "selected":
        slope[rng.random(len(slope)) < NULL_SHARE] = 0.0
    scale = spec.priors["effect_scale"].values[0]
    return Truth(
        design,
        draws,
        slope,
        np.abs(rng.normal(0.0, scale, len(slope))),
        abs(rng.normal(0.0, spec.priors["effect_horizon_scale"].values[0])),
    )


def cohort(
    truth: Truth, size: int, predictor: int, both: bool, rng: np.random.Generator
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the predictors of a cohort's patients, and the latent outcome at its horizons."""
    design, draws = truth.design, truth.draws
    predictors, unit = design.predictors, slope_unit(design)
    spread = draws["predictor_between_scale"][0]
    middle = [rate_location(p) if p.kind == "binary" else 0.0 for p in predictors]
    centre = draws["predictor_location"][0] + middle + spread * rng.normal(size=len(predictors))
    value = np.empty((size, len(predictors)))
    _, pattern = enumerate_patterns(np.full((1, len(design.binary_idx)), np.nan))
    rate = np.clip(
        [0.5 * math.erfc(-centre[k] / math.sqrt(2)) for k in design.binary_idx], 0.02, 0.98
    )
    chance = pattern_probability(rate[None, :], pattern, draws["binary_log_odds_ratio"][0][None])
    chosen = pattern[rng.choice(len(pattern), size, p=chance.ravel() / chance.sum())]
    value[:, design.binary_idx] = chosen
    own = rng.multivariate_normal(
        centre[design.continuous_idx], draws["predictor_covariance"][0], size
    )
    reference = np.array([predictors[k].centre for k in design.binary_idx])
    value[:, design.continuous_idx] = own + (chosen - reference) @ draws["binary_shift"][0].T
    parts = design.slope_parts
    scale = draws["slope_scale"][0]
    population = draws["population_slope"][0, design.populations.index(POPULATION)]
    slope = truth.slope + population
    deviation = scale[parts.index("trial"), predictor] ** 2
    deviation += (truth.study_scale[predictor] * unit[predictor]) ** 2
    slope[predictor] += math.sqrt(deviation) * rng.normal()
    outcome, residual = [], rng.normal(size=size)
    for hours in (24.0, SECOND_HOURS)[: 1 + both]:
        here = slope.copy()
        if hours != 24.0:
            distance = math.sqrt(abs(math.log(hours / 24.0)))
            here[predictor] += truth.horizon_scale * distance * unit[predictor] * rng.normal()
            residual = HORIZON_CORRELATION * residual + math.sqrt(
                1 - HORIZON_CORRELATION**2
            ) * rng.normal(size=size)
        linear = value @ here
        outcome.append(linear - linear.mean() + rng.normal(0.0, 0.3) + residual)
    return value, outcome


def report(
    kind: str, predictor: int, value: np.ndarray, outcome: np.ndarray, truth: Truth
) -> tuple[dict[str, Any], float]:
    """Return what a paper would print of a cohort, and the p-value that decides on printing it."""
    item, size = truth.design.predictors[predictor], len(outcome)
    x = value[:, predictor]
    if x.std() == 0.0:
        return {}, 1.0
    r = float(np.corrcoef(x, outcome)[0, 1])
    p_value = _p(r * math.sqrt((size - 2) / (1 - r * r)), size - 2)
    if kind == "words":
        known = "0" if p_value >= 0.05 else str(int(math.copysign(1, r)))
        return {"statistic": "direction_only", "direction_for_better_response": known}, p_value
    if kind == "standardised_beta":
        every = np.column_stack([np.ones(size), value])
        kept = [0, *(j + 1 for j in range(value.shape[1]) if value[:, j].std() > 0)]
        inverse = np.linalg.inv(every[:, kept].T @ every[:, kept])
        beta = inverse @ every[:, kept].T @ outcome
        rest = outcome - every[:, kept] @ beta
        place, freedom = kept.index(predictor + 1), size - len(kept)
        error = math.sqrt(rest @ rest / freedom * inverse[place, place])
        factor = x.std() / outcome.std()
        names = ";".join(truth.design.predictor_names[j - 1] for j in kept[1:])
        estimate = {"estimate": beta[place] * factor, "se": error * factor, "adjusted_set": names}
        return {"statistic": kind, **estimate}, _p(beta[place] / error, freedom)
    responded = outcome > 0
    if kind == "pearson_r" or not 2 <= responded.sum() <= size - 2:
        return {"statistic": "pearson_r", "estimate": r}, p_value
    counted = {"outcome_kind": "response", "response_rate": responded.mean()}
    if kind == "mean_difference":
        yes, no = x[responded], x[~responded]
        pooled = (((yes - yes.mean()) ** 2).sum() + ((no - no.mean()) ** 2).sum()) / (size - 2)
        error = math.sqrt(pooled * (1 / len(yes) + 1 / len(no)))
        if error == 0.0:
            return {}, 1.0
        difference = yes.mean() - no.mean()
        printed = {"statistic": kind, "estimate": difference, "se": error, **counted}
        return printed, _p(difference / error, size - 2)
    high = x > np.median(x) if item.kind == "continuous" else x == 1.0
    tallies = [int(v) for v in (responded[high].sum(), high.sum())]
    tallies += [int(v) for v in (responded[~high].sum(), (~high).sum())]
    a, b, c, d = tallies
    rate, error = responded.mean(), 0.0
    error = math.sqrt(rate * (1 - rate) * (1 / b + 1 / d))
    split = "split" if item.kind == "continuous" else "continuous"
    printed = {"statistic": kind, "counts": f"{a}/{b};{c}/{d}", "contrast": split, **counted}
    return printed, _p((a / b - c / d) / error, 1e6)


def _p(t: float, freedom: float) -> float:
    return float(2 * student.sf(abs(t), freedom))


def associations(seed: int, literature: str, truth: Truth) -> pd.DataFrame:
    """Return the table of published effects of one literature."""
    rng = np.random.default_rng([seed, LITERATURES.index(literature), 1])
    rows: list[dict[str, Any]] = []
    for predictor, name in enumerate(truth.design.predictor_names):
        for number in range(rng.integers(1, 5)):
            size, kind = int(rng.choice(SIZES)), str(rng.choice(KINDS, p=KIND_SHARES))
            both = bool(rng.random() < SECOND_HORIZON)
            value, outcome = cohort(truth, size, predictor, both, rng)
            for hours, latent in zip((24.0, SECOND_HOURS), outcome, strict=False):
                printed, p_value = report(kind, predictor, value, latent, truth)
                kept = p_value < 0.05 or rng.random() < PUBLISHED_ANYWAY
                if not printed or (literature == "selected" and not kept):
                    continue
                row = {"cohort": f"{name} {number}", "predictor": name, "hours": hours, "n": size}
                rows.append(
                    {**row, "population": POPULATION, "outcome_kind": "improvement"} | printed
                )
    columns = ("estimate", "se", "counts", "adjusted_set", "contrast", "response_rate")
    columns += ("direction_for_better_response",)
    table = pd.DataFrame(rows)
    for column in columns:
        if column not in table:
            table[column] = None
    return table.astype({"estimate": float, "se": float, "response_rate": float})


def specification(literature: str, how: str) -> ModelSpec:
    """Return the model of one way to fit."""
    spec = load_spec("published")
    if literature == "whole" or how in ("no discount", "neither"):
        spec = spec.with_literature(unreplicated_power=1.0)
    if how in ("no heterogeneity", "neither"):
        none = Prior("fixed", (0.0,))
        spec = spec.with_priors(effect_scale=none, effect_horizon_scale=none)
        spec = dataclasses.replace(
            spec, pooling=dataclasses.replace(spec.pooling, trial_slope=False)
        )
    return spec


def one(task: tuple[int, str]) -> list[dict[str, Any]]:
    """Return the rows of the result of one literature."""
    seed, literature = task
    true = truth(seed, literature)
    table = associations(seed, literature, true)
    evidence: Evidence = make_evidence(arms=arms(), associations=table if len(table) else None)
    rows = []
    for how in FITS:
        if literature == "whole" and how in ("no discount", "neither"):
            continue
        design, used = prepare(specification(literature, how), evidence, REFERENCES)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            posterior = fit(design, used, dataclasses.replace(SETTINGS, seed=seed))
        slope = posterior.parameters["slope"]
        low, high = np.quantile(slope, [(1 - CONTENT) / 2, (1 + CONTENT) / 2], axis=0)
        for k, name in enumerate(design.predictor_names):
            rows.append(
                {
                    "seed": seed, "literature": literature, "fit": how, "predictor": name,
                    "reports": int((table["predictor"] == name).sum()) if len(table) else 0,
                    "truth": true.slope[k], "mean": slope[:, k].mean(), "low": low[k],
                    "high": high[k], "divergences": posterior.facts["diagnostics"]["divergences"],
                }
            )  # fmt: skip
    return rows


def bounds(count: int) -> tuple[int, int]:
    """Return the fewest and most covering intervals that the rule allows."""
    tail = LEVEL / len(load_spec("published").predictors or ()) / 2
    return int(binom.ppf(tail, count, CONTENT)), int(binom.isf(tail, count, CONTENT))


def summarise(result: pd.DataFrame) -> tuple[str, bool]:
    """Return the table of the page, and whether the rule holds."""
    lines = [
        "| literature | fit | predictor | covers | allowed | width | error (RMS) |",
        "|---|---|---|---|---|---|---|",
    ]
    holds = True
    for (literature, how), part in result.groupby(["literature", "fit"], sort=False):
        for name, own in [("all six", part), *part.groupby("predictor", sort=False)]:
            covers = ((own["low"] <= own["truth"]) & (own["truth"] <= own["high"])).sum()
            error = math.sqrt(((own["mean"] - own["truth"]) ** 2).mean())
            width = (own["high"] - own["low"]).mean()
            allowed = ""
            if name != "all six" and how == "stated":
                fewest, most = bounds(len(own))
                most = most if literature == "whole" else len(own)
                allowed = f"{fewest} to {most}"
                holds = holds and fewest <= covers <= most
            if name == "all six" or how == "stated":
                share = f"{covers} of {len(own)} ({covers / len(own):.1%})"
                lines.append(
                    f"| {literature} | {how} | {name} | {share} | {allowed} | {width:.2f} | "
                    f"{error:.3f} |"
                )
    return "\n".join(lines), holds


def main() -> int:
    """Run the study, or the part of it that is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", type=int, default=150, help="literatures of each kind")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    tasks = [(seed, literature) for seed in range(options.sets) for literature in LITERATURES]
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor(options.cores) as pool:
        for number, found in enumerate(pool.map(one, tasks), start=1):
            rows += found
            if number % 20 == 0:
                print(f"{number} of {len(tasks)} literatures", flush=True)
    result = pd.DataFrame(rows)
    result.to_csv(OUTPUT, index=False, lineterminator="\n", float_format="%.5g")
    table, holds = summarise(result)
    print(table)
    if PAGE.is_file():
        text = PAGE.read_text(encoding="utf-8")
        start, end = "<!-- literature: start -->", "<!-- literature: end -->"
        before, _, rest = text.partition(start)
        _, _, after = rest.partition(end)
        PAGE.write_text(f"{before}{start}\n{table}\n{end}{after}", encoding="utf-8")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
