"""Patterns against itertools."""

import itertools

import numpy as np
import pytest

import ketpredict as kp
from ketpredict.patterns import enumerate_patterns


def test_every_combination_of_the_open_ones_in_order():
    rate = np.array([[1.0, np.nan, 0.3], [0.0, 0.0, 1.0], [0.5, 1.0, np.nan]])
    row, value = enumerate_patterns(rate)
    expected = []
    for number, line in enumerate(rate):
        choices = [(x,) if x in (0.0, 1.0) else (0.0, 1.0) for x in line]
        expected += [(number, *combination) for combination in itertools.product(*choices)]
    assert np.column_stack([row, value]).tolist() == [list(entry) for entry in expected]


def test_no_binaries_leave_one_empty_pattern_for_each_row():
    row, value = enumerate_patterns(np.empty((3, 0)))
    assert row.tolist() == [0, 1, 2]
    assert value.shape == (3, 0)


def test_too_many_open_binaries():
    with pytest.raises(kp.DataError, match="11 unknown binary predictors; up to 10"):
        enumerate_patterns(np.full((1, 11), np.nan))


def test_one_person_has_one_label():
    rate = np.array([[np.nan, np.nan, np.nan], [np.nan, 1.0, 0.0], [np.nan, np.nan, 0.0]])
    row, value = enumerate_patterns(rate, [(0, 2)])
    assert value[row == 0].tolist() == [
        [0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0],
        [0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0],
    ]  # fmt: skip
    assert (row == 1).sum() == 2
    # The people of an arm have several.
    row, value = enumerate_patterns(rate, [(0, 2)], np.array([False, True, True]))
    assert (row == 0).sum() == 8
