"""The page: every name stays text, nothing is asked of a network, everything has its words."""

import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noiseprobe.plots.report.contents import Checkpoints
from noiseprobe.plots.report.encoding import spread
from noiseprobe.plots.report.page import in_script, page
from noiseprobe.plots.report.tables import of_checkpoints
from noiseprobe.plots.report.vega import thinned
from noiseprobe.run.directory import Run
from noiseprobe.stages.reporting import gather
from tests.stages.reported import HOSTILE

VISIBLE = HOSTILE.split("\u2028")[0]  # what of it can be printed


class Seen(HTMLParser):
    """The elements of a page with their attributes, the text of scripts, and all other text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[str] = []
        self.texts: list[str] = []
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        else:
            self.texts.append(data)

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with a hostile name and a hostile tag."""
    file = tmp_path_factory.mktemp("log") / f"{VISIBLE.replace('/', '')}.csv"
    steps = np.arange(60)
    pd.DataFrame({"step": steps, f"loss{VISIBLE}": np.exp(-steps / 9)}).to_csv(file, index=False)
    return file


@pytest.fixture(scope="module")
def text(reported_run: Run, log: Path) -> str:
    return page(gather([reported_run.directory, log]))


@pytest.fixture(scope="module")
def seen(text: str) -> Seen:
    return Seen(text)


def test_hostile_names_stay_text(seen: Seen, log: Path) -> None:
    assert len(seen.scripts) == 3
    assert not [each for each in seen.of("img") if not each["src"].startswith("data:image/webp")]
    handlers = {name for _, attributes in seen.elements for name in attributes if name[:2] == "on"}
    assert handlers == set()
    whole = "".join(seen.texts)
    assert f"training {VISIBLE}" in whole  # a caption
    assert f"loss{VISIBLE}" in whole  # a tag
    assert log.name in whole
    specs = json.loads(seen.scripts[0])
    assert specs["trace-0"]["layer"][0]["encoding"]["y"]["title"] == f"loss{VISIBLE}"
    assert not set("<>&\u2028\u2029") & set(seen.scripts[0])


def test_the_page_runs_its_own_scripts_alone_and_asks_for_nothing(seen: Seen) -> None:
    (policy,) = [each["content"] for each in seen.of("meta") if "http-equiv" in each]
    own = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in seen.scripts[1:]
    ]
    assert "default-src 'none'" in policy
    scripts = re.search(r"script-src ([^;]*);", policy)
    assert scripts
    assert scripts[1].split() == [f"'sha256-{each}'" for each in own]
    addresses = [
        attributes[name]
        for _, attributes in seen.elements
        for name in ("src", "href", "srcset", "action", "data")
        if name in attributes
    ]
    assert addresses
    assert {each.partition(":")[0] for each in addresses} == {"data", "#verdict"}
    assert not seen.of("link")


def test_everything_has_words_for_those_who_do_not_see_it(seen: Seen, text: str) -> None:
    assert all(each["alt"] for each in seen.of("img"))
    assert len(seen.of("caption")) == len(seen.of("table")) > 4
    assert all(each["scope"] in ("row", "col") for each in seen.of("th"))
    charts = [each for each in seen.of("div") if each.get("role") == "img"]
    assert {each["id"] for each in charts} == set(json.loads(seen.scripts[0]))
    assert all(len(each["aria-label"]) > 20 for each in charts)
    identifiers = [each["id"] for _, each in seen.elements if "id" in each]
    assert len(identifiers) == len(set(identifiers))
    assert len(text) < 8_000_000


def test_the_same_data_is_the_same_page(reported_run: Run) -> None:
    found = gather([reported_run.directory])
    assert page(found) == page(found)


@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.lists(inner)))
def test_a_document_in_a_script_is_itself_and_ends_nothing(document: object) -> None:
    text = in_script(document)
    assert json.loads(text) == document
    assert not set("<>&\u2028\u2029") & set(text)


@settings(deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.integers(min_value=4, max_value=50)
)
def test_a_thinned_curve_keeps_its_ends_and_extremes(values: list[float], most: int) -> None:
    table = pd.DataFrame({"step": range(len(values)), "loss": values})
    kept = thinned(table, "loss", most)
    assert len(kept) <= most
    assert kept["step"].is_monotonic_increasing
    assert {0, len(values) - 1} <= set(kept["step"])
    assert kept["loss"].agg(["min", "max"]).tolist() == [min(values), max(values)]


@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 39))
def test_steps_are_spread_evenly_with_what_matters(count: int, most: int, chosen: int) -> None:
    steps = [10 * place for place in range(count)]
    kept = spread(steps, most, steps[chosen % count])
    assert len(kept) == min(count, most)
    assert kept == sorted(set(kept))
    assert {steps[0], steps[-1]} <= set(kept) <= set(steps)
    assert most < 3 or steps[chosen % count] in kept


def test_a_loss_that_decides_has_one_column() -> None:
    losses = [0.3, 0.1, math.nan]
    unknown = dict.fromkeys(["difference", "likeness", "prompt"], math.nan)
    table = pd.DataFrame({"step": [0, 5, 9], "loss": losses, "l_det": losses, "l_val": [3, 2, 1]})
    table = table.assign(**unknown, candidate=None)
    assert list(of_checkpoints(Checkpoints(table, "L_det")).head) == ["step", "L_det", "held out"]
    table["l_det"] = [0.3, 0.1, 0.2]  # of a step that the comparison lacks
    head = list(of_checkpoints(Checkpoints(table, "the held-out loss")).head)
    assert head == ["step", "the held-out loss", "L_det", "held out"]
