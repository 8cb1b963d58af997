"""What a run leaves on disk: one result row for every job of its manifest, the summary, and the report page.

Only new and changed rows of a manifest are jobs of its run. The others were made in earlier runs, or are paid
for and not fetched yet: they are looked up by their fingerprint.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from posixpath import dirname
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from callsheet.engine.made_files import MadeFile, absent_files
from callsheet.engine.request import RunRequest, results_address
from callsheet.engine.run_folder import LINKED_PAGE
from callsheet.errors import UsageError
from callsheet.files import naming_full_disk, write_text_atomically
from callsheet.ledger import (
    Account,
    JobRow,
    Ledger,
    Review,
    Run,
    State,
    admission,
    history,
    queries,
    refs_of_owners,
    reviews,
)
from callsheet.media.storage import open_storage
from callsheet.report.page import existing_pictures, part_name, parts_of, render_page
from callsheet.report.rows import ResultRow, earlier_row, result_row, with_reviews
from callsheet.report.run_files import write_run_files
from callsheet.report.summary import RunFacts, summarise, summary_document
from callsheet.wording import command
from manifests.job import Job, decode_job
from manifests.plan_file import ROWS_FILE, fingerprints_in, rows_in
from manifests.retakes import shot_of, take_name
from pricing.catalog import Catalog, load_catalog
from pricing.quotes import Quote

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

ROWS_AT_ONCE = 1_000
TAKES_BESIDE = 20
"""How many earlier takes of a row are looked for in other runs."""


def absent_earlier(ledger: Ledger, run: Run) -> list[MadeFile]:
    """Return the files of earlier runs which a run uses and that are not on this disk, each once."""
    reused = ledger.do(queries.jobs, run.run_id, states={State.ALREADY_MADE})
    absent = {file.job_id: file for file in absent_files(ledger, reused)}
    rows_file = Path(run.out) / ROWS_FILE
    if not rows_file.is_file():  # a person has taken the folder away
        return [*absent.values()]
    own = set(ledger.do(queries.positions, run.run_id))
    run_of = cache(lambda run_id: ledger.do(queries.run, run_id))
    prints = (each for position, each in enumerate(fingerprints_in(rows_file)) if position not in own)
    for job_id, run_id, path in ledger.stream(queries.made_files, run.campaign, prints):
        file = MadeFile(job_id, run_of(run_id), path)
        if not file.path.exists():
            absent[job_id] = file
    return [*absent.values()]


def result_rows(ledger: Ledger, run: Run) -> list[ResultRow]:
    """Return one row for every job of a run's manifest, in its order, each with its retakes after it."""
    catalog = load_catalog()
    path_of = _paths(ledger, run)
    rows: dict[tuple[int, int], ResultRow] = {}
    drafts: dict[tuple[int, int], int] = {}
    for row in ledger.stream(queries.each_job, run.run_id):
        path = path_of(row) if row.state is State.ALREADY_MADE else None
        job = decode_job(row.payload, catalog)
        rows[row.position, row.retake] = result_row(row, job, run, output_path=path)
        if row.draft_output_id is not None and row.state is State.SUCCEEDED:
            drafts[row.position, row.retake] = row.draft_output_id
    for (position, job, quote), earlier in _by_position(ledger, run, catalog):
        if earlier is not None:
            rows[position, 0] = earlier_row(earlier, job, quote, run, output_path=path_of(earlier))
    paths = ledger.do(queries.output_paths, drafts.values())
    for place, output_id in drafts.items():
        rows[place] = replace(rows[place], draft_path=paths[output_id])
    return reviewed(ledger, [rows[place] for place in sorted(rows)])


