"""What DVAR takes: a loss at a time, many at once, a long trace, and a grid over many traces."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from experiments.bench.measured import Asked, Goal, Row, interleaved
from experiments.bench.published import PublishedDVAR
from noiseprobe.analysis.replay import replay, replay_grids
from noiseprobe.logs import Series
from noiseprobe.stopping import DVAR, dvar_stops

WINDOW, NEVER = 310, 1e-9
"""As published for textual inversion, and a threshold that no loss is below."""

LIST = "the published class, which takes both variances of a list anew"


def measure(asked: Asked) -> Iterator[Row]:
    """A row for each."""
    count = asked.of(400, 6100, 6100)
    losses = falling(count).tolist()

    def of(action: object, times: int) -> float:
        return 1e6 * asked.timed(action) / times  # type: ignore[arg-type]

    def streamed() -> None:
        feed(DVAR(WINDOW, NEVER), losses)

    def published() -> None:
        feed(PublishedDVAR(WINDOW, NEVER), losses)

    def at_once() -> None:
        dvar_stops(losses, WINDOW, [NEVER])

    kinds = {
        "streamed": lambda: of(streamed, count),
        "published": lambda: of(published, count),
        "at once": lambda: of(at_once, count),
    }
    found = interleaved(kinds, asked.rounds)
    of_each = f"of {count:,} losses"
    for what, name, limit in (
        (f"a loss at a time, {of_each}", "streamed", 3),
        (f"in blocks: {count:,} recorded losses at once", "at once", 1),
    ):
        goal = Goal("at most", limit)
        yield Row(what, LIST, "ours", "µs", found[name], found["published"], goal)
    points = asked.of(10_000, 10_000_000, 10_000_000)
    series = Series("trace", np.arange(points), falling(points), "l_det")
    taken = [asked.timed(lambda: replay(series, WINDOW, NEVER)) for _ in range(asked.rounds)]
    what = f"replay of {points:,} points"
    yield Row(what, "", "ours", "s", tuple(taken), goal=Goal("at most", 2))
    traces = [
        Series(f"trace {place}", np.arange(6100), falling(6100, place), "l_det")
        for place in range(asked.of(2, 144, 144))
    ]
    windows = np.linspace(10, 1000, asked.of(5, 100, 100)).astype(int).tolist()
    limits = np.geomspace(0.01, 0.5, asked.of(5, 100, 100)).tolist()
    taken = [
        asked.timed(lambda: replay_grids(traces, windows, limits)) for _ in range(asked.rounds)
    ]
    what = (
        f"{len(windows)} windows × {len(limits)} thresholds × {len(traces)} traces of 6,100 points"
    )
    yield Row(what, "", "ours", "s", tuple(taken), goal=Goal("at most", 1.5))


def feed(criterion: DVAR | PublishedDVAR, losses: list[float]) -> int | None:
    """Give losses to a criterion until it fires; the index at which it does."""
    for index, loss in enumerate(losses):
        if criterion.update(loss):
            return index
    return None


def falling(points: int, seed: int = 0) -> NDArray[np.float64]:
    """Losses that fall to a level with noise, as L_det does."""
    random = np.random.default_rng(seed)
    found: NDArray[np.float64] = (
        0.3
        + np.exp(-np.arange(points) / random.uniform(100, 1500))
        + random.uniform(0.001, 0.03) * random.normal(size=points)
    )
    return found
