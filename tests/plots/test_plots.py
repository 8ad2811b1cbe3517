"""Figures say what the traces say, at every odd size, and come out the same twice."""

from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text
from PIL import Image

from noiseprobe.analysis import as_seen, correlations, deterministic_losses, noise_to_signal
from noiseprobe.draws.factors import FACTORS, NAMED_SETTINGS
from noiseprobe.plots import (
    Drawn,
    correlation_figure,
    draw_all,
    dvar_figure,
    noise_to_signal_figure,
    samples_figure,
    settings_figure,
    stops_figure,
    training_figure,
)
from noiseprobe.plots.ratios import two_digits
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
                shift = random.normal(0, SPREAD.get(setting.name, 0))
                rows += [
                    (step, setting.name, replicate, sample, 0, 0, 0, level + shift)
                    for sample in range(2)
                ]
    return pd.DataFrame(rows, columns=list(PROBE_COLUMNS)).astype(PROBE_COLUMNS)


def panels(figure: Figure) -> dict[str, Axes]:
    return {str(axes.get_label()): axes for axes in figure.axes}


def line(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    (found,) = [each for each in axes.lines if each.get_label() == label]
    return list(np.asarray(found.get_xdata())), list(np.asarray(found.get_ydata()))


def test_the_panel_has_one_column_per_setting_on_one_y_axis(probe: pd.DataFrame) -> None:
    columns = panels(settings_figure(probe))
    assert list(columns) == [setting.name for setting in NAMED_SETTINGS]
    assert len({axes.get_ylim() for axes in columns.values()}) == 1


def test_ghost_and_line_are_the_deterministic_and_the_seen_trace(probe: pd.DataFrame) -> None:
    ghost = deterministic_losses(probe)
    for name, axes in panels(settings_figure(probe)).items():
        if name != "deterministic":
            assert line(axes, "ghost")[1] == ghost.tolist()
            assert line(axes, "seen")[1] == as_seen(probe, name).tolist()


def test_outliers_do_not_flatten_the_panel_and_are_counted(probe: pd.DataFrame) -> None:
    worst = (probe["setting"] == "noise") & (probe["step"] == 40) & (probe["replicate"] == 2)
    columns = panels(settings_figure(probe.assign(loss=probe["loss"].mask(worst, 50.0))))
    assert columns["noise"].get_ylim()[1] < 1
    assert "1 beyond" in [text.get_text() for text in columns["noise"].texts]


def test_the_stop_is_marked_where_it_is(train: pd.DataFrame) -> None:
    columns = panels(dvar_figure(train, 0.1, 60))
    for axes in columns.values():
        assert line(axes, "stop")[0] == [60, 60]
    assert "stop at step 60" in [text.get_text() for text in columns["l_det"].texts]
    assert columns["dvar_ratio"].get_yscale() == "log"
    never = panels(dvar_figure(train, 0.1, None))
    assert "stop" not in [each.get_label() for each in never["l_det"].lines]


def test_training_figure_shows_what_was_recorded(train: pd.DataFrame) -> None:
    columns = panels(training_figure(train))
    assert list(columns) == ["loss", "grad_norm", "l_det"]
    shown = np.asarray(columns["l_det"].lines[0].get_ydata())
    np.testing.assert_array_equal(shown, train["l_det"])
    without = panels(training_figure(train.assign(l_det=np.nan)))
    assert list(without) == ["loss", "grad_norm"]


def test_marks_stand_at_their_ratio(probe: pd.DataFrame) -> None:
    table = noise_to_signal(probe)
    axes = noise_to_signal_figure(table).axes[0]
    marks = [each for each in axes.lines if each.get_marker() == "o"]
    dots = [float(np.asarray(mark.get_xdata())[0]) for mark in marks]
    assert dots == table["noise_to_signal"].tolist()
    assert axes.get_xscale() == "log"


def test_a_noise_of_zero_and_an_undefined_ratio_are_said_in_words() -> None:
    table = pd.DataFrame(
        {"noise_to_signal": [0.0, np.nan], "low": [0.0, np.nan], "high": [0.0, np.nan]},
        index=["captions", "noise"],
    )
    axes = noise_to_signal_figure(table).axes[0]
    rows = {text.get_text(): text.xy[1] for text in axes.texts if isinstance(text, Annotation)}
    assert (rows["none"], rows["undefined"]) == (0, 1)


@pytest.mark.parametrize("stop", [2, 60, 100])
def test_no_word_is_cut_off_or_small(train: pd.DataFrame, probe: pd.DataFrame, stop: int) -> None:
    few = probe[probe["setting"].isin(["deterministic", "timesteps"])]
    for figure in (
        training_figure(train),
        settings_figure(few),
        dvar_figure(train, 0.1, stop),
        noise_to_signal_figure(noise_to_signal(few)),
    ):
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
    columns = panels(training_figure(checked(train)))
    assert list(columns) == ["clip_img", "loss", "grad_norm", "l_det"]
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
    (axes,) = correlation_figure(table).axes
    assert [text.get_text() for text in axes.texts] == ["-0.50", "does not vary"]
    assert places(axes.lines[1]) == [-0.9, -0.5, -0.1]


def test_samples_stand_under_their_captions() -> None:
    pictures = [Image.new("RGB", (8, 8), (30 * index, 0, 0)) for index in range(12)]
    training = [(f"a photo of thing {index // 2}", pictures[index]) for index in range(12)]
    rows = [Drawn("DVAR\nstep 7", training, training), Drawn("Baseline", training, training)]
    figure = samples_figure(rows)
    titles = [axes.get_title().replace("\n", " ") for axes in figure.axes]
    assert [title for title in titles if title] == [f"a photo of thing {i}" for i in range(4)] * 2
    arrays = [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]
    shown = [int(array[0, 0, 0]) for array in arrays]
    assert shown == [0, 60, 120, 180] * 4


@pytest.mark.parametrize("count", [2, 4])
def test_captions_of_neighbours_do_not_touch(count: int) -> None:
    picture = Image.new("RGB", (8, 8))
    told = [(f"a photo of a <v> in a room {index}", picture) for index in range(count)]
    figure = samples_figure([Drawn("DVAR\nstep 7", told, told)])
    FigureCanvasAgg(figure).draw()
    boxes = [axes.title.get_window_extent() for axes in figure.axes if axes.get_title()]
    assert len(boxes) == 2 * count
    assert all(left.x1 + 4 < right.x0 for left, right in pairwise(boxes))


def test_stops_are_dots_hollow_where_a_rule_never_fired(tmp_path: Path) -> None:
    raw = pd.DataFrame(
        {
            "method": "dreambooth",
            "variant": ["baseline", "dvar"] * 3,
            "step": [300, 90, 300, 120, 300, 300],
            "fired": [False, True, False, True, False, False],
        }
    )
    (axes,) = stops_figure(raw).axes
    fired, hollow, median = axes.lines
    assert sorted(places(fired)) == [90, 120]
    assert places(hollow) == [300]
    assert places(median) == [120, 120]
