"""Opening the database, and the only two ways of using it: a read and a write, each one transaction."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import local
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from callsheet.errors import LedgerError, LedgerUnsafe, UsageError
from callsheet.files import full_folder, temporary_folder
from callsheet.ledger import postgres, schema, sqlite
from callsheet.ledger.locks import Claim, Fence, Locks, file_locks, server_locks, take
from callsheet.ledger.transaction import Access, Declaration

_POSTGRES_NAMES: Final = frozenset({"postgres", "postgresql", "postgresql+psycopg"})

_SHOWN_OPTIONS: Final = frozenset({"host", "port", "dbname"})
"""What of a URL's options is shown: the others may be a password."""

_FAILURES: Final = (sa.exc.SQLAlchemyError, sqlite3.Error, OSError, OverflowError, UnicodeError)
"""What using a database fails with: its own errors and those of its pool, files and sockets, and values that
no column takes (a number beyond 64 bits, half of a surrogate pair)."""

_NO_ROOM: Final = ("disk is full", "SQLITE_IOERR_SHMSIZE", "No space left on device")
"""How SQLite (its data, and the index of its journal) and PostgreSQL say that a disk is full."""


class _Group(local):
    """The transaction that this thread's verbs are parts of, and what the database undid all of it for."""

    connection: sa.Connection | None = None
    undone_by: BaseException | None = None
    asked_for: tuple[Claim, ...] = ()


@dataclass(frozen=True, slots=True)
class Database:
    """One database. `file` is None on PostgreSQL; `label` names it without anything secret.

    `file_id` tells the file that was opened from one that is put into its place later.
    """

    engine: sa.Engine
    label: str
    file: Path | None
    locks: Locks
    file_id: sqlite.FileId | None = None
    fence: Fence = field(default_factory=Fence)
    _group: _Group = field(default_factory=_Group)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let what this thread reads and writes meanwhile be one transaction, on disk when the context ends.

        Each write is still done whole or not at all, asks for its own claim, and can be undone by its own
        exception. Where the context raises, none of them has happened.
        """
        around = self._group.connection
        with self._transaction() as connection:
            self._group.connection = connection
            try:
                yield
            finally:
                self._group.connection = around

    def is_being_written(self) -> bool:
        """Say, without waiting, whether somebody else writes just now. Of a server it is not known: False."""
        with self.errors_named():
            return self.file is not None and sqlite.is_being_written(self.engine)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One consistent view of the ledger, whatever is written meanwhile; writes nothing."""
        if (grouped := self._group.connection) is not None:
            with self.errors_named():
                yield grouped
            return
        options: dict[str, Any] = {"reads": True}
        if self.file is None:
            options["isolation_level"] = "REPEATABLE READ"
        with self.errors_named(), self.engine.execution_options(**options).connect() as connection:
            yield connection

    @contextmanager
    def write(self, *, fenced: bool = True) -> Iterator[sa.Connection]:
        """One transaction that no other writer runs beside: on disk at the end, undone by any exception.

        Raises ClaimLost where a run that is claimed here was taken over; not so with `fenced` off, which is
        for what stays true whoever owns the run.
        """
        with self._transaction() as connection:
            if fenced:
                self._ask_for_claims(connection)
            yield connection

    @contextmanager
    def transaction(self, declared: Declaration) -> Iterator[sa.Connection]:
        """The transaction of a verb that is declared like this."""
        if declared.access is Access.READ:
            with self.read() as connection:
                yield connection
            return
        with self.write(fenced=declared.fenced) as connection:
            if declared.access is Access.PURCHASE:
                self._require_own_file()
                self.locks.require_held(connection)
            yield connection

    def _require_own_file(self) -> None:
        """Raise LedgerUnsafe where the file was deleted or replaced: what is written now is lost with us."""
        if self.file is not None and sqlite.file_id(self.file) != self.file_id:
            raise LedgerUnsafe(
                f"the ledger's file {self.label} was deleted or replaced while it was open; nothing more is "
                "bought. Put the newest copy back, then run `callsheet reconcile`"
            )

    def _ask_for_claims(self, connection: sa.Connection) -> None:
        """Raise ClaimLost where one was lost. Nobody else writes in a transaction: once in each is enough."""
        claims = self.fence.claims
        if self._group.asked_for is not claims:
            self.fence.check(connection)
        self._group.asked_for = claims

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        """A transaction of its own, or a part of the one around it that can be undone alone."""
        if (grouped := self._group.connection) is not None:
            with self.errors_named(), self._part_of(grouped):
                yield grouped
            return
        self._group.undone_by, self._group.asked_for = None, ()
        with self.errors_named(), self.engine.begin() as connection:
            if self.file is None:
                postgres.lock_head(connection)
            yield connection
            self._require_whole(connection)

    @contextmanager
    def _part_of(self, grouped: sa.Connection) -> Iterator[None]:
        self._require_whole(grouped)
        part = grouped.begin_nested()
        try:
            yield
        except BaseException as error:
            if self._is_whole(grouped):
                part.rollback()
            else:
                self._group.undone_by = self._group.undone_by or error
            raise
        part.commit()

    def _require_whole(self, connection: sa.Connection) -> None:
        """Raise LedgerError where the database has undone the whole transaction by itself.

        A full disk, a lost connection or a statement that was cut off does that. SQLite would begin another
        transaction with the next part, and a commit after it says nothing on either database.
        """
        if not self._is_whole(connection):
            cause = self._group.undone_by
            why = _said(cause, self.file) if cause is not None else "the database undid it"
            raise LedgerError(f"the ledger {self.label} did not do it: {why}")

    def _is_whole(self, connection: sa.Connection) -> bool:
        if connection.invalidated:
            return False
        if self.file is None:
            return postgres.is_in_transaction(connection)
        return sqlite.is_in_transaction(connection)

    @contextmanager
    def claim(self, run_id: str, part: str) -> Iterator[None]:
        """Own a run, or one part of it: its lock is held, and its number in the ledger is this owner's."""
        with self.locks.claim(run_id, part):
            with self.write() as connection:
                mine = take(connection, run_id, part)
            with self.fence.holding(mine):
                yield

    @contextmanager
    def outside(self) -> Iterator[sa.Connection]:
        """A connection that is in no transaction, which is what VACUUM needs."""
        with self.errors_named(), self.engine.connect() as connection:
            connection.exec_driver_sql("COMMIT")
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextmanager
    def errors_named(self) -> Iterator[None]:
        """Turn whatever using the database fails with into LedgerError; our own errors pass."""
        try:
            yield
        except _FAILURES as error:
            raise LedgerError(f"the ledger {self.label} did not do it: {_said(error, self.file)}") from error


