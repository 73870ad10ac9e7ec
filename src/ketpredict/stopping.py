"""Work that ends when its caller is interrupted, in this thread and in others.

Python raises KeyboardInterrupt in the main thread alone, and anywhere. Two things go wrong with it.
A library may swallow it, and hand back half of what was asked for: :func:`passed_on` raises it
again. And threads that work for the interrupted caller know nothing of it, and would work on while
the interpreter goes down: they run by a :class:`Stop`, and ask it now and then by
:func:`check_stop`.
"""

from __future__ import annotations

import contextlib
import contextvars
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_that_raise: set[Any] = {signal.default_int_handler}
"""Handlers that do nothing but raise KeyboardInterrupt."""


class Stopped(KeyboardInterrupt):
    """Ends work in a thread whose caller was interrupted, or failed."""


class Stop:
    """Tells pieces of work in other threads that nobody waits for them any more.

    A piece that itself gives work to further threads passes the word on. In another process there
    is nothing to be told: who started it ends it.
    """

    def __init__(self) -> None:
        self._outer = _CURRENT.get()
        self._asked = threading.Event()
        self._changed = threading.Condition()
        self._running = 0

    def __reduce__(self) -> tuple[type[Stop], tuple[()]]:
        """Travel to another process as one that is never asked for."""
        return Stop, ()

    @property
    def asked(self) -> bool:
        """Whether the work shall end."""
        return self._asked.is_set() or (self._outer is not None and self._outer.asked)

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a function returns, which may ask by :func:`check_stop` whether to go on.

        Raises
        ------
        Stopped
            The work shall end before it has begun.
        """
        with self._changed:
            if self.asked:
                raise Stopped
            self._running += 1
        before = _CURRENT.set(self)
        try:
            return function(*arguments)
        finally:
            _CURRENT.reset(before)
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def ask(self) -> None:
        """Ask all pieces to end."""
        self._asked.set()

    def ask_and_wait(self) -> None:
        """Ask all pieces to end, and return when the last of them has."""
        self.ask()
        with self._changed:
            self._changed.wait_for(lambda: not self._running)


_CURRENT: contextvars.ContextVar[Stop | None] = contextvars.ContextVar("stop", default=None)


def check_stop() -> None:
    """End the work of this thread if its caller was interrupted.

    Raises
    ------
    Stopped
        It was.
    """
    stop = _CURRENT.get()
    if stop is not None and stop.asked:
        raise Stopped


@contextlib.contextmanager
def passed_on() -> Iterator[None]:
    """Raise at the end of the block what an interrupt raised in it, if it was swallowed there.

    An interrupt that comes while a library runs code of its own in a callback never leaves it, and
    a sampler may take it for the wish to have the draws so far.
    """
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    raised: list[BaseException] = []

    def remember(number: int, frame: FrameType | None) -> None:
        try:
            handler(number, frame)
        except BaseException as error:
            raised.append(error)
            raise

    if handler in _that_raise:
        _that_raise.add(remember)
    signal.signal(signal.SIGINT, remember)
    try:
        yield
    except Exception as error:
        if raised:
            raise raised[0] from error  # the interrupt, in whatever it was turned into
        raise
    finally:
        if signal.getsignal(signal.SIGINT) is remember:
            signal.signal(signal.SIGINT, handler)
        _that_raise.discard(remember)
    if raised:
        raise raised[0]


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Let an interrupt wait for the end of the block, for imports.

    A large library whose import was interrupted is half there, and stays unusable in this process.
    """
    handler = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if not callable(handler) or handler not in _that_raise or not in_main:
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            handler(signal.SIGINT, None)
