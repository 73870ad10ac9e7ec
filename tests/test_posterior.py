"""A saved fit comes back bit for bit, or says in one line why it does not."""

import dataclasses
import json

import h5py
import numpy as np
import pytest
import xarray as xr

import ketpredict as kp
from ketpredict.posterior import _TRAILER_LENGTH, _trailer, load_posterior
from tiny_fit import handmade_posterior


@pytest.fixture
def saved(tmp_path):
    return handmade_posterior().save(tmp_path / "fit.nc")


def test_the_round_trip_is_exact(saved):
    before, after = handmade_posterior(), load_posterior(saved)
    assert after.spec == before.spec
    assert after.predictors == before.predictors
    assert after.facts == before.facts
    assert after.coords == before.coords
    assert np.array_equal(after.trial_values, before.trial_values, equal_nan=True)
    for group, variables in before.groups.items():
        for name, values in variables.items():
            assert np.array_equal(after.groups[group][name], values), name
            assert after.groups[group][name].dtype == values.dtype


def test_xarray_opens_the_file_with_named_dimensions(saved):
    with xr.open_datatree(saved, engine="h5netcdf") as tree:
        slope = tree["posterior"]["prognostic_slope"]
        assert slope.dims == ("chain", "draw", "predictor")
        chosen = slope.sel(predictor="bmi").to_numpy()
    expected = handmade_posterior().groups["posterior"]["prognostic_slope"][..., 0]
    assert np.array_equal(chosen, expected)


def test_an_unseen_trial_and_population_have_a_level_of_zeros():
    posterior = handmade_posterior()
    parameters = posterior.parameters
    assert parameters["trial_effect"].shape == (posterior.n_draws, 3)
    assert (parameters["trial_effect"][:, -1] == 0).all()
    assert (parameters["population_slope"][:, -1] == 0).all()
    stored = posterior.groups["posterior"]["trial_effect"]
    assert np.array_equal(parameters["trial_effect"][:, :2], stored.reshape(-1, 2))


def test_what_a_model_or_a_prior_does_not_have_is_empty_or_zero():
    """Averages find every parameter of the predictor model, whatever the predictors."""
    posterior = handmade_posterior()
    kept = {
        name: values
        for name, values in posterior.groups["posterior"].items()
        if "trial" not in posterior.dims[name] and "trial_cell" not in posterior.dims[name]
    }
    prior = dataclasses.replace(posterior, groups={**posterior.groups, "posterior": kept})
    parameters = prior.parameters
    assert parameters["trial_mean"].shape == (prior.n_draws, 4)
    assert parameters["binary_log_odds_ratio"].shape == (prior.n_draws, 0)
    assert (parameters["trial_slope"] == 0).all()
    bare = dataclasses.replace(
        posterior,
        predictors=(),
        groups={
            "posterior": {n: v for n, v in kept.items() if not posterior.dims[n]}
            | {
                "population_effect": kept["population_effect"],
                "population_slope": kept["population_slope"][..., :0],
            }
        },
    )
    assert bare.parameters["predictor_covariance"].shape == (posterior.n_draws, 0, 0)
    assert bare.draws.slope_variance("trial").shape == (posterior.n_draws, 0)


def rewritten(path, change):
    """Change the contents of a file and give it a checksum that is right."""
    body = path.read_bytes()[:-_TRAILER_LENGTH]
    path.write_bytes(body)
    with h5py.File(path, "r+") as file:
        change(file)
    body = path.read_bytes()
    path.write_bytes(body + _trailer(body))


def with_metadata(change):
    def of(file):
        table = json.loads(file["metadata"]["json"].asstr()[()])
        table = change(table) or table
        del file["metadata"]["json"]
        file["metadata"]["json"] = json.dumps(table)

    return of


def test_a_file_of_the_earlier_format_is_read(saved):
    def before_labels(table):
        table["format"] = 3
        for predictor in table["predictors"]:
            for key in ("category", "level", "reference_level"):
                del predictor[key]

    rewritten(saved, with_metadata(before_labels))
    assert load_posterior(saved).predictors == handmade_posterior().predictors


@pytest.mark.parametrize("found", [2, 99, None, "four"])
def test_a_file_of_another_format_says_so(saved, found):
    rewritten(saved, with_metadata(lambda table: table.update(format=found)))
    with pytest.raises(kp.SavedFitError, match=f"has format {found}; this version .* 3 and 4"):
        load_posterior(saved)


def test_a_missing_file(tmp_path):
    with pytest.raises(kp.SavedFitError, match=r"nothing.nc' cannot be read: No such file"):
        load_posterior(tmp_path / "nothing.nc")


def test_a_foreign_file(tmp_path):
    foreign = tmp_path / "foreign.nc"
    xr.Dataset({"x": ("y", [1.0, 2.0])}).to_netcdf(foreign, engine="h5netcdf")
    with pytest.raises(kp.SavedFitError, match="not a whole ketpredict fit"):
        load_posterior(foreign)


