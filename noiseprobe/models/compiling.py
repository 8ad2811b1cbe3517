"""The denoiser's blocks compiled by torch, for passes that come again and again."""

import os
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from noiseprobe.run.settings import RunConfig

LONG = 1000
"""Steps from which on a run is compiled by itself: to compile takes time as well."""


class NotCompiledWarning(UserWarning):
    """What was to be compiled cannot be, and is computed as it is."""


def compiles(config: RunConfig, device: torch.device) -> bool:
    """Whether a run of these settings is compiled there.

    Activations that are computed twice, and weights in 4 or 8 bits, are not.
    """
    if config.compile != "auto":
        return config.compile == "on"
    fits = not config.gradient_checkpointing and config.quantize is None
    has_it = device.type == "cuda" and find_spec("triton") is not None
    return fits and has_it and config.steps >= LONG


class Compiled:
    """Gives the context in which a pass of so many samples is computed by compiled code, or is not.

    Only the blocks are compiled that a denoiser consists of, each kind of them once: that takes far
    less time than the whole. Shapes are static. Kernels are chosen without being timed, so that
    another process has the same ones, and are kept beside what else torch keeps between processes,
    unless TORCHINDUCTOR_CACHE_DIR says where.

    Args:
        denoiser: it stays as it is, but within the context.
        kinds: the passes that are, by their samples and whether gradients are wanted.

    Warns:
        NotCompiledWarning: torch cannot compile it; all is then computed as it is.
    """

    def __init__(self, denoiser: torch.nn.Module, kinds: Collection[tuple[int, bool]]) -> None:
        kept = Path(torch.hub.get_dir()).parent / "inductor"
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(kept))
        self.kinds, self.works = set(kinds), True
        self.fast = {block: self._compiled(block) for block in repeated_blocks(denoiser)}

    @contextmanager
    def __call__(self, samples: int) -> Iterator[None]:
        """Compute by compiled code meanwhile, if such passes are."""
        if not self.works or (samples, torch.is_grad_enabled()) not in self.kinds:
            yield
            return
        for block, fast in self.fast.items():
            block.forward = fast
        try:
            yield
        finally:
            for block in self.fast:
                del block.forward

    def _compiled(self, block: torch.nn.Module) -> Callable[..., Any]:
        plain = block.forward
        fast = torch.compile(plain, dynamic=False, options={"deterministic": True})

        def forward(*given: Any, **named: Any) -> Any:
            if not self.works:
                return plain(*given, **named)
            try:
                # The backward pass is compiled now as well, where an error can be met.
                with torch._functorch.config.patch(force_non_lazy_backward_lowering=True):
                    return fast(*given, **named)
            except torch._dynamo.exc.TorchDynamoException as error:
                self.works = False
                what = str(error).strip().partition("\n")[0]
                told = f"--compile: {what}; computed as it is, which takes longer"
                warnings.warn(told, NotCompiledWarning, stacklevel=2)
                return plain(*given, **named)

        return forward


def repeated_blocks(denoiser: torch.nn.Module) -> list[torch.nn.Module]:
    """The blocks that a denoiser consists of: those that diffusers names, or its transformer's."""
    names = set(getattr(denoiser, "_repeated_blocks", None) or ())
    if not names:
        return list(getattr(denoiser, "transformer_blocks", ()))
    return [each for each in denoiser.modules() if type(each).__name__ in names]
