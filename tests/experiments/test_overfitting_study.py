"""The study of overfitting measures what it says, and says what its numbers say."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import ImageOps

from experiments.criteria.fresh import THINGS_SEED as FRESH_SEED
from experiments.overfitting import runs, worth
from experiments.overfitting.claims import claims, trial_verdict
from experiments.overfitting.criteria import (
    KEEP_BEST,
    NEVER,
    REFERENCE,
    TURN,
    Ending,
    Rule,
    best_of,
    choose,
    endings,
    read_chosen,
    rules,
    same,
    write_chosen,
)
from experiments.overfitting.design import ALL, EVERY, Cell, Design, cells, seed_of
from experiments.overfitting.figures import draw_figures
from experiments.overfitting.judges import Group, _pixels, distances, nearest
from experiments.overfitting.raw import COLUMNS, Curves, as_rows, curves, gathered, write
from experiments.overfitting.report import Found, report
from experiments.overfitting.runs import file_of, run_part, study, take_up
from experiments.overfitting.things import (
    JUDGING,
    THINGS_SEED,
    Folders,
    judging_photographs,
    names_of,
    things,
    write_photographs,
)
from experiments.overfitting.worth import Gap, difference, gap, judged, without_holding
from experiments.tiny_sd.concepts import COUNT, SEED, make_concept
from noiseprobe.analysis.bootstrap import bootstrap_interval
from noiseprobe.core.progress import Silent
from noiseprobe.pictures.photographs import read_photograph
from noiseprobe.pictures.similarity import Clip
from noiseprobe.stopping import dvar_stops

METHODS = ("textual-inversion", "dreambooth")
PIXELS = ("near_train_pixel", "near_judge_pixel")
TURNS = 100
CHOSEN = {
    "dvar on l_val": same({"window": 10, "threshold": 0.05}),
    "patience on l_val": same({"patience": 4, "min_delta": 0.0}),
    "clip": same({"patience": 2, "min_delta": 0.0}),
    "fixed": same({"steps": 90}),
}


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals by few resamples: a report has hundreds of them."""
    few = partial(bootstrap_interval, resamples=300)
    monkeypatch.setattr(worth, "bootstrap_interval", few)


def unseen(steps: np.ndarray, turns: int, rise: float) -> np.ndarray:
    """A loss that falls to 0.27 at the turn and rises from there."""
    return (
        0.27 + 0.03 * np.clip(1 - steps / turns, 0, None) + rise * np.clip(steps - turns, 0, None)
    )


def made(
    concept: str,
    method: str,
    held: int,
    rise: float = 1e-4,
    forget: float = 2e-4,
    far: float = 1e-4,
) -> Curves:
    """A run whose L_det falls to the end, and whose other losses turn; `far` is the noise."""
    random = np.random.default_rng([held + 1, *concept.encode(), *method.encode()])
    design = Design()
    last = design.steps[method]
    every, at = np.arange(0, last + 1), np.array(design.judged(method))
    l_det = 0.3 - 0.05 * (1 - np.exp(-every / 60)) + random.normal(0, 1e-5, len(every))
    rows = as_rows("l_det", pd.DataFrame({"l_det": l_det}, index=every))
    if held != ALL:
        seen = every[::EVERY]
        each = random.uniform(-0.1, 0.1, 16) + unseen(seen, TURNS, rise)[:, None]
        each += random.normal(0, 1e-5, each.shape)
        rows += as_rows("l_val", pd.DataFrame(each, index=seen))
    noise = random.normal(0, far, len(at))
    measured = {
        "loss_judge": unseen(at, TURNS, rise),
        "clip_train": 0.4 + 0.0002 * at + noise,
        "clip_judge": 0.9 - unseen(at, TURNS, rise) + noise,
        "clip_held": 0.8 - unseen(at, TURNS, rise) + noise,
        "prompt": 0.6 - forget * at + noise,
        "near_train_clip": 0.5 + 0.0002 * at + noise,
        "near_judge_clip": 0.5 + 0 * at,
        "near_train_pixel": 0.3 - 0.0001 * at + noise,
        "near_judge_pixel": 0.3 + 0 * at,
    }
    for name, values in measured.items():
        if name != "clip_held" or held != ALL:
            rows += as_rows(name, pd.DataFrame({name: values}, index=at))
    frame = pd.DataFrame(rows).assign(concept=concept, method=method, held=held)
    return next(curves(frame.reindex(columns=[*COLUMNS])))


