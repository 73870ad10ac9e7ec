"""Every conversion of a published statistic, against patients simulated one by one.

Each test draws many patients from known slopes, computes the statistic as authors would, converts
it, and compares it with what the model implies for these slopes. Nothing of the package's formulas
takes part in making the statistic.
"""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ketpredict.conversions import (
    COEFFICIENT,
    CORRELATION,
    COUNTS,
    LOG_ODDS_RATIO,
    LOG_RISK_RATIO,
    Term,
    attenuation,
    convert,
)
from ketpredict.design import encode
from ketpredict.effect_density import (
    effect_log_likelihood,
    implied_effects,
    own_log_likelihood,
)
from ketpredict.evidence import make_evidence, select_horizons
from ketpredict.predictors import load_predictors
from ketpredict.spec import load_spec

REFERENCES = load_predictors()
NAMES = ("bmi", "age", "female", "family_history_aud")
SLOPE = np.array([0.45, -0.3, 0.7, -0.5])
COVARIANCE = np.array([[1.2, 0.5], [0.5, 0.9]])
SHIFT = np.array([[0.4, 0.0], [0.0, -0.3]])
RATE = np.array([0.6, 0.35])
LOG_ODDS_RATIO_OF_BINARIES = 0.8
LEVEL = 0.25
SIZE = 400_000


def both_are_one():
    """The 2 by 2 table with these margins and odds ratio, by bisection."""
    p, q = RATE
    low, high = max(0.0, p + q - 1), min(p, q)
    for _ in range(200):
        middle = 0.5 * (low + high)
        ratio = middle * (1 - p - q + middle) / ((p - middle) * (q - middle))
        low, high = (
            (middle, high) if math.log(ratio) < LOG_ODDS_RATIO_OF_BINARIES else (low, middle)
        )
    return middle


@pytest.fixture(scope="module")
def cohort():
    """Values on the reference scale (binaries 0 and 1), latent improvement, response."""
    rng = np.random.default_rng(11)
    both = both_are_one()
    p, q = RATE
    cells = rng.choice(4, SIZE, p=[1 - p - q + both, q - both, p - both, both])
    binary = np.column_stack([cells >= 2, cells % 2 == 1]).astype(float)
    continuous = rng.multivariate_normal([0.1, -0.2], COVARIANCE, SIZE) + binary @ SHIFT.T
    value = np.column_stack([continuous, binary])
    latent = LEVEL + (value - value.mean(axis=0)) @ SLOPE + rng.normal(size=SIZE)
    return value, latent, (latent > 0).astype(float)


def fitted(rows, link="probit"):
    """The design of some rows, and parameters that are the truth."""
    spec = dataclasses.replace(load_spec("published").with_predictors(NAMES), link=link)
    arms = {"trial": ["a"], "population": ["p"], "arm": ["ketamine"], "hours": [24.0]}
    arms |= {"n": [10], "responders": [5]}
    base = {"cohort": "c", "population": "p", "hours": 24.0, "estimate": np.nan, "n": SIZE}
    table = pd.DataFrame([{**base, "cohort": f"c{i}", **row} for i, row in enumerate(rows)])
    evidence = make_evidence(arms=pd.DataFrame(arms), associations=table)
    design = encode(spec, select_horizons(evidence, spec.horizons), REFERENCES)
    assert len(design.effects) == len(rows), [fate["why"] for fate in design.effect_fates]
    located = np.zeros((1, len(NAMES)))
    for k, rate in zip((2, 3), RATE, strict=True):
        located[0, k] = stats.norm.ppf(rate) - stats.norm.ppf(REFERENCES[NAMES[k]].centre)
    effects = design.effects
    parameters = {
        "prognostic_slope": SLOPE[None],
        "predictive_slope": np.zeros((1, len(NAMES))),
        "population_slope": np.zeros((1, 1, len(NAMES))),
        "predictor_covariance": COVARIANCE[None],
        "binary_shift": SHIFT[None],
        "binary_log_odds_ratio": np.array([[LOG_ODDS_RATIO_OF_BINARIES]]),
        "predictor_location": located,
        "effect_deviation": np.zeros((1, len(design.effect_groups))),
        "effect_horizon": np.zeros((1, len(effects.apart))),
        "effect_error": np.zeros((1, len(effects.repeated_groups))),
        "effect_level": np.full((1, len(effects.with_level)), LEVEL),
    }
    return design, parameters


