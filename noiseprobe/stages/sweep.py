"""Many runs from one file: concepts × methods × seeds, in several processes, resumable.

Each run goes on to its last step with every rule watched; then the steps at which the rules would
have stopped it are measured.
"""

import glob
import multiprocessing
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from noiseprobe.analysis.stops import few_iterations, stops
from noiseprobe.core.errors import Interrupted, UserError, did_you_mean
from noiseprobe.core.progress import STOP_SOON, STOPS, Reporter, stop_request, stop_soon
from noiseprobe.run.defaults import METHODS
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import load_toml, resolve
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.traces import part_path

KEYS = ("concepts", "methods", "seeds", "out", "workers", "threads", "probe", "settings", "method")
Jobs = dict[Path, tuple[Any, ...]]  # by run: a function and its arguments
WATCHED = {"stop": "none", "checks": True}


@dataclass(frozen=True)
class Sweep:
    """What to run: one `RunConfig` per run directory, and how many processes of how many threads.

    `probe` is the number of steps between the checkpoints at which the factors are probed; 0: none.
    """

    runs: dict[Path, RunConfig]
    workers: int = 1
    threads: int = 1
    probe: int = 0


def read_sweep(file: Path) -> Sweep:
    """The sweep that a TOML file describes; raises `UserError` naming a key and the nearest one.

    `concepts` are names, folders or patterns, relative to the file; `settings` are for all runs,
    those in a table `method.NAME` for one method.
    """
    content = load_toml(file)
    _known(file, content, KEYS)
    methods = _texts(file, content, "methods", list(METHODS[:1]))
    for method in methods:
        if method not in METHODS:
            raise UserError(f"{file}: methods: unknown '{method}'; {_mend(method, METHODS)}")
    of_method = _table(file, "method", content.get("method", {}))
    _known(file, of_method, METHODS, "method.")
    common = _table(file, "settings", content.get("settings", {}))
    for key in WATCHED.keys() & common.keys():
        raise UserError(f"{file}: settings.{key}: a sweep watches every rule to the end; remove it")
    tables = {"settings": common} | {f"method.{name}": of_method[name] for name in of_method}
    for name, table in tables.items():
        _known(file, _table(file, name, table), [*RunConfig.model_fields, "class"], f"{name}.")
    out = file.parent / _text(file, "out", content.get("out", "runs/sweep"))
    runs: dict[Path, RunConfig] = {}
    for method in methods:
        for concept in _concepts(file, content):
            for seed in _listed(file, content, "seeds", [0]):
                given = WATCHED | common | of_method.get(method, {})
                if "class" in given:
                    given["class_noun"] = given.pop("class")
                given |= {"concept": concept, "method": method, "seed": seed}
                place = out / method / Path(concept).name / f"seed-{seed}"
                if place in runs:
                    raise UserError(
                        f"{file}: concepts: '{runs[place].concept}' and '{concept}' have the same "
                        "name; rename one folder"
                    )
                runs[place] = resolve(given)
    return Sweep(
        runs,
        _count(file, content, "workers", 1),
        _count(file, content, "threads", 1),
        _count(file, content, "probe", 0),
    )


def run_sweep(sweep: Sweep, reporter: Reporter) -> dict[str, str]:
    """Train what is not trained, then measure what is not measured; the errors by run.

    A run that fails does not hold up the others. Raises `Interrupted` on Ctrl-C, after the runs in
    progress have saved their state.
    """
    failed = train_sweep(sweep, reporter)
    trained = [out for out in sweep.runs if str(out) not in failed]
    few = few_of(trained)
    jobs: Jobs = {out: (measure_one, out, few[sweep.runs[out].method]) for out in trained}
    return failed | in_processes("measuring", jobs, sweep.workers, sweep.threads, reporter)


def train_sweep(sweep: Sweep, reporter: Reporter) -> dict[str, str]:
    """The first half of `run_sweep`: train, and probe where the sweep says so."""
    jobs: Jobs = {out: (train_one, out, config, sweep.probe) for out, config in sweep.runs.items()}
    return in_processes("training", jobs, sweep.workers, sweep.threads, reporter)


def few_of(runs: Sequence[Path]) -> dict[str, float]:
    """The average steps of the CLIP rule by method, over the runs in these directories."""
    by_method: dict[str, list[Run]] = {}
    for run in map(Run.open, runs):
        by_method.setdefault(run.config.method, []).append(run)
    return {
        method: few_iterations(
            {str(run.directory): (run.train_trace(), run.config) for run in group}
        )
        for method, group in by_method.items()
    }


def train_one(out: Path, config: RunConfig, probe: int) -> None:
    """Train the run in `out` to its last step, or go on with it; probe every `probe` steps.

    Raises `UserError` if the run there was started with settings that do not go with `config`.
    """
    from noiseprobe.stages import pipeline
    from noiseprobe.training.preparing import prepare

    if (out / "config.toml").is_file():
        run, config = pipeline.reopen(out, config.model_dump())
        trained = run.status["stopped_by"] == "steps" and run.status["step"] >= config.steps
        if trained and not _unprobed(run, probe):
            return
        ready = prepare(config, run)
    else:
        run, ready = pipeline.start(config, out)
    pipeline.train_stage(run, config, ready)
    if steps := _unprobed(run, probe):
        pipeline.probe_stage(run, config, ready, steps=steps)


def _unprobed(run: Run, every: int) -> list[int]:
    """The checkpoints at every so many steps that were not probed yet; none for 0."""
    chosen = [step for step in run.checkpoint_steps() if every and step % every == 0]
    return [step for step in chosen if not part_path(run.probe_directory, step).is_file()]


