"""The doctor finds each planted fault, undoes what can be undone, and is silent on clean logs."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from noiseprobe.analysis.doctor import Examined, examine, examined
from noiseprobe.analysis.picking import pick_of
from noiseprobe.analysis.sources import MeansWarning, judged_losses, losses_of
from noiseprobe.analysis.verdicts_doctor import of_examined, of_fault, of_limit
from noiseprobe.logs import read_series
from noiseprobe.logs.log import Series
from noiseprobe.logs.mending import changes_of, first_epoch, uncumulated

Floats = NDArray[np.float64]
Columns = dict[str, Any]


class Recorder:
    """An independent model of what kohya's LossRecorder is said to do: a list, and its mean."""

    def __init__(self) -> None:
        self.entries: list[float] = []

    def add(self, epoch: int, place: int, loss: float) -> None:
        if epoch == 0:
            self.entries.append(loss)
        else:
            self.entries += [0.0] * (place + 1 - len(self.entries))
            self.entries[place] = loss

    @property
    def mean(self) -> float:
        return math.fsum(self.entries) / len(self.entries)


def kohya(
    seed: int, epochs: int, length: int, every: int, noise: float = 0.01, start: int = 0
) -> tuple[Columns, Floats]:
    """What a training logs, as columns, and the validation losses that its means are of."""
    random = np.random.default_rng(seed)
    train, held_out, truth = Recorder(), Recorder(), []
    shown: dict[str, list[float]] = {
        name: []
        for name in ("step", "loss/current", "loss/average", "loss/validation/step_average")
    }
    step, shares = 0, random.uniform(0.5, 1.5, size=12)  # draws that recur
    for epoch in range(start, start + epochs):
        for place in range(length):
            step += 1
            loss = 0.1 + 0.1 * math.exp(-step / 50) + 0.05 * abs(random.normal())
            train.add(epoch, place, loss)
            mean = math.nan
            if step % every == 0:
                level = 0.12 - 0.02 * math.exp(-((step / every / 8 - 1) ** 2))
                losses = level * shares * (1 + noise * random.normal(size=12))
                for sample, each in enumerate(losses):
                    held_out.add(epoch, sample, each)
                truth.append(float(losses.mean()))
                mean = held_out.mean
            row = (float(step), loss, train.mean, mean)
            for name, value in zip(shown, row, strict=True):
                shown[name].append(value)
    return {**shown, "step": np.array(shown["step"], int)}, np.array(truth)


def saved(folder: Path, columns: Columns, name: str = "log.csv") -> Path:
    path = folder / name
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def without_empty(columns: Columns) -> Columns:
    """The rows in which all was recorded."""
    return {str(name): cells for name, cells in pd.DataFrame(columns).dropna().items()}


def kinds(found: Examined, tag: str | None = None) -> list[str]:
    return [fault.kind for fault in found.faults if tag in (None, fault.tag)]


HELD = "loss/validation/step_average"


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_the_cumulative_mean_is_undone_exactly(tmp_path: Path, seed: int, epochs: int) -> None:
    columns, truth = kohya(seed, epochs, 200, 10)
    found = examined(saved(tmp_path, columns))
    (fault,) = (each for each in found.faults if each.tag == HELD)
    assert (fault.kind, fault.mended) == ("cumulative", True)
    assert (fault.facts["epoch"], fault.facts["inside"]) == (200, 20)
    mended = found.mended[HELD]
    assert mended.column == "loss/validation/step"
    np.testing.assert_allclose(mended.values, truth, rtol=1e-9)
    means = np.array(columns[HELD])
    assert np.abs(means[np.isfinite(means)] - truth).max() > 0.005
    assert np.abs(truth / mended.values - 1).max() <= max(fault.facts["error"], 1e-15) * 4


