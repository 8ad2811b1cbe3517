"""Training as the example scripts of diffusers do it, for what ours is measured against.

Each step opens and crops its photographs, encodes them with the VAE and their captions with the
text encoder, and fetches the loss. Textual inversion optimises the whole matrix of token embeddings
and puts all rows but the new one back; DreamBooth trains the UNet, with gradients clipped; its LoRA
has adapters of peft on the attention. In half precision, what is not trained is in it, and the
forward pass is under autocast. Written anew after what those scripts compute
(examples/textual_inversion, examples/dreambooth of diffusers 0.42); no code of theirs is here.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from experiments.bench.families import NOISE
from noiseprobe.models.base import PRECISIONS, DiffusionModel

RATE = 1e-6  # small, for any weights
WORDS = "a photo of a thing"


def stock_step(
    model: DiffusionModel,
    method: str,
    photographs: Sequence[Path],
    batch: int,
    precision: str = "fp32",
) -> Callable[[], float]:
    """A step of such a training on a live model of Stable Diffusion, which gives its loss.

    What is trained of the model is in float32. The UNet is laid out as the scripts have it.
    """
    unet: Any = model.denoiser
    vae: Any = model.vae
    [encoder] = model.encoders
    text: Any = encoder.module
    half, device = PRECISIONS[precision], model.device
    unet.to(memory_format=torch.contiguous_format)
    unet.to(torch.float32 if method == "dreambooth" else half)
    vae.to(device, half)
    text.to(device, torch.float32 if method == "textual-inversion" else half)
    scheduler = DDPMScheduler(**NOISE)
    trained, after = _trained(unet, text, method)
    optimiser = torch.optim.AdamW(trained, lr=RATE)
    ids = encoder.tokenizer(
        [WORDS] * batch,
        padding="max_length",
        max_length=encoder.tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids.to(device)
    count = 0

    def step() -> float:
        nonlocal count
        chosen = [photographs[(count + place) % len(photographs)] for place in range(batch)]
        count += batch
        pixels = torch.stack([_pixels(path, model.resolution) for path in chosen]).to(device)
        with torch.no_grad():
            latents = vae.encode(pixels.to(half)).latent_dist.sample()
            latents = (latents * vae.config.scaling_factor).to(half)
        noise = torch.randn_like(latents)
        times = torch.randint(scheduler.config.num_train_timesteps, (batch,), device=device)
        noisy = scheduler.add_noise(latents, noise, times)
        with torch.autocast(device.type, half, enabled=half != torch.float32):
            states = text(ids)[0]
            predicted = unet(noisy, times, states, return_dict=False)[0]
        loss = functional.mse_loss(predicted.float(), noise.float())
        loss.backward()
        if method != "textual-inversion":
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        after()
        return float(loss.detach())

    return step


def _trained(unet: Any, text: Any, method: str) -> tuple[list[Tensor], Callable[[], None]]:
    """The tensors that are optimised, and what is done after a step."""
    unet.requires_grad_(False)
    text.requires_grad_(False)
    if method == "textual-inversion":
        matrix = text.get_input_embeddings().weight
        matrix.requires_grad_(True)
        before = matrix.detach().clone()
        kept = torch.ones(len(matrix), dtype=torch.bool, device=matrix.device)
        kept[-1] = False

        def put_back() -> None:
            with torch.no_grad():
                matrix[kept] = before[kept]

        return [matrix], put_back
    if method == "dreambooth":
        unet.requires_grad_(True)
    else:
        from peft import LoraConfig

        targets = ["to_k", "to_q", "to_v", "to_out.0"]
        unet.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=targets), "stock")
    return [each for each in unet.parameters() if each.requires_grad], lambda: None


def _pixels(path: Path, side: int) -> Tensor:
    with Image.open(path) as photograph:
        picture = ImageOps.fit(photograph.convert("RGB"), (side, side), Image.Resampling.BILINEAR)
    values = np.array(picture, dtype=np.float32) / 127.5 - 1
    return torch.from_numpy(values).permute(2, 0, 1)
