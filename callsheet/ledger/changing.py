"""Changing one row: the statement is built once for each set of columns.

A job's life is sixty small statements, and building one anew costs more than the database takes to do it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table, Update, bindparam

NOTHING: Mapping[str, Any] = {}


def change(
    connection: Connection,
    table: Table,
    where: Mapping[str, Any],
    *,
    to: Mapping[str, Any] = NOTHING,
    more: Mapping[str, int] = NOTHING,
) -> int:
    """Set the columns `to` these values and add `more` to these, in the rows where all of `where` holds.

    Returns how many rows that were.
    """
    statement = _statement(table, tuple(where), tuple(to), tuple(more))
    values = {f"is_{name}": value for name, value in where.items()}
    values |= {f"to_{name}": value for name, value in to.items()}
    values |= {f"more_{name}": value for name, value in more.items()}
    return connection.execute(statement, values).rowcount


@cache
def _statement(table: Table, where: tuple[str, ...], to: tuple[str, ...], more: tuple[str, ...]) -> Update:
    column = table.c
    values: dict[str, Any] = {name: bindparam(f"to_{name}") for name in to}
    values |= {name: column[name] + bindparam(f"more_{name}") for name in more}
    return table.update().where(*(column[name] == bindparam(f"is_{name}") for name in where)).values(values)
