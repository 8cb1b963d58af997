"""Money stops a run: caps, bills above their holds, and what does not fit; with the real command."""

import csv
import io
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from callsheet.ledger import Ledger, admission, queries

HOLD_USD = 0.035721
"""The most that one 480p clip of two seconds may cost on Seedance 1.0 Lite: 864 x 480 x 49 / 1024 tokens."""


def write_shots(folder: Path, count: int, *, word: str = "kite") -> None:
    """Write a manifest of equal clips, later ones with a higher priority."""
    rows = [f"{word}-{n},A red {word} {n},seedance-1.0-lite,480p,2,acme,{n}" for n in range(count)]
    header = "custom_id,prompt,model,resolution,duration,client,priority\n"
    (folder / f"{word}.csv").write_text(header + "\n".join(rows) + "\n")


def warm_up(desk, *, speed: str = "20") -> None:
    """Start the desk's sandbox by a run of one clip; it keeps its speed for the runs after it."""
    write_shots(desk.folder, 1, word="warm")
    done = desk.call("run", "warm.csv", "--sandbox", "--speed", speed, "--yes", "--json")
    assert done.returncode == 0, done.stderr


def test_a_bill_above_its_hold_stops_the_run_freezes_and_says_so(desk):
    """Exit 5, booked in full, nothing bought after it, and only a person's `unfreeze` lets the rest in."""
    warm_up(desk)
    desk.arm(kind="overbill", factor=900, prompt_contains="kite 9")
    write_shots(desk.folder, 10)

    done = desk.call("run", "kite.csv", "--sandbox", "--speed", "20", "-j", "2", "--yes", "--json")

    assert done.returncode == 5, done.stderr
    assert "32.1489 USD instead of at most 0.035721" in done.stderr
    assert "FROZEN" in done.stderr
    assert "then `callsheet budget unfreeze --sandbox`" in done.stderr
    assert "Accounts are frozen: nothing new is bought" in done.stderr
    assert "release them with `callsheet budget unfreeze --sandbox`, then" in done.stderr
    assert "raise the cap" not in done.stderr
    summary = json.loads(done.stdout)
    assert summary["frozen"]
    assert [over["custom_id"] for over in summary["overruns"]] == ["kite-9"]
    assert float(summary["actual_usd"]) == pytest.approx(
        900 * HOLD_USD + (summary["succeeded"] - 1) * HOLD_USD
    )
    assert summary["succeeded"] + summary["skipped"] == 10
    assert summary["skipped"] >= 1
    assert "Billed above what was held" in (Path(summary["dir"]) / "report.html").read_text()

    refused = desk.call("run", "kite.csv", "--sandbox", "--speed", "20", "--yes")
    assert (refused.returncode, "frozen" in refused.stderr) == (3, True)
    listed = json.loads(desk.call("budget", "list", "--sandbox", "--json").stdout)
    assert {"ledger", "campaign:kite", "client:acme"} <= {
        each["scope"] for each in listed["accounts"] if each["frozen"]
    }
    assert listed["overruns"][0]["billed_usd"] == "32.1489"

    assert desk.call("budget", "unfreeze", "--sandbox").returncode == 0
    again = desk.call("retry", "--sandbox", "--json")
    assert (again.returncode, json.loads(again.stdout)["succeeded"]) == (0, 10), again.stderr
    assert len(desk.accepted()) == 11
    assert desk.call("ledger", "verify", "--sandbox").returncode == 0


def test_a_cap_that_is_lowered_while_a_run_goes_on_holds_at_once(desk):
    """Nothing more is admitted, what is in flight is finished, exit 5, and nothing is spent past the cap."""
    warm_up(desk, speed="3")
    write_shots(desk.folder, 8)
    process = desk.start("run", "kite.csv", "--sandbox", "--speed", "3", "-j", "2", "--yes", "--json")
    with Ledger.open(f"sqlite:///{desk.data / 'sandbox' / 'ledger.sqlite'}") as ledger:
        while not any(run.campaign == "kite" for run in ledger.do(queries.runs)):
            assert process.poll() is None
            time.sleep(0.02)
        run = ledger.do(queries.latest_unfinished)
        while ledger.do(queries.tally, run.run_id).counts.get("in_progress", 0) < 2:
            assert process.poll() is None
            time.sleep(0.02)
        ledger.do(
            admission.set_cap, "campaign", "kite", "total", 80_000_000
        )  # what `budget set campaign:kite 0.08` does
    out, err = process.communicate(timeout=240)

    assert process.returncode == 5, err
    summary = json.loads(out)
    assert (summary["failed"], summary["unknown"]) == (0, 0)
    assert 2 <= summary["succeeded"] < 8
    assert summary["succeeded"] + summary["skipped"] == 8
    assert len(desk.accepted()) == 1 + summary["succeeded"]
    assert "the cap on campaign kite is 0.08 USD" in err
    with (Path(summary["dir"]) / "errors.csv").open(newline="") as file:
        left = list(csv.DictReader(file))
    assert len(left) == summary["skipped"]
    assert all("the cap on campaign kite" in row["error"] for row in left)


