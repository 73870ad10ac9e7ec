r"""Response probability of patients in one trial that the fit has not seen.

A trial has its effects, slopes, predictor means and rates of binaries. A patient says something of
the own trial: with known values :math:`x_o` and binaries :math:`b_o` its means and rates follow

.. math:: p(\mu, r \mid x_o, b_o) = \textstyle\sum_b w_b\, p(\mu \mid x_o, b)\, p(r \mid b),

over the patterns that agree with :math:`b_o`, each weighted by its probability given what is known.
A trial is made by this very decomposition, from numbers that are the same for all rows: a uniform
number picks a pattern; standard normal ones make the means, which are normal given :math:`x_o` and
the pattern, and the rates, along their chain given the pattern
(:meth:`ketpredict.unseen_rates.RateLaw.rates_given`). In the trial so made the probability of the
patient is that in a known trial, all patterns weighted anew by its own means and rates. No weights
are left over: the average over trials is the average probability. Where nothing is known of a
patient, means and rates come from their law as it is.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from ketpredict.averages import pattern_weights
from ketpredict.lattice import lattice
from ketpredict.marginal import normal_average
from ketpredict.patients import (
    Rows,
    Setting,
    affine,
    alike,
    entering_values,
    fold,
    intercepts,
    mixture,
    pieces,
    setting_of,
)
from ketpredict.predictor_law import (
    Conditional,
    Draws,
    condition,
    known_pattern_probability,
    pattern_evidence,
    pattern_shift,
    square_root,
)
from ketpredict.unseen_rates import RateLaw
from ketpredict.workers import work_off

TRIALS_PER_DRAW = 4
_SEED = 20_240_613
_SMALL = 1e-300
# Up to so many rows the rates of a trial are worked out for the patterns that these rows pick only.
_FEW = 16


class UnseenTrials:
    """Four unseen trials for each draw: the same for every call and every row.

    Parameters
    ----------
    draws : Draws
    uniform : ndarray of shape (4 * draw, 4 + 3 * predictor), optional
        Numbers that the trials are made of; a lattice with a fixed seed by default. The columns
        after the first four belong to trial slopes, population slopes, and means and rates.

    Attributes
    ----------
    intercept, treatment, population : ndarray of shape (trial,)
        Effects of unseen trials (and populations), latent scale; four trials for each draw.
    trial_slope, population_slope : ndarray of shape (trial, predictor)
    position : ndarray of shape (trial, predictor)
        Standard normal numbers that means and rates are made of.
    choice : ndarray of shape (trial,)
        Uniform numbers that pick a pattern.
    """

    def __init__(self, draws: Draws, uniform: np.ndarray | None = None) -> None:
        if uniform is None:
            uniform = lattice(len(draws) * TRIALS_PER_DRAW, numbers_of_trial(draws), _SEED)
        normal = ndtri(np.clip(uniform, 1e-12, 1.0 - 1e-12))
        trial, population, position = np.split(normal[:, 4:], 3, axis=1)
        self.intercept = each(draws.unseen_scale("trial_intercept")) * normal[:, 0]
        self.treatment = each(draws.unseen_scale("trial_treatment")) * normal[:, 1]
        self.population = each(draws.unseen_scale("population_intercept")) * normal[:, 2]
        self.trial_slope = each(np.sqrt(draws.slope_variance("trial"))) * trial
        self.population_slope = each(np.sqrt(draws.slope_variance("population"))) * population
        self.position = position
        self.choice = uniform[:, 3]
        self._rates: dict[tuple[bytes, ...], tuple[np.ndarray, np.ndarray]] = {}

    def rates(
        self, law: RateLaw, values: np.ndarray | None, binary: np.ndarray, wanted: np.ndarray
    ) -> np.ndarray:
        """Return the rates of each trial given a patient's pattern, (trial, binary).

        Parameters
        ----------
        values : ndarray of shape (binary,) or None
            None where nothing is known of a patient.
        wanted : ndarray of bool, shape (trial,)
            Trials whose rates are asked for; those of others may be anything.
        """
        normal = self.position[:, binary]
        if values is None:
            return np.asarray(ndtr(each(law.location) + each(law.scale) * normal))
        # The law of an unseen trial is the same for all rows: a pattern's rates are made once.
        key = (law.location.tobytes(), law.scale.tobytes(), values.tobytes())
        made, rates = self._rates.setdefault(
            key, (np.zeros(len(normal), dtype=bool), np.zeros_like(normal))
        )
        missing = wanted & ~made
        if missing.any():
            by_draw = normal.reshape(-1, TRIALS_PER_DRAW, normal.shape[1])
            found = law.rates_given(values, by_draw, missing.reshape(-1, TRIALS_PER_DRAW))
            rates[missing] = found.reshape(normal.shape)[missing]
            made |= missing
        return rates


_MADE: weakref.WeakKeyDictionary[Draws, UnseenTrials] = weakref.WeakKeyDictionary()


def unseen_trials_of(draws: Draws) -> UnseenTrials:
    """Return the unseen trials of some draws: made once, kept as long as the draws."""
    if draws not in _MADE:
        _MADE[draws] = UnseenTrials(draws)
    return _MADE[draws]


def numbers_of_trial(draws: Draws) -> int:
    """Return how many uniform numbers make one unseen trial."""
    return 4 + 3 * len(draws.predictors)


def numbers_of_population(draws: Draws) -> np.ndarray:
    """Return the places of the numbers that make the population of an unseen trial."""
    count = len(draws.predictors)
    return np.array([2, *range(4 + count, 4 + 2 * count)])


def each(draws: np.ndarray) -> np.ndarray:
    """Return each draw as often as it meets unseen trials."""
    return np.repeat(draws, TRIALS_PER_DRAW, axis=0)


def trial_probability(
    draws: Draws,
    rows: Rows,
    take: Callable[[np.ndarray, np.ndarray], None],
    cores: int | None = None,
    unseen: UnseenTrials | None = None,
) -> None:
    """Work out the probabilities of rows, all in the same unseen trials.

    Parameters
    ----------
    rows : Rows
        All of an unseen trial or population.
    take : callable
        Is given the index of a few rows and their (row, 4 * draw) probabilities; called from
        several threads, for different rows.
    cores : int, optional
        All that the process may use by default.
    unseen : UnseenTrials, optional
        Those that :func:`unseen_trials_of` makes of the draws by default.
    """
    if len(rows):
        unseen = unseen_trials_of(draws) if unseen is None else unseen
        work_off(_pieces(draws, rows, take, unseen), cores)


def _pieces(
    draws: Draws,
    rows: Rows,
    take: Callable[[np.ndarray, np.ndarray], None],
    unseen: UnseenTrials,
) -> Iterator[Callable[[], None]]:
    for index, part in alike(draws, rows):
        setting = setting_of(draws, part)
        trial = _trial(draws, setting, part, unseen)
        for piece in pieces(len(part), len(unseen.choice) * len(setting.values)):
            some = part.take(np.arange(len(part))[piece])

            def work(
                setting: Setting = setting,
                trial: _Trial = trial,
                some: Rows = some,
                at: np.ndarray = index[piece],
            ) -> None:
                take(at, _probability(draws, setting, trial, some, unseen).T)

            yield work


@dataclasses.dataclass(frozen=True)
class _Trial:
    """What rows alike share in each unseen trial (first axis), by the pattern that was picked.

    Parameters
    ----------
    level : ndarray of shape (trial,)
        What the trial's effects add to the intercept.
    coefficient : ndarray of shape (trial, observed)
    constant : ndarray of shape (trial, picked, pattern)
    variance : ndarray of shape (trial,)
    weight : ndarray of shape (trial, picked, pattern)
    weight_coefficient : ndarray of shape (trial, pattern, observed)
    pick, pick_coefficient : ndarray of shape (draw, picked), (draw, picked, observed)
        Log weights by which the pattern is picked.
    """

    level: np.ndarray
    coefficient: np.ndarray
    constant: np.ndarray
    variance: np.ndarray
    weight: np.ndarray
    weight_coefficient: np.ndarray
    pick: np.ndarray
    pick_coefficient: np.ndarray


def _trial(draws: Draws, setting: Setting, rows: Rows, unseen: UnseenTrials) -> _Trial:
    new_trial, new_population = bool(rows.new_trial[0]), bool(rows.new_population[0])
    level, slope = np.zeros_like(unseen.intercept), each(setting.slope)
    if new_trial:
        level = level + unseen.intercept + unseen.treatment * (rows.active[0] - 0.5)
        slope = slope + unseen.trial_slope
    if new_population:
        level = level + unseen.population
        slope = slope + unseen.population_slope
    within = _within(draws, setting)
    shift = each(pattern_shift(draws, setting.values))
    folded = fold(draws, within, slope, setting.values, shift)
    across = each(draws.parameters["across_slope"])
    by_mean = folded.by_mean + across[:, draws.continuous]
    # Means given the known values and the picked pattern: affine in the values.
    outer, observed = setting.law, setting.law.observed
    gain, location = each(outer.mean_gain), each(setting.location)
    at = location[:, None, observed] + shift[..., observed]
    made = np.einsum(
        "skl,sl->sk", each(square_root(outer.mean_spread)), unseen.position[:, draws.continuous]
    )
    mean = (location + made)[:, None, :] - np.einsum("sko,spo->spk", gain, at)
    evidence, to_mean = pattern_evidence(within, shift)
    pick, pick_coefficient = pattern_weights(draws, setting)
    wanted = np.ones((len(setting.values), len(unseen.choice)), dtype=bool)
    if len(rows) <= _FEW and len(wanted) > 1:
        known = entering_values(draws, setting, rows)
        picked = _picked(pick, pick_coefficient, known, unseen)
        wanted = np.array([(picked == p).any(axis=1) for p in range(len(wanted))])
    effect, probability = _rates(draws, setting, unseen, wanted)
    constant = folded.constant[:, None, :] + np.einsum("sk,spk->sp", by_mean, mean)[..., None]
    weight = np.log(np.maximum(probability, _SMALL)) + evidence[:, None, :]
    return _Trial(
        level=level,
        coefficient=folded.coefficient + np.einsum("sk,sko->so", by_mean, gain),
        constant=constant + effect[..., None],
        variance=folded.variance,
        weight=weight - np.einsum("spo,sqo->sqp", to_mean, mean[..., observed]),
        weight_coefficient=to_mean - np.einsum("spo,son->spn", to_mean, gain[:, observed]),
        pick=pick,
        pick_coefficient=pick_coefficient,
    )


def _within(draws: Draws, setting: Setting) -> Conditional:
    """Return the law within one trial, whose means are then known."""
    missing = np.setdiff1d(np.arange(len(draws.continuous)), setting.law.observed)
    law = condition(
        draws.parameters["predictor_covariance"],
        np.zeros((len(draws), len(draws.continuous))),
        draws.assay_dependent,
        setting.law.observed,
        missing,
    )
    arrays = {
        field.name: each(getattr(law, field.name))
        for field in dataclasses.fields(law)
        if field.name not in ("observed", "uncertain")
    }
    return dataclasses.replace(law, **arrays)


def _rates(
    draws: Draws, setting: Setting, unseen: UnseenTrials, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return effects of the trials' rates and their pattern probabilities, by picked pattern.

    Parameters
    ----------
    wanted : ndarray of bool, shape (picked, trial)
        Whether the pattern is picked in the trial by any row; other entries may be anything.

    Returns
    -------
    effect : ndarray of shape (trial, picked)
    probability : ndarray of shape (trial, picked, pattern)
    """
    across = each(draws.parameters["across_slope"])[:, draws.binary]
    log_odds_ratio = each(setting.rates.log_odds_ratio)
    effects, probabilities = [], []
    for values, asked in zip(setting.values, wanted, strict=True):
        told = None if setting.rates_known or _nothing_known(setting) else values
        rate = unseen.rates(setting.rates, told, draws.binary, asked)
        effects.append((across * (rate - draws.binary_centre)).sum(axis=1))
        probabilities.append(known_pattern_probability(rate, setting.values, log_odds_ratio))
    return np.stack(effects, axis=1), np.stack(probabilities, axis=1)


