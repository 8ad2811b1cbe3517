"""Curves over steps by concept, and where DVAR would stop them: what studies of it share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from noiseprobe.stopping import dvar_stops

WINDOWS = (20, 30, 40, 50, 60, 80, 100, 120, 150)
THRESHOLDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
KEPT = 0.9  # share of the whole run's gain in similarity that a default has to keep


@dataclass(frozen=True)
class Curves:
    """L_det and similarity to the photographs: one row per concept, one column per step."""

    l_det: pd.DataFrame
    similarity: pd.DataFrame

    def stops(self, window: int, threshold: float) -> pd.Series:
        """The step at which DVAR fires on each concept; NaN where it does not."""
        steps = [*map(float, self.l_det.columns), math.nan]
        found = [dvar_stops(row, window, [threshold])[0] for row in self.l_det.to_numpy()]
        return pd.Series([steps[-1 if at is None else at] for at in found], self.l_det.index)

    def similarity_at(self, steps: pd.Series) -> pd.Series:
        """Similarity at a step of each concept, linear between checkpoints; NaN: the last."""
        known = self.similarity.columns.to_numpy(np.float64)
        pairs = zip(steps.fillna(known[-1]), self.similarity.to_numpy(), strict=True)
        return pd.Series([np.interp(step, known, row) for step, row in pairs], steps.index)


def grid(found: Curves) -> pd.DataFrame:
    """For every window and threshold: on how many concepts DVAR fires, where, what is kept."""
    first, last = found.similarity.iloc[:, 0], found.similarity.iloc[:, -1]
    rows = []
    for window in WINDOWS:
        for threshold in THRESHOLDS:
            stops = found.stops(window, threshold)
            gain = (found.similarity_at(stops) - first).mean() / (last - first).mean()
            rows.append((window, threshold, stops.notna().sum(), stops.median(), gain))
    return pd.DataFrame(rows, columns=["window", "threshold", "fires", "median", "gain"])


def best(cells: pd.DataFrame, concepts: int) -> tuple[int, float] | None:
    """The window and threshold that stop soonest, of those that fire on all and keep enough."""
    good = cells[(cells["fires"] == concepts) & (cells["gain"] >= KEPT)]
    if good.empty:
        return None
    row = good.sort_values(["median", "window"]).iloc[0]
    return int(row["window"]), float(row["threshold"])


def grid_lines(cells: pd.DataFrame, concepts: int) -> list[str]:
    """The grid of windows and thresholds as a Markdown table."""
    lines = [
        f"On those {concepts}, by window (down) and threshold (across): median step (on how many "
        "it fires; the share of the whole run's gain in similarity that is had by then).",
        "",
        "| window | " + " | ".join(f"{threshold:g}" for threshold in THRESHOLDS) + " |",
        "|---|" + "---:|" * len(THRESHOLDS),
    ]
    for window in cells["window"].unique():
        row = cells[cells["window"] == window]
        texts = [
            f"{median:.0f} ({fires}; {gain:.0%})" if fires else "-"
            for fires, median, gain in zip(row["fires"], row["median"], row["gain"], strict=True)
        ]
        lines.append(f"| {window} | " + " | ".join(texts) + " |")
    return lines


def geometric_mean(values: pd.Series) -> dict[str, float]:
    """Geometric mean over concepts and its 95% interval (Student's t on the logarithms)."""
    logs = np.log(values.to_numpy(np.float64))
    half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    return {
        "mean": float(np.exp(logs.mean())),
        "low": float(np.exp(logs.mean() - half)),
        "high": float(np.exp(logs.mean() + half)),
    }
