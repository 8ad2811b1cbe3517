"""What was measured on a device, kept in a file by parts, so that one can be measured again."""

import json
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from experiments.bench.measured import Row
from noiseprobe.core.files import write_json

STEM = "results-"
LIBRARIES = ("noiseprobe", "torch", "diffusers", "transformers", "peft", "numpy", "pandas")


@dataclass(frozen=True)
class Part:
    """What was found of a part: its rows, what was left out, and how and when."""

    rows: list[Row]
    left_out: list[str]
    seconds: float
    about: dict[str, Any]

    def document(self) -> dict[str, Any]:
        """What is written."""
        own = {"seconds": round(self.seconds, 1), "left_out": self.left_out}
        return self.about | own | {"rows": [row.document() for row in self.rows]}

    @classmethod
    def read(cls, document: dict[str, Any]) -> "Part":
        """The part of what `document` gave."""
        rows = [Row.read(each) for each in document["rows"]]
        kept = ("rows", "left_out", "seconds")
        about = {key: each for key, each in document.items() if key not in kept}
        return cls(rows, document["left_out"], document["seconds"], about)


def about_this(device: torch.device, arguments: Sequence[str]) -> dict[str, Any]:
    """Machine, versions, date and command, which are those of a part."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "command": " ".join(["python -m experiments.bench", *arguments]),
        "commit": _commit(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else processor(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version()} | dict(map(_installed, LIBRARIES)),
    }


def processor() -> str:
    """The name of the CPU, as far as the system tells."""
    told = Path("/proc/cpuinfo")
    if told.is_file():
        for line in told.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def file_of(folder: Path, device: torch.device, size: str) -> Path:
    """Where the results of a device are; those of the least size are not taken for others."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    name = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return folder / f"{STEM}{name}{'-tiny' if size == 'tiny' else ''}.json"


def read(file: Path) -> dict[str, Part]:
    """The parts that a file has; none where there is no file."""
    if not file.is_file():
        return {}
    parts = json.loads(file.read_text(encoding="utf-8"))["parts"]
    return {name: Part.read(each) for name, each in parts.items()}


def write(file: Path, parts: dict[str, Part]) -> None:
    """Write the parts, in their order."""
    from experiments.bench.parts import PARTS

    file.parent.mkdir(parents=True, exist_ok=True)
    ordered = {name: parts[name].document() for name in PARTS if name in parts}
    write_json(file, {"parts": ordered})


def _installed(library: str) -> tuple[str, str | None]:
    try:
        return library, version(library)
    except PackageNotFoundError:
        return library, None


def _commit() -> str | None:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        told = subprocess.run(  # nosec B603 # our own words
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return told.stdout.strip()
