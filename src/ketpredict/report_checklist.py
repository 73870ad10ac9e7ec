"""What a report on a fit knows of the TRIPOD+AI checklist."""

from __future__ import annotations

from ketpredict.leave_out import LeftOut
from ketpredict.posterior import Posterior
from ketpredict.report_evidence import evidence_words
from ketpredict.report_origin import title_and_outcome
from ketpredict.report_tables import whole
from ketpredict.stored_design import design_of
from ketpredict.tripod import FILLED, IN_PART, Answer
from ketpredict.wording import beside_words, counted

_NO_EVALUATION = "No evaluation on data of another kind is part of this report."


def answers(posterior: Posterior, validation: LeftOut | None) -> dict[str, Answer]:
    """Return what is known of each row of :data:`ketpredict.tripod.ITEMS`, by number."""
    return _of_data(posterior) | _of_model(posterior) | _of_results(posterior, validation)


def _of_data(posterior: Posterior) -> dict[str, Answer]:
    published = "published" in str(posterior.facts["provenance"].get("evidence_source", ""))
    sources = "with their citations" if published else "without citations: the author gives them"
    predictors = counted(len(posterior.predictors), "predictor")
    return {
        "5a": Answer(
            IN_PART,
            f"Trials that enter are listed {sources}. Why these data, and whom they represent, the "
            "author states.",
            "data",
        ),
        "6c": Answer(
            IN_PART,
            "Arms and their handling are stated; treatments beside them are not among the data, "
            f"but for {beside_words(posterior.coords['arm'])}.",
            "data",
        ),
        "7": Answer(
            IN_PART,
            "Tables are checked at the door and near misses of names refused; what was left out is "
            "listed. Preparation before the software saw the data is the author's to state.",
            "data",
        ),
        "8a": Answer(
            IN_PART,
            f"{title_and_outcome(posterior)[1]}; scale, threshold and hours of each trial are "
            "listed. Why this outcome, and whether it was assessed alike in all groups, the author "
            "states.",
            "data",
        ),
        "8c": Answer(
            IN_PART,
            "Open-label arms are marked and have a term of their own; how assessors were blinded "
            "is not among the data.",
            "data",
        ),
        "9b": Answer(
            IN_PART,
            f"{predictors} with unit, scale and source of the scale; how and when they were "
            "measured the author states.",
            "model",
        ),
        "10": Answer(
            IN_PART,
            f"{evidence_words(posterior)} No sample size was calculated by the software; the share "
            "of the prior says where the data were too few.",
            "data",
        ),
        "11": Answer(
            FILLED,
            "Missing predictors are averaged over their joint law given what is known, in fit and "
            "prediction; no patient is dropped for them. What is missing is counted by trial.",
            "data",
        ),
    }


def _of_model(posterior: Posterior) -> dict[str, Answer]:
    return {
        "12a": Answer(
            FILLED,
            "All data develop the model; none is set apart. Evaluation is by replicates and by "
            "leaving out patients, arms and (where given) trials.",
            "validation",
        ),
        "12b": Answer(FILLED, "Linear on a stated reference scale, some on the log.", "model"),
        "12c": Answer(
            IN_PART,
            f"Hierarchical Bayesian {posterior.spec.link} model; no tuning, no selection by the "
            "software; priors with sources. Steps before this fit the author states.",
            "model",
        ),
        "12d": Answer(
            FILLED,
            "Intercepts, treatment effects and slopes vary between trials and populations as "
            "stated; intervals for one new trial hold that variation.",
            "model",
        ),
        "12e": Answer(
            FILLED,
            "Predictive checks, calibration curves, log scores, decision curves; each picture "
            "says what a good one looks like.",
            "checks",
        ),
        "13": Answer(FILLED, "None was used: nothing is resampled or reweighted.", "model"),
        "15": Answer(
            FILLED,
            "A probability of response with two intervals. There is no classification and no "
            "threshold.",
            "effects",
        ),
        "18e": Answer(
            IN_PART,
            "The published evidence travels with the software; whether other data can be had the "
            "author states.",
            "reproduce",
        ),
        "18f": Answer(
            IN_PART,
            "The software is open (MIT); versions, seed and commands are listed. Code of earlier "
            "steps the author shares.",
            "reproduce",
        ),
        "22": Answer(
            FILLED,
            "The saved fit is the model: draws, scales and priors; ketpredict predict computes the "
            "probability of new patients from it.",
            "reproduce",
        ),
        "26": Answer(
            IN_PART,
            "Limits of model and data that the software sees are listed; those of the study the "
            "author adds.",
            "limits",
        ),
        "27a": Answer(
            FILLED,
            "Anything may be missing and widens the interval; impossible values are refused; "
            "values beyond the evidence are marked.",
            "limits",
        ),
        "27b": Answer(
            IN_PART,
            "Users bring a table; near misses of column names are refused. The expertise that "
            "users need the author states.",
            "limits",
        ),
    }


def _of_results(posterior: Posterior, validation: LeftOut | None) -> dict[str, Answer]:
    design = design_of(posterior)
    responders, n = design.units.responders.sum(), design.units.n.sum()
    found = {
        "20a": Answer(
            IN_PART,
            "Outcomes known and responders by trial and arm; those lost before the data were given "
            "are not among them.",
            "data",
        ),
        "20b": Answer(
            IN_PART,
            "Arms, outcomes, responders and missing predictors by trial. Dates and demography the "
            "author adds, unless they are predictors.",
            "data",
        ),
        "21": Answer(
            FILLED,
            f"{whole(responders)} responders in {whole(n)} outcomes; all enter every analysis.",
            "data",
        ),
        "23a": Answer(
            IN_PART,
            "c-statistic, Brier score and calibration of treated patients left out one by one, "
            "calibration by population, with uncertainty; no subgroup by demography.",
            "validation",
        ),
        "23b": Answer(
            IN_PART,
            "Replicates by trial only: leave-one-trial-out was not given to this report.",
            "validation",
        ),
        "12f": Answer(FILLED, f"None. {_NO_EVALUATION}", "validation"),
        "12g": Answer(
            FILLED,
            "By the same function as any prediction: draws of the fit, averaged over what is not "
            "known.",
            "validation",
        ),
        "16": Answer(
            IN_PART,
            "Trials are evaluated as parts of the same data; how they differ stands in the list of "
            "trials.",
            "data",
        ),
        "20c": Answer(
            IN_PART, "Each trial's predictors against the fitted law, where told.", "checks"
        ),
        "24": Answer(FILLED, f"None. {_NO_EVALUATION}", "validation"),
    }
    if posterior.facts["provenance"].get("updates"):
        words = "The level of a new trial was learned from its counts, without a refit."
        found |= {"12f": Answer(IN_PART, words, "reproduce"), "24": Answer(IN_PART, words, "data")}
    if validation is not None:
        found |= {
            "23a": Answer(
                IN_PART,
                f"c-statistic, calibration, Brier and log score of each {validation.by} left out, "
                "with intervals; no subgroup by demography.",
                "validation",
            ),
            "23b": Answer(
                FILLED,
                f"Measures of each {validation.by}, their spread and an interval for the next one.",
                "validation",
            ),
        }
    return found
