"""Results in an object store: every file is made and verified on this machine, then copied there.

The run's folder stays in the data folder, so that a run can be resumed, reported and retried without asking
the store for anything. A video counts as fetched only when all of it has arrived.
"""

from __future__ import annotations

from pathlib import Path

from callsheet.engine.context import RunContext
from callsheet.errors import MediaError, Unavailable
from callsheet.files import usable_data_folder, usable_folder
from callsheet.ledger import JobRow
from callsheet.media.download import in_background
from callsheet.media.storage import check_writable
from callsheet.settings import Settings
from manifests.readers.remote import is_remote

KEPT_HERE = frozenset({"media", "inputs"})
"""Folders of a run that are not copied as a whole: videos go one by one, inputs are fal's already."""


def folder_for(out: str, settings: Settings) -> Path:
    """Return the folder of this machine that run folders are made in, and make it where it is not there.

    Raises UsageError for an object store that cannot be written to, and for a folder that cannot be used.
    """
    if not is_remote(out):
        return usable_folder(Path(out), what="the folder for runs", instead="name another with --out")
    check_writable(out)
    return usable_data_folder(settings, "outbox")


def lasting(out: str, source: str, settings: Settings) -> str:
    """Return where a run that nobody started from a folder keeps what it makes: beside its source.

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
        await in_background(ctx.storage.publish, path, name)
    except (MediaError, OSError) as error:
        raise Unavailable(f"{name} could not be copied: {error}") from error
    except Exception as error:  # the store's own classes are its package's
        raise Unavailable(f"{name} could not be copied: {type(error).__name__}") from error


async def publish_report(ctx: RunContext, reused: list[JobRow]) -> int:
    """Copy what a run leaves beside its videos, and the videos that earlier runs made for its `reused` jobs.

    Returns how many files did not arrive; each has a note, and `resume` copies them all again.
    """
    if ctx.storage is None:
        return 0
    failed = 0
    made = {row.output.path for row in reused if row.output}
    files = [path for path in sorted(ctx.folder.rglob("*")) if path.is_file()]
    for path in files:
        name = path.relative_to(ctx.folder)
        if name.parts[0] not in KEPT_HERE or name.as_posix() in made:
            try:
                await publish(ctx, path)
            except Unavailable as error:
                failed += 1
                ctx.state.unfinished.append(str(error))
    return failed
