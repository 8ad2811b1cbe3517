"""The figure of replays marks each stop on its trace and in its criterion's row."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder  # type: ignore[import-untyped]
from fontTools.pens.ttGlyphPen import TTGlyphPen  # type: ignore[import-untyped]
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text

from noiseprobe.analysis.verdicts_recorded import MOST_DRAWN
from noiseprobe.core.errors import UserError
from noiseprobe.logs import Series
from noiseprobe.plots.fonts import families_with
from noiseprobe.plots.replays import (
    MOST_POINTS,
    by_source,
    plot_replays,
    write_replays,
)
from noiseprobe.plots.saving import figure_of, save_one
from noiseprobe.plots.style import StepFormatter
from noiseprobe.stopping import ON_MEANS


def trace(name: str, points: int = 50) -> Series:
    steps = np.arange(points, dtype=np.int64) * 10
    return Series(name, steps, np.exp(-steps / 100), "l_det")


REPLAYS: list[dict[str, Any]] = [
    {"criterion": "dvar", "stop_step": 200, "kept_step": 200},
    {"criterion": "patience", "stop_step": 300, "kept_step": 120},
    {"criterion": "uprising", "stop_step": None, "kept_step": 490},
]


def drawn(traces: Sequence[Series], replays: Sequence[Mapping[str, Any]]) -> Figure:
    return figure_of(plot_replays(traces, replays))


def panel(figure: Figure, label: str) -> Axes:
    (axes,) = [each for each in figure.axes if each.get_label() == label]
    return axes


def marks(axes: Axes, marker: str, filled: bool = True) -> list[tuple[float, float]]:
    found = [line for line in axes.lines if line.get_marker() == marker]
    if marker == "o":
        found = [line for line in found if (line.get_markerfacecolor() != "white") == filled]
    return [
        (float(np.asarray(line.get_xdata())[0]), float(np.asarray(line.get_ydata())[0]))
        for line in found
    ]


def test_stops_are_marked_on_the_trace_and_in_the_rows() -> None:
    figure = drawn([trace("run")], REPLAYS)
    assert marks(panel(figure, "0"), "o") == [
        (200.0, pytest.approx(np.exp(-2))),
        (300.0, pytest.approx(np.exp(-3))),
    ]
    rows = panel(figure, "stops 0")
    assert [label.get_text() for label in rows.get_yticklabels()] == [
        "dvar",
        "patience",
        "uprising",
    ]
    assert marks(rows, "o") == [(200.0, 0.0), (300.0, 1.0)]
    assert marks(rows, "o", filled=False) == [(490.0, 2.0)]
    assert marks(rows, "|") == [(120.0, 1.0)]


def test_each_trace_has_its_own_replays_and_a_name_that_tells() -> None:
    second = [row | {"stop_step": 100, "kept_step": 100} for row in REPLAYS]
    traces = [trace("runs/sweep/cup"), trace("runs/sweep/dog"), trace("runs/sweep/fish")]
    figure = drawn([*traces, trace("runs/sweep/house")], [*REPLAYS, *second * 3])
    assert len(figure.axes) == 8
    assert panel(figure, "0").get_title(loc="left") == "cup"
    assert [x for x, _ in marks(panel(figure, "stops 0"), "o")] == [200.0, 300.0]
    assert [x for x, _ in marks(panel(figure, "stops 1"), "o")] == [100.0] * 3


def test_odd_traces_are_drawn(tmp_path: Path) -> None:
    gaps = trace("gaps")
    gaps.values[[0, 20, 30]] = np.nan, np.inf, np.nan
    write_replays([gaps, trace("one", 1), trace("x" * 200)], REPLAYS * 3, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_a_trace_without_a_finite_loss_keeps_its_rows() -> None:
    diverged = trace("diverged")
    diverged.values[:] = np.nan
    figure = drawn([diverged], REPLAYS)
    assert marks(panel(figure, "0"), "o") == []
    assert marks(panel(figure, "stops 0"), "o") == [(200.0, 0.0), (300.0, 1.0)]


def test_every_criterion_has_a_colour_of_its_own() -> None:
    criteria = [name for name in ON_MEANS if name != "never"]
    stops = [
        {"criterion": name, "stop_step": 10 * row, "kept_step": 10 * row}
        for row, name in enumerate(criteria)
    ]
    rows = panel(drawn([trace("run")], stops), "stops 0")
    colours = {to_hex(line.get_color()) for line in rows.lines if line.get_marker() == "o"}
    assert len(colours) == len(criteria)


def test_labels_of_many_steps_stay_apart() -> None:
    steps = np.arange(600, dtype=np.int64) * 1000
    series = [Series(name, steps, np.exp(-steps / 1e5), "loss") for name in "abc"]
    figure = drawn(series, REPLAYS * 3)
    FigureCanvasAgg(figure).draw()
    boxes = []
    for place in range(3):
        labels = panel(figure, f"stops {place}").get_xticklabels()
        shown = [label for label in labels if 0 <= label.get_position()[0] <= 600_000]
        assert [label.get_text() for label in shown] == ["0", "200k", "400k", "600k"]
        boxes += [label.get_window_extent() for label in shown]
    assert all(left.x1 + 4 < right.x0 for left, right in pairwise(boxes))


@pytest.mark.parametrize(
    ("places", "texts"),
    [
        ([0, 2500, 5000], ["0", "2500", "5000"]),
        ([0, 2500, 10_000], ["0", "2.5k", "10k"]),
        ([1_000_000, 1_000_020], ["1000k", "1000.02k"]),
        ([0, 20_000_000], ["0", "20M"]),
    ],
)
def test_steps_are_short_and_exact(places: list[int], texts: list[str]) -> None:
    assert StepFormatter().format_ticks(places) == texts


def _title(axes: Axes) -> Text:
    (title,) = [text for text in axes.findobj(Text) if text.get_text() == axes.get_title("left")]
    assert isinstance(title, Text)
    return title


@pytest.fixture
def font(tmp_path: Path) -> Iterator[str]:
    """A font of the machine whose only letter is 东, a triangle."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    pen.lineTo((0, 900))
    pen.lineTo((900, 0))
    pen.closePath()
    glyph = pen.glyph()
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", "east"])
    builder.setupCharacterMap({ord("东"): "east"})
    builder.setupGlyf({".notdef": glyph, "east": glyph})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "east": (1000, 0)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Test Sans", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "test.ttf")
    before = list(fontManager.ttflist)
    fontManager.addfont(tmp_path / "test.ttf")
    yield "Test Sans"
    fontManager.ttflist[:] = before


