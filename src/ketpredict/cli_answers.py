"""Commands that ask a fit: ``explain``, ``effects``, ``update``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from ketpredict.cli_options import (
    AsJson,
    FitFile,
    Patients,
    Prob,
    Seed,
    Strict,
    check_file,
    check_prob,
    console,
    make_folder,
    print_json,
)
from ketpredict.cli_streams import table_in
from ketpredict.errors import DataError

_LONGEST_NAME = 120
Fit = Annotated[str, typer.Option("--fit", help="A saved fit, fit.nc, or 'published'.")]


def explain(
    patients: Patients,
    fit: Fit = "published",
    row: Annotated[int, typer.Option(help="Which patient: its row, counted from 1.")] = 1,
    as_json: AsJson = False,
    prob: Prob = 0.9,
) -> None:
    """Say how far each known predictor of one patient moved the probability of response."""
    check_prob(prob)
    from ketpredict.tables import read_table

    with table_in(patients) as source:
        table = read_table(source)
    if not 1 <= row <= len(table):
        raise DataError(f"--row is {row}; '{patients}' has rows 1 to {len(table)}.")
    from ketpredict.classifier import load

    found = load(fit).explain(table.iloc[[row - 1]].reset_index(drop=True), prob)
    if as_json:
        print_json(found.as_table())
        return
    from ketpredict.printing_answers import explanation_print
    from ketpredict.wording import RESEARCH_ONLY

    out = console()
    out.print(explanation_print(found))
    out.print(RESEARCH_ONLY)


def effects(
    fit: FitFile = "published",
    arm: Annotated[
        str | None, typer.Option(help="Arm in which the effects are; none: the reference arm.")
    ] = None,
    as_json: AsJson = False,
    output: Annotated[
        Path | None, typer.Option(help="Folder to write the table and one picture a predictor to.")
    ] = None,
    prob: Prob = 0.9,
) -> None:
    """Say what each predictor goes along with, on average, in each population."""
    check_prob(prob)
    if output is not None:
        make_folder(output)
    from ketpredict.marginal_effects import effects_table, evidence_values, partial_effect_table
    from ketpredict.published import load_fit
    from ketpredict.tables import records, write_table

    posterior = load_fit(fit)
    table = effects_table(posterior, prob, arm)
    if output is not None:
        from ketpredict.effect_plots import partial_effect_plot
        from ketpredict.plots import save_figure

        write_table(table, output / "effects.csv")
        for predictor in posterior.predictors:
            bands = (0.5, prob)
            curve = partial_effect_table(posterior, predictor.name, arm, bands)
            values = evidence_values(posterior, predictor.name)
            figure = partial_effect_plot(curve, values, predictor, bands)
            save_figure(figure, output / f"effect_of_{_file_name(predictor.name)}.png")
    if as_json:
        print_json(records(table))
        return
    from ketpredict.printing_answers import marginal_effects_print
    from ketpredict.wording import RESEARCH_ONLY

    out = console()
    out.print(marginal_effects_print(table, prob))
    if output is not None:
        out.print(f"Written: {output}", soft_wrap=True)
    out.print(RESEARCH_ONLY)


def update(
    counts: Annotated[
        Path,
        typer.Argument(help="Arms of one new trial: trial, population, arm, hours, n, ...; or -"),
    ],
    output: Annotated[Path, typer.Option(help="File to write the updated fit to.")],
    fit: Fit = "published",
    seed: Seed = 1,
    strict: Strict = False,
    prob: Prob = 0.9,
) -> None:
    """Teach a fit the level of a new trial by its counts, without a refit."""
    check_prob(prob)
    check_file(output, (".nc",))
    from ketpredict.printing_answers import update_print
    from ketpredict.published import load_fit
    from ketpredict.tables import read_table
    from ketpredict.updating import update as update_fit
    from ketpredict.updating import update_table
    from ketpredict.wording import RESEARCH_ONLY

    before = load_fit(fit)
    with table_in(counts) as source:
        table = read_table(source)
    after = update_fit(before, table, seed=seed, strict=strict)
    after.save(output)
    out = console()
    out.print(update_print(update_table(before, after, prob)))
    out.print(f"Written: {output}", soft_wrap=True)
    out.print(RESEARCH_ONLY)


def _file_name(predictor: str) -> str:
    """Return a predictor's name as part of the name of a file, which cannot be long."""
    words = "".join(letter if letter.isalnum() else "_" for letter in predictor)
    if words == predictor and len(words.encode()) <= _LONGEST_NAME:
        return words
    # Two names must not become one.
    return f"{words[: _LONGEST_NAME // 4]}_{hashlib.sha256(predictor.encode()).hexdigest()[:8]}"


COMMANDS = (explain, effects, update)
