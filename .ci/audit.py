"""Whether any version in constraints.txt has a known vulnerability, as pip-audit is told.

Exits with 1 where one is found. Where the database cannot be asked, as without a network, it says
that the audit was not made, and why, and exits with 0: no network is no vulnerability.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
SECONDS = 120
"""After which asking is given up."""

BEARABLE: Mapping[str, str] = {}
"""Vulnerabilities that are none here, by their number: why."""


def ask(*more: str) -> tuple[Mapping[str, Any] | None, str]:
    """What pip-audit answers of all constraints, or None, and why there is no answer."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(CONSTRAINTS), "--no-deps"]
    command += ["--disable-pip", "--progress-spinner=off", "--format=json", *more]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return None, f"no answer within {SECONDS} seconds"
    try:
        return json.loads(done.stdout), ""
    except ValueError:
        lines = done.stderr.strip().splitlines()
        return None, lines[-1] if lines else f"pip-audit ended with {done.returncode}"


def verdict(answer: Mapping[str, Any] | None, why: str) -> tuple[list[str], int]:
    """What to say, line by line, and the exit code."""
    if answer is None:
        return [f"audit not made: {why}"], 0
    each = answer["dependencies"]
    asked = [package for package in each if "skip_reason" not in package]
    passed_over = [package["skip_reason"] for package in each if "skip_reason" in package]
    if not asked:
        told = passed_over[0] if passed_over else "there are no constraints"
        return [f"audit not made: nothing is known of any of {len(each)} packages ({told})"], 0
    found = [
        f"{package['name']} {package['version']}: {known['id']}, mended in "
        f"{', '.join(known['fix_versions']) or 'no version'}"
        for package in asked
        for known in package["vulns"]
        if not {known["id"], *known.get("aliases", ())} & BEARABLE.keys()
    ]
    lines = [f"audit: {len(asked)} of {len(each)} packages, {len(found)} vulnerabilities", *found]
    return lines + [f"not asked: {reason}" for reason in passed_over], int(bool(found))


if __name__ == "__main__":
    said, code = verdict(*ask(*sys.argv[1:]))
    print("\n".join(said))
    sys.exit(code)
