"""Traces of one origin count as one: copies change no mean, no interval and no choice."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noiseprobe.analysis.origins import grouped
from noiseprobe.analysis.regret import Judged, paired, regret, summary
from noiseprobe.analysis.sources import judged_losses
from noiseprobe.analysis.tuning import best_parameters, tune
from noiseprobe.core.errors import UserError
from noiseprobe.logs import Series

GRIDS = {"fixed": {"steps": (4, 8, 12, 16, 20)}}
CRITERIA = {"fixed": {"steps": 10}, "dvar": {"window": 5}, "patience": {"patience": 3}}


def judged(best: int, name: str, origin: str = "") -> Judged:
    """Losses, and a judge that is the lower the nearer the step is to `best`."""
    steps = np.arange(31, dtype=np.int64)
    losses = np.exp(-steps / 5) + 0.01 * np.random.default_rng(best).normal(size=31)
    judge = np.abs(steps - best).astype(np.float64)
    judge_series = Series(name, steps, judge, "judge")
    return Judged(Series(name, steps, losses, "loss"), judge_series, False, origin=origin)


SINGLE = [judged(best, f"run-{best}") for best in (4, 9, 15, 17, 19, 22, 25)]
COPIES = [judged(25, f"copy-{place}", "run-25") for place in range(30)]


def test_copies_change_nothing_but_the_number_of_traces() -> None:
    plain, copied = (regret(traces, CRITERIA) for traces in (SINGLE, [*SINGLE, *COPIES]))
    for table in (summary, paired):
        alone, beside = table(plain), table(copied)
        assert (alone["traces"].tolist(), beside["traces"].tolist()) == (
            [7] * len(alone),
            [37] * len(alone),
        )
        assert beside["origins"].tolist() == alone["origins"].tolist() == [7] * len(alone)
        rest = [name for name in alone if name not in ("traces", "could_fire")]
        pd.testing.assert_frame_equal(beside[rest], alone[rest], rtol=1e-12)
    # Taken for independent, they would make the interval narrower, and move the mean to their own.
    naive = summary(copied.drop(columns="origin"))
    width = [(table["regret_high"] - table["regret_low"])[0] for table in (naive, summary(plain))]
    assert width[0] < 0.7 * width[1]


def test_an_interval_over_origins_is_the_bootstrap_of_their_means() -> None:
    values = {"a": (0.1, 0.3), "b": (0.5,), "c": (0.2, 0.9, 1.0), "d": (0.4,)}
    rows = [
        {"trace": f"{origin}{place}", "origin": origin, "criterion": "fixed", "fired": True}
        | {"could_fire": True, "regret": value, "kept_regret": value, "steps_spent": 1.0}
        for origin, own in values.items()
        for place, value in enumerate(own)
    ]
    (row,) = summary(pd.DataFrame(rows), seed=3).to_dict("records")
    means = np.array([np.mean(own) for own in values.values()])
    assert row["regret"] == pytest.approx(means.mean())
    drawn = np.random.default_rng(1).integers(0, 4, (40_000, 4))
    low, high = np.percentile(means[drawn].mean(axis=1), [2.5, 97.5])
    assert (row["regret_low"], row["regret_high"]) == pytest.approx((low, high), abs=0.01)
    assert (row["traces"], row["origins"]) == (7, 4)


def test_parameters_are_never_chosen_on_a_trace_of_the_same_origin() -> None:
    # For the trace that is best at 4, its own copies would choose 4 steps; the others choose 16.
    traces = [judged(4, "one"), judged(4, "copy", "one"), judged(15, "b"), judged(15, "c")]
    raw = tune(traces, ["fixed"], grids=GRIDS)
    chosen = {row["trace"]: json.loads(row["params"])["steps"] for row in raw.to_dict("records")}
    assert (chosen["one"], chosen["copy"]) == (16, 16)
    for seed in range(20):
        reported = set(tune(traces, ["fixed"], 0.5, grids=GRIDS, seed=seed)["trace"])
        assert {"one", "copy"} <= reported or reported.isdisjoint({"one", "copy"})


def test_copies_have_one_vote_in_a_choice() -> None:
    alone = best_parameters(SINGLE, ["fixed", "patience"], grids=GRIDS)
    assert best_parameters([*SINGLE, *COPIES], ["fixed", "patience"], grids=GRIDS) == alone
    asked = [judged(4, "first"), *SINGLE[1:], *COPIES]
    raw = tune(asked, ["fixed"], grids=GRIDS)
    without = tune(asked[:7], ["fixed"], grids=GRIDS)
    assert raw["params"][0] == without["params"][0]


def test_one_origin_leaves_nothing_to_choose_on() -> None:
    traces = [judged(4, "a"), judged(9, "b", "a")]
    with pytest.raises(UserError, match="all 2 traces are of one origin, one folder or the same"):
        tune(traces, ["fixed"])
    with pytest.raises(UserError, match=r"0 of 1 origins to choose on \(2 traces"):
        tune(traces, ["fixed"], 0.4)


def test_groups_are_joined_by_any_mark_and_through_others() -> None:
    assert grouped([["a"], ["b"], ["a", "b"], [], ["c"], []]) == [0, 0, 0, 3, 4, 5]
    assert grouped([]) == []
    random = np.random.default_rng(0)
    marks = [[int(mark) for mark in random.integers(0, 40, 2)] for _ in range(30)]
    reached = np.eye(30, dtype=bool) | np.array([[bool({*a} & {*b}) for b in marks] for a in marks])
    closed = np.linalg.matrix_power(reached.astype(float), 30) > 0
    assert grouped(marks) == [int(np.argmax(row)) for row in closed]


def table(path: Path, best: int) -> Path:
    steps = np.arange(40)
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"step": steps, "loss": np.exp(-steps / 9), "val_loss": 1 + abs(steps - best) / 40}
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_the_same_folder_or_the_same_bytes_are_one_origin(call: Any, tmp_path: Path) -> None:
    first = table(tmp_path / "a" / "log.csv", 10)
    logs = [first, table(tmp_path / "a" / "again.csv", 12), table(tmp_path / "b" / "log.csv", 20)]
    copy = tmp_path / "elsewhere" / "renamed.csv"
    copy.parent.mkdir()
    shutil.copy(logs[1], copy)
    logs.append(copy)
    origins = {each.name: each.origin for each in judged_losses(logs, "val_loss", "loss", None)}
    assert origins == {str(log): str(first) for log in (*logs[:2], copy)} | {
        str(logs[2]): str(logs[2])
    }
    given = ["regret", *logs, "--judge", "val_loss", "--tag", "loss", "--criterion", "patience"]
    document = json.loads(call(*given, "--tune", "leave-one-out", "--json")[1])
    assert document["origins"] == 2
    assert [(row["traces"], row["origins"]) for row in document["summary"]] == [(4, 2)] * 2
    assert {row["origin"] for row in document["traces"]} == {str(first), str(logs[2])}
    text = " ".join(call(*given, "--tune", "leave-one-out")[1].split())
    assert "The 4 traces are of 2 origins: those of one folder or the same bytes count" in text
    assert "means over 2 origins of 4 traces" in text
    code, out, err = call(*given[:3], *given[5:], "--tune", "leave-one-out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "all 2 traces are of one origin" in err
