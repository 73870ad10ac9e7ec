"""The file of a saved fit, read as if a stranger had written it.

First the closing line (SHA-256 of everything before it), then what the HDF5 file declares: links,
types, layouts, filters, sizes. Only what passes is read, and no further than its declared size.
HDF5 itself reads headers alone: numbers are unpacked here, so that no stored chunk can grow beyond
its place, and nothing outside the file is ever opened.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import itertools
import json
import math
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ketpredict.errors import SavedFitError

if TYPE_CHECKING:
    import h5py

METADATA = "metadata"
TEXT = "json"
_TRAILER = b"\nketpredict sha256 "
TRAILER_LENGTH = len(_TRAILER) + 64 + 1
MOST_TEXT = 32 * 2**20
"""Bytes of the metadata text; that of a fit of a million patients has 8 million."""
_FREE = 256 * 2**20
_MOST_GROWTH = 64
"""Bytes that arrays may have unpacked: so many, or so many times those of the file."""
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_EOF_PLACE = 40
_SLACK = 2**20
_BLOCK = 2**20
_MOST_GROUPS, _MOST_VARIABLES, _MOST_ATTRIBUTES, _MOST_ATTRIBUTE = 50, 1000, 100, 2**20
_MOST_CHUNKS = 2**16
_SHUFFLE, _DEFLATE = 2, 1
_FILTERS: tuple[list[int], ...] = ([], [_DEFLATE], [_SHUFFLE, _DEFLATE])
_REFERENCES = {b"DIMENSION_LIST": "TypeVlenID", b"REFERENCE_LIST": "TypeCompoundID"}
_PLAIN = ("TypeStringID", "TypeIntegerID", "TypeFloatID")


@dataclasses.dataclass(frozen=True)
class Declared:
    """What a file declares of one variable, before any of its numbers is read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclasses.dataclass(frozen=True)
class SavedFile:
    """The contents of a file whose checksum and structure are right.

    Parameters
    ----------
    metadata : Any
        What its metadata text says; JSON.
    declared : dict of str to dict of str to Declared
        Group, variable.
    """

    metadata: Any
    declared: dict[str, dict[str, Declared]]
    _handle: IO[bytes]
    _length: int
    _datasets: dict[tuple[str, str], Any]

    def array(self, group: str, name: str) -> np.ndarray:
        """Return a variable as it was before it was written."""
        values = _numbers(self._datasets[group, name], self._handle, self._length)
        if values.dtype == np.float32:  # how the published fit keeps its draws
            return values.astype(np.float64)
        if values.dtype != np.int8:
            return values.astype(values.dtype.newbyteorder("="), copy=False)
        if not np.isin(values, (0, 1)).all():
            raise ValueError(f"'{name}' of '{group}' holds other values than true and false")
        return values.astype(bool)  # xarray keeps flags as bytes, and fits have no other bytes


def closing_line(content: bytes) -> bytes:
    """Return the line that closes the file of a fit: the checksum of everything before it."""
    return _closing(hashlib.sha256(content).hexdigest())


def _closing(checksum: str) -> bytes:
    return _TRAILER + checksum.encode() + b"\n"


@contextlib.contextmanager
def opened(path: Path) -> Iterator[SavedFile]:
    """Yield the contents of a file, its checksum and its structure checked, no array read yet.

    Raises
    ------
    SavedFitError
        No such file, a file of another program, a damaged or truncated one.
    ValueError
        A whole file that is not built as fits are.
    """
    with _handle(path) as handle:
        length = _checked_length(handle, path)
        import h5py

        # HDF5 is given the handle, not the name: it can open nothing beside it by mistake.
        with h5py.File(handle, "r") as file:
            yield _contents(file, handle, length)


@contextlib.contextmanager
def in_memory(body: bytes) -> Iterator[SavedFile]:
    """Yield what a file without its closing line would hold, its structure checked.

    Raises
    ------
    ValueError
        It is not built as fits are.
    """
    import h5py

    with io.BytesIO(body) as handle, h5py.File(handle, "r") as file:
        yield _contents(file, handle, len(body))


def _handle(path: Path) -> IO[bytes]:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a device or a pipe may never end
            raise SavedFitError(f"Saved fit '{path}' cannot be read: it is no file.")
        return path.open("rb")
    except SavedFitError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SavedFitError(f"Saved fit '{path}' cannot be read: {reason}.") from None


