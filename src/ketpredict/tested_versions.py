"""The versions that the compiled likelihood is tested with, and what to say of others.

It reaches into libraries where they promise nothing. Users are not bound to the tested versions:
with others it is tried, and where it fails that is said, with what was found and what is tested.
"""

from __future__ import annotations

import importlib.metadata

from ketpredict.errors import CompiledRoadError

TESTED = {"nutpie": "0.16.11", "numba": "0.68.0"}
"""Versions whose internals the compiled road was written for; pinned in ``pyproject.toml``."""


def found_words() -> str:
    """Return the libraries of :data:`TESTED` with the versions that are installed."""
    return " and ".join(map(_found, TESTED))


def tested_words() -> str:
    """Return the libraries of :data:`TESTED` with the versions that are tested."""
    return " and ".join(f"{name} {version}" for name, version in TESTED.items())


def cannot_be_used(error: BaseException) -> CompiledRoadError:
    """Return the error that names the versions that are installed, and what went wrong."""
    return CompiledRoadError(
        f"The compiled likelihood cannot be used with {found_words()} "
        f"({type(error).__name__}: {error}). It was tested with {tested_words()}."
    )


def _found(name: str) -> str:
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return f"no {name}"
