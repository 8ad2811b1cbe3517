"""The curves of a report as Vega-Lite: made with Altair from labelled data, drawn by the page.

Colours are names of the page's style, so that they follow its light and dark look. A chart of steps
has a signal `cursor`, the step that the page's slider is at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import altair as alt
import numpy as np
import pandas as pd

from noiseprobe.core.words import visible
from noiseprobe.draws.factors import FACTORS
from noiseprobe.plots.report.contents import Checkpoints, Losses, RunReport, TraceReport
from noiseprobe.plots.style import plain_name

Spec = dict[str, Any]

MOST_POINTS = 1500
"""Of a curve: a screen shows no more, and a page is to open at once."""

LOSSES = {"l_det": "trained on (L_det)", "l_val": "held out (l_val)"}
"""What is written for the losses on fixed batches."""

_INK, _FAINT, _STOP = "var(--ink)", "var(--faint)", "var(--stop)"
_OF_LOSS = {"l_det": _INK, "l_val": "var(--held-out)"}
_OF_RUNS = [f"var(--series-{place})" for place in range(1, 5)]
_AXIS = {
    "labelColor": _INK,
    "titleColor": _INK,
    "domainColor": _FAINT,
    "tickColor": _FAINT,
    "gridColor": "var(--grid)",
    "labelFontSize": 12,
    "titleFontSize": 12,
    "titleFontWeight": "normal",
    "tickCount": 5,
}
LOOK: Spec = {
    "aria": False,  # a chart is one image to those who hear it, with words of its own
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": _AXIS,
    "axisX": {"grid": False, "labelFlush": True},
    "legend": {
        "labelColor": _INK,
        "labelFontSize": 12,
        "orient": "top",
        "title": None,
        "labelLimit": 400,
        "columns": 2,
        "symbolOpacity": 1,
    },
    "text": {"fill": _INK, "fontSize": 12},
}


@dataclass(frozen=True)
class Chart:
    """A chart with its words.

    Attributes:
        name: its `id` in the page.
        title: what stands above it.
        says: how to read it, below it.
        alt: what it shows, for those who do not see it.
        spec: Vega-Lite.
    """

    name: str
    title: str
    says: str
    alt: str
    spec: Spec


def of_noise(ratios: pd.DataFrame, redraws: tuple[int, int]) -> Chart | None:
    """Noise-to-signal of each factor with its interval; None where none is known."""
    rows = _known_ratios(ratios)
    if rows.empty:
        return None
    order = list(rows.sort_values("noise_to_signal", ascending=False)["factor"])
    y = alt.Y("factor:N", sort=order, title=None, axis=alt.Axis(labelFontSize=13))
    tooltip = [
        alt.Tooltip("factor:N", title="redrawn"),
        alt.Tooltip("noise_to_signal:Q", title="noise-to-signal", format=".3g"),
        alt.Tooltip("low:Q", title="95%, from", format=".3g"),
        alt.Tooltip("high:Q", title="to", format=".3g"),
    ]
    base = alt.Chart(_data(rows)).encode(y=y, tooltip=tooltip)
    colour = alt.Color("colour:N", scale=None)
    bars = base.mark_rule(strokeWidth=4, opacity=0.45).encode(
        x=alt.X("low:Q", scale=alt.Scale(type="log"), title="noise-to-signal (log scale)"),
        x2="high:Q",
        color=colour,
    )
    dots = base.mark_point(filled=True, size=110, opacity=1).encode(
        x="noise_to_signal:Q", color=colour
    )
    line = alt.Chart(_data(pd.DataFrame({"at": [1.0]}))).mark_rule(strokeDash=[5, 4], color=_INK)
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
            f"{row['factor']} {row['noise_to_signal']:.3g} ({row['low']:.3g} to {row['high']:.3g})"
            for row in rows.sort_values("noise_to_signal", ascending=False).to_dict("records")
        ),
        _spec(layered),
    )


def of_training(losses: Losses, steps: Sequence[int], start: int | None) -> Chart | None:
    """The loss of training batches; None where there is none."""
    table = thinned(losses.training, "loss")
    if table.empty:
        return None
    tooltip = [_step(), alt.Tooltip("loss:Q", format=".4g")]
    base = alt.Chart(_data(table)).encode(x=_steps(losses), y=_loss("loss", "training loss"))
    shown = base.mark_line(color=_INK, strokeWidth=0.8, opacity=0.55)
    dots = base.mark_point(filled=True, opacity=0.001, size=60).encode(tooltip=tooltip)
    layered = alt.layer(shown, *_stop_rule(losses.stop, named=False), dots, *_cursor(steps))
    every = len(losses.training)
    some = f" Of {every:,} values the extremes are shown." if len(table) < every else ""
    return Chart(
        "training",
        "The training loss, which jumps",
        f"The loss of each training batch: everything is drawn anew at every step.{some}",
        f"The loss of training batches over steps {_span(table)}: from "
        f"{table['loss'].min():.3g} to {table['loss'].max():.3g}.",
        _spec(layered.properties(height=170), start),
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
        _step(),
        alt.Tooltip("curve:N", title="photographs"),
        alt.Tooltip("loss:Q", format=".4g"),
        alt.Tooltip("change:Q", title="against its start", format="+.4f"),
    ]
    names = [LOSSES[name] for name in shown]
    scale = alt.Scale(domain=names, range=[_OF_LOSS[name] for name in shown])
    colour = alt.Color("curve:N", scale=scale)
    base = alt.Chart(_data(rows)).encode(
        x=_steps(losses),
        y=_loss("change", "loss against its start"),
        color=colour,
    )
    band = base.mark_area(opacity=0.15).encode(y=_loss("low", "loss against its start"), y2="high")
    lines = base.mark_line(strokeWidth=1.8)
    dots = base.mark_point(filled=True, opacity=0.001, size=60).encode(tooltip=tooltip)
    layered = alt.layer(
        band, lines, *_stop_rule(losses.stop), *_best(losses, colour), dots, *_cursor(steps)
    )
    lowest = ""
    if losses.best:
        lowest = f" Star: lowest, step {losses.best[1]}."
    told = [f"{LOSSES[name]} {_told(table)}" for name, table in shown.items()]
    return Chart(
        "tracked",
        "The losses that tell",
        "The same loss on one batch that is drawn once and never again, against its start. Band: "
        f"95% over draws.{_stopped(losses)}{lowest}",
        f"Change of the loss: {'; '.join(told)}.{_stopped(losses)}{lowest}",
        _spec(layered.properties(height=260), start),
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
    base = alt.Chart(_data(rows)).encode(
        x=x, color=alt.Color("kind:N", scale=scale), tooltip=tooltip
    )
    title = "loss above the lowest"
    bars = base.mark_rule(strokeWidth=2).encode(y=_loss("low", title), y2="high")
    dots = base.mark_point(filled=True, size=70, opacity=1).encode(y=_loss("difference", title))
    layered = alt.layer(bars, dots, *_cursor(list(found.table["step"])))
    may = rows.loc[rows["candidate"].astype(bool), "step"]
    return Chart(
        "checkpoints",
        "Which checkpoints may be the best",
        f"By {visible(found.loss)}, compared on the same draws. Bars: 95%, for all together.",
        f"The checkpoints that may be the best by {visible(found.loss)}: {found.unit} "
        + ", ".join(map(str, may)),
        _spec(layered.properties(height=220), start),
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
    base = alt.Chart(_data(rows)).encode(
        x=alt.X("likeness:Q", scale=free, title="likeness to the photographs"),
        y=alt.Y("prompt:Q", scale=free, title="following the prompt"),
    )
    path = base.mark_line(color=_FAINT, strokeWidth=1).encode(order="step:Q")
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(
        color=alt.Color("kind:N", scale=scale), tooltip=tooltip
    )
    named = base.mark_text(dy=-11).encode(text="step:Q").transform_filter("datum.front")
    ring = base.mark_point(size=320, strokeWidth=2.5, color=_STOP, filled=False)
    layered = alt.layer(path, dots, named, ring.transform_filter("datum.step === cursor"))
    return Chart(
        "trade",
        "Likeness or prompt",
        "CLIP similarity of drawn pictures: to the photographs, of training prompts; to the words, "
        "of prompts that training never saw. The line goes from checkpoint to checkpoint; the ring "
        "is the one that is chosen above.",
        f"Of {len(rows)} measured checkpoints no other is better in both likeness and prompt than "
        f"{found.unit} {', '.join(str(step) for step in found.front)}.",
        _spec(layered.properties(height=300), start, over="likeness"),
    )


def of_trace(trace: TraceReport, name: str) -> Chart | None:
    """A recorded series with its best and DVAR's stop; None where no value is finite."""
    return _of_series(trace.values, name, trace.tag, trace.log, trace.best_step, trace.stop)


