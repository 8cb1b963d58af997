import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from callsheet.errors import Busy, LedgerError, LedgerUnsafe, UsageError
from callsheet.ledger import Event, Ledger, State, activity, admission, reviews, schema, verify
from callsheet.ledger.postgres import refuse_unsafe
from callsheet.ledger.sqlite import engine_for

# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["mysql://host/db", "sqlite+aiosqlite:///x", "postgresql+asyncpg://host/db"])
def test_other_databases_are_refused(url: str) -> None:
    """A database that was never tested is not trusted with money."""
    with pytest.raises(UsageError, match="sqlite or postgresql"):
        Ledger.open(url)


def test_an_unreadable_url_is_not_repeated() -> None:
    """What cannot be parsed may hold a password."""
    with pytest.raises(UsageError) as refusal:
        Ledger.open("postgresql//ada:secret@host")
    assert "secret" not in str(refusal.value)


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    """The error says which server and keeps the password to itself, in its causes as well."""
    with pytest.raises(LedgerError) as refusal:
        Ledger.open("postgresql://ada:secret@127.0.0.1:1/x")
    assert "127.0.0.1" in str(refusal.value)
    assert "secret" not in f"{refusal.value!r} {refusal.value.__cause__!r}"


@pytest.mark.postgres
def test_a_server_that_forgets_is_refused(postgres_url: str) -> None:
    """With synchronous_commit=off the server acknowledges what it has not written."""
    name = sa.make_url(postgres_url).database
    said = f'synchronous_commit=off .*ALTER DATABASE "?{name}"? SET synchronous_commit = on'
    with pytest.raises(LedgerUnsafe, match=said):
        Ledger.open(f"{postgres_url}%20-csynchronous_commit%3Doff")


def test_a_server_without_fsync_is_refused_with_a_command_that_it_takes() -> None:
    """`ALTER DATABASE` cannot change fsync: it is the whole server's."""
    answers = {"SHOW synchronous_commit": "on", "SHOW fsync": "off"}
    connection: Any = SimpleNamespace(
        exec_driver_sql=lambda asked: SimpleNamespace(scalar_one=lambda: answers[asked])
    )
    with pytest.raises(
        LedgerUnsafe, match=r'fsync=off .*psql -c "ALTER SYSTEM SET fsync = on" -c "SELECT pg_reload'
    ):
        refuse_unsafe(connection)


def test_every_sqlite_connection_is_set_to_survive_a_power_cut(sqlite_url: str, open_desk) -> None:
    """What is asserted at open holds for each connection of the pool."""
    ledger = open_desk(sqlite_url).ledger
    with ledger._read() as one, ledger._read() as two:
        for connection in (one, two):
            found = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            ]
            assert found == ["wal", 2, 1, 120_000]


def test_a_database_that_will_not_keep_a_wal_is_refused(tmp_path: Path) -> None:
    """A pragma that SQLite quietly ignores is noticed: here WAL, in a database that cannot have one."""
    engine = engine_for(Path(":memory:"))
    with pytest.raises(LedgerUnsafe, match="journal_mode"):
        engine.connect()
    engine.dispose()


def test_a_broken_database_is_our_error(sqlite_url: str) -> None:
    """A file that is no database is named as a ledger that could not be used."""
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(LedgerError, match=f'{path} .*docs/operations.md, "The ledger is damaged"'):
        Ledger.open(sqlite_url)


# -- one writer at a time ------------------------------------------------------------------------------------


@pytest.mark.postgres
def test_a_second_writer_on_postgres_waits_before_it_looks_at_anything(postgres_url: str, open_desk) -> None:
    """While one transaction writes, another one does not even begin to count slots."""
    desk, impatient = open_desk(postgres_url), open_desk(f"{postgres_url}%20-clock_timeout%3D20")
    (job_id,) = desk.run()
    with desk.ledger._write(), pytest.raises(LedgerError, match="lock timeout"):
        impatient.ledger.do(admission.admit, job_id, slots=1)
    impatient.ledger.do(admission.admit, job_id, slots=1)


