"""Evidence: combined once, one horizon for each trial, everything dropped is said."""

import numpy as np
import pandas as pd
import pytest

import ketpredict as kp
from ketpredict.evidence import combine, load_evidence, make_evidence, select_horizons
from ketpredict.resources import data_path
from ketpredict.spec import load_spec

HORIZONS = load_spec("published").horizons


def arm(trial="T1", name="ketamine", hours=24.0, n=20, responders=9, **more):
    return {
        "trial": trial,
        "population": "unipolar_depression",
        "arm": name,
        "hours": hours,
        "n": n,
        "responders": responders,
        **more,
    }


def test_published_evidence_is_what_the_tables_say():
    evidence = load_evidence("published")
    table = pd.read_csv(data_path("arms.csv"))
    fitted = table[table["use"] == "fit"]
    assert evidence.arms["n"].sum() == fitted["n"].sum()
    assert evidence.arms["responders"].sum() == fitted["responders"].sum()
    assert set(evidence.arms["population"]) == {
        "unipolar_depression",
        "bipolar_depression",
        "ptsd",
        "ocd",
    }
    at_two_days = evidence.participants[evidence.participants["hours"] == 48]
    by_arm = at_two_days.groupby("arm")["response"].agg(["sum", "count"])
    assert by_arm.loc["ketamine"].tolist() == [6, 29]
    assert by_arm.loc["saline"].tolist() == [1, 28]


def test_each_published_trial_enters_with_one_horizon_and_no_arm_twice():
    used = select_horizons(load_evidence("published"), HORIZONS)
    assert (used.arms.groupby("trial")["hours"].nunique() == 1).all()
    assert not used.arms.duplicated(["trial", "arm"]).any()
    daly = used.arms[used.arms["trial"] == "daly_2018"]
    assert set(daly["hours"]) == {24.0}
    assert len(daly) == 4


def test_unknown_name_of_evidence():
    with pytest.raises(kp.DataError, match="evidence is 'publshed'; expected \"published\""):
        load_evidence("publshed")


@pytest.mark.parametrize(
    ("horizons", "chosen"),
    [
        ([4, 24, 72], 24),
        ([4, 168], 4),  # |log(4/24)| = 1.79 < |log(168/24)| = 1.95
        ([10, 72], 10),  # |log(10/24)| = 0.88 < |log(72/24)| = 1.10
        ([2, 72], 72),  # 2 h lies outside the window
    ],
)
def test_the_horizon_nearest_to_the_reference_in_log_time(horizons, chosen):
    arms = pd.DataFrame([arm(hours=float(hours)) for hours in horizons])
    used = select_horizons(make_evidence(arms=arms), HORIZONS)
    assert used.arms["hours"].tolist() == [chosen]


def test_the_horizon_is_one_at_which_all_arms_report():
    arms = pd.DataFrame(
        [
            arm(name="ketamine", hours=24.0),
            arm(name="ketamine", hours=72.0),
            arm(name="saline", hours=72.0),
        ]
    )
    used = select_horizons(make_evidence(arms=arms), HORIZONS)
    assert used.arms["hours"].tolist() == [72.0, 72.0]


def test_single_doses_come_before_the_repeated_course_of_the_same_people():
    arms = pd.DataFrame([arm(hours=168.0), arm(name="ketamine_repeated", hours=96.0)])
    used = select_horizons(make_evidence(arms=arms), HORIZONS)
    assert used.arms["arm"].tolist() == ["ketamine"]


def test_a_trial_outside_the_window_is_named():
    arms = pd.DataFrame([arm(), arm(trial="LATE", name="ketamine_repeated", hours=648.0)])
    used = select_horizons(make_evidence(arms=arms), HORIZONS)
    assert used.arms["trial"].tolist() == ["T1"]
    assert any("LATE" in message and "336 h" in message for message in used.messages)