def damages(content, rng):
    """Yield 140 ways in which disks, networks and editors damage a file."""
    size = len(content)
    for _ in range(40):  # a bit flips
        damaged = bytearray(content)
        damaged[rng.integers(size)] ^= 1 << int(rng.integers(8))
        yield bytes(damaged)
    for _ in range(30):  # the copy was cut short
        yield content[: rng.integers(size)]
    for _ in range(20):  # a block is zero, or another block
        start, other = rng.integers(0, size - 512, 2)
        block = bytes(512) if rng.random() < 0.5 else content[other : other + 512]
        damaged = content[:start] + block + content[start + 512 :]
        yield damaged if damaged != content else content + b"x"
    for _ in range(20):  # bytes were lost or added
        start, length = rng.integers(0, size), rng.integers(1, 64)
        added = rng.bytes(length) if rng.random() < 0.5 else b""
        yield content[:start] + added + content[start + (0 if added else length) :]
    for _ in range(10):  # read as text, with other line ends
        yield content[: rng.integers(1, size)].replace(b"\n", b"\r\n") + b"\r\n"
    for _ in range(20):  # another file altogether
        yield rng.bytes(rng.integers(0, 4096))


def reshaped(name):
    def change(file):
        values = file["posterior"][name][()]
        del file["posterior"][name]
        file["posterior"][name] = values[:, :-1]

    return change


def not_finite(name, value):
    def change(file):
        file["posterior"][name][0, 0] = value

    return change


def removed(*path):
    def change(file):
        for key in path[:-1]:
            file = file[key]
        del file[path[-1]]

    return change


def without(*path):
    def change(table):
        for key in path[:-1]:
            table = table[key]
        del table[path[-1]]

    return with_metadata(change)


def relabelled(dim):
    return with_metadata(lambda table: table["coords"][dim].append("one more"))


def pointing_away(file):
    file["constant_data"]["mean_cell"][0, 0] = 99


def changes(rng):
    """Yield 60 changes of the contents, under a checksum that is right."""
    variables = sorted(handmade_posterior().groups["posterior"])
    needed = ["intercept", "trial_scale", "arm_effect", "horizon_offset", "population_effect"]
    for name in rng.choice(variables, 12, replace=False):
        yield reshaped(name)
    for name in rng.choice(variables, 12, replace=False):
        yield not_finite(name, rng.choice([np.nan, np.inf]))
    for name in needed:
        yield removed("posterior", name)
    keys = ["spec", "predictors", "dims", "coords", "trial_values", "facts"]
    yield from (without(key) for key in keys)
    facts = ["arm_class", "basis", "ranges", "diagnostics", "provenance"]
    yield from (without("facts", key) for key in facts)
    yield from (without("coords", key) for key in ["trial", "arm", "predictor"])
    yield from (relabelled(dim) for dim in ["trial", "arm", "predictor", "population", "law"])
    yield without("spec", "link")
    yield without("predictors", 0, "scale")
    yield with_metadata(lambda table: table["spec"].update(link="cauchit"))
    yield with_metadata(lambda table: table["predictors"][0].update(scale=-1.0))
    yield with_metadata(lambda table: table["predictors"][0].update(name="weight"))
    yield with_metadata(lambda table: table.update(trial_values="none"))
    yield with_metadata(lambda table: table["trial_values"][0].append(1.0))
    yield with_metadata(lambda table: table["facts"]["arm_class"].pop())
    yield with_metadata(lambda table: [table])
    yield pointing_away
    yield removed("posterior")
    yield removed("constant_data")


def test_two_hundred_damaged_files_give_two_hundred_errors(saved):
    content, seen = saved.read_bytes(), 0
    rng = np.random.default_rng(0)

    def refused():
        with pytest.raises(kp.SavedFitError) as found:
            load_posterior(saved)
        assert "\n" not in str(found.value)
        assert str(saved) in str(found.value)
        return 1

    for damaged in damages(content, rng):
        assert damaged != content
        saved.write_bytes(damaged)
        seen += refused()
    for change in changes(rng):
        saved.write_bytes(content)
        rewritten(saved, change)
        seen += refused()
    assert seen == 200


def test_a_failed_write_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()

    def fail(*_args, **_kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(xr.DataTree, "to_netcdf", fail)
    with pytest.raises((OSError, kp.KetpredictError), match="disk full"):
        handmade_posterior(seed=2).save(saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["fit.nc"]


def test_nothing_is_executed_on_load(saved):
    """The format holds numbers and JSON text only: no pickled object, no opaque type."""
    import h5py

    kinds = set()
    with h5py.File(saved) as file:
        file.visititems(
            lambda _, item: kinds.add(item.dtype.kind) if isinstance(item, h5py.Dataset) else None
        )
        text = file["metadata"]["json"].asstr()[()]
    assert kinds <= {"f", "i", "u", "b", "O", "S"}
    assert text.startswith("{")
    assert b"pickle" not in saved.read_bytes()