def implied(row, link="probit"):
    design, parameters = fitted([row], link)
    return design.effects, implied_effects(parameters, design)[0, 0]


def regress(columns, outcome):
    every = np.column_stack([np.ones(len(outcome)), columns])
    return np.linalg.lstsq(every, outcome, rcond=None)[0], every


@pytest.mark.parametrize("k", range(4))
def test_marginal_correlation(cohort, k):
    value, latent, _ = cohort
    r = np.corrcoef(value[:, k], latent)[0, 1]
    effects, expected = implied({"predictor": NAMES[k], "statistic": "pearson_r", "estimate": r})
    assert effects.kind[0] == CORRELATION
    assert effects.statistic[0] == pytest.approx(expected, abs=5 / math.sqrt(SIZE))
    assert effects.standard_error[0] == pytest.approx(1 / math.sqrt(SIZE - 3))


def test_rank_correlation(cohort):
    """Exact for jointly normal variables only: binaries beside a continuous one cost a little."""
    value, latent, _ = cohort
    r = stats.spearmanr(value[:, 1], latent).statistic
    row = {"predictor": "age", "statistic": "spearman_r", "estimate": r}
    effects, expected = implied(row)
    assert effects.statistic[0] == pytest.approx(expected, abs=0.01)
    assert effects.standard_error[0] > 1 / math.sqrt(SIZE - 3)


@pytest.mark.parametrize("adjusted", ["age", "age;female", "female;family_history_aud;age"])
def test_standardised_coefficient_adjusted_for_some(cohort, adjusted):
    value, latent, _ = cohort
    columns = [NAMES.index(name) for name in ("bmi", *adjusted.split(";"))]
    beta, _ = regress(value[:, columns], latent)
    printed = beta[1] * value[:, 0].std() / latent.std()
    row = {"predictor": "bmi", "statistic": "standardised_beta", "estimate": printed}
    effects, expected = implied({**row, "se": 0.01, "adjusted_set": adjusted})
    assert effects.kind[0] == COEFFICIENT
    assert effects.statistic[0] == pytest.approx(expected, abs=5 / math.sqrt(SIZE))


@pytest.mark.parametrize("statistic", ["t", "f", "p", "slope"])
@pytest.mark.parametrize("adjusted", ["", "age;female"])
def test_t_f_p_and_slope_are_partial_correlations(cohort, statistic, adjusted):
    size = 300 if statistic == "p" else 3000  # p underflows where t is large
    value, latent, _ = (part[:size] for part in cohort)
    names = ["family_history_aud", *(name for name in adjusted.split(";") if name)]
    columns = [NAMES.index(name) for name in names]
    beta, every = regress(value[:, columns], latent)
    freedom = len(latent) - len(beta)
    rest = latent - every @ beta
    error = math.sqrt(rest @ rest / freedom * np.linalg.inv(every.T @ every)[1, 1])
    t = beta[1] / error
    printed = {
        "t": {"statistic": "t", "estimate": t},
        "f": {"statistic": "f", "estimate": t * t, "df1": 1, "sign_convention": "unsigned"},
        "p": {"statistic": "p_only", "p_value": 2 * stats.t.sf(abs(t), freedom)},
        "slope": {"statistic": "slope", "estimate": beta[1], "se": error},
    }[statistic]
    row = {"predictor": names[0], "n": size, "direction_for_better_response": "-1", **printed}
    effects, expected = implied(row | {"adjusted_set": adjusted})
    assert effects.statistic[0] == pytest.approx(expected, abs=4 / math.sqrt(size))
    # The statistic itself, without sampling error: the partial correlation of the residuals.
    others = [NAMES.index(name) for name in names[1:]]
    x, y = value[:, columns[0]], latent
    if others:
        first, design = regress(value[:, others], x)
        second, _ = regress(value[:, others], y)
        x, y = x - design @ first, y - design @ second
    assert effects.statistic[0] == pytest.approx(math.atanh(np.corrcoef(x, y)[0, 1]), abs=1e-6)


