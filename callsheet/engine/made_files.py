"""Files that earlier runs made and paid for: where they are, and fetching again those that are gone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from callsheet.engine.deliver import write_pictures
from callsheet.engine.request import results_address
from callsheet.errors import DiskFull, MediaError, QueueError
from callsheet.files import file_sha256, make_directory, part_file
from callsheet.ledger import JobRow, Ledger, Run, State, queries
from callsheet.media.download import collect
from callsheet.media.expect import expectation_of
from callsheet.media.place import REJECTED
from callsheet.media.storage import open_storage
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


class KeptFiles:
    """Says whether files of runs are kept: on this disk, or in the store that a run's results are copied to.

    A store is asked once for all files of a run; one that does not answer has none.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._run = cache(lambda run_id: ledger.do(queries.run, run_id))
        self._stored = cache(self._names)

    def has(self, run_id: str, path: str) -> bool:
        """Say whether a file is kept; `path` is relative to the folder of the run that made it."""
        return (Path(self._run(run_id).out) / path).exists() or path in self._stored(run_id)

    def _names(self, run_id: str) -> frozenset[str]:
        address = results_address(self._run(run_id))
        with suppress(Exception):  # each store's package has errors of its own
            return open_storage(address).names() if address else frozenset()
        return frozenset()


def gone_files(ledger: Ledger, rows: Iterable[JobRow], *, is_needed_here: bool = False) -> dict[int, Path]:
    """Return the files of jobs that are no longer kept, by job: with `is_needed_here`, on this disk."""
    jobs = {row.job_id: row for row in rows}
    kept = KeptFiles(ledger)

    def is_gone(job_id: int, path: Path) -> bool:
        run_id, name = jobs[job_id].output_run_id, jobs[job_id].output_path_there
        in_reach = not is_needed_here and run_id is not None and name is not None and kept.has(run_id, name)
        return not path.exists() and not in_reach

    return {job_id: path for job_id, path in files_of(ledger, jobs.values()).items() if is_gone(job_id, path)}


async def refetch_gone(
    account: AccountSession, rows: Iterable[JobRow], *, is_needed_here: bool = False
) -> Refetched:
    """Download the files of earlier jobs that are no longer kept. It is free while fal has them.

    With `is_needed_here`, also those that are in an object store alone; they are copied from there. A file is
    put back only if it is the very one: its hash is the ledger's. At most `AT_ONCE` are downloaded at a time,
    each once.
    """
    jobs = {row.job_id: row for row in rows}
    gone = await account.do.call(gone_files, jobs.values(), is_needed_here=is_needed_here)
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
    run = await account.do(queries.run, row.output_run_id)
    folder = Path(run.out)
    if await asyncio.to_thread(_copied_back, run, row.output_path_there, row.output.sha256, path):
        return True
    with suppress(QueueError, MediaError, OSError, DiskFull):
        found = await collect(
            lambda: account.queue.open_download(url), path, expectation, rejected=folder / REJECTED
        )
        if found.sha256 == row.output.sha256:
            await write_pictures(found, folder / thumbnail_of(row.output_path_there))
            return True
        found.path.unlink()
    return False


def _copied_back(run: Run, name: str, sha256: str, path: Path) -> bool:
    """Copy a file from the store that the run's results are in. False where it is not there unchanged."""
    address = results_address(run)
    if address is None:
        return False
    with suppress(Exception):  # each store's package has errors of its own
        make_directory(path.parent)
        with part_file(path) as part:
            open_storage(address).fetch(name, part.path)
            if file_sha256(part.path) == sha256:
                os.replace(part.path, path)  # noqa: PTH105 -- nothing is there: it is gone
                return True
    return False


def _order_of_file(row: JobRow, catalog: Catalog) -> Job:
    """Return the order that a job's file was made for: while its draft is being finished, the draft's."""
    job = decode_job(row.payload, catalog)
    if row.is_finish and row.state is not State.SUCCEEDED:
        return replace(job, draft_id="")
    return job
