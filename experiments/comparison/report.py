"""What the comparison found: the table, its raw numbers, the claims, the figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.comparison.runs import others
from experiments.curves import geometric_mean
from noiseprobe.analysis import correlations
from noiseprobe.analysis.bootstrap import bootstrap_interval
from noiseprobe.analysis.comparison import NAMES, raw_numbers, table
from noiseprobe.cli.tables import markdown
from noiseprobe.cli.text_runs import comparison_text, write_comparison
from noiseprobe.core.files import written_whole
from noiseprobe.draws.factors import FACTORS
from noiseprobe.plots.comparison import plot_comparison
from noiseprobe.plots.correlation import plot_correlation
from noiseprobe.plots.saving import save
from noiseprobe.plots.stops import plot_stops
from noiseprobe.run.defaults import METHODS
from noiseprobe.run.directory import Run

NOISE = Path(__file__).parents[1] / "noise_to_signal" / "methods.csv"
QUIET, LOUD = ("captions", "vae_noise"), ("images", "timesteps", "noise")


def write_report(runs: Sequence[Run], directory: Path) -> None:
    """Write `comparison.*`, `runs.csv` and `correlations.csv`, and what follows from them.

    A run of a concept that a window or a threshold was chosen on is left out.
    """
    unseen = set(others())
    runs = [run for run in runs if Path(run.config.concept).name in unseen]
    raw = raw_numbers(runs)
    write_comparison(raw, table(raw), directory)
    with written_whole(directory / "correlations.csv") as beside:
        correlations_by_run(runs).to_csv(beside, index=False, float_format="%.6g")
    write_from_tables(directory)


def write_from_tables(directory: Path, noise: Path = NOISE) -> None:
    """Write `RESULTS.md` and the figures from the tables in `directory`, and from those of `noise`.

    `noise` is the table of `python -m experiments.noise_to_signal.methods`.
    """
    raw, told = (pd.read_csv(directory / name) for name in ("runs.csv", "correlations.csv"))
    summary, ratios = pd.read_csv(directory / "comparison.csv"), by_factor(pd.read_csv(noise))
    with written_whole(directory / "RESULTS.md") as beside:
        beside.write_text(report(raw, summary, ratios, told), encoding="utf-8")
    draw_figures(directory)


def draw_figures(directory: Path) -> None:
    """Draw the figures of the tables that `write_report` left in `directory`, into `figures/`."""
    raw, summary = (pd.read_csv(directory / name) for name in ("runs.csv", "comparison.csv"))
    save(plot_stops(raw), directory / "figures" / "stops")
    save(plot_comparison(summary), directory / "figures" / "comparison")
    told = pd.read_csv(directory / "correlations.csv", index_col="trace")
    save(plot_correlation(told), directory / "figures" / "correlation")


def by_factor(table: pd.DataFrame) -> pd.DataFrame:
    """Noise-to-signal in each run: method, concept, one column per factor; NaN: cannot be told."""
    wide = table.pivot(index=["method", "concept"], columns="setting", values="noise_to_signal")
    return wide[list(FACTORS)].reset_index()


def correlations_by_run(runs: Sequence[Run]) -> pd.DataFrame:
    """Rank correlation of each trace with CLIP similarity in each run."""
    tables = []
    for run in runs:
        traces = run.train_trace(), run.probe_trace()
        found = correlations(*traces, run.num_timesteps).reset_index()
        name = Path(run.config.concept).name
        tables.append(found.assign(method=run.config.method, concept=name))
    return pd.concat(tables, ignore_index=True)


def report(
    raw: pd.DataFrame, summary: pd.DataFrame, noise: pd.DataFrame, told: pd.DataFrame
) -> str:
    """The findings as Markdown."""
    concepts = raw.groupby("method")["concept"].nunique()
    lines = [
        "# Stopping criteria compared on the bundled model",
        "",
        "Made by `python -m experiments.comparison run report`. A run per concept and method goes "
        "on to its last step with L_det, as often as by default, and CLIP checks recorded; where "
        "each criterion would have ended it is read from its trace, and the checkpoint there is "
        "measured. Concepts are those that DVAR's window and threshold were not chosen on ("
        + ", ".join(f"{method}: {concepts[method]}" for method in METHODS if method in concepts)
        + "); [TUNING.md](TUNING.md) says how they were chosen. Mean and 95% bootstrap interval "
        "over concepts. All runs share one seed, and so one random fixed batch: how much hangs on "
        "that is not in the intervals. Minutes are on one thread of a shared CPU.",
        "",
        comparison_text(summary, markdown),
        "",
        "![What each criterion costs, and what it is worth](figures/comparison.png)",
        "",
        "[runs.csv](runs.csv) has every run.",
        "",
        "## The published claims, here",
        "",
        "Noise-to-signal is that of [../noise_to_signal/METHODS.md](../noise_to_signal/METHODS.md):"
        f" geometric means over {noise['concept'].nunique()} of these concepts, each with draws of "
        "its own.",
        "",
        *claims(raw, summary, noise, told),
        "",
        "![Where each criterion stops](figures/stops.png)",
        "",
        "![Which trace tells what is drawn](figures/correlation.png)",
        "",
    ]
    return "\n".join(lines)


def claims(
    raw: pd.DataFrame, summary: pd.DataFrame, noise: pd.DataFrame, told: pd.DataFrame
) -> list[str]:
    """Each published claim with the number found here and a verdict."""
    lines = []
    for factors, small in ((QUIET, True), (LOUD, False)):
        for factor in factors:
            parts, holds = [], []
            for method, values in noise.groupby("method")[factor]:
                if len(told_of := values.dropna()) and (told_of > 0).all():
                    found = geometric_mean(told_of)
                    parts.append(f"{method} {found['mean']:.2g}")
                    holds.append(found["high"] < 0.5 if small else found["low"] > 1)
            verdict = "holds" if all(holds) else "holds in part" if any(holds) else "does not hold"
            what = "hardly matters" if small else "hides the progress"
            lines.append(
                f"- **{factor} {what}** (noise-to-signal surely "
                f"{'below 0.5' if small else 'above 1'}): {', '.join(parts)}: {verdict}."
            )
    by: dict[Any, Any] = {
        (row["method"], row["variant"]): row for row in summary.to_dict("records")
    }
    for method in [name for name in METHODS if name in set(summary["method"])]:
        dvar, baseline = by[method, "dvar"], by[method, "baseline"]
        steps = baseline["step"] / dvar["step"]
        of_method = raw[raw["method"] == method]
        lost = baseline["val_clip_img"] - dvar["val_clip_img"]
        verdict = "holds" if steps >= 2 and lost <= 0.02 else "holds in part"
        if steps < 2 and lost > 0.02:
            verdict = "does not hold"
        lines.append(
            f"- **DVAR stops 2 to 8 times earlier at little cost**, {method}: {steps:.1f} times "
            f"fewer steps, {dvar['speedup']:.1f} times less time; Val CLIP img "
            f"{dvar['val_clip_img']:.3f} against {baseline['val_clip_img']:.3f}, a difference of "
            f"{gap(of_method, 'val_clip_img')}, Val CLIP txt {dvar['val_clip_txt']:.3f} against "
            f"{baseline['val_clip_txt']:.3f}, {gap(of_method, 'val_clip_txt')}: {verdict}."
        )
        lines.append(adaptability(of_method, method))
    medians = {str(name): float(rho.median()) for name, rho in told.groupby("trace")["rho"]}
    lines.append(
        "- **L_det tells what is drawn, the training loss does not** (median rank correlation with "
        f"CLIP similarity): L_det {medians['l_det']:.2f}, training loss {medians['loss']:.2f}, "
        f"gradient norm {medians['grad_norm']:.2f}: "
        + ("holds." if medians["l_det"] < min(-0.3, medians["loss"] - 0.2) else "does not hold.")
    )
    return lines


def gap(raw: pd.DataFrame, metric: str) -> str:
    """DVAR's metric less the baseline's: mean over concepts, and its 95% interval."""
    wide = raw.pivot_table(index="concept", columns="variant", values=metric)
    values = wide["dvar"] - wide["baseline"]
    low, high = bootstrap_interval(values)
    return f"{values.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def adaptability(raw: pd.DataFrame, method: str) -> str:
    """Whether DVAR's own stops are worth more than the same number of steps for every concept."""
    wide = raw.pivot_table(index="concept", columns="variant", values="val_clip_img")
    best, stops = wide["baseline"], raw[raw["variant"] == "dvar"]["step"]
    gaps = np.stack([best - wide[name] for name in ("few", "dvar")], axis=1)
    few, dvar = gaps.std(axis=0, ddof=1)
    low, high = bootstrap_interval(gaps, spread_difference)
    verdict = "holds" if high < 0 else "the reverse holds" if low > 0 else "not shown"
    return (
        f"- **A fixed number of steps lacks DVAR's adaptability**, {method}: DVAR stops between "
        f"steps {stops.min():.0f} and {stops.max():.0f}; spread over concepts of the difference to "
        f"the baseline in Val CLIP img: {NAMES['few']} {few:.3f}, {NAMES['dvar']} {dvar:.3f}, "
        f"{dvar - few:+.3f} ({low:+.3f} to {high:+.3f}): {verdict}."
    )


def spread_difference(
    first: NDArray[np.float64], second: NDArray[np.float64], axis: int = -1
) -> NDArray[np.float64]:
    """The standard deviation of the second numbers less that of the first."""
    return np.asarray(second.std(axis, ddof=1) - first.std(axis, ddof=1))
