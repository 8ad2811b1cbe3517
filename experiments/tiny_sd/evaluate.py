"""What the model reaches: every figure of its card, measured and written as JSON."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import binomtest, mannwhitneyu
from torch import Tensor

from experiments.tiny_sd.backgrounds import BACKGROUNDS, CLAUSES
from experiments.tiny_sd.classifier import (
    CLASSES,
    EVERYTHING,
    Classifier,
    accuracy,
    labels,
    right,
)
from experiments.tiny_sd.concepts import every
from experiments.tiny_sd.model import RESOLUTION
from experiments.tiny_sd.schedule import hardware
from experiments.tiny_sd.shapes import SHAPES
from experiments.tiny_sd.train_vae import pixels
from experiments.tiny_sd.world import COLOUR_NAMES, TEXTURES, Scenes, draw_scenes
from noiseprobe.core.files import write_json
from noiseprobe.pictures.similarity import Clip, mean_similarity, mean_similarity_within

HELD_OUT_SEED = 1001  # scenes that neither the model nor the classifier has seen
STEPS, GUIDANCE = 25, 4.0
WARM_UP = 5  # rounds of the timing


def evaluate(
    pipeline: StableDiffusionPipeline,
    classifier: Classifier,
    directory: Path,
    clip: Path,
    training: dict[str, Any],
    samples: int = 512,
) -> dict[str, Any]:
    """Measure the model in `directory`, write `evaluation.json` there, and return it.

    `clip` holds the judge, which is measured as well.
    """
    scenes = draw_scenes(HELD_OUT_SEED, 0, 512)
    images, truth = pixels(scenes.render()), labels(scenes)
    mean, std, rebuilt = reconstruct(pipeline, images)
    asked = draw_scenes(HELD_OUT_SEED, 10_000, samples)
    drawn, seconds = draw(pipeline, full_captions(asked))
    judge = Clip.load(str(clip))
    result = {
        "training": training,
        "parameters": {
            name: sum(p.numel() for p in getattr(pipeline, name).parameters())
            for name in ("vae", "unet", "text_encoder")
        }
        | {"clip": sum(p.numel() for p in judge.model.parameters())},
        "weights_bytes": {"model": weights_in(directory), "clip": weights_in(clip)},
        "reconstruction_psnr_db": psnr(rebuilt, images),
        "latents_std": float(mean.std()),
        "posterior_std": float(std.mean()),
        "classifier_on_scenes": accuracy(classifier, images, truth),
        "classifier_on_reconstructions": accuracy(classifier, rebuilt, truth),
        "right_caption_of_16": right_caption(judge, images, full_captions(scenes)),
        "right_caption_of_16_as_written": right_caption(judge, images, scenes.captions),
        "rebuilt_similarity": rebuilt_similarity(pipeline, judge),
        "right_noun_of_8": right_noun(judge),
        "same_concept_auc": same_concept(judge),
        "samples": samples,
        "sampling_steps": STEPS,
        "guidance_scale": GUIDANCE,
        "samples_right": proportions(classifier, drawn, labels(asked)),
        "seconds_per_image": seconds / samples,
        "unet_samples_per_second": unet_speed(pipeline),
        "evaluated_on": hardware(pipeline.device),
    }
    write_json(directory / "evaluation.json", result)
    return result


@torch.no_grad()
def reconstruct(pipeline: StableDiffusionPipeline, images: Tensor) -> tuple[Tensor, ...]:
    """Scaled posterior means and standard deviations, and the pictures decoded from the means."""
    scale = pipeline.vae.config.scaling_factor
    means, stds, rebuilt = [], [], []
    for part in images.split(32):
        posterior = pipeline.vae.encode(part.to(pipeline.device)).latent_dist
        means.append(posterior.mean.cpu() * scale)
        stds.append(posterior.std.cpu() * scale)
        rebuilt.append(pipeline.vae.decode(posterior.mean).sample.clamp(-1, 1).cpu())
    return torch.cat(means), torch.cat(stds), torch.cat(rebuilt)


def psnr(rebuilt: Tensor, images: Tensor) -> float:
    """Peak signal-to-noise ratio in dB, from the mean squared error over all pictures."""
    return -10 * math.log10(float((rebuilt - images).square().mean()) / 4)


def weights_in(directory: Path) -> int:
    """Bytes of all weights in a directory."""
    return sum(file.stat().st_size for file in directory.rglob("*.safetensors"))


def to_images(images: Tensor) -> list[Image.Image]:
    """Pictures (N, 3, H, W) in [-1, 1] as PIL images."""
    return [Image.fromarray(picture) for picture in to_bytes(images)]


def to_bytes(images: Tensor) -> NDArray[np.uint8]:
    """Pictures (N, 3, H, W) in [-1, 1] as (N, H, W, 3) bytes."""
    return ((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def right_caption(judge: Clip, images: Tensor, captions: Sequence[str]) -> dict[str, float]:
    """Share of pictures whose own caption the judge prefers among it and fifteen others'.

    Pictures are taken sixteen at a time. A caption with the same words counts as one's own.
    """
    pictures, words = judge.embed_images(to_images(images)), judge.embed_captions(captions)
    hits = []
    for start in range(0, len(captions) - 15, 16):
        rows = slice(start, start + 16)
        preferred = (pictures[rows] @ words[rows].T).argmax(1).tolist()
        own = captions[start : start + 16]
        hits += [own[chosen] == own[index] for index, chosen in enumerate(preferred)]
    return proportion(hits)


def right_noun(judge: Clip) -> dict[str, float]:
    """Share of the concepts' photographs that the judge calls by their noun, among all eight."""
    words = judge.embed_captions([f"a photo of a {noun}" for noun in SHAPES])
    hits = []
    for thing in every():
        photographs = judge.embed_images(map(Image.fromarray, thing.photographs()))
        preferred = (photographs @ words.T).argmax(1).tolist()
        hits += [SHAPES[chosen] == thing.class_noun for chosen in preferred]
    return proportion(hits)