def test_a_name_in_another_script_is_written_in_a_font_that_has_it(
    font: str, tmp_path: Path
) -> None:
    figure = drawn([trace("东.csv"), trace("plain.csv")], REPLAYS * 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # that a glyph is missing
        save_one(figure, tmp_path / "a.png")
    families = [_title(panel(figure, label)).get_fontfamily() for label in "01"]
    assert [font in family for family in families] == [True, False]
    assert families_with(frozenset("东\U0010fffd")) == [font]


def test_the_same_replays_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        write_replays([trace("run")], REPLAYS, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ends in \.png, \.svg or \.pdf"):
        write_replays([trace("run")], REPLAYS, tmp_path / "a.jpg")
    many = [trace(str(place)) for place in range(MOST_DRAWN + 1)]
    with pytest.raises(UserError, match=f"at most {MOST_DRAWN}"):
        write_replays(many, REPLAYS * len(many), tmp_path / "a.png")


def said(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def curve(axes: Axes) -> tuple[list[float], list[float]]:
    """The trace as it is drawn: the line with most points."""
    line = max(axes.lines, key=lambda each: len(np.asarray(each.get_xdata())))
    return list(np.asarray(line.get_xdata())), list(np.asarray(line.get_ydata()))


def test_the_best_value_is_marked_as_told_or_as_the_trace_has_it() -> None:
    turned = trace("run")
    turned.values[17] = 0.0
    assert marks(panel(drawn([turned], REPLAYS), "0"), "*") == [(170.0, 0.0)]
    told = [row | {"best_step": 40, "best": 0.25} for row in REPLAYS]
    assert marks(panel(drawn([turned], told), "0"), "*") == [(40.0, 0.25)]
    similarity = Series("run", turned.steps, turned.values, "val_clip_img")
    assert marks(panel(drawn([similarity], REPLAYS), "0"), "*") == [(0.0, 1.0)]


def test_a_long_trace_is_its_running_median_over_the_range_of_its_values() -> None:
    random = np.random.default_rng(0)
    steps = np.arange(10_000, dtype=np.int64)
    values = np.exp(-steps / 4000) + random.exponential(0.2, len(steps))
    above = panel(drawn([Series("run", steps, values, "loss")], REPLAYS), "0")
    x, y = curve(above)
    assert len(x) < 1000
    assert (x[0], x[-1]) == (0, 9999)
    middle = len(x) // 2
    around = values[int(x[middle]) - 100 : int(x[middle]) + 101]
    assert y[middle] == np.median(around)
    (band,) = above.collections
    height = band.get_paths()[0].get_extents()
    assert (height.y0, height.y1) == (values.min(), values.max())


def test_a_trace_of_few_points_is_drawn_as_it_is() -> None:
    above = panel(drawn([trace("run", MOST_POINTS)], REPLAYS), "0")
    assert curve(above)[1] == trace("run", MOST_POINTS).values.tolist()
    assert not above.collections


def test_words_say_what_a_line_does_not() -> None:
    flat, gaps, lost = (trace(name) for name in ("flat", "gaps", "lost"))
    flat.values[:] = 0.3
    gaps.values[5:8] = np.nan
    lost.values[:] = np.nan
    figure = drawn([flat, gaps, lost], REPLAYS * 3)
    assert [said(panel(figure, label)) for label in "012"] == [
        ["constant"],
        ["3 not finite"],
        ["no finite value"],
    ]
    assert marks(panel(figure, "0"), "*") == []


def test_the_traces_of_a_source_stand_beside_each_other() -> None:
    traces = [
        Series(name, each.steps, each.values, tag)
        for tag in ("loss", "l_det")
        for name in ("runs/cup", "runs/dog")
        for each in [trace(name)]
    ]
    figure = drawn(traces, REPLAYS * 4)
    rows: dict[int, list[tuple[str, str]]] = {}
    for place in range(4):
        axes = panel(figure, str(place))
        spec = axes.get_subplotspec()
        assert spec is not None
        rows.setdefault(spec.rowspan.start, []).append(
            (axes.get_title("left"), axes.get_ylabel()),
        )
    assert {row: sorted(found) for row, found in rows.items()} == {
        0: [("cup", "l_det"), ("cup", "loss")],
        2: [("dog", "l_det"), ("dog", "loss")],
    }


@pytest.mark.filterwarnings("error")
def test_a_name_with_mathtext_in_it_is_shown_letter_by_letter(tmp_path: Path) -> None:
    odd = Series(r"runs/$\frac$.csv", trace("x").steps, trace("x").values, "$x")
    save_one(drawn([odd], REPLAYS), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert r"$\frac$.csv" in text
    assert ">$x<" in text


def test_replays_are_drawn_on_axes_that_are_given() -> None:
    figure = Figure()
    axes = figure.subplots(2, 1)
    assert plot_replays([trace("run")], REPLAYS, list(axes)) == list(axes)
    with pytest.raises(ValueError, match="2 panels"):
        plot_replays([trace("run")], REPLAYS, figure.axes[:1])


@pytest.mark.parametrize(
    ("tags", "rows"),
    [
        ([("a", "x"), ("b", "x"), ("c", "x"), ("d", "x")], [[0, 1, 2], [3]]),
        ([("a", "y"), ("b", "x"), ("a", "x")], [[2, 0], [1]]),
        ([("a", tag) for tag in "1234"] + [("b", "1")], [[0, 1, 2], [3], [4]]),
    ],
)
def test_a_source_with_several_tags_begins_a_row(
    tags: list[tuple[str, str]], rows: list[list[int]]
) -> None:
    each = trace("x")
    assert by_source([Series(name, each.steps, each.values, tag) for name, tag in tags]) == rows
