"""Several processes that train one run: which rows are whose, and what all of them know.

What is drawn depends on no process, and each evaluates its share of every batch. Losses are put
together and gradients added up, so that all take the same step and come to the same decision.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from noiseprobe.core.errors import UserError


@dataclass(frozen=True)
class Team:
    """The processes of a training, as one of them sees it; by default it is alone.

    Every method but `share` waits for all others to call it as well, and raises `UserError` where
    one of them has gone.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files, draws pictures and speaks."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Which of `count` rows are this process's; the shares differ by one row at most."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def gathered(self, own: Tensor, count: int) -> Tensor:
        """The values (count,) of all rows; `own` are those of this process's share, on its device.

        With several processes they are float64 on the way, and have the dtype of `own`, which is to
        be the same in all, at the end. A process without rows has them where it exchanges tensors.
        """
        if self.size == 1:
            return own
        found = torch.zeros(count, dtype=torch.float64, device=_device())
        found[self.share(count)] = own.detach().to(found)
        _exchanged(distributed.all_reduce, found)
        return found.to(own) if len(own) else found.to(own.dtype)

    def add_up(self, values: Iterable[Tensor]) -> None:
        """Add each tensor up over all processes, in place."""
        if self.size > 1:
            for each in values:
                _exchanged(distributed.all_reduce, each)

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process."""
        return self.any_of([flag])[0]

    def any_of(self, flags: Sequence[bool]) -> list[bool]:
        """Of each flag, whether it is set in any process."""
        if self.size == 1:
            return list(flags)
        found = torch.tensor(flags, dtype=torch.int32, device=_device())
        _exchanged(distributed.all_reduce, found)
        return [bool(each) for each in found.tolist()]

    def of_the_leader(self, value: float) -> float:
        """The leader's value."""
        if self.size == 1:
            return value
        found = torch.tensor(value, dtype=torch.float64, device=_device())
        _exchanged(distributed.broadcast, found, 0)
        return found.item()

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.size > 1:
            _exchanged(distributed.barrier)


ALONE = Team()
"""One process that trains by itself."""


def joined(device: str = "auto") -> Team:
    """The processes that `torchrun` or `accelerate launch` started this one with.

    Each is given a device of its own, unless `device` is `cpu`.
    """
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
    return Team(state.process_index, state.num_processes)


def _exchanged(exchange: Callable[..., object], *arguments: object) -> None:
    """Exchange something with the others.

    Raises:
        UserError: one of them has gone, which says itself why.
    """
    try:
        exchange(*arguments)
    except RuntimeError as error:
        raise UserError(
            "another process of the training has ended, or is out of reach; what it said is the "
            "cause; when that is mended, the same command goes on"
        ) from error


def _device() -> torch.device:
    """Where tensors are exchanged."""
    nccl = distributed.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")
