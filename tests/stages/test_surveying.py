"""A survey from runs: what is asked, that nothing tells which is which, and answers read back."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from experiments.survey.simulation import Population, answered
from noiseprobe.analysis.survey_design import Rule
from noiseprobe.core.errors import UserError
from noiseprobe.run.directory import Run
from noiseprobe.stages.survey_answers import read_answers, read_key
from noiseprobe.stages.surveying import make_survey
from tests.conftest import four_photographs
from tests.stages.surveyed import GREY, PROMPTS, STEPS, STOP, surveyed

CONCEPTS = ("banded-cup", "patched-dog")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two runs, which DVAR would have stopped."""
    folder = tmp_path_factory.mktemp("runs")
    return [surveyed(folder / concept, concept) for concept in CONCEPTS]


@pytest.fixture(scope="module")
def survey(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A survey of both, four pairs a questionnaire."""
    out = tmp_path_factory.mktemp("survey")
    make_survey(runs, out, most=4, url="https://example.org/s/")
    return out


def test_each_pair_is_one_prompt_of_one_run_at_the_two_stops(survey: Path) -> None:
    questions = read_key(survey)["questions"]
    tasks = pd.read_csv(survey / "raters" / "tasks.csv").set_index("question")
    pairs = {token: about for token, about in questions.items() if not about["trial"]}
    assert len(pairs) == 2 * 2 * PROMPTS * len(CONCEPTS)  # versions, kinds
    steps = {"dvar": STOP, "baseline": STEPS}
    for token, about in pairs.items():
        for side in ("left", "right"):
            assert tasks.loc[token, side].startswith("https://example.org/s/pictures/")
            name = tasks.loc[token, side].rpartition("/")[2]
            pixel = Image.open(survey / "raters" / "pictures" / name).getpixel((5, 5))
            kind = 0 if about["kind"] == "reconstruction" else 255
            assert pixel == (GREY[steps[about[side]]], about["place"], kind)


def test_nothing_that_raters_get_names_a_variant_a_run_or_a_side(survey: Path) -> None:
    names = r"dvar|baseline|known|wrong|step|banded|patched|first|second|trial|textual"
    for file in (survey / "raters").rglob("*"):
        assert not re.search(names, file.name, re.IGNORECASE)
        if file.suffix == ".html":
            (data,) = re.findall(r'id="data">(.*?)</script>', file.read_text(), re.DOTALL)
            document = json.loads(data)
            document.pop("pictures")
            assert not re.search(names, json.dumps(document), re.IGNORECASE)
        elif file.suffix in (".csv", ".tsv"):
            assert not re.search(names, file.read_text(), re.IGNORECASE)
        elif file.suffix == ".png":
            assert Image.open(file).info == {}
    pictures = list((survey / "raters" / "pictures").iterdir())
    assert len({file.stat().st_mtime for file in pictures}) == 1
    assert len(pictures) > 20


def test_a_prompt_names_the_kind_of_thing_and_not_the_word_that_was_learned(survey: Path) -> None:
    tasks = pd.read_csv(survey / "raters" / "tasks.csv", keep_default_na=False)
    prompts = set(tasks.loc[tasks["form"].str.startswith("customization"), "prompt"])
    assert {f"a photo of a cup at place {place}" for place in range(PROMPTS)} <= prompts
    assert set(tasks.loc[tasks["form"].str.startswith("reconstruction"), "prompt"]) == {""}


def test_the_picture_that_is_known_is_the_thing_and_is_not_beside_it(survey: Path) -> None:
    tasks = pd.read_csv(survey / "raters" / "tasks.csv").set_index("question")
    for token, about in read_key(survey)["questions"].items():
        if about["trial"]:
            row = tasks.loc[token]
            beside = set(row[["reference_1", "reference_2", "reference_3"]])
            assert not {row["left"], row["right"]} & beside
            assert row["left"] != row["right"]


def test_toloka_and_csv_say_the_same(survey: Path) -> None:
    tasks = pd.read_csv(survey / "raters" / "tasks.csv")
    toloka = pd.read_csv(survey / "raters" / "tasks-toloka.tsv", sep="\t")
    assert {"INPUT:image_left", "INPUT:image_right", "INPUT:question"} <= set(toloka)
    plain = toloka.rename(columns=lambda name: name.removeprefix("INPUT:").removeprefix("image_"))
    pd.testing.assert_frame_equal(tasks, plain)


def test_the_same_seed_writes_the_same_survey_and_another_one_another(
    runs: list[Run], survey: Path, tmp_path: Path
) -> None:
    names = {}
    for seed in (0, 1):
        out = tmp_path / str(seed)
        make_survey(runs, out, most=4, url="https://example.org/s/", seed=seed)
        names[seed] = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert names[0] == {path.name: path.read_bytes() for path in survey.rglob("*.*")}
    pictures = [{name for name in names[seed] if name.endswith(".png")} for seed in (0, 1)]
    assert pictures[0].isdisjoint(pictures[1])


def test_a_run_whose_ends_are_one_is_not_asked_and_told(runs: list[Run], tmp_path: Path) -> None:
    never = surveyed(tmp_path / "never", "split-fish", learns=STEPS)
    made = make_survey([runs[0], never], tmp_path / "out")
    assert len(made.skipped) == 1
    assert "never" in made.skipped[0]
    assert "baseline ends where another does (step 60)" in made.skipped[0]
    with pytest.raises(UserError, match=r"no pair to show: .*never"):
        make_survey([never], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_pictures_that_are_missing_are_told_with_the_command(tmp_path: Path) -> None:
    run = surveyed(tmp_path / "run", "banded-cup")
    run.samples(STOP, "training").unlink()
    with pytest.raises(
        UserError, match=rf"no pictures at step {STOP} \(dvar\); noiseprobe measure"
    ):
        make_survey([run], tmp_path / "out")


def test_a_run_whose_photographs_are_gone_is_not_asked(runs: list[Run], tmp_path: Path) -> None:
    photographs = four_photographs(tmp_path / "thing")
    gone = surveyed(tmp_path / "gone", str(photographs), class_noun="lamp")
    assert make_survey([gone, runs[0]], tmp_path / "there").skipped == []
    next(photographs.iterdir()).write_bytes(b"no image")
    (told,) = make_survey([gone, runs[0]], tmp_path / "broken").skipped
    shutil.rmtree(photographs)
    assert make_survey([gone, runs[0]], tmp_path / "out").skipped == [told]
    assert told == f"{gone.directory}: the photographs in '{photographs}' cannot be read"


def test_the_learned_word_is_replaced_where_it_is_a_word(tmp_path: Path) -> None:
    run = surveyed(tmp_path / "run", "banded-cup", hostile=" by the sea, <v>ery sks cup, rusks")
    make_survey([run], tmp_path / "out")
    tasks = pd.read_csv(tmp_path / "out" / "raters" / "tasks.csv", keep_default_na=False)
    assert "a photo of a cup at place 0 by the sea, <v>ery cup, rusks" in set(tasks["prompt"])


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"variants": ("dvar", "baselin")}, "did you mean 'baseline'"),
        ({"variants": ("dvar",)}, "two or more"),
        ({"variants": ("dvar", "clip")}, "it says nothing of clip"),
        ({"most": 0}, "--questions 0"),
    ],
)
def test_what_cannot_be_asked_is_told(
    runs: list[Run], tmp_path: Path, more: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        make_survey(runs, tmp_path / "out", **more)
    with pytest.raises(UserError, match="--misses 2"):
        Rule(2, 2)


@pytest.mark.parametrize(
    "columns",
    [
        ("rater", "question", "answer"),
        ("WorkerId", "Input.question", "Answer.answer"),
        ("ASSIGNMENT:worker_id", "INPUT:question", "OUTPUT:answer"),
        ("ASSIGNMENT:worker_id", "INPUT:question", "OUTPUT:result"),
        ("annotator", "question", "answer"),
    ],
)
def test_answers_of_platforms_are_read_by_their_columns(
    tmp_path: Path, columns: tuple[str, str, str]
) -> None:
    file = tmp_path / ("a.tsv" if "INPUT" in columns[1] else "a.csv")
    table = pd.DataFrame([("7", "q1", "Left"), ("7", "q2", "")], columns=columns)
    table.assign(more="x").to_csv(file, index=False, sep="\t" if file.suffix == ".tsv" else ",")
    answers, notes = read_answers([tmp_path], "s")
    assert answers.to_dict("records") == [{"rater": "7", "question": "q1", "answer": "left"}]
    assert notes == [f"{file}: 1 rows without an answer are left out"]


@pytest.mark.parametrize(
    "text",
    ["rater;question;answer\n7;q1;left\n", "\ufeffrater,question,answer\r\n7,q1,left\r\n"],
)
def test_answers_that_a_spreadsheet_saved_are_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8", newline="")
    answers, _ = read_answers([tmp_path / "a.csv"], "s")
    assert answers.to_dict("records") == [{"rater": "7", "question": "q1", "answer": "left"}]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rater,question\n1,q\n", "no column for the answer"),
        ("", "it is no table"),
        ("survey,rater,question,answer\nother,1,q,left\n", "it is of survey other, not mine"),
        ("rater,question,answer\n,q,left\n", "an answer has no rater"),
    ],
)
def test_what_is_no_table_of_answers_is_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=told):
        read_answers([tmp_path / "a.csv"], "mine")


def test_the_commands_make_and_score(call: Any, runs: list[Run], tmp_path: Path) -> None:
    pytest.importorskip("statsmodels")
    pytest.importorskip("krippendorff")
    import numpy as np

    folder, out = tmp_path / "out", [run.directory for run in runs]
    code, said, _ = call("survey", "make", *out, "--out", folder, "--json")
    assert code == 0
    assert json.loads(said)["pairs"] == {"reconstruction": 6, "customization": 6}
    assert call("survey", "make", *out, "--out", folder)[0] == 2  # answers need their own
    key = read_key(folder)
    better = {"dvar": 0.8, "baseline": 0.0}
    answers = answered(key, better, Population(0.5), 24, np.random.default_rng(0), guessing=2)
    answers.to_csv(tmp_path / "answers.csv", index=False)
    code, said, _ = call("survey", "score", tmp_path / "answers.csv", "--key", folder, "--json")
    assert code == 0
    found = json.loads(said)
    assert [row["kind"] for row in found["wins"]] == ["reconstruction", "customization"]
    assert all(row["low"] < row["win"] < row["high"] for row in found["wins"])
    code, said, _ = call("survey", "score", tmp_path / "answers.csv", "--key", folder)
    assert code == 0
    assert "DVAR was preferred to Baseline" in " ".join(said.split())
    assert "79.9%" in said  # published
    code, said, err = call("survey", "score", tmp_path / "answers.csv", "--key", tmp_path)
    assert (code, said, err.count("\n")) == (2, "", 1)
    assert "give the --out of survey make" in err
