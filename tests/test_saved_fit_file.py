"""A file under a right checksum is read no further than it may be: structure, sizes, memory."""

import os
import time
import tracemalloc
import zlib

import h5py
import numpy as np
import pytest

import ketpredict as kp
from ketpredict.posterior import _TRAILER_LENGTH, _trailer, load_posterior
from saved_fits import rewritten, with_metadata
from tiny_fit import handmade_posterior

SHAPE = handmade_posterior().groups["posterior"]["trial_effect"].shape
MIB = 2**20


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """Return the bytes of a fit without the digest of its contents, which would refuse any change.

    Earlier versions wrote none.
    """
    path = handmade_posterior().save(tmp_path_factory.mktemp("fit") / "fit.nc")
    rewritten(path, with_metadata(lambda table: table.pop("digest") and None))
    return path.read_bytes()


@pytest.fixture
def saved(tmp_path, content):
    path = tmp_path / "fit.nc"
    path.write_bytes(content)
    return path


@pytest.fixture
def other(tmp_path):
    """Return a folder with numbers that would pass for draws, as HDF5 and as bare bytes."""
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.create_group("posterior")["trial_effect"] = np.full(SHAPE, 0.25)
    (tmp_path / "bytes").write_bytes(np.full(SHAPE, 0.25).tobytes())
    return tmp_path


def replaced(make, name="trial_effect"):
    def change(file):
        del file["posterior"][name]
        make(file["posterior"], name)

    return change


def external_link(folder):
    def make(group, name):
        group[name] = h5py.ExternalLink(str(folder / "other.h5"), "/posterior/trial_effect")

    return replaced(make)


def group_behind_a_link(folder):
    def change(file):
        del file["posterior"]
        file["posterior"] = h5py.ExternalLink(str(folder / "other.h5"), "/posterior")

    return change


def soft_link(_folder):
    def make(group, name):
        group[name] = h5py.SoftLink("/posterior/treatment_deviation")

    return replaced(make)


def stored_elsewhere(name, shape):
    def of(folder):
        source = [(str(folder / "bytes"), 0, h5py.h5f.UNLIMITED)]
        return replaced(lambda g, n: g.create_dataset(n, shape, float, external=source), name)

    return of


def virtual(folder):
    def make(group, name):
        layout = h5py.VirtualLayout(SHAPE, float)
        layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "posterior/trial_effect", SHAPE)
        group.create_virtual_dataset(name, layout)

    return replaced(make)


def virtual_without_end(folder):
    """Its extent is that of its sources, which HDF5 would have to open to know it."""

    def make(group, name):
        most = (None, *SHAPE[1:])
        layout = h5py.VirtualLayout(SHAPE, float, maxshape=most)
        source = h5py.VirtualSource(
            str(folder / "other.h5"), "posterior/trial_effect", SHAPE, maxshape=most
        )
        end = h5py.h5s.UNLIMITED
        layout[0:end, :, :] = source[0:end, :, :]
        group.create_virtual_dataset(name, layout)

    return replaced(make)


def made(data, **how):
    return lambda _folder: replaced(lambda g, n: g.create_dataset(n, data=data, **how))


def compact(_folder):
    def make(group, name):
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple(SHAPE)
        one = h5py.h5d.create(group.id, name.encode(), h5py.h5t.IEEE_F64LE, space, plan)
        one.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ones(SHAPE))

    return replaced(make)


def type_with_a_name(_folder):
    def change(file):
        file["posterior"]["trial_scale"].file["numbers"] = np.dtype("<f8")

    return change


def of_a_named_type(_folder):
    def make(group, name):
        kind = h5py.h5t.IEEE_F64LE.copy()
        space = h5py.h5s.create_simple(SHAPE)
        kind.commit(group.id, b"numbers")
        one = h5py.h5d.create(group.id, name.encode(), kind, space)
        one.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ones(SHAPE))

    return replaced(make)


