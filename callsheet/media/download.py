"""Download one finished clip and verify it; only a clip that passes gets its final name.

The checks, in order: the reply is a plain video; as many bytes came as the reply announced; the last box
ends where the file does; every frame decodes; the clip is what was ordered; it is on the disk. Only then it
gets its name, and only then the ledger records it. A file that came to its end and does not pass is kept
elsewhere: it is paid for.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from callsheet import failpoints
from callsheet.errors import MediaError
from callsheet.files import PartFile, file_sha256, make_directory, naming_full_disk, part_file
from callsheet.media.codes import MediaErrorCode, media_error
from callsheet.media.decoders import WORKERS, Decode, decode_here
from callsheet.media.expect import Decoded, Expectation, Jpeg, MediaFacts, verify
from callsheet.media.mp4 import check_boxes
from callsheet.media.place import keep_rejected, place_file
from callsheet.media.threads import in_threads
from manifests.look import Flag

P = ParamSpec("P")
T = TypeVar("T")

Download = tuple[Mapping[str, str], AsyncIterator[bytes]]
Source = Callable[[], AbstractAsyncContextManager[Download]]
"""Opens the download anew at each call: the reply's headers and its body in pieces."""


async def in_background(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking work in one of the decoding threads and return what it returns or raises."""
    return await in_threads("decode", WORKERS, work, *args, **kwargs)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one download, in bytes, seconds and bytes per second.

    After `grace_s` bytes must arrive at `min_bytes_per_s` on average; at any rate the download ends after
    `total_s`. Defaults: 2 GiB; a clip of 30 MiB over a line of 20 kB/s just passes.
    """

    max_bytes: int = 2 * 2**30
    total_s: float = 1800.0
    grace_s: float = 30.0
    min_bytes_per_s: float = 16_384.0


@dataclass(frozen=True, slots=True)
class Collected:
    """A finished clip: its path, the hash and number of its bytes, and what it holds.

    `path` is `destination`, or a sibling of it where another job's file had that name. `thumbnail` is one of
    its frames as JPEG and `strip` several of them, b"" where none could be made.
    `flags` are what the technical look found.
    """

    path: Path
    sha256: str
    bytes: int
    facts: MediaFacts
    thumbnail: Jpeg = field(default=b"", repr=False)
    strip: Jpeg = field(default=b"", repr=False)
    flags: tuple[Flag, ...] = ()


async def collect(
    source: Source,
    destination: Path,
    expectation: Expectation,
    *,
    rejected: Path,
    expected_bytes: int | None = None,
    limits: Limits = Limits(),
    decode: Decode = decode_here,
) -> Collected:
    """Download, verify and name one clip. `expected_bytes` is the size that the result announced, if it did.

    Raises MediaError (see `MediaErrorCode`), DiskFull, or what the source raises; then nothing has the final
    name and no part file is left. A body that came to its end is then kept in the folder `rejected`, which is
    on the same disk, and the error says under which name.
    """
    with naming_full_disk(destination.parent):
        make_directory(destination.parent)
        with part_file(destination) as part:
            sha256, size = await _receive(source, part, limits)
            verified = partial(
                _verified, expectation=expectation, expected_bytes=expected_bytes, decode=decode
            )
            return await _to_the_end(_finish, part, destination, rejected, verified, sha256, size)


def recheck(path: Path, expectation: Expectation, decode: Decode = decode_here) -> Collected | None:
    """Verify a file that already has its final name; None where there is none. Blocks.

    A crash may have come between the naming and the ledger's record. Raises MediaError where the file is not
    what was ordered, and OSError.
    """
    if not path.is_file() or path.is_symlink():
        return None
    with path.open("rb") as file:
        size = path.stat().st_size
        found = _verified(path, file.fileno(), size, expectation=expectation, decode=decode)
    return Collected(path, file_sha256(path), size, *found)


async def _receive(source: Source, part: PartFile, limits: Limits) -> tuple[str, int]:
    """Stream the body into the part file. Returns its hash and its number of bytes."""
    clock = asyncio.get_running_loop().time
    begun = clock()
    digest, size = hashlib.sha256(), 0
    try:
        async with (
            asyncio.timeout_at(begun + min(limits.grace_s, limits.total_s)) as timeout,
            source() as reply,
        ):
            headers, chunks = reply
            announced = _announced(headers, limits.max_bytes)
            async for chunk in chunks:
                size += len(chunk)
                if size > (limits.max_bytes if announced is None else announced):
                    break
                digest.update(chunk)
                part.write(chunk)
                failpoints.passing("half_download")
                earned_s = limits.grace_s + size / limits.min_bytes_per_s
                timeout.reschedule(begun + min(earned_s, limits.total_s))
    except TimeoutError:
        raise media_error(
            MediaErrorCode.TOO_SLOW,
            f"the download was stopped: it brought {size:,} bytes in {clock() - begun:.1f} s",
        ) from None
    _check_length(size, announced, limits.max_bytes)
    return digest.hexdigest(), size


def _announced(headers: Mapping[str, str], max_bytes: int) -> int | None:
    """Return the Content-Length, None where there is none. Raises MediaError for what is no video."""
    named = {name.lower(): value.strip() for name, value in headers.items()}
    encoding = named.get("content-encoding", "identity").lower()
    if encoding not in {"", "identity"}:
        raise media_error(
            MediaErrorCode.ENCODED, f"the reply is encoded ({encoding[:40]}), which was not asked for"
        )
    kind = named.get("content-type", "").partition(";")[0].strip().lower()
    if kind.startswith("text/") or kind.endswith(("json", "xml")):
        raise media_error(MediaErrorCode.NOT_VIDEO, f"the reply is {kind[:80]} and no video")
    length = named.get("content-length", "")
    announced = int(length) if length.isascii() and length.isdigit() and len(length) < 16 else None
    if announced is not None and announced > max_bytes:
        raise media_error(
            MediaErrorCode.TOO_LARGE, f"the file has {announced:,} bytes; at most {max_bytes:,} are allowed"
        )
    return announced


def _check_length(size: int, announced: int | None, max_bytes: int) -> None:
    if announced is None and size > max_bytes:
        raise media_error(
            MediaErrorCode.TOO_LARGE, f"the file has more than the {max_bytes:,} bytes that are allowed"
        )
    if announced is not None and size != announced:
        came = f"{size:,}" if size < announced else "more"
        raise media_error(MediaErrorCode.WRONG_LENGTH, f"{announced:,} bytes were announced and {came} came")


async def _to_the_end(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking work in a thread and, even when cancelled, wait until it has ended.

    The thread reads and names the part file, which may be closed and removed only afterwards.
    """
    running = asyncio.ensure_future(in_background(work, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        running.exception()  # retrieved here, or asyncio reports it as never retrieved
        raise


def _finish(
    part: PartFile,
    destination: Path,
    rejected: Path,
    verified: Callable[[Path, int, int], Decoded],
    sha256: str,
    size: int,
) -> Collected:
    """Verify and name the received file. Blocks for as long as decoding takes."""
    try:
        found = verified(part.path, part.descriptor, size)
    except MediaError as error:
        kept = keep_rejected(part, rejected, destination, sha256)
        where = kept.relative_to(rejected.parent)
        raise MediaError(f"{error}; the file is kept as {where}", reason=error.reason) from error
    path = place_file(part, destination, sha256)
    return Collected(path, sha256, size, *found)


def _verified(
    path: Path,
    descriptor: int,
    size: int,
    *,
    expectation: Expectation,
    expected_bytes: int | None = None,
    decode: Decode,
) -> Decoded:
    """Return what an open file holds. Raises MediaError where it is not what was ordered."""
    if size == 0:
        raise media_error(MediaErrorCode.EMPTY, "the download brought no bytes")
    if expected_bytes is not None and size != expected_bytes:
        raise media_error(
            MediaErrorCode.WRONG_LENGTH,
            f"the result announced {expected_bytes:,} bytes and the file has {size:,}",
        )
    check_boxes(partial(os.pread, descriptor), size)
    decoded = decode(path, expectation.look)
    verify(decoded.facts, expectation)
    return decoded
