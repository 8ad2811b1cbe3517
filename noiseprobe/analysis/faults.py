"""What may be wrong with a recorded loss, and what a sound one cannot show."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a trace.

    Attributes:
        kind: `cumulative`, `maybe cumulative`, `epochs`, `smoothed`, `restart`, `repeated`,
            `numbered`, `cut off`, `constant`, `not finite`, `missing`, `redrawn`.
        tag: the trace; "" for the whole log.
        mended: whether the mended series is without it.
        facts: what the sentence about it needs; numbers and words.
    """

    kind: str
    tag: str
    mended: bool
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Limit:
    """What a sound trace cannot show by the way it was measured.

    Attributes:
        kind: `timesteps` or `unknown mean`.
        tag: the trace.
        tool: whose validation it is.
    """

    kind: str
    tag: str
    tool: str
