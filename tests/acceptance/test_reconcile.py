"""Lost replies from a person's point of view: the code, the command, the videos."""

import json
import time
import urllib.request
from pathlib import Path

import pytest

from callsheet.ledger import EntryFilter, Ledger, history, queries, verify
from callsheet.sandbox.launcher import ensure_sandbox

SHOTS = "custom_id,prompt,model,resolution,duration\nb,A ship,seedance-1.0-pro-fast,480p,2\n"


def ask(desk, path, document=None, method=None):
    """Ask the sandbox's own routes."""
    data = None if document is None else json.dumps(document).encode()
    address = desk.sandbox()
    key = {"Authorization": f"Key {address['key']}"}
    request = urllib.request.Request(address["url"] + path, data=data, headers=key, method=method)
    with urllib.request.urlopen(request) as reply:
        return json.loads(reply.read())


@pytest.fixture
def lost(desk):
    """A desk whose only run lost the reply to its only job while fal's history could not be read."""
    (desk.folder / "shots.csv").write_text(SHOTS)
    ensure_sandbox(desk.data / "sandbox", speed=40)
    ask(desk, "/_sandbox/faults", {"kind": "reset"})
    ask(desk, "/_sandbox/faults", {"kind": "server_error", "route": "platform", "count": 1000})
    done = desk.call("run", "shots.csv", "--sandbox", "--yes")
    assert done.returncode == 7, done.stderr
    assert "callsheet reconcile" in done.stdout
    ask(desk, "/_sandbox/faults", method="DELETE")
    while ask(desk, "/_sandbox/health")["in_progress"]:
        time.sleep(0.02)
    return desk


def test_reconcile_brings_what_a_lost_reply_hid(lost):
    """The command finds the request, fetches the video, compares the bills, and ends with 0."""
    done = lost.call("reconcile", "--sandbox", "--json")

    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    (collected,) = document["collected"]
    assert (collected["custom_id"], collected["was_found"], document["undecided"]) == ("b", True, 0)
    assert document["billing_agreed"] == 1
    folder = Path(lost.folder) / "runs" / collected["run_id"]
    assert (folder / "media" / "b.mp4").exists()
    assert json.loads((folder / "summary.json").read_text())["succeeded"] == 1
    assert ask(lost, "/_sandbox/ledger")["accepted_count"] == 1
    again = lost.call("reconcile", "--sandbox")
    assert (again.returncode, "no open or unknown" in again.stdout) == (0, True)


def test_resume_reconciles_by_itself(lost):
    """`resume` of a run with an unknown job finds it, collects it and buys nothing."""
    done = lost.call("resume", "--sandbox", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["succeeded"] == 1
    assert ask(lost, "/_sandbox/ledger")["accepted_count"] == 1


def test_a_person_says_which_request_it_was(lost):
    """`--adopt` with the id that fal's dashboard shows brings the video, and the ledger keeps who said so."""
    (truth,) = ask(lost, "/_sandbox/ledger")["accepted"]

    done = lost.call(
        "reconcile", "--sandbox", "--json", "--adopt", "b", truth["id"], "--reason", "our seed, our minute"
    )

    assert done.returncode == 0, done.stderr
    (collected,) = json.loads(done.stdout)["collected"]
    assert (collected["request_ids"], collected["was_found"]) == ([truth["id"]], True)
    entries = lost.call("ledger", "entries", "--sandbox")
    assert entries.stdout.count("our seed, our minute") == 2


def test_a_decision_needs_no_provider_and_ends_what_is_unknown(lost):
    """While fal's records are closed the code stays 7, and a person's decision with a reason ends it."""
    ask(lost, "/_sandbox/faults", {"kind": "not_found", "route": "platform", "count": None})
    closed = lost.call("reconcile", "--sandbox")
    assert (closed.returncode, "check again from" in closed.stdout) == (7, True), closed.stderr
    bare = lost.call("reconcile", "--sandbox", "--assume-spent", "b")
    assert (bare.returncode, "--reason" in bare.stderr) == (2, True)

    decided = lost.call("reconcile", "--sandbox", "--assume-spent", "b", "--reason", "seen in the dashboard")

    assert decided.returncode == 0, decided.stderr
    with Ledger.open(f"sqlite:///{lost.data / 'sandbox' / 'ledger.sqlite'}") as ledger:
        run = ledger.do(queries.runs, limit=1)[0]
        assert [line.kind for line in ledger.stream(history.entries, EntryFilter(run_id=run.run_id))] == [
            "hold",
            "release",
            "settle",
        ]
        assert all(
            "seen in the dashboard" in line.why
            for line in list(ledger.stream(history.entries, EntryFilter(run_id=run.run_id)))[1:]
        )
        assert ledger.do(verify.verify) == []
