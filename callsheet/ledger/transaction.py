"""Verbs: functions on one transaction, which say themselves how they are to be executed.

A verb is a function whose first parameter is a `Transaction`. `read`, `write` and `purchase` declare it:

    @write(short=True, urgent=True)
    def render(tx: Transaction, job_id: int, ...) -> None: ...

`Ledger.do(transitions.render, job_id, ...)` runs it in a transaction of its own: it happens whole and is on
disk when it returns, or it raises and nothing has changed. Within another verb it is called like a function,
`transitions.render(tx, job_id, ...)`, and is part of that verb's transaction.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from itertools import islice
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    CursorResult,
    Executable,
    Row,
    Select,
    Table,
    Text,
    any_,
    bindparam,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY

from callsheet.errors import LedgerError
from callsheet.ledger import postgres
from callsheet.ledger.sqlite import FileLocks

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


CHUNK = 500
"""Ids per statement: SQLite takes 999 parameters in its older builds."""


ROWS_AT_ONCE = 500
"""Rows of a long result that the database hands over at a time."""


def chunks(items: Iterable[Any], size: int = CHUNK) -> Iterator[Sequence[Any]]:
    """Cut into pieces that fit one statement."""
    iterator = iter(items)
    while piece := list(islice(iterator, size)):
        yield piece


class Access(IntEnum):
    """What a verb needs; a higher access includes the lower ones."""

    READ = 0  # one consistent view; no other transaction waits for it
    WRITE = 1  # the only writer, whose claims still hold
    PURCHASE = 2  # a write that a POST may follow: also the lock of every claim must still be held


@dataclass(frozen=True)
class Transaction:
    """One transaction of the ledger. `clock` gives its time in Unix milliseconds.

    `locks` are those of the runs of a ledger that is a file; None on a server. `ledger` is what messages
    call it.
    """

    connection: Connection
    clock: Callable[[], int]
    access: Access
    locks: FileLocks | None
    ledger: str

    @cached_property
    def at_ms(self) -> int:
        """The time of this transaction by the ledger's own clock, in Unix milliseconds; one for all of it."""
        return self.clock()

    @cached_property
    def lease_ms(self) -> int:
        """The time by which leases end: always the server's where there is one, in Unix milliseconds."""
        return postgres.now_ms(self.connection) if self.locks is None else self.at_ms

    def is_among(self, column: ColumnElement[str], name: str) -> ColumnElement[bool]:
        """Return the condition that a column has one of the texts in the list that is bound as `name`.

        The list is one value: an IN with a place for each of thousands takes longer to write than to look up.
        """
        if self.connection.dialect.name == "postgresql":
            return column == any_(bindparam(name, type_=ARRAY(Text)))
        each = func.json_each(bindparam(name, type_=JSON)).table_valued("value")
        return column.in_(select(each.c.value))

    def execute(self, statement: Executable, values: Any = None) -> CursorResult[*tuple[Any, ...]]:
        """Execute a statement with these values, or with each of a list of them."""
        return self.connection.execute(statement, values)

    def stream(self, statement: Executable) -> CursorResult[*tuple[Any, ...]]:
        """Execute a query whose rows are handed over ROWS_AT_ONCE at a time, and never all in memory."""
        return self.connection.execute(statement.execution_options(yield_per=ROWS_AT_ONCE))

    def rows_with(
        self, query: Select[Any], column: ColumnElement[Any], values: Iterable[Any], at_once: int = CHUNK
    ) -> Iterator[Row[*tuple[Any, ...]]]:
        """Yield what a query finds where a column has one of these values, however many they are."""
        for piece in chunks(values, at_once):
            yield from self.connection.execute(query.where(column.in_(piece)))

    def insert(self, table: Table, row: Mapping[str, Any]) -> int:
        """Insert one row and return its key, a number that the database gives."""
        key = self.connection.execute(table.insert(), row).inserted_primary_key
        assert key is not None
        return int(key[0])

    def records(self, kind: type[T], statement: Executable) -> list[T]:
        """Return what a statement finds, its columns named as the fields of `kind`."""
        return [kind(**row._mapping) for row in self.connection.execute(statement)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """How a verb is executed.

    `fenced` verbs raise ClaimLost where a run that is claimed here was taken over. `short` verbs are a
    handful of statements about one job: they may share one commit with others. A slot waits for `urgent`
    verbs, so they go first.
    """

    access: Access
    fenced: bool = True
    short: bool = False
    urgent: bool = False

    def __call__(self, function: Callable[Concatenate[Transaction, P], T]) -> Verb[P, T]:
        """Make a verb of a function."""
        return Verb(function, self)


class Verb(Generic[P, T_co]):
    """A function on a transaction, with its declaration."""

    def __init__(self, function: Callable[Concatenate[Transaction, P], T_co], declared: Declaration) -> None:
        self._function = function
        self.declared = declared
        functools.update_wrapper(self, function)

    def __call__(self, tx: Transaction, *args: P.args, **kwargs: P.kwargs) -> T_co:
        """Do it as a part of this transaction. Raises LedgerError where that may not do as much."""
        if tx.access < self.declared.access:
            raise LedgerError(f"{self._function.__name__} cannot be a part of a {tx.access.name.lower()}")
        return self._function(tx, *args, **kwargs)


def read(*, short: bool = False) -> Declaration:
    """Declare a verb that changes nothing."""
    return Declaration(access=Access.READ, short=short)


def write(*, fenced: bool = True, short: bool = False, urgent: bool = False) -> Declaration:
    """Declare a verb that changes the ledger.

    Not `fenced` is what stays true if another process owns the run: it is also taken from a late owner.
    """
    return Declaration(access=Access.WRITE, fenced=fenced, short=short, urgent=urgent)


def purchase(*, short: bool = False, urgent: bool = False) -> Declaration:
    """Declare a verb that a POST may follow. It raises ClaimLost also where the lock of a claim is gone."""
    return Declaration(access=Access.PURCHASE, short=short, urgent=urgent)
