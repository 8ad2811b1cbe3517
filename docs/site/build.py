"""What the site is made of beside its own pages: a hook of MkDocs.

The README, docs, results and figures stay where they are, and have the same places in the site, so
that their links hold in both. The pages of commands and of the Python interface are made from what
declares them.
"""

import ast
import inspect
import re
import subprocess
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")

API = """# Python

Each name is imported from `noiseprobe`, none before it is asked for: `from noiseprobe import DVAR`
takes neither torch nor diffusers.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the repository, what they link to, and the pages that are made here."""
    pages = tracked("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/*.md", "docs/images/*")
    pages += tracked("experiments/*.md", "experiments/**/*.md", "noiseprobe/**/*.md")
    for place in dict.fromkeys([*pages, *(each for page in pages for each in linked(page))]):
        files.append(File.generated(config, place, abs_src_path=str(ROOT / place)))
    for name, text in (("commands.md", commands()), ("api.md", api())):
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **more: Any) -> str:
    """Let a link to a folder of the repository be text: the site has no page for it."""
    here = ROOT / Path(page.file.src_uri).parent

    def plain(found: re.Match[str]) -> str:
        return found[1] if (here / found[2]).is_dir() else found[0]

    return re.sub(r"\[([^\]]*)\]\(([^)#\s:]+)\)", plain, markdown)


def tracked(*patterns: str) -> list[str]:
    """The files of the repository that match."""
    told = subprocess.run(
        ["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return told.stdout.splitlines()


def linked(page: str) -> list[str]:
    """The files, but for pages, that a page of the repository links to."""
    if not page.endswith(".md"):
        return []
    here = (ROOT / page).parent
    found = [here / link for link in LINK.findall((ROOT / page).read_text(encoding="utf-8"))]
    return [
        str(each.resolve().relative_to(ROOT))
        for each in found
        if each.is_file() and each.suffix != ".md"
    ]


def commands() -> str:
    """The page of commands, from their declarations."""
    from noiseprobe.cli.app import COMMANDS, whole

    text = "# Commands\n\nMade from their declarations, as `--help` is.\n"
    for name in COMMANDS:
        command: Any = whole(name)
        needed = [each for each in command.params if each.param_type_name == "argument"]
        words = [each.metavar or each.name.upper() for each in needed]
        usage = " ".join(["noiseprobe", name, *words])
        text += f"\n## {name}\n\n    {usage}\n\n{inspect.cleandoc(command.help or '')}\n\n"
        text += "| flag | |\n|---|---|\n"
        for each in command.params:
            if each.param_type_name == "option" and not each.hidden:
                flags = ", ".join(f"`{flag}`" for flag in (*each.opts, *each.secondary_opts))
                text += f"| {flags} | {_cell(each.help or '')} |\n"
    return text


def api() -> str:
    """The page of public names, by the room that each is in."""
    body = ast.parse((ROOT / "noiseprobe" / "__init__.pyi").read_text(encoding="utf-8")).body
    rooms: dict[str, list[str]] = {}
    for each in body:
        if isinstance(each, ast.ImportFrom) and each.module:
            room = each.module.split(".")[1]
            rooms.setdefault(room, []).extend(f"{each.module}.{name.name}" for name in each.names)
    text = API
    for room, names in rooms.items():
        text += f"\n## {room}\n" + "".join(f"\n::: {name}\n" for name in names)
    return text


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