def some(make: Callable[..., Curves] = made, **how: float) -> list[Curves]:
    """Runs of four things and two methods, with each of two photographs held out, and with none."""
    return [
        make(name, method, held, **how)
        for name in ("cup", "dog", "fish", "star")
        for method in METHODS
        for held in (0, 1, ALL)
    ]


def found_in(runs: list[Curves]) -> Found:
    return Found.of(runs, CHOSEN, sorted({run.concept for run in runs}))


def test_things_are_new_and_those_for_testing_are_not_for_choosing() -> None:
    choosing, testing = things()
    names = [thing.name for thing in choosing + testing]
    assert (len(choosing), len(testing), len(set(names))) == (4, 24, 28)
    before = {
        make_concept(index, seed).description
        for index in range(COUNT)
        for seed in (SEED, FRESH_SEED)
    }
    assert THINGS_SEED not in (SEED, FRESH_SEED)
    assert before.isdisjoint(thing.description for thing in choosing + testing)
    assert set(names_of("all")) < set(names_of("testing"))


def test_judging_photographs_show_the_same_thing_in_other_places(tmp_path: Path) -> None:
    (thing, *_), _ = things()
    first, again = judging_photographs(thing), judging_photographs(thing)
    assert np.array_equal(first, again)
    own = thing.photographs()
    differs = [
        np.abs(one.astype(float) - other).mean() for one in first for other in [*own, *first]
    ]
    assert sum(difference == 0 for difference in differs) == JUDGING, "each is like itself alone"
    write_photographs(tmp_path, [thing])
    folders, clip = Folders.of(tmp_path, thing.name), Clip.load()
    photographs = {
        name: clip.embed_images(map(read_photograph, sorted(folder.glob("*.png"))))
        for name, folder in (("own", folders.own), ("judging", folders.judging))
    }
    across = float((photographs["own"] @ photographs["judging"].T).mean())
    other = things()[0][1]
    write_photographs(tmp_path, [other])
    elsewhere = Folders.of(tmp_path, other.name).judging
    strange = clip.embed_images(map(read_photograph, sorted(elsewhere.glob("*.png"))))
    assert across > float((photographs["own"] @ strange.T).mean()) + 0.1


def test_the_nearest_of_five_is_that_of_any_four_in_the_mean() -> None:
    far = np.array([[5.0, 9, 4, 9, 9, 3, 9, 2, 9, 1]])  # mirror images follow their photographs
    assert nearest(far[:, :8]) == 2
    assert nearest(far) == pytest.approx((4 * 1 + 2) / 5)
    assert nearest(far[:, :2]) == 5, "of fewer than four, all"


def test_a_mirrored_copy_is_no_distance_away(tmp_path: Path) -> None:
    (thing, *_), _ = things()
    write_photographs(tmp_path, [thing])
    paths = sorted(Folders.of(tmp_path, thing.name).own.glob("*.png"))
    group, clip = Group(Clip.load(), paths), Clip.load()
    copies = [ImageOps.mirror(read_photograph(path)) for path in paths]
    assert nearest(distances(_pixels(copies), group.pixels), among=5) == 0
    assert nearest(-(clip.embed_images(copies) @ group.seen.T).numpy(), 5) == pytest.approx(-1)
    assert nearest(distances(_pixels(copies[:1]), group.pixels[2:])) > 0.05


