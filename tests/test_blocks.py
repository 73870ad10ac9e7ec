"""Blocks of rows that are alike, and the threads that work on them."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from scipy.special import ndtr

from ketpredict.blocks import Average, Blocks
from ketpredict.link import components
from ketpredict.workers import usable_cores, work_off


def two_patterns(weights, constants=(-0.4, 0.9)):
    """Return an average of two patterns in one draw, with nothing known."""
    one = np.ones((1, 2))
    return Average(
        coefficient=np.zeros((1, 1)),
        constant=np.array([constants]),
        variance=0.0 * one,
        known_slope_variance=np.zeros((1, 1)),
        origin=np.zeros((1, 1)),
        weight=np.array([weights]),
        weight_coefficient=np.array([[[0.0], [1.0]]]),
        atom=np.zeros((1, 2, 1)),
        atom_weight=np.ones((1, 2, 1)),
        products=None,
    )


@pytest.mark.parametrize("first", [0.3, -600.0, -700.0, -5000.0, 5000.0])
def test_patterns_count_by_their_weights_however_far_apart(first):
    """A first pattern that is all but impossible is no measure for the others."""
    values = np.array([[0.0], [1.2], [-0.5]])
    found = Blocks(two_patterns((first, 0.0)), components("probit")).at(np.zeros(1))
    logs = np.array([[first, value] for value in values[:, 0]])
    shares = np.exp(logs - np.logaddexp.reduce(logs, axis=1)[:, None])
    expected = shares @ ndtr([-0.4, 0.9])
    assert found.probability(values)[:, 0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("cores", [1, 2, None])
def test_every_piece_of_work_is_done(cores):
    done = np.zeros(200)

    def piece(place):
        done[place] += 1.0

    work_off((lambda place=place: piece(place) for place in range(200)), cores)
    assert (done == 1.0).all()
    assert usable_cores() >= 1


@pytest.mark.parametrize("cores", [1, 2])
def test_the_error_of_a_piece_is_the_caller_s_and_ends_the_work(cores):
    begun = []

    def piece(place):
        begun.append(place)
        if place == 3:
            raise ValueError("piece 3")

    with pytest.raises(ValueError, match="piece 3"):
        work_off((lambda place=place: piece(place) for place in range(10_000)), cores)
    assert len(begun) < 10_000
    assert threading.active_count() < 50


def test_few_pieces_wait_at_a_time():
    """What pieces hold stays bounded: they are made as others are done."""
    made, ahead, done = [], [], []

    def pieces():
        for place in range(300):
            made.append(place)
            ahead.append(len(made) - len(done))
            yield lambda: done.append(1)

    work_off(pieces(), 2)
    assert len(done) == 300
    assert max(ahead) < 20
