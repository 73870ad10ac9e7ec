"""Names in figures as they are: control characters as escapes, a dollar sign as a dollar sign."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FuncFormatter

from ketpredict.visible import visible


def show_names_as_they_are(figure: Figure) -> None:
    """Take every text of a figure literally, those that its axes write on their own included."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_text(visible(text.get_text()))
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            for formatter in (axis.get_major_formatter(), axis.get_minor_formatter()):
                if isinstance(formatter, FixedFormatter):
                    formatter.seq = [visible(str(label)) for label in formatter.seq]
                elif isinstance(formatter, FuncFormatter):  # of ticks with words at given places
                    formatter.func = _shown(formatter.func)


def _shown(words: Callable[..., str]) -> Callable[..., str]:
    return lambda value, position=None: visible(words(value, position))
