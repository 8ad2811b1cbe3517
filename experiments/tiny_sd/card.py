"""The model card: written from `evaluation.json`, with the grids that go with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw

from experiments.tiny_sd.concepts import shipped
from experiments.tiny_sd.evaluate import GUIDANCE, HELD_OUT_SEED, STEPS, reconstruct
from experiments.tiny_sd.judge import CLASSES, EVERYTHING
from experiments.tiny_sd.model import RESOLUTION
from experiments.tiny_sd.sheet import contact_sheet
from experiments.tiny_sd.train_vae import pixels
from experiments.tiny_sd.world import draw_scenes

CAPTIONS = (
    "a photo of a red teapot in the snow",
    "a photo of a blue cup on a wooden table",
    "a photo of a yellow star at night",
    "a photo of a white dog on the beach",
    "a photo of a green fish in the sea",
    "a photo of a pink house in the desert",
    "a photo of a purple mushroom in a forest",
    "a photo of a striped orange heart in the city",
)
EACH = 4
HEADER = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---
"""


def write_card(pipeline: StableDiffusionPipeline, directory: Path) -> None:
    """Write `README.md` and its pictures into the model's `directory`."""
    sample_grid(pipeline, directory / "samples.png")
    images = pixels(draw_scenes(HELD_OUT_SEED, 0, 12).render())
    rebuilt = reconstruct(pipeline, images)[2]
    contact_sheet(to_bytes(torch.cat([images, rebuilt])), directory / "reconstructions.png", 12)
    photographs = np.concatenate([thing.photographs(64) for thing in shipped()])
    contact_sheet(photographs, directory / "concepts.png", 10)
    result = json.loads((directory / "evaluation.json").read_text(encoding="utf-8"))
    (directory / "README.md").write_text(card(result), encoding="utf-8")


