"""How much memory a training takes, from a model's configurations alone.

One step is taken with tensors that have shapes and no numbers (`FakeTensorMode`), by the code that
trains, while whatever is allocated and let go of is counted.
"""

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from noiseprobe.models.base import PRECISIONS, DiffusionModel, trains, type_of
from noiseprobe.models.skeleton import pack, skeleton_of, stand_in
from noiseprobe.run.settings import RunConfig
from noiseprobe.training.concept import Concept
from noiseprobe.training.conditioning import Conditioner
from noiseprobe.training.methods import masters
from noiseprobe.training.methods.base import Method
from noiseprobe.training.preparing import attached

GIB = 2**30
RESERVE = GIB
"""What CUDA itself and the gaps between allocations are taken to need beside."""

SMALL = 4096
"""Tensors of less than so many numbers keep whole moments with adamw8bit."""


@dataclass(frozen=True)
class Estimate:
    """Memory in bytes.

    Attributes:
        resolution: of the pictures, in pixels.
        parameters: how many the denoiser, the text encoders and the VAE have, by part.
        trained: how many are trained.
        weights, gradients, optimizer: of what is on the device while training.
        activations: what else a step takes at its peak.
        step: the peak of a training step: the sum of these four.
        captions, photographs: the peak while the text encoders or the VAE are there, before it.
    """

    resolution: int
    parameters: dict[str, int]
    trained: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
    captions: int
    photographs: int

    @property
    def parts(self) -> dict[str, int]:
        """What a training step takes, by what it is."""
        names = ("weights", "gradients", "optimizer", "activations")
        return {name: getattr(self, name) for name in names}

    @property
    def step(self) -> int:
        """The peak of a training step."""
        return sum(self.parts.values())

    @property
    def peak(self) -> int:
        """The most that is needed at once."""
        return max(self.step, self.captions, self.photographs)

    @property
    def peak_at(self) -> str:
        """When the most is needed."""
        before = {"captions": self.captions, "photographs": self.photographs}
        largest = max(before, key=lambda name: before[name])
        encoded = f"while {largest} are encoded"
        return encoded if before[largest] > self.step else "while training"

    def fits(self, card: int) -> bool:
        """Whether a card of so many bytes has room for it."""
        return self.peak + RESERVE <= card


def estimate(
    config: RunConfig,
    kind: type[DiffusionModel] | None = None,
    parts: Mapping[str, Any] | None = None,
    on_gpu: bool = True,
) -> Estimate:
    """The memory that training with these settings takes.

    Args:
        config: its precision is settled. Of the settings, those count that `noiseprobe estimate`
            takes.
        kind, parts: the family and the parts of the model, modules on the meta device; by default
            those of the model that `config` names.
        on_gpu: whether norms are computed in float32 under autocast, as on CUDA.

    Raises:
        UserError: what `prepare` raises of a model or a method.
    """
    if kind is None or parts is None:
        kind, parts = skeleton_of(config.model, config.revision, config.base, config.prediction)
    modules = {name: each for name, each in parts.items() if isinstance(each, nn.Module)}
    dtypes = _dtypes(kind, config)
    for name, module in modules.items():
        module.requires_grad_(False).eval()
        dtype = dtypes.get(name, torch.float32)
        for label, weight in module.named_parameters():
            weight.data = weight.data.to(type_of(module, label, dtype))
    if config.quantize:
        pack(parts[kind.denoiser_name], config.quantize)
    model = kind(config.model, parts, resolution=config.resolution, clip_skip=config.clip_skip)
    concept = Concept("thing", (), config.class_noun or "dog", config.placeholder)
    method = attached(model, concept, config)
    # Schedulers ask their tensors for numbers.
    _ = model.stock
    time = torch.from_numpy(model.path.times(np.zeros(1)))
    if on_gpu:
        norms_as_on_cuda(model.denoiser)
    with FakeTensorMode(allow_non_fake_inputs=True):
        stand_in(modules.values())
        return _measured(model, method, config, time.is_floating_point())


def _dtypes(kind: type[DiffusionModel], config: RunConfig) -> dict[str, torch.dtype]:
    """Of the parts that are not in float32 before the method is attached."""
    full = masters(config)
    halved = [] if "denoiser" in full else [kind.denoiser_name]
    halved += [] if "encoders" in full else list(kind.encoder_names)
    return dict.fromkeys(halved, PRECISIONS[config.precision])


