"""What of a model changes while it is trained: what should and does not, and what should not.

Looked at where checkpoints are written, and at the end. What is kept of a tensor is the sum of its
bits as whole numbers, which any change moves but by a rare chance; a norm would lose small ones.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from noiseprobe.core.progress import Reporter
from noiseprobe.models.base import DiffusionModel, device_of
from noiseprobe.training.methods.base import Method

BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

FEWEST_STEPS = 2
"""Before so many steps nothing is expected to have changed: in its first, LoRA's A has a gradient
of 0, for B is 0, and a warm-up's first rates are."""

LONG = 100
"""Steps without a gradient that are worth a line."""


class Changes:
    """Warns of trained tensors that stay as they are, of frozen ones that change, and of trained
    ones without a gradient for `LONG` steps; of each tensor once.

    A change is one since this was made: at the start of a training, or where it goes on.
    """

    def __init__(self, model: DiffusionModel, method: Method, reporter: Reporter) -> None:
        self.method, self.reporter = method, reporter
        trained = {id(each) for each in method.parameters()}
        parts = {model.denoiser_name: model.denoiser, "vae": model.vae}
        parts |= {each.name: each.module for each in model.encoders}
        self.frozen = {
            f"{part}.{name}": each
            for part, module in parts.items()
            if device_of(module) == model.device  # what lies aside is no part of a step
            for name, each in [*module.named_parameters(), *module.named_buffers()]
            if id(each) not in trained and type(each.data) is Tensor  # no packed kind of its own
        }
        self.sums = {
            "trained": checksums(method.named.values()),
            "frozen": checksums(self.frozen.values()),
        }
        self.steps = self.since = 0
        self.moved: Tensor | None = None
        self._said: set[str] = set()

    def step(self, rate: float, norms: Tensor) -> None:
        """Take note of a step that was taken at a learning rate, without asking the device.

        `norms` are those of the gradients, (n,), one for each of the method's parameters, 0 where
        one has none.
        """
        self.steps += rate > 0
        self.since += 1
        moves = norms != 0
        self.moved = moves if self.moved is None else self.moved | moves

    def look(self) -> None:
        """Say what is not as it should be now, in one line of each kind."""
        now = checksums(self.frozen.values())
        names = _differing(self.frozen, self.sums["frozen"], now)
        self._say(
            names,
            "frozen tensors have changed since training began",
            "something else than noiseprobe writes to them, and no checkpoint holds them",
        )
        if self.steps >= FEWEST_STEPS:
            still = checksums(self.method.named.values())
            changed = _differing(self.method.named, self.sums["trained"], still)
            self._say(
                [name for name in self.method.named if name not in changed],
                f"trained tensors have not changed in {self.steps} steps",
                "they are frozen, the learning rate is too low for their type, or the model does "
                "not use them",
            )
        if self.since >= LONG and self.moved is not None:
            moved = self.moved.tolist()
            still_names = [
                name for name, each in zip(self.method.named, moved, strict=True) if not each
            ]
            self._say(
                still_names,
                f"trained tensors have had no gradient for {self.since} steps",
                "they are frozen, or the model does not use them",
            )
            self.since, self.moved = 0, None

    def _say(self, names: Iterable[str], what: str, why: str) -> None:
        new = [name for name in names if name not in self._said]
        self._said.update(new)
        if new:
            self.reporter.note(f"warning: {len(new)} {what}, such as {new[0]}: {why}")


@torch.no_grad()
def checksums(tensors: Iterable[Tensor]) -> list[int]:
    """The sum of the bits of each tensor, as whole numbers; one fetch per device."""
    sums = [each.data.view(BITS[each.element_size()]).sum(dtype=torch.int64) for each in tensors]
    found: dict[int, int] = {}
    for device in dict.fromkeys(each.device for each in sums):
        here = [index for index, each in enumerate(sums) if each.device == device]
        values = torch.stack([sums[index] for index in here]).tolist()
        found |= dict(zip(here, values, strict=True))
    return [found[index] for index in range(len(sums))]


def _differing(names: Iterable[str], before: list[int], now: list[int]) -> list[str]:
    return [name for name, old, new in zip(names, before, now, strict=True) if old != new]