def of_beside(trace: TraceReport, name: str) -> Chart | None:
    """The training loss beside a recorded series; None where there is none."""
    return _of_series(trace.training, name, trace.training_tag, trace.log, None, None)


def _of_series(
    values: pd.DataFrame, name: str, tag: str, log: str, best: int | None, stop: int | None
) -> Chart | None:
    rows, title = thinned(values, "loss"), visible(tag)
    if rows.empty:
        return None
    tooltip = [_step(), alt.Tooltip("loss:Q", title=title, format=".4g")]
    x = alt.X("step:Q", title="step", axis=alt.Axis(tickMinStep=1))
    base = alt.Chart(_data(rows)).encode(x=x, y=_loss("loss", title))
    parts: list[Any] = [base.mark_line(color=_INK, strokeWidth=1 if len(rows) < 500 else 0.6)]
    if best is not None:
        at = values[values["step"] == best].head(1)
        star = alt.Chart(_data(at)).mark_point(shape=_STAR, filled=True, size=260, opacity=1)
        parts.append(star.encode(x=x, y="loss:Q", color=alt.value("var(--held-out)")))
    parts += _stop_rule(None if stop is None else ("DVAR", stop))
    parts.append(base.mark_point(filled=True, opacity=0.001, size=60).encode(tooltip=tooltip))
    told = "" if stop is None else f" Dashed: DVAR would stop at step {stop}."
    told += "" if best is None else f" Star: best, step {best}."
    some = f" Of {len(values):,} values the extremes are shown." if len(rows) < len(values) else ""
    return Chart(
        name,
        title,
        f"{visible(log)}.{told}{some}",
        f"{title} over steps {_span(rows)}.{told}",
        _spec(alt.layer(*parts).properties(height=240)),
    )


