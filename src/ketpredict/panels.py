"""What the pictures of checks share: panels, captions, rows with intervals. No state of pyplot."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

BLUE, ORANGE, GREEN, QUIET = "#0072B2", "#D55E00", "#009E73", "#6E6E6E"
"""Of the Okabe-Ito palette; no meaning rests on colour alone."""
_WIDTH = 11.0
_LETTERS_PER_LINE = 165
_LETTER = 0.0063


def panels(
    count: int, title: str, caption: str, *, columns: int = 3, row_inches: float = 3.4
) -> tuple[Figure, list[Any]]:
    """Return a figure with panels in a grid, a title above and a caption below.

    Parameters
    ----------
    count : int
        Panels wanted.
    columns : int
        Panels in a row at most.
    row_inches : float
        Height of a row.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    lines = textwrap.wrap(caption, _LETTERS_PER_LINE)
    below = 0.16 * len(lines) + 0.75
    height = rows * row_inches + below + 0.75
    figure = Figure(figsize=(_WIDTH, height))
    grid = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left=0.09,
        right=0.98,
        bottom=below / height,
        top=1.0 - 0.95 / height,
        hspace=1.0 / (row_inches - 1.0),
        wspace=0.28,
    )
    figure.suptitle(title, x=0.02, y=1.0 - 0.2 / height, ha="left", weight="bold")
    figure.text(0.02, 0.1 / height, "\n".join(lines), fontsize=9, color="#333333", va="bottom")
    flat = list(grid.flat)
    for axes in flat[count:]:
        axes.set_visible(False)
    for axes in flat[:count]:
        tidy(axes)
    return figure, flat[:count]


def room_for_labels(figure: Figure, labels: Sequence[str]) -> None:
    """Widen the left margin to hold the labels of rows."""
    longest = max((len(label) for label in labels), default=0)
    figure.subplots_adjust(left=min(0.6, 0.03 + _LETTER * longest))


def tidy(axes: Any) -> None:
    """Give axes a quiet grid and no frame but its lower left."""
    axes.grid(color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)
    for side in ("right", "top"):
        axes.spines[side].set_visible(False)


def legend(axes: Any, handles: Sequence[Any], **where: Any) -> None:
    """Put a small legend without a frame into axes."""
    axes.legend(handles=list(handles), frameon=False, fontsize=8.5, **where)


def line(label: str, colour: str, **style: Any) -> Line2D:
    """Return a line for a legend."""
    return Line2D([], [], color=colour, label=label, **style)


def interval_rows(
    axes: Any, labels: Sequence[str], intervals: Sequence[Any], observed: Sequence[float]
) -> None:
    """Draw observed points over replicated intervals, one row each, the first on top.

    Parameters
    ----------
    labels : sequence of str
    intervals : sequence of tuple
        Lower and upper limits (arrays), colour and line width of each kind of interval.
    observed : sequence of float
        A cross where the first kind of interval does not hold it.
    """
    places = np.arange(len(labels))
    for lower, upper, colour, width in intervals:
        axes.hlines(places, lower, upper, color=colour, linewidth=width, alpha=0.75)
    first = intervals[0]
    inside = (np.asarray(observed) >= first[0]) & (np.asarray(observed) <= first[1])
    for mask, marker, size in ((inside, "o", 4.5), (~inside, "X", 7.0)):
        points = np.asarray(observed)[mask]
        axes.plot(points, places[mask], marker, color="black", markersize=size)
    axes.set_yticks(places, labels, fontsize=8.5)
    axes.set_ylim(len(labels) - 0.4, -0.6)
