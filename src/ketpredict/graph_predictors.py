r"""The joint law of the predictors in the PyMC model: its priors, conditional laws and patterns.

Within law :math:`l` (a trial, with an assay where patients name one) the binary predictors are a
chain of pairs with rates :math:`\Phi(\mu_{tb})` and common odds ratios
(:mod:`ketpredict.association`), and the continuous ones are
:math:`x \mid b \sim N(\mu_l + B (b - c), S)`: the general location model of Little and Schluchter
(1985, Biometrika 72:497) with common shifts. Rows that observe the same continuous predictors
(a *set*) share :math:`S_{oo}`. It is inverted for all sets in one batch, and the inverse is 0 where
a set observes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from ketpredict.association import pair_probability
from ketpredict.design import Design
from ketpredict.graph_algebra import inverse_of_parts, product
from ketpredict.graph_rows import Mixtures, SharedRows
from ketpredict.marginal import between_trial_sd, rate_location


@dataclasses.dataclass(frozen=True)
class PredictorLaw:
    """Tensors of the joint law.

    Parameters
    ----------
    mean : tensor of shape (law, continuous)
        Where all binaries are at their centres; 0 for a biomarker that the law does not measure.
    rate : tensor of shape (trial, binary, 2)
        Probability of 0 and of 1; both keep their digits.
    covariance : tensor of shape (continuous, continuous)
    shift : tensor of shape (continuous, binary)
    log_odds_ratio : tensor of shape (pair,)
    precision : tensor of shape (set, continuous, continuous)
        Inverse of the observed part of the covariance; 0 elsewhere.
    log_determinant : tensor of shape (set,)
        Of the observed part of the covariance.
    """

    mean: Any
    rate: Any
    covariance: Any
    shift: Any
    log_odds_ratio: Any
    precision: Any
    log_determinant: Any


@dataclasses.dataclass(frozen=True)
class ArmLaw:
    """Tensors of the published arms.

    Parameters
    ----------
    proportion : tensor of shape (arm, binary)
        Published, else the rate of the arm's trial.
    variance : tensor of shape (arm, continuous)
        Of all people of the arm, those with and without a binary together.
    """

    proportion: Any
    variance: Any


@dataclasses.dataclass(frozen=True)
class PatternWeights:
    """Tensors of the binary patterns; empty ones where the design has none.

    Parameters
    ----------
    log_rate, log_pair : tensor
        Of :func:`log_chain`, for trials and then arms.
    log_mixture, mixture : tensor of shape (line of the mixtures,)
        :func:`log_weights`, and the probability of each pattern of a patient.
    arm : tensor of shape (line of the arms,)
        Probability of each pattern of an arm.
    """

    log_rate: Any
    log_pair: Any
    log_mixture: Any
    mixture: Any
    arm: Any


def normal_tails(value: Any) -> tuple[Any, Any]:
    """Return the standard normal probabilities below and above a tensor.

    The smaller is computed and the larger follows, so that both keep their digits.
    """
    is_positive = value > 0.0
    # Not abs: its derivative at 0 is 0, and a first point at 0 would have none.
    tail = 0.5 * pt.erfc(pt.switch(is_positive, value, -value) * np.sqrt(0.5))
    rest = 1.0 - tail
    return pt.switch(is_positive, rest, tail), pt.switch(is_positive, tail, rest)


def centres(design: Design) -> np.ndarray:
    """Return the centre of each binary predictor."""
    return np.array([design.predictors[k].centre for k in design.binary_idx])


# -------------------------------------------------------------------------------------- priors


def add_predictor_law(design: Design, shared: SharedRows) -> PredictorLaw:
    """Add the variables of the joint law to the model in context, and return its tensors."""
    priors = design.spec.priors
    continuous, binary = len(design.continuous_idx), len(design.binary_idx)
    cell = pt.concatenate([_trial_means(design), pt.zeros(1)])
    covariance = _covariance(design)
    shift = pt.zeros((continuous, binary))
    if continuous and binary:
        normal = priors["binary_shift"].values
        shift = pm.Normal("binary_shift", *normal, dims=("continuous", "binary"))
    log_odds_ratio = pt.zeros(0)
    if binary > 1:
        normal = priors["binary_association"].values
        log_odds_ratio = pm.Normal("binary_log_odds_ratio", *normal, dims="binary_pair")
    # The cell that closes the row is the 0 that -1 points at.
    first_law = np.array([np.argmax(design.law_trial == t) for t in range(len(design.trials))])
    below, above = normal_tails(cell[design.mean_cell[first_law][:, design.binary_idx]])
    precision, log_determinant = inverse_of_parts(covariance, shared.observed)
    return PredictorLaw(
        mean=cell[design.mean_cell[:, design.continuous_idx]],
        rate=pt.stack([above, below], axis=-1),
        covariance=covariance,
        shift=shift,
        log_odds_ratio=log_odds_ratio,
        precision=precision,
        log_determinant=log_determinant,
    )


def _trial_means(design: Design) -> Any:
    """Return the mean, or probit rate, of every cell around the predictor's own location."""
    priors, predictors = design.spec.priors, design.predictors
    location = pm.Normal(
        "predictor_location", *priors["predictor_location"].values, dims="predictor"
    )
    middle, spread = priors["predictor_between_scale"].values
    reference = np.log([between_trial_sd(predictor) for predictor in predictors])
    scale = pm.LogNormal("predictor_between_scale", reference + middle, spread, dims="predictor")
    own = [rate_location(p) if p.kind == "binary" else 0.0 for p in predictors]
    centre, owner = location + np.array(own), design.cells[:, 1]
    reported, unreported = owner[: design.n_reported], owner[design.n_reported :]
    means = [pt.zeros(0)]
    if len(reported):
        # Centred, since data hold these cells; the others would make a funnel of it.
        means.append(
            pm.Normal(
                "trial_mean_reported", centre[reported], scale[reported], dims="reported_cell"
            )
        )
    if len(unreported):
        raw = pm.Normal("trial_mean_unreported_raw", dims="unreported_cell")
        means.append(centre[unreported] + scale[unreported] * raw)
    return pm.Deterministic("trial_mean", pt.concatenate(means), dims="trial_cell")


