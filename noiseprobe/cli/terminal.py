"""What a person sees while a command runs: bars on a terminal, plain lines elsewhere."""

import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from noiseprobe.core.words import visible

if TYPE_CHECKING:
    from rich.progress import TaskID

LINE_EVERY_SECONDS = 15.0


class Terminal:
    """Reports on standard error: a bar per stage where it is a terminal, else a line at times."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self.console = Console(stderr=True, emoji=False)
        self.bars = Progress(
            TextColumn("{task.description:<9}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            TextColumn("{task.fields[note]}", markup=False),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.name, self.total, self.done = "", 0, 0
        self._task: TaskID | None = None
        self._said = self._began = 0.0
        self._done_before = 0

    def __enter__(self) -> "Terminal":
        self.bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self._end()
        self.bars.stop()

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """End the stage before, and begin a bar, or say that the stage begins."""
        self._end()
        self.name, self.total, self.done = visible(name), total, done
        self._said = self._began = time.monotonic()
        self._done_before = done
        self._task = self.bars.add_task(self.name, total=total, completed=done, note="", left="")
        if not self.console.is_terminal:
            print(f"{self.name}: {done} of {total} done", file=sys.stderr)

    def advance(self, done: int, note: str = "") -> None:
        """Move the bar; or say a line after the first unit, and then if none was for a while."""
        first = self.done == self._done_before < done
        self.done, left, told = done, self._left(done), visible(note)
        if self._task is not None:
            self.bars.update(self._task, completed=done, note=told, left=left)
        long_ago = time.monotonic() - self._said > LINE_EVERY_SECONDS
        if not self.console.is_terminal and (first or long_ago) and done < self.total:
            self._said = time.monotonic()
            parts = [f"{self.name}: {done} of {self.total}", told, left]
            print(", ".join(part for part in parts if part), file=sys.stderr)

    def _end(self) -> None:
        """Let the bar end where the work did, which a criterion may have ended early."""
        if self._task is not None and self.done:
            self.bars.update(self._task, total=self.done, completed=self.done, left="")
            if not self.console.is_terminal and self.done < self.total:
                print(f"{self.name}: ended after {self.done} of {self.total}", file=sys.stderr)
        self._task = None

    def _left(self, done: int) -> str:
        """About how long the stage still takes, if that can be told yet."""
        new = done - self._done_before
        if new < 1 or done >= self.total:
            return ""
        seconds = (time.monotonic() - self._began) / new * (self.total - done)
        return f"{timedelta(seconds=round(seconds))} left"

    def note(self, message: str) -> None:
        """Say one line."""
        self.console.print(visible(message), highlight=False, markup=False, soft_wrap=True)
