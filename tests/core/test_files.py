"""Files appear whole or not at all, and nothing that was there is lost by mistake."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from noiseprobe.core.errors import UserError
from noiseprobe.core.files import check_file, check_folder, write_json, written_whole


def test_a_folder_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "kept.csv").write_text("1")
    with pytest.raises(UserError, match="a folder is where a file is to be written"):
        write_json(folder, 2)
    assert [path.name for path in tmp_path.rglob("*")] == ["logs", "kept.csv"]


def test_a_folder_is_replaced_by_a_whole_folder(tmp_path: Path) -> None:
    for word in ("old", "new"):
        with written_whole(tmp_path / "checkpoint") as beside:
            beside.mkdir()
            (beside / word).write_text(word)
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["new"]


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(file, float("nan"))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_what_cannot_be_an_output_file_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    source = tmp_path / "log.csv"
    source.write_text("step,loss\n0,1\n")
    for path, told in {
        tmp_path: "it is a folder",
        Path("."): "it is a folder",
        source / "table.csv": "log.csv is no folder",
        source / "deeper" / "table.csv": "log.csv is no folder",
    }.items():
        with pytest.raises(UserError, match=told):
            check_file("--csv", path)
    check_file("--csv", tmp_path / "new" / "table.csv")
    assert not (tmp_path / "new").exists()
    with pytest.raises(UserError, match=r"--out .*log.csv: .* is no folder"):
        check_folder("--out", source)


def test_many_processes_write_one_path_and_it_is_always_whole(tmp_path: Path) -> None:
    file = tmp_path / "a[b].json"
    script = (
        "import sys\nfrom pathlib import Path\nfrom noiseprobe.core.files import write_json\n"
        "for _ in range(100):\n    write_json(Path(sys.argv[1]), [sys.argv[2]] * 1000)\n"
    )
    command = [sys.executable, "-c", script, str(file)]
    writers = [subprocess.Popen([*command, str(number)]) for number in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4
    assert len(set(json.loads(file.read_text()))) == 1
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_killed_process_left_is_swept_away_and_what_a_live_one_writes_is_not(
    tmp_path: Path,
) -> None:
    file = tmp_path / "state.pt"
    script = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from noiseprobe.core.files import written_whole\n"
        "with written_whole(Path(sys.argv[1])) as beside:\n"
        "    beside.write_text('part')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(file)])
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    with written_whole(file) as beside:
        assert not left.exists()
        beside.write_text("first")
        write_json(file, "second")
        assert beside.exists()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["first"]


def test_a_disk_that_is_full_names_what_was_to_be_written(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="no space left") as error,
        written_whole(tmp_path / "table.csv"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert error.value.filename == str(tmp_path / "table.csv")


def test_a_writer_that_does_not_say_that_the_disk_is_full_is_seen_through(tmp_path: Path) -> None:
    script = (
        "import errno, resource, sys\nfrom pathlib import Path\nimport torch\n"
        "from noiseprobe.core.files import written_whole\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "try:\n    with written_whole(Path(sys.argv[1])) as beside:\n"
        "        torch.save(torch.zeros(100_000), beside)\n"
        "except OSError as error:\n"
        "    sys.exit(f'{errno.errorcode[error.errno]} {error.filename}')\n"
    )
    file = tmp_path / "state.pt"
    done = subprocess.run([sys.executable, "-c", script, str(file)], capture_output=True, text=True)
    assert done.stderr == f"EFBIG {file}\n"
    assert list(tmp_path.iterdir()) == []
