"""Figures of results: dots, bars and words are those of the tables, at every odd size."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation, Text

from noiseprobe.analysis import learning_bins, signal_to_noise, timestep_losses, variance_shares
from noiseprobe.analysis.comparison import METRICS
from noiseprobe.analysis.comparison import table as comparison_table
from noiseprobe.analysis.regret import paired, summary
from noiseprobe.draws.factors import FACTORS
from noiseprobe.plots.comparison import plot_comparison
from noiseprobe.plots.criteria import made_losses, plot_criteria
from noiseprobe.plots.metrics import plot_metrics
from noiseprobe.plots.needed_batch import plot_needed_batch
from noiseprobe.plots.regret import plot_regret
from noiseprobe.plots.saving import figure_of, save_one
from noiseprobe.plots.shares import FLOOR, plot_shares
from noiseprobe.plots.stops import plot_stops
from noiseprobe.plots.sweep import plot_sweep
from noiseprobe.plots.timesteps import plot_timesteps
from noiseprobe.stopping import ON_MEANS
from tests.analysis.test_shares import design_trace
from tests.analysis.test_timesteps import trace

pytestmark = pytest.mark.filterwarnings("error")


def dots(ax: Axes, marker: str = "o") -> list[tuple[float, float]]:
    """Where the marks of lines stand, top down."""
    found = [
        (float(x), float(y))
        for line in ax.lines
        if line.get_marker() == marker
        for x, y in np.asarray(line.get_xydata())
        if np.isfinite(x + y)
    ]
    return sorted(found, key=lambda place: place[1])


def bars(ax: Axes) -> list[tuple[float, float]]:
    """The ends of the horizontal intervals."""
    ends = [np.asarray(line.get_xdata(), dtype="float64") for line in ax.lines]
    return [(float(x[0]), float(x[-1])) for x in ends if len(x) == 2 and x[0] != x[-1]]


def scattered(ax: Axes, label: str) -> list[tuple[float, float]]:
    clouds = [each for each in ax.collections if each.get_label() == label]
    return [tuple(place) for cloud in clouds for place in np.asarray(cloud.get_offsets()).tolist()]


def words(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def row_words(ax: Axes) -> dict[float, str]:
    """What stands at the right of each row."""
    return {
        text.xy[1]: text.get_text()
        for text in ax.texts
        if isinstance(text, Annotation) and text.xycoords == ("axes fraction", "data")
    }


def row_names(ax: Axes) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


SHARES = pd.DataFrame(
    {
        "step": [0] * 5 + [7] * 5,
        "factor": [*FACTORS] * 2,
        "first": [0.02, 2e-4, -1e-6, 0.93, 0.002] * 2,
        "total": [0.06, 1e-3, 1e-6, 0.96, 0.01] * 2,
    }
).assign(
    first_low=lambda table: table["first"] - 0.001,
    first_high=lambda table: table["first"] + 0.001,
    total_low=lambda table: table["total"] * 0.9,
    total_high=lambda table: table["total"] * 1.1,
)


def test_shares_are_dots_with_intervals_from_the_largest_down() -> None:
    rows, _ = plot_shares(SHARES, over="12 concepts")
    assert row_names(rows) == ["timesteps", "images", "noise", "captions", "VAE noise"]
    assert [x for x, _ in dots(rows)] == pytest.approx([0.93, 0.02, 0.002, 2e-4])
    assert [x for x, _ in dots(rows, "D")] == pytest.approx([0.96, 0.06, 0.01, 1e-3])
    assert any(ends == pytest.approx((0.054, 0.066)) for ends in bars(rows))
    assert rows.get_xscale() == "log"
    assert "12 concepts" in rows.get_xlabel()


def test_a_share_below_the_axis_is_said_and_stands_at_its_end() -> None:
    rows, _ = plot_shares(SHARES)
    assert [x for x, _ in dots(rows, "<")] == pytest.approx([FLOOR, FLOOR])
    assert row_words(rows)[4] == "<0.01% · <0.01%"
    assert row_words(rows)[0] == "93% · 96%"


def test_shares_over_training_stand_at_their_steps() -> None:
    _, over_steps = plot_shares(SHARES)
    lines = [line for line in over_steps.lines if len(np.asarray(line.get_xdata()))]
    assert all(list(np.asarray(line.get_xdata())) == [0, 7] for line in lines)
    assert set(words(over_steps)) == {"timesteps", "images", "noise", "captions"}


def test_the_loss_by_timestep_is_a_curve_and_its_changes_are_cells() -> None:
    losses, learning = timestep_losses(trace()), learning_bins(trace())
    start, change = plot_timesteps(losses, learning)[:2]
    (curve,) = start.lines
    first = losses[losses["step"] == losses["step"].min()].dropna(subset="loss")
    np.testing.assert_allclose(np.asarray(curve.get_xdata(), dtype="float64"), first["loss"])
    np.testing.assert_allclose(np.asarray(curve.get_ydata(), dtype="float64"), first["bin"] + 0.5)
    cells = np.asarray(change.collections[0].get_array()).reshape(losses["bin"].nunique(), -1)
    last = losses[(losses["step"] == 50) & (losses["bin"] == 0)]
    assert cells[0, -1] == pytest.approx(100 * last["relative"].iloc[0])
    assert words(change) == ["▼ still falling"]


def test_a_triangle_says_which_way_a_loss_has_surely_changed() -> None:
    table = pd.DataFrame(
        {
            "step": [0, 0, 0, 10, 10, 10],
            "bin": [0, 1, 2] * 2,
            "from": [0, 100, 200] * 2,
            "to": [100, 200, 300] * 2,
            "loss": 1.0,
            "relative": [0, 0, 0, -0.1, 0.1, 0.05],
            "relative_low": [0, 0, 0, -0.2, 0.05, -0.05],
            "relative_high": [0, 0, 0, -0.05, 0.15, 0.15],
        }
    )
    _, change = plot_timesteps(table, pd.DataFrame({"bin": [], "trend": []}))
    assert scattered(change, "v") == [(0.5, 0.5)]
    assert scattered(change, "^") == [(0.5, 1.5)]


NEEDED = pd.DataFrame(
    {"batch": 32.0, "needed_batch": [0.2, 250.0, np.inf, np.nan]},
    ["captions", "timesteps", "noise", "images"],
)


def test_needed_batches_are_dots_and_words_where_there_is_none() -> None:
    ax = plot_needed_batch(NEEDED)
    assert [x for x, _ in dots(ax)] == pytest.approx([1.0, 250.0])
    assert list(row_words(ax).values()) == ["1", "250", "no progress seen", "unknown"]
    assert "probed: 32" in words(ax)


def test_a_needed_batch_has_a_bar_where_its_spread_is_told() -> None:
    table = NEEDED.assign(
        needed_low=[0.1, 100.0, 1.0, 1.0], needed_high=[1.0, 400.0, np.inf, np.nan]
    )
    ax = plot_needed_batch(table, over="9 concepts")
    assert any(ends == pytest.approx((100.0, 400.0)) for ends in bars(ax))
    assert "9 concepts" in ax.get_xlabel()


STOPS = pd.DataFrame(
    {
        "method": "dreambooth",
        "variant": ["baseline", "dvar"] * 3,
        "step": [300, 90, 300, 120, 300, 300],
        "fired": [False, True, False, True, False, False],
    }
)


def test_stops_are_dots_hollow_where_a_criterion_never_fired() -> None:
    ax = plot_stops(STOPS)
    assert sorted(x for x, _ in scattered(ax, "fired")) == [90, 120]
    assert [x for x, _ in scattered(ax, "never")] == [300]
    assert dots(ax) == [(120, 1)]
    assert row_words(ax) == {1: "120 (3)"}
    assert "dreambooth, last step 300" in words(ax)
    assert bars(ax) == [(90, 300)]


def runs_compared(metric: float = 0.5) -> pd.DataFrame:
    rows = [
        {"method": "dreambooth", "concept": concept, "variant": variant, "step": 10, "minutes": m}
        | dict.fromkeys(METRICS, metric + place / 10)
        for place, concept in enumerate("abc")
        for variant, m in (("baseline", 4.0), ("dvar", 1.0))
    ]
    return pd.DataFrame(rows)


def test_the_comparison_is_a_row_per_criterion_under_its_method() -> None:
    table = comparison_table(runs_compared())
    speed, image, _ = plot_comparison(table)
    assert row_names(speed) == ["dreambooth (n=3)", "Baseline", "DVAR"]
    assert dots(speed) == [(pytest.approx(1), 1), (pytest.approx(4), 2)]
    assert row_words(speed) == {1: "1.0", 2: "4.0"}
    assert dots(image) == [(pytest.approx(0.6), 1), (pytest.approx(0.6), 2)]
    low, high = table.loc[1, ["val_clip_img_low", "val_clip_img_high"]]
    assert (low, high) in bars(image)


def test_what_was_not_measured_is_said() -> None:
    speed, image, text = plot_comparison(comparison_table(runs_compared(np.nan)))
    assert (words(image), words(text)) == (["not measured"], ["not measured"])
    assert row_words(speed) == {1: "1.0", 2: "4.0"}


def raw_regrets(traces: int) -> pd.DataFrame:
    rows = [
        {
            "trace": f"run-{place}",
            "criterion": name,
            "fired": True,
            "could_fire": True,
            "regret": regret + place / 10,
            "kept_regret": regret,
            "steps_spent": 1.0,
        }
        for place in range(traces)
        for name, regret in (("dvar", 0.5), ("patience", 0.2), ("never", 0.9))
    ]
    return pd.DataFrame(rows)


def test_regrets_are_in_order_beside_their_paired_differences() -> None:
    raw = raw_regrets(5)
    own, less = plot_regret(summary(raw), paired(raw, "dvar"))
    assert row_names(own) == ["patience", "dvar", "never"]
    assert [x for x, _ in dots(own)] == pytest.approx([0.4, 0.7, 1.1])
    assert dots(less) == [(pytest.approx(-0.3), 0), (pytest.approx(0.4), 2)]
    assert row_words(less) == {0: "−0.30", 1: "0", 2: "+0.40"}
    assert own.get_xlabel() == "95% intervals over 5 traces"
    assert own.get_xlim()[0] <= 0


def test_one_trace_has_no_interval_and_one_criterion_no_difference() -> None:
    raw = raw_regrets(1)
    alone = raw[raw["criterion"] == "dvar"]
    own, less = plot_regret(summary(alone), paired(alone, "dvar"))
    assert (own.get_xlabel(), bars(own)) == ("1 trace", [])
    assert words(less) == ["no other criterion"]
    unknown = raw.assign(regret=np.nan)
    assert words(plot_regret(summary(unknown), paired(unknown))[0]) == ["no trace with a regret"]


def measured(runs: Sequence[str]) -> dict[str, pd.DataFrame]:
    return {
        run: pd.DataFrame({"step": [0, 50, 100], "metric": "clip", "value": [0.1, 0.5, place / 10]})
        for place, run in enumerate(runs)
    }


def test_metrics_are_lines_with_a_mark_where_a_criterion_ends_the_run() -> None:
    ends = {"runs/a": {"dvar": 50, "baseline": 100}, "runs/b": {"dvar": 77}}
    (ax,) = plot_metrics(measured(["runs/a", "runs/b"]), ends)
    assert scattered(ax, "dvar") == [(50, 0.5)]
    assert scattered(ax, "baseline") == [(100, 0.0)]
    assert words(ax) == ["a", "b"]
    assert "2 runs" in ax.get_xlabel()


def test_many_runs_are_faint_under_the_medians_of_their_ends() -> None:
    runs = [f"runs/{place}" for place in range(9)]
    (ax,) = plot_metrics(measured(runs), {run: {"baseline": 100} for run in runs})
    assert dots(ax, "s") == [(100, 0.4)]
    assert words(ax) == []


def sweep(**change: Any) -> pd.DataFrame:
    rows = [
        ("dreambooth", "cup", 0, 600, 600, False),
        ("textual-inversion", "cup", 0, 70, 300, True),
    ]
    columns = ["method", "concept", "seed", "step", "steps", "failed"]
    return pd.DataFrame(rows, columns=columns).assign(**change)


def test_a_sweep_says_how_far_each_run_went_and_frames_what_failed() -> None:
    ax = plot_sweep(sweep())
    assert words(ax) == ["600 of 600", "failed at 70"]
    frames = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    assert [frame.get_xy() for frame in frames] == [(1, 0)]
    assert "1 went to the last step, 1 failed" in ax.get_xlabel()
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        "dreambooth",
        "textual-inversion",
    ]


def test_seeds_of_a_method_stand_beside_each_other() -> None:
    ax = plot_sweep(sweep(method="dreambooth", seed=[3, 4]))
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        "dreambooth\nseed 3",
        "dreambooth\nseed 4",
    ]


def test_criteria_are_shown_on_made_losses_with_the_stops_that_they_have() -> None:
    panels = plot_criteria({"fixed": {"steps": 150}, "patience": {}})
    turned = panels[2]
    assert turned.get_title("left") == "turns"
    assert dots(panels[3])[0] == (150, 0)
    best = int(np.argmin(made_losses()[1].values))
    assert dots(panels[3], "|") == [(best, 1)]
    (star,) = dots(turned, "*")
    assert star[0] == best
    assert len(row_names(plot_criteria()[1])) == len(ON_MEANS) - 1


Plot = Callable[[], Axes | Sequence[Axes]]

FULL: dict[str, Plot] = {
    "shares": lambda: plot_shares(
        variance_shares(pd.concat([design_trace(8, 4, step=step) for step in range(0, 90, 3)]))
    ),
    "shares, as made": lambda: plot_shares(SHARES, over="12 concepts"),
    "needed batch": lambda: plot_needed_batch(signal_to_noise(trace())),
    "needed batch, odd": lambda: plot_needed_batch(NEEDED, over="median of 12 concepts"),
    "timesteps": lambda: plot_timesteps(timestep_losses(trace()), learning_bins(trace())),
    "stops": lambda: plot_stops(STOPS),
    "comparison": lambda: plot_comparison(comparison_table(runs_compared())),
    "regret": lambda: plot_regret(summary(raw_regrets(5)), paired(raw_regrets(5))),
    "metrics": lambda: plot_metrics(measured("ab"), {"a": {"dvar": 50, "clip": 0}}),
    "sweep": lambda: plot_sweep(sweep()),
    "criteria": plot_criteria,
}
EMPTY: dict[str, Plot] = {
    "shares": lambda: plot_shares(SHARES.head(0)),
    "needed batch": lambda: plot_needed_batch(NEEDED.head(0)),
    "timesteps": lambda: plot_timesteps(
        timestep_losses(trace().head(0)), learning_bins(trace().head(0))
    ),
    "one checkpoint": lambda: plot_timesteps(
        timestep_losses(trace().query("step == 0")), learning_bins(trace().query("step == 0"))
    ),
    "stops": lambda: plot_stops(STOPS.head(0)),
    "comparison": lambda: plot_comparison(comparison_table(runs_compared()).head(0)),
    "metrics": lambda: plot_metrics({}),
    "sweep": lambda: plot_sweep(sweep().head(0)),
}


@pytest.mark.parametrize("name", FULL)
def test_no_word_is_cut_off_or_small(name: str) -> None:
    figure = figure_of(FULL[name]())
    FigureCanvasAgg(figure).draw()
    inked = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert min(inked.x0, inked.y0) > -0.02
    assert inked.x1 < width + 0.02
    assert inked.y1 < height + 0.02
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        assert float(text.get_fontsize()) >= 8, text.get_text()


@pytest.mark.parametrize("name", EMPTY)
def test_words_stand_in_a_panel_that_would_be_empty(name: str) -> None:
    drawn = EMPTY[name]()
    panels = [drawn] if isinstance(drawn, Axes) else drawn
    assert all(words(ax) for ax in panels if not ax.lines)
    FigureCanvasAgg(figure_of(drawn)).draw()


@pytest.mark.parametrize("name", ["shares", "timesteps", "stops", "metrics"])
def test_the_same_tables_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    for file in ("a.svg", "b.svg"):
        save_one(FULL[name](), tmp_path / file)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_figures_are_drawn_on_axes_that_are_given() -> None:
    figure = Figure()
    assert plot_shares(SHARES, figure.subplots(1, 2)) == figure.axes
    single = Figure().subplots()
    assert plot_needed_batch(NEEDED, single) is single
    with pytest.raises(ValueError, match="this figure has 2 panels"):
        plot_regret(summary(raw_regrets(2)), paired(raw_regrets(2)), [single])


@pytest.mark.parametrize("odd", [r"$\frac$", "a$b", "x_{y}^2$$"])
def test_names_from_outside_are_shown_letter_by_letter(odd: str, tmp_path: Path) -> None:
    save_one(plot_sweep(sweep(concept=odd)), tmp_path / "sweep.svg")
    save_one(plot_metrics(measured([odd, "plain"])), tmp_path / "metrics.svg")
    for name in ("sweep", "metrics"):
        assert f">{odd}<" in (tmp_path / f"{name}.svg").read_text()


def test_a_factor_has_one_colour_in_all_figures() -> None:
    rows, _ = plot_shares(SHARES)
    needed = plot_needed_batch(NEEDED)
    marks = [line for ax in (rows, needed) for line in ax.lines if line.get_marker() == "o"]
    timesteps = [
        to_hex(line.get_color())
        for line in marks
        if np.isclose(np.asarray(line.get_xdata(), dtype="float64")[:, None], [0.93, 250]).any()
    ]
    assert timesteps == ["#d55e00", "#d55e00"]
