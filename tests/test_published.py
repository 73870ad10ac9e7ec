"""The fit that ships with the package belongs to the data and the model that ship with it."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ketpredict as kp
from ketpredict.errors import ConvergenceWarning
from ketpredict.posterior import load_posterior
from ketpredict.predict import predictions
from ketpredict.published import (
    REBUILD,
    build_published,
    load_fit,
    published_path,
    published_problems,
    shippable,
)
from ketpredict.rows import encode_rows
from tiny_fit import handmade_posterior

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 4_000_000


def test_the_shipped_fit_is_up_to_date():
    """Fails after any change of data or model until the fit is built again."""
    assert published_problems() == [], f"Build it again: {REBUILD}"


def test_the_shipped_fit_is_small_and_converged():
    assert published_path().stat().st_size <= MOST_BYTES
    posterior = load_fit()
    assert posterior.problems == ()
    made = posterior.facts["published"]
    assert made["draws"] == posterior.n_draws <= made["draws_before_thinning"]


def test_the_shipped_fit_predicts():
    found = kp.response_probability(
        {"population": "unipolar_depression", "arm": ["ketamine", "saline"], "bmi": [31.0, None]}
    )
    ketamine, saline = found.probability
    # Published 24 h response: 47 % and 26 % against midazolam, 27 % and 9 % against placebo
    # (Cochrane CD011612); the model's should lie in that region.
    assert 0.3 < ketamine < 0.65
    assert 0.08 < saline < 0.35
    table = pd.DataFrame({"population": ["ocd"], "bmi": [25.0]})
    with pytest.warns(kp.ExtrapolationWarning):
        assert kp.load("published").predict_proba(table).shape == (1, 2)


@pytest.fixture
def rough(published_fit, monkeypatch):
    """Return the session's rough fit, in the place of what sampling would give."""
    facts = {**published_fit.fit_.facts}
    facts["diagnostics"] = {**facts["diagnostics"], "problems": []}
    fit = dataclasses.replace(published_fit.fit_, facts=facts)
    monkeypatch.setattr("ketpredict.fitting.fit", lambda *_args, **_options: fit)
    return fit


@pytest.fixture
def built(rough, tmp_path):
    return build_published(tmp_path / "published.nc", kept_draws=100)


def test_a_built_fit_says_what_it_was_made_of(rough, built):
    assert published_problems(built) == []
    posterior = load_posterior(built)
    made = posterior.facts["published"]
    assert made["evidence"] == kp.load_evidence("published").digest()
    assert made["specification"] == kp.load_spec("published").fingerprint()
    assert made["draws_before_thinning"] == rough.n_draws == 400
    assert made["draws"] == posterior.n_draws == 100
    assert made["diagnostics_of"] == "all 400 draws, before thinning"
    assert posterior.facts["diagnostics"] == rough.facts["diagnostics"]
    assert posterior.facts["provenance"]["versions"]["pymc"]


def test_a_built_fit_keeps_what_prediction_check_and_tables_read(rough, built):
    from ketpredict.checks import check_fit
    from ketpredict.summary import population_table, slope_table

    posterior = load_posterior(built)
    assert "sample_stats" not in posterior.groups
    assert "responders" not in posterior.groups.get("log_likelihood", {})
    kept = posterior.groups["posterior"]
    assert set(rough.groups["posterior"]) - set(kept) == {
        "trial_mean_reported",
        "predictor_cholesky",
    }
    assert all(values.dtype == np.float64 for values in kept.values() if values.dtype.kind == "f")
    assert len(check_fit(posterior).predictive) > 20
    table = population_table(posterior, 0.9)
    assert (table["prior_overlap"].notna() == (table["trials"] > 0)).all()
    assert len(slope_table(posterior, 0.9)) == 6
    assert kp.load(built).model_ is not None


def test_rounding_cannot_be_seen_in_a_prediction(rough, built):
    draws = rough.groups["posterior"]["intercept"].shape[1]
    place = np.arange(50) * draws // 50
    groups = {"posterior": {n: v[:, place] for n, v in rough.groups["posterior"].items()}}
    double = dataclasses.replace(rough, groups={**rough.groups, **groups})
    columns = {
        "population": ["unipolar_depression", "ptsd", None, "bipolar_depression"],
        "trial": ["murrough_2013", None, None, None],
        "bmi": [31.0, None, 22.0, None],
        "bdnf": [None, 20.0, None, 8.0],
        "suicide_attempt_history": [1, None, 0, None],
    }
    first, second = (
        predictions(fit, encode_rows(fit, columns, 4), 0.9)
        for fit in (double, load_posterior(built))
    )
    for field in dataclasses.fields(first):
        apart = getattr(first, field.name) - getattr(second, field.name)
        assert np.abs(apart).max() < 1e-6


