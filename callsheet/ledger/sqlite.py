"""SQLite, set up so that what it acknowledges survives a power cut, and refused where it would not.

WAL with synchronous=NORMAL loses acknowledged commits when the power goes (932 of 1,000 simulated cuts,
FULL: 0 of 2,000); killing the process cannot show the difference, so it is asserted.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sqlite3
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import URL

from callsheet.errors import LedgerError, LedgerUnsafe, UsageError
from callsheet.files import take_lock

OLDEST_VERSION: Final = (3, 37, 0)
"""STRICT tables came with 3.37 (sqlite.org/stricttables.html)."""

BUSY_TIMEOUT_MS: Final = 120_000
"""How long a writer waits for another one. Opening a run of a million jobs writes for half a minute."""

CACHE_KIB: Final = 32_768
"""Pages that a connection keeps in memory: the upper parts of every index, with a million jobs too."""

_FUSE: Final = frozenset({"fuse.glusterfs", "fuse.s3fs", "fuse.sshfs"})
_NETWORK: Final = _FUSE | {"afs", "ceph", "cifs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"}
"""WAL needs memory shared between all its processes: one host (sqlite.org/wal.html)."""

_PRAGMAS: Final[Mapping[str, tuple[str, tuple[object, ...]]]] = MappingProxyType(
    {
        "journal_mode": ("WAL", ("wal",)),
        "synchronous": ("FULL", (2, 3)),
        "foreign_keys": ("ON", (1,)),
        "fullfsync": ("ON", (1,)),  # macOS: fsync alone leaves the data in the drive's own cache
        "checkpoint_fullfsync": ("ON", (1,)),
    }
)
"""What is set on each connection, and what must then be read back."""


def ledger_file(url: URL) -> Path:
    """Return the absolute path of the ledger's file, and create it (0600) and its folder (0700).

    Raises UsageError for a path that cannot be a file, LedgerUnsafe for a ledger in memory, on a network file
    system, or open to other people, LedgerError where the disk does not take it.
    """
    if url.query:
        raise UsageError(f"a SQLite ledger takes no options after '?'; found {', '.join(url.query)}")
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise LedgerUnsafe(
            "a ledger in memory forgets what was paid for; give a file: sqlite:////path/to/file"
        )
    try:
        return _private_file(Path(url.database).expanduser().absolute())
    except (ValueError, RuntimeError) as error:  # a NUL in it, or `~` of an unknown user
        raise UsageError(f"the ledger's path cannot be used: {error}") from error
    except OSError as error:
        said = f"the ledger {url.database} cannot be made or looked at: {error.strerror}"
        raise LedgerError(said) from error


def _private_file(path: Path) -> Path:
    if path.is_dir():
        raise UsageError(f"{path} is a folder; the ledger is a file: sqlite:///{path}/ledger.sqlite")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    kind = filesystem_of(path.parent, _mounts())
    if kind in _NETWORK:
        raise LedgerUnsafe(
            f"{path} is on a network file system ({kind}), where SQLite can lose what it wrote; "
            "use a local disk, or PostgreSQL for several machines"
        )
    _create(path)
    _refuse_strangers(path)
    record_use(path)
    return path


def _create(path: Path) -> None:
    """Create the file where it does not exist; one that exists is never opened here.

    POSIX drops all of a process's locks on a file when it closes any descriptor of that file
    (sqlite.org/howtocorrupt.html, 2.2): another connection of this process would lose its own, and a visitor
    that leaves would then delete the journal under it.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _refuse_strangers(path: Path) -> None:
    mode = path.stat().st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise LedgerUnsafe(
            f"{path} is open to other people (mode {stat.S_IMODE(mode):o}); run: chmod 600 {path}"
        )
    folder = path.parent.stat().st_mode
    if folder & stat.S_IWOTH and not folder & stat.S_ISVTX:
        raise LedgerUnsafe(f"everybody may replace files in {path.parent}; run: chmod o-w {path.parent}")