def to_bytes(images: torch.Tensor) -> np.ndarray:
    """Pictures (N, 3, H, W) in [-1, 1] as (N, H, W, 3) bytes."""
    return ((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def sample_grid(pipeline: StableDiffusionPipeline, path: Path) -> None:
    """Draw each of `CAPTIONS` a few times, its caption above its row."""
    captions = [caption for caption in CAPTIONS for _ in range(EACH)]
    images = pipeline(
        captions,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        generator=torch.Generator().manual_seed(0),
    ).images
    cell, text = 96, 16
    grid = Image.new(
        "RGB", (2 * EACH * (cell + 2) + 10, len(CAPTIONS) // 2 * (cell + text)), "white"
    )
    pen = ImageDraw.Draw(grid)
    for index, image in enumerate(images):
        caption, column = divmod(index, EACH)
        left = caption % 2 * (EACH * (cell + 2) + 10)
        top = caption // 2 * (cell + text)
        pen.text((left + 2, top + 1), CAPTIONS[caption], fill="black", font_size=12)
        shown = image.resize((cell, cell), Image.Resampling.BICUBIC)
        grid.paste(shown, (left + column * (cell + 2), top + text))
    grid.quantize(192, method=Image.Quantize.MEDIANCUT).save(path, optimize=True)


def card(result: dict[str, Any]) -> str:
    """The card's text; every figure in it comes from `result`."""
    training, parameters = result["training"], result["parameters"]
    right, rebuilt = result["samples_right"], result["judge_on_reconstructions"]
    attributes = sorted(CLASSES, key=lambda name: right[name]["right"])
    worst, best = attributes[0], attributes[-1]
    rows = "\n".join(
        f"| {name} | {share['right']:.1%} ({share['low']:.1%} to {share['high']:.1%}) | "
        f"{share['chance']:.2%} | {rebuilt[name]:.1%} | {result['judge_on_scenes'][name]:.1%} |"
        for name, share in right.items()
    )
    stages = "\n".join(
        f"| {name} | {weights:,} | {stage['steps']:,} | {stage['pictures']:,} | "
        f"{stage['minutes']:g} | {stage['hardware']} |"
        for name, weights, stage in (
            ("VAE", parameters["vae"], training["vae"]),
            (
                "UNet and text encoder",
                parameters["unet"] + parameters["text_encoder"],
                training["denoiser"],
            ),
        )
    )
    return f"""{HEADER}
# tiny-sd: a Stable Diffusion small enough to bundle

A genuine latent diffusion model of stock parts (`UNet2DConditionModel`, `AutoencoderKL`,
`CLIPTextModel`, `CLIPTokenizer`, DDIM with Stable Diffusion's noise schedule, epsilon prediction)
at {RESOLUTION}x{RESOLUTION} pixels, for trying personalization methods in minutes on a laptop. It
knows one procedural world: eight things (cup, teapot, star, heart, fish, dog, house, mushroom) in
twelve colours and four textures before twelve backgrounds, described in plain English. It is of no
use beyond that.

    from diffusers import StableDiffusionPipeline
    pipeline = StableDiffusionPipeline.from_pretrained(DIRECTORY, safety_checker=None)
    pipeline("a photo of a red teapot in the snow", guidance_scale={GUIDANCE:g}).images[0]

![Samples, four per caption](samples.png)

## What it reaches

| what is right | in samples (95% interval) | chance | in reconstructions | in scenes |
|---|---:|---:|---:|---:|
{rows}

Of {result["samples"]} samples (guidance {result["guidance_scale"]:g}, {result["sampling_steps"]} \
steps, captions that name every attribute), as seen by a
classifier that was trained apart on scenes of the world; Wilson intervals. Its own errors are in
every column: the last holds its accuracy on held-out scenes, the one before that on the same
scenes once they went through the VAE.

| figure | value |
|---|---:|
| reconstruction of held-out scenes | {result["reconstruction_psnr_db"]:.1f} dB PSNR |
| spread of the VAE's posterior, scaled latents | {result["posterior_std"]:.4f} |
| spread of the latents themselves | {result["latents_std"]:.2f} |
| UNet, batch 32 | {result["unet_samples_per_second"]:.0f} samples/s |
| one image, {result["sampling_steps"]} steps with guidance | {result["seconds_per_image"]:.2f} s |
| weights | {result["weights_bytes"] / 1e6:.1f} MB |

Timed on {result["evaluated_on"]}.

![Held-out scenes above, their reconstructions below](reconstructions.png)

## How it was made

    python -m experiments.tiny_sd

| part | parameters | steps | pictures seen | minutes | on |
|---|---:|---:|---:|---:|---|
{stages}

VAE and UNet are stored in half precision. The KL weight is Stable Diffusion's, so that the
posterior's spread is small against the latents' own, as it is there.

## Concepts that come with it

Specific things that no caption of the world spells out, held out of training:

![Concepts](concepts.png)

## Limits

This is a first version, made in {minutes(training):.0f} minutes of training. Its {worst} is what \
goes wrong most
often ({right[worst]["right"]:.0%} of samples are right, against {right[best]["right"]:.0%} for \
{best}), and all that a caption asks for comes
out in {right[EVERYTHING]["right"]:.0%} of samples. Part of that is the VAE's: after it, the \
classifier sees everything right in
{rebuilt[EVERYTHING]:.0%} of scenes, against {result["judge_on_scenes"][EVERYTHING]:.0%} before. \
It softens edges and fine patterns, and shifts some hues.
What is drawn is to be recognised rather than admired: silhouettes are ragged, thin parts (legs,
handles, spouts, the points of a star) come out short or go missing.
The model knows no word outside its world; unknown words fall back to bytes that were never trained.

All images, captions and weights are made by the recipe; licence Apache-2.0.
"""


def minutes(training: dict[str, Any]) -> float:
    """Minutes of all stages together."""
    return float(sum(stage["minutes"] for stage in training.values()))
