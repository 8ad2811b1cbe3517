"""Jobs on runs that are in a bucket: each works in a folder of its node, and saves to the bucket.

It does so whenever the training has saved its state, so that another node can go on from there.
"""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

from noiseprobe.core import manifest
from noiseprobe.core.errors import UserError
from noiseprobe.core.files import HOST
from noiseprobe.core.progress import STOP_SOON, Reporter, Silent
from noiseprobe.run.bucket import Bucket, StoredRun
from noiseprobe.run.holding import InUse
from noiseprobe.run.lease import Lease, leased

SHARE = 0.1
"""Saving to a bucket takes at most that share of the time."""

SAVE_SECONDS = 60.0
"""So often what a probe or a measure has written is saved."""

TRIES = 6
"""At its end a job tries so often to save: for half a minute, beside what fsspec tries itself."""


def in_bucket(
    bucket: Bucket,
    scratch: str | None,
    name: Path,
    job: Callable[..., None],
    arguments: tuple[object, ...],
    reporter: Reporter | None = None,
) -> None:
    """Do a `job` on the run `name` of a bucket: `job(folder, *arguments, reporter=...)`.

    The folder is one of this node, in `scratch` (default: the folder for temporary files), and is
    removed at the end. However the job ends, what it saved is in the bucket. Where the run has the
    same job behind it, nothing is done.

    Raises:
        InUse: another process works on the run.
        UserError: as the job does, with the place in the bucket where it names the folder.
    """
    run = bucket.run(name)
    this = job.__name__, hashlib.sha256(repr(arguments).encode()).hexdigest()
    if this in run.read_index().done:
        return
    with leased(run.files, run.home, run.url) as lease, _work_folder(scratch) as place:
        folder = place / name.name
        folder.mkdir()
        run.begin(folder)
        before = _before(job.__name__, run.committed.done)
        saving = _Saving(run, lease, folder, reporter or Silent(), before)
        try:
            job(folder, *arguments, reporter=saving)
        except UserError as error:
            with suppress(UserError):
                saving.to_the_end()
            raise type(error)(str(error).replace(str(folder), run.url)) from None
        except BaseException:
            saving.to_the_end()
            raise
        saving.done = (*before, this)
        saving.to_the_end()


def _before(job: str, done: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The jobs that a run has behind it which do not depend on a `job`."""
    names = [name for name, _ in done]
    return done[: names.index(job)] if job in names else done


class _Saving:
    """A reporter that saves a run to its bucket between two steps, when there is something new."""

    def __init__(
        self,
        run: StoredRun,
        lease: Lease,
        folder: Path,
        reporter: Reporter,
        done: tuple[tuple[str, str], ...],
    ) -> None:
        self.done = done
        self.run, self.lease, self.folder, self.reporter = run, lease, folder, reporter
        self.state, self.manifest = self._seen()
        self.ended, self.took = time.monotonic(), 0.0

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """Tell it."""
        self.reporter.stage(name, total, done)

    def note(self, message: str) -> None:
        """Tell it."""
        self.reporter.note(message)

    def advance(self, done: int, note: str = "") -> None:
        """Tell it, and save what is to be saved."""
        self.reporter.advance(done, note)
        since = time.monotonic() - self.ended
        if since < self.took * (1 - SHARE) / SHARE:
            return
        state, told = self._seen()
        if state != self.state or (told != self.manifest and since > SAVE_SECONDS):
            self._try(state, told)

    def _try(self, state: int, told: int) -> None:
        """Save; where that fails the job goes on, and the next time is soon."""
        began = time.monotonic()
        try:
            self._save()
            self.state, self.manifest = state, told
        except InUse:
            raise
        except Exception as error:
            self.reporter.note(f"warning: {self.run.url}: not saved yet: {_named(error)}")
        self.ended = time.monotonic()
        self.took = self.ended - began

    def to_the_end(self) -> None:
        """Save what there is, and settle it; raises `UserError` where that cannot be done."""
        for tries in range(TRIES):
            try:
                self._save()
                self.run.settle()
                return
            except InUse:
                raise
            except Exception as error:
                if tries == TRIES - 1 or STOP_SOON.is_set():
                    raise UserError(
                        f"'{self.run.url}' could not be written: {_named(error)}; the same command "
                        "goes on from what was saved before"
                    ) from error
            STOP_SOON.wait(2.0**tries)

    def _save(self) -> None:
        self.lease.require()
        self.run.push(self.folder, self.done)

    def _seen(self) -> tuple[int, int]:
        """What tells that there is a new state, and that anything is new."""
        files = self.folder / "state.pt", self.folder / manifest.NAME
        state, told = (each.stat().st_mtime_ns if each.is_file() else 0 for each in files)
        return state, told


@contextmanager
def _work_folder(scratch: str | None) -> Iterator[Path]:
    """A folder of this process; those of processes of this node that were killed are removed."""
    above = Path(scratch or tempfile.gettempdir())
    try:
        above.mkdir(parents=True, exist_ok=True)
        for left in above.glob(f"noiseprobe-{escape(HOST)}-*"):
            number = left.name.removeprefix(f"noiseprobe-{HOST}-").partition("-")[0]
            if number.isdecimal() and left.stat().st_uid == os.getuid():
                _remove_if_left(left, int(number))
        place = tempfile.mkdtemp(prefix=f"noiseprobe-{HOST}-{os.getpid()}-", dir=above)
    except OSError as error:
        raise UserError(
            f"scratch: '{above}' cannot be written to ({error.strerror}); name another folder"
        ) from None
    try:
        yield Path(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _remove_if_left(folder: Path, process: int) -> None:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        shutil.rmtree(folder, ignore_errors=True)
    except (OverflowError, PermissionError):
        return


def _named(error: Exception) -> str:
    line = str(error).strip().partition("\n")[0]
    return line or type(error).__name__
