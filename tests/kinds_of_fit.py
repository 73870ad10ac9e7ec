"""Small fits of every kind, for the test that asks each of them every public question.

None is precise: 2 chains of 100 draws, or fewer. What is asked of them is that answers agree with
each other, that labels are right, and that nothing of one field is said of another.
"""

from __future__ import annotations

import dataclasses
import functools
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

import ketpredict as kp
from ketpredict.errors import KetpredictWarning
from ketpredict.spec import load_spec
from report_fits import thinned

SETTINGS = {"draws": 100, "tune": 150, "chains": 2, "target_accept": 0.9, "random_state": 1}
NAMES = ("bmi", "family_history_aud")


@dataclasses.dataclass(frozen=True)
class Kind:
    """A fit, patients to ask it about, and the counts of a new trial.

    Parameters
    ----------
    classifier : KetamineResponseClassifier
    patients : DataFrame
        The first in a known trial, the second in one that the fit has not seen.
    counts : DataFrame
        Arms of a trial that the fit has not seen.
    words : tuple of str
        Names of the field, which must stand in pictures and reports.
    own_field : bool
        Whether the data are of this package's field.
    """

    classifier: Any
    patients: pd.DataFrame
    counts: pd.DataFrame
    words: tuple[str, ...]
    own_field: bool = True

    @property
    def fit(self) -> Any:
        """The posterior."""
        return self.classifier.fit_


def fitted(table: Any, outcome: Any = None, **arguments: Any) -> Any:
    """Return a rough fit, without a word on its roughness."""
    weights = arguments.pop("sample_weight", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KetpredictWarning)
        classifier = kp.KetamineResponseClassifier(**{**SETTINGS, **arguments})
        return classifier.fit(table, outcome, weights)


@functools.cache
def simulated(populations: tuple[str, ...], arms: tuple[str, ...], trials: int = 3) -> Any:
    return kp.simulate(
        trials=trials, patients=12, published_trials=0, predictors=NAMES, populations=populations,
        arms=arms, missing=0.2, within_range=True, random_state=4,
    ).participants  # fmt: skip


def this_field(**changes: Any) -> pd.DataFrame:
    """Return patients of this package's field."""
    asked = {
        "populations": ("unipolar_depression", "bipolar_depression"),
        "arms": ("ketamine", "saline"),
    }
    return simulated(**{**asked, **changes})


def asked_about(table: pd.DataFrame, arm: str | None) -> pd.DataFrame:
    """Return two patients like the first of a table: in its trial, and in a new one."""
    first = table.iloc[[0, 0]].drop(columns=["response", "sample_weight"], errors="ignore")
    first = first.assign(trial=[table["trial"].iloc[0], "a new one"], arm=arm)
    kept = [name for name in first if name not in ("participant", "hours", "period")]
    return first[kept].reset_index(drop=True)


def counted(population: str, *arms: str) -> pd.DataFrame:
    """Return the counts of a trial."""
    return pd.DataFrame(
        {
            "trial": "site nine",
            "population": population,
            "arm": list(arms),
            "hours": 24.0,
            "n": [20, 18][: len(arms)],
            "responders": [11, 4][: len(arms)],
        }
    )


def of_patients(table: pd.DataFrame, *words: str, **arguments: Any) -> Kind:
    classifier = fitted(table, evidence=None, **arguments)
    arms = classifier.fit_.coords["arm"]
    return Kind(
        classifier,
        asked_about(table, arms[0]),
        counted(table["population"].iloc[0], *arms[:2]),
        (*classifier.fit_.coords["trial"], *words),
    )


