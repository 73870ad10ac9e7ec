"""Prediction on a real Dask cluster of two processes: the numbers of one machine, bit for bit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import ketpredict as kp
from ketpredict.cluster import predict_frame
from ketpredict.streaming import predict_file
from tiny_fit import handmade_posterior

COUNT = 40


@pytest.fixture(scope="module")
def fit_file(tmp_path_factory):
    return handmade_posterior().save(tmp_path_factory.mktemp("fit") / "fit.nc")


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def patients():
    rng = np.random.default_rng(8)
    bmi = rng.uniform(19.0, 39.0, COUNT)
    bmi[::3] = np.nan
    return pd.DataFrame(
        {
            "trial": rng.choice(np.array(["T1", "T2", None], dtype=object), COUNT),
            "population": "unipolar",
            "bmi": bmi,
            "family_history_aud": np.where(np.arange(COUNT) % 4, 1.0, np.nan),
        }
    )


@pytest.mark.parametrize(("intervals", "parts"), [(True, 3), (False, 2)])
def test_two_processes_give_the_numbers_of_one_machine(
    client, fit_file, patients, tmp_path, intervals, parts
):
    import dask.dataframe as dd

    source, target = tmp_path / "patients.parquet", tmp_path / "out.parquet"
    patients.to_parquet(source)
    predict_file(fit_file, source, target, prob=0.8, intervals=intervals, rows_at_once=7)
    expected = pd.read_parquet(target)
    frame = dd.from_pandas(patients, npartitions=parts)
    lazy = predict_frame(fit_file, frame, 0.8, intervals=intervals)
    assert list(lazy.columns) == list(expected)
    found = lazy.compute(scheduler=client)
    # Equal to the last bit, missing cells of the patients included.
    pd.testing.assert_frame_equal(found, expected, check_exact=True, check_dtype=False)
    ran = client.run(lambda: "ketpredict.cluster" in __import__("sys").modules)
    assert len(ran) == 2
    assert all(ran.values())


def test_a_wrong_cell_stops_the_work_and_says_where(client, fit_file, patients):
    import dask.dataframe as dd

    wrong = patients.assign(bmi=[*patients["bmi"][:-1], 5.0])
    lazy = predict_frame(fit_file, dd.from_pandas(wrong, npartitions=2))
    with pytest.raises(kp.DataError, match=r"row 20 .*bmi is 5; expected"):
        lazy.compute(scheduler=client)


def test_a_fit_in_memory_is_refused(patients):
    with pytest.raises(kp.DataError, match="fit is a Posterior; expected 'published' or the path"):
        predict_frame(handmade_posterior(), patients)
