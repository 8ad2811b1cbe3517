"""Several processes train one run: the same numbers as of one, also going on with fewer."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from noiseprobe.core.progress import stop_request
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.run.verifying import findings
from noiseprobe.stages.pipeline import start, train_stage
from noiseprobe.training.team import Team

pytestmark = pytest.mark.long


def launched(processes: int, *words: object) -> "subprocess.CompletedProcess[str]":
    """A command in several processes, started together."""
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "-m", "noiseprobe"]
    quick = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launch, *map(str, words)]
    return subprocess.run(command, env=quick, capture_output=True, text=True)


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("count", [0, 1, 3, 8])
def test_each_row_is_one_process_s(processes: int, count: int) -> None:
    shares = [Team(rank, processes).share(count) for rank in range(processes)]
    assert [row for share in shares for row in range(count)[share]] == list(range(count))
    assert max(s.stop - s.start for s in shares) - min(s.stop - s.start for s in shares) <= 1


def test_four_processes_and_then_two_train_as_one(given: dict[str, Any], tmp_path: Path) -> None:
    """Of a batch of three, one of four processes has no row."""
    more = {
        **{"method": "dreambooth", "train_batch_size": 3, "gradient_accumulation": 2},
        **{"prior": True, "num_class_images": 2, "sampling_steps": 1, "train_text_encoder": True},
        **{"hold_out": "1", "watch": "l_val", "keep": "best", "track": ["paired", "recent"]},
        **{"paired_every": 1, "recent_steps": 4, "steps": 8},
        **{"checks": True, "check_every": 4, "samples": 2, "clip": "tiny-clip"},
    }
    settings = given | more
    (tmp_path / "settings.toml").write_text(tomli_w.dumps(settings))
    run, ready = start(resolve(settings), tmp_path / "alone")
    train_stage(run, ready.config, ready)
    expected = run.train_trace()

    out = ("--out", tmp_path / "together")
    begun = launched(4, "train", "--config", tmp_path / "settings.toml", "--steps", 4, *out)
    assert begun.returncode == 0, begun.stderr
    gone_on = launched(2, "train", "--resume", "--steps", 8, *out)
    assert gone_on.returncode == 0, gone_on.stderr
    assert gone_on.stdout.count("Take the checkpoint") == 1, "one of them speaks"

    together = Run(tmp_path / "together")
    found = together.train_trace()
    told = [name for name in expected if not str(name).endswith("seconds")]
    wanted = pytest.approx(expected[told].to_numpy(), rel=1e-4, abs=1e-6, nan_ok=True)
    assert found[told].to_numpy() == wanted
    assert (found["l_det"] - expected["l_det"]).abs().max() < 1e-6
    assert together.checkpoint_steps() == run.checkpoint_steps()
    assert [each for each in findings(together) if each.wrong] == []


def test_what_one_process_must_do_is_refused_by_one_of_them(tmp_path: Path) -> None:
    refused = launched(2, "train", "--hold-out", 1, "--refit", "--out", tmp_path / "run")
    assert refused.returncode != 0
    lines = [line for line in refused.stderr.splitlines() if line.startswith("noiseprobe: ")]
    assert len(lines) == 1
    assert lines[0].startswith("noiseprobe: --refit: ")
    assert not (tmp_path / "run").exists()


def test_a_signal_that_a_launcher_passes_on_once_more_interrupts_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would come while the state is being saved."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setenv("LOCAL_RANK", "0")
    try:
        with stop_request() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.is_set()
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)  # while the others end
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    monkeypatch.delenv("LOCAL_RANK")
    with stop_request():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
