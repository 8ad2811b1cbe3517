"""Models that are damaged, forged, or would run code; none of them is of the package."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.bad_inputs.cases import Case, Command, Place
from tests.bad_inputs.checkpoints import Evil
from tests.bad_inputs.images import train

Change = Callable[[Path], object]

UNET = "unet/diffusion_pytorch_model.safetensors"


def cases() -> Iterator[Case]:
    """A training on a copy of the small model that was changed, or on what is none."""
    for name, (change, told) in _changed().items():
        yield Case(f"models/{name}", _on_changed(change), refused=told)
    for name, (file, content, told) in _single().items():
        yield Case(f"models/{name}", _on_file(file, content), refused=told)
    for name, (given, told) in _names().items():
        yield Case(f"models/{name}", _on(given), refused=told)
    hub = "cannot be had from the hub"
    yield Case("models/a hub id", _on("nobody/nothing"), refused=hub, hub=True)
    yield Case("models/a hub id with --offline", _offline, refused="--offline")
    yield Case("models/code beside a text encoder", _on_changed(_auto_map), writes=("r",))
    yield Case("models/an estimate of shapes without end", _estimate, refused="")


def _on_changed(change: Change) -> Callable[[Place], Command]:
    def command(place: Place) -> Command:
        model = place.copied("model")
        change(model)
        return [model if each == place.model else each for each in train(place, place.photographs)]

    return command


def _on_file(name: str, content: bytes) -> Callable[[Place], Command]:
    def command(place: Place) -> Command:
        file = place.file(name, content)
        return [file if each == place.model else each for each in train(place, place.photographs)]

    return command


def _on(given: object) -> Callable[[Place], Command]:
    def command(place: Place) -> Command:
        return [given if each == place.model else each for each in train(place, place.photographs)]

    return command


def _offline(place: Place) -> Command:
    return [*_on("nobody/nothing")(place), "--offline"]


def _estimate(place: Place) -> Command:
    model = place.copied("model")
    _json("unet/config.json", block_out_channels=[2**40, 2**40])(model)
    return ["estimate", "--model", model]


def _json(name: str, **values: Any) -> Change:
    def change(model: Path) -> None:
        told = json.loads((model / name).read_text())
        (model / name).write_text(json.dumps(told | values))

    return change


def _content(name: str, content: bytes | str) -> Change:
    def change(model: Path) -> None:
        (model / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def _tensor(change: Callable[[torch.Tensor], torch.Tensor], name: str = "conv_in.weight") -> Change:
    def changed(model: Path) -> None:
        weights = load_file(model / UNET)
        weights[name] = change(weights[name])
        save_file(weights, model / UNET)

    return changed


def _pickled(old: bool) -> Change:
    def change(model: Path) -> None:
        (model / UNET).unlink()
        evil = {"a": Evil(model.parent / "owned")}
        target = model / "unet" / "diffusion_pytorch_model.bin"
        torch.save(evil, target, _use_new_zipfile_serialization=not old)

    return change


def _pickled_text(model: Path) -> None:
    for each in (model / "text_encoder").glob("*.safetensors"):
        each.unlink()
    torch.save({"a": Evil(model.parent / "owned")}, model / "text_encoder" / "pytorch_model.bin")


def _code(model: Path) -> None:
    _json("model_index.json", unet=["evil", "Evil"])(model)
    (model / "evil.py").write_text("open('owned', 'w')\nclass Evil: pass\n")


def _auto_map(model: Path) -> None:
    _json("text_encoder/config.json", auto_map={"AutoModel": "evil.Evil"})(model)
    (model / "text_encoder" / "evil.py").write_text("open('owned', 'w')\nclass Evil: pass\n")


def _auto_tokenizer(model: Path) -> None:
    _json("model_index.json", tokenizer=["transformers", "AutoTokenizer"])(model)
    _json("tokenizer/tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]})(model)
    (model / "tokenizer" / "evil.py").write_text("open('owned', 'w')\nclass Evil: pass\n")


def _fifo(model: Path) -> None:
    (model / "model_index.json").unlink()
    os.mkfifo(model / "model_index.json")


def _changed() -> dict[str, tuple[Change, str]]:
    index, unet, vae = "model_index.json", "unet/config.json", "vae/config.json"
    scheduler = "scheduler/scheduler_config.json"
    return {
        "an index of garbage": (_content(index, b"\xff"), index),
        "an index that is a list": (_content(index, "[]"), index),
        "an index that is empty": (_content(index, "{}"), index),
        "an index of 9000 levels": (_content(index, "[" * 9000 + "]" * 9000), index),
        "an index that is a FIFO": (_fifo, index),
        "an index that is a link to /dev/zero": (
            lambda model: ((model / index).unlink(), (model / index).symlink_to("/dev/zero")),
            index,
        ),
        "an unknown pipeline": (_json(index, _class_name="Magic\x1b[31m"), r"Magic\x1b[31m"),
        "a pipeline that is a number": (_json(index, _class_name=3), index),
        "a part of three": (_json(index, unet=["a", "b", "c"]), index),
        "a part that is null": (_json(index, unet=[None, None]), "has no unet"),
        "a part of code beside it": (_code, "evil.Evil"),
        "a part that is a function": (_json(index, unet=["transformers", "pipeline"]), "pipeline"),
        "a part that is a module": (_json(index, unet=["diffusers", "utils"]), "diffusers.utils"),
        "a part of Python's own": (_json(index, unet=["os", "system"]), "os.system"),
        "a part that may run code": (_auto_tokenizer, "AutoTokenizer"),
        "a part with a path for a name": (_json(index, unet=["diffusers", "../x"]), "../x"),
        "a part of another kind": (_json(index, unet=["diffusers", "AutoencoderKL"]), "unet"),
        "a pickle that makes a file": (_pickled(False), "more than weights"),
        "a pickle that makes a file, in the old format": (_pickled(True), "more than weights"),
        "a text encoder that makes a file": (_pickled_text, "text_encoder"),
        "a weight that is not a number": (_tensor(lambda each: each * torch.nan), "conv_in.weight"),
        "a weight that is endless": (_tensor(lambda each: each / 0), "not finite"),
        "a weight of another shape": (_tensor(lambda each: each[:, :1].clone()), "conv_in.weight"),
        "weights cut off": (
            lambda model: os.truncate(model / UNET, 1000),
            "unet",
        ),
        "weights of garbage": (_content(UNET, b"\xff" * 999), "unet"),
        "no weights": (lambda model: (model / UNET).unlink(), "unet"),
        "no settings of the denoiser": (lambda model: (model / unet).unlink(), "unet"),
        "settings of garbage": (_content(unet, b"\xff"), "unet"),
        "settings that are a list": (_content(unet, "[]"), "unet"),
        "channels beyond all memory": (_json(unet, block_out_channels=[2**40, 2**40]), "unet"),
        "channels of texts": (_json(unet, block_out_channels=["a", "b"]), "unet"),
        "no channels": (_json(unet, block_out_channels=[]), "unet"),
        "blocks that there are not": (_json(unet, down_block_types=["os.system"] * 2), "unet"),
        "latents of no scale": (_json(vae, scaling_factor="big"), ""),
        "a schedule of no times": (_json(scheduler, num_train_timesteps=0), ""),
        "a schedule of texts": (_json(scheduler, num_train_timesteps="a"), ""),
        "a schedule of 10^10 times": (_json(scheduler, num_train_timesteps=10**10), ""),
        "a schedule of no kind": (_json(scheduler, beta_schedule="magic"), ""),
        "a schedule that is not finite": (_json(scheduler, beta_end=1e999), ""),
        "a schedule that predicts nonsense": (_json(scheduler, prediction_type="magic"), ""),
        "a tokenizer of garbage": (
            lambda model: [each.write_bytes(b"\xff") for each in (model / "tokenizer").iterdir()],
            "tokenizer",
        ),
        "a tokenizer that is empty": (
            lambda model: [each.unlink() for each in (model / "tokenizer").iterdir()],
            "tokenizer",
        ),
    }


def _single() -> dict[str, tuple[str, bytes, str]]:
    return {
        "an empty file": ("m.safetensors", b"", "m.safetensors"),
        "a file of garbage": ("m.safetensors", b"\xff" * 99, "m.safetensors"),
        "a file of no tensors": ("m.safetensors", b"\x02" + bytes(7) + b"{}", "no family"),
        "a checkpoint of text": ("m.ckpt", b"hello", "m.ckpt"),
        "a program": ("m.py", b"open('owned', 'w')", "m.py"),
        "a file of another suffix": ("m.onnx", bytes(99), "m.onnx"),
    }


def _names() -> dict[str, tuple[object, str]]:
    return {
        "a path that is not there": ("/gone/model", "check the path"),
        "a device": ("/dev/zero", "/dev/zero"),
        "a name with escapes": ("/gone\x1b[31m", r"\x1b[31m"),
        "an empty name": ("", "--model"),
        "a name with NUL": ("a\0b", "--model"),
        "a name that leads up": ("../gone/model", "check the path"),
        "an address": ("https://example.com/model", "check the path"),
        "a name of 5000 letters": ("/" + "m" * 5000, "too long"),
    }