def test_a_second_writer_on_sqlite_waits_before_it_looks_at_anything(sqlite_url: str, open_desk) -> None:
    """While one transaction writes, another one cannot begin; reading goes on."""
    desk = open_desk(sqlite_url)
    desk.run()
    with (
        closing(
            sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), timeout=0, isolation_level=None)
        ) as other,
        other,
    ):
        with desk.ledger._write(), pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        with desk.ledger._read():
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
    other.close()


def test_verify_sees_one_moment_while_others_write(ledger_url: str, open_desk) -> None:
    """An entry that is added between two of its questions is no tampering."""
    desk, busy = open_desk(ledger_url), open_desk(ledger_url)
    jobs = iter(busy.run(3))
    busy.do(Event.ADMIT, next(jobs))

    def write_after(_connection, _cursor, statement: str, *_more: object) -> None:
        if "FROM ledger_head" in statement:
            busy.do(Event.ADMIT, next(jobs))

    engine = desk.ledger._engine
    sa.event.listen(engine, "after_cursor_execute", write_after)
    assert desk.ledger.do(verify.verify) == []
    sa.event.remove(engine, "after_cursor_execute", write_after)
    assert busy.ledger.do(activity.extent).entries == 2


# -- what the database itself refuses ------------------------------------------------------------------------


@pytest.mark.parametrize("table", schema.APPEND_ONLY)
@pytest.mark.parametrize("what", ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}"])
def test_the_journals_only_grow(desk, table: str, what: str) -> None:
    """Neither this program nor anybody's SQL changes what was written down."""
    job_id = desk.run()[0]
    desk.bring(job_id, State.SUCCEEDED)
    desk.ledger.do(reviews.judge, job_id, verdict="keep")
    before = desk.dump()
    column = schema.metadata.tables[table].primary_key.columns.keys()[0]
    with pytest.raises(LedgerError, match="append-only"):
        desk.sql(what.format(table, column))
    assert desk.dump() == before


REFUSED = {
    "an account above its limit": "UPDATE account SET limit_nano = 1",
    "an account below zero": "UPDATE account SET held_nano = -1",
    "money that is no whole number": "UPDATE account SET spent_nano = 'a dollar'",
    "a state that does not exist": "UPDATE job SET state = 'done'",
    "a maximum below the expected cost": "UPDATE job SET expected_nano = maximum_nano + 1",
    "a cost without a moment": "UPDATE submission SET booked_ms = NULL",
    "a second head": "INSERT INTO ledger_head VALUES (2, 1, 'x', 0, '')",
    "a submission of nobody": "INSERT INTO submission (job_id, number, hold_nano, admitted_ms) "
    "VALUES (424242, 1, 1, 1)",
    "a second open submission": "INSERT INTO submission (job_id, number, hold_nano, admitted_ms) "
    "SELECT job_id, 7, 1, 1 FROM submission WHERE closed_ms IS NULL",
    "a request that is two jobs'": "UPDATE submission SET request_id = 'same'",
}


@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED.keys())
def test_the_database_itself_keeps_what_it_can(desk, statement: str) -> None:
    """Even a mistake in this program could not write it."""
    for job_id in desk.run(2):
        desk.bring(job_id, State.RENDERED)
        desk.do(Event.SETTLE, job_id)
    before = desk.dump()
    with pytest.raises(LedgerError):
        desk.sql(statement)
    assert desk.dump() == before


# -- what verify finds ---------------------------------------------------------------------------------------