def _checked_length(handle: IO[bytes], path: Path) -> int:
    """Return the length of what the closing line closes, which is read block by block."""
    size = handle.seek(0, os.SEEK_END)
    length = size - TRAILER_LENGTH
    found = b""
    if length > 0:
        handle.seek(length)
        found = handle.read(TRAILER_LENGTH)
    if not found.startswith(_TRAILER):
        raise SavedFitError(
            f"'{path}' is not a whole ketpredict fit: its closing checksum is missing. It was "
            "written by another program or cut short."
        )
    handle.seek(0)
    head = handle.read(_EOF_PLACE + 8)
    (end,) = struct.unpack_from("<Q", head.ljust(_EOF_PLACE + 8, b"\0"), _EOF_PLACE)
    if not head.startswith(_SIGNATURE) or not end <= length <= end + _SLACK:
        raise SavedFitError(
            f"Saved fit '{path}' is damaged: it does not begin as a fit, or has another length "
            "than it says."
        )
    handle.seek(0)
    checksum, rest = hashlib.sha256(), length
    while rest:
        block = handle.read(min(_BLOCK, rest))
        if not block:
            break
        checksum.update(block)
        rest -= len(block)
    if found != _closing(checksum.hexdigest()):
        raise SavedFitError(f"Saved fit '{path}' is damaged: its contents and checksum differ.")
    return length


def _contents(file: h5py.File, handle: IO[bytes], length: int) -> SavedFile:
    datasets = _datasets(file)
    text = datasets.pop((METADATA, TEXT), None)
    if text is None:
        raise ValueError("it has no metadata")
    datasets = {key: one for key, one in datasets.items() if not _is_text(one)}
    declared: dict[str, dict[str, Declared]] = {}
    for (group, name), one in datasets.items():
        kind = one.get_type()
        declared.setdefault(group, {})[name] = Declared(tuple(one.shape), kind.dtype)
    size = sum(math.prod(d.shape) * d.dtype.itemsize for g in declared.values() for d in g.values())
    if size > max(_FREE, _MOST_GROWTH * length):
        raise ValueError(
            f"it declares {size / 2**20:,.0f} MiB of numbers in a file of {length / 2**20:,.1f} MiB"
        )
    return SavedFile(_metadata(text, handle, length), declared, handle, length, datasets)


def _datasets(file: h5py.File) -> dict[tuple[str, str], Any]:
    """Return every variable of every group, each refused that is not plain numbers or labels."""
    import h5py

    found: dict[tuple[str, str], Any] = {}
    _check_attributes(file.id, "the file")
    for group_name in _hard_links(file.id, "the file", _MOST_GROUPS):
        group = h5py.h5o.open(file.id, group_name)
        where = _shown(group_name)
        if not isinstance(group, h5py.h5g.GroupID):
            raise ValueError(f"{where} is no group")
        _check_attributes(group, where)
        for name in _hard_links(group, where, _MOST_VARIABLES):
            item = h5py.h5o.open(group, name)
            place = f"{_shown(name)} of {where}"
            if not isinstance(item, h5py.h5d.DatasetID):
                raise ValueError(f"{place} is no variable")
            _check_attributes(item, place)
            _check_plain(item, place)
            found[group_name.decode(), name.decode()] = item
    return found


def _shown(name: bytes) -> str:
    return repr(name.decode(errors="replace")[:60])


def _hard_links(group: h5py.h5g.GroupID, where: str, most: int) -> list[bytes]:
    import h5py

    if group.get_num_objs() > most:
        raise ValueError(f"{where} holds more than {most} members")
    names = list(group)
    for name in names:
        if group.links.get_info(name).type != h5py.h5l.TYPE_HARD:
            raise ValueError(f"{_shown(name)} of {where} is a link to somewhere else")
    return names


def _check_attributes(item: Any, where: str) -> None:
    """Refuse attributes of kinds and sizes that no fit has; their values are never read."""
    import h5py

    count = h5py.h5a.get_num_attrs(item)
    if count > _MOST_ATTRIBUTES:
        raise ValueError(f"{where} has {count} attributes")
    for index in range(count):
        attribute = h5py.h5a.open(item, index=index)
        kind = type(attribute.get_type()).__name__
        if kind not in _PLAIN and _REFERENCES.get(attribute.name) != kind:
            raise ValueError(f"attribute {_shown(attribute.name)} of {where} has a strange type")
        if attribute.get_storage_size() > _MOST_ATTRIBUTE:
            raise ValueError(f"attribute {_shown(attribute.name)} of {where} is too large")


