"""The database of a ledger, and the only two ways of using it: a read and a write, each one transaction.

Each verb is executed in a transaction of its own (see `callsheet.ledger.transaction`). Verbs are functions in
`admission`, `transitions`, `settlement`, `recovery`, `finishing`, `runs`, `parts`, `queries`, `history`,
`activity`, `reviews` and `verify`. All raise LedgerError when the database itself fails.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from threading import local
from typing import Any, Final, ParamSpec, Self, TypeVar

import sqlalchemy as sa

from callsheet.errors import Busy, LedgerError, LedgerUnavailable, LedgerUnsafe
from callsheet.files import full_folder, temporary_folder
from callsheet.ledger import postgres, schema, sqlite
from callsheet.ledger.locks import Claim, Claims, busy_message
from callsheet.ledger.transaction import Access, Declaration, Transaction, Verb, write
from callsheet.wording import command

P = ParamSpec("P")
T = TypeVar("T")

_LEDGER_ID: Final = sa.select(schema.ledger_head.c.ledger_id)

_FAILURES: Final = (sa.exc.SQLAlchemyError, sqlite3.Error, OSError, OverflowError, UnicodeError)
"""What using a database fails with: its own errors and those of its pool, files and sockets, and values that
no column takes (a number beyond 64 bits, half of a surrogate pair)."""

_NO_ROOM: Final = ("disk is full", "SQLITE_IOERR_SHMSIZE", "No space left on device")
"""How SQLite (its data, and the index of its journal) and PostgreSQL say that a disk is full."""

_DAMAGED: Final = ("SQLITE_CORRUPT", "SQLITE_NOTADB")

Clock = Callable[[], int]
"""Gives the time in whole milliseconds since 1970, UTC."""


def wall_clock_ms() -> int:
    """Return the machine's own time."""
    return time.time_ns() // 1_000_000


class _Group(local):
    """The transaction that this thread's verbs are parts of, and what the database undid all of it for."""

    connection: sa.Connection | None = None
    undone_by: BaseException | None = None
    asked_for: tuple[Claim, ...] = ()
    now_ms: int = 0


