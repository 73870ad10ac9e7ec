"""A fit without its patients holds none of them, and predicts to the last bit the same."""

import dataclasses
import json
import re

import h5py
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import ketpredict as kp
from ketpredict.cli import app
from ketpredict.fitting import SamplerSettings
from ketpredict.horizon import horizon_basis
from ketpredict.literature import effects_left_out
from ketpredict.marginal_effects import evidence_values
from ketpredict.parameter_dims import _DIMS
from ketpredict.predictors import FROM_COLUMN
from ketpredict.published import load_fit
from ketpredict.saved_fit_facts import SAMPLER
from ketpredict.saved_fit_variables import DESIGN, INDICES, PARAMETERS
from ketpredict.stored_design import DESIGN_DIMS
from ketpredict.summary import population_table, slope_table
from report_fits import thinned
from tiny_fit import handmade_posterior

BMI, HIGHEST, HOURS, MEAN, LIKELIHOOD = 31.4159, 44.7183, 23.1415, 0.1234567, -0.7771234
NAME = "patient_17"


@pytest.fixture(scope="module")
def whole():
    """Return the published fit with marks on one patient: in each place that can hold one."""
    posterior = thinned(load_fit("published"), 10)
    bmi = next(p for p in posterior.predictors if p.name == "bmi")
    design = {name: values.copy() for name, values in posterior.groups["constant_data"].items()}
    first, second = np.flatnonzero((design["is_arm"] == 0) & ~np.isnan(design["value"][:, 0]))[:2]
    trial = int(design["trial_idx"][first])
    people = np.flatnonzero(design["people_trial_idx"] == trial)
    for unit, person, value in ((first, people[0], BMI), (second, people[1], HIGHEST)):
        design["value"][unit, 0] = design["people_value"][person, 0] = bmi.to_scale(value)
    design["hours"][first] = HOURS
    knots = posterior.spec.horizons.knots
    design["horizon_basis"][first] = horizon_basis(np.array([HOURS]), knots)[0]
    values = posterior.trial_values.copy()
    values[trial, 0] = MEAN
    facts = json.loads(json.dumps(posterior.facts))
    facts["ranges"]["bmi"]["high"] = HIGHEST
    facts["messages"].append(f"hours found: {HOURS}; {NAME} has a bmi of {BMI}.")
    shape = (*posterior.groups["posterior"]["intercept"].shape, len(design["n"]))
    density = np.full(shape, LIKELIHOOD)
    groups = {**posterior.groups, "constant_data": design}
    groups["log_likelihood"] = {**posterior.groups["log_likelihood"], "responders": density}
    return dataclasses.replace(posterior, groups=groups, trial_values=values, facts=facts)


