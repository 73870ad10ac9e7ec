"""Every public question to every kind of fit: a right answer, or an error that says why not.

``REFUSED`` holds each cell that makes no sense with words of its error; every other cell answers.
The fits are small (:mod:`kinds_of_fit`), so that what is held is not how near an answer is to a
truth but what must hold of any fit: numbers in range, two roads to one number, labels, words.
"""

from __future__ import annotations

import functools
import html
import json
import re
from collections.abc import Callable
from typing import Any

import arviz_plots as azp
import arviz_stats as azs
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

import ketpredict as kp
from ketpredict.check_figures import check_figures
from ketpredict.cli import app
from ketpredict.effect_plots import partial_effect_plot
from ketpredict.fitting import SamplerSettings
from ketpredict.leave_out import leave_one_trial_out
from ketpredict.marginal_effects import evidence_values, partial_effect_table
from ketpredict.plots import forest_plot, literature_plot, predictive_plot
from ketpredict.predict import uncertainty_parts
from ketpredict.predictive_groups import predictive_groups
from ketpredict.summary import population_table, slope_table
from ketpredict.updating import update_table
from ketpredict.validation_plots import calibration_by_trial, measures_forest
from kinds_of_fit import KINDS, Kind

pytestmark = [
    pytest.mark.any_draws,
    # Weights of arms in rough fits are rough; responders of counts are drawn as a density.
    pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto"),
    pytest.mark.filterwarnings("ignore:Variables responders in .* look (discrete|binary)"),
    # A table asked of every kind has columns that some kinds do not know; constants have no R-hat.
    pytest.mark.filterwarnings("ignore:Columns left alone"),
    pytest.mark.filterwarnings("ignore:invalid value encountered in scalar divide"),
    # The fits are rough on purpose, and a new trial may lie beyond them: both are said, rightly.
    pytest.mark.filterwarnings("ignore::ketpredict.errors.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::ketpredict.errors.ExtrapolationWarning"),
]


@pytest.fixture(autouse=True)
def no_figure_left():
    """Close what ArviZ opens with pyplot, which another test finds empty."""
    yield
    plt.close("all")


EXACT = {"abs": 1e-12, "rel": 0}
OTHER_FIELD = re.compile(r"ketamine|depress|antidepress|midazolam|saline|placebo|MADRS", re.I)
OF_THE_PACKAGE = re.compile(r"KetamineResponseClassifier")
"""Names of the package that stay what they are in any field."""

QUESTIONS: dict[str, Callable[..., None]] = {}


def question(ask: Callable[..., None]) -> Callable[..., None]:
    """Take a function as a question, under its name in words."""
    QUESTIONS[ask.__name__.replace("_", " ")] = ask
    return ask


def in_unit(*numbers: Any) -> bool:
    return all(np.isfinite(n).all() and np.min(n) >= 0 and np.max(n) <= 1 for n in numbers)


def words_of(figure: Figure) -> str:
    """Return every word of a picture, captions, titles, labels and legends."""
    from matplotlib.text import Text

    figure.canvas.draw()
    return "\n".join(one.get_text() for one in figure.findobj(Text) if one.get_text())


def of_its_field(kind: Kind, text: str) -> bool:
    """Return whether a text keeps to the field of the fit."""
    found = OTHER_FIELD.findall(OF_THE_PACKAGE.sub("", text))
    return kind.own_field or not found


def absent(names: Any, text: str) -> list[str]:
    """Return the names that a text does not hold, however it writes spaces and capitals."""
    return [name for name in names if alike(name) not in alike(text)]


def alike(words: str) -> str:
    """Return a text without what layout does to it."""
    return re.sub(r"[\s_]+", " ", html.unescape(words)).lower()


# ------------------------------------------------------------------------------- predictions


@question
def predict(kind: Kind, **_: Any) -> None:
    clf = kind.classifier
    proba = clf.predict_proba(kind.patients)
    assert proba.shape == (2, 2)
    assert in_unit(proba)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)
    column = list(clf.classes_).index(clf.response_)
    label = clf.predict(kind.patients)
    assert (label == clf.response_).tolist() == (proba[:, column] > 0.5).tolist()
    settings = clf.predict_settings(kind.patients).tolist()
    assert settings[0].startswith("known trial")
    assert settings[1].startswith("new trial")


