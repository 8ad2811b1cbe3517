"""Jobs on a Ray cluster: each is a task with a share of the CPUs and GPUs of one node.

A job whose process or node dies is begun again elsewhere, and goes on from its last saved state.
The nodes share a file system, on which run directories have the same path (docs/cluster.md).
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from noiseprobe.core.errors import Interrupted, UserError
from noiseprobe.core.progress import STOP_SOON, STOPS, Reporter, Silent, stop_request, stop_soon
from noiseprobe.run.holding import InUse
from noiseprobe.stages.workers import STOPPED, Engine, Jobs, done_before, work

MOST = 1000
"""So many jobs are with Ray at a time, those that wait for a place among them."""

RETRIES = 3
"""A job is begun again so often without having come further, then it has failed."""

REACHED_SECONDS = 10.0
"""A cluster answers within that, or is not there."""

HELD_SECONDS = 180.0
"""So long a run may be held by a process that is dying; NFSv4 knows of a dead one after 90."""

TELL_SECONDS = 1.0
"""A job says at most so often how far it is."""


@dataclass(frozen=True)
class Resources:
    """What each job takes of its node: the default is a CPU per thread, no GPU, memory unsaid.

    `gpus` below 1 shares one; `memory` is in bytes, and is reserved, not enforced.
    """

    cpus: float | None = None
    gpus: float = 0.0
    memory: float | None = None

    def options(self, threads: int) -> dict[str, Any]:
        """As Ray is told them."""
        asked = {"num_cpus": threads if self.cpus is None else self.cpus, "num_gpus": self.gpus}
        return asked | ({} if self.memory is None else {"memory": int(self.memory)})


@dataclass(frozen=True)
class _Lost:
    """Why the process of a job is gone."""

    why: str


@contextmanager
def ray_engine(address: str | None = None, resources: Resources | None = None) -> Iterator[Engine]:
    """An engine on the Ray cluster at `address`, to which this process is connected within.

    Without an address it is what RAY_ADDRESS names, or else a Ray that is started on this machine
    and ends with it; `auto` is the one that runs on this machine. A process that is connected
    already stays so, whatever the address. Within, nothing is printed on standard output, where
    Ray tells of nodes that die.

    Raises:
        UserError: ray is not installed; or nothing answers at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UserError("--engine ray: ray is missing; pip install 'noiseprobe[ray]'") from None
    chosen = resources or Resources()
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        if ray.is_initialized():
            yield partial(in_tasks, resources=chosen)
            return
        _connect(address)
        try:
            yield partial(in_tasks, resources=chosen)
        finally:
            ray.shutdown()


def _connect(address: str | None) -> None:
    import logging

    import ray

    place = address or os.environ.get("RAY_ADDRESS") or "local"
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if place == "local":
        ray.init(address=place, include_dashboard=False, **quiet)
        return
    if place.startswith("ray://"):
        raise UserError(
            f"--address {place}: it leads through a proxy; start the sweep on a node of the "
            "cluster, with --address auto, or with ray job submit"
        )
    try:
        if place != "auto":  # where nobody answers, Ray tries on without an end
            host, _, port = place.rpartition(":")
            if not port.isdecimal():
                raise OSError("it is no HOST:PORT")
            socket.create_connection((host.strip("[]"), int(port)), REACHED_SECONDS).close()
        ray.init(address=place, **quiet)
    except (OSError, OverflowError, ValueError, RuntimeError) as error:
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"--address {place}: no Ray cluster there ({why}); give HOST:PORT of its head node, "
            "or start one: ray start --head"
        ) from None


