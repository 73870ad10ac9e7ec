r"""The law of predictors that are not known, given those that are.

Continuous predictors of a patient with binary pattern :math:`b` in a trial with means :math:`\mu`
are :math:`x \sim N(\mu + B(b - c), S)`. Where a trial's mean is not known either,
:math:`\mu_k \sim N(L_k, \Omega_k)`, independently. What enters the linear predictor is
:math:`e_k = x_k - a_k \mu_k`, with :math:`a_k = 1` for a predictor whose level is its assay's.
Given the pattern all are jointly normal:

.. math:: V x = S + \Omega, \quad C(e, x) = S + (1 - a)\Omega, \quad V e = S + (1 - a)\Omega, \quad
          C(\mu, x) = \Omega, \quad C(\mu, e) = (1 - a)\Omega.

The covariances depend on what is known, not on the values: one conditional law serves all patients
that know the same predictors, and everything about them is affine in the values they know. Arrays
have posterior draws first.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ketpredict.association import pattern_probability
from ketpredict.link import components
from ketpredict.marginal import Components, rate_location
from ketpredict.parts import SCALE_OF
from ketpredict.predictors import Predictor
from ketpredict.short_form import ShortForm
from ketpredict.unseen_rates import RateLaw


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Draws(ShortForm):
    """Draws of the parameters, with what is needed to read them.

    Parameters
    ----------
    parameters : mapping of str to ndarray
        (draw, ...), nothing absent: see :func:`with_absent`.
    predictors : tuple of Predictor
    link : str
    slope_parts : tuple of str
        Labels of the second axis of ``slope_scale``.
    single_level : frozenset of str
        Parts that the model does not have since their grouping has one level
        (:mod:`ketpredict.parts`): their spread is drawn from the prior.
    """

    parameters: Mapping[str, np.ndarray]
    predictors: tuple[Predictor, ...]
    link: str
    slope_parts: tuple[str, ...]
    single_level: frozenset[str] = frozenset()

    def __len__(self) -> int:
        """Return the number of draws."""
        return len(self.parameters["intercept"])

    @property
    def components(self) -> Components:
        """Weights and scales of the normals that the link is made of."""
        return components(self.link)

    @property
    def continuous(self) -> np.ndarray:
        """Positions of the continuous predictors."""
        return _positions(self.predictors, "continuous")

    @property
    def binary(self) -> np.ndarray:
        """Positions of the binary predictors."""
        return _positions(self.predictors, "binary")

    @property
    def binary_centre(self) -> np.ndarray:
        """Reference rate of each binary predictor, from which its 0 or 1 is counted."""
        return np.array([self.predictors[k].centre for k in self.binary])

    @property
    def assay_dependent(self) -> np.ndarray:
        """Whether the level of each continuous predictor is its assay's, (continuous,)."""
        return np.array([self.predictors[k].assay_dependent for k in self.continuous], dtype=bool)

    def slope_variance(self, part: str) -> np.ndarray:
        """Return the variance of one part of unseen slopes, (draw, predictor); zeros where absent.

        Around the only level that the data have: that of a difference of two.
        """
        if f"{part}_slope" in self.single_level and self.predictors:
            total = (self.parameters["slope_scale"] ** 2).sum(axis=1)
            return np.asarray(2.0 * self.parameters[f"{part}_slope_share"][:, None] * total)
        if part not in self.slope_parts or not self.predictors:
            return np.zeros((len(self), len(self.predictors)))
        scale = self.parameters["slope_scale"][:, self.slope_parts.index(part), :]
        return np.asarray(scale**2)

    def unseen_scale(self, part: str) -> np.ndarray:
        """Return the SD of an unseen population, trial or treatment deviation, (draw,).

        Around the only level that the data have two levels differ by two deviations.

        Parameters
        ----------
        part : str
            A key of :data:`ketpredict.parts.SCALE_OF`.
        """
        scale = self.parameters[SCALE_OF[part]]
        return np.asarray(np.sqrt(2.0) * scale if part in self.single_level else scale)

    def location(self) -> np.ndarray:
        """Return where trial means (probits of rates) lie on average, (draw, predictor)."""
        shift = [rate_location(p) if p.kind == "binary" else 0.0 for p in self.predictors]
        return np.asarray(self.parameters["predictor_location"] + np.array(shift))

    def rate_law(self, location: np.ndarray, scale: np.ndarray) -> RateLaw:
        """Return the law of a trial's rates, (draw, binary) probits; a scale of 0 where known."""
        return RateLaw(
            location=location,
            scale=scale,
            log_odds_ratio=self.parameters["binary_log_odds_ratio"],
            across=self.parameters["across_slope"][:, self.binary],
            centre=self.binary_centre,
        )

    @functools.cached_property
    def unseen_rates(self) -> RateLaw:
        """Law of the rates in a trial that the fit has not seen; what it works out is kept."""
        scale = self.parameters["predictor_between_scale"][:, self.binary]
        return self.rate_law(self.location()[:, self.binary], scale)

    @functools.cached_property
    def _last_law(self) -> dict[bytes, Conditional]:
        return {}

    def conditional(
        self, observed: np.ndarray, uncertain: np.ndarray, unknown: np.ndarray
    ) -> Conditional:
        """Return the law of what is uncertain given what is known; the last one is kept.

        Patients of different trials and binaries often know the same predictors, and come one after
        the other. Only one law is kept: it takes as much memory as all other numbers of a step.

        Parameters
        ----------
        observed, uncertain : ndarray of int
            As in :class:`Conditional`.
        unknown : ndarray of bool, shape (continuous,)
            Whether the trial's mean is not known.
        """
        key = b"/".join(part.tobytes() for part in (observed, uncertain, unknown))
        law = self._last_law.get(key)
        if law is None:
            between = self.parameters["predictor_between_scale"][:, self.continuous]
            law = condition(
                self.parameters["predictor_covariance"],
                np.where(unknown, between, 0.0) ** 2,
                self.assay_dependent,
                observed,
                uncertain,
            )
            self._last_law.clear()
            self._last_law[key] = law
        return law


