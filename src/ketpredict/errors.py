"""Every error and warning that the package raises on purpose.

All errors derive from :class:`KetpredictError`, which is a :class:`ValueError`, so that code that
knows nothing of the package (scikit-learn's searches, for one) treats them as bad input. What a
message says in words stands in attributes, too, for programs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a table, or with an input as a whole.

    Parameters
    ----------
    row : int or None
        Position in the caller's table, counted from 0 (messages count from 1); None for a problem
        of a column or of the whole table.
    column : str or None
        As the caller calls it.
    code : str
        What kind of problem it is, the same in every version: ``"not_a_number"``,
        ``"not_possible"``, ``"near_miss"``, ``"missing_column"`` and so on (``docs/python.md``).
    text : str
        What was found, what was expected, what to do.
    """

    row: int | None
    column: str | None
    code: str
    text: str


class KetpredictError(ValueError):
    """Base class of the package's errors."""


class DataError(KetpredictError):
    """A table or file does not hold what it should; the message lists every problem.

    Parameters
    ----------
    message : str
    problems : iterable of Problem, optional
        The same for programs, all of them however many the message lists. By default one of the
        whole input, with the message as its text.
    """

    def __init__(self, message: str = "", problems: Iterable[Problem] | None = None) -> None:
        super().__init__(message)
        given = () if problems is None else tuple(problems)
        self.problems: tuple[Problem, ...] = given or (Problem(None, None, "input", message),)


class CellTypeError(DataError, TypeError):
    """A cell holds what no cell can: a list, a mapping. Also a TypeError, as scikit-learn asks."""


class SpecificationError(KetpredictError):
    """A model file or specification is missing, unreadable or contradicts itself."""


class SavedFitError(KetpredictError):
    """A saved fit cannot be read, is damaged, or comes from an incompatible version."""


class ConvergenceError(KetpredictError):
    """A fit did not converge and the caller asked for ``strict``."""


class CompiledRoadError(KetpredictError):
    """The compiled likelihood cannot be used with the libraries that are installed.

    Parameters
    ----------
    message : str
    found, tested : mapping of str to str, optional
        Versions of the libraries that it hangs on: those installed, and those it is tested with.
    """

    def __init__(
        self,
        message: str = "",
        found: Mapping[str, str] | None = None,
        tested: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.found, self.tested = dict(found or {}), dict(tested or {})


class KetpredictWarning(UserWarning):
    """Base class of the package's warnings.

    Parameters
    ----------
    message : str
        The same words whatever the values of the rows, so that Python shows it once and not once
        for each request.
    detail : str
        What the message leaves out, in words; the command line prints it.
    """

    def __init__(self, message: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class ConvergenceWarning(KetpredictWarning):
    """A fit did not converge; the message names the parameters.

    Parameters
    ----------
    message, detail : str
    problems : iterable of str, optional
        One sentence for each broken rule.
    """

    def __init__(
        self, message: str = "", detail: str = "", problems: Iterable[str] | None = None
    ) -> None:
        super().__init__(message, detail)
        self.problems: tuple[str, ...] = () if problems is None else tuple(problems)


class EvidenceWarning(KetpredictWarning):
    """Part of the evidence was dropped, merged or left alone; the message says what and why.

    Parameters
    ----------
    message, detail : str
    columns : iterable of str, optional
        Columns that were left alone.
    """

    def __init__(
        self, message: str = "", detail: str = "", columns: Iterable[str] | None = None
    ) -> None:
        super().__init__(message, detail)
        self.columns: tuple[str, ...] = () if columns is None else tuple(columns)


class ExtrapolationWarning(KetpredictWarning):
    """A prediction is asked for where the evidence has nothing near it.

    Parameters
    ----------
    message, detail : str
    notes : mapping of int to str, optional
        In what way each row lies beyond the evidence, by its position in the table; of a file
        those of the first rows.
    count, of : int
        How many rows do, of how many.
    """

    def __init__(
        self,
        message: str = "",
        detail: str = "",
        notes: Mapping[int, str] | None = None,
        count: int = 0,
        of: int = 0,
    ) -> None:
        super().__init__(message, detail)
        self.notes: dict[int, str] = dict(notes or {})
        self.count, self.of = count, of


class CompilationWarning(KetpredictWarning):
    """A fit takes a slower road, since the compiled likelihood cannot be used.

    Parameters
    ----------
    message, detail : str
    found, tested : mapping of str to str, optional
        Versions of the libraries that it hangs on: those installed, and those it is tested with.
    """

    def __init__(
        self,
        message: str = "",
        detail: str = "",
        found: Mapping[str, str] | None = None,
        tested: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, detail)
        self.found, self.tested = dict(found or {}), dict(tested or {})