def _covariance(design: Design) -> Any:
    """Return the covariance of the continuous predictors within a trial."""
    size = len(design.continuous_idx)
    if size == 0:
        return pt.zeros((0, 0))
    log_sd = design.spec.priors["predictor_sd"].values
    if size == 1:
        factor = pm.LogNormal("predictor_cholesky", *log_sd, dims="cholesky_place")[:, None]
    else:
        (eta,) = design.spec.priors["predictor_correlation"].values
        packed = _cholesky("predictor_cholesky", size, eta, *log_sd)
        factor = pm.math.expand_packed_triangular(size, packed)
    return pm.Deterministic(
        "predictor_covariance", product(factor, factor.T), dims=("continuous", "continuous_too")
    )


def _cholesky(name: str, size: int, eta: float, middle: float, spread: float) -> Any:
    """Return PyMC's ``LKJCholeskyCov`` under a faster random generator.

    PyMC's own draws by a loop, which takes numba 20 seconds to compile in every function that
    draws. Here all rows are drawn at once (the onion method, as in :mod:`ketpredict.prior`).
    """
    rows, columns = np.tril_indices(size)

    def random(eta: Any, middle: Any, spread: Any, size_of_draws: Any) -> Any:
        del size_of_draws  # the model has one of it
        row = np.arange(1, size)
        square = pm.Beta.dist(0.5 * row, eta + 0.5 * (size - 1 - row))
        inside = np.tril(np.ones((size - 1, size)))
        direction = inside * pm.Normal.dist(shape=(size - 1, size))
        length = pt.sqrt((direction**2).sum(axis=1))
        below = (pt.sqrt(square) / length)[:, None] * direction
        first = np.eye(1, size)
        diagonal = np.eye(size)[1:] * pt.sqrt(1.0 - square)[:, None]
        factor = pt.concatenate([first, below + diagonal])
        sd = pm.LogNormal.dist(middle, spread, shape=size)
        return (sd[:, None] * factor)[rows, columns]

    def log_density(value: Any, eta: Any, middle: Any, spread: Any) -> Any:
        sd = pm.LogNormal.dist(middle, spread, shape=size)
        same = pm.LKJCholeskyCov.dist(n=size, eta=eta, sd_dist=sd, compute_corr=False)
        return pm.logp(same, value)

    return pm.CustomDist(
        name,
        eta,
        middle,
        spread,
        dist=random,
        logp=log_density,
        support_point=lambda *_: pt.as_tensor_variable(np.eye(size)[rows, columns]),
        transform=pm.distributions.transforms.CholeskyCovPacked(size),
        signature="(),(),()->(place)",
        class_name="LKJCholeskyCov",
        dims="cholesky_place",
    )


