"""Which trace tells what is drawn: its rank correlation with CLIP similarity."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from noiseprobe.analysis.correlation import FEWEST_POINTS, THIRDS
from noiseprobe.plots.panels import say
from noiseprobe.plots.rows import draw_rows, name_rows, put_value
from noiseprobe.plots.style import COLUMN, INK, colour_of, literal, one_panel, styled

_NAMES = {"loss": "training loss", "grad_norm": "gradient norm", "l_det": "$L_{\\mathrm{det}}$"}

_THIRDS = dict(zip(THIRDS, ("little noise", "middling noise", "much noise"), strict=True))


@styled
def plot_correlation(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Spearman's rho of each trace with CLIP similarity, as a dot on an axis from -1 to 1.

    Of one run: a dot with its 95% interval over CLIP checks; of fewer than `FEWEST_POINTS` checks,
    which show nothing, a hollow dot and words. Of several runs together: a faint dot each, and a
    full one at their median. Values, intervals and numbers stand at the right.

    Args:
        table: what `noiseprobe.analysis.correlations` returns, of one run or of several together.
        ax: where to draw; a new figure if None.
    """
    names = list(dict.fromkeys(str(name) for name in table.index))
    ax = one_panel(ax, COLUMN, 0.85 + 0.3 * max(len(names), 1), "rho")
    if not names:
        say(ax, "nothing to compare:\nfewer than 3 checks of CLIP similarity")
        return ax
    ax.axvline(0, color=INK, lw=0.8, zorder=1)
    rows = {name: _row(table.loc[[name]]) for name in names}
    found = pd.DataFrame.from_dict(rows, orient="index")
    draw_rows(ax, found[~found["few"]].reindex(names), "rho", "low", "high", _colour)
    for row, name in enumerate(names):
        values = table.loc[[name], "rho"].dropna().to_numpy()
        if len(values) > 1:
            _draw_runs(ax, values, row, _colour(name))
        if rows[name]["few"] and len(values):
            ax.plot(values, [row], "o", color=_colour(name), mfc="white", ms=4, clip_on=False)
        put_value(ax, row, str(rows[name]["words"]))
    name_rows(ax, [_shown(name) for name in names])
    ax.set_xlim(-1.08, 1.08)
    ax.set_xticks([-1, 0, 1], ["−1", "0", "1"])
    ax.set_xlabel(_explained(table))
    return ax


def _row(of_trace: pd.DataFrame) -> dict[str, float | bool | str]:
    """The dot of a trace, its interval, whether it rests on too few checks, and words for it."""
    values = of_trace["rho"].dropna()
    unknown = {"low": np.nan, "high": np.nan, "few": False}
    if values.empty:
        return {"rho": np.nan, **unknown, "words": "does not vary"}
    middle = float(values.median())
    if len(of_trace) > 1:
        return {"rho": middle, **unknown, "words": f"{_two(middle)}, {len(values)} runs"}
    points = int(of_trace["points"].iloc[0])
    if points < FEWEST_POINTS:
        return {"rho": middle, **unknown, "few": True, "words": f"{points} checks: too few"}
    low, high = of_trace.reindex(columns=["low", "high"]).iloc[0].astype("float64")
    words = _two(middle) + (f" ({_two(low)} to {_two(high)})" if np.isfinite(low) else "")
    words = f"{words}\n{points} checks"
    return {"rho": middle, "low": low, "high": high, "few": False, "words": words}


def _two(rho: float) -> str:
    return f"{rho:.2f}".replace("-", "−")


def _draw_runs(ax: Axes, values: np.ndarray, row: int, colour: str) -> None:
    sns.scatterplot(
        x=values, y=np.full(len(values), row), color=colour, alpha=0.3, s=9, linewidth=0, ax=ax
    )


def _colour(name: str) -> str:
    return INK if name.startswith("l_det") else colour_of("original")


def _explained(table: pd.DataFrame) -> str:
    about = "−1: falls whenever it rises"
    if table.index.has_duplicates:
        about += "; faint: runs, full: their median"
    elif "low" in table and table["low"].notna().any():
        about += "; 95% intervals"
    return f"rank correlation with CLIP similarity\n({about})"


def _shown(name: str) -> str:
    trace, _, third = name.partition(", ")
    if third in _THIRDS:
        return f"fixed batch,\n{_THIRDS[third]}"
    return _NAMES.get(trace, literal(trace))
