"""The quick tier: every attack with small numbers. The whole of it: `make torture`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def attacked(part: str) -> list[dict]:
    """Run one part of the rig in a process of its own, which may fork, and return its figures."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.rig", "--quick", "--json", part],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=280,
    )
    sys.stderr.write(done.stderr)  # shown where the test fails
    assert done.stdout, "it ended without figures"
    return json.loads(done.stdout)


CLAIMS = {
    "kills": "Killed anywhere under 30 % bad replies: nothing bought twice, lost, corrupt or over budget",
    "power": "No acknowledged commit is lost to a power cut; with less than FULL they would be",
    "replies": "No answer to a submit makes it buy twice",
    "bodies": "No faulty download is recorded as done",
    "rows": "Every bad row is named by its column, no good one is, and nothing crashes",
}


@pytest.mark.parametrize("part", CLAIMS)
def test_the_attack_finds_what_it_should_and_nothing_else(part: str, record_property) -> None:
    """What each part claims stands in `CLAIMS`; every figure of it is what it must be."""
    figures = attacked(part)
    for figure in figures:
        record_property(figure["what"].strip(), figure["found"])
    broken = [f"{figure['what']}: {figure['found']}" for figure in figures if not figure["ok"]]
    assert broken == [], CLAIMS[part]


@pytest.mark.postgres
def test_a_crowd_on_one_cap_never_passes_it() -> None:
    """Eight processes at once, on SQLite and on PostgreSQL: 0 over, and entries equal balances."""
    figures = attacked("crowd")
    assert [figure for figure in figures if not figure["ok"]] == []