def _said(error: BaseException, file: Path | None) -> str:
    """Return a database error's own words, and which disk is full where it is about that.

    SQLite has one error for the ledger's disk and for that of its temporary files.
    """
    driver = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    said = str(driver).strip() or type(error).__name__
    if any(words in f"{said} {getattr(driver, 'sqlite_errorname', '')}" for words in _NO_ROOM):
        full = full_folder(file.parent, temporary_folder()) if file else None
        said += (
            f". Free some space {f'in {full}' if full else 'on the disk that is full'}; requests that were "
            "already sent are in the ledger, or found by `callsheet reconcile`"
        )
    return said


def open_database(url: str) -> Database:
    """Open `sqlite:////path/to/file` or `postgresql://...`, creating the tables where there are none.

    Raises UsageError for any other URL, LedgerUnsafe where the database would not keep what it acknowledges
    or was written by another version, LedgerError where it cannot be reached.
    """
    database = _connect_lazily(_parsed(url))
    try:
        with database.errors_named():
            create_or_check(database.engine, database.label)
    except BaseException:
        database.close()
        raise
    return database


_CREATE_LOCK: Final = 0x63616C6C73686565  # "callshee": this number is ours on whatever server


def create_or_check(engine: sa.Engine, label: str) -> None:
    """Create the tables in an empty database, in one transaction; refuse those of another version.

    Two processes may try at once: the second one waits and finds it done. Raises LedgerUnsafe.
    """
    with engine.execution_options(reads=True).connect() as connection:
        if engine.dialect.name == "postgresql":
            postgres.refuse_unsafe(connection)
        if _has_tables(connection, label):
            return
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CREATE_LOCK)))
        if not _has_tables(connection, label):
            schema.metadata.create_all(connection, checkfirst=False)
            # An output folder can tell a ledger from its older copy or from another one by its id.
            head = {"id": 1, "schema_version": schema.VERSION, "ledger_id": secrets.token_hex(16)}
            connection.execute(schema.ledger_head.insert(), {**head, "entries": 0, "head": ""})


def _has_tables(connection: sa.Connection, label: str) -> bool:
    """Whether the ledger exists. Raises LedgerUnsafe for tables that this version cannot use."""
    names = set(sa.inspect(connection).get_table_names())
    if "ledger_head" not in names:
        if {"gate", "entry"} <= names:
            raise LedgerUnsafe(_other_version(label, "an earlier development version of Callsheet"))
        if taken := names & set(schema.metadata.tables):
            raise LedgerUnsafe(f"{label} has tables that are not Callsheet's: {', '.join(sorted(taken))}")
        return False
    version = connection.exec_driver_sql("SELECT schema_version FROM ledger_head").scalar_one()
    if version > schema.VERSION:
        raise LedgerUnsafe(
            f"the ledger {label} was written by a newer Callsheet (schema {version}); update Callsheet"
        )
    if version < schema.VERSION:
        raise LedgerUnsafe(_other_version(label, f"an earlier Callsheet (schema {version})"))
    return True


def _other_version(label: str, writer: str) -> str:
    return (
        f"the ledger {label} was written by {writer}, which this one cannot read; nothing was changed. "
        "Finish its runs with that version, then keep the old ledger and name a new one with "
        "CALLSHEET_LEDGER_URL"
    )


def _connect_lazily(url: URL) -> Database:
    if url.drivername == "sqlite":
        file = sqlite.ledger_file(url)
        file_id = sqlite.file_id(file)
        return Database(sqlite.engine_for(file), str(file), file, file_locks(file), file_id)
    shown = {name: value for name, value in url.query.items() if name in _SHOWN_OPTIONS}
    label = url.set(query=shown).render_as_string(hide_password=True)
    try:
        engine = postgres.engine_for(url)
    except (sa.exc.ArgumentError, ValueError):
        raise UsageError(_UNREADABLE) from None
    return Database(engine, label, None, server_locks(engine))


_UNREADABLE: Final = (
    "the ledger's URL cannot be read; use sqlite:////path or postgresql://..., and write @ as %40 within a "
    "password"
)
"""The URL itself is not shown, nor is what refused it kept as a cause: it may hold a password."""


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise UsageError(_UNREADABLE) from None
    if "@" in f"{parsed.host}{parsed.database}" and parsed.drivername != "sqlite":
        raise UsageError(_UNREADABLE)  # the rest of a password would be shown as the host
    if parsed.drivername != "sqlite" and parsed.drivername not in _POSTGRES_NAMES:
        raise UsageError(f"a ledger is kept in sqlite or postgresql, not in {parsed.drivername!r}")
    return parsed
