"""From a design to the kernel's array of numbers.

The order and the transforms are PyMC's: variables stand in the order in which
:mod:`ketpredict.graph` makes them, scales and spreads as logarithms, R2 as its log odds, simplexes
by all but the last of their centred logarithms.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from scipy.special import betaln, gammaln

from ketpredict import kernel_numbers
from ketpredict.arrangement import arrange
from ketpredict.design import Design
from ketpredict.link import components
from ketpredict.link import variance as link_variance
from ketpredict.marginal import between_trial_sd, rate_location, reference_variance
from ketpredict.parameter_dims import class_names
from ketpredict.parts import slope_concentration
from ketpredict.prior_families import SLOPE_PARTS, Prior
from ketpredict.spec import CURVES, STUDY_TERMS

_LOG_ROOT_TWO_PI = 0.5 * math.log(2.0 * math.pi)
SCALES = {
    "population_scale": ("population_effect_raw", "population_intercept"),
    "trial_scale": ("trial_effect_raw", "trial_intercept"),
    "treatment_scale": ("treatment_deviation_raw", "trial_treatment"),
}
_NORMAL = {
    "study_term_effect": "study_term",
    "predictor_location": "predictor_location",
    "binary_shift": "binary_shift",
    "binary_log_odds_ratio": "binary_association",
}
"""Variables that are normal as they stand, and the name of their prior."""
_OTHER_SCALES = (
    "arm_scale", "horizon_scale", "across_scale", "effect_scale", "effect_horizon_scale",
)  # fmt: skip
SCALES_AND_SHARES = frozenset(
    {*SCALES, *_OTHER_SCALES, "explained_variance", "predictor_share", "slope_share"}
    | {"predictor_between_scale"}
)
"""Variables that say how far others vary."""
_LOG_NORMAL = {
    "improvement_sd": "improvement_sd",
    "predictor_between_scale": "predictor_between_scale",
}


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where everything stands.

    Parameters
    ----------
    numbers : ndarray
        Data and priors, as :func:`ketpredict.kernel.log_density` wants them.
    start : dict of str to int
        First place of each random variable in the unconstrained point.
    size : dict of str to int
        Number of places; a simplex has one less than shares.
    n_dimensions : int
    pieces : frozenset of str
        Pieces of the density that the design needs.
    """

    numbers: np.ndarray
    start: dict[str, int]
    size: dict[str, int]
    n_dimensions: int
    pieces: frozenset[str]


def lay_out(design: Design) -> Layout:
    """Return the layout of a design."""
    size = _sizes(design)
    start, place = {}, 0
    for name in kernel_numbers.VARIABLES:
        if name in size:
            start[name] = place
            place += size[name]
    blocks = _blocks(design, start, size)
    widths = _work_widths(blocks, place)
    lengths = np.array([widths[name] for name in kernel_numbers.WORK])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    blocks["work_layout"] = np.column_stack([starts, lengths])
    # The closing number: how long the working array is, with its own length in front.
    numbers = np.append(_packed(blocks), lengths.sum() + 1.0)
    return Layout(numbers, start, size, place, _pieces(blocks))


def _work_widths(blocks: dict[str, np.ndarray], dimensions: int) -> dict[str, int]:
    """Return the length of each part of the array that an evaluation works in."""
    sizes = dict(zip(kernel_numbers.SIZE_NAMES, blocks["sizes"].tolist(), strict=True))
    count, continuous, binaries = sizes["predictors"], sizes["continuous"], sizes["binaries"]
    square, clusters = continuous**2, sizes["clusters"] * (count + 2)
    widths = {
        "point": dimensions,
        "gradient": dimensions,
        "scalars": 6,
        "improvement_sd": sizes["scales"],
        "offset": 2 * sizes["knots"],
        "slope_scales": 4 * count,
        "log_predictor": count,
        "log_part": int(blocks["part_present"].sum()),
        "across": count,
        "intercept": sizes["settings"],
        "slope": sizes["slopes"] * count,
        "trial_mean": len(blocks["cell_predictor"]),
        "factor": square,
        "shift": continuous * binaries,
        "odds": max(binaries - 1, 0),
        "rate_density": sizes["laws"] * binaries,
        "mean": sizes["laws"] * count,
        "table": sizes["laws"] * binaries * 4,
        "covariance": square,
        "precision": sizes["subsets"] * square,
        "regression": sizes["subsets"] * square,
        "residual": sizes["subsets"] * square,
        "log_determinant": sizes["subsets"],
        "shift_score": sizes["subsets"] * continuous * binaries,
        "shift_square": sizes["subsets"] * binaries**2,
        "coefficients": clusters,
        "chain_count": sizes["laws"] * binaries * 4,
        "determinant_back": sizes["subsets"],
    }
    for name in kernel_numbers.WORK:
        widths.setdefault(name, widths.get(name.removesuffix("_back"), 0))
    return widths


