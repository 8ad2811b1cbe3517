"""Tables for people fit the terminal, whatever they hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noiseprobe.cli.tables import paragraph, plain, width

WORD = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=30)
CELL = st.lists(WORD, min_size=1, max_size=4).map(" ".join)
ROWS = st.integers(1, 9).flatmap(
    lambda columns: st.lists(
        st.lists(CELL, min_size=columns, max_size=columns), min_size=2, max_size=5
    )
)


@pytest.mark.parametrize("within", [60, 80, 120])
@given(rows=ROWS, left=st.sets(st.integers(0, 8)))
def test_no_line_is_wider_than_the_terminal_and_no_text_is_lost(
    within: int, rows: list[list[str]], left: set[int]
) -> None:
    lines = plain(rows, left=sorted(left), within=within).splitlines()
    for line in lines:
        assert len(line) <= within or len(line.split()) == 1
    words = [word for line in lines for word in line.split()]
    assert sorted(words) == sorted(word for row in rows for cell in row for word in cell.split())


def test_a_table_that_fits_has_one_line_per_row() -> None:
    rows = [("name", "loss"), ("first", "0.5"), ("second one", "12")]
    assert plain(rows, within=60).splitlines() == [
        "name        loss",
        "first        0.5",
        "second one    12",
    ]


def test_columns_go_to_a_second_line_whole_and_in_line_with_each_other() -> None:
    rows = [("name", "stop step", "parameters"), ("dvar", "7", "window=310")]
    assert plain(rows, within=18).splitlines() == [
        "name  stop step",
        "    parameters",
        "dvar          7",
        "    window=310",
    ]


def test_a_column_wider_than_a_line_is_broken_between_words() -> None:
    text = plain([("what",), ("one two three four",)], within=9)
    assert text.splitlines() == ["what", "one two", "three", "four"]


def test_the_folder_of_all_paths_is_named_once() -> None:
    rows = [("trace", "n"), ("/long/way/a/log.csv", "1"), ("/long/way/b/log.csv", "2")]
    assert plain(rows, paths=0, within=80).splitlines() == [
        "in /long/way:",
        "trace      n",
        "a/log.csv  1",
        "b/log.csv  2",
    ]
    apart = [("trace",), ("/a/log.csv",), ("b/log.csv",)]
    assert "in " not in plain(apart, paths=0, within=80)


def test_wide_letters_count_twice_and_escapes_are_spelt() -> None:
    rows = [("tag", "n"), ("东西", "1"), ("a\x1b[31m\n", "2")]
    assert plain(rows, within=80).splitlines() == [
        "tag          n",
        "东西         1",
        r"a\x1b[31m\n  2",
    ]


def test_the_width_is_that_of_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "33")
    assert width() == 33
    assert max(map(len, paragraph("word " * 40).splitlines())) <= 33
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr("os.get_terminal_size", lambda *_: (_ for _ in ()).throw(OSError()))
    assert width() == 120
