"""Files that earlier runs made and paid for: where they are, and fetching again those that are gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from callsheet.engine.deliver import write_pictures
from callsheet.errors import DiskFull, MediaError, QueueError
from callsheet.ledger import JobRow, Ledger, State, queries
from callsheet.media.download import collect
from callsheet.media.expect import expectation_of
from callsheet.media.place import REJECTED
from callsheet.reconcile.account import AccountSession
from callsheet.report.rows import thumbnail_of
from manifests.job import Job, decode_job
from pricing.catalog import Catalog

AT_ONCE = 4
"""Files downloaded at the same time."""


@dataclass(frozen=True, slots=True)
class Refetched:
    """Files that were paid for and gone, by custom_id: those that fal still had, and those it had not."""

    again: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def files_of(ledger: Ledger, rows: Iterable[JobRow]) -> dict[int, Path]:
    """Return where the files of jobs are, or were, by job; jobs without a file are left out."""
    folder = cache(lambda run_id: Path(ledger.do(queries.run, run_id).out))
    return {
        row.job_id: folder(row.output_run_id) / row.output_path_there
        for row in rows
        if row.output_run_id is not None and row.output_path_there is not None
    }


def gone_files(ledger: Ledger, rows: Iterable[JobRow]) -> dict[int, Path]:
    """Return the files of jobs that are no longer where they were, by job."""
    return {job_id: path for job_id, path in files_of(ledger, rows).items() if not path.exists()}


async def refetch_gone(account: AccountSession, rows: Iterable[JobRow]) -> Refetched:
    """Download the files of earlier jobs that are no longer where they were. It is free while fal has them.

    A file is put back only if it is the very one: its hash is the ledger's. At most `AT_ONCE` are downloaded
    at a time, each once.
    """
    jobs = {row.job_id: row for row in rows}
    gone = await account.do.call(gone_files, jobs.values())
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(path: Path, row: JobRow) -> bool:
        async with gate:
            return await _refetched(account, row, path)

    files = {path: jobs[job_id] for job_id, path in gone.items()}
    is_back = dict(zip(files, await asyncio.gather(*map(one, files, files.values())), strict=True))
    names = [(is_back[path], jobs[job_id].custom_id) for job_id, path in gone.items()]
    return Refetched(
        again=tuple(name for back, name in names if back),
        lost=tuple(name for back, name in names if not back),
    )


async def _refetched(account: AccountSession, row: JobRow, path: Path) -> bool:
    if row.output is None or not row.output.url or row.output_run_id is None or not row.output_path_there:
        return False
    url = row.output.url
    expectation = expectation_of(_order_of_file(row, account.catalog), account.catalog)
    folder = Path((await account.do(queries.run, row.output_run_id)).out)
    with suppress(QueueError, MediaError, OSError, DiskFull):
        found = await collect(
            lambda: account.queue.open_download(url), path, expectation, rejected=folder / REJECTED
        )
        if found.sha256 == row.output.sha256:
            await write_pictures(found, folder / thumbnail_of(row.output_path_there))
            return True
        found.path.unlink()
    return False


def _order_of_file(row: JobRow, catalog: Catalog) -> Job:
    """Return the order that a job's file was made for: while its draft is being finished, the draft's."""
    job = decode_job(row.payload, catalog)
    if row.is_finish and row.state is not State.SUCCEEDED:
        return replace(job, draft_id="")
    return job
