"""Give a verified file its final name: durably, and never over another job's file."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from callsheet import failpoints
from callsheet.files import PartFile, file_sha256, make_directory, part_file, sync_directory

MAX_SIBLINGS = 1_000
REJECTED = "rejected"
"""The folder of a run for files that did not pass. They are paid for, so they are kept."""
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK})


def place_file(part: PartFile, destination: Path, sha256: str) -> Path:
    """Give the part file its final name and make that durable; returns the name it got.

    Where the name is taken by the same content, that file is used: a crash came between its naming and the
    ledger's record. Where it is taken by another file, the next free of `name~2.mp4`, `name~3.mp4` is used:
    nothing that was paid for is overwritten. So a process whose run was taken over meanwhile does no harm: it
    finds the new owner's file, or adds one beside it that no result names. Raises OSError.
    """
    os.fsync(part.descriptor)
    failpoints.passing("before_rename")
    for name in _siblings(destination):
        if _give_name(part.path, name) or sha256_of(name) == sha256:
            failpoints.passing("after_rename")
            sync_directory(name.parent)
            return name
    raise FileExistsError(errno.EEXIST, f"{MAX_SIBLINGS} other files have this name", str(destination))


def keep_rejected(part: PartFile, folder: Path, destination: Path, sha256: str) -> Path:
    """Keep a paid file that did not pass, as `<name>.<start of its hash>.mp4` in `folder`. Raises OSError."""
    make_directory(folder)
    return place_file(part, folder / f"{destination.stem}.{sha256[:12]}{destination.suffix}", sha256)


def _siblings(destination: Path) -> Iterator[Path]:
    yield destination
    for number in range(2, MAX_SIBLINGS + 1):
        yield destination.with_name(f"{destination.stem}~{number}{destination.suffix}")


def _give_name(part: Path, name: Path) -> bool:
    """Name the file, or return False where the name is taken: `link` refuses where `rename` would replace."""
    try:
        os.link(part, name, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        return _rename(part, name)
    return True


def _rename(part: Path, name: Path) -> bool:
    """As `_give_name`, where there are no hard links (FAT, some network folders).

    A process that lost its run to another one may wake up between the look and the rename. Only who makes the
    marker may take the name; a marker that a crash leaves behind costs the name `~2`, and no file.
    """
    marker = name.with_name(f".naming-{hashlib.sha256(os.fsencode(name.name)).hexdigest()[:16]}")
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return False
    try:
        if os.path.lexists(name):
            return False
        part.rename(name)
    finally:
        marker.unlink(missing_ok=True)
    return True


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a regular file; empty text for anything else, a link included."""
    if path.is_symlink() or not path.is_file():
        return ""
    return file_sha256(path)


def write_thumbnail(jpeg: bytes, destination: Path) -> None:
    """Write a thumbnail, whole or not at all; an old one is replaced. Blocks. Raises OSError."""
    make_directory(destination.parent)
    with part_file(destination) as part:
        part.write(jpeg)
        os.replace(part.path, destination)  # noqa: PTH105  (a thumbnail may be replaced: it is no paid file)
