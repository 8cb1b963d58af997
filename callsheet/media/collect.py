"""Fetching one finished clip: under its final name a file appears only when it is whole and verified.

In this order, and all of it: the reply is a plain video; as many bytes came as were announced; the last box
ends where the file does; every frame decodes; it is what was ordered; it is on the disk. Only then it gets
its name, and only then the ledger hears of it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

from callsheet import failpoints
from callsheet.errors import MediaError
from callsheet.files import PartFile, make_directory, naming_full_disk, part_file
from callsheet.media.background import in_background
from callsheet.media.codes import Fault, fault
from callsheet.media.expect import Expectation, verify
from callsheet.media.facts import MediaFacts
from callsheet.media.mp4 import check_boxes
from callsheet.media.place import land, set_aside

P = ParamSpec("P")
T = TypeVar("T")

Jpeg = bytes  # a field of `Collected` has the type's own name
Download = tuple[Mapping[str, str], AsyncIterator[bytes]]
Source = Callable[[], AbstractAsyncContextManager[Download]]
"""Opens the download anew at each call: the reply's headers and its body in pieces."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how large a download may be.

    Bytes must arrive at `min_bytes_per_s` on average, after `grace_s` in which none need to; whatever the
    rate, it ends after `total_s`. Defaults: 2 GiB; a clip of 30 MiB over a line of 20 kB/s just passes.
    """

    max_bytes: int = 2 * 2**30
    total_s: float = 1800.0
    grace_s: float = 30.0
    min_bytes_per_s: float = 16_384.0


@dataclass(frozen=True, slots=True)
class Collected:
    """A finished clip: where it stands, the hash and number of its bytes, and what it holds.

    `path` is `destination`, or a sibling of it where another job's file had that name. `still` is one of its
    pictures, b"" where none could be made.
    """

    path: Path
    sha256: str
    bytes: int
    facts: MediaFacts
    still: Jpeg = field(default=b"", repr=False)


async def collect(
    source: Source,
    destination: Path,
    expectation: Expectation,
    *,
    expected_bytes: int | None = None,
    limits: Limits = Limits(),
) -> Collected:
    """Download, verify and name one clip. `expected_bytes` is the size that the result announced, if it did.

    Raises MediaError (see `Fault`), DiskFull, or what the source raises; then nothing stands under the final
    name and no part file is left. A file that is whole but is not what was ordered is set aside beside it.
    """
    with naming_full_disk(destination.parent):
        make_directory(destination.parent)
        with part_file(destination) as part:
            sha256, size = await _receive(source, part, expected_bytes, limits)
            return await _to_the_end(_finish, part, destination, expectation, sha256, size)


async def _receive(
    source: Source, part: PartFile, expected_bytes: int | None, limits: Limits
) -> tuple[str, int]:
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
            announced = _announced(headers, expected_bytes, limits.max_bytes)
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
        raise fault(
            Fault.TOO_SLOW, f"the download brought {size:,} bytes in {clock() - begun:.1f} s and was given up"
        ) from None
    _check_length(size, announced, limits.max_bytes)
    return digest.hexdigest(), size


def _announced(headers: Mapping[str, str], expected_bytes: int | None, max_bytes: int) -> int | None:
    """Return how many bytes must come, None where nobody says. Raises MediaError for what is no video."""
    named = {name.lower(): value.strip() for name, value in headers.items()}
    encoding = named.get("content-encoding", "identity").lower()
    if encoding not in {"", "identity"}:
        raise fault(Fault.ENCODED, f"the reply is encoded ({encoding[:40]}), which was not asked for")
    kind = named.get("content-type", "").partition(";")[0].strip().lower()
    if kind.startswith("text/") or kind.endswith(("json", "xml")):
        raise fault(Fault.NOT_VIDEO, f"the reply is {kind[:80]} and no video")
    length = named.get("content-length", "")
    announced = int(length) if length.isascii() and length.isdigit() and len(length) < 16 else None
    if announced is not None and expected_bytes is not None and announced != expected_bytes:
        raise fault(
            Fault.WRONG_LENGTH,
            f"the result announced {expected_bytes:,} bytes, the download announces {announced:,}",
        )
    announced = announced if announced is not None else expected_bytes
    if announced is not None and announced > max_bytes:
        raise fault(Fault.TOO_LARGE, f"the file has {announced:,} bytes; at most {max_bytes:,} are taken")
    return announced


def _check_length(size: int, announced: int | None, max_bytes: int) -> None:
    if size == 0:
        raise fault(Fault.EMPTY, "the download brought no bytes")
    if announced is None and size > max_bytes:
        raise fault(
            Fault.TOO_LARGE, f"the file has more than {max_bytes:,} bytes, which is all that is taken"
        )
    if announced is not None and size != announced:
        came = f"{size:,}" if size < announced else "more"
        raise fault(Fault.WRONG_LENGTH, f"{announced:,} bytes were announced and {came} came")


async def _to_the_end(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking work in a thread and, even when cancelled, wait until it has ended.

    The thread reads and names the part file; that may be closed and removed only when it no longer does.
    """
    running = asyncio.ensure_future(in_background(work, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        running.exception()  # seen: nobody will ask for it
        raise


def _finish(part: PartFile, destination: Path, expectation: Expectation, sha256: str, size: int) -> Collected:
    """Check, verify and name the received file. Blocks for as long as decoding takes."""
    from callsheet.media.probe import probe  # noqa: PLC0415 -- no video waits for the decoder to be imported

    check_boxes(part.read_at, size)
    try:
        facts, still = probe(part.path)
        verify(facts, expectation)
    except MediaError as error:
        kept = set_aside(part, destination, sha256)
        where = kept.relative_to(destination.parent)
        raise MediaError(f"{error}; the file is kept as {where}", reason=error.reason) from error
    path = land(part, destination, sha256)
    return Collected(path=path, sha256=sha256, bytes=size, facts=facts, still=still.jpeg())
