"""Figures of tracked losses: lines, bands and stars are those of the tables, at every odd size."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from noiseprobe.plots.saving import save_one
from noiseprobe.plots.tracked import plot_cross, plot_gap, plot_paired, plot_recent, plot_tracked

pytestmark = pytest.mark.filterwarnings("error")


def table(count: int, column: str, shift: float = 0.0) -> pd.DataFrame:
    steps = np.arange(count) * 5
    values = -np.sin(np.linspace(0, 3, count)) * 0.1 + shift
    frame = pd.DataFrame({"step": steps, column: values, "low": values - 0.02})
    return frame.assign(high=values + 0.03, folds=3)


def lines(ax: Axes) -> list[list[float]]:
    return [np.asarray(line.get_ydata(), dtype=float).tolist() for line in ax.lines]


def words(ax: Axes) -> str:
    return " ".join([each.get_text() for each in ax.texts] + [ax.get_xlabel(), ax.get_ylabel()])


def bands(ax: Axes) -> list[tuple[float, float]]:
    found = [each for each in ax.collections if isinstance(each, PolyCollection)]
    edges = [np.asarray(each.get_paths()[0].vertices)[:, 1] for each in found]
    return [(float(edge.min()), float(edge.max())) for edge in edges]


def test_tracked_losses_have_their_lines_bands_and_the_best_a_star(tmp_path: Path) -> None:
    ours, theirs = table(20, "change"), table(20, "change", 0.05)
    ax = plot_tracked({"l_det": ours, "l_val": theirs}, best=("l_val", 50), stop=("turn", 80))
    assert ours["change"].tolist() in lines(ax)
    assert theirs["change"].tolist() in lines(ax)
    assert (theirs["low"].min(), theirs["high"].max()) in [
        pytest.approx(each) for each in bands(ax)
    ]
    star = next(line for line in ax.lines if line.get_marker() == "*")
    at = theirs[theirs["step"] == 50]["change"].iloc[0]
    assert np.asarray(star.get_xydata()).tolist() == [[50, pytest.approx(at)]]
    for word in ("trained on", "held out", "lowest: step 50", "turn stops at 80"):
        assert word in words(ax)
    save_one(ax, tmp_path / "figure.png")


@pytest.mark.parametrize("count", [0, 1, 2, 30])
def test_any_number_of_evaluations_is_drawn(tmp_path: Path, count: int) -> None:
    one = {"my $loss$": table(count, "change")}
    save_one(plot_tracked(one), tmp_path / "tracked.svg")
    save_one(plot_cross(table(count, "mean")), tmp_path / "cross.svg")


def test_an_interval_that_is_not_known_is_not_drawn(tmp_path: Path) -> None:
    unknown = table(9, "change").assign(low=np.nan, high=np.nan)
    ax = plot_tracked({"l_det": unknown})
    assert unknown["change"].tolist() in lines(ax)
    save_one(ax, tmp_path / "figure.png")


def paired_trace(count: int) -> pd.DataFrame:
    random = np.random.default_rng(0)
    paired = random.normal(-0.02, 0.01, count)
    frame = pd.DataFrame(
        {"step": np.arange(count), "paired": paired, "l_det": 0.1 - 0.001 * paired}
    )
    means = frame["paired"].expanding().mean()
    frame = frame.assign(paired_mean=means, paired_se=0.002)
    frame.loc[0, ["paired", "paired_mean", "paired_se"]] = np.nan
    return frame


def test_the_paired_loss_has_a_dot_a_batch_and_the_band_of_its_mean(tmp_path: Path) -> None:
    trace = paired_trace(60)
    ax = plot_paired(trace)
    rows = trace[1:]
    assert rows["paired_mean"].tolist() in lines(ax)
    assert len(np.asarray(ax.collections[0].get_offsets())) == 59
    reach = 1.96 * 0.002
    ends = (rows["paired_mean"].min() - reach, rows["paired_mean"].max() + reach)
    assert ends in [pytest.approx(each) for each in bands(ax)]
    fixed = (trace["l_det"] - trace["l_det"].iloc[0])[1:].tolist()
    assert any(line[1:] == pytest.approx(fixed) for line in lines(ax) if len(line) == 60)
    save_one(ax, tmp_path / "figure.png")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_short_paired_trace_is_drawn(tmp_path: Path, count: int) -> None:
    save_one(plot_paired(paired_trace(count)), tmp_path / "figure.png")


@pytest.mark.parametrize("count", [0, 1, 5])
def test_each_stretch_has_a_dot_with_its_interval(tmp_path: Path, count: int) -> None:
    trace = pd.DataFrame({"step": np.arange(251), "recent": np.nan, "recent_se": np.nan})
    for end in range(1, count + 1):
        trace.loc[50 * end, ["recent", "recent_se"]] = [-0.01 / end, 0.002]
    ax = plot_recent(trace)
    if count:
        bars = [list(bar) for bar in ax.collections[0].get_segments()]  # type: ignore[attr-defined]
        assert [float(bar[0][0]) for bar in bars] == [50.0 * end for end in range(1, count + 1)]
        assert float(bars[0][1][1] - bars[0][0][1]) == pytest.approx(2 * 1.96 * 0.002)
        assert len(np.asarray(ax.collections[1].get_offsets())) == count
    save_one(ax, tmp_path / "figure.png")


def test_crossed_curves_are_faint_lines_behind_their_mean(tmp_path: Path) -> None:
    folds = [
        pd.DataFrame({"step": np.arange(9) * 5, "l_val": 0.5 + 0.1 * k - 0.01 * np.arange(9)})
        for k in range(3)
    ]
    ax = plot_cross(table(9, "mean"), folds, recommended=20)
    against = [-0.01 * step for step in range(9)]
    assert sum(line == pytest.approx(against) for line in lines(ax) if len(line) == 9) == 3
    assert "lowest: step 20" in words(ax)
    assert "each of 3 left out" in words(ax)
    save_one(ax, tmp_path / "figure.png")


def test_the_gap_has_both_kinds_in_each_bin(tmp_path: Path) -> None:
    ends = [f"{kind}{end}" for kind in ("trained", "held", "gap") for end in ("", "_low", "_high")]
    bins = pd.DataFrame(
        [
            (k, 100 * k, 100 * k + 100, -k, -k - 0.5, -k + 0.5, k, k - 0.5, np.nan, 0, 0, 0)
            for k in range(10)
        ],
        columns=["bin", "from", "to", *ends],
    )
    ax = plot_gap(bins)
    clouds = [np.asarray(each.get_offsets())[:, 1].tolist() for each in ax.collections]
    assert [-float(k) for k in range(10)] in clouds
    assert [float(k) for k in range(10)] in clouds
    save_one(ax, tmp_path / "figure.png")
    nothing = bins.assign(trained=np.nan, held=np.nan)
    assert "nothing probed" in words(plot_gap(nothing))
