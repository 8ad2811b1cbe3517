"""Figures say what the traces say, at every odd size, and come out the same twice."""

import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text
from PIL import Image

from noiseprobe.analysis import (
    as_seen,
    batch_losses,
    correlations,
    deterministic_losses,
    noise_to_signal,
)
from noiseprobe.draws.draws import FRESH
from noiseprobe.draws.factors import FACTORS, NAMED_SETTINGS
from noiseprobe.plots import (
    Drawn,
    draw_all,
    plot_correlation,
    plot_dvar,
    plot_noise_to_signal,
    plot_samples,
    plot_settings,
    plot_training,
    stops,
)
from noiseprobe.plots.ratios import in_words, two_digits
from noiseprobe.plots.saving import figure_of, save
from noiseprobe.plots.style import plain_name
from noiseprobe.run.traces import PROBE_COLUMNS, TRAIN_COLUMNS

SPREAD = dict(zip(FACTORS, (0.01, 0.0001, 0.0005, 0.03, 0.004), strict=True)) | {"original": 0.04}


@pytest.fixture
def train() -> pd.DataFrame:
    steps = np.arange(101)
    random = np.random.default_rng(0)
    l_det = 0.1 + 0.02 * np.exp(-steps / 20)
    frame = pd.DataFrame(
        {
            "step": steps,
            "loss": random.uniform(0.02, 0.3, 101),
            "grad_norm": random.uniform(0.1, 1, 101),
            "lr": 0.005,
            "l_det": l_det,
            "dvar_ratio": np.where(steps < 20, np.nan, np.exp(-steps / 15)),
            "seconds": steps * 0.1,
        }
    )
    frame.loc[0, ["loss", "grad_norm", "lr"]] = np.nan
    return frame.reindex(columns=[*TRAIN_COLUMNS]).astype(TRAIN_COLUMNS)


@pytest.fixture
def probe() -> pd.DataFrame:
    random = np.random.default_rng(1)
    rows = []
    for step in range(0, 101, 20):
        level = 0.1 + 0.02 * np.exp(-step / 20)
        for setting in NAMED_SETTINGS:
            for replicate in range(1, 5) if setting.redrawn else [0]:
                shifts = random.normal(0, SPREAD.get(setting.name, 0), 4)
                rows += [
                    (step, setting.name, replicate, sample, 0, 0, 0, level + shift)
                    for sample, shift in enumerate(shifts)
                ]
    return pd.DataFrame(rows, columns=list(PROBE_COLUMNS)).astype(PROBE_COLUMNS)


def panels(drawn: Sequence[Axes]) -> dict[str, Axes]:
    return {str(axes.get_label()): axes for axes in drawn}


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def dots(axes: Axes) -> list[tuple[float, float]]:
    """The places of the dots that `seaborn.pointplot` drew, which has none for an absent row."""
    marks = [each for each in axes.lines if each.get_marker() == "o"]
    found = [pair for mark in marks for pair in np.asarray(mark.get_xydata()).tolist()]
    return [(x, y) for x, y in found if np.isfinite([x, y]).all()]


