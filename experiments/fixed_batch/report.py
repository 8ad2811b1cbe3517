"""What the fixed batches' curves say, by concept, layout and size, and which layout wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.fixed_batch.evaluate import BATCHES, EXPECTED, SIZES
from noiseprobe.core.files import written_whole
from noiseprobe.draws.factors import LAYOUTS
from noiseprobe.plots.panels import name_ends
from noiseprobe.plots.rows import INTERVAL, with_ends
from noiseprobe.plots.saving import figure_of as figure_of_axes
from noiseprobe.plots.saving import save
from noiseprobe.plots.style import FONT_SIZE, PAGE, colour_of, dress, look, several_panels
from noiseprobe.run.defaults import BUNDLED_MODEL, METHODS, of_family
from noiseprobe.run.resolving import resolve
from noiseprobe.stopping import dvar_stops

WINDOWS, THRESHOLDS = (60, 120), (0.05, 0.15, 0.4)  # that the spread is averaged over
MEASURES = {
    "correlation": "correlation with the\nexpected loss",
    "error": "error of the curve\n(1: as large as the progress)",
    "spread": "spread of DVAR's stop\n(steps)",
}
RESAMPLES = 2000
Drawn = dict[str, pd.DataFrame]
COLOURS = {
    "random": "deterministic",
    "stratified": "images",
    "antithetic": "noise",
    "weighted": "vae_noise",
}
MARKS = {"random": "o", "stratified": "s", "antithetic": "D", "weighted": "^"}
LETTERS = {"random": "●", "stratified": "■", "antithetic": "◆", "weighted": "▲"}


def write_report(files: Mapping[str, Path], directory: Path, figures: Path) -> None:
    """Write both tables, `RESULTS.md` and the figure from the evaluations by concept."""
    tables = {name: by_batch(pd.read_parquet(file)) for name, file in files.items()}
    raw = pd.concat(
        [measures(table).reset_index().assign(concept=name) for name, table in tables.items()],
        ignore_index=True,
    )
    with written_whole(directory / "fixed_batch.csv") as beside:
        raw.to_csv(beside, index=False, float_format="%.6g")
    drawn = resampled(list(tables.values()))
    with written_whole(directory / "RESULTS.md") as beside:
        beside.write_text(report(raw, drawn), encoding="utf-8")
    table = by_layout(raw, drawn)
    with written_whole(directory / "layouts.csv") as beside:
        table.to_csv(beside, index=False, float_format="%.6g")
    save(figure_of(table), figures / "11-fixed-batch")


def by_batch(table: pd.DataFrame) -> pd.DataFrame:
    """What each fixed batch of one concept gives: one row per layout, size and batch (the index).

    - `correlation`: Pearson's, of L_det with the expected loss over steps
    - `error`: mean square over steps of L_det less its mean against the expected loss less its
      mean, over the variance of the expected loss over steps. A constant offset does not count: no
      criterion sees it.
    - `offset`: the square of that offset, over the squared mean expected loss
    - `stop …`: where DVAR stops with each of `WINDOWS` and `THRESHOLDS`, the last step where it
      never fires
    - `stop`, `fired`: the same with the default window and threshold, and whether it fires

    Error and offset are NaN for `weighted`, which estimates another mean.
    """
    expected = table[table["layout"] == "expected"].set_index("step")["l_det"]
    steps, target = expected.index.to_numpy(), expected.to_numpy()
    config = resolve({})
    found = []
    for (layout, size), group in table[table["layout"] != "expected"].groupby(["layout", "size"]):
        curves = group.pivot(index="batch", columns="step", values="l_det").to_numpy()
        offsets = curves.mean(1) - target.mean()
        gaps = curves - curves.mean(1, keepdims=True) - (target - target.mean())
        usual = stops_of(curves, steps, int(config.window), config.threshold)
        comparable = layout != "weighted"
        columns = {
            "correlation": [np.corrcoef(curve, target)[0, 1] for curve in curves],
            "error": (gaps**2).mean(1) / target.var() if comparable else np.nan,
            "offset": offsets**2 / target.mean() ** 2 if comparable else np.nan,
            "stop": usual.fillna(steps[-1]),
            "fired": usual.notna(),
        }
        for window in WINDOWS:
            for threshold in THRESHOLDS:
                stops = stops_of(curves, steps, window, threshold).fillna(steps[-1])
                columns[f"stop {window} {threshold:g}"] = stops
        places = [(layout, size, batch) for batch in range(len(curves))]
        index = pd.MultiIndex.from_tuples(places, names=["layout", "size", "batch"])
        found.append(pd.DataFrame(columns).set_axis(index))
    return pd.concat(found).astype("float64")


def measures(table: pd.DataFrame) -> pd.DataFrame:
    """The measures of one concept by layout and size, each over its fixed batches (`by_batch`).

    - `correlation`: mean
    - `error`, `offset`: root mean square
    - `spread`: standard deviation of DVAR's stop, in steps, mean over `WINDOWS` and `THRESHOLDS`
    - `default_spread`, `median_stop`, `fired`: of the stops with the default window and threshold
    """
    groups = table.groupby(["layout", "size"])
    deviations = groups.std()
    means = groups.mean()
    return pd.DataFrame(
        {
            "correlation": means["correlation"],
            "error": np.sqrt(means["error"]),
            "offset": np.sqrt(means["offset"]),
            "spread": deviations[cells_of(table)].mean(axis="columns"),
            "default_spread": deviations["stop"],
            "median_stop": groups["stop"].median(),
            "fired": means["fired"],
        }
    )


def cells_of(table: pd.DataFrame) -> list[str]:
    """The columns with the stops of `WINDOWS` and `THRESHOLDS`."""
    return [name for name in table.columns if name.startswith("stop ")]


def resampled(tables: Sequence[pd.DataFrame], resamples: int = RESAMPLES, seed: int = 0) -> Drawn:
    """The means over concepts of `MEASURES` where concepts and fixed batches are drawn anew.

    Every concept has the same batches, so that both are drawn, each with replacement and the
    batches once for all concepts: an interval over concepts alone would not tell of what these
    batches happened to be.

    Args:
        tables: for each concept what `by_batch` gives.

    Returns:
        For each measure a table, one row per resample, columns layout and size.
    """
    keys = measures(tables[0]).index
    tables = [table.sort_index() for table in tables]
    batches = len(tables[0]) // len(keys)
    stops = cells_of(tables[0])

    def cube(names: list[str]) -> NDArray[np.float64]:
        shape = (len(tables), len(keys), batches, len(names))
        return np.stack([table[names].to_numpy() for table in tables]).reshape(shape)

    plain, cells = cube(["correlation", "error"]), cube(stops)
    random = np.random.default_rng(seed)
    rows: dict[str, list[NDArray[np.float64]]] = {name: [] for name in MEASURES}
    for _ in range(resamples):
        concepts = random.integers(len(tables), size=len(tables))
        chosen = random.integers(batches, size=batches)
        here = plain[concepts][:, :, chosen]
        rows["correlation"].append(here[..., 0].mean(axis=(0, 2)))
        rows["error"].append(np.sqrt(here[..., 1].mean(axis=2)).mean(axis=0))
        spread = cells[concepts][:, :, chosen].std(axis=2, ddof=1)
        rows["spread"].append(spread.mean(axis=(0, 2)))
    return {name: pd.DataFrame(np.array(values), columns=keys) for name, values in rows.items()}


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


def report(raw: pd.DataFrame, drawn: Drawn) -> str:
    """The findings as Markdown."""
    config = resolve({})
    concepts = raw["concept"].nunique()
    lines = [
        "# Layouts of the fixed batch",
        "",
        "Made by `python -m experiments.fixed_batch`: textual inversion on the bundled model, "
        f"{concepts} concepts that nothing was chosen on, {BATCHES} fixed batches of each layout "
        f"and size, the same for all concepts, expected loss from {EXPECTED} draws. Mean over "
        "concepts, and 95% bootstrap interval where concepts and batches are both drawn anew. "
        "Correlation and error are those of the curve of L_det over steps against the expected "
        "loss's, without a constant offset, which no criterion sees. The spread is the standard "
        "deviation over fixed batches of DVAR's stop, in steps, averaged over windows "
        f"{listed(WINDOWS)} and thresholds {listed(THRESHOLDS)}: at one window and threshold "
        "alone, many curves end as soon as the window is full, whatever the batch. Median and "
        f"share of stops are those of the default, {config.window} and {config.threshold:g}.",
        "",
        "![Layouts by batch size](../../figures/11-fixed-batch.png)",
        "",
        "| layout | size | correlation | error | spread of the stop | offset | median | fires |",
        "|---|" + "---:|" * 7,
    ]
    for layout in LAYOUTS:
        for size, group in raw[raw["layout"] == layout].groupby("size"):
            cells = [
                shown(group[name].mean(), drawn[name][layout, size], digits)
                for name, digits in MEASURES_DIGITS.items()
            ]
            cells += [plain(group[name].mean(), digits) for name, digits in OTHERS_DIGITS.items()]
            lines.append(f"| {layout} | {size} | " + " | ".join(cells) + " |")
    best = winner(raw, drawn)
    lines += [
        "",
        "## Which is the default",
        "",
        "A layout wins if its spread, averaged over the sizes, is below that of `random` by an "
        "interval that excludes 0; of several, the one with the smallest. "
        + (f"Winner: `{best}`." if best else "None wins: `random` stays.")
        + " Differences to `random` on the same concepts and batches, over all sizes and at those "
        "that are defaults:",
        "",
        "| samples | layout | correlation | error | spread of the stop |",
        "|---|---|---:|---:|---:|",
    ]
    chosen = sorted(
        of_family(family, METHODS[0])["eval_batch"]
        for family in (BUNDLED_MODEL, "stable-diffusion")
    )
    for sizes in [SIZES, *((size,) for size in chosen)]:
        name = "all" if sizes == SIZES else f"{sizes[0]}"
        for layout in LAYOUTS[1:]:
            cells = [
                shown(*difference(raw, drawn, measure, layout, sizes), digits, "+")
                for measure, digits in MEASURES_DIGITS.items()
            ]
            lines.append(f"| {name} | {layout} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "## How many random samples a stratified batch is worth",
        "",
        "Stratified of one size less random of twice that size:",
        "",
        "| samples | correlation | error | spread of the stop |",
        "|---|---:|---:|---:|",
    ]
    for size in SIZES[:-1]:
        cells = [
            shown(*difference(raw, drawn, measure, "stratified", (size,), 2), digits, "+")
            for measure, digits in MEASURES_DIGITS.items()
        ]
        lines.append(f"| {size} against {2 * size} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


MEASURES_DIGITS = {"correlation": 3, "error": 2, "spread": 1}
OTHERS_DIGITS = {"offset": 2, "median_stop": 0, "fired": 2}


def difference(
    raw: pd.DataFrame,
    drawn: Drawn,
    measure: str,
    layout: str,
    sizes: Sequence[int] | None = None,
    times: int = 1,
) -> tuple[float, pd.Series]:
    """A measure of a layout less that of `random`, mean over (all) sizes: as found, and resampled.

    `random` has so many times the samples.
    """
    means = raw.groupby(["layout", "size"])[measure].mean()
    own = [(layout, size) for size in sizes or SIZES]
    other = [("random", times * size) for _, size in own]
    found = means[own].mean() - means[other].mean()
    again = drawn[measure][own].mean(axis=1) - drawn[measure][other].mean(axis=1)
    return float(found), again


def winner(raw: pd.DataFrame, drawn: Drawn) -> str | None:
    """The layout whose DVAR stops vary least, if it is surely better than `random`."""
    gaps = {layout: difference(raw, drawn, "spread", layout) for layout in LAYOUTS[1:]}
    better = {name: gap for name, (gap, again) in gaps.items() if ends(again)[1] < 0}
    return min(better, key=lambda name: better[name]) if better else None


def ends(again: pd.Series) -> tuple[float, float]:
    """The 2.5% and 97.5% quantiles of what was resampled."""
    low, high = np.quantile(again, [0.025, 0.975])
    return float(low), float(high)


def shown(found: float, again: pd.Series, digits: int, sign: str = "") -> str:
    """A mean and its 95% interval."""
    if np.isnan(found):
        return "-"
    low, high = (f"{end:{sign}.{digits}f}" for end in ends(again))
    return f"{found:{sign}.{digits}f} ({low} to {high})"


def plain(found: float, digits: int) -> str:
    """A mean."""
    return "-" if np.isnan(found) else f"{found:.{digits}f}"


def by_layout(raw: pd.DataFrame, drawn: Drawn) -> pd.DataFrame:
    """What the figure shows: measure, layout, size, value, low, high (95%), concepts."""
    rows = []
    for measure in MEASURES:
        means = raw.groupby(["layout", "size"])[measure].mean().dropna().reset_index()
        for layout, size, value in means.itertuples(index=False):
            low, high = ends(drawn[measure][layout, size])
            rows.append((measure, layout, size, value, low, high))
    columns = ["measure", "layout", "size", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns).assign(concepts=raw["concept"].nunique())


def figure_of(table: pd.DataFrame) -> Figure:
    """One panel per measure, one line per layout, over the number of samples.

    Bars are 95% intervals. The layouts of a size stand beside each other, so that bars can be told
    apart; so do marks and dashes.
    """
    layouts = [layout for layout in LAYOUTS if layout in set(table["layout"])]
    # The sizes are powers of 2: a tenth of the way to the next.
    shift = {layout: 2 ** (0.1 * place - 0.15) for place, layout in enumerate(layouts)}
    shown = table.assign(place=table["size"] * table["layout"].map(shift))
    with look():
        panels = several_panels(None, [*MEASURES], PAGE, 2.5)
        for ax, (name, label) in zip(panels, MEASURES.items(), strict=True):
            own = shown[shown["measure"] == name]
            sns.lineplot(
                with_ends(own, "value", "low", "high"),
                x="place",
                y="value",
                hue="layout",
                style="layout",
                hue_order=layouts,
                style_order=layouts,
                markers=[MARKS[layout] for layout in layouts],
                palette=[colour_of(COLOURS[layout]) for layout in layouts],
                err_style="bars",
                markersize=4,
                markeredgewidth=0,
                legend=False,
                ax=ax,
                **INTERVAL,
            )
            ax.set_xscale("log", base=2)
            sizes = sorted(table["size"].unique())
            ax.set_xticks(sizes, [str(size) for size in sizes])
            ax.set_ylim(*((None, 1.01) if name == "correlation" else (0, None)))
            ax.set_title(label, loc="left")
            ax.set_xlabel("samples in the fixed batch")
            ax.set_ylabel("")
            dress(ax)
        last = own[own["size"] == own["size"].max()].set_index("layout")["value"]
        named = {f"{LETTERS[name]} {name}": name for name in layouts if name in last}
        name_ends(ax, {key: (last[name], colour_of(COLOURS[name])) for key, name in named.items()})
        concepts = int(table["concepts"].max())
        figure = figure_of_axes(panels)
        figure.supxlabel(
            f"bars: 95% intervals over {concepts} concepts and {BATCHES} fixed batches",
            fontsize=FONT_SIZE,
        )
    return figure
