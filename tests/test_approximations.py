"""Laplace and Pathfinder against what is known exactly, and what they say of themselves."""

import warnings

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit
from scipy.stats import multivariate_normal

import ketpredict as kp
import monte_carlo
from ketpredict.checks import check_fit
from ketpredict.diagnostics import diagnose, report_convergence
from ketpredict.fitting import SamplerSettings, fit, prepare, redraw
from ketpredict.importance import resample, smoothed_weights
from ketpredict.laplace import Normal, laplace
from ketpredict.pathfinder import pathfinder
from ketpredict.posterior import load_posterior
from ketpredict.predictors import load_predictors
from ketpredict.spec import load_spec
from ketpredict.wording import verdict_words

PLACES = 8
OBSERVED = np.array([1.1, -0.4, 0.7, 0.2, 1.6, -0.9, 0.3, 2.0])
ERROR = np.array([0.4, 0.5, 0.3, 0.6, 0.4, 0.5, 0.7, 0.3])


def random_normal(seed=3):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(PLACES, PLACES)) / 4 + np.diag(np.linspace(0.4, 1.6, PLACES))
    mean, covariance = rng.normal(size=PLACES), root @ root.T
    precision = np.linalg.inv(covariance)

    def density(point):
        gradient = -precision @ (point - mean)
        return 0.5 * (point - mean) @ gradient, gradient

    return mean, covariance, density


def hierarchical(point):
    """Eight observed effects, N(mean, scale^2): log scale, mean, then standard normals."""
    log_scale, centre, raw = point[0], point[1], point[2:]
    scale = np.exp(log_scale)
    residual = (OBSERVED - centre - scale * raw) / ERROR**2
    value = log_scale - 0.5 * scale**2 - 0.5 * centre**2 - 0.5 * raw @ raw
    value -= 0.5 * (residual**2 * ERROR**2).sum()
    gradient = np.empty_like(point)
    gradient[0] = 1.0 - scale**2 + scale * residual @ raw
    gradient[1] = -centre + residual.sum()
    gradient[2:] = -raw + scale * residual
    return value, gradient


def marginal(log_scale):
    """Return the exact log density of the log scale, the effects integrated out."""
    scale = np.exp(log_scale)
    covariance = np.ones((8, 8)) + np.diag(scale**2 + ERROR**2)
    own = multivariate_normal(np.zeros(8), covariance).logpdf(OBSERVED)
    return own + log_scale - 0.5 * scale**2


ONLY_SCALE = np.array([True] + [False] * 9)


def test_laplace_of_a_normal_is_exact():
    mean, covariance, density = random_normal()
    for is_scale in (np.zeros(PLACES, bool), np.arange(PLACES) < 3):
        found = laplace(density, np.zeros(PLACES), is_scale)
        assert np.allclose(found.mean, mean, atol=1e-3)
        assert np.allclose(found.factor @ found.factor.T, covariance, rtol=1e-3, atol=1e-3)


def test_laplace_finds_the_mode_of_the_marginal_density_of_the_scale():
    best = minimize_scalar(lambda s: -marginal(s), bounds=(-4, 3), method="bounded")
    step = 1e-3
    ends = marginal(best.x + step) + marginal(best.x - step)
    curvature = (2 * marginal(best.x) - ends) / step**2
    found = laplace(hierarchical, np.zeros(10), ONLY_SCALE)
    # The search stops at a gradient of 0.05, and the curvature is a difference over 0.02.
    assert found.mean[0] == pytest.approx(best.x, abs=0.05 / curvature + 1e-3)
    assert found.factor[0, 0] ** -2 == pytest.approx(curvature, rel=0.05)


def test_the_joint_mode_is_not_what_laplace_finds():
    joint = minimize(
        lambda x: tuple(-v for v in hierarchical(x)), np.zeros(10), jac=True, method="BFGS"
    )
    found = laplace(hierarchical, np.zeros(10), ONLY_SCALE)
    away = (joint.x[0] - found.mean[0]) / found.factor[0, 0]
    assert away > 0.5


