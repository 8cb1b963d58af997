"""Files that are not whole yet: `.<name>.<random>.part`, beside the place where they will stand.

A part file is locked (flock) for as long as somebody writes it. The kernel drops the lock when its owner
dies, so what a dead process left behind is told from what a living one is writing without a clock or a
process id. Where a file system has no locks, files are written all the same, and left behind.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SUFFIX = ".part"
_NAME_KEPT = 40
"""Characters of the final name; 40 of at most 4 bytes leave room for the rest within a name of 255 bytes."""

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class PartFile:
    """One locked file under construction: its path and the open descriptor."""

    path: Path
    descriptor: int

    def write(self, data: bytes) -> None:
        """Write all of `data` at the end. Raises OSError."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self.descriptor, rest) :]

    def read_at(self, offset: int, count: int) -> bytes:
        """Read at most `count` bytes at `offset`."""
        return os.pread(self.descriptor, count, offset)


@contextmanager
def part_file(destination: Path, *, mode: int = 0o666) -> Iterator[PartFile]:
    """Create a part file for `destination` in the same folder; whatever happens, it is gone afterwards.

    A finished file survives under the name that it was linked to. `mode` is who may read and write it, less
    what the process's mask takes away. Raises OSError.
    """
    part = _create(destination, mode)
    try:
        yield part
    finally:
        with suppress(FileNotFoundError):
            part.path.unlink()
        os.close(part.descriptor)


def _create(destination: Path, mode: int) -> PartFile:
    while True:
        name = f".{destination.name[:_NAME_KEPT]}.{secrets.token_hex(8)}{SUFFIX}"
        path = destination.parent / name
        descriptor = os.open(path, _NEW, mode)
        if _lock(descriptor, without=True) and os.fstat(descriptor).st_nlink:
            return PartFile(path, descriptor)
        # A sweep came between the creation and the lock and took the file away.
        os.close(descriptor)


def sweep_parts(directory: Path) -> int:
    """Remove the part files below `directory` that nobody is writing any more; returns how many."""
    return sum(_remove_if_dead(path) for path in directory.rglob(f".*{SUFFIX}"))


def _remove_if_dead(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # a link, or gone meanwhile: neither is a part file of ours
        return False
    try:
        if not _lock(descriptor, without=False):
            return False
        with suppress(FileNotFoundError):
            path.unlink()
        return True
    finally:
        os.close(descriptor)


def _lock(descriptor: int, *, without: bool) -> bool:
    """Say whether the file is ours alone now; `without` is the answer where there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return without
    return True