def of_runs_noise(runs: Sequence[RunReport]) -> Chart | None:
    """Noise-to-signal of each factor, a dot per run; None where none is known."""
    found = [
        _known_ratios(run.ratios).assign(run=visible(run.name), method=run.row["method"])
        for run in runs
    ]
    rows = pd.concat(found) if found else pd.DataFrame()
    if rows.empty:
        return None
    order = [plain_name(factor) for factor in FACTORS]
    scale = alt.Scale(type="log")
    tooltip = [
        alt.Tooltip("run:N"),
        alt.Tooltip("method:N"),
        alt.Tooltip("factor:N", title="redrawn"),
        alt.Tooltip("noise_to_signal:Q", title="noise-to-signal", format=".3g"),
    ]
    base = alt.Chart(_data(rows)).encode(
        y=alt.Y("factor:N", sort=order, title=None, axis=alt.Axis(labelFontSize=13)),
        yOffset="method:N",
        x=alt.X("noise_to_signal:Q", scale=scale, title="noise-to-signal (log scale)"),
        color=_of_methods(runs),
        tooltip=tooltip,
    )
    dots = base.mark_point(filled=True, size=70, opacity=0.8)
    line = alt.Chart(_data(pd.DataFrame({"at": [1.0]}))).mark_rule(strokeDash=[5, 4], color=_INK)
    layered = (line.encode(x="at:Q") + dots).properties(height=240)
    medians = rows.groupby("factor")["noise_to_signal"].median().sort_values(ascending=False)
    return Chart(
        "runs-noise",
        "What hides the progress, run by run",
        "A dot is one run. Right of the dashed line the factor alone hides the progress.",
        "Median noise-to-signal over runs: "
        + "; ".join(f"{name} {value:.3g}" for name, value in medians.items()),
        _spec(layered),
    )


def of_runs_losses(runs: Sequence[RunReport]) -> Chart | None:
    """The curve that tells most of each run; None where none has one."""
    found = []
    for run in runs:
        names = [name for name in ("l_val", "l_det") if len(run.losses.tracked.get(name, ()))]
        for name in names[:1]:
            table = thinned(run.losses.tracked[name], "change", 300)
            about = {"run": visible(run.name), "method": run.row["method"], "curve": LOSSES[name]}
            found.append(table.assign(**about))
    if not found:
        return None
    rows = pd.concat(found)
    tooltip = [alt.Tooltip(f"{name}:N", title=name) for name in ("run", "method", "curve")]
    tooltip += [_step(), alt.Tooltip("change:Q", title="against its start", format="+.4f")]
    base = alt.Chart(_data(rows)).encode(
        x=alt.X("step:Q", title="training step"),
        y=_loss("change", "loss against its start"),
        color=_of_methods(runs),
        detail="run:N",
    )
    lines = base.mark_line(strokeWidth=1.5)
    dots = base.mark_point(filled=True, opacity=0.001, size=60).encode(tooltip=tooltip)
    return Chart(
        "runs-losses",
        "The loss that tells, run by run",
        "The held-out loss where a photograph was held out, L_det where none was; against its "
        "start.",
        f"The change of the loss of {len(found)} runs over their steps.",
        _spec((lines + dots).properties(height=260)),
    )


