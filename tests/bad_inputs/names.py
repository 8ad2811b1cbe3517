"""Names and tags that a terminal, figure, table or spreadsheet could take for more than text."""

import json
from collections.abc import Callable, Iterator

from tests.bad_inputs.cases import Case, Command, Place
from tests.bad_inputs.logs import STEPS

HOSTILE = {
    "a colour": ("\x1b[31mloss\x1b[0m", r"\x1b[31mloss\x1b[0m"),
    "a window's title": ("\x1b]0;owned\x07loss", r"\x1b]0;owned\x07loss"),
    "a cleared screen": ("\x1b[2J\x1b[Hloss", r"\x1b[2J\x1b[Hloss"),
    "a C1 control": ("\x9b31mloss", r"\u009b31mloss"),
    "a link": ("\x1b]8;;http://example.com\x07loss", r"\x1b]8;;http://example.com\x07loss"),
    "a backspace": ("good\x08\x08\x08\x08loss", r"good\x08\x08\x08\x08loss"),
    "a text that runs the other way": ("\u202eloss", r"\u202eloss"),
    "markup": ("[red]loss[/red]", "[red]loss[/red]"),
    "half of a markup": ("[/loss", "[/loss"),
    "a link of markup": ("[link=http://example.com]loss[/link]", "[link=http://example.com]loss"),
    "mathtext": ("$\\frac{loss}{0$", "$\\frac{loss}{0$"),
    "mathtext that is whole": ("$x^2$ loss", "$x^2$ loss"),
    "LaTeX": ("\\input{/etc/passwd} loss", "\\input{/etc/passwd} loss"),
    "HTML": ("<script>alert(1)</script>loss", "<script>alert(1)</script>loss"),
    "Markdown": ("![loss](http://example.com/x.png)", "![loss](http://example.com/x.png)"),
    "a formula": ("=loss+1", "=loss+1"),
    "a format": ("{loss.__class__} %s %n", "{loss.__class__} %s %n"),
    "a flag": ("--loss", "--loss"),
    "a path that leads up": ("../../loss", "../../loss"),
    "an emoji by its name": (":skull: loss", ":skull: loss"),
    "a thousand letters": ("loss" * 250, "loss" * 10),
}
"""Each name as a file has it, and as it must be shown."""


def cases() -> Iterator[Case]:
    """Each as a tag, with a table and a figure written; then as the name of a file."""
    for name, (tag, shown) in HOSTILE.items():
        yield Case(f"names/{name} in a tag", _tagged(tag), shown=(shown,), writes=("out",))
        yield Case(f"names/{name} in a tag that is not there", _asked(tag), refused="")
    for name, (file, shown) in HOSTILE.items():
        if len(file) < 250 and "/" not in file:
            yield Case(f"names/{name} in a file's name", _called(file), shown=(shown,))


def log_of(tag: str) -> str:
    """JSON Lines with a loss of this name."""
    rows = ({"step": step, tag: 1 / (1 + step)} for step in range(STEPS))
    return "".join(json.dumps(row) + "\n" for row in rows)


def _tagged(tag: str) -> Callable[[Place], Command]:
    def command(place: Place) -> Command:
        out = place.folder / "out"
        out.mkdir()
        log = place.file("log.jsonl", log_of(tag))
        return ["dvar-replay", log, "--csv", out / "table.csv", "--plot", out / "figure.svg"]

    return command


def _asked(tag: str) -> Callable[[Place], Command]:
    def command(place: Place) -> Command:
        return ["dvar-replay", place.file("log.jsonl", log_of("value")), f"--tag=no {tag}"]

    return command


def _called(name: str) -> Callable[[Place], Command]:
    return lambda place: ["dvar-replay", place.file(name, log_of("loss"))]
