"""Links against SciPy and against direct integration."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit, ndtr
from scipy.stats import logistic, norm

from ketpredict import link


def mixture(kind, q, variance=0.0):
    weight, scale = link.components(kind)
    q = np.asarray(q)[..., None]
    return (weight * ndtr(scale * q / np.sqrt(1.0 + scale**2 * variance))).sum(axis=-1)


def test_the_probit_is_the_normal_distribution_function():
    q = np.linspace(-8, 8, 41)
    assert mixture("probit", q) == pytest.approx(norm.cdf(q), rel=1e-12)
    assert link.variance("probit") == 1.0


def test_the_logit_is_a_mixture_of_normals_to_the_stated_error():
    q = np.linspace(-60, 60, 4001)
    error = np.abs(mixture("logit", q) - expit(q)).max()
    assert 1e-10 < error < 1e-8  # the docstring says 9e-9
    assert link.components("logit")[0].sum() == pytest.approx(1.0, abs=1e-15)
    assert link.variance("logit") == pytest.approx(logistic.var())


@pytest.mark.parametrize(("mean", "variance"), [(0.3, 0.2), (-2.0, 1.0), (4.0, 9.0), (-1.0, 25.0)])
def test_an_average_over_normal_variation_is_closed(mean, variance):
    def integrand(e):
        return expit(mean + np.sqrt(variance) * e) * norm.pdf(e)

    exact = quad(integrand, -12, 12, epsabs=1e-13, limit=200)[0]
    assert mixture("logit", mean, variance) == pytest.approx(exact, abs=2e-8)
