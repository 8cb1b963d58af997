"""Draft, approve, finish as one budget, with the real command: killed in the middle, nothing bought twice."""

import csv
import json
import signal
from decimal import Decimal
from pathlib import Path

import pytest

from callsheet.ledger import Ledger, admission, verify

pytestmark = pytest.mark.timeout(600)  # some ten commands, on a busy machine

CAMPAIGN = """[campaign]
name = "spring"
manifest = "shots.csv"
[defaults]
model = "seedance-2.5"
draft = true
duration = 4
aspect_ratio = "16:9"
[budget]
total_usd = 13.00
"""
DRAFT_USD, FINISH_USD = Decimal("0.830962"), Decimal("4.59862353")
"""Real bills of 4 s at fal: the draft at 480p, and its finish at 1080p."""

COMPLETE = "bytedance/seedance-2.5/draft/complete"


@pytest.fixture
def drafted(desk):
    """A desk whose run made four drafts, under a cap that two finishes fit and four pass."""
    (desk.folder / "shots.csv").write_text(
        "custom_id,prompt\n" + "".join(f"shot-{number},A paper boat {number}\n" for number in range(4))
    )
    (desk.folder / "spring.toml").write_text(CAMPAIGN)
    (desk.folder / "selection.csv").write_text(
        "custom_id,verdict\nshot-0,keep\nshot-1,reject\nshot-2,\nshot-3,keep\n"
    )
    done = desk.call("run", "spring.toml", "--sandbox", "--speed", "40", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    desk.made = json.loads(done.stdout)
    return desk


def rows_of(desk) -> dict[str, dict[str, str]]:
    """Return the results of the run, by custom_id."""
    with (Path(desk.made["dir"]) / "results.csv").open() as file:
        return {row["custom_id"]: row for row in csv.DictReader(file)}


def test_the_kept_drafts_are_finished_once_although_the_process_is_killed(drafted):
    """All four do not fit: exit 3. Two do: killed after the first POST, resumed, each was bought once."""
    run_id = drafted.made["run_id"]
    drafts = drafted.made["drafts"]
    assert (drafts["to_finish"], drafts["draft_usd"]) == (4, str(4 * DRAFT_USD))
    shown = drafted.call("status", run_id, "--sandbox").stdout
    assert "4 drafts can be finished, the first until" in shown

    every = [f"shot-{number}" for number in range(4)]
    refused = drafted.call("finish", run_id, "--keep", *every, "--sandbox", "--yes")
    assert (refused.returncode, "it does not fit" in refused.stderr) == (3, True)
    assert len(drafted.accepted()) == 4

    finish = ("finish", run_id, "--keep", "selection.csv", "--sandbox", "--yes", "--json")
    # One at a time: no other order may be about to be sent, for history does not prove absence for 2.x.
    killed = drafted.call(*finish, CALLSHEET_FAILPOINT="after_post:1", CALLSHEET_CONCURRENCY="1")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = drafted.call("resume", run_id, "--sandbox", "--json")
    assert resumed.returncode == 0, resumed.stderr
    again = drafted.call(*finish)
    assert again.returncode == 0, again.stderr

    bought = [each["endpoint"] for each in drafted.accepted()]
    assert (len(bought), bought.count(COMPLETE)) == (6, 2)
    rows = rows_of(drafted)
    finished = [rows["shot-0"], rows["shot-3"]]
    for row in finished:
        assert (row["status"], row["width"], row["output_path"]) == (
            "succeeded",
            "1920",
            f"media/{row['custom_id']}-1080p.mp4",
        )
        assert (Decimal(row["draft_usd"]), Decimal(row["finish_usd"])) == (DRAFT_USD, FINISH_USD)
    for row in rows.values():
        assert Decimal(row["actual_usd"]) == Decimal(row["draft_usd"]) + Decimal(row["finish_usd"] or 0)
        assert row["draft_id"]
        assert (Path(drafted.made["dir"]) / "media" / f"{row['custom_id']}.mp4").exists()
    spent = sum(Decimal(row["actual_usd"]) for row in rows.values())
    with Ledger.open(f"sqlite:///{drafted.data / 'sandbox' / 'ledger.sqlite'}") as ledger:
        accounts = ledger.do(admission.balances, scope="campaign", key="spring")
        (account,) = [each for each in accounts if each.ref.window == "total"]
        assert account.spent_nano == int(spent.scaleb(9)) == int((4 * DRAFT_USD + 2 * FINISH_USD).scaleb(9))
        assert ledger.do(verify.verify) == []


def test_the_same_campaign_run_again_buys_no_draft_and_finishes_none(drafted):
    """A draft is made once: running the campaign again costs nothing, while and after it is finished."""
    run_id = drafted.made["run_id"]
    done = drafted.call("finish", run_id, "--keep", "shot-1", "--sandbox", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    again = drafted.call("run", "spring.toml", "--sandbox", "--yes", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["statuses"] == {"already_made": 4}
    assert len(drafted.accepted()) == 5
