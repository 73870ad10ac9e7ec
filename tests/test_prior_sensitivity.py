"""Which priors the answers lean on: the table, its words, its print, its place in a report."""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import ketpredict as kp
from ketpredict.cli import app
from ketpredict.log_prior import log_priors
from ketpredict.power_scaling import sensitivity
from ketpredict.printing_sensitivity import sensitivity_print
from ketpredict.prior_sensitivity import ALL, EFFECTS, NAMES, OUTCOMES, PriorSensitivity
from ketpredict.report_sensitivity import leaning_table, sensitivity_table


@pytest.fixture(scope="module")
def shipped():
    return kp.load("published")


@pytest.fixture(scope="module")
def found(shipped):
    return shipped.prior_sensitivity()


def rows(found, answer, component):
    table = found.table
    return table[(table["answer"] == answer) & (table["component"] == component)].iloc[0]


def test_answers_and_components_of_the_shipped_fit(shipped, found):
    assert found.components == list(NAMES)
    per = found.table.groupby("component", sort=False).size()
    assert set(per) == {22 + 6 + 4}
    row = rows(found, "between trials", "scales")
    draws = shipped.fit_.parameters["trial_scale"]
    fit = shipped.fit_
    known = log_priors(fit.parameters, fit.spec, fit.predictors, fit.coords)
    names = ("population_scale", "trial_scale", "treatment_scale", "arm_scale")
    by_hand = sensitivity(draws[:, None], sum(known[name] for name in names))[0]
    assert row["sensitivity"] == pytest.approx(by_hand)
    assert row["now"] == pytest.approx(draws.mean())
    # Half-normals pull scales to 0 the more, the stronger they are; their slopes they leave alone.
    assert row["stronger"] < row["now"] < row["weaker"]
    assert row["leans"]
    assert not rows(found, "between trials", "arms")["leans"]
    assert not found.table.loc[found.table["component"] == OUTCOMES, "leans"].any()


def test_lines_say_what_the_table_holds(found):
    lines = found.lines()
    of_scales = next(line for line in lines if line.startswith("Prior of variation"))
    assert "4 of 32 answers lean on it" in of_scales
    assert "the scale between populations: +0.32 with it half as strong" in of_scales
    assert any(line.startswith("No answer leans on: arm classes") for line in lines)
    assert "4 of 4 scales between groups lean on a prior" in found.headline()


def handmade(found, **changes):
    """Return one answer that leans on one component as a test wants it."""
    table = found.table[found.table["component"].isin(["arms", EFFECTS, OUTCOMES])]
    table = table[(table["section"] == "PTSD") & (table["answer"] == "Saline")].copy()
    table[["leans", "noise"]] = [False, 0.01]
    arms = table["component"] == "arms"
    values = {"sensitivity": 0.3, "shift": 0.8, "error": 0.1, "weaker": 0.31, "now": 0.28}
    for name, value in {**values, "stronger": 0.25, "leans": True, **changes}.items():
        table.loc[arms, name] = value
    table.loc[table["component"] == OUTCOMES, "sensitivity"] = 0.01
    return PriorSensitivity(table)


def test_an_answer_that_leans_is_told_in_both_directions(found):
    one = handmade(found)
    assert one.lines()[0] == (
        "Prior of arm classes: 1 of 1 answers leans on it, most of all PTSD, saline: 31 % with it "
        "half as strong, 28 % as it is, 25 % twice as strong (+0.80 ± 0.10 SD for a doubling); the "
        "outcomes hardly move it."
    )
    assert leaning_table(one).rows == (
        ("PTSD, saline", "arm classes", "0.300", "31 %", "28 %", "25 %", "+0.80 ± 0.10"),
    )
    assert one.headline() == (
        "1 of 1 probabilities lean on a prior or on published effects, most often on arm classes."
    )
    far = handmade(found, k_weaker=0.9)
    assert "‡ with it half as strong" in far.lines()[0]
    assert far.lines()[-1].startswith("‡: too far for weights")
    assert leaning_table(far).rows[0][3] == "‡"
    none = handmade(found, leans=False)
    assert leaning_table(none) is None
    assert none.headline().startswith("No answer leans")
    assert none.lines() == ["No answer leans on: arm classes; published effects."]


