"""From a booked result to a verified file: download, verify, publish, record.

All of it is free and may be repeated. What is paid for stays fetchable until fal says that it is gone: a file
that cannot be fetched now leaves its job `rendered`, and `resume`, `reconcile` and `retry` fetch it.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

from callsheet import failpoints
from callsheet.engine.context import RunContext
from callsheet.engine.request import RunRequest, results_address
from callsheet.engine.retakes import retake_of
from callsheet.engine.settle import book_delivered, fetch_result
from callsheet.errors import FolderElsewhere, MediaError, RenderFailed, Unavailable, UntrustedHost, UsageError
from callsheet.files import make_directory, usable_data_folder, usable_folder
from callsheet.ledger import JobRow, Ledger, Output, Run, queries, transitions
from callsheet.media.codes import worth_another_read
from callsheet.media.download import Collected, collect, in_background, recheck
from callsheet.media.expect import expectation_of
from callsheet.media.place import REJECTED, write_thumbnail
from callsheet.media.storage import ObjectStore, check_writable, copy_to
from callsheet.provider.messages import Rendered
from callsheet.provider.platform_messages import iso
from callsheet.report.rows import THUMBNAILS, strip_of, thumbnail_of
from callsheet.settings import Settings
from callsheet.ticket import Ticket
from manifests.job import Job
from manifests.look import flags_text
from manifests.readers.remote import bare_address, is_remote

logger = logging.getLogger(__name__)

PICTURES_AT_ONCE = 8

FRESH_TRIES = 2
"""How often a fresh result is asked for between two attempts."""

MEDIA_GONE_MS = 3_600_000
"""How long after its render a file that is not found may still appear, in ms. fal keeps files for days."""

FETCH_FOR_MS = 7 * 86_400_000
"""How long after its render a file is asked for whose host does not answer, or answers something else."""


async def deliver(ctx: RunContext, job: Job, row: JobRow, ticket: Ticket, rendered: Rendered) -> None:
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
    reason = "untrusted_host"
    if isinstance(error, MediaError):
        reason = error.reason
        may_come = worth_another_read(error.reason)
    elif isinstance(error, RenderFailed):
        reason = error.error_type if error.error_type == "result_lost" else "result_failed"
        may_come = reason != "result_lost"
    elif isinstance(error, Unavailable):
        reason, may_come = ("file_gone" if error.gone else "file_unreached"), True
    else:
        may_come = True
    if may_come:
        submission = (await ctx.do(queries.job, row.job_id)).submission
        rendered_ms = (submission.rendered_ms if submission else None) or 0
        gone = isinstance(error, Unavailable) and error.gone
        until_ms = rendered_ms + (MEDIA_GONE_MS if gone else FETCH_FOR_MS)
        if ctx.account.now_ms() < until_ms:
            raise Unavailable(f"{error}. The video is paid for and can be fetched until {iso(until_ms)}")
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
    retake = retake_of(ctx, job, row, output.flags)
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


async def write_pictures(collected: Collected, poster: Path) -> None:
    """Write a clip's thumbnail and its strip; one that is missing is no reason to fail a job."""
    for picture, path in ((collected.thumbnail, poster), (collected.strip, strip_of(poster))):
        if picture:
            with suppress(OSError):
                await in_background(write_thumbnail, picture, path)


def _extra(ctx: RunContext, row: JobRow) -> dict[str, str]:
    request_id = row.ticket.request_id if row.ticket else ""
    return {"run": ctx.run.run_id, "job": row.custom_id, "request_id": request_id}


LINKED_PAGE = "report-links"
"""What the files of the page with links begin with (`linked_page`): who has one can see the videos."""

KEPT_HERE = frozenset({"media", "inputs"})
"""What is not copied with the report: videos go one by one, inputs are fal's already, links are private."""


def folder_for(out: str, settings: Settings, *, sandbox: bool = False) -> Path:
    """Return the folder of this machine that run folders are made in, and make it where it is not there.

    Raises UsageError for an object store that cannot be written to, and for a folder that cannot be used.
    """
    if not is_remote(out):
        return usable_folder(Path(out), what="the folder for runs", instead="name another with --out")
    if bare_address(out) != out and "@" in out.partition("://")[2].partition("/")[0]:
        raise UsageError(
            f"--out {bare_address(out)}: leave name and password out of the address, which is kept and "
            "shown; fsspec reads them from its own configuration and variables"
        )
    check_writable(out)
    return outbox(settings, sandbox=sandbox)


def outbox(settings: Settings, *, sandbox: bool) -> Path:
    """Return the folder of this machine for files that are copied to a store. The sandbox has its own."""
    return usable_data_folder(settings, *(("sandbox", "outbox") if sandbox else ("outbox",)))


