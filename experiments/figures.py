"""Draw the figures that the README shows, from the default run on the bundled model and concept.

    python -m experiments.figures

The run is kept in `runs/figures`; where it is already there, only the figures are drawn again.
"""

from pathlib import Path

from noiseprobe.core.files import written_whole
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import resume_all, run_all

RUN = Path("runs") / "figures"
FIGURES = Path(__file__).parents[1] / "figures"


def main() -> None:
    """Run, draw, copy into `figures/`."""
    begun = (RUN / "config.toml").is_file()
    summary = resume_all(RUN) if begun else run_all(resolve({}), RUN)
    for drawn in map(Path, summary["figures"]):
        with written_whole(FIGURES / drawn.name) as beside:
            beside.write_bytes(drawn.read_bytes())


if __name__ == "__main__":
    main()
