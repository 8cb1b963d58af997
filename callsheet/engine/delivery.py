"""From a booked result to a verified file: download, verify, record; or a failed job that says why.

All of it is free: it may be repeated as often as needed.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from callsheet import failpoints
from callsheet.engine.finish import book_delivered, fetch_result
from callsheet.engine.publishing import publish
from callsheet.engine.studio import Studio
from callsheet.errors import MediaError, RenderFailed, Unavailable, UntrustedHost
from callsheet.ledger import JobRow, Output, queries, transitions
from callsheet.media.download import Collected, collect, in_background, recheck
from callsheet.media.expect import expectation_of
from callsheet.media.place import write_thumbnail
from callsheet.provider.messages import Rendered, Ticket
from callsheet.provider.platform_messages import iso
from callsheet.report.rows import thumbnail_of
from manifests.job import Job

MEDIA_TRIES = 3
"""How often a file is fetched, each time from a fresh result where there is one."""

FRESH_TRIES = 2
"""How often the result is asked for between two of them."""

MEDIA_GONE_MS = 3_600_000
"""How long after its render a file that is not found may still turn up; fal keeps files for days."""

UNREACHED_END_MS = 7 * 86_400_000
"""How long after its render a file is asked for whose host does not answer, or answers something else."""


async def deliver(studio: Studio, job: Job, row: JobRow, ticket: Ticket, rendered: Rendered) -> None:
    """Download and verify; a wrong or cut file is fetched again from a fresh result.

    Raises Unavailable where the file cannot be reached (see `give_up`), and DiskFull: the job stays
    `rendered`, which `resume` goes on from.
    """
    for attempt in range(1, MEDIA_TRIES + 1):
        try:
            async with studio.downloads:
                collected = await _collect(studio, job, row, rendered)
        except (MediaError, UntrustedHost, Unavailable) as error:
            if attempt == MEDIA_TRIES:
                if (collected_before := await _landed(studio, job, row)) is not None:
                    await _record(studio, job, row, rendered, collected_before)
                    return
                await give_up(studio, row, error)
                return
            await asyncio.sleep(0.5 * attempt)
            with suppress(Unavailable, RenderFailed, UntrustedHost):  # what is known is tried again then
                rendered = await fetch_result(studio, ticket, tries=FRESH_TRIES)
        else:
            await _record(studio, job, row, rendered, collected)
            return


async def _landed(studio: Studio, job: Job, row: JobRow) -> Collected | None:
    """Return the file that a dead process had fetched and verified, and had not told the ledger of."""
    path = studio.media / f"{row.output_name}.mp4"
    with suppress(MediaError, OSError):
        return await in_background(recheck, path, expectation_of(job, studio.catalog))
    return None


async def give_up(
    studio: Studio, row: JobRow, error: MediaError | RenderFailed | UntrustedHost | Unavailable
) -> None:
    """Record what stays wrong with a paid video as a failed job; its cost is booked already.

    Raises Unavailable where a later try may still help: until `UNREACHED_END_MS` after the render, and where
    the file itself is gone until `MEDIA_GONE_MS`.
    """
    reason = "untrusted_host"
    if isinstance(error, MediaError):
        reason = error.reason
    elif isinstance(error, RenderFailed):
        reason = error.error_type if error.error_type == "result_lost" else "result_failed"
    elif isinstance(error, Unavailable):
        submission = (await studio.books(queries.job, row.job_id)).submission
        rendered_ms = (submission.rendered_ms if submission else None) or 0
        until_ms = rendered_ms + (MEDIA_GONE_MS if error.gone else UNREACHED_END_MS)
        if studio.desk.now_ms() < until_ms:
            raise Unavailable(f"{error}; its file is paid for and is asked for again until {iso(until_ms)}")
        reason = "file_gone" if error.gone else "file_unreached"
    await studio.books(
        transitions.fail_media, row.job_id, error_type=reason, error=str(error), attempt=row.attempt
    )


async def _collect(studio: Studio, job: Job, row: JobRow, rendered: Rendered) -> Collected:
    return await collect(
        lambda: studio.queue.open_download(rendered.video_url),
        studio.media / f"{row.output_name}.mp4",
        expectation_of(job, studio.catalog),
        expected_bytes=rendered.file_size,
    )


async def _record(studio: Studio, job: Job, row: JobRow, rendered: Rendered, collected: Collected) -> None:
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
    await book_delivered(studio, job, row, (facts.width_px, facts.height_px))
    await studio.books(transitions.collect, row.job_id, output, attempt=row.attempt)
    failpoints.passing("after_done")
    if collected.thumbnail:
        with suppress(OSError):  # a page without one still is no reason to fail a job
            await in_background(
                write_thumbnail, collected.thumbnail, studio.folder / thumbnail_of(output.path)
            )