@question
def both_roads(kind: Kind, **_: Any) -> None:
    clf = kind.classifier
    column = list(clf.classes_).index(clf.response_)
    light = kp.response_probability(kind.patients.to_dict("list"), kind.fit)
    assert light.probability == pytest.approx(clf.predict_proba(kind.patients)[:, column], **EXACT)
    for name in ("average", "trial"):
        expected = clf.predict_interval(kind.patients, kind=name)
        assert getattr(light, f"{name}_interval") == pytest.approx(expected, **EXACT)
    assert light.setting.tolist() == clf.predict_settings(kind.patients).tolist()


@question
def any_table(kind: Kind, **_: Any) -> None:
    clf = kind.classifier
    expected = clf.predict_proba(kind.patients)
    # A column of patients none of whom tells it has no type that a table could keep.
    given = kind.patients.dropna(axis=1, how="all")
    for table in (pl.from_pandas(given), given.to_dict("list")):
        assert clf.predict_proba(table) == pytest.approx(expected, **EXACT)
    assert clf.predict_proba(given[::-1])[::-1] == pytest.approx(expected, **EXACT)


@question
def intervals(kind: Kind, **_: Any) -> None:
    clf = kind.classifier
    wide, narrow = (clf.predict_interval(kind.patients, kind=k) for k in ("trial", "average"))
    inner = clf.predict_interval(kind.patients, prob=0.5)
    assert in_unit(wide, narrow, inner)
    assert (np.diff(wide, axis=1) > np.diff(inner, axis=1)).all()
    np.testing.assert_allclose(wide[0], narrow[0])  # a known trial is one trial
    assert np.diff(wide[1]) > np.diff(narrow[1])


@question
def parts_of_the_uncertainty(kind: Kind, **_: Any) -> None:
    parts = uncertainty_parts(kind.fit, kind.classifier.encode(kind.patients))
    assert parts.between_trials_sd[0] == 0  # in a known trial
    assert parts.between_trials_sd[1] > 0
    total = parts.parameters_sd**2 + parts.between_trials_sd**2
    assert parts.total_sd**2 == pytest.approx(total)


@question
def draws(kind: Kind, **_: Any) -> None:
    clf = kind.classifier
    column = list(clf.classes_).index(clf.response_)
    table = clf.predict_draws(kind.patients)
    assert len(table) == 2 * kind.fit.n_draws
    mean = table.groupby("row")["probability"].mean().to_numpy()
    assert mean == pytest.approx(clf.predict_proba(kind.patients)[:, column], abs=1e-9)
    outcomes = clf.sample_outcomes(kind.patients)
    assert set(outcomes["response"]) <= {0, 1}
    for row, rate in outcomes.groupby("row")["response"].mean().items():
        error = 0.5 / np.sqrt((outcomes["row"] == row).sum())
        assert abs(rate - mean[int(str(row))]) < 6 * error


@question
def explain(kind: Kind, **_: Any) -> None:
    found = kind.classifier.explain(kind.patients.iloc[[1]])
    names = {p.category or p.name for p in kind.fit.predictors}
    assert set(found.known["predictor"]) | set(found.missing["predictor"]) == names
    # Shapley values share out the whole way from knowing nothing to knowing what is known.
    moved = float(found.known["moved"].sum())
    assert found.probability - found.nothing_known == pytest.approx(moved, abs=0.02)
    assert of_its_field(kind, json.dumps(found.as_table(), default=str))


# ----------------------------------------------------------------------------------- effects


@question
def effects(kind: Kind, **_: Any) -> None:
    table = kind.classifier.effects()
    assert len(table) == len(kind.fit.predictors) * len(kind.fit.coords["population"])
    assert in_unit(table["probability_before"], table["probability_after"], table["positive"])
    difference = table["probability_after"] - table["probability_before"]
    assert table["difference"].to_numpy() == pytest.approx(difference.to_numpy(), abs=1e-9)
    assert (table["lower"] <= table["upper"]).all()
    logit = kind.fit.spec.link == "logit"
    assert (table["conditional_odds_ratio"].notna() == logit).all()
    assert of_its_field(kind, table.to_string())
    slopes = slope_table(kind.fit)
    assert slopes["slope"].notna().all()


