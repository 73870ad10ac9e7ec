"""One page that reports a fit: data, model, diagnostics, checks, effects, limits, TRIPOD+AI.

The page is one HTML file without scripts that loads nothing from anywhere. Every name from data is
escaped by the template engine (Jinja2) and by the writer of the pictures. Same fit, same versions:
same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ketpredict import __version__
from ketpredict.check_figures import figures_with_tables
from ketpredict.checks import FitCheck, check_fit, convergence_table, held_out_gate
from ketpredict.effect_plots import partial_effect_plot
from ketpredict.errors import DataError
from ketpredict.leave_out import LeftOut
from ketpredict.left_out_measures import left_out_measures
from ketpredict.literature import effects_left_out
from ketpredict.loo import leave_one_out
from ketpredict.marginal_effects import effects_table, evidence_values, partial_effect_table
from ketpredict.plots import forest_plot
from ketpredict.posterior import Posterior
from ketpredict.predict import check_interval
from ketpredict.prior_sensitivity import prior_sensitivity
from ketpredict.report_checklist import answers
from ketpredict.report_checks import (
    check_alt,
    check_table,
    convergence_words_table,
    gate_table,
    outlying_table,
)
from ketpredict.report_evidence import (
    evidence_words,
    population_basis_table,
    predictor_table,
    told_table,
    trial_table,
)
from ketpredict.report_literature import (
    effects_table_of,
    literature_counts,
    refused_counts_table,
    refused_table,
)
from ketpredict.report_model import (
    parameter_figure,
    parameter_frame,
    parameter_table,
    pooling_words,
    prior_table,
    priors_words,
)
from ketpredict.report_origin import (
    commands,
    limits,
    origin_table,
    tables_of,
    title_and_outcome,
)
from ketpredict.report_pictures import drawing, picture
from ketpredict.report_results import (
    average_effect_table,
    headline_note,
    headline_table,
    heterogeneity_table,
    partial_effect_alt,
    partial_effect_words_table,
    probability_alt,
    probability_table,
    slope_words_table,
)
from ketpredict.report_sensitivity import leaning_table, sensitivity_table
from ketpredict.report_summary import summary_lines
from ketpredict.report_validation import (
    calibration_alt,
    folds_table,
    forest_alt,
    left_out_measures_table,
    left_out_table,
    method_words,
    pooled_words_table,
    read_validation,
    trial_measures_table,
)
from ketpredict.stored_design import require_patients
from ketpredict.summary import population_table, slope_table
from ketpredict.tripod import AUTHOR, FILLED, IN_PART, checklist
from ketpredict.validation_plots import calibration_by_trial, measures_forest
from ketpredict.visible import visible
from ketpredict.wording import RESEARCH_ONLY, remedy_words, verdict_in_short, verdict_words
from ketpredict.writing import check_target, write_whole

TEMPLATE = "report_template.html"
_INNER = 0.5
_POINTS = 31
_CHECK_GROUPS = {
    "Responders observed and replicated": (
        "responders_by_arm", "responders_by_known_predictors", "test_statistics",
    ),
    "What the prior alone foresees": ("responders_by_prior",),
    "Patients and arms left out": ("pareto_k", "pit_values"),
    "Calibration": ("calibration_known_trials", "calibration_new_trials"),
    "Predictors": ("predictors",),
    "What acting on the predictions would be worth": ("decision_curves", "numbers_needed"),
}  # fmt: skip
"""Pictures of the checks by heading."""


def write_report(
    posterior: Posterior,
    path: str | Path,
    *,
    prob: float = 0.9,
    validation: LeftOut | str | Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Write the report on a fit to one HTML file, whole or not at all.

    Parameters
    ----------
    posterior : Posterior
    path : str or Path
        An existing file is replaced.
    prob : float
        Probability content of all intervals, but of those of `validation`, which has its own.
    validation : LeftOut, str or Path, optional
        Leave-one-trial-out of this fit, or the file that ``ketpredict validate --json`` wrote.
        Without it the report has leave-one-out by importance sampling, and says so.
    progress : callable, optional
        Told in words what is done next.

    Returns
    -------
    Path
        The file written. A fit that did not converge, or whose gates fail, is reported too, and
        says so at the top.

    Raises
    ------
    DataError
        The file cannot be written, the validation cannot be read or is of another fit, or the fit
        does not hold the data that it was fitted to.
    """
    target = Path(path)
    check_interval(prob)
    check_target(path)
    require_patients(posterior)
    if validation is not None and not isinstance(validation, LeftOut):
        validation = read_validation(validation, posterior)
    page = report_page(posterior, prob, validation, progress)
    return write_whole(target, page.encode())


