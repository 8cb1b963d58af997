"""A SQLite ledger that two machines use, as in a folder that a program copies between them."""

import json
import os
import time
from pathlib import Path

import pytest

from callsheet.errors import LedgerUnsafe
from callsheet.ledger import Ledger
from callsheet.ledger.sqlite import USED_MS


def record(url: str) -> Path:
    """Return the record of who uses a ledger."""
    return Path(url.removeprefix("sqlite:///") + ".machine")


def test_a_ledger_that_another_machine_uses_is_refused_with_the_way_out(sqlite_url: str) -> None:
    """The sentence names the machine and PostgreSQL; ten minutes after its last use the file may be taken."""
    Ledger.open(sqlite_url).close()
    theirs = {"host": "another-machine", "boot": "another boot"}
    record(sqlite_url).write_text(json.dumps(theirs))
    with pytest.raises(LedgerUnsafe, match=r"another machine \(another-machine\).*postgresql://.*delete"):
        Ledger.open(sqlite_url)
    fast_s = time.time() + 60
    os.utime(record(sqlite_url), (fast_s, fast_s))  # its clock is ahead of ours
    with pytest.raises(LedgerUnsafe, match="another machine"):
        Ledger.open(sqlite_url)
    old_s = time.time() - USED_MS / 1000 - 1
    os.utime(record(sqlite_url), (old_s, old_s))
    Ledger.open(sqlite_url).close()
    assert json.loads(record(sqlite_url).read_text())["host"] != "another-machine"


@pytest.mark.parametrize("same", ["host", "boot"])
def test_a_machine_started_again_and_a_container_beside_us_are_no_other_machine(
    sqlite_url: str, same: str
) -> None:
    """The first keeps its name, the second shares the boot."""
    Ledger.open(sqlite_url).close()
    ours = json.loads(record(sqlite_url).read_text())
    theirs = {"host": "another-machine", "boot": "another boot", same: ours[same]}
    record(sqlite_url).write_text(json.dumps(theirs))
    Ledger.open(sqlite_url).close()
    assert json.loads(record(sqlite_url).read_text()) == ours


def test_a_record_that_cannot_be_read_refuses_nothing(sqlite_url: str) -> None:
    """It is written anew."""
    record(sqlite_url).write_text("{")
    Ledger.open(sqlite_url).close()
    assert json.loads(record(sqlite_url).read_text())["host"]
