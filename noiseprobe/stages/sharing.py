"""Checkpoints that are evaluated by several processes at once, on this machine or a cluster.

Each has a model of its own and evaluates one checkpoint after the other, into a file beside the
run; the process that holds the run puts what they found into its trace.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from noiseprobe.core.errors import Interrupted, UserError
from noiseprobe.core.files import remove, written_whole
from noiseprobe.core.progress import Reporter, Silent
from noiseprobe.draws.draws import Stream
from noiseprobe.run.directory import Run
from noiseprobe.run.settings import RunConfig
from noiseprobe.stages.workers import Engine
from noiseprobe.training.preparing import Personalization, prepare

FOLDER = ".probing"
"""In the run, where processes leave what they found: on a cluster, all of them reach it."""


@dataclass(frozen=True)
class Sharing:
    """How many processes share the checkpoints, of how many threads each, and what starts them."""

    engine: Engine
    workers: int | None
    threads: int

    def __call__(
        self,
        run: Run,
        config: RunConfig,
        of: str,
        plans: Mapping[int, Any],
        keep: Callable[[int, pd.DataFrame], None],
        reporter: Reporter,
        again: str,
    ) -> None:
        """Evaluate the plan of each step, and `keep` what was found.

        Raises:
            UserError: a process failed; what others found is kept.
            Interrupted: on Ctrl-C, in the same way.
        """
        folder = run.directory / FOLDER
        remove(folder)  # what a killed process left
        folder.mkdir()
        files = {step: folder / f"checkpoint-{step}" for step in plans}
        jobs: dict[Path, tuple[Any, ...]] = {
            file: (evaluate_into, file, run.directory, config, of, step, plans[step])
            for step, file in files.items()
        }
        failed, stopped = {}, False
        try:
            failed = self.engine("probing", jobs, self.workers, self.threads, reporter)
        except Interrupted:
            stopped = True
        done = {step: file for step, file in files.items() if file.is_file()}
        for step, file in done.items():
            keep(step, pd.read_parquet(file))
        remove(folder)
        if stopped:
            raise Interrupted(
                f"probing stopped after {len(done)} of {len(plans)} checkpoints; go on with {again}"
            )
        if failed:
            raise UserError(next(iter(failed.values())))


def evaluate_into(
    file: Path, directory: Path, config: RunConfig, of: str, step: int, plan: Any
) -> None:
    """Evaluate a plan at a checkpoint of the run in `directory`, and write what was found."""
    from noiseprobe.stages.probing import Evaluation

    run, ready = _opened(directory, config)
    objective = ready.held_out if of == "held-out" else ready.objective
    assert objective is not None
    stream: Stream = "held-out" if of == "held-out" else "probe"
    draws = objective.draws(config.seed, stream, len(ready.method.captions))
    ready.method.restore(run.checkpoint(step))
    found = Evaluation(run, objective, ready.method, draws, config, of, Silent())(plan, step)
    with written_whole(file) as beside:
        found.to_parquet(beside, index=False)


@lru_cache(maxsize=1)
def _opened(directory: Path, config: RunConfig) -> tuple[Run, Personalization]:
    """The run and its model, which a process loads once."""
    run = Run.open(directory)
    return run, prepare(config, run)