def test_patients_replace_the_published_arm_of_their_trial():
    arms = pd.DataFrame([arm(), arm(name="saline", responders=2), arm(trial="T2")])
    patients = pd.DataFrame({"trial": "T1", "arm": "ketamine", "response": [1, 0, 1]})
    evidence = make_evidence(arms=arms, participants=patients)
    used = select_horizons(evidence, HORIZONS)
    kept = set(zip(used.arms["trial"], used.arms["arm"], strict=True))
    assert kept == {("T1", "saline"), ("T2", "ketamine")}
    assert any("T1 (ketamine)" in message for message in used.messages)


def test_own_patients_of_a_published_trial_replace_all_its_published_rows():
    own = make_evidence(participants=pd.DataFrame({"trial": ["zarate_2006"], "response": [1]}))
    published = load_evidence("published")
    together = combine(own, published)
    swapped = combine(published, own)
    assert swapped.digest() == together.digest()
    assert (swapped.source, swapped.messages) == (together.source, together.messages)
    assert (together.participants["trial"] == "zarate_2006").sum() == 1
    assert "zarate_2006" not in set(together.arms["trial"])
    assert any("zarate_2006" in message for message in together.messages)
    assert "murrough_2013" in set(together.arms["trial"])


def test_each_period_of_a_patient_keeps_the_row_nearest_to_the_reference():
    patients = pd.DataFrame(
        {
            "trial": "T1",
            "participant": ["a", "a", "a", "b"],
            "period": [1, 1, 2, 1],
            "arm": ["ketamine", "ketamine", "saline", "ketamine"],
            "hours": [48.0, 150.0, 24.0, 150.0],
            "response": [np.nan, 1, 0, 1],
        }
    )
    used = select_horizons(make_evidence(participants=patients), HORIZONS)
    assert used.participants["hours"].tolist() == [48.0, 24.0, 150.0]
    # The nearest row stays even though its outcome is missing: the later one must not be chosen
    # because it happens to be known.
    assert np.isnan(used.participants["response"].iloc[0])


def test_patients_outside_the_window_are_an_error():
    patients = pd.DataFrame({"hours": [1000.0, 2000.0], "response": [1, 0]})
    with pytest.raises(
        kp.DataError, match=r"\(this trial\).*horizon window, 4 to 168 hours.*1000, 2000"
    ):
        select_horizons(make_evidence(participants=patients), HORIZONS)


def test_an_unknown_arm_needs_a_class():
    arms = pd.DataFrame([arm(name="lanicemine")])
    with pytest.raises(kp.DataError, match=r"Unknown arms: lanicemine.*arm_class"):
        make_evidence(arms=arms)
    arms["arm_class"] = "active"
    assert make_evidence(arms=arms).arm_classes.loc["lanicemine", "arm_class"] == "active"
    arms["arm_class"] = "activ"
    with pytest.raises(kp.DataError):
        make_evidence(arms=arms)


def test_scores_become_response():
    patients = pd.DataFrame({"baseline_score": [30.0, 30.0, 30.0], "endpoint_score": [15, 16, 10]})
    evidence = make_evidence(participants=patients)
    assert evidence.participants["response"].tolist() == [1.0, 0.0, 1.0]


def test_the_digest_changes_with_any_cell():
    first = make_evidence(arms=pd.DataFrame([arm()]))
    same = make_evidence(arms=pd.DataFrame([arm()]))
    other = make_evidence(arms=pd.DataFrame([arm(responders=10)]))
    assert first.digest() == same.digest()
    assert first.digest() != other.digest()


def test_response_is_read_at_the_row_s_own_threshold():
    patients = pd.DataFrame(
        {"improvement": [40.0, 40.0, 60.0], "threshold": [30.0, np.nan, 50.0], "scale": "CAPS_5"}
    )
    evidence = make_evidence(participants=patients)
    assert evidence.participants["response"].tolist() == [1.0, 0.0, 1.0]


def test_own_patients_outside_the_window_are_not_lost_among_the_published():
    own = make_evidence(
        participants=pd.DataFrame({"trial": "mine", "hours": [336.0], "response": [1]})
    )
    with pytest.raises(kp.DataError, match=r"'mine'.*336"):
        select_horizons(combine(own, load_evidence("published")), HORIZONS)
