"""Variants of a recorded run, and the table over many."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noiseprobe.analysis.comparison import (
    UnfinishedRunWarning,
    raw_numbers,
    table,
)
from noiseprobe.analysis.stops import few_iterations, stops
from noiseprobe.cli.tables import latex, markdown, plain, records
from noiseprobe.cli.text_runs import comparison_text
from noiseprobe.core import manifest
from noiseprobe.core.errors import UserError
from noiseprobe.core.files import written_whole
from noiseprobe.run.directory import Run, find_runs
from noiseprobe.run.resolving import resolve
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.traces import METRICS_COLUMNS, TRAIN_COLUMNS, write_part

STEPS = 12


def settings(**more: Any) -> RunConfig:
    given = {
        "window": 3,
        "threshold": 0.1,
        "patience": 2,
        "eps": 0.01,
        "eval_every": 1,
        "steps": STEPS,
        "stop": "none",
    }
    return resolve({"concept": "banded-cup"} | given | more)


def trace(plateau: int = 6, checked: bool = True) -> pd.DataFrame:
    """L_det and the CLIP similarity change up to the step `plateau`, and not from there on.

    A step takes 10 s: 1 s of that is L_det's, 3 s those of a check, which is made at every other.
    """
    steps = np.arange(STEPS + 1)
    reached = np.minimum(steps, plateau)
    frame = pd.DataFrame({"step": steps, "l_det": 1.0 - reached / 10}).reindex(
        columns=[*TRAIN_COLUMNS]
    )
    frame["clip_img"] = np.where((steps % 2 == 0) & checked, reached / 10, np.nan)
    frame["seconds"], frame["l_det_seconds"] = steps * 10.0, steps * 1.0
    frame["check_seconds"] = steps // 2 * 3.0 * checked
    return frame.astype(TRAIN_COLUMNS)


def test_each_rule_ends_the_run_where_its_definition_says() -> None:
    found = stops(trace(), settings(), few=4.4)
    assert list(found) == ["baseline", "clip", "few", "dvar"]
    assert (found["baseline"].step, found["baseline"].fired) == (12, False)
    # Checks at 0, 2, 4, 6 gain; those at 8 and 10 do not.
    assert (found["clip"].step, found["clip"].fired) == (10, True)
    assert found["few"].step == 4
    # The first three equal values are those at 6, 7 and 8.
    l_det = trace()["l_det"].to_numpy()
    ratios = [np.var(l_det[k - 2 : k + 1]) / np.var(l_det[: k + 1]) for k in range(2, 13)]
    assert found["dvar"].step == 2 + next(k for k, ratio in enumerate(ratios) if ratio < 0.1)


def test_a_variant_pays_for_its_own_rule_and_for_no_other() -> None:
    found = stops(trace(), settings(), few=4)
    assert found["baseline"].seconds == 120 - 12 - 18
    assert found["clip"].seconds == 100 - 10
    assert found["few"].seconds == 40 - 4 - 6
    assert found["dvar"].seconds == found["dvar"].step * 10 - found["dvar"].step // 2 * 3


def test_a_rule_that_never_fires_takes_all_steps() -> None:
    found = stops(trace(plateau=STEPS), settings(threshold=1e-3))
    assert [found[name].step for name in ("clip", "dvar")] == [STEPS, STEPS]
    assert not found["clip"].fired
    assert not found["dvar"].fired


def test_few_iterations_is_the_average_of_the_clip_rule() -> None:
    runs = {"a": (trace(2), settings()), "b": (trace(6), settings())}
    assert few_iterations(runs) == np.mean([6, 10])
    with pytest.raises(UserError, match="'c' has no CLIP checks; train it with --checks"):
        few_iterations({"c": (trace(checked=False), settings())})


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    """Two concepts, whose similarity at a step is the step over 100, and over 50."""
    made = []
    for name, plateau, scale in (("banded-cup", 2, 100), ("patched-dog", 6, 50)):
        run = Run.create(tmp_path / name, settings(concept=name, method="dreambooth-lora"), "cpu")
        write_part(run.train_directory, TRAIN_COLUMNS, trace(plateau))
        for step in range(0, STEPS + 1):
            run.checkpoint(step).mkdir(parents=True)
            rows = [
                {"step": step, "metric": metric, "value": step / scale}
                for metric in ("train_clip_img", "val_clip_img", "val_clip_txt")
            ]
            write_part(run.metrics_directory, METRICS_COLUMNS, rows)
        made.append(run)
    return made


def test_the_table_is_the_mean_over_concepts(runs: list[Run]) -> None:
    raw = raw_numbers(runs)
    assert list(raw.groupby("variant").size()) == [2, 2, 2, 2]
    summary = table(raw).set_index("variant")
    assert summary.loc["baseline", "val_clip_img"] == pytest.approx((12 / 100 + 12 / 50) / 2)
    assert summary.loc["clip", "step"] == 8
    assert summary.loc["few", "step"] == 8
    assert summary.loc["clip", "train_clip_img"] == pytest.approx((6 / 100 + 10 / 50) / 2)
    assert summary.loc["clip", "speedup"] == pytest.approx(2 * 90 / (60 - 6 + 100 - 10))
    assert summary.loc["baseline", "speedup"] == 1
    low, high = summary.loc["clip", ["step_low", "step_high"]]
    assert (low, high) == (6, 10)


def test_every_format_holds_every_row(runs: list[Run]) -> None:
    summary = table(raw_numbers(runs))
    for text in (comparison_text(summary, write) for write in (markdown, latex, plain)):
        for name in ("Baseline", "CLIP-s", "Few iterations", "DVAR"):
            assert text.count(name) == 1
    assert len(records(summary)) == 4


def test_what_was_not_measured_is_missing_not_zero(runs: list[Run]) -> None:
    for run in runs:
        for part in run.metrics_directory.glob("*.parquet"):
            part.unlink()
    summary = table(raw_numbers(runs))
    assert summary["val_clip_img"].isna().all()
    assert "| - |" in comparison_text(summary, markdown)
    assert records(summary)[0]["val_clip_img"] is None


@pytest.mark.parametrize("left", [[], [STEPS]])
def test_metrics_outlive_the_checkpoints(runs: list[Run], left: list[int]) -> None:
    before = raw_numbers(runs)
    for run in runs:
        for step in set(run.checkpoint_steps()) - set(left):
            run.checkpoint(step).rmdir()
    pd.testing.assert_frame_equal(raw_numbers(runs), before)


def test_the_nearest_measured_step_stands_for_a_deleted_checkpoint(runs: list[Run]) -> None:
    run = runs[0]
    for step in run.checkpoint_steps():
        run.checkpoint(step).rmdir()
    for step in set(range(STEPS + 1)) - {4, 8}:
        (run.metrics_directory / f"part-{step:08d}.parquet").unlink()
    assert [run.nearest_checkpoint(step) for step in (0, 6, 7, STEPS)] == [4, 4, 8, 8]
    shutil.rmtree(run.metrics_directory)
    assert run.nearest_checkpoint(7) == 7


@pytest.mark.parametrize("left", [0, 4, 300])
@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize(
    ("trace", "mend"),
    [
        ("train", "what can be made again, this prepares: noiseprobe verify {0} --repair"),
        ("probe", "this evaluates it anew: noiseprobe probe {0}"),
        ("sobol", "this evaluates it anew: noiseprobe probe {0} --design sobol"),
        ("metrics", "this measures it anew: noiseprobe measure {0} --steps STEP"),
    ],
)
def test_a_damaged_part_is_named_with_its_mend(
    runs: list[Run], trace: str, mend: str, left: int, listed: bool
) -> None:
    run = runs[0]
    part = run.directory / "traces" / trace / "part-00000000.parquet"
    whole = (run.train_directory / "part-00000000.parquet").read_bytes()
    with written_whole(part) as beside:
        beside.write_bytes(whole)
    if not listed:  # as of a version before there was a list
        (run.directory / manifest.NAME).unlink(missing_ok=True)
    part.write_bytes(whole[:left])
    with pytest.raises(UserError) as caught:
        getattr(run, f"{trace}_trace")()
    told = str(caught.value)
    assert told.startswith(f"'{part}' is damaged")
    assert told.endswith(f"; {mend.format(run.directory)}")
    assert ("written with" in told) == listed


def test_a_part_of_another_table_is_damaged(runs: list[Run]) -> None:
    run = runs[0]
    part = run.metrics_directory / "part-00000000.parquet"
    pd.DataFrame({"step": ["one"]}).to_parquet(part)
    with pytest.raises(UserError, match=r"part-00000000\.parquet' is damaged"):
        raw_numbers(runs)


def test_a_run_that_never_trained_is_left_out_by_name(
    runs: list[Run], tmp_path: Path, call: Any
) -> None:
    whole = raw_numbers(runs)
    made = [
        Run.create(tmp_path / name, settings(method="dreambooth-lora"), "cpu")
        for name in ("begun", "too")
    ]
    with pytest.warns(UnfinishedRunWarning, match=r"left out: '.*begun' has no L_det"):
        pd.testing.assert_frame_equal(raw_numbers([made[0], *runs]), whole)
    with pytest.raises(UserError, match=r"begun' has no L_det .* \(and 1 more like it\)"):
        raw_numbers(made)
    code, out, err = call("table", tmp_path)
    assert code == 0
    assert "DVAR" in out
    assert err.count("warning: left out") == 2
    code, _, err = call("table", made[0].directory)
    assert code == 2
    again = f"noiseprobe train --out {made[0].directory} --resume"
    assert (
        err == f"noiseprobe: '{made[0].directory}' has no L_det recorded yet; go on with {again}\n"
    )


def test_runs_are_found_at_any_depth(runs: list[Run], tmp_path: Path) -> None:
    found = find_runs([tmp_path, runs[0].directory])
    assert {run.directory for run in found} == {run.directory for run in runs}
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no run"):
        find_runs([tmp_path / "empty"])
