"""A design without a trial, the way back to the kernel's points, densities of what is left out."""

import dataclasses

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import binom, norm

import ketpredict as kp
from ketpredict.design import encode
from ketpredict.errors import DataError
from ketpredict.evidence import load_evidence, select_horizons
from ketpredict.expansion import expand
from ketpredict.held_out_density import fold_log_density
from ketpredict.layout import lay_out
from ketpredict.left_out import folds_of, nothing, only, without
from ketpredict.predictors import load_predictors
from ketpredict.spec import load_spec
from ketpredict.unconstrained import to_points


def simulated(predictors, **options):
    defaults = {
        "trials": 6, "patients": 5, "published_trials": 2, "missing": 0.2,
        "missing_outcome": 0.1, "missing_blocks": 0.3, "random_state": 4,
    }  # fmt: skip
    data = kp.simulate(predictors=predictors, **(defaults | options))
    references = {predictor.name: predictor for predictor in data.predictors}
    return data.spec, data.evidence(), references


def encoded(spec, evidence, references):
    return encode(spec, select_horizons(evidence, spec.horizons), references)


def minus(evidence, trials):
    def kept(table):
        return table[~table["trial"].isin(trials)].reset_index(drop=True)

    return dataclasses.replace(
        evidence, participants=kept(evidence.participants), arms=kept(evidence.arms)
    )


def same(one, other):
    """Compare two designs field by field, but for what was said of each association."""
    for field in dataclasses.fields(one):
        if field.name == "effect_fates":
            continue
        a, b = getattr(one, field.name), getattr(other, field.name)
        if dataclasses.is_dataclass(a) and field.name != "spec":
            for inner in dataclasses.fields(a):
                left, right = getattr(a, inner.name), getattr(b, inner.name)
                assert np.array_equal(left, right, equal_nan=True), (field.name, inner.name)
        elif isinstance(a, np.ndarray):
            assert np.array_equal(a, b, equal_nan=True), field.name
        else:
            assert a == b, field.name


def test_a_design_without_a_trial_is_that_of_the_evidence_without_it():
    names = ("bmi", "bdnf", "family_history_aud", "suicide_attempt_history")
    spec, evidence, references = simulated(names)
    design = encoded(spec, evidence, references)
    folds = folds_of(design)
    assert [fold.name for fold in folds] == list(design.trials)
    for fold in folds:
        same(without(design, fold), encoded(spec, minus(evidence, [fold.name]), references))


def test_a_design_without_a_population_keeps_its_label():
    spec, evidence, references = simulated(("bmi",))
    design = encoded(spec, evidence, references)
    fold = folds_of(design, "population")[0]
    rest = without(design, fold)
    assert rest.populations == design.populations
    assert fold.population == design.populations.index(fold.name)
    assert set(rest.labels()["population"]) == set(design.populations) - {fold.name}


def test_published_effects_of_the_left_out_cohort_leave_with_it():
    spec = load_spec("published")
    design = encoded(spec, load_evidence(), load_predictors())
    folds = {fold.name: fold for fold in folds_of(design)}
    fold = folds["rybakowski_2013"]
    gone = [design.effect_labels[i] for i in np.flatnonzero(fold.effects)]
    assert gone
    assert all(name.startswith("poznan: bdnf") for name in gone)
    rest = without(design, fold)
    assert set(rest.effect_labels) == set(design.effect_labels) - set(gone)
    assert len(rest.effects.group_predictor) == len(rest.effect_groups)
    named = [rest.effect_groups[g] for g in rest.effects.group_idx]
    assert [label.split(" at ")[0] for label in rest.effect_labels] == named
    assert lay_out(rest).n_dimensions < lay_out(design).n_dimensions
    assert not folds["zheng_2019"].effects.any()


def test_nothing_to_learn_from_is_an_error():
    spec, evidence, references = simulated(("bmi",), trials=2, published_trials=0)
    design = encoded(spec, evidence, references)
    one = encoded(spec, minus(evidence, [design.trials[0]]), references)
    with pytest.raises(DataError, match="leaves no outcome to learn from"):
        folds_of(one)
    with pytest.raises(DataError, match="expected 'trial' or 'population'"):
        folds_of(design, "arm")