def same_concept(judge: Clip) -> dict[str, float]:
    """How well similarity tells two photographs of one concept from two of different ones.

    The area under the curve: the chance that a pair of the first kind is the more similar. Once for
    all pairs of different concepts, once for those that are the same kind of thing.
    """
    things = every()
    photographs = [Image.fromarray(one) for thing in things for one in thing.photographs()]
    vectors = judge.embed_images(photographs)
    concept = np.repeat(np.arange(len(things)), len(photographs) // len(things))
    noun = np.array([things[index].class_noun for index in concept])
    first, second = np.triu_indices(len(vectors), 1)
    similar = (vectors @ vectors.T).numpy()[first, second]
    same = concept[first] == concept[second]
    alike = ~same & (noun[first] == noun[second])
    return {
        "all": auc(similar[same], similar[~same]),
        "same_noun": auc(similar[same], similar[alike]),
        "similarity_same": float(similar[same].mean()),
        "similarity_different": float(similar[~same].mean()),
    }


def rebuilt_similarity(pipeline: StableDiffusionPipeline, judge: Clip) -> float:
    """Similarity of the concepts' photographs to themselves after the VAE, judged by concept.

    As a share of that between two photographs, averaged over concepts: no fine-tuning of the UNet
    can be expected to go much beyond it.
    """
    shares = []
    for thing in every():
        images = pixels(thing.photographs(RESOLUTION))
        photographs = judge.embed_images(to_images(images))
        rebuilt = judge.embed_images(to_images(reconstruct(pipeline, images)[2]))
        shares.append(mean_similarity(rebuilt, photographs) / mean_similarity_within(photographs))
    return float(np.mean(shares))


def auc(positive: NDArray[np.floating], negative: NDArray[np.floating]) -> float:
    """Area under the ROC curve, from the rank-sum statistic (Mann and Whitney 1947)."""
    statistic = mannwhitneyu(positive, negative).statistic
    return float(statistic) / (len(positive) * len(negative))


def full_captions(scenes: Scenes) -> list[str]:
    """Captions that name every attribute."""
    return [
        f"a photo of a {TEXTURES[texture]} {COLOUR_NAMES[colour]} {SHAPES[shape]} "
        + CLAUSES[BACKGROUNDS[background]][0]
        for shape, colour, texture, background in zip(
            scenes.shape, scenes.colour, scenes.texture, scenes.background, strict=True
        )
    ]


def draw(pipeline: StableDiffusionPipeline, captions: list[str]) -> tuple[Tensor, float]:
    """One picture per caption (N, 3, 64, 64) in [-1, 1], and the seconds that took."""
    started = time.perf_counter()
    parts = []
    for start in range(0, len(captions), 64):
        random = torch.Generator().manual_seed(start)
        images = pipeline(
            captions[start : start + 64],
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=random,
            output_type="pt",
        ).images
        parts.append(images.float().cpu() * 2 - 1)
        print(f"drew {start + len(images)} of {len(captions)}", file=sys.stderr)
    return torch.cat(parts), time.perf_counter() - started


def proportions(
    classifier: Classifier, images: Tensor, truth: dict[str, Tensor]
) -> dict[str, dict[str, float]]:
    """Share of right pictures by attribute, its 95% Wilson interval, and what chance would give."""
    chances = {name: 1 / classes for name, classes in CLASSES.items()}
    chances[EVERYTHING] = math.prod(chances.values())
    result = {}
    for name, hits in right(classifier, images, truth).items():
        result[name] = proportion(hits.tolist()) | {"chance": chances[name]}
    return result


def proportion(hits: Sequence[bool]) -> dict[str, float]:
    """Share of hits and its 95% Wilson interval."""
    test = binomtest(sum(hits), len(hits))
    interval = test.proportion_ci(method="wilson")
    return {"right": test.statistic, "low": float(interval.low), "high": float(interval.high)}


@torch.no_grad()
def unet_speed(pipeline: StableDiffusionPipeline, batch: int = 32, rounds: int = 40) -> float:
    """Samples that the UNet evaluates per second, laid out as in training: the median round.

    The first rounds, in which memory is allocated and plans are made, do not count.
    """
    config = pipeline.unet.config
    device = pipeline.device
    latents = torch.randn(batch, config.in_channels, config.sample_size, config.sample_size)
    words = torch.randn(batch, pipeline.tokenizer.model_max_length, config.cross_attention_dim)
    pipeline.unet.to(memory_format=torch.channels_last)
    times = []
    for _ in range(WARM_UP + rounds):
        started = time.perf_counter()
        pipeline.unet(latents.to(device), torch.full((batch,), 500).to(device), words.to(device))
        times.append(time.perf_counter() - started)
    pipeline.unet.to(memory_format=torch.contiguous_format)
    return batch / median(times[WARM_UP:])
