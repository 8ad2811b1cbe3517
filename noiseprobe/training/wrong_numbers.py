"""Numbers that are NaN or infinite: of which sample and draws they are, and what a person may try.

Nothing here is computed while all numbers are finite.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from noiseprobe.draws.draws import Batch
from noiseprobe.models.base import DiffusionModel
from noiseprobe.run.settings import RunConfig
from noiseprobe.training.methods.base import Method
from noiseprobe.training.objective import Objective

MOST_IN_A_ROW = 10
"""So many steps in a row that cannot be taken end a training that skips them.

Where three steps of ten go wrong by chance, so many in a row come once in 240 000 steps; where
something is broken for good, they come at once. As optax's `apply_if_finite`, which counts errors
in a row as well.
"""

MOST_TOLD = 3
"""Of each kind of wrong number, so many are told one by one; the others are counted."""


def wrong_in(losses: ArrayLike | Tensor) -> NDArray[np.int64]:
    """The samples whose losses, (B,), are NaN or infinite."""
    values = losses.detach().cpu().double().numpy() if isinstance(losses, Tensor) else losses
    return np.flatnonzero(~np.isfinite(np.asarray(values, dtype=np.float64)))


def draws_of(objective: Objective, batch: Batch, sample: int, captions: Sequence[str]) -> str:
    """What a sample of a batch sees, in words: photograph, caption and time.

    `captions` are those of the batch, (B,).
    """
    image, view = int(batch.images[sample]), int(batch.views[sample])
    return (
        f"photograph {objective.names[image]} in view {view}, caption '{captions[sample]}', "
        f"timestep {batch.timesteps[sample]:g}"
    )


def keyed(seed: int, stream: str, replicate: int | str, sample: int) -> str:
    """Which draws of the two Gaussian noises a sample has, as `noiseprobe.draws` keys them."""
    return (
        f"VAE noise and noise of seed {seed}, stream {stream}, replicate {replicate}, "
        f"sample {sample}"
    )


def alone(run: Path, step: int, sample: int, **more: str | int) -> str:
    """The command that computes one sample again; see `noiseprobe.stages.reproducing`."""
    told = "".join(f", {name}={value!r}" for name, value in more.items())
    call = f"noiseprobe.reproduce({str(run)!r}, {step}, {sample}{told})"
    return f'python -c "import noiseprobe; print({call})"'


def broken_trained(method: Method) -> list[str]:
    """The names of trained tensors with a number that is not finite."""
    return _broken(method.named)


def broken_frozen(model: DiffusionModel, method: Method) -> list[str]:
    """The names of such tensors of the denoiser and the text encoders that are not trained."""
    trained = {id(each) for each in method.parameters()}
    parts = {model.denoiser_name: model.denoiser}
    parts |= {each.name: each.module for each in model.encoders}
    return _broken(
        {
            f"{part}.{name}": each
            for part, module in parts.items()
            for name, each in module.named_parameters()
            if id(each) not in trained
        }
    )


@torch.no_grad()
def _broken(tensors: Mapping[str, Tensor]) -> list[str]:
    kept = (torch.float32, torch.float16, torch.bfloat16)
    plain = {
        name: each
        for name, each in tensors.items()
        if each.dtype in kept and type(each.data) is Tensor
    }
    devices = dict.fromkeys(each.device for each in plain.values())
    found: list[str] = []
    for device in devices:
        here = {name: each for name, each in plain.items() if each.device == device}
        whole = torch.stack([each.isfinite().all() for each in here.values()]).tolist()
        found += [name for name, fine in zip(here, whole, strict=True) if not fine]
    return found


def about_weights(trained: list[str], frozen: list[str], step: int, config: RunConfig) -> str:
    """What to say where weights themselves are not finite after `step` steps; "" where all are."""
    if frozen or (trained and step == 0):
        name = (frozen or trained)[0]
        when = "before the first step" if step == 0 else "although nothing trains them"
        return (
            f"--model: {len(frozen or trained)} of its weights are not finite {when}, such as "
            f"{name}; give a file that is whole"
        )
    if trained:
        return (
            f"--learning-rate: {len(trained)} trained tensors are not finite after step {step}, "
            f"such as {trained[0]}; lower it (now {config.learning_rate:g}) and train anew; what "
            "was saved before is kept"
        )
    return ""


def tries(config: RunConfig, applied: bool, run: Path) -> str:
    """What to try where the weights are finite; `applied`: whether any step was taken before."""
    ways = [f"lower --learning-rate (now {config.learning_rate:g})"] * applied
    if config.precision not in ("fp32", "auto"):
        ways.append(f"--precision fp32 (now {config.precision})")
    anew = f"in a new run {' or '.join(ways)}, or " if ways else ""
    return f"{anew}go on without such numbers: --out {run} --resume --on-nan skip"
