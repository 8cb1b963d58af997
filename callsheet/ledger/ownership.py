"""Who works on what: locks that vanish with the process that holds them.

Time never decides that an owner is dead. On one machine the kernel drops a `flock` with its process; on
PostgreSQL the server drops a session's advisory lock with its connection.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from callsheet.errors import Busy

Lock = Callable[[str, Literal["shared", "alone"]], AbstractContextManager[bool]]
"""(name, how) -> holds the lock while entered; gives False at once when somebody else has it."""


@dataclass(frozen=True, slots=True)
class Locks:
    """Named locks between processes."""

    _lock: Lock

    @contextmanager
    def claim(self, run_id: str, part: str) -> Iterator[None]:
        """Own a whole run (`part` empty), or one part of it while others own other parts.

        Raises Busy at once when somebody alive owns it.
        """
        with ExitStack() as held:
            free = held.enter_context(self._lock(f"run-{run_id}", "shared" if part else "alone"))
            if free and part:
                free = held.enter_context(self._lock(f"part-{run_id}-{part}", "alone"))
            if not free:
                what = f"part {part} of run {run_id}" if part else f"run {run_id}"
                raise Busy(f"{what} is being worked on by another process; wait for it or stop it first")
            yield


def file_locks(database: Path) -> Locks:
    """Locks as files beside a SQLite ledger."""
    folder = database.with_name(f"{database.name}.locks")

    @contextmanager
    def lock(name: str, how: Literal["shared", "alone"]) -> Iterator[bool]:
        folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(folder / _file_name(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            mode = fcntl.LOCK_SH if how == "shared" else fcntl.LOCK_EX
            try:
                fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)  # the file stays: removing it would let two owners lock two files

    return Locks(lock)


def server_locks(engine: Engine) -> Locks:
    """Locks as advisory locks of a PostgreSQL session of their own."""

    @contextmanager
    def lock(name: str, how: Literal["shared", "alone"]) -> Iterator[bool]:
        shared = "_shared" if how == "shared" else ""
        with engine.connect() as plain:
            session = plain.execution_options(isolation_level="AUTOCOMMIT")
            schema = session.execute(text("SELECT current_schema()")).scalar_one()
            key = {"key": _advisory_key(f"{schema}/{name}")}
            got = session.execute(text(f"SELECT pg_try_advisory_lock{shared}(:key)"), key).scalar_one()
            try:
                yield bool(got)
            finally:
                if got:
                    _unlock(session, shared, key)

    return Locks(lock)


def _unlock(session: Connection, shared: str, key: dict[str, int]) -> None:
    with suppress(DBAPIError):  # a lost connection has given its locks back already
        session.execute(text(f"SELECT pg_advisory_unlock{shared}(:key)"), key)


def _file_name(name: str) -> str:
    escaped = quote(name, safe="")
    return escaped if len(escaped) <= 200 else hashlib.sha256(name.encode()).hexdigest()


def _advisory_key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
