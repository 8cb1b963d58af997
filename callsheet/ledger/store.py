"""The open ledger: where verbs are executed.

`ledger.do(admission.admit, job_id, slots=10)` runs a verb in one transaction: it happens whole and is on disk
when it returns, or it raises and nothing has changed. The verbs are functions in `admission`, `transitions`,
`settlement`, `recovery`, `runs`, `queries`, `history` and `verify`. All raise LedgerError when the database
itself fails.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from callsheet.errors import UsageError
from callsheet.ledger.database import Database, open_database
from callsheet.ledger.transaction import Access, Transaction, Verb

P = ParamSpec("P")
T = TypeVar("T")

Clock = Callable[[], int]
"""Gives the time in whole milliseconds since 1970, UTC."""


def wall_clock_ms() -> int:
    """Return the machine's own time."""
    return time.time_ns() // 1_000_000


class Ledger:
    """An open ledger. A context manager; to be used from one thread at a time."""

    def __init__(self, database: Database, clock: Clock = wall_clock_ms) -> None:
        self._database = database
        self._clock = clock

    @classmethod
    def open(cls, url: str, *, clock: Clock = wall_clock_ms) -> Ledger:
        """Open the ledger at `sqlite:///path` or `postgresql://...`, creating it where there is none.

        Raises UsageError for another kind of URL, LedgerUnsafe for a database that does not keep what it
        acknowledges or that another version wrote, LedgerError when it cannot be opened.
        """
        return cls(open_database(url), clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def label(self) -> str:
        """What the ledger is called in messages: its file, or its URL without the password."""
        return self._database.label

    @property
    def folder(self) -> Path | None:
        """The folder of a ledger that is a file; None on a server."""
        return self._database.file.parent if self._database.file else None

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    def is_being_written(self) -> bool:
        """Say, without waiting, whether somebody else writes into a ledger that is a file just now."""
        return self._database.is_being_written()

    def do(self, verb: Verb[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Execute a verb in a transaction as it declares it.

        Raises ClaimLost, and changes nothing, where a run that is claimed here was taken over. A verb that
        returns an iterator is executed with `stream`.
        """
        with self._database.transaction(verb.declared) as connection:
            return verb(Transaction(connection, self._clock(), verb.declared.access), *args, **kwargs)

    def stream(self, verb: Verb[P, Iterator[T]], *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        """Yield what a reading verb returns, all of one moment, without holding all of it in memory."""
        with self._database.read() as connection:
            yield from verb(Transaction(connection, self._clock(), Access.READ), *args, **kwargs)

    def together(self) -> AbstractContextManager[None]:
        """Let the verbs that this thread executes meanwhile share one commit, which is what takes the time.

        What they return is true only once the context has ended: where it raises LedgerError, none of them
        has happened. A verb that raises has changed nothing, and the others go on.
        """
        return self._database.together()

    def claim(self, run_id: str, *, part: str = "") -> AbstractContextManager[None]:
        """Own a run while the context is entered, or one `part` of it while others own other parts.

        The lock vanishes with the process. Raises Busy when somebody alive owns it. From here on every verb
        of this ledger raises ClaimLost, and changes nothing, once somebody else has claimed the same; a
        purchase also where the lock is gone and nobody has yet.
        """
        return self._database.claim(run_id, part)

    def backup(self, path: Path) -> None:
        """Copy a SQLite ledger as it is now into a new file (0600), whole or not at all.

        Raises UsageError when the file exists or the ledger is on a server (use pg_dump there).
        """
        if self._database.file is None:
            raise UsageError("this ledger is on a PostgreSQL server; back it up with pg_dump")
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            raise UsageError(f"{path} exists already; a backup never writes over a file") from None
        except OSError as error:
            raise UsageError(f"{path} cannot be made: {error.strerror}") from error
        try:
            with self._database.outside() as connection:
                connection.exec_driver_sql("VACUUM INTO ?", (str(path),))
        except BaseException:
            path.unlink()  # half a copy must not be taken for one
            raise
