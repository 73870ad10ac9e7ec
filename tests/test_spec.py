"""Model files: what parses, what does not and in which words, and what a fingerprint notices."""

from __future__ import annotations

import copy
import math
import re
import tomllib

import numpy as np
import pytest

from ketpredict.errors import SpecificationError
from ketpredict.prior_families import SLOPE_PARTS, Prior
from ketpredict.resources import models_folder
from ketpredict.spec import ModelSpec, load_spec, parse_spec

MODEL_FILES = sorted(models_folder().glob("*.toml"))
REPLACEMENTS = {
    "lkj": (3.0,),
    "normal": (0.1, 0.9),
    "half_normal": (0.7,),
    "log_normal": (3.0, 0.2),
    "beta": (1.0, 3.0),
    "dirichlet": (2.0,),
}


@pytest.fixture
def table():
    text = (models_folder() / "published.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@pytest.fixture
def spec(table):
    return parse_spec(table)


def message(table, **options):
    with pytest.raises(SpecificationError) as caught:
        parse_spec(table, **options)
    return str(caught.value)


@pytest.mark.parametrize("path", MODEL_FILES, ids=lambda path: path.stem)
def test_every_model_file_parses_under_its_own_name(path):
    by_name, by_path = load_spec(path.stem), load_spec(path)
    assert by_name == by_path == load_spec(str(path))
    assert by_name.name == path.stem
    assert by_name.title
    assert by_name.outcome
    assert parse_spec(by_name.as_table()) == by_name


def keys(entry):
    """Yield every key of a table and of the tables in it."""
    for key, value in entry.items():
        yield key
        if isinstance(value, dict):
            yield from keys(value)


@pytest.mark.parametrize("path", MODEL_FILES, ids=lambda path: path.stem)
def test_the_guide_explains_every_key(path):
    guide = (models_folder() / "_guide.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| `(\w+)` \|", guide, flags=re.MULTILINE))
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    parts = {"horizons", "pooling", "literature", "priors"}
    assert set(keys(table)) - parts <= explained
    assert all(f"## `[{part}]`" in guide for part in parts)


def test_published_has_the_six_candidates():
    assert load_spec("published").predictors == (
        "bmi",
        "family_history_aud",
        "suicide_attempt_history",
        "bdnf",
        "shank3",
        "delta_sleep_ratio",
    )


def test_a_specification_is_returned_as_it_is(spec):
    assert load_spec(spec) is spec


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(SpecificationError, match=r"no 'publisht\.toml'.*mean 'published\.toml'"):
        load_spec("publisht")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SpecificationError, match=r"'.*mine\.toml' cannot be read: No such file"):
        load_spec(tmp_path / "mine.toml")


def test_a_file_that_is_not_toml(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("schema == 1")
    with pytest.raises(SpecificationError, match=r"^mine\.toml is not valid TOML: .*line 1"):
        load_spec(path)


@pytest.mark.parametrize("model", [None, 3, ["published"]])
def test_something_that_names_no_model(model):
    with pytest.raises(SpecificationError, match="expected the name of a model"):
        load_spec(model)


def test_one_message_lists_every_problem(table):
    table["schema"] = 1
    table["link"] = "cloglog"
    table["colour"] = "blue"
    del table["title"]
    table["predictors"] = ["bmi", "bdnf", "bmi"]
    table["horizons"]["unit"] = "hours"
    del table["pooling"]["trial_slope"]
    table["priors"]["slope"] = {"normal": [0.0, 1.0]}
    del table["priors"]["arm_scale"]
    table["priors"]["intercept"] = {"half_normal": 1.0}
    table["priors"]["trial_scale"] = {"half_normal": -0.5}
    table["priors"]["slope_share"] = {"dirichlet": [1.0, 1.0]}
    text = message(table, source="mine.toml")
    assert text.startswith("mine.toml: ")
    for part in (
        "schema is 1; this version reads schema 3",
        "link is 'cloglog'; expected 'probit' or 'logit'",
        "unknown key 'colour' (known: ",
        "key 'title' is missing",
        "predictors names bmi more than once",
        "unknown key 'unit' in [horizons]",
        "key 'trial_slope' is missing in [pooling]",
        "unknown key 'slope' in [priors]",
        "key 'arm_scale' is missing in [priors]",
        "prior intercept is {'half_normal': 1.0}; expected one of normal, fixed",
        "prior trial_scale: Prior half_normal has a scale of -0.5, which must be positive",
        "prior slope_share has 2 numbers; dirichlet takes 4 here",
    ):
        assert part in text
    assert text.count(";") >= 12


@pytest.mark.parametrize("part", ["horizons", "pooling", "priors"])
def test_a_whole_part_missing(table, part):
    del table[part]
    text = message(table)
    assert f"key '{part}' is missing" in text
    assert f"[{part}] is missing" in text


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("window", [168.0, 4.0], "0 < first < last"),
        ("window", [0.0, 168.0], "0 < first < last"),
        ("window", 24.0, "takes numbers of hours"),
        ("window", [4.0, 24.0, 168.0], "takes numbers of hours"),
        ("knots", [4.0, 72.0, 24.0, 168.0], "knots must rise"),
        ("knots", [4.0, 24.0, 72.0], "knots must rise"),
        ("knots", [24.0], "knots must rise"),
        ("knots", "all", "takes numbers of hours"),
        ("reference", 30.0, "reference must be one of the knots"),
        ("reference", "a day", "takes numbers of hours"),
    ],
)
def test_impossible_horizons(table, key, value, expected):
    table["horizons"][key] = value
    assert expected in message(table)


