"""Tables of a report: priors and their sources, and what the data made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ketpredict.chain_statistics import chain_statistics
from ketpredict.diagnostics import APPROXIMATIONS
from ketpredict.field_of_fit import is_of_ketamine
from ketpredict.panels import BLUE, QUIET, legend, line, panels, room_for_labels
from ketpredict.parts import part_words
from ketpredict.posterior import Posterior
from ketpredict.prior_families import Prior
from ketpredict.prior_overlap import density_overlap
from ketpredict.report_tables import Table, interval, number, table_of
from ketpredict.spec import ModelSpec, load_spec
from ketpredict.wording import percent, plain_words

SHIPPED = {"probit": "published", "logit": "odds_ratios"}
"""The model file of the package whose priors are the defaults with each link."""
_WEAK = "weakly informative, by the authors of the package"
_PRIORS = {
    "intercept": ("average patient, reference arm, 24 h", _WEAK),
    "population_scale": ("spread between populations", _WEAK),
    "trial_scale": ("spread between trials", _WEAK),
    "treatment_scale": ("spread between trials of active against control", _WEAK),
    "active_class_mean": ("mean of other active arms against the reference", _WEAK),
    "control_class_mean": ("mean of control arms against the reference", _WEAK),
    "arm_scale": ("spread of arms within their class", _WEAK),
    "study_term": ("open label, enriched sample, a treatment added: a shift each", _WEAK),
    "horizon_scale": ("step of the horizon offsets for one unit of log time", _WEAK),
    "improvement_sd": (
        "SD of percent improvement, for thresholds other than 50 %",
        "near 31 points between patients (docs/model.md)",
    ),
    "explained_variance": (
        "R2: share of the latent variance that all slopes explain",
        "R2-D2 prior, Zhang et al. 2022, J Am Stat Assoc 117:862; mean 0.2",
    ),
    "predictor_share": ("how R2 is divided over predictors", "uniform (R2-D2)"),
    "slope_share": (
        "how a slope's part is divided: prognostic, predictive, populations, trials",
        "predictive effects and deviations shrunk harder than prognostic ones",
    ),
    "across_scale": (
        "slope of trial means less slope within trials",
        "ecological bias: Riley et al. 2020, Stat Med 39:2115",
    ),
    "predictor_location": ("mean of a predictor over trials, reference scale", _WEAK),
    "predictor_between_scale": (
        "spread of a predictor's means over trials",
        "times the reference spread of data/predictors.csv",
    ),
    "predictor_sd": ("SD of a predictor within a trial, reference scale", _WEAK),
    "predictor_correlation": (
        "correlations of continuous predictors",
        "LKJ: Lewandowski et al. 2009, J Multivar Anal 100:1989",
    ),
    "binary_shift": ("mean of a continuous predictor where a binary one is present", _WEAK),
    "binary_association": ("log odds ratio of neighbouring binary predictors", _WEAK),
    "effect_scale": ("slopes between published studies beyond trials", _WEAK),
    "effect_horizon_scale": ("published slopes between horizons", _WEAK),
}
"""What each prior is of, and where its numbers come from."""
_SHOWN = (
    "intercept", "population_scale", "trial_scale", "treatment_scale", "arm_class_mean",
    "arm_scale", "study_term_effect", "horizon_scale", "improvement_sd", "explained_variance",
    "slope", "across_slope", "predictor_location", "predictor_between_scale", "effect_scale",
    "effect_horizon_scale",
)  # fmt: skip
_TAILS = (0.05, 0.95)


def default_priors(spec: ModelSpec) -> dict[str, Prior]:
    """Return the priors that the package ships for a model of this link."""
    return load_spec(SHIPPED[spec.link]).priors


def unchosen_priors(posterior: Posterior) -> tuple[str, ...]:
    """Return the priors that nobody chose for these data: those that are the package's defaults."""
    defaults = default_priors(posterior.spec)
    return tuple(name for name, prior in posterior.spec.priors.items() if prior == defaults[name])