def test_runs_go_round_by_round_with_a_seed_each() -> None:
    order = list(cells(["a", "b"], (0, 1, ALL), METHODS))
    assert [cell.held for cell in order] == [0] * 4 + [1] * 4 + [ALL] * 4
    assert len({cell.name for cell in order}) == len(order)
    seeds = {seed_of(index, held) for index in range(28) for held in (ALL, 0, 1, 2)}
    assert len(seeds) == 28 * 4


def test_each_method_runs_for_five_times_the_steps_of_dvar() -> None:
    medians = {"textual-inversion": 134, "dreambooth": 190, "dreambooth-lora": 104}
    for method, median in (medians | {"custom-diffusion": 192}).items():
        judged_at = Design().judged(method)
        assert judged_at[-1] >= 5 * median
        assert all(step % EVERY == 0 for step in judged_at)


def test_numbers_come_back_as_they_were_written(tmp_path: Path) -> None:
    run = made("cup", "dreambooth", 0)
    l_val = as_rows("l_val", run.l_val)
    rest = [
        row
        for name in ("l_det", "clip_judge", "prompt", "near_train_clip", "near_judge_clip")
        for row in as_rows(name, run.table[[name]].dropna())
    ]
    pixels = [row | {"name": name} for row in rest[:1] for name in PIXELS]
    frame = pd.DataFrame(l_val + rest + pixels)
    frame = frame.assign(concept=run.concept, method=run.method, held=run.held)
    write(frame.reindex(columns=[*COLUMNS]), tmp_path / "one.parquet")
    (back,) = curves(gathered(tmp_path))
    assert np.allclose(back.l_val, run.l_val, atol=1e-7)
    for name in ("l_det", "l_val", "copying", "score"):
        assert np.array_equal(back.series(name)[0], run.series(name)[0])
        assert np.allclose(back.series(name)[1], run.series(name)[1], atol=1e-7)


def test_what_a_table_of_all_has_is_done(tmp_path: Path) -> None:
    frames = [
        pd.DataFrame(as_rows("l_val", run.l_val)).assign(
            concept=run.concept, method=run.method, held=run.held
        )
        for run in (made("cup", "dreambooth", 0), made("dog", "dreambooth", 1))
    ]
    write(pd.concat(frames).reindex(columns=[*COLUMNS]), tmp_path / "all.parquet")
    whole = pd.read_parquet(tmp_path / "all.parquet")
    done = file_of(tmp_path, Cell("dog", "dreambooth", 1))
    done.parent.mkdir()
    done.write_bytes(b"as it is")
    take_up(whole, tmp_path)
    assert done.read_bytes() == b"as it is"
    done.unlink()
    take_up(whole, tmp_path)
    again = gathered(tmp_path / "numbers")
    order = ["concept", "step", "sample"]
    for name in COLUMNS:
        one, other = (table.sort_values(order)[name].tolist() for table in (again, whole))
        assert one == other, name


def test_criteria_end_runs_where_the_package_says() -> None:
    run = made("cup", "dreambooth", 0)
    ends = {name: rule.ending(run) for name, rule in rules(CHOSEN).items()}
    steps, losses = run.series("l_det")
    (stop,) = dvar_stops(losses, 60, [0.05])
    assert ends[REFERENCE].kept == ends[REFERENCE].stop == steps[stop or 0]
    assert ends["fixed"] == Ending(90, 90, True)
    assert ends[NEVER] == Ending(960, 960, False)
    assert ends[KEEP_BEST].kept == pytest.approx(TURNS, abs=EVERY)
    assert (ends[KEEP_BEST].stop, ends[KEEP_BEST].fired) == (960, False)
    waited = TURNS + 4 * EVERY
    assert ends["patience on l_val"].stop == pytest.approx(waited, abs=2 * EVERY)
    assert ends[TURN].kept == pytest.approx(TURNS, abs=2 * EVERY)
    assert 2 * ends[TURN].kept <= ends[TURN].stop < 2 * TURNS + 100  # it waits as long again
    assert not ends["clip"].fired, "likeness to what is trained on rises on"