# ------------------------------------------------------------------------------------- binaries


def margins(design: Design, law: PredictorLaw, shared: SharedRows) -> tuple[Any, np.ndarray]:
    """Return the rates of the trials and, below, of the arms: published or their trial's.

    Returns
    -------
    rate : tensor of shape (trial + arm, binary, 2)
    varies : ndarray of bool, shape (trial + arm, binary)
        False where a published proportion is exactly 0 or 1.
    """
    published = design.units.value[shared.arms][:, design.binary_idx]
    is_exact = (published == 0.0) | (published == 1.0)
    # Nobody has the value that an exact proportion rules out, and no pattern holds it: a 1 in its
    # place keeps its logarithm finite.
    both = np.stack([1.0 - published, published], axis=-1)
    both = np.where(is_exact[..., None], 1.0, both)
    own = law.rate[design.units.trial_idx[shared.arms]]
    silent = np.isnan(published)[..., None]
    rate = pt.concatenate([law.rate, pt.where(silent, own, np.where(silent, 1.0, both))])
    everywhere = np.ones((len(design.trials), len(design.binary_idx)), dtype=bool)
    return rate, np.concatenate([everywhere, ~is_exact])


def log_chain(rate: Any, varies: np.ndarray, log_odds_ratio: Any) -> tuple[Any, Any]:
    """Return log probabilities of each binary alone and of each with the next.

    Parameters
    ----------
    rate : tensor of shape (row, binary, 2)
    varies : ndarray of bool, shape (row, binary)
        Pairs with one that does not vary are independent.

    Returns
    -------
    log_rate : tensor of shape (row, binary, 2)
    log_pair : tensor of shape (row, pair, 4)
        For 00, 01, 10 and 11. Each by the formula of a pair that is both 1, with the binary or
        its opposite, so that no probability is a difference of others.
    """
    log_rate = pt.log(rate)
    first, second = rate[:, :-1, [0, 0, 1, 1]], rate[:, 1:, [0, 1, 0, 1]]
    inside = (varies[:, :-1] & varies[:, 1:])[..., None]
    sign = np.array([1.0, -1.0, -1.0, 1.0])
    pair = pair_probability(
        pt.where(inside, first, 0.5),
        pt.where(inside, second, 0.5),
        sign * log_odds_ratio[None, :, None],
    )
    return log_rate, pt.log(pt.where(inside, pair, first * second))


def log_pattern(log_rate: Any, log_pair: Any, row: np.ndarray, value: np.ndarray) -> Any:
    """Return the log probability of 0/1 patterns.

    Parameters
    ----------
    row : ndarray of int, shape (pattern,)
        Row of the rates.
    value : ndarray of shape (pattern, binary)

    Returns
    -------
    tensor of shape (pattern,)
    """
    bit = value.astype(int)
    rows, places = row[:, None], np.arange(bit.shape[1])
    if bit.shape[1] == 1:
        return log_rate[row, 0, bit[:, 0]]
    pairs = log_pair[rows, places[:-1], 2 * bit[:, :-1] + bit[:, 1:]].sum(axis=1)
    if bit.shape[1] == 2:
        return pairs
    return pairs - log_rate[rows, places[1:-1], bit[:, 1:-1]].sum(axis=1)


