"""The URLs of a job's images: local files and objects of a store are uploaded once per distinct content."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path, PurePosixPath

from callsheet.engine.context import RunContext
from callsheet.engine.submit import FREE_TRIES, backoff_s
from callsheet.errors import InputError, Unavailable, UsageError
from callsheet.ledger import history
from manifests.columns import REFERENCE_MAX_BYTES
from manifests.job import Image, Job
from manifests.readers.remote import is_in_store, read_object

UPLOAD_GOOD_FOR_MS = 25 * 86_400_000
"""fal is asked to keep uploads for 30 days; a job may still wait for days after its picture was looked up."""

LARGEST_BYTES = max(REFERENCE_MAX_BYTES.values())
"""More than any picture, video or sound that was planned."""


async def uploaded_images(ctx: RunContext, job: Job) -> dict[str, str]:
    """Return the URL of each of the job's images by its identity, uploading what fal does not have yet.

    Raises InputError where a file is gone or is no longer the one that was planned, and provider's errors
    where the upload fails; Unavailable only after as long as a POST that cannot leave is tried. Nothing here
    costs money.
    """
    attempt = 1
    while True:
        try:
            return {image.identity: await _address(ctx, image) for image in job.images}
        except Unavailable as error:
            if attempt == FREE_TRIES or not ctx.stop.admitting:
                raise
            ctx.tell_trouble(f"an image could not be uploaded so far, trying again: {error}")
            await ctx.stop.pause(backoff_s(attempt, error.retry_after_s))
        attempt += 1


async def _address(ctx: RunContext, image: Image) -> str:
    if image.kind == "url" or image.sha256 is None:
        return image.value
    async with ctx.state.upload_locks.setdefault(image.sha256, asyncio.Lock()):
        since_ms = ctx.account.now_ms() - UPLOAD_GOOD_FOR_MS
        known = await ctx.do(history.uploaded, image.sha256, since_ms=since_ms)
        if known is not None:
            return known
        content = await asyncio.to_thread(_read_unchanged, image.value, image.sha256)
        url = await ctx.queue.upload(
            content,
            content_type=image.content_type or "application/octet-stream",
            file_name=f"{image.sha256[:16]}{PurePosixPath(image.value).suffix}",
        )
        await ctx.do(history.remember_upload, image.sha256, url)
        return url


def _read_unchanged(place: str, sha256: str) -> bytes:
    """Return the content of a file or an object of a store.

    Raises InputError where it is gone or another by now, Unavailable where its store cannot be read just now.
    """
    try:
        content = read_object(place, LARGEST_BYTES) if is_in_store(place) else Path(place).read_bytes()
    except OSError as error:
        raise InputError(f"the image {place} can no longer be read: {error.strerror}") from error
    except UsageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise InputError(str(error)) from error
        raise Unavailable(str(error)) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"the image {place} has changed since it was planned. Plan again")
    return content