def published() -> Kind:
    shipped = kp.load("published")
    fit = thinned(shipped.fit_, shipped.fit_.n_draws // 200)
    few = {**fit.facts["provenance"]["sampler"], "inference": "laplace", "draws": 100}
    provenance = {**fit.facts["provenance"], "sampler": few}  # so that it is sampled again soon
    fit = dataclasses.replace(fit, facts={**fit.facts, "provenance": provenance})
    classifier = kp.KetamineResponseClassifier.from_posterior(fit)
    patients = pd.DataFrame(
        {
            "trial": ["Murrough_2013", "a new one"],
            "population": "unipolar_depression",
            "arm": "ketamine",
            "bmi": [24.0, 36.0],
        }
    )
    patients["trial"] = [fit.coords["trial"][0], "a new one"]
    return Kind(classifier, patients, counted("unipolar_depression", "ketamine", "saline"), ())


def with_published_evidence() -> Kind:
    table = this_field()
    classifier = fitted(table, predictors=NAMES, inference="laplace")
    return Kind(
        classifier,
        asked_about(table, "ketamine"),
        counted("unipolar_depression", "ketamine", "saline"),
        tuple(sorted(set(table["trial"]))),
    )


def own_patients() -> Kind:
    return of_patients(this_field(), predictors=NAMES)


SUBJECTS, SCHOOLS = ("reading", "writing"), ("school A", "school B", "school C")


def pupils() -> tuple[pd.DataFrame, np.ndarray]:
    """Return pupils of three schools in two subjects, and whether they passed."""
    rng = np.random.default_rng(7)
    rows = 84
    table = pd.DataFrame(
        {
            "trial": np.repeat(SCHOOLS, rows // 3),
            "population": np.tile(SUBJECTS, rows // 2),
            "arm": np.tile(np.repeat(["usual lessons", "tutoring"], 2), rows // 4),
            "lessons": rng.normal(20.0, 5.0, rows).round(1),
            "girl": rng.integers(0, 2, rows).astype(float),
        }
    )
    table["arm_class"] = table["arm"].map({"usual lessons": "inert_control", "tutoring": "active"})
    table.loc[::9, "lessons"] = np.nan
    linear = 0.1 * (table["lessons"].fillna(20.0) - 20.0) + 1.0 * (table["arm"] == "tutoring") - 0.5
    passed = rng.normal(size=rows) < linear
    return table, np.where(passed, "passed", "failed")


def other_field(**arguments: Any) -> Kind:
    table, outcome = pupils()
    classifier = fitted(table, outcome, evidence=None, response_label="passed", **arguments)
    patients = table.iloc[[2, 2]].reset_index(drop=True).assign(trial=["school A", "school Z"])
    return Kind(
        classifier,
        patients,
        counted("reading", "tutoring", "usual lessons"),
        (*SCHOOLS, "Tutoring", "Usual lessons", "Reading", "Writing"),
        own_field=False,
    )


def no_arms_named() -> Kind:
    """Return pupils all of whom had the same lessons, which no column names."""
    table, outcome = pupils()
    table = table.drop(columns=["arm", "arm_class"])
    classifier = fitted(table, outcome, evidence=None, response_label="passed")
    arm = classifier.fit_.coords["arm"][0]
    return Kind(
        classifier,
        table.iloc[[2, 2]].reset_index(drop=True).assign(trial=["school A", "school Z"]),
        counted("reading", arm),
        (*SCHOOLS, "Reading", "Writing"),
        own_field=False,
    )


def published_arms(*, effects: bool = False) -> Any:
    """Return arms of four trials; with published effects, two cohorts on BMI."""
    arms = pd.DataFrame(
        {
            "trial": np.repeat(["Alpha 2010", "Beta 2012", "Gamma 2014", "Delta 2016"], 2),
            "population": ["unipolar_depression"] * 4 + ["bipolar_depression"] * 4,
            "arm": ["ketamine", "saline"] * 4,
            "hours": 24.0,
            "n": [20, 19, 15, 15, 30, 28, 12, 13],
            "responders": [12, 3, 7, 2, 20, 5, 5, 1],
            "bmi_mean": [27, 28, 25, 25, 30, 31, 26, 26],
            "bmi_sd": [5.0] * 8,
        }
    )
    associations = kp.load_evidence("published").associations
    some = associations[associations["predictor"].isin(NAMES)].reset_index(drop=True)
    return kp.make_evidence(arms=arms, associations=some if effects else None, predictors=("bmi",))


def arms_only(**arguments: Any) -> Kind:
    effects = arguments.pop("effects", False)
    predictors = NAMES if effects else ("bmi",)
    classifier = fitted(
        None, evidence=published_arms(effects=effects), predictors=predictors, **arguments
    )
    patients = pd.DataFrame(
        {
            "trial": ["Alpha 2010", "a new one"],
            "population": "unipolar_depression",
            "arm": "ketamine",
            "bmi": [31.0, 31.0],
        }
    )
    return Kind(
        classifier,
        patients,
        counted("unipolar_depression", "ketamine", "saline"),
        ("Alpha 2010", "Delta 2016"),
    )


def fractional_weights() -> Kind:
    table = this_field()
    weights = np.random.default_rng(2).uniform(0.3, 1.7, len(table))
    return of_patients(table, sample_weight=weights, predictors=NAMES)


def powers_of_zero() -> Kind:
    spec = load_spec("published")
    none = dataclasses.replace(spec.literature, unreplicated_power=0.0, overlap_power=0.0)
    return arms_only(model=dataclasses.replace(spec, literature=none), effects=True)


def labels_as_categories() -> Kind:
    table = this_field().drop(columns=["family_history_aud"])
    table["smoking"] = np.resize(["never", "former", "now"], len(table))
    return of_patients(table, "former", predictors=("bmi", "smoking"))


def logit() -> Kind:
    return of_patients(this_field(), model="odds_ratios", predictors=NAMES)


def no_predictors() -> Kind:
    return of_patients(this_field(), predictors=())


def one_population() -> Kind:
    return of_patients(this_field(populations=("unipolar_depression",)), predictors=NAMES)


def one_trial() -> Kind:
    return of_patients(this_field(populations=("unipolar_depression",), trials=1), predictors=NAMES)


def one_arm_class() -> Kind:
    return of_patients(this_field(arms=("ketamine",)), predictors=NAMES)


def after_update() -> Kind:
    before = KINDS["own patients"]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KetpredictWarning)
        classifier = before.classifier.update(before.counts)
    counts = before.counts.assign(trial="site ten")
    return dataclasses.replace(
        before, classifier=classifier, counts=counts, words=(*before.words, "Site nine")
    )


def loaded() -> Kind:
    before = KINDS["other field"]()
    with tempfile.TemporaryDirectory() as folder:
        classifier = kp.load(before.classifier.save(Path(folder) / "fit.nc"))
    return dataclasses.replace(before, classifier=classifier)


def polars_table() -> Kind:
    before = KINDS["own patients"]()
    classifier = fitted(pl.from_pandas(this_field()), evidence=None, predictors=NAMES)
    return dataclasses.replace(before, classifier=classifier)


KINDS: dict[str, Callable[[], Kind]] = {
    name: functools.cache(make)
    for name, make in {
        "published": published,
        "own patients": own_patients,
        "with published evidence": with_published_evidence,
        "other field": other_field,
        "other field, no arms named": no_arms_named,
        "arms only": arms_only,
        "fractional weights": fractional_weights,
        "powers of zero": powers_of_zero,
        "labels as categories": labels_as_categories,
        "logit": logit,
        "no predictors": no_predictors,
        "one population": one_population,
        "one trial": one_trial,
        "one arm class": one_arm_class,
        "after update": after_update,
        "loaded": loaded,
        "laplace": functools.partial(other_field, inference="laplace"),
        "polars table": polars_table,
    }.items()
}
