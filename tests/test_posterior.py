"""A saved fit comes back bit for bit, or says in one line why it does not."""

import dataclasses

import h5py
import numpy as np
import pytest
import xarray as xr

import ketpredict as kp
from ketpredict.posterior import _TRAILER_LENGTH, _trailer, load_posterior
from saved_fits import rewritten, with_metadata
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


def drawn(name, value, group="posterior"):
    def change(file):
        file[group][name][0, 0] = value

    return change


def said(*path, value):
    def change(table):
        for key in path[:-1]:
            table = table[key]
        table[path[-1]] = value

    return with_metadata(change)


def impossible():
    """Yield 81 contents that no fit can have, each in its place of the right type and shape."""
    scales = ("population_scale", "trial_scale", "treatment_scale", "slope_scale")
    yield from (drawn(name, -0.1) for name in scales)
    yield from (drawn("improvement_sd", value) for value in (0.0, -31.0, 1e-300, 1e300))
    yield from (drawn("predictor_between_scale", value) for value in (0.0, -0.4))
    yield from (drawn("predictor_covariance", value) for value in (0.0, -1.0))
    yield from (drawn(name, 1e300) for name in ("intercept", "trial_slope", "horizon_offset"))
    yield from (removed("posterior", n) for n in ("trial_effect", "trial_mean", "binary_shift"))
    yield from (removed("constant_data", n) for n in ("mean_cell", "law_trial"))
    facts = ("facts",)
    for wrong in (None, "active", ["active", "placebo"], ["active", None]):
        yield said(*facts, "arm_class", value=wrong)
    for wrong in ([0, 1], ["no", "no"], {}):
        yield said(*facts, "repeated_arm", value=wrong)
    for key in ("population", "extrapolated", "reason"):
        yield without(*facts, "basis", 0, key)
        yield said(*facts, "basis", 0, key, value=3)
    yield said(*facts, "basis", 0, "population", value="elsewhere")
    yield said(*facts, "basis", 0, "patients", value=-1)
    yield said(*facts, "basis", value=[])
    for key in ("low", "high", "trials"):
        yield without(*facts, "ranges", "bmi", key)
        yield said(*facts, "ranges", "bmi", key, value="wide")
    yield said(*facts, "ranges", "bmi", "low", value=50.0)
    yield said(*facts, "ranges", "bmi", "trials", value=1.5)
    yield without(*facts, "ranges", "family_history_aud")
    for wrong in (None, "none", [1], {"problems": None}, {"problems": [], "method": "nuts"}):
        yield said(*facts, "diagnostics", value=wrong)
    yield said(*facts, "diagnostics", "rhat", value="1.0")
    yield said(*facts, "provenance", "sampler", value={"draws": 4})
    yield said(*facts, "provenance", "specification", value="0" * 64)
    yield said(*facts, "messages", value=[1])
    yield said(*facts, "effects", value=[{"used": True}])
    for key in ("trial", "population", "arm"):
        yield said(*facts, "estimator", value={key: 7})
    yield said(*facts, "columns", value={"by_name": True})
    yield said(*facts, "columns", value={"by_name": False, "names": ["a"], "count": 2})
    yield said(*facts, "labels", value={"classes": [0, 1], "response": 2})
    yield said(*facts, "labels", value={"classes": [1, 1], "response": 1})
    yield said("coords", "trial", value=["T1", "T1"])
    yield said("coords", "arm", value=["ketamine", 2])
    yield said("coords", "knot", value=[4.0, 24.0, 72.0, 100.0])
    yield said("coords", "slope_part", value=["a", "b", "c", "d"])
    yield said("coords", "study_term", value=["a", "b", "c"])
    yield said("coords", "binary", value=["bmi"])
    yield said("dims", "intercept", value=["population"])
    yield said("dims", "trial_effect", value=["arm"])
    for key, wrong in (("centre", "27"), ("scale", 0), ("name", ""), ("kind", "count")):
        yield said("predictors", 0, key, value=wrong)
    for key, wrong in (("between_trial_sd", -1), ("aliases", "mass"), ("centre", 1.5)):
        yield said("predictors", 1, key, value=wrong)
    yield said("trial_values", 0, 0, value="27")
    yield said("spec", "horizons", "reference", value=5.0)
    yield said("spec", "priors", "intercept", value={"normal": [0.0, -1.0]})
    yield said("spec", "pooling", "trial_slope", value=False)


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


