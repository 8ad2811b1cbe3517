"""A real browser for tests, where there is one: CHROMIUM names it, or it is on the path."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")
READY = "document.documentElement.dataset.ready === 'yes'"


@contextlib.contextmanager
def browser() -> Iterator["Browser"]:
    """A headless Chromium; the test is skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium: set CHROMIUM to one; .ci/browser FOLDER gets one from npm")
    with api.sync_playwright() as started:
        arguments = ["--no-sandbox", "--no-zygote", "--disable-gpu", "--headless=shell"]
        opened = started.chromium.launch(executable_path=found, args=arguments)
        try:
            yield opened
        finally:
            opened.close()


def shown(opened: "Browser", page: Path, width: int = 1200, **look: Any) -> "Page":
    """A file in a new window, once it has drawn its curves.

    What it asks of a network, says on the console or fails in is in `page.said`, a list.
    """
    window = opened.new_page(viewport={"width": width, "height": 900}, **look)
    said: list[str] = []
    window.on("console", lambda message: said.append(f"console: {message.text}"))
    window.on("pageerror", lambda error: said.append(f"error: {error}"))
    window.on("request", lambda request: said.append(f"request: {request.url[:80]}"))
    address = page.absolute().as_uri()
    window.goto(address)
    window.wait_for_function(READY)
    window.said = [each for each in said if each[:14] != "request: data:"][1:]  # type: ignore[attr-defined]
    return window
