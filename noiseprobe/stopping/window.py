"""A window over the last losses: a number of them, or a share of all that were seen so far.

A number of losses fits the logs that it was found on: 310 of the 6100 that a loss at every step
gives are more than the 50 of a validation every 100 steps. A share fits both. At the n-th finite
loss, a window of a share p is

    max(5, ceil(p·n))

losses long, in exact arithmetic, with p taken to a millionth; so nothing is decided before 5 losses
were seen. It grows with the log, by one loss at a time, and so does the memory of a criterion.

In Python and in JSON a share is a number between 0 and 1, and a person reads and writes `20%`.
"""

from bisect import bisect_left, bisect_right, insort
from decimal import Decimal
from numbers import Integral, Real

from noiseprobe.core.errors import UserError
from noiseprobe.stopping.base import MOST

LEAST_OF_SHARE = 5
"""How many losses a window that is a share holds at least: of fewer, a variance is chance."""

_PARTS = 1_000_000


def checked_window(window: float, least: int) -> float:
    """The parameter `window`: an int where it is a count, a float where it is a share.

    Raises:
        UserError: it is neither a whole number of at least `least` losses nor between 0 and 1.

    Examples:
        >>> checked_window(310, least=2), checked_window(0.2, least=2)
        (310, 0.2)
    """
    if isinstance(window, Real) and not isinstance(window, bool):
        if isinstance(window, Integral) and least <= window <= MOST:
            return int(window)
        if 0 < window < 1 and 0 < round(window * _PARTS) < _PARTS:
            return round(window * _PARTS) / _PARTS
    raise UserError(f"window {str(window)[:20]}: {_wanted(least)}")


def _wanted(least: int) -> str:
    return (
        f"give a whole number of losses, from {least} to {MOST:,}, or a share of those so far, "
        "such as 20%"
    )


def window_after(window: float, seen: int) -> int:
    """How many of the last losses the window holds once `seen` finite ones were seen.

    More than there are, where nothing is decided yet.

    Examples:
        >>> [window_after(0.2, seen) for seen in (1, 25, 26, 100)]
        [5, 5, 6, 20]
        >>> window_after(310, 26)
        310
    """
    if window >= 1:
        return int(window)
    return max(LEAST_OF_SHARE, -(-round(window * _PARTS) * seen // _PARTS))


def parse_window(text: str) -> float:
    """The window of DVAR that `20%` or `310` stands for.

    Raises:
        UserError: the text is neither a share nor a whole number of at least 2.

    Examples:
        >>> parse_window("20%"), parse_window("310")
        (0.2, 310)
    """
    try:
        value = parse_number(text)
        count = value >= 1 and value == value // 1 and "%" not in text
        return checked_window(int(value) if count else value, least=2)
    except ValueError:
        raise UserError(f"--window {text[:20]}: {_wanted(least=2)}") from None


def parse_number(text: str) -> float:
    """The number that `0.15` or `15%` stands for; raises `ValueError` for another text."""
    plain = text.strip()
    try:
        number = Decimal(plain.removesuffix("%"))
        return float(number / 100 if plain.endswith("%") else number)
    except ArithmeticError:
        raise ValueError(f"{text!r} is no number") from None


def shown_window(window: float) -> str:
    """The window as a person writes it: `310` or `20%`."""
    return f"{100 * window:.12g}%" if window < 1 else f"{window:.12g}"


class SortedLosses:
    """Losses in order of size: what is in a window, with its median and who is above whom.

    A loss is added or taken away in O(log n) comparisons.
    """

    def __init__(self) -> None:
        self._values: list[float] = []

    def __len__(self) -> int:
        return len(self._values)

    def add(self, loss: float) -> None:
        """Take in a loss."""
        insort(self._values, loss)

    def remove(self, loss: float) -> None:
        """Take away a loss that was added."""
        del self._values[bisect_left(self._values, loss)]

    def around(self, loss: float) -> tuple[int, int, int]:
        """How many losses are below, equal to, and above this one."""
        first, after = bisect_left(self._values, loss), bisect_right(self._values, loss)
        return first, after - first, len(self._values) - after

    @property
    def median(self) -> float:
        """The median, of two middle ones their mean; there must be a loss."""
        values, middle = self._values, len(self._values) // 2
        if len(values) % 2:
            return values[middle]
        return (values[middle - 1] + values[middle]) / 2
