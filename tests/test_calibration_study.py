"""The stored calibration: it belongs to this model and generator, and says what its page says."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import handmade

pytestmark = pytest.mark.xdist_group("calibration study")
study = handmade.load_script("calibration_study")
AGAIN = (
    "the stored calibration is of another model or generator: remove docs/calibration_ranks.csv "
    "and run scripts/calibration_study.py again"
)


@pytest.fixture(scope="module")
def facts() -> dict:
    return json.loads(study.FACTS.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def ranks() -> pd.DataFrame:
    return study.stored()


def test_stored_ranks_belong_to_the_model_and_the_generator(facts: dict) -> None:
    now = study.probes()
    assert len(now) == len(facts["probes"]) == len(study.PROBES)
    for own, kept in zip(now, facts["probes"], strict=True):
        assert own["data"] == kept["data"], AGAIN
        assert own["log_density"] == pytest.approx(kept["log_density"], rel=1e-9), AGAIN
        assert own["truth"] == pytest.approx(kept["truth"], rel=1e-6), AGAIN


def test_a_changed_prior_or_generator_is_noticed(
    facts: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = study.model()
    other = spec.with_priors(trial_scale=study.load_spec("published").priors["arm_scale"])
    monkeypatch.setattr(study, "model", lambda: other)
    changed = study.probes()[0]
    assert changed["log_density"] != pytest.approx(facts["probes"][0]["log_density"], rel=1e-9)
    assert changed["data"] != facts["probes"][0]["data"]


def test_every_simulation_is_stored_once_and_each_quantity_ranked(ranks: pd.DataFrame) -> None:
    assert study.missing_tasks(ranks) == []
    assert not ranks.duplicated(["generator", "seed"]).any()
    assert len(ranks) == sum(study.SIMULATIONS.values())
    assert study.SIMULATIONS["right"] >= 500
    own = study.simulated(0)
    names = {*study.quantities(study._one_draw(own.truth), own.design)}
    names |= {*study.true_predictions(own)}
    assert names == set(ranks) - set(study.FACT_COLUMNS)
    values = ranks[sorted(names)].to_numpy()
    assert values.min() == 0
    assert values.max() == study.KEPT


def test_verdict_follows_from_the_stored_ranks(ranks: pd.DataFrame) -> None:
    table = study.verdicts(ranks)
    assert study.holds(table)
    page = study.PAGE.read_text(encoding="utf-8")
    for generator, own in table.groupby("generator"):
        assert f"| **{generator}**" in page
        smallest = own["adjusted"].min()
        assert ("below 1e-12" if smallest < 1e-12 else f"| {smallest:.2g} |") in page
    # The rule itself can fail: ranks of a wrong generator under the right one's name.
    swapped = ranks[ranks["generator"] != "right"].assign(generator="right")
    assert not study.holds(study.verdicts(pd.concat([swapped, ranks[:0]])))


def test_a_stopped_run_goes_on_where_it_was(ranks: pd.DataFrame) -> None:
    left = ranks.drop(index=[3, len(ranks) - 1])
    lacking = study.missing_tasks(left)
    assert lacking == [
        (int(ranks["seed"].iloc[place]), ranks["generator"].iloc[place])
        for place in (3, len(ranks) - 1)
    ]
    assert np.all(ranks["seconds"] > 0)
