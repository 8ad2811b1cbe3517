"""The flags, the help and the page of settings say what is declared, and nothing else."""

from pathlib import Path
from typing import Any

from experiments.reference import reference
from noiseprobe.run.settings import flag, of_command

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_of_settings_is_the_declaration() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), (
        "make it anew: python -m experiments.reference > docs/settings.md"
    )


def test_each_command_shows_the_flags_declared_for_it(call: Any) -> None:
    for command in ("run", "train", "probe"):
        shown = call(command, "--help")[1]
        assert [key for key in of_command(command) if flag(key) not in shown] == []
    assert {"steps", "rank", "window"} <= set(of_command("train")) - set(of_command("probe"))
