"""What the fixed batches' curves say, by concept, layout and size, and which layout wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.fixed_batch.evaluate import SIZES
from noiseprobe.bootstrap import bootstrap_interval
from noiseprobe.config import resolve
from noiseprobe.defaults import FAMILY_DEFAULTS
from noiseprobe.files import written_whole
from noiseprobe.fixed_batch import LAYOUTS
from noiseprobe.plots.style import FONT_SIZE, PAGE, colour_of, dress, key_above, new_figure, save
from noiseprobe.stopping import dvar_stops

WINDOWS, THRESHOLDS = (60, 120), (0.05, 0.15, 0.4)  # that the spread is averaged over
MEASURES = {
    "correlation": "correlation with the\nexpected loss",
    "error": "error of the curve\n(1: as large as the progress)",
    "spread": "spread of DVAR's stop\n(steps)",
}
COLOURS = {
    "random": "deterministic",
    "stratified": "images",
    "antithetic": "noise",
    "weighted": "vae_noise",
}


def write_report(files: Mapping[str, Path], directory: Path, figures: Path) -> None:
    """Write `fixed_batch.csv`, `RESULTS.md` and the figure from the evaluations by concept."""
    raw = pd.concat(
        [measures(pd.read_parquet(file)).assign(concept=name) for name, file in files.items()],
        ignore_index=True,
    )
    with written_whole(directory / "fixed_batch.csv") as beside:
        raw.to_csv(beside, index=False, float_format="%.6g")
    with written_whole(directory / "RESULTS.md") as beside:
        beside.write_text(report(raw), encoding="utf-8")
    save(figure_of(raw), figures / "11-fixed-batch")


def measures(table: pd.DataFrame) -> pd.DataFrame:
    """The measures of one concept by layout and size, each over its fixed batches.

    - `correlation`: Pearson's, of L_det with the expected loss over steps, mean over batches
    - `error`: of L_det less its mean against the expected loss less its mean, root mean square over
      steps and batches, over the standard deviation of the expected loss over steps. A constant
      offset does not count: no criterion sees it.
    - `offset`: root mean square over batches of that offset, over the mean expected loss
    - `spread`: standard deviation over batches of DVAR's stop, in steps, mean over `WINDOWS` and
      `THRESHOLDS`; a batch on which it never fires counts with the last step
    - `default_spread`, `median_stop`, `fired`: of the stops with the default window and threshold

    Error and offset are NaN for `weighted`, which estimates another mean.
    """
    expected = table[table["layout"] == "expected"].set_index("step")["l_det"]
    steps = expected.index.to_numpy()
    target = expected.to_numpy()
    config = resolve({})
    rows: list[dict[str, Any]] = []
    for (layout, size), group in table[table["layout"] != "expected"].groupby(["layout", "size"]):
        curves = group.pivot(index="batch", columns="step", values="l_det").to_numpy()
        offsets = curves.mean(1) - target.mean()
        gaps = curves - curves.mean(1, keepdims=True) - (target - target.mean())
        usual = stops_of(curves, steps, config.window, config.threshold)
        spreads = [
            stops_of(curves, steps, window, threshold).fillna(steps[-1]).std()
            for window in WINDOWS
            for threshold in THRESHOLDS
        ]
        comparable = layout != "weighted"
        rows.append(
            {
                "layout": layout,
                "size": size,
                "correlation": np.mean([np.corrcoef(curve, target)[0, 1] for curve in curves]),
                "error": np.sqrt((gaps**2).mean()) / target.std() if comparable else np.nan,
                "offset": np.sqrt((offsets**2).mean()) / target.mean() if comparable else np.nan,
                "spread": np.mean(spreads),
                "default_spread": usual.fillna(steps[-1]).std(),
                "median_stop": usual.fillna(steps[-1]).median(),
                "fired": usual.notna().mean(),
            }
        )
    return pd.DataFrame(rows)


def stops_of(
    curves: NDArray[np.float64], steps: NDArray[np.int64], window: int, threshold: float
) -> pd.Series:
    """The step at which DVAR fires on each curve, NaN where it does not; `window` is in steps."""
    points = round(window / (steps[1] - steps[0])) + 1  # from the first to the last are `window`
    found = [dvar_stops(curve, points, [threshold])[0] for curve in curves]
    return pd.Series([np.nan if place is None else float(steps[place]) for place in found])


def listed(values: Sequence[float]) -> str:
    """The values in words: "0.05, 0.15, 0.4"."""
    return ", ".join(f"{value:g}" for value in values)


def report(raw: pd.DataFrame) -> str:
    """The findings as Markdown."""
    config = resolve({})
    concepts = raw["concept"].nunique()
    lines = [
        "# Layouts of the fixed batch",
        "",
        "Made by `python -m experiments.fixed_batch`: textual inversion on the bundled model, "
        f"{concepts} concepts that nothing was chosen on, 20 fixed batches of each layout and "
        "size, expected loss from 4096 draws. Mean and 95% bootstrap interval over concepts. "
        "Correlation and error are those of the curve of L_det over steps against the expected "
        "loss's, without a constant offset, which no criterion sees. The spread is the standard "
        "deviation over fixed batches of DVAR's stop, in steps, averaged over windows "
        f"{listed(WINDOWS)} and thresholds {listed(THRESHOLDS)}: at the default of "
        f"{config.window} and {config.threshold:g} alone, most curves end as soon as the window is "
        "full, whatever the batch. Median and share of stops are those of the default.",
        "",
        "![Layouts by batch size](../../figures/11-fixed-batch.png)",
        "",
        "| layout | size | correlation | error | offset | spread of the stop | median | fires |",
        "|---|" + "---:|" * 7,
    ]
    for layout in LAYOUTS:
        for size, group in raw[raw["layout"] == layout].groupby("size"):
            cells = [shown(group[name], digits) for name, digits in COLUMNS.items()]
            lines.append(f"| {layout} | {size} | " + " | ".join(cells) + " |")
    best = winner(raw)
    lines += [
        "",
        "## Which is the default",
        "",
        "A layout wins if its spread, averaged over the sizes, is below that of `random` by a "
        "paired interval over concepts that excludes 0; of several, the one with the smallest. "
        + (f"Winner: `{best}`." if best else "None wins: `random` stays.")
        + " Differences to `random` on the same concepts, over all sizes and at those that are "
        "defaults:",
        "",
        "| samples | layout | correlation | error | spread of the stop |",
        "|---|---|---:|---:|---:|",
    ]
    chosen = sorted(settings["eval_batch"] for settings in FAMILY_DEFAULTS.values())
    for sizes in [SIZES, *((size,) for size in chosen)]:
        name = "all" if sizes == SIZES else f"{sizes[0]}"
        for layout in LAYOUTS[1:]:
            gaps = differences(raw, layout, sizes)
            cells = [shown(gaps[name], COLUMNS[name]) for name in MEASURES]
            lines.append(f"| {name} | {layout} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


COLUMNS = {"correlation": 3, "error": 2, "offset": 2, "spread": 1, "median_stop": 0, "fired": 2}


def differences(raw: pd.DataFrame, layout: str, sizes: Sequence[int] = SIZES) -> pd.DataFrame:
    """The measures of a layout less those of `random`, mean over sizes, one row per concept."""
    chosen = raw[raw["size"].isin(sizes)].groupby(["layout", "concept"])[list(MEASURES)].mean()
    rows = chosen.xs(layout, level="layout") - chosen.xs("random", level="layout")
    return pd.DataFrame(rows)


def winner(raw: pd.DataFrame) -> str | None:
    """The layout whose DVAR stops vary least, if it is surely better than `random`."""
    means = {}
    for layout in LAYOUTS[1:]:
        gaps = differences(raw, layout)["spread"]
        if bootstrap_interval(gaps)[1] < 0:
            means[layout] = gaps.mean()
    return min(means, key=lambda layout: means[layout]) if means else None


def shown(values: pd.Series, digits: int) -> str:
    """Mean and 95% interval over concepts."""
    if values.isna().all():
        return "-"
    low, high = bootstrap_interval(values)
    return f"{values.mean():.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def figure_of(raw: pd.DataFrame) -> Figure:
    """One panel per measure, one line per layout, over the number of samples."""
    figure = new_figure(PAGE, 2.4)
    panels = figure.subplots(1, len(MEASURES))
    handles = {}
    for axes, (name, label) in zip(panels, MEASURES.items(), strict=True):
        axes.set_label(name)
        for layout in LAYOUTS:
            groups = raw[raw["layout"] == layout].groupby("size")[name]
            if raw.loc[raw["layout"] == layout, name].isna().all():
                continue
            means = groups.mean()
            bands = np.array([bootstrap_interval(values) for _, values in groups])
            colour = colour_of(COLOURS[layout])
            (handles[layout],) = axes.plot(means.index, means, "o-", color=colour, ms=3, lw=1.2)
            axes.fill_between(means.index, *bands.T, color=colour, alpha=0.15, lw=0)
        axes.set_xscale("log", base=2)
        sizes = sorted(raw["size"].unique())
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.set_title(label)
        dress(axes)
    figure.supxlabel("samples in the fixed batch", fontsize=FONT_SIZE)
    key_above(figure, list(handles.values()), list(handles))
    return figure
