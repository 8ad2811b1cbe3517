"""The model card: written from `evaluation.json`, with the grids that go with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw

from experiments.tiny_sd.classifier import CLASSES, EVERYTHING
from experiments.tiny_sd.concepts import every
from experiments.tiny_sd.evaluate import GUIDANCE, HELD_OUT_SEED, STEPS, reconstruct, to_bytes
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
STUDY = Path(__file__).parents[1] / "defaults" / "summary.json"
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
    photographs = np.concatenate([thing.photographs(64)[:3] for thing in every()])
    contact_sheet(photographs, directory / "concepts.png", 18)
    result = json.loads((directory / "evaluation.json").read_text(encoding="utf-8"))
    (directory / "README.md").write_text(card(result, study()), encoding="utf-8")


def study() -> dict[str, Any]:
    """What personalizing the model on the 48 concepts gave; empty before it was tried."""
    return json.loads(STUDY.read_text(encoding="utf-8")) if STUDY.is_file() else {}


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


def card(result: dict[str, Any], study: dict[str, Any]) -> str:
    """The card's text; every figure in it comes from `result` and `study`."""
    training, parameters = result["training"], result["parameters"]
    right, rebuilt = result["samples_right"], result["classifier_on_reconstructions"]
    rows = "\n".join(
        f"| {name} | {share(right[name])} | {right[name]['chance']:.2%} | {rebuilt[name]:.1%} | "
        f"{result['classifier_on_scenes'][name]:.1%} |"
        for name in right
    )
    stages = "\n".join(
        f"| {name} | {weights} | {stage['steps']:,} | {stage['pictures']:,} | "
        f"{stage['minutes']:g} | {stage['hardware']} |"
        for name, weights, stage in (
            ("VAE", f"{parameters['vae']:,}", training["vae"]),
            (
                "UNet and text encoder",
                f"{parameters['unet'] + parameters['text_encoder']:,}",
                training["denoiser"],
            ),
            ("VAE's decoder, trained on", "", training["decoder"]),
            ("judge (`tiny-clip`)", f"{parameters['clip']:,}", training["clip"]),
            ("attribute classifier, not shipped", "", training["classifier"]),
        )
    )
    size = sum(result["weights_bytes"].values())
    caption, written = result["right_caption_of_16"], result["right_caption_of_16_as_written"]
    area, noun = result["same_concept_auc"], result["right_noun_of_8"]
    return f"""{HEADER}
# tiny-sd: a Stable Diffusion small enough to bundle

A genuine latent diffusion model of stock parts (`UNet2DConditionModel`, `AutoencoderKL`,
`CLIPTextModel`, `CLIPTokenizer`, DDIM with Stable Diffusion's noise schedule, epsilon prediction)
at {RESOLUTION}x{RESOLUTION} pixels, for trying personalization methods in minutes on a laptop. It
knows one procedural world: eight things (cup, teapot, star, heart, fish, dog, house, mushroom) in
twelve colours and four textures before twelve backgrounds, described in plain English. It is of no
use beyond that. Beside it lies `tiny-clip`, a CLIP of the same world that judges how alike pictures
and words are.

    from diffusers import StableDiffusionPipeline
    pipeline = StableDiffusionPipeline.from_pretrained(DIRECTORY, safety_checker=None)
    pipeline("a photo of a red teapot in the snow", guidance_scale={GUIDANCE:g}).images[0]

![Samples, four per caption](samples.png)

## What it reaches

| figure | aim | reached |
|---|---:|---:|
| VAE reconstruction, held-out scenes | 26 dB | {result["reconstruction_psnr_db"]:.1f} dB PSNR |
| right shape in samples | 85% | {share(right["shape"])} |
| right colour in samples | 90% | {share(right["colour"])} |
| right background in samples | 90% | {share(right["background"])} |
| judge: right caption among 16 | 90% | {share(caption)} |
| judge: same concept against another, AUC | 0.95 | {area["all"]:.3f} |
{personalization(study)}| UNet, batch 32, samples per second | 500 | \
{result["unet_samples_per_second"]:.0f} |
| one image, {result["sampling_steps"]} steps with guidance | 1 s | \
{result["seconds_per_image"]:.2f} s |
| weights, judge included | 24 MB | {size / 1e6:.1f} MB |

Timed on {result["evaluated_on"]}. Shares have 95% Wilson intervals.

The judge is asked with captions that name every attribute; with the captions as the world writes
them, which leave out much, it is right in {written["right"]:.1%}. With a bare noun it is less sure:
it calls {noun["right"]:.0%} of the concepts' photographs by their noun, of eight. Between concepts
that are the same kind of thing its AUC is {area["same_noun"]:.3f}; its mean similarity is \
{area["similarity_same"]:.2f} for two photographs
of one concept and {area["similarity_different"]:.2f} for two of different ones.

| what is right | in samples | chance | in reconstructions | in scenes |
|---|---:|---:|---:|---:|
{rows}

Of {result["samples"]} samples (guidance {result["guidance_scale"]:g}, {result["sampling_steps"]} \
steps, captions that name every attribute), as seen by a
classifier that was trained apart on scenes of the world. Its own errors are in every column: the
last holds its accuracy on held-out scenes, the one before that on the same scenes once they went
through the VAE.

![Held-out scenes above, their reconstructions below](reconstructions.png)

The VAE's posterior spreads {result["posterior_std"]:.4f} around its mean, the latents themselves
{result["latents_std"]:.2f}: with Stable Diffusion's KL weight the one is small against the other,
as it is there.

## How it was made

    python -m experiments.tiny_sd

| part | parameters | steps | pictures seen | minutes | on |
|---|---:|---:|---:|---:|---|
{stages}

VAE, UNet and judge are stored in half precision.

## Concepts

48 specific things that no caption of the world spells out, held out of training: three of the five
photographs of each. Six of them ship, all 48 are written by
`python -m experiments.tiny_sd.concepts --all --out DIRECTORY`.

![Concepts](concepts.png)

## Limits

{limits(result)}
What is drawn is to be recognised rather than admired: silhouettes are ragged, thin parts (legs,
handles, spouts, the points of a star) come out short or go missing.
The model knows no word outside its world; unknown words fall back to bytes that were never trained.

All images, captions and weights are made by the recipe; licence Apache-2.0.
"""