@question
def partial_effects(kind: Kind, **_: Any) -> None:
    for predictor in kind.fit.predictors[:1]:
        curve = partial_effect_table(kind.fit, predictor.name, None, (0.5, 0.9), 7)
        assert set(curve["population"]) == set(kind.fit.coords["population"])
        assert in_unit(curve["probability"], curve["outer_lower"], curve["outer_upper"])
        values = evidence_values(kind.fit, predictor.name)
        picture = words_of(partial_effect_plot(curve, values, predictor, (0.5, 0.9)))
        assert alike(predictor.label) in alike(picture) or predictor.category
        assert of_its_field(kind, picture)
    if not kind.fit.predictors:
        partial_effect_table(kind.fit, "bmi")


@question
def literature(kind: Kind, **_: Any) -> None:
    found = kind.classifier.literature()
    assert list(found.slopes["predictor"]) == [p.name for p in kind.fit.predictors]
    assert np.isfinite(found.slopes["slope_without"]).all()
    assert np.isfinite(found.slopes["sensitivity"]).all()
    assert np.isfinite(found.effects[["slope_left_out", "shift"]].to_numpy()).all()
    nothing = found.effects["power"] == 0
    assert (found.effects.loc[nothing, "shift"].abs() < 1e-9).all()
    picture = words_of(literature_plot(found.slopes))
    assert not absent(found.slopes["label"], picture)


# ------------------------------------------------------------------------------------ update


@question
def update(kind: Kind, **_: Any) -> None:
    trial = kind.counts["trial"].iloc[0]
    after = kind.classifier.update(kind.counts)
    assert trial in after.fit_.coords["trial"]
    assert trial not in kind.fit.coords["trial"]
    table = update_table(kind.fit, after.fit_)
    assert table["arm"].tolist() == kind.counts["arm"].tolist()
    observed = (kind.counts["responders"] / kind.counts["n"]).to_numpy()
    before, now = table["probability_before"].to_numpy(), table["probability"].to_numpy()
    assert in_unit(before, now)
    # Counts pull their trial's probability toward themselves, all arms together.
    assert np.abs(now - observed).sum() < np.abs(before - observed).sum() + 0.05
    known = after.predict_settings(kind.patients.iloc[[0]].assign(trial=trial))
    assert known[0].startswith("known trial")


# ------------------------------------------------------------------------- checks and pictures


@functools.cache
def checked(name: str) -> Any:
    return KINDS[name]().classifier.check()


@question
def check(kind: Kind, name: str, **_: Any) -> None:
    found = checked(name)
    design = kind.classifier.fit_.groups["constant_data"]
    assert found.predictive["n"].sum() == pytest.approx(design["n"].sum())
    assert in_unit(found.predictive["p_value"])
    assert set(found.predictive["trial"]) == set(kind.fit.coords["trial"])
    assert len({gate.name for gate in found.gates}) == len(found.gates)
    assert np.isfinite(found.left_out.events["elpd"]).all()
    assert not found.left_out.events["pareto_k"].isna().any()
    text = json.dumps(found.as_table())
    assert of_its_field(kind, text)


@question
def pictures_of_checks(kind: Kind, name: str, **_: Any) -> None:
    found = checked(name)
    figures = check_figures(kind.fit, found)
    texts = {one: words_of(figure) for one, figure in figures.items()}
    assert not absent(kind.fit.coords["trial"], texts["responders_by_arm"])
    assert {"responders_by_prior", "test_statistics", "pareto_k"} <= set(figures)
    assert ("calibration_known_trials" in figures) == (found.calibration is not None)
    for one, text in texts.items():
        assert of_its_field(kind, text), one
    picture = words_of(predictive_plot(found.predictive))
    assert not absent(kind.fit.coords["trial"], picture)
    assert of_its_field(kind, picture)


@question
def forest(kind: Kind, **_: Any) -> None:
    table = population_table(kind.fit)
    assert in_unit(table["probability"], table["trial_lower"], table["trial_upper"])
    assert set(table["population"]) == set(kind.fit.coords["population"])
    figure = forest_plot(table)
    text = words_of(figure)
    controls = dict(zip(kind.fit.coords["arm"], kind.fit.facts["arm_class"], strict=True))
    drawn = [
        line.get_marker() for line in figure.axes[0].get_lines() if line.get_marker() in ("o", "s")
    ]
    expected = ["o" if controls[arm] == "active" else "s" for arm in table["arm"]]
    assert sorted(drawn) == sorted(expected)
    for arm in set(table["arm"]):
        assert alike(arm).replace("intranasal", "nasal")[:9] in alike(text)
    assert of_its_field(kind, text)


# -------------------------------------------------------------------------------- validation


@functools.cache
def left_out(name: str) -> Any:
    return leave_one_trial_out(KINDS[name]().fit, method="importance", n_jobs=1)


