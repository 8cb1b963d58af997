"""A flagged clip is bought again, once, also where the process is killed around that decision."""

import csv
import json
import signal
from decimal import Decimal
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)

CAMPAIGN = """[campaign]
name = "spring"
manifest = "shots.csv"
[defaults]
model = "seedance-1.0-pro-fast"
resolution = "480p"
duration = 2
[budget]
total_usd = 1
[look]
blurred_px = 2  # every clip has softer edges than that
[retakes]
max = 1
budget_usd = 1
on = ["blurred"]
"""


@pytest.mark.parametrize("place", ["after_rename", "after_done"])
def test_a_kill_neither_loses_nor_doubles_a_retake(desk, place):
    """Killed before and after the clip is recorded: resumed, clip and retake were bought once each."""
    (desk.folder / "shots.csv").write_text("custom_id,prompt,shelf\nboat,A paper boat,B4\n")
    (desk.folder / "spring.toml").write_text(CAMPAIGN)
    run = ("run", "spring.toml", "--sandbox", "--speed", "100", "--yes", "--json")
    killed = desk.call(*run, CALLSHEET_FAILPOINT=f"{place}:1")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = desk.call("resume", "--sandbox", "--json")
    assert resumed.returncode == 0, resumed.stderr
    summary = json.loads(resumed.stdout)
    assert (summary["succeeded"], len(desk.accepted())) == (2, 2)
    with (Path(summary["dir"]) / "results.csv").open() as file:
        clip, retake = csv.DictReader(file)
    assert (clip["custom_id"], clip["take"], clip["retake_of"]) == ("boat", "1", "")
    assert (retake["custom_id"], retake["take"], retake["retake_of"]) == ("boat-t2", "2", "boat")
    assert clip["shelf"] == retake["shelf"] == "B4"
    assert clip["flags"].startswith("blurred 0.0-2.0 s")
    assert clip["seed_used"] != retake["seed_used"]
    spent = Decimal(clip["actual_usd"]) + Decimal(retake["actual_usd"])
    assert spent == Decimal(summary["actual_usd"]) > 0
