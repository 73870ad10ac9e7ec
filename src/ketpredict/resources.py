"""Where the files of ``models/`` and ``data/`` are.

In a wheel they stand next to this module (``_models``, ``_data``); in a checkout they stand at its
root. No other module knows a path.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from ketpredict.errors import DataError, KetpredictError, SpecificationError

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parents[1]


def models_folder() -> Path:
    """Return the folder of model files: the packaged one if there is one, else the checkout's."""
    return _first_folder("models", SpecificationError)


def data_folder() -> Path:
    """Return the folder of data files: the packaged one if there is one, else the checkout's."""
    return _first_folder("data", DataError)


def models_path(name: str) -> Path:
    """Return the path of a file of ``models/``, such as ``"published.toml"``.

    Raises
    ------
    SpecificationError
        There is no such file; the message lists files that are there.
    """
    return _find("models", name, SpecificationError)


def data_path(name: str) -> Path:
    """Return the path of a file of ``data/``, such as ``"predictors.csv"``.

    Raises
    ------
    DataError
        There is no such file; the message lists files that are there.
    """
    return _find("data", name, DataError)


def _folders(kind: str) -> list[Path]:
    """Return the folders that exist, in the order in which they are searched."""
    candidates = [_PACKAGE / f"_{kind}"]
    # In site-packages, two levels up is Python's own lib folder: only a real checkout counts.
    if (_CHECKOUT / "pyproject.toml").is_file():
        candidates.append(_CHECKOUT / kind)
    return [folder for folder in candidates if folder.is_dir()]


def _first_folder(kind: str, error: type[KetpredictError]) -> Path:
    folders = _folders(kind)
    if not folders:
        raise error(
            f"The folder '{kind}' of ketpredict is missing: neither '{_PACKAGE / f'_{kind}'}' nor "
            f"'{_CHECKOUT / kind}' exists. Install the package again."
        )
    return folders[0]


def _find(kind: str, name: str, error: type[KetpredictError]) -> Path:
    if not name or Path(name).name != name or name in (".", ".."):
        raise error(f"'{name}' is not the name of a file in '{kind}'; give a name without folders.")
    _first_folder(kind, error)
    for folder in _folders(kind):
        if os.path.isfile(folder / name):  # also false of names that no file can have
            return folder / name
    there = sorted({path.name for folder in _folders(kind) for path in folder.iterdir()})
    close = difflib.get_close_matches(name, there, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    more = f" and {len(there) - 5} more" if len(there) > 5 else ""
    listing = ", ".join(there[:5]) + more if there else "nothing"
    raise error(f"There is no '{name}' in '{kind}'.{hint} There: {listing}.")