def test_a_minimum_at_the_8th_validation_that_shows_at_the_12th_is_put_back(tmp_path: Path) -> None:
    truth = 0.1 + 0.001 * np.r_[20 * np.arange(7, -1, -1), 14 * np.arange(1, 13)]
    means = np.cumsum(truth) / np.arange(1, 21)
    assert (np.argmin(truth) + 1, np.argmin(means) + 1) == (8, 12)
    np.testing.assert_allclose(uncumulated(means, 20), truth, rtol=1e-12)
    path = saved(tmp_path, {"step": 50 * np.arange(1, 21), HELD: means})
    found = examined(path, first=1000)
    told = of_fault(found.faults[0])
    assert told.where == f"{HELD}, steps 50 to 1000"
    assert "the lowest is at step 400, not 600" in told.mend


def test_whoever_reads_a_cumulative_mean_is_told_and_pick_undoes_it(tmp_path: Path) -> None:
    columns, truth = kohya(1, 1, 200, 10, noise=0)
    path = saved(tmp_path, columns)
    with pytest.warns(MeansWarning, match=r"show a lowest late; noiseprobe doctor .*mended\.csv"):
        (source,) = losses_of([path], None)
    assert source.trace.column == HELD
    with pytest.warns(MeansWarning):
        judged_losses([path], HELD, "loss/current", None)
    with pytest.warns(MeansWarning, match="undone here"):
        (pick,) = pick_of(path)
    assert pick.step == 10 * (np.argmin(truth) + 1) < 10 * (np.argmin(source.trace.values) + 1)


@pytest.mark.filterwarnings("error")
def test_nobody_is_told_of_means_where_there_are_none(tmp_path: Path) -> None:
    columns, _ = kohya(0, 10, 10, 10)  # one validation in each epoch
    losses_of([saved(tmp_path, columns)], HELD)


def test_numbers_of_32_bits_are_undone_to_what_they_hold(tmp_path: Path) -> None:
    columns, truth = kohya(0, 2, 300, 10)
    single = {name: np.float32(values) for name, values in columns.items() if name != "step"}
    found = examined(saved(tmp_path, {"step": columns["step"], **single}))
    (fault,) = (each for each in found.faults if each.tag == HELD)
    assert fault.facts["inside"] == 30
    errors = np.abs(found.mended[HELD].values / truth - 1)
    assert 1e-9 < errors.max() < fault.facts["error"] < 1e-4


@pytest.mark.parametrize(
    ("epochs", "length", "every"), [(10, 10, 10), (10, 10, 30), (3, 7, 4), (1, 15, 10)]
)
def test_a_first_epoch_with_one_validation_at_most_is_sound(
    tmp_path: Path, epochs: int, length: int, every: int
) -> None:
    columns, truth = kohya(0, epochs, length, every)
    found = examined(saved(tmp_path, columns))
    assert kinds(found, HELD) == []
    np.testing.assert_allclose(found.mended[HELD].values, truth, rtol=1e-12)


def test_a_training_that_goes_on_in_a_later_epoch_is_sound(tmp_path: Path) -> None:
    columns, truth = kohya(0, 2, 100, 10, start=3)
    columns["epoch"] = 4 + (columns["step"] - 1) // 100
    found = examined(saved(tmp_path, columns))
    assert kinds(found, HELD) == []
    np.testing.assert_allclose(found.mended[HELD].values, truth, rtol=1e-12)


