"""The folder of a run: where it is on this machine, and its copy in an object store."""

from __future__ import annotations

import asyncio
from pathlib import Path

from callsheet.engine.context import RunContext
from callsheet.engine.request import RunRequest, results_address
from callsheet.errors import FolderElsewhere, MediaError, Unavailable, UsageError
from callsheet.files import make_directory, usable_data_folder, usable_folder
from callsheet.ledger import Run
from callsheet.media.storage import ObjectStore, check_writable, copy_to
from callsheet.report.rows import THUMBNAILS
from callsheet.settings import Settings, at_home
from manifests.plan_file import ROWS_FILE
from manifests.readers.remote import bare_address, is_remote

PICTURES_AT_ONCE = 8
RUNS_FOLDER = "the folder for runs"

LINKED_PAGE = "report-links"
"""What the files of the page with links begin with (`write_linked_page`): who has one can see the videos."""

KEPT_HERE = frozenset({"media", "inputs"})
"""What is not copied with the report: videos go one by one, inputs are fal's already, links are private."""


def folder_for(out: str, settings: Settings, *, sandbox: bool = False) -> Path:
    """Return the folder of this machine that run folders are made in, and make it where it is not there.

    Raises UsageError for an object store that cannot be written to, and for a folder that cannot be used.
    """
    if not is_remote(out):
        return usable_folder(Path(out), what=RUNS_FOLDER, instead="name another with --out")
    if bare_address(out) != out and "@" in out.partition("://")[2].partition("/")[0]:
        raise UsageError(
            f"--out {bare_address(out)}: leave name and password out of the address, which is kept and "
            "shown; fsspec reads them from its own configuration and variables"
        )
    check_writable(out)
    return outbox(settings, sandbox=sandbox)


def planned_folder(out: str | None, settings: Settings, *, sandbox: bool) -> Path:
    """Return the folder that `folder_for` would make; nothing is made."""
    out = at_home(RUNS_FOLDER, out or settings.out)
    return settings.data_dir.joinpath(*_outbox(sandbox=sandbox)) if is_remote(out) else Path(out)


def outbox(settings: Settings, *, sandbox: bool) -> Path:
    """Return the folder of this machine for files that are copied to a store. The sandbox has its own."""
    return usable_data_folder(settings, *_outbox(sandbox=sandbox))


def _outbox(*, sandbox: bool) -> tuple[str, ...]:
    return ("sandbox", "outbox") if sandbox else ("outbox",)


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


PLAN_FILES = ("plan.json", ROWS_FILE, "manifest.parquet")
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
