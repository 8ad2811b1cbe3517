"""`noiseprobe analyze` and the figures it draws: what they say, and what they say is missing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noiseprobe.analysis import (
    correlations,
)
from noiseprobe.draws.factors import FACTORS
from noiseprobe.plots import plot_correlation
from noiseprobe.run.directory import Run
from noiseprobe.run.settings import RunConfig
from tests.analysis.test_correlation import EMPTY, train

FIGURES = {"7-shares", "8-needed-batch", "9-loss-by-timestep"}


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


def test_an_interval_stands_behind_a_single_correlation() -> None:
    table = correlations(train(40), EMPTY).loc[["l_det"]]
    axes = plot_correlation(table)
    ends = [list(np.asarray(line.get_xdata(), dtype="float64")) for line in axes.lines]
    assert [table.loc["l_det", "low"], table.loc["l_det", "high"]] in ends
