"""Model specifications: the declarative TOML files of ``models/`` as frozen values.

A specification says *what* the model is (predictors, pooling, horizons, priors). It is data, never
code: no import paths, no expressions. :mod:`ketpredict.graph` says how it becomes a PyMC model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import tomllib
from pathlib import Path
from typing import Any

from ketpredict.errors import SpecificationError
from ketpredict.prior_families import PRIOR_KINDS, SLOPE_PARTS, Prior, read_prior
from ketpredict.resources import models_path
from ketpredict.short_form import ShortForm

SCHEMA = 3
LINKS = ("probit", "logit")
REFERENCE_ARM = "ketamine"
ARM_CLASSES = ("active", "inert_control", "active_control")
CURVES = ("active", "control")
STUDY_TERMS = ("open_label", "enriched", "added_antidepressant")
FULL_THRESHOLD = 50.0
"""Percentage of improvement that defines response where nothing else is said."""
UNNAMED_TRIAL = "(this trial)"
UNNAMED_POPULATION = "(this population)"
UNNAMED_ARM = "(this arm)"
"""The levels of rows that name no trial, no population or, in another field's data, no arm."""


@dataclasses.dataclass(frozen=True)
class Horizons:
    """The horizon window of a model, in hours."""

    reference: float
    window: tuple[float, float]
    repeated_until: float
    knots: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Pooling:
    """Which parts of the model vary between populations and between trials.

    ``across_trial_slope`` gives trial means a slope of their own beside that within trials.
    """

    population_intercept: bool
    trial_intercept: bool
    trial_treatment: bool
    population_slope: bool
    trial_slope: bool
    across_trial_slope: bool


@dataclasses.dataclass(frozen=True)
class Literature:
    """How much published predictor effects count.

    Parameters
    ----------
    unreplicated_power : float
        Power of the likelihood where one cohort alone reports on a predictor; 1 is no discount.
    overlap_power : float
        The same where the cohort may share patients with the patients of the fit.
    error_correlation : float
        Correlation of the sampling errors of one cohort's effects at several horizons.
    """

    unreplicated_power: float
    overlap_power: float
    error_correlation: float


