"""What a case of the corpus is: files in a folder of its own, a command, and how it must end."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """Where a case makes its files, and what all cases may use.

    Attributes:
        folder: the case's own, empty; the command runs in it.
        shared: with `model`, a small Stable Diffusion; `photographs`; and `run`, a finished run.
    """

    folder: Path
    shared: Path

    @property
    def model(self) -> Path:
        """The small Stable Diffusion, to be read alone."""
        return self.shared / "model"

    @property
    def photographs(self) -> Path:
        """Four photographs, to be read alone."""
        return self.shared / "photographs"

    def copied(self, name: str) -> Path:
        """A copy of `model`, `photographs` or `run` that a case may change."""
        return Path(shutil.copytree(self.shared / name, self.folder / name))

    def file(self, name: str, content: bytes | str) -> Path:
        """A file with this content."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


Command = Sequence[object]
"""The words after `noiseprobe`."""


@dataclass(frozen=True)
class Case:
    """A bad input.

    Attributes:
        name: of its kind and what is bad, as `logs/a FIFO`.
        make: makes its files and gives the command.
        refused: what the one line on standard error must hold, where the input is refused; None
            where it is handled, with exit code 0.
        shown: what standard output and error together must hold.
        writes: files and folders that the command may make or change in the case's folder.
        hub: whether a hub id is named, so that the network may be asked.
    """

    name: str
    make: Callable[[Place], Command]
    refused: str | None = None
    shown: tuple[str, ...] = field(default=())
    writes: tuple[str, ...] = ()
    hub: bool = False