@pytest.mark.parametrize("value", [1, "yes", None])
def test_pooling_takes_true_or_false(table, value):
    table["pooling"]["trial_slope"] = value
    assert f"trial_slope is {value!r}; expected true or false" in message(table)


@pytest.mark.parametrize("value", ["bmi", 3, [1, 2], {"bmi": True}])
def test_predictors_are_a_list_of_names(table, value):
    table["predictors"] = value
    assert 'expected a list of names or "*"' in message(table)


@pytest.mark.parametrize(
    "entry",
    [
        0.5,
        {},
        {"normal": [0.0, 1.0], "fixed": 0.0},
        {"cauchy": [0.0, 1.0]},
        {"normal": ["0", "1"]},
        {"normal": [0.0, True]},
    ],
)
def test_a_prior_that_is_none(table, entry):
    table["priors"]["intercept"] = entry
    text = message(table)
    assert text.count("prior intercept") == 1
    assert "expected one of normal, fixed with its numbers" in text or "no numbers" in text


@pytest.mark.parametrize("entry", [{"normal": 0.0}, {"normal": [0.0]}, {"fixed": [0.0, 1.0]}])
def test_a_prior_with_the_wrong_count_of_numbers(table, entry):
    table["priors"]["intercept"] = entry
    assert re.search(
        r"prior intercept: Prior (normal|fixed) takes \d numbers? and has \d", message(table)
    )


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("intercept", {"normal": [0.0, 0.0]}),
        ("arm_scale", {"half_normal": 0.0}),
        ("improvement_sd", {"log_normal": [3.4, -0.1]}),
        ("explained_variance", {"beta": [0.0, 8.0]}),
        ("slope_share", {"dirichlet": [6.0, 1.5, 0.0, 1.25]}),
    ],
)
def test_scales_and_concentrations_are_positive(table, name, entry):
    table["priors"][name] = entry
    assert "must be positive" in message(table)


def test_every_prior_changes_the_fingerprint(spec):
    seen = {spec.fingerprint()}
    for name, prior in spec.priors.items():
        values = REPLACEMENTS[prior.kind]
        values = values * len(prior.values) if prior.kind == "dirichlet" else values
        seen.add(spec.with_priors(**{name: Prior(prior.kind, values)}).fingerprint())
    assert len(seen) == len(spec.priors) + 1


def test_every_other_entry_changes_the_fingerprint(table, spec):
    seen = {spec.fingerprint(), spec.with_predictors(None).fingerprint()}
    seen.add(spec.with_predictors(spec.predictors[::-1]).fingerprint())
    for switch in table["pooling"]:
        changed = copy.deepcopy(table)
        changed["pooling"][switch] = not changed["pooling"][switch]
        seen.add(parse_spec(changed).fingerprint())
    changed = copy.deepcopy(table)
    changed["horizons"]["repeated_until"] = 400.0
    seen.add(parse_spec(changed).fingerprint())
    assert len(seen) == 4 + len(table["pooling"])


def test_equal_models_have_equal_fingerprints(table, spec):
    backwards = {
        key: dict(reversed(value.items())) if isinstance(value, dict) else value
        for key, value in reversed(table.items())
    }
    backwards["horizons"]["reference"] = 24  # written as an integer
    backwards["priors"]["intercept"] = {"normal": [0, 1]}
    assert parse_spec(backwards).fingerprint() == spec.fingerprint()
    assert re.fullmatch(r"[0-9a-f]{64}", spec.fingerprint())