def thinned(table: pd.DataFrame, column: str, most: int = MOST_POINTS) -> pd.DataFrame:
    """The rows with a finite `column`; of more than `most` the lowest and highest of each stretch.

    So a curve keeps its first and last row, its extremes and its jumps.
    """
    known = table[np.isfinite(table[column].to_numpy(dtype="float64"))].reset_index(drop=True)
    if len(known) <= most:
        return known
    stretch = np.arange(len(known)) * max(most // 2 - 1, 1) // len(known)
    grouped = known.groupby(stretch)[column]
    places = {0, len(known) - 1, *grouped.idxmin(), *grouped.idxmax()}
    return known.iloc[sorted(places)]


_STAR = (
    "M0,-1L0.2245,-0.309L0.9511,-0.309L0.3633,0.118L0.5878,0.809L0,0.382L-0.5878,0.809"
    "L-0.3633,0.118L-0.9511,-0.309L-0.2245,-0.309Z"
)


def _known_ratios(ratios: pd.DataFrame) -> pd.DataFrame:
    """Factors with a ratio above 0; an end that is not known is the ratio itself."""
    factors = [factor for factor in FACTORS if factor in ratios.index]
    columns = ["noise_to_signal", "low", "high"]
    if not factors:
        return pd.DataFrame(columns=["factor", "colour", *columns])
    rows = ratios.loc[factors, columns].replace(np.inf, np.nan)
    rows = rows[rows["noise_to_signal"] > 0].copy()
    for end in ("low", "high"):
        rows[end] = rows[end].where(rows[end] > 0, rows["noise_to_signal"])
    rows["factor"] = [plain_name(str(factor)) for factor in rows.index]
    rows["colour"] = [f"var(--{str(factor).replace('_', '-')})" for factor in rows.index]
    return rows.reset_index(drop=True)


def _data(table: pd.DataFrame) -> alt.Data:
    """The rows as they stand in the page; what is not finite is left out of its row."""
    rows = [
        {
            str(key): value.item() if isinstance(value, np.generic) else value
            for key, value in row.items()
            if not (isinstance(value, float) and not np.isfinite(value))
        }
        for row in table.to_dict("records")
    ]
    return alt.Data(values=cast(Any, rows))


def _step() -> alt.Tooltip:
    return alt.Tooltip("step:Q", title="step")


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


def _loss(column: str, title: str) -> alt.Y:
    return alt.Y(f"{column}:Q", title=title, scale=alt.Scale(zero=False))


def _of_methods(runs: Sequence[RunReport]) -> alt.Color:
    names = list(dict.fromkeys(run.row["method"] for run in runs))
    return alt.Color("method:N", scale=alt.Scale(domain=names, range=_OF_RUNS[: len(names)]))


def _stop_rule(stop: tuple[str, int] | None, named: bool = True) -> list[Any]:
    """A dashed line where training was stopped, with the criterion's name."""
    if stop is None:
        return []
    told = pd.DataFrame({"step": [stop[1]], "told": [f"{visible(stop[0])} stops: {stop[1]}"]})
    base = alt.Chart(_data(told)).encode(x="step:Q")
    rule = base.mark_rule(strokeDash=[6, 4], color=_STOP, strokeWidth=1.5)
    text = base.mark_text(align="right", dx=-6, fill=_STOP, baseline="top").encode(
        text="told:N", y=alt.value(2)
    )
    return [rule, text] if named else [rule]


def _best(losses: Losses, colour: alt.Color) -> list[Any]:
    if losses.best is None or losses.best[0] not in losses.tracked:
        return []
    name, step = losses.best
    table = losses.tracked[name]
    at = table[table["step"] == step].assign(curve=LOSSES[name])
    star = alt.Chart(_data(at)).mark_point(shape=_STAR, filled=True, size=320, opacity=1)
    return [star.encode(x="step:Q", y="change:Q", color=colour)] if len(at) else []


def _cursor(steps: Sequence[int]) -> list[Any]:
    """A line at the step that the page's slider is at."""
    if not len(steps):
        return []
    table = pd.DataFrame({"step": list(steps)})
    rule = alt.Chart(_data(table)).mark_rule(color=_STOP, strokeWidth=3, opacity=0.55)
    return [rule.encode(x="step:Q").transform_filter("datum.step === cursor")]


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


def _span(table: pd.DataFrame) -> str:
    return f"{table['step'].min():.0f} to {table['step'].max():.0f}"


def _spec(chart: Any, start: int | None = None, over: str = "step") -> Spec:
    """The chart as Vega-Lite, as wide as its place in the page."""
    whole = chart.properties(
        width="container",
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
        usermeta={"over": over},
    )
    if start is not None:
        whole = whole.add_params(alt.param(name="cursor", value=start))
    found: Mapping[str, Any] = whole.to_dict()
    return {**found, "config": LOOK}
