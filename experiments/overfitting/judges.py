"""The judges: what is measured of a live model that no criterion sees.

All draws are the same at each step, so that differences between steps are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from experiments.overfitting.things import JUDGING
from noiseprobe.core.progress import Silent
from noiseprobe.draws.fixed_batch import fixed_batch
from noiseprobe.pictures.likeness import training_prompts
from noiseprobe.pictures.photographs import read_photograph
from noiseprobe.pictures.sampling import Sampler
from noiseprobe.pictures.similarity import Clip, mean_similarity
from noiseprobe.training.fixed_losses import FixedLosses
from noiseprobe.training.methods.base import Method
from noiseprobe.training.objective import MicroBatches, Objective
from noiseprobe.training.views import Flips

DRAWS = 64  # of a loss that judges
JUDGING_SEED = 77_001  # of its draws, which no training has
DRAWN = 8  # pictures from training captions


class Judges:
    """Measures a live model by photographs and prompts; the model is left as it was.

    Args:
        ready: what `noiseprobe.training.preparing.prepare` returned.
        judging: photographs of the same thing that nothing trains on, and that are not tracked.
    """

    def __init__(self, ready: Any, judging: Sequence[Path]) -> None:
        self.concept, self.method = ready.concept, ready.method
        self.config, self.model = ready.config, ready.model
        self.judging = list(judging)
        self.clip = Clip.load()
        self.sampler = Sampler(self.model, self.config.sampling_steps, self.config.guidance)

    def by_pictures(self) -> dict[str, float]:
        """What 8 pictures from training captions tell.

        `clip_train`, `clip_held`, `clip_judge`: their mean CLIP similarity to the photographs that
        are trained on, held out, and neither. `near_train_clip`, `near_judge_clip`: the similarity
        to the nearest of four of them, as they are or mirrored, mean over pictures;
        `near_train_pixel`, `near_judge_pixel`: the distance to it, the root mean square over pixels
        in [0, 1].
        """
        captions = training_prompts(self.method.captions, DRAWN, self.config.sampling_seed)
        pictures = self.sampler.draw(captions, self.config.sampling_seed)
        seen, pixels = self.clip.embed_images(pictures), _pixels(pictures)
        found = {}
        for name, group in self.groups.items():
            found[f"clip_{name}"] = mean_similarity(seen, group.plain)
            if name != "held":
                found[f"near_{name}_clip"] = -nearest(-(seen @ group.seen.T).numpy())
                found[f"near_{name}_pixel"] = nearest(distances(pixels, group.pixels))
        return found

    def by_prompts(self) -> dict[str, float]:
        """What pictures from the validation prompts of places that no photograph shows tell.

        `prompt`: the mean CLIP similarity of each to its prompt, with the class noun in the place
        of the thing; `prompt_judge`: that to the photographs that are neither trained on nor held
        out; `prompt_train`: to those that are trained on.
        """
        prompts = self.concept.validation_prompts[:-1]  # the last names the first one's place
        asked = [prompt.format(self.method.thing) for prompt in prompts]
        pictures = self.sampler.draw(asked, self.config.sampling_seed + 1)
        seen = self.clip.embed_images(pictures)
        return {
            "prompt": float((seen * self._said).sum(1).mean()),
            "prompt_judge": mean_similarity(seen, self.groups["judge"].plain),
            "prompt_train": mean_similarity(seen, self.groups["train"].plain),
        }

    def by_loss(self) -> dict[str, float]:
        """`loss_judge`: the loss on the photographs that are neither trained on nor held out.

        The mean over 64 stratified draws of them as they are.
        """
        return {"loss_judge": float(self._losses().mean())}

    @cached_property
    def groups(self) -> dict[str, Group]:
        """The photographs that are trained on, held out if any are, and neither."""
        paths = {
            "train": self.concept.photographs,
            "held": self.concept.held_out,
            "judge": self.judging,
        }
        return {name: Group(self.clip, chosen) for name, chosen in paths.items() if chosen}

    @cached_property
    def _losses(self) -> FixedLosses:
        return losses_on(self.model, self.method, self.judging)

    @cached_property
    def _said(self) -> Tensor:
        prompts = self.concept.validation_prompts[:-1]
        noun = self.concept.class_noun
        return self.clip.embed_captions([prompt.format(noun) for prompt in prompts])


class Group:
    """Some photographs: their CLIP features, and beside them those of their mirror images.

    Photographs are mirrored in training, so that a mirrored copy is a copy.
    """

    def __init__(self, clip: Clip, paths: Sequence[Path]) -> None:
        photographs = [read_photograph(path) for path in paths]
        mirrored = [ImageOps.mirror(each) for each in photographs]
        self.plain = clip.embed_images(photographs)
        features = torch.stack([self.plain, clip.embed_images(mirrored)], 1)
        self.seen: Tensor = features.flatten(0, 1)
        both = [each for pair in zip(photographs, mirrored, strict=True) for each in pair]
        self.pixels = _pixels(both)


def losses_on(model: Any, method: Method, photographs: Sequence[Path]) -> FixedLosses:
    """The losses of one fixed stratified batch of photographs, seen as they are."""
    objective = Objective(model, photographs, Flips(model.resolution, flip=0.0))
    draws = objective.draws(JUDGING_SEED, "probe", len(method.captions))
    batch = fixed_batch(draws, DRAWS, "stratified")
    return FixedLosses(objective, method.captions, batch, MicroBatches.of(model, None, Silent()))


def nearest(far: NDArray[np.floating], among: int = JUDGING) -> float:
    """The distance to the nearest of `among` photographs, mean over pictures.

    The more photographs, the nearer is the nearest: where there are more than `among`, it is the
    mean over all choices of so many, and where there are fewer, of all of them.

    Args:
        far: distances (pictures, 2 · photographs); each photograph's mirror image follows it.
    """
    by_photograph = far.reshape(len(far), -1, 2).min(axis=2)
    count = by_photograph.shape[1]
    chosen = combinations(range(count), min(among, count))
    return float(np.mean([by_photograph[:, list(some)].min(axis=1).mean() for some in chosen]))


def distances(pictures: NDArray[np.float32], photographs: NDArray[np.float32]) -> Any:
    """Root mean square differences (N, M) of pictures (N, P) and photographs (M, P)."""
    return np.sqrt(np.square(pictures[:, None] - photographs[None]).mean(axis=2))


def _pixels(pictures: Sequence[Image.Image], side: int = 64) -> NDArray[np.float32]:
    """Pictures (N, side · side · 3) in [0, 1]."""
    small = [
        each.convert("RGB").resize((side, side), Image.Resampling.BICUBIC) for each in pictures
    ]
    return np.stack([np.asarray(each, np.float32).ravel() / 255 for each in small])