def test_pooling_drops_slope_parts_and_their_concentration(table, spec):
    whole = spec.priors["slope_share"].values
    assert spec.slope_parts() == SLOPE_PARTS
    assert spec.slope_concentration() == whole
    table["pooling"]["population_slope"] = False
    fewer = parse_spec(table)
    assert fewer.slope_parts() == ("prognostic", "predictive", "trial")
    assert fewer.slope_concentration() == (whole[0], whole[1], whole[3])
    table["pooling"]["trial_slope"] = False
    assert parse_spec(table).slope_parts() == ("prognostic", "predictive")
    assert parse_spec(table).slope_concentration() == whole[:2]


def test_every_column_as_predictor(table):
    table["predictors"] = "*"
    spec = parse_spec(table)
    assert spec.predictors is None
    assert spec.as_table()["predictors"] == "*"


def test_with_priors_leaves_the_original_alone(spec):
    changed = spec.with_priors(intercept=Prior("fixed", (0.2,)))
    assert isinstance(changed, ModelSpec)
    assert changed.priors["intercept"] == Prior("fixed", (0.2,))
    assert spec.priors["intercept"] == Prior("normal", (0.0, 1.0))


def test_with_priors_knows_its_names(spec):
    with pytest.raises(
        SpecificationError, match=r"Unknown priors \['slop'\]; known: \['across_scale"
    ):
        spec.with_priors(slop=Prior("fixed", (0.0,)))


@pytest.mark.parametrize(
    ("prior", "table_form", "text"),
    [
        (Prior("normal", (0.0, 0.5)), {"normal": [0.0, 0.5]}, "normal(0, 0.5)"),
        (Prior("half_normal", (0.25,)), {"half_normal": 0.25}, "half_normal(0.25)"),
        (Prior("fixed", (0.0,)), {"fixed": 0.0}, "fixed(0)"),
        (Prior("dirichlet", (1.0,)), {"dirichlet": 1.0}, "dirichlet(1)"),
        (Prior("dirichlet", (6.0, 1.5)), {"dirichlet": [6.0, 1.5]}, "dirichlet(6, 1.5)"),
    ],
)
def test_priors_in_tables_and_in_words(prior, table_form, text):
    assert prior.as_table() == table_form
    assert str(prior) == text


@pytest.mark.parametrize(
    ("prior", "entry"),
    [
        ("population_scale", {"fixed": -1.0}),
        ("explained_variance", {"fixed": 1.5}),
        ("improvement_sd", {"fixed": 0.0}),
        ("intercept", {"normal": [float("nan"), 1.0]}),
        ("intercept", {"normal": [0.0, float("inf")]}),
    ],
)
def test_numbers_that_a_parameter_cannot_have(prior, entry):
    table = load_spec("published").as_table()
    table["priors"][prior] = entry
    with pytest.raises(SpecificationError, match=f"prior {prior}( is|:)"):
        parse_spec(table)


def test_replaced_priors_are_checked_too():
    with pytest.raises(SpecificationError, match="prior intercept"):
        load_spec("published").with_priors(intercept=Prior("half_normal", (1.0,)))
    with pytest.raises(SpecificationError, match=r"trial_scale is 0\.5; expected ketpredict"):
        load_spec("published").with_priors(trial_scale=0.5)


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        ("normal", (0.0,), r"Prior normal takes 2 numbers and has 1; .*mean, standard deviation"),
        ("normal", 0.5, r"takes 2 numbers and has 1"),
        ("half_normal", (0.0, 0.5), r"takes 1 number and has 2; .* expected scale"),
        ("normal", (0.0, -1.0), r"standard deviation of -1, which must be positive"),
        ("normal", ("0", "1"), r"no numbers"),
        ("normal", (0.0, True), r"no numbers"),
        ("beta", (math.nan, 1.0), r"not finite"),
        ("dirichlet", (), r"takes 1 number and has 0; .* or one for each part"),
        ("dirichlet", (1.0, 0.0), r"must be positive"),
        ("cauchy", (0.0, 1.0), r"family is 'cauchy'; expected one of beta, dirichlet"),
        (None, (0.0, 1.0), r"family is None"),
    ],
)
def test_a_prior_is_checked_where_it_is_made(kind, values, words):
    with pytest.raises(SpecificationError, match=words):
        Prior(kind, values)


@pytest.mark.parametrize("values", [(0.0, 0.5), [0, 0.5], (np.float64(0.0), np.float32(0.5))])
def test_numbers_of_any_kind_make_the_same_prior(values):
    assert Prior("normal", values) == Prior("normal", (0.0, 0.5))
    assert hash(Prior("normal", values)) == hash(Prior("normal", (0.0, 0.5)))
