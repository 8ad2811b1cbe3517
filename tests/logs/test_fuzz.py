"""Whatever a file holds, reading it ends with series or with one line."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from experiments.bench.fuzz import VALID, check, inputs


@pytest.mark.parametrize("kind", VALID)
def test_what_is_to_be_broken_is_a_log(tmp_path: Path, kind: str) -> None:
    assert check(tmp_path, VALID[kind])


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(case=inputs())
def test_broken_logs_end_in_one_line(tmp_path: Path, case: tuple[str, bytes]) -> None:
    check(tmp_path, case[1])
