r"""The effects of a trial that the fit has not seen, given what the trial counted.

A new trial has a level :math:`v`, a treatment deviation :math:`d`, slopes :math:`c`, predictor
means :math:`\mu` and rates of binaries :math:`q`. Given one posterior draw :math:`\theta`,

.. math:: p(v, d, c, \mu, q \mid \text{counts}, \theta) \propto p(v, d, c, \mu, q \mid \theta)
          \textstyle\prod_a \mathrm{Binomial}(r_a \mid n_a, P_a)\,
          p(\text{summaries}_a \mid \mu, q),

jointly over the arms :math:`a` of the trial, and the integral of the right-hand side is what the
counts say about :math:`\theta`. Both come from weighted candidates: the rates by inversion given
the published proportions, the means by conditioning a normal on the published means, the slopes
from their law, and :math:`(v, d)` from a bivariate t distribution around the mode that Fisher
scoring finds given all the others. The average weight is an unbiased estimate of the integral
whatever the number of candidates, so that a draw and one of its candidates, picked in proportion
to their weights, are a sample of the joint posterior (Andrieu and Roberts 2009, Ann Stat 37:697).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from scipy.special import chdtri, gammaln, log_ndtr, logsumexp, ndtr, ndtri

from ketpredict.design import Design, Units
from ketpredict.equations import unit_intercept, unit_slope
from ketpredict.lattice import lattice
from ketpredict.marginal import normal_average, normal_slope
from ketpredict.predictor_law import Draws, square_root
from ketpredict.stopping import check_stop
from ketpredict.unit_outcome import ArmMixture, arm_mixture, summary_of, take_units

_SEED = 20_240_613
_MOST_AT_ONCE = 500_000
_STEPS = 8
_FREEDOM = 7.0
_FINE = np.linspace(-8.0, 8.0, 641)
_SMALL = 1e-12


@dataclasses.dataclass(frozen=True)
class TrialCandidates:
    """Candidates for what one trial has of its own, several for each posterior draw.

    Parameters
    ----------
    log_weight : ndarray of shape (draw, candidate)
        Log of the joint density of counts and candidate over the density that it was drawn from.
    trial_effect, treatment_deviation : ndarray of shape (draw, candidate)
        Latent scale.
    trial_slope : ndarray of shape (draw, candidate, predictor)
    trial_mean : ndarray of shape (draw, candidate, predictor)
        Means on the reference scale, probits of rates.
    """

    log_weight: np.ndarray
    trial_effect: np.ndarray
    treatment_deviation: np.ndarray
    trial_slope: np.ndarray
    trial_mean: np.ndarray

    @property
    def log_likelihood(self) -> np.ndarray:
        """Log probability of the counts in each draw, the trial's effects integrated out."""
        count = self.log_weight.shape[1]
        return np.asarray(logsumexp(self.log_weight, axis=1) - np.log(count))