def reference(_folder):
    return replaced(lambda g, n: g.create_dataset(n, data=g["intercept"].ref, dtype=h5py.ref_dtype))


def attribute(path, value, **how):
    def of(_folder):
        def change(file):
            given = file["posterior"].ref if value is None else value
            file[path].attrs.create("own", given, **how)

        return change

    return of


def many_attributes(_folder):
    def change(file):
        for i in range(200):
            file["posterior"]["trial_effect"].attrs[f"own {i}"] = i

    return change


def many_groups(_folder):
    def change(file):
        for i in range(60):
            file.create_group(f"group {i}")

    return change


STRUCTURES = {
    "external link": external_link,
    "group behind an external link": group_behind_a_link,
    "soft link": soft_link,
    "external storage": stored_elsewhere("trial_effect", SHAPE),
    "labels in external storage": stored_elsewhere("trial", (2,)),
    "virtual": virtual,
    "virtual without end": virtual_without_end,
    "compact": compact,
    "own checksums": made(np.ones(SHAPE), fletcher32=True),
    "lzf": made(np.ones(SHAPE), compression="lzf"),
    "scale and offset": made(np.ones(SHAPE), scaleoffset=4),
    "compound": made(np.zeros(SHAPE, [("a", float), ("b", int)])),
    "rows of any length": made(None, shape=(3,), dtype=h5py.vlen_dtype(float)),
    "opaque": made(np.zeros(4, "V8")),
    "complex": made(np.ones(SHAPE, complex)),
    "enumerated": made(np.ones(SHAPE, bool)),
    "object reference": reference,
    "a type with a name": type_with_a_name,
    "of a type with a name": of_a_named_type,
    "group in a group": lambda _: lambda file: file["posterior"].create_group("further"),
    "variable outside groups": lambda _: lambda file: file.create_dataset("x", data=np.ones(3)),
    "reference in an attribute": attribute("/", None, dtype=h5py.ref_dtype),
    "compound attribute": attribute("posterior/trial", np.zeros(2, [("a", float)])),
    "many attributes": many_attributes,
    "many groups": many_groups,
}


WORDS = "|".join(
    (
        "link to somewhere else", "does not lie in this file", "packed in a way that no fit is",
        "neither numbers nor labels", "is no group", "is no variable", "strange type",
        "has 204 attributes", "more than 50 members",
    )
)  # fmt: skip


@pytest.mark.parametrize("kind", STRUCTURES)
def test_what_does_not_plainly_lie_in_the_file_is_refused(saved, other, kind):
    rewritten(saved, STRUCTURES[kind](other))
    with pytest.raises(kp.SavedFitError, match=f"contents are not those of a fit: .*({WORDS})"):
        load_posterior(saved)


def test_what_the_tests_replace_is_read_where_it_is_plain(saved, other):
    """The same numbers in the file itself are taken, so that it is their place that is refused."""
    rewritten(saved, made(np.full(SHAPE, 0.25))(other))
    assert (load_posterior(saved).groups["posterior"]["trial_effect"] == 0.25).all()


CHUNK = zlib.compress(bytes(MIB), 9)


def sparse(file):
    """4e12 numbers, none of which was written."""
    del file["posterior"]["trial_effect"]
    file["posterior"].create_dataset(
        "trial_effect", (2, 16, 125_000_000_000), "f8", chunks=(1, 1, 10_000), compression=4
    )


def sparse_and_small(file):
    del file["posterior"]["trial_effect"]
    file["posterior"].create_dataset("trial_effect", SHAPE, "f8", chunks=(1, 1, 1), compression=4)


def bomb(file):
    """3 GiB of zeros in 3 MiB."""
    one = file["posterior"].create_dataset(
        "further", (3072, MIB), "u1", chunks=(1, MIB), compression=9
    )
    for row in range(3072):
        one.id.write_direct_chunk((row, 0), CHUNK)