def line(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    (found,) = [each for each in axes.lines if each.get_label() == label]
    return list(np.asarray(found.get_xdata())), list(np.asarray(found.get_ydata()))


def test_the_panel_has_one_column_per_setting_on_one_y_axis(probe: pd.DataFrame) -> None:
    columns = panels(plot_settings(probe))
    assert list(columns) == [setting.name for setting in NAMED_SETTINGS]
    assert len({axes.get_ylim() for axes in columns.values()}) == 1


def test_the_black_line_is_nothing_redrawn_moved_to_the_median_of_the_redraws(
    probe: pd.DataFrame,
) -> None:
    ghost = deterministic_losses(probe)
    losses = batch_losses(probe).set_index("setting")
    for name, axes in panels(plot_settings(probe)).items():
        if name != "deterministic":
            shown = np.array(line(axes, "ghost")[1])
            np.testing.assert_allclose(np.diff(shown), np.diff(ghost), atol=1e-12)
            own = losses.loc[name]
            above = own["loss"].to_numpy() - ghost.loc[own["step"]].to_numpy()
            assert np.median(above) == pytest.approx((shown - ghost.to_numpy())[0])
            assert line(axes, "seen")[1] == as_seen(probe, name).tolist()


def fresh(probe: pd.DataFrame) -> pd.DataFrame:
    """A redraw of its own for each checkpoint, which no other has."""
    one = probe[(probe["replicate"] == 1)]
    own = one["step"] + FRESH
    return one.assign(replicate=own, loss=one["loss"] + one["step"] / 1e5)


def test_a_redraw_of_its_own_at_each_checkpoint_is_what_is_seen(probe: pd.DataFrame) -> None:
    seen = fresh(probe)
    drawn = plot_settings(probe, seen=seen)
    told = batch_losses(seen).set_index(["setting", "step"])["loss"]
    for name, axes in panels(drawn).items():
        if name != "deterministic":
            assert line(axes, "seen")[1] == told[name].tolist()
    (key,) = figure_of(drawn).legends
    words = [text.get_text() for text in key.get_texts()]
    assert words[:2] == ["a new redraw at each checkpoint", "least to most of 5 redraws"]
    (key,) = figure_of(plot_settings(probe)).legends
    assert key.get_texts()[0].get_text() == "the 4 redraws in turn"


def test_the_band_is_from_the_least_to_the_most_redraw(probe: pd.DataFrame) -> None:
    losses = batch_losses(probe)
    axes = panels(plot_settings(probe))["timesteps"]
    (band,) = [each for each in axes.collections if isinstance(each, PolyCollection)]
    own = losses[losses["setting"] == "timesteps"].groupby("step")["loss"]
    edges = np.asarray(band.get_paths()[0].vertices)
    for step, low, high in zip(own.min().index, own.min(), own.max(), strict=True):
        at = edges[edges[:, 0] == step, 1]
        assert (at.min(), at.max()) == pytest.approx((low, high))


def test_a_last_checkpoint_right_after_another_makes_no_hook(probe: pd.DataFrame) -> None:
    last = probe[probe["step"] == 100].assign(step=101)
    axes = panels(plot_settings(pd.concat([probe, last])))["noise"]
    assert line(axes, "seen")[0] == [0, 20, 40, 60, 80, 101]
    assert line(axes, "ghost")[0] == [0, 20, 40, 60, 80, 100, 101]


def test_where_there_is_one_caption_words_say_so(probe: pd.DataFrame) -> None:
    fixed = deterministic_losses(probe)
    alike = probe["loss"].mask(probe["setting"].isin(["captions", "images"]), 0.0)
    level = probe["step"].map(fixed).where(alike == 0.0, 0.0)
    columns = panels(plot_settings(probe.assign(loss=(alike + level).astype("float32"))))
    assert texts(columns["captions"]) == ["one caption:\nnothing to\nredraw"]
    assert texts(columns["images"]) == ["redraws do\nnot differ"]
    assert texts(columns["noise"]) == []


def test_outliers_do_not_flatten_the_panel_and_are_counted(probe: pd.DataFrame) -> None:
    worst = (probe["setting"] == "noise") & (probe["step"] == 40) & (probe["replicate"] == 2)
    columns = panels(plot_settings(probe.assign(loss=probe["loss"].mask(worst, 50.0))))
    assert columns["noise"].get_ylim()[1] < 1
    assert "1 beyond" in texts(columns["noise"])


def test_the_stop_is_marked_where_it_is(train: pd.DataFrame) -> None:
    columns = panels(plot_dvar(train, 0.1, 60))
    for axes in columns.values():
        assert line(axes, "stop")[0] == [60, 60]
    assert "stop at step 60" in texts(columns["l_det"])
    assert columns["dvar_ratio"].get_yscale() == "log"
    never = panels(plot_dvar(train, 0.1, None))
    assert "stop" not in [each.get_label() for each in never["l_det"].lines]


def test_plot_training_shows_what_was_recorded(train: pd.DataFrame) -> None:
    columns = panels(plot_training(train))
    assert list(columns) == ["grad_norm", "loss", "l_det"]
    shown = np.asarray(columns["l_det"].lines[0].get_ydata())
    np.testing.assert_array_equal(shown, train["l_det"])
    without = panels(plot_training(train.assign(l_det=np.nan)))
    assert list(without) == ["grad_norm", "loss"]


def test_l_det_is_shown_to_scale_and_how_much_it_is_enlarged(train: pd.DataFrame) -> None:
    columns = panels(plot_training(train))
    to_scale = np.asarray(columns["loss"].lines[-1].get_ydata())
    np.testing.assert_array_equal(to_scale, train["l_det"])
    times = np.ptp(columns["loss"].get_ylim()) / np.ptp(columns["l_det"].get_ylim())
    assert any(f"enlarged {times:.0f}×" in words for words in texts(columns["l_det"]))


def test_the_best_step_and_the_stop_of_training_are_marked(train: pd.DataFrame) -> None:
    train.loc[70, "l_det"] = 0.05
    columns = panels(plot_training(train, stop=("patience", 80)))
    assert line(columns["l_det"], "best") == ([70], [0.05])
    assert "★ lowest: step 70" in texts(columns["l_det"])
    assert all(line(axes, "stop")[0] == [80, 80] for axes in columns.values())
    assert "patience stops: step 80" in texts(columns["grad_norm"])
    similar = checked(train)
    similar.loc[30, "clip_img"] = 0.9
    columns = panels(plot_training(similar))
    assert line(columns["clip_img"], "best") == ([30], [0.9])
    assert "★ highest: step 30" in texts(columns["clip_img"])
    assert "best" not in [each.get_label() for each in columns["l_det"].lines]


def test_no_stop_is_possible_before_the_window_is_full(train: pd.DataFrame) -> None:
    below = panels(plot_dvar(train, 0.1, 60, window=21))["dvar_ratio"]
    assert texts(below)[0] == "no stop possible before step 20"
    assert "stop below\n0.1" in texts(below)
    short = train[train["step"] < 20]
    empty = panels(plot_dvar(short, 0.1, window=21))["dvar_ratio"]
    assert "the last 21 values" in texts(empty)[0]
    assert "here are 20" in texts(empty)[0]


def test_marks_stand_at_their_ratio(probe: pd.DataFrame) -> None:
    table = noise_to_signal(probe)
    axes = plot_noise_to_signal(table)
    assert [x for x, _ in dots(axes)] == pytest.approx(table["noise_to_signal"].tolist())
    assert axes.get_xscale() == "log"


def test_a_noise_of_zero_and_an_undefined_ratio_are_said_in_words() -> None:
    table = pd.DataFrame(
        {"noise_to_signal": [0.0, np.nan], "low": [0.0, np.nan], "high": [0.0, np.nan]},
        index=["captions", "noise"],
    )
    axes = plot_noise_to_signal(table)
    rows = {text.get_text(): text.xy[1] for text in axes.texts if isinstance(text, Annotation)}
    assert (rows["none"], rows["unknown"]) == (0, 1)


def test_an_interval_without_end_is_an_arrow_to_the_edge() -> None:
    table = pd.DataFrame(
        {"noise_to_signal": [2.0, np.nan, 0.5], "low": [1.0, 3.0, 0.0], "high": [np.inf] * 2 + [1]},
        index=["images", "timesteps", "noise"],
    )
    axes = plot_noise_to_signal(table)
    left, right = axes.get_xlim()
    arrows = {
        str(each.get_marker()) + str(np.asarray(each.get_ydata())[0]): places(each)
        for each in axes.lines
        if each.get_marker() in ("<", ">")
    }
    assert arrows == {">0": [2.0, right], ">1": [3.0, right], "<2": [0.5, left]}
    assert {"2.0 (from 1.0)", "from 3.0", "0.50 (up to 1.0)"} <= set(texts(axes))
    assert [y for _, y in dots(axes)] == [0, 2]


@pytest.mark.parametrize(
    ("ratio", "low", "high", "words"),
    [
        (4.2, 3.1, 5.8, "4.2 (3.1–5.8)"),
        (4.2, np.nan, np.nan, "4.2"),
        (4.2, 0.0, np.inf, "4.2 (no bound)"),
        (np.nan, 0.0, np.inf, "unknown"),
    ],
)
def test_ratio_and_interval_in_words(ratio: float, low: float, high: float, words: str) -> None:
    assert in_words(ratio, low, high) == words


@pytest.mark.parametrize("stop", [2, 60, 100])
def test_no_word_is_cut_off_or_small(train: pd.DataFrame, probe: pd.DataFrame, stop: int) -> None:
    few = probe[probe["setting"].isin(["deterministic", "timesteps"])]
    for drawn in (
        plot_training(checked(train), stop=("DVAR", stop)),
        plot_settings(few, seen=fresh(few)),
        plot_dvar(train, 0.1, stop, window=21),
        plot_noise_to_signal(noise_to_signal(few), over="4 redraws of batches of 2"),
        plot_correlation(correlations(checked(train), few)),
    ):
        figure = figure_of(drawn)
        FigureCanvasAgg(figure).draw()
        inked = figure.get_tightbbox()
        width, height = figure.get_size_inches()
        assert min(inked.x0, inked.y0) > -0.01
        assert inked.x1 < width + 0.01
        assert inked.y1 < height + 0.01
        for text in figure.findobj(Text):
            assert isinstance(text, Text)
            assert float(text.get_fontsize()) >= 8, text.get_text()


def test_drawing_leaves_matplotlibs_global_state_alone(train: pd.DataFrame, tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    draw_all(train, pd.DataFrame(columns=list(PROBE_COLUMNS)), 0.1, 60, tmp_path)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(("value", "text"), [(0.0634, "0.063"), (4.21, "4.2"), (36.6, "37")])
def test_values_have_two_digits(value: float, text: str) -> None:
    assert two_digits(value) == text


def test_all_figures_are_written_and_identical_twice(
    train: pd.DataFrame, probe: pd.DataFrame, tmp_path: Path
) -> None:
    first = draw_all(train, probe, 0.1, 60, tmp_path / "first")
    second = draw_all(train, probe, 0.1, 60, tmp_path / "second")
    assert [path.name for path in first] == [
        f"{name}.{kind}"
        for name in ("1-training", "2-settings", "3-dvar", "4-noise-to-signal")
        for kind in ("png", "svg")
    ]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert "<text" in (tmp_path / "first" / "3-dvar.svg").read_text()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("step == 0", {"1", "2", "3"}),
        ("setting != 'deterministic'", {"1", "2", "3"}),
        ("replicate < 2", {"1", "2", "3"}),
        ("setting in ('deterministic', 'noise')", {"1", "2", "3", "4"}),
        ("step < 0", {"1", "3"}),
    ],
)
def test_figures_whose_data_is_absent_are_left_out(
    train: pd.DataFrame, probe: pd.DataFrame, tmp_path: Path, query: str, expected: set[str]
) -> None:
    paths = draw_all(train, probe.query(query), 0.1, None, tmp_path)
    assert {path.name[0] for path in paths} == expected


