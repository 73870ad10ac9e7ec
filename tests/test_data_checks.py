"""Checks of the patients given: duplicates and separation, against counts by hand."""

import itertools

import numpy as np
import pandas as pd
import pytest

import ketpredict as kp
from ketpredict.data_checks import duplicated_patients, separation
from ketpredict.design import encode
from ketpredict.evidence import make_evidence, select_horizons
from ketpredict.predictors import load_predictors
from ketpredict.spec import load_spec
from ketpredict.stored_design import design_of

NAMES = ("bmi", "age", "family_history_aud")
SPEC = load_spec("published").with_predictors(NAMES)


@pytest.fixture
def check_design(monkeypatch):
    """Return a check of a table, as if a fit of it had been made."""

    def of(check, table):
        evidence = make_evidence(participants=table, predictors=NAMES)
        design = encode(SPEC, select_horizons(evidence, SPEC.horizons), load_predictors())
        monkeypatch.setattr("ketpredict.data_checks.design_of", lambda _: design)
        return check(None)

    return of


def patients(n=30, seed=0, digits=1):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "trial": np.repeat(["A", "B"], n),
            "population": "unipolar_depression",
            "bmi": rng.normal(28, 5, 2 * n).clip(15, 60).round(digits),
            "age": rng.normal(44, 12, 2 * n).clip(19, 79).round(0),
            "family_history_aud": rng.integers(0, 2, 2 * n).astype(float),
            "response": rng.integers(0, 2, 2 * n).astype(float),
        }
    )


def test_pairs_are_counted_as_by_hand(check_design):
    table = patients(digits=0)
    table.loc[::5, "family_history_aud"] = np.nan
    found = check_design(duplicated_patients, table).set_index("trial")
    for trial, rows in table.groupby("trial"):
        told = [tuple(row) for row in rows[list(NAMES)].fillna(-1).to_numpy()]
        equal = sum(one == other for one, other in itertools.combinations(told, 2))
        assert found.loc[trial, "pairs"] == equal
        assert found.loc[trial, "patients"] == len(rows)


def test_rounded_values_alone_are_no_duplicates(check_design):
    """The expected number is right on average, where predictors are independent."""
    found = pd.concat(
        [check_design(duplicated_patients, patients(60, seed, digits=0)) for seed in range(30)]
    )
    pairs, expected = found["pairs"].sum(), found["expected"].sum()
    assert expected > 50
    assert pairs == pytest.approx(expected, abs=4 * np.sqrt(expected))
    assert (found["p_value"] < 0.05).mean() < 0.12


def test_copied_patients_are_seen(check_design):
    table = patients()
    copied = pd.concat([table, table.iloc[:3]], ignore_index=True)
    found = check_design(duplicated_patients, copied).set_index("trial")["p_value"]
    assert found["A"] < 1e-3
    assert found["B"] > 0.05


def test_a_patient_with_two_periods_is_compared_too(check_design):
    table = patients().assign(participant=lambda rows: rows.index.astype(str), period="1")
    again = table.assign(period="2", bmi=table["bmi"] + 0.5)
    both = pd.concat([table, again], ignore_index=True)
    found = check_design(duplicated_patients, both)
    assert found["patients"].tolist() == [60, 60]  # 30 patients a trial, two rows each
    assert found["pairs"].sum() == 0


def test_separation_is_seen_and_its_chance_is_right(check_design):
    table = patients(12)
    table["response"] = (table["bmi"] > table["bmi"].median()).astype(float)
    found = check_design(separation, table).set_index(["predictor", "trial"])
    assert found.loc[("bmi", "all"), "separated"]
    assert not found.loc[("family_history_aud", "all"), "separated"]
    small = pd.DataFrame({"bmi": np.linspace(20, 30, 8), "response": [0.0] * 4 + [1.0] * 4})
    chance = check_design(separation, small.assign(trial="A")).set_index("predictor")["chance"]
    orders = list(itertools.combinations(range(8), 4))
    perfect = sum(set(order) in ({0, 1, 2, 3}, {4, 5, 6, 7}) for order in orders)
    assert chance["bmi"].iloc[0] == pytest.approx(perfect / len(orders))


@pytest.mark.filterwarnings("ignore::ketpredict.errors.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::ketpredict.errors.EvidenceWarning")
def test_on_a_fit_and_without_patients(published_fit):
    posterior = published_fit.fit_
    assert design_of(posterior).predictor_names
    assert {"trial", "p_value"} <= set(duplicated_patients(posterior))
    assert separation(posterior)["separated"].dtype in (bool, object)
    assert kp.load_spec("published").predictors
