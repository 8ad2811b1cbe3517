"""Jobs in several processes, of which one may die without the others."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from threading import Thread
from typing import Any, Protocol

from noiseprobe.core.errors import Interrupted, NotWritten, UserError
from noiseprobe.core.progress import STOP_SOON, STOPS, Reporter, Silent, stop_request, stop_soon

Jobs = dict[Path, tuple[Any, ...]]
"""By run, a function and its arguments."""

STOPPED = "the sweep was stopped and saved; the same command goes on"
"""What is said of a stage that Ctrl-C has ended."""

Answer = int | str | Interrupted | None
"""Steps done; or a job's end: the line of its error, or none."""


class Engine(Protocol):
    """Does jobs, wherever that is: see `in_processes`, and `noiseprobe.stages.on_ray`."""

    def __call__(
        self,
        stage: str,
        jobs: Jobs,
        workers: int | None,
        threads: int,
        reporter: Reporter,
        steps: Mapping[Path, tuple[int, int]] | None = None,
    ) -> dict[str, str]: ...


def in_processes(
    stage: str,
    jobs: Jobs,
    workers: int | None,
    threads: int,
    reporter: Reporter,
    steps: Mapping[Path, tuple[int, int]] | None = None,
) -> dict[str, str]:
    """Do all jobs in `workers` (default: 1) processes of `threads` threads each; the errors by run.

    A process that dies fails its own job alone, and another takes its place. Raises `Interrupted`
    on Ctrl-C or SIGTERM, after the jobs in progress have saved what they save.

    With `steps`, how many of how many are done of each job, progress is counted in them: a job is
    given a `reporter` as its last argument, and counts as whole at its end. Else each job is one.
    """
    failed: dict[str, str] = {}
    if not jobs:
        return failed
    done, whole = done_before(jobs, steps)
    reporter.stage(stage, sum(whole.values()), sum(done.values()))
    waiting = list(reversed(jobs.items()))
    idle: list[tuple[Connection, SpawnProcess]] = []
    busy: dict[Connection, tuple[SpawnProcess, Path]] = {}
    with stop_request() as stop:
        try:
            while busy or waiting:
                while waiting and len(busy) < (workers or 1):
                    line, process = idle.pop() if idle else _started(threads)
                    out, job = waiting.pop()
                    busy[line] = process, out
                    with suppress(ConnectionError):  # it died just now, which its answer tells
                        line.send((steps is not None, *job))
                ready = connection.wait(busy, 0.5)
                for line in [each for each in busy if each in ready]:
                    process, out = busy[line]
                    told = _answer(line, process)
                    if isinstance(told, int):
                        done[out] = told
                        reporter.advance(sum(done.values()), str(out))
                        continue
                    del busy[line]
                    if isinstance(told, Interrupted):
                        stop.set()
                    elif not stop.is_set():
                        if told is not None:
                            failed[str(out)] = told
                            reporter.note(f"failed: {out}: {told}")
                        done[out] = whole[out]
                        reporter.advance(sum(done.values()), str(out))
                    if waiting and process.is_alive():
                        idle.append((line, process))
                    else:
                        line.close()
                        process.join()
                if stop.is_set():
                    waiting.clear()
                    for process, _ in busy.values():
                        process.terminate()  # which each takes for Ctrl-C, however often it comes
        finally:
            working = [(line, process) for line, (process, _) in busy.items()]
            for line, process in [*idle, *working]:
                process.kill()
                process.join()
                line.close()
        if stop.is_set():
            raise Interrupted(STOPPED)
    return failed


def done_before(
    jobs: Jobs, steps: Mapping[Path, tuple[int, int]] | None
) -> tuple[dict[Path, int], dict[Path, int]]:
    """What of each job is done, and how much it is: in steps, where they are counted, or whole."""
    if steps is None:
        return dict.fromkeys(jobs, 0), dict.fromkeys(jobs, 1)
    return {out: steps[out][0] for out in jobs}, {out: steps[out][1] for out in jobs}


def _started(threads: int) -> tuple[Connection, SpawnProcess]:
    """A process that does what it is sent, and a line to it."""
    context = multiprocessing.get_context("spawn")
    line, far = context.Pipe()
    process = context.Process(target=_serve, args=(far, threads), daemon=True)
    process.start()
    far.close()
    return line, process


def _answer(line: Connection, process: SpawnProcess) -> Answer:
    try:
        answer: Answer = line.recv()
        return answer
    except (EOFError, ConnectionError):
        process.join()
    code = process.exitcode or 0
    if code >= 0:
        return f"its process ended with exit code {code}"
    return f"its process died of {signal.Signals(-code).name}" + (
        ", as when memory runs out" if -code == signal.SIGKILL else ""
    )


def _serve(line: Connection, threads: int) -> None:
    """Do jobs until the line is closed; on Ctrl-C end the run, not the process."""
    for number in STOPS:
        signal.signal(number, stop_soon)
    Thread(target=_end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(threads)
    with suppress(EOFError, ConnectionError):  # who sends the jobs has gone
        while True:
            counted, function, *arguments = line.recv()
            line.send(work(function, *arguments, *[_Steps(line)] * counted))


def _end_with_parent() -> None:
    """End this process when the one that started it has gone, however it went.

    Else it would train on beside the worker of whoever runs the sweep again.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(128 + signal.SIGTERM)


def work(function: Callable[..., None], *arguments: Any) -> Answer:
    """Do one job, unless Ctrl-C came before it."""
    try:
        if STOP_SOON.is_set():
            raise Interrupted("stopped")
        function(*arguments)
    except Interrupted as error:
        STOP_SOON.set()
        return error
    except (UserError, NotWritten) as error:
        return str(error).partition("\n")[0]
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


class _Steps(Silent):
    """Tells who sends the jobs how many steps of the training are done."""

    def __init__(self, line: Connection) -> None:
        self.line = line
        self.trains = False

    def stage(self, name: str, total: int, done: int = 0) -> None:
        self.trains = name == "training"
        self.advance(done)

    def advance(self, done: int, note: str = "") -> None:
        if self.trains:
            try:
                self.line.send(done)
            except ConnectionError:  # nobody waits for the run any more: save it and end
                STOP_SOON.set()
