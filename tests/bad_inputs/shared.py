"""What all cases may use: a small model, photographs, and a finished run of both."""

import os
from pathlib import Path


def made(folder: Path) -> Path:
    """Put them into `folder`, as `Place` has them; kept between calls where the folder is named.

    `BAD_INPUTS_SHARED` names one, for whoever works on the corpus.
    """
    kept = os.environ.get("BAD_INPUTS_SHARED")
    place = Path(kept) if kept else folder / "shared"
    if not (place / "run" / "summary.json").is_file():
        from noiseprobe.run.resolving import resolve
        from noiseprobe.stages.pipeline import run_all
        from tests.conftest import four_photographs, short, small_stable_diffusion

        small_stable_diffusion(place / "model")
        four_photographs(place / "photographs")
        settings = short(place / "model", place / "photographs")
        run_all(resolve(settings | {"steps": 2, "checkpoint_every": 2}), place / "run")
    return place
