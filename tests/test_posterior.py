"""A saved fit comes back bit for bit, or says in one line why it does not."""

import dataclasses

import numpy as np
import pytest
import xarray as xr

import ketpredict as kp
from ketpredict.posterior import load_posterior
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


def test_a_file_of_an_earlier_format_says_so(saved, monkeypatch):
    monkeypatch.setattr("ketpredict.posterior.FORMAT", 4)
    with pytest.raises(kp.SavedFitError, match="has format 3; this version of ketpredict reads"):
        load_posterior(saved)


def test_a_missing_file(tmp_path):
    with pytest.raises(kp.SavedFitError, match=r"nothing.nc' cannot be read: No such file"):
        load_posterior(tmp_path / "nothing.nc")


def test_a_foreign_file(tmp_path):
    foreign = tmp_path / "foreign.nc"
    xr.Dataset({"x": ("y", [1.0, 2.0])}).to_netcdf(foreign, engine="h5netcdf")
    with pytest.raises(kp.SavedFitError, match="not a whole ketpredict fit"):
        load_posterior(foreign)


def test_a_truncated_file(saved):
    content = saved.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 1):
        saved.write_bytes(content[:length])
        with pytest.raises(kp.SavedFitError, match="not a whole ketpredict fit"):
            load_posterior(saved)


def test_a_changed_byte_anywhere_is_seen(saved):
    content = saved.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(content), 60):
        damaged = bytearray(content)
        damaged[position] ^= 1 << rng.integers(8)
        saved.write_bytes(bytes(damaged))
        with pytest.raises(kp.SavedFitError):
            load_posterior(saved)


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
