"""The lowest loss so far and where it was: what several criteria wait on."""

import math
from typing import Any


class Best:
    """The lowest of the losses seen and the index at which it was seen first.

    Attributes:
        loss: the lowest loss, infinity before the first.
        index: its 0-based index among all updates, None before the first.
        seen: how many updates there were, those that brought no evidence included.
    """

    def __init__(self) -> None:
        self.loss = math.inf
        self.index: int | None = None
        self.seen = 0

    def skip(self) -> None:
        """Count an update that brought no evidence."""
        self.seen += 1

    def take(self, loss: float, min_delta: float = 0.0) -> bool:
        """Take a finite loss; whether it is lower than the lowest by more than `min_delta`."""
        lower = self.index is None or loss < self.loss - min_delta
        if lower:
            self.loss, self.index = loss, self.seen
        self.seen += 1
        return lower

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far, JSON-able."""
        loss = None if self.index is None else self.loss
        return {"best": loss, "best_index": self.index, "seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.loss = math.inf if state["best"] is None else float(state["best"])
        self.index, self.seen = state["best_index"], int(state["seen"])
