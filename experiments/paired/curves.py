"""What each curve says of the gain of one recorded run, and how far from the truth that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.paired.record import BATCHES, LAG, LAGS, OVER, SIZES, STEPS
from noiseprobe.draws.fixed_batch import sample_weights
from noiseprobe.stopping import PairedLoss

HALF_LIFE = 20
BINS = 10
TIMESTEPS = 1000
BATCH = 4
JUDGED = tuple(step for step in STEPS if step >= 25)  # where a curve is held against the truth
KTH = {2: "every 2nd", 4: "every 4th", 8: "every 8th"}

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Recorded:
    """One run: its losses by name, (steps, samples), and the steps and timesteps of each."""

    losses: dict[str, Array]
    steps: dict[str, NDArray[np.int64]]
    times: dict[str, NDArray[np.int64]]

    @classmethod
    def read(cls, file: Path) -> Recorded:
        """The run that `record` wrote to `file`."""
        losses, steps, times = {}, {}, {}
        for name, rows in pd.read_parquet(file).groupby("name", sort=False):
            key = str(name)
            steps[key] = rows["step"].unique()
            shape = len(steps[key]), -1
            losses[key] = rows["loss"].to_numpy(np.float64).reshape(shape)
            times[key] = rows["timestep"].to_numpy(np.int64).reshape(shape)
        return cls(losses, steps, times)

    @property
    def gain(self) -> Array:
        """The expected gain at `STEPS`."""
        expected = self.losses["expected"]
        return (expected[0] - expected).mean(axis=1)

    @property
    def whole(self) -> float:
        """The largest expected gain."""
        return float(self.gain.max())

    @property
    def floor(self) -> float:
        """The standard error of the last expected gain, from neighbours in timestep."""
        change = self.losses["expected"][0] - self.losses["expected"][-1]
        ordered = change[np.argsort(self.times["expected"][0])]
        return float(np.sqrt((np.diff(ordered) ** 2).mean() / 2 / len(change)))

    @property
    def paired(self) -> Array:
        """Loss now less loss at the start, (steps, batch)."""
        return self.losses["train"] - self.losses["start"]

    def gain_at(self, steps: NDArray[np.int64] | int) -> Array:
        """The expected gain at any steps, interpolated."""
        return np.asarray(np.interp(steps, STEPS, self.gain))


def running(values: Array, steps: NDArray[np.int64], until: int) -> float:
    """The running mean of batches, (n, B), under weights of fewer steps than `until`."""
    weights = ages(steps, until)
    return float(weights @ values.mean(axis=1) / weights.sum())


def stratified(
    values: Array, times: NDArray[np.int64], steps: NDArray[np.int64], until: int
) -> float:
    """The mean over bins of the timestep of the running means in each."""
    weights = np.repeat(ages(steps, until), values.shape[1])
    bins = (times.ravel() * BINS // TIMESTEPS).astype(np.int64)
    sums = np.bincount(bins, weights * values.ravel(), BINS)
    counts = np.bincount(bins, weights, BINS)
    return float((sums[counts > 0] / counts[counts > 0]).mean())


def ages(steps: NDArray[np.int64], until: int) -> Array:
    """What each step weighs at step `until`; what comes later weighs nothing."""
    return np.where(steps < until, 0.5 ** ((until - steps) / HALF_LIFE), 0.0)


Curve = tuple[str, float, list[Array]]
"""The name of a curve, its price, and the gains that it tells at `JUDGED`, for each fixed batch."""


def curves(run: Recorded) -> Iterator[Curve]:
    """The curves over training batches, then those of L_det."""
    train, times, steps = run.losses["train"], run.times["train"], run.steps["train"]
    start = float(run.losses["expected"][0].mean())
    paired = run.paired

    def at(tells: Callable[[int], float], price: float, name: str) -> Curve:
        return name, price, [np.array([tells(step) for step in JUDGED])]

    def every(chosen: NDArray[np.bool_], price: float, name: str) -> Curve:
        return at(lambda step: -running(paired[chosen], steps[chosen], step), price, name)

    yield at(lambda step: start - train[step - 1].mean(), 0, "raw")
    yield at(lambda step: start - running(train, steps, step), 0, "raw EMA")
    yield at(lambda step: start - stratified(train, times, steps, step), 0, "timestep-adjusted")
    yield at(lambda step: -paired[step - 1].mean(), BATCH, "paired")
    yield every(steps >= 0, BATCH, "paired EMA")
    truth = run.gain_at(steps)[:, None]
    yield at(lambda step: running(truth, steps, step), BATCH, "lag alone")
    yield at(lambda step: -stratified(paired, times, steps, step), BATCH, "post-stratified")
    for k, name in KTH.items():
        yield every(steps % k == 0, BATCH / k, name)
    thirds = run.steps["antithetic"]
    pairs = run.losses["antithetic"] - run.losses["antithetic start"]
    yield at(lambda step: -running(pairs, thirds, step), BATCH / 3, "antithetic")
    yield every(steps % 3 == 0, BATCH / 3, "plain thirds")
    yield from l_det_curves(run)


def l_det_curves(run: Recorded) -> Iterator[Curve]:
    """The curves of L_det, evaluated at every step, of each fixed batch of a layout and size."""
    judged = np.isin(STEPS, JUDGED)
    truth = run.gain[judged]
    for size in SIZES:
        for layout in ("random", "stratified", "antithetic", "weighted"):
            found = []
            for number in range(BATCHES):
                if layout == "random":
                    losses = run.losses[f"random {SIZES[-1]} {number}"][:, :size]
                else:
                    drawn = "stratified" if layout == "weighted" else layout
                    losses = run.losses[f"{drawn} {size} {number}"]
                values = losses @ sample_weights(losses[0], layout == "weighted")
                gain = (values[0] - values)[judged]
                if layout == "weighted":  # in other units
                    gain = gain * (gain @ truth) / (gain @ gain)
                found.append(gain)
            yield f"L_det {size} {layout}", size, found


def errors(run: Recorded) -> list[dict[str, float | str]]:
    """The error of each curve as a share of the whole gain, and its price per step."""
    truth = run.gain[np.isin(STEPS, JUDGED)]
    rows: list[dict[str, float | str]] = [
        {"curve": name, "price": price, "error": rms(np.array(told) - truth) / run.whole}
        for name, price, told in curves(run)
    ]
    return rows + [
        {"curve": name, "price": BATCH / 2, "error": error} for name, error in lag_errors(run)
    ]


def lag_errors(run: Recorded) -> list[tuple[str, float]]:
    """The errors of what the last `LAG` steps brought, as a share of the whole gain."""
    odd = run.steps["train"] % 2 == 1
    lagging = dict(zip(run.steps["lagging"].tolist(), run.losses["lagging"], strict=True))
    windows, against = [], []
    for end in LAGS:
        truth = float(run.gain_at(end) - run.gain_at(end - LAG))
        steps = run.steps["train"]
        now, then = (
            (first <= steps) & (steps < first + OVER) & odd
            for first in (end - OVER, end - OVER - LAG)
        )
        windows.append(run.paired[then].mean() - run.paired[now].mean() - truth)
        before = np.array([lagging[step] for step in steps[now].tolist()])
        against.append((before - run.losses["train"][now]).mean() - truth)
    return [
        ("last 50: differences of paired", rms(np.array(windows)) / run.whole),
        ("last 50: lagging reference", rms(np.array(against)) / run.whole),
    ]


def coverage(run: Recorded) -> dict[str, float]:
    """The share of steps at which the interval of the running mean holds what it estimates."""
    paired = PairedLoss(HALF_LIFE)
    expected = -run.gain_at(run.steps["train"])
    held, both, narrow = [], [], []
    for step, (now, start) in enumerate(
        zip(run.losses["train"], run.losses["start"], strict=True), start=1
    ):
        paired.update(now, start)
        weights = ages(run.steps["train"], step)
        truth = float(weights @ expected / weights.sum())
        # At the first step both are 0 but for float rounding.
        off = abs(paired.mean - truth)
        held.append(off <= 1.96 * paired.se + 1e-6)
        both.append(off <= 1.96 * np.hypot(paired.se, run.floor))
        narrow.append(paired.se / run.whole)
    return {
        "held": float(np.mean(held)),
        "held_from_50": float(np.mean(held[50:])),
        "held_both": float(np.mean(both[50:])),
        "se": float(np.median(narrow[50:])),
        "floor": run.floor / run.whole,
    }


def rms(values: Array) -> float:
    """The root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))
