"""Run directories that were damaged or forged, and files that others say are checkpoints."""

import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.bad_inputs.cases import Case, Command, Place

Change = Callable[[Path], object]


class Evil:
    """What a pickle would run: it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.marker), "w")


def cases() -> Iterator[Case]:
    """Runs that were changed, to go on with and look at; then files for `probe --checkpoints`."""
    for name, (command, change, told) in _runs().items():
        # One that goes on says first what with, and holds the run against others.
        writes = ("run",) if name == "a state that would run code" else ()
        yield Case(f"checkpoints/{name}", _of_run(command, change), refused=told, writes=writes)
    yield Case("checkpoints/a list that names files elsewhere", _forged_list, writes=("run",))
    for name, (file, make, told) in _files().items():
        yield Case(f"checkpoints/{name}", _probing(file, make), refused=told)


def _of_run(command: str, change: Change) -> Callable[[Place], Command]:
    def made(place: Place) -> Command:
        run = place.copied("run")
        change(run)
        if command == "resume":
            return ["train", "--out", run, "--resume", "--steps", 3]
        return [command, run]

    return made


def _told(name: str, content: bytes | str) -> Change:
    """A file of a run with other content, which its list of files tells as well."""
    whole = content.encode() if isinstance(content, str) else content

    def change(run: Path) -> None:
        (run / name).write_bytes(whole)
        (run / "manifest.jsonl").unlink()

    return change


def _bytes(name: str, change: Callable[[bytes], bytes]) -> Change:
    def changed(run: Path) -> None:
        (run / name).write_bytes(change((run / name).read_bytes()))

    return changed


def _linked(name: str) -> Change:
    def change(run: Path) -> None:
        elsewhere = run.parent / "elsewhere"
        (run / name).rename(elsewhere)
        (run / name).symlink_to(elsewhere)

    return change


def _state(marker: str) -> Change:
    def change(run: Path) -> None:
        for name in ("state.pt", "state-before.pt"):
            torch.save({"step": 2, "x": Evil(run.parent / marker)}, run / name)
        (run / "manifest.jsonl").unlink()

    return change


def _runs() -> dict[str, tuple[str, Change, str]]:
    train = "traces/train/part-00000000.parquet"
    probe = "traces/probe/part-00000000.parquet"

    def half(content: bytes) -> bytes:
        return content[: len(content) // 2]

    return {
        "settings cut off": ("plot", _bytes("config.toml", half), "config.toml"),
        "settings of garbage": ("plot", _told("config.toml", b"\xff\xfe"), "config.toml"),
        "settings that are empty": ("resume", _told("config.toml", ""), ""),
        "settings with a truth value": ("plot", _told("config.toml", "steps = true"), "--steps"),
        "settings with an unknown key": ("resume", _told("config.toml", "magic = 1"), "magic"),
        "a status cut off": ("resume", _bytes("status.json", half), "status.json"),
        "a status that is a list": ("resume", _told("status.json", "[]"), "no object"),
        "a status of texts": (
            "resume",
            _told("status.json", '{"stage": 1, "step": "two"}'),
            "status.json",
        ),
        "a status of 9000 levels": (
            "resume",
            _told("status.json", "[" * 9000 + "]" * 9000),
            "status.json",
        ),
        "a training trace cut off": ("plot", _bytes(train, half), "part-00000000"),
        "a training trace of garbage": ("plot", _told(train, b"PAR1" + b"\xff" * 99), "part-0"),
        "a training trace of text": (
            "dvar-replay",
            _told(train, "step,loss\n1,2\n"),
            "training trace",
        ),
        "a probe trace cut off": ("analyze", _bytes(probe, half), "part-00000000"),
        "a probe trace of garbage": ("plot", _told(probe, b"\0" * 99), "part-0"),
        "a state that would run code": ("resume", _state("owned"), "state"),
        "a link for its figures": ("plot", _linked("figures"), "is a link"),
        "a link for its traces": ("probe", _linked("traces/probe"), "is a link"),
        "a link for its checkpoints": ("resume", _linked("checkpoints"), "is a link"),
        "no settings": ("plot", lambda run: (run / "config.toml").unlink(), "not a run"),
        "an environment that is a list": ("plot", _told("environment.json", "[]"), "environment"),
        "a series of checkpoints of garbage": (
            "probe",
            _told("checkpoints.json", "{"),
            "checkpoints.json",
        ),
        "a series of checkpoints of numbers": (
            "probe",
            _told("checkpoints.json", '{"checkpoints": [1], "unit": 3}'),
            "checkpoints.json",
        ),
        "a tracker that is a list": ("plot", _told("tracker.json", "[]"), "tracker.json"),
    }


def _forged_list(place: Place) -> Command:
    run = place.copied("run")
    precious = place.file("precious", "precious")
    with (run / "manifest.jsonl").open("a") as file:
        for path in ("../precious", str(precious), "traces/../../precious"):
            file.write(json.dumps({"path": path, "bytes": 1, "sha256": "0"}) + "\n")
    return ["verify", run, "--repair"]


def _probing(name: str, make: Change) -> Callable[[Place], Command]:
    def command(place: Place) -> Command:
        path = place.folder / "given" / name
        path.parent.mkdir()
        make(path)
        base = ("probe", "--model", place.model, "--concept", place.photographs)
        more = ("--caption", "a dog", "--settings", "timesteps", "--replicates", 1)
        return [*base, *more, "--checkpoints", path, "--out", place.folder / "r"]

    return command


def _pickle(content: bytes) -> Change:
    """An archive as torch.save makes one, with a pickle of these bytes."""

    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)

    return make


def _squeezed(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(300 << 20))


def _header(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


def _files() -> dict[str, tuple[str, Change, str]]:
    def content(value: bytes) -> Change:
        return lambda path: path.write_bytes(value)

    safe, pickled = "x-step00000010.safetensors", "x-step00000010.bin"
    ends = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,%d]}}'
    down = "unet.down_blocks.0.attentions.0.to_q.lora_A.weight"
    told = "x-step"
    return {
        "nothing": (safe, lambda path: None, "matches"),
        "an empty file": (safe, content(b""), told),
        "a header of garbage": (safe, content(_header(b"\xff" * 50)), told),
        "a header of 2^60 bytes": (safe, content(_header(b"{}", 2**60)), told),
        "a header of 20 MB": (safe, content(_header(b" " * (20 << 20))), told),
        "a header of 100,000 levels": (safe, content(_header(b"[" * 100_000)), told),
        "a header that is a list": (safe, content(_header(b"[]")), told),
        "a header of numbers": (safe, content(_header(b'{"a":1}')), told),
        "a shape of texts": (
            safe,
            content(_header(b'{"a":{"dtype":"F32","shape":["x"],"data_offsets":[0,0]}}')),
            told,
        ),
        "tensors beyond its end": (safe, content(_header(ends % 4000)), "cut"),
        "tensors of a text": (
            safe,
            content(_header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,"x"]}}')),
            told,
        ),
        "a FIFO": (safe, os.mkfifo, "matches"),
        "a link to /dev/zero": (safe, lambda path: path.symlink_to("/dev/zero"), "matches"),
        "a LoRA for another model": (
            safe,
            lambda path: save_file({down: torch.ones(4, 7)}, path),
            told,
        ),
        "a vector for a wider model": (
            safe,
            lambda path: save_file({"emb_params": torch.ones(1, 999)}, path),
            told,
        ),
        "a pickle that makes a file": (
            pickled,
            lambda path: torch.save({"<v>": Evil(path.parent.parent / "owned")}, path),
            told,
        ),
        "a pickle that makes a file, in the old format": (
            pickled,
            lambda path: torch.save(
                {"<v>": Evil(path.parent.parent / "owned")},
                path,
                _use_new_zipfile_serialization=False,
            ),
            told,
        ),
        "a pickle of garbage": (pickled, _pickle(b"\xff" * 99), told),
        "a pickle cut off": (pickled, _pickle(b"\x80\x02}q\0X\x03\0\0\0<v"), told),
        "a pickle of 300 MB, packed": (pickled, _squeezed, told),
        "an archive without a pickle": (pickled, _archive, told),
        "no archive": (pickled, content(b"PK\x03\x04" + b"\xff" * 99), told),
        "text by the name of weights": (pickled, content(b"hello"), told),
        "weights without a step": (
            "x.safetensors",
            lambda path: save_file({"emb_params": torch.ones(1, 8)}, path),
            "x.safetensors",
        ),
        "a name with escapes": (
            "\x1b[31mx-step00000010.safetensors",
            content(b""),
            r"\x1b[31mx-step00000010.safetensors",
        ),
    }


def _archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
