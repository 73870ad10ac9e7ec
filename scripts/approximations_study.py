"""How far are the fast approximations from NUTS? The same designs, fitted by each.

Run ``OPENBLAS_NUM_THREADS=1 python scripts/approximations_study.py`` (some minutes on two cores):
it writes the tables of ``docs/approximations.md``. Fixed before the first run: the two designs
(the standard work of ``benchmarks/work.py``; the published evidence), the settings below, and what
is compared; after it the patients predicted were made fewer (200 to 60), for time.

Means and standard deviations are compared with those of a NUTS fit with default settings; a second
NUTS fit with another seed shows how much of a difference is Monte Carlo error. Predicted are 60
patients of the standard work, a third of their cells missing, each in one new trial (and, where
the fit knows their trials, in those).
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import ketpredict as kp
from ketpredict.design import Design
from ketpredict.evidence import Evidence, load_evidence, make_evidence
from ketpredict.fitting import SamplerSettings, fit, prepare
from ketpredict.posterior import Posterior
from ketpredict.predictors import load_predictors
from ketpredict.spec import load_spec

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from work import standard_work  # noqa: E402

PAGE = ROOT / "docs" / "approximations.md"
START, END = "<!-- approximations: start -->", "<!-- approximations: end -->"
PATIENTS = 60
SAMPLER: dict[str, Any] = {"draws": 1500, "tune": 1500, "chains": 4, "target_accept": 0.95}
METHODS: dict[str, dict[str, Any]] = {
    "NUTS": {"inference": "nuts", "seed": 1, **SAMPLER},
    "NUTS, another seed": {"inference": "nuts", "seed": 2, **SAMPLER},
    "NUTS, short: 2 x (300 + 300)": {
        "inference": "nuts", "seed": 3, "draws": 300, "tune": 300, "chains": 2,
        "target_accept": 0.8,
    },
    "Laplace": {"inference": "laplace", "seed": 1, **SAMPLER},
    "Pathfinder": {"inference": "pathfinder", "seed": 1, **SAMPLER},
}  # fmt: skip
GROUPS = {
    "slopes under ketamine": ("slope",),
    "scales": (
        "population_scale", "trial_scale", "treatment_scale", "arm_scale", "horizon_scale",
        "slope_scale",
    ),
    "effects of trials, populations and arms": (
        "intercept", "trial_effect", "population_effect", "treatment_deviation", "arm_effect",
    ),
    "law of the predictors": ("trial_mean", "predictor_covariance", "binary_shift"),
}  # fmt: skip


def main() -> None:
    """Fit both designs by every method and write the tables."""
    warnings.simplefilter("ignore")  # every verdict stands in the table
    works = [("Standard work", *standard()), ("Published evidence", *published())]
    parts = [
        f"Written by `scripts/approximations_study.py` on {os.cpu_count()} cores; CPU seconds are "
        "of the whole fit call, compiled code warm.",
    ]
    for title, design, evidence, known in works:
        parts.extend(tables(title, design, evidence, known=known))
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START)
    after = rest.split(END)[1]
    body = "\n\n".join(parts)
    PAGE.write_text(f"{before}{START}\n{body}\n{END}{after}", encoding="utf-8")
    print(body)


def standard() -> tuple[Design, Evidence, bool]:
    """Return the design and evidence of the standard work."""
    work = standard_work()
    spec = load_spec("published").with_predictors(work.predictors)
    evidence = make_evidence(participants=work.columns, predictors=work.predictors)
    return (*prepare(spec, evidence, load_predictors()), True)


def published() -> tuple[Design, Evidence, bool]:
    """Return the design and evidence of the published model."""
    return (*prepare(load_spec("published"), load_evidence(), load_predictors()), False)


def tables(title: str, design: Design, evidence: Evidence, *, known: bool) -> list[str]:
    """Return the heading and tables of one design in Markdown."""
    fits, seconds = {}, {}
    fit(design, evidence, SamplerSettings(inference="nuts", draws=5, tune=5, chains=1))  # warm up
    for name, options in METHODS.items():
        started = time.process_time()
        fits[name] = fit(design, evidence, SamplerSettings(**options))
        seconds[name] = time.process_time() - started
        print(f"{title}, {name}: {seconds[name]:.1f} CPU s", flush=True)
    reference = fits["NUTS"]
    first = [
        "| inference | CPU s, times NUTS | Pareto k | effective draws | new trial: probability, "
        "mean and largest difference | width of 90 % interval, times NUTS |"
        + (" known trial: mean and largest difference |" if known else ""),
        "|---|---|---|---|---|---|" + ("---|" if known else ""),
    ]
    predicted = {name: new_trial(posterior) for name, posterior in fits.items()}
    in_known = {name: known_trial(posterior) for name, posterior in fits.items()} if known else {}
    for name, posterior in fits.items():
        told = posterior.facts["diagnostics"]
        average, interval = predicted[name]
        away = np.abs(average - predicted["NUTS"][0])
        width = np.median(interval / predicted["NUTS"][1])
        cells = [
            name,
            f"{seconds[name]:.1f}, {seconds[name] / seconds['NUTS']:.2f}",
            *weights_words(told),
            f"{away.mean():.3f}, {away.max():.3f}",
            f"{width:.2f}",
        ]
        if known:
            apart = np.abs(in_known[name] - in_known["NUTS"])
            cells.append(f"{apart.mean():.3f}, {apart.max():.3f}")
        first.append(f"| {' | '.join(cells)} |")
    second = [
        "| inference | parameters | means: mean and largest difference, in SDs of NUTS | SDs, "
        "times NUTS: median, least, largest |",
        "|---|---|---|---|",
    ]
    for name, posterior in fits.items():
        if name != "NUTS":
            second.extend(f"| {name} | {row}" for row in comparison(posterior, reference))
    return [f"### {title}", "\n".join(first), "\n".join(second)]


def weights_words(told: dict[str, Any]) -> tuple[str, str]:
    """Return Pareto k and effective draws in words, dashes for chains."""
    if told["effective_draws"] is None:
        return "–", "–"
    k = "cannot be estimated" if told["pareto_k"] is None else f"{told['pareto_k']:.1f}"
    return k, f"{told['effective_draws']:.0f}"


def comparison(posterior: Posterior, reference: Posterior) -> list[str]:
    """Return a line of the second table for each group of parameters."""
    lines = []
    for words, names in GROUPS.items():
        away, ratio = [], []
        for name in names:
            exact = reference.groups["posterior"][name].reshape(reference.n_draws, -1)
            near = posterior.groups["posterior"][name].reshape(posterior.n_draws, -1)
            varies = np.ptp(exact, axis=0) > 0
            spread = exact[:, varies].std(axis=0)
            away.append(
                np.abs(near[:, varies].mean(axis=0) - exact[:, varies].mean(axis=0)) / spread
            )
            ratio.append(near[:, varies].std(axis=0) / spread)
        distance, times = np.concatenate(away), np.concatenate(ratio)
        lines.append(
            f"{words} | {distance.mean():.2f}, {distance.max():.2f} | "
            f"{np.median(times):.2f}, {times.min():.2f}, {times.max():.2f} |"
        )
    return lines


def patients() -> dict[str, np.ndarray]:
    """Return the patients to predict, a third of their cells missing."""
    work = standard_work()
    rng = np.random.default_rng(5)
    chosen = rng.permutation(len(work.columns["trial"]))[:PATIENTS]
    table = {name: values[chosen] for name, values in work.columns.items() if name != "response"}
    for name in work.predictors:
        table[name] = np.where(rng.random(PATIENTS) < 1 / 3, np.nan, table[name])
    return table


def new_trial(posterior: Posterior) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities in one new trial, and the widths of their 90 % intervals."""
    table = {**patients(), "trial": np.full(PATIENTS, "a new trial")}
    classifier = kp.KetamineResponseClassifier.from_posterior(posterior)
    interval = classifier.predict_interval(table)
    return classifier.predict_proba(table)[:, 1], interval[:, 1] - interval[:, 0]


def known_trial(posterior: Posterior) -> np.ndarray:
    """Return probabilities in the patients' own trials."""
    return kp.KetamineResponseClassifier.from_posterior(posterior).predict_proba(patients())[:, 1]


if __name__ == "__main__":
    main()
