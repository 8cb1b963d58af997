"""Fetch the video of a booked result: download, verify, copy to the store, record, order a flagged one again.

All of it is free and may be repeated. What is paid for stays fetchable until fal says that it is gone: a file
that cannot be fetched now leaves its job `rendered`, and `resume`, `reconcile` and `retry` fetch it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from callsheet import failpoints
from callsheet.engine.context import RunContext
from callsheet.engine.open_run import new_job
from callsheet.engine.run_folder import publish
from callsheet.engine.settle import book_delivered, fetch_result
from callsheet.errors import MediaError, RenderFailed, Unavailable, UntrustedHost
from callsheet.ledger import JobRow, Ledger, NewJob, Output, queries, transitions
from callsheet.media.codes import worth_another_read
from callsheet.media.download import Collected, collect, in_background, recheck
from callsheet.media.expect import expectation_of
from callsheet.media.place import REJECTED, write_thumbnail
from callsheet.provider.messages import Rendered
from callsheet.provider.platform_messages import iso
from callsheet.report.rows import strip_of, thumbnail_of
from callsheet.ticket import Ticket
from manifests.job import Job
from manifests.look import Flag, flags_text, read_retakes
from manifests.names import NAME_MAX_CHARS
from manifests.retakes import RETAKE_OF, new_seed, shot_of, take_name
from pricing.quotes import quote

logger = logging.getLogger(__name__)

FRESH_TRIES = 2
"""How often a fresh result is asked for between two attempts."""

MEDIA_GONE_MS = 3_600_000
"""How long after its render a file that is not found may still appear, in ms. fal keeps files for days."""

FETCH_FOR_MS = 7 * 86_400_000
"""How long after its render a file is asked for whose host does not answer, or answers something else."""


async def fetch(ctx: RunContext, job: Job, row: JobRow, ticket: Ticket, rendered: Rendered) -> None:
    """Download and verify the file of a booked result, from a fresh result after each failure.

    A file that is whole and is not what was ordered fails its job: the same bytes would come again. Raises
    Unavailable where the file cannot be fetched now, and DiskFull: the job stays `rendered`.
    """
    for pause_s in (*ctx.state.fetch_pauses_s, None):
        try:
            async with ctx.state.downloads:
                collected = await collect(
                    lambda: ctx.queue.open_download(rendered.video_url),  # noqa: B023 -- used before it changes
                    ctx.media / f"{row.output_name}.mp4",
                    expectation_of(job, ctx.catalog, ctx.look),
                    rejected=ctx.folder / REJECTED,
                    expected_bytes=rendered.file_size,
                    decode=ctx.account.decode,
                )
        except (MediaError, UntrustedHost, Unavailable) as error:
            logger.info("%s: fetching the video failed: %s", row.custom_id, error, extra=_extra(ctx, row))
            if isinstance(error, MediaError) and not worth_another_read(error.reason):
                await fetch_failed(ctx, row, error)
                return
            if (earlier := await _already_fetched(ctx, job, row)) is not None:
                await _record(ctx, job, row, rendered, earlier)
                return
            if pause_s is None or ctx.stop.phase == "stopped":
                await fetch_failed(ctx, row, error)
                return
            await asyncio.sleep(pause_s)
            with suppress(Unavailable, RenderFailed, UntrustedHost):  # the known result is tried again
                rendered = await fetch_result(ctx, ticket, tries=FRESH_TRIES)
        else:
            await _record(ctx, job, row, rendered, collected)
            return


async def fetch_failed(
    ctx: RunContext, row: JobRow, error: MediaError | RenderFailed | UntrustedHost | Unavailable
) -> None:
    """Decide what becomes of a paid job whose file was not fetched. Its cost is booked already.

    A file that is not what was ordered, and one that can no longer be had, fail the job. Raises Unavailable
    where a later attempt may succeed: the job stays `rendered`.
    """
    reason, may_come = "untrusted_host", True
    if isinstance(error, MediaError):
        reason, may_come = error.reason, worth_another_read(error.reason)
    elif isinstance(error, RenderFailed):
        reason = error.error_type if error.error_type == "result_lost" else "result_failed"
        may_come = reason != "result_lost"
    elif isinstance(error, Unavailable):
        reason = "file_gone" if error.gone else "file_unreached"
    if may_come:
        submission = (await ctx.do(queries.job, row.job_id)).submission
        rendered_ms = (submission.rendered_ms if submission else None) or 0
        gone = isinstance(error, Unavailable) and error.gone
        until_ms = rendered_ms + (MEDIA_GONE_MS if gone else FETCH_FOR_MS)
        if ctx.account.now_ms() < until_ms:
            said = f"{error}. The video is paid for and can be fetched until {iso(until_ms)}"
            raise Unavailable(said, error_type=reason)
    await ctx.do(transitions.fail_media, row.job_id, error_type=reason, error=str(error), attempt=row.attempt)


async def _already_fetched(ctx: RunContext, job: Job, row: JobRow) -> Collected | None:
    """Return the file that an earlier process fetched and verified without recording it."""
    path = ctx.media / f"{row.output_name}.mp4"
    with suppress(MediaError, OSError, Unavailable):
        return await in_background(
            recheck, path, expectation_of(job, ctx.catalog, ctx.look), ctx.account.decode
        )
    return None


async def _record(ctx: RunContext, job: Job, row: JobRow, rendered: Rendered, collected: Collected) -> None:
    """Publish and record a file that has its final name.

    Where the run was taken over meanwhile, ClaimLost is raised before anything is copied to a store, where
    a name is written over, and the results name the new owner's file. What this process has placed on its
    own disk does no harm: the new owner finds it by its content, or has another name (`place_file`).
    """
    facts = collected.facts
    output = Output(
        path=collected.path.relative_to(ctx.folder).as_posix(),
        url=rendered.video_url,
        sha256=collected.sha256,
        bytes=collected.bytes,
        width_px=facts.width_px,
        height_px=facts.height_px,
        fps=facts.fps,
        duration_s=facts.duration_s,
        has_audio=facts.has_audio,
        flags=collected.flags,
    )
    if ctx.storage is not None:
        await ctx.do.call(Ledger.renew)
        await publish(ctx, collected.path)
    await book_delivered(ctx, job, row, (facts.width_px, facts.height_px))
    retake = _retake_of(ctx, job, row, output.flags)
    left = await ctx.do(transitions.collect, row.job_id, output, attempt=row.attempt, retake=retake)
    if left:
        ctx.state.notice(f"{row.label} is flagged ({flags_text(output.flags)}) and not retaken: {left}")
    failpoints.passing("after_done")
    logger.info("%s: saved %s", row.custom_id, output.path, extra=_extra(ctx, row))
    poster = ctx.folder / thumbnail_of(output.path)
    await write_pictures(collected, poster)
    with suppress(Unavailable):  # the end of the run copies what is on its machine again
        for path in (poster, strip_of(poster)):
            if path.is_file():
                await publish(ctx, path)


def _retake_of(ctx: RunContext, job: Job, row: JobRow, flags: Iterable[Flag]) -> NewJob | None:
    """Return the next take of a clip that is flagged as the campaign names it; None where it is not.

    A draft's full-size version is not taken again: it shows what the draft shows.
    """
    rules = read_retakes(ctx.run.look)
    if rules is None or row.is_finish or row.retake >= row.retakes_max:
        return None
    if not any(flag.kind in rules.on for flag in flags):
        return None
    take = job.take + rules.step
    again = replace(
        job,
        custom_id=take_name(shot_of(job.custom_id, job.take), take),
        output_name=take_name(shot_of(job.output_name, job.take), take, NAME_MAX_CHARS),
        take=take,
        seed=new_seed() if job.endpoint.seed else job.seed,
        extra={**job.extra, RETAKE_OF: job.custom_id},
    )
    return new_job(
        again,
        again.fingerprint,
        quote(ctx.catalog, again.shot),
        position=row.position,
        retake=row.retake + 1,
        retakes_max=row.retakes_max,
    )


async def write_pictures(collected: Collected, poster: Path) -> None:
    """Write a clip's thumbnail and its strip; one that is missing is no reason to fail a job."""
    for picture, path in ((collected.thumbnail, poster), (collected.strip, strip_of(poster))):
        if picture:
            with suppress(OSError):
                await in_background(write_thumbnail, picture, path)


def _extra(ctx: RunContext, row: JobRow) -> dict[str, str]:
    request_id = row.ticket.request_id if row.ticket else ""
    return {"run": ctx.run.run_id, "job": row.custom_id, "request_id": request_id}