def _check_plain(dataset: h5py.h5d.DatasetID, where: str) -> None:
    """Refuse all but numbers and texts that lie in this file, plain or packed as ours are."""
    import h5py

    made = dataset.get_create_plist()
    layout = made.get_layout()
    if layout not in (h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED) or made.get_external_count():
        raise ValueError(f"{where} does not lie in this file as variables of fits do")
    filters = [made.get_filter(i)[0] for i in range(made.get_nfilters())]
    if filters not in _FILTERS or (filters and layout != h5py.h5d.CHUNKED):
        raise ValueError(f"{where} is packed in a way that no fit is")
    kind = dataset.get_type()
    if type(kind).__name__ not in _PLAIN or kind.committed():
        raise ValueError(f"{where} holds neither numbers nor labels")
    if layout == h5py.h5d.CHUNKED and all(dataset.shape):
        shape, chunk = dataset.shape, made.get_chunk()
        if any(part > size for part, size in zip(chunk, shape, strict=True)):
            raise ValueError(f"{where} has chunks larger than itself")
        if math.prod(-(-size // part) for part, size in zip(chunk, shape, strict=True)) > (
            _MOST_CHUNKS
        ):
            raise ValueError(f"{where} is cut into more than {_MOST_CHUNKS} chunks")


def _is_text(dataset: h5py.h5d.DatasetID) -> bool:
    return type(dataset.get_type()).__name__ == "TypeStringID"


def _metadata(dataset: h5py.h5d.DatasetID, handle: IO[bytes], length: int) -> Any:
    """Return what the metadata text says; its length is looked at before it is read."""
    import h5py

    kind = dataset.get_type()
    if dataset.shape != () or not _is_text(dataset) or not kind.is_variable_str():
        raise ValueError("its metadata is no text")
    place = _at(dataset, handle, length, 16, "the metadata")
    (size,) = struct.unpack_from("<I", place)
    if size > min(length, MOST_TEXT):
        raise ValueError(f"its metadata is a text of {size / 2**20:,.0f} MiB")
    text = h5py.Dataset(dataset).asstr()[()]
    return json.loads(text, parse_constant=_no_number)


def _no_number(word: str) -> None:
    raise ValueError(f"its metadata says {word} where a number is expected")


def _at(
    dataset: h5py.h5d.DatasetID, handle: IO[bytes], length: int, size: int, where: str
) -> bytes:
    """Return the bytes of a variable that is not cut into chunks."""
    offset = dataset.get_offset()
    if offset is None or dataset.get_storage_size() != size or offset + size > length:
        raise ValueError(f"{where} does not lie in this file as its size says")
    handle.seek(offset)
    return handle.read(size)


def _numbers(dataset: h5py.h5d.DatasetID, handle: IO[bytes], length: int) -> np.ndarray:
    """Return the numbers of a variable, unpacked to its declared size and no further."""
    import h5py

    dtype, shape = dataset.get_type().dtype, tuple(dataset.shape)
    name = _shown(h5py.h5i.get_name(dataset))
    if not math.prod(shape):
        return np.zeros(shape, dtype)
    made = dataset.get_create_plist()
    if made.get_layout() == h5py.h5d.CONTIGUOUS:
        size = math.prod(shape) * dtype.itemsize
        return np.frombuffer(_at(dataset, handle, length, size, name), dtype).reshape(shape).copy()
    chunk = made.get_chunk()
    filters = [made.get_filter(i)[0] for i in range(made.get_nfilters())]
    size = math.prod(chunk) * dtype.itemsize
    # What cannot be packed grows by a few bytes; more than that no chunk has.
    packed = bytearray(size + size // 1000 + 64)
    values = np.empty(shape, dtype)
    for corner in itertools.product(*(range(0, s, c) for s, c in zip(shape, chunk, strict=True))):
        try:
            mask, content = dataset.read_direct_chunk(corner, out=packed)
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            raise ValueError(f"a chunk of {name} cannot be read: {error}") from None
        if mask:
            raise ValueError(f"{name} is packed in a way that no fit is")
        part = _unpacked(content, filters, size, dtype.itemsize, name)
        block = np.frombuffer(part, dtype).reshape(chunk)
        place = tuple(slice(c, c + n) for c, n in zip(corner, chunk, strict=True))
        inside = tuple(
            slice(0, min(n, s - c)) for c, n, s in zip(corner, chunk, shape, strict=True)
        )
        values[place] = block[inside]
    return values


def _unpacked(content: Any, filters: list[int], size: int, itemsize: int, name: str) -> bytes:
    """Return one chunk of numbers, which has exactly so many bytes."""
    part = content
    if _DEFLATE in filters:
        unpacking = zlib.decompressobj()
        part = unpacking.decompress(content, size + 1)
        if not unpacking.eof:
            raise ValueError(f"a chunk of {name} is not whole, or larger than it declares")
    if len(part) != size:
        raise ValueError(f"a chunk of {name} has {len(part)} bytes; expected {size}")
    if _SHUFFLE in filters:
        return np.frombuffer(part, np.uint8).reshape(itemsize, -1).T.tobytes()
    return bytes(part)