@pytest.mark.parametrize("how", ["se", "sd", "p"])
def test_mean_difference_of_responders(cohort, how):
    value, _, response = cohort
    yes, no = value[response == 1, 0], value[response == 0, 0]
    t = stats.ttest_ind(yes, no)
    difference = yes.mean() - no.mean()
    row = {"predictor": "bmi", "statistic": "mean_difference", "estimate": difference}
    row |= {"outcome_kind": "response", "counts": f"{len(yes)};{len(no)}"}
    pooled = math.sqrt((yes.var() * len(yes) + no.var() * len(no)) / SIZE)
    # p underflows at this size: a tenth of a percent of the patients for that road.
    if how == "p":
        few = slice(0, 300)
        yes, no = (value[few][response[few] == r, 0] for r in (1, 0))
        t = stats.ttest_ind(yes, no)
        row |= {"estimate": yes.mean() - no.mean(), "p_value": t.pvalue, "n": 300}
        row["counts"] = f"{len(yes)};{len(no)}"
        expected = math.atanh(t.statistic / math.sqrt(t.statistic**2 + 298))
        assert implied(row)[0].statistic[0] == pytest.approx(expected, abs=1e-9)
        return
    row |= {"se": abs(difference / t.statistic)} if how == "se" else {"sd": pooled}
    effects, expected = implied(row)
    assert effects.statistic[0] == pytest.approx(expected, abs=6e-3)
    unattenuated = math.tanh(expected) / effects.attenuation[0]
    assert abs(math.tanh(effects.statistic[0])) < 0.9 * abs(unattenuated)


def test_attenuation_is_that_of_a_cut_normal():
    rng = np.random.default_rng(3)
    x, y = rng.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], 400_000).T
    for share in (0.2, 0.5, 0.7):
        cut = np.quantile(x, 1 - share)
        r = np.corrcoef(x > cut, y)[0, 1]
        assert r == pytest.approx(0.5 * attenuation(share), abs=5e-3)


@pytest.mark.parametrize("adjusted", ["", "age;family_history_aud"])
def test_odds_ratio(cohort, adjusted):
    """The odds ratio of a logistic regression of response: the conversion is good to a few %."""
    value, _, response = cohort
    names = ["female", *(name for name in adjusted.split(";") if name)]
    beta = logistic(value[:, [NAMES.index(name) for name in names]], response)
    row = {"predictor": "female", "statistic": "odds_ratio", "estimate": math.exp(beta[1])}
    row |= {"se": 0.1, "adjusted_set": adjusted, "response_rate": response.mean()}
    effects, expected = implied(row)
    assert effects.kind[0] == LOG_ODDS_RATIO
    assert effects.statistic[0] == pytest.approx(expected, rel=0.04)


def test_odds_ratio_of_the_logit_link(cohort):
    value, _, _ = cohort
    rng = np.random.default_rng(5)
    logit = LEVEL + (value - value.mean(axis=0)) @ SLOPE
    response = (logit + rng.logistic(size=SIZE) > 0).astype(float)
    adjusted = value[:, [2, 0, 1, 3]]
    beta = logistic(adjusted, response)
    row = {"predictor": "female", "statistic": "odds_ratio", "se": 0.1}
    row |= {"adjusted_set": ";".join(NAMES), "estimate": math.exp(beta[1])}
    effects, expected = implied(row, "logit")
    assert effects.statistic[0] == pytest.approx(expected, abs=0.03)
    alone = logistic(value[:, [2]], response)
    effects, expected = implied(row | {"adjusted_set": "", "estimate": math.exp(alone[1])}, "logit")
    assert effects.statistic[0] == pytest.approx(expected, rel=0.05)


def logistic(columns, response):
    """Logistic regression by Newton's method."""
    every = np.column_stack([np.ones(len(response)), columns])
    beta = np.zeros(every.shape[1])
    for _ in range(30):
        fitted_rate = 1 / (1 + np.exp(-every @ beta))
        weight = fitted_rate * (1 - fitted_rate)
        beta += np.linalg.solve(
            (every * weight[:, None]).T @ every, every.T @ (response - fitted_rate)
        )
    return beta


def test_risk_ratio_per_unit(cohort):
    """The rate around two points one step apart, the cohort's average between them.

    A regression averages over a cohort, the conversion stands at its mean: a few percent more.
    """
    value, _, response = cohort
    step = 1.0 / REFERENCES["bmi"].scale
    x = value[:, 0] - value[:, 0].mean()
    line = np.polyfit(x, response, 1)
    ratio = (response.mean() + 0.5 * line[0] * step) / (response.mean() - 0.5 * line[0] * step)
    row = {"predictor": "bmi", "statistic": "risk_ratio", "estimate": ratio, "se": 0.01}
    effects, expected = implied(row | {"response_rate": response.mean()})
    assert effects.kind[0] == LOG_RISK_RATIO
    assert effects.statistic[0] == pytest.approx(expected, rel=0.08)


