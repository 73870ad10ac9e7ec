"""The evidence: built from the facts, complete, and every row answered for."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path
from statistics import NormalDist, stdev
from types import ModuleType

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data"
FITTED_TRIALS = {
    "unipolar_depression": {
        "canuso_2018", "daly_2018", "lapidus_2014", "lii_2023", "mathew_2010", "murrough_2013",
        "murrough_2013b", "talati_2019", "transform_1_2_pooled", "zarate_2006", "zheng_2019",
    },
    "bipolar_depression": {"grunebaum_2017", "rybakowski_2013", "zheng_2020"},
    "ptsd": {"feder_2021"},
    "ocd": {"rodriguez_2013"},
}  # fmt: skip
SEED_TRIALS = [
    "berman_2000", "zarate_2006", "lapidus_2014", "murrough_2013", "valentine_2011",
    "diazgranados_2010", "zarate_2012", "rodriguez_2013", "feder_2014",
]  # fmt: skip


def read(name: str) -> pd.DataFrame:
    return pd.read_csv(DATA / name, dtype=str, keep_default_na=False, encoding="utf-8-sig")


def fact_lines(*names: str) -> list[str]:
    counts = {name: len(read(f"facts/{name}")) for name in names}
    return [f"{name}:{line}" for name in names for line in range(2, counts[name] + 2)]


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_data", ROOT / "scripts" / "build_data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def arms() -> pd.DataFrame:
    table = read("arms.csv")
    for name in ("hours", "n", "responders", "n_randomised", "response_percent", "threshold"):
        table[name] = pd.to_numeric(table[name])
    return table


@pytest.fixture(scope="module")
def fitted(arms: pd.DataFrame) -> pd.DataFrame:
    return arms[arms["use"] == "fit"]


def test_build_reproduces_the_files(builder: ModuleType) -> None:
    assert builder.differing(builder.build()) == []


def test_check_fails_on_an_edited_file(tmp_path: Path) -> None:
    shutil.copytree(DATA, tmp_path / "data")
    (tmp_path / "scripts").mkdir()
    script = shutil.copy(ROOT / "scripts" / "build_data.py", tmp_path / "scripts")
    arms = tmp_path / "data" / "arms.csv"
    edited = arms.read_text(encoding="utf-8").replace("zarate_2006", "zarate_2007", 1)
    arms.write_text(edited, encoding="utf-8", newline="\n")
    command = [sys.executable, script, "--check"]
    check = subprocess.run(command, check=False, capture_output=True, text=True)
    assert check.returncode == 1
    assert "arms.csv" in check.stdout


def test_a_fact_without_decision_is_refused(builder: ModuleType) -> None:
    table = pd.DataFrame({"fact": ["a:2"]})
    with pytest.raises(ValueError, match="missing"):
        builder.by_fact(table, pd.Series(["a:2", "a:3"]), "decisions.csv")


def test_frictionless_accepts_the_package() -> None:
    frictionless = pytest.importorskip("frictionless")
    report = frictionless.validate(str(DATA / "datapackage.json"))
    assert report.valid, report.flatten(["title", "fieldName", "rowNumber", "note"])[:10]


def test_every_column_is_described() -> None:
    package = json.loads((DATA / "datapackage.json").read_text(encoding="utf-8"))
    for resource in package["resources"]:
        columns = list(read(resource["path"]).columns)
        assert columns == [field["name"] for field in resource["schema"]["fields"]]
        assert all(field["description"] for field in resource["schema"]["fields"])
    names = {resource["path"] for resource in package["resources"]}
    assert names == {path.name for path in DATA.glob("*.csv")}
    facts = {entry["path"] for entry in package["facts"]}
    assert facts == {
        path.relative_to(DATA).as_posix() for path in (DATA / "facts").rglob("*") if path.is_file()
    }


def test_arms_hold_every_fact_once(arms: pd.DataFrame) -> None:
    assert arms["fact"].tolist() == fact_lines("trials_arms.csv", "trials_arms_2.csv")
    assert len(arms) == 121 + 60


def test_associations_hold_every_fact_once() -> None:
    table = read("associations.csv")
    assert table["fact"].tolist() == fact_lines("predictors.csv", "predictors_2.csv")


@pytest.mark.parametrize(("name", "used"), [("arms.csv", "fit"), ("associations.csv", "candidate")])
def test_every_row_has_a_reason(name: str, used: str) -> None:
    table = read(name)
    assert table["reason"].str.len().gt(10).all()
    assert ((table["use"] == used) == (table["reason_code"] == "eligible")).all()


def test_fitted_rows_hold_the_rules(fitted: pd.DataFrame) -> None:
    assert fitted[["n", "responders", "hours", "threshold"]].notna().all().all()
    assert (fitted["responders"] % 1 == 0).all()
    repeated = fitted["repeated"] == "true"
    assert fitted.loc[~repeated, "hours"].between(4, 168).all()
    assert fitted.loc[repeated, "hours"].le(336).all()
    assert not fitted.duplicated(["trial", "population", "arm", "hours"]).any()
    thresholds = fitted.groupby("population")["threshold"].agg(set).to_dict()
    assert thresholds == {
        "unipolar_depression": {50.0},
        "bipolar_depression": {50.0},
        "ptsd": {30.0},
        "ocd": {35.0},
    }


def test_fitted_trials_are_those_of_the_documentation(fitted: pd.DataFrame) -> None:
    assert fitted.groupby("population")["trial"].agg(set).to_dict() == FITTED_TRIALS
    text = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    for row in fitted.itertuples():
        assert f"`{row.trial}`" in text
    carried = read("arms.csv").query("use == 'carry'")["reason_code"].value_counts()
    for code, count in carried.items():
        assert f"| `{code}` | {count} |" in text


def test_responders_do_not_exceed_patients(arms: pd.DataFrame) -> None:
    known = arms.dropna(subset=["n", "responders"])
    assert known["responders"].le(known["n"]).all()
    assert known["n"].le(known["n_randomised"].fillna(math.inf)).all()


def test_counts_fit_the_printed_percentages(fitted: pd.DataFrame) -> None:
    percent = 100 * fitted["responders"] / fitted["n"]
    assert (percent - fitted["response_percent"]).abs().le(0.51).all()


def test_arms_agree_with_their_classes(arms: pd.DataFrame) -> None:
    classes = read("arm_classes.csv").set_index("arm")
    assert set(arms["arm"]) <= set(classes.index)
    assert (arms["arm"].map(classes["repeated"]) == arms["repeated"]).all()
    fitted = arms[arms["use"] == "fit"]
    assert "not_fitted" not in set(fitted["arm"].map(classes["arm_class"]))


def test_reconstructed_counts_are_unique() -> None:
    fits = []
    for n in range(1, 16):
        for active, control in product(range(n + 1), range(17 - n)):
            odds = active * (16 - n - control), (n - active) * control
            if not all(odds) or round(control / (16 - n), 3) != 0.111:
                continue
            if round(odds[0] / odds[1], 2) == 3.20:
                fits.append((active, n, control, 16 - n))
    assert fits == [(2, 7, 1, 9)]


def test_no_cohort_is_fitted_twice(fitted: pd.DataFrame) -> None:
    trials = set(fitted["trial"])
    for overlapping in (
        {"zheng_2018", "zheng_2019"},
        {"zheng_2018", "zheng_2020"},
        {"transform_1_2_pooled", "transform_1"},
        {"transform_1_2_pooled", "transform_2"},
        {"daly_2018", "daly_2018_p2"},
        {"su_2017", "chen_2018", "li_2016"},
    ):
        assert len(overlapping & trials) <= 1
    assert "larkin_2011" not in trials


def test_the_nine_seed_trials(arms: pd.DataFrame) -> None:
    table = read("seed_table_1.csv")
    assert table["trial"].tolist() == SEED_TRIALS
    use = arms.groupby("trial")["use"].agg(
        lambda values: "fit" if "fit" in set(values) else "carry"
    )
    assert table["use"].tolist() == use.loc[SEED_TRIALS].tolist()
    for row in table.itertuples():
        match = re.match(r"(\d+)/(\d+) at (\d+) h", row.our_value)
        if match is None:
            assert row.use == "carry"
            continue
        counts = tuple(float(part) for part in match.groups())
        mine = arms[(arms["trial"] == row.trial) & (arms["use"] == "fit")]
        assert counts in set(zip(mine["responders"], mine["n"], mine["hours"], strict=True))


def test_disagreements_are_stated(arms: pd.DataFrame) -> None:
    for trial in ("berman_2000", "zarate_2006", "murrough_2013", "diazgranados_2010",
                  "zarate_2012", "rodriguez_2013", "feder_2014"):  # fmt: skip
        assert arms.loc[arms["trial"] == trial, "disagreement"].str.len().gt(0).any(), trial


def test_every_wrong_verification_is_answered() -> None:
    checks = read("facts/verification.csv")
    lines = [f"verification.csv:{i + 2}" for i in checks.index[checks["status"] == "wrong"]]
    decisions = read("decisions.csv")
    answers = decisions[decisions["action"].isin(["correct", "refuse"])]
    assert len(lines) == 19
    for line in lines:
        check = checks.loc[int(line.split(":")[1]) - 2]
        mine = answers[answers["decided_from"] == line]
        target = f"{check['file']}:{re.search(r'csv line (\d+)', check['comment'])[1]}"
        assert ((mine["fact"] == target) & (mine["field"] == check["field"])).any(), line


def test_corrections_reach_the_tables() -> None:
    table = read("associations.csv").set_index("fact")
    shank3 = table.loc["predictors.csv:92"]
    assert (shank3["n"], shank3["n_as_printed"]) == ("26", "29")
    bdnf = table.loc["predictors.csv:21"]
    assert (bdnf["hours"], bdnf["hours_as_printed"]) == ("288", "312")
    assert table.loc["predictors.csv:10", "statistic"] == "slope"
    assert "312 -> 288" in bdnf["corrections"]


def test_recomputed_differences() -> None:
    table = read("associations.csv").set_index("fact")
    for fact, first, second in (
        ("predictors.csv:21", (11.0, 6.2, 64), (8.0, 5.5, 30)),
        ("predictors.csv:22", (10.1, 5.8, 48), (9.2, 6.4, 46)),
    ):
        total = first[2] + second[2]
        pooled = sum((n - 1) * sd**2 for _, sd, n in (first, second)) / (total - 2)
        error = math.sqrt(pooled * (1 / first[2] + 1 / second[2]))
        assert float(table.loc[fact, "estimate"]) == pytest.approx(first[0] - second[0])
        assert float(table.loc[fact, "se"]) == pytest.approx(error, abs=6e-4)
    odds = 29 * 45 / (14 * 47)
    assert float(table.loc["predictors.csv:17", "estimate"]) == pytest.approx(odds, abs=0.005)


def test_candidates_count_a_cohort_once() -> None:
    table = read("associations.csv").query("use == 'candidate'")
    assert not table.duplicated(["cohort", "predictor", "hours"]).any()


def test_participants_reproduce_the_published_counts() -> None:
    table = read("participants.csv")
    assert len(table) == 36 * 4
    assert table["participant"].nunique() == 36
    seen = table[table["response"] != ""].assign(response=lambda rows: rows["response"].astype(int))
    counts = seen.groupby(["arm", "hours"])["response"].agg(["sum", "count"]).to_dict("index")
    assert {key: tuple(value.values()) for key, value in counts.items()} == {
        ("ketamine", "48"): (6, 29),
        ("ketamine", "240"): (3, 26),
        ("saline", "48"): (1, 28),
        ("saline", "240"): (0, 28),
    }


def test_participants_agree_with_the_wide_file() -> None:
    wide = read("facts/ipd/openneuro_ds005917/derived_wide_patients.csv")
    wide = wide.set_index("participant_id")
    letters = {"ketamine": "d", "saline": "p"}
    for row in read("participants.csv").itertuples():
        day = {"48": "2", "240": "10"}[row.hours]
        printed = wide.loc[row.participant, f"madrs_pctimp_{letters[row.arm]}{day}"]
        assert (printed == "") == (row.improvement == "")
        if printed:
            assert float(row.improvement) == pytest.approx(float(printed), abs=0.051)


def test_an_earlier_nimh_trial_is_not_inside_the_open_one() -> None:
    people = pd.read_csv(
        DATA / "facts/ipd/openneuro_ds005917/participants.tsv", sep="\t", na_values="n/a"
    )
    oldest = people.loc[people["group"] == "MDD", "age"].nlargest(18)
    assert oldest.mean() < 46.7  # mean age of the 18 patients of zarate_2006


def test_reference_scale_follows_from_the_facts() -> None:
    table = read("predictors.csv").set_index("predictor")
    assert list(table.index[:6]) == [
        "bmi", "family_history_aud", "suicide_attempt_history", "bdnf", "shank3",
        "delta_sleep_ratio",
    ]  # fmt: skip
    met = [59 / 71, 21 / 62]  # carriers of a Met allele: Taiwan, mostly European ancestry
    genotype = table.loc["bdnf_val66met"]
    assert float(genotype["centre"]) == pytest.approx(80 / 133, abs=0.005)
    probits = [NormalDist().inv_cdf(share) for share in met]
    assert float(genotype["between_trial_sd"]) == pytest.approx(stdev(probits), abs=0.1)
    log_variance = math.log(1 + (6.12 / 10.04) ** 2)
    bdnf = table.loc["bdnf"]
    assert float(bdnf["scale"]) == pytest.approx(math.sqrt(log_variance), abs=0.005)
    assert float(bdnf["centre"]) == pytest.approx(math.log(10.04) - log_variance / 2, abs=0.005)
    spread = stdev([22.4, (25.48 + 23.85) / 2, 29.7, 26.5]) / 6
    assert float(table.loc["bmi", "between_trial_sd"]) == pytest.approx(spread, abs=0.05)
    covariates = read("facts/trials_covariates.csv").query("variable == 'female_pct'")
    rates = covariates["value"].astype(float).groupby(covariates["study_id"]).mean() / 100
    probits = [NormalDist().inv_cdf(rate) for rate in rates]
    female = table.loc["female"]
    assert float(female["centre"]) == pytest.approx(rates.mean(), abs=0.02)
    assert float(female["between_trial_sd"]) == pytest.approx(stdev(probits), abs=0.05)


def test_plausible_ranges_hold_the_reference(builder: ModuleType) -> None:
    for row in read("predictors.csv").itertuples():
        centre = math.exp(float(row.centre)) if row.transform == "log" else float(row.centre)
        assert float(row.low) < centre < float(row.high)


def test_facts_and_models_are_data_only() -> None:
    folders = [folder for folder in (DATA, ROOT / "models") if folder.exists()]
    assert not [path for folder in folders for path in folder.rglob("*.py*")]


def test_built_tables_are_utf8_with_unix_lines() -> None:
    for path in DATA.glob("*.csv"):
        content = path.read_bytes()
        content.decode("utf-8")
        assert b"\r" not in content
        assert content.endswith(b"\n")