def trial_candidates(
    draws: Draws, design: Design, units: np.ndarray, *, candidates: int = 64, seed: int = _SEED
) -> TrialCandidates:
    """Return weighted candidates for the effects of one trial given its arms.

    Parameters
    ----------
    draws : Draws
        Of a fit that does not know the trial, with a closing level of zeros for trials in its
        place, as in :attr:`ketpredict.posterior.Posterior.draws`.
    design : Design
    units : ndarray of int
        The trial's published arms in the design; its trial is the last one.
    candidates : int
        For each draw; a power of 2 spreads best.
    seed : int
        Of the numbers that the candidates are made of.
    """
    count, size = len(draws), len(draws.predictors)
    uniform = lattice(count * candidates, 2 * size + 3, seed).reshape(count, candidates, -1)
    step = max(1, _MOST_AT_ONCE // (candidates * 2 ** len(draws.binary)))
    parts = [
        _part(_some(draws, slice(start, start + step)), design, units, uniform[start:][:step])
        for start in range(0, count, step)
    ]
    names = [field.name for field in dataclasses.fields(TrialCandidates)]
    return TrialCandidates(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    )


def _some(draws: Draws, part: slice) -> Draws:
    some = {name: value[part] for name, value in draws.parameters.items()}
    return dataclasses.replace(draws, parameters=some)


def _part(draws: Draws, design: Design, units: np.ndarray, uniform: np.ndarray) -> TrialCandidates:
    """Return the candidates of some draws; `uniform` is (draw, candidate, number)."""
    check_stop()
    size = len(draws.predictors)
    normal = ndtri(np.clip(uniform, _SMALL, 1.0 - _SMALL))
    arms = [take_units(design.units, np.array([unit])) for unit in units]
    slope = np.sqrt(draws.slope_variance("trial"))[:, None] * normal[..., :size]
    position = normal[..., size : 2 * size]
    probit, log_weight = _rates(draws, arms, position[..., draws.binary])
    mean, evidence = _means(draws, arms, ndtr(probit), position[..., draws.continuous])
    log_weight = log_weight + evidence
    levels, mixtures = [], []
    for unit, arm in zip(units, arms, strict=True):
        own = np.asarray(unit_slope(draws.parameters, arm)) + slope
        mixture = arm_mixture(draws, summary_of(design, np.array([unit])), own, mean, ndtr(probit))
        log_weight = log_weight + _spread_evidence(draws, arm, mixture)
        levels.append(np.asarray(unit_intercept(draws.parameters, arm))[..., None] + mixture.mean)
        mixtures.append(mixture)
    counted = _Counts(draws, arms, levels, mixtures)
    effect, of_effects = counted.candidates(normal[..., -3:-1], uniform[..., -1])
    scale = counted.scale[:, None]
    trial_mean = np.empty((*log_weight.shape, size))
    trial_mean[..., draws.binary], trial_mean[..., draws.continuous] = probit, mean
    return TrialCandidates(
        log_weight=log_weight + of_effects,
        trial_effect=scale[..., 0] * effect[..., 0],
        treatment_deviation=scale[..., 1] * effect[..., 1],
        trial_slope=slope,
        trial_mean=trial_mean,
    )


def _rates(draws: Draws, arms: list[Units], normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return probits of the trial's rates given published proportions, and how likely these are.

    Returns
    -------
    probit : ndarray of shape (draw, candidate, binary)
    evidence : ndarray of shape (draw, 1)
        Log probability of the published proportions, without what is common to all draws.
    """
    location = draws.location()[:, draws.binary]
    scale = draws.parameters["predictor_between_scale"][:, draws.binary]
    position, evidence = normal.copy(), np.zeros((len(draws), 1))
    for j, k in enumerate(draws.binary):
        published = [(float(arm.weight[0]), float(arm.value[0, k])) for arm in arms]
        having = sum(n * share for n, share in published if not np.isnan(share))
        people = sum(n for n, share in published if not np.isnan(share))
        if people:
            probit = location[:, j, None] + scale[:, j, None] * _FINE
            log_density = having * log_ndtr(probit) + (people - having) * log_ndtr(-probit)
            log_density -= 0.5 * _FINE**2
            highest = log_density.max(axis=1, keepdims=True)
            density = np.exp(log_density - highest)
            below = np.cumsum(density[:, 1:] + density[:, :-1], axis=1)
            total = below[:, -1:]
            step = (_FINE[1] - _FINE[0]) / (2.0 * np.sqrt(2.0 * np.pi))
            evidence = evidence + highest + np.log(total * step)
            share = ndtr(normal[..., j])
            position[..., j] = [
                np.interp(at, row, _FINE[1:]) for at, row in zip(share, below / total, strict=True)
            ]
    return location[:, None] + scale[:, None] * position, evidence


def _means(
    draws: Draws, arms: list[Units], rate: np.ndarray, normal: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the trial's means given those that its arms publish, and how likely these are.

    One arm after the other: the covariances are the same for all candidates of a draw.

    Returns
    -------
    mean : ndarray of shape (draw, candidate, continuous)
    evidence : ndarray of shape (draw, candidate)
        Log density of the published means.
    """
    parameters, continuous = draws.parameters, draws.continuous
    variance = parameters["predictor_between_scale"][:, continuous] ** 2
    spread = variance[..., None] * np.eye(len(continuous))
    mean = np.broadcast_to(
        draws.location()[:, None, continuous], (*normal.shape[:2], len(continuous))
    )
    evidence = np.zeros(normal.shape[:2])
    for arm in arms:
        published, given = arm.value[0, continuous], arm.value[0, draws.binary]
        observed = np.flatnonzero(~np.isnan(published))
        if not len(observed):
            continue
        proportion = np.where(np.isnan(given), rate, np.nan_to_num(given)) - draws.binary_centre
        moved = np.einsum("dkb,dpb->dpk", parameters["binary_shift"], proportion)
        distance = (published - mean - moved)[..., observed]
        sampled = spread + parameters["predictor_covariance"] / float(arm.weight[0])
        sampled = sampled[:, observed[:, None], observed]
        gain = spread[:, :, observed] @ np.linalg.inv(sampled)
        square = np.einsum("dpo,don,dpn->dp", distance, np.linalg.inv(sampled), distance)
        size = np.linalg.slogdet(2.0 * np.pi * sampled)[1]
        evidence = evidence - 0.5 * (square + size[:, None])
        mean = mean + np.einsum("dko,dpo->dpk", gain, distance)
        spread = spread - gain @ np.swapaxes(spread[:, :, observed], 1, 2)
    return mean + np.einsum("dkl,dpl->dpk", square_root(spread), normal), evidence


def _spread_evidence(draws: Draws, arm: Units, mixture: ArmMixture) -> np.ndarray:
    """Return the log density of an arm's published standard deviations, (draw, candidate)."""
    sd, freedom = arm.sd[0, draws.continuous], max(float(arm.weight[0]) - 1.0, 0.0)
    published = np.flatnonzero(~np.isnan(sd))
    total = mixture.total_variance[..., published]
    log_density = -0.5 * freedom * (np.log(total) + sd[published] ** 2 / total)
    return np.asarray(log_density.sum(axis=-1))


class _Counts:
    """The responders of a trial's arms as a function of its level and treatment deviation."""

    def __init__(
        self,
        draws: Draws,
        arms: list[Units],
        levels: list[np.ndarray],
        mixtures: list[ArmMixture],
    ) -> None:
        self.components = draws.components
        self.arms, self.levels, self.mixtures = arms, levels, mixtures
        scales = [draws.unseen_scale(part) for part in ("trial_intercept", "trial_treatment")]
        self.scale = np.stack(scales, axis=1)

    def _toward(self, arm: Units) -> np.ndarray:
        """Return how far both standardised effects move an arm, (draw, 1, effect)."""
        return (self.scale * np.array([1.0, arm.active[0] - 0.5]))[:, None]

    def _response(self, i: int, effect: np.ndarray, function: Any) -> np.ndarray:
        """Return an average over an arm's people at effects (draw, candidate, effect)."""
        moved = (self._toward(self.arms[i]) * effect).sum(axis=-1)[..., None]
        mixture = self.mixtures[i]
        by_pattern = function(self.levels[i] + moved, mixture.variance[..., None], self.components)
        return np.asarray((mixture.weight * by_pattern).sum(axis=-1))

    def candidates(self, normal: np.ndarray, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return candidates of both effects, standardised, and their log weights.

        Parameters
        ----------
        normal : ndarray of shape (draw, candidate, 2)
        uniform : ndarray of shape (draw, candidate)
        """
        mode = np.zeros(normal.shape)
        for _ in range(_STEPS):
            score, information = -mode, np.broadcast_to(np.eye(2), (*normal.shape, 2))
            for i, arm in enumerate(self.arms):
                n, responders = float(arm.n[0]), float(arm.responders[0])
                p = np.clip(self._response(i, mode, normal_average), _SMALL, 1.0 - _SMALL)
                slope = self._response(i, mode, normal_slope)
                toward, size = self._toward(arm), slope / (p * (1.0 - p))
                score = score + ((responders - n * p) * size)[..., None] * toward
                outer = toward[..., :, None] * toward[..., None, :]
                information = information + (n * slope * size)[..., None, None] * outer
            move = np.linalg.solve(information, score[..., None])[..., 0]
            mode = mode + np.clip(move, -1.0, 1.0)
        # A t distribution has longer tails than what a normal prior times counts can have.
        chi_square = chdtri(_FREEDOM, np.clip(uniform, _SMALL, 1.0 - _SMALL))
        stretched = normal * np.sqrt(_FREEDOM / chi_square)[..., None]
        factor = np.linalg.inv(np.linalg.cholesky(information))
        effect = mode + np.einsum("...kl,...k->...l", factor, stretched)
        distance = (stretched**2).sum(axis=-1)
        log_proposal = (
            gammaln(_FREEDOM / 2.0 + 1.0)
            - gammaln(_FREEDOM / 2.0)
            - np.log(_FREEDOM * np.pi)
            + 0.5 * np.linalg.slogdet(information)[1]
            - (_FREEDOM / 2.0 + 1.0) * np.log1p(distance / _FREEDOM)
        )
        log_weight = -0.5 * (effect**2).sum(axis=-1) - np.log(2.0 * np.pi) - log_proposal
        for i, arm in enumerate(self.arms):
            n, responders = float(arm.n[0]), float(arm.responders[0])
            p = np.clip(self._response(i, effect, normal_average), 1e-300, 1.0 - 1e-16)
            log_weight = log_weight + responders * np.log(p) + (n - responders) * np.log1p(-p)
            log_weight = log_weight + gammaln(n + 1.0)
            log_weight = log_weight - gammaln(responders + 1.0) - gammaln(n - responders + 1.0)
        return effect, log_weight