def test_laplace_with_a_likelihood_that_is_not_normal():
    """Its mode is that of log p(u^, s) - log|H| / 2, worked out here with its own Newton steps."""
    responders, n = np.array([1.0, 7.0, 4.0, 9.0, 2.0, 6.0]), 10.0

    def density(point):
        scale, raw = np.exp(point[0]), point[1:]
        rate = expit(scale * raw)
        value = point[0] - 0.5 * scale**2 - 0.5 * raw @ raw
        value += (responders * scale * raw - n * np.logaddexp(0, scale * raw)).sum()
        score = responders - n * rate
        return value, np.concatenate([[1 - scale**2 + scale * raw @ score], -raw + scale * score])

    def minus_marginal(log_scale):
        raw, scale = np.zeros(6), np.exp(log_scale)
        for _ in range(50):
            rate = expit(scale * raw)
            information = 1 + scale**2 * n * rate * (1 - rate)
            raw = raw + (scale * (responders - n * rate) - raw) / information
        value = density(np.concatenate([[log_scale], raw]))[0]
        return 0.5 * np.log(information).sum() - value

    best = minimize_scalar(minus_marginal, bounds=(-3, 2), method="bounded").x
    step = 1e-3
    ends = minus_marginal(best + step) + minus_marginal(best - step)
    curvature = (ends - 2 * minus_marginal(best)) / step**2
    found = laplace(density, np.zeros(7), np.arange(7) < 1)
    assert found.mean[0] == pytest.approx(best, abs=0.05 / curvature + 1e-3)
    assert found.factor[0, 0] ** -2 == pytest.approx(curvature, rel=0.08)


def test_weighted_draws_reach_the_exact_posterior_of_the_scale():
    """Also from a normal that stands half a standard deviation beside the right one."""
    s = np.linspace(-6, 3, 901)
    density = np.exp([marginal(value) - marginal(-0.2) for value in s])
    density /= trapezoid(density, s)
    mean = trapezoid(density * s, s)
    low = s <= -0.4
    tail = trapezoid(density[low], s[low])
    found = laplace(hierarchical, np.zeros(10), ONLY_SCALE)
    aside = Normal(found.mean + found.factor[:, 0] / 2, found.factor)
    points, log_normal = aside.draw(8000, np.random.default_rng(8))
    weights = smoothed_weights(np.array([hierarchical(p)[0] for p in points]) - log_normal)
    assert weights.usable
    # A thousandth of the posterior lies in the funnel's neck, near -3, where no draw goes.
    neck = 0.003
    weighted, error = weighted_mean(weights.weight, points[:, 0])
    assert weighted == pytest.approx(mean, abs=4 * error + 3 * neck)
    assert abs(points[:, 0].mean() - mean) > 8 * error, "unweighted draws would have passed too"
    weighted, error = weighted_mean(weights.weight, points[:, 0] <= -0.4)
    assert weighted == pytest.approx(tail, abs=4 * error + neck)


def weighted_mean(weight, values):
    """Return a weighted mean and its Monte Carlo error (Owen 2013, section 9.2)."""
    mean = weight @ values
    return mean, np.sqrt(weight**2 @ (values - mean) ** 2)


def test_both_draw_from_the_normal_whose_density_they_state():
    density = random_normal()[2]
    rng = np.random.default_rng(4)
    for found in (
        laplace(density, np.zeros(PLACES), np.zeros(PLACES, bool)),
        pathfinder(density, np.zeros(PLACES), rng),
    ):
        points, log_density = found.draw(4000, rng)
        covariance = np.cov(points.T)
        exact = multivariate_normal(points.mean(axis=0), covariance).logpdf(points)
        # A sample covariance of 4000 draws: log densities agree to about places / sqrt(draws).
        assert np.std(exact - log_density) < 0.3
        assert np.mean(exact - log_density) == pytest.approx(0, abs=0.1)


def test_pathfinder_of_a_normal():
    mean, covariance, density = random_normal()
    rng = np.random.default_rng(1)
    points, log_normal = pathfinder(density, rng.uniform(-1, 1, PLACES), rng).draw(4000, rng)
    weights = smoothed_weights(np.array([density(p)[0] for p in points]) - log_normal)
    assert weights.usable
    spread = np.sqrt(np.diag(covariance))
    error = 4 * spread / np.sqrt(weights.effective_draws)
    assert (np.abs(weights.weight @ points - mean) < error).all()