def with_absent(
    parameters: Mapping[str, np.ndarray], predictors: Sequence[Predictor], n_cells: int
) -> dict[str, np.ndarray]:
    """Return the parameters with those of the predictor model that are absent, empty or zero.

    A model without continuous predictors has no covariance, one with a single binary predictor no
    association, and a prior keeps nothing of single trials.
    """
    complete = dict(parameters)
    count = len(complete["intercept"])
    continuous = len(_positions(predictors, "continuous"))
    binary = len(predictors) - continuous
    shapes = {
        "slope_scale": (0, len(predictors)),
        "across_slope": (len(predictors),),
        "predictor_location": (len(predictors),),
        "predictor_between_scale": (len(predictors),),
        "trial_mean": (n_cells,),
        "predictor_covariance": (continuous, continuous),
        "binary_shift": (continuous, binary),
        "binary_log_odds_ratio": (max(binary - 1, 0),),
    }
    for name, shape in shapes.items():
        complete.setdefault(name, np.zeros((count, *shape)))
    return complete


def _positions(predictors: Sequence[Predictor], kind: str) -> np.ndarray:
    return np.array([i for i, p in enumerate(predictors) if p.kind == kind], dtype=int)


@dataclasses.dataclass(frozen=True)
class Conditional:
    """Law of what is uncertain about patients given the continuous values that are known.

    Parameters
    ----------
    observed, uncertain : ndarray of int
        Positions among the continuous predictors. A known value of an assay-dependent predictor
        whose trial mean is not known is both.
    precision : ndarray of shape (draw, observed, observed)
        Inverse covariance of the known values given the pattern.
    gain : ndarray of shape (draw, uncertain, observed)
        Regression of what enters on the known values.
    spread : ndarray of shape (draw, uncertain, uncertain)
        Covariance of what enters, given the known values.
    mean_gain : ndarray of shape (draw, continuous, observed)
    mean_spread : ndarray of shape (draw, continuous, continuous)
    mean_cross : ndarray of shape (draw, continuous, uncertain)
        The same for trial means; covariance of trial means with what enters.
    """

    observed: np.ndarray
    uncertain: np.ndarray
    precision: np.ndarray
    gain: np.ndarray
    spread: np.ndarray
    mean_gain: np.ndarray
    mean_spread: np.ndarray
    mean_cross: np.ndarray


