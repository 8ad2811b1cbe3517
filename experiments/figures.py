"""Draw the figures that the README shows, on the bundled model and concept.

    python -m experiments.figures

The runs are kept in `runs/figures` and `runs/figure-pick`; where they are already there, only the
figures are drawn again. The second one is a LoRA whose checkpoints are then looked at as files that
another trainer left, on one photograph that was held out.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from noiseprobe.core.files import written_whole
from noiseprobe.pictures.photographs import photographs_in
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import resume_all, run_all
from noiseprobe.training.concept import BUNDLED_CONCEPTS

RUN, PICK = Path("runs") / "figures", Path("runs") / "figure-pick"
FIGURES = Path(__file__).parents[1] / "figures"
WEIGHTS = "pytorch_lora_weights.safetensors"
CAPTION = "a photo of sks cup"
EVERY, STEPS = 20, 300


def main() -> None:
    """Run, draw, copy into `figures/`."""
    begun = (RUN / "config.toml").is_file()
    summary = resume_all(RUN) if begun else run_all(resolve({}), RUN)
    for drawn in map(Path, summary["figures"]):
        with written_whole(FIGURES / drawn.name) as beside:
            beside.write_bytes(drawn.read_bytes())
    pick_from_files()


def pick_from_files() -> None:
    """Train a LoRA on four photographs, keep its files alone, and pick among them by the fifth."""
    photographs, held_out, files = PICK / "photos", PICK / "held-out", PICK / "out"
    if not files.exists():
        *trained_on, other = photographs_in(BUNDLED_CONCEPTS / "banded-cup")
        for folder, chosen in ((photographs, trained_on), (held_out, [other])):
            folder.mkdir(parents=True, exist_ok=True)
            for photograph in chosen:
                shutil.copy(photograph, folder)
        words = ["--method", "dreambooth-lora", "--steps", STEPS, "--stop", "none"]
        words += ["--no-train-word", "--checkpoint-every", EVERY, "--instance-prompt", CAPTION]
        train = ["train", "--concept", photographs, "--class", "cup", *words]
        call([*train, "--out", PICK / "training"])
        beside = PICK / "beside"
        beside.mkdir()
        for step in range(EVERY, STEPS + 1, EVERY):
            weights = PICK / "training" / "checkpoints" / f"step-{step:08}" / WEIGHTS
            shutil.copy(weights, beside / f"cup-step{step:08}.safetensors")
        beside.rename(files)
    given = ["--concept", photographs, "--caption", CAPTION, "--validation", held_out]
    judged = PICK / "judged"
    if not judged.exists():
        call(["pick", "--checkpoints", f"{files}/*.safetensors", *given, "--out", judged])
    call(["pick", judged, "--plot", FIGURES / "10-pick.png"])


def call(words: Sequence[object]) -> None:
    """Run a command of noiseprobe; raises `CalledProcessError` where it fails."""
    command = [sys.executable, "-m", "noiseprobe", *map(str, words)]
    subprocess.run(command, check=True)  # nosec B603 # our own words


if __name__ == "__main__":
    main()
