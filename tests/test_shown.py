"""What the package returns shows itself, in a notebook and where Python prints it."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import noiseprobe
from noiseprobe.logs import Series
from noiseprobe.run.directory import Run

LONGEST = 300
"""Letters of what Python prints of anything."""


class Texts(HTMLParser):
    """The texts of a document, and which tags it has."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self.feed(document)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    rows = [f"{step},{1 / (1 + step)}" for step in range(2000)]
    path.write_text("\n".join(["step,loss", *rows, ""]))
    return path


def test_a_run_is_a_table_in_which_names_are_text(reported_run: Run) -> None:
    html = reported_run._repr_html_()
    assert html is not None
    shown = Texts(html)
    assert shown.tags == {"table", "tr", "th", "td"}
    assert str(reported_run.directory) in shown.texts
    assert ", ".join(map(str, reported_run.checkpoint_steps())) in shown.texts


@pytest.mark.parametrize("damage", ["config.toml", "status.json"])
def test_a_damaged_run_can_still_be_shown(reported_run: Run, tmp_path: Path, damage: str) -> None:
    for name in ("config.toml", "status.json"):
        text = (reported_run.directory / name).read_text() if name != damage else "{]"
        (tmp_path / name).write_text(text)
    run = Run(tmp_path)
    assert run._repr_html_() is None
    assert str(tmp_path) in repr(run)


def test_a_report_is_its_verdict(log: Path, tmp_path: Path) -> None:
    found = noiseprobe.write_report([str(log)], str(tmp_path / "page.html"))
    assert (tmp_path / "page.html").is_file()
    assert len(repr(found)) < LONGEST
    told = found._repr_markdown_()
    assert told.count("\n- ") == len(found.verdict) - 1
    assert told.startswith("- **Take step 1999")


def test_an_analysis_is_its_tables(reported_run: Run) -> None:
    found = noiseprobe.analyze(reported_run)
    assert len(repr(found)) < LONGEST
    shown = Texts(found._repr_html_())
    assert {name.replace("_", " ") for name in found.tables} <= set(shown.texts)
    assert shown.texts.count("timesteps") >= 1
    assert set(found.missing) <= set(shown.texts)
    assert "script" not in shown.tags


def test_series_and_losses_are_printed_in_a_line(log: Path) -> None:
    series = noiseprobe.read_series(log)
    assert repr(series) == f"<Series 'loss' of '{log}': 2000 values, steps 0 to 1999>"
    empty = Series("a", np.array([], dtype=np.int64), np.array([]), "loss")
    assert repr(empty) == "<Series 'loss' of 'a': 0 values>"
    assert repr(noiseprobe.PairedLoss(half_life=5)) == "PairedLoss(half_life=5)"
