"""Weights under the names of the code that they were first trained with, in today's classes.

The denoisers and autoencoders are renamed by diffusers; the text encoders here, since what they are
called depends on the version of transformers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from torch import Tensor, nn

from noiseprobe.core.reading import json_of
from noiseprobe.models.base import type_of

OPEN_CLIP = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
_OPEN_CLIP_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
PROJECTION = "text_projection.weight"


def converted(
    kind: Any,
    config: Path,
    weights: Mapping[str, Tensor],
    prefix: str,
    dtype: torch.dtype = torch.float32,
) -> nn.Module:
    """The part of class `kind` with these weights, in `dtype`.

    Args:
        kind: a class of diffusers or transformers.
        config: its configuration, as JSON.
        weights: as they are called in the file.
        prefix: what stands before their names.
        dtype: of the part, into which each is cast by itself, so that no more memory is needed.

    Raises:
        ValueError: weights are missing, or of another shape than the configuration says.
    """
    told = json_of(config)
    ours = hasattr(kind, "from_config")
    with init_empty_weights():
        model = of_config(kind, config)
    expected = model.state_dict()
    own = {name.removeprefix(prefix): each for name, each in weights.items()}
    if not ours:
        own = text_weights(model, own)
    elif not expected.keys() <= own.keys():
        own = _renamed(kind, told, weights)
    for name in sorted(expected.keys() & own.keys()):
        if own[name].shape != expected[name].shape:
            found, right = tuple(own[name].shape), tuple(expected[name].shape)
            raise ValueError(f"{name} is {found}, not {right} as its configuration says")
    known = {
        # No two share memory, nor does a file lie below.
        name: each.to(type_of(model, name, dtype), copy=True)
        for name, each in own.items()
        if name in expected
    }
    model.load_state_dict(known, strict=False, assign=True)
    if not ours:
        model.tie_weights()
    if missing := sorted(name for name, each in model.named_parameters() if each.is_meta):
        raise ValueError(f"it lacks {len(missing)} weights, such as {missing[0]}")
    return model.to(dtype)  # what is computed of the configuration, such as places, as well


def of_config(kind: Any, config: Path) -> Any:
    """A part of class `kind`, of diffusers or transformers, as its configuration says."""
    told = json_of(config)
    if hasattr(kind, "from_config"):
        return kind.from_config(told)
    return kind(kind.config_class.from_dict(told))


def _renamed(kind: Any, config: dict[str, Any], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a denoiser or autoencoder as diffusers calls them.

    By the table that its `from_single_file` has, which itself leaves missing weights undefined.
    """
    rename = SINGLE_FILE_LOADABLE_CLASSES[kind.__name__]["checkpoint_mapping_fn"]
    try:
        found: dict[str, Tensor] = rename(config=config, checkpoint=dict(weights))
    except KeyError as error:
        raise ValueError(f"it lacks weights, such as {error.args[0]}") from error
    return found


def text_weights(model: Any, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a text encoder under the names of `model`, whichever version it is of.

    A CLIP as OpenAI and transformers call its parts, or as OpenCLIP does; or a T5.
    """
    if "shared.weight" in weights:
        return dict(weights)
    clip = _of_open_clip(weights) if "positional_embedding" in weights else dict(weights)
    plain = {name.removeprefix("text_model."): each for name, each in clip.items()}
    inside = "text_model." if hasattr(model, "text_model") else ""
    named = {(name if name == PROJECTION else inside + name): each for name, each in plain.items()}
    if hasattr(model, "text_projection") and PROJECTION not in named:
        # As in the reference code of SD3, whose CLIP-L has none.
        named[PROJECTION] = torch.eye(model.config.projection_dim)
    return named


def _of_open_clip(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of an OpenCLIP's text half, as OpenAI's CLIP is called in transformers."""
    found: dict[str, Tensor] = {}
    for name, each in weights.items():
        if name == "text_projection":
            found[PROJECTION] = each.T.contiguous()
        elif name in OPEN_CLIP:
            found[OPEN_CLIP[name]] = each
        elif name.startswith("transformer.resblocks."):
            number, _, rest = name.removeprefix("transformer.resblocks.").partition(".")
            layer = f"encoder.layers.{number}."
            if rest.startswith("attn.in_proj_"):
                kind = rest.removeprefix("attn.in_proj_")
                for letter, third in zip("qkv", each.chunk(3), strict=True):
                    found[f"{layer}self_attn.{letter}_proj.{kind}"] = third.clone()
            else:
                part, _, kind = rest.rpartition(".")
                found[f"{layer}{_OPEN_CLIP_LAYER[part]}.{kind}"] = each
    return found