def test_epochs_that_a_log_names_tell_where_the_first_ended(tmp_path: Path) -> None:
    columns, truth = kohya(0, 3, 100, 10)
    told = {"step": columns["step"], "epoch": 1 + (columns["step"] - 1) // 100}
    found = examined(saved(tmp_path, without_empty({**told, HELD: columns[HELD]})))
    np.testing.assert_allclose(found.mended[HELD].values, truth, rtol=1e-9)


def test_what_cannot_be_known_is_said(tmp_path: Path) -> None:
    columns, truth = kohya(1, 1, 400, 10, noise=0.3)
    alone = saved(tmp_path, without_empty({"step": columns["step"], HELD: columns[HELD]}))
    found = examined(alone)
    assert [(fault.kind, fault.mended) for fault in found.faults] == [("maybe cumulative", False)]
    assert "--first-epoch STEP" in of_fault(found.faults[0]).mend
    assert found.faults[0].facts["step"] == pytest.approx(400, abs=60)
    np.testing.assert_allclose(examined(alone, first=400).mended[HELD].values, truth, rtol=1e-9)
    # Without a noise that dies away nothing is claimed, but what the tag means is.
    plain = saved(tmp_path, {"step": columns["step"][:30], HELD: np.r_[truth[:30]]}, "plain.csv")
    found = examined(plain)
    assert (found.faults, [limit.kind for limit in found.limits]) == (
        [],
        ["unknown mean", "timesteps"],
    )


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda frame: frame.drop(index=49), "validations are missing"),
        (lambda frame: frame[frame["step"] > 10], "validations are missing"),
        (
            lambda frame: frame.assign(**{HELD: frame[HELD].where(frame["step"] != 50, np.inf)}),
            "NaN",
        ),
    ],
)
def test_a_mean_that_cannot_be_undone_is_left_and_said_why(
    tmp_path: Path, spoil: Callable[[pd.DataFrame], pd.DataFrame], reason: str
) -> None:
    columns, _ = kohya(0, 2, 100, 10)
    path = tmp_path / "log.csv"
    frame = spoil(pd.DataFrame(columns))
    frame.drop(columns=["loss/current", "loss/average"]).to_csv(path, index=False)
    found = examined(path, first=100)
    (fault,) = (each for each in found.faults if each.kind == "cumulative")
    assert not fault.mended
    assert reason in of_fault(fault).mend


def test_the_end_of_the_first_epoch_is_told_by_the_mean_of_losses() -> None:
    for epochs, length in ((1, 50), (2, 50), (40, 3), (3, 4000)):
        columns, _ = kohya(length, epochs, length, 10**9)
        current, average = (
            Series("log", columns["step"], np.float32(columns[name]).astype(float), name)
            for name in ("loss/current", "loss/average")
        )
        assert first_epoch(current, average) == length
        thin = [
            Series("log", each.steps[::7], each.values[::7], each.column)
            for each in (current, average)
        ]
        assert first_epoch(*thin) is None or length < 7


def test_noise_that_does_not_die_away_is_no_mean() -> None:
    random = np.random.default_rng(0)
    hits = [changes_of(0.3 + 0.01 * random.normal(size=40)) for _ in range(200)]
    assert np.mean([each is not None and each.seen for each in hits]) < 0.1
    assert changes_of(np.linspace(1, 0, 40)) is None
    assert changes_of(np.ones(5)) is None


STEPS = np.arange(1, 401)


def noisy(seed: int = 0, count: int = 400) -> Floats:
    random = np.random.default_rng(seed)
    trend = 0.1 + 0.1 * np.exp(-np.arange(count) / (count / 4))
    return np.asarray(trend * random.lognormal(sigma=0.5, size=count))


def smooth(values: Floats, decay: float = 0.98) -> Floats:
    return np.asarray(pd.Series(values).ewm(alpha=1 - decay, adjust=False).mean().to_numpy())


def planted_smoothed() -> Columns:
    return {"step": STEPS, "loss/train": noisy(), "smooth_loss/train": smooth(noisy())}


def planted_smoothed_alone() -> Columns:
    return {"step": STEPS, "train_loss_ema": smooth(noisy())}


def planted_epochs() -> Columns:
    return {"epoch": np.arange(1, 31), "val_loss": np.linspace(1, 0.5, 30)}


def planted_restart() -> Columns:
    return {"step": np.r_[STEPS[:300], STEPS[199:]], "loss": noisy(count=501)}


def planted_repeated() -> Columns:
    return {"step": np.r_[1:11, 10, 11:31] * 10, "val_loss": np.linspace(1, 0.5, 31)}


