"""The notebooks run, show what they are about, and are those that the docs have."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from experiments.notebooks.__main__ import HERE, NAMES, cells, executed

DOCS = Path(__file__).parents[2] / "docs" / "notebooks"
SHOWN = {
    "seed_experiment": ("text/html", "image/png"),
    "my_photographs": ("text/html", "text/markdown", "image/png"),
    "somebodys_log": ("text/html",),
    "tracker_in_a_loop": ("text/html", "image/png"),
}
"""What each shows beside text."""


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_it_runs_and_shows_what_it_is_about(name: str) -> None:
    kinds = {
        kind
        for cell in executed(name, small=True).cells
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
    }
    assert kinds >= set(SHOWN[name])


def test_the_tracker_is_shown_to_stop_as_its_words_say() -> None:
    kept = json.loads((DOCS / "tracker_in_a_loop.ipynb").read_text(encoding="utf-8"))
    told = ["".join(each["data"]["text/plain"]) for each in kept["cells"][2]["outputs"]]
    step, best = ast.literal_eval(told[-1])
    assert best < step < 1000


@pytest.mark.parametrize("name", NAMES)
def test_the_docs_have_it_executed(name: str) -> None:
    kept: dict[str, Any] = json.loads((DOCS / f"{name}.ipynb").read_text(encoding="utf-8"))
    sources = ["".join(cell["source"]) for cell in kept["cells"]]
    assert sources == [cell["source"] for cell in cells(HERE / f"{name}.py")], (
        "make it anew: python -m experiments.notebooks"
    )
    ran = [cell["execution_count"] for cell in kept["cells"] if cell["cell_type"] == "code"]
    assert ran == list(range(1, len(ran) + 1))
