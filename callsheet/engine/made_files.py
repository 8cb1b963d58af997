"""Files that earlier runs made and paid for: where they are, and fetching again those that are gone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from callsheet.engine.fetch import write_pictures
from callsheet.engine.request import results_address
from callsheet.errors import DiskFull, MediaError, QueueError
from callsheet.files import file_sha256, make_directory, part_file
from callsheet.ledger import JobRow, Ledger, Run, State, queries
from callsheet.media.download import collect
from callsheet.media.expect import expectation_of
from callsheet.media.place import REJECTED
from callsheet.media.storage import open_storage
from callsheet.reconciliation.account import AccountSession
from callsheet.report.rows import thumbnail_of
from manifests.job import Job, decode_job
from pricing.catalog import Catalog

AT_ONCE = 4
"""Files downloaded at the same time."""


@dataclass(frozen=True, slots=True)
class Refetched:
    """Files that were paid for and gone, by their jobs' labels: those fal still had, and those it had not."""

    again: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MadeFile:
    """The file of a job: the run that made it, and its path in that run's folder."""

    job_id: int
    run: Run
    name: str

    @property
    def path(self) -> Path:
        """Where it is on this disk, or was."""
        return Path(self.run.out) / self.name


def files_of(ledger: Ledger, rows: Iterable[JobRow]) -> dict[int, MadeFile]:
    """Return the files of jobs, by job; jobs without a file are left out."""
    run_of = cache(lambda run_id: ledger.do(queries.run, run_id))
    return {
        row.job_id: MadeFile(row.job_id, run_of(row.output_run_id), row.output_path_there)
        for row in rows
        if row.output_run_id is not None and row.output_path_there is not None
    }


def absent_files(ledger: Ledger, rows: Iterable[JobRow]) -> list[MadeFile]:
    """Return the files of jobs that are not on this disk. A store may have them: `not_stored`."""
    return [file for file in files_of(ledger, rows).values() if not file.path.exists()]


def not_stored(files: Iterable[MadeFile]) -> list[MadeFile]:
    """Return the files that are not in the store which their run's results are copied to. Blocks.

    A store is asked once for all files of a run; one that does not answer has none.
    """
    stored = cache(_names_in_store)
    return [file for file in files if file.name not in stored(file.run)]


def _names_in_store(run: Run) -> frozenset[str]:
    address = results_address(run)
    with suppress(Exception):  # each store's package has errors of its own
        return open_storage(address).names() if address else frozenset()
    return frozenset()


async def refetch_gone(
    account: AccountSession, rows: Iterable[JobRow], *, is_needed_here: bool = False
) -> Refetched:
    """Download the files of earlier jobs that are no longer kept. It is free while fal has them.

    With `is_needed_here`, also those that are in an object store alone; they are copied from there. A file is
    put back only if it is the very one: its hash is the ledger's. At most `AT_ONCE` are downloaded at a time,
    each once.
    """
    jobs = {row.job_id: row for row in rows}
    absent = await account.do.call(absent_files, jobs.values())
    gone = absent if is_needed_here else await asyncio.to_thread(not_stored, absent)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(file: MadeFile) -> bool:
        async with gate:
            return await _refetched(account, jobs[file.job_id], file)

    files = {file.path: file for file in gone}
    is_back = dict(zip(files, await asyncio.gather(*map(one, files.values())), strict=True))
    names = [(is_back[file.path], jobs[file.job_id].label) for file in gone]
    return Refetched(
        again=tuple(name for back, name in names if back),
        lost=tuple(name for back, name in names if not back),
    )


async def _refetched(account: AccountSession, row: JobRow, file: MadeFile) -> bool:
    if row.output is None:
        return False
    if await asyncio.to_thread(copied_back, file, row.output.sha256):
        return True
    url, folder = row.output.url, Path(file.run.out)
    if not url:
        return False
    expectation = expectation_of(_order_of_file(row, account.catalog), account.catalog)
    with suppress(QueueError, MediaError, OSError, DiskFull):
        found = await collect(
            lambda: account.queue.open_download(url),
            file.path,
            expectation,
            rejected=folder / REJECTED,
            decode=account.decode,
        )
        if found.sha256 == row.output.sha256:
            await write_pictures(found, folder / thumbnail_of(file.name))
            return True
        found.path.unlink()
    return False


def copied_back(file: MadeFile, sha256: str) -> bool:
    """Copy a file from the store that has its run's results. Blocks. False where it is not as it was."""
    address = results_address(file.run)
    if address is None:
        return False
    with suppress(Exception):  # each store's package has errors of its own
        make_directory(file.path.parent)
        with part_file(file.path) as part:
            open_storage(address).fetch(file.name, part.path)
            if file_sha256(part.path) == sha256:
                os.replace(part.path, file.path)  # noqa: PTH105 -- nothing is there: it is gone
                return True
    return False


def _order_of_file(row: JobRow, catalog: Catalog) -> Job:
    """Return the order that a job's file was made for: while its draft is being finished, the draft's."""
    job = decode_job(row.payload, catalog)
    if row.is_finish and row.state is not State.SUCCEEDED:
        return replace(job, draft_id="")
    return job
