"""The rules of the house: few rooms, arrows that point down only, and rooms that know no torch."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import noiseprobe

PACKAGE = Path(noiseprobe.__file__).parent
ROOMS = (
    "core",
    "draws",
    "stopping",
    "run",
    "models",
    "pictures",
    "training",
    "logs",
    "analysis",
    "plots",
    "stages",
    "cli",
)
"""From the ground up: a room imports from those before it alone."""
WITHOUT_TORCH = ("draws", "stopping", "logs", "analysis")
TORCH = {"torch", "diffusers", "transformers", "accelerate", "peft"}


def modules_named(source: str) -> Iterator[str]:
    """What a file imports, at its top or inside a function, and modules that it names in text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            inside = [f"{node.module}.{each.name}" for each in node.names]
            whole = (
                []
                if inside and all(each.split(".")[1] in ROOMS for each in inside)
                else [node.module or ""]
            )
            yield from whole + inside


def faults(package: Path) -> list[str]:
    """What breaks the rules in `package`, one line each; empty if nothing does."""
    found, of_room = [], {}
    for file in sorted(package.rglob("*.py")):
        place = file.relative_to(package)
        if len(place.parts) > 1:
            of_room[place] = set(modules_named(file.read_text(encoding="utf-8")))
    for place, names in of_room.items():
        room = place.parts[0]
        parts = [name.split(".") for name in names if name.split(".")[0] == "noiseprobe"]
        for other in {each[1] for each in parts if len(each) > 1 and each[1] in ROOMS}:
            if ROOMS.index(other) > ROOMS.index(room):
                found.append(f"{place} imports from {other}, a later room")
        if room != "cli" and any(len(each) == 1 for each in parts):
            found.append(f"{place} imports the package itself, which knows every room")
    for room in WITHOUT_TORCH:
        for place in reached(of_room, room):
            heavy = {name.split(".")[0] for name in of_room[place]} & TORCH
            found += [f"{room} imports {name}, by {place}" for name in sorted(heavy)]
    entries = [each for each in package.iterdir() if not each.name.startswith("__")]
    rooms = [each.name for each in entries if each.name != "py.typed"]
    if len(rooms) > 12 or set(rooms) != set(ROOMS):
        found.append(f"the rooms are {', '.join(sorted(rooms))}")
    return found


def reached(of_room: dict[Path, set[str]], room: str) -> set[Path]:
    """The files of a room, and all that they import, at any remove."""
    files = {"noiseprobe." + ".".join(place.with_suffix("").parts): place for place in of_room}
    files |= {name.removesuffix(".__init__"): place for name, place in files.items()}
    todo, seen = [place for place in of_room if place.parts[0] == room], set[Path]()
    while todo:
        place = todo.pop()
        if place in seen:
            continue
        seen.add(place)
        for name in of_room[place]:
            parts = name.split(".")
            # Importing a module runs the packages that it lies in.
            above = [".".join(parts[:count]) for count in range(2, len(parts) + 1)]
            todo += [files[each] for each in above if each in files]
    return seen


def test_the_house_keeps_its_rules() -> None:
    assert faults(PACKAGE) == []


@pytest.mark.parametrize(
    ("place", "added", "told"),
    [
        ("core/files.py", "from noiseprobe.cli import tables", "imports from cli, a later room"),
        ("draws/factors.py", "def f():\n    import torch.nn", "draws imports torch"),
        ("logs/tags.py", "from noiseprobe.training import driver", "a later room|logs imports"),
        ("run/traces.py", "import transformers", "analysis imports transformers, by run/traces.py"),
        ("stopping/dvar.py", "import noiseprobe", "imports the package itself"),
        ("extra/__init__.py", "", "the rooms are"),
    ],
)
def test_a_broken_rule_is_found(tmp_path: Path, place: str, added: str, told: str) -> None:
    import re
    import shutil

    copy = tmp_path / "noiseprobe"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("assets", "__pycache__"))
    file = copy / place
    file.parent.mkdir(exist_ok=True)
    before = file.read_text() if file.exists() else ""
    file.write_text(f"{before}\n{added}\n")
    assert any(re.search(told, fault) for fault in faults(copy))