def priors_words(posterior: Posterior) -> str:
    """Return in words which priors nobody chose."""
    unchosen, count = unchosen_priors(posterior), len(posterior.spec.priors)
    file = f"models/{SHIPPED[posterior.spec.link]}.toml"
    ours = is_of_ketamine(posterior.coords["arm"])
    set_for = "response to ketamine" if ours else "another field than that of these data"
    if len(unchosen) == count:
        return (
            f"Nobody chose a prior for these data: all {count} are the defaults of {file}. They "
            f"were set for {set_for}; whoever reports this fit should say why they are "
            "adequate here, or choose others."
        )
    changed = [name.replace("_", " ") for name in posterior.spec.priors if name not in unchosen]
    if not unchosen:
        return f"All {count} priors differ from the defaults of {file}."
    return (
        f"Nobody chose {len(unchosen)} of {count} priors for these data: they are the defaults of "
        f"{file}. Chosen for this fit: {', '.join(changed)}."
    )


def prior_table(posterior: Posterior) -> Table:
    """Return every prior with its source and whether anybody chose it."""
    unchosen, defaults = unchosen_priors(posterior), default_priors(posterior.spec)
    frame = pd.DataFrame({"name": list(posterior.spec.priors)})

    def chosen(row: Any) -> str:
        if row["name"] in unchosen:
            return "default: nobody chose it"
        return f"chosen; the default is {_family(defaults[row['name']])}"

    return table_of(
        frame,
        "priors",
        "Priors on the latent scale, their sources, and which nobody chose",
        (
            ("Prior", lambda row: plain_words(row["name"])),
            ("Of", lambda row: _PRIORS[row["name"]][0]),
            ("Distribution", lambda row: _family(posterior.spec.priors[row["name"]])),
            ("Chosen for these data?", chosen),
            ("Where its numbers come from", lambda row: _PRIORS[row["name"]][1]),
        ),
        "Normal families carry standard deviations. On the latent scale a step of 0.25 is about "
        "10 percentage points near a probability of one half (probit link).",
    )


def _family(prior: Prior) -> str:
    return str(prior).replace("_", "-")


def parameter_frame(posterior: Posterior, prob: float) -> pd.DataFrame:
    """Return the parameters that populations, trials and predictors have in common.

    Returns
    -------
    DataFrame
        ``parameter`` (in words), ``prior_mean``, ``prior_sd``, ``prior_lower``, ``prior_upper``,
        ``mean``, ``sd``, ``lower``, ``upper``, ``share`` (overlap with the prior), and of
        chains ``rhat`` and ``ess`` (the smaller of bulk and tail). What does not vary is left out.
    """
    tails = [(1.0 - prob) / 2.0, (1.0 + prob) / 2.0]
    rows = []
    for name in _SHOWN:
        after = posterior.groups["posterior"].get(name)
        before = posterior.groups.get("prior", {}).get(name)
        if after is None or before is None or not after.size:
            continue
        flat = after.reshape(*after.shape[:2], -1)
        prior = before.reshape(-1, flat.shape[-1])
        statistics = chain_statistics(flat, _TAILS)
        shares = density_overlap(flat.reshape(-1, flat.shape[-1]), prior)
        for k, label in enumerate(_elements(posterior, name, after.shape[2:])):
            if not prior[:, k].std() > 0:
                continue
            draws = flat[..., k].ravel()
            ends, prior_ends = np.quantile(draws, tails), np.quantile(prior[:, k], tails)
            rows.append(
                {
                    "parameter": label,
                    "prior_mean": prior[:, k].mean(),
                    "prior_sd": prior[:, k].std(),
                    "prior_lower": prior_ends[0],
                    "prior_upper": prior_ends[1],
                    "mean": draws.mean(),
                    "sd": draws.std(),
                    "lower": ends[0],
                    "upper": ends[1],
                    "share": shares[k],
                    "rhat": statistics.rhat[k],
                    "ess": np.minimum(statistics.ess_bulk[k], statistics.ess_tail[k]),
                }
            )
    return pd.DataFrame(rows)


def _elements(posterior: Posterior, name: str, shape: tuple[int, ...]) -> list[str]:
    """Return the label of each element of a parameter."""
    words = name.removesuffix("_effect").replace("_", " ")
    if not shape:
        return [words]
    labels = [posterior.coords[dim] for dim in posterior.dims[name]]
    return [f"{words}: {plain_words(label)}" for label in labels[0]]