def bomb_in_a_chunk(size):
    """A chunk that unpacks to so many zeros in the place of one of 512 bytes."""

    def change(file):
        one = file["posterior"]["trial_effect"]
        one.id.write_direct_chunk((0,) * one.ndim, zlib.compress(bytes(size), 9))

    return change


def masked(file):
    """A chunk that says it is not packed."""
    one = file["posterior"]["trial_effect"]
    one.id.write_direct_chunk((0,) * one.ndim, bytes(int(np.prod(one.chunks)) * 8), filter_mask=3)


def crumbs(file):
    """More than a million chunks of one byte."""
    file["posterior"].create_dataset("further", (MIB, 1), "u1", chunks=(1, 1), compression=1)


def long_text(file):
    with_metadata(lambda table: table["facts"].update(note="x" * 40 * MIB))(file)


def deep_text(file):
    del file["metadata"]["json"]
    file["metadata"]["json"] = "[" * 200_000


def vast_number(file):
    del file["metadata"]["json"]
    file["metadata"]["json"] = '{"format": 4, "spec": ' + "9" * 20_000 + "}"


def not_a_number(file):
    with_metadata(lambda table: table["trial_values"][0].__setitem__(0, float("nan")))(file)


SIZES = {
    "4e12 numbers": (sparse, "more than 65536 chunks"),
    "chunks without numbers": (sparse_and_small, "cannot be read"),
    "3 GiB of zeros": (bomb, "it declares 3,072 MiB of numbers"),
    "too much in a chunk": (bomb_in_a_chunk(300_000), "larger than it declares"),
    "too long a chunk": (bomb_in_a_chunk(MIB), "cannot be read"),
    "too little in a chunk": (bomb_in_a_chunk(8), "has 8 bytes"),
    "a chunk that says it is not packed": (masked, "packed in a way"),
    "a million chunks": (crumbs, "more than 65536 chunks"),
    "a text of 40 MiB": (long_text, "a text of 40 MiB"),
    "a deep text": (deep_text, "recursion"),
    "a vast number": (vast_number, "limit"),
    "no number": (not_a_number, "NaN where a number is expected"),
}


@pytest.mark.parametrize("kind", SIZES)
def test_sizes_are_looked_at_before_anything_is_read(saved, kind):
    rewritten(saved, SIZES[kind][0])
    found, peak, seconds = refusal(saved)
    assert SIZES[kind][1] in found
    assert peak < 16 * MIB
    assert seconds < 5


def refusal(path):
    """Return the words of an error, the most memory that Python took, and the seconds."""
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(kp.SavedFitError) as found:
        load_posterior(path)
    seconds = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return str(found.value), peak, seconds


def test_a_huge_file_that_is_no_fit_is_not_read(saved, content):
    """Three sparse GiB: without the closing line, with one, and behind the beginning of a fit."""
    for head, tail, words in (
        (b"", b"", "closing checksum is missing"),
        (b"", content[-_TRAILER_LENGTH:], "damaged"),
        (content[:4096], content[-_TRAILER_LENGTH:], "damaged"),
    ):
        with saved.open("wb") as file:
            file.write(head)
            file.truncate(3 * 1024 * MIB)
            file.seek(0, os.SEEK_END)
            file.write(tail)
        found, peak, seconds = refusal(saved)
        assert words in found
        assert peak < 16 * MIB
        assert seconds < 1


def test_what_is_no_file_is_not_waited_for(tmp_path):
    paths = [tmp_path]
    if hasattr(os, "mkfifo"):  # where there are named pipes there are devices without end, too
        os.mkfifo(tmp_path / "pipe.nc")
        paths += [tmp_path / "pipe.nc", "/dev/zero"]
    for path in paths:
        with pytest.raises(kp.SavedFitError, match="is no file"):
            load_posterior(path)
    with pytest.raises(kp.SavedFitError, match="cannot be read"):
        load_posterior("a\0b.nc")


def test_one_closing_line_for_all(content):
    assert content[-_TRAILER_LENGTH:] == _trailer(content[:-_TRAILER_LENGTH])
