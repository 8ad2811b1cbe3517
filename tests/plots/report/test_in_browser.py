"""The page in a real browser: it opens alone, its slider works, names stay text, all can use it.

axe-core is looked for where AXE says; without it, or without a browser, tests are skipped.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from noiseprobe.run.directory import Run
from noiseprobe.stages.reporting import write_report
from tests.browser import browser, shown
from tests.stages.reported import HOSTILE, MEASURED

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def opened() -> Iterator["Browser"]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def file(reported_run: Run, opened: "Browser", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page about a run and a log, both with hostile names."""
    folder = tmp_path_factory.mktemp("page")
    log = folder / f"{HOSTILE.replace('/', '')}.csv"
    steps = np.arange(60)
    losses = {"step": steps, f"loss {HOSTILE}": np.exp(-steps / 9)}
    pd.DataFrame(losses).to_csv(log, index=False)
    write_report([reported_run.directory, log], folder / "report.html")
    return folder / "report.html"


def test_it_opens_alone_and_hostile_names_stay_text(opened: "Browser", file: Path) -> None:
    window = shown(opened, file)
    assert window.said == []  # type: ignore[attr-defined]
    assert window.locator(".canvas svg").count() == window.locator(".canvas").count() >= 5
    window.locator("#trace-0 svg .mark-symbol path").last.hover()
    tooltip = window.locator("#vg-tooltip-element")
    assert HOSTILE.split("\u2028")[0] in str(tooltip.inner_text())
    assert window.evaluate("window.hostile") is None
    assert window.locator("img[src='x']").count() == 0
    assert HOSTILE.split("\u2028")[0] in str(window.locator("#verdict").inner_text())
    assert window.said == []  # type: ignore[attr-defined]


def test_the_slider_moves_the_cursor_and_the_pictures(
    opened: "Browser", file: Path, reported_run: Run
) -> None:
    window = shown(opened, file)
    steps = reported_run.checkpoint_steps()
    window.focus("#checkpoint")
    places = []
    for key, step in zip(["Home", *["ArrowRight"] * (len(steps) - 1)], steps, strict=True):
        window.keyboard.press(key)
        visible = window.locator(".step:visible")
        assert visible.get_attribute("data-step") == str(step)
        images = visible.locator("img")
        assert images.count() == (4 if step in MEASURED else 0)
        for place in range(images.count()):
            assert f"Drawn at step {step}:" in str(images.nth(place).get_attribute("alt"))
        assert f"step {step}" in str(window.locator("#reading").inner_text())
        told = str(window.locator("#checkpoint").get_attribute("aria-valuetext"))
        assert told.startswith(f"step {step}")
        window.wait_for_timeout(50)
        places.append(cursor(window))
    # The axis goes from the first step to the last.
    shares = (np.array(places) - places[0]) / (places[-1] - places[0])
    np.testing.assert_allclose(shares, np.array(steps) / steps[-1], atol=0.01)
    width = window.locator("#tracked svg").bounding_box()
    assert width is not None
    assert places[-1] - places[0] > width["width"] / 2


def test_a_click_into_a_curve_chooses_the_nearest_checkpoint(opened: "Browser", file: Path) -> None:
    window = shown(opened, file)
    at = window.locator("#tracked svg").bounding_box()
    assert at is not None
    window.locator("#tracked svg").scroll_into_view_if_needed()
    window.locator("#tracked svg").click(position={"x": at["width"] * 0.12, "y": at["height"] / 2})
    assert window.locator(".step:visible").get_attribute("data-step") == "0"


@pytest.mark.parametrize("look", ["light", "dark"])
def test_axe_finds_nothing_serious(opened: "Browser", file: Path, look: Any) -> None:
    axe = os.environ.get("AXE")
    if not axe:
        pytest.skip("no axe-core: set AXE to its axe.min.js; .ci/browser FOLDER gets it from npm")
    window = shown(opened, file, color_scheme=look, bypass_csp=True)
    window.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    window.add_script_tag(path=axe)
    found = window.evaluate("axe.run()")
    assert found["passes"]
    told = [
        f"{each['id']}: {each['nodes'][0]['html'][:120]}"
        for each in found["violations"]
        if each["impact"] in SERIOUS
    ]
    assert told == []


@pytest.mark.parametrize("look", ["light", "dark"])
def test_the_words_of_curves_stand_out_from_the_ground(
    opened: "Browser", file: Path, look: Any
) -> None:
    """WCAG 2, 1.4.3: a contrast of 4.5; axe does not look into an image."""
    window = shown(opened, file, color_scheme=look)
    colours = window.evaluate(
        "() => [getComputedStyle(document.body).backgroundColor,"
        " ...[...document.querySelectorAll('.canvas svg text')]"
        ".filter((each) => each.textContent && getComputedStyle(each).opacity > 0)"
        ".map((each) => getComputedStyle(each).fill)]"
    )
    ground, *words = [luminance(each) for each in colours]
    assert len(words) > 20
    assert (ground < 0.1) == (look == "dark")
    for word in words:
        low, high = sorted((ground, word))
        assert (high + 0.05) / (low + 0.05) >= 4.5


def test_at_400_pixels_nothing_scrolls_sideways(opened: "Browser", file: Path) -> None:
    window = shown(opened, file, width=400)
    assert window.evaluate("document.documentElement.scrollWidth") <= 400
    wide = window.evaluate(
        "() => [...document.querySelectorAll('.canvas svg, .gallery, .slider, .verdict')]"
        ".map((each) => each.getBoundingClientRect().right)"
    )
    assert max(wide) <= 400


def cursor(window: Any) -> float:
    """Where the cursor stands in the curves of fixed batches, in pixels from the window's left."""
    lines = window.locator("#tracked svg line[stroke='var(--stop)'][stroke-width='3']")
    assert lines.count() == 1
    return float(lines.bounding_box()["x"])


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)` (WCAG 2)."""
    parts = [float(each) / 255 for each in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))
