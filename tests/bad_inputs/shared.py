"""What all cases may use: a small model, photographs, and a finished run of both."""

import shutil
from pathlib import Path

from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import run_all
from tests.conftest import short


def share(folder: Path, model: Path, photographs: Path) -> Path:
    """Put them into `folder`, as `Place` has them."""
    shutil.copytree(model, folder / "model")
    shutil.copytree(photographs, folder / "photographs")
    settings = short(folder / "model", folder / "photographs")
    run_all(resolve(settings | {"steps": 2, "checkpoint_every": 2}), folder / "run")
    return folder
