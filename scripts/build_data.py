"""Build the tables of ``data/`` from the facts and the curated decisions.

Run ``python scripts/build_data.py`` to write the tables and ``data/datapackage.json``;
``--check`` writes nothing and exits with 1 when a file differs from what would be built.

Facts (``data/facts``) are verbatim and never edited. Everything decided about them stands in the
curated tables: ``arm_mapping.csv``, ``association_mapping.csv``, ``decisions.csv``,
``arm_classes.csv``, ``predictors.csv``, ``seed_table_1.csv`` and the dictionary ``fields.csv``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

DATA = Path(__file__).resolve().parents[1] / "data"
ARM_FACTS = ("trials_arms.csv", "trials_arms_2.csv")
ASSOCIATION_FACTS = ("predictors.csv", "predictors_2.csv")
CURATED = (
    "arm_mapping.csv",
    "association_mapping.csv",
    "decisions.csv",
    "arm_classes.csv",
    "predictors.csv",
    "seed_table_1.csv",
    "fields.csv",
)
PREDICTOR_NAMES = {
    "BMI": "bmi",
    "BDNF_level_baseline": "bdnf",
    "BDNF_level": "bdnf",
    "Shank3_level_baseline": "shank3",
    "sex_female": "female",
}
STATISTICS = {
    "standardized_beta": "standardised_beta",
    "mean_diff": "mean_difference",
    "F": "f",
}
MEASURES = {"OR": "odds_ratio", "RR": "risk_ratio", "standardized beta": "standardised_beta"}
COVARIATES = {
    "bmi_mean": "bmi_mean",
    "bmi_sd": "bmi_sd",
    "family_history_aud_pct": "family_history_aud_pct",
    "suicide_attempt_pct": "suicide_attempt_history_pct",
    "age_mean": "age_mean",
    "age_sd": "age_sd",
    "female_pct": "female_pct",
    "baseline_madrs_mean": "baseline_madrs_mean",
    "baseline_madrs_sd": "baseline_madrs_sd",
}
SAME_PATIENTS = ("crossover", "single_arm")
TITLES = {
    "arms": "Published arms: responders of n at one horizon, fitted or carried with a reason",
    "associations": "Published predictor effects, candidates or carried with a reason",
    "participants": "NIMH crossover trial ds005917, one row per patient, arm and horizon",
    "predictor_distributions": "Means, SDs and rates of predictors",
    "predictor_correlations": "Correlations of predictors with other measures",
    "pooled_estimates": "Pooled effects of meta-analyses, to validate and never to fit",
    "arm_mapping": "Curated: canonical fields of every arm fact",
    "association_mapping": "Curated: cohort, trial and sign convention of every predictor fact",
    "decisions": "Curated: what is used, excluded, corrected or refused, and why",
    "arm_classes": "Curated: arms, their labels and classes",
    "predictors": "Curated: reference scale of the predictors",
    "seed_table_1": "Curated: Table 1 of the seed review beside our values",
    "fields": "Curated: dictionary of every column of every table",
}
DATASET = "https://doi.org/10.18112/openneuro.ds005917.v1.0.1"
SOURCES = [
    {
        "title": "Facts gathered from the literature, with source and locator in each row",
        "path": "facts/README.md",
    },
    {"title": "NIMH Ketamine Mechanism of Action Study, OpenNeuro ds005917", "path": DATASET},
]
CC0 = {
    "name": "CC0-1.0",
    "title": "Creative Commons Zero 1.0",
    "path": "https://creativecommons.org/publicdomain/zero/1.0/",
}
MIT = {"name": "MIT", "title": "MIT License", "path": "https://opensource.org/license/mit"}


def read(path: Path) -> pd.DataFrame:
    """Return a CSV as text, empty cells as empty strings."""
    return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")


def read_facts(names: tuple[str, ...]) -> pd.DataFrame:
    """Return fact files stacked, each row with its ``fact`` (file:line)."""
    frames = []
    for name in names:
        frame = read(DATA / "facts" / name)
        frame["fact"] = [f"{name}:{line}" for line in range(2, len(frame) + 2)]
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def snake(text: str) -> str:
    """Return a name in lower case with underscores."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def canonical_predictor(text: str) -> str:
    """Return the package's name of a predictor, or the printed one in snake case."""
    return PREDICTOR_NAMES.get(text, snake(text))


