"""A mark beside the run folders that shows when the ledger is older than what it paid for.

A ledger that was restored from yesterday's copy has forgotten today's purchases: its jobs look as if they had
never been bought, and a run would pay for them again. So the folder that runs go into remembers how far the
ledger was, and which run was opened last. The mark only ever rises: when a run begins, at most once a second
while it buys, and when it ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from callsheet.engine.studio import Studio
from callsheet.errors import LedgerError, LedgerUnsafe, UsageError
from callsheet.files import write_text_atomically
from callsheet.ledger import Ledger, queries

RISE_EVERY_S = 1.0
"""How often the mark rises while a run buys, in seconds. It is one small file, made durable each time."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a ledger was: the number of its entries, and the run that was opened last ("" for none)."""

    entries: int
    run_id: str


def mark_file(ledger: Ledger, out: Path) -> Path:
    """Return where the mark of this ledger stands: one file for each ledger that runs into `out`."""
    return out / f".ledger-{ledger.do(queries.identity)[0]}.json"


def refuse_older_ledger(ledger: Ledger, out: Path) -> None:
    """Raise LedgerUnsafe where the ledger has fewer entries than it once had, or lacks the last run."""
    mark = _read(mark_file(ledger, out))
    if mark is None or not _is_older(ledger, mark):
        return
    entries = ledger.do(queries.identity)[1]
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


@asynccontextmanager
async def rising_mark(studio: Studio) -> AsyncIterator[None]:
    """Let the mark follow what is bought while inside, and once more at the end.

    A mark that cannot be written is a note of the run: what it protects from has not happened.
    """
    rising = asyncio.ensure_future(_rise(studio))
    try:
        yield
    finally:
        rising.cancel()
        await asyncio.gather(rising, return_exceptions=True)
        await _remembered(studio)


async def _rise(studio: Studio) -> None:
    while True:
        await studio.buying.wait()
        studio.buying.clear()
        await _remembered(studio)
        await asyncio.sleep(RISE_EVERY_S)


async def _remembered(studio: Studio) -> None:
    try:
        await studio.books.call(remember, Path(studio.run.out).parent, studio.run.run_id)
    except (OSError, LedgerError) as error:
        note = f"the mark beside the runs was not written: {error}"
        if note not in studio.notes:
            studio.notes.append(note)


def remember(ledger: Ledger, out: Path, run_id: str) -> None:
    """Write down how far the ledger is. A mark that it does not reach, or cannot be read, stays as it is.

    Nobody else writes in between, so no writer takes anything from another one's mark. Raises OSError.
    """
    path = mark_file(ledger, out)
    with _alone(path):
        try:
            mark = _read(path)
        except LedgerUnsafe:
            return
        if mark is not None:
            if _is_older(ledger, mark):
                return
            run_id = max(mark.run_id, run_id, key=lambda each: ledger.do(queries.run, each).created_ms)
        now = Mark(ledger.do(queries.identity)[1], run_id)
        if now != mark:
            write_text_atomically(path, json.dumps(asdict(now)) + "\n")


def accept(ledger: Ledger, out: Path) -> Mark | None:
    """Forget the mark, because a person has looked; return what it said."""
    path = mark_file(ledger, out)
    if not out.is_dir():
        return None
    with _alone(path):
        mark = _read(path)
        path.unlink(missing_ok=True)
    return mark


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the mark's lock. The file of the lock stays: removing it would let two writers lock two files."""
    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


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
    return ledger.do(queries.identity)[1] < mark.entries or not _has(ledger, mark.run_id)


def _has(ledger: Ledger, run_id: str) -> bool:
    try:
        ledger.do(queries.run, run_id)
    except UsageError:
        return False
    return True
