"""The points of unseen trials are spread evenly, in each axis, each pair and each four."""

import numpy as np
import pytest

from ketpredict.lattice import lattice


def test_the_first_points_of_a_larger_set_are_those_of_a_smaller_one():
    assert np.array_equal(lattice(4096, 10, 3)[:100], lattice(100, 10, 3))
    assert not np.array_equal(lattice(100, 10, 3), lattice(100, 10, 4))
    assert lattice(8, 100, 3).shape == (8, 100)
    assert len(np.unique(lattice(8, 100, 3), axis=1).T) == 100


def test_each_four_lie_in_four_quarters_of_every_axis():
    quarter = (lattice(400, 90, 3).reshape(100, 4, 90) * 4).astype(int)
    assert (np.sort(quarter, axis=1) == np.arange(4)[None, :, None]).all()


@pytest.mark.parametrize("size", [256, 4096, 12_000])
def test_averages_of_pairs_err_far_less_than_those_of_random_points(size):
    def worst(points):
        smooth = np.cos(2 * np.pi * points), np.sin(2 * np.pi * points), points - 0.5
        pairs = [np.abs(one.T @ other / size) for one in smooth for other in smooth]
        return max(np.triu(pair, 1).max() for pair in pairs)

    random = np.random.default_rng(5).random((size, 22))
    assert worst(lattice(size, 22, 3)) < 0.5 * worst(random)
