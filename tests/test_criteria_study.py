"""The study of criteria: traces come back as written, and its tables say what they hold."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.criteria.collect import judged_by_method
from experiments.criteria.report import groups, report
from noiseprobe.regret import paired
from noiseprobe.stopping import CRITERIA
from noiseprobe.tuning import tune


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    steps = np.arange(0, 61)
    tables = []
    for method in ("textual-inversion", "dreambooth"):
        for seed in range(4):
            random = np.random.default_rng(seed)
            l_det = np.exp(-steps / (5 + seed)) + random.normal(0, 0.01, len(steps))
            similarity = 0.5 - 0.3 * np.exp(-steps / 20) + random.normal(0, 0.01, len(steps))
            rows = {"step": steps, "loss": np.nan, "l_det": l_det}
            rows |= {"clip_img": np.where(steps % 5 == 0, similarity, np.nan)}
            tables.append(pd.DataFrame({"method": method, "concept": f"c{seed}"} | rows))
    file = tmp_path / "traces.parquet"
    pd.concat(tables).to_parquet(file)
    return file


def test_each_run_has_its_losses_and_the_checks_that_were_made(traces: Path) -> None:
    by_method = judged_by_method(traces)
    assert {method: len(runs) for method, runs in by_method.items()} == {
        "textual-inversion": 4,
        "dreambooth": 4,
    }
    first = by_method["textual-inversion"][0]
    assert first.trace.steps.tolist() == list(range(61))
    assert first.judge.steps.tolist() == list(range(0, 61, 5))
    assert first.maximize


def test_the_report_has_a_row_per_criterion_and_group(traces: Path) -> None:
    names = list(CRITERIA)
    grids = {
        name: {key: values[:1] for key, values in CRITERIA[name].grid.items()} for name in names
    }
    raw = pd.concat(
        [
            tune(runs, names, grids=grids, min_gain=0.02).assign(method=method)
            for method, runs in judged_by_method(traces).items()
        ],
        ignore_index=True,
    )
    differences = pd.concat(
        [paired(rows).assign(method=method) for method, rows in groups(raw).items()]
    )
    text = report(raw, differences)
    for name in names:
        assert text.count(f"| {name} |") == 3
    assert "8 runs, 0 left out." in text


def test_the_committed_traces_are_those_of_all_runs() -> None:
    by_method = judged_by_method(Path(__file__).parents[1] / "experiments/criteria/traces.parquet")
    assert {method: len(runs) for method, runs in by_method.items()} == {
        "textual-inversion": 48,
        "dreambooth-lora": 48,
        "custom-diffusion": 48,
        "dreambooth": 12,
    }
