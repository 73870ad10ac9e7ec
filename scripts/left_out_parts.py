"""What leaving out parts that the data cannot tell apart does, against the model that keeps them.

One population: the spread of slopes, and the widths of intervals of a probability in one new trial,
of this population and of another one. Only active arms: how often intervals in one new trial hold
the probability of one, and how many effective draws there are.

    uv run python scripts/left_out_parts.py
"""

from __future__ import annotations

import argparse
import dataclasses
import warnings

import numpy as np
from scipy.special import ndtr

import ketpredict as kp
from ketpredict.design import Design
from ketpredict.fitting import SamplerSettings, fit, prepare
from ketpredict.posterior import Posterior
from ketpredict.predict import predictions
from ketpredict.rows import encode_rows
from ketpredict.simulation import Simulation

_DRAWS, _TUNE, _TRIALS_HELD = 500, 400, 2000


def fitted(data: Simulation, seed: int, *, whole: bool) -> tuple[Posterior, Design]:
    """Return the fit of a simulation, with every part of the specification or without some."""
    references = {predictor.name: predictor for predictor in data.predictors}
    design, evidence = prepare(data.spec, data.evidence(), references)
    if whole:
        design = dataclasses.replace(design, left_out={})
    settings = SamplerSettings(draws=_DRAWS, tune=_TUNE, chains=2, target_accept=0.9, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit(design, evidence, settings), design


def trial_interval(posterior: Posterior, population: str) -> np.ndarray:
    """Return the interval of the probability in one new trial, BMI one SD above the reference."""
    bmi = next(p for p in posterior.predictors if p.name == "bmi")
    table = {"population": [population], "bmi": [float(bmi.from_scale(1.0))]}
    return predictions(posterior, encode_rows(posterior, table, 1), 0.9).trial_interval[0]


def one_population(seed: int) -> list[float]:
    """Return SDs of the slope of BMI, and widths of intervals in another population."""
    data = kp.simulate(
        trials=4, patients=60, published_trials=0, populations=["ptsd"], random_state=seed
    )
    found = []
    for whole in (True, False):
        posterior, _ = fitted(data, seed, whole=whole)
        found.append(float(posterior.groups["posterior"]["slope"][..., 0].std()))
        found += [
            float(np.diff(trial_interval(posterior, name))[0]) for name in ("ptsd", "another")
        ]
    return found


def only_active(seed: int, given: dict[str, float]) -> list[float]:
    """Return the share of new trials that the interval holds, and the effective draws."""
    data = kp.simulate(
        trials=8, patients=40, published_trials=0, populations=["ptsd"], arms=["ketamine"],
        predictors=["bmi"], truth={"across_slope": 0.0, "intercept": 0.0, **given},
        random_state=seed,
    )  # fmt: skip
    truth = data.truth
    level, slope = np.random.default_rng(seed).normal(size=(2, _TRIALS_HELD))
    level = truth["intercept"] + truth["trial_scale"] * level
    slope = slope * (0.0 if "trial_slope" in given else truth["slope_scale"][-1, 0])
    probability, found = ndtr(level + truth["slope"][0] + slope), []
    for whole in (True, False):
        posterior, _ = fitted(data, seed, whole=whole)
        low, high = trial_interval(posterior, "ptsd")
        found.append(float(((low <= probability) & (probability <= high)).mean()))
        found.append(float(posterior.facts["diagnostics"]["ess_bulk"]))
    return found


def main() -> None:
    """Print both comparisons, medians or means over data sets."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-sets", type=int, default=12)
    count = parser.parse_args().data_sets
    first = np.array([one_population(seed) for seed in range(count)])
    print(f"One population, {count} data sets; with all parts, then without those left out:")
    for name, a, b in (("SD of slope", 0, 3), ("its own", 1, 4), ("another", 2, 5)):
        print(f"  {name}: {np.median(first[:, a]):.3f}, {np.median(first[:, b]):.3f}")
    for words, given in (
        ("trials differ as the prior says", {}),
        ("trials differ less", {"trial_scale": 0.3, "trial_slope": 0.0}),
    ):
        second = np.array([only_active(seed, given) for seed in range(count)])
        print(f"Only active arms, {words}; with all parts, then without those left out:")
        for name, a, b in (("coverage of .90", 0, 2), ("least effective draws", 1, 3)):
            print(f"  {name}: {second[:, a].mean():.3f}, {second[:, b].mean():.3f}")


if __name__ == "__main__":
    main()
