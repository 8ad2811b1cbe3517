"""The page of what was measured: one section per device, of the files of results that are there."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.bench.causes import CAUSES
from experiments.bench.figure import STEM as FIGURE
from experiments.bench.figure import of_file, plot_growth
from experiments.bench.measured import Goal, Row
from experiments.bench.parts import PARTS
from experiments.bench.results import STEM, Part, read
from noiseprobe.cli.tables import markdown
from noiseprobe.core.files import written_whole
from noiseprobe.plots.saving import save

HEAD = """# What it takes

Each row was measured beside what it is held against, in rounds that follow one another, so that
what else a machine did fell on both. Shown are medians over rounds, and in brackets the least and
the largest. On a CPU models are small ones, on a GPU of published shapes; weights are random but
for the bundled model. This page is made of the results beside it:

    python -m experiments.bench                    # on the CPU
    python -m experiments.bench --gpu --minutes 9  # on CUDA; what no longer fits is left out
    python -m experiments.bench --only dvar start  # parts alone; the results of others stay
    python -m experiments.bench --only             # nothing but this page
"""

COMMANDS = {
    "experiments.bench": "all that is on this page",
    "experiments.bench.memory": "the estimates of published models ([docs](../../docs/memory.md))",
    "experiments.bench.methods": "a step, L_det, a CLIP check and a checkpoint of each method",
    "experiments.bench.engines": "a sweep with the local engine and with Ray",
    "experiments.bench.many_runs": "tables, picks and figures over thousands of runs",
    "experiments.bench.readers": "how long logs take to read",
    "experiments.bench.foreign": "thousands of checkpoints of other trainers",
    "experiments.bench.fuzz": "broken logs, of which readers give series or one line",
}
"""Every command of the folder, and what it measures."""

GROWTH = """Time counts as linear where each of the most takes at most 1.15 times as long as each of
a quarter as many, memory as flat where its peak is at most 1.1 times that of the least amount.
"""


def write_page(folder: Path) -> None:
    """Write `README.md` and the figures of the results that are in a folder."""
    found = {file.stem.removeprefix(STEM): read(file) for file in sorted(folder.glob(f"{STEM}*"))}
    figures = {}
    for device, parts in found.items():
        growth = of_file(parts)
        if not growth.empty:
            stem = folder / "figures" / (FIGURE if device == "cpu" else f"{FIGURE}-{device}")
            stem.parent.mkdir(exist_ok=True)
            [drawn] = save(plot_growth(growth), stem, ["png"])
            figures[device] = drawn.relative_to(folder).as_posix()
    with written_whole(folder / "README.md") as beside:
        beside.write_text(page(found, figures), encoding="utf-8")


def page(found: Mapping[str, Mapping[str, Part]], figures: Mapping[str, str]) -> str:
    """The page in Markdown, of the parts by device."""
    sections = [HEAD.rstrip()]
    for device, parts in found.items():
        sections += section(device, parts, figures.get(device))
    commands = [[f"`python -m {name}`", what] for name, what in COMMANDS.items()]
    sections += ["## Commands", table(["command", "what it measures"], commands)]
    return "\n\n".join(sections) + "\n"


def section(device: str, parts: Mapping[str, Part], figure: str | None) -> list[str]:
    """What was measured on a device, and with what."""
    known = {name: parts[name] for name in PARTS if name in parts}
    found = [f"## {next((part.about['device'] for part in known.values()), device)}"]
    for name, part in known.items():
        found.append(f"### {PARTS[name]}")
        head = ["what", "against", "goal", "measured", "met"]
        if part.rows:
            found.append(table(head, [cells(row) for row in part.rows]))
        if name == "growth":
            found.append(GROWTH.rstrip())
            found += [f"![Time and memory by how much there is]({figure})"] if figure else []
        missed = any(row.goal and not row.goal.met(row.value) for row in part.rows)
        if missed and (device, name) in CAUSES:
            found.append(CAUSES[device, name].strip())
        if part.left_out:
            found.append("Left out: " + "; ".join(part.left_out) + ".")
        found.append(told(part))
    return found


def cells(row: Row) -> list[str]:
    """A row of the table."""
    low, high = min(row.values), max(row.values)
    unit = f" {row.unit}" if row.compare == "ours" else "×"
    measured = f"{number(row.value)}{unit}"
    if len(row.values) > 1:
        measured += f" [{number(low)}, {number(high)}]"
    if row.theirs:
        measured += f": {shown(row.ours, row.unit)} against {shown(row.theirs, row.unit)}"
    return [row.what, row.against or "–", goal_of(row), measured, verdict(row)]


def goal_of(row: Row) -> str:
    """The goal in signs."""
    if row.goal is None:
        return "–"
    if row.goal.sign == "off by at most":
        return f"1× ± {row.goal.limit:g}"
    signs = {"at least": "≥ ", "at most": "≤ "}
    unit = f" {row.unit}" if row.compare == "ours" else "×"
    return f"{signs[row.goal.sign]}{row.goal.limit:g}{unit}"


def verdict(row: Row) -> str:
    """Whether the goal is met, or by how much it is missed."""
    if row.goal is None:
        return "–"
    if row.goal.met(row.value):
        return "yes"
    return f"no, by {percent(row.goal, row.value)}"


def percent(goal: Goal, value: float) -> str:
    """How far a value is off its goal; of one that may be off by so much, in points."""
    unit = " points" if goal.sign == "off by at most" else "%"
    return f"{float(f'{100 * goal.excess(value):.2g}'):g}{unit}"


def shown(rounds: Sequence[float], unit: str) -> str:
    """The median of rounds with its unit, as people say it."""
    middle = statistics.median(rounds)
    if unit == "B":
        return f"{number(middle / 2**20)} MB" if middle < 2**30 else f"{number(middle / 2**30)} GB"
    if unit == "s" and middle < 1:
        return f"{number(1e3 * middle)} ms"
    return f"{number(middle)} {unit}"


def number(value: float) -> str:
    """Three digits."""
    return f"{float(f'{value:.3g}'):,g}"


def told(part: Part) -> str:
    """With what, when, and how long a part was measured."""
    about = part.about
    versions = ", ".join(f"{name} {each}" for name, each in about["versions"].items() if each)
    return (
        f"<sub>{about['date']} UTC, {part.seconds:.0f} s: `{about['command']}` at "
        f"{about['commit']}; {about['machine']}, {about['threads']} threads; {versions}</sub>"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return markdown([list(head), *map(list, rows)], left=range(len(head)))
