"""A mark beside the run folders that shows when the ledger is older than what it paid for.

A ledger that was restored from yesterday's copy has forgotten today's purchases: its jobs look as if they had
never been bought, and a run would pay for them again. So the folder that runs go into remembers how far the
ledger was, and which run was opened last.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from callsheet.errors import LedgerUnsafe, UsageError
from callsheet.ledger import Ledger
from callsheet.report.atomic import write_text_atomically


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a ledger was: the number of its entries, and the run that was opened last ("" for none)."""

    entries: int
    run_id: str


def mark_file(ledger: Ledger, out: Path) -> Path:
    """Return where the mark of this ledger stands: one file for each ledger that runs into `out`."""
    return out / f".ledger-{ledger.identity()[0]}.json"


def refuse_older_ledger(ledger: Ledger, out: Path) -> None:
    """Raise LedgerUnsafe where the ledger has fewer entries than it once had, or lacks the last run."""
    mark = _read(mark_file(ledger, out))
    if mark is None or not _is_older(ledger, mark):
        return
    entries = ledger.identity()[1]
    raise LedgerUnsafe(
        f"the ledger {ledger.label} is older than the runs in {out}: it has {entries} entries of "
        f"{mark.entries} and {'has' if _has(ledger, mark.run_id) else 'lacks'} the run {mark.run_id}. Was it "
        "restored from a copy? What was bought since then would be bought again. docs/operations.md says how "
        f"to find it; then go on with `callsheet ledger accept {out}`"
    )


def go_on_from_the_mark(ledger: Ledger, out: Path, run_id: str) -> None:
    """Let a run go on, and remember how far the ledger is. Raises LedgerUnsafe for an older ledger."""
    refuse_older_ledger(ledger, out)
    remember(ledger, out, run_id)


def remember(ledger: Ledger, out: Path, run_id: str) -> None:
    """Write down how far the ledger is. A mark that it does not reach, or cannot be read, stays as it is."""
    path = mark_file(ledger, out)
    try:
        mark = _read(path)
    except LedgerUnsafe:
        return
    if mark is not None:
        if _is_older(ledger, mark):
            return
        run_id = max(mark.run_id, run_id, key=lambda each: ledger.run(each).created_ms)
    document = {"entries": ledger.identity()[1], "run_id": run_id}
    write_text_atomically(path, json.dumps(document) + "\n")


def accept(ledger: Ledger, out: Path) -> Mark | None:
    """Forget the mark, because a person has looked; return what it said."""
    path = mark_file(ledger, out)
    mark = _read(path)
    path.unlink(missing_ok=True)
    return mark


def _read(path: Path) -> Mark | None:
    try:
        document = json.loads(path.read_text("utf-8"))
        return Mark(int(document["entries"]), str(document["run_id"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerUnsafe(
            f"{path} cannot be read ({error}); it says how far the ledger was. If the ledger is the newest "
            "there is, delete that file"
        ) from error


def _is_older(ledger: Ledger, mark: Mark) -> bool:
    return ledger.identity()[1] < mark.entries or not _has(ledger, mark.run_id)


def _has(ledger: Ledger, run_id: str) -> bool:
    try:
        ledger.run(run_id)
    except UsageError:
        return False
    return True
