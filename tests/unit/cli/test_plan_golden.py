"""What `callsheet plan` prints, word for word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from callsheet.cli.main import run_command

CAMPAIGN = """\
[campaign]
name = "spring"
manifest = "shots-*.csv"
[defaults]
model = "seedance-1.0-pro-fast"
[columns]
"Shot text" = "prompt"
"Text" = "prompt"
[matrix]
resolution = ["480p", "720p"]
[budget]
total_usd = 0.5
[budget.client]
acme = 0.3
[output]
name = "{client}/{custom_id}"
"""
GOLDEN = """\
spring: 6 jobs, price book 2026-11-21
  model                         jobs      expected       at most
  seedance-1.0-pro-fast            4       $0.3032       $0.3057
  seedance-1.0-lite                2       $0.2729       $0.2751
  resolution                    jobs      expected       at most
  480p                             3       $0.1847       $0.1863
  720p                             3       $0.3913       $0.3946
  client                        jobs      expected       at most
  acme                             4       $0.4244       $0.4280
  northwind                        2       $0.1516       $0.1529
  total                            6       $0.5760       $0.5808
  each amount is rounded up, so lines may add up to a little more than the total
total cap of campaign spring: $0.5000, $0.5000 left
total cap of client acme in campaign spring: $0.3000, $0.3000 left
does not fit the total cap of campaign spring: needs up to $0.5808, $0.5000 left
does not fit the total cap of client acme in campaign spring: needs up to $0.4280, $0.3000 left
what would fit (lowest priorities first):
  at 480p: 2 jobs, saves $0.1534764 of the maximum, $0.152208 expected
  at most 3 s: 3 jobs, saves $0.1503072 of the maximum, $0.1503072 expected
  --fit: takes 5 jobs and skips 1, which needs up to $0.1869 more
most expensive:
  c-720p                         $0.1869  seedance-1.0-lite 720p 5 s
  a-720p                         $0.1039  seedance-1.0-pro-fast 720p 5 s
  b-720p                         $0.1039  seedance-1.0-pro-fast 720p 5 s
  c-480p                         $0.0883  seedance-1.0-lite 480p 5 s
  a-480p                         $0.0491  seedance-1.0-pro-fast 480p 5 s
takes about 17 s with 10 renders at a time, from fal's published 41 s for a 5 s clip at 1080p
"""


@pytest.fixture(autouse=True)
def _campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALLSHEET_DATA_DIR", str(tmp_path / "data"))
    Path("campaign.toml").write_text(CAMPAIGN)
    Path("shots-a.csv").write_text("custom_id,Shot text,client\na,A fox,acme\nb,A cat,northwind\n")
    Path("shots-b.csv").write_text("custom_id,Text,model,client\nc,A dog,seedance-1.0-lite,acme\n")


def test_a_plan_prints_its_totals_and_what_does_not_fit(capsys):
    """Totals, the caps, each cap that is too small, what would fit, what costs most, how long it takes."""
    assert run_command(["plan", "campaign.toml"]) == 0
    assert capsys.readouterr().out == GOLDEN


def test_lines_that_add_up_need_no_word(capsys):
    """One model in one resolution is its own total."""
    Path("one.csv").write_text("prompt,model\nA fox,seedance-1.0-lite\n")
    assert run_command(["plan", "one.csv"]) == 0
    shown = capsys.readouterr().out
    assert "  total " in shown
    assert "rounded up" not in shown


def test_a_plan_has_the_same_hash_whichever_way_it_was_made(capsys, monkeypatch):
    """The hash of a plan is fixed: by the rows one at a time, by columns, and in the next version."""
    hashes = []
    for few in (2000, 0):
        monkeypatch.setattr("manifests.planner.FEW_JOBS", few)
        assert run_command(["plan", "campaign.toml", "--json"]) == 0
        hashes.append(json.loads(capsys.readouterr().out)["plan_hash"])
    assert hashes == [HASH, HASH]


HASH = "d2996e826823198911033093d3d6c8a32d3862db7cd08d570023deaade385b09"


def test_a_plan_without_a_cap_says_so(capsys):
    """Nothing limits it, and the line names both places for a cap."""
    Path("free.toml").write_text(CAMPAIGN.partition("[budget]")[0])
    assert run_command(["plan", "free.toml"]) == 0
    shown = capsys.readouterr().out
    assert "no cap: set one with --budget-usd, or with [budget] in a campaign file\n" in shown
    assert run_command(["plan", "free.toml", "--budget-usd", "5"]) == 0
    assert "no cap" not in capsys.readouterr().out
