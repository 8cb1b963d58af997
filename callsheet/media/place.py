"""Giving a verified file its final name: durable, and never over another job's file."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from callsheet import failpoints
from callsheet.files import PartFile, file_sha256, make_directory, sync_directory

MAX_SIBLINGS = 1_000
REJECTED = "rejected"
"""The folder, beside the finished ones, for files that are whole but not what was ordered: paid, so kept."""

_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK})


def land(part: PartFile, destination: Path, sha256: str) -> Path:
    """Give the part file its final name and make that durable; returns the name it got.

    Where the name is taken by the same content, that file is the one: it was landed before a crash and the
    ledger did not hear of it. Where it is taken by another file, the next free of `name~2.mp4`, `name~3.mp4`
    is used: nothing that was paid for is written over. Raises OSError.
    """
    os.fsync(part.descriptor)
    failpoints.passing("before_rename")
    for name in _siblings(destination):
        if _give_name(part.path, name) or sha256_of(name) == sha256:
            failpoints.passing("after_rename")
            sync_directory(name.parent)
            return name
    raise FileExistsError(errno.EEXIST, f"{MAX_SIBLINGS} other files have this name", str(destination))


def set_aside(part: PartFile, destination: Path, sha256: str) -> Path:
    """Keep a paid file that is not what was ordered: `rejected/<name>.<first of its hash>.mp4`."""
    folder = destination.parent / REJECTED
    make_directory(folder)
    return land(part, folder / f"{destination.stem}.{sha256[:12]}{destination.suffix}", sha256)


def _siblings(destination: Path) -> Iterator[Path]:
    yield destination
    for number in range(2, MAX_SIBLINGS + 1):
        yield destination.with_name(f"{destination.stem}~{number}{destination.suffix}")


def _give_name(part: Path, name: Path) -> bool:
    """Name the file, or return False where the name is taken: link refuses where rename would replace."""
    try:
        os.link(part, name, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # FAT and some network folders have no hard links. One process owns a run, so between the look and
        # the rename nobody else takes the name.
        if os.path.lexists(name):
            return False
        part.rename(name)
    return True


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a regular file; empty text for anything else, a link included."""
    if path.is_symlink() or not path.is_file():
        return ""
    return file_sha256(path)