def _pieces(blocks: dict[str, np.ndarray]) -> frozenset[str]:
    """Return the pieces of the density that are needed."""
    wanted = {"priors_forward", "priors_back"}
    some = {
        "groups": "group_weight",
        "persons": "person_weight",
        "closed": "row_responders",
        "open": "open_responders",
        "arms": "arm_responders",
        "effects": "effect_kind",
    }
    wanted |= {piece for piece, block in some.items() if len(blocks[block])}
    # Without predictors too: clusters hold the constants of patients' linear predictors.
    return frozenset(wanted | {"law_forward", "law_back"})


def _sizes(design: Design) -> dict[str, int]:
    """Return the number of unconstrained places of each variable that the model has."""
    priors, count = design.spec.priors, len(design.predictors)
    steps = len(design.spec.horizons.knots) - 1
    members = {
        "population_effect_raw": len(design.populations),
        "trial_effect_raw": len(design.trials),
        "treatment_deviation_raw": len(design.trials),
    }
    size = {}
    for name in ("intercept", "arm_scale", "horizon_scale"):
        size[name] = int(priors[name].kind != "fixed")
    for scale, (raw, pooling) in SCALES.items():
        prior = priors[scale]
        present = design.has(pooling) and prior != Prior("fixed", (0.0,))
        size[scale] = int(present and prior.kind != "fixed")
        size[raw] = members[raw] if present else 0
    size["arm_class_mean_raw"] = len(class_names(design))
    size["arm_effect_raw"] = len(design.arms) - 1
    size["study_term_effect"] = len(STUDY_TERMS)
    size["horizon_offset_raw"] = len(CURVES) * steps
    spread_known = priors["improvement_sd"].kind == "fixed"
    size["improvement_sd"] = 0 if spread_known else len(design.scales)
    if count:
        size |= _slope_sizes(design, count)
        size |= _law_sizes(design, count)
    if len(design.effects):
        size |= effect_sizes(design)
    return {name: number for name, number in size.items() if number}


def _slope_sizes(design: Design, count: int) -> dict[str, int]:
    parts = design.slope_parts
    rows = {
        "prognostic": 1,
        "predictive": 1,
        "population": len(design.populations),
        "trial": len(design.trials),
    }
    return {
        "explained_variance": int(design.spec.priors["explained_variance"].kind != "fixed"),
        "predictor_share": count - 1,
        "slope_share": len(parts) - 1,
        **{f"{part}_slope_raw": rows[part] * count for part in parts},
    }


def _law_sizes(design: Design, count: int) -> dict[str, int]:
    """Return the sizes of the variables that describe the predictors."""
    across = len(design.across_idx) if design.has_across else 0
    continuous, binaries = len(design.continuous_idx), len(design.binary_idx)
    learned = design.spec.priors["across_scale"].kind != "fixed"
    return {
        "across_scale": int(across > 0 and learned),
        "across_slope_raw": across,
        "predictor_location": count,
        "predictor_between_scale": count,
        "trial_mean_reported": design.n_reported,
        "trial_mean_unreported_raw": len(design.cells) - design.n_reported,
        "predictor_cholesky": continuous * (continuous + 1) // 2,
        "binary_shift": continuous * binaries,
        "binary_log_odds_ratio": max(binaries - 1, 0),
    }


