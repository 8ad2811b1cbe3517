"""Every bad input of the corpus is handled, or refused in one line with exit code 2."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest

from noiseprobe.logs import read_log
from tests.bad_inputs.cases import Case
from tests.bad_inputs.corpus import corpus
from tests.bad_inputs.names import HOSTILE, log_of
from tests.bad_inputs.running import Server, serving
from tests.bad_inputs.shared import made

pytestmark = pytest.mark.long

CORPUS = corpus()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One process for all cases."""
    with serving(made(tmp_path_factory.mktemp("bad-inputs"))) as started:
        yield started


def test_every_case_has_a_name_of_its_own_and_there_are_enough() -> None:
    names = Counter(case.name for case in CORPUS)
    assert [name for name, count in names.items() if count > 1] == []
    assert len(names) >= 250


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.name)
def test_bad_input_is_handled_or_refused_in_one_line(server: Server, case: Case) -> None:
    end = server.run(case)
    assert end.wrong(case) == [], end.told["stderr"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_text_in_a_figure_and_in_a_table(call: Any, tmp_path: Path, name: str) -> None:
    tag, shown = HOSTILE[name]
    log = tmp_path / "log.jsonl"
    log.write_text(log_of(tag), encoding="utf-8")
    assert read_log(log).tags == (tag,)
    figure, table = tmp_path / "figure.svg", tmp_path / "table.csv"
    code, _, said = call("dvar-replay", log, "--plot", figure, "--csv", table)
    assert code == 0, said
    drawn = "".join(ElementTree.parse(figure).getroot().itertext())
    assert shown[:15] in drawn or shown[-15:] in drawn
    (cell,) = pd.read_csv(table)["tag"]
    assert cell in (shown, f"'{shown}") or len(shown) < len(tag)
    assert cell[0] not in "=+-@"
