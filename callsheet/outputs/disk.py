"""Room on the disk: asked before work is taken on, and named in words when it runs out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from callsheet.errors import DiskFull
from callsheet.folders import FULL
from callsheet.whole_files import sync_directory


def free_bytes(directory: Path) -> int:
    """Bytes that this user may still write below `directory`, which need not exist yet."""
    existing = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def enough_space(directory: Path, needed_bytes: int) -> bool:
    """Say whether `needed_bytes` more fit below `directory`."""
    return free_bytes(directory) >= needed_bytes


def require_space(directory: Path, needed_bytes: int, *, instead: str) -> None:
    """Raise DiskFull, naming both amounts, where `needed_bytes` more do not fit below `directory`.

    `instead` says what can be done but making room.
    """
    free = free_bytes(directory)
    if free < needed_bytes:
        raise DiskFull(
            f"{directory} has {_mib(free)} free and {_mib(needed_bytes)} are needed; make room or {instead}"
        )


KEPT_AT_FAL = "make room and resume: what is rendered is kept at fal and is fetched then"


@contextmanager
def naming_full_disk(directory: Path, advice: str = KEPT_AT_FAL) -> Iterator[None]:
    """Turn "no space left" (or a used-up quota) into DiskFull with that advice; other OSErrors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskFull(f"no room is left in {directory}; {advice}") from error


def make_directory(directory: Path) -> None:
    """Create a folder and those above it, durably. Raises OSError."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
