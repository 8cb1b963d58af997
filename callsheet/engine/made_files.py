"""Files that earlier runs made and paid for: where they are, and what to say when they are gone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from callsheet.errors import DiskFull, MediaError, QueueError
from callsheet.files import make_directory, naming_full_disk, part_file, sync_directory
from callsheet.ledger import JobRow, Ledger, State, queries
from callsheet.media.download import collect
from callsheet.media.expect import expectation_of
from callsheet.media.place import place_file
from callsheet.reconcile.desk import Desk
from manifests.job import decode_job

NAMED = 20
PIECE_BYTES = 1 << 20


def made_path(ledger: Ledger, row: JobRow) -> Path | None:
    """Return where the file of a job lies, or lay; None where it has none."""
    if row.output_path_there is None or row.output_run_id is None:
        return None
    return Path(ledger.do(queries.run, row.output_run_id).out) / row.output_path_there


def bring_all(ledger: Ledger, run_id: str, folder: Path) -> None:
    """Let every file that a run uses again appear in its folder; what is there already stays as it is.

    A run asks for this when it is opened and each time it is gone on with: a process may have died between
    the ledger's word that a job is made and the file. Raises OSError, and DiskFull where there is no room.
    """
    for row in ledger.do(queries.jobs, run_id, states={State.ALREADY_MADE}):
        bring(ledger, row, folder)


def bring(ledger: Ledger, row: JobRow, folder: Path) -> None:
    """Let an earlier run's file appear in this one's folder: a second name, or a copy across disks.

    `row` is the job of this run; another job of it with the same video may have brought the file already.
    """
    if row.output is None or (target := folder / row.output.path).exists():
        return
    source = made_path(ledger, row)
    if source is None or not source.exists():
        return
    with naming_full_disk(folder):
        make_directory(target.parent)
        try:
            os.link(source, target)
        except FileExistsError:
            return
        except OSError:
            _copy(source, target, row.output.sha256)
        else:
            sync_directory(target.parent)


def _copy(source: Path, target: Path, sha256: str) -> None:
    """Copy across disks: under its name the file appears only when all of it is there."""
    with part_file(target) as part, source.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            part.write(piece)
        place_file(part, target, sha256)


@dataclass(frozen=True, slots=True)
class Refetched:
    """Files that were made, paid for and gone: those that fal still had, and the jobs of those it had not."""

    again: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


async def refetch_gone(account: Desk, rows: Iterable[JobRow]) -> Refetched:
    """Download the files of earlier jobs that are no longer where they were. It is free while fal has them.

    `rows` are jobs that succeeded. A file is put back only if it is the very one: its hash is the ledger's.
    """
    again: list[str] = []
    lost: list[str] = []
    for row in rows:
        if await account.books.call(is_gone, row):
            back = await _refetched(account, row)
            (again if back else lost).append(row.custom_id)
    return Refetched(tuple(again), tuple(lost))


async def _refetched(account: Desk, row: JobRow) -> bool:
    path = await account.books.call(made_path, row)
    if path is None or row.output is None or not row.output.url:
        return False
    expectation = expectation_of(decode_job(row.payload, account.catalog), account.catalog)
    with suppress(QueueError, MediaError, OSError, DiskFull):
        url = row.output.url
        found = await collect(lambda: account.queue.open_download(url), path, expectation)
        if found.sha256 == row.output.sha256:
            return True
        found.path.unlink()
    return False


def is_gone(ledger: Ledger, row: JobRow) -> bool:
    """Say whether the file of a job that has one is not where it was."""
    path = made_path(ledger, row)
    return path is not None and not path.exists()


def gone_files(ledger: Ledger, rows: Iterable[JobRow]) -> list[str]:
    """Name what was made and paid for and is no longer where it was, with what can be done about it."""
    reused = [row for row in rows if row.state in (State.SUCCEEDED, State.ALREADY_MADE)]
    gone = [(row.custom_id, made_path(ledger, row)) for row in reused if is_gone(ledger, row)]
    told = [
        f"{name} was made and paid for, but its file is gone: {path}. It is not bought again; put the file "
        "back, or buy it once more with --again"
        for name, path in gone[:NAMED]
    ]
    return told + [f"and {len(gone) - NAMED} more files are gone"] * (len(gone) > NAMED)
