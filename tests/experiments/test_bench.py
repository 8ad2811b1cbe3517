"""The bench: what ours is held against computes the same, and the page says what was measured."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.bench import __main__ as bench
from experiments.bench.children import in_a_child, peak_memory, return_at_once, settle_memory
from experiments.bench.figure import of_file, plot_growth
from experiments.bench.measured import Asked, Budget, Goal, Row, each, interleaved
from experiments.bench.parts import PARTS
from experiments.bench.parts.dvar import falling, feed
from experiments.bench.parts.forward import forward, live, matrix_product, operations_of
from experiments.bench.parts.growth import Grown, rows_of
from experiments.bench.parts.probe import as_published, seen
from experiments.bench.parts.steps import counted
from experiments.bench.published import BATCH, PublishedDVAR, batches_of, published_probe
from experiments.bench.readme import COMMANDS, cells, page
from experiments.bench.results import Part
from noiseprobe.draws.factors import NAMED_SETTINGS
from noiseprobe.stages.probing import evaluate, plan_rows
from noiseprobe.stopping import DVAR, dvar_stops
from noiseprobe.training.preparing import Personalization

SAMPLES = BATCH + 3
ABOUT: dict[str, Any] = {
    "date": "2026-01-02 03:04",
    "command": "python -m experiments.bench",
    "commit": "abc",
    "device": "Some GPU",
    "machine": "x86_64, 8 processors",
    "threads": 4,
    "versions": {"python": "3.11", "torch": "2.13", "peft": None},
}


def asked(**more: Any) -> Asked:
    given: dict[str, Any] = {"device": torch.device("cpu"), "size": "tiny", "precision": "fp32"}
    return Asked(**given | {"rounds": 1, "budget": Budget()} | more)


def test_the_published_probe_and_ours_have_the_losses_of_float64(ready: Personalization) -> None:
    draws = ready.objective.draws(0, "probe", len(ready.method.captions))
    drawn = batches_of(draws, NAMED_SETTINGS, SAMPLES)
    pixels, captions = seen(ready), ready.method.captions
    plain = as_published(ready, torch.float32)
    published = published_probe(plain, pixels, captions, drawn)
    exact = published_probe(as_published(ready, torch.float64), pixels, captions, drawn)
    plan = plan_rows(NAMED_SETTINGS, 1, SAMPLES)
    ours = evaluate(ready.objective, ready.method, draws, plan)
    for setting, theirs, true in zip(NAMED_SETTINGS, published, exact, strict=True):
        own = ours[ours["setting"] == setting.name].sort_values("sample")["loss"]
        assert true.std() > 0
        np.testing.assert_allclose(theirs, true, rtol=1e-5)
        np.testing.assert_allclose(own, true, rtol=1e-5)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.5, 0.15, 0.02, 1e-9])
def test_the_published_class_and_ours_stop_at_the_same_loss(seed: int, threshold: float) -> None:
    losses = falling(900, seed).tolist()
    stop = feed(PublishedDVAR(60, threshold), losses)
    assert stop == feed(DVAR(60, threshold), losses)
    assert [stop] == dvar_stops(losses, 60, [threshold])
    assert (stop is None) == (threshold == 1e-9)


def test_all_parts_are_measured_and_one_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert bench.main(["--tiny", "--out", str(tmp_path)]) == 0
    file = tmp_path / "results-cpu-tiny.json"
    first = json.loads(file.read_text())["parts"]
    assert list(first) == list(PARTS)
    for part in first.values():
        assert part["rows"]
        assert not part["left_out"]
        for row in part["rows"]:
            assert min(row["ours"]) > 0
            assert math.isfinite(row["value"])
            assert isinstance(row["met"], bool)
    text = (tmp_path / "README.md").read_text()
    assert all(f"### {heading}" in text for heading in PARTS.values())
    [figure] = (tmp_path / "figures").iterdir()
    assert f"(figures/{figure.name})" in text
    assert bench.main(["--tiny", "--only", "dvar", "--out", str(tmp_path)]) == 0
    second = json.loads(file.read_text())["parts"]
    assert second["dvar"] != first["dvar"]
    assert second | {"dvar": 0} == first | {"dvar": 0}


def test_what_fails_is_told_and_the_rest_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(name: str, asked: Asked) -> Any:
        yield Row("one", "another", "ours", "s", (1.0,), goal=Goal("at most", 2))
        raise ValueError("no such thing\nat all")

    monkeypatch.setattr(bench, "measure", broken)
    assert bench.main(["--tiny", "--only", "dvar", "--out", str(tmp_path)]) == 1
    part = json.loads((tmp_path / "results-cpu-tiny.json").read_text())["parts"]["dvar"]
    assert [row["what"] for row in part["rows"]] == ["one"]
    assert part["left_out"] == ["the rest, which failed (ValueError: no such thing)"]
    assert "failed (ValueError" in (tmp_path / "README.md").read_text()


def test_what_does_not_fit_into_the_minutes_is_left_out_and_said(tmp_path: Path) -> None:
    now = 0.0
    budget = Budget(100, clock=lambda: now)
    assert budget.fits("first", 100)
    now = 70.0
    assert not budget.fits("second", 31)
    assert budget.fits("third", 30)
    assert budget.left_out == ["second: no time (30 s of about 31 s)"]


def test_a_thing_that_fails_leaves_the_others_and_one_without_time_is_left_out() -> None:
    now = 0.0

    def takes(seconds: float, name: str) -> Any:
        nonlocal now
        now += seconds
        yield Row(name, "", "ours", "s", (seconds,))
        if name == "second":
            raise MemoryError("full")

    names = {"first": 30, "second": 60, "third": 1, "fourth": 1}
    things = {name: partial(takes, seconds, name) for name, seconds in names.items()}
    given = asked(budget=Budget(100, clock=lambda: now))
    assert [row.what for row in each(given, things, 10)] == ["first", "second"]
    assert given.budget.failed
    assert given.budget.left_out == [
        "second, which failed (MemoryError: full)",
        "third: no time (10 s of about 60 s)",
        "fourth: no time (10 s of about 60 s)",
    ]


def test_rounds_are_interleaved_and_end_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def kind(name: str) -> float:
        order.append(name)
        return float(len(order))

    found = interleaved({"a": lambda: kind("a"), "b": lambda: kind("b")}, 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": (1, 4, 5), "b": (2, 3, 6)}
    assert len(interleaved({"a": lambda: 1.0}, 5, seconds=-1)["a"]) == 2


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            Row(
                "a step", "stock", "theirs / ours", "s", (0.1, 0.2), (0.2, 0.2), Goal("at least", 2)
            ),
            ["a step", "stock", "≥ 2×", "1.5× [1, 2]: 150 ms against 200 ms", "no, by 25%"],
        ),
        (
            Row("tracked", "not", "ours / theirs", "s", (2.1,), (2.0,), Goal("at most", 1.1)),
            ["tracked", "not", "≤ 1.1×", "1.05×: 2.1 s against 2 s", "yes"],
        ),
        (
            Row(
                "memory", "told", "ours / theirs", "B", (8e8,), (1e9,), Goal("off by at most", 0.15)
            ),
            ["memory", "told", "1× ± 0.15", "0.8×: 763 MB against 954 MB", "no, by 5 points"],
        ),
        (
            Row("import", "", "ours", "s", (0.3, 0.1, 0.12), goal=Goal("at most", 0.1)),
            ["import", "–", "≤ 0.1 s", "0.12 s [0.1, 0.3]", "no, by 20%"],
        ),
        (
            Row("rows", "list", "ours / theirs", "rows/s", (1200.0,), (200.0,)),
            ["rows", "list", "–", "6×: 1,200 rows/s against 200 rows/s", "–"],
        ),
    ],
)
def test_a_row_says_what_was_measured_and_by_how_much_a_goal_is_missed(
    row: Row, expected: list[str]
) -> None:
    assert cells(row) == expected
    assert Row.read(json.loads(json.dumps(row.document()))) == row


def test_the_page_has_a_section_per_device_and_all_commands() -> None:
    goal = Goal("at most", 2)
    row = Row("replay", "", "ours", "s", (1.0, 3.0, 2.5), goal=goal)
    part = Part([row], ["FLUX: no time"], 12.3, ABOUT)
    other = Part([], [], 1.0, ABOUT | {"device": "Some CPU"})
    text = page({"some-gpu": {"dvar": part}, "cpu": {"start": other}}, {})
    assert "## Some GPU\n\n### DVAR\n\n| what | against | goal | measured | met |" in text
    assert "| replay | – | ≤ 2 s | 2.5 s [1, 3] | no, by 25% |" in text
    assert "Left out: FLUX: no time." in text
    assert "12 s: `python -m experiments.bench` at abc; x86_64, 8 processors, 4 threads" in text
    assert "python 3.11, torch 2.13</sub>" in text
    assert "## Some CPU\n\n### What a user waits for at the start" in text
    folder = Path(bench.__file__).parent
    commands = {f"experiments.bench.{file.stem}" for file in folder.glob("*.py") if runs(file)}
    assert commands - {"experiments.bench.__main__", "experiments.bench.first_step"} == {
        name for name in COMMANDS if name != "experiments.bench"
    }
    assert all(f"`python -m {name}`" in text for name in COMMANDS)


def runs(file: Path) -> bool:
    return 'if __name__ == "__main__":' in file.read_text()


def test_growth_is_linear_where_each_of_more_takes_as_long() -> None:
    def amounts(power: float, more: int) -> list[Grown]:
        return [Grown(n, 2 * n, 0.1 * n**power, 1000 + more * n) for n in (1, 4, 16)]

    time, memory = rows_of("things", [amounts(1, 0), amounts(1, 0)])
    assert time.values == pytest.approx([1, 1])
    assert memory.values == [1, 1]
    assert time.what == "time of each of 32 things"
    slow, large = rows_of("things", [amounts(2, 1000)])
    assert slow.value == pytest.approx(4)
    assert large.value == pytest.approx(17000 / 2000)
    frame = of_file({"growth": Part([time, memory], [], 1.0, ABOUT)})
    assert frame["times"].tolist() == [1, 4, 16] * 2
    assert frame["seconds"].tolist() == pytest.approx([1, 4, 16] * 2)
    assert of_file({}).empty
    seconds, bytes_ = plot_growth(frame)
    assert seconds.get_ylabel() == "time, × the least"
    assert bytes_.get_ylim()[0] == 0


def test_an_eager_forward_pass_gives_the_same_and_its_operations_are_counted() -> None:
    torch.manual_seed(0)
    for name in ("SDXL", "SD3", "FLUX.1-dev"):
        model = live(asked(), name)
        one = forward(name, model, 2)
        with torch.no_grad():
            found: Any = one()
        assert found.shape == (2, *model.latent_shape)
        assert operations_of(one) == 2 * operations_of(forward(name, model, 1)) > 0
    product, operations = matrix_product(asked())
    assert operations == operations_of(product)


@pytest.mark.parametrize("every", range(1, 60))
def test_as_many_values_of_l_det_are_counted_as_belong_to_the_steps(every: int) -> None:
    first, last = counted(49, every, warm=5)
    assert 5 <= first < last <= 49
    values = sum(step % every == 0 or step == 49 for step in range(first + 1, last + 1))
    if every <= 24:
        assert (last - first) / every == values
        assert last - first >= 44 - 2 * every
    else:
        assert values <= 1


def held(size: int) -> tuple[int, int]:
    return_at_once()
    before = settle_memory()
    large = np.ones(size, dtype=np.uint8)
    del large
    peak = peak_memory() - before
    settle_memory()
    return peak, peak_memory() - before


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_the_peak_of_a_child_is_what_it_held_and_is_forgotten() -> None:
    peak, after = in_a_child(held, 200_000_000)
    assert peak == pytest.approx(200e6, rel=0.05)
    assert after < 20e6