DAMAGE = {
    "UPDATE account SET held_nano = held_nano + 1 WHERE scope = 'client'": "I1: the account client acme",
    "UPDATE account SET spent_nano = spent_nano + 1 WHERE scope = 'model'": "I2: the account model",
    "UPDATE submission SET cost_nano = 1 WHERE cost_nano = 90": "I2",
    "UPDATE job SET spent_nano = 5": "I3: job",
    "UPDATE job SET state = 'pending' WHERE state = 'in_queue'": "I6",
    "UPDATE job SET output_id = NULL": "I7: job",
    "UPDATE submission SET request_id = NULL": "I8: job",
    "INSERT INTO event (at_ms, job_id, number, event, from_state, to_state, why) "
    "SELECT 1, job_id, 1, 'collect', 'held', 'succeeded', '' FROM job": "I10",
    "UPDATE ledger_head SET entries = entries + 1": "tampered",
}
PAST_THE_TRIGGERS = {
    "UPDATE entry SET amount_nano = 1 WHERE kind = 'settle'": "tampered with at entry",
    "UPDATE entry SET at_ms = at_ms + 1 WHERE entry_id = 2": "tampered with at entry 2",
    "DELETE FROM entry WHERE entry_id = (SELECT MAX(entry_id) FROM entry)": "tampered",
    "DELETE FROM entry": "tampered",
    "DELETE FROM event WHERE event = 'send'": "I10",
}


def damaged(open_desk, url: str):
    """A sound ledger with one finished and one running job, to be damaged."""
    desk = open_desk(url)
    done, open_ = desk.run(2)
    desk.bring(done, State.SUCCEEDED)
    desk.bring(open_, State.IN_QUEUE)
    assert desk.ledger.do(verify.verify) == []
    return desk


@pytest.mark.parametrize(("statement", "said"), DAMAGE.items())
def test_verify_finds_every_broken_promise(open_desk, ledger_url: str, statement: str, said: str) -> None:
    """Each invariant has damage that it alone must notice."""
    desk = damaged(open_desk, ledger_url)
    desk.sql(statement)
    assert any(said in sentence for sentence in desk.ledger.do(verify.verify))


@pytest.mark.parametrize(("statement", "said"), PAST_THE_TRIGGERS.items())
def test_verify_finds_tampering_behind_the_triggers(open_desk, sqlite_url: str, statement, said) -> None:
    """Who can drop a trigger can still not change the book unnoticed."""
    desk = damaged(open_desk, sqlite_url)
    for trigger in ("entry_no_update", "entry_no_delete", "event_no_delete"):
        desk.sql(f"DROP TRIGGER {trigger}")
    desk.sql(statement)
    assert any(said in sentence for sentence in desk.ledger.do(verify.verify))


def test_a_reference_to_nothing_is_found(open_desk, sqlite_url: str) -> None:
    """Foreign keys can be switched off by others; verify looks for what that leaves behind."""
    desk = damaged(open_desk, sqlite_url)
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE job SET run_id = 'nowhere'")
    connection.close()
    assert any("damaged" in sentence for sentence in desk.ledger.do(verify.verify))


def test_a_disk_that_is_full_stops_the_purchase_before_it_is_made(open_desk, sqlite_url: str) -> None:
    """An intent that cannot be written raises, and the ledger is as it was."""
    desk = open_desk(sqlite_url)
    jobs = iter(desk.run(50))
    with desk.ledger._read() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    before: dict[str, Any] = {}

    def admit_until_full() -> None:
        for job_id in jobs:
            before.update(desk.dump())
            desk.do(Event.ADMIT, job_id)

    with pytest.raises(LedgerError, match="full"):
        admit_until_full()
    assert desk.dump() == before


def test_a_private_file_stays_private_with_its_journal(open_desk, sqlite_url: str) -> None:
    """The WAL and its index hold prompts and prices too."""
    desk = open_desk(sqlite_url)
    desk.run()
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    files = list(path.parent.glob(f"{path.name}*"))
    assert len(files) == 4  # the ledger, its journal, the journal's index, the record of who uses it
    assert {file.stat().st_mode & 0o077 for file in files} == {0}


@pytest.mark.postgres
def test_many_claims_cost_no_connection(postgres_url: str, open_desk) -> None:
    """With more runs claimed than a pool has connections, the ledger works and others see every claim."""
    desk, other = open_desk(postgres_url), open_desk(postgres_url)
    names = [f"r{number}" for number in range(40)]
    with ExitStack() as held:
        for name in names:
            held.enter_context(desk.ledger.claim(name))
        assert desk.run()
        for ledger in (desk.ledger, other.ledger):
            for name in names:
                with pytest.raises(Busy), ledger.claim(name):
                    pass
    for name in names:
        with other.ledger.claim(name):
            pass
