"""Ledgers with a long history, written by SQL: 1,000 jobs to a run, all of them made, on either database."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from callsheet.ledger import Ledger
from callsheet.ledger.schema import metadata

DAY_MS = 86_400_000
RUN_JOBS = 1_000
SERVERS = ("postgresql:///root?host=/var/run/postgresql", "postgresql://127.0.0.1/postgres")

_NUMBERS = """
CREATE TEMP TABLE n AS WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i + 1 < {jobs})
    SELECT i, CAST(i / 1000 AS BIGINT) AS r, 'print-' || i AS print, 'shot-' || i AS name FROM c
"""
_HISTORY = """
CREATE INDEX n_by_number ON n (i);
INSERT INTO run (run_id, campaign, plan_hash, price_book, out, options, created_ms, opened_ms, closed_ms)
    SELECT DISTINCT 'run-' || r, :campaign, 'h', 'p', :out || r, :options, :start + r * 86400000, 1, 1 FROM n;
INSERT INTO spending (run_id, client, model, day, submissions, held_nano, spent_nano)
    SELECT 'run-' || r, 'client-' || (i % 20), 'm' || (i % 3), {day}, count(*), 0, count(*) * 90
    FROM n GROUP BY r, i % 20, i % 3;
INSERT INTO job (job_id, run_id, position, "row", custom_id, take, priority, client, endpoint, model,
                 output_name, render_kind, fingerprint, payload, expected_nano, maximum_nano, spent_nano,
                 state, attempts, purchases, submissions, output_id)
    SELECT i + 1, 'run-' || r, i % 1000, i, name, 1, 0, 'client-' || (i % 20), 'fal-ai/x', 'm' || (i % 3),
           '', 'kind', print, :payload, 90, 100, 90, 'succeeded', 1, 1, 1, i + 1 FROM n;
INSERT INTO submission (submission_id, job_id, spending_id, number, endpoint, hold_nano, cost_nano,
                        cost_basis, request_id, status_url, response_url, cancel_url, result_json,
                        admitted_ms, sent_ms, submitted_ms, started_ms, rendered_ms, booked_ms, closed_ms)
    SELECT i + 1, i + 1, (SELECT spending_id FROM spending WHERE run_id = 'run-' || r
                          AND client = 'client-' || (i % 20) AND model = 'm' || (i % 3)),
           1, 'fal-ai/x', 100, 90, 'billable_units', 'request-' || i, 's', 'r', 'c', :result,
           t, t, t, t, t, t, t
    FROM (SELECT i, r, :start + r * 86400000 AS t FROM n) AS timed;
INSERT INTO output (output_id, submission_id, run_id, path, url, sha256, bytes, width_px, height_px, fps,
                    duration_s, has_audio)
    SELECT i + 1, i + 1, 'run-' || r, 'media/a.mp4', 'u', 'x', 1, 1, 1, 24.0, 5.0, 0 FROM n;
INSERT INTO account (scope, key, "window", spent_nano)
    SELECT 'run', 'run-' || r, 'total', count(*) * 90 FROM n GROUP BY r;
INSERT INTO account (scope, key, "window", spent_nano)
    SELECT 'campaign', :campaign, 'total', count(*) * 90 FROM n
"""
_DAYS = {
    "sqlite": "strftime('%Y-%m-%d', {start} / 1000 + r * 86400, 'unixepoch')",
    "postgresql": "to_char(to_timestamp({start} / 1000 + r * 86400) AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
}


def populate(
    url: str,
    jobs: int,
    *,
    campaign: str = "nightly",
    identities: Sequence[tuple[str, str]] = (),
    out: Path = Path("/o"),
) -> None:
    """Write a history of so many jobs into a new ledger; `identities` are fingerprint and custom_id of each.

    It ends today, with a run of RUN_JOBS on the sandbox on each day before. Every job's file is
    `media/a.mp4` in its run's folder, `out`/0 and so on.
    """
    Ledger.open(url).close()
    engine = sa.create_engine(sa.make_url(url).set(drivername=_driver(url)))
    start_ms = time.time_ns() // 1_000_000 - -(-jobs // RUN_JOBS) * DAY_MS
    values = {
        "campaign": campaign,
        "out": f"{out}/",
        "options": '{"sandbox": true}',
        "start": start_ms,
        "payload": "p" * 600,
        "result": "r" * 800,
    }
    day = _DAYS[engine.dialect.name].format(start=start_ms)
    with engine.begin() as connection:
        connection.exec_driver_sql(_NUMBERS.format(jobs=jobs))
        first, *rest = _HISTORY.format(day=day).split(";")
        connection.execute(sa.text(first))
        if identities:
            rows = [{"i": i, "print": print_, "name": name} for i, (print_, name) in enumerate(identities)]
            connection.execute(sa.text("UPDATE n SET print = :print, name = :name WHERE i = :i"), rows)
        for statement in rest:
            named = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(sa.text(statement), named)
        if engine.dialect.name == "postgresql":
            for table in ("job", "submission", "output"):
                key = f"{table}_id"
                sequence = f"pg_get_serial_sequence('{table}', '{key}')"
                connection.execute(sa.text(f"SELECT setval({sequence}, (SELECT max({key}) FROM {table}))"))
            connection.execute(sa.text("ANALYZE"))
    engine.dispose()


def rows_in_all(url: str) -> dict[str, int]:
    """Count the rows of every table."""
    engine = sa.create_engine(sa.make_url(url).set(drivername=_driver(url)))
    with engine.connect() as connection:
        tables = [table.name for table in metadata.sorted_tables]
        found = {
            name: connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one() for name in tables
        }
    engine.dispose()
    return found


def _driver(url: str) -> str:
    return "sqlite" if url.startswith("sqlite") else "postgresql+psycopg"


@contextmanager
def new_ledger(database: str, folder: Path) -> Iterator[str]:
    """Give the URL of a place for a ledger: a file, or a schema on a server that is dropped afterwards."""
    if database == "sqlite":
        yield f"sqlite:///{folder / f'ledger-{secrets.token_hex(4)}.sqlite'}"
        return
    server, name = _server(), f"bench_{os.getpid()}_{secrets.token_hex(4)}"
    _execute(server, f"CREATE SCHEMA {name}")
    try:
        yield f"{server}{'&' if '?' in server else '?'}options=-csearch_path%3D{name}"
    finally:
        _execute(server, f"DROP SCHEMA {name} CASCADE")


def has_server() -> bool:
    """Say whether a PostgreSQL server answers."""
    try:
        _server()
    except LookupError:
        return False
    return True


def _server() -> str:
    import psycopg

    named = os.environ.get("CALLSHEET_TEST_POSTGRES_URL")
    for url in (named,) if named else SERVERS:
        try:
            psycopg.connect(url, connect_timeout=3).close()
        except psycopg.OperationalError:
            continue
        return url
    raise LookupError("no PostgreSQL server answers; set CALLSHEET_TEST_POSTGRES_URL")


def _execute(server: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("SET client_min_messages = error")
        connection.execute(statement)
