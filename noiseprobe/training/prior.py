"""Prior preservation: pictures of the class, which a model should not forget (Ruiz et al. 2022).

The pictures come from a folder, with captions of their own if it has a `captions.txt`, and what the
folder lacks is drawn by the model itself before training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from noiseprobe.core.errors import Interrupted, UserError
from noiseprobe.core.files import written_whole
from noiseprobe.core.progress import Reporter, stop_request
from noiseprobe.core.reading import text_of
from noiseprobe.pictures.photographs import photographs_in
from noiseprobe.run.settings import RunConfig
from noiseprobe.training.concept import Concept

if TYPE_CHECKING:
    from torch import Tensor

    from noiseprobe.draws.draws import Batch
    from noiseprobe.pictures.sampling import Sampler
    from noiseprobe.training.objective import Objective

CAPTIONS_NAME = "captions.txt"
OWN_FOLDER = "class-images"
AT_ONCE = 8  # pictures drawn between two looks at Ctrl-C


@dataclass(frozen=True)
class ClassImages:
    """A folder of class images: those there, their captions, and how many are still to be drawn."""

    folder: Path
    paths: tuple[Path, ...]
    captions: tuple[str, ...]
    prompt: str
    missing: int


def find_class_images(config: RunConfig, concept: Concept, run: Path | None) -> ClassImages:
    """What the folder of class images holds; nothing is drawn.

    The folder is `class_images` of `config`, else one in the directory `run`, else (None) none yet.
    One with a `captions.txt`, a line per image in the order of their names, is taken as it is.
    Raises `UserError` for a folder that lacks images without a prompt to draw them with, or whose
    captions are not as many as its images.
    """
    prompt = config.class_prompt or f"a photo of a {concept.class_noun}"
    wanted = config.num_class_images
    if config.class_images is None:
        folder = run / OWN_FOLDER if run else Path(OWN_FOLDER)
        paths = photographs_in(folder) if run and folder.is_dir() else ()
        return ClassImages(folder, paths, (prompt,) * wanted, prompt, wanted - len(paths))
    folder = Path(config.class_images)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--class-images: '{folder}' is a file; give a folder")
    paths = photographs_in(folder) if folder.is_dir() else ()
    captions = folder / CAPTIONS_NAME
    if captions.exists():
        lines = _lines_of(captions)
        if len(lines) != len(paths) or not paths:
            raise UserError(
                f"--class-images: {captions} has {len(lines)} lines for {len(paths)} images; give "
                "one caption per image, in the order of their names"
            )
        return ClassImages(folder, paths, tuple(lines), prompt, 0)
    if len(paths) < wanted and config.class_prompt is None:
        raise UserError(
            f"--class-prompt: '{folder}' has {len(paths)} of {wanted} class images, and there is "
            f"no prompt to draw the others; add e.g. --class-prompt '{prompt}', or set "
            "--num-class-images"
        )
    kept = paths[:wanted]
    return ClassImages(folder, kept, (prompt,) * wanted, prompt, wanted - len(kept))


def _lines_of(captions: Path) -> list[str]:
    try:
        return text_of(captions).splitlines()
    except UnicodeDecodeError as error:
        raise UserError(
            f"--class-images: {captions} is no text; write one caption per line"
        ) from error


def draw_class_images(
    images: ClassImages, sampler: "Sampler", seed: int, reporter: Reporter
) -> tuple[Path, ...]:
    """Draw what is missing; the paths of all, in the order of their captions.

    Pictures depend on `seed` and their number alone, so that it goes on where it was cut off.
    Raises `Interrupted` on Ctrl-C, and `UserError` where one cannot be drawn.
    """
    from noiseprobe.pictures.sampling import BrokenPicture

    have, total = len(images.paths), len(images.paths) + images.missing
    if not images.missing:
        return images.paths
    reporter.stage("drawing class images", total, have)
    paths = list(images.paths)
    with stop_request() as stop:
        for first in range(have, total, AT_ONCE):
            if stop.is_set():
                raise Interrupted(
                    f"stopped with {len(paths)} of {total} class images in {images.folder}; "
                    "the same command with --out RUN --resume goes on"
                )
            count = min(AT_ONCE, total - first)
            try:
                drawn = sampler.draw([images.prompt] * count, seed, first=first)
            except BrokenPicture as error:
                raise UserError(
                    f"--class-images: {error}; give a folder that has them, or try --precision fp32"
                ) from error
            for number, picture in enumerate(drawn, first):
                # Sorted after what a person may have put there.
                path = images.folder / f"zz-drawn-{number:05d}.png"
                with written_whole(path) as beside:
                    picture.save(beside, "PNG")
                paths.append(path)
            reporter.advance(len(paths), images.prompt)
    return tuple(paths)


class Prior:
    """The prior's part in the training loss: `weight` · the mean loss on class images, added."""

    def __init__(self, objective: "Objective", captions: Sequence[str], weight: float) -> None:
        self.objective = objective
        self.captions = captions
        self.weight = weight

    def captions_of(self, batch: "Batch") -> list[str]:
        """The caption of each sample: that of its own image."""
        return [self.captions[image] for image in batch.images]

    def losses(self, batch: "Batch") -> "Tensor":
        """The loss (B,) of each sample under its own image's caption, not weighted."""
        return self.objective.losses(batch, self.captions_of(batch))