@pytest.mark.parametrize("shape", [0.3, 0.9])
def test_pareto_k_is_the_shape_of_the_ratios_tail(shape):
    """Ratios whose logarithm is exponential with mean k are Pareto with shape k."""
    log_ratio = shape * np.random.default_rng(2).exponential(size=20_000)
    weights = smoothed_weights(log_ratio)
    assert weights.pareto_k == pytest.approx(shape, abs=0.15)
    assert weights.usable == (shape < 0.7)
    assert weights.weight.sum() == pytest.approx(1)


def test_ratios_that_are_all_but_zero_have_no_weight():
    log_ratio = np.random.default_rng(2).normal(size=500)
    log_ratio[:3] = -np.inf
    assert (smoothed_weights(log_ratio).weight[:3] == 0).all()
    nothing = smoothed_weights(np.full(50, -np.inf))
    assert not nothing.usable
    assert nothing.effective_draws == 0


@pytest.mark.parametrize(
    ("log_ratio", "weight", "k"),
    [
        (np.full(400, 7.0), np.full(400, 1 / 400), -np.inf),  # nothing is left out
        (np.full(400, 7.0) + 1e-16, np.full(400, 1 / 400), -np.inf),
        (np.zeros(1), np.ones(1), -np.inf),
        (np.log([1.0, 2.0, 1.0]), np.array([0.25, 0.5, 0.25]), -np.inf),  # no tail, no matter
        (np.log([1.0, 8.0, 1.0]), np.array([0.1, 0.8, 0.1]), np.inf),  # no tail, and it matters
        (np.array([0.0, np.inf, np.inf, -np.inf]), np.array([0.0, 0.5, 0.5, 0.0]), np.inf),
        (np.array([0.0, np.nan, 0.0, -np.inf]), np.array([0.5, 0.0, 0.5, 0.0]), -np.inf),
        (np.repeat([0.0, 900.0], [399, 1]), np.repeat([0.0, 1.0], [399, 1]), np.inf),
    ],
)
def test_weights_without_a_tail_are_those_of_the_ratios(log_ratio, weight, k):
    found = smoothed_weights(log_ratio)
    np.testing.assert_allclose(found.weight, weight, atol=1e-12)
    assert found.pareto_k == k
    assert found.effective_draws == pytest.approx(1 / (weight**2).sum())


@pytest.mark.parametrize("draws", [1, 2, 7, 24, 25, 30, 400])
@pytest.mark.parametrize("spread", [0.0, 1e-300, 1e-13, 1e-3, 1.0, 30.0, 700.0])
def test_weights_of_any_draws_add_up_to_one(draws, spread):
    log_ratio = spread * np.random.default_rng(draws).normal(size=draws)
    found = smoothed_weights(log_ratio)
    assert found.weight.sum() == pytest.approx(1.0)
    assert not np.isnan(found.pareto_k)
    assert 1.0 - 1e-9 <= found.effective_draws <= draws + 1e-9
    order = np.argsort(log_ratio)
    assert (np.diff(found.weight[order]) >= -1e-12).all()


def test_resampling_takes_each_draw_as_often_as_its_weight_says():
    weight = np.array([0.5, 0.25, 0.15, 0.07, 0.03])
    rng = np.random.default_rng(0)
    counts = np.array([np.bincount(resample(weight, rng), minlength=5) for _ in range(4000)])
    assert (counts.sum(axis=1) == 5).all()
    assert (np.abs(counts - 5 * weight) < 1).all()
    assert np.allclose(counts.mean(axis=0), 5 * weight, atol=4 * 0.5 / np.sqrt(4000))


@pytest.fixture(scope="module")
def small():
    """Return the design and evidence of 90 patients of three trials with two predictors."""
    rng = np.random.default_rng(11)
    size = 90
    bmi, history = rng.normal(28, 6, size), rng.integers(0, 2, size)
    latent = 0.4 * (bmi - 28) / 6 + 0.5 * history + rng.normal(size=size)
    table = {
        "trial": np.repeat(["T1", "T2", "T3"], 30),
        "bmi": bmi,
        "family_history_aud": np.where(rng.random(size) < 0.2, np.nan, history),
        "response": (latent > 0).astype(float),
    }
    spec = load_spec("published").with_predictors(("bmi", "family_history_aud"))
    evidence = kp.make_evidence(participants=table, predictors=spec.predictors)
    return prepare(spec, evidence, load_predictors())


def settings(inference, **changes):
    given = {"draws": 400, "tune": 400, "chains": 2, "seed": 3, **changes}
    return SamplerSettings(inference=inference, **given)


