"""The command line: ``ketpredict fit | predict | check | report | ... | demo``.

Exit status 0: done. 1: a gate of ``check`` failed, or the chains of a ``--strict`` run did not
converge. 2: bad input, or output that cannot be written, said in one line on standard error. 130:
stopped by Ctrl-C, 143: by SIGTERM; files are written whole or not at all. 141: the reader of the
output closed it. Heavy libraries are imported inside the
commands, so that ``ketpredict --help`` is quick.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import Abort, TyperException

from ketpredict import __version__, cli_answers, cli_checks
from ketpredict.cli_options import (
    BAD_INPUT,
    FAILED,
    TABLE_SUFFIXES,
    Chains,
    Draws,
    Patients,
    Prob,
    Seed,
    Strict,
    Tune,
    check_file,
    check_prob,
    console,
    make_folder,
    names,
    on_terminal,
    say_wait,
)
from ketpredict.cli_streams import (
    CLOSED_PIPE,
    STANDARD,
    flush_output,
    prepare_streams,
    table_in,
    table_out,
    told,
)
from ketpredict.errors import ConvergenceError, DataError, KetpredictError, KetpredictWarning
from ketpredict.leaving import leave_on_signals
from ketpredict.visible import visible

INTERRUPTED = 130


class _Commands(TyperGroup):
    """The group of commands, with errors and warnings of one line each on standard error."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command and leave with its exit status."""
        kwargs["standalone_mode"] = False
        with _one_line_warnings():
            try:
                status = super().main(*args, **kwargs)
            except ConvergenceError as error:
                status = _say("error", error, FAILED)
            except KetpredictError as error:
                status = _say("error", error, BAD_INPUT)
            except TyperException as error:
                status = _say("error", error.format_message(), BAD_INPUT)
            except Abort:
                status = _say("error", "stopped.", INTERRUPTED)
        sys.exit(status if isinstance(status, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; what stops any of them ends in a status, not in a traceback."""
        try:
            found = super().invoke(ctx)
            flush_output()
        except KeyboardInterrupt:
            raise typer.Exit(_say("error", "stopped.", INTERRUPTED)) from None
        except BrokenPipeError:
            with contextlib.suppress(OSError):
                flush_output()
            raise typer.Exit(CLOSED_PIPE) from None
        except OSError as error:
            raise typer.Exit(_say("error", told(error), BAD_INPUT)) from None
        return found


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    help="Predict antidepressant response to ketamine. For research; not for treatment decisions.",
)


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Say the version and stop.")] = False,
) -> None:
    if version:
        typer.echo(f"ketpredict {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def fit(
    output: Annotated[Path, typer.Option(help="File to write the fit to, such as fit.nc.")],
    patients: Annotated[
        Path | None,
        typer.Argument(
            help="Table of patients, .csv or .parquet; - for standard input; none: evidence only"
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="Name of a model, or a .toml file.")] = "published",
    evidence: Annotated[str, typer.Option(help="'published' or 'none'.")] = "published",
    arms: Annotated[
        Path | None, typer.Option(help="Table of your own published arms: n and responders.")
    ] = None,
    predictors: Annotated[
        str | None, typer.Option(help="Predictor columns, separated by commas.")
    ] = None,
    trial: Annotated[str, typer.Option(help="Column of the trial.")] = "trial",
    population: Annotated[str, typer.Option(help="Column of the population.")] = "population",
    arm: Annotated[str, typer.Option(help="Column of the arm.")] = "arm",
    seed: Seed = 1,
    draws: Draws = 1500,
    tune: Tune = 1500,
    chains: Chains = 4,
    target_accept: Annotated[float, typer.Option(help="Acceptance rate, below 1.")] = 0.95,
    inference: Annotated[str, typer.Option(help="nuts, laplace, pathfinder, pymc ...")] = "nuts",
    strict: Strict = False,
    without_patients: Annotated[
        bool,
        typer.Option(
            "--without-patients",
            help="Leave every patient's row out of the file, to hand it on: it predicts the same, "
            "and cannot be checked, validated or updated.",
        ),
    ] = False,
) -> None:
    """Fit the model to patients and published evidence, and save the fit.

    The file holds every patient's predictors and outcome, unless --without-patients is given.
    """
    check_file(output, (".nc",))
    if evidence not in ("published", "none"):
        raise DataError(f"--evidence is '{evidence}'; expected 'published' or 'none'.")
    from ketpredict.tables import read_table

    table = None
    if patients is not None:
        with table_in(patients) as source:
            table = read_table(source)
    from ketpredict.classifier import KetamineResponseClassifier

    classifier = KetamineResponseClassifier(
        model,
        evidence=_evidence(evidence, arms),
        predictors=None if predictors is None else names(predictors),
        trial=trial,
        population=population,
        arm=arm,
        inference=inference,
        draws=draws,
        tune=tune,
        chains=chains,
        target_accept=target_accept,
        strict=strict,
        random_state=seed,
        progressbar=on_terminal(),
    )
    say_wait()
    classifier.fit(table)
    classifier.save(output, patients=not without_patients)
    from ketpredict.wording import RESEARCH_ONLY, verdict_words

    out = console()
    out.print(verdict_words(classifier.fit_.facts["diagnostics"]))
    out.print(f"Written: {output}", soft_wrap=True)
    out.print(RESEARCH_ONLY)


@app.command()
def predict(
    patients: Patients,
    fit: Annotated[
        str, typer.Option("--fit", help="A saved fit, fit.nc, or 'published'.")
    ] = "published",
    output: Annotated[
        Path | None,
        typer.Option(help="File to write, .csv or .parquet; - for CSV; none: print."),
    ] = None,
    prob: Prob = 0.9,
    strict: Strict = False,
    means: Annotated[bool, typer.Option("--means", help="Probabilities only: faster.")] = False,
) -> None:
    """Predict the probability of response of each patient, with both intervals."""
    check_prob(prob)
    if output is not None:
        _predict_to(output, patients, fit, prob, strict=strict, means=means)
        return
    if means:
        raise DataError("--means writes a file: give --output too.")
    from ketpredict.tables import read_table

    with table_in(patients) as source:
        table = read_table(source)
    from ketpredict.classifier import load
    from ketpredict.summary import prediction_table

    classifier = load(fit)
    classifier.strict = strict
    _print_predictions(prediction_table(classifier.fit_, classifier.encode(table), prob), table)


def _predict_to(
    output: Path, patients: Path, fit: str, prob: float, *, strict: bool, means: bool
) -> None:
    to_file = str(output) != STANDARD
    if to_file:
        check_file(output, TABLE_SUFFIXES)
    from ketpredict.printing import progress_of_rows
    from ketpredict.streaming import predict_file

    with (
        table_in(patients) as source,
        table_out(output) as target,
        progress_of_rows(on_terminal()) as progress,
    ):
        predict_file(
            fit, source, target, prob, intervals=not means, strict=strict, progress=progress
        )
    if to_file:
        console().print(f"Written: {output}", soft_wrap=True)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("ketpredict-demo"),
    seed: Seed = 1,
    draws: Draws = 1500,
    tune: Tune = 1500,
    chains: Chains = 4,
    strict: Strict = False,
) -> None:
    """Fit the published evidence, print what it says, and draw it (a minute or two)."""
    make_folder(output)
    from ketpredict.demo import run_demo

    say_wait()
    run_demo(
        output,
        console(),
        random_state=seed,
        draws=draws,
        tune=tune,
        chains=chains,
        strict=strict,
        progressbar=on_terminal(),
    )


for _command in (*cli_answers.COMMANDS, *cli_checks.COMMANDS):
    app.command()(_command)


def _evidence(name: str, arms: Path | None) -> Any:
    """Return the evidence beside the patients: the published one, own arms, both or none."""
    if arms is None:
        return None if name == "none" else name
    from ketpredict.evidence import combine, load_evidence, make_evidence
    from ketpredict.tables import read_table

    own = make_evidence(arms=read_table(arms))
    return own if name == "none" else combine(own, load_evidence(name))


def main() -> None:
    """Run the command line."""
    leave_on_signals()
    prepare_streams()
    app()


def _say(kind: str, message: object, status: int = 0) -> int:
    """Print one line on standard error, if it can be written, and return an exit status."""
    words = visible(" ".join(str(message).split()))
    with contextlib.suppress(OSError):
        typer.echo(f"ketpredict: {kind}: {words}", err=True)
    return status


@contextlib.contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Print warnings as one line each; those that are not ours say their kind."""

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        ours = issubclass(category, KetpredictWarning)
        _say("warning" if ours else f"warning ({category.__name__})", message)

    with warnings.catch_warnings():
        warnings.simplefilter("always", KetpredictWarning)
        warnings.showwarning = show
        yield


def _print_predictions(predictions: Any, table: Any) -> None:
    from ketpredict.printing import extrapolation_notes_print, prediction_print
    from ketpredict.wording import RESEARCH_ONLY

    out = console()
    out.print(prediction_print(predictions, table))
    noted = predictions[predictions["extrapolation"] != ""]["extrapolation"]
    named = "participant" in table
    notes = {
        str(table["participant"].iloc[i]) if named else f"row {i + 1}": str(noted[i])
        for i in noted.index
    }
    for line in extrapolation_notes_print(notes):
        out.print(f"Extrapolation {line}")
    out.print(RESEARCH_ONLY)