def log_weights(
    design: Design, law: PredictorLaw, mixtures: Mixtures, log_rate: Any, log_pair: Any
) -> Any:
    """Return ``log P(b) N(x; mu(b)) / N(x; mu(c))`` on each line of the mixtures."""
    trial, line = design.law_trial[mixtures.term_law], mixtures.line_term
    constant = log_pattern(log_rate, log_pair, trial, mixtures.term_pattern)
    if len(design.continuous_idx) == 0:
        return constant[line]
    shift = product(mixtures.term_pattern - centres(design), law.shift.T)
    slope = (law.precision[mixtures.term_set] * shift[:, None, :]).sum(axis=-1)
    middle = law.mean[mixtures.term_law] + 0.5 * shift
    constant = constant - (slope * middle).sum(axis=-1)
    return constant[line] + (slope[line] * mixtures.line_value).sum(axis=-1)


def weigh_patterns(design: Design, law: PredictorLaw, shared: SharedRows) -> PatternWeights:
    """Return the weights of all patterns."""
    nothing = pt.zeros(0)
    if len(design.binary_idx) == 0:
        return PatternWeights(nothing, nothing, nothing, nothing, nothing)
    rate, varies = margins(design, law, shared)
    log_rate, log_pair = log_chain(rate, varies, law.log_odds_ratio)
    log_mixture, mixture, arm = nothing, nothing, nothing
    if len(shared.mixtures.weight):
        blocks = shared.mixtures.blocks
        log_mixture = log_weights(design, law, shared.mixtures, log_rate, log_pair)
        parts = [pt.special.softmax(block, axis=1) for block in by_owner(log_mixture, blocks)]
        mixture = pt.concatenate([part.reshape((-1,)) for part in parts])
    if len(shared.arms):
        lines = shared.arm_lines
        row = len(design.trials) + lines.order[lines.owner]
        arm = pt.exp(log_pattern(log_rate, log_pair, row, design.pattern_value[lines.source]))
    return PatternWeights(log_rate, log_pair, log_mixture, mixture, arm)


def log_sums(values: Any, blocks: Sequence[tuple[int, int]]) -> Any:
    """Return the log of the sum of exponentials of each owner's lines."""
    return pt.concatenate(
        [pt.special.logsumexp(block, axis=1) for block in by_owner(values, blocks)]
    )


def sums(values: Any, blocks: Sequence[tuple[int, int]]) -> Any:
    """Return the sum of each owner's lines."""
    return pt.concatenate([block.sum(axis=1) for block in by_owner(values, blocks)])


def by_owner(values: Any, blocks: Sequence[tuple[int, int]]) -> list[Any]:
    """Return the lines block by block, each of shape (owner, pattern, ...)."""
    parts, start = [], 0
    for owners, size in blocks:
        block = values[start : start + owners * size]
        shape = (owners, size, *(block.shape[axis] for axis in range(1, block.ndim)))
        parts.append(block.reshape(shape))
        start += owners * size
    return parts


# ----------------------------------------------------------------------------------------- arms


def describe_arms(design: Design, law: PredictorLaw, shared: SharedRows, weight: Any) -> ArmLaw:
    """Return proportions and variances of the published arms.

    Parameters
    ----------
    weight : tensor
        Probability of each of the arms' lines.
    """
    units, arms, lines = design.units, shared.arms, shared.arm_lines
    published = units.value[arms][:, design.binary_idx]
    own = law.rate[units.trial_idx[arms]][..., 1]
    proportion = pt.where(np.isnan(published), own, np.nan_to_num(published))
    variance = pt.ones((len(arms), 1)) * pt.diag(law.covariance)
    if len(design.continuous_idx) and len(design.binary_idx):
        distance = design.pattern_value[lines.source] - proportion[lines.order[lines.owner]]
        between = sums(weight[:, None] * product(distance, law.shift.T) ** 2, lines.blocks)
        variance = variance + between[np.argsort(lines.order)]
    return ArmLaw(proportion, variance)
