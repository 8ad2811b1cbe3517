"""Photograph a report, as docs/report.md shows it.

    CHROMIUM=/usr/bin/chromium python -m experiments.report_picture [RUN]

Without RUN it is a run of the bundled model with a photograph held out, kept in `runs/report`, from
whose checkpoints pictures are drawn. Chromium is the browser of any system; `.ci/browser FOLDER`
gets one from npm.
"""

import io
import os
import sys
from pathlib import Path

from PIL import Image

from noiseprobe.core.files import written_whole
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import measure_stage, resume_all, run_all, steps_to_measure
from noiseprobe.stages.reporting import NAME, write_report

RUN = Path("runs") / "report"
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "report.png"
WIDTH, HEIGHT, COLOURS, STEP = 1200, 1940, 256, 5


def main() -> None:
    """Run, measure, report, photograph."""
    run = Run.open(sys.argv[1]) if len(sys.argv) > 1 else trained()
    page = run.directory / NAME
    write_report([run.directory], page)
    picture = Image.open(io.BytesIO(photographed(page))).convert("RGB")
    small = picture.quantize(COLOURS, dither=Image.Dither.FLOYDSTEINBERG)
    with written_whole(PICTURE) as beside:
        small.save(beside, "PNG", optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size} bytes")


def trained() -> Run:
    """The default run with a photograph held out, and pictures of every checkpoint."""
    begun = (RUN / "config.toml").is_file()
    _ = resume_all(RUN) if begun else run_all(resolve({"hold_out": "1"}), RUN)
    run = Run.open(RUN)
    steps = ",".join(map(str, run.checkpoint_steps()))
    measure_stage(run, run.config, steps_to_measure(run, steps))
    return run


def photographed(page: Path) -> bytes:
    """The upper part of a page, once its curves are drawn, with the slider at place `STEP`; PNG."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=os.environ["CHROMIUM"], args=["--no-sandbox", "--headless=shell"]
        )
        window = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        window.goto(page.absolute().as_uri())
        window.wait_for_function("document.documentElement.dataset.ready === 'yes'")
        for key in ("Home", *["ArrowRight"] * STEP):
            window.locator("#checkpoint").press(key)
        window.locator("#checkpoint").blur()
        window.locator("h1").scroll_into_view_if_needed()
        window.wait_for_timeout(300)
        taken = bytes(window.screenshot())
        browser.close()
    return taken


if __name__ == "__main__":
    main()
