"""The curves of logs, and of several runs beside each other."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from noiseprobe.core.words import visible
from noiseprobe.draws.factors import FACTORS
from noiseprobe.plots.report.contents import RunReport, TraceReport
from noiseprobe.plots.report.vega import (
    INK,
    LOSSES,
    STAR,
    Chart,
    data,
    known_ratios,
    loss_axis,
    span,
    spec_of,
    step_told,
    stop_rule,
    thinned,
)
from noiseprobe.plots.style import plain_name

_OF_RUNS = [f"var(--series-{place})" for place in range(1, 5)]


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
    tooltip = [step_told(), alt.Tooltip("loss:Q", title=title, format=".4g")]
    x = alt.X("step:Q", title="step", axis=alt.Axis(tickMinStep=1))
    base = alt.Chart(data(rows)).encode(x=x, y=loss_axis("loss", title))
    parts: list[Any] = [base.mark_line(color=INK, strokeWidth=1 if len(rows) < 500 else 0.6)]
    if best is not None:
        at = values[values["step"] == best].head(1)
        star = alt.Chart(data(at)).mark_point(shape=STAR, filled=True, size=260, opacity=1)
        parts.append(star.encode(x=x, y="loss:Q", color=alt.value("var(--held-out)")))
    parts += stop_rule(None if stop is None else ("DVAR", stop))
    parts.append(base.mark_point(filled=True, opacity=0.001, size=60).encode(tooltip=tooltip))
    told = "" if stop is None else f" Dashed: DVAR would stop at step {stop}."
    told += "" if best is None else f" Star: best, step {best}."
    some = f" Of {len(values):,} values the extremes are shown." if len(rows) < len(values) else ""
    return Chart(
        name,
        title,
        f"{visible(log)}.{told}{some}",
        f"{title} over steps {span(rows)}.{told}",
        spec_of(alt.layer(*parts).properties(height=240)),
    )


def of_runs_noise(runs: Sequence[RunReport]) -> Chart | None:
    """Noise-to-signal of each factor, a dot per run; None where none is known."""
    found = [
        known_ratios(run.ratios).assign(run=visible(run.name), method=run.row["method"])
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
    base = alt.Chart(data(rows)).encode(
        y=alt.Y("factor:N", sort=order, title=None, axis=alt.Axis(labelFontSize=13)),
        yOffset="method:N",
        x=alt.X("noise_to_signal:Q", scale=scale, title="noise-to-signal (log scale)"),
        color=_of_methods(runs),
        tooltip=tooltip,
    )
    dots = base.mark_point(filled=True, size=70, opacity=0.8)
    line = alt.Chart(data(pd.DataFrame({"at": [1.0]}))).mark_rule(strokeDash=[5, 4], color=INK)
    layered = (line.encode(x="at:Q") + dots).properties(height=240)
    medians = rows.groupby("factor")["noise_to_signal"].median().sort_values(ascending=False)
    return Chart(
        "runs-noise",
        "What hides the progress, run by run",
        "A dot is one run. Right of the dashed line the factor alone hides the progress.",
        "Median noise-to-signal over runs: "
        + "; ".join(f"{name} {value:.3g}" for name, value in medians.items()),
        spec_of(layered),
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
    tooltip += [step_told(), alt.Tooltip("change:Q", title="against its start", format="+.4f")]
    base = alt.Chart(data(rows)).encode(
        x=alt.X("step:Q", title="training step"),
        y=loss_axis("change", "loss against its start"),
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
        spec_of((lines + dots).properties(height=260)),
    )


def _of_methods(runs: Sequence[RunReport]) -> alt.Color:
    names = list(dict.fromkeys(run.row["method"] for run in runs))
    return alt.Color("method:N", scale=alt.Scale(domain=names, range=_OF_RUNS[: len(names)]))
