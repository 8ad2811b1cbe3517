"""The command that says what a log is, what is wrong with it, and mends what can be mended."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from noiseprobe.cli.flags import Debug, Json, option
from noiseprobe.cli.recorded import WHAT, Sources, check_output
from noiseprobe.cli.tables import paragraph, plain, print_json, print_next, write_csv
from noiseprobe.core.errors import UserError
from noiseprobe.core.words import visible
from noiseprobe.run.declaring import MACHINE

if TYPE_CHECKING:
    from noiseprobe.analysis.doctor import Examined
    from noiseprobe.logs import Series


def doctor(
    sources: Sources,
    tag: Annotated[
        str | None,
        option("Which traces, a tag or a pattern (default: all losses).", WHAT, "--tag"),
    ] = None,
    first_epoch: Annotated[
        int | None,
        option(
            "Last step of the first epoch, where a log of kohya does not tell it (default: told by "
            "loss/current and loss/average).",
            WHAT,
            metavar="STEP",
            min=1,
        ),
    ] = None,
    out: Annotated[
        Path | None, option("Write the mended losses there.", MACHINE, metavar="FILE.csv")
    ] = None,
    json_output: Json = False,
    debug: Debug = False,
) -> None:
    """Say what a log is, what is wrong with it and how to mend it; --out writes it mended.

    Faults: means in place of values, epochs in place of steps, restarts, lost points, values that
    are not finite, a validation that draws its noise anew each time.
    """
    from noiseprobe.analysis import verdicts_doctor as verdicts
    from noiseprobe.analysis.doctor import examine

    if out:
        check_output("--out", out, sources)
    found = examine(sources, tag, first_epoch)
    if out:
        if len(found) > 1:
            raise UserError(f"--out {out}: {len(found)} logs were given; name one")
        write_mended(list(found[0].mended.values()), out)
    after = verdicts.next_of_doctor(found, None if out is None else str(out))
    if json_output:
        print_json([document(each, out) for each in found])
        return
    for place, each in enumerate(found):
        print("\n" * bool(place) + "\n".join(map(paragraph, verdicts.of_examined(each))) + "\n")
        print(traces_table(each.traces))
        lines = [fault_line(*verdicts.of_fault(fault)) for fault in each.faults]
        limits = [verdicts.of_limit(limit) for limit in each.limits]
        lines += [limit_line(**limit) for limit in limits]
        if lines:
            print("\n" + "\n".join(lines))
    print_next(after)


def document(found: "Examined", out: Path | None) -> dict[str, Any]:
    """What was found in one log, as JSON holds it."""
    from noiseprobe.analysis import verdicts_doctor as verdicts

    return {
        "log": str(found.log.path),
        "kind": found.log.kind,
        "tool": found.tool,
        "traces": [
            {
                "tag": series.column,
                "points": len(series.steps),
                "first_step": int(series.steps[0]),
                "last_step": int(series.steps[-1]),
                "written": series.column in found.mended,
            }
            for series in found.traces
        ],
        "faults": [
            {"kind": fault.kind, "tag": fault.tag or None, "mended": fault.mended}
            | verdicts.of_fault(fault)._asdict()
            for fault in found.faults
        ],
        "limits": [verdicts.of_limit(limit) for limit in found.limits],
        "out": None if out is None else str(out),
        "verdict": verdicts.of_examined(found),
        "next": verdicts.next_of_doctor([found], None if out is None else str(out)),
    }


def traces_table(traces: "Sequence[Series]") -> str:
    """One line per trace."""
    cells = [
        (each.column, str(len(each.steps)), f"{each.steps[0]}..{each.steps[-1]}") for each in traces
    ]
    return plain([("tag", "points", "steps"), *cells])


def fault_line(what: str, where: str, mend: str) -> str:
    """One fault in one line, however long, so that a script may look for it."""
    return f"fault: {visible(where)}: {what}. Mend: {mend}."


def limit_line(tag: str, what: str, can: str, cannot: str) -> str:
    """What a validation can and cannot show, in one line."""
    return f"limit: {visible(tag)}: {what}. It can {can}. It cannot {cannot}."


def write_mended(mended: "Sequence[Series]", path: Path) -> None:
    """Write a column for each trace, and a row for each step; several where one has several.

    Raises:
        UserError: nothing is left to be written.
    """
    if not mended:
        raise UserError(f"--out {path}: no finite value is left; name another trace with --tag")
    import pandas as pd

    frames: list[pd.DataFrame] = []
    for series in mended:
        frame = pd.DataFrame({"step": series.steps, series.column: series.values})
        frame["again"] = frame.groupby("step").cumcount()
        frames.append(frame.set_index(["step", "again"]))
    whole = pd.concat(frames, axis=1).sort_index().reset_index().drop(columns="again")
    write_csv(whole, path)
