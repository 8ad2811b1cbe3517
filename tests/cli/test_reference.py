"""The flags, the help and the page of settings say what is declared, and nothing else."""

from pathlib import Path
from typing import Any

import pytest

from experiments.reference import reference
from noiseprobe.run.settings import ABOUT, flag, of_command

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_of_settings_is_the_declaration() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), (
        "make it anew: python -m experiments.reference > docs/settings.md"
    )


def test_each_command_shows_the_flags_declared_for_it(
    call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for command, page in (("run", "--help-all"), ("train", "--help-all"), ("probe", "--help")):
        shown = call(command, page)[1]
        assert [key for key in of_command(command) if flag(key) not in shown] == []
    assert {"steps", "rank", "window"} <= set(of_command("train")) - set(of_command("probe"))


@pytest.mark.parametrize("command", ["run", "train"])
def test_help_shows_what_is_declared_common_and_where_the_rest_is(
    call: Any, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for page in ("--help", "--help-all", "--help"):  # none leaves a trace in the next
        code, shown, _ = call(command, page)
        assert code == 0
        words = set(shown.replace("\n", " ").split())
        for key in of_command(command):
            assert (flag(key) in words) == (ABOUT[key].common or page == "--help-all"), key
        assert {"--out", "--resume", "--config", "--json", "--debug"} <= words
        assert shown.strip().splitlines()[-1].strip() == (
            f"Every flag: noiseprobe {command} --help-all"
        )
    assert 5 < sum(ABOUT[key].common for key in of_command(command)) <= 12
