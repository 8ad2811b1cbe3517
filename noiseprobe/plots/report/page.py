"""The page: contents and charts in one HTML file that asks nothing of any network.

Text is escaped where it is put in (Jinja2's autoescape), data in scripts so that it can end none.
The page forbids itself whatever it does not hold, and of scripts runs none but its own two, which
it knows by their checksums (Content Security Policy level 2).
"""

from functools import cache
from importlib.resources import files
from typing import Any

from noiseprobe.core.words import visible
from noiseprobe.plots.report import charts, charts_beside, tables
from noiseprobe.plots.report.contents import Report, RunReport, TraceReport
from noiseprobe.plots.report.vega import Chart
from noiseprobe.plots.whole_page import in_script, ours, policy, template

_HERE = "noiseprobe.plots.report"


def page(report: Report) -> str:
    """The whole page."""
    runs = [_run(run, full=len(report.runs) == 1) for run in report.runs]
    traces = [_trace(trace, place) for place, trace in enumerate(report.traces)]
    compared = _compared(report)
    parts = [*runs, *traces, *([compared] if compared else [])]
    found = [chart for part in parts for chart in part["charts"].values() if chart]
    specs = {chart.name: chart.spec for chart in found}
    library, own = charting(), _file("report.js")
    return template(_HERE, "report.html").render(
        report=report,
        runs=runs,
        traces=traces,
        compared=compared,
        policy=policy(library, own),
        style=ours(_file("report.css")),
        specs=ours(in_script(specs)),
        library=ours(library),
        script=ours(own),
        charted=bool(specs),
    )


@cache
def charting() -> str:
    """Vega, Vega-Lite and Vega-Embed in one script, which leaves `vegaEmbed` behind."""
    import vl_convert

    text = str(vl_convert.javascript_bundle("globalThis.vegaEmbed = vegaEmbed;"))
    # A page's script ends where it says so; in JavaScript these are the same text.
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _file(name: str) -> str:
    return (files(_HERE) / "page" / name).read_text(encoding="utf-8")


def _run(run: RunReport, full: bool) -> dict[str, Any]:
    """What the template shows of a run; of one of several its verdict alone."""
    if not full:
        return {"run": run, "charts": {}}
    found = run.checkpoints
    steps = [int(step) for step in found.table["step"]]
    start = _start(run, steps)
    drawn: dict[str, Chart | None] = {
        "noise": charts.of_noise(run.ratios, run.redraws),
        "tracked": charts.of_tracked(run.losses, steps, start),
        "training": charts.of_training(run.losses, steps, start),
        "checkpoints": charts.of_checkpoints(found, start),
        "trade": charts.of_trade(found, start),
    }
    return {
        "run": run,
        "charts": drawn,
        "steps": steps,
        "start": start,
        "readings": {step: _reading(run, step) for step in steps},
        "ratios": tables.of_ratios(run.ratios) if len(run.ratios) else None,
        "checkpoints": tables.of_checkpoints(found) if steps else None,
        "criteria": tables.of_criteria(run.criteria, "L_det") if run.criteria else None,
        "settings": tables.of_words("Settings", run.settings, "flag"),
        "environment": tables.of_words("Environment", run.environment, "what"),
    }


def _start(run: RunReport, steps: list[int]) -> int | None:
    """The step that the slider begins at: the one to take, or the last with pictures, or last."""
    if run.checkpoints.take is not None:
        return run.checkpoints.take
    drawn = [step for step in steps if step in run.pictures.drawn]
    return next(iter((drawn or steps)[-1:]), None)


def _reading(run: RunReport, step: int) -> str:
    """What is known of a checkpoint, in a line."""
    row = run.checkpoints.table.set_index("step").loc[step]
    told = [f"{run.checkpoints.unit} {step}"]
    for name, words, form in (
        ("l_det", "L_det", ".4g"),
        ("l_val", "held out", ".4g"),
        ("likeness", "likeness", ".3f"),
        ("prompt", "prompt", ".3f"),
    ):
        if row[name] == row[name]:
            told.append(f"{words} {tables.number(row[name], form)}")
    if row["candidate"] is not None:
        how = "may be the best" if row["candidate"] else "surely worse than the best"
        told.append(f"{how} by {visible(run.checkpoints.loss)}")
    if step == run.checkpoints.take:
        told.append("the one to take")
    return ", ".join(told)


def _trace(trace: TraceReport, place: int) -> dict[str, Any]:
    chart = charts_beside.of_trace(trace, f"trace-{place}")
    beside = None
    if len(trace.training):
        beside = charts_beside.of_beside(trace, f"trace-{place}-training")
    return {
        "trace": trace,
        "place": place,
        "charts": {"trace": chart, "training": beside},
        "criteria": tables.of_criteria(trace.criteria, trace.tag),
    }


def _compared(report: Report) -> dict[str, Any] | None:
    if report.comparison is None:
        return None
    return {
        "charts": {
            "losses": charts_beside.of_runs_losses(report.runs),
            "noise": charts_beside.of_runs_noise(report.runs),
        },
        "runs": tables.of_runs(report.runs),
        "criteria": tables.of_comparison(report.comparison.table)
        if len(report.comparison.table)
        else None,
    }