def planted_constant() -> Columns:
    return {"step": STEPS, "loss": 0.25}


def planted_nan() -> Columns:
    return {"step": STEPS, "loss": [*noisy()[:300], *["nan"] * 100]}


def planted_infinity() -> Columns:
    return {"step": STEPS, "loss": np.where(STEPS == 40, np.inf, noisy())}


def planted_gap() -> Columns:
    steps = np.r_[np.arange(10, 500, 10), np.arange(600, 1000, 10)]
    return {"step": steps, "val_loss": np.exp(-steps / 500)}


def planted_redrawn() -> Columns:
    random = np.random.default_rng(0)
    steps = np.arange(100, 4100, 100)
    return {
        "step": steps,
        "val/loss": 0.3 + 0.05 * np.exp(-steps / 1000) + 0.1 * random.normal(size=40),
    }


def planted_unnumbered() -> Columns:
    return {"loss": noisy(), "lr": 1e-4}


PLANTED = {
    "smoothed": (planted_smoothed, "smooth_loss/train", True),
    "smoothed alone": (planted_smoothed_alone, "train_loss_ema", False),
    "epochs": (planted_epochs, "val_loss", False),
    "restart": (planted_restart, "loss", True),
    "repeated": (planted_repeated, "val_loss", True),
    "constant": (planted_constant, "loss", False),
    "not finite": (planted_nan, "loss", True),
    "not finite once": (planted_infinity, "loss", True),
    "missing": (planted_gap, "val_loss", False),
    "redrawn": (planted_redrawn, "val/loss", False),
    "numbered": (planted_unnumbered, "loss", False),
}


@pytest.mark.parametrize("name", PLANTED)
def test_each_planted_fault_is_found_and_nothing_else(tmp_path: Path, name: str) -> None:
    make, tag, mended = PLANTED[name]
    kind = next(
        kind for kind in sorted(map(str, _KINDS), key=len, reverse=True) if name.startswith(kind)
    )
    found = examined(saved(tmp_path, make()))
    assert [(fault.kind, fault.tag, fault.mended) for fault in found.faults] == [
        (kind, tag, mended)
    ]
    told = of_fault(found.faults[0])
    assert all(told)
    assert all("\n" not in each and not each.endswith(".") for each in told)
    assert json.dumps(dict(found.faults[0].facts))


_KINDS = {"smoothed", "epochs", "restart", "repeated", "constant", "not finite", "missing"}
_KINDS |= {"redrawn", "numbered"}


def test_what_is_mended_is_as_it_should_be(tmp_path: Path) -> None:
    found = examined(saved(tmp_path, planted_restart())).mended["loss"]
    np.testing.assert_array_equal(found.steps, STEPS)
    np.testing.assert_array_equal(found.values[199:], noisy(count=501)[300:])
    found = examined(saved(tmp_path, planted_repeated())).mended["val_loss"]
    np.testing.assert_array_equal(found.steps, np.arange(10, 310, 10))
    assert found.values[9] == planted_repeated()["val_loss"][10]
    found = examined(saved(tmp_path, planted_nan())).mended["loss"]
    np.testing.assert_array_equal(found.steps, STEPS[:300])
    # The smoothed one is left out beside the raw one, which stays as it is.
    mended = examined(saved(tmp_path, planted_smoothed())).mended
    assert list(mended) == ["loss/train"]
    np.testing.assert_array_equal(mended["loss/train"].values, noisy())


@pytest.mark.parametrize("whole", [True, False])
def test_epochs_get_the_steps_that_they_have(tmp_path: Path, whole: bool) -> None:
    epochs = np.arange(1, 11)
    events = pytest.importorskip("torch.utils.tensorboard")
    with events.SummaryWriter(str(tmp_path)) as writer:
        for step in range(1, 401 if whole else 396):
            writer.add_scalar("loss/current", float(noisy()[step - 1]), step)
        for epoch in epochs:
            writer.add_scalar("loss/epoch", 1 / int(epoch), int(epoch))
    found = examined(tmp_path)
    assert kinds(found) == ["epochs"]
    assert found.faults[0].mended == whole
    steps = found.mended["loss/epoch"].steps
    np.testing.assert_array_equal(steps, 40 * epochs if whole else epochs)
    assert ("40 steps for each epoch" in of_fault(found.faults[0]).mend) == whole


