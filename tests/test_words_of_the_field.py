"""What is said of data of another field: which arm is assumed, and which is the reference."""

import numpy as np
import pandas as pd
import pytest

import ketpredict as kp
from ketpredict.design import encode
from ketpredict.evidence import load_evidence, select_horizons
from ketpredict.field_of_fit import POPULATIONS, is_of_ketamine, study_term_labels
from ketpredict.fit_inputs import from_patients
from ketpredict.held_out_density import fold_log_density
from ketpredict.left_out import folds_of
from ketpredict.plots import arm_style
from ketpredict.spec import STUDY_TERMS, load_spec
from ketpredict.stored_design import design_of
from ketpredict.wording import arm_in_sentence, beside_words, given_title, pareto_words
from kinds_of_fit import KINDS

NAMES = {"trial": "trial", "population": "population", "arm": "arm"}


def table(**columns):
    base = {"trial": ["a", "a", "b", "b"], "soil": [1.0, 2.0, 3.0, 4.0], "response": [0, 1, 0, 1]}
    return pd.DataFrame({**base, **columns})


def arms_of(patients, **arguments):
    inputs = from_patients(patients, load_spec("published"), None, None, NAMES, **arguments)
    evidence = select_horizons(inputs.evidence, inputs.spec.horizons)
    design = encode(inputs.spec, evidence, inputs.references)
    return design.arms, design.arm_class


def test_the_populations_of_the_rule_are_those_of_the_published_evidence():
    published = load_evidence()
    found = set(published.arms["population"]) | set(published.participants["population"])
    assert found <= POPULATIONS


def test_an_arm_that_nobody_names_is_ketamine_only_in_this_field():
    assert arms_of(table()) == (("(this arm)",), ("active",))
    assert arms_of(table(arm=None)) == (("(this arm)",), ("active",))
    assert arms_of(table(population="ocd"))[0] == ("ketamine",)
    assert arms_of(table(bmi=[24.0, 30.0, 28.0, 33.0]))[0] == ("ketamine",)


def test_some_rows_of_another_field_without_an_arm_are_refused():
    arms = table(arm=["drip", None, "drip", None], arm_class="active")
    with pytest.raises(kp.DataError, match="names no arm in 2 of 4 rows; the others have drip"):
        arms_of(arms)


def test_the_reference_is_an_arm_that_somebody_was_in():
    arms = ["saline", "iron", "saline", "iron"]
    classes = ["inert_control", "active"] * 2
    assert arms_of(table(arm=arms, arm_class=classes))[0] == ("iron", "saline")
    ours = ["saline", "esketamine_iv", "saline", "esketamine_iv"]
    assert arms_of(table(arm=ours))[0] == ("ketamine", "esketamine_iv", "saline")
    assert arms_of(table(arm="saline"))[0] == ("ketamine", "saline")


def test_words_follow_the_arms():
    assert is_of_ketamine(["esketamine_iv", "saline"])
    assert not is_of_ketamine(["iron", "saline"])
    assert study_term_labels(["ketamine"]) == list(STUDY_TERMS)
    assert study_term_labels(["iron"]) == ["open_label", "enriched", "added_treatment"]
    assert beside_words(["ketamine"]) == "a new antidepressant"
    assert beside_words(["iron"]) == "a further treatment"
    assert arm_in_sentence("usual_lessons") == "usual lessons"
    assert arm_in_sentence("CBT") == "CBT"
    title = "Response to iron, 1 predictor, pooled over populations and trials"
    assert given_title(["iron", "saline"], 1) == title
    assert arm_style({"control": True})[1] != arm_style({"control": False})[1]


@pytest.mark.parametrize(
    ("k", "words"), [(0.5, "0.50"), (-np.inf, "none"), (np.inf, "infinite"), (None, "infinite")]
)
def test_a_pareto_k_in_words(k, words):
    assert pareto_words(k) == words


def test_draws_without_a_density_are_refused_in_words():
    fit = KINDS["own patients"]().fit
    design = design_of(fit)
    fold = folds_of(design, "trial")[0]
    few = {name: values[:2].copy() for name, values in fit.parameters.items()}
    few["predictor_location"][:] = 1e200
    with np.errstate(all="ignore"), pytest.raises(kp.DataError, match="no draws of its posterior"):
        fold_log_density(design, fold, few)