def measure_one(out: Path, few: float) -> None:
    """Measure the checkpoints at which the variants end the run in `out`."""
    from noiseprobe.stages import pipeline

    run = Run.open(out)
    found = stops(run.train_trace(), run.config, few)
    steps = sorted({run.nearest_checkpoint(stop.step) for stop in found.values()})
    pipeline.measure_stage(run, run.config, steps)


def in_processes(
    stage: str, jobs: Jobs, workers: int, threads: int, reporter: Reporter
) -> dict[str, str]:
    """Do all jobs in `workers` processes of `threads` threads each; the errors by run.

    A process that dies fails its own job alone, and another takes its place. Raises `Interrupted`
    on Ctrl-C or SIGTERM, after the jobs in progress have saved what they save.
    """
    failed: dict[str, str] = {}
    if not jobs:
        return failed
    reporter.stage(stage, len(jobs))
    waiting, done = list(reversed(jobs.items())), 0
    idle: list[tuple[Connection, SpawnProcess]] = []
    busy: dict[Connection, tuple[SpawnProcess, Path]] = {}
    with stop_request() as stop:
        try:
            while busy or waiting:
                while waiting and len(busy) < workers:
                    line, process = idle.pop() if idle else _started(threads)
                    out, job = waiting.pop()
                    busy[line] = process, out
                    with suppress(BrokenPipeError):  # it died just now, which its answer tells
                        line.send(job)
                ready = connection.wait(busy, 0.5)
                for line in [each for each in busy if each in ready]:
                    process, out = busy.pop(line)
                    told = _answer(line, process)
                    if isinstance(told, Interrupted):
                        stop.set()
                    elif not stop.is_set():
                        if told is not None:
                            failed[str(out)] = told
                            reporter.note(f"failed: {out}: {told}")
                        done += 1
                        reporter.advance(done, str(out))
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
            for process, _ in busy.values():
                process.kill()
        if stop.is_set():
            raise Interrupted("the sweep was stopped and saved; the same command goes on")
    return failed


def _started(threads: int) -> tuple[Connection, SpawnProcess]:
    """A process that does what it is sent, and a line to it."""
    context = multiprocessing.get_context("spawn")
    line, far = context.Pipe()
    process = context.Process(target=_serve, args=(far, threads), daemon=True)
    process.start()
    far.close()
    return line, process


def _answer(line: Connection, process: SpawnProcess) -> str | Interrupted | None:
    """What became of a job: an error's line, `Interrupted`, or None where it was done."""
    try:
        answer: str | Interrupted | None = line.recv()
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
    import torch

    torch.set_num_threads(threads)
    with suppress(EOFError, BrokenPipeError):  # who sends the jobs has gone
        while True:
            line.send(_work(*line.recv()))


def _work(function: Callable[..., None], *arguments: Any) -> str | Interrupted | None:
    """Do one job, unless Ctrl-C came before it."""
    try:
        if STOP_SOON.is_set():
            raise Interrupted("stopped")
        function(*arguments)
    except Interrupted as error:
        STOP_SOON.set()
        return error
    except Exception as error:
        return _told(error)
    return None


def _told(error: BaseException) -> str:
    first = str(error).strip().splitlines()
    if isinstance(error, UserError) and first:
        return first[0]
    return f"{type(error).__name__}: {error}"


def _known(file: Path, table: dict[str, Any], keys: Sequence[str], prefix: str = "") -> None:
    for key in table:
        if key not in keys:
            raise UserError(f"{file}: unknown key '{prefix}{key}'; {_mend(key, keys)}")


def _mend(word: str, known: Sequence[str]) -> str:
    return did_you_mean(word, known, f"known are {', '.join(known)}", cutoff=0.4)


def _listed(file: Path, content: dict[str, Any], key: str, usual: list[Any]) -> list[Any]:
    value = content.get(key, usual)
    return _given(file, key, value, "a list", isinstance(value, list) and bool(value))


def _texts(file: Path, content: dict[str, Any], key: str, usual: list[Any]) -> list[str]:
    return [_text(file, key, each) for each in _listed(file, content, key, usual)]


def _text(file: Path, key: str, value: Any) -> Any:
    return _given(file, key, value, "a text in quotes", isinstance(value, str))


def _table(file: Path, name: str, value: Any) -> Any:
    return _given(file, name, value, f"a table is expected: [{name}]", isinstance(value, dict))


def _count(file: Path, content: dict[str, Any], key: str, least: int) -> Any:
    value = content.get(key, least)
    whole = f"a whole number of {least} or more"
    return _given(file, key, value, whole, isinstance(value, int) and value >= least)


def _given(file: Path, key: str, value: Any, expected: str, right: bool) -> Any:
    if not right:
        said = expected if " expected" in expected else f"{expected} is expected"
        raise UserError(f"{file}: {key}: {value!r} given, but {said}")
    return value


def _concepts(file: Path, content: dict[str, Any]) -> list[str]:
    """Bundled names as they are, folders and patterns as full paths."""
    found: list[str] = []
    for each in _texts(file, content, "concepts", []):
        matches = sorted(glob.glob(str(file.parent / each)))
        folders = [path for path in matches if Path(path).is_dir()]
        if any(letter in each for letter in "*?[") and not folders:
            raise UserError(f"{file}: concepts: no folder matches '{each}'; mend the pattern")
        found += [str(Path(path).resolve()) for path in folders] or [each]
    return list(dict.fromkeys(found))