@pytest.mark.parametrize(
    "names", [(), ("bmi",), ("bmi", "bdnf", "family_history_aud", "suicide_attempt_history")]
)
def test_points_and_parameters_are_two_forms_of_the_same(names):
    design = nothing(encoded(*simulated(names)))
    layout = lay_out(design)
    points = np.random.default_rng(1).normal(0.0, 0.7, (5, layout.n_dimensions))
    parameters = expand(design, layout, points)
    assert to_points(design, layout, parameters) == pytest.approx(points, abs=1e-9)


# ------------------------------------------------------------------------------- densities
#
# Brute force: sums over a grid of everything that the trial has of its own, each factor written
# from the model's definition.

AXIS = np.linspace(-6.0, 6.0, 31)
MASS = np.exp(-0.5 * AXIS**2) / np.exp(-0.5 * AXIS**2).sum()


def prior_draws(design, count=3):
    layout = lay_out(nothing(design))
    points = np.random.default_rng(2).normal(0.0, 0.5, (count, layout.n_dimensions))
    return expand(nothing(design), layout, points)


def level(design, value, unit, effect, deviation):
    """Return the linear predictor without predictors, at effects of the trial."""
    units = design.units
    total = value["intercept"] + value["population_effect"][units.population_idx[unit]]
    total = total + value["arm_effect"][units.arm_idx[unit]]
    sign = 0.5 if units.active[unit] else -0.5
    return total + effect + sign * deviation


def grid(*scales):
    """Return a mesh over independent normals and the mass of its points."""
    mesh = np.meshgrid(*[AXIS] * len(scales), indexing="ij", sparse=True)
    mass = 1.0
    for axis in range(len(scales)):
        shape = [1] * len(scales)
        shape[axis] = -1
        mass = mass * MASS.reshape(shape)
    return [scale * part for scale, part in zip(scales, mesh, strict=True)], mass


def test_density_without_predictors_is_the_sum_over_effects():
    design = encoded(*simulated((), missing=0.0, missing_blocks=0.0))
    parameters = prior_draws(design)
    for fold in (folds_of(design)[0], folds_of(design)[-1]):
        found = fold_log_density(design, fold, parameters, points=256)
        for s in range(3):
            value = {name: array[s] for name, array in parameters.items()}
            (v, d), mass = grid(value["trial_scale"], value["treatment_scale"])
            inside = np.ones((31, 31))
            for unit in fold.units:
                p = ndtr(level(design, value, unit, v, d))
                n, r = design.units.n[unit], design.units.responders[unit]
                is_arm = design.units.is_arm[unit]
                inside = inside * (binom.pmf(r, n, p) if is_arm else p**r * (1.0 - p) ** (n - r))
            exact = np.log((inside * mass).sum())
            assert found.value[s] == pytest.approx(exact, abs=max(4.0 * found.error[s], 0.002))
            assert found.error[s] < 0.05


def test_density_of_a_population_shares_its_effect_over_trials():
    design = encoded(*simulated((), missing=0.0, missing_blocks=0.0, trials=4, published_trials=0))
    parameters = prior_draws(design)
    fold = folds_of(design, "population")[0]
    found = fold_log_density(design, fold, parameters, points=512)
    for s in range(3):
        value = {name: array[s] for name, array in parameters.items()}
        value["population_effect"] = np.zeros(2)
        (u, v, d), _ = grid(
            value["population_scale"], value["trial_scale"], value["treatment_scale"]
        )
        product = np.ones(31)
        for trial in np.flatnonzero(fold.trials):
            inside = np.ones((31, 31, 31))
            for unit in fold.units[design.units.trial_idx[fold.units] == trial]:
                p = ndtr(level(design, value, unit, u + v, d))
                r, n = design.units.responders[unit], design.units.n[unit]
                inside = inside * p**r * (1.0 - p) ** (n - r)
            product = product * np.einsum("uvd,v,d->u", inside, MASS, MASS)
        exact = np.log(product @ MASS)
        assert found.value[s] == pytest.approx(exact, abs=max(4.0 * found.error[s], 0.002))


