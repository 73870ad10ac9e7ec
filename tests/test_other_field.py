"""Data of other fields: own columns, own arms, and what other packages make of them.

``tests/data/README.md`` says what they are and where they come from.
"""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

import ketpredict as kp
import monte_carlo
from ketpredict.errors import ConvergenceWarning, EvidenceWarning
from ketpredict.predict import response_draws

DATA = Path(__file__).parent / "data"
SAMPLER = {"draws": 500, "tune": 500, "chains": 2, "target_accept": 0.9, "random_state": 4}


def one_row_each(counts, successes):
    """Return one row for each person behind a table of successes of n."""
    rest = counts.drop(columns=[successes, "n"])
    yes = rest.loc[counts.index.repeat(counts[successes])].assign(outcome=1)
    no = rest.loc[counts.index.repeat(counts["n"] - counts[successes])].assign(outcome=0)
    return pd.concat([yes, no], ignore_index=True)


def fitted(people, *columns, **arguments):
    classifier = kp.KetamineResponseClassifier(**SAMPLER, **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 500 draws are few, and enough here
        return classifier.fit(people[list(columns)], people["outcome"].to_numpy())


def draws(classifier, rows):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return response_draws(classifier.fit_, classifier.encode(rows))


@pytest.fixture(scope="module")
def clinics():
    counts = pd.read_csv(DATA / "beitler_landis_1985.csv")
    counts["clinic"] = "clinic " + counts["clinic"].astype(str)
    counts["arm_class"] = counts["treatment"].map({"drug": "active", "control": "inert_control"})
    return counts


@pytest.fixture(scope="module")
def clinic_fit(clinics):
    people = one_row_each(clinics, "successes")
    return fitted(
        people, "clinic", "treatment", "arm_class",
        trial="clinic", arm="treatment", predictors=(), evidence=None,
    )  # fmt: skip


def test_arms_of_another_field_are_compared_with_its_active_one(clinic_fit):
    assert clinic_fit.fit_.coords["arm"] == ["drug", "control"]
    assert clinic_fit.fit_.facts["arm_class"] == ["active", "inert_control"]
    effect = clinic_fit.fit_.groups["posterior"]["arm_effect"]
    assert (effect[..., 0] == 0).all()
    assert len(clinic_fit.fit_.coords["population"]) == 1


def test_a_missing_arm_is_the_reference(clinic_fit, clinics):
    rows = clinics.loc[clinics["treatment"] == "drug", ["clinic", "treatment"]]
    without = rows.assign(treatment=None)
    assert np.array_equal(draws(clinic_fit, rows), draws(clinic_fit, without))


def test_an_unknown_arm_must_say_its_class(clinics):
    people = one_row_each(clinics, "successes")[["clinic", "treatment"]]
    classifier = kp.KetamineResponseClassifier(trial="clinic", arm="treatment", predictors=())
    with pytest.raises(kp.DataError, match=r"Unknown arms: control, drug.*arm_class"):
        classifier.fit(people, np.zeros(len(people)))


@pytest.mark.slow
def test_clinics_against_bambi(clinic_fit, clinics):
    """The same hierarchy in bambi, with its own wording of it: probit, clinics crossed with arm.

    Priors are those of ``models/published.toml`` where bambi can say them. They differ in what is
    left: here a population of its own and a deviation within the class of arms stand beside the
    intercept and the class mean, and the clinics' difference between arms is coded -1/2, +1/2 in
    both. So each probability is held to half a posterior SD, and to a ratio of SDs of 1.25.
    """
    bmb = pytest.importorskip("bambi")
    table = clinics.assign(
        half=np.where(clinics["treatment"] == "drug", 0.5, -0.5),
        control=(clinics["treatment"] == "control").astype(float),
    )
    spread = bmb.Prior("HalfNormal", sigma=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bambi's own
        model = bmb.Model(
            "p(successes, n) ~ 1 + control + (1 | clinic) + (0 + half | clinic)",
            table,
            family="binomial",
            link="probit",
            center_predictors=False,
            priors={
                "Intercept": bmb.Prior("Normal", mu=0, sigma=1.1),
                "control": bmb.Prior("Normal", mu=-1, sigma=0.75),
                "1|clinic": bmb.Prior("Normal", mu=0, sigma=spread),
                "half|clinic": bmb.Prior("Normal", mu=0, sigma=spread),
            },
        )
        result = model.fit(
            draws=1000, tune=1000, chains=2, random_seed=3, progressbar=False, target_accept=0.95
        )
        model.predict(result, kind="response_params")
    other = result["posterior"]["p"].to_numpy().reshape(-1, len(table))
    own = draws(clinic_fit, clinics[["clinic", "treatment"]])
    apart = np.abs(own.mean(axis=0) - other.mean(axis=0)) / other.std(axis=0)
    assert apart.max() < 0.5
    ratio = own.std(axis=0) / other.std(axis=0)
    assert 0.8 < ratio.min() <= ratio.max() < 1.25


def test_clinics_against_their_own_counts(clinic_fit, clinics):
    """The effect of the drug, averaged over patients, against the Mantel-Haenszel estimate.

    The common risk difference (Greenland and Robins 1985, Biometrics 41:55) assumes no prior and
    no hierarchy; with 273 patients the two stand within one posterior SD.
    """
    wide = clinics.pivot(index="clinic", columns="treatment", values=["successes", "n"])
    (x1, x0), (n1, n0) = (
        [wide[name][arm].to_numpy() for arm in ("drug", "control")] for name in ("successes", "n")
    )
    weight = n1 * n0 / (n1 + n0)
    difference = (weight * (x1 / n1 - x0 / n0)).sum() / weight.sum()
    rows = clinics[["clinic", "treatment"]]
    drug, control = (draws(clinic_fit, rows.assign(treatment=arm)) for arm in ("drug", "control"))
    share = np.repeat(weight, 2) / (2 * weight.sum())
    effect = (drug - control) @ share
    near(effect, difference, 1, clinic_fit)
    error = monte_carlo.of_sd(monte_carlo.by_chain(effect, clinic_fit.fit_))
    monte_carlo.below(effect.std(), 0.07, error)


@pytest.fixture(scope="module")
def departments():
    counts = pd.read_csv(DATA / "bickel_1975.csv").rename(columns={"female": "woman"})
    people = one_row_each(counts, "admitted")
    chosen = np.random.default_rng(0).permutation(len(people))[:1500]
    return people.iloc[np.sort(chosen)].reset_index(drop=True)


@pytest.mark.draws
def test_departments_with_sex_missing_against_logistic_regression(departments):
    """Admission by department and sex, sex unknown for a third of the applicants.

    The other fit is scikit-learn's logistic regression on everybody's sex, department by
    department: no prior, no hierarchy, nothing missing. Its admission rates are within three
    posterior SDs of every department's (pooling moves the smallest most), and the difference
    between the sexes, averaged over applicants, within two.
    """
    known = np.random.default_rng(1).random(len(departments)) > 1 / 3
    hidden = departments.assign(woman=departments["woman"].where(known))
    with pytest.warns(EvidenceWarning, match="rests on your rows alone"):
        own = fitted(hidden, "department", "woman", trial="department")
    assert [p.name for p in own.fit_.predictors] == ["woman"]
    assert own.fit_.predictors[0].kind == "binary"
    everybody = departments[["department", "woman"]]
    women, men = (draws(own, everybody.assign(woman=sex)) for sex in (1, 0))
    other = {
        name: LogisticRegression(C=np.inf, max_iter=1000).fit(rows[["woman"]], rows["outcome"])
        for name, rows in departments.groupby("department")
    }
    effect = (women - men).mean(axis=1)
    logistic = 0.0
    for name, model in other.items():
        here = (everybody["department"] == name).to_numpy()
        both = model.predict_proba(pd.DataFrame({"woman": [1, 0]}))[:, 1]
        logistic += here.mean() * (both[0] - both[1])
        share = everybody.loc[here, "woman"].mean()
        rate = (share * women[:, here] + (1 - share) * men[:, here]).mean(axis=1)
        near(rate, share * both[0] + (1 - share) * both[1], 3, own)
    near(effect, logistic, 2, own)
    error = monte_carlo.of_sd(monte_carlo.by_chain(effect, own.fit_))
    monte_carlo.below(effect.std(), 0.05, error)


def near(values, expected, spreads, classifier):
    """Assert that the mean of draws lies within so many of their SDs of a number."""
    chains = monte_carlo.by_chain(values, classifier.fit_)
    of_both = np.hypot(monte_carlo.of_mean(chains), spreads * monte_carlo.of_sd(chains))
    monte_carlo.below(abs(values.mean() - expected), spreads * values.std(), of_both)