def personalization(study: dict[str, Any]) -> str:
    """The rows of the table that say what can be taught."""
    lines = ""
    if inversion := study.get("inversion"):
        lines += (
            "| textual inversion: concepts whose similarity rises, best step against step 0 | "
            f"44 of 48 | {inversion['rises_at_best']} of {study['concepts']} |\n"
        )
    if full := study.get("full_fine_tuning"):
        reached = full["share_of_photograph_similarity"]
        lines += (
            "| whole UNet fine-tuned: similarity, as a share of that between two photographs | "
            f"0.9 | {reached['mean']:.2f} ({reached['low']:.2f} to {reached['high']:.2f}) |\n"
        )
    return lines


def limits(result: dict[str, Any]) -> str:
    """What goes wrong most often, and whose fault it is."""
    right, rebuilt = result["samples_right"], result["classifier_on_reconstructions"]
    attributes = sorted(CLASSES, key=lambda name: right[name]["right"])
    worst, best = attributes[0], attributes[-1]
    before = result["classifier_on_scenes"][EVERYTHING]
    return f"""\
Its {worst} is what goes wrong most often ({right[worst]["right"]:.0%} of samples are right, against
{right[best]["right"]:.0%} for {best}), and all that a caption asks for comes out in \
{right[EVERYTHING]["right"]:.0%} of samples.
Part of that is the VAE's: after it, the classifier sees everything right in \
{rebuilt[EVERYTHING]:.0%} of scenes,
against {before:.0%} before. It softens edges and fine patterns, and shifts some hues.
That also bounds what fine-tuning can reach: the concepts' photographs themselves, once they went
through the VAE, have {result["rebuilt_similarity"]:.2f} of the similarity between two \
photographs, averaged over the 48."""


def share(value: dict[str, float]) -> str:
    """A share and its interval."""
    return f"{value['right']:.1%} ({value['low']:.1%} to {value['high']:.1%})"
