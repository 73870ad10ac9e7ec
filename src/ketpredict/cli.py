"""The command line: ``ketpredict fit | predict | check | demo``.

Exit status 0: done. 1: a gate of ``check`` failed, or the chains of a ``--strict`` run did not
converge. 2: bad input, said in one line on standard error. Heavy libraries are imported inside the
commands, so that ``ketpredict --help`` is quick.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import Abort, TyperException

from ketpredict import __version__
from ketpredict.errors import ConvergenceError, DataError, KetpredictError, KetpredictWarning

if TYPE_CHECKING:
    from rich.console import Console

FAILED, BAD_INPUT = 1, 2
_TABLE_SUFFIXES = (".csv", ".parquet")


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
                status = _say("error", "stopped.", 130)
        sys.exit(status if isinstance(status, int) else 0)


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    help="Predict antidepressant response to ketamine. For research; not for treatment decisions.",
)

Patients = Annotated[Path, typer.Argument(help="Table of patients, .csv or .parquet.")]
FitFile = Annotated[str, typer.Argument(metavar="FIT", help="A saved fit, fit.nc, or 'published'.")]
Draws = Annotated[int, typer.Option(help="Kept draws of each chain.")]
Tune = Annotated[int, typer.Option(help="Tuning steps of each chain.")]
Chains = Annotated[int, typer.Option(help="Number of chains.")]
Seed = Annotated[int, typer.Option(help="Same seed, data and machine: same result.")]
Strict = Annotated[bool, typer.Option("--strict", help="Fail where the chains did not converge.")]
Prob = Annotated[float, typer.Option(help="Probability content of the intervals.")]


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
        Path | None, typer.Argument(help="Table of patients, .csv or .parquet; none: evidence only")
    ] = None,
    model: Annotated[str, typer.Option(help="Name of a model, or a .toml file.")] = "published",
    evidence: Annotated[str, typer.Option(help="'published' or 'none'.")] = "published",
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
    inference: Annotated[str, typer.Option(help="nutpie, pymc, or a PyMC step.")] = "nutpie",
    strict: Strict = False,
) -> None:
    """Fit the model to patients and published evidence, and save the fit."""
    _check_file(output, (".nc",))
    if evidence not in ("published", "none"):
        raise DataError(f"--evidence is '{evidence}'; expected 'published' or 'none'.")
    from ketpredict.tables import read_table

    table = None if patients is None else read_table(patients)
    from ketpredict.classifier import KetamineResponseClassifier

    classifier = KetamineResponseClassifier(
        model,
        evidence=None if evidence == "none" else evidence,
        predictors=None if predictors is None else _names(predictors),
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
        progressbar=_on_terminal(),
    )
    _say_wait()
    classifier.fit(table)
    classifier.save(output)
    from ketpredict.wording import RESEARCH_ONLY, verdict_words

    console = _console()
    console.print(verdict_words(classifier.fit_.facts["diagnostics"]))
    console.print(f"Written: {output}", soft_wrap=True)
    console.print(RESEARCH_ONLY)


@app.command()
def predict(
    patients: Patients,
    fit: Annotated[
        str, typer.Option("--fit", help="A saved fit, fit.nc, or 'published'.")
    ] = "published",
    output: Annotated[
        Path | None, typer.Option(help="File to write, .csv or .parquet; none: print a table.")
    ] = None,
    prob: Prob = 0.9,
    strict: Strict = False,
    means: Annotated[bool, typer.Option("--means", help="Probabilities only: faster.")] = False,
) -> None:
    """Predict the probability of response of each patient, with both intervals."""
    _check_prob(prob)
    if output is not None:
        _check_file(output, _TABLE_SUFFIXES)
        from ketpredict.printing import progress_of_rows
        from ketpredict.streaming import predict_file

        with progress_of_rows(_on_terminal()) as progress:
            predict_file(
                fit, patients, output, prob, intervals=not means, strict=strict, progress=progress
            )
        typer.echo(f"Written: {output}")
        return
    if means:
        raise DataError("--means writes a file: give --output too.")
    from ketpredict.tables import read_table

    table = read_table(patients)
    from ketpredict.classifier import load
    from ketpredict.summary import prediction_table

    classifier = load(fit)
    classifier.strict = strict
    _print_predictions(prediction_table(classifier.fit_, classifier.encode(table), prob), table)


@app.command()
def check(
    fit: FitFile,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    output: Annotated[Path | None, typer.Option(help="Folder to write the picture to.")] = None,
    prob: Prob = 0.9,
) -> None:
    """Check a fit: convergence, and each trial against what the model replicates."""
    _check_prob(prob)
    from ketpredict.published import load_fit

    posterior = load_fit(fit)
    if output is not None:
        _make_folder(output)
    from ketpredict.checks import check_fit

    result = check_fit(posterior, prob)
    written = None
    if output is not None:
        from ketpredict.plots import predictive_plot, save_figure

        figure = predictive_plot(result.predictive, prob)
        written = save_figure(figure, output / "posterior_predictive_check.png")
    if as_json:
        import json

        typer.echo(json.dumps(result.as_table(), indent=2, allow_nan=False))
    else:
        _print_check(result, written)
    if not result.passed:
        raise typer.Exit(FAILED)


@app.command()
def literature(
    fit: FitFile,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    output: Annotated[Path | None, typer.Option(help="Folder to write the picture to.")] = None,
    prob: Prob = 0.9,
) -> None:
    """Say what the published predictor effects did to a fit: samples once more, without them."""
    _check_prob(prob)
    from ketpredict.published import load_fit

    posterior = load_fit(fit)
    if output is not None:
        _make_folder(output)
    from ketpredict.literature import literature as compare

    found = compare(posterior, prob)
    written = None
    if output is not None:
        from ketpredict.plots import literature_plot, save_figure

        written = save_figure(literature_plot(found.slopes, prob), output / "literature.png")
    if as_json:
        import json

        typer.echo(json.dumps(found.as_table(), indent=2, allow_nan=False))
    else:
        _print_literature(found, written)


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
    _make_folder(output)
    from ketpredict.demo import run_demo

    _say_wait()
    run_demo(
        output,
        _console(),
        random_state=seed,
        draws=draws,
        tune=tune,
        chains=chains,
        strict=strict,
        progressbar=_on_terminal(),
    )


def main() -> None:
    """Run the command line."""
    app()


def _say(kind: str, message: object, status: int = 0) -> int:
    """Print one line on standard error and return an exit status."""
    typer.echo(f"ketpredict: {kind}: {' '.join(str(message).split())}", err=True)
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


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def _on_terminal() -> bool:
    return sys.stderr.isatty()


def _say_wait() -> None:
    if _on_terminal():
        typer.echo("Compiling the model (half a minute), then sampling ...", err=True)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _check_prob(prob: float) -> None:
    if not 0 < prob < 1:
        raise DataError(f"--prob is {prob:g}; expected a number between 0 and 1, such as 0.9.")


def _check_file(path: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse a file that cannot be written, before any work is done."""
    if path.suffix.lower() not in suffixes:
        raise DataError(f"--output is '{path}'; expected a name ending in {' or '.join(suffixes)}.")
    if path.is_dir():
        raise DataError(f"'{path}' cannot be written: it is a folder.")
    _try_to_write(path.parent)