def test_gaps_and_uneven_steps_are_drawn(
    train: pd.DataFrame, probe: pd.DataFrame, tmp_path: Path
) -> None:
    sparse = train.assign(l_det=train["l_det"].where(train["step"] % 7 == 0))
    uneven = probe[probe["step"].isin([0, 20, 100])]
    assert len(draw_all(sparse, uneven, 0.1, 14, tmp_path)) == 8


def places(line: Line2D) -> list[float]:
    return [float(x) for x in np.asarray(line.get_xdata())]


def checked(train: pd.DataFrame) -> pd.DataFrame:
    """With a CLIP similarity at every tenth step that rises as L_det falls."""
    return train.assign(clip_img=np.where(train["step"] % 10 == 0, 1 - train["l_det"] * 4, np.nan))


def test_similarity_stands_above_what_users_stare_at(train: pd.DataFrame) -> None:
    columns = panels(plot_training(checked(train)))
    assert list(columns) == ["clip_img", "grad_norm", "loss", "l_det"]
    assert places(columns["clip_img"].lines[0]) == list(range(0, 101, 10))


def test_a_trace_that_falls_as_similarity_rises_has_rho_minus_one(
    train: pd.DataFrame, probe: pd.DataFrame
) -> None:
    probe["timestep"] = np.where(probe["sample"] == 0, 100, 900)
    late = (probe["timestep"] == 900) & (probe["setting"] == "deterministic")
    probe["loss"] = probe["loss"].where(~late, probe["step"] / 100)
    table = correlations(checked(train), probe)
    assert table.loc["l_det", "rho"] == pytest.approx(-1)
    assert -0.9 < table["rho"]["loss"] < 0.9
    assert table.loc["l_det, begin", "rho"] == pytest.approx(-1)
    assert table.loc["l_det, end", "rho"] == pytest.approx(1)
    assert "l_det, middle" not in table.index
    assert table.loc["l_det", "points"] == 11
    assert table.loc["loss", "points"] == 10