def refused(path):
    with pytest.raises(kp.SavedFitError) as found:
        load_posterior(path)
    assert "\n" not in str(found.value)
    assert str(path) in str(found.value)
    return str(found.value)


def test_damaged_files_give_as_many_errors(saved):
    content, seen = saved.read_bytes(), 0
    for damaged in damages(content, np.random.default_rng(0)):
        assert damaged != content
        saved.write_bytes(damaged)
        refused(saved)
        seen += 1
    assert seen == 140


def test_wrong_contents_give_as_many_errors(saved):
    rewritten(saved, undigested)
    content, rng = saved.read_bytes(), np.random.default_rng(0)
    accepted, seen = [], 0
    for seen, change in enumerate((*changes(rng), *impossible()), 1):
        saved.write_bytes(content)
        rewritten(saved, change)
        try:
            words = refused(saved)
        except pytest.fail.Exception:
            accepted.append(seen)
        else:
            assert "changed after they were saved" not in words
    assert not accepted
    assert seen == 141


@with_metadata
def undigested(table):
    """Leave out the digest of the contents, which would refuse any change; it is optional."""
    del table["digest"]


def test_contents_without_a_digest_are_read(saved):
    rewritten(saved, undigested)
    assert load_posterior(saved).facts == handmade_posterior().facts


def test_a_number_changed_before_the_checksum_was_made_is_found(saved):
    """It is a possible one: nothing but the digest of the contents can tell."""
    centre = said("predictors", 0, "centre", value=27.9)
    rewritten(saved, centre)
    assert "they were changed after they were saved" in refused(saved)
    rewritten(saved, undigested)
    assert load_posterior(saved).predictors[0].centre == 27.9
    handmade_posterior().save(saved)
    rewritten(saved, drawn("intercept", 0.3))
    assert "they were changed after they were saved" in refused(saved)


def flips(body, rng):
    """Yield 200 bodies with one or a few bytes changed: anywhere, in headers, and in the text."""
    text = body.index(b'{"format"')
    heads = [i for word in (b"TREE", b"OHDR", b"OCHK", b"GCOL") for i in places(body, word)]
    for i in range(200):
        changed = bytearray(body)
        for _ in range(rng.integers(1, 4)):
            place = (
                rng.integers(len(body)),
                text + rng.integers(8000),
                rng.choice(heads) + rng.integers(256),
                rng.integers(96),
            )[i % 4] % len(body)
            changed[place] = int(rng.choice([0, 255, rng.integers(256), changed[place] ^ 1]))
        yield bytes(changed)


def places(body, word):
    place = body.find(word)
    while place >= 0:
        yield place
        place = body.find(word, place + 1)


def test_flips_under_a_right_checksum_end_in_errors_or_the_same_prediction(saved):
    patients = {"bmi": [31.0, None], "family_history_aud": [1, 0], "trial": ["T1", "new"]}

    def predicted():
        found = kp.response_probability(patients, load_posterior(saved))
        return np.column_stack([found.probability, found.trial_interval, found.average_interval])

    expected, body = predicted(), saved.read_bytes()[:-_TRAILER_LENGTH]
    ends = {"refused": 0, "same": 0}
    for changed in flips(body, np.random.default_rng(1)):
        saved.write_bytes(changed + _trailer(changed))
        try:
            found = predicted()
        except kp.SavedFitError:
            ends["refused"] += 1
        else:
            assert np.array_equal(found, expected)
            ends["same"] += 1
    assert sum(ends.values()) == 200
    assert min(ends.values()) >= 40


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

    kinds = set()
    with h5py.File(saved) as file:
        file.visititems(
            lambda _, item: kinds.add(item.dtype.kind) if isinstance(item, h5py.Dataset) else None
        )
        text = file["metadata"]["json"].asstr()[()]
    assert kinds <= {"f", "i", "u", "b", "O", "S"}
    assert text.startswith("{")
    assert b"pickle" not in saved.read_bytes()