def by_fact(table: pd.DataFrame, facts: pd.Series, name: str) -> pd.DataFrame:
    """Return the rows of a curated table in the order of the facts, one for each.

    Raises
    ------
    ValueError
        A fact without a row, two rows for a fact, or a row without a fact.
    """
    listed = table["fact"]
    problems = {
        "missing": sorted(set(facts) - set(listed)),
        "unknown": sorted(set(listed) - set(facts)),
        "twice": sorted(set(listed[listed.duplicated()])),
    }
    if any(problems.values()):
        raise ValueError(f"{name} does not match the facts: {problems}")
    return table.set_index("fact").loc[facts].reset_index()


def split_decisions(
    decisions: pd.DataFrame, names: tuple[str, ...]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the verdicts (use, exclude) and the corrections on some fact files."""
    mine = decisions[decisions["fact"].str.split(":").str[0].isin(names)]
    verdict = mine["action"].isin(["use", "exclude"])
    return mine[verdict], mine[mine["action"] == "correct"]


def apply_corrections(
    facts: pd.DataFrame, corrections: pd.DataFrame
) -> tuple[pd.DataFrame, pd.Series]:
    """Return the corrected facts and, for each, the corrections in words with the old values."""
    facts = facts.set_index("fact", drop=False)
    words: dict[str, list[str]] = {}
    for row in corrections.to_dict("records"):
        fact, field, value = row["fact"], row["field"], row["value"]
        old = str(facts.at[fact, field])
        facts.at[fact, field] = value
        words.setdefault(fact, []).append(
            f"{field}: {old or 'blank'} -> {value} ({row['decided_from']})"
        )
    told = pd.Series({fact: "; ".join(items) for fact, items in words.items()}, dtype=object)
    return facts.reset_index(drop=True), told.reindex(facts.index).fillna("").reset_index(drop=True)


def second_extraction(facts: pd.Series) -> list[str]:
    """Return what the second extraction found for each fact, in words."""
    checks = read(DATA / "facts" / "verification.csv")
    lines = checks["comment"].str.extract(r"csv line (\d+)", expand=False)
    checks["fact"] = checks["file"] + ":" + lines
    found: dict[str, list[str]] = {}
    for row in checks.to_dict("records"):
        status, what = row["status"], row["field"]
        if status == "wrong":
            what = "; ".join(part for part in (what, row["found_value"]) if part)
        found.setdefault(row["fact"], []).append(f"{status} ({what})")
    return [" | ".join(found.get(fact, ["not_checked"])) for fact in facts]


def arm_covariates(arms: pd.DataFrame, decisions: pd.DataFrame) -> pd.DataFrame:
    """Return the covariate summaries of each arm, blank where not reported for its patients.

    A summary of the whole trial (arm ``all``) stands for an arm only where the arm's patients are
    those of the trial: crossovers and single-arm studies.
    """
    table = read_facts(("trials_covariates.csv",))
    dropped = decisions.loc[decisions["action"] == "exclude", "fact"]
    table = table[~table["fact"].isin(dropped) & table["variable"].isin(COVARIATES)]
    keys = ["study_id", "arm", "variable"]
    if table.duplicated(keys).any():
        raise ValueError(f"covariates twice: {table[table.duplicated(keys)]['fact'].tolist()}")
    values = table.set_index(keys)["value"].to_dict()
    rows = []
    for arm in arms.itertuples():
        names = [arm.arm_as_printed]
        if arm.design in SAME_PATIENTS:
            names.append("all")
        row = {}
        for variable, column in COVARIATES.items():
            hits = [
                values[key] for name in names if (key := (arm.study_id, name, variable)) in values
            ]
            row[column] = hits[0] if hits else ""
        rows.append(row)
    return pd.DataFrame(rows, index=arms.index)


def build_arms(decisions: pd.DataFrame) -> pd.DataFrame:
    """Return every arm fact with its canonical fields, covariates and decision."""
    facts = read_facts(ARM_FACTS)
    verdicts, corrections = split_decisions(decisions, ARM_FACTS)
    facts, corrected = apply_corrections(facts, corrections)
    mapping = by_fact(read(DATA / "arm_mapping.csv"), facts["fact"], "arm_mapping.csv")
    verdicts = by_fact(verdicts, facts["fact"], "decisions.csv")
    arms = mapping.assign(
        hours=facts["timepoint_hours"],
        n=facts["n"],
        responders=facts["responders"],
        response_percent=facts["response_pct"],
        study_id=facts["study_id"],
        citation=facts["citation_short"],
        year=facts["year"],
        doi_or_pmid=facts["doi_or_pmid"],
        population_as_printed=facts["population"],
        arm_as_printed=facts["arm"],
        route_as_printed=facts["route"],
        dose_as_printed=facts["dose_mg_per_kg"],
        scale_as_printed=facts["scale"],
        response_definition=facts["response_definition"],
        source_url=facts["source_url"],
        locator=facts["locator"],
        notes=facts["notes"] + corrected.map(lambda text: f" | Corrected: {text}" if text else ""),
        use=verdicts["action"].map({"use": "fit", "exclude": "carry"}),
        reason_code=verdicts["reason_code"],
        reason=verdicts["reason"],
        second_extraction=second_extraction(facts["fact"]),
    )
    summaries = arm_covariates(arms, split_decisions(decisions, ("trials_covariates.csv",))[0])
    return pd.concat([arms, summaries], axis=1)


def split_p(text: str) -> tuple[str, str]:
    """Return a printed p-value as number and relation."""
    match = re.fullmatch(r"(>=|<|>|=)?\s*([0-9.]+)", text.strip())
    if match is None:
        if text.strip():
            raise ValueError(f"p-value {text!r}")
        return "", ""
    return str(float(match[2])), match[1] or "="


def build_associations(decisions: pd.DataFrame) -> pd.DataFrame:
    """Return every predictor fact with its cohort, sign convention and decision."""
    printed = read_facts(ASSOCIATION_FACTS)
    verdicts, corrections = split_decisions(decisions, ASSOCIATION_FACTS)
    facts, corrected = apply_corrections(printed, corrections)
    mapping = by_fact(
        read(DATA / "association_mapping.csv"), facts["fact"], "association_mapping.csv"
    )
    verdicts = by_fact(verdicts, facts["fact"], "decisions.csv")
    p_values = [split_p(text) for text in facts["p_value"]]
    direction = {"+1": "1", "-1": "-1", "0": "0", "ns": "0"}
    return mapping.assign(
        predictor=facts["predictor"].map(canonical_predictor),
        predictor_as_printed=facts["predictor"],
        predictor_definition=facts["predictor_definition"],
        population_as_printed=facts["population"],
        outcome=facts["outcome"],
        hours=facts["timepoint_hours"],
        hours_as_printed=printed["timepoint_hours"],
        statistic=facts["statistic_type"].replace(STATISTICS),
        estimate=facts["estimate"],
        ci_low=facts["ci_low"],
        ci_high=facts["ci_high"],
        se=facts["se"],
        p_value=[number for number, _ in p_values],
        p_relation=[relation for _, relation in p_values],
        n=facts["n"],
        n_as_printed=printed["n"],
        direction_for_better_response=facts["direction_for_better_response"].map(
            lambda text: direction.get(text, "unclear")
        ),
        adjusted_for=facts["adjusted_for"],
        use=verdicts["action"].map({"use": "candidate", "exclude": "carry"}),
        reason_code=verdicts["reason_code"],
        reason=verdicts["reason"],
        second_extraction=second_extraction(facts["fact"]),
        corrections=corrected,
        citation=facts["citation_short"],
        year=facts["year"],
        doi_or_pmid=facts["doi_or_pmid"],
        source_url=facts["source_url"],
        locator=facts["locator"],
        notes=facts["notes"],
    )


def build_distributions() -> pd.DataFrame:
    """Return the predictor distributions with canonical names."""
    facts = read_facts(("predictor_distributions.csv",))
    return facts.assign(
        population_as_printed=facts["population"],
        predictor_as_printed=facts["predictor"],
        predictor=facts["predictor"].map(canonical_predictor),
    )


def build_correlations() -> pd.DataFrame:
    """Return the predictor correlations with canonical names."""
    facts = read_facts(("predictor_correlations.csv",))
    return facts.assign(
        population_as_printed=facts["population"],
        variable_1_as_printed=facts["variable_1"],
        variable_2_as_printed=facts["variable_2"],
        variable_1=facts["variable_1"].map(canonical_predictor),
        variable_2=facts["variable_2"].map(canonical_predictor),
        statistic=facts["statistic_type"],
    )


def build_pooled() -> pd.DataFrame:
    """Return the pooled estimates of meta-analyses."""
    facts = read_facts(("pooled_estimates.csv",))
    return facts.assign(
        hours=facts["timepoint_hours"],
        measure=facts["measure"].replace(MEASURES),
        use="validate",
    )


def _number(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.10g}"


def _participant_rows(person: Any, scores: dict[Any, float]) -> list[dict[str, str]]:
    """Return the four rows (two arms, two horizons) of one patient."""
    order = [person.infusion_1, person.infusion_2]
    first = {"d": "ketamine_first", "p": "saline_first"}.get(order[0], "unknown")
    baseline = scores.get((person.participant_id, "ses-b0"), float("nan"))
    rows = []
    for arm, letter in (("ketamine", "d"), ("saline", "p")):
        period = str(order.index(letter) + 1) if letter in order else ""
        dose = "dose not stated in the data set (the protocol's is 0.5 mg/kg i.v.)"
        caveat = [dose] if arm == "ketamine" else []
        if not period:
            caveat.append("no infusion recorded for this arm")
        for hours, day in ((48, 2), (240, 10)):
            end = scores.get((person.participant_id, f"ses-{letter}{day}"), float("nan"))
            gain = 100 * (baseline - end) / baseline
            response = "" if pd.isna(gain) else str(int(2 * end <= baseline))
            rows.append(
                {
                    "trial": "nimh_ds005917",
                    "population": {"MDD": "unipolar_depression", "BP": "bipolar_depression"}[
                        person.group
                    ],
                    "participant": person.participant_id,
                    "arm": arm,
                    "period": period,
                    "hours": str(hours),
                    "age": _number(person.age),
                    "female": {"F": "1", "M": "0"}.get(person.sex, ""),
                    "bmi": _number(person.BMI),
                    "baseline_madrs": _number(baseline),
                    "scale": "MADRS",
                    "baseline_score": _number(baseline),
                    "endpoint_score": _number(end),
                    "improvement": "" if pd.isna(gain) else f"{gain:.4f}",
                    "response": response,
                    "design": "crossover",
                    "blinding": "double_blind",
                    "sequence": first,
                    "source": f"OpenNeuro ds005917 v1.0.1, {DATASET} (CC0)",
                    "derivation": "; ".join(
                        [*caveat, f"visit {day} to {day + 1} days after the infusion"]
                    ),
                }
            )
    return rows


def build_participants() -> pd.DataFrame:
    """Return the open crossover trial in long form, patients only."""
    folder = DATA / "facts" / "ipd" / "openneuro_ds005917"
    people = pd.read_csv(folder / "participants.tsv", sep="\t", na_values="n/a")
    visits = pd.read_csv(folder / "phenotype.tsv", sep="\t", na_values="n/a")
    if visits.duplicated(["participant_id", "session_id"]).any():
        raise ValueError("phenotype.tsv holds a visit twice")
    scores = visits.set_index(["participant_id", "session_id"])["MADRS_Total"].to_dict()
    patients = people[people["group"] != "HC"].sort_values("participant_id")
    rows = [row for person in patients.itertuples() for row in _participant_rows(person, scores)]
    return pd.DataFrame(rows)


def build_tables() -> dict[str, pd.DataFrame]:
    """Return every built table, columns in the order of ``fields.csv``."""
    decisions = read(DATA / "decisions.csv")
    tables = {
        "arms": build_arms(decisions),
        "associations": build_associations(decisions),
        "participants": build_participants(),
        "predictor_distributions": build_distributions(),
        "predictor_correlations": build_correlations(),
        "pooled_estimates": build_pooled(),
    }
    fields = read(DATA / "fields.csv")
    return {
        name: table[fields.loc[fields["table"] == name, "field"].tolist()]
        for name, table in tables.items()
    }


def field_schema(row: Any) -> dict[str, Any]:
    """Return one row of ``fields.csv`` as a Table Schema field."""
    field: dict[str, Any] = {
        "name": row.field,
        "type": row.type,
        "description": row.description,
    }
    if row.unit:
        field["unit"] = row.unit
    if row.type == "boolean":
        field |= {"trueValues": ["true"], "falseValues": ["false"]}
    convert = int if row.type == "integer" else float if row.type == "number" else str
    constraints: dict[str, Any] = {"required": True} if row.required == "true" else {}
    for name in ("minimum", "maximum"):
        if text := getattr(row, name):
            constraints[name] = convert(text)
    if row.allowed:
        constraints["enum"] = [convert(item) for item in row.allowed.split(";")]
    if constraints:
        field["constraints"] = constraints
    return field


def resource(name: str, content: bytes, fields: pd.DataFrame) -> dict[str, Any]:
    """Return the descriptor of one table."""
    schema: dict[str, Any] = {
        "fields": [field_schema(row) for row in fields[fields["table"] == name].itertuples()],
        "missingValues": [""],
    }
    if name in ("arms", "associations", "arm_mapping", "association_mapping"):
        schema["primaryKey"] = ["fact"]
    if name in ("arm_classes", "predictors"):
        schema["primaryKey"] = ["arm" if name == "arm_classes" else "predictor"]
    if name == "participants":
        schema["primaryKey"] = ["participant", "arm", "hours"]
    if name == "arms":
        schema["foreignKeys"] = [
            {"fields": ["arm"], "reference": {"resource": "arm_classes", "fields": ["arm"]}}
        ]
    return {
        "name": name,
        "title": TITLES[name],
        "path": f"{name}.csv",
        "type": "table",
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
        "bytes": len(content),
        "hash": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "licenses": [CC0] if name == "participants" else [MIT],
        "sources": [SOURCES[1] if name == "participants" else SOURCES[0]],
        "schema": schema,
    }


def dictionary_fields() -> pd.DataFrame:
    """Return the description of ``fields.csv`` itself, in its own form."""
    described = {
        "table": "Table.",
        "field": "Column.",
        "type": "Table Schema type.",
        "description": "What the column holds.",
        "unit": "Unit; blank where there is none.",
        "required": "true if the column is never blank.",
        "minimum": "Smallest value.",
        "maximum": "Largest value.",
        "allowed": "Allowed values, separated by semicolons.",
    }
    frame = pd.DataFrame({"field": list(described), "description": list(described.values())})
    blank = dict.fromkeys(("unit", "required", "minimum", "maximum", "allowed"), "")
    return frame.assign(table="fields", type="string", **blank)


def build_package(built: dict[str, bytes]) -> bytes:
    """Return ``datapackage.json`` for the built and the curated tables."""
    contents = {name: (DATA / name).read_bytes() for name in CURATED}
    contents = {f"{name}.csv": content for name, content in built.items()} | contents
    fields = pd.concat([read(DATA / "fields.csv"), dictionary_fields()], ignore_index=True)
    paths = sorted(path for path in (DATA / "facts").rglob("*") if path.is_file())
    package = {
        "$schema": "https://datapackage.org/profiles/2.0/datapackage.json",
        "name": "ketpredict-evidence",
        "title": "Published evidence on the antidepressant response to ketamine",
        "description": (
            "Facts from the literature with source and locator, our decisions about them, and the "
            "tables built from both by scripts/build_data.py. For research, not for treatment "
            "decisions."
        ),
        "licenses": [MIT, CC0],
        "sources": SOURCES,
        "resources": [
            resource(name.removesuffix(".csv"), content, fields)
            for name, content in contents.items()
        ],
        "facts": [
            {
                "path": path.relative_to(DATA).as_posix(),
                "bytes": path.stat().st_size,
                "hash": f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}",
            }
            for path in paths
        ],
    }
    return (json.dumps(package, indent=1, ensure_ascii=False) + "\n").encode()


def build() -> dict[str, bytes]:
    """Return the content of every built file by name."""
    tables = {
        name: table.to_csv(index=False, lineterminator="\n").encode()
        for name, table in build_tables().items()
    }
    files = {f"{name}.csv": content for name, content in tables.items()}
    return files | {"datapackage.json": build_package(tables)}


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as handle:
        handle.write(content)
    os.chmod(handle.name, 0o644)
    os.replace(handle.name, path)


def differing(files: dict[str, bytes]) -> list[str]:
    """Return the names of files in ``data/`` that differ from their built content."""
    return [
        name
        for name, content in files.items()
        if not (DATA / name).is_file() or (DATA / name).read_bytes() != content
    ]


def main(arguments: list[str] | None = None) -> int:
    """Build or check; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="write nothing, compare only")
    check = parser.parse_args(arguments).check
    files = build()
    stale = differing(files)
    if check:
        print(f"stale: {', '.join(stale)}" if stale else "data/ is up to date")
        return 1 if stale else 0
    for name in stale:
        write_whole(DATA / name, files[name])
    print(f"{len(files)} files built, {len(stale)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