@pytest.fixture(scope="module")
def files(whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fits")
    classifier = kp.KetamineResponseClassifier.from_posterior(whole)
    full = classifier.save(folder / "full.nc")
    return full, kp.load(full).save(folder / "share.nc", patients=False)


@pytest.fixture(scope="module")
def fits(files):
    return tuple(kp.load(path) for path in files)


def numbers_and_texts(path):
    """Return every number and every text of a file, those in its metadata text too."""
    numbers, texts = [], []

    def see(_name, item):
        if not isinstance(item, h5py.Dataset):
            return
        if h5py.check_string_dtype(item.dtype):
            texts.extend(np.ravel(np.asarray(item.asstr()[()], dtype=object)).tolist())
        else:
            numbers.append(np.ravel(item[()]).astype(float))

    with h5py.File(path) as file:
        file.visititems(see)
    words = "\n".join(texts)
    found = re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", words)
    return np.concatenate([*numbers, np.array(found, dtype=float)]), words


def marks(whole):
    bmi = whole.predictors[0]
    return {
        "bmi": BMI, "bmi on its scale": float(bmi.to_scale(BMI)),
        "highest bmi": HIGHEST, "highest on its scale": float(bmi.to_scale(HIGHEST)),
        "hours": HOURS, "mean of a trial": MEAN, "log likelihood": LIKELIHOOD,
    }  # fmt: skip


def test_the_whole_file_holds_the_patients_and_the_shared_one_does_not(whole, files):
    for path, expected in zip(files, (True, False), strict=True):
        numbers, words = numbers_and_texts(path)
        for what, mark in marks(whole).items():
            found = bool(np.isclose(numbers, mark, rtol=1e-9, atol=0).any())
            assert found is expected, what
        assert (NAME in words) is expected
        assert (whole.facts["provenance"]["evidence"] in words) is expected


def test_no_row_of_a_patient_is_in_the_shared_file(whole, fits):
    shared, design = fits[1].fit_, whole.groups["constant_data"]
    kept = shared.groups["constant_data"]
    arms, patients = design["is_arm"] > 0, kept["is_arm"] == 0
    for name, (dims, *_) in {**INDICES, **DESIGN}.items():
        if dims[0] == "unit":
            assert np.array_equal(kept[name][~patients], design[name][arms], equal_nan=True), name
        if dims[0].startswith("person"):
            assert not len(kept[name]), name
    for name in ("responders", "value", "sd"):
        assert np.isnan(kept[name][patients]).all()
    assert kept["n"][patients].sum() == design["n"][~arms].sum()
    assert patients.sum() < (~arms).sum() / 4
    assert "posterior_predictive" not in shared.groups
    assert "observed_data" not in shared.groups
    assert set(shared.groups["log_likelihood"]) == {"effects"}
    assert shared.facts["without_patients"] == {"patients": design["people_weight"].sum()}


PATIENTS = {
    "trial": ["new", "lii_2023", "nimh_ds005917", None, "canuso_2018"],
    "population": ["unipolar_depression", None, None, "elsewhere", None],
    "arm": ["ketamine", "saline", "ketamine", "saline", "esketamine_intranasal"],
    "bmi": [31.0, None, 24.0, 29.0, None],
    "family_history_aud": [1, 0, None, None, 1],
}


@pytest.mark.filterwarnings("ignore::ketpredict.errors.ExtrapolationWarning")
def test_the_shared_file_predicts_to_the_last_bit_the_same(fits):
    full, shared = fits
    for ask in (
        lambda fit: fit.predict_proba(PATIENTS),
        lambda fit: fit.predict_interval(PATIENTS),
        lambda fit: fit.predict_interval(PATIENTS, kind="average"),
        lambda fit: fit.predict_draws(PATIENTS, kind="trial").to_numpy(),
        lambda fit: fit.sample_outcomes(PATIENTS).to_numpy(),
        lambda fit: fit.predict_settings(PATIENTS),
    ):
        assert np.array_equal(ask(full), ask(shared))
    one = {name: values[1:2] for name, values in PATIENTS.items()} | {"bmi": [33.0]}
    pd.testing.assert_frame_equal(full.explain(one).known, shared.explain(one).known)
    assert list(full.posterior_["posterior"]) == list(shared.posterior_["posterior"])


def test_tables_that_need_no_patients_are_the_same(fits):
    full, shared = fits[0].fit_, fits[1].fit_
    pd.testing.assert_frame_equal(fits[0].effects(), fits[1].effects())
    pd.testing.assert_frame_equal(slope_table(full), slope_table(shared))
    pd.testing.assert_frame_equal(effects_left_out(full), effects_left_out(shared))
    # Which outcomes an arm rests on names the time that only one patient has.
    before, after = (population_table(fit) for fit in (full, shared))
    assert before["reported"].str.contains("23.1415 h").any()
    assert not after["reported"].str.contains("23.1415 h").any()
    before, after = (table.drop(columns="reported") for table in (before, after))
    pd.testing.assert_frame_equal(before, after)
    assert set(evidence_values(shared, "bmi")["kind"]) <= {"arm"}


def test_the_range_of_patients_is_widened(fits):
    full, shared = (fit.fit_.facts["ranges"]["bmi"] for fit in fits)
    bmi = fits[0].fit_.predictors[0]
    half = bmi.scale / 2
    assert shared["low"] <= full["low"] < shared["low"] + half
    assert shared["high"] - half < full["high"] <= shared["high"]
    assert shared["trials"] == full["trials"]


COUNTS = {
    "trial": ["site"], "population": ["unipolar_depression"], "arm": ["ketamine"], "hours": [24.0],
    "n": [20], "responders": [9],
}  # fmt: skip
NEED_PATIENTS = {
    "check": lambda fit, _: fit.check(),
    "validate": lambda fit, _: fit.validate(),
    "validate by weights": lambda fit, _: fit.validate(method="importance"),
    "update": lambda fit, _: fit.update(COUNTS),
    "report": lambda fit, folder: fit.report(folder / "report.html"),
    "literature": lambda fit, _: fit.literature(),
    "model": lambda fit, _: fit.model_,
}


@pytest.mark.parametrize("question", NEED_PATIENTS)
def test_what_needs_patients_says_so(fits, tmp_path, question):
    with pytest.raises(kp.SavedFitError, match="saved without its patients, and this question"):
        NEED_PATIENTS[question](fits[1], tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command_line_says_so_in_one_line(files, tmp_path):
    counts = tmp_path / "counts.csv"
    pd.DataFrame(COUNTS).to_csv(counts, index=False)
    for words in (
        ("check", files[1]),
        ("report", files[1], "--output", tmp_path / "report.html"),
        ("update", counts, "--fit", files[1], "--output", tmp_path / "ours.nc"),
    ):
        found = CliRunner().invoke(app, [str(word) for word in words])
        assert found.exit_code == 2
        assert found.stderr.count("\n") == 1
        assert "saved without its patients" in found.stderr


def test_leaving_out_twice_or_nothing_changes_nothing(fits, tmp_path):
    shared = fits[1].fit_
    assert shared.without_patients() is shared
    again = fits[1].save(tmp_path / "again.nc")
    assert kp.load(again).fit_.facts == shared.facts
    bare = handmade_posterior()
    assert bare.without_patients() is bare
    design = shared.groups["constant_data"]
    arms = {n: v[design["is_arm"] > 0] for n, v in design.items() if len(v) == len(design["n"])}
    facts = {key: value for key, value in shared.facts.items() if key != "without_patients"}
    groups = {**shared.groups, "constant_data": {**design, **arms}}
    only = dataclasses.replace(shared, groups=groups, facts=facts)
    assert only.without_patients() is only


def test_a_scale_of_few_patients_is_not_handed_on(whole, tmp_path):
    """The mean and SD of a column with one value are that value."""
    design = dict(whole.groups["constant_data"])
    value = design["people_value"].copy()
    value[4:, 0] = np.nan
    design["people_value"] = value
    own = dataclasses.replace(whole.predictors[0], source=FROM_COLUMN)
    few = dataclasses.replace(
        whole,
        groups={**whole.groups, "constant_data": design},
        predictors=(own, *whole.predictors[1:]),
    )
    with pytest.raises(kp.SavedFitError, match="'bmi' is the mean and SD of 4 patients"):
        few.save(tmp_path / "share.nc", patients=False)
    assert not list(tmp_path.iterdir())
    known = dataclasses.replace(few, predictors=whole.predictors)
    # Of the range that of the arms is left: mean plus and minus two SD, as published.
    arms = design["is_arm"] > 0
    middle, sd = design["value"][arms, 0], design["sd"][arms, 0]
    lowest = own.from_scale(np.nanmin(middle - 2.0 * np.nan_to_num(sd, nan=1.0)))
    assert known.without_patients().facts["ranges"]["bmi"]["low"] == pytest.approx(lowest)


def test_the_command_passes_it_on(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        kp.KetamineResponseClassifier, "save", lambda _, path, patients: asked.append(patients)
    )
    monkeypatch.setattr(
        kp.KetamineResponseClassifier,
        "fit",
        lambda self, _: self._set_fit(load_fit("published")),
    )
    for further in ((), ("--without-patients",)):
        words = ["fit", "--output", str(tmp_path / "fit.nc"), *further]
        assert CliRunner().invoke(app, words).exit_code == 0
    assert asked == [True, False]


def test_help_and_docstring_say_what_a_whole_file_holds():
    words = " ".join(CliRunner().invoke(app, ["fit", "--help"]).output.split())
    assert "The file holds every patient's predictors and outcome" in words
    assert "every patient's predictors and outcome" in kp.KetamineResponseClassifier.save.__doc__


def test_the_tables_of_saved_fits_name_what_fits_have():
    assert {name: dims for name, (dims, _) in PARAMETERS.items()} == _DIMS
    expected = {name: dims for name, dims in DESIGN_DIMS.items() if name != "effects"}
    assert {name: dims for name, (dims, *_) in {**INDICES, **DESIGN}.items()} == expected
    assert set(SAMPLER) == {field.name for field in dataclasses.fields(SamplerSettings)}
