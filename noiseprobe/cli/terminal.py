"""What a person sees while a command runs: bars on a terminal, plain lines elsewhere."""

import sys
import time
from datetime import timedelta

LINE_EVERY_SECONDS = 15.0


class Terminal:
    """Reports on standard error: a bar per stage where it is a terminal, else a line at times."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self.console = Console(stderr=True)
        self.bars = Progress(
            TextColumn("{task.description:<9}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.name, self.total = "", 0
        self._task: object = None
        self._said = self._began = 0.0
        self._done_before = 0

    def __enter__(self) -> "Terminal":
        self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """Begin a bar, or say that the stage begins."""
        self.name, self.total = name, total
        self._said = self._began = time.monotonic()
        self._done_before = done
        self._task = self.bars.add_task(name, total=total, completed=done, note="")
        if not self.console.is_terminal:
            print(f"{name}: {done} of {total} done", file=sys.stderr)

    def advance(self, done: int, note: str = "") -> None:
        """Move the bar, or say a line if none was said for a while."""
        if self.console.is_terminal:
            self.bars.update(self._task, completed=done, note=note)  # type: ignore[arg-type]
        elif time.monotonic() - self._said > LINE_EVERY_SECONDS:
            self._said = time.monotonic()
            left = self._left(done)
            print(f"{self.name}: {done} of {self.total}, {note}{left}", file=sys.stderr)

    def _left(self, done: int) -> str:
        """About how long the stage still takes, if that can be told yet."""
        new = done - self._done_before
        if new < 1:
            return ""
        seconds = (time.monotonic() - self._began) / new * (self.total - done)
        return f", {timedelta(seconds=round(seconds))} left"

    def note(self, message: str) -> None:
        """Say one line."""
        self.console.print(message, highlight=False, markup=False, soft_wrap=True)
