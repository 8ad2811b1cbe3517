"""A training as it goes on, in the tools that a team looks at: `--log-with`.

A thread for each tool hands over what was recorded since a second before: no step waits for a
tool, and one that fails, as where the network is gone, ends nothing. It is tried again later, and
gets what it lacks then.
"""

import hashlib
import math
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from PIL import Image

from noiseprobe.analysis.ending import Ending as Ended
from noiseprobe.core.files import write_json
from noiseprobe.core.progress import Reporter
from noiseprobe.pictures.strips import side_by_side
from noiseprobe.run.directory import Run
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.traces import TRAIN_COLUMNS
from noiseprobe.stages.log_tools import TOOLS, About, Ending, Row, Tool, require_tools
from noiseprobe.training.observing import Nobody, Observer

EVERY_SECONDS = 1.0
"""So often is handed over."""

AGAIN_SECONDS = 60.0
"""A tool that failed is tried again so much later."""

PATIENCE_SECONDS, SHORT_SECONDS = 60.0, 10.0
"""So long is waited for a tool at the end of a command, and of one that is interrupted."""

COLUMNS = [name for name in TRAIN_COLUMNS if name != "step" and not name.endswith("seconds")]
"""What is logged of the training trace."""


class Hand(threading.Thread):
    """Hands over to one tool what it is given.

    Attributes:
        lacks: what was given and not handed over, or not surely.
        fault: what the tool said when it failed last; "" if it never did.
        whole: whether the tool had everything, and ended, when this did.
    """

    def __init__(self, tool: Tool) -> None:
        super().__init__(name=f"log-with-{tool.name}", daemon=True)
        self.tool = tool
        self.given: SimpleQueue[Row | Ending] = SimpleQueue()
        self.ending = threading.Event()
        self.lacks: list[Row | Ending] = []
        self.fault, self.whole = "", False
        self._open, self._again_at = False, 0.0

    def run(self) -> None:
        """Hand over, again and again, until it is to end."""
        ended = False
        while not ended:
            ended = self.ending.wait(EVERY_SECONDS)
            while not self.given.empty():
                self.lacks.append(self.given.get())
            if self.lacks and (ended or time.monotonic() >= self._again_at):
                self._done(self._hand_over)
        self.whole = not self.lacks and (not self._open or self._done(self.tool.finish))

    def _hand_over(self) -> None:
        if not self._open:
            self.tool.start()
            self._open = True
        self.tool.take([each for each in self.lacks if isinstance(each, Row)])
        for each in self.lacks:
            if isinstance(each, Ending):
                self.tool.tell(each)
        self.lacks = []

    def _done(self, action: Callable[[], None]) -> bool:
        """Do it; whatever a tool raises, an exit as well, is no reason to end a training.

        One that failed is begun anew, which looks at what it has. Meanwhile no pictures are kept.
        """
        try:
            action()
        except BaseException as error:
            self.fault = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            self._again_at = time.monotonic() + AGAIN_SECONDS
            with suppress(BaseException):
                self.tool.finish()
            self._open = False
            self.lacks = [
                replace(each, picture=None) if isinstance(each, Row) else each
                for each in self.lacks
            ]
            return False
        return True


