"""Prediction beyond one machine: the partitions of a Dask DataFrame, wherever its workers are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ketpredict.batches import Batch
from ketpredict.errors import DataError
from ketpredict.light import fit_of
from ketpredict.predict import check_interval
from ketpredict.streaming import Scorer
from ketpredict.workers import bounded_cores

if TYPE_CHECKING:
    import dask.dataframe as dd
    import pandas as pd


def predict_frame(
    fit: str | os.PathLike[str],
    frame: dd.DataFrame,
    prob: float = 0.9,
    *,
    intervals: bool = True,
    cores: int = 1,
) -> dd.DataFrame:
    """Return patients with their probability of response beside them, to be worked out by Dask.

    Parameters
    ----------
    fit : "published", str or path
        Each worker reads it once: a file must be there under this name on every machine.
    frame : dask.dataframe.DataFrame
        Patients, with the columns of :func:`ketpredict.response_probability`. Large partitions
        are faster: what patients share is worked out once for each.
    prob : float
        Probability content of the intervals, between 0 and 1.
    intervals : bool
        Without them there is only the probability, in a fraction of the time.
    cores : int
        Threads of one task. It changes no number; Dask runs several tasks at once.

    Returns
    -------
    dask.dataframe.DataFrame
        The columns of `frame` and those of :func:`ketpredict.summary.prediction_table`: the very
        numbers of :func:`ketpredict.streaming.predict_file`, however the rows are split.

    Raises
    ------
    DataError
        Here: `prob`, or a fit that is no name or path. When it is worked out: a cell is wrong, told
        with its row in the partition and its labels.
    """
    check_interval(prob)
    if not isinstance(fit, (str, os.PathLike)):
        raise DataError(
            f"fit is a {type(fit).__name__}; expected 'published' or the path of a saved fit, "
            "which every worker reads by itself."
        )
    bounded_cores(cores)
    options = (os.fspath(fit), prob, intervals, cores)
    return frame.map_partitions(_with_predictions, *options, meta=_empty(frame._meta, *options))


def _with_predictions(
    part: pd.DataFrame, fit: str, prob: float, intervals: bool, cores: int
) -> pd.DataFrame:
    if not len(part):
        return _empty(part, fit, prob, intervals, cores)
    posterior, column_names = fit_of(fit)
    scorer = Scorer(posterior, column_names, prob, intervals, cores)
    batch = Batch(0, part.reset_index(drop=True), None)
    return part.join(scorer.score(batch, "the table").set_axis(part.index))


def _empty(part: pd.DataFrame, fit: str, prob: float, intervals: bool, cores: int) -> pd.DataFrame:
    """Return a table of no rows with the columns and types of the result."""
    import numpy as np
    import pandas as pd

    del fit, prob, cores
    limits = ["trial_lower", "trial_upper", "average_lower", "average_upper"]
    numbers = ["probability", *(limits if intervals else [])]
    words = ["setting", "extrapolation"]
    more = pd.DataFrame({name: np.empty(0) for name in numbers})
    for name in words:
        more[name] = pd.Series([], dtype=object)
    return part.iloc[:0].join(more.set_axis(part.index[:0]))
