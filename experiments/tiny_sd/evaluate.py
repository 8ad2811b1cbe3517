"""What the model reaches: every figure of its card, measured and written as JSON."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from scipy.stats import binomtest
from torch import Tensor

from experiments.tiny_sd.backgrounds import BACKGROUNDS, CLAUSES
from experiments.tiny_sd.judge import CLASSES, EVERYTHING, Judge, accuracy, labels, right
from experiments.tiny_sd.schedule import hardware
from experiments.tiny_sd.shapes import SHAPES
from experiments.tiny_sd.train_vae import pixels
from experiments.tiny_sd.world import COLOUR_NAMES, TEXTURES, Scenes, draw_scenes
from noiseprobe.files import write_json

HELD_OUT_SEED = 1001  # scenes that neither the model nor the judge has seen
STEPS, GUIDANCE = 25, 4.0


def evaluate(
    pipeline: StableDiffusionPipeline,
    judge: Judge,
    directory: Path,
    training: dict[str, Any],
    samples: int = 256,
) -> dict[str, Any]:
    """Measure the model in `directory`, write `evaluation.json` there, and return it."""
    scenes = draw_scenes(HELD_OUT_SEED, 0, 512)
    images, truth = pixels(scenes.render()), labels(scenes)
    mean, std, rebuilt = reconstruct(pipeline, images)
    asked = draw_scenes(HELD_OUT_SEED, 10_000, samples)
    drawn, seconds = draw(pipeline, full_captions(asked))
    weights = sum(file.stat().st_size for file in directory.rglob("*.safetensors"))
    result = {
        "training": training,
        "parameters": {
            name: sum(p.numel() for p in getattr(pipeline, name).parameters())
            for name in ("vae", "unet", "text_encoder")
        },
        "weights_bytes": weights,
        "reconstruction_psnr_db": psnr(rebuilt, images),
        "latents_std": float(mean.std()),
        "posterior_std": float(std.mean()),
        "judge_on_scenes": accuracy(judge, images, truth),
        "judge_on_reconstructions": accuracy(judge, rebuilt, truth),
        "samples": samples,
        "sampling_steps": STEPS,
        "guidance_scale": GUIDANCE,
        "samples_right": proportions(judge, drawn, labels(asked)),
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
    judge: Judge, images: Tensor, truth: dict[str, Tensor]
) -> dict[str, dict[str, float]]:
    """Share of right pictures by attribute, its 95% Wilson interval, and what chance would give."""
    chances = {name: 1 / classes for name, classes in CLASSES.items()}
    chances[EVERYTHING] = math.prod(chances.values())
    result = {}
    for name, hits in right(judge, images, truth).items():
        test = binomtest(int(hits.sum()), len(images))
        interval = test.proportion_ci(method="wilson")
        result[name] = {
            "right": test.statistic,
            "low": float(interval.low),
            "high": float(interval.high),
            "chance": chances[name],
        }
    return result


@torch.no_grad()
def unet_speed(pipeline: StableDiffusionPipeline, batch: int = 32, rounds: int = 8) -> float:
    """Samples that the UNet evaluates per second, at a batch of 32."""
    config = pipeline.unet.config
    device = pipeline.device
    latents = torch.randn(batch, config.in_channels, config.sample_size, config.sample_size)
    words = torch.randn(batch, pipeline.tokenizer.model_max_length, config.cross_attention_dim)
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        pipeline.unet(latents.to(device), torch.full((batch,), 500).to(device), words.to(device))
        times.append(time.perf_counter() - started)
    return batch / sorted(times)[rounds // 2]