@dataclasses.dataclass(frozen=True, repr=False)
class ModelSpec(ShortForm):
    """A whole model specification, as read from ``models/NAME.toml``.

    Parameters
    ----------
    predictors : tuple of str, or None
        None stands for ``"*"``: every predictor column of the participants.
    """

    name: str
    title: str
    outcome: str
    link: str
    predictors: tuple[str, ...] | None
    horizons: Horizons
    pooling: Pooling
    literature: Literature
    priors: dict[str, Prior]

    def slope_parts(self) -> tuple[str, ...]:
        """Return the parts of a slope that this model has, in the order of ``slope_share``."""
        absent = {
            "population": not self.pooling.population_slope,
            "trial": not self.pooling.trial_slope,
        }
        return tuple(part for part in SLOPE_PARTS if not absent.get(part, False))

    def slope_concentration(self) -> tuple[float, ...]:
        """Return the Dirichlet concentration of :meth:`slope_parts`.

        Leaving parts out of a Dirichlet vector and rescaling the rest is again Dirichlet with the
        remaining concentrations.
        """
        whole = dict(zip(SLOPE_PARTS, self.priors["slope_share"].values, strict=True))
        return tuple(whole[part] for part in self.slope_parts())

    def as_table(self) -> dict[str, Any]:
        """Return the specification as plain dictionaries, lists and numbers (TOML or JSON)."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "title": self.title,
            "outcome": self.outcome,
            "link": self.link,
            "predictors": "*" if self.predictors is None else list(self.predictors),
            "horizons": _listed(dataclasses.asdict(self.horizons)),
            "pooling": dataclasses.asdict(self.pooling),
            "literature": dataclasses.asdict(self.literature),
            "priors": {name: prior.as_table() for name, prior in self.priors.items()},
        }

    def fingerprint(self) -> str:
        """Return the SHA-256 of the canonical form: equal models have equal fingerprints."""
        canonical = json.dumps(self.as_table(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def with_predictors(self, predictors: tuple[str, ...] | None) -> ModelSpec:
        """Return the same model with other predictors."""
        return dataclasses.replace(self, predictors=predictors)

    def with_literature(self, **settings: float) -> ModelSpec:
        """Return the same model with other settings of :class:`Literature`."""
        return self._with("literature", settings)

    def with_pooling(self, **settings: bool) -> ModelSpec:
        """Return the same model with other settings of :class:`Pooling`."""
        return self._with("pooling", settings)

    def with_link(self, link: str) -> ModelSpec:
        """Return the same model with another link; the scale of its priors is not changed."""
        return parse_spec(self.as_table() | {"link": link}, source=f"model '{self.name}', {link}")

    def _with(self, section: str, settings: dict[str, Any]) -> ModelSpec:
        table = self.as_table()
        table[section] = table[section] | settings
        return parse_spec(table, source=f"model '{self.name}' with another {section}")

    def with_priors(self, **priors: Prior) -> ModelSpec:
        """Return the same model with some priors replaced."""
        unknown = sorted(set(priors) - set(self.priors))
        if unknown:
            raise SpecificationError(f"Unknown priors {unknown}; known: {sorted(self.priors)}.")
        wrong = sorted(name for name, prior in priors.items() if not isinstance(prior, Prior))
        if wrong:
            raise SpecificationError(
                f"{', '.join(f'{name} is {priors[name]!r}' for name in wrong)}; expected "
                'ketpredict.Prior("half_normal", (0.5,)) and the like.'
            )
        changed = dataclasses.replace(self, priors={**self.priors, **priors})
        return parse_spec(changed.as_table(), source=f"model '{self.name}' with other priors")


def load_spec(model: str | Path | ModelSpec) -> ModelSpec:
    """Return the specification of a named model, of a TOML file, or the one given.

    Parameters
    ----------
    model : str, Path or ModelSpec
        A name such as ``"published"`` (a file of ``models/``), a path ending in ``.toml``, or a
        specification, which is returned as it is.

    Raises
    ------
    SpecificationError
        No such model, or the file has unknown, missing or impossible entries; the message lists
        all of them.
    """
    if isinstance(model, ModelSpec):
        return model
    if not isinstance(model, (str, Path)):
        raise SpecificationError(
            f"model is {model!r}; expected the name of a model, the path of a .toml file or a "
            "ModelSpec."
        )
    path = Path(model)
    if path.suffix != ".toml":
        path = models_path(f"{model}.toml")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecificationError(f"Model file '{path}' cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SpecificationError(
            f"Model file '{path}' is not UTF-8 text, as TOML is; save it as UTF-8."
        ) from None
    except ValueError as error:
        raise SpecificationError(f"Model file '{path}' cannot be read: {error}.") from None
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecificationError(f"{path.name} is not valid TOML: {error}.") from None
    return parse_spec(table, source=path.name)


def parse_spec(table: dict[str, Any], *, source: str = "specification") -> ModelSpec:
    """Return the specification that a parsed TOML or JSON table describes.

    Raises
    ------
    SpecificationError
        Lists every unknown key, missing key and impossible value of the table.
    """
    problems: list[str] = []
    _check_keys(table, {"schema", *(f.name for f in dataclasses.fields(ModelSpec))}, "", problems)
    if table.get("schema") != SCHEMA:
        problems.append(f"schema is {table.get('schema')!r}; this version reads schema {SCHEMA}")
    if table.get("link") not in LINKS:
        problems.append(f"link is {table.get('link')!r}; expected {' or '.join(map(repr, LINKS))}")
    predictors = _predictors(table.get("predictors"), problems)
    horizons = _horizons(table.get("horizons"), problems)
    pooling = _pooling(table.get("pooling"), problems)
    literature = _literature(table.get("literature"), problems)
    priors = _priors(table.get("priors"), problems)
    if problems or horizons is None or pooling is None or literature is None:
        raise SpecificationError(f"{source}: " + "; ".join(problems) + ".")
    return ModelSpec(
        name=str(table["name"]),
        title=str(table["title"]),
        outcome=str(table["outcome"]),
        link=str(table["link"]),
        predictors=predictors,
        horizons=horizons,
        pooling=pooling,
        literature=literature,
        priors=priors,
    )


def _listed(table: dict[str, Any]) -> dict[str, Any]:
    return {key: list(v) if isinstance(v, tuple) else v for key, v in table.items()}


def _check_keys(table: Any, known: set[str], where: str, problems: list[str]) -> bool:
    """Note unknown and missing keys of a table; return whether it is a table at all."""
    if not isinstance(table, dict):
        problems.append(f"[{where}] is missing" if where else "the file is not a table")
        return False
    place = f" in [{where}]" if where else ""
    for key in sorted(set(table) - known):
        problems.append(f"unknown key '{key}'{place} (known: {', '.join(sorted(known))})")
    for key in sorted(known - set(table)):
        problems.append(f"key '{key}' is missing{place}")
    return True


def _predictors(value: Any, problems: list[str]) -> tuple[str, ...] | None:
    if value == "*" or value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        problems.append(f'predictors is {value!r}; expected a list of names or "*"')
        return ()
    repeated = sorted({name for name in value if value.count(name) > 1})
    if repeated:
        problems.append(f"predictors names {', '.join(repeated)} more than once")
    return tuple(value)


def _horizons(table: Any, problems: list[str]) -> Horizons | None:
    names = {field.name for field in dataclasses.fields(Horizons)}
    if not _check_keys(table, names, "horizons", problems) or set(table) != names:
        return None
    try:
        low, high = (float(hours) for hours in table["window"])
        knots = tuple(float(hours) for hours in table["knots"])
        horizons = Horizons(
            float(table["reference"]), (low, high), float(table["repeated_until"]), knots
        )
    except (TypeError, ValueError):
        problems.append("[horizons] takes numbers of hours; window is [first, last]")
        return None
    if not 0 < low < high < math.inf or not 0 < horizons.repeated_until < math.inf:
        problems.append(
            f"[horizons] window is {table['window']}; expected 0 < first < last hours, "
            "and repeated_until a positive number of hours"
        )
    if list(knots) != sorted(set(knots)) or len(knots) < 2 or (knots[0], knots[-1]) != (low, high):
        problems.append("[horizons] knots must rise from the window's first to its last hour")
    if horizons.reference not in knots:
        problems.append("[horizons] reference must be one of the knots")
    return horizons


def _pooling(table: Any, problems: list[str]) -> Pooling | None:
    names = {field.name for field in dataclasses.fields(Pooling)}
    if not _check_keys(table, names, "pooling", problems) or set(table) != names:
        return None
    for key, value in table.items():
        if not isinstance(value, bool):
            problems.append(f"[pooling] {key} is {value!r}; expected true or false")
    return Pooling(**table)


def _literature(table: Any, problems: list[str]) -> Literature | None:
    names = {field.name for field in dataclasses.fields(Literature)}
    if not _check_keys(table, names, "literature", problems) or set(table) != names:
        return None
    for key, value in table.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (number and 0.0 <= value <= 1.0 and (key != "error_correlation" or value < 1.0)):
            problems.append(f"[literature] {key} is {value!r}; expected a number from 0 to 1")
            return None
    return Literature(**{key: float(value) for key, value in table.items()})


def _priors(table: Any, problems: list[str]) -> dict[str, Prior]:
    if not _check_keys(table, set(PRIOR_KINDS), "priors", problems):
        return {}
    priors = {}
    for name, kinds in PRIOR_KINDS.items():
        if name in table:
            prior = read_prior(name, table[name], kinds, problems)
            if prior is not None:
                priors[name] = prior
    return priors
