"""The tables: what the migrations make, what a new ledger is made of, and what the program counts on."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from callsheet.ledger import Event, Ledger, State, migrate, schema
from callsheet.ledger.sqlite import engine_for


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
        if table != "alembic_version"
    }


def texts(engine: sa.Engine) -> dict[str, str]:
    """Return what SQLite keeps of each table, index and trigger, without its layout."""
    query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    with engine.connect() as connection:
        return {name: "".join(sql.split()) for name, sql in connection.exec_driver_sql(query)}


@pytest.fixture
def engine_at(tmp_path: Path) -> Iterator[Callable[[str], sa.Engine]]:
    """Engines on empty SQLite files, by name."""
    with ExitStack() as engines:

        def made(name: str) -> sa.Engine:
            (tmp_path / name).mkdir(mode=0o700)
            engine = engine_for(tmp_path / name / "l.sqlite")
            engines.callback(engine.dispose)
            return engine

        yield made


def test_the_migrations_lead_to_the_schema_that_the_program_is_written_against_on_sqlite(engine_at) -> None:
    """Columns, keys, checks and indexes are equal, and so is each table's own text but for its layout."""
    scratch, migrated = engine_at("scratch"), engine_at("migrated")
    schema.metadata.create_all(scratch)
    migrate.upgrade(migrated)
    assert described(scratch) == described(migrated)
    written, found = texts(scratch), texts(migrated)
    assert {name: found[name] for name in written} == written
    assert all(sql.endswith("STRICT") for sql in written.values() if "CREATETABLE" in sql)


def test_a_new_ledger_is_what_all_migrations_together_make(engine_at) -> None:
    """Every table, index and trigger, the revision, and an empty gate."""
    new, migrated = engine_at("new"), engine_at("migrated")
    assert migrate.make_new(new) == migrate.HEAD
    migrate.upgrade(migrated)
    assert texts(new) == texts(migrated)
    for query in ("SELECT * FROM alembic_version", "SELECT id, length(ledger_id), entries, head FROM gate"):
        with new.connect() as one, migrated.connect() as other:
            assert one.exec_driver_sql(query).all() == other.exec_driver_sql(query).all()


def test_a_ledger_that_was_made_meanwhile_is_not_made_again(engine_at) -> None:
    """Two processes may find no ledger at the same moment."""
    engine = engine_at("new")
    with engine.connect() as connection:
        migrate.make_new(engine)
        name = connection.exec_driver_sql("SELECT ledger_id FROM gate").scalar_one()
    assert migrate.make_new(engine) == migrate.HEAD
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT ledger_id FROM gate").scalars().all() == [name]


@pytest.mark.postgres
def test_the_migrations_lead_to_the_schema_that_the_program_is_written_against_on_postgres(
    empty_schema_url: str, postgres_url: str, open_desk
) -> None:
    """The server's catalogue says the same of both."""
    scratch = sa.create_engine(empty_schema_url.replace("postgresql://", "postgresql+psycopg://"))
    schema.metadata.create_all(scratch)
    migrated = open_desk(postgres_url).ledger._database.engine
    assert described(scratch) == described(migrated)
    scratch.dispose()


@pytest.mark.postgres
def test_an_empty_server_is_migrated_when_it_is_opened(empty_schema_url: str, open_desk) -> None:
    """Opening is all there is to do; the ledger then works and has a name of its own."""
    desk = open_desk(empty_schema_url)
    desk.bring(desk.run()[0], State.SUCCEEDED)
    assert desk.ledger.verify() == []
    assert len(desk.dump()["gate"][0][1]) == 32


def test_the_program_knows_every_migration_there_is() -> None:
    """The list that decides whether a ledger is behind has the files' own numbers, in order."""
    files = sorted(Path(migrate.__file__).with_name("migrations").joinpath("versions").glob("[0-9]*_*.py"))
    assert tuple(file.name[:4] for file in files) == migrate.REVISIONS
    assert migrate.REVISIONS[-1] == migrate.HEAD


def test_submissions_of_an_older_ledger_are_kept(desk) -> None:
    """A ledger from before absence was judged by what was sent opens, sound, with that left unknown."""
    (job_id,) = desk.run()
    before = desk.bring(job_id, State.UNKNOWN)
    for column in ("start_timeout_s", "unseen_ms"):
        desk.sql(f"ALTER TABLE submission DROP COLUMN {column}")
    desk.sql("ALTER TABLE run DROP COLUMN prices")
    desk.sql("DROP TABLE claim")
    desk.sql("UPDATE alembic_version SET version_num = '0001'")

    after = desk.reopen().job(job_id)

    assert after == before
    assert desk.ledger.run(after.run_id).prices == ""
    assert (after.submission.start_timeout_s, after.submission.unseen_ms) == (None, None)
    desk.do(Event.FIND, job_id)


def test_a_migration_that_is_interrupted_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    """All of it is one transaction: the next one to open the ledger begins with an empty database."""
    path = tmp_path / "private" / "l.sqlite"
    real = sa.Connection.exec_driver_sql

    def failing(self: sa.Connection, statement: str, *args: object, **kwargs: object) -> object:
        if "CREATE TRIGGER event_no_update" in statement:
            raise KeyboardInterrupt
        return real(self, statement, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(sa.Connection, "exec_driver_sql", failing)
        with pytest.raises(KeyboardInterrupt):
            Ledger.open(f"sqlite:///{path}")
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone() == (0,)
    connection.close()
    with Ledger.open(f"sqlite:///{path}") as ledger:
        assert ledger.verify() == []


OPENED = """
import sys
from callsheet.ledger import Ledger
Ledger.open(sys.argv[1]).close()
print(sorted(name for name in sys.modules if name in ("alembic", "mako", "pandas", "prefect", "psycopg")))
"""


@pytest.mark.parametrize("is_new", [False, True])
def test_a_ledger_that_is_up_to_date_or_new_opens_without_alembic(
    sqlite_url: str, tmp_path: Path, is_new
) -> None:
    """The everyday start does not pay for the tools of migration, nor for the other database's driver."""
    url = f"sqlite:///{tmp_path / 'private' / 'l.sqlite'}" if is_new else sqlite_url
    done = subprocess.run([sys.executable, "-c", OPENED, url], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_two_processes_may_open_a_new_ledger_at_once(tmp_path: Path) -> None:
    """The second one waits for the first one's migration and finds it done."""
    url = f"sqlite:///{tmp_path / 'private' / 'l.sqlite'}"
    processes = [subprocess.Popen([sys.executable, "-c", OPENED, url], stdout=-3) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
