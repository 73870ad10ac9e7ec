"""The console of the command line: words as they are, no control characters, no markup."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from ketpredict.visible import visible


class PlainConsole(Console):
    """A console that takes every word literally: a name in brackets is a name in brackets."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text, such as a cell of a table, as it may be shown."""
        return super().render_str(visible(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Return what is written of anything; of a text with something to hide, in one style."""
        if isinstance(renderable, Text) and visible(renderable.plain) != renderable.plain:
            renderable = Text(visible(renderable.plain), renderable.style)
        return super().render(renderable, options)

    def on_broken_pipe(self) -> None:
        """Leave a closed pipe to the command line."""
        raise
