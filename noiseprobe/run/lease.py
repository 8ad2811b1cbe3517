"""One process at a time writes a run in a bucket, where no file system keeps a lock.

A process that holds a run has an object there, the lease, which it changes every few seconds. A
lease that has not changed for longer is of a process that is gone. Leases are numbered, and are
made on condition that there is none of that number: of two that would take over, one does. No clock
of another machine is trusted.
"""

import json
import os
import platform
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from noiseprobe.core.errors import Interrupted
from noiseprobe.core.progress import STOP_SOON
from noiseprobe.run.holding import InUse

BEAT_SECONDS = 10.0
"""A lease is changed so often."""

EXPIRES_SECONDS = 60.0
"""A lease that has not changed for so long is nobody's."""


class Lease:
    """The right to write a run, as long as nobody else has taken it over."""

    def __init__(self, files: Any, home: str, url: str) -> None:
        self.files, self.home, self.url = files, home, url
        self.number = 0
        self.about = {
            "id": uuid4().hex,
            "process": os.getpid(),
            "host": platform.node(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    def require(self) -> None:
        """Raise `InUse` if another process has taken the run over."""
        last = max(self._numbers(), default=0)
        if last > self.number or self._read(last).get("id") != self.about["id"]:
            raise InUse(
                f"'{self.url}' was taken over by {_owner(self._read(last))}, since this process "
                f"did not answer for {EXPIRES_SECONDS:g} s; that one goes on"
            )

    def acquire(self) -> None:
        """Take the lease, after waiting for one that nobody holds any more to expire.

        Raises `InUse` where another process holds it.
        """
        last = max(self._numbers(), default=0)
        if last:
            self._wait_for_end_of(last)
        try:
            self.number = last + 1
            self.files.pipe_file(self._path(self.number), self._beat(), mode="create")
        except FileExistsError:
            raise InUse(f"'{self.url}' is in use by another process; wait for it") from None
        self.require()
        for number in self._numbers():
            if number < self.number:
                with suppress(FileNotFoundError):
                    self.files.rm_file(self._path(number))
        self._keeper.start()

    def release(self) -> None:
        """Give the lease back."""
        self._ended.set()
        self._keeper.join()
        with suppress(Exception):  # then it expires
            if self._read(self.number).get("id") == self.about["id"]:
                self.files.rm_file(self._path(self.number))

    def _wait_for_end_of(self, number: int) -> None:
        before, since = self._read(number), time.monotonic()
        while before and time.monotonic() - since < EXPIRES_SECONDS:
            if STOP_SOON.wait(min(1.0, EXPIRES_SECONDS / 10)):
                raise Interrupted("stopped")
            now = self._read(number)
            if now and now != before:
                raise InUse(f"'{self.url}' is in use by {_owner(now)}; wait for it, or end it")
            before = now

    def _keep(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with suppress(Exception):  # the next one tells, or the next `require`
                self.files.pipe_file(self._path(self.number), self._beat())

    def _beat(self) -> bytes:
        return json.dumps(self.about | {"beat": uuid4().hex}).encode()

    def _numbers(self) -> list[int]:
        try:
            found = self.files.ls(self.home, detail=False)
        except FileNotFoundError:
            return []
        numbers = [re.search(r"/lease-(\d+)\.json$", each) for each in found]
        return [int(each[1]) for each in numbers if each]

    def _path(self, number: int) -> str:
        return f"{self.home}/lease-{number}.json"

    def _read(self, number: int) -> dict[str, Any]:
        try:
            told = json.loads(self.files.cat_file(self._path(number)))
            return told if isinstance(told, dict) else {"id": None}
        except FileNotFoundError:
            return {}
        except ValueError:
            return {"id": None}


@contextmanager
def leased(files: Any, home: str, url: str) -> Iterator[Lease]:
    """Hold the run that has its `home` there; raises `InUse` where another process holds it."""
    lease = Lease(files, home, url)
    lease.acquire()
    try:
        yield lease
    finally:
        lease.release()


def _owner(about: dict[str, Any]) -> str:
    if not about.get("host"):
        return "another process"
    return f"process {about.get('process')} on {about['host']} since {about.get('since')}"
