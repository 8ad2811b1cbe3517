"""MLflow's file store: a folder for each run, in it a file of `timestamp value step` per metric.

A run is `mlruns/EXPERIMENT/RUN` with `meta.yaml` and `metrics/`; a name with slashes is a file in
folders (mlflow/store/tracking/file_store.py).
"""

from pathlib import Path

from noiseprobe.core.errors import UserError
from noiseprobe.logs.content import content_of
from noiseprobe.logs.log import one_line
from noiseprobe.logs.long import pivoted
from noiseprobe.logs.table import Table

KIND = "MLflow"


def is_mlflow_run(folder: Path) -> bool:
    """Whether the folder is a run of MLflow's file store that recorded a metric."""
    return (folder / "meta.yaml").is_file() and bool(metric_files(folder))


def metric_files(folder: Path) -> list[Path]:
    """The files of the metrics of a run, by name."""
    return sorted(path for path in (folder / "metrics").rglob("*") if path.is_file())


def read_mlflow(path: Path) -> Table:
    """The metrics of the run in the folder `path`, in the order of their time.

    A line without a step, as the first versions wrote them, has step 0.

    Raises:
        UserError: a line is none of `timestamp value step`.
    """
    rows = []
    for file in metric_files(path):
        name = file.relative_to(path / "metrics").as_posix()
        text = content_of(file).decode("utf-8", "replace")
        for number, line in enumerate(text.splitlines(), start=1):
            cells = line.split()
            if not cells:
                continue
            try:
                time, value = int(cells[0]), float(cells[1])
                step = int(cells[2]) if len(cells) > 2 else 0
            except (ValueError, IndexError):
                raise UserError(
                    f"{file}, line {number}: {one_line(line)!r} is not `timestamp value step`; "
                    "mend the line"
                ) from None
            rows.append((time, step, name, value, f"line {number} of {name}"))
    rows.sort(key=lambda row: row[0])
    return pivoted(
        path,
        KIND,
        [name for _, _, name, _, _ in rows],
        [step for _, step, *_ in rows],
        [value for _, _, _, value, _ in rows],
        lambda row: rows[row][4],
    )