def test_counts_of_a_binary_predictor(cohort):
    value, _, response = cohort
    has = value[:, 2] == 1
    counts = f"{int(response[has].sum())}/{has.sum()};{int(response[~has].sum())}/{(~has).sum()}"
    design, parameters = fitted([{"predictor": "female", "statistic": "counts", "counts": counts}])
    assert design.effects.kind[0] == COUNTS
    distance = stats.norm.ppf(response[has].mean()) - stats.norm.ppf(response[~has].mean())
    assert implied_effects(parameters, design)[0, 0] == pytest.approx(distance, abs=0.015)


def test_counts_of_a_split_predictor_peak_at_the_truth(cohort):
    """Rates of the two halves, and the slope that explains them best."""
    value, _, response = cohort
    high = value[:, 1] > np.quantile(value[:, 1], 0.7)
    counts = f"{int(response[high].sum())}/{high.sum()};"
    counts += f"{int(response[~high].sum())}/{(~high).sum()}"
    row = {"predictor": "age", "statistic": "counts", "counts": counts, "contrast": "split"}
    design, parameters = fitted([row])
    effects, slope = design.effects, implied_effects(parameters, design)[0, 0]
    line = stats.norm.ppf(response.mean()) * math.sqrt(1 + slope**2)
    for group, part in enumerate((high, ~high)):
        rate = stats.norm.cdf(line + slope * effects.node[0, group]) @ effects.node_weight[0, group]
        assert rate == pytest.approx(response[part].mean(), abs=4e-3)


def test_nodes_of_a_split_predictor_integrate_a_cut_normal():
    row = {"predictor": "bmi", "statistic": "counts", "counts": "10/30;20/70", "contrast": "split"}
    design, _ = fitted([row])
    effects, cut = design.effects, stats.norm.ppf(0.7)
    for group, (low, high) in enumerate(((cut, np.inf), (-np.inf, cut))):
        whole = stats.norm.expect(
            lambda x: stats.norm.cdf(0.3 + 0.8 * x), lb=low, ub=high, conditional=True
        )
        own = stats.norm.cdf(0.3 + 0.8 * effects.node[0, group]) @ effects.node_weight[0, group]
        assert own == pytest.approx(whole, abs=1e-6)


