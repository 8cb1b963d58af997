"""Files that are replaced as a whole: a reader sees the old one or the new one, also after a power cut."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from callsheet.part_files import part_file


@contextmanager
def atomically(path: Path, *, mode: int = 0o666) -> Iterator[Path]:
    """Give a file beside `path` to be written; it gets the name, durably, if all goes well.

    `mode` is who may read and write it, less what the process's mask takes away. On any error the file that
    was there before stays, and nothing else does. Raises OSError.
    """
    with part_file(path, mode=mode) as part:
        yield part.path
        os.fsync(part.descriptor)
        part.path.replace(path)
    sync_directory(path.parent)


def write_atomically(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a whole file in that way. Raises OSError."""
    with atomically(path, mode=mode) as part:
        part.write_bytes(content)


def write_text_atomically(path: Path, text: str) -> None:
    """Write UTF-8 text in the same way; half of a surrogate pair, which UTF-8 lacks, becomes `?`."""
    write_atomically(path, text.encode("utf-8", "replace"))


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256 (hex), without having it in memory. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_directory(directory: Path) -> None:
    """Make names in `directory` durable: a new name survives a power cut only after this."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
