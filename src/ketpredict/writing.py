"""Files written whole or not at all, and what killed writers left of theirs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

from ketpredict import leaving
from ketpredict.errors import DataError

if sys.platform != "win32":
    import fcntl

_LONGEST_SUFFIX = 16


def write_whole(path: str | os.PathLike[str], *parts: bytes | memoryview) -> Path:
    """Write a file from its bytes, and return its path; an existing one is replaced, or kept.

    Raises
    ------
    DataError
        The file cannot be written; the message says why.
    """
    with write_atomically(path) as temporary, temporary.open("wb") as file:
        for part in parts:
            file.write(part)
    return Path(path)


@contextlib.contextmanager
def write_atomically(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the same folder that becomes ``path`` if the block succeeds.

    If the block fails, ``path`` is as it was and nothing is left behind. The temporary file has
    the same suffix, for writers that choose their format by it. One that a killed process left
    beside the same path is removed.

    Raises
    ------
    DataError
        The folder does not exist, or the file cannot be written.
    """
    target = check_target(path)
    temporary = target.with_name(f"{_prefix(target)}{secrets.token_hex(4)}{_suffix(target)}")
    try:
        with leaving.temporary(temporary), _held(temporary) as handle:
            _sweep(target)
            yield temporary
            if not os.fstat(handle).st_size:
                raise DataError(f"'{path}' cannot be written: nothing was written to it.")
            if target.exists():
                temporary.chmod(target.stat().st_mode)
            os.fsync(handle)  # a disk may say only now that it is full
            os.replace(temporary, target)
    except OSError as error:
        raise cannot_write(path, error) from error


def check_target(path: str | os.PathLike[str]) -> Path:
    """Return the file that a path stands for, or refuse one that cannot be written.

    Raises
    ------
    DataError
        No folder, a folder, a device, or a name that no file can have.
    """
    try:
        target = Path(path).resolve()  # of a link: replace the file, not the link
        os.lstat(target)
    except (FileNotFoundError, NotADirectoryError):
        target = Path(path).resolve()
    except OSError as error:
        raise cannot_write(path, error) from None
    except (
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:  # a NUL in it, a circle of links
        raise DataError(f"'{path}' cannot be written: {error}.") from None
    if not target.parent.is_dir():
        raise DataError(f"'{path}' cannot be written: there is no folder '{target.parent}'.")
    if target.is_dir():
        raise DataError(f"'{path}' cannot be written: it is a folder.")
    if target.exists() and not target.is_file():
        raise DataError(f"'{path}' cannot be written: it is no regular file.")
    return target


def cannot_write(path: str | os.PathLike[str], error: OSError) -> DataError:
    """Return the error that says why a file cannot be written."""
    return DataError(f"'{path}' cannot be written: {reason(error)}.")


def reason(error: OSError) -> str:
    """Return why a file cannot be read or written, in the words of the system where it has some."""
    return os.strerror(error.errno) if error.errno else str(error)


def _prefix(target: Path) -> str:
    """Return how the names of temporary files of a target begin: as long for any target."""
    return f".ketpredict-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}-"


def _suffix(target: Path) -> str:
    return target.suffix if len(target.suffix) <= _LONGEST_SUFFIX else ""


@contextlib.contextmanager
def _held(temporary: Path) -> Iterator[int]:
    """Make a file and hold it locked, which tells others that its writer is alive."""
    handle = _made(temporary)
    while not os.fstat(handle).st_nlink:  # swept by another writer before it was locked
        os.close(handle)
        handle = _made(temporary)
    try:
        yield handle
    finally:
        os.close(handle)


def _made(temporary: Path) -> int:
    handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    _lock(handle, wait=True)
    return handle


def _lock(handle: int, *, wait: bool = False) -> bool:
    """Return whether a file is now locked for this process alone."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another has it, or the file system has no locks
        return False
    return True


def _sweep(target: Path) -> None:
    """Remove temporary files of a target whose writer is gone."""
    with os.scandir(target.parent) as entries:
        left = [entry.path for entry in entries if entry.name.startswith(_prefix(target))]
    for path in left:
        with contextlib.suppress(OSError):  # gone meanwhile, or another user's
            handle = os.open(path, os.O_RDWR)
            try:
                if _lock(handle):
                    os.unlink(path)
            finally:
                os.close(handle)
