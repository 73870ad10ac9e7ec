"""Compiled code on disk, a file for each function and processor, behind a checksum.

A file that is cut, empty, garbled, of other sources or of another version is no entry: the code is
compiled anew and the file replaced. Nothing is unpickled, and no machine code run, unchecked.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import uuid
from pathlib import Path

_DIGEST = hashlib.sha256().digest_size


@dataclasses.dataclass(frozen=True)
class KeptCode:
    """One file of compiled code.

    Parameters
    ----------
    path : Path
    made_of : str
        Everything that the code follows from; another text makes the file one of something else.
    """

    path: Path
    made_of: str

    def load(self) -> bytes | None:
        """Return what is kept, or None where there is nothing that can be trusted."""
        try:
            content = self.path.read_bytes()
        except OSError:
            return None
        kept = content[_DIGEST:]
        return kept if content[:_DIGEST] == self._digest(kept) else None

    def save(self, code: bytes) -> None:
        """Keep code, whole or not at all; where nothing can be written it is not kept."""
        written = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            written.write_bytes(self._digest(code) + code)
            os.replace(written, self.path)
        except OSError:
            # A full disk, a folder that is read-only by now: the code at hand works all the same.
            written.unlink(missing_ok=True)

    def _digest(self, code: bytes) -> bytes:
        return hashlib.sha256(self.made_of.encode() + b"\0" + code).digest()
