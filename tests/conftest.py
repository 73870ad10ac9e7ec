"""Fixtures shared by the tests: one small fit of the published evidence for the whole session."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

import ketpredict as kp
import monte_carlo
from ketpredict.errors import ConvergenceWarning, EvidenceWarning
from ketpredict.fitting import SamplerSettings, fit, prepare
from ketpredict.posterior import Posterior
from samplers import Samplers

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

    from ketpredict.leave_out import LeftOut


# Fixtures that are made of a sampler's draws, here and in the files of tests.
_FITS = {"published_fit", "simulated_fits", "sound_fit",
         "arms_only", "both", "clinic_fit", "page", "small_fit"}  # fmt: skip
_SAMPLERS = pytest.StashKey[Samplers]()
_DRAWN = pytest.StashKey[set[tuple[str, str]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that gives every sampler another seed."""
    parser.addoption(
        "--shift-seeds", type=int, default=0, metavar="N",
        help="give every sampler another seed, which does what another processor would do",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Put a counter, and the shift, before every sampler."""
    config.stash[_SAMPLERS] = Samplers(config.getoption("shift_seeds"))
    config.stash[_SAMPLERS].wrap()
    config.stash[_DRAWN] = set()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what asks for one of these fits; other tests that sample are marked where they are."""
    for item in items:
        if _FITS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.draws)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """Remember the fixtures in which a sampler ran."""
    samplers = request.config.stash[_SAMPLERS]
    before = samplers.calls
    made = yield
    if samplers.calls > before:
        request.config.stash[_DRAWN].add((fixturedef.baseid, fixturedef.argname))
    return made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail a test that uses draws without its mark: no run with shifted seeds would reach it."""
    samplers = item.config.stash[_SAMPLERS]
    before = samplers.calls
    monte_carlo.left.clear()
    done = yield
    if monte_carlo.left:
        item.user_properties.append(("monte carlo", monte_carlo.left.copy()))
    asked = [name for base, name in item.config.stash[_DRAWN]
             if name in item.fixturenames and item.nodeid.startswith(base)]  # fmt: skip
    if (asked or samplers.calls > before) and not _may_draw(item):
        where = f"its fixture {asked[0]!r}" if asked else "it"
        pytest.fail(f"A sampler ran in {where}: mark the test with pytest.mark.draws.", False)
    return done


def _may_draw(item: pytest.Item) -> bool:
    """Return whether a test says that it draws: to judge the draws, or whatever they are."""
    return any(item.get_closest_marker(name) for name in ("draws", "any_draws"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how close the comparisons of draws came to failing."""
    reports = [one for name in ("passed", "failed") for one in terminalreporter.getreports(name)]
    found = [(min(left), one.nodeid, len(left)) for one in reports if one.when == "call"
             for name, left in one.user_properties if name == "monte carlo"]  # fmt: skip
    if found:
        closest, where, _ = min(found)
        terminalreporter.write_line(
            f"Monte Carlo: {sum(count for *_, count in found)} comparisons in {len(found)} tests, "
            f"with shift {terminalreporter.config.getoption('shift_seeds')}; the closest "
            f"was {closest:.1f} standard errors from failing ({where})"
        )


@pytest.fixture(scope="session")
def published_fit() -> kp.KetamineResponseClassifier:
    """Return the published model fitted with few draws: its numbers are rough on purpose.

    Compiling takes half a minute, so there is one for the whole session. Tests must not change it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EvidenceWarning)  # horizons left out: not tested here
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # 400 draws are too few, and known to be
        classifier = kp.KetamineResponseClassifier(
            draws=200, tune=200, chains=2, target_accept=0.8, random_state=1
        )
        return classifier.fit()


@pytest.fixture(scope="session")
def simulated_fits() -> dict[str, Posterior]:
    """Return two rough fits to the same simulated patients: three predictors, and one of them.

    Patients of four trials and the arms of a fifth; cells and a block of the predictors missing.
    Tests must not change them.
    """
    names = ("bmi", "family_history_aud", "bdnf")
    data = kp.simulate(
        trials=5, patients=20, published_trials=1, predictors=names, missing=0.2,
        missing_blocks={"trial_2": ["bdnf"]}, random_state=3,
    )  # fmt: skip
    references = {predictor.name: predictor for predictor in data.predictors}
    settings = SamplerSettings(draws=300, tune=300, chains=2, target_accept=0.8, seed=1)
    fits = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for name, predictors in (("full", names), ("bare", names[1:2])):
            spec = data.spec.with_predictors(predictors)
            fits[name] = fit(*prepare(spec, data.evidence(), references), settings)
    return fits


@pytest.fixture(scope="session")
def sound_fit() -> Posterior:
    """Return a rough posterior of data that the model made: nothing is wrong with it.

    A right model fails a gate in up to 5 % of data sets. These are data whose p-values lie far
    from that, between 0.5 and 1, so that no chain's luck carries one over. Tests must not change
    it.
    """
    names = ("bmi", "family_history_aud", "bdnf")
    data = kp.simulate(
        trials=5, patients=20, published_trials=1, predictors=names, missing=0.2,
        missing_blocks={"trial_2": ["bdnf"]}, random_state=6,
        truth={"intercept": 0.2, "population_scale": 0.2, "trial_scale": 0.3},
    )  # fmt: skip
    references = {predictor.name: predictor for predictor in data.predictors}
    settings = SamplerSettings(draws=450, tune=300, chains=2, target_accept=0.8, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = fit(*prepare(data.spec, data.evidence(), references), settings)
    diagnostics = {**found.facts["diagnostics"], "problems": []}
    return dataclasses.replace(found, facts={**found.facts, "diagnostics": diagnostics})


@pytest.fixture(scope="session")
def odd(simulated_fits: dict[str, Posterior]) -> Posterior:
    """Return a fit whose names hold markup, and which says that it did not converge."""
    from report_fits import renamed, thinned, verdict

    return verdict(renamed(thinned(simulated_fits["full"])), ["R-hat above 1.01: intercept"])


@pytest.fixture(scope="session")
def left_out(odd: Posterior) -> LeftOut:
    """Return every trial of :func:`odd` left out, by importance sampling."""
    from ketpredict.leave_out import leave_one_trial_out

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return leave_one_trial_out(odd, method="importance", n_jobs=1)


@pytest.fixture(scope="session")
def odd_text(odd: Posterior, left_out: LeftOut) -> str:
    """Return the report on :func:`odd`."""
    from ketpredict.report import report_page

    return report_page(odd, validation=left_out)


@pytest.fixture(scope="session")
def browser() -> Iterator[Chrome]:
    """Yield a headless browser. Its tests are skipped where there is none, but fail in CI."""
    from browser import running_browser  # Selenium is not needed by other tests

    with running_browser() as driver:
        yield driver


@pytest.fixture
def rough_predictions() -> Iterator[None]:
    """Let predictions from :func:`published_fit` repeat that it did not converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