def _nothing_known(setting: Setting) -> bool:
    return not len(setting.law.observed) and len(setting.values) == 2 ** setting.values.shape[1]


def _probability(
    draws: Draws, setting: Setting, trial: _Trial, rows: Rows, unseen: UnseenTrials
) -> np.ndarray:
    """Return (trial, row) probabilities of rows alike."""
    known = entering_values(draws, setting, rows)
    linear = each(intercepts(draws, rows)) + trial.level[:, None] + affine(trial.coefficient, known)
    picked = None
    if len(setting.values) > 1:
        picked = _picked(trial.pick, trial.pick_coefficient, known, unseen)

    def of(array: np.ndarray, p: int) -> Any:
        """Return the column of a pattern in the trial that was made with the picked pattern."""
        return (
            array[..., p] if picked is None else np.take_along_axis(array[..., p], picked, axis=1)
        )

    weights, probabilities = [], []
    for p in range(len(setting.values)):
        mean = linear + of(trial.constant, p)
        probabilities.append(normal_average(mean, trial.variance[:, None], draws.components))
        weights.append(of(trial.weight, p) + affine(trial.weight_coefficient[:, p], known))
    return mixture(weights, probabilities)


def _picked(
    pick: np.ndarray, coefficient: np.ndarray, known: np.ndarray, unseen: UnseenTrials
) -> np.ndarray:
    """Return the position of the picked pattern in every trial for each row, (trial, row)."""
    weights = [pick[:, p, None] + affine(coefficient[:, p], known) for p in range(pick.shape[1])]
    highest = np.maximum.reduce(np.broadcast_arrays(*weights))
    below = np.cumsum([np.exp(weight - highest) for weight in weights], axis=0)
    # In units of the sum; the last pattern takes what rounding leaves.
    share = each((below[:-1] / below[-1]).swapaxes(0, 1)).swapaxes(0, 1)
    picked = (share < unseen.choice[:, None]).sum(axis=0)
    return np.asarray(np.broadcast_to(picked, (len(unseen.choice), len(known))))
