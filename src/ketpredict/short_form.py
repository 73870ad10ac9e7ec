"""Values with tables and arrays in them, shown in a few lines at a prompt and in a notebook."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping
from typing import Any

_WIDEST = 72
_MOST_NAMES = 6
_FEW = 4


class ShortForm:
    """A dataclass that shows what it holds, a line for each field, and never all of it.

    Its fields stay what they are: ``value.field`` shows the whole of one.
    """

    def _headline(self) -> str:
        """Return what stands first: the name of the class, or a sentence that says more."""
        return type(self).__name__

    def _lines(self) -> list[tuple[str, str]]:
        return [
            (field.name, in_short(getattr(self, field.name)))
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
            if not field.name.startswith("_")
        ]

    def __repr__(self) -> str:
        """Return the headline and a line for each field."""
        lines = self._lines()
        width = max((len(name) for name, _ in lines), default=0)
        return "\n".join([self._headline(), *(f"  {n:<{width}}  {text}" for n, text in lines)])

    def _repr_html_(self) -> str:
        """Return the same as a table, for notebooks."""
        rows = "".join(
            f'<tr><th scope="row" style="text-align:left">{html.escape(name)}</th>'
            f'<td style="text-align:left">{html.escape(text)}</td></tr>'
            for name, text in self._lines()
        )
        headline = html.escape(self._headline())
        return f'<table><caption style="text-align:left">{headline}</caption>{rows}</table>'


def in_short(value: Any) -> str:
    """Return a value in one line: tables and arrays by their size, long texts cut."""
    if isinstance(value, ShortForm):
        return value._headline()
    if hasattr(value, "columns") and hasattr(value, "shape"):
        rows = "1 row" if value.shape[0] == 1 else f"{value.shape[0]:,} rows"
        return f"table of {rows}: {_names(value.columns)}"
    if getattr(value, "ndim", None) and hasattr(value, "dtype"):
        if 0 < value.size <= _FEW:
            return " ".join(str(value.round(4) if value.dtype.kind == "f" else value).split())
        return f"array of {' x '.join(f'{size:,}' for size in value.shape)} ({value.dtype})"
    if isinstance(value, Mapping) and value:
        return f"{len(value)} by name: {_names(value)}"
    if isinstance(value, (list, tuple)) and len(repr(value)) > _WIDEST:
        if all(isinstance(item, str) and len(item) < _WIDEST // 2 for item in value):
            return f"{len(value)}: {_names(value)}"
        return f"{len(value)} of {type(value[0]).__name__}"
    if dataclasses.is_dataclass(value) and len(repr(value)) > _WIDEST:
        return type(value).__name__
    text = " ".join(str(value).split()) if isinstance(value, str) else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _names(names: Any) -> str:
    """Return the first names of many."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - _MOST_NAMES} more" if len(listed) > _MOST_NAMES else ""
    text = ", ".join(listed[:_MOST_NAMES])
    return (text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…") + more
