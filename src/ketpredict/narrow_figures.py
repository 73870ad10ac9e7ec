"""Figures laid out anew for the width of a phone: nothing shrinks, everything stands below another.

Type on a phone is as large as at a desk, so a figure of eleven inches cannot be scaled down;
scrolled sideways, it shows labels without their marks. Here panels go below each other, the label
of a row goes above its marks, and the legend becomes a column.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter

INCHES = 3.25
"""Of the whole figure: 312 CSS pixels, what a phone of 360 leaves after its margins."""
_POINTS = 9.0
_LETTERS = {"normal": 43, "bold": 37}
_ACROSS, _UPWARDS = 34, 26
_SHORT = 16
_MOST_TICKS = 6
_LINE, _MARKS, _PANEL, _AROUND = 0.165, 0.32, 2.1, 0.5
_GAP = 5.0


@dataclasses.dataclass(frozen=True)
class _Row:
    """Words to stand above the marks at a place: on the left, and on the right if there are any."""

    place: float
    left: str
    weight: str
    right: str

    def lines(self) -> int:
        return self.left.count("\n") + 1


def narrow(figure: Figure) -> None:
    """Lay a figure of this package out for a phone.

    Of columns of numbers beside rows only the first is kept: a table has no room here, and stands
    below the picture on its page.

    Parameters
    ----------
    figure : Figure
        Title and caption already taken out of it, or invisible. It is changed.
    """
    shown = [axes for axes in figure.axes if axes.get_visible()]
    _share_labels(figure, shown)
    _raise_legends(figure, shown)
    heights = [_put_rows_apart(axes) for axes in shown]
    for axes in shown:
        _wrap(axes)
    for text in figure.findobj(Text):
        text.set_fontsize(max(text.get_fontsize(), _POINTS))
        text.set_in_layout(text.get_visible() and text.get_in_layout())
    entries = sum(len(legend.get_texts()) for legend in figure.legends)
    figure.set_layout_engine("constrained", h_pad=0.06, w_pad=0.03)
    figure.set_size_inches(INCHES, sum(heights) + 0.2 * entries)
    grid = GridSpec(len(shown), 1, figure=figure, height_ratios=heights)
    for k, axes in enumerate(shown):
        axes.set_subplotspec(grid[k])


def _share_labels(figure: Figure, shown: list[Any]) -> None:
    """Give every panel the labels that it had in common with its neighbours."""
    for whole, own in (
        (figure.get_supxlabel(), [axes.xaxis for axes in shown]),
        (figure.get_supylabel(), [axes.yaxis for axes in shown]),
    ):
        common = whole or next((axis.get_label_text() for axis in own if axis.get_label_text()), "")
        for axis in own:
            axis.set_label_text(axis.get_label_text() or common)
        for text in figure.texts:
            if whole and text.get_text() == whole:
                text.set_visible(False)
    for axes in shown:
        axes.tick_params(labelbottom=True, labelleft=True)


def _raise_legends(figure: Figure, shown: list[Any]) -> None:
    """Put the legends above everything."""
    found = [*figure.legends, *(axes.get_legend() for axes in shown if axes.get_legend())]
    for legend in found:
        words = [text.get_text() for text in legend.get_texts()]
        handles = legend.legend_handles
        legend.remove()
        columns = 2 if max(map(len, words)) < _SHORT else 1
        figure.legend(handles, words, loc="outside upper left", ncols=columns, frameon=False,
                      fontsize=_POINTS, borderaxespad=0.1)  # fmt: skip


def _put_rows_apart(axes: Any) -> float:
    """Put the words of rows above their marks; return the height in inches that axes want."""
    rows = _take_rows(axes)
    if not rows:
        return _PANEL + _AROUND
    places = np.unique([row.place for row in rows])
    step = float(np.diff(places).min()) if len(places) > 1 else 1.0
    spread = _spread_of_marks(axes, places, step)
    # Headings of groups have a gap above them already.
    lines = max((row.lines() for row in rows if row.weight != "bold"), default=1)
    height = (_MARKS + _LINE * lines) / (1.0 - 2.0 * spread)
    above = (0.0, 72.0 * height * spread + _GAP)
    for row in rows:
        for x, words, side in ((0.0, row.left, "left"), (1.0, row.right, "right")):
            axes.annotate(
                words, (x, row.place), above, xycoords=axes.get_yaxis_transform(),
                textcoords="offset points", va="bottom", ha=side, fontsize=_POINTS,
                weight=row.weight, annotation_clip=False, in_layout=False,
            )  # fmt: skip
    axes.set_yticks([])
    axes.set_ylabel("")
    axes.spines["left"].set_visible(False)
    bottom, top = axes.get_ylim()
    # The words of the first row need a row's height above its marks.
    if bottom > top:
        axes.set_ylim(bottom, min(top, places.min() - step))
    else:
        axes.set_ylim(bottom, max(top, places.max() + step))
    return height * abs(float(np.ptp(axes.get_ylim()))) / step + _AROUND


def _take_rows(axes: Any) -> list[_Row]:
    """Return the words beside rows, and take them away from there."""
    found = {}
    formatter = axes.yaxis.get_major_formatter()
    if isinstance(formatter, FuncFormatter):  # what set_yticks(places, words) makes
        ticks = axes.get_yticks()
        words = formatter.format_ticks(ticks)
        found = {float(place): [one, "normal"] for place, one in zip(ticks, words, strict=True)}
    right: dict[float, list[Text]] = {}
    beside = [
        text
        for text in axes.texts
        if text.get_transform() == axes.get_yaxis_transform()
        and not 0 <= text.get_position()[0] <= 1
    ]
    if not found and all(text.get_position()[0] > 1 for text in beside):
        # Words at the ends of lines, on an axis of numbers: at their beginnings, where the patients
        # of a picture stand, there is more room than at the end, where its arms do.
        for text in beside:
            text.set(x=0.01, ha="left", va="bottom")
        return []
    for text in beside:
        x, place = map(float, text.get_position())
        text.set_visible(False)
        if x < 0:
            found[place] = [text.get_text(), str(text.get_weight())]
        else:
            right.setdefault(place, []).append(text)
            found.setdefault(place, ["", str(text.get_weight())])
    return [
        _row(place, words, weight, right.get(place, [])) for place, (words, weight) in found.items()
    ]


def _row(place: float, words: str, weight: str, right: list[Text]) -> _Row:
    first = min(right, key=lambda text: float(text.get_position()[0]), default=None)
    number = " ".join(first.get_text().split()) if first is not None else ""
    letters = _LETTERS[weight] - (len(number) + 2 if number else 0)
    whole = " ".join(words.split()).replace("(n = ", "(n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")
    return _Row(place, textwrap.fill(whole, max(letters, 12)), weight, number)


def _spread_of_marks(axes: Any, places: np.ndarray, step: float) -> float:
    """Return how far the marks of a row lie from its place, as a share of the row."""
    heights = np.concatenate([np.asarray(one, dtype=float).ravel() for one in _heights(axes)])
    apart = np.abs(heights[:, None] - places).min(axis=1) / step
    return float(apart[apart < 0.5].max(initial=0.0))


def _heights(axes: Any) -> Iterator[Any]:
    yield []
    for mark in axes.lines:
        if mark.get_transform() == axes.transData:
            yield mark.get_ydata()
    for many in axes.collections:
        for path in many.get_paths():
            yield path.vertices[:, 1]


def _wrap(axes: Any) -> None:
    """Break titles and labels of axes into lines, and leave out ticks that have no room."""
    for axis, letters in ((axes.xaxis, _ACROSS), (axes.yaxis, _UPWARDS)):
        axis.label.set(text=textwrap.fill(axis.get_label_text(), letters), fontsize=_POINTS)
    for where in ("left", "center", "right"):
        words = axes.get_title(where)
        if not words:
            continue
        own = [text for text in axes.findobj(Text) if text.get_text() == words]
        beside = any(text.get_position()[0] > 1 for text in own)
        axes.set_title("", loc=where)
        wrapped = "\n".join(textwrap.fill(part, _ACROSS) for part in words.split("\n"))
        side = "right" if beside or where == "right" else "left"
        axes.set_title(wrapped, loc=side, x=float(side == "right"), fontsize=_POINTS)
    ticks = axes.get_xticks()
    if isinstance(axes.xaxis.get_major_locator(), FixedLocator) and len(ticks) > _MOST_TICKS:
        words = axes.xaxis.get_major_formatter().format_ticks(ticks)
        every = -(-len(ticks) // _MOST_TICKS)
        axes.set_xticks(ticks[::every], words[::every])