def other_takes(ledger: Ledger, run: Run, rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Return the takes of a run's shots that other runs of the campaign made.

    These are earlier takes of its rows, the clips that they are retakes of, and the retakes that were ordered
    of them.
    """
    catalog = load_catalog()
    path_of = _paths(ledger, run)
    known = {row.custom_id for row in rows}
    found: list[ResultRow] = []
    wanted = {name for row in rows for name in _linked_names(row)} - known
    while wanted:
        jobs = ledger.do(queries.by_name, run.campaign, wanted)
        new = reviewed(
            ledger,
            [
                result_row(row, decode_job(row.payload, catalog), run, output_path=path_of(row))
                for row in jobs.values()
            ],
        )
        found += new
        known |= wanted
        wanted = {name for row in new for name in _linked_names(row)} - known
    return found


def _linked_names(row: ResultRow) -> Iterator[str]:
    """Yield the names of a row's earlier takes, of the clip that it is a retake of, and of retakes of it."""
    shot = shot_of(row.custom_id, row.job.take)
    yield from (take_name(shot, take) for take in range(max(1, row.job.take - TAKES_BESIDE), row.job.take))
    if row.retake_of:
        yield row.retake_of
    for review in row.reviews:
        if review.verdict == "retake" and "take" in review.changes:
            yield take_name(shot, int(review.changes["take"]))


def _paths(ledger: Ledger, run: Run) -> Callable[[JobRow], str | None]:
    """Return what says where a job's file is, seen from where a run's results are; None where it has none."""
    folder_of = cache(lambda run_id: _folder_from(run, ledger.do(queries.run, run_id)))

    def path_of(row: JobRow) -> str | None:
        run_id = row.output_run_id
        return None if run_id is None else f"{folder_of(run_id)}/{row.output_path_there}"

    return path_of


def reviewed(ledger: Ledger, rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Return the rows with what people said of their clips."""
    said: dict[int, list[Review]] = {}
    for review in ledger.do(reviews.history, {row.job_id for row in rows if row.job_id}):
        said.setdefault(review.job_id, []).append(review)
    return [with_reviews(row, said.get(row.job_id, ())) for row in rows]


def _by_position(
    ledger: Ledger, run: Run, catalog: Catalog
) -> Iterator[tuple[tuple[int, Job, Quote], JobRow | None]]:
    """Yield the jobs of a run's manifest that are not its own, each with the earlier job that paid for it."""
    rows_file = Path(run.out) / ROWS_FILE
    if not rows_file.is_file():
        return
    own = set(ledger.do(queries.positions, run.run_id))
    for piece in rows_in(rows_file, catalog, without=own, at_once=ROWS_AT_ONCE):
        known = ledger.do(queries.paid_for, run.campaign, {job.fingerprint for _, job, _ in piece})
        for each in piece:
            yield each, known.get(each[1].fingerprint)


def _folder_from(run: Run, earlier: Run) -> str:
    """Return where an earlier run's folder is, seen from where a run's results are.

    It is a relative path where both are on this machine or both under one address of an object store. From a
    store it is else the earlier run's full address, or its absolute path on the machine that made it.
    """
    ours, theirs = results_address(run), results_address(earlier)
    if ours is None or (theirs is not None and dirname(ours) == dirname(theirs)):
        return Path(os.path.relpath(earlier.out, run.out)).as_posix()
    return theirs or Path(earlier.out).as_posix()


def facts_of(ledger: Ledger, run: Run, rows: Sequence[ResultRow]) -> RunFacts:
    """Return what the report says of a run beside its rows."""
    accounts = ledger.do(admission.balances, scope="run", key=run.run_id)
    return RunFacts(
        run_id=run.run_id,
        campaign=run.campaign,
        dir=run.out,
        price_book=run.price_book,
        started_ms=run.created_ms,
        finished_ms=run.closed_ms,
        cap_nano=accounts[0].limit_nano if accounts else None,
        is_frozen=any(account.frozen for account in accounts),
        overruns=tuple(ledger.do(history.overruns, run_id=run.run_id)),
        is_sandbox=RunRequest.of(run).sandbox,
        caps=tuple(_caps(ledger, run, rows)),
    )


def _caps(ledger: Ledger, run: Run, rows: Sequence[ResultRow]) -> list[Account]:
    """Return the capped accounts that a run's jobs count in, those of a period as of the run's start."""
    owners = dict.fromkeys((row.job.client, row.model) for row in rows)
    refs = refs_of_owners(owners, campaign=run.campaign, run_id=run.run_id, at_ms=run.created_ms)
    found = ledger.do(admission.headroom, refs)
    return [account for account in found.values() if account.limit_nano is not None]


def write_report(ledger: Ledger, run: Run, tell: Callable[[str], object] = logger.warning) -> dict[str, Any]:
    """Write results, errors, summary and page of a run into its folder. Returns the summary.

    `tell` is told what a person should know of the files. Raises DiskFull, and the files of before are still
    there, where they do not fit.
    """
    folder = Path(run.out)
    results = result_rows(ledger, run)
    facts = facts_of(ledger, run, results)
    others = other_takes(ledger, run, results)
    table = manifest_of(run, results)
    again = command("report", run.run_id, sandbox=ledger.is_sandbox)
    with naming_full_disk(folder, f"make space, then run `{again}`"):
        folder.mkdir(parents=True, exist_ok=True)
        summary = write_run_files(folder, facts, table, results, others, tell)
    return summary_document(summary)


def write_linked_page(ledger: Ledger, run: Run, seconds: int) -> Path:
    """Write the page of a run with links that are good for some seconds, and return its path.

    Such a link opens a clip for everybody who has it. So the page is written only when it is asked for,
    beside the report, for its owner alone, and is never copied to the store. Raises UsageError where the
    run's results are not in a store that signs links.
    """
    place = results_address(run)
    if place is None:
        raise UsageError(
            f"the results of {run.run_id} are on this machine; --presign makes links to an object store "
            "(--out s3://bucket/runs)"
        )
    store, folder = open_storage(place), Path(run.out)
    rows = result_rows(ledger, run)
    others = other_takes(ledger, run, rows)

    def link(path: str) -> str:
        return store.link(path, seconds)

    def name_of(part: int) -> str:
        return part_name(part, LINKED_PAGE)

    origin = "{0.scheme}://{0.netloc}".format(urlsplit(link("report.html")))
    summary = summarise(facts_of(ledger, run, rows), rows)
    pictures = existing_pictures(folder, [*rows, *others])
    for part in parts_of(rows):
        page = render_page(
            summary,
            rows,
            others,
            part=part.number,
            part_address=name_of,
            pictures=pictures,
            address=link,
            origin=origin,
        )
        write_text_atomically(folder / name_of(part.number), page, mode=0o600)
    return folder / name_of(1)


def summary_of(ledger: Ledger, run: Run) -> dict[str, Any]:
    """Return the summary of a run as it is now, and write nothing."""
    rows = result_rows(ledger, run)
    return summary_document(summarise(facts_of(ledger, run, rows), rows))


def manifest_of(run: Run, rows: Sequence[ResultRow]) -> pa.Table:
    """Return a run's manifest, or what the ledger knows of it where its copy in the run's folder is gone."""
    import pyarrow as pa  # noqa: PLC0415 -- 0.1 s
    import pyarrow.parquet as pq  # noqa: PLC0415 -- 0.1 s

    manifest = Path(run.out) / "manifest.parquet"
    if manifest.is_file():
        return pq.read_table(manifest)
    return pa.table(
        {
            "custom_id": [row.custom_id for row in rows],
            "prompt": [row.job.prompt for row in rows],
            "model": [row.model for row in rows],
            "client": [row.job.client for row in rows],
        }
    )