@question
def validate_by_weights(kind: Kind, name: str, **_: Any) -> None:
    found = left_out(name)
    assert set(found.folds["fold"]) == set(kind.fit.coords["trial"])
    assert in_unit(found.folds["share"], found.units["probability"])
    assert np.isfinite(found.folds["joint_log_score"]).all()
    assert not found.folds["pareto_k"].isna().any()
    for picture in (calibration_by_trial(found), measures_forest(found)):
        text = words_of(picture)
        assert of_its_field(kind, text)
        assert not absent(set(found.units.loc[found.units["kind"] == "patients", "trial"]), text)


@question
def validate_by_refits(kind: Kind, **_: Any) -> None:
    settings = SamplerSettings(inference="laplace", draws=60, tune=1, chains=2, cores=1, seed=3)
    found = leave_one_trial_out(kind.fit, method="refit", settings=settings, n_jobs=1)
    assert set(found.folds["fold"]) == set(kind.fit.coords["trial"])
    assert in_unit(found.folds["share"], found.units["probability"])
    assert np.isfinite(found.folds["joint_log_score"]).all()


# ------------------------------------------------------------------------------------ report


@question
def report(kind: Kind, name: str, tmp_path: Any, **_: Any) -> None:
    validation = None
    if (name, "validate by weights") not in REFUSED:
        validation = left_out(name)
    page = kind.classifier.report(tmp_path / "fit.html", validation=validation).read_text("utf-8")
    text = re.sub(r"<style.*?</style>", "", page, flags=re.S)
    assert not absent([*kind.fit.coords["trial"], *kind.words], text)
    if not kind.own_field:
        found = OTHER_FIELD.findall(OF_THE_PACKAGE.sub("", text))
        places = [text[max(0, m.start() - 60) : m.end() + 40] for m in OTHER_FIELD.finditer(text)]
        assert not found, places


# ------------------------------------------------------------------------------ save and load


@question
def save_and_load(kind: Kind, tmp_path: Any, **_: Any) -> None:
    path = kind.classifier.save(tmp_path / "fit.nc")
    again = kp.load(path)
    assert np.array_equal(
        again.predict_proba(kind.patients), kind.classifier.predict_proba(kind.patients)
    )
    for name, group in kind.fit.groups.items():
        for variable, values in group.items():
            assert np.array_equal(again.fit_.groups[name][variable], values, equal_nan=True), (
                variable
            )
    assert again.fit_.metadata() == kind.fit.metadata()
    assert again.save(tmp_path / "again.nc").read_bytes() == path.read_bytes()


# ------------------------------------------------------------------------------------- ArviZ


@question
def arviz_summary(kind: Kind, **_: Any) -> None:
    tree = kind.classifier.posterior_
    table = azs.summary(tree, var_names=["intercept", "trial_effect"], round_to="none")
    assert len(table) == 1 + len(kind.fit.coords["trial"])
    mean = kind.fit.groups["posterior"]["intercept"].mean()
    assert table.loc["intercept", "mean"] == pytest.approx(mean)


@question
def arviz_loo(kind: Kind, name: str, **_: Any) -> None:
    tree = predictive_groups(kind.fit)
    found = azs.loo(tree, var_name="responders", pointwise=True)
    assert np.isfinite(found.elpd)
    assert found.n_data_points == len(kind.fit.groups["constant_data"]["n"])


@question
def arviz_compare(kind: Kind, **_: Any) -> None:
    one = azs.loo(predictive_groups(kind.fit), var_name="responders", pointwise=True)
    table = azs.compare({"this": one, "the same": one})
    assert table["elpd_diff"].to_numpy() == pytest.approx([0.0, 0.0])


@question
def arviz_plots(kind: Kind, **_: Any) -> None:
    plot = azp.plot_forest(
        kind.classifier.posterior_, var_names=["trial_effect"], backend="matplotlib"
    )
    text = words_of(plot.viz["figure"].item())
    assert not absent(kind.fit.coords["trial"], text)


@question
def arviz_plots_of_replicates(kind: Kind, **_: Any) -> None:
    tree = predictive_groups(kind.fit)
    lead = kind.fit.groups["posterior"]["intercept"].shape[:2]
    assert tree["posterior_predictive"]["responders"].shape[:2] == lead
    plot = azp.plot_ppc_dist(tree, var_names=["responders"], backend="none")
    assert plot.viz["observed_dist"]["responders"].item() is not None


