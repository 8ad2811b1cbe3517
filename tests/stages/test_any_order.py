"""Whatever happens to a run, in whatever order, it says what is wrong, and ends the same."""

import hashlib
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from noiseprobe.analysis.picking import pick_of_run
from noiseprobe.core import manifest
from noiseprobe.core.errors import Interrupted, UserError
from noiseprobe.core.progress import Silent
from noiseprobe.run.directory import Run
from noiseprobe.run.holding import LOCK
from noiseprobe.run.resolving import resolve
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.verifying import Finding, findings
from noiseprobe.stages import pipeline
from noiseprobe.stages.mending import mend
from noiseprobe.stages.pipeline import probe_stage, reopen, start, train_stage
from noiseprobe.training import driver
from noiseprobe.training.cache import Cache
from noiseprobe.training.preparing import Personalization, prepare
from noiseprobe.training.states import read_state
from tests.conftest import short
from tests.crashing import crashing, recorded

pytestmark = pytest.mark.long

STEPS = 4

EXAMPLES = 16
"""How many runs things happen to. With `derandomize=False`, each time to others."""

ENOUGH = dict.fromkeys(("the same", "crash", "repair", "flip", "cut", "delete"), 1)
"""How often it must have happened for the test to have tried anything."""

TRACES = ("train", "tracked", "probe")
BY_HAND = ("config.toml", "environment.json")
"""Files that nothing makes again: a person restores them."""