def test_ranks_agree_with_scipy() -> None:
    from scipy.stats import spearmanr

    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {name: random.integers(0, 8, 40) / 8 for name in ("loss", "grad_norm", "l_det")}
    ).assign(clip_img=random.integers(0, 5, 40) / 5)
    table = correlations(frame, pd.DataFrame(columns=list(PROBE_COLUMNS)))
    for name in ("loss", "grad_norm", "l_det"):
        assert table.loc[name, "rho"] == pytest.approx(
            spearmanr(frame[name], frame["clip_img"]).statistic
        )


def test_without_checks_nothing_correlates(train: pd.DataFrame, probe: pd.DataFrame) -> None:
    assert correlations(train, probe).empty
    flat = checked(train).assign(l_det=0.5)
    assert np.isnan(correlations(flat, probe)["rho"]["l_det"])


def test_correlations_of_several_runs_are_dots_around_their_median() -> None:
    table = pd.DataFrame(
        {"rho": [-0.9, -0.5, -0.1, np.nan], "points": 9}, ["l_det", "l_det", "l_det", "loss"]
    )
    axes = plot_correlation(table)
    assert texts(axes) == ["−0.50, 3 runs", "does not vary"]
    (faint,) = [each for each in axes.collections if isinstance(each, PathCollection)]
    assert np.asarray(faint.get_offsets())[:, 0].tolist() == [-0.9, -0.5, -0.1]
    assert dots(axes) == [(-0.5, 0)]