def test_parameters_within_one_error_of_the_best_that_train_least_are_chosen(
    tmp_path: Path,
) -> None:
    runs = [run for run in some() if run.held != ALL]
    steps = [{"steps": each} for each in (60, 90, 120, 480)]
    assert best_of("fixed", steps, runs)["steps"] in (90, 120)
    flat = [made(name, "dreambooth", 0, rise=0.0, forget=0.0, far=0.0) for name in ("a", "b")]
    assert best_of("fixed", steps, flat) == {"steps": 120}, "no worse than 480, and sooner"
    chosen = choose(runs)
    assert chosen["fixed"]["dreambooth"]["steps"] in (90, 120)
    write_chosen(chosen, tmp_path / "chosen.json")
    assert read_chosen(tmp_path / "chosen.json") == chosen
    assert set(rules(chosen)) == set(rules(CHOSEN))


def test_a_difference_is_of_the_same_runs_and_knows_which_side_is_better() -> None:
    runs = [run for run in some() if run.held != ALL]
    table = judged(endings(runs, rules(CHOSEN)), runs)
    loss = difference(table, "loss_judge", KEEP_BEST, NEVER)
    expected = np.mean([-1e-4 * (run.last - TURNS) for run in runs])
    assert loss.mean == pytest.approx(expected, rel=0.05)
    assert loss.verdict == "better"
    assert difference(table, "loss_judge", NEVER, KEEP_BEST).verdict == "worse"
    assert difference(table, "clip_judge", KEEP_BEST, NEVER).verdict == "better"
    itself = difference(table, "loss_judge", NEVER, NEVER)
    assert (itself.mean, itself.verdict) == (0.0, "no difference shown")
    assert gap(pd.Series([0.1, -0.1, 0.2, -0.15])).verdict == "no difference shown"


def test_photographs_are_averaged_before_things() -> None:
    table = pd.DataFrame(
        {
            "concept": ["a", "a", "a", "b"],
            "method": ["dreambooth"] * 4,
            "criterion": ["one"] * 4,
            "value": [1.0, 1.0, 1.0, 3.0],
        }
    )
    other = table.assign(criterion="other", value=0.0)
    assert difference(pd.concat([table, other]), "value", "one", "other").mean == 2.0


def test_what_holding_out_costs_is_counted_on_things_that_have_both() -> None:
    runs = [run for run in some() if (run.concept, run.held) != ("cup", ALL)]
    held = [run for run in runs if run.held != ALL]
    whole = [run for run in runs if run.held == ALL]
    by = rules(CHOSEN)
    table = without_holding(held, whole, by, TURN, REFERENCE)
    assert set(table["concept"]) == {"dog", "fish", "star"}
    assert table.groupby(["concept", "method"]).size().unique().tolist() == [2 + 2 + 3]
    cross = table[(table["criterion"] == "cross") & (table["method"] == "dreambooth")]
    assert (cross["kept"] - TURNS).abs().max() <= EVERY
    assert (cross["spent"] == cross["kept"] + 2 * 960).all()
    refit = table[table["criterion"] == "refit"]
    assert (refit["spent"] > 2 * refit["kept"]).all()


@pytest.mark.parametrize(("rise", "says"), [(1e-4, "better"), (-1e-5, "worse")])
def test_claims_say_what_the_runs_say(rise: float, says: str) -> None:
    """A fixed number of steps ends runs early; where the loss goes on falling, that is worse."""
    found = found_in(some(rise=rise))
    assert difference(found.table, "loss_judge", "fixed", NEVER).verdict == says
    told = claims(found)
    assert len(told) == 8
    assert ("dreambooth **later**" in told[0]) == (rise > 0)
    turn = "better" if rise > 0 else "no difference shown"
    assert f"by loss on unseen photographs, against {REFERENCE}" in told[2]
    assert f"; against {NEVER}, **{turn}**" in told[2]


