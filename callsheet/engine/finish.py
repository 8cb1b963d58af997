"""From a finished render to a verified file: take the result, settle, download, verify, record.

None of this holds a slot, and all of it is free: it may be repeated as often as needed.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from decimal import Decimal, InvalidOperation

from callsheet import failpoints
from callsheet.engine.overbilled import stop_if_overbilled
from callsheet.engine.publishing import publish
from callsheet.engine.rescue import rescued
from callsheet.engine.studio import Studio
from callsheet.errors import MediaError, RenderFailed, Unavailable, UntrustedHost
from callsheet.falqueue.messages import Rendered, Ticket
from callsheet.ledger import CostBasis, JobRow, Ledger, Output, Settlement
from callsheet.outputs.background import in_background
from callsheet.outputs.collect import Collected, collect
from callsheet.outputs.expectation import expectation_of
from callsheet.outputs.posters import make_poster
from callsheet.outputs.recheck import recheck
from callsheet.report.cards import poster_of
from manifests.job import Job
from pricing.catalog import Catalog
from pricing.quotes import cost_of_units, quote

RESULT_TRIES = 8
"""How often a result is asked for: 9 of 18 paid clips were lost elsewhere to one 504 from the result
(https://github.com/openstory-so/openstory/pull/1505). About two minutes in all."""

SURE = 3
"""How often a failure must be said that costs nothing and would be bought again."""

MEDIA_TRIES = 3
"""How often a file is fetched, each time from a fresh result."""

MEDIA_GONE_MS = 3_600_000
"""How long after its render a file that is not found may still turn up; fal keeps files for days."""

MAX_UNITS_LENGTH = 20


async def settle(studio: Studio, job: Job, row: JobRow, ticket: Ticket) -> Rendered | None:
    """Take the result and book its real cost. Returns None where the render turns out to have failed."""
    try:
        rendered = await fetch_result(studio, ticket)
    except RenderFailed as failure:
        await book_failure(studio, job, row, failure)
        return None
    cost_nano, basis = real_cost(_catalog(studio, row), job, rendered.billable_units)
    settlement = Settlement(
        cost_nano=cost_nano,
        cost_basis=basis,
        result_json=json.dumps(rendered.raw),
        billable_units=rendered.billable_units,
        seed_used=rendered.seed,
    )
    failpoints.passing("before_settle")
    booking = await studio.books(Ledger.settle, row.job_id, settlement)
    failpoints.passing("after_settle")
    stop_if_overbilled(studio, row, booking)
    return rendered


async def fetch_result(studio: Studio, ticket: Ticket) -> Rendered:
    """Ask for the result until it is there, and elsewhere when it has expired or stays away.

    Raises RenderFailed, and Unavailable when it stays away. A failure that fal does not charge for is
    believed when it is said `SURE` times: a gateway's mistake must not write off a clip that is there and
    paid for.
    """
    failures = 0
    for attempt in range(1, RESULT_TRIES + 1):
        wait_s = min(30.0, 0.5 * 2 ** (attempt - 1))
        try:
            return await studio.queue.result(ticket)
        except RenderFailed as failure:
            failures += 1
            if failure.charged != "no" or failures == SURE:
                raise
            wait_s = 0.5 * failures
        except Unavailable as error:
            if error.gone or attempt == RESULT_TRIES:
                return await rescued(studio, ticket, error)
            wait_s = error.retry_after_s or wait_s
        await asyncio.sleep(wait_s)
    raise Unavailable("fal's queue says now that the render failed and now that it cannot be read")


def _catalog(studio: Studio, row: JobRow) -> Catalog:
    """Return the rates at which this job was bought."""
    return studio.catalog_at(row.submission.admitted_ms if row.submission else None)


def real_cost(catalog: Catalog, job: Job, billable_units: str | None) -> tuple[int, CostBasis]:
    """Return what the render cost in nano-dollars and where that number comes from."""
    units = _units(billable_units)
    if units is None:
        return quote(catalog, job.shot).expected_nano, "expected"
    audio = bool(job.generate_audio)
    return cost_of_units(catalog, job.endpoint, audio=audio, units=units), "billable_units"


def _units(text: str | None) -> Decimal | None:
    """Read the header strictly; length comes first, because a number can be long enough to hang on."""
    if text is None or len(text) > MAX_UNITS_LENGTH:
        return None
    try:
        units = Decimal(text)
    except InvalidOperation:
        return None
    return units if units.is_finite() and 0 <= units < 10**9 else None


async def book_failure(studio: Studio, job: Job, row: JobRow, failure: RenderFailed) -> None:
    """Record a failed render and what it cost: nothing, the units it names, or the hold when nobody knows."""
    cost_nano = None
    if failure.charged == "yes":
        cost_nano = real_cost(_catalog(studio, row), job, failure.billable_units)[0]
    booking = await studio.books(
        Ledger.fail_render,
        row.job_id,
        error_type=failure.error_type,
        error=str(failure),
        charged=failure.charged,
        cost_nano=cost_nano,
    )
    stop_if_overbilled(studio, row, booking)


async def deliver(studio: Studio, job: Job, row: JobRow, ticket: Ticket, rendered: Rendered) -> None:
    """Download and verify; a wrong or cut file is fetched again from a fresh result.

    Raises Unavailable where the file cannot be reached, and DiskFull: the job stays `rendered`, which
    `resume` goes on from.
    """
    for attempt in range(1, MEDIA_TRIES + 1):
        try:
            async with studio.downloads:
                collected = await _collect(studio, job, row, rendered)
        except (MediaError, UntrustedHost, Unavailable) as error:
            if attempt == MEDIA_TRIES:
                if (collected_before := await _landed(studio, job, row)) is not None:
                    await _record(studio, row, rendered, collected_before)
                    return
                await _give_up(studio, row, error)
                return
            await asyncio.sleep(0.5 * attempt)
            rendered = await fetch_result(studio, ticket)
        else:
            await _record(studio, row, rendered, collected)
            return


async def _landed(studio: Studio, job: Job, row: JobRow) -> Collected | None:
    """Return the file that a dead process had fetched and verified, and had not told the ledger of."""
    path = studio.media / f"{row.output_name}.mp4"
    with suppress(MediaError, OSError):
        return await in_background(recheck, path, expectation_of(job, studio.catalog))
    return None


async def _give_up(studio: Studio, row: JobRow, error: MediaError | UntrustedHost | Unavailable) -> None:
    """Record what stays wrong as a failed job. Raises the error where a later try may still help."""
    reason = "untrusted_host"
    if isinstance(error, MediaError):
        reason = error.reason
    elif isinstance(error, Unavailable):
        submission = (await studio.books(Ledger.job, row.job_id)).submission
        rendered_ms = submission.rendered_ms if submission else None
        if not error.gone or studio.desk.now_ms() < (rendered_ms or 0) + MEDIA_GONE_MS:
            raise error
        reason = "file_gone"
    await studio.books(Ledger.fail_media, row.job_id, error_type=reason, error=str(error))


async def _collect(studio: Studio, job: Job, row: JobRow, rendered: Rendered) -> Collected:
    return await collect(
        lambda: studio.queue.open_download(rendered.video_url),
        studio.media / f"{row.output_name}.mp4",
        expectation_of(job, studio.catalog),
        expected_bytes=rendered.file_size,
    )


async def _record(studio: Studio, row: JobRow, rendered: Rendered, collected: Collected) -> None:
    facts = collected.facts
    output = Output(
        path=collected.path.relative_to(studio.folder).as_posix(),
        url=rendered.video_url,
        sha256=collected.sha256,
        bytes=collected.bytes,
        width_px=facts.width_px,
        height_px=facts.height_px,
        fps=facts.fps,
        duration_s=facts.duration_s,
        has_audio=facts.has_audio,
    )
    await publish(studio, collected.path)
    await studio.books(Ledger.collect, row.job_id, output)
    failpoints.passing("after_done")
    still = studio.folder / poster_of(output.path)
    with suppress(MediaError, OSError):  # a page without one still is no reason to fail a job
        still.parent.mkdir(parents=True, exist_ok=True)
        await in_background(make_poster, collected.path, still)