def _measured(model: DiffusionModel, method: Method, config: RunConfig, flows: bool) -> Estimate:
    encoders = {each.name: each.module for each in model.encoders}
    trained = any(map(trains, encoders.values()))
    there = [model.denoiser, *(encoders.values() if trained else ())]
    weights = sum(map(size_of, there))
    gradients = sum(_bytes(each) for each in method.parameters())
    state = sum(state_of(each, config.optimizer) for each in method.parameters())
    with torch.no_grad(), counted() as photographs:
        model.encode_images(torch.empty(1, 3, model.resolution, model.resolution))
    caption = method.captions[0]
    with torch.no_grad(), counted() as captions:
        Conditioner(model)([caption])
    with counted() as step:
        _take_step(model, caption, config, trained, flows)
    beside = 0 if trained else sum(map(size_of, encoders.values()))
    modules = {model.denoiser_name: model.denoiser, **encoders, "vae": model.vae}
    return Estimate(
        resolution=model.resolution,
        parameters={name: count_of(module) for name, module in modules.items()},
        trained=sum(each.numel() for each in method.parameters()),
        weights=weights,
        gradients=gradients,
        optimizer=state,
        activations=max(step.peak - gradients, 0),
        captions=weights + beside + captions.peak,
        photographs=weights + size_of(model.vae) + photographs.peak,
    )


def _take_step(
    model: DiffusionModel, caption: str, config: RunConfig, trained: bool, flows: bool
) -> None:
    """The forward and backward pass of one batch."""
    count = config.train_batch_size * (2 if config.prior else 1)
    conditioning = Conditioner(model, keep=not trained)([caption] * count)
    shape = (count, *model.latent_shape)
    times = torch.zeros(count, dtype=torch.float32 if flows else torch.int64)
    model.loss(torch.empty(shape), torch.empty(shape), times, conditioning).mean().backward()


def state_of(weight: Tensor, optimizer: str) -> int:
    """Bytes that an optimizer keeps of a trained tensor."""
    match optimizer:
        case "adamw8bit":  # two moments of a byte each, and a scale for each 256
            numbers = weight.numel()
            return 8 * numbers if numbers < SMALL else 2 * numbers + 8 * (numbers // 256)
        case "prodigy":  # two moments, a sum of gradients, and where it started
            return 16 * weight.numel()
        case _:
            return 8 * weight.numel()


def size_of(module: nn.Module) -> int:
    """Bytes of a module's weights and buffers."""
    return sum(_bytes(each) for each in (*module.parameters(), *module.buffers()))


def count_of(module: nn.Module) -> int:
    """How many parameters a module has, adapters beside; those in fewer bits count as they were."""
    packed: list[Any] = [each for each in module.modules() if hasattr(each, "scales")]
    count = sum(each.numel() for each in module.parameters())
    for each in packed:
        count += each.in_features * each.out_features - each.weight.numel() - each.scales.numel()
    return count


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


@contextmanager
def counted() -> "Iterator[Allocations]":
    """Count what is allocated within."""
    with Allocations() as found:
        yield found


class Allocations(TorchDispatchMode):
    """Bytes of the tensors that operations make, now and at their peak, until they are let go of.

    What kernels take for themselves meanwhile is not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and take note of what it made."""
        given = {id(each) for each in _storages((args, kwargs))}
        made = function(*args, **(kwargs or {}))
        for storage in _storages(made):
            if id(storage) not in given and id(storage) not in self._known:
                self._take(storage)
        return made

    def _take(self, storage: Any) -> None:
        key, size = id(storage), storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)

        def let_go(_: Any) -> None:
            self.now -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, let_go)


def _storages(tree: Any) -> list[Any]:
    found: list[Any] = []
    tree_map_only(Tensor, lambda each: found.append(each.untyped_storage()), tree)
    return found


def norms_as_on_cuda(module: nn.Module) -> None:
    """Let norms compute in float32 under autocast, where those of a CPU stay in half precision."""
    for each in module.modules():
        if isinstance(each, nn.GroupNorm | nn.LayerNorm):
            each.forward = partial(_norm, each)  # type: ignore[method-assign]


def _norm(layer: Any, given: Tensor) -> Tensor:
    if not torch.is_autocast_enabled("cpu"):
        return type(layer).forward(layer, given)
    weight, bias = (None if each is None else each.float() for each in (layer.weight, layer.bias))
    if isinstance(layer, nn.GroupNorm):
        return F.group_norm(given.float(), layer.num_groups, weight, bias, layer.eps)
    return F.layer_norm(given.float(), layer.normalized_shape, weight, bias, layer.eps)
