"""The list of what was written: what is whole, what is damaged, what a crash may leave."""

import shutil
from pathlib import Path

import pytest

from noiseprobe.core import manifest
from noiseprobe.core.files import keep_as, remove, written_whole
from noiseprobe.core.manifest import DamagedFile, check, manifest_of, wrong_in


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    manifest.begin(tmp_path / "run")
    return tmp_path / "run"


def put(path: Path, text: str) -> Path:
    with written_whole(path) as beside:
        beside.write_text(text)
    return path


def put_folder(path: Path, **texts: str) -> Path:
    with written_whole(path) as beside:
        beside.mkdir()
        for name, text in texts.items():
            (beside / name).write_text(text)
    return path


def test_what_is_as_it_was_written_is_whole(folder: Path) -> None:
    file = put(folder / "traces" / "part", "losses")
    check(file)
    check(put(file, "other losses"))
    check(put_folder(folder / "result", weights="1"))
    check(put_folder(folder / "result", other="2"))
    assert set(manifest_of(folder).current) == {"traces/part", "result/other"}


@pytest.mark.parametrize(
    ("text", "told"),
    [("lasses", "bytes are not those"), ("loss", "has 4 bytes, and was written with 6"), ("", "0")],
)
def test_what_is_not_as_it_was_written_is_damaged(folder: Path, text: str, told: str) -> None:
    file = put(folder / "traces" / "part", "losses")
    file.write_text(text)
    with pytest.raises(DamagedFile, match=told) as caught:
        check(file)
    assert str(caught.value).startswith(f"'{file}' is damaged")
    assert "\n" not in str(caught.value)


def test_what_is_missing_or_strange_is_told(folder: Path) -> None:
    kept = put(folder / "kept", "1")
    weights = put_folder(folder / "checkpoint", weights="1", about="2")
    (weights / "about").unlink()
    assert list(wrong_in(weights)) == [(weights / "about", "is missing")]
    copied = folder / "part-2"
    shutil.copy(kept, copied)
    strange = folder / "strange"
    strange.mkdir()
    for place in (copied, strange):
        assert [wrong for _, wrong in wrong_in(place)] == [
            "was put there by something else than noiseprobe"
        ]
    remove(kept)
    assert not list(wrong_in(kept)), "it was removed, and nothing is there"


def test_a_crash_between_list_and_file_leaves_the_one_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(folder / "state", "first")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("noiseprobe.core.files.os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            put(file, "second")
    assert file.read_text() == "first"
    check(file)
    check(put(file, "third"))


def test_a_line_that_was_cut_off_takes_no_other_with_it(folder: Path) -> None:
    first = put(folder / "first", "1")
    with (folder / manifest.NAME).open("a") as file:
        file.write('{"path": "second", "byt')
    second = put(folder / "second", "2")
    check(first)
    check(second)
    second.write_text("3")
    with pytest.raises(DamagedFile):
        check(second)


def test_a_file_is_kept_under_another_name(folder: Path) -> None:
    newest, before = put(folder / "state", "1"), folder / "before"
    keep_as(newest, before)
    put(newest, "2")
    assert (newest.read_text(), before.read_text()) == ("2", "1")
    check(newest)
    check(before)
    newest.write_text("3")  # damaged, and kept on: it does not become whole by that
    keep_as(newest, before)
    with pytest.raises(DamagedFile):
        check(before)


def test_without_a_list_nothing_is_known(tmp_path: Path) -> None:
    file = put(tmp_path / "file", "1")
    file.write_text("2")
    check(file)
    assert manifest.known_entry(file) is None
