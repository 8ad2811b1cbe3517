"""The bench of checkpoints of other trainers measures what it says, on small files."""

from pathlib import Path

from experiments.bench.foreign import DISTINCT, measured, write_files


def test_links_to_a_few_real_files_are_found_and_loaded(tmp_path: Path) -> None:
    write_files(tmp_path, 7, megabytes=0.2)
    files = sorted(tmp_path.iterdir())
    assert len({each.stat().st_ino for each in files}) == DISTINCT
    assert all(150_000 < each.stat().st_size < 250_000 for each in files)
    told = measured(tmp_path, 6, load=3)
    assert (told["files"], told["loaded"]) == (6, 3)
    assert told["peak_mb_after_finding"] <= told["peak_mb_after_loading"]
