"""One table on its way in: its names recognised, its cells read, its problems gathered."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import pandas as pd
import pandera.pandas as pa

from ketpredict.cell_values import Problem, show, tell
from ketpredict.column_names import Vocabulary, near_miss, summary_endings
from ketpredict.contracts.cells import is_mostly_readable, read_labels, read_numbers
from ketpredict.contracts.fields import pandera_column
from ketpredict.contracts.rules import Rule
from ketpredict.fields import PARTICIPANT_FIELDS, Field
from ketpredict.predictors import OF_ANY_FIELD, Predictor

OUTCOMES = ("response", "improvement", "baseline_score", "endpoint_score")
"""Columns of participants that hold an outcome; the two scores make one together."""

_IDENTIFYING = ("participant", "cohort", "predictor", "trial", "population", "arm", "hours")
_ALSO_PREDICTOR = ("baseline_score",)


class Reader:
    """One table on its way in: the caller's frame, its names, and the problems found so far."""

    def __init__(
        self, raw: pd.DataFrame, name: str, column_names: Mapping[str, str | None] | None = None
    ) -> None:
        self.raw = raw
        self.name = name
        self.problems: list[Problem] = []
        self.misspelt: dict[str, str] = {}
        self.written: dict[str, str] = {}  # canonical name: the caller's
        if raw.empty:
            self.add(f"the table has {len(raw)} rows and {raw.shape[1]} columns; expected some.")
        self._drop_duplicates()
        self._rename(column_names or {})

    def add(self, text: str, row: int | None = None, column: str | None = None) -> None:
        """Note a problem: of the whole table, or of a row counted from 0."""
        self.problems.append(Problem(text, row, column))

    def _drop_duplicates(self) -> None:
        again = self.raw.columns.duplicated()
        for column in dict.fromkeys(self.raw.columns[again]):
            count = int((self.raw.columns == column).sum())
            self.add(f"column '{column}' stands there {count} times; keep one and rename others.")
        self.raw = self.raw.loc[:, ~again].copy()

    def _rename(self, column_names: Mapping[str, str | None]) -> None:
        known = {field.name for field in PARTICIPANT_FIELDS}
        for canonical, column in column_names.items():
            if canonical not in known:
                self.add(f"column_names has '{canonical}'; expected one of {_listed(known)}.")
            elif column is None or column == canonical:
                continue
            elif column not in self.raw:
                hint = _suggestion(column, self.raw.columns)
                self.add(f"column '{column}' (for {canonical}) is not in the table.{hint}")
            elif canonical in self.raw:
                self.add(
                    f"column_names takes {canonical} from '{column}', but the table has a column "
                    f"'{canonical}' too; keep one."
                )
            else:
                self.written[canonical] = column
        renamed = {column: canonical for canonical, column in self.written.items()}
        self.raw = self.raw.rename(columns=renamed)

    def check_wanted(
        self, wanted: Sequence[str] | None, references: Mapping[str, Predictor]
    ) -> None:
        """Refuse predictors that are labels, outcomes, named twice or not in the table."""
        taken = {field.name for field in PARTICIPANT_FIELDS} - set(_ALSO_PREDICTOR)
        wanted = wanted or ()
        for column in dict.fromkeys(wanted):
            if column in taken:
                role = "an outcome" if column in OUTCOMES else "not a predictor"
                self.add(f"predictors names '{column}', which is {role}; leave it out.")
            elif column not in self.raw and column not in references:
                hint = _suggestion(column, self.raw.columns)
                self.add(f"predictors names '{column}', but there is no such column.{hint}")
            if list(wanted).count(column) > 1:
                self.add(f"predictors names '{column}' more than once.")

    def recognise(self, vocabulary: Vocabulary, asked: Iterable[str]) -> None:
        """Note columns that nearly have a known name."""
        known = {*vocabulary.names, *asked}
        for column in self.raw.columns:
            match = None if column in known else near_miss(column, vocabulary, self.raw.columns)
            if match is None:
                continue
            advice = f"keep one of them, as '{match}'" if match in self.raw else "rename it"
            self.misspelt[column] = match
            self.add(f"column '{column}' looks like '{match}'; {advice}.", column=match)

    def refuse_wrong_summaries(self, references: Mapping[str, Predictor]) -> None:
        """Note a percentage of a continuous predictor, or a mean and SD of a yes/no one."""
        for predictor in references.values():
            right = summary_endings(predictor)
            kind = "yes/no" if predictor.kind == "binary" else "continuous"
            give = " and ".join(f"'{predictor.name}_{ending}'" for ending in right)
            for ending in ("mean", "sd", "pct"):
                column = f"{predictor.name}_{ending}"
                if ending not in right and column in self.raw:
                    self.misspelt[column] = column
                    self.add(f"column '{column}': {predictor.name} is {kind}; give {give}.")

    def default_predictors(self, references: Mapping[str, Predictor]) -> list[str]:
        """Return the known predictors in the table, or else every column that can be one.

        Age and sex alone do not make a table one of this field: all of its columns are used.
        """
        known = [column for column in references if column in self.raw]
        if set(known) - OF_ANY_FIELD or self.misspelt:
            return known
        taken = {field.name for field in PARTICIPANT_FIELDS}
        return [c for c in self.raw.columns if c not in taken and is_mostly_readable(self.raw[c])]

    def read(
        self, fields: Sequence[Field], rules: Callable[[pd.DataFrame], Sequence[Rule]]
    ) -> pd.DataFrame:
        """Return the table with canonical dtypes, or raise with all its problems."""
        frame = self.raw.copy()
        for field in fields:
            if field.name in frame:
                frame[field.name] = self._read_column(field)
        present = [field for field in fields if field.name in frame or field.required]
        columns = [field.name for field in present if field.name in frame]
        self._check(frame[columns], present, rules(frame[columns]))
        if self.problems:
            raise tell(self.name, self.problems, self._labels)
        return frame

    def _read_column(self, field: Field) -> pd.Series:
        cells = self.raw[field.name]
        if field.kind == "label":
            return read_labels(cells)
        values, wrong = read_numbers(cells, words=field.kind != "number")
        for row in wrong:
            comma = isinstance(cells[row], str) and "," in cells[row]
            advice = "Write decimals with a point and leave out thousands." if comma else ""
            self._add_cell(field, row, advice)
        return values

    def _check(self, frame: pd.DataFrame, fields: Sequence[Field], rules: Sequence[Rule]) -> None:
        """Run pandera on the numbers and note what it finds, in the words of the contract.

        A cell is told once: what is wrong with it alone before what is wrong beside other cells.
        """
        described = {field.name: field for field in fields}
        by_name = {rule.name: rule for rule in rules}
        told = {(problem.row, problem.column) for problem in self.problems}
        misspelt = set(self.misspelt.values())
        failures = sorted(_failures(frame, fields, rules), key=lambda case: case[1] in by_name)
        for column, check, row in failures:
            if check in by_name:
                rule = by_name[check]
                if not any((row, name) in told for name in rule.columns):
                    told.add((row, column))
                    self.add(self._in_own_words(rule.describe(frame, row), rule), row, column)
            elif check == "column_in_dataframe":
                if column not in misspelt:
                    own = self.written.get(column, column)
                    self.add(f"column '{own}' is missing; add it.", column=column)
            elif (row, column) not in told:
                told.add((row, column))
                self._add_cell(described[column], row)

    def _add_cell(self, field: Field, row: int, advice: str = "") -> None:
        """Note that a cell does not hold what its field expects."""
        found = show(self.raw[field.name][row])
        if not advice:
            advice = "Fill it in." if found == "missing" else "Correct it."
            if field.optional_cell:
                advice = "Correct it, or leave it empty if unknown."
        column = self._own(field.name)
        self.add(f"{column} is {found}; expected {field.expected}. {advice}", row, field.name)

    def _own(self, column: str) -> str:
        own = self.written.get(column, column)
        return own if own.isidentifier() else f"'{own}'"

    def _in_own_words(self, text: str, rule: Rule) -> str:
        for name in rule.columns:
            text = text.replace(f"{{{name}}}", self._own(name))
        return text

    def _labels(self, row: int) -> dict[str, str]:
        names = [name for name in _IDENTIFYING if name in self.raw]
        shown = {self._own(name): show(self.raw[name][row]) for name in names}
        return {name: value for name, value in shown.items() if value != "missing"}

    def left_alone(self, fields: Sequence[Field]) -> tuple[str, ...]:
        """Return the columns that are neither known nor asked for."""
        known = {field.name for field in fields}
        return tuple(column for column in self.raw.columns if column not in known)


def _failures(
    frame: pd.DataFrame, fields: Sequence[Field], rules: Sequence[Rule]
) -> Iterator[tuple[str, str, int]]:
    """Yield column, check and row of everything that pandera objects to (row -1: no row)."""
    schema = pa.DataFrameSchema(
        {field.name: pandera_column(field) for field in fields},
        checks=[pa.Check(rule.holds, error=rule.name, ignore_na=False) for rule in rules],
    )
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases
    else:
        return
    names = {rule.name: rule.columns[0] for rule in rules}
    seen = set()
    for column, check, value, index in zip(
        cases["column"], cases["check"], cases["failure_case"], cases["index"], strict=True
    ):
        row = -1 if check == "column_in_dataframe" else int(index)
        # A check of several columns is reported once for each column of the whole table.
        case = (names.get(check, value if row < 0 else column), check, row)
        if case not in seen:
            seen.add(case)
            yield case


def _suggestion(name: str, columns: Iterable[str]) -> str:
    by_spelling = {column.casefold().strip(): column for column in columns}
    close = difflib.get_close_matches(name.casefold().strip(), by_spelling, n=1, cutoff=0.75)
    return f" Did you mean '{by_spelling[close[0]]}'?" if close else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
