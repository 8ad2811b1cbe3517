"""What the README shows works as it stands there."""

import re
from pathlib import Path
from typing import Any

import noiseprobe

README = Path(__file__).parent.parent / "README.md"


def test_the_example_from_python_runs(
    given: dict[str, Any], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    section = README.read_text(encoding="utf-8").partition("## From Python")[2]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found
    code = found[1].replace('"photos/dog"', repr(given["concept"]))
    small = {key: value for key, value in given.items() if key not in ("concept", "class_noun")}
    code = code.replace('"steps": 300', "**small")
    names: dict[str, Any] = {"small": small}
    exec(code, names)
    assert names["summary"]["steps"] == 6
    assert isinstance(names["stop"], noiseprobe.DVAR)
    assert (tmp_path / "runs" / "dog" / "summary.json").is_file()