@pytest.mark.parametrize("name", ["bmi", "bdnf", "family_history_aud"])
def test_density_with_one_predictor_is_the_sum_over_all_that_is_the_trials_own(name):
    """Effects, slope and the predictor's mean or rate; some patients do not tell the predictor."""
    spec, evidence, references = simulated((name,), missing=0.4, missing_blocks=0.0)
    design = encoded(spec, evidence, references)
    parameters = prior_draws(design)
    fold = folds_of(design)[1]
    assert np.isnan(design.units.value[fold.units]).any()
    found = fold_log_density(design, fold, parameters, points=512)
    alone = fold_log_density(design, fold, parameters, points=512, outcomes=False)
    for s in range(2):
        value = {key: array[s] for key, array in parameters.items()}
        exact, of_predictor = integrated(design, fold, value)
        assert found.value[s] == pytest.approx(exact, abs=max(4.0 * found.error[s], 0.003))
        assert alone.value[s] == pytest.approx(of_predictor, abs=max(4.0 * alone.error[s], 0.003))


def integrated(design, fold, value):
    """Return the log densities of a fold of patients with one predictor, by brute force."""
    (predictor,) = design.predictors
    parts = design.spec.slope_parts()
    binary = predictor.kind == "binary"
    location = value["predictor_location"][0]
    if binary:
        location = location + norm.ppf(predictor.centre) * np.sqrt(
            1.0 + predictor.between_trial_sd**2
        )
    variance = 0.0 if binary else value["predictor_covariance"][0, 0]
    people, trial = design.people, int(np.flatnonzero(fold.trials)[0])
    mine = people.trial_idx == trial
    told, weight = people.value[mine, 0], people.weight[mine]
    # The mean's own axis lies where the patients put it.
    axis = location + value["predictor_between_scale"][0] * np.linspace(-6.0, 6.0, 2401)
    log_mean = norm.logpdf(axis, location, value["predictor_between_scale"][0])
    for x, count in zip(told, weight, strict=True):
        if not np.isnan(x):
            if binary:
                one = np.log(ndtr(axis)) if x == 1.0 else np.log(ndtr(-axis))
            else:
                one = norm.logpdf(x, axis, np.sqrt(variance))
            log_mean = log_mean + count * one
    mass = np.exp(log_mean) * (axis[1] - axis[0])
    of_predictor = np.log(mass.sum())
    mu = np.linspace(*np.interp([1e-8, 1.0 - 1e-8], np.cumsum(mass) / mass.sum(), axis), 31)
    of_mean = np.interp(mu, axis, np.exp(log_mean - log_mean.max()))
    of_mean = of_mean / of_mean.sum()
    slope_scale = value["slope_scale"][parts.index("trial"), 0]
    (v, d, c), _ = grid(value["trial_scale"], value["treatment_scale"], slope_scale)
    v, d, c = v[..., None], d[..., None], c[..., None]
    inside = np.ones((31, 31, 31, 31))
    for unit in fold.units:
        active = design.units.active[unit]
        slope = value["prognostic_slope"][0] + active * value["predictive_slope"][0]
        slope = slope + value["population_slope"][design.units.population_idx[unit], 0] + c
        x = design.units.value[unit, 0]
        eta = level(design, value, unit, v, d)
        across = value["across_slope"][0]
        if binary:
            rate = ndtr(mu)
            eta = eta + across * (rate - predictor.centre)
            have, lack = (
                ndtr(eta + slope * (1.0 - predictor.centre)),
                ndtr(eta - slope * predictor.centre),
            )
            p = rate * have + (1.0 - rate) * lack
            if not np.isnan(x):
                p = have if x == 1.0 else lack
        else:
            eta = eta + across * mu
            origin = mu if predictor.assay_dependent else 0.0
            if np.isnan(x):
                p = ndtr((eta + slope * (mu - origin)) / np.sqrt(1.0 + slope**2 * variance))
            else:
                p = ndtr(eta + slope * (x - origin))
        n, r = design.units.n[unit], design.units.responders[unit]
        inside *= p**r * (1.0 - p) ** (n - r)
    total = np.einsum("vdcm,v,d,c,m->", inside, MASS, MASS, MASS, of_mean, optimize=True)
    return of_predictor + np.log(total), of_predictor


def test_the_fold_alone_holds_its_data_alone():
    design = encoded(*simulated(("bmi", "family_history_aud")))
    fold = folds_of(design)[-1]
    assert set(only(design, fold).labels()["trial"]) == {fold.name}
    silent = only(design, fold, outcomes=False)
    assert (silent.units.n == 0).all()
    assert (silent.units.weight > 0).all()
    assert len(nothing(design).units) == 0