def in_tasks(
    stage: str,
    jobs: Jobs,
    workers: int | None,
    threads: int,
    reporter: Reporter,
    steps: Mapping[Path, tuple[int, int]] | None = None,
    *,
    resources: Resources,
) -> dict[str, str]:
    """As `noiseprobe.stages.workers.in_processes`, each job as a task of the connected cluster.

    Without `workers` there are as many at once as the cluster has room for. A job fails for good
    where its process or node has died `RETRIES` times more without its coming further.
    """
    if not jobs:
        return {}
    tasks = _Tasks(stage, jobs, threads, reporter, steps, resources)
    with stop_request() as stop:
        try:
            while tasks.waiting or tasks.busy:
                tasks.begin(min(workers or MOST, MOST))
                tasks.take_in(stopped=stop.is_set())
                if stop.is_set():
                    tasks.stop()
        finally:
            tasks.kill()
        if stop.is_set():
            raise Interrupted(STOPPED)
    return tasks.failed


class _Tasks:
    """The jobs of a stage: those that wait, those that are with Ray, what came of the others."""

    def __init__(
        self,
        stage: str,
        jobs: Jobs,
        threads: int,
        reporter: Reporter,
        steps: Mapping[Path, tuple[int, int]] | None,
        resources: Resources,
    ) -> None:
        import ray

        self.jobs, self.reporter = jobs, reporter
        self.waiting = list(reversed(jobs))
        self.busy: dict[Any, Path] = {}
        self.failed: dict[str, str] = {}
        self.deaths: dict[Path, tuple[int, int]] = {}  # how many, and the step of the last
        self.stopping = False
        self.done, self.whole = done_before(jobs, steps)
        reporter.stage(stage, sum(self.whole.values()), sum(self.done.values()))
        self.board = _board() if steps else None
        options = resources.options(threads)
        self.remote = ray.remote(max_retries=0, **options)(_on_node)
        self.place = os.getcwd(), threads
        if lacking := _lacking(options):
            reporter.note(f"{stage}: waiting for a node with {lacking}")

    def begin(self, most: int) -> None:
        """Give Ray as many jobs as it may have."""
        while self.waiting and len(self.busy) < most:
            out = self.waiting.pop()
            told = () if self.board is None else (self.board, str(out))
            self.busy[self.remote.remote(*self.place, told, *self.jobs[out])] = out

    def take_in(self, *, stopped: bool) -> None:
        """Wait a moment for what comes, and take it in."""
        import ray

        ready, _ = ray.wait(list(self.busy), timeout=0.5)
        told = self.read_board()
        for name, done in told.items():
            out = Path(name)
            self.done[out] = max(self.done[out], min(done, self.whole[out]))
        last = next(reversed(told), "")
        for task in ready:
            out, answer = self.busy.pop(task), _answer(task)
            last = str(out)
            if stopped:
                continue
            if isinstance(answer, _Lost | Interrupted):
                self.again(out, answer)
            else:
                self.end(out, answer)
        if last:
            self.reporter.advance(sum(self.done.values()), last)

    def read_board(self) -> dict[str, int]:
        """How far jobs are that have come further; nothing where the board cannot be read."""
        import ray

        if self.board is None:
            return {}
        with suppress(ray.exceptions.RayError):
            read: dict[str, int] = ray.get(self.board.read.remote(), timeout=REACHED_SECONDS)
            return read
        return {}

    def again(self, out: Path, told: _Lost | Interrupted) -> None:
        """Begin a job again whose process is gone, unless that has been too often."""
        why = told.why if isinstance(told, _Lost) else "it was told to stop, as before a node ends"
        deaths, step = self.deaths.get(out, (0, -1))
        deaths = 1 if self.done[out] > step else deaths + 1
        self.deaths[out] = deaths, self.done[out]
        if deaths > RETRIES:
            self.end(out, f"{why}, {deaths} times without coming further")
            return
        self.reporter.note(f"{out}: {why}; it goes on from what it saved")
        self.waiting.append(out)

    def end(self, out: Path, wrong: str | None) -> None:
        """A job has ended, with an error or without."""
        if wrong is not None:
            self.failed[str(out)] = wrong
            self.reporter.note(f"failed: {out}: {wrong}")
        self.done[out] = self.whole[out]

    def stop(self) -> None:
        """Let all jobs save what they save, and end; begin none."""
        import ray

        self.waiting.clear()
        if not self.stopping:
            for task in self.busy:
                ray.cancel(task, force=False, recursive=False)
        self.stopping = True

    def kill(self) -> None:
        """End what still goes on, as after a second Ctrl-C, at once."""
        import ray

        for task in self.busy:
            ray.cancel(task, force=True)
        if self.board is not None:
            ray.kill(self.board)