def clean(seed: int) -> Columns:
    """A sound log: falling, U-shaped or flat; smooth or noisy; short or long; several names."""
    random = np.random.default_rng([seed, 17])
    count = int(random.choice([5, 12, 40, 200, 2000]))
    every = int(random.choice([1, 10, 50, 100]))
    place = np.linspace(0, 1, count)
    shape = [
        0.3 + 0.2 * np.exp(-5 * place),
        0.3 + 0.4 * (place - 0.4) ** 2,
        np.full(count, 0.3) + 1e-4 * random.normal(size=count),
        0.3 / (1 + 10 * place),
    ][seed % 4]
    noise = random.lognormal(sigma=[0.02, 0.5][seed // 4 % 2], size=count)
    held_out = shape * (1 + 0.002 * random.normal(size=count))  # the same draws at each validation
    names = [
        ("loss", "val_loss"),
        ("train/loss", "eval/loss"),
        ("train_loss", "loss/val/dog"),
        ("loss/train_step", "loss/validation_step/dog"),
        ("loss/loss", "val/loss"),
    ][seed % 5]
    columns: Columns = {"step": every * np.arange(1, count + 1), names[0]: shape * noise}
    if seed % 3:
        sparse = (np.arange(count) % max(1, count // 20)) == 0
        columns[names[1]] = np.where(sparse, held_out, np.nan)
    if seed % 2:
        columns["lr"] = np.where(place < 0.1, place, 0.1)
        columns["epoch"] = np.floor(4 * place)
    return columns


def test_it_is_silent_on_a_hundred_clean_logs(tmp_path: Path) -> None:
    paths = [saved(tmp_path, clean(seed), f"{seed:03}.csv") for seed in range(100)]
    loud = {found.log.path.name: kinds(found) for found in examine(paths) if found.faults}
    assert loud == {}
    assert len({path.read_bytes() for path in paths}) == 100


@pytest.mark.parametrize(
    ("tags", "tool", "said"),
    [
        (("loss/train_step", "loss/validation_step/dog"), "OneTrainer", "499"),
        (("loss/current", HELD), "kohya's sd-scripts", "200, 400, 600 and 800"),
        (("loss/loss", "val/loss"), "ai-toolkit", "0.75"),
    ],
)
def test_a_validation_at_a_few_timesteps_is_told_what_it_can_show(
    tmp_path: Path, tags: tuple[str, str], tool: str, said: str
) -> None:
    steps = np.arange(1, 9)
    found = examined(saved(tmp_path, {"step": steps, tags[0]: noisy(count=8), tags[1]: 1 / steps}))
    assert found.tool == tool
    told = [of_limit(limit) for limit in found.limits if limit.kind == "timesteps"]
    assert [each["tag"] for each in told] == [tags[1]]
    assert said in told[0]["what"]
    assert all(told[0].values())


def test_losses_of_accumulated_gradients_are_no_repetition(tmp_path: Path) -> None:
    found = examined(saved(tmp_path, {"step": np.repeat(STEPS[:200], 2), "loss": noisy()}))
    assert found.faults == []
    assert len(found.mended["loss"].values) == 400


def test_one_sentence_sums_a_log_up(tmp_path: Path) -> None:
    (told,) = of_examined(examined(saved(tmp_path, planted_nan())))
    assert told.endswith("log.csv: CSV, 1 trace; 1 fault, all mended in --out.")
    (told,) = of_examined(examined(saved(tmp_path, clean(1))))
    assert "nothing wrong was found in 2 losses" in told
    assert read_series(tmp_path / "log.csv").column
