"""Frozen weights in 4 or 8 bits, for adapters beside them."""

from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from noiseprobe.core.errors import UserError

LIBRARIES = {"nf4": "bitsandbytes", "int8": "torchao"}
"""What each kind needs, by its name on the package index."""


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
    if kind == "int8":
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        quantize_(module, Int8WeightOnlyConfig())
        return
    for owner in list(module.modules()):
        for name, layer in list(owner.named_children()):
            if type(layer) is nn.Linear:
                setattr(owner, name, _in_four_bits(layer, dtype, device))
    module.is_loaded_in_4bit = True  # so that peft puts the adapters for it beside


def _in_four_bits(layer: nn.Linear, dtype: torch.dtype, device: torch.device) -> nn.Module:
    from bitsandbytes.nn import Linear4bit, Params4bit

    made: nn.Module = Linear4bit(
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        compute_dtype=dtype,
        quant_type="nf4",
        device="meta",
    )
    made.weight = Params4bit(layer.weight.data.contiguous(), requires_grad=False, quant_type="nf4")
    made.bias = layer.bias
    return made.to(device).eval()
