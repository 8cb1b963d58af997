"""Who works on what: locks that vanish with the process that holds them, and fencing tokens.

A lock says who may begin. On one machine the kernel drops a `flock` with its process; on PostgreSQL the
server drops a session's advisory lock with its connection.

A lock cannot tell a suspended process that it was lost; a fencing token can. Each claim raises a number in
the ledger that only grows, and every write checks, in its own transaction, that it is still the claim's own.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from sqlalchemy import Connection, Engine, bindparam, select, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from callsheet.errors import Busy, ClaimLost, LedgerError
from callsheet.ledger import schema
from callsheet.ledger.steps import chunks

WHOLE = ""
"""The part that means all of a run."""


_of_runs = select(schema.claim.c.run_id, schema.claim.c.part, schema.claim.c.fencing_token).where(
    schema.claim.c.run_id.in_(bindparam("runs", expanding=True))
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A run, or a part of it, with the fencing tokens that must not have changed since it was claimed.

    The owner of a whole run checks every token of the run, the owner of a part its own and the whole's.
    """

    run_id: str
    part: str
    tokens: Mapping[str, int]

    def holds(self, now: Mapping[str, int]) -> bool:
        """Say whether nobody has claimed this since, by the tokens in the ledger."""
        if self.part == WHOLE:
            return now == self.tokens
        return all(now.get(part, 0) == self.tokens.get(part, 0) for part in (WHOLE, self.part))


class Fence:
    """The claims that an open ledger holds, which its writes check."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._claims: tuple[Claim, ...] = ()

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What is claimed; another tuple as soon as that changes."""
        return self._claims

    @contextmanager
    def holding(self, claim: Claim) -> Iterator[None]:
        """Let every write ask for this claim while entered."""
        with self._guard:
            self._claims = (*self._claims, claim)
        try:
            yield
        finally:
            with self._guard:
                self._claims = tuple(each for each in self._claims if each is not claim)

    def check(self, connection: Connection) -> None:
        """Raise ClaimLost, and the transaction then changes nothing, where somebody took a run over."""
        claims = self._claims
        if not claims:
            return
        now = _tokens(connection, {claim.run_id for claim in claims})
        for claim in claims:
            if not claim.holds(now[claim.run_id]):
                raise ClaimLost(
                    f"run {claim.run_id} was taken over by another process while this one stood still; "
                    f"nothing more is done for it here. `callsheet status {claim.run_id}` shows how far it is"
                )


def take(connection: Connection, run_id: str, part: str) -> Claim:
    """Write down that a run, or a part of it, has a new owner. The caller holds its lock."""
    tokens = _tokens(connection, {run_id})[run_id]
    token = tokens.get(part, 0) + 1
    table = schema.claim
    if part in tokens:
        mine = (table.c.run_id == run_id, table.c.part == part)
        connection.execute(table.update().where(*mine).values(fencing_token=token))
    else:
        connection.execute(table.insert(), {"run_id": run_id, "part": part, "fencing_token": token})
    return Claim(run_id, part, {**tokens, part: token})


def _tokens(connection: Connection, run_ids: Collection[str]) -> dict[str, dict[str, int]]:
    """Return by run how often each part of it was claimed."""
    found: dict[str, dict[str, int]] = {run_id: {} for run_id in run_ids}
    for piece in chunks(run_ids):
        rows = connection.execute(_of_runs, {"runs": piece})
        for run_id, part, token in rows:
            found[run_id][part] = token
    return found


Lock = Callable[[str, Literal["shared", "alone"]], AbstractContextManager[bool]]
"""(name, how) -> holds the lock while entered; gives False at once when somebody else has it."""


Missing = Callable[[Connection], str]
"""Names one of the locks that are thought to be held and are not, "" without any."""


def _none_missing(_connection: Connection) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Locks:
    """Named locks between processes."""

    _lock: Lock
    _missing: Missing = _none_missing

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

    def require_held(self, connection: Connection) -> None:
        """Raise ClaimLost, in the transaction of `connection`, where a lock that is claimed is gone."""
        if name := self._missing(connection):
            raise ClaimLost(
                f"the database server ended the session that held {name} for this process (a restart, or the "
                "network), so another process may own it by now; nothing more is bought here, and what is at "
                "fal is finished. `callsheet resume` goes on"
            )


