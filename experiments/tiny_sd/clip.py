"""The judge of similarity: a small CLIP, trained on the world and on random two-hued things.

Contrastive terms share one embedding, as in SLIP (Mu et al. 2021, arXiv 2112.12750): a picture
against its caption (Radford et al. 2021), and a picture of a thing against another picture of the
same thing in another place. The latter teaches what captions cannot say: a second hue, a marking.
Things have captions as well, which say no more than what they are and where: among full captions,
hue and place alone nearly always tell the right one, and the noun would hardly be learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
)

from experiments.tiny_sd.backgrounds import BACKGROUNDS, CLAUSES
from experiments.tiny_sd.classifier import soften
from experiments.tiny_sd.model import RESOLUTION, TOKENS
from experiments.tiny_sd.render import PATTERN_COUNT, Pictures, render
from experiments.tiny_sd.schedule import Budget, Journal, cosine
from experiments.tiny_sd.shapes import ACCENT, SHAPES
from experiments.tiny_sd.tokenizer import tokenise
from experiments.tiny_sd.train_vae import pixels
from experiments.tiny_sd.world import (
    COLOURS,
    choice,
    draw_scenes,
    lights,
    poses,
    role_colours,
    uniforms,
)
from noiseprobe.training.concept import TEMPLATES

PEAK_LEARNING_RATE = 1e-3
SEED = 5003  # scenes and things apart from those of every other training
SCENES, THINGS = 64, 32  # of one step; a thing is shown twice
POOL = 16  # steps that are rendered at once
THING_STREAM, VIEW_STREAMS = 1, (2, 3)  # of the uniform numbers, beside the scenes' 0
TELLING = ("small", "large", "close-up", "cropped", "dark", "bright")
PLAIN_TEMPLATES = [text for text in TEMPLATES if not any(word in text for word in TELLING)]


def build_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """The untrained judge: 64 patches of 8x8 pixels, 32 tokens, 64 dimensions in common."""
    words = len(tokenizer)
    common = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4}
    ends = {"bos_token_id": words - 2, "eos_token_id": words - 1, "pad_token_id": words - 1}
    return CLIPModel(
        CLIPConfig(
            text_config=common
            | ends
            | {"vocab_size": words, "num_hidden_layers": 2, "max_position_embeddings": TOKENS},
            vision_config=common
            | {"image_size": RESOLUTION, "patch_size": 8, "num_hidden_layers": 4},
            projection_dim=64,
        )
    )


def build_processor(tokenizer: CLIPTokenizer) -> CLIPProcessor:
    """Photographs and captions to what the judge reads."""
    half = [0.5, 0.5, 0.5]
    images = CLIPImageProcessorPil(
        size={"shortest_edge": RESOLUTION},
        crop_size={"height": RESOLUTION, "width": RESOLUTION},
        image_mean=half,
        image_std=half,
    )
    return CLIPProcessor(images, tokenizer)


def train_clip(
    out: Path, tokenizer: CLIPTokenizer, budget: Budget, device: torch.device, seed: int = SEED
) -> CLIPModel:
    """Train, or go on training; the state is `out`/clip.pt."""
    torch.manual_seed(seed)
    clip = build_clip(tokenizer).to(device).train()
    optimiser = torch.optim.AdamW(
        clip.parameters(), lr=PEAK_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.05
    )
    journal = Journal(out / "clip.pt", {"clip": clip, "optimiser": optimiser}, device)
    journal.resume()
    pool_index = -1
    while (progress := budget.progress(journal.step, journal.seconds)) < 1:
        if journal.step // POOL != pool_index:
            pool_index = journal.step // POOL
            scenes = draw_scenes(seed, pool_index * POOL * SCENES, POOL * SCENES)
            pictures, tokens = pixels(scenes.render()), tokenise(tokenizer, list(scenes.captions))
            pairs, plain = thing_pairs(seed, pool_index * POOL * THINGS, POOL * THINGS)
            plain_tokens = tokenise(tokenizer, plain)
        here = journal.step % POOL
        rows = slice(here * SCENES, (here + 1) * SCENES)
        some = slice(here * THINGS, (here + 1) * THINGS)
        shown = torch.cat([pictures[rows], *pairs[:, some]])
        # Every other picture is softened: a decoder's pictures are judged as well.
        shown[::2] = soften(shown[::2])
        for group in optimiser.param_groups:
            group["lr"] = cosine(progress, PEAK_LEARNING_RATE)
        said = tokens[rows].to(device), plain_tokens[some].to(device)
        loss = contrastive_loss(clip, shown.to(device), *said)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(clip.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            clip.logit_scale.clamp_(max=np.log(100))
        journal.tick(f"contrastive loss {loss.item():.3f}")
    journal.save()
    return clip.eval()


def contrastive_loss(clip: CLIPModel, images: Tensor, tokens: Tensor, plain: Tensor) -> Tensor:
    """The mean of the terms.

    `images` are the scenes, whose captions are `tokens`, then the first and the second view of each
    thing; the first view's caption is in `plain`.
    """
    features = F.normalize(clip.visual_projection(clip.vision_model(images).pooler_output), dim=-1)
    said = torch.cat([tokens, plain])
    words = F.normalize(clip.text_projection(clip.text_model(said).pooler_output), dim=-1)
    scale = clip.logit_scale.exp()
    scenes, first, second = features.split([len(tokens), len(plain), len(plain)])
    full, short = words.split([len(tokens), len(plain)])
    own = torch.eye(len(plain), device=images.device)
    return (
        symmetric(scale * scenes @ full.T, alike(tokens))
        + symmetric(scale * first @ short.T, alike(plain))
        + symmetric(scale * first @ second.T, own)
    ) / 3


def alike(tokens: Tensor) -> Tensor:
    """Which captions (N, L) are the same, (N, N) of 0 and 1: none of them is a wrong one."""
    return (tokens[:, None] == tokens[None]).all(-1).float()


def symmetric(logits: Tensor, right: Tensor) -> Tensor:
    """Cross entropy of what is right, (N, N) and symmetric, along rows and columns, averaged."""
    target = right / right.sum(1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def thing_pairs(seed: int, start: int, count: int) -> tuple[Tensor, list[str]]:
    """Two pictures (2, count, 3, 64, 64) of each of the things start … start + count - 1.

    A thing has any shape, pattern and marking, and three hues drawn around the named colours. With
    them come captions of the first pictures: what it is, and for every other one where it is.
    """
    thing = uniforms(seed, start, count, THING_STREAM)
    named = np.array(list(COLOURS.values()), np.float32)
    hues = named[choice(thing[:, 0:3], len(COLOURS))]
    hues = np.clip(hues + (thing[:, 3:12].reshape(-1, 3, 3) - 0.5) * 0.2, 0.03, 0.99)
    hues = hues.astype(np.float32)
    colours = role_colours(hues[:, 0])
    colours[:, 5] = hues[:, 1]
    own_part = thing[:, 12] < 0.3
    colours[own_part, ACCENT] = hues[own_part, 2]
    nothing = np.zeros(count, np.float32)
    shape = choice(thing[:, 13], len(SHAPES))
    views, captions = [], []
    for view in range(2):
        scene = uniforms(seed, start, count, VIEW_STREAMS[view])
        background = choice(scene[:, 0], len(BACKGROUNDS))
        if view == 0:
            captions = [
                plain_caption(SHAPES[noun], CLAUSES[BACKGROUNDS[place]], draws)
                for noun, place, draws in zip(shape, background, scene[:, 24:27], strict=True)
            ]
        pictures = Pictures(
            shape=shape,
            background=background,
            pattern=choice(thing[:, 14], PATTERN_COUNT),
            mark=np.maximum(choice(thing[:, 15], 6) - 2, 0),  # none on half of them
            mark_colour=hues[:, 2],
            colours=colours,
            pose=poses(scene[:, 1:5], nothing, nothing, nothing),
            light=lights(scene[:, 5:8], nothing, nothing),
            pattern_phase=(0.3 + 0.4 * thing[:, 16:20]).astype(np.float32),
            backdrop=scene[:, 8:24].astype(np.float32),
        )
        views.append(pixels(render(pictures, RESOLUTION)))
    return torch.stack(views), captions


def plain_caption(noun: str, clauses: Sequence[str], draws: NDArray[np.float64]) -> str:
    """A caption that names no attribute, from three uniform numbers."""
    caption = PLAIN_TEMPLATES[int(draws[0] * len(PLAIN_TEMPLATES))].format(noun)
    return caption if draws[1] < 0.5 else f"{caption} {clauses[int(draws[2] * len(clauses))]}"


def export_clip(clip: CLIPModel, tokenizer: CLIPTokenizer, directory: Path) -> None:
    """Save judge and processor in half precision, in the layout that transformers loads."""
    clip.to("cpu").half().save_pretrained(directory)
    build_processor(tokenizer).save_pretrained(directory)
