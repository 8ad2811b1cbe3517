"""Tables in text that are wide, ragged or forged, and files that results would be written to."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bad_inputs.cases import Case, Command, Place
from tests.bad_inputs.logs import LOSSES, TOO_MUCH, replaying


def cases() -> Iterator[Case]:
    """Tables are replayed; results go to what is no place for them."""
    for name, (content, told) in _refused().items():
        yield Case(f"tables/{name}", replaying("log.csv", content), refused=told)
    for name, content in _handled().items():
        yield Case(f"tables/{name}", replaying("log.csv", content))
    for flag in ("--csv", "--plot"):
        suffix = "csv" if flag == "--csv" else "png"
        for name, (make, told) in _places().items():
            yield Case(f"tables/{flag} to {name}", _to(flag, suffix, make), refused=told)
    for name, (make, told) in _places().items():
        yield Case(f"tables/doctor --out to {name}", _mended_to(make), refused=told)
    yield Case("tables/--csv to its own source", _onto_itself, refused="it is a source")
    yield Case("tables/--csv and --plot to one file", _both, refused="writes there as well")


def _refused() -> dict[str, tuple[str, str]]:
    return {
        "a header alone": ("step,loss\n", "no rows"),
        "a title alone": ("Losses of a training\n", "log.csv"),
        "more cells than the header": ("step,loss\n1,2,3\n2,3,4\n3,4,5\n4,5\n", "log.csv"),
        "a loss in words": ("step,loss\n1,0.5\n2,low\n", "'low'"),
        "a loss with thousands": ('step,loss\n1,0.5\n2,"1,234"\n', "write 1234"),
        "a loss in hex": ("step,loss\n1,0.5\n2,0x1p3\n", "log.csv"),
        "a step in words": ("step,loss\n1,0.5\ntwo,0.4\n3,0.3\n", "log.csv"),
        "a step of a half": ("step,loss\n1,0.5\n1.5,0.4\n", "step"),
        "a step beyond 64 bits": (f"step,loss\n1,0.5\n{2**80},0.4\n", "step"),
        "an endless step": ("step,loss\n1,0.5\ninf,0.4\n", "step"),
        "steps that fall at every row": (
            "step,loss\n" + "".join(f"{50 - row},0.1\n" for row in range(50)),
            "sort the rows",
        ),
        "a quotation mark without its other": ('step,loss\n1,0.5\n2,"0.4\n3,0.3\n4,1\n', "log.csv"),
        "11,000 columns": (
            ",".join(map(str, range(11_000))) + "a\n1" + ",1" * 10_999 + "\n",
            TOO_MUCH,
        ),
        "200,000 commas": ("step,loss\n" + "," * 200_000 + "\n", "log.csv"),
        "a line of 2 MB": ("a" * (2 << 20) + "\n1\n", "no row"),
        "four million lines": ("step,loss\n" + "1\n" * 4_000_000, TOO_MUCH),
        "NUL in a name": ("step,lo\0ss\n1,2\n", "log.csv"),
        "truth values": ("step,loss\n1,true\n2,false\n", "log.csv"),
        "formulas for losses": ("step,loss\n1,=1+1\n2,=1+1\n", "log.csv"),
    }


def _handled() -> dict[str, str]:
    rows = "".join(f"{row},{1 / (1 + row)}\n" for row in range(40))
    equal = ",".join(["step", *["loss"] * 4000])
    return {
        "4,000 columns of one name": f"{equal}\n" + ("1" + ",1" * 4000 + "\n") * 5,
        "columns without a name": "step,loss,,\n1,2,,\n2,3,,\n",
        "comments alone around it": f"# a\n#\nstep,loss\n{rows}# end\n",
        "a title above it": f"My run\n\nstep,loss\n{rows}",
        "blank lines between": "step,loss\n" + rows.replace("\n", "\n\n"),
        "a restart": f"step,loss\n{rows}{rows}",
        "all at one step": "step,loss\n" + "1,0.5\n" * 30,
        "negative steps": "step,loss\n" + "".join(f"{row - 20},0.5\n" for row in range(40)),
        "semicolons and tabs": f"step;a\tb;loss\n{rows.replace(',', ';x;')}",
    }


def _places() -> dict[str, tuple[Callable[[Path], object], str]]:
    def under_a_file(path: Path) -> None:
        path.parent.rmdir()
        path.parent.write_text("")

    def link(path: Path) -> None:
        (path.parent / "precious").write_text("precious")
        path.symlink_to("precious")

    return {
        "a folder": (Path.mkdir, "folder"),
        "a FIFO": (os.mkfifo, "pipe or device"),
        "a link to a file": (link, "a link"),
        "a link to a device": (lambda path: path.symlink_to("/dev/full"), "a link"),
        "a link to nothing": (lambda path: path.symlink_to("gone"), "a link"),
        "what is under a file": (under_a_file, "no folder"),
    }


def _to(flag: str, suffix: str, make: Callable[[Path], object]) -> Callable[[Place], Command]:
    def command(place: Place) -> Command:
        (place.folder / "out").mkdir()
        target = place.folder / "out" / f"file.{suffix}"
        make(target)
        return ["dvar-replay", place.file("log.csv", LOSSES), flag, target]

    return command


def _mended_to(make: Callable[[Path], object]) -> Callable[[Place], Command]:
    def command(place: Place) -> Command:
        (place.folder / "out").mkdir()
        make(place.folder / "out" / "file.csv")
        log = place.file("log.csv", LOSSES)
        return ["doctor", log, "--out", place.folder / "out" / "file.csv"]

    return command


def _onto_itself(place: Place) -> Command:
    log = place.file("log.csv", LOSSES)
    return ["dvar-replay", log, "--csv", place.folder / "." / "log.csv"]


def _both(place: Place) -> Command:
    target = place.folder / "a.png"
    return ["dvar-replay", place.file("log.csv", LOSSES), "--csv", target, "--plot", target]
