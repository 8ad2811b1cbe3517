"""How a long stage says where it is, and how it is asked to stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol


class Reporter(Protocol):
    """Is told of progress; the library itself prints nothing."""

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """A stage begins: `total` units, of which `done` were done before."""
        ...

    def advance(self, done: int, note: str = "") -> None:
        """`done` units of the current stage are done."""
        ...

    def note(self, message: str) -> None:
        """Something worth a line."""
        ...


class Silent:
    """A reporter that tells nobody."""

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """Say nothing."""

    def advance(self, done: int, note: str = "") -> None:
        """Say nothing."""

    def note(self, message: str) -> None:
        """Say nothing."""


STOP_SOON = threading.Event()
"""Set where Ctrl-C came outside of any loop that can end: the next loop ends at once."""


@contextmanager
def stop_request() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, so that a loop can end between two steps.

    A second Ctrl-C interrupts at once. Outside the main thread signals are left alone.
    """
    requested = threading.Event()
    if STOP_SOON.is_set():
        requested.set()
    if threading.current_thread() is not threading.main_thread():
        yield requested
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if requested.is_set():
            raise KeyboardInterrupt
        requested.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
