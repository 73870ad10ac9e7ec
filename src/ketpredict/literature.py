"""What the literature did: each slope with and without the published predictor effects.

*Without* is the posterior of the same design, drawn again without its effects. *Effective patients*
is the information of the effects in patients (:mod:`ketpredict.effect_information`). A slope that
the literature moves away from zero can be less certain with it than without: the prior of slopes is
heavy-tailed. *Sensitivity* is power-scaling of the effects' likelihood (Kallioinen et al. 2024,
Stat Comput 34:57); above 0.05 the literature matters. *Leave one out* is Pareto-smoothed
importance sampling (Vehtari et al. 2024, JMLR 25:72), whose shape k tells where it fails (above
0.7).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from ketpredict.effect_density import own_log_likelihood
from ketpredict.effect_information import effective_patients
from ketpredict.errors import DataError
from ketpredict.fitting import SamplerSettings, redraw
from ketpredict.importance import smoothed_weights
from ketpredict.pointwise import effects_log_likelihood
from ketpredict.posterior import Posterior
from ketpredict.power_scaling import sensitivity
from ketpredict.published_effects import no_effects
from ketpredict.short_form import ShortForm
from ketpredict.stored_design import design_of
from ketpredict.tables import records

_FEW_DRAWS = 400


@dataclasses.dataclass(frozen=True, repr=False)
class Literature(ShortForm):
    """What the published effects did to a fit.

    Parameters
    ----------
    slopes : DataFrame
        For each predictor: ``predictor``, ``label``, ``effects`` (how many entered), ``patients``
        (behind them, each cohort once), ``slope``, ``lower``, ``upper`` with the literature,
        ``slope_without``, ``lower_without``, ``upper_without``, ``shift`` (in SDs of the slope
        without), ``effective_patients`` with ``effective_lower`` and ``effective_upper``,
        ``sensitivity``.
    effects : DataFrame
        For each effect: ``effect``, ``predictor``, ``power``, ``slope_left_out`` (of its predictor
        when this effect alone is left out), ``shift`` (the slope with it minus without it, in SDs
        with it), ``pareto_k``.
    fates : DataFrame
        Every row of the associations, used or not, and why.
    prob : float
        Probability content of the intervals.
    """

    slopes: pd.DataFrame
    effects: pd.DataFrame
    fates: pd.DataFrame
    prob: float

    def matters_most(self) -> str:
        """Return the label of the effect whose absence would move its slope most."""
        return str(self.effects.loc[self.effects["shift"].abs().idxmax(), "effect"])

    def as_table(self) -> dict[str, Any]:
        """Return plain lists, texts and numbers, for JSON."""
        return {
            "prob": self.prob,
            "slopes": records(self.slopes),
            "effects": records(self.effects),
            "associations": records(self.fates),
        }


def literature(
    posterior: Posterior, prob: float = 0.9, settings: SamplerSettings | None = None
) -> Literature:
    """Return what the published effects did to a fit; samples once more, without them.

    Parameters
    ----------
    posterior : Posterior
    prob : float
        Probability content of the intervals.
    settings : SamplerSettings, optional
        How to sample; as the fit was sampled by default.

    Raises
    ------
    DataError
        No published effect enters the fit, or it was saved without what it was fitted to.
    """
    design = design_of(posterior)
    if not len(design.effects):
        raise DataError("No published effect enters this fit, so the literature did nothing.")
    bare = dataclasses.replace(
        design,
        effects=no_effects(len(design.predictors), len(design.populations)),
        effect_labels=(),
        effect_groups=(),
    )
    if settings is None:
        settings = SamplerSettings(**posterior.facts["provenance"]["sampler"])
    without = redraw(bare, settings)["posterior"]["slope"].transpose("chain", "draw", ...)
    return Literature(
        _slopes(posterior, without.to_numpy(), prob),
        effects_left_out(posterior),
        pd.DataFrame(posterior.facts["effects"]),
        prob,
    )


def effects_left_out(posterior: Posterior) -> pd.DataFrame:
    """Return each slope without each of its effects, by importance sampling: nothing is drawn.

    Returns
    -------
    DataFrame
        ``effects`` of :class:`Literature`; empty where no published effect enters.
    """
    design = design_of(posterior, patients=False)
    slope = posterior.groups["posterior"]["slope"].reshape(-1, len(posterior.predictors))
    pointwise = own_log_likelihood(posterior.parameters, design)
    rows = []
    for i, label in enumerate(design.effect_labels):
        k = int(design.effects.predictor_idx[i])
        weights = smoothed_weights(-pointwise[:, i])
        mean = float(weights.weight @ slope[:, k])
        rows.append(
            {
                "effect": label,
                "predictor": posterior.predictors[k].name,
                "power": float(design.effects.power[i]),
                "slope_left_out": mean,
                "shift": float((slope[:, k].mean() - mean) / slope[:, k].std()),
                "pareto_k": weights.pareto_k,
            }
        )
    names = ["effect", "predictor", "power", "slope_left_out", "shift", "pareto_k"]
    return pd.DataFrame(rows, columns=names)


def _slopes(posterior: Posterior, without: np.ndarray, prob: float) -> pd.DataFrame:
    fitted = posterior.groups["posterior"]["slope"]
    tails = [(1.0 - prob) / 2.0, (1.0 + prob) / 2.0]
    effects = design_of(posterior).effects
    used = [fate for fate in posterior.facts["effects"] if fate["used"]]
    table: dict[str, Any] = {
        "predictor": [predictor.name for predictor in posterior.predictors],
        "label": [predictor.label for predictor in posterior.predictors],
        "effects": [
            int((effects.predictor_idx == k).sum()) for k in range(len(posterior.predictors))
        ],
        "patients": [_patients(used, predictor.name) for predictor in posterior.predictors],
    }
    for ending, draws in (("", fitted), ("_without", without)):
        flat = draws.reshape(-1, draws.shape[-1])
        low, high = np.quantile(flat, tails, axis=0)
        table[f"slope{ending}"] = flat.mean(axis=0)
        table |= {f"lower{ending}": low, f"upper{ending}": high}
    spread = without.reshape(-1, without.shape[-1]).std(axis=0)
    table["shift"] = (table["slope"] - table["slope_without"]) / spread
    worth = _effective(posterior)
    table["effective_patients"] = worth.mean(axis=0)
    table["effective_lower"], table["effective_upper"] = np.quantile(worth, tails, axis=0)
    of_effects = effects_log_likelihood(posterior).sum(axis=1)
    table["sensitivity"] = sensitivity(fitted.reshape(len(of_effects), -1), of_effects)
    return pd.DataFrame(table)


def _effective(posterior: Posterior) -> np.ndarray:
    """Return the worth of the effects in patients, for some draws, (draw, predictor)."""
    few = np.linspace(0, posterior.n_draws - 1, min(_FEW_DRAWS, posterior.n_draws)).astype(int)
    parameters = {name: values[few] for name, values in posterior.parameters.items()}
    return effective_patients(parameters, design_of(posterior))


def _patients(used: list[dict[str, Any]], predictor: str) -> int:
    """Return the patients behind a predictor's effects: of each cohort its largest number."""
    cohorts: dict[str, float] = {}
    for fate in used:
        if fate["predictor"] == predictor:
            cohorts[fate["cohort"]] = max(cohorts.get(fate["cohort"], 0.0), fate["n"] or 0.0)
    return int(sum(cohorts.values()))