def effect_sizes(design: Design) -> dict[str, int]:
    """Return the sizes of the variables of the published effects."""
    effects, priors = design.effects, design.spec.priors
    apart, moving = len(effects.apart), priors["effect_horizon_scale"].kind != "fixed"
    learned = priors["effect_scale"].kind != "fixed"
    return {
        "effect_scale": len(effects.scale_predictor) * learned,
        "effect_deviation_raw": len(design.effect_groups),
        "effect_horizon_scale": int(apart > 0 and moving),
        "effect_horizon_raw": apart,
        "effect_error": len(effects.repeated_groups),
        "effect_level": len(effects.with_level),
    }


def class_priors(design: Design) -> list[Prior]:
    """Return the prior of the mean of each class of arms."""
    priors = design.spec.priors
    return [
        priors["active_class_mean" if name == "active" else "control_class_mean"]
        for name in class_names(design)
    ]


def _blocks(design: Design, start: dict[str, int], size: dict[str, int]) -> dict[str, np.ndarray]:
    spec, predictors = design.spec, design.predictors
    classes = class_names(design)
    of_class = class_priors(design)
    parts = design.slope_parts
    is_binary = np.array([predictor.kind == "binary" for predictor in predictors], dtype=bool)
    centre = np.array([predictor.centre for predictor in predictors])
    link_weight, link_scale = components(spec.link)
    data = arrange(design)
    location, _ = spec.priors["predictor_between_scale"].values
    return data | {
        "continuous_idx": design.continuous_idx,
        "binary_idx": design.binary_idx,
        "centre": centre,
        "assay_dependent": np.array([predictor.assay_dependent for predictor in predictors]),
        "rate_location": np.array(
            [rate_location(p) if p.kind == "binary" else 0.0 for p in predictors]
        ),
        "across_idx": design.across_idx if design.has_across else np.zeros(0),
        "across_reference": np.where(is_binary, centre, 0.0),
        "link_weight": link_weight,
        "link_scale": link_scale,
        "link_variance": np.array([link_variance(spec.link)]),
        "log_reference_variance": np.log(
            [reference_variance(p) / link_variance(spec.link) for p in predictors]
        ),
        "between_location": np.log([between_trial_sd(p) for p in predictors]) + location,
        "arm_class_idx": np.array(
            [
                -1 if position == 0 else classes.index(name)
                for position, name in enumerate(design.arm_class)
            ]
        ),
        "class_location": np.array([prior.values[0] for prior in of_class]),
        "class_spread": np.array(
            [0.0 if prior.kind == "fixed" else prior.values[1] for prior in of_class]
        ),
        "walk_step": np.sqrt(np.diff(np.log(spec.horizons.knots))),
        "reference_knot": np.array([spec.horizons.knots.index(spec.horizons.reference)]),
        "fixed": fixed_values(design),
        "prior": _prior_numbers(design),
        "slope_concentration": np.array(spec.priors["slope_share"].values),
        "part_present": np.array([part in parts for part in SLOPE_PARTS]),
        "variable_start": np.array([start.get(name, -1) for name in kernel_numbers.VARIABLES]),
        "sizes": np.array(
            [
                len(design.populations),
                len(design.trials),
                len(design.arms),
                len(design.scales),
                len(design.laws),
                len(data["subset_observed"]),
                len(STUDY_TERMS),
                len(spec.horizons.knots),
                len(data["setting_trial"]),
                len(data["slope_trial"]),
                len(data["cluster_law"]),
                len(predictors),
                len(design.continuous_idx),
                len(design.binary_idx),
            ]
        ),
        "constant": np.array([_constant(design, size)]),
        "piece_address": np.zeros(len(kernel_numbers.PIECES)),
    }


def fixed_values(design: Design) -> np.ndarray:
    """Return the value of each variable that the specification fixes."""
    values = np.zeros(len(kernel_numbers.VARIABLES))
    for i, name in enumerate(kernel_numbers.VARIABLES):
        prior = design.spec.priors.get(name)
        if prior is None or prior.kind != "fixed":
            continue
        pooled = name not in SCALES or design.has(SCALES[name][1])
        values[i] = prior.values[0] if pooled else 0.0
    return values


