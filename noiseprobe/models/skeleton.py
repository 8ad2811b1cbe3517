"""Models without weights: modules of a model's configurations, whose tensors have shapes alone."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from noiseprobe.models import family, index_of, model_location, pipeline_of
from noiseprobe.models.base import DiffusionModel
from noiseprobe.models.converting import of_config
from noiseprobe.models.loading import LIBRARIES, class_of, has_weights, loading, local_directory
from noiseprobe.models.quantising import BLOCK, linear_layers
from noiseprobe.models.single_file import SingleFile

BITS = {"nf4": 4, "int8": 8}


def skeleton_of(
    source: str,
    revision: str | None = None,
    base: str | None = None,
    prediction: str | None = None,
) -> tuple[type[DiffusionModel], dict[str, Any]]:
    """The family of a model and its parts, modules on the meta device, of configurations alone.

    Those of a file are as `noiseprobe.models.single_file` finds them. Raises `UserError` for what
    is no model, or of no family that is known.
    """
    where = model_location(source)
    made = family(pipeline_of(where, revision))
    if (path := Path(where).expanduser()).is_file():
        return made, _of_file(SingleFile(path, base, prediction, revision), made)
    index = index_of(where, revision)
    parts = {}
    for part in made.part_names():
        library, kind = index.get(part) or (None, None)
        if library in LIBRARIES and kind is not None:
            parts[part] = _part(where, part, class_of(where, part, library, kind), revision)
    return made, parts


def _part(where: str, part: str, kind: Any, revision: str | None) -> Any:
    place = str(local_directory(where) or where)
    own = {"subfolder": part, "revision": revision}
    with loading(f"--model: cannot read {part} of '{where}'", "check the path and its files"):
        if not has_weights(kind):
            return kind.from_pretrained(place, **own)
        with torch.device("meta"):
            if hasattr(kind, "from_config"):
                return kind.from_config(kind.load_config(place, **own))
            return kind(kind.config_class.from_pretrained(place, **own))


def _of_file(file: SingleFile, made: type[DiffusionModel]) -> dict[str, Any]:
    parts = {}
    for part in made.part_names():
        library, name, *_ = file.index.get(part) or (None, None)
        if library is None or (part in made.optional and not file.has(part)):
            continue
        kind = class_of(str(file.file), part, library, str(name))
        config = file.config_file(part)
        if not has_weights(kind):
            parts[part] = file.elsewhere(part, kind)
        elif config is not None and config.is_file():
            with torch.device("meta"):
                parts[part] = of_config(kind, config)
        if parts.get(part) is None:
            raise file.lacks(part)
    return parts


def stand_in(modules: Iterable[nn.Module]) -> None:
    """Give modules of the meta device tensors of the mode that is active, as a `FakeTensorMode`.

    Shapes, types and what is trained stay; a tensor that modules share stays shared.
    """
    made: dict[int, nn.Parameter] = {}
    each: Tensor
    for module in (each for part in modules for each in part.modules()):
        for name, each in list(module.named_parameters(recurse=False)):
            if id(each) not in made:
                empty = torch.empty(each.shape, dtype=each.dtype)
                made[id(each)] = nn.Parameter(empty, requires_grad=each.requires_grad)
            module._parameters[name] = made[id(each)]
        for name, each in list(module.named_buffers(recurse=False)):
            module._buffers[name] = torch.zeros(each.shape, dtype=each.dtype)


def pack(module: nn.Module, kind: str) -> None:
    """Let the linear layers take as much memory as `noiseprobe.models.quantising` makes them."""
    for name in linear_layers(module):
        module.set_submodule(name, _Packed(module.get_submodule(name), kind))


class _Packed(nn.Linear):
    """A linear layer whose weight is unpacked where it is used, in both directions."""

    def __init__(self, layer: Any, kind: str) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.dtype = layer.weight.dtype
        packed = layer.weight.numel() * BITS[kind] // 8
        # Those of nf4 are kept in a byte each, and those of 256 of them in four.
        blocks = layer.weight.numel() // BLOCK
        scales = (blocks + blocks // 64) // 4 if kind == "nf4" else layer.out_features
        there = layer.weight.device
        self.weight = _frozen(torch.empty(packed, dtype=torch.uint8, device=there))
        self.scales = _frozen(torch.empty(scales, device=there))
        self.bias = layer.bias

    def forward(self, given: Tensor) -> Tensor:
        """As the layer."""
        shape = (self.out_features, self.in_features)
        result: Tensor = _Unpacking.apply(given.to(self.dtype), shape, self.bias)
        return result


class _Unpacking(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, given: Tensor, shape: tuple[int, int], bias: Tensor | None) -> Tensor:
        ctx.shape = shape
        return nn.functional.linear(given, given.new_empty(shape), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        [gradient] = gradients
        return gradient @ gradient.new_empty(ctx.shape), None, None


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)
