"""Stop when the drawn pictures' similarity to the photographs no longer rises: the CLIP rule."""

import math
import warnings
from collections.abc import Iterable
from typing import Any

from noiseprobe.stopping.base import NonFiniteLossWarning, checked_gain, checked_whole


class ClipPlateau:
    """Stops after `patience` checks in a row without a gain of more than `eps` over the best.

    The CLIP-based rule that Voronov et al. 2023 compare with: its scores are the mean CLIP
    similarity of pictures drawn from training prompts, with the same noise at each check, to the
    photographs. A score that is NaN or infinite is no gain.

    Args:
        patience: how many checks without a gain, at least 1 (published: 6, for DreamBooth-LoRA 3).
        eps: the least gain that counts, in units of cosine similarity (published: 0.02, 0.04).

    Raises:
        UserError: `patience` or `eps` is outside its range.

    Example:
        >>> rule = ClipPlateau(patience=2, eps=0.02)
        >>> [rule.update(score) for score in (0.60, 0.70, 0.71, 0.715)]
        [False, False, False, True]
    """

    def __init__(self, patience: int, eps: float) -> None:
        self.patience = checked_whole("patience", patience, 1, "checks")
        self.eps = checked_gain("eps", eps, 0.02)
        self._best = -math.inf
        self._waited = 0

    def update(self, loss: float) -> bool:
        """Take the next score, which is better when higher; True means: stop now."""
        score = float(loss)
        if not math.isfinite(score):
            warnings.warn(f"a CLIP similarity is {score}", NonFiniteLossWarning, stacklevel=2)
        if score > self._best + self.eps and math.isfinite(score):
            self._best = score
            self._waited = 0
        else:
            self._waited += 1
        return self._waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """The best score and how many checks ago it was, as JSON holds them."""
        best = self._best if math.isfinite(self._best) else None
        return {"best": best, "waited": self._waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the checks that `state` sums up."""
        self._best = -math.inf if state["best"] is None else float(state["best"])
        self._waited = int(state["waited"])


def clip_stop(scores: Iterable[float], patience: int, eps: float) -> int | None:
    """The 0-based index of the check at which `ClipPlateau` first fires, None if it never does.

    Example:
        >>> clip_stop([0.60, 0.70, 0.71, 0.715, 0.90], patience=2, eps=0.02)
        3
    """
    rule = ClipPlateau(patience, eps)
    return next((index for index, score in enumerate(scores) if rule.update(score)), None)