def folder_here(run: Run, settings: Settings, *, is_shared: bool = False) -> Path:
    """Return a run's folder on this machine, and make it where its results are copied to an object store.

    With `is_shared` several machines work on the run, and another one may have a folder of the same name: the
    run's own has its plan. Raises FolderElsewhere where it is on another machine.
    """
    folder, is_stored = Path(run.out), results_address(run) is not None
    if is_stored and folder.parent.is_dir():
        (folder / "media").mkdir(parents=True, exist_ok=True)
        return folder
    if folder.parent.is_dir() and (not is_shared or (folder / PLAN_FILES[0]).is_file()):
        return folder
    if not is_stored:
        raise FolderElsewhere(
            f"the folder {folder} of run {run.run_id} is not on this machine. Workers on several "
            "machines need a folder that all of them share, or an object store (--out s3://bucket/runs)"
        )
    here = outbox(settings, sandbox=RunRequest.of(run).sandbox) / run.run_id
    (here / "media").mkdir(parents=True, exist_ok=True)
    return here


def lasting(out: str, source: str, settings: Settings) -> str:
    """Return where a run that a worker starts keeps its files: beside its source.

    Prefect's workers start each run in a temporary folder and remove it afterwards, and the videos would go
    with it. A source that is not on this machine's disk leaves the data folder.
    """
    if is_remote(out) or Path(out).is_absolute():
        return out
    return str((settings.data_dir if is_remote(source) else Path(source).absolute().parent) / out)


async def publish(ctx: RunContext, path: Path) -> None:
    """Copy one file of the run's folder, where results go to a store.

    Raises Unavailable where it did not arrive: it stays here, and `resume` copies it.
    """
    if ctx.storage is None:
        return
    name = path.relative_to(ctx.folder).as_posix()
    try:
        await copy_to(ctx.storage, path, name)
    except (MediaError, OSError) as error:
        raise Unavailable(f"{name} could not be copied: {error}") from error
    except Exception as error:  # the store's own classes are its package's
        raise Unavailable(f"{name} could not be copied: {type(error).__name__}") from error


PLAN_FILES = ("plan.json", "plan.rows.parquet", "manifest.parquet")
"""What the folder of a run has before anything is bought."""


async def publish_opening(ctx: RunContext) -> None:
    """Copy the plan and the manifest, so that the store has them also if this machine is lost meanwhile.

    What could not be copied is noted; the end of the run copies it again.
    """
    for path in (ctx.folder / name for name in PLAN_FILES):
        if path.is_file():
            try:
                await publish(ctx, path)
            except Unavailable as error:
                ctx.state.notice(str(error))


async def fetch_opening(ctx: RunContext) -> None:
    """Copy the plan and the manifest from the store, where this machine does not have them.

    Raises Unavailable, naming the run, where the store does not give them.
    """
    assert ctx.storage is not None
    for path in (ctx.folder / name for name in PLAN_FILES):
        if not path.is_file():
            try:
                await asyncio.to_thread(ctx.storage.fetch, path.name, path)
            except Exception as error:  # the store's own classes are its package's
                said = (
                    f"{path.name} of run {ctx.run.run_id} cannot be read from the store that has its results"
                )
                raise Unavailable(f"{said}: {type(error).__name__}") from error


async def fetch_pictures(ctx: RunContext) -> None:
    """Copy the thumbnails that other machines have made from the store, so that the report shows them.

    One that cannot be read costs a notice: the clip is there.
    """
    if ctx.storage is None:
        return
    store, gate = ctx.storage, asyncio.Semaphore(PICTURES_AT_ONCE)

    async def one(name: str) -> None:
        async with gate:
            await asyncio.to_thread(make_directory, (ctx.folder / name).parent)
            await asyncio.to_thread(store.fetch, name, ctx.folder / name)

    try:
        wanted = await asyncio.to_thread(_missing_pictures, store, ctx.folder)
    except Exception as error:  # noqa: BLE001 -- the store's own classes are its package's
        failed: list[BaseException] = [error]
    else:
        ended = await asyncio.gather(*map(one, wanted), return_exceptions=True)
        failed = [each for each in ended if each is not None]
    if failed:
        ctx.state.notice(f"thumbnails of other machines are not in the report: {type(failed[0]).__name__}")


def _missing_pictures(store: ObjectStore, folder: Path) -> list[str]:
    """Return the thumbnails of a store that a run's folder does not have. Blocks."""
    names = (name for name in sorted(store.names(THUMBNAILS)) if ".." not in name.split("/"))
    return [name for name in names if not (folder / name).exists()]


async def publish_report(ctx: RunContext) -> int:
    """Copy what a run leaves beside its videos. Return how many files did not arrive."""
    if ctx.storage is None:
        return 0
    failed = 0
    for path in [path for path in sorted(ctx.folder.rglob("*")) if path.is_file()]:
        top = path.relative_to(ctx.folder).parts[0]
        if top not in KEPT_HERE and not top.startswith(LINKED_PAGE):
            try:
                await publish(ctx, path)
            except Unavailable as error:
                failed += 1
                ctx.state.note_unfinished(str(error))
    return failed
