r"""Log likelihood of a published arm in a trial that the fit has not seen.

What all people of an arm have in common (the trial's effects, slopes, predictor means and rates)
makes their responses alike, so that it is averaged *outside* the binomial,

.. math:: E\Big[\mathrm{Binomial}\big(r \mid n, \textstyle\sum_b \pi_b\, G(q_b + s e, v)\big)\Big].

The effects on the intercept are one standard normal :math:`e`, integrated by adaptive Gauss-Hermite
quadrature (Liu and Pierce 1994, Biometrika 81:624) at each point of a scrambled Sobol sequence
that stands for the rest. What the arm publishes of its people is data about the trial: with
:math:`n` of them, :math:`m_o \sim N(L_o + B_o(p - c), \Omega_{oo} + S_{oo}/n)`, so that means are
drawn from their law given :math:`m_o`, and the rate of a published proportion from its law given
that proportion. A rate that is not published is drawn from its law and weighted by how likely it
makes the published means and standard deviations.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from scipy.special import gammaln, log_ndtr, logsumexp, ndtr, ndtri
from scipy.stats import qmc

from ketpredict.design import Design
from ketpredict.equations import unit_intercept, unit_slope
from ketpredict.marginal import normal_average, normal_slope
from ketpredict.predictor_law import Draws, square_root
from ketpredict.stopping import check_stop
from ketpredict.unit_outcome import ArmMixture, arm_mixture, summary_of, take_units

_SEED = 20_240_613
_SCRAMBLES = 8
_MOST_AT_ONCE = 1_000_000
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(12)
_LOG_WEIGHTS = np.log(_WEIGHTS) + 0.5 * _NODES**2
_STEPS = 12
_FINE = np.linspace(-8.0, 8.0, 641)
_SMALL = 1e-12


def unseen_arm_log_likelihood(
    draws: Draws, design: Design, unit: int, *, points: int = 64, new_population: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the log likelihood of an arm as if the fit did not know its trial.

    Parameters
    ----------
    draws : Draws
        With a closing level of zeros for trials and populations, as in
        :attr:`ketpredict.posterior.Posterior.draws`.
    unit : int
        An arm of the design.
    points : int
        Points of each of eight Sobol sequences; a power of 2.
    new_population : bool
        As if the fit did not know its population either.

    Returns
    -------
    log_likelihood, standard_error : ndarray of shape (draw,)
        The second from the eight sequences.
    """
    size = max(1, _MOST_AT_ONCE // (points * _SCRAMBLES * 2 ** len(design.binary_idx)))
    parts = [
        _part(_some_draws(draws, slice(start, start + size)), design, unit, points, new_population)
        for start in range(0, len(draws), size)
    ]
    log_likelihood, standard_error = zip(*parts, strict=True)
    return np.concatenate(log_likelihood), np.concatenate(standard_error)


def _some_draws(draws: Draws, part: slice) -> Draws:
    some = {name: value[part] for name, value in draws.parameters.items()}
    return dataclasses.replace(draws, parameters=some)


@dataclasses.dataclass(frozen=True)
class _InTrials:
    """An arm in unseen trials: a trial at each point of each draw.

    Parameters
    ----------
    level : ndarray of shape (draw, point, pattern)
        Linear predictor without the trial's effects on the intercept.
    mixture : ArmMixture
    spread : ndarray of shape (draw, 1)
        Standard deviation of these effects.
    evidence : ndarray of shape (draw, point)
        Log weight of the trial: how likely it makes what the arm publishes of its people.
    """

    level: np.ndarray
    mixture: ArmMixture
    spread: np.ndarray
    evidence: np.ndarray

    def probability(self, draws: Draws, position: np.ndarray, function: Any) -> np.ndarray:
        """Return a function of the linear predictor, averaged over patterns, (draw, point)."""
        mean = self.level + (self.spread * position)[..., None]
        by_pattern = function(mean, self.mixture.variance[..., None], draws.components)
        return np.asarray((self.mixture.weight * by_pattern).sum(axis=-1))


def _in_trials(
    draws: Draws, design: Design, unit: int, normal: np.ndarray, new_population: bool
) -> _InTrials:
    """Return an arm in unseen trials made of standard normal numbers, (point, dimension)."""
    parameters = draws.parameters
    units = take_units(design.units, np.array([unit]))
    units = dataclasses.replace(units, trial_idx=np.array([len(design.trials)]))
    spread = draws.unseen_scale("trial_intercept") ** 2
    spread = spread + draws.unseen_scale("trial_treatment") ** 2 / 4.0
    slope_variance = draws.slope_variance("trial")
    if new_population:
        units = dataclasses.replace(units, population_idx=np.array([len(design.populations)]))
        spread = spread + draws.unseen_scale("population_intercept") ** 2
        slope_variance = slope_variance + draws.slope_variance("population")
    of_slopes, of_cells = np.split(normal, 2, axis=1)
    slope = np.asarray(unit_slope(parameters, units)) + (
        np.sqrt(slope_variance)[:, None] * of_slopes
    )
    rate = _rates(draws, units.value[0], units.weight[0], of_cells[:, draws.binary])
    mean, evidence = _means(
        draws, units.value[0], units.weight[0], rate, of_cells[:, draws.continuous]
    )
    mixture = arm_mixture(draws, summary_of(design, np.array([unit])), slope, mean, rate)
    evidence = evidence + _spread_evidence(draws, units, mixture)
    level = np.asarray(unit_intercept(parameters, units))[..., None] + mixture.mean
    return _InTrials(level, mixture, np.sqrt(spread)[:, None], evidence)


def unseen_arm_probability(
    draws: Draws, design: Design, unit: int, *, points: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """Return the response probability of an arm in unseen trials.

    Parameters
    ----------
    draws, design, unit
        As in :func:`unseen_arm_log_likelihood`; the arm's population is one that the draws know.
    points : int
        Unseen trials that each draw meets; a power of 2.

    Returns
    -------
    probability, weight : ndarray of shape (draw, point)
        Weights sum to 1 in each draw: how likely each trial makes what the arm publishes.
    """
    count = len(draws.predictors)
    uniform = qmc.Sobol(2 * count + 1, rng=np.random.default_rng(_SEED)).random(points)
    normal = ndtri(np.clip(uniform, _SMALL, 1.0 - _SMALL))
    size = max(1, _MOST_AT_ONCE // (points * 2 ** len(design.binary_idx)))
    found = []
    for start in range(0, len(draws), size):
        check_stop()
        some = _some_draws(draws, slice(start, start + size))
        trials = _in_trials(some, design, unit, normal[:, 1:], False)
        share = np.exp(trials.evidence - logsumexp(trials.evidence, axis=1, keepdims=True))
        # Draws take the positions in turn, so that all of them together fill the line evenly.
        order = (np.arange(points) + np.arange(start, start + len(some))[:, None]) % points
        found.append((trials.probability(some, normal[order, 0], normal_average), share))
    probability, weight = zip(*found, strict=True)
    return np.concatenate(probability), np.concatenate(weight)


def _part(
    draws: Draws, design: Design, unit: int, points: int, new_population: bool
) -> tuple[np.ndarray, np.ndarray]:
    check_stop()
    normal = _normal_points(points, 2 * len(draws.predictors))
    trials = _in_trials(draws, design, unit, normal, new_population)
    responders, n = float(design.units.responders[unit]), float(design.units.n[unit])
    evidence = trials.evidence
    log_likelihood = evidence + _log_average(draws, trials, responders, n)
    each = (len(draws), _SCRAMBLES, points)
    total = logsumexp(log_likelihood, axis=1) - logsumexp(evidence, axis=1)
    # A ratio of averages: its error is that of the likelihoods' distances from it.
    share = np.exp(evidence - evidence.max(axis=1, keepdims=True))
    distance = share * (np.exp(log_likelihood - evidence - total[:, None]) - 1.0)
    by_sequence = distance.reshape(each).mean(axis=-1) / share.mean(axis=1)[:, None]
    return total, by_sequence.std(axis=1, ddof=1) / np.sqrt(_SCRAMBLES)


def _normal_points(points: int, dimensions: int) -> np.ndarray:
    """Return (sequence * point, dimension) standard normal numbers, the same for every arm."""
    sequences = [
        qmc.Sobol(max(dimensions, 1), rng=np.random.default_rng([_SEED, i])).random(points)
        for i in range(_SCRAMBLES)
    ]
    uniform = np.concatenate(sequences)[:, :dimensions]
    return np.asarray(ndtri(np.clip(uniform, _SMALL, 1.0 - _SMALL)))


def _rates(draws: Draws, value: np.ndarray, people: float, normal: np.ndarray) -> np.ndarray:
    """Return the trial's rates given the arm's proportions, (draw, point, binary)."""
    location = draws.location()[:, draws.binary]
    scale = draws.parameters["predictor_between_scale"][:, draws.binary]
    rate = np.empty((len(draws), *normal.shape))
    for j, k in enumerate(draws.binary):
        position = np.broadcast_to(normal[:, j], rate.shape[:2])
        if not np.isnan(value[k]):
            position = _given_proportion(
                location[:, j, None], scale[:, j, None], value[k], people, normal[:, j]
            )
        rate[..., j] = ndtr(location[:, j, None] + scale[:, j, None] * position)
    return rate


def _given_proportion(
    location: np.ndarray, scale: np.ndarray, proportion: float, people: float, normal: np.ndarray
) -> np.ndarray:
    """Return positions of a trial's rate given a proportion of its people, (draw, point).

    By inversion of the distribution function, which is worked out on fine nodes.
    """
    probit = location + scale * _FINE
    log_density = -0.5 * _FINE**2 + people * (
        proportion * log_ndtr(probit) + (1.0 - proportion) * log_ndtr(-probit)
    )
    density = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    below = np.cumsum(density[:, 1:] + density[:, :-1], axis=1)
    share = np.clip(below / below[:, -1:], _SMALL, 1.0 - _SMALL)
    # Where the function stands still there is nothing to find: interpolation passes over it.
    return np.stack(
        [np.interp(normal, ndtri(row), _FINE[1:]) for row in share],
    )


def _means(
    draws: Draws, value: np.ndarray, people: float, rate: np.ndarray, normal: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the trial's means at each point given those published, and how likely these are.

    Returns
    -------
    mean : ndarray of shape (draw, point, continuous)
    evidence : ndarray of shape (draw, point)
        Log density of the published means, up to what all points share.
    """
    parameters, continuous = draws.parameters, draws.continuous
    published = value[continuous]
    observed = np.flatnonzero(~np.isnan(published))
    variance = parameters["predictor_between_scale"][:, continuous] ** 2
    omega = variance[..., None] * np.eye(len(continuous))
    sampled = omega + parameters["predictor_covariance"] / people
    precision = np.linalg.inv(sampled[:, observed[:, None], observed])
    gain = omega[:, :, observed] @ precision
    remaining = omega - gain @ np.swapaxes(omega[:, :, observed], 1, 2)
    given = value[draws.binary]
    proportion = np.where(np.isnan(given), rate, np.nan_to_num(given))
    shift = np.einsum("dkb,dpb->dpk", parameters["binary_shift"], proportion - draws.binary_centre)
    location = draws.location()[:, None, continuous]
    distance = published[observed] - (location + shift)[..., observed]
    mean = location + np.einsum("dko,dpo->dpk", gain, distance)
    mean = mean + np.einsum("dkl,pl->dpk", square_root(remaining), normal)
    evidence = -0.5 * np.einsum("dpo,don,dpn->dp", distance, precision, distance)
    return mean, evidence


def _spread_evidence(draws: Draws, units: Any, mixture: ArmMixture) -> np.ndarray:
    """Return the log density of the published standard deviations at each point."""
    sd, freedom = units.sd[0, draws.continuous], max(float(units.weight[0]) - 1.0, 0.0)
    published = np.flatnonzero(~np.isnan(sd))
    total = mixture.total_variance[..., published]
    log_density = -0.5 * freedom * (np.log(total) + sd[published] ** 2 / total)
    return np.asarray(log_density.sum(axis=-1))


def _log_average(draws: Draws, trials: _InTrials, responders: float, n: float) -> np.ndarray:
    """Return the log of the binomial probability averaged over the intercept, (draw, point)."""
    constant = gammaln(n + 1.0) - gammaln(responders + 1.0) - gammaln(n - responders + 1.0)
    # Fisher scoring from the middle finds where the integrand is highest, and how wide it is.
    position = np.zeros(trials.level.shape[:2])
    for _ in range(_STEPS):
        p = np.clip(trials.probability(draws, position, normal_average), _SMALL, 1.0 - _SMALL)
        slope = trials.spread * trials.probability(draws, position, normal_slope)
        information = 1.0 + n * slope**2 / (p * (1.0 - p))
        score = (responders - n * p) * slope / (p * (1.0 - p)) - position
        position = position + np.clip(score / information, -1.0, 1.0)
    width = 1.0 / np.sqrt(information)
    terms = []
    for node, log_weight in zip(_NODES, _LOG_WEIGHTS, strict=True):
        at = position + width * node
        p = np.clip(trials.probability(draws, at, normal_average), 1e-300, 1.0 - 1e-16)
        log_binomial = responders * np.log(p) + (n - responders) * np.log1p(-p)
        terms.append(log_weight + log_binomial - 0.5 * at**2)
    normaliser = np.log(width) - 0.5 * np.log(2.0 * np.pi) + constant
    return np.asarray(logsumexp(terms, axis=0) + normaliser)