# ------------------------------------------------------------------------------ command line


@question
def command_line(kind: Kind, tmp_path: Any, **_: Any) -> None:
    path = kind.classifier.save(tmp_path / "fit.nc")
    table, counts = tmp_path / "patients.csv", tmp_path / "counts.csv"
    kind.patients.to_csv(table, index=False)
    kind.counts.to_csv(counts, index=False)
    target = tmp_path / "predicted.csv"
    run = CliRunner().invoke
    said = run(app, ["predict", str(table), "--fit", str(path), "--output", str(target)])
    assert said.exit_code == 0, said.output
    column = list(kind.classifier.classes_).index(kind.classifier.response_)
    expected = kind.classifier.predict_proba(kind.patients)[:, column]
    assert pd.read_csv(target)["probability"].to_numpy() == pytest.approx(expected, abs=1e-9)
    printed = run(app, ["predict", str(table), "--fit", str(path)])
    updated = run(
        app, ["update", str(counts), "--fit", str(path), "--output", str(tmp_path / "new.nc")]
    )
    effects_said = run(app, ["effects", str(path)])
    for one in (printed, updated, effects_said):
        assert of_its_field(kind, one.output)
    assert printed.exit_code == updated.exit_code == 0
    assert effects_said.exit_code == (0 if kind.fit.predictors else 2)
    assert alike(kind.counts["trial"].iloc[0]) in alike(updated.output)


_NO_LITERATURE = "No published effect enters this fit"
_NOT_WHOLE = "weights that are not whole numbers"
WITH_LITERATURE = ("published", "with published evidence", "powers of zero")
REFUSED: dict[tuple[str, str], str] = {
    **{(name, "literature"): _NO_LITERATURE for name in KINDS if name not in WITH_LITERATURE},
    **{
        ("fractional weights", asked): _NOT_WHOLE
        for asked in (
            "check",
            "pictures of checks",
            "arviz loo",
            "arviz compare",
            "arviz plots of replicates",
        )
    },
    ("no predictors", "effects"): "fitted without predictors",
    ("no predictors", "partial effects"): "it was fitted without predictors",
    ("one trial", "validate by weights"): "at least two trials are needed",
    ("one trial", "validate by refits"): "at least two trials are needed",
}
"""Cells that make no sense, with words of their errors."""
TOO_DEAR = {
    ("published", "validate by refits"),
    ("with published evidence", "validate by refits"),
}
"""Twenty trials and more, a refit each: ``docs/leave-one-out.md`` holds what they give."""
PAGES = (
    "arms only", "fractional weights", "loaded", "no predictors", "one arm class", "one trial",
    "other field", "own patients",
)  # fmt: skip
"""Kinds whose page of the report is made: the dearest answer, and the others show nothing else."""
TOO_DEAR |= {(name, "report") for name in KINDS if name not in PAGES}
EACH_TIME = ("published", "other field", "no predictors", "one arm class")
DEAR = {
    asked for asked in QUESTIONS if asked.startswith(("report", "validate", "check", "pictures"))
}
"""Questions of seconds: of these kinds each time, of the others with ``-m slow``."""


def marks_of(place, name, asked):
    """Return the marks of a cell: fits are shared in one process for each half of the kinds."""
    marks = [pytest.mark.xdist_group(f"features by fits {place % 2}")]
    return marks + [pytest.mark.slow] * (asked in DEAR and name not in EACH_TIME)


CELLS = [
    pytest.param(
        name,
        asked,
        marks=marks_of(place, name, asked),
        id=f"{name}: {asked}".replace(" ", "_"),
    )
    for place, name in enumerate(KINDS)
    for asked in QUESTIONS
    if (name, asked) not in TOO_DEAR
]


def test_what_is_refused_or_left_out_is_a_cell():
    asked = {(name, one) for name in KINDS for one in QUESTIONS}
    assert set(REFUSED) <= asked
    assert asked >= TOO_DEAR


@pytest.mark.parametrize(("name", "asked"), CELLS)
def test_each_kind_of_fit_answers_each_question(name, asked, tmp_path):
    kind = KINDS[name]()
    words = REFUSED.get((name, asked))
    if words is None:
        QUESTIONS[asked](kind, name=name, tmp_path=tmp_path)
        return
    with pytest.raises(kp.KetpredictError, match=words):
        QUESTIONS[asked](kind, name=name, tmp_path=tmp_path)
