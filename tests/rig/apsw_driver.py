"""Just enough of Python's database interface over apsw for SQLAlchemy to run the ledger's own SQL."""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import apsw

Error = sqlite3.Error
DatabaseError = sqlite3.DatabaseError
IntegrityError = sqlite3.IntegrityError
OperationalError = sqlite3.OperationalError
ProgrammingError = sqlite3.ProgrammingError
InterfaceError = sqlite3.InterfaceError
NotSupportedError = sqlite3.NotSupportedError
DataError = sqlite3.DataError
InternalError = sqlite3.InternalError
Warning = sqlite3.Warning  # noqa: A001 - the interface's own name
paramstyle = "qmark"
apilevel = "2.0"
threadsafety = 1
sqlite_version = apsw.sqlite_lib_version()
sqlite_version_info = tuple(map(int, sqlite_version.split(".")))
Binary = bytes
PARSE_DECLTYPES = PARSE_COLNAMES = 0


class Cursor:
    """One statement's results."""

    arraysize = 1

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._rows: Iterator[Any] = iter(())
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid = 0

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> "Cursor":
        """Run one statement to its end."""
        before = self._connection.total_changes()
        cursor = self._connection.cursor()
        cursor.exec_trace = self._describe
        cursor.execute(statement, tuple(parameters))
        self._rows = iter(cursor.fetchall())
        self.rowcount = self._connection.total_changes() - before
        self.lastrowid = self._connection.last_insert_rowid()
        return self

    def _describe(self, cursor: apsw.Cursor, _statement: str, _parameters: Any) -> bool:
        # Asked before the statement runs: apsw does not tell the columns of a result that has no rows.
        self.description = [(column[0], *[None] * 6) for column in cursor.get_description()] or None
        return True

    def executemany(self, statement: str, many: Sequence[Sequence[Any]]) -> "Cursor":
        """Run one statement for every row."""
        before = self._connection.total_changes()
        self._connection.cursor().executemany(statement, [tuple(each) for each in many])
        self.description, self.rowcount = None, self._connection.total_changes() - before
        return self

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        return next(self._rows, None)

    def fetchmany(self, size: int = 1) -> list[Any]:
        """Return the next rows."""
        return [row for _, row in zip(range(size), self._rows, strict=False)]

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        return list(self._rows)

    def close(self) -> None:
        """Nothing is held."""


class Connection:
    """A connection that begins and ends transactions only when it is told to."""

    isolation_level: str | None = None

    def __init__(self, path: str, vfs: str) -> None:
        self.real = apsw.Connection(path, vfs=vfs)
        self.real.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open; a full disk ends one by itself."""
        return bool(self.real.in_transaction)

    def cursor(self) -> Cursor:
        """Return a cursor."""
        return Cursor(self.real)

    def execute(self, statement: str) -> Cursor:
        """Run one statement."""
        return self.cursor().execute(statement)

    def create_function(self, name: str, arguments: int, function: Any, **_: Any) -> None:
        """SQLAlchemy brings a function for regular expressions."""
        self.real.create_scalar_function(name, function, arguments)

    def commit(self) -> None:
        """Commit, where a transaction is open."""
        if self.real.in_transaction:
            self.real.execute("COMMIT")

    def rollback(self) -> None:
        """Undo, where a transaction is open."""
        if self.real.in_transaction:
            self.real.execute("ROLLBACK")

    def close(self) -> None:
        """Close."""
        self.real.close()