def test_fit_takes_the_highest_priorities_and_names_the_rest_with_its_cost(desk):
    """With room for three of five, the three highest are made, the others named, and that is a success."""
    write_shots(desk.folder, 5)
    done = desk.call(
        "run", "kite.csv", "--sandbox", "--speed", "20", "--fit", "--budget-usd", "0.11", "--yes"
    )
    assert done.returncode == 0, done.stderr
    assert "kite-0 (row 2), up to $0.0358" in done.stderr
    assert "kite-1 (row 3), up to $0.0358" in done.stderr
    assert "skipped: kite-2" not in done.stderr
    assert "2 skipped: over budget, up to $0.0715 for all of them" in done.stdout
    statement = desk.call("ledger", "statement", "--sandbox", "--by", "client", "--by", "model", "--csv")
    assert list(csv.reader(io.StringIO(statement.stdout))) == [
        ["client", "model", "submissions", "spent_usd", "held_usd"],
        ["acme", "seedance-1.0-lite", "3", "0.107163", "0.00"],
    ]


def test_a_book_that_was_tampered_with_is_named_and_ends_with_code_1(desk):
    """One changed amount breaks the chain: `verify` says at which entry, and exits 1."""
    warm_up(desk)
    assert desk.call("ledger", "verify", "--sandbox").returncode == 0
    with closing(sqlite3.connect(desk.data / "sandbox" / "ledger.sqlite")) as file, file:
        for (trigger,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            file.execute(f'DROP TRIGGER "{trigger}"')
        file.execute("UPDATE entry SET amount_nano = 1 WHERE entry_id = 3")
    done = desk.call("ledger", "verify", "--sandbox", "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert not document["sound"]
    assert any("tampered with at entry 3" in sentence for sentence in document["broken"])
    assert "docs/operations.md" in done.stderr


def test_retry_tries_only_what_is_worth_it_unless_told_otherwise(desk):
    """A refused prompt is named with fal's rule and left alone; a server's failure is bought again."""
    warm_up(desk)
    desk.arm(
        kind="render_failed", prompt_contains="kite 0", status=422, error_type="content_policy_violation"
    )
    desk.arm(kind="render_failed", prompt_contains="kite 1", status=500, error_type="internal_server_error")
    write_shots(desk.folder, 2)
    failed = desk.call("run", "kite.csv", "--sandbox", "--speed", "20", "--yes", "--json")
    assert failed.returncode == 4, failed.stderr
    with (Path(json.loads(failed.stdout)["dir"]) / "errors.csv").open(newline="") as file:
        rows = {row["custom_id"]: row for row in csv.DictReader(file)}
    assert (rows["kite-0"]["charged"], rows["kite-1"]["charged"]) == ("unknown", "no")
    assert "Try again: no (change the prompt" in rows["kite-0"]["error"]
    assert "Try again: yes" in rows["kite-1"]["error"]

    again = desk.call("retry", "--sandbox", "--json")
    assert again.returncode == 4, again.stderr
    assert "not retried: kite-0 (row 2), content_policy_violation" in again.stderr
    assert json.loads(again.stdout)["only_all_retries"]
    nothing = desk.call("retry", "--sandbox")
    assert (nothing.returncode, "0 to retry\n" in nothing.stderr) == (4, True)
    everything = desk.call("retry", "--sandbox", "--all", "--json")
    assert (everything.returncode, json.loads(everything.stdout)["succeeded"]) == (0, 2), everything.stderr
    assert len(desk.accepted()) == 5


def test_other_prices_stop_a_run_until_a_person_accepts_them(desk):
    """`prices check` ends with 4, a run with 5 and nothing bought; `--accept-prices` buys all."""
    warm_up(desk)
    desk._control("prices", {"fal-ai/bytedance/seedance/v1/lite/text-to-video": "1.25"})
    checked = desk.call("prices", "check", "--sandbox")
    assert (checked.returncode, "DIFFERS" in checked.stdout) == (4, True), checked.stderr

    write_shots(desk.folder, 2)
    stopped = desk.call("run", "kite.csv", "--sandbox", "--speed", "20", "--yes", "--json")
    assert stopped.returncode == 5, stopped.stderr
    assert json.loads(stopped.stdout)["statuses"] == {"pending": 2}
    assert "costs $2.25 per million tokens, planned was $1.8" in stopped.stderr
    assert len(desk.accepted()) == 1

    resumed = desk.call("resume", "--sandbox", "--accept-prices", "--json")
    assert (resumed.returncode, len(desk.accepted())) == (0, 3), resumed.stderr
    assert float(json.loads(resumed.stdout)["actual_usd"]) == pytest.approx(2 * 1.25 * HOLD_USD)
    assert desk.call("ledger", "verify", "--sandbox").returncode == 0
