"""Text from outside is made visible, and commands may be pasted."""

import subprocess
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from noiseprobe.core.words import command, enumerated, visible


def test_escapes_and_ends_of_lines_are_spelt() -> None:
    assert visible("lo\x1b[31mss\nx\ty\r\x7f") == r"lo\x1b[31mss\nx\ty\r\x7f"
    assert visible("a\x9b\u202eb\U000e0001") == r"a\u009b\u202eb\U000e0001"
    assert visible("odd-\udcff") == r"odd-\xff"
    assert visible("two\nlines\x1b", keep="\n") == "two\nlines\\x1b"
    assert visible("Überraschung 东") == "Überraschung 东"


@given(st.text())
def test_what_is_visible_is_printable(text: str) -> None:
    assert visible(text).isprintable()
    assert visible(visible(text)) == visible(text)


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=20))
def test_a_shell_reads_the_very_words_of_a_command(word: str) -> None:
    line = command("printf", "%s", word)
    assert line.isprintable()
    environment = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", line], capture_output=True, env=environment, check=True)
    assert done.stdout.decode() == word


def test_a_path_is_not_taken_for_a_flag() -> None:
    assert command("noiseprobe", "table", Path("-x"), "--out", "a b") == (
        "noiseprobe table ./-x --out 'a b'"
    )


def test_words_are_listed_as_in_a_sentence() -> None:
    assert [enumerated(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == [
        "a",
        "a and b",
        "a, b and c",
    ]
