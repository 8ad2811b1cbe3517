"""`noiseprobe analyze` and the figures it draws: what they say, and what they say is missing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import BarContainer
from matplotlib.text import Text

from noiseprobe.analysis import (
    correlations,
    learning_bins,
    signal_to_noise,
    timestep_losses,
    variance_shares,
)
from noiseprobe.draws.factors import FACTORS
from noiseprobe.plots import (
    correlation_figure,
    needed_batch_figure,
    shares_figure,
    timestep_change_figure,
    timestep_losses_figure,
)
from noiseprobe.run.directory import Run
from noiseprobe.run.settings import RunConfig
from tests.analysis.test_correlation import EMPTY, train
from tests.analysis.test_shares import design_trace
from tests.analysis.test_timesteps import trace

FIGURES = {"7-shares", "8-needed-batch", "9-loss-by-timestep", "10-change-by-timestep"}


@pytest.fixture
def run(call: Any, given: dict[str, Any], tmp_path: Path) -> Path:
    names = {"class_noun": "--class"}
    pairs = [(names.get(key, "--" + key.replace("_", "-")), given[key]) for key in given]
    flags = [word for pair in pairs for word in pair]
    assert call("run", *flags, "--out", tmp_path / "run")[0] == 0
    return tmp_path / "run"


@pytest.fixture
def bare(config: RunConfig, tmp_path: Path) -> Path:
    """A run that was begun and has no trace."""
    return Run.create(tmp_path / "bare", config, "cpu").directory


def test_a_run_is_analysed_with_what_it_has_and_then_with_a_design(call: Any, run: Path) -> None:
    probed = {path: path.read_bytes() for path in (run / "traces" / "probe").iterdir()}
    code, out, err = call("analyze", run, "--no-plot")
    assert code == 0, err
    assert f"no Sobol design was probed; noiseprobe probe {run} --design sobol" in out
    assert "start a run with --checks" in out
    assert "needed batch" in out
    assert "Figures" not in out
    code, out, err = call("probe", run, "--design", "sobol", "--replicates", 2, "--probe-batch", 4)
    assert code == 0, err
    assert "Share of the batch loss's variance" in out
    assert f"2 pairs are too few; noiseprobe probe {run} --design sobol --replicates 32" in out
    assert {path: path.read_bytes() for path in (run / "traces" / "probe").iterdir()} == probed
    code, out, err = call("analyze", run, "--json", "--second-order")
    assert code == 0, err
    document = json.loads(out)
    assert [row["factor"] for row in document["shares"][:5]] == list(FACTORS)
    assert len(document["interactions"]) == 4 * 10
    assert {row["trend"] for row in document["learning_bins"]} <= {"falling", "rising", "none"}
    assert {row["setting"] for row in document["signal_to_noise"]} == {*FACTORS, "original"}
    assert len(document["missing"]) == 2
    assert {Path(path).stem for path in document["figures"]} == FIGURES
    assert all(Path(path).stat().st_size > 1000 for path in document["figures"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--design", "sobl"], "--design: 'sobl' given"),
        (["--design", "sobol", "--settings", "noise"], "--settings: a Sobol design redraws every"),
        (["--design", "sobol", "--replicates", 1], "--replicates: 1 given"),
        (["--design", "sobol", "--probe-batch", 0], "--probe-batch: 0 given"),
    ],
)
def test_wrong_flags_of_a_design_end_in_one_line(
    call: Any, bare: Path, arguments: list[object], told: str
) -> None:
    code, out, err = call("probe", bare, *arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1


def test_nothing_to_analyze_is_told_in_one_line(call: Any, bare: Path, tmp_path: Path) -> None:
    code, out, err = call("analyze", bare)
    assert (code, out) == (2, "")
    assert f"probe it first: noiseprobe probe {bare}" in err
    assert call("analyze", tmp_path)[0] == 2


def test_bars_are_the_shares_and_the_rest_is_interaction() -> None:
    table = variance_shares(pd.concat([design_trace(64, 4, step=step) for step in (0, 10)]))
    (axes,) = shares_figure(table).axes
    heights = {
        str(bars.get_label()): [float(patch.get_height()) for patch in bars.patches]
        for bars in axes.containers
        if isinstance(bars, BarContainer)
    }
    first = table[table["step"] == 10].set_index("factor")["first"].clip(lower=0)
    for factor in FACTORS:
        assert heights[factor][1] == pytest.approx(first[factor])
    assert heights["interactions"][1] == pytest.approx(1 - first.sum())


def test_curves_and_cells_are_the_losses_and_changes() -> None:
    losses, learning = timestep_losses(trace()), learning_bins(trace())
    axes = timestep_losses_figure(losses).axes[0]
    shown = np.asarray(axes.lines[-1].get_ydata(), dtype="float64")
    np.testing.assert_allclose(shown, losses[losses["step"] == 50]["loss"])
    axes = timestep_change_figure(losses, learning).axes[0]
    cells = np.asarray(axes.images[0].get_array())
    assert cells[0, -1] == pytest.approx(
        100 * losses[(losses["step"] == 50) & (losses["bin"] == 0)]["relative"].iloc[0]
    )
    assert [text.get_text() for text in axes.texts] == ["▼"]


def test_needed_batches_are_dots_and_words_where_there_is_none() -> None:
    table = pd.DataFrame(
        {"batch": 32.0, "needed_batch": [0.2, 250.0, np.inf, np.nan]},
        ["captions", "timesteps", "noise", "images"],
    )
    (axes,) = needed_batch_figure(table).axes
    dots = [
        float(np.asarray(line.get_xdata())[0]) for line in axes.lines if line.get_marker() == "o"
    ]
    assert dots == [1.0, 250.0]
    assert {"1", "250", "no progress seen", "undefined"} <= {t.get_text() for t in axes.texts}


def test_an_interval_stands_behind_a_single_correlation() -> None:
    table = correlations(train(40), EMPTY).loc[["l_det"]]
    (axes,) = correlation_figure(table).axes
    ends = [list(np.asarray(line.get_xdata(), dtype="float64")) for line in axes.lines]
    assert [table.loc["l_det", "low"], table.loc["l_det", "high"]] in ends


def test_no_word_of_the_figures_is_cut_off_or_small() -> None:
    design = variance_shares(pd.concat([design_trace(8, 4, step=step) for step in range(0, 90, 3)]))
    losses, learning = timestep_losses(trace()), learning_bins(trace())
    for figure in (
        shares_figure(design),
        needed_batch_figure(signal_to_noise(trace())),
        timestep_losses_figure(losses),
        timestep_change_figure(losses, learning),
    ):
        FigureCanvasAgg(figure).draw()
        inked = figure.get_tightbbox()
        width, height = figure.get_size_inches()
        assert min(inked.x0, inked.y0) > -0.02
        assert inked.x1 < width + 0.02
        assert inked.y1 < height + 0.02
        for text in figure.findobj(Text):
            assert isinstance(text, Text)
            assert float(text.get_fontsize()) >= 8, text.get_text()