class InterruptAfter(Silent):
    """Presses Ctrl-C when so many steps are done."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def advance(self, done: int, note: str = "") -> None:
        if done >= self.steps:
            signal.raise_signal(signal.SIGINT)


def opened(place: Path, config: RunConfig) -> tuple[Run, RunConfig, Personalization]:
    """The run at `place`, begun or gone on with, as the command does it."""
    if (place / "config.toml").is_file():
        run, config = reopen(place, {})
        return run, config, pipeline.prepare(config, run)
    run, ready = start(config, place)
    return run, config, ready


def train(place: Path, config: RunConfig, steps: int = STEPS) -> None:
    run, config, ready = opened(place, config)
    train_stage(run, config, ready, InterruptAfter(steps) if steps < STEPS else Silent())


def probe(place: Path, config: RunConfig) -> None:
    run, config = reopen(place, {})
    probe_stage(run, config, pipeline.prepare(config, run))


def finish(place: Path, config: RunConfig) -> None:
    train(place, config)
    probe(place, config)


def repair(place: Path, config: RunConfig) -> None:
    mend(Run(place))


COMMANDS: dict[str, Callable[[Path, RunConfig], None]] = {
    "train": train,
    "probe": probe,
    "finish": finish,
    "repair": repair,
}


def flipped(content: bytes, where: float) -> bytes:
    """One bit is another."""
    changed = bytearray(content)
    changed[int(where * len(content))] ^= 1 << int(where * 1000) % 8
    return bytes(changed)


def cut(content: bytes, where: float) -> bytes:
    """It ends before its end."""
    return content[: int(where * len(content))]


HARMS: dict[str, Callable[[bytes, float], bytes | None]] = {
    "flip": flipped,
    "cut": cut,
    "delete": lambda content, where: None,
}


def content_of(place: Path) -> dict[str, str]:
    """The checksum of each file by name, but what any command does: say who looked last, and sweep
    away what a dead one left half written.
    """
    return {
        file.relative_to(place).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in manifest.files_in(place)
        if file.name != LOCK and not file.name.endswith(".partial")
    }


def read(run: Run, name: str) -> None:
    """Read a file as the stages do that need it; raises `UserError` where it cannot be."""
    room, *inside = Path(name).parts
    if room == "traces":
        getattr(run, f"{inside[0]}_trace")()
    elif room == "checkpoints":
        manifest.check(run.checkpoint(int(inside[0].removeprefix("step-"))))
    elif room.endswith(".pt"):
        state, why = read_state(run.directory / name)
        if state is None:
            raise UserError(why)
    elif room == "config.toml":
        _ = run.config
    elif room == "status.json":
        _ = run.status
    elif room == "environment.json":
        _ = run.num_timesteps


WRITES = st.integers(1, 8) | st.integers(1, 45)
"""At which a crash comes: a repair or a probe has few of them, a training some forty."""

PLACES = st.floats(0, 1, exclude_max=True)
"""Which file, or which byte of it, from the first to the last."""

READ = ("traces", "checkpoints", "state", *BY_HAND, "status.json")
"""How the names of the files begin that `read` reads."""


@dataclass(frozen=True)
class World:
    """What all runs are made of, and what they should come to."""

    folder: Path
    config: RunConfig
    reference: dict[str, str]
    pick: int | None


class AnyOrder(RuleBasedStateMachine):
    """A run directory to which things happen.

    `harmed` has each file that was damaged and what it was left as, None where it was deleted;
    `saved` what those were before that a person restores.
    """

    world: ClassVar[World]
    happened: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(dir=self.world.folder)) / "run"
        self.run = Run(self.place)
        self.harmed: dict[str, bytes | None] = {}
        self.saved: dict[str, bytes] = {}

    def teardown(self) -> None:
        """Whatever has happened, a repair and the rest of the work end as if nothing had."""
        try:
            if self.begun or self.harmed:
                self.mend_all()
            assert self.ends("finish")
            self.require_the_same()
        finally:
            shutil.rmtree(self.place.parent)

    @property
    def begun(self) -> bool:
        return (self.place / "config.toml").is_file()

    @property
    def trained(self) -> bool:
        return self.begun and not self.damaged and self.run.status["stage"] in ("trained", "probed")

    @property
    def damaged(self) -> set[str]:
        """The files that are still as they were damaged."""
        return {name for name, left in self.harmed.items() if self.now(name) == left}

    def now(self, name: str) -> bytes | None:
        file = self.place / name
        return file.read_bytes() if file.is_file() else None

    def ends(self, command: str, **more: int) -> bool:
        """Whether a command ends well; in one line where something is damaged, and only there."""
        damaged = self.damaged
        try:
            COMMANDS[command](self.place, self.world.config, **more)
        except Interrupted:
            return False
        except UserError as error:
            refusal = str(error)
        else:
            refusal = ""
        if refusal:
            assert damaged, refusal
            assert len(refusal.splitlines()) == 1, refusal
            self.happened[f"{command} refused"] += 1
            return False
        self.happened[command] += 1
        return True

    @initialize(steps=st.integers(0, STEPS))
    def begin(self, steps: int) -> None:
        self.ends("train", steps=steps)

    @rule(steps=st.integers(0, STEPS))
    def train_some_steps(self, steps: int) -> None:
        self.ends("train", steps=steps)

    @precondition(lambda self: self.begun and self.run.checkpoint_steps())
    @rule()
    def probe_what_there_is(self) -> None:
        self.ends("probe")

    @rule()
    def finish(self) -> None:
        if self.ends("finish"):
            self.require_the_same()

    @rule(command=st.sampled_from(sorted(COMMANDS)), write=WRITES, done=st.booleans())
    def crash(self, command: str, write: int, done: bool) -> None:
        if command in ("probe", "repair") and not (self.begun and self.run.checkpoint_steps()):
            return
        with crashing(write, done=done) as disk:
            self.ends(command)
        self.happened["crash"] += disk.dead

    @precondition(lambda self: self.begun)
    @rule(which=PLACES, where=PLACES)
    def flip_a_bit(self, which: float, where: float) -> None:
        self.damage("flip", which, where)

    @precondition(lambda self: self.begun)
    @rule(which=PLACES, where=PLACES)
    def cut_a_file(self, which: float, where: float) -> None:
        self.damage("cut", which, where)

    @precondition(lambda self: self.begun)
    @rule(which=PLACES)
    def delete_a_file(self, which: float) -> None:
        self.damage("delete", which, 0)

    def damage(self, kind: str, which: float, where: float) -> None:
        names = sorted(manifest.manifest_of(self.place).current.keys() - self.damaged)
        files = [name for name in names if self.now(name)]
        if not files:
            return
        name = files[int(which * len(files))]
        before, file = content_of(self.place), self.place / name
        content = file.read_bytes()
        left = HARMS[kind](content, where)
        if (
            kind != "flip"
        ):  # which is on the disk, also where that shares the file with another name
            file.unlink()
        if left is not None:
            file.write_bytes(left)
        changed = before.items() - content_of(self.place).items()
        self.harmed |= {each: self.now(each) for each, _ in changed}
        self.saved |= {each: content for each, _ in changed if each in BY_HAND}
        self.happened[kind] += 1
        assert {name for name, _ in changed} <= {self.name_of(each.path) for each in self.told()}
        if left is not None and name.startswith(READ):
            with pytest.raises(UserError):
                read(self.run, name)

    @precondition(lambda self: self.begun or self.harmed)
    @rule()
    def repair(self) -> None:
        self.mend_all()

    def mend_all(self) -> None:
        for name in self.damaged & {*BY_HAND}:
            (self.place / name).write_bytes(self.saved[name])
        if not self.begun:
            return
        assert self.ends("repair")
        self.harmed = {}

    @precondition(lambda self: self.begun)
    @rule()
    def ask_what_cannot_be_and_what_to_pick(self) -> None:
        before = content_of(self.place)
        config = self.world.config
        refused: list[Callable[[], object]] = [
            lambda: start(config, self.place),
            lambda: reopen(self.place, {"seed": config.seed + 1}),
            lambda: reopen(self.place, {"steps": self.run.status["step"] - 1}),
        ]
        for each in refused:
            with pytest.raises(UserError):
                each()
        try:
            step = pick_of_run(self.run).step
        except UserError:
            assert not self.trained
        else:
            assert step == self.world.pick or not self.trained
        assert content_of(self.place) == before

    @invariant()
    def what_is_told_is_what_was_damaged(self) -> None:
        if not self.begun:
            return
        before = content_of(self.place)
        damaged, told = self.damaged, self.told()
        assert content_of(self.place) == before
        if not self.harmed:
            assert [each for each in told if each.wrong] == []
        not_whole = {name for name in damaged if self.harmed[name] is not None}
        assert not_whole <= {self.name_of(each.path) for each in told if each.wrong}

    def told(self) -> list[Finding]:
        return findings(self.run)

    def name_of(self, path: Path) -> str:
        return path.relative_to(self.place).as_posix()

    def require_the_same(self) -> None:
        """What can be read is what an uninterrupted run has."""
        found: dict[str, str] = {}
        damaged, unread = self.damaged, set()
        for trace in TRACES:
            try:
                found |= recorded(self.run, (trace,))
            except UserError:
                assert damaged
                unread.add(trace)
        reference = self.world.reference
        other = {each for each in reference | found if found.get(each) != reference.get(each)}
        assert other <= damaged | unread
        self.happened["the same"] += not damaged


@pytest.fixture
def world(
    model_directory: Path,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> World:
    """One model for all runs, which is as it was loaded when a command begins."""
    few = {"steps": STEPS, "settings": "timesteps", "replicates": 1, "probe_batch": 2}
    few |= {"eval_batch": 2, "train_batch_size": 1, "hold_out": "1", "val_every": 1, "val_batch": 2}
    few |= {"keep": "best", "watch": "l_val"}
    config = resolve(short(model_directory, photographs) | few)
    ready = prepare(config)
    untrained = ready.method.trained()

    def prepared(config: RunConfig, run: Run | None = None, **_: Any) -> Personalization:
        ready.method.load(untrained)
        return replace(ready, cache=Cache(run.cache_directory if run else None))

    finish(tmp_path / "reference", config)
    monkeypatch.setattr(driver, "SAVE_SHARE", 1e9)  # a state at each checkpoint, however fast
    monkeypatch.setattr(pipeline, "prepare", prepared)
    run = Run(tmp_path / "reference")
    return World(tmp_path, config, recorded(run, TRACES), pick_of_run(run).step)


def test_any_order_of_events_ends_as_an_uninterrupted_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AnyOrder, "world", world, raising=False)
    monkeypatch.setattr(AnyOrder, "happened", Counter(), raising=False)
    run_state_machine_as_test(
        AnyOrder,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=10,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        ),
    )
    happened = AnyOrder.happened
    for what, least in ENOUGH.items():
        assert happened[what] >= least, happened
