"""The graph's likelihoods against brute force, whatever is missing."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import pandas as pd
import pytensor
import pytest
from pytensor.compile.mode import Mode
from scipy.stats import binom

import handmade
from brute_force import BruteForce
from ketpredict.design import Design, encode
from ketpredict.evidence import make_evidence, select_horizons
from ketpredict.graph import build
from ketpredict.spec import load_spec

# Compiled code would take minutes for each design, and asks for BLAS.
PLAIN = Mode(linker="py", optimizer="fast_compile")
REFERENCES = {
    "x1": handmade.predictor("x1"),
    "x2": handmade.predictor("x2", centre=2.0, scale=0.5),
    "z": handmade.predictor("z", assay_dependent=True, between_trial_sd=2.0),
    "b1": handmade.predictor("b1", "binary", centre=0.4),
    "b2": handmade.predictor("b2", "binary", centre=0.5),
    "b3": handmade.predictor("b3", "binary", centre=0.2),
}
ARM_COLUMNS = ("trial", "population", "arm", "hours", "n", "responders", "threshold", "scale")
ARMS = (
    ("B", "unipolar_depression", "ketamine", 24.0, 47.0, 30.0, 50.0, "MADRS"),
    ("B", "unipolar_depression", "midazolam", 24.0, 25.0, 7.0, 50.0, "MADRS"),
    ("C", "ptsd", "ketamine_repeated", 336.0, 15.0, 10.0, 30.0, "CAPS-5"),
    ("D", "ptsd", "ketamine", 40.0, 8.0, 0.0, 35.0, "CAPS-5"),
    ("D", "ptsd", "saline", 40.0, 7.0, 7.0, 35.0, "CAPS-5"),
    ("own 1", "unipolar_depression", "ketamine", 72.0, 12.0, 5.0, 50.0, "MADRS"),
)
SUMMARIES = {
    "x1_mean": [0.4, 0.3, np.nan, -0.5, np.nan, 0.2],
    "x1_sd": [1.3, np.nan, np.nan, 0.8, np.nan, 1.1],
    "x2_mean": [2.3, np.nan, np.nan, 1.9, np.nan, 2.1],
    "x2_sd": [0.4, np.nan, np.nan, 0.6, np.nan, np.nan],
    "z_mean": [1.5, 1.2, np.nan, np.nan, np.nan, np.nan],
    "z_sd": [0.7, 1.2, np.nan, np.nan, np.nan, np.nan],
    "b1_pct": [35.0, np.nan, np.nan, 25.0, np.nan, 50.0],
    "b2_pct": [60.0, 40.0, np.nan, 0.0, np.nan, np.nan],
    "b3_pct": [10.0, np.nan, np.nan, 25.0, 100.0, np.nan],
}


def patients() -> pd.DataFrame:
    """Return patients of three trials with holes of every kind.

    Values are missing here and there; trial 2 measures neither `x2` nor `b1`, and trial 3 no `z`;
    trial 1 has two assays, and one patient in two periods.
    """
    rng = np.random.default_rng(5)
    count = 36
    table = pd.DataFrame(
        {
            "trial": np.repeat(["own 1", "own 2", "own 3"], 12),
            "population": np.repeat(["unipolar_depression", "bipolar_depression", "ptsd"], 12),
            "arm": np.tile(["ketamine", "saline"], 18),
            "hours": np.repeat([24.0, 48.0, 24.0], 12),
            "participant": [f"patient {i}" for i in range(count)],
            "assay": np.where(np.arange(count) % 3 == 0, "plasma", "serum"),
            "response": rng.integers(0, 2, count).astype(float),
            "x1": rng.normal(0.2, 1.1, count),
            "x2": rng.normal(2.1, 0.6, count),
            "z": rng.normal(1.0, 2.0, count),
            "b1": rng.integers(0, 2, count).astype(float),
            "b2": rng.integers(0, 2, count).astype(float),
            "b3": (rng.uniform(size=count) < 0.2).astype(float),
        }
    )
    for name in REFERENCES:
        table.loc[rng.uniform(size=count) < 0.25, name] = np.nan
    table.loc[12:23, ["x2", "b1"]] = np.nan
    table.loc[24:, "z"] = np.nan
    table.loc[24:, "assay"] = np.nan
    table.loc[[3, 17], "response"] = np.nan
    table.loc[7, "participant"] = "patient 6"
    return table


def arms() -> pd.DataFrame:
    table = pd.DataFrame(list(ARMS), columns=list(ARM_COLUMNS))
    table["blinding"] = ["double_blind"] * 5 + ["open_label"]
    return table.assign(**SUMMARIES)


def design_of(
    names: tuple[str, ...],
    *,
    participants: bool = True,
    published: bool = True,
    complete: bool = False,
    link: str = "probit",
    across: bool = True,
) -> Design:
    """Return the design of the tables above for some of the predictors."""
    references = {name: REFERENCES[name] for name in names}
    people, table = patients(), arms()
    if complete:
        rng = np.random.default_rng(6)
        for name in names:
            drawn = (
                rng.integers(0, 2, len(people)) if name[0] == "b" else rng.normal(size=len(people))
            )
            people[name] = people[name].fillna(pd.Series(drawn.astype(float)))
    unused = set(REFERENCES) - set(names)
    people = people.drop(columns=list(unused))
    if "z" not in names:
        people = people.drop(columns="assay")
    table = table.drop(columns=[c for c in SUMMARIES if c.rsplit("_", 1)[0] in unused])
    spec = load_spec("published").with_predictors(names)
    pooling = dataclasses.replace(spec.pooling, across_trial_slope=across)
    spec = dataclasses.replace(spec, link=link, pooling=pooling)
    evidence = make_evidence(
        participants=people if participants else None,
        arms=table if published else None,
        references=references,
        predictors=names,
    )
    return encode(spec, select_horizons(evidence, spec.horizons), references)


ALL = tuple(REFERENCES)
DESIGNS: dict[str, Any] = {
    "everything": lambda: design_of(ALL),
    "logit": lambda: design_of(("x1", "z", "b1", "b2"), link="logit"),
    "no slope across trials": lambda: design_of(("x1", "z", "b1", "b2"), across=False),
    "patients only": lambda: design_of(("x1", "x2", "b1", "b2"), published=False),
    "arms only": lambda: design_of(("x1", "x2", "z", "b1", "b2", "b3"), participants=False),
    "nothing missing": lambda: design_of(("x1", "x2", "b1", "b2", "b3"), complete=True),
    "binaries only": lambda: design_of(("b1", "b2", "b3")),
    "one binary": lambda: design_of(("b2",)),
    "continuous only": lambda: design_of(("x1", "x2", "z")),
    "one continuous": lambda: design_of(("x2",)),
    "one assay-dependent": lambda: design_of(("z",)),
    "no predictor": lambda: design_of(()),
}


@functools.cache
def compiled(name: str) -> tuple[Design, Any, Any]:
    """Return a design, its model, and a function from a point to named values."""
    design = DESIGNS[name]()
    model = build(design)
    named = [*model.deterministics, *model.free_RVs]
    outputs = [
        *model.replace_rvs_by_values(named),
        *model.logp(vars=model.observed_RVs, sum=False),
        *model.replace_rvs_by_values(model.potentials),
    ]
    function = model.compile_fn(outputs, inputs=model.value_vars, mode=PLAIN)
    labels = [*(v.name for v in named), "log_likelihood", *(v.name for v in model.potentials)]

    def evaluate(point: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(labels, map(np.asarray, function(point)), strict=True))

    return design, model, evaluate


def random_point(
    model: Any, rng: np.random.Generator, spread: float = 0.5
) -> dict[str, np.ndarray]:
    start = model.initial_point()
    return {name: value + rng.normal(0.0, spread, value.shape) for name, value in start.items()}


@pytest.mark.parametrize("name", DESIGNS)
def test_responses_equal_brute_force(name: str) -> None:
    design, model, evaluate = compiled(name)
    rng = np.random.default_rng(1)
    for _ in range(2):
        values = evaluate(random_point(model, rng))
        brute = BruteForce(design, values)
        p = np.array([brute.probability(unit) for unit in range(len(design.units))])
        expected = binom.logpmf(design.units.responders, design.units.n, p)
        # The logit link is a mixture of normals, 9e-9 from the logistic distribution.
        tolerance = 1e-9 if design.spec.link == "probit" else 1e-7 * design.units.n
        difference = np.abs(values["log_likelihood"] - expected)
        assert (difference <= tolerance * np.maximum(1.0, np.abs(expected))).all()


@pytest.mark.parametrize("name", [name for name in DESIGNS if name != "no predictor"])
def test_predictors_equal_brute_force(name: str) -> None:
    design, model, evaluate = compiled(name)
    rng = np.random.default_rng(2)
    for _ in range(3):
        values = evaluate(random_point(model, rng))
        brute = BruteForce(design, values)
        expected = brute.people_log_density() + brute.arms_log_density()
        assert values["predictors"] == pytest.approx(expected, rel=1e-9)


def test_the_gradient_is_the_slope_of_the_density() -> None:
    """Central differences in random directions, exact proportions and all kinds of holes included.

    A probability that nobody has must not make a derivative of log 0.
    """
    model = build(DESIGNS["everything"]())
    parts = [part.sum() for part in model.logp(sum=False)]
    # One sum of them all would be an operation on more arrays than NumPy takes.
    total = functools.reduce(lambda a, b: a + b, parts)
    gradient = pytensor.grad(total, model.value_vars)
    mode = Mode(linker="py", optimizer="merge")
    function = model.compile_fn([total, *gradient], inputs=model.value_vars, mode=mode)
    rng = np.random.default_rng(3)
    start = model.initial_point()
    assert all(np.isfinite(part).all() for part in function(start))
    for _ in range(5):
        point = random_point(model, rng)
        direction = {name: rng.normal(size=value.shape) for name, value in point.items()}
        above, below = (
            function({name: value + step * direction[name] for name, value in point.items()})[0]
            for step in (1e-5, -1e-5)
        )
        slope = sum(
            np.sum(part * direction[variable.name])
            for part, variable in zip(function(point)[1:], model.value_vars, strict=True)
        )
        assert slope == pytest.approx((above - below) / 2e-5, rel=1e-6)
