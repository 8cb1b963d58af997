"""Refuses to buy with a ledger that has forgotten what it paid for.

A ledger that was restored from a copy, or made anew where another one stood, does not know today's
purchases: a run would pay for them again. So a mark beside the runs, and one beside a ledger that is a file,
remember how far the ledger was and which run was opened last. A mark only rises: when a run begins, at most
once a second while it buys, and when it ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shlex
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from callsheet.engine.context import RunContext
from callsheet.engine.run_folder import planned_folder
from callsheet.engine.stopping import beside
from callsheet.errors import DiskFull, LedgerError, LedgerUnsafe, Problem, UsageError
from callsheet.files import MARKS, ledger_file, naming_full_disk, write_text_atomically
from callsheet.ledger import Ledger, activity, queries
from callsheet.ledger.activity import Extent
from callsheet.settings import Settings
from callsheet.wording import command

RISE_EVERY_S = 1.0
"""How often the mark rises while a run buys, in seconds. It is one small file, made durable each time."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a ledger was: the number of its entries, and the run that was opened last ("" for none).

    `ledger` is what the ledger is called: its file, or its URL without the password.
    """

    entries: int
    run_id: str
    ledger: str = ""


def mark_file(ledger: Ledger, folder: Path) -> Path:
    """Return where the mark of this ledger stands in a folder."""
    return folder / f".ledger-{ledger.id}.json"


def refuse_older_ledger(ledger: Ledger, out: Path) -> None:
    """Raise LedgerUnsafe where the ledger is older than a mark of it, or stands where another one stood."""
    for folder in _folders(ledger, out):
        mark = _read(mark_file(ledger, folder))
        if mark is not None and _is_older(found := ledger.do(activity.extent, [mark.run_id]), mark):
            has = "has" if mark.run_id in found.created_ms else "lacks"
            raise LedgerUnsafe(
                f"the ledger {ledger.label} is older than the mark in {folder}: it has {found.entries} "
                f"entries of {mark.entries} and {has} the run {mark.run_id}. "
                f"{_what_to_do(out, in_sandbox=ledger.is_sandbox)}"
            )
        if others := _replaced(ledger, folder):
            raise _is_another(ledger.label, folder, others[0][1], out, in_sandbox=ledger.is_sandbox)


def ledger_warnings(
    ledger: Ledger | None, out: str | None, settings: Settings, *, sandbox: bool
) -> tuple[Problem, ...]:
    """Return the same as a warning for a plan, which sends nothing; none where a run would go on.

    `out` is where the plan says that runs are kept. `ledger` is None where there is none, and none is made.
    """
    folder = planned_folder(out, settings, sandbox=sandbox)
    try:
        if ledger is not None:
            refuse_older_ledger(ledger, folder)
        elif file := ledger_file(settings):
            _refuse_missing_ledger(file, folder)
    except (LedgerUnsafe, OSError) as error:
        return (Problem("ledger", 0, "", "", f"a run would be refused: {error}"),)
    return ()


def _refuse_missing_ledger(file: Path, out: Path) -> None:
    """Raise LedgerUnsafe where a ledger of this name was there, as a mark of it says."""
    for folder in (out, file.parent):
        for _, mark in _marks_of(str(file), folder):
            raise _is_another(str(file), folder, mark, out, in_sandbox=file.parent.name == "sandbox")


def _is_another(label: str, folder: Path, mark: Mark, out: Path, *, in_sandbox: bool) -> LedgerUnsafe:
    return LedgerUnsafe(
        f"the ledger {label} is not the one that was there before: runs were bought with another one (the "
        f"mark in {folder} names {mark.run_id}, at entry {mark.entries}). Was its file deleted or replaced? "
        f"{_what_to_do(out, in_sandbox=in_sandbox)}"
    )


def _what_to_do(out: Path, *, in_sandbox: bool) -> str:
    accept_it = command("ledger", "accept", shlex.quote(str(out)), sandbox=in_sandbox)
    return (
        "What was bought before would be bought again, so nothing was sent. Put the newest copy of the "
        "ledger back (docs/operations.md says how to find out what was bought), or, if you know that nothing "
        f"is missing, run `{accept_it}`"
    )


def _folders(ledger: Ledger, out: Path) -> list[Path]:
    """Return the folders that marks stand in: that of the runs, and that of a ledger that is a file."""
    folder = ledger.folder
    return [out] if folder is None or folder.resolve() == out.resolve() else [out, folder]


def _replaced(ledger: Ledger, folder: Path) -> list[tuple[Path, Mark]]:
    """Return the marks of other ledgers that stood where this one stands now."""
    return _marks_of(ledger.label, folder, besides=mark_file(ledger, folder))


def _marks_of(label: str, folder: Path, *, besides: Path | None = None) -> list[tuple[Path, Mark]]:
    """Return the marks in a folder of ledgers that are called like this."""
    found = ((path, _read(path)) for path in sorted(folder.glob(MARKS)) if path != besides)
    return [(path, mark) for path, mark in found if mark is not None and mark.ledger == label]


def continue_from_mark(ledger: Ledger, out: Path, run_id: str) -> None:
    """Let a run go on, and remember how far the ledger is. Raises LedgerUnsafe as above."""
    refuse_older_ledger(ledger, out)
    remember(ledger, out, run_id)


@asynccontextmanager
async def rising_mark(ctx: RunContext) -> AsyncIterator[None]:
    """Let the mark follow what is bought while inside, and once more at the end.

    A mark that cannot be written is said in the summary: what it protects from has not happened.
    """
    try:
        async with beside(_rise(ctx)):
            yield
    finally:
        await _remembered(ctx)


async def _rise(ctx: RunContext) -> None:
    while True:
        await ctx.state.bought.wait()
        ctx.state.bought.clear()
        await _remembered(ctx)
        await asyncio.sleep(RISE_EVERY_S)


async def _remembered(ctx: RunContext) -> None:
    try:
        # Not in the ledger's thread: making a small file durable takes as long as ten purchases.
        await asyncio.to_thread(remember, ctx.account.ledger, ctx.folder.parent, ctx.run.run_id)
    except (OSError, DiskFull, LedgerError) as error:
        ctx.state.note_unfinished(f"the mark beside the runs was not written: {error}")


def remember(ledger: Ledger, out: Path, run_id: str) -> None:
    """Write down how far the ledger is. A mark that it does not reach, or cannot be read, stays as it is.

    The file stays locked in between, so no writer overwrites another one's mark. Raises DiskFull, OSError.
    """
    for folder in _folders(ledger, out):
        path = mark_file(ledger, folder)
        with naming_full_disk(folder), _alone(path):
            try:
                mark = _read(path)
            except LedgerUnsafe:
                continue
            known = [run_id] if mark is None else [mark.run_id, run_id]
            found = ledger.do(activity.extent, known)
            if run_id not in found.created_ms or (mark is not None and _is_older(found, mark)):
                continue
            now = Mark(found.entries, max(known, key=found.created_ms.__getitem__), ledger.label)
            if now != mark:
                write_text_atomically(path, json.dumps(asdict(now)) + "\n")


def accept(ledger: Ledger, out: Path) -> Mark | None:
    """Forget the marks that speak against this ledger, because a person has looked. Return what one said.

    Raises UsageError where the ledger still has jobs to send: it does not know which of them were bought.
    """
    said: Mark | None = None
    for folder in _folders(ledger, out):
        if not folder.is_dir():
            continue
        path = mark_file(ledger, folder)
        with _alone(path):
            mark = _read(path)
            if mark is not None and _is_older(ledger.do(activity.extent, [mark.run_id]), mark):
                _refuse_unsent(ledger)
                said = mark
                path.unlink()
        for other, mark in _replaced(ledger, folder):
            _refuse_unsent(ledger)
            said = said or mark
            other.unlink(missing_ok=True)
    return said


def _refuse_unsent(ledger: Ledger) -> None:
    unsent = ledger.do(queries.unsent)
    commands = [f"`{command('cancel', run_id, sandbox=ledger.is_sandbox)}`" for run_id in list(unsent)[:10]]
    if unsent:
        raise UsageError(
            f"jobs that this ledger would still send ({sum(unsent.values())}) may have been bought since the "
            f"copy was made; nothing was accepted. End their runs first: {', '.join(commands)}"
        )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the mark's lock. The file of the lock stays: removing it would let two writers lock two files."""
    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(path: Path) -> Mark | None:
    try:
        document = json.loads(path.read_text("utf-8"))
        return Mark(int(document["entries"]), str(document["run_id"]), str(document.get("ledger", "")))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerUnsafe(
            f"{path} cannot be read ({error}); it says how far the ledger was. If the ledger is the newest "
            "there is, delete that file"
        ) from error


def _is_older(found: Extent, mark: Mark) -> bool:
    return found.entries < mark.entries or mark.run_id not in found.created_ms