def _answer(task: Any) -> str | Interrupted | _Lost | None:
    import ray
    from ray import exceptions

    try:
        answer: str | Interrupted | None = ray.get(task)
        return answer
    except exceptions.TaskCancelledError:
        return Interrupted("stopped")
    except exceptions.OutOfMemoryError:
        return _Lost("memory ran out on its node")
    except (exceptions.NodeDiedError, exceptions.LocalRayletDiedError):
        return _Lost("its node died")
    except exceptions.WorkerCrashedError:
        return _Lost("its process died")
    except exceptions.RayError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        return f"Ray: {lines[-1].strip() if lines else type(error).__name__}"


def _lacking(options: Mapping[str, Any]) -> str:
    """What no node of the cluster has now of what a job asks for; empty if one has all."""
    import ray

    names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
    asked = {names[key]: amount for key, amount in options.items() if amount}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(node.get(name, 0) >= amount for name, amount in asked.items()) for node in nodes):
        return ""
    return " and ".join(f"{name} {amount:g}" for name, amount in asked.items())


def _board() -> Any:
    """Where jobs write how far they are, on the node of this process: if it dies, so does that."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(_Board).remote()


class _Board:
    """How far each job is, as far as that was not read yet."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}

    def write(self, name: str, done: int) -> None:
        """A job is so far."""
        self.done[name] = done

    def read(self) -> dict[str, int]:
        """What was written since this was read last."""
        read, self.done = self.done, {}
        return read


def _on_node(
    folder: str, threads: int, told: tuple[()] | tuple[Any, str], function: Any, *arguments: Any
) -> str | Interrupted | None:
    """Do one job, here on a node of the cluster, in the folder of whoever asks."""
    try:
        os.chdir(folder)
    except OSError as error:
        return (
            f"'{folder}' cannot be opened on {socket.gethostname()} ({error.strerror}); start the "
            "sweep in a folder that all nodes share"
        )
    import torch

    torch.set_num_threads(threads)
    with _ended_softly():
        reporter = [_Steps(*told)] if told else []
        answer = work(_patiently, function, *arguments, *reporter)
    return None if isinstance(answer, int) else answer


@contextmanager
def _ended_softly() -> Iterator[None]:
    """Let a cancelled task end as Ctrl-C ends it; Ray reports that as SIGINT, a node's end SIGTERM.

    The process does other jobs afterwards.
    """
    STOP_SOON.clear()
    before = {number: signal.signal(number, stop_soon) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _patiently(function: Callable[..., None], *arguments: Any) -> None:
    """Do a job whose run may still be held by a process that is dying."""
    until = time.monotonic() + HELD_SECONDS
    while True:
        try:
            return function(*arguments)
        except InUse:
            if time.monotonic() > until or STOP_SOON.wait(1.0):
                raise


class _Steps(Silent):
    """Writes on the board how many steps of the training are done."""

    def __init__(self, board: Any, name: str) -> None:
        self.board, self.name = board, name
        self.trains, self.last = False, 0.0

    def stage(self, name: str, total: int, done: int = 0) -> None:
        self.trains = name == "training"
        self.advance(done)

    def advance(self, done: int, note: str = "") -> None:
        if self.trains and time.monotonic() - self.last > TELL_SECONDS:
            self.last = time.monotonic()
            self.board.write.remote(self.name, done)
