"""What all charts of a report have in common, as Altair and Vega-Lite have it.

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
from noiseprobe.plots.report.tables import reach
from noiseprobe.plots.style import plain_name

Spec = dict[str, Any]

MOST_POINTS = 1500
"""Of a curve: a screen shows no more, and a page is to open at once."""

LOSSES = {"l_det": "trained on (L_det)", "l_val": "held out (l_val)"}
"""What is written for the losses on fixed batches."""

INK, FAINT, STOP = "var(--ink)", "var(--faint)", "var(--stop)"
_AXIS = {
    "labelColor": INK,
    "titleColor": INK,
    "domainColor": FAINT,
    "tickColor": FAINT,
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
        "labelColor": INK,
        "labelFontSize": 12,
        "orient": "top",
        "title": None,
        "labelLimit": 400,
        "columns": 2,
        "symbolOpacity": 1,
    },
    "text": {"fill": INK, "fontSize": 12},
}


STAR = (
    "M0,-1L0.2245,-0.309L0.9511,-0.309L0.3633,0.118L0.5878,0.809L0,0.382L-0.5878,0.809"
    "L-0.3633,0.118L-0.9511,-0.309L-0.2245,-0.309Z"
)


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


def known_ratios(ratios: pd.DataFrame) -> pd.DataFrame:
    """Factors with a ratio above 0; an end that is not known, or no place on a log scale, is the
    ratio itself, and `reach` says what is known of both.
    """
    factors = [factor for factor in FACTORS if factor in ratios.index]
    columns = ["noise_to_signal", "low", "high"]
    if not factors:
        return pd.DataFrame(columns=["factor", "colour", "reach", *columns])
    rows = ratios.loc[factors, columns].copy()
    rows["reach"] = [reach(row) for row in rows.to_dict("records")]
    rows = rows.replace(np.inf, np.nan)
    rows = rows[rows["noise_to_signal"] > 0].copy()
    for end in ("low", "high"):
        rows[end] = rows[end].where(rows[end] > 0, rows["noise_to_signal"])
    rows["factor"] = [plain_name(str(factor)) for factor in rows.index]
    rows["colour"] = [f"var(--{str(factor).replace('_', '-')})" for factor in rows.index]
    return rows.reset_index(drop=True)


def data(table: pd.DataFrame) -> alt.Data:
    """The rows as they stand in the page: seven digits; what is not finite is left out."""
    rows = [
        {str(key): _short(value) for key, value in row.items() if value == value}
        for row in table.replace([np.inf, -np.inf], np.nan).to_dict("records")
    ]
    return alt.Data(values=cast(Any, rows))


def _short(value: Any) -> Any:
    plain = value.item() if isinstance(value, np.generic) else value
    return float(f"{plain:.7g}") if isinstance(plain, float) else plain


def step_told() -> alt.Tooltip:
    return alt.Tooltip("step:Q", title="step")


def loss_axis(column: str, title: str) -> alt.Y:
    return alt.Y(f"{column}:Q", title=title, scale=alt.Scale(zero=False))


def stop_rule(stop: tuple[str, int] | None, named: bool = True) -> list[Any]:
    """A dashed line where training was stopped, with the criterion's name."""
    if stop is None:
        return []
    told = pd.DataFrame({"step": [stop[1]], "told": [f"{visible(stop[0])} stops: {stop[1]}"]})
    base = alt.Chart(data(told)).encode(x="step:Q")
    rule = base.mark_rule(strokeDash=[6, 4], color=STOP, strokeWidth=1.5)
    text = base.mark_text(align="right", dx=-6, fill=STOP, baseline="top").encode(
        text="told:N", y=alt.value(2)
    )
    return [rule, text] if named else [rule]


def cursor(steps: Sequence[int]) -> list[Any]:
    """A line at the step that the page's slider is at."""
    if not len(steps):
        return []
    table = pd.DataFrame({"step": list(steps)})
    rule = alt.Chart(data(table)).mark_rule(color=STOP, strokeWidth=3, opacity=0.55)
    return [rule.encode(x="step:Q").transform_filter("datum.step === cursor")]


def span(table: pd.DataFrame) -> str:
    return f"{table['step'].min():.0f} to {table['step'].max():.0f}"


def spec_of(chart: Any, start: int | None = None, over: str = "step") -> Spec:
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