def file_locks(database: Path) -> Locks:
    """Locks as files beside a SQLite ledger. The kernel keeps them for as long as the process lives."""
    folder = database.with_name(f"{database.name}.locks")

    @contextmanager
    def lock(name: str, how: Literal["shared", "alone"]) -> Iterator[bool]:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(folder / _file_name(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LedgerError(f"the ledger's locks in {folder} cannot be made: {error.strerror}") from error
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
    """Locks as advisory locks of one PostgreSQL session, which is there while any of them is held.

    However many runs are claimed, they cost one connection; the ledger's own work keeps the rest of the pool.
    """
    session = _ServerSession(engine)
    return Locks(session.lock, session.missing)


class _ServerSession:
    """One session for all locks of an open ledger.

    The server lets a session take its own lock again, so what is held here is counted here as well.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._guard = threading.Lock()
        self._session: Connection | None = None
        self._schema = ""
        self._pid = 0
        self._held: list[tuple[str, str]] = []

    @contextmanager
    def lock(self, name: str, how: Literal["shared", "alone"]) -> Iterator[bool]:
        """Hold the lock while entered. Raises LedgerError where the server cannot be asked."""
        with self._guard:
            session = self._taken(name, how)
        try:
            yield session is not None
        finally:
            if session is not None:
                with self._guard:
                    self._give_back(session, name, how)

    def missing(self, connection: Connection) -> str:
        """Ask on another connection, in its transaction, whether the session still has all its locks.

        Under the guard: no lock may be given back between the count here and the server's.
        """
        with self._guard:
            held = set(self._held)
            if not held:
                return ""
            found: int = connection.execute(_LOCKS_OF, {"pid": self._pid}).scalar_one()
            return "" if found >= len(held) else min(name for name, _ in held).replace("-", " ", 1)

    def _taken(self, name: str, how: str) -> Connection | None:
        """Return the session that has taken the lock; None where somebody else has it."""
        if any(other == name and "alone" in (how, others) for other, others in self._held):
            return None
        try:
            session = self._open()
            got = session.execute(text(f"SELECT pg_try_advisory_lock{_SUFFIX[how]}(:key)"), self._key(name))
            if got.scalar_one():
                self._held.append((name, how))
                return session
        except SQLAlchemyError as error:
            self._drop_if_lost()
            said = str(error.orig if isinstance(error, DBAPIError) else error).strip()
            raise LedgerError(f"the ledger's locks cannot be reached: {said}") from error
        self._close_if_idle()
        return None

    def _give_back(self, session: Connection, name: str, how: str) -> None:
        self._held.remove((name, how))
        if session is self._session:  # a lost session has given its locks back already
            try:
                session.execute(text(f"SELECT pg_advisory_unlock{_SUFFIX[how]}(:key)"), self._key(name))
            except SQLAlchemyError:
                self._drop_if_lost()
        self._close_if_idle()

    def _open(self) -> Connection:
        if self._session is None:
            self._session = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._schema, self._pid = self._session.execute(_WHO).one()
        return self._session

    def _close_if_idle(self) -> None:
        if self._session is not None and not self._held:
            self._session.close()
            self._session = None

    def _drop_if_lost(self) -> None:
        """After an error: forget a session that the server has ended, or that holds nothing else.

        One that is alive stays, for ending it would give back what others still work under.
        """
        session = self._session
        if session is None or (self._held and not session.invalidated):
            return
        self._session = None
        with suppress(SQLAlchemyError):
            session.invalidate()  # it must not go back into the pool with a lock on it
        with suppress(SQLAlchemyError):
            session.close()

    def _key(self, name: str) -> dict[str, int]:
        return {"key": _advisory_key(f"{self._schema}/{name}")}


_WHO = text("SELECT current_schema(), pg_backend_pid()")
_LOCKS_OF = text("SELECT COUNT(*) FROM pg_locks WHERE pid = :pid AND locktype = 'advisory' AND granted")
_SUFFIX = {"shared": "_shared", "alone": ""}


def _file_name(name: str) -> str:
    escaped = quote(name, safe="")
    return escaped if len(escaped) <= 200 else hashlib.sha256(name.encode()).hexdigest()


def _advisory_key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
