"""The tables: one schema for both databases, made once, and never replaced or altered by another version."""

import hashlib
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from callsheet.errors import LedgerUnsafe
from callsheet.ledger import Ledger, State, schema, verify

PINNED = {11: "0441762ad70582a02767e39de02d97c473d9445defe3a54c89b50cc0db7a5102"}
"""Versions of the schema, each with the SHA-256 of its text. A released version is never changed."""


def text_of(dialect: Any) -> str:
    """Return the statements that make the tables and their indexes."""
    made = [
        str(statement.compile(dialect=dialect)).strip()
        for table in schema.metadata.sorted_tables
        for statement in (
            CreateTable(table),
            *map(CreateIndex, sorted(table.indexes, key=lambda index: str(index.name))),
        )
    ]
    return "\n".join(" ".join(line.split()) for line in made)


def test_another_schema_has_another_version() -> None:
    """A table that changes without a new number would be used by two versions that do not agree."""
    text = text_of(sqlite.dialect()) + text_of(postgresql.dialect())
    assert {schema.VERSION: hashlib.sha256(text.encode()).hexdigest()} == PINNED


def described_index(index: Any) -> str:
    """Return what an index is over, and over which rows."""
    rows = {name: str(value) for name, value in index.get("dialect_options", {}).items()}
    return str((index["name"], index["column_names"], bool(index["unique"]), rows))


def described(engine: sa.Engine) -> dict[str, object]:
    """Return everything about the tables that the database's own catalogue tells."""
    inspector = sa.inspect(engine)
    return {
        table: {
            "columns": [
                (c["name"], str(c["type"]), c["nullable"], c["default"]) for c in inspector.get_columns(table)
            ],
            "key": inspector.get_pk_constraint(table)["constrained_columns"],
            "foreign": sorted(
                (str(f["constrained_columns"]), f["referred_table"])
                for f in inspector.get_foreign_keys(table)
            ),
            "unique": sorted(str(u["column_names"]) for u in inspector.get_unique_constraints(table)),
            "indexes": sorted(map(described_index, inspector.get_indexes(table))),
            "checks": sorted((str(c["name"]), c["sqltext"]) for c in inspector.get_check_constraints(table)),
        }
        for table in inspector.get_table_names()
    }


def without_types(engine: sa.Engine) -> dict[str, object]:
    """Return what both catalogues must agree on: names, keys, references and checks."""
    tables: dict[str, Any] = described(engine)
    return {
        name: (
            [(column, null) for column, _, null, _ in table["columns"]],
            table["key"],
            table["foreign"],
            [check for check, _ in table["checks"]],
        )
        for name, table in tables.items()
    }


@pytest.mark.postgres
def test_both_databases_have_the_same_tables(sqlite_url: str, postgres_url: str, open_desk) -> None:
    """Columns, keys, references and checks are equal by the databases' own catalogues."""
    near, far = (open_desk(url).ledger._engine for url in (sqlite_url, postgres_url))
    assert without_types(near) == without_types(far)
    assert set(without_types(near)) == set(schema.metadata.tables)


@pytest.mark.postgres
def test_an_empty_server_gets_its_tables_when_it_is_opened(empty_schema_url: str, open_desk) -> None:
    """Opening is all there is to do; the ledger then works and has an id of its own."""
    desk = open_desk(empty_schema_url)
    desk.bring(desk.run()[0], State.SUCCEEDED)
    assert desk.ledger.do(verify.verify) == []
    ((_, version, ledger_id, *_),) = desk.dump()["ledger_head"]
    assert (version, len(ledger_id)) == (schema.VERSION, 32)