class Tools:
    """An observer of a training that lets tools have all of it.

    Args:
        run: what is trained; its trace has what was recorded before.
        tools: whom to tell.
        reporter: is told where one of them fails.
    """

    def __init__(self, run: Run, tools: Sequence[Tool], reporter: Reporter) -> None:
        self.run, self.reporter = run, reporter
        self.hands = [Hand(tool) for tool in tools]
        self.before: list[Row] = []
        self.drawn: Image.Image | None = None
        self.warned: list[Hand] = []
        self.known = state_of(run)

    def begin(self) -> None:
        """Steps begin: what the trace has, a tool may lack."""
        trace = self.run.train_trace()
        columns = [str(name) for name in trace]
        self.before = [
            row_of(dict(zip(columns, each, strict=True))) for each in trace.itertuples(index=False)
        ]

    def row(self, row: Mapping[str, Any]) -> None:
        """A step was recorded."""
        self._give(row_of(row, self.drawn))
        self.drawn = None

    def pictures(self, step: int, pictures: Sequence[Image.Image]) -> None:
        """Pictures were drawn after a step, whose row comes now."""
        self.drawn = side_by_side(pictures)

    def tell(self, end: Ended, verdict: Sequence[str], figures: Sequence[Path] = ()) -> None:
        """The training has ended: say how, where that was not said before."""
        best = {} if end.best_step is None else {"best_step": float(end.best_step)}
        drawn = [path for path in figures if path.suffix == ".png"]
        values = {"stop_step": float(end.steps)} | best
        ending = Ending(end.steps, values, end.stopped_by or "", "\n\n".join(verdict), drawn)
        said = digest(ending)
        for hand in self.hands:
            if self.known["told"].get(hand.tool.name) != said:
                self._give(ending, [hand])
                self.known["told"][hand.tool.name] = said

    def _give(self, what: Row | Ending, hands: Sequence[Hand] | None = None) -> None:
        for hand in self.hands if hands is None else hands:
            if hand.ident is None:
                with suppress(Exception):  # which it says itself
                    hand.tool.load()
                for row in self.before:
                    hand.given.put(row)
                hand.start()
            hand.given.put(what)
        self._warn()

    def _warn(self) -> None:
        for hand in self.hands:
            if hand.fault and hand not in self.warned:
                self.warned.append(hand)
                self.reporter.note(
                    f"warning: --log-with {hand.tool.name}: {hand.fault}; training goes on, and "
                    "it is tried again"
                )

    def close(self, patience: float) -> None:
        """Let all be handed over, and wait for that so many seconds at most."""
        begun = [hand for hand in self.hands if hand.ident is not None]
        for hand in begun:
            hand.ending.set()
        until = time.monotonic() + patience
        for hand in begun:
            hand.join(max(until - time.monotonic(), 0.0))
        self._warn()
        for hand in begun:
            if not hand.whole:
                self.known["told"].pop(hand.tool.name, None)
                why = "it does not answer, and" if hand.is_alive() else "it"
                self.reporter.note(
                    f"warning: --log-with {hand.tool.name}: {why} lacks some of the training; the "
                    f"same command with --out {self.run.directory} --resume hands it over"
                )
        if self.known != state_of(self.run):
            write_json(self.run.log_with_file, self.known)


@contextmanager
def logged(run: Run, config: RunConfig, reporter: Reporter) -> Iterator["Tools | None"]:
    """What shows the training of a run in the tools that `--log-with` names; None where it is none.

    What tools print goes to standard error.

    Raises:
        UserError: a tool is not installed.
    """
    if not config.log_with:
        yield None
        return
    require_tools(config.log_with)

    from accelerate import PartialState

    PartialState()  # without which accelerate's trackers log nothing
    state = state_of(run)
    if run.log_with is None:
        write_json(run.log_with_file, state)
    name = run.directory.resolve().name
    about = About(state["id"], name, run.logs_directory, shown(config))
    tools = Tools(run, [TOOLS[each](about) for each in config.log_with], reporter)
    patience = SHORT_SECONDS
    with redirect_stdout(sys.stderr):
        try:
            yield tools
            patience = PATIENCE_SECONDS
        finally:
            tools.close(patience)


def observer_of(tools: Tools | None) -> Observer:
    """Whom the driver shows its steps."""
    return tools or Nobody()


def state_of(run: Run) -> dict[str, Any]:
    """The id of a run, and by tool what it was told last of how the training ended."""
    return run.log_with or {"id": uuid.uuid4().hex, "told": {}}


def row_of(row: Mapping[str, Any], picture: Image.Image | None = None) -> Row:
    """What is logged of a row of the training trace: the numbers that were due, and are finite."""
    values = {
        name: float(row[name]) for name in COLUMNS if name in row and math.isfinite(row[name])
    }
    if not values.get("skipped"):
        values.pop("skipped", None)
    return Row(int(row["step"]), values, picture)


def shown(config: RunConfig) -> dict[str, Any]:
    """The settings as numbers, switches and texts, which all tools take."""
    told = config.model_dump(mode="json", exclude_none=True)
    return {
        name: ",".join(map(str, each)) if isinstance(each, list) else each
        for name, each in told.items()
    }


def digest(ending: Ending) -> str:
    """What stands for an ending, to know it again."""
    told = repr((ending.step, dict(ending.values), ending.text, [p.name for p in ending.figures]))
    return hashlib.sha256(told.encode()).hexdigest()[:16]