def condition(
    covariance: np.ndarray,
    mean_variance: np.ndarray,
    assay_dependent: np.ndarray,
    observed: np.ndarray,
    uncertain: np.ndarray,
) -> Conditional:
    """Return the conditional law for one set of known predictors.

    Parameters
    ----------
    covariance : ndarray of shape (draw, continuous, continuous)
        Of patients within a trial.
    mean_variance : ndarray of shape (draw, continuous)
        Of the trial's means; 0 where a mean is known.
    assay_dependent : ndarray of bool, shape (continuous,)
    observed, uncertain : ndarray of int
    """
    identity = np.eye(len(assay_dependent))
    omega = mean_variance[..., None] * identity
    comparable = omega * ~assay_dependent
    entering = covariance + comparable
    precision = np.linalg.inv((covariance + omega)[:, observed[:, None], observed])
    with_observed = entering[:, uncertain[:, None], observed]
    mean_with_observed = omega[:, :, observed]
    gain, mean_gain = with_observed @ precision, mean_with_observed @ precision
    return Conditional(
        observed=observed,
        uncertain=uncertain,
        precision=precision,
        gain=gain,
        spread=entering[:, uncertain[:, None], uncertain] - gain @ _turned(with_observed),
        mean_gain=mean_gain,
        mean_spread=omega - mean_gain @ _turned(mean_with_observed),
        mean_cross=comparable[:, :, uncertain] - mean_gain @ _turned(with_observed),
    )


def _turned(matrix: np.ndarray) -> np.ndarray:
    return np.swapaxes(matrix, -1, -2)


def square_root(covariance: np.ndarray) -> np.ndarray:
    """Return the symmetric square root of covariances, singular ones included."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]) @ _turned(vectors))


def pattern_shift(draws: Draws, values: np.ndarray) -> np.ndarray:
    """Return how far continuous means stand from those of the average pattern.

    Returns
    -------
    ndarray of shape (draw, pattern, continuous)
    """
    centred = values - draws.binary_centre
    return np.asarray(np.einsum("dkb,pb->dpk", draws.parameters["binary_shift"], centred))


def known_pattern_probability(rate: Any, values: np.ndarray, log_odds_ratio: Any) -> np.ndarray:
    """Return the probability of patterns at known rates.

    Parameters
    ----------
    rate : ndarray of shape (..., binary)
    values : ndarray of shape (pattern, binary)
    log_odds_ratio : ndarray of shape (..., pair)

    Returns
    -------
    ndarray of shape (..., pattern)
    """
    if values.shape[-1] == 0:
        return np.ones((*np.shape(rate)[:-1], len(values)))
    return np.asarray(pattern_probability(rate[..., None, :], values, log_odds_ratio))


def pattern_evidence(law: Conditional, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Return what known continuous values say about the pattern: affine log weights.

    With :math:`d = B_o(b - c)` and precision :math:`P` the log density of the known values differs
    between patterns by :math:`d'P(x_o - \mu_o) - d'Pd/2`; all else is common to the patterns.

    Parameters
    ----------
    shift : ndarray of shape (draw, pattern, continuous)
        From :func:`pattern_shift`.

    Returns
    -------
    constant : ndarray of shape (draw, pattern)
    coefficient : ndarray of shape (draw, pattern, observed)
        Of the distances of the known values from their trial means.
    """
    own = shift[..., law.observed]
    coefficient = own @ law.precision
    return -0.5 * (coefficient * own).sum(axis=-1), coefficient
