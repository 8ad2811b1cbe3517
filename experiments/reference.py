"""The settings of a run as a page of the documentation: python -m experiments.reference."""

from noiseprobe.run.settings import ABOUT, flag, kind, told_default

HEAD = """# Settings of a run

Each is a flag of the commands named, and a key of a TOML file for `--config`, with underscores for
dashes. Flags win over the file, the file over the defaults. A setting that belongs to a method or a
criterion is refused with another. This page is made by `python -m experiments.reference`.
"""


def reference() -> str:
    """The page in Markdown: a table for each heading of the help, in its order."""
    panels: dict[str, list[str]] = {}
    for key, about in ABOUT.items():
        if not about.commands:
            continue
        cells = [about.metavar or kind_in_words(key), about.help, told_default(key)]
        cells = [cell.replace("|", "\\|").replace("<", "\\<") for cell in cells]
        row = [f"`{flag(key)}`", *cells, ", ".join(about.commands)]
        panels.setdefault(about.panel, []).append("| " + " | ".join(row) + " |")
    tables = [
        f"## {panel}\n\n| flag | value | what it is | default | commands |\n|---|---|---|---|---|\n"
        + "\n".join(rows)
        for panel, rows in panels.items()
    ]
    return "\n\n".join([HEAD.rstrip(), *tables]) + "\n"


def kind_in_words(key: str) -> str:
    """What a setting's value is."""
    words = {bool: "yes or no", int: "whole number", float: "number"}
    return words.get(kind(key), "text")


if __name__ == "__main__":
    print(reference(), end="")
