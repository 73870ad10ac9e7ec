"""Prediction from file to file in bounded memory, a batch of rows at a time.

Every batch is checked like a whole table, and errors count rows from the beginning of the file. The
numbers are those of the same rows in memory, whatever the size of the batches.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketpredict.batches import Batch, open_batches, write_batches
from ketpredict.diagnostics import recall_convergence
from ketpredict.errors import DataError, EvidenceWarning
from ketpredict.extrapolation import EXAMPLES, warn_of_notes
from ketpredict.light import fit_of
from ketpredict.patient_columns import read_patients, refuse_untold
from ketpredict.posterior import Posterior
from ketpredict.predict import check_interval
from ketpredict.predictors import Predictor
from ketpredict.rows import encode_rows
from ketpredict.short_form import ShortForm
from ketpredict.summary import prediction_table
from ketpredict.workers import bounded_cores

if TYPE_CHECKING:
    import pandas as pd

ROWS_AT_ONCE = 262_144
"""Rows of a batch: enough that what rows share costs little, and about 500 MB."""
Progress = Callable[[int, int], None]
"""What is told the number of rows done and of all rows."""


@dataclasses.dataclass(frozen=True, repr=False)
class FilePrediction(ShortForm):
    """What was predicted from file to file.

    Parameters
    ----------
    target : Path
        The file written.
    n_rows : int
    n_extrapolated : int
        Rows that lie beyond the evidence; the file says in what way.
    """

    target: Path
    n_rows: int
    n_extrapolated: int


def predict_file(
    fit: Any,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    prob: float = 0.9,
    *,
    intervals: bool = True,
    cores: int | None = None,
    strict: bool = False,
    progress: Progress | None = None,
    rows_at_once: int = ROWS_AT_ONCE,
) -> FilePrediction:
    """Predict the probability of response of each patient of a file, into another file.

    Parameters
    ----------
    fit : "published", str, Path, Posterior or KetamineResponseClassifier
    source, target : str or path
        Each ends in ``.csv`` or ``.parquet``. The columns of the source stand in the target, and
        beside them those of :func:`ketpredict.summary.prediction_table`.
    prob : float
        Probability content of the intervals, between 0 and 1.
    intervals : bool
        Without them only the probability is written, in a fraction of the time.
    cores : int, optional
        Threads to use; all that the process may use by default. It changes no number.
    strict : bool
        Raise instead of warn where the fit did not converge.
    progress : callable, optional
        Is given the rows done and the rows in all, at the start and after every batch.
    rows_at_once : int
        Rows of a batch. It changes no number, only memory and time.

    Returns
    -------
    FilePrediction

    Raises
    ------
    DataError
        The source cannot be read, the target cannot be written, or a cell is wrong: then the target
        is as it was before.

    Warns
    -----
    ConvergenceWarning, ExtrapolationWarning, EvidenceWarning
        As :func:`ketpredict.response_probability` does, once for the whole file.
    """
    check_interval(prob)
    bounded_cores(cores)
    batches = open_batches(source, rows_at_once)
    posterior, column_names = fit_of(fit)
    recall_convergence(posterior, strict=strict, stacklevel=3)
    scorer = Scorer(posterior, column_names, prob, intervals, cores)
    if progress is not None:
        progress(0, batches.n_rows)
    with write_batches(target) as write:
        for batch in batches:
            write(batch, scorer.score(batch, f"'{source}'"))
            if progress is not None:
                progress(scorer.n_rows, batches.n_rows)
        refuse_untold(scorer.left_alone, tuple(scorer.told), scorer.references)
    if scorer.left_alone:
        words = f"Columns left alone: {', '.join(scorer.left_alone)}."
        warnings.warn(words, EvidenceWarning, stacklevel=2)
    warn_of_notes(scorer.examples, scorer.n_extrapolated, scorer.n_rows, stacklevel=3)
    return FilePrediction(Path(target), scorer.n_rows, scorer.n_extrapolated)


class Scorer:
    """Scores one batch after the other, and keeps what is said at the end.

    Parameters
    ----------
    posterior : Posterior
    column_names : mapping of str to str
        The caller's own names of columns.
    prob, intervals, cores
        As :func:`predict_file` takes them.

    Attributes
    ----------
    n_rows, n_extrapolated : int
        Of all batches so far.
    examples : list of str
        The first notes on rows beyond the evidence.
    told : set of str
        Columns that told something of some row.
    left_alone : tuple of str
        Columns that mean nothing to the fit.
    """

    def __init__(
        self,
        posterior: Posterior,
        column_names: Mapping[str, str],
        prob: float,
        intervals: bool,
        cores: int | None,
    ) -> None:
        self.posterior, self.column_names = posterior, column_names
        self.prob, self.intervals, self.cores = prob, intervals, cores
        self.references: dict[str, Predictor] = {p.name: p for p in posterior.predictors}
        self.n_rows = self.n_extrapolated = 0
        self.examples: list[str] = []
        self.told: set[str] = set()
        self.left_alone: tuple[str, ...] = ()

    def score(self, batch: Batch, source: str) -> pd.DataFrame:
        """Return the predictions of a batch.

        Parameters
        ----------
        source : str
            What an error calls the table.
        """
        first_row = batch.first_row
        patients = read_patients(batch.frame, self.references, self.column_names, first_row)
        rows = encode_rows(self.posterior, patients.columns, patients.n_rows, first_row)
        found = prediction_table(
            self.posterior, rows, self.prob, intervals=self.intervals, cores=self.cores
        )
        _refuse_clash(source, batch.frame, found)
        self.n_rows += patients.n_rows
        noted = found["extrapolation"]
        self.n_extrapolated += int((noted != "").sum())
        wanted = EXAMPLES - len(self.examples)
        self.examples += list(itertools.islice((note for note in noted if note), wanted))
        self.told.update(patients.told)
        self.left_alone = patients.left_alone
        return found


def _refuse_clash(source: str, table: pd.DataFrame, predictions: pd.DataFrame) -> None:
    """Refuse columns that are called like those that a prediction adds."""
    clash = sorted({str(name) for name in predictions} & {str(name) for name in table})
    if clash:
        raise DataError(
            f"{source} has columns {', '.join(clash)}, which predictions are called; rename or "
            "remove them."
        )
