"""Chain statistics equal ArviZ's, which works on one quantity at a time."""

import numpy as np
import pytest
from arviz_stats.base.array import array_stats

from ketpredict.chain_statistics import chain_statistics

TAILS = (0.05, 0.95)
PER_KIND = 20


def autocorrelated(rng, shape, by):
    values = rng.normal(size=shape)
    for draw in range(1, shape[1]):
        values[:, draw] += by * values[:, draw - 1]
    return values


def drawn(rng, kind, shape):
    """Return chains of a kind, (chain, draw)."""
    noise = rng.normal(size=shape)
    chain = np.arange(shape[0])[:, None]
    return {
        "independent": noise,
        "slow": autocorrelated(rng, shape, 0.95),
        "antithetic": autocorrelated(rng, shape, -0.8),
        "heavy tails": rng.standard_cauchy(size=shape),
        "ties": np.round(2.0 * noise),
        "two values": np.where(autocorrelated(rng, shape, 0.5) > 1.0, 1.0, -1.0),
        "constant within": chain + 0.1 * np.zeros(shape),
        "one chain stuck": np.where(chain == 0, 0.3, noise),
        "one chain apart": noise + 3.0 * (chain == 0),
        "drifting": noise + np.linspace(0.0, 3.0, shape[1]),
    }[kind]


KINDS = (
    "independent",
    "slow",
    "antithetic",
    "heavy tails",
    "ties",
    "two values",
    "constant within",
    "one chain stuck",
    "one chain apart",
    "drifting",
)


@pytest.mark.parametrize("shape", [(4, 500), (4, 101), (2, 20), (3, 7), (2, 5), (4, 4)])
def test_they_equal_arviz(shape):
    rng = np.random.default_rng(sum(shape))
    kinds = [kind for kind in KINDS for _ in range(PER_KIND)]
    values = np.stack([drawn(rng, kind, shape) for kind in kinds], axis=-1)
    found = chain_statistics(values, TAILS)
    axes = {"chain_axis": 0, "draw_axis": 1}
    with np.errstate(all="ignore"):
        expected = {
            "rhat": array_stats.rhat(values, **axes),
            "ess_bulk": array_stats.ess(values, method="bulk", **axes),
            "ess_tail": array_stats.ess(values, method="tail", prob=TAILS, **axes),
        }
    for name, reference in expected.items():
        own = getattr(found, name)
        apart = [
            (kind, a, b)
            for kind, a, b in zip(kinds, own, reference, strict=True)
            if not np.isclose(a, b, rtol=1e-10, atol=0.0, equal_nan=True)
        ]
        assert apart == [], name


def test_one_chain_has_no_rhat_and_few_draws_have_nothing():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(1, 50, 3))
    alone = chain_statistics(values, TAILS)
    assert np.isnan(alone.rhat).all()
    expected = array_stats.ess(values, method="bulk", chain_axis=0, draw_axis=1)
    np.testing.assert_allclose(alone.ess_bulk, expected, rtol=1e-10)
    few = chain_statistics(rng.normal(size=(4, 3, 2)), TAILS)
    assert np.isnan([few.rhat, few.ess_bulk, few.ess_tail]).all()
