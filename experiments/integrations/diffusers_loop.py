"""A loop of the shape that the training examples of diffusers have, on the bundled model.

python -m experiments.integrations.diffusers_loop
"""

import argparse
import time
from pathlib import Path

import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from torch.nn import functional as F

from experiments.integrations.task import Trained, copies
from noiseprobe import Patience, Tracker, fixed_losses
from noiseprobe.models import model_location
from noiseprobe.pictures.photographs import load_pixels, photographs_in
from noiseprobe.training.concept import BUNDLED_CONCEPTS

PROMPT = "a photo of a striped cup"


def train(
    model: str = model_location("tiny-sd"),
    photographs: Path = BUNDLED_CONCEPTS / "banded-cup",
    steps: int = 400,
    every: int = 10,
    tracks: bool = True,
) -> Trained:
    """Train the UNet on all photographs but the last, until the held-out loss no longer falls."""
    torch.manual_seed(0)
    pipeline = StableDiffusionPipeline.from_pretrained(model, safety_checker=None)
    unet, vae, text_encoder = pipeline.unet, pipeline.vae, pipeline.text_encoder
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    vae.requires_grad_(False)
    text_encoder.requires_grad_(False)
    optimiser = torch.optim.AdamW(unet.parameters(), lr=5e-5)
    *trained_on, held_out = photographs_in(photographs)
    side = unet.config.sample_size * pipeline.vae_scale_factor
    pixels = torch.stack([load_pixels(path, side, center_crop=True) for path in trained_on])
    with torch.no_grad():  # once, as the VAE is not trained
        posterior = vae.encode(pixels).latent_dist
    tokens = pipeline.tokenizer(
        PROMPT,
        padding="max_length",
        max_length=pipeline.tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids

    tracker, best = None, {}
    if tracks:
        tracker = Tracker(
            {
                "l_det": fixed_losses(pipeline, trained_on, PROMPT, flip=0),
                "l_val": fixed_losses(pipeline, [held_out], PROMPT, flip=0),
            },
            watch="l_val",
            criterion=Patience(10),
            every=every,
            on_best=lambda step: best.update(copies(unet)),
        )
        tracker.update(0)

    unet.train()
    started = time.monotonic()
    for step in range(1, steps + 1):
        latents = posterior.sample()[torch.randint(len(pixels), (4,))] * vae.config.scaling_factor
        noise = torch.randn_like(latents)
        timesteps = torch.randint(scheduler.config.num_train_timesteps, (len(latents),))
        noisy = scheduler.add_noise(latents, noise, timesteps)
        words = text_encoder(tokens.expand(len(latents), -1))[0]
        loss = F.mse_loss(unet(noisy, timesteps, words).sample, noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if tracker and tracker.update(step):
            break
    seconds = time.monotonic() - started
    weights = copies(unet)
    if best:
        unet.load_state_dict(best)  # and pipeline.save_pretrained(...) keeps the best step
    return Trained(step, seconds, weights, tracker, best)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train the bundled model and track it.")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--every", type=int, default=10)
    given = parser.parse_args()
    print(train(steps=given.steps, every=given.every).told)
