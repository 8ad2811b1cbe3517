"""What stock diffusers draws with what a method has saved, and what ours draws beside it."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from noiseprobe.models.base import DiffusionModel
from noiseprobe.pictures.sampling import contiguous
from noiseprobe.training.methods.base import Method

WORD = "pipeline.load_textual_inversion(folder, weight_name='learned_embeds.safetensors')"
SECOND_WORD = """
pipeline.load_textual_inversion(folder, weight_name='learned_embeds_2.safetensors',
    text_encoder=pipeline.text_encoder_2, tokenizer=pipeline.tokenizer_2)"""
LORA = "\npipeline.load_lora_weights(folder)"
CUSTOM = """
pipeline.unet.load_attn_procs(
    folder, weight_name='pytorch_custom_diffusion_weights.bin', _pipeline=pipeline)"""
PARTS = """
import pathlib
found = {}
for part in pathlib.Path(folder).iterdir():
    kind = type(getattr(pipeline, part.name))
    found[part.name] = kind.from_pretrained(part)
pipeline = diffusers.DiffusionPipeline.from_pretrained(model, **found)"""

_DRAW = """
import json, sys
import diffusers, numpy, torch
torch.set_num_threads(1)
model, out, options = sys.argv[1:4]
for number, (folder, prompt, load) in enumerate(json.loads(sys.stdin.read())):
    pipeline = diffusers.DiffusionPipeline.from_pretrained(model)
    names = {"pipeline": pipeline, "folder": folder, "diffusers": diffusers, "model": model}
    exec(load, names)
    drawn = names["pipeline"](prompt, num_inference_steps=3, output_type="np",
                              generator=torch.Generator().manual_seed(3), **json.loads(options))
    numpy.save(f"{out}/{number}.npy", drawn.images[0])
"""


def our_image(model: DiffusionModel, prompt: str) -> NDArray[np.float32]:
    """What the live model draws at a prompt."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pipeline = model.stock
    pipeline.set_progress_bar_config(disable=True)
    random = torch.Generator().manual_seed(3)
    options = {"num_inference_steps": 3, "output_type": "np", "generator": random}
    with contiguous(model.denoiser):
        drawn = pipeline(**options, **model.drawing_options([prompt], 4.0))
    torch.set_num_threads(threads)
    image: NDArray[np.float32] = drawn.images[0]
    return image


def stock_images(
    model: DiffusionModel, asked: Mapping[str, tuple[Path, str, str]], out: Path
) -> dict[str, NDArray[np.float32]]:
    """What the stock pipeline draws in a fresh process, loaded anew for each of those `asked`.

    Of each: the folder of a checkpoint, the prompt, and the code that loads the one into `pipeline`
    from `folder`.
    """
    out.mkdir(parents=True, exist_ok=True)
    told = model.drawing_options([""], 4.0)
    options = json.dumps({name: value for name, value in told.items() if name != "prompt"})
    given = [(str(folder), prompt, load) for folder, prompt, load in asked.values()]
    subprocess.run(
        [sys.executable, "-c", _DRAW, model.name, str(out), options],
        input=json.dumps(given),
        text=True,
        check=True,
    )
    return {name: np.load(out / f"{number}.npy") for number, name in enumerate(asked)}


def shaken(method: Method) -> None:
    """Move every trained tensor away from where it started."""
    random = torch.Generator().manual_seed(5)
    method.load(
        {
            name: value + 0.05 * torch.randn(value.shape, generator=random)
            for name, value in method.trained().items()
        }
    )
