"""What frozen encoders made of photographs and captions, kept in the run directory.

An entry is a file of tensors that says what it depends on, and how its bytes add up. One that is
missing, damaged, or of something else is made anew: it never changes a result.
"""

import json
from dataclasses import dataclass
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from noiseprobe.core.files import written_whole
from noiseprobe.run.weight_files import order_metadata

_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Kept:
    """Tensors by name, and what else is told of them, of which JSON is made."""

    tensors: dict[str, Tensor]
    told: Any


class Cache:
    """Entries by name in a folder; until there is a folder, they are held back.

    Args:
        directory: the folder, which is made when something is written.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory
        self._waiting: dict[str, tuple[str, Kept]] = {}

    def taken(self, name: str, key: str) -> Kept | None:
        """The entry that was kept under `name` with this `key`, on the CPU; None if there is none.

        Raises nothing for a file that cannot be read.
        """
        if self.directory is None:
            return None
        try:
            with safe_open(self.directory / f"{name}.safetensors", "pt") as file:
                about = file.metadata() or {}
                if about.get("key") != key:
                    return None
                tensors = {each: file.get_tensor(each) for each in file.keys()}  # noqa: SIM118
                told = json.loads(about["told"])
        except (OSError, SafetensorError, KeyError, ValueError):
            return None
        return Kept(tensors, told) if about.get("sum") == _sum(tensors) else None

    def keep(self, name: str, key: str, kept: Kept) -> None:
        """Keep an entry under `name`, in the place of what was there."""
        if self.directory is None:
            self._waiting[name] = key, kept
            return
        tensors = {each: tensor.cpu().contiguous() for each, tensor in kept.tensors.items()}
        about = {"key": key, "sum": _sum(tensors), "told": json.dumps(kept.told)}
        with written_whole(self.directory / f"{name}.safetensors") as beside:
            save_file(tensors, beside, metadata=about)
            order_metadata(beside)

    def settle_in(self, directory: Path) -> None:
        """Write what was held back into `directory`, and keep there what comes."""
        self.directory = directory
        for name, (key, kept) in self._waiting.items():
            self.keep(name, key, kept)
        self._waiting = {}


def key_of(*parts: str | bytes) -> str:
    """What an entry depends on, in short: all `parts`, and the versions that compute it."""
    digest = blake2b(digest_size=16)
    versions = (version(each) for each in ("noiseprobe", "torch", "diffusers", "transformers"))
    for part in (*versions, *parts):
        content = part.encode() if isinstance(part, str) else part
        digest.update(f"{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()


@torch.no_grad()
def fingerprint(module: Any) -> str:
    """A module's weights and buffers in short, and the kind of their device.

    Names, shapes and types, and sums over the bits of all numbers and of every second one: as fast
    as memory is read.
    """
    lines = []
    for name, each in module.state_dict().items():
        bits = each.detach().contiguous().view(-1).view(_BITS[each.element_size()])
        sums = int(bits.sum(dtype=torch.int64)), int(bits[::2].sum(dtype=torch.int64))
        lines.append(f"{name} {tuple(each.shape)} {each.dtype} {sums}")
    kinds = sorted({each.device.type for each in module.parameters()})
    return key_of(*lines, *kinds)


def _sum(tensors: dict[str, Tensor]) -> str:
    digest = blake2b(digest_size=16)
    for name, each in sorted(tensors.items()):
        digest.update(f"{name} {tuple(each.shape)} {each.dtype}".encode())
        digest.update(each.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