EARLIER = {
    "an earlier development version": (
        "CREATE TABLE alembic_version (version_num TEXT)",
        "INSERT INTO alembic_version VALUES ('0004')",
        "CREATE TABLE gate (id INTEGER)",
        "CREATE TABLE entry (entry_id INTEGER)",
    ),
    r"an earlier Callsheet \(schema 0\)": (
        "CREATE TABLE ledger_head (id INTEGER, schema_version INTEGER)",
        "INSERT INTO ledger_head VALUES (1, 0)",
    ),
    r"a newer Callsheet \(schema 9999\)": (
        "CREATE TABLE ledger_head (id INTEGER, schema_version INTEGER)",
        "INSERT INTO ledger_head VALUES (1, 9999)",
    ),
    "tables that are not Callsheet's: run": ("CREATE TABLE run (id INTEGER)",),
}


@pytest.mark.parametrize("said", EARLIER)
def test_a_file_of_another_version_is_refused_and_left_as_it_is(tmp_path: Path, said: str) -> None:
    """The sentence names the file; not one byte of its tables changes."""
    path = tmp_path / "l.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        with connection:
            for statement in EARLIER[said]:
                connection.execute(statement)
        before = list(connection.iterdump())
        path.chmod(0o600)
        with pytest.raises(LedgerUnsafe, match=said) as refused:
            Ledger.open(f"sqlite:///{path}")
        assert str(path) in str(refused.value)
        assert list(connection.iterdump()) == before
    connection.close()


@pytest.mark.postgres
@pytest.mark.parametrize("said", EARLIER)
def test_a_server_with_tables_of_another_version_is_refused(empty_schema_url: str, said: str) -> None:
    """As with a file; a Prefect server's `alembic_version` in the same place is no ledger."""
    with psycopg.connect(empty_schema_url) as connection:
        for statement in EARLIER[said]:
            connection.execute(statement)
    with pytest.raises(LedgerUnsafe, match=said):
        Ledger.open(empty_schema_url)
    with psycopg.connect(empty_schema_url) as connection:
        found = connection.execute(
            "SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema()"
        ).fetchone()
    assert found == (sum("CREATE" in statement for statement in EARLIER[said]),)


@pytest.mark.postgres
def test_tables_of_others_beside_the_ledger_do_not_matter(empty_schema_url: str) -> None:
    """A database may be shared: only names that the ledger needs are in its way."""
    with psycopg.connect(empty_schema_url) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("CREATE TABLE flow_run (id INTEGER)")
    with Ledger.open(empty_schema_url) as ledger:
        assert ledger.do(verify.verify) == []


def test_a_creation_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    """All of it is one transaction: the next one to open the ledger begins with an empty database."""
    path = tmp_path / "private" / "l.sqlite"

    def interrupt(*_more: object, **_named: object) -> None:
        raise KeyboardInterrupt

    sa.event.listen(schema.event, "after_create", interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            Ledger.open(f"sqlite:///{path}")
    finally:
        sa.event.remove(schema.event, "after_create", interrupt)
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone() == (0,)
    with Ledger.open(f"sqlite:///{path}") as ledger:
        assert ledger.do(verify.verify) == []


OPENED = """
import sys
from callsheet.ledger import Ledger
Ledger.open(sys.argv[1]).close()
print(sorted(name for name in sys.modules if name in ("alembic", "mako", "pandas", "prefect", "psycopg")))
"""


@pytest.mark.parametrize("is_new", [False, True])
def test_opening_a_ledger_does_not_load_what_it_does_not_need(
    sqlite_url: str, tmp_path: Path, is_new
) -> None:
    """The everyday start does not pay for the other database's driver, nor for the libraries of planning."""
    url = f"sqlite:///{tmp_path / 'private' / 'l.sqlite'}" if is_new else sqlite_url
    done = subprocess.run([sys.executable, "-c", OPENED, url], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_two_processes_may_open_a_new_ledger_at_once(tmp_path: Path) -> None:
    """The second one waits until the first one has made the tables and finds them."""
    url = f"sqlite:///{tmp_path / 'private' / 'l.sqlite'}"
    processes = [subprocess.Popen([sys.executable, "-c", OPENED, url], stdout=-3) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