def test_words_have_the_probability_of_a_verdict():
    """How often 40 patients give "not significant", and "significant, positive"."""
    rng = np.random.default_rng(8)
    size, slope, repeats = 40, 0.35, 40_000
    x = rng.normal(size=(repeats, size))
    y = slope * x + rng.normal(size=(repeats, size))
    x, y = (part - part.mean(axis=1, keepdims=True) for part in (x, y))
    r = (x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    t = r * np.sqrt((size - 2) / (1 - r**2))
    limit = stats.t.ppf(0.975, size - 2)
    observed = {"0": (np.abs(t) < limit).mean(), "1": (t > limit).mean()}
    for direction, share in observed.items():
        row = {"statistic": "direction_only", "n": size}
        term = convert(
            row | {"direction_for_better_response": direction}, REFERENCES["bmi"], 1, "probit"
        )
        middle = math.atanh(slope / math.sqrt(1 + slope**2))
        inside = stats.norm(middle, term.standard_error)
        assert inside.cdf(term.upper) - inside.cdf(term.lower) == pytest.approx(share, abs=0.015)


def test_signs():
    base = {"statistic": "pearson_r", "estimate": -0.3, "n": 50}
    bmi = REFERENCES["bmi"]

    def sign(**row):
        term = convert({**base, **row}, bmi, 1, "probit")
        assert isinstance(term, Term)
        return term.statistic, term.positive

    printed = math.atanh(0.3)
    assert sign() == pytest.approx((-printed, 1.0))
    assert sign(sign_convention="negative_is_better") == pytest.approx((printed, 1.0))
    assert sign(sign_convention="unclear") == pytest.approx((printed, 0.5))
    assert sign(sign_convention="unclear", probability_positive=0.3) == pytest.approx(
        (printed, 0.3)
    )
    directed = {"sign_convention": "unsigned", "direction_for_better_response": "-1"}
    assert sign(**directed) == pytest.approx((-printed, 1.0))


def test_both_signs_are_weighed():
    row = {"predictor": "bmi", "statistic": "pearson_r", "estimate": 0.3, "n": 40}
    row |= {"sign_convention": "unclear", "probability_positive": 0.3}
    design, parameters = fitted([row])
    design = dataclasses.replace(
        design, effects=dataclasses.replace(design.effects, power=np.ones(1))
    )
    middle, error = implied_effects(parameters, design)[0, 0], design.effects.standard_error[0]
    expected = 0.3 * stats.norm.pdf(math.atanh(0.3), middle, error)
    expected += 0.7 * stats.norm.pdf(-math.atanh(0.3), middle, error)
    assert effect_log_likelihood(parameters, design)[0, 0] == pytest.approx(math.log(expected))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"statistic": "kappa"}, "no conversion"),
        ({"statistic": "pearson_r", "estimate": 0.2, "n": None}, "number of patients"),
        ({"statistic": "f", "estimate": 3.0, "n": 60}, "one degree of freedom"),
        ({"statistic": "f", "df1": 1, "n": 60}, "neither a size"),
        ({"statistic": "direction_only", "n": 60}, "neither a size, a p-value nor a direction"),
        ({"statistic": "p_only", "n": 60}, "neither a size"),
        ({"statistic": "pearson_r", "estimate": -1.0, "n": 60}, "no standard error"),
        ({"statistic": "standardised_beta", "estimate": 0.2, "n": 60}, "without standard error"),
        ({"statistic": "odds_ratio", "estimate": 1.4, "n": 60}, "without interval"),
        ({"statistic": "counts", "counts": "3/4"}, "two groups"),
        ({"statistic": "counts", "counts": "5/4;1/2"}, "more responders"),
    ],
)
def test_what_cannot_be_converted_says_why(row, reason):
    found = convert(row, REFERENCES["bmi"], 1, "probit")
    assert isinstance(found, str)
    assert reason in found


def test_two_horizons_share_their_error():
    """Averaged over the common normal, two reports are bivariate normal with that correlation."""
    rows = [
        {"predictor": "bmi", "statistic": "pearson_r", "estimate": r, "n": 40} for r in (0.3, 0.1)
    ]
    rows = [
        {**row, "cohort": "same", "hours": hours} for row, hours in zip(rows, (24, 72), strict=True)
    ]
    design, parameters = fitted(rows)
    effects = dataclasses.replace(design.effects, power=np.ones(2))
    design = dataclasses.replace(design, effects=effects)
    grid = np.linspace(-8, 8, 2001)
    many = {name: np.repeat(value, len(grid), axis=0) for name, value in parameters.items()}
    many["effect_error"] = grid[:, None]
    density = np.exp(effect_log_likelihood(many, design).sum(axis=1))
    averaged = (density * stats.norm.pdf(grid)).sum() * (grid[1] - grid[0])
    error = effects.standard_error
    covariance = np.array([[1.0, 0.7], [0.7, 1.0]]) * error[:, None] * error
    middle = implied_effects(parameters, design)[0]
    expected = stats.multivariate_normal(middle, covariance).pdf(effects.statistic)
    assert averaged == pytest.approx(expected, rel=1e-9)


def test_own_likelihood_averages_over_the_cohort():
    """Against a fine grid over the deviation of a cohort that nothing else speaks of."""
    rows = [{"predictor": "bmi", "statistic": "pearson_r", "estimate": 0.3, "n": 40, "hours": 72.0}]
    design, parameters = fitted(rows)
    parameters |= {
        "effect_scale": np.array([[0.15]]),
        "slope_scale": np.full((1, 4, len(NAMES)), 0.1),
        "effect_horizon_scale": np.array([0.2]),
    }
    own = own_log_likelihood(parameters, design)[0, 0]
    spread = math.sqrt(0.15**2 + 0.1**2 + 0.2**2 * math.log(3.0))
    grid = np.linspace(-8, 8, 4001)
    many = {name: np.repeat(value, len(grid), axis=0) for name, value in parameters.items()}
    many["effect_deviation"] = spread * grid[:, None]
    density = np.exp(effect_log_likelihood(many, design)[:, 0])
    expected = (density * stats.norm.pdf(grid)).sum() * (grid[1] - grid[0])
    assert own == pytest.approx(math.log(expected), abs=5e-5)