def _make_folder(path: Path) -> None:
    """Make a folder, and refuse one that cannot be written to, before any work is done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"Folder '{path}' cannot be made: {error.strerror or error}.") from None
    _try_to_write(path)


def _try_to_write(folder: Path) -> None:
    if not folder.is_dir():
        raise DataError(f"There is no folder '{folder}' to write to.")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(
            f"Folder '{folder}' cannot be written to: {error.strerror or error}."
        ) from None


def _print_predictions(predictions: Any, table: Any) -> None:
    from ketpredict.printing import extrapolation_notes_print, prediction_print
    from ketpredict.wording import RESEARCH_ONLY

    console = _console()
    console.print(prediction_print(predictions, table))
    noted = predictions[predictions["extrapolation"] != ""]["extrapolation"]
    named = "participant" in table
    notes = {
        str(table["participant"].iloc[i]) if named else f"row {i + 1}": str(noted[i])
        for i in noted.index
    }
    for line in extrapolation_notes_print(notes):
        console.print(f"Extrapolation {line}")
    console.print(RESEARCH_ONLY)


def _print_check(result: Any, written: Path | None) -> None:
    from ketpredict.printing import convergence_print, predictive_print

    console = _console()
    console.print(convergence_print(result.convergence))
    console.print("Observed responders, and what the model replicates in the same, known trial:")
    console.print(predictive_print(result.predictive))
    for gate in result.gates:
        mark = "passed" if gate.passed else "FAILED"
        console.print(f"[bold]{gate.name}: {mark}.[/bold] {gate.detail}")
    if written is not None:
        console.print(f"Written: {written}", soft_wrap=True)


def _print_literature(found: Any, written: Path | None) -> None:
    from ketpredict.printing import effects_print, literature_print
    from ketpredict.wording import RESEARCH_ONLY

    console = _console()
    console.print(f"Slopes under ketamine with {100 * found.prob:g} % intervals (latent scale):")
    console.print(literature_print(found.slopes))
    console.print("Each published effect: how far it moves the slope of its predictor.")
    console.print(effects_print(found.effects))
    console.print("† importance sampling fails here (k above 0.7): take the number as a hint.")
    used = int(found.fates["used"].sum())
    console.print(f"{used} of {len(found.fates)} rows of the associations enter.")
    if written is not None:
        console.print(f"Written: {written}", soft_wrap=True)
    console.print(RESEARCH_ONLY)