class Database:
    """One database, which a ledger is kept in.

    `file` is None on PostgreSQL; `label` names it in messages, without anything secret. `clock` replaces the
    database's own time.
    """

    def __init__(
        self, engine: sa.Engine, *, label: str, file: Path | None, clock: Clock | None = None
    ) -> None:
        self.label = label
        self.file = file
        self.id = ""
        self._inode: tuple[int, int] | None = None
        self._engine = engine
        self._clock = clock
        self._claims = Claims(engine if file is None else None, in_sandbox=self.is_sandbox)
        self._locks = None if file is None else sqlite.FileLocks(file)
        self._group = _Group()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    @property
    def folder(self) -> Path | None:
        """The folder of a ledger that is a file; None on a server."""
        return self.file.parent if self.file else None

    @property
    def is_sandbox(self) -> bool:
        """Whether it is the sandbox's own file, which commands find with `--sandbox`."""
        return self.folder is not None and self.folder.name == "sandbox"

    def do(self, verb: Verb[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Execute a verb in a transaction as it declares it.

        Raises ClaimLost, and changes nothing, where a run that is claimed here was taken over. A verb that
        returns an iterator is executed with `stream`.
        """
        with self.transaction(verb.declared) as tx:
            return verb(tx, *args, **kwargs)

    def stream(self, verb: Verb[P, Iterator[T]], *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        """Yield what a reading verb returns, all of one moment, without holding all of it in memory."""
        with self.transaction(verb.declared) as tx:
            yield from verb(tx, *args, **kwargs)

    def note_origin(self) -> None:
        """Keep which ledger this is: its random id, and the file's device and number."""
        with self._read() as connection:
            self.id = connection.execute(_LEDGER_ID).scalar_one()
        if self.file is not None:
            self._inode = sqlite.inode_of(self.file)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let the verbs that this thread executes meanwhile share one commit, which is what takes the time.

        What they return is true only once the context has ended: where it raises LedgerError, none of them
        has happened. A verb that raises has changed nothing, and the others go on.
        """
        around = self._group.connection
        with self._transaction() as connection:
            self._group.connection = connection
            try:
                yield
            finally:
                self._group.connection = around

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        """One consistent view of the ledger, whatever is written meanwhile; writes nothing."""
        if (grouped := self._group.connection) is not None:
            with self._errors_named(), self._noting_what_undid_all(grouped):
                yield grouped
            return
        options: dict[str, Any] = {"reads": True}
        if self.file is None:
            options["isolation_level"] = "REPEATABLE READ"
        with self._errors_named(), self._engine.execution_options(**options).connect() as connection:
            yield connection

    @contextmanager
    def _write(self, *, fenced: bool = True) -> Iterator[sa.Connection]:
        """One transaction that no other writer runs beside: on disk at the end, undone by any exception.

        Raises ClaimLost where a run that is claimed here was taken over; not so with `fenced` off, which is
        for what stays true if another process owns the run.
        """
        with self._transaction() as connection:
            if fenced:
                self._ask_for_claims(connection)
            yield connection

    @contextmanager
    def transaction(self, declared: Declaration) -> Iterator[Transaction]:
        """The transaction of a verb that is declared like this."""
        if declared.access is Access.READ:
            with self._read() as connection:
                now_ms = partial(self._clock_ms, connection)
                yield Transaction(connection, now_ms, Access.READ, self._locks, self.label)
            return
        with self._write(fenced=declared.fenced) as connection:
            begun_ms = self._group.now_ms
            yield Transaction(connection, lambda: begun_ms, declared.access, self._locks, self.label)
            if declared.access is Access.PURCHASE:
                self._require_lasting(connection)

    def _require_lasting(self, connection: sa.Connection) -> None:
        """Raise where the write would not count: the file is gone, or a lease was taken over."""
        self._require_same_ledger(connection)
        self._claims.extend(connection)

    def require_same_ledger(self) -> None:
        """Raise LedgerUnsafe where the open file was deleted or replaced. Every purchase checks it, too."""
        with self._read() as connection:
            self._require_same_ledger(connection)

    def _require_same_ledger(self, connection: sa.Connection) -> None:
        ledger_id = connection.execute(_LEDGER_ID).scalar_one()
        if self.file is not None:
            sqlite.record_use(self.file)
            if self._inode != sqlite.inode_of(self.file):
                raise LedgerUnsafe(
                    f"the ledger {self.label} was deleted or replaced while this process used it; nothing "
                    "more is bought. Put the file back, then run `callsheet doctor` and "
                    f"`{command('resume', sandbox=self.is_sandbox)}`"
                )
        if ledger_id != self.id:
            raise LedgerUnsafe(
                f"{self.label} is another ledger than the one that was opened; nothing more is bought"
            )

    def _ask_for_claims(self, connection: sa.Connection) -> None:
        """Raise ClaimLost if a claim was lost. Once in a transaction is enough: no other one writes."""
        claims = self._claims.held
        if self._group.asked_for is not claims:
            self._claims.check(connection)
        self._group.asked_for = claims

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        """A transaction of its own, or a part of the one around it that can be undone alone."""
        if (grouped := self._group.connection) is not None:
            with self._errors_named(), self._part_of(grouped):
                yield grouped
            return
        self._group.undone_by, self._group.asked_for = None, ()
        with self._errors_named(), self._engine.begin() as connection:
            server_ms = postgres.lock_head(connection) if self.file is None else None
            self._group.now_ms = self._clock_ms(connection) if self._clock or server_ms is None else server_ms
            yield connection
            self._require_whole(connection)

    def _clock_ms(self, connection: sa.Connection) -> int:
        """Return the ledger's own time: the server's, or this machine's for a file; `clock` replaces it."""
        if self._clock is None and self.file is None:
            return postgres.now_ms(connection)
        return (self._clock or wall_clock_ms)()

    @contextmanager
    def _part_of(self, grouped: sa.Connection) -> Iterator[None]:
        self._require_whole(grouped)
        with self._noting_what_undid_all(grouped):
            part = grouped.begin_nested()
            try:
                yield
            except BaseException:
                if self._is_whole(grouped):
                    part.rollback()
                raise
            part.commit()

    @contextmanager
    def _noting_what_undid_all(self, grouped: sa.Connection) -> Iterator[None]:
        """Keep the first error after which nothing of the transaction is left, for whoever ends it."""
        try:
            yield
        except BaseException as error:
            if not self._is_whole(grouped):
                self._group.undone_by = self._group.undone_by or error
            raise

    def _require_whole(self, connection: sa.Connection) -> None:
        """Raise LedgerError where the database has undone the whole transaction by itself.

        A full disk, a lost connection or a statement that was cut off does that. SQLite would begin another
        transaction with the next part, and a commit after it says nothing on either database.
        """
        if not self._is_whole(connection):
            raise self._as_ours(self._group.undone_by)

    def _is_whole(self, connection: sa.Connection) -> bool:
        if connection.invalidated:
            return False
        if self.file is None:
            return postgres.is_in_transaction(connection)
        return sqlite.is_in_transaction(connection)

    @contextmanager
    def claim(self, run_id: str, *, part: str = "") -> Iterator[None]:
        """Own a run while the context is entered, or one `part` of it while others own other parts.

        Raises Busy if a living process owns it. From here on every verb of this ledger raises ClaimLost, and
        changes nothing, once another process has claimed the same. See `callsheet.ledger.locks`.
        """
        with self._locks.holding(run_id, part) if self._locks else nullcontext(enter_result=True) as free:
            if not free:
                raise Busy(busy_message(run_id, part, None))
            with self.transaction(write()) as tx:
                mine = self._claims.take(tx.connection, run_id, part, tx.lease_ms)
            try:
                with self._claims.holding(mine):
                    yield
            finally:
                if self._claims.leased:
                    self._give_back(mine)

    def _give_back(self, mine: Claim) -> None:
        """End a lease; where the server is away, it ends by itself."""
        with suppress(LedgerError), self._write(fenced=False) as connection:
            self._claims.give_back(connection, mine)

    def renew(self) -> None:
        """Make sure of every claim after the server was away. See `callsheet.ledger.locks`.

        Raises LedgerUnavailable while the server cannot be reached, ClaimLost where a run was taken over.
        """
        with self._write() as connection:
            self._require_lasting(connection)

    @contextmanager
    def _outside(self) -> Iterator[sa.Connection]:
        """A connection that is in no transaction, which is what VACUUM needs."""
        with self._errors_named(), self._engine.connect() as connection:
            connection.exec_driver_sql("COMMIT")
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        """Turn whatever using the database fails with into LedgerError; our own errors pass."""
        try:
            yield
        except _FAILURES as error:
            raise self._as_ours(error) from error

    def _as_ours(self, error: BaseException | None) -> LedgerError:
        """Return the error of a database as ours; None where it has undone a transaction and says no more."""
        said = (
            "the database undid it" if error is None else _said(error, self.file, in_sandbox=self.is_sandbox)
        )
        if error is not None and self.file is None and postgres.is_unavailable(error):
            return LedgerUnavailable(f"the ledger {self.label} cannot be reached: {said}")
        return LedgerError(f"the ledger {self.label} did not do it: {said}")


def lacks_room(driver: BaseException | None) -> bool:
    """Say whether a database's own error is about a full disk."""
    said = f"{driver} {getattr(driver, 'sqlite_errorname', '')}"
    return any(words in said for words in _NO_ROOM)


def _said(error: BaseException, file: Path | None, *, in_sandbox: bool) -> str:
    """Return a database error's own words, and which disk is full where it is about that.

    SQLite has one error for the ledger's disk and for that of its temporary files.
    """
    driver = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    said = str(driver).strip() or type(error).__name__
    if lacks_room(driver):
        full = full_folder(file.parent, temporary_folder()) if file else None
        said += (
            f". Free some space {f'in {full}' if full else 'on the disk that is full'}; requests that were "
            f"already sent are in the ledger, or found by `{command('reconcile', sandbox=in_sandbox)}`"
        )
    elif getattr(driver, "sqlite_errorname", "") in _DAMAGED:
        said += (
            '. Do not use it; see docs/operations.md, "The ledger is damaged", for how to restore a copy, or '
            "name the ledger's file with CALLSHEET_LEDGER_URL"
        )
    return said