def drawn(small, inference, **changes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kp.ConvergenceWarning)
        return redraw(small[0], settings(inference, **changes))["posterior"].to_dataset()


@pytest.mark.draws
def test_laplace_stands_near_nuts(small):
    """Within half a posterior SD, which is what docs/approximations.md says of larger work."""
    exact, near = (drawn(small, inference, draws=1200) for inference in ("nuts", "laplace"))
    assert set(exact) == set(near)
    for name in ("slope", "intercept", "predictor_location", "predictor_covariance"):
        one, two = exact[name].to_numpy(), near[name].to_numpy()
        spread = one.std(axis=(0, 1))
        of_mean = np.hypot(monte_carlo.of_mean(one), monte_carlo.of_mean(two)) / spread
        of_sd = np.hypot(monte_carlo.of_sd(one), monte_carlo.of_sd(two)) / spread
        away = (two.mean(axis=(0, 1)) - one.mean(axis=(0, 1))) / spread
        monte_carlo.between(away, -0.5, 0.5, of_mean)
        monte_carlo.between(two.std(axis=(0, 1)) / spread, 0.6, 1.6, of_sd)


@pytest.mark.draws
@pytest.mark.parametrize("inference", ["laplace", "pathfinder"])
def test_the_same_seed_gives_the_same_draws_on_any_number_of_cores(small, inference):
    one = drawn(small, inference, cores=1)
    assert one.equals(drawn(small, inference, cores=2))
    other = drawn(small, inference, cores=1).copy()
    assert one.sizes["chain"] == 2
    assert one.sizes["draw"] == 400
    assert one.equals(other)


@pytest.mark.draws
@pytest.mark.parametrize("inference", ["laplace", "pathfinder"])
def test_a_rough_approximation_says_so_and_pretends_no_chains(small, inference, tmp_path):
    design, evidence = small
    with pytest.warns(kp.ConvergenceWarning, match=rf"approximation.*\({inference}\).*Pareto k|"):
        posterior = fit(design, evidence, settings(inference))
    told = posterior.facts["diagnostics"]
    assert told["method"] == inference
    assert told["rhat"] is told["divergences"] is told["ess_bulk"] is None
    assert "R-hat" not in verdict_words(told)
    assert verdict_words(told).startswith("ROUGH approximation")
    verdict = check_fit(posterior)
    assert list(verdict.convergence["measure"]) == ["Pareto k", "effective draws"]
    assert not verdict.convergence["holds"].all()
    assert not verdict.passed
    loaded = load_posterior(posterior.save(tmp_path / "fit.nc"))
    assert loaded.facts["diagnostics"] == told
    with pytest.raises(kp.ConvergenceError, match="inference='nuts'"):
        report_convergence(loaded.problems, strict=True, where="saved fit")


def test_a_good_approximation_passes_and_says_what_it_is():
    import xarray as xr

    stats = xr.Dataset(attrs={"pareto_k": 0.2, "effective_draws": 900.0})
    tree = xr.DataTree.from_dict({"sample_stats": stats})
    found = diagnose(tree, "laplace")
    assert found.converged
    told = {"problems": [], "method": "laplace", "pareto_k": 0.2, "effective_draws": 900.0}
    assert verdict_words(told).startswith("Approximation (laplace): Pareto k 0.20")
    stats.attrs["effective_draws"] = 90.0
    few = diagnose(xr.DataTree.from_dict({"sample_stats": stats}), "laplace")
    assert "worth 90" in few.problems[0]


@pytest.mark.draws
def test_a_second_fit_of_other_data_compiles_and_loads_nothing(small):
    from ketpredict.pieces import compiled

    drawn(small, "laplace")
    before = compiled.cache_info().misses
    rng = np.random.default_rng(5)
    table = {
        "trial": rng.choice(["A", "B"], 40),
        "age": rng.normal(40, 9, 40),
        "response": rng.integers(0, 2, 40).astype(float),
        "bmi": rng.normal(27, 4, 40),
        "female": rng.integers(0, 2, 40),
    }
    names = ("age", "bmi", "female")
    spec = load_spec("published").with_predictors(names)
    other = prepare(spec, kp.make_evidence(participants=table, predictors=names), load_predictors())
    drawn(other, "nuts")
    assert compiled.cache_info().misses == before