def test_a_correlation_over_too_few_checks_makes_no_claim(train: pd.DataFrame) -> None:
    few = checked(train).query("step <= 30")
    empty = pd.DataFrame(columns=list(PROBE_COLUMNS))
    axes = plot_correlation(correlations(few, empty).loc[["l_det"]])
    assert texts(axes) == ["4 checks: too few"]
    (hollow,) = [each for each in axes.lines if each.get_marker() == "o"]
    assert hollow.get_markerfacecolor() == "white"
    enough = plot_correlation(correlations(checked(train), empty).loc[["l_det"]])
    assert texts(enough) == ["−1.00 (−1.00 to −1.00)\n11 checks"]


def shown_red(axes: Sequence[Axes]) -> list[int]:
    arrays = [np.asarray(each.images[0].get_array()) for each in axes if each.images]
    return [int(array[0, 0, 0]) for array in arrays]


def test_samples_stand_under_their_captions() -> None:
    pictures = [Image.new("RGB", (8, 8), (30 * index, 0, 0)) for index in range(12)]
    training = [(f"a photo of thing {index // 2}", pictures[index]) for index in range(12)]
    rows = [Drawn("DVAR\nstep 7", training, training), Drawn("all 9 steps", training, training)]
    axes = plot_samples(rows)
    titles = [each.get_title().replace("\n", " ").strip() for each in axes]
    assert [title for title in titles if title] == [f"a photo of thing {i}" for i in range(4)] * 2
    assert shown_red(axes) == [0, 60, 120, 180] * 4
    assert [each.get_ylabel() for each in axes if each.get_ylabel()] == [
        "DVAR\nstep 7",
        "all 9 steps",
    ]