def test_the_trial_is_confirmed_on_its_own_side_alone() -> None:
    falls = Gap(-0.01, -0.02, -0.005, 24)
    assert trial_verdict(-0.007, falls) == "confirmed"
    assert trial_verdict(0.019, falls) == "contradicted"
    assert trial_verdict(0.019, Gap(0.001, -0.01, 0.01, 24)) == "left open"


def test_a_report_has_the_claims_and_does_without_runs_on_all(tmp_path: Path) -> None:
    runs = [run for run in some() if run.held != ALL and run.method == "dreambooth"]
    found = found_in(runs)
    text = report(found)
    assert all(line in text for line in claims(found))
    assert "What holding one out costs" not in text
    paths = draw_figures(found, tmp_path)
    assert {path.stem for path in paths} == {"losses", "best-steps", "worth"}


def test_a_report_has_runs_with_photographs_at_their_size_apart() -> None:
    runs = [made(name, "custom-diffusion", 0, rise=-1e-5) for name in ("cup", "dog", "fish")]
    sized = [made(run.concept, run.method, 0) for run in runs[:2]]
    names = [run.concept for run in runs]
    text = report(Found.of(runs, CHOSEN, names, sized))
    plain = report(Found.of(runs, CHOSEN, names))
    assert "at their size" not in plain
    assert plain.splitlines()[4:12] == text.splitlines()[4:12], "no claim is decided by them"
    rows = [line for line in text.splitlines() if line.startswith(("| as trained", "| at its"))]
    best = [float(row.split("|")[2].split("(")[0]) for row in rows]
    assert best[0] > 900
    assert best[1] == pytest.approx(TURNS, abs=5)


def test_those_at_their_size_are_of_the_method_that_rescales(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[Path, object]] = []

    def take(_: str, jobs: dict[Path, object], *rest: object) -> dict[str, str]:
        asked.append(jobs)
        return {}

    monkeypatch.setattr(runs, "in_processes", take)
    run_part("sized", tmp_path, 1, Silent(), names=names_of("all")[:2])
    assert [path.stem for path in asked[1]] == [
        f"{name}_custom-diffusion_0" for name in names_of("all")[:2]
    ]


def test_a_criterion_on_pictures_sees_the_checks_of_the_rule_alone() -> None:
    run = made("cup", "dreambooth", 0)
    kept = Rule("clip_train", "patience", same({"patience": 100})).ending(run).kept
    assert kept % 60 == 0


@pytest.mark.parametrize(("held", "steps"), [(0, 30), (ALL, 15)])
def test_a_run_leaves_its_numbers_and_nothing_else(tmp_path: Path, held: int, steps: int) -> None:
    (thing, *_), _ = things()
    write_photographs(tmp_path, [thing])
    short = {"sampling_steps": 1, "eval_batch": 2, "val_batch": 4, "window": 2, "threshold": 1.5}
    design = Design({"textual-inversion": steps}, (0,), short)
    cell = Cell(thing.name, "textual-inversion", held)
    config = design.config(cell, tmp_path, 3, thing.class_noun)
    study(tmp_path, cell, config, design)
    assert not [*(tmp_path / "running").iterdir()]
    (run,) = curves(gathered(tmp_path / "numbers"))
    assert run.series("prompt")[0].tolist() == [0, steps]
    if held == ALL:
        assert not run.has("l_val")
        assert not run.has("clip_held")
    else:
        assert run.series("loss_judge")[0].tolist() == [0, 15, 30]
        fired = [*range(16), 20, 25, 30]
        assert run.series("l_det")[0].tolist() == fired, "every fifth, once DVAR has fired"
        assert run.l_val.shape == (7, 4)
        assert np.allclose(run.series("l_val")[1], run.l_val.mean(axis=1))
    assert file_of(tmp_path, cell).is_file()
    part = "all" if held == ALL else "testing"
    again = run_part(part, tmp_path, 1, Silent(), design, [thing.name])
    assert again == {}, "what is done is not done again"
