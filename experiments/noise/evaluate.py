"""Settings and Sobol design at some checkpoints of a run, under draws of the concept's own.

Under one seed all concepts would share their draws, and an interval over concepts would not tell of
what these happened to be.
"""

from pathlib import Path

from noiseprobe.run.directory import Run
from noiseprobe.run.settings import RunConfig
from noiseprobe.stages.probing import probe, probe_design
from noiseprobe.stages.sweep import train_one
from noiseprobe.training.preparing import prepare

REPLICATES = 8  # redraws of each setting


def evaluate_run(directory: Path, config: RunConfig, every: int, seed: int, place: Path) -> None:
    """Evaluate every `every` steps of the run, trained now if it is not, into a run at `place`.

    That run has the checkpoints of the first, and `seed` for its draws.
    """
    train_one(directory, config, 0)
    changes = {"seed": seed, "replicates": REPLICATES}
    if not (place / "config.toml").is_file():
        Run.create(place, Run.open(directory).config.model_copy(update=changes), config.device)
    run = Run.open(place)
    if not run.checkpoints_directory.exists():
        run.checkpoints_directory.symlink_to(Run.open(directory).checkpoints_directory.resolve())
    steps = [step for step in run.checkpoint_steps() if step % every == 0]
    ready = prepare(run.config, run)
    probe(run, ready.objective, ready.method, run.config, steps=steps)
    probe_design(run, ready.objective, ready.method, run.config, steps=steps)
