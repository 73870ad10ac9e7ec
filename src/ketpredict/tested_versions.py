"""The versions that the compiled likelihood is tested with, and what to say of others.

It reaches into libraries where they promise nothing. Users are not bound to the tested versions:
with others it is tried, and where it fails the PyMC graph is sampled, which is said.
"""

from __future__ import annotations

import importlib.metadata

from ketpredict.errors import CompiledRoadError

TESTED = {"nutpie": "0.16.11", "numba": "0.68.0", "llvmlite": "0.50.0"}


def found_versions() -> dict[str, str]:
    """Return the installed version of each library of :data:`TESTED`."""
    return {name: _version(name) for name in TESTED}


def cannot_be_used(error: BaseException) -> CompiledRoadError:
    """Return the error that names the versions, found and tested, and what went wrong."""
    found = found_versions()
    words = ", ".join(
        f"{name} {found[name]} ({'as tested' if found[name] == tested else f'tested: {tested}'})"
        for name, tested in TESTED.items()
    )
    message = (
        f"The compiled likelihood cannot be used with {words}: {type(error).__name__}: {error}."
    )
    return CompiledRoadError(message, found, TESTED)


def advice() -> str:
    """Return how to install what is tested."""
    return "pip install " + " ".join(f"{name}=={version}" for name, version in TESTED.items())


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"
