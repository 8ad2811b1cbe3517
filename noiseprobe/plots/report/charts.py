"""The curves of one run, made with Altair from labelled data, drawn by the page."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from noiseprobe.core.words import visible
from noiseprobe.plots.report.contents import Checkpoints, Losses
from noiseprobe.plots.report.vega import (
    FAINT,
    INK,
    LOSSES,
    STAR,
    STOP,
    Chart,
    cursor,
    data,
    known_ratios,
    loss_axis,
    span,
    spec_of,
    step_told,
    stop_rule,
    thinned,
)

_OF_LOSS = {"l_det": INK, "l_val": "var(--held-out)"}


def of_noise(ratios: pd.DataFrame, redraws: tuple[int, int]) -> Chart | None:
    """Noise-to-signal of each factor with its interval; None where none is known."""
    rows = known_ratios(ratios)
    if rows.empty:
        return None
    order = list(rows.sort_values("noise_to_signal", ascending=False)["factor"])
    y = alt.Y("factor:N", sort=order, title=None, axis=alt.Axis(labelFontSize=13))
    tooltip = [
        alt.Tooltip("factor:N", title="redrawn"),
        alt.Tooltip("noise_to_signal:Q", title="noise-to-signal", format=".3g"),
        alt.Tooltip("reach:N", title="95%"),
    ]
    base = alt.Chart(data(rows)).encode(y=y, tooltip=tooltip)
    colour = alt.Color("colour:N", scale=None)
    bars = base.mark_rule(strokeWidth=4, opacity=0.45).encode(
        x=alt.X("low:Q", scale=alt.Scale(type="log"), title="noise-to-signal (log scale)"),
        x2="high:Q",
        color=colour,
    )
    dots = base.mark_point(filled=True, size=110, opacity=1).encode(
        x="noise_to_signal:Q", color=colour
    )
    line = alt.Chart(data(pd.DataFrame({"at": [1.0]}))).mark_rule(strokeDash=[5, 4], color=INK)
    layered = (line.encode(x="at:Q") + bars + dots).properties(height=34 * len(rows) + 20)
    many, samples = redraws
    return Chart(
        "noise",
        "Noise-to-signal of each factor",
        f"What redrawing one factor alone adds to the loss of a batch of {samples}, over how far "
        "the whole training moves the expected loss. Right of the dashed line the factor hides "
        f"the progress. Bars: 95%, over {many} redraws and over the choice of the batch.",
        "Noise-to-signal, largest first: "
        + "; ".join(
            f"{row['factor']} {row['noise_to_signal']:.3g} ({row['reach']})"
            for row in rows.sort_values("noise_to_signal", ascending=False).to_dict("records")
        ),
        spec_of(layered),
    )


def of_training(losses: Losses, steps: Sequence[int], start: int | None) -> Chart | None:
    """The loss of training batches; None where there is none."""
    table = thinned(losses.training, "loss")
    if table.empty:
        return None
    tooltip = [step_told(), alt.Tooltip("loss:Q", format=".4g")]
    base = alt.Chart(data(table)).encode(x=_steps(losses), y=loss_axis("loss", "training loss"))
    shown = base.mark_line(color=INK, strokeWidth=0.8, opacity=0.55)
    dots = base.mark_point(filled=True, opacity=0.001, size=60).encode(tooltip=tooltip)
    layered = alt.layer(shown, *stop_rule(losses.stop, named=False), dots, *cursor(steps))
    every = len(losses.training)
    some = f" Of {every:,} values the extremes are shown." if len(table) < every else ""
    return Chart(
        "training",
        "The training loss, which jumps",
        f"The loss of each training batch: everything is drawn anew at every step.{some}",
        f"The loss of training batches over steps {span(table)}: from "
        f"{table['loss'].min():.3g} to {table['loss'].max():.3g}.",
        spec_of(layered.properties(height=170), start),
    )


def of_tracked(losses: Losses, steps: Sequence[int], start: int | None) -> Chart | None:
    """How the loss on each fixed batch has changed, with stop and best; None without one."""
    shown = {name: thinned(table, "change") for name, table in losses.tracked.items()}
    shown = {name: table for name, table in shown.items() if len(table)}
    if not shown:
        return None
    rows = pd.concat([table.assign(name=name) for name, table in shown.items()])
    rows["curve"] = rows["name"].map(LOSSES)
    tooltip = [
        step_told(),
        alt.Tooltip("curve:N", title="photographs"),
        alt.Tooltip("loss:Q", format=".4g"),
        alt.Tooltip("change:Q", title="against its start", format="+.4f"),
    ]
    names = [LOSSES[name] for name in shown]
    scale = alt.Scale(domain=names, range=[_OF_LOSS[name] for name in shown])
    colour = alt.Color("curve:N", scale=scale)
    base = alt.Chart(data(rows)).encode(
        x=_steps(losses),
        y=loss_axis("change", "loss against its start"),
        color=colour,
    )
    band = base.mark_area(opacity=0.15).encode(
        y=loss_axis("low", "loss against its start"), y2="high"
    )
    lines = base.mark_line(strokeWidth=1.8)
    dots = base.mark_point(filled=True, opacity=0.001, size=60).encode(tooltip=tooltip)
    layered = alt.layer(
        band, lines, *stop_rule(losses.stop), *_best(losses, colour), dots, *cursor(steps)
    )
    lowest = ""
    if losses.best:
        lowest = f" Star: lowest, step {losses.best[1]}."
    fewer = any(len(table) < len(losses.tracked[name]) for name, table in shown.items())
    some = " Of more values than a screen shows, the extremes are." if fewer else ""
    told = [f"{LOSSES[name]} {_told(table)}" for name, table in shown.items()]
    return Chart(
        "tracked",
        "The losses that tell",
        "The same loss on one batch that is drawn once and never again, against its start. Band: "
        f"95% over draws.{_stopped(losses)}{lowest}{some}",
        f"Change of the loss: {'; '.join(told)}.{_stopped(losses)}{lowest}",
        spec_of(layered.properties(height=260), start),
    )


def of_checkpoints(found: Checkpoints, start: int | None) -> Chart | None:
    """The loss of each checkpoint above the lowest; None where none was evaluated."""
    rows = found.table[np.isfinite(found.table["difference"])].copy()
    if rows.empty:
        return None
    rows["kind"] = np.where(rows["candidate"].astype(bool), "may be the best", "surely worse")
    scale = alt.Scale(
        domain=["may be the best", "surely worse"], range=["var(--held-out)", "var(--muted)"]
    )
    x = alt.X("step:Q", title=f"checkpoint ({found.unit})", axis=alt.Axis(tickMinStep=1))
    tooltip = [
        alt.Tooltip("step:Q", title=found.unit),
        alt.Tooltip("loss:Q", format=".4g"),
        alt.Tooltip("difference:Q", title="above the lowest", format=".3g"),
        alt.Tooltip("low:Q", title="95%, from", format=".3g"),
        alt.Tooltip("high:Q", title="to", format=".3g"),
    ]
    base = alt.Chart(data(rows)).encode(
        x=x, color=alt.Color("kind:N", scale=scale), tooltip=tooltip
    )
    title = "loss above the lowest"
    bars = base.mark_rule(strokeWidth=2).encode(y=loss_axis("low", title), y2="high")
    dots = base.mark_point(filled=True, size=70, opacity=1).encode(y=loss_axis("difference", title))
    layered = alt.layer(bars, dots, *cursor(list(found.table["step"])))
    may = rows.loc[rows["candidate"].astype(bool), "step"]
    return Chart(
        "checkpoints",
        "Which checkpoints may be the best",
        f"By {visible(found.loss)}, compared on the same draws. Bars: 95%, for all together; "
        "whether one may be the best is told by comparing it with all others, so that a bar may "
        "reach 0 all the same.",
        f"The checkpoints that may be the best by {visible(found.loss)}: {found.unit} "
        + ", ".join(map(str, may)),
        spec_of(layered.properties(height=220), start),
    )


def of_trade(found: Checkpoints, start: int | None) -> Chart | None:
    """Likeness against following the prompt; None where fewer than two steps were measured."""
    rows = found.table.dropna(subset=["likeness", "prompt"]).sort_values("step")
    if len(rows) < 2:
        return None
    rows = rows.assign(front=rows["step"].isin(found.front))
    rows["kind"] = np.where(rows["front"], "none is better in both", "another is better in both")
    scale = alt.Scale(
        domain=["none is better in both", "another is better in both"],
        range=["var(--held-out)", "var(--muted)"],
    )
    tooltip = [
        alt.Tooltip("step:Q", title=found.unit),
        alt.Tooltip("likeness:Q", format=".3f"),
        alt.Tooltip("prompt:Q", title="following the prompt", format=".3f"),
    ]
    free = alt.Scale(zero=False, padding=14)
    base = alt.Chart(data(rows)).encode(
        x=alt.X("likeness:Q", scale=free, title="likeness to the photographs"),
        y=alt.Y("prompt:Q", scale=free, title="following the prompt"),
    )
    path = base.mark_line(color=FAINT, strokeWidth=1).encode(order="step:Q")
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(
        color=alt.Color("kind:N", scale=scale), tooltip=tooltip
    )
    named = base.mark_text(dy=-11).encode(text="step:Q").transform_filter("datum.front")
    ring = base.mark_point(size=320, strokeWidth=2.5, color=STOP, filled=False)
    layered = alt.layer(path, dots, named, ring.transform_filter("datum.step === cursor"))
    return Chart(
        "trade",
        "Likeness or prompt",
        "CLIP similarity of drawn pictures: to the photographs, of training prompts; to the words, "
        "of prompts that training never saw. The line goes from checkpoint to checkpoint; the ring "
        "is the one that is chosen above.",
        f"Of {len(rows)} measured checkpoints no other is better in both likeness and prompt than "
        f"{found.unit} {', '.join(str(step) for step in found.front)}.",
        spec_of(layered.properties(height=300), start, over="likeness"),
    )


def _steps(losses: Losses) -> alt.X:
    """Steps from the first to the last of all losses, so that charts below each other agree."""
    tables = [losses.training, *losses.tracked.values()]
    ends = [float(step) for table in tables if len(table) for step in table["step"].iloc[[0, -1]]]
    domain = [min(ends, default=0.0), max(ends, default=1.0)]
    return alt.X(
        "step:Q",
        title="training step",
        scale=alt.Scale(domain=domain, nice=False),
        axis=alt.Axis(tickMinStep=1),
    )


def _best(losses: Losses, colour: alt.Color) -> list[Any]:
    if losses.best is None or losses.best[0] not in losses.tracked:
        return []
    name, step = losses.best
    table = losses.tracked[name]
    at = table[table["step"] == step].assign(curve=LOSSES[name])
    star = alt.Chart(data(at)).mark_point(shape=STAR, filled=True, size=320, opacity=1)
    return [star.encode(x="step:Q", y="change:Q", color=colour)] if len(at) else []


def _stopped(losses: Losses) -> str:
    if losses.stop is None:
        return ""
    return f" Dashed: {visible(losses.stop[0])} stopped the training at step {losses.stop[1]}."


def _told(table: pd.DataFrame) -> str:
    last, lowest = table.iloc[-1], table.iloc[int(table["change"].argmin())]
    return (
        f"lowest at step {lowest['step']:.0f} ({lowest['change']:+.4f}), at the end "
        f"{last['change']:+.4f}"
    )
