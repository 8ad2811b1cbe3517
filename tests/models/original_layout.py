"""A pipeline's weights in one file, under the names that A1111, ComfyUI and kohya know.

Written from the published layouts: CompVis/stable-diffusion (`openaimodel.py`, `model.py` of the
autoencoder), Stability-AI/generative-models and sd3.5, black-forest-labs/flux, OpenCLIP.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

Named = Mapping[str, Tensor]

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
AROUND = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def unet(model: Any) -> dict[str, Tensor]:
    """Of `openaimodel.py`: blocks are counted through all levels."""
    layers = model.config.layers_per_block
    attends = [kind.startswith("CrossAttn") for kind in model.config.up_block_types]

    def renamed(name: str) -> str:
        for ours, theirs in AROUND.items():
            if name.startswith(f"{ours}."):
                return name.replace(ours, theirs, 1)
        if found := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
            kind, number, rest = found.groups()
            if kind == "attentions":
                return f"middle_block.1.{rest}"
            return f"middle_block.{2 * int(number)}.{resnet(rest)}"
        found = re.match(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.*)", name)
        assert found, name
        way, level, kind, number, rest = found.groups()
        down = way == "down"
        first = int(level) * (layers if down else layers + 1) + int(level) * down + down
        place = f"{'input' if down else 'output'}_blocks.{first + int(number)}"
        match kind:
            case "resnets":
                return f"{place}.0.{resnet(rest)}"
            case "attentions":
                return f"{place}.1.{rest}"
            case "downsamplers":
                return f"input_blocks.{first + layers}.0.{rest.replace('conv', 'op')}"
            case _:
                return f"output_blocks.{first + layers}.{1 + attends[int(level)]}.{rest}"

    return {renamed(name): each for name, each in model.state_dict().items()}


def resnet(name: str) -> str:
    part, _, rest = name.partition(".")
    return f"{RESNET[part]}.{rest}"


def autoencoder(model: Any) -> dict[str, Tensor]:
    """Of the autoencoder's `model.py`: attention is by convolutions of 1 × 1."""
    levels = len(model.config.block_out_channels)
    inside = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
    found = {}
    for name, each in model.state_dict().items():
        if (attention := "mid_block.attentions.0.") in name:
            place, rest = name.split(attention)
            part, kind = rest.rsplit(".", 1)
            flat = each.ndim == 2
            found[f"{place}mid.attn_1.{inside[part]}.{kind}"] = (
                each[:, :, None, None] if flat else each
            )
            continue
        new = re.sub(r"mid_block\.resnets\.(\d)", lambda it: f"mid.block_{int(it[1]) + 1}", name)
        new = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", new)
        new = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", new)
        up = r"up_blocks\.(\d)\."
        new = re.sub(f"{up}resnets", lambda it: f"up.{levels - 1 - int(it[1])}.block", new)
        new = re.sub(f"{up}upsamplers.0", lambda it: f"up.{levels - 1 - int(it[1])}.upsample", new)
        new = new.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        found[new] = each
    return found


def clip(model: Any) -> dict[str, Tensor]:
    """As transformers named them when those files were first written."""
    return {
        name if name.startswith(("text_model.", "text_projection")) else f"text_model.{name}": each
        for name, each in model.state_dict().items()
    }


