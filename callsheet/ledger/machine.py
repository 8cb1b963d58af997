"""Which machine uses a SQLite ledger: a record beside the file, so that two machines do not both.

SQLite's locks and its journal belong to one kernel. A network file system is refused by its name
(`sqlite.ledger_file`); a folder that a program copies between machines looks like a local disk, so what tells
is that another machine has used the file a moment ago.
"""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from callsheet.errors import LedgerUnsafe

_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC

USED_MS: Final = 600_000
"""How long after its last use a ledger counts as used by that machine, in milliseconds."""

TOUCH_MS: Final = 30_000
"""How often a machine says that it still uses the ledger, in milliseconds."""


def record_use(ledger: Path) -> None:
    """Say that this machine uses a ledger that is a file. Raises LedgerUnsafe where another one does.

    Another machine is one with another name and another boot: containers of one machine share its boot, and a
    machine that was started again keeps its name. A record that cannot be read or written says nothing.
    """
    path = ledger.with_name(f"{ledger.name}.machine")
    ours = {"host": socket.gethostname(), "boot": _boot()}
    with suppress(OSError, ValueError, KeyError, TypeError):
        theirs = json.loads(path.read_text("utf-8"))
        age_ms = (time.time() - path.stat().st_mtime) * 1000
        is_ours = theirs["host"] == ours["host"] or (ours["boot"] != "" and theirs["boot"] == ours["boot"])
        if not is_ours and abs(age_ms) < USED_MS:  # below 0 where its clock is ahead
            since = f"{max(age_ms, 0) / 1000:.0f} s ago"
            raise LedgerUnsafe(
                f"the ledger {ledger} was used on another machine ({theirs['host']}) {since}. A SQLite "
                "ledger belongs to one machine: for several use PostgreSQL, "
                "CALLSHEET_LEDGER_URL=postgresql://... If it was moved here for good, stop what uses it "
                f"there and delete {path}"
            )
        if theirs == ours:
            if age_ms >= TOUCH_MS:
                os.utime(path)
            return
    with suppress(OSError), os.fdopen(os.open(path, _WRITE, 0o600), "w", encoding="utf-8") as file:
        file.write(json.dumps(ours) + "\n")


def _boot() -> str:
    """Name this boot of this machine; "" where the system does not tell."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return ""
