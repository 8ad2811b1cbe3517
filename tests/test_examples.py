"""The examples in docstrings give what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

import noiseprobe

ROOT = Path(noiseprobe.__file__).parent
MODULES = sorted(
    ".".join(("noiseprobe", *path.relative_to(ROOT).with_suffix("").parts))
    for path in ROOT.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name: str) -> None:
    module = importlib.import_module(name)
    found = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert not found.failed, f"python -m doctest says more of {name}"
