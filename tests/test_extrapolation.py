"""Where a prediction is asked for in a setting that the evidence of its arm does not hold."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ketpredict.extrapolation import extrapolation_notes
from ketpredict.rows import encode_rows
from ketpredict.summary import population_table
from tiny_fit import handmade_posterior

OPEN, BLIND, ADDED = (1.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0)


def fit_with(*units):
    """Return a fit whose evidence is (population, arm, study terms)."""
    posterior = handmade_posterior()
    population, arm, terms = zip(*units, strict=True)
    held = {
        **posterior.groups["constant_data"],
        "trial_idx": np.zeros(len(units), dtype=int),
        "population_idx": np.array(population),
        "arm_idx": np.array(arm),
        "study_terms": np.array(terms),
    }
    return dataclasses.replace(posterior, groups={**posterior.groups, "constant_data": held})


def notes(posterior, **columns):
    count = len(next(iter(columns.values())))
    return extrapolation_notes(posterior, encode_rows(posterior, columns, count))


def test_a_blinded_prediction_of_an_arm_known_from_open_trials_alone_says_so():
    posterior = fit_with((1, 0, OPEN), (1, 0, OPEN), (1, 1, BLIND))
    found = notes(
        posterior,
        population=["unipolar"] * 3,
        arm=["ketamine", "ketamine", "saline"],
        blinding=["double_blind", "open_label", "double_blind"],
    )
    assert found == [
        "ketamine in unipolar: asked for double blind, while all its evidence is open label",
        "",
        "",
    ]


def test_the_other_way_round_and_other_terms_are_told_too():
    posterior = fit_with((1, 0, BLIND), (1, 1, ADDED))
    asked_open, as_it_was = notes(
        posterior, population=["unipolar"] * 2, blinding=["open_label", None]
    )
    assert "asked for open label, while all its evidence is double blind" in asked_open
    assert as_it_was == ""
    (control,) = notes(posterior, population=["unipolar"], arm=["saline"])
    assert "without a new antidepressant, while all its evidence is with" in control


def test_one_trial_of_the_population_in_the_setting_is_enough():
    mixed = fit_with((1, 0, OPEN), (1, 0, BLIND))
    assert notes(mixed, population=["unipolar"], blinding=["double_blind"]) == [""]


@pytest.mark.parametrize(("own", "told"), [((0, 0, OPEN), True), ((0, 0, BLIND), False)])
def test_other_populations_count_where_this_one_lacks_the_arm(own, told):
    """Population 1 has no trial of the arm: the setting of population 0 is what there is."""
    posterior = fit_with(own, (1, 1, BLIND))
    (note,) = notes(posterior, population=["unipolar"], arm=["ketamine"])
    assert ("all its evidence is open label" in note) == told


def test_a_populations_own_trials_of_an_arm_come_first():
    posterior = fit_with((1, 0, OPEN), (0, 0, BLIND))
    (note,) = notes(posterior, population=["unipolar"])
    assert "ketamine in unipolar" in note


def test_a_fit_without_its_design_says_nothing_of_settings():
    assert notes(handmade_posterior(), population=["unipolar"]) == [""]


def test_blinded_repeated_courses_of_the_published_fit_are_marked(published_fit):
    table = population_table(published_fit.fit_)
    course = table[table["course"]].set_index(["population", "arm"])
    for population in ("unipolar_depression", "bipolar_depression"):
        row = course.loc[(population, "ketamine_repeated")]
        assert row["extrapolated"]
        assert "all its evidence is open label" in row["reason"]
    # The PTSD trial was blinded.
    assert not course.loc[("ptsd", "ketamine_repeated"), "extrapolated"]