def test_photographs_stand_above_and_long_names_are_whole() -> None:
    told = [(f"a {index}", Image.new("RGB", (8, 8), (index, 0, 0))) for index in range(2)]
    photographs = [Image.new("RGB", (9, 5), (200 + index, 0, 0)) for index in range(5)]
    name = "CLIP-s, Few iterations, DVAR $\\frac$\nstep 131"
    axes = plot_samples([Drawn(name, told, told)], photographs=photographs)
    assert shown_red(axes) == [200, 201, 202, 203, 0, 1, 0, 1]
    assert axes[0].get_ylabel() == "4 of 5\nphotographs"
    assert axes[4].get_ylabel().replace("\n", " ") == name.replace("\n", " ").replace("$", r"\$")
    FigureCanvasAgg(figure_of(axes)).draw()


@pytest.mark.parametrize("count", [2, 4])
def test_captions_of_neighbours_do_not_touch(count: int) -> None:
    picture = Image.new("RGB", (8, 8))
    told = [(f"a photo of a <v> in a room {index}", picture) for index in range(count)]
    axes = plot_samples([Drawn("DVAR\nstep 7", told, told)])
    FigureCanvasAgg(figure_of(axes)).draw()
    boxes = [each.title.get_window_extent() for each in axes if each.get_title()]
    assert len(boxes) == 2 * count
    assert all(left.x1 + 4 < right.x0 for left, right in pairwise(boxes))


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_odd_traces_are_drawn_in_words_without_a_warning(
    train: pd.DataFrame, probe: pd.DataFrame, tmp_path: Path, kind: str
) -> None:
    columns = ["loss", "grad_norm", "l_det", "dvar_ratio"]
    for name, odd in {
        "one point": train[train["step"] == 1],
        "constant": train.assign(**dict.fromkeys(columns, 0.5)),
        "negative": train.assign(**{each: -train[each] for each in columns}),
        "flat": train.assign(dvar_ratio=0.0),
        "long": pd.concat([train] * 120).assign(step=np.arange(101 * 120)),
        "empty": train[:0],
    }.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            drawn: list[Axes | list[Axes]] = [
                plot_training(odd, stop=("DVAR", 1)),
                plot_dvar(odd, 0.1, 1, window=2),
                plot_settings(probe.iloc[:0] if name == "empty" else probe[probe["step"] == 0]),
                plot_noise_to_signal(noise_to_signal(probe.iloc[:0])),
                plot_correlation(correlations(odd, probe.iloc[:0])),
            ]
            for index, axes in enumerate(drawn):
                (path,) = save(axes, tmp_path / f"{name}-{index}", kinds=[kind])
                assert path.stat().st_size > 0
    assert "nothing recorded" in texts(plot_training(train[:0])[0])
    assert "nothing probed" in texts(plot_settings(probe[:0])[0])


def test_panels_may_be_given(train: pd.DataFrame, probe: pd.DataFrame) -> None:
    axes = list(Figure().subplots(1, 7))
    assert plot_settings(probe, axes) == axes
    axes = list(Figure().subplots(3, 1))
    assert plot_training(train, axes) == axes
    axes = axes[:2]
    assert plot_dvar(train, 0.1, axes=axes) == axes
    ax = Figure().subplots()
    assert plot_noise_to_signal(noise_to_signal(probe), ax) is ax
    with pytest.raises(ValueError, match="2 given; this figure has 3 panels"):
        plot_training(train, axes)


def test_a_setting_has_one_word_for_a_person() -> None:
    assert plain_name("original") == "all five"
    assert plain_name("vae_noise+noise") == "VAE noise + noise"


def test_stops_are_dots_hollow_where_a_rule_never_fired(tmp_path: Path) -> None:
    raw = pd.DataFrame(
        {
            "method": "dreambooth",
            "variant": ["baseline", "dvar"] * 3,
            "step": [300, 90, 300, 120, 300, 300],
            "fired": [False, True, False, True, False, False],
        }
    )
    axes = stops.plot_stops(raw)
    places_of = {
        str(each.get_label()): sorted(np.asarray(each.get_offsets())[:, 0].tolist())
        for each in axes.collections
        if isinstance(each, PathCollection)
    }
    assert places_of["fired"] == [90, 120]
    assert places_of["never"] == [300]
    assert [x for x, _ in dots(axes)] == [120]
