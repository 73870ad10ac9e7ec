"""A weight is a power on the likelihood of its row, of the outcome and of the predictors."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bernoulli, norm

import ketpredict as kp
from ketpredict.checks import predictive_table
from ketpredict.compiled import compile_design
from ketpredict.design import encode
from ketpredict.evidence import make_evidence, select_horizons
from ketpredict.expansion import expand
from ketpredict.predictors import load_predictors
from ketpredict.unit_outcome import unit_probability

REFERENCES = load_predictors()
SPEC = kp.load_spec("published").with_predictors(("bmi", "family_history_aud"))


def design_of(table):
    evidence = make_evidence(participants=table, predictors=SPEC.predictors)
    return encode(SPEC, select_horizons(evidence, SPEC.horizons), REFERENCES)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(8)
    return pd.DataFrame(
        {
            "trial": np.repeat(["A", "B", "C"], 8),
            "population": "unipolar_depression",
            "bmi": rng.normal(28, 5, 24).round(2),
            "family_history_aud": rng.integers(0, 2, 24).astype(float),
            "response": rng.integers(0, 2, 24).astype(float),
        }
    )


@pytest.mark.parametrize("row", [0, 9, 23])
def test_the_density_is_affine_in_the_weight_of_a_row(table, row):
    """Its slope is the row's log likelihood, written here by SciPy: outcome, BMI and family."""
    weights = (0.5, 1.0, 3.25)
    densities = []
    for weight in weights:
        all_weights = np.ones(len(table))
        all_weights[row] = weight
        design = design_of(table.assign(sample_weight=all_weights))
        compiled = compile_design(design)
        layout = compiled.model.layout
        point = 0.4 * np.random.default_rng(1).normal(size=layout.n_dimensions)
        densities.append(compiled.log_density(point)[0])
    slope = (densities[1] - densities[0]) / 0.5
    assert (densities[2] - densities[1]) / 2.25 == pytest.approx(slope, abs=1e-7)

    parameters = {name: value[None] for name, value in expand(design, layout, point).items()}
    own = table.iloc[row]
    unit = int(
        np.flatnonzero(
            np.isclose(design.units.value[:, 0], REFERENCES["bmi"].to_scale(own["bmi"]))
        )[0]
    )
    probability = unit_probability(parameters, design)[0, unit]
    law = design.units.law_idx[unit]
    mean_cell, rate_cell = design.mean_cell[law]
    trial_mean = parameters["trial_mean"][0]
    shift = parameters["binary_shift"][0, 0, 0]
    centre = REFERENCES["family_history_aud"].centre
    family = own["family_history_aud"]
    mean = trial_mean[mean_cell] + shift * (family - centre)
    expected = (
        bernoulli(probability).logpmf(own["response"])
        + norm(mean, np.sqrt(parameters["predictor_covariance"][0, 0, 0])).logpdf(
            REFERENCES["bmi"].to_scale(own["bmi"])
        )
        + bernoulli(norm.cdf(trial_mean[rate_cell])).logpmf(family)
    )
    assert slope == pytest.approx(expected, abs=1e-7)


def test_units_and_people_carry_the_weights(table):
    weight = np.linspace(0.0, 2.3, len(table))
    design = design_of(table.assign(sample_weight=weight))
    assert len(design.units) == len(table) - 1  # the row of weight 0 is none
    assert design.units.n.sum() == pytest.approx(weight.sum())
    assert design.units.responders.sum() == pytest.approx((weight * table["response"]).sum())
    assert design.people.weight.sum() == pytest.approx(weight.sum())


def test_a_trial_of_weight_zero_is_unknown(table):
    weight = np.where(table["trial"] == "B", 0.0, 1.0)
    assert design_of(table.assign(sample_weight=weight)).trials == ("A", "C")


def test_periods_of_a_patient_share_their_weight(table):
    twice = pd.concat([table.assign(period="1"), table.assign(period="2")], ignore_index=True)
    twice["participant"] = np.tile(np.arange(len(table)), 2).astype(str)
    design = design_of(twice.assign(sample_weight=2.0))
    assert design.people.weight.sum() == pytest.approx(2.0 * len(table))
    assert design.units.n.sum() == pytest.approx(4.0 * len(table))


@pytest.mark.draws
@pytest.mark.filterwarnings("ignore::ketpredict.errors.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::ketpredict.errors.EvidenceWarning")
def test_there_are_no_replicates_of_broken_patients(table, tmp_path):
    model = kp.KetamineResponseClassifier(
        evidence=None, draws=50, tune=100, chains=1, random_state=0
    )
    fit = model.fit(table, sample_weight=np.full(len(table), 0.7)).fit_
    assert "responders" in fit.groups["log_likelihood"]
    assert "posterior_predictive" not in fit.groups
    with pytest.raises(kp.DataError, match="not whole numbers"):
        predictive_table(fit)
