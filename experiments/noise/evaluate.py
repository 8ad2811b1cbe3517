"""The Sobol design at the probed checkpoints of a run."""

from pathlib import Path

from noiseprobe.config import RunConfig
from noiseprobe.personalization import prepare
from noiseprobe.probing import probe_design
from noiseprobe.run import Run
from noiseprobe.sweep import train_one


def evaluate_run(directory: Path, config: RunConfig, every: int) -> None:
    """Evaluate the design at every `every` steps of the run, trained now if it is not."""
    train_one(directory, config, every)
    run = Run.open(directory)
    steps = [step for step in run.checkpoint_steps() if step % every == 0]
    ready = prepare(run.config, run)
    probe_design(run, ready.objective, ready.method, run.config, steps=steps)
