"""Figures as pictures of a report: SVG for a page, with title and caption as text beside it.

The text of a picture stays text (``svg.fonttype`` none): it can be searched and enlarged, is sharp
at any size, and a name with markup in it is escaped by the writer. Outlines of letters would look
the same on every machine, and would make a report several times as large. Identifiers are made
unique for the page, and neither date nor random numbers enter, so that the same figure gives the
same bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import re
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.text import Text

from ketpredict.figure_names import show_names_as_they_are
from ketpredict.narrow_figures import narrow

SMALLEST_POINTS = 9.0
"""9 points are 12 CSS pixels: nothing on a page is smaller."""
_DRAWING: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ketpredict",
    # A dollar sign in the name of a trial is a dollar sign.
    "text.parse_math": False,
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_PIXELS_A_POINT = 96.0 / 72.0


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture with its words.

    Parameters
    ----------
    name : str
        Anchor of the picture, without the prefix that the page adds.
    title, caption : str
        The caption says how to read it and what a good one looks like.
    alt : str
        What is seen, for those who do not see it.
    svg, narrow : str
        The ``svg`` elements: at a desk, and laid out anew for a phone. Both are labelled by the
        element ``alt-NAME`` of the page.
    width, narrow_width : int
        CSS pixels of each, at which its smallest letters have 12.
    """

    name: str
    title: str
    caption: str
    alt: str
    svg: str
    width: int
    narrow: str
    narrow_width: int


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Figures made in this block are made for a page: names in them are taken literally."""
    with mpl.rc_context(_DRAWING):
        yield


def picture(figure: Figure, name: str, alt: str) -> Picture:
    """Return a figure as a picture; its title and its caption leave the drawing.

    Parameters
    ----------
    figure : Figure
        Of this package: a title above, one text of the figure's own below. It is changed.
    name : str
        Letters, digits and underscores.
    alt : str
        What is seen.
    """
    show_names_as_they_are(figure)
    title, caption = _take_words(figure)
    for text in figure.findobj(Text):
        text.set_fontsize(max(text.get_fontsize(), SMALLEST_POINTS))
    wide = _drawn(figure, name, name)
    narrow(figure)
    return Picture(name, title, caption, alt, *wide, *_drawn(figure, f"{name}-narrow", name))


def _drawn(figure: Figure, prefix: str, name: str) -> tuple[str, int]:
    """Return the ``svg`` element of a figure, and its width."""
    stream = io.StringIO()
    with mpl.rc_context(_DRAWING):
        figure.savefig(
            stream, format="svg", bbox_inches="tight", pad_inches=0.05, metadata=_NO_METADATA
        )
    return _element(stream.getvalue(), prefix, name)


def _take_words(figure: Figure) -> tuple[str, str]:
    """Return title and caption of a figure, and take them out of it."""
    axis_labels = {figure.get_supxlabel(), figure.get_supylabel()}
    title = figure.get_suptitle()
    captions = []
    for text in list(figure.texts):
        words = text.get_text()
        if words in axis_labels:
            continue
        if words != title:
            captions.append(words)
        text.set_visible(False)
    return _one_line(title), _one_line(" ".join(captions))


def _one_line(words: str) -> str:
    return " ".join(words.split())


def _element(document: str, prefix: str, name: str) -> tuple[str, int]:
    """Return the ``svg`` element of a document for use inside a page, and its width."""
    body = document[document.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    # Its one rule, on line ends, stands in the page: here it would apply to all of it.
    body = re.sub(r"<defs>\s*<style[^>]*>[^<]*</style>\s*</defs>", "", body)
    # Within tags only: text between them is never touched. Both signs are escaped in text.
    body = re.sub(r"<[^>]*>", lambda tag: _own_identifiers(tag.group(), prefix), body)
    width = float(re.search(r'<svg[^>]*\bwidth="([\d.]+)pt"', body).group(1))  # type: ignore[union-attr]
    body = re.sub(r'(<svg[^>]*?) height="[\d.]+pt"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) width="[\d.]+pt"', r"\1", body, count=1)
    role = f'<svg role="img" aria-labelledby="alt-{name}"'
    return body.strip().replace("<svg", role, 1), math.ceil(width * _PIXELS_A_POINT) + 1


def _own_identifiers(tag: str, prefix: str) -> str:
    tag = re.sub(r'\bid="', f'id="{prefix}-', tag)
    tag = tag.replace("url(#", f"url(#{prefix}-")
    return re.sub(r'\b(?:xlink:)?href="#', f'href="#{prefix}-', tag)
