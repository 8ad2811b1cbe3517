"""The study of criteria: traces come back as written, and its tables say what they hold."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.criteria.any_log import WINDOWED, Tried, best, halves, thinned
from experiments.criteria.collect import judged_by_method
from experiments.criteria.fresh import CONCEPTS, things
from experiments.criteria.report import Tables, report
from experiments.tiny_sd.concepts import every
from noiseprobe.analysis.tuning import tune
from noiseprobe.stopping import CRITERIA, ON_MEANS
from noiseprobe.stopping.window import shown_window


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
    names = list(ON_MEANS)
    grids = {
        name: {key: values[:1] for key, values in CRITERIA[name].grid.items()} for name in names
    }
    tables = Tables.of(
        {
            method: tune(runs, names, grids=grids, min_gain=0.02)
            for method, runs in judged_by_method(traces).items()
        }
    )
    text = report(tables, tables)
    for name in names:
        assert text.count(f"| {name} |") == 6
    assert text.count("8 runs, 0 left out.") == 2


def test_the_fresh_things_are_none_of_those_that_anything_was_chosen_on() -> None:
    new, old = things(), every()
    assert len({thing.name for thing in new}) == len(new) == CONCEPTS
    photographs = {thing.photographs().tobytes() for thing in old}
    assert not any(thing.photographs().tobytes() in photographs for thing in new)


def test_the_committed_traces_are_those_of_all_runs() -> None:
    by_method = judged_by_method(Path(__file__).parents[2] / "experiments/criteria/traces.parquet")
    assert {method: len(runs) for method, runs in by_method.items()} == {
        "textual-inversion": 48,
        "dreambooth-lora": 48,
        "custom-diffusion": 48,
        "dreambooth": 12,
    }


def test_the_committed_fresh_traces_are_those_of_all_fresh_things() -> None:
    by_method = judged_by_method(Path(__file__).parents[2] / "experiments/criteria/fresh.parquet")
    names = {f"{method}/{thing.name}" for method in by_method for thing in things()}
    assert len(by_method) == 3
    assert {judged.name for runs in by_method.values() for judged in runs} == names


def test_a_share_is_chosen_that_fires_often_enough_with_the_least_regret() -> None:
    found = {
        0.2: Tried(fires=(1.0, 0.9), regret=(0.9, 0.7)),
        0.4: Tried(fires=(0.8, 0.5), regret=(0.6, 0.8)),
        0.6: Tried(fires=(0.9, 0.4), regret=(0.1, 0.1)),
    }
    assert best(found) == 0.4
    assert best({0.2: Tried((0.3, 0.1), (0, 0)), 0.4: Tried((0.2, 0.2), (1, 1))}) == 0.4


def test_halves_share_no_concept_and_a_thinned_run_keeps_its_judge(traces: Path) -> None:
    by_method = judged_by_method(traces)
    first, second = halves(by_method)
    assert len(first) == len(second) == 4
    assert {run.origin for run in first}.isdisjoint({run.origin for run in second})
    sparse = thinned(first[0], 10)
    assert sparse.trace.steps.tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert sparse.trace.values.tolist() == first[0].trace.values[::10].tolist()
    assert sparse.judge is first[0].judge


def test_the_shares_that_criteria_have_are_those_that_the_study_chose() -> None:
    folder = Path(__file__).parents[2] / "experiments/criteria"
    text = (folder / "RESULTS.md").read_text(encoding="utf-8").split("## Windows for any log")[1]
    for name in WINDOWED:
        (row,) = [
            line
            for line in text.split(f"### {name}\n")[1].split("###")[0].splitlines()
            if line.endswith("| chosen |")
        ]
        share = row.split("|")[1].strip()
        assert share == shown_window(CRITERIA[name].scale_free["window"])
