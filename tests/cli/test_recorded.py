"""The commands over recorded losses as scripts and people use them."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.run.traces import TRAIN_COLUMNS, write_part
from noiseprobe.stopping import CRITERIA, ON_MEANS


@pytest.fixture
def logs(tmp_path: Path) -> list[Path]:
    """Six logs of 60 steps whose judges turn at different steps."""
    steps = np.arange(60)
    paths = []
    for place in range(6):
        random = np.random.default_rng(place)
        turn = 15 + 4 * place
        table = pd.DataFrame(
            {
                "step": steps * 10,
                "l_det": 0.2 + np.exp(-4 * steps / turn) + 0.003 * random.normal(size=60),
                "loss": random.uniform(size=60),
                "val_loss": 1 + np.abs(steps - turn) / 60,
                "clip_img": np.where(steps % 5 == 0, 0.6 - np.abs(steps - turn) / 200, np.nan),
            }
        )
        paths.append(tmp_path / f"run-{place}" / "log.csv")
        paths[-1].parent.mkdir()
        table.to_csv(paths[-1], index=False)
    return paths


MAY_STOP = [name for name in ON_MEANS if name != "never"]


def test_criteria_are_listed_with_formula_parameters_and_source(call: Any) -> None:
    code, out, err = call("criteria", "--json")
    assert (code, err) == (0, "")
    rows = {row["name"]: row for row in json.loads(out)}
    assert list(rows) == list(CRITERIA)
    assert rows["dvar"]["parameters"] == {"window": 310, "threshold": 0.15}
    for row in rows.values():
        assert row["formula"]
        assert row["source"]
        assert row["summary"].startswith(("Stops", "Never stops"))
        assert set(row["grid"]) == set(row["parameters"])
    text = call("criteria")[1]
    assert "theil-sen: window=50 alpha=0.05" in text
    assert "Prechelt" in text


def test_all_compares_every_criterion_at_its_defaults(call: Any, logs: list[Path]) -> None:
    code, out, err = call("dvar-replay", logs[0], "--all", "--json")
    assert code == 0
    assert len(err.splitlines()) == 2
    rows = json.loads(out)
    assert [row["criterion"] for row in rows if not row["could_fire"]] == ["gain-interval"]
    windows = ["--param", "dvar.window=310", "--param", "gain-share.window=150"]
    assert call("dvar-replay", logs[0], "--all", *windows)[2].splitlines()[1:] == [
        f"{logs[0]}: DVAR(window=310, threshold=0.15) cannot fire: it needs 310 finite losses, of "
        "60 points in all; give a smaller --window, or a share such as 20%",
        f"{logs[0]}: GainShare(window=150, threshold=0.1) cannot fire: it needs 150 finite losses, "
        "of 60 points in all",
        f"{logs[0]}: GainInterval(window=60, share=0.1, confidence=0.95) cannot fire: it needs 120 "
        "finite losses, of 60 points in all",
    ]
    late = call("dvar-replay", logs[0], "--criterion", "fixed", "--param", "steps=591")
    assert "FixedSteps(steps=591) cannot fire: it needs a step of at least 591" in late[2]
    assert "cannot fire" in late[1]
    assert [row["criterion"] for row in rows] == MAY_STOP
    assert {row["tag"] for row in rows} == {"l_det"}
    listed = json.loads(call("criteria", "--json")[1])
    about = {each["name"]: each for each in listed}
    for row in rows:
        free = about[row["criterion"]]["scale_free"]
        assert row["params"] == about[row["criterion"]]["parameters"] | free
        assert row["defaults"] == ("any log" if free else "criterion")
    text = call("dvar-replay", logs[0], "--all")[1]
    assert all(name in text for name in MAY_STOP)


def test_a_criterion_is_chosen_with_its_parameters(call: Any, logs: list[Path]) -> None:
    given = ["--criterion", "patience", "--param", "patience=5", "--param", "min-delta=0.01"]
    (row,) = json.loads(call("dvar-replay", logs[0], *given, "--json")[1])
    assert row["params"] == {"patience": 5, "min_delta": 0.01}
    assert row["stop_step"] == row["stop_index"] * 10 == row["kept_step"] + 50
    more = ["--criterion", "dvar", "--param", "dvar.window=9", "--param", "patience.patience=7"]
    rows = json.loads(call("dvar-replay", logs[0], *given[:2], *more, "--json")[1])
    assert [(row["criterion"], list(row["params"].values())) for row in rows] == [
        ("patience", [7, 0.0]),
        ("dvar", [9, 0.15]),
    ]


def test_the_flags_of_dvar_are_its_parameters(call: Any, logs: list[Path]) -> None:
    flags = json.loads(call("dvar-replay", *logs, "--window", 9, "--threshold", 0.2, "--json")[1])
    params = ["--param", "window=9", "--param", "threshold=0.2"]
    assert json.loads(call("dvar-replay", *logs, *params, "--json")[1]) == flags
    assert [row["window"] for row in flags] == [9] * 6
    among = call("dvar-replay", logs[0], "--all", "--window", 9, "--threshold", 0.2, "--json")[1]
    assert json.loads(among)[0] == flags[0]


def test_a_pattern_chooses_tags_and_column_is_its_other_name(call: Any, logs: list[Path]) -> None:
    _, out, err = call("dvar-replay", logs[0], "--tag", "*loss", "--window", 20, "--json")
    assert err == ""
    assert [row["tag"] for row in json.loads(out)] == ["loss", "val_loss"]
    both = [
        call("dvar-replay", logs[0], flag, "loss", "--json")[1] for flag in ("--tag", "--column")
    ]
    assert both[0] == both[1]


def test_list_says_what_is_recorded(call: Any, logs: list[Path]) -> None:
    rows = json.loads(call("dvar-replay", logs[0], "--list", "--json")[1])
    assert [row["tag"] for row in rows] == ["l_det", "loss", "val_loss", "clip_img"]
    expected = {"trace": str(logs[0]), "points": 60, "first_step": 0, "last_step": 590}
    assert rows[0] == {"tag": "l_det"} | expected
    assert "0..590" in call("dvar-replay", logs[0], "--list")[1]


def test_the_table_and_the_grid_are_written_as_csv(
    call: Any, logs: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "table.csv"
    rows = json.loads(call("dvar-replay", *logs, "--all", "--csv", out, "--json")[1])
    table = pd.read_csv(out)
    assert len(table) == 6 * len(MAY_STOP)
    stops = [None if math_is_nan(step) else int(step) for step in table["stop_step"]]
    assert stops == [row["stop_step"] for row in rows]
    (grid,) = json.loads(call("dvar-replay", logs[0], "--grid", "--csv", out, "--json")[1])
    table = pd.read_csv(out)
    assert len(table) == len(grid["windows"]) * len(grid["thresholds"])
    wide = table.pivot(index="window", columns="threshold", values="stop_step")
    wide = wide.loc[grid["windows"]]
    assert len(wide) == len(grid["windows"])
    assert wide.iloc[0].fillna(-1).tolist() == [
        -1 if step is None else step for step in grid["stop_steps"][0]
    ]


def math_is_nan(value: float) -> bool:
    return value != value


def test_a_plot_is_drawn_where_it_was_asked_for(
    call: Any, logs: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / "figures" / "stops.png"
    assert call("dvar-replay", *logs, "--all", "--plot", path)[0] == 0
    with Image.open(path) as picture:
        assert picture.size[0] > 1000
    assert [each.name for each in path.parent.iterdir()] == ["stops.png"]


def test_regret_reports_each_criterion_against_dvar(call: Any, logs: list[Path]) -> None:
    code, out, err = call("regret", *logs, "--judge", "clip_img", "--json")
    assert (code, err) == (0, "losses: l_det (another: --tag)\n")
    assert json.loads(out)["losses"] == ["l_det"]
    document = json.loads(out)
    assert (document["judge"], document["maximize"]) == ("clip_img", True)
    assert [row["criterion"] for row in document["summary"]] == list(ON_MEANS)
    assert len(document["paired"]) == len(ON_MEANS) - 1
    assert len(document["traces"]) == 6 * len(ON_MEANS)
    assert document["traces"][0]["params"] == {"window": 0.7, "threshold": 0.15}
    low = json.loads(call("regret", *logs, "--judge", "val_loss", "--json")[1])
    assert low["maximize"] is False
    assert {row["best_step"] for row in low["traces"]} == {150, 190, 230, 270, 310, 350}
    text = call("regret", *logs, "--judge", "val_loss")[1]
    assert "val_loss (low is good)" in text
    assert "less dvar" in text


def test_what_cannot_fire_is_not_reported_as_what_did_not(call: Any, logs: list[Path]) -> None:
    given = ["regret", *logs, "--judge", "val_loss", "--criterion", "patience"]
    assert "cannot fire" not in call(*given)[1]
    short, given = given, [*given, "--param", "dvar.window=310"]
    told = "dvar cannot fire on 6 of 6 traces"
    assert told in call(*given)[1]
    assert told not in call(*short, "--param", "dvar.window=60")[1]
    document = json.loads(call(*given, "--json")[1])
    assert [row["could_fire"] for row in document["summary"]] == [6, 0]
    assert {row["could_fire"] for row in document["traces"][1::2]} == {False}


@pytest.mark.parametrize("command", ["dvar-replay", "regret"])
def test_a_criterion_that_needs_the_losses_of_samples_says_so(
    call: Any, logs: list[Path], command: str
) -> None:
    judge = ["--judge", "val_loss"] if command == "regret" else []
    code, out, err = call(command, *logs, *judge, "--criterion", "turn")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "--criterion turn: it needs the losses of each sample" in err


def test_a_run_is_judged_with_its_own_dvar_as_it_is_replayed(
    call: Any, logs: list[Path], tmp_path: Path
) -> None:
    run = Run.create(tmp_path / "run", resolve({"window": 9, "threshold": 0.2}), "cpu")
    write_part(run.train_directory, TRAIN_COLUMNS, pd.read_csv(logs[0]))
    (replayed,) = json.loads(call("dvar-replay", run.directory, "--json")[1])
    given = ["regret", run.directory, "--judge", "clip_img", "--criterion", "dvar", "--json"]
    (judged,) = json.loads(call(*given)[1])["traces"]
    assert judged["params"] == replayed["params"] == {"window": 9, "threshold": 0.2}
    assert judged["stop_step"] == replayed["stop_step"]
    (told,) = json.loads(call(*given, "--param", "window=12")[1])["traces"]
    assert told["params"] == {"window": 12, "threshold": 0.2}


def test_a_log_of_no_run_is_replayed_with_a_share_and_the_reason(
    call: Any, logs: list[Path], tmp_path: Path
) -> None:
    (row,) = json.loads(call("dvar-replay", logs[0], "--json")[1])
    assert (row["window"], row["params"]["window"], row["defaults"]) == (0.7, 0.7, "any log")
    assert row["stop_step"] is not None
    told = "DVAR has window=70% of all values so far, since no run directory says"
    assert any(sentence.startswith(told) for sentence in row["verdict"])
    text = call("dvar-replay", logs[0])[1]
    assert told in " ".join(text.split())
    assert "window=70% threshold=0.15" in text
    (given,) = json.loads(call("dvar-replay", logs[0], "--window", "70%", "--json")[1])
    assert (given["window"], given["defaults"]) == (0.7, "criterion")
    assert given["stop_step"] == row["stop_step"]
    assert not any("run directory" in sentence for sentence in given["verdict"])
    run = Run.create(tmp_path / "run", resolve({"window": "30%", "threshold": 0.2}), "cpu")
    write_part(run.train_directory, TRAIN_COLUMNS, pd.read_csv(logs[0]))
    (own,) = json.loads(call("dvar-replay", run.directory, "--json")[1])
    assert (own["window"], own["threshold"], own["defaults"]) == (0.3, 0.2, "run")
    assert "started with where no flag says otherwise: window=30% threshold=0.2" in " ".join(
        own["verdict"]
    )


@pytest.mark.parametrize("window", ["20%", "0.2"])
def test_a_window_may_be_a_share_in_every_flag(call: Any, logs: list[Path], window: str) -> None:
    flag = json.loads(call("dvar-replay", *logs, "--window", window, "--json")[1])
    param = json.loads(call("dvar-replay", *logs, "--param", f"window={window}", "--json")[1])
    assert flag == param
    assert [row["window"] for row in flag] == [0.2] * 6
    (grid,) = json.loads(call("dvar-replay", logs[0], "--grid", "--json")[1])
    stops = grid["stop_steps"][grid["windows"].index(0.2)]
    assert stops[grid["thresholds"].index(0.15)] == flag[0]["stop_step"]
    assert "20%" in call("dvar-replay", logs[0], "--grid")[1]


def test_a_similarity_is_replayed_as_what_is_to_be_high(call: Any, logs: list[Path]) -> None:
    given = ["dvar-replay", logs[0], "--criterion", "patience", "--param", "patience=3", "--json"]
    (rising,) = json.loads(call(*given, "--tag", "clip_img")[1])
    # The similarity is checked every fifth step, and is best at the one nearest to the turn.
    assert (rising["kept_step"], rising["stop_step"]) == (150, 300)


def test_regret_takes_the_way_that_is_told(call: Any, logs: list[Path]) -> None:
    document = json.loads(call("regret", *logs, "--judge", "val_loss", "--maximize", "--json")[1])
    assert document["maximize"] is True
    assert document["traces"][0]["best_step"] == 590


def test_regret_is_tuned_on_other_traces(call: Any, logs: list[Path], tmp_path: Path) -> None:
    raw = tmp_path / "raw.csv"
    given = ["regret", *logs, "--judge", "val_loss", "--criterion", "patience", "--csv", raw]
    tuned = json.loads(call(*given, "--tune", "leave-one-out", "--json")[1])
    assert [row["criterion"] for row in tuned["summary"]] == ["patience", "dvar"]
    assert len(pd.read_csv(raw)) == 12
    share = json.loads(call(*given, "--tune", "0.5", "--json")[1])
    assert [row["traces"] for row in share["summary"]] == [3, 3]
    assert json.loads(call(*given, "--tune", "0.5", "--json")[1]) == share


BAD: dict[str, tuple[list[object], str]] = {
    "criterion": (["dvar-replay", "LOG", "--criterion", "patiense"], "did you mean patience"),
    "parameter": (
        ["dvar-replay", "LOG", "--criterion", "uprising", "--param", "strip=3"],
        "did you mean strips",
    ),
    "number": (["dvar-replay", "LOG", "--param", "window=many"], "--param window=many"),
    "no equals": (["dvar-replay", "LOG", "--param", "window"], "--param window"),
    "range": (["dvar-replay", "LOG", "--criterion", "uprising", "--param", "strips=0"], "strips 0"),
    "whose": (["dvar-replay", "LOG", "--all", "--param", "window=3"], "dvar.window=3"),
    "not chosen": (["dvar-replay", "LOG", "--param", "patience.patience=3"], "'patience' is not"),
    "not DVAR": (["dvar-replay", "LOG", "--criterion", "patience", "--window", 3], "--window 3"),
    "half a window": (["dvar-replay", "LOG", "--param", "window=2.5"], "window 2.5: give a whole"),
    "no window": (["dvar-replay", "LOG", "--window", 1], "noiseprobe: --window 1: give a whole"),
    "no path": (["dvar-replay", ""], "an empty path; name a log"),
    "one place for two": (["dvar-replay", "LOG", "--csv", "a.png", "--plot", "a.png"], "--csv wr"),
    "both": (["dvar-replay", "LOG", "--criterion", "patience", "--all"], "--all"),
    "tag": (["dvar-replay", "LOG", "--tag", "ldet"], "did you mean --tag l_det"),
    "suffix": (["dvar-replay", "LOG", "--plot", "stops.bmp"], "--plot stops.bmp"),
    "judge": (["regret", "LOG", "--judge", "clip_image"], "did you mean --judge clip_img"),
    "judges": (["regret", "LOG", "--judge", "*loss"], "--judge *loss"),
    "traces": (["regret", "LOG", "--judge", "clip_img", "--tag", "*loss"], "--tag *loss"),
    "tune": (["regret", "LOG", "--judge", "val_loss", "--tune", "some"], "--tune some"),
    "tune one": (["regret", "LOG", "--judge", "val_loss", "--tune", "leave-one-out"], "two"),
    "against": (["regret", "LOG", "--judge", "val_loss", "--against", "dvr"], "--against dvr"),
    "tune and param": (
        ["regret", "LOG", "--judge", "val_loss", "--tune", "0.5", "--param", "dvar.window=3"],
        "--param",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_two(call: Any, logs: list[Path], case: str) -> None:
    arguments, named = BAD[case]
    code, out, err = call(*[logs[0] if word == "LOG" else word for word in arguments])
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert named in err


def test_a_source_with_nothing_but_the_judge_says_so(call: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("step,val_loss\n0,1\n1,0.5\n2,0.6\n", encoding="utf-8")
    code, _, err = call("regret", log, "--judge", "val_loss")
    assert code == 2
    assert err.endswith("log.csv: nothing but the judge val_loss; record a loss beside it\n")


def test_a_folder_named_as_output_keeps_what_is_in_it(call: Any, logs: list[Path]) -> None:
    folder = logs[0].parent
    before = sorted(folder.iterdir())
    for flag in ("--csv", "--plot"):
        code, _, err = call("dvar-replay", logs[0], flag, folder)
        assert (code, err.count("\n")) == (2, 1)
        assert f"{flag} {folder}: it is a folder" in err
    assert call("regret", *logs, "--judge", "val_loss", "--csv", folder)[0] == 2
    assert sorted(folder.iterdir()) == before


def test_no_output_replaces_a_source_however_that_was_named(
    call: Any, logs: list[Path], tmp_path: Path
) -> None:
    whole = logs[0].read_bytes()
    link = tmp_path / "elsewhere" / "link.csv"
    link.parent.mkdir()
    link.symlink_to(logs[0])
    for given in (logs[0], logs[0].parent, f"{tmp_path}/run-*/*.csv"):
        for command in (["dvar-replay", given], ["regret", given, "--judge", "val_loss"]):
            for path in (logs[0], link):
                code, out, err = call(*command, "--csv", path)
                assert (code, out, err.count("\n")) == (2, "", 1)
                assert f"--csv {path}: it is a source, and would be lost" in err
    assert logs[0].read_bytes() == whole
    old = tmp_path / "elsewhere" / "old.csv"
    for _ in range(2):
        assert call("dvar-replay", logs[0], "--csv", old)[0] == 0


def test_a_table_keeps_parameters_whole(call: Any, logs: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    assert call("dvar-replay", logs[0], "--window", 1234567, "--csv", path)[0] == 0
    assert pd.read_csv(path)["params"].tolist() == ["window=1234567 threshold=0.15"]


def test_a_name_that_is_no_text_is_spelt(call: Any, logs: list[Path], tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"odd-\xff.csv")
    odd.write_bytes(logs[0].read_bytes())
    table, picture = tmp_path / "table.csv", tmp_path / "stops.png"
    code, _, err = call("dvar-replay", odd, "--csv", table, "--plot", picture)
    assert code == 0, err
    assert "odd-" in pd.read_csv(table)["trace"][0]
    assert picture.is_file()


def exported(path: Path) -> Path:
    """A chart of Weights & Biases: losses and a judge of two runs, the second of which is worse."""
    steps = np.arange(200)
    columns: dict[str, Any] = {"Step": steps}
    for run, low in (("dog - seed 1", 60), ("dog - seed 2", 100)):
        columns[f"{run} - train/loss"] = np.exp(-steps / 40)
        columns[f"{run} - eval/loss"] = np.where(steps % 10, np.nan, 1 + abs(steps - low) / 100)
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_the_runs_of_an_export_are_judged_each_by_its_own_judge(call: Any, tmp_path: Path) -> None:
    log = exported(tmp_path / "chart.csv")
    chosen = ["regret", log, "--criterion", "patience", "--param", "patience=10", "--json"]
    one = json.loads(call(*chosen, "--judge", "dog - seed 2 - eval/loss")[1])
    assert (one["losses"], one["traces"][0]["best_step"]) == (["dog - seed 2 - train/loss"], 100)
    both = json.loads(call(*chosen, "--judge", "* - eval/loss")[1])
    assert [row["best_step"] for row in both["traces"][::2]] == [60, 100]
    assert [row["trace"] for row in both["traces"][::2]] == [
        f"{log}: dog - seed 1",
        f"{log}: dog - seed 2",
    ]
    assert both["traces"][0]["params"]["patience"] == 10


def test_a_table_without_a_regret_has_no_nan(call: Any, logs: list[Path]) -> None:
    code, out, _ = call("regret", logs[0], "--judge", "val_loss", "--min-gain", 1e9)
    assert code == 0
    assert "nan" not in out
    assert "Left out: 1 trace on which" in out


def test_a_flag_without_effect_is_refused(call: Any, logs: list[Path]) -> None:
    for arguments in (
        ["--grid", "--all"],
        ["--grid", "--window", 50],
        ["--list", "--tag", "loss"],
        ["--list", "--csv", "out.csv"],
        ["--window", 50, "--param", "window=20"],
        ["--criterion", "patience", "--window", 5],
    ):
        code, out, err = call("dvar-replay", logs[0], *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), arguments


def test_the_mend_of_a_parameter_names_a_criterion_that_has_it(call: Any, logs: list[Path]) -> None:
    chosen = ["--criterion", "dvar", "--criterion", "patience"]
    err = call("dvar-replay", logs[0], *chosen, "--param", "patience=3")[2]
    assert "write patience.patience=3" in err
    judged = ["regret", *logs, "--judge", "val_loss", "--criterion", "patience"]
    code, out, _ = call(*judged, "--param", "dvar.window=30", "--param", "patience.patience=5")
    assert code == 0
    assert "window=30" in out


def test_regret_and_criteria_draw_what_they_say(
    call: Any, logs: list[Path], tmp_path: Path
) -> None:
    drawn = tmp_path / "regret.svg"
    code, out, _ = call("regret", *logs, "--judge", "clip_img", "--plot", drawn, "--json")
    assert code == 0
    # What a figure's rows are named after, and their values.
    text = drawn.read_text()
    for row in json.loads(out)["summary"]:
        assert row["criterion"] in text
        assert f"{row['regret']:.2f}" in text
    assert call("criteria", "--plot", tmp_path / "criteria.png")[0] == 0
    assert (tmp_path / "criteria.png").read_bytes().startswith(b"\x89PNG")
    code, out, err = call("criteria", "--plot", tmp_path / "criteria.bmp")
    assert (code, out, err.count("\n")) == (2, "", 1)
