"""Every error and warning that the package raises on purpose.

All errors derive from :class:`KetpredictError`, which is a :class:`ValueError`, so that code that
knows nothing of the package (scikit-learn's searches, for one) treats them as bad input.
"""

from __future__ import annotations

from ketpredict.visible import one_line, visible


class KetpredictError(ValueError):
    """Base class of the package's errors, in whose messages no control character is hidden."""

    def __str__(self) -> str:
        """Return the message; its line breaks stay, since lists of problems have some."""
        return visible(super().__str__())


class DataError(KetpredictError):
    """A table or file does not hold what it should; the message lists every problem."""


class CellTypeError(DataError, TypeError):
    """A cell holds what no cell can: a list, a mapping. Also a TypeError, as scikit-learn asks."""


class SpecificationError(KetpredictError):
    """A model file or specification is missing, unreadable or contradicts itself."""


class SavedFitError(KetpredictError):
    """A saved fit cannot be read, is damaged, or comes from an incompatible version."""


class ConvergenceError(KetpredictError):
    """A fit did not converge and the caller asked for ``strict``."""


class KetpredictWarning(UserWarning):
    """Base class of the package's warnings, whose messages are one line each."""

    def __str__(self) -> str:
        """Return the message."""
        return one_line(super().__str__())


class ConvergenceWarning(KetpredictWarning):
    """A fit did not converge; the message names the parameters."""


class EvidenceWarning(KetpredictWarning):
    """Part of the evidence was dropped, merged or left alone; the message says what and why."""


class ExtrapolationWarning(KetpredictWarning):
    """A prediction is asked for where the evidence has nothing near it."""
