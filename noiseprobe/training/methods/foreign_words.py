"""A learned word's vectors in a file: of diffusers, A1111, kohya or ai-toolkit."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from noiseprobe.core.errors import UserError
from noiseprobe.models.base import Encoder
from noiseprobe.models.converting import text_weights
from noiseprobe.models.loading import loading
from noiseprobe.run.foreign_files import FLAG, SECOND, SECOND_STATE, STATE, is_state

_BY_CLIP = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}
"""The text encoders of SDXL, as sd-scripts calls them."""


def word_in(file: Path) -> str | None:
    """The word that a file says it teaches; None where it does not say it."""
    if is_state(file):
        return None
    return next(iter(_entries(file)))[1]


def vectors_in(
    file: Path, word: str | None, encoders: Sequence[Encoder]
) -> Iterator[tuple[str, str, Tensor]]:
    """Encoder, word and vectors (n, d) of each word in a file, and in the one beside it.

    `word` takes the place of the file's own, where it is given and there is one; `encoders` are the
    model's, without the word. Raises `UserError` for a file whose word is not known, and for a
    state of accelerate in which more than a word was trained.
    """
    entries = _added(file, encoders) if is_state(file) else _entries(file)
    for second in _beside(file):
        entries += [("text_encoder_2", own, vectors) for _, own, vectors in _entries(second)]
    alone = len({own for _, own, _ in entries}) == 1
    for encoder, own, vectors in entries:
        name = word if word and alone else own
        if name is None:
            raise UserError(
                f"{FLAG}: '{file}' does not say its word; add --placeholder with the word that "
                "captions had"
            )
        yield encoder, name, torch.atleast_2d(vectors.detach().float())


def _beside(file: Path) -> list[Path]:
    """The file of SDXL's second text encoder, as diffusers' script names it."""
    second = file.with_name(file.name.replace("learned_embeds", SECOND))
    return [second] if second != file and second.is_file() else []


def _added(file: Path, encoders: Sequence[Encoder]) -> list[tuple[str, str | None, Tensor]]:
    """The rows that the encoders in a state of accelerate have beyond those of the model."""
    found: list[tuple[str, str | None, Tensor]] = []
    for encoder, name in zip(encoders, (STATE, SECOND_STATE), strict=False):
        if not (file.parent / name).is_file():
            break
        with loading(f"{FLAG}: cannot load '{file.parent / name}'", "fetch it again"):
            theirs = text_weights(encoder.module, load_file(file.parent / name))
        own = encoder.module.state_dict()
        (rows,) = (key for key in own if key.endswith("token_embedding.weight"))
        known = len(encoder.tokenizer)
        shared = {key: each for key, each in theirs.items() if key in own} | {
            rows: theirs[rows][:known]
        }
        own |= {rows: own[rows][:known]}
        for key, each in shared.items():
            if each.shape != own[key].shape or not torch.equal(each.to(own[key]), own[key]):
                raise UserError(
                    f"{FLAG}: '{file.parent / name}' is a text encoder whose {key} differs from "
                    "--model's own; give what it was trained on, or the words that the script saves"
                )
        if len(added := theirs[rows][known:]):
            found.append((encoder.name, None, added))
    if not found:
        raise UserError(f"{FLAG}: '{file}' is a text encoder without a new word; give others")
    return found


def _entries(file: Path) -> list[tuple[str, str | None, Tensor]]:
    with loading(f"{FLAG}: cannot load '{file}'", "fetch it again"):
        found: dict[str, Any] = (
            load_file(file)
            if file.suffix.lower() == ".safetensors"
            else torch.load(file, map_location="cpu", weights_only=True)
        )
        if "string_to_param" in found:
            (vectors,) = found["string_to_param"].values()
            return [("text_encoder", found.get("name"), vectors)]
        if "emb_params" in found:
            return [("text_encoder", None, found["emb_params"])]
        if _BY_CLIP.keys() & found.keys():
            return [
                (encoder, None, found[key]) for key, encoder in _BY_CLIP.items() if key in found
            ]
        words: list[tuple[str, str | None, Tensor]] = [
            ("text_encoder", name, each)
            for name, each in found.items()
            if isinstance(each, Tensor) and each.ndim <= 2
        ]
        if not words:
            raise ValueError("there is no vector in it")
        return words