def report_page(
    posterior: Posterior,
    prob: float = 0.9,
    validation: LeftOut | None = None,
    progress: Callable[[str], None] | None = None,
) -> str:
    """Return the page of :func:`write_report`."""
    say = progress or (lambda _words: None)
    with drawing():
        say("Checks ...")
        content = _checks(posterior, prob)
        say("Pictures of the checks ...")
        content |= _check_pictures(posterior, content["check"], prob)
        say("Prior and posterior ...")
        content |= _parameters(posterior, prob)
        content |= _prior_sensitivity(posterior)
        say("Probabilities and effects ...")
        content |= _probabilities(posterior, prob)
        content |= _effects(posterior, prob)
        say("Published effects, one by one ...")
        content |= _literature(posterior)
        content |= _validation(validation)
    say("Page ...")
    title, outcome = title_and_outcome(posterior)
    rows = checklist(answers(posterior, validation))
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            **content,
            spec=posterior.spec,
            title=title,
            outcome=outcome,
            prob=f"{100 * prob:g} %",
            research_only=RESEARCH_ONLY,
            version=__version__,
            verdict=verdict_words(posterior.facts["diagnostics"]),
            verdict_in_short=verdict_in_short(posterior.facts["diagnostics"]),
            remedy=remedy_words(posterior.facts["diagnostics"]),
            problems=posterior.problems,
            evidence=evidence_words(posterior),
            messages=posterior.facts["messages"],
            trials=trial_table(posterior),
            told=told_table(posterior) if posterior.predictors else None,
            populations=population_basis_table(posterior),
            predictors=predictor_table(posterior) if posterior.predictors else None,
            pooling=pooling_words(posterior),
            priors=prior_table(posterior),
            priors_words=priors_words(posterior),
            convergence=convergence_words_table(convergence_table(posterior)),
            limits=limits(posterior),
            origin=origin_table(posterior),
            commands=commands(posterior),
            tables=" and ".join(tables_of(posterior)),
            checklist=rows,
            checklist_parts=list(dict.fromkeys(item.part for item, _ in rows)),
            statuses={
                status: sum(answer.status == status for _, answer in rows)
                for status in (FILLED, IN_PART, AUTHOR)
            },
        )
    )


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_as_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _as_shown(value: Any) -> Any:
    """Return what a page shows of a value: of texts that are no markup, no control characters."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _checks(posterior: Posterior, prob: float) -> dict[str, Any]:
    """Return the verdicts; weights that are no counts cannot be replicated, and that is said."""
    try:
        check = check_fit(posterior, prob)
    except DataError as error:
        left_out = leave_one_out(posterior)
        return {
            "check": None,
            "no_check": str(error),
            "gates": None,
            "failed": [],
            "gate_count": 0,
            "left_out": left_out_table(left_out),
            "left_out_measures": None,
            "outlying": None,
        }
    measures = left_out_measures(check.left_out, prob)
    return {
        "check": check,
        "no_check": "",
        "gates": gate_table(check.gates),
        "failed": [gate for gate in check.gates if not gate.passed],
        "gate_count": len(check.gates),
        "left_out": left_out_table(check.left_out),
        "left_out_measures": left_out_measures_table(measures, prob) if len(measures) else None,
        "outlying": outlying_table(check.outlying) if len(check.outlying) else None,
    }


def _check_pictures(posterior: Posterior, check: FitCheck | None, prob: float) -> dict[str, Any]:
    """Return the pictures of the checks under their headings, and what they add to the summary."""
    if check is None:
        return {"check_groups": [], "summary": summary_lines(posterior, None)}
    figures = figures_with_tables(posterior, check, prob)
    found = {
        name: _exhibit(
            one.figure, name, check_alt(name, one.table), check_table(name, one.table, prob)
        )
        for name, one in figures.items()
    }
    groups = [
        (heading, [found[name] for name in names if name in found])
        for heading, names in _CHECK_GROUPS.items()
    ]
    curve = figures["decision_curves"].table if "decision_curves" in figures else None
    return {
        "check_groups": [group for group in groups if group[1]],
        "summary": summary_lines(posterior, curve, left_out_measures(check.left_out, prob)),
    }


def _parameters(posterior: Posterior, prob: float) -> dict[str, Any]:
    frame = parameter_frame(posterior, prob)
    narrowest = frame.loc[frame["share"].idxmin()]
    widest = int((frame["share"] > _INNER).sum())
    alt = (
        f"Prior and posterior intervals of {len(frame)} parameters. Of {widest} the two "
        f"overlap by more than half; the data said most about {narrowest['parameter']}, where they "
        f"overlap by {100 * narrowest['share']:.0f} %."
    )
    table = parameter_table(posterior, frame, prob)
    figure = parameter_figure(frame, prob)
    return {"parameters": _exhibit(figure, "prior_and_posterior", alt, table)}


def _prior_sensitivity(posterior: Posterior) -> dict[str, Any]:
    found = prior_sensitivity(posterior)
    return {
        "sensitivity_headline": found.headline(),
        "sensitivity_lines": found.lines(),
        "sensitivity": sensitivity_table(found),
        "leaning": leaning_table(found),
    }


def _probabilities(posterior: Posterior, prob: float) -> dict[str, Any]:
    frame = population_table(posterior, prob)
    reference = frame[(frame["arm"] == posterior.coords["arm"][0]) & ~frame["course"]]
    first = reference.drop_duplicates("population")
    headline = headline_table(first, prob, headline_note(posterior, first, prob))
    table = probability_table(frame, prob)
    alt = probability_alt(frame)
    return {
        "headline": headline,
        "probabilities": _exhibit(forest_plot(frame, prob), "forest", alt, table),
    }


def _effects(posterior: Posterior, prob: float) -> dict[str, Any]:
    if not posterior.predictors:
        return dict.fromkeys(("slopes", "slope_parts", "average_effects")) | {
            "effects_told": [],
            "effects_untold": [],
        }
    bands = (_INNER, prob)
    told: list[Any] = []
    untold: list[Any] = []
    for place, predictor in enumerate(posterior.predictors, start=1):
        curve = partial_effect_table(posterior, predictor.name, None, bands, _POINTS)
        values = evidence_values(posterior, predictor.name)
        figure = partial_effect_plot(curve, values, predictor, bands)
        alt = partial_effect_alt(curve, predictor, values)
        name = f"effect_{place}"
        table = partial_effect_words_table(curve, name, predictor.label, predictor.unit)
        group = told if len(values) else untold
        group.append(_exhibit(figure, name, alt, table))
    return {
        "slopes": slope_words_table(slope_table(posterior, prob), prob),
        "slope_parts": heterogeneity_table(posterior, prob),
        "average_effects": average_effect_table(effects_table(posterior, prob), prob),
        "effects_told": told,
        "effects_untold": untold,
    }


def _literature(posterior: Posterior) -> dict[str, Any]:
    fates = posterior.facts["effects"]
    used = any(fate["used"] for fate in fates)
    refused = any(not fate["used"] for fate in fates)
    return {
        "literature_words": literature_counts(posterior),
        "effects_used": effects_table_of(posterior, effects_left_out(posterior)) if used else None,
        "refused_counts": refused_counts_table(posterior) if refused else None,
        "effects_refused": refused_table(posterior) if refused else None,
    }


def _validation(found: LeftOut | None) -> dict[str, Any]:
    if found is None:
        return {"validation": None}
    exhibits = [
        _exhibit(calibration_by_trial(found), "validation_calibration", calibration_alt(found)),
        _exhibit(measures_forest(found), "validation_measures", forest_alt(found)),
    ]
    return {
        "validation": {
            "by": found.by,
            "method": method_words(found),
            "prob": f"{100 * found.prob:g} %",
            "gate": held_out_gate(found.units),
            "pooled": pooled_words_table(found),
            "folds": folds_table(found),
            "trials": trial_measures_table(found),
            "exhibits": exhibits,
        }
    }


def _exhibit(figure: Any, name: str, alt: str, table: Any = None) -> dict[str, Any]:
    """Return a picture with the table of its numbers, for the page."""
    found = picture(figure, name, alt)
    # Both are the writer's own elements, which escapes every name in them.
    wide, narrow = Markup(found.svg), Markup(found.narrow)  # noqa: S704
    return {"picture": found, "svg": wide, "narrow": narrow, "table": table}