def inode_of(path: Path) -> tuple[int, int] | None:
    """Return the device and the number of the file under this path; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _mounts() -> str:
    try:
        return Path("/proc/self/mounts").read_text("utf-8", "surrogateescape")
    except OSError:
        return ""  # not Linux: what cannot be known is not refused


def filesystem_of(folder: Path, mounts: str) -> str:
    """Return the type of the file system that holds `folder` by the text of /proc/mounts; "" if unknown."""
    real = os.path.realpath(folder)
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        point = fields[1].replace("\\040", " ")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def engine_for(path: Path) -> sa.Engine:
    """Return an engine whose every connection is set up and asserted.

    Transactions begin with BEGIN IMMEDIATE, so that a writer waits for its turn before it reads; those of an
    engine with the option `reads` begin with BEGIN and block no writer.
    """
    if sqlite3.sqlite_version_info < OLDEST_VERSION:
        raise LedgerUnsafe(f"SQLite {sqlite3.sqlite_version} is too old; the ledger needs 3.37 or newer")
    engine = sa.create_engine(URL.create("sqlite", database=str(path)), hide_parameters=True)
    sa.event.listen(engine, "connect", _set_up)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: sqlite3.Connection, _record: Any) -> None:
    # Python's own transaction handling would begin late and deferred, and end before each DDL statement.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    for name, (value, accepted) in _PRAGMAS.items():
        connection.execute(f"PRAGMA {name} = {value}")
        found = connection.execute(f"PRAGMA {name}").fetchone()[0]
        if found not in accepted:
            raise LedgerUnsafe(f"SQLite does not accept {name}={value} for this ledger; it says {found}")


def _begin(connection: sa.Connection) -> None:
    reads = connection.get_execution_options().get("reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def is_in_transaction(connection: sa.Connection) -> bool:
    """Say whether what was begun is still there: after some errors SQLite ends the transaction by itself."""
    driver: Any = connection.connection.driver_connection
    return bool(driver.in_transaction)


# -- which process works on a run ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileLocks:
    """Locks of runs as files beside a ledger. The kernel keeps them for as long as the process lives."""

    ledger: Path

    @contextmanager
    def holding(self, run_id: str, part: str) -> Iterator[bool]:
        """Hold the lock of a whole run (`part` empty), or of one part; gives False where it is taken."""
        with ExitStack() as held:
            free = held.enter_context(self._lock(f"run-{run_id}", shared=bool(part)))
            if free and part:
                free = held.enter_context(self._lock(f"part-{run_id}-{part}"))
            yield free

    def is_free(self, run_id: str, part: str) -> bool:
        """Whether no process works on a part of a run; on any, where `part` is empty."""
        with self.holding(run_id, part) as free:
            return free

    @contextmanager
    def _lock(self, name: str, *, shared: bool = False) -> Iterator[bool]:
        folder = self.ledger.with_name(f"{self.ledger.name}.locks")
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(folder / _file_name(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            said = f"the ledger's locks in {folder} cannot be made: {error.strerror}"
            raise LedgerError(said) from error
        try:
            yield _locked(descriptor, shared=shared)
        finally:
            os.close(descriptor)  # the file stays: removing it would let two owners lock two files


def _locked(descriptor: int, *, shared: bool) -> bool:
    """Take a lock; wait only for the moment in which another process looks whether it is free."""
    for pause_s in (0.01, 0.02):
        if take_lock(descriptor, shared=shared):
            return True
        time.sleep(pause_s)
    return take_lock(descriptor, shared=shared)


def _file_name(name: str) -> str:
    escaped = quote(name, safe="")
    return escaped if len(escaped) <= 200 else hashlib.sha256(name.encode()).hexdigest()


# -- which machine uses the file -----------------------------------------------------------------------------
#
# SQLite's locks and its journal belong to one kernel. A network file system is refused by its name
# (`ledger_file`); a folder that a program copies between machines looks like a local disk, so what tells is
# that another machine has used the file a moment ago.

_RECORD: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC

USED_MS: Final = 600_000
"""How long after its last use a ledger counts as used by that machine, in milliseconds."""

TOUCH_MS: Final = 30_000
"""How often a machine says that it still uses the ledger, in milliseconds."""


def record_use(ledger: Path) -> None:
    """Say that this machine uses a ledger that is a file. Raises LedgerUnsafe where another one does.

    Another machine is one with another name and another boot: containers of one machine share its boot, and a
    machine that was started again keeps its name. A record that cannot be read or written says nothing.
    """
    path = ledger.with_name(f"{ledger.name}.machine")
    ours = {"host": socket.gethostname(), "boot": boot_id()}
    with suppress(OSError, ValueError, KeyError, TypeError):
        theirs = json.loads(path.read_text("utf-8"))
        age_ms = (time.time() - path.stat().st_mtime) * 1000
        is_ours = theirs["host"] == ours["host"] or (ours["boot"] != "" and theirs["boot"] == ours["boot"])
        if not is_ours and abs(age_ms) < USED_MS:  # below 0 where its clock is ahead
            since = f"{max(age_ms, 0) / 1000:.0f} s ago"
            raise LedgerUnsafe(
                f"the ledger {ledger} was used on another machine ({theirs['host']}) {since}. A SQLite "
                "ledger belongs to one machine: for several use PostgreSQL, "
                "CALLSHEET_LEDGER_URL=postgresql://... If it was moved here for good, stop what uses it "
                f"there and delete {path}"
            )
        if theirs == ours:
            if age_ms >= TOUCH_MS:
                os.utime(path)
            return
    with suppress(OSError), os.fdopen(os.open(path, _RECORD, 0o600), "w", encoding="utf-8") as file:
        file.write(json.dumps(ours) + "\n")


def boot_id() -> str:
    """Name this boot of this machine; "" where the system does not tell."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return ""