def test_too_few_draws_are_said_and_make_no_verdict(found):
    """Chance alone reaches 0.05 with few draws: then nothing below what it reaches leans."""
    one = found.table[found.table["component"] == ALL]
    assert one["noise"].iloc[0] > 0.05
    between = one[(one["sensitivity"] >= 0.05) & (one["sensitivity"] < one["noise"])]
    assert len(between)
    assert not between["leans"].any()
    words = next(line for line in found.lines() if "chance alone reaches" in line)
    assert f"all priors together {one['noise'].iloc[0]:.2f}" in words


def test_noise_is_what_unrelated_draws_reach(shipped):
    """Of quantities that have nothing to do with a component, about 5 in 100 lie above its noise.

    60 quantities: 3 above on average, SD 1.7; five SDs are 12.
    """
    from ketpredict.power_scaling import power_scaled

    rng = np.random.default_rng(3)
    log_density = -0.5 * (rng.normal(size=(1000, 8)) ** 2).sum(axis=1)
    result = power_scaled(rng.normal(size=(1000, 60)), log_density)
    assert (result.sensitivity > result.noise).sum() <= 12
    assert np.median(result.sensitivity) > 0.2 * result.noise
    fewer = power_scaled(rng.normal(size=(1000, 60)), log_density, 250.0)
    assert fewer.noise == pytest.approx(2.0 * result.noise, rel=0.3)


def test_fits_without_effects_predictors_or_draws_to_spare(simulated_fits):
    found = kp.KetamineResponseClassifier.from_posterior(simulated_fits["bare"]).prior_sensitivity()
    assert EFFECTS not in found.components
    assert "effect_scales" not in found.components
    few = {
        name: {n: v[:, :10] for n, v in group.items()} if name in ("posterior",) else group
        for name, group in simulated_fits["bare"].groups.items()
        if name not in ("log_likelihood", "posterior_predictive")
    }
    tiny = dataclasses.replace(simulated_fits["bare"], groups=few)
    result = kp.KetamineResponseClassifier.from_posterior(tiny).prior_sensitivity()
    assert np.isfinite(result.table[["sensitivity", "shift", "noise", "error"]].to_numpy()).all()


def test_published_effects_that_count_for_nothing_move_nothing(shipped):
    fit = shipped.fit_
    kept = {"effects": np.zeros_like(fit.groups["log_likelihood"]["effects"])}
    silent = dataclasses.replace(fit, groups={**fit.groups, "log_likelihood": kept})
    found = kp.KetamineResponseClassifier.from_posterior(silent).prior_sensitivity()
    own = found.table[found.table["component"] == EFFECTS]
    assert (own["sensitivity"] == 0).all()
    assert not own["leans"].any()


def test_the_print_holds_on_80_columns(found):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(sensitivity_print(found))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    line = next(line for line in text.splitlines() if line.startswith("between populations"))
    cells = line.removeprefix("between populations").split()
    table = found.table[found.table["answer"] == "between populations"]
    assert cells == [
        f"{value:.3f}".removeprefix("0") + ("*" if leans else "")
        for value, leans in zip(table["sensitivity"], table["leans"], strict=True)
    ]


def test_check_prints_and_writes_it(shipped, simulated_fits, tmp_path):
    path = simulated_fits["bare"].save(tmp_path / "fit.nc")
    printed = CliRunner().invoke(app, ["check", str(path)])
    assert "Which priors the answers lean on" in printed.output
    assert "variation" in printed.output or "vari-" in printed.output
    table = json.loads(CliRunner().invoke(app, ["check", str(path), "--json"]).output)
    own = table["prior_sensitivity"]
    assert own["limit"] == 0.05
    assert {row["component"] for row in own["answers"]} >= {"scales", OUTCOMES}
    assert own["lines"]


def test_the_report_holds_every_answer(odd_text, found):
    assert '<h3 id="prior-sensitivity">' in odd_text
    assert odd_text.count('href="#prior-sensitivity"') >= 2
    assert 'id="table-prior-sensitivity"' in odd_text
    table = sensitivity_table(found)
    assert len(table.rows) == 32
    assert len(table.headings) == len(NAMES) + 1
    assert all(table.numeric[1:])
