"""How a long stage says where it is, and how it is asked to stop."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

from noiseprobe.core.errors import Interrupted


class Reporter(Protocol):
    """Is told of progress; the library itself prints nothing."""

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """A stage begins: `total` units, of which `done` were done before."""

    def advance(self, done: int, note: str = "") -> None:
        """`done` units of the current stage are done."""

    def note(self, message: str) -> None:
        """Something worth a line."""


class Silent:
    """A reporter that tells nobody."""

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """Say nothing."""

    def advance(self, done: int, note: str = "") -> None:
        """Say nothing."""

    def note(self, message: str) -> None:
        """Say nothing."""


STOPS = (signal.SIGINT, signal.SIGTERM)
STOP_SOON = threading.Event()
"""Set where Ctrl-C came outside of any loop that can end: the next loop ends at once."""


def stop_soon(number: int, frame: FrameType | None) -> None:
    """A signal handler for a worker, whose loops all end soon, however often it is asked."""
    STOP_SOON.set()


@contextmanager
def stop_request() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, so that a loop can end between two steps.

    A second one interrupts at once, except where all that a signal does is to set `STOP_SOON`, and
    in a process that a launcher such as `torchrun` started: that passes on what the process was
    sent already, and once more when another one has ended. There none interrupts any more after the
    first, so that what is said at the end is said.
    An `Interrupted` that leaves the block says which signal it was. Outside the main thread signals
    are left alone.
    """
    requested = threading.Event()
    if STOP_SOON.is_set():
        requested.set()
    if threading.current_thread() is not threading.main_thread():
        yield requested
        return
    if signal.getsignal(signal.SIGTERM) is stop_soon:
        yield STOP_SOON
        return
    came: list[int] = []
    launched = "LOCAL_RANK" in os.environ

    def ask(number: int, frame: FrameType | None) -> None:
        if requested.is_set() and not launched:
            raise KeyboardInterrupt
        came.append(number)
        requested.set()

    before = {number: signal.signal(number, ask) for number in STOPS}
    try:
        yield requested
    except Interrupted as error:
        error.by = came[0] if came else error.by
        raise
    finally:
        for number, handler in before.items():
            if not (came and launched):
                signal.signal(number, handler)
