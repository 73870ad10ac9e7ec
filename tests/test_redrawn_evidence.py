"""The generator of calibration by simulation, held to what it must keep and to the likelihood."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

import handmade
import ketpredict as kp
from ketpredict.cells import arm_summary
from ketpredict.effect_density import implied_effects
from ketpredict.errors import DataError
from ketpredict.fitting import prepare
from ketpredict.redrawn_evidence import draw_parameters, redraw_evidence
from ketpredict.unit_outcome import arm_mixture, draws_of, summary_of, unit_probability

pytestmark = pytest.mark.xdist_group("calibration study")
study = handmade.load_script("calibration_study")
SETS = 40


@pytest.fixture(scope="module")
def redrawn() -> tuple:
    """One truth, and many data sets drawn from it."""
    rng = np.random.default_rng(11)
    design, used = prepare(study.model(), study.template(), study.REFERENCES)
    truth = draw_parameters(design, rng)
    sets = [redraw_evidence(used, design, truth, rng) for _ in range(SETS)]
    designs = [prepare(study.model(), own, study.REFERENCES)[0] for own in sets]
    return used, design, truth, sets, designs


def test_rows_labels_and_holes_stay_and_nothing_else(redrawn: tuple) -> None:
    used, _, _, sets, _ = redrawn
    for name in ("participants", "arms", "associations"):
        before, after = getattr(used, name), getattr(sets[0], name)
        assert list(before) == list(after)
        pd.testing.assert_frame_equal(before.isna(), after.isna())
        same = [
            column
            for column in before
            if not column.startswith(study.PREDICTORS)
            and column not in ("response", "responders", "estimate", "counts")
            and column != "direction_for_better_response"
        ]
        pd.testing.assert_frame_equal(before[same], after[same], check_dtype=False)


def test_periods_of_one_patient_share_the_predictors(redrawn: tuple) -> None:
    _, _, _, sets, _ = redrawn
    table = sets[3].participants
    twice = table[table.duplicated(["trial", "participant"], keep=False)]
    assert len(twice) == 8
    spread = twice.groupby("participant")[list(study.PREDICTORS)].agg(lambda v: v.nunique())
    assert (spread <= 1).all(axis=None)
    assert sets[3].participants["bmi"].nunique() > 20


def test_responses_have_the_probability_of_the_likelihood(redrawn: tuple) -> None:
    """Patients and arms drawn one by one against the averages of the likelihood."""
    _, _, truth, _, designs = redrawn
    one = {name: np.asarray(value)[None] for name, value in truth.items()}
    z: dict[tuple[str, bool], np.ndarray] = {}
    for design in designs:
        chance, units = unit_probability(one, design)[0], design.units
        for i in range(len(units)):
            key = (design.trials[units.trial_idx[i]], bool(units.active[i]))
            lack = units.responders[i] - units.n[i] * chance[i]
            total = z.setdefault(key, np.zeros(2))
            total += lack, units.n[i] * chance[i] * (1.0 - chance[i])
    found = np.array([lack / np.sqrt(variance) for lack, variance in z.values()])
    assert len(found) == 11
    assert np.abs(found).max() < 3.5
    # What an error looks like: half of the treatment deviation in the wrong arm.
    deviation = one["treatment_deviation"]
    wrong = unit_probability(one | {"treatment_deviation": -deviation}, designs[0])
    assert np.abs(wrong - unit_probability(one, designs[0])).max() > 0.02


def test_summaries_of_arms_have_the_law_of_the_likelihood(redrawn: tuple) -> None:
    _, design, truth, sets, designs = redrawn
    bmi = design.predictors[0]
    arm = int(np.flatnonzero(sets[0].arms["arm"] == "ketamine")[0])
    people = 80.0
    law = design.laws.index("trial_d")
    covariance = truth["predictor_covariance"]
    trial_mean = truth["trial_mean"][design.mean_cell[law]]
    values = np.array([arm_summary(own.arms, bmi) for own in sets])[:, :, arm]
    share = np.array([own.arms["family_history_aud_pct"].iloc[arm] / 100 for own in sets])
    attempts = float(handmade.ndtr(trial_mean[3]))
    distance = np.column_stack([share, np.full(SETS, attempts)])
    distance -= [p.centre for p in design.predictors[2:]]
    residual = values[:, 0] - trial_mean[0] - distance @ truth["binary_shift"][0]
    scaled = residual / np.sqrt(covariance[0, 0] / people)
    assert abs(scaled.mean()) < 4 / np.sqrt(SETS)
    assert scaled.var() == pytest.approx(1.0, abs=4 * np.sqrt(2 / SETS))
    rate = float(handmade.ndtr(trial_mean[2]))
    error = np.sqrt(rate * (1 - rate) / people / SETS)
    assert share.mean() == pytest.approx(rate, abs=4 * error)
    # The SD by the chi-square law, around the total variance that the likelihood expects.
    ratio = []
    for own in designs:
        draws = draws_of({k: np.asarray(v)[None] for k, v in truth.items()}, own)
        place = np.flatnonzero((own.units.is_arm > 0) & (own.units.hours == 4.0))
        place = place[own.units.active[place] > 0]
        trial = draws.parameters["trial_mean"][:, own.mean_cell[own.units.law_idx[place]]]
        mixture = arm_mixture(
            draws, summary_of(own, place), np.zeros((1, 1, 4)),
            trial[..., draws.continuous], handmade.ndtr(trial[..., draws.binary]),
        )  # fmt: skip
        ratio.append(79.0 * own.units.sd[place[0], 0] ** 2 / mixture.total_variance[0, 0, 0])
    assert np.mean(ratio) == pytest.approx(79.0, abs=4 * np.sqrt(2 * 79 / SETS))
    assert np.var(ratio) == pytest.approx(2 * 79.0, rel=0.4)


def test_published_effects_lie_around_what_is_implied(redrawn: tuple) -> None:
    _, design, truth, _, designs = redrawn
    effects = design.effects
    middle = implied_effects({k: np.asarray(v)[None] for k, v in truth.items()}, design)[0]
    drawn = np.array([own.effects.statistic for own in designs])
    graded = np.flatnonzero(~np.isnan(drawn[0]))
    assert len(graded) >= 6
    for i in graded:
        own = middle[i]
        if effects.shared[i]:
            group = list(effects.repeated_groups).index(effects.group_idx[i])
            share = effects.standard_error[i] * np.sqrt(effects.shared[i])
            own = own + share * truth["effect_error"][group]
        spread = effects.standard_error[i] * np.sqrt(1.0 - effects.shared[i])
        scaled = (drawn[:, i] - own) / spread
        assert abs(scaled.mean()) < 4 / np.sqrt(SETS)
        assert scaled.var() == pytest.approx(1.0, abs=4 * np.sqrt(2 / SETS))
    verdicts = {own.associations["direction_for_better_response"].iloc[2] for own in redrawn[3]}
    assert verdicts == {"0", "1", "-1"} or verdicts < {"0", "1", "-1"}
    counts = [own.effects.counts[3] for own in designs]
    assert np.ptp([c[0] for c in counts]) > 3
    assert {(c[1], c[3]) for c in counts} == {(45.0, 45.0)}


def test_same_seed_same_data() -> None:
    first, again, other = (study.simulated(seed) for seed in (5, 5, 6))
    pd.testing.assert_frame_equal(first.evidence.participants, again.evidence.participants)
    pd.testing.assert_frame_equal(first.evidence.arms, again.evidence.arms)
    assert not first.evidence.arms.equals(other.evidence.arms)


def test_what_no_generator_can_draw_is_refused_in_one_message() -> None:
    design, used = prepare(study.model(), study.template(), study.REFERENCES)
    effects = used.associations.assign(statistic="t")
    arms = used.arms.assign(design="crossover")
    patients = used.participants.assign(sample_weight=1.0)
    wrong = dataclasses.replace(used, associations=effects, arms=arms, participants=patients)
    truth = draw_parameters(design, np.random.default_rng(0))
    with pytest.raises(DataError) as caught:
        redraw_evidence(wrong, design, truth, np.random.default_rng(1))
    for words in ("sample_weight", "crossover", "trial_d", "is a t", "one: bmi at 24 h"):
        assert words in str(caught.value)


@pytest.mark.parametrize("names", [(), ("bmi",), ("family_history_aud",)])
@pytest.mark.parametrize("link", ["probit", "logit"])
def test_few_predictors_of_one_kind_and_either_link(names: tuple[str, ...], link: str) -> None:
    """Large arms and many patients of one trial respond as often as the likelihood says."""
    data = kp.simulate(trials=2, patients=400, published_trials=1, predictors=names, random_state=3)
    spec = data.spec.with_link(link)
    references = {predictor.name: predictor for predictor in data.predictors}
    design, used = prepare(spec, data.evidence(), references)
    rng = np.random.default_rng([len(names), len(link)])
    truth = draw_parameters(design, rng)
    one = {name: np.asarray(value)[None] for name, value in truth.items()}
    again = prepare(spec, redraw_evidence(used, design, truth, rng), references)[0]
    chance, units = unit_probability(one, again)[0], again.units
    for kind in (units.is_arm > 0, units.is_arm == 0):
        expected = (units.n * chance)[kind].sum()
        spread = np.sqrt((units.n * chance * (1.0 - chance))[kind].sum())
        assert abs(units.responders[kind].sum() - expected) < 4.0 * spread
        assert units.n[kind].sum() == 800
