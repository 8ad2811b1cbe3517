"""The audit of what we install says what it found, and does not pass for one that was not made."""

import importlib.util
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).parents[1] / ".ci" / "audit.py"


@pytest.fixture
def audit() -> Any:
    about = importlib.util.spec_from_file_location("audit", FILE)
    assert about
    assert about.loader
    made = importlib.util.module_from_spec(about)
    about.loader.exec_module(made)
    return made


def package(name: str, *known: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "version": "1.0", "vulns": list(known)}


WRONG = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["1.1"]}
UNKNOWN = {"name": "odd", "skip_reason": "odd is not known"}


def test_a_vulnerability_fails_and_is_named(audit: Any) -> None:
    lines, code = audit.verdict({"dependencies": [package("a"), package("b", WRONG), UNKNOWN]}, "")
    assert code == 1
    assert lines[0] == "audit: 2 of 3 packages, 1 vulnerabilities"
    assert lines[1:] == ["b 1.0: PYSEC-1, mended in 1.1", "not asked: odd is not known"]


def test_one_that_is_borne_passes(audit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "BEARABLE", {"CVE-1": "we do not call it"})
    assert audit.verdict({"dependencies": [package("b", WRONG)]}, "")[1] == 0


@pytest.mark.parametrize("answer", [None, {"dependencies": [UNKNOWN]}, {"dependencies": []}])
def test_what_was_not_asked_is_said_not_to_be(audit: Any, answer: Any) -> None:
    lines, code = audit.verdict(answer, "no network")
    assert (len(lines), code) == (1, 0)
    assert lines[0].startswith("audit not made: ")


def test_no_answer_is_given_up(audit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(command: list[str], timeout: float, **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", never)
    assert audit.ask() == (None, f"no answer within {audit.SECONDS} seconds")
