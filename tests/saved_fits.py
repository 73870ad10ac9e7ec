"""Saved fits whose contents were changed, under a checksum that is right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

from ketpredict.posterior import _TRAILER_LENGTH, _trailer


def rewritten(path: Path, change: Callable[[h5py.File], Any]) -> None:
    """Change the contents of a file and give it a checksum that is right."""
    body = path.read_bytes()[:-_TRAILER_LENGTH]
    path.write_bytes(body)
    with h5py.File(path, "r+") as file:
        change(file)
    body = path.read_bytes()
    path.write_bytes(body + _trailer(body))


def with_metadata(change: Callable[[Any], Any]) -> Callable[[h5py.File], None]:
    """Return a change of the metadata text."""

    def of(file: h5py.File) -> None:
        table = json.loads(file["metadata"]["json"].asstr()[()])
        table = change(table) or table
        del file["metadata"]["json"]
        file["metadata"]["json"] = json.dumps(table)

    return of
