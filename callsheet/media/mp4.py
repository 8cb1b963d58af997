"""Check the outermost boxes of an MP4: the needed ones are there, and the last one ends where the file does.

Pure: works on offsets and a function that reads bytes. A decoder opens a truncated fast-start file without an
error, because the index comes first; only the exact end of the last box tells a cut file from a whole one.
Layout: ISO/IEC 14496-12, 4.2: 32-bit size, four-character type, then a 64-bit size where the first was 1;
size 0 means "to the end of the file".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from callsheet.media.codes import MediaErrorCode, media_error

ReadAt = Callable[[int, int], bytes]
"""`read(count, offset)`, as `os.pread` of an open file: fewer bytes only at its end."""

MAX_BOXES = 10_000
"""A fragmented hour has some thousand outermost boxes; a hostile file can have one every eight bytes."""

_HEADER = 8
_LONG_HEADER = 16


@dataclass(frozen=True, slots=True)
class Box:
    """One outermost box. `end` is the offset in bytes just behind it, as the box itself claims."""

    kind: bytes
    offset: int
    end: int


def check_boxes(read: ReadAt, size: int) -> tuple[Box, ...]:
    """Walk the outermost boxes of a file of `size` bytes and return them.

    Raises MediaError: not_mp4, truncated, bad_box, no_index (moov) or no_media (mdat).
    """
    if size == 0:
        raise media_error(MediaErrorCode.EMPTY, "the file is empty")
    if read(4, 4) != b"ftyp":
        raise media_error(MediaErrorCode.NOT_MP4, f"the file is no MP4: it begins with {read(16, 0)!r}")
    boxes = tuple(_walk(read, size))
    kinds = {box.kind for box in boxes}
    if b"moov" not in kinds:
        raise media_error(
            MediaErrorCode.NO_INDEX, "the file has no moov box: the index of its frames is missing"
        )
    if b"mdat" not in kinds:
        raise media_error(MediaErrorCode.NO_MEDIA, "the file has no mdat box: there are no frames in it")
    return boxes


def _walk(read: ReadAt, size: int) -> Iterator[Box]:
    offset = 0
    for _ in range(MAX_BOXES):
        if offset == size:
            return
        box = _box_at(read, offset, size)
        if box.end > size:
            raise media_error(
                MediaErrorCode.TRUNCATED,
                f"the file ends at byte {size:,}, its last box ({_name(box.kind)}) at byte {box.end:,}",
            )
        yield box
        offset = box.end
    raise media_error(MediaErrorCode.BAD_BOX, f"the file has more than {MAX_BOXES:,} outermost boxes")


def _box_at(read: ReadAt, offset: int, size: int) -> Box:
    header = read(_LONG_HEADER, offset)
    if len(header) < _HEADER:
        raise media_error(MediaErrorCode.TRUNCATED, f"the file ends within a box header at byte {offset:,}")
    claimed, kind = int.from_bytes(header[:4]), header[4:8]
    smallest = _HEADER
    if claimed == 1:
        if len(header) < _LONG_HEADER:
            raise media_error(
                MediaErrorCode.TRUNCATED, f"the file ends within a box header at byte {offset:,}"
            )
        claimed, smallest = int.from_bytes(header[8:16]), _LONG_HEADER
    elif claimed == 0:
        claimed = size - offset
    if claimed < smallest or not _plausible(kind):
        raise media_error(
            MediaErrorCode.BAD_BOX,
            f"there is no box at byte {offset:,}: type {_name(kind)}, size {claimed:,} bytes",
        )
    return Box(kind=kind, offset=offset, end=offset + claimed)


def _plausible(kind: bytes) -> bool:
    """Say whether four bytes can be a box type: printable ASCII, or QuickTime's leading copyright sign."""
    return all(0x20 <= byte < 0x7F or byte == 0xA9 for byte in kind)


def _name(kind: bytes) -> str:
    return kind.decode("latin-1") if _plausible(kind) else repr(kind)
