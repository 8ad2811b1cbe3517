"""How a training ended is read from its run directory."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noiseprobe.analysis.ending import ending_of
from noiseprobe.analysis.verdicts import of_run
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.run.traces import TRAIN_COLUMNS, write_part


def a_run(place: Path, losses: list[float], stopped_by: str | None, **given: Any) -> Run:
    """A run with these values of L_det and a checkpoint every 4 steps and at its end."""
    steps = np.arange(len(losses))
    run = Run.create(place, resolve({"steps": 20, "eval_every": 1} | given), "cpu")
    table = pd.DataFrame(
        {"step": steps, "l_det": losses, "dvar_ratio": 0.125, "seconds": steps / 2}
    )
    write_part(run.train_directory, TRAIN_COLUMNS, table.reindex(columns=list(TRAIN_COLUMNS)))
    for step in {*range(0, len(losses), 4), len(losses) - 1}:
        run.checkpoint(step).mkdir(parents=True)
    run.write_status("trained", len(losses) - 1, stopped_by)
    return run


V = [9.0, 7, 5, 3, 1, 2, 2, 2, 2]


def test_dvar_keeps_its_stop_and_says_what_it_compared(tmp_path: Path) -> None:
    # var(1, 2, 2) / var(all 7) = 0.03; one step earlier it is 0.08.
    found = ending_of(a_run(tmp_path / "run", V[:7], "dvar", window=3, threshold=0.05))
    assert (found.steps, found.most, found.seconds) == (6, 20, 3.0)
    assert found.fired == {"dvar": 6}
    assert found.take == str(tmp_path / "run" / "checkpoints" / "step-00000006")
    assert found.take_why == "where it stopped"
    assert "L_det over the last 3 steps was 0.125 times that over all, below 0.05" in found.why


@pytest.mark.parametrize(
    ("best", "said"), [(4, "of the best of l_det, step 4"), (3, "nearest to the best")]
)
def test_a_criterion_that_keeps_a_best_keeps_the_checkpoint_nearest_to_it(
    tmp_path: Path, best: int, said: str
) -> None:
    losses = [9.0, 7, 5, 1 if best == 3 else 3, 1, 2, 2, 2, 2]
    given = {"stop": "patience", "param": [f"patience={8 - best}"]}
    found = ending_of(a_run(tmp_path / "run", losses, "patience", **given))
    assert found.take == str(tmp_path / "run" / "checkpoints" / "step-00000004")
    assert found.take_why.startswith(said)
    assert "Patience(patience=" in found.why


def test_without_a_stop_the_last_checkpoint_is_taken(tmp_path: Path) -> None:
    found = ending_of(a_run(tmp_path / "run", V, "steps", stop="none", steps=8, window=99))
    assert (found.why, found.fired, found.take_why) == ("", {"dvar": None}, "of the last step")
    assert found.cannot_fire[0].startswith("DVAR(window=99")


@pytest.mark.parametrize("stopped_by", ["interrupt", None])
def test_a_training_that_may_go_on_has_no_checkpoint_to_take_yet(
    tmp_path: Path, stopped_by: str | None
) -> None:
    found = ending_of(a_run(tmp_path / "run", V, stopped_by))
    assert found.take is None
    verdict = of_run(found, pd.DataFrame(columns=["noise_to_signal", "low", "high"]), 0)
    assert verdict.sentences[-1] == "Training is at step 8 of at most 20, and may go on."
    assert verdict.next == f"noiseprobe run --out {tmp_path / 'run'} --resume"
