"""Fixtures shared by the tests: one small fit of the published evidence for the whole session."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest

import ketpredict as kp
from ketpredict.errors import ConvergenceWarning, EvidenceWarning


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


@pytest.fixture
def rough_predictions() -> Iterator[None]:
    """Let predictions from :func:`published_fit` repeat that it did not converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
