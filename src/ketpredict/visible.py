"""Text from outside made harmless to look at: control characters as escapes, all else as it is.

A name of a trial, a column or a file may hold anything. Shown as it stands, an escape sequence
would reach the terminal, a line break would look like a line of ours, and a sign that turns the
direction of writing would make a name read as another.
"""

from __future__ import annotations

import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"  # part of words in Persian, Hindi and others, and of emoji


def visible(text: str) -> str:
    r"""Return a text of several lines with its control characters as escapes, such as ``\x1b``."""
    return text if text.isprintable() else "".join(map(_shown, text))


def one_line(text: str) -> str:
    """Return a name as :func:`visible` does, its line breaks and tabs escaped too."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def _shown(letter: str) -> str:
    if letter in "\n\t" or letter in _JOINERS or unicodedata.category(letter) not in _HIDDEN:
        return letter
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")
