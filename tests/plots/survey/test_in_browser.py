"""The questionnaire in a real browser: it asks, keeps, gives back, and tells nothing of the sides.

axe-core is looked for where AXE says; without it, or without a browser, tests are skipped.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from noiseprobe.analysis.survey_design import Rule
from noiseprobe.stages.survey_answers import read_answers, read_key
from noiseprobe.stages.surveying import make_survey
from tests.browser import browser, shown
from tests.plots.report.test_in_browser import SERIOUS
from tests.stages.reported import HOSTILE
from tests.stages.surveyed import PROMPTS, surveyed

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FORM = "customization-1a"


@pytest.fixture(scope="module")
def opened() -> Iterator["Browser"]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def survey(opened: "Browser", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A survey of one run with hostile prompts; raters may say that they cannot tell."""
    folder = tmp_path_factory.mktemp("survey")
    run = surveyed(folder / "run", "banded-cup", hostile=HOSTILE)
    make_survey([run], folder / "out", rule=Rule(2, 0), ties=True)
    return folder / "out"


def begun(opened: "Browser", survey: Path, form: str = FORM, **look: Any) -> Any:
    """A questionnaire at its first pair."""
    window = shown(opened, survey / "raters" / f"{form}.html", **look)
    window.fill("#rater", "r-1")
    window.click("#begin")
    return window


def test_answers_by_key_and_click_are_saved_as_they_are_read(
    opened: "Browser", survey: Path, tmp_path: Path
) -> None:
    window = begun(opened, survey)
    count = PROMPTS + 2
    given = ["left", "right", "tie", "left", "right"]
    keys = {"left": "ArrowLeft", "right": "2", "tie": "ArrowDown"}
    for place, each in enumerate(given):
        assert window.locator("#place").inner_text() == f"{place + 1} of {count}"
        if place == 3:
            window.click(f"button[data-answer='{each}']")
        else:
            window.wait_for_timeout(320)  # before that a key may be one that is held down
            window.keyboard.press(keys[each])
    with window.expect_download() as saving:
        window.click("#save")
    assert saving.value.suggested_filename == f"answers-{FORM}-r-1.csv"
    saving.value.save_as(tmp_path / "answers.csv")
    key = read_key(survey)
    answers, notes = read_answers([tmp_path / "answers.csv"], key["survey"])
    of_form = [token for token, about in key["questions"].items() if about["form"] == FORM]
    assert list(answers["question"]) == of_form
    assert list(answers["answer"]) == given
    assert set(answers["rater"]) == {"r-1"}
    assert notes == window.said == []


def test_an_answer_is_kept_when_the_page_is_left_and_may_be_changed(
    opened: "Browser", survey: Path
) -> None:
    window = begun(opened, survey)
    window.click("button[data-answer='right']")
    window.reload()
    window.wait_for_function("document.documentElement.dataset.ready === 'yes'")
    window.fill("#rater", "r-1")
    window.click("#begin")
    assert str(window.locator("#place").inner_text()).startswith("2 of")
    window.click("#back")
    assert window.locator("button[aria-pressed='true']").get_attribute("data-answer") == "right"
    window.click("button[data-answer='left']")
    window.click("#back")
    assert window.locator("button[aria-pressed='true']").get_attribute("data-answer") == "left"


def test_without_a_code_nothing_begins_and_a_link_may_give_it(
    opened: "Browser", survey: Path
) -> None:
    window = shown(opened, survey / "raters" / f"{FORM}.html")
    window.fill("#rater", "=1+1, me")
    window.click("#begin")
    assert window.locator("#ask").is_hidden()
    assert "letters, digits" in str(window.locator("#wrong").inner_text())
    window.goto(f"{window.url}?PROLIFIC_PID=5f3e")
    window.wait_for_function("document.documentElement.dataset.ready === 'yes'")
    assert window.locator("#rater").input_value() == "5f3e"


def test_hostile_prompts_stay_text(opened: "Browser", survey: Path) -> None:
    window = begun(opened, survey)
    seen = []
    for _ in range(PROMPTS + 2):
        seen.append(str(window.locator("#prompt").inner_text()))
        window.click("button[data-answer='left']")
    assert sum(HOSTILE.split("\u2028")[0] in each for each in seen) == PROMPTS
    assert window.evaluate("window.hostile") is None
    assert window.locator("img[src='x']").count() == 0
    assert window.said == []


def test_pictures_are_seen_whole_in_a_narrow_window(opened: "Browser", survey: Path) -> None:
    window = begun(opened, survey, "reconstruction-1b", width=400)
    assert window.evaluate("document.documentElement.scrollWidth") <= 400
    assert window.locator("#references img").count() == 3
    sizes = window.evaluate(
        "Promise.all([...document.querySelectorAll('#ask img')].map(async (each) => {"
        " await each.decode(); return [each.naturalWidth, each.clientWidth]; }))"
    )
    assert all(natural > 0 and wide > 0 for natural, wide in sizes)


@pytest.mark.parametrize("look", ["light", "dark"])
def test_axe_finds_nothing_serious(opened: "Browser", survey: Path, look: Any) -> None:
    axe = os.environ.get("AXE")
    if not axe:
        pytest.skip("no axe-core: set AXE to its axe.min.js; .ci/browser FOLDER gets it from npm")
    window = begun(opened, survey, "reconstruction-1a", color_scheme=look, bypass_csp=True)
    window.add_script_tag(path=axe)
    for section in ("start", "ask", "end"):
        window.evaluate(
            "(shown) => document.querySelectorAll('section')"
            ".forEach((each) => { each.hidden = each.id !== shown; })",
            section,
        )
        found = window.evaluate("axe.run()")
        assert found["passes"]
        told = [
            f"{section}, {each['id']}: {each['nodes'][0]['html'][:120]}"
            for each in found["violations"]
            if each["impact"] in SERIOUS
        ]
        assert told == []
