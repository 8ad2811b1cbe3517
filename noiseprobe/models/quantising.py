"""Frozen weights in 4 or 8 bits, for adapters beside them."""

from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from noiseprobe.core.errors import UserError

LIBRARIES = {"nf4": "bitsandbytes", "int8": "torchao"}
"""What each kind needs, by its name on the package index."""

BLOCK = 64
"""Weights that share a scale, with nf4."""


def require_library(kind: str) -> None:
    """Raise `UserError` unless the library of a kind is installed."""
    if kind not in LIBRARIES:
        raise UserError(f"--quantize: '{kind}' given; choose one of {', '.join(LIBRARIES)}")
    if find_spec(LIBRARIES[kind]) is None:
        raise UserError(
            f"--quantize: {kind} needs {LIBRARIES[kind]}, which is not installed; "
            f"pip install {LIBRARIES[kind]}"
        )


def quantise(module: Any, kind: str, dtype: torch.dtype, device: torch.device) -> None:
    """Keep the weights of a frozen module's linear layers in fewer bits; they compute in `dtype`.

    `nf4`: 4 bits, in blocks of 64 with a scale each (Dettmers et al. 2023, arXiv 2305.14314).
    `int8`: 8 bits, with a scale per row. Convolutions, norms and embeddings stay as they are.
    """
    layers = linear_layers(module)
    if kind == "int8":
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        quantize_(module, Int8WeightOnlyConfig())
    else:
        for name in layers:
            module.set_submodule(name, _in_four_bits(module.get_submodule(name), dtype, device))
        module.is_loaded_in_4bit = True  # so that peft puts the adapters for it beside
    for name in layers:  # which autocast does not reach
        module.get_submodule(name).register_forward_pre_hook(_Cast(dtype))


def linear_layers(module: Any) -> list[str]:
    """The names of the layers whose weights are kept in fewer bits."""
    return [name for name, each in module.named_modules() if type(each) is nn.Linear]


class _Cast:
    """Casts what goes into a layer."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __call__(self, layer: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (given[0].to(self.dtype), *given[1:])


def _in_four_bits(layer: Any, dtype: torch.dtype, device: torch.device) -> nn.Module:
    from bitsandbytes.nn import Linear4bit, Params4bit

    made: Any = Linear4bit(
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        compute_dtype=dtype,
        quant_type="nf4",
        device="meta",
    )
    made.weight = Params4bit(layer.weight.data.contiguous(), requires_grad=False, quant_type="nf4")
    made.bias = layer.bias
    # Its other form for a CPU rounds scales, from the first pass without gradients on.
    made.support_avx512bf16_for_cpu = False
    done: nn.Module = made.to(device).eval()
    return done
