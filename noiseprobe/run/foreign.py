"""Checkpoints that other trainers left, in the order of their steps.

Which there are is told by headers and names alone: no weight is loaded, and nothing here imports
torch.
"""

import glob
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from noiseprobe.core.errors import UserError
from noiseprobe.core.files import write_json
from noiseprobe.core.reading import json_of
from noiseprobe.run.foreign_files import FLAG, Found, is_second, is_state, look_at
from noiseprobe.run.weight_files import SAFE

NAME = "checkpoints.json"
"""In a run directory, of the file that says which checkpoints it is about."""


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint.

    Attributes:
        step: after how many steps, or epochs.
        path: the file or folder; of step 0, the base model, what it is called.
        files: what of it is loaded, each with its kind (`noiseprobe.run.foreign_files.KINDS`);
            nothing for the base model.
        text: whether anything of a text encoder is in it.
    """

    step: int
    path: Path
    files: tuple[tuple[Path, str], ...] = ()
    text: bool = False


@dataclass(frozen=True)
class Series:
    """Checkpoints of one training, in the order of their steps, the base model first.

    Attributes:
        checkpoints: one or more beside the base model.
        unit: what is counted: `step`, or `epoch` where not every file says its step.
        captions: of the photographs; empty: each has its own, in a file beside it.
        word: the new word that embeddings teach; None where none is taught.
        notes: what a person should know of how they were found.
    """

    checkpoints: tuple[Checkpoint, ...]
    unit: str = "step"
    captions: tuple[str, ...] = ()
    word: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> list[int]:
        """Of all checkpoints."""
        return [each.step for each in self.checkpoints]

    @property
    def kinds(self) -> set[str]:
        """Of all files."""
        return {kind for each in self.checkpoints for _, kind in each.files}

    def at(self, step: int) -> Checkpoint:
        """The checkpoint of a step."""
        return next(each for each in self.checkpoints if each.step == step)

    def write(self, directory: Path) -> None:
        """Record the series in a run directory."""
        rows = [
            {
                "step": each.step,
                "path": str(each.path),
                "files": [[str(file), kind] for file, kind in each.files],
                "text": each.text,
            }
            for each in self.checkpoints
        ]
        about = {"unit": self.unit, "captions": list(self.captions), "word": self.word}
        write_json(directory / NAME, about | {"checkpoints": rows})

    @classmethod
    def read(cls, directory: Path) -> "Series | None":
        """What `write` recorded; None in a run that trained its checkpoints itself."""
        file = directory / NAME
        if not file.is_file():
            return None
        try:
            said: dict[str, Any] = json_of(file)
            checkpoints = tuple(
                Checkpoint(
                    int(row["step"]),
                    Path(row["path"]),
                    tuple((Path(path), str(kind)) for path, kind in row["files"]),
                    bool(row["text"]),
                )
                for row in said["checkpoints"]
            )
            return cls(checkpoints, said["unit"], tuple(said["captions"]), said["word"])
        except UserError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"'{file}' is damaged ({error!r}); probe the files anew") from error


def find(given: Sequence[str], base: str) -> Series:
    """The series of the checkpoints that are `given`, on the model `base`.

    Args:
        given: patterns as a shell has them, files, and folders: of a folder, the checkpoints in it
            or, where there are none, itself.
        base: what the model is called that they were trained on, which is step 0.

    Raises:
        UserError: there is none; one is damaged or not supported; one does not say its step or
            epoch, or two say the same one.
    """
    notes: list[str] = []
    found = _distinct(each for text in given for each in _matched(text, notes))
    if not found:
        told = ", ".join(given)
        raise UserError(
            f"{FLAG}: no LoRA, embedding, part or model matches '{told}'; check the path, and put "
            "a pattern in quotes"
        )
    unit = _unit(found)
    by_step = _by_step(found, unit, notes)
    if unit == "epoch":
        notes.append("no step is said in these checkpoints: what is shown as steps are epochs")
        if by_step[0].step == 0:  # counted from 0 there
            by_step = [replace(each, step=each.step + 1) for each in by_step]
            notes.append("their epochs are counted from 0; here the first is 1")
    if by_step[0].step != 0:
        by_step.insert(0, Checkpoint(0, Path(base)))
    return Series(tuple(by_step), unit, notes=tuple(notes))


def _matched(text: str, notes: list[str]) -> Iterator[Found]:
    """The checkpoints that one pattern, file or folder means."""
    path = Path(text).expanduser()
    if path.is_dir():
        inside = [each for each in map(look_at, _own(path)) if each]
        numbered = [each for each in inside if each.told]
        whole = None if numbered else look_at(path)
        notes += [
            f"left out, for it says no step: {each.path}" for each in inside if not each.told
        ] * bool(numbered)
        yield from [whole] if whole else numbered or inside
        return
    if path.is_file():
        found = look_at(path)
        if found is None:
            raise UserError(
                f"{FLAG}: '{text}' is no LoRA, embedding, part or model that is known; give others"
            )
        yield found
        return
    for each in sorted(glob.glob(str(path), recursive=True)):
        if (found := look_at(Path(each))) is not None:
            yield found


def _own(folder: Path) -> list[Path]:
    return [each for each in sorted(folder.glob("*")) if not each.name.startswith(".")]


def _distinct(found: Iterable[Found]) -> list[Found]:
    """Each once, and files for a second text encoder with those that they lie beside."""
    by_path = {each.path.resolve(): each for each in found}
    return [
        replace(each, path=path, files=tuple((file.resolve(), kind) for file, kind in each.files))
        for path, each in by_path.items()
        if not is_second(path)
    ]


def _unit(found: Sequence[Found]) -> str:
    for unit in ("step", "epoch"):
        if all(unit in each.told for each in found):
            return unit
    silent = [each for each in found if not each.told] or [
        each for each in found if "step" not in each.told
    ]
    example = silent[0]
    how = "its epoch alone, and others a step" if example.told else "no step"
    raise UserError(
        f"{FLAG}: '{example.path}' says {how}, neither in its metadata nor its name; leave it out, "
        f"or name it as {example.path.stem}-step00000100"
    )


def _by_step(found: Sequence[Found], unit: str, notes: list[str]) -> list[Checkpoint]:
    of_step: dict[int, Found] = {}
    for each in sorted(found, key=lambda each: (each.told[unit], len(each.path.name))):
        before = of_step.setdefault(each.told[unit], each)
        if before is each:
            continue
        if (word := _word_beside_state(before, each)) is not None:
            of_step[each.told[unit]] = word
            continue
        if not _same(before.path, each.path):
            raise UserError(
                f"{FLAG}: '{before.path}' and '{each.path}' are both of {unit} "
                f"{each.told[unit]}; give checkpoints of one training, each once"
            )
        notes.append(f"left out, for it is the same as {before.path}: {each.path}")
    return [Checkpoint(step, each.path, each.files, each.text) for step, each in of_step.items()]


def _word_beside_state(one: Found, other: Found) -> Found | None:
    """Of a word and accelerate's state of the same step in the same folder, which has it too, the
    word; None for any other two.
    """
    states = [any(is_state(file) for file, _ in each.files) for each in (one, other)]
    if one.path.parent != other.path.parent or sum(states) != 1:
        return None
    return other if states[0] else one


def _same(one: Path, other: Path) -> bool:
    """Whether two files have the same weights, whatever they say of themselves."""
    if not all(each.is_file() and each.suffix.lower() in SAFE for each in (one, other)):
        return False
    with one.open("rb") as first, other.open("rb") as second:
        for opened in (first, second):
            opened.seek(int.from_bytes(opened.read(8), "little"), 1)
        while chunk := first.read(2**20):
            if chunk != second.read(2**20):
                return False
        return not second.read(1)