def test_rounding_that_can_be_seen_is_refused(monkeypatch, rough, tmp_path):
    monkeypatch.setattr("ketpredict.published._MOST_DIFFERENCE", 1e-12)
    with pytest.raises(kp.KetpredictError, match="Rounding moves a prediction by"):
        build_published(tmp_path / "published.nc", kept_draws=100)
    assert list(tmp_path.iterdir()) == []


def test_other_evidence_another_model_or_another_format_is_told(built, monkeypatch):
    posterior = load_posterior(built)
    made = {**posterior.facts["published"], "evidence": "0" * 64, "specification": "1" * 64}
    old = dataclasses.replace(posterior, facts={**posterior.facts, "published": made})
    old.save(built)
    evidence, specification = published_problems(built)
    assert evidence.startswith(
        "It was fitted to another state of the tables in data/ (evidence 000000000000 in the file"
    )
    assert "models/published.toml (specification 111111111111 in the file" in specification
    assert all(REBUILD in problem for problem in (evidence, specification))
    first, *others = posterior.predictors
    moved = dataclasses.replace(first, centre=first.centre + 1.0)
    dataclasses.replace(posterior, predictors=(moved, *others)).save(built)
    (problem,) = published_problems(built)
    assert problem.startswith(f"data/predictors.csv says something else of '{first.name}' now.")
    monkeypatch.setattr("ketpredict.posterior.READABLE_FORMATS", (98, 99))
    (problem,) = published_problems(built)
    assert "this version of ketpredict reads formats 98 and 99" in problem
    assert REBUILD in problem


def test_a_fit_that_was_not_built_by_the_script_is_told(tmp_path):
    (problem,) = published_problems(handmade_posterior().save(tmp_path / "own.nc"))
    assert REBUILD in problem
    (problem,) = published_problems(tmp_path / "none.nc")
    assert "cannot be read" in problem


def test_a_missing_fit_says_how_to_build_it(monkeypatch):
    monkeypatch.setattr("ketpredict.published.FILE", "nothing.nc")
    for function in (load_fit, kp.load, lambda: kp.response_probability({"bmi": [30.0]})):
        with pytest.raises(kp.SavedFitError, match=r"models/nothing.nc, is missing.*build_publ"):
            function()


def test_thinning_is_even_and_never_asks_for_more_than_there_is():
    whole = handmade_posterior(draws=10)
    thinned = shippable(whole, 8, {})
    expected = whole.groups["posterior"]["intercept"][:, [0, 2, 5, 7]]
    assert thinned.groups["posterior"]["intercept"] == pytest.approx(expected, rel=2**-20)
    assert shippable(whole, 1000, {}).n_draws == whole.n_draws


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location(
        "build_published", ROOT / "scripts" / "build_published.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_builds_and_checks(rough, script, tmp_path, capsys):
    output = str(tmp_path / "published.nc")
    assert script.main(["--output", output, "--check"]) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert script.main(["--output", output, "--kept-draws", "40"]) == 0
    assert "40 draws" in capsys.readouterr().out
    assert script.main(["--output", output, "--check"]) == 0
    assert "is up to date" in capsys.readouterr().out


def test_a_fit_that_did_not_converge_is_not_written(monkeypatch, script, tmp_path, capsys):
    def unconverged(*_args, strict, **_options):
        assert strict
        raise kp.ConvergenceError("This fit did not converge: R-hat above 1.01.")

    monkeypatch.setattr("ketpredict.fitting.fit", unconverged)
    assert script.main(["--output", str(tmp_path / "published.nc")]) == 1
    assert capsys.readouterr().err.startswith("Not built: This fit did not converge")
    assert list(tmp_path.iterdir()) == []


def test_a_rough_fit_repeats_that_it_did_not_converge(published_fit):
    rough = shippable(published_fit.fit_, 40, {})
    with pytest.warns(ConvergenceWarning):
        kp.response_probability({"bmi": [30.0]}, rough)