def open_clip(model: Any) -> dict[str, Tensor]:
    """Of OpenCLIP: queries, keys and values in one."""
    weights = {name.removeprefix("text_model."): each for name, each in model.state_dict().items()}
    found = {
        "token_embedding.weight": weights["embeddings.token_embedding.weight"],
        "positional_embedding": weights["embeddings.position_embedding.weight"],
        "ln_final.weight": weights["final_layer_norm.weight"],
        "ln_final.bias": weights["final_layer_norm.bias"],
        "logit_scale": torch.zeros(()),
    }
    if "text_projection.weight" in weights:
        found["text_projection"] = weights["text_projection.weight"].T
    inside = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc"}
    inside |= {"mlp.fc2": "mlp.c_proj", "self_attn.out_proj": "attn.out_proj"}
    for number in range(model.config.num_hidden_layers):
        ours, theirs = f"encoder.layers.{number}.", f"transformer.resblocks.{number}."
        for kind in ("weight", "bias"):
            three = [weights[f"{ours}self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
            found[f"{theirs}attn.in_proj_{kind}"] = torch.cat(three)
            for part, name in inside.items():
                found[f"{theirs}{name}.{kind}"] = weights[f"{ours}{part}.{kind}"]
    return found


def t5(model: Any) -> dict[str, Tensor]:
    return {name: each for name, each in model.state_dict().items() if "embed_tokens" not in name}


def swapped(weight: Tensor) -> Tensor:
    """Shift before scale, where diffusers has scale before shift."""
    scale, shift = weight.chunk(2)
    return torch.cat([shift, scale])


def sd3(model: Any) -> dict[str, Tensor]:
    """Of `mmditx.py`: one block holds pictures (x) and words (context)."""
    weights = model.state_dict()
    last = model.config.num_layers - 1
    found = {"pos_embed": weights["pos_embed.pos_embed"]}

    def take(ours: str, theirs: str, change: Callable[[Tensor], Tensor] = Tensor.clone) -> None:
        for kind in ("weight", "bias"):
            if f"{ours}.{kind}" in weights:
                found[f"{theirs}.{kind}"] = change(weights[f"{ours}.{kind}"])

    def join(ours: str, names: tuple[str, ...], theirs: str) -> None:
        for kind in ("weight", "bias"):
            if f"{ours}.{names[0]}.{kind}" in weights:
                found[f"{theirs}.{kind}"] = torch.cat(
                    [weights[f"{ours}.{n}.{kind}"] for n in names]
                )

    take("pos_embed.proj", "x_embedder.proj")
    for number, place in ((1, 0), (2, 2)):
        inside = "time_text_embed"
        take(f"{inside}.timestep_embedder.linear_{number}", f"t_embedder.mlp.{place}")
        take(f"{inside}.text_embedder.linear_{number}", f"y_embedder.mlp.{place}")
    take("context_embedder", "context_embedder")
    for number in range(last + 1):
        ours = f"transformer_blocks.{number}"
        x, words = f"joint_blocks.{number}.x_block", f"joint_blocks.{number}.context_block"
        join(f"{ours}.attn", ("to_q", "to_k", "to_v"), f"{x}.attn.qkv")
        join(f"{ours}.attn2", ("to_q", "to_k", "to_v"), f"{x}.attn2.qkv")
        added = ("add_q_proj", "add_k_proj", "add_v_proj")
        join(f"{ours}.attn", added, f"{words}.attn.qkv")
        for attention in ("attn", "attn2"):
            take(f"{ours}.{attention}.norm_q", f"{x}.{attention}.ln_q")
            take(f"{ours}.{attention}.norm_k", f"{x}.{attention}.ln_k")
            take(f"{ours}.{attention}.to_out.0", f"{x}.{attention}.proj")
        take(f"{ours}.attn.norm_added_q", f"{words}.attn.ln_q")
        take(f"{ours}.attn.norm_added_k", f"{words}.attn.ln_k")
        take(f"{ours}.attn.to_add_out", f"{words}.attn.proj")
        take(f"{ours}.norm1.linear", f"{x}.adaLN_modulation.1")
        change = swapped if number == last else Tensor.clone
        take(f"{ours}.norm1_context.linear", f"{words}.adaLN_modulation.1", change)
        for part, of in (("ff", x), ("ff_context", words)):
            take(f"{ours}.{part}.net.0.proj", f"{of}.mlp.fc1")
            take(f"{ours}.{part}.net.2", f"{of}.mlp.fc2")
    take("proj_out", "final_layer.linear")
    take("norm_out.linear", "final_layer.adaLN_modulation.1", swapped)
    return found


def flux(model: Any) -> dict[str, Tensor]:
    """Of `flux/model.py`: double blocks with an img and a txt half, then single ones."""
    weights = model.state_dict()
    found: dict[str, Tensor] = {}

    def take(ours: str, theirs: str, change: Callable[[Tensor], Tensor] = Tensor.clone) -> None:
        for kind in ("weight", "bias"):
            if f"{ours}.{kind}" in weights:
                found[f"{theirs}.{kind}"] = change(weights[f"{ours}.{kind}"])

    def join(names: Iterator[str], theirs: str) -> None:
        parts = list(names)
        for kind in ("weight", "bias"):
            found[f"{theirs}.{kind}"] = torch.cat([weights[f"{name}.{kind}"] for name in parts])

    for number, layer in ((1, "in_layer"), (2, "out_layer")):
        inside = "time_text_embed"
        take(f"{inside}.timestep_embedder.linear_{number}", f"time_in.{layer}")
        take(f"{inside}.text_embedder.linear_{number}", f"vector_in.{layer}")
        take(f"{inside}.guidance_embedder.linear_{number}", f"guidance_in.{layer}")
    take("context_embedder", "txt_in")
    take("x_embedder", "img_in")
    for number in range(model.config.num_layers):
        ours, theirs = f"transformer_blocks.{number}", f"double_blocks.{number}"
        for half, added in (("img", False), ("txt", True)):
            names = (
                ("add_q_proj", "add_k_proj", "add_v_proj") if added else ("to_q", "to_k", "to_v")
            )
            join((f"{ours}.attn.{name}" for name in names), f"{theirs}.{half}_attn.qkv")
            for letter, word in (("q", "query"), ("k", "key")):
                norm = weights[f"{ours}.attn.norm_{'added_' * added}{letter}.weight"]
                found[f"{theirs}.{half}_attn.norm.{word}_norm.scale"] = norm
            out = "to_add_out" if added else "to_out.0"
            take(f"{ours}.attn.{out}", f"{theirs}.{half}_attn.proj")
            take(f"{ours}.norm1{'_context' * added}.linear", f"{theirs}.{half}_mod.lin")
            take(f"{ours}.ff{'_context' * added}.net.0.proj", f"{theirs}.{half}_mlp.0")
            take(f"{ours}.ff{'_context' * added}.net.2", f"{theirs}.{half}_mlp.2")
    for number in range(model.config.num_single_layers):
        ours, theirs = f"single_transformer_blocks.{number}", f"single_blocks.{number}"
        four = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
        join((f"{ours}.{name}" for name in four), f"{theirs}.linear1")
        take(f"{ours}.proj_out", f"{theirs}.linear2")
        take(f"{ours}.norm.linear", f"{theirs}.modulation.lin")
        for letter, word in (("q", "query"), ("k", "key")):
            found[f"{theirs}.norm.{word}_norm.scale"] = weights[f"{ours}.attn.norm_{letter}.weight"]
    take("proj_out", "final_layer.linear")
    take("norm_out.linear", "final_layer.adaLN_modulation.1", swapped)
    return found


def under(prefix: str, weights: Named) -> dict[str, Tensor]:
    return {prefix + name: each for name, each in weights.items()}


def stable_diffusion(pipeline: Any) -> dict[str, Tensor]:
    """Stable Diffusion 1, of CompVis."""
    return (
        under("model.diffusion_model.", unet(pipeline.unet))
        | under("first_stage_model.", autoencoder(pipeline.vae))
        | under("cond_stage_model.transformer.", clip(pipeline.text_encoder))
        | {"alphas_cumprod": torch.ones(1000)}
    )


def stable_diffusion_2(pipeline: Any) -> dict[str, Tensor]:
    """Stable Diffusion 2, of Stability AI: with an OpenCLIP."""
    own = stable_diffusion(pipeline)
    plain = {name: each for name, each in own.items() if not name.startswith("cond_stage_model.")}
    return plain | under("cond_stage_model.model.", open_clip(pipeline.text_encoder))


def stable_diffusion_xl(pipeline: Any) -> dict[str, Tensor]:
    """SDXL, of Stability-AI/generative-models."""
    return (
        under("model.diffusion_model.", unet(pipeline.unet))
        | under("first_stage_model.", autoencoder(pipeline.vae))
        | under("conditioner.embedders.0.transformer.", clip(pipeline.text_encoder))
        | under("conditioner.embedders.1.model.", open_clip(pipeline.text_encoder_2))
    )


def stable_diffusion_3(pipeline: Any) -> dict[str, Tensor]:
    """SD3 with its text encoders, as ComfyUI loads it."""
    own = under("model.diffusion_model.", sd3(pipeline.transformer)) | under(
        "first_stage_model.", autoencoder(pipeline.vae)
    )
    makers = {"clip_l": clip, "clip_g": clip, "t5xxl": t5}
    encoders = (pipeline.text_encoder, pipeline.text_encoder_2, pipeline.text_encoder_3)
    for (name, maker), encoder in zip(makers.items(), encoders, strict=True):
        own |= under(f"text_encoders.{name}.transformer.", maker(encoder))
    return own