def parameter_table(posterior: Posterior, frame: pd.DataFrame, prob: float) -> Table:
    """Return the table of :func:`parameter_frame` for readers."""
    content = f"{100 * prob:g} %"
    chains = posterior.facts["diagnostics"].get("method") not in APPROXIMATIONS
    columns = [
        ("Parameter", lambda row: row["parameter"]),
        ("Prior mean", lambda row: number(row["prior_mean"])),
        (f"Prior {content}", lambda row: interval(row["prior_lower"], row["prior_upper"])),
        ("Posterior mean", lambda row: number(row["mean"])),
        (f"Posterior {content}", lambda row: interval(row["lower"], row["upper"])),
        ("Overlap with prior", lambda row: percent(row["share"])),
    ]
    if chains:
        columns += [
            ("R-hat", lambda row: number(row["rhat"], 3)),
            ("Effective draws", lambda row: number(row["ess"], 0)),
        ]
    return table_of(
        frame,
        "parameters",
        "Prior and posterior of the common parameters, latent scale",
        columns,
        "Overlap with prior: how much of the two densities lies in the same place. Near 100 % the "
        "posterior is the prior: the data said nothing of the parameter, or agree with it. "
        "Improvement SD is in percentage points. Effective draws: the smaller of bulk and tail, "
        "of the draws that the file keeps.",
    )


def parameter_figure(frame: pd.DataFrame, prob: float) -> Figure:
    """Return each posterior beside its prior, in SDs of the prior.

    Parameters
    ----------
    frame : DataFrame
        From :func:`parameter_frame`.
    """
    caption = (
        f"Lines: {100 * prob:g} % intervals; dots: posterior means; all as distances from the "
        "prior's mean in SDs of the prior. A good one: blue much shorter than grey where the "
        "conclusions rest, and inside it. As long as grey: the data said nothing, and the number "
        "is the prior's. Beyond grey: prior and data disagree."
    )
    figure, (axes,) = panels(
        1, "Common parameters: prior and posterior", caption, row_inches=0.24 * len(frame) + 1.2
    )
    labels = frame["parameter"].to_list()
    room_for_labels(figure, labels)
    places, scale = np.arange(len(frame)), frame["prior_sd"].to_numpy()

    def standard(column: str) -> np.ndarray:
        return np.asarray((frame[column] - frame["prior_mean"]).to_numpy() / scale)

    axes.hlines(
        places,
        standard("prior_lower"),
        standard("prior_upper"),
        color=QUIET,
        linewidth=7,
        alpha=0.4,
    )
    axes.hlines(places, standard("lower"), standard("upper"), color=BLUE, linewidth=2.2)
    axes.plot(standard("mean"), places, "o", color=BLUE, markersize=5)
    axes.axvline(0.0, color=QUIET, linewidth=0.8)
    axes.set_yticks(places, labels)
    axes.set_ylim(len(frame) - 0.4, -0.6)
    axes.set_xlabel("Distance from the prior's mean (SDs of the prior)")
    handles = [
        line("prior", QUIET, linewidth=7, alpha=0.4),
        line("posterior", BLUE, linewidth=2.2, marker="o", markersize=5),
    ]
    legend(axes, handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
    return figure


def pooling_words(posterior: Posterior) -> list[str]:
    """Return what varies between groups, what does not, and what the data could not tell."""
    spec, left_out = posterior.spec, posterior.left_out
    words = {
        "population_intercept": "response between populations",
        "trial_intercept": "response between trials",
        "trial_treatment": "active against control between trials",
        "population_slope": "slopes between populations",
        "trial_slope": "slopes between trials",
        "across_trial_slope": "the slope of trial means from that within trials",
    }
    varies = [
        text for key, text in words.items() if getattr(spec.pooling, key) and key not in left_out
    ]
    fixed = [text for key, text in words.items() if not getattr(spec.pooling, key)]
    lines = [f"Varies, partially pooled: {'; '.join(varies) or 'nothing'}."]
    lines += [f"Taken as the same everywhere: {'; '.join(fixed)}."] if fixed else []
    untold = [f"{part_words(part)} ({why})" for part, why in left_out.items()]
    return lines + (
        [f"Left out, since these data cannot tell it: {'; '.join(untold)}."] if untold else []
    )
