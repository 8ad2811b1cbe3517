"""What the README shows works as it stands there."""

import re
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).parent.parent / "README.md"
SECTION = README.read_text(encoding="utf-8").partition("## From Python")[2]
RUN, LOOP = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)


def test_the_example_of_a_run_runs(
    given: dict[str, Any], tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    code = RUN.replace('"photos/dog"', repr(given["concept"]))
    small = {key: value for key, value in given.items() if key not in ("concept", "class_noun")}
    code = code.replace('"steps": 300', "**small")
    names: dict[str, Any] = {"small": small}
    exec(code, names)
    assert names["summary"]["steps"] == 6
    assert (tmp_path / "runs" / "dog" / "summary.json").is_file()
    assert "noise_to_signal" in capsys.readouterr().out


def test_the_example_of_a_loop_stops_when_what_is_learned_levels_off(capsys: Any) -> None:
    names: dict[str, Any] = {}
    exec(LOOP, names)
    assert names["step"] < 1000
    assert f"stopped after step {names['step']}" in capsys.readouterr().out
    # What is left is the targets' own noise, of variance 0.09.
    assert names["l_det"].item() == pytest.approx(0.09, rel=0.5)


def test_every_page_that_the_readme_and_the_docs_link_to_is_there() -> None:
    for page in (README, *(README.parent / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_block_of_code_in_the_pages_ends() -> None:
    for page in (README, *(README.parent / "docs").glob("*.md")):
        fences = re.findall(r"^```", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) % 2 == 0, page.name