def _prior_numbers(design: Design) -> np.ndarray:
    """Return two numbers of each variable's prior, then the concentration of the correlations."""
    priors = design.spec.priors
    named = {**_NORMAL, **_LOG_NORMAL, "predictor_cholesky": "predictor_sd"}
    numbers = np.zeros((len(kernel_numbers.VARIABLES), 2))
    for i, name in enumerate(kernel_numbers.VARIABLES):
        prior = priors.get(named.get(name, name))
        values = prior.values[:2] if prior is not None else ()
        numbers[i, : len(values)] = values
    return np.append(numbers.ravel(), priors["predictor_correlation"].values)


def _constant(design: Design, size: dict[str, int]) -> float:
    """Return the part of the log density that no parameter moves."""
    priors, units = design.spec.priors, design.units
    choose = gammaln(units.n + 1) - gammaln(units.responders + 1)
    total = float((choose - gammaln(units.n - units.responders + 1)).sum())
    if "intercept" in size:
        total -= math.log(priors["intercept"].values[1]) + _LOG_ROOT_TWO_PI
    for name in (*SCALES, *_OTHER_SCALES):
        if name in size:
            each = math.log(2.0) - _LOG_ROOT_TWO_PI - math.log(priors[name].values[0])
            total += size[name] * each
    standard = sum(
        number
        for name, number in size.items()
        if name.endswith("_raw") or name in ("effect_error", "effect_level")
    )
    total += _counted_constant(design)
    total -= (standard + size.get("trial_mean_reported", 0)) * _LOG_ROOT_TWO_PI
    for name, prior in {**_NORMAL, **_LOG_NORMAL}.items():
        if name in size:
            total -= size[name] * (math.log(priors[prior].values[1]) + _LOG_ROOT_TWO_PI)
    if "predictor_cholesky" in size:
        count = len(design.continuous_idx)
        total -= count * (math.log(priors["predictor_sd"].values[1]) + _LOG_ROOT_TWO_PI)
        total += _correlation_constant(count, priors["predictor_correlation"].values[0])
    if "explained_variance" in size:
        total -= float(betaln(*priors["explained_variance"].values))
    if "predictor_share" in size:
        count = size["predictor_share"] + 1
        total += _simplex_constant(np.full(count, priors["predictor_share"].values[0]))
    if "slope_share" in size:
        total += _simplex_constant(np.array(slope_concentration(design.spec, design.left_out)))
    return total


def _counted_constant(design: Design) -> float:
    """Return the binomial coefficients of published counts, with their powers."""
    effects = design.effects
    if not len(effects):
        return 0.0
    responders, n = effects.counts[:, [0, 2]], effects.counts[:, [1, 3]]
    choose = gammaln(n + 1) - gammaln(responders + 1) - gammaln(n - responders + 1)
    return float((effects.power * choose.sum(axis=1)).sum())


def _correlation_constant(size: int, concentration: float) -> float:
    """Return the constant of the LKJ density.

    Lewandowski, Kurowicka and Joe 2009, J Multivar Anal 100:1989.
    """
    order = np.arange(1, size)
    each = gammaln(concentration + 0.5 * (size - 1)) - 0.5 * order * math.log(math.pi)
    return float((each - gammaln(concentration + 0.5 * (size - 1 - order))).sum())


def _simplex_constant(concentration: np.ndarray) -> float:
    """Return the Dirichlet's constant and the log of the transform's constant volume."""
    constant = gammaln(concentration.sum()) - gammaln(concentration).sum()
    return float(constant + math.log(len(concentration)))


def _packed(blocks: dict[str, np.ndarray]) -> np.ndarray:
    """Return one array: a header with start and length of each block, then the blocks."""
    flat = [np.asarray(blocks[name], dtype=float).ravel() for name in kernel_numbers.BLOCKS]
    lengths = np.array([len(block) for block in flat])
    starts = 2 * len(flat) + np.concatenate([[0], np.cumsum(lengths)[:-1]])
    header = np.column_stack([starts, lengths]).ravel().astype(float)
    return np.concatenate([header, *flat])
