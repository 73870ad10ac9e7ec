"""Commands that judge a fit: ``check``, ``validate``, ``literature``, ``report``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from ketpredict.cli_options import (
    FAILED,
    AsJson,
    FitFile,
    Prob,
    check_file,
    check_prob,
    console,
    make_folder,
    on_terminal,
    print_json,
)
from ketpredict.errors import DataError


def check(
    fit: FitFile,
    as_json: AsJson = False,
    output: Annotated[Path | None, typer.Option(help="Folder to write the pictures to.")] = None,
    prob: Prob = 0.9,
) -> None:
    """Check a fit: convergence, replicates, calibration, predictors; status 1 if a gate fails."""
    check_prob(prob)
    from ketpredict.published import load_fit

    posterior = load_fit(fit)
    if output is not None:
        make_folder(output)
    from ketpredict.checks import check_fit

    result = check_fit(posterior, prob)
    from ketpredict.prior_sensitivity import prior_sensitivity

    priors = prior_sensitivity(posterior)
    if output is not None:
        from ketpredict.check_figures import check_figures
        from ketpredict.plots import save_figure

        for name, figure in check_figures(posterior, result, prob).items():
            save_figure(figure, output / f"{name}.png")
    if as_json:
        print_json(result.as_table() | {"prior_sensitivity": priors.as_table()})
    else:
        _print_check(result, priors, output)
    if not result.passed:
        raise typer.Exit(FAILED)


def literature(
    fit: FitFile,
    as_json: AsJson = False,
    output: Annotated[Path | None, typer.Option(help="Folder to write the picture to.")] = None,
    prob: Prob = 0.9,
) -> None:
    """Say what the published predictor effects did to a fit: samples once more, without them."""
    check_prob(prob)
    from ketpredict.published import load_fit

    posterior = load_fit(fit)
    if output is not None:
        make_folder(output)
    from ketpredict.literature import literature as compare

    found = compare(posterior, prob)
    written = None
    if output is not None:
        from ketpredict.plots import literature_plot, save_figure

        written = save_figure(literature_plot(found.slopes, prob), output / "literature.png")
    if as_json:
        print_json(found.as_table())
    else:
        _print_literature(found, written)


def validate(
    fit: FitFile,
    by: Annotated[
        str, typer.Option(help="What is left out at once: trial or population.")
    ] = "trial",
    method: Annotated[
        str, typer.Option(help="refit (exact), importance (no refit) or both.")
    ] = "refit",
    as_json: AsJson = False,
    output: Annotated[Path | None, typer.Option(help="Folder for tables and pictures.")] = None,
    jobs: Annotated[int, typer.Option(help="Refits at once; -1: one for each core.")] = -1,
    prob: Prob = 0.9,
) -> None:
    """Predict each trial from all others; status 1 if an arm is far off what they foresee."""
    check_prob(prob)
    from ketpredict.published import load_fit

    posterior = load_fit(fit)
    if output is not None:
        make_folder(output)
    if on_terminal() and method != "importance":
        typer.echo("One refit for each trial: this takes minutes ...", err=True)
    from ketpredict.leave_out import leave_one_trial_out

    found = leave_one_trial_out(posterior, by=by, method=method, prob=prob, n_jobs=jobs)
    from ketpredict.checks import held_out_gate

    gate = held_out_gate(found.units)
    if output is not None:
        _write_validation(found, output)
    if as_json:
        from ketpredict.report_validation import fit_identity

        gates = [dataclasses.asdict(gate)]
        print_json({"fit": fit_identity(posterior), **found.as_table(), "gates": gates})
    else:
        from ketpredict.printing import gate_print
        from ketpredict.printing_validation import validation_print
        from ketpredict.wording import RESEARCH_ONLY

        out = console()
        out.print(validation_print(found))
        out.print(gate_print(gate))
        if output is not None:
            out.print(f"Written: {output}", soft_wrap=True)
        out.print(RESEARCH_ONLY)
    if not gate.passed:
        raise typer.Exit(FAILED)


def report(
    fit: FitFile,
    output: Annotated[Path, typer.Option(help="File to write, such as report.html.")],
    validation: Annotated[
        Path | None, typer.Option(help="What ketpredict validate FIT --json wrote.")
    ] = None,
    prob: Prob = 0.9,
) -> None:
    """Write one HTML page on a fit, to read and to hand on; status 0 even where a gate fails."""
    check_prob(prob)
    check_file(output, (".html", ".htm"))
    if validation is not None and not validation.is_file():
        raise DataError(f"--validation is '{validation}'; there is no such file.")
    from ketpredict.published import load_fit

    posterior = load_fit(fit)
    from ketpredict.report import write_report

    def say(words: str) -> None:
        typer.echo(words, err=True)

    progress = say if on_terminal() else None
    write_report(posterior, output, prob=prob, validation=validation, progress=progress)
    from ketpredict.wording import RESEARCH_ONLY

    out = console()
    out.print(f"Written: {output}", soft_wrap=True)
    out.print(RESEARCH_ONLY)


def _write_validation(found: Any, output: Path) -> None:
    from ketpredict.plots import save_figure
    from ketpredict.tables import write_table
    from ketpredict.validation_plots import calibration_by_trial, measures_forest

    for name in ("pooled", "trials", "units", "folds", "comparison"):
        table = getattr(found, name)
        if table is not None:
            write_table(table, output / f"{name}.csv")
    save_figure(calibration_by_trial(found), output / "calibration_by_trial.png")
    save_figure(measures_forest(found), output / "measures_by_trial.png")


def _print_check(result: Any, priors: Any, written: Path | None) -> None:
    from ketpredict.printing import convergence_print, gate_print, predictive_print
    from ketpredict.printing_sensitivity import sensitivity_print

    out = console()
    out.print(convergence_print(result.convergence))
    out.print("Observed responders, and what the model replicates in the same, known trial:")
    out.print(predictive_print(result.predictive))
    for gate in result.gates:
        out.print(gate_print(gate))
    out.print("Which priors the answers lean on (power-scaling; no gate):")
    out.print(sensitivity_print(priors))
    if written is not None:
        out.print(f"Written: {written}", soft_wrap=True)


def _print_literature(found: Any, written: Path | None) -> None:
    from ketpredict.printing import effects_print, literature_print
    from ketpredict.wording import RESEARCH_ONLY

    out = console()
    out.print(f"Slopes under ketamine with {100 * found.prob:g} % intervals (latent scale):")
    out.print(literature_print(found.slopes))
    out.print("Each published effect: how far it moves the slope of its predictor.")
    out.print(effects_print(found.effects))
    out.print("† importance sampling fails here (k above 0.7): take the number as a hint.")
    used = int(found.fates["used"].sum())
    out.print(f"{used} of {len(found.fates)} rows of the associations enter.")
    if written is not None:
        out.print(f"Written: {written}", soft_wrap=True)
    out.print(RESEARCH_ONLY)


COMMANDS = (check, validate, literature, report)
