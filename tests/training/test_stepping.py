"""Steps that are taken before anyone has read the numbers of those before them, as on a GPU."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from noiseprobe.core.errors import UserError
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import reopen, train_stage
from noiseprobe.training import driver, optimising
from noiseprobe.training.preparing import prepare
from noiseprobe.training.stepping import Stepper
from tests.training.test_driver import numbers, trained
from tests.training.wrong import noise_of, plant

READS = ("aten::_local_scalar_dense", "aten::item", "aten::is_nonzero")
"""What has to wait for a device."""


@pytest.fixture(autouse=True)
def fused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One kernel takes a step also here, as it does on a GPU."""
    monkeypatch.setattr(optimising, "FUSED_ON", ("cpu",))


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many steps were taken at once, each time."""
    found: list[int] = []
    together = Stepper.together

    def counted(stepper: Stepper, seen: Iterator[Any], first: int) -> Any:
        computed, read = together(stepper, seen, first)
        found.append(len(computed))
        return computed, read

    monkeypatch.setattr(Stepper, "together", counted)
    return found


class Reading(TorchDispatchMode):
    """Counts what would wait for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.name().partition(".")[0] in READS
        return func(*args, **(kwargs or {}))


def both(directory: Path, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The run with several steps at once, and with one after another."""
    config, runs = resolve(given), []
    for name, together in (("together", 16), ("single", 1)):
        monkeypatch.setattr(driver, "TOGETHER", together)
        runs.append(trained(directory / name, config))
    return runs


def assert_same(first: Run, second: Run) -> None:
    pd.testing.assert_frame_equal(numbers(first), numbers(second), check_exact=True)
    steps = first.checkpoint_steps()
    assert steps == second.checkpoint_steps()
    for step in steps:
        files = [
            {file.name: file.read_bytes() for file in run.checkpoint(step).rglob("*.safetensors")}
            for run in (first, second)
        ]
        assert files[0], step
        assert files[0] == files[1], step


def settings(given: dict[str, Any], **more: Any) -> dict[str, Any]:
    usual = {"steps": 12, "checkpoint_every": 6, "eval_every": 4, "window": 8}
    return given | usual | more


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"method": "dreambooth-lora", "gradient_accumulation": 2, "max_grad_norm": 0.01},
        {"method": "dreambooth", "track": ["paired"], "paired_every": 5},
    ],
    ids=["textual-inversion", "dreambooth-lora", "dreambooth"],
)
def test_steps_together_are_bit_for_bit_those_one_by_one(
    given: dict[str, Any],
    more: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sizes: list[int],
) -> None:
    assert_same(*both(tmp_path, settings(given, **more), monkeypatch))
    known = {4, 6, 8, 12} | ({5, 10} if "track" in more else set())
    ends = [0, *sorted(known)]
    gaps = [after - before for before, after in pairwise(ends)]
    assert sizes == [gap for gap in gaps if gap > 1]


def test_nothing_is_read_while_steps_are_under_way(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute, counts = Stepper.compute, []

    def watched(stepper: Stepper, seen: Any, step: int) -> Any:
        with Reading() as reading:
            found = compute(stepper, seen, step)
            stepper.apply(found)
        counts.append(reading.count)
        return found

    with Reading() as reading:
        torch.ones(2).sum().item()
    assert reading.count, "which is what is counted"
    monkeypatch.setattr(Stepper, "compute", watched)
    trained(tmp_path / "run", resolve(settings(given, method="dreambooth-lora")))
    assert len(counts) == 12
    assert set(counts) == {0}


@pytest.mark.parametrize("gradient", [False, True], ids=["loss", "gradient"])
def test_a_step_that_is_skipped_among_them_changes_nothing(
    given: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sizes: list[int],
    gradient: bool,
) -> None:
    asked = settings(given, on_nan="skip", eval_every=12)
    plant(monkeypatch, noise_of(resolve(asked), (3, 1), (9, 0)), gradient=gradient)
    runs = both(tmp_path, asked, monkeypatch)
    assert_same(*runs)
    trace = runs[0].train_trace().set_index("step")
    assert trace.index[trace["skipped"] > 0].tolist() == [3, 9]
    assert 3 in runs[0].checkpoint_steps(), "the weights under which that happened first"
    assert sizes == [6, 6]
    assert trace["seconds"].is_monotonic_increasing


def test_a_step_that_stops_training_among_them_leaves_the_state_before_it(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = resolve(settings(given, eval_every=12))
    whole = trained(tmp_path / "whole", config)
    with monkeypatch.context() as planted:
        plant(planted, noise_of(config, (4, 1)))
        with pytest.raises(UserError, match="the loss became nan at step 4 in sample 1"):
            trained(tmp_path / "run", config)
    run = Run.open(tmp_path / "run")
    assert (run.status["stage"], run.status["step"]) == ("training", 3)
    cut, same = reopen(run.directory, {})
    train_stage(cut, same, prepare(same))
    assert_same(cut, whole)


def test_numbers_are_read_at_each_step_where_somebody_looks_at_them(
    given: dict[str, Any], tmp_path: Path, sizes: list[int]
) -> None:
    asked = settings(given, stop="patience", watch="loss")
    del asked["window"], asked["threshold"]
    trained(tmp_path / "run", resolve(asked))
    assert sizes == []
