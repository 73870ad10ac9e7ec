"""Every error and warning that the package raises on purpose.

All errors derive from :class:`KetpredictError`, which is a :class:`ValueError`, so that code that
knows nothing of the package (scikit-learn's searches, for one) treats them as bad input.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from ketpredict.visible import one_line, visible


@dataclasses.dataclass(frozen=True)
class TableProblem:
    """One thing that is wrong with a table, for programs.

    Parameters
    ----------
    text : str
        What was found, what was expected, what to do.
    code : {"cell", "row", "column", "table"}
        What the problem is of.
    row : int or None
        Row of the table that was read, counted from 1.
    column : str or None
        The column by the name that the package knows it by.
    """

    text: str
    code: str
    row: int | None = None
    column: str | None = None


class KetpredictError(ValueError):
    """Base class of the package's errors, in whose messages no control character is hidden."""

    def __str__(self) -> str:
        """Return the message; its line breaks stay, since lists of problems have some."""
        return visible(super().__str__())


class DataError(KetpredictError):
    """A table or file does not hold what it should; the message lists every problem.

    Parameters
    ----------
    message : str
    problems : iterable of TableProblem
        The same one by one, all of them, for programs; empty where the error is not of a table's
        contents.
    """

    def __init__(self, message: str = "", problems: Iterable[TableProblem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class CellTypeError(DataError, TypeError):
    """A cell holds what no cell can: a list, a mapping. Also a TypeError, as scikit-learn asks."""


class SpecificationError(KetpredictError):
    """A model file or specification is missing, unreadable or contradicts itself."""


class SavedFitError(KetpredictError):
    """A saved fit cannot be read, is damaged, or comes from an incompatible version."""


class ConvergenceError(KetpredictError):
    """A fit did not converge and the caller asked for ``strict``; ``problems`` says why."""

    def __init__(self, message: str = "", problems: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class CompiledRoadError(KetpredictError):
    """nutpie or numba is not one that the compiled likelihood was written for."""


class KetpredictWarning(UserWarning):
    """Base class of the package's warnings, whose messages are one line each."""

    def __str__(self) -> str:
        """Return the message."""
        return one_line(super().__str__())


class ConvergenceWarning(KetpredictWarning):
    """A fit did not converge; the message names the parameters, ``problems`` what is wrong."""

    def __init__(self, message: str = "", problems: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class EvidenceWarning(KetpredictWarning):
    """Part of the evidence was dropped, merged or left alone; the message says what and why."""


class ExtrapolationWarning(KetpredictWarning):
    """A prediction is asked for where the evidence has nothing near it.

    Its text says in what ways and is the same for all values of a kind, so that a filter sees one
    warning in many requests; ``notes`` are those of the first rows, ``n_concerned`` of ``n_rows``
    rows have one.
    """

    def __init__(
        self, message: str = "", notes: Iterable[str] = (), n_concerned: int = 0, n_rows: int = 0
    ) -> None:
        super().__init__(message)
        self.notes, self.n_concerned, self.n_rows = tuple(notes), n_concerned, n_rows
