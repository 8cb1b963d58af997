"""Files that are replaced as a whole: a reader sees the old one or the new one, also after a power cut."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from callsheet.errors import DiskFull, UsageError
from callsheet.settings import Settings, at_home, sqlite_path


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


def write_text_atomically(path: Path, text: str | Iterator[str], *, mode: int = 0o666) -> None:
    """Write UTF-8 text, or its pieces one by one, in the same way.

    Half of a surrogate pair, which UTF-8 lacks, becomes `?`.
    """
    pieces = iter((text,)) if isinstance(text, str) else text
    with atomically(path, mode=mode) as part, part.open("wb") as file:
        file.writelines(piece.encode("utf-8", "replace") for piece in pieces)


def append_privately(path: Path) -> IO[bytes]:
    """Open a file to write at its end; a new one is its owner's alone. Raises OSError."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab")


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


SUFFIX = ".part"
_NAME_KEPT = 40
"""Characters of the final name; 40 of at most 4 bytes leave room for the rest within a name of 255 bytes."""

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})

_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


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


@contextmanager
def part_file(destination: Path, *, mode: int = 0o666) -> Iterator[PartFile]:
    """Create a part file for `destination` in the same folder; whatever happens, it is gone afterwards.

    A finished file survives under the name that it was linked to. `mode` is who may read and write it, less
    what the process's mask takes away. Raises OSError.
    """
    part = _create_part(destination, mode)
    try:
        yield part
    finally:
        with suppress(FileNotFoundError):
            part.path.unlink()
        os.close(part.descriptor)


def _create_part(destination: Path, mode: int) -> PartFile:
    while True:
        name = f".{destination.name[:_NAME_KEPT]}.{secrets.token_hex(8)}{SUFFIX}"
        path = destination.parent / name
        descriptor = os.open(path, _NEW_FILE, mode)
        if _lock(descriptor, without=True) and os.fstat(descriptor).st_nlink:
            return PartFile(path, descriptor)
        # A sweep came between the creation and the lock and took the file away.
        os.close(descriptor)


def sweep_parts(directory: Path) -> int:
    """Remove the part files below `directory` that no process is writing any more; returns how many."""
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
        return take_lock(descriptor)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return without


def take_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file without waiting; False where another process has it. Raises OSError."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
ALMOST_FULL_BYTES = 2**20
DATA_FOLDER = "the data folder"
ELSEWHERE = "set CALLSHEET_DATA_DIR to a folder that can be written to"


def usable_folder(folder: Path, *, what: str, instead: str, mode: int = 0o777) -> Path:
    """Make a folder where there is none, with `mode`, and return it.

    Messages call it `what` and say `instead` what to do. Raises UsageError where it is no folder, cannot be
    made or cannot be written to, DiskFull where there is no room to make it.
    """
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(f"{what} {folder} cannot be made: {error.strerror}") from error
        raise _refusal(folder, what, instead, _why_not_made(folder, error)) from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise _refusal(folder, what, instead, "it cannot be written to")
    return folder


def usable_data_folder(settings: Settings, *parts: str) -> Path:
    """Make the data folder, or one within it, for its owner alone, and return it.

    Raises UsageError where it cannot be used, naming the variable that names another.
    """
    return usable_folder(settings.data_dir.joinpath(*parts), what=DATA_FOLDER, instead=ELSEWHERE, mode=0o700)


def is_there(path: Path, *, what: str, instead: str) -> bool:
    """Say whether a file is there. Raises UsageError where that cannot be known.

    `Path.exists` answers no also below a file and in a folder that may not be looked into.
    """
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _refusal(path, what, instead, _why_not_made(path, error)) from error
    return True


def _why_not_made(path: Path, error: OSError) -> str:
    with suppress(OSError):  # a name that is too long cannot be looked at either
        for place in (path, *path.parents):
            if place.is_file():
                return "it is a file" if place == path else f"{place} is a file"
    return (error.strerror or type(error).__name__).lower()


def _refusal(path: Path, what: str, instead: str, why: str) -> UsageError:
    return UsageError(f"{what} {path} cannot be used: {why}; {instead}")


def free_bytes(directory: Path) -> int:
    """Bytes that this user may still write below `directory`, which need not exist yet."""
    existing = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def full_folder(*folders: Path) -> Path | None:
    """Return the first folder whose disk has less than 1 MiB free for this user; None if there is none."""
    for folder in folders:
        with suppress(OSError):
            if free_bytes(folder) < ALMOST_FULL_BYTES:
                return folder
    return None


def temporary_folder() -> Path:
    """Return the folder for temporary files, full or not. `tempfile` avoids one that is full."""
    given = os.environ.get("TMPDIR", "")
    return Path(given) if given and Path(given).is_dir() else Path("/tmp")  # noqa: S108 -- nothing is made here


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


def ledger_file(settings: Settings) -> Path | None:
    """Return the file that the ledger is kept in; None where its URL names no SQLite file."""
    url = settings.ledger
    file = url.removeprefix("sqlite:///")
    if file == url or file.startswith((":memory:", "file:")) or not file or "?" in file:
        return None
    return Path(sqlite_path(url)).expanduser().absolute()


def has_ledger(settings: Settings) -> bool:
    """Say whether a ledger exists; planning must not create one.

    True for every URL that is not a SQLite file, so that a bad URL is reported when it is opened. Raises
    UsageError if the file's folder cannot be read: a cap in there must not be overlooked.
    """
    path = ledger_file(settings)
    if path is None:
        return True
    is_ours = path.is_relative_to(settings.data_dir.absolute())
    instead = ELSEWHERE if is_ours else "CALLSHEET_LEDGER_URL names it"
    return is_there(path, what="the ledger", instead=instead)


MARKS = ".ledger-*.json"
"""Files that say how far a ledger was, beside it and beside runs: see `callsheet.engine.rollback_guard`."""


def has_marks(settings: Settings, out: str | None) -> bool:
    """Say whether a ledger has left a mark where the ledger is to be, or in the folder for runs."""
    file = ledger_file(settings)
    folders = [Path(at_home("the folder for runs", out or settings.out)), *([file.parent] if file else [])]
    return any(any(folder.glob(MARKS)) for folder in folders)


class TemporaryFolder:
    """A folder of the system's temporary one, removed with this object or at the end of the process.

    A process that was forked has a copy of the object, and removes nothing.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="callsheet-"))
        self._finalizer = weakref.finalize(self, _remove_own, self.path, os.getpid())


def _remove_own(folder: Path, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
