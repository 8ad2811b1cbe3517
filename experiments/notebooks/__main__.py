"""Execute the notebooks and write them, with what they show, to docs/notebooks.

    python -m experiments.notebooks
    python -m experiments.notebooks --small --out /tmp/notebooks

With `--small` their runs take a few steps (the environment variable NOISEPROBE_SMALL).
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from noiseprobe.core.files import written_whole

HERE = Path(__file__).parent
NAMES = ("seed_experiment", "my_photographs", "somebodys_log", "tracker_in_a_loop")
TIMEOUT = 900


def main() -> None:
    """Execute and write."""
    parser = argparse.ArgumentParser(description="Execute the notebooks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "docs" / "notebooks")
    chosen = parser.parse_args()
    for name in chosen.names or NAMES:
        with written_whole(chosen.out / f"{name}.ipynb") as beside:
            beside.write_text(nbformat.writes(executed(name, chosen.small)), encoding="utf-8")


def executed(name: str, small: bool = False) -> Any:
    """A notebook with its outputs; raises where a cell fails. It runs in a folder of its own."""
    notebook = nbformat.v4.new_notebook(cells=cells(HERE / f"{name}.py"))
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # else by chance
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata["kernelspec"] = kernel
    quiet = {"NOISEPROBE_SMALL": "1" if small else "", "TQDM_DISABLE": "1"}
    before = {key: os.environ.get(key) for key in quiet}
    os.environ.update(quiet)
    try:
        with tempfile.TemporaryDirectory() as folder:
            resources = {"metadata": {"path": folder}}
            NotebookClient(notebook, timeout=TIMEOUT, resources=resources).execute()
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it ran
        if cell.cell_type == "code":  # what libraries warn of is of this machine
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
    return notebook


def cells(script: Path) -> list[Any]:
    """The cells of a script."""
    found = []
    for part in script.read_text(encoding="utf-8").split("# %%")[1:]:
        head, _, body = part.partition("\n")
        if "[markdown]" in head:
            text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in body.splitlines())
            found.append(nbformat.v4.new_markdown_cell(text.strip()))
        else:
            found.append(nbformat.v4.new_code_cell(body.strip()))
    return found


if __name__ == "__main__":
    main()
